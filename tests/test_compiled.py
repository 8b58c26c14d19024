"""A step compiled as a whole does what the step in parts does. The compiler here traces, and makes no machine code."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable as Function
from pathlib import Path
from typing import Any

import pytest
import torch
from test_optimizers import SHAPE, trainer
from test_resume import StopAt, data
from test_step import grey, noisy
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from mnistvae import VAE, ConditionalVAE, ImageDataset
from mnistvae._random import seeded
from mnistvae.networks import GaussianEncoder, MLPDecoder, MLPEncoder
from mnistvae.objectives import ELBO, IWAE, Terms
from mnistvae.schedules import CosineDecay, Linear
from mnistvae.training import Callback, Checkpoint, Interrupted, State
from mnistvae.training.steps import CompiledStep, Step
from mnistvae.training.steps.whole import WholeStep

traces = pytest.mark.skipif(
    tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 12),
    reason="older compilers cannot make one function of a step, which is then compiled in parts",
)


def traced(monkeypatch: pytest.MonkeyPatch, backend: str) -> list[bool]:
    """Compile by tracing only, which takes no C++ compiler; holds whether each function was to be whole."""
    compile_as_usual, whole = torch.compile, []

    def tracing(function: Any, *, fullgraph: bool, options: dict[str, Any], **_: Any) -> Any:
        whole.append(fullgraph)
        kept = {name: value for name, value in options.items() if name == "guard_filter_fn"}
        return compile_as_usual(function, dynamic=False, fullgraph=fullgraph, backend=backend, options=kept)

    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", tracing)
    return whole


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """With gradients traced as they are for machine code."""
    return traced(monkeypatch, "aot_eager")


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For what changes on the way: what is watched is the same, and the operations traced are done as they are."""
    return traced(monkeypatch, "eager")


class Whole(Callback):
    """Notes after each step whether gradients were left, as a step in parts does."""

    def __init__(self) -> None:
        self.steps: list[bool] = []

    def on_batch_end(self, state: State, n: int) -> None:
        self.steps.append(all(weight.grad is None for weight in state.model.parameters()))


def conditional() -> VAE:
    with seeded(5):
        parts = (MLPEncoder(2, SHAPE, (8,), num_classes=3), MLPDecoder(2, SHAPE, (8,), num_classes=3))
        return ConditionalVAE(2, image_shape=SHAPE, num_classes=3, encoder=parts[0], decoder=parts[1])


def normalized() -> VAE:
    """With statistics of batches, which the forward pass changes."""
    with seeded(5):
        trunk = nn.Sequential(nn.Flatten(), nn.Linear(64, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3))
        return VAE(2, SHAPE, encoder=GaussianEncoder(trunk, 2), decoder=MLPDecoder(2, SHAPE, (8,)))


def labelled(n: int) -> ImageDataset:
    images = data(n).images
    return ImageDataset(images, torch.arange(n) % 3)


ADAMW = functools.partial(torch.optim.AdamW, weight_decay=0.1)
WAYS: dict[str, tuple[Any, dict[str, Any]]] = {
    "Adam": (noisy, {}),
    "AdamW, a schedule": (noisy, {"optimizer": ADAMW, "schedule": CosineDecay(warmup=2)}),
    "other betas, not fused": (
        noisy,
        {"optimizer": functools.partial(torch.optim.Adam, betas=(0.5, 0.8), fused=False)},
    ),
    "clipped, averaged, binarized": (noisy, {"clip_norm": 0.5, "ema": 0.9, "binarization": "dynamic"}),
    "labels": (conditional, {}),
    "IWAE": (functools.partial(noisy, objective=IWAE(3)), {}),
    "beta rises": (functools.partial(noisy, objective=ELBO(schedule=Linear(6))), {}),
    "bf16": (noisy, {"precision": "bf16"}),
}


@traces
@pytest.mark.parametrize("way", WAYS)
def test_a_whole_step_is_the_step_in_parts_to_rounding(way: str, asked: list[bool]) -> None:
    make, settings = WAYS[way]
    plain, compiled, seen = make(), make(), Whole()
    expected = trainer(**settings).fit(plain, labelled(20), labelled(16))
    history = trainer(seen, compile=True, **settings).fit(compiled, labelled(20), labelled(16))
    assert seen.steps == [False, True, False, True, True, False], "the first step and the smaller batches are in parts"
    assert asked == [False, True]
    close = {"rel": 1e-2} if way == "bf16" else {"rel": 5e-5, "abs": 1e-5}
    for column in ("loss", "kl", "validation_loss"):
        assert history.column(column) == pytest.approx(expected.column(column), **close)
    for name, tensor in plain.state_dict().items():
        room = {"rtol": 0.05, "atol": 5e-3} if way == "bf16" else {"rtol": 1e-4, "atol": 1e-5}
        torch.testing.assert_close(compiled.state_dict()[name], tensor, **room)


