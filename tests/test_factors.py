"""Factors of images, and the measured ones: strokes that were drawn with a known thickness, slant, width and height."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset

import mnistvae as mv
from mnistvae.data import Factors, ImageDataset, as_dataset, load_dataset, measure_factors
from mnistvae.data.morphology import _Enlargement, _length
from mnistvae.errors import DataError, MnistvaeError

SIDE, FINE = 28, 8
MEASURED = ("area", "length", "thickness", "slant", "width", "height")


# --- Factors ------------------------------------------------------------------------------------------------------


def test_floats_are_numbers_and_integers_are_classes() -> None:
    factors = Factors({"slant": np.array([0.5, -1.0], np.float32), "digit": [7, -1], "size": torch.tensor([1.0, 2.0])})
    assert (len(factors), factors.names) == (2, ("slant", "digit", "size"))
    assert [factors[name].dtype for name in factors.names] == [torch.float64, torch.int64, torch.float64]
    assert [factors.in_classes(name) for name in factors.names] == [False, True, False]
    assert repr(factors) == "Factors(2 images, slant, digit in classes, size)"
    assert "slant" in factors._repr_html_()
    assert list(factors.to_pandas().columns) == ["slant", "digit", "size"]


@pytest.mark.parametrize("rows", [slice(1, 3), [1, 2], torch.tensor([1, 2]), torch.tensor([False, True, True, False])])
def test_some_of_the_images(rows: Any) -> None:
    some = Factors({"a": [0.0, 1.0, 2.0, math.nan], "b": [3, 2, 1, 0]})[rows]
    assert some["a"].tolist() == [1.0, 2.0]
    assert some["b"].tolist() == [2, 1]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "at least one factor of at least one image, got none"),
        ({"a": []}, "at least one factor of at least one image, got none"),
        ({"a": [1.0, 2.0], "b": [1.0]}, "one value of each factor for each image, got 2 of a, 1 of b"),
        ({"a": [[1.0], [2.0]]}, r"the factor 'a' as one value for each image, shape \(N,\), got shape \(2, 1\)"),
        ({"a": [1.0, math.inf]}, "finite values of 'a', got an infinite one"),
        ({"a": [1, -2]}, "classes of 'a' from 0, or -1 for none, got -2: numbers that come in an order are floats"),
        ({"a": ["x", "y"]}, "the factor 'a' as numbers"),
        ([1.0, 2.0], "factors as a mapping of names to values, got a list"),
        (None, "factors as a mapping of names to values, got None"),
    ],
)
def test_what_are_no_factors(values: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Factors(values)


def test_a_factor_that_is_not_there() -> None:
    with pytest.raises(DataError, match="one of the factors slant, width, got 'slent'"):
        Factors({"slant": [0.0], "width": [1.0]})["slent"]


def test_a_data_set_keeps_its_factors() -> None:
    x = torch.arange(6.0)
    data = ImageDataset(torch.rand(6, 5, 5), [0, 1, 2] * 2, factors={"x": x})
    assert "factors x, " in repr(data)
    for some in (data[[4, 1]], data[torch.tensor([4, 1])], as_dataset(Subset(data, [4, 1]))):
        assert some.factors is not None
        assert some.factors["x"].tolist() == [4.0, 1.0]
    for same in (data.binarized("static"), data.replace(name="other"), data.to("cpu"), as_dataset(data)):
        assert same.factors is not None
        assert torch.equal(same.factors["x"], x.double())
    assert ImageDataset(torch.rand(6, 5, 5)).factors is None


def test_data_sets_that_are_joined_keep_factors_that_both_have() -> None:
    one = ImageDataset(torch.rand(2, 5, 5), factors={"x": [1.0, 2.0]})
    both = as_dataset(ConcatDataset([one, one.replace(factors={"x": [3.0, 4.0]})]))
    assert both.factors is not None
    assert both.factors["x"].tolist() == [1.0, 2.0, 3.0, 4.0]
    for other in (None, {"y": [3.0, 4.0]}, {"x": [3, 4]}):
        assert as_dataset(ConcatDataset([one, one.replace(factors=other)])).factors is None


def test_factors_of_other_images_are_refused() -> None:
    with pytest.raises(DataError, match="factors of 4 images, got those of 3"):
        ImageDataset(torch.rand(4, 5, 5), factors={"x": [0.0, 1.0, 2.0]})


# --- strokes that were drawn ----------------------------------------------------------------------------------------


def drawn(inside: Callable[[Any, Any], Any], side: int = SIDE) -> Tensor:
    """An image (side, side) of a region, each pixel as bright as the share of it that lies inside."""
    y, x = (np.mgrid[: side * FINE, : side * FINE] + 0.5) / FINE
    return torch.from_numpy(inside(x, y).astype(float).reshape(side, FINE, side, FINE).mean((1, 3)))


def bar(width: float, height: float, shear: float = 0.0, x: float = 14.0, y: float = 14.0) -> Tensor:
    """An upright bar; with a shear, its top is moved to the right."""
    return drawn(lambda u, v: (abs(u - x + shear * (v - y)) < width / 2) & (abs(v - y) < height / 2))


def ring(radius: float, width: float) -> Tensor:
    return drawn(lambda u, v: abs(np.hypot(u - 14, v - 14) - radius) < width / 2)


def measured(image: Tensor) -> dict[str, float]:
    return {name: values.item() for name, values in measure_factors(image[None]).values.items()}


@pytest.mark.parametrize("width", [2, 2.5, 3, 4, 5, 6])
def test_a_bar(width: float) -> None:
    found = measured(bar(width, 20))
    assert tuple(found) == MEASURED
    assert found["area"] == pytest.approx(20 * width, rel=0.02)
    assert found["thickness"] == pytest.approx(width, abs=0.15)
    assert found["length"] == pytest.approx(20 - width, abs=1.0)  # a pen as wide as that starts half of it inside
    assert found["height"] == pytest.approx(20, abs=0.3)
    assert width - 0.3 < found["width"] < width + 2, "splines ring, which makes a thin bar wider"
    assert found["slant"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("shear", [-0.5, -0.3, 0.2, 0.4, 0.6])
def test_a_sheared_rectangle(shear: float) -> None:
    found = measured(bar(8, 16, shear))
    assert found["slant"] == pytest.approx(math.atan(shear), abs=0.01)
    assert found["area"] == pytest.approx(8 * 16, rel=0.02)
    assert found["width"] == pytest.approx(8, abs=1)  # of the parallelogram: the shear is taken off
    assert found["height"] == pytest.approx(16, abs=0.3)


@pytest.mark.parametrize("radius", [5, 7, 9])
@pytest.mark.parametrize("width", [2, 3, 4])
def test_a_ring(radius: float, width: float) -> None:
    found = measured(ring(radius, width))
    assert found["area"] == pytest.approx(2 * math.pi * radius * width, rel=0.03)
    assert found["length"] == pytest.approx(2 * math.pi * radius, rel=0.06)
    assert found["thickness"] == pytest.approx(width, abs=0.15)
    assert found["width"] == pytest.approx(2 * radius + width, abs=0.6)
    assert found["height"] == pytest.approx(2 * radius + width, abs=0.6)
    assert found["slant"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("angle", [0, 10, 22.5, 35, 45])
def test_a_line_in_any_direction(angle: float) -> None:
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    found = measured(
        drawn(lambda u, v: (abs((u - 14) * c + (v - 14) * s) < 1.5) & (abs((v - 14) * c - (u - 14) * s) < 8))
    )
    assert found["thickness"] == pytest.approx(3, abs=0.25)
    assert 11.5 < found["length"] < 17.5, "13, and what a chain of straight and diagonal steps and its spurs add"
    assert found["area"] == pytest.approx(48, rel=0.03)


def moved(images: Tensor, shear: float = 0.0) -> Tensor:
    """Images (N, 28, 28) whose rows are moved to the right by the shear times their height above the middle."""
    rows = torch.arange(SIDE).double()
    x = torch.arange(SIDE).double() - shear * ((SIDE - 1) / 2 - rows)[:, None]
    low = x.floor()
    part = x - low
    padded = torch.nn.functional.pad(images.double(), (SIDE, SIDE))
    place = (low.long() + SIDE).expand(len(images), -1, -1)
    return (1 - part) * padded.gather(2, place) + part * padded.gather(2, place + 1)


@pytest.fixture(scope="module")
def digits() -> Tensor:
    return load_dataset("mnist-mini", "test").images[:60, 0] / 255


@pytest.fixture(scope="module")
def of_digits(digits: Tensor) -> Factors:
    return measure_factors(digits)


@pytest.mark.parametrize("shear", [-0.2, 0.2])
def test_a_shear_of_a_digit_adds_to_its_slant(digits: Tensor, of_digits: Factors, shear: float) -> None:
    found = measure_factors(moved(digits, shear).clamp(0, 1))
    added = found["slant"].tan() - of_digits["slant"].tan()
    torch.testing.assert_close(added, torch.full_like(added, shear), atol=0.01, rtol=0)
    assert (found["height"] - of_digits["height"]).abs().max() < 0.2
    assert (found["width"] - of_digits["width"]).abs().mean() < 0.4, "the shear is taken off again"


def test_where_a_digit_stands_changes_nothing(digits: Tensor) -> None:
    framed = torch.nn.functional.pad(digits, (5, 5, 5, 5))  # some digits come to the edge, where splines end
    before, after = measure_factors(framed), measure_factors(framed.roll((2, -3), (1, 2)))
    for name in ("area", "length", "thickness"):
        torch.testing.assert_close(after[name], before[name], atol=1e-9, rtol=1e-9)
    for name, most in (("slant", 1e-3), ("width", 0.03), ("height", 0.03)):
        torch.testing.assert_close(after[name], before[name], atol=most, rtol=0)


def test_a_digit_that_is_turned_over_slants_the_other_way(digits: Tensor, of_digits: Factors) -> None:
    found = measure_factors(digits.flip(2))
    torch.testing.assert_close(found["slant"], -of_digits["slant"], atol=1e-9, rtol=0)
    torch.testing.assert_close(found["area"], of_digits["area"], atol=1e-9, rtol=0)
    torch.testing.assert_close(found["height"], of_digits["height"], atol=1e-9, rtol=0)


def test_how_bright_a_digit_is_changes_nothing(digits: Tensor, of_digits: Factors) -> None:
    half = measure_factors((digits * 254 // 2).to(torch.uint8))
    for name in MEASURED:
        torch.testing.assert_close(half[name], of_digits[name], atol=0.1, rtol=0.08)


def test_an_image_is_measured_alike_alone_and_among_others(digits: Tensor, of_digits: Factors) -> None:
    for number in (0, 41):
        alone = measure_factors(digits[number : number + 1])
        for name in MEASURED:
            torch.testing.assert_close(alone[name][0], of_digits[name][number], atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("form", ["uint8", "numpy", "with a channel", "data set"])
def test_any_form_of_the_images(digits: Tensor, of_digits: Factors, form: str) -> None:
    given: Any = {
        "uint8": (digits * 255).round().to(torch.uint8),
        "numpy": digits.numpy(),
        "with a channel": digits[:, None],
        "data set": ImageDataset(digits),
    }[form]
    found = measure_factors(given)
    assert all(torch.equal(found[name], of_digits[name]) for name in MEASURED)


def test_the_enlargement_is_that_of_scikit_image(digits: Tensor) -> None:
    from skimage.transform import pyramid_expand

    for image in (digits[3], torch.rand(9, 13), torch.rand(1, 2)):
        grey = image.double()
        rows, columns = _Enlargement(grey.shape[0]), _Enlargement(grey.shape[1])
        large = (rows.splines @ grey @ columns.splines.T).clamp(float(grey.min()), float(grey.max()))
        large = rows.smoothing @ large @ columns.smoothing.T
        expected = pyramid_expand(grey.numpy(), upscale=4, order=3)
        np.testing.assert_allclose(large, expected, atol=1e-12)


def test_the_first_digit_of_mnist_as_morpho_mnist_measured_it(mnist_root: Any) -> None:
    """The released figures of the first training image; its length is by the medial axis, which has spurs."""
    found = measured(load_dataset("mnist", "train", mnist_root, download=False).images[0, 0])
    assert found["area"] == pytest.approx(107.3125, abs=0.5)
    assert found["thickness"] == pytest.approx(2.4607, abs=0.15)
    assert found["slant"] == pytest.approx(0.2311, abs=0.002)
    assert found["width"] == pytest.approx(14.5396, abs=0.1)
    assert found["height"] == pytest.approx(19.8491, abs=0.15)
    assert 0.85 * 50.2665 < found["length"] < 50.2665


def test_steps_of_a_skeleton() -> None:
    def length(*rows: str) -> float:
        return _length(np.array([[letter == "#" for letter in row] for row in rows]))

    assert length("#####") == 4
    assert length("#..", ".#.", "..#") == pytest.approx(2 * math.sqrt(2))
    assert length("#..", "#..", "###") == 4, "no step across the corner"
    assert length("..#", ".#.", "#..") == pytest.approx(2 * math.sqrt(2))
    assert length("#") == 0


# --- images that are no digits --------------------------------------------------------------------------------------


def test_a_black_image_has_no_strokes() -> None:
    images = torch.stack([bar(4, 20), torch.zeros(SIDE, SIDE), bar(2, 20), torch.zeros(SIDE, SIDE)])
    with pytest.warns(UserWarning, match="2 images, from number 1 on, are black, without strokes to measure"):
        found = measure_factors(images)
    for name in MEASURED:
        assert found[name].isnan().tolist() == [False, True, False, True]


@pytest.mark.parametrize("level", [1.0, 0.3, 1 / 255])
def test_an_image_of_one_grey_level_is_all_foreground(level: float) -> None:
    found = measured(torch.full((SIDE, SIDE), level))
    assert found["area"] == SIDE**2
    assert found["thickness"] == pytest.approx(SIDE, abs=0.5)
    assert found["width"] == pytest.approx(0.98 * SIDE)
    assert found["height"] == pytest.approx(0.98 * SIDE)
    assert found["slant"] == pytest.approx(0, abs=1e-12)
    assert found["length"] < 1


@pytest.mark.parametrize(("row", "column"), [(14, 14), (0, 0), (27, 3)])
def test_one_pixel(row: int, column: int) -> None:
    image = torch.zeros(SIDE, SIDE)
    image[row, column] = 1
    found = measured(image)
    assert 1 <= found["area"] < 2
    assert found["length"] < 1.1
    assert 0.7 < found["thickness"] < 1.6
    assert abs(found["slant"]) < 0.1
    assert 0.5 < found["width"] < 6
    assert 0.5 < found["height"] < 6


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (2, 3), (64, 32)])
def test_images_of_any_shape(shape: tuple[int, int]) -> None:
    image = torch.zeros(shape)
    image[shape[0] // 2, : max(1, shape[1] // 2)] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = measured(image)
    assert all(math.isfinite(value) for value in found.values())
    assert found["area"] > 0


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.rand(2, 3, 8, 8), "grey images, of one channel, got 3 channels"),
        (torch.rand(2, 64), "shape"),
        (torch.zeros(0, 28, 28), "at least one image"),
        (torch.full((1, 28, 28), 2.0), r"images in \[0, 1\]"),
        (torch.full((1, 28, 28), math.nan), "finite images"),
        ("digits", "images"),
        (mv, "images"),
    ],
)
def test_what_cannot_be_measured(images: Any, message: str) -> None:
    with pytest.raises(MnistvaeError, match=message):
        measure_factors(images)


def test_digits_have_the_strokes_of_digits() -> None:
    data = load_dataset("mnist-mini", "test")
    ones, zeros = (measure_factors(data.images[data.labels == digit][:40]) for digit in (1, 0))
    assert ones["width"].mean() < 0.6 * zeros["width"].mean()
    assert ones["length"].mean() < 0.6 * zeros["length"].mean()
    assert 1.5 < ones["thickness"].mean() < 4
    assert ((ones["height"] > 15) & (ones["height"] < 21)).float().mean() > 0.9


def test_black_images_alone_have_no_factors() -> None:
    with pytest.warns(UserWarning, match="2 images, from number 0 on, are black"):
        found = measure_factors(torch.zeros(2, 1, 28, 28))
    assert all(values.isnan().all() for values in found.values.values())
    with pytest.warns(UserWarning, match="image 0 is black"):
        measure_factors(torch.zeros(1, 1, 28, 28))
