"""Figures that belong to nobody: not in pyplot's list, so that none leaks and none is shown twice."""

from __future__ import annotations

import io
from typing import Any

from matplotlib.figure import Figure, SubFigure

__all__ = ["COLOURS", "ReturnedFigure", "figure_or_new"]

#: Okabe and Ito's colours, told apart by all kinds of colour vision; the darker ones come first.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")


class ReturnedFigure(Figure):
    """A Figure that a notebook draws when it is the value of a cell, even where pyplot was never imported."""

    def _repr_png_(self) -> bytes:
        stream = io.BytesIO()
        self.savefig(stream, format="png")
        return stream.getvalue()


def figure_or_new(figure: Figure | SubFigure | None, width: float, height: float, **kwargs: Any) -> Figure | SubFigure:
    """``figure`` to draw into, or a new one of that size in inches."""
    if figure is not None:
        return figure
    return ReturnedFigure(figsize=(width, height), layout="constrained", dpi=150, facecolor="white", **kwargs)
