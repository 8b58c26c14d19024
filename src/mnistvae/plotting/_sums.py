"""A plane of rates and distortions: its limits and scale, and the lines of equal sums in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from mnistvae.plotting._figure import simplify

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["HALO", "Plane", "draw_sums", "number_text", "plane_of", "set_axes"]

#: Factor from the lowest to the highest rate from which on their axis is logarithmic.
_WIDE = 30
#: Times the median rate, and times the median's distance from the lowest distortion, beyond which a point is far off.
_FAR_RATE, _FAR_DISTORTION = 1000, 30
#: Length of the first nat on a logarithmic axis, in decades.
_NAT = 0.5
#: The parts of the axes, across and up, that the value of a line takes.
_ROOM = np.array([0.08, 0.05])
#: Greys of the lines and of their values.
_LIGHT, _DARK = "0.82", "0.45"
#: A white rim that makes texts legible on lines.
HALO = (withStroke(linewidth=2.5, foreground="white"),)


class Plane(NamedTuple):
    """The limits of both axes; the one of the rates may be logarithmic from one nat on, and linear up to it."""

    left: float
    right: float
    low: float
    high: float
    log: bool

    def place(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return where points (N, 2) stand in the axes, from 0 to 1 in both directions."""
        x, left, right = (_logarithmic(one) if self.log else one for one in (points[:, 0], self.left, self.right))
        return np.stack([(x - left) / (right - left), (points[:, 1] - self.low) / (self.high - self.low)], 1)

    def at_edge(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return points (N, 2), those outside moved to the edge."""
        ends = np.array([[self.left, self.low], [self.right, self.high]])
        return np.asarray(np.clip(points, ends[0], ends[1] - 1e-3 * (ends[1] - ends[0])))

    def between(self, points: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
        """Return points on the drawn lines from each of (N, 2) to the next, and their ends: (M, 2), all finite."""
        shown = np.stack([_logarithmic(points[:, 0]) if self.log else points[:, 0], points[:, 1]], 1)
        parts = np.arange(1, steps)[:, None, None] / steps
        along = np.concatenate([(shown[:-1] + parts * (shown[1:] - shown[:-1])).reshape(-1, 2), shown])
        along = along[np.isfinite(along).all(1)]
        return np.stack([_nats(along[:, 0]) if self.log else along[:, 0], along[:, 1]], 1)


def _logarithmic(rates: Any) -> Any:
    """Return where rates stand on an axis that is linear up to one nat, and from there on logarithmic."""
    rates = np.asarray(rates)
    return np.where(rates < 1, _NAT * rates, _NAT + np.log10(np.maximum(rates, 1)))


def _nats(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rates of places on such an axis, the inverse of :func:`_logarithmic`."""
    return np.where(places < _NAT, places / _NAT, 10 ** np.maximum(places - _NAT, 0))


def plane_of(points: NDArray[np.float64], bars: NDArray[np.float64]) -> Plane:
    """Return limits that points (N, 2) with their error bars fit into, but those that are far off."""
    least, middle = points[:, 1].min(), np.median(points, 0)
    reach = max(middle[1] - least, abs(least) / 5)
    most = np.array([_FAR_RATE * max(middle[0], 1), least + _FAR_DISTORTION * reach])
    ends = np.array([_ends(points[points[:, n] <= most[n], n], bars[points[:, n] <= most[n], n]) for n in (0, 1)])
    spans = np.maximum(ends[:, 1] - ends[:, 0], max(0.05 * abs(points.sum(1).min()), 1e-3))
    (left, low), (right, high) = ends.mean(1) - 0.58 * spans, ends.mean(1) + 0.58 * spans
    rates = points[points[:, 0] <= most[0], 0]
    log = bool(rates.max() > _WIDE * max(rates.min(), 1))
    if log:
        left, right = (rates.min() / 2 if rates.min() > 1 else min(ends[0, 0], 0) - 0.8), 1.6 * ends[0, 1]
    elif rates.min() >= 0:
        left = -0.03 * right if ends[0, 0] < 0.3 * right else max(left, -0.03 * right)
    return Plane(float(left), float(right), float(low), float(high), log)


def _ends(values: NDArray[np.float64], bars: NDArray[np.float64]) -> tuple[float, float]:
    """Return the lowest and the highest end of bars, each cut to half of what the values span."""
    shown = np.minimum(bars, (values.max() - values.min()) / 2 if len(values) > 1 else np.inf)
    return (values - shown).min(), (values + shown).max()


def set_axes(ax: Axes, plane: Plane, tag: str, below: Sequence[str]) -> None:
    """Set the limits, the scale and the names of the axes.

    Args:
        ax: New axes.
        plane: The limits.
        tag: Name of the density that distortions are in nats of, or "".
        below: Further lines below the name of the rates' axis.
    """
    simplify(ax)
    ax.grid(visible=False)  # the lines of equal sums are the grid
    scale = ""
    if plane.log:
        scale = " (logarithmic)" if plane.left >= 1 else " (logarithmic from 1 nat on)"
        ax.set_xscale("symlog", linthresh=1, linscale=0.9 * _NAT)  # matplotlib's decades are 0.9 of its unit
        ends = max(plane.left, 0.9), plane.right
        ticks = _rounded(*ends, (1, 2, 5))
        ticks = [0.0] * (plane.left <= 0) + (ticks if len(ticks) <= 10 else _rounded(*ends, (1,)))
        ax.xaxis.set_major_locator(FixedLocator(ticks))
        ax.xaxis.set_major_formatter(lambda tick, _: f"{tick:g}")
        ax.xaxis.set_minor_locator(NullLocator())
    ax.set(xlim=(plane.left, plane.right), ylim=(plane.low, plane.high))
    ax.set_ylabel(f"distortion D, nats{f' ({tag})' if tag else ''}")
    ax.set_xlabel("\n".join(filter(None, [f"rate R, nats{scale}", *below])))


def _rounded(low: float, high: float, of: Sequence[float]) -> list[float]:
    """Return numbers times powers of ten that lie between two numbers above 0."""
    powers = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    return [float(power * n) for power in powers for n in of if low <= power * n <= high]


def draw_sums(ax: Axes, plane: Plane, points: NDArray[np.float64]) -> list[tuple[float, float]]:
    """Draw lines of equal sums with their values, and return the places of the values that are inside the axes.

    Args:
        ax: Axes that :func:`set_axes` has set.
        plane: The limits.
        points: Points that values inside the axes should not hide, (N, 2).
    """
    x = np.linspace(plane.left, plane.right, 2)
    if plane.log:
        x = _nats(np.linspace(_logarithmic(plane.left), _logarithmic(plane.right), 800))
    inside: list[tuple[float, float]] = []
    places = [np.zeros(2)]  # in the corner there is no room
    for level in _levels(plane):
        at, style = _label_of(level, plane, points)
        place = plane.place(np.array([at]))[0]
        if any((np.abs(place - one) < _ROOM).all() for one in places):
            continue
        label = "equal R + D, minus the ELBO" if len(places) == 1 else None
        ax.plot(x, level - x, color=_LIGHT, linewidth=0.9, zorder=0.5, label=label)
        style |= {"fontsize": 8, "color": _DARK, "path_effects": HALO, "textcoords": "offset points"}
        ax.annotate(number_text(level), at, annotation_clip=False, zorder=0.6, **style)
        places.append(place)
        inside += [at] if (place < 1 - _ROOM / 2).all() else []
    return inside


def _levels(plane: Plane) -> list[float]:
    """Return sums whose lines are drawn: round ones, further apart where the axis of the rates is logarithmic."""
    left, right, low, high, log = plane
    least, most = left + low, (left if log else right) + high
    found = [float(one) for one in MaxNLocator(6 if log else 8).tick_values(least, most)]
    if log:
        found += [found[-1] + n * (found[-1] - found[-2]) for n in range(1, 5)]
        found += [one for one in _rounded(1, max(right + low, 1), (1, 1.5, 2, 3, 5, 7)) if one > found[-1]]
    return sorted(one for one in found if least < one < right + high)


def _label_of(level: float, plane: Plane, points: NDArray[np.float64]) -> tuple[tuple[float, float], dict[str, Any]]:
    """Return where the value of a line stands, and how: outside, where the line leaves at the right or above."""
    left, right, low, high, log = plane
    if low <= level - right <= high:
        return (right, level - right), {"xytext": (4, 0), "ha": "left", "va": "center"}
    if left <= level - high <= right:
        return (level - high, high), {"xytext": (0, 2), "ha": "center", "va": "bottom"}
    if log:
        return (left, level - left), {"xytext": (3, 0), "ha": "left", "va": "center"}
    x = left + np.array([0.5, 0.4, 0.6, 0.3, 0.7, 0.2, 0.8]) * (level - low - left)  # to the lower edge
    tried = np.stack([x, level - x], 1)
    room = np.linalg.norm(plane.place(tried)[:, None] - plane.place(points), axis=-1).min(1).clip(max=2 * _ROOM.min())
    across, up = tried[room.argmax()].tolist()
    return (across, up), {"xytext": (0, 0), "ha": "center", "va": "center"}


def number_text(number: float, form: str = "g") -> str:
    """Return a number as the ticks of axes have it."""
    return f"{number:{form}}".replace("-", "\N{MINUS SIGN}")
