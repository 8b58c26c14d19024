"""Rate-distortion curves: points, lines of equal sums, and what is legible where rates are huge, equal or missing."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox

from mnistvae.errors import DataError, MnistvaeError
from mnistvae.plotting import rate_distortion
from mnistvae.plotting._sums import plane_of, set_axes

NAN = float("nan")
BETAS = [10, 0.1, 1, 0.3, 3]
RATES = [6.0, 39.0, 22.0, 33.0, 13.0]
DISTORTIONS = [101.0, 60.0, 71.0, 63.0, 84.0]


def labels(figure: Figure) -> list[Annotation]:
    """The betas beside points."""
    return [one for one in figure.axes[0].texts if isinstance(one, Annotation) and one.get_text()[:2] == "β="]


def values(figure: Figure) -> list[Text]:
    """The values of the lines of equal sums."""
    return [one for one in figure.axes[0].texts if one.get_text()[:2] != "β="]


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def curves(figure: Figure) -> list[Any]:
    return [one[0] for one in figure.axes[0].containers]


def sums(figure: Figure) -> list[np.ndarray[Any, Any]]:
    """Rate + distortion along each light line."""
    lines = [one for one in figure.axes[0].lines if one.get_zorder() == 0.5]
    return [np.asarray(one.get_xdata()) + np.asarray(one.get_ydata()) for one in lines]


def ring(figure: Figure) -> tuple[float, float]:
    (found,) = (one for one in figure.axes[0].lines if str(one.get_label()).startswith("lowest"))
    return float(np.asarray(found.get_xdata())[0]), float(np.asarray(found.get_ydata())[0])


def curve(betas: Any, factor: float = 1.0) -> tuple[Any, Any]:
    betas = np.asarray(betas, float)
    return 45 * factor / (1 + betas**0.8), 58 + 50 * (1 - 1 / (1 + 0.25 * betas)) + 3 * betas**0.4


# --- what is drawn ----------------------------------------------------------------------------------------------------


def test_points_are_joined_in_the_order_of_beta_and_the_lowest_sum_has_a_ring() -> None:
    figure = rate_distortion(BETAS, RATES, DISTORTIONS, title="a title")
    ax = figure.axes[0]
    (line,) = curves(figure)
    assert line.get_xdata().tolist() == [39, 33, 22, 13, 6]
    assert line.get_ydata().tolist() == [60, 63, 71, 84, 101]
    assert {one.get_text(): one.xy for one in labels(figure)} == {
        f"β={beta:g}": (rate, distortion) for beta, rate, distortion in zip(BETAS, RATES, DISTORTIONS, strict=True)
    }
    assert ring(figure) == (22, 71)
    assert legend(figure) == ["lowest R + D: 93.0 nats", "equal R + D, minus the ELBO"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("rate R, nats", "distortion D, nats")
    assert (ax.get_xscale(), ax.get_title()) == ("linear", "a title")
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    assert left < 0  # the auto-decoding limit is in sight
    assert 39 < right < 45
    assert 55 < low < 60
    assert 101 < high < 106


@pytest.mark.parametrize("rates", [RATES, [0.0, 5000.0, 22.0, 33.0, 13.0]], ids=["linear", "logarithmic"])
def test_each_light_line_has_one_sum_which_is_its_value(rates: list[float]) -> None:
    figure = rate_distortion(BETAS, rates, DISTORTIONS)
    found = sums(figure)
    assert len(found) >= 4
    for line, value in zip(found, values(figure), strict=True):
        assert line == pytest.approx(float(value.get_text()))
        assert isinstance(value, Annotation)
        assert sum(value.xy) == pytest.approx(line[0])
    lowest = min(map(sum, zip(rates, DISTORTIONS, strict=True)))
    assert min(one[0] for one in found) < lowest < max(one[0] for one in found)


def test_error_bars_and_the_note_on_them() -> None:
    figure = rate_distortion(
        [1, 10], [20, 5], [80, 100], rate_errors=[2, NAN], distortion_errors=[NAN, 3], note="three seeds"
    )
    (container,) = figure.axes[0].containers
    across, up = (one.get_segments() for one in container.lines[2])  # type: ignore[attr-defined]
    assert across[0].tolist() == [[18, 80], [22, 80]]
    assert up[1].tolist() == [[5, 97], [5, 103]]
    assert across[1][0].tolist() == across[1][1].tolist()
    assert figure.axes[0].get_xlabel() == "rate R, nats\nthree seeds"
    assert len(rate_distortion([1, 10], [20, 5], [80, 100]).axes[0].containers[0].lines[2]) == 0  # type: ignore[attr-defined]


def test_a_bar_that_is_longer_than_all_else_leaves_the_points_legible() -> None:
    figure = rate_distortion(BETAS, RATES, DISTORTIONS, distortion_errors=[1, 1, 1, 1, 1e6])
    low, high = figure.axes[0].get_ylim()
    assert high - low < 3 * (101 - 60)


def test_a_curve_for_each_name() -> None:
    names = ["latent_dim 2"] * 5 + ["latent_dim $9$"] * 5
    figure = rate_distortion(BETAS * 2, RATES + RATES, DISTORTIONS + [one - 2 for one in DISTORTIONS], curves=names)
    first, second = curves(figure)
    assert (first.get_linestyle(), first.get_marker()) != (second.get_linestyle(), second.get_marker())
    assert (first.get_ydata() - second.get_ydata()).tolist() == [2] * 5
    assert legend(figure)[:2] == ["latent_dim 2", r"latent_dim \$9\$"]
    assert ring(figure) == (22, 69)
    assert len(labels(figure)) == 10


# --- what is far off, missing or equal --------------------------------------------------------------------------------


def test_what_is_not_finite_is_left_out_and_named() -> None:
    figure = rate_distortion([0, 1, 3, 10, 30], [NAN, 20, 13, 6, 1], [50, 70, np.inf, 101, NAN])
    assert figure.axes[0].get_xlabel() == "rate R, nats\nnot finite: β=0, β=3, β=30"
    assert [one.get_text() for one in labels(figure)] == ["β=1", "β=10"]
    (line,) = curves(figure)
    assert np.isnan(line.get_xdata()).tolist() == [True, False, True, False, True]  # not joined across the gap
    assert ring(figure) == (20, 70)
    many = rate_distortion(range(9), [*[NAN] * 8, 1.0], [1.0] * 9).axes[0].get_xlabel()
    assert many.endswith("not finite: β=0, β=1, β=2, β=3, β=4 and 3 more")


def test_a_huge_rate_makes_its_axis_logarithmic() -> None:
    figure = rate_distortion([0, *BETAS], [2800, *RATES], [58, *DISTORTIONS])
    ax = figure.axes[0]
    assert (ax.get_xscale(), ax.get_xlabel()) == ("symlog", "rate R, nats (logarithmic)")
    assert [tick.get_text() for tick in ax.get_xticklabels()][:4] == ["5", "10", "20", "50"]
    to_axes = (ax.transData + ax.transAxes.inverted()).transform
    points = np.stack([[2800, *RATES], [58, *DISTORTIONS]], 1)
    places = to_axes(points)
    assert (places > 0).all()
    assert (places < 1).all()
    assert np.ptp(places[1:, 0]) > 0.2  # the others are still told apart
    plane = plane_of(points, np.zeros_like(points))
    assert plane.place(points) == pytest.approx(places)
    collapsed = rate_distortion([0, *BETAS, 100], [2800, *RATES, 0], [58, *DISTORTIONS, 206]).axes[0]
    assert collapsed.get_xlabel() == "rate R, nats (logarithmic from 1 nat on)"
    assert collapsed.get_xlim()[0] < 0
    assert "0" in [tick.get_text() for tick in collapsed.get_xticklabels()]


@pytest.mark.parametrize(
    ("rates", "scale"),
    [([20.0, 0.67], "linear"), ([29.9, 0.0], "linear"), ([31.0, 1.02], "symlog"), ([31.0, 0.0], "symlog")],
)
def test_a_rate_below_a_nat_counts_as_one_nat(rates: list[float], scale: str) -> None:
    assert rate_distortion([1, 10], rates, [90, 200]).axes[0].get_xscale() == scale


def test_what_is_far_off_is_an_arrow_with_its_number() -> None:
    figure = rate_distortion([0, *BETAS, 100], [5e6, *RATES, 2], [58, *DISTORTIONS, 1e7])
    ax = figure.axes[0]
    texts = [one.get_text() for one in labels(figure)]
    assert {"β=0: R=5e+06", "β=100: D=1e+07"} <= set(texts)
    assert ax.get_xlim()[1] < 50
    assert ax.get_ylim()[1] < 120
    arrows = {one.get_marker(): np.asarray(one.get_xydata())[0] for one in ax.lines if one.get_marker() in (">", "^")}
    assert arrows[">"] == pytest.approx([ax.get_xlim()[1], 58], rel=1e-2)
    assert arrows["^"] == pytest.approx([2, ax.get_ylim()[1]], rel=1e-2)
    both = rate_distortion([0, *BETAS], [5e6, *RATES], [1e7, *DISTORTIONS])
    assert "β=0: R=5e+06, D=1e+07" in [one.get_text() for one in labels(both)]


def test_the_plane_places_points_as_matplotlib_does() -> None:
    points = np.array([[-0.2, 60], [0, 70], [0.4, 80], [1, 81], [5, 90], [900, 100]])
    plane = plane_of(points, np.zeros_like(points))
    assert plane.log
    ax = Figure().subplots()
    set_axes(ax, plane, "", [])
    assert plane.place(points) == pytest.approx((ax.transData + ax.transAxes.inverted()).transform(points))
    along = plane.between(points[3:5], 4)
    assert np.diff(np.sort(plane.place(along)[:, 0])) == pytest.approx(
        np.diff(plane.place(points[3:5])[:, 0]).item() / 4
    )


def crowd(count: int, name: str = "latent_dim {}") -> dict[str, Any]:
    parts = [curve(BETAS, 1 - n / (2 * count)) for n in range(count)]
    return {
        "betas": BETAS * count,
        "rates": np.concatenate([rates for rates, _ in parts]),
        "distortions": np.concatenate([distortions + 3 * n for n, (_, distortions) in enumerate(parts)]),
        "curves": [name.format(n) for n in range(count) for _ in BETAS],
    }


def given_curve(betas: Any, **more: Any) -> dict[str, Any]:
    rates, distortions = curve(betas)
    return {"betas": betas, "rates": rates, "distortions": distortions, **more}


#: Figures with little room for what is written in them.
HARD: dict[str, dict[str, Any]] = {
    "one": {"betas": [1], "rates": [20.0], "distortions": [81.0]},
    "one that collapsed": {"betas": [1], "rates": [0.0], "distortions": [206.0]},
    "two": {"betas": [0.5, 1], "rates": [25.0, 20.0], "distortions": [78.0, 81.0]},
    "beta 0": {"betas": [0, *BETAS], "rates": [2800, *RATES], "distortions": [58, *DISTORTIONS]},
    "collapsed": {"betas": [1, 3, 10, 30], "rates": [0.01, 1e-3, 4e-4, 1e-4], "distortions": [206.1, 206.05, 206, 206]},
    "far off": {"betas": [0, *BETAS, 99], "rates": [5e6, *RATES, 0], "distortions": [58, *DISTORTIONS, 1e7]},
    "twelve at one place": {"betas": range(12), "rates": [5.0] * 12, "distortions": [100.0] * 12},
    "densities": {"betas": [0.1, 1, 10], "rates": [80.0, 50.0, 10.0], "distortions": [-700.0, -690.0, -500.0]},
    "many betas": given_curve(np.geomspace(0.01, 100, 60)),
    "three curves": crowd(3),
    "ten curves": crowd(10),
    "long names": crowd(4, "{} " + "of a setting whose value is a long list " * 5),
    "words below": given_curve(BETAS, note="mean and standard deviation of 3 seeds", title="rates and distortions"),
}


def apart(boxes: list[Bbox]) -> bool:
    return not any(a.overlaps(b) for a, b in combinations(boxes, 2))


@pytest.mark.parametrize("case", HARD)
def test_all_that_is_written_is_legible(case: str) -> None:
    figure = rate_distortion(**HARD[case])
    for _ in range(2):
        figure.draw_without_rendering()
    ax = figure.axes[0]
    betas = [Text.get_window_extent(one) for one in labels(figure)]
    assert 1 <= len(betas) <= 12
    assert apart(betas)
    assert apart([Text.get_window_extent(one) for one in values(figure)])
    page = figure.bbox
    written: list[Any] = [*ax.texts, ax.xaxis.label, ax.yaxis.label, ax.title, *figure.legends[0].get_texts()]
    for one in [*written, *ax.get_xticklabels(), *ax.get_yticklabels()]:
        box = Text.get_window_extent(one)
        ticks = one not in written
        inside = page.x0 <= box.x0 <= box.x1 <= page.x1 and page.y0 <= box.y0 <= box.y1 <= page.y1
        assert inside or ticks or not one.get_text(), one.get_text()
    beside = figure.legends[0].get_window_extent()
    assert not any(beside.overlaps(box) for box in [*betas, *map(Text.get_window_extent, values(figure))])


def test_of_many_points_some_are_labelled_the_best_and_both_ends_among_them() -> None:
    betas = np.geomspace(0.01, 100, 41)
    figure = rate_distortion(**given_curve(betas))
    shown = {one.get_text() for one in labels(figure)}
    best = betas[np.argmin(np.sum(curve(betas), 0))]
    assert {"β=0.01", "β=100", f"β={best:.3g}"} <= shown
    assert 5 <= len(shown) <= 12
    places = np.array([ax_place(figure, one) for one in labels(figure)])
    distances = np.linalg.norm(places[:, None] - places, axis=-1) + np.eye(len(places))
    assert distances.min() > 0.08


def ax_place(figure: Figure, name: Annotation) -> Any:
    ax = figure.axes[0]
    return (ax.transData + ax.transAxes.inverted()).transform(name.xy)


NUMBERS = st.floats(-1e9, 1e9) | st.floats(0, 100) | st.just(NAN) | st.just(0.0)


@settings(deadline=None, max_examples=40)
@given(rows=st.lists(st.tuples(st.floats(0, 100), NUMBERS, NUMBERS, st.sampled_from("ab")), min_size=1, max_size=20))
def test_any_numbers_are_drawn(rows: list[tuple[float, float, float, str]]) -> None:
    betas, rates, distortions, names = zip(*rows, strict=True)
    finite = np.isfinite(np.array([rates, distortions])).all(0)
    if not finite.any():
        with pytest.raises(DataError, match="a point whose rate and distortion are finite"):
            rate_distortion(betas, rates, distortions)
        return
    figure = rate_distortion(betas, rates, distortions, curves=names)
    figure.draw_without_rendering()
    ax = figure.axes[0]
    assert ax.get_xlim()[0] < ax.get_xlim()[1]
    assert ax.get_ylim()[0] < ax.get_ylim()[1]


# --- what cannot be drawn ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        (([], [], []), "betas of shape"),
        (([1, 2], [1], [1, 2]), "rates of shape"),
        (([1, 2], [1, 2], [1]), "distortions of shape"),
        (([NAN, 1], [1, 2], [1, 2]), "finite betas"),
        (([1], [NAN], [1]), "a point whose rate and distortion are finite"),
        (([1], None, [1]), "rates"),
        (("ab", [1, 2], [1, 2]), "betas"),
    ],
)
def test_points_that_cannot_be_drawn(given_: tuple[Any, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        rate_distortion(*given_)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"rate_errors": [1]}, "errors of the rates of shape"),
        ({"distortion_errors": [-1, 1]}, "at least 0"),
        ({"curves": ["a"]}, "2 names of curves"),
        ({"curves": "ab"}, "2 names of curves"),
        ({"figure": 3}, "figure as a matplotlib Figure"),
        ({"title": []}, "title as a text"),
    ],
)
def test_settings_that_make_no_sense(more: dict[str, Any], message: str) -> None:
    with pytest.raises(MnistvaeError, match=message):
        rate_distortion([1, 2], [20, 10], [70, 90], **more)
