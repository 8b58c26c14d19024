"""Objectives: the loss of each image that training minimises, in nats."""

from mnistvae.objectives.adversarial import AdversarialAutoencoder, FactorVAE
from mnistvae.objectives.base import LatentVariableModel, Objective, Terms, with_own_terms
from mnistvae.objectives.consistency import Consistency
from mnistvae.objectives.decoder_penalty import DecoderPenalty
from mnistvae.objectives.denoising import Denoising
from mnistvae.objectives.elbo import ELBO
from mnistvae.objectives.importance import IWAE
from mnistvae.objectives.matching import DIPVAE, InfoVAE
from mnistvae.objectives.semi_supervised import SemiSupervised
from mnistvae.objectives.total_correlation import BetaTC

__all__ = [
    "DIPVAE",
    "ELBO",
    "IWAE",
    "AdversarialAutoencoder",
    "BetaTC",
    "Consistency",
    "DecoderPenalty",
    "Denoising",
    "FactorVAE",
    "InfoVAE",
    "LatentVariableModel",
    "Objective",
    "SemiSupervised",
    "Terms",
    "with_own_terms",
]
