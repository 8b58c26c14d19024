"""Pixels that depend on each other: probabilities that add up, an order that is kept, draws as often as is likely."""

from __future__ import annotations

import io
import itertools
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from readback import stirred
from test_resume import StopAt
from torch import Tensor

import mnistvae as mv
from mnistvae._random import seeded
from mnistvae.distributions import PixelAutoregressive, from_uniform
from mnistvae.distributions import autoregressive as distribution
from mnistvae.errors import ComponentError, SettingError
from mnistvae.explorer import explorer_page
from mnistvae.images import ImageShape
from mnistvae.likelihoods import (
    Autoregressive,
    Bernoulli,
    Categorical,
    DiscretizedLogistic,
    Gaussian,
    Likelihood,
    LogisticMixture,
)
from mnistvae.networks import MLPDecoder, MLPEncoder
from mnistvae.objectives import IWAE
from mnistvae.report import write_report
from mnistvae.training import Checkpoint, Interrupted

SMALL: dict[str, Any] = {"features": 1, "channels": 6, "layers": 1, "kernel_size": 3}
CASES: dict[str, Callable[[], Autoregressive]] = {
    "binary": lambda: Autoregressive(**SMALL),
    "binary, deeper": lambda: Autoregressive(features=0, channels=5, layers=3, kernel_size=5),
    "two channels": lambda: Autoregressive(**SMALL, image_channels=2),
    "three channels": lambda: Autoregressive(**SMALL, image_channels=3),
    "levels": lambda: Autoregressive(Categorical(levels=3), **SMALL),
    "levels, two channels": lambda: Autoregressive(Categorical(levels=3), **SMALL, image_channels=2),
    "mixture": lambda: Autoregressive(LogisticMixture(components=2, levels=3), **SMALL),
    "logistic": lambda: Autoregressive(DiscretizedLogistic(levels=4), **SMALL),
    "density": lambda: Autoregressive(Gaussian("learned"), **SMALL),
}
COUNTED = [name for name in CASES if name != "density"]
each_case = pytest.mark.parametrize("name", CASES)


def made(name: str, noise: float = 0.5) -> Autoregressive:
    """A likelihood in double precision, away from its start."""
    with seeded(3):
        return stirred(CASES[name](), noise).double()


def parameters(likelihood: Autoregressive, n: int = 3, size: tuple[int, int] = (4, 3)) -> Tensor:
    with seeded(4):
        return torch.randn(n, likelihood.image_channels * likelihood.n_params, *size, dtype=torch.float64)


def order(likelihood: Autoregressive, size: tuple[int, int]) -> list[tuple[int, int, int]]:
    """Channel, row and column of each pixel, in their order."""
    return [(c, i, j) for i in range(size[0]) for j in range(size[1]) for c in range(likelihood.image_channels)]


def conditional(likelihood: Autoregressive, params: Tensor, x: Tensor, place: tuple[int, int, int]) -> Any:
    """The distribution of one pixel, made in a pass of its own over an image of which nothing else is known."""
    before = torch.full_like(x, 0.5)
    for channel, row, column in itertools.takewhile(lambda one: one != place, order(likelihood, x.shape[-2:])):
        before[:, channel, row, column] = x[:, channel, row, column]
    channel, row, column = place
    channels = likelihood.image_channels
    own = params[:, : channels * likelihood.pixels.n_params] + likelihood.network(before, params)
    return likelihood.pixels(own[:, channel::channels, row, column, None, None])


def images_of(likelihood: Autoregressive, n: int = 3, size: tuple[int, int] = (4, 3)) -> Tensor:
    with seeded(5):
        x = torch.rand(n, likelihood.image_channels, *size, dtype=torch.float64)
    if isinstance(likelihood.pixels, Bernoulli):
        return x.round()
    levels = likelihood.pixels.levels
    return x if levels is None else (x * (levels - 1)).round() / (levels - 1)


def every_image(likelihood: Autoregressive, size: tuple[int, int]) -> Tensor:
    """All images of that size, (levels ** pixels, C, H, W)."""
    levels = likelihood.pixels.levels or 2
    numbers = torch.arange(levels, dtype=torch.float64) / (levels - 1)
    pixels = likelihood.image_channels * math.prod(size)
    return torch.cartesian_prod(*[numbers] * pixels).reshape(-1, likelihood.image_channels, *size)


