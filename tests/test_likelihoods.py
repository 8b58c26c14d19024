"""One contract for every likelihood: a distribution over images that sums to one and knows its own moments."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
import torch.distributions as td
from hypothesis import example, given, settings
from hypothesis import strategies as st
from readback import stirred
from torch import Tensor

import mnistvae as mv
from mnistvae import likelihoods
from mnistvae.data.dataset import Binarization
from mnistvae.errors import SettingError
from mnistvae.likelihoods import (
    Autoregressive,
    Bernoulli,
    Categorical,
    ContinuousBernoulli,
    DiscretizedLogistic,
    Gaussian,
    Likelihood,
    LogisticMixture,
)

SHAPE = (2, 4, 3)
BINARIZATIONS: tuple[str, ...] = get_args(Binarization)

CASES: dict[str, Callable[[], Likelihood]] = {
    "bernoulli": Bernoulli,
    "continuous-bernoulli": ContinuousBernoulli,
    "gaussian-fixed": lambda: Gaussian(sigma=0.3),
    "gaussian-learned": Gaussian,
    "gaussian-per-pixel": lambda: Gaussian(sigma="per-pixel"),
    "gaussian-fixed-identity": lambda: Gaussian(sigma=0.3, link="identity"),
    "gaussian-learned-identity": lambda: Gaussian(sigma="learned", link="identity"),
    "gaussian-per-pixel-identity": lambda: Gaussian(sigma="per-pixel", link="identity"),
    "logistic": DiscretizedLogistic,
    "logistic-5": lambda: DiscretizedLogistic(levels=5),
    "mixture": LogisticMixture,
    "mixture-2-5": lambda: LogisticMixture(components=2, levels=5),
    "categorical": Categorical,
    "categorical-5": lambda: Categorical(levels=5),
}


@pytest.fixture(params=list(CASES))
def likelihood(request: pytest.FixtureRequest) -> Likelihood:
    return CASES[request.param]()


def in_unit_interval(likelihood: Likelihood) -> bool:
    """Whether the mean is promised to be an image."""
    return not isinstance(likelihood, Gaussian) or likelihood.link == "logit"


def parameters(likelihood: Likelihood, n: int = 5, dtype: torch.dtype = torch.float32) -> Tensor:
    """What a decoder might give out: (n, C * n_params, H, W)."""
    channels, height, width = SHAPE
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, channels * likelihood.n_params, height, width, generator=generator, dtype=dtype)


def images(n: int = 5, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(2), dtype=dtype)


# -------------------------------------------------------------------------------------------------- the contract


def test_the_contract_is_held_by_every_public_likelihood() -> None:
    tested = {type(make()) for make in CASES.values()}
    defined = {
        cls
        for name, cls in vars(likelihoods).items()
        if inspect.isclass(cls) and issubclass(cls, Likelihood) and not name.startswith("_")
    }
    assert defined - {Likelihood, Autoregressive} == tested  # of which pixels depend on each other: a test of its own
    assert {cls.__name__ for cls in defined} == set(likelihoods.__all__)


@pytest.mark.parametrize("n", [1, 5])
def test_contract_shapes(likelihood: Likelihood, n: int) -> None:
    p = likelihood(parameters(likelihood, n))
    assert isinstance(p, td.Distribution)
    assert p.batch_shape == (n,)
    assert p.event_shape == SHAPE
    assert p.mean.shape == p.mode.shape == p.sample().shape == (n, *SHAPE)
    assert p.sample((3,)).shape == (3, n, *SHAPE)
    assert p.log_prob(images(n)).shape == (n,)
    assert p.log_prob(p.sample((3, 2))).shape == (3, 2, n)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_contract_values_are_finite_and_of_the_parameters_dtype(likelihood: Likelihood, dtype: torch.dtype) -> None:
    p = likelihood(parameters(likelihood, dtype=dtype))
    for value in (p.mean, p.mode, p.sample(), p.log_prob(images(dtype=dtype))):
        assert value.isfinite().all()
        assert value.dtype is dtype
    if in_unit_interval(likelihood):
        assert (p.mean >= 0).all()
        assert (p.mean <= 1).all()


def test_contract_draws_are_in_the_support(likelihood: Likelihood) -> None:
    p = likelihood(parameters(likelihood))
    x = p.sample((50,))
    assert p.support is not None
    assert p.support.check(x).all()
    assert p.support.check(p.mode).all()
    assert p.support.check(x + 2).all() == isinstance(likelihood, Gaussian)
    assert not x.requires_grad
    if isinstance(likelihood, Bernoulli):
        assert set(x.unique().tolist()) == {0.0, 1.0}
    if likelihood.levels is not None:
        grid = torch.arange(likelihood.levels) / (likelihood.levels - 1)
        assert torch.isin(x, grid).all()
        assert torch.isin(p.mode, grid).all()


def test_contract_draws_differ_between_images_and_calls_and_repeat_under_a_seed(likelihood: Likelihood) -> None:
    p = likelihood(torch.zeros(2, SHAPE[0] * likelihood.n_params, *SHAPE[1:]))
    torch.manual_seed(7)
    first, second = p.sample(), p.sample()
    torch.manual_seed(7)
    assert torch.equal(p.sample(), first)
    assert not torch.equal(first, second)
    assert not torch.equal(*first)


def test_contract_an_image_depends_on_its_own_parameters_alone(likelihood: Likelihood) -> None:
    params, x = parameters(likelihood), images()
    together = likelihood(params).log_prob(x)
    one_by_one = torch.cat([likelihood(params[[i]]).log_prob(x[[i]]) for i in range(len(x))])
    torch.testing.assert_close(together, one_by_one)
    assert len(together.unique()) == len(x)


def test_contract_a_pixel_depends_on_its_own_parameters_alone(likelihood: Likelihood) -> None:
    params = parameters(likelihood, n=1)
    before = likelihood(params).mean
    for channel in range(params.shape[1]):
        changed = params.clone()
        changed[0, channel, 2, 1] += 0.5
        differs = (likelihood(changed).mean != before)[0].nonzero().tolist()
        assert differs in ([], [[channel % SHAPE[0], 2, 1]])
        if channel < SHAPE[0]:
            assert differs  # the first of a pixel's parameters is where its mean is


def test_contract_log_prob_adds_up_over_pixels(likelihood: Likelihood) -> None:
    params, x = parameters(likelihood, dtype=torch.float64), images(dtype=torch.float64)
    total = torch.zeros(5, dtype=torch.float64)
    for c in range(SHAPE[0]):
        for row in range(SHAPE[1]):
            for column in range(SHAPE[2]):
                pixel = params[:, c :: SHAPE[0], row, column].reshape(5, likelihood.n_params, 1, 1)
                total += likelihood(pixel).log_prob(x[:, [c], row, column].reshape(5, 1, 1, 1))
    torch.testing.assert_close(likelihood(params).log_prob(x), total)


def test_contract_log_prob_is_differentiable_in_the_parameters(likelihood: Likelihood) -> None:
    params = parameters(likelihood, n=2, dtype=torch.float64)[:, :, :2, :1].requires_grad_()
    x = images(n=2, dtype=torch.float64)[:, :, :2, :1]
    likelihood = likelihood.double()
    # The weights of a likelihood are inputs too, where it has any.
    inputs = (params, *likelihood.parameters())
    assert torch.autograd.gradcheck(lambda given_params, *_: likelihood(given_params).log_prob(x), inputs)
    gradients = torch.autograd.grad(likelihood(params).log_prob(x).sum(), inputs)
    assert all((gradient != 0).all() for gradient in gradients)


def test_contract_expands_to_itself_repeated(likelihood: Likelihood) -> None:
    p = likelihood(parameters(likelihood, n=1))
    wide = p.expand((3, 4))
    assert type(wide) is type(p)
    assert wide.batch_shape == (3, 4)
    assert wide.event_shape == SHAPE
    x = torch.rand(3, 4, *SHAPE)
    torch.testing.assert_close(wide.log_prob(x), p.log_prob(x))
    torch.testing.assert_close(wide.mean, p.mean.expand(3, 4, *SHAPE))
    assert wide.sample().shape == (3, 4, *SHAPE)


def test_contract_repr_is_the_call_that_makes_it(likelihood: Likelihood) -> None:
    names = {name: getattr(likelihoods, name) for name in likelihoods.__all__}
    rebuilt = eval(repr(likelihood), {"__builtins__": {}}, names)  # noqa: S307 (that is the promise)
    assert type(rebuilt) is type(likelihood)
    assert repr(rebuilt) == repr(likelihood)
    assert rebuilt.n_params == likelihood.n_params
    rebuilt.load_state_dict(likelihood.state_dict())
    assert_equal_likelihoods(rebuilt, likelihood)


def test_contract_a_saved_model_comes_back_with_the_same_likelihood(likelihood: Likelihood, tmp_path: Path) -> None:
    model = stirred(mv.VAE(2, SHAPE, likelihood=likelihood).eval())  # as training would
    mv.save(model, tmp_path / "vae.safetensors")
    same = mv.load(tmp_path / "vae.safetensors")
    assert type(same.likelihood) is type(likelihood)
    assert repr(same.likelihood) == repr(likelihood)
    assert_equal_likelihoods(same.likelihood, likelihood)
    z = torch.randn(5, 2)
    assert torch.equal(same.decode(z).log_prob(images()), model.decode(z).log_prob(images()))


def assert_equal_likelihoods(one: Likelihood, other: Likelihood) -> None:
    p, q = one(parameters(one)), other(parameters(other))
    assert torch.equal(p.log_prob(images()), q.log_prob(images()))
    assert torch.equal(p.mean, q.mean)


def test_contract_tags_are_the_same_for_what_is_comparable_and_different_for_what_is_not() -> None:
    measured: dict[str, tuple[Any, ...]] = {}
    for make in CASES.values():
        likelihood = make()
        assert likelihood.tag() == likelihood.tag("none")
        for binarization in BINARIZATIONS:
            tag = likelihood.tag(binarization)
            assert tag.strip()
            # A mixture of one logistic distribution is one.
            kind = DiscretizedLogistic if isinstance(likelihood, LogisticMixture) else type(likelihood)
            what = (kind, likelihood.levels, binarization)
            # Normal densities of the same pixels are comparable, whatever their sigma.
            assert measured.setdefault(tag, what) == what
    assert len(measured) == len(set(measured.values()))


def test_cross_entropy_on_grey_pixels_is_not_called_a_likelihood() -> None:
    assert Bernoulli().tag() == "grey-bce"
    assert Bernoulli().tag("static") == "binarized-static"


# ------------------------------------------------------------------------------- sums, integrals and their moments

#: Logits about every branch of the continuous Bernoulli's series, and far out.
LOGITS = (0.0, 1e-6, -1e-6, 0.19, 0.21, -0.21, 0.29, 0.31, -0.31, 0.59, 0.61, -0.61, 5.0, -5.0, 80.0, -80.0)
LOCATIONS = (-80.0, -2.0, 0.3, 80.0)
LOG_SCALES = (-30.0, -7.0, -3.0, 0.0, 5.0, 30.0)


def _pairs(firsts: tuple[float, ...], seconds: tuple[float, ...]) -> list[tuple[float, ...]]:
    return [(first, second) for first in firsts for second in seconds]


#: (name, likelihood, parameters of one pixel)
PIXELS: list[tuple[str, tuple[float, ...]]] = [
    *(("bernoulli", (logit,)) for logit in LOGITS),
    *(("continuous-bernoulli", (logit,)) for logit in LOGITS),
    *((name, (mean,)) for name in CASES if "gaussian" in name and "per-pixel" not in name for mean in LOCATIONS),
    *((name, pair) for name in CASES if "per-pixel" in name for pair in _pairs((-2.0, 0.3), LOG_SCALES)),
    *((name, pair) for name in ("logistic", "logistic-5") for pair in _pairs(LOCATIONS, LOG_SCALES)),
    *(
        ("mixture-2-5", (*pair, *scales, 0.4, -0.3))
        for pair in ((-2.0, 0.3), (0.1, 0.9))
        for scales in ((-7.0, 0.0), (-2.0, -1.0))
    ),
    ("mixture", (-80.0, 0.0, 0.3, 1.0, 80.0, -30.0, -5.0, -2.0, -4.0, 30.0, -1.0, 2.0, 1.0, 0.5, -2.0)),
    *(("categorical-5", logits) for logits in ((0.0,) * 5, (-80.0, 0.0, 1.0, 80.0, 3.0), (2.0, -1.0, 0.5, 0.0, 2.1))),
    ("categorical", tuple(math.sin(k) for k in range(16))),
]
each_pixel = pytest.mark.parametrize(("name", "params"), PIXELS, ids=str)


def one_pixel(likelihood: Likelihood, params: tuple[float, ...]) -> td.Distribution:
    frozen = likelihood.double().requires_grad_(requires_grad=False)
    pixel: td.Distribution = frozen(torch.tensor(params, dtype=torch.float64).reshape(1, -1, 1, 1))
    return pixel


def measure(likelihood: Likelihood, params: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """Every value of one pixel, or the nodes of a quadrature over them, and their weights: each (N,)."""
    if isinstance(likelihood, Bernoulli):
        return torch.tensor([0.0, 1.0], dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    if likelihood.levels is not None:
        levels = torch.arange(likelihood.levels, dtype=torch.float64) / (likelihood.levels - 1)
        return levels, torch.ones_like(levels)
    nodes, weights = (torch.from_numpy(value) for value in np.polynomial.legendre.leggauss(200))
    middle, half = 0.5, 0.5
    if isinstance(likelihood, Gaussian):
        middle = 1 / (1 + math.exp(-params[0])) if likelihood.link == "logit" else params[0]
        half = 12 * gaussian_sigma(likelihood, params)
    return middle + half * nodes, half * weights


def gaussian_sigma(likelihood: Gaussian, params: tuple[float, ...]) -> float:
    """The soft floor in closed form: exp(-6 + softplus(s + 6)) is exp(-6) + exp(s)."""
    if isinstance(likelihood.sigma, float):
        return likelihood.sigma
    return math.exp(-6) + (0.5 if likelihood.sigma == "learned" else math.exp(params[1]))


@each_pixel
def test_the_probabilities_of_all_values_add_up_to_one(name: str, params: tuple[float, ...]) -> None:
    likelihood = CASES[name]()
    points, weights = measure(likelihood, params)
    density = one_pixel(likelihood, params).log_prob(points.reshape(-1, 1, 1, 1)).exp()
    assert density.shape == points.shape
    # The learned sigma starts as a number in single precision.
    assert float((weights * density).sum()) == pytest.approx(1, abs=1e-6 if "learned" in name else 1e-10)


@each_pixel
def test_mean_and_variance_are_those_of_the_probabilities(name: str, params: tuple[float, ...]) -> None:
    likelihood = CASES[name]()
    p = one_pixel(likelihood, params)
    points, weights = measure(likelihood, params)
    mass = weights * p.log_prob(points.reshape(-1, 1, 1, 1)).exp()
    mean = float((mass * points).sum())
    variance = float((mass * (points - mean).square()).sum())
    scale = max(1.0, math.sqrt(variance))
    assert float(p.mean) == pytest.approx(mean, abs=1e-9 * scale)
    if type(p).variance is not td.Distribution.variance:
        assert float(p.variance) == pytest.approx(variance, rel=1e-6, abs=1e-12)
        assert float(p.stddev) == pytest.approx(math.sqrt(variance), rel=1e-6, abs=1e-6)


@each_pixel
def test_no_value_is_likelier_than_the_mode(name: str, params: tuple[float, ...]) -> None:
    likelihood = CASES[name]()
    p = one_pixel(likelihood, params)
    points, _ = measure(likelihood, params)
    highest = float(p.log_prob(points.reshape(-1, 1, 1, 1)).max())
    assert float(p.log_prob(p.mode)) >= highest - 1e-9


@each_pixel
def test_draws_have_the_moments_of_the_probabilities(name: str, params: tuple[float, ...]) -> None:
    likelihood = CASES[name]()
    p = one_pixel(likelihood, params)
    points, weights = measure(likelihood, params)
    mass = weights * p.log_prob(points.reshape(-1, 1, 1, 1)).exp()
    mean = float((mass * points).sum())
    central = {k: float((mass * (points - mean) ** k).sum()) for k in (2, 4)}
    n = 4000
    x = p.sample((n,)).flatten()
    assert abs(float(x.mean()) - mean) <= 5 * math.sqrt(central[2] / n) + 1e-9
    error = math.sqrt(max(central[4] - central[2] ** 2, 0.0) / n)
    assert abs(float((x - mean).square().mean()) - central[2]) <= 5 * error + 1e-9


@pytest.mark.parametrize(
    ("name", "params"),
    [
        *(("logistic-5", (0.4, log_scale)) for log_scale in (-2.5, -1.0, 0.5)),
        ("mixture-2-5", (0.1, 0.8, -2.0, -3.0, 0.4, -0.3)),
        ("mixture-2-5", (-2.0, 0.5, -1.0, 0.5, -3.0, 0.0)),
        ("categorical-5", (2.0, -1.0, 0.5, 0.0, 2.1)),
        ("categorical-5", (-80.0, 0.0, 1.0, -80.0, -80.0)),
    ],
    ids=str,
)
def test_each_grey_level_is_drawn_as_often_as_it_is_likely(name: str, params: tuple[float, ...]) -> None:
    likelihood, n = CASES[name](), 20_000
    p = one_pixel(likelihood, params)
    levels, _ = measure(likelihood, params)
    probability = p.log_prob(levels.reshape(-1, 1, 1, 1)).exp()
    shares = (p.sample((n,)).flatten() == levels.unsqueeze(1)).double().mean(1)
    assert ((shares - probability).abs() <= 5 * (probability * (1 - probability) / n).sqrt()).all()


@pytest.mark.parametrize("logit", [-80.0, -3.0, -0.31, 0.0, 1e-6, 0.29, 5.0])
def test_draws_of_the_continuous_bernoulli_follow_its_distribution_function(logit: float) -> None:
    n = 20_000
    p = one_pixel(ContinuousBernoulli(), (logit,))
    x, logit = p.sample((n,)).flatten(), float(p.logits)
    for at in (0.01, 0.1, 0.5, 0.9, 0.99):
        below = at if logit == 0 else math.expm1(logit * at) / math.expm1(logit)
        assert abs(float((x <= at).double().mean()) - below) <= 5 * math.sqrt(below * (1 - below) / n) + 1e-9


# ------------------------------------------------------------------------------------------------------ extremes


def extremes(low: float, high: float) -> st.SearchStrategy[float]:
    return st.sampled_from([low, high, 0.0]) | st.floats(low, high)


@pytest.mark.parametrize("name", list(CASES))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@given(
    rows=st.lists(
        st.tuples(extremes(-80, 80), extremes(-30, 30), st.sampled_from([0.0, 1.0]) | st.floats(0, 1)),
        min_size=1,
        max_size=8,
    )
)
@settings(max_examples=20)
@example(rows=[(a, b, x) for a in (-80.0, 0.0, 80.0) for b in (-30.0, 0.0, 30.0) for x in (0.0, 0.5, 1.0)])
def test_extreme_parameters_give_finite_values_and_gradients(
    name: str, dtype: torch.dtype, rows: list[tuple[float, float, float]]
) -> None:
    likelihood = CASES[name]().to(dtype)
    first, second, pixel = (column.reshape(-1, 1, 1, 1) for column in torch.tensor(rows, dtype=dtype).unbind(1))
    params = torch.cat([first, second] * 24, dim=1)[:, : likelihood.n_params].clone().requires_grad_()
    for weight in likelihood.parameters():
        weight.data.copy_(second[0].reshape(()))
    p = likelihood(params)
    log_prob = p.log_prob(pixel)
    log_prob.sum().backward()
    for value in (log_prob, p.mean, p.mode, p.sample(), p.log_prob(p.sample())):
        assert value.isfinite().all()
    for leaf in (params, *likelihood.parameters()):
        assert leaf.grad is not None
        assert leaf.grad.isfinite().all()
    if in_unit_interval(likelihood):
        assert (p.mean >= 0).all()
        assert (p.mean <= 1).all()


@pytest.mark.parametrize("sigma", [1e-6, 1e6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_least_and_greatest_sigma_give_finite_values_and_gradients(sigma: float, dtype: torch.dtype) -> None:
    params = torch.zeros(3, 1, 1, 1, dtype=dtype, requires_grad=True)
    x = torch.tensor([0.0, 0.5, 1.0], dtype=dtype).reshape(3, 1, 1, 1)
    for link in ("logit", "identity"):
        log_prob = Gaussian(sigma, link)(params).log_prob(x)
        (gradient,) = torch.autograd.grad(log_prob.sum(), params)
        assert log_prob.isfinite().all()
        assert gradient.isfinite().all()


# --------------------------------------------------------------------------------------------- the single likelihoods


def test_bernoulli_and_continuous_bernoulli_take_logits() -> None:
    params, x = parameters(Bernoulli()), images()
    expected = td.Independent(td.Bernoulli(logits=params), 3)
    torch.testing.assert_close(Bernoulli()(params).mean, params.sigmoid())
    torch.testing.assert_close(Bernoulli()(params).log_prob(x.round()), expected.log_prob(x.round()))
    torch.testing.assert_close(
        ContinuousBernoulli()(params.double()).log_prob(x.double()),
        td.Independent(td.ContinuousBernoulli(logits=params.double()), 3).log_prob(x.double()),
    )


@pytest.mark.parametrize("link", ["logit", "identity"])
@pytest.mark.parametrize("sigma", [0.3, "learned", "per-pixel"])
def test_gaussian_equals_torchs_normal(sigma: float | str, link: Any) -> None:
    likelihood = Gaussian(sigma, link)
    params, x = parameters(likelihood), images()
    raw = params[:, : SHAPE[0]]
    scale: float | Tensor = 0.3
    if sigma == "learned":
        scale = math.exp(-6) + 0.5
    elif sigma == "per-pixel":
        scale = math.exp(-6) + params[:, SHAPE[0] :].exp()
    expected = td.Independent(td.Normal(raw.sigmoid() if link == "logit" else raw, scale), 3)
    p = likelihood(params)
    torch.testing.assert_close(p.mean, expected.mean)
    torch.testing.assert_close(p.mode, expected.mode)
    torch.testing.assert_close(p.stddev, expected.stddev)
    torch.testing.assert_close(p.log_prob(x), expected.log_prob(x))


@pytest.mark.parametrize("link", ["logit", "identity"])
def test_sigma_of_root_one_half_is_the_sum_of_squared_errors_and_a_constant(link: Any) -> None:
    likelihood = Gaussian(sigma=math.sqrt(0.5), link=link)
    params, x = parameters(likelihood, dtype=torch.float64), images(dtype=torch.float64)
    p = likelihood(params)
    squared_error = (x - p.mean).square().sum((1, 2, 3))
    constant = math.prod(SHAPE) / 2 * math.log(math.pi)
    torch.testing.assert_close(-p.log_prob(x), squared_error + constant, rtol=1e-7, atol=1e-6)


def test_beta_times_the_kl_is_sigma_times_the_root_of_beta() -> None:
    beta, sigma = 4.0, 0.25
    params = parameters(Gaussian(), dtype=torch.float64).requires_grad_()
    x = images(dtype=torch.float64)
    narrow, wide = Gaussian(sigma=sigma), Gaussian(sigma=sigma * math.sqrt(beta))
    (weighted,) = torch.autograd.grad(narrow(params).log_prob(x).sum(), params)
    (scaled,) = torch.autograd.grad(beta * wide(params).log_prob(x).sum(), params)
    torch.testing.assert_close(weighted, scaled)


def test_a_learned_sigma_is_one_number_that_settles_at_the_spread_of_the_errors() -> None:
    likelihood = Gaussian(link="identity").double()
    (log_sigma,) = likelihood.parameters()
    assert log_sigma.shape == ()
    x = 0.2 * torch.randn(50, *SHAPE, dtype=torch.float64)
    spread = float(x.square().mean().sqrt())
    for factor, direction in ((0.8, 1), (1.0, 0), (1.25, -1)):
        log_sigma.data.fill_(math.log(factor * spread - math.exp(-6)))
        p = likelihood(torch.zeros_like(x))
        torch.testing.assert_close(p.stddev, torch.full_like(x, factor * spread))
        (slope,) = torch.autograd.grad(p.log_prob(x).mean(), log_sigma)
        assert slope.item() * direction > 0 if direction else abs(slope.item()) < 1e-9


def test_a_sigma_that_is_learned_stays_above_its_floor_and_keeps_a_gradient() -> None:
    params = torch.tensor([0.3, -30.0]).reshape(1, 2, 1, 1).requires_grad_()
    p = Gaussian("per-pixel")(params)
    torch.testing.assert_close(p.stddev, torch.full((1, 1, 1, 1), math.exp(-6)))
    (gradient,) = torch.autograd.grad(p.log_prob(torch.zeros(1, 1, 1, 1)).sum(), params)
    assert (gradient != 0).all()
    learned = Gaussian()
    assert learned.log_sigma is not None
    learned.log_sigma.data.fill_(-30.0)
    torch.testing.assert_close(learned(torch.zeros(1, 1, 1, 1)).stddev, torch.full((1, 1, 1, 1), math.exp(-6)))
    learned(torch.zeros(1, 1, 1, 1)).log_prob(torch.zeros(1, 1, 1, 1)).sum().backward()
    assert learned.log_sigma.grad is not None
    assert learned.log_sigma.grad != 0


def test_logits_of_a_continuous_bernoulli_are_as_they_come_up_to_16_and_compressed_beyond() -> None:
    params = torch.tensor([-1e5, -100.0, -17.0, -16.0, -3.0, 0.0, 15.9, 16.1, 20.0, 1e5], dtype=torch.float64)
    params.requires_grad_()
    logits = ContinuousBernoulli()(params.reshape(1, 1, 1, -1)).logits.flatten()
    assert torch.equal(logits[3:7], params[3:7])
    beyond = [-math.log(1e5 - 15) - 16, -math.log(85) - 16, -math.log(2) - 16, 16 + math.log(1.1), 16 + math.log(5)]
    torch.testing.assert_close(logits[[0, 1, 2, 7, 8]], torch.tensor(beyond, dtype=torch.float64))
    assert (logits.diff() > 0).all()
    (slope,) = torch.autograd.grad(logits.sum(), params)
    assert (slope > 0).all()
    assert (slope <= 1).all()


@given(mean=st.floats(-1, 2), log_scale=st.floats(-3, 1), level=st.integers(0, 255))
def test_logistic_is_a_difference_of_sigmoids_where_that_is_stable(mean: float, log_scale: float, level: int) -> None:
    params = torch.tensor([mean, log_scale], dtype=torch.float64).reshape(1, 2, 1, 1)
    got = DiscretizedLogistic()(params).log_prob(torch.full((1, 1, 1, 1), level / 255, dtype=torch.float64))
    scale = math.exp(log_scale)

    def below(edge: float) -> float:
        return 1 / (1 + math.exp(-(edge - mean) / scale))

    upper = 1.0 if level == 255 else below((level + 0.5) / 255)
    lower = 0.0 if level == 0 else below((level - 0.5) / 255)
    assert float(got.exp()) == pytest.approx(upper - lower, rel=1e-9)


def test_logistic_takes_the_halves_of_the_channels_and_a_floor_under_the_scale() -> None:
    likelihood = DiscretizedLogistic(levels=16)
    params = parameters(likelihood)
    params[:, -1] = -30.0
    p = likelihood(params)
    assert p.levels == 16
    assert torch.equal(p.loc, params[:, :2])
    assert torch.equal(p.log_scale[:, 0], params[:, 2])
    assert torch.equal(p.log_scale[:, 1], torch.full_like(params[:, 3], -7.0))


def test_logistic_with_two_levels_is_a_bernoulli() -> None:
    params = torch.randn(5, 2, 4, 4, dtype=torch.float64)
    x = torch.rand(5, 1, 4, 4, dtype=torch.float64).round()
    mean, log_scale = params.chunk(2, dim=1)
    logits = (mean - 0.5) / log_scale.exp()
    torch.testing.assert_close(
        DiscretizedLogistic(levels=2)(params).log_prob(x), Bernoulli()(logits).log_prob(x), rtol=1e-9, atol=1e-9
    )


@given(
    parts=st.lists(st.tuples(st.floats(-1, 2), st.floats(-3, 1), st.floats(-3, 3)), min_size=1, max_size=4),
    level=st.integers(0, 15),
)
def test_a_mixture_is_the_sum_of_its_logistic_distributions(
    parts: list[tuple[float, float, float]], level: int
) -> None:
    params = torch.tensor(parts, dtype=torch.float64).T.reshape(1, -1, 1, 1)
    x = torch.full((1, 1, 1, 1), level / 15, dtype=torch.float64)
    got = LogisticMixture(len(parts), levels=16)(params).log_prob(x)
    whole = sum(math.exp(logit) for _, _, logit in parts)
    expected = 0.0
    for mean, log_scale, logit in parts:
        single = torch.tensor([mean, log_scale], dtype=torch.float64).reshape(1, 2, 1, 1)
        expected += math.exp(logit) / whole * float(DiscretizedLogistic(levels=16)(single).log_prob(x).exp())
    assert float(got.exp()) == pytest.approx(expected, rel=1e-9)


def test_a_mixture_of_one_is_a_discretized_logistic() -> None:
    params = torch.randn(5, 2, 4, 4, dtype=torch.float64)
    one, other = LogisticMixture(components=1)(torch.cat([params, params[:, :1]], 1)), DiscretizedLogistic()(params)
    x = torch.rand(5, 1, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(one.log_prob(x), other.log_prob(x))
    for which in ("mean", "variance", "mode"):
        torch.testing.assert_close(getattr(one, which), getattr(other, which))
    assert LogisticMixture(components=1).tag() == LogisticMixture().tag() == DiscretizedLogistic().tag()


def test_a_mixtures_mode_may_lie_between_its_peaks() -> None:
    p = one_pixel(LogisticMixture(2, levels=9), (0.375, 0.625, -2.2, -2.2, 0.0, 0.0))
    assert float(p.mode) == 0.5


def test_a_mixture_keeps_its_scales_above_the_floor() -> None:
    p = LogisticMixture(2)(torch.tensor([0.1, 0.9, -30.0, 50.0, 1.0, 2.0]).reshape(1, 6, 1, 1))
    assert p.loc.flatten().tolist() == pytest.approx([0.1, 0.9])
    assert p.log_scale.flatten().tolist() == [-7.0, 30.0]
    assert p.logits.flatten().tolist() == [1.0, 2.0]


def test_a_categorical_is_torchs() -> None:
    likelihood = Categorical(levels=4)
    params = parameters(likelihood, dtype=torch.float64)
    logits = params.reshape(5, 4, *SHAPE).movedim(1, -1)
    expected = td.Independent(td.Categorical(logits=logits), 3)
    p, level = likelihood(params), torch.randint(4, (5, *SHAPE))
    torch.testing.assert_close(p.log_prob(level / 3), expected.log_prob(level))
    torch.testing.assert_close(p.log_prob(((level + 0.4) / 3).clamp(0, 1).double()), expected.log_prob(level))
    torch.testing.assert_close(p.probs.movedim(1, -1), expected.base_dist.probs)
    assert torch.equal(p.mode, expected.mode.double() / 3)
    assert p.levels == likelihood.levels == 4


def test_a_categorical_of_two_levels_is_a_bernoulli() -> None:
    logits, x = torch.randn(5, 1, 4, 4, dtype=torch.float64), torch.rand(5, 1, 4, 4).double().round()
    pair = torch.cat([torch.zeros_like(logits), logits], 1)
    torch.testing.assert_close(Categorical(levels=2)(pair).log_prob(x), Bernoulli()(logits).log_prob(x))
    torch.testing.assert_close(Categorical(levels=2)(pair).mean, Bernoulli()(logits).mean)


@pytest.mark.parametrize("levels", [2, 3, 16])
def test_a_categorical_of_a_mean_has_that_mean_and_a_part_for_every_level(levels: int) -> None:
    likelihood = Categorical(levels)
    mean = torch.tensor([1e-4, 0.02, 0.3, 0.5, 0.8, 0.9999]).reshape(2, 3, 1)
    p = likelihood(likelihood.params_of_mean(mean)[None])
    torch.testing.assert_close(p.mean[0], mean, rtol=1e-4, atol=1e-6)
    assert (p.probs > 0).all()
    assert LogisticMixture().params_of_mean(mean) is None


# ------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("sigma", [0, 0.0, -0.1, math.nan, math.inf, -math.inf, None, True, [0.1, 0.2], torch.zeros(2)])
def test_sigma_is_a_number_above_zero(sigma: Any) -> None:
    with pytest.raises(SettingError, match=r"expected a finite sigma above 0, got .*: or 'learned', or 'per-pixel'"):
        Gaussian(sigma=sigma)


@pytest.mark.parametrize("sigma", [1e300, 1e30, 1e7, 1e-7, 1e-20, 1e-30, 1e-300])
def test_a_sigma_whose_square_float32_cannot_hold_is_refused(sigma: float) -> None:
    with pytest.raises(SettingError, match=rf"expected sigma from 1e-06 to 1e\+06, got {re.escape(str(sigma))}: ."):
        Gaussian(sigma=sigma)


@pytest.mark.parametrize("sigma", ["learnt", "", "0.1", "per_pixel", "Learned"])
def test_a_word_for_sigma_is_one_of_two(sigma: str) -> None:
    message = (
        rf"expected sigma as a number above 0, or one of 'learned', 'per-pixel', got '{sigma}': check the spelling"
    )
    with pytest.raises(SettingError, match=message):
        Gaussian(sigma=sigma)


@pytest.mark.parametrize("link", ["log", "", "Logit", None, 0])
def test_a_link_is_one_of_two(link: Any) -> None:
    message = rf"expected link as one of 'logit', 'identity', got {link!r}: check the spelling"
    with pytest.raises(SettingError, match=message):
        Gaussian(link=link)


@pytest.mark.parametrize("levels", [1, 0, -3, 2.0, 2.5, "256", None, True, math.nan, 2**31])
def test_levels_are_at_least_two(levels: Any) -> None:
    for kind in (DiscretizedLogistic, LogisticMixture, Categorical):
        with pytest.raises(SettingError, match=r"expected at least 2 levels.*, got") as caught:
            kind(levels=levels)
        assert caught.value.got == repr(levels)
        assert caught.value.fix


@pytest.mark.parametrize("components", [0, -1, 2.0, "3", None, True])
def test_a_mixture_has_a_component(components: Any) -> None:
    with pytest.raises(SettingError, match=r"expected at least 1 component, got"):
        LogisticMixture(components=components)


@pytest.mark.parametrize("number", [np.float32(0.5), np.float64(0.5), torch.tensor(0.5), 1])
def test_sigma_may_be_any_kind_of_number_and_is_kept_as_a_float(number: Any) -> None:
    likelihood = Gaussian(sigma=number)
    assert type(likelihood.sigma) is float
    assert repr(likelihood) == f"Gaussian(sigma={float(number)}, link='logit')"


def test_the_contract_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Likelihood()
