"""
How large should the code be?
=============================

A larger code reconstructs better, until it does not. :func:`mnistvae.analysis.sweep` trains one recipe with several
sizes under one seed and measures them in one way; on the command line that is ``mnistvae sweep``.

It takes about 15 seconds on one CPU core. Run as a script, ``python examples/plot_latent_sizes.py pictures`` writes
its figures to the folder ``pictures``; without a folder's name it leaves nothing behind.
"""

import sys
import tempfile
from pathlib import Path

import mnistvae as mv
from mnistvae import analysis, load_dataset, plotting

digits = load_dataset("mnist-mini", "train")
half = len(digits) // 2
train, held_out = digits[:half], digits[half:]  # what chooses a size must not be what tests it

temporary = tempfile.TemporaryDirectory()
folder = Path(sys.argv[1] if len(sys.argv) > 1 else temporary.name)
folder.mkdir(parents=True, exist_ok=True)

training = {"epochs": 2, "batch_size": 64, "learning_rate": 2e-3, "progress": False}
sizes = [2, 5, 10, 20]
recipe = mv.recipes.get("mlp-20")
found = analysis.sweep(recipe, {"latent_dim": sizes}, train, held_out, settings={"beta": 0.2}, training=training)
for size, mse, psnr in zip(sizes, found.column("mse"), found.column("psnr"), strict=True):
    print(f"{size:2d} dimensions: MSE {mse:.4f}, PSNR {psnr:.2f} dB")
print("the smallest within one standard error of the best:", found.best("mse").settings)

# %%
# Digit by digit, squared error and signal to noise.
for name, unit in (("mse", "MSE"), ("psnr", "PSNR, dB")):
    by_class = found.by_class(name)
    groups = {f"{size} dimensions": {digit: row[n] for digit, row in by_class.items()} for n, size in enumerate(sizes)}
    figure = plotting.class_bars(groups, unit, from_zero=name == "mse")  # decibels do not begin at 0
    figure.savefig(folder / f"{name}_by_class.png")

temporary.cleanup()
