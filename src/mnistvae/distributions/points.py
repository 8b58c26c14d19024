"""A distribution that is all at one point, and what takes the place of a density that it has not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributions as td
from torch import Size, Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.kl import register_kl

from mnistvae.distributions.joint import Joint
from mnistvae.distributions.mixtures import EvenMixture
from mnistvae.distributions.noise import from_noise
from mnistvae.distributions.operations import tempered

__all__ = ["Point", "has_density"]


class Point(Distribution):
    r"""A distribution that is all at one point: the posterior of an encoder without noise.

    .. math:: q(z) = \delta(z - c)

    It has no density with respect to the codes' volume. By convention ``log_prob`` is that with respect to the point
    itself: 0 there, and minus infinity everywhere else. The KL divergence from a prior, which is infinite, is taken
    without the infinite constant, which no weight changes, and that of two points is the one of two normals of variance
    1 in their places:

    .. math:: D_{KL}(\delta_c \| p) := -\log p(c), \qquad D_{KL}(\delta_b \| \delta_c) := \tfrac{1}{2} \|b - c\|^2

    So none of these figures is a likelihood, nor a bound on one.

    Args:
        point: c, (..., latent_dim).

    Example:
        >>> q = Point(torch.tensor([[3.0, 4.0]]))
        >>> q.mean, q.variance, q.log_prob(q.rsample())
        (tensor([[3., 4.]]), tensor([[0., 0.]]), tensor([0.]))
        >>> torch.distributions.kl_divergence(q, Point(torch.zeros(1, 2)))  # 25 / 2
        tensor([12.5000])
    """

    has_rsample = True
    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (torch's own way)
    support = constraints.real_vector

    def __init__(self, point: Tensor) -> None:
        self.point = point
        super().__init__(point.shape[:-1], point.shape[-1:], validate_args=False)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(batch {tuple(self.batch_shape)}, codes {tuple(self.event_shape)})"

    def expand(self, batch_shape: Any, _instance: Any = None) -> Point:
        return Point(self.point.expand((*batch_shape, *self.event_shape)))

    @property
    def mean(self) -> Tensor:
        return self.point

    @property
    def mode(self) -> Tensor:
        return self.point

    @property
    def variance(self) -> Tensor:
        return torch.zeros_like(self.point)

    def log_prob(self, value: Tensor) -> Tensor:
        there = (value == self.point).all(-1)
        return torch.zeros_like(there, dtype=self.point.dtype).masked_fill(there.logical_not(), -math.inf)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """The point itself, (..., latent_dim), as often as it is asked for."""
        return self.point.expand(self._extended_shape(Size(sample_shape)))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self.rsample(sample_shape).detach().clone()


def has_density(distribution: Distribution, *, or_probability: bool = False) -> bool:
    """False for a :class:`Point`, and for a mixture or another distribution that is made of such.

    Args:
        distribution: The distribution.
        or_probability: Tell whether ``log_prob`` is a density or, of discrete codes, a probability: that of a point
            among the codes of a codebook is 1.

    Example:
        >>> has_density(Point(torch.zeros(2))), has_density(torch.distributions.Normal(0.0, 1.0))
        (False, True)
    """
    more = {"or_probability": or_probability}
    if isinstance(distribution, EvenMixture | Joint):
        return all(has_density(part, **more) for part in distribution.parts)
    if isinstance(distribution, td.MixtureSameFamily):
        return has_density(distribution.component_distribution, **more)
    if isinstance(distribution, td.Independent | td.TransformedDistribution):
        return has_density(distribution.base_dist, **more)
    return not isinstance(distribution, Point) or (or_probability and distribution.support.is_discrete)


@tempered.register
def _(distribution: Point, _: float | Sequence[float]) -> Point:
    return distribution  # there is no spread to scale


@from_noise.register
def _(distribution: Point, noise: Tensor, _: Tensor | None = None) -> Tensor:
    return distribution.point.expand(noise.shape)


def _kl_point(q: Point, p: Distribution) -> Tensor:
    log_p: Tensor = p.log_prob(q.point)
    return -log_p


def _kl_points(q: Point, p: Point) -> Tensor:
    return 0.5 * (q.point - p.point).square().sum(-1)


register_kl(Point, Distribution)(_kl_point)  # type: ignore[no-untyped-call]
register_kl(Point, Point)(_kl_points)  # type: ignore[no-untyped-call]
