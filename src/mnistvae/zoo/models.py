"""The files of the trained models, and the models in them."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from mnistvae._records import read_json
from mnistvae.errors import FileFormatError, SettingError
from mnistvae.plugins import closest

if TYPE_CHECKING:
    import torch

    from mnistvae.models import VAE

__all__ = ["check_file", "find_file", "find_metrics", "names", "pretrained", "read_content"]

#: The models by name, and a line about each.
_MODELS = {
    "mlp-2d": "two latent dimensions, a plane that can be drawn",
    "mlp-20": "784-400-20, the network of pytorch/examples, trained for longer",
    "conv": "convolutional, ten latent dimensions",
    "beta-conv": "convolutional with beta = 0.05, for faithful reconstructions",
    "conditional": "convolutional, told the digit: draws the one that is asked for",
    "conv-binary": "convolutional with a VampPrior, of black and white pixels, whose nats are a likelihood",
}
_REINSTALL = "install mnistvae again: pip install --force-reinstall --no-deps mnistvae"


def names() -> list[str]:
    """The names of the trained models that ship with the package.

    Example:
        >>> mv.zoo.names()
        ['mlp-2d', 'mlp-20', 'conv', 'beta-conv', 'conditional', 'conv-binary']
    """
    return list(_MODELS)


def pretrained(name: str, *, device: torch.device | str = "cpu") -> VAE:
    """A model that was trained on the whole MNIST and ships with the package, in evaluation mode.

    Its weights are kept in half precision and computed with in single precision. Nothing is downloaded, and the file's
    SHA-256 is checked. :func:`mnistvae.zoo.card` tells how it was trained and how good it is.

    Args:
        name: One of :func:`mnistvae.zoo.names`.
        device: Device of the model, see :func:`mnistvae.devices.resolve_device`.

    Raises:
        SettingError: If there is no such model, or this machine does not have the device.
        FileFormatError: If the file is not the one that was shipped.

    Example:
        >>> model = mv.pretrained("conditional")
        >>> sevens = model.sample(4, y=7)
        >>> sevens.shape, model.dtype
        (torch.Size([4, 1, 28, 28]), torch.float32)
    """
    from mnistvae.io import load

    path = find_file(name)
    check_file(name)
    return load(path, device=device).float()


def find_file(name: str) -> Path:
    """The file of a trained model.

    Raises:
        SettingError: If there is no such model.
    """
    return _path(name, ".safetensors")


def check_file(name: str) -> None:
    """Check that the file of a trained model is the one that was shipped.

    Raises:
        FileFormatError: If it is another, or is missing.
    """
    path = find_file(name)
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise FileFormatError(f"{path}, which ships with mnistvae", error.strerror or str(error), _REINSTALL) from error
    expected = read_content(name)["model_sha256"]
    if found != expected:
        raise FileFormatError(f"{path} with the SHA-256 {expected}", found, _REINSTALL)


def read_content(name: str) -> dict[str, object]:
    """The content of a model's card.

    Raises:
        SettingError: If there is no such model.
        FileFormatError: If the card is missing or damaged.
    """
    content = read_json(_path(name, ".json"), "the card of a trained model", _REINSTALL)
    return {"summary": _MODELS[name], **content}


def find_metrics(name: str) -> Path:
    """The file of what was measured of a trained model."""
    return _path(name, ".metrics.json")


def _path(name: str, suffix: str) -> Path:
    if name not in _MODELS:
        raise SettingError(f"a trained model: {', '.join(_MODELS)}", repr(name), closest(name, _MODELS))
    return Path(str(files("mnistvae.zoo").joinpath(f"{name}{suffix}")))
