"""Points of the plane: their colours, their labels and their legend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from mnistvae.arrays import ArrayLike, as_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "CLASS_COLOURS",
    "as_points",
    "class_colour",
    "class_legend",
    "class_text",
    "draw_label",
    "draw_points",
    "point_size",
]

#: Petroff's ten colours (2021), chosen for being told apart by all kinds of colour vision; the darker of his two greys
#: is darker still, for small points.
CLASS_COLOURS = (
    *("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6"),
    *("#a96b59", "#e76300", "#b9ac70", "#30343a", "#92dadd"),
)
#: Number of lines in a column of a legend.
_LEGEND = 15


def class_colour(number: int) -> str:
    """Return the colour of a class; the eleventh has that of the first."""
    return CLASS_COLOURS[number % len(CLASS_COLOURS)]


def as_points(points: ArrayLike) -> NDArray[np.float64]:
    """Return points of the plane as an array (N, 2).

    Raises:
        DataError: If they have another shape, or hold NaN or infinity.
    """
    return as_numbers(points, "points", ("N", 2), fix="mnistvae.analysis.embed makes them of codes")


def class_text(label: Any, class_names: Sequence[str] | None) -> str:
    """Return the name of a class, or its number where it has none."""
    named = class_names is not None and isinstance(label, int | np.integer) and 0 <= label < len(class_names)
    return str(class_names[int(label)] if named and class_names is not None else label)


def point_size(n: int) -> float:
    """Return the size of the marks of n points: smaller where there are many."""
    return float(np.clip(20_000 / n, 1.5, 25))


def draw_points(ax: Axes, points: NDArray[np.float64], size: float, colour: str, **style: Any) -> None:
    """Draw points as discs without an edge."""
    ax.scatter(points[:, 0], points[:, 1], s=size, color=colour, linewidths=0, rasterized=True, **style)


def draw_label(ax: Axes, place: NDArray[np.float64], text: str) -> None:
    """Write a text at a point, legible on any ground."""
    style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 11, "fontweight": "bold", "color": "black"}
    outline = [withStroke(linewidth=3, foreground="white")]
    ax.text(float(place[0]), float(place[1]), text, path_effects=outline, **style)


def class_legend(ax: Axes, title: str, lines: int, **style: Any) -> None:
    """Put a legend of opaque colours beside the axes, in as many columns as so many lines take."""
    legend = ax.legend(
        title=title,
        frameon=False,
        loc="center left",
        bbox_to_anchor=(1, 0.5),
        markerscale=3,
        ncols=1 + (lines - 1) // _LEGEND,
        **style,
    )
    for handle in legend.legend_handles:
        if handle is not None:
            handle.set_alpha(1)
