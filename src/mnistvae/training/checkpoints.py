"""Where a run stands, on disk: tensors and JSON, from which training goes on as if it had never stopped."""

from __future__ import annotations

import json
import os
import re
import warnings
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from mnistvae._checks import check_count
from mnistvae._files import as_path, make_folder
from mnistvae._tensorfile import Kind, read_tensors, write_tensors
from mnistvae.errors import FileFormatError, OutputError
from mnistvae.io import save, to_json
from mnistvae.training.callbacks import Callback, State

__all__ = ["Checkpoint", "Snapshot", "checkpoints_in", "read_checkpoint", "write_checkpoint"]

_KIND = Kind(
    "mnistvae-checkpoint",
    1,
    "checkpoint",
    "if it was one and is damaged, pass its folder: the one before is taken then",
)
_NAME = re.compile(r"checkpoint-(\d+)\.safetensors")


class Snapshot(NamedTuple):
    """All that a run is made of at one moment."""

    #: Weights, their averages, the optimizer's moments, the generators' states, sums over the epoch so far.
    tensors: dict[str, Tensor]
    #: Everything else, as JSON has it.
    info: dict[str, Any]


class Checkpoint(Callback):
    """Writes checkpoints from which ``Trainer.fit(..., resume=folder)`` goes on.

    A checkpoint is also written when the run is interrupted, after the step under way.

    Args:
        folder: made if need be.
        every: epochs between two checkpoints.
        keep: how many of the newest stay; the one before the newest is what a damaged newest one falls back to.
        best: also keep ``best.safetensors``, the model with the lowest validation loss (without validation data, the
            lowest loss), as :func:`mnistvae.load` reads it.

    Raises:
        SettingError: a number below 1.
        OutputError: when training starts: the folder cannot be written, or holds the checkpoints of another run.
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


def write_checkpoint(folder: str | os.PathLike[str], snapshot: Snapshot) -> Path:
    """Write ``checkpoint-<step>.safetensors`` to a folder, atomically.

    Raises:
        OutputError: it cannot be written; earlier checkpoints are untouched.
    """
    path = Path(folder) / f"checkpoint-{snapshot.info['step']:08d}.safetensors"
    return write_tensors(path, _KIND, snapshot.tensors, {"info": to_json(snapshot.info, "the run's state")})


def read_checkpoint(path: str | os.PathLike[str]) -> Snapshot:
    """A checkpoint, or the newest good one of a folder; a damaged one falls back to the one before, with a warning.

    Args:
        path: a file, or a folder that a :class:`Checkpoint` wrote to, or one whose ``checkpoints`` is such a folder.

    Raises:
        FileFormatError: there is none that is whole, or it is of a newer format.
    """
    try:
        source = Path(path)
        is_file = source.is_file()
    except (TypeError, ValueError, OSError) as error:
        raise FileFormatError("the path of a checkpoint, or of a folder", str(error), "such as runs/first") from error
    if is_file:
        return _read(source)
    found = checkpoints_in(source) or checkpoints_in(source / "checkpoints")
    reason: FileFormatError | None = None
    for newest in found:
        try:
            return _read(newest)
        except FileFormatError as error:
            reason = reason or error
            warnings.warn(f"{newest.name} is passed over: {error}", stacklevel=2)
    if reason is not None:
        raise reason
    raise FileFormatError(
        f"a checkpoint in {source}",
        "none" if source.is_dir() else "no such folder",
        "pass the folder of a run that was trained with checkpoints",
    )


def _read(path: Path) -> Snapshot:
    tensors, text = read_tensors(path, _KIND)
    try:
        info = json.loads(text["info"])
    except (KeyError, ValueError, RecursionError) as error:
        raise FileFormatError(f"the header of {path} to hold JSON", str(error), "restore a copy") from error
    return Snapshot(tensors, info)


def checkpoints_in(folder: Path) -> list[Path]:
    """The checkpoints of a folder, the newest first."""
    try:
        paths = [path for path in folder.iterdir() if _NAME.fullmatch(path.name)]
    except (OSError, ValueError):
        return []
    return sorted(paths, key=lambda path: int(path.stem.removeprefix("checkpoint-")), reverse=True)


def pack(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """``value`` as JSON has it, its tensors put into ``tensors`` under ``path``; keys that are numbers come back so."""
    if isinstance(value, Tensor):
        tensors[path] = value
        return {"tensor": path}
    if isinstance(value, dict):
        return {"items": [[key, pack(item, f"{path}.{key}", tensors)] for key, item in value.items()]}
    if isinstance(value, tuple | list):
        parts = [pack(item, f"{path}.{n}", tensors) for n, item in enumerate(value)]
        return {"tuple" if isinstance(value, tuple) else "list": parts}
    return value


def unpack(value: Any, tensors: dict[str, Tensor]) -> Any:
    """What :func:`pack` took apart."""
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "items":
        return {key: unpack(item, tensors) for key, item in content}
    parts = [unpack(item, tensors) for item in content]
    return tuple(parts) if kind == "tuple" else parts


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with ``prefix`` and a dot, by the rest of their names."""
    return {
        name.removeprefix(f"{prefix}."): tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}.")
    }
