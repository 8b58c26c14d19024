"""Some of the images of a data set, and images as a model saw them."""

from __future__ import annotations

import torch
from torch import Tensor

from mnistvae.data.dataset import Binarization, ImageDataset

__all__ = ["as_trained", "going_round", "one_of_each"]


def as_trained(data: ImageDataset, binarization: Binarization, *, seed: int = 0) -> ImageDataset:
    """Images as a model saw them in training: grey, or black and white, drawn once.

    Args:
        data: grey images; those that are binarized already are left as they are.
        binarization: what the model's training did to grey images.
        seed: of the draw.
    """
    if binarization == "none" or data.binarization != "none":
        return data
    return data.binarized("threshold" if binarization == "threshold" else "static", seed=seed)


def one_of_each(data: ImageDataset, n: int = 10) -> ImageDataset:
    """The first ``n`` images, going round the classes in order where there are labels."""
    return data[going_round(data, n)]


def going_round(data: ImageDataset, n: int) -> Tensor:
    """The numbers of the images of :func:`one_of_each`."""
    if data.labels is None:
        return torch.arange(min(n, len(data)))
    # The k-th image of its class comes after all the (k-1)-th ones; a stable sort keeps the classes in order.
    order = torch.argsort(data.labels, stable=True)
    labels = data.labels[order]
    rank = torch.arange(len(labels)) - torch.searchsorted(labels, labels)
    return order[torch.argsort(rank, stable=True)][:n]
