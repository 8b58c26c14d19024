"""The structural similarity of images, as scikit-image defines it, for a whole batch at once."""

from __future__ import annotations

import torch
from torch import Tensor

from mnistvae._checks import check_number
from mnistvae.arrays import ArrayLike
from mnistvae.errors import DataError
from mnistvae.metrics._pairs import check_data_range, common_shape, pairs
from mnistvae.metrics.metric import Metric

__all__ = ["METRICS", "WINDOW", "ssim"]

#: Side of the window.
WINDOW = 7
#: The two constants, as parts of the data range.
_K1, _K2 = 0.01, 0.03
#: Bytes of pixels that are compared at once: there are some ten arrays of that size.
_TILE = {"cpu": 64 * 28 * 28 * 8}
#: Roundings of float32 behind the index of a window, at most, see _Windows: those that count as often as a squared mean
#: is larger than the denominator, and the others.
_ROUNDINGS, _OTHER_ROUNDINGS = 56, 60


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
        a: Images, (N, C, H, W), (N, H, W) or (N, H * W), float or uint8, of at least 7 x 7 pixels.
        b: Images to compare with, as many and of the same size.
        data_range: R, from the least value that a pixel can have to the greatest; 1 for uint8, which is divided by 255.
        tolerance: Largest change of a value by rounding. Images whose value is certain to that in float32 are
            computed in it (dark ones with bright strokes, usually to 1e-6), the others in float64, as all are for 0.

    Returns:
        (N,), float64, on the device of the inputs or, of Apple's GPUs, on the CPU.

    Raises:
        DataError: If the batches differ in number or size, images are smaller than the window, values span more
            than R, or one is not finite.
        SettingError: If R is not above 0, or another than 1 for uint8, or the tolerance is negative.

    Example:
        >>> digits = mv.load_dataset("mnist-mini", "test").images[:3]
        >>> ssim(digits, digits)
        tensor([1., 1., 1.], dtype=torch.float64)
    """
    data_range = check_data_range(data_range)
    expected = "tolerance as a finite number of at least 0"
    tolerance = check_number(expected, tolerance, fix="0 for float64 throughout")
    _, height, width = common_shape(a, b)
    if min(height, width) < WINDOW:
        raise DataError(
            f"images of at least {WINDOW} x {WINDOW} pixels, the window of SSIM",
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


def _ssim_in(dtype: torch.dtype, a: ArrayLike, b: ArrayLike, data_range: float) -> tuple[Tensor, Tensor]:
    """The SSIM of each image, computed in a dtype, and what rounding in float32 changes of it, at most."""
    windows, done = None, 0
    found = torch.empty(0, device="cpu")
    for x, y in pairs(a, b, data_range, dtype, _TILE):
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
        rows, columns = height - WINDOW + 1, width - WINDOW + 1
        area = WINDOW**2
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


_HOW = "mean of p(x | z) at the mean of q(z | x), 7 x 7 windows"
METRICS = (Metric("ssim", "", "higher", ("7 x 7 pixels",), compute=ssim, per="reconstruction", protocol=_HOW),)
