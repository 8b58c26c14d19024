"""Figures outside pyplot's list, so that none leaks and none is shown twice, and the style that all of them share."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import rcParams
from matplotlib.artist import Artist
from matplotlib.figure import Figure, FigureBase
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from mnistvae._checks import check_instance, listed
from mnistvae.arrays import ArrayLike
from mnistvae.errors import SettingError, type_name
from mnistvae.images import montage

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "COLOURS",
    "GREY",
    "NAME_SIZE",
    "ReturnedFigure",
    "as_texts",
    "figure_or_new",
    "has_title",
    "new_axes",
    "png_bytes",
    "root_figure",
    "set_title",
    "show_montage",
    "show_pixels",
    "simplify",
    "text_width",
]

#: Okabe and Ito's colours, told apart by all kinds of colour vision; the darker ones come first.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
#: Grey level between images, 0 to 1: seen against the black ground of digits and against white paper.
GREY = 0.35
#: Size in points of texts beside rows of images and under columns.
NAME_SIZE = 9.0

#: Inches around everything that is drawn.
_MARGIN = 0.06
#: Decimal places of a figure's width: far below a pixel, far above rounding.
_DIGITS = 9


class ReturnedFigure(Figure):
    """A Figure that a notebook draws when it is the value of a cell, even where pyplot was never imported."""

    def _repr_png_(self) -> bytes:
        return png_bytes(self)

    def show(self, warn: bool = True) -> None:
        """Show the figure in a window, for which it joins pyplot's figures; ``savefig`` needs none.

        Args:
            warn: Warn where there are no windows.
        """
        from matplotlib import pyplot as plt
        from matplotlib._pylab_helpers import Gcf

        if self.canvas.manager is None:
            number = max(plt.get_fignums(), default=0) + 1
            Gcf.set_active(plt.new_figure_manager(number, FigureClass=lambda *_, **__: self))  # type: ignore[no-untyped-call]
        super().show(warn=warn)


class _RepeatableLayout(ConstrainedLayoutEngine):
    """The constrained layout, rounded.

    Its solver goes through the constraints in the order of their places in memory, so that its last digits, and
    with them a pixel here and there, differ from run to run.
    """

    def execute(self, fig: Figure) -> None:
        super().execute(fig)
        scaled = [ax for ax in fig.axes if ax.get_aspect() != "auto" and ax.get_adjustable() == "datalim"]
        for ax in scaled:
            ax.apply_aspect()  # it moves the limits, and other ticks may have longer texts
        if scaled:
            super().execute(fig)
        parts = list(fig.subfigs)
        for part in parts:
            parts += part.subfigs
            part.bbox_relative.set_points(part.bbox_relative.get_points().round(_DIGITS))
        for ax in fig.axes:
            if ax.get_subplotspec() is not None and ax.get_in_layout():
                place = ax.get_position(original=True).get_points().round(_DIGITS)
                ax.set_position(Bbox(place))
                ax.set_in_layout(True)  # set_position takes it out


def figure_or_new(figure: FigureBase | None, width: float, height: float) -> FigureBase:
    """Return ``figure`` (or a subfigure) to draw into, or a new one of that size in inches.

    Raises:
        SettingError: If ``figure`` is neither a Figure nor a SubFigure.
    """
    if figure is not None:
        return check_instance("figure as a matplotlib Figure or SubFigure", figure, FigureBase, "leave it out")
    figure = ReturnedFigure(figsize=(width, height), dpi=150, facecolor="white")
    figure.set_layout_engine(_RepeatableLayout(w_pad=_MARGIN, h_pad=_MARGIN))
    return figure


def new_axes(figure: FigureBase | None, width: float, height: float) -> Axes:
    """Return the only axes of ``figure``, or of a new figure of that size in inches.

    Raises:
        SettingError: If ``figure`` is neither a Figure nor a SubFigure.
    """
    return figure_or_new(figure, width, height).subplots()


def root_figure(part: Artist) -> Figure:
    """Return the whole figure that a subfigure or axes are part of, or the figure itself.

    Raises:
        SettingError: If the part was removed from its figure.
    """
    root = part.get_figure(root=True)
    if not isinstance(root, Figure):
        raise SettingError(
            "a subfigure of a figure", "one that was removed from it", "make it with figure.subfigures()"
        )
    return root


def png_bytes(figure: Figure) -> bytes:
    """Draw a figure as the content of a PNG file.

    Raises:
        SettingError: If ``figure`` is not a matplotlib Figure.
    """
    checked = check_instance("a matplotlib Figure", figure, Figure, "pass what a function of mnistvae.plotting gave")
    stream = io.BytesIO()
    checked.savefig(stream, format="png")
    return stream.getvalue()


def as_texts(names: Any, what: str, *, least: int = 1, count: int | None = None) -> list[str]:
    """Return names of rows, axes or classes as texts.

    Args:
        names: A sequence, an array or a tensor; a single text is refused.
        what: Word for the things that are named, for the message.
        least: Smallest number of names.
        count: Exact number of names, where it is known.

    Raises:
        SettingError: If there is another number of names.
    """
    found = listed(names)
    expected = f"names of {what}, at least {least}" if count is None else f"{count} names of {what}"
    if found is None or len(found) < least or (count is not None and len(found) != count):
        got = type_name(names) if found is None else f"{len(found)}"
        raise SettingError(expected, got, "pass a list of texts, one for each")
    return [str(one) for one in found]


def has_title(title: Any) -> bool:
    """Return True if there is a title.

    Raises:
        SettingError: If the title is neither a text nor a number.
    """
    if title is None or isinstance(title, int | float):  # a number is as good as its text
        return bool(title)
    return bool(check_instance("title as a text", title, str))


def set_title(ax: Axes, title: str | None, pad: float | None = None) -> None:
    """Write a title above the axes, if there is one."""
    if has_title(title):
        ax.set_title(str(title), fontsize=10, pad=pad)


def simplify(ax: Axes) -> None:
    """Leave axes with a faint grid under the data, and without lines at the top and right."""
    ax.grid(alpha=0.25)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def show_pixels(ax: Axes, picture: NDArray[np.uint8]) -> None:
    """Show a picture with its pixels as they are: grey levels fixed, edges sharp, no frame."""
    ax.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    ax.spines[:].set_visible(False)


def text_width(text: str, size: float | None = None) -> float:
    """Return the width in inches of a text beside axes, of a size in points (default: that of ticks)."""
    label = Figure(dpi=72).text(0, 0, text, fontsize=size or rcParams["ytick.labelsize"])
    return float(label.get_window_extent().width) / 72


def show_montage(
    ax: Axes,
    images: ArrayLike,
    columns: int,
    heads: Sequence[str] = (),
    names: Sequence[str] = (),
    size: float = NAME_SIZE,
) -> None:
    """Show images in rows of ``columns``, with texts under the columns and beside the rows.

    Args:
        ax: Axes to draw into.
        images: Images (rows * columns, C, H, W).
        columns: Number of images in a row.
        heads: Texts under the columns.
        names: Texts beside the rows.
        size: Size of both in points.
    """
    show_pixels(ax, montage(images, columns, fill=GREY))
    height, width = images.shape[-2:]
    ax.set_xticks([1 + width / 2 + n * (width + 1) for n in range(len(heads))], heads, fontsize=size)
    ax.set_yticks([1 + height / 2 + n * (height + 1) for n in range(len(names))], names, fontsize=size)
    ax.tick_params(length=0)
    if names:
        ax.set_anchor("W")  # where the layout, which makes room for the names, looks for them
