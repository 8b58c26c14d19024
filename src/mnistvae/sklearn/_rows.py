"""Rows of a table as images, and images as rows: their shape and their scale."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mnistvae._checks import check_number
from mnistvae.errors import DataError, SettingError
from mnistvae.images import ImageShape, check_image_shape

__all__ = ["Rows", "float_of"]

#: Part of the range by which rounding may go beyond it.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Rows:
    """The way from rows (N, C * H * W) of values from ``low`` to ``high`` to images in [0, 1], and back."""

    image_shape: ImageShape
    low: float
    high: float
    #: Whether the range came from data: what lies beyond it is clipped then, and refused otherwise.
    learned: bool

    @classmethod
    def of(cls, X: NDArray[Any], image_shape: ImageShape | None, max_value: float | None) -> Rows:  # noqa: N803
        """The way for a table that an estimator is fitted to.

        Raises:
            SettingError: If ``image_shape`` has another number of pixels, or ``max_value`` makes no sense.
        """
        features = X.shape[1]
        shape = _guessed(features) if image_shape is None else check_image_shape(image_shape)
        if math.prod(shape) != features:
            fix = "pass the shape of an image, (channels, height, width), or None"
            raise SettingError(f"image_shape of {features} pixels, as X has features", repr(shape), fix)
        if max_value is not None:
            high = check_number("max_value as a finite number above 0, or None", max_value, above=True)
            return cls(shape, 0.0, high, learned=False)
        low, high = float(X.min()), float(X.max())
        return cls(shape, low, high if high > low else low + 1.0, learned=True)

    def images(self, X: NDArray[Any]) -> Tensor:  # noqa: N803
        """Rows as images (N, C, H, W) in [0, 1], in double precision if the rows are.

        Raises:
            DataError: If a value lies outside a range that was given.
        """
        values = X.astype(float_of(X), copy=False)
        pixels = (values - self.low) / (self.high - self.low)
        if not self.learned and (pixels.min() < -_ROUNDING or pixels.max() > 1 + _ROUNDING):
            got = f"values from {float(X.min()):g} to {float(X.max()):g}"
            fix = "give the value that is white as max_value, or None to have the range learned in fit"
            raise DataError(f"X from 0 to max_value={self.high:g}", got, fix)
        return torch.from_numpy(pixels.clip(0, 1)).reshape(-1, *self.image_shape)

    def rows(self, images: Tensor) -> NDArray[Any]:
        """Images (N, C, H, W) in [0, 1] as rows (N, C * H * W) in the range of the table."""
        pixels: NDArray[Any] = images.flatten(1).cpu().numpy()
        return pixels * (self.high - self.low) + self.low


def float_of(X: NDArray[Any]) -> type[np.floating[Any]]:  # noqa: N803
    """The precision that a table is computed in: double if it is double, else single."""
    return np.float64 if X.dtype == np.float64 else np.float32


def _guessed(features: int) -> ImageShape:
    """A square where the number of features is one, else a single line of pixels."""
    side = math.isqrt(features)
    return (1, side, side) if side**2 == features else (1, 1, features)
