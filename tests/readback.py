"""What several tests share: reading back what was written, and parts that are not at their start."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from mnistvae.commands import _pictures

M = TypeVar("M", bound=nn.Module)


def png(path: Path) -> np.ndarray[Any, Any]:
    """The pixels of a file that has to be a PNG."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        image.load()
        return np.asarray(image)


def content(folder: Path) -> dict[str, bytes]:
    """Every file under a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def originals_drawn(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Will hold the originals of every picture of reconstructions that a run draws from now on."""
    seen: list[Tensor] = []
    draw = _pictures.reconstruction_grid

    def watched(originals: Tensor, *others: Any) -> Any:
        seen.append(originals)
        return draw(originals, *others)

    monkeypatch.setattr(_pictures, "reconstruction_grid", watched)
    return seen


def stirred(module: M, noise: float = 0.2) -> M:
    """The module with noise on every number: what starts at zero lets no gradient through, and hides what is behind."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(noise * torch.randn_like(parameter))
    return module
