"""Distributions of independent pixels that take one of a few grey levels."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from mnistvae.distributions.pixels import Pixels
from mnistvae.losses import (
    categorical_nll,
    discretized_logistic_log_prob,
    discretized_logistic_nll,
    logistic_mixture_nll,
)

__all__ = ["PixelCategorical", "PixelLogistic", "PixelLogisticMixture"]

#: Grey levels that are summed over at once: all of them would take 255 times the memory.
_AT_ONCE = 16


class PixelLogistic(Pixels):
    r"""Independent grey levels, each a logistic distribution cut into bins.

    See :func:`mnistvae.losses.discretized_logistic_nll`.

    Args:
        loc: mu, (..., C, H, W), on the scale of the pixels.
        log_scale: Logarithms of s, the same shape.
        levels: Number of grey levels from 0 to 1.
    """

    def __init__(self, loc: Tensor, log_scale: Tensor, levels: int = 256) -> None:
        if loc.shape != log_scale.shape:
            loc, log_scale = torch.broadcast_tensors(loc, log_scale)  # type: ignore[no-untyped-call]
        super().__init__(loc, log_scale)
        self.loc = loc
        self.log_scale = log_scale
        self.levels = levels

    def _with(self, *parameters: Tensor) -> PixelLogistic:
        loc, log_scale = parameters
        return PixelLogistic(loc, log_scale, self.levels)

    @property
    def mean(self) -> Tensor:
        r"""The mean of the levels, (..., C, H, W): :math:`\sum_k P(x \ge k / (L - 1)) / (L - 1)`."""
        total = torch.zeros_like(self.loc, dtype=self._exact)
        for edges in torch.split(self._edges, _AT_ONCE):
            total = total + self._above(edges).sum(0)
        return (total / (self.levels - 1)).to(self.loc.dtype)

    @property
    def variance(self) -> Tensor:
        """The variance of the levels about their mean, (..., C, H, W)."""
        mean, total = self.mean.to(self._exact), torch.zeros_like(self.loc, dtype=self._exact)
        for levels, masses in self.masses():
            total = total + (masses * (levels - mean).square()).sum(0)
        return total.to(self.loc.dtype)

    def masses(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Some grey levels at a time, (levels, 1, ..., 1, 1, 1), and their probabilities, (levels, ..., C, H, W)."""
        end = self._edges.new_tensor([math.inf])
        lower, upper = torch.cat([-end, self._edges]), torch.cat([self._edges, end])
        levels = torch.arange(self.levels, device=end.device, dtype=self._exact)
        some = (torch.split(one, _AT_ONCE) for one in (lower, upper, levels))
        for low, high, level in zip(*some, strict=True):
            yield level.reshape(-1, *[1] * self.loc.ndim) / (self.levels - 1), self._above(low) - self._above(high)

    @property
    def _edges(self) -> Tensor:
        """The edges between levels, in levels."""
        return torch.arange(0.5, self.levels - 1, device=self.loc.device, dtype=self._exact)

    def _above(self, edges: Tensor) -> Tensor:
        """The probability of lying above each edge, (edges, ..., C, H, W)."""
        inverse = (-self.log_scale.to(self._exact)).exp()
        centre, step = self.loc.to(self._exact) * inverse, inverse / (self.levels - 1)
        return torch.sigmoid(centre - edges.reshape(-1, *[1] * centre.ndim) * step)

    @property
    def mode(self) -> Tensor:
        """The likeliest level: the one at mu, or an outermost one, which has a whole tail."""
        candidates = torch.stack(
            [_nearest(self.loc, self.levels), torch.zeros_like(self.loc), torch.ones_like(self.loc)]
        )
        log_p = discretized_logistic_log_prob(self.loc, self.log_scale, candidates, self.levels)
        return candidates.gather(0, log_p.argmax(0, keepdim=True)).squeeze(0)

    def log_prob(self, value: Tensor) -> Tensor:
        return -discretized_logistic_nll(self.loc, self.log_scale, value, self.levels)

    def from_uniform(self, uniform: Tensor) -> Tensor:
        noise = torch.logit(uniform, eps=1e-7)
        return _nearest(self.loc + self.log_scale.exp() * noise, self.levels).to(self.loc.dtype)


