"""Codes and pixels: torch distributions in all that torch promises of one, and what is done with them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from decimal import Decimal, localcontext
from typing import Any

import pytest
import torch
import torch.distributions as td
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mnistvae.distributions import (
    DiagonalNormal,
    PixelBernoulli,
    PixelCategorical,
    PixelContinuousBernoulli,
    PixelLogistic,
    PixelLogisticMixture,
    PushForward,
    UnitNormal,
    detached,
    from_uniform,
    kl_by_dimension,
    tempered,
)
from mnistvae.errors import ComponentError, type_name

#: (mu, logvar), each (latent_dim,), in float64.
parameters = st.lists(st.tuples(st.floats(-3, 3), st.floats(-4, 2)), min_size=1, max_size=4).map(
    lambda rows: torch.tensor(rows, dtype=torch.float64).unbind(1)
)


def reference(mu: Tensor, logvar: Tensor) -> td.Independent:
    return td.Independent(td.Normal(mu, (0.5 * logvar).exp()), 1)


# --------------------------------------------------------------------------------------------- DiagonalNormal


@pytest.mark.parametrize("batch", [(), (5,), (2, 5)])
@pytest.mark.parametrize("latent_dim", [1, 3])
def test_normal_has_the_shapes_of_a_torch_distribution(batch: tuple[int, ...], latent_dim: int) -> None:
    q = DiagonalNormal(torch.randn(*batch, latent_dim), torch.randn(*batch, latent_dim))
    assert isinstance(q, td.Distribution)
    assert q.batch_shape == batch
    assert q.event_shape == (latent_dim,)
    assert q.has_rsample
    assert q.sample().shape == (*batch, latent_dim)
    assert q.rsample((7,)).shape == (7, *batch, latent_dim)
    assert q.rsample(torch.Size([2, 3])).shape == (2, 3, *batch, latent_dim)
    assert q.log_prob(q.sample((7,))).shape == (7, *batch)
    assert q.entropy().shape == batch


@given(pair=parameters, seed=st.integers(0, 2**31))
def test_normal_equals_torch(pair: tuple[Tensor, Tensor], seed: int) -> None:
    q, expected = DiagonalNormal(*pair), reference(*pair)
    torch.manual_seed(seed)
    z = 3 * torch.randn(6, len(pair[0]), dtype=torch.float64)
    torch.testing.assert_close(q.log_prob(z), expected.log_prob(z))
    torch.testing.assert_close(q.entropy(), expected.entropy())
    torch.testing.assert_close(q.mean, expected.mean)
    torch.testing.assert_close(q.mode, expected.mode)
    torch.testing.assert_close(q.stddev, expected.stddev)
    torch.testing.assert_close(q.variance, pair[1].exp())


def test_normal_expands_to_itself_repeated() -> None:
    mu, logvar = torch.randn(3), torch.randn(3)
    q = DiagonalNormal(mu, logvar).expand((4, 2))
    z = torch.randn(4, 2, 3)
    assert isinstance(q, DiagonalNormal)
    assert q.batch_shape == (4, 2)
    assert q.event_shape == (3,)
    torch.testing.assert_close(q.log_prob(z), reference(mu, logvar).log_prob(z))
    assert torch.equal(q.mu, mu.expand(4, 2, 3))
    assert q.rsample().shape == (4, 2, 3)
    assert not torch.equal(*q.rsample()[:2])


@given(pair=parameters, other=st.tuples(st.floats(-3, 3), st.floats(-2, 2)))
def test_normal_has_a_kl_to_its_own_kind_and_to_torchs(pair: tuple[Tensor, Tensor], other: tuple[float, float]) -> None:
    prior = (torch.full_like(pair[0], other[0]), torch.full_like(pair[1], other[1]))
    expected = td.kl_divergence(reference(*pair), reference(*prior))
    for q, p in itertools.product(
        (DiagonalNormal(*pair), reference(*pair)), (DiagonalNormal(*prior), reference(*prior))
    ):
        torch.testing.assert_close(td.kl_divergence(q, p), expected, rtol=1e-8, atol=1e-8)


def test_normal_kl_broadcasts_a_prior_without_a_batch() -> None:
    q = DiagonalNormal(torch.randn(5, 2), torch.randn(5, 2))
    p = DiagonalNormal(torch.zeros(2), torch.zeros(2))
    torch.testing.assert_close(td.kl_divergence(q, p), td.kl_divergence(q, p.expand((5,))))


@given(pair=parameters, seed=st.integers(0, 2**31))
@settings(max_examples=15)
def test_draws_have_the_mean_and_variance_asked_for(pair: tuple[Tensor, Tensor], seed: int) -> None:
    mu, logvar = pair
    torch.manual_seed(seed)
    n = 20_000
    for z in (DiagonalNormal(mu, logvar).rsample((n,)), DiagonalNormal(mu, logvar).sample((n,))):
        sigma = (0.5 * logvar).exp()
        assert ((z.mean(0) - mu).abs() <= 5 * sigma / math.sqrt(n)).all()
        # The variance of a normal sample variance is 2 sigma^4 / (n - 1).
        assert ((z.var(0) - sigma**2).abs() <= 5 * sigma**2 * math.sqrt(2 / (n - 1))).all()
        if len(mu) > 1:
            corr = torch.corrcoef(z.T)[0, 1]
            assert abs(float(corr)) <= 5 / math.sqrt(n)


@given(pair=parameters, seed=st.integers(0, 2**31))
def test_a_draw_is_mu_plus_sigma_times_noise_and_so_are_its_gradients(pair: tuple[Tensor, Tensor], seed: int) -> None:
    mu, logvar = (value.clone().requires_grad_() for value in pair)
    torch.manual_seed(seed)
    z = DiagonalNormal(mu, logvar).rsample()
    d_mu, d_logvar = torch.autograd.grad(z.sum(), [mu, logvar])
    sigma = (0.5 * pair[1]).exp()
    noise = (z.detach() - pair[0]) / sigma
    torch.testing.assert_close(d_mu, torch.ones_like(d_mu))
    torch.testing.assert_close(d_logvar, noise * sigma / 2)
    torch.manual_seed(seed)
    torch.testing.assert_close(noise, torch.randn(noise.shape, dtype=torch.float64), rtol=1e-6, atol=1e-6)


@given(pair=parameters, seed=st.integers(0, 2**31))
@settings(max_examples=15)
def test_pathwise_gradients_are_unbiased(pair: tuple[Tensor, Tensor], seed: int) -> None:
    # E[z^2] = mu^2 + exp(logvar), whose gradients are 2 mu and exp(logvar).
    n = 20_000
    mu, logvar = (value.expand(n, -1).clone().requires_grad_() for value in pair)
    torch.manual_seed(seed)
    DiagonalNormal(mu, logvar).rsample().square().sum().backward()
    for grad, expected in ((mu.grad, 2 * pair[0]), (logvar.grad, pair[1].exp())):
        assert grad is not None
        assert ((grad.mean(0) - expected).abs() <= 5 * grad.std(0) / math.sqrt(n)).all()


def test_sample_carries_no_gradient_and_rsample_does() -> None:
    q = DiagonalNormal(torch.zeros(3, requires_grad=True), torch.zeros(3, requires_grad=True))
    assert not q.sample().requires_grad
    assert q.rsample().requires_grad


def test_draws_differ_between_examples_and_calls_and_repeat_under_a_seed() -> None:
    q = DiagonalNormal(torch.zeros(4, 3), torch.zeros(4, 3))
    torch.manual_seed(5)
    first, second = q.rsample(), q.rsample()
    torch.manual_seed(5)
    again = q.rsample()
    assert torch.equal(first, again)
    assert len(torch.cat([first, second]).unique()) == 24


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_normal_keeps_the_dtype(dtype: torch.dtype) -> None:
    q = DiagonalNormal(torch.zeros(2, 3, dtype=dtype), torch.zeros(2, 3, dtype=dtype))
    assert q.rsample().dtype is dtype
    assert q.log_prob(q.mean).dtype is dtype


# --------------------------------------------------------------------------------------------- PixelBernoulli


@pytest.mark.parametrize("batch", [(), (5,), (2, 5)])
@pytest.mark.parametrize("event", [(1, 2, 3), (3, 4, 4)])
def test_bernoulli_has_the_shapes_of_a_torch_distribution(batch: tuple[int, ...], event: tuple[int, ...]) -> None:
    p = PixelBernoulli(torch.randn(*batch, *event))
    assert isinstance(p, td.Distribution)
    assert p.batch_shape == batch
    assert p.event_shape == event
    assert p.sample((7,)).shape == (7, *batch, *event)
    assert p.log_prob(p.sample((7,))).shape == (7, *batch)
    assert p.mean.shape == p.mode.shape == p.stddev.shape == (*batch, *event)
    assert p.entropy().shape == batch


def test_bernoulli_equals_torch_on_binary_pixels() -> None:
    logits = 3 * torch.randn(5, 2, 3, 3)
    p, expected = PixelBernoulli(logits), td.Independent(td.Bernoulli(logits=logits), 3)
    x = expected.sample()
    torch.testing.assert_close(p.log_prob(x), expected.log_prob(x))
    torch.testing.assert_close(p.mean, expected.mean)
    torch.testing.assert_close(p.mode, expected.mode)
    torch.testing.assert_close(p.stddev, expected.stddev)
    torch.testing.assert_close(p.entropy(), expected.entropy())
    other = 3 * torch.randn(5, 2, 3, 3)
    torch.testing.assert_close(
        td.kl_divergence(p, PixelBernoulli(other)),
        td.kl_divergence(expected, td.Independent(td.Bernoulli(logits=other), 3)),
    )


def test_bernoulli_takes_grey_pixels_even_where_torch_validates() -> None:
    before = td.Distribution._validate_args
    x, logits = torch.rand(4, 1, 2, 2), torch.randn(4, 1, 2, 2)
    td.Distribution.set_default_validate_args(True)
    try:
        got = PixelBernoulli(logits).log_prob(x)
    finally:
        td.Distribution.set_default_validate_args(before)
    p = logits.sigmoid()
    torch.testing.assert_close(got, (x * p.log() + (1 - x) * (1 - p).log()).sum((1, 2, 3)))


def test_bernoulli_mode_is_a_pixel_value_at_every_logit() -> None:
    logits = torch.tensor([-80.0, -1e-6, 0.0, 1e-6, 80.0]).reshape(1, 1, 1, 5)
    mode = PixelBernoulli(logits).mode
    assert mode.flatten().tolist() == [0.0, 0.0, 1.0, 1.0, 1.0]


@given(logits=st.lists(st.floats(-6, 6), min_size=4, max_size=4))
def test_probabilities_of_all_binary_images_sum_to_one(logits: list[float]) -> None:
    p = PixelBernoulli(torch.tensor(logits, dtype=torch.float64).reshape(1, 2, 2))
    images = torch.tensor(list(itertools.product((0.0, 1.0), repeat=4)), dtype=torch.float64).reshape(16, 1, 2, 2)
    probabilities = p.log_prob(images).exp()
    assert probabilities.shape == (16,)
    assert float(probabilities.sum()) == pytest.approx(1, abs=1e-12)
    assert torch.equal(images[probabilities.argmax()], p.mode) or min(map(abs, logits)) < 1e-9


def test_bernoulli_expands_to_itself_repeated() -> None:
    logits = torch.randn(1, 2, 2)
    p = PixelBernoulli(logits).expand((3, 4))
    x = torch.rand(3, 4, 1, 2, 2)
    assert isinstance(p, PixelBernoulli)
    assert p.batch_shape == (3, 4)
    assert p.event_shape == (1, 2, 2)
    torch.testing.assert_close(p.log_prob(x), PixelBernoulli(logits).log_prob(x))


def test_bernoulli_draws_binary_pixels_with_the_mean_asked_for() -> None:
    p = PixelBernoulli(torch.linspace(-3, 3, 4).reshape(1, 2, 2))
    n = 20_000
    x = p.sample((n,))
    assert set(x.unique().tolist()) == {0.0, 1.0}
    assert ((x.mean(0) - p.mean).abs() <= 5 * p.stddev / math.sqrt(n)).all()


def test_bernoulli_log_prob_has_the_right_gradient() -> None:
    logits = torch.randn(2, 1, 2, 2, dtype=torch.float64, requires_grad=True)
    x = torch.rand(2, 1, 2, 2, dtype=torch.float64)
    (grad,) = torch.autograd.grad(PixelBernoulli(logits).log_prob(x).sum(), logits)
    torch.testing.assert_close(grad, x - logits.detach().sigmoid())


def test_bernoulli_kl_is_not_negative_and_has_numbers_at_extremes() -> None:
    ends = torch.tensor([-80.0, -5.0, 0.0, 5.0, 80.0])
    p, q = torch.cartesian_prod(ends, ends).reshape(-1, 2, 1, 1, 1).unbind(1)
    kl = td.kl_divergence(PixelBernoulli(p), PixelBernoulli(q))
    assert kl.isfinite().all()
    assert (kl >= -1e-6).all()
    torch.testing.assert_close(kl[(p == q).flatten()], torch.zeros(5), rtol=0, atol=1e-6)


# ---------------------------------------------------------------------------------- what all pixel distributions share

PIXELS: dict[str, Callable[..., Any]] = {
    "PixelBernoulli": PixelBernoulli,
    "PixelContinuousBernoulli": PixelContinuousBernoulli,
    "PixelLogistic": lambda first, second=None: PixelLogistic(
        first.sigmoid(), first - 2 if second is None else second, levels=8
    ),
    "PixelLogisticMixture": lambda first: PixelLogisticMixture(
        *(
            torch.stack(pair, -4)
            for pair in ((first, -first), (first.sigmoid(), 1 + 0 * first), (first - 2, 0 * first - 3))
        ),
        levels=8,
    ),
    "PixelCategorical": lambda first: PixelCategorical(torch.stack([0.5 - first, 0.1 * first, 0.8 * first], -4)),
}
every_pixel = pytest.mark.parametrize("make", PIXELS.values(), ids=list(PIXELS))


@every_pixel
@pytest.mark.parametrize("batch", [(), (5,), (2, 5)])
def test_pixels_have_the_shapes_of_a_torch_distribution(make: Callable[..., Any], batch: tuple[int, ...]) -> None:
    p = make(torch.randn(*batch, 2, 3, 4))
    assert isinstance(p, td.Distribution)
    assert p.batch_shape == batch
    assert p.event_shape == (2, 3, 4)
    assert p.sample((7,)).shape == (7, *batch, 2, 3, 4)
    assert p.log_prob(p.sample((7,))).shape == (7, *batch)
    assert p.mean.shape == p.mode.shape == (*batch, 2, 3, 4)
    assert p.support.check(p.sample()).shape == batch


@every_pixel
def test_pixels_expand_to_themselves_repeated(make: Callable[..., Any]) -> None:
    p = make(torch.randn(2, 3, 4))
    wide = p.expand((5, 6))
    x = torch.rand(5, 6, 2, 3, 4)
    assert type(wide) is type(p)
    assert wide.batch_shape == (5, 6)
    assert wide.event_shape == (2, 3, 4)
    torch.testing.assert_close(wide.log_prob(x), p.log_prob(x))
    assert getattr(wide, "levels", None) == getattr(p, "levels", None)


@every_pixel
def test_pixels_print_their_shapes_and_not_their_parameters(make: Callable[..., Any]) -> None:
    p = make(torch.randn(5, 2, 3, 4))
    assert repr(p) == f"{type(p).__name__}(batch (5,), pixels (2, 3, 4))"


@pytest.mark.parametrize("shapes", [((2, 3, 4), (1, 1, 1)), ((1, 1, 1), (2, 3, 4)), ((5, 2, 3, 4), (2, 3, 4))], ids=str)
def test_logistic_broadcasts_its_parameters(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    loc, log_scale = torch.rand(shapes[0]), torch.randn(shapes[1]) - 2
    p = PixelLogistic(loc, log_scale, levels=8)
    shape = torch.broadcast_shapes(*shapes)
    full = PixelLogistic(loc.expand(shape), log_scale.expand(shape), levels=8)
    x = torch.rand(2, 3, 4)
    assert (*p.batch_shape, *p.event_shape) == shape
    torch.testing.assert_close(p.log_prob(x), full.log_prob(x))
    torch.testing.assert_close(p.mean, full.mean)
    assert p.sample().shape == shape
    assert torch.equal(p.mode, full.mode)


@every_pixel
def test_pixels_draw_without_a_gradient(make: Callable[..., Any]) -> None:
    p = make(torch.zeros(1, 2, 2, requires_grad=True))
    assert not p.sample().requires_grad
    assert p.has_rsample == isinstance(p, PixelContinuousBernoulli)


@every_pixel
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_pixels_have_their_mean_in_any_precision(make: Callable[..., Any], dtype: torch.dtype) -> None:
    logits = torch.linspace(-6, 6, 64).to(dtype).reshape(64, 1, 1, 1)
    expected = make(logits.double()).mean
    # bfloat16 has 8 bits: a few units in the last place of a number below 1.
    atol = 1e-12 if dtype is torch.float64 else 4 / 256
    torch.testing.assert_close(make(logits).mean.double(), expected, rtol=0, atol=atol)


@every_pixel
def test_draws_have_their_mean_in_half_precision(make: Callable[..., Any]) -> None:
    logits, n = torch.tensor([-9.0, -6.0, 0.0, 6.0]).to(torch.bfloat16).reshape(4, 1, 1, 1), 20_000
    second = logits.new_full((4, 1, 1, 1), -4.0)
    p = make(logits, second) if make is PIXELS["PixelLogistic"] else make(logits)
    exact = make(logits.double(), second.double()) if make is PIXELS["PixelLogistic"] else make(logits.double())
    assert p.sample().dtype is torch.bfloat16
    x = p.sample((n,)).double()
    # As many digits as bfloat16 has, beside the noise of the draws.
    assert ((x.mean(0) - exact.mean).abs() <= exact.mean / 128 + 5 * x.std(0) / math.sqrt(n)).all()


# ------------------------------------------------------------------------------------ PixelContinuousBernoulli


def exact_mean(logit: float) -> float:
    """1 / (1 - exp(-l)) - 1 / l with 60 digits, of which the difference may well eat 20."""
    with localcontext() as context:
        context.prec = 60
        exact = Decimal(logit)
        return float(1 / (1 - (-exact).exp()) - 1 / exact)


def exact_variance(logit: float) -> float:
    """1 / l^2 - exp(-l) / (1 - exp(-l))^2, which is also what the mean grows by with the logit."""
    with localcontext() as context:
        context.prec = 60
        exact = Decimal(logit)
        decay = (-exact).exp()
        return float(1 / exact**2 - decay / (1 - decay) ** 2)


#: On both sides of where the mean changes to its series, which is at 0.2.
NEAR_ZERO = [1e-8, 1e-6, 1e-3, 0.1, 0.199, 0.2 - 1e-12, 0.2, 0.2 + 1e-12, 0.21, 0.5, 1.0, 5.0, 16.5, 40.0, 80.0]


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("size", NEAR_ZERO)
def test_continuous_bernoulli_mean_and_its_gradient_are_exact(size: float, sign: int) -> None:
    logit = torch.tensor(sign * size, dtype=torch.float64).reshape(1, 1, 1).requires_grad_()
    mean = PixelContinuousBernoulli(logit).mean
    (gradient,) = torch.autograd.grad(mean.sum(), logit)
    assert mean.item() == pytest.approx(exact_mean(sign * size), rel=1e-12)
    assert gradient.item() == pytest.approx(exact_variance(sign * size), rel=1e-10)
    single = PixelContinuousBernoulli(logit.detach().float()).mean.item()
    assert single == pytest.approx(exact_mean(float(logit.detach().float())), abs=1e-6)


def test_continuous_bernoulli_has_mean_one_half_at_zero() -> None:
    logit = torch.zeros(1, 1, 1, dtype=torch.float64, requires_grad=True)
    mean = PixelContinuousBernoulli(logit).mean
    (gradient,) = torch.autograd.grad(mean.sum(), logit)
    assert mean.item() == 0.5
    assert gradient.item() == pytest.approx(1 / 12, rel=1e-12)


def test_continuous_bernoulli_equals_torch_where_torch_is_good() -> None:
    # torch cuts probabilities off near 0 and 1, and takes a series within 0.001 of 1 / 2.
    logits = torch.cat([torch.linspace(-9, -0.01, 40), torch.zeros(1), torch.linspace(0.01, 9, 40)]).double()
    logits = logits.reshape(-1, 1, 1, 1)
    x = torch.rand(7, 81, 1, 1, 1, dtype=torch.float64)
    p, expected = PixelContinuousBernoulli(logits), td.Independent(td.ContinuousBernoulli(logits=logits), 3)
    torch.testing.assert_close(p.log_prob(x), expected.log_prob(x), rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(p.mean, expected.mean, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("logit", [-80.0, -5.0, -0.3, 0.0, 1e-7, 1e-3, 0.3, 5.0])
def test_continuous_bernoulli_draws_have_unbiased_pathwise_gradients(logit: float) -> None:
    # The derivative of the mean in the logit is the variance: 1 / 12 at 0.
    n = 20_000
    logits = torch.full((n, 1, 1, 1), logit, dtype=torch.float64, requires_grad=True)
    x = PixelContinuousBernoulli(logits).rsample()
    (gradient,) = torch.autograd.grad(x.sum(), logits)
    expected = 1 / 12 if abs(logit) < 1e-5 else exact_variance(logit)
    assert gradient.isfinite().all()
    assert abs(float(gradient.mean()) - expected) <= 5 * float(gradient.std()) / math.sqrt(n)


@pytest.mark.parametrize("logit", [-20.0, -1.0, -0.3, -1e-3, 1e-3, 0.1, 0.9, 5.0])
def test_continuous_bernoulli_draws_move_along_their_distribution_function(logit: float) -> None:
    # Whatever noise made x, F(x; l) stays the same as l moves: dx / dl = -(dF / dl) / p(x).
    logits = torch.full((200, 1, 1, 1), logit, dtype=torch.float64, requires_grad=True)
    p = PixelContinuousBernoulli(logits)
    x = p.rsample()
    (gradient,) = torch.autograd.grad(x.sum(), logits)
    below = torch.expm1(logits * x.detach()) / torch.expm1(logits)
    (slope,) = torch.autograd.grad(below.sum(), logits)
    expected = -slope.flatten() / p.log_prob(x).detach().exp()
    torch.testing.assert_close(gradient.flatten(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("logit", [0.0, 1e-8, 1e-6, -1e-5, 1e-4, 2e-4, -1e-3])
def test_continuous_bernoulli_draws_move_in_single_precision_near_zero(logit: float) -> None:
    # There the distribution function is x - l x (1 - x) / 2: what is divided by l must not be a rounding error.
    logits = torch.full((200, 1, 1, 1), logit, requires_grad=True)
    x = PixelContinuousBernoulli(logits).rsample()
    (gradient,) = torch.autograd.grad(x.sum(), logits)
    torch.testing.assert_close(gradient, (x * (1 - x) / 2).detach(), rtol=0, atol=5e-3)


@pytest.mark.parametrize("logit", [-80.0, -1.0, 0.0, 1.0, 80.0])
def test_continuous_bernoulli_mode_is_an_end_of_the_interval(logit: float) -> None:
    p = PixelContinuousBernoulli(torch.full((1, 1, 1), logit))
    assert float(p.mode) == (logit >= 0)
    assert float(p.log_prob(p.mode)) >= float(p.log_prob(1 - p.mode))


@every_pixel
def test_pixels_are_a_function_of_uniform_noise(make: Callable[..., Any]) -> None:
    p = make(torch.randn(5, 2, 3, 4))
    torch.manual_seed(3)
    uniform = torch.rand(7, 5, 2, 3, 4)
    torch.manual_seed(3)
    assert torch.equal(p.sample((7,)), from_uniform(p, uniform))
    # Of evenly spread noise, the share of values up to each is the distribution function.
    p = make(torch.tensor([-1.5, 0.0, 2.0]).double().reshape(3, 1, 1, 1))
    even = ((torch.arange(20_000) + 0.5) / 20_000).double().reshape(-1, 1, 1, 1, 1)
    x = from_uniform(p, even.expand(-1, 3, 1, 1, 1))
    torch.testing.assert_close(x.mean(0), p.mean, rtol=0, atol=2e-4)
    torch.testing.assert_close(x.var(0), p.variance, rtol=2e-3, atol=2e-4)


def test_normal_pixels_are_a_function_of_uniform_noise_and_others_say_that_they_are_not() -> None:
    p = td.Independent(td.Normal(torch.full((1, 1, 2), 3.0), 2.0), 3)
    torch.testing.assert_close(
        from_uniform(p, torch.tensor([[[0.5, 0.84134]]])), torch.tensor([[[3.0, 5.0]]]), atol=1e-3, rtol=0
    )
    assert from_uniform(p, torch.tensor([[[0.0, 1.0]]])).isfinite().all()
    with pytest.raises(ComponentError, match="whose draws are known as a function of uniform noise, got a Poisson"):
        from_uniform(td.Poisson(torch.ones(1, 1, 1)), torch.rand(1, 1, 1))


# ----------------------------------------------------------------------------------------------- PixelLogistic


@pytest.mark.parametrize("levels", [2, 8, 256])
@pytest.mark.parametrize("log_scale", [-30.0, -4.0, 0.0, 30.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_logistic_levels_have_probabilities_that_sum_to_one(levels: int, log_scale: float, dtype: torch.dtype) -> None:
    # At the smallest scale a mean on the edge of a bin would be a coin toss between two levels.
    loc = torch.linspace(-0.197, 1.203, 15, dtype=dtype).reshape(15, 1, 1, 1)
    p = PixelLogistic(loc, torch.full_like(loc, log_scale), levels)
    x = (torch.arange(levels, dtype=dtype) / (levels - 1)).reshape(levels, 1, 1, 1, 1)
    probability = p.log_prob(x).exp()
    atol = 1e-5 if dtype is torch.float32 else 1e-10
    torch.testing.assert_close(probability.sum(0), torch.ones(15, dtype=dtype), rtol=0, atol=atol)
    mean = (probability.reshape(levels, 15) * x.reshape(levels, 1)).sum(0)
    torch.testing.assert_close(p.mean.flatten(), mean, rtol=0, atol=atol)


@pytest.mark.parametrize("log_scale", [-4.0, -1.0, 0.0, 3.0])
def test_logistic_has_its_mean_in_half_precision(log_scale: float) -> None:
    loc = torch.linspace(0, 1, 11).to(torch.bfloat16).reshape(11, 1, 1, 1)
    got = PixelLogistic(loc, torch.full_like(loc, log_scale)).mean
    expected = PixelLogistic(loc.double(), torch.full_like(loc, log_scale).double()).mean
    assert got.dtype is torch.bfloat16
    torch.testing.assert_close(got.double(), expected, rtol=0, atol=4 / 256)


def test_logistic_takes_a_grey_value_as_the_level_nearest_to_it() -> None:
    p = PixelLogistic(torch.full((1, 1, 1), 0.4), torch.full((1, 1, 1), -2.0), levels=5)
    for x, level in ((0.0, 0.0), (0.12, 0.0), (0.13, 0.25), (0.6, 0.5), (0.9, 1.0)):
        assert torch.equal(p.log_prob(torch.full((1, 1, 1), x)), p.log_prob(torch.full((1, 1, 1), level)))


@pytest.mark.parametrize("log_scale", [-7.0, -3.0, -1.0, 1.0])
@pytest.mark.parametrize("loc", [-0.1, 0.02, 0.4, 0.97, 1.3])
def test_logistic_mode_is_the_likeliest_level(loc: float, log_scale: float) -> None:
    p = PixelLogistic(torch.full((1, 1, 1), loc), torch.full((1, 1, 1), log_scale))
    levels = (torch.arange(256) / 255).reshape(256, 1, 1, 1)
    assert float(p.log_prob(p.mode)) == pytest.approx(float(p.log_prob(levels).max()), abs=1e-5)


# -------------------------------------------------------------------------------------------------- UnitNormal


def test_unit_normal_is_the_standard_normal() -> None:
    p, expected = UnitNormal(torch.zeros(3)), reference(torch.zeros(3), torch.zeros(3))
    z = torch.randn(5, 3)
    torch.testing.assert_close(p.log_prob(z), expected.log_prob(z))
    torch.testing.assert_close(p.entropy(), expected.entropy())
    assert p.batch_shape == ()
    assert p.event_shape == (3,)
    assert p.sample((4,)).shape == (4, 3)
    wide = p.expand((5,))
    assert wide.batch_shape == (5,)
    torch.testing.assert_close(wide.log_prob(z), expected.log_prob(z))


@given(pair=parameters)
def test_unit_normal_has_the_kl_of_a_standard_normal(pair: tuple[Tensor, Tensor]) -> None:
    unit, expected = UnitNormal(torch.zeros_like(pair[0])), reference(*(torch.zeros_like(pair[0]) for _ in range(2)))
    q, torchs = DiagonalNormal(*pair), reference(*pair)
    forwards, backwards = td.kl_divergence(torchs, expected), td.kl_divergence(expected, torchs)
    for one, other, kl in (
        (q, unit, forwards),
        (torchs, unit, forwards),
        (unit, q, backwards),
        (unit, torchs, backwards),
        (q, unit.expand((4,)), forwards.expand(4)),
    ):
        torch.testing.assert_close(td.kl_divergence(one, other), kl, rtol=1e-8, atol=1e-8)
    assert float(td.kl_divergence(unit, unit)) == 0


def test_a_posterior_of_a_batch_has_a_kl_for_each_image_from_every_prior() -> None:
    q = DiagonalNormal(torch.randn(5, 2), torch.randn(5, 2))
    one_by_one = torch.stack(
        [td.kl_divergence(reference(m, v), UnitNormal(torch.zeros(2))) for m, v in zip(q.mu, q.logvar, strict=True)]
    )
    for p in (
        UnitNormal(torch.zeros(2)),
        DiagonalNormal(torch.zeros(2), torch.zeros(2)),
        UnitNormal(torch.zeros(2)).expand((5,)),
    ):
        torch.testing.assert_close(td.kl_divergence(q, p), one_by_one)


# ---------------------------------------------------------------------------- DiagonalNormal beyond the usual case


@pytest.mark.parametrize(
    "use",
    [
        lambda q: q.rsample(),
        lambda q: q.has_rsample,
        lambda q: q.sample((3,)),
        lambda q: q.log_prob(q.mean),
        lambda q: q.variance,
        lambda q: q.expand((4, 5)),
        lambda q: td.kl_divergence(q, UnitNormal(torch.zeros(3))),
        lambda q: td.kl_divergence(q, q),
        lambda q: kl_by_dimension(q, q),
        lambda q: tempered(q, 0.5),
        detached,
    ],
    ids=[
        "rsample",
        "has_rsample",
        "sample",
        "log_prob",
        "variance",
        "expand",
        "kl to unit",
        "kl",
        "by dimension",
        "tempered",
        "detached",
    ],
)
def test_the_base_of_a_normal_is_not_made_before_it_is_asked_for(use: Callable[[DiagonalNormal], object]) -> None:
    q = DiagonalNormal(torch.randn(5, 3), torch.randn(5, 3))
    use(q)
    assert "base_dist" not in vars(q)


def test_the_base_of_a_normal_is_torchs_and_made_once() -> None:
    mu, logvar = torch.randn(5, 3), torch.randn(5, 3)
    q = DiagonalNormal(mu, logvar)
    assert type(q.base_dist) is td.Normal
    assert q.base_dist is q.base_dist
    assert torch.equal(q.base_dist.loc, mu)
    torch.testing.assert_close(q.base_dist.scale, (0.5 * logvar).exp())
    assert "Independent" in repr(q) or "DiagonalNormal" in repr(q)


BROADCAST = [
    ((3,), (5, 3)),
    ((5, 3), (3,)),
    ((5, 1), (5, 3)),
    ((5, 3), (5, 1)),
    ((3,), ()),
    ((), (3,)),
    ((4, 1, 3), (5, 3)),
]


@pytest.mark.parametrize("shapes", BROADCAST, ids=str)
def test_normal_broadcasts_its_parameters(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    mu, logvar = (torch.randn(shape, dtype=torch.float64) for shape in shapes)
    shape = torch.broadcast_shapes(*shapes)
    q, expected = DiagonalNormal(mu, logvar), reference(mu.expand(shape), logvar.expand(shape))
    z = torch.randn(7, *shape, dtype=torch.float64)
    assert q.batch_shape == expected.batch_shape
    assert q.event_shape == expected.event_shape
    for got, wanted in (
        (q.log_prob(z), expected.log_prob(z)),
        (q.mean, expected.mean),
        (q.variance, expected.variance),
        (q.stddev, expected.stddev),
        (q.entropy(), expected.entropy()),
        (
            td.kl_divergence(q, UnitNormal(torch.zeros(3).double())),
            td.kl_divergence(expected, reference(torch.zeros(3).double(), torch.zeros(3).double())),
        ),
        (
            td.kl_divergence(q, DiagonalNormal(mu + 1, logvar - 1)),
            td.kl_divergence(expected, reference(mu.expand(shape) + 1, logvar.expand(shape) - 1)),
        ),
    ):
        torch.testing.assert_close(got, wanted)
    assert q.rsample((2,)).shape == (2, *shape)
    assert q.expand((6, *shape[:-1])).log_prob(z[:6]).shape == (6, *shape[:-1])


def test_normal_log_prob_has_the_right_gradients() -> None:
    leaves = [torch.randn(4, 3, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    assert torch.autograd.gradcheck(lambda mu, logvar, z: DiagonalNormal(mu, logvar).log_prob(z), leaves)


@pytest.mark.parametrize("logvar", [-30.0, 30.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_normal_is_finite_at_extreme_variances(logvar: float, dtype: torch.dtype) -> None:
    mu = torch.zeros(5, 2, dtype=dtype, requires_grad=True)
    logvars = torch.full((5, 2), logvar, dtype=dtype, requires_grad=True)
    q = DiagonalNormal(mu, logvars)
    z = q.rsample()
    value = q.log_prob(z) + td.kl_divergence(q, UnitNormal(torch.zeros(2, dtype=dtype))) + q.entropy()
    value.sum().backward()
    assert z.isfinite().all()
    assert value.isfinite().all()
    assert all(leaf.grad is not None and leaf.grad.isfinite().all() for leaf in (mu, logvars))


# ------------------------------------------------------------------------------------------------- PushForward


class Affine:
    """f(z) = A z + b, in the manner of zuko's transforms."""

    def __init__(self, matrix: Tensor, shift: Tensor) -> None:
        self.matrix, self.shift = matrix, shift

    def call_and_ladj(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return z @ self.matrix.T + self.shift, torch.linalg.slogdet(self.matrix)[1].expand(z.shape[:-1])

    def inv(self, noise: Tensor) -> Tensor:
        return (noise - self.shift) @ torch.linalg.inv(self.matrix).T


class Sinh:
    """f(z) = sinh(z) in each dimension: neither linear nor of constant volume."""

    def call_and_ladj(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return z.sinh(), z.cosh().log().sum(-1)

    def inv(self, noise: Tensor) -> Tensor:
        return noise.asinh()


def unit(size: int) -> UnitNormal:
    return UnitNormal(torch.zeros(size, dtype=torch.float64))


def test_a_normal_under_an_affine_map_is_a_normal() -> None:
    matrix = torch.tensor([[2.0, 0.5], [-1.0, 0.7]], dtype=torch.float64)
    shift = torch.tensor([0.3, -1.0], dtype=torch.float64)
    p = PushForward(Affine(matrix, shift), unit(2))
    inverse = torch.linalg.inv(matrix)
    expected = td.MultivariateNormal(-inverse @ shift, inverse @ inverse.T)
    z = torch.randn(5, 2, dtype=torch.float64)
    assert p.batch_shape == ()
    assert p.event_shape == (2,)
    torch.testing.assert_close(p.log_prob(z), expected.log_prob(z))
    n = 20_000
    draws = p.sample((n,))
    assert draws.shape == (n, 2)
    error = expected.variance.sqrt() / math.sqrt(n)
    assert ((draws.mean(0) - expected.mean).abs() <= 5 * error).all()
    torch.testing.assert_close(draws.T.cov(), expected.covariance_matrix, rtol=0.05, atol=0.02)


def test_the_density_under_a_curved_map_integrates_to_one_and_is_what_is_drawn() -> None:
    p = PushForward(Sinh(), unit(1))
    grid = torch.linspace(-8, 8, 8001, dtype=torch.float64)
    density = p.log_prob(grid.unsqueeze(-1)).exp()
    assert float(torch.trapezoid(density, grid)) == pytest.approx(1, abs=1e-9)
    second = float(torch.trapezoid(density * grid**2, grid))
    fourth = float(torch.trapezoid(density * grid**4, grid))
    n = 20_000
    z = p.sample((n,)).flatten()
    assert abs(float(z.mean())) <= 5 * math.sqrt(second / n)
    assert abs(float(z.square().mean()) - second) <= 5 * math.sqrt((fourth - second**2) / n)


def test_push_forward_expands_and_draws_with_a_gradient() -> None:
    p = PushForward(Sinh(), unit(3))
    wide = p.expand((4,))
    z = torch.randn(4, 3, dtype=torch.float64)
    assert isinstance(wide, PushForward)
    assert wide.batch_shape == (4,)
    assert wide.event_shape == (3,)
    torch.testing.assert_close(wide.log_prob(z), p.log_prob(z))
    assert wide.rsample((2,)).shape == (2, 4, 3)
    assert p.has_rsample
    assert repr(p).startswith("PushForward(base ")
    shift = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    flow = PushForward(Affine(torch.eye(2, dtype=torch.float64), shift), unit(2))
    (gradient,) = torch.autograd.grad(flow.rsample().sum(), shift)
    assert torch.equal(gradient, -torch.ones(2, dtype=torch.float64))
    assert not flow.sample().requires_grad
    mu = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    moved = PushForward(Affine(2 * torch.eye(2, dtype=torch.float64), shift), DiagonalNormal(mu, mu.detach()))
    (gradient,) = torch.autograd.grad(moved.rsample().sum(), mu)
    assert torch.equal(gradient, torch.full((2,), 0.5, dtype=torch.float64))
    (gradient,) = torch.autograd.grad(flow.log_prob(z[:, :2]).sum(), shift)
    torch.testing.assert_close(gradient, -z[:, :2].sum(0))


# ---------------------------------------------------------------------------------------------------- tempered

MEANS = torch.tensor([[-3.0, 0.0], [4.0, 1.0], [0.0, -5.0]], dtype=torch.float64)
WEIGHTS = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
TRIL = torch.tensor([[[0.5, 0.0], [0.3, 0.7]]], dtype=torch.float64).expand(3, 2, 2)

COMPONENTS: dict[str, Callable[[], td.Distribution]] = {
    "DiagonalNormal": lambda: DiagonalNormal(MEANS, torch.full_like(MEANS, -1.0)),
    "MultivariateNormal": lambda: td.MultivariateNormal(MEANS, scale_tril=TRIL),
    "Independent": lambda: td.Independent(td.Normal(MEANS, 0.6), 1),
    "Laplace": lambda: td.Independent(td.Laplace(MEANS, 0.6), 1),
}
every_component = pytest.mark.parametrize("make", COMPONENTS.values(), ids=list(COMPONENTS))


def mixture_of(components: td.Distribution) -> td.MixtureSameFamily:
    return td.MixtureSameFamily(td.Categorical(WEIGHTS), components)


@every_component
@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.0])
def test_a_tempered_distribution_keeps_its_mean_and_scales_its_spread(
    make: Callable[[], td.Distribution], temperature: float
) -> None:
    torch.manual_seed(3)
    before = make().sample((4,))
    torch.manual_seed(3)
    after = tempered(make(), temperature).sample((4,))
    # The same noise, about the same mean.
    torch.testing.assert_close(after - MEANS, temperature * (before - MEANS))
    z = MEANS + torch.randn(4, 3, 2, dtype=torch.float64)
    expected = make().log_prob(MEANS + (z - MEANS) / temperature) - 2 * math.log(temperature)
    torch.testing.assert_close(tempered(make(), temperature).log_prob(z), expected)


