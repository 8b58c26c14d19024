"""A map of clusters, their centroids, and the points that belong to none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.patheffects import withStroke
from matplotlib.transforms import offset_copy
from numpy.typing import NDArray

from mnistvae._checks import check_indices, check_mapping
from mnistvae.arrays import ArrayLike, as_numbers
from mnistvae.errors import DataError
from mnistvae.images import as_pixels
from mnistvae.labels import as_labels
from mnistvae.plotting._figure import as_texts, new_axes, root_figure, simplify
from mnistvae.plotting._names import PlacedNames
from mnistvae.plotting._points import (
    CLASS_COLOURS,
    as_points,
    class_legend,
    class_marker,
    draw_label,
    draw_points,
    point_size,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, FigureBase

__all__ = ["cluster_map", "cluster_name"]

#: Number of clusters that have a colour of their own; the smaller ones share grey.
_COLOURED = len(CLASS_COLOURS)
_REST = "0.35"
#: Width, or height, of a cluster's image in points.
_PICTURE = 22
#: Height in points of the letter above it.
_LETTER = 10


def cluster_map(
    points: ArrayLike,
    members: NDArray[np.int64],
    *,
    centroids: ArrayLike | None = None,
    images: ArrayLike | None = None,
    outliers: Mapping[int, str] | None = None,
    nearest: Mapping[int, int] | None = None,
    names: Sequence[str] = ("dimension 1", "dimension 2"),
    figure: FigureBase | None = None,
) -> Figure:
    """Draw points of the plane, coloured by cluster, with the clusters' letters or images, and outliers by name.

    Clusters have letters, A for the largest (:func:`cluster_name`), since a number would look like the class of its
    images. The ten largest clusters have colours; smaller ones are dark grey, and noise is light grey.

    Args:
        points: Points (N, 2).
        members: Number of each point's cluster, (N,); the largest cluster is 0, noise is -1.
        centroids: Places of the clusters' marks, (K, 2) (default: the medians of their points).
        images: Decoded centroids, (K, C, H, W), drawn in place of letters.
        outliers: Texts by number of point; they stand apart from each other as long as there is room.
        nearest: Number of the cluster, by number of point, to whose mark a line is drawn from the point.
        names: Names of the axes.
        figure: Figure or subfigure to draw into (default: a new one).

    Raises:
        DataError: If numbers of points, clusters and images do not fit, or an outlier is not one of the points.
        SettingError: If there are fewer than two names.
    """
    rows = as_points(points)
    across, up, *_ = as_texts(names, "axes", least=2)
    members = as_labels(members, len(rows)).cpu().numpy()
    if members.min() < -1:
        raise DataError("clusters numbered from 0, or -1 for noise", str(members.min()), "pass Clusters.members")
    count = int(members.max()) + 1
    places = _places(rows, members, count, centroids)
    pictures = None if images is None or count == 0 else as_pixels(images)
    if pictures is not None and len(pictures) != count:
        raise DataError(f"{count} images, one for each cluster", str(len(pictures)), "analysis.decode_centroids")
    named = _named_points(outliers, len(rows))
    ax = new_axes(figure, 6.8, 5.2)
    size, noise = point_size(len(rows)), members < 0
    draw_points(ax, rows[noise], size, "0.8", label=f"noise ({noise.mean():.0%})")
    for k in range(count):
        own = rows[members == k]
        label = f"{cluster_name(k)} ({len(own)})" if k < _COLOURED else None
        draw_points(ax, own, size, _colour(k), marker=class_marker(k) if k < _COLOURED else "o", alpha=0.6, label=label)
    for k in range(count):
        if pictures is None:
            draw_label(ax, places[k], cluster_name(k))
        else:
            _draw_image(ax, pictures[k], places[k], k)
    for point, cluster in _nearest(nearest, len(rows), count).items():
        ax.plot(*np.stack([rows[point], places[cluster]], 1), color="0.3", linewidth=0.7, linestyle=":", zorder=1.5)
    _draw_names(ax, rows, named, places)
    simplify(ax)
    ax.set(xlabel=across, ylabel=up)
    class_legend(ax, "cluster (codes)", 1 + min(count, _COLOURED))
    return root_figure(ax)


def cluster_name(k: int) -> str:
    """Return the letter of a cluster: A to Z, then AA, AB and so on.

    Args:
        k: Number of the cluster, from 0.

    Example:
        >>> cluster_name(0), cluster_name(25), cluster_name(26)
        ('A', 'Z', 'AA')
    """
    return (cluster_name(k // 26 - 1) if k >= 26 else "") + chr(ord("A") + k % 26)


def _colour(k: int) -> str:
    """Return the colour of a cluster."""
    return CLASS_COLOURS[k] if k < _COLOURED else _REST


def _places(
    rows: NDArray[np.float64], members: NDArray[np.int64], count: int, centroids: ArrayLike | None
) -> NDArray[np.float64]:
    """Return the places of the clusters' marks, (K, 2)."""
    if centroids is None:
        empty = np.setdiff1d(np.arange(count), members)
        if len(empty):
            raise DataError("a point in every cluster", f"none in cluster {empty[0]}", "pass the centroids")
        centroids = np.array([np.median(rows[members == k], axis=0) for k in range(count)]).reshape(-1, 2)
    return as_numbers(centroids, "centroids", (count, 2), fix="pass one for each cluster")


