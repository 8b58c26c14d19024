"""Images and labels at the door, and pictures made of many."""

from __future__ import annotations

import itertools
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
from torch import Tensor

from mnistvae.errors import DataError, SettingError
from mnistvae.images import as_images, check_image_shape, check_range, montage, to_uint8

image_shapes = st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6))

# -------------------------------------------------------------------------------------------------- as_images


@given(shape=image_shapes, n=st.integers(0, 4), seed=st.integers(0, 2**31))
def test_every_form_of_a_batch_gives_the_same_images(shape: tuple[int, int, int], n: int, seed: int) -> None:
    channels, height, width = shape
    x = torch.rand(n, *shape, generator=torch.Generator().manual_seed(seed))
    forms: list[Any] = [x, x.flatten(1), x.numpy(), x.flatten(1).numpy(), x.double()]
    if channels == 1:
        forms += [x.reshape(n, height, width), x.reshape(n, height, width).numpy()]
    for form in forms:
        got = as_images(form, shape)
        assert got.shape == (n, *shape)
        assert got.dtype is torch.float32
        assert torch.equal(got, x)


@given(shape=image_shapes, n=st.integers(1, 4), seed=st.integers(0, 2**31))
def test_bytes_are_divided_by_255(shape: tuple[int, int, int], n: int, seed: int) -> None:
    levels = torch.randint(0, 256, (n, *shape), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    for form in (levels, levels.flatten(1), levels.numpy()):
        got = as_images(form, shape)
        assert got.dtype is torch.float32
        assert torch.equal(got, levels.float() / 255)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_floating_dtype_is_kept(dtype: torch.dtype) -> None:
    x = torch.rand(2, 1, 3, 3).to(dtype)
    got = as_images(x, (1, 3, 3))
    assert got.dtype is dtype
    assert torch.equal(got, x)


@pytest.mark.parametrize("given_dtype", [torch.uint8, torch.float32, torch.float64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_dtype_asked_for_is_given(given_dtype: torch.dtype, dtype: torch.dtype) -> None:
    x = torch.ones(2, 1, 3, 3).to(given_dtype)
    got = as_images(x, (1, 3, 3), dtype=dtype)
    assert got.dtype is dtype
    torch.testing.assert_close(got, torch.full_like(got, 1 / 255 if given_dtype is torch.uint8 else 1.0))


def test_values_are_kept_as_they_are() -> None:
    x = torch.tensor([-3.0, math.nan, math.inf, 300.0]).reshape(1, 1, 2, 2)
    torch.testing.assert_close(as_images(x, (1, 2, 2)), x, equal_nan=True)


def test_images_that_already_fit_are_not_copied_and_keep_their_gradient() -> None:
    x = torch.rand(2, 1, 3, 3, requires_grad=True)
    got = as_images(x, (1, 3, 3))
    assert got.data_ptr() == x.data_ptr()
    assert got.requires_grad


def read_only(x: NDArray[Any]) -> NDArray[Any]:
    x = x.copy()
    x.flags.writeable = False
    return x


def reversed_rows(x: NDArray[Any]) -> NDArray[Any]:
    return x[:, :, ::-1]


def every_second(x: NDArray[Any]) -> NDArray[Any]:
    return np.repeat(x, 2, axis=0)[::2]


def fortran(x: NDArray[Any]) -> NDArray[Any]:
    return np.asfortranarray(x)


@pytest.mark.parametrize("view", [read_only, reversed_rows, every_second, fortran])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_any_memory_layout_of_an_array_is_taken_without_a_warning(
    view: Callable[[NDArray[Any]], NDArray[Any]], dtype: type
) -> None:
    x = view(np.arange(18, dtype=dtype).reshape(2, 1, 3, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = as_images(x, (1, 3, 3))
    scale = 255 if dtype is np.uint8 else 1
    np.testing.assert_allclose(got.numpy(), x.astype(np.float32) / scale, rtol=1e-6)


def test_a_read_only_array_is_not_shared() -> None:
    x = read_only(np.zeros((2, 1, 3, 3), dtype=np.float32))
    as_images(x, (1, 3, 3)).fill_(1)
    assert x.sum() == 0


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint16, torch.complex64])
def test_other_dtypes_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(DataError, match=rf"expected images as floats .* got dtype {dtype}: convert"):
        as_images(torch.ones(2, 1, 3, 3).to(dtype), (1, 3, 3))


@pytest.mark.parametrize(
    "x",
    [[["a"]], "images", None, 3, np.array(["a"]), np.array([None]), {"x": 1}],
    ids=["list", "str", "None", "int", "U", "O", "dict"],
)
def test_what_is_no_array_of_numbers_is_refused(x: Any) -> None:
    with pytest.raises(DataError, match=r"expected images as .*, got .*"):
        as_images(x, (1, 3, 3))


@pytest.mark.parametrize(
    ("shape", "image_shape"),
    [
        ((5, 1, 3, 4), (1, 4, 3)),
        ((5, 3, 4, 1), (1, 3, 4)),
        ((5, 3, 4), (3, 3, 4)),
        ((5, 11), (1, 3, 4)),
        ((12,), (1, 3, 4)),
        ((), (1, 3, 4)),
        ((5, 3, 3, 4), (1, 3, 4)),
        ((1, 5, 1, 3, 4), (1, 3, 4)),
    ],
)
def test_other_shapes_are_refused(shape: tuple[int, ...], image_shape: tuple[int, int, int]) -> None:
    c, h, w = image_shape
    with pytest.raises(DataError, match=r"expected images of shape .*, got shape .*: ") as caught:
        as_images(torch.zeros(shape), image_shape)
    message = str(caught.value)
    assert f"(B, {c}, {h}, {w})" in message
    assert f"(B, {c * h * w})" in message
    assert str(tuple(shape)) in message


def test_one_image_without_a_batch_is_told_how_to_get_one() -> None:
    with pytest.raises(DataError, match=r"got shape \(3, 4, 4\): add the batch dimension: x\[None\]"):
        as_images(torch.zeros(3, 4, 4), (3, 4, 4))


# ------------------------------------------------------------------------------------------- check_image_shape


@pytest.mark.parametrize("shape", [(1, 28, 28), [3, 32, 32], torch.Size([2, 9, 17]), np.array([1, 8, 8])])
def test_an_image_shape_becomes_a_tuple_of_integers(shape: Any) -> None:
    got = check_image_shape(shape)
    assert type(got) is tuple
    assert got == tuple(int(size) for size in shape)
    assert {type(size) for size in got} == {int}


@pytest.mark.parametrize(
    "shape", [(28, 28), (1, 1, 28, 28), (0, 28, 28), (1, -1, 28), (), 28, None, (1, None, 28), "abc", (1, 28.5, 28)]
)
def test_other_image_shapes_are_refused(shape: Any) -> None:
    with pytest.raises(SettingError, match=r"expected image_shape as three positive integers .*: for MNIST"):
        check_image_shape(shape)


# ------------------------------------------------------------------------------------------------ check_range


@given(values=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=9))
def test_images_in_range_are_given_back(values: list[float]) -> None:
    x = torch.tensor(values)
    assert check_range(x) is x


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (math.nan, r"expected finite images, got NaN or infinity in 1 of "),
        (math.inf, r"finite images, got NaN or infinity in"),
        (-math.inf, r"finite images, got NaN or infinity in"),
        (255.0, r"expected images in \[0, 1\], got a maximum of 255.0: divide by 255, or pass the uint8 tensor"),
        (1.001, r"expected images in \[0, 1\], got a maximum of 1\.001"),
        (-0.5, r"expected images in \[0, 1\], got a minimum of -0\.5: undo the normalisation"),
        (1e6, r"got a maximum of 1000000.0: divide by the largest value of their scale, x / 1000000"),
        (16.0, r"got a maximum of 16.0: divide by the largest value of their scale, x / 16, or .*max_value=16"),
        (4000.0, r"divide by the largest value of their scale, x / 4095, or .*max_value=4095"),
        (1.000002, r"got a maximum of 1\.000002: clip what resizing has added"),
        (-0.2, r"got a minimum of -0\.2: clip what resizing has added: x\.clamp\(0, 1\)"),
        (-127.5, r"undo the normalisation: drop Normalize"),
    ],
)
@pytest.mark.parametrize("place", [0, -1])
def test_images_out_of_range_are_refused_with_the_value(value: float, message: str, place: int) -> None:
    x = torch.rand(4, 1, 3, 3)
    x.view(-1)[place] = value
    with pytest.raises(DataError, match=message):
        check_range(x)


