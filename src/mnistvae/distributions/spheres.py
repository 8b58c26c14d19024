"""Distributions on the unit sphere, whose codes are the points of length 1."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.kl import register_kl

from mnistvae._random import batch_noise
from mnistvae.distributions import angles
from mnistvae.distributions.noise import from_noise
from mnistvae.distributions.supports import UnitSphere, unit_vectors
from mnistvae.errors import ComponentError

__all__ = ["HypersphericalUniform", "VonMisesFisher"]


class HypersphericalUniform(Distribution):
    r"""The uniform distribution on the unit sphere of :math:`\mathbb{R}^D`.

    .. math:: p(z) = \frac{\Gamma(D / 2)}{2 \pi^{D / 2}}, \qquad \|z\| = 1

    The density is one of the sphere's area, as that of :class:`VonMisesFisher` is.

    Args:
        zero: Tensor of zeros, (..., D), of the dtype and on the device of the distribution.

    Example:
        >>> circle = HypersphericalUniform(torch.zeros(2))
        >>> circle.log_prob(torch.tensor([0.6, 0.8]))  # -log 2 pi
        tensor(-1.8379)
    """

    has_rsample = True
    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (torch's own way)
    support = UnitSphere()

    def __init__(self, zero: Tensor) -> None:
        self.zero = zero
        _check_size(zero)
        super().__init__(zero.shape[:-1], zero.shape[-1:], validate_args=False)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({_shape_of(self)})"

    @property
    def mean(self) -> Tensor:
        return self.zero

    @property
    def variance(self) -> Tensor:
        return self.zero + 1 / self.event_shape[0]

    def expand(self, batch_shape: Any, _instance: Any = None) -> HypersphericalUniform:
        return HypersphericalUniform(self.zero.expand(*batch_shape, *self.event_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        batch = torch.broadcast_shapes(value.shape[:-1], self.batch_shape)  # type: ignore[no-untyped-call]
        return value.new_full(batch, -log_area(self.event_shape[0]))

    def entropy(self) -> Tensor:
        return self.zero.new_full(self.batch_shape, log_area(self.event_shape[0]))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(Size(sample_shape))
        return unit_vectors(batch_noise(shape, self.zero.dtype, self.zero.device))


class VonMisesFisher(Distribution):
    r"""The von Mises-Fisher distribution on the unit sphere of :math:`\mathbb{R}^D`: a normal's counterpart there.

    .. math:: p(z) = \frac{\kappa^{D/2 - 1}}{(2 \pi)^{D/2} I_{D/2 - 1}(\kappa)} \, e^{\kappa \mu \cdot z},
        \qquad \|z\| = \|\mu\| = 1, \quad \kappa \ge 0

    Its density is one of the sphere's area; kappa = 0 is the uniform distribution. The normaliser and all means are
    integrals over the angle from the mean direction. Draws have exact gradients in both parameters: the angle by
    rejection (Wood, 1994) and an implicit derivative (Figurnov et al., 2018), the direction away from mu by a
    Householder reflection. Davidson et al. (2018), "Hyperspherical variational auto-encoders", section 3.

    Args:
        mu: Mean directions, unit vectors, (..., D) with D of at least 2.
        kappa: Concentrations, (...), at least 0.

    Example:
        >>> q = VonMisesFisher(torch.tensor([[1.0, 0.0, 0.0]]).expand(5, 3), torch.full((5,), 10.0))
        >>> q.batch_shape, q.event_shape, q.rsample().shape
        (torch.Size([5]), torch.Size([3]), torch.Size([5, 3]))
        >>> q.mean[0]  # coth 10 - 1 / 10 of the way
        tensor([0.9000, 0.0000, 0.0000])
    """

    has_rsample = True
    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (torch's own way)
    support = UnitSphere()

    def __init__(self, mu: Tensor, kappa: Tensor) -> None:
        self.mu = mu
        self.kappa = kappa
        _check_size(mu)
        batch = torch.broadcast_shapes(mu.shape[:-1], kappa.shape)  # type: ignore[no-untyped-call]
        super().__init__(batch, mu.shape[-1:], validate_args=False)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({_shape_of(self)})"

    @property
    def _size(self) -> int:
        return self.event_shape[0]

    @property
    def mean(self) -> Tensor:
        versed, _, _ = angles.moments(_precise(self.kappa), self._size)
        return ((1 - versed).unsqueeze(-1).to(self.mu.dtype) * self.mu).expand(self._extended_shape())

    @property
    def mode(self) -> Tensor:
        return self.mu.expand(self._extended_shape())

    @property
    def variance(self) -> Tensor:
        """Variances of the coordinates, (..., D)."""
        found = angles.moments(_precise(self.kappa), self._size)
        _, square, along = (one.unsqueeze(-1).to(self.mu.dtype) for one in found)
        share = self.mu.square()
        return (share * along + (1 - share) * square / (self._size - 1)).expand(self._extended_shape())

    def expand(self, batch_shape: Any, _instance: Any = None) -> VonMisesFisher:
        return VonMisesFisher(self.mu.expand(*batch_shape, self._size), self.kappa.expand(batch_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        # Half the squared distance is 1 - mu z, with all its digits, and to first order not changed by rounded lengths.
        distance = 0.5 * (value - self.mu).square().sum(-1)
        return self._log_height().to(distance.dtype) - self.kappa * distance

    def entropy(self) -> Tensor:
        return (log_area(self._size) - _divergence(self.kappa, self._size)).expand(self.batch_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(Size(sample_shape))
        mu, kappa = _precise(self.mu), _precise(self.kappa)
        noise = batch_noise(Size((*shape[:-1], angles.NOISE + self._size - 1)), mu.dtype, mu.device)
        of_angle, of_side = noise.split([angles.NOISE, self._size - 1], dim=-1)  # type: ignore[no-untyped-call]
        angle = angles.draw(kappa, self._size, of_angle).unsqueeze(-1)
        z: Tensor = angle.cos() * mu + angle.sin() * _across(mu, unit_vectors(of_side))
        return z.to(self.mu.dtype)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            return self.rsample(sample_shape)

    def _log_height(self) -> Tensor:
        """The logarithm of the density at mu."""
        return -log_ring(self._size) - angles.log_integral(_precise(self.kappa), self._size)


def log_area(size: int) -> float:
    """The logarithm of the area of the unit sphere of R^D, whose D is ``size``."""
    return math.log(2) + 0.5 * size * math.log(math.pi) - math.lgamma(size / 2)


def log_ring(size: int) -> float:
    """The logarithm of the area of the points of the sphere at one right angle from another: a sphere of R^(D-1)."""
    return log_area(size - 1)


def _across(mu: Tensor, side: Tensor) -> Tensor:
    """Unit vectors at right angles to mu, (..., D), in the directions that unit vectors (..., D - 1) stand for.

    The reflection that takes the first axis to mu, or to -mu where that is farther away, takes the others there. It
    is smooth in mu on each half of the sphere, and the half is no matter of the noise: gradients are exact.
    """
    first, rest = mu[..., :1], mu[..., 1:]
    along = (rest * side).sum(-1, keepdim=True)
    share = along / (1 + first.abs())
    sign = torch.ones_like(first).copysign(first)
    return torch.cat([-along * sign, side - share * rest], dim=-1)


def _divergence(kappa: Tensor, size: int) -> Tensor:
    """KL divergence from the uniform distribution, in the shape of kappa."""
    return angles.divergence(_precise(kappa), size).to(kappa.dtype)


def _kl_von_mises_fisher_uniform(q: VonMisesFisher, p: HypersphericalUniform) -> Tensor:
    batch = torch.broadcast_shapes(q.batch_shape, p.batch_shape)  # type: ignore[no-untyped-call]
    return _divergence(q.kappa, q.event_shape[0]).expand(batch)


register_kl(VonMisesFisher, HypersphericalUniform)(_kl_von_mises_fisher_uniform)  # type: ignore[no-untyped-call]


def _check_size(vectors: Tensor) -> None:
    if vectors.shape[-1] < 2:
        raise ComponentError(
            "a sphere in at least two dimensions", str(vectors.shape[-1]), "in one, it is the two numbers -1 and 1"
        )


def _precise(tensor: Tensor) -> Tensor:
    """In single precision at least: sums over angles take more digits than half precision has."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _shape_of(distribution: Distribution) -> str:
    return f"batch_shape: {tuple(distribution.batch_shape)}, event_shape: {tuple(distribution.event_shape)}"


@from_noise.register
def _(_: HypersphericalUniform, noise: Tensor, __: Tensor | None = None) -> Tensor:
    return unit_vectors(noise)
