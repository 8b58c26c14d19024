"""Schedules: factors of a weight or of the learning rate, as functions of the step and of nothing else."""

from __future__ import annotations

import math
from abc import abstractmethod

from mnistvae._checks import check_count, check_number
from mnistvae._component import Component
from mnistvae.errors import ComponentError, SettingError, type_name

__all__ = ["Cosine", "CosineDecay", "Cyclical", "Linear", "OneCycle", "Schedule"]


class Schedule(Component):
    """Contract of a schedule: the number of a step, from 0, to a factor.

    A subclass keeps its constructor arguments as attributes of the same names and implements :meth:`forward`. An epoch
    has as many steps as the data has batches: 469 for MNIST in batches of 128. The same schedule serves the weight of
    the KL term, ``ELBO(schedule=...)``, and the learning rate, ``Trainer(schedule=...)``; only the latter is told how
    long the run is.
    """

    @abstractmethod
    def forward(self, step: int, steps: int | None = None) -> float:
        """The factor at a step, usually from 0 to 1.

        Args:
            step: Number of the step, from 0.
            steps: Number of steps in the whole run, where it is known.
        """


class _WarmUp(Schedule):
    """From ``start`` to 1 over some steps, then 1."""

    def __init__(self, steps: int, start: float = 0.0) -> None:
        super().__init__()
        self.steps = check_count("steps as an integer of at least 1", steps)
        self.start = _check_fraction("start", start)

    def forward(self, step: int, steps: int | None = None) -> float:
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
        SettingError: If there are fewer steps than 1, or the start is outside [0, 1].

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
        SettingError: If there are fewer steps than 1, or the start is outside [0, 1].

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
        cycles: n, number of cycles; after them the factor stays at 1.
        ramp: r, the part of a cycle in which the factor grows.

    Raises:
        SettingError: If the period or the number of cycles is below 1, or the ramp outside (0, 1].

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

    def forward(self, step: int, steps: int | None = None) -> float:
        if step >= self.period * self.cycles:
            return 1.0
        return min(1.0, (step % self.period) / (self.ramp * self.period))


class CosineDecay(Schedule):
    r"""From 1 to ``final`` along half a cosine, after a rise in a straight line.

    .. math:: \frac{t + 1}{W + 1} \text{ for } t < W, \text{ then }
        f + (1 - f) \tfrac{1}{2} \left(1 + \cos\left(\pi \min\left(1, \tfrac{t - W}{T - W}\right)\right)\right)

    Loshchilov and Hutter (2017), "SGDR: Stochastic Gradient Descent with Warm Restarts", equation 5.

    Args:
        warmup: W, steps of the rise; a number below 1 is a part of the run, rounded down to whole steps. It begins at
            1 / (W + 1), not at 0, so that the first step counts too.
        final: f, the factor at the end.
        steps: T, steps in all; None for those of the run, which a Trainer knows for the learning rate.

    Raises:
        SettingError: If a number is negative or infinite, or T is not known when the factor is asked for.

    Example:
        >>> schedule = CosineDecay()
        >>> [round(schedule(step, 5), 3) for step in range(5)]
        [1.0, 0.905, 0.655, 0.345, 0.095]
        >>> [round(CosineDecay(warmup=3)(step, 5), 3) for step in range(5)]
        [0.25, 0.5, 0.75, 1.0, 0.5]
    """

    def __init__(self, warmup: float = 0, final: float = 0.0, steps: int | None = None) -> None:
        super().__init__()
        expected, fix = "warmup as a number of steps, or a part of the run below 1", "0.1 for a tenth of the run"
        self.warmup = check_number(expected, warmup, fix=fix)
        if self.warmup >= 1:
            self.warmup = check_count(expected, warmup, fix=fix)
        self.final = check_number("final as a finite factor of at least 0", final)
        self.steps = None if steps is None else check_count("steps as an integer of at least 1, or None", steps)

    def forward(self, step: int, steps: int | None = None) -> float:
        steps = _length(self, steps)
        warmup = int(self.warmup if self.warmup >= 1 else self.warmup * steps)
        if step < warmup:
            return (step + 1) / (warmup + 1)
        done = (step - warmup) / max(1, steps - warmup)
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * min(1.0, done))) / 2


class OneCycle(Schedule):
    """From ``start`` to 1 and down to ``final``, both along half a cosine.

    A run of two steps or more has a step with the factor 1: the one that is nearest to the end of the rise, and not the
    first. A run of two steps ends with it.

    Smith and Topin (2018), "Super-convergence: very fast training of neural networks using large learning rates".

    Args:
        rise: Part of the steps in which the factor rises, from 0 to 1.
        start: Factor at the start.
        final: Factor at the end.
        steps: Steps in all; None for those of the run, which a Trainer knows for the learning rate.

    Raises:
        SettingError: If a number is negative or infinite, or the length is not known when the factor is asked for.

    Example:
        >>> schedule = OneCycle(steps=11)
        >>> [round(schedule(step), 3) for step in (0, 3, 10)]
        [0.04, 1.0, 0.0]
    """

    def __init__(self, rise: float = 0.3, start: float = 0.04, final: float = 1e-4, steps: int | None = None) -> None:
        super().__init__()
        self.rise = _check_fraction("rise", rise)
        self.start = check_number("start as a finite factor of at least 0", start)
        self.final = check_number("final as a finite factor of at least 0", final)
        self.steps = None if steps is None else check_count("steps as an integer of at least 1, or None", steps)

    def forward(self, step: int, steps: int | None = None) -> float:
        steps = _length(self, steps)
        peak = max(1, round(self.rise * (steps - 1)))
        if step < peak:
            return self.start + (1 - self.start) * (1 - math.cos(math.pi * (step / peak))) / 2
        done = min(1.0, (step - peak) / max(1, steps - 1 - peak))
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * done)) / 2


def check_schedule(schedule: Schedule | None) -> Schedule | None:
    """``schedule`` itself, which must be a :class:`Schedule` or None.

    Raises:
        ComponentError: If it is anything else.
    """
    if schedule is None or isinstance(schedule, Schedule):
        return schedule
    fix = "for instance mnistvae.schedules.Linear(1000)"
    raise ComponentError("schedule as a mnistvae Schedule, or None", type_name(schedule), fix)


def factor_at(schedule: Schedule, step: int, *, above: bool = False) -> float:
    """The factor of a schedule at a step, from 0.

    Args:
        schedule: The schedule.
        step: Number of the step, from 0.
        above: Refuse a factor of 0, too.

    Raises:
        ComponentError: If it is no finite number, negative, or a 0 that is refused.

    Example:
        >>> factor_at(Linear(4), 1)
        0.25
    """
    factor = schedule(step)
    if isinstance(factor, float | int) and (factor > 0 if above else factor >= 0) and factor < math.inf:
        return factor
    expected = f"a schedule to return a finite number {'above' if above else 'of at least'} 0"
    raise ComponentError(expected, repr(factor), f"look at step {step}")


def _length(schedule: CosineDecay | OneCycle, steps: int | None) -> int:
    """Number of steps that a schedule runs over: its own, or that of the run."""
    found = steps if schedule.steps is None else schedule.steps
    if found is None:
        name = type(schedule).__name__
        raise SettingError(f"the number of steps of {name}", "none", f"{name}(steps=...) for the weight of a term")
    return found


def _check_fraction(name: str, value: float, *, above: bool = False) -> float:
    expected = f"{name} as a number {'above 0 and at most 1' if above else 'from 0 to 1'}"
    number = check_number(expected, value, above=above)
    if number > 1:
        raise SettingError(expected, str(value))
    return number
