"""Figures of settings that were tried: scores over values, and the course of a search."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistvae._checks import check_mapping, listed
from mnistvae.arrays import as_numbers
from mnistvae.errors import DataError
from mnistvae.plotting._figure import new_axes, root_figure, set_title, simplify, text_width
from mnistvae.plotting._points import class_colour, class_line, class_marker, shown_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, FigureBase

__all__ = ["score_lines"]

#: Factor from the lowest to the highest value from which on an axis is logarithmic.
_WIDE = 30
#: Letters of a name in a legend.
_NAME = 48
#: Inches of a text that stands below its tick; a longer one is turned.
_TICK = 0.8


def score_lines(
    values: Sequence[Any],
    lines: Mapping[str, Sequence[float]],
    *,
    errors: Mapping[str, Sequence[float]] | None = None,
    setting: str = "",
    unit: str = "",
    best: tuple[str, int] | None = None,
    title: str | None = None,
    figure: FigureBase | None = None,
) -> Figure:
    """Draw a score over the values of a setting, one line for each combination of others.

    Numbers stand where their size puts them, on a logarithmic axis where they span more than a factor of 30; anything
    else stands in order.

    Args:
        values: Values of the setting, V of them.
        lines: Scores (V,) by the name of the line; NaN where there is none.
        errors: Half the lengths of error bars, in the same form; NaN for none.
        setting: Name of the setting.
        unit: Name and unit of the score.
        best: Name of a line and number of a value, which are marked.
        title: Title above the figure.
        figure: Figure or subfigure to draw into (default: a new one).

    Raises:
        DataError: If there are no lines, or one has another number of scores.
    """
    shown = listed(values) or []
    fix = "such as {'beta 1': [0.1, 0.2]}"
    named = check_mapping("scores by line", lines, fix, DataError)
    if not named or not shown:
        raise DataError("at least one line of at least one value", "none", fix)
    length = (len(shown),)
    heights = {name: as_numbers(line, f"scores of {name}", length, finite=False) for name, line in named.items()}
    bars = {name: as_numbers(line, f"errors of {name}", length, finite=False) for name, line in (errors or {}).items()}
    ax = new_axes(figure, 6.0 + 0.08 * max(map(len, named)) * (len(named) > 1), 3.6)
    places = _places(ax, shown)
    order = np.argsort(places)
    for number, (name, line) in enumerate(heights.items()):
        error = bars.get(name)
        ax.errorbar(
            places[order],
            line[order],
            None if error is None or np.isnan(error).all() else np.nan_to_num(error[order]),
            color=class_colour(number),
            marker=class_marker(number),
            linestyle=class_line(number),
            markersize=5,
            linewidth=1.4,
            capsize=3,
            label=shown_name(str(name), _NAME),
        )
    if best is not None:
        point = (places[best[1]], heights[best[0]][best[1]])
        ax.plot(*point, "o", markersize=14, markerfacecolor="none", markeredgecolor="black", zorder=5, label="best")
    simplify(ax)
    ax.set(xlabel=setting, ylabel=unit)
    if len(named) > 1 or best is not None:
        handles, texts = ax.get_legend_handles_labels()  # the mark comes first, since it is no error bar
        first = int(best is not None)
        style: dict[str, Any] = {"frameon": False, "loc": "center left", "bbox_to_anchor": (1, 0.5), "fontsize": 9}
        style["ncols"] = 1 + (len(named) - 1) // 14
        ax.legend(handles[first:] + handles[:first], texts[first:] + texts[:first], **style)
    set_title(ax, title)
    return root_figure(ax)


def _places(ax: Axes, values: Sequence[Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the places of values on the horizontal axis, whose scale and ticks are set."""
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    if numbers and all(map(math.isfinite, values)):
        if len(values) > 1 and min(values) > 0 and max(values) / min(values) > _WIDE:
            ax.set_xscale("log")
        if len(values) <= 8:
            ax.set_xticks(list(values), [f"{value:g}" for value in values])
            ax.minorticks_off()
        return np.asarray(values, dtype=float)
    texts = [shown_name(str(value)) for value in values]
    turned: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    ax.set_xticks(range(len(values)), texts, **(turned if max(map(text_width, texts)) > _TICK else {}))
    return np.arange(len(values), dtype=float)
