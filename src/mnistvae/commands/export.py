"""The command ``mnistvae export``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mnistvae._files import as_path
from mnistvae.commands._face import command
from mnistvae.commands._inputs import Say, open_model, print_nothing
from mnistvae.commands.provenance import Provenance
from mnistvae.errors import OutputError

if TYPE_CHECKING:
    from torch import nn

    from mnistvae.models import VAE

__all__ = ["export"]


@command()
def export(
    model: str | Path | VAE,
    *,
    part: Literal["encoder", "decoder", "reconstruct", "sample"] = "decoder",
    format: Literal["onnx", "pt2"] = "onnx",  # noqa: A002 (the name of the option)
    opset: int | None = None,
    out: str | Path | None = None,
    classes: Sequence[str | type[nn.Module]] = (),
    about: Provenance | None = None,
    say: Say = print_nothing,
) -> Path:
    """Write a part of MODEL as a graph from tensors to tensors, for programs that have no mnistvae.

    Takes the extra [onnx], or with --format pt2 none; see the documentation, Export a model.

    Args:
        model: File of a model, or folder of a run; in Python also a model.
        part: Images to means and log-variances of codes, codes to images, images to images, or noise to images.
        format: Format of the file: ONNX, or pt2 for torch.export.load.
        opset: Version of ONNX's operators (default: 18).
        out: File to write (default: PART.FORMAT beside the model).
        classes: A class of your own that the model is made of, as my.module:NAME; may be given again.
        about: Record of a model that is not from a file; its binarization is a part of the tag.
        say: Called with each line that the command prints.

    Returns:
        The path of the file.

    Raises:
        OutputError: If there is such a file already, or it cannot be written.
        MnistvaeError: If the model cannot be loaded, or as :func:`mnistvae.export` raises.
    """
    from mnistvae import exports

    opened = open_model(model, about, "cpu", classes)
    path = opened.parent / f"{part}.{format}" if out is None else as_path(out)
    if path.is_dir():
        inside = path / f"{part}.{format}"
        raise OutputError(f"a new file at {path}", "a folder", f"choose a file, such as {inside} (`out`)")
    if os.path.lexists(path):
        raise OutputError(f"a new file at {path}", "one that is there", "choose another (`out`), or move it away")
    kind = opened.about.binarization or "none"
    graph = exports.export(opened.model, path, part=part, format=format, opset=opset, binarization=kind)
    what = {"reconstruct": "reconstruction", "sample": "sampling"}.get(part, part)
    say(f"wrote the {what} of {opened.name}: {graph}")
    told = exports.describe(opened.model, part)
    for name, words in told["inputs"].items():
        say(f"  in:  {name}, {words}")
    for name, words in told["outputs"].items():
        say(f"  out: {name}, {words}")
    return graph
