"""Logs that grow by a record each epoch."""

from __future__ import annotations

import json
import os
from pathlib import Path

from mnistvae._files import as_path, make_folder, write_atomically
from mnistvae.errors import ComponentError, OutputError, SettingError
from mnistvae.training.callbacks.base import Callback
from mnistvae.training.history import VALIDATION, History, Record
from mnistvae.training.state import State

__all__ = ["CSVLog", "JSONLinesLog", "TensorBoardLog"]


class CSVLog(Callback):
    """A CSV file that grows by a line each epoch, so that a run can be watched.

    Args:
        path: The file; an earlier one is replaced when the run starts.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = as_path(path)
        self._columns: list[str] = []
        self._size = 0

    def on_fit_start(self, state: State) -> None:
        # Before the first epoch, so that a bad folder costs no training; a resumed run has earlier lines.
        self._columns = state.history.columns(validates=state.validates)
        self._size = _write(self.path, state.history.to_text(self._columns))

    def on_epoch_end(self, state: State) -> None:
        columns = state.history.columns(validates=state.validates)
        if columns == self._columns and _is_whole(self.path, self._size):
            last = History([state.history[-1]]).to_text(columns).splitlines(keepends=True)[-1]
            self._size += _append(self.path, last)
        else:  # the first line, a callback's new figure, or a file that somebody removed
            self._columns = columns
            self._size = _write(self.path, state.history.to_text(columns))


class JSONLinesLog(Callback):
    """A file of JSON lines, one an epoch, as log collectors read them.

    Args:
        path: The file; an earlier one is replaced when the run starts.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = as_path(path)
        self._size = 0

    def on_fit_start(self, state: State) -> None:
        self._size = _write(self.path, "".join(map(_line, state.history)))

    def on_epoch_end(self, state: State) -> None:
        if _is_whole(self.path, self._size):
            self._size += _append(self.path, _line(state.history[-1]))
        else:
            self.on_fit_start(state)


class TensorBoardLog(Callback):
    """Writes the history's figures for TensorBoard, which the extra ``[tensorboard]`` installs.

    Args:
        folder: Folder of the event files.

    Raises:
        SettingError: If tensorboard is not installed.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = as_path(folder)
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise SettingError(
                "the library tensorboard for a TensorBoardLog", str(error), 'pip install "mnistvae[tensorboard]"'
            ) from error
        self._open = SummaryWriter
        self._writer: SummaryWriter | None = None

    def on_fit_start(self, state: State) -> None:
        self._writer = self._open(str(make_folder(self.folder)), purge_step=len(state.history) + 1)

    def on_epoch_end(self, state: State) -> None:
        if self._writer is None:
            return
        for name, value in state.history[-1].items():
            if name != "epoch":
                self._writer.add_scalar(figure_name(name), value, state.epoch)
        self._writer.flush()

    def on_fit_end(self, state: State) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def figure_name(column: str) -> str:
    """The name of a column of the history as trackers group them.

    Example:
        >>> figure_name("kl"), figure_name("validation_kl")
        ('kl/training', 'kl/validation')
    """
    figure = column.removeprefix(VALIDATION)
    return f"{figure}/{'training' if figure == column else 'validation'}"


def _line(record: Record) -> str:
    try:
        return json.dumps(record) + "\n"
    except TypeError as error:
        raise ComponentError("figures in the history that JSON can hold", str(error), "pass float(value)") from error


def _is_whole(path: Path, size: int) -> bool:
    """Tell whether a file has its size still: it may have been removed while the run goes on."""
    try:
        return path.stat().st_size == size
    except OSError:
        return False


def _write(path: Path, text: str) -> int:
    """Write a file anew, and return its size."""
    return write_atomically(path, text.encode()).stat().st_size


def _append(path: Path, text: str) -> int:
    """Add text to a file, and return the size of what is new."""
    try:
        with path.open("ab") as stream:
            return stream.write(text.encode())
    except OSError as error:
        raise OutputError(
            f"to add a line to {path}", error.strerror or str(error), "free some space, or choose another folder"
        ) from error
