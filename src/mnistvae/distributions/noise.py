"""Draws as a function of noise; another distribution takes part by a function that is registered for it."""

from __future__ import annotations

from functools import singledispatch

import torch
import torch.distributions as td
from torch import Tensor
from torch.distributions import Distribution

from mnistvae.errors import ComponentError, type_name

__all__ = ["NO_UNIFORM", "from_noise", "from_uniform", "noise_size"]

#: What a mixture needs beside normal noise.
NO_UNIFORM = "uniform noise for a mixture, to choose the component"


@singledispatch
def from_noise(distribution: Distribution, noise: Tensor, uniform: Tensor | None = None) -> Tensor:  # noqa: ARG001
    r"""Draws from a distribution over codes as a function of noise, so that the same noise gives the same codes.

    Of a normal these are :math:`\mu + L \epsilon`; of a flow the map of its base's; of a mixture those of the component
    that the uniform noise chooses, by the inverse of the weights' distribution function; of the uniform distribution on
    a sphere the directions of the noise; of a second stage, whose noise is for u and for z, those given the u of the
    first numbers. Noise times a temperature gives draws from the :func:`tempered` distribution. Other distributions
    take part by a function that is registered for them, with ``mnistvae.distributions.from_noise.register``.

    Args:
        distribution: Distribution over codes, batch () or (B,), event shape (latent_dim,).
        noise: Standard normal noise, (B, latent_dim); of any distribution, (B, :func:`noise_size`).
        uniform: Uniform noise in [0, 1), (B,), which a mixture needs.

    Returns:
        Codes, (B, latent_dim).

    Raises:
        ComponentError: If the distribution is another, or a mixture gets no uniform noise.

    Example:
        >>> wide = mv.distributions.DiagonalNormal(torch.ones(2), torch.zeros(2))
        >>> from_noise(wide, torch.tensor([[0.0, 0.5]]))
        tensor([[1.0000, 1.5000]])
    """
    raise ComponentError(
        "a distribution whose draws are known as a function of noise: a normal, a mixture, a flow, a uniform sphere",
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
        raise ComponentError(NO_UNIFORM, "none", "pass torch.rand(B)")
    steps = distribution.mixture_distribution.probs.cumsum(-1)[..., :-1]
    chosen = (uniform[:, None] >= steps).sum(-1)
    of_each = from_noise(distribution.component_distribution, noise[:, None])
    return of_each.gather(1, chosen[:, None, None].expand(-1, 1, noise.shape[-1])).squeeze(1)


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
        >>> noise_size(mv.priors.StandardNormal(3)()), noise_size(mv.priors.SecondStage(3)())
        (3, 6)
    """
    return distribution.event_shape[0]


@singledispatch
def from_uniform(distribution: Distribution, uniform: Tensor) -> Tensor:  # noqa: ARG001
    r"""Draws from a distribution of independent pixels as a function of uniform noise, one number a pixel.

    It is the inverse of each pixel's distribution function. Other distributions take part by a function that is
    registered for them, with ``mnistvae.distributions.from_uniform.register``.

    Args:
        distribution: Distribution over images, batch (B,), event shape (C, H, W).
        uniform: Uniform noise in [0, 1), (..., B, C, H, W).

    Returns:
        Images, (..., B, C, H, W).

    Raises:
        ComponentError: If the distribution is another.

    Example:
        >>> even = mv.distributions.PixelBernoulli(torch.zeros(1, 1, 1))
        >>> from_uniform(even, torch.tensor([[[0.4]]]))  # 0.4 is below its mean
        tensor([[[1.]]])
    """
    raise ComponentError(
        "a distribution of pixels whose draws are known as a function of uniform noise",
        type_name(distribution),
        "register a function with mnistvae.distributions.from_uniform",
    )


@from_uniform.register
def _(distribution: td.Independent, uniform: Tensor) -> Tensor:  # type: ignore[type-arg]
    least = torch.finfo(uniform.dtype).eps  # of 0 it would be infinite
    drawn: Tensor = distribution.base_dist.icdf(uniform.clamp(least, 1 - least))
    return drawn
