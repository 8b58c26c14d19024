"""Distributions that torch lacks or that it gets wrong for pixels.

All are ordinary distributions of torch's: what torch knows about those (KL divergences, ``expand``,
mixtures, transforms) holds for them too. None validates its arguments at every call.
"""

from mnistvae.distributions.flows import FlowPosterior, PushForward
from mnistvae.distributions.mixtures import EvenMixture, mixture
from mnistvae.distributions.moments import Moments, mean_of, moments
from mnistvae.distributions.noise import from_noise
from mnistvae.distributions.normals import DiagonalNormal, FullNormal, UnitNormal, kl_by_dimension
from mnistvae.distributions.operations import detached, tempered
from mnistvae.distributions.pixels import PixelBernoulli, PixelContinuousBernoulli, PixelLogistic
from mnistvae.distributions.points import Point, has_density

__all__ = [
    "DiagonalNormal",
    "EvenMixture",
    "FlowPosterior",
    "FullNormal",
    "Moments",
    "PixelBernoulli",
    "PixelContinuousBernoulli",
    "PixelLogistic",
    "Point",
    "PushForward",
    "UnitNormal",
    "detached",
    "from_noise",
    "has_density",
    "kl_by_dimension",
    "mean_of",
    "mixture",
    "moments",
    "tempered",
]
