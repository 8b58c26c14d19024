"""The sets that codes are in: all of space, or a surface such as the unit sphere, to which other codes are moved."""

from __future__ import annotations

import torch
import torch.distributions as td
from torch import Tensor
from torch.distributions import Distribution
from torch.distributions.constraints import Constraint

__all__ = ["UnitSphere", "is_open", "projected", "support_of", "unit_vectors"]


class UnitSphere(Constraint):
    """The unit sphere, the vectors of length 1, as the support of a distribution.

    A constraint with such a method ``project`` is a surface: :meth:`mnistvae.VAE.decode` moves codes to it.

    Example:
        >>> UnitSphere().check(torch.tensor([[0.6, 0.8], [0.6, 0.9]]))
        tensor([ True, False])
    """

    event_dim = 1

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def check(self, value: Tensor) -> Tensor:
        return (value.square().sum(-1) - 1).abs() < 100 * torch.finfo(value.dtype).eps

    def project(self, codes: Tensor) -> Tensor:
        """The points of the sphere nearest to codes, (..., D)."""
        return unit_vectors(codes)


def unit_vectors(vectors: Tensor) -> Tensor:
    """Vectors (..., D) divided by their lengths; where the length is 0, the first axis, with a gradient of 0.

    Example:
        >>> unit_vectors(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
        tensor([[0.6000, 0.8000],
                [1.0000, 0.0000]])
    """
    square = (vectors * vectors).sum(-1, keepdim=True)
    some = square > torch.finfo(vectors.dtype).tiny
    axis = torch.eye(1, vectors.shape[-1], dtype=vectors.dtype, device=vectors.device)[0]
    return torch.where(some, vectors * torch.where(some, square, 1.0).rsqrt(), axis)


def support_of(distribution: Distribution) -> Constraint | None:
    """The support of a distribution, of a mixture that of its components; None where it does not say.

    Example:
        >>> support_of(mv.distributions.HypersphericalUniform(torch.zeros(3)))
        UnitSphere()
    """
    if isinstance(distribution, td.MixtureSameFamily):
        return support_of(distribution.component_distribution)
    try:
        support: Constraint | None = distribution.support
    except (NotImplementedError, AttributeError):
        return None
    return support


def is_open(support: Constraint | None) -> bool:
    """False for a surface and for discrete codes, where not every vector is a code; True where nothing is known.

    Example:
        >>> is_open(UnitSphere()), is_open(mv.priors.StandardNormal(2)().support)
        (False, True)
    """
    return not (getattr(support, "is_discrete", False) or hasattr(support, "project"))


def projected(support: Constraint | None, codes: Tensor) -> Tensor:
    """Codes moved to the nearest points of a surface; of a support that is none, the codes themselves.

    Example:
        >>> projected(UnitSphere(), torch.tensor([[3.0, 4.0]]))
        tensor([[0.6000, 0.8000]])
    """
    project = getattr(support, "project", None)
    return codes if project is None else project(codes)
