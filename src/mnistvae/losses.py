"""Pure functions on tensors: the terms of a bound on log p(x), for each example, in nats.

Nothing here is reduced over the batch. Sums run over pixels and over latent dimensions, so that
beta = 1 is the evidence lower bound and every figure is in nats per image.

Longer than usual: one function for each equation, and most of its lines are the equation and its source.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Mapping
from functools import singledispatch
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, kl_divergence

from mnistvae.errors import DataError

__all__ = [
    "OwnTerms",
    "annealed_capacity",
    "bernoulli_cross_entropy",
    "categorical_nll",
    "continuous_bernoulli_nll",
    "covariance_penalty",
    "discretized_logistic_nll",
    "doubly_reparameterized",
    "free_bits",
    "gaussian_kl",
    "gaussian_kl_by_dimension",
    "gaussian_nll",
    "importance_weighted_bound",
    "kl_by_level",
    "kl_decomposition",
    "kl_or_estimate",
    "logistic_mixture_nll",
    "maximum_mean_discrepancy",
    "negative_elbo",
    "own_terms",
    "squared_jacobian",
    "stratified_log_weights",
]

#: The greatest logarithm of a variance, or of a ratio of two, whose exponential a sum over latents can hold in float32.
_GREATEST_LOGVAR = 80.0

_LOG_2PI = math.log(2 * math.pi)


def bernoulli_cross_entropy(logits: Tensor, x: Tensor) -> Tensor:
    r"""Cross-entropy between pixels and a Bernoulli given by its logits, summed over the pixels.

    .. math:: -\sum_i x_i \log \sigma(l_i) + (1 - x_i) \log (1 - \sigma(l_i))

    For binary pixels this is :math:`-\log p(x)`. For grey pixels it is not a likelihood: its minimum
    over the logits is the entropy of the pixels, not zero.

    Args:
        logits: Logits of the pixels, (..., C, H, W).
        x: Pixels in [0, 1], broadcast against ``logits``.

    Returns:
        (...), nats.

    Example:
        >>> bernoulli_cross_entropy(torch.zeros(2, 1, 2, 2), torch.ones(2, 1, 2, 2))  # 4 log 2
        tensor([2.7726, 2.7726])
    """
    if logits.shape != x.shape:
        logits, x = torch.broadcast_tensors(logits, x)  # type: ignore[no-untyped-call]
    if torch.compiler.is_compiling():  # the compiler's own is as fast, and older ones cannot follow the other
        entropy = nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="none")
    else:
        entropy = _CrossEntropy.apply(logits, x)
    return entropy.flatten(-3).sum(-1)


class _CrossEntropy(torch.autograd.Function):
    r"""Cross-entropy of each pixel, :math:`\max(l, 0) - x l + \log(1 + e^{-|l|})`.

    torch's own is a fifth of a step of a small network on a CPU, most of it in log1p, of which there is a quicker one.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor, x: Tensor) -> Tensor:
        return torch.addcmul(logits.clamp_min(0.0), x, logits, value=-1) + _log1p((-logits.abs()).exp())

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], _: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        logits, x = ctx.saved_tensors
        of_logits, of_x = ctx.needs_input_grad
        return (logits.sigmoid() - x) * gradient if of_logits else None, -logits * gradient if of_x else None


def _log1p(a: Tensor) -> Tensor:
    """log(1 + a) for a in [0, 1], seven times as fast on a CPU as torch's."""
    if a.device.type != "cpu":
        return a.log1p()
    above = 1 + a
    return above.log() + (a - (above - 1)) / above  # the second term is what 1 + a has rounded away


def continuous_bernoulli_nll(logits: Tensor, x: Tensor) -> Tensor:
    r"""Minus the log-density of pixels under continuous Bernoullis given by their logits.

    .. math:: -\log p(x) = \sum_i \log \frac{\sinh(l_i / 2)}{l_i / 2} - l_i (x_i - \tfrac{1}{2})

    Loaiza-Ganem and Cunningham (2019), equations 5 to 7, with :math:`\lambda = \sigma(l)`. Written in the
    logit the normaliser is even and smooth, also at :math:`\lambda = 1/2`, where the paper's form is 0 / 0.

    Args:
        logits: Logits of the pixels, (..., C, H, W).
        x: Pixels in [0, 1], broadcast against ``logits``.

    Returns:
        (...), nats; a density, so it may be negative.

    Example:
        >>> continuous_bernoulli_nll(torch.zeros(2, 1, 2, 2), torch.rand(2, 1, 2, 2))  # uniform on [0, 1]
        tensor([0., 0.])
    """
    return _over_pixels(log_sinhc(logits / 2) - logits * (x - 0.5))


