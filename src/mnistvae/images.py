"""Images as tensors: shapes, dtypes, ranges, and one picture made of many.

Everywhere in mnistvae an image batch is ``(B, C, H, W)`` float in [0, 1]; the functions here bring
other forms (``(B, H, W)``, ``(B, H * W)``, uint8, numpy) into it, or say why they cannot.
"""

from __future__ import annotations

import math
import operator
import warnings
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mnistvae._checks import check_count, check_number
from mnistvae.arrays import ArrayLike, as_tensor, check_array, check_finite, double_on, for_kind
from mnistvae.errors import DataError, SettingError

__all__ = [
    "ImageShape",
    "as_images",
    "check_range",
    "montage",
    "to_uint8",
]

#: Pixels too few to tell by them what scale they are on, and a brightest one that is nearly black.
_FEW_PIXELS, _DARK = 1000, 16
#: (channels, height, width)
ImageShape: TypeAlias = tuple[int, int, int]


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
    """A batch as a float tensor (B, C, H, W); uint8 is divided by 255, True is 1, other values are kept.

    Only shape and dtype are looked at, never the values: this sits in the training loop. :func:`check_range` looks at
    the values.

    Args:
        x: (B, C, H, W), (B, H, W) where C = 1, or (B, C * H * W); float, uint8 or bool.
        image_shape: Shape of an image, (C, H, W).
        device: Device of the result (default: that of the images).
        dtype: Floating dtype of the result (default: float32 for uint8, bool and float64, else that of the images).

    Raises:
        DataError: If the images have another shape or dtype.

    Example:
        >>> as_images(torch.zeros(5, 784, dtype=torch.uint8), (1, 28, 28)).shape
        torch.Size([5, 1, 28, 28])
    """
    given, x = x, _images(x)
    if not (x.dtype in {torch.uint8, torch.bool} or x.is_floating_point()):
        fix = "convert: abs(x)" if x.is_complex() else _to_bytes(given)
        raise DataError("images as floats in [0, 1] or as uint8", f"dtype {x.dtype}", fix)
    x = _with_image_shape(x, image_shape, given)
    if dtype is None:
        dtype = torch.float32 if x.dtype in {torch.uint8, torch.bool, torch.float64} else x.dtype
    scale = x.dtype is torch.uint8
    x = x.to(device=device, dtype=dtype)
    return x / 255 if scale else x


def check_range(x: Tensor) -> Tensor:
    """``x`` itself, whose values must be finite and in [0, 1]; what lies beyond by a rounding error is clipped.

    A rounding error is up to 1e-6, or what the dtype resolves at 1, if that is more.

    Raises:
        DataError: If there are no images, or a value is NaN, infinite or outside [0, 1].
    """
    if x.numel() == 0:
        raise DataError("at least one image", "an empty batch", "check how the batch was selected")
    if x.device.type == "meta":
        raise DataError("images with values", "a tensor on the device 'meta', which has none", "move it: x.to('cpu')")
    low, high = (float(value) for value in torch.aminmax(x.detach()))
    if low >= 0 and high <= 1:
        return x
    if not (math.isfinite(low) and math.isfinite(high)):
        check_finite(x, "images")
    beyond = max(1e-6, torch.finfo(x.dtype).eps) if x.is_floating_point() else 0.0
    if -beyond <= low and high <= 1 + beyond:
        return x.clamp(0, 1)
    value = f"a minimum of {_shortest(low)}" if low < 0 else f"a maximum of {_shortest(high)}"
    raise DataError("images in [0, 1]", value, _range_fix(low, high))


def _shortest(value: float) -> str:
    """A value outside [0, 1] in as few digits as tell it from 0 and 1."""
    return next(text for n in range(6, 18) if (text := str(float(f"{value:.{n}g}"))) not in {"0.0", "-0.0", "1.0"})


