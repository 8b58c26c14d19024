"""Consistency of codes under motions of the images: by hand, in closed form, and around any other objective."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import torch.distributions as td
from test_compiled import asked, traces
from test_full_normal import digits, trainer
from test_resume import StopAt
from torch import Tensor, nn

import mnistvae as mv
from mnistvae._motions import draw_motions, moved
from mnistvae._random import noise_for_rows
from mnistvae.distributions import DiagonalNormal
from mnistvae.errors import ComponentError, SettingError
from mnistvae.images import ImageShape
from mnistvae.ladders import LadderDecoder, LadderEncoder, LadderPrior
from mnistvae.losses import gaussian_kl
from mnistvae.networks import Encoder, FullNormalEncoder, MLPDecoder, MLPEncoder
from mnistvae.objectives import (
    DIPVAE,
    ELBO,
    IWAE,
    BetaTC,
    Consistency,
    DecoderPenalty,
    InfoVAE,
    LatentVariableModel,
    Objective,
    Terms,
)
from mnistvae.objectives.around import with_term
from mnistvae.priors import GaussianMixture, StandardNormal
from mnistvae.schedules import Linear
from mnistvae.training import Checkpoint, Interrupted
from mnistvae.training.steps import takes_single_steps

__all__ = ["asked"]  # a fixture

SHAPE: ImageShape = (1, 8, 8)


def vae(objective: Objective, classes: int | None = None, **parts: Any) -> mv.VAE:
    torch.manual_seed(2)
    networks = {
        "encoder": MLPEncoder(3, SHAPE, (8,), nn.Tanh(), classes),
        "decoder": MLPDecoder(3, SHAPE, (8,), nn.Tanh(), classes),
    }
    return mv.VAE(3, SHAPE, objective=objective, num_classes=classes, **{**networks, **parts})


def loss_of(model: mv.VAE, x: Tensor, y: Tensor | None = None, seed: int = 4) -> Terms:
    torch.manual_seed(seed)
    return model.loss(x, y)


OTHERS: dict[str, Callable[[], Objective]] = {
    "ELBO": lambda: ELBO(beta=2.0),
    "several codes": lambda: ELBO(num_samples=3),
    "IWAE": lambda: IWAE(3),
    "doubly": lambda: IWAE(3, "doubly-reparameterized"),
    "partial": lambda: IWAE(2, groups=2, partial=True),
    "BetaTC": lambda: BetaTC(num_images=40),
    "InfoVAE": lambda: InfoVAE(0.5, 3.0),
    "DIPVAE": DIPVAE,
    "penalty": lambda: DecoderPenalty(ELBO(), 1e-3, 0.1),
}


# --- the equation ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [None, 3])
@pytest.mark.parametrize("other", OTHERS)
def test_the_loss_is_the_equation_by_hand(other: str, classes: int | None) -> None:
    x, y = digits(6).double(), None if classes is None else torch.arange(6) % classes
    model = vae(Consistency(OTHERS[other](), weight=0.7, max_shift=1.5, max_angle=20.0), classes).double()
    found = loss_of(model, x, y)
    objective, alone = model.objective.objective, vae(ELBO(), classes).double()
    torch.manual_seed(4)  # the same draws, in the same order
    plain = objective(alone, x, y)
    x_moved = moved(x, *draw_motions(x, 20.0, 1.5))
    of_moved = objective(alone, x_moved, y)
    q, q_moved = alone.encode(x, y), alone.encode(x_moved, y)
    distance = gaussian_kl(q_moved.mu, q_moved.logvar, q.mu, q.logvar)
    torch.testing.assert_close(found.loss, (plain.loss + of_moved.loss) / 2 + 0.7 * distance)
    torch.testing.assert_close(found.extra["consistency"], distance)
    assert list(found.extra) == [*plain.extra, "consistency"]
    for name in ("reconstruction", "kl", *plain.extra):
        assert torch.equal(found.by_name()[name], plain.by_name()[name]), name
    assert float(distance.detach().min()) > 1e-6


def test_the_divergence_is_a_loop_over_dimensions() -> None:
    x = digits(4)
    found, model = loss_of(vae(Consistency(max_shift=1.0)), x), vae(ELBO())
    torch.manual_seed(4)
    model.loss(x)
    q, p = model.encode(moved(x, *draw_motions(x, 15.0, 1.0))), model.encode(x)
    for n in range(4):
        total = 0.0
        for j in range(3):
            (m, s), (k, t) = ((float(d.mean[n, j].detach()), float(d.stddev[n, j].detach())) for d in (q, p))
            total += math.log(t / s) + (s**2 + (m - k) ** 2) / (2 * t**2) - 0.5
        assert float(found.extra["consistency"][n].detach()) == pytest.approx(total, rel=1e-4, abs=1e-6)


def test_motions_of_nothing_cost_nothing() -> None:
    x = digits(5).double()
    model = vae(Consistency(weight=10.0, max_shift=0.0, max_angle=0.0)).double()
    found = loss_of(model, x)
    torch.testing.assert_close(found.extra["consistency"], torch.zeros(5, dtype=torch.float64), atol=1e-12, rtol=0)
    mean = torch.stack([found.loss, found.reconstruction + found.kl]).detach()
    assert float((mean[0] - mean[1]).abs().max()) > 1e-3  # another code is drawn for the other loss


@pytest.mark.parametrize("other", OTHERS)
def test_in_evaluation_mode_the_loss_is_that_of_the_objective_alone(other: str) -> None:
    x = digits(6)
    for weight in (0.0, 5.0):
        model, alone = (vae(one).eval() for one in (Consistency(OTHERS[other](), weight), OTHERS[other]()))
        found, expected = loss_of(model, x), loss_of(alone, x)
        assert list(found.by_name()) == [*expected.by_name(), "consistency"]
        for name, value in expected.by_name().items():
            assert torch.equal(found.by_name()[name], value), name
        assert bool((found.extra["consistency"] > 0).all())


def test_gradients_are_those_of_finite_differences() -> None:
    x = digits(3).double()
    model = vae(Consistency(weight=0.7)).double()
    parameters = dict(model.named_parameters())

    def loss(*values: Tensor) -> Tensor:
        torch.manual_seed(4)
        given = dict(zip(parameters, values, strict=True))
        return torch.func.functional_call(_Loss(model), {f"model.{k}": v for k, v in given.items()}, (x,))

    assert torch.autograd.gradcheck(loss, tuple(parameters.values()), fast_mode=True)


class _Loss(nn.Module):
    def __init__(self, model: mv.VAE) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model.loss(x).loss


class Unknown(td.Distribution):
    """A normal of which torch does not know that it is one."""

    has_rsample = True
    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(self, normal: DiagonalNormal) -> None:
        self.normal = normal
        super().__init__(normal.batch_shape, normal.event_shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.normal.mean

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.normal.rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.normal.log_prob(value)


class Disguised(Encoder):
    """An encoder of such."""

    def __init__(self) -> None:
        super().__init__()
        self.latent_dim = 3
        self.inner = MLPEncoder(3, SHAPE, (8,), nn.Tanh())

    def forward(self, x: Tensor, y: Tensor | None = None) -> td.Distribution:
        return Unknown(self.inner(x))


def test_where_the_divergence_is_not_known_it_is_estimated_without_bias() -> None:
    torch.manual_seed(2)
    encoder = Disguised()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.mul_(2.0)
    estimated = vae(Consistency(max_angle=180.0), encoder=encoder)
    exact = vae(Consistency(max_angle=180.0), encoder=copy.deepcopy(encoder.inner)).double()
    estimated.double()
    x = digits(1).double().expand(4000, -1, -1, -1)
    with torch.no_grad():
        difference = loss_of(estimated, x).extra["consistency"] - loss_of(exact, x).extra["consistency"]
    assert float(difference.abs().max()) > 0.01
    assert abs(float(difference.mean())) < 4 * float(difference.std()) / math.sqrt(len(x))


@pytest.mark.parametrize("kind", ["ladder", "full", "mixture"])
def test_other_posteriors_and_priors_take_part(kind: str) -> None:
    levels = (2, 3)
    parts: dict[str, dict[str, Any]] = {
        "ladder": {
            "encoder": LadderEncoder(levels, SHAPE, hidden=8),
            "decoder": LadderDecoder(levels, SHAPE, hidden=8),
            "prior": LadderPrior(levels, hidden=8),
        },
        "full": {"encoder": FullNormalEncoder(nn.Flatten(), 5), "decoder": MLPDecoder(5, SHAPE, (8,))},
        "mixture": {
            "encoder": MLPEncoder(5, SHAPE, (8,)),
            "decoder": MLPDecoder(5, SHAPE, (8,)),
            "prior": GaussianMixture(5, 2),
        },
    }
    model = mv.VAE(5, SHAPE, objective=Consistency(), **parts[kind])
    for mode in (True, False):
        terms = model.train(mode).loss(digits(4))
        assert terms.extra["consistency"].shape == (4,)
        assert all(value.isfinite().all() for value in terms.by_name().values())
    model.train().loss(digits(4)).loss.mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert ("kl_level_2" in terms.extra) is (kind == "ladder")


# --- what the wrapped objective and its model are given -------------------------------------------------------------


class Watching(Objective):
    """Keeps the images that it is given, and asks more of the model than the contract has."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, model: LatentVariableModel, x: Tensor, y: Tensor | None = None) -> Terms:
        self.seen.append(x)
        output = model(x, y)  # type: ignore[operator]
        assert model.latent_dim == 3  # type: ignore[attr-defined]
        reconstruction = -output.likelihood.log_prob(x)
        return Terms(reconstruction, reconstruction, torch.zeros_like(reconstruction), {"mine": reconstruction})


