"""Labels of images: whatever people have becomes one class number for each image, and names where there are texts."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mnistvae._checks import listed
from mnistvae.arrays import ArrayLike, as_tensor, for_kind, is_array
from mnistvae.errors import DataError, type_name

__all__ = [
    "Labels",
    "as_labels",
    "check_same_classes",
    "class_clash",
    "count_labels",
    "in_order",
    "match_classes",
    "number_classes",
]

#: Class numbers: one for each image, or one integer for all.
Labels: TypeAlias = ArrayLike | Sequence[int] | int


def class_clash(names: Sequence[str] | None, others: Sequence[str] | None) -> str:
    """The first number that stands for two names, in words; "" where classes are numbered alike, as far as both go."""
    pairs = enumerate(zip(names or (), others or (), strict=False))
    return next((f"number {n} for {name!r} and for {other!r}" for n, (name, other) in pairs if name != other), "")


def check_same_classes(names: Sequence[str] | None, others: Sequence[str] | None, place: str) -> None:
    """Check that two data sets whose classes have names number them alike; one may have more classes than the other.

    Args:
        names: Names of the classes of one; None where it has none.
        others: Names of the classes of the other.
        place: The other data set, in words.

    Raises:
        DataError: If one number stands for two names.
    """
    if clash := class_clash(names, others):
        fix = "make both with the same names: ImageDataset(images, labels, class_names=[...])"
        raise DataError(f"classes of one numbering in {place}", clash, fix)


def as_labels(y: Any, n: int, num_classes: int | None = None, *, unlabelled: bool = False) -> Tensor:
    """Labels as an int64 tensor (n,); one integer stands for all.

    Args:
        y: Integers of any width, (n,) or (n, 1), one-hot vectors (n, K) of any dtype, or one integer: a tensor, an
            array, whatever gives itself as one (a column of a table, say), or a sequence.
        n: Number of images.
        num_classes: Number of classes, where it is known.
        unlabelled: Take -1 too, for an image without a label.

    Raises:
        DataError: If they are not n integers in [0, num_classes), or -1 where that is taken.

    Example:
        >>> as_labels(3, n=2)
        tensor([3, 3])
        >>> as_labels([[0, 1], [1, 0]], n=2)
        tensor([1, 0])
    """
    fast = isinstance(y, Tensor) and y.dtype is torch.int64 and y.shape == (n,)  # in training every batch
    labels = y if fast else _integers(y, n)
    # Reading the values would make a GPU wait; there they are checked once, when the data set is made.
    if num_classes is not None and n > 0 and labels.device.type == "cpu" and not torch.compiler.is_compiling():
        low, high = (int(value) for value in torch.aminmax(labels))
        least = -1 if unlabelled else 0
        if low < least or high >= num_classes:
            fix = "number the classes from 0, or set num_classes"
            if low == 1 and high == num_classes:
                fix = "they count from 1: pass labels - 1"
            elif low == -1 and not unlabelled:
                fix = "-1 stands for no label: leave those images out, data[data.labels >= 0]"
            also = ", or -1 for none" if unlabelled else ""
            got = low if low < least else high
            raise DataError(f"labels from 0 to {num_classes - 1}{also}", str(got), fix)
    return labels


def _integers(y: Any, n: int) -> Tensor:
    """Labels in another form as an int64 tensor (n,)."""
    if isinstance(y, bool) or not (isinstance(y, int | np.integer | list | tuple | range) or is_array(y)):
        raise DataError("labels as integers", type_name(y), "pass an int, or one integer per image")
    labels = as_tensor(y, "labels", "number the classes as in training: names.index(label), names in one order")
    if labels.ndim == 2 and labels.shape == (n, 1):
        labels = labels[:, 0]
    elif labels.ndim == 2 and len(labels) == n and _is_one_hot(labels):
        return labels.long().argmax(1)
    if labels.is_floating_point() or labels.is_complex() or labels.dtype is torch.bool:
        whole = labels.dtype is torch.bool or (not labels.is_complex() and bool((labels == labels.round()).all()))
        convert = f"convert: {for_kind(y, 'y.long()', 'np.asarray(y).astype(int)')}"
        fix = convert if whole else "these are no class numbers: leave them out, or number the classes"
        raise DataError("labels as integers", f"dtype {labels.dtype}", fix)
    if labels.ndim == 0:
        labels = labels.expand(n)
    if labels.shape != (n,):
        raise DataError(
            f"one label for each of {n} images, shape ({n},)",
            f"shape {tuple(labels.shape)}",
            "pass class numbers, not one-hot vectors or several labels an image"
            if labels.ndim > 1
            else "pass as many labels as images",
        )
    return labels.long()


def _is_one_hot(labels: Tensor) -> bool:
    """True where each row is 1 in one place and 0 in the others."""
    rows = labels.double() if labels.device.type == "cpu" else labels.float()
    return labels.shape[1] > 1 and bool(((rows == 0) | (rows == 1)).all() and (rows.sum(1) == 1).all())


def number_classes(
    y: Any, n: int, class_names: Sequence[str] | None = None
) -> tuple[Tensor | None, tuple[str, ...] | None]:
    """The labels of a data set as class numbers, and the names of the classes where labels are texts.

    Texts that are integers become these; others are numbered in the order of their names, or of ``class_names``. -1,
    None, NaN and pandas' NA stand for no label; there are no labels, None, where all are such.

    Args:
        y: Labels as :func:`as_labels` takes them, or n texts.
        n: Number of images.
        class_names: Names of the classes in the order of their numbers.

    Raises:
        DataError: If they are not n labels, one is below -1, a text is no name, or there are too few names.

    Example:
        >>> number_classes(["cat", "dog", "cat"], 3)
        (tensor([0, 1, 0]), ('cat', 'dog'))
    """
    names = None if class_names is None else _check_names(class_names)
    y = _with_missing_as_minus_one(y)
    texts = _texts(y)
    if texts is not None:
        y, names = _numbered(texts, names)
    labels = as_labels(y, n)
    low, high = (int(value) for value in torch.aminmax(labels))
    if low < -1:
        raise DataError("labels from 0, or -1 for none", str(low), "number the classes from 0")
    if names is not None and high >= len(names):
        wanted = f"labels from 0 to {len(names) - 1}, as there are {len(names)} class_names"
        raise DataError(
            wanted, f"a label {high}", "they count from 1: pass labels - 1" if low == 1 else "name them all"
        )
    return (None, None) if high < 0 else (labels, names)


def _with_missing_as_minus_one(y: Any) -> Any:
    """Labels with -1 for those that are missing; whole numbers, which NaN made floats of, are integers again."""
    if isinstance(y, str | bytes | range | Mapping) or not (is_array(y) or isinstance(y, Sequence)):
        return y
    if isinstance(y, Tensor):
        found = y.detach().cpu().double().numpy() if y.is_floating_point() else np.empty(0)
    else:
        found = np.asarray(y, dtype=None if is_array(y) else object)
    missing = _missing(found)
    if not missing.any():
        return y
    filled = np.where(missing, -1, found)
    if found.dtype.kind == "O" and any(isinstance(one, str | bytes) for one in filled.flat):
        return filled
    with suppress(TypeError, ValueError):  # of what is neither text nor number, and is refused later
        numbers = filled.astype(np.float64)
        return numbers.astype(np.int64) if (numbers == numbers.round()).all() else numbers
    return filled


def _missing(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """True for each label that is None, NaN or pandas' NA."""
    if labels.dtype.kind == "O":
        return np.array([_is_missing(label) for label in labels.flat], bool).reshape(labels.shape)
    return np.isnan(labels) if labels.dtype.kind == "f" else np.zeros(labels.shape, bool)


