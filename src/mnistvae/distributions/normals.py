"""Normal distributions over codes."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import torch
import torch.distributions as td
from torch import Size, Tensor
from torch.distributions import Distribution, kl_divergence
from torch.distributions.kl import register_kl

from mnistvae._random import batch_noise
from mnistvae.losses import gaussian_kl, gaussian_kl_by_dimension

__all__ = ["DiagonalNormal", "FullNormal", "UnitNormal", "kl_by_dimension"]

_LOG_2PI = math.log(2 * math.pi)


class DiagonalNormal(td.Independent[td.Normal]):
    r"""A normal distribution with diagonal covariance, parameterised by the logarithm of its variance.

    .. math:: \mathcal{N}(z; \mu, \operatorname{diag} e^{\text{logvar}})

    Args:
        mu: Means, (..., latent_dim).
        logvar: Logarithms of the variances, the same shape.

    Example:
        >>> q = DiagonalNormal(torch.zeros(5, 2), torch.zeros(5, 2))
        >>> q.batch_shape, q.event_shape, q.rsample().shape
        (torch.Size([5]), torch.Size([2]), torch.Size([5, 2]))
    """

    def __init__(self, mu: Tensor, logvar: Tensor) -> None:
        self.mu = mu
        self.logvar = logvar
        self.reinterpreted_batch_ndims = 1
        self._base: td.Normal | None = None
        shape = mu.shape if mu.shape == logvar.shape else torch.broadcast_shapes(mu.shape, logvar.shape)  # type: ignore[no-untyped-call]
        Distribution.__init__(self, shape[:-1], shape[-1:], validate_args=False)

    has_rsample = True  # Independent asks its base, which is yet to be made

    @property
    def base_dist(self) -> td.Normal:  # type: ignore[override]
        """The normal distribution of each dimension; made when it is first asked for, since training never does."""
        if self._base is None:
            self._base = td.Normal(self.mu, self._sigma, validate_args=False)
        return self._base

    @property
    def _sigma(self) -> Tensor:
        return (0.5 * self.logvar).exp()

    @property
    def mean(self) -> Tensor:
        return self.mu.expand(self._extended_shape())

    @property
    def mode(self) -> Tensor:
        return self.mean

    @property
    def variance(self) -> Tensor:
        return self.logvar.exp().expand(self._extended_shape())

    def expand(self, batch_shape: Any, _instance: Any = None) -> DiagonalNormal:
        shape = (*batch_shape, *self.event_shape)
        return DiagonalNormal(self.mu.expand(shape), self.logvar.expand(shape))

    def log_prob(self, value: Tensor) -> Tensor:
        standardized = (value - self.mu).square() * (-self.logvar).exp()
        return -0.5 * (standardized + self.logvar + _LOG_2PI).sum(-1)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(Size(sample_shape))
        noise = batch_noise(shape, self.mu.dtype, self.mu.device)
        return torch.addcmul(self.mu, self._sigma, noise)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            return self.rsample(sample_shape)


class FullNormal(td.MultivariateNormal):
    r"""A normal distribution with correlations, parameterised by the Cholesky factor of its covariance.

    .. math:: \mathcal{N}(z; \mu, L L^\top)

    Args:
        mu: Means, (..., latent_dim).
        scale_tril: L, lower triangular with positive diagonal, (..., latent_dim, latent_dim).

    Example:
        >>> q = FullNormal(torch.zeros(5, 2), torch.eye(2).expand(5, 2, 2))
        >>> q.batch_shape, q.event_shape, q.rsample().shape
        (torch.Size([5]), torch.Size([2]), torch.Size([5, 2]))
    """

    def __init__(self, mu: Tensor, scale_tril: Tensor) -> None:
        super().__init__(mu, scale_tril=scale_tril, validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> FullNormal:
        size = self.event_shape[0]
        return FullNormal(self.loc.expand(*batch_shape, size), self.scale_tril.expand(*batch_shape, size, size))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        noise = batch_noise(self._extended_shape(Size(sample_shape)), self.loc.dtype, self.loc.device)
        return self.loc + (self.scale_tril @ noise[..., None]).squeeze(-1)


class UnitNormal(DiagonalNormal):
    r"""The standard normal distribution, from which the KL divergence of a DiagonalNormal costs less.

    Args:
        zero: Tensor of zeros, (latent_dim,), of the dtype and on the device of the distribution.
    """

    def __init__(self, zero: Tensor) -> None:
        super().__init__(zero, zero)


def kl_by_dimension(q: Distribution, p: Distribution) -> Tensor | None:
    """KL divergence of q from p in each dimension, (B, latent_dim), where both factorise and torch knows it.

    Example:
        >>> q = DiagonalNormal(torch.tensor([[0.0, 2.0]]), torch.zeros(1, 2))
        >>> kl_by_dimension(q, UnitNormal(torch.zeros(2)))
        tensor([[0., 2.]])
    """
    if isinstance(q, DiagonalNormal) and isinstance(p, DiagonalNormal):
        return gaussian_kl_by_dimension(q.mu, q.logvar, p.mu, p.logvar)
    factorised = all(isinstance(d, td.Independent) and d.reinterpreted_batch_ndims == 1 for d in (q, p))
    if factorised:
        with suppress(NotImplementedError):
            return kl_divergence(q.base_dist, p.base_dist)  # type: ignore[attr-defined]
    return None


def _kl_diagonal_normals(q: DiagonalNormal, p: DiagonalNormal) -> Tensor:
    if isinstance(p, UnitNormal):
        return gaussian_kl(q.mu, q.logvar)
    return gaussian_kl(q.mu, q.logvar, p.mu, p.logvar)


def _kl_full_diagonal(q: td.MultivariateNormal, p: DiagonalNormal) -> Tensor:
    variance = q.scale_tril.square().sum(-1)
    log_determinant = 2 * q.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    distance = (variance + (q.loc - p.mu).square()) * (-p.logvar).exp()
    return 0.5 * ((distance + p.logvar - 1).sum(-1) - log_determinant)


register_kl(DiagonalNormal, DiagonalNormal)(_kl_diagonal_normals)  # type: ignore[no-untyped-call]
register_kl(td.MultivariateNormal, DiagonalNormal)(_kl_full_diagonal)  # type: ignore[no-untyped-call]
