"""Files of tensors and text, which are read back unchanged or refused. No pickle.

The format is safetensors, whose own check lets flipped bits of the data pass; so the text carries a
SHA-256 of everything else.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load as deserialize
from safetensors.torch import save as serialize
from torch import Tensor

from mnistvae._files import write_atomically
from mnistvae._version import __version__
from mnistvae.errors import FileFormatError

__all__ = ["Kind", "digest", "read_tensors", "write_tensors"]


class Kind(NamedTuple):
    """A kind of file: the name and version of its format, and its words in messages."""

    #: Name of the format in the header.
    format: str
    #: Version of the format; it grows when an older mnistvae could no longer read such a file.
    version: int
    #: Name of such a file in messages.
    noun: str
    #: The likely remedy where such a file is wanted and another came.
    fix: str


def write_tensors(
    path: str | os.PathLike[str], kind: Kind, tensors: Mapping[str, Tensor], text: Mapping[str, str]
) -> Path:
    """Write tensors and named texts to a file, which is never half written.

    Raises:
        OutputError: If the file cannot be written; an earlier one is untouched.
    """
    # Each tensor is copied: safetensors refuses tensors that share memory, and tied weights do.
    copies = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    header = {
        "format": kind.format,
        "format_version": str(kind.version),
        "mnistvae_version": __version__,
        **text,
    }
    return write_atomically(path, _sorted(serialize(copies, header | {"sha256": digest(copies, header)})))


def read_tensors(path: str | os.PathLike[str], kind: Kind) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and named texts of a file.

    Raises:
        FileFormatError: If there is no such file, or it is of another kind, damaged, or of a newer format.
    """
    source = Path(path)
    try:
        _check_file(source, kind)
        content = source.read_bytes()  # once: a file that is replaced meanwhile is still read whole
        header = _metadata(content)
        tensors = deserialize(content)
    except (SafetensorError, OSError, ValueError, KeyError, AttributeError, RecursionError) as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(f"{str(source)[:200]} to be a {kind.noun}", str(error), kind.fix) from error
    if header.get("format") != kind.format:
        raise FileFormatError(f"{source} to be a {kind.noun} of mnistvae's", "safetensors of something else", kind.fix)
    try:
        version = int(header["format_version"])
    except (KeyError, ValueError):
        version = -1
    if version > kind.version:
        raise FileFormatError(
            f"format version {kind.version} or older in {source}",
            f"version {version}, written by mnistvae {header.get('mnistvae_version', '?')}",
            "upgrade: pip install -U mnistvae",
        )
    hashed = {key: value for key, value in header.items() if key != "sha256"}
    if version < 1 or header.get("sha256") != digest(tensors, hashed):
        raise FileFormatError(
            f"the content of {source} to match its SHA-256", "other content", "the file is damaged: restore a copy"
        )
    return tensors, hashed


def _sorted(content: bytes) -> bytes:
    """The same file with the names in its header in order: safetensors leaves the order of the texts to chance."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    text = json.dumps(header, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at multiples of 8 bytes
    return len(text).to_bytes(8, "little") + text + content[8 + size :]


def digest(tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> str:
    """SHA-256 of the tensors (names, dtypes, shapes, bytes) and of the rest of the header."""
    sha = hashlib.sha256(json.dumps(dict(sorted(header.items()))).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        sha.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        sha.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return sha.hexdigest()


def _check_file(source: Path, kind: Kind) -> None:
    if source.is_file():
        return
    got = "a folder" if source.is_dir() else "a device or pipe" if source.exists() else "nothing"
    inside = source / f"{kind.format.removeprefix('mnistvae').strip('-') or 'model'}.safetensors"
    raise FileFormatError(f"a {kind.noun} at {source}", got, f"pass {inside}" if inside.is_file() else "check the path")


def _metadata(content: bytes) -> dict[str, str]:
    """The text beside the tensors: safetensors starts with the header's length in 8 bytes, then JSON."""
    length = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + length]).get("__metadata__") if length < len(content) else None
    return dict(metadata or {})
