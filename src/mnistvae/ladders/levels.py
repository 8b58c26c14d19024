"""Levels of a ladder: their sizes, and the codes of all of them one after the other."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from mnistvae._checks import check_widths, listed
from mnistvae.distributions import DiagonalNormal
from mnistvae.errors import SettingError
from mnistvae.images import ImageShape
from mnistvae.networks.blocks import halvings

__all__ = [
    "Choose",
    "Level",
    "LevelStep",
    "Residual",
    "central",
    "channels_of",
    "check_levels",
    "given",
    "grid_of",
    "joined",
    "moved",
    "sizes_of",
]

#: Size of a level's code: a number of dimensions, or the shape (C, H, W) of a grid of them.
Level: TypeAlias = int | tuple[int, int, int]
#: Halvings of an image after which little is left of any.
MOST_HALVINGS = 8


class LevelStep(NamedTuple):
    """A level on the way down: its code (N, size), posterior and prior given the levels above it."""

    z: Tensor
    q: DiagonalNormal
    p: DiagonalNormal


#: Chooses the code of a level by its number, from the distribution that it has.
Choose: TypeAlias = Callable[[int, DiagonalNormal], Tensor]
#: The posterior of a level by its number, from the state above it and its prior.
Residual: TypeAlias = Callable[[int, Tensor, DiagonalNormal], DiagonalNormal]


def channels_of(level: Level) -> int:
    """Dimensions of a level; of a grid, those of each place."""
    return level[0] if isinstance(level, tuple) else level


def grid_of(level: Level) -> tuple[int, ...]:
    """Height and width of a level that is a grid, else nothing."""
    return level[1:] if isinstance(level, tuple) else ()


def sizes_of(levels: Sequence[Level]) -> list[int]:
    """Dimensions of each level, all places of a grid together."""
    return [math.prod(level) if isinstance(level, tuple) else level for level in levels]


def check_levels(levels: Sequence[Level], image_shape: ImageShape | None = None) -> tuple[Level, ...]:
    """The levels as a tuple of sizes, or of shapes; where there is an image, shapes that its networks come by."""
    given = listed(levels)
    if not given:
        example = "for instance (8, 16, 32), from the top down, or ((16, 4, 4), (8, 7, 7))"
        raise SettingError("levels as one or more sizes", repr(levels), example)
    grids = [listed(level) is not None for level in given]
    if any(grids) != all(grids):
        raise SettingError("levels that are all sizes, or all shapes (C, H, W)", repr(levels), "a size n is (n, 1, 1)")
    if not any(grids):
        return check_widths("levels", given, least=1)
    shapes = [check_widths(f"level {number} as a shape (C, H, W)", level) for number, level in enumerate(given, 1)]
    for number, shape in enumerate(shapes, 1):
        if len(shape) != 3:
            raise SettingError(f"level {number} as a shape (C, H, W)", repr(shape), "for instance (8, 7, 7)")
        if number > 1 and (shape[1] < shapes[number - 2][1] or shape[2] < shapes[number - 2][2]):
            fix = "levels go from the top, which is the smallest, down to the image"
            raise SettingError(f"level {number} at least as large as level {number - 1}", f"levels={levels}", fix)
        if image_shape is not None and shape[1:] not in halvings(image_shape, MOST_HALVINGS):
            sides = ", ".join(
                f"{height} x {width}" for height, width in dict.fromkeys(halvings(image_shape, MOST_HALVINGS))
            )
            expected = f"level {number} of an image's size, halved some times: {sides}"
            raise SettingError(expected, f"{shape[1]} x {shape[2]}")
    return tuple((channels, height, width) for channels, height, width in shapes)


def central(_: int, normal: DiagonalNormal) -> Tensor:
    """The mean of a level."""
    return normal.mean


def given(codes: Tensor, levels: tuple[Level, ...]) -> Choose:
    """A choice of the levels of codes (n, latent_dim) that are there already."""
    parts = torch.split(codes, sizes_of(levels), dim=1)
    return lambda number, _: parts[number]


def moved(noise: Tensor, levels: tuple[Level, ...], temperature: Sequence[float] = ()) -> Choose:
    """A choice of each level by reparameterization of noise (n, latent_dim), with a factor of each level's spread."""
    parts = torch.split(noise, sizes_of(levels), dim=1)

    def choose(number: int, normal: DiagonalNormal) -> Tensor:
        spread = (0.5 * normal.logvar).exp()
        return torch.addcmul(normal.mu, spread * temperature[number] if temperature else spread, parts[number])

    return choose


def joined(steps: Sequence[LevelStep]) -> Tensor:
    """The codes of all levels one after the other, (n, latent_dim)."""
    return torch.cat([step.z for step in steps], dim=1)
