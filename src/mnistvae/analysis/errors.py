"""Where reconstruction fails: the error of each image, the best and the worst."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from mnistvae._checks import check_count, check_seed
from mnistvae._passes import check_dataset
from mnistvae.data import ImageDataset
from mnistvae.errors import DataError
from mnistvae.metrics.reconstruction import ClassMean, by_class, mse, psnr
from mnistvae.metrics.similarity import WINDOW, ssim
from mnistvae.models import VAE
from mnistvae.view import View

__all__ = ["Extremes", "ReconstructionErrors", "reconstruction_errors"]


class Extremes(NamedTuple):
    """Numbers of images, by what their reconstruction is like."""

    #: The best reconstructed first.
    lowest: list[int]
    #: The worst reconstructed first.
    highest: list[int]
    #: A draw from all, in ascending order.
    random: list[int]


@dataclass(frozen=True)
class ReconstructionErrors:
    """How well each image of a data set is reconstructed from its posterior mean."""

    #: Reconstructions, (N, C, H, W) in [0, 1].
    images: Tensor
    #: Mean squared errors, (N,).
    mse: Tensor
    #: In dB, (N,); infinite where an image is reproduced exactly.
    psnr: Tensor
    #: Structural similarity, (N,); None for images too small for its windows.
    ssim: Tensor | None
    #: Labels, (N,), where the data have some.
    labels: Tensor | None = None

    def __len__(self) -> int:
        return len(self.mse)

    def extremes(self, n: int = 10, *, seed: int = 0) -> Extremes:
        """The images with the lowest and the highest mean squared error, and a random choice.

        Args:
            n: of each, at most.
            seed: of the choice.
        """
        n = min(check_count("n as an integer of at least 1", n), len(self))
        order = torch.argsort(self.mse, stable=True)
        generator = torch.Generator().manual_seed(check_seed(seed))
        drawn = torch.randperm(len(self), generator=generator)[:n].sort().values
        return Extremes(order[:n].tolist(), order.flip(0)[:n].tolist(), drawn.tolist())

    def by_class(self) -> dict[int, ClassMean]:
        """The mean squared error of each class.

        Raises:
            DataError: the data had no labels.
        """
        if self.labels is None:
            raise DataError("images with labels", "none", "pass an ImageDataset with labels")
        return by_class(self.mse, self.labels)


def reconstruction_errors(model: VAE, data: ImageDataset, *, batch_size: int = 1024) -> ReconstructionErrors:
    """Reconstruct every image from the mean of its posterior, and measure how well.

    Args:
        model: the model.
        data: N images as the model was trained on them, with labels for a conditional model.
        batch_size: images at once.

    Raises:
        DataError: data that do not fit the model, or reconstructions that are not finite.
    """
    view = View(model, check_dataset(data), batch_size=batch_size)
    functions = [mse, psnr, _made] + ([ssim] if min(data.image_shape[1:]) >= WINDOW else [])
    errors, ratios, images, *similarity = view.reconstructed(*functions)
    return ReconstructionErrors(images, errors, ratios, similarity[0] if similarity else None, view.labels)


def _made(_: Tensor, reconstruction: Tensor) -> Tensor:
    """The reconstruction itself."""
    return reconstruction
