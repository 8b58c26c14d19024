"""Rates and distortions of models that were trained with several betas, among lines of equal ELBO."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnistvae.arrays import ArrayLike, as_numbers
from mnistvae.errors import DataError
from mnistvae.plotting._figure import as_texts, new_axes, root_figure, set_title, text_width
from mnistvae.plotting._names import PlacedNames
from mnistvae.plotting._points import class_colour, class_line, class_marker, shown_name
from mnistvae.plotting._sums import HALO, Plane, draw_sums, number_text, plane_of, set_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, FigureBase

__all__ = ["rate_distortion"]

#: Most points that are labelled; where there are more, labels are no nearer to each other than this part of the axes.
_LABELS, _APART = 12, 0.09
#: Letters of a name in the legend, and lines in a column of it.
_NAME, _LINES = 48, 16


def rate_distortion(
    betas: Sequence[float] | ArrayLike,
    rates: Sequence[float] | ArrayLike,
    distortions: Sequence[float] | ArrayLike,
    *,
    rate_errors: Sequence[float] | ArrayLike | None = None,
    distortion_errors: Sequence[float] | ArrayLike | None = None,
    curves: Sequence[str] | None = None,
    tag: str = "",
    note: str = "",
    title: str | None = None,
    figure: FigureBase | None = None,
) -> Figure:
    r"""Draw rates and distortions of models that were trained with several betas, a point for each.

    .. math::
        R = \mathbb{E}_x[D_{KL}(q(z \mid x) \| p(z))], \qquad
        D = -\mathbb{E}_x \mathbb{E}_{q(z \mid x)}[\log p(x \mid z)]

    Light lines join equal sums R + D, which are minus the ELBO; a ring marks the point of the lowest sum. Alemi et al.
    (2018), section 2 and figure 1.

    The axis of the rates is logarithmic from one nat on, and says so, where the highest rate is above 30 nats and more
    than 30 times the lowest one, as with beta = 0. A rate above 1,000 times the median (and 1,000 nats), and a
    distortion 30 times as far from the lowest one as the median, are arrows at the edge with their numbers. Points that
    are not finite are left out, and named below the axis. Of more than 12 points some are labelled.

    Args:
        betas: Weights of the KL term, (N,).
        rates: Rates in nats, (N,); NaN for what diverged.
        distortions: Distortions in nats, (N,); NaN for what diverged.
        rate_errors: Half the lengths of horizontal error bars, (N,); NaN for none.
        distortion_errors: Half the lengths of vertical error bars, (N,); NaN for none.
        curves: Name of the curve that each point is on, such as ``"latent_dim 5"`` (default: one curve).
        tag: Name of the density that distortions are in nats of, such as ``"grey-bce"``.
        note: Text below the axis of the rates, such as one on the error bars.
        title: Title above the figure.
        figure: Figure or subfigure to draw into (default: a new one).

    Raises:
        DataError: If no point is finite, or there are as many of one as not of another.
        SettingError: If there is another number of names of curves.

    Example:
        >>> figure = rate_distortion([0.1, 1, 10], [45.0, 20.0, 4.0], [70.0, 81.0, 130.0])
        >>> figure.axes[0].get_xlabel()
        'rate R, nats'
    """
    weights = as_numbers(betas, "betas", ("N",))
    points = _pairs(rates, distortions, "", len(weights))
    across, up = (np.zeros(len(weights)) if one is None else one for one in (rate_errors, distortion_errors))
    bars = np.nan_to_num(_pairs(across, up, "errors of the ", len(weights)), posinf=0)
    if bars.min() < 0:
        raise DataError("half the lengths of error bars, at least 0", f"{bars.min():g}", "such as standard deviations")
    named = (
        [""] * len(weights) if curves is None else as_texts(curves, "curves, one for each point", count=len(weights))
    )
    finite = np.asarray(np.isfinite(points).all(1))
    if not finite.any():
        raise DataError("a point whose rate and distortion are finite", "none", "look at the losses of the runs")
    points[~finite] = np.nan
    lines = list(dict.fromkeys(named))
    wide = max(text_width(shown_name(one, _NAME), 9) for one in ["lowest R + D: 1000.0 nats", *lines])
    ax = new_axes(figure, 5.6 + (wide + 0.5) * _columns(lines), 4.4)
    plane = plane_of(points[finite], bars[finite])
    set_axes(ax, plane, tag, [note, _missing(weights[~finite])])
    obstacles = draw_sums(ax, plane, points[finite])
    for number, name in enumerate(lines):
        own = np.array([one == name for one in named])
        order = np.flatnonzero(own)[np.argsort(weights[own], kind="stable")]
        _draw_curve(ax, points[order], bars[order], number, shown_name(name, _NAME))
        obstacles += plane.between(points[order], 6).tolist()
    best = int(np.nanargmin(points.sum(1)))
    ring: dict[str, Any] = {"markersize": 14, "markerfacecolor": "none", "markeredgecolor": "black", "zorder": 5}
    label = f"lowest R + D: {number_text(points[best].sum(), '.1f')} nats"
    ax.plot(*plane.at_edge(points[[best]])[0], "o", label=label, **ring)
    _label(ax, plane, weights, points, best, obstacles)
    _draw_legend(ax, lines)
    set_title(ax, title, pad=16)
    return root_figure(ax)


def _pairs(rates: Any, distortions: Any, what: str, count: int) -> NDArray[np.float64]:
    """Return numbers of rates and of distortions, (N, 2)."""
    named = ((rates, f"{what}rates"), (distortions, f"{what}distortions"))
    return np.stack([as_numbers(one, name, (count,), finite=False) for one, name in named], 1)


def _columns(lines: Sequence[str]) -> int:
    """Return the number of columns of the legend."""
    return 1 + (len(lines) + 1) // _LINES


def _missing(betas: NDArray[np.float64]) -> str:
    """Return a line on the points that are not finite, or ""."""
    texts = list(dict.fromkeys(f"β={beta:.3g}" for beta in sorted(betas)))
    more = f" and {len(texts) - 5} more" if len(texts) > 6 else ""
    return f"not finite: {', '.join(texts[:5] if more else texts)}{more}" if texts else ""


def _draw_curve(ax: Axes, points: NDArray[np.float64], bars: NDArray[np.float64], number: int, name: str) -> None:
    """Draw the points of one curve, in the order of their betas."""
    errors = [bars[:, n] if bars[:, n].any() else None for n in (0, 1)]
    ax.errorbar(
        points[:, 0],
        points[:, 1],
        errors[1],
        errors[0],
        color=class_colour(number),
        marker=class_marker(number),
        linestyle=class_line(number),
        markersize=5,
        linewidth=1.4,
        elinewidth=1,
        capsize=3,
        label=name or None,
    )


def _label(
    ax: Axes,
    plane: Plane,
    betas: NDArray[np.float64],
    points: NDArray[np.float64],
    best: int,
    obstacles: Sequence[Sequence[float]],
) -> None:
    """Write betas beside points, and draw arrows for those that are outside."""
    edge = plane.at_edge(points)
    outside = {n: _far_text(plane, points[n]) for n in range(len(points)) if plane.place(points[[n]]).max() > 1}
    for n in outside:
        marker = ">" if points[n, 0] > plane.right else "^"
        ax.plot(*edge[n], marker, markersize=8, color="0.2", clip_on=False, zorder=4)
    near = [n for n in range(len(points)) if np.isfinite(points[n]).all()]
    names = [
        ax.annotate(
            f"β={betas[n]:.3g}{outside.get(n, '')}",
            (float(edge[n, 0]), float(edge[n, 1])),
            xytext=(0, 0),  # until it is drawn
            textcoords="offset points",
            fontsize=8,
            ha="center",
            va="center",
            path_effects=HALO,
            arrowprops={"arrowstyle": "-", "linewidth": 0.5, "color": "0.4", "shrinkA": 0, "shrinkB": 4},
        )
        for n in _labelled(plane.place(edge), near, [best, *outside])
    ]
    PlacedNames(ax, names, np.array([*edge[near], *obstacles]), 6)


def _far_text(plane: Plane, point: NDArray[np.float64]) -> str:
    """Return what is said of a point outside the axes."""
    texts = [f"R={point[0]:.3g}"] * bool(point[0] > plane.right) + [f"D={point[1]:.3g}"] * bool(point[1] > plane.high)
    return ": " + ", ".join(texts)


def _labelled(places: NDArray[np.float64], near: Sequence[int], first: Sequence[int]) -> list[int]:
    """Return the numbers of the points that have labels: all where they are few, otherwise some that lie apart."""
    if len(near) <= _LABELS:
        return list(near)
    chosen = list(dict.fromkeys(first))[:_LABELS]
    while len(chosen) < _LABELS:
        distances = np.linalg.norm(places[list(near)][:, None] - places[chosen], axis=-1).min(1)
        if distances.max() < _APART:
            break
        chosen.append(near[int(distances.argmax())])
    return chosen


def _draw_legend(ax: Axes, lines: Sequence[str]) -> None:
    """Draw the legend beside the axes: the curves first, then the ring and the lines of equal sums."""
    handles, texts = ax.get_legend_handles_labels()
    count = len(handles) - sum(bool(one) for one in lines)  # errorbars come last
    order = [*range(count, len(handles)), *reversed(range(count))]
    style: dict[str, Any] = {"frameon": False, "fontsize": 9, "loc": "outside right center", "ncols": _columns(lines)}
    ax.figure.legend([handles[n] for n in order], [texts[n] for n in order], **style)