def log_sinhc(a: Tensor) -> Tensor:
    r"""log(sinh(a) / a) elementwise, without overflow and without a hole at 0."""
    size = a.abs()
    near = size < 0.3  # the series is exact to 1e-10 there, its derivative to 1e-9
    square = torch.where(near, a, 0.0).square()
    series = square * (1 / 6 - square * (1 / 180 - square * (1 / 2835 - square * (1 / 37800 - square / 467775))))
    far = torch.where(near, 1.0, size)  # both branches must be finite, or the gradient is NaN
    return torch.where(near, series, far + torch.log(-torch.expm1(-2 * far)) - torch.log(2 * far))


def gaussian_nll(mean: Tensor, log_sigma: Tensor, x: Tensor) -> Tensor:
    r"""Minus the log-density of pixels under independent normals, constant included.

    .. math:: -\log p(x) = \sum_i \frac{(x_i - \mu_i)^2}{2 \sigma_i^2} + \log \sigma_i + \tfrac{1}{2} \log 2 \pi

    Args:
        mean: Means of the pixels, (..., C, H, W).
        log_sigma: Logarithms of the standard deviations, broadcast against ``mean``.
        x: Pixels, broadcast against ``mean``.

    Returns:
        (...), nats; a density, so it may be negative.

    Example:
        >>> gaussian_nll(torch.zeros(1, 1, 2), torch.zeros(()), torch.ones(1, 1, 2))  # 2 (1 + log 2 pi) / 2
        tensor(2.8379)
    """
    standardized = (x - mean) * (-log_sigma).exp()
    return _over_pixels(0.5 * (standardized.square() + _LOG_2PI) + log_sigma)


def discretized_logistic_nll(mean: Tensor, log_scale: Tensor, x: Tensor, levels: int = 256) -> Tensor:
    r"""Minus the log-probability of grey levels under a logistic distribution that is cut into bins.

    .. math:: P(x = k / (L - 1)) = \sigma\left(\frac{x + \delta - \mu}{s}\right)
        - \sigma\left(\frac{x - \delta - \mu}{s}\right), \qquad \delta = \frac{1}{2 (L - 1)}

    The outermost bins reach to infinity, so that the L probabilities sum to 1. Kingma et al.
    (2016), appendix C; Salimans et al. (2017), equation 2.

    Args:
        mean: Means of the logistic distributions, (..., C, H, W), on the scale of the pixels.
        log_scale: Logarithms of s, broadcast against ``mean``.
        x: Pixels in [0, 1], broadcast against ``mean``; each is taken as the level nearest to it.
        levels: L, the number of grey levels.

    Returns:
        (...), nats; not negative.
    """
    return -_over_pixels(discretized_logistic_log_prob(mean, log_scale, x, levels))


def discretized_logistic_log_prob(mean: Tensor, log_scale: Tensor, x: Tensor, levels: int) -> Tensor:
    """Log-probability of each pixel, (..., C, H, W): minus the summands of :func:`discretized_logistic_nll`."""
    level = (x * (levels - 1)).round()
    inverse = (-log_scale).exp()
    centred = level / (levels - 1) - mean
    half = 0.5 / (levels - 1)
    # sigma(b) - sigma(a) = sigma(b) sigma(-a) (1 - exp(a - b)), which neither cancels nor underflows.
    below = nn.functional.logsigmoid((centred + half) * inverse)
    above = nn.functional.logsigmoid((half - centred) * inverse)
    within = torch.log(-torch.expm1(-2 * half * inverse)).expand_as(below)
    lowest, highest = level <= 0, level >= levels - 1
    log_p = below.masked_fill(highest, 0.0) + above.masked_fill(lowest, 0.0)
    return log_p + within.masked_fill(lowest | highest, 0.0)


