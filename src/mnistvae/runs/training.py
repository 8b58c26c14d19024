"""A training run as a folder: model, history, checkpoints and pictures."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnistvae._checks import check_count
from mnistvae._component import class_finder, from_spec, to_spec
from mnistvae._files import make_folder, write_atomically
from mnistvae.data import ImageDataset, as_trained, one_of_each
from mnistvae.errors import DataError, FileFormatError, OutputError
from mnistvae.images import ImageShape
from mnistvae.io import save, to_json
from mnistvae.models import VAE
from mnistvae.plotting import loss_curves
from mnistvae.recipes import Recipe
from mnistvae.runs import _folders as folders
from mnistvae.runs._folders import claimed
from mnistvae.runs.drawing import EPOCHS, draw_reconstructions, draw_samples
from mnistvae.training import Checkpoint, CSVLog, Doctor, History, SampleGrid, rank_here
from mnistvae.training.checkpoints import checkpoints_in

__all__ = ["CHECKPOINTS", "RUN_FILES", "Run", "Start", "read_start", "train"]

#: The folder of a run's checkpoints, in its own.
CHECKPOINTS = "checkpoints"
_START = "run.json"
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
                CSVLog(target / "history.csv"),
                Doctor(),
                *([SampleGrid(target / EPOCHS, every=every)] if every else []),
                Checkpoint(checkpoints),
            ],
        )
        if writes and not resume:  # before anything that takes time, so that what is killed can be resumed
            write_atomically(target / _START, to_json(to_spec(dict(vars(start))), "settings").encode())
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
        folders.write_figure(loss_curves(history), target / "loss.png")
        shown = as_trained(one_of_each(validation or data), metadata["binarization"])
        folders.write_figure(draw_reconstructions(model, shown), target / "reconstructions.png")
        folders.write_figure(draw_samples(model, seed), target / "samples.png")
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


def _check_channels(image_shape: ImageShape) -> None:
    if image_shape[0] not in {1, 3}:
        raise DataError(
            "images of 1 or 3 channels, which a run can draw",
            f"{image_shape[0]} channels",
            "train with mnistvae.Trainer, which takes any number, and draw the channels one by one",
        )


@contextmanager
def _new_run(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """The folder of a run that starts; one that fails before its first checkpoint leaves nothing in it."""
    with claimed(folder, RUN_FILES, "history.csv") as target:
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
