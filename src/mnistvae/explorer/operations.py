"""The operations that a page can run, and how torch's are written in them.

The page knows few: ``map`` (a function of each value), ``zip`` (of two values), ``choose`` (one of two, by a third),
``move`` (values in another order), ``matmul``, ``conv``, ``spatial`` (a linear map of each channel), ``pool``,
``norm``, ``reduce`` and ``cat``. All work on one example, whose values lie in torch's order, row by row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mnistvae.explorer.layers import batch_norm, conv, group_norm, layer_norm, pool, product, spatial
from mnistvae.explorer.steps import Rule, pair, reduced, shape_of, strides_in
from mnistvae.explorer.tape import Tape, Value, schema_of

__all__ = ["translate"]

#: Functions of each value that need no settings; the page calls them by the same names.
_PLAIN = (
    *("relu", "sigmoid", "tanh", "exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "reciprocal", "neg", "abs", "sign"),
    *("sin", "cos", "atan", "silu", "mish", "hardswish", "hardsigmoid", "floor", "round", "erf", "logical_not"),
    *("log_sigmoid_forward",),
)
#: Functions of each value with settings: those of the operation, in the order in which the page takes them.
_SET: Mapping[str, Callable[[Mapping[str, Any]], list[Any]]] = {
    "clamp": lambda a: [a["min"], a["max"]],
    "clamp_min": lambda a: [a["min"], None],
    "clamp_max": lambda a: [None, a["max"]],
    "hardtanh": lambda a: [a["min_val"], a["max_val"]],
    "leaky_relu": lambda a: [a["negative_slope"]],
    "celu": lambda a: [a["alpha"], 1.0, 1 / a["alpha"]],
    "elu": lambda a: [a["alpha"], a["scale"], a["input_scale"]],
    "softplus": lambda a: [a["beta"], a["threshold"]],
    "gelu": lambda a: [int(a["approximate"] == "tanh")],
}
#: Other names on the page of functions above.
_CALLED = {
    **dict.fromkeys(("clamp_min", "clamp_max", "hardtanh"), "clamp"),
    "celu": "elu",
    "log_sigmoid_forward": "log_sigmoid",
}
#: Functions of two values.
_TWO = (
    *("add", "sub", "mul", "div", "maximum", "minimum", "gt", "ge", "lt", "le", "eq", "ne", "pow", "rsub"),
    *("logical_and", "logical_or"),
)
#: Operations that leave values and order as they are.
_SAME = ("clone", "_to_copy", "_unsafe_view", "detach", "lift_fresh", "alias", "contiguous", "native_dropout")
#: Operations that take nothing but the shape of a tensor.
_OF_SHAPE = {one for what in ("ones", "zeros", "full", "empty") for one in (f"new_{what}", f"{what}_like")}
#: Linear maps of each channel on its own, which a few examples tell completely.
_SPATIAL = (
    *("upsample_nearest2d", "upsample_bilinear2d", "upsample_bicubic2d", "_upsample_nearest_exact2d"),
    *("avg_pool2d", "_adaptive_avg_pool2d", "constant_pad_nd", "reflection_pad2d", "replication_pad2d"),
)
#: Operations that put values in another order.
_MOVES = ("flip", "roll", "pixel_shuffle", "repeat", "index_select", "index")


def translate(tape: Tape, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> bool:
    """Add the steps of an operation of torch's to a tape; False if the page does not know it.

    Args:
        tape: The tape.
        func: The operation, of ``torch.ops.aten``.
        args: Its arguments.
        kwargs: Its arguments by name.
        out: Its result.
    """
    schema = schema_of(func)
    given = {**dict(zip((one.name for one in schema.arguments), args, strict=False)), **kwargs}
    named = {one.name: given.get(one.name, one.default_value) for one in schema.arguments}
    name = schema.name.partition("::")[2]
    if func.is_view:
        return _view(tape, func, args, kwargs, out)
    if name in _OF_SHAPE:
        if "empty" in name:
            out.zero_()  # whatever was there, a page is the same every time
        return True
    inplace = schema.is_mutable
    name = name.removesuffix("_") if inplace else name
    rule = RULES.get(name)
    first = out[0] if isinstance(out, tuple | list) else out
    if rule is None or not isinstance(first, Tensor):
        return False
    value = rule(tape, named, first)
    if value is None:
        return False
    if inplace:
        tape.forget_views(first)
    tape.bind(first, value)
    return True


def _view(tape: Tape, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> bool:
    """Views: torch itself tells where the values lie, of a tensor without values."""
    source = args[0]
    if schema_of(func).name == "aten::as_strided" or not tape.knows(source):
        return False
    there = func(torch.empty(source.shape, device="meta"), *args[1:], **kwargs)
    several = isinstance(out, list | tuple)
    for found, made in zip(there if several else [there], out if several else [out], strict=True):
        value = tape.operand(source)
        if found.numel() != source.numel() or not found.is_contiguous() or found.storage_offset():
            place = {"shape": list(found.shape), "strides": list(found.stride()), "offset": found.storage_offset()}
            value = tape.add("move", [source], found.numel(), **place)
        tape.bind(made, value)
    return True


def _map(name: str, settings: Callable[[Mapping[str, Any]], list[Any]] | None = None) -> Rule:
    def rule(tape: Tape, a: Mapping[str, Any], out: Tensor) -> int | None:
        numbers = [] if settings is None else settings(a)
        if any(isinstance(one, Tensor) for one in numbers):
            return None
        return tape.add("map", [next(iter(a.values()))], out.numel(), name=name, numbers=numbers)

    return rule


def _zip(name: str) -> Rule:
    def rule(tape: Tape, a: Mapping[str, Any], out: Tensor) -> int | None:
        first, second = a.get("self"), a.get("other", a.get("exponent"))
        if a.get("rounding_mode") is not None:
            return None
        if a.get("alpha", 1) != 1:
            second = Value(pair(tape, "mul", second, a["alpha"], shape_of(second), shape_of(second), ()))
            return pair(tape, name, first, second, out.shape, shape_of(first), shape_of(a["other"]))
        if name == "rsub":
            return pair(tape, "sub", second, first, out.shape, shape_of(second), shape_of(first))
        return pair(tape, name, first, second, out.shape, shape_of(first), shape_of(second))

    return rule


def _choose(tape: Tape, a: Mapping[str, Any], out: Tensor) -> int:
    parts = [a["condition"], a["self"], a["other"]]
    strides = [strides_in(shape_of(one), out.shape) for one in parts]
    return tape.add("choose", parts, out.numel(), shape=list(out.shape), strides=strides)


def _mm(tape: Tape, a: Mapping[str, Any], out: Tensor) -> int:
    return product(tape, a["self"], a["mat2"], out)


def _addmm(tape: Tape, a: Mapping[str, Any], out: Tensor) -> int | None:
    if a.get("beta", 1) != 1 or a.get("alpha", 1) != 1:
        return None
    made = Value(product(tape, a["mat1"], a["mat2"], out))
    return pair(tape, "add", made, a["self"], out.shape, out.shape, shape_of(a["self"]))


def _reduce(name: str) -> Rule:
    def rule(tape: Tape, a: Mapping[str, Any], _: Tensor) -> int:
        return reduced(tape, name, a["self"], tuple(a["self"].shape), a.get("dim"))

    return rule


def _softmax(*, logarithm: bool) -> Rule:
    def rule(tape: Tape, a: Mapping[str, Any], out: Tensor) -> int:
        shape, dim = tuple(out.shape), a["dim"] % out.ndim
        small = tuple(1 if one == dim else side for one, side in enumerate(shape))
        most = Value(reduced(tape, "amax", a["self"], shape, dim))
        moved = Value(pair(tape, "sub", a["self"], most, shape, shape, small))
        grown = Value(tape.add("map", [moved], out.numel(), name="exp", numbers=[]))
        total = Value(reduced(tape, "sum", grown, shape, dim))
        if not logarithm:
            return pair(tape, "div", grown, total, shape, shape, small)
        size = Value(tape.add("map", [total], math.prod(small), name="log", numbers=[]))
        return pair(tape, "sub", moved, size, shape, shape, small)

    return rule


def _cat(tape: Tape, a: Mapping[str, Any], out: Tensor) -> int:
    dim = a.get("dim", 0) % out.ndim
    parts = [one for one in a["tensors"] if one.numel()]
    lengths = [one.shape[dim] * math.prod(out.shape[dim + 1 :]) for one in parts]
    return tape.add("cat", parts, out.numel(), lengths=lengths)


def _stack(tape: Tape, a: Mapping[str, Any], out: Tensor) -> int:
    after = math.prod(out.shape[a.get("dim", 0) % out.ndim + 1 :])
    return tape.add("cat", a["tensors"], out.numel(), lengths=[after] * len(a["tensors"]))


def _addcmul(tape: Tape, a: Mapping[str, Any], out: Tensor) -> int | None:
    if a.get("value", 1) != 1:
        return None
    first, second = a["tensor1"], a["tensor2"]
    shape = torch.broadcast_shapes(first.shape, second.shape)  # type: ignore[no-untyped-call]
    made = Value(pair(tape, "mul", first, second, shape, first.shape, second.shape))
    return pair(tape, "add", a["self"], made, out.shape, a["self"].shape, shape)


def _gather(function: Any) -> Rule:
    """Values in another order, found by moving their numbers."""

    def rule(tape: Tape, a: Mapping[str, Any], out: Tensor) -> int | None:
        first, *rest = a.values()
        if any(tape.knows(one) for arg in rest for one in (arg if isinstance(arg, list) else [arg])):
            return None
        numbers = torch.arange(first.numel(), dtype=torch.float32).reshape(first.shape)
        return tape.add("take", [first, function(numbers, *rest).flatten()], out.numel())

    return rule


def _put(tape: Tape, a: Mapping[str, Any], _: Tensor) -> int | None:
    """Values at some places of a tensor: of both, those that are to be there."""
    into, values, indices = a["self"], a["values"], a["indices"]
    if a["accumulate"] or any(tape.knows(one) for one in indices):
        return None
    lengths = [into.numel(), values.numel()]
    both = Value(tape.add("cat", [into, values], sum(lengths), lengths=lengths))
    numbers = torch.arange(sum(lengths), dtype=torch.float32)
    old, new = numbers.split(lengths)  # type: ignore[no-untyped-call]
    places = _aten.index_put(old.reshape(into.shape), indices, new.reshape(values.shape))
    return tape.add("take", [both, places.flatten()], into.numel())


def _same(tape: Tape, a: Mapping[str, Any], out: Tensor) -> int | None:
    first = next(iter(a.values()))
    return tape.operand(first) if out.is_floating_point() and first.numel() == out.numel() else None


_aten = torch.ops.aten
#: How each operation is written in those of the page.
RULES: Mapping[str, Rule] = {
    **{name: _map(_CALLED.get(name, name)) for name in _PLAIN},
    **{name: _map(_CALLED.get(name, name), settings) for name, settings in _SET.items()},
    **{name: _zip(name) for name in _TWO},
    "_prelu_kernel": lambda tape, a, out: pair(
        tape, "prelu", a["self"], a["weight"], out.shape, out.shape, a["weight"].shape
    ),
    **dict.fromkeys(_SAME, _same),
    **{name: spatial(getattr(_aten, name)) for name in _SPATIAL},
    **{
        name: _gather(getattr(_aten, name))
        for name in ("flip", "roll", "pixel_shuffle", "repeat", "index_select", "index")
    },
    "index_put": _put,
    "where": _choose,
    "mm": _mm,
    "bmm": _mm,
    "addmm": _addmm,
    "addcmul": _addcmul,
    "convolution": conv,
    "max_pool2d_with_indices": pool,
    "native_group_norm": group_norm,
    "native_layer_norm": layer_norm,
    "native_batch_norm": batch_norm,
    "_native_batch_norm_legit_no_training": batch_norm,
    "_softmax": _softmax(logarithm=False),
    "_log_softmax": _softmax(logarithm=True),
    "sum": _reduce("sum"),
    "mean": _reduce("mean"),
    "amax": _reduce("amax"),
    "cat": _cat,
    "stack": _stack,
}
