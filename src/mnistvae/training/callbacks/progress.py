"""What a person sees of a run."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mnistvae.training.callbacks.base import Callback
from mnistvae.training.state import State

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = ["Progress"]


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
            total=state.batches,
            initial=state.batch,
            desc=_epoch(state),
            bar_format="{desc} {bar}",
            file=sys.stderr,
            dynamic_ncols=True,
        )
        self._read = time.perf_counter()

    def on_progress(self, state: State) -> None:
        if self._bar is None:
            return
        now = time.perf_counter()
        if now - self._read > self.every:
            self._read = now
            loss, reconstruction, kl = (state.sums / state.images).tolist()
            speed = state.images / state.seconds
            self._bar.set_description_str(f"{_epoch(state)} {_figures(loss, reconstruction, kl, speed)}", refresh=False)
        self._bar.update(state.batch - self._bar.n)

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


def _epoch(state: State) -> str:
    return f"epoch {state.epoch:>{len(str(state.epochs))}}/{state.epochs}"


def _figures(loss: float, reconstruction: float, kl: float, speed: float, validation: float | None = None) -> str:
    held_out = "" if validation is None else f" val {validation:.1f}"
    return f"loss {loss:.1f} reconstruction {reconstruction:.1f} KL {kl:.1f}{held_out} {speed:,.0f} images/s"


def _interactive() -> bool:
    """Whether a bar that moves can be seen: a terminal, or a notebook."""
    return (sys.stderr is not None and sys.stderr.isatty()) or "ipykernel" in sys.modules
