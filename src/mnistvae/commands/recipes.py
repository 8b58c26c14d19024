"""The command ``mnistvae recipes``."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from mnistvae.commands._face import command
from mnistvae.commands._inputs import Say, print_nothing, settings_text
from mnistvae.errors import SettingError

if TYPE_CHECKING:
    from mnistvae.recipes import Recipe

__all__ = ["recipes"]


@command()
def recipes(*, say: Say = print_nothing) -> dict[str, Recipe]:
    """List the recipes with their settings and where they come from, those of installed packages too.

    Args:
        say: Called with each line that the command prints.

    Returns:
        The recipes by name.
    """
    from mnistvae.plugins import names
    from mnistvae.recipes import RECIPES, get

    found: dict[str, Recipe] = {}
    for name in names("recipe", RECIPES):
        try:
            found[name] = get(name)
        except SettingError as error:  # a package that cannot be imported is no reason not to list the others
            warnings.warn(str(error), stacklevel=2)
    for name, recipe in found.items():
        say(f"{name}: {recipe.summary}")
        say(f"    {settings_text({**recipe.settings, **recipe.training})}")
        say(f"    source: {recipe.source}")
    return found