def logistic_mixture_nll(logits: Tensor, mean: Tensor, log_scale: Tensor, x: Tensor, levels: int = 256) -> Tensor:
    r"""Minus the log-probability of grey levels under mixtures of logistic distributions cut into bins.

    .. math:: P(x) = \sum_{k=1}^{K} \pi_k \left[\sigma\left(\frac{x + \delta - \mu_k}{s_k}\right)
        - \sigma\left(\frac{x - \delta - \mu_k}{s_k}\right)\right], \qquad
        \pi = \operatorname{softmax}(l), \quad \delta = \frac{1}{2 (L - 1)}

    Salimans et al. (2017), equation 2, with the outermost bins of :func:`discretized_logistic_nll`; pixels and their
    channels are independent here.

    Args:
        logits: l, logarithms of the weights of the K components up to a constant, (..., K, C, H, W).
        mean: Means of the components, the same shape, on the scale of the pixels.
        log_scale: Logarithms of the s, the same shape.
        x: Pixels in [0, 1], (..., C, H, W); each is taken as the level nearest to it.
        levels: L, the number of grey levels.

    Returns:
        (...), nats; not negative.

    Example:
        >>> one = torch.zeros(1, 1, 1, 1)  # a single component is a discretized logistic
        >>> x = torch.full((1, 1, 1), 0.4)
        >>> torch.equal(logistic_mixture_nll(one, one, one, x), discretized_logistic_nll(one[0], one[0], x))
        True
    """
    of_each = discretized_logistic_log_prob(mean, log_scale, x.unsqueeze(-4), levels)
    return -_over_pixels((logits.log_softmax(-4) + of_each).logsumexp(-4))


def categorical_nll(logits: Tensor, x: Tensor) -> Tensor:
    r"""Minus the log-probability of grey levels, each of which has a logit of its own.

    .. math:: -\log P(x) = \sum_i \log \sum_{k=0}^{L-1} e^{l_{i,k}} - l_{i,k_i}, \qquad x_i = k_i / (L - 1)

    The softmax of van den Oord et al. (2016), "Pixel recurrent neural networks", section 2.2.

    Args:
        logits: l, (..., L, C, H, W), one for each of the L levels from black to white.
        x: Pixels in [0, 1], broadcast against (..., C, H, W); each is taken as the level nearest to it.

    Returns:
        (...), nats; not negative.

    Example:
        >>> categorical_nll(torch.zeros(16, 1, 2, 2), torch.rand(1, 2, 2))  # 4 log 16
        tensor(11.0904)
    """
    levels = logits.shape[-4]
    level = (x * (levels - 1)).round().clamp(0, levels - 1).long()  # an index beyond would end the process on a GPU
    level, normaliser = torch.broadcast_tensors(level, logits.logsumexp(-4))  # type: ignore[no-untyped-call]
    shape = (*level.shape[:-3], levels, *level.shape[-3:])
    chosen = logits.expand(shape).gather(-4, level.unsqueeze(-4)).squeeze(-4)
    return _over_pixels(normaliser - chosen)


def _over_pixels(values: Tensor) -> Tensor:
    return values.flatten(-3).sum(-1)


def gaussian_kl_by_dimension(
    mu: Tensor, logvar: Tensor, prior_mu: Tensor | float = 0.0, prior_logvar: Tensor | float = 0.0
) -> Tensor:
    r"""KL divergence of each dimension, (..., latent_dim): the summands of :func:`gaussian_kl`.

    Example:
        >>> gaussian_kl_by_dimension(torch.tensor([[0.0, 2.0]]), torch.zeros(1, 2))
        tensor([[0., 2.]])
    """
    return 0.5 * _twice_gaussian_kl(mu, logvar, prior_mu, prior_logvar)