def _named_points(outliers: Mapping[int, str] | None, count: int) -> dict[int, str]:
    """Return the texts beside points, by the number of the point."""
    if outliers is None:
        return {}
    if not check_mapping("outliers as names by number of point", outliers, "such as {3: 'image 3'}", DataError):
        return {}
    numbers = check_indices(f"numbers of points from 0 to {count - 1}", list(outliers), count, error=DataError)
    return {number: str(text) for number, text in zip(numbers, outliers.values(), strict=True)}


def _nearest(nearest: Mapping[int, int] | None, points: int, clusters: int) -> dict[int, int]:
    """Return numbers of clusters by number of point."""
    given = check_mapping("numbers of clusters by number of point", nearest or {}, "such as {3: 0}", DataError)
    if not given:
        return {}
    rows = check_indices(f"numbers of points from 0 to {points - 1}", list(given), points, error=DataError)
    expected = f"numbers of clusters from 0 to {clusters - 1}"
    return dict(zip(rows, check_indices(expected, list(given.values()), clusters, error=DataError), strict=True))


def _draw_names(
    ax: Axes, rows: NDArray[np.float64], outliers: Mapping[int, str], centroids: NDArray[np.float64]
) -> None:
    """Draw circles around points, and a name beside each of them."""
    names = []
    for number, text in outliers.items():
        x, y = rows[number].tolist()
        ax.scatter(x, y, s=45, facecolors="none", edgecolors="black", linewidths=1.2)
        name = ax.annotate(
            text,
            (x, y),
            xytext=(0, 0),  # until it is drawn
            textcoords="offset points",
            fontsize=8,
            ha="center",
            va="center",
            path_effects=[withStroke(linewidth=2, foreground="white")],
            arrowprops={"arrowstyle": "-", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 4},
        )
        names.append(name)
    PlacedNames(ax, names, centroids, _PICTURE + 6 + _LETTER)


def _draw_image(ax: Axes, pixels: NDArray[np.uint8], place: NDArray[np.float64], k: int) -> None:
    """Draw a small image at a point, in a frame of its cluster's colour, and the cluster's letter above it."""
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    image = np.moveaxis(pixels, 0, -1)
    box = OffsetImage(
        image[..., 0] if image.shape[-1] == 1 else image,
        zoom=_PICTURE / max(image.shape[:2]),
        cmap="gray",
        interpolation="nearest",
    )
    frame, at = {"edgecolor": _colour(k), "linewidth": 1.5}, (float(place[0]), float(place[1]))
    ax.add_artist(AnnotationBbox(box, at, pad=0.15, bboxprops=frame))
    above = offset_copy(ax.transData, root_figure(ax), y=_PICTURE / 2 + 4, units="points")
    style: dict[str, Any] = {"ha": "center", "va": "bottom", "fontsize": _LETTER, "fontweight": "bold"}
    ax.text(*at, cluster_name(k), transform=above, path_effects=[withStroke(linewidth=2, foreground="white")], **style)
