"""Labels: whatever people have becomes one class number for each image."""

from __future__ import annotations

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
from mnistvae.labels import as_labels


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
