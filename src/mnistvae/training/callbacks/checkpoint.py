"""Checkpoints of a run, from which training goes on as if it had never stopped."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mnistvae._checks import check_count
from mnistvae._files import as_path, make_folder, remove_temporaries
from mnistvae.errors import OutputError
from mnistvae.io import save
from mnistvae.training.callbacks.base import Callback
from mnistvae.training.checkpoints import checkpoints_in, write_checkpoint
from mnistvae.training.state import State

__all__ = ["Checkpoint"]


class Checkpoint(Callback):
    """Writes checkpoints from which ``Trainer.fit(..., resume=folder)`` goes on.

    A checkpoint is also written when the run is interrupted, after the step under way.

    Args:
        folder: Folder of the checkpoints; made if need be.
        every: Epochs between two checkpoints.
        keep: Number of the newest that stay; the one before the newest is what a damaged newest one falls back to.
        best: Also keep ``best.safetensors``, the model with the lowest validation loss (without validation data, the
            lowest loss), as :func:`mnistvae.load` reads it.

    Raises:
        SettingError: If a number is below 1.
        OutputError: When training starts, if the folder cannot be written, or holds the checkpoints of another run.
    """

    last = True

    def __init__(self, folder: str | os.PathLike[str], every: int = 1, keep: int = 2, *, best: bool = False) -> None:
        self.folder = as_path(folder)
        self.every = check_count("every as a number of epochs of at least 1", every)
        self.keep = check_count("keep as an integer of at least 1", keep)
        self.best = best
        self._lowest: float | None = None

    def on_fit_start(self, state: State) -> None:
        make_folder(self.folder)  # before the first epoch, so that a bad folder costs no training
        remove_temporaries(self.folder)
        if state.step:
            return
        self._lowest = None
        if checkpoints_in(self.folder):
            raise OutputError(
                "a folder without checkpoints for a new run",
                f"those of another in {self.folder}",
                "go on with that one by resume=, or choose another folder",
            )

    def on_epoch_end(self, state: State) -> None:
        if self.best:
            self._keep_best(state)
        if state.epoch % self.every == 0 or state.stop or state.epoch == state.epochs:
            self._write(state)

    def on_interrupt(self, state: State) -> None:
        state.saved_to = self._write(state)

    def state_dict(self) -> dict[str, Any]:
        return {"lowest": self._lowest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._lowest = state["lowest"]

    def _write(self, state: State) -> Path:
        path = write_checkpoint(self.folder, state.snapshot())
        # Later ones are there after a fall back to an earlier one: they are left, and do not count.
        earlier = [old for old in checkpoints_in(self.folder) if old.name <= path.name]
        for old in earlier[self.keep :]:
            old.unlink(missing_ok=True)
        return path

    def _keep_best(self, state: State) -> None:
        record = state.history[-1]
        loss = record.get("validation_loss", record["loss"] if not state.validates else None)
        if loss is not None and (self._lowest is None or loss < self._lowest):
            self._lowest = loss
            save(state.model, self.folder / "best.safetensors", {"epoch": state.epoch, "loss": loss})
