"""Distributions over the levels of a ladder, from the top down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Size, Tensor, nn
from torch.distributions import Distribution, constraints

from mnistvae._checks import check_number
from mnistvae._random import batch_noise
from mnistvae.distributions import DiagonalNormal, from_noise, tempered
from mnistvae.errors import SettingError
from mnistvae.ladders.levels import Choose, Level, LevelStep, Residual, central, given, joined, moved
from mnistvae.ladders.networks import TopDown, normal_of
from mnistvae.losses import gaussian_kl, kl_by_level

__all__ = ["LadderPosterior", "LadderPriorDistribution"]

#: Codes that are drawn at once where no gradient is kept.
_AT_ONCE = 1024


class Walk(Protocol):
    """The prior of a ladder, as its distributions need it."""

    levels: tuple[Level, ...]
    latent_dim: int
    way: TopDown

    def walk(self, n: int, choose: Choose, residual: Residual | None = None) -> list[LevelStep]:
        """The levels of n codes from the top down."""


class LadderPriorDistribution(Distribution):
    """The distribution of a :class:`LadderPrior`: batch (), event (latent_dim,).

    Args:
        prior: The prior.
        temperature: Factor of each level's spread, from the top down.
    """

    has_rsample = True
    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (torch's own way)
    support = constraints.real_vector

    def __init__(self, prior: Walk, temperature: Sequence[float] = ()) -> None:
        self.prior = prior
        self.temperature = tuple(temperature) or (1.0,) * len(prior.levels)
        super().__init__(Size(), Size([prior.latent_dim]), validate_args=False)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.prior!r})"

    @property
    def mean(self) -> Tensor:
        """The code whose levels are the means given those above them, (latent_dim,); of one level, the mean."""
        return joined(self.prior.walk(1, central))[0]

    def log_prob(self, value: Tensor) -> Tensor:
        codes = value.reshape(-1, self.prior.latent_dim)
        steps = self.prior.walk(codes.shape[0], given(codes, self.prior.levels))
        log_p: Tensor = sum(
            tempered(step.p, t).log_prob(step.z) for step, t in zip(steps, self.temperature, strict=True)
        )  # type: ignore[assignment]
        return log_p.reshape(value.shape[:-1])

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        start = self.prior.way.start
        return self.from_noise(batch_noise(self._extended_shape(Size(sample_shape)), start.dtype, start.device))

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        start = self.prior.way.start
        noise = batch_noise(self._extended_shape(Size(sample_shape)), start.dtype, start.device)
        some = torch.split(noise.reshape(-1, self.prior.latent_dim), _AT_ONCE)  # the states of all take much memory
        return torch.cat([self.from_noise(part) for part in some]).reshape(noise.shape)

    def from_noise(self, noise: Tensor) -> Tensor:
        """Codes (..., latent_dim) as a function of standard normal noise of the same shape."""
        rows = noise.reshape(-1, self.prior.latent_dim)
        steps = self.prior.walk(rows.shape[0], moved(rows, self.prior.levels, self.temperature))
        return joined(steps).reshape(noise.shape)


class LadderPosterior(Distribution):
    """The posterior of a :class:`LadderEncoder`: batch (B,), event (latent_dim,).

    Drawing a code walks down all levels; the density of that same code, and its divergence from the prior, use what was
    computed on the way.

    Args:
        prior: The prior, whose way down is walked.
        joins: For each level, a network from state and features to the change of its normal.
        features: Features of the B images for each level, from the top down.
    """

    has_rsample = True
    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (torch's own way)
    support = constraints.real_vector

    def __init__(self, prior: Walk, joins: nn.ModuleList, features: Sequence[Tensor]) -> None:
        self.prior = prior
        self.joins = joins
        self.features = features
        self._last: tuple[Tensor, list[LevelStep], bool] | None = None
        super().__init__(features[0].shape[:1], Size([prior.latent_dim]), validate_args=False)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(batch {tuple(self.batch_shape)}, levels {self.prior.levels})"

    @property
    def mean(self) -> Tensor:
        """The code whose levels are the means given those above them, (B, latent_dim); of one level, the mean."""
        return joined(self._walk(central))

    @property
    def variance(self) -> Tensor:
        """The variances of the levels given the means of those above them, (B, latent_dim)."""
        return torch.cat([step.q.variance for step in self._walk(central)], dim=1)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        start = self.prior.way.start
        noise = batch_noise(self._extended_shape(Size(sample_shape)), start.dtype, start.device)
        rows = noise.reshape(-1, self.prior.latent_dim)
        steps = self._walk(moved(rows, self.prior.levels), Size(sample_shape).numel())
        z = joined(steps).reshape(noise.shape)
        self._last = (z, steps, torch.is_grad_enabled())
        return z

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            return self.rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        log_q: Tensor = sum(step.q.log_prob(step.z) for step in self.steps(value))  # type: ignore[assignment]
        return log_q.reshape(value.shape[:-1])

    def steps(self, value: Tensor) -> list[LevelStep]:
        """The levels of codes (..., B, latent_dim): code, posterior and prior of each, for all codes in a row."""
        if self._last is not None and self._last[0] is value and self._last[2] == torch.is_grad_enabled():
            return self._last[1]
        whole = value.expand(torch.broadcast_shapes(value.shape, self._extended_shape()))  # type: ignore[no-untyped-call]
        rows = whole.reshape(-1, self.prior.latent_dim)
        return self._walk(given(rows, self.prior.levels), whole.shape[:-2].numel())

    def _walk(self, choose: Choose, copies: int = 1) -> list[LevelStep]:
        """The way down for so many codes of each image."""

        def residual(number: int, state: Tensor, p: DiagonalNormal) -> DiagonalNormal:
            here = self.features[number]
            here = here if copies == 1 else here.repeat(copies, *[1] * (here.dim() - 1))
            change = normal_of(self.joins[number](torch.cat([state, here], dim=1)), p.mu.dtype)
            return DiagonalNormal(torch.addcmul(p.mu, (0.5 * p.logvar).exp(), change.mu), p.logvar + change.logvar)

        return self.prior.walk(copies * self.features[0].shape[0], choose, residual)


@kl_by_level.register
def _(q: LadderPosterior, p: Distribution, z: Tensor) -> Tensor | None:
    if not isinstance(p, LadderPriorDistribution) or p.prior is not q.prior or set(p.temperature) != {1.0}:
        return None
    levels = [gaussian_kl(s.q.mu, s.q.logvar, s.p.mu, s.p.logvar) for s in q.steps(z)]
    return torch.stack(levels, dim=-1).reshape(*z.shape[:-1], len(levels))


@tempered.register
def _(distribution: LadderPriorDistribution, temperature: float | Sequence[float]) -> LadderPriorDistribution:
    levels = len(distribution.prior.levels)
    factors = temperature if isinstance(temperature, Sequence) else [temperature] * levels
    if len(factors) != levels:
        raise SettingError(f"one temperature, or one for each of {levels} levels", f"{len(factors)} of them")
    checked = [check_number("a finite temperature of at least 0", factor) for factor in factors]
    return LadderPriorDistribution(
        distribution.prior, [a * b for a, b in zip(distribution.temperature, checked, strict=True)]
    )


@from_noise.register
def _(distribution: LadderPriorDistribution, noise: Tensor, _: Tensor | None = None) -> Tensor:
    return distribution.from_noise(noise)
