"""Distributions that torch lacks or that it gets wrong for pixels.

All are ordinary distributions of torch's: what torch knows about those (KL divergences, ``expand``,
mixtures, transforms) holds for them too. None validates its arguments at every call.

Longer than usual: the classes are small, and refer to each other in the rules for KL divergences and tempering.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from contextlib import suppress
from functools import singledispatch
from typing import Any

import torch
import torch.distributions as td
from torch import Size, Tensor
from torch.distributions import Distribution, constraints, kl_divergence
from torch.distributions.kl import register_kl

from mnistvae._checks import check_number
from mnistvae._random import batch_noise
from mnistvae.errors import ComponentError, type_name
from mnistvae.losses import (
    bernoulli_cross_entropy,
    continuous_bernoulli_nll,
    discretized_logistic_log_prob,
    discretized_logistic_nll,
    gaussian_kl,
    gaussian_kl_by_dimension,
)

__all__ = [
    "DiagonalNormal",
    "FullNormal",
    "PixelBernoulli",
    "PixelContinuousBernoulli",
    "PixelLogistic",
    "PushForward",
    "UnitNormal",
    "detached",
    "from_noise",
    "kl_by_dimension",
    "tempered",
]

_LOG_2PI = math.log(2 * math.pi)
#: Grey levels that are summed over at once: all of them would take 255 times the memory.
_AT_ONCE = 16
_TEMPERATURE = "a finite temperature of at least 0"


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
        return from_noise(self, noise)


class UnitNormal(DiagonalNormal):
    r"""The standard normal distribution, from which the KL divergence of a DiagonalNormal costs less.

    Args:
        zero: Tensor of zeros, (latent_dim,), of the dtype and on the device of the distribution.
    """

    def __init__(self, zero: Tensor) -> None:
        super().__init__(zero, zero)


class _Pixels(Distribution):
    """Independent pixels, each with the same few parameters: tensors (..., C, H, W), in the order of ``__init__``."""

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (torch's own way)
    support = constraints.independent(constraints.unit_interval, 3)  # type: ignore[no-untyped-call]
    parameters: tuple[Tensor, ...]

    def __init__(self, *parameters: Tensor) -> None:
        self.parameters = parameters
        shape = parameters[0].shape
        super().__init__(shape[:-3], shape[-3:], validate_args=False)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(batch {tuple(self.batch_shape)}, pixels {tuple(self.event_shape)})"

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        return self._with(*(p.expand((*batch_shape, *self.event_shape)) for p in self.parameters))

    def _with(self, *parameters: Tensor) -> Any:
        return type(self)(*parameters)

    def _uniform(self, sample_shape: Any) -> Tensor:
        shape = self._extended_shape(Size(sample_shape))
        like = self.parameters[0]
        # In half precision there are 256 numbers between 1/2 and 1, too few for rare pixels.
        return torch.rand(shape, dtype=torch.promote_types(like.dtype, torch.float32), device=like.device)


class PixelBernoulli(_Pixels):
    r"""Independent Bernoulli pixels, given by their logits, that also take grey values in [0, 1].

    ``log_prob`` of a grey image is minus the cross-entropy (see
    :func:`mnistvae.losses.bernoulli_cross_entropy`); torch's own Bernoulli refuses such an image when
    it validates, and its mode is NaN at a logit of 0.

    Args:
        logits: Logits of the pixels, (..., C, H, W).
    """

    def __init__(self, logits: Tensor) -> None:
        super().__init__(logits)
        self.logits = logits

    @property
    def mean(self) -> Tensor:
        return self.logits.sigmoid()

    @property
    def mode(self) -> Tensor:
        return (self.logits >= 0).to(self.logits.dtype)

    @property
    def variance(self) -> Tensor:
        return self.logits.sigmoid() * (-self.logits).sigmoid()

    def log_prob(self, value: Tensor) -> Tensor:
        return -bernoulli_cross_entropy(self.logits, value)

    def entropy(self) -> Tensor:
        """Entropy of each image, (...), in nats."""
        return bernoulli_cross_entropy(self.logits, self.mean)

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        return (self._uniform(sample_shape) < self.mean).to(self.logits.dtype)


class PixelContinuousBernoulli(_Pixels):
    r"""Independent continuous Bernoulli pixels on [0, 1], given by their logits.

    .. math:: p(x) = \frac{l \, e^{l x}}{e^l - 1}

    See :func:`mnistvae.losses.continuous_bernoulli_nll`. torch's own works with the probability, which
    cuts logits off near +-16 and leaves the mode out.

    Args:
        logits: l, (..., C, H, W).
    """

    has_rsample = True

    def __init__(self, logits: Tensor) -> None:
        super().__init__(logits)
        self.logits = logits

    @property
    def mean(self) -> Tensor:
        r""":math:`1 / (1 - e^{-l}) - 1 / l`, (..., C, H, W)."""
        size = self.logits.abs()
        near = size < 0.2  # the series is exact to 1e-10 there
        square = torch.where(near, self.logits, 0.0).square()
        series = 0.5 + self.logits * (1 / 12 - square * (1 / 720 - square * (1 / 30240 - square / 1209600)))
        far = torch.where(near, 1.0, size)
        above_half = -1 / torch.expm1(-far) - 1 / far
        return torch.where(near, series, torch.where(self.logits > 0, above_half, 1 - above_half))

    @property
    def variance(self) -> Tensor:
        r""":math:`1 / l^2 - e^l / (e^l - 1)^2`, (..., C, H, W)."""
        size = self.logits.abs()
        near = size < 0.5  # the series is exact to 1e-9 there
        square = torch.where(near, size, 0.0).square()
        series = 1 / 12 - square * (1 / 240 - square * (1 / 6048 - square / 172800))
        far = torch.where(near, 1.0, size)
        return torch.where(near, series, 1 / far.square() - (-far).exp() / torch.expm1(-far).square())

    @property
    def mode(self) -> Tensor:
        return (self.logits >= 0).to(self.logits.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        return -continuous_bernoulli_nll(self.logits, value)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draws by the inverse of the distribution function."""
        uniform = self._uniform(sample_shape)
        logits = self.logits.to(uniform.dtype)
        from_mode = torch.where(logits < 0, uniform, 1 - uniform)
        near = logits.abs() < 1e-4  # the first order in l is exact to 1e-9 there
        flat = uniform + 0.5 * logits * uniform * (1 - uniform)
        decay = torch.where(near, -1.0, -logits.abs())  # the density falls from its mode
        away = (torch.log1p(from_mode * torch.expm1(decay)) / decay).clamp(0.0, 1.0)
        steep = torch.where(logits < 0, away, 1 - away)
        return torch.where(near, flat, steep).to(self.logits.dtype)


