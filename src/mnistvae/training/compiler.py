"""torch's compiler, as training uses it: what it switches off is switched on again, what it overlooks is noticed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.distributions import Distribution

__all__ = ["Listeners", "compiled"]


def compiled(function: Callable[..., Any], device: torch.device, *, whole: bool = False) -> Callable[..., Any]:
    """A function that is compiled when it is called first, for tensors of one shape.

    Args:
        function: what to compile.
        device: where it computes.
        whole: fail, rather than leave to Python what cannot be compiled.
    """
    # On a CPU the compiler's own random numbers are slow, and others than those of an uncompiled step.
    options: dict[str, Any] | None = {"fallback_random": True} if device.type == "cpu" else None
    with _validation_kept():
        made: Callable[..., Any] = torch.compile(function, dynamic=False, fullgraph=whole, options=options)
    called = False

    def call(*arguments: Any) -> Any:
        nonlocal called
        if called:
            return made(*arguments)
        called = True
        with _validation_kept():
            return made(*arguments)

    return call


@contextmanager
def _validation_kept() -> Iterator[None]:
    """The compiler switches off the validation of all distributions in the process; switch it on again.

    What it imports may warn of torch's own old ways, which is nobody's business here.
    """
    before = Distribution._validate_args  # noqa: SLF001
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            yield
    finally:
        Distribution.set_default_validate_args(before)


class Listeners:
    """Hooks of a model's modules and weights and of an optimizer, which may come at any time."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        names = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
        self._hooks = [getattr(part, name) for part in model.modules() for name in names]
        self._hooks += [optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks]  # noqa: SLF001
        self._weights = list(model.parameters())

    def count(self) -> int:
        """How many there are: asked in each step, so it has to be quick."""
        own = sum(
            bool(weight._backward_hooks) + bool(weight._post_accumulate_grad_hooks)  # noqa: SLF001
            for weight in self._weights
        )
        return own + sum(map(len, self._hooks))