def test_an_objective_of_ones_own_is_given_the_images_and_the_moved_ones() -> None:
    model = vae(Consistency(Watching()))
    model.objective.objective.seen.clear()
    x = digits(5)
    terms = model.loss(x)
    plain, other = model.objective.objective.seen
    assert plain is x
    assert not torch.allclose(x, other)
    assert list(terms.extra) == ["mine", "consistency"]


@pytest.mark.parametrize("binary", [True, False])
def test_black_and_white_images_are_moved_to_such(binary: bool) -> None:
    model = vae(Consistency(Watching()))
    x = digits(20).round() if binary else digits(20)
    model.objective.objective.seen.clear()
    model.loss(x)
    pixels = model.objective.objective.seen[1].unique()
    assert (pixels.tolist() == [0.0, 1.0]) is binary


def test_no_image_is_encoded_twice() -> None:
    model = vae(Consistency())
    calls: list[int] = []
    model.encoder.register_forward_hook(lambda *_: calls.append(1))
    model.loss(digits(3))
    assert len(calls) == 2
    model.eval().loss(digits(3))
    assert len(calls) == 4


def test_it_hands_on_what_the_trainer_says() -> None:
    growing = Consistency(ELBO(beta=4.0, schedule=Linear(10)))
    growing.advance(5)
    assert float(growing.objective._factor) == 0.5
    told = Consistency(BetaTC())
    told.prepare(123)
    assert int(told.objective._num_images) == 123
    assert takes_single_steps(growing, [])
    assert not takes_single_steps(told, [])
    assert not takes_single_steps(DecoderPenalty(Consistency()), [])
    assert takes_single_steps(DecoderPenalty(growing), [])
    assert not growing.eval().objective.training


