"""Recorded steps: what is played back is a step, wherever a GPU could record it.

No GPU is needed: a tape stands in for the CUDA graph. It keeps the operations of one step with the very tensors that
they were done to, and does them again; what Python would have decided or computed anew in the next step is frozen on
it, as in a graph. It refuses what a recording GPU refuses: values that are read back, and tensors made from Python's.
"""

from __future__ import annotations

import functools
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from test_loop import Deep
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.data import DataLoader

import mnistvae as mv
from mnistvae import ImageDataset, Trainer, recipes
from mnistvae.data import Batches
from mnistvae.likelihoods import (
    Autoregressive,
    Categorical,
    ContinuousBernoulli,
    DiscretizedLogistic,
    Gaussian,
    LogisticMixture,
)
from mnistvae.networks import PointEncoder
from mnistvae.objectives import ELBO, IWAE, BetaTC, Consistency, DecoderPenalty, Objective, Terms
from mnistvae.priors import Flow, GaussianMixture, SecondStage, VampPrior
from mnistvae.schedules import CosineDecay, Linear
from mnistvae.training import Callback, Checkpoint, Interrupted, State
from mnistvae.training import trainer as trainer_module
from mnistvae.training.steps import Step, recorder_for, takes_single_steps
from mnistvae.training.steps.graph import GraphSteps

REFUSED = {"aten._local_scalar_dense", "aten.lift_fresh", "aten.nonzero", "aten.equal"}


