"""Distributions of an invertible map's output: a prior's, quick at any code, and a posterior's, quick at its draws."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from mnistvae.distributions.noise import from_noise
from mnistvae.distributions.normals import DiagonalNormal

__all__ = ["FlowPosterior", "PushForward"]


class PushForward(Distribution):
    r"""The distribution of an invertible map's output: a normalizing flow.

    .. math:: \log p(z) = \log p_0(f(z)) + \log \left| \det \frac{\partial f}{\partial z} \right|

    Args:
        normalize: f, from codes to the base, as zuko's transforms have it: a
            ``torch.distributions.Transform`` with ``call_and_ladj``.
        base: :math:`p_0`, event shape (latent_dim,).
    """

    has_rsample = True
    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (torch's own way)
    support = constraints.real_vector

    def __init__(self, normalize: Any, base: DiagonalNormal) -> None:
        self.normalize = normalize
        self.base = base
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base {self.base})"

    def expand(self, batch_shape: Any, _instance: Any = None) -> PushForward:
        return PushForward(self.normalize, self.base.expand(batch_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        noise, log_determinant = self.normalize.call_and_ladj(value)
        log_p: Tensor = self.base.log_prob(noise) + log_determinant
        return log_p

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        z: Tensor = self.normalize.inv(self.base.rsample(sample_shape))
        return z


class FlowPosterior(Distribution):
    r"""The distribution of codes that an invertible map makes of draws from a simple one.

    .. math:: z = T(z_0), \quad z_0 \sim q_0, \qquad
        \log q(z) = \log q_0(z_0) - \log \left| \det \frac{\partial T}{\partial z_0} \right|

    Rezende and Mohamed (2015), equation 7. A draw is one pass through the map, and the density of that same draw
    comes with it, which is what training needs. The density of another code takes the inverse of the map: of an
    autoregressive one as many passes as a code has dimensions (Kingma et al., 2016, section 3).

    Args:
        transform: T, from the base to codes, as zuko's transforms have it: a ``torch.distributions.Transform`` with
            ``call_and_ladj``.
        base: :math:`q_0`, batch shape (B,), event shape (latent_dim,), with ``rsample``.
    """

    has_rsample = True
    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (torch's own way)
    support = constraints.real_vector

    def __init__(self, transform: Any, base: Distribution) -> None:
        self.transform = transform
        self.base = base
        self._last: tuple[Tensor, Tensor, Tensor, bool] | None = None
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base {self.base})"

    def expand(self, batch_shape: Any, _instance: Any = None) -> FlowPosterior:
        return FlowPosterior(self.transform, self.base.expand(batch_shape))

    @property
    def mean(self) -> Tensor:
        raise NotImplementedError("no mean of a flow is known: mnistvae.distributions.mean_of has that of 64 draws")

    @property
    def variance(self) -> Tensor:
        raise NotImplementedError("no variance of a flow is known: mnistvae.distributions.moments has an estimate")

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        start = self.base.rsample(sample_shape)
        z, log_determinant = self.transform.call_and_ladj(start)
        self._last = (z, start, log_determinant, torch.is_grad_enabled())
        drawn: Tensor = z
        return drawn

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            return self.rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._last is not None and self._last[0] is value and self._last[3] == torch.is_grad_enabled():
            _, start, log_determinant, _ = self._last
        else:
            start = self.transform.inv(value)
            _, log_determinant = self.transform.call_and_ladj(start)
        log_q: Tensor = self.base.log_prob(start) - log_determinant
        return log_q


@from_noise.register
def _(distribution: PushForward, noise: Tensor, uniform: Tensor | None = None) -> Tensor:
    z: Tensor = distribution.normalize.inv(from_noise(distribution.base, noise, uniform))
    return z


@from_noise.register
def _(distribution: FlowPosterior, noise: Tensor, uniform: Tensor | None = None) -> Tensor:
    z: Tensor = distribution.transform(from_noise(distribution.base, noise, uniform))
    return z
