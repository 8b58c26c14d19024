"""A run that is stopped and resumed is, to the bit, the run that was never stopped."""

from __future__ import annotations

import functools
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mnistvae import VAE, ImageDataset, Trainer
from mnistvae._random import seeded
from mnistvae.networks import GaussianEncoder, MLPDecoder
from mnistvae.objectives import ELBO
from mnistvae.schedules import Linear
from mnistvae.training import Callback, Checkpoint, Interrupted, State, cosine, read_checkpoint

EPOCHS, STEPS = 4, 3  # in an epoch: 40 images in groups of 2 batches of 8

STEPS_IN_ALL = EPOCHS * STEPS


def data(n: int = 40) -> ImageDataset:
    generator = torch.Generator().manual_seed(3)
    return ImageDataset(torch.rand(n, 8, 8, generator=generator))


def model() -> VAE:
    """With all that a checkpoint has to remember: buffers, dropout, a beta that grows."""
    with seeded(0):
        trunk = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3))
        return VAE(
            2,
            (1, 8, 8),
            encoder=GaussianEncoder(trunk, 2),
            decoder=MLPDecoder(2, (1, 8, 8), hidden=(16,)),
            objective=ELBO(2.0, schedule=Linear(7)),
        )


def trainer(*callbacks: Callback, **changes: Any) -> Trainer:
    settings: dict[str, Any] = {
        "epochs": EPOCHS,
        "batch_size": 8,
        "learning_rate": 0.01,
        "schedule": functools.partial(cosine, warmup=2),
        "clip_norm": 5.0,
        "ema": 0.9,
        "accumulate": 2,
        "patience": 2,
        "binarization": "dynamic",
        "progress": False,
        "device": "cpu",
    }
    return Trainer(**{**settings, **changes}, callbacks=callbacks)


class StopAt(Callback):
    """Sends a signal to the process after a step."""

    def __init__(self, step: int, number: int = signal.SIGINT) -> None:
        self.step = step
        self.number = number

    def on_batch_end(self, state: State, n: int) -> None:
        if state.step == self.step:
            os.kill(os.getpid(), self.number)


def outcome(folder: Path, trained: VAE, history: Any) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
    """Weights, everything in the last checkpoint, and the history without its times."""
    tensors = {**trained.state_dict(), **{f"at {k}": v for k, v in read_checkpoint(folder).tensors.items()}}
    timeless = [{k: v for k, v in record.items() if k not in {"seconds", "images_per_second"}} for record in history]
    return tensors, timeless


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
    folder = tmp_path_factory.mktemp("whole")
    vae = model()
    return outcome(folder, vae, trainer(Checkpoint(folder)).fit(vae, data(), data(16)))


def same(a: tuple[dict[str, Tensor], Any], b: tuple[dict[str, Tensor], Any]) -> None:
    assert a[1] == b[1]
    assert a[0].keys() == b[0].keys()
    for name, tensor in a[0].items():
        assert torch.equal(tensor, b[0][name]), name


@pytest.mark.parametrize("step", range(1, STEPS_IN_ALL + 1))
def test_stopping_at_any_step_and_going_on_changes_nothing(step: int, whole: Any, tmp_path: Path) -> None:
    with pytest.raises(Interrupted, match="stopped by SIGINT after step"):
        trainer(Checkpoint(tmp_path), StopAt(step)).fit(model(), data(), data(16))
    vae = model()
    history = trainer(Checkpoint(tmp_path)).fit(vae, data(), data(16), resume=tmp_path)
    same(outcome(tmp_path, vae, history), whole)


def test_stopping_twice(whole: Any, tmp_path: Path) -> None:
    for step in (4, 5):
        with pytest.raises(Interrupted):
            trainer(Checkpoint(tmp_path), StopAt(step)).fit(
                model(), data(), data(16), resume=tmp_path if step > 4 else None
            )
    vae = model()
    same(outcome(tmp_path, vae, trainer(Checkpoint(tmp_path)).fit(vae, data(), data(16), resume=tmp_path)), whole)
