"""``mnistvae evaluate``."""

from __future__ import annotations

from pathlib import Path

import click

from mnistvae.cli.options import data_options, device_option, model_argument, out_option, seed_option
from mnistvae.cli.trained import model_and_data

__all__ = ["evaluate"]

_GROUPS = ("reconstruction", "likelihood", "latent", "generation")


@click.command()
@model_argument
@data_options("the one it was trained on")
@click.option(
    "--num-samples", type=int, default=500, show_default=True, help="Importance samples an image, of the likelihood."
)
@click.option(
    "--only", type=click.Choice(_GROUPS), multiple=True, help="A family of figures; may be given again.  [default: all]"
)
@click.option("--inception", is_flag=True, help="Also judge samples by torchvision's Inception-v3, which is slow.")
@click.option("--limit", type=int, metavar="N", help="Only the first N test images, and as many samples.")
@click.option("--batch-size", type=int, default=512, show_default=True, help="Images at once; more take more memory.")
@out_option("Where the files go.  [default: evaluated-TIME beside the model]")
@seed_option
@device_option
@click.option("--progress/--no-progress", default=True, show_default=True, help="Show a bar.")
def evaluate(
    model: Path,
    dataset: str | None,
    data_root: Path | None,
    num_samples: int,
    only: tuple[str, ...],
    inception: bool,
    limit: int | None,
    batch_size: int,
    out: Path | None,
    seed: int,
    device: str,
    progress: bool,
) -> None:
    """Measure MODEL on test images: reconstruction, likelihood, codes, samples.

    Prints a table, and writes it as metrics.json and, by class, as by_class.csv.
    """
    from mnistvae import runs
    from mnistvae._files import output_folder
    from mnistvae.data import load_dataset

    file, vae, data = model_and_data(model, dataset, data_root, "test", device)
    train = load_dataset(data.name, "train", data_root) if not only or "latent" in only else None
    with output_folder(out, model.parent, "evaluated") as folder:
        found = runs.evaluate(
            vae,
            data,
            folder,
            train=train,
            num_samples=num_samples,
            include=only or _GROUPS,  # type: ignore[arg-type]
            limit=limit,
            inception=inception,
            batch_size=batch_size,
            seed=seed,
            progress=progress,
            metadata={**file.metadata, "model": str(model)},
        )
        made = f"{found.protocol['tag']}, seed {seed}, mnistvae {found.protocol['version']}"
        click.echo(f"{model} on {len(data[:limit]):,} test images of {data.name}, {made}\n")
        click.echo(found)
        click.echo(f"\nwrote {folder / 'metrics.json'}")
        if found.by_class:
            click.echo(f"wrote {folder / 'by_class.csv'}")
