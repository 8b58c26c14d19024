"""Names of points that stand beside them, apart from each other, with a line from each to its point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.artist import Artist
from matplotlib.text import Text
from numpy.typing import NDArray

from mnistvae.plotting._figure import root_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backend_bases import RendererBase
    from matplotlib.text import Annotation

__all__ = ["PlacedNames", "places_apart"]

#: Distances in points and directions of the places that are tried, and how often each name is placed.
_DISTANCES, _DIRECTIONS, _ROUNDS = np.geomspace(16, 160, 12), 48, 3
#: Names that all this is done for; more of them are placed once, at fewer places, so that a figure is drawn in seconds.
_MANY = 40
#: Points between two names, and half the width of the circle around a point.
_GAP, _CIRCLE = 2.0, 5.0
#: What a fault costs, in points of distance: a name over another one, over a point's circle, over a picture, lines that
#: cross, a line through a name.
_OVER_NAME, _OVER_CIRCLE, _OVER_PICTURE, _CROSSING, _THROUGH = 1e5, 300.0, 120.0, 40.0, 60.0


class PlacedNames(Artist):
    """Places the names of points each time that they are drawn, since only a drawing knows where pixels are.

    Args:
        ax: Axes that the names are in.
        names: Annotations of points, with offsets in points.
        pictures: Centres of pictures that names should not hide, (K, 2), in the coordinates of the data.
        size: Width and height of such a picture in points.
    """

    def __init__(self, ax: Axes, names: Sequence[Annotation], pictures: NDArray[np.float64], size: float) -> None:
        super().__init__()
        self.names = list(names)
        self.pictures = pictures
        self.size = size
        self.set_in_layout(False)
        self.set_zorder(0)  # before the names
        for name in self.names:
            name.set_in_layout(False)  # they stay inside the axes, which need no room for them
        ax.add_artist(self)

    def draw(self, renderer: RendererBase) -> None:
        ax = self.axes
        if ax is None:
            return
        to_pixels = ax.transData.transform
        frame = ax.get_window_extent(renderer)
        shown = [one for one in self.names if one.axes is ax and frame.contains(*to_pixels(one.xy))]
        if not shown:
            return
        point = root_figure(ax).dpi / 72  # in pixels
        boxes = [Text.get_window_extent(one, renderer) for one in shown]  # without its line
        sizes = np.array([(box.width, box.height) for box in boxes]) / point
        corner, size = np.array([frame.x0, frame.y0]), np.array([frame.width, frame.height]) / point
        points = (to_pixels([one.xy for one in shown]) - corner) / point
        pictures = (to_pixels(self.pictures.reshape(-1, 2)) - corner) / point
        places = places_apart(points, sizes, size, pictures, self.size)
        for one, offset in zip(shown, places - points, strict=True):
            new = (float(offset[0]), float(offset[1]))
            if one.xyann != new:
                one.xyann = new


def places_apart(
    points: NDArray[np.float64],
    sizes: NDArray[np.float64],
    frame: NDArray[np.float64],
    pictures: NDArray[np.float64],
    picture: float,
) -> NDArray[np.float64]:
    """Return centres of names, one after the other where it disturbs least: near its point, and over nothing.

    Those that came first are placed again once the others are there.

    Args:
        points: Points that are named, (N, 2).
        sizes: Widths and heights of the names, (N, 2).
        frame: Upper right corner of the frame, (2,); names stay between it and the origin.
        pictures: Centres of pictures that names should not hide, (K, 2).
        picture: Width and height of these pictures.
    """
    half = sizes / 2 + _GAP / 2
    angles = 2 * np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS
    tried = (_DISTANCES[:, None, None] * np.stack([np.cos(angles), np.sin(angles)], 1)).reshape(-1, 2)
    tried = tried[:: 1 + len(points) // (_MANY + 1)]
    middle = points.mean(0)
    placed = np.full_like(points, np.nan)  # nowhere yet
    for n in list(range(len(points))) * (_ROUNDS if len(points) <= _MANY else 1):
        own, low = points[n], half[n]
        others = np.isfinite(placed[:, 0]) & (np.arange(len(points)) != n)
        names, halves, starts = placed[others], half[others], points[others]
        centres = np.clip(own + tried, low, np.maximum(frame - low, low))
        cost = np.hypot(*(centres - own).T)
        cost -= 0.2 * np.hypot(*(centres - middle).T)  # outwards, where others have room left
        cost += _OVER_NAME * _overlap(centres, low, names, halves).sum(1)
        cost += _OVER_CIRCLE * (_overlap(centres, low, points, np.full((1, 2), _CIRCLE)) > 0).sum(1)
        cost += _OVER_PICTURE * (_overlap(centres, low, pictures, np.full((1, 2), picture / 2)) > 0).sum(1)
        cost += _CROSSING * _crosses(own, centres, starts, names).sum(1)
        cost += _THROUGH * _hits(own, centres[:, None], names, halves).sum(1)
        cost += _THROUGH * _hits(starts, names, centres[:, None], low).sum(1)
        placed[n] = centres[cost.argmin()]
    return placed


def _overlap(
    centres: NDArray[np.float64], half: NDArray[np.float64], others: NDArray[np.float64], halves: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the area that boxes around ``centres`` (C, 2) share with boxes around ``others`` (K, 2): (C, K)."""
    shared = half + halves - np.abs(centres[:, None] - others)
    return np.asarray(shared.clip(0).prod(-1))


def _side(a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a number above 0 where c is left of the line from a to b, and below 0 where it is right."""
    u, v = b - a, c - a
    return np.asarray(u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0])


def _crosses(
    own: NDArray[np.float64], centres: NDArray[np.float64], starts: NDArray[np.float64], ends: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Return True where a line from a point to ``centres`` (C, 2) crosses one of the lines (K, 2) to (K, 2): (C, K)."""
    to = centres[:, None]
    theirs = _side(own, to, starts) * _side(own, to, ends)  # below zero: their ends are on two sides of it
    its = _side(starts, ends, own) * _side(starts, ends, to)
    return np.asarray(np.maximum(theirs, its) < 0)


def _hits(
    starts: NDArray[np.float64], ends: NDArray[np.float64], boxes: NDArray[np.float64], half: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Return True where a line meets a box: (C, K), to which all four broadcast.

    They do not where a line parallel to an axis, or to the line itself, can be drawn between them.
    """
    along = np.abs(ends - starts) / 2
    between = (starts + ends) / 2 - boxes
    near = np.asarray(np.abs(between) < half + along).all(-1)
    across = np.abs(_side(starts, ends, boxes)) / 2 < half[..., 0] * along[..., 1] + half[..., 1] * along[..., 0]
    return np.asarray(near & across)
