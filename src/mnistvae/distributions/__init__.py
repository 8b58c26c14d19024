"""Distributions that torch lacks or that it gets wrong for pixels.

All are ordinary distributions of torch's: what torch knows about those (KL divergences, ``expand``,
mixtures, transforms) holds for them too. None validates its arguments at every call.
"""

from mnistvae.distributions.categorical import OneHotCategoricals
from mnistvae.distributions.flows import FlowPosterior, PushForward
from mnistvae.distributions.joint import Joint
from mnistvae.distributions.mixtures import EvenMixture, mixture
from mnistvae.distributions.moments import Moments, mean_of, moments
from mnistvae.distributions.noise import from_noise
from mnistvae.distributions.normals import DiagonalNormal, FullNormal, UnitNormal, kl_by_dimension
from mnistvae.distributions.operations import detached, tempered
from mnistvae.distributions.pixels import PixelBernoulli, PixelContinuousBernoulli, PixelLogistic
from mnistvae.distributions.tokens import Quantized, TokenCodes

__all__ = [
    "DiagonalNormal",
    "EvenMixture",
    "FlowPosterior",
    "FullNormal",
    "Joint",
    "Moments",
    "OneHotCategoricals",
    "PixelBernoulli",
    "PixelContinuousBernoulli",
    "PixelLogistic",
    "PushForward",
    "Quantized",
    "TokenCodes",
    "UnitNormal",
    "detached",
    "from_noise",
    "kl_by_dimension",
    "mean_of",
    "mixture",
    "moments",
    "tempered",
]
