"""Early stopping: when a run ends, and with which weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from test_optimizers import certain, trainer
from test_resume import data
from torch import Tensor

from mnistvae import VAE
from mnistvae.errors import SettingError, TrainingError
from mnistvae.training import Callback, EarlyStopping, State


class Scripted(Callback):
    """Gives the epochs the figures of a script, and notes the weights after each."""

    def __init__(self, *figures: float | None, name: str = "validation_loss") -> None:
        self.figures = figures
        self.name = name
        self.weights: list[dict[str, Tensor]] = []
        self.stop = ""

    def on_epoch_end(self, state: State) -> None:
        figure = self.figures[state.epoch - 1]
        if figure is None:
            state.history[-1].pop(self.name, None)
        else:
            state.history[-1][self.name] = figure
        self.weights.append({name: tensor.clone() for name, tensor in state.model.state_dict().items()})

    def on_fit_end(self, state: State) -> None:
        self.stop = state.stop


def fitted(script: Scripted, stopping: EarlyStopping, *, validates: bool = True, **settings: Any) -> tuple[VAE, int]:
    """The model, and after how many epochs it stopped."""
    vae = certain()
    run = trainer(script, stopping, **{"epochs": len(script.figures), **settings})
    return vae, len(run.fit(vae, data(), data(16) if validates else None))


def has(vae: VAE, weights: dict[str, Tensor]) -> bool:
    return all(torch.equal(tensor, weights[name]) for name, tensor in vae.state_dict().items())


@pytest.mark.parametrize(
    ("losses", "patience", "epochs", "best"),
    [
        ((5, 4, 6, 7, 1), 2, 4, 2),
        ((5, 4, 6, 3, 7, 8, 9), 2, 6, 4),
        ((5, 6, 4, 3), 1, 2, 1),
        ((5, 4, 3, 2), 1, 4, 4),
        ((5, 4, 4, 4, 3), 2, 4, 2),
        ((5, 6, 7), 9, 3, 1),
        ((5, 4, 6, 7), 3, 4, 2),
    ],
    ids=["stops", "waits anew", "at once", "never", "equal is not lower", "patient", "short of patience"],
)
@pytest.mark.parametrize("ema", [None, 0.9])
def test_it_stops_after_its_patience_and_gives_the_best_weights_back(
    losses: tuple[float, ...], patience: int, epochs: int, best: int, ema: float | None
) -> None:
    script = Scripted(*losses)
    vae, done = fitted(script, EarlyStopping(patience), ema=ema)
    assert done == epochs
    assert has(vae, script.weights[best - 1])
    assert sum(has(vae, weights) for weights in script.weights) == 1
    waited_enough = done - best == patience
    assert script.stop == (f"no lower validation_loss for {patience} validations" if waited_enough else "")


def test_a_loss_has_to_be_lower_by_so_much() -> None:
    losses = (5.0, 4.8, 4.6, 4.4, 4.2)
    assert fitted(Scripted(*losses), EarlyStopping(2))[1] == 5
    script = Scripted(*losses)
    vae, done = fitted(script, EarlyStopping(2, min_delta=0.3))
    assert done == 5, "4.6 is lower than 5 by enough, and 4.2 than 4.6"
    assert has(vae, script.weights[4])
    script = Scripted(*losses)
    vae, done = fitted(script, EarlyStopping(2, min_delta=0.5))
    assert done == 3
    assert has(vae, script.weights[0])


def test_epochs_without_a_validation_are_not_waited_for() -> None:
    script = Scripted(5, None, 6, None, 7, None, 8, None)
    assert fitted(script, EarlyStopping(2))[1] == 5


def test_a_run_that_validates_seldom_counts_validations() -> None:
    class Worse(Callback):
        def on_epoch_end(self, state: State) -> None:
            if "validation_loss" in state.history[-1]:
                state.history[-1]["validation_loss"] = float(state.epoch)

    history = trainer(Worse(), EarlyStopping(2), epochs=20, validate_every=3).fit(certain(), data(), data(16))
    assert len(history) == 9


def test_without_validation_data_the_loss_is_looked_at() -> None:
    script = Scripted(5, 4, 6, 7, 1, name="loss")
    vae, done = fitted(script, EarlyStopping(2), validates=False)
    assert done == 4
    assert has(vae, script.weights[1])


def test_another_figure_may_be_looked_at() -> None:
    script = Scripted(5, 6, 7, 8, name="kl")
    assert fitted(script, EarlyStopping(2, monitor="kl"))[1] == 3
    assert script.stop == "no lower kl for 2 validations"


def test_it_can_be_used_for_a_second_run() -> None:
    stopping = EarlyStopping(2)
    assert fitted(Scripted(1, 2, 3), stopping)[1] == 3
    script = Scripted(9, 8, 7, 6)
    vae, done = fitted(script, stopping)
    assert done == 4
    assert has(vae, script.weights[3])


def test_a_run_that_fails_keeps_the_weights_that_it_has() -> None:
    """They show what went wrong."""
    script = Scripted(5, 6, float("nan"))

    class Poison(Callback):
        def on_batch_end(self, state: State, n: int) -> None:
            if state.epoch == 3:
                with torch.no_grad():
                    next(state.model.parameters()).fill_(float("nan"))

    vae = certain()
    with pytest.raises(TrainingError):
        trainer(script, EarlyStopping(5), Poison(), epochs=3).fit(vae, data(), data(16))
    assert not has(vae, script.weights[0])


@pytest.mark.parametrize("patience", [0, -1, 1.5, True, "2"])
def test_a_patience_that_makes_no_sense(patience: Any) -> None:
    with pytest.raises(SettingError, match="patience of at least 1"):
        EarlyStopping(patience)
    with pytest.raises(SettingError, match="patience of at least 1"):
        trainer(patience=patience)


@pytest.mark.parametrize("min_delta", [-0.1, float("nan"), float("inf")])
def test_a_difference_that_makes_no_sense(min_delta: float) -> None:
    with pytest.raises(SettingError, match="min_delta"):
        EarlyStopping(2, min_delta)