@traces
def test_each_model_of_a_process_is_compiled_however_many_there_are(watched: list[bool]) -> None:
    with torch._dynamo.config.patch(recompile_limit=1):  # of one piece of code; eight by itself
        for latent_dim in (2, 3, 4):
            seen = Whole()
            model = VAE(latent_dim, SHAPE, encoder=MLPEncoder(latent_dim, SHAPE, (8,)))
            trainer(seen, epochs=1, compile=True).fit(model, data(24))
            assert seen.steps == [False, True, True]


@traces
def test_statistics_of_batches_are_kept_in_parts(asked: list[bool]) -> None:
    plain, compiled, seen = normalized(), normalized(), Whole()
    trainer().fit(plain, data(24))
    trainer(seen, compile=True).fit(compiled, data(24))
    assert not any(seen.steps)
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(compiled.state_dict()[name], tensor, rtol=1e-4, atol=1e-5)


@traces
def test_the_state_of_the_optimizer_is_the_one_of_a_step_in_parts(asked: list[bool]) -> None:
    states = []
    for compile_it in (False, True):
        vae = noisy().train()
        torch.manual_seed(0)
        optimizer = torch.optim.Adam(vae.parameters(), lr=0.01, fused=True)
        step = CompiledStep(vae, optimizer, whole=True, batch_size=4) if compile_it else Step(vae, optimizer)
        for n in range(4):
            step([(grey(16)[4 * n : 4 * n + 4], None)])
        states.append(optimizer.state_dict())
    plain, compiled = states
    assert compiled["param_groups"] == plain["param_groups"]
    for number, state in plain["state"].items():
        for name, tensor in state.items():
            torch.testing.assert_close(compiled["state"][number][name], tensor, rtol=1e-4, atol=1e-7)
    assert {float(state["step"]) for state in compiled["state"].values()} == {4.0}


class Late(ELBO):
    """What others write: a part whose weights take part in the loss from the fourth step on."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Parameter(torch.ones(()))
        self.on = False

    def advance(self, step: int) -> None:
        super().advance(step)
        self.on = step >= 3

    def forward(self, model: Any, x: Tensor, y: Tensor | None = None) -> Terms:
        terms = super().forward(model, x, y)
        return terms._replace(loss=terms.loss * self.head) if self.on else terms


class Renewed(ELBO):
    """A buffer that is another tensor in each step."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.tensor(0.0), persistent=False)

    def advance(self, step: int) -> None:
        super().advance(step)
        self.weight = torch.tensor(step / 3)

    def forward(self, model: Any, x: Tensor, y: Tensor | None = None) -> Terms:
        terms = super().forward(model, x, y)
        return terms._replace(loss=terms.loss + self.weight * terms.kl)


class Restless(ELBO):
    """A weight that is a number of Python's, another one in each step."""

    def advance(self, step: int) -> None:
        self.beta = 1.0 + step / 7


class Penalty(ELBO):
    """A loss with a gradient in it."""

    def forward(self, model: Any, x: Tensor, y: Tensor | None = None) -> Terms:
        terms = super().forward(model, x, y)
        if not torch.is_grad_enabled():
            return terms
        (slope,) = torch.autograd.grad(terms.loss.sum(), [list(model.decoder.parameters())[-2]], create_graph=True)
        return terms._replace(loss=terms.loss + 0.01 * slope.square().sum())


@traces
@pytest.mark.parametrize("objective", [Late, Renewed, Restless])
def test_what_others_wrote_is_compiled_in_parts(objective: Function[[], ELBO], watched: list[bool]) -> None:
    plain, compiled, seen = noisy(objective=objective()), noisy(objective=objective()), Whole()
    expected = trainer(epochs=4).fit(plain, data(24))
    history = trainer(seen, epochs=4, compile=True).fit(compiled, data(24))
    assert not any(seen.steps)
    assert history.column("loss") == pytest.approx(expected.column("loss"), rel=1e-4)
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(compiled.state_dict()[name], tensor, rtol=1e-3, atol=1e-5)


@traces
def test_a_loss_with_a_gradient_in_it_is_not_compiled(asked: list[bool]) -> None:
    plain, compiled = noisy(objective=Penalty()), noisy(objective=Penalty())
    trainer().fit(plain, data(24))
    with pytest.warns(UserWarning, match="goes on without torch.compile, which failed"):
        trainer(compile=True).fit(compiled, data(24))
    assert next(plain.parameters()).isfinite().all()


