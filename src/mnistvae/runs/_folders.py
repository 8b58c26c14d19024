"""Folders that a command writes to: for one run at a time, and never over what is there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mnistvae._files import make_folder, write_atomically
from mnistvae.errors import OutputError
from mnistvae.plotting import png_bytes
from mnistvae.training.signals import termination_as_interrupt

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["claimed", "write_figure"]


def write_figure(figure: Figure, path: Path) -> Path:
    """A figure as PNG, atomically."""
    return write_atomically(path, png_bytes(figure))


@contextmanager
def claimed(folder: str | os.PathLike[str], names: Sequence[str], claim: str) -> Iterator[Path]:
    """The folder, writable and with none of the files that are about to be written, for one run at a time.

    The file ``claim`` is made at once, empty, so that a second run into the same folder finds it; it goes
    again if the block fails before anything is in it.
    """
    target = make_folder(folder)
    there = [name for name in names if (target / name).exists()]
    try:
        if not there:
            (target / claim).open("x").close()
    except FileExistsError:
        there = [claim]
    if there:
        raise OutputError(
            f"a folder without {there[0]}", f"{target}, which has one", "choose another --out, or move it away"
        )
    try:
        with termination_as_interrupt():
            yield target
    except BaseException:
        if (target / claim).exists() and (target / claim).stat().st_size == 0:
            (target / claim).unlink()
        raise
