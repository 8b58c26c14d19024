"""Priors: p(z), or p(z | y) where there is a label."""

from mnistvae.priors.base import Encode, Prior
from mnistvae.priors.categorical import UniformCategorical
from mnistvae.priors.flow import Flow
from mnistvae.priors.joint import Joint
from mnistvae.priors.mixture import GaussianMixture
from mnistvae.priors.normal import StandardNormal
from mnistvae.priors.second_stage import SecondStage
from mnistvae.priors.sphere import UniformSphere
from mnistvae.priors.tokens import TokenPrior, UniformTokens
from mnistvae.priors.vamp import VampPrior

__all__ = [
    "Encode",
    "Flow",
    "GaussianMixture",
    "Joint",
    "Prior",
    "SecondStage",
    "StandardNormal",
    "TokenPrior",
    "UniformCategorical",
    "UniformSphere",
    "UniformTokens",
    "VampPrior",
]
