"""Pictures as pixels: one size, one number of channels, eight bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mnistvae._checks import check_count
from mnistvae.errors import SettingError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["ImageSize", "channels_of", "check_layout", "pixels_of"]

#: Height and width in pixels; one integer for a square.
ImageSize: TypeAlias = int | tuple[int, int]


def check_layout(image_size: Any, channels: Any) -> tuple[tuple[int, int] | None, int | None]:
    """An image size as (height, width), and a number of channels, where they are given.

    Raises:
        SettingError: If the size is not one or two positive integers, or the number of channels not 1 or 3.
    """
    if channels not in (None, 1, 3):  # which may have no hash
        raise SettingError("channels as 1 for grey or 3 for colour", repr(channels))
    if image_size is None:
        return None, channels
    sizes = image_size if isinstance(image_size, tuple | list) else (image_size, image_size)
    expected = "image_size as a positive integer, or (height, width)"
    if len(sizes) != 2:
        raise SettingError(expected, repr(image_size))
    return (check_count(expected, sizes[0]), check_count(expected, sizes[1])), channels


def channels_of(picture: Image) -> int:
    """1 for a picture in grey, 3 for one in colour; palettes count as colour."""
    return 1 if picture.mode in {"1", "L", "LA"} else 3


def pixels_of(picture: Image, size: tuple[int, int] | None, channels: int) -> NDArray[np.uint8]:
    """The pixels of a picture, (channels, height, width).

    Transparent pixels are laid over black. Colour becomes grey by the luma of Rec. 601,
    0.299 R + 0.587 G + 0.114 B. A picture of another size is resampled with Pillow's bilinear filter, which averages
    over all the pixels that a smaller picture's pixel covers; its sides may change their proportion.

    Args:
        picture: Picture of eight bits a channel.
        size: Height and width; None to keep them.
        channels: 1 for grey, 3 for colour.
    """
    from PIL import Image

    if picture.mode in {"LA", "PA", "RGBA"} or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, (0, 0, 0, 255)), picture)
    picture = picture.convert("L" if channels == 1 else "RGB")
    if size is not None and picture.size != size[::-1]:
        picture = picture.resize(size[::-1], Image.Resampling.BILINEAR)
    pixels: NDArray[np.uint8] = np.asarray(picture)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)
