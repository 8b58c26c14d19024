"""
Walk through a latent space
===========================

Where the codes of images lie, and what is decoded between them. Every figure here is one function that takes arrays:
:mod:`mnistvae.analysis` makes them, :mod:`mnistvae.plotting` draws them.

It takes about 20 seconds on one CPU core. Run as a script, ``python examples/plot_latent_space.py pictures`` writes
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

plane = mv.pretrained("mlp-2d")

# %%
# A code of two dimensions can be drawn as it is
# ----------------------------------------------
codes = analysis.encode_dataset(plane, test)
found = analysis.embed(codes.means)  # two dimensions are left as they are
figure = plotting.latent_map(found.points, codes.labels, names=found.names)
figure.savefig(folder / "latent_map.png")

# %%
# The same, a panel for each digit. The lines hold half and nine tenths of its codes.
figure = plotting.latent_density(found.points, codes.labels, names=found.names)
figure.savefig(folder / "latent_space_per_digit.png")

# %%
# What is decoded over the plane, from -2 to 2.
grid = analysis.latent_plane(plane, n=15)
figure = plotting.latent_grid(grid.images, grid.x, grid.y, names=grid.names)
figure.savefig(folder / "plane.png")

# %%
# More dimensions
# ---------------
# t-SNE puts codes that are near each other side by side. It keeps most digits apart; how large a group is and how far
# it is from the next says nothing.
model = mv.pretrained("conv")  # ships with the package, trained on the whole MNIST
codes = analysis.encode_dataset(model, test)
found = analysis.embed(codes[:1000].means, "tsne")
figure = plotting.latent_map(found.points, codes[:1000].labels, names=found.names)
figure.savefig(folder / "tsne.png")

temporary.cleanup()
