"""Codes beside the factors of their images: checked, and factors as classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mnistvae.arrays import ArrayLike
from mnistvae.data import Factors
from mnistvae.errors import DataError
from mnistvae.metrics.latent import as_codes
from mnistvae.view import View

__all__ = ["as_classes", "codes_and_factors", "fault_of", "names_of"]


def codes_and_factors(codes: ArrayLike, factors: Factors | Mapping[str, Any]) -> tuple[Tensor, Factors]:
    """Codes (N, latent_dim), on the CPU, and the factors of as many images, each of which varies.

    Raises:
        DataError: If a shape is another, a code is not finite, or a factor is missing in an image, the same in all, or
            in as many classes as images.
    """
    rows = as_codes(codes).cpu()
    found = factors if isinstance(factors, Factors) else Factors(factors)
    if len(found) != len(rows):
        raise DataError(f"factors of the {len(rows)} images", f"those of {len(found)}", "one value of each a code")
    if fault := fault_of(found):
        raise DataError("factors that vary, with a value for each image", fault, "leave it out, or those images")
    return rows, found


def fault_of(factors: Factors) -> str:
    """The reason why codes cannot be measured by some factors, in words; "" where they can."""
    for name, values in factors.values.items():
        missing = int((values.isnan() if values.is_floating_point() else values < 0).sum())
        if missing:
            return f"{missing} images without a value of the factor {name!r}"
        distinct = len(set(values.tolist()))
        if distinct == 1:
            return f"the factor {name!r} the same in all images"
        if factors.in_classes(name) and distinct == len(values):
            return f"the factor {name!r} another class in each image"
    return ""


def as_classes(values: Tensor, bins: int) -> NDArray[np.intp]:
    """A factor's values, (N,), as classes numbered from 0.

    Numbers of more than ``bins`` different values go into as many bins that hold equally many images, by the middle of
    the ranks that images of one value have.
    """
    distinct, classes, counts = np.unique(values.numpy(), return_inverse=True, return_counts=True)
    if not values.is_floating_point() or len(distinct) <= bins:
        return classes
    middles = (counts.cumsum() - counts / 2) / len(values)
    return np.unique((middles * bins).astype(np.intp)[classes], return_inverse=True)[1]


def names_of(view: View) -> str:
    """The factors of a view's images, in words."""
    return "" if view.data.factors is None else ", ".join(view.data.factors.names)
