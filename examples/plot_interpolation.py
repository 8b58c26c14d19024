"""
Go from one digit to another
============================

Between the codes of two images lie codes of images that nobody wrote. A way through them can be straight or an arc, and
one can also change a single dimension of a code and leave the others as they are.

It takes about 15 seconds on one CPU core. Run as a script, ``python examples/plot_interpolation.py pictures`` writes
its figures to the folder ``pictures``; without a folder's name it leaves nothing behind.
"""

import sys
import tempfile
from pathlib import Path

import torch

import mnistvae as mv
from mnistvae import analysis, load_dataset, plotting

test = load_dataset("mnist-mini", "test")

temporary = tempfile.TemporaryDirectory()
folder = Path(sys.argv[1] if len(sys.argv) > 1 else temporary.name)
folder.mkdir(parents=True, exist_ok=True)

model = mv.pretrained("conv")  # ships with the package, trained on the whole MNIST
codes = analysis.encode_dataset(model, test)

# %%
# From image to image
# -------------------
# Straight in the upper row, along an arc in the lower one. A straight way comes near the origin, where codes are
# shorter than those that the decoder has seen.
a, b = codes.means[codes.labels == 7][0], codes.means[codes.labels == 0][0]
ways = [analysis.interpolate_codes(a, b, steps=10, kind=kind) for kind in ("straight", "spherical")]
images = analysis.decode_codes(model, torch.cat(ways))
figure = plotting.sample_grid(images, columns=10, title="straight above, along an arc below")
figure.savefig(folder / "interpolation.png")

# %%
# The length of the code on both ways.
for kind, way in zip(("straight", "spherical"), ways, strict=True):
    print(f"{kind:10s}", " ".join(f"{length:.1f}" for length in way.norm(dim=1).tolist()))

# %%
# The model's own method goes from images to images. They stand at both ends, as they are.
first, last = test.images[:4] / 255, test.images[4:8] / 255
rows = torch.cat([first[:, None], model.interpolate(first, last, steps=10), last[:, None]], dim=1)
figure = plotting.sample_grid(rows.flatten(0, 1), columns=12)
figure.savefig(folder / "pairs.png")

# %%
# One dimension after the other
# -----------------------------
# From the code of a single image, the most active dimensions first.
dimensions = codes.means.var(0).argsort(descending=True)[:6].tolist()
values = [-3, -2, -1, 0, 1, 2, 3]
rows = analysis.traverse(model, b, dimensions, values)
figure = plotting.latent_traversals(rows, values, [str(dimension) for dimension in dimensions])
figure.savefig(folder / "traversals.png")

temporary.cleanup()
