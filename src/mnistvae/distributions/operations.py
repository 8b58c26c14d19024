"""Operations on any distribution over codes; another distribution takes part by a function registered for it."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from functools import singledispatch

import torch
import torch.distributions as td
from torch import Size, Tensor
from torch.distributions import Distribution

from mnistvae._checks import check_number
from mnistvae.distributions.flows import PushForward
from mnistvae.distributions.marginals import LatentMarginal
from mnistvae.distributions.normals import DiagonalNormal
from mnistvae.errors import ComponentError, type_name

__all__ = ["detached", "from_noise", "noise_size", "tempered"]

_TEMPERATURE = "a finite temperature of at least 0"


@singledispatch
def tempered(distribution: Distribution, temperature: float | Sequence[float]) -> Distribution:
    """A distribution over codes with its spread scaled by ``temperature``, for drawing.

    A normal keeps its mean, a mixture the means of its components, a flow the map of its base; any
    other distribution is scaled about its mean. A ladder scales each level, a second stage both u and z given u.

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


@tempered.register
def _(distribution: LatentMarginal, temperature: float | Sequence[float]) -> LatentMarginal:
    factor = check_number(_TEMPERATURE, temperature)

    def cooled(function: Callable[[Tensor], DiagonalNormal]) -> Callable[[Tensor], DiagonalNormal]:
        return lambda codes: tempered(function(codes), factor)  # type: ignore[return-value]

    # The posterior, too: that of a linear map keeps its mean when the spreads of u and of z given u are scaled.
    parts = cooled(distribution.conditional), cooled(distribution.posterior)
    base = tempered(distribution.base, factor)
    return LatentMarginal(base, *parts, distribution.latent_dim, distribution.num_samples)  # type: ignore[arg-type]


@singledispatch
def from_noise(distribution: Distribution, noise: Tensor, uniform: Tensor | None = None) -> Tensor:  # noqa: ARG001
    r"""Draws from a distribution over codes as a function of noise, so that the same noise gives the same codes.

    Of a normal these are :math:`\mu + L \epsilon`; of a flow the map of its base's; of a mixture those of the component
    that the uniform noise chooses, by the inverse of the weights' distribution function; of a second stage, whose noise
    is for u and for z, those given the u of the first numbers. Noise times a temperature gives draws from the
    :func:`tempered` distribution. Other distributions take part by a function that is registered
    for them, with ``mnistvae.distributions.from_noise.register``.

    Args:
        distribution: Distribution over codes, batch () or (B,), event shape (latent_dim,).
        noise: Standard normal noise, (B, latent_dim); of any distribution, (B, :func:`noise_size`).
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
def _(distribution: LatentMarginal, noise: Tensor, _: Tensor | None = None) -> Tensor:
    return distribution.from_noise(noise)


@from_noise.register
def _(distribution: td.TransformedDistribution, noise: Tensor, uniform: Tensor | None = None) -> Tensor:
    z = from_noise(distribution.base_dist, noise, uniform)
    for transform in distribution.transforms:
        z = transform(z)
    return z


@singledispatch
def noise_size(distribution: Distribution) -> int:
    """The number of standard normal numbers that :func:`from_noise` makes one code of.

    It is latent_dim, unless a code is made in more steps than one; such distributions register a function with
    ``mnistvae.distributions.noise_size.register``.

    Args:
        distribution: Distribution over codes, event shape (latent_dim,).

    Example:
        >>> noise_size(UnitNormal(torch.zeros(3))), noise_size(mv.priors.SecondStage(3)())
        (3, 6)
    """
    return distribution.event_shape[0]


@noise_size.register
def _(distribution: LatentMarginal) -> int:
    return noise_size(distribution.base) + distribution.latent_dim


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
