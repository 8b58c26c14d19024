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
from mnistvae.distributions.categorical import OneHotCategoricals
from mnistvae.distributions.flows import FlowPosterior, PushForward
from mnistvae.distributions.joint import Joint
from mnistvae.distributions.marginals import LatentMarginal
from mnistvae.distributions.mixtures import EvenMixture
from mnistvae.distributions.normals import DiagonalNormal
from mnistvae.distributions.spheres import HypersphericalUniform, VonMisesFisher
from mnistvae.errors import ComponentError, SettingError, type_name

__all__ = ["detached", "tempered"]

TEMPERATURE = "a finite temperature of at least 0"


@singledispatch
def tempered(distribution: Distribution, temperature: float | Sequence[float]) -> Distribution:
    """A distribution over codes with its spread scaled by ``temperature``, for drawing.

    A normal keeps its mean, a mixture the means of its components, a flow the map of its base; any
    other distribution is scaled about its mean. A ladder scales each level, a joint distribution each block, a second
    stage both u and z given u. Of a von Mises-Fisher distribution, kappa is divided by the square; the uniform
    distribution on a sphere has no spread to be scaled. Of discrete codes the logarithms of the probabilities are
    divided by the temperature: 0 leaves the most likely ones.

    Args:
        distribution: Distribution over codes, event shape (latent_dim,).
        temperature: Factor of the spread, at least 0; for a ladder also one for each level.

    Raises:
        ComponentError: If the distribution is another and has no mean.
        SettingError: If the temperature is negative or no number, or not 1 for a uniform distribution on a sphere.

    Example:
        >>> wide = DiagonalNormal(torch.ones(2), torch.zeros(2))
        >>> tempered(wide, 0.5).stddev
        tensor([0.5000, 0.5000])
    """
    temperature = check_number(TEMPERATURE, temperature)
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
    temperature = check_number(TEMPERATURE, temperature)
    shift = 2 * math.log(temperature) if temperature > 0 else -math.inf
    return DiagonalNormal(distribution.mu, distribution.logvar + shift)


@tempered.register
def _(distribution: td.MultivariateNormal, temperature: float | Sequence[float]) -> td.MultivariateNormal:
    scale = distribution.scale_tril * check_number(TEMPERATURE, temperature)
    return td.MultivariateNormal(distribution.loc, scale_tril=scale, validate_args=False)


@tempered.register
def _(distribution: td.MixtureSameFamily, temperature: float | Sequence[float]) -> td.MixtureSameFamily:
    components = tempered(distribution.component_distribution, temperature)
    return td.MixtureSameFamily(distribution.mixture_distribution, components, validate_args=False)


@tempered.register
def _(distribution: PushForward, temperature: float | Sequence[float]) -> PushForward:
    return PushForward(distribution.normalize, tempered(distribution.base, temperature))  # type: ignore[arg-type]


@tempered.register
def _(distribution: FlowPosterior, temperature: float | Sequence[float]) -> FlowPosterior:
    return FlowPosterior(distribution.transform, tempered(distribution.base, temperature))


@tempered.register
def _(distribution: VonMisesFisher, temperature: float | Sequence[float]) -> VonMisesFisher:
    square = check_number(TEMPERATURE, temperature) ** 2
    return VonMisesFisher(distribution.mu, distribution.kappa / square if square > 0 else distribution.kappa + math.inf)


@tempered.register
def _(distribution: HypersphericalUniform, temperature: float | Sequence[float]) -> HypersphericalUniform:
    if check_number(TEMPERATURE, temperature) != 1:
        raise SettingError(
            "a temperature of 1 for a uniform distribution on a sphere",
            f"{temperature}",
            "it has no spread to scale: all codes are as typical as any",
        )
    return distribution


@tempered.register
def _(distribution: EvenMixture, temperature: float | Sequence[float]) -> EvenMixture:
    return EvenMixture([tempered(part, temperature) for part in distribution.parts])


@tempered.register
def _(distribution: LatentMarginal, temperature: float | Sequence[float]) -> LatentMarginal:
    factor = check_number(TEMPERATURE, temperature)

    def cooled(function: Callable[[Tensor], DiagonalNormal]) -> Callable[[Tensor], DiagonalNormal]:
        return lambda codes: tempered(function(codes), factor)  # type: ignore[return-value]

    # The posterior, too: that of a linear map keeps its mean when the spreads of u and of z given u are scaled.
    parts = cooled(distribution.conditional), cooled(distribution.posterior)
    base = tempered(distribution.base, factor)
    return LatentMarginal(base, *parts, distribution.latent_dim, distribution.num_samples)  # type: ignore[arg-type]


@tempered.register
def _(distribution: OneHotCategoricals, temperature: float | Sequence[float]) -> OneHotCategoricals:
    factor, logits = check_number(TEMPERATURE, temperature), distribution.logits
    if factor > 0:
        return OneHotCategoricals(logits / factor, distribution.temperature, distribution.hard)
    never = torch.finfo(logits.dtype).min / 4  # zero times infinity would be NaN
    likeliest = torch.zeros_like(logits).masked_fill(logits < logits.amax(-1, keepdim=True), never)
    return OneHotCategoricals(likeliest, distribution.temperature, distribution.hard)


@tempered.register
def _(distribution: Joint, temperature: float | Sequence[float]) -> Joint:
    return Joint([tempered(part, temperature) for part in distribution.parts])


def detached(distribution: Distribution) -> Distribution:
    """A copy of a distribution with detached parameters, through which no gradient flows.

    Raises:
        ComponentError: If it keeps its parameters in anything but tensors and distributions.
    """
    if isinstance(distribution, EvenMixture | Joint):
        return type(distribution)([detached(part) for part in distribution.parts])
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
