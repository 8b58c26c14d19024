"""Checkpoint files: snapshots on disk, safetensors and JSON, each whole and unchanged or refused."""

from __future__ import annotations

import json
import os
import re
import warnings
from pathlib import Path

from mnistvae._tensorfile import Kind, read_tensors, write_tensors
from mnistvae.errors import FileFormatError
from mnistvae.io import to_json
from mnistvae.training.state import Snapshot

__all__ = ["checkpoints_in", "read_checkpoint", "write_checkpoint"]

_KIND = Kind(
    "mnistvae-checkpoint",
    1,
    "checkpoint",
    "if it was one and is damaged, pass its folder: the one before is taken then",
)
_NAME = re.compile(r"checkpoint-(\d+)\.safetensors")


def write_checkpoint(folder: str | os.PathLike[str], snapshot: Snapshot) -> Path:
    """Write ``checkpoint-<step>.safetensors`` to a folder, atomically.

    Raises:
        OutputError: If it cannot be written; earlier checkpoints are untouched.
    """
    path = Path(folder) / f"checkpoint-{snapshot.info['step']:08d}.safetensors"
    return write_tensors(path, _KIND, snapshot.tensors, {"info": to_json(snapshot.info, "the run's state")})


def read_checkpoint(path: str | os.PathLike[str]) -> Snapshot:
    """A checkpoint, or the newest good one of a folder; a damaged one falls back to the one before, with a warning.

    Args:
        path: A file, or a folder that a :class:`Checkpoint` wrote to, or one whose ``checkpoints`` is such a folder.

    Raises:
        FileFormatError: If there is none that is whole, or it is of a newer format.
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
