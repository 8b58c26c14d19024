"""
A latent space that moves
=========================

A page for the browser in which a model runs: drag a handle over its latent plane, draw a digit and see it
reconstructed, walk from one image to another. ``mnistvae explore MODEL`` makes it on the command line.

It takes about 5 seconds on one CPU core. Run as a script, ``python examples/plot_explore.py pages`` writes the page to
the folder ``pages``; without a folder's name it leaves nothing behind.
"""

import sys
import tempfile
from pathlib import Path

import torch

import mnistvae as mv
from mnistvae import explorer, load_dataset, plotting

temporary = tempfile.TemporaryDirectory()
folder = Path(sys.argv[1] if len(sys.argv) > 1 else temporary.name)
folder.mkdir(parents=True, exist_ok=True)

model = mv.pretrained("mlp-2d")

# %%
# One file, which needs no server and no network.
page = explorer.explorer_page(model, load_dataset("mnist-mini", "test"), title="mlp-2d")
(folder / "explorer.html").write_text(page, encoding="utf-8")
print(f"{len(page) / 1e6:.1f} MB")

# %%
# The page of such a model is in :doc:`Explore a latent space in a browser </howto/explore>`. Its weights are rounded to
# half precision, in which a ready model's are stored: its images are the same. Of a model of your own they change too
# little to be seen.
z = torch.tensor([[0.5, -1.0], [-1.5, 0.5]])
with torch.no_grad():
    exact, shown = model.decode(z).mean, explorer.rounded(model).decode(z).mean
print(f"largest difference of a pixel: {float((exact - shown).abs().max()):.5f}")

# %%
figure = plotting.reconstruction_grid(exact, {"in the page": shown})
figure.savefig(folder / "rounded.png")

temporary.cleanup()
