"""Figures of settings that were tried: scores over values, and the course of a search."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from mnistvae._checks import check_mapping, listed
from mnistvae.arrays import as_numbers
from mnistvae.errors import DataError
from mnistvae.plotting._figure import (
    COLOURS,
    figure_or_new,
    has_title,
    new_axes,
    root_figure,
    set_title,
    simplify,
    text_width,
)
from mnistvae.plotting._points import class_colour, class_line, class_marker, shown_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, FigureBase

__all__ = ["score_lines", "search_panels"]

#: Factor from the lowest to the highest value from which on an axis is logarithmic.
_WIDE = 30
#: Letters of a name in a legend.
_NAME = 48
#: Inches of a text that stands below its tick; a longer one is turned.
_TICK = 0.8
#: Least distance of two values that have a tick each, as a share of the axis.
_TICKS_APART = 0.05
#: Most values that have a tick each.
_FEW = 8


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
    ax.yaxis.get_major_formatter().set_useOffset(False)  # type: ignore[attr-defined]  # 301.43, and no +3.01434e2
    if len(named) > 1 or best is not None:
        handles, texts = ax.get_legend_handles_labels()  # the mark comes first, since it is no error bar
        first = int(best is not None)
        style: dict[str, Any] = {"frameon": False, "loc": "center left", "bbox_to_anchor": (1, 0.5), "fontsize": 9}
        style["ncols"] = 1 + (len(named) - 1) // 14
        ax.legend(handles[first:] + handles[:first], texts[first:] + texts[:first], **style)
    set_title(ax, title)
    return root_figure(ax)


def _least_distance(values: Sequence[float], *, log: bool) -> float:
    """The least distance of two different values on an axis, as a share of the axis; 1 for a single value."""
    places = np.unique(np.log(values) if log else values)
    return float(np.diff(places).min() / np.ptp(places)) if len(places) > 1 else 1.0


def _tick(text: str) -> str:
    """A number as a tick has it: whole ones as they are, others in three digits."""
    value = float(text)
    return f"{value:g}" if value.is_integer() else f"{value:.3g}"


def _places(ax: Axes, values: Sequence[Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the places of values on the horizontal axis, whose scale and ticks are set; a value may come again."""
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    texts = list(dict.fromkeys(map(str, values)))
    if numbers and all(map(math.isfinite, values)):
        log = len(values) > 1 and min(values) > 0 and max(values) / min(values) > _WIDE
        apart = _least_distance(values, log=log) > _TICKS_APART
        if apart or log or len(texts) > _FEW:
            if log:
                ax.set_xscale("log")
            if apart and len(texts) <= _FEW:
                ax.set_xticks([float(text) for text in texts], [_tick(text) for text in texts])
                ax.minorticks_off()
            return np.asarray(values, dtype=float)
        texts.sort(key=float)  # such as 0, 0.1, 1, 10: of equal steps
    shown = [_tick(text) if numbers else shown_name(text) for text in texts]
    turned: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    ax.set_xticks(range(len(texts)), shown, **(turned if max(map(text_width, shown)) > _TICK else {}))
    ax.set_xlim(-0.4, len(texts) - 0.6)
    return np.asarray([texts.index(str(value)) for value in values], dtype=float)


def search_panels(
    scores: Sequence[float],
    settings: Mapping[str, Sequence[Any]],
    *,
    done: Sequence[bool] | None = None,
    higher: bool = False,
    unit: str = "",
    title: str | None = None,
    figure: FigureBase | None = None,
) -> Figure:
    """Draw the scores of a search by trial, with the best so far, and over the values of each setting.

    Trials that were ended early are crosses at their last score. The axis of the scores leaves out what is far worse
    than most.

    Args:
        scores: Scores (T,) of the trials, in order; NaN where there is none.
        settings: Values (T,) by the name of the setting.
        done: Whether each trial was trained to its end (default: all).
        higher: Whether a higher score is better.
        unit: Name and unit of the score.
        title: Title above the figure.
        figure: Figure or subfigure to draw into (default: a new one).

    Raises:
        DataError: If there are no trials, or one has another number of values.
    """
    heights = as_numbers(scores, "scores of the trials", ("N",), finite=False)
    named = check_mapping("values by setting", settings, "such as {'beta': [0.5, 1.0]}", DataError)
    ended = np.ones(len(heights), bool) if done is None else np.asarray(done, bool)
    columns = {name: listed(values) or [] for name, values in named.items()}
    wrong = [name for name, values in columns.items() if len(values) != len(heights)]
    if wrong or ended.shape != heights.shape or not (ended & np.isfinite(heights)).any():
        got = f"{len(columns[wrong[0]])} of {wrong[0]}" if wrong else f"{int(ended.sum())} that are done"
        raise DataError(f"values of {len(heights)} trials, at least one of them done", got, "a value for each trial")
    numbers = np.arange(1, 1 + len(heights))
    panels = {"trial": numbers.tolist(), **columns}
    rows = math.ceil(len(panels) / 3)
    across = math.ceil(len(panels) / rows)
    fig = figure_or_new(figure, 3.4 * across, 2.8 * rows + 0.3 + 0.3 * has_title(title))
    if has_title(title):
        fig.suptitle(str(title), fontsize=10)
    axes = fig.subplots(rows, across, squeeze=False, sharey=True).ravel()
    best = (np.fmax if higher else np.fmin).accumulate(np.where(ended, heights, np.nan))
    axes[0].step(numbers, best, where="post", color=COLOURS[1], linewidth=1.4, label="best so far")
    for ax, (name, values) in zip(axes, panels.items(), strict=False):
        places = numbers if ax is axes[0] else _places(ax, values)
        ax.plot(places[ended], heights[ended], "o", color=COLOURS[0], markersize=5, alpha=0.8, label="to its end")
        ax.plot(places[~ended], heights[~ended], "x", color="0.45", markersize=5, label="ended early")
        ax.set_xlabel(name)
        simplify(ax)
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    axes[0].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes[0].set_ylim(_limits(heights[ended & np.isfinite(heights)], higher=higher))
    for ax in axes[::across]:
        ax.set_ylabel(unit)
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    return root_figure(fig)


def _limits(scores: np.ndarray[Any, np.dtype[np.float64]], *, higher: bool) -> tuple[float, float]:
    """Return the ends of an axis that tells good scores apart: three times as far from the best as the median."""
    best, worst = (scores.max(), scores.min()) if higher else (scores.min(), scores.max())
    far = best + 3 * (np.median(scores) - best)
    end = max(worst, far) if higher else min(worst, far)
    margin = 0.08 * abs(end - best) or 0.05 * abs(best) or 1.0
    low, high = sorted((float(best), float(end)))
    return low - margin, high + margin
