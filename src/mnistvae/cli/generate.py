"""``mnistvae generate``."""

from __future__ import annotations

from pathlib import Path

import click

from mnistvae.cli.options import Point, device_option, model_argument, out_option, seed_option

__all__ = ["generate"]


@click.command()
@model_argument
@click.option("-n", type=int, help="How many images.  [default: 64]")
@click.option("--label", type=int, help="The class to draw, for a conditional model.")
@click.option("--at", type=Point, multiple=True, help="Decode this point of the latent space; may be repeated.")
@click.option("--temperature", type=float, help="Below 1: more typical images; above: more varied.  [default: 1]")
@seed_option
@out_option("Where the images go.  [default: generated-TIME beside the model]")
@device_option
def generate(
    model: Path,
    n: int | None,
    label: int | None,
    at: tuple[tuple[float, ...], ...],
    temperature: float | None,
    seed: int,
    out: Path | None,
    device: str,
) -> None:
    """Draw new images from MODEL.

    Writes each image as 000.png, 001.png, ... and all of them as samples.png.
    """
    if at and (n is not None or temperature is not None):
        raise click.UsageError("--at decodes the points given: leave -n and --temperature out")
    from mnistvae import runs
    from mnistvae._files import output_folder
    from mnistvae.devices import resolve_device
    from mnistvae.io import load

    vae = load(model, device=resolve_device(device))
    with output_folder(out, model.parent, "generated") as folder:
        images = runs.generate(
            vae,
            folder,
            64 if n is None else n,
            label=label,
            at=at,
            temperature=1.0 if temperature is None else temperature,
            seed=seed,
        )
    click.echo(f"wrote {len(images)} image{'s' if len(images) > 1 else ''} and {folder / 'samples.png'}")
