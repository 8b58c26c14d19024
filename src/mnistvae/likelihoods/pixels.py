"""Likelihoods of black and white pixels, and densities of grey ones."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.distributions as td
from torch import Tensor, nn

from mnistvae._checks import check_choice, check_number
from mnistvae.distributions import PixelBernoulli, PixelContinuousBernoulli
from mnistvae.errors import SettingError
from mnistvae.likelihoods.base import Likelihood, density_tag

__all__ = ["Bernoulli", "ContinuousBernoulli", "Gaussian"]

#: exp(-6) = 0.0025, a little over half a grey level: below it a density on 8-bit pixels has no bound.
_LEAST_LOG_SIGMA = -6.0
#: Logits of a continuous Bernoulli up to here are taken as they are.
_STEEPEST = 16.0
#: Outside of these, squares leave the range of float32.
_SIGMAS = (1e-6, 1e6)
#: A deviation whose logarithm is greater changes nothing, and would overflow float32 before long.
_GREATEST_LOG = 30.0


class Bernoulli(Likelihood):
    r"""Independent Bernoulli pixels; the parameters are logits.

    .. math:: \log p(x \mid z) = \sum_i x_i \log \sigma(l_i) + (1 - x_i) \log (1 - \sigma(l_i))

    On grey pixels this is minus a cross-entropy and not a log-likelihood; the tag says so.

    Example:
        >>> likelihood = Bernoulli()
        >>> likelihood.tag(), likelihood.tag("dynamic")
        ('grey-bce', 'binarized-dynamic')
    """

    n_params = 1

    def forward(self, params: Tensor) -> PixelBernoulli:
        return PixelBernoulli(params)

    def params_of_mean(self, mean: Tensor) -> Tensor:
        return mean.logit()

    def tag(self, binarization: str = "none") -> str:
        return "grey-bce" if binarization == "none" else f"binarized-{binarization}"


class ContinuousBernoulli(Likelihood):
    r"""Independent continuous Bernoulli pixels, a density of grey values in [0, 1]; the parameters are logits.

    .. math:: \log p(x \mid z) = \sum_i l_i (x_i - \tfrac{1}{2}) - \log \frac{\sinh(l_i / 2)}{l_i / 2}

    A pixel that is always black would drive its logit, and the density, to infinity; beyond +-16, where a grey value
    is one part in sixteen on average, logits are therefore compressed to :math:`\pm (16 + \log(|l| - 15))`.
    Loaiza-Ganem and Cunningham (2019), "The continuous Bernoulli: fixing a pervasive error in variational
    autoencoders", equations 5 to 7.

    Example:
        >>> likelihood = ContinuousBernoulli()
        >>> p = likelihood(torch.full((1, 1, 1, 1), 2.0))
        >>> p.log_prob(torch.ones(1, 1, 1, 1)), p.mean.flatten(), p.mode.flatten()
        (tensor([0.8386]), tensor([0.6565]), tensor([1.]))
    """

    n_params = 1

    def forward(self, params: Tensor) -> PixelContinuousBernoulli:
        excess = (params.abs() - _STEEPEST).clamp_min(0.0)
        compressed = params.sign() * (_STEEPEST + excess.log1p())
        return PixelContinuousBernoulli(torch.where(excess > 0, compressed, params))

    def tag(self, binarization: str = "none") -> str:
        return density_tag("continuous-bernoulli", binarization)


class Gaussian(Likelihood):
    r"""Independent normal pixels: squared error, with the constant that makes it a density.

    .. math:: -\log p(x \mid z) = \sum_i \frac{(x_i - \mu_i)^2}{2 \sigma_i^2} + \tfrac{1}{2} \log 2 \pi \sigma_i^2

    With ``sigma=math.sqrt(0.5)`` the first term is the sum of squared errors. Beta times the KL term is the
    same objective as sigma scaled by the root of beta.

    Args:
        sigma: A number, the same for all pixels; ``"learned"``, one number learned with the weights
            (Rybkin et al., 2021, section 3.2); or ``"per-pixel"``, given by the decoder for each pixel, whose
            logarithm is then the second half of the parameters. A sigma that is learned stays above exp(-6): its
            logarithm is :math:`-6 + \log(1 + e^{s + 6})`, where s is ``log_sigma``, or that half, which is nearly s
            itself from -3 on.
        link: ``"logit"``: the mean is the sigmoid of the parameter, in [0, 1] as images are;
            ``"identity"``: it is the parameter.

    Raises:
        SettingError: If sigma is outside [1e-6, 1e6], or a word is unknown.

    Example:
        >>> Gaussian(sigma=0.1).n_params, Gaussian(sigma="per-pixel").n_params
        (1, 2)
    """

    def __init__(
        self,
        sigma: float | str = "learned",
        link: Literal["logit", "identity"] = "logit",
    ) -> None:
        super().__init__()
        self.sigma: float | str
        if isinstance(sigma, str):
            self.sigma = check_choice("sigma", sigma, ("learned", "per-pixel"), also="a number above 0")
        else:
            self.sigma = check_number("a finite sigma above 0", sigma, above=True, fix="or 'learned', or 'per-pixel'")
            if not _SIGMAS[0] <= self.sigma <= _SIGMAS[1]:
                expected = f"sigma from {_SIGMAS[0]:g} to {_SIGMAS[1]:g}"
                raise SettingError(expected, str(sigma), "pixels are from 0 to 1: sigma is a part of that")
        self.link = check_choice("link", link, ("logit", "identity"))
        self.n_params = 2 if sigma == "per-pixel" else 1
        # Half of the range of pixels to start with; training finds the rest.
        self.log_sigma = nn.Parameter(torch.tensor(math.log(0.5))) if sigma == "learned" else None

    def forward(self, params: Tensor) -> td.Independent[td.Normal]:
        mean = params
        if isinstance(self.sigma, float):
            scale = params.new_full((), self.sigma)  # filled in on the device, where new_tensor would copy
        elif self.log_sigma is not None:
            scale = _floored(self.log_sigma, _LEAST_LOG_SIGMA).exp().to(params.dtype)
        else:
            mean, log_sigma = params.chunk(2, dim=1)
            scale = _floored(log_sigma, _LEAST_LOG_SIGMA).clamp_max(_GREATEST_LOG).exp()
        mean = mean.sigmoid() if self.link == "logit" else mean
        return td.Independent(td.Normal(mean, scale, validate_args=False), 3, validate_args=False)

    def params_of_mean(self, mean: Tensor) -> Tensor:
        params = mean.logit() if self.link == "logit" else mean
        start = torch.full_like(mean, math.log(0.5))  # of per-pixel sigmas: half of the range of pixels
        return torch.cat([params, start]) if self.n_params == 2 else params

    def tag(self, binarization: str = "none") -> str:
        return density_tag("gaussian", binarization)


def _floored(value: Tensor, floor: float) -> Tensor:
    """A soft maximum of value and floor, which keeps a gradient: Rybkin et al. (2021), section 3.3."""
    return floor + nn.functional.softplus(value - floor)
