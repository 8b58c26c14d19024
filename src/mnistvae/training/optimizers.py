"""The optimizer, and its learning rate as a function of the step."""

from __future__ import annotations

import copy
import functools
import inspect
import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeAlias

import torch
from torch import Tensor, nn

from mnistvae._random import seeded
from mnistvae.errors import ComponentError, FileFormatError, SettingError, type_name
from mnistvae.schedules import CosineDecay, OneCycle

__all__ = [
    "FLUSH_EVERY",
    "LearningRate",
    "MakeOptimizer",
    "Rates",
    "factor_at",
    "flush_denormals",
    "load_optimizer",
    "make_optimizer",
    "resolve_schedule",
]

#: Parameters, and ``lr=``, to an optimizer: ``torch.optim.AdamW``, or a ``functools.partial`` of such a class.
MakeOptimizer: TypeAlias = Callable[..., torch.optim.Optimizer]
#: (step, steps in all) to the factor of the learning rate.
LearningRate: TypeAlias = Callable[[int, int], float]


#: Moments of an optimizer below this are set to zero.
_FAINT = 1e-25
#: Steps between two such flushes: moments that lose a fifth a step or less do not get denormal in between.
FLUSH_EVERY = 128

_SCHEDULES: dict[str, type[CosineDecay | OneCycle]] = {"cosine": CosineDecay, "one-cycle": OneCycle}


def resolve_schedule(schedule: str | LearningRate | None) -> LearningRate | None:
    """A learning-rate schedule by name, or the function that was given.

    Raises:
        SettingError: If it is neither a known name nor a function.
    """
    if schedule is None:
        return None
    if isinstance(schedule, str) and schedule in _SCHEDULES:
        return _SCHEDULES[schedule]()
    if isinstance(schedule, str) or not callable(schedule):
        raise SettingError(
            f"schedule as {' or '.join(map(repr, _SCHEDULES))}, or a function of (step, steps)",
            repr(schedule),
            "for instance mnistvae.schedules.CosineDecay(warmup=100)",
        )
    return schedule


def factor_at(schedule: LearningRate, step: int, steps: int) -> float:
    """The factor of the learning rate in a step of a run.

    Raises:
        SettingError: If the schedule takes other arguments, or returns something else.
    """
    try:
        factor = schedule(step, steps)
    except TypeError as error:
        raise SettingError("schedule as a function of (step, steps)", str(error), "see mnistvae.schedules") from error
    if not isinstance(factor, numbers.Real) or not 0 <= float(factor) < math.inf:
        raise SettingError(
            "schedule to return a finite factor of at least 0", f"{factor!r} in step {step} of {steps}", "look there"
        )
    return float(factor)


def make_optimizer(
    make: MakeOptimizer,
    weights: Sequence[nn.Parameter],
    learning_rate: float,
    *,
    others: Sequence[Mapping[str, Any]] = (),
    capturable: bool = False,
) -> torch.optim.Optimizer:
    """The optimizer; fused where torch can, unless ``make`` decides on that itself.

    Args:
        make: Function called as ``make(weights, lr=learning_rate)``.
        weights: Weights that it updates.
        learning_rate: Its learning rate.
        others: Groups of further weights, with settings of their own.
        capturable: Make it one whose steps can be recorded, if it has such a form; its rates are tensors then.

    Raises:
        ComponentError: If ``make`` does not give an optimizer of these weights.
    """
    chosen = make.keywords if isinstance(make, functools.partial) else {}
    if "lr" in chosen:
        raise SettingError("the learning rate as learning_rate=", f"lr={chosen['lr']} in the optimizer", "leave lr out")
    try:
        optimizer = make([{"params": weights}, *map(dict, others)] if others else weights, lr=learning_rate)
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
    _speed_up(optimizer, weights[0].device, capturable=capturable)
    return optimizer


def _speed_up(optimizer: torch.optim.Optimizer, device: torch.device, *, capturable: bool) -> None:
    """Switch on the fast forms of an optimizer that nobody has decided on."""
    for group in (optimizer.defaults, *optimizer.param_groups):
        undecided = group.get("fused", False) is None and not group.get("foreach") and not group.get("differentiable")
        if undecided and device.type in {"cpu", "cuda", "mps"}:
            group["fused"] = True
            for weight in group.get("params", ()):  # some optimizers count their steps from the start, on the CPU
                if "step" in optimizer.state.get(weight, ()):
                    optimizer.state[weight]["step"] = optimizer.state[weight]["step"].to(device, torch.float32)
        if capturable and "capturable" in group:
            group |= {"capturable": True, "lr": torch.as_tensor(group["lr"], device=device)}


