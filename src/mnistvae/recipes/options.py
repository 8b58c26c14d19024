"""The settings of recipes as options: names, types and help, read from signatures and docstrings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, get_type_hints

from mnistvae.recipes.recipe import Recipe

__all__ = ["Option", "options"]

_ARGUMENTS = re.compile(r"^Args:\n(.*?)(?=^\S|\Z)", re.MULTILINE | re.DOTALL)
_ARGUMENT = re.compile(r"^ {4}(\w+)(?: \([^)]*\))?: (.*(?:\n {5,}.*)*)", re.MULTILINE)


@dataclass(frozen=True)
class Option:
    """A setting of a recipe's model, as a command line can offer it."""

    #: Name of the setting.
    name: str
    #: Type: ``int``, ``float``, ``tuple[int, ...]``, ``float | str``, ``Literal["relu", "tanh"]``, ...
    annotation: Any
    #: Text for people, from the docstring of the recipe's ``build``.
    help: str
    #: Names of the recipes that have it.
    recipes: tuple[str, ...]


def options(recipes: Iterable[Recipe]) -> list[Option]:
    """The settings of some recipes, each once, in the order in which they come.

    Type and help are those of the first recipe that has the setting. Nothing is imported for it.

    Args:
        recipes: Recipes, for instance ``RECIPES.values()``.

    Example:
        >>> options([mv.recipes.get("conv")])[1].help
        'Weight of the KL term; 1 is the evidence lower bound.'
    """
    found: dict[str, Option] = {}
    for recipe in recipes:
        helps = _argument_help(recipe.build)
        for name, value in recipe.settings.items():
            if name not in found:
                found[name] = Option(name, _annotation(recipe.build, name, value), helps.get(name, ""), ())
            found[name] = replace(found[name], recipes=(*found[name].recipes, recipe.name))
    return list(found.values())


def _annotation(build: Callable[..., Any], name: str, value: Any) -> Any:
    """The type of a parameter: its annotation, or the type of its value where there is none that can be read."""
    parameter = inspect.signature(build).parameters.get(name)
    if parameter is None or parameter.annotation is inspect.Parameter.empty:
        return type(value)
    owner = SimpleNamespace(__annotations__={name: parameter.annotation})
    try:
        return get_type_hints(owner, getattr(build, "__globals__", {}))[name]
    except NameError:  # of a module that is imported for type checkers only
        return type(value)


def _argument_help(build: Callable[..., Any]) -> dict[str, str]:
    """The texts under "Args:" of a docstring in Google's style, by name of the argument."""
    section = _ARGUMENTS.search(inspect.getdoc(build) or "")
    return {name: " ".join(text.split()) for name, text in _ARGUMENT.findall(section[1])} if section else {}
