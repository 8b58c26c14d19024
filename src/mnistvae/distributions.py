"""The few ``torch.distributions`` that torch lacks, or gets wrong for pixels.

Both are ordinary ``torch.distributions.Independent``, so everything torch knows about those
(KL divergences, ``expand``, transforms) holds for them too.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributions as td
from torch import Tensor
from torch.distributions.kl import register_kl

from mnistvae.losses import bernoulli_cross_entropy, gaussian_kl

__all__ = ["DiagonalNormal", "PixelBernoulli"]


class DiagonalNormal(td.Independent[td.Normal]):
    r"""A normal with diagonal covariance, kept by the logarithm of its variance.

    .. math:: \mathcal{N}(z; \mu, \operatorname{diag} e^{\text{logvar}})

    Args:
        mu: means, (..., latent_dim).
        logvar: logarithms of the variances, the same shape.

    Example:
        >>> q = DiagonalNormal(torch.zeros(5, 2), torch.zeros(5, 2))
        >>> q.batch_shape, q.event_shape, q.rsample().shape
        (torch.Size([5]), torch.Size([2]), torch.Size([5, 2]))
    """

    def __init__(self, mu: Tensor, logvar: Tensor) -> None:
        self.mu = mu
        self.logvar = logvar
        normal = td.Normal(mu, (0.5 * logvar).exp(), validate_args=False)
        super().__init__(normal, 1, validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> DiagonalNormal:
        shape = (*batch_shape, *self.event_shape)
        return DiagonalNormal(self.mu.expand(shape), self.logvar.expand(shape))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(torch.Size(sample_shape))
        noise = torch.randn(shape, dtype=self.mu.dtype, device=self.mu.device)
        return torch.addcmul(self.mu, self.base_dist.stddev, noise)


class PixelBernoulli(td.Independent[td.Bernoulli]):
    r"""Independent Bernoulli pixels, given by their logits, that also take grey values in [0, 1].

    ``log_prob`` of a grey image is minus the cross-entropy (see
    :func:`mnistvae.losses.bernoulli_cross_entropy`); torch's own Bernoulli refuses such an image when
    it validates, and its mode is NaN at a logit of 0.

    Args:
        logits: (B, C, H, W).
    """

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits
        super().__init__(td.Bernoulli(logits=logits, validate_args=False), 3, validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> PixelBernoulli:
        return PixelBernoulli(self.logits.expand((*batch_shape, *self.event_shape)))

    @property
    def mean(self) -> Tensor:
        return self.logits.sigmoid()

    @property
    def mode(self) -> Tensor:
        return (self.logits >= 0).to(self.logits.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        return -bernoulli_cross_entropy(self.logits, value)


def _kl_diagonal_normals(q: DiagonalNormal, p: DiagonalNormal) -> Tensor:
    return gaussian_kl(q.mu, q.logvar, p.mu, p.logvar)


register_kl(DiagonalNormal, DiagonalNormal)(_kl_diagonal_normals)  # type: ignore[no-untyped-call]
