"""Prices on the decoder's weights and gradient: against whole Jacobians and loops, and around any other objective."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from test_compiled import asked, traces
from test_consistency import OTHERS, _Loss, loss_of, vae
from test_full_normal import digits, trainer
from test_resume import StopAt
from torch import Tensor, nn

import mnistvae as mv
from mnistvae.errors import ComponentError, SettingError
from mnistvae.likelihoods import Bernoulli, ContinuousBernoulli, DiscretizedLogistic, Gaussian, Likelihood
from mnistvae.losses import squared_jacobian
from mnistvae.networks import ConvDecoder, ConvEncoder, MLPDecoder, PointEncoder, ResNetDecoder
from mnistvae.objectives import ELBO, IWAE, Consistency, DecoderPenalty, Objective
from mnistvae.training import Checkpoint, Interrupted

__all__ = ["asked"]  # a fixture


def jacobian(model: mv.VAE, code: Tensor) -> Tensor:
    """The whole Jacobian of the decoder's mean at one code, (pixels, latent_dim)."""
    found = torch.autograd.functional.jacobian(lambda z: model.decode(z[None]).mean.flatten(), code)
    assert isinstance(found, Tensor)
    return found


# --- the estimate ---------------------------------------------------------------------------------------------------

LIKELIHOODS: dict[str, Callable[[], Likelihood]] = {
    "bernoulli": Bernoulli,
    "continuous": ContinuousBernoulli,
    "gaussian": lambda: Gaussian("per-pixel"),
    "logistic": lambda: DiscretizedLogistic(16),
}


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_over_the_axes_it_adds_up_to_the_squares_of_the_whole_jacobian(likelihood: str) -> None:
    part = LIKELIHOODS[likelihood]()
    decoder = MLPDecoder(3, (1, 8, 8), (8,), nn.Tanh(), n_params=part.n_params)
    model = vae(ELBO(), likelihood=part, decoder=decoder).double()
    z = torch.randn(4, 3, dtype=torch.float64)
    axes = [torch.eye(3, dtype=torch.float64)[j].expand(4, 3) for j in range(3)]
    with torch.no_grad():
        found = sum(squared_jacobian(lambda codes: model.decode(codes).mean, z, axis) for axis in axes)
    for n in range(4):
        assert float(found[n]) == pytest.approx(float(jacobian(model, z[n]).square().sum()), rel=1e-9)


def test_in_the_mean_over_directions_it_is_the_squared_norm_of_the_jacobian() -> None:
    model = vae(ELBO()).double()
    z = torch.randn(3, dtype=torch.float64)
    exact = jacobian(model, z).square().sum()
    n = 20_000
    with torch.no_grad():
        draws = squared_jacobian(
            lambda codes: model.decode(codes).mean, z.expand(n, 3), torch.randn(n, 3, dtype=torch.float64)
        )
    assert abs(float(draws.mean() - exact)) < 4 * float(draws.std()) / math.sqrt(n)
    assert float(draws.std()) / math.sqrt(n) < 0.02 * float(exact)
    # The variance of v' A v for standard normal v is twice the sum of the squares of A.
    gram = jacobian(model, z).T @ jacobian(model, z)
    assert float(draws.var()) == pytest.approx(float(2 * gram.square().sum()), rel=0.1)


@pytest.mark.parametrize("decoder", ["conv", "resnet"])
def test_convolutions_have_it_too(decoder: str) -> None:
    parts: dict[str, Callable[[], Any]] = {
        "conv": lambda: ConvDecoder(3, (1, 8, 8), (4, 2), nn.SiLU()),
        "resnet": lambda: ResNetDecoder(3, (1, 8, 8), (6, 3), (1, 1), 5),
    }
    model = vae(ELBO(), decoder=parts[decoder]()).double().eval()
    z, axes = torch.randn(3, dtype=torch.float64), torch.eye(3, dtype=torch.float64)
    found = squared_jacobian(lambda codes: model.decode(codes).mean, z.expand(3, 3), axes).sum()
    assert float(found.detach()) == pytest.approx(float(jacobian(model, z).square().sum()), rel=1e-9)


