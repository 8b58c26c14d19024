"""Distributions that torch lacks or that it gets wrong for pixels.

All are ordinary distributions of torch's: what torch knows about those (KL divergences, ``expand``,
mixtures, transforms) holds for them too. None validates its arguments at every call.
"""

from mnistvae.distributions.autoregressive import PixelAutoregressive
from mnistvae.distributions.categorical import OneHotCategoricals
from mnistvae.distributions.flows import FlowPosterior, PushForward
from mnistvae.distributions.joint import Joint
from mnistvae.distributions.levels import PixelCategorical, PixelLogistic, PixelLogisticMixture
from mnistvae.distributions.marginals import LatentMarginal
from mnistvae.distributions.mixtures import EvenMixture, mixture
from mnistvae.distributions.moments import Moments, mean_of, moments
from mnistvae.distributions.noise import from_noise, from_uniform, noise_size
from mnistvae.distributions.normals import DiagonalNormal, FullNormal, UnitNormal, kl_by_dimension
from mnistvae.distributions.operations import detached, tempered
from mnistvae.distributions.pixels import PixelBernoulli, PixelContinuousBernoulli
from mnistvae.distributions.points import Point, has_density
from mnistvae.distributions.spheres import HypersphericalUniform, VonMisesFisher
from mnistvae.distributions.supports import UnitSphere, projected, support_of, unit_vectors
from mnistvae.distributions.tensors import tensors_of
from mnistvae.distributions.tokens import Quantized, TokenCodes

__all__ = [
    "DiagonalNormal",
    "EvenMixture",
    "FlowPosterior",
    "FullNormal",
    "HypersphericalUniform",
    "Joint",
    "LatentMarginal",
    "Moments",
    "OneHotCategoricals",
    "PixelAutoregressive",
    "PixelBernoulli",
    "PixelCategorical",
    "PixelContinuousBernoulli",
    "PixelLogistic",
    "PixelLogisticMixture",
    "Point",
    "PushForward",
    "Quantized",
    "TokenCodes",
    "UnitNormal",
    "UnitSphere",
    "VonMisesFisher",
    "detached",
    "from_noise",
    "from_uniform",
    "has_density",
    "kl_by_dimension",
    "mean_of",
    "mixture",
    "moments",
    "noise_size",
    "projected",
    "support_of",
    "tempered",
    "tensors_of",
    "unit_vectors",
]
