"""What turns gradients into steps: optimizers, schedules, averaged weights, clipping, budgets."""

from __future__ import annotations

import copy
import functools
import math
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import torch
from test_resume import EPOCHS, STEPS_IN_ALL, data, model
from test_resume import trainer as with_everything
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from mnistvae import VAE, ImageDataset, Trainer
from mnistvae._random import seeded
from mnistvae.data import Batches
from mnistvae.errors import ComponentError, SettingError
from mnistvae.networks import MLPDecoder, MLPEncoder
from mnistvae.objectives import Terms
from mnistvae.schedules import CosineDecay, OneCycle
from mnistvae.training import EMA, Callback, State
from mnistvae.training.optimizers import flush_denormals, make_optimizer, resolve_schedule

SHAPE = (1, 8, 8)


class Certain(VAE):
    """A VAE whose loss draws no noise: the code is the posterior's mean."""

    def loss(self, x: Any, y: Any = None) -> Terms:
        posterior = self.encode(x)
        reconstruction = -self.decode(posterior.mean).log_prob(x)
        kl = torch.distributions.kl_divergence(posterior, self.latent_prior())
        return Terms(reconstruction + kl, reconstruction, kl)


def certain() -> VAE:
    with seeded(4):
        return Certain(2, SHAPE, encoder=MLPEncoder(2, SHAPE, (8,)), decoder=MLPDecoder(2, SHAPE, (8,)))


def trainer(*callbacks: Callback, **settings: Any) -> Trainer:
    return Trainer(
        **{"epochs": 2, "batch_size": 8, "learning_rate": 0.01, "progress": False, "device": "cpu", **settings},
        callbacks=callbacks,
    )


class Steps(Callback):
    """Notes the weights, gradients and learning rate of each step."""

    optimizer: torch.optim.Optimizer

    def __init__(self) -> None:
        self.weights: list[dict[str, Tensor]] = []
        self.gradients: list[Tensor] = []
        self.rates: list[float] = []

    def make(self, weights: Any, lr: float) -> torch.optim.Optimizer:
        """An optimizer that is seen."""
        self.optimizer = torch.optim.SGD(weights, lr=lr)
        return self.optimizer

    def on_fit_start(self, state: State) -> None:
        self.start = {name: tensor.clone() for name, tensor in state.model.state_dict().items()}

    def on_batch_end(self, state: State, n: int) -> None:
        self.weights.append({name: tensor.clone() for name, tensor in state.model.state_dict().items()})
        self.gradients.append(
            torch.cat([p.grad.flatten().clone() for p in state.model.parameters() if p.grad is not None])
        )
        if hasattr(self, "optimizer"):
            self.rates.append(self.optimizer.param_groups[0]["lr"])


# --- what optimizers remember ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [torch.optim.Adam, functools.partial(torch.optim.SGD, momentum=0.9)])
def test_what_has_faded_away_is_zero(make: Any) -> None:
    weight = nn.Parameter(torch.ones(4))
    optimizer = make([weight], lr=0.1)
    weight.grad = torch.tensor([1.0, 1e-20, 0.0, -1.0])
    optimizer.step()
    state = optimizer.state[weight]
    name = "exp_avg" if "exp_avg" in state else "momentum_buffer"
    state[name].copy_(torch.tensor([1e-24, 1e-26, -1e-40, -1.0]))
    flush_denormals(optimizer)
    assert state[name].tolist() == pytest.approx([1e-24, 0.0, 0.0, -1.0], rel=1e-6, abs=0.0)
    if "step" in state:
        assert float(state["step"]) == 1.0


