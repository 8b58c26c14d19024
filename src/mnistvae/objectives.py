"""Objectives: what training minimises, for each image, in nats."""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple, Protocol

from torch import Tensor
from torch.distributions import Distribution

from mnistvae._checks import check_number
from mnistvae._component import Component
from mnistvae.losses import kl_or_estimate, negative_elbo

__all__ = ["ELBO", "LatentVariableModel", "Objective", "Terms"]


class Terms(NamedTuple):
    """A loss and what it is made of: each (B,), in nats, not reduced."""

    #: What is minimised.
    loss: Tensor
    #: -log p(x | z) at the sampled code.
    reconstruction: Tensor
    #: KL(q(z | x) || p(z)), without beta.
    kl: Tensor


class LatentVariableModel(Protocol):
    """What an objective needs of a model; :class:`~mnistvae.VAE` has it."""

    def encode(self, x: Tensor, y: Tensor | None = None) -> Distribution:
        """q(z | x, y), batch (B,)."""

    def decode(self, z: Tensor, y: Tensor | None = None) -> Distribution:
        """p(x | z, y), batch (B,)."""

    def latent_prior(self, y: Tensor | None = None) -> Distribution:
        """p(z | y), batch (B,) or ()."""


class Objective(Component):
    """Contract of an objective: a model and a batch to :class:`Terms`.

    A subclass keeps its constructor arguments as attributes of the same names and implements
    :meth:`forward`.
    """

    @abstractmethod
    def forward(self, model: LatentVariableModel, x: Tensor, y: Tensor | None = None) -> Terms:
        """Terms of the loss for images (B, C, H, W) and labels (B,), one value an image."""


class ELBO(Objective):
    r"""The negative evidence lower bound, with a weight on its KL term.

    .. math:: -\mathbb{E}_{q(z \mid x)}[\log p(x \mid z)] + \beta \, D_{KL}(q(z \mid x) \| p(z))

    The expectation is estimated at one code, drawn by reparameterization. Kingma and Welling
    (2014), equation 7, for beta = 1; Higgins et al. (2017), equation 4, for any beta.

    Args:
        beta: weight of the KL term, at least 0; pixels and latent dimensions are summed, so beta = 1 is the bound.

    Raises:
        SettingError: a negative or infinite beta.
    """

    def __init__(self, beta: float = 1.0) -> None:
        super().__init__()
        self.beta = check_number("a finite beta of at least 0", beta, fix="beta = 1 is the evidence lower bound")

    def forward(self, model: LatentVariableModel, x: Tensor, y: Tensor | None = None) -> Terms:
        posterior = model.encode(x, y)
        z = posterior.rsample()
        reconstruction = -model.decode(z, y).log_prob(x)
        kl = kl_or_estimate(posterior, model.latent_prior(y), z)
        return Terms(negative_elbo(reconstruction, kl, self.beta), reconstruction, kl)
