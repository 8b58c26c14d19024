"""Pictures of a saved model: what it draws and gives back, and films of how it learned."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from mnistvae import analysis, fitting
from mnistvae._checks import check_count, check_number
from mnistvae._files import write_atomically
from mnistvae.data import Binarization, ImageDataset, as_trained, one_of_each
from mnistvae.errors import DataError, FileFormatError, SettingError
from mnistvae.images import to_uint8
from mnistvae.io import save
from mnistvae.models import VAE
from mnistvae.plotting import reconstruction_grid, sample_grid
from mnistvae.runs import _folders as folders
from mnistvae.runs._folders import claimed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["EPOCHS", "animate", "fit_prior", "generate", "reconstruct"]

#: The folder of what the model drew after each epoch.
EPOCHS = "epochs"
_FASTEST = 50  # pictures a second in a GIF


def generate(
    model: VAE,
    folder: str | os.PathLike[str],
    n: int = 64,
    *,
    label: int | None = None,
    at: Sequence[Sequence[float]] = (),
    temperature: float = 1.0,
    seed: int = 0,
) -> Tensor:
    """Write new images to a folder: ``000.png``, ``001.png``, ... and all of them as ``samples.png``.

    Args:
        model: the model.
        folder: made if need be.
        n: how many, drawn from the prior.
        label: for a conditional model, the class of all of them.
        at: points of the latent space to decode, instead of drawing.
        temperature: see :meth:`mnistvae.VAE.sample`.
        seed: of the draw.

    Returns:
        The images, (n, C, H, W) in [0, 1].

    Raises:
        OutputError: the folder holds such files already, or cannot be written.
        MnistvaeError: what the model raises.
    """
    if at:
        images = _decode_at(model, at, label)
    else:
        images = model.sample(n, label, temperature=temperature, generator=torch.Generator().manual_seed(seed))
    digits = max(3, len(str(len(images) - 1)))
    names = [f"{number:0{digits}d}.png" for number in range(len(images))]
    columns = _columns(model) if label is None and not at and len(images) >= _columns(model) else None
    picture = sample_grid(images, columns=columns)  # before anything is written: it checks the images
    with claimed(folder, ["samples.png", *names], "samples.png") as target:
        for name, image in zip(names, to_uint8(images).movedim(1, -1).cpu().numpy(), strict=True):
            stream = io.BytesIO()
            Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(stream, format="png")
            write_atomically(target / name, stream.getvalue())
        folders.write_figure(picture, target / "samples.png")
    return images


def reconstruct(
    model: VAE, data: ImageDataset, folder: str | os.PathLike[str], n: int = 10, *, binarization: Binarization = "none"
) -> Path:
    """Write ``reconstructions.png``: n images, of all classes in turn, over their reconstructions.

    Args:
        model: the model.
        data: images.
        folder: made if need be.
        n: how many.
        binarization: what the model's training did to grey images; the same is done to these.

    Raises:
        OutputError: the folder holds such a file already, or cannot be written.
        MnistvaeError: what the model raises.
    """
    n = check_count("at least one image to reconstruct", n)
    picture = draw_reconstructions(model, as_trained(one_of_each(data, n), binarization))
    with claimed(folder, ["reconstructions.png"], "reconstructions.png") as target:
        return folders.write_figure(picture, target / "reconstructions.png")


def fit_prior(
    model: VAE,
    data: ImageDataset,
    folder: str | os.PathLike[str],
    components: int = 10,
    *,
    covariance: Literal["diag", "full"] = "full",
    seed: int = 0,
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """Write a copy of a model with a fitted prior (see :func:`mnistvae.fit_prior`), and samples of it.

    Args:
        model: a trained model.
        data: the images it was trained on.
        folder: made if need be; gets ``model.safetensors`` and ``samples.png``.
        components: normals in the mixture.
        covariance: "full" or "diag".
        seed: of the fit and of the samples.
        metadata: what the model's file says beside the model; the copy's says it too. The data are binarized
            as it says.

    Returns:
        The path of the new model.

    Raises:
        OutputError: the folder holds such files already, or cannot be written.
        MnistvaeError: what :func:`mnistvae.fit_prior` raises.
    """
    about = dict(metadata or {})
    binarization = about.get("binarization", "none")
    if binarization != "none" and data.binarization == "none":
        data = data.binarized(binarization, seed=about.get("seed", 0))
    fitted = fitting.fit_prior(model, data, components, covariance=covariance, seed=seed)
    about["fitted_prior"] = {"dataset": data.name, "images": len(data), "seed": seed}
    with claimed(folder, ["model.safetensors", "samples.png"], "samples.png") as target:
        path = save(fitted, target / "model.safetensors", about)
        folders.write_figure(draw_samples(fitted, seed), target / "samples.png")
    return path


def animate(
    folder: str | os.PathLike[str], out: str | os.PathLike[str] | None = None, *, per_second: float = 4.0
) -> list[Path]:
    """Make films of the pictures that a run left after its epochs: ``samples.gif`` and, of a plane, ``plane.gif``.

    Args:
        folder: of the run.
        out: where the films go (default: the run's folder).
        per_second: epochs a second; the last one stays for two seconds.

    Returns:
        The films.

    Raises:
        FileFormatError: the run left no pictures.
        OutputError: there are such films already, or the folder cannot be written.
        SettingError: a speed that makes no sense.
    """
    speed = check_number("per_second as a number from 0.01 to 50", per_second, low=0.01)
    if speed > _FASTEST:
        raise SettingError(
            "per_second as a number from 0.01 to 50", f"{speed:g}", "a GIF counts in hundredths of a second"
        )
    source, target = Path(folder) / EPOCHS, Path(folder if out is None else out)
    kinds = {kind: sorted(source.glob(f"{kind}-*.png")) for kind in ("samples", "plane")}
    if not kinds["samples"]:
        raise FileFormatError(
            f"pictures of epochs in {source}", "none", "train with --samples-every 1, or with the callback SampleGrid"
        )
    films = []
    for kind, paths in kinds.items():
        if not paths:
            continue
        frames = [_frame(path) for path in paths]
        with claimed(target, [f"{kind}.gif"], f"{kind}.gif"):
            stream = io.BytesIO()
            durations = [round(1000 / speed)] * (len(frames) - 1) + [2000]
            frames[0].save(
                stream, format="gif", save_all=True, append_images=frames[1:], duration=durations, loop=0, disposal=1
            )
            films.append(write_atomically(target / f"{kind}.gif", stream.getvalue()))
    return films


def draw_reconstructions(model: VAE, data: ImageDataset) -> Figure:
    labels = data.labels if model.num_classes is not None else None
    return reconstruction_grid(data.images, model.reconstruct(data.images, labels))


def draw_samples(model: VAE, seed: int) -> Figure:
    columns = _columns(model)
    return sample_grid(model.sample(8 * columns, generator=torch.Generator().manual_seed(seed)), columns=columns)


def _decode_at(model: VAE, at: Sequence[Sequence[float]], label: int | None) -> Tensor:
    for point in at:
        if len(point) != model.latent_dim:
            raise DataError(
                f"{model.latent_dim} coordinates, one for each latent dimension",
                f"{len(point)} in {','.join(f'{value:g}' for value in point)}",
                "a plane needs a model with two latent dimensions, such as the recipe mlp-2d",
            )
        if not all(math.isfinite(value) for value in point):
            raise DataError("finite coordinates", str(tuple(point)))
    return analysis.decode_codes(model, torch.tensor(at, dtype=model.dtype), label)


def _columns(model: VAE) -> int:
    """Images in a row of samples: a column for each class, where the model has some and they fit."""
    return model.num_classes if model.num_classes is not None and 2 <= model.num_classes <= 20 else 8


def _frame(path: Path) -> Image.Image:
    """A picture of an epoch at twice its size, with the epoch's number under it."""
    try:
        with Image.open(path) as picture:
            large = picture.convert("RGB").resize((2 * picture.width, 2 * picture.height), Image.Resampling.NEAREST)
    except (OSError, ValueError) as error:
        raise FileFormatError(f"{path} to be a picture", str(error), "train again, or remove it") from error
    frame = Image.new("RGB", (large.width, large.height + 24), "white")
    frame.paste(large)
    epoch = int(path.stem.rpartition("-")[2])
    ImageDraw.Draw(frame).text((6, large.height + 4), f"epoch {epoch}", fill="black", font_size=14)
    return frame
