"""The latent space: points, densities, and grids of what is decoded there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnistvae._checks import check_numbers
from mnistvae.arrays import ArrayLike, as_numbers
from mnistvae.errors import DataError
from mnistvae.images import Labels, as_labels, as_pixels, montage
from mnistvae.plotting._figure import (
    CLASS_COLOURS,
    called,
    class_legend,
    figure_or_new,
    has_title,
    plain,
    point_size,
    show,
    titled,
    whole,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, FigureBase

__all__ = ["latent_density", "latent_grid", "latent_map", "latent_traversals"]

_FILL = 0.35


def latent_map(
    points: ArrayLike,
    labels: Labels | None = None,
    *,
    names: Sequence[str] = ("dimension 1", "dimension 2"),
    title: str | None = None,
    figure: FigureBase | None = None,
) -> Figure:
    """Points of the plane, coloured by class; each class's number stands at its median, so that colour is not all.

    Args:
        points: (N, 2).
        labels: (N,).
        names: of the axes.
        title: above the figure.
        figure: a figure or subfigure to draw into (default: a new one).

    Returns:
        The whole figure.

    Raises:
        DataError: another shape, points that are not finite, or another number of labels.
        SettingError: fewer than two names.
    """
    rows = as_points(points)
    across, up, *_ = called("axes", names, least=2)
    fig = figure_or_new(figure, 6.4, 5.2)
    ax = fig.subplots()
    size = point_size(len(rows))
    if labels is None:
        ax.scatter(rows[:, 0], rows[:, 1], s=size, color=CLASS_COLOURS[0], alpha=0.5, linewidths=0, rasterized=True)
    else:
        classes = as_labels(labels, len(rows)).cpu().numpy()
        for number, label in enumerate(np.unique(classes)):
            own = rows[classes == label]
            colour = CLASS_COLOURS[number % len(CLASS_COLOURS)]
            ax.scatter(
                own[:, 0], own[:, 1], s=size, color=colour, alpha=0.6, linewidths=0, label=str(label), rasterized=True
            )
            marked(ax, np.median(own, axis=0), str(label))
        class_legend(ax, "class", len(np.unique(classes)))
    plain(ax)
    ax.set(xlabel=across, ylabel=up)
    titled(ax, title)
    return whole(fig)


def latent_density(
    points: ArrayLike,
    labels: Labels,
    *,
    names: Sequence[str] = ("dimension 1", "dimension 2"),
    figure: FigureBase | None = None,
) -> Figure:
    """For each class a panel: its points, and lines of equal density around them.

    The density is a Gaussian kernel estimate (scipy's ``gaussian_kde``, Scott's rule); its lines hold half and nine
    tenths of the points. A class of fewer than five points, or of points on a line, has no lines.

    Args:
        points: (N, 2).
        labels: (N,).
        names: of the axes.
        figure: a figure or subfigure to draw into (default: a new one).

    Returns:
        The whole figure.

    Raises:
        DataError: another shape, points that are not finite, or another number of labels.
        SettingError: fewer than two names.
    """
    rows = as_points(points)
    across, up, *_ = called("axes", names, least=2)
    classes = as_labels(labels, len(rows)).cpu().numpy()
    present = np.unique(classes)
    columns = min(5, len(present))
    lines = math.ceil(len(present) / columns)
    fig = figure_or_new(figure, 2.0 * columns + 0.6, 2.0 * lines + 0.5)
    axes = np.atleast_1d(fig.subplots(lines, columns, sharex=True, sharey=True)).reshape(lines, columns)
    low, high = np.quantile(rows, [0.001, 0.999], axis=0)
    pad = 0.08 * np.maximum(high - low, 1e-9)
    for number, ax in enumerate(axes.flat):
        if number >= len(present):
            ax.set_axis_off()
            continue
        own = rows[classes == present[number]]
        colour = CLASS_COLOURS[number % len(CLASS_COLOURS)]
        ax.scatter(rows[:, 0], rows[:, 1], s=1, color="0.85", linewidths=0, rasterized=True)
        ax.scatter(own[:, 0], own[:, 1], s=2, color=colour, alpha=0.6, linewidths=0, rasterized=True)
        _contours(ax, own, low - pad, high + pad)
        ax.set_title(f"{present[number]}", fontsize=10)
        ax.set(xlim=(low[0] - pad[0], high[0] + pad[0]), ylim=(low[1] - pad[1], high[1] + pad[1]))
        plain(ax)
        ax.label_outer()
    fig.supxlabel(across, fontsize=10)
    fig.supylabel(up, fontsize=10)
    return whole(fig)


def latent_grid(
    images: ArrayLike,
    x: Sequence[float] | NDArray[Any],
    y: Sequence[float] | NDArray[Any],
    *,
    names: tuple[str, str] = ("latent dimension 1", "latent dimension 2"),
    title: str | None = None,
    figure: FigureBase | None = None,
) -> Figure:
    """Images decoded over a grid of the plane, with the coordinates of rows and columns.

    Args:
        images: (rows * columns, C, H, W), row by row, the top row first.
        x: coordinates of the columns.
        y: coordinates of the rows, from top to bottom.
        names: of the axes.
        title: above the figure.
        figure: a figure or subfigure to draw into (default: a new one).

    Returns:
        The whole figure.

    Raises:
        DataError: another number of images than the coordinates make, or coordinates that are no finite numbers.
        SettingError: fewer than two names.
    """
    across, up, *_ = called("axes", names, least=2)
    columns, rows = (
        check_numbers(f"coordinates {name} that are finite numbers, at least one", values, error=DataError)
        for name, values in (("x", x), ("y", y))
    )
    pixels = as_pixels(images)
    if len(pixels) != len(columns) * len(rows):
        raise DataError(f"{len(rows)} x {len(columns)} images", str(len(pixels)), "pass a row of images for each y")
    height, width = pixels.shape[-2:]
    picture = montage(pixels, len(columns), padding=0)
    fig = figure_or_new(
        figure, 0.42 * len(columns) + 0.9, 0.42 * len(rows) * height / width + (0.9 if has_title(title) else 0.6)
    )
    ax = fig.subplots()
    show(ax, picture)
    for coordinates, size, setter in ((columns, width, ax.set_xticks), (rows, height, ax.set_yticks)):
        every = max(1, math.ceil(len(coordinates) / 8))
        shown = range(0, len(coordinates), every)
        setter([size * (n + 0.5) - 0.5 for n in shown], [f"{coordinates[n]:.3g}" for n in shown], fontsize=8)
    ax.set(xlabel=across, ylabel=up)
    ax.spines[:].set_visible(False)
    titled(ax, title)
    return whole(fig)


def latent_traversals(
    images: ArrayLike,
    values: Sequence[float],
    names: Sequence[str] | None = None,
    *,
    unit: str = "value",
    figure: FigureBase | None = None,
) -> Figure:
    """A row for each latent dimension: what changes in the image as its value does.

    Args:
        images: (dimensions, values, C, H, W).
        values: of a row.
        names: of the rows (default: the numbers of the dimensions).
        unit: what the values are.
        figure: a figure or subfigure to draw into (default: a new one).

    Returns:
        The whole figure.

    Raises:
        DataError: another shape, or values that are no finite numbers.
        SettingError: another number of names than of rows.
    """
    heads = check_numbers("values that are finite numbers, at least one", values, error=DataError)
    if getattr(images, "ndim", 0) != 5 or images.shape[1] != len(heads):
        raise DataError(
            f"images (dimensions, {len(heads)}, C, H, W)",
            f"shape {tuple(getattr(images, 'shape', ()))}",
            "pass what analysis.traverse gave, and the values of a row",
        )
    rows, columns, height, width = images.shape[0], len(heads), images.shape[-2], images.shape[-1]
    labels = called("rows", range(rows) if names is None else names, count=rows)
    flat = images.reshape(rows * columns, *images.shape[2:])
    fig = figure_or_new(figure, 0.55 * columns + 1.0, 0.55 * rows * height / width + 0.7)
    ax = fig.subplots()
    show(ax, montage(flat, columns, fill=_FILL))
    ax.set_xticks([1 + width / 2 + n * (width + 1) for n in range(columns)], [f"{value:g}" for value in heads])
    ax.set_yticks([1 + height / 2 + n * (height + 1) for n in range(rows)], labels)
    ax.tick_params(length=0, labelsize=8)
    ax.set(xlabel=unit, ylabel="dimension")
    ax.spines[:].set_visible(False)
    return whole(fig)


def as_points(points: ArrayLike) -> NDArray[np.float64]:
    """Points of the plane.

    Raises:
        DataError: another shape, NaN or infinity.
    """
    return as_numbers(points, "points", ("N", 2), fix="mnistvae.analysis.embed makes them of codes")


def _contours(ax: Axes, own: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]) -> None:
    """Lines of equal density that hold half and nine tenths of the points."""
    if len(own) < 5 or np.linalg.matrix_rank(own - own.mean(0)) < 2:
        return
    from scipy.stats import gaussian_kde

    kernel = gaussian_kde(own[:: max(1, len(own) // 1000)].T)
    x, y = (np.linspace(low[n], high[n], 80) for n in range(2))
    density = kernel(np.stack(np.meshgrid(x, y)).reshape(2, -1)).reshape(80, 80)
    at_points = kernel(own[:: max(1, len(own) // 1000)].T)
    levels = np.unique(np.quantile(at_points, [0.1, 0.5]))
    ax.contour(x, y, density, levels=levels, colors="black", linewidths=(0.8, 1.4)[: len(levels)])


def marked(ax: Axes, place: NDArray[np.float64], text: str) -> None:
    """A text that is read on any ground."""
    from matplotlib.patheffects import withStroke

    ax.text(
        float(place[0]),
        float(place[1]),
        text,
        ha="center",
        va="center",
        fontsize=11,
        fontweight="bold",
        color="black",
        path_effects=[withStroke(linewidth=3, foreground="white")],
    )
