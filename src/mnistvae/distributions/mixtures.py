"""Mixtures of distributions over codes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributions as td
from torch import Size, Tensor
from torch.distributions import Distribution, constraints

from mnistvae._random import batch_noise
from mnistvae.distributions.moments import moments
from mnistvae.distributions.noise import NO_UNIFORM, from_noise
from mnistvae.errors import ComponentError

__all__ = ["EvenMixture", "mixture"]


class EvenMixture(Distribution):
    r"""A mixture of distributions of one shape, all with the same weight, that is drawn from evenly.

    .. math:: q(z) = \frac{1}{S} \sum_{s=1}^{S} q_s(z)

    Of K draws each part gives :math:`\lfloor K / S \rfloor`, in turn, and the rest come from parts that are chosen at
    random for each batch element, each part at most once. So a mean over K draws is an unbiased estimate, with less
    noise than that of independent draws, and it has a gradient, as the weights are fixed. Kviman et al. (2022).

    Args:
        parts: The S distributions, each with batch shape (B,), event shape (latent_dim,) and ``rsample``.

    Example:
        >>> def normal(mean):
        ...     return mv.distributions.DiagonalNormal(torch.full((5, 2), mean), torch.full((5, 2), -4.0))
        >>> q = EvenMixture([normal(-3.0), normal(3.0)])
        >>> q.rsample((4,))[:, 0, 0].sign()  # the parts take turns
        tensor([-1.,  1., -1.,  1.])
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (torch's own way)

    def __init__(self, parts: Sequence[Distribution]) -> None:
        self.parts = tuple(parts)
        self.has_rsample = all(part.has_rsample for part in self.parts)
        super().__init__(self.parts[0].batch_shape, self.parts[0].event_shape, validate_args=False)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(str, self.parts))})"

    def expand(self, batch_shape: Any, _instance: Any = None) -> EvenMixture:
        return EvenMixture([part.expand(batch_shape) for part in self.parts])

    @property
    def support(self) -> constraints.Constraint:
        """That of the parts, which is the same for all."""
        support: constraints.Constraint = self.parts[0].support  # type: ignore[assignment]
        return support

    @property
    def mean(self) -> Tensor:
        """The mean of the parts' means, (B, latent_dim)."""
        return torch.stack([moments(part).mean for part in self.parts]).mean(0)

    @property
    def variance(self) -> Tensor:
        """The mean of the parts' variances and the variance of their means, (B, latent_dim)."""
        of_parts = [moments(part) for part in self.parts]
        within = torch.stack([each.variance for each in of_parts]).mean(0)
        means = torch.stack([each.mean for each in of_parts])
        return within + (means - means.mean(0)).square().mean(0)

    def log_prob(self, value: Tensor) -> Tensor:
        of_parts = torch.stack([part.log_prob(value) for part in self.parts])
        return torch.logsumexp(of_parts, dim=0) - math.log(len(self.parts))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape, number = Size(sample_shape), len(self.parts)
        rounds, rest = divmod(shape.numel(), number)
        # (rounds, parts, B, latent_dim): draw i * parts + s is part s's, and groups of importance samples are parts.
        each = torch.stack([part.rsample(Size([rounds + (rest > 0)])) for part in self.parts], dim=1)
        drawn = each[:rounds].flatten(0, 1)
        if rest:
            batch = self.batch_shape
            noise = batch_noise(Size([*batch, 1]), each.dtype, each.device)  # in several processes as in one
            first = (torch.special.ndtr(noise).squeeze(-1) * number).long().clamp_max(number - 1)
            turns = torch.arange(rest, device=each.device).reshape(rest, *[1] * len(batch))
            chosen = ((first + turns) % number).unsqueeze(-1).expand(rest, *batch, *self.event_shape)
            drawn = torch.cat([drawn, each[-1].gather(0, chosen)])
        return drawn.reshape(self._extended_shape(shape))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            return self.rsample(sample_shape)


def mixture(logits: Tensor, parts: Distribution) -> td.MixtureSameFamily:
    """The mixture of the last batch dimension of ``parts``.

    Args:
        logits: Logarithms of the weights, up to a constant, (K,).
        parts: The components, batch shape (..., K).

    Example:
        >>> pair = mixture(torch.zeros(2), mv.distributions.UnitNormal(torch.zeros(3)).expand((2,)))
        >>> pair.batch_shape, pair.event_shape
        (torch.Size([]), torch.Size([3]))
    """
    logits = logits.expand(parts.batch_shape)
    weights = td.Categorical(logits=logits, validate_args=False)
    return td.MixtureSameFamily(weights, parts, validate_args=False)


@from_noise.register
def _(distribution: EvenMixture, noise: Tensor, uniform: Tensor | None = None) -> Tensor:
    number = len(distribution.parts)
    if uniform is None:
        raise ComponentError(NO_UNIFORM, "none", "pass torch.rand(B)")
    of_each = torch.stack([from_noise(part, noise) for part in distribution.parts], dim=1)
    chosen = (uniform * number).long().clamp_max(number - 1)
    return of_each.gather(1, chosen[:, None, None].expand(-1, 1, noise.shape[-1])).squeeze(1)
