"""A computation as a flat list of steps: what a small program without torch can repeat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

__all__ = ["STALE", "Step", "Tape", "Value", "schema_of"]


@dataclass(frozen=True)
class Step:
    """One step: an operation of the page's and its operands.

    An operand at or above 0 is a value of the tape: the input is number 0, each step makes the next one. An operand
    below 0 is a constant: -1 is the first.
    """

    operation: str
    operands: tuple[int, ...]
    #: Number of values of the result.
    size: int
    #: Settings of the operation, of numbers and lists.
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass
class Tape:
    """Steps in their order, their constants, and the values that the computation gave by name."""

    steps: list[Step] = field(default_factory=list)
    constants: list[Tensor] = field(default_factory=list)
    outputs: dict[str, int] = field(default_factory=dict)
    #: The value that a tensor holds, by the identity of the tensor, which is kept so that no other one has it.
    _values: dict[int, tuple[Tensor, int]] = field(default_factory=dict)

    def knows(self, value: Any) -> bool:
        """Tell whether a value depends on the input."""
        return isinstance(value, Tensor) and id(value) in self._values

    def operand(self, value: Any) -> int:
        """The operand that a tensor or a number is."""
        if self.knows(value):
            return self._values[id(value)][1]
        self.constants.append(torch.as_tensor(value).detach().float().contiguous())
        return -len(self.constants)

    def add(self, operation: str, operands: Sequence[Any], size: int, **settings: Any) -> int:
        """Add a step, and return its value.

        Args:
            operation: Name of the operation.
            operands: Tensors, numbers, or values of the tape as ``Value``.
            size: Number of values of the result.
            settings: Settings of the operation.
        """
        taken = tuple(one.number if isinstance(one, Value) else self.operand(one) for one in operands)
        self.steps.append(Step(operation, taken, size, settings))
        return len(self.steps)

    def bind(self, tensor: Tensor, value: int) -> None:
        """Note that a tensor holds a value of the tape."""
        self._values[id(tensor)] = (tensor, value)

    def forget_views(self, tensor: Tensor) -> None:
        """Forget the other tensors that share memory with one that is going to be overwritten."""
        memory = tensor.untyped_storage().data_ptr()
        for key, (other, _) in list(self._values.items()):
            if other is not tensor and other.untyped_storage().data_ptr() == memory:
                self._values[key] = (other, STALE)


@dataclass(frozen=True)
class Value:
    """A value of the tape as the operand of another step."""

    number: int


#: The value of a tensor that was overwritten through another one.
STALE = -(10**9)


def schema_of(func: Any) -> Any:
    """Name and arguments of an operation of ``torch.ops``."""
    return func._schema  # noqa: SLF001 (torch's own way: it has no public name)
