"""A run that is stopped and resumed is, to the bit, the run that was never stopped."""

from __future__ import annotations

import functools
import itertools
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from console import Done, run
from readback import content, png
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from mnistvae import VAE, ConditionalVAE, History, ImageDataset, Trainer, io, load, load_dataset
from mnistvae._random import seeded
from mnistvae.commands import RunFolder, cli
from mnistvae.errors import FileFormatError, OutputError, SettingError
from mnistvae.networks import GaussianEncoder, MLPDecoder, MLPEncoder
from mnistvae.objectives import ELBO, IWAE, Terms
from mnistvae.schedules import CosineDecay, Linear
from mnistvae.training import Callback, Checkpoint, CSVLog, EarlyStopping, Interrupted, State, read_checkpoint
from mnistvae.training.optimizers import Rates

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
        "schedule": CosineDecay(warmup=2),
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


# --- what another run would be --------------------------------------------------------------------------------------


def begun(folder: Path, frozen: str = "", **changes: Any) -> None:
    """An epoch of a run without a schedule, and a checkpoint of it."""
    vae = model()
    if frozen:
        getattr(vae, frozen).requires_grad_(requires_grad=False)
    trainer(Checkpoint(folder), **{"epochs": 1, "schedule": None, **changes}).fit(vae, data(), data(16))


def gone_on(folder: Path, frozen: str = "", **changes: Any) -> History:
    vae = model()
    if frozen:
        getattr(vae, frozen).requires_grad_(requires_grad=False)
    how = {"epochs": 3, "schedule": None, **changes}
    return trainer(Checkpoint(folder), **how).fit(vae, data(), data(16), resume=folder)


@pytest.mark.parametrize(("then", "now"), [("encoder", "decoder"), ("encoder", ""), ("", "decoder")])
def test_weights_that_were_frozen_then_have_to_be_frozen_now(then: str, now: str, tmp_path: Path) -> None:
    begun(tmp_path, then)
    with pytest.raises(SettingError, match=r"the same weights frozen as in .*, got a difference in (en|de)coder"):
        gone_on(tmp_path, now)
    assert len(gone_on(tmp_path, then)) == 3


def test_optimizers_without_a_name_are_told_apart_by_their_class(tmp_path: Path) -> None:
    begun(tmp_path, optimizer=lambda weights, lr: torch.optim.SGD(weights, lr=lr, momentum=0.9))
    with pytest.raises(SettingError, match="the optimizer that the run to go on with has, SGD, got Adam"):
        gone_on(tmp_path, optimizer=lambda weights, lr: torch.optim.Adam(weights, lr=lr, betas=(0.9, 0.99)))
    assert len(gone_on(tmp_path, optimizer=lambda weights, lr: torch.optim.SGD(weights, lr=lr, momentum=0.9))) == 3


def test_schedules_without_a_name_are_told_apart_by_their_values(tmp_path: Path) -> None:
    begun(tmp_path, schedule=lambda step, steps: 1.0, epochs=3, steps=4)
    with pytest.raises(SettingError, match=r"schedule=.*lambda.* 1\.0.* as the run to go on with has it"):
        gone_on(tmp_path, schedule=lambda step, steps: 0.01, steps=4)


def test_early_stopping_has_to_watch_the_same(tmp_path: Path) -> None:
    how: dict[str, Any] = {"patience": None, "schedule": None}
    first = EarlyStopping(2, monitor="validation_kl")
    trainer(Checkpoint(tmp_path), first, **how, epochs=1).fit(model(), data(), data(16))
    for other, match in (
        (EarlyStopping(2), "EarlyStopping with monitor='validation_kl', as the run had it, got 'validation_loss'"),
        (EarlyStopping(3, monitor="validation_kl"), "EarlyStopping with patience=2, as the run had it, got 3"),
        (EarlyStopping(2, 0.5, "validation_kl"), r"EarlyStopping with min_delta=0\.0, as the run had it, got 0\.5"),
    ):
        with pytest.raises(SettingError, match=match):
            trainer(Checkpoint(tmp_path), other, **how).fit(model(), data(), data(16), resume=tmp_path)


