"""Names of outliers on a map of clusters: apart from each other, inside, and near what they name."""

from __future__ import annotations

import io
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox

from mnistvae.plotting import cluster_map, png_bytes
from mnistvae.plotting._names import _crosses, _hits, places_apart

Points = np.ndarray[Any, np.dtype[np.float64]]

RANDOM = np.random.default_rng(0)
CLUSTERS = np.concatenate([RANDOM.normal(k * 6, 1, (100, 2)) * (1, (-1) ** k) for k in range(3)])
MEMBERS = np.repeat([0, 1, 2], 100)
IMAGES = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))

#: Outliers where there is little room for what they are called.
HARD = {
    "ten at nearly one place": RANDOM.normal((6, 4), 0.05, (10, 2)),
    "ten at one place": np.full((10, 2), (12.0, -14.0)),
    "ten in a corner": (17, 17) - np.abs(RANDOM.normal(0, 0.02, (10, 2))),
    "ten at the left border": np.stack([np.full(10, -9.0), np.linspace(1, 1.2, 10)], 1),
    "twenty at nearly one place": RANDOM.normal((12, -14), 0.6, (20, 2)),
    "twenty everywhere": RANDOM.uniform(-10, 18, (20, 2)),
    "twenty in a line": np.stack([np.linspace(3, 4, 20), np.full(20, 9.0)], 1),
}


def drawn_map(outliers: Points, name: str = "{}", figure: Any = None, images: Any = IMAGES) -> Figure:
    points = np.concatenate([CLUSTERS, outliers])
    members = np.concatenate([MEMBERS, np.full(len(outliers), -1)])
    names = {300 + n: name.format(1000 + 37 * n) for n in range(len(outliers))}
    return cluster_map(points, members, images=images, outliers=names, figure=figure)


def names_of(figure: Figure) -> list[Annotation]:
    return [one for one in figure.axes[0].texts if isinstance(one, Annotation)]


def boxes_of(figure: Figure) -> list[Bbox]:
    """Of the words alone, without their lines."""
    figure.draw_without_rendering()
    return [Text.get_window_extent(one) for one in names_of(figure)]


def assert_apart_and_inside(figure: Figure) -> None:
    boxes, frame = boxes_of(figure), figure.axes[0].get_window_extent()
    for a, b in combinations(boxes, 2):
        assert not a.overlaps(b)
    for box in boxes:
        assert frame.x0 <= box.x0 < box.x1 <= frame.x1
        assert frame.y0 <= box.y0 < box.y1 <= frame.y1


@pytest.mark.parametrize("case", HARD)
@pytest.mark.parametrize("name", ["{}", "image {}"])
def test_no_two_names_overlap(case: str, name: str) -> None:
    figure = drawn_map(HARD[case], name)
    assert len(names_of(figure)) == len(HARD[case])
    assert_apart_and_inside(figure)


@pytest.mark.parametrize("dpi", [50, 300])
def test_at_every_resolution(dpi: int) -> None:
    figure = drawn_map(HARD["ten at nearly one place"])
    figure.savefig(io.BytesIO(), dpi=dpi)
    figure.set_dpi(dpi)
    assert_apart_and_inside(figure)


def test_at_another_size_and_in_a_part_of_a_figure() -> None:
    figure = drawn_map(HARD["ten in a corner"])
    assert_apart_and_inside(figure)
    figure.set_size_inches(4, 3)
    assert_apart_and_inside(figure)
    whole = Figure(figsize=(12, 5), layout="constrained")
    _, right = whole.subfigures(1, 2)
    assert_apart_and_inside(drawn_map(HARD["ten in a corner"], figure=right))


def test_it_is_repeatable() -> None:
    a, b = (drawn_map(HARD["twenty at nearly one place"]) for _ in range(2))
    first = png_bytes(a)
    assert first == png_bytes(b)
    assert first == png_bytes(a)  # drawing it again changes nothing


