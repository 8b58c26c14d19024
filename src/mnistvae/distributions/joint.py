"""Independent blocks of a code, each with a distribution of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, MixtureSameFamily, constraints, kl_divergence
from torch.distributions.kl import register_kl

from mnistvae.distributions.mixtures import EvenMixture
from mnistvae.distributions.moments import moments
from mnistvae.distributions.noise import from_noise, noise_size
from mnistvae.errors import ComponentError
from mnistvae.losses import OwnTerms, kl_by_level, kl_or_estimate, own_terms

__all__ = ["Joint"]


class Blocks(constraints.Constraint):
    """The codes whose blocks each fulfil a constraint."""

    event_dim = 1

    def __init__(self, parts: Sequence[constraints.Constraint], sizes: Sequence[int]) -> None:
        self.parts = tuple(parts)
        self.sizes = list(sizes)
        super().__init__()

    @property
    def is_discrete(self) -> bool:  # type: ignore[override]
        """True if one of the blocks is."""
        return any(part.is_discrete for part in self.parts)

    def __repr__(self) -> str:
        told = (repr(part) if part.is_discrete else "numbers" for part in self.parts)
        return f"blocks of {', '.join(f'{size} ({text})' for size, text in zip(self.sizes, told, strict=True))}"

    def check(self, value: Tensor) -> Tensor:
        some = zip(self.parts, torch.split(value, self.sizes, -1), strict=True)
        return torch.stack([part.check(block) for part, block in some]).all(0)  # type: ignore[no-untyped-call]


class Joint(Distribution):
    r"""Independent blocks of a code, one after the other, each with a distribution of its own.

    .. math:: q(z) = \prod_b q_b(z_b), \qquad z = (z_1, z_2, \dots)

    Args:
        parts: The distributions of the blocks, each with batch shape (B,) or (), event shape (size,).

    Example:
        >>> from mnistvae.distributions import OneHotCategoricals, UnitNormal
        >>> q = Joint([UnitNormal(torch.zeros(4)), OneHotCategoricals(torch.zeros(5, 2, 10))])
        >>> q.batch_shape, q.event_shape, q.sample().shape
        (torch.Size([5]), torch.Size([24]), torch.Size([5, 24]))
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (torch's own way)

    def __init__(self, parts: Sequence[Distribution]) -> None:
        batch = torch.broadcast_shapes(*(part.batch_shape for part in parts))  # type: ignore[no-untyped-call]
        self.parts = tuple(part if part.batch_shape == batch else part.expand(batch) for part in parts)
        self.sizes = [part.event_shape[0] for part in parts]
        self.has_rsample = all(part.has_rsample for part in self.parts)
        super().__init__(batch, Size([sum(self.sizes)]), validate_args=False)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(str, self.parts))})"

    def expand(self, batch_shape: Any, _instance: Any = None) -> Joint:
        return Joint([part.expand(batch_shape) for part in self.parts])

    @property
    def support(self) -> constraints.Constraint:
        """The codes whose blocks the distributions of the parts can give."""
        return Blocks([part.support for part in self.parts], self.sizes)  # type: ignore[misc]

    @property
    def mean(self) -> Tensor:
        return torch.cat([moments(part).mean for part in self.parts], -1)

    @property
    def variance(self) -> Tensor:
        return torch.cat([moments(part).variance for part in self.parts], -1)

    def entropy(self) -> Tensor:
        """The sum of the blocks' entropies, (...), in nats."""
        return torch.stack([part.entropy() for part in self.parts]).sum(0)

    def log_prob(self, value: Tensor) -> Tensor:
        some = zip(self.parts, torch.split(value, self.sizes, -1), strict=True)
        return torch.stack([part.log_prob(block) for part, block in some]).sum(0)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return torch.cat([part.rsample(sample_shape) for part in self.parts], -1)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return torch.cat([part.sample(sample_shape) for part in self.parts], -1)


def _kl_of_blocks(q: Joint, p: Joint) -> Tensor:
    """The sum of the blocks' divergences, where each is known."""
    if q.sizes != p.sizes:
        raise NotImplementedError(f"blocks of {q.sizes} and of {p.sizes}")
    return torch.stack([kl_divergence(ours, theirs) for ours, theirs in zip(q.parts, p.parts, strict=True)]).sum(0)


register_kl(Joint, Joint)(_kl_of_blocks)  # type: ignore[no-untyped-call]


@kl_by_level.register
def _(q: Joint, p: Distribution, z: Tensor) -> Tensor | None:
    """The divergence of each block."""
    if not isinstance(p, Joint) or p.sizes != q.sizes:
        return None
    blocks = zip(q.parts, p.parts, torch.split(z, q.sizes, -1), strict=True)
    values = [kl_or_estimate(ours, theirs, block) for ours, theirs, block in blocks]
    return torch.stack(torch.broadcast_tensors(*values), -1)  # type: ignore[no-untyped-call]


@from_noise.register
def _(distribution: Joint, noise: Tensor, uniform: Tensor | None = None) -> Tensor:
    if sum(isinstance(part, EvenMixture | MixtureSameFamily) for part in distribution.parts) > 1:
        expected = "at most one block that is a mixture, for draws as a function of noise"
        raise ComponentError(expected, "two", "give one of the blocks another prior")
    of_each = torch.split(noise, [noise_size(part) for part in distribution.parts], -1)
    blocks = zip(distribution.parts, of_each, strict=True)
    return torch.cat([from_noise(part, block, uniform) for part, block in blocks], -1)


@noise_size.register
def _(distribution: Joint) -> int:
    return sum(map(noise_size, distribution.parts))


@own_terms.register
def _(q: Joint) -> OwnTerms | None:
    """The costs of the blocks; a figure that two of them have gets the block's number."""
    of_each = [(number, own_terms(part)) for number, part in enumerate(q.parts, 1)]
    found = [(number, own) for number, own in of_each if own is not None]
    if not found:
        return None
    extra: dict[str, Tensor] = {}
    for number, own in found:
        for name, value in own.extra.items():
            extra[f"{name}_{number}" if name in extra else name] = value
    return OwnTerms(torch.stack([own.cost for _, own in found]).sum(0), extra)
