"""Mean and variance of any distribution over codes, estimated where it knows none."""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Size, Tensor
from torch.distributions import Distribution
from torch.quasirandom import SobolEngine

from mnistvae._random import seeded
from mnistvae.distributions.noise import from_noise
from mnistvae.distributions.tensors import tensors_of
from mnistvae.errors import ComponentError, type_name

__all__ = ["Moments", "mean_of", "moments"]

#: Draws of which moments are estimated.
_DRAWS = 64


class Moments(NamedTuple):
    """Mean and variance of each dimension."""

    #: (B, latent_dim).
    mean: Tensor
    #: (B, latent_dim).
    variance: Tensor


def mean_of(distribution: Distribution) -> Tensor:
    """The mean of a distribution over codes, as :func:`moments` has it, (B, latent_dim).

    Warns:
        UserWarning: If it is an estimate.
    """
    try:
        return distribution.mean
    except NotImplementedError:
        return _estimates(distribution, "mean").mean


def moments(distribution: Distribution) -> Moments:
    """Mean and variance of a distribution over codes; what it does not know is that of 64 draws, with a warning.

    The draws are the same at each call, and torch's global generators are not touched. Of a distribution whose draws
    are known as a function of noise (see :func:`from_noise`) the noise is the same for each batch element, and the
    moments have a gradient.

    Args:
        distribution: Distribution over codes, batch () or (B,), event shape (latent_dim,).

    Warns:
        UserWarning: If one is an estimate.

    Example:
        >>> moments(mv.distributions.UnitNormal(torch.zeros(1, 2)))
        Moments(mean=tensor([[0., 0.]]), variance=tensor([[1., 1.]]))
    """
    try:
        mean = distribution.mean
    except NotImplementedError:
        return _estimates(distribution, "mean")
    try:
        return Moments(mean, distribution.variance)
    except NotImplementedError:
        return Moments(mean, _estimates(distribution, "variance").variance)


def _estimates(distribution: Distribution, missing: str) -> Moments:
    if not torch.compiler.is_compiling():
        text = f"no {missing} of {type_name(distribution)} is known: that of {_DRAWS} draws stands for it"
        warnings.warn(text, stacklevel=4)
    like = next((one for one in tensors_of(distribution) if one.is_floating_point()), torch.empty(0, device="cpu"))
    noise = _noise(distribution.event_shape[0]).to(like)
    try:
        codes = from_noise(distribution, noise.reshape(_DRAWS, *[1] * len(distribution.batch_shape), -1))
    except ComponentError:
        with seeded(0, like.device):
            codes = distribution.sample(Size([_DRAWS]))
    mean = codes.mean(0)
    return Moments(mean, (codes - mean).square().mean(0))


@lru_cache(maxsize=8)
def _noise(size: int) -> Tensor:
    """Standard normal noise, (64, size), spread evenly, with mean 0 and variance 1 in each dimension."""
    engine = SobolEngine(size, scramble=True, seed=0)  # type: ignore[no-untyped-call]
    uniform = engine.draw(_DRAWS // 2, dtype=torch.float64)
    half = torch.special.ndtri(uniform.clamp(1e-6, 1 - 1e-6))
    even: Tensor = torch.cat([half, -half]) / half.square().mean(0).sqrt()
    return even
