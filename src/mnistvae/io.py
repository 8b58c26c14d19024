"""Models as files: safetensors with the tensors and, as JSON, a description of the parts. No pickle."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import mnistvae.ladders  # noqa: F401 (its parts are known by their names once it is imported)
from mnistvae._bounds import Bounds
from mnistvae._component import class_finder, clone, from_spec, to_spec
from mnistvae._random import seeded
from mnistvae._records import parse_json
from mnistvae._tensorfile import Kind, read_tensors, write_tensors
from mnistvae._wrappers import uncompiled
from mnistvae.devices import resolve_device
from mnistvae.errors import ComponentError, FileFormatError, type_name
from mnistvae.models import VAE

__all__ = ["FORMAT_VERSION", "ModelFile", "load", "read", "save"]

#: Grows when an older mnistvae could no longer read the file.
FORMAT_VERSION = 1
_KIND = Kind("mnistvae", FORMAT_VERSION, "model file", "pass a model.safetensors written by mnistvae")


class ModelFile(NamedTuple):
    """The content of a model file, from which no class is built yet."""

    #: The tree of parts, each as its class and its constructor arguments.
    spec: dict[str, Any]
    #: Tensors by their names in ``state_dict``.
    tensors: dict[str, Tensor]
    #: What the caller of :func:`save` wrote beside the model.
    metadata: dict[str, Any]
    #: The mnistvae that wrote it.
    version: str


def save(model: VAE, path: str | os.PathLike[str], metadata: Mapping[str, Any] | None = None) -> Path:
    """Write a model to one file; an earlier file stays whole until the new one is.

    Args:
        model: Model made of mnistvae's parts and of parts that keep their constructor arguments as
            attributes of the same names.
        path: File to write; its name usually ends in ``.safetensors``.
        metadata: Anything that JSON can hold, to be read back with :func:`read`.

    Returns:
        The path.

    Raises:
        ComponentError: If the constructor arguments of a part cannot be read back, JSON cannot hold them, or the model
            is quantized.
        OutputError: If the file cannot be written.

    Example:
        >>> vae = mv.VAE(latent_dim=2)
        >>> path = mv.save(vae, tmp_path / "vae.safetensors")
        >>> same = mv.load(path)
        >>> torch.equal(same.decode(torch.zeros(1, 2)).mean, vae.decode(torch.zeros(1, 2)).mean)
        True
    """
    model = uncompiled(model)
    if not isinstance(model, VAE):
        fix = "pass a VAE, not one of its parts; their weights: safetensors.torch.save_file(part.state_dict(), path)"
        raise ComponentError("a mnistvae model to save", type_name(model), fix)
    if not isinstance(metadata, Mapping | None):
        raise ComponentError("metadata as a dict", type_name(metadata), "metadata={'note': ...}")
    text = {
        "spec": to_json(to_spec(model, "model"), "constructor arguments"),
        "metadata": to_json(dict(metadata or {}), "metadata"),
    }
    _check_tensors(model)
    _rehearse(model)
    return write_tensors(path, _KIND, model.state_dict(), text)


def read(path: str | os.PathLike[str]) -> ModelFile:
    """The content of a model file, checked against its SHA-256; no class is built.

    Raises:
        FileFormatError: If there is no such file, or it is no model of mnistvae's, damaged, or of a newer format.
    """
    bare = isinstance(path, str) and re.fullmatch(r"[\w-]+", path)
    missing = f"check the path, or call pretrained({path!r}) for a ready model" if bare else "check the path"
    tensors, text = read_tensors(path, _KIND, missing)
    try:
        spec, extra = parse_json(text["spec"]), parse_json(text["metadata"])
    except (KeyError, ValueError) as error:
        raise FileFormatError(f"the header of {path} to hold JSON", str(error), "write it with mnistvae") from error
    if not isinstance(spec, dict) or not isinstance(extra, dict):
        raise FileFormatError(f"the header of {path} to describe a model", "something else", "write it with mnistvae")
    return ModelFile(spec, tensors, extra, text.get("mnistvae_version", "?"))


def load(
    path: str | os.PathLike[str], classes: Iterable[type[nn.Module]] = (), *, device: torch.device | str = "cpu"
) -> VAE:
    """Read a model that :func:`save` wrote, in evaluation mode.

    Args:
        path: File to read.
        classes: Classes of your own that the file may name; beside them only mnistvae's and ``torch.nn``'s are ever
            built.
        device: Device of the model, see :func:`mnistvae.devices.resolve_device`.

    Raises:
        FileFormatError: If the file is no model, damaged, of a newer format, or names a class that is not allowed.
        ComponentError: If ``classes`` holds anything but classes of modules.
        SettingError: If this machine does not have the device.
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
    find, place = class_finder(classes), resolve_device(device)
    try:
        # The weights that constructors draw are about to be replaced.
        numbers = sum(tensor.numel() for tensor in file.tensors.values())
        with seeded(0), torch.device("cpu"), Bounds(len(file.tensors), numbers):
            model = from_spec(file.spec, find, "model")
        _check_model(model, source)
        _match_dtypes(model, file.tensors)
        model.load_state_dict(file.tensors)
    except FileFormatError:
        raise
    except ComponentError as error:  # says itself what to do, such as to install a library
        raise FileFormatError(f"{source} cannot be loaded here: {error}") from error
    except Exception as error:  # a constructor may raise anything
        raise FileFormatError(
            f"the parts named in {source} to be built as they were saved",
            " ".join(str(error).split()) or type(error).__name__,
            "did a class change since the model was saved?",
        ) from error
    vae: VAE = model.eval().to(place)
    return vae


