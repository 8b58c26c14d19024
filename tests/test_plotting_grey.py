"""Figures in grey print: no two series differ by their hue alone, and nothing that is written leaves the page."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox

from mnistvae import plotting

RNG = np.random.default_rng(0)
LABELS = np.arange(200) % 10
POINTS = RNG.normal(size=(200, 2)) + LABELS[:, None]
PROBABILITIES = RNG.dirichlet(np.ones(10), 200)
GROUPS = {name: {0: 1.0, 1: 2.0} for name in "abcd"}
#: Difference in lightness, 0 to 1, that is seen between two greys.
SEEN = 0.15


def lightness(colour: Any) -> float:
    """Of a colour as a printer without colours has it, 0 to 1: pillow's weights."""
    return float(np.dot(to_rgb(colour), [0.299, 0.587, 0.114]))


def of_scatter(figure: Figure) -> list[tuple[Any, float]]:
    named: list[Any] = [one for one in figure.axes[0].collections if str(one.get_label())[:1] != "_"]
    return [(one.get_paths()[0].vertices.tobytes(), lightness(one.get_facecolor()[0][:3])) for one in named]


def of_lines(figure: Figure) -> list[tuple[Any, float]]:
    named = [one for one in figure.axes[0].lines if str(one.get_label())[:1] != "_"]
    return [((str(one._dash_pattern), one.get_linewidth()), lightness(one.get_color())) for one in named]  # type: ignore[attr-defined]


def of_bars(figure: Figure) -> list[tuple[Any, float]]:
    bars = [container.patches[0] for container in figure.axes[0].containers if hasattr(container, "patches")]
    return [(bar.get_hatch(), lightness(bar.get_facecolor()[:3])) for bar in bars]


def of_marks(figure: Figure) -> list[tuple[Any, float]]:
    return [(one[0].get_marker(), lightness(one[0].get_color())) for one in figure.axes[0].containers]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("series", "count"),
    [
        (lambda: of_scatter(plotting.latent_map(POINTS, LABELS)), 10),
        (lambda: of_scatter(plotting.cluster_map(POINTS, LABELS % 5 - 1)), 5),
        (lambda: of_lines(plotting.roc_curves(LABELS, PROBABILITIES, range(10))), 11),
        (lambda: of_bars(plotting.class_bars(GROUPS, "MSE")), 4),
        (lambda: of_marks(plotting.class_bars(GROUPS, "dB", from_zero=False)), 4),
    ],
    ids=["map", "clusters", "roc", "bars", "marks"],
)
def test_no_two_series_differ_by_hue_alone(series: Any, count: int) -> None:
    found = series()
    assert len(found) == count
    for (a, light), (b, other) in combinations(found, 2):
        assert a != b or abs(light - other) > SEEN


def test_the_mean_is_seen_on_its_histogram() -> None:
    ax = plotting.histogram(RNG.normal(size=300), "dB").axes[0]
    bar = ax.patches[0]
    ground = 1 - float(bar.get_alpha() or 1) * (1 - lightness(bar.get_facecolor()[:3]))  # on white
    (mean,) = ax.lines
    assert abs(lightness(mean.get_color()) - ground) > 2 * SEEN


def test_a_cluster_has_its_letter_beside_its_image() -> None:
    figure = plotting.cluster_map(POINTS, LABELS % 3, images=torch.rand(3, 1, 28, 28))
    figure.draw_without_rendering()
    ax = figure.axes[0]
    pictures = [one.get_window_extent() for one in ax.artists if isinstance(one, AnnotationBbox)]
    letters = {text.get_text(): text.get_window_extent() for text in ax.texts}
    assert list(letters) == ["A", "B", "C"]
    for picture, letter in zip(pictures, letters.values(), strict=True):
        assert picture.x0 < (letter.x0 + letter.x1) / 2 < picture.x1
        assert 0 <= letter.y0 - picture.y1 < 6 * figure.dpi / 72 or letter.y0 > picture.y1 - 3


@pytest.mark.parametrize("name", ["x", "from a sampled code", "a name that is as long as people's names are"])
@pytest.mark.parametrize("columns", [2, 10])
def test_names_of_rows_are_inside_the_page(name: str, columns: int) -> None:
    x = torch.rand(columns, 1, 28, 28)
    figure = plotting.reconstruction_grid(x, {name: x, "other": x})
    for _ in range(2):
        figure.draw_without_rendering()
    margin = 0.03 * figure.dpi
    for text in figure.axes[0].get_yticklabels():
        assert text.get_window_extent().x0 > margin
