"""Schedules: how a weight grows as training goes, as a function of the step and of nothing else."""

from __future__ import annotations

import math
from abc import abstractmethod

from mnistvae._checks import check_count, check_number
from mnistvae._component import Component
from mnistvae.errors import SettingError

__all__ = ["Cosine", "Cyclical", "Linear", "Schedule"]


class Schedule(Component):
    """Contract of a schedule: the number of the step, from 0, to a factor.

    A subclass keeps its constructor arguments as attributes of the same names and implements
    :meth:`forward`. An epoch has as many steps as the data has batches: 469 for MNIST in batches of 128.
    """

    @abstractmethod
    def forward(self, step: int) -> float:
        """The factor of the weight at that step, usually from 0 to 1."""


class _WarmUp(Schedule):
    """From ``start`` to 1 over some steps, then 1."""

    def __init__(self, steps: int, start: float = 0.0) -> None:
        super().__init__()
        self.steps = check_count("steps as an integer of at least 1", steps)
        self.start = _check_fraction("start", start)

    def forward(self, step: int) -> float:
        return self.start + (1 - self.start) * self.rise(min(1.0, step / self.steps))

    @abstractmethod
    def rise(self, done: float) -> float:
        """From 0 to 1, as the part of the steps that is done goes from 0 to 1."""


class Linear(_WarmUp):
    r"""From ``start`` to 1 in a straight line, then 1.

    .. math:: s + (1 - s) \min(1, t / T)

    The warm-up of Bowman et al. (2016) and Sønderby et al. (2016), section 2.2.

    Args:
        steps: T, the first step with the factor 1.
        start: s, the factor of step 0.

    Raises:
        SettingError: steps below 1, or a start outside [0, 1].

    Example:
        >>> schedule = Linear(4)
        >>> [schedule(step) for step in range(6)]
        [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    """

    def rise(self, done: float) -> float:
        return done


class Cosine(_WarmUp):
    r"""From ``start`` to 1 along half a cosine, level at both ends, then 1.

    .. math:: s + (1 - s) \tfrac{1}{2} \left(1 - \cos(\pi \min(1, t / T))\right)

    Args:
        steps: T, the first step with the factor 1.
        start: s, the factor of step 0.

    Raises:
        SettingError: steps below 1, or a start outside [0, 1].

    Example:
        >>> schedule = Cosine(4)
        >>> [round(schedule(step), 3) for step in range(6)]
        [0.0, 0.146, 0.5, 0.854, 1.0, 1.0]
    """

    def rise(self, done: float) -> float:
        return (1 - math.cos(math.pi * done)) / 2


class Cyclical(Schedule):
    r"""From 0 to 1 again and again: each period starts with a line and stays at 1 for the rest.

    .. math:: \min\left(1, \frac{t \bmod T}{r T}\right) \text{ for } t < n T, \text{ then } 1

    Fu et al. (2019), "Cyclical annealing schedule", equations 6 and 7, with the linear function.

    Args:
        period: T, steps of one cycle.
        cycles: n, how many; after them the factor stays at 1.
        ramp: r, the part of a cycle in which the factor grows.

    Raises:
        SettingError: a period or a number of cycles below 1, or a ramp outside (0, 1].

    Example:
        >>> schedule = Cyclical(period=4, cycles=2)
        >>> [schedule(step) for step in range(10)]
        [0.0, 0.5, 1.0, 1.0, 0.0, 0.5, 1.0, 1.0, 1.0, 1.0]
    """

    def __init__(self, period: int, cycles: int = 4, ramp: float = 0.5) -> None:
        super().__init__()
        self.period = check_count("period as an integer of at least 1", period)
        self.cycles = check_count("cycles as an integer of at least 1", cycles)
        self.ramp = _check_fraction("ramp", ramp, above=True)

    def forward(self, step: int) -> float:
        if step >= self.period * self.cycles:
            return 1.0
        return min(1.0, (step % self.period) / (self.ramp * self.period))


def _check_fraction(name: str, value: float, *, above: bool = False) -> float:
    expected = f"{name} as a number {'above 0 and at most 1' if above else 'from 0 to 1'}"
    number = check_number(expected, value, above=above)
    if number > 1:
        raise SettingError(expected, str(value))
    return number
