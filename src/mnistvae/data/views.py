"""Parts of a data set, its images in another size, and images as a model saw them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mnistvae.data.dataset import Binarization, ImageDataset
from mnistvae.data.pictures import ImageSize, check_layout, pixels_of
from mnistvae.errors import DataError

__all__ = ["as_trained", "drawn_like", "going_round", "labelled", "labels_of_all", "one_of_each", "resized"]


def as_trained(data: ImageDataset, binarization: Binarization, *, seed: int = 0) -> ImageDataset:
    """Images as a model saw them in training: grey, or black and white, drawn once.

    Args:
        data: Grey images; those that are binarized already are left as they are.
        binarization: Binarization that the model was trained with.
        seed: Seed of the draw.
    """
    if binarization == "none" or data.binarization != "none":
        return data
    return data.binarized("threshold" if binarization == "threshold" else "static", seed=seed)


def drawn_like(binarization: Binarization) -> Binarization:
    """The binarization that grey images get for a model that was trained with one: for Larochelle's a draw of ours.

    Example:
        >>> drawn_like("dynamic"), drawn_like("larochelle")
        ('dynamic', 'static')
    """
    return "static" if binarization == "larochelle" else binarization


def one_of_each(data: ImageDataset, n: int = 10) -> ImageDataset:
    """The first ``n`` images, going round the classes in order where there are labels."""
    return data[going_round(data, n)]


def going_round(data: ImageDataset, n: int) -> Tensor:
    """The numbers, (n,) int64, of the images that :func:`one_of_each` takes."""
    if data.labels is None:
        return torch.arange(min(n, len(data)), device="cpu")
    if labels_of_all(data) is None:  # those without a label are passed over
        rows = (data.labels >= 0).nonzero().flatten()
        return rows[going_round(data[rows], n)]
    # The k-th image of its class comes after all the (k-1)-th ones; a stable sort keeps the classes in order.
    order = torch.argsort(data.labels, stable=True)
    labels = data.labels[order]
    rank = torch.arange(len(labels), device=labels.device) - torch.searchsorted(labels, labels)
    return order[torch.argsort(rank, stable=True)][:n]


def labels_of_all(data: ImageDataset) -> Tensor | None:
    """Labels (N,) on the CPU; None where there are none, or an image has none."""
    return None if data.labels is None or bool((data.labels < 0).any()) else data.labels.cpu()


def labelled(data: ImageDataset) -> ImageDataset:
    """The images that have a label; all of them where none has."""
    return data if data.labels is None or labels_of_all(data) is not None else data[data.labels >= 0]


def resized(data: ImageDataset, image_size: ImageSize | None = None, channels: int | None = None) -> ImageDataset:
    """The same images in another size or with another number of channels, converted as :func:`pixels_of` does.

    Args:
        data: Images with 1 or 3 channels.
        image_size: Height and width, or one integer for both; None to keep them.
        channels: 1 for grey, 3 for colour; None to keep them.

    Raises:
        SettingError: If the size or the number of channels makes no sense.
        DataError: If the images have another number of channels than 1 or 3, or are black and white already, which
            another size would make grey.

    Example:
        >>> resized(mv.load_dataset("mnist-mini", "test")[:5], 32, channels=3).image_shape
        (3, 32, 32)
    """
    from PIL import Image

    size, wanted = check_layout(image_size, channels)
    own, *own_size = data.image_shape
    shape = (wanted or own, *(size or own_size))
    if shape == data.image_shape:
        return data
    if shape[1:] != data.image_shape[1:] and data.binarization not in {"none", "dynamic"}:
        got = f"{data.name!r} in black and white, binarization {data.binarization!r}"
        raise DataError(
            "grey images, to resize them", got, "leave their size, or resize the grey ones and binarize these"
        )
    if own not in {1, 3}:
        raise DataError("images of 1 or 3 channels, to resize them", f"{own} channels")
    images = torch.empty(len(data), *shape, dtype=torch.uint8, device="cpu")
    for place, image in zip(images, data.images.cpu().numpy(), strict=True):
        picture = Image.fromarray(image[0] if own == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)))
        place.copy_(torch.from_numpy(pixels_of(picture, size, shape[0]).copy()))
    return data.replace(images=images.to(data.device), max_value=255)
