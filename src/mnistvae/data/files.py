"""Data sets that are files of arrays: numpy's archives, and the IDX files of MNIST."""

from __future__ import annotations

import gzip
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from mnistvae._checks import check_choice
from mnistvae.data.dataset import ImageDataset
from mnistvae.data.pictures import ImageSize
from mnistvae.data.splits import split_rows
from mnistvae.data.views import resized
from mnistvae.errors import DataError, DatasetNotFoundError, FileFormatError, MnistvaeError
from mnistvae.labels import number_classes

__all__ = ["errors_name", "is_archive", "is_idx", "read_idx", "read_npz"]

_Array: TypeAlias = NDArray[Any]
_T = TypeVar("_T")

#: Names of the arrays of an archive, images first; {} is "train" or "test".
_OF_SPLIT = (("x_{}", "{}_x", "{}_images", "images_{}"), ("y_{}", "{}_y", "{}_labels", "labels_{}"))
_IN_ONE = (("images", "x", "data", "arr_0"), ("labels", "y", "target", "targets", "arr_1"))

_IDX = re.compile(r"(?P<set>.*)(?P<kind>images|labels)[-.]idx\d-ubyte(?P<gz>\.gz)?")


def read_npz(
    path: str | PathLike[str],
    split: str = "all",
    *,
    image_size: ImageSize | None = None,
    channels: int | None = None,
    max_value: float | None = None,
) -> ImageDataset:
    """An archive of numpy's, .npz, or a single array, .npy, as a data set.

    Its arrays are called ``x_train, y_train, x_test, y_test``, as in Keras, ``train_images, train_labels`` and so on,
    or, in one piece that :func:`split_rows` splits, ``images, labels`` (or ``x, y``; ``data, target``; ``arr_0,
    arr_1``). Labels may be left out, and a single array is of images whatever its name. Images are (N, H, W),
    (N, C, H, W) or (N, H, W, C), uint8 or float in [0, 1]; labels are (N,) or (N, 1). Nothing is unpickled.

    Args:
        path: Path of the file; its name is the data set's.
        split: "train", "test" or "all".
        image_size: Height and width that images are brought to, or one integer for both; None to keep them.
        channels: 1 for grey, 3 for colour; None to keep them.
        max_value: Value that is white, where it is neither 1 of floats nor 255 of integers: 15 of 4 bits, 4095 of 12.

    Raises:
        DatasetNotFoundError: If there is no such file, or no such split in it.
        FileFormatError: If it does not hold arrays of numbers, or is damaged.
        DataError: If it is not clear which arrays are meant, or they are no images and labels.
        SettingError: If ``split``, ``image_size``, ``channels`` or ``max_value`` makes no sense.
    """
    path, split = Path(path), check_choice("split", split, ("train", "test", "all"))
    with errors_name(path), path.open("rb") as stream:
        head = stream.read(4)
        if head and not head.startswith((b"PK", b"\x93NUM", b"\x80")):  # \x80 begins a pickle, of which np.load tells
            got = f"one that begins with {head!r}, which is no .npz or .npy file"
            raise FileFormatError(f"images in {path}", got, "copy it again, or write it anew")
        stream.seek(0)
        loaded = np.load(stream, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return _dataset({"all": (loaded, None)}, split, path.stem, image_size, channels, max_value=max_value)
        with loaded as archive:
            every = _arrays_of_splits(archive)
            chosen = _chosen(every, split)
            images = {name: archive[x] for name, (x, _) in chosen.items()}
            with errors_name(path, "labels"):
                labels = {name: archive[y] for name, (_, y) in every.items() if y is not None}
        arrays = {name: (x, labels.get(name)) for name, x in images.items()}
        return _dataset(arrays, split, path.stem, image_size, channels, labels, max_value)


def _arrays_of_splits(archive: Mapping[str, _Array]) -> dict[str, tuple[str, str | None]]:
    """The names of the arrays of images and labels in an archive, by split; "all" for one piece."""
    keys = {key.lower(): key for key in archive}
    found: dict[str, tuple[str, str | None]] = {}
    clear = True
    for split, kinds in {"train": _OF_SPLIT, "test": _OF_SPLIT, "all": _IN_ONE}.items():
        images, labels = ([keys[name.format(split)] for name in names if name.format(split) in keys] for names in kinds)
        if images:
            found[split] = (images[0], labels[0] if labels else None)
        clear = clear and len(images) <= 1 and len(labels) <= len(images)
    if not found and len(keys) == 1:
        found["all"] = (next(iter(keys.values())), None)
    if not found or not clear or ("all" in found and len(found) > 1):
        raise DataError(
            "arrays x_train, y_train, x_test and y_test, or images and labels",
            ", ".join(f"{key} {array.shape}" for key, array in archive.items()) or "none",
            "write it anew: np.savez(path, images=..., labels=...)",
        )
    return found


def read_idx(
    path: str | PathLike[str],
    split: str = "all",
    *,
    image_size: ImageSize | None = None,
    channels: int | None = None,
    max_value: float | None = None,
) -> ImageDataset:
    """IDX files, the format of MNIST, as a data set.

    The path is a folder with ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``, ``t10k-images-idx3-ubyte`` and
    ``t10k-labels-idx1-ubyte``, or one of the pairs, itself or in "raw" or "MNIST/raw"; or it is one file of images,
    which :func:`split_rows` splits. Files may be compressed (.gz), have a dot in place of the second hyphen, and "test"
    in place of "t10k"; the labels may be missing.

    Args:
        path: Path of the folder or of a file of images; its name is the data set's.
        split: "train", "test" or "all".
        image_size: Height and width that images are brought to, or one integer for both; None to keep them.
        channels: 1 for grey, 3 for colour; None to keep them.
        max_value: Value that is white, where it is not 255: 1 of masks, 15 of 4 bits.

    Raises:
        DatasetNotFoundError: If there are no such files, or not those of the split.
        FileFormatError: If a file is not in this format, or cut short.
        DataError: If there are several sets in the folder, or images and labels do not match.
        SettingError: If ``split``, ``image_size``, ``channels`` or ``max_value`` makes no sense.
    """
    path, split = Path(path), check_choice("split", split, ("train", "test", "all"))
    with errors_name(path):
        chosen = _chosen(_idx_of_splits(path), split)
        arrays = {name: (_idx_array(x), None if y is None else _idx_array(y)) for name, (x, y) in chosen.items()}
        name = path.resolve().name if path.is_dir() else path.name.partition(".")[0]
        return _dataset(arrays, split, name, image_size, channels, max_value=max_value)


def is_archive(path: Path) -> bool:
    """Tell whether a path is that of numpy's files, by its name."""
    return path.suffix in {".npz", ".npy"}


def is_idx(path: Path) -> bool:
    """Tell whether a path is an IDX file, by its name, or a folder in which :func:`read_idx` finds some."""
    return _IDX.fullmatch(path.name) is not None if path.is_file() else bool(_idx_folders(path))


def _idx_of_splits(path: Path) -> dict[str, tuple[Path, Path | None]]:
    """The files of images and of labels of each split; "all" for one piece."""
    match = _IDX.fullmatch(path.name)
    if match and path.is_file():
        sets = {"all": [_idx_sets(path.parent)[match["set"]]]}
    else:
        sets = {}
        for folder in _idx_folders(path):
            for name, files in _idx_sets(folder).items():
                split = "train" if "train" in name else "test" if "t10k" in name or "test" in name else "all"
                sets.setdefault(split, []).append(files)
    if any(len(files) > 1 for files in sets.values()) or ("all" in sets and len(sets) > 1):
        several = ", ".join(str(file) for files in sets.values() for kinds in files for file in kinds.values())
        raise DataError("the files of one data set", several, "give the path of its folder, or of its file of images")
    found = {
        split: (files[0]["images"], files[0].get("labels")) for split, files in sets.items() if "images" in files[0]
    }
    if not found:
        raise DatasetNotFoundError("files such as train-images-idx3-ubyte", "none", "check the path")
    return found


def _idx_folders(path: Path) -> list[Path]:
    """A folder, or the folders "raw" in it or one below it, if there are IDX files in them."""
    return (
        [path] if _idx_sets(path) else [folder for folder in (path / "raw", *path.glob("*/raw")) if _idx_sets(folder)]
    )


def _idx_sets(folder: Path) -> dict[str, dict[str, Path]]:
    """The IDX files in a folder, by the beginning of their names and by kind: "images" or "labels"."""
    found: dict[str, dict[str, Path]] = {}
    for file in sorted(folder.iterdir(), reverse=True) if folder.is_dir() else ():
        match = _IDX.fullmatch(file.name)
        if match and file.is_file():  # of two, the one that is not compressed comes last and stays
            found.setdefault(match["set"], {})[match["kind"]] = file
    return found


def _idx_array(path: Path) -> _Array:
    """The bytes in an IDX file, in their shape."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
        head = stream.read(4)
        known = len(head) == 4 and head.startswith(b"\0\0\x08") and 1 <= head[3] <= 4
        sizes = stream.read(4 * head[3]) if known else b""
        if not known or len(sizes) < 4 * head[3]:
            begin = f"one that begins with {head + sizes!r}"
            raise FileFormatError(f"an IDX file of bytes in {path}", begin, "copy it again")
        shape = np.frombuffer(sizes, ">u4").tolist()
        content = np.empty(math.prod(shape), np.uint8)
        got = stream.readinto(content.data)
        if got != len(content) or stream.read(1):
            raise FileFormatError(
                f"{len(content)} bytes in {path}, of shape {tuple(shape)}",
                f"{got}: it is cut short" if got < len(content) else "more",
                "copy it again",
            )
    return content.reshape(shape)


def _chosen(found: Mapping[str, _T], split: str) -> Mapping[str, _T]:
    """The parts that make up a split."""
    if split == "all" or "all" in found:
        return found
    if split not in found:
        fix = (
            "give the path of the images alone, or name the arrays of an archive images and labels, which are split "
            "then; or train with --validation-split 0.1"
        )
        raise DatasetNotFoundError(f"a split {split!r}", f"{', '.join(found)} alone", fix)
    return {split: found[split]}


def _dataset(
    arrays: Mapping[str, tuple[_Array, _Array | None]],
    split: str,
    name: str,
    image_size: ImageSize | None,
    channels: int | None,
    every: Mapping[str, _Array] | None = None,
    max_value: float | None = None,
) -> ImageDataset:
    """A data set of the arrays of its splits; of one piece, the part that is asked for.

    Labels that are texts are numbered over those of ``every`` split.
    """
    names = None
    if every and any(y.dtype.kind in "SU" for y in every.values()):
        texts = np.concatenate([np.ravel(y) for y in every.values()])
        names = number_classes(texts, len(texts))[1]
    parts = [
        ImageDataset(_channels_first(x), y, class_names=None if y is None else names, max_value=max_value)
        for x, y in arrays.values()
    ]
    images, labels = torch.cat([part.images for part in parts]), [p.labels for p in parts if p.labels is not None]
    given = torch.cat(labels) if labels else None
    data = ImageDataset(images, given, class_names=names if labels else None, max_value=255, name=name, split=split)
    if "all" in arrays:
        data = data[split_rows(torch.zeros(len(data), device="cpu") if data.labels is None else data.labels, split)]
    return resized(data, image_size, channels)


def _channels_first(images: _Array) -> _Array:
    """Images (N, H, W, C) as (N, C, H, W), and others as they are."""
    last = images.ndim == 4 and images.shape[-1] in {1, 3} and images.shape[1] not in {1, 3}
    return np.moveaxis(images, -1, 1) if last else images


@contextmanager
def errors_name(path: Path, what: str = "images") -> Iterator[None]:
    """A block in which whatever goes wrong is an error that names the file or folder."""
    if not path.exists():
        raise DatasetNotFoundError(f"a file or folder {path}", "no such file", "check the path")
    try:
        yield
    except (DataError, DatasetNotFoundError) as error:
        white = re.search(r"max_value=([\d.e+-]*\d)", error.fix or "")  # in words for those who have the array
        byte = "divide by 255" in (error.fix or "")
        scale = white[1] if white else "255" if byte else None
        given = f"give the value that is white: max_value={scale} (--max-value {scale})" if scale else None
        raise type(error)(f"{error.expected} in {path}", error.got, given or error.fix) from error
    except MnistvaeError:
        raise
    except Exception as error:
        reason, fix = str(error) or type(error).__name__, "copy it again, or write it anew"
        if "allow_pickle" in reason:
            reason, fix = "Python objects, which are not read", "write plain arrays: labels.astype(str), for instance"
        raise FileFormatError(f"{what} in {path}", reason, fix) from error
