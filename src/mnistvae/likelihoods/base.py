"""The contract of a likelihood, and the tags of densities."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor
from torch.distributions import Distribution

from mnistvae._component import Component
from mnistvae.errors import ComponentError, type_name

__all__ = ["Likelihood", "at_once", "density_tag"]


class Likelihood(Component):
    """Contract of a likelihood: parameters (B, C * n_params, H, W) to a distribution over images.

    A subclass sets ``n_params``, the number of parameters a pixel takes, and implements
    :meth:`forward` and :meth:`tag`.
    """

    n_params: int
    #: Number of grey levels to the nearest of which a pixel is rounded; None where it is taken as it is.
    levels: int | None = None
    #: False where pixels depend on each other, given the code: samples of a model are then draws, not means.
    independent: bool = True

    @abstractmethod
    def forward(self, params: Tensor) -> Distribution:
        """p(x | z): batch shape (B,), event shape (C, H, W)."""

    def params_of_mean(self, mean: Tensor) -> Tensor | None:
        """Parameters (C * n_params, H, W) of images with that mean (C, H, W) in (0, 1); None where none are known.

        Training with ``start_at_mean`` begins at them.

        Args:
            mean: Mean of the pixels.
        """
        del mean
        return None

    @abstractmethod
    def tag(self, binarization: str = "none") -> str:
        """The name of figures in nats under this likelihood; figures with different tags are not comparable.

        Args:
            binarization: Binarization of the pixels, as in :class:`~mnistvae.data.ImageDataset`.
        """


def density_tag(name: str, binarization: str) -> str:
    """The tag of a density, with the binarization of the pixels that it was measured on."""
    return name if binarization == "none" else f"{name}-on-{binarization}-binary"


def at_once(likelihood: Likelihood, fix: str) -> Likelihood:
    """``likelihood`` itself, if its images are made in one pass, as a graph that others run has to make them.

    Raises:
        ComponentError: If each pixel of an image takes a pass.
    """
    if likelihood.independent:
        return likelihood
    expected = "a likelihood of independent pixels, whose images are one pass through a graph"
    raise ComponentError(expected, f"{type_name(likelihood)}, of which each pixel takes a pass", fix)
