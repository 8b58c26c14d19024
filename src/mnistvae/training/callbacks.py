"""What may listen to a training run: the state that it sees, and a base that does nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from mnistvae.training.history import History

if TYPE_CHECKING:
    from mnistvae.models import VAE
    from mnistvae.training.checkpoints import Snapshot

__all__ = ["Callback", "State"]


def _no_run() -> Any:
    raise RuntimeError("there is no run")


@dataclass
class State:
    """Where a run stands; callbacks read it, and may set ``stop``."""

    model: VAE
    epochs: int
    #: Steps in an epoch, where that is known.
    batches: int | None
    history: History
    #: Whether there are validation data.
    validates: bool = False
    #: Number of the epoch under way, from 1.
    epoch: int = 0
    #: Steps done, in all epochs.
    step: int = 0
    #: Steps done in this epoch.
    batch: int = 0
    #: Images seen in this epoch.
    images: int = 0
    #: Seconds that this epoch's training has taken.
    seconds: float = 0.0
    #: Sums over this epoch's images of loss, reconstruction and KL, (3,), on the device: reading them waits for it.
    sums: Tensor | None = field(default=None, repr=False)
    #: Why training is to end: after the step or the epoch under way, or before it has begun; "" to go on.
    stop: str = ""
    #: Whether the run came to its end, and was not interrupted.
    complete: bool = False
    #: The checkpoint that an interruption left.
    saved_to: Path | None = None
    #: Gives some training images and their labels, (B, C, H, W) and (B,) or None.
    examples: Callable[[], tuple[Tensor, Tensor | None]] = field(default_factory=lambda: _no_run, repr=False)
    #: Gives all that is needed to go on from here.
    snapshot: Callable[[], Snapshot] = field(default_factory=lambda: _no_run, repr=False)


class Callback:
    """Base of what listens to a run: override what is needed, everything does nothing here."""

    #: Whether it is called after those that are not last, so that it sees what they did.
    last = False
    #: Whether it is called in every process, and not only in the one that writes.
    everywhere = False

    @property
    def each_step(self) -> bool:
        """Whether :meth:`on_batch_end` is to be called before the next step is taken.

        If not, a GPU may take several steps before it is called for each of them. Here: if a class has one of its own.
        """
        return type(self).on_batch_end is not Callback.on_batch_end

    def on_fit_start(self, state: State) -> None:
        """Before the first epoch; after a resume, ``state.history`` holds the earlier ones."""

    def on_epoch_start(self, state: State) -> None:
        """Before an epoch's first step, or the first after a resume."""

    def on_batch_end(self, state: State, n: int) -> None:
        """After a step on ``n`` images. This is the hot path: do not read tensors here."""

    def on_epoch_end(self, state: State) -> None:
        """After an epoch; its record is ``state.history[-1]``."""

    def on_interrupt(self, state: State) -> None:
        """After the step in which Ctrl-C or SIGTERM came, before the run ends."""

    def on_fit_end(self, state: State) -> None:
        """After the last epoch, or when the run stops for whatever reason."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint has to hold for this callback to go on: tensors, and what JSON can hold, by name."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
