"""The command ``mnistvae info``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mnistvae.commands._face import command
from mnistvae.commands._inputs import Say, model_file, print_nothing, settings_text
from mnistvae.commands.provenance import Provenance
from mnistvae.errors import FileFormatError

if TYPE_CHECKING:
    from mnistvae.io import ModelFile

__all__ = ["info"]


@command(options={"as_json": "--json"})
def info(model: str | Path, *, as_json: bool = False, say: Say = print_nothing) -> ModelFile:
    """Describe MODEL: its parts, its size, and how it was trained.

    Nothing that the file names is imported or built, so models with custom parts are shown too.

    Args:
        model: File of a model, or folder of a run.
        as_json: Print all of it as JSON, for programs.
        say: Called with each line that the command prints.

    Returns:
        The content of the file.

    Raises:
        FileFormatError: If the file is not a model of mnistvae's, or is damaged.
    """
    from mnistvae._component import spec_text
    from mnistvae.io import read

    file = read(model := model_file(model))
    numbers = sum(tensor.numel() for tensor in file.tensors.values())
    if as_json:
        shapes = {name: list(tensor.shape) for name, tensor in sorted(file.tensors.items())}
        facts = {"file": str(model), "mnistvae": file.version, "numbers": numbers, "tensors": shapes}
        say(json.dumps(facts | {"metadata": file.metadata, "model": file.spec}, indent=2))
        return file
    say(f"{model}: {numbers:,} numbers in {len(file.tensors)} tensors, written by mnistvae {file.version}")
    for key, value in Provenance.from_metadata(file.metadata).to_dict().items():
        say(f"{key}: {settings_text(value) if isinstance(value, Mapping) else value}")
    try:
        say(spec_text(file.spec))
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FileFormatError(f"the header of {model} to describe parts", "something else", "write it anew") from error
    return file
