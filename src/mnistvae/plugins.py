"""Recipes, data sets and metrics of other modules and packages, found by name.

A name is one of ours, ``module.path:NAME`` for an object of any importable module, or an entry point of an
installed package in the groups ``mnistvae.recipes``, ``mnistvae.datasets`` and ``mnistvae.metrics``. Nothing
is imported before it is asked for. Where a package takes a name of ours, ours is meant; the package's is still
there as ``module.path:NAME``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from mnistvae.errors import MnistvaeError, SettingError, type_name

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["GROUPS", "closest", "is_reference", "names", "resolve"]

#: The group of entry points of each kind of object; kinds that are not here have none.
GROUPS: Mapping[str, str] = MappingProxyType(
    {"recipe": "mnistvae.recipes", "data set": "mnistvae.datasets", "metric": "mnistvae.metrics"}
)
_REFERENCE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def is_reference(name: str) -> bool:
    """Tell whether a name has the form ``module.path:NAME``.

    Example:
        >>> is_reference("my.module:NAME"), is_reference("mlp-20"), is_reference("C:/digits")
        (True, False, False)
    """
    return _REFERENCE.fullmatch(name) is not None


def names(kind: str, own: Iterable[str] = ()) -> list[str]:
    """The names of a kind: ours first, then those of installed packages in alphabetical order.

    Args:
        kind: Kind of object, such as "recipe"; see :data:`GROUPS`.
        own: Names that mnistvae itself has for it.
    """
    return list(dict.fromkeys([*own, *sorted(_installed(kind))]))


def resolve(
    kind: str,
    name: str,
    own: Mapping[str, Any] = MappingProxyType({}),
    *,
    of: Any = object,
    error: type[MnistvaeError] = SettingError,
    also: str | None = None,
) -> Any:
    """The object that a name stands for.

    Args:
        kind: Kind of object, such as "recipe" (:data:`GROUPS`) or "callback", for the messages and the entry points.
        name: A key of ``own``, ``module.path:NAME``, or an entry point of the kind's group.
        own: Objects that mnistvae itself has, by name.
        of: Class of which the object has to be an instance, ``collections.abc.Callable`` for a function.
        error: Class of the error for a name that stands for nothing.
        also: Other names that the caller understands, for that message.

    Raises:
        MnistvaeError: If there is no such name (of the class ``error``).
        SettingError: If the module cannot be imported, has no such attribute, or the object is of another class.

    Example:
        >>> resolve("function", "math:sqrt")(9.0)
        3.0
    """
    if isinstance(name, str):
        if name in own:
            return own[name]
        if is_reference(name):
            return _checked(kind, name, _imported(kind, name), of)
        found = _installed(kind).get(name)
        if found:
            return _checked(kind, name, _loaded(kind, found), of)
    known = names(kind, own)
    choices = [*known, *([also] if also else []), "module:NAME"]
    raise error(f"a {kind}: {', '.join(choices)}", repr(name), closest(name, known))


def closest(name: object, known: Iterable[str]) -> str:
    """The likely remedy of an unknown name: the known one that is spelt most like it, if there is one.

    Example:
        >>> closest("convv", ["mlp", "conv"])
        "check the spelling; the closest is 'conv'"
    """
    from difflib import get_close_matches

    words = list(known)
    lower = {word.lower(): word for word in words}
    same = get_close_matches(str(name), words, n=1)
    found = same or [lower[word] for word in get_close_matches(str(name).lower(), lower, n=1)]
    return f"check the spelling; the closest is {found[0]!r}" if found else "check the spelling"


def _installed(kind: str) -> dict[str, list[EntryPoint]]:
    """The entry points of a kind by name; several of one name come from several packages."""
    if kind not in GROUPS:
        return {}
    from importlib.metadata import entry_points

    found: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=GROUPS[kind]):
        found.setdefault(entry.name, []).append(entry)
    return found


def _loaded(kind: str, entries: list[EntryPoint]) -> Any:
    """The object of an entry point that only one package has."""
    name, values = entries[0].name, sorted({entry.value for entry in entries})
    if len(values) > 1:
        raise SettingError(
            f"one package with a {kind} {name!r}",
            f"{len(values)}: {', '.join(values)}",
            "give one of these in its place",
        )
    try:
        return entries[0].load()
    except Exception as error:
        package = entries[0].dist.name if entries[0].dist else "a package"
        raise SettingError(
            f"the {kind} {name!r} of {package} ({values[0]}) to be importable",
            f"{type(error).__name__}: {error}",
            f"install {package} again, or ask its authors",
        ) from error


def _imported(kind: str, name: str) -> Any:
    """The object of ``module.path:NAME``."""
    from importlib import import_module

    path, _, attribute = name.partition(":")
    try:
        found: Any = import_module(path)
    except Exception as error:
        expected, got = f"a {kind} in an importable module {path!r}", f"{type(error).__name__}: {error}"
        fix = f"mend {path}"
        if isinstance(error, ModuleNotFoundError) and f"{path}.".startswith(
            f"{error.name}."
        ):  # itself, not its imports
            got, fix = f"no module named {error.name!r}", "install it, or put the folder that it lies in on PYTHONPATH"
        raise SettingError(expected, got, fix) from error
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            public = [word for word in dir(found) if not word.startswith("_")]
            raise SettingError(
                f"a {kind} {attribute!r} in {path}", f"no attribute {part!r}", closest(part, public)
            ) from None
    return found


def _checked(kind: str, name: str, found: Any, of: Any) -> Any:
    """``found``, which must be an instance of ``of``."""
    if isinstance(found, of):
        return found
    wanted = {Callable: "a function", type: "a class"}.get(of, f"an object of the class {getattr(of, '__name__', of)}")
    got = type_name(found)
    raise SettingError(f"{name!r} as a {kind}: {wanted}", got, "give the name of one")
