r"""
Write a metric of your own
==========================

The mean squared error does not mind a blurred image: a soft edge is off by a little in many pixels. The eye does mind.
This metric looks at edges alone: how much neighbouring pixels differ in a reconstruction, over how much they differ in
the image,

.. math:: \text{sharpness}(x, \hat x) = \frac{\sum_i |\nabla \hat x|_i}{\sum_i |\nabla x|_i}

which is 1 for a reconstruction as sharp as the image, and less for one that is blurred. A second one looks at samples:
how far the nearest training image is from each, since a model that has learned its images by heart draws nothing else.

What a metric has to keep to is in :doc:`/howto/own-metric`. It takes about a quarter of a minute on one CPU core. Run
as a script, ``python examples/plot_custom_metric.py pictures`` writes its figure and the files of an evaluation to the
folder ``pictures``; without a folder's name it leaves nothing behind.
"""

import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor

import mnistvae as mv
from mnistvae import Trainer, View, load_dataset
from mnistvae.metrics import Estimate, Metric, compare, evaluate

train, test = load_dataset("mnist-mini", "train"), load_dataset("mnist-mini", "test")

temporary = tempfile.TemporaryDirectory()
folder = Path(sys.argv[1] if len(sys.argv) > 1 else temporary.name)
folder.mkdir(parents=True, exist_ok=True)


# %%
# One value for each image
# ------------------------
# With ``per="reconstruction"`` the function is given images and their reconstructions, a batch at a time, and returns a
# value for each. The score is the mean; its standard error and the table of the classes come by themselves.
def edges(x: Tensor) -> Tensor:
    """Sum of the absolute differences of neighbouring pixels, (B,)."""
    return x.diff(dim=-1).abs().flatten(1).sum(1) + x.diff(dim=-2).abs().flatten(1).sum(1)


def sharpness(x: Tensor, reconstruction: Tensor) -> Tensor:
    """Edges of the reconstructions over those of the images, (B,)."""
    return edges(reconstruction) / edges(x)


SHARPNESS = Metric(
    "sharpness",
    better="higher",
    compute=sharpness,
    per="reconstruction",
    protocol="edges of the reconstruction over those of the image, 1 if as sharp",
)


# %%
# Check it on what is known: an image is as sharp as itself, and blurred it is not.
x = test.images[:100] / 255
blurred = torch.nn.functional.avg_pool2d(x, 3, stride=1, padding=1)
print(sharpness(x, x).unique(), sharpness(x, blurred).mean())


# %%
# One value for a model
# ---------------------
# Without ``per`` the function is given the whole :class:`mnistvae.View`, which has images, codes, reconstructions and
# samples, each computed once. What it needs is said beforehand, so that samples are kept (as uint8) from the one pass
# that draws them, and so that two evaluations with different numbers of samples are not compared.
def novelty(view: View) -> Estimate:
    """Mean distance of samples to the nearest training image, with its standard error."""
    samples, known = view.samples.flatten(1) / 255, view.known.images.flatten(1) / 255
    nearest = torch.cdist(samples, known).amin(1)
    return Estimate(float(nearest.mean()), float(nearest.std() / len(nearest) ** 0.5))


NOVELTY = Metric(
    "novelty",
    needs=["samples", "training labels"],
    compute=novelty,
    protocol="Euclidean distance of a sample to the nearest training image",
)

# %%
# In the table, the file and the comparison
# -----------------------------------------
models = {}
for latent_dim in (2, 20):
    torch.manual_seed(0)
    model = mv.recipes.get("mlp-20").model(latent_dim=latent_dim, seed=0)
    Trainer(epochs=3, batch_size=64, learning_rate=2e-3, seed=0, progress=False).fit(model, train)
    models[f"{latent_dim} dimensions"] = model

how = {"train": train, "include": ["reconstruction"], "metrics": [SHARPNESS, NOVELTY], "num_generated": 500}
found = {name: evaluate(model, test[:1000], **how) for name, model in models.items()}
print(compare(found))
found["20 dimensions"].to_json(folder / "metrics.json")

# %%
# By class: the strokes of a 1 are as sharp as they were, and those of an 8 blur first.
groups = {name: {row["class"]: row["sharpness"] for row in one.by_class} for name, one in found.items()}
figure = mv.plotting.class_bars(groups, "sharpness", title="Edges of reconstructions over edges of images")
figure.savefig(folder / "sharpness.png")

# %%
# The images behind the number: a view of the same model, and the most and the least blurred of its reconstructions. A
# sharp edge may be of the wrong digit, so a metric of this kind stands beside the errors and not in their place.
view = View(models["2 dimensions"], test[:1000])
view.keep("reconstructions")
(values,) = view.reconstructed(sharpness)
order = values.argsort()
shown = torch.cat([order[:5], order[-5:]])
print(values[shown])
figure = mv.plotting.reconstruction_grid(view.shown.images[shown], view.reconstructions[shown])
figure.savefig(folder / "most_and_least_blurred.png")

temporary.cleanup()