def test_a_part_of_a_batch_has_the_loss_that_it_has_in_the_whole() -> None:
    model, x = vae(Consistency(DecoderPenalty(gradient=0.1))), digits(6)
    whole = loss_of(model, x)
    torch.manual_seed(4)
    with noise_for_rows(slice(2, 5), 6):
        part = model.loss(x[2:5])
    for name, value in whole.by_name().items():
        torch.testing.assert_close(part.by_name()[name], value[2:5])


# --- training -------------------------------------------------------------------------------------------------------

WAYS: dict[str, Callable[[], dict[str, Any]]] = {
    "ELBO": lambda: {"objective": Consistency()},
    "beta rises": lambda: {"objective": Consistency(ELBO(2.0, Linear(9)))},
    "IWAE": lambda: {"objective": Consistency(IWAE(3))},
    "BetaTC": lambda: {"objective": Consistency(BetaTC())},
    "estimated": lambda: {"objective": Consistency(), "encoder": Disguised()},
    "mixture": lambda: {"objective": Consistency(), "prior": GaussianMixture(3, 2)},
}


def made(way: str) -> mv.VAE:
    torch.manual_seed(2)
    return vae(**WAYS[way]())


@pytest.mark.parametrize("way", WAYS)
def test_a_resumed_run_ends_as_the_whole_one(way: str, tmp_path: Path) -> None:
    whole = made(way)
    history = trainer().fit(whole, digits(), validation=digits(16))
    assert history[3]["loss"] < history[0]["loss"]
    assert {"consistency", "validation_consistency"} <= set(history[0])
    with pytest.raises(Interrupted):
        trainer(Checkpoint(tmp_path), StopAt(7)).fit(made(way), digits(), validation=digits(16))
    resumed = made(way)
    again = trainer(Checkpoint(tmp_path)).fit(resumed, digits(), validation=digits(16), resume=tmp_path)
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in resumed.state_dict().items())
    assert again[3]["validation_loss"] == history[3]["validation_loss"]


def test_validation_is_that_of_the_same_weights_under_the_objective_alone() -> None:
    model = vae(Consistency(weight=3.0))
    history = trainer(epochs=1).fit(model, digits(), validation=digits(16))
    record = history[0]
    assert record["validation_loss"] == pytest.approx(
        record["validation_reconstruction"] + record["validation_kl"], rel=1e-6
    )
    assert abs(record["loss"] - record["reconstruction"] - record["kl"]) > 1e-3


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    model = vae(Consistency(IWAE(3), 0.5, 1, 30))
    same = mv.load(mv.save(model, tmp_path / "model.safetensors"))
    assert repr(same.objective) == repr(model.objective)
    assert "objective=IWAE(num_samples=3" in repr(same.objective)
    x = digits(5)
    for mode in (True, False):
        before, after = (loss_of(one.train(mode), x) for one in (model, same))
        assert all(torch.equal(value, after.by_name()[name]) for name, value in before.by_name().items())
    copied = model.replace(prior=StandardNormal(3))
    assert copied.objective is not model.objective
    assert copied.replace(objective=Consistency(weight=2)).objective.weight == 2.0


