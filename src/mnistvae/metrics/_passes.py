"""A model's way over a whole data set, a batch at a time: what every figure begins with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

import torch
from torch import Tensor
from torch.distributions import Distribution

from mnistvae._checks import check_instance
from mnistvae._modes import evaluating
from mnistvae._products import fast_products
from mnistvae._random import seeded
from mnistvae.arrays import check_finite
from mnistvae.data import Batches, ImageDataset
from mnistvae.errors import ComponentError, DataError
from mnistvae.models import VAE

__all__ = [
    "Done",
    "batches",
    "check_dataset",
    "check_model",
    "depends_on_label",
    "measuring",
    "posteriors",
    "reconstructions",
]

#: Called with the number of images that were done.
Done: TypeAlias = Callable[[int], object]


def nothing(_: int) -> None:
    """Nobody is told."""


def check_model(model: VAE) -> VAE:
    """``model`` itself.

    Raises:
        ComponentError: it is none.
    """
    return check_instance("a mnistvae model", model, VAE, "pass an instance of VAE", ComponentError)


def check_dataset(data: ImageDataset) -> ImageDataset:
    """``data`` themselves.

    Raises:
        DataError: they are no ImageDataset.
    """
    return check_instance("an ImageDataset", data, ImageDataset, "wrap them: ImageDataset(images, labels)", DataError)


@contextmanager
def measuring(model: VAE, seed: int | None = None) -> Iterator[None]:
    """A block without gradients, in evaluation mode, under a seed, with the fastest products."""
    with torch.no_grad(), evaluating(check_model(model)), seeded(seed, model.device), fast_products(model.device):
        yield


def batches(
    model: VAE, data: ImageDataset, size: int, *, seed: int = 0, done: Done = nothing
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Images in their order, (B, C, H, W) in [0, 1], and labels if the model is told them, on its device.

    Raises:
        DataError: no labels for a conditional model.
    """
    check_dataset(data)
    if model.num_classes is not None and data.labels is None:
        raise DataError(
            "labels for a conditional model", f"{data.name} without labels", "pass an ImageDataset with them"
        )
    for x, y in Batches(data.to(model.device), size, shuffle=False, seed=seed):
        yield x, y if model.num_classes is not None else None
        done(len(x))


def posteriors(model: VAE, data: ImageDataset, size: int, done: Done = nothing) -> list[Distribution]:
    """q(z | x) of each batch."""
    with measuring(model):
        return [model.encode(x, y) for x, y in batches(model, data, size, done=done)]


def depends_on_label(model: VAE, data: ImageDataset) -> bool:
    """Whether the codes of a conditional model depend on the label that comes with the image.

    What a classifier finds of the label in such codes may be what the encoder was told.
    """
    if model.num_classes is None:
        return False
    with measuring(model):
        x, y = next(batches(model, data, 64))
        if y is None:
            return False
        return not torch.equal(model.encode(x, y).mean, model.encode(x, (y + 1) % model.num_classes).mean)


def reconstructions(model: VAE, data: ImageDataset, size: int, done: Done = nothing) -> tuple[Tensor, Tensor]:
    """What the model was shown, and its reconstructions from the means of the posteriors, (N, C, H, W) on the CPU.

    Raises:
        DataError: reconstructions that are not finite.
    """
    with measuring(model):
        pairs = [(x.cpu(), model.reconstruct(x, y).cpu()) for x, y in batches(model, data, size, done=done)]
    shown, made = (torch.cat(part) for part in zip(*pairs, strict=True))
    return shown, check_finite(made, "reconstructions", "look at the weights: the model may have diverged")
