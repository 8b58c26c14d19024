"""Pictures as pixels: one size, one number of channels, eight bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from mnistvae._checks import check_count
from mnistvae.data.dataset import ImageDataset
from mnistvae.errors import DataError, SettingError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["ImageSize", "check_layout", "pixels_of", "resized"]

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


def resized(data: ImageDataset, image_size: ImageSize | None = None, channels: int | None = None) -> ImageDataset:
    """The same images in another size or with another number of channels, converted as :func:`pixels_of` does.

    Args:
        data: Images with 1 or 3 channels.
        image_size: Height and width, or one integer for both; None to keep them.
        channels: 1 for grey, 3 for colour; None to keep them.

    Raises:
        SettingError: If the size or the number of channels makes no sense.
        DataError: If the images have another number of channels than 1 or 3.

    Example:
        >>> resized(mv.load_dataset("mnist-mini", "test")[:5], 32, channels=3).image_shape
        (3, 32, 32)
    """
    from PIL import Image

    size, wanted = check_layout(image_size, channels)
    own, *own_size = data.image_shape
    shape = (wanted or own, *(size or own_size))
    if shape == data.image_shape:
        return data
    if own not in {1, 3}:
        raise DataError("images of 1 or 3 channels, to resize them", f"{own} channels")
    images = torch.empty(len(data), *shape, dtype=torch.uint8)
    for place, image in zip(images, data.images.cpu().numpy(), strict=True):
        picture = Image.fromarray(image[0] if own == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)))
        place.copy_(torch.from_numpy(pixels_of(picture, size, shape[0]).copy()))
    return data.replace(images=images.to(data.device), max_value=255)
