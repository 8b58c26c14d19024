"""Points in the plane as images of two pixels: moons, rings and normals, to see the whole of what a model learns."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from mnistvae._checks import check_choice, check_count, check_number, check_seed
from mnistvae._random import Stream, derive_seed
from mnistvae.data.dataset import ImageDataset

__all__ = ["Toy", "toy"]

#: Kinds of points in the plane.
Toy: TypeAlias = Literal["moons", "rings", "gaussians"]
#: Coordinates from -_REACH to _REACH are pixels from 0 to 1.
_REACH = 2.0
_NORMALS = 8


def toy(name: Toy, n: int = 1000, *, noise: float = 0.1, seed: int = 0, split: str = "all") -> ImageDataset:
    r"""Points in the plane as images of two pixels, (n, 1, 1, 2), which a model with ``image_shape=(1, 1, 2)`` takes.

    - "moons": two half circles of radius 1, each with an end inside the other.
    - "rings": two circles of radius 1.5 and 0.75.
    - "gaussians": eight normals around a circle of radius 1.5.

    The label is the moon, the ring or the normal, all equally likely. Coordinates from -2 to 2 are pixels,
    :math:`x = (c + 2) / 4`, and what lies beyond is put on the edge. Like all images the points are kept in
    256 levels, so they lie on a grid 4 / 255 apart; a likelihood of continuous pixels, such as
    ``Gaussian(0.02)``, goes with them.

    Args:
        name: Kind of the points.
        n: Number of points.
        noise: Standard deviation of the points about their curve or centre, in each coordinate.
        seed: Seed of what is drawn.
        split: Name of the part, for records.

    Raises:
        SettingError: If the kind is not known, or a number makes no sense.

    Example:
        >>> points = toy("moons", 500)
        >>> points
        ImageDataset(500 images of shape (1, 1, 2), 2 classes, name='moons', split='all')
        >>> coordinates = points.images.flatten(1) / 255 * 4 - 2  # (500, 2)
        >>> mv.VAE(latent_dim=2, image_shape=(1, 1, 2)).sample(3).shape
        torch.Size([3, 1, 1, 2])
    """
    name = check_choice("name", name, get_args(Toy))
    n = check_count("n as a number of at least 1 point", n)
    noise = check_number("noise as a standard deviation of at least 0", noise)
    generator = torch.Generator().manual_seed(derive_seed(check_seed(seed), Stream.SHAPES))
    part, turn = torch.rand(2, n, generator=generator, dtype=torch.float64, device="cpu")
    points, labels = _CURVES[name](part, turn)
    points = points + noise * torch.randn(n, 2, generator=generator, dtype=torch.float64, device="cpu")
    pixels = ((points + _REACH) / (2 * _REACH)).clamp(0, 1)
    return ImageDataset(pixels.view(n, 1, 1, 2), labels, max_value=1, name=name, split=split)


def _moons(part: Tensor, turn: Tensor) -> tuple[Tensor, Tensor]:
    label = (part >= 0.5).long()
    sign, angle = 1.0 - 2.0 * label, math.pi * turn
    return torch.stack([sign * (angle.cos() - 0.5), sign * (angle.sin() - 0.25)], 1), label


def _rings(part: Tensor, turn: Tensor) -> tuple[Tensor, Tensor]:
    label = (part >= 0.5).long()
    return _on_circle(1.5 - 0.75 * label, 2 * math.pi * turn), label


def _normals(part: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
    label = (part * _NORMALS).long()
    return _on_circle(torch.full_like(part, 1.5), 2 * math.pi / _NORMALS * label), label


def _on_circle(radius: Tensor, angle: Tensor) -> Tensor:
    return radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1)


#: Points without noise, (n, 2), and labels of two uniform numbers each.
_CURVES: dict[str, Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]] = {
    "moons": _moons,
    "rings": _rings,
    "gaussians": _normals,
}
