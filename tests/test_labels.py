"""Labels: whatever people have becomes one class number for each image."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mnistvae.errors import DataError
from mnistvae.labels import as_labels, number_classes


def read_only(x: NDArray[Any]) -> NDArray[Any]:
    x = x.copy()
    x.flags.writeable = False
    return x


@given(labels=st.lists(st.integers(0, 9), min_size=1, max_size=8))
def test_labels_of_any_kind_become_int64(labels: list[int]) -> None:
    expected = torch.tensor(labels)
    forms = [labels, tuple(labels), expected, expected.int(), expected.to(torch.uint8)]
    forms += [np.array(labels), np.array(labels, dtype=np.uint8), np.array(labels, dtype=np.int32)]
    for form in forms:
        got = as_labels(form, len(labels), 10)
        assert got.dtype is torch.int64
        assert torch.equal(got, expected)


@pytest.mark.parametrize("y", [3, np.int64(3), torch.tensor(3), np.array(3)])
def test_one_label_stands_for_all(y: Any) -> None:
    assert as_labels(y, 4, 10).tolist() == [3, 3, 3, 3]


@pytest.mark.parametrize("view", [read_only, lambda y: y[::-1]], ids=["read-only", "reversed"])
def test_any_memory_layout_of_labels_is_taken_without_a_warning(
    view: Callable[[NDArray[Any]], NDArray[Any]],
) -> None:
    y = view(np.array([0, 1, 2]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = as_labels(y, 3, 10)
    assert got.tolist() == y.tolist()


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (True, r"expected labels as integers, got .*bool: "),
        (3.0, r"expected labels as integers, got .*float.*: "),
        ("3", "expected labels as integers, got a str: pass"),
        (torch.zeros(4), r"expected labels as integers, got dtype torch\.float32: convert: y\.long\(\)"),
        (torch.zeros(4, dtype=torch.bool), r"got dtype torch\.bool"),
        (np.zeros(4), r"got dtype torch\.float64: convert: np\.asarray\(y\)\.astype\(int\)"),
        ([0.5, 1.0, 2.0, 3.0], "got dtype"),
        (torch.zeros(3, dtype=torch.long), r"expected one label for each of 4 images, shape \(4,\), got shape \(3,\)"),
        (torch.zeros(4, 10, dtype=torch.long), r"got shape \(4, 10\): pass class numbers, not one-hot vectors"),
        (torch.ones(4, 3, dtype=torch.long), r"got shape \(4, 3\): pass class numbers, not .* several labels"),
        (np.full((4, 1), 0.5), r"dtype torch\.float64: these are no class numbers"),
        ([1, 2, 9, 10], "expected labels from 0 to 9, got 10: they count from 1: pass labels - 1"),
        (np.array([2**63, 0, 0, 0], np.uint64), "expected labels from 0 to 9, got -9"),
        (2**63, "expected labels that an int64 can hold, got 9223372036854775808"),
        ([0, 1, 2, 10], "expected labels from 0 to 9, got 10: number the classes from 0, or set num_classes"),
        ([0, 1, 2, -1], "expected labels from 0 to 9, got -1: -1 stands for no label: leave those images out"),
        (10, "expected labels from 0 to 9, got 10"),
    ],
)
def test_other_labels_are_refused(y: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        as_labels(y, 4, 10)


@pytest.mark.parametrize("y", [["a", "b"], np.array(["a", "b"]), [[0], [1, 2]], [None, 1]])
def test_labels_that_are_no_numbers_are_refused(y: Any) -> None:
    with pytest.raises(DataError, match=r"expected labels as (integers|numbers), got "):
        as_labels(y, 2, 10)


def test_labels_are_not_bounded_where_the_number_of_classes_is_not_known() -> None:
    assert as_labels([1000, -5], 2).tolist() == [1000, -5]


@given(
    labels=st.lists(st.integers(0, 9) | st.none(), min_size=1, max_size=8).filter(
        lambda labels: any(one is not None for one in labels)
    )
)
def test_a_label_that_is_missing_is_minus_one_in_every_form(labels: list[int | None]) -> None:
    wanted = [-1 if one is None else one for one in labels]
    floats = [math.nan if one is None else float(one) for one in labels]
    forms: list[Any] = [
        labels,
        np.array(labels, dtype=object),
        wanted,
        [None if one is None else str(one) for one in labels],
    ]
    if None in labels:  # whole numbers that NaN made floats of
        forms += [floats, np.array(floats), np.array(floats, np.float32), torch.tensor(floats)]
        forms += [[NAType() if one is None else one for one in labels]]
    for form in forms:
        found, names = number_classes(form, len(labels))
        assert names is None
        assert found is not None
        assert found.tolist() == wanted
    found, names = number_classes([math.nan if one is None else f"digit {one}" for one in labels], len(labels))
    assert found is not None
    assert [-1 if one < 0 else int((names or ())[one][-1]) for one in found.tolist()] == wanted


class NAType:
    """A value that is missing, as pandas has it: nothing can be asked of it."""

    def __bool__(self) -> bool:
        raise TypeError("boolean value of NA is ambiguous")

    def __eq__(self, other: object) -> Any:
        return self

    __hash__ = None  # type: ignore[assignment]


def test_labels_that_are_no_whole_numbers_are_refused_with_and_without_a_missing_one() -> None:
    for labels in ([0.5, 1.0], [0.5, math.nan], np.array([0.5, np.nan])):
        with pytest.raises(DataError, match="these are no class numbers"):
            number_classes(labels, 2)
    assert number_classes([math.nan, None], 2) == (None, None)
