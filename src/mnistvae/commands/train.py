"""The command ``mnistvae train``: a training run as a folder of model, history, checkpoints and pictures."""

from __future__ import annotations

import inspect
from collections.abc import Container, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mnistvae._checks import check_count
from mnistvae.commands._face import Parameter, annotation_text, command, option, parameters_of_source
from mnistvae.commands._inputs import (
    Say,
    dataset_name,
    held_out_share,
    load_parts,
    print_nothing,
    recipe_names,
    resolve_recipe,
    run_folder,
)
from mnistvae.commands._settings import parse_assignment, parse_value
from mnistvae.commands.folder import RunFolder, read_record
from mnistvae.commands.provenance import Provenance
from mnistvae.errors import ComponentError, SettingError

if TYPE_CHECKING:
    from mnistvae.data import ImageDataset
    from mnistvae.models import VAE
    from mnistvae.recipes import Option, Recipe
    from mnistvae.training import Callback, History

__all__ = ["Run", "train"]

#: Help texts of settings of which the Trainer's documentation speaks to those who write Python.
_HELPS = {
    "compile": "Compile the step: worth its seconds in long runs only.",
    "cuda_graph": "On an NVIDIA GPU: record the step and play it back.",
    "schedule": "Course of the learning rate over the run.",
    "binarization": "What is done to grey pixels first: dynamic draws them anew at each step.",
    "precision": "Precision of products; auto: bf16 where the device has instructions for it.",
}

#: What a run takes over from another one's record, besides settings and callbacks.
_TAKEN_OVER = (
    *("recipe", "dataset", "image_size", "image_channels", "max_value", "validation_split", "seed", "samples_every"),
)


@dataclass(frozen=True)
class Run:
    """A finished training run."""

    folder: RunFolder
    model: VAE
    history: History


def _setting_options() -> list[click.Parameter]:
    """Options for the settings of the recipes' models and of the Trainer; those that are not given are None."""
    from mnistvae.recipes import RECIPES, options

    settings = [
        Parameter(one.name, annotation_text(one.annotation), None, _help_of(one)) for one in options(RECIPES.values())
    ]
    taken = {one.name for one in settings} | inspect.signature(train).parameters.keys()
    settings += [one for one in parameters_of_source("training/trainer.py", "Trainer") if one.name not in taken]
    texts = (one._replace(help=_HELPS.get(one.name, one.help)) for one in settings)
    found = [made for made in map(option, texts) if made is not None]
    text = "Any setting of the recipe or of the Trainer, such as width=32 or sizes=[8,4]; may be given again."
    found.append(click.Option(["--set", "assignments"], multiple=True, metavar="NAME=VALUE", help=text))
    text = "Take what is not given from the run.json of another run (or its folder), which says all that made it."
    return [*found, click.Option(["--config"], type=click.Path(path_type=Path), metavar="FILE", help=text)]


def _help_of(setting: Option) -> str:
    """A line about a setting, with the recipes that have it where they are few."""
    few = f" ({', '.join(setting.recipes)})." if len(setting.recipes) <= 4 else "."
    return setting.help.removesuffix(".") + few


def _prepare(context: click.Context, values: dict[str, Any]) -> None:
    """Leave the settings out that are not given and add those of ``--set``; with ``--resume`` there may be none."""
    given = {
        one.name or "": one.opts[0]
        for one in context.command.params
        if context.get_parameter_source(one.name or "") is click.core.ParameterSource.COMMANDLINE
    }
    if values["resume"] is not None:
        for name, flag in given.items():
            if name not in {"resume", "data_root", "device", "progress", "quiet", "threads"}:
                raise click.UsageError(f"--resume goes on with the run's own settings: leave {flag} out")
    config = values.pop("config")
    own = inspect.signature(train).parameters
    for name in [name for name, value in values.items() if value is None and name not in own]:
        del values[name]
    for text in values.pop("assignments"):
        name, value = parse_assignment("--set", text, "width=32")
        if name in own or name in values:
            raise click.UsageError(
                f"--set {name}=... and --{name.replace('_', '-')} are the same: give one of them, once"
            )
        values[name] = parse_value(value)
    if config is not None:
        _take_over(read_record(config), values, given)


def _take_over(record: Provenance, values: dict[str, Any], given: Container[str]) -> None:
    """Set what is not given to what made another run."""
    for name in _TAKEN_OVER:
        if name not in given and getattr(record, name) not in (None, ()):
            values[name] = getattr(record, name)
    if "callbacks" not in given:
        values["callbacks"] = record.callbacks
    recipe = () if "recipe" in given else record.settings.items()  # another recipe has other settings
    for name, value in (*recipe, *record.training.items()):
        values.setdefault(name, value)


