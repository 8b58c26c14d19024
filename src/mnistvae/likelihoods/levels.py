"""Likelihoods of grey levels: a probability for each."""

from __future__ import annotations

import torch
from torch import Tensor

from mnistvae._checks import check_count
from mnistvae.distributions import PixelCategorical, PixelLogistic, PixelLogisticMixture
from mnistvae.likelihoods.base import Likelihood, density_tag

__all__ = ["Categorical", "DiscretizedLogistic", "LogisticMixture"]

#: exp(-7) = 0.0009, a quarter of a grey level: the mass is then in one bin already.
_LEAST_LOG_SCALE = -7.0
#: A scale beyond which nothing changes, and from where float32 would overflow before long.
_GREATEST_LOG = 30.0


class DiscretizedLogistic(Likelihood):
    r"""Independent pixels of 256 grey levels, each a logistic distribution cut into bins.

    .. math:: P(x = k / (L - 1)) = \sigma\left(\frac{x + \delta - \mu}{s}\right)
        - \sigma\left(\frac{x - \delta - \mu}{s}\right), \qquad \delta = \frac{1}{2 (L - 1)}

    The first half of the parameters are mu, which may lie beyond black and white; the second half log s, kept within
    [-7, 30]. Kingma et al. (2016), "Improved variational inference with inverse autoregressive flow", appendix C;
    Salimans et al. (2017), "PixelCNN++", equation 2. Bits per dimension are these nats over (C H W log 2).

    Args:
        levels: L, the number of grey levels.

    Raises:
        SettingError: If there are fewer than two levels.

    Example:
        >>> p = DiscretizedLogistic(levels=4)(torch.randn(1, 2, 1, 1))
        >>> sum(p.log_prob(torch.full((1, 1, 1, 1), k / 3)).exp() for k in range(4)).round(decimals=5)
        tensor([1.])
    """

    n_params = 2
    levels: int

    def __init__(self, levels: int = 256) -> None:
        super().__init__()
        self.levels = _check_levels(levels)

    def forward(self, params: Tensor) -> PixelLogistic:
        mean, log_scale = params.chunk(2, dim=1)
        return PixelLogistic(mean, _bounded(log_scale), self.levels)

    def tag(self, binarization: str = "none") -> str:
        return density_tag(f"discretized-logistic-{self.levels}", binarization)


class LogisticMixture(Likelihood):
    r"""Independent pixels of 256 grey levels, each a mixture of logistic distributions cut into bins.

    .. math:: P(x = k / (L - 1)) = \sum_{j=1}^{K} \pi_j \left[\sigma\left(\frac{x + \delta - \mu_j}{s_j}\right)
        - \sigma\left(\frac{x - \delta - \mu_j}{s_j}\right)\right], \qquad \delta = \frac{1}{2 (L - 1)}

    Where a :class:`DiscretizedLogistic` has one peak, this one has up to K: a pixel may be black or white and hardly
    ever grey. The parameters are K means, which may lie beyond black and white, K times log s, kept within [-7, 30],
    and K logits of the weights. Salimans et al. (2017), "PixelCNN++", equation 2; channels are independent here. With
    one component it is a DiscretizedLogistic, and its figures, probabilities of the same levels, share that tag.

    Args:
        components: K, the number of logistic distributions.
        levels: L, the number of grey levels.

    Raises:
        SettingError: If there is no component, or fewer than two levels.

    Example:
        >>> p = LogisticMixture(components=3, levels=4)(torch.randn(1, 9, 1, 1))
        >>> sum(p.log_prob(torch.full((1, 1, 1, 1), k / 3)).exp() for k in range(4)).round(decimals=5)
        tensor([1.])
    """

    levels: int

    def __init__(self, components: int = 5, levels: int = 256) -> None:
        super().__init__()
        self.components = check_count("at least 1 component", components)
        self.levels = _check_levels(levels)
        self.n_params = 3 * self.components

    def forward(self, params: Tensor) -> PixelLogisticMixture:
        kinds = params.unflatten(1, (3, self.components, -1))  # type: ignore[no-untyped-call]
        mean, log_scale, logits = kinds.unbind(1)
        return PixelLogisticMixture(logits, mean, _bounded(log_scale), self.levels)

    def tag(self, binarization: str = "none") -> str:
        return density_tag(f"discretized-logistic-{self.levels}", binarization)


class Categorical(Likelihood):
    r"""Independent pixels of a few grey levels, each of which has a probability of its own.

    .. math:: P(x = k / (L - 1)) = \frac{e^{l_k}}{\sum_{j=0}^{L-1} e^{l_j}}

    The parameters are the logits of the L levels from black to white. A pixel is rounded to the nearest level, as in
    :class:`DiscretizedLogistic`; of neighbouring levels nothing is assumed, which takes more parameters and more images
    the more levels there are. van den Oord et al. (2016), "Pixel recurrent neural networks", section 2.2.

    Args:
        levels: L, the number of grey levels.

    Raises:
        SettingError: If there are fewer than two levels.

    Example:
        >>> p = Categorical(levels=4)(torch.tensor([0.0, 0.0, 0.0, 9.0]).reshape(1, 4, 1, 1))
        >>> p.mode.item(), Categorical(levels=4).tag()
        (1.0, 'categorical-4')
    """

    levels: int

    def __init__(self, levels: int = 16) -> None:
        super().__init__()
        self.levels = self.n_params = _check_levels(levels)

    def forward(self, params: Tensor) -> PixelCategorical:
        return PixelCategorical(params.unflatten(1, (self.levels, -1)))  # type: ignore[no-untyped-call]

    def params_of_mean(self, mean: Tensor) -> Tensor:
        # The levels have a part that is even, small where the mean is near black or white, and the ends the rest.
        even = torch.minimum(mean, 1 - mean)
        probabilities = (even / self.levels).repeat(self.levels, 1, 1, 1)
        probabilities[0] += 1 - mean - even / 2
        probabilities[-1] += mean - even / 2
        return probabilities.log().flatten(0, 1)

    def tag(self, binarization: str = "none") -> str:
        return density_tag(f"categorical-{self.levels}", binarization)


def _check_levels(levels: int) -> int:
    return check_count("at least 2 levels", levels, least=2, fix="8-bit pixels have 256")


def _bounded(log_scale: Tensor) -> Tensor:
    return log_scale.clamp(_LEAST_LOG_SCALE, _GREATEST_LOG)
