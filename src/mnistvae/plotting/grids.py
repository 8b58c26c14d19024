"""Many images in one picture; each grid is a single montage, not an axes an image."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from mnistvae.arrays import ArrayLike
from mnistvae.errors import DataError
from mnistvae.images import as_pixels, grid_columns, montage
from mnistvae.plotting._figure import figure_or_new, has_title, show, titled, whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure, FigureBase

__all__ = ["reconstruction_grid", "sample_grid"]

_INCHES = 0.6  # an image's width in a figure
_LONGEST_ROW = 20  # originals in a row; more go into further pairs of rows
_FILL = 0.35  # grey between images: seen against black digits' ground and white paper


def sample_grid(
    images: ArrayLike,
    *,
    columns: int | None = None,
    title: str | None = None,
    figure: FigureBase | None = None,
) -> Figure:
    """Images in a grid, row by row.

    Args:
        images: (N, C, H, W) or (N, H, W), float in [0, 1] or uint8.
        columns: images in a row (default: a square).
        title: above the grid.
        figure: a figure or subfigure to draw into (default: a new one).

    Returns:
        The whole figure.

    Raises:
        DataError: no images, or values outside [0, 1].
        SettingError: columns below 1.

    Example:
        >>> figure = sample_grid(torch.rand(64, 1, 28, 28))
        >>> [ax.images[0].get_array().shape for ax in figure.axes]
        [(233, 233)]
    """
    picture = montage(images, columns, fill=_FILL)
    columns = grid_columns(len(images), columns)
    rows = math.ceil(len(images) / columns)
    fig = figure_or_new(figure, _INCHES * columns + 0.1, _INCHES * rows + (0.4 if has_title(title) else 0.1))
    ax = fig.subplots()
    show(ax, picture)
    ax.set_axis_off()
    titled(ax, title)
    return whole(fig)


def reconstruction_grid(
    originals: ArrayLike,
    reconstructions: ArrayLike | Mapping[str, ArrayLike],
    *,
    figure: FigureBase | None = None,
) -> Figure:
    """Originals in the top row, their reconstructions under them; more than 20 go into further groups of rows.

    Args:
        originals: (N, C, H, W) or (N, H, W), float in [0, 1] or uint8.
        reconstructions: the same number of images, of the same size; or several such, by what their row is called.
        figure: a figure or subfigure to draw into (default: a new one).

    Returns:
        The whole figure.

    Raises:
        DataError: different numbers or sizes, no images, or values outside [0, 1].

    Example:
        >>> x = torch.rand(10, 1, 28, 28)
        >>> figure = reconstruction_grid(x, {"MLP": x, "convolutions": x})
        >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
        ['original', 'MLP', 'convolutions']
    """
    named = reconstructions if isinstance(reconstructions, Mapping) else {"reconstruction": reconstructions}
    rows = {"original": as_pixels(originals)} | {name: as_pixels(images) for name, images in named.items()}
    shape = rows["original"].shape
    for row in rows.values():
        if row.shape != shape:
            raise DataError(
                f"as many reconstructions as originals, of one size: {shape}",
                str(row.shape),
                "pass the images that were reconstructed",
            )
    n, height = len(rows["original"]), shape[-2]
    columns = min(n, _LONGEST_ROW)
    # Groups of rows: the last one is filled up with the grey of the frame.
    empty = np.full((-n % columns, *shape[1:]), round(255 * _FILL), np.uint8)
    groups = [np.concatenate([row, empty]).reshape(-1, columns, *shape[1:]) for row in rows.values()]
    picture = montage(np.stack(groups, axis=1).reshape(-1, *shape[1:]), columns, fill=_FILL)
    labels = list(rows) * len(groups[0])
    fig = figure_or_new(figure, _INCHES * columns + 0.3 + 0.08 * max(map(len, rows)), len(labels) * _INCHES + 0.1)
    ax = fig.subplots()
    show(ax, picture)
    ax.set_xticks([])
    ax.set_yticks([1 + height / 2 + line * (height + 1) for line in range(len(labels))], labels, fontsize=9)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return whole(fig)
