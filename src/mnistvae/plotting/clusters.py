"""Clusters on an embedding, their centroids, and what belongs to none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mnistvae._checks import check_indices, check_mapping
from mnistvae.arrays import ArrayLike, as_numbers
from mnistvae.errors import DataError
from mnistvae.images import as_labels, as_pixels
from mnistvae.plotting._figure import CLASS_COLOURS, called, class_legend, figure_or_new, plain, point_size, whole
from mnistvae.plotting._names import PlacedNames
from mnistvae.plotting.latent import as_points, marked

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, FigureBase

__all__ = ["cluster_map"]

#: Clusters that have a colour of their own; the smaller ones share grey.
_COLOURED = len(CLASS_COLOURS)
#: Points that a cluster's image is wide, or high.
_PICTURE = 22


def cluster_map(
    points: ArrayLike,
    members: NDArray[np.int64],
    *,
    centroids: ArrayLike | None = None,
    images: ArrayLike | None = None,
    outliers: Mapping[int, str] | None = None,
    names: Sequence[str] = ("dimension 1", "dimension 2"),
    figure: FigureBase | None = None,
) -> Figure:
    """Points of the plane, coloured by cluster, with the clusters' numbers or images, and outliers by name.

    The ten largest clusters have colours; smaller ones are dark grey, and noise is light grey.

    Args:
        points: (N, 2).
        members: numbers of clusters, the largest cluster is 0; -1 is noise, (N,).
        centroids: (K, 2): where the clusters' marks stand (default: at the medians of their points).
        images: (K, C, H, W): decoded centroids, drawn in place of numbers.
        outliers: numbers of points, and what stands beside them, apart from each other as long as there is room.
        names: of the axes.
        figure: a figure or subfigure to draw into (default: a new one).

    Returns:
        The whole figure.

    Raises:
        DataError: other numbers of points, clusters or images, or outliers that are no points.
        SettingError: fewer than two names.
    """
    rows = as_points(points)
    across, up, *_ = called("axes", names, least=2)
    members = as_labels(members, len(rows)).cpu().numpy()
    if members.min() < -1:
        raise DataError("clusters numbered from 0, or -1 for noise", str(members.min()), "pass Clusters.members")
    count = int(members.max()) + 1
    if centroids is None:
        empty = np.setdiff1d(np.arange(count), members)
        if len(empty):
            raise DataError("a point in every cluster", f"none in cluster {empty[0]}", "pass the centroids")
        centroids = np.array([np.median(rows[members == k], axis=0) for k in range(count)]).reshape(-1, 2)
    places = as_numbers(centroids, "centroids", (count, 2), fix="pass one for each cluster")
    pictures = None if images is None or count == 0 else as_pixels(images)
    if pictures is not None and len(pictures) != count:
        raise DataError(f"{count} images, one for each cluster", str(len(pictures)), "analysis.decode_centroids")
    named = _points_named(outliers, len(rows))
    fig = figure_or_new(figure, 6.8, 5.2)
    ax = fig.subplots()
    size = point_size(len(rows))
    noise = members < 0
    ax.scatter(
        rows[noise, 0],
        rows[noise, 1],
        s=size,
        color="0.8",
        linewidths=0,
        label=f"noise ({noise.mean():.0%})",
        rasterized=True,
    )
    for k in range(count):
        own = rows[members == k]
        colour = CLASS_COLOURS[k] if k < _COLOURED else "0.35"
        label = f"{k} ({len(own)})" if k < _COLOURED else None
        ax.scatter(own[:, 0], own[:, 1], s=size, color=colour, alpha=0.6, linewidths=0, label=label, rasterized=True)
    for k in range(count):
        if pictures is None:
            marked(ax, places[k], str(k))
        else:
            _picture(ax, pictures[k], places[k], CLASS_COLOURS[k] if k < _COLOURED else "0.35")
    _named(ax, rows, named, places)
    plain(ax)
    ax.set(xlabel=across, ylabel=up)
    class_legend(ax, "cluster (codes)", 1 + min(count, _COLOURED))
    return whole(fig)


def _points_named(outliers: Mapping[int, str] | None, count: int) -> dict[int, str]:
    """What stands beside which of so many points."""
    if outliers is None:
        return {}
    if not check_mapping("outliers as names by number of point", outliers, "such as {3: 'image 3'}", DataError):
        return {}
    numbers = check_indices(f"numbers of points from 0 to {count - 1}", list(outliers), count, error=DataError)
    return {number: str(text) for number, text in zip(numbers, outliers.values(), strict=True)}


def _named(ax: Axes, rows: NDArray[np.float64], outliers: Mapping[int, str], centroids: NDArray[np.float64]) -> None:
    """Circles around points, and a name beside each of them."""
    from matplotlib.patheffects import withStroke

    names = []
    for number, text in outliers.items():
        ax.scatter(rows[number, 0], rows[number, 1], s=45, facecolors="none", edgecolors="black", linewidths=1.2)
        name = ax.annotate(
            text,
            (float(rows[number, 0]), float(rows[number, 1])),
            xytext=(0, 0),  # until it is drawn
            textcoords="offset points",
            fontsize=8,
            ha="center",
            va="center",
            path_effects=[withStroke(linewidth=2, foreground="white")],
            arrowprops={"arrowstyle": "-", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 4},
        )
        names.append(name)
    PlacedNames(ax, names, centroids, _PICTURE + 6)


def _picture(ax: Axes, pixels: NDArray[np.uint8], place: NDArray[np.float64], colour: str) -> None:
    """A small image at a point, in a frame of its cluster's colour."""
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    image = np.moveaxis(pixels, 0, -1)
    box = OffsetImage(
        image[..., 0] if image.shape[-1] == 1 else image,
        zoom=_PICTURE / max(image.shape[:2]),
        cmap="gray",
        interpolation="nearest",
    )
    ax.add_artist(
        AnnotationBbox(
            box, (float(place[0]), float(place[1])), pad=0.15, bboxprops={"edgecolor": colour, "linewidth": 1.5}
        )
    )