# --- the loss -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("classes", [None, 3])
@pytest.mark.parametrize("other", [name for name in OTHERS if name != "penalty"])
def test_the_loss_is_the_equation_by_hand(other: str, classes: int | None, training: bool) -> None:
    x, y = digits(6).double(), None if classes is None else torch.arange(6) % classes
    model = vae(DecoderPenalty(OTHERS[other](), weights=0.01, gradient=0.3), classes).double().train(training)
    found = loss_of(model, x, y)
    alone = vae(ELBO(), classes).double().train(training)
    torch.manual_seed(4)  # the same draws, in the same order
    plain = model.objective.objective(alone, x, y)
    z = alone.encode(x, y).rsample().detach()
    direction = torch.randn(6, 3, dtype=torch.float64)
    weights = sum(float(p) ** 2 for w in alone.decoder.parameters() for p in w.detach().flatten())
    for n in range(6):

        def image(code: Tensor, n: int = n) -> Tensor:
            return alone.decode(code[None], None if y is None else y[n : n + 1]).mean.flatten()

        slope = torch.autograd.functional.jacobian(image, z[n]) @ direction[n]
        assert float(found.extra["decoder_gradient"][n].detach()) == pytest.approx(
            float(slope.square().sum()), rel=1e-9
        )
    torch.testing.assert_close(found.extra["decoder_weights"], torch.full((6,), weights, dtype=torch.float64))
    penalties = 0.01 * found.extra["decoder_weights"] + 0.3 * found.extra["decoder_gradient"]
    torch.testing.assert_close(found.loss, plain.loss + penalties)
    for name in ("reconstruction", "kl", *plain.extra):
        assert torch.equal(found.by_name()[name], plain.by_name()[name]), name


def test_what_weighs_nothing_is_left_out() -> None:
    x = digits(3)
    for settings, names in (
        ({}, []),
        ({"weights": 0.1}, ["decoder_weights"]),
        ({"gradient": 0.1}, ["decoder_gradient"]),
        ({"gradient": 0.1, "weights": 1}, ["decoder_weights", "decoder_gradient"]),
    ):
        assert list(loss_of(vae(DecoderPenalty(**settings)), x).extra) == names
    assert torch.equal(loss_of(vae(DecoderPenalty(IWAE(3))), x).loss, loss_of(vae(IWAE(3)), x).loss)


@pytest.mark.parametrize("point", [True, False])
def test_gradients_are_those_of_finite_differences(point: bool) -> None:
    x = digits(3).double()
    parts = {"encoder": PointEncoder(nn.Flatten(), 3)} if point else {}
    model = vae(DecoderPenalty(weights=0.1, gradient=2.0), **parts).double()
    parameters = dict(model.named_parameters())

    def loss(*values: Tensor) -> Tensor:
        torch.manual_seed(4)
        given = {f"model.{name}": value for name, value in zip(parameters, values, strict=True)}
        return torch.func.functional_call(_Loss(model), given, (x,))

    assert torch.autograd.gradcheck(loss, tuple(parameters.values()), fast_mode=True)


def test_without_gradients_and_in_inference_mode_the_value_is_the_same() -> None:
    model, x = vae(DecoderPenalty(weights=0.1, gradient=2.0)), digits(3)
    expected = loss_of(model, x).loss.detach()
    for block in (torch.no_grad(), torch.inference_mode()):
        with block:
            torch.testing.assert_close(loss_of(model, x).loss, expected)


def test_a_gradient_for_each_image() -> None:
    model, x = vae(DecoderPenalty(weights=0.1, gradient=2.0), encoder=PointEncoder(nn.Flatten(), 3)), digits(3)
    weights = {f"model.{name}": value.detach() for name, value in model.named_parameters()}

    def loss(given: dict[str, Tensor], image: Tensor) -> Tensor:
        found: Tensor = torch.func.functional_call(_Loss(model), given, (image[None],))
        return found.mean()

    each = torch.func.vmap(torch.func.grad(loss), (None, 0), randomness="different")(weights, x)
    assert all(value.shape == (3, *weights[name].shape) for name, value in each.items())
    assert all(bool(value.isfinite().all()) for value in each.values())


# --- training -------------------------------------------------------------------------------------------------------