def _check_tensors(model: VAE) -> None:
    """Check that every weight is a tensor that a file can hold; those of a quantized layer are not."""
    for name, value in model.state_dict().items():
        plain = isinstance(value, Tensor) and not value.is_quantized and value.layout is torch.strided
        if not plain:
            got = f"{value.dtype}, {value.layout}" if isinstance(value, Tensor) else type_name(value)
            fix = "save the model before it is quantized or made sparse, and do that again to what load gives"
            raise ComponentError("plain tensors in the model's state_dict", f"{got} at {name}", fix)


def _rehearse(model: VAE) -> None:
    """Check that the constructor arguments lead back to this model, before anything is written."""
    with seeded(0):
        rebuilt = clone(model, "model")
    for what, before, after in (
        ("layers", _layers(model), _layers(rebuilt)),
        ("tensors", _shapes(model), _shapes(rebuilt)),
    ):
        if before != after:
            differing = next(name for name in {**before, **after} if before.get(name) != after.get(name))
            raise ComponentError(
                f"the same {what} when the model is made again from its constructor arguments",
                f"{after.get(differing, 'none')} for {before.get(differing, 'none')} at {differing}",
                "give a changed layer to the constructor, or write it into a class of your own",
            )


def _layers(model: nn.Module) -> dict[str, str]:
    """Each layer's class and, where it has no tensors that would show a change, its settings."""
    return {
        name: repr(module)
        if next(module.children(), None) is None and not module.state_dict()
        else type(module).__qualname__
        for name, module in model.named_modules(remove_duplicate=False)
    }


def _shapes(model: nn.Module) -> dict[str, str]:
    return {name: str(tuple(tensor.shape)) for name, tensor in model.state_dict().items()}


def _check_model(model: object, source: str) -> None:
    if not isinstance(model, VAE):
        raise FileFormatError(f"{source} to hold a VAE", type_name(model), "pass a file written by save")


def _match_dtypes(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give the model the dtypes that were saved: a model in bfloat16 comes back as one."""
    floating = {tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()}
    if len(floating) == 1:
        model.to(floating.pop())  # with the buffers that are not saved
        return
    for name, tensor in model.state_dict(keep_vars=True).items():
        if name in tensors:
            tensor.data = tensor.data.to(tensors[name].dtype)


def to_json(value: Any, what: str) -> str:
    """``value`` as JSON that any reader takes.

    Raises:
        ComponentError: If JSON cannot hold it.
    """
    try:
        _check_keys(value)
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ComponentError(
            f"{what} that JSON can hold", str(error), "use finite numbers, strings, lists and dicts"
        ) from error


def _check_keys(value: Any) -> None:
    """Raise TypeError for a mapping with other keys than texts, of which JSON would make texts, and one of two."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"the key {key!r} is no text")
            _check_keys(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _check_keys(item)