# ------------------------------------------------------------------------------------------ probabilities and order


@each_case
def test_one_pass_is_a_loop_over_the_pixels(name: str) -> None:
    likelihood = made(name)
    params, x = parameters(likelihood), images_of(likelihood)
    total = torch.zeros(len(x), dtype=torch.float64)
    for channel, row, column in order(likelihood, (4, 3)):
        pixel = conditional(likelihood, params, x, (channel, row, column))
        total += pixel.log_prob(x[:, channel, row, column].reshape(-1, 1, 1, 1))
    torch.testing.assert_close(likelihood(params).log_prob(x), total)


@each_case
def test_step_by_step_is_one_pass(name: str) -> None:
    likelihood = made(name)
    params, x = parameters(likelihood, size=(5, 6)), images_of(likelihood, size=(5, 6))
    walk, total = likelihood.walk(params), torch.zeros(len(x), dtype=torch.float64)
    for place in order(likelihood, (5, 6)):
        value = x[:, place[0], place[1], place[2]].reshape(-1, 1, 1, 1)
        total += walk.pixel(*place).log_prob(value)
        walk.put(*place, value)
    torch.testing.assert_close(likelihood(params).log_prob(x), total)
    assert torch.equal(walk.images, x)


@pytest.mark.parametrize("name", COUNTED)
def test_the_probabilities_of_all_images_add_up_to_one(name: str) -> None:
    likelihood = made(name, noise=1.0)
    size = (2, 2) if likelihood.image_channels == 1 else (1, 2)
    p = likelihood(parameters(likelihood, 4, size))
    x = every_image(likelihood, size)
    probabilities = p.log_prob(x[:, None]).exp()
    assert probabilities.shape == (len(x), 4)
    torch.testing.assert_close(probabilities.sum(0), torch.ones(4, dtype=torch.float64))
    assert (probabilities.std(0) > 1e-3).all()


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize(("layers", "kernel_size"), [(1, 3), (2, 3), (1, 5)])
def test_a_pixel_depends_on_those_before_it_within_its_reach(channels: int, layers: int, kernel_size: int) -> None:
    likelihood = Autoregressive(
        Categorical(2), features=0, channels=7, layers=layers, kernel_size=kernel_size, image_channels=channels
    ).double()
    for weight in likelihood.network.parameters():
        weight.data = torch.rand_like(weight) + 0.1  # positive: no ReLU hides a path, and no two paths cancel
    size, reach = (7, 8), kernel_size // 2
    params = torch.ones(1, 2 * channels, *size, dtype=torch.float64)
    x = torch.rand(channels, *size, dtype=torch.float64)
    (jacobian,) = torch.autograd.functional.jacobian(
        lambda x: likelihood.network(x[None], params)[0].unflatten(0, (2, channels)), (x,), vectorize=True
    )
    for number, (channel, row, column) in enumerate(places := order(likelihood, size)):
        within = torch.zeros(channels, *size, dtype=torch.bool)
        for c, i, j in places[:number]:
            up, across, far = row - i, j - column, reach * (layers + 1)
            within[c, i, j] = up <= far and -far <= across <= min(reach * up, far)
        for level in range(2):
            assert torch.equal(jacobian[level, channel, row, column] != 0, within), (channel, row, column)


def test_no_later_pixel_changes_a_distribution() -> None:
    for name in CASES:
        likelihood = made(name)
        params, x = parameters(likelihood, 1), images_of(likelihood, 1)
        before = likelihood.given(x, params).mean
        for number, (channel, row, column) in enumerate(places := order(likelihood, (4, 3))):
            changed = x.clone()
            changed[0, channel, row, column] = 1 - changed[0, channel, row, column] + 0.1
            differs = (likelihood.given(changed, params).mean != before)[0]
            assert not any(differs[place] for place in places[: number + 1]), name


# ---------------------------------------------------------------------------------------------------------- draws


