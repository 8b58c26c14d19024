"""Likelihoods: p(x | z) as a distribution over pixels, made of what the decoder gives out."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor
from torch.distributions import Distribution

from mnistvae._component import Component
from mnistvae.distributions import PixelBernoulli

__all__ = ["Bernoulli", "Likelihood"]


class Likelihood(Component):
    """Contract of a likelihood: parameters (B, C * n_params, H, W) to a distribution over images.

    A subclass sets ``n_params``, the number of parameters a pixel takes, and implements
    :meth:`forward` and :meth:`tag`.
    """

    n_params: int

    @abstractmethod
    def forward(self, params: Tensor) -> Distribution:
        """p(x | z): batch shape (B,), event shape (C, H, W)."""

    @abstractmethod
    def tag(self, binarization: str = "none") -> str:
        """What a figure in nats under this likelihood is called; figures of two tags are not comparable.

        Args:
            binarization: what was done to the pixels, as :class:`~mnistvae.data.ImageDataset` has it.
        """


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

    def tag(self, binarization: str = "none") -> str:
        return "grey-bce" if binarization == "none" else f"binarized-{binarization}"
