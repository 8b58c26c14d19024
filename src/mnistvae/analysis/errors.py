"""Where reconstruction fails: the error of each image, the best and the worst."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from mnistvae._checks import check_count, check_seed
from mnistvae._products import fast_products
from mnistvae.data import ImageDataset
from mnistvae.errors import DataError
from mnistvae.metrics.reconstruction import ClassMean, by_class, mse, psnr, ssim
from mnistvae.models import VAE

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
    batch_size = check_count("batch_size as an integer of at least 1", batch_size)
    if model.num_classes is not None and data.labels is None:
        raise DataError(
            "labels for a conditional model", f"{data.name} without labels", "pass an ImageDataset with them"
        )
    made, shown = [], []
    with fast_products(model.device):
        for start in range(0, len(data), batch_size):
            part = data[start : start + batch_size]
            y = part.labels if model.num_classes is not None else None
            x = part.images.to(model.device).float() / 255
            made.append(model.reconstruct(x, y).cpu())
            shown.append(x.cpu())
    a, b = torch.cat(shown), torch.cat(made)
    bad = (~b.flatten(1).isfinite().all(1)).nonzero()[:, 0]
    if len(bad):
        raise DataError(
            "reconstructions that are finite",
            f"NaN or infinity in {len(bad)} of {len(b)}, the first of them number {int(bad[0])}",
            "look at the weights: the model may have diverged",
        )
    try:
        similarity: Tensor | None = ssim(a, b)
    except DataError:
        if min(a.shape[-2:]) >= _WINDOW:
            raise
        similarity = None
    labels = None if data.labels is None else data.labels.cpu()
    return ReconstructionErrors(b, mse(a, b), psnr(a, b), similarity, labels)


#: Side of the windows of the structural similarity.
_WINDOW = 7