@every_component
def test_a_distribution_at_temperature_zero_is_its_mean(make: Callable[[], td.Distribution]) -> None:
    draws = tempered(make(), 0.0).sample((4,))
    assert torch.equal(draws, MEANS.expand(4, 3, 2))


@every_component
def test_a_tempered_mixture_keeps_the_means_and_weights_of_its_components(make: Callable[[], td.Distribution]) -> None:
    n = 5000
    cold = tempered(mixture_of(make()), 0.0)
    assert isinstance(cold, td.MixtureSameFamily)
    draws = cold.sample((n,))
    which = (draws.unsqueeze(1) == MEANS).all(-1)
    assert which.any(1).all()
    shares = which.double().mean(0)
    assert ((shares - WEIGHTS).abs() <= 5 * (WEIGHTS * (1 - WEIGHTS) / n).sqrt()).all()
    half = tempered(mixture_of(make()), 0.5)
    z = torch.randn(6, 2, dtype=torch.float64)
    expected = torch.logsumexp(WEIGHTS.log() + tempered(make(), 0.5).log_prob(z.unsqueeze(1)), dim=1)
    torch.testing.assert_close(half.log_prob(z), expected)
    assert half.sample((7,)).shape == (7, 2)


def test_a_tempered_flow_is_the_map_of_its_tempered_base() -> None:
    p = PushForward(Sinh(), unit(2))
    torch.manual_seed(3)
    noise = unit(2).sample((5,))
    torch.manual_seed(3)
    draws = tempered(p, 0.4).sample((5,))
    torch.testing.assert_close(draws, (0.4 * noise).asinh())
    assert torch.equal(tempered(p, 0.0).sample((5,)), torch.zeros(5, 2, dtype=torch.float64))


