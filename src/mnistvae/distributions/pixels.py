"""Distributions of independent pixels."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.kl import register_kl

from mnistvae.losses import (
    bernoulli_cross_entropy,
    continuous_bernoulli_nll,
    discretized_logistic_log_prob,
    discretized_logistic_nll,
)

__all__ = ["PixelBernoulli", "PixelContinuousBernoulli", "PixelLogistic"]

#: Grey levels that are summed over at once: all of them would take 255 times the memory.
_AT_ONCE = 16


class _Pixels(Distribution):
    """Independent pixels, each with the same few parameters: tensors (..., C, H, W), in the order of ``__init__``."""

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (torch's own way)
    support = constraints.independent(constraints.unit_interval, 3)  # type: ignore[no-untyped-call]
    parameters: tuple[Tensor, ...]

    def __init__(self, *parameters: Tensor) -> None:
        self.parameters = parameters
        shape = parameters[0].shape
        super().__init__(shape[:-3], shape[-3:], validate_args=False)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(batch {tuple(self.batch_shape)}, pixels {tuple(self.event_shape)})"

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        return self._with(*(p.expand((*batch_shape, *self.event_shape)) for p in self.parameters))

    def _with(self, *parameters: Tensor) -> Any:
        return type(self)(*parameters)

    def _uniform(self, sample_shape: Any) -> Tensor:
        shape = self._extended_shape(Size(sample_shape))
        like = self.parameters[0]
        # In half precision there are 256 numbers between 1/2 and 1, too few for rare pixels.
        return torch.rand(shape, dtype=torch.promote_types(like.dtype, torch.float32), device=like.device)


class PixelBernoulli(_Pixels):
    r"""Independent Bernoulli pixels, given by their logits, that also take grey values in [0, 1].

    ``log_prob`` of a grey image is minus the cross-entropy (see
    :func:`mnistvae.losses.bernoulli_cross_entropy`); torch's own Bernoulli refuses such an image when
    it validates, and its mode is NaN at a logit of 0.

    Args:
        logits: Logits of the pixels, (..., C, H, W).
    """

    def __init__(self, logits: Tensor) -> None:
        super().__init__(logits)
        self.logits = logits

    @property
    def mean(self) -> Tensor:
        return self.logits.sigmoid()

    @property
    def mode(self) -> Tensor:
        return (self.logits >= 0).to(self.logits.dtype)

    @property
    def variance(self) -> Tensor:
        return self.logits.sigmoid() * (-self.logits).sigmoid()

    def log_prob(self, value: Tensor) -> Tensor:
        return -bernoulli_cross_entropy(self.logits, value)

    def entropy(self) -> Tensor:
        """Entropy of each image, (...), in nats."""
        return bernoulli_cross_entropy(self.logits, self.mean)

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        return (self._uniform(sample_shape) < self.mean).to(self.logits.dtype)


class PixelContinuousBernoulli(_Pixels):
    r"""Independent continuous Bernoulli pixels on [0, 1], given by their logits.

    .. math:: p(x) = \frac{l \, e^{l x}}{e^l - 1}

    See :func:`mnistvae.losses.continuous_bernoulli_nll`. torch's own works with the probability, which
    cuts logits off near +-16 and leaves the mode out.

    Args:
        logits: l, (..., C, H, W).
    """

    has_rsample = True

    def __init__(self, logits: Tensor) -> None:
        super().__init__(logits)
        self.logits = logits

    @property
    def mean(self) -> Tensor:
        r""":math:`1 / (1 - e^{-l}) - 1 / l`, (..., C, H, W)."""
        size = self.logits.abs()
        near = size < 0.2  # the series is exact to 1e-10 there
        square = torch.where(near, self.logits, 0.0).square()
        series = 0.5 + self.logits * (1 / 12 - square * (1 / 720 - square * (1 / 30240 - square / 1209600)))
        far = torch.where(near, 1.0, size)
        above_half = -1 / torch.expm1(-far) - 1 / far
        return torch.where(near, series, torch.where(self.logits > 0, above_half, 1 - above_half))

    @property
    def variance(self) -> Tensor:
        r""":math:`1 / l^2 - e^l / (e^l - 1)^2`, (..., C, H, W)."""
        size = self.logits.abs()
        near = size < 0.5  # the series is exact to 1e-9 there
        square = torch.where(near, size, 0.0).square()
        series = 1 / 12 - square * (1 / 240 - square * (1 / 6048 - square / 172800))
        far = torch.where(near, 1.0, size)
        return torch.where(near, series, 1 / far.square() - (-far).exp() / torch.expm1(-far).square())

    @property
    def mode(self) -> Tensor:
        return (self.logits >= 0).to(self.logits.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        return -continuous_bernoulli_nll(self.logits, value)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draws by the inverse of the distribution function."""
        uniform = self._uniform(sample_shape)
        logits = self.logits.to(uniform.dtype)
        from_mode = torch.where(logits < 0, uniform, 1 - uniform)
        near = logits.abs() < 1e-4  # the first order in l is exact to 1e-9 there
        flat = uniform + 0.5 * logits * uniform * (1 - uniform)
        decay = torch.where(near, -1.0, -logits.abs())  # the density falls from its mode
        away = (torch.log1p(from_mode * torch.expm1(decay)) / decay).clamp(0.0, 1.0)
        steep = torch.where(logits < 0, away, 1 - away)
        return torch.where(near, flat, steep).to(self.logits.dtype)


class PixelLogistic(_Pixels):
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
        end = self._edges.new_tensor([math.inf])
        lower, upper = torch.cat([-end, self._edges]), torch.cat([self._edges, end])
        levels = torch.arange(self.levels, device=end.device)
        some = (torch.split(one, _AT_ONCE) for one in (lower, upper, levels))
        for low, high, level in zip(*some, strict=True):
            distance = level.reshape(-1, *[1] * mean.ndim) / (self.levels - 1) - mean
            total = total + ((self._above(low) - self._above(high)) * distance.square()).sum(0)
        return total.to(self.loc.dtype)

    @property
    def _exact(self) -> torch.dtype:
        """The dtype of sums over levels."""
        return torch.promote_types(self.loc.dtype, torch.float32)

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
        candidates = torch.stack([self._nearest(self.loc), torch.zeros_like(self.loc), torch.ones_like(self.loc)])
        log_p = discretized_logistic_log_prob(self.loc, self.log_scale, candidates, self.levels)
        return candidates.gather(0, log_p.argmax(0, keepdim=True)).squeeze(0)

    def log_prob(self, value: Tensor) -> Tensor:
        return -discretized_logistic_nll(self.loc, self.log_scale, value, self.levels)

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        noise = torch.logit(self._uniform(sample_shape), eps=1e-7)
        return self._nearest(self.loc + self.log_scale.exp() * noise).to(self.loc.dtype)

    def _nearest(self, x: Tensor) -> Tensor:
        return (x.clamp(0.0, 1.0) * (self.levels - 1)).round() / (self.levels - 1)


def _kl_pixels(p: PixelBernoulli, q: PixelBernoulli) -> Tensor:
    return bernoulli_cross_entropy(q.logits, p.mean) - p.entropy()


register_kl(PixelBernoulli, PixelBernoulli)(_kl_pixels)  # type: ignore[no-untyped-call]