class PixelLogistic(_Pixels):
    r"""Independent grey levels, each a logistic distribution cut into bins.

    See :func:`mnistvae.losses.discretized_logistic_nll`.

    Args:
        loc: mu, (..., C, H, W), on the scale of the pixels.
        log_scale: Logarithms of s, the same shape.
        levels: Number of grey levels from 0 to 1.
    """

    def __init__(self, loc: Tensor, log_scale: Tensor, levels: int = 256) -> None:
        if loc.shape != log_scale.shape:
            loc, log_scale = torch.broadcast_tensors(loc, log_scale)  # type: ignore[no-untyped-call]
        super().__init__(loc, log_scale)
        self.loc = loc
        self.log_scale = log_scale
        self.levels = levels

    def _with(self, *parameters: Tensor) -> PixelLogistic:
        loc, log_scale = parameters
        return PixelLogistic(loc, log_scale, self.levels)

    @property
    def mean(self) -> Tensor:
        r"""The mean of the levels, (..., C, H, W): :math:`\sum_k P(x \ge k / (L - 1)) / (L - 1)`."""
        total = torch.zeros_like(self.loc, dtype=self._exact)
        for edges in torch.split(self._edges, _AT_ONCE):
            total = total + self._above(edges).sum(0)
        return (total / (self.levels - 1)).to(self.loc.dtype)

    @property
    def variance(self) -> Tensor:
        """The variance of the levels about their mean, (..., C, H, W)."""
        mean, total = self.mean.to(self._exact), torch.zeros_like(self.loc, dtype=self._exact)
        end = self._edges.new_tensor([math.inf])
        lower, upper = torch.cat([-end, self._edges]), torch.cat([self._edges, end])
        levels = torch.arange(self.levels, device=end.device)
        some = (torch.split(one, _AT_ONCE) for one in (lower, upper, levels))
        for low, high, level in zip(*some, strict=True):
            distance = level.reshape(-1, *[1] * mean.ndim) / (self.levels - 1) - mean
            total = total + ((self._above(low) - self._above(high)) * distance.square()).sum(0)
        return total.to(self.loc.dtype)

    @property
    def _exact(self) -> torch.dtype:
        """The dtype of sums over levels."""
        return torch.promote_types(self.loc.dtype, torch.float32)

    @property
    def _edges(self) -> Tensor:
        """The edges between levels, in levels."""
        return torch.arange(0.5, self.levels - 1, device=self.loc.device, dtype=self._exact)

    def _above(self, edges: Tensor) -> Tensor:
        """The probability of lying above each edge, (edges, ..., C, H, W)."""
        inverse = (-self.log_scale.to(self._exact)).exp()
        centre, step = self.loc.to(self._exact) * inverse, inverse / (self.levels - 1)
        return torch.sigmoid(centre - edges.reshape(-1, *[1] * centre.ndim) * step)

    @property
    def mode(self) -> Tensor:
        """The likeliest level: the one at mu, or an outermost one, which has a whole tail."""
        candidates = torch.stack([self._nearest(self.loc), torch.zeros_like(self.loc), torch.ones_like(self.loc)])
        log_p = discretized_logistic_log_prob(self.loc, self.log_scale, candidates, self.levels)
        return candidates.gather(0, log_p.argmax(0, keepdim=True)).squeeze(0)

    def log_prob(self, value: Tensor) -> Tensor:
        return -discretized_logistic_nll(self.loc, self.log_scale, value, self.levels)

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        noise = torch.logit(self._uniform(sample_shape), eps=1e-7)
        return self._nearest(self.loc + self.log_scale.exp() * noise).to(self.loc.dtype)

    def _nearest(self, x: Tensor) -> Tensor:
        return (x.clamp(0.0, 1.0) * (self.levels - 1)).round() / (self.levels - 1)


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


