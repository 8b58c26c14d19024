"""Models in the form of Hugging Face's Hub: a folder with config.json, model.safetensors and a model card. No pickle.

A local folder needs no further library; the Hub needs ``pip install "mnistvae[hub]"``.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import nn

from mnistvae._component import find_own_classes, spec_text, to_spec
from mnistvae._files import make_folder, read_regular, write_atomically
from mnistvae._records import parse_json
from mnistvae._version import __version__
from mnistvae._wrappers import uncompiled
from mnistvae.errors import ComponentError, FileFormatError, OutputError, SettingError, type_name
from mnistvae.io import FORMAT_VERSION, build, read, save
from mnistvae.models import VAE

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["from_pretrained", "model_card", "push_to_hub", "save_pretrained"]

M = TypeVar("M", bound=VAE)

#: The files of a folder.
CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
#: Bytes of the longest config.json that is read.
_LONGEST = 16 << 20


def save_pretrained(
    model: VAE, folder: str | os.PathLike[str], *, metadata: Mapping[str, Any] | None = None, name: str | None = None
) -> Path:
    """Write a model to a folder: ``config.json``, ``model.safetensors`` and a model card, ``README.md``.

    The second is the file of :func:`mnistvae.save`, so :func:`mnistvae.load` and every command take it, and its SHA-256
    covers the weights. The first holds the same description of the parts as JSON, where the Hub looks for it. A card
    that somebody has written or changed stays as it is.

    Args:
        model: The model.
        folder: The folder, which is made if it is not there; files of an earlier model are replaced.
        metadata: Anything that JSON can hold, such as the record of the training; the card shows it.
        name: Name of the model in its card (default: the folder's).

    Returns:
        The folder.

    Raises:
        ComponentError: As :func:`mnistvae.save` raises.
        OutputError: If the folder cannot be written, or has the config.json of another library's model.

    Example:
        >>> vae = mv.BetaVAE(latent_dim=2)
        >>> folder = vae.save_pretrained(tmp_path / "my-vae")
        >>> sorted(path.name for path in folder.iterdir())
        ['README.md', 'config.json', 'model.safetensors']
        >>> type(mv.VAE.from_pretrained(folder)).__name__
        'BetaVAE'
    """
    model = uncompiled(model)
    if not isinstance(model, VAE):
        raise ComponentError("a mnistvae model to save", type_name(model), "pass a VAE")
    place = make_folder(folder)
    if (place / CONFIG).exists():
        _check_ours(place / CONFIG)
    save(model, place / WEIGHTS, metadata)  # first: it looks whether the model can be made again
    config = {
        "architectures": [type(model).__name__],
        "model_type": "mnistvae",
        "mnistvae_version": __version__,
        "format_version": FORMAT_VERSION,
        "spec": to_spec(model, "model"),
    }
    write_atomically(place / CONFIG, f"{json.dumps(config, indent=2)}\n".encode())
    if not (place / CARD).exists() or _as_written((place / CARD).read_bytes()):  # people write their own
        write_atomically(place / CARD, model_card(model, name or place.resolve().name, metadata).encode())
    return place


def from_pretrained(
    name: str | os.PathLike[str],
    of: type[M] = VAE,  # type: ignore[assignment]  # mypy takes M for any class below
    *,
    classes: Iterable[type[nn.Module]] = (),
    revision: str | None = None,
    device: torch.device | str = "cpu",
) -> M:
    """A model from a folder in Hugging Face's form, or from the Hub, in evaluation mode.

    A folder of that name is taken before the Hub is asked; what was fetched once is kept in huggingface_hub's cache,
    and with ``HF_HUB_OFFLINE=1`` nothing else is looked at. Files of strangers come through the same door as in
    :func:`mnistvae.load`: nothing is unpickled, and only classes of mnistvae, of ``torch.nn`` and those that you name
    are built.

    Args:
        name: Folder, or name of a repository on the Hub, such as ``"owner/model"``.
        of: Class that the model must be of; ``BetaVAE.from_pretrained(...)`` sets it. A class of your own is allowed.
        classes: Further classes of your own that the model may be made of.
        revision: Branch, tag or commit on the Hub (default: the newest on the main branch).
        device: Device of the model, see :func:`mnistvae.devices.resolve_device`.

    Raises:
        FileFormatError: If there is no such model, it is damaged, of a newer format or of another class, or names a
            class that is not allowed.
        SettingError: If the name is no folder and huggingface_hub is not installed, or a folder is given a revision.
    """
    if not isinstance(name, str | os.PathLike):
        raise FileFormatError("a folder or the name of a model on the Hub", type_name(name), "pass a text or a Path")
    local = os.path.isdir(name)  # noqa: PTH112 (Path.is_dir raises for a name too long)
    if local and revision is not None:
        raise SettingError("no revision for a folder", repr(revision), f"leave it out: {name} is one, or rename that")
    folder = Path(name) if local else _fetch(str(name), revision)
    file = read(folder / WEIGHTS)
    if _spec_of(folder / CONFIG) != file.spec:
        got = f"another in {WEIGHTS}"
        raise FileFormatError(f"the model that {folder / CONFIG} describes", got, "take both files of one model")
    own = [of] if issubclass(of, VAE) and not of.__module__.startswith("mnistvae.") else []
    named = {one.__qualname__ for one in own}
    allowed = own + [one for one in classes if getattr(one, "__qualname__", None) not in named]
    model = build(file, allowed, device=device, source=str(name))
    if not isinstance(model, of):
        fix = f"call {type(model).__name__}.from_pretrained"
        raise FileFormatError(f"{type_name(of)} in {name}", type_name(model), fix)
    return model


def push_to_hub(
    model: VAE,
    repo_id: str,
    *,
    metadata: Mapping[str, Any] | None = None,
    private: bool | None = None,
    token: str | None = None,
    message: str = "Upload a model by mnistvae",
) -> str:
    """Put a model on Hugging Face's Hub, as :func:`save_pretrained` writes it; a card that is there already stays.

    Args:
        model: The model.
        repo_id: Name of the repository, such as ``"owner/model"``, which is made if it is not there.
        metadata: Anything that JSON can hold, such as the record of the training; the card shows it.
        private: True for a repository that nobody else sees (default: as the owner's settings say).
        token: Token of the Hub (default: that of ``hf auth login``).
        message: Message of the commit.

    Returns:
        The address of the commit.

    Raises:
        SettingError: If huggingface_hub is not installed.
        OutputError: If the Hub refuses the model, or cannot be reached.
        ComponentError: As :func:`mnistvae.save` raises.
    """
    hub = _library(f"{repo_id} on the Hub")
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(model, folder, metadata=metadata, name=repo_id)
        try:
            api = hub.HfApi(token=token)
            api.create_repo(repo_id, private=private, exist_ok=True)
            if api.file_exists(repo_id, CARD):
                Path(folder, CARD).unlink()
            commit = api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=message)
        except Exception as error:  # its own, the system's, or those of the library that it speaks to the network by
            fix = "check the name, the token (`hf auth login`) and the network"
            raise OutputError(f"to put the model at {repo_id}", _line(error), fix) from error
    return str(commit.commit_url)


def model_card(model: VAE, name: str, metadata: Mapping[str, Any] | None = None) -> str:
    """The text of a model card: the parts, how to use the model, and what is known of its training.

    Args:
        model: The model.
        name: Name by which it is loaded.
        metadata: Record of its training.

    Example:
        >>> print(model_card(mv.VAE(latent_dim=2), "me/vae").splitlines()[1])
        library_name: mnistvae
    """
    metadata = metadata or {}
    channels, height, width = model.image_shape
    numbers = sum(weight.numel() for weight in model.parameters())
    told = "" if model.num_classes is None else f", told one of {model.num_classes} labels"
    data = metadata.get("dataset")
    datasets = (
        f"datasets:\n- {json.dumps(data)}\n" if isinstance(data, str) and data.isascii() and "/" not in data else ""
    )
    drawn = "model.sample(16)" if model.num_classes is None else "model.sample(16, y=0)"
    spec = to_spec(model)
    classes = ", classes=[...]" if find_own_classes(spec) else ""
    record = json.dumps(metadata, indent=2, default=str, ensure_ascii=False)
    training = f"\n## Training\n\n```json\n{record}\n```\n" if metadata else ""
    text = f"""---
library_name: mnistvae
pipeline_tag: unconditional-image-generation
tags:
- variational-autoencoder
- vae
{datasets}---

# {name}

A variational autoencoder for images of {channels} x {height} x {width} pixels in [0, 1]{told}: {model.latent_dim}
latent dimensions, {numbers:,} parameters, losses tagged `{model.tag(str(metadata.get("binarization") or "none"))}`.

```python
from mnistvae import VAE

model = VAE.from_pretrained({json.dumps(name)}{classes})
images = {drawn}  # (16, {channels}, {height}, {width})
```

`pip install "mnistvae[hub]"`. No pickle is read: `model.safetensors` holds the weights, and `config.json` describes the
parts:

```python
{spec_text(spec)}
```
{training}"""
    return f"{text}\n{_seal(text)}\n"


def _check_ours(path: Path) -> None:
    """Check that a config.json is of a model of mnistvae's, which another may replace.

    Raises:
        OutputError: If it is not.
    """
    try:
        _spec_of(path)
    except FileFormatError as error:
        got = f"another {CONFIG} there"
        raise OutputError(
            f"a folder for a model, {path.parent}", got, "choose another folder, or move it away"
        ) from error


def _as_written(card: bytes) -> bool:
    """Tell if nobody has changed a card since :func:`model_card` wrote it: its last line has the digest of the rest."""
    text, _, last = card.rstrip().rpartition(b"\n")
    return last == _seal(text.decode(errors="replace")).encode()


def _seal(text: str) -> str:
    return f"<!-- by mnistvae; a card that is changed is kept: {hashlib.sha256(text.encode()).hexdigest()[:16]} -->"


def _spec_of(path: Path) -> Any:
    """The description of the parts in a config.json."""
    fix = "write it with save_pretrained"
    try:
        config = parse_json(read_regular(path, "a config.json", fix, _LONGEST).decode())
    except ValueError as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(f"{path} to hold JSON", str(error)[:200], fix) from error
    if not isinstance(config, dict) or "spec" not in config:
        raise FileFormatError(f"{path} to describe a model of mnistvae's", "a config of something else", fix)
    return config["spec"]


def _fetch(name: str, revision: str | None) -> Path:
    """The folder in which huggingface_hub keeps a model of the Hub."""
    hub = _library(f"a model on the Hub, since there is no folder {name}")
    try:
        return Path(hub.snapshot_download(name, revision=revision, allow_patterns=[CONFIG, WEIGHTS]))
    except (OSError, ValueError, hub.errors.HfHubHTTPError) as error:
        ready = "" if "/" in name else f"; a ready model comes by mnistvae.pretrained({name!r})"
        fix = f"check the name, and whether there is a network{ready}"
        raise FileFormatError(f"a folder or a model on the Hub, {name[:200]!r}", _line(error), fix) from error


def _library(what: str) -> ModuleType:
    """huggingface_hub.

    Raises:
        SettingError: If it is not installed.
    """
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError as error:
        raise SettingError(f"huggingface_hub for {what}", str(error), 'pip install "mnistvae[hub]"') from error
    return huggingface_hub


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