@traces
def test_weights_without_a_gradient_stay_as_they_are(asked: list[bool]) -> None:
    vae = noisy()
    frozen = next(vae.decoder.parameters()).requires_grad_(requires_grad=False)
    before, seen = frozen.detach().clone(), Whole()
    trainer(seen, compile=True, optimizer=ADAMW).fit(vae, data(16))
    assert any(seen.steps)
    assert torch.equal(frozen, before)


def shrink(*found: Any) -> Any:
    return found[-1] * 0.5


def shrink_decoded(module: nn.Module, *found: Any) -> Any:
    return shrink(*found) if isinstance(module, MLPDecoder) else None


def zero(weight: Tensor) -> None:
    if weight.grad is not None:
        weight.grad.zero_()


def halve(module: nn.Module, into: Any, out: Any) -> Any:
    return tuple(None if one is None else one / 2 for one in into)


def stop(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    for group in optimizer.param_groups:
        group["lr"] = 0.0


def first(vae: nn.Module) -> nn.Parameter:
    return next(vae.parameters())


HOOKS: dict[str, Function[[Any, torch.optim.Optimizer], Any]] = {
    "weight": lambda vae, optimizer: first(vae).register_hook(shrink),
    "after": lambda vae, optimizer: first(vae).register_post_accumulate_grad_hook(zero),
    "backward": lambda vae, optimizer: vae.decoder.register_full_backward_hook(halve),
    "everywhere": lambda vae, optimizer: register_module_forward_hook(shrink_decoded),
    "forward": lambda vae, optimizer: vae.encoder.network.register_forward_hook(shrink),
    "optimizer": lambda vae, optimizer: optimizer.register_step_post_hook(stop),
}


@traces
@pytest.mark.parametrize("kind", HOOKS)
def test_hooks_that_come_on_the_way_are_heard(kind: str, watched: list[bool]) -> None:
    class Hook(Callback):
        def on_epoch_end(self, state: State) -> None:
            if state.epoch == 1:
                handles.append(HOOKS[kind](state.model, made[-1]))

    handles: list[Any] = []
    made: list[torch.optim.Optimizer] = []

    def make(weights: Any, lr: float) -> torch.optim.Optimizer:
        made.append(torch.optim.Adam(weights, lr=lr))
        return made[-1]

    plain, compiled, seen = noisy(), noisy(), Whole()
    trainer(Hook(), epochs=3, optimizer=make).fit(plain, data(16))
    handles.pop().remove()
    with pytest.warns(UserWarning, match="without torch.compile, a hook was registered since"):
        trainer(Hook(), seen, epochs=3, optimizer=make, compile=True).fit(compiled, data(16))
    handles.pop().remove()
    assert seen.steps[:2] == [False, True]
    assert not any(seen.steps[2:])
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(compiled.state_dict()[name], tensor, rtol=1e-4, atol=1e-6)


@traces
def test_a_number_that_is_changed_on_the_way_is_seen(watched: list[bool]) -> None:
    class Change(Callback):
        def on_epoch_end(self, state: State) -> None:
            state.model.objective.beta = 4.0

    plain, compiled, seen = noisy(), noisy(), Whole()
    expected = trainer(Change(), epochs=3).fit(plain, data(16))
    history = trainer(Change(), seen, epochs=3, compile=True).fit(compiled, data(16))
    assert seen.steps == [False] + 5 * [True]
    assert history.column("loss") == pytest.approx(expected.column("loss"), rel=1e-5)
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(compiled.state_dict()[name], tensor, rtol=1e-4, atol=1e-6)


@traces
def test_weights_that_are_frozen_and_thawed_on_the_way(watched: list[bool]) -> None:
    class Freeze(Callback):
        def on_batch_end(self, state: State, n: int) -> None:
            for weight in state.model.encoder.parameters():
                weight.requires_grad_(requires_grad=state.step not in {3, 4})

    plain, compiled, seen = noisy(), noisy(), Whole()
    trainer(Freeze()).fit(plain, data(24))
    trainer(Freeze(), seen, compile=True).fit(compiled, data(24))
    assert seen.steps == [False, *[True] * 5]
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(compiled.state_dict()[name], tensor, rtol=1e-4, atol=1e-6)


@traces
def test_two_groups_with_rates_of_their_own(asked: list[bool]) -> None:
    def make(weights: list[nn.Parameter], lr: float) -> torch.optim.Optimizer:
        return torch.optim.Adam([{"params": weights[:2], "lr": 10 * lr}, {"params": weights[2:]}], lr=lr)

    plain, compiled, seen = noisy(), noisy(), Whole()
    trainer(optimizer=make, schedule="cosine").fit(plain, data(16))
    trainer(seen, optimizer=make, schedule="cosine", compile=True).fit(compiled, data(16))
    assert any(seen.steps)
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(compiled.state_dict()[name], tensor, rtol=1e-4, atol=1e-6)


@traces
@pytest.mark.parametrize("stop", [1, 3, 5])
def test_a_resumed_run_is_the_whole_one_to_the_bit(stop: int, asked: list[bool], tmp_path: Path) -> None:
    whole, part = noisy(), noisy()
    settings: dict[str, Any] = {"compile": True, "ema": 0.9, "schedule": "cosine", "binarization": "dynamic"}
    expected = trainer(Checkpoint(tmp_path / "a"), **settings).fit(whole, data(20), data(16))
    with pytest.raises(Interrupted):
        trainer(Checkpoint(tmp_path / "b"), StopAt(stop), **settings).fit(part, data(20), data(16))
    again = noisy()
    history = trainer(Checkpoint(tmp_path / "b"), **settings).fit(again, data(20), data(16), resume=tmp_path / "b")
    assert history.column("loss") == expected.column("loss")
    for name, tensor in whole.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)


