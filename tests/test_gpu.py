"""Recorded steps on a real GPU; elsewhere these are skipped, and tests/test_graphs.py has a tape stand in for one."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from test_graphs import Peeking, losses
from test_resume import StopAt

import mnistvae as mv
from mnistvae import ImageDataset, Trainer
from mnistvae.objectives import BetaTC
from mnistvae.training import Callback, Checkpoint, Interrupted, State

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no NVIDIA GPU here")


def data(n: int = 460) -> ImageDataset:
    images = torch.randint(0, 256, (n, 1, 28, 28), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
    return ImageDataset(images, torch.arange(n) % 10)


def adam(weights: Any, lr: float) -> torch.optim.Optimizer:
    """As recorded steps have it, so that steps computed as usual round alike."""
    optimizer = torch.optim.Adam(weights, lr=torch.tensor(lr, device="cuda"), capturable=True, fused=True)
    assert optimizer.param_groups[0]["capturable"]
    return optimizer


def train(model: mv.VAE, *callbacks: Callback, resume: Path | None = None, **settings: Any) -> mv.History:
    how = {"epochs": 2, "batch_size": 16, "progress": False, "device": "cuda", "optimizer": adam, **settings}
    return Trainer(**how, callbacks=callbacks).fit(model, data(), data(64), resume=resume)


def model(name: str = "mlp-20", **changes: Any) -> mv.VAE:
    return mv.recipes.get(name).model(seed=1, **changes)


class EachStep(Callback):
    def on_batch_end(self, state: State, n: int) -> None:
        """Keeps steps apart."""


def assert_alike(a: mv.VAE, b: mv.VAE) -> None:
    for name, tensor in a.state_dict().items():
        torch.testing.assert_close(b.state_dict()[name], tensor, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["mlp-20", "conditional", "vamp", "iwae-50"])
@pytest.mark.parametrize("callbacks", [(), (EachStep(),)], ids=["eight at a time", "one by one"])
def test_recorded_steps_are_the_usual_ones(name: str, callbacks: tuple[Callback, ...]) -> None:
    changes = {"components": 20} if name == "vamp" else {"num_samples": 3} if name == "iwae-50" else {}
    usual, recorded = model(name, **changes), model(name, **changes)
    expected = train(usual, *callbacks, cuda_graph=False)
    history = train(recorded, *callbacks)
    assert history.column("loss") == pytest.approx(expected.column("loss"), rel=1e-4)
    assert_alike(usual, recorded)


@pytest.mark.parametrize(
    "settings",
    [
        {"schedule": "one-cycle", "ema": 0.9, "clip_norm": 5.0, "accumulate": 2},
        {"binarization": "dynamic"},
        {"optimizer": functools.partial(torch.optim.AdamW, weight_decay=0.1)},
    ],
    ids="-".join,
)
def test_settings_of_recorded_steps(settings: dict[str, Any]) -> None:
    usual, recorded = model(), model()
    expected = train(usual, cuda_graph=False, **settings)
    assert train(recorded, **settings).column("loss") == pytest.approx(expected.column("loss"), rel=1e-3)


def test_extra_terms_of_recorded_steps() -> None:
    usual, recorded = model(), model()
    usual.objective, recorded.objective = BetaTC(), BetaTC()
    expected, history = train(usual, cuda_graph=False), train(recorded)
    assert history.column("mutual_information") == pytest.approx(expected.column("mutual_information"), rel=1e-2)


@pytest.mark.parametrize("step", [2, 17, 29])
def test_a_recorded_run_is_resumed(step: int, tmp_path: Path) -> None:
    whole, part, rest = model(), model(), model()
    how: dict[str, Any] = {"binarization": "dynamic", "ema": 0.9}
    history = train(whole, **how)
    with pytest.raises(Interrupted):
        train(part, StopAt(step), Checkpoint(tmp_path), **how)
    again = train(rest, Checkpoint(tmp_path), resume=tmp_path, **how)
    assert [record["loss"] for record in losses(again)] == pytest.approx(history.column("loss"), rel=1e-5)
    assert_alike(whole, rest)


def test_a_loss_that_cannot_be_recorded_is_trained_as_usual() -> None:
    usual, peeking = model(), model()
    usual.objective, peeking.objective = Peeking(), Peeking()
    train(usual, cuda_graph=False)
    with pytest.warns(UserWarning, match="goes on without a CUDA graph, which failed"):
        train(peeking)
    assert_alike(usual, peeking)
