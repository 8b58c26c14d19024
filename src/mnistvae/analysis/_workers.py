"""The process that works at a trial: where it is, and whether it still runs."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

__all__ = ["PULSE", "identity", "is_left"]

#: Seconds between two signs of life of a trial that is under way, and without one after which it counts as left.
PULSE, _SILENCE = 20.0, 300.0


def is_left(one: FrozenTrial) -> bool:
    """Tell whether nobody works at a trial that was begun: its process is gone, or gave no sign of life for long."""
    place, pid, started = one.user_attrs.get("worker", ["", 0, ""])
    if place == identity()[0] and os.name != "nt" and not _runs(pid, started):
        return True
    begun = one.datetime_start.timestamp() if one.datetime_start else 0.0
    seen: float = max(begun, one.user_attrs.get("pulse", 0.0))
    return time.time() - seen > _SILENCE


def identity() -> list[Any]:
    """The place of this process, its number there, and its start, which tells it from a later one of that number."""
    place = socket.gethostname()
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        place = f"{place}/{boot}/{os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115 (it is no path)
    return [place, os.getpid(), _start(os.getpid())]


def _start(pid: int) -> str:
    """The start of a process on this machine, "" where that is not known, and "gone" for one that only waits."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "gone" if fields[0] in "ZX" else fields[19]


def _runs(pid: int, started: str) -> bool:
    """Tell whether a process of this machine still runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _start(pid) == started
