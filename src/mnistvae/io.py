"""Models on disk: one safetensors file with the tensors and, as JSON, how to rebuild the parts. No pickle."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor, nn

from mnistvae._component import class_finder, from_spec, to_spec
from mnistvae._errors import ComponentError, FileFormatError, MnistvaeError
from mnistvae._files import write_atomically
from mnistvae._random import seeded
from mnistvae._version import __version__
from mnistvae.models import VAE

__all__ = ["FORMAT_VERSION", "ModelFile", "load", "read", "save"]

#: Grows when an older mnistvae could no longer read the file.
FORMAT_VERSION = 1


class ModelFile(NamedTuple):
    """What a model file holds, before any class is built."""

    #: The tree of parts, see :func:`mnistvae._component.to_spec`.
    spec: dict[str, Any]
    #: Tensors by their names in ``state_dict``.
    tensors: dict[str, Tensor]
    #: What the caller of :func:`save` wrote beside the model.
    metadata: dict[str, Any]
    #: The mnistvae that wrote it.
    version: str


def save(model: VAE, path: str | os.PathLike[str], metadata: Mapping[str, Any] | None = None) -> Path:
    """Write a model to one file, atomically: an earlier file is whole until the new one is.

    Args:
        model: a VAE made of mnistvae's parts and of parts that keep their constructor arguments as
            attributes of the same names.
        path: usually ends in ``.safetensors``.
        metadata: anything JSON can hold, to be read back with :func:`read`.

    Returns:
        The path.

    Raises:
        ComponentError: a part whose constructor arguments cannot be read back or put in JSON.
        OutputError: the file cannot be written.

    Example:
        >>> vae = mv.VAE(latent_dim=2)
        >>> path = mv.save(vae, tmp_path / "vae.safetensors")
        >>> same = mv.load(path)
        >>> torch.equal(same.decode(torch.zeros(1, 2)).mean, vae.decode(torch.zeros(1, 2)).mean)
        True
    """
    if not isinstance(model, VAE):
        raise ComponentError(
            "a mnistvae model to save", f"a {type(model).__name__}", "pass a VAE, not one of its parts"
        )
    # Each tensor is copied: safetensors refuses tensors that share memory, and tied weights do.
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in model.state_dict().items()}
    spec = json.dumps(to_spec(model), allow_nan=False)
    extra = json.dumps(dict(metadata or {}), allow_nan=False)
    header = {
        "format": "mnistvae",
        "format_version": str(FORMAT_VERSION),
        "mnistvae_version": __version__,
        "spec": spec,
        "metadata": extra,
        "sha256": _digest(tensors, spec, extra),
    }
    return write_atomically(path, serialize(tensors, header))


def read(path: str | os.PathLike[str]) -> ModelFile:
    """What a model file holds, checked against its SHA-256; no class is built.

    Raises:
        FileFormatError: no such file, not a model of mnistvae's, damaged, or of a newer format.
    """
    source = Path(path)
    if not source.is_file():
        raise FileFormatError(f"a model file at {source}", "a folder" if source.is_dir() else "nothing", _where(source))
    try:
        with safe_open(source, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, ValueError) as error:
        raise FileFormatError(
            f"{source} to be a model file", str(error), "pass a model.safetensors written by mnistvae"
        ) from error
    if header.get("format") != "mnistvae":
        raise FileFormatError(
            f"{source} to be a model of mnistvae's", "safetensors of something else", "pass a file written by save"
        )
    try:
        version = int(header["format_version"])
    except (KeyError, ValueError):
        version = -1
    if version > FORMAT_VERSION:
        raise FileFormatError(
            f"format version {FORMAT_VERSION} or older in {source}",
            f"version {version}, written by mnistvae {header.get('mnistvae_version', '?')}",
            "upgrade: pip install -U mnistvae",
        )
    spec, extra = header.get("spec", ""), header.get("metadata", "")
    if version < 1 or header.get("sha256") != _digest(tensors, spec, extra):
        raise FileFormatError(
            f"the content of {source} to match its SHA-256", "other content", "the file is damaged: restore a copy"
        )
    return ModelFile(json.loads(spec), tensors, json.loads(extra), header.get("mnistvae_version", "?"))


def load(
    path: str | os.PathLike[str], classes: Iterable[type[nn.Module]] = (), *, device: torch.device | str = "cpu"
) -> VAE:
    """Read a model that :func:`save` wrote; it comes in evaluation mode.

    Args:
        path: the file.
        classes: the user's own classes that the file may name; nothing else but mnistvae's and
            ``torch.nn``'s is ever built.
        device: where the model goes.

    Raises:
        FileFormatError: not a model, damaged, of a newer format, or naming a class that is not allowed.
        ComponentError: ``classes`` holds something else than classes.
    """
    return build(read(path), classes, device=device, source=str(path))


def build(
    file: ModelFile,
    classes: Iterable[type[nn.Module]] = (),
    *,
    device: torch.device | str = "cpu",
    source: str = "the file",
) -> VAE:
    """The model of a file that was read; see :func:`load`."""
    find = class_finder(classes)
    try:
        with seeded(0):  # the weights that constructors draw are about to be replaced
            model = from_spec(file.spec, find)
        if not isinstance(model, VAE):
            raise FileFormatError(f"{source} to hold a VAE", f"a {type(model).__name__}")
        model.load_state_dict(file.tensors)
    except MnistvaeError as error:
        if isinstance(error, FileFormatError):
            raise
        raise _unfit(source, error) from error
    except (RuntimeError, TypeError, ValueError, KeyError, AttributeError, RecursionError) as error:
        raise _unfit(source, error) from error
    return model.eval().to(device)


def _unfit(source: str, error: Exception) -> FileFormatError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return FileFormatError(
        f"the parts named in {source} to be built as they were saved",
        reason,
        "did a class change since the model was saved?",
    )


def _digest(tensors: Mapping[str, Tensor], *texts: str) -> str:
    """SHA-256 of the tensors (names, dtypes, shapes, bytes) and texts."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(f"{len(text)}:{text}".encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _where(source: Path) -> str:
    inside = source / "model.safetensors"
    return f"pass {inside}" if inside.is_file() else "check the path"
