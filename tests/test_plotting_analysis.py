"""Figures of codes, clusters, classifiers and errors: what they draw."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from mnistvae import plotting
from mnistvae.errors import DataError, SettingError
from mnistvae.images import montage
from mnistvae.plotting import (
    class_bars,
    cluster_map,
    confusion_matrix,
    error_examples,
    histogram,
    latent_density,
    latent_grid,
    latent_map,
    latent_traversals,
    loss_curves,
    png_bytes,
    rate_distortion,
    roc_curves,
    sample_grid,
    summary_figure,
)

POINTS = np.concatenate([np.random.default_rng(0).normal(k * 6, 1, (40, 2)) for k in range(3)])
LABELS = np.repeat([0, 3, 7], 40)
MEMBERS = np.array([0] * 60 + [1] * 40 + [-1] * 20)
IMAGES = torch.rand(12, 1, 6, 4, generator=torch.Generator().manual_seed(1))
TRAVERSED: Any = IMAGES.reshape(3, 4, 1, 6, 4)


def offsets(figure: Figure, ax: int = 0) -> list[np.ndarray[Any, Any]]:
    """The points of every scatter of a panel."""
    return [np.asarray(one.get_offsets()) for one in figure.axes[ax].collections]


def texts(figure: Figure, ax: int = 0) -> list[str]:
    return [one.get_text() for one in figure.axes[ax].texts]


def legend(figure: Figure, ax: int = 0) -> list[str]:
    found = figure.axes[ax].get_legend()
    assert found is not None
    return [one.get_text() for one in found.get_texts()]


def test_a_map_of_classes() -> None:
    figure = latent_map(torch.tensor(POINTS), torch.tensor(LABELS), names=("t-SNE 1", "t-SNE 2"), title="codes")
    groups = offsets(figure)
    assert len(groups) == 3
    for label, group in zip((0, 3, 7), groups, strict=True):
        np.testing.assert_array_equal(group, POINTS[label == LABELS])
    assert legend(figure) == ["0", "3", "7"]
    assert texts(figure) == ["0", "3", "7"]
    places = [one.get_position() for one in figure.axes[0].texts]
    near = 0.06 * np.ptp(POINTS, axis=0).max()
    np.testing.assert_allclose(places[1], np.median(POINTS[40:80], axis=0), atol=near)
    ax = figure.axes[0]
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ("t-SNE 1", "t-SNE 2", "codes")
    colours = {tuple(one.get_facecolor()[0][:3]) for one in ax.collections}
    assert len(colours) == 3
    assert ax.get_aspect() == 1


@pytest.mark.parametrize("spread", [0.0, 1e-3, 1.0])
def test_names_of_classes_keep_apart(spread: float) -> None:
    points = np.random.default_rng(0).normal(size=(500, 2))
    labels = np.arange(500) % 10
    points[:10] *= 1 + spread  # classes that lie on each other
    figure = latent_map(points, labels)
    places = np.array([one.get_position() for one in figure.axes[0].texts])
    apart = np.linalg.norm(places[:, None] - places, axis=-1) + 9 * np.eye(10)
    assert apart.min() > 0.055 * np.ptp(points, axis=0).max()


def test_round_ticks_of_a_plane() -> None:
    coordinates = np.linspace(-1.43, 1.43, 15)
    ax = latent_grid(np.zeros((15 * 15, 1, 4, 4)), coordinates, coordinates[::-1]).axes[0]
    assert [one.get_text() for one in ax.get_xticklabels()] == ["-1.2", "-0.8", "-0.4", "0", "0.4", "0.8", "1.2"]
    assert ax.get_xticks()[3] == pytest.approx(4 * 7.5 - 0.5)  # zero: in the middle of the middle image
    np.testing.assert_allclose(ax.get_yticks() + ax.get_xticks(), 4 * 15 - 1)  # the same, from below


def test_colours_are_told_apart_by_all_eyes_and_in_grey() -> None:
    from matplotlib.colors import to_rgb

    from mnistvae.plotting._points import CLASS_COLOURS

    rgb = np.array([to_rgb(colour) for colour in CLASS_COLOURS])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_cones = [[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.6300]]
    to_lab = [[0.2105, 0.7936, -0.0041], [1.9780, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]]
    no_red = [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]]  # Machado et al., 2009
    no_green = [[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]]

    def oklab(colours: np.ndarray) -> np.ndarray:
        return np.asarray(np.cbrt(colours.clip(0, 1) @ np.transpose(to_cones)) @ np.transpose(to_lab))

    for seen in (np.eye(3), no_red, no_green):
        lab = oklab(linear @ np.transpose(seen))
        apart = np.linalg.norm(lab[:, None] - lab, axis=-1) + np.eye(10)
        assert apart.min() > 0.12
    assert np.diff(np.sort(oklab(linear)[:, 0])).min() > 0.03
    assert oklab(linear)[:, 0].max() < 0.87  # on white paper


def test_a_map_without_labels() -> None:
    figure = latent_map(POINTS)
    (group,) = offsets(figure)
    np.testing.assert_array_equal(group, POINTS)
    assert figure.axes[0].get_legend() is None


def test_a_density_for_each_class() -> None:
    figure = latent_density(POINTS, LABELS, names=("principal axis 1", "principal axis 2"))
    titles = [ax.get_title() for ax in figure.axes]
    assert titles == ["0", "3", "7"]
    for n, label in enumerate((0, 3, 7)):
        behind, own = offsets(figure, n)[:2]
        np.testing.assert_array_equal(behind, POINTS)
        np.testing.assert_array_equal(own, POINTS[label == LABELS])
        assert len(figure.axes[n].collections) == 3  # and the lines of equal density
    many = latent_density(np.random.default_rng(1).normal(size=(70, 2)), np.arange(70) % 7)
    assert [ax.get_title() for ax in many.axes if ax.axison] == [str(n) for n in range(7)]
    supx = figure._supxlabel  # type: ignore[attr-defined]
    assert supx.get_text() == "principal axis 1"


def test_classes_too_small_for_a_density_have_none() -> None:
    labels = np.array([0] * 117 + [1, 1, 2])
    figure = latent_density(POINTS, labels)
    assert [len(ax.collections) for ax in figure.axes] == [3, 2, 2]
    line = np.stack([np.arange(20.0), np.arange(20.0)], 1)
    assert len(latent_density(line, np.zeros(20, dtype=int)).axes[0].collections) == 2


def test_a_grid_of_the_plane() -> None:
    x, y = np.array([-2.0, 0.0, 1.5, 2.0]), np.array([1.0, 0.5, -1.0])
    figure = latent_grid(IMAGES, x, y, names=("a", "b"), title="plane")
    ax = figure.axes[0]
    np.testing.assert_array_equal(ax.images[0].get_array(), montage(IMAGES, 4, padding=0))
    assert [one.get_text() for one in ax.get_xticklabels()] == ["-2", "0", "1.5", "2"]
    assert [one.get_text() for one in ax.get_yticklabels()] == ["1", "0.5", "-1"]
    np.testing.assert_allclose(ax.get_xticks(), [1.5, 5.5, 9.5, 13.5])  # the middles of images of 4 pixels
    np.testing.assert_allclose(ax.get_yticks(), [2.5, 8.5, 14.5])
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ("a", "b", "plane")
    with pytest.raises(DataError, match="3 x 3 images, got 12"):
        latent_grid(IMAGES, x[:3], y)


def test_traversals() -> None:
    figure = latent_traversals(IMAGES.reshape(3, 4, 1, 6, 4), [-1, 0, 1, 2.5], ["a", "b", "c"])
    ax = figure.axes[0]
    np.testing.assert_array_equal(ax.images[0].get_array(), montage(IMAGES, 4, fill=0.35))
    assert [one.get_text() for one in ax.get_xticklabels()] == ["-1", "0", "1", "2.5"]
    assert [one.get_text() for one in ax.get_yticklabels()] == ["a", "b", "c"]
    with pytest.raises(DataError, match=r"images \(dimensions, 4, C, H, W\)"):
        latent_traversals(IMAGES, [-1, 0, 1, 2])


def test_a_map_of_clusters() -> None:
    figure = cluster_map(POINTS, MEMBERS, outliers={3: "image 3", 119: "image 119"})
    noise, first, second, *circles = offsets(figure)
    np.testing.assert_array_equal(noise, POINTS[100:])
    np.testing.assert_array_equal(first, POINTS[:60])
    np.testing.assert_array_equal(second, POINTS[60:100])
    np.testing.assert_array_equal(np.concatenate(circles), POINTS[[3, 119]])
    assert legend(figure) == ["noise (17%)", "A (60)", "B (40)"]
    assert texts(figure) == ["A", "B", "image 3", "image 119"]


def test_lines_from_outliers_to_the_nearest_clusters() -> None:
    figure = cluster_map(POINTS, MEMBERS, outliers={3: "image 3"}, nearest={3: 1})
    (line,) = figure.axes[0].lines
    np.testing.assert_allclose(np.asarray(line.get_data()).T, [POINTS[3], np.median(POINTS[60:100], axis=0)])
    with pytest.raises(DataError, match="numbers of clusters from 0 to 1"):
        cluster_map(POINTS, MEMBERS, nearest={3: 2})


def test_clusters_with_their_images() -> None:
    from matplotlib.offsetbox import AnnotationBbox

    centroids = np.array([[1.0, 2.0], [9.0, 9.0]])
    figure = cluster_map(POINTS, MEMBERS, centroids=centroids, images=IMAGES[:2])
    boxes = [one for one in figure.axes[0].artists if isinstance(one, AnnotationBbox)]
    assert [tuple(box.xy) for box in boxes] == [(1.0, 2.0), (9.0, 9.0)]
    shown = np.asarray(boxes[1].offsetbox.get_data())  # type: ignore[attr-defined]
    np.testing.assert_allclose(shown / 255, IMAGES[1, 0], atol=0.5 / 255)


def test_noise_alone_and_many_clusters() -> None:
    figure = cluster_map(POINTS, np.full(120, -1))
    assert legend(figure) == ["noise (100%)"]
    many = cluster_map(POINTS, np.arange(120) // 10)
    assert texts(many) == list("ABCDEFGHIJKL")
    assert len(legend(many)) == 11  # the two smallest share a colour and have no line


def test_a_confusion_matrix() -> None:
    counts = np.array([[8, 2, 0], [1, 9, 0], [0, 0, 0]])
    figure = confusion_matrix(counts, [0, 1, 5], title="forest")
    ax = figure.axes[0]
    np.testing.assert_allclose(ax.images[0].get_array(), [[0.8, 0.2, 0], [0.1, 0.9, 0], [0, 0, 0]])
    assert {(int(one.get_position()[1]), int(one.get_position()[0])): one.get_text() for one in ax.texts} == {
        (0, 0): "8",
        (0, 1): "2",
        (1, 0): "1",
        (1, 1): "9",
    }
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ("predicted", "true", "forest")
    assert [one.get_text() for one in ax.get_yticklabels()] == ["0", "1", "5"]


def test_counts_as_a_tensor_and_shares() -> None:
    ax = confusion_matrix(torch.tensor([[8, 2], [1, 12345678]]), torch.arange(2)).axes[0]
    assert texts(ax.figure) == ["8", "2", "1", "12345678"]  # type: ignore[arg-type]
    assert [one.get_text() for one in ax.get_xticklabels()] == ["0", "1"]
    assert texts(confusion_matrix(np.array([[0.25, 0.75], [1, 0]]), ["a", "b"])) == ["0.25", "0.75", "1"]


@pytest.mark.parametrize("letters", [5, 20, 40])
@pytest.mark.parametrize("k", [2, 10])
def test_long_names_of_classes_are_turned_and_whole(letters: int, k: int) -> None:
    names = [f"{number}{'w' * (letters - 1)}" for number in range(k)]
    figure = confusion_matrix(np.eye(k, dtype=int), names)
    figure.draw_without_rendering()
    ax = figure.axes[0]
    page = figure.bbox
    below, beside = ax.get_xticklabels(), ax.get_yticklabels()
    boxes = [one.get_window_extent() for one in (*below, *beside, ax.xaxis.label, ax.yaxis.label)]
    assert all(page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1 for box in boxes)
    assert [one.get_text() for one in below] == [one.get_text() for one in beside] == names
    # Turned by 45 degrees they are parallel: what is between two of them is the way between two columns, seen askew.
    assert {one.get_rotation() for one in below} == {45.0}
    between = ax.transData.transform((1, 0))[0] - ax.transData.transform((0, 0))[0]
    height = min(one.get_window_extent().height for one in beside)
    assert between * math.sin(math.radians(45)) > height
    rows = sorted((one.get_window_extent() for one in beside), key=lambda box: box.y0)
    assert all(low.y1 < high.y0 for low, high in itertools.pairwise(rows))


@pytest.mark.parametrize("name", ["$\\frac$", "$a_{$", "$5^2$", "5 $", "a\nb $x$", "w" * 200, "<b>"])
def test_any_name_of_a_class_can_be_drawn(name: str) -> None:
    names, rng = [name, "other"], np.random.default_rng(0)
    points, labels = rng.standard_normal((40, 2)), np.arange(40) % 2
    shares = rng.dirichlet([1, 1], 40)
    for figure in (
        confusion_matrix(np.eye(2, dtype=int), names),
        latent_map(points, labels, class_names=names),
        latent_density(points, labels, class_names=names),
        roc_curves(labels, shares, [0, 1], class_names=names),
        class_bars({"a": {0: 1.0, 1: 2.0}}, "x", class_names=names),
    ):
        figure.draw_without_rendering()
        boxes = [ax.get_window_extent() for ax in figure.axes]
        assert sum(box.width for box in boxes) > 0.2 * figure.bbox.width


def test_short_names_of_classes_are_not_turned() -> None:
    ax = confusion_matrix(np.eye(3), ["coat", "bag", 10]).axes[0]
    assert {one.get_rotation() for one in ax.get_xticklabels()} == {0.0}


def test_roc_curves_are_scikit_learns() -> None:
    from sklearn.metrics import roc_auc_score, roc_curve

    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, 60)
    scores = rng.dirichlet(np.ones(4), 60)
    figure = roc_curves(labels, scores, [0, 1, 2, 3])
    lines = figure.axes[0].lines
    assert len(lines) == 3 + 2  # no label is 3; the micro average and the diagonal
    x, y, _ = roc_curve(labels == 1, scores[:, 1])
    np.testing.assert_allclose(lines[1].get_xdata(), x)
    np.testing.assert_allclose(lines[1].get_ydata(), y)
    area = roc_auc_score(labels == 1, scores[:, 1])
    assert legend(figure)[1] == f"1: {area:.3f}"
    hits = labels[:, None] == np.arange(4)
    assert legend(figure)[3] == f"micro: {roc_auc_score(hits.ravel(), scores.ravel()):.3f}"


def test_bars_by_class() -> None:
    figure = class_bars({"5": {0: 1.0, 1: 2.0}, "10": {0: 0.5, 2: 3.0}}, "MSE", title="sizes")
    ax = figure.axes[0]
    heights = [[bar.get_height() for bar in group] for group in ax.containers]  # type: ignore[attr-defined]
    np.testing.assert_array_equal(heights, [[1, 2, math.nan], [0.5, math.nan, 3]])
    assert [one.get_text() for one in ax.get_xticklabels()] == ["0", "1", "2"]
    assert legend(figure) == ["5", "10"]
    assert (ax.get_ylabel(), ax.get_title()) == ("MSE", "sizes")
    infinite = class_bars({"all": {0: math.inf, 3: 1.0}}, "PSNR, dB").axes[0]  # of exact reconstructions
    assert [bar.get_height() for bar in infinite.containers[0]][1:] == [1.0]  # type: ignore[attr-defined]
    assert [one.get_text() for one in infinite.get_xticklabels()] == ["0", "3"]
    alone = class_bars({"all": {3: 1.0}}, "MSE")
    assert alone.axes[0].get_legend() is None
    assert alone.axes[0].get_title() == "all"


def test_examples_of_errors() -> None:
    made = IMAGES.flip(3)
    errors = torch.arange(12) / 10
    figure = error_examples(IMAGES, made, errors, {"lowest": [0, 1, 2], "highest": [11, 10]})
    low, high = figure.axes
    np.testing.assert_array_equal(low.images[0].get_array(), montage(torch.cat([IMAGES[:3], made[:3]]), 3, fill=0.35))
    np.testing.assert_array_equal(
        high.images[0].get_array(), montage(torch.cat([IMAGES[[11, 10]], made[[11, 10]]]), 2, fill=0.35)
    )
    assert [one.get_text() for one in high.get_xticklabels()] == ["1.1", "1"]
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["lowest", "highest"]


@pytest.mark.parametrize("value", [1.0, 40.0, -3e-5, 1e-310, 7e300, 0.0])
@pytest.mark.parametrize("apart", [0.0, 1e-16, 2.3e-16, 1e-12])
def test_a_histogram_of_values_a_rounding_apart(value: float, apart: float) -> None:
    numbers = np.array([value, value * (1 + apart) + 5e-324] * 5)
    (ax,) = histogram(numbers, "dB").axes
    low, high = ax.get_xlim()
    assert low < numbers.min() <= numbers.max() < high
    assert sum(patch.get_height() for patch in ax.patches) == 10


def test_a_histogram() -> None:
    values = np.array([*np.linspace(10, 20, 200), math.inf, math.inf])
    figure = histogram(values, "PSNR, dB", title="a")
    ax = figure.axes[0]
    assert sum(bar.get_height() for bar in ax.patches) == 200  # type: ignore[attr-defined]
    assert ax.get_title() == "a; 2 of 202 infinite"
    assert legend(figure) == ["mean 15"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("PSNR, dB", "images")
    assert "3 of 3 infinite" in histogram([math.inf] * 3, "dB").axes[0].get_title()  # type: ignore[arg-type]


ALL: dict[str, Callable[..., Figure]] = {
    "latent_map": lambda **how: latent_map(POINTS, LABELS, **how),
    "latent_density": lambda **how: latent_density(POINTS, LABELS, **how),
    "latent_grid": lambda **how: latent_grid(IMAGES, range(4), range(3), **how),
    "latent_traversals": lambda **how: latent_traversals(IMAGES.reshape(3, 4, 1, 6, 4), range(4), **how),
    "cluster_map": lambda **how: cluster_map(POINTS, MEMBERS, **how),
    "confusion_matrix": lambda **how: confusion_matrix(np.eye(3), range(3), **how),
    "roc_curves": lambda **how: roc_curves([0, 1, 0], np.eye(2)[[0, 1, 1]], [0, 1], **how),
    "class_bars": lambda **how: class_bars({"a": {1: 2.0}}, "MSE", **how),
    "error_examples": lambda **how: error_examples(IMAGES, IMAGES, np.arange(12), {"a": [1, 2]}, **how),
    "histogram": lambda **how: histogram(np.arange(9.0), "SSIM", **how),
    "rate_distortion": lambda **how: rate_distortion([1.0, 4.0], [20.0, 9.0], [80.0, 95.0], **how),
}


def settings() -> dict[str, Any]:
    """All but the backend, which matplotlib itself chooses when it is first asked."""
    return {name: value for name, value in dict.items(mpl.rcParams) if name != "backend"}


@pytest.mark.parametrize("name", ALL)
def test_every_figure_draws_where_it_is_told_and_leaves_matplotlib_alone(name: str) -> None:
    assert name in plotting.__all__
    before = settings()
    new = ALL[name]()
    assert isinstance(new, Figure)
    new.canvas.draw()
    whole = Figure(layout="constrained", figsize=(12, 6))
    left, right = whole.subfigures(1, 2)
    assert ALL[name](figure=right) is whole
    assert right.axes
    assert not left.axes
    whole.canvas.draw()
    assert settings() == before
    import matplotlib.pyplot as plt

    assert plt.get_fignums() == []


@pytest.mark.parametrize(
    "bad",
    [
        lambda: latent_map(np.zeros((4, 3))),
        lambda: latent_map(np.zeros((0, 2))),
        lambda: latent_map(np.array([[0.0, np.nan]])),
        lambda: latent_map(POINTS, LABELS[:5]),
        lambda: cluster_map(POINTS, MEMBERS[:5]),
        lambda: cluster_map(POINTS, MEMBERS, centroids=np.zeros((5, 2))),
        lambda: cluster_map(POINTS, MEMBERS, images=IMAGES[:5]),
        lambda: confusion_matrix(np.eye(3), range(4)),
        lambda: roc_curves([0, 1], np.eye(2), [0, 1, 2]),
        lambda: class_bars({}, "MSE"),
        lambda: error_examples(IMAGES, IMAGES[:3], np.arange(12), {"a": [1]}),
        lambda: error_examples(IMAGES, IMAGES, np.arange(12), {}),
        lambda: error_examples(IMAGES, IMAGES, np.arange(12), {"a": []}),
        lambda: histogram(np.array([1.0, np.nan]), "SSIM"),
        lambda: histogram(np.array([]), "SSIM"),
        lambda: histogram("abc", "SSIM"),
        lambda: histogram([[1.0], [1.0, 2.0]], "SSIM"),
        lambda: histogram(None, "SSIM"),
        *(lambda bad=bad: latent_map(bad) for bad in (None, 3, "abc", ["a"], {}, [[1.0, 2.0], [3.0]], POINTS * 1j)),
        lambda: latent_map(np.where(POINTS > 5, np.nan, POINTS), LABELS),
        lambda: latent_map(POINTS, [*LABELS.tolist(), 1]),
        lambda: latent_density(POINTS, LABELS[:5]),
        lambda: latent_density("abc", LABELS),
        *(
            lambda bad=bad: latent_grid(IMAGES, bad, range(3))
            for bad in (None, 3, "abcd", [], list("abcd"), [math.nan] * 4)
        ),
        lambda: latent_grid(None, range(4), range(3)),
        lambda: latent_grid(3, range(4), range(3)),
        *(
            lambda bad=bad: latent_traversals(TRAVERSED, bad)
            for bad in (None, 3, "abcd", [1, 2, 3], list("abcd"), [1, 2, 3, None])
        ),
        lambda: latent_traversals(TRAVERSED, [1, 2, 3, math.nan]),
        lambda: latent_traversals(None, range(4)),
        *(
            lambda bad=bad: cluster_map(POINTS, MEMBERS, outliers=bad)
            for bad in ({120: "a"}, {-1: "a"}, {"x": "a"}, {1.5: "a"}, {True: "a"}, ["a"], "a", 3, np.zeros(3))
        ),
        lambda: cluster_map(POINTS, MEMBERS - 1),
        lambda: cluster_map(POINTS, MEMBERS + 0.5),
        lambda: cluster_map(POINTS, np.full(120, 5)),
        lambda: cluster_map(POINTS, None),
        lambda: cluster_map(POINTS, MEMBERS, centroids="ab"),
        lambda: cluster_map(POINTS, MEMBERS, centroids=np.full((2, 2), np.nan)),
        lambda: confusion_matrix(np.full((2, 2), np.nan), range(2)),
        lambda: confusion_matrix(-np.eye(2), range(2)),
        lambda: confusion_matrix([[1, 2], [3]], range(2)),
        lambda: confusion_matrix(None, range(2)),
        lambda: roc_curves([0, 1], np.array([[0.5, 0.5], [np.nan, 1.0]]), [0, 1]),
        lambda: roc_curves([0, 1], np.array([[0.5, 0.5], [np.inf, 1.0]]), [0, 1]),
        lambda: roc_curves([0, 1], np.array([0.5, 0.5]), [0, 1]),
        lambda: roc_curves([0, 1], np.zeros((0, 2)), [0, 1]),
        lambda: roc_curves([0, 1], "abc", [0, 1]),
        lambda: roc_curves([0, 1, 1], np.eye(2), [0, 1]),
        lambda: roc_curves([0, 7], np.eye(2), [0, 1]),
        lambda: roc_curves([0, 1], np.eye(2), [1, 1]),
        lambda: roc_curves([0, 0], np.ones((2, 1)), [0]),
        *(lambda bad=bad: roc_curves([0, 1], np.eye(2), bad) for bad in (None, 3, "ab", ["a", "b"], [0.5, 1.0])),
        *(
            lambda bad=bad: class_bars(bad, "MSE")
            for bad in ({"a": {}}, None, 3, "abc", [1.0], {"a": 3}, {"a": None}, {"a": {0: math.nan}}, {"a": {0: "x"}})
        ),
        lambda: class_bars({"a": {0: 1.0, "x": 2.0}}, "MSE"),
        *(
            lambda bad=bad: error_examples(IMAGES, IMAGES, np.arange(12), bad)
            for bad in (
                None,
                3,
                "abc",
                [1],
                {"a": [12]},
                {"a": [-1]},
                {"a": [1.5]},
                {"a": "bc"},
                {"a": 3},
                {"a": [None]},
            )
        ),
        lambda: error_examples(IMAGES, IMAGES, np.arange(12), {"a": torch.arange(12) > 3}),  # a mask
        lambda: error_examples(IMAGES, IMAGES[:, :, :3], np.arange(12), {"a": [1]}),
        lambda: error_examples(IMAGES, IMAGES, ["a"] * 12, {"a": [1]}),
        lambda: error_examples(IMAGES, IMAGES, np.zeros((12, 2)), {"a": [1]}),
        lambda: error_examples(None, IMAGES, np.arange(12), {"a": [1]}),
    ],
)
def test_what_cannot_be_drawn(bad: Callable[[], Figure]) -> None:
    with pytest.raises(DataError, match=r"expected .* got "):
        bad()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (lambda: latent_traversals(TRAVERSED, range(4), ["a", "b"]), "expected 3 names of rows, got 2: pass a list"),
        (lambda: latent_traversals(TRAVERSED, range(4), list("abcd")), "expected 3 names of rows, got 4"),
        (lambda: latent_traversals(TRAVERSED, range(4), "abc"), "expected 3 names of rows, got a str"),
        (lambda: latent_traversals(TRAVERSED, range(4), 3), "expected 3 names of rows, got an int"),
        *(
            (lambda draw=draw: draw(names=["x"]), "names of axes, at least 2, got 1")
            for draw in (
                lambda **how: latent_map(POINTS, **how),
                lambda **how: latent_density(POINTS, LABELS, **how),
                lambda **how: latent_grid(IMAGES, range(4), range(3), **how),
                lambda **how: cluster_map(POINTS, MEMBERS, **how),
            )
        ),
        (lambda: latent_map(POINTS, names=None), "names of axes, at least 2, got None"),
        (lambda: confusion_matrix(np.eye(2), None), "names of classes, at least 1, got None"),
        (lambda: confusion_matrix(np.zeros((0, 0)), []), "names of classes, at least 1, got 0"),
        (lambda: confusion_matrix(np.eye(2), "ab"), "names of classes, at least 1, got a str"),
        (lambda: latent_map(POINTS, title=POINTS), "title as a text, got an ndarray"),
        (lambda: latent_grid(IMAGES, range(4), range(3), title=POINTS), "title as a text, got an ndarray"),
        (lambda: sample_grid(IMAGES, title=POINTS), "title as a text, got an ndarray"),
        (lambda: histogram(np.arange(9.0), "SSIM", title=POINTS), "title as a text, got an ndarray"),
        (lambda: latent_map(POINTS, figure=3), "figure as a matplotlib Figure or SubFigure, got an int: leave it out"),
        (lambda: png_bytes("figure"), "a matplotlib Figure, got a str"),
        *((lambda bad=bad: sample_grid(IMAGES, columns=bad), "columns of at least 1") for bad in ("3", 2.5, 0, [3])),
        *((lambda bad=bad: loss_curves(bad), "a history of at least one epoch") for bad in (None, 3, "abc", {}, [])),
        (lambda: loss_curves([3]), "records with a number as 'epoch', got an int"),
        (lambda: loss_curves([{"loss": 1.0}]), "records with a number as 'epoch', got None"),
        (lambda: loss_curves([{"epoch": 1, "loss": "low"}]), "records with a number as 'loss', got 'low'"),
        (lambda: summary_figure(IMAGES, IMAGES, history=3), "a history of at least one epoch, got an int"),
    ],
)
def test_settings_of_figures_that_make_no_sense(bad: Callable[[], object], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        bad()


def test_numbers_of_examples_and_the_unit_of_a_traversal() -> None:
    figure = error_examples(IMAGES, IMAGES, np.arange(12) / 10, {"worst": [11, 3]}, numbered=True)
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["1.1\nno. 11", "0.3\nno. 3"]
    assert figure.axes[0].get_xlabel() == "squared error, and number of the image"
    rows = np.broadcast_to(IMAGES[:6].reshape(2, 3, *IMAGES.shape[1:]), (2, 3, *IMAGES.shape[1:]))
    assert latent_traversals(rows, [-1, 0, 1], unit="sigma").axes[0].get_xlabel() == "sigma"
    assert latent_traversals(rows, [-1, 0, 1]).axes[0].get_xlabel() == "value"


def test_bars_have_errors_and_decibels_are_points() -> None:
    scores, errors = {"all": {0: 20.0, 1: 26.0}}, {"all": {0: 0.5, 1: 0.25}}
    bars = class_bars(scores, "MSE", errors=errors).axes[0]
    assert [bar.get_height() for bar in bars.patches] == [20.0, 26.0]
    (segments,) = [one.get_segments() for one in bars.collections]  # type: ignore[attr-defined]
    assert [tuple(line[:, 1]) for line in segments] == [(19.5, 20.5), (25.75, 26.25)]
    assert bars.get_ylabel() == "MSE, with standard error"
    points = class_bars(scores, "PSNR, dB", errors=errors, from_zero=False).axes[0]
    assert not points.patches
    assert points.get_ylim()[0] > 15  # not from 0 dB


def test_groups_differ_in_colour_in_grey_and_in_their_marks() -> None:
    groups = {f"latent size {n}": {0: 1.0} for n in (5, 10, 20, 40)}
    colours = [np.array(bar.get_facecolor()[:3]) for bar in class_bars(groups, "MSE").axes[0].patches]
    grey = [float(colour @ (0.299, 0.587, 0.114)) for colour in colours]
    for one, two in itertools.combinations(range(4), 2):
        assert np.linalg.norm(colours[one] - colours[two]) > 0.4
        assert abs(grey[one] - grey[two]) > 0.05
    lines = [one.lines[0] for one in class_bars(groups, "PSNR, dB", from_zero=False).axes[0].containers]  # type: ignore[attr-defined]
    assert len({line.get_marker() for line in lines}) == 4


def test_names_of_classes_stand_in_every_figure_of_classes() -> None:
    names = [f"kind {n}" for n in range(8)]
    wanted = {"kind 0", "kind 3", "kind 7"}
    chosen = np.eye(3)[np.searchsorted([0, 3, 7], LABELS)]
    figures = [
        latent_map(POINTS, LABELS, class_names=names),
        latent_density(POINTS, LABELS, class_names=names),
        roc_curves(LABELS, chosen, [0, 3, 7], class_names=names),
        class_bars({"MSE": {7: 1.0, 0: 2.0, 3: 0.5}}, "MSE", class_names=names),
        summary_figure(IMAGES, IMAGES, confusion=np.eye(3), classes=np.array([0, 3, 7]), class_names=names),
    ]
    for figure in figures:
        texts = {text.get_text().partition(":")[0] for text in figure.findobj(mpl.text.Text)}  # type: ignore[union-attr]
        assert wanted <= texts
        assert not {"0", "3", "7"} & texts or figure is figures[3]
    bars = class_bars({"MSE": {"zebra": 1.0, "ape": 2.0}}, "MSE").axes[0]  # type: ignore[dict-item]
    assert [text.get_text() for text in bars.get_xticklabels()] == ["zebra", "ape"]


def test_names_of_axes_have_room_where_equal_scales_bring_longer_numbers() -> None:
    points = torch.stack([torch.linspace(-2.4, 2.0, 60), torch.linspace(-0.52, 0.3, 60)], 1)
    figure = plotting.latent_map(points, torch.arange(60) % 10, names=("principal axis 1", "principal axis 2"))
    stream = io.BytesIO()
    figure.savefig(stream)
    edge = np.asarray(Image.open(stream).convert("L"))[:, 0]
    assert (edge > 250).all()


def test_values_of_a_sweep_are_ticks_in_few_digits() -> None:
    values = [0.374661, 256, 1024]
    figure = plotting.score_lines(values, {"a": [1, 2, 3]}, setting="width", unit="nats")
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["0.375", "256", "1024"]


@pytest.mark.parametrize("values", [[0, 0.1, 0.3, 1, 3, 10], [10, 0, 0.1], [1, 1.001, 50]])
def test_values_of_a_sweep_that_lie_close_have_room(values: list[float]) -> None:
    figure = plotting.score_lines(values, {"a": list(range(len(values)))}, setting="beta", unit="nats")
    figure.canvas.draw()
    ticks = [
        tick.label1.get_window_extent() for tick in figure.axes[0].xaxis.get_major_ticks() if tick.label1.get_text()
    ]
    ticks.sort(key=lambda box: box.x0)
    assert all(a.x1 < b.x0 for a, b in itertools.pairwise(ticks))
    (line,) = [line for line in figure.axes[0].lines if len(line.get_xdata()) == len(values)]
    order = sorted(range(len(values)), key=values.__getitem__)
    assert list(line.get_ydata()) == order
