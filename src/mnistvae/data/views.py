"""Parts of a data set, and images as a model saw them."""

from __future__ import annotations

import torch
from torch import Tensor

from mnistvae._random import Stream, derive_seed
from mnistvae.data.dataset import Binarization, ImageDataset
from mnistvae.errors import DatasetNotFoundError

__all__ = ["as_trained", "going_round", "labelled", "labels_of_all", "one_of_each", "split_rows"]


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


def one_of_each(data: ImageDataset, n: int = 10) -> ImageDataset:
    """The first ``n`` images, going round the classes in order where there are labels."""
    return data[going_round(data, n)]


def going_round(data: ImageDataset, n: int) -> Tensor:
    """The numbers, (n,) int64, of the images that :func:`one_of_each` takes."""
    if data.labels is None:
        return torch.arange(min(n, len(data)))
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


def split_rows(labels: Tensor, split: str) -> Tensor:
    """The numbers of the images of a split, in order, where a data set comes in one piece.

    A tenth of each class (rounded, but at least one image where the class has two) is "test", the rest "train". Which
    images these are is drawn once under a fixed seed, so it depends on nothing but the labels.

    Args:
        labels: Labels (N,); zeros where there are none.
        split: "train" or "test"; anything else is all.

    Raises:
        DatasetNotFoundError: If the test would have no image.

    Example:
        >>> labels = torch.arange(100) % 5
        >>> rows = split_rows(labels, "test")
        >>> labels[rows].bincount()
        tensor([2, 2, 2, 2, 2])
    """
    if split not in {"train", "test"}:
        return torch.arange(len(labels))
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(derive_seed(0, Stream.SPLIT)))
    test = torch.zeros(len(labels), dtype=torch.bool)
    drawn = labels[order]
    for label in set(labels.tolist()):
        members = order[drawn == label]
        test[members[: max(round(len(members) / 10), int(len(members) > 1))]] = True
    if split == "test" and not test.any():
        raise DatasetNotFoundError("a class with two images, to keep one for the test", f"{len(labels)} in all")
    return (test if split == "test" else ~test).nonzero().flatten()
