"""What may listen to a training run: a no-op base, the progress bar, and the CSV log."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from mnistvae._files import write_atomically
from mnistvae.errors import OutputError
from mnistvae.training.history import History

if TYPE_CHECKING:
    from tqdm import tqdm

    from mnistvae.models import VAE

__all__ = ["CSVLog", "Callback", "Progress", "State"]


@dataclass
class State:
    """Where a run stands; callbacks read it."""

    model: VAE
    epochs: int
    #: Batches in an epoch, where that is known.
    batches: int | None
    history: History
    #: Number of the epoch under way, from 1.
    epoch: int = 0
    #: Steps done, in all epochs.
    step: int = 0
    #: Images seen in this epoch.
    images: int = 0
    #: Sums over this epoch's images of loss, reconstruction and KL, (3,), on the device: reading them waits for it.
    sums: Tensor | None = field(default=None, repr=False)


class Callback:
    """Base of what listens to a run: override what is needed, everything does nothing here."""

    def on_fit_start(self, state: State) -> None:
        """Before the first epoch."""

    def on_epoch_start(self, state: State) -> None:
        """Before an epoch's first batch."""

    def on_batch_end(self, state: State, n: int) -> None:
        """After a step on ``n`` images. This is the hot path: do not read tensors here."""

    def on_epoch_end(self, state: State) -> None:
        """After an epoch; its record is ``state.history[-1]``."""

    def on_fit_end(self, state: State) -> None:
        """After the last epoch, or when the run stops for whatever reason."""


class Progress(Callback):
    """A bar for each epoch in a terminal or notebook, a line for each elsewhere.

    Args:
        every: seconds between two readings of the running loss, so that a GPU is not kept waiting.
    """

    def __init__(self, every: float = 0.5) -> None:
        self.every = every
        self._bar: tqdm[Any] | None = None
        self._read = 0.0

    def on_epoch_start(self, state: State) -> None:
        if not _interactive():
            return
        from tqdm.auto import tqdm

        # The figures come first and the bar takes what room is left, so that 80 columns are enough.
        self._bar = tqdm(
            total=state.batches, desc=_epoch(state), bar_format="{desc} {bar}", file=sys.stderr, dynamic_ncols=True
        )
        self._started = self._read = time.perf_counter()

    def on_batch_end(self, state: State, n: int) -> None:
        if self._bar is None:
            return
        now = time.perf_counter()
        if now - self._read > self.every and state.sums is not None:
            self._read = now
            loss, reconstruction, kl = (state.sums / state.images).tolist()
            speed = state.images / (now - self._started)
            self._bar.set_description_str(f"{_epoch(state)} {_figures(loss, reconstruction, kl, speed)}", refresh=False)
        self._bar.update()

    def on_epoch_end(self, state: State) -> None:
        record = state.history[-1]
        figures = _figures(
            record["loss"],
            record["reconstruction"],
            record["kl"],
            record["images_per_second"],
            record.get("validation_loss"),
        )
        if self._bar is None:
            with suppress(OSError, ValueError):  # nobody reads: the training goes on
                print(f"{_epoch(state)} {figures}", file=sys.stderr, flush=True)
            return
        self._bar.set_description_str(f"{_epoch(state)} {figures}")
        self._bar.close()
        self._bar = None

    def on_fit_end(self, state: State) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class CSVLog(Callback):
    """A CSV file that grows by a line each epoch, so that a run can be watched.

    Args:
        path: the file; an earlier one is replaced when the run starts.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def on_fit_start(self, state: State) -> None:
        write_atomically(self.path, b"")  # before the first epoch, so that a bad folder costs no training

    def on_epoch_end(self, state: State) -> None:
        lines = state.history.to_text().splitlines(keepends=True)
        try:
            with self.path.open("a", encoding="utf-8", newline="") as stream:
                stream.write("".join(lines if len(state.history) == 1 else lines[-1:]))
        except OSError as error:
            raise OutputError(
                f"to add a line to {self.path}",
                error.strerror or str(error),
                "free some space, or choose another folder",
            ) from error


def _epoch(state: State) -> str:
    return f"epoch {state.epoch:>{len(str(state.epochs))}}/{state.epochs}"


def _figures(loss: float, reconstruction: float, kl: float, speed: float, validation: float | None = None) -> str:
    held_out = "" if validation is None else f" val {validation:.1f}"
    return f"loss {loss:.1f} reconstruction {reconstruction:.1f} KL {kl:.1f}{held_out} {speed:,.0f} images/s"


def _interactive() -> bool:
    """Whether a bar that moves can be seen: a terminal, or a notebook."""
    return (sys.stderr is not None and sys.stderr.isatty()) or "ipykernel" in sys.modules