def _range_fix(low: float, high: float) -> str:
    """Advice that brings values from ``low`` to ``high``, which are not all in [0, 1], into it."""
    if low >= -0.4 and high <= 1.4:
        return "clip what resizing has added: x.clamp(0, 1) of a tensor, x.clip(0, 1) of an array"
    if low >= 0:
        if 128 <= high <= 255:
            return "divide by 255, or pass the uint8 tensor"
        top = next((scale for scale in (255, 1023, 4095, 16383, 65535) if scale / 2 < high <= scale), math.ceil(high))
        return f"divide by the largest value of their scale, x / {top}, or pass ImageDataset(x, max_value={top})"
    if -1.001 <= low < -0.95 and high <= 1.001:
        return "undo the normalisation to [-1, 1]: (x + 1) / 2"
    return "undo the normalisation: drop Normalize from the transform, or x * std + mean with its numbers"


def reshape_fix(shape: tuple[int, ...], x: Any) -> str:
    """Advice that makes images (N, C, H, W) of numbers of another shape; ``x`` is what came."""
    array = "x" if isinstance(x, Tensor | np.ndarray) else "x.to_numpy()" if hasattr(x, "to_numpy") else "np.asarray(x)"
    if len(shape) == 2:
        side, beside = math.isqrt(shape[1]), math.isqrt(max(0, shape[1] - 1))
        if side**2 == shape[1]:
            return f"reshape them: {array}.reshape(-1, 1, {side}, {side})"
        if beside > 1 and beside**2 == shape[1] - 1:  # a table with its labels, usually in the first column
            pixels, labels = f"{array}[:, 1:]", f"{array}[:, 0]"
            if hasattr(x, "columns") and hasattr(x, "drop"):
                label = next(iter(x.columns))
                pixels, labels = f"x.drop(columns={label!r}).to_numpy()", f"x[{label!r}]"
            pixels += f".reshape(-1, 1, {beside}, {beside})"
            return f"take the labels apart; if they are the first column: ImageDataset({pixels}, {labels})"
    return f"reshape them, for instance {array}.reshape(-1, 1, 28, 28)"


def check_channels_first(shape: tuple[int, ...], x: Any) -> None:
    """Raise DataError if images of that shape, (N, C, H, W), seem to have their channels last; ``x`` is what came."""
    if shape[3] in {1, 3, 4} and shape[1] > 4:
        fix = for_kind(x, "move them: x.permute(0, 3, 1, 2)", "move them: x.transpose(0, 3, 1, 2)")
        raise DataError("images with their channels first, (N, C, H, W)", f"shape {shape}", fix)


def check_brightness(pixels: Tensor, x: Any) -> None:
    """Look whether pixels, uint8, make use of the scale from 0 to 255; ``x`` is what came.

    Raises:
        DataError: If they are integers of which the brightest is 1: a mask, which would be nearly black.

    Warns:
        UserWarning: If the brightest of many pixels is 16 or less.
    """
    if pixels.numel() < _FEW_PIXELS or pixels.device.type == "meta":
        return
    brightest = int(pixels.max())
    given = _images(x)
    top = given.max().item() if given.is_floating_point() else brightest
    if brightest == 1 and not given.is_floating_point():
        white = for_kind(x, "x.bool()", "x.astype(bool)")
        fix = f"if 1 is white, pass {white} or max_value=1; if they are that dark, max_value=255"
        raise DataError("uint8 images from 0 to 255", "a maximum of 1", fix)
    if top > 0 and brightest <= _DARK:
        end = 1 if given.is_floating_point() else 255
        unit = 10.0 ** (math.floor(math.log10(top)) - 2)
        white = f"{math.ceil(top / unit) * unit:.3g}"  # three digits, and not below
        warnings.warn(
            f"the brightest of all pixels is {white} on the scale from 0 to {end}, which is nearly black: if that is "
            f"white, pass ImageDataset(x, max_value={white}) (on the command line --max-value {white}); if they are "
            f"that dark, max_value={end} leaves this out",
            stacklevel=3,
        )