def load_optimizer(optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]) -> None:
    """Take over the state that another such optimizer's ``state_dict`` gave, in the memory layout of the weights.

    Torch compares nothing of it, and its fused updates walk moments and weights in the order of their memory: moments
    of another size are written past their end, and those of another layout go to other weights.

    Raises:
        FileFormatError: If it is not what this optimizer keeps of such weights.
    """
    _check_state(optimizer, saved)
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    optimizer.load_state_dict({"state": saved["state"], "param_groups": saved["param_groups"]})
    for weight in weights:
        for name, value in optimizer.state.get(weight, {}).items():
            if isinstance(value, Tensor) and value.shape == weight.shape:
                optimizer.state[weight][name] = torch.empty_like(weight, dtype=value.dtype).copy_(value)
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"] = group["lr"].to(weights[0].device)


def _check_state(optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]) -> None:
    """Raise FileFormatError unless settings and state are of the kinds, shapes and dtypes that the optimizer has."""
    for now, then in zip(optimizer.param_groups, saved["param_groups"], strict=True):
        for name, value in now.items():
            if name != "params" and not _alike(value, then[name]):
                _refuse(f"{name} like {_in_words(value)}", _in_words(then[name]))
    count = sum(len(group["params"]) for group in optimizer.param_groups)
    if not set(saved["state"]) <= set(range(count)):
        _refuse(f"moments of {count} weights", f"some of {list(saved['state'])}"[:80])
    for number, usual in _first_state(optimizer).items():
        then = saved["state"].get(number, {})
        for name, value in usual.items() if then else ():
            if not _alike(value, then.get(name, ...)):
                _refuse(f"{name} of weight {number} like {_in_words(value)}", _in_words(then.get(name, "none")))


def _first_state(optimizer: torch.optim.Optimizer) -> dict[int, dict[str, Any]]:
    """The state of each weight after one step of a copy of the optimizer on copies of its weights."""
    try:
        twin = copy.deepcopy(optimizer)
    except Exception:  # noqa: BLE001 (an optimizer of the user's, which keeps what cannot be copied)
        return {}
    weights = [weight for group in twin.param_groups for weight in group["params"]]
    for weight in weights:
        weight.grad = torch.zeros_like(weight)
    with seeded(0, weights[0].device):
        twin.step()
    state: dict[int, dict[str, Any]] = twin.state_dict()["state"]
    return state


def _alike(now: Any, then: Any) -> bool:
    """True if a setting of an optimizer can be in the place of another."""
    if isinstance(now, Tensor) or isinstance(then, Tensor):
        return (
            isinstance(now, Tensor) and isinstance(then, Tensor) and (now.shape, now.dtype) == (then.shape, then.dtype)
        )
    if isinstance(now, tuple | list):
        return isinstance(then, tuple | list) and len(now) == len(then) and all(map(_alike, now, then))
    if isinstance(now, bool) or not isinstance(now, int | float):
        return type(now) is type(then)
    return isinstance(then, int | float) and not isinstance(then, bool)


def _in_words(value: Any) -> str:
    return f"{value.dtype} of shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)[:80]


def _refuse(expected: str, got: str) -> NoReturn:
    raise FileFormatError(f"a checkpoint of this run, with {expected}", got, "the file is damaged: take another one")


class Rates:
    """The learning rates of an optimizer's groups, as a schedule sets them.

    Args:
        optimizer: Optimizer whose rates, as they are now, are those at a factor of 1.
        schedule: Function of (step, steps in all) to a factor; None to leave the rates alone.
        steps: Number of steps in the whole run; None where that is not known, for no schedule only.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, schedule: LearningRate | None, steps: int | None) -> None:
        self.schedule = schedule
        self.steps = steps
        self._optimizer = optimizer
        self._rates = [float(group["lr"]) for group in optimizer.param_groups]

    def set(self, step: int) -> None:
        """Set the rates of a step, whose number counts from 0."""
        if self.schedule is None:
            return
        factor = factor_at(self.schedule, step, self.steps or 0)
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate * factor)
            else:
                group["lr"] = rate * factor

    def now(self) -> float:
        """The rate of the first group, as it is now."""
        return float(self._optimizer.param_groups[0]["lr"])

    def samples(self) -> list[float]:
        """Some factors over the run, by which schedules are told apart."""
        steps = self.steps or 0
        return [factor_at(self.schedule, steps * n // 8, steps) for n in range(8)] if self.schedule and steps else []


@torch.no_grad()
def flush_denormals(optimizer: torch.optim.Optimizer) -> None:
    """Set the moments of an optimizer to zero where they are below 1e-25.

    The moments of weights that have had no gradient for some time, such as those of pixels that are black in all but a
    few images, fade away step by step, and end as denormal numbers, with which a CPU computes much more slowly: one
    moment in eight, after two epochs of digits.
    """
    for state in optimizer.state.values():
        for tensor in state.values():
            if isinstance(tensor, Tensor) and tensor.is_floating_point() and tensor.ndim > 0:
                tensor.masked_fill_(tensor.abs() < _FAINT, 0.0)
