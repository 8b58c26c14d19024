"""The contract of the steps of an epoch, and the steps that are taken one by one."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Protocol, TypeAlias

from torch import Tensor

from mnistvae.data import BatchSource
from mnistvae.training.steps.eager import Step

__all__ = ["SingleSteps", "Steps", "Take"]

#: Takes one step, or several; of each, the sums of the loss's terms over its images, (len(terms),), on the device.
Take: TypeAlias = Callable[[], Sequence[Tensor]]


class Steps(Protocol):
    """Contract of the steps of an epoch."""

    def epoch(self, number: int, done: int = 0, limit: int | None = None) -> Iterator[tuple[int, Take]]:
        """The steps of an epoch that are left: the images of each, and what takes it, or several such steps at once.

        Whatever has to be drawn to get to the place in the epoch is drawn before this returns.

        Args:
            number: Number of the epoch, from 1.
            done: Steps of the epoch done before a resume, which are passed over.
            limit: Largest number of steps; None for all that are left.
        """


class SingleSteps:
    """Steps that are taken one by one.

    Args:
        source: The data.
        step: The step.
        accumulate: Batches in a step.
    """

    def __init__(self, source: BatchSource, step: Step, accumulate: int = 1) -> None:
        self.source = source
        self.step = step
        self.accumulate = accumulate

    def epoch(self, number: int, done: int = 0, limit: int | None = None) -> Iterator[tuple[int, Take]]:
        """The steps of an epoch that are left, see :class:`Steps`."""
        batches = self.source.epoch(number)
        groups = iter(lambda: list(islice(batches, self.accumulate)), [])
        deque(islice(groups, done), maxlen=0)
        return ((sum(len(x) for x, _ in group), functools.partial(self.step, group)) for group in islice(groups, limit))
