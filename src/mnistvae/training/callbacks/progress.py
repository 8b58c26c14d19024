"""A bar for each epoch."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mnistvae._checks import check_number
from mnistvae.errors import SettingError
from mnistvae.training.callbacks.base import Callback
from mnistvae.training.history import TERMS
from mnistvae.training.state import State

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = ["Progress"]


class Progress(Callback):
    """A bar for each epoch in a terminal or notebook, a line for each elsewhere.

    Args:
        every: Seconds between two readings of the running loss, so that a GPU is not kept waiting.
        extra: Show the objective's extra terms, too: True for all of them, or their names.

    Raises:
        SettingError: If ``every`` is negative, or ``extra`` is neither; in training, if there is no term of a name.
    """

    def __init__(self, every: float = 0.5, *, extra: bool | Sequence[str] = False) -> None:
        self.every = check_number("every as a number of seconds of at least 0", every)
        if isinstance(extra, str) or not (isinstance(extra, bool) or all(isinstance(name, str) for name in extra)):
            raise SettingError(
                "extra as True, False, or names of terms", repr(extra), "for instance ['classification']"
            )
        self.extra = extra
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
            figures = self._figures(state, state.means(), state.images / state.seconds)
            self._bar.set_description_str(f"{_epoch(state)} {figures}", refresh=False)
        self._bar.update(state.batch - self._bar.n)

    def on_epoch_end(self, state: State) -> None:
        record = state.history[-1]
        figures = self._figures(state, record, record["images_per_second"])
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

    def _figures(self, state: State, figures: Mapping[str, float], speed: float) -> str:
        """The figures of an epoch in a line."""
        known = state.terms[len(TERMS) :]
        shown = (known if self.extra else ()) if isinstance(self.extra, bool) else self.extra
        if missing := [name for name in shown if name not in figures]:
            raise SettingError(f"extra terms of the objective: {', '.join(known) or 'none'}", ", ".join(missing))
        text = f"loss {figures['loss']:.1f} reconstruction {figures['reconstruction']:.1f} KL {figures['kl']:.1f}"
        text += "".join(f" {name.replace('_', ' ')} {figures[name]:.4g}" for name in shown)
        held_out = f" val {figures['validation_loss']:.1f}" if "validation_loss" in figures else ""
        return f"{text}{held_out} {speed:,.0f} images/s"


def _epoch(state: State) -> str:
    return f"epoch {state.epoch:>{len(str(state.epochs))}}/{state.epochs}"


def _interactive() -> bool:
    """Tell whether a bar that moves can be seen: in a terminal or a notebook."""
    return (sys.stderr is not None and sys.stderr.isatty()) or "ipykernel" in sys.modules
