"""The parts of the KL term over a data set: what codes tell of images, and latent dimensions of each other."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeGuard

import torch
import torch.distributions as td
from torch import Tensor
from torch.distributions import Distribution

from mnistvae._checks import check_seed
from mnistvae._random import derive_seed, seeded
from mnistvae.arrays import check_finite, double_on
from mnistvae.distributions import DiagonalNormal, has_density, tensors_of
from mnistvae.errors import ComponentError, DataError, type_name
from mnistvae.metrics.metric import Estimate, Metric
from mnistvae.view import View

__all__ = ["METRICS", "KLParts", "kl_parts", "mutual_information", "total_correlation"]

_LOG_2PI = math.log(2 * math.pi)
#: Share of its ceiling, log N, from which on the mutual information may be as large as so many images can show.
_SATURATED = 0.95


class KLParts(NamedTuple):
    """The mean KL term of N images and its three parts, which add up to it; nats."""

    #: I(x; z), the information of the code about which image it is of.
    mutual_information: Estimate
    #: Dependence of the latent dimensions on each other, over all images.
    total_correlation: Estimate
    #: Distance of each latent dimension from the prior, over all images.
    dimension_wise_kl: Estimate
    #: The whole, estimated at the same draws.
    kl: Estimate


def mutual_information(posterior: Distribution, seed: int = 0) -> Estimate:
    r"""Mutual information between N images and their codes.

    .. math:: I_q(x; z) = \mathbb{E}_{q(x, z)}\left[\log \frac{q(z \mid x)}{q(z)}\right], \qquad
        q(z) = \frac{1}{N} \sum_{n=1}^{N} q(z \mid x_n)

    Hoffman and Johnson (2016), "ELBO surgery"; Chen et al. (2018), equation 2, the index-code mutual information. It
    is from 0, where all posteriors are the same, to :math:`\log N`, where each code names its image. Within 5 % of that
    ceiling there is a warning: more images would give more. The estimate takes one code an image and all N posteriors:
    for these images it has noise and no bias. Its time grows with N squared.

    Args:
        posterior: Posteriors q(z | x) of at least two images, batch shape (N,), event shape (latent_dim,); any with
            ``log_prob``.
        seed: Seed of the codes, one an image.

    Returns:
        Nats.

    Raises:
        ComponentError: If it is no distribution, has another shape, or is a point, without a density.
        DataError: If there are fewer than two images, or a code or a density is not finite.

    Example:
        >>> from mnistvae.distributions import DiagonalNormal
        >>> mu = torch.tensor([[-50.0], [50.0]]).repeat(100, 1)  # the code tells which of two kinds an image is of
        >>> round(mutual_information(DiagonalNormal(mu, torch.zeros(200, 1))).value, 4)  # log 2
        0.6931
    """
    densities = _log_densities(posterior, seed)
    return _estimate(densities.conditional - densities.joint)


def total_correlation(posterior: Distribution, seed: int = 0) -> Estimate:
    r"""Total correlation of the latent dimensions over N images: how far they are from independent.

    .. math:: D_{KL}\left(q(z) \,\|\, \prod_j q(z_j)\right), \qquad q(z) = \frac{1}{N} \sum_{n=1}^{N} q(z \mid x_n)

    Chen et al. (2018), equation 2. At least 0, which means independent dimensions; lower is more disentangled. It is
    that of these N images, and larger than that of all images, by nats where the mutual information comes near
    :math:`\log N`: q(z) is then N separate islands. From half of it on there is a warning; the standard error, that
    of the codes drawn, says nothing of this.

    Args:
        posterior: Posteriors q(z | x) of at least two images, batch shape (N,), event shape (latent_dim,): with
            independent dimensions (``torch.distributions.Independent``), or a multivariate normal.
        seed: Seed of the codes, one an image.

    Returns:
        Nats.

    Raises:
        ComponentError: If the shape is another, or the posterior has no density for each dimension.
        DataError: If there are fewer than two images, or a code or a density is not finite.

    Example:
        >>> mean, cov = torch.zeros(1000, 2), torch.tensor([[1.0, 0.8], [0.8, 1.0]])
        >>> correlated = torch.distributions.MultivariateNormal(mean, cov)
        >>> value, standard_error = total_correlation(correlated)
        >>> abs(value - 0.5108) < 4 * standard_error  # -log(1 - 0.8^2) / 2
        True
    """
    densities = _log_densities(posterior, seed, by_dimension=True)
    _warn_if_overrated(densities)
    return _estimate(densities.joint - densities.product)


def kl_parts(posterior: Distribution, prior: Distribution, seed: int = 0) -> KLParts:
    r"""The KL term of N images in three: mutual information, total correlation, dimension-wise KL.

    .. math::
        \frac{1}{N} \sum_n D_{KL}(q(z \mid x_n) \| p(z)) = I_q(x; z)
            + D_{KL}\left(q(z) \,\|\, \prod_j q(z_j)\right) + \sum_j D_{KL}(q(z_j) \| p(z_j))

    Chen et al. (2018), equation 2, with the aggregate posterior :math:`q(z) = \frac{1}{N} \sum_n q(z \mid x_n)` over
    all N images, which training has to estimate from a batch (:func:`mnistvae.losses.kl_decomposition`). Each part is
    at least 0, save for the noise of one code an image. :func:`mutual_information`, which tells of its ceiling and the
    warning there, and :func:`total_correlation` give the same figures from the same seed.

    Args:
        posterior: Posteriors q(z | x) of at least two images, batch shape (N,), event shape (latent_dim,): with
            independent dimensions (``torch.distributions.Independent``), or a multivariate normal.
        prior: The prior p(z), batch shape (), with independent dimensions; one for all images.
        seed: Seed of the codes, one an image.

    Returns:
        Nats. 10,000 images of 20 dimensions take some 10 seconds on one core; time grows with N squared, memory with N.

    Raises:
        ComponentError: If a shape is another, or posterior or prior have no density for each dimension.
        DataError: If there are fewer than two images, or a code or a density is not finite.

    Example:
        >>> data = mv.load_dataset("mnist-mini", "test")[:500]
        >>> model = mv.VAE(latent_dim=2)
        >>> parts = kl_parts(model.encode(data.images), model.latent_prior())
        >>> three = parts.mutual_information.value + parts.total_correlation.value + parts.dimension_wise_kl.value
        >>> abs(three - parts.kl.value) < 1e-9
        True
    """
    _check_posterior(posterior)
    _check_prior(prior, posterior.event_shape)
    densities = _log_densities(posterior, seed, by_dimension=True)
    with torch.no_grad():
        log_p = prior.log_prob(densities.z).to(densities.joint)
    return KLParts(
        _estimate(densities.conditional - densities.joint),
        _estimate(densities.joint - densities.product),
        _estimate(densities.product - log_p),
        _estimate(densities.conditional - log_p),
    )


class _LogDensities(NamedTuple):
    """At one code of each of N images, in nats."""

    #: The codes, (N, latent_dim).
    z: Tensor
    #: log q(z | x), (N,).
    conditional: Tensor
    #: log q(z), (N,).
    joint: Tensor
    #: sum_j log q(z_j), (N,); zeros where it was not asked for.
    product: Tensor


@torch.no_grad()
def _log_densities(posterior: Distribution, seed: int, *, by_dimension: bool = False) -> _LogDensities:
    _check_posterior(posterior)
    n = posterior.batch_shape[0]
    marginals = _marginals(posterior) if by_dimension else None
    device = _device(posterior)
    posterior = _in_double(posterior, device)
    with seeded(derive_seed(check_seed(seed)), device):
        z = check_finite(posterior.sample(), "codes drawn from the posterior")
    conditional = check_finite(posterior.log_prob(z), "log-densities of the posterior").to(double_on(device))
    if isinstance(posterior, DiagonalNormal):
        joint, product = _of_normals(posterior, z, by_dimension=by_dimension)
    else:
        joint = _averaged(posterior, z).to(conditional)
        product = torch.zeros_like(joint) if marginals is None else _averaged(marginals, z).sum(-1).to(conditional)
    _warn_if_saturated(float((conditional - joint).mean()), n)
    return _LogDensities(z, conditional, joint, product)


def _of_normals(posterior: DiagonalNormal, z: Tensor, *, by_dimension: bool) -> tuple[Tensor, Tensor]:
    r"""``_averaged`` of diagonal normals and of their dimensions, several times as quick.

    One dimension at a time, the matrix of squared distances between codes and means serves both sums, and
    stays in the cache. The distances are differences and not a matrix product of squares, which would cancel where
    a posterior is narrow.
    """
    n, latent_dim = z.shape
    mu = posterior.mean.T.contiguous()
    log_sigma = 0.5 * posterior.logvar.expand(n, latent_dim).T.contiguous()
    heights = (-log_sigma).exp()
    scale = heights * math.sqrt(0.5)
    joints, products = [], []
    for rows in _chunks(z, n):
        exponents = -log_sigma.sum(0).repeat(len(rows), 1)
        product = rows.new_zeros(len(rows))
        for j in range(latent_dim):
            distances = (rows[:, j, None] - mu[j]).mul_(scale[j]).square_()
            exponents -= distances
            if by_dimension:
                product += (distances.neg_().exp_() @ heights[j]).log_()
        joints.append(exponents.logsumexp(1))
        products.append(product)
    constant = 0.5 * latent_dim * _LOG_2PI
    product = torch.cat(products) - latent_dim * math.log(n) - constant if by_dimension else z.new_zeros(n)
    return torch.cat(joints) - math.log(n) - constant, product


def _averaged(posterior: Distribution, z: Tensor) -> Tensor:
    """Logarithm of the mean over N posteriors, batch shape (N, ...), of their density at each of N codes: (N, ...)."""
    n = len(z)
    pairs = (rows.unsqueeze(1).expand(-1, n, -1) for rows in _chunks(z, z.numel()))
    return torch.cat([posterior.log_prob(pair).logsumexp(1) for pair in pairs]) - math.log(n)


def _chunks(z: Tensor, numbers: int) -> Iterator[Tensor]:
    """Rows of ``z``, so many at once that memory is bounded where each takes so many ``numbers``."""
    at_once = 2**17 if z.device.type == "cpu" else 2**24  # a processor's cache; enough to fill a GPU
    yield from torch.split(z, max(1, at_once // numbers))


def _in_double(posterior: Distribution, device: torch.device) -> Distribution:
    """Diagonal normals as a DiagonalNormal in double precision; any other posterior as it is."""
    dtype = double_on(device)
    if isinstance(posterior, DiagonalNormal):
        return DiagonalNormal(posterior.mu.to(dtype), posterior.logvar.to(dtype)).expand(posterior.batch_shape)
    if _factorises(posterior) and isinstance(posterior.base_dist, td.Normal):
        return DiagonalNormal(posterior.base_dist.loc.to(dtype), 2 * posterior.base_dist.scale.to(dtype).log())
    return posterior


def _check_posterior(posterior: Distribution) -> None:
    if not isinstance(posterior, Distribution) or not len(posterior.batch_shape) == len(posterior.event_shape) == 1:
        raise ComponentError(
            "a posterior with batch shape (N,) and event shape (latent_dim,)",
            _described(posterior),
            "for instance model.encode(images), or torch.distributions.Independent(..., 1)",
        )
    if not has_density(posterior):
        raise ComponentError("a posterior with a density", type_name(posterior), "without noise in a code it is log N")
    if posterior.batch_shape[0] < 2:
        raise DataError("a posterior of at least two images", f"{posterior.batch_shape[0]}", "pass more images")


def _check_prior(prior: Distribution, event_shape: torch.Size) -> None:
    if not isinstance(prior, Distribution) or prior.batch_shape or prior.event_shape != event_shape:
        raise ComponentError(
            f"one prior for all images, batch shape () and event shape {tuple(event_shape)}",
            _described(prior),
            "for instance model.latent_prior()",
        )
    if not _factorises(prior):
        raise ComponentError(
            "a prior whose dimensions are independent",
            type_name(prior),
            "mutual_information and total_correlation need no prior",
        )


def _factorises(distribution: Distribution) -> TypeGuard[td.Independent[Distribution]]:
    return isinstance(distribution, td.Independent) and distribution.reinterpreted_batch_ndims == 1


def _marginals(posterior: Distribution) -> Distribution:
    """q(z_j | x), batch shape (N, latent_dim)."""
    if _factorises(posterior):
        base: Distribution = posterior.base_dist
        return base
    if isinstance(posterior, td.MultivariateNormal | td.LowRankMultivariateNormal):
        return td.Normal(posterior.mean, posterior.stddev, validate_args=False)
    raise ComponentError(
        "a posterior with a density for each dimension",
        type_name(posterior),
        "return torch.distributions.Independent(..., 1) from the encoder, or take only mutual_information",
    )


def _device(distribution: Distribution) -> torch.device:
    """The device of the first of its parameters; the CPU, where none is found."""
    return next((tensor.device for tensor in tensors_of(distribution)), torch.device("cpu"))


def _described(distribution: Any) -> str:
    name = type_name(distribution)
    if not isinstance(distribution, Distribution):
        return name
    return (
        f"{name} with batch shape {tuple(distribution.batch_shape)} and event shape {tuple(distribution.event_shape)}"
    )


def _estimate(values: Tensor) -> Estimate:
    return Estimate(float(values.mean()), float(values.std()) / math.sqrt(len(values)))


def _warn_if_saturated(information: float, n: int) -> None:
    if information > _SATURATED * math.log(n):
        warnings.warn(
            f"the mutual information, {information:.2f} nats, is as large as {n} images can show (log N = "
            f"{math.log(n):.2f}): the code may tell more, and the total correlation is overrated; pass more images",
            stacklevel=5,
        )


def _warn_if_overrated(densities: _LogDensities) -> None:
    """Warn where the total correlation of so many images is larger than that of all images."""
    n, information = len(densities.joint), float((densities.conditional - densities.joint).mean())
    if densities.z.shape[1] > 1 and 0.5 * math.log(n) < information <= _SATURATED * math.log(n):
        text = f"their mutual information, {information:.2f} nats, is over half of log N = {math.log(n):.2f}"
        warnings.warn(f"the total correlation of {n} images is overrated, by nats maybe: {text}", stacklevel=3)


def _parts(view: View) -> dict[str, Estimate]:
    """Mutual information and total correlation of a view, from one draw of codes; the prior may be any."""
    with view.bar("information", 1) as done:
        densities = _log_densities(view.posterior, view.seed, by_dimension=True)  # type: ignore[arg-type]
        done(1)
    _warn_if_overrated(densities)
    return {
        "mutual_information": _estimate(densities.conditional - densities.joint),
        "total_correlation": _estimate(densities.joint - densities.product),
    }


def _metric(name: str, how: str) -> Metric:
    return Metric(
        name,
        "nats",
        needs=["two images", "one prior", "joined posterior"],
        compute=lambda view: view.once(_parts)[name],
        protocol=lambda view: f"{how}; {len(view)} images, log N = {math.log(len(view)):.3g}, one code each",
    )


METRICS = (
    _metric("mutual_information", "between x and z, at most log N"),
    _metric("total_correlation", "of the aggregate posterior of these images, overrated where kl is over log N / 2"),
)
