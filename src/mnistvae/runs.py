"""What the commands do, as functions: a training run as a folder, and pictures from a saved model.

Every function refuses to write over what is there; a model is on disk before its pictures are drawn.
"""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from mnistvae import analysis, fitting, metrics
from mnistvae._checks import check_count, check_number
from mnistvae._component import class_finder, from_spec, to_spec
from mnistvae._files import make_folder, write_atomically
from mnistvae._modes import evaluating
from mnistvae.data import ImageDataset
from mnistvae.errors import DataError, FileFormatError, OutputError, SettingError
from mnistvae.images import ImageShape, to_uint8
from mnistvae.io import save, to_json
from mnistvae.models import VAE
from mnistvae.plotting import class_bars, loss_curves, reconstruction_grid, sample_grid
from mnistvae.recipes import Recipe
from mnistvae.report import write_report
from mnistvae.training import Callback, Checkpoint, CSVLog, Doctor, History, SampleGrid, State, rank_here
from mnistvae.training.checkpoints import checkpoints_in

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "CHECKPOINTS",
    "EPOCHS",
    "RUN_FILES",
    "Run",
    "Start",
    "animate",
    "evaluate",
    "fit_prior",
    "generate",
    "read_start",
    "reconstruct",
    "report",
    "sweep",
    "train",
]

#: The folder of a run's checkpoints, in its own.
CHECKPOINTS = "checkpoints"
#: The folder of what the model drew after each epoch.
EPOCHS = "epochs"
_START = "run.json"
_FASTEST = 50  # pictures a second in a GIF
#: What a training run leaves in its folder.
RUN_FILES = ("model.safetensors", "history.csv", "loss.png", "reconstructions.png", "samples.png")


@dataclass(frozen=True)
class Start:
    """How a run was started, as ``run.json`` in its folder tells a later ``--resume``."""

    recipe: str
    dataset: str
    #: Changes to the recipe's model.
    settings: Mapping[str, Any]
    #: Changes to the recipe's Trainer.
    training: Mapping[str, Any]
    seed: int
    #: Epochs between two pictures of samples; 0 for none.
    samples_every: int = 1


@dataclass(frozen=True)
class Run:
    """A finished training run."""

    folder: Path
    model: VAE
    history: History


def train(
    recipe: Recipe,
    data: ImageDataset,
    validation: ImageDataset | None,
    folder: str | os.PathLike[str],
    *,
    settings: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    seed: int = 0,
    samples_every: int = 1,
    device: str = "auto",
    progress: bool = True,
    resume: bool = False,
) -> Run:
    """Train a recipe's model and leave model, history, checkpoints and pictures in a folder.

    Args:
        recipe: see :mod:`mnistvae.recipes`.
        data: images to train on; a conditional recipe takes its number of classes from them.
        validation: images to evaluate after each epoch, and to reconstruct.
        folder: the run's own; made if need be.
        settings: changes to the recipe's model.
        training: changes to the recipe's Trainer.
        seed: of weights, order and noise.
        samples_every: epochs between two pictures of samples in the folder ``epochs``; 0 for none.
        device: "auto", or a name.
        progress: show a bar for each epoch.
        resume: go on with the run in the folder, which was started with the same arguments.

    Raises:
        OutputError: the folder holds a run already (or, to resume, a finished one), or cannot be written.
        MnistvaeError: what model, Trainer and data raise.
    """
    _check_channels(data.image_shape)
    every = check_count("samples_every as a number of epochs of at least 0", samples_every, least=0)
    # Before a folder is made, so that a bad setting leaves none.
    model = recipe.model(image_shape=data.image_shape, num_classes=data.num_classes or 1, seed=seed, **(settings or {}))
    start = Start(recipe.name, data.name, settings or {}, training or {}, seed, every)
    writes = rank_here() == 0
    place: AbstractContextManager[Path] = nullcontext(Path(folder))  # of a process that leaves it to the first one
    if writes:
        place = _unfinished(folder) if resume else _new_run(folder)
    with place as target:
        checkpoints = target / CHECKPOINTS
        trainer = recipe.trainer(
            **{**(training or {}), "seed": seed, "device": device, "progress": progress},
            callbacks=[
                _WriteStart(target / _START, start),
                CSVLog(target / "history.csv"),
                Doctor(),
                *([SampleGrid(target / EPOCHS, every=every)] if every else []),
                Checkpoint(checkpoints),
            ],
        )
        # A run that was stopped before its first checkpoint starts again.
        begun = checkpoints if resume and checkpoints_in(checkpoints) else None
        history = trainer.fit(model, data, validation, resume=begun)
        if not writes:
            return Run(target, model, history)
        metadata: dict[str, Any] = {
            "recipe": recipe.name,
            "dataset": data.name,
            "images": len(data),
            "binarization": trainer.binarization if data.binarization == "none" else data.binarization,
            "epochs": len(history),
            "batch_size": trainer.batch_size,
            "learning_rate": trainer.learning_rate,
            "seed": seed,
            "tag": history.tag,
            "last_epoch": history[-1],
        }
        save(model, target / "model.safetensors", metadata)
        write_figure(loss_curves(history), target / "loss.png")
        shown = as_trained(one_of_each(validation or data), metadata["binarization"])
        write_figure(_reconstructions(model, shown), target / "reconstructions.png")
        write_figure(_samples(model, seed), target / "samples.png")
    return Run(target, model, history)


