"""``mnistvae reconstruct``."""

from __future__ import annotations

from pathlib import Path

import click

from mnistvae.cli.options import data_options, device_option, model_argument, out_option
from mnistvae.cli.trained import model_and_data

__all__ = ["reconstruct"]


@click.command()
@model_argument
@data_options("the one it was trained on")
@click.option("--split", type=click.Choice(["train", "test"]), default="test", show_default=True, help="Part of it.")
@click.option("-n", type=int, default=10, show_default=True, help="How many images.")
@out_option("Where the picture goes.  [default: reconstructed-TIME beside the model]")
@device_option
def reconstruct(
    model: Path, dataset: str | None, data_root: Path | None, split: str, n: int, out: Path | None, device: str
) -> None:
    """Draw images over their reconstructions by MODEL, as reconstructions.png."""
    from mnistvae import runs
    from mnistvae._files import output_folder

    file, vae, data = model_and_data(model, dataset, data_root, split, device)
    with output_folder(out, model.parent, "reconstructed") as folder:
        path = runs.reconstruct(vae, data, folder, n, binarization=file.metadata.get("binarization", "none"))
    click.echo(f"wrote {path}")
