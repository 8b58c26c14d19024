"""The limits of a run, between two steps: its budget, a signal, or another process that ends."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mnistvae.training.signals import Signals
from mnistvae.training.world import World

__all__ = ["Budget", "Limits"]


@dataclass
class Budget:
    """Steps and seconds that a run may take; the first limit that is met ends it."""

    steps: int | None = None
    seconds: float | None = None
    #: Seconds spent before a resume.
    spent: float = 0.0
    started: float = field(default_factory=time.monotonic)

    def elapsed(self) -> float:
        """Seconds of training so far."""
        return self.spent + time.monotonic() - self.started

    def left(self, step: int) -> int | None:
        """Steps that may still be taken after so many; None for no limit."""
        return None if self.steps is None else max(0, self.steps - step)

    def out_of_time(self) -> str:
        """The reason why the run ends by the clock, or ""."""
        over = self.seconds is not None and self.elapsed() >= self.seconds
        return f"{(self.seconds or 0.0) / 60:g} minutes are over" if over else ""

    def over(self, step: int) -> str:
        """The reason why the run ends after so many steps, or ""."""
        return f"{self.steps} steps are done" if self.left(step) == 0 else self.out_of_time()


class Limits:
    """Decides whether a run ends after a step, which has to be the same step in all of its processes.

    So the wish of one process to end, because of the clock or of a signal, travels with the gradients of the next step,
    and all of them end after that.

    Args:
        budget: Steps and seconds of the run.
        signals: Signals that this process has received.
        world: Processes of the run.
        device: Device on which they exchange tensors.
    """

    def __init__(self, budget: Budget, signals: Signals, world: World, device: torch.device) -> None:
        self.budget = budget
        self.signals = signals
        self.world = world
        self._device = device
        self._told_to_stop = self._told_of_time = False

    def exchange(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their sums over the processes, and learn whether any of these wants to end."""
        asked = [self.signals.received is not None, bool(self.budget.out_of_time())]
        wishes = torch.tensor(asked, dtype=torch.float32, device=self._device)
        self.world.add([*tensors, wishes])
        self._told_to_stop, self._told_of_time = (bool(wish) for wish in wishes.tolist())

    def signal(self) -> int | None:
        """Number of the signal that ends the run, whichever process received it; None if none did."""
        if self.world.size > 1:
            told = torch.tensor([float(self.signals.received is not None)], device=self._device)
            self.world.add([told])
            self.signals.received = int(signal.SIGTERM) if bool(told) else None
        return self.signals.received

    @property
    def interrupted(self) -> bool:
        """True if a signal ends the run after this step."""
        return self.signals.received is not None if self.world.size == 1 else self._told_to_stop

    def reason(self, step: int) -> str:
        """The reason why the run ends after so many steps, or ""."""
        if self.world.size == 1 or self.budget.left(step) == 0:
            return self.budget.over(step)
        return "the time is over" if self._told_of_time else ""
