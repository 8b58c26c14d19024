"""Settings of a wrong kind, at functions that pass them on: the error is the package's own, and nothing is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import mnistvae as mv
from mnistvae._random import derive_seed
from mnistvae.errors import MnistvaeError

DATA = mv.ImageDataset(torch.rand(8, 28, 28), torch.arange(8) % 2)

REFUSED: dict[str, Callable[[], Any]] = {
    "a split in a list": lambda: mv.load_dataset("mnist-mini", ["train"]),  # type: ignore[arg-type]
    "a folder that is None": lambda: mv.report.write_report(mv.VAE(latent_dim=2), DATA, None),  # type: ignore[arg-type]
    "a folder that is a number": lambda: mv.report.write_report(mv.VAE(latent_dim=2), DATA, 3),  # type: ignore[arg-type]
    "thousands of folders": lambda: mv.report.write_report(mv.VAE(latent_dim=2), DATA, "d/" * 2000),
    "the name of a recipe to sweep": lambda: mv.analysis.sweep("mlp-2d", {"latent_dim": [1, 2]}, DATA, DATA),  # type: ignore[arg-type]
    "an array to sweep over": lambda: mv.analysis.sweep(
        mv.recipes.get("mlp-2d"),
        {"latent_dim": [1, 2]},
        DATA.images,
        DATA,  # type: ignore[arg-type]
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_wrong_kind_is_the_packages_own_error(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MnistvaeError):
        REFUSED[name]()
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


@pytest.mark.parametrize("seed", [1.5, -1, None, "7", True, 2**63, [1]])
def test_seeds_of_a_wrong_kind(seed: Any) -> None:
    for use in (
        derive_seed,
        lambda one: DATA.binarized("static", seed=one),
        lambda one: mv.VAE(2) and derive_seed(one, 1),
    ):
        with pytest.raises(MnistvaeError, match="seed as an integer"):
            use(seed)
