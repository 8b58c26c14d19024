"""The command ``mnistvae generate``."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mnistvae._checks import as_integer, check_count
from mnistvae.commands._face import command
from mnistvae.commands._inputs import Opened, Say, open_model, print_nothing
from mnistvae.commands.folder import RunFolder
from mnistvae.errors import DataError, SettingError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mnistvae.models import VAE

__all__ = ["generate"]


@command()
def generate(
    model: str | Path | VAE,
    *,
    n: int | None = None,
    label: str | int | None = None,
    at: Sequence[Sequence[float]] = (),
    temperature: float | Sequence[float] | None = None,
    columns: int | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    device: str = "auto",
    classes: Sequence[str | type[nn.Module]] = (),
    say: Say = print_nothing,
) -> Tensor:
    """Draw new images from MODEL.

    Writes each image as 000.png, 001.png, ... and all of them as samples.png.

    Args:
        model: File of a model, folder of a run, or a trained model by its name, such as conv; in Python also a model.
        n: Number of images (default: 64).
        label: The class to draw, for a conditional model: its number, or its name where the training data had names.
        at: Decode this point of the latent space, in place of drawing one; may be given again.
        temperature: Below 1: more typical images; above: more varied; for a ladder also one for each level, from the
            top down (default: 1).
        columns: Images in a row of samples.png (default: one of each class, or as many as there are rows).
        seed: Seed of every draw.
        out: Folder for the images (default: generated-TIME beside the model).
        device: Device for a model from a file: auto, cpu, cuda or mps.
        classes: A class of your own that the model is made of, as my.module:NAME; may be given again.
        say: Called with each line that the command prints.

    Returns:
        The images, (n, C, H, W) in [0, 1].

    Raises:
        OutputError: If the folder holds such files already, or cannot be written.
        SettingError: If points are given together with a number of images or a temperature, or a setting makes no
            sense.
        MnistvaeError: If the model cannot be loaded, or as :meth:`mnistvae.VAE.sample` raises.
    """
    if len(at) and (n is not None or temperature is not None):
        raise SettingError(
            "points, or a number of images", "both", "`at` decodes the points given: leave `n` and `temperature` out"
        )
    import torch
    from PIL import Image

    from mnistvae._files import write_atomically
    from mnistvae.commands._pictures import sample_columns
    from mnistvae.images import to_uint8
    from mnistvae.plotting import sample_grid

    opened = open_model(model, None, device, classes)
    vae = opened.model
    y = _class_of(opened, label, told=len(at) > 0)
    if len(at):
        images = _decode_at(vae, at, y)
    else:
        generator = torch.Generator().manual_seed(seed)
        heat = 1.0 if temperature is None else temperature
        images = vae.sample(64 if n is None else n, y, temperature=heat, generator=generator)
        if columns is None and label is None and vae.num_classes is not None and len(images) >= sample_columns(vae):
            columns = sample_columns(vae)
    if columns is not None:
        columns = min(check_count("columns as an integer of at least 1", columns), len(images))
    digits = max(3, len(str(len(images) - 1)))
    names = [f"{number:0{digits}d}.png" for number in range(len(images))]
    picture = sample_grid(images, columns=columns)  # before anything is written: it checks the images
    with RunFolder.claim(out, ["samples.png", *names], parent=opened.parent, name="generated") as folder:
        for name, image in zip(names, to_uint8(images).movedim(1, -1).cpu().numpy(), strict=True):
            stream = io.BytesIO()
            Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(stream, format="png")
            write_atomically(folder.path / name, stream.getvalue())
        path = folder.write_figure("samples.png", picture)
    say(f"wrote {len(images)} image{'s' if len(images) > 1 else ''} and {path}")
    return images


def _class_of(opened: Opened, label: str | int | None, *, told: bool) -> int | None:
    """The number of a class that is given by name or number.

    Raises:
        DataError: If the model has no such class, or there are points and it needs one.
    """
    classes, names = opened.model.num_classes, opened.about.class_names
    if classes is None:
        if label is not None:
            fix = "leave `label` out, or take a model that was trained with labels, such as conditional"
            raise DataError("no label, since this model was trained without labels", f"{label}", fix)
        return None
    known = f"0 to {classes - 1}" if len(names) != classes else ", ".join(names)
    if label is None:
        if told:
            raise DataError(f"a class, {known}, beside the points", "none", "give `label`: the class to decode")
        return None
    written = isinstance(label, str) and re.fullmatch(r"-?\d{1,9}", label)
    number = names.index(str(label)) if label in names else as_integer(int(label) if written else label)
    if number is None or not 0 <= number < classes:
        raise DataError(f"a class of this model, {known}", f"{label}", "give another `label`")
    return number


def _decode_at(model: VAE, at: Sequence[Sequence[float]], y: int | None) -> Tensor:
    """The images at points of the latent space."""
    import torch

    from mnistvae.analysis import decode_codes

    for point in at:
        if len(point) != model.latent_dim:
            raise DataError(
                f"{model.latent_dim} coordinates, one for each latent dimension",
                f"{len(point)} in {','.join(f'{value:g}' for value in point)}",
                f"separate {model.latent_dim} numbers by commas, for each point",
            )
        if not all(math.isfinite(value) for value in point):
            raise DataError("finite coordinates", str(tuple(point)))
    return decode_codes(model, torch.tensor(at, dtype=model.dtype), y)
