"""Images by how well they are reconstructed, and how the errors are spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mnistvae._checks import check_indices, check_mapping
from mnistvae.arrays import ArrayLike, as_numbers
from mnistvae.errors import DataError
from mnistvae.images import as_pixels, montage
from mnistvae.plotting._figure import COLOURS, figure_or_new, has_title, plain, show, titled, whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure, FigureBase

__all__ = ["error_examples", "figure_histogram"]

_FILL = 0.35


def error_examples(
    originals: ArrayLike,
    reconstructions: ArrayLike,
    errors: ArrayLike,
    groups: Mapping[str, Sequence[int]],
    *,
    numbered: bool = False,
    figure: FigureBase | None = None,
) -> Figure:
    """For each group a row of images over their reconstructions, with the error under each.

    Args:
        originals: (N, C, H, W).
        reconstructions: (N, C, H, W).
        errors: (N,).
        groups: numbers of images, by the name of their row.
        numbered: say the number of each image, too.
        figure: a figure or subfigure to draw into (default: a new one).

    Returns:
        The whole figure.

    Raises:
        DataError: different numbers or sizes of images, no groups, or numbers of images that are not there.
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
    fig = figure_or_new(figure, 0.75 * columns + 1.2, 1.95 * len(shown))
    axes = np.atleast_1d(fig.subplots(len(shown), 1))
    for ax, (name, numbers) in zip(axes, shown.items(), strict=True):
        rows = [images[numbers] for images in (pixels, made)]
        height, width = rows[0].shape[-2:]
        show(ax, montage(np.concatenate(rows), len(numbers), fill=_FILL))
        places = [1 + width / 2 + n * (width + 1) for n in range(len(numbers))]
        heads = [f"{values[n]:.2g}\n({n})" if numbered else f"{values[n]:.2g}" for n in numbers]
        ax.set_xticks(places, heads, fontsize=8)
        ax.set_yticks([1 + height / 2, 2 + 1.5 * height], ["original", "reconstruction"], fontsize=8)
        ax.set_title(name, fontsize=10, loc="left")
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        ax.set_anchor("W")
    return whole(fig)


def figure_histogram(
    values: ArrayLike, unit: str, *, title: str | None = None, figure: FigureBase | None = None
) -> Figure:
    """How a figure is spread over the images, with its mean.

    Args:
        values: (N,); infinite ones (the PSNR of an exact reconstruction) are counted in the title.
        unit: what the values are, such as "SSIM" or "PSNR, dB".
        title: above the figure.
        figure: a figure or subfigure to draw into (default: a new one).

    Returns:
        The whole figure.

    Raises:
        DataError: no values, or NaN.
    """
    numbers = as_numbers(values, "values", None, finite=False).ravel()
    if len(numbers) == 0 or np.isnan(numbers).any():
        got = "none" if len(numbers) == 0 else "NaN"
        raise DataError("values that are numbers", got, "leave NaN out, or find what made it")
    finite = numbers[np.isfinite(numbers)]
    fig = figure_or_new(figure, 4.6, 3.2)
    ax = fig.subplots()
    if len(finite):
        ax.hist(finite, bins=min(50, max(5, len(finite) // 20)), color=COLOURS[0], alpha=0.85)
        ax.axvline(finite.mean(), color=COLOURS[1], linewidth=1.8, label=f"mean {finite.mean():.4g}")
        ax.legend(frameon=False)
    left_out = len(numbers) - len(finite)
    if left_out:
        title = f"{f'{title}; ' if has_title(title) else ''}{left_out} of {len(numbers)} infinite"
    plain(ax)
    ax.set(xlabel=unit, ylabel="images")
    titled(ax, title)
    return whole(fig)
