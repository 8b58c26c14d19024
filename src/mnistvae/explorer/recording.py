"""Records what a model computes as the steps of a tape.

One image, or one code, goes through the model while every operation of torch's that reaches it is noted. Operations on
weights alone leave no steps: their results are constants. So a label, which is a constant too, may enter a network in
any way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from mnistvae.errors import ComponentError
from mnistvae.explorer.operations import translate
from mnistvae.explorer.tape import STALE, Tape, schema_of

__all__ = ["record"]


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Runs each operation as it is, and notes those that depend on the input."""

    def __init__(self, tape: Tape, place: list[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._tape, self._place = tape, place
        #: The error about the layer that could not be noted.
        self.refused: ComponentError | None = None

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled in here, and importing the compiler would take seconds

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = [one for arg in (*args, *kwargs.values()) for one in (arg if isinstance(arg, list | tuple) else [arg])]
        depends = any(self._tape.knows(one) for one in given)
        drawn = torch.Tag.nondeterministic_seeded in func.tags
        out = func(*args, **kwargs)
        if depends or drawn:
            stale = any(self._tape.knows(one) and self._tape.operand(one) == STALE for one in given)
            if drawn or stale or not translate(self._tape, func, args, kwargs, out):
                self.refused = unknown_layer(self._place[-1], schema_of(func).name.partition("::")[2])
                raise self.refused
        return out


def record(module: nn.Module, function: Callable[[Tensor], dict[str, Tensor]], example: Tensor) -> Tape:
    """Record a computation on one example, (1, ...).

    Args:
        module: Module whose parts have names, for messages.
        function: Function of the example that returns tensors by name.
        example: The example; its values have no effect.

    Raises:
        ComponentError: If a layer uses an operation that the page does not know; the message names the layer.
    """
    tape = Tape()
    tape.bind(example, 0)
    with _naming(module) as place, torch.no_grad(), _Recorder(tape, place) as recorder:
        try:
            outputs = function(example)
        except TypeError as error:  # torch's operators make one of their own of an error that is a TypeError, too
            raise recorder.refused or error from None
    for name, tensor in outputs.items():
        if not tape.knows(tensor):  # a constant, whatever the input
            tape.bind(tensor, tape.add("move", [tensor], tensor.numel(), shape=[tensor.numel()], strides=[1], offset=0))
        tape.outputs[name] = tape.operand(tensor)
    return tape


def unknown_layer(place: str, operation: str) -> ComponentError:
    """The error about a layer that the page cannot run."""
    return ComponentError(
        "layers that a page can run",
        f"{place}, which calls {operation}",
        "the guide Explore a latent space in a browser lists them; --parts plane takes the decoder alone",
    )


@contextmanager
def _naming(module: nn.Module) -> Iterator[list[str]]:
    """The names of the modules that are running, the innermost last."""
    running = [f"the model ({type(module).__name__})"]
    hooks = []

    def enter(name: str) -> Callable[..., None]:
        return lambda part, *_: running.append(f"{name} ({type(part).__name__})")

    def leave(*_: Any) -> None:
        running.pop()

    for name, part in module.named_modules():
        if name:
            hooks += [part.register_forward_pre_hook(enter(name)), part.register_forward_hook(leave, always_call=True)]
    try:
        yield running
    finally:
        for hook in hooks:
            hook.remove()
