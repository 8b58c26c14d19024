"""``mnistvae sweep``."""

from __future__ import annotations

from pathlib import Path

import click

from mnistvae import recipes
from mnistvae.cli.options import IntTuple, data_options, device_option, out_option, seed_option

__all__ = ["sweep"]


@click.command()
@click.option("--recipe", default="beta-conv", show_default=True, metavar="NAME", help=f"{', '.join(recipes.names())}.")
@click.option("--latent-dims", type=IntTuple, default="5,10,15,20", show_default=True, help="Sizes of the code.")
@data_options("mnist-mini")
@click.option("--epochs", type=int, help="Passes over the data, of each model.  [default: the recipe's]")
@out_option("Where the files go.  [default: runs/sweep-TIME]")
@seed_option
@device_option
@click.option("--progress/--no-progress", default=True, show_default=True, help="Show each epoch.")
def sweep(
    recipe: str,
    latent_dims: tuple[int, ...],
    dataset: str | None,
    data_root: Path | None,
    epochs: int | None,
    out: Path | None,
    seed: int,
    device: str,
    progress: bool,
) -> None:
    """Train one recipe with several sizes of the code, and compare what they reconstruct.

    Writes sweep.csv, MSE and PSNR by class as by_class.csv, mse_by_class.png and psnr_by_class.png, and the models; and
    names the smallest code whose MSE is within one standard error of the best.
    """
    recipes.get(recipe)  # before torch is imported
    from mnistvae import runs
    from mnistvae._files import output_folder
    from mnistvae.data import load_dataset

    name = dataset or "mnist-mini"
    train, test = (load_dataset(name, split, data_root) for split in ("train", "test"))
    training = {"device": device, "progress": progress} | ({} if epochs is None else {"epochs": epochs})
    with output_folder(out, "runs", "sweep") as folder:
        found = runs.sweep(recipes.get(recipe), latent_dims, train, test, folder, training=training, seed=seed)
    click.echo(f"{'latent_dim':>10s}  {'mse':>20s}  {'psnr':>16s}")
    for value, one in zip(found.values, found.evaluations, strict=True):
        click.echo(f"{value:>10d}  {one.score('mse').text():>20s}  {one.score('psnr').text():>16s}")
    click.echo(f"best: latent_dim {found.best('mse')}, the smallest within one standard error of the lowest MSE")
    click.echo(f"wrote {folder}")
