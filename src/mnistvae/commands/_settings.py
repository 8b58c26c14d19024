"""Settings as texts on a command line: one value, several, a range, and back."""

from __future__ import annotations

import ast
import json
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from mnistvae.analysis import Range

__all__ = ["parse_assignment", "parse_value", "parse_values", "value_text"]

#: Brackets and quotes, within which a comma does not part two values.
_OPEN, _CLOSE, _QUOTES = "([{", ")]}", "'\""


def parse_assignment(option: str, text: str, example: str) -> tuple[str, str]:
    """The name and the value of NAME=VALUE, the value as a text.

    Args:
        option: The option that it was given with, for the message.
        text: What was given.
        example: One that is right, for the message.

    Raises:
        click.UsageError: If it is something else.
    """
    name, equals, value = text.partition("=")
    name = name.strip().replace("-", "_")
    if not equals or not name.isidentifier():
        raise click.UsageError(f"{option} takes a name and a value, such as {option} {example}, not {text!r}")
    return name, value


def parse_value(text: str) -> Any:
    """A value as JSON or Python has it; a word without quotes is a text, and a list becomes a tuple.

    Example:
        >>> parse_value("1e-3"), parse_value("[400, 200]"), parse_value("cosine"), parse_value("None")
        (0.001, (400, 200), 'cosine', None)
    """
    for read in (json.loads, ast.literal_eval):
        with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            return _as_tuple(read(text.strip()))
    return text


def parse_values(text: str) -> tuple[Any, ...] | Range:
    """Values between commas, or a range LOW..HIGH, which ``:log`` makes logarithmic.

    Example:
        >>> parse_values("[400],[400,200]"), parse_values("cosine, None")
        (((400,), (400, 200)), ('cosine', None))
        >>> parse_values("1e-4..1e-2:log")
        Range(low=0.0001, high=0.01, log=True)
    """
    from mnistvae.analysis import Range

    ends = re.fullmatch(r"\s*([-+\d.e]+?)\.\.([-+\d.e]+?)(:log)?\s*", text, re.IGNORECASE)
    if ends is not None:
        low, high = parse_value(ends[1]), parse_value(ends[2])
        if not isinstance(low, str) and not isinstance(high, str):
            return Range(low, high, log=ends[3] is not None)
    return tuple(map(parse_value, _split(text)))


def value_text(value: Any) -> str:
    """A value as :func:`parse_value` reads it.

    Raises:
        TypeError: If it has no such text, as a function has none.

    Example:
        >>> value_text((400, 200)), value_text("cosine"), value_text("1"), value_text(None)
        ('[400,200]', 'cosine', '"1"', 'null')
    """
    if isinstance(value, str) and parse_value(value) == value and value.strip() == value:
        return value
    return json.dumps(value, separators=(",", ":"))


def _as_tuple(value: Any) -> Any:
    return tuple(map(_as_tuple, value)) if isinstance(value, list | tuple) else value


def _split(text: str) -> list[str]:
    """The parts between the commas that stand in no brackets and no quotes."""
    parts, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in _QUOTES:
            quote = letter
        depth += 0 if quote else (letter in _OPEN) - (letter in _CLOSE)
        if letter == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]