@traces
def test_a_step_compiled_as_a_whole_is_the_step_in_parts(asked: list[bool]) -> None:
    plain, compiled = (
        trainer(epochs=2, **more).fit(vae(Consistency()), digits(), validation=digits(16))
        for more in ({}, {"compile": True})
    )
    assert asked == [False, True]
    for name in ("loss", "consistency", "validation_consistency"):
        assert compiled.column(name) == pytest.approx(plain.column(name), rel=1e-4)


def test_it_trains_in_bf16() -> None:
    plain, other = (trainer(precision=one).fit(vae(Consistency()), digits()) for one in ("fp32", "bf16"))
    assert other.column("loss") == pytest.approx(plain.column("loss"), rel=0.02)


def test_terms_under_autocast_are_float32() -> None:
    model, x = vae(Consistency()), digits(4)
    with torch.autocast("cpu", torch.bfloat16):
        terms = model.loss(x)
    assert {value.dtype for value in terms.by_name().values()} == {torch.float32}
    half = vae(Consistency()).bfloat16().loss(x.bfloat16())
    assert half.loss.isfinite().all()


def test_it_draws_the_codes_of_an_image_and_its_moved_one_together() -> None:
    data, codes = mv.load_dataset("mnist-mini", "train")[:600], {}
    for weight in (0.0, 5.0):
        torch.manual_seed(0)
        model = mv.VAE(4, encoder=MLPEncoder(4, hidden=(32,)), decoder=MLPDecoder(4, hidden=(32,)))
        model.objective = Consistency(weight=weight)
        run = mv.Trainer(epochs=4, batch_size=50, learning_rate=3e-3, seed=0, progress=False, device="cpu")
        codes[weight] = run.fit(model, data, validation=data[:200])[-1]["validation_consistency"]
    assert codes[5.0] < 0.5 * codes[0.0]


# --- what makes no sense --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Consistency(weight=-1.0), SettingError, "a finite weight of at least 0, got -1"),
        (lambda: Consistency(weight=math.nan), SettingError, "a finite weight of at least 0, got nan"),
        (lambda: Consistency(max_shift=-2), SettingError, "max_shift as a finite number of pixels of at least 0"),
        (lambda: Consistency(max_shift=math.inf), SettingError, "max_shift as a finite number of pixels"),
        (lambda: Consistency(max_angle=-1), SettingError, "max_angle from 0 to 180 degrees, got -1"),
        (lambda: Consistency(max_angle=181), SettingError, "max_angle from 0 to 180 degrees, got 181"),
        (lambda: Consistency(0.5), ComponentError, "objective as a mnistvae Objective, or None, got a float"),
        (lambda: Consistency(ELBO), ComponentError, "objective as a mnistvae Objective, or None, got the class ELBO"),
        (lambda: vae(Consistency(Consistency())), ComponentError, "one extra term of the name consistency, got two"),
    ],
)
def test_wrong_settings(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_a_term_of_no_weight_leaves_the_loss_alone_even_where_it_is_infinite() -> None:
    terms = with_term(Terms(*torch.ones(3, 2)), "odd", torch.full((2,), math.inf), 0.0)
    assert torch.equal(terms.loss, torch.ones(2))
    assert list(terms.extra) == ["odd"]


class Elsewhere(Objective):
    """Encodes other images than those it is given, before and after those if it encodes them at all."""

    def __init__(self, asks: bool) -> None:
        super().__init__()
        self.asks = asks

    def forward(self, model: LatentVariableModel, x: Tensor, y: Tensor | None = None) -> Terms:
        model.encode(1 - x, y)
        zero = (model.encode(x, y) if self.asks else model.encode(x + 0.5, y)).mean.sum(1) * 0
        model.encode(1 - x, y)
        return Terms(zero, zero, zero)


@pytest.mark.parametrize("asks", [True, False])
def test_the_posterior_is_that_of_the_images_whatever_else_the_objective_encodes(asks: bool) -> None:
    model, x = vae(Consistency(Elsewhere(asks))), digits(5)
    found = loss_of(model, x).extra["consistency"]
    torch.manual_seed(4)
    q, p = model.encode(moved(x, *draw_motions(x, 15.0, 2.0))), model.encode(x)
    torch.testing.assert_close(found, td.kl_divergence(q, p))
