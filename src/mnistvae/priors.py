"""Priors: p(z), or p(z | y) where there is a label."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor
from torch.distributions import Distribution

from mnistvae._checks import check_count
from mnistvae._component import Component
from mnistvae.distributions import DiagonalNormal

__all__ = ["Prior", "StandardNormal"]

#: The model's own encoder, for a prior that is made of posteriors.
Encode: TypeAlias = Callable[[Tensor, Tensor | None], Distribution]


class Prior(Component):
    """Contract of a prior: a distribution over codes.

    A subclass keeps its constructor arguments as attributes of the same names and implements
    :meth:`forward`.
    """

    latent_dim: int

    @abstractmethod
    def forward(self, y: Tensor | None = None, *, encode: Encode | None = None) -> Distribution:
        """p(z) with batch shape () or, given labels (B,), batch shape () or (B,); event shape (latent_dim,)."""


class StandardNormal(Prior):
    r"""The usual prior.

    .. math:: p(z) = \mathcal{N}(z; 0, I)

    Args:
        latent_dim: size of z.

    Example:
        >>> StandardNormal(2)().log_prob(torch.zeros(2))  # -log 2 pi
        tensor(-1.8379)
    """

    zero: Tensor

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = check_count("latent_dim as an integer of at least 1", latent_dim)
        self.register_buffer("zero", torch.zeros(self.latent_dim), persistent=False)

    def forward(self, y: Tensor | None = None, *, encode: Encode | None = None) -> DiagonalNormal:
        return DiagonalNormal(self.zero, self.zero)