@pytest.mark.parametrize("name", ["binary", "two channels", "levels", "levels, two channels", "mixture"])
def test_draws_are_as_frequent_as_they_are_likely(name: str) -> None:
    likelihood, n = made(name).requires_grad_(requires_grad=False), 40_000
    size = (2, 2) if likelihood.image_channels == 1 else (1, 2)
    p = likelihood(parameters(likelihood, 1, size))
    x = every_image(likelihood, size)
    with seeded(9):
        drawn = p.sample((n,))[:, 0]
    levels = likelihood.pixels.levels or 2
    digits = (drawn.flatten(1) * (levels - 1)).round().long()
    number = (digits * levels ** torch.arange(digits.shape[1] - 1, -1, -1)).sum(1)
    counts = number.bincount(minlength=len(x)).double()
    assert torch.equal(x[number], drawn)
    expected = n * p.log_prob(x).exp()
    rare = expected < 10
    observed, wanted = (np.append(one[~rare], one[rare].sum()) for one in (counts, expected))
    some = wanted > 0
    assert some.sum() > 8
    assert scipy.stats.chisquare(observed[some], wanted[some] * n / wanted[some].sum()).pvalue > 1e-3


@each_case
def test_shapes_and_dtypes_are_those_of_a_distribution_of_torchs(name: str) -> None:
    likelihood = made(name).float()
    params = parameters(likelihood).float()
    p = likelihood(params)
    event = (likelihood.image_channels, 4, 3)
    assert isinstance(p, PixelAutoregressive)
    assert (p.batch_shape, p.event_shape) == ((3,), event)
    for value in (p.mean, p.sample(), p.sample((2,))):
        assert value.shape[-4:] == (3, *event)
        assert value.dtype is torch.float32
        assert not value.requires_grad
    x = p.sample((2, 2))
    assert p.log_prob(x).shape == (2, 2, 3)
    assert p.support is not None
    assert p.support.check(x).all()
    wide = p.expand((2, 3))
    assert wide.batch_shape == (2, 3)
    torch.testing.assert_close(wide.log_prob(x[0]), p.log_prob(x[0]))
    assert repr(p) == f"PixelAutoregressive(batch (3,), pixels {event})"
    single = likelihood(params[0])
    assert single.batch_shape == ()
    torch.testing.assert_close(single.log_prob(x[0, 0, 0]), p.log_prob(x[0])[0, 0])
    for unknown in ("variance", "mode"):
        with pytest.raises(NotImplementedError):
            getattr(p, unknown)


@each_case
def test_a_draw_is_a_function_of_noise_made_pixel_by_pixel(name: str) -> None:
    likelihood = made(name)
    params = parameters(likelihood)
    p = likelihood(params)
    with seeded(8):
        uniform = torch.rand(3, likelihood.image_channels, 4, 3, dtype=torch.float64)
    with seeded(8):
        assert torch.equal(p.sample(), p.from_uniform(uniform))
    x, means = drawn_in_passes(likelihood, params, uniform)
    torch.testing.assert_close(p.from_uniform(uniform), x)
    torch.testing.assert_close(likelihood.given(x, params).mean, means)