class Tape(TorchDispatchMode):
    """The operations of one step, to be done again."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Any, Any, Any]] = []
        self.before: list[tuple[Tensor, Tensor]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func.overloadpacket)
        if name in REFUSED:
            raise RuntimeError(f"{name}: operation not permitted when stream is capturing\nand more")
        for argument, value in zip(func._schema.arguments, args, strict=False):
            if argument.alias_info is not None and argument.alias_info.is_write:
                self.before += [(tensor, tensor.detach().clone()) for tensor in tree_leaves(value)]
        out = func(*args, **(kwargs or {}))
        self.operations.append((func, args, kwargs or {}, out))
        return out

    @torch.no_grad()
    def undo(self) -> None:
        for tensor, then in reversed(self.before):
            tensor.detach().copy_(then)

    @torch.no_grad()
    def play(self) -> None:
        for func, args, kwargs, then in self.operations:
            now = func(*args, **kwargs)
            for old, new in zip(tree_leaves(then), tree_leaves(now), strict=True):
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                    old.detach().copy_(new)


class TapeRecorder:
    """Stands in for CUDA graphs."""

    def __init__(self) -> None:
        self.rehearsals = self.recordings = self.plays = 0

    @contextmanager
    def rehearse(self) -> Iterator[None]:
        self.rehearsals += 1
        yield

    @contextmanager
    def record(self, generators: Sequence[torch.Generator]) -> Iterator[Callable[[], None]]:
        states = [generator.get_state() for generator in (torch.default_generator, *generators)]
        tape = Tape()

        def play() -> None:
            self.plays += 1
            tape.play()

        try:
            with tape:
                yield play
        finally:
            tape.undo()
            for generator, state in zip((torch.default_generator, *generators), states, strict=True):
                generator.set_state(state)
        self.recordings += 1


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> TapeRecorder:
    tapes = TapeRecorder()
    monkeypatch.setattr(trainer_module, "recorder_for", lambda device: tapes)
    return tapes


def data(n: int = 44, labels: bool = True) -> ImageDataset:
    images = torch.randint(0, 256, (n, 1, 8, 8), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
    return ImageDataset(images, torch.arange(n) % 3 if labels else None)


def convolutional() -> mv.VAE:
    torch.manual_seed(0)
    return mv.VAE(3, (1, 8, 8))


def vae(seed: int = 0, **parts: Any) -> mv.VAE:
    """Of small layers, as each of their operations is done by way of Python."""
    torch.manual_seed(seed)
    n_params = parts["likelihood"].n_params if "likelihood" in parts else 1
    encoder = mv.networks.MLPEncoder(3, (1, 8, 8), (8,))
    decoder = mv.networks.MLPDecoder(3, (1, 8, 8), (8,), n_params=n_params)
    return mv.VAE(3, (1, 8, 8), **{"encoder": encoder, "decoder": decoder, **parts})


def with_rate_in_a_tensor(
    params: Any, lr: Any, *, fused: bool = True, capturable: bool = False, kind: Any = torch.optim.Adam
) -> torch.optim.Optimizer:
    """What a recorded step needs, and others have in these tests, since it rounds another way."""
    optimizer: torch.optim.Optimizer = kind(params, torch.as_tensor(lr), fused=fused)
    for group in optimizer.param_groups:
        group["capturable"] = True
    return optimizer


def train(model: mv.VAE, *, cuda_graph: bool, data: Any = None, resume: Any = None, **settings: Any) -> mv.History:
    usual = {"epochs": 2, "batch_size": 4, "device": "cpu", "progress": False, "optimizer": with_rate_in_a_tensor}
    settings = usual | settings
    images = globals()["data"]() if data is None else data
    return Trainer(cuda_graph=cuda_graph, **settings).fit(model, images, validation=images, resume=resume)


def losses(history: mv.History) -> list[dict[str, float]]:
    return [{name: value for name, value in record.items() if "second" not in name} for record in history.records]


def assert_recorded_equals_usual(
    make: Callable[[], mv.VAE], recorder: TapeRecorder, *, recordings: int = 2, **settings: Any
) -> None:
    """Training with recorded steps is training, to the bit. The second recording is of several steps."""
    plain, recorded = make(), make()
    usual = train(plain, cuda_graph=False, **settings)
    assert (recorder.recordings, recorder.plays) == (0, 0)
    played = train(recorded, cuda_graph=True, **settings)
    assert recorder.recordings == recordings
    assert recorder.plays >= 5
    assert losses(played) == losses(usual)
    for name, tensor in plain.state_dict().items():
        assert torch.equal(recorded.state_dict()[name], tensor), name


@pytest.mark.parametrize("make", [vae, convolutional])
def test_a_recorded_step_is_a_step(recorder: TapeRecorder, make: Callable[[], mv.VAE]) -> None:
    assert_recorded_equals_usual(make, recorder)
    assert recorder.rehearsals == 3
    # 44 images in batches of 4, two epochs: 3 steps as usual, 8 as one; 8 as one, 3 alone.
    assert recorder.plays == 1 + 1 + 3


@pytest.mark.parametrize(
    "settings",
    [
        {"clip_norm": 1.0},
        {"accumulate": 2, "batch_size": 3},
        {"binarization": "dynamic"},
        {"optimizer": functools.partial(with_rate_in_a_tensor, kind=torch.optim.AdamW)},
        {"precision": "bf16"},
        {"steps": 27, "epochs": 9},
    ],
    ids="-".join,
)
def test_several_steps_are_played_as_one(recorder: TapeRecorder, settings: dict[str, Any]) -> None:
    assert_recorded_equals_usual(vae, recorder, data=data(70), **settings)
    assert recorder.plays <= 2 * 6


@pytest.mark.parametrize("steps", [5, 11, 12, 18, 19])
def test_a_run_has_the_steps_that_it_was_given(recorder: TapeRecorder, steps: int) -> None:
    plain, recorded = vae(), vae()
    usual = train(plain, cuda_graph=False, steps=steps)
    assert losses(train(recorded, cuda_graph=True, steps=steps)) == losses(usual)
    for name, tensor in plain.state_dict().items():
        assert torch.equal(recorded.state_dict()[name], tensor), name


@pytest.mark.parametrize(
    "settings",
    [
        {"schedule": CosineDecay(warmup=5)},
        {"ema": 0.9},
        {"clip_norm": 1.0},
        {"accumulate": 2},
        {"binarization": "dynamic"},
        {"optimizer": functools.partial(with_rate_in_a_tensor, kind=torch.optim.AdamW)},
        {"precision": "bf16"},
        {"batch_size": 5},
        {"batch_size": 5, "accumulate": 3, "epochs": 7},
        {
            "schedule": "one-cycle",
            "ema": 0.9,
            "clip_norm": 0.5,
            "accumulate": 2,
            "binarization": "dynamic",
            "batch_size": 3,
        },
    ],
    ids="-".join,
)
def test_what_changes_from_step_to_step_changes_in_a_recorded_one(
    recorder: TapeRecorder, settings: dict[str, Any]
) -> None:
    make = functools.partial(vae, objective=ELBO(2.0, Linear(20)))
    assert_recorded_equals_usual(make, recorder, recordings=1, **settings)


@pytest.mark.parametrize("settings", [{"schedule": "one-cycle"}, {"ema": 0.9}], ids="-".join)
def test_what_is_set_between_two_steps_keeps_them_apart(recorder: TapeRecorder, settings: dict[str, Any]) -> None:
    assert_recorded_equals_usual(vae, recorder, recordings=1, **settings)
    assert recorder.plays == 22 - 3


class Growing(ELBO):
    """With a factor that it sets itself."""

    def advance(self, step: int) -> None:
        self._factor.fill_(step / 10)

    def forward(self, model: Any, x: Tensor, y: Tensor | None = None) -> Terms:
        terms = super().forward(model, x, y)
        return Terms(terms.loss * self._factor, *terms[1:])


def test_an_objective_of_ones_own_is_told_of_each_step(recorder: TapeRecorder) -> None:
    assert takes_single_steps(Growing(), [])
    assert_recorded_equals_usual(lambda: vae(objective=Growing()), recorder, recordings=1)


def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels are read, to be checked, on a CPU only."""
    monkeypatch.setattr(mv.models, "as_labels", lambda y, *_, **__: y)


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_can_be_recorded(recorder: TapeRecorder, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    unread(monkeypatch)
    recipe = recipes.get(name)
    small = {"hidden": (8,), "channels": (8,), "components": 5, "num_samples": 3}
    changes = {key: value for key, value in small.items() if recipe.settings.get(key) is not None}
    model = recipe.model(image_shape=(1, 8, 8), num_classes=3, **changes)
    settings = {**recipe.training, "optimizer": recipe.trainer().optimizer, "epochs": 2, "batch_size": 4}
    history = train(model, cuda_graph=True, **settings)
    disturbed = "schedule" in recipe.training or takes_single_steps(model.objective, [])
    assert (recorder.recordings, recorder.plays) == ((1, 19) if disturbed else (2, 5))
    assert history[1]["loss"] < history[0]["loss"]


PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "IWAE": lambda: {"objective": IWAE(3)},
    "IWAE, doubly reparameterized": lambda: {"objective": IWAE(3, gradient="doubly-reparameterized")},
    "BetaTC": lambda: {"objective": BetaTC()},
    "free bits": lambda: {"objective": ELBO(free_bits=0.1)},
    "capacity": lambda: {"objective": ELBO(capacity=3.0, schedule=Linear(9))},
    "consistency": lambda: {"objective": Consistency()},
    "consistency, beta rises": lambda: {"objective": Consistency(ELBO(schedule=Linear(9)))},
    "decoder penalty": lambda: {"objective": DecoderPenalty(weights=1e-3, gradient=0.1)},
    "points": lambda: {"encoder": PointEncoder(nn.Flatten(), 3)},
    "ContinuousBernoulli": lambda: {"likelihood": ContinuousBernoulli()},
    "Gaussian": lambda: {"likelihood": Gaussian(0.5)},
    "Gaussian, learned": lambda: {"likelihood": Gaussian("learned")},
    "Gaussian, per pixel": lambda: {"likelihood": Gaussian("per-pixel")},
    "DiscretizedLogistic": lambda: {"likelihood": DiscretizedLogistic()},
    "LogisticMixture": lambda: {"likelihood": LogisticMixture(2)},
    "Categorical": lambda: {"likelihood": Categorical(4)},
    "Autoregressive": lambda: {"likelihood": Autoregressive(channels=4, layers=1)},
    "GaussianMixture": lambda: {"prior": GaussianMixture(3, 4)},
    "GaussianMixture, full": lambda: {"prior": GaussianMixture(3, 4, covariance="full")},
    "VampPrior": lambda: {"prior": VampPrior(4)},
    "Flow, realnvp": lambda: {"prior": Flow(3, "realnvp", 2, (8,))},
    "Flow, maf": lambda: {"prior": Flow(3, "maf", 2, (8,))},
    "Flow, nsf": lambda: {"prior": Flow(3, "nsf", 2, (8,))},
    "SecondStage": lambda: {"prior": SecondStage(3, 2, (8,), 4)},
}


