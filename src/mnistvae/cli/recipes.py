"""``mnistvae recipes``."""

from __future__ import annotations

import click

from mnistvae.recipes import RECIPES

__all__ = ["recipes"]


@click.command()
def recipes() -> None:
    """List the recipes with their settings."""
    for recipe in RECIPES.values():
        click.echo(f"{recipe.name}: {recipe.summary}")
        settings = {**recipe.settings, **recipe.training}
        click.echo("    " + ", ".join(f"{key}={value}" for key, value in settings.items()))
