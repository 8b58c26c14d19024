"""Settings of the arithmetic for the length of a block: fast products on a CPU, repeatable convolutions on a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

__all__ = ["fast_products", "training_arithmetic"]

#: Of the largest entry. Products in fp32 come to about 1e-6; bfloat16 would come to 1e-3.
_TOLERANCE = 1e-5


@contextmanager
def fast_products(device: torch.device) -> Iterator[None]:
    """Let oneDNN do the fp32 products of a block on the CPU, if that loses nothing here.

    torch's setting for it is called "bf16", and allows rounding to bfloat16. Whether a CPU makes use of
    that is tried out once in a process; where it does, and on other devices, nothing is changed.
    """
    if device.type != "cpu" or not _onednn_is_exact():
        yield
        return
    with _onednn():
        yield


@contextmanager
def training_arithmetic(device: torch.device) -> Iterator[None]:
    """Compute fast products in a block on a CPU, and repeatable gradients of convolutions on an NVIDIA GPU.

    cuDNN's usual order of addition changes from call to call: two runs under one seed, or a run and its resumption,
    drift apart.
    """
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = before or device.type == "cuda"
    try:
        with fast_products(device):
            yield
    finally:
        torch.backends.cudnn.deterministic = before


@contextmanager
def _onednn() -> Iterator[None]:
    setting = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]  # made when torch.backends is imported
    before = setting.fp32_precision
    setting.fp32_precision = "bf16"
    try:
        yield
    finally:
        setting.fp32_precision = before


@cache
def _onednn_is_exact() -> bool:
    """True where oneDNN's products, allowed to round, are as good as fp32 on this machine."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.rand(size, generator=generator, device="cpu") - 0.5 for size in ((128, 784), (784, 400)))
    exact = a.double() @ b.double()
    with _onednn():
        error = (a @ b - exact).abs().max() / exact.abs().max()
    return bool(error < _TOLERANCE)
