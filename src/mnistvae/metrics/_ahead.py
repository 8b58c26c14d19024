"""Tests that tell one value of a metric from another: on the same images, on others, or over runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mnistvae.metrics.record import Direction, Score

__all__ = ["LEAST_RUNS", "Measured", "best_of"]

#: Share of a score below which a spread over runs is that of rounding.
_ROUNDING = 1e-5
#: Runs under a name from which on their spread says something.
LEAST_RUNS = 3
#: Standard errors by which a value is ahead, where the images are many.
_ERRORS = 2.0


class Measured(NamedTuple):
    """The scores of one metric under one name."""

    #: The score of each run.
    scores: Sequence[Score]
    #: Values for each image of the only run, (N,); empty where they are not known.
    by_image: np.ndarray[Any, Any]
    #: The fingerprint of those images.
    images: Any = None

    @property
    def value(self) -> float:
        """The mean over runs."""
        return math.fsum(score.value for score in self.scores) / len(self.scores)

    @property
    def spread(self) -> float | None:
        """Standard deviation over several runs; of one, the standard error of its score."""
        if len(self.scores) == 1:
            return self.scores[0].standard_error
        return float(np.std([score.value for score in self.scores], ddof=1)) if math.isfinite(self.value) else None


def best_of(measured: Sequence[Measured], better: Direction) -> int | None:
    """The number of the best value; None where no side is better, or where the best might be another."""
    values = [one.value for one in measured]
    if not better or any(math.isnan(value) for value in values):
        return None
    sign = 1 if better == "higher" else -1
    best = max(range(len(values)), key=lambda number: sign * values[number])
    others = (one for number, one in enumerate(measured) if number != best)
    return best if all(_ahead(measured[best], other, sign) for other in others) else None


def _ahead(best: Measured, other: Measured, sign: int) -> bool:
    """True if a difference is beyond chance; what is not known is not."""
    if len(best.scores) > 1 or len(other.scores) > 1:
        return _of_runs(best, other, sign)
    difference = sign * (best.value - other.value)
    if _same_images(best, other):
        difference, error = _paired(difference, sign * best.by_image, sign * other.by_image)
    else:
        error = _unpaired(best, other)
    return error is not None and difference > _ERRORS * error


def _same_images(one: Measured, other: Measured) -> bool:
    known = one.images is not None and len(one.by_image) > 0
    return known and one.images == other.images and len(one.by_image) == len(other.by_image)


def _unpaired(best: Measured, other: Measured) -> float | None:
    """The standard error of a difference between two sets of images."""
    errors = [one.spread for one in (best, other) if one.spread is not None]
    return math.hypot(*errors) if len(errors) == 2 else None


def _paired(difference: float, best: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> tuple[float, float | None]:
    """The difference and its standard error image by image: of the means of those that have both values."""
    both = np.isfinite(best) & np.isfinite(other)
    apart = best[both].astype(np.float64) - other[both]
    if len(apart) < 2:
        return difference, None
    if not both.all():  # the scores are means over other images
        difference = float(apart.mean())
    return difference, float(apart.std(ddof=1) / math.sqrt(len(apart)))


def _of_runs(best: Measured, other: Measured, sign: int) -> bool:
    """True if Welch's t-test over runs, two-sided, is below 5 %."""
    from scipy.special import stdtrit

    if min(len(best.scores), len(other.scores)) < LEAST_RUNS or None in (best.spread, other.spread):
        return False
    variances = [(one.spread or 0.0) ** 2 / len(one.scores) for one in (best, other)]
    if math.sqrt(sum(variances)) <= _ROUNDING * max(abs(best.value), abs(other.value)):
        return False  # one training, measured several times: what rounding leaves is no measure of its spread
    parts = (part**2 / (len(one.scores) - 1) for part, one in zip(variances, (best, other), strict=True))
    freedom = sum(variances) ** 2 / sum(parts)
    return sign * (best.value - other.value) > float(stdtrit(freedom, 0.975)) * math.sqrt(sum(variances))
