"""``mnistvae animate``."""

from __future__ import annotations

from pathlib import Path

import click

from mnistvae.cli.options import out_option

__all__ = ["animate"]


@click.command()
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--per-second", type=float, default=4.0, show_default=True, help="Epochs a second.")
@out_option("Where the films go.  [default: RUN]")
def animate(run: Path, per_second: float, out: Path | None) -> None:
    """Make films of what the model in the folder RUN drew after each epoch.

    Writes samples.gif and, for a model with two latent dimensions, plane.gif.
    """
    from mnistvae import runs

    for film in runs.animate(run, out, per_second=per_second):
        click.echo(f"wrote {film}")
