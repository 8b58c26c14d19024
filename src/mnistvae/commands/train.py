"""The command ``mnistvae train``: a training run as a folder of model, history, checkpoints and pictures."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mnistvae._checks import check_count
from mnistvae.commands._face import Parameter, annotation_text, command, option, parameters_of_source
from mnistvae.commands._inputs import Say, load_part, recipe_names, resolve_recipe, settings_text, silent
from mnistvae.commands.folder import RunFolder
from mnistvae.commands.provenance import Provenance
from mnistvae.errors import DataError, SettingError
from mnistvae.recipes import RECIPES, Option, options

if TYPE_CHECKING:
    from mnistvae.data import ImageDataset
    from mnistvae.models import VAE
    from mnistvae.recipes import Recipe
    from mnistvae.training import History, Trainer

__all__ = ["Run", "train"]

#: Help texts of settings of which the Trainer's documentation speaks to those who write Python.
_HELPS = {
    "compile": "Compile the step: worth its seconds in long runs only.",
    "cuda_graph": "On an NVIDIA GPU: record the step and play it back.",
    "schedule": "Course of the learning rate over the run.",
    "binarization": "What is done to grey pixels first: dynamic draws them anew at each step.",
    "precision": "Precision of products; auto: bf16 where the device has instructions for it.",
}


@dataclass(frozen=True)
class Run:
    """A finished training run."""

    folder: RunFolder
    model: VAE
    history: History


def _setting_options() -> list[click.Parameter]:
    """Options for the settings of the recipes' models and of the Trainer; those that are not given are None."""
    settings = [
        Parameter(one.name, annotation_text(one.annotation), None, _help_of(one)) for one in options(RECIPES.values())
    ]
    taken = {one.name for one in settings} | inspect.signature(train).parameters.keys()
    settings += [one for one in parameters_of_source("training/trainer.py", "Trainer") if one.name not in taken]
    texts = (one._replace(help=_HELPS.get(one.name, one.help)) for one in settings)
    return [made for made in map(option, texts) if made is not None]


def _help_of(setting: Option) -> str:
    """A line about a setting, with the recipes that have it where they are few."""
    few = f" ({', '.join(setting.recipes)})." if len(setting.recipes) <= 4 else "."
    return setting.help.removesuffix(".") + few


def _prepare(context: click.Context, values: dict[str, Any]) -> None:
    """Leave the settings out that are not given; with ``--resume`` none may be, since the run has its own."""
    if values["resume"] is not None:
        for one in context.command.params:
            name = one.name or ""
            given = context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
            if given and name not in {"resume", "data_root", "device", "progress"}:
                raise click.UsageError(f"--resume goes on with the run's own settings: leave {one.opts[0]} out")
    own = inspect.signature(train).parameters
    for name in [name for name, value in values.items() if value is None and name not in own]:
        del values[name]


@command(helps={"recipe": recipe_names()}, more=_setting_options, prepare=_prepare)
def train(
    *,
    recipe: str | Recipe = "conv",
    dataset: str | ImageDataset = "mnist-mini",
    validation: ImageDataset | None = None,
    data_root: Path | None = None,
    out: Path | None = None,
    resume: Path | None = None,
    seed: int = 0,
    samples_every: int = 1,
    device: str = "auto",
    progress: bool = True,
    say: Say = silent,
    **settings: Any,
) -> Run:
    """Train a model and draw what it learned.

    The run's folder gets model.safetensors, history.csv (which grows by a line each epoch), loss.png,
    reconstructions.png, samples.png, checkpoints, and in epochs what the model drew after each epoch.
    Settings that are left out are the recipe's.
    Ctrl-C finishes the step and saves; --resume goes on from there, as if it had never been stopped.

    Args:
        recipe: Recipe, or its name; a conditional one takes its number of classes from the data.
        dataset: Data set to train on and to validate with: mnist-mini (built in), mnist, fashion-mnist, kmnist, qmnist
            or emnist-...; in Python also images to train on.
        validation: Images to validate with, where ``dataset`` is not a name.
        data_root: Folder of data sets, in torchvision's layout (default: $MNISTVAE_DATA, then a cache folder).
        out: Folder of the run (default: runs/RECIPE-TIME).
        resume: Go on with the run in this folder.
        seed: Seed of weights, order and noise.
        samples_every: Epochs between two pictures of samples in the folder epochs; 0 for none.
        device: Device: auto, cpu, cuda or mps.
        progress: Show each epoch.
        say: Called with each line that the command prints.
        **settings: Changes to the recipe's model and to its Trainer.

    Returns:
        The run's folder, model and history.

    Raises:
        OutputError: If the folder holds a run already (or, to resume, a finished one), or cannot be written.
        FileFormatError: If there is no run to resume.
        Interrupted: After Ctrl-C or SIGTERM, when the step is done and a checkpoint is written.
        MnistvaeError: As model, Trainer and data raise.
    """
    chosen = resolve_recipe(recipe)  # before torch is imported
    from mnistvae.training import rank_here, restarted

    writes = rank_here() == 0
    say = say if writes else silent  # what the first process says is enough
    if resume is None and restarted() and out is not None and RunFolder(out).record.exists():
        resume, settings = out, {}  # this process is there in place of one that failed
    if resume is None:
        record = _record(chosen, recipe, dataset, settings, seed, samples_every)
    elif settings:
        raise SettingError("no settings to resume with", ", ".join(settings), "leave them out: the run has its own")
    else:
        record = RunFolder(resume).read_record()
        recipe = recipe if not isinstance(recipe, str) else record.recipe or recipe
        dataset = dataset if not isinstance(dataset, str) else record.dataset or dataset
        chosen = resolve_recipe(recipe)
    if isinstance(dataset, str):
        validation = load_part(dataset, "test", data_root)
    data = load_part(dataset, "train", data_root)
    chosen.check(record.settings)
    effective = {**chosen.settings, **record.settings, **chosen.training, **record.training, "seed": record.seed}
    say(f"recipe {chosen.name}: {chosen.summary}")
    say(f"data {record.dataset}: {len(data):,} images to train on, {len(validation or ()):,} to validate")
    say(f"settings {settings_text(effective)}")
    with _folder(out, resume, chosen.name, writes=writes) as folder:
        begun = resume is not None
        model, history = _fit(chosen, record, data, validation, folder, device, progress=progress, resume=begun)
    _say_what_is_next(folder, chosen, say)
    return Run(folder, model, history)


