"""Devices by name, and the memory of this process."""

from __future__ import annotations

import ctypes
import os
import sys

import torch

from mnistvae._checks import check_count
from mnistvae.errors import SettingError

__all__ = ["keep_freed_memory", "resolve_device"]

#: Numbers of two settings of glibc's malloc, from its malloc.h; the largest value of the second.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_MOST_MMAP = 32 << 20


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """A device of this machine by its name, with its number where there are several of a kind.

    Args:
        device: A device or the name of one; ``"auto"`` is the first of cuda, mps and cpu that is there.

    Returns:
        The device as its tensors name it: ``"cuda"`` becomes ``cuda:0``, or another that is current.

    Raises:
        SettingError: If the device is unknown, or this machine does not have it.

    Example:
        >>> resolve_device("cpu")
        device(type='cpu')
    """
    if str(device) == "auto":
        if not torch.cuda.is_available():
            return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
        local = os.environ.get("LOCAL_RANK")  # of several processes on this machine
        return torch.device("cuda", torch.cuda.current_device() if local is None else int(local))
    try:
        probe = torch.zeros(1, device=device)
        probe.item()  # the device "meta" fails here
    except (RuntimeError, TypeError, AssertionError, ImportError) as error:  # AssertionError: torch without CUDA
        reason = (str(error).splitlines() or [""])[0]
        raise SettingError("a device of this machine", f"{str(device)!r} ({reason})", "use auto or cpu") from error
    return probe.device


def keep_freed_memory(limit: int = 1 << 30) -> bool:
    """Let this process keep memory that it frees, and use it again, rather than return it to the system at each step.

    A step of a convolutional model on a CPU frees some megabytes of activations, and asks for them again in the next
    one; each page that comes from the system is filled with zeros first. Kept, they save up to a fifth of the
    processor's time in a training of ``conv``. The command line calls this; a program of your own may, before it
    trains. It is a setting of the C library for the whole process, and only glibc, on Linux, has it. Where one of
    glibc's variables (``MALLOC_TRIM_THRESHOLD_``, ``MALLOC_MMAP_THRESHOLD_``) is set, it is left as it is.

    Args:
        limit: Bytes that are kept at most.

    Returns:
        True if that was set.

    Raises:
        SettingError: If ``limit`` is not an integer of at least 0 and below 2 GiB.
    """
    limit = check_count("limit as a number of bytes of at least 0", limit, 0)
    if not sys.platform.startswith("linux") or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _MOST_MMAP)) and bool(mallopt(_TRIM_THRESHOLD, limit))
