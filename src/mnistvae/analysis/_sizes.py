"""Codes of any size as numbers that distances can be computed with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["usual_size"]

#: The largest size and, inverted, the smallest one of codes that are given to scikit-learn as they are.
_USUAL = 2.0**20


def usual_size(rows: NDArray[np.float64], *, centred: bool = True) -> tuple[NDArray[np.float64], int]:
    """Codes times a power of two, which is exact, and its exponent; zeros for codes that are all the same.

    Squares of what is far below 1 vanish, those of what is far above it are infinite, and t-SNE, which does not depend
    on the size of the codes, divides by such numbers, in parts beyond all bounds of memory. So codes are given to the
    methods about their mean where that is far from all of them, and of a spread near 1 where theirs is no usual one;
    not ``centred``, only of a size near 1.
    """
    size = float(np.abs(rows).max())
    unit = 0
    if not 1 / _USUAL <= size <= _USUAL:
        unit = int(np.frexp(size)[1])
        rows = np.ldexp(rows, -unit)
        size = float(np.abs(rows).max())
    if not centred:
        return rows, unit
    spread = float(np.ptp(rows, axis=0).max())
    if spread <= np.finfo(float).eps * size * 4:  # rounding of one code
        return np.zeros_like(rows), 0
    if spread < size / _USUAL:
        rows = rows - rows.mean(0)
        step = int(np.frexp(spread)[1])
        rows, unit = np.ldexp(rows, -step), unit + step
    return rows, unit
