"""The training and the test part of data that come in one piece, or in a folder each."""

from __future__ import annotations

import torch
from torch import Tensor

from mnistvae._random import Stream, derive_seed
from mnistvae.errors import DatasetNotFoundError

__all__ = ["SPLIT_FOLDERS", "split_rows"]

#: Names of the folders that a split is looked for in, the first that is there.
SPLIT_FOLDERS = {"train": ("train", "training"), "test": ("test", "testing", "val", "valid", "validation")}


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
        return torch.arange(len(labels), device="cpu")
    generator = torch.Generator().manual_seed(derive_seed(0, Stream.SPLIT))
    order = torch.randperm(len(labels), generator=generator, device="cpu")
    test = torch.zeros(len(labels), dtype=torch.bool, device="cpu")
    drawn = labels[order]
    for label in set(labels.tolist()):
        members = order[drawn == label]
        test[members[: max(round(len(members) / 10), int(len(members) > 1))]] = True
    if split == "test" and not test.any():
        raise DatasetNotFoundError("a class with two images, to keep one for the test", f"{len(labels)} in all")
    return (test if split == "test" else ~test).nonzero().flatten()
