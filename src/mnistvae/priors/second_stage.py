"""A second variational autoencoder as a prior: one of codes, not of images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from mnistvae._checks import check_count, check_widths
from mnistvae.distributions import DiagonalNormal, LatentMarginal, UnitNormal
from mnistvae.priors.affine import Affine
from mnistvae.priors.base import Encode, Prior

__all__ = ["SecondStage"]

#: The share of a standard normal code that its u determines at the start, as a variance.
_SHARE = 0.75


class SecondStage(Prior):
    r"""A second variational autoencoder, whose data are the codes of the first.

    .. math:: p(z) = \int \mathcal{N}(u; 0, I) \, \mathcal{N}(z; \mu(u), s^2 I) \, du, \qquad
        q(u \mid z) = \mathcal{N}(\mu_q(z), \operatorname{diag} \sigma_q^2(z))

    Dai and Wipf (2019), "Diagnosing and enhancing VAE models", section 4. The means are networks beside a linear map,
    and s is learned. Where u is no smaller than z it starts as the standard normal, with the exact posterior.

    Draws are exact. **The density is a lower bound**, by importance sampling with draws from q(u | z): see
    :class:`~mnistvae.distributions.LatentMarginal`. KL divergences and negative log-likelihoods under this prior are
    therefore upper estimates, and two calls differ unless torch's generator is seeded. A trained prior's
    ``num_samples`` may be set anew, for figures that are nearer the truth. A temperature scales the spreads of u and of
    z given u; the mean is not known.

    Args:
        latent_dim: Size of z.
        second_dim: Size of u (default: that of z).
        hidden: Widths of the hidden layers of both networks.
        num_samples: Draws from q(u | z) for each density; 1 trains the evidence lower bound of the codes.

    Raises:
        SettingError: If a size or the number of draws is below 1.

    Example:
        >>> prior = SecondStage(2, hidden=(32,))
        >>> prior().log_prob(torch.zeros(1, 2)), prior().sample((3,)).shape  # at first exactly -log 2 pi
        (tensor([-1.8379], grad_fn=...), torch.Size([3, 2]))
    """

    zero: Tensor
    bounds_density = True

    def __init__(
        self,
        latent_dim: int,
        second_dim: int | None = None,
        hidden: Sequence[int] = (256, 256),
        num_samples: int = 8,
    ) -> None:
        super().__init__()
        self.latent_dim = latent_dim = check_count("latent_dim as an integer of at least 1", latent_dim)
        second_dim = latent_dim if second_dim is None else second_dim
        self.second_dim = second_dim = check_count("second_dim as an integer of at least 1, or None", second_dim)
        self.hidden = hidden = check_widths("hidden", hidden, least=1)
        self.num_samples = check_count("num_samples as an integer of at least 1", num_samples)
        self.register_buffer("zero", torch.zeros(second_dim), persistent=False)
        self.affine = Affine(latent_dim)
        self.decoder = _BesideLinear(second_dim, hidden, latent_dim, latent_dim)
        self.log_scale = nn.Parameter(torch.full((), 0.5 * math.log(1 - _SHARE)))
        self.encoder = _BesideLinear(latent_dim, hidden, 2 * second_dim, second_dim)
        with torch.no_grad():
            self.encoder.linear.bias[second_dim:][:latent_dim].fill_(math.log(1 - _SHARE))

    def forward(self, y: Tensor | None = None, *, encode: Encode | None = None) -> LatentMarginal:
        base = UnitNormal(self.zero)
        return LatentMarginal(base, self._decode, self._encode, self.latent_dim, self.num_samples)

    def standardize(self, codes: Tensor) -> None:
        """Put an affine map between z and the networks, so that these see codes of mean 0 and standard deviation 1.

        It is part of the prior and of a saved model, and is no parameter: training leaves it as it is.

        Args:
            codes: Codes, (N, latent_dim).

        Raises:
            DataError: If there are fewer than two, their size is another, or a number is not finite.
        """
        self.affine.fit(codes)

    def _decode(self, u: Tensor) -> DiagonalNormal:
        """p(z | u) for codes u, (..., second_dim)."""
        shift, scale = self.affine.shift, self.affine.scale
        mu = torch.addcmul(shift, scale, self.decoder(u).to(u.dtype))  # under autocast it comes in bfloat16
        return DiagonalNormal(mu, (2 * (self.log_scale + scale.log())).expand_as(mu))

    def _encode(self, z: Tensor) -> DiagonalNormal:
        """q(u | z) for codes z, (..., latent_dim)."""
        mu, logvar = self.encoder(self.affine(z)).to(z.dtype).chunk(2, dim=-1)
        return DiagonalNormal(mu, logvar)


class _BesideLinear(nn.Module):
    """The sum of a linear map and a network; at first the network gives zero, and the map a smaller copy of its input.

    Args:
        size: Size of the input.
        hidden: Widths of the network's hidden layers.
        out: Size of the output.
        copied: Number of outputs, the first ones, that the input is copied to; the others are zero at first.
    """

    def __init__(self, size: int, hidden: Sequence[int], out: int, copied: int) -> None:
        super().__init__()
        self.linear = nn.Linear(size, out)
        layers: list[nn.Module] = []
        for before, after in pairwise((size, *hidden)):
            layers += [nn.Linear(before, after), nn.SiLU()]
        last = nn.Linear(hidden[-1], out, bias=False)
        self.network = nn.Sequential(*layers, last)
        with torch.no_grad():
            nn.init.zeros_(last.weight)
            nn.init.zeros_(self.linear.bias)
            nn.init.zeros_(self.linear.weight)
            self.linear.weight[:copied].fill_diagonal_(math.sqrt(_SHARE))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(x) + self.network(x)
        return out
