"""
Train a VAE, reconstruct, sample
================================

From handwritten digits to new ones: load a data set, make a model, train it, look at what it learned, and keep it in
a file. It takes about a quarter of a minute on one CPU core and needs no download.

Run as a script, ``python examples/plot_train_and_sample.py pictures`` writes its figures and its model to the folder
``pictures``; without a folder's name it leaves nothing behind.
"""

# %%
# Data
# ----
# ``mnist-mini`` ships with the package: 10,000 training and 2,000 test digits of MNIST. An
# :class:`~mnistvae.data.ImageDataset` holds them as one uint8 tensor, with their labels.
import sys
import tempfile
from pathlib import Path

import torch

import mnistvae as mv
from mnistvae import BetaVAE, Trainer, load_dataset
from mnistvae.networks import MLPDecoder, MLPEncoder

train, test = load_dataset("mnist-mini", "train"), load_dataset("mnist-mini", "test")

temporary = tempfile.TemporaryDirectory()
folder = Path(sys.argv[1] if len(sys.argv) > 1 else temporary.name)
folder.mkdir(parents=True, exist_ok=True)

print(train)

# %%
# Model
# -----
# A :class:`~mnistvae.VAE` is an encoder :math:`q(z \mid x)`, a decoder with a likelihood :math:`p(x \mid z)`, a prior
# :math:`p(z)` and an objective. :class:`~mnistvae.BetaVAE` fills in what it is not given: Bernoulli pixels, a standard
# normal prior, and the evidence lower bound with the weight ``beta`` on its KL term. ``beta=1`` is the bound itself;
# more gives a code that is closer to the prior, less gives sharper reconstructions. The networks here are fully
# connected; without ``encoder=`` and ``decoder=`` they are convolutions, which draw better digits and take several
# times as long.
#
# The weights come from torch's global generator, so a seed makes them repeatable.
torch.manual_seed(0)
model = BetaVAE(latent_dim=10, beta=1.0, encoder=MLPEncoder(10), decoder=MLPDecoder(10))
print(model)

# %%
# Training
# --------
# :meth:`Trainer.fit <mnistvae.Trainer.fit>` trains the model in place and returns a :class:`~mnistvae.History`: one
# record for each epoch, in nats per image. (``progress=False`` only keeps this page short.)
trainer = Trainer(
    epochs=10,
    batch_size=128,
    learning_rate=2e-3,
    seed=0,
    progress=False,
)
history = trainer.fit(model, train, validation=test)

for record in [*history[::4], history[-1]]:
    print(
        f"epoch {record['epoch']:2d}: loss {record['loss']:.1f},",
        f"of which KL {record['kl']:.1f}; validation {record['validation_loss']:.1f}",
    )

# %%
# The axis is tagged ``grey-bce``: on grey pixels the Bernoulli term is a cross-entropy and not a log-likelihood, see
# :doc:`/conventions`.
figure = mv.plotting.loss_curves(history)
figure.savefig(folder / "loss.png")

# %%
# Reconstructions
# ---------------
# The first test image of each digit, and what is left of it after a pass through ten numbers.
first = [int((test.labels == digit).nonzero()[0]) for digit in range(10)]
originals = test[first].images
figure = mv.plotting.reconstruction_grid(originals, model.reconstruct(originals))
figure.savefig(folder / "reconstructions.png")

# %%
# Samples
# -------
# New digits: codes drawn from the prior and decoded. Some lie between digits, as the prior puts weight there too; a
# ``temperature`` below 1 stays nearer to the middle. A generator makes the draw repeatable.
digits = model.sample(64, generator=torch.Generator().manual_seed(1))
figure = mv.plotting.sample_grid(digits)
figure.savefig(folder / "samples.png")
# sphinx_gallery_thumbnail_number = 3

# %%
# Interpolation
# -------------
# Each row goes along the straight line between the codes of two test images.
starts, ends = originals[[0, 1, 3, 4]], originals[[6, 7, 8, 9]]
rows = model.interpolate(starts, ends, steps=10)  # (4, 10, 1, 28, 28)
figure = mv.plotting.sample_grid(rows.flatten(0, 1), columns=10)
figure.savefig(folder / "interpolation.png")

# %%
# Save and load
# -------------
# One safetensors file holds the weights and, as JSON, how to make the model again; there is no pickle in it. A loaded
# model gives the same images.
path = mv.save(model, folder / "vae.safetensors", metadata={"epochs": len(history)})
same = mv.load(path)
again = same.sample(64, generator=torch.Generator().manual_seed(1))
print("the same samples:", torch.equal(again, digits))
print("written beside it:", mv.io.read(path).metadata)

temporary.cleanup()
