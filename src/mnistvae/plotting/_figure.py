"""Figures that belong to nobody: not in pyplot's list, so that none leaks and none is shown twice."""

from __future__ import annotations

import io

from matplotlib.figure import Figure, FigureBase

from mnistvae.errors import SettingError

__all__ = ["COLOURS", "ReturnedFigure", "figure_or_new", "whole"]

#: Okabe and Ito's colours, told apart by all kinds of colour vision; the darker ones come first.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")


#: Inches around everything that is drawn.
_MARGIN = 0.06


class ReturnedFigure(Figure):
    """A Figure that a notebook draws when it is the value of a cell, even where pyplot was never imported."""

    def _repr_png_(self) -> bytes:
        stream = io.BytesIO()
        self.savefig(stream, format="png")
        return stream.getvalue()


def figure_or_new(figure: FigureBase | None, width: float, height: float) -> FigureBase:
    """``figure`` (or a subfigure) to draw into, or a new one of that size in inches."""
    if figure is not None:
        return figure
    figure = ReturnedFigure(figsize=(width, height), dpi=150, facecolor="white")
    figure.set_layout_engine("constrained", w_pad=_MARGIN, h_pad=_MARGIN)
    return figure


def whole(figure: FigureBase) -> Figure:
    """The figure that a subfigure is part of; a figure itself."""
    root = figure.get_figure(root=True)
    if root is None:
        raise SettingError(
            "a subfigure of a figure", "one that was removed from it", "make it with figure.subfigures()"
        )
    return root
