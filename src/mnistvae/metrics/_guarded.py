"""Metrics of a user's own, guarded: one that fails is left out of an evaluation, and the rest is kept."""

from __future__ import annotations

import math
from typing import Any

import torch

from mnistvae.arrays import as_numbers
from mnistvae.errors import DataError, raised_text, type_name
from mnistvae.metrics.metric import Estimate, Metric
from mnistvae.view import View

__all__ = ["FailedError", "Guarded", "guarded"]


class FailedError(Exception):
    """A metric of a user's own failed; the message is the rest of a sentence about the metric. No user ever sees it."""


class Guarded:
    """The function of a metric of a user's own, whose failures leave it out and nothing else."""

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        #: What went wrong in a pass that other metrics share, which goes on.
        self.failed: FailedError | None = None

    def __call__(self, *given: Any) -> Any:
        if self.metric.per != "reconstruction":
            return self._checked(*given)
        try:
            if self.failed is None:
                return self._checked(*given)
        except FailedError as failed:
            self.failed = failed
        return torch.full((len(given[0]),), math.nan, dtype=torch.float64, device="cpu")

    def whole(self, values: Any) -> Any:
        """``values`` of all images themselves, which must be without NaN.

        Raises:
            FailedError: If one is NaN, or the function failed in a pass.
        """
        if self.failed is not None:
            raise self.failed
        fix = "mend its compute, which may divide by zero or take the logarithm of a negative number"
        if isinstance(values, Estimate):
            if math.isnan(values.value):
                raise FailedError(f"gave NaN: {fix}")
        elif len(bad := values.isnan().nonzero().flatten()):
            what = "dimensions" if self.metric.per == "dimension" else "images"
            of = f"{len(bad)} of {len(values)} {what}, the first of them number {int(bad[0])}"
            raise FailedError(f"gave NaN for {of}: {fix}")
        return values

    def protocol(self, view: View) -> str:
        """The line that says how the score is made, where a function of the user's gives it.

        Raises:
            FailedError: If the function fails, or gives no text.
        """
        words = self._tried(self.metric.protocol, "protocol", view)
        if not isinstance(words, str):
            raise FailedError(f"gave {type_name(words)} as its protocol, not a text: mend its protocol")
        return words

    def _tried(self, function: Any, part: str, *given: Any) -> Any:
        try:
            return function(*given)
        except Exception as error:
            raise FailedError(f"raised {raised_text(error)}: mend its {part}") from error

    def _checked(self, *given: Any) -> Any:
        """The values of the function, as numbers of the shape that ``per`` says."""
        found = self._tried(self.metric.compute, "compute", *given)
        if self.metric.per == "data":
            return self._number(found)
        by_dimension = self.metric.per == "dimension"
        size = given[0].model.latent_dim if by_dimension else len(given[0])
        try:
            return torch.from_numpy(as_numbers(found, "its values", (size,), finite=False))
        except DataError as error:
            what = f"one value for each {'latent dimension' if by_dimension else 'image'}, shape ({size},)"
            raise FailedError(f"gave {error.got}, not {what}: mend its compute, or say so by per=") from error

    def _number(self, found: Any) -> Estimate:
        pair = found if isinstance(found, tuple) and len(found) == 2 else (found, None)
        try:
            value, error = (None if one is None else float(as_numbers(one, "it", (), finite=False)) for one in pair)
        except DataError as wrong:
            raise FailedError(f"gave {wrong.got}, not a number: mend its compute, or say so by per=") from wrong
        if value is None:
            raise FailedError("gave None, not a number: return it from compute")
        return Estimate(value, error)


def guarded(_: View, metric: Metric) -> Guarded:
    """The guard of a metric, one for each view, which keeps the values of passes."""
    return Guarded(metric)