def to_uint8(x: ArrayLike, max_value: float | None = None) -> Tensor:
    """Images as uint8: floats in [0, 1] are rounded to the nearest of 256 levels, integers from 0 to 255 are kept.

    Args:
        x: Images of any shape.
        max_value: Value that is white, for other scales: 15 of 4 bits, 4095 of 12, 65535 of 16.

    Raises:
        DataError: If a value is NaN or outside the scale, or the dtype is another.
        SettingError: If ``max_value`` is not a number above 0.
    """
    if max_value is not None:
        max_value = check_number("max_value as a finite number above 0", max_value, above=True)
    given, x = x, _images(x)
    if x.dtype is torch.uint8 and max_value in {None, 255}:
        return x
    if x.is_complex():
        raise DataError("images as floats in [0, 1] or as uint8", f"dtype {x.dtype}", "convert: abs(x)")
    if x.dtype is torch.bool:
        return x.to(torch.uint8) * 255
    if max_value is not None:
        return _scaled(x, max_value)
    if x.is_floating_point():
        return (check_range(x) * 255).round().to(torch.uint8)
    low, high = (int(value) for value in torch.aminmax(x.long())) if x.numel() else (0, 255)
    if low >= 0 and 1 < high <= 255:
        return x.to(torch.uint8)
    fix = _to_bytes(given) if low >= 0 and high <= 1 else _range_fix(low, high)
    if x.dtype is torch.int8 and low < 0:  # bytes that were read with a sign
        fix = f"read them without a sign: {for_kind(given, 'x.view(torch.uint8)', 'x.view(np.uint8)')}"
    raise DataError("images as floats in [0, 1] or as uint8", f"dtype {x.dtype} from {low} to {high}", fix)


def _scaled(x: Tensor, max_value: float) -> Tensor:
    """Images from 0 to ``max_value`` as uint8."""
    fractions = x.to(double_on(x.device)) / max_value
    try:
        return (check_range(fractions) * 255).round().to(torch.uint8)
    except DataError as error:
        if error.expected != "images in [0, 1]":
            raise
        low, high = (value.item() for value in torch.aminmax(x.to(fractions.dtype)))
        got, fix = f"values from {low:g} to {high:g}", "give the value that is white as max_value"
        raise DataError(f"images from 0 to max_value={max_value:g}", got, fix) from None


def _to_bytes(x: Any) -> str:
    """Advice that gives integers a dtype that says its scale."""
    levels = for_kind(x, "x.to(torch.uint8)", "x.astype(np.uint8)")
    return f"convert: {levels} if they go from 0 to 255, {for_kind(x, 'x.bool()', 'x.astype(bool)')} if 1 is white"


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
        expected, shape = "images of shape (N, 1, H, W), (N, 3, H, W) or (N, H, W)", tuple(pixels.shape)
        raise DataError(expected, f"shape {shape}", reshape_fix(shape, images))
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
    fix = "an ImageDataset, a DataLoader or a list of items can be trained on; load_dataset reads files and folders"
    fix = "pass its images: data.images" if isinstance(getattr(x, "images", None), Tensor) else fix
    images = as_tensor(check_array(x, "images", fix), "images")
    return (
        images.float() if images.dtype.itemsize == 1 and images.is_floating_point() else images
    )  # torch computes nothing in float8


def _with_image_shape(x: Tensor, image_shape: ImageShape, given: Any) -> Tensor:
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
    elif x.ndim == 2 and x.shape[1] == math.prod(image_shape) + 1:
        fix = reshape_fix(tuple(x.shape), given)
    elif x.ndim == 4 and x.shape[1:] == (height, width, channels):
        fix = "move the channels first: " + for_kind(given, "x.permute(0, 3, 1, 2)", "x.transpose(0, 3, 1, 2)")
    raise DataError(f"images of shape {' or '.join(forms)}", f"shape {tuple(x.shape)}", fix)