def read_start(folder: str | os.PathLike[str]) -> Start:
    """How the run in a folder was started.

    Raises:
        FileFormatError: there is no such run.
    """
    path = Path(folder) / _START
    try:
        return Start(**from_spec(json.loads(path.read_text(encoding="utf-8")), class_finder()))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else str(error)
        raise FileFormatError(
            f"{path}, which a run writes", reason, "pass the folder of a run of mnistvae train"
        ) from error


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
    with _claimed(folder, ["samples.png", *names], "samples.png") as target:
        for name, image in zip(names, to_uint8(images).movedim(1, -1).cpu().numpy(), strict=True):
            stream = io.BytesIO()
            Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(stream, format="png")
            write_atomically(target / name, stream.getvalue())
        write_figure(picture, target / "samples.png")
    return images


def reconstruct(
    model: VAE, data: ImageDataset, folder: str | os.PathLike[str], n: int = 10, *, binarization: str = "none"
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
    picture = _reconstructions(model, as_trained(one_of_each(data, n), binarization))
    with _claimed(folder, ["reconstructions.png"], "reconstructions.png") as target:
        return write_figure(picture, target / "reconstructions.png")


def evaluate(
    model: VAE,
    data: ImageDataset,
    folder: str | os.PathLike[str],
    *,
    train: ImageDataset | None = None,
    num_samples: int = 500,
    include: Sequence[metrics.Group] = metrics.GROUPS,
    limit: int | None = None,
    inception: bool = False,
    batch_size: int = 512,
    seed: int = 0,
    progress: bool = False,
    metadata: Mapping[str, Any] | None = None,
) -> metrics.Evaluation:
    """Measure a model (see :func:`mnistvae.metrics.evaluate`) and write ``metrics.json`` and ``by_class.csv``.

    Args:
        model: a trained model.
        data: images that it was not trained on.
        folder: made if need be.
        train: the images that it was trained on.
        num_samples: importance samples an image.
        include: the families of figures wanted.
        limit: only so many of the images, and as many samples.
        inception: also judge samples by torchvision's Inception-v3.
        batch_size: images at once.
        seed: of every draw.
        progress: show a bar.
        metadata: what the model's file says beside the model; the images are binarized as it says.

    Raises:
        OutputError: the folder holds such files already, or cannot be written.
        MnistvaeError: what :func:`mnistvae.metrics.evaluate` raises.
    """
    if limit is not None:
        data = data[: check_count("limit as a number of images of at least 1", limit)]
    about = metadata or {}
    with _claimed(folder, ["metrics.json", "by_class.csv"], "metrics.json") as target:
        found = metrics.evaluate(
            model,
            data,
            train=train,
            num_samples=num_samples,
            binarization=about.get("binarization", "none"),
            include=include,
            inception=inception,
            batch_size=batch_size,
            seed=seed,
            progress=progress,
        )
        found = replace(found, protocol={**found.protocol, "recipe": about.get("recipe", "")})
        found.to_json(target / "metrics.json")
        if found.by_class:
            found.to_csv(target / "by_class.csv")
    return found


def report(
    model: VAE,
    data: ImageDataset,
    folder: str | os.PathLike[str],
    *,
    train: ImageDataset | None = None,
    history: str | os.PathLike[str] | None = None,
    num_samples: int = 50,
    umap: bool = False,
    limit: int | None = None,
    seed: int = 0,
    progress: bool = False,
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """Write everything about a model to a folder, see :func:`mnistvae.report.write_report`.

    Args:
        model: a trained model.
        data: images that it was not trained on.
        folder: made if need be.
        train: the images that it was trained on.
        history: the CSV file of its training; there need not be one.
        num_samples: importance samples an image.
        umap: also embed the codes by UMAP.
        limit: only so many of the images.
        seed: of every draw.
        progress: show a bar for each stage.
        metadata: what the model's file says beside the model; the images are binarized as it says.

    Returns:
        The path of the page.

    Raises:
        OutputError: the folder holds a report already, or cannot be written.
        MnistvaeError: what :func:`mnistvae.report.write_report` raises.
    """
    if limit is not None:
        data = data[: check_count("limit as a number of images of at least 1", limit)]
    about = dict(metadata or {})
    record = None
    if history is not None and Path(history).is_file():
        record = History.from_csv(history)
        record.tag = about.get("tag", "")
    with _claimed(folder, ["report.html", "metrics.json"], "report.html") as target:
        return write_report(
            model,
            data,
            target,
            train=train,
            history=record,
            binarization=about.get("binarization", "none"),
            about=about,
            num_samples=num_samples,
            umap=umap,
            seed=seed,
            progress=progress,
        )


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
        with _claimed(target, [f"{kind}.gif"], f"{kind}.gif"):
            stream = io.BytesIO()
            durations = [round(1000 / speed)] * (len(frames) - 1) + [2000]
            frames[0].save(
                stream, format="gif", save_all=True, append_images=frames[1:], duration=durations, loop=0, disposal=1
            )
            films.append(write_atomically(target / f"{kind}.gif", stream.getvalue()))
    return films


def sweep(
    recipe: Recipe,
    latent_dims: Sequence[int],
    train: ImageDataset,
    test: ImageDataset,
    folder: str | os.PathLike[str],
    *,
    training: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> analysis.Sweep:
    """Train a recipe with several sizes of the code (see :func:`mnistvae.analysis.sweep`), and write what came of it.

    Args:
        recipe: see :mod:`mnistvae.recipes`.
        latent_dims: at least two.
        train: images to train on.
        test: images to measure on.
        folder: made if need be; gets ``sweep.csv``, ``by_class.csv``, pictures of the figures by class, and the models.
        training: changes to the recipe's Trainer.
        seed: of weights, order and noise.

    Raises:
        OutputError: the folder holds such files already, or cannot be written.
        MnistvaeError: what :func:`mnistvae.analysis.sweep` raises.
    """
    with _claimed(folder, ["sweep.csv", "by_class.csv"], "sweep.csv") as target:
        found = analysis.sweep(recipe, "latent_dim", latent_dims, train, test, training=dict(training or {}), seed=seed)
        found.to_csv(target / "sweep.csv")
        for value, model in zip(found.values, found.models, strict=True):
            save(model, target / f"latent_dim-{value}.safetensors", {"recipe": recipe.name, "dataset": train.name})
        if all(one.by_class for one in found.evaluations):
            lines = ["latent_dim,class,mse,psnr"]
            for value, one in zip(found.values, found.evaluations, strict=True):
                lines += [f"{value},{int(row['class'])},{row['mse']},{row['psnr']}" for row in one.by_class]
            write_atomically(target / "by_class.csv", ("\n".join(lines) + "\n").encode())
            for name, unit in (("mse", "MSE"), ("psnr", "PSNR, dB")):
                groups = {
                    f"latent size {value}": {label: row[n] for label, row in found.by_class(name).items()}
                    for n, value in enumerate(found.values)
                }
                write_figure(class_bars(groups, unit), target / f"{name}_by_class.png")
    return found


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
    with _claimed(folder, ["model.safetensors", "samples.png"], "samples.png") as target:
        path = save(fitted, target / "model.safetensors", about)
        write_figure(_samples(fitted, seed), target / "samples.png")
    return path


def one_of_each(data: ImageDataset, n: int = 10) -> ImageDataset:
    """The first ``n`` images, going round the classes in order where there are labels."""
    if data.labels is None:
        return data[:n]
    # The k-th image of its class comes after all the (k-1)-th ones; a stable sort keeps the classes in order.
    order = torch.argsort(data.labels, stable=True)
    labels = data.labels[order]
    rank = torch.arange(len(labels)) - torch.searchsorted(labels, labels)
    return data[order[torch.argsort(rank, stable=True)][:n]]


def as_trained(data: ImageDataset, binarization: str) -> ImageDataset:
    """A few images as a model saw them in training: grey, or black and white (drawn once)."""
    if binarization == "none" or data.binarization != "none":
        return data
    return data.binarized("threshold" if binarization == "threshold" else "static")


def write_figure(figure: Figure, path: Path) -> Path:
    """A figure as PNG, atomically."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return write_atomically(path, stream.getvalue())


def _reconstructions(model: VAE, data: ImageDataset) -> Figure:
    labels = data.labels if model.num_classes is not None else None
    return reconstruction_grid(data.images, model.reconstruct(data.images, labels))


def _samples(model: VAE, seed: int) -> Figure:
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
    z = torch.tensor(at, dtype=model.dtype, device=model.device)
    with torch.no_grad(), evaluating(model):
        return model.decode(z, label).mean.clamp(0.0, 1.0)


def _columns(model: VAE) -> int:
    """Images in a row of samples: a column for each class, where the model has some and they fit."""
    return model.num_classes if model.num_classes is not None and 2 <= model.num_classes <= 20 else 8


def _check_channels(image_shape: ImageShape) -> None:
    if image_shape[0] not in {1, 3}:
        raise DataError(
            "images of 1 or 3 channels, which a run can draw",
            f"{image_shape[0]} channels",
            "train with mnistvae.Trainer, which takes any number, and draw the channels one by one",
        )


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


class _WriteStart(Callback):
    """Writes how the run is started, once everything is known to fit."""

    def __init__(self, path: Path, start: Start) -> None:
        self.path = path
        self.start = start

    def on_fit_start(self, state: State) -> None:
        write_atomically(self.path, to_json(to_spec(dict(vars(self.start))), "settings").encode())


@contextmanager
def _new_run(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """The folder of a run that starts; one that fails before its first checkpoint leaves nothing in it."""
    with _claimed(folder, RUN_FILES, "history.csv") as target:
        try:
            yield target
        except BaseException:
            with suppress(OSError):  # rmdir refuses a folder that is not empty
                for made in (CHECKPOINTS, EPOCHS):
                    if (target / made).exists():
                        (target / made).rmdir()
                (target / _START).unlink(missing_ok=True)
            raise


@contextmanager
def _unfinished(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """The folder of a run that was stopped."""
    target = Path(folder)
    if (target / "model.safetensors").exists():
        raise OutputError(f"a run that was stopped, in {target}", "a finished one", "start a new run")
    yield make_folder(target)


@contextmanager
def _claimed(folder: str | os.PathLike[str], names: Sequence[str], claim: str) -> Iterator[Path]:
    """The folder, writable and with none of the files that are about to be written, for one run at a time.

    The file ``claim`` is made at once, empty, so that a second run into the same folder finds it; it goes
    again if the block fails before anything is in it.
    """
    target = make_folder(folder)
    there = [name for name in names if (target / name).exists()]
    try:
        if not there:
            (target / claim).open("x").close()
    except FileExistsError:
        there = [claim]
    if there:
        raise OutputError(
            f"a folder without {there[0]}", f"{target}, which has one", "choose another --out, or move it away"
        )
    try:
        yield target
    except BaseException:
        if (target / claim).exists() and (target / claim).stat().st_size == 0:
            (target / claim).unlink()
        raise
