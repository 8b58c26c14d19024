"""Likelihoods: p(x | z) as a distribution over pixels, from the parameters that a decoder gives."""

from mnistvae.likelihoods.autoregressive import Autoregressive
from mnistvae.likelihoods.base import Likelihood
from mnistvae.likelihoods.levels import Categorical, DiscretizedLogistic, LogisticMixture
from mnistvae.likelihoods.pixels import Bernoulli, ContinuousBernoulli, Gaussian

__all__ = [
    "Autoregressive",
    "Bernoulli",
    "Categorical",
    "ContinuousBernoulli",
    "DiscretizedLogistic",
    "Gaussian",
    "Likelihood",
    "LogisticMixture",
]
