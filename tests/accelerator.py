"""A made-up accelerator for tests, with the limits of Apple's GPUs.

Its tensors live on the CPU and say that they are on "mps". Double precision is refused, and so are numpy and operations
that mix them with tensors of the CPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._device import _device_constructors
from torch.utils._pytree import tree_flatten, tree_map

MADE_UP = torch.device("mps")
#: Methods that take tensors from one device to another, or look at them only.
_BETWEEN = {"__get__", "__set__", "__setitem__", "__getitem__", "copy_", "to", "cpu", "as_tensor", "result_type"} | {
    "_has_compatible_shallow_copy_type",
    "set_",
}


class Remote(Tensor):
    """A tensor on the made-up accelerator."""

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return MADE_UP

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _call(func, args, kwargs or {})


def _is_made_up(device: Any) -> bool:
    return device == MADE_UP if isinstance(device, torch.device) else isinstance(device, str) and device == "mps"


def _as(kind: type[Tensor], out: Any) -> Any:
    return tree_map(lambda one: one.as_subclass(kind) if isinstance(one, Tensor) else one, out)


def _call(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    name, flat = getattr(func, "__name__", ""), tree_flatten((args, kwargs))[0]
    remote = [one for one in flat if isinstance(one, Remote)]
    devices = [one for one in flat if isinstance(one, torch.device) or (isinstance(one, str) and one in {"mps", "cpu"})]
    moves = name in {"to", "cpu"} or func in _device_constructors()
    inside = bool(remote)
    if moves and (devices or name == "cpu"):
        inside = name != "cpu" and _is_made_up(devices[0])
    if name in {"numpy", "__array__"} and remote:
        raise TypeError("a tensor of the accelerator is no numpy array: use cpu()")
    near = [one for one in flat if isinstance(one, Tensor) and not isinstance(one, Remote) and one.ndim]
    if remote and near and name not in _BETWEEN:
        raise RuntimeError(f"tensors of two devices in {name}")
    if func is torch.device or name == "_parse_to":  # which read arguments
        return func(*args, **kwargs)
    plain = tree_map(lambda one: torch.device("cpu") if _is_made_up(one) else one, (args, kwargs))
    with torch._C.DisableTorchFunctionSubclass():
        out = func(*plain[0], **plain[1])
        tensors = [one for one in tree_flatten(out)[0] if isinstance(one, Tensor)]
        if inside and any(one.dtype is torch.float64 for one in tensors):
            raise TypeError("the accelerator has no float64")
        return out if name == "__get__" and not tensors else _as(Remote if inside else Tensor, out)


class _Mode(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _call(func, args, kwargs or {})


def _get_state() -> Tensor:
    return torch.default_generator.get_state()


def _set_state(state: Tensor) -> None:
    torch.default_generator.set_state(state)


def _manual_seed(seed: int) -> None:
    torch.default_generator.manual_seed(seed)


@contextmanager
def accelerator() -> Iterator[torch.device]:
    """A block in which the device "mps" is the made-up one."""
    overwrite = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    with (
        mock.patch("torch.mps.get_rng_state", _get_state),
        mock.patch("torch.mps.set_rng_state", _set_state),
        mock.patch("torch.mps.manual_seed", _manual_seed),
        _Mode(),
    ):
        try:
            yield MADE_UP
        finally:
            torch.__future__.set_overwrite_module_params_on_conversion(overwrite)
