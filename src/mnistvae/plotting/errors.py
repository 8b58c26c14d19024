"""Images by the error of their reconstruction, and the distribution of a score over images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mnistvae._checks import check_indices, check_mapping
from mnistvae.arrays import ArrayLike, as_numbers
from mnistvae.errors import DataError
from mnistvae.images import as_pixels
from mnistvae.plotting._figure import (
    COLOURS,
    figure_or_new,
    has_title,
    new_axes,
    root_figure,
    set_title,
    show_montage,
    simplify,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure, FigureBase

__all__ = ["error_examples", "histogram"]


def error_examples(
    originals: ArrayLike,
    reconstructions: ArrayLike,
    errors: ArrayLike,
    groups: Mapping[str, Sequence[int]],
    *,
    numbered: bool = False,
    unit: str = "squared error",
    figure: FigureBase | None = None,
) -> Figure:
    """Draw a row of images over their reconstructions for each group, with the error under each.

    Args:
        originals: Images (N, C, H, W).
        reconstructions: Images (N, C, H, W).
        errors: Error of each reconstruction, (N,).
        groups: Numbers of images, by the name of their row.
        numbered: Whether to write the number of each image, too.
        unit: Name of the errors.
        figure: Figure or subfigure to draw into (default: a new one).

    Raises:
        DataError: If numbers or sizes of images differ, there are no groups, or an image of a group is not there.
    """
    pixels, made = as_pixels(originals), as_pixels(reconstructions)
    if pixels.shape != made.shape:
        raise DataError(f"as many reconstructions as originals, of one size: {pixels.shape}", f"{made.shape}")
    values = as_numbers(errors, "errors", (len(pixels),), fix="pass one for each image", finite=False)
    if not check_mapping("numbers of images by group", groups, "such as {'worst': [3, 7]}", DataError):
        raise DataError("at least one group of at least one image", "none")
    expected = f"numbers of images from 0 to {len(pixels) - 1}, at least one"
    shown = {
        str(name): check_indices(f"{expected}, under {name!r}", numbers, len(pixels), error=DataError)
        for name, numbers in groups.items()
    }
    columns = max(map(len, shown.values()))
    high = pixels.shape[-2] / pixels.shape[-1]
    fig = figure_or_new(figure, 0.66 * columns + 1.1, (1.32 * high + 0.75 + 0.15 * numbered) * len(shown))
    axes = np.atleast_1d(fig.subplots(len(shown), 1))
    for ax, (name, numbers) in zip(axes, shown.items(), strict=True):
        heads = [f"{values[n]:.2g}\nno. {n}" if numbered else f"{values[n]:.2g}" for n in numbers]
        both = np.concatenate([pixels[numbers], made[numbers]])
        show_montage(ax, both, len(numbers), heads, ["original", "reconstruction"], size=8)
        ax.set_title(name, fontsize=10, loc="left")
        ax.set_xlabel(f"{unit}, and number of the image" if numbered else unit, fontsize=8, loc="left")
    return root_figure(fig)


def histogram(values: ArrayLike, unit: str, *, title: str | None = None, figure: FigureBase | None = None) -> Figure:
    """Draw the distribution of a score over the images, and its mean.

    Args:
        values: Scores (N,); infinite ones (the PSNR of an exact reconstruction) are counted in the title.
        unit: Unit of the values, such as "SSIM" or "PSNR, dB".
        title: Title above the figure.
        figure: Figure or subfigure to draw into (default: a new one).

    Raises:
        DataError: If there are no values, or one of them is NaN.
    """
    numbers = as_numbers(values, "values", None, finite=False).ravel()
    if len(numbers) == 0 or np.isnan(numbers).any():
        got = "none" if len(numbers) == 0 else "NaN"
        raise DataError("values that are numbers", got, "leave NaN out, or find what made it")
    finite = numbers[np.isfinite(numbers)]
    ax = new_axes(figure, 4.6, 3.2)
    if len(finite):
        ax.hist(finite, bins=min(50, max(5, len(finite) // 20)), range=_room(finite), color=COLOURS[0], alpha=0.6)
        ax.axvline(finite.mean(), color="black", linestyle="--", linewidth=1.8, label=f"mean {finite.mean():.4g}")
        ax.legend(frameon=False)
    left_out = len(numbers) - len(finite)
    if left_out:
        title = f"{f'{title}; ' if has_title(title) else ''}{left_out} of {len(numbers)} infinite"
    simplify(ax)
    ax.set(xlabel=unit, ylabel="images")
    set_title(ax, title)
    return root_figure(ax)


def _room(values: NDArray[np.float64]) -> tuple[float, float]:
    """The range of values that a histogram covers, wide enough for bins that numbers can tell apart."""
    low, high = float(values.min()), float(values.max())
    size = max(abs(low), abs(high))
    room = max(0.5, 1e-6 * size)
    return (low, high) if high - low > max(1e-9 * size, 1e-300) else (low - room, high + room)
