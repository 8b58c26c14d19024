"""Errors of the reconstruction of each image, and the images with the lowest and the highest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from mnistvae._checks import check_count, check_seed
from mnistvae.arrays import ArrayLike
from mnistvae.data import ImageDataset
from mnistvae.errors import DataError
from mnistvae.metrics.reconstruction import ClassMean, by_class, mse, psnr
from mnistvae.metrics.similarity import WINDOW, ssim
from mnistvae.models import VAE
from mnistvae.view import View

__all__ = ["Extremes", "ReconstructionErrors", "class_means", "errors_of_view", "reconstruction_errors"]


class Extremes(NamedTuple):
    """Numbers of images, by the error of their reconstruction."""

    #: The best reconstructed first.
    lowest: list[int]
    #: The worst reconstructed first.
    highest: list[int]
    #: A draw from all, in ascending order.
    random: list[int]


@dataclass(frozen=True)
class ReconstructionErrors:
    """Reconstructions of a data set from the means of its posteriors, and the error of each."""

    #: Reconstructions, (N, C, H, W), uint8.
    images: Tensor
    #: Mean squared errors, (N,).
    mse: Tensor
    #: Peak signal-to-noise ratios in dB, (N,); infinite where an image is reproduced exactly.
    psnr: Tensor
    #: Structural similarities, (N,); None for images too small for its windows.
    ssim: Tensor | None
    #: Labels, (N,), where the data have some.
    labels: Tensor | None = None

    def __len__(self) -> int:
        return len(self.mse)

    def extremes(self, n: int = 10, *, seed: int = 0) -> Extremes:
        """Return the images with the lowest and the highest mean squared error, and a random choice.

        Args:
            n: Largest number of images of each kind.
            seed: Seed of the choice.
        """
        n = min(check_count("n as an integer of at least 1", n), len(self))
        order = torch.argsort(self.mse, stable=True)
        generator = torch.Generator().manual_seed(check_seed(seed))
        drawn = torch.randperm(len(self), generator=generator, device="cpu")[:n].sort().values
        return Extremes(order[:n].tolist(), order.flip(0)[:n].tolist(), drawn.tolist())

    def by_class(self) -> dict[int, ClassMean]:
        """Return the mean squared error of each class.

        Raises:
            DataError: If the data had no labels.
        """
        if self.labels is None:
            raise DataError("images with labels", "none", "pass an ImageDataset with labels")
        return by_class(self.mse, self.labels)


def class_means(values: Tensor, labels: Tensor) -> tuple[dict[int, float], dict[int, float]]:
    """Return the means of the finite values of each class, and their standard errors."""
    finite = values.isfinite()
    groups = {label: values[finite & (labels == label)] for label in sorted(set(labels[finite].tolist()))}
    spreads = {label: float(one.std() / len(one) ** 0.5) if len(one) > 1 else 0.0 for label, one in groups.items()}
    return {label: float(one.mean()) for label, one in groups.items()}, spreads


def reconstruction_errors(
    model: VAE, data: ImageDataset | ArrayLike, *, batch_size: int = 1024
) -> ReconstructionErrors:
    """Reconstruct every image from the mean of its posterior, and measure how well.

    Args:
        model: The model.
        data: N images as the model was trained on them, with labels for a conditional model.
        batch_size: Number of images that are reconstructed at once.

    Raises:
        DataError: If the data do not fit the model, or a reconstruction is not finite.
    """
    return errors_of_view(View(model, data, batch_size=batch_size))


def errors_of_view(view: View) -> ReconstructionErrors:
    """Return the reconstructions of a view and their errors; see :func:`reconstruction_errors`.

    Args:
        view: A model and a data set.

    Raises:
        DataError: If a reconstruction is not finite.
    """
    view.keep("reconstructions")
    functions = [mse, psnr] + ([ssim] if min(view.data.image_shape[1:]) >= WINDOW else [])
    errors, ratios, *similarity = view.reconstructed(*functions)
    return ReconstructionErrors(
        view.reconstructions, errors, ratios, similarity[0] if similarity else None, view.labels
    )
