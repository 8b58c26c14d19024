"""Data sets by name: one that ships with the package, the others through torchvision."""

from __future__ import annotations

import os
import zlib
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from mnistvae.data.dataset import ImageDataset
from mnistvae.errors import DatasetNotFoundError, SettingError

__all__ = ["dataset_names", "default_root", "load_dataset"]

_EMNIST = ("balanced", "byclass", "bymerge", "digits", "letters", "mnist")
_TORCHVISION = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST", "kmnist": "KMNIST", "qmnist": "QMNIST"}


def dataset_names() -> list[str]:
    """The names that :func:`load_dataset` knows.

    Example:
        >>> dataset_names()[:3]
        ['mnist-mini', 'mnist', 'fashion-mnist']
    """
    return ["mnist-mini", *_TORCHVISION, *(f"emnist-{kind}" for kind in _EMNIST)]


def default_root() -> Path:
    """Where data sets are kept: the variable ``MNISTVAE_DATA``, else a cache folder of the user's."""
    chosen = os.environ.get("MNISTVAE_DATA")
    if chosen:
        return Path(chosen)
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "mnistvae"


def load_dataset(
    name: str,
    split: Literal["train", "test"] = "train",
    root: str | os.PathLike[str] | None = None,
    download: bool = True,
) -> ImageDataset:
    """A data set by its name.

    ``mnist-mini`` (10,000 training and 2,000 test digits of MNIST, equal classes) ships with the
    package and needs neither network nor folder. ``mnist``, ``fashion-mnist``, ``kmnist``, ``qmnist``
    and ``emnist-balanced``, ``-byclass``, ``-bymerge``, ``-digits``, ``-letters``, ``-mnist`` are read,
    and if need be downloaded, by torchvision. EMNIST's images are turned upright and its letters are
    numbered from 0.

    Args:
        name: one of :func:`dataset_names`.
        split: "train" or "test".
        root: folder in torchvision's layout (default: :func:`default_root`).
        download: fetch a set that is not there.

    Raises:
        SettingError: another split.
        DatasetNotFoundError: an unknown name, or a set that is not on disk and cannot be fetched.

    Example:
        >>> load_dataset("mnist-mini", "test")
        ImageDataset(2000 images of shape (1, 28, 28), 10 classes, name='mnist-mini', split='test')
    """
    if split not in {"train", "test"}:
        raise SettingError("split as 'train' or 'test'", repr(split))
    if name == "mnist-mini":
        with files("mnistvae.data").joinpath("mnist_mini.npz").open("rb") as stream, np.load(stream) as arrays:
            images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
        return ImageDataset(images, labels.astype(np.int64), name=name, split=split)
    if name not in dataset_names():
        raise DatasetNotFoundError(
            f"a data set named {', '.join(dataset_names())}", repr(name), "check the spelling; mnist-mini is built in"
        )
    folder: str | os.PathLike[str] = "a cache folder" if root is None else root
    try:
        folder = default_root() if root is None else Path(root)
        images, labels = _from_torchvision(name, split, folder, download)
    except (OSError, RuntimeError, ValueError, AssertionError, EOFError, zlib.error) as error:
        # torchvision raises the first two for a missing file or a failed download, the others for one of something else
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DatasetNotFoundError(
            f"the data set {name!r} under {folder}",
            f"no readable copy, and {'the download failed' if download else 'download=False'} ({reason})",
            "use mnist-mini, which ships with the package, or point --data-root (root=, MNISTVAE_DATA) at a folder "
            "that has it in torchvision's layout",
        ) from error
    return ImageDataset(images, labels, name=name, split=split)


def _from_torchvision(name: str, split: str, root: Path, download: bool) -> tuple[torch.Tensor, torch.Tensor]:
    try:
        from torchvision import datasets  # takes most of a second: only those who want it pay
    except (ImportError, RuntimeError) as error:  # RuntimeError: built for another torch
        raise DatasetNotFoundError(
            f"a torchvision that goes with torch {torch.__version__}, to read {name!r}",
            str(error),
            "install the two together: pip install -U torch torchvision; mnist-mini does without it",
        ) from error
    train = split == "train"
    if name.startswith("emnist-"):
        kind = name.removeprefix("emnist-")
        emnist: Any = datasets.EMNIST(str(root), split=kind, train=train, download=download)
        # The files hold each image transposed, and count letters from 1.
        return emnist.data.transpose(1, 2), emnist.targets - int(kind == "letters")
    source: Any = getattr(datasets, _TORCHVISION[name])(str(root), train=train, download=download)
    targets = source.targets
    return source.data, targets[:, 0] if targets.ndim == 2 else targets  # QMNIST adds writer and origin
