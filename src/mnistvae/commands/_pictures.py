"""Pictures that several commands draw of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from mnistvae.data import Binarization, ImageDataset, as_trained, one_of_each
from mnistvae.models import VAE
from mnistvae.plotting import reconstruction_grid, sample_grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_reconstructions", "draw_samples", "sample_columns"]


def draw_reconstructions(model: VAE, data: ImageDataset, binarization: Binarization | None, n: int = 10) -> Figure:
    """The first ``n`` images, of all classes in turn, over their reconstructions, as the model was trained on them."""
    shown = as_trained(one_of_each(data, n), binarization or "none")
    labels = shown.labels if model.num_classes is not None else None
    return reconstruction_grid(shown.images, model.reconstruct(shown.images, labels))


def draw_samples(model: VAE, seed: int) -> Figure:
    """Eight rows of samples of the prior."""
    columns = sample_columns(model)
    return sample_grid(model.sample(8 * columns, generator=torch.Generator().manual_seed(seed)), columns=columns)


def sample_columns(model: VAE) -> int:
    """The number of images in a row of samples: one of each class, where the model has some and they fit."""
    return model.num_classes if model.num_classes is not None and 2 <= model.num_classes <= 20 else 8
