"""The names that the doctests in ``src`` use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _doctest_names(doctest_namespace: dict[str, Any], tmp_path: Path) -> None:
    import torch
    from torch import nn

    import mnistvae as mv

    torch.manual_seed(0)
    doctest_namespace.update(mv=mv, torch=torch, nn=nn, tmp_path=tmp_path)
