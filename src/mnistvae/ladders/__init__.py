r"""Ladders: hierarchies of latent levels, each drawn given those above it.

.. math:: p(z) = \prod_{l=1}^{L} p(z_l \mid z_{<l}), \qquad q(z \mid x) = \prod_{l=1}^{L} q(z_l \mid z_{<l}, x)

Level 1 is the top. The code z is all levels one after the other, so that a ladder is an encoder, a prior and a decoder
like others. The posterior walks down the prior's own network and moves each level's normal (a residual: Vahdat and
Kautz, 2020, equation 3): both share the top-down pass, as in Sønderby et al. (2016), section 2.2.
"""

from mnistvae.ladders.distributions import LadderPosterior, LadderPriorDistribution
from mnistvae.ladders.levels import Level
from mnistvae.ladders.parts import LadderDecoder, LadderEncoder, LadderPrior

__all__ = ["LadderDecoder", "LadderEncoder", "LadderPosterior", "LadderPrior", "LadderPriorDistribution", "Level"]
