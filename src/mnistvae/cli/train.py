"""``mnistvae train``."""

from __future__ import annotations

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


@click.command()
@click.option("--recipe", default="conv", show_default=True, metavar="NAME", help=f"{', '.join(recipes.names())}.")
@data_options("mnist-mini")
@out_option("The run's own folder.  [default: runs/RECIPE-TIME]")
@click.option("--epochs", type=int, help="Passes over the data.")
@click.option("--batch-size", type=int, help="Images a step.")
@click.option("--learning-rate", type=float, help="Of Adam.")
@click.option("--latent-dim", type=int, help="Size of the code.")
@click.option("--beta", type=float, help="Weight of the KL term; 1 is the evidence lower bound.")
@click.option("--hidden", type=IntTuple, help="Widths of the hidden layers of a fully connected recipe.")
@click.option("--channels", type=IntTuple, help="Channels of the convolutions of a convolutional recipe.")
@click.option("--activation", type=click.Choice(["relu", "tanh"]), help="Between the layers of a recipe that says so.")
@click.option("--leak", type=float, help="Slope below zero of a recipe with LeakyReLU.")
@click.option("--dropout", type=float, help="Share dropped in a residual recipe's decoder, while training.")
@click.option("--sigma", type=NumberOrWord, help="Of normal pixels: a number, learned or per-pixel.")
@click.option("--num-samples", type=int, help="Codes an image, of an importance-weighted recipe.")
@click.option("--components", type=int, help="Of a VampPrior.")
@click.option("--transforms", type=int, help="Of a flow prior.")
@click.option("--warmup", type=int, help="Steps over which beta grows, of a recipe that says so.")
@click.option(
    "--binarization",
    type=click.Choice(["none", "static", "dynamic", "threshold"]),
    help="What is done to grey pixels first: dynamic draws them anew at each step.",
)
@seed_option
@device_option
@click.option("--progress/--no-progress", default=True, show_default=True, help="Show each epoch.")
def train(
    recipe: str,
    dataset: str | None,
    data_root: Path | None,
    out: Path | None,
    epochs: int | None,
    batch_size: int | None,
    learning_rate: float | None,
    binarization: str | None,
    seed: int,
    device: str,
    progress: bool,
    **settings: Any,
) -> None:
    """Train a model and draw what it learned.

    The run's folder gets model.safetensors, history.csv (which grows by a line each epoch), loss.png,
    reconstructions.png and samples.png. Settings that are left out are the recipe's.
    """
    chosen = recipes.get(recipe)
    from mnistvae import runs
    from mnistvae._files import output_folder
    from mnistvae.data import load_dataset

    name = dataset or "mnist-mini"
    data, validation = (load_dataset(name, split, data_root) for split in ("train", "test"))
    training: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    training["binarization"] = binarization
    training = {key: value for key, value in training.items() if value is not None}
    settings = {key: value for key, value in settings.items() if value is not None}
    effective = {**chosen.settings, **settings, **chosen.training, **training, "seed": seed}
    chosen.check(settings)
    click.echo(f"recipe {chosen.name}: {chosen.summary}")
    click.echo(f"data {name}: {len(data):,} images to train on, {len(validation):,} to validate")
    click.echo("settings " + ", ".join(f"{key}={setting_text(value)}" for key, value in effective.items()))
    with output_folder(out, "runs", chosen.name) as folder:
        run = runs.train(
            chosen,
            data,
            validation,
            folder,
            settings=settings,
            training=training,
            seed=seed,
            device=device,
            progress=progress,
        )
    model = run.folder / "model.safetensors"
    click.echo(f"\nwrote to {run.folder}:")
    for file in runs.RUN_FILES:
        click.echo(f"  {run.folder / file}")
    label = " --label 3" if chosen.conditional else ""
    click.echo(f"next:\n  mnistvae generate {model}{label}\n  mnistvae reconstruct {model}\n  mnistvae info {model}")
