"""Ctrl-C and SIGTERM, which end training after the step under way."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

__all__ = ["Interrupted", "Signals", "Terminated", "interruption", "termination_as_interrupt"]


class Interrupted(KeyboardInterrupt):
    """Training was stopped by a signal, after a step; the message says where the run is and how to go on.

    Args:
        what: What happened.
        fix: How to go on.
        signal_number: Number of the signal.
    """

    def __init__(self, what: str, fix: str, signal_number: int = signal.SIGINT) -> None:
        super().__init__(f"{what}; {fix}")
        self.what = what
        self.fix = fix
        self.signal_number = signal_number

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.what, self.fix, self.signal_number)  # an exception is made again from its message


class Terminated(KeyboardInterrupt):
    """SIGTERM in a block that treats it as Ctrl-C."""

    signal_number = int(signal.SIGTERM)


def interruption(number: int, step: int, saved_to: Path | None) -> Interrupted:
    """The error that ends a run after a signal.

    Args:
        number: Number of the signal.
        step: Steps done.
        saved_to: The checkpoint that was written; None for none.
    """
    fix = "no checkpoint was asked for" if saved_to is None else f"go on with resume={str(saved_to.parent)!r}"
    return Interrupted(f"stopped by {signal.Signals(number).name} after step {step}", fix, number)


def _terminate(_: int, __: FrameType | None) -> None:
    raise Terminated


@contextmanager
def termination_as_interrupt() -> Iterator[None]:
    """A block in which SIGTERM is an exception, as Ctrl-C is, so that what the block began can be put in order.

    Only the main thread receives signals, and a handler that is already there is left.
    """
    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if ours:
        signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


class Signals:
    """The signal that this process received while it watched for one."""

    def __init__(self) -> None:
        #: Number of the signal; None before there is one.
        self.received: int | None = None

    @contextmanager
    def watched(self) -> Iterator[None]:
        """A block in which the first Ctrl-C or SIGTERM is noted, and the second one acts as it did before.

        Only the main thread receives signals, and a handler that is already there is left.
        """
        usual: dict[signal.Signals, tuple[object, ...]] = {
            signal.SIGINT: (signal.default_int_handler,),
            signal.SIGTERM: (signal.SIG_DFL, _terminate),
        }
        taken: dict[signal.Signals, object] = {}

        def note(number: int, _: FrameType | None) -> None:
            self.received = number
            release()

        def release() -> None:
            for number in list(taken):
                signal.signal(number, taken.pop(number))  # type: ignore[arg-type]

        if threading.current_thread() is threading.main_thread():
            for number, defaults in usual.items():
                if signal.getsignal(number) in defaults:
                    taken[number] = signal.signal(number, note)
        try:
            yield
        finally:
            release()
