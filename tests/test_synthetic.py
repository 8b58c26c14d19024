"""Data that are drawn from known factors: shapes, whose factors are found again in their pixels, and toys."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import mnistvae as mv
from mnistvae.data import SHAPE_FACTORS, Factors, ImageDataset, draw_shapes, load_dataset, shapes, toy
from mnistvae.errors import MnistvaeError, SettingError


@pytest.fixture(scope="module")
def grid() -> ImageDataset:
    return shapes()


@pytest.fixture(scope="module")
def drawn() -> ImageDataset:
    return shapes(2000, seed=3)


def factors_of(data: ImageDataset) -> Factors:
    assert data.factors is not None
    return data.factors


# --- the factors ----------------------------------------------------------------------------------------------------


def test_the_grid_has_each_combination_once(grid: ImageDataset) -> None:
    factors = factors_of(grid)
    assert factors.names == tuple(SHAPE_FACTORS) == ("shape", "size", "angle", "x", "y")
    rows = torch.stack([factors[name].double() for name in factors.names], 1)
    assert len(rows) == len(torch.unique(rows, dim=0)) == 2 * 4 * 8 * 8 * 8
    for column, (low, high, count) in zip(rows.T, SHAPE_FACTORS.values(), strict=True):
        values, counts = column.unique(return_counts=True)
        assert len(values) == count
        assert counts.unique().tolist() == [len(rows) // count]
        assert (values.diff().diff().abs() < 1e-12).all(), "steps are equal"
        assert values[0] == low
        assert values[-1] == pytest.approx(high if high != math.pi / 2 else high * 7 / 8)


def test_what_is_drawn_is_uniform_and_independent() -> None:
    factors = factors_of(shapes(8000, image_size=4))
    uniform = torch.stack(
        [(factors[name].double() - low) / (high - low) for name, (low, high, _) in SHAPE_FACTORS.items()]
    )
    assert uniform[0].mean() == pytest.approx(0.5, abs=0.02)
    levels = (torch.arange(8000).double() + 0.5) / 8000
    assert (uniform[1:].sort(dim=1).values - levels).abs().max() < 1.63 / math.sqrt(8000), "Kolmogorov and Smirnov, 1 %"
    assert (torch.corrcoef(uniform) - torch.eye(5)).abs().max() < 0.05


def test_the_label_is_the_shape(grid: ImageDataset) -> None:
    assert torch.equal(grid.labels, factors_of(grid)["shape"])
    assert grid.class_names == ("square", "ellipse")
    assert (grid.name, grid.split, grid.binarization) == ("shapes", "all", "none")


def test_a_seed_gives_the_same_shapes_and_another_gives_others(drawn: ImageDataset) -> None:
    before = torch.get_rng_state()
    again, other = shapes(2000, seed=3), shapes(2000, seed=4)
    assert torch.equal(again.images, drawn.images)
    assert not torch.equal(other.images, drawn.images)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("n", [None, 50])
def test_fixed_factors_are_the_same_in_all_images(n: int | None) -> None:
    factors = factors_of(shapes(n, fixed={"angle": 0.5, "shape": 1}, image_size=8))
    assert set(factors["angle"].tolist()) == {0.5}
    assert set(factors["shape"].tolist()) == {1}
    assert len(factors) == (n or 4 * 8 * 8)
    assert len(factors["x"].unique()) > 5
    free = factors_of(shapes(n, image_size=8)) if n else None
    assert free is None or torch.equal(free["x"], factors["x"]), "the others are drawn as they were"


# --- the pixels -----------------------------------------------------------------------------------------------------


def moments(images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Mass, centre in pixels, and places about the centre (n, H, W) of images."""
    x = images[:, 0].double() / 255
    height, width = x.shape[1:]
    across, down = torch.arange(width).double() + 0.5, torch.arange(height).double() + 0.5
    mass = x.sum((1, 2))
    centre_x, centre_y = x.sum(1) @ across / mass, x.sum(2) @ down / mass
    places = torch.complex(
        (across - centre_x[:, None])[:, None].expand_as(x), (down - centre_y[:, None])[:, :, None].expand_as(x)
    )
    return mass, centre_x, centre_y, x, places


