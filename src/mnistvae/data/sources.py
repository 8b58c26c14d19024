"""Data sets by name: one that ships with the package, those of torchvision, files, and those of other modules."""

from __future__ import annotations

import inspect
import os
import zlib
from collections.abc import Callable
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from mnistvae import plugins
from mnistvae._checks import check_choice
from mnistvae.data.batches import as_dataset
from mnistvae.data.dataset import ImageDataset
from mnistvae.data.files import is_archive, is_idx, read_idx, read_npz
from mnistvae.data.papers import PAPERS, read_papers
from mnistvae.data.pictures import ImageSize, check_layout
from mnistvae.data.synthetic import shapes
from mnistvae.data.views import resized
from mnistvae.errors import DataError, DatasetNotFoundError, FileFormatError, SettingError

__all__ = ["dataset_names", "default_root", "load_dataset"]

_EMNIST = ("balanced", "byclass", "bymerge", "digits", "letters", "mnist")
#: Numbers of classes, where they are not ten.
_SIZES = {"emnist-balanced": 47, "emnist-byclass": 62, "emnist-bymerge": 47, "emnist-letters": 26}
_FOLDERS = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST", "kmnist": "KMNIST", "qmnist": "QMNIST"}
_CLASSES = {
    "fashion-mnist": (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    "kmnist": ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
}


def dataset_names(split: Literal["train", "validation", "test"] = "train") -> list[str]:
    """The names of the data sets that :func:`load_dataset` knows.

    Args:
        split: Part that the data sets have; few have one of their own to validate with.

    Example:
        >>> dataset_names()[:3], dataset_names("validation")
        (['mnist-mini', 'mnist', 'fashion-mnist'], ['mnist-50k', 'mnist-larochelle'])
    """
    names = ["mnist-mini", *_FOLDERS, *(f"emnist-{kind}" for kind in _EMNIST), "shapes", "mnist-50k", *PAPERS]
    few = check_choice("split", split, ("train", "validation", "test")) == "validation"
    return ["mnist-50k", "mnist-larochelle"] if few else names


def default_root() -> Path:
    """The folder that data sets are kept in: the variable ``MNISTVAE_DATA``, else a cache folder of the user's."""
    chosen = os.environ.get("MNISTVAE_DATA")
    if chosen:
        return Path(chosen)
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "mnistvae"


def load_dataset(
    name: str | os.PathLike[str],
    split: Literal["train", "validation", "test"] = "train",
    root: str | os.PathLike[str] | None = None,
    download: bool = True,
    *,
    image_size: ImageSize | None = None,
    channels: int | None = None,
    max_value: float | None = None,
) -> ImageDataset:
    """A data set by its name, or from files.

    ``mnist-mini`` (10,000 training and 2,000 test digits of MNIST, equal classes) ships with the
    package and needs neither network nor folder. ``mnist``, ``fashion-mnist``, ``kmnist``, ``qmnist``
    and ``emnist-balanced``, ``-byclass``, ``-bymerge``, ``-digits``, ``-letters``, ``-mnist`` are read,
    and if need be downloaded, by torchvision. EMNIST's images are turned upright and its letters are
    numbered from 0. ``shapes`` (:func:`shapes`, drawn in the size asked for) has 10,000 squares and ellipses whose
    factors are drawn to train on, and the grid of all 4,096 combinations to test.

    ``mnist-50k`` is MNIST split as papers on generative models have it: the first 50,000 of its 60,000 training images
    are "train", the last 10,000 "validation". ``mnist-larochelle``, with the same parts, is those images in black and
    white as Larochelle drew them once (tag ``binarized-larochelle``), and ``omniglot-28`` the OMNIGLOT of Burda et al.,
    labelled by its 50 alphabets. Both are read from the files that were published, which are not downloaded:
    ``binarized_mnist_train.amat``, ``..._valid.amat``, ``..._test.amat`` in ``root/binarized_mnist``, and
    ``chardata.mat`` in ``root/OMNIGLOT``, or all in ``root``.

    A path is that of a folder of pictures (:meth:`ImageDataset.from_folder`), of an archive ``.npz``
    (:func:`read_npz`) or of IDX files (:func:`read_idx`). ``my.module:NAME``, or a name that an installed package has
    in its entry points ``mnistvae.datasets``, is a function that is called with "train" or "test" and returns an
    :class:`ImageDataset`, or whatever :func:`as_dataset` takes.

    Args:
        name: One of :func:`dataset_names`, a path, or the name of a function. A name of ours is never a path: write
            ``./mnist`` for a folder of that name.
        split: "train" or "test"; also "validation" of those in ``dataset_names("validation")``.
        root: Folder in torchvision's layout (default: :func:`default_root`).
        download: Fetch a set of torchvision's that is not there.
        image_size: Height and width that images are brought to, or one integer for both; None to keep them.
        channels: 1 for grey, 3 for colour; None to keep them.
        max_value: Value that is white in an archive or IDX files, where it is neither 1 of floats nor 255 of integers.

    Raises:
        SettingError: If ``split``, ``image_size``, ``channels`` or ``max_value`` makes no sense, or a function cannot
            be imported.
        DatasetNotFoundError: If the name is unknown, or the set is not on disk and cannot be fetched.
        DataError: If files hold no images that go together.
        FileFormatError: If a file is damaged, or of another kind.

    Warns:
        UserWarning: If a file of ``mnist-larochelle`` or ``omniglot-28`` is not the one that was published.

    References:
        Larochelle and Murray (2011), "The Neural Autoregressive Distribution Estimator". Burda, Grosse and
        Salakhutdinov (2016), "Importance Weighted Autoencoders", section 5.

    Example:
        >>> load_dataset("mnist-mini", "test")
        ImageDataset(2000 images of shape (1, 28, 28), 10 classes, name='mnist-mini', split='test')
    """
    own = name in dataset_names("validation")
    split = check_choice("split", split, ("train", "validation", "test") if own else ("train", "test"))
    check_layout(image_size, channels)
    if max_value is not None and (name in dataset_names() or not _is_path(name)):
        raise _of_no_arrays(name, max_value)
    if name == "mnist-mini":
        data = _mnist_mini(split)
    elif name == "shapes":
        data = shapes(10_000 if split == "train" else None, image_size=image_size or 28, split=split)
    elif name == "mnist-50k":
        data = _split_by_papers(split, root, download)
    elif name in [*PAPERS]:
        data = read_papers(str(name), split, _folder(root))
    elif name in dataset_names():
        data = _known(str(name), split, root, download)
    elif _is_path(name):
        return _read(Path(name), split, image_size, channels, max_value)
    else:
        data = _made(name, split)
    return resized(data, image_size, channels)


def _mnist_mini(split: str) -> ImageDataset:
    try:
        with files("mnistvae.data").joinpath("mnist_mini.npz").open("rb") as stream, np.load(stream) as arrays:
            images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
    except Exception as error:  # a zip file has many ways to be damaged
        reason, fix = str(error) or type(error).__name__, "install the package again: pip install --force-reinstall"
        raise FileFormatError("the digits that ship with the package", reason, f"{fix} mnistvae") from error
    return ImageDataset(images, labels.astype(np.int64), name="mnist-mini", split=split)


def _is_path(name: str | os.PathLike[str]) -> bool:
    """Tell whether a name is meant as a path: it is there, or is written like one."""
    if not isinstance(name, str):
        return isinstance(name, os.PathLike)
    separators = {os.sep, os.altsep or os.sep, "/"}
    if any(mark in name for mark in separators) or name.endswith((".npz", ".npy")):
        return True
    with suppress(OSError):  # of a text that is too long for a name
        return name != "" and Path(name).exists()
    return False


def _read(
    path: Path, split: str, image_size: ImageSize | None, channels: int | None, max_value: float | None
) -> ImageDataset:
    """A data set from a folder or a file."""
    try:
        path = path.expanduser()
        of_arrays = read_npz if is_archive(path) else read_idx if is_idx(path) else None
        other = of_arrays is None and path.is_file()
    except (OSError, RuntimeError) as error:  # RuntimeError: ~ of a user that there is not
        raise DatasetNotFoundError(f"a path that can be read, {path}", str(error), "check it") from None
    if other:
        raise DatasetNotFoundError("a folder, an archive .npz or an IDX file", str(path), "unpack it, or convert it")
    if of_arrays is not None:
        return of_arrays(path, split, image_size=image_size, channels=channels, max_value=max_value)
    if max_value is not None:
        raise _of_no_arrays(path, max_value)
    return ImageDataset.from_folder(path, split, image_size=image_size, channels=channels)


def _of_no_arrays(name: Any, max_value: Any) -> SettingError:
    """The error where the value that is white is given for images that say it themselves."""
    fix = "leave it out: pictures have 8 bits a channel, and data sets with a name are on the scale that they should be"
    return SettingError("max_value with arrays alone (.npz, .npy, IDX files)", f"{max_value} with {str(name)!r}", fix)


def _made(name: Any, split: str) -> ImageDataset:
    """A data set from a function of another module or package."""
    own, also = dict.fromkeys(dataset_names()), "the path of a folder, of an .npz or of IDX files"
    make = plugins.resolve("data set", name, own, of=Callable, error=DatasetNotFoundError, also=also)
    try:
        inspect.signature(make).bind(split)
    except (TypeError, ValueError) as error:
        raise SettingError(f"{name} as a function of the split, 'train' or 'test'", str(error)) from error
    data = as_dataset(make(split))
    return data.replace(name=name.rpartition(":")[2], split=split) if data.name == "images" else data


def _known(name: str, split: str, root: str | os.PathLike[str] | None, download: bool) -> ImageDataset:
    """A set of torchvision's."""
    folder: str | os.PathLike[str] = "a cache folder" if root is None else root
    raw = Path(_FOLDERS.get(name, "EMNIST"), "raw")
    try:
        folder = default_root() if root is None else Path(root)
        images, labels = _from_files(name, split, folder / raw) or _from_torchvision(name, split, folder, download)
    except (OSError, RuntimeError, ValueError, AssertionError, EOFError, zlib.error) as error:
        # torchvision raises the first two for a missing file or a failed download, the others for one of something else
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DatasetNotFoundError(
            f"the data set {name!r} under {folder}",
            f"no readable copy, and {'the download failed' if download else 'download=False'} ({reason})",
            f"use mnist-mini, which ships with the package, or put the files (train-images-idx3-ubyte and so on) into "
            f"{raw} under `root` (or MNISTVAE_DATA), or give the path of the folder that has them as the name",
        ) from error
    classes = _SIZES.get(name, 10)
    if int(labels.max()) >= classes:
        got, fix = f"a label {int(labels.max())}: the file of labels is damaged", "delete it and copy it again"
        raise FileFormatError(f"labels from 0 to {classes - 1} in {name} under {folder}", got, fix)
    return ImageDataset(images, labels, class_names=_CLASSES.get(name), name=name, split=split)


def _split_by_papers(split: str, root: str | os.PathLike[str] | None, download: bool) -> ImageDataset:
    """A part of MNIST, whose last 10,000 training images validate."""
    data = _known("mnist", "test" if split == "test" else "train", root, download)
    if split != "test":
        if len(data) != 60_000:
            raise DataError("the 60,000 training images of MNIST, to split them as papers do", f"{len(data):,}")
        data = data[:50_000] if split == "train" else data[50_000:]
    return data.replace(name="mnist-50k", split=split)


def _folder(root: str | os.PathLike[str] | None) -> Path:
    """The folder of data sets."""
    try:
        return default_root() if root is None else Path(root)
    except RuntimeError as error:  # no home
        raise DatasetNotFoundError(
            "a cache folder for data sets", str(error), "pass `root`, or set MNISTVAE_DATA"
        ) from None


def _from_files(name: str, split: str, folder: Path) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Images and labels from IDX files in their place, if they are there: without torchvision, and compressed, too."""
    if name in {"mnist", "fashion-mnist", "kmnist"} and is_idx(folder):
        with suppress(DatasetNotFoundError):  # only the other split
            data = read_idx(folder, split)
            return None if data.labels is None else (data.images, data.labels)
    return None


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
    source: Any = getattr(datasets, _FOLDERS[name])(str(root), train=train, download=download)
    targets = source.targets
    return source.data, targets[:, 0] if targets.ndim == 2 else targets  # QMNIST adds writer and origin
