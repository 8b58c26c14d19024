"""
Write an encoder of your own
============================

There are two reasons to: your network knows something about the images that the built-in ones do not, or the posterior
is to have another shape than a normal whose dimensions are independent. The first needs a plain ``nn.Module``, the
second a subclass of :class:`~mnistvae.networks.Encoder`. What both have to keep to is in :doc:`/howto/own-encoder`.

It takes about a quarter of a minute on one CPU core. Run as a script, ``python examples/plot_custom_encoder.py
pictures`` writes its figure and its model to the folder ``pictures``; without a folder's name it leaves nothing behind.
"""

import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

import mnistvae as mv
from mnistvae import VAE, Trainer, load_dataset
from mnistvae.networks import Encoder, GaussianEncoder, MLPDecoder, MLPEncoder

train, test = load_dataset("mnist-mini", "train"), load_dataset("mnist-mini", "test")

temporary = tempfile.TemporaryDirectory()
folder = Path(sys.argv[1] if len(sys.argv) > 1 else temporary.name)
folder.mkdir(parents=True, exist_ok=True)


# %%
# A trunk
# -------
# A stroke is a few pixels wide, so let the network look at patches of 4 x 4 pixels first, all with the same weights,
# and then at all patches together. That is a plain module from images to features. It keeps its constructor arguments
# under their own names; nothing else is asked of it.
class Patches(nn.Module):
    """4 x 4 pixels, then all together: (B, 1, 28, 28) to (B, features)."""

    def __init__(self, width: int = 32, features: int = 256) -> None:
        super().__init__()
        self.width = width
        self.features = features
        self.patches = nn.Conv2d(1, width, kernel_size=4, stride=4)
        self.together = nn.Linear(width * 7 * 7, features)

    def forward(self, x: Tensor) -> Tensor:
        h = nn.functional.gelu(self.patches(x)).flatten(1)
        return nn.functional.gelu(self.together(h))


# %%
# :class:`~mnistvae.networks.GaussianEncoder` puts the usual posterior on its features: a mean and a log-variance for
# each latent dimension.
torch.manual_seed(0)
encoder = GaussianEncoder(Patches(), latent_dim=10)
patches = VAE(latent_dim=10, encoder=encoder, decoder=MLPDecoder(10))
print(patches.encoder)


# %%
# A posterior of another shape
# ----------------------------
# The true posterior of an image has no reason to lie along the axes of the latent space. This encoder gives it a full
# covariance :math:`L L^T`, with :math:`L = \operatorname{diag}(\sigma) (I + A)` and :math:`A` below the diagonal. It
# starts with :math:`A = 0`, as the usual posterior. Any distribution of torch's will do that has the batch shape
# ``(B,)`` and the event shape ``(latent_dim,)``, and draws that keep gradients. (The package has such an encoder,
# :class:`~mnistvae.networks.FullNormalEncoder`; here is one written by hand.)
class Correlated(Encoder):
    """A normal with full covariance on the features of any module."""

    def __init__(self, trunk: nn.Module, latent_dim: int, features: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.latent_dim = latent_dim
        self.features = features
        self.diagonal = nn.Linear(features, 2 * latent_dim)
        self.below = nn.Linear(features, latent_dim * latent_dim)
        nn.init.zeros_(self.below.weight)
        nn.init.zeros_(self.below.bias)

    def forward(self, x: Tensor, y: Tensor | None = None) -> MultivariateNormal:
        h = self.trunk(x)
        mean, log_sigma = self.diagonal(h).chunk(2, dim=-1)
        below = self.below(h).unflatten(-1, (self.latent_dim, self.latent_dim)).tril(-1)
        unit = torch.eye(self.latent_dim, device=h.device)
        cholesky = log_sigma.exp().unsqueeze(-1) * (unit + below)
        return MultivariateNormal(mean, scale_tril=cholesky, validate_args=False)


torch.manual_seed(0)
encoder = Correlated(Patches(), latent_dim=10, features=256)
model = VAE(latent_dim=10, encoder=encoder, decoder=MLPDecoder(10))

# %%
# Beside the built-in one
# -----------------------
# Three models that differ in nothing but the encoder. torch knows no closed form of the KL divergence between this
# posterior and the prior, so the objective estimates it at the code that was drawn anyway; nothing has to be said.
torch.manual_seed(0)
built_in = VAE(latent_dim=10, encoder=MLPEncoder(10), decoder=MLPDecoder(10))

trainer = Trainer(epochs=2, batch_size=64, learning_rate=2e-3, seed=0, progress=False)
models = {"MLPEncoder": built_in, "Patches": patches, "full covariance": model}
for name, vae in models.items():
    last = trainer.fit(vae, train, validation=test)[-1]
    print(
        f"{name:15s} validation loss {last['validation_loss']:.1f},",
        f"of which reconstruction {last['validation_reconstruction']:.1f}",
        f"and KL {last['validation_kl']:.1f}",
    )

# %%
# The patches are worth a few nats beside the built-in network. The full covariance gets by with less KL and
# reconstructs worse, the more so after a training as short as this one: after eight epochs in batches of 128, with
# three seeds, its loss was from one nat more to one nat less than that of the patches with the usual posterior. The
# dimensions of its posteriors do depend on each other:
with torch.no_grad():
    covariance = model.encode(test.images).covariance_matrix  # (2000, 10, 10)
deviation = covariance.diagonal(dim1=-2, dim2=-1).sqrt()
correlation = covariance / (deviation.unsqueeze(-1) * deviation.unsqueeze(-2))
off_diagonal = correlation[:, ~torch.eye(10, dtype=torch.bool)]
print(f"mean absolute correlation of two dimensions: {off_diagonal.abs().mean():.2f}")

# %%
# Ten test digits and their reconstructions. A few nats are hardly to be seen.
first = [int((test.labels == digit).nonzero()[0]) for digit in range(10)]
originals = test[first].images
rows = {name: vae.reconstruct(originals) for name, vae in models.items()}
figure = mv.plotting.reconstruction_grid(originals, rows)
figure.savefig(folder / "encoders.png")

# %%
# Save and load
# -------------
# The file names the classes and holds their constructor arguments; loading it needs to be told which classes may be
# made.
path = mv.save(model, folder / "encoder.safetensors")
same = mv.load(path, classes=[Correlated, Patches])
again = [vae.reconstruct(originals) for vae in (model, same)]
print("the same reconstructions:", torch.equal(*again))

temporary.cleanup()
