"""``mnistvae recipes``."""

from __future__ import annotations

import click

from mnistvae.cli.options import setting_text
from mnistvae.recipes import RECIPES

__all__ = ["recipes"]


@click.command()
def recipes() -> None:
    """List the recipes with their settings and where they come from."""
    for recipe in RECIPES.values():
        click.echo(f"{recipe.name}: {recipe.summary}")
        settings = {**recipe.settings, **recipe.training}
        click.echo("    " + ", ".join(f"{key}={setting_text(value)}" for key, value in settings.items()))
        click.echo(f"    source: {recipe.source}")