def test_nan_is_named_even_beside_other_faults() -> None:
    with pytest.raises(DataError, match="NaN"):
        check_range(torch.tensor([math.nan, -4.0, 300.0]))


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(DataError, match="expected at least one image, got an empty batch: check"):
        check_range(torch.zeros(0, 1, 3, 3))


# --------------------------------------------------------------------------------------------------- to_uint8


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_every_level_survives_the_round_trip(dtype: torch.dtype) -> None:
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    assert torch.equal(to_uint8(as_images(levels, (1, 16, 16), dtype=dtype)), levels)


@given(values=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=9))
def test_floats_go_to_the_nearest_level(values: list[float]) -> None:
    got = to_uint8(np.array(values, dtype=np.float32))
    assert got.dtype is torch.uint8
    assert all(abs(level / 255 - value) <= 0.5 / 255 + 1e-6 for level, value in zip(got.tolist(), values, strict=True))


def test_bytes_stay_and_booleans_become_black_and_white() -> None:
    levels = torch.arange(4, dtype=torch.uint8)
    assert to_uint8(levels) is levels
    assert to_uint8(torch.tensor([True, False])).tolist() == [255, 0]


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.tensor([0.0, 255.0]), "got a maximum of 255.0"),
        (torch.tensor([math.nan]), "got NaN"),
        (torch.tensor([1]), r"got dtype torch\.int64 from 1 to 1: convert: x\.to\(torch\.uint8\)"),
        (np.array([0, 4000]), r"got dtype torch\.int64 from 0 to 4000: divide .*max_value=4095"),
        (torch.tensor([-3, 3]), r"got dtype torch\.int64 from -3 to 3: undo"),
        ({"image": 0}, "got a dict: an ImageDataset, a DataLoader"),
    ],
)
def test_what_is_no_image_is_not_made_bytes(x: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        to_uint8(x)


# ---------------------------------------------------------------------------------------------------- montage


def naive_montage(images: Tensor, columns: int, padding: int, fill: int) -> NDArray[np.uint8]:
    n, channels, height, width = images.shape
    rows = math.ceil(n / columns)
    picture = np.full(
        (padding + rows * (height + padding), padding + columns * (width + padding), channels), fill, dtype=np.uint8
    )
    for i in range(n):
        row, column = divmod(i, columns)
        top, left = padding + row * (height + padding), padding + column * (width + padding)
        for c, y, x in itertools.product(range(channels), range(height), range(width)):
            picture[top + y, left + x, c] = images[i, c, y, x]
    return picture[..., 0] if channels == 1 else picture


@given(
    n=st.integers(1, 7),
    channels=st.sampled_from([1, 3]),
    height=st.integers(1, 4),
    width=st.integers(1, 4),
    columns=st.integers(1, 8),
    padding=st.integers(0, 3),
    fill=st.integers(0, 255),
    seed=st.integers(0, 2**31),
)
def test_montage_equals_a_loop_that_places_tiles(
    n: int, channels: int, height: int, width: int, columns: int, padding: int, fill: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, channels, height, width), generator=generator, dtype=torch.uint8)
    expected = naive_montage(images, columns, padding, fill)
    got = montage(images, columns, padding=padding, fill=fill / 255)
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(montage(images / 255, columns, padding=padding, fill=fill / 255), expected)


