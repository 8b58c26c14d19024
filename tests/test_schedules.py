"""Schedules: their values by hand, their range, and a schedule of the user's own in a training."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mnistvae as mv
from mnistvae import schedules
from mnistvae._component import class_finder, from_spec, to_spec
from mnistvae.errors import FileFormatError, SettingError
from mnistvae.models import VAE
from mnistvae.networks import MLPDecoder, MLPEncoder
from mnistvae.objectives import ELBO
from mnistvae.schedules import Cosine, CosineDecay, Cyclical, Linear, OneCycle, Schedule
from mnistvae.training import Trainer

#: Each with its values at the steps 0, 1, 2, ...
BY_HAND: list[tuple[Schedule, list[float]]] = [
    (Linear(4), [0, 0.25, 0.5, 0.75, 1, 1, 1]),
    (Linear(1), [0, 1, 1]),
    (Linear(5, start=0.5), [0.5, 0.6, 0.7, 0.8, 0.9, 1, 1]),
    (Linear(3, start=1), [1, 1, 1, 1, 1]),
    (Cosine(1), [0, 1, 1]),
    # Half of 1 - cos of 0, 60, 120 and 180 degrees.
    (Cosine(3), [0, 0.25, 0.75, 1, 1, 1]),
    (Cosine(4), [0, (1 - math.sqrt(0.5)) / 2, 0.5, (1 + math.sqrt(0.5)) / 2, 1, 1]),
    (Cosine(3, start=0.2), [0.2, 0.4, 0.8, 1, 1]),
    (Cyclical(4, cycles=2), [0, 0.5, 1, 1, 0, 0.5, 1, 1, 1, 1, 1, 1, 1]),
    (Cyclical(4, cycles=1, ramp=1), [0, 0.25, 0.5, 0.75, 1, 1, 1]),
    (Cyclical(5, cycles=2, ramp=0.6), [0, 1 / 3, 2 / 3, 1, 1, 0, 1 / 3, 2 / 3, 1, 1, 1, 1]),
    (Cyclical(1, cycles=3), [0, 0, 0, 1, 1]),
    (CosineDecay(steps=4), [1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2, 0, 0, 0]),
    # Two steps of warm-up at thirds, then three at 0, 60 and 120 degrees.
    (CosineDecay(2, 0.2, steps=5), [1 / 3, 2 / 3, 1, 0.8, 0.4, 0.2, 0.2]),
    (CosineDecay(0.4, 0.2, steps=5), [1 / 3, 2 / 3, 1, 0.8, 0.4, 0.2, 0.2]),
    (OneCycle(rise=0.5, start=0.2, final=0.1, steps=5), [0.2, 0.6, 1, 0.55, 0.1, 0.1]),
]
NAMES = {name: getattr(schedules, name) for name in schedules.__all__}

counts = st.integers(1, 10_000)
fractions = st.floats(0, 1)
any_schedule = st.one_of(
    st.builds(Linear, counts, fractions),
    st.builds(Cosine, counts, fractions),
    st.builds(Cyclical, counts, st.integers(1, 20), st.floats(0, 1, exclude_min=True)),
    st.builds(CosineDecay, st.one_of(counts, st.floats(0, 1, exclude_max=True)), fractions, counts),
    st.builds(OneCycle, fractions, fractions, fractions, counts),
)


def test_every_public_schedule_has_values_by_hand() -> None:
    assert {type(schedule).__name__ for schedule, _ in BY_HAND} == set(schedules.__all__) - {"Schedule"}


@pytest.mark.parametrize(("schedule", "values"), BY_HAND, ids=lambda value: repr(value)[:40])
def test_values_by_hand(schedule: Schedule, values: list[float]) -> None:
    assert [schedule(step) for step in range(len(values))] == pytest.approx(values, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("schedule", [schedule for schedule, _ in BY_HAND], ids=repr)
def test_a_schedule_is_its_repr_and_survives_json(schedule: Schedule) -> None:
    rebuilt = eval(repr(schedule), {"__builtins__": {}}, NAMES)  # noqa: S307 (that is the promise)
    after = from_spec(json.loads(json.dumps(to_spec(schedule), allow_nan=False)), class_finder())
    for other in (rebuilt, after):
        assert type(other) is type(schedule)
        assert repr(other) == repr(schedule)
        assert [other(step) for step in range(20)] == [schedule(step) for step in range(20)]
    assert not list(schedule.parameters())


@given(schedule=any_schedule, step=st.integers(0, 10**9))
def test_factors_are_from_0_to_1_and_a_function_of_the_step_alone(schedule: Schedule, step: int) -> None:
    factor = schedule(step)
    assert isinstance(factor, float)
    assert 0 <= factor <= 1
    schedule(0)
    assert schedule(step) == factor


@given(make=st.sampled_from([Linear, Cosine]), steps=counts, start=fractions, step=st.integers(0, 20_000))
def test_a_warm_up_rises_from_its_start_and_stays_at_1(
    make: type[Linear | Cosine], steps: int, start: float, step: int
) -> None:
    schedule = make(steps, start)
    assert schedule(0) == start
    assert schedule(steps) == schedule(steps + step) == 1
    assert start <= schedule(step) <= schedule(step + 1)


@given(steps=st.integers(2, 10_000), start=fractions)
def test_half_a_cosine_is_level_at_both_ends_and_symmetric(steps: int, start: float) -> None:
    schedule = Cosine(steps, start)
    for step in {0, 1, steps // 3, steps // 2}:
        assert schedule(step) - start == pytest.approx(1 - schedule(steps - step), abs=1e-12)
    # A line would rise by (1 - s) / T; the cosine rises by pi^2 / 4 times (1 - s) / T^2 at most.
    assert schedule(1) - start <= math.pi**2 / 4 * (1 - start) / steps**2 + 1e-12


@given(steps=st.integers(2, 3000), rise=fractions, start=fractions, final=fractions)
def test_one_cycle_has_its_peak_at_a_step_of_every_run(steps: int, rise: float, start: float, final: float) -> None:
    factors = [OneCycle(rise, start, final)(step, steps) for step in range(steps)]
    peak = factors.index(1.0) if start < 1 else max(1, round(rise * (steps - 1)))
    assert factors[peak] == max(factors) == 1
    assert abs(peak - rise * (steps - 1)) <= 0.5 or peak == 1
    assert factors[0] == start
    assert factors[-1] == (1 if peak == steps - 1 else pytest.approx(final, abs=1e-12))
    assert all(a <= b for a, b in itertools.pairwise(factors[: peak + 1]))
    assert all(a >= b for a, b in itertools.pairwise(factors[peak:]))


@given(
    period=st.integers(1, 1000),
    cycles=st.integers(1, 20),
    ramp=st.floats(0, 1, exclude_min=True),
    step=st.integers(0, 30_000),
)
def test_cycles_repeat_and_end(period: int, cycles: int, ramp: float, step: int) -> None:
    schedule = Cyclical(period, cycles, ramp)
    if step >= period * cycles:
        assert schedule(step) == 1
    else:
        assert schedule(step) == schedule(step % period)
        within = step % period
        assert (schedule(step) == 1) == (within / (ramp * period) >= 1)
        assert (schedule(step) == 0) == (within == 0)


@pytest.mark.parametrize("value", [0, -1, 1.5, "3", None, True, math.nan])
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (Linear, "steps"),
        (Cosine, "steps"),
        (Cyclical, "period"),
        (lambda value: Cyclical(10, cycles=value), "cycles"),
    ],
)
def test_counts_are_integers_of_at_least_1(make: Callable[[Any], Schedule], name: str, value: Any) -> None:
    with pytest.raises(SettingError, match=rf"expected {name} as an integer of at least 1, got"):
        make(value)


@pytest.mark.parametrize("start", [-0.1, 1.1, math.nan, math.inf, "0", None])
@pytest.mark.parametrize("make", [Linear, Cosine])
def test_a_start_is_from_0_to_1(make: type[Linear | Cosine], start: Any) -> None:
    with pytest.raises(SettingError, match="expected start as a number from 0 to 1, got"):
        make(10, start)


@pytest.mark.parametrize("ramp", [0, -0.5, 1.1, math.nan, math.inf, "1", None])
def test_a_ramp_is_above_0_and_at_most_1(ramp: Any) -> None:
    with pytest.raises(SettingError, match="expected ramp as a number above 0 and at most 1, got"):
        Cyclical(10, ramp=ramp)


def test_numpys_numbers_are_taken() -> None:
    assert Linear(np.int64(4), np.float32(0.5))(2) == 0.75
    assert repr(Cyclical(np.int64(4))) == "Cyclical(period=4, cycles=4, ramp=0.5)"


def test_the_contract_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Schedule()


# ------------------------------------------------------------------------------------------- a user's own schedule


class Steps(Schedule):
    """A stair, and a note of every step it was asked for."""

    def __init__(self, every: int, height: float = 0.25) -> None:
        super().__init__()
        self.every = every
        self.height = height
        self.asked: list[int] = []

    def forward(self, step: int, steps: int | None = None) -> float:
        self.asked.append(step)
        return min(1.0, self.height * (step // self.every))


def small_vae(schedule: Schedule) -> VAE:
    shape = (1, 4, 4)
    return VAE(
        2,
        shape,
        encoder=MLPEncoder(2, shape, (8,)),
        decoder=MLPDecoder(2, shape, (8,)),
        objective=ELBO(beta=2.0, schedule=schedule),
    )


def test_a_schedule_of_ones_own_is_asked_before_each_step_and_sets_the_weight() -> None:
    schedule = Steps(2)
    vae = small_vae(schedule)
    history = Trainer(epochs=3, batch_size=10, progress=False).fit(vae, torch.rand(35, 1, 4, 4))
    assert schedule.asked == list(range(12))
    # One value an epoch of four steps: the factors 0, 0, 1/4, 1/4, then 1/2, 1/2, 3/4, 3/4, then 1.
    last = history[2]
    assert last["loss"] == pytest.approx(last["reconstruction"] + 2 * last["kl"], rel=1e-5)
    first = history[0]
    assert first["reconstruction"] < first["loss"] < first["reconstruction"] + 0.5 * first["kl"]


def test_a_schedule_of_ones_own_is_saved_and_loaded(tmp_path: Path) -> None:
    vae = small_vae(Steps(3, height=0.5))
    Trainer(epochs=1, batch_size=10, progress=False).fit(vae, torch.rand(35, 1, 4, 4))
    path = mv.save(vae, tmp_path / "vae.safetensors")
    same = mv.load(path, classes=[Steps])
    assert repr(same) == repr(vae)
    assert "schedule=Steps(every=3, height=0.5)" in repr(same.objective)
    assert isinstance(same.objective, ELBO)
    assert isinstance(same.objective.schedule, Steps)
    assert [same.objective.schedule(step) for step in range(8)] == [0, 0, 0, 0.5, 0.5, 0.5, 1, 1]
    with pytest.raises(FileFormatError, match=r"expected the class 'Steps' .* to be allowed"):
        mv.load(path)
    # The loaded model trains as one that was just made.
    Trainer(epochs=1, batch_size=10, progress=False).fit(same, torch.rand(35, 1, 4, 4))
    assert same.objective.schedule.asked[-4:] == [0, 1, 2, 3]


# ------------------------------------------------------------------------------- one family for weights and for rates


@pytest.mark.parametrize("schedule", [schedule for schedule, _ in BY_HAND], ids=repr)
def test_every_schedule_serves_the_learning_rate_and_the_weight_of_a_term(schedule: Schedule) -> None:
    rates: list[float] = []

    class Watched(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            rates.append(self.param_groups[0]["lr"])
            return super().step(closure)

    vae = small_vae(schedule)
    trainer = Trainer(1, 5, 0.01, optimizer=Watched, schedule=schedule, device="cpu", progress=False)
    trainer.fit(vae, torch.rand(40, 1, 4, 4))
    assert rates == [0.01 * schedule(step) for step in range(8)]
    assert float(vae.objective.get_buffer("_factor")) == pytest.approx(schedule(7))


@pytest.mark.parametrize("schedule", [CosineDecay(), OneCycle()], ids=repr)
def test_a_schedule_of_the_run_has_to_be_told_its_length(schedule: CosineDecay | OneCycle) -> None:
    assert schedule(3, 10) == type(schedule)(steps=10)(3) == type(schedule)(steps=10)(3, 99)
    message = rf"the number of steps of {type(schedule).__name__}, got none: {type(schedule).__name__}\(steps=\.\.\.\)"
    with pytest.raises(SettingError, match=message):
        Trainer(1, device="cpu", progress=False).fit(small_vae(schedule), torch.rand(8, 1, 4, 4))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CosineDecay(-1), "warmup as a number of steps, or a part of the run below 1, got -1"),
        (lambda: CosineDecay(1.5), "warmup as a number of steps, or a part of the run below 1, got 1.5: 0.1 for a"),
        (lambda: CosineDecay(final=-0.1), "final as a finite factor of at least 0, got -0.1"),
        (lambda: CosineDecay(steps=0), "steps as an integer of at least 1, or None, got 0"),
        (lambda: OneCycle(rise=1.5), "rise as a number from 0 to 1, got 1.5"),
        (lambda: OneCycle(start=math.inf), "start as a finite factor of at least 0, got inf"),
        (lambda: OneCycle(final=math.nan), "final as a finite factor of at least 0, got nan"),
    ],
)
def test_schedules_of_the_run_that_make_no_sense(make: Callable[[], Schedule], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        make()
