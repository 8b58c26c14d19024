"""Grids of images, each drawn as a single picture, not as an axes for each image."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mnistvae.arrays import ArrayLike
from mnistvae.errors import DataError
from mnistvae.images import as_pixels, grid_columns
from mnistvae.plotting._figure import (
    GREY,
    NAME_SIZE,
    as_texts,
    has_title,
    new_axes,
    root_figure,
    set_title,
    show_montage,
    text_width,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure, FigureBase

__all__ = ["reconstruction_grid", "sample_grid"]

_INCHES = 0.6  # an image's width in a figure
_MARGINS = 0.1  # inches at both ends of a row or column of images together
_LONGEST_ROW = 20  # originals in a row; more go into further pairs of rows


def sample_grid(
    images: ArrayLike,
    *,
    columns: int | None = None,
    names: Sequence[str] = (),
    title: str | None = None,
    figure: FigureBase | None = None,
) -> Figure:
    """Draw images in a grid, row by row.

    Args:
        images: Images (N, C, H, W) or (N, H, W), float in [0, 1] or uint8.
        columns: Number of images in a row (default: as many as make a square).
        names: Texts beside the rows.
        title: Title above the grid.
        figure: Figure or subfigure to draw into (default: a new one).

    Raises:
        DataError: If there are no images, or values outside [0, 1].
        SettingError: If ``columns`` is below 1, or there is another number of names than of rows.

    Example:
        >>> figure = sample_grid(torch.rand(64, 1, 28, 28))
        >>> [ax.images[0].get_array().shape for ax in figure.axes]
        [(233, 233)]
    """
    pixels = as_pixels(images)
    columns = grid_columns(len(pixels), columns)
    rows = math.ceil(len(pixels) / columns)
    texts = as_texts(names, "rows", count=rows) if len(names) else []
    ax = new_axes(figure, _INCHES * columns + _beside(texts), _INCHES * rows + (0.4 if has_title(title) else _MARGINS))
    show_montage(ax, pixels, columns, names=texts)
    set_title(ax, title)
    return root_figure(ax)


def reconstruction_grid(
    originals: ArrayLike,
    reconstructions: ArrayLike | Mapping[str, ArrayLike],
    *,
    figure: FigureBase | None = None,
) -> Figure:
    """Draw originals in the top row and reconstructions under them; more than 20 go into further groups of rows.

    Args:
        originals: Images (N, C, H, W) or (N, H, W), float in [0, 1] or uint8.
        reconstructions: As many images of the same size; or a mapping of names of rows to such images.
        figure: Figure or subfigure to draw into (default: a new one).

    Raises:
        DataError: If numbers or sizes differ, or there are no images, or values outside [0, 1].

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
    n = len(rows["original"])
    columns = min(n, _LONGEST_ROW)
    # Groups of rows: the last one is filled up with the grey of the frame.
    empty = np.full((-n % columns, *shape[1:]), round(255 * GREY), np.uint8)
    groups = [np.concatenate([row, empty]).reshape(-1, columns, *shape[1:]) for row in rows.values()]
    names = list(rows) * len(groups[0])
    ax = new_axes(figure, _INCHES * columns + _beside(rows), len(names) * _INCHES + 0.12)
    show_montage(ax, np.stack(groups, axis=1).reshape(-1, *shape[1:]), columns, names=names)
    return root_figure(ax)


def _beside(names: Iterable[str]) -> float:
    """Inches that names of rows, and the margins, take beside the images."""
    widest = max((text_width(name, NAME_SIZE) for name in names), default=0.0)
    return widest + _MARGINS + (0.07 if widest else 0.0)  # between a name and its row
