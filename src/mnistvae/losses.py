"""Pure functions on tensors: the terms of a bound on log p(x), for each example, in nats.

Nothing here is reduced over the batch. Sums run over pixels and over latent dimensions, so that
beta = 1 is the evidence lower bound and every figure is in nats per image.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, kl_divergence

__all__ = ["bernoulli_cross_entropy", "gaussian_kl", "kl_or_estimate", "negative_elbo"]


def bernoulli_cross_entropy(logits: Tensor, x: Tensor) -> Tensor:
    r"""Cross-entropy between pixels and a Bernoulli given by its logits, summed over the pixels.

    .. math:: -\sum_i x_i \log \sigma(l_i) + (1 - x_i) \log (1 - \sigma(l_i))

    For binary pixels this is :math:`-\log p(x)`. For grey pixels it is not a likelihood: its minimum
    over the logits is the entropy of the pixels, not zero.

    Args:
        logits: (..., C, H, W).
        x: values in [0, 1], broadcast against ``logits``.

    Returns:
        (...), nats.

    Example:
        >>> bernoulli_cross_entropy(torch.zeros(2, 1, 2, 2), torch.ones(2, 1, 2, 2))  # 4 log 2
        tensor([2.7726, 2.7726])
    """
    if logits.shape != x.shape:
        logits, x = torch.broadcast_tensors(logits, x)  # type: ignore[no-untyped-call]
    return nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(-3).sum(-1)


def gaussian_kl(
    mu: Tensor, logvar: Tensor, prior_mu: Tensor | float = 0.0, prior_logvar: Tensor | float = 0.0
) -> Tensor:
    r"""KL divergence between two diagonal normals, by default from the standard normal.

    .. math::
        D_{KL}(q \| p) = \tfrac{1}{2} \sum_j \left[ \log\sigma_{p,j}^2 - \log\sigma_{q,j}^2
            + \frac{\sigma_{q,j}^2 + (\mu_{q,j} - \mu_{p,j})^2}{\sigma_{p,j}^2} - 1 \right]

    With the standard normal this is Kingma and Welling (2014), appendix B.

    Args:
        mu: means of q, (..., latent_dim).
        logvar: logarithms of the variances of q, the same shape.
        prior_mu: means of p, broadcast against ``mu``.
        prior_logvar: logarithms of the variances of p, broadcast against ``logvar``.

    Returns:
        (...), nats.

    Example:
        >>> gaussian_kl(torch.tensor([[0.0, 0.0], [1.0, -1.0]]), torch.zeros(2, 2))
        tensor([0., 1.])
    """
    if not isinstance(prior_logvar, Tensor):
        prior_logvar = torch.as_tensor(prior_logvar, dtype=logvar.dtype, device=logvar.device)
    log_ratio = logvar - prior_logvar
    distance = (mu - prior_mu).square() * (-prior_logvar).exp()
    # expm1 keeps the divergence of two nearly equal normals from rounding below zero.
    return 0.5 * (log_ratio.expm1() - log_ratio + distance).sum(-1)


def kl_or_estimate(q: Distribution, p: Distribution, z: Tensor) -> Tensor:
    r"""KL divergence of q from p: in closed form where torch knows one, else the estimate at ``z``.

    .. math:: D_{KL}(q \| p) \approx \log q(z) - \log p(z), \qquad z \sim q

    Args:
        q: the posterior, batch shape (B,).
        p: the prior, batch shape (B,) or ().
        z: one draw from q, (B, latent_dim).

    Returns:
        (B,), nats.
    """
    try:
        return kl_divergence(q, p)
    except NotImplementedError:
        return q.log_prob(z) - p.log_prob(z)


def negative_elbo(reconstruction: Tensor, kl: Tensor, beta: float | Tensor = 1.0) -> Tensor:
    r"""The loss of a (beta-)VAE for each example.

    .. math:: -\log p(x \mid z) + \beta \, D_{KL}(q(z \mid x) \| p(z))

    Kingma and Welling (2014), equation 7, for beta = 1; Higgins et al. (2017), equation 4, for any beta.

    Args:
        reconstruction: :math:`-\log p(x \mid z)`, (B,), nats.
        kl: (B,), nats.
        beta: weight of the KL term.

    Returns:
        (B,), nats.
    """
    return reconstruction + beta * kl
