"""Calls of torch's compiler that leave no trace in the process, and a count of the hooks that it does not see."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import nn
from torch.distributions import Distribution
from torch.nn.modules import module as torch_module

__all__ = ["Hooks", "compiled"]

_HOOKS = ("forward_hooks", "forward_pre_hooks", "backward_hooks", "backward_pre_hooks")
#: Kinds of guards of what is found in a module of Python: that a function, a class or a module there is still the same.
_SAME = {"BUILTIN_MATCH", "CLASS_MATCH", "CLOSURE_MATCH", "DUPLICATE_INPUT", "MODULE_MATCH"}


def compiled(function: Callable[..., Any], device: torch.device, *, whole: bool = False) -> Callable[..., Any]:
    """A function that is compiled when it is called first, for tensors of one shape.

    Args:
        function: Function to compile.
        device: Device on which it computes.
        whole: Fail, rather than leave to Python what cannot be compiled, and skip some checks at each call: the
            function may call nothing but this package and torch, and the caller has to look for hooks, see
            :class:`Hooks`.
    """
    # On a CPU the compiler's own random numbers are slow, and others than those of an uncompiled step.
    options: dict[str, Any] = {"fallback_random": True} if device.type == "cpu" else {}
    if whole:
        options["guard_filter_fn"] = _guarded
    with _validation_kept():
        made: Callable[..., Any] = torch.compile(_of_its_own(function), dynamic=False, fullgraph=whole, options=options)
    called = False

    def call(*arguments: Any) -> Any:
        nonlocal called
        if called:
            return made(*arguments)
        called = True
        with _validation_kept():
            return made(*arguments)

    return call


def _of_its_own(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function with code of its own, for which alone torch counts how often it was compiled.

    Torch gives up after eight times, and the code of a step is the same for all models of a process.
    """
    if isinstance(function, MethodType):
        return MethodType(_of_its_own(function.__func__), function.__self__)
    if not isinstance(function, FunctionType):
        return function
    parts = function.__globals__, function.__name__, function.__defaults__, function.__closure__
    own = FunctionType(function.__code__.replace(), *parts)
    own.__kwdefaults__ = function.__kwdefaults__
    return own


def _guarded(guards: Sequence[Any]) -> list[bool]:
    """A choice of the guards that are checked at each call.

    Left out are the guards for hooks and for functions that are replaced, which are half of all guards and take half
    of their time: 60 us of a step of 1.2 ms on a CPU.
    """
    return [
        guard.guard_type != "EMPTY_NN_MODULE_HOOKS_DICT" and not (guard.is_global and guard.guard_type in _SAME)
        for guard in guards
    ]


@contextmanager
def _validation_kept() -> Iterator[None]:
    """A block after which distributions are validated as before, which the compiler switches off in the process.

    Warnings about deprecated parts of torch that its own modules use are ignored.
    """
    before = Distribution._validate_args  # noqa: SLF001
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            yield
    finally:
        Distribution.set_default_validate_args(before)


class Hooks:
    """Counts the hooks of a model's modules and weights, of an optimizer and of all modules.

    Args:
        model: Model whose hooks are counted.
        optimizer: Optimizer whose hooks are counted.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self._hooks = [getattr(part, f"_{name}") for part in model.modules() for name in _HOOKS]
        self._hooks += [getattr(torch_module, f"_global_{name}") for name in _HOOKS]
        self._hooks += [optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks]  # noqa: SLF001
        self._weights = list(model.parameters())

    def count(self) -> int:
        """Number of hooks registered now; quick enough to be called in each step."""
        own = sum(
            bool(weight._backward_hooks) + bool(weight._post_accumulate_grad_hooks)  # noqa: SLF001
            for weight in self._weights
        )
        return own + sum(map(len, self._hooks))