class PixelLogisticMixture(Pixels):
    r"""Independent grey levels, each a mixture of logistic distributions cut into bins.

    See :func:`mnistvae.losses.logistic_mixture_nll`.

    Args:
        logits: Logarithms of the weights up to a constant, (..., K, C, H, W).
        loc: Means of the components, the same shape, on the scale of the pixels.
        log_scale: Logarithms of their scales, the same shape.
        levels: Number of grey levels from 0 to 1.
    """

    _kinds = 1

    def __init__(self, logits: Tensor, loc: Tensor, log_scale: Tensor, levels: int = 256) -> None:
        super().__init__(logits, loc, log_scale)
        self.logits = logits
        self.loc = loc
        self.log_scale = log_scale
        self.levels = levels

    def _with(self, *parameters: Tensor) -> PixelLogisticMixture:
        logits, loc, log_scale = parameters
        return PixelLogisticMixture(logits, loc, log_scale, self.levels)

    @property
    def _parts(self) -> PixelLogistic:
        """The components, in the last dimension of the batch."""
        return PixelLogistic(self.loc, self.log_scale, self.levels)

    @property
    def _weights(self) -> Tensor:
        """The weights of the components, (..., K, C, H, W)."""
        return self.logits.softmax(-4, dtype=self._exact)

    @property
    def mean(self) -> Tensor:
        """The weighted mean of the components' means, (..., C, H, W)."""
        mean = (self._weights * self._parts.mean).sum(-4)
        return mean.clamp(0.0, 1.0).to(self.loc.dtype)  # weights add up to 1 up to rounding

    @property
    def variance(self) -> Tensor:
        """The mean of the components' variances and the variance of their means, (..., C, H, W)."""
        parts, weights = self._parts, self._weights
        means, within = parts.mean.to(self._exact), parts.variance
        mean = (weights * means).sum(-4, keepdim=True)
        return (weights * (within + (means - mean).square())).sum(-4).to(self.loc.dtype)

    @property
    def mode(self) -> Tensor:
        """The likeliest level, found by the probabilities of all levels, (..., C, H, W)."""
        weights, shape = self._weights, self.batch_shape + self.event_shape
        best, highest = self.loc.new_zeros(shape, dtype=self._exact), self.loc.new_zeros(shape, dtype=self._exact)
        for levels, masses in self._parts.masses():
            mass, place = (weights * masses).sum(-4).max(0)
            best = torch.where(mass > highest, levels.flatten()[place], best)
            highest = torch.maximum(mass, highest)
        return best.to(self.loc.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        return -logistic_mixture_nll(self.logits, self.loc, self.log_scale, value, self.levels)

    def from_uniform(self, uniform: Tensor) -> Tensor:
        chosen, share = _chosen(self._weights, uniform)
        shape = (*chosen.shape[:-4], *self.loc.shape[-4:])
        loc, log_scale = (one.expand(shape).gather(-4, chosen) for one in (self.loc, self.log_scale))
        noise = torch.logit(share, eps=1e-7)  # within a component's part it is uniform again
        return _nearest(loc + log_scale.exp() * noise, self.levels).squeeze(-4).to(self.loc.dtype)


class PixelCategorical(Pixels):
    r"""Independent grey levels, each of which has a logit of its own.

    See :func:`mnistvae.losses.categorical_nll`.

    Args:
        logits: Logits of the L levels from black to white, (..., L, C, H, W).
    """

    _kinds = 1

    def __init__(self, logits: Tensor) -> None:
        super().__init__(logits)
        self.logits = logits
        self.levels = logits.shape[-4]

    @property
    def probs(self) -> Tensor:
        """The probabilities of the levels, (..., L, C, H, W)."""
        return self.logits.softmax(-4)

    @property
    def mean(self) -> Tensor:
        """The mean of the levels, (..., C, H, W)."""
        weights, levels = self._levels
        return (weights * levels).sum(-4).clamp(0.0, 1.0).to(self.logits.dtype)  # they add up to 1 up to rounding

    @property
    def variance(self) -> Tensor:
        """The variance of the levels about their mean, (..., C, H, W)."""
        weights, levels = self._levels
        mean = (weights * levels).sum(-4, keepdim=True)
        return (weights * (levels - mean).square()).sum(-4).to(self.logits.dtype)

    @property
    def mode(self) -> Tensor:
        """The likeliest level, (..., C, H, W)."""
        return self.logits.argmax(-4).to(self.logits.dtype) / (self.levels - 1)

    @property
    def _levels(self) -> tuple[Tensor, Tensor]:
        """The probabilities of the levels, (..., L, C, H, W), and the levels, (L, 1, 1, 1)."""
        levels = torch.arange(self.levels, device=self.logits.device, dtype=self._exact) / (self.levels - 1)
        return self.logits.softmax(-4, dtype=self._exact), levels.reshape(-1, 1, 1, 1)

    def log_prob(self, value: Tensor) -> Tensor:
        return -categorical_nll(self.logits, value)

    def from_uniform(self, uniform: Tensor) -> Tensor:
        weights, _ = self._levels
        chosen, _ = _chosen(weights, uniform)
        return chosen.squeeze(-4).to(self.logits.dtype) / (self.levels - 1)


def _nearest(x: Tensor, levels: int) -> Tensor:
    """The grey level nearest to each number."""
    return (x.clamp(0.0, 1.0) * (levels - 1)).round() / (levels - 1)


def _chosen(weights: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """The kinds that uniform noise chooses, and where in its part of [0, 1) it is, both (..., 1, C, H, W).

    Args:
        weights: Weights of K kinds, (..., K, C, H, W), which add up to nearly 1.
        uniform: Uniform noise in [0, 1), (..., C, H, W).
    """
    ends = weights.cumsum(-4)
    uniform = uniform.unsqueeze(-4) * ends[..., -1:, :, :, :]  # so that a last kind without weight is never chosen
    chosen = (uniform >= ends[..., :-1, :, :, :]).sum(-4, keepdim=True)
    shape = (*chosen.shape[:-4], *ends.shape[-4:])
    end, weight = (one.expand(shape).gather(-4, chosen) for one in (ends, weights))
    return chosen, 1 - (end - uniform) / weight.clamp_min(torch.finfo(weight.dtype).tiny)
