"""Layers of networks as steps of a page: matrices, convolutions, poolings, changes of size and normalisations."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mnistvae.explorer.steps import Rule, pair
from mnistvae.explorer.tape import Tape, Value

__all__ = ["batch_norm", "conv", "group_norm", "layer_norm", "pool", "product", "spatial"]

#: Most pixels of a channel before such a map, whose table grows with their number.
_MOST_PIXELS = 1 << 14


def product(tape: Tape, first: Tensor, second: Tensor, out: Tensor) -> int:
    """The product of two matrices, or of as many pairs of them as there are before."""
    rows, inner = first.shape[-2:]
    batch = math.prod(first.shape[:-2])
    return tape.add(
        "matmul", [first, second], out.numel(), batch=batch, rows=rows, inner=inner, columns=second.shape[-1]
    )


def conv(tape: Tape, a: Mapping[str, Any], out: Tensor) -> int | None:
    """A convolution, or a transposed one, of an image; None for lines, volumes, and weights that are computed."""
    image, weight, bias, turned = a["input"], a["weight"], a["bias"], a["transposed"]
    if image.ndim != 4 or tape.knows(weight) or tape.knows(bias):
        return None
    groups = a["groups"]
    # Of each group: a kernel's place, then the input's channel, then the output's.
    kernel = weight.unflatten(0, (groups, -1))
    kernel = kernel.permute(0, 3, 4, 1, 2) if turned else kernel.permute(0, 3, 4, 2, 1)
    settings = {
        "given": list(image.shape[1:]),
        "made": list(out.shape[1:]),
        "kernel": list(weight.shape[2:]),
        "stride": list(a["stride"]),
        "padding": list(a["padding"]),
        "dilation": list(a["dilation"]),
        "groups": groups,
        "transposed": int(turned),
    }
    return tape.add(
        "conv", [image, kernel, torch.zeros(out.shape[1]) if bias is None else bias], out.numel(), **settings
    )


def spatial(function: Any) -> Rule:
    """The rule of a linear map of each channel on its own, such as a change of size."""

    def rule(tape: Tape, a: Mapping[str, Any], out: Tensor) -> int | None:
        first, *rest = a.values()
        if first.ndim != 4 or first.shape[1] != out.shape[1] or first.shape[-2:].numel() > _MOST_PIXELS:
            return None
        taken = _matrix(lambda image: function(image, *rest), (first.shape[2], first.shape[3]))
        if taken is None:
            return None
        sources, weights = taken
        settings = {"channels": first.shape[1], "pixels": first.shape[-2:].numel(), "taps": sources.shape[1]}
        return tape.add("spatial", [first, sources.float(), weights], out.numel(), **settings)

    return rule


def _matrix(function: Callable[[Tensor], Tensor], side: tuple[int, int]) -> tuple[Tensor, Tensor] | None:
    """For each pixel that a linear map makes, the pixels that it is made of and their weights; None if it adds more."""
    pixels = math.prod(side)
    if function(torch.zeros(1, 1, *side)).any():
        return None
    columns = [
        function(torch.eye(pixels)[start : start + 256].reshape(-1, 1, *side)).flatten(1)
        for start in range(0, pixels, 256)
    ]
    matrix = torch.cat(columns).T
    most = max(1, int((matrix != 0).sum(1).max()))
    sources = matrix.abs().topk(most, dim=1).indices
    return sources, matrix.gather(1, sources)


def pool(tape: Tape, a: Mapping[str, Any], out: Tensor) -> int | None:
    """The largest value of each window."""
    image = a["self"]
    if image.ndim != 4:
        return None
    kernel, stride = _two(a["kernel_size"]), _two(a["stride"] or a["kernel_size"])
    settings = {"given": list(image.shape[1:]), "made": list(out.shape[1:]), "kernel": kernel, "stride": stride}
    return tape.add("pool", [image], out.numel(), **settings, padding=_two(a["padding"]), dilation=_two(a["dilation"]))


def _two(value: Any) -> list[int]:
    both = list(value) if isinstance(value, list | tuple) else [value]
    return both * 2 if len(both) == 1 else both


def _norm(tape: Tape, image: Tensor, rows: int, eps: float, shape: Sequence[int], scale: Any, shift: Any) -> int:
    """Rows of mean 0 and variance 1, then a scale and a shift of that shape."""
    made = tape.add("norm", [image], image.numel(), rows=rows, eps=eps)
    for name, part in (("mul", scale), ("add", shift)):
        if part is not None:
            made = pair(tape, name, Value(made), part.reshape(tuple(shape)), image.shape, image.shape, shape)
    return made


def group_norm(tape: Tape, a: Mapping[str, Any], out: Tensor) -> int:
    """Group normalisation."""
    shape = (1, a["C"], *[1] * (out.ndim - 2))
    return _norm(tape, a["input"], a["group"], a["eps"], shape, a["weight"], a["bias"])


def layer_norm(tape: Tape, a: Mapping[str, Any], out: Tensor) -> int:
    """Layer normalisation."""
    rows = out.numel() // math.prod(a["normalized_shape"])
    return _norm(tape, a["input"], rows, a["eps"], a["normalized_shape"], a["weight"], a["bias"])


def batch_norm(tape: Tape, a: Mapping[str, Any], out: Tensor) -> int | None:
    """Batch normalisation in evaluation mode, which is a scale and a shift; or instance normalisation."""
    if a.get("training") or a["running_mean"] is None:  # of one example, each channel on its own
        shape = (1, out.shape[1], *[1] * (out.ndim - 2))
        return _norm(tape, a["input"], out.shape[1], a["eps"], shape, a["weight"], a["bias"])
    scale = (a["running_var"] + a["eps"]).rsqrt() * (1 if a["weight"] is None else a["weight"])
    shift = (0 if a["bias"] is None else a["bias"]) - a["running_mean"] * scale
    shape = (1, len(scale), *[1] * (out.ndim - 2))
    made = Value(pair(tape, "mul", a["input"], scale.reshape(shape), out.shape, out.shape, shape))
    return pair(tape, "add", made, shift.reshape(shape), out.shape, out.shape, shape)
