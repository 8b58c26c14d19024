r"""
Write a recipe of your own
==========================

A recipe gives a model and the settings of its training a name. What it has to keep to is in :doc:`/howto/own-recipe`;
here is one for networks of one wide layer with a smooth activation, trained by AdamW.

It takes about a quarter of a minute on one CPU core. Run as a script, ``python examples/plot_custom_recipe.py
pictures`` writes its figure to the folder ``pictures``; without a folder's name it leaves nothing behind.
"""

import sys
import tempfile
from pathlib import Path

from torch import nn

import mnistvae as mv
from mnistvae import VAE
from mnistvae.networks import MLPDecoder, MLPEncoder
from mnistvae.recipes import Lazy, Recipe

train, test = mv.load_dataset("mnist-mini", "train"), mv.load_dataset("mnist-mini", "test")

temporary = tempfile.TemporaryDirectory()
folder = Path(sys.argv[1] if len(sys.argv) > 1 else temporary.name)
folder.mkdir(parents=True, exist_ok=True)


# %%
# The function
# ------------
# It is called with the shape of the images, the number of classes (None for a model that is not told the labels), and
# the settings, and returns the model.
def wide_mlp(image_shape, num_classes, latent_dim: int, width: int) -> VAE:
    """A VAE with one wide hidden layer and GELU activations.

    Args:
        image_shape: Shape of an image, (C, H, W).
        num_classes: Number of classes of a model that is told the label, else None.
        latent_dim: Number of latent dimensions.
        width: Width of the hidden layer.
    """
    return VAE(
        latent_dim,
        image_shape,
        encoder=MLPEncoder(latent_dim, image_shape, (width,), nn.GELU(), num_classes),
        decoder=MLPDecoder(latent_dim, image_shape, (width,), nn.GELU(), num_classes),
        num_classes=num_classes,
    )


# %%
# The recipe
# ----------
# Settings of the model, then those of the Trainer. A ``Lazy`` is a function or class that is imported only when a
# Trainer is made.
WIDE = Recipe(
    "wide",
    "784-600-10 with GELU, trained by AdamW",
    wide_mlp,
    settings={"latent_dim": 10, "width": 600},
    training={"epochs": 2, "batch_size": 64, "learning_rate": 2e-3, "optimizer": Lazy("torch.optim:AdamW", {})},
    source="this page",
)

# %%
# In a module ``my_recipes`` its name would be ``my_recipes:WIDE``, for ``mv.recipes.get`` and for
# ``mnistvae train --recipe``. Its settings and their help are found by themselves:
for option in mv.recipes.options([WIDE]):
    print(f"{option.name}: {option.help}")

# %%
# Any of them can be changed, and nothing else:
try:
    WIDE.model(hidden=(200,))
except mv.MnistvaeError as error:
    print(error)

# %%
# Trained
# -------
# Beside ``mlp-20``, with as many latent dimensions and epochs:
rows = {}
for recipe in (mv.recipes.get("mlp-20"), WIDE):
    model = recipe.model(latent_dim=10, seed=0)
    history = recipe.trainer(epochs=2, batch_size=64, learning_rate=2e-3, progress=False).fit(model, train, test)
    print(f"{recipe.name}: {history[-1]['validation_loss']:.1f} nats per image")
    rows[recipe.name] = model.reconstruct(mv.data.one_of_each(test).images)

# %%
# Ten test digits, and what each makes of them:
figure = mv.plotting.reconstruction_grid(mv.data.one_of_each(test).images, rows)
figure.savefig(folder / "recipes.png")

temporary.cleanup()