@pytest.mark.parametrize("parts", PARTS.values(), ids=list(PARTS))
def test_every_part_can_be_recorded(recorder: TapeRecorder, parts: Callable[[], dict[str, Any]]) -> None:
    def make() -> mv.VAE:
        torch.manual_seed(1)
        return vae(**parts())

    assert_recorded_equals_usual(make, recorder, recordings=1 if takes_single_steps(make().objective, []) else 2)


def test_labels_and_dropout(recorder: TapeRecorder, monkeypatch: pytest.MonkeyPatch) -> None:
    unread(monkeypatch)

    def conditional() -> mv.VAE:
        torch.manual_seed(0)
        trunk = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Dropout(0.5), nn.ReLU())
        return mv.VAE(3, (1, 8, 8), encoder=mv.networks.GaussianEncoder(trunk, 3))

    assert_recorded_equals_usual(conditional, recorder)
    torch.manual_seed(0)
    train(mv.ConditionalVAE(3, 3, (1, 8, 8)), cuda_graph=True)
    assert recorder.recordings == 4


class Peeking(Objective):
    """Reads a value in each step."""

    def forward(self, model: Any, x: Tensor, y: Tensor | None = None) -> Terms:
        terms = ELBO()(model, x, y)
        return Terms(terms.loss * (1.0 if float(terms.kl.sum().detach()) > -1 else 2.0), *terms[1:])


