"""Distributions that torch lacks or that it gets wrong for pixels.

All are ordinary distributions of torch's: what torch knows about those (KL divergences, ``expand``,
mixtures, transforms) holds for them too. None validates its arguments at every call.
"""

from mnistvae.distributions.flows import PushForward
from mnistvae.distributions.marginals import LatentMarginal
from mnistvae.distributions.mixtures import mixture
from mnistvae.distributions.normals import DiagonalNormal, FullNormal, UnitNormal, kl_by_dimension
from mnistvae.distributions.operations import detached, from_noise, noise_size, tempered
from mnistvae.distributions.pixels import PixelBernoulli, PixelContinuousBernoulli, PixelLogistic

__all__ = [
    "DiagonalNormal",
    "FullNormal",
    "LatentMarginal",
    "PixelBernoulli",
    "PixelContinuousBernoulli",
    "PixelLogistic",
    "PushForward",
    "UnitNormal",
    "detached",
    "from_noise",
    "kl_by_dimension",
    "mixture",
    "noise_size",
    "tempered",
]