def test_what_cannot_be_taken_as_a_whole_is_compiled_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def compiler(function: Any, *, fullgraph: bool, **_: Any) -> Any:
        def call(x: Tensor, y: Tensor | None) -> Any:
            calls.append("whole" if fullgraph else "parts")
            if fullgraph:
                raise RuntimeError("there is something in it that the compiler does not know")
            return function(x, y)

        return call

    monkeypatch.setattr(torch, "compile", compiler)
    plain, compiled = noisy(), noisy()
    trainer().fit(plain, data(24))
    with pytest.warns(UserWarning, match="compiled in parts: as a whole it failed: there is something in it") as warned:
        trainer(compile=True).fit(compiled, data(24))
    assert len(warned) == 1
    assert calls == ["whole", *["parts"] * 5], "it is tried once"
    assert all(torch.equal(tensor, plain.state_dict()[name]) for name, tensor in compiled.state_dict().items())


def hook(*_: Any) -> None:
    """Does nothing."""


def test_which_steps_are_taken_as_a_whole() -> None:
    vae = noisy()
    fits = WholeStep.fits
    assert fits(vae, torch.optim.Adam(vae.parameters()))
    assert fits(vae, torch.optim.AdamW(vae.parameters(), maximize=True))
    assert not fits(vae, torch.optim.SGD(vae.parameters(), lr=0.1))
    assert not fits(vae, torch.optim.Adam(vae.parameters(), amsgrad=True))
    assert not fits(vae, torch.optim.Adam(vae.parameters(), differentiable=True))

    class Own(torch.optim.Adam):
        pass

    assert not fits(vae, Own(vae.parameters())), "its step may be another"
    meta = nn.Linear(2, 2, device="meta")
    assert not fits(meta, torch.optim.Adam(meta.parameters())), "not on this device"


@pytest.mark.parametrize("kind", ["weight", "after", "module"])
def test_who_listens_to_gradients_is_heard(kind: str) -> None:
    vae = noisy()
    weight = next(vae.parameters())
    if kind == "weight":
        handle = weight.register_hook(hook)
    elif kind == "after":
        handle = weight.register_post_accumulate_grad_hook(hook)
    else:
        handle = vae.decoder.register_full_backward_hook(hook)
    assert not WholeStep.fits(vae, torch.optim.Adam(vae.parameters()))
    handle.remove()
    assert WholeStep.fits(vae, torch.optim.Adam(vae.parameters()))


@traces
def test_accumulated_batches_are_compiled_in_parts(asked: list[bool]) -> None:
    plain, compiled, seen = noisy(), noisy(), Whole()
    trainer(accumulate=2).fit(plain, data(32))
    trainer(seen, accumulate=2, compile=True).fit(compiled, data(32))
    assert not any(seen.steps)
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(compiled.state_dict()[name], tensor, rtol=1e-4, atol=1e-6)


@traces
@pytest.mark.slow
def test_machine_code_of_a_whole_step() -> None:
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        pytest.skip("torch.compile needs a C++ compiler")
    torch._dynamo.reset()
    plain, compiled, seen = noisy(), noisy(), Whole()
    expected = trainer(clip_norm=1.0).fit(plain, data(20), data(16))
    history = trainer(seen, clip_norm=1.0, compile=True).fit(compiled, data(20), data(16))
    assert seen.steps == [False, True, False, True, True, False]
    assert history.column("loss") == pytest.approx(expected.column("loss"), rel=1e-4)
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(compiled.state_dict()[name], tensor, rtol=1e-3, atol=1e-4)
