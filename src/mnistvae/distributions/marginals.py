"""The distribution of codes that are made from other codes: the marginal of a latent variable model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, constraints

from mnistvae._random import batch_noise
from mnistvae.distributions.noise import from_noise, noise_size
from mnistvae.distributions.normals import DiagonalNormal
from mnistvae.losses import importance_weighted_bound

__all__ = ["LatentMarginal"]

#: Draws whose density is computed at once where no gradient is kept: those of a whole data set would take gigabytes.
_AT_ONCE = 2**16


class LatentMarginal(Distribution):
    r"""The distribution of codes z that are normal given other codes u, over all u.

    .. math:: p(z) = \int p(u) \, p(z \mid u) \, du \ge \exp \mathbb{E} \log \hat p(z), \qquad
        \hat p(z) = \frac{1}{K} \sum_{k=1}^{K} \frac{p(u_k) \, p(z \mid u_k)}{q(u_k \mid z)}, \quad
        u_k \sim q(u \mid z)

    A draw is exact. **The density is not**: ``log_prob`` is :math:`\log \hat p(z)`, which is too low in expectation,
    less so the larger K is (Burda et al., 2016, equation 8). Negative log-likelihoods and KL divergences that are made
    with it are therefore upper estimates. :math:`\hat p(z)` itself has the mean p(z), so that an importance-weighted
    bound on log p(x) stays one. Each call draws anew, from torch's global generator: seed it for equal figures.
    Neither mean nor variance is known.

    Args:
        base: p(u), event shape (second_dim,), batch shape ().
        conditional: Function that gives p(z | u) for codes u, (..., second_dim).
        posterior: Function that gives q(u | z) for codes z, (..., latent_dim); the density is exact if it is p(u | z).
        latent_dim: Size of z.
        num_samples: K.

    Example:
        >>> def conditional(u):
        ...     return DiagonalNormal(0.6 * u, torch.full_like(u, 0.64).log())
        >>> def posterior(z):
        ...     return DiagonalNormal(0.6 * z, torch.full_like(z, 0.64).log())
        >>> base = mv.distributions.UnitNormal(torch.zeros(2))
        >>> unit = LatentMarginal(base, conditional, posterior, latent_dim=2, num_samples=3)
        >>> unit.log_prob(torch.zeros(1, 2))  # -log 2 pi, since the posterior is exact
        tensor([-1.8379])
    """

    has_rsample = True
    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (torch's own way)
    support = constraints.real_vector

    def __init__(
        self,
        base: DiagonalNormal,
        conditional: Callable[[Tensor], DiagonalNormal],
        posterior: Callable[[Tensor], DiagonalNormal],
        latent_dim: int,
        num_samples: int,
    ) -> None:
        self.base = base
        self.conditional = conditional
        self.posterior = posterior
        self.latent_dim = latent_dim
        self.num_samples = num_samples
        super().__init__(base.batch_shape, Size([latent_dim]), validate_args=False)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base {self.base}, latent_dim {self.latent_dim})"

    def expand(self, batch_shape: Any, _instance: Any = None) -> LatentMarginal:
        base = self.base.expand(batch_shape)
        return LatentMarginal(base, self.conditional, self.posterior, self.latent_dim, self.num_samples)

    def log_prob(self, value: Tensor) -> Tensor:
        """A lower bound on log p(z) by importance sampling, in expectation; nats."""
        shape = torch.broadcast_shapes(value.shape, self._extended_shape())  # type: ignore[no-untyped-call]
        value = value.expand(shape)
        at_once = max(1, _AT_ONCE // self.num_samples)
        if torch.is_grad_enabled() or shape[:-1].numel() <= at_once:
            return self._bound(value)
        parts = torch.split(value.reshape(-1, self.latent_dim), at_once)
        return torch.cat([self._bound(part) for part in parts]).reshape(shape[:-1])

    def _bound(self, z: Tensor) -> Tensor:
        q = self.posterior(z)
        u = q.rsample(Size([self.num_samples]))
        return importance_weighted_bound(self.base.log_prob(u) + self.conditional(u).log_prob(z) - q.log_prob(u))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        mu, sizes = self.base.mu, (self.base.event_shape[0], self.latent_dim)
        shape = Size(sample_shape) + self.batch_shape + Size([sum(sizes)])
        return self.from_noise(batch_noise(shape, mu.dtype, mu.device))

    def from_noise(self, noise: Tensor) -> Tensor:
        """Codes z, (..., latent_dim), as a function of standard normal noise (..., second_dim + latent_dim).

        The first numbers of the noise make u, the others scatter z about its mean given u.
        """
        first, second = torch.split(noise, [self.base.event_shape[0], self.latent_dim], dim=-1)
        p = self.conditional(torch.addcmul(self.base.mu, (0.5 * self.base.logvar).exp(), first))
        return torch.addcmul(p.mu, (0.5 * p.logvar).exp(), second)


@from_noise.register
def _(distribution: LatentMarginal, noise: Tensor, _: Tensor | None = None) -> Tensor:
    return distribution.from_noise(noise)


@noise_size.register
def _(distribution: LatentMarginal) -> int:
    return noise_size(distribution.base) + distribution.latent_dim
