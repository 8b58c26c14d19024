"""
Digits out of a codebook
========================

A VQ-VAE writes a digit as a grid of numbers, its tokens, each of which stands for a vector of a learned codebook. Two
things are to be seen: the tokens of digits, and that nothing can be drawn until a prior knows how they go together.

It takes half a minute on one CPU core. Run as a script, ``python examples/plot_discrete_codes.py pictures`` writes
its pictures to the folder ``pictures``; without a folder's name it leaves nothing behind.
"""

import sys
import tempfile
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import nn

import mnistvae as mv
from mnistvae import plotting
from mnistvae.networks import TrunkDecoder, VectorQuantizedEncoder
from mnistvae.priors import TokenPrior, UniformTokens

temporary = tempfile.TemporaryDirectory()
folder = Path(sys.argv[1] if len(sys.argv) > 1 else temporary.name)
folder.mkdir(parents=True, exist_ok=True)

# %%
# The model
# ---------
# The encoder ends on a grid of 7 x 7, and each place of it takes the nearest of 32 vectors. ``usage`` is the share of
# the codebook that a batch uses, ``perplexity`` how many vectors it would be if all were used alike.
train, test = (mv.load_dataset("mnist-mini", split) for split in ("train", "test"))
torch.manual_seed(0)
down = nn.Sequential(nn.Conv2d(1, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU())
up = nn.Sequential(
    nn.Unflatten(1, (8, 7, 7)), nn.ConvTranspose2d(8, 16, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(16, 1, 4, 2, 1)
)
encoder = VectorQuantizedEncoder(down, codebook_size=32, code_dim=8, grid=(7, 7))
decoder = TrunkDecoder(up, encoder.latent_dim)
model = mv.VAE(encoder.latent_dim, encoder=encoder, decoder=decoder, prior=UniformTokens(32, (7, 7)))
history = mv.Trainer(epochs=3, seed=0, progress=False).fit(model, train)
print({name: round(history[-1][name], 2) for name in ("reconstruction", "commitment", "usage", "perplexity")})

# %%
# What a digit is written in
# --------------------------
# Above are digits, in the middle their tokens, each number a shade, and below the digits that are decoded from them.
shown = torch.cat([(test.labels == digit).nonzero()[:1, 0] for digit in test.labels.unique()])
images = test.images[shown] / 255
with torch.no_grad():
    tokens = model.encode(images).tokens
grids = tokens.reshape(-1, 1, 7, 7).float() / 31
figure = plotting.reconstruction_grid(
    images, {"tokens": nn.functional.interpolate(grids, scale_factor=4), "decoded": model.reconstruct(images)}
)
figure.savefig(folder / "tokens.png")

# %%
# Nothing to draw from, at first
# ------------------------------
# While the network is trained all tokens are alike to the prior, and so are its samples. A small transformer is then
# fitted to the tokens of the training images, and draws one token after the other, each given those before it.
narrow = model.replace(prior=TokenPrior(32, (7, 7), width=48, blocks=1, heads=4)).eval()
fitted = mv.fit_prior(narrow, train, kind="tokens", steps=200, seed=0)
torch.manual_seed(0)
rows = torch.cat([model.sample(10), fitted.sample(10), fitted.sample(10, temperature=0.7)])
names = ["all alike", "fitted", "fitted, at 0.7"]
figure: Figure = plotting.sample_grid(rows, columns=10, names=names)
figure.savefig(folder / "samples.png")

# %%
# The price of a digit
# --------------------
# ``nll`` is the bound at the digit's own tokens, in nats: what they cost under the prior, and the pixels given them.
# Under the fitted prior the tokens of real digits cost half.
for name, one in (("all alike", model), ("fitted", fitted)):
    scores = mv.metrics.evaluate(one, test[:500], include=["likelihood"])
    print(f"{name}: {scores['kl']:.1f} nats for the tokens, nll {scores['nll']:.1f}, tagged {one.tag()}")

temporary.cleanup()
