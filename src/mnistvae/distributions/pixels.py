"""Distributions of independent pixels."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.kl import register_kl

from mnistvae.distributions.noise import from_uniform
from mnistvae.losses import bernoulli_cross_entropy, continuous_bernoulli_nll

__all__ = ["PixelBernoulli", "PixelContinuousBernoulli", "Pixels"]


class Pixels(Distribution):
    """Independent pixels, each with the same few parameters: tensors (..., C, H, W), in the order of ``__init__``.

    Where a pixel has several parameters of a kind, the tensors are (..., K, C, H, W), and ``_kinds`` is 1.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (torch's own way)
    support = constraints.independent(constraints.unit_interval, 3)  # type: ignore[no-untyped-call]
    parameters: tuple[Tensor, ...]
    _kinds = 0

    def __init__(self, *parameters: Tensor) -> None:
        self.parameters = parameters
        shape = parameters[0].shape
        super().__init__(shape[: -3 - self._kinds], shape[-3:], validate_args=False)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(batch {tuple(self.batch_shape)}, pixels {tuple(self.event_shape)})"

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        return self._with(*(p.expand((*batch_shape, *p.shape[-3 - self._kinds :])) for p in self.parameters))

    def _with(self, *parameters: Tensor) -> Any:
        return type(self)(*parameters)

    @property
    def _exact(self) -> torch.dtype:
        """The dtype of sums and of draws: in half precision there are 256 numbers between 1/2 and 1, too few."""
        return torch.promote_types(self.parameters[0].dtype, torch.float32)

    @abstractmethod
    def from_uniform(self, uniform: Tensor) -> Tensor:
        """Draws as a function of uniform noise in [0, 1), (..., C, H, W)."""

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self.from_uniform(self._uniform(sample_shape))

    def _uniform(self, sample_shape: Any) -> Tensor:
        shape = self._extended_shape(Size(sample_shape))
        return torch.rand(shape, dtype=self._exact, device=self.parameters[0].device)


class PixelBernoulli(Pixels):
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

    def from_uniform(self, uniform: Tensor) -> Tensor:
        return (uniform < self.mean).to(self.logits.dtype)


class PixelContinuousBernoulli(Pixels):
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
        return self.from_uniform(self._uniform(sample_shape))

    def from_uniform(self, uniform: Tensor) -> Tensor:
        logits = self.logits.to(uniform.dtype)
        from_mode = torch.where(logits < 0, uniform, 1 - uniform)
        near = logits.abs() < 1e-4  # the first order in l is exact to 1e-9 there
        flat = uniform + 0.5 * logits * uniform * (1 - uniform)
        decay = torch.where(near, -1.0, -logits.abs())  # the density falls from its mode
        away = (torch.log1p(from_mode * torch.expm1(decay)) / decay).clamp(0.0, 1.0)
        steep = torch.where(logits < 0, away, 1 - away)
        return torch.where(near, flat, steep).to(self.logits.dtype)


@from_uniform.register
def _(distribution: Pixels, uniform: Tensor) -> Tensor:
    return distribution.from_uniform(uniform)


def _kl_pixels(p: PixelBernoulli, q: PixelBernoulli) -> Tensor:
    return bernoulli_cross_entropy(q.logits, p.mean) - p.entropy()


register_kl(PixelBernoulli, PixelBernoulli)(_kl_pixels)  # type: ignore[no-untyped-call]
