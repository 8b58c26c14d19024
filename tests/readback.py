"""What the tests of runs and of the command line read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def png(path: Path) -> np.ndarray[Any, Any]:
    """The pixels of a file that has to be a PNG."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        image.load()
        return np.asarray(image)


def content(folder: Path) -> dict[str, bytes]:
    """Every file under a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