def test_a_tempered_unit_normal_is_narrower_and_no_longer_of_unit_variance() -> None:
    p = tempered(unit(2), 0.5)
    assert not isinstance(p, UnitNormal)
    torch.testing.assert_close(p.variance, torch.full((2,), 0.25, dtype=torch.float64))
    expected = reference(torch.zeros(2).double(), torch.zeros(2).double() + 2 * math.log(0.5))
    torch.testing.assert_close(
        td.kl_divergence(p, unit(2)),
        td.kl_divergence(expected, reference(torch.zeros(2).double(), torch.zeros(2).double())),
    )


# ---------------------------------------------------------------------------------------------------- detached

FACTOR = torch.tensor([[1.5, 0.0], [0.4, 0.8]], dtype=torch.float64)


def leaf(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


#: Distributions over codes whose every parameter wants a gradient, and what torch computes of them in passing.
POSTERIORS: dict[str, Callable[[], td.Distribution]] = {
    "DiagonalNormal": lambda: DiagonalNormal(leaf(5, 2), leaf(5, 2)),
    "UnitNormal": lambda: UnitNormal(leaf(2)),
    "Independent Normal": lambda: td.Independent(td.Normal(leaf(5, 2), leaf(5, 2).exp()), 1),
    "Independent Laplace": lambda: td.Independent(td.Laplace(leaf(5, 2), leaf(5, 2).exp()), 1),
    "Independent StudentT": lambda: td.Independent(td.StudentT(leaf(5, 2).exp() + 1, leaf(5, 2), leaf(5, 2).exp()), 1),
    "Independent twice": lambda: td.Independent(td.Independent(td.Normal(leaf(5, 2), leaf(5, 2).exp()), 0), 1),
    "MultivariateNormal scale_tril": lambda: td.MultivariateNormal(leaf(5, 2), scale_tril=FACTOR * leaf().exp()),
    "MultivariateNormal covariance": lambda: td.MultivariateNormal(
        leaf(5, 2), covariance_matrix=FACTOR @ FACTOR.T * leaf().exp()
    ),
    "MultivariateNormal precision": lambda: td.MultivariateNormal(
        leaf(5, 2), precision_matrix=FACTOR @ FACTOR.T * leaf().exp()
    ),
    "mixture": lambda: td.MixtureSameFamily(
        td.Categorical(logits=leaf(5, 3)), DiagonalNormal(leaf(5, 3, 2), leaf(5, 3, 2))
    ),
    "LowRankMultivariateNormal": lambda: td.LowRankMultivariateNormal(leaf(5, 2), leaf(5, 2, 1), leaf(5, 2).exp()),
}


@pytest.mark.parametrize("make", POSTERIORS.values(), ids=list(POSTERIORS))
@pytest.mark.parametrize("looked_at", [False, True], ids=["fresh", "looked at"])
def test_detached_has_the_same_density_and_stops_the_gradient(
    make: Callable[[], td.Distribution], looked_at: bool
) -> None:
    q = make()
    if looked_at:
        # torch keeps what it derives from a parameter as one more attribute.
        for name in ("mean", "variance", "scale_tril", "covariance_matrix", "precision_matrix"):
            getattr(q, name, None)
    apart = detached(q)
    z = torch.randn(5, 2, dtype=torch.float64)
    assert apart.batch_shape == q.batch_shape
    assert apart.event_shape == q.event_shape
    torch.testing.assert_close(apart.log_prob(z), q.log_prob(z))
    assert q.log_prob(z).requires_grad
    assert not apart.log_prob(z).requires_grad
    assert not (apart.rsample() if apart.has_rsample else apart.sample()).requires_grad
    assert q.log_prob(z).requires_grad
    # But through the code it flows as before.
    z.requires_grad_()
    (through,) = torch.autograd.grad(apart.log_prob(z).sum(), z)
    (before,) = torch.autograd.grad(q.log_prob(z).sum(), z)
    torch.testing.assert_close(through, before)


@pytest.mark.parametrize(
    "make",
    [
        lambda: PushForward(Sinh(), unit(2)),
        lambda: tempered(COMPONENTS["Laplace"](), 0.5),
    ],
    ids=["PushForward", "TransformedDistribution"],
)
def test_detached_refuses_what_keeps_its_parameters_elsewhere(make: Callable[[], td.Distribution]) -> None:
    q = make()
    message = rf"expected a posterior whose parameters can be detached, got {type_name(q)}: use gradient='plain'"
    with pytest.raises(ComponentError, match=message):
        detached(q)


# --------------------------------------------------------------------------------------------- kl_by_dimension


def factorised(size: int = 2) -> list[td.Distribution]:
    """Posteriors and priors of independent dimensions, in all the ways there are."""
    mu, logvar = torch.randn(size, dtype=torch.float64), torch.randn(size, dtype=torch.float64)
    return [
        DiagonalNormal(mu, logvar),
        reference(mu, logvar),
        unit(size),
        td.Independent(td.Laplace(mu, logvar.exp()), 1),
    ]


@pytest.mark.parametrize("other", range(4), ids=["DiagonalNormal", "Normal", "UnitNormal", "Laplace"])
@pytest.mark.parametrize("batch", [(), (5,)])
def test_kl_by_dimension_adds_up_to_the_kl(other: int, batch: tuple[int, ...]) -> None:
    p = factorised()[other]
    mu, logvar = torch.randn(*batch, 2, dtype=torch.float64), torch.randn(*batch, 2, dtype=torch.float64)
    for q in (DiagonalNormal(mu, logvar), reference(mu, logvar)):
        by_dimension = kl_by_dimension(q, p)
        assert by_dimension is not None
        assert by_dimension.shape == (*batch, 2)
        torch.testing.assert_close(by_dimension.sum(-1), td.kl_divergence(q, p))
        assert (by_dimension >= 0).all()


def test_kl_by_dimension_gives_each_dimension_its_own() -> None:
    mu, logvar = torch.randn(5, 2, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64)
    prior_mu, prior_logvar = torch.randn(2, dtype=torch.float64), torch.randn(2, dtype=torch.float64)
    got = kl_by_dimension(DiagonalNormal(mu, logvar), DiagonalNormal(prior_mu, prior_logvar))
    expected = td.kl_divergence(td.Normal(mu, (0.5 * logvar).exp()), td.Normal(prior_mu, (0.5 * prior_logvar).exp()))
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize(
    "make",
    [
        lambda: td.MultivariateNormal(torch.zeros(2), torch.eye(2)),
        lambda: mixture_of(COMPONENTS["DiagonalNormal"]()),
        lambda: PushForward(Sinh(), unit(2)),
        lambda: td.Independent(td.Normal(torch.zeros(1, 2), 1.0), 2),
        lambda: td.Independent(td.StudentT(3.0, torch.zeros(2), 1.0), 1),
    ],
    ids=["correlated", "mixture", "flow", "more than a vector", "no closed form"],
)
def test_kl_by_dimension_is_none_where_there_is_none(make: Callable[[], td.Distribution]) -> None:
    q = DiagonalNormal(torch.randn(5, 2), torch.randn(5, 2))
    assert kl_by_dimension(q, make()) is None
    assert kl_by_dimension(make(), q) is None


def test_kl_by_dimension_carries_gradients() -> None:
    leaves = [torch.randn(4, 3, dtype=torch.float64, requires_grad=True) for _ in range(4)]

    def divergence(mu: Tensor, logvar: Tensor, prior_mu: Tensor, prior_logvar: Tensor) -> Tensor:
        kl = kl_by_dimension(DiagonalNormal(mu, logvar), DiagonalNormal(prior_mu, prior_logvar))
        assert kl is not None
        return kl

    assert torch.autograd.gradcheck(divergence, leaves)
