"""Bounds on what constructors take of memory and time, when somebody's file says which are called."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from mnistvae.errors import FileFormatError

__all__ = ["Bounds"]


def _numbers_of_shape(*size: Any, **settings: Any) -> float:
    """Numbers in a tensor of a shape, however the shape is given."""
    shape = settings.get("size", size[0] if size and not isinstance(size[0], int) else size)
    return float(math.prod(shape))


def _numbers_of_range(start: float, end: float | None = None, step: float = 1, **_: Any) -> float:
    return abs((start if end is None else end - start) / step)


#: The numbers that functions allocate, as their arguments say.
_ALLOCATED: Mapping[Any, Callable[..., float]] = MappingProxyType(
    {
        **dict.fromkeys((torch.empty, torch.ones, torch.rand, torch.randn, torch.zeros), _numbers_of_shape),
        torch.arange: _numbers_of_range,
        torch.empty_strided: _numbers_of_shape,
        torch.eye: lambda n, m=None, **_: n * (n if m is None else m),
        torch.full: lambda size, *_, **__: math.prod(size),
        torch.linspace: lambda _, __, steps, **___: steps,
        torch.randperm: lambda n, **_: n,
    }
)
#: Calls and numbers that any model may need, for buffers, masks and the small pass that checks it.
_CALLS, _NUMBERS = 20_000, 1 << 22
#: Calls and numbers more for each tensor and each number that the file holds.
_CALLS_EACH, _NUMBERS_EACH = 500, 4


class Bounds(TorchFunctionMode):
    """A block in which torch makes about as many tensors, and as large ones, as a file holds.

    More is an error before it is allocated. (On the device ``meta`` parts take no memory, but its first convolution
    takes a second, and not every library's parts can be made there.)

    Args:
        tensors: Number of the tensors in the file.
        numbers: Number of the numbers in them.

    Raises:
        FileFormatError: If more is asked for in the block.
    """

    def __init__(self, tensors: int, numbers: int) -> None:
        super().__init__()
        self._calls = _CALLS + _CALLS_EACH * tensors
        self._numbers: float = _NUMBERS + _NUMBERS_EACH * numbers

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = kwargs or {}
        self._calls -= 1
        if func in _ALLOCATED:
            self._numbers -= _ALLOCATED[func](*args, **given)
        if self._calls < 0 or self._numbers < 0:
            raise FileFormatError(
                "a description of the tensors that are in the file",
                "one of far more",
                "the file was not written by mnistvae: use it no further",
            )
        return func(*args, **given)
