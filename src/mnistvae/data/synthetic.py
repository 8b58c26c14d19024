"""Images that are drawn from known factors: squares and ellipses by place, size and angle."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from mnistvae._checks import check_count, check_mapping, check_number, check_seed
from mnistvae._random import Stream, derive_seed
from mnistvae.arrays import check_finite
from mnistvae.data.dataset import ImageDataset
from mnistvae.data.factors import Factors
from mnistvae.data.pictures import ImageSize, check_layout
from mnistvae.errors import DataError, SettingError

__all__ = ["SHAPE_FACTORS", "draw_shapes", "shapes"]

#: Names of the shapes, in the order of their numbers.
_SHAPES = ("square", "ellipse")
#: Factors of a shape with the least and the greatest value, and the number of values in the grid.
SHAPE_FACTORS: Mapping[str, tuple[float, float, int]] = MappingProxyType(
    {
        "shape": (0, 1, 2),
        "size": (0.5, 1.0, 4),
        "angle": (0.0, math.pi / 2, 8),  # the greatest is left out: a square that is turned by it is the same
        "x": (0.3, 0.7, 8),
        "y": (0.3, 0.7, 8),
    }
)
#: Side of the largest square, as a part of the image's shorter side.
_SIDE = 0.36
#: An ellipse is twice as long as wide, and has the area of the square of its size: pi a b = 4 with a = 2 b.
_LONG, _SHORT = 2 * math.sqrt(2 / math.pi), math.sqrt(2 / math.pi)
#: Lines a pixel along which a shape is cut.
_LINES = 8
#: Pixels that are drawn at once.
_TILE = 2**20


def shapes(
    n: int | None = None,
    *,
    image_size: ImageSize = 28,
    fixed: Mapping[str, float] | None = None,
    seed: int = 0,
    split: str = "all",
) -> ImageDataset:
    """Squares and ellipses whose shape, size, angle and place are known, after dSprites (Matthey et al. 2017).

    Each factor varies on its own. The factors are in ``data.factors``, and the shape is the label:

    - ``shape``: 0 for a square, 1 for an ellipse twice as long as wide.
    - ``size``: 0.5 to 1; the side of the square by that of the largest one, 0.36 of the image's shorter side. An
      ellipse has the area of the square of its size.
    - ``angle``: 0 to pi / 2, clockwise in radians, of the square's side or of the ellipse's long axis from the
      horizontal. A quarter of a turn more gives the same square, so an image tells the angle.
    - ``x``, ``y``: 0.3 to 0.7; the centre as a part of the image's width and height, from the left and from the top.

    Args:
        n: Number of images, for which all factors are drawn uniformly; None for the grid of all combinations of 2
            shapes, 4 sizes, 8 angles, 8 x and 8 y: 4,096 images, y varying fastest.
        image_size: Height and width, or one integer for both.
        fixed: Values of some factors, by name, that are the same in all images.
        seed: Seed of what is drawn.
        split: Name of the part, for records.

    Raises:
        SettingError: If a number makes no sense, or ``fixed`` names something else or a value out of the range.

    Example:
        >>> data = shapes(1000, fixed={"angle": 0.0})
        >>> data
        ImageDataset(1000 images of shape (1, 28, 28), 2 classes (square, ellipse), \
factors shape, size, angle, x, y, name='shapes', split='all')
        >>> len(shapes()), len(shapes(fixed={"size": 1.0}))
        (4096, 1024)
    """
    kept = _fixed({} if fixed is None else fixed)
    if n is None:
        axes = [_grid_of(name)[:1].fill_(kept[name]) if name in kept else _grid_of(name) for name in SHAPE_FACTORS]
        columns = [axis.flatten() for axis in torch.meshgrid(*axes, indexing="ij")]
    else:
        n = check_count("n as a number of at least 1 image, or None for the grid", n)
        generator = torch.Generator().manual_seed(derive_seed(check_seed(seed), Stream.SHAPES))
        drawn = torch.rand(len(SHAPE_FACTORS), n, generator=generator, dtype=torch.float64, device="cpu")
        columns = [
            each.fill_(kept[name]) if name in kept else _spread(name, each)
            for name, each in zip(SHAPE_FACTORS, drawn.unbind(), strict=True)
        ]
    kinds, *rest = columns
    factors = Factors(dict(zip(SHAPE_FACTORS, (kinds.long(), *rest), strict=True)))
    images = draw_shapes(factors, image_size)
    return ImageDataset(
        images, factors["shape"], class_names=_SHAPES, max_value=255, name="shapes", split=split, factors=factors
    )


@torch.no_grad()
def draw_shapes(factors: Factors, image_size: ImageSize = 28) -> Tensor:
    """Draw squares and ellipses, white on black; a pixel is as bright as the share of it that the shape covers.

    The share is exact along a row, and a mean over 8 lines in it.

    Args:
        factors: The five factors of :func:`shapes`, with any sizes above 0 and any places: what leaves the image is
            cut off.
        image_size: Height and width, or one integer for both.

    Returns:
        Images (N, 1, H, W), uint8.

    Raises:
        DataError: If a factor is not there or not finite, or a size is not above 0.
        SettingError: If the image size makes no sense.

    Example:
        >>> one = Factors({"shape": [0], "size": [1.0], "angle": [0.0], "x": [0.5], "y": [0.5]})
        >>> draw_shapes(one, 6)[0, 0] // 128
        tensor([[0, 0, 0, 0, 0, 0],
                [0, 0, 0, 0, 0, 0],
                [0, 0, 1, 1, 0, 0],
                [0, 0, 1, 1, 0, 0],
                [0, 0, 0, 0, 0, 0],
                [0, 0, 0, 0, 0, 0]], dtype=torch.uint8)
    """
    size, _ = check_layout(image_size, None)
    height, width = size or (28, 28)
    values = check_finite(torch.stack([factors[name].double() for name in SHAPE_FACTORS], 1), "factors")
    if float(values[:, 1].min()) <= 0:
        raise DataError("sizes above 0", str(float(values[:, 1].min())))
    parts = torch.split(values, max(1, _TILE // (height * width * _LINES)))
    return torch.cat([_drawn(part, height, width) for part in parts])[:, None]


def _drawn(values: Tensor, height: int, width: int) -> Tensor:
    """The shapes with factors (n, 5), uint8 (n, H, W)."""
    kind, size, angle, x, y = values[..., None].unbind(1)
    half = size * _SIDE * min(height, width) / 2
    # Places of the lines below the centre, (n, lines).
    lines = (torch.arange(height * _LINES, device="cpu").double() + 0.5) / _LINES - y * height
    cosine, sine = angle.cos(), angle.sin()
    low, high = _inside_square(lines, cosine, sine, half)
    round_low, round_high = _inside_ellipse(lines, cosine, sine, half)
    square = kind == 0
    ends = (torch.where(square, end, other) + x * width for end, other in ((low, round_low), (high, round_high)))
    left, right = (end[..., None] for end in ends)
    pixel = torch.arange(width, device="cpu").double()
    covered = (right - pixel).clamp(0, 1) - (left - pixel).clamp(0, 1)
    share = covered.view(len(values), height, _LINES, width).mean(2)
    return (255 * share).round().to(torch.uint8)


def _inside_square(lines: Tensor, cosine: Tensor, sine: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
    """The ends of horizontal lines within a turned square about the origin; both the same for lines beside it."""
    low, high = torch.full_like(lines, -math.inf), torch.full_like(lines, math.inf)
    for along, across in ((cosine, lines * sine), (sine, -lines * cosine)):  # |x along + across| <= half, of two pairs
        safe = torch.where(along.abs() < 1e-12, 1e-12, along)
        ends = torch.stack([(-half - across) / safe, (half - across) / safe])
        low, high = torch.maximum(low, ends.amin(0)), torch.minimum(high, ends.amax(0))
    return low, torch.maximum(low, high)


def _inside_ellipse(lines: Tensor, cosine: Tensor, sine: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
    """The ends of horizontal lines within a turned ellipse about the origin; both the same for lines beside it."""
    long, short = (half * _LONG) ** 2, (half * _SHORT) ** 2
    a = cosine**2 / long + sine**2 / short  # a x^2 + 2 b x + c = 0 on the ellipse
    b = lines * cosine * sine * (1 / long - 1 / short)
    c = lines**2 * (sine**2 / long + cosine**2 / short) - 1
    root = (b**2 - a * c).clamp(min=0).sqrt()
    return (-b - root) / a, (-b + root) / a


def _grid_of(name: str) -> Tensor:
    """The values of a factor in the grid."""
    low, high, count = SHAPE_FACTORS[name]
    steps = count if name == "angle" else count - 1
    return torch.arange(count, device="cpu").double() * ((high - low) / steps) + low


def _spread(name: str, uniform: Tensor) -> Tensor:
    """Values of a factor of uniform numbers in [0, 1)."""
    low, high, _ = SHAPE_FACTORS[name]
    return (uniform >= 0.5).double() if name == "shape" else low + (high - low) * uniform


def _fixed(fixed: Mapping[str, Any]) -> dict[str, float]:
    """Values of factors that are the same in all images, each in its range."""
    found = {}
    for name, value in check_mapping("fixed as a mapping of names to values", fixed, "{'angle': 0.0}").items():
        if name not in SHAPE_FACTORS:
            raise SettingError(f"fixed factors among {', '.join(SHAPE_FACTORS)}", repr(name), "check the spelling")
        low, high, _ = SHAPE_FACTORS[name]
        expected = f"{name} as 0 or 1" if name == "shape" else f"{name} from {low:g} to {high:.4g}"
        found[name] = check_number(expected, value, low)
        if found[name] > high or (name == "shape" and found[name] not in {0, 1}):
            raise SettingError(expected, str(value))
    return found
