"""What turns gradients into steps: the optimizer, its learning rate over the run, averaged weights."""

from __future__ import annotations

import inspect
import math
import numbers
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from mnistvae._checks import check_number
from mnistvae.errors import ComponentError, SettingError, type_name

__all__ = [
    "EMA",
    "LearningRate",
    "MakeOptimizer",
    "cosine",
    "factor_at",
    "flush_denormals",
    "make_optimizer",
    "one_cycle",
    "resolve_schedule",
]

#: Parameters, and ``lr=``, to an optimizer: ``torch.optim.AdamW``, or a ``functools.partial`` of such a class.
MakeOptimizer: TypeAlias = Callable[..., torch.optim.Optimizer]
#: (step, steps in all) to the factor of the learning rate.
LearningRate: TypeAlias = Callable[[int, int], float]


def cosine(step: int, steps: int, *, warmup: int = 0, final: float = 0.0) -> float:
    r"""A factor that rises to 1 in a line, then falls along half a cosine: Loshchilov and Hutter (2017), equation 5.

    Args:
        step: number of the step, from 0.
        steps: in the whole run.
        warmup: steps of the rise.
        final: factor at the end.

    Example:
        >>> [round(cosine(step, 5), 3) for step in range(5)]
        [1.0, 0.905, 0.655, 0.345, 0.095]
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    done = (step - warmup) / max(1, steps - warmup)
    return final + (1 - final) * (1 + math.cos(math.pi * min(1.0, done))) / 2


def one_cycle(step: int, steps: int, *, rise: float = 0.3, start: float = 0.04, final: float = 1e-4) -> float:
    """A factor that rises from ``start`` to 1 and falls to ``final``, both along a cosine: Smith and Topin (2018).

    Args:
        step: number of the step, from 0.
        steps: in the whole run.
        rise: part of the run in which it rises.
        start: factor at the start.
        final: factor at the end.

    Example:
        >>> [round(one_cycle(step, 11), 3) for step in (0, 3, 10)]
        [0.04, 1.0, 0.0]
    """
    peak = max(1.0, rise * (steps - 1))
    if step < peak:
        low, done = start, step / peak
        return low + (1 - low) * (1 - math.cos(math.pi * done)) / 2
    done = min(1.0, (step - peak) / max(1.0, steps - 1 - peak))
    return final + (1 - final) * (1 + math.cos(math.pi * done)) / 2


#: What an optimizer remembers is zero below this.
_FAINT = 1e-25

_SCHEDULES: dict[str, LearningRate] = {"cosine": cosine, "one-cycle": one_cycle}


def resolve_schedule(schedule: str | LearningRate | None) -> LearningRate | None:
    """A learning-rate schedule by name, or as it came.

    Raises:
        SettingError: neither a known name nor a function.
    """
    if schedule is None:
        return None
    if isinstance(schedule, str) and schedule in _SCHEDULES:
        return _SCHEDULES[schedule]
    if isinstance(schedule, str) or not callable(schedule):
        raise SettingError(
            f"schedule as {' or '.join(map(repr, _SCHEDULES))}, or a function of (step, steps)",
            repr(schedule),
            "for instance functools.partial(mnistvae.training.cosine, warmup=100)",
        )
    return schedule


def factor_at(schedule: LearningRate, step: int, steps: int) -> float:
    """The factor of the learning rate in a step of a run.

    Raises:
        SettingError: the schedule cannot be called so, or gives something else.
    """
    try:
        factor = schedule(step, steps)
    except TypeError as error:
        raise SettingError("schedule as a function of (step, steps)", str(error), "see mnistvae.training") from error
    if not isinstance(factor, numbers.Real) or not 0 <= float(factor) < math.inf:
        raise SettingError(
            "schedule to return a finite factor of at least 0", f"{factor!r} in step {step} of {steps}", "look there"
        )
    return float(factor)


def make_optimizer(
    make: MakeOptimizer, weights: Sequence[nn.Parameter], learning_rate: float, *, capturable: bool = False
) -> torch.optim.Optimizer:
    """The optimizer; fused where its class has it and its weights' device knows it.

    Args:
        make: called as ``make(weights, lr=learning_rate)``.
        weights: what it updates.
        learning_rate: its rate.
        capturable: if its class has such a form, make it one whose steps can be recorded; its rate is a tensor then.

    Raises:
        ComponentError: ``make`` does not give an optimizer of these weights.
    """
    options: dict[str, Any] = {"lr": learning_rate}
    known = _parameters(make)
    kinds = {weight.device.type for weight in weights}
    chosen = make.keywords if hasattr(make, "keywords") else {}  # of a functools.partial
    if "lr" in chosen:
        raise SettingError("the learning rate as learning_rate=", f"lr={chosen['lr']} in the optimizer", "leave lr out")
    if "fused" in known and not chosen.keys() & {"fused", "foreach"} and kinds <= {"cpu", "cuda", "mps"}:
        options["fused"] = True
    if capturable and "capturable" in known:
        options |= {"lr": torch.tensor(learning_rate, device=weights[0].device), "capturable": True}
    try:
        optimizer = make(weights, **options)
    except (TypeError, ValueError) as error:
        raise ComponentError(
            "optimizer to be called as optimizer(parameters, lr=...)",
            str(error),
            "for instance torch.optim.AdamW, or functools.partial(torch.optim.AdamW, weight_decay=0.01)",
        ) from error
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise ComponentError("a torch.optim.Optimizer", type_name(optimizer), "pass its class")
    closure = inspect.signature(type(optimizer).step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        got = f"{type_name(optimizer)}, which computes the loss several times a step"
        raise ComponentError("an optimizer that takes a step from one gradient", got, "for instance torch.optim.Adam")
    return optimizer


def _parameters(make: MakeOptimizer) -> set[str]:
    try:
        return set(inspect.signature(make).parameters)
    except (TypeError, ValueError):
        return set()


@torch.no_grad()
def flush_denormals(optimizer: torch.optim.Optimizer) -> None:
    """Set what an optimizer remembers to zero where it is below 1e-25.

    The moments of weights that have had no gradient for some time, such as those of pixels that are black in all but a
    few images, fade away step by step, and end as denormal numbers, with which a CPU computes much more slowly: one
    moment in eight, after two epochs of digits.
    """
    for state in optimizer.state.values():
        for tensor in state.values():
            if isinstance(tensor, Tensor) and tensor.is_floating_point() and tensor.ndim > 0:
                tensor.masked_fill_(tensor.abs() < _FAINT, 0.0)


class EMA:
    r"""An exponential moving average of a model's weights, which is what is validated and returned.

    .. math:: \bar{\theta}_t = d_t \bar{\theta}_{t-1} + (1 - d_t) \theta_t, \qquad d_t = \min(d, (1 + t) / (10 + t))

    Polyak and Juditsky (1992); the ramp lets go of the first weights soon.

    Args:
        model: whose floating weights and buffers are averaged.
        decay: d, from 0 to below 1.

    Raises:
        SettingError: another decay.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = check_number("ema as a decay from 0 to below 1", decay)
        if self.decay >= 1:
            raise SettingError("ema as a decay from 0 to below 1", str(decay), "0.999 is the usual one")
        live = model.state_dict(keep_vars=True)  # without the buffers that are made anew with the model
        self.live = {name: tensor for name, tensor in live.items() if tensor.is_floating_point()}
        self.average = {name: tensor.detach().clone() for name, tensor in self.live.items()}
        self.swapped = False
        # A tensor, so that a recorded step sees it change.
        self._share = torch.zeros((), device=next(iter(self.live.values())).device)

    def advance(self, step: int) -> None:
        """Set the decay for step number ``step``, from 0."""
        self._share.fill_(1 - min(self.decay, (1 + step) / (10 + step)))

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights."""
        average = list(self.average.values())
        steps = torch._foreach_sub(list(self.live.values()), average)  # noqa: SLF001
        torch._foreach_mul_(steps, self._share)
        torch._foreach_add_(average, steps)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """A block in which the model has the averaged weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def apply(self) -> None:
        """Give the model the averaged weights for good."""
        for name, tensor in self.live.items():
            tensor.copy_(self.average[name])

    @torch.no_grad()
    def _swap(self) -> None:
        for name, tensor in self.live.items():
            held = tensor.clone()
            tensor.copy_(self.average[name])
            self.average[name].copy_(held)
        self.swapped = not self.swapped

    def state(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The weights as they are trained, and their averages, whichever of them the model has now."""
        live = {name: tensor.detach() for name, tensor in self.live.items()}
        return (self.average, live) if self.swapped else (live, self.average)

    @torch.no_grad()
    def load(self, average: dict[str, Tensor]) -> None:
        """Go on from averages that :meth:`state` gave."""
        for name, tensor in self.average.items():
            tensor.copy_(average[name])
