"""Images as tensors: shapes, dtypes, ranges, and one picture made of many.

Everywhere in mnistvae an image batch is ``(B, C, H, W)`` float in [0, 1]; the functions here bring
other forms (``(B, H, W)``, ``(B, H * W)``, uint8, numpy) into it, or say why they cannot.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mnistvae._checks import check_count, check_number, listed
from mnistvae.arrays import ArrayLike, as_tensor, check_array, check_finite
from mnistvae.errors import DataError, SettingError, type_name

__all__ = [
    "ImageShape",
    "Labels",
    "as_images",
    "as_labels",
    "check_range",
    "count_labels",
    "montage",
    "to_uint8",
]

#: (channels, height, width)
ImageShape: TypeAlias = tuple[int, int, int]
#: Class numbers: one for each image, or one integer for all.
Labels: TypeAlias = ArrayLike | Sequence[int] | int


def check_image_shape(shape: Any) -> ImageShape:
    """``shape`` as a tuple of three positive integers (C, H, W).

    Raises:
        SettingError: If it is anything else.
    """
    try:
        sizes = tuple(operator.index(size) for size in shape)
    except TypeError:
        sizes = ()
    if len(sizes) != 3 or min(sizes) < 1:
        raise SettingError(
            "image_shape as three positive integers (channels, height, width)", repr(shape), "for MNIST: (1, 28, 28)"
        )
    return (sizes[0], sizes[1], sizes[2])


def as_images(
    x: ArrayLike,
    image_shape: ImageShape,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """A batch as a float tensor (B, C, H, W); uint8 is divided by 255, other values are kept.

    Only shape and dtype are looked at, never the values: this sits in the training loop.

    Args:
        x: (B, C, H, W), (B, H, W) where C = 1, or (B, C * H * W); float or uint8.
        image_shape: Shape of an image, (C, H, W).
        device: Device of the result (default: that of the images).
        dtype: Floating dtype of the result (default: float32 for uint8 and float64, else that of the images).

    Raises:
        DataError: If the images have another shape or dtype.

    Example:
        >>> as_images(torch.zeros(5, 784, dtype=torch.uint8), (1, 28, 28)).shape
        torch.Size([5, 1, 28, 28])
    """
    x = _images(x)
    if x.dtype is not torch.uint8 and not x.is_floating_point():
        raise DataError(
            "images as floats in [0, 1] or as uint8",
            f"dtype {x.dtype}",
            "convert: x.to(torch.uint8) for 0 to 255, x.float() for 0 to 1",
        )
    x = _with_image_shape(x, image_shape)
    if dtype is None:
        dtype = torch.float32 if x.dtype in {torch.uint8, torch.float64} else x.dtype
    scale = x.dtype is torch.uint8
    x = x.to(device=device, dtype=dtype)
    return x / 255 if scale else x


def check_range(x: Tensor) -> Tensor:
    """``x`` itself, whose values must be finite and in [0, 1].

    Raises:
        DataError: If there are no images, or a value is NaN, infinite or outside [0, 1].
    """
    if x.numel() == 0:
        raise DataError("at least one image", "an empty batch", "check how the batch was selected")
    low, high = (float(value) for value in torch.aminmax(x.detach()))
    if not (math.isfinite(low) and math.isfinite(high)):
        check_finite(x, "images")
    if low < 0 or high > 1:
        value = f"a minimum of {float(f'{low:.6g}')}" if low < 0 else f"a maximum of {float(f'{high:.6g}')}"
        fix = (
            "divide by 255, or pass the uint8 tensor"
            if 1 < high <= 255 and low >= 0
            else "undo the normalisation, for instance (x + 1) / 2 for images in [-1, 1]"
        )
        raise DataError("images in [0, 1]", value, fix)
    return x


def as_labels(y: Any, n: int, num_classes: int | None = None) -> Tensor:
    """Labels as an int64 tensor (n,); one integer stands for all.

    Args:
        y: Tensor, array or sequence of integers, or one integer.
        n: Number of images.
        num_classes: Number of classes, where it is known.

    Raises:
        DataError: If they are not n integers in [0, num_classes).

    Example:
        >>> as_labels(3, n=2)
        tensor([3, 3])
    """
    if isinstance(y, bool) or not isinstance(y, int | np.integer | Tensor | np.ndarray | list | tuple | range):
        raise DataError("labels as integers", type_name(y), "pass an int, or one integer per image")
    labels = as_tensor(y, "labels")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype is torch.bool:
        raise DataError("labels as integers", f"dtype {labels.dtype}", "convert: y.long()")
    if labels.ndim == 0:
        labels = labels.expand(n)
    if labels.shape != (n,):
        raise DataError(
            f"one label for each of {n} images, shape ({n},)",
            f"shape {tuple(labels.shape)}",
            "pass class numbers, not one-hot vectors" if labels.ndim > 1 else "pass as many labels as images",
        )
    # Reading the values would make a GPU wait; there they are checked once, when the data set is made.
    if num_classes is not None and n > 0 and labels.device.type == "cpu" and not torch.compiler.is_compiling():
        low, high = (int(value) for value in torch.aminmax(labels))
        if low < 0 or high >= num_classes:
            raise DataError(
                f"labels from 0 to {num_classes - 1}",
                str(low if low < 0 else high),
                "number the classes from 0, or set num_classes",
            )
    return labels.long()


def count_labels(y: Labels) -> int:
    """Number of labels in ``y``; an integer is one."""
    return (
        int(y.shape[0]) if isinstance(y, Tensor | np.ndarray) and y.ndim else len(y) if isinstance(y, Sequence) else 1
    )


def match_classes(labels: Any, classes: Any, n: int, columns: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The labels of n images and the classes of some columns, each label being one of these classes.

    Raises:
        DataError: If there are fewer than two classes, one stands twice, their number is not that of the columns, or
            a label is none of them.
    """
    found = listed(classes)
    wanted = f"two or more different classes, one for each of {columns} columns"
    if found is None or len(found) != columns or columns < 2:
        got = type_name(classes) if found is None else str(found)
        raise DataError(wanted, got, "take classes and probabilities of one classification")
    known = as_labels(found, columns).cpu().numpy()
    if len(np.unique(known)) < columns:
        raise DataError(wanted, str(found), "take classes and probabilities of one classification")
    true = as_labels(labels, n).cpu().numpy()
    strangers = np.setdiff1d(true, known)
    if len(strangers):
        raise DataError(
            f"labels that are one of the classes {known.tolist()}", f"{strangers[0]}", "pass the columns' classes"
        )
    return true, known


