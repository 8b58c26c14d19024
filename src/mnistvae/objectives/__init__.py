"""Objectives: the loss of each image that training minimises, in nats."""

from mnistvae.objectives.base import LatentVariableModel, Objective, Terms, with_own_terms
from mnistvae.objectives.elbo import ELBO
from mnistvae.objectives.importance import IWAE
from mnistvae.objectives.matching import DIPVAE, InfoVAE
from mnistvae.objectives.total_correlation import BetaTC

__all__ = [
    "DIPVAE",
    "ELBO",
    "IWAE",
    "BetaTC",
    "InfoVAE",
    "LatentVariableModel",
    "Objective",
    "Terms",
    "with_own_terms",
]
