"""The command ``mnistvae info``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistvae.commands._face import command
from mnistvae.commands._inputs import Say, model_file, print_nothing, ready_name, settings_text
from mnistvae.commands.provenance import Provenance
from mnistvae.errors import FileFormatError

if TYPE_CHECKING:
    from mnistvae.io import ModelFile

__all__ = ["info"]


@command(options={"as_json": "--json"})
def info(model: str | Path, *, as_json: bool = False, say: Say = print_nothing) -> ModelFile:
    """Describe MODEL: its parts, its size, and how it was trained.

    Nothing that the file names is imported or built, so models with custom parts are shown too. Of a model that ships
    with the package, its card: how it was trained, and all that was measured of it.

    Args:
        model: File of a model, folder of a run, or name of a model that ships with the package.
        as_json: Print all of it as JSON, for programs.
        say: Called with each line that the command prints.

    Returns:
        The content of the file.

    Raises:
        FileFormatError: If the file is not a model of mnistvae's, or is damaged.
    """
    from mnistvae._component import spec_text
    from mnistvae.io import read
    from mnistvae.zoo import card
    from mnistvae.zoo.models import read_content

    ready = ready_name(model)
    file = read(model := model_file(model))
    numbers = sum(tensor.numel() for tensor in file.tensors.values())
    if as_json:
        shapes = {name: list(tensor.shape) for name, tensor in sorted(file.tensors.items())}
        facts: dict[str, Any] = {"file": str(model), "mnistvae": file.version, "numbers": numbers, "tensors": shapes}
        facts |= {} if ready is None else {"card": read_content(ready)}
        say(json.dumps(facts | {"metadata": file.metadata, "model": file.spec}, indent=2))
        return file
    say(f"{model}: {numbers:,} numbers in {len(file.tensors)} tensors, written by mnistvae {file.version}")
    about = _about(file) if ready is None else str(card(ready))
    if about:
        say(about)
    try:
        say(spec_text(file.spec))
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FileFormatError(f"the header of {model} to describe parts", "something else", "write it anew") from error
    return file


def _about(file: ModelFile) -> str:
    """A line for each thing that is known of how the model was made."""
    known = Provenance.from_metadata(file.metadata).to_dict().items()
    return "\n".join(f"{key}: {settings_text(value) if isinstance(value, Mapping) else value}" for key, value in known)
