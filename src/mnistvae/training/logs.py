"""Records of a run that grow as it goes."""

from __future__ import annotations

import os
from pathlib import Path

from mnistvae._files import write_atomically
from mnistvae.errors import OutputError
from mnistvae.training.callbacks import Callback, State

__all__ = ["CSVLog"]


class CSVLog(Callback):
    """A CSV file that grows by a line each epoch, so that a run can be watched.

    Args:
        path: the file; an earlier one is replaced when the run starts.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._columns: list[str] = []

    def on_fit_start(self, state: State) -> None:
        # Before the first epoch, so that a bad folder costs no training; a resumed run has earlier lines.
        self._columns = state.history.columns(validates=state.validates)
        write_atomically(self.path, state.history.to_text(self._columns).encode())

    def on_epoch_end(self, state: State) -> None:
        columns = state.history.columns(validates=state.validates)
        text = state.history.to_text(columns)
        if columns != self._columns:  # the first line, or a callback's new figure
            self._columns = columns
            write_atomically(self.path, text.encode())
            return
        try:
            with self.path.open("a", encoding="utf-8", newline="") as stream:
                stream.write(text.splitlines(keepends=True)[-1])
        except OSError as error:
            raise OutputError(
                f"to add a line to {self.path}",
                error.strerror or str(error),
                "free some space, or choose another folder",
            ) from error