WAYS: dict[str, Callable[[], Objective]] = {
    "weights": lambda: DecoderPenalty(weights=1e-2),
    "gradient": lambda: DecoderPenalty(gradient=0.1),
    "both, around another": lambda: DecoderPenalty(Consistency(IWAE(3)), 1e-3, 0.1),
    "within another": lambda: Consistency(DecoderPenalty(gradient=0.1)),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_resumed_run_ends_as_the_whole_one_and_a_file_keeps_it(way: str, tmp_path: Path) -> None:
    whole = vae(WAYS[way]())
    history = trainer().fit(whole, digits(), validation=digits(16))
    assert history[3]["loss"] < history[0]["loss"]
    with pytest.raises(Interrupted):
        trainer(Checkpoint(tmp_path), StopAt(7)).fit(vae(WAYS[way]()), digits(), validation=digits(16))
    resumed = vae(WAYS[way]())
    again = trainer(Checkpoint(tmp_path)).fit(resumed, digits(), validation=digits(16), resume=tmp_path)
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in resumed.state_dict().items())
    assert again[3]["validation_loss"] == history[3]["validation_loss"]
    same = mv.load(mv.save(whole, tmp_path / "model.safetensors"))
    assert repr(same.objective) == repr(whole.objective)
    x = digits(5)
    before, after = loss_of(whole, x), loss_of(same, x)
    assert all(torch.equal(value, after.by_name()[name]) for name, value in before.by_name().items())


@traces
def test_a_step_compiled_as_a_whole_is_the_step_in_parts(asked: list[bool]) -> None:
    plain, compiled = (
        trainer(epochs=2, **more).fit(vae(DecoderPenalty(None, 1e-2, 0.1)), digits())
        for more in ({}, {"compile": True})
    )
    assert asked == [False, True]
    for name in ("loss", "decoder_weights", "decoder_gradient"):
        assert compiled.column(name) == pytest.approx(plain.column(name), rel=1e-4)


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_it_trains_in_bf16(network: str) -> None:
    convolutions = {"encoder": ConvEncoder(3, (1, 8, 8), (4,)), "decoder": ConvDecoder(3, (1, 8, 8), (4,))}

    def model() -> mv.VAE:
        return vae(DecoderPenalty(None, 1e-2, 0.1), **(convolutions if network == "conv" else {}))

    first = model()
    plain, other = (
        trainer(precision=one).fit(first.replace(), digits(), validation=digits(16)) for one in ("fp32", "bf16")
    )
    for name in ("loss", "decoder_gradient", "validation_decoder_gradient"):
        assert other.column(name) == pytest.approx(plain.column(name), rel=0.05)
    with torch.autocast("cpu", torch.bfloat16):
        terms = first.loss(digits(4))
    assert {value.dtype for value in terms.by_name().values()} == {torch.float32}


@pytest.mark.parametrize(("name", "weight"), [("weights", 0.3), ("gradient", 3.0)])
def test_it_makes_what_it_has_a_price_on_smaller(name: str, weight: float) -> None:
    found = {}
    for price in (1e-9, weight):
        model = vae(DecoderPenalty(ELBO(beta=0.0), **{name: price}), encoder=PointEncoder(nn.Flatten(), 3))
        found[price] = trainer(epochs=30).fit(model, digits())[-1][f"decoder_{name}"]
    assert found[weight] < 0.5 * found[1e-9]


# --- what makes no sense --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf, "1", None, True])
@pytest.mark.parametrize("name", ["weights", "gradient"])
def test_weights_are_finite_and_not_negative(name: str, value: Any) -> None:
    with pytest.raises(SettingError, match=f"expected {name} as a finite number of at least 0, got"):
        DecoderPenalty(**{name: value})


def test_what_is_no_objective_and_a_model_without_a_decoder() -> None:
    with pytest.raises(ComponentError, match="objective as a mnistvae Objective, or None, got an int: for instance"):
        DecoderPenalty(3)  # type: ignore[arg-type]
    with pytest.raises(ComponentError, match="one extra term of the name decoder_weights, got two"):
        vae(DecoderPenalty(DecoderPenalty(weights=1.0), weights=1.0))

    class Bare:
        def __init__(self, model: mv.VAE) -> None:
            self.encode, self.decode, self.latent_prior = model.encode, model.decode, model.latent_prior

    bare, x = Bare(vae(ELBO())), digits(3)
    assert DecoderPenalty(gradient=1.0)(bare, x).loss.shape == (3,)
    with pytest.raises(ComponentError, match="a model with a decoder that is a module, got None: leave weights at 0"):
        DecoderPenalty(weights=1.0)(bare, x)
