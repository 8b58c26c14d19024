"""Arrays as text: what a page holds its numbers in."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import torch
from torch import Tensor

from mnistvae.explorer.tape import Tape

__all__ = ["Packer"]


class Packer:
    """Arrays side by side in one text, each once; numbers that half precision holds exactly take two bytes."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._known: dict[bytes, int] = {}
        #: Kind ("f2", "f4" or "u1"), place in bytes, and length of each array.
        self.table: list[tuple[str, int, int]] = []

    def add(self, array: Tensor) -> int:
        """Add an array, and return its number; floating point is kept in half precision where that is exact."""
        values = array.detach().cpu().contiguous().flatten()
        if values.dtype is not torch.uint8:
            values = values.float()
            half = values.half()
            values = half if bool((half.float() == values).all()) else values
        kind = {torch.uint8: "u1", torch.float16: "f2", torch.float32: "f4"}[values.dtype]
        content = values.numpy().tobytes()
        key = hashlib.sha256(kind.encode() + content).digest()
        if key not in self._known:
            self._known[key] = len(self.table)
            self.table.append((kind, self._size, values.numel()))
            padded = content + bytes(-len(content) % 4)
            self._parts.append(padded)
            self._size += len(padded)
        return self._known[key]

    def program(self, tape: Tape) -> dict[str, Any]:
        """A tape as the page reads it, its constants among the arrays."""
        places = [self.add(constant) for constant in tape.constants]
        steps = [
            [one.operation, [n if n >= 0 else -1 - places[-1 - n] for n in one.operands], one.size, one.settings]
            for one in tape.steps
        ]
        return {"steps": steps, "outputs": tape.outputs}

    def text(self) -> str:
        """All arrays, in base64."""
        return base64.b64encode(b"".join(self._parts)).decode()
