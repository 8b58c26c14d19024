"""
The commands from Python, with parts of your own
================================================

``mnistvae train`` and the other commands are functions as well, in :mod:`mnistvae.commands`. Wherever they take a name,
on the command line or here, they also take ``module:NAME``: a recipe, data or a callback of a module of yours. The page
:doc:`/howto/command-line-doors` lists what can be brought.

It takes about a quarter of a minute on one CPU core. Run as a script, ``python examples/plot_commands.py run`` leaves
everything in the folder ``run``; without a folder's name it leaves nothing behind.
"""

import json
import sys
import tempfile
from pathlib import Path

import mnistvae as mv
from mnistvae.commands import generate, train

temporary = tempfile.TemporaryDirectory()
folder = Path(sys.argv[1] if len(sys.argv) > 1 else temporary.name)
folder.mkdir(parents=True, exist_ok=True)

# %%
# A module
# --------
# Usually it is a file that you have written. It is written here so that this page can be run as it is.
MODULE = '''
from torch import nn

import mnistvae as mv
from mnistvae.networks import GaussianEncoder, MLPDecoder
from mnistvae.recipes import Recipe
from mnistvae.training import Callback


class Trunk(nn.Module):
    """Features of an image."""

    def __init__(self, width):
        super().__init__()
        self.width = width
        self.layer = nn.LazyLinear(width)

    def forward(self, x):
        return self.layer(x.flatten(1)).relu()


def build(image_shape, num_classes, latent_dim, width):
    encoder = GaussianEncoder(Trunk(width), latent_dim)
    return mv.VAE(latent_dim, image_shape, encoder=encoder, decoder=MLPDecoder(latent_dim, image_shape, (width,)))


MINE = Recipe("mine", "a trunk of my own", build, {"latent_dim": 8, "width": 64}, {"epochs": 4, "batch_size": 64})


def inverted(split):
    """The built-in digits, black on white."""
    digits = mv.load_dataset("mnist-mini", split)
    return mv.ImageDataset(255 - digits.images, digits.labels)


class Loudly(Callback):
    """Says how each epoch ended."""

    def on_epoch_end(self, state):
        print(f"epoch {state.epoch}: {state.history[-1]['loss']:.1f} nats")
'''
(folder / "my_digits.py").write_text(MODULE)

# %%
# A run
# -----
# On the command line this is ``mnistvae train --recipe my_digits:MINE --dataset my_digits:inverted --callback
# my_digits:Loudly --set width=128``. What it prints goes to ``say``.
sys.path.insert(0, str(folder))  # the command line looks into the current folder by itself
run = train(
    recipe="my_digits:MINE",
    dataset="my_digits:inverted",
    callbacks=["my_digits:Loudly"],
    width=128,
    progress=False,
    out=folder / "run",
    say=print,
)

# %%
# Its folder says what made it, so that ``train(resume=folder / "run")`` would go on with it.
made = json.loads(run.folder.record.read_text())
print({name: made[name] for name in ("recipe", "dataset", "settings", "callbacks", "device", "threads")})

# %%
# The saved model
# ---------------
# A file that names a class of yours is loaded only where the class is allowed: ``--classes my_digits:Trunk``.
images = generate(run.folder.model, n=20, classes=["my_digits:Trunk"], out=folder / "drawn")
figure = mv.plotting.sample_grid(images, columns=10)
figure.savefig(folder / "inverted.png")

temporary.cleanup()
