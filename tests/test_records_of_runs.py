"""What a history says of a run: the learning rate of each epoch, and why it ended."""

from __future__ import annotations

import copy
import functools
import pickle
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from mnistvae import VAE, History, ImageDataset, Trainer
from mnistvae._random import seeded
from mnistvae.errors import SettingError, TrainingError
from mnistvae.losses import gaussian_kl
from mnistvae.networks import MLPDecoder, MLPEncoder
from mnistvae.objectives import Objective, Terms
from mnistvae.training import Callback, Interrupted, State

SHAPE = (1, 6, 6)


def model(**parts: Any) -> VAE:
    with seeded(0):
        encoder, decoder = MLPEncoder(2, SHAPE, hidden=(4,)), MLPDecoder(2, SHAPE, hidden=(4,))
        return VAE(2, SHAPE, encoder=encoder, decoder=decoder, **parts)


def run(model: VAE, epochs: int = 3, **settings: Any) -> History:
    data = ImageDataset(torch.rand(20, *SHAPE, generator=torch.Generator().manual_seed(0)))
    return Trainer(epochs, 5, progress=False, device="cpu", **settings).fit(model, data)


@pytest.mark.parametrize("fused", [None, False])
def test_the_learning_rate_of_each_epoch_is_that_of_its_last_step(fused: bool | None) -> None:
    optimizer = functools.partial(torch.optim.Adam, fused=fused)
    history = run(model(), optimizer=optimizer, learning_rate=0.1, schedule=lambda step, steps: 1 / (step + 1))
    assert history.column("learning_rate") == pytest.approx([0.1 / 4, 0.1 / 8, 0.1 / 12])
    assert run(model(), 2, learning_rate=0.1).column("learning_rate") == [0.1, 0.1]


class Stop(Callback):
    def on_epoch_end(self, state: State) -> None:
        state.stop = "enough"


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({}, "all 3 epochs are done"),
        ({"steps": 6}, "6 steps are done"),
        ({"minutes": 1e-9}, "1e-09 minutes are over"),
        ({"callbacks": [Stop()]}, "enough"),
    ],
)
def test_the_reason_for_the_end(settings: dict[str, Any], reason: str, tmp_path: Path) -> None:
    history = run(model(), **settings)
    assert history.stopped == reason
    assert reason in repr(history)
    assert History.from_json(history.to_json(tmp_path / "a.json")).stopped == reason


@pytest.mark.parametrize("records", [None, [1], "abc", 3])
def test_records_that_are_none(records: Any) -> None:
    with pytest.raises(SettingError, match="records"):
        History(records)


def test_an_interruption_comes_back_from_another_process() -> None:
    error = Interrupted("stopped", "go on", int(signal.SIGTERM))
    for again in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):  # noqa: S301
        assert (str(again), again.what, again.signal_number) == (str(error), "stopped", signal.SIGTERM)


class Far(Objective):
    """A KL term that is infinite."""

    def forward(self, model: Any, x: Any, y: Any = None) -> Terms:
        posterior = model.encode(x, y)
        kl = posterior.mean.sum(1) * (float("inf") if len(x) > 1 else 1.0)
        reconstruction = -model.decode(posterior.rsample(), y).log_prob(x)
        return Terms(reconstruction + kl, reconstruction, kl)


def test_a_loss_that_is_not_finite_is_said_to_be_so_by_its_terms() -> None:
    with pytest.raises(TrainingError, match=r"where kl is -?(inf|nan).*clip_norm=1"):
        run(model(objective=Far()))


def test_the_divergence_stays_finite_for_any_log_variance() -> None:
    logvar = torch.tensor([[-200.0, 0.0, 50.0, 88.0, 200.0, 1e4]]).T.requires_grad_()
    found = gaussian_kl(torch.zeros(6, 1), logvar)
    assert found.isfinite().all()
    assert torch.equal(found[:3], 0.5 * (logvar.expm1() - logvar)[:3, 0])
    (gradient,) = torch.autograd.grad(found.sum(), logvar)
    assert gradient.isfinite().all()
    assert gaussian_kl(torch.zeros(1, 1), torch.zeros(1, 1), 1.0, torch.full((1, 1), -300.0)).isfinite().all()
