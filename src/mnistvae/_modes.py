"""Training and evaluation mode, for a while."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

from torch import nn

__all__ = ["evaluating"]

#: Models in evaluation mode for a while: how many blocks want it, and the mode that each part was in before.
_HELD: WeakKeyDictionary[nn.Module, tuple[int, list[tuple[nn.Module, bool]]]] = WeakKeyDictionary()
_LOCK = threading.Lock()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Every part in evaluation mode for a while, then back to the mode that each was in.

    Blocks may overlap, in one thread or in several: the last one to end puts the modes back.
    """
    with _LOCK:
        blocks, modes = _HELD.get(model) or (0, [(module, module.training) for module in model.modules()])
        model.eval()
        _HELD[model] = (blocks + 1, modes)
    try:
        yield
    finally:
        with _LOCK:
            blocks, modes = _HELD.pop(model)
            if blocks > 1:
                _HELD[model] = (blocks - 1, modes)
            else:
                for module, mode in modes:
                    module.training = mode
