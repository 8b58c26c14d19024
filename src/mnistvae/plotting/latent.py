"""The latent space: points, densities, and grids of the images that are decoded there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from mnistvae._checks import check_numbers
from mnistvae.arrays import ArrayLike
from mnistvae.errors import DataError
from mnistvae.images import as_pixels, montage
from mnistvae.labels import Labels, as_labels
from mnistvae.plotting._figure import (
    as_texts,
    figure_or_new,
    has_title,
    new_axes,
    root_figure,
    set_title,
    show_montage,
    show_pixels,
    simplify,
)
from mnistvae.plotting._points import (
    as_points,
    class_colour,
    class_legend,
    class_marker,
    class_text,
    draw_label,
    draw_points,
    point_size,
    spread_out,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, FigureBase

__all__ = ["latent_density", "latent_grid", "latent_map", "latent_traversals"]

#: Lines of equal density: the share of a class that they hold, and their widths in points.
_HELD = (("90 % of a class", 0.8), ("50 % of a class", 1.6))
#: Ticks of an axis of images.
_TICKS = 8
#: Least distance of two names, as a share of the map.
_APART = 0.06


def latent_map(
    points: ArrayLike,
    labels: Labels | None = None,
    *,
    class_names: Sequence[str] | None = None,
    names: Sequence[str] = ("dimension 1", "dimension 2"),
    title: str | None = None,
    figure: FigureBase | None = None,
) -> Figure:
    """Draw points of the plane, in a colour and shape a class, with the name of each class near its points' median.

    Both axes have the same scale. Names that would lie on each other are moved apart.

    Args:
        points: Points (N, 2).
        labels: Classes of the points, (N,).
        class_names: Names of the classes by their numbers (default: the numbers), as an ImageDataset has them.
        names: Names of the axes.
        title: Title above the figure.
        figure: Figure or subfigure to draw into (default: a new one).

    Raises:
        DataError: If points have another shape or are not finite, or if there is another number of labels.
        SettingError: If there are fewer than two names.
    """
    rows = as_points(points)
    across, up, *_ = as_texts(names, "axes", least=2)
    ax = new_axes(figure, 6.4, 5.2)
    size = point_size(len(rows))
    if labels is None:
        draw_points(ax, rows, size, class_colour(0), alpha=0.5)
    else:
        classes = as_labels(labels, len(rows)).cpu().numpy()
        present = np.unique(classes)
        medians = np.stack([np.median(rows[classes == label], axis=0) for label in present])
        places = spread_out(medians, _APART * float(np.ptp(rows, axis=0).max()))
        for number, (label, place) in enumerate(zip(present, places, strict=True)):
            name = class_text(label, class_names)
            style = {"marker": class_marker(number), "alpha": 0.6, "label": name}
            draw_points(ax, rows[classes == label], size, class_colour(number), **style)
            draw_label(ax, place, name)
        class_legend(ax, "class", len(present))
    simplify(ax)
    ax.set(xlabel=across, ylabel=up)
    ax.set_aspect("equal", adjustable="datalim")
    set_title(ax, title)
    return root_figure(ax)


def latent_density(
    points: ArrayLike,
    labels: Labels,
    *,
    class_names: Sequence[str] | None = None,
    names: Sequence[str] = ("dimension 1", "dimension 2"),
    figure: FigureBase | None = None,
) -> Figure:
    """Draw a panel for each class: its points, and lines of equal density around them.

    The density is a Gaussian kernel estimate (scipy's ``gaussian_kde``, Scott's rule); its lines hold half and nine
    tenths of the points. A class of fewer than five points, or of points on a line, has no lines.

    Args:
        points: Points (N, 2).
        labels: Classes of the points, (N,).
        class_names: Names of the classes by their numbers (default: the numbers), as an ImageDataset has them.
        names: Names of the axes.
        figure: Figure or subfigure to draw into (default: a new one).

    Raises:
        DataError: If points have another shape or are not finite, or if there is another number of labels.
        SettingError: If there are fewer than two names.
    """
    rows = as_points(points)
    across, up, *_ = as_texts(names, "axes", least=2)
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
        draw_points(ax, rows, 1, "0.85")
        draw_points(ax, own, 2, class_colour(number), alpha=0.6)
        _draw_contours(ax, own, low - pad, high + pad)
        ax.set_title(class_text(present[number], class_names), fontsize=10)
        ax.set(xlim=(low[0] - pad[0], high[0] + pad[0]), ylim=(low[1] - pad[1], high[1] + pad[1]))
        simplify(ax)
        ax.label_outer()
    fig.supxlabel(across, fontsize=10)
    fig.supylabel(up, fontsize=10)
    handles = [Line2D([], [], color="black", linewidth=width, label=text) for text, width in _HELD]
    fig.legend(handles=handles, title="lines that hold", loc="outside right center", frameon=False, fontsize=9)
    return root_figure(fig)


def latent_grid(
    images: ArrayLike,
    x: Sequence[float] | NDArray[Any],
    y: Sequence[float] | NDArray[Any],
    *,
    names: tuple[str, str] = ("latent dimension 1", "latent dimension 2"),
    title: str | None = None,
    figure: FigureBase | None = None,
) -> Figure:
    """Draw images decoded over a grid of the plane, with the coordinates of rows and columns.

    Args:
        images: Images (rows * columns, C, H, W), row by row, the top row first.
        x: Coordinates of the columns, from left to right.
        y: Coordinates of the rows, from top to bottom.
        names: Names of the axes.
        title: Title above the figure.
        figure: Figure or subfigure to draw into (default: a new one).

    Raises:
        DataError: If the number of images is not that of the grid, or coordinates are not finite numbers.
        SettingError: If there are fewer than two names.
    """
    across, up, *_ = as_texts(names, "axes", least=2)
    columns, rows = (
        check_numbers(f"coordinates {name} that are finite numbers, at least one", values, error=DataError)
        for name, values in (("x", x), ("y", y))
    )
    pixels = as_pixels(images)
    if len(pixels) != len(columns) * len(rows):
        raise DataError(f"{len(rows)} x {len(columns)} images", str(len(pixels)), "pass a row of images for each y")
    height, width = pixels.shape[-2:]
    above = 0.9 if has_title(title) else 0.6
    ax = new_axes(figure, 0.42 * len(columns) + 0.9, 0.42 * len(rows) * height / width + above)
    show_pixels(ax, montage(pixels, len(columns), padding=0))
    for coordinates, size, set_ticks in ((columns, width, ax.set_xticks), (rows, height, ax.set_yticks)):
        shown, places = _round_ticks(np.asarray(coordinates))
        set_ticks([size * (place + 0.5) - 0.5 for place in places], [f"{value:g}" for value in shown], fontsize=8)
    ax.set(xlabel=across, ylabel=up)
    set_title(ax, title)
    return root_figure(ax)


def _round_ticks(coordinates: NDArray[np.float64]) -> tuple[list[float], list[float]]:
    """Return round numbers between coordinates in order, and their places, counted in coordinates from the first.

    A few coordinates are returned as they are.
    """
    steps = np.diff(coordinates)
    if len(coordinates) <= _TICKS or not ((steps > 0).all() or (steps < 0).all()):
        return coordinates.tolist(), list(range(len(coordinates)))
    low, high = float(coordinates.min()), float(coordinates.max())
    ticks = [tick for tick in np.round(MaxNLocator(_TICKS).tick_values(low, high), 12).tolist() if low <= tick <= high]
    order = np.argsort(coordinates)
    return ticks, np.interp(ticks, coordinates[order], order.astype(float)).tolist()


def latent_traversals(
    images: ArrayLike,
    values: Sequence[float],
    names: Sequence[str] | None = None,
    *,
    unit: str = "value",
    figure: FigureBase | None = None,
) -> Figure:
    """Draw a row of images for each latent dimension, decoded as its value changes.

    Args:
        images: Images (dimensions, values, C, H, W).
        values: Values of the dimension in a row.
        names: Names of the rows (default: the numbers of the dimensions).
        unit: Unit of the values.
        figure: Figure or subfigure to draw into (default: a new one).

    Raises:
        DataError: If images have another shape, or values are not finite numbers.
        SettingError: If there is another number of names than of rows.
    """
    heads = check_numbers("values that are finite numbers, at least one", values, error=DataError)
    if getattr(images, "ndim", 0) != 5 or images.shape[1] != len(heads):
        raise DataError(
            f"images (dimensions, {len(heads)}, C, H, W)",
            f"shape {tuple(getattr(images, 'shape', ()))}",
            "pass what analysis.traverse gave, and the values of a row",
        )
    rows, columns, height, width = images.shape[0], len(heads), images.shape[-2], images.shape[-1]
    labels = as_texts(range(rows) if names is None else names, "rows", count=rows)
    flat = images.reshape(rows * columns, *images.shape[2:])
    ax = new_axes(figure, 0.55 * columns + 1.0, 0.55 * rows * height / width + 0.7)
    show_montage(ax, flat, columns, [f"{value:g}" for value in heads], labels, size=8)
    ax.set(xlabel=unit, ylabel="dimension")
    return root_figure(ax)


def _draw_contours(ax: Axes, own: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]) -> None:
    """Draw lines of equal density that hold half and nine tenths of the points."""
    if len(own) < 5 or np.linalg.matrix_rank(own - own.mean(0)) < 2:
        return
    from scipy.stats import gaussian_kde

    few = own[:: max(1, len(own) // 1000)].T
    kernel = gaussian_kde(few)
    x, y = (np.linspace(low[n], high[n], 80) for n in range(2))
    density = kernel(np.stack(np.meshgrid(x, y)).reshape(2, -1)).reshape(80, 80)
    levels = np.unique(np.quantile(kernel(few), [0.1, 0.5]))
    ax.contour(x, y, density, levels=levels, colors="black", linewidths=[width for _, width in _HELD][: len(levels)])
