"""Steps that several operations are written in: functions of two values, and of all values along a dimension."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mnistvae.explorer.tape import Tape

__all__ = ["Rule", "pair", "reduced", "shape_of", "strides_in"]

#: A function that adds the steps of an operation and returns the number of its value; None where it cannot.
Rule = Callable[[Tape, Mapping[str, Any], Any], "int | None"]


def pair(
    tape: Tape,
    name: str,
    first: Any,
    second: Any,
    shape: Sequence[int],
    of_first: Sequence[int],
    of_second: Sequence[int],
) -> int:
    """A function of two values, of operands that may be broadcast."""
    strides = [strides_in(one, shape) for one in (of_first, of_second)]
    return tape.add("zip", [first, second], math.prod(shape), name=name, shape=list(shape), strides=strides)


def shape_of(value: Any) -> tuple[int, ...]:
    """The shape of a tensor; that of a number is ()."""
    return tuple(value.shape) if isinstance(value, Tensor) else ()


def strides_in(given: Sequence[int], shape: Sequence[int]) -> list[int] | None:
    """Distances of the values of a tensor broadcast to a shape; None where nothing is broadcast."""
    if math.prod(given) == math.prod(shape):
        return None
    return list(torch.empty(tuple(given), device="meta").expand(tuple(shape)).stride())


def reduced(tape: Tape, name: str, value: Any, shape: tuple[int, ...], dim: Any) -> int:
    """A sum, mean or maximum over dimensions; over all of them where none is given."""
    chosen = range(len(shape)) if dim is None or dim == [] else dim if isinstance(dim, list | tuple) else [dim]
    over = {one % len(shape) for one in chosen}
    strides = torch.empty(shape, device="meta").stride()
    kept = [one for one in range(len(shape)) if one not in over]
    made = {"shape": [shape[one] for one in kept], "strides": [strides[one] for one in kept]}
    of = {"over": [shape[one] for one in sorted(over)], "steps": [strides[one] for one in sorted(over)]}
    return tape.add("reduce", [value], math.prod(made["shape"]), name=name, **made, **of)
