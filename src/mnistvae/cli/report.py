"""``mnistvae report``."""

from __future__ import annotations

from pathlib import Path

import click

from mnistvae.cli.options import data_options, device_option, model_argument, out_option, seed_option
from mnistvae.cli.trained import model_and_data

__all__ = ["report"]


@click.command()
@model_argument
@data_options("the one it was trained on")
@click.option("--num-samples", type=int, default=50, show_default=True, help="Importance samples of the likelihood.")
@click.option("--umap", is_flag=True, help="Also embed the codes by UMAP, if it is installed (extra [umap]).")
@click.option("--limit", type=int, metavar="N", help="Only the first N test images.")
@out_option("Where the files go.  [default: report-TIME beside the model]")
@seed_option
@device_option
@click.option("--progress/--no-progress", default=True, show_default=True, help="Show a bar for each stage.")
def report(
    model: Path,
    dataset: str | None,
    data_root: Path | None,
    num_samples: int,
    umap: bool,
    limit: int | None,
    out: Path | None,
    seed: int,
    device: str,
    progress: bool,
) -> None:
    """Write everything about MODEL: figures, tables, and report.html, a page that shows them all.

    The page needs no network. The history of the training is read from history.csv beside MODEL, if it is there.
    """
    from mnistvae import runs
    from mnistvae._files import output_folder
    from mnistvae.data import load_dataset

    file, vae, data = model_and_data(model, dataset, data_root, "test", device)
    train = load_dataset(data.name, "train", data_root)
    with output_folder(out, model.parent, "report") as folder:
        page = runs.report(
            vae,
            data,
            folder,
            train=train,
            history=model.parent / "history.csv",
            num_samples=num_samples,
            umap=umap,
            limit=limit,
            seed=seed,
            progress=progress,
            metadata=file.metadata,
        )
    click.echo(f"wrote {page}\n  and {sum(1 for _ in page.parent.iterdir()) - 1} figures and tables beside it")
