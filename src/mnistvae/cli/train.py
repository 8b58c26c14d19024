"""``mnistvae train``."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from mnistvae import recipes
from mnistvae.cli.options import (
    IntTuple,
    NumberOrWord,
    data_options,
    device_option,
    out_option,
    seed_option,
    setting_text,
)

__all__ = ["train"]

_MODEL_OPTIONS = [
    click.option("--latent-dim", type=int, help="Size of the code."),
    click.option("--beta", type=float, help="Weight of the KL term; 1 is the evidence lower bound."),
    click.option("--hidden", type=IntTuple, help="Widths of the hidden layers of a fully connected recipe."),
    click.option("--channels", type=IntTuple, help="Channels of the convolutions of a convolutional recipe."),
    click.option(
        "--activation", type=click.Choice(["relu", "tanh"]), help="Between the layers of a recipe that says so."
    ),
    click.option("--leak", type=float, help="Slope below zero of a recipe with LeakyReLU."),
    click.option("--dropout", type=float, help="Share dropped in a residual recipe's decoder, while training."),
    click.option("--sigma", type=NumberOrWord, help="Of normal pixels: a number, learned or per-pixel."),
    click.option("--num-samples", type=int, help="Codes an image, of an importance-weighted recipe."),
    click.option("--components", type=int, help="Of a VampPrior."),
    click.option("--transforms", type=int, help="Of a flow prior."),
    click.option("--warmup", type=int, help="Steps over which beta grows, of a recipe that says so."),
]
_TRAINER_OPTIONS = [
    click.option("--epochs", type=int, help="Passes over the data."),
    click.option("--steps", type=int, help="Steps after which training ends, if that is sooner."),
    click.option("--minutes", type=float, help="Minutes after which training ends, if that is sooner."),
    click.option("--batch-size", type=int, help="Images a batch."),
    click.option("--learning-rate", type=float, help="Of Adam; the peak of its schedule."),
    click.option("--schedule", type=click.Choice(["cosine", "one-cycle"]), help="Of the learning rate."),
    click.option("--clip-norm", type=float, help="Largest norm of the gradient."),
    click.option("--ema", type=float, help="Decay of an average of the weights, which is what is kept."),
    click.option("--accumulate", type=int, help="Batches a step."),
    click.option("--patience", type=int, help="Validations without a lower loss that are waited for."),
    click.option("--validate-every", type=int, help="Epochs between two validations."),
    click.option(
        "--precision", type=click.Choice(["fp32", "bf16", "auto"]), help="Of products; auto: as the device has it."
    ),
    click.option("--compile/--no-compile", default=None, help="Compile the step: worth its seconds in long runs only."),
    click.option(
        "--cuda-graph/--no-cuda-graph", default=None, help="On an NVIDIA GPU: record the step and play it back."
    ),
    click.option(
        "--binarization",
        type=click.Choice(["none", "static", "dynamic", "threshold"]),
        help="What is done to grey pixels first: dynamic draws them anew at each step.",
    ),
]


def _all(options: list[Callable[..., Any]]) -> Callable[..., Any]:
    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return add


@click.command()
@click.option("--recipe", default="conv", show_default=True, metavar="NAME", help=f"{', '.join(recipes.names())}.")
@data_options("mnist-mini")
@out_option("The run's own folder.  [default: runs/RECIPE-TIME]")
@click.option("--resume", type=click.Path(path_type=Path), metavar="DIR", help="Go on with the run in this folder.")
@_all(_MODEL_OPTIONS)
@_all(_TRAINER_OPTIONS)
@seed_option
@click.option(
    "--samples-every",
    type=int,
    default=1,
    show_default=True,
    metavar="N",
    help="Epochs between two pictures of samples in the folder epochs; 0 for none.",
)
@device_option
@click.option("--progress/--no-progress", default=True, show_default=True, help="Show each epoch.")
@click.pass_context
def train(
    context: click.Context,
    /,
    recipe: str,
    dataset: str | None,
    data_root: Path | None,
    out: Path | None,
    resume: Path | None,
    seed: int,
    samples_every: int,
    device: str,
    progress: bool,
    **settings: Any,
) -> None:
    """Train a model and draw what it learned.

    The run's folder gets model.safetensors, history.csv (which grows by a line each epoch), loss.png,
    reconstructions.png, samples.png, checkpoints, and in epochs what the model drew after each epoch.
    Settings that are left out are the recipe's.
    Ctrl-C finishes the step and saves; --resume goes on from there, as if it had never been stopped.
    """
    recipes.get(recipe)  # before torch is imported
    from mnistvae import runs
    from mnistvae._files import output_folder
    from mnistvae.data import load_dataset
    from mnistvae.training import Interrupted, Trainer, rank_here, restarted

    given = {name: value for name, value in settings.items() if value is not None}
    of_trainer = inspect.signature(Trainer).parameters
    training = {name: given.pop(name) for name in list(given) if name in of_trainer}
    start = runs.Start(recipe, dataset or "mnist-mini", given, training, seed, samples_every)
    if resume is not None:
        _check_alone(context)
    elif restarted() and out is not None and (out / "run.json").exists():
        resume = out  # this process is there in place of one that failed
    if resume is not None:
        start = runs.read_start(resume)
    chosen = recipes.get(start.recipe)
    data, validation = (load_dataset(start.dataset, split, data_root) for split in ("train", "test"))
    chosen.check(start.settings)
    effective = {**chosen.settings, **start.settings, **chosen.training, **start.training, "seed": start.seed}
    first = rank_here() == 0
    say: Callable[..., None] = click.echo if first else _say_nothing
    say(f"recipe {chosen.name}: {chosen.summary}")
    say(f"data {start.dataset}: {len(data):,} images to train on, {len(validation):,} to validate")
    say("settings " + ", ".join(f"{key}={setting_text(value)}" for key, value in effective.items()))
    with output_folder(resume or out, "runs", chosen.name) if first else nullcontext(resume or out or Path()) as folder:
        try:
            run = runs.train(
                chosen,
                data,
                validation,
                folder,
                settings=start.settings,
                training=start.training,
                seed=start.seed,
                samples_every=start.samples_every,
                device=device,
                progress=progress,
                resume=resume is not None,
            )
        except Interrupted as error:
            size = os.environ.get("WORLD_SIZE", "1")
            command = "mnistvae" if size == "1" else f"torchrun --nproc-per-node={size} -m mnistvae"
            say(f"\n{error.what}; go on with:\n  {command} train --resume {folder}", err=True)
            context.exit(128 + error.signal_number)
    model = run.folder / "model.safetensors"
    say(f"\nwrote to {run.folder}:")
    for file in runs.RUN_FILES:
        say(f"  {run.folder / file}")
    label = " --label 3" if chosen.conditional else ""
    say(f"next:\n  mnistvae generate {model}{label}\n  mnistvae reconstruct {model}\n  mnistvae info {model}")


def _say_nothing(message: object = None, *, err: bool = False) -> None:
    """What the first process says is enough."""


def _check_alone(context: click.Context) -> None:
    """A resumed run has the settings that it was started with."""
    for option in context.command.params:
        name = option.name or ""
        chosen = context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        if chosen and name not in {"resume", "data_root", "device", "progress"}:
            raise click.UsageError(f"--resume goes on with the run's own settings: leave {option.opts[0]} out")