def gaussian_kl(
    mu: Tensor, logvar: Tensor, prior_mu: Tensor | float = 0.0, prior_logvar: Tensor | float = 0.0
) -> Tensor:
    r"""KL divergence between two diagonal normals, by default from the standard normal.

    .. math::
        D_{KL}(q \| p) = \tfrac{1}{2} \sum_j \left[ \log\sigma_{p,j}^2 - \log\sigma_{q,j}^2
            + \frac{\sigma_{q,j}^2 + (\mu_{q,j} - \mu_{p,j})^2}{\sigma_{p,j}^2} - 1 \right]

    With the standard normal this is Kingma and Welling (2014), appendix B. Ratios of variances are bounded by
    :math:`e^{80}`, beyond which float32 would overflow.

    Args:
        mu: Means of q, (..., latent_dim).
        logvar: Logarithms of the variances of q, the same shape.
        prior_mu: Means of p, broadcast against ``mu``.
        prior_logvar: Logarithms of the variances of p, broadcast against ``logvar``.

    Returns:
        (...), nats.

    Example:
        >>> gaussian_kl(torch.tensor([[0.0, 0.0], [1.0, -1.0]]), torch.zeros(2, 2))
        tensor([0., 1.])
    """
    return 0.5 * _twice_gaussian_kl(mu, logvar, prior_mu, prior_logvar).sum(-1)


def _twice_gaussian_kl(mu: Tensor, logvar: Tensor, prior_mu: Tensor | float, prior_logvar: Tensor | float) -> Tensor:
    # expm1 keeps the divergence of two nearly equal normals from rounding below zero.
    if isinstance(prior_mu, float) and isinstance(prior_logvar, float) and prior_mu == prior_logvar == 0.0:
        logvar = logvar.clamp_max(_GREATEST_LOGVAR)
        return torch.addcmul(logvar.expm1() - logvar, mu, mu)  # the usual prior, in the hot path of training
    prior_logvar = torch.as_tensor(prior_logvar, dtype=logvar.dtype, device=logvar.device)
    log_ratio = (logvar - prior_logvar).clamp_max(_GREATEST_LOGVAR)
    precision = (-prior_logvar).clamp_max(_GREATEST_LOGVAR).exp()
    return log_ratio.expm1() - log_ratio + (mu - prior_mu).square() * precision


def kl_or_estimate(q: Distribution, p: Distribution, z: Tensor) -> Tensor:
    r"""KL divergence of q from p, in closed form where torch knows one, else estimated at ``z``.

    .. math:: D_{KL}(q \| p) \approx \log q(z) - \log p(z), \qquad z \sim q

    Args:
        q: The posterior, batch shape (B,).
        p: The prior, batch shape (B,) or ().
        z: One draw from q, (B, latent_dim), or several, (K, B, latent_dim).

    A hierarchy's is the sum of :func:`kl_by_level`.

    Returns:
        (B,), nats; estimates at several draws are (K, B).
    """
    levels = kl_by_level(q, p, z)
    if levels is not None:
        return levels.sum(-1)
    try:
        return kl_divergence(q, p)
    except NotImplementedError:
        return q.log_prob(z) - p.log_prob(z)


@singledispatch
def kl_by_level(q: Distribution, p: Distribution, z: Tensor) -> Tensor | None:  # noqa: ARG001
    r"""KL divergence of each level of a hierarchy, given the levels above it in a draw.

    .. math:: D_{KL}(q(z_l \mid z_{<l}, x) \| p(z_l \mid z_{<l})), \qquad z \sim q

    Its mean over draws, summed over the levels, is the KL divergence of q from p. Sønderby et al. (2016), equation 11.

    Args:
        q: The posterior, batch shape (B,).
        p: The prior, batch shape ().
        z: One draw from q, (B, latent_dim), or several, (K, B, latent_dim).

    Returns:
        (B, levels), or (K, B, levels), nats; None where the two are no hierarchy, as here: hierarchies register
        functions of their own, with ``mnistvae.losses.kl_by_level.register``.
    """
    return None


class OwnTerms(NamedTuple):
    """The cost and the figures that a posterior adds to a loss by itself, one value an image."""

    #: The cost that is added to the loss, (B,).
    cost: Tensor
    #: Further figures by name, (B,) each, which a history records.
    extra: Mapping[str, Tensor]


@singledispatch
def own_terms(q: Distribution) -> OwnTerms | None:  # noqa: ARG001
    """The cost that a posterior has by itself whatever the objective, and figures for the history.

    A quantizer's is the commitment loss (van den Oord et al., 2017, equation 3). Every objective adds it to its loss.

    Args:
        q: The posterior, batch shape (B,).

    Returns:
        ``cost``, (B,), and ``extra``, terms by name; None where there are none, as here: posteriors that have some
        register functions of their own, with ``mnistvae.losses.own_terms.register``.
    """
    return None


