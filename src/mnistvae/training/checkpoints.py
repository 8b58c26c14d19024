"""Checkpoint files: snapshots on disk, safetensors and JSON, each whole and unchanged or refused."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import Tensor

from mnistvae._records import parse_json
from mnistvae._tensorfile import Kind, read_tensors, write_tensors
from mnistvae.errors import FileFormatError
from mnistvae.io import to_json
from mnistvae.training.history import TERMS, is_record
from mnistvae.training.state import Snapshot

__all__ = ["checkpoints_in", "read_checkpoint", "write_checkpoint"]

_KIND = Kind(
    "mnistvae-checkpoint",
    1,
    "checkpoint",
    "if it was one and is damaged, pass its folder: the one before is taken then",
)
_NUMBER = (int, float | int)
#: The entries of a checkpoint, and their classes as JSON has them.
_ENTRIES: Mapping[str, Any] = MappingProxyType(
    dict.fromkeys(("settings", "model", "optimizer"), dict)
    | dict.fromkeys(("data", "trained", "history", "callbacks"), list)
    | dict.fromkeys(("step", "batch", "images"), int)
    | dict.fromkeys(("seconds", "elapsed"), float | int)
    | dict.fromkeys(("stop", "optimizer_class"), str)
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
        info = parse_json(text["info"])
    except (KeyError, ValueError) as error:
        raise FileFormatError(f"the header of {path} to hold JSON", str(error), "restore a copy") from error
    odd = next(_odd_entries(info, tensors), None)
    if odd is not None:
        raise FileFormatError(f"{path} to hold the state of a run", f"an odd or no {odd}", "restore a copy")
    return Snapshot(tensors, info)


def _odd_entries(info: Any, tensors: Mapping[str, Tensor]) -> Iterator[str]:
    """The names of entries that are not what a checkpoint holds there; only the first is sure to be one."""
    if not isinstance(info, dict):
        yield "header"
    for name, kind in _ENTRIES.items():
        value = info.get(name)
        if not isinstance(value, kind) or isinstance(value, bool) or (kind in _NUMBER and not 0 <= value < 2**53):
            yield name
    terms = info.get("terms", list(TERMS))
    if not isinstance(terms, list) or not all(isinstance(term, str) for term in terms):
        yield "terms"
    if "sums" not in tensors or tensors["sums"].shape != (len(terms),):
        yield "sums"
    if not all(map(is_record, info["history"])):
        yield "history"
    if not all(isinstance(one, list) and len(one) == 2 and _is_packed(one[1], tensors) for one in info["callbacks"]):
        yield "callbacks"
    if not _is_packed(info["optimizer"], tensors):
        yield "optimizer"


def _is_packed(value: Any, tensors: Mapping[str, Tensor]) -> bool:
    """Tell whether a value is one that was taken apart for JSON, its tensors put aside."""
    if not isinstance(value, dict):
        return not isinstance(value, list)
    if len(value) != 1:
        return False
    ((kind, content),) = value.items()
    if kind == "tensor":
        return isinstance(content, str) and content in tensors
    if kind not in {"items", "list", "tuple"} or not isinstance(content, list):
        return False
    if kind != "items":
        return all(_is_packed(one, tensors) for one in content)
    pairs = all(isinstance(one, list) and len(one) == 2 and isinstance(one[0], str | int) for one in content)
    return pairs and all(_is_packed(one[1], tensors) for one in content)


def checkpoints_in(folder: Path) -> list[Path]:
    """The checkpoints of a folder, the newest first."""
    try:
        paths = [path for path in folder.iterdir() if _NAME.fullmatch(path.name)]
    except (OSError, ValueError):
        return []
    return sorted(paths, key=lambda path: int(path.stem.removeprefix("checkpoint-")), reverse=True)
