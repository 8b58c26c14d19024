"""Printing by the commands: text that does nothing to a terminal, to a reader who may have gone."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import click

__all__ = ["drop", "printable", "speak", "telling_if_stopped"]


def printable(text: str) -> str:
    r"""A text whose control characters are written out, so that a file's words cannot steer the terminal.

    Example:
        >>> print(printable("red: \x1b[31m"))
        red: \x1b[31m
    """
    return "".join(
        letter
        if letter.isprintable() or letter in "\n\t" or unicodedata.category(letter) == "Zs"
        else letter.encode("unicode_escape").decode()
        for letter in text
    )


def speak(text: str, *, err: bool = False) -> None:
    """Print a line; where nobody reads it any more (``| head``), it and all that follow are dropped."""
    try:
        click.echo(printable(text), err=err)
    except BrokenPipeError:
        drop(sys.stderr if err else sys.stdout)


def drop(stream: IO[str]) -> None:
    """Let all that is still printed go nowhere, also what waits in a buffer."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextmanager
def telling_if_stopped(text: str) -> Iterator[None]:
    """A block; whoever stops it, by Ctrl-C or a signal, is told this in place of what is said of a single run."""
    try:
        yield
    except KeyboardInterrupt as error:
        error.__notes__ = [text]
        raise
