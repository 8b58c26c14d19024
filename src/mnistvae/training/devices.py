"""Where to compute."""

from __future__ import annotations

import os

import torch

from mnistvae.errors import SettingError

__all__ = ["resolve_device"]


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """A device by name; "auto" is the first of cuda, mps and cpu that is there.

    Raises:
        SettingError: an unknown device, or one that this machine does not have.
    """
    if str(device) == "auto":
        if torch.cuda.is_available():
            local = os.environ.get("LOCAL_RANK")  # of several processes on this machine
            return torch.device("cuda", torch.cuda.current_device() if local is None else int(local))
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        resolved = torch.device(device)
        torch.zeros(1, device=resolved).item()  # the device "meta" fails here
    except (RuntimeError, TypeError, AssertionError, ImportError) as error:  # AssertionError: torch without CUDA
        reason = (str(error).splitlines() or [""])[0]
        raise SettingError("a device of this machine", f"{str(device)!r} ({reason})", "use auto or cpu") from error
    return resolved
