"""Ctrl-C and SIGTERM: finish the step, then stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Interrupted", "Signals", "Terminated", "termination_as_interrupt", "watched_signals"]


class Interrupted(KeyboardInterrupt):
    """Training was stopped by a signal, after a step; what it says is where the run is and how to go on.

    Args:
        what: what happened.
        fix: how to go on.
        signal_number: which signal.
    """

    def __init__(self, what: str, fix: str, signal_number: int = signal.SIGINT) -> None:
        super().__init__(f"{what}; {fix}")
        self.what = what
        self.signal_number = signal_number


class Terminated(KeyboardInterrupt):
    """SIGTERM where it is what Ctrl-C is."""

    signal_number = int(signal.SIGTERM)


class Signals:
    """Which signal came, if one did."""

    received: int | None = None


def _terminate(_: int, __: FrameType | None) -> None:
    raise Terminated


@contextmanager
def termination_as_interrupt() -> Iterator[None]:
    """A block in which SIGTERM is what Ctrl-C is, an exception, so that what the block began can be put in order.

    Only the main thread gets signals, and only where nobody has taken this one over already.
    """
    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if ours:
        signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def watched_signals() -> Iterator[Signals]:
    """A block in which the first Ctrl-C or SIGTERM is noted and the second one acts as it did before.

    Only the main thread gets signals, and only where nobody has taken them over already.
    """
    signals = Signals()
    usual: dict[signal.Signals, tuple[object, ...]] = {
        signal.SIGINT: (signal.default_int_handler,),
        signal.SIGTERM: (signal.SIG_DFL, _terminate),
    }
    taken: dict[signal.Signals, object] = {}

    def note(number: int, _: FrameType | None) -> None:
        signals.received = number
        release()

    def release() -> None:
        for number in list(taken):
            signal.signal(number, taken.pop(number))  # type: ignore[arg-type]

    if threading.current_thread() is threading.main_thread():
        for number, defaults in usual.items():
            if signal.getsignal(number) in defaults:
                taken[number] = signal.signal(number, note)
    try:
        yield signals
    finally:
        release()