@singledispatch
def tempered(distribution: Distribution, temperature: float | Sequence[float]) -> Distribution:
    """A distribution over codes with its spread scaled by ``temperature``, for drawing.

    A normal keeps its mean, a mixture the means of its components, a flow the map of its base; any
    other distribution is scaled about its mean. A ladder scales each level.

    Args:
        distribution: Distribution over codes, event shape (latent_dim,).
        temperature: Factor of the spread, at least 0; for a ladder also one for each level.

    Raises:
        ComponentError: If the distribution is another and has no mean.
        SettingError: If the temperature is negative or no number.

    Example:
        >>> wide = DiagonalNormal(torch.ones(2), torch.zeros(2))
        >>> tempered(wide, 0.5).stddev
        tensor([0.5000, 0.5000])
    """
    temperature = check_number(_TEMPERATURE, temperature)
    try:
        middle = distribution.mean
    except NotImplementedError:
        middle = torch.full(distribution.event_shape, math.nan)
    if bool(middle.isnan().any()):
        raise ComponentError(
            "a distribution with a mean, to scale about",
            f"{type_name(distribution)} without one",
            "use temperature=1, or register a function with mnistvae.distributions.tempered",
        )
    # The scale is a number: of a tensor without dimensions, torch counts the volume once and not in each dimension.
    shift = td.AffineTransform(middle * (1 - temperature), float(temperature), event_dim=1)
    return td.TransformedDistribution(distribution, [shift], validate_args=False)


@tempered.register
def _(distribution: DiagonalNormal, temperature: float | Sequence[float]) -> DiagonalNormal:
    temperature = check_number(_TEMPERATURE, temperature)
    shift = 2 * math.log(temperature) if temperature > 0 else -math.inf
    return DiagonalNormal(distribution.mu, distribution.logvar + shift)


@tempered.register
def _(distribution: td.MultivariateNormal, temperature: float | Sequence[float]) -> td.MultivariateNormal:
    scale = distribution.scale_tril * check_number(_TEMPERATURE, temperature)
    return td.MultivariateNormal(distribution.loc, scale_tril=scale, validate_args=False)


@tempered.register
def _(distribution: td.MixtureSameFamily, temperature: float | Sequence[float]) -> td.MixtureSameFamily:
    components = tempered(distribution.component_distribution, temperature)
    return td.MixtureSameFamily(distribution.mixture_distribution, components, validate_args=False)


@tempered.register
def _(distribution: PushForward, temperature: float | Sequence[float]) -> PushForward:
    return PushForward(distribution.normalize, tempered(distribution.base, temperature))  # type: ignore[arg-type]