def drawn_in_passes(likelihood: Autoregressive, params: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Images made with a pass over the whole image for each pixel, and the means on the way."""
    x, means = torch.zeros_like(uniform), torch.zeros_like(uniform)
    for place in order(likelihood, (4, 3)):
        at = (slice(None), *place)
        pixel = conditional(likelihood, params, x, place)
        x[at] = from_uniform(pixel, uniform[at].reshape(-1, 1, 1, 1)).flatten()
        means[at] = pixel.mean.flatten()
    return x, means


@each_case
def test_the_mean_is_that_of_sixteen_draws_which_are_always_the_same(name: str) -> None:
    likelihood = made(name)
    params = parameters(likelihood)
    p, state = likelihood(params), torch.get_rng_state()
    got = p.mean
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(p.mean, got)
    torch.testing.assert_close(torch.cat([likelihood(one[None]).mean for one in params]), got)
    noise = distribution._even_noise(p.event_shape)
    assert noise.shape == (16, *p.event_shape)
    assert torch.equal((16 * noise).floor().sort(0).values.flatten(1)[:, 0], torch.arange(16.0, dtype=torch.float64))
    means = [drawn_in_passes(likelihood, params, one.expand(3, *one.shape))[1] for one in noise]
    torch.testing.assert_close(got, torch.stack(means).mean(0))


def test_the_mean_is_the_same_however_many_are_drawn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    likelihood = made("levels, two channels")
    p = likelihood(parameters(likelihood))
    together = p.mean
    for number in (1, 7, 33):
        monkeypatch.setattr(distribution, "_AT_ONCE", number)
        torch.testing.assert_close(p.mean, together)


def test_the_mean_is_near_the_exact_one() -> None:
    for name in ("binary", "levels", "mixture"):
        likelihood = made(name, noise=1.0)
        p = likelihood(parameters(likelihood, 20, (2, 2)))
        x = every_image(likelihood, (2, 2))
        exact = (p.log_prob(x[:, None]).exp()[..., None, None, None] * x[:, None]).sum(0)
        spread = p.sample((200,)).std(0)
        assert (p.mean - exact).abs().mean() < 0.2 * spread.mean() / 4, name  # of 16 plain draws: 0.8 of it


@each_case
def test_at_its_start_it_is_its_pixels_alone(name: str) -> None:
    likelihood = CASES[name]().double()
    params, x = parameters(likelihood), images_of(likelihood)
    alone = likelihood.pixels(params[:, : likelihood.image_channels * likelihood.pixels.n_params])
    p = likelihood(params)
    torch.testing.assert_close(p.log_prob(x), alone.log_prob(x))
    torch.testing.assert_close(p.mean, alone.mean)


# ------------------------------------------------------------------------------------------- gradients, precisions


@pytest.mark.parametrize("name", [name for name in CASES if name != "binary, deeper"])
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    likelihood = made(name)
    params = parameters(likelihood, 2, (2, 2)).requires_grad_()
    x = images_of(likelihood, 2, (2, 2))
    inputs = (params, *likelihood.parameters())
    assert torch.autograd.gradcheck(lambda given, *_: likelihood(given).log_prob(x), inputs)
    gradients = torch.autograd.grad(likelihood(params).log_prob(x).sum(), inputs)
    assert all(gradient.abs().max() > 0 for gradient in gradients)


def test_grey_levels_are_rounded_before_they_tell_of_others() -> None:
    likelihood = made("levels")
    params = parameters(likelihood)
    x = images_of(likelihood)
    p = likelihood(params)
    torch.testing.assert_close(p.log_prob((x + 0.2).clamp(0, 1)), p.log_prob(x))


def test_grey_pixels_are_to_a_binary_one_what_they_are_to_a_bernoulli() -> None:
    likelihood = made("binary")
    params, x = parameters(likelihood), torch.rand(3, 1, 4, 3, dtype=torch.float64)
    logits = params[:, :1] + likelihood.network(x, params)
    torch.testing.assert_close(likelihood(params).log_prob(x), Bernoulli()(logits).log_prob(x))
    assert (likelihood.tag(), likelihood.tag("dynamic")) == ("grey-bce", "binarized-dynamic")
    assert Autoregressive(Categorical(16)).tag() == "categorical-16"
    assert Autoregressive(LogisticMixture()).tag("static") == LogisticMixture().tag("static")


def test_in_half_precision_and_under_autocast() -> None:
    with seeded(0):
        likelihood = stirred(Autoregressive(**SMALL), 0.3)
        params, x = torch.randn(4, 2, 8, 8), torch.rand(4, 1, 8, 8).round()
    exact = likelihood(params).log_prob(x)
    with torch.autocast("cpu", torch.bfloat16):
        got = likelihood(params).log_prob(x)
    assert got.dtype is torch.float32
    torch.testing.assert_close(got, exact, rtol=0.02, atol=0.0)
    half = likelihood.to(torch.bfloat16)
    p = half(params.bfloat16())
    assert p.sample().dtype is p.mean.dtype is p.log_prob(x.bfloat16()).dtype is torch.bfloat16


# ------------------------------------------------------------------------------------------------------- in a model

SHAPE: ImageShape = (1, 6, 6)


def model(pixels: Likelihood | None = None, shape: ImageShape = SHAPE, **parts: Any) -> mv.VAE:
    with seeded(2):
        likelihood = Autoregressive(pixels, **SMALL, image_channels=shape[0])
        classes = parts.get("num_classes")
        coders = {
            "encoder": MLPEncoder(2, shape, (8,), num_classes=classes),
            "decoder": MLPDecoder(2, shape, (8,), num_classes=classes, n_params=likelihood.n_params),
        }
        return mv.VAE(2, shape, likelihood=likelihood, **coders, **parts)


def digits(n: int = 40, shape: ImageShape = SHAPE) -> mv.ImageDataset:
    with seeded(7):
        pixels = (torch.rand(n, *shape) * torch.linspace(0, 1, shape[2])).mul(255).byte()
    return mv.ImageDataset(pixels, torch.arange(n) % 2, name="tiny")


def trainer(*callbacks: Any, **changes: Any) -> mv.Trainer:
    settings = {"epochs": 3, "batch_size": 8, "learning_rate": 0.01, "binarization": "dynamic", "device": "cpu"}
    return mv.Trainer(**{**settings, "progress": False, **changes}, callbacks=callbacks)  # type: ignore[arg-type]


KINDS = (None, Categorical(3), LogisticMixture(2, 8))
HOW: list[dict[str, Any]] = [{}, {"ema": 0.9}, {"precision": "bf16"}, {"start_at_mean": True}]


@pytest.mark.parametrize(
    ("pixels", "how"), [*itertools.product(KINDS, HOW[:3]), *((p, HOW[3]) for p in KINDS[:2])], ids=str
)
def test_its_weights_are_trained_with_the_others_and_a_resumed_run_ends_as_the_whole_one(
    pixels: Likelihood | None, how: dict[str, Any], tmp_path: Path
) -> None:
    whole, before = model(pixels), model(pixels).state_dict()
    history = trainer(**how).fit(whole, digits(), digits(8))
    assert history[2]["loss"] < history[0]["loss"] or how.get("start_at_mean")
    for name, value in whole.named_parameters():
        assert not torch.equal(value, before[name]), name
    with pytest.raises(Interrupted):
        trainer(Checkpoint(tmp_path), StopAt(7), **how).fit(model(pixels), digits(), digits(8))
    resumed = model(pixels)
    trainer(Checkpoint(tmp_path), **how).fit(resumed, digits(), digits(8), resume=tmp_path)
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in resumed.state_dict().items())


@pytest.mark.filterwarnings("ignore:.*_prims_common.check:FutureWarning")  # torch's own, while it compiles
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # as well
@pytest.mark.slow
@pytest.mark.parametrize("pixels", KINDS, ids=str)
def test_a_compiled_step_is_the_step(pixels: Likelihood | None) -> None:
    plain, other = (trainer(**more).fit(model(pixels), digits()) for more in ({}, {"compile": True}))
    assert other[2]["loss"] == pytest.approx(plain[2]["loss"], rel=1e-4)


@pytest.mark.parametrize("pixels", KINDS[:2], ids=str)
def test_the_loss_is_traced_as_one_graph(pixels: Likelihood | None) -> None:
    vae, x = stirred(model(pixels)), torch.rand(4, *SHAPE)
    compiled = torch.compile(lambda x: vae.loss(x).loss.mean(), backend="eager", fullgraph=True)
    with seeded(0):
        expected = vae.loss(x).loss.mean()
    with seeded(0):
        torch.testing.assert_close(compiled(x), expected)


def test_of_a_trained_model_it_goes_on_from_there() -> None:
    with seeded(2):
        plain = mv.VAE(2, SHAPE)
    trainer(start_at_mean=True).fit(plain, digits())
    richer = plain.replace(likelihood=Autoregressive(features=0, channels=4, layers=1))
    x = digits().binarized("static").images / 255
    with seeded(0):
        before = plain.loss(x).loss.mean()
    with seeded(0):
        torch.testing.assert_close(richer.loss(x).loss.mean(), before)
    assert trainer(epochs=6).fit(richer, digits())[5]["loss"] < before


@pytest.mark.parametrize("pixels", [Bernoulli(), Categorical(3), Gaussian("per-pixel")], ids=str)
def test_its_start_at_a_mean_is_that_of_its_pixels(pixels: Likelihood) -> None:
    likelihood = Autoregressive(pixels, features=2, channels=4, layers=1, image_channels=2)
    mean = torch.rand(2, 3, 4) * 0.8 + 0.1
    params = likelihood.params_of_mean(mean)
    assert params is not None
    assert params.shape == (2 * likelihood.n_params, 3, 4)
    torch.testing.assert_close(likelihood(params[None]).mean[0], mean)
    assert Autoregressive(LogisticMixture(), **SMALL).params_of_mean(mean[:1]) is None


def test_a_file_holds_its_weights(tmp_path: Path) -> None:
    for pixels in (None, Categorical(3)):
        vae = stirred(model(pixels).eval())
        same = mv.load(mv.save(vae, tmp_path / "vae.safetensors"))
        assert repr(same) == repr(vae)
        z, x = torch.randn(5, 2), torch.rand(5, *SHAPE)
        assert torch.equal(same.decode(z).log_prob(x), vae.decode(z).log_prob(x))
        assert not any("mask" in name for name in vae.state_dict())


def test_samples_are_draws_that_repeat_under_a_generator() -> None:
    vae = stirred(model())
    state = torch.get_rng_state()
    first, second, other = (vae.sample(6, generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert set(first.unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(vae.sample(6), vae.sample(6))
    still = vae.sample(6, temperature=0.0, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(still[0], still[1])  # of one code
    levels = stirred(model(Categorical(3))).sample(6)
    assert set(levels.unique().tolist()) == {0.0, 0.5, 1.0}
    assert ((stirred(model(Gaussian(0.5))).sample(50) - 0.5).abs() <= 0.5).all()


def test_reconstructions_and_what_is_between_them_are_means_whatever_the_batch() -> None:
    vae, x = stirred(model()), torch.rand(5, *SHAPE).round()
    made = vae.reconstruct(x)
    torch.testing.assert_close(vae.reconstruct(x, batch_size=2), made)
    torch.testing.assert_close(vae.decode(vae.encode(x).mean).mean, made)
    ends = vae.interpolate(x[0], x[1], 3)
    torch.testing.assert_close(ends[[0, 2]], made[:2])
    view = mv.View(vae, x)
    torch.testing.assert_close(view.reconstructions.float() / 255, made, rtol=0, atol=0.5 / 255 + 1e-6)
    assert set(view.samples.unique().tolist()) == {0, 255}


@pytest.mark.parametrize("kind", ["plain", "conditional", "colours", "IWAE"])
def test_other_models_have_it(kind: str) -> None:
    shape: ImageShape = (3, 5, 4) if kind == "colours" else SHAPE
    parts: dict[str, Any] = {"num_classes": 2} if kind == "conditional" else {}
    if kind == "IWAE":
        parts["objective"] = IWAE(3)
    vae = stirred(model(shape=shape, **parts))
    history = trainer().fit(vae, digits(shape=shape))
    assert history[2]["loss"] < history[0]["loss"]
    assert vae.sample(4).shape == (4, *shape)
    if kind == "conditional":
        assert vae.tag("dynamic") == "binarized-dynamic-given-label"
        assert vae.sample(3, y=1).shape == (3, *shape)


@pytest.mark.filterwarnings("ignore:the log-likelihood of", "ignore:.*biased upwards")
def test_it_is_evaluated() -> None:
    shape = (1, 12, 12)
    how: dict[str, Any] = {"include": ("reconstruction", "likelihood"), "binarization": "dynamic", "num_samples": 5}
    vae, data = stirred(model(shape=shape)), digits(20, shape)
    first, again = (mv.metrics.evaluate(vae, data, **how) for _ in range(2))
    assert list(first) == list(again)
    assert np.isfinite([first[name] for name in ("nll", "negative_elbo", "mse", "ssim")]).all()
    assert first["nll"] <= first["negative_elbo"] + 1
    assert {score.tag for score in first if score.tag} == {"binarized-dynamic"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_it_is_reported(tmp_path: Path) -> None:
    shape = (1, 12, 12)
    page = write_report(stirred(model(shape=shape)), digits(60, shape), tmp_path, binarization="dynamic", num_samples=5)
    text = page.read_text(encoding="utf-8")
    assert "There is no plane to move on: expected a likelihood of independent pixels" in text
    assert "could not be finished" not in text


def test_what_cannot_be_a_graph_says_so(tmp_path: Path) -> None:
    vae = model()
    for part in ("decoder", "reconstruct", "sample"):
        with pytest.raises(ComponentError, match=r"a likelihood of independent pixels, .*an Autoregressive, .*encoder"):
            mv.export(vae, tmp_path / "a.pt2", part=part, format="pt2")  # type: ignore[arg-type]
    assert mv.export(vae, tmp_path / "a.pt2", part="encoder", format="pt2").exists()
    with pytest.raises(
        ComponentError, match=r"a likelihood of independent pixels, .* got an Autoregressive, .*plotting"
    ):
        explorer_page(vae, digits())


def test_its_log_likelihood_can_be_a_graph() -> None:
    likelihood = stirred(Autoregressive(Categorical(3), **SMALL)).eval()

    class Score(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.likelihood = likelihood

        def forward(self, params: Tensor, x: Tensor) -> Tensor:
            return self.likelihood(params).log_prob(x)

    given = torch.randn(3, 4, 6, 6), torch.rand(3, 1, 6, 6)
    batch = torch.export.Dim("batch", min=1, max=64)
    recorded = torch.export.export(Score(), given, dynamic_shapes=({0: batch}, {0: batch})).module()
    other = torch.randn(7, 4, 6, 6), torch.rand(7, 1, 6, 6)
    torch.testing.assert_close(recorded(*other), Score()(*other))


class Terminal(io.StringIO):
    """A terminal, as far as anyone asks."""

    def isatty(self) -> bool:
        return True


def test_a_long_walk_shows_a_bar_in_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    p = made("binary")(parameters(made("binary")))
    p.sample()
    monkeypatch.setattr(distribution, "_LONG", 0.0)
    p.sample()
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    p.sample()
    assert "pixels" in terminal.getvalue()
    monkeypatch.setattr(distribution, "_LONG", 60.0)
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    p.sample()
    assert terminal.getvalue().strip() == ""


# ------------------------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"kernel_size": 4}, "expected kernel_size as an odd integer of at least 3, got 4: such as 5"),
        ({"kernel_size": 1}, "expected kernel_size as an odd integer of at least 3, got 1"),
        ({"kernel_size": 3.0}, "kernel_size as an odd integer"),
        ({"layers": 0}, "expected layers as an integer of at least 1, got 0"),
        ({"channels": 0}, "expected channels as an integer of at least 1, the number of the image's channels, got 0"),
        ({"channels": 2, "image_channels": 3}, "channels as an integer of at least 3, the number of the image's"),
        ({"features": -1}, "expected features as an integer of at least 0, got -1"),
        ({"image_channels": 0}, "expected image_channels as an integer of at least 1, got 0"),
    ],
    ids=str,
)
def test_numbers_that_make_no_sense(how: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        Autoregressive(**how)


@pytest.mark.parametrize(
    ("pixels", "got"),
    [(Autoregressive(), "an Autoregressive"), (Bernoulli, "the class Bernoulli"), ("binary", "a str")],
    ids=str,
)
def test_pixels_are_a_likelihood_of_independent_ones(pixels: Any, got: str) -> None:
    with pytest.raises(
        ComponentError, match=rf"expected pixels as a likelihood of independent pixels, got {got}: such"
    ):
        Autoregressive(pixels)


def test_images_of_other_channels_are_refused_by_the_model() -> None:
    message = r"parameters of 9 channels, of images of 1, got 27: make it for .*Autoregressive\(image_channels=3\)"
    with pytest.raises(ComponentError, match=message):
        mv.VAE(2, (3, 8, 8), likelihood=Autoregressive())