def _is_missing(label: Any) -> bool:
    return label is None or type(label).__name__ == "NAType" or (isinstance(label, float) and math.isnan(label))


def _check_names(names: Any) -> tuple[str, ...]:
    found = tuple(listed(names) or ())
    if not all(isinstance(name, str) for name in found) or len(set(found)) < max(1, len(found)):
        raise DataError("class_names as different texts", repr(names)[:200], "for instance ('cat', 'dog')")
    return found


def _texts(y: Any) -> list[str] | None:
    """Labels that are texts, "" for none; None for other labels."""
    if isinstance(y, Tensor | str | Mapping) or not (is_array(y) or isinstance(y, list | tuple)):
        return None
    found = np.asarray(y, dtype=None if is_array(y) else object)
    if found.dtype.kind not in "OUST" or found.ndim not in {1, 2} or found.size != len(found):
        return None
    items = [one.decode() if isinstance(one, bytes) else one for one in found.ravel().tolist()]
    items = ["" if one == -1 else one for one in items]
    return items if all(isinstance(one, str) for one in items) and any(items) else None


def _numbered(texts: list[str], names: tuple[str, ...] | None) -> tuple[list[int], tuple[str, ...] | None]:
    """Numbers of texts, -1 for none, and the names of the classes, None where the texts are numbers themselves."""
    found = sorted(set(texts) - {""}, key=in_order)
    if names is None and all(re.fullmatch(r"\d{1,9}", text) for text in found):
        return [int(text or -1) for text in texts], None
    names = tuple(found) if names is None else names
    strangers = sorted(set(found) - set(names))
    if strangers:
        raise DataError(f"labels that are one of the class_names {list(names)}", repr(strangers[0]), "add it to them")
    return [names.index(text) if text else -1 for text in texts], names


def in_order(name: str) -> list[tuple[int, str]]:
    """A key that sorts the numbers in names as numbers: "class 9" before "class 10"."""
    return [(int(part) if part.isdecimal() else -1, part) for part in re.split(r"([0-9]+)", name)]


def count_labels(y: Labels) -> int:
    """Number of labels in ``y``; an integer is one."""
    sizes = np.shape(y) if is_array(y) and not isinstance(y, Tensor) else getattr(y, "shape", ())
    return int(sizes[0]) if len(sizes) else len(y) if isinstance(y, Sequence) else 1


def match_classes(labels: Any, classes: Any, n: int, columns: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The labels of n images and the classes of some columns, each label being one of these classes.

    Raises:
        DataError: If there are fewer than two classes, one stands twice, their number is not that of the columns, or
            a label is none of them.
    """
    found = listed(classes)
    wanted = f"two or more different classes, one for each of {columns} columns"
    if found is None or len(found) != columns or columns < 2:
        got = type_name(classes) if found is None else str(found)
        raise DataError(wanted, got, "take classes and probabilities of one classification")
    known = as_labels(found, columns).cpu().numpy()
    if len(np.unique(known)) < columns:
        raise DataError(wanted, str(found), "take classes and probabilities of one classification")
    true = as_labels(labels, n).cpu().numpy()
    strangers = np.setdiff1d(true, known)
    if len(strangers):
        raise DataError(
            f"labels that are one of the classes {known.tolist()}", f"{strangers[0]}", "pass the columns' classes"
        )
    return true, known
