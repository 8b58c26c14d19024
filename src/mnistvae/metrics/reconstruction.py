"""How close images are to their reconstructions: one figure an image, as float64.

Two batches are compared image by image. Each may be a torch tensor or a numpy array, (N, C, H, W),
(N, H, W) or (N, H * W), of floats in [0, 1] or of uint8, which is divided by 255; they may differ in
form, not in number or size. Nothing here passes over a NaN.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from mnistvae._checks import check_number
from mnistvae.arrays import ArrayLike, as_real, as_tensor, check_array, check_finite
from mnistvae.errors import DataError, SettingError
from mnistvae.images import ImageShape, Labels, as_images, as_labels

__all__ = ["ClassMean", "by_class", "mae", "mse", "psnr", "ssim"]

#: Bytes by the type of the device.
Chunks: TypeAlias = Mapping[str, int]

#: Side of the window of SSIM, and its two constants, as parts of the data range.
_WINDOW = 7
_K1, _K2 = 0.01, 0.03
#: Bytes of pixels that are compared at once: on a CPU what stays in its cache, elsewhere enough to keep it busy.
_CHUNK = {"cpu": 2**21}
_WIDE = 2**26
#: The same for SSIM, which has some ten arrays of that size.
_TILE = {"cpu": 64 * 28 * 28 * 8}
#: Roundings of float32 behind the index of a window of SSIM, at most, see _Windows: those that count as often as a
#: squared mean is larger than the denominator, and the others.
_ROUNDINGS, _OTHER_ROUNDINGS = 56, 60


def mse(a: ArrayLike, b: ArrayLike) -> Tensor:
    r"""Mean squared error of each image.

    .. math:: \frac{1}{CHW} \sum_i (a_i - b_i)^2

    Lower is better; 0 for equal images, at most 1.

    Args:
        a: images, (N, C, H, W), (N, H, W) or (N, H * W), float in [0, 1] or uint8.
        b: what they are compared with, as many and of the same size.

    Returns:
        (N,), float64, in squares of the data range, on the device of the inputs.

    Raises:
        DataError: batches that differ in number or size, values that span more than 1, NaN or an infinity.

    Example:
        >>> mse(torch.zeros(2, 1, 4, 4), torch.full((2, 16), 0.5))
        tensor([0.2500, 0.2500], dtype=torch.float64)
    """
    return torch.cat([(x - y).square_().flatten(1).mean(1) for x, y in _pairs(a, b)])


def mae(a: ArrayLike, b: ArrayLike) -> Tensor:
    r"""Mean absolute error of each image.

    .. math:: \frac{1}{CHW} \sum_i |a_i - b_i|

    Lower is better; 0 for equal images, at most 1. Arguments and errors are those of :func:`mse`.

    Returns:
        (N,), float64, in parts of the data range, on the device of the inputs.

    Example:
        >>> mae(torch.zeros(2, 1, 4, 4), torch.full((2, 16), 0.5))
        tensor([0.5000, 0.5000], dtype=torch.float64)
    """
    return torch.cat([(x - y).abs_().flatten(1).mean(1) for x, y in _pairs(a, b)])


def psnr(a: ArrayLike, b: ArrayLike, data_range: float = 1.0) -> Tensor:
    r"""Peak signal-to-noise ratio of each image.

    .. math:: 10 \log_{10} \frac{R^2}{\operatorname{MSE}}

    Higher is better. Equal images have an infinite one, and so has a mean that includes them.

    Args:
        a: images, (N, C, H, W), (N, H, W) or (N, H * W), float or uint8.
        b: what they are compared with, as many and of the same size.
        data_range: R, from the least value that a pixel can have to the greatest; 1 for uint8, which is divided by 255.

    Returns:
        (N,), float64, dB, on the device of the inputs.

    Raises:
        DataError: batches that differ in number or size, values that span more than R, NaN or an infinity.
        SettingError: an R that is not above 0, or another than 1 for uint8.

    Example:
        >>> psnr(torch.zeros(1, 8, 8), torch.full((1, 8, 8), 0.5))  # 10 log10(4)
        tensor([6.0206], dtype=torch.float64)
    """
    data_range = _checked_range(data_range)
    errors = [(x - y).square_().flatten(1).mean(1) for x, y in _pairs(a, b, data_range)]
    return 10 * torch.log10(data_range**2 / torch.cat(errors))


@torch.no_grad()
def ssim(a: ArrayLike, b: ArrayLike, data_range: float = 1.0, *, tolerance: float = 1e-5) -> Tensor:
    r"""Structural similarity of each image: the mean of a local index over all windows of 7 x 7 pixels.

    .. math:: \frac{(2 \mu_a \mu_b + C_1) (2 \sigma_{ab} + C_2)}
        {(\mu_a^2 + \mu_b^2 + C_1) (\sigma_a^2 + \sigma_b^2 + C_2)}, \qquad C_1 = (0.01 R)^2, \quad C_2 = (0.03 R)^2

    Wang et al. (2004), "Image quality assessment: from error visibility to structural similarity", equation 13,
    with uniform windows that lie within the image and with sample (co)variances. This is what scikit-image's
    ``structural_similarity`` computes by default, here for a whole batch at once. Channels are averaged.

    Higher is better; from -1 to 1, and 1 for equal images.

    Args:
        a: images, (N, C, H, W), (N, H, W) or (N, H * W), float or uint8, of at least 7 x 7 pixels.
        b: what they are compared with, as many and of the same size.
        data_range: R, from the least value that a pixel can have to the greatest; 1 for uint8, which is divided by 255.
        tolerance: what rounding may change of a value, at most. Images whose value is certain to that in float32 are
            computed in it (dark ones with bright strokes, usually to 1e-6), the others in float64, as all are for 0.

    Returns:
        (N,), float64, on the device of the inputs.

    Raises:
        DataError: batches that differ in number or size, images smaller than the window, values that span more
            than R, NaN or an infinity.
        SettingError: an R that is not above 0, or another than 1 for uint8; a negative tolerance.

    Example:
        >>> digits = mv.load_dataset("mnist-mini", "test").images[:3]
        >>> ssim(digits, digits)
        tensor([1., 1., 1.], dtype=torch.float64)
    """
    data_range = _checked_range(data_range)
    expected = "tolerance as a finite number of at least 0"
    tolerance = check_number(expected, tolerance, fix="0 for float64 throughout")
    _, height, width = _common_shape(a, b)
    if min(height, width) < _WINDOW:
        raise DataError(
            f"images of at least {_WINDOW} x {_WINDOW} pixels, the window of SSIM",
            f"{height} x {width}",
            "use psnr, or enlarge both",
        )
    if tolerance == 0 or not 1e-6 < data_range < 1e6:  # the fourth power is what float32 would have to hold
        return _ssim_in(torch.float64, a, b, data_range)[0]
    values, errors = _ssim_in(torch.float32, a, b, data_range)
    coarse = ~(errors <= tolerance)
    if bool(coarse.any()):
        first, second = (x[coarse.to(x.device)] if isinstance(x, Tensor) else x[coarse.cpu().numpy()] for x in (a, b))
        values[coarse] = _ssim_in(torch.float64, first, second, data_range)[0]
    return values


class ClassMean(NamedTuple):
    """The mean of a figure over the images of one class, and how many there are."""

    mean: float
    images: int


def by_class(values: ArrayLike, labels: Labels) -> dict[int, ClassMean]:
    """The mean of a figure over each class.

    Args:
        values: one for each image, (N,).
        labels: the class of each, (N,) integers.

    Returns:
        For each class that has an image, in order of their numbers: its mean, and how many images it has.

    Raises:
        DataError: values of another shape, NaN, or labels that do not match.

    Example:
        >>> by_class(torch.tensor([1.0, 2.0, 4.0]), [7, 3, 7])
        {3: ClassMean(mean=2.0, images=1), 7: ClassMean(mean=2.5, images=2)}
    """
    figures = as_real(values, "values").cpu().double()
    if figures.ndim != 1:
        got = f"shape {tuple(figures.shape)}"
        raise DataError("one value an image, shape (N,)", got, "pass what psnr or ssim gave")
    nan = figures.isnan().nonzero().flatten()
    if len(nan):
        raise DataError("values without NaN", f"{len(nan)} NaN, the first at index {int(nan[0])}", "leave them out")
    classes = as_labels(labels, len(figures)).cpu()
    own = {k: figures[classes == k] for k in sorted(set(classes.tolist()))}
    return {k: ClassMean(float(values.mean()), len(values)) for k, values in own.items()}


def _checked_range(data_range: float) -> float:
    expected, fix = "data_range as a finite number above 0", "1 for images in [0, 1]"
    checked = check_number(expected, data_range, above=True, fix=fix)
    if not 0 < checked * checked < math.inf:  # its square is what the formulas have
        raise SettingError(f"{expected}, and so its square", str(checked), fix)
    return checked


@torch.no_grad()
def _pairs(
    a: ArrayLike, b: ArrayLike, data_range: float = 1.0, dtype: torch.dtype = torch.float64, chunks: Chunks = _CHUNK
) -> Iterator[tuple[Tensor, Tensor]]:
    """Chunks of both batches, (n, C, H, W), on one device, once they are known to be finite and in range."""
    shape = _common_shape(a, b)
    if data_range != 1 and any(x.dtype in {torch.uint8, np.dtype(np.uint8)} for x in (a, b)):
        raise SettingError(
            "data_range=1 for uint8 images, which are divided by 255", str(data_range), "leave data_range out"
        )
    device = next((x.device for x in (a, b) if isinstance(x, Tensor)), torch.device("cpu"))
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


def _common_shape(a: Any, b: Any) -> ImageShape:
    """(C, H, W) of two batches of images, the better known of which says how the other is read."""
    for name, x in (("a", a), ("b", b)):
        if check_array(x, name).ndim not in {2, 3, 4} or 0 in x.shape[1:]:
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


def _ssim_in(dtype: torch.dtype, a: ArrayLike, b: ArrayLike, data_range: float) -> tuple[Tensor, Tensor]:
    """The SSIM of each image, computed in a dtype, and what rounding in float32 changes of it, at most."""
    windows, done = None, 0
    found = torch.empty(0)
    for x, y in _pairs(a, b, data_range, dtype, _TILE):
        planes = x.flatten(0, 1), y.flatten(0, 1)
        if windows is None:
            found = x.new_empty(2, len(a) * x.shape[1], dtype=torch.float64)
        if windows is None or windows.shape != planes[0].shape:
            windows = _Windows(planes[0], data_range)
        now = slice(done, done + len(planes[0]))
        windows(*planes, found[0, now], found[1, now])
        done = now.stop
    values, errors = found.view(2, len(a), -1).mean(2)
    return values, errors


class _Windows:
    r"""The SSIM of some pairs of planes, and arrays to compute it in.

    With s = x + y and d = x - y, both factors of the index are (S - D) / (S + D): of squared means for
    the luminance, since 4 xy = s^2 - d^2 and 2 (x^2 + y^2) = s^2 + d^2, and of variances for the
    rest. So four sums over each window will do, and equal images have exactly 1.

    A variance V is the difference of a sum of squares, which is a product and eight additions deep, and of A, the
    square of a sum over the area: 9 and 19 roundings of :math:`u = 2^{-24}`, and one more when they are subtracted, so
    that it is known within :math:`9 u (V + A) + 19 u A + u V`. Numerator and denominator have two of them each, and the
    index of a window is within :math:`56 u (A_s + A_d) / (V_s + V_d + C) + 20 u`; the difference d, made of s, the
    luminance and the rest add less than forty roundings.

    Args:
        planes: (n, H, W), of the kind that it is to be called with.
        data_range: R.
    """

    def __init__(self, planes: Tensor, data_range: float) -> None:
        self.shape = planes.shape
        n, height, width = planes.shape
        rows, columns = height - _WINDOW + 1, width - _WINDOW + 1
        area = _WINDOW**2
        self._area = area
        self._luminance = 2 * (_K1 * data_range) ** 2 * area**2
        self._contrast = 2 * (_K2 * data_range) ** 2 * (area - 1)
        # (power, sign, row, column, image): with the images last, neighbours in both directions are whole runs of
        # memory. All calls write into the same arrays: fresh ones, and fresh views, would cost as much as the sums.
        pixels = planes.new_empty(2, 2, height, width, n)
        column_sums = planes.new_empty(2, 2, rows, width, n)
        sums, terms = planes.new_empty(2, 2, 2, rows, columns, n)
        self._pixels, self._squares_of_pixels, (self._plus, self._minus) = pixels[0], pixels[1], pixels[0]
        self._additions = _sums_of_seven(pixels, column_sums, dim=2) + _sums_of_seven(column_sums, sums, dim=3)
        # (of squared means and of variances; of plus and minus)
        (self._first, self._second), (self._squares, self._variances) = sums, terms
        (self._square_of_plus, self._square_of_minus), self._variance_of_plus = self._squares, self._variances[0]
        self._of_plus, self._of_minus = terms.unbind(1)
        # What is not needed any more by then is written over.
        self._numerators, self._denominators = sums
        (self._numerator, self._other_numerator), (self._denominator, self._other_denominator) = sums
        self._doubt = planes.new_empty(rows, columns, n)

    def __call__(self, x: Tensor, y: Tensor, values: Tensor, errors: Tensor) -> None:
        """Write the SSIM of each pair, (n,), and what rounding in float32 changes of it, at most."""
        other, doubt = y.permute(1, 2, 0), self._doubt
        torch.add(x.permute(1, 2, 0), other, out=self._plus)
        torch.sub(self._plus, other, alpha=2, out=self._minus)
        torch.mul(self._pixels, self._pixels, out=self._squares_of_pixels)
        for left, right, out in self._additions:
            torch.add(left, right, out=out)
        torch.mul(self._first, self._first, out=self._squares)
        torch.add(self._square_of_plus, self._square_of_minus, out=doubt)
        torch.sub(self._second, self._squares, alpha=1 / self._area, out=self._variances)
        self._square_of_plus += self._luminance
        self._variance_of_plus += self._contrast
        torch.sub(self._of_plus, self._of_minus, out=self._numerators)
        torch.add(self._of_plus, self._of_minus, out=self._denominators)
        # Large values with a small range round the denominator itself away: at least the constant is left of it.
        doubt.div_(self._other_denominator.clamp_(min=self._contrast))
        self._numerator.mul_(self._other_numerator).div_(self._denominator.mul_(self._other_denominator))
        torch.mean(self._numerator, (0, 1), dtype=torch.float64, out=values)
        errors.copy_(doubt.mean((0, 1)))
        errors.mul_(_ROUNDINGS / self._area).add_(_OTHER_ROUNDINGS).mul_(torch.finfo(torch.float32).eps / 2)


def _sums_of_seven(x: Tensor, out: Tensor, dim: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    """The additions, each of two views into a third, that sum seven neighbours along ``dim``: 7 = 2 + 2 + 2 + 1."""
    n = out.shape[dim]
    pairs = torch.empty_like(x.narrow(dim, 0, n + 4))
    return [
        (x.narrow(dim, 0, n + 4), x.narrow(dim, 1, n + 4), pairs),
        (pairs.narrow(dim, 0, n), pairs.narrow(dim, 2, n), out),
        (out, pairs.narrow(dim, 4, n), out),
        (out, x.narrow(dim, 6, n), out),
    ]
