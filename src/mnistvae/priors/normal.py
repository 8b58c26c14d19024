"""The standard normal distribution as a prior."""

from __future__ import annotations

import torch
from torch import Tensor

from mnistvae._checks import check_count
from mnistvae.distributions import UnitNormal
from mnistvae.priors.base import Encode, Prior

__all__ = ["StandardNormal"]


class StandardNormal(Prior):
    r"""The standard normal distribution, which is the usual prior.

    .. math:: p(z) = \mathcal{N}(z; 0, I)

    Args:
        latent_dim: Size of z.

    Example:
        >>> StandardNormal(2)().log_prob(torch.zeros(2))  # -log 2 pi
        tensor(-1.8379)
    """

    zero: Tensor

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = check_count("latent_dim as an integer of at least 1", latent_dim)
        self.register_buffer("zero", torch.zeros(self.latent_dim), persistent=False)

    def forward(self, y: Tensor | None = None, *, encode: Encode | None = None) -> UnitNormal:
        return UnitNormal(self.zero)