@pytest.mark.parametrize(("then", "now"), [({"steps": 4}, {"steps": 8}), ({"steps": 6}, {}), ({"minutes": 1e-9}, {})])
def test_what_ended_by_its_budget_goes_on_with_more(then: dict[str, Any], now: dict[str, Any], tmp_path: Path) -> None:
    begun(tmp_path, **{"epochs": 3, "patience": None, **then})
    before = len(read_checkpoint(tmp_path).info["history"])
    assert before < 3
    assert len(gone_on(tmp_path, patience=None, **then)) == before  # as much as then: it is over
    assert len(gone_on(tmp_path, patience=None, **now)) == 3


@pytest.mark.parametrize("bad", [3, None, ["a"], "a\0b"])
def test_paths_that_are_none(bad: Any, tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="checkpoint"):
        read_checkpoint(bad)
    with pytest.raises(OutputError, match=r"a folder to write at|a path to write|a path, got"):
        trainer(Checkpoint(bad)).fit(model(), data(16))
    with pytest.raises(OutputError, match=r"a folder to write at|a path to write|a path, got"):
        trainer(CSVLog(bad)).fit(model(), data(16))


# --- every kind of run ----------------------------------------------------------------------------------------------


def stopped_after_each_step(
    folder: Path, make: Callable[[], VAE], images: Callable[[], Any], held_out: Any, **changes: Any
) -> tuple[VAE, History]:
    """A run that is stopped after its first step, resumed, stopped after its second one, and so on to its end."""
    for step in itertools.count(1):
        assert step < 50, "the run does not end"
        vae = make()
        resume = folder if step > 1 else None
        try:
            history = trainer(Checkpoint(folder), StopAt(step), **changes).fit(vae, images(), held_out, resume=resume)
        except Interrupted:
            assert read_checkpoint(folder).info["step"] == step
            continue
        return vae, history
    raise AssertionError


def told(n: int = 40) -> ImageDataset:
    return ImageDataset(data(n).images, torch.arange(n) % 3)


def conditional() -> VAE:
    with seeded(1):
        return ConditionalVAE(
            2,
            3,
            (1, 8, 8),
            encoder=MLPEncoder(2, (1, 8, 8), (8,), num_classes=3),
            decoder=MLPDecoder(2, (1, 8, 8), (8,), num_classes=3),
        )


def weighted() -> VAE:
    with seeded(2):
        return VAE(
            2,
            (1, 8, 8),
            encoder=MLPEncoder(2, (1, 8, 8), (8,)),
            decoder=MLPDecoder(2, (1, 8, 8), (8,)),
            objective=IWAE(3),
        )


class Flickering(Dataset[Tensor]):
    """Images that are as bright as torch's global generator says, as a data set of one's own may be."""

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> Tensor:
        image: Tensor = data().images[index] / 255 * torch.rand(())
        return image


def loader(*, shuffle: bool = True) -> DataLoader[Any]:
    return DataLoader(TensorDataset(told().images.float() / 255, torch.arange(40) % 3), batch_size=8, shuffle=shuffle)


class Weight(Callback):
    """Has tensors and numbers of its own, and changes the run by them."""

    def __init__(self) -> None:
        self.seen: dict[int, Any] = {}
        self.total = torch.zeros(2)

    def on_batch_end(self, state: State, n: int) -> None:
        self.total += torch.tensor([float(n), 1.0])
        self.seen[state.epoch] = (n, [state.step, None, "text", True])

    def on_epoch_end(self, state: State) -> None:
        state.history[-1]["weighed"] = float(self.total[0] / self.total[1]) + self.seen[state.epoch][1][0]

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen, "total": self.total}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert all(isinstance(entry, tuple) and isinstance(entry[1], list) for entry in state["seen"].values())
        self.seen, self.total = state["seen"], state["total"]


