"""One exception family; every message says what was expected, what came, and the likely fix."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any, Self

__all__ = [
    "ComponentError",
    "DataError",
    "DatasetNotFoundError",
    "FileFormatError",
    "MnistvaeError",
    "OutputError",
    "SettingError",
    "TrainingError",
    "raised_text",
    "type_name",
]

#: Most characters of one part of a message.
_LONGEST = 800
#: Letters whose names begin with a vowel, in names that are spelt out: an MLP.
_SPELT = "FHLMNRSX"


class MnistvaeError(Exception):
    """Base of every error that mnistvae raises on purpose.

    Args:
        expected: Noun phrase for the thing that was needed (or, given alone, the whole message).
        got: The thing that came instead.
        fix: The likely remedy.
        where: Place in a tree of parts that the error is about, such as "model.encoder.trunk".

    Example:
        >>> print(MnistvaeError("images in [0, 1]", "a maximum of 255.0", "divide by 255"))
        expected images in [0, 1], got a maximum of 255.0: divide by 255
    """

    def __init__(self, expected: str, got: str | None = None, fix: str | None = None, where: str | None = None) -> None:
        # Exception.args keeps all four, so the error survives pickling between processes.
        super().__init__(expected, got, fix, where)
        self.expected = expected
        self.got = got
        self.fix = fix
        self.where = where

    def __str__(self) -> str:
        expected, got = _cut(self.expected), None if self.got is None else _cut(self.got)
        message = expected if got is None else f"expected {expected}, got {got}"
        place = "" if self.where is None else f"{self.where}: "
        return f"{place}{message}" if self.fix is None else f"{place}{message}: {self.fix}"

    def at(self, where: str) -> Self:
        """The same error with its place in a tree of parts; an error that has one keeps it, since it knows better."""
        if self.where is None:
            self.where = where
            self.args = (self.expected, self.got, self.fix, where)
        return self


def _cut(text: str) -> str:
    """A text that may repeat what somebody passed, at a length that can be read."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... ({len(text):,} characters)"


class SettingError(MnistvaeError, ValueError):
    """An argument or option has a value that makes no sense."""


class DataError(MnistvaeError, ValueError):
    """Images or labels have a wrong shape, dtype, range or number."""


class DatasetNotFoundError(MnistvaeError, LookupError):
    """A data set is not known, or is neither on disk nor can be downloaded."""


class ComponentError(MnistvaeError, TypeError):
    """A part does not fit another, or does not keep to its contract."""


class FileFormatError(MnistvaeError, ValueError):
    """A file is not what it should be: not a model, damaged, or of a newer format."""


class OutputError(MnistvaeError, RuntimeError):
    """A file or folder cannot be written, or would overwrite another."""


class TrainingError(MnistvaeError, RuntimeError):
    """Training cannot go on, for instance because the loss is no longer finite."""


def raised_text(error: Exception) -> str:
    """An error that somebody's own code raised, in the words of a message: its class, its text and its line.

    Example:
        >>> raised_text(ZeroDivisionError("by nothing"))
        'ZeroDivisionError: by nothing'
    """
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"


def type_name(value: Any) -> str:
    """The kind of a value in the words of a message: its class with an article, a class by its name, or "None".

    Example:
        >>> type_name(3), type_name("3"), type_name(int), type_name(None)
        ('an int', 'a str', 'the class int', 'None')
    """
    if value is None:
        return "None"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    name = type(value).__name__
    vowel = name[0] in "aeioAEIO" or name == "ndarray" or (name[:2].isupper() and name[0] in _SPELT)
    return f"{'an' if vowel else 'a'} {name}"
