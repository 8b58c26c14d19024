"""The uniform distribution on the unit sphere as a prior."""

from __future__ import annotations

import torch
from torch import Tensor

from mnistvae._checks import check_count
from mnistvae.distributions import HypersphericalUniform
from mnistvae.priors.base import Encode, Prior

__all__ = ["UniformSphere"]


class UniformSphere(Prior):
    r"""The uniform distribution on the unit sphere, the prior of a hyperspherical VAE.

    .. math:: p(z) = \frac{\Gamma(D / 2)}{2 \pi^{D / 2}}, \qquad \|z\| = 1

    It goes with an encoder whose codes are on the sphere, a :class:`~mnistvae.networks.VonMisesFisherEncoder`. Davidson
    et al. (2018), "Hyperspherical variational auto-encoders".

    Args:
        latent_dim: D, the size of z, at least 2; the sphere has one dimension less.

    Raises:
        SettingError: If the size is below 2.

    Example:
        >>> UniformSphere(3)().log_prob(torch.tensor([1.0, 0.0, 0.0]))  # -log 4 pi
        tensor(-2.5310)
    """

    zero: Tensor

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = check_count("latent_dim as an integer of at least 2, for a sphere", latent_dim, least=2)
        self.register_buffer("zero", torch.zeros(self.latent_dim), persistent=False)

    def forward(self, y: Tensor | None = None, *, encode: Encode | None = None) -> HypersphericalUniform:
        return HypersphericalUniform(self.zero)