@singledispatch
def from_noise(distribution: Distribution, noise: Tensor, uniform: Tensor | None = None) -> Tensor:  # noqa: ARG001
    r"""Draws from a distribution over codes as a function of noise, so that the same noise gives the same codes.

    Of a normal these are :math:`\mu + L \epsilon`; of a flow the map of its base's; of a mixture those of the component
    that the uniform noise chooses, by the inverse of the weights' distribution function. Noise times a temperature
    gives draws from the :func:`tempered` distribution. Other distributions take part by a function that is registered
    for them, with ``mnistvae.distributions.from_noise.register``.

    Args:
        distribution: Distribution over codes, batch () or (B,), event shape (latent_dim,).
        noise: Standard normal noise, (B, latent_dim).
        uniform: Uniform noise in [0, 1), (B,), which a mixture needs.

    Returns:
        Codes, (B, latent_dim).

    Raises:
        ComponentError: If the distribution is another, or a mixture gets no uniform noise.

    Example:
        >>> wide = DiagonalNormal(torch.ones(2), torch.zeros(2))
        >>> from_noise(wide, torch.tensor([[0.0, 0.5]]))
        tensor([[1.0000, 1.5000]])
    """
    raise ComponentError(
        "a distribution whose draws are known as a function of noise: a normal, a mixture, a flow",
        type_name(distribution),
        "register a function with mnistvae.distributions.from_noise",
    )


@from_noise.register
def _(distribution: td.Normal, noise: Tensor, _: Tensor | None = None) -> Tensor:
    return distribution.loc + distribution.scale * noise


@from_noise.register
def _(distribution: td.Independent, noise: Tensor, uniform: Tensor | None = None) -> Tensor:  # type: ignore[type-arg]
    return from_noise(distribution.base_dist, noise, uniform)


@from_noise.register
def _(distribution: td.MultivariateNormal, noise: Tensor, _: Tensor | None = None) -> Tensor:
    return distribution.loc + (distribution.scale_tril @ noise[..., None]).squeeze(-1)


@from_noise.register
def _(distribution: td.MixtureSameFamily, noise: Tensor, uniform: Tensor | None = None) -> Tensor:
    if uniform is None:
        raise ComponentError("uniform noise for a mixture, to choose the component", "none", "pass torch.rand(B)")
    steps = distribution.mixture_distribution.probs.cumsum(-1)[..., :-1]
    chosen = (uniform[:, None] >= steps).sum(-1)
    of_each = from_noise(distribution.component_distribution, noise[:, None])
    return of_each.gather(1, chosen[:, None, None].expand(-1, 1, noise.shape[-1])).squeeze(1)


@from_noise.register
def _(distribution: PushForward, noise: Tensor, uniform: Tensor | None = None) -> Tensor:
    z: Tensor = distribution.normalize.inv(from_noise(distribution.base, noise, uniform))
    return z


@from_noise.register
def _(distribution: td.TransformedDistribution, noise: Tensor, uniform: Tensor | None = None) -> Tensor:
    z = from_noise(distribution.base_dist, noise, uniform)
    for transform in distribution.transforms:
        z = transform(z)
    return z


def detached(distribution: Distribution) -> Distribution:
    """A copy of a distribution with detached parameters, through which no gradient flows.

    Raises:
        ComponentError: If it keeps its parameters in anything but tensors and distributions.
    """
    copied = copy.copy(distribution)
    parameters = {name: value for name, value in vars(distribution).items() if isinstance(value, Tensor | Distribution)}
    for name, value in parameters.items():
        setattr(copied, name, value.detach() if isinstance(value, Tensor) else detached(value))
    for name in vars(distribution).keys() - parameters.keys():
        if not parameters or not isinstance(getattr(distribution, name), Size | int | float | None):
            raise ComponentError(
                "a posterior whose parameters can be detached",
                type_name(distribution),
                "use gradient='plain'",
            )
    return copied


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


def _kl_pixels(p: PixelBernoulli, q: PixelBernoulli) -> Tensor:
    return bernoulli_cross_entropy(q.logits, p.mean) - p.entropy()


register_kl(DiagonalNormal, DiagonalNormal)(_kl_diagonal_normals)  # type: ignore[no-untyped-call]
register_kl(td.MultivariateNormal, DiagonalNormal)(_kl_full_diagonal)  # type: ignore[no-untyped-call]
register_kl(PixelBernoulli, PixelBernoulli)(_kl_pixels)  # type: ignore[no-untyped-call]
