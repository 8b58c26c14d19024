"""Points of the plane: their colours and shapes, their labels and their legend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from mnistvae._colours import CLASS_COLOURS
from mnistvae.arrays import ArrayLike, as_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "CLASS_COLOURS",
    "as_points",
    "class_colour",
    "class_legend",
    "class_line",
    "class_marker",
    "class_text",
    "draw_label",
    "draw_points",
    "point_size",
    "shown_name",
    "spread_out",
]

#: Letters of a name beside points and bars, which would leave them no room if it were longer.
_LONGEST = 24
#: Shapes and lines that go with these colours where a printer has none: a line's two differ in lightness.
_MARKERS = ("o", "^", "s", "v", "D", "P", "X", "<", "p", ">")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)), (0, (9, 2)))
_LINES = tuple(_DASHES[n] for n in (0, 1, 1, 2, 3, 0, 2, 3, 4, 4))
#: Number of lines in a column of a legend.
_LEGEND = 15


def class_colour(number: int) -> str:
    """Return the colour of a class; the eleventh has that of the first."""
    return CLASS_COLOURS[number % len(CLASS_COLOURS)]


def class_marker(number: int) -> str:
    """Return the shape of a class's points; the eleventh has that of the first."""
    return _MARKERS[number % len(_MARKERS)]


def class_line(number: int) -> Any:
    """Return the line style of a class; two classes may share one, in a dark and a light colour."""
    return _LINES[number % len(_LINES)]


def as_points(points: ArrayLike) -> NDArray[np.float64]:
    """Return points of the plane as an array (N, 2).

    Raises:
        DataError: If they have another shape, or hold NaN or infinity.
    """
    return as_numbers(points, "points", ("N", 2), fix="mnistvae.analysis.embed makes them of codes")


def class_text(label: Any, class_names: Sequence[str] | None) -> str:
    """Return the name of a class as a figure shows it, or its number where it has none."""
    named = class_names is not None and isinstance(label, int | np.integer) and 0 <= label < len(class_names)
    return shown_name(str(class_names[int(label)] if named and class_names is not None else label))


def shown_name(name: str, longest: int = _LONGEST) -> str:
    """Return a name that leaves room for the rest of a figure: shortened, on one line, its dollars no mathematics."""
    line = " ".join(name.split())
    short = line if len(line) <= longest else f"{line[: longest - 1].rstrip()}…"
    return short.replace("$", r"\$")


def point_size(n: int) -> float:
    """Return the size of the marks of n points: smaller where there are many."""
    return float(np.clip(20_000 / n, 1.5, 25))


def draw_points(ax: Axes, points: NDArray[np.float64], size: float, colour: str, **style: Any) -> None:
    """Draw points as discs, or as another ``marker``, without an edge."""
    ax.scatter(points[:, 0], points[:, 1], s=size, color=colour, linewidths=0, rasterized=True, **style)


def spread_out(places: NDArray[np.float64], least: float) -> NDArray[np.float64]:
    """Return places (N, 2) that were moved apart until no two are nearer to each other than ``least``, or nearly so."""
    angles = np.arange(len(places)) * 2.4  # equal places go in directions of their own
    moved = places + 1e-3 * least * np.stack([np.cos(angles), np.sin(angles)], 1)
    for _ in range(200):
        apart = moved[:, None] - moved
        distance = np.linalg.norm(apart, axis=-1, keepdims=True)
        lacking = np.maximum(least - distance, 0) * (distance > 0)
        if not lacking.any():
            break
        moved = moved + 0.25 * (apart / np.maximum(distance, 1e-12) * lacking).sum(1)
    return moved


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
