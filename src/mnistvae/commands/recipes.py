"""The command ``mnistvae recipes``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mnistvae.commands._face import command
from mnistvae.commands._inputs import Say, settings_text, silent

if TYPE_CHECKING:
    from mnistvae.recipes import Recipe

__all__ = ["recipes"]


@command()
def recipes(*, say: Say = silent) -> Mapping[str, Recipe]:
    """List the recipes with their settings and where they come from.

    Args:
        say: Called with each line that the command prints.

    Returns:
        The recipes by name.
    """
    from mnistvae.recipes import RECIPES

    for recipe in RECIPES.values():
        say(f"{recipe.name}: {recipe.summary}")
        say(f"    {settings_text({**recipe.settings, **recipe.training})}")
        say(f"    source: {recipe.source}")
    return RECIPES
