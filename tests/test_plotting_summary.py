"""A model in one figure: only what is given is drawn, and always at the same place."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from mnistvae.plotting import png_bytes, summary_figure

GENERATOR = np.random.default_rng(0)
IMAGES = GENERATOR.random((10, 1, 28, 28))
PARTS: dict[str, dict[str, Any]] = {
    "curves": {"history": [{"epoch": n, "loss": 9.0 - n, "reconstruction": 8.0, "kl": 1.0} for n in (1, 2)]},
    "map": {"points": GENERATOR.normal(size=(60, 2)), "point_labels": np.arange(60) % 10, "names": ("left", "up")},
    "confusion": {"confusion": np.eye(3, dtype=np.int64), "classes": [3, 4, 5]},
    "roc": {"labels": np.arange(60) % 3, "probabilities": GENERATOR.dirichlet(np.ones(3), 60), "classes": [0, 1, 2]},
}
PANELS = {"curves": 3, "map": 1, "confusion": 1, "roc": 1}


def boxes(figure: Figure) -> list[np.ndarray[Any, Any]]:
    """The axes' boxes in pixels."""
    return [ax.get_window_extent().get_points() for ax in figure.axes]


@pytest.mark.parametrize("given", [(), ("curves",), ("map",), ("curves", "map"), ("map", "confusion"), tuple(PARTS)])
def test_what_is_not_given_takes_no_place(given: tuple[str, ...]) -> None:
    known: dict[str, Any] = {}
    for name in given:
        known |= PARTS[name]
    figure = summary_figure(IMAGES, IMAGES, **known)
    figure.draw_without_rendering()
    assert len(figure.axes) == 1 + sum(PANELS[name] for name in given)
    rows = (2 + sum(name != "curves" for name in given)) // 2
    assert figure.get_figheight() == pytest.approx(4.2 * rows + 3.0 * ("curves" in given))
    places = boxes(figure)
    for n, one in enumerate(places):
        for other in places[n + 1 :]:
            assert (one[1] <= other[0]).any() or (other[1] <= one[0]).any(), "two panels overlap"


def test_what_the_panels_show() -> None:
    figure = summary_figure(IMAGES, IMAGES, **PARTS["curves"], **PARTS["map"], **PARTS["confusion"])
    labels = {ax.get_xlabel() for ax in figure.axes}
    assert {"epoch", "left", "predicted"} <= labels
    assert [ax.get_title() for ax in figure.axes if ax.get_xlabel() == "left"] == ["codes"]


def test_samples_below_the_reconstructions_and_a_title() -> None:
    samples = np.concatenate([IMAGES] * 9)
    figure = summary_figure(IMAGES, IMAGES, samples=samples, title="VAE on digits", **PARTS["confusion"])
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["original", "reconstruction", "sample 1", "sample 2", "sample 3", "sample 4"]
    assert figure.get_suptitle() == "VAE on digits"
    assert "VAE on digits" not in [ax.get_title() for ax in figure.axes]


def test_it_draws_into_a_subfigure() -> None:
    figure = Figure(figsize=(15, 8), layout="constrained")
    left, right = figure.subfigures(1, 2)
    assert summary_figure(IMAGES, IMAGES, figure=left) is figure
    assert len(figure.axes) == 1
    assert len(left.subfigs) == 1
    assert len(right.subfigs) == 0


def test_places_do_not_depend_on_the_solver_s_last_digits() -> None:
    figure = summary_figure(IMAGES, IMAGES, **PARTS["curves"], **PARTS["map"])
    figure.draw_without_rendering()
    for ax in figure.axes:
        place = ax.get_position(original=True).get_points()
        assert (place == place.round(9)).all()
        assert ax.get_in_layout(), "the next drawing places it again"
    for band in figure.subfigs:
        place = band.bbox_relative.get_points()
        assert (place == place.round(9)).all()


def test_a_figure_as_bytes() -> None:
    figure = summary_figure(IMAGES, IMAGES)
    content = png_bytes(figure)
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.format == "PNG"
        assert picture.size == tuple((figure.get_size_inches() * figure.dpi).round().astype(int))
    assert png_bytes(figure) == content
