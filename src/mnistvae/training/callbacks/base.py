"""The base of everything that is told how a training run goes on."""

from __future__ import annotations

from typing import Any

from mnistvae.training.state import State

__all__ = ["Callback"]


class Callback:
    """Base of the callbacks of a run, whose methods do nothing: a subclass overrides those that it needs."""

    #: Whether it is called after those that are not last, so that it sees what they did.
    last = False
    #: Whether it is called in every process, and not only in the one that writes.
    everywhere = False

    def on_fit_start(self, state: State) -> None:
        """Called before the first epoch; after a resume, ``state.history`` holds the earlier ones."""

    def on_epoch_start(self, state: State) -> None:
        """Called before the first step of an epoch, or the first one after a resume."""

    def on_batch_end(self, state: State, n: int) -> None:
        """Called after each step, on ``n`` images. This is the hot path: do not read tensors here.

        A GPU takes steps one by one where this is overridden; :meth:`on_progress` lets it take several at once.
        """

    def on_progress(self, state: State) -> None:
        """Called after a step, or after several that a GPU took at once: enough to show how far the run is."""

    def on_epoch_end(self, state: State) -> None:
        """Called after an epoch; its record is ``state.history[-1]``."""

    def on_interrupt(self, state: State) -> None:
        """Called after the step in which Ctrl-C or SIGTERM came, before the run ends."""

    def on_fit_end(self, state: State) -> None:
        """Called after the last epoch, or when the run stops for any other reason."""

    def state_dict(self) -> dict[str, Any]:
        """State that a checkpoint holds for this callback to go on: tensors and JSON values, by name."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a state that :meth:`state_dict` gave."""