KINDS: dict[str, tuple[Callable[[], VAE], Callable[[], Any], dict[str, Any]]] = {
    "bare": (
        model,
        data,
        {"schedule": None, "clip_norm": None, "ema": None, "patience": None, "accumulate": 1, "binarization": "none"},
    ),
    "conditional": (conditional, told, {}),
    "importance weighted": (weighted, data, {}),
    "shuffled loader": (conditional, loader, {"binarization": "none"}),
    "loader in order": (conditional, functools.partial(loader, shuffle=False), {"binarization": "none"}),
    "loader that draws": (model, lambda: DataLoader(Flickering(), 8, shuffle=True), {"binarization": "none"}),
    "static": (model, data, {"binarization": "static"}),
    "one cycle": (model, data, {"schedule": "one-cycle"}),
    "cosine by name": (model, data, {"schedule": "cosine"}),
    "AdamW": (model, data, {"optimizer": functools.partial(torch.optim.AdamW, weight_decay=0.1, amsgrad=True)}),
    "plain SGD": (model, data, {"optimizer": torch.optim.SGD, "learning_rate": 1e-4}),
    "SGD with momentum": (
        model,
        data,
        {"optimizer": functools.partial(torch.optim.SGD, momentum=0.9, nesterov=True), "learning_rate": 1e-4},
    ),
    "RMSprop": (model, data, {"optimizer": functools.partial(torch.optim.RMSprop, centered=True, momentum=0.5)}),
    "Adagrad": (model, data, {"optimizer": torch.optim.Adagrad}),
    "each batch a step": (model, data, {"accumulate": 1, "batch_size": 16}),
    "groups of three": (model, data, {"accumulate": 3}),
    "half precision": (model, data, {"precision": "bf16"}),
    "every other epoch validated": (model, data, {"validate_every": 2, "patience": 1}),
    "steps": (model, data, {"steps": 7}),
    "steps to the end of an epoch": (model, data, {"steps": 6}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_any_kind_of_run_stopped_after_each_step(kind: str, tmp_path: Path) -> None:
    make, images, changes = KINDS[kind]
    labelled = make is conditional
    held_out = told(16) if labelled else data(16)
    vae = make()
    history = trainer(Checkpoint(tmp_path / "whole"), **changes).fit(vae, images(), held_out)
    expected = outcome(tmp_path / "whole", vae, history)
    again, resumed = stopped_after_each_step(tmp_path / "parts", make, images, held_out, **changes)
    same(outcome(tmp_path / "parts", again, resumed), expected)
    assert resumed.tag == history.tag


def test_a_callback_of_ones_own_goes_on_from_its_state(tmp_path: Path) -> None:
    def one(folder: Path, *others: Callback, resume: Path | None = None) -> Any:
        vae = model()
        listeners = (Weight(), Checkpoint(folder), *others)
        return outcome(folder, vae, trainer(*listeners).fit(vae, data(), data(16), resume=resume))

    expected = one(tmp_path / "whole")
    for step in (2, 5):
        with pytest.raises(Interrupted):
            one(tmp_path / "parts", StopAt(step), resume=tmp_path / "parts" if step > 2 else None)
    resumed = one(tmp_path / "parts", resume=tmp_path / "parts")
    same(resumed, expected)
    assert "weighed" in resumed[1][0]


def early(*callbacks: Callback) -> Trainer:
    """Steps that are too long: after some epochs, the validation loss is no longer better."""
    return trainer(*callbacks, epochs=12, schedule=None, learning_rate=0.5, ema=None, patience=2)


def test_early_stopping_on_both_sides_of_the_stop(tmp_path: Path) -> None:
    vae = model()
    history = early(Checkpoint(tmp_path / "whole")).fit(vae, data(), data(16))
    losses = history.column("validation_loss")
    assert len(history) < 12
    best = min(range(len(losses)), key=losses.__getitem__)
    assert best == len(losses) - 3 > 0, "the best weights are neither the first nor the last"
    expected = outcome(tmp_path / "whole", vae, history)
    last = 3 * len(history)
    for step in (3 * best + 3, 3 * best + 4, last - 3, last - 1, last):
        folder = tmp_path / str(step)
        with pytest.raises(Interrupted):
            early(Checkpoint(folder), StopAt(step)).fit(model(), data(), data(16))
        again = model()
        same(outcome(folder, again, early(Checkpoint(folder)).fit(again, data(), data(16), resume=folder)), expected)
    with pytest.raises(Interrupted):  # the run is to end, and this is said in its last checkpoint
        early(Checkpoint(tmp_path / "end"), InEpochEnd(len(history))).fit(model(), data(), data(16))
    again = model()
    resumed = early(Checkpoint(tmp_path / "end")).fit(again, data(), data(16), resume=tmp_path / "end")
    same(outcome(tmp_path / "end", again, resumed), expected)


# --- where and how a signal comes -----------------------------------------------------------------------------------


class InEpochEnd(Callback):
    """Sends a signal while callbacks are told of the end of an epoch."""

    def __init__(self, epoch: int, number: int = signal.SIGINT) -> None:
        self.epoch = epoch
        self.number = number

    def on_epoch_end(self, state: State) -> None:
        if state.epoch == self.epoch:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("epoch", range(1, EPOCHS + 1))
def test_a_signal_at_the_end_of_an_epoch(epoch: int, whole: Any, tmp_path: Path) -> None:
    with pytest.raises(Interrupted, match=f"after step {STEPS * epoch}"):
        trainer(Checkpoint(tmp_path), InEpochEnd(epoch)).fit(model(), data(), data(16))
    vae = model()
    same(outcome(tmp_path, vae, trainer(Checkpoint(tmp_path)).fit(vae, data(), data(16), resume=tmp_path)), whole)


class Interrupting(VAE):
    """Sends a signal while it is validated for the n-th time."""

    left: ClassVar[int] = 0

    def loss(self, x: Any, y: Any = None) -> Terms:
        if not self.training:
            type(self).left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGTERM)
        return super().loss(x, y)


@pytest.mark.parametrize("epoch", [1, 3, EPOCHS])
def test_a_signal_in_mid_validation(epoch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def one(folder: Path, resume: Path | None = None) -> Any:
        vae = model()
        vae.__class__ = Interrupting
        return outcome(folder, vae, trainer(Checkpoint(folder)).fit(vae, data(), data(16), resume=resume))

    monkeypatch.setattr(Interrupting, "left", 0)
    expected = one(tmp_path / "whole")
    monkeypatch.setattr(Interrupting, "left", epoch)
    with pytest.raises(Interrupted, match=f"SIGTERM after step {STEPS * epoch}"):
        one(tmp_path / "parts")
    same(one(tmp_path / "parts", tmp_path / "parts"), expected)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_an_interruption_says_and_leaves(number: signal.Signals, tmp_path: Path) -> None:
    handlers = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    random.seed(1)
    torch_state, numpy_state, python_state = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    vae = model()
    with pytest.raises(Interrupted) as caught:
        trainer(Checkpoint(tmp_path / "here"), StopAt(5, number)).fit(vae, data(), data(16))
    assert isinstance(caught.value, KeyboardInterrupt)
    assert caught.value.signal_number == number
    assert str(caught.value) == f"stopped by {number.name} after step 5; go on with resume={str(tmp_path / 'here')!r}"
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert all(np.array_equal(a, b) for a, b in zip(np.random.get_state(), numpy_state, strict=True))  # noqa: NPY002
    assert random.getstate() == python_state
    assert {each: signal.getsignal(each) for each in handlers} == handlers
    assert torch.is_grad_enabled()
    assert not vae.training
    assert [path.name for path in sorted((tmp_path / "here").iterdir())] == [
        "checkpoint-00000003.safetensors",
        "checkpoint-00000005.safetensors",
    ]


def test_an_interruption_without_checkpoints_says_so() -> None:
    with pytest.raises(Interrupted, match="after step 2; no checkpoint was asked for"):
        trainer(StopAt(2)).fit(model(), data())


def test_callbacks_are_told_of_an_interruption_and_of_the_end(tmp_path: Path) -> None:
    class Told(StopAt):
        def __init__(self, step: int) -> None:
            super().__init__(step)
            self.events: list[Any] = []

        def on_interrupt(self, state: State) -> None:
            self.events.append("interrupt")

        def on_fit_end(self, state: State) -> None:
            self.events.append((state.complete, state.saved_to))

    listener = Told(4)
    with pytest.raises(Interrupted):
        trainer(Checkpoint(tmp_path), listener).fit(model(), data(), data(16))
    assert listener.events == ["interrupt", (False, tmp_path / "checkpoint-00000004.safetensors")]
    finished = Told(0)
    trainer(Checkpoint(tmp_path), finished).fit(model(), data(), data(16), resume=tmp_path)
    assert finished.events == [(True, None)]


def test_the_second_signal_acts_at_once(tmp_path: Path) -> None:
    class Twice(Callback):
        def on_batch_end(self, state: State, n: int) -> None:
            if state.step == 2:
                os.kill(os.getpid(), signal.SIGINT)
                os.kill(os.getpid(), signal.SIGINT)
                raise AssertionError("the second signal was swallowed")

    handlers = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    with pytest.raises(KeyboardInterrupt) as caught:
        trainer(Checkpoint(tmp_path), Twice()).fit(model(), data())
    assert type(caught.value) is KeyboardInterrupt
    assert not list(tmp_path.iterdir())
    assert {each: signal.getsignal(each) for each in handlers} == handlers


class Handlers(Callback):
    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_batch_end(self, state: State, n: int) -> None:
        self.seen = [signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)]


def test_outside_the_main_thread_no_signal_is_watched() -> None:
    listener = Handlers()
    before = [signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)]
    histories: list[History] = []

    def work() -> None:
        histories.append(trainer(listener).fit(model(), data()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(histories[0]) == EPOCHS
    assert listener.seen == before


def test_signals_that_somebody_has_taken_over_stay_with_them() -> None:
    def mine(*_: Any) -> None:
        """As a notebook or a server may have one."""

    before = signal.signal(signal.SIGTERM, mine)
    try:
        listener = Handlers()
        trainer(listener).fit(model(), data())
        assert listener.seen[1] is mine
        assert listener.seen[0] is not signal.default_int_handler, "Ctrl-C is watched all the same"
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)


# --- the end, and after it ------------------------------------------------------------------------------------------


def test_a_finished_run_gives_its_history_and_weights_again(whole: Any, tmp_path: Path) -> None:
    vae = model()
    history = trainer(Checkpoint(tmp_path)).fit(vae, data(), data(16))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    again = model()
    listener = Handlers()
    resumed = trainer(Checkpoint(tmp_path), listener).fit(again, data(), data(16), resume=tmp_path)
    same(outcome(tmp_path, again, resumed), whole)
    assert resumed == history, "with its times"
    assert listener.seen == [], "no step was made"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_more_epochs_go_on_from_a_finished_run(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"schedule": None, "patience": None}
    vae, longer = model(), model()
    trainer(Checkpoint(tmp_path / "a"), epochs=2, **changes).fit(vae, data(), data(16))
    history = trainer(Checkpoint(tmp_path / "a"), **changes).fit(vae, data(), data(16), resume=tmp_path / "a")
    expected = trainer(Checkpoint(tmp_path / "b"), **changes).fit(longer, data(), data(16))
    same(outcome(tmp_path / "a", vae, history), outcome(tmp_path / "b", longer, expected))


def test_no_epoch_is_made_up_where_no_step_is_left(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"schedule": None, "patience": None}
    with pytest.raises(Interrupted):
        trainer(Checkpoint(tmp_path), InEpochEnd(1), **changes).fit(model(), data(), data(16))
    history = trainer(Checkpoint(tmp_path), steps=STEPS, **changes).fit(model(), data(), data(16), resume=tmp_path)
    assert len(history) == 1


def test_the_seconds_of_an_epoch_are_those_of_both_parts(tmp_path: Path) -> None:
    class Slow(StopAt):
        def on_batch_end(self, state: State, n: int) -> None:
            super().on_batch_end(state, n)
            self.seconds = state.seconds

    slow = Slow(2)
    with pytest.raises(Interrupted):
        trainer(Checkpoint(tmp_path), slow).fit(model(), data())
    assert read_checkpoint(tmp_path).info["seconds"] >= slow.seconds > 0
    history = trainer(Checkpoint(tmp_path)).fit(model(), data(), resume=tmp_path)
    assert history[0]["seconds"] > slow.seconds
    assert history[0]["images_per_second"] == pytest.approx(40 / history[0]["seconds"])


def test_minutes_are_counted_over_all_parts_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, passed = time.monotonic, [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock() + passed[0])

    class Minute(StopAt):
        steps = 0

        def on_batch_end(self, state: State, n: int) -> None:
            passed[0] += 60
            self.steps += 1
            super().on_batch_end(state, n)

    changes: dict[str, Any] = {"schedule": None, "patience": None, "minutes": 7.5}
    with pytest.raises(Interrupted):
        trainer(Checkpoint(tmp_path), Minute(4), **changes).fit(model(), data())
    passed[0] = 0.0  # another process has another clock
    rest = Minute(0)
    history = trainer(Checkpoint(tmp_path), rest, **changes).fit(model(), data(), resume=tmp_path)
    assert rest.steps == 4
    assert len(history) == 3


def test_a_run_is_resumed_by_the_path_of_one_checkpoint(whole: Any, tmp_path: Path) -> None:
    trainer(Checkpoint(tmp_path, keep=9)).fit(model(), data(), data(16))
    vae = model()
    path = tmp_path / "checkpoint-00000006.safetensors"
    same(outcome(tmp_path, vae, trainer(Checkpoint(tmp_path)).fit(vae, data(), data(16), resume=path)), whole)


def test_early_stopping_as_a_callback_is_patience(whole: Any, tmp_path: Path) -> None:
    vae = model()
    history = trainer(EarlyStopping(2), Checkpoint(tmp_path), patience=None).fit(vae, data(), data(16))
    assert outcome(tmp_path, vae, history)[1] == whole[1]
    assert all(torch.equal(tensor, whole[0][name]) for name, tensor in vae.state_dict().items())


@pytest.mark.parametrize("step", [8, 9])
def test_a_run_that_was_killed_goes_on_from_its_last_checkpoint(step: int, whole: Any, tmp_path: Path) -> None:
    code = (
        "import signal, sys, pathlib, test_resume as t\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "listeners = t.Checkpoint(folder), t.StopAt(int(sys.argv[2]), signal.SIGKILL)\n"
        "t.trainer(*listeners).fit(t.model(), t.data(), t.data(16))\n"
    )
    process = run(tmp_path, step, folder=tmp_path, program=code)
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert read_checkpoint(tmp_path).info["step"] == 6
    vae = model()
    same(outcome(tmp_path, vae, trainer(Checkpoint(tmp_path)).fit(vae, data(), data(16), resume=tmp_path)), whole)


# --- on the command line --------------------------------------------------------------------------------------------

RUN = ("--recipe", "mlp-2d", "--epochs", 3, "--batch-size", 16, "--ema", 0.9, "--device", "cpu", "--no-progress")

COMMAND = """
import runpy, signal, sys
from test_resume import few, signal_after

few()
signal_after(int(sys.argv.pop(1)), getattr(signal, sys.argv.pop(1)))
runpy.run_module("mnistvae", run_name="__main__")
"""


def few(monkeypatch: pytest.MonkeyPatch | None = None) -> None:
    """The command finds 64 digits to train on, and as many to test."""
    (monkeypatch or pytest.MonkeyPatch()).setattr(
        "mnistvae.data.load_dataset", lambda name, split, root: load_dataset(name, split, root)[:64]
    )


def signal_after(step: int, number: int) -> None:
    """This process gets a signal in the step after so many."""
    set_rates = Rates.set

    def interrupted(self: Rates, now: int) -> None:
        if now == step:
            os.kill(os.getpid(), number)
        set_rates(self, now)

    Rates.set = interrupted  # type: ignore[method-assign]


def in_a_process(folder: Path, step: int, number: str, *options: object) -> Done:
    return run(step, number, "train", *options, folder=folder.parent, program=COMMAND)


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], prog_name="mnistvae")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of the command that nothing stopped."""
    folder = tmp_path_factory.mktemp("command") / "run"
    with pytest.MonkeyPatch.context() as monkeypatch:
        few(monkeypatch)
        result = invoke("train", *RUN, "--out", folder)
    assert result.exit_code == 0, result.output
    return folder


def same_run(a: Path, b: Path) -> None:
    """The same files, figures and pictures; times, and the checkpoints' part of them, may differ."""
    assert sorted(path.relative_to(a) for path in a.rglob("*")) == sorted(path.relative_to(b) for path in b.rglob("*"))
    weights = [load(folder / "model.safetensors").state_dict() for folder in (a, b)]
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())
    records = [
        [{k: v for k, v in record.items() if k not in {"seconds", "images_per_second"}} for record in history]
        for history in (History.from_csv(folder / "history.csv") for folder in (a, b))
    ]
    assert records[0] == records[1]
    for picture in ("samples.png", "reconstructions.png"):
        assert np.array_equal(png(a / picture), png(b / picture))
    about = [io.read(folder / "model.safetensors").metadata for folder in (a, b)]
    for each in about:
        each["last_epoch"] = {k: v for k, v in each["last_epoch"].items() if k not in {"seconds", "images_per_second"}}
    assert about[0] == about[1]


