"""The one resolver of devices: a name becomes a device that this machine has."""

from __future__ import annotations

import os

import torch

from mnistvae.errors import SettingError

__all__ = ["resolve_device"]


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