def test_what_cannot_be_recorded_is_trained_as_usual_and_says_why(recorder: TapeRecorder) -> None:
    plain, peeking = vae(objective=Peeking()), vae(objective=Peeking())
    usual = train(plain, cuda_graph=False)
    with pytest.warns(UserWarning, match=r"without a CUDA graph, which failed: aten._local_scalar_dense: .*capturing$"):
        history = train(peeking, cuda_graph=True)
    assert recorder.plays == 0
    assert losses(history) == losses(usual)


@pytest.mark.parametrize("steps", [2, 3, 4, 7, 11, 12])
@pytest.mark.parametrize("binarization", ["none", "dynamic"])
@pytest.mark.parametrize("ema", [None, 0.9])
def test_a_resumed_run_goes_on_to_the_bit(
    recorder: TapeRecorder, tmp_path: Path, steps: int, binarization: str, ema: float | None
) -> None:
    class StopAt(Callback):
        def on_batch_end(self, state: State, n: int) -> None:
            if state.step == steps:
                os.kill(os.getpid(), signal.SIGINT)

    how: dict[str, Any] = {"binarization": binarization, "batch_size": 3, "ema": ema, "clip_norm": 1.0}
    whole, part, rest = vae(), vae(), vae()
    history = train(whole, cuda_graph=True, **how)
    with pytest.raises(Interrupted):
        train(part, cuda_graph=True, **how, callbacks=[StopAt(), Checkpoint(tmp_path)])
    again = train(rest, cuda_graph=True, **how, resume=tmp_path, callbacks=[Checkpoint(tmp_path)])
    assert losses(again) == losses(history)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(rest.state_dict()[name], tensor), name


def test_data_that_are_not_on_the_device(recorder: TapeRecorder) -> None:
    images = data().images.float() / 255
    with pytest.warns(UserWarning, match=r"without a CUDA graph \(cuda_graph=False asks for that\): a DataLoader"):
        train(vae(), cuda_graph=True, data=DataLoader(list(images), batch_size=4))  # type: ignore[arg-type]
    assert recorder.recordings == 0


def test_an_optimizer_that_cannot_be_recorded(recorder: TapeRecorder) -> None:
    with pytest.warns(UserWarning, match="SGD has no capturable=True"):
        train(vae(), cuda_graph=True, optimizer=torch.optim.SGD)
    assert recorder.recordings == 0