@pytest.mark.parametrize(("n", "columns"), [(1, 1), (4, 2), (5, 3), (9, 3), (10, 4)])
def test_montage_is_a_square_or_the_next_larger_by_default(n: int, columns: int) -> None:
    images = torch.rand(n, 1, 2, 3)
    np.testing.assert_array_equal(montage(images), montage(images, columns))


def test_montage_takes_images_without_channels_and_arrays() -> None:
    images = torch.rand(5, 3, 4)
    np.testing.assert_array_equal(montage(images.numpy()), montage(images[:, None]))


@pytest.mark.parametrize("shape", [(4, 2, 3, 3), (4, 4, 3, 3), (3, 3), (9,), (1, 2, 1, 3, 3)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_montage_refuses_other_shapes(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    with pytest.raises(DataError, match=r"expected images of shape .*, got shape .*: reshape"):
        montage(torch.zeros(shape, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_montage_refuses_no_images(dtype: torch.dtype) -> None:
    with pytest.raises(DataError, match="got an empty batch"):
        montage(torch.zeros(0, 1, 3, 3, dtype=dtype))


@pytest.mark.parametrize("columns", [-1, 0])
def test_montage_refuses_less_than_one_column(columns: int) -> None:
    with pytest.raises(SettingError, match=f"expected columns of at least 1, got {columns}"):
        montage(torch.rand(4, 1, 3, 3), columns)


@pytest.mark.parametrize(("argument", "value"), [("fill", 2.0), ("fill", -0.1), ("padding", -1)])
def test_montage_refuses_a_frame_that_makes_no_sense(argument: str, value: float) -> None:
    with pytest.raises(SettingError, match=argument):
        montage(torch.rand(4, 1, 3, 3), **{argument: value})


def test_montage_refuses_values_out_of_range() -> None:
    with pytest.raises(DataError, match=r"got a maximum of 255\.0"):
        montage(torch.full((4, 1, 3, 3), 255.0))