def _record(
    chosen: Recipe,
    recipe: str | Recipe,
    dataset: str | ImageDataset,
    settings: Mapping[str, Any],
    seed: int,
    samples_every: int,
) -> Provenance:
    """The record of a run that starts; settings that the Trainer has are the Trainer's."""
    from mnistvae.training import Trainer

    known = inspect.signature(Trainer).parameters
    return Provenance(
        recipe=recipe if isinstance(recipe, str) else chosen.name,
        dataset=dataset if isinstance(dataset, str) else dataset.name,
        settings={name: value for name, value in settings.items() if name not in known},
        training={name: value for name, value in settings.items() if name in known},
        seed=seed,
        samples_every=check_count("samples_every as a number of epochs of at least 0", samples_every, least=0),
    )


@contextmanager
def _folder(out: Path | None, resume: Path | None, name: str, *, writes: bool) -> Iterator[RunFolder]:
    """The run's folder; whoever stops the run is told how to go on."""
    from mnistvae.training import Interrupted

    if not writes:  # a process that leaves it to the first one
        place: AbstractContextManager[RunFolder] = nullcontext(RunFolder(resume or out or Path()))
    elif resume is not None:
        place = RunFolder(resume).go_on()
    else:
        place = RunFolder.claim(out, RunFolder.TRAINED, lock="history.csv", name=name)
    with place as folder:
        try:
            yield folder
        except Interrupted as error:
            size = os.environ.get("WORLD_SIZE", "1")
            verb = "mnistvae" if size == "1" else f"torchrun --nproc-per-node={size} -m mnistvae"
            error.add_note(f"go on with:\n  {verb} train --resume {folder.path}")
            raise


def _fit(
    recipe: Recipe,
    record: Provenance,
    data: ImageDataset,
    validation: ImageDataset | None,
    folder: RunFolder,
    device: str,
    *,
    progress: bool,
    resume: bool,
) -> tuple[VAE, History]:
    """Train, and leave model and pictures in the folder, if this process writes."""
    from mnistvae.training import Checkpoint, CSVLog, Doctor, SampleGrid, rank_here
    from mnistvae.training.checkpoints import checkpoints_in

    if data.image_shape[0] not in {1, 3}:
        raise DataError(
            "images of 1 or 3 channels, which a run can draw",
            f"{data.image_shape[0]} channels",
            "train with mnistvae.Trainer, which takes any number, and draw the channels one by one",
        )
    writes, every = rank_here() == 0, record.samples_every or 0
    seed = {} if record.seed is None else {"seed": record.seed}
    model = recipe.model(image_shape=data.image_shape, num_classes=data.num_classes or 1, **seed, **record.settings)
    pictures = [SampleGrid(folder.epochs, every=every)] if every else []
    trainer = recipe.trainer(
        **{**record.training, **seed, "device": device, "progress": progress},
        callbacks=[CSVLog(folder.history), Doctor(), *pictures, Checkpoint(folder.checkpoints)],
    )
    here = record.on(data, device)
    if writes and not resume:  # before anything that takes time, so that what is killed can be resumed
        folder.write_record(here)
    # A run that was stopped before its first checkpoint starts again.
    begun = folder.checkpoints if resume and checkpoints_in(folder.checkpoints) else None
    history = trainer.fit(model, data, validation, resume=begun)
    if writes:
        _write(model, history, trainer, here, data, validation, folder)
    return model, history


def _write(
    model: VAE,
    history: History,
    trainer: Trainer,
    record: Provenance,
    data: ImageDataset,
    validation: ImageDataset | None,
    folder: RunFolder,
) -> None:
    """Write the model, then its pictures."""
    from mnistvae.commands._pictures import draw_reconstructions, draw_samples
    from mnistvae.io import save
    from mnistvae.plotting import loss_curves

    done = replace(
        record,
        binarization=trainer.binarization if data.binarization == "none" else data.binarization,
        epochs=len(history),
        batch_size=trainer.batch_size,
        learning_rate=trainer.learning_rate,
        tag=history.tag,
        last_epoch=history[-1],
    )
    save(model, folder.model, done.to_metadata())
    folder.draw("loss.png", loss_curves(history))
    folder.draw("reconstructions.png", draw_reconstructions(model, validation or data, done.binarization))
    folder.draw("samples.png", draw_samples(model, record.seed or 0))


def _say_what_is_next(folder: RunFolder, recipe: Recipe, say: Say) -> None:
    say(f"\nwrote to {folder.path}:")
    for file in RunFolder.TRAINED:
        say(f"  {folder.path / file}")
    label = " --label 3" if recipe.conditional else ""
    say(
        f"next:\n  mnistvae generate {folder.model}{label}\n  mnistvae reconstruct {folder.model}\n"
        f"  mnistvae info {folder.model}"
    )