def to_uint8(x: ArrayLike) -> Tensor:
    """Images as uint8: floats in [0, 1] are rounded to the nearest of 256 levels.

    Raises:
        DataError: If a value is NaN or outside [0, 1], or the dtype is another.
    """
    x = _images(x)
    if x.dtype is torch.uint8:
        return x
    if x.dtype is torch.bool:
        return x.to(torch.uint8) * 255
    if not x.is_floating_point():
        raise DataError(
            "images as floats in [0, 1] or as uint8", f"dtype {x.dtype}", "convert: x.to(torch.uint8) for 0 to 255"
        )
    return (check_range(x) * 255).round().to(torch.uint8)


def montage(images: ArrayLike, columns: int | None = None, *, padding: int = 1, fill: float = 0.0) -> NDArray[np.uint8]:
    """Many images side by side in one: (H', W') for grey images, (H', W', 3) for colour.

    Args:
        images: (N, C, H, W) or (N, H, W), float in [0, 1] or uint8, C = 1 or 3.
        columns: Images in a row (default: as many as make a square).
        padding: Pixels between images and around them.
        fill: Grey level of the padding and of the places left over, 0 to 1.

    Raises:
        DataError: If there are no images, or they have another shape.
        SettingError: If columns, padding or fill make no sense.

    Example:
        >>> montage(torch.rand(6, 1, 28, 28), columns=3).shape
        (59, 88)
    """
    import skimage.util

    pixels = as_pixels(images)
    n, channels = pixels.shape[:2]
    columns = grid_columns(n, columns)
    padding = check_count("padding of at least 0 pixels", padding, least=0)
    fill = check_number("fill as a grey level from 0 to 1", fill)
    if fill > 1:
        raise SettingError("fill as a grey level from 0 to 1", repr(fill))
    picture: NDArray[np.uint8] = skimage.util.montage(
        np.moveaxis(pixels, 1, -1),
        fill=[round(255 * fill)] * channels,
        grid_shape=(math.ceil(n / columns), columns),
        padding_width=padding,
        channel_axis=-1,
    )
    return picture[..., 0] if channels == 1 else picture


def as_pixels(images: ArrayLike) -> NDArray[np.uint8]:
    """Images that can be shown, as uint8 (N, 1 or 3, H, W).

    Raises:
        DataError: If there are no images, their shape is another, or a value is outside [0, 1].
    """
    pixels: NDArray[np.uint8] = to_uint8(images).detach().cpu().numpy()
    if pixels.ndim == 3:
        pixels = pixels[:, None]
    if pixels.ndim != 4 or pixels.shape[1] not in {1, 3}:
        raise DataError(
            "images of shape (N, 1, H, W), (N, 3, H, W) or (N, H, W)",
            f"shape {tuple(pixels.shape)}",
            "reshape them, for instance x.reshape(-1, 1, 28, 28)",
        )
    if len(pixels) == 0:
        raise DataError("at least one image", "an empty batch", "check how the images were selected")
    return pixels


def grid_columns(n: int, columns: int | None) -> int:
    """Images in a row of a grid of n: ``columns``, or as many as make a square.

    Raises:
        SettingError: If there are fewer than one.
    """
    if columns is None:
        return math.ceil(math.sqrt(n))
    return check_count("columns of at least 1", columns)


def _images(x: Any) -> Tensor:
    return as_tensor(check_array(x, "images"), "images")


def _with_image_shape(x: Tensor, image_shape: ImageShape) -> Tensor:
    channels, height, width = image_shape
    if x.ndim == 4 and x.shape[1:] == image_shape:
        return x
    if (x.ndim == 2 and x.shape[1] == channels * height * width) or (
        x.ndim == 3 and channels == 1 and x.shape[1:] == (height, width)
    ):
        return x.reshape(-1, *image_shape)
    forms = [f"(B, {channels}, {height}, {width})", f"(B, {channels * height * width})"]
    if channels == 1:
        forms.insert(1, f"(B, {height}, {width})")
    fix = "reshape, or make the model for this shape"
    if x.shape == image_shape:
        fix = "add the batch dimension: x[None]"
    elif x.ndim == 4 and x.shape[1:] == (height, width, channels):
        fix = "move the channels first: x.permute(0, 3, 1, 2)"
    raise DataError(f"images of shape {' or '.join(forms)}", f"shape {tuple(x.shape)}", fix)