def negative_elbo(reconstruction: Tensor, kl: Tensor, beta: float | Tensor = 1.0) -> Tensor:
    r"""The loss of a (beta-)VAE for each example.

    .. math:: -\log p(x \mid z) + \beta \, D_{KL}(q(z \mid x) \| p(z))

    Kingma and Welling (2014), equation 7, for beta = 1; Higgins et al. (2017), equation 4, for any beta.

    Args:
        reconstruction: :math:`-\log p(x \mid z)`, (B,), nats.
        kl: :math:`D_{KL}(q(z \mid x) \| p(z))`, (B,), nats.
        beta: Weight of the KL term.

    Returns:
        (B,), nats.
    """
    if isinstance(beta, float):
        return torch.add(reconstruction, kl, alpha=beta)  # one operation less in every step
    return reconstruction + beta * kl


def free_bits(kl_by_dimension: Tensor, floor: float) -> Tensor:
    r"""KL divergence with a floor under the batch mean of each dimension.

    .. math:: \sum_j \max\left(\lambda, \mathbb{E}_{x}[D_{KL}(q(z_j \mid x) \| p(z_j))]\right)

    Kingma et al. (2016), equation 15. One value an image, whose batch mean is the sum above.

    Args:
        kl_by_dimension: KL of each dimension, (B, latent_dim), nats; (B, 1) puts one floor under the whole code.
        floor: Lambda, nats a dimension.

    Returns:
        (B,), nats.

    Example:
        >>> free_bits(torch.tensor([[0.1, 3.0], [0.3, 1.0]]), floor=0.5)
        tensor([3.5000, 1.5000])
    """
    above = kl_by_dimension.mean(0) > floor
    return torch.where(above, kl_by_dimension, floor).sum(-1)


def annealed_capacity(reconstruction: Tensor, kl: Tensor, capacity: float | Tensor, gamma: float | Tensor) -> Tensor:
    r"""The loss of a VAE whose KL is held near a capacity.

    .. math:: -\log p(x \mid z) + \gamma \, |D_{KL}(q(z \mid x) \| p(z)) - C|

    Burgess et al. (2018), equation 8.

    Args:
        reconstruction: :math:`-\log p(x \mid z)`, (B,), nats.
        kl: :math:`D_{KL}(q(z \mid x) \| p(z))`, (B,), nats.
        capacity: C, nats.
        gamma: Weight of the distance.

    Returns:
        (B,), nats.
    """
    return reconstruction + gamma * (kl - capacity).abs()


def importance_weighted_bound(log_weights: Tensor) -> Tensor:
    r"""The bound on log p(x) of several weighted samples.

    .. math:: \mathcal{L}_K = \log \frac{1}{K} \sum_{k=1}^{K} w_k, \qquad
        w_k = \frac{p(x \mid z_k) \, p(z_k)}{q(z_k \mid x)}, \quad z_k \sim q(z \mid x)

    Burda et al. (2016), equation 8. It is the ELBO for K = 1, and rises to log p(x) with K.

    Args:
        log_weights: :math:`\log w_k`, (K, ..., B), nats.

    Returns:
        (..., B), nats.

    Raises:
        DataError: If there is no sample.

    Example:
        >>> importance_weighted_bound(torch.tensor([[1.0], [3.0]]).log())  # log 2
        tensor([0.6931])
    """
    samples = log_weights.shape[0]
    if not samples:
        raise DataError("log-weights of at least one sample", "none", "draw one: (K, B) with K of at least 1")
    return torch.logsumexp(log_weights, dim=0) - math.log(samples)


