"""Figures that belong to nobody: not in pyplot's list, so that none leaks and none is shown twice."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure, FigureBase
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from mnistvae._checks import check_instance, listed
from mnistvae.errors import SettingError, type_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "CLASS_COLOURS",
    "COLOURS",
    "ReturnedFigure",
    "called",
    "class_legend",
    "figure_or_new",
    "has_title",
    "plain",
    "png_bytes",
    "point_size",
    "show",
    "titled",
    "whole",
]

#: Okabe and Ito's colours, told apart by all kinds of colour vision; the darker ones come first.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")


#: Petroff's ten colours (2021), chosen for being told apart by all kinds of colour vision; the darker of his two greys
#: is darker still, for small points.
CLASS_COLOURS = (
    *("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6"),
    *("#a96b59", "#e76300", "#b9ac70", "#30343a", "#92dadd"),
)

#: Lines of a column of a legend.
_LEGEND = 15
#: Inches around everything that is drawn.
_MARGIN = 0.06
#: Decimal places of a figure's width: far below a pixel, far above rounding.
_DIGITS = 9


class ReturnedFigure(Figure):
    """A Figure that a notebook draws when it is the value of a cell, even where pyplot was never imported."""

    def _repr_png_(self) -> bytes:
        return png_bytes(self)


class _RepeatableLayout(ConstrainedLayoutEngine):
    """The constrained layout, rounded.

    Its solver goes through the constraints in the order of their places in memory, so that its last digits, and
    with them a pixel here and there, differ from run to run.
    """

    def execute(self, fig: Figure) -> None:
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
    """``figure`` (or a subfigure) to draw into, or a new one of that size in inches.

    Raises:
        SettingError: it is no figure.
    """
    if figure is not None:
        return check_instance("figure as a matplotlib Figure or SubFigure", figure, FigureBase, "leave it out")
    figure = ReturnedFigure(figsize=(width, height), dpi=150, facecolor="white")
    figure.set_layout_engine(_RepeatableLayout(w_pad=_MARGIN, h_pad=_MARGIN))
    return figure


def png_bytes(figure: Figure) -> bytes:
    """A figure as the content of a PNG file.

    Raises:
        SettingError: it is no figure.
    """
    stream = io.BytesIO()
    check_instance("a matplotlib Figure", figure, Figure, "pass what a function of mnistvae.plotting gave").savefig(
        stream, format="png"
    )
    return stream.getvalue()


def called(what: str, names: Any, *, least: int = 1, count: int | None = None) -> list[str]:
    """What is written beside things, as texts.

    Args:
        what: they name.
        names: a sequence, array or tensor; a text alone is none.
        least: how many there have to be.
        count: how many there are, where it is known.

    Raises:
        SettingError: another number of them.
    """
    found = listed(names)
    expected = f"names of {what}, at least {least}" if count is None else f"{count} names of {what}"
    if found is None or len(found) < least or (count is not None and len(found) != count):
        got = type_name(names) if found is None else f"{len(found)}"
        raise SettingError(expected, got, "pass a list of texts, one for each")
    return [str(one) for one in found]


def has_title(title: Any) -> bool:
    """Whether there is a title.

    Raises:
        SettingError: it is no text.
    """
    if title is not None and not isinstance(title, int | float):  # a number is as good as its text
        check_instance("title as a text", title, str)
    return bool(title)


def titled(ax: Axes, title: str | None, pad: float | None = None) -> None:
    """A title above the axes, if there is one."""
    if has_title(title):
        ax.set_title(str(title), fontsize=10, pad=pad)


def class_legend(ax: Axes, title: str, lines: int) -> None:
    """A legend beside the axes whose colours are full, in as many columns as it takes for that many lines."""
    legend = ax.legend(
        title=title,
        frameon=False,
        loc="center left",
        bbox_to_anchor=(1, 0.5),
        markerscale=3,
        ncols=1 + (lines - 1) // _LEGEND,
    )
    for handle in legend.legend_handles:
        if handle is not None:
            handle.set_alpha(1)


def point_size(n: int) -> float:
    """Of the marks of n points: smaller where there are many."""
    return float(np.clip(20_000 / n, 1.5, 25))


def show(ax: Axes, picture: NDArray[np.uint8]) -> None:
    """A picture with its pixels as they are: grey levels fixed, edges sharp."""
    ax.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")


def plain(ax: Axes) -> None:
    """Axes with what is read of them and no more."""
    ax.grid(alpha=0.25)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def whole(figure: FigureBase) -> Figure:
    """The figure that a subfigure is part of; a figure itself."""
    root = figure.get_figure(root=True)
    if root is None:
        raise SettingError(
            "a subfigure of a figure", "one that was removed from it", "make it with figure.subfigures()"
        )
    return root
