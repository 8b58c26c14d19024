"""
See what is reconstructed badly
===============================

A mean says how large the errors are, and hides whose they are. Here they are looked at image by image: how they are
spread, which digits have the larger ones, and what the best and the worst look like.

It takes about 15 seconds on one CPU core. Run as a script, ``python examples/plot_errors.py pictures`` writes
its figures to the folder ``pictures``; without a folder's name it leaves nothing behind.
"""

import sys
import tempfile
from pathlib import Path

import mnistvae as mv
from mnistvae import analysis, load_dataset, plotting

test = load_dataset("mnist-mini", "test")

temporary = tempfile.TemporaryDirectory()
folder = Path(sys.argv[1] if len(sys.argv) > 1 else temporary.name)
folder.mkdir(parents=True, exist_ok=True)

model = mv.pretrained("conv")  # ships with the package, trained on the whole MNIST

# %%
# Every image's errors
# --------------------
# Each image is encoded, and its mean code decoded. Structural similarity sees shapes; the signal-to-noise ratio only
# counts squares.
errors = analysis.reconstruction_errors(model, test)
figure = plotting.histogram(errors.ssim, "SSIM")
figure.savefig(folder / "ssim.png")

# %%
figure = plotting.histogram(errors.psnr, "PSNR, dB")
figure.savefig(folder / "psnr.png")

# %%
# The best, the worst, and some others
# ------------------------------------
# Above as they are, below as the model gives them back, with the squared error. What is badly reconstructed is often
# badly written.
low, high, drawn = errors.extremes(10)
groups = {"lowest error": low, "highest error": high, "drawn at random": drawn}
figure = plotting.error_examples(test.images, errors.images, errors.mse, groups)
figure.savefig(folder / "errors.png")

# %%
# By digit
# --------
# A 1 is a stroke, and little can go wrong.
figure = plotting.class_bars({"MSE": {digit: one.mean for digit, one in errors.by_class().items()}}, "MSE")
figure.savefig(folder / "mse_by_class.png")

temporary.cleanup()
