"""The training loop: one can see from fit to the loss."""

from __future__ import annotations

import inspect
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from test_optimizers import SHAPE, trainer
from test_resume import data

import mnistvae as mv
from mnistvae import VAE, Trainer
from mnistvae.objectives import Terms
from mnistvae.training import Callback, State, loop
from mnistvae.training.history import History

PACKAGE = Path(mv.__file__).parent


class Deep(VAE):
    """Counts, at each loss, the frames of this package's files that lie between fit and the loss."""

    def __init__(self, latent_dim: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__(latent_dim, image_shape)
        self.frames: list[int] = []

    def loss(self, x: Any, y: Any = None) -> Terms:
        if self.training:
            self.count()
        return super().loss(x, y)

    @torch.compiler.disable
    def count(self) -> None:
        found = 0
        for frame in inspect.stack()[2:]:
            if PACKAGE not in Path(frame.filename).parents:
                continue
            if frame.function == "fit":
                break
            found += 1
        self.frames.append(found)


@pytest.mark.parametrize("settings", [{}, {"accumulate": 2, "ema": 0.9, "clip_norm": 1.0}], ids=["bare", "all"])
def test_from_fit_to_the_loss_one_passes_five_functions_at_most(settings: dict[str, Any]) -> None:
    model = Deep(2, SHAPE)
    trainer(**settings).fit(model, data())
    assert len(model.frames) == 10
    assert set(model.frames) == {4}


def test_from_fit_to_a_compiled_loss_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    model = Deep(2, SHAPE)
    trainer(compile=True).fit(model, data())
    assert max(model.frames) == 5, "the one that calls the compiler"


class Sums(Callback):
    """Notes the sums over the epoch at each step, and what the epoch's record made of them."""

    def __init__(self) -> None:
        self.sums: list[torch.Tensor] = []
        self.means: list[float] = []

    def on_batch_end(self, state: State, images: int) -> None:
        self.sums.append(state.sums.clone())

    def on_epoch_end(self, state: State) -> None:
        self.means.append(state.history[-1]["loss"])


@pytest.mark.parametrize("compiled", [False, True])
def test_an_epochs_sums_are_in_double_precision(compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    noted = Sums()
    trainer(noted, compile=compiled).fit(VAE(2, SHAPE), data())
    assert {one.dtype for one in noted.sums} == {torch.float64}
    assert noted.means[0] == float(noted.sums[len(noted.sums) // 2 - 1][0]) / len(data())


def test_a_long_epochs_mean_is_that_of_its_steps() -> None:
    state = State(VAE(2, SHAPE), 1, None, History(), sums=torch.zeros(3, dtype=torch.float64))
    state.begin_epoch()
    rows = (100 + 30 * torch.randn(20_000, 4, generator=torch.Generator().manual_seed(0))) * 128
    for row in rows:
        state.count(128, row, ("loss", "reconstruction", "kl", "more"))
    exact = [math.fsum(column) / (128 * len(rows)) for column in rows.T.tolist()]
    assert list(state.means().values()) == pytest.approx(exact, rel=1e-14)
    single = torch.zeros(4)
    for row in rows:
        single += row
    assert (single / (128 * len(rows))).tolist() != pytest.approx(exact, rel=1e-7), "the test can tell"


def test_the_loop_fits_a_screen() -> None:
    assert len(inspect.getsource(loop).splitlines()) <= 150


def test_the_settings_of_the_trainer_are_its_attributes() -> None:
    names = Trainer.setting_names()
    assert names[:3] == ("epochs", "batch_size", "learning_rate")
    assert all(hasattr(Trainer(), name) for name in names)
    assert list(inspect.signature(Trainer).parameters) == list(names)