@command(helps={"recipe": recipe_names}, options={"callbacks": "--callback"}, more=_setting_options, prepare=_prepare)
def train(
    *,
    recipe: str | Recipe = "conv",
    dataset: str | ImageDataset = "mnist-mini",
    validation: ImageDataset | None = None,
    validation_split: float | None = None,
    data_root: str | Path | None = None,
    image_size: Sequence[int] | None = None,
    image_channels: int | None = None,
    max_value: float | None = None,
    out: str | Path | None = None,
    resume: str | Path | None = None,
    seed: int = 0,
    samples_every: int = 1,
    device: str = "auto",
    progress: bool = True,
    callbacks: Sequence[str | Callback] = (),
    say: Say = print_nothing,
    **settings: Any,
) -> Run:
    """Train a model and draw what it learned.

    The run's folder gets model.safetensors, history.csv (which grows by a line each epoch), loss.png,
    reconstructions.png, samples.png, checkpoints, and in epochs what the model drew after each epoch.
    Settings that are left out are the recipe's.
    Ctrl-C finishes the step and saves; --resume goes on from there, as if it had never been stopped.

    Args:
        recipe: Recipe, or its name; a conditional one takes its number of classes from the data.
        dataset: Data set to train on: mnist-mini or shapes (built in), mnist, fashion-mnist, kmnist, qmnist,
            emnist-..., mnist-50k, mnist-larochelle, omniglot-28, a folder of pictures, an .npz, IDX files, or
            my.module:load; in Python also images to train on.
        validation: Images to validate with, where ``dataset`` is not a name.
        validation_split: Share of the training images that validate and are not trained on, such as 0.1; 0 for none
            (default: mnist-50k and mnist-larochelle have images for it; of others the test images validate, or with
            patience, which would choose by them, 0.1 of the training images).
        data_root: Folder of data sets, in torchvision's layout (default: $MNISTVAE_DATA, then a cache folder).
        image_size: Height and width that images are brought to, or one number for both (default: as they are).
        image_channels: 1 for grey, 3 for colour (default: as they are).
        max_value: Value that is white in arrays of yours (.npz, IDX; default: 1 of floats, 255 of integers).
        out: Folder of the run (default: runs/RECIPE-TIME).
        resume: Go on with the run in this folder.
        seed: Seed of weights, order and noise.
        samples_every: Epochs between two pictures of samples in the folder epochs; 0 for none.
        device: Device: auto, cpu, cuda or mps.
        progress: Show each epoch.
        callbacks: A callback of your own, as my.module:NAME: an instance, or a class or function that makes one; may be
            given again.
        say: Called with each line that the command prints.
        **settings: Changes to the recipe's model and to its Trainer.

    Returns:
        The run's folder, model and history.

    Raises:
        OutputError: If the folder holds a run already (or, to resume, a finished one), or cannot be written.
        FileFormatError: If there is no run to resume.
        Interrupted: When Ctrl-C or SIGTERM came, after the step under way and a checkpoint.
        MnistvaeError: As model, Trainer and data raise.
    """
    chosen = resolve_recipe(recipe)  # before torch is imported
    from mnistvae.commands._plan import Plan, open_run_folder, resolve_callback
    from mnistvae.devices import resolve_device
    from mnistvae.training import rank_here, restarted

    writes = rank_here() == 0
    say = say if writes else print_nothing  # what the first process says is enough
    if resume is None and restarted() and out is not None and RunFolder(out).record.exists():
        resume, settings = out, {}  # this process is there in place of one that failed
    if resume is None:
        every = check_count("samples_every as a number of epochs of at least 0", samples_every, least=0)
        record = _record(recipe, dataset, image_size, image_channels, max_value, callbacks, settings, seed, every)
        share = held_out_share(validation_split, record.training, dataset, validation)
        record = replace(record, validation_split=share)
    else:
        resume = run_folder(resume)
        record = _record_to_resume(resume, settings, seed=seed, samples_every=samples_every)
        recipe = record.recipe or recipe if isinstance(recipe, str) else recipe
        dataset = record.dataset or dataset if isinstance(dataset, str) else dataset
        chosen, callbacks = resolve_recipe(recipe), callbacks or record.callbacks
    chosen.check(record.settings)
    chosen.trainer(**record.training, device=resolve_device(device))  # raises before data are read, which takes long
    data, validation = load_parts(dataset, validation, record, data_root)
    own = [resolve_callback(one) for one in callbacks]
    plan = Plan(chosen, record, data, validation, own, device, progress=progress, resume=resume is not None)
    plan.describe(say)
    with open_run_folder(out, resume, chosen.name, writes=writes) as folder:
        model, history = plan.run(folder, writes=writes)
    plan.say_what_is_next(folder, model, say)
    return Run(folder, model, history)


def _record(
    recipe: str | Recipe,
    dataset: str | ImageDataset,
    image_size: Sequence[int] | None,
    image_channels: int | None,
    max_value: float | None,
    callbacks: Sequence[str | Callback],
    settings: Mapping[str, Any],
    seed: int,
    samples_every: int,
) -> Provenance:
    """The record of a run that starts, with the recipe's settings; those that the Trainer has are the Trainer's."""
    from mnistvae.training import Trainer

    known = Trainer.setting_names()
    chosen = resolve_recipe(recipe)
    names = [one if isinstance(one, str) else f"{type(one).__module__}:{type(one).__qualname__}" for one in callbacks]
    return Provenance(
        recipe=recipe if isinstance(recipe, str) else recipe.name,
        dataset=dataset_name(dataset),
        image_size=tuple(image_size or ()),
        image_channels=image_channels,
        max_value=max_value,
        settings=_told(chosen.settings) | {name: value for name, value in settings.items() if name not in known},
        training=_told(chosen.training) | {name: value for name, value in settings.items() if name in known},
        seed=seed,
        samples_every=samples_every,
        callbacks=tuple(names),
    )


def _record_to_resume(folder: Path, settings: Mapping[str, Any], *, seed: int, samples_every: int) -> Provenance:
    """The record of a run to go on with, which has settings, a seed and a number of its own."""
    record = RunFolder(folder).read_record()
    own = inspect.signature(train).parameters
    other = [name for name, value in (("seed", seed), ("samples_every", samples_every)) if value != own[name].default]
    other = [*settings, *(name for name in other if getattr(record, name) != {"seed": seed}.get(name, samples_every))]
    if other:
        raise SettingError("no settings to resume with", ", ".join(other), "leave them out: the run has its own")
    return record


def _told(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a recipe that JSON can hold; a function is the recipe's own."""
    from mnistvae._component import to_spec

    found = {}
    for name, value in settings.items():
        with suppress(ComponentError):
            to_spec(value)
            found[name] = value
    return found