def doubly_reparameterized(log_weights: Tensor, z: Tensor) -> Tensor:
    r"""The bound of :func:`importance_weighted_bound`, with the doubly reparameterized gradient.

    .. math:: \nabla_\phi \mathcal{L}_K = \sum_k \tilde{w}_k^2 \,
        \frac{\partial \log w_k}{\partial z_k} \frac{\partial z_k}{\partial \phi}, \qquad
        \tilde{w}_k = \frac{w_k}{\sum_j w_j}

    Tucker et al. (2019), equation 8: the same expectation as the plain gradient, and a variance that does
    not grow with K. Everything else in ``log_weights`` gets the plain gradient.

    Args:
        log_weights: (K, B), nats, made of ``z`` and of a :math:`\log q` whose own parameters are detached; or
            (K, M, B) for M groups of samples.
        z: The codes, (K, B, latent_dim), or (K M, B, latent_dim) for groups, reparameterized; a gradient hook is put on
            them.

    Returns:
        (B,), nats; (M, B) for groups.
    """
    weights = torch.softmax(log_weights.detach(), dim=0)
    if z.requires_grad:
        # The bound's own gradient weighs each sample once; on the way through z it is weighed again.
        z.register_hook(lambda gradient: gradient * weights.reshape(gradient.shape[:-1]).unsqueeze(-1))  # type: ignore[no-untyped-call]
    return importance_weighted_bound(log_weights)


def maximum_mean_discrepancy(a: Tensor, b: Tensor, kernel: str = "imq") -> Tensor:
    r"""The squared maximum mean discrepancy between two sets of codes, estimated without bias.

    .. math:: \frac{1}{N (N - 1)} \sum_{i \ne j} \left[k(a_i, a_j) + k(b_i, b_j)\right]
        - \frac{2}{N^2} \sum_{i, j} k(a_i, b_j)

    Gretton et al. (2012), equation 3; Tolstikhin et al. (2018), algorithm 2. For standard normal codes of D dimensions,
    whose mean squared distance is 2 D, the kernels are :math:`k(a, b) = 2 D / (2 D + \|a - b\|^2)` (``"imq"``) and
    :math:`\exp(-\|a - b\|^2 / 2 D)` (``"rbf"``).

    Args:
        a: Codes, (N, D).
        b: Other codes, (N, D).
        kernel: ``"imq"`` or ``"rbf"``.

    Returns:
        (), no nats; near 0 where both have one distribution, and then below 0 half of the time.

    Example:
        >>> z = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
        >>> bool(maximum_mean_discrepancy(z[:250], z[250:] + 2) > maximum_mean_discrepancy(z[:250], z[250:]).abs())
        True
    """
    n, twice = a.shape[0], 2.0 * a.shape[1]

    def similarity(one: Tensor, other: Tensor) -> Tensor:
        lengths = one.square().sum(1, keepdim=True) + other.square().sum(1)
        squared = torch.addmm(lengths, one, other.T, alpha=-2).clamp_min(0.0)
        return (-squared / twice).exp() if kernel == "rbf" else twice / (twice + squared)

    within = similarity(a, a) + similarity(b, b)
    pairs = max(n * (n - 1), 1)  # of a single code there is none
    return (within.sum() - within.diagonal().sum()) / pairs - 2 * similarity(a, b).mean()


def covariance_penalty(covariance: Tensor, off_diagonal: float, diagonal: float) -> Tensor:
    r"""The distance of a covariance from the identity.

    .. math:: \lambda_{od} \sum_{i \ne j} C_{ij}^2 + \lambda_d \sum_i (C_{ii} - 1)^2

    Kumar et al. (2018), equation 6.

    Args:
        covariance: C, (D, D).
        off_diagonal: Weight of what is off the diagonal.
        diagonal: Weight of the diagonal.

    Example:
        >>> covariance_penalty(torch.tensor([[2.0, 0.5], [0.5, 1.0]]), off_diagonal=10.0, diagonal=1.0)
        tensor(6.)
    """
    variances = covariance.diagonal()
    across = covariance.square().sum() - variances.square().sum()
    return off_diagonal * across + diagonal * (variances - 1).square().sum()


