"""``mnistvae fit-prior``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from mnistvae.cli.options import data_options, device_option, model_argument, out_option, seed_option
from mnistvae.cli.trained import model_and_data

__all__ = ["fit_prior"]


@click.command("fit-prior")
@model_argument
@data_options("the one it was trained on")
@click.option("--components", type=int, default=10, show_default=True, help="Normals in the mixture.")
@click.option("--covariance", type=click.Choice(["full", "diag"]), default="full", show_default=True, help="Of each.")
@seed_option
@out_option("The new model's folder.  [default: fitted-TIME beside the model]")
@device_option
def fit_prior(
    model: Path,
    dataset: str | None,
    data_root: Path | None,
    components: int,
    covariance: Literal["full", "diag"],
    seed: int,
    out: Path | None,
    device: str,
) -> None:
    """Fit a mixture of normals to the codes of the training images, as the prior of a copy of MODEL.

    The folder gets the copy as model.safetensors, and samples.png drawn from it.
    """
    from mnistvae import runs
    from mnistvae._files import output_folder

    file, vae, data = model_and_data(model, dataset, data_root, "train", device)
    with output_folder(out, model.parent, "fitted") as folder:
        path = runs.fit_prior(vae, data, folder, components, covariance=covariance, seed=seed, metadata=file.metadata)
    click.echo(f"wrote {path} and {path.parent / 'samples.png'}\nnext:\n  mnistvae generate {path}")
