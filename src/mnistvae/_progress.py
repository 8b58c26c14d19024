"""A progress bar over a block."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["bar"]


@contextmanager
def bar(what: str, total: int, *, shown: bool = True, delay: float = 0.0) -> Iterator[Callable[[int], object]]:
    """A progress bar over a block, in a terminal or notebook; elsewhere nothing.

    Args:
        what: Name of the work.
        total: Number of its parts; the block is given a function to call with the number of those that are done.
        shown: Whether to show it.
        delay: Seconds that pass before it is shown.
    """
    from tqdm import tqdm

    hidden = not shown or (False if "ipykernel" in sys.modules else None)  # None: where no terminal is
    with tqdm(total=total, desc=what, unit="", leave=False, disable=hidden, delay=delay) as made:
        yield made.update
