r"""
Write a likelihood of your own
==============================

A likelihood says how a pixel may differ from what the decoder predicts, and so what the model takes trouble over.
Normal pixels pay for the square of an error: many small errors are better than a large one, which blurs an edge whose
place is uncertain. Pixels of a Laplace distribution pay for the error itself, and the best prediction is the median
rather than the mean:

.. math:: -\log p(x \mid z) = \sum_i \frac{|x_i - \mu_i|}{b} + \log 2 b

What a likelihood has to keep to is in :doc:`/howto/own-likelihood`. It takes about a quarter of a minute on one CPU
core. Run as a script, ``python examples/plot_custom_likelihood.py pictures`` writes its figure and its model to the
folder ``pictures``; without a folder's name it leaves nothing behind.
"""

import math
import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn
from torch import distributions as td

import mnistvae as mv
from mnistvae import VAE, Trainer, load_dataset
from mnistvae.likelihoods import Gaussian, Likelihood
from mnistvae.networks import MLPDecoder, MLPEncoder

train, test = load_dataset("mnist-mini", "train"), load_dataset("mnist-mini", "test")

temporary = tempfile.TemporaryDirectory()
folder = Path(sys.argv[1] if len(sys.argv) > 1 else temporary.name)
folder.mkdir(parents=True, exist_ok=True)


# %%
# The class
# ---------
# One parameter a pixel, whose sigmoid is the median, and one width b for all pixels, learned with the weights.
# ``Independent(..., 3)`` makes the three dimensions of an image one event, so that ``log_prob`` is a sum over pixels.
class Laplace(Likelihood):
    """Independent Laplace pixels of one width, learned with the weights."""

    n_params = 1

    def __init__(self, width: float = 0.2) -> None:
        super().__init__()
        self.width = width
        self.log_width = nn.Parameter(torch.tensor(math.log(width)))

    def forward(self, params: Tensor) -> td.Independent:
        pixels = td.Laplace(params.sigmoid(), self.log_width.exp(), validate_args=False)
        return td.Independent(pixels, 3, validate_args=False)

    def tag(self, binarization: str = "none") -> str:
        return "laplace" if binarization == "none" else f"laplace-on-{binarization}-binary"


# %%
# A figure in nats means something only if the density is one, so check that it integrates to 1:
x = torch.linspace(-5, 5, 10001)
pixel = Laplace(width=0.2)(torch.zeros(1, 1, 1, 1)).expand([10001])
density = pixel.log_prob(x.reshape(-1, 1, 1, 1)).exp()
print(f"integral {torch.trapezoid(density, x):.4f}")


# %%
# Beside the built-in one
# -----------------------
def make(likelihood):
    """The same networks with the same first weights each time."""
    torch.manual_seed(0)
    return VAE(10, encoder=MLPEncoder(10), decoder=MLPDecoder(10), likelihood=likelihood)


gaussian, model = make(Gaussian("learned")), make(Laplace())
trainer = Trainer(epochs=6, batch_size=128, learning_rate=2e-3, seed=0, progress=False)
histories = {
    "Gaussian": trainer.fit(gaussian, train, validation=test),
    "Laplace": trainer.fit(model, train, validation=test),
}
for name, history in histories.items():
    loss = history[-1]["validation_loss"]
    print(f"{name}: {loss:.0f} nats per image, tag {history.tag!r}")
print(f"learned width b = {model.likelihood.log_width.exp().item():.3f}")

# %%
# Both losses are negative, as minus the logarithm of a density may be. Their tags differ, so do not read the gap as a
# gain: most pixels of a digit are exactly black, and the sharper peak of the Laplace density is paid for each of them.
# What can be compared is the error of the reconstructions:
truth = test.images / 255
for name, vae in {"Gaussian": gaussian, "Laplace": model}.items():
    images = vae.reconstruct(test.images)
    print(
        f"{name}: mean squared error {(images - truth).square().mean():.4f},",
        f"mean absolute error {(images - truth).abs().mean():.4f},",
        f"mean level of black pixels {images[truth == 0].mean():.4f}",
    )

# %%
# Ten test digits and their reconstructions.
first = [int((test.labels == digit).nonzero()[0]) for digit in range(10)]
originals = test[first].images
rows = {"Gaussian": gaussian.reconstruct(originals), "Laplace": model.reconstruct(originals)}
figure = mv.plotting.reconstruction_grid(originals, rows)
figure.savefig(folder / "likelihoods.png")

# %%
# The edges are crisper and the ground is darker, but where a thin stroke is less likely than not at each single pixel,
# as in parts of the two, the five and the six, the median is black and the stroke is gone. Neither error is smaller:
# this is another choice of what to get wrong, not a better one.
#
# Save and load
# -------------
# The learned width is a weight like any other; ``width`` is where it started.
path = mv.save(model, folder / "likelihood.safetensors")
same = mv.load(path, classes=[Laplace])
again = [vae.reconstruct(originals) for vae in (model, same)]
print("the same reconstructions:", torch.equal(*again))

temporary.cleanup()