@pytest.mark.parametrize(("step", "number", "code"), [(5, "SIGINT", 130), (2, "SIGTERM", 143)])
def test_the_command_is_stopped_and_goes_on(
    step: int, number: str, code: int, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few(monkeypatch)
    folder = tmp_path / "run"
    stopped = in_a_process(folder, step, number, *RUN, "--out", folder)
    assert stopped.returncode == code, stopped.stderr
    assert (
        f"stopped by {number} after step {step + 1}; go on with:\n  mnistvae train --resume {folder}" in stopped.stderr
    )
    assert "Traceback" not in stopped.stderr
    assert not (folder / "model.safetensors").exists()
    resumed = invoke("train", "--resume", folder, "--device", "cpu", "--no-progress")
    assert resumed.exit_code == 0, resumed.output
    assert "settings " in resumed.stdout
    assert "ema=0.9" in resumed.stdout, "the settings of the run that it goes on with are shown"
    same_run(folder, finished)


@pytest.mark.parametrize("step", [1, 6], ids=["before the first checkpoint", "after it"])
def test_the_command_is_killed_and_goes_on(
    step: int, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few(monkeypatch)
    folder = tmp_path / "run"
    killed = in_a_process(folder, step, "SIGKILL", *RUN, "--out", folder)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    resumed = invoke("train", "--resume", folder, "--device", "cpu", "--no-progress")
    assert resumed.exit_code == 0, resumed.output
    same_run(folder, finished)


def test_half_of_a_first_checkpoint_is_no_checkpoint(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As kill -9 leaves it while the first checkpoint is written: then the run starts again."""
    few(monkeypatch)
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "run.json").write_bytes((finished / "run.json").read_bytes())
    (folder / "history.csv").touch()
    half = folder / "checkpoints" / ".checkpoint-00000004.safetensors.abc.tmp"
    half.write_bytes(b"half")
    resumed = invoke("train", "--resume", folder, "--device", "cpu", "--no-progress")
    assert resumed.exit_code == 0, resumed.output
    half.unlink(missing_ok=True)
    same_run(folder, finished)


@pytest.mark.parametrize(
    "option",
    [
        ("--epochs", 5),
        ("--recipe", "conv"),
        ("--dataset", "mnist-mini"),
        ("--seed", 1),
        ("--out", "elsewhere"),
        ("--ema", 0.5),
        ("--compile",),
        ("--no-compile",),
        ("--latent-dim", 3),
        ("--binarization", "static"),
        ("--schedule", "cosine"),
        ("--batch-size", 16),
    ],
    ids=lambda option: option[0],
)
def test_a_resumed_run_takes_no_other_settings(option: tuple[object, ...], finished: Path) -> None:
    before = content(finished)
    result = invoke("train", "--resume", finished, *option)
    assert result.exit_code == 2
    assert "--resume goes on with the run's own settings: leave" in result.output
    assert str(option[0]).replace("--no-", "--") in result.output.split("leave")[1]
    assert content(finished) == before


def test_a_finished_run_is_not_gone_on_with(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few(monkeypatch)
    before = content(finished)
    result = invoke("train", "--resume", finished, "--no-progress")
    assert result.exit_code == 2
    assert f"expected a run that was stopped, in {finished}, got a finished one: start a new run" in result.output
    assert content(finished) == before


def test_a_folder_without_a_run_is_not_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "garbage").mkdir()
    (tmp_path / "garbage" / "run.json").write_text("{}")
    (tmp_path / "empty").mkdir()
    for name in ("empty", "nowhere", "garbage"):
        result = invoke("train", "--resume", tmp_path / name)
        assert result.exit_code == 2
        assert result.stderr.startswith(f"error: expected {tmp_path / name / 'run.json'}, which a run writes, got ")
        assert result.stderr.endswith("pass the folder of a run of mnistvae train\n")
        assert ("no such file" in result.stderr) == (name != "garbage")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.filterwarnings("default")
def test_checkpoints_that_are_all_damaged(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few(monkeypatch)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "run.json").write_bytes((finished / "run.json").read_bytes())
    (tmp_path / "checkpoints" / "checkpoint-00000004.safetensors").write_bytes(b"nothing")
    result = invoke("train", "--resume", tmp_path, "--device", "cpu", "--no-progress")
    assert result.exit_code == 2
    warning, error = result.stderr.splitlines()
    assert warning.startswith("warning: checkpoint-00000004.safetensors is passed over: expected ")
    assert error.startswith("error: expected ")
    assert "checkpoint-00000004.safetensors" in error
    assert not (tmp_path / "model.safetensors").exists()


def test_how_a_run_was_started_is_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few(monkeypatch)
    result = invoke("train", *RUN, "--hidden", "8", "--steps", 1, "--seed", 3, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    record = RunFolder(tmp_path / "run").read_record()
    assert (record.recipe, record.dataset, record.seed, record.samples_every) == ("mlp-2d", "mnist-mini", 3, 1)
    assert record.settings == {"latent_dim": 2, "beta": 1.0, "hidden": (8,)}
    assert record.training == {"epochs": 3, "batch_size": 16, "learning_rate": 0.001, "ema": 0.9, "steps": 1}


def test_a_resumed_run_compiles_the_steps_that_a_whole_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[int] = []

    def counting(forward: Any, **_: Any) -> Any:
        def call(x: Tensor, y: Tensor | None) -> Any:
            found = forward(x, y)
            compiled.append(len(x))
            return found

        return call

    monkeypatch.setattr(torch, "compile", counting)
    trainer(Checkpoint(tmp_path / "whole"), compile=True).fit(model(), data(), data(16))
    whole, compiled[:] = list(compiled), []
    with pytest.raises(Interrupted):
        trainer(Checkpoint(tmp_path / "part"), StopAt(5), compile=True).fit(model(), data(), data(16))
    trainer(Checkpoint(tmp_path / "part"), compile=True).fit(model(), data(), data(16), resume=tmp_path / "part")
    assert compiled == whole
    assert len(whole) == EPOCHS * 5 - 1, "all batches but the first, which is looked at as it is"
