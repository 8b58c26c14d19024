"""The command ``mnistvae sweep``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mnistvae.commands._face import command
from mnistvae.commands._inputs import (
    Say,
    dataset_name,
    held_out_share,
    load_parts,
    print_nothing,
    recipe_names,
    resolve_recipe,
)
from mnistvae.commands._settings import parse_assignment, parse_value, parse_values
from mnistvae.commands._speech import telling_if_stopped
from mnistvae.commands.folder import RunFolder
from mnistvae.commands.provenance import Provenance
from mnistvae.errors import SettingError

if TYPE_CHECKING:
    from mnistvae.analysis import Sweep
    from mnistvae.data import ImageDataset
    from mnistvae.recipes import Recipe

__all__ = ["sweep"]

#: Sizes of the code that are compared where nothing else is asked for.
_SIZES = (5, 10, 15, 20)


def _options() -> list[click.Parameter]:
    """Options whose texts are settings."""
    several: dict[str, Any] = {"multiple": True}
    vary = "Values of a setting of the recipe or of the Trainer, such as beta=0.5,1,4, or for --trials a range, such "
    vary += "as beta=0.1..4 or learning_rate=1e-4..1e-2:log; may be given again."
    fixed = "Any other setting, the same for all, such as hidden=[64]; may be given again."
    betas = "Values of beta, or for --trials a range: short for --vary beta=..."
    return [
        click.Option(["--beta", "betas"], metavar="VALUES", help=betas),
        click.Option(["--vary", "varied"], metavar="NAME=VALUES", help=vary, **several),
        click.Option(["--set", "assignments"], metavar="NAME=VALUE", help=fixed, **several),
    ]


def _prepare(_: click.Context, values: dict[str, Any]) -> None:
    """Read the settings that vary, and the others."""
    vary: dict[str, Any] = {}
    betas = values.pop("betas")
    for text in (*([] if betas is None else [f"beta={betas}"]), *values.pop("varied")):
        name, value = parse_assignment("--vary", text, "beta=0.5,1,4")
        if name in vary:
            option = "--beta" if name == "beta" and betas is not None else f"--vary {name}=..."
            raise click.UsageError(f"values of {name} are given twice: put all of them into one {option}")
        vary[name] = parse_values(value)
    for text in values.pop("assignments"):
        name, value = parse_assignment("--set", text, "hidden=[64]")
        if name in values:
            raise click.UsageError(f"--set {name}=... is given twice, or has an option of its own: give it once")
        values[name] = parse_value(value)
    values["vary"] = vary


@command(helps={"recipe": recipe_names}, more=_options, prepare=_prepare)
def sweep(
    *,
    recipe: str | Recipe = "beta-conv",
    latent_dims: Sequence[int] | None = None,
    vary: Mapping[str, Any] | None = None,
    trials: int | None = None,
    storage: str | None = None,
    seeds: int = 1,
    score: str | None = None,
    dataset: str | ImageDataset = "mnist-mini",
    validation: ImageDataset | None = None,
    validation_split: float | None = None,
    data_root: str | Path | None = None,
    image_size: Sequence[int] | None = None,
    image_channels: int | None = None,
    max_value: float | None = None,
    epochs: int | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: bool = True,
    say: Say = print_nothing,
    **settings: Any,
) -> Sweep:
    """Train one recipe with several values of some settings, and name the best by its score on held-out images.

    Writes sweep.csv (each training), summary.csv (mean and spread over the seeds), sweep.png, and the models; where
    beta varies, rates and distortions as rate_distortion.png; where the images have labels, MSE and PSNR by class as
    by_class.csv, mse_by_class.png and psnr_by_class.png.
    The best is the one of the smallest values whose score is within one standard error of the best score.

    With --trials, Optuna chooses values from lists and ranges, stops early what others beat, and names the very best.
    With --storage, the same command in several processes works on one study, and goes on with one that was killed.

    Args:
        recipe: Recipe, or its name.
        latent_dims: Sizes of the code, at least two: short for --vary latent_dim=... (default: 5,10,15,20 where nothing
            else varies).
        vary: Values, at least two, or with ``trials`` a :class:`~mnistvae.analysis.Range`, by the name of a setting of
            the recipe or of the Trainer.
        trials: Number of trials by Optuna, those of all processes together (default: every combination).
        storage: Where Optuna keeps the study: a file, which may be on a shared disk, or a database's URL, such as
            sqlite:///study.db (default: nowhere).
        seeds: Number of trainings of each combination, with the seeds from --seed on.
        score: Score that chooses: negative_elbo or validation_loss, in nats, or a metric of evaluate (default: mse for
            sizes of the code alone, otherwise negative_elbo).
        dataset: Data set to train and measure on: mnist-mini or shapes (built in), mnist, fashion-mnist, kmnist,
            qmnist, emnist-..., mnist-50k, mnist-larochelle, omniglot-28, a folder of pictures, an .npz, IDX files, or
            my.module:load; in Python also images to train on.
        validation: Images to measure on, where ``dataset`` is not a name.
        validation_split: Share of the training images that measure and are not trained on (default: 0.1; mnist-50k and
            mnist-larochelle have images for it).
        data_root: Folder of data sets, in torchvision's layout (default: $MNISTVAE_DATA, then a cache folder).
        image_size: Height and width that images are brought to, or one number for both (default: as they are).
        image_channels: 1 for grey, 3 for colour (default: as they are).
        max_value: Value that is white in arrays of yours (.npz, IDX; default: 1 of floats, 255 of integers).
        epochs: Passes over the data, of each model (default: the recipe's).
        out: Folder for the files (default: runs/sweep-TIME).
        seed: First seed of weights, order and noise.
        device: Device: auto, cpu, cuda or mps.
        progress: Show each epoch.
        say: Called with each line that the command prints.
        **settings: Other changes to the recipe's model and to its Trainer.

    Returns:
        The models and their figures.

    Raises:
        OutputError: If the folder holds such files already, or cannot be written.
        MnistvaeError: As :func:`mnistvae.analysis.sweep` and :func:`mnistvae.analysis.search` raise.
    """
    chosen = resolve_recipe(recipe)  # before torch is imported
    varied = _varied(latent_dims, vary, settings)
    from mnistvae import analysis
    from mnistvae.commands._swept import Swept, tell_trial

    settings |= {} if epochs is None else {"epochs": epochs}
    form = tuple(image_size or ()), image_channels, max_value
    share = _share(validation_split, dataset, validation)
    record = replace(_record(recipe, dataset, form, settings, seed), validation_split=share)
    data, measured = load_parts(dataset, validation, record, data_root)
    if measured is None:
        raise SettingError("images to choose by", "a share of 0", "0.1 is a tenth of the training images")
    score = score or ("mse" if list(varied) == ["latent_dim"] and trials is None else "negative_elbo")
    run: Callable[..., Sweep] = analysis.sweep
    if trials is not None or storage is not None:
        told = partial(tell_trial, by=score, say=say)
        run = partial(analysis.search, trials=trials, storage=storage, done=told)
    training = {**record.training, "device": device, "progress": progress}
    how: dict[str, Any] = {"score": score, "settings": record.settings, "training": training, "seeds": seeds}
    with RunFolder.claim(out, RunFolder.SWEPT, name="sweep") as folder:
        with telling_if_stopped(_kept(storage)):
            found = run(chosen, varied, data, measured, seed=seed, **how)
        swept = Swept(chosen, record, found, data, measured, device, data_root)
        swept.write(folder)
    swept.tell(folder, say)
    return found


def _kept(storage: str | None) -> str:
    """A sentence on the trials that are kept of a sweep when it is stopped."""
    if storage is None:
        return "nothing is kept of a sweep that is stopped: with --storage FILE the same command goes on with it"
    return f"the trials that are done are in {storage}: the same command goes on"


def _varied(
    latent_dims: Sequence[int] | None, vary: Mapping[str, Any] | None, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """All that varies, by name."""
    varied = dict(vary or {})
    if latent_dims is None and not varied:
        latent_dims = _SIZES
    if latent_dims is not None:
        if "latent_dim" in varied:
            raise SettingError("sizes of the code once", "`latent_dims` and `vary`", "leave one of them out")
        varied = {"latent_dim": tuple(latent_dims), **varied}
    twice = [name for name in varied if name in settings]
    if twice:
        raise SettingError(f"{twice[0]} to vary, or as a setting for all", "both", "leave one of them out")
    return varied


def _record(
    recipe: str | Recipe,
    dataset: str | ImageDataset,
    form: tuple[tuple[int, ...], int | None, float | None],
    settings: Mapping[str, Any],
    seed: int,
) -> Provenance:
    """The record of what all trainings have in common; settings that the Trainer has are the Trainer's."""
    from mnistvae.training import Trainer

    known = Trainer.setting_names()
    return Provenance(
        recipe=recipe if isinstance(recipe, str) else recipe.name,
        dataset=dataset_name(dataset),
        image_size=form[0],
        image_channels=form[1],
        max_value=form[2],
        settings={name: value for name, value in settings.items() if name not in known},
        training={name: value for name, value in settings.items() if name in known},
        seed=seed,
    )


def _share(share: float | None, dataset: str | ImageDataset, validation: ImageDataset | None) -> float | None:
    """The share of the training images that are held out: what chooses must not be what tests."""
    return held_out_share(share, {"patience": 1}, dataset, validation)  # patience chooses by them, too
