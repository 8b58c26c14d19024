r"""The angle between a draw on the unit sphere and the direction that it gathers about.

Of the von Mises-Fisher distribution on the sphere of :math:`\mathbb{R}^D`, the angle theta from the mean direction has
the density

.. math:: p(\theta) = \frac{e^{\kappa (\cos \theta - 1)} \sin^{D-2} \theta}{Z_D(\kappa)}, \qquad
    Z_D(\kappa) = \int_0^\pi e^{\kappa (\cos \theta - 1)} \sin^{D-2} \theta \, d\theta,

and everything else about the distribution follows from it. Integrals are sums over 64 angles about the peak; versed
cosines :math:`1 - \cos \theta` take the place of cosines, which lose their digits where kappa is large. Arguments
``kappa`` have any shape and a dtype of at least single precision; ``size`` is D.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

__all__ = ["NOISE", "divergence", "draw", "log_integral", "moments"]

#: Angles of a quadrature, which leave errors of 1e-11, and how many widths of the peak they reach to below and above.
_NODES, _BELOW, _ABOVE = 64, 9.0, 14.0
#: Proposals for a draw. At least 0.657 of them are accepted, whatever kappa and D, so that all fail once in 1e13 draws.
_PROPOSALS = 28
#: Normal numbers that a draw takes.
NOISE = 4 * _PROPOSALS
#: Terms of the series for a small kappa, which leave an error of 1e-18.
_TERMS = 16


def log_integral(kappa: Tensor, size: int) -> Tensor:
    """The logarithm of Z, in the shape of kappa."""
    return _log_masses(kappa, size)[0].logsumexp(-1)


def moments(kappa: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    r"""Means of :math:`1 - \cos \theta` and of :math:`\sin^2 \theta`, and the variance of the cosine."""
    log_masses, angles = _log_masses(kappa, size)
    versed = _versed(angles)
    mean = _expectation(versed, log_masses)
    squares = angles.sin().square(), (versed - mean.unsqueeze(-1)).square()
    return mean, _expectation(squares[0], log_masses), _expectation(squares[1], log_masses)


def divergence(kappa: Tensor, size: int) -> Tensor:
    r"""KL divergence from the uniform distribution, without cancellation wherever kappa is, in its shape.

    .. math:: -\kappa \, \mathbb{E}[1 - \cos \theta] - \log \frac{Z_D(\kappa)}{Z_D(0)}

    Where :math:`\kappa^2 < D` it is summed by the terms :math:`t_k = (\kappa^2 / 4)^k / (k! \, (D / 2)_k)` of Bessel's
    series for the integral, none of them negative:

    .. math:: \frac{\sum_k 2 k \, t_k}{1 + \sum_k t_k} - \log\left(1 + \sum_k t_k\right), \qquad k \ge 1.
    """
    small = kappa.square() < size
    far = torch.where(small, math.sqrt(size), kappa)  # both branches must be finite, or the gradient is NaN
    log_masses, angles = _log_masses(far, size)
    uniform = 0.5 * math.log(math.pi) + math.lgamma((size - 1) / 2) - math.lgamma(size / 2)
    large = uniform - log_masses.logsumexp(-1) - far * _expectation(_versed(angles), log_masses)
    k = torch.arange(1.0, _TERMS + 1, dtype=kappa.dtype, device=kappa.device)
    factors = (size / (k * (size + 2 * k - 2))).cumprod(-1)
    terms = factors * (torch.where(small, kappa, 0.0).square() / (2 * size)).unsqueeze(-1) ** k
    total = terms.sum(-1)
    return torch.where(small, (2 * k * terms).sum(-1) / (1 + total) - total.log1p(), large)


def draw(kappa: Tensor, size: int, noise: Tensor) -> Tensor:
    r"""Angles as a function of kappa and of noise, with their exact derivative in kappa.

    Wood (1994), algorithm VM*, proposes cosines of a density that is near their own, and accepts some of them; the
    first that is accepted counts. With :math:`b = (D - 1) / (2 \kappa + \sqrt{4 \kappa^2 + (D - 1)^2})`, a proposal is
    an angle whose :math:`\tan^2(\theta / 2)` is b times that of a uniform draw from the sphere. The derivative is
    implicit (Figurnov et al., 2018): that of the quantile which the draw is,

    .. math:: \frac{d \theta}{d \kappa} = -\frac{\partial F(\theta; \kappa) / \partial \kappa}{p(\theta; \kappa)}
        = -\int_0^\theta \frac{p(t)}{p(\theta)} \left(\mathbb{E}[1 - \cos] - (1 - \cos t)\right) dt.

    Args:
        kappa: Concentrations, (...).
        size: D.
        noise: Standard normal noise, (..., :data:`NOISE`); its leading dimensions may be more than those of kappa.

    Returns:
        Angles from 0 to pi, (...).
    """
    if not torch.compiler.is_compiling():
        angles: Tensor = _Drawn.apply(kappa, noise, size)
        return angles
    with torch.no_grad():  # older compilers cannot follow a function that has a derivative of its own
        angles = _first_accepted(kappa, noise, size)
        slope = _slope(angles, kappa, size)
    return angles + slope * (kappa - kappa.detach())


class _Drawn(torch.autograd.Function):
    """The draw, whose derivative in kappa is the implicit one."""

    @staticmethod
    def forward(kappa: Tensor, noise: Tensor, size: int) -> Tensor:
        return _first_accepted(kappa, noise, size)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, int], output: Tensor) -> None:
        kappa, _, ctx.size = inputs
        ctx.save_for_backward(output, kappa)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        angles, kappa = ctx.saved_tensors
        return (gradient * _slope(angles, kappa, ctx.size)).sum_to_size(kappa.shape), None, None


def _first_accepted(kappa: Tensor, noise: Tensor, size: int) -> Tensor:
    """Angles, (...), by rejection without a loop."""
    kappa = kappa.unsqueeze(-1)
    first, second, third, fourth = noise.reshape(*noise.shape[:-1], 4, _PROPOSALS).unbind(-2)
    # Two coordinates of a uniform point of the sphere are a radius and a direction; the first of them is its cosine.
    length = (first.square() + second.square()).clamp_min(1e-30)
    radius = -torch.expm1(-length / (size - 2)) if size > 2 else torch.ones_like(length)  # squared, as the next two
    cosine = radius * first.square() / length
    sine = (second.square() / length + (1 - radius) * first.square() / length).clamp_min(1e-30)
    far = (1 + cosine.sqrt()).square() / sine
    odds = torch.where(first > 0, far, far.reciprocal())  # tan^2(theta / 2) of the uniform point
    b = (size - 1) / (2 * kappa + (4 * kappa.square() + (size - 1) ** 2).sqrt())
    proposed = b * odds
    versed, middle = 2 * proposed / (1 + proposed), 2 * b / (1 + b)
    centre = (1 - b) / (1 + b)
    ratio = (middle + centre * versed) / (middle + centre * middle)
    log_ratio = kappa * (middle - versed) + (size - 1) * ratio.log()
    accepted = log_ratio >= -0.5 * (third.square() + fourth.square())  # the logarithm of a uniform number
    order = torch.arange(_PROPOSALS, 0, -1, device=noise.device)
    chosen = (accepted * order).argmax(-1, keepdim=True)
    return 2 * proposed.gather(-1, chosen).squeeze(-1).sqrt().atan()


def _slope(angles: Tensor, kappa: Tensor, size: int) -> Tensor:
    """The derivatives of angles, (...), in kappa."""
    mean = moments(kappa, size)[0]
    peak, width = _peak(kappa, size)
    # The integrand integrates to 0 over all angles; on this side of its zero it has one sign.
    low = _versed(angles) < mean
    start = torch.where(low, (torch.minimum(angles, peak) - _BELOW * width).clamp_min(0.0), angles)
    stop = torch.where(low, angles, (torch.maximum(angles, peak) + _ABOVE * width).clamp_max(math.pi))
    nodes, weights = _quadrature(start, stop)
    here = _log_density(nodes, kappa.unsqueeze(-1), size)
    ratio = (here - _log_density(angles, kappa, size).unsqueeze(-1)).exp()
    away = (_versed(nodes) - mean.unsqueeze(-1)).abs()
    return -(weights * ratio * away).sum(-1)


def _expectation(values: Tensor, log_masses: Tensor) -> Tensor:
    """The mean of values at the angles of a quadrature, (..., nodes)."""
    return (log_masses.softmax(-1) * values).sum(-1)


def _versed(angles: Tensor) -> Tensor:
    """1 - cos(theta), with all its digits."""
    return 2 * (0.5 * angles).sin().square()


def _log_density(angles: Tensor, kappa: Tensor, size: int) -> Tensor:
    """Logarithm of the density, without its constant."""
    ring = (size - 2) * angles.sin().clamp_min(1e-30).log() if size > 2 else 0.0
    return ring - kappa * _versed(angles)


def _log_masses(kappa: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Logarithms of the summands of Z, (..., nodes), and their angles."""
    peak, width = _peak(kappa, size)
    start, stop = (peak - _BELOW * width).clamp_min(0.0), (peak + _ABOVE * width).clamp_max(math.pi)
    nodes, weights = _quadrature(start, stop)
    return _log_density(nodes, kappa.unsqueeze(-1), size) + weights.log(), nodes


@torch.no_grad()  # an integral is the same, wherever its range ends
def _peak(kappa: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The angle at which the density is largest, and the deviation of the normal that is like it there."""
    reach = (4 * kappa.square() + (size - 2) ** 2).sqrt().clamp_min(1e-6)
    return 2 * ((size - 2) / (reach + 2 * kappa)).sqrt().atan(), reach.rsqrt()


def _quadrature(start: Tensor, stop: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes and weights, (..., nodes), of Fejér's first rule from some numbers to others.

    It is as exact here as Gauss and Legendre's, and a few operations make its nodes: a table of theirs would be a
    constant of each device, which a recorded step cannot copy.
    """
    turn = math.pi / _NODES * (torch.arange(_NODES, dtype=start.dtype, device=start.device) + 0.5)
    j = torch.arange(1.0, _NODES // 2 + 1, dtype=start.dtype, device=start.device)
    shares = (1 - 2 * ((2 * j * turn.unsqueeze(-1)).cos() / (4 * j.square() - 1)).sum(-1)) / _NODES
    span = (stop - start).unsqueeze(-1)
    return start.unsqueeze(-1) + span * (0.5 * turn).sin().square(), span * shares
