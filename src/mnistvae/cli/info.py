"""``mnistvae info``."""

from __future__ import annotations

from pathlib import Path

import click

from mnistvae.cli.options import model_argument, setting_text

__all__ = ["info"]


@click.command()
@model_argument
def info(model: Path) -> None:
    """Say what MODEL is: its parts, its size, and how it was trained.

    Nothing that the file names is imported or built, so models with custom parts are shown too.
    """
    from mnistvae._component import spec_text
    from mnistvae.errors import FileFormatError
    from mnistvae.io import read

    file = read(model)
    numbers = sum(tensor.numel() for tensor in file.tensors.values())
    click.echo(f"{model}: {numbers:,} numbers in {len(file.tensors)} tensors, written by mnistvae {file.version}")
    for key, value in file.metadata.items():
        if isinstance(value, dict):
            click.echo(f"{key}: " + ", ".join(f"{name}={setting_text(part)}" for name, part in value.items()))
        else:
            click.echo(f"{key}: {value}")
    try:
        parts = spec_text(file.spec)
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FileFormatError(f"the header of {model} to describe parts", "something else", "write it anew") from error
    click.echo(parts)
