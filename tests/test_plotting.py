"""Figures: what they draw, and that they leave matplotlib as it was."""

from __future__ import annotations

import io
import math
import subprocess
import sys
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from mnistvae import History
from mnistvae.errors import DataError, SettingError
from mnistvae.plotting import loss_curves, reconstruction_grid, sample_grid

PNG = b"\x89PNG\r\n\x1a\n"
GAP = round(0.35 * 255)


def grey(n: int, height: int = 5, width: int = 4, channels: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(n)
    return torch.randint(0, 256, (n, channels, height, width), dtype=torch.uint8, generator=generator)


def history(*, validation: bool = True, epochs: int = 3, tag: str = "grey-bce") -> History:
    records = []
    for epoch in range(1, epochs + 1):
        record = {"epoch": epoch, "loss": 200.0 / epoch, "reconstruction": 180.0 / epoch, "kl": 5.0 * epoch}
        if validation:
            record |= {f"validation_{name}": 1.1 * record[name] for name in ("loss", "reconstruction", "kl")}
        records.append(record)
    return History(records, tag)


def picture(figure: Figure) -> np.ndarray[Any, Any]:
    """The one image of a figure's one axes."""
    (axes,) = figure.axes
    (image,) = axes.images
    assert image.get_interpolation() == "nearest"
    array = np.asarray(image.get_array())
    if array.ndim == 2:
        assert image.get_clim() == (0, 255)
        assert image.get_cmap().name == "gray"
    return array


def tile(array: np.ndarray[Any, Any], row: int, column: int, height: int = 5, width: int = 4) -> np.ndarray[Any, Any]:
    """The pixels of one image in a montage with a border of one."""
    top, left = 1 + row * (height + 1), 1 + column * (width + 1)
    return array[top : top + height, left : left + width]


# --- loss curves ----------------------------------------------------------------------------------------------------


def test_loss_curves_draw_three_panels_of_two_curves() -> None:
    record = history()
    figure = loss_curves(record)
    assert [axes.get_title() for axes in figure.axes] == ["Loss", "Reconstruction", "KL divergence"]
    assert [axes.get_xlabel() for axes in figure.axes] == ["epoch"] * 3
    for axes, name in zip(figure.axes, ("loss", "reconstruction", "kl"), strict=True):
        training, validation = axes.lines
        assert (training.get_label(), validation.get_label()) == ("training", "validation")
        assert np.array_equal(training.get_xdata(), [1, 2, 3])
        assert np.array_equal(validation.get_xdata(), [1, 2, 3])
        assert np.array_equal(training.get_ydata(), record.column(name))
        assert np.array_equal(validation.get_ydata(), record.column(f"validation_{name}"))
        # Told apart without colour too.
        assert training.get_color() != validation.get_color()
        assert training.get_linestyle() != validation.get_linestyle()
        assert training.get_marker() != validation.get_marker()
    assert figure.axes[0].get_ylabel() == "nats per image (grey-bce)"
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["training", "validation"]


def test_loss_curves_without_validation() -> None:
    figure = loss_curves(history(validation=False))
    assert [len(axes.lines) for axes in figure.axes] == [1, 1, 1]
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["training"]


def test_loss_curves_of_plain_records() -> None:
    figure = loss_curves([dict(record) for record in history()])
    assert figure.axes[0].get_ylabel() == "nats per image"
    assert len(figure.axes[2].lines) == 2


def test_loss_curves_of_one_epoch_have_whole_epochs_on_the_axis() -> None:
    figure = loss_curves(history(epochs=1))
    figure.savefig(io.BytesIO())  # places the ticks
    for axes in figure.axes:
        low, high = axes.get_xlim()
        shown = [tick for tick in axes.get_xticks() if low <= tick <= high]
        assert shown == [1]
        assert np.array_equal(axes.lines[0].get_xdata(), [1])


def test_loss_curves_leave_gaps_where_an_epoch_has_no_figure() -> None:
    records = list(history())
    del records[1]["validation_loss"]
    values = loss_curves(records).axes[0].lines[1].get_ydata()
    assert [math.isnan(value) for value in values] == [False, True, False]  # type: ignore[arg-type, union-attr]


def test_loss_curves_of_further_terms() -> None:
    records = [{**record, "total_correlation": 2.0, "validation_total_correlation": 3.0} for record in history()]
    records[0] |= {"seconds": 1.0, "images_per_second": 100.0}
    figure = loss_curves(records)
    titles = [axes.get_title() for axes in figure.axes if axes.axison]
    assert titles == ["Loss", "Reconstruction", "KL divergence", "total correlation"]
    training, validation = figure.axes[3].lines
    assert np.array_equal(training.get_ydata(), [2.0] * 3)
    assert np.array_equal(validation.get_ydata(), [3.0] * 3)
    assert figure.get_size_inches().tolist() == [9.0, 6.0]


@pytest.mark.parametrize("empty", [History(), []])
def test_loss_curves_of_nothing_are_refused(empty: Any) -> None:
    with pytest.raises(SettingError, match="a history of at least one epoch, got none: train first"):
        loss_curves(empty)


# --- grids ----------------------------------------------------------------------------------------------------------


def test_sample_grid_is_a_square_row_by_row() -> None:
    images = grey(9)
    array = picture(sample_grid(images))
    assert array.shape == (3 * 6 + 1, 3 * 5 + 1)
    for i in range(9):
        assert np.array_equal(tile(array, i // 3, i % 3), images[i, 0])
    border = np.ones_like(array, dtype=bool)
    for i in range(9):
        tile(border, i // 3, i % 3)[:] = False
    assert set(array[border]) == {GAP}


def test_sample_grid_with_columns_and_places_left_over() -> None:
    images = grey(5)
    array = picture(sample_grid(images, columns=4))
    assert array.shape == (2 * 6 + 1, 4 * 5 + 1)
    assert np.array_equal(tile(array, 1, 0), images[4, 0])
    assert (tile(array, 1, 1) == GAP).all()
    assert (tile(array, 1, 3) == GAP).all()


@pytest.mark.parametrize(
    "convert",
    [lambda x: x[:, 0], lambda x: x.float() / 255, lambda x: x.numpy(), lambda x: (x.double() / 255).numpy()],
    ids=["3d", "float", "numpy", "numpy-float"],
)
def test_sample_grid_takes_every_kind_of_images(convert: Any) -> None:
    assert np.array_equal(picture(sample_grid(convert(grey(4)))), picture(sample_grid(grey(4))))


def test_sample_grid_takes_gradients_and_colour() -> None:
    assert picture(sample_grid(torch.rand(4, 1, 5, 4, requires_grad=True))).shape == (13, 11)
    images = grey(4, channels=3)
    array = picture(sample_grid(images))
    assert array.shape == (13, 11, 3)
    assert np.array_equal(tile(array, 1, 1), images[3].movedim(0, -1))


def test_grey_levels_are_absolute() -> None:
    array = picture(sample_grid(torch.full((1, 1, 5, 4), 0.5)))  # a dim image stays dim
    assert (tile(array, 0, 0) == 128).all()


def test_sample_grid_has_its_title_and_no_axis() -> None:
    figure = sample_grid(grey(4), title="four of them")
    assert [axes.get_title() for axes in figure.axes] == ["four of them"]
    assert not figure.axes[0].axison
    assert sample_grid(grey(4)).axes[0].get_title() == ""


def test_reconstruction_grid_has_originals_above() -> None:
    originals, reconstructions = grey(3), grey(3).flip(0).float() / 255
    figure = reconstruction_grid(originals, reconstructions)
    array = picture(figure)
    assert array.shape == (2 * 6 + 1, 3 * 5 + 1)
    for i in range(3):
        assert np.array_equal(tile(array, 0, i), originals[i, 0])
        assert np.array_equal(tile(array, 1, i), originals[2 - i, 0])
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["original", "reconstruction"]
    # Each label stands at the middle of its row.
    assert [round(tick) for tick in axes.get_yticks()] == pytest.approx([3, 9], abs=1)
    assert list(axes.get_xticks()) == []


def test_reconstruction_grid_takes_images_without_a_channel() -> None:
    with_channel, without = (reconstruction_grid(x, x) for x in (grey(3), grey(3)[:, 0]))
    assert np.array_equal(picture(with_channel), picture(without))
    assert np.array_equal(picture(reconstruction_grid(grey(3)[:, 0], grey(3))), picture(with_channel))


@pytest.mark.parametrize(
    ("originals", "reconstructions", "message"),
    [
        (grey(3), grey(2), r"as many reconstructions as originals, of one size: \(3, 1, 5, 4\), got \(2, 1, 5, 4\)"),
        (grey(3), grey(3, height=6), r"got \(3, 1, 6, 4\)"),
        (grey(3), grey(3, channels=3), r"got \(3, 3, 5, 4\)"),
        (grey(3), torch.full((3, 1, 5, 4), 2.0), r"images in \[0, 1\], got a maximum of 2"),
        (torch.zeros(0, 1, 5, 4), torch.zeros(0, 1, 5, 4), "at least one image"),
        (grey(3)[:0], grey(3)[:0], "at least one image"),
        (torch.zeros(3, 20), torch.zeros(3, 20), r"shape \(3, 20\)"),
    ],
    ids=["number", "size", "channels", "range", "empty-float", "empty-uint8", "flat"],
)
def test_reconstructions_that_are_refused(originals: Any, reconstructions: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        reconstruction_grid(originals, reconstructions)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(0, 1, 5, 4), "at least one image"),
        (torch.zeros(0, 1, 5, 4, dtype=torch.uint8), "at least one image"),
        (torch.full((3, 1, 5, 4), -0.5), r"images in \[0, 1\], got a minimum of -0.5"),
        (torch.full((3, 1, 5, 4), torch.nan), "finite images, got NaN"),
        (torch.zeros(3, 20), r"shape \(3, 20\)"),
        (torch.zeros(3, 2, 5, 4), r"shape \(3, 2, 5, 4\)"),
        ([["a"]], "images as numbers, got a numpy array of dtype <U1"),
    ],
    ids=["empty-float", "empty-uint8", "range", "nan", "flat", "channels", "list"],
)
def test_images_that_are_refused(images: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        sample_grid(images)


def test_columns_that_make_no_sense_are_refused() -> None:
    with pytest.raises(SettingError, match="columns of at least 1, got -2"):
        sample_grid(grey(4), columns=-2)


# --- figures that belong to nobody ----------------------------------------------------------------------------------

DRAWINGS = [
    pytest.param(lambda **kw: loss_curves(history(), **kw), 3, id="loss_curves"),
    pytest.param(lambda **kw: sample_grid(grey(4), **kw), 1, id="sample_grid"),
    pytest.param(lambda **kw: reconstruction_grid(grey(4), grey(4), **kw), 1, id="reconstruction_grid"),
]


@pytest.mark.parametrize(("draw", "panels"), DRAWINGS)
def test_a_figure_is_drawn_into(draw: Any, panels: int) -> None:
    own = Figure(figsize=(3, 3))
    assert draw(figure=own) is own
    assert len(own.axes) == panels
    assert tuple(own.get_size_inches()) == (3, 3)
    two = Figure(figsize=(6, 3))
    left, right = two.subfigures(1, 2)  # type: ignore[misc]  # typed as one
    assert draw(figure=right) is two  # the whole, which can be saved
    assert len(right.axes) == panels
    assert left.axes == []


@pytest.mark.parametrize(("draw", "panels"), DRAWINGS)
def test_a_new_figure_draws_itself_in_a_notebook(draw: Any, panels: int) -> None:
    figure = draw()
    content = figure._repr_png_()
    assert content.startswith(PNG)
    with Image.open(io.BytesIO(content)) as image:
        width, height = (round(150 * inches) for inches in figure.get_size_inches())
        assert abs(image.width - width) <= 1
        assert abs(image.height - height) <= 1
        assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
        assert len(image.convert("L").getcolors() or []) > 2  # something is drawn


def test_each_call_gives_a_figure_of_its_own() -> None:
    first, second = sample_grid(grey(4)), sample_grid(grey(4))
    assert first is not second
    assert len(first.axes) == len(second.axes) == 1


def test_no_global_setting_is_changed() -> None:
    before = settings()
    for draw in (loss_curves(history()), sample_grid(grey(4)), reconstruction_grid(grey(4), grey(4))):
        draw.savefig(io.BytesIO())
    assert settings() == before


def settings() -> dict[str, Any]:
    """All of matplotlib's but the backend, which is looked for (and pyplot imported) when it is read."""
    return {name: mpl.rcParams[name] for name in mpl.rcParams if name != "backend"}


def test_pyplot_is_not_imported() -> None:
    code = (
        "import io, sys, torch\n"
        "from mnistvae import plotting\n"
        "x = torch.rand(4, 1, 8, 8)\n"
        "for f in (plotting.sample_grid(x), plotting.reconstruction_grid(x, x),\n"
        "          plotting.loss_curves([{'epoch': 1, 'loss': 1.0}])):\n"
        "    f.savefig(io.BytesIO())\n"
        "print('matplotlib.figure' in sys.modules, 'matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.split() == ["True", "False"]
    assert done.stderr == ""


def test_many_reconstructions_go_into_further_pairs_of_rows() -> None:
    originals = torch.arange(25, dtype=torch.uint8).reshape(25, 1, 1, 1).expand(25, 1, 4, 4)
    figure = reconstruction_grid(originals, originals + 100)
    (ax,) = figure.axes
    picture = np.asarray(ax.images[0].get_array())
    assert picture.shape == (4 * 5 + 1, 20 * 5 + 1)
    levels = picture[2::5, 2::5]
    assert levels[0].tolist() == list(range(20))
    assert levels[1].tolist() == list(range(100, 120))
    assert levels[2, :5].tolist() == list(range(20, 25))
    assert levels[3, :5].tolist() == list(range(120, 125))
    assert len(set(levels[2:, 5:].flatten().tolist())) == 1  # the frame's grey
    assert [label.get_text() for label in ax.get_yticklabels()] == ["original", "reconstruction"] * 2


def test_several_reconstructions_have_a_named_row_each() -> None:
    originals = grey(3)
    figure = reconstruction_grid(originals, {"first": originals.flip(0), "second": originals})
    (ax,) = figure.axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["original", "first", "second"]
    rows = torch.cat([originals, originals.flip(0), originals])
    assert np.array_equal(picture(figure), picture(sample_grid(rows, columns=3)))
    with pytest.raises(DataError, match="as many reconstructions as originals"):
        reconstruction_grid(originals, {"first": originals, "second": originals[:2]})