def test_a_line_leads_from_each_name_to_its_point() -> None:
    outliers = HARD["twenty everywhere"]
    figure = drawn_map(outliers)
    boxes = boxes_of(figure)
    ax = figure.axes[0]
    for one, point, box in zip(names_of(figure), outliers, boxes, strict=True):
        assert one.xy == tuple(point)
        place = ax.transData.transform(point)
        assert one.arrow_patch is not None
        start, end = one.arrow_patch.get_path().vertices[[0, -1]] @ np.eye(2)  # type: ignore[index]
        middle = np.array([(box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2])
        assert np.abs(start - middle).max() < 45 * figure.dpi / 72
        assert np.hypot(*(end - place)) < 6 * figure.dpi / 72
        assert np.hypot(*(middle - place)) > 8 * figure.dpi / 72  # not on its circle


def test_a_name_alone_is_near_and_hides_no_image() -> None:
    beside = np.median(CLUSTERS[:100], axis=0) + np.array([-0.9, 0.0])
    figure = drawn_map(beside[None])
    (box,) = boxes_of(figure)
    ax = figure.axes[0]
    place = ax.transData.transform(beside)
    assert np.hypot(*(np.array([box.x0 + box.x1, box.y0 + box.y1]) / 2 - place)) < 40 * figure.dpi / 72
    pictures = [one for one in ax.artists if isinstance(one, AnnotationBbox)]
    assert len(pictures) == 3
    for picture in pictures:
        assert not picture.get_window_extent().overlaps(box)


def test_names_need_no_room_beside_the_axes() -> None:
    """The axes are where they are without names."""
    points = np.concatenate([CLUSTERS, HARD["ten at the left border"]])
    members = np.concatenate([MEMBERS, np.full(10, -1)])
    places = []
    for names in ({}, {300 + n: f"the image of the number {n} of this data set" for n in range(10)}):
        figure = cluster_map(points, members, outliers=names)
        figure.draw_without_rendering()
        places.append(figure.axes[0].get_position().bounds)
    assert places[0] == places[1]


def test_points_out_of_view_do_not_matter() -> None:
    outliers = np.concatenate([HARD["ten at the left border"], HARD["ten at nearly one place"]])
    pictures = []
    for gone in (0, 10):
        figure = drawn_map(outliers, "image {}")
        for name in names_of(figure)[:gone]:
            name.remove()
        figure.set_layout_engine("none")  # which would make room for the clusters' images out of view
        figure.axes[0].set_xlim(5.5, 20)
        pictures.append(png_bytes(figure))
    assert pictures[0] == pictures[1]


def test_names_that_were_taken_away_leave_their_place() -> None:
    alone, others = (drawn_map(HARD["ten at one place"]) for _ in range(2))
    alone.draw_without_rendering()
    for figure in (alone, others):
        for name in names_of(figure)[:-1]:
            name.remove()
    assert png_bytes(alone) == png_bytes(others)
    (box,) = boxes_of(alone)
    place = alone.axes[0].transData.transform((12.0, -14.0))
    assert np.abs(np.array([box.x0 + box.x1, box.y0 + box.y1]) / 2 - place).max() < 20 * alone.dpi / 72


def test_more_names_than_there_is_room_for() -> None:
    figure = drawn_map(np.full((60, 2), 3.0), "the image number {}", Figure(figsize=(2.5, 2)))
    assert len(boxes_of(figure)) == 60


@given(
    st.lists(st.tuples(st.floats(0, 350), st.floats(0, 280)), min_size=1, max_size=20),
    st.floats(5, 30),
)
def test_places_are_apart_wherever_points_are(points: list[tuple[float, float]], width: float) -> None:
    sizes, frame = np.tile([width, 9.0], (len(points), 1)), np.array([350.0, 280.0])
    places = places_apart(np.array(points), sizes, frame, np.zeros((0, 2)), 28.0)
    assert (places >= sizes / 2).all()
    assert (places <= frame - sizes / 2).all()
    for a, b in combinations(places, 2):
        assert (np.abs(a - b) >= sizes[0]).any()


def test_lines_that_cross_and_lines_over_boxes() -> None:
    origin = np.zeros(2)
    ends = np.array([[2.0, 2.0], [2.0, -2.0], [0.4, 0.4]])
    crossed = _crosses(origin, ends, np.array([[0.0, 2.0]]), np.array([[2.0, 0.0]]))
    assert crossed[:, 0].tolist() == [True, False, False]
    starts, ends, boxes = (RANDOM.uniform(-3, 3, (500, 2)) for _ in range(3))
    half = RANDOM.uniform(0.1, 1, (500, 2))
    along = starts + np.linspace(0, 1, 2001)[:, None, None] * (ends - starts)
    inside = (np.abs(along - boxes) < half).all(-1).any(0)
    np.testing.assert_array_equal(_hits(starts, ends, boxes, half), inside)
    assert 50 < inside.sum() < 450