def squared_jacobian(function: Callable[[Tensor], Tensor], z: Tensor, direction: Tensor) -> Tensor:
    r"""The squared Frobenius norm of a function's Jacobian at each code, estimated without bias from one direction.

    .. math:: \|J(z)\|_F^2 = \mathbb{E}_{v \sim \mathcal{N}(0, I)}\left[\|J(z) \, v\|^2\right], \qquad
        J(z) = \frac{\partial f(z)}{\partial z}

    Of a decoder it is the gradient penalty of Ghosh et al. (2020), section 3. The product is computed on the way
    forward, beside the function itself; the gradient of the estimate then takes one way back.

    Args:
        function: f, from codes (B, latent_dim) to (B, ...); of each code by itself.
        z: The codes, (B, latent_dim).
        direction: v, standard normal noise of the same shape.

    Returns:
        (B,), no nats.

    Example:
        >>> z, direction = torch.zeros(1, 2), torch.tensor([[1.0, -1.0]])
        >>> squared_jacobian(lambda code: 3 * code, z, direction)  # 9 (1 + 1), whose mean over directions is 18
        tensor([18.])
    """
    if not torch.compiler.is_compiling():
        _begin_forward_mode()
    # Forward mode does not take tensors whose rows share their memory.
    change: Tensor = torch.func.jvp(function, (z.contiguous(),), (direction.contiguous(),))[1]
    return change.flatten(1).square().sum(1)


@functools.cache
def _begin_forward_mode() -> None:
    """Have torch load its forward mode, which warns of a part of torch's own."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.script")  # of another category in each version
        one = torch.ones((), device="cpu")
        torch.func.jvp(torch.sin, (one,), (one,))


def stratified_log_weights(batch: int, images: int | Tensor, *, like: Tensor) -> Tensor:
    r"""Logarithms of the weights with which a batch's posteriors estimate the aggregate posterior.

    .. math:: q(z) \approx \tfrac{1}{N} q(z \mid x_i) + \tfrac{N - M}{N M} q(z \mid x_{i+1})
        + \tfrac{1}{M} \sum_{j \ne i, i + 1} q(z \mid x_j), \qquad M = B - 1

    This is minibatch-stratified sampling for a code z of image i, Chen et al. (2018), appendix C.2: its expectation
    over the other images of the batch is q(z).

    Args:
        batch: B, the number of images in the batch.
        images: N, the number of images in the data set; taken as B where it is less.
        like: A tensor of the dtype and on the device that the weights are to have.

    Returns:
        (B, B); row i is for the code of image i.

    Example:
        >>> stratified_log_weights(3, 100, like=torch.empty(0)).exp()
        tensor([[0.0100, 0.4900, 0.5000],
                [0.5000, 0.0100, 0.4900],
                [0.4900, 0.5000, 0.0100]])
    """
    if batch <= 1:
        return like.new_zeros(batch, batch)
    others = batch - 1
    images = torch.as_tensor(images, dtype=like.dtype, device=like.device).clamp_min(batch)
    row = like.new_full((batch,), -math.log(others))
    row[0] = -images.log()
    # The (N - M) / (N M) of above.
    row[1] = (1 / others - 1 / images).log()
    offsets = torch.arange(batch, device=like.device)
    return row[(offsets - offsets.unsqueeze(1)) % batch]


def kl_decomposition(log_q: Tensor, log_p: Tensor, log_weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    r"""The KL term as a sum of three: mutual information, total correlation and dimension-wise KL.

    .. math::
        \log \frac{q(z \mid x)}{p(z)} = \log \frac{q(z \mid x)}{q(z)}
            + \log \frac{q(z)}{\prod_j q(z_j)} + \log \frac{\prod_j q(z_j)}{p(z)}

    Chen et al. (2018), equation 2, at one code an image. The three add up to
    :math:`\log q(z \mid x) - \log p(z)`, whatever the weights.

    Args:
        log_q: :math:`\log q(z_{i,j} \mid x_m)` of the code of image i under the posterior of image m,
            (B, B, latent_dim), nats.
        log_p: :math:`\log p(z_i)`, (B,), nats.
        log_weights: Logarithms of the posteriors' weights, (B, B), as :func:`stratified_log_weights` gives them.

    Returns:
        Mutual information, total correlation, dimension-wise KL: each (B,), nats.
    """
    conditional = log_q.diagonal().sum(0)
    joint = torch.logsumexp(log_weights + log_q.sum(-1), dim=1)
    product = torch.logsumexp(log_weights.unsqueeze(-1) + log_q, dim=1).sum(-1)
    return conditional - joint, joint - product, product - log_p
