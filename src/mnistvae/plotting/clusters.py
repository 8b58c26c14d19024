"""Clusters on an embedding, their centroids, and what belongs to none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mnistvae.errors import DataError
from mnistvae.images import ArrayLike, as_pixels
from mnistvae.plotting._figure import CLASS_COLOURS, class_legend, figure_or_new, plain, point_size, whole
from mnistvae.plotting.latent import as_points, marked

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, FigureBase

__all__ = ["cluster_map"]

#: Clusters that have a colour of their own; the smaller ones share grey.
_COLOURED = len(CLASS_COLOURS)


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
        outliers: numbers of points, and what stands beside them.
        names: of the axes.
        figure: a figure or subfigure to draw into (default: a new one).

    Returns:
        The whole figure.

    Raises:
        DataError: other numbers of points, clusters or images.
    """
    rows = as_points(points)
    members = np.asarray(members)
    if members.shape != rows.shape[:1]:
        raise DataError(f"a cluster for each of {len(rows)} points", f"shape {members.shape}", "pass -1 for noise")
    count = int(members.max()) + 1
    if centroids is None:
        centroids = np.array([np.median(rows[members == k], axis=0) for k in range(count)]).reshape(-1, 2)
    places = np.asarray(centroids, dtype=np.float64)
    pictures = None if images is None or count == 0 else as_pixels(images)
    if places.shape != (count, 2) or (pictures is not None and len(pictures) != count):
        got = f"{places.shape}" if pictures is None else f"{places.shape} and {len(pictures)} images"
        raise DataError(f"{count} centroids and images, one for each cluster", got)
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
    for place, (number, text) in enumerate((outliers or {}).items()):
        ax.scatter(rows[number, 0], rows[number, 1], s=45, facecolors="none", edgecolors="black", linewidths=1.2)
        angle = 2 * np.pi * place / len(outliers or {})  # outliers are often beside each other: their names are not
        ax.annotate(
            text,
            rows[number],
            xytext=(34 * np.cos(angle), 30 * np.sin(angle)),
            textcoords="offset points",
            fontsize=8,
            ha="center",
            va="center",
            arrowprops={"arrowstyle": "-", "linewidth": 0.6, "shrinkB": 3},
        )
    plain(ax)
    ax.set(xlabel=names[0], ylabel=names[1])
    class_legend(ax, "cluster (codes)", 1 + min(count, _COLOURED))
    return whole(fig)


def _picture(ax: Axes, pixels: NDArray[np.uint8], place: NDArray[np.float64], colour: str) -> None:
    """A small image at a point, in a frame of its cluster's colour."""
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    image = np.moveaxis(pixels, 0, -1)
    box = OffsetImage(
        image[..., 0] if image.shape[-1] == 1 else image,
        zoom=22 / max(image.shape[:2]),
        cmap="gray",
        interpolation="nearest",
    )
    ax.add_artist(
        AnnotationBbox(
            box, (float(place[0]), float(place[1])), pad=0.15, bboxprops={"edgecolor": colour, "linewidth": 1.5}
        )
    )