@pytest.mark.parametrize("size", [28, 64, (20, 40)])
def test_the_factors_are_found_again_in_the_pixels(size: Any) -> None:
    data = shapes(600, image_size=size, seed=1)
    factors = factors_of(data)
    height, width = (size, size) if isinstance(size, int) else size
    assert data.image_shape == (1, height, width)
    mass, centre_x, centre_y, x, places = moments(data.images)
    torch.testing.assert_close(centre_x / width, factors["x"], atol=0.004, rtol=0)
    torch.testing.assert_close(centre_y / height, factors["y"], atol=0.004, rtol=0)
    side = factors["size"] * 0.36 * min(height, width)
    torch.testing.assert_close(mass, side**2, atol=0, rtol=0.03)
    second, fourth = (x * places**2).sum((1, 2)), (x * places**4).sum((1, 2))
    oblong = second.abs() / (x * places.abs() ** 2).sum((1, 2))
    ellipse = factors["shape"] == 1
    assert (oblong[ellipse] - 0.6).abs().max() < 0.06, "(a^2 - b^2) / (a^2 + b^2) for a = 2 b"
    assert oblong[~ellipse].max() < 0.06
    large = side > 6  # pixels
    of_ellipse = (second.angle() / 2 - factors["angle"]).mul(2).sin().abs()[ellipse]
    of_square = ((-fourth).angle() / 4 - factors["angle"]).mul(4).sin().abs()[~ellipse & large]
    assert of_ellipse.max() < 0.06
    assert of_square.max() < 0.2


def test_shapes_stay_in_the_image_and_are_white(grid: ImageDataset) -> None:
    assert grid.images.dtype is torch.uint8
    assert (grid.images.flatten(1).amax(1) == 255).all()
    large = shapes(300, image_size=100, fixed={"size": 1.0}).images
    assert large[..., [0, -1]].max() == large[..., [0, -1], :].max() == 0
    assert len(grid.images.flatten(1).unique(dim=0)) == len(grid), "each combination is another image"


def test_a_pixel_is_as_bright_as_the_share_that_is_covered() -> None:
    factors = {"shape": [0], "size": [1.0], "angle": [0.0], "x": [0.5], "y": [0.5]}
    image = draw_shapes(Factors(factors), 10)[0, 0].double() / 255  # a square of 3.6 pixels from 3.2 to 6.8
    along = torch.tensor([0, 0, 0, 0.8, 1, 1, 0.8, 0, 0, 0]).double()
    torch.testing.assert_close(image, torch.outer(along, along), atol=0.06, rtol=0)
    torch.testing.assert_close(image[4], along, atol=1 / 255, rtol=0)  # exact along a row


def test_antialiasing_is_that_of_many_points(drawn: ImageDataset) -> None:
    factors = factors_of(drawn)[:40]
    small = draw_shapes(factors, 28).double()
    fine = draw_shapes(factors, 28 * 8).double()
    torch.testing.assert_close(small, torch.nn.functional.avg_pool2d(fine, 8), atol=16.0, rtol=0)


def test_a_quarter_of_a_turn_gives_the_same_square_and_half_of_one_the_same_ellipse() -> None:
    one = {"size": [0.8] * 2, "x": [0.45] * 2, "y": [0.6] * 2}
    square = draw_shapes(Factors({**one, "shape": [0, 0], "angle": [0.3, 0.3 + math.pi / 2]})).double()
    ellipse = draw_shapes(Factors({**one, "shape": [1, 1], "angle": [0.3, 0.3 + math.pi]})).double()
    for both in (square, ellipse):
        torch.testing.assert_close(both[0], both[1], atol=1.0, rtol=0)


def test_what_leaves_the_image_is_cut_off() -> None:
    factors = {"shape": [0, 1], "size": [1.0] * 2, "angle": [0.0] * 2, "x": [0.0, 5.0], "y": [0.5] * 2}
    images = draw_shapes(Factors(factors), 20)
    half = shapes(1, fixed={"shape": 0, "size": 1.0, "angle": 0.0, "x": 0.5, "y": 0.5}, image_size=20).images
    assert images[0].double().sum() == pytest.approx(half.double().sum().item() / 2, rel=0.01)
    assert images[1].max() == 0


# --- by name --------------------------------------------------------------------------------------------------------


def test_shapes_by_name(grid: ImageDataset) -> None:
    train, test = load_dataset("shapes", "train"), load_dataset("shapes", "test", download=False)
    assert (len(train), train.split, train.name) == (10_000, "train", "shapes")
    assert torch.equal(test.images, grid.images)
    assert test.split == "test"
    other = load_dataset("shapes", "test", image_size=(8, 12), channels=3)
    assert other.image_shape == (3, 8, 12)
    assert factors_of(other).names == factors_of(grid).names
    assert torch.equal(other.images[:, :1], shapes(image_size=(8, 12)).images), "drawn so, not resampled"