def test_what_a_step_gave_stays_when_the_next_is_played() -> None:
    vae = mv.VAE(2, (1, 8, 8))
    step = Step(vae, with_rate_in_a_tensor(vae.parameters(), 1e-3))
    recorded = GraphSteps(Batches(data(), 4, seed=0), step, 1, TapeRecorder())
    taken = [take() for _, take in recorded.epoch(1)]
    assert [len(rows) for rows in taken] == [1, 1, 1, 8]
    rows = [row for rows in taken for row in rows]
    assert [len(row) for row in rows] == 11 * [3]
    assert len({float(row[0]) for row in rows}) == 11
    before = [row.clone() for row in rows]
    _, take = next(recorded.epoch(2))
    assert len(take()) == 8
    assert all(torch.equal(*pair) for pair in zip(before, rows, strict=True))


def test_a_cpu_records_nothing() -> None:
    assert recorder_for(torch.device("cpu")) is None


def test_fewer_images_than_a_step_has(recorder: TapeRecorder) -> None:
    plain, recorded = vae(), vae()
    usual = train(plain, cuda_graph=False, batch_size=100)
    assert losses(train(recorded, cuda_graph=True, batch_size=100)) == losses(usual)
    assert (recorder.rehearsals, recorder.recordings) == (0, 0)


def test_the_callbacks_hear_of_each_step(recorder: TapeRecorder) -> None:
    heard: list[tuple[int, int]] = []

    class Listen(Callback):
        def on_batch_end(self, state: State, n: int) -> None:
            heard.append((state.step, n))

    train(vae(), cuda_graph=True, batch_size=3, epochs=1, callbacks=[Listen()])
    assert recorder.plays == 14 - 3
    assert heard == [(step, 3) for step in range(1, 15)] + [(15, 2)]


def test_a_callback_that_only_watches_hears_of_several_steps_at_once(recorder: TapeRecorder) -> None:
    heard: list[tuple[int, int, float]] = []

    class Watch(Callback):
        def on_progress(self, state: State) -> None:
            heard.append((state.step, state.images, float(state.sums[0])))

    train(vae(), cuda_graph=True, batch_size=3, epochs=1, callbacks=[Watch()])
    assert recorder.plays == 1 + 3
    assert [step for step, *_ in heard] == [1, 2, 3, 11, 12, 13, 14, 15]
    assert [images for _, images, _ in heard] == [*(3 * step for step, *_ in heard[:-1]), 44]
    assert [loss for *_, loss in heard] == sorted({loss for *_, loss in heard})


def test_the_bar_keeps_no_steps_apart(recorder: TapeRecorder, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", terminal)
    train(vae(), cuda_graph=True, epochs=1, progress=True)
    assert recorder.plays == 1
    assert "epoch 1/1" in terminal.getvalue()


def test_a_loss_that_is_computed_when_a_step_is_recorded_is_near_to_fit(recorder: TapeRecorder) -> None:
    """Five frames of this package at most, as in a step that is computed as usual."""
    model = Deep(3, (1, 8, 8))
    train(model, cuda_graph=True)
    assert recorder.recordings == 2
    assert max(model.frames) <= 5


def test_a_recording_that_failed_leaves_the_generators_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's parts are stood in for here; tests/test_gpu.py has the real ones."""
    renewed: list[str] = []

    class Generator:
        def clone_state(self) -> str:
            return "a fresh state"

        def graphsafe_set_state(self, state: str) -> None:
            renewed.append(state)

    class Graph:
        def register_generator_state(self, generator: Any) -> None:
            """Nothing to do."""

        def replay(self) -> None:
            """Nothing to do."""

    @contextmanager
    def capture(graph: Graph) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            raise RuntimeError("the capture could not be ended") from error

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", capture)
    monkeypatch.setattr(torch.cuda, "default_generators", (Generator(),))
    recorder = recorder_for(torch.device("cuda:0"))
    assert recorder is not None
    with recorder.record([]):
        pass
    assert renewed == []
    with pytest.raises(ValueError, match="a value was read"), recorder.record([Generator()]):  # type: ignore[list-item]
        raise ValueError("a value was read")
    assert renewed == ["a fresh state"] * 2
