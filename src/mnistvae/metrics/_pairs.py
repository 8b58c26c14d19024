"""Two batches of images, compared image by image: a chunk at a time, once they are known to match."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from mnistvae._checks import check_number
from mnistvae.arrays import ArrayLike, as_tensor, check_array, check_finite, with_double
from mnistvae.errors import DataError, SettingError
from mnistvae.images import ImageShape, as_images

__all__ = ["check_data_range", "common_shape", "pairs"]

#: Bytes by the type of the device.
Chunks: TypeAlias = Mapping[str, int]

#: Bytes of pixels that are compared at once: on a CPU as many as stay in its cache, elsewhere enough to keep it busy.
_CHUNK = {"cpu": 2**21}
_WIDE = 2**26


def check_data_range(data_range: float) -> float:
    """``data_range`` as a float above 0, whose square is one, too.

    Raises:
        SettingError: If it is anything else.
    """
    expected, fix = "data_range as a finite number above 0", "1 for images in [0, 1]"
    checked = check_number(expected, data_range, above=True, fix=fix)
    if not 0 < checked * checked < math.inf:  # its square is what the formulas have
        raise SettingError(f"{expected}, and so its square", str(checked), fix)
    return checked


@torch.no_grad()
def pairs(
    a: ArrayLike, b: ArrayLike, data_range: float = 1.0, dtype: torch.dtype = torch.float64, chunks: Chunks = _CHUNK
) -> Iterator[tuple[Tensor, Tensor]]:
    """Chunks of both batches, (n, C, H, W), on one device, once they are known to be finite and in range."""
    a, b = check_array(a, "a"), check_array(b, "b")
    shape = common_shape(a, b)
    if data_range != 1 and any(x.dtype in {torch.uint8, np.dtype(np.uint8)} for x in (a, b)):
        raise SettingError(
            "data_range=1 for uint8 images, which are divided by 255", str(data_range), "leave data_range out"
        )
    device = next((x.device for x in (a, b) if isinstance(x, Tensor)), torch.device("cpu"))
    device = with_double(device)
    chunk = max(1, chunks.get(device.type, _WIDE) // (dtype.itemsize * math.prod(shape)))
    lowest, highest = math.inf, -math.inf
    for start in range(0, len(a), chunk):
        pair = []
        for name, x in (("a", a), ("b", b)):
            images = as_images(x[start : start + chunk], shape, device=device, dtype=dtype)
            low, high = (float(value) for value in torch.aminmax(images))
            if not (math.isfinite(low) and math.isfinite(high)):
                check_finite(as_tensor(x, name), f"images in {name}")
                raise DataError(f"values in {name} that float32 can hold", "larger ones", "bring them into [0, 1]")
            lowest, highest = min(lowest, low), max(highest, high)
            pair.append(images)
        if highest - lowest > data_range * (1 + 1e-6):  # rounding, of an image that was scaled into the range
            raise DataError(
                f"images whose values span at most {data_range:g}",
                f"values from {lowest:.6g} to {highest:.6g}",
                "bring both into [0, 1], for instance divide by 255, or pass uint8",
            )
        yield pair[0], pair[1]


def common_shape(a: Any, b: Any) -> ImageShape:
    """(C, H, W) of two batches of images, the better known of which says how the other is read."""
    a, b = check_array(a, "a"), check_array(b, "b")
    for name, x in (("a", a), ("b", b)):
        if x.ndim not in {2, 3, 4} or 0 in x.shape[1:]:
            raise DataError(
                f"{name} as images of shape (N, C, H, W), (N, H, W) or (N, H * W)",
                f"shape {tuple(x.shape)}",
                "add the batch dimension: x[None]" if x.ndim == 1 else "reshape it",
            )
    if len(a) != len(b):
        raise DataError("as many images in a as in b", f"{len(a)} and {len(b)}", "compare each with its own")
    if len(a) == 0:
        raise DataError("at least one image", "two empty batches", "check how they were selected")
    shape = _image_shape(a if a.ndim >= b.ndim else b)
    channels, height, width = shape
    forms = {shape, (channels * height * width,)} | ({(height, width)} if channels == 1 else set())
    if not all(tuple(x.shape[1:]) in forms for x in (a, b)):
        got = f"shapes {tuple(a.shape)} and {tuple(b.shape)}"
        raise DataError("images of one size in a and b", got, "resize or reshape one of them")
    return shape


def _image_shape(x: ArrayLike) -> ImageShape:
    sizes = tuple(int(size) for size in x.shape[1:])
    if len(sizes) == 3:
        return (sizes[0], sizes[1], sizes[2])
    if len(sizes) == 2:
        return (1, sizes[0], sizes[1])
    side = math.isqrt(sizes[0])
    if side * side != sizes[0]:
        raise DataError(
            "flat images that are square, such as (N, 784)", f"shape {tuple(x.shape)}", "reshape to (N, C, H, W)"
        )
    return (1, side, side)
