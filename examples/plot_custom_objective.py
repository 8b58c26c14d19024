r"""
Write an objective of your own
==============================

The KL term of the evidence lower bound asks that the posterior of *each* image be like the prior, which a useful code
cannot be. For samples it would be enough that the codes of *all* images together be like it. That is what the InfoVAE
of Zhao et al. (2019) asks for (here with their :math:`\alpha = 1`), as does the Wasserstein autoencoder of Tolstikhin
et al. (2018):

.. math:: -\mathbb{E}_{q(z \mid x)}[\log p(x \mid z)] + \lambda \, \text{MMD}(q(z), p(z))

The distance is the squared maximum mean discrepancy, which needs nothing but draws from both:

.. math:: \text{MMD}(q, p) = \mathbb{E}_{z, z' \sim q}[k(z, z')] + \mathbb{E}_{u, u' \sim p}[k(u, u')]
    - 2 \, \mathbb{E}_{z \sim q, u \sim p}[k(z, u)]

The package has one, :class:`mnistvae.objectives.InfoVAE`; here it is written anew, to show how. What an objective has
to keep to is in :doc:`/howto/own-objective`. It takes about a quarter of a minute on one CPU core. Run as a script,
``python examples/plot_custom_objective.py pictures`` writes its figure and its model to the folder ``pictures``;
without a folder's name it leaves nothing behind.
"""

import sys
import tempfile
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

import mnistvae as mv
from mnistvae import VAE, Trainer, load_dataset
from mnistvae.losses import kl_or_estimate
from mnistvae.networks import MLPDecoder, MLPEncoder
from mnistvae.objectives import ELBO, LatentVariableModel, Objective, Terms

train, test = load_dataset("mnist-mini", "train"), load_dataset("mnist-mini", "test")

temporary = tempfile.TemporaryDirectory()
folder = Path(sys.argv[1] if len(sys.argv) > 1 else temporary.name)
folder.mkdir(parents=True, exist_ok=True)


# %%
# The distance
# ------------
# With the kernel of Tolstikhin et al., section 4, which does not vanish far away. An objective returns one value for
# each image, so the mean over pairs is taken in two steps: here over the partners of each code, and by the Trainer over
# the codes.
def kernel(a: Tensor, b: Tensor) -> Tensor:
    """Inverse multiquadratic kernel of all pairs: (N, d) and (M, d) to (N, M)."""
    scale = 2 * a.shape[1]  # the mean squared distance of two standard normal draws
    return scale / (scale + torch.cdist(a, b).square())


def discrepancy(z: Tensor, noise: Tensor) -> Tensor:
    """Each code's share of the MMD between codes and noise (B, d): (B,), not in nats."""
    others = 1 - torch.eye(len(z), device=z.device)  # a code is no partner of its own
    within = (kernel(z, z) + kernel(noise, noise)) * others
    return within.sum(1) / max(len(z) - 1, 1) - 2 * kernel(z, noise).mean(1)


# %%
# The class
# ---------
# ``reconstruction`` and ``kl`` are what they are in every objective, nats without any weight, so that histories can be
# read side by side. Only ``loss`` is this objective's own.
class InfoVAE(Objective):
    """Reconstruction, and how far the codes of a batch are from draws from the prior."""

    def __init__(self, weight: float = 200.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(
        self,
        model: LatentVariableModel,
        x: Tensor,
        y: Tensor | None = None,
    ) -> Terms:
        posterior = model.encode(x, y)
        z = posterior.rsample()
        reconstruction = -model.decode(z, y).log_prob(x)
        prior = model.latent_prior(y)
        noise = prior.sample(() if prior.batch_shape else (len(x),))
        loss = reconstruction + self.weight * discrepancy(z, noise)
        return Terms(loss, reconstruction, kl_or_estimate(posterior, prior, z))


# %%
# Beside the built-in one
# -----------------------
# The bound itself, and with the KL term almost switched off.
objectives = {
    "ELBO, beta=1": ELBO(),
    "ELBO, beta=0.1": ELBO(beta=0.1),
    "InfoVAE": InfoVAE(),
}
trainer = Trainer(epochs=2, batch_size=64, learning_rate=2e-3, seed=0, progress=False)
models = {}
for name, objective in objectives.items():
    torch.manual_seed(0)
    encoder, decoder = MLPEncoder(10), MLPDecoder(10)
    models[name] = VAE(10, encoder=encoder, decoder=decoder, objective=objective)
    last = trainer.fit(models[name], train, validation=test)[-1]
    with torch.no_grad():
        codes = models[name].encode(test.images).sample()
        distance = discrepancy(codes, torch.randn_like(codes)).mean()
    print(
        f"{name:14s} reconstruction {last['validation_reconstruction']:.1f},",
        f"KL {last['validation_kl']:.1f},",
        f"MMD {distance:.4f}, spread of the codes {codes.std(0).mean():.2f}",
    )
model = models["InfoVAE"]

# %%
# With ``beta=0.1`` the codes spread wider than the prior, whose draws all come from their middle, and the samples are
# faint. The codes of the InfoVAE fill the prior: it reconstructs better than the ELBO, and its samples have the most
# contrast, though not all are digits. The price is in the KL term: the posteriors have shrunk almost to points, so
# reconstruction and KL together are a far looser bound than the ELBO's. The loss itself is no bound at all, and cannot
# be compared with another objective's.
figure = Figure(figsize=(13, 4.6), dpi=150, layout="constrained")
for (name, vae), part in zip(models.items(), figure.subfigures(1, 3), strict=True):
    digits = vae.sample(64, generator=torch.Generator().manual_seed(1))
    mv.plotting.sample_grid(digits, title=name, figure=part)
figure.savefig(folder / "objectives.png")

# %%
# Save and load
# -------------
path = mv.save(model, folder / "objective.safetensors")
same = mv.load(path, classes=[InfoVAE])
again = [vae.sample(8, generator=torch.Generator().manual_seed(2)) for vae in (model, same)]
print("the same samples:", torch.equal(*again))

temporary.cleanup()
