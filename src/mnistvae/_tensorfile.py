"""Files of tensors and text, which are read back unchanged or refused. No pickle.

The format is safetensors, whose own check lets flipped bits of the data pass; so the text carries a
SHA-256 of everything else.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load as deserialize
from safetensors.torch import save as serialize
from torch import Tensor

from mnistvae._files import open_regular, write_atomically
from mnistvae._version import __version__
from mnistvae.errors import FileFormatError

__all__ = ["Kind", "digest", "read_tensors", "write_tensors"]

#: Bytes of the longest header, as safetensors has it.
_MAX_HEADER = 100_000_000


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


def read_tensors(
    path: str | os.PathLike[str], kind: Kind, missing: str = "check the path"
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and named texts of a file; ``missing`` is the likely remedy where there is none.

    Raises:
        FileFormatError: If there is no such file, or it is of another kind, damaged, or of a newer format.
    """
    source = str(path)[:200]
    with open_regular(path, f"a {kind.noun}", _where_it_is(path, kind), missing) as stream:
        try:
            header, content = _read(stream)
            tensors = deserialize(content)
        except (SafetensorError, ValueError, LookupError, TypeError, MemoryError, RecursionError) as error:
            raise FileFormatError(f"{source} to be a {kind.noun}", str(error)[:200], kind.fix) from error
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


def _where_it_is(path: str | os.PathLike[str], kind: Kind) -> str:
    """The likely remedy where ``path`` is a folder: the file of this kind in it, if there is one."""
    inside = os.path.join(str(path), f"{kind.format.removeprefix('mnistvae').strip('-') or 'model'}.safetensors")  # noqa: PTH118
    return f"pass {inside}" if isinstance(path, str | os.PathLike) and os.path.isfile(inside) else "check the path"  # noqa: PTH113 (Path.is_file raises for a name too long)


def _read(stream: IO[bytes]) -> tuple[dict[str, str], bytes]:
    """The texts in the header, and the whole content.

    safetensors starts with the header's length in 8 bytes, then JSON, then the tensors' bytes. Nothing is read before
    the length of the file is that which the header says.

    Raises:
        ValueError: If this is something else.
    """
    size = os.fstat(stream.fileno()).st_size
    length = int.from_bytes(stream.read(8), "little")
    if not 2 <= length <= min(size - 8, _MAX_HEADER):
        raise ValueError("a file without a header of safetensors")
    header = json.loads(stream.read(length))
    if not isinstance(header, dict):
        raise TypeError("a header of another form")
    texts = header.pop("__metadata__", {})
    if not isinstance(texts, dict) or not all(isinstance(one, str) for one in texts.values()):
        raise TypeError("a header with something else in place of texts")
    ends = [tensor["data_offsets"][1] for tensor in header.values()]
    if size != 8 + length + max(ends, default=0):
        raise ValueError(f"a file of {size:,} bytes whose header speaks of {8 + length + max(ends, default=0):,}")
    if size > _memory():
        raise ValueError(f"a file of {size:,} bytes, more than this machine's memory")
    stream.seek(0)
    return texts, stream.read(size)


def _memory() -> float:
    """Bytes of this machine's memory, where it says so."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return math.inf
