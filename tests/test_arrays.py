"""One door for arrays, one resolver of devices, one way to name a type."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mnistvae import VAE
from mnistvae.arrays import (
    as_double,
    as_numbers,
    as_real,
    as_rows,
    as_tensor,
    bad_rows,
    check_array,
    check_finite,
    check_shape,
    shape_text,
)
from mnistvae.devices import resolve_device
from mnistvae.errors import DataError, type_name
from mnistvae.networks import MLPDecoder


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (None, "None"),
        (torch.zeros(2), "a Tensor"),
        (np.zeros(2), "an ndarray"),
        (VAE, "the class VAE"),
        (3, "an int"),
        ([], "a list"),
        (OrderedDict(), "an OrderedDict"),
        (nn.MSELoss(), "an MSELoss"),
        (nn.ReLU(), "a ReLU"),
        (MLPDecoder(2, (1, 2, 2)), "an MLPDecoder"),
        (np.uint8(3), "a uint8"),
    ],
)
def test_types_are_named_with_their_article(value: Any, name: str) -> None:
    assert type_name(value) == name


def test_a_tensor_stays_itself_and_an_array_shares_its_memory() -> None:
    x, array = torch.rand(3), np.zeros(3)
    assert as_tensor(x, "codes") is x
    as_tensor(array, "codes")[0] = 1
    assert array[0] == 1


@pytest.mark.parametrize("dtype", [">f4", "<f2", "longdouble", "uint16", "int8"])
def test_every_kind_of_number_is_taken(dtype: str) -> None:
    array = np.arange(3).astype(dtype)
    array.flags.writeable = False
    assert as_tensor(array[::-1], "codes").tolist() == [2, 1, 0]
    assert as_numbers(array, "codes", (3,)).dtype == np.float64


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (None, "expected codes as numbers, got None: convert it to numbers"),
        ("abc", "codes as numbers, got a numpy array of dtype <U3"),
        ([[1.0], [1.0, 2.0]], "codes as numbers, got a list of uneven length: give every row the same length"),
    ],
)
def test_what_holds_no_numbers_is_refused(bad: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        as_tensor(bad, "codes")


@pytest.mark.parametrize("dtype", [torch.bool, torch.complex64])
def test_numbers_that_are_not_real_are_refused(dtype: torch.dtype) -> None:
    for door in (as_real, as_double, as_rows):
        with pytest.raises(DataError, match=f"codes as real numbers, got dtype {dtype}"):
            door(torch.zeros(2, 2, dtype=dtype), "codes")


@pytest.mark.parametrize(
    ("x", "rows"),
    [
        (torch.tensor(math.inf), [0]),
        (torch.tensor([0.0, math.nan, math.inf]), [1, 2]),
        (torch.tensor([[[0.0, 1.0]], [[-math.inf, math.nan]]]), [1]),
        (torch.zeros(0, 3), []),
        (torch.zeros(3, 0), []),
        (torch.arange(3), []),
    ],
)
def test_rows_that_are_not_finite_are_found(x: torch.Tensor, rows: list[int]) -> None:
    assert bad_rows(x).tolist() == rows


def test_the_message_says_how_many_rows_and_which_is_the_first() -> None:
    x = torch.zeros(100, 2)
    assert check_finite(x, "codes") is x
    x[[7, 20, 99], 1] = math.nan
    with pytest.raises(
        DataError, match="finite codes, got NaN or infinity in 3 of 100, the first of them number 7: look"
    ):
        check_finite(x, "codes", "look at the encoder")
    with pytest.raises(DataError, match="finite codes, got NaN or infinity in 3 of 100, the first of them number 7"):
        as_numbers(x, "codes", None)
    assert np.isnan(as_numbers(x, "codes", ("N", 2), finite=False)).sum() == 3
    assert as_double(torch.ones(2), "codes").dtype == torch.float64


def test_a_letter_stands_for_any_length_of_at_least_one() -> None:
    x = torch.zeros(3, 2)
    assert check_shape(x, "codes", ("N", 2)) is x
    for shape, told in (((3, 3), r"\(3, 3\)"), (("N", "K", 2), r"\(N, K, 2\)"), (("N",), r"\(N,\)")):
        with pytest.raises(DataError, match=rf"codes of shape {told}, got shape \(3, 2\): reshape"):
            check_shape(x, "codes", shape, "reshape")
    with pytest.raises(DataError, match=r"codes of shape \(N, 2\), got shape \(0, 2\)"):
        check_shape(torch.zeros(0, 2), "codes", ("N", 2))


def test_only_tensors_and_arrays_are_arrays() -> None:
    assert shape_text(np.zeros((2, 3))) == shape_text(torch.zeros(2, 3)) == "shape (2, 3)"
    for other in (None, "x.npy", {"a": 1}, 3, torch.Tensor):
        with pytest.raises(DataError, match=r"images as a torch tensor or a numpy array, got .*: pass the array"):
            check_array(other, "images")


def test_a_device_carries_its_number() -> None:
    for device in ("cpu", "auto", torch.device("cpu")):
        assert resolve_device(device) == torch.empty(0, device=resolve_device(device)).device