def test_a_run_leaves_no_denormal_numbers_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pixels that are lit in one image of the first batch only: their moments fade away."""

    class Look(Callback):
        def on_fit_end(self, state: State) -> None:
            one = next(iter(made[-1].state.values()))["exp_avg"]
            found.append(int(((one != 0) & (one.abs() < torch.finfo(torch.float32).tiny)).sum()))

    made: list[torch.optim.Optimizer] = []
    found: list[int] = []

    def make(weights: Any, lr: float) -> torch.optim.Optimizer:
        made.append(torch.optim.Adam(weights, lr=lr, betas=(0.7, 0.999)))
        return made[-1]

    images = data(8).images.float() / 255
    images[1:, :, :4] = 0.0
    sparse = ImageDataset(images)
    steps = {"batch_size": 1, "epochs": 33, "steps": 258, "optimizer": make}
    trainer(Look(), **steps).fit(certain(), sparse)
    monkeypatch.setattr("mnistvae.training.loop.flush_denormals", lambda optimizer: None)
    trainer(Look(), **steps).fit(certain(), sparse)
    assert found[0] == 0
    assert found[1] > 0, "or there was nothing to be swept"


# --- optimizers -----------------------------------------------------------------------------------------------------


def weights() -> list[nn.Parameter]:
    return [nn.Parameter(torch.ones(3))]


def test_the_default_is_fused_adam() -> None:
    optimizer = make_optimizer(Trainer().optimizer, weights(), 0.25)
    assert type(optimizer) is torch.optim.Adam
    assert optimizer.param_groups[0]["fused"] is True
    assert optimizer.param_groups[0]["lr"] == 0.25


@pytest.mark.parametrize(
    ("make", "fused"),
    [
        (torch.optim.AdamW, True),
        (torch.optim.SGD, True),
        (torch.optim.RMSprop, None),
        (functools.partial(torch.optim.Adam, betas=(0.8, 0.9)), True),
        (functools.partial(torch.optim.Adam, fused=False), False),
        (functools.partial(torch.optim.Adam, foreach=True), None),
        (lambda parameters, lr: torch.optim.Adam(parameters, lr, (0.9, 0.98)), True),
        (lambda parameters, lr: torch.optim.Adam(parameters, lr, fused=False), False),
        (torch.optim.Adagrad, True),
    ],
)
def test_what_can_be_fused_is_unless_one_says_otherwise(make: Any, fused: bool | None) -> None:
    assert make_optimizer(make, weights(), 0.1).param_groups[0].get("fused") is fused


def test_the_arguments_of_a_partial_reach_the_optimizer() -> None:
    make = functools.partial(torch.optim.AdamW, betas=(0.8, 0.9), weight_decay=0.5)
    (group,) = make_optimizer(make, weights(), 0.1).param_groups
    assert (group["betas"], group["weight_decay"], group["lr"]) == ((0.8, 0.9), 0.5, 0.1)


class NoRate(torch.optim.SGD):
    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, 0.1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (NoRate, r"called as optimizer\(parameters, lr=\.\.\.\).*unexpected keyword argument 'lr'.*torch.optim.AdamW"),
        (functools.partial(torch.optim.Adam, betas=(2.0, 0.9)), "Invalid beta parameter"),
        (lambda parameters, lr: "Adam", r"expected a torch\.optim\.Optimizer, got a str: pass its class"),
        ("adam", "optimizer to be called as"),
        (None, "optimizer to be called as"),
        (torch.optim.Adam(weights()), "optimizer to be called as"),
        (torch.nn.Linear, "optimizer"),
    ],
    ids=["no lr", "bad argument", "not an optimizer", "word", "none", "instance", "another class"],
)
def test_what_makes_no_optimizer_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ComponentError, match=message):
        trainer(optimizer=make).fit(certain(), data())


@pytest.mark.parametrize(
    "make",
    [
        torch.optim.Adam,
        functools.partial(torch.optim.AdamW, weight_decay=0.3),
        functools.partial(torch.optim.SGD, momentum=0.9),
        functools.partial(torch.optim.RMSprop, centered=True),
    ],
)
def test_training_is_the_plain_loop(make: Any) -> None:
    vae, by_hand = certain(), certain()
    trainer(optimizer=make, learning_rate=0.002).fit(vae, data())
    optimizer = make(by_hand.parameters(), lr=0.002)
    source = Batches(data(), 8, seed=0)
    for epoch in (1, 2):
        for x, _ in source.epoch(epoch):
            optimizer.zero_grad()
            torch.autograd.backward(by_hand.loss(x).loss.mean())
            optimizer.step()
    for name, tensor in vae.state_dict().items():
        torch.testing.assert_close(tensor, by_hand.state_dict()[name], rtol=1e-4, atol=1e-5)


# --- schedules ------------------------------------------------------------------------------------------------------


def test_cosine_by_hand() -> None:
    assert [CosineDecay()(step, 4) for step in range(5)] == pytest.approx(
        [1, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2, 0]
    )
    # Two steps of warm-up at thirds, then four of a cosine that ends at a fifth.
    expected = [1 / 3, 2 / 3, 1.0, 0.2 + 0.8 * (1 + 0.5**0.5) / 2, 0.6, 0.2 + 0.8 * (1 - 0.5**0.5) / 2, 0.2]
    assert [CosineDecay(warmup=2, final=0.2)(step, 6) for step in range(7)] == pytest.approx(expected)
    assert CosineDecay(final=0.2)(99, 6) == pytest.approx(0.2), "past the end it stays"
    assert CosineDecay()(0, 1) == CosineDecay(warmup=3)(3, 3) == 1.0


def test_one_cycle_by_hand() -> None:
    # Eleven steps, of which three rise: half of the first cosine is at step 1.5.
    assert OneCycle()(0, 11) == pytest.approx(0.04)
    assert OneCycle()(1, 11) == pytest.approx(0.04 + 0.96 * (1 - math.cos(math.pi / 3)) / 2)
    assert OneCycle()(3, 11) == pytest.approx(1.0)
    assert OneCycle()(10, 11) == pytest.approx(1e-4)
    assert OneCycle(rise=0.5, start=0.1, final=0.2)(6, 9) == pytest.approx(0.6)
    factors = [OneCycle()(step, 100) for step in range(100)]
    peak = max(range(100), key=factors.__getitem__)
    assert 28 <= peak <= 32
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)
    assert all(0 < factor <= 1 for factor in factors)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_one_cycle_of_few_steps(steps: int) -> None:
    assert all(0 < OneCycle()(step, steps) <= 1 for step in range(steps))


@pytest.mark.parametrize(
    ("schedule", "factor"),
    [
        ("cosine", CosineDecay()),
        ("one-cycle", OneCycle()),
        (CosineDecay(warmup=3, final=0.1), CosineDecay(warmup=3, final=0.1)),
        (lambda step, steps: (step + 1) / steps, lambda step, steps: (step + 1) / steps),
        (None, lambda step, steps: 1.0),
    ],
)
@pytest.mark.parametrize(
    ("settings", "steps"), [({}, 10), ({"accumulate": 2}, 6), ({"steps": 7}, 7), ({"steps": 99}, 10)]
)
def test_each_step_has_the_learning_rate_of_the_schedule(
    schedule: Any, factor: Callable[[int, int], float], settings: dict[str, int], steps: int
) -> None:
    listener = Steps()
    trainer(listener, optimizer=listener.make, schedule=schedule, learning_rate=0.02, **settings).fit(certain(), data())
    assert listener.rates == pytest.approx([0.02 * factor(step, steps) for step in range(steps)])


def test_each_group_of_weights_keeps_its_part_of_the_rate() -> None:
    made: list[torch.optim.Optimizer] = []
    seen: list[tuple[float, ...]] = []

    def two_groups(parameters: Any, lr: float) -> torch.optim.Optimizer:
        first, *rest = parameters
        made.append(torch.optim.SGD([{"params": [first], "lr": lr / 10}, {"params": rest}], lr=lr))
        return made[0]

    class Look(Callback):
        def on_batch_end(self, state: State, n: int) -> None:
            seen.append(tuple(group["lr"] for group in made[0].param_groups))

    trainer(Look(), optimizer=two_groups, schedule="cosine", learning_rate=0.1).fit(certain(), data())
    assert seen[3] == pytest.approx((0.01 * CosineDecay()(3, 10), 0.1 * CosineDecay()(3, 10)))


@pytest.mark.parametrize("schedule", ["cosinus", "one_cycle", 1, 0.5, ["cosine"]])
def test_an_unknown_schedule(schedule: Any) -> None:
    with pytest.raises(SettingError, match="schedule as 'cosine' or 'one-cycle', or a function of"):
        Trainer(schedule=schedule)


def test_a_schedule_by_name_or_as_it_came() -> None:
    assert repr(resolve_schedule("cosine")) == repr(CosineDecay())
    assert repr(resolve_schedule("one-cycle")) == repr(OneCycle())
    assert resolve_schedule(math.hypot) is math.hypot
    assert resolve_schedule(None) is None


class Stream(IterableDataset[Tensor]):
    def __iter__(self) -> Any:
        return iter(data().images.float() / 255)


def test_a_schedule_has_to_know_the_number_of_steps() -> None:
    with pytest.raises(
        SettingError, match=r"number of steps for the schedule, got data of unknown length: give steps="
    ):
        trainer(schedule="cosine").fit(certain(), DataLoader(Stream(), batch_size=8))
    listener = Steps()
    settings: dict[str, Any] = {"schedule": "cosine", "steps": 4, "optimizer": listener.make}
    trainer(listener, **settings).fit(certain(), DataLoader(Stream(), batch_size=8))
    assert listener.rates == pytest.approx([0.01 * CosineDecay()(step, 4) for step in range(4)])


# --- clipping -------------------------------------------------------------------------------------------------------


def test_the_gradient_is_no_longer_than_asked() -> None:
    free, clipped = Steps(), Steps()
    trainer(free, optimizer=free.make, epochs=1, learning_rate=1e-6).fit(certain(), data())
    trainer(clipped, optimizer=clipped.make, epochs=1, learning_rate=1e-6, clip_norm=0.5).fit(certain(), data())
    assert all(gradient.norm() > 1 for gradient in free.gradients)
    for gradient, shorter in zip(free.gradients, clipped.gradients, strict=True):
        assert float(shorter.norm()) == pytest.approx(0.5, rel=1e-4)
        torch.testing.assert_close(shorter / shorter.norm(), gradient / gradient.norm(), rtol=1e-3, atol=1e-4)


def test_a_short_gradient_is_left_alone() -> None:
    free, clipped = Steps(), Steps()
    trainer(free, epochs=1).fit(certain(), data())
    trainer(clipped, epochs=1, clip_norm=1e6).fit(certain(), data())
    assert all(torch.equal(a, b) for a, b in zip(free.gradients, clipped.gradients, strict=True))


# --- averaged weights -----------------------------------------------------------------------------------------------


def test_averaged_weights_by_hand() -> None:
    listener = Steps()
    vae = model()
    with_everything(listener, schedule=None, ema=0.5, patience=None).fit(vae, data(), data(16))
    assert len(listener.weights) == STEPS_IN_ALL
    average = {name: tensor.double() for name, tensor in listener.start.items() if tensor.is_floating_point()}
    assert {"encoder.trunk.2.running_mean", "encoder.trunk.2.running_var"} <= average.keys()
    for step, now in enumerate(listener.weights):
        decay = min(0.5, (1 + step) / (10 + step))
        average = {name: decay * tensor + (1 - decay) * now[name] for name, tensor in average.items()}
    assert min(0.5, 9 / 18) == 0.5, "both sides of the ramp were seen"
    for name, tensor in average.items():
        torch.testing.assert_close(vae.state_dict()[name].double(), tensor, rtol=1e-4, atol=1e-5)
    counted = vae.state_dict()["encoder.trunk.2.num_batches_tracked"]
    assert int(counted) == 5 * EPOCHS, "a count is not averaged"


def test_the_average_is_what_is_validated_and_what_callbacks_see() -> None:
    seen: list[tuple[float, dict[str, Tensor]]] = []

    class Look(Callback):
        def on_epoch_end(self, state: State) -> None:
            held = {name: tensor.clone() for name, tensor in state.model.state_dict().items()}
            seen.append((state.history[-1]["validation_loss"], held))

    vae, held_out, steps = certain(), data(16), Steps()
    trainer(Look(), steps, ema=0.9).fit(vae, data(), held_out)
    for loss, held in seen:
        other = certain()
        other.load_state_dict(held)
        with torch.no_grad():
            assert float(other.loss(held_out.images.float() / 255).loss.mean()) == pytest.approx(loss, rel=1e-5)
    assert all(torch.equal(tensor, seen[-1][1][name]) for name, tensor in vae.state_dict().items())
    assert not any(torch.equal(tensor, steps.weights[-1][name]) for name, tensor in seen[-1][1].items())


def test_the_average_does_not_change_what_is_trained() -> None:
    free, averaged = Steps(), Steps()
    trainer(free).fit(certain(), data(), data(16))
    trainer(averaged, ema=0.9).fit(certain(), data(), data(16))
    for a, b in zip(free.weights, averaged.weights, strict=True):
        assert all(torch.equal(tensor, b[name]) for name, tensor in a.items())


def test_no_decay_is_the_last_weights() -> None:
    plain, averaged = certain(), certain()
    trainer().fit(plain, data())
    trainer(ema=0).fit(averaged, data())
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(averaged.state_dict()[name], tensor)


def test_weights_are_given_back_after_an_error() -> None:
    layer = nn.Linear(2, 2)
    average = EMA(layer, 0.5)
    before = copy.deepcopy(layer.state_dict())
    with torch.no_grad():
        layer.weight.add_(1)
    with suppress(ZeroDivisionError), average.applied():
        assert torch.equal(layer.weight, before["weight"])
        raise ZeroDivisionError
    assert torch.equal(layer.weight, before["weight"] + 1)
    assert torch.equal(average.average["weight"], before["weight"])


@pytest.mark.parametrize("decay", [1.0, 1.5, -0.1, float("nan"), float("inf"), "0.9", True])
def test_a_decay_that_makes_no_sense(decay: Any) -> None:
    with pytest.raises(SettingError, match="decay from 0 to below 1"):
        trainer(ema=decay).fit(certain(), data())


# --- several batches a step -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [48, 40, 41], ids=["even", "a group left over", "an image left over"])
@pytest.mark.parametrize("k", [2, 3])
def test_k_batches_are_one_that_is_k_times_as_large(n: int, k: int) -> None:
    grey = data(n)
    small, large = Steps(), Steps()
    accumulated = trainer(small, accumulate=k, batch_size=8).fit(certain(), grey, data(16))
    plain = trainer(large, batch_size=8 * k).fit(certain(), grey, data(16))
    assert len(small.gradients) == len(large.gradients) == 2 * math.ceil(n / (8 * k))
    for a, b in zip(small.gradients, large.gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
    for after, plainly in zip(small.weights, large.weights, strict=True):
        for name, tensor in after.items():
            torch.testing.assert_close(tensor, plainly[name], rtol=1e-3, atol=1e-4)
    for name in ("loss", "reconstruction", "kl", "validation_loss"):
        assert accumulated.column(name) == pytest.approx(plain.column(name), rel=1e-4)


def test_callbacks_are_told_once_a_step_of_all_its_images() -> None:
    told: list[tuple[int, int, int]] = []

    class Listener(Callback):
        def on_batch_end(self, state: State, n: int) -> None:
            told.append((state.step, state.batch, n))
            assert state.batches == 2

    trainer(Listener(), accumulate=3).fit(certain(), data())
    assert told == [(1, 1, 24), (2, 2, 16), (3, 1, 24), (4, 2, 16)]


# --- how far it goes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("steps", "epochs"), [(1, 1), (4, 1), (5, 1), (6, 2), (10, 2), (11, 2)])
def test_so_many_steps(steps: int, epochs: int) -> None:
    listener = Steps()
    history = trainer(listener, steps=steps).fit(certain(), data(), data(16))
    assert len(listener.weights) == min(steps, 10)
    assert len(history) == epochs
    assert "validation_loss" in history[-1]


def test_an_epoch_that_steps_cut_short_is_a_mean_over_what_it_saw() -> None:
    vae, again = certain(), certain()
    history = trainer(steps=2).fit(vae, data())
    optimizer = torch.optim.Adam(again.parameters(), lr=0.01)
    losses = []
    for (x, _), _ in zip(Batches(data(), 8, seed=0).epoch(1), range(2), strict=False):
        optimizer.zero_grad()
        loss = again.loss(x).loss.mean()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.item())
    assert history[0]["loss"] == pytest.approx(sum(losses) / 2, rel=1e-4)


def test_so_many_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, passed = time.monotonic, [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock() + passed[0])

    class Wait(Steps):
        def on_batch_end(self, state: State, n: int) -> None:
            super().on_batch_end(state, n)
            passed[0] += 60 if len(self.weights) < 8 else 0

    listener = Wait()
    history = trainer(listener, epochs=9, minutes=6.5).fit(certain(), data(), data(16))
    assert len(listener.weights) == 7
    assert len(history) == 2
    assert "validation_loss" in history[-1]


def test_validation_every_so_many_epochs_and_at_the_end() -> None:
    def validated(**settings: Any) -> list[int]:
        history = trainer(**{"epochs": 5, **settings}).fit(certain(), data(), data(16))
        return [int(record["epoch"]) for record in history if "validation_loss" in record]

    assert validated() == [1, 2, 3, 4, 5]
    assert validated(validate_every=2) == [2, 4, 5]
    assert validated(validate_every=9) == [5]
    assert validated(validate_every=2, steps=12) == [2, 3], "the epoch in which the steps are done is the last"


def test_a_step_takes_all_images_of_an_epoch_once() -> None:
    class Count(VAE):
        seen: list[Tensor]

        def loss(self, x: Any, y: Any = None) -> Terms:
            self.seen.append(x.detach().clone())
            return super().loss(x, y)

    vae = Count(2, SHAPE, encoder=MLPEncoder(2, SHAPE, (8,)), decoder=MLPDecoder(2, SHAPE, (8,)))
    vae.seen = []
    grey: ImageDataset = data()
    trainer(accumulate=3, epochs=1).fit(vae, grey)
    got = torch.cat(vae.seen).flatten(1)
    assert torch.equal(got.sort(0).values, (grey.images.float() / 255).flatten(1).sort(0).values)


# --- what a user may get wrong --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "match"),
    [
        (lambda step, steps: -1.0, r"a finite factor of at least 0, got -1\.0 in step 0"),
        (lambda step, steps: float("nan"), "a finite factor of at least 0, got nan in step 0"),
        (lambda step, steps: math.inf, "a finite factor of at least 0, got inf"),
        (lambda step, steps: "1", "a finite factor of at least 0, got '1'"),
        (lambda step, steps: None, "a finite factor of at least 0, got None"),
        (lambda step: 1.0, r"schedule as a function of \(step, steps\), got .*takes 1 positional"),
        (lambda step, steps: -step / steps, "a finite factor of at least 0, got -0"),
    ],
)
def test_schedules_that_make_no_sense(schedule: Any, match: str) -> None:
    with pytest.raises(SettingError, match=match):
        trainer(schedule=schedule).fit(certain(), data(32))


def test_a_schedule_that_goes_wrong_on_the_way() -> None:
    with pytest.raises(SettingError, match="a finite factor of at least 0, got nan in step 1 of"):
        trainer(schedule=lambda step, steps: math.nan if step == 1 else 1.0, epochs=9).fit(certain(), data(32))
    trainer(schedule=lambda step, steps: np.float32(0.5)).fit(certain(), data(16))


def test_a_learning_rate_in_two_places() -> None:
    with pytest.raises(SettingError, match=r"the learning rate as learning_rate=, got lr=0\.1 in the optimizer"):
        trainer(optimizer=functools.partial(torch.optim.Adam, lr=0.1)).fit(certain(), data(16))


def test_an_optimizer_that_computes_the_loss_itself() -> None:
    with pytest.raises(ComponentError, match="from one gradient, got an LBFGS, which computes the loss several times"):
        trainer(optimizer=torch.optim.LBFGS).fit(certain(), data(16))


@pytest.mark.parametrize("name", ["compile", "cuda_graph", "progress"])
@pytest.mark.parametrize("value", ["no", 1, None])
def test_switches_are_true_or_false(name: str, value: Any) -> None:
    with pytest.raises(SettingError, match=f"{name} as True or False, got {value!r}"):
        Trainer(**{name: value})


@pytest.mark.parametrize("callbacks", [None, Callback(), 3])
def test_callbacks_are_a_list(callbacks: Any) -> None:
    with pytest.raises(SettingError, match="callbacks as a list"):
        Trainer(callbacks=callbacks)


def test_a_run_that_ends_before_an_epoch_has_none_of_it() -> None:
    class Stop(Callback):
        def on_epoch_start(self, state: State) -> None:
            if len(state.history) == 2:
                state.stop = "enough"

    history = trainer(Stop(), epochs=5).fit(certain(), data(16))
    assert history.column("epoch") == [1, 2]
    assert min(history.column("loss")) > 0
