"""The names that the doctests in ``src`` use."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _doctest_names(request: pytest.FixtureRequest, doctest_namespace: dict[str, Any]) -> None:
    if not isinstance(request.node, pytest.DoctestItem):
        return  # a folder for each of thousands of tests would take half a minute
    import torch
    from torch import nn

    import mnistvae as mv

    torch.manual_seed(0)
    doctest_namespace.update(mv=mv, torch=torch, nn=nn, tmp_path=request.getfixturevalue("tmp_path"))