def test_shapes_train_like_any_data_set(drawn: ImageDataset) -> None:
    model = mv.recipes.get("mlp").model(seed=0)
    history = mv.Trainer(epochs=2, seed=0, progress=False).fit(model, drawn[:1000])
    assert history[-1]["loss"] < history[0]["loss"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: shapes(0), "n as a number of at least 1 image, or None for the grid, got 0"),
        (lambda: shapes(2.5), "n as a number"),
        (lambda: shapes(5, seed=-1), "seed"),
        (lambda: shapes(5, image_size=0), "image_size as a positive integer"),
        (lambda: shapes(5, fixed={"colour": 1}), "fixed factors among shape, size, angle, x, y, got 'colour'"),
        (lambda: shapes(5, fixed={"shape": 0.5}), "shape as 0 or 1, got 0.5"),
        (lambda: shapes(5, fixed={"x": 0.9}), "x from 0.3 to 0.7, got 0.9"),
        (lambda: shapes(5, fixed={"x": 0.1}), "x from 0.3 to 0.7, got 0.1"),
        (lambda: shapes(5, fixed={"size": math.nan}), "size from 0.5 to 1, got nan"),
        (lambda: shapes(5, fixed=[0.3]), "fixed as a mapping"),
        (lambda: draw_shapes(Factors({"x": [0.5]})), "one of the factors x, got 'shape'"),
        (lambda: draw_shapes(Factors({**_ONE, "size": [0.0]})), "sizes above 0, got 0.0"),
        (lambda: draw_shapes(Factors({**_ONE, "x": [math.nan]})), "finite factors"),
        (lambda: load_dataset("shapes", "validation"), "split as one of 'train', 'test'"),
    ],
)
def test_shapes_that_cannot_be_drawn(call: Any, message: str) -> None:
    with pytest.raises(MnistvaeError, match=message):
        call()


_ONE = {"shape": [0], "size": [1.0], "angle": [0.0], "x": [0.5], "y": [0.5]}


# --- toys -----------------------------------------------------------------------------------------------------------


def coordinates(data: ImageDataset) -> Tensor:
    return data.images.flatten(1).double() / 255 * 4 - 2


@pytest.mark.parametrize(("name", "classes"), [("moons", 2), ("rings", 2), ("gaussians", 8)])
def test_a_toy_is_a_data_set_of_two_pixels(name: Any, classes: int) -> None:
    data = toy(name, 4000, seed=1)
    assert data.image_shape == (1, 1, 2)
    assert (data.name, data.num_classes, data.split) == (name, classes, "all")
    counts = data.labels.bincount().double()
    assert (counts - 4000 / classes).abs().max() < 5 * math.sqrt(4000 / classes)
    assert torch.equal(toy(name, 4000, seed=1).images, data.images)
    assert not torch.equal(toy(name, 4000, seed=2).images, data.images)
    assert data.images.min() > 5
    assert data.images.max() < 250, "nothing is put on the edge"


def test_moons_lie_on_half_circles() -> None:
    data = toy("moons", 500, noise=0.0)
    x, y = coordinates(data).T
    first = data.labels == 0
    centres = torch.where(first, -0.5, 0.5), torch.where(first, -0.25, 0.25)
    assert (torch.hypot(x - centres[0], y - centres[1]) - 1).abs().max() < 0.02
    assert (torch.where(first, y, -y) > -0.27).all()


def test_rings_lie_on_circles() -> None:
    data = toy("rings", 500, noise=0.0)
    radius = coordinates(data).norm(dim=1)
    assert (radius - torch.tensor([1.5, 0.75])[data.labels]).abs().max() < 0.02


def test_normals_lie_about_their_centres() -> None:
    data = toy("gaussians", 8000, noise=0.15)
    turn = 2 * math.pi / 8 * torch.arange(8).double()
    for label, centre in enumerate(1.5 * torch.stack([turn.cos(), turn.sin()], 1)):
        own = coordinates(data)[data.labels == label]
        assert (own.mean(0) - centre).abs().max() < 0.03
        assert (own.std(0) - 0.15).abs().max() < 0.015


def test_a_model_of_two_pixels_learns_moons() -> None:
    data = toy("moons", 2000)
    vae = mv.VAE(latent_dim=2, image_shape=(1, 1, 2), likelihood=mv.likelihoods.Gaussian(0.03))
    history = mv.Trainer(epochs=8, learning_rate=3e-3, seed=0, progress=False).fit(vae, data)
    assert history[-1]["loss"] < history[0]["loss"] - 5
    assert vae.sample(5).shape == (5, 1, 1, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: toy("spirals"), "name as one of 'moons', 'rings', 'gaussians', got 'spirals'"),
        (lambda: toy("moons", 0), "n as a number of at least 1 point"),
        (lambda: toy("moons", 5, noise=-1), "noise as a standard deviation of at least 0"),
        (lambda: toy("moons", 5, seed=-1), "seed"),
    ],
)
def test_toys_that_there_are_not(call: Any, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        call()
