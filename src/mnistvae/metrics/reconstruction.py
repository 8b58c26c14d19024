"""Distances between images and their reconstructions: one number an image, as float64.

Two batches are compared image by image. Each may be a torch tensor or a numpy array, (N, C, H, W),
(N, H, W) or (N, H * W), of floats in [0, 1] or of uint8, which is divided by 255; they may differ in
form, not in number or size. Nothing here passes over a NaN.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mnistvae.arrays import ArrayLike, as_real
from mnistvae.errors import DataError
from mnistvae.labels import Labels, as_labels
from mnistvae.metrics._pairs import check_data_range, pairs
from mnistvae.metrics.metric import Metric

__all__ = ["METRICS", "ClassMean", "by_class", "mae", "mse", "psnr"]


def mse(a: ArrayLike, b: ArrayLike) -> Tensor:
    r"""Mean squared error of each image.

    .. math:: \frac{1}{CHW} \sum_i (a_i - b_i)^2

    Lower is better; 0 for equal images, at most 1.

    Args:
        a: Images, (N, C, H, W), (N, H, W) or (N, H * W), float in [0, 1] or uint8.
        b: Images to compare with, as many and of the same size.

    Returns:
        (N,), float64, in squares of the data range, on the device of the inputs or, of Apple's GPUs, on the CPU.

    Raises:
        DataError: If the batches differ in number or size, values span more than 1, or one is not finite.

    Example:
        >>> mse(torch.zeros(2, 1, 4, 4), torch.full((2, 16), 0.5))
        tensor([0.2500, 0.2500], dtype=torch.float64)
    """
    return torch.cat([(x - y).square_().flatten(1).mean(1) for x, y in pairs(a, b)])


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
    return torch.cat([(x - y).abs_().flatten(1).mean(1) for x, y in pairs(a, b)])


def psnr(a: ArrayLike, b: ArrayLike, data_range: float = 1.0) -> Tensor:
    r"""Peak signal-to-noise ratio of each image.

    .. math:: 10 \log_{10} \frac{R^2}{\operatorname{MSE}}

    Higher is better. Equal images have an infinite one, and so has a mean that includes them.

    Args:
        a: Images, (N, C, H, W), (N, H, W) or (N, H * W), float or uint8.
        b: Images to compare with, as many and of the same size.
        data_range: R, from the least value that a pixel can have to the greatest; 1 for uint8, which is divided by 255.

    Returns:
        (N,), float64, dB, on the device of the inputs or, of Apple's GPUs, on the CPU.

    Raises:
        DataError: If the batches differ in number or size, values span more than R, or one is not finite.
        SettingError: If R is not above 0, or another than 1 for uint8.

    Example:
        >>> psnr(torch.zeros(1, 8, 8), torch.full((1, 8, 8), 0.5))  # 10 log10(4)
        tensor([6.0206], dtype=torch.float64)
    """
    data_range = check_data_range(data_range)
    errors = [(x - y).square_().flatten(1).mean(1) for x, y in pairs(a, b, data_range)]
    return 10 * torch.log10(data_range**2 / torch.cat(errors))


class ClassMean(NamedTuple):
    """The mean of a figure over the images of one class, and how many there are."""

    mean: float
    images: int


def by_class(values: ArrayLike, labels: Labels) -> dict[int, ClassMean]:
    """The mean of a figure over each class.

    Args:
        values: One value for each image, (N,).
        labels: Class of each image, (N,) integers.

    Returns:
        For each class that has an image, in order of their numbers: its mean, and how many images it has.

    Raises:
        DataError: If the values have another shape, one is NaN, or the labels do not match.

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


_HOW = "mean of p(x | z) at the mean of q(z | x)"
METRICS = (
    Metric("mse", better="lower", compute=mse, per="reconstruction", protocol=_HOW),
    Metric("mae", better="lower", compute=mae, per="reconstruction", protocol=_HOW),
    Metric("psnr", "dB", "higher", compute=psnr, per="reconstruction", protocol=f"{_HOW}, mean over images"),
)
