"""The pure functions under every bound: against closed forms, torch, and Monte Carlo."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from decimal import Decimal, localcontext
from typing import Any

import pytest
import torch
import torch.distributions as td
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from mnistvae import losses
from mnistvae.distributions import DiagonalNormal, detached
from mnistvae.losses import (
    annealed_capacity,
    bernoulli_cross_entropy,
    categorical_nll,
    continuous_bernoulli_nll,
    discretized_logistic_nll,
    doubly_reparameterized,
    free_bits,
    gaussian_kl,
    gaussian_kl_by_dimension,
    gaussian_nll,
    importance_weighted_bound,
    kl_decomposition,
    kl_or_estimate,
    log_sinhc,
    logistic_mixture_nll,
    negative_elbo,
    stratified_log_weights,
)

#: Each row is (mu, logvar, prior_mu, prior_logvar) of one latent dimension.
normal_pairs = st.lists(
    st.tuples(st.floats(-4, 4), st.floats(-4, 3), st.floats(-4, 4), st.floats(-4, 3)), min_size=1, max_size=6
).map(lambda rows: torch.tensor(rows, dtype=torch.float64).unbind(1))


def independent_normal(mu: Tensor, logvar: Tensor) -> td.Independent:
    return td.Independent(td.Normal(mu, (0.5 * logvar).exp()), 1)


# ---------------------------------------------------------------------------------------------- gaussian_kl


@given(pair=normal_pairs)
def test_gaussian_kl_is_not_negative(pair: tuple[Tensor, ...]) -> None:
    assert float(gaussian_kl(*pair)) >= -1e-12


@given(pair=normal_pairs)
def test_gaussian_kl_is_zero_for_equal_distributions(pair: tuple[Tensor, ...]) -> None:
    mu, logvar = pair[:2]
    assert float(gaussian_kl(mu, logvar, mu, logvar)) == 0.0


@given(pair=normal_pairs)
def test_gaussian_kl_grows_when_the_means_part(pair: tuple[Tensor, ...]) -> None:
    mu, logvar, _, prior_logvar = pair
    near = gaussian_kl(mu, logvar, mu, prior_logvar)
    far = gaussian_kl(mu, logvar, mu + 1, prior_logvar)
    torch.testing.assert_close(far - near, 0.5 * (-prior_logvar).exp().sum())


@given(pair=normal_pairs)
def test_gaussian_kl_equals_torch(pair: tuple[Tensor, ...]) -> None:
    mu, logvar, prior_mu, prior_logvar = pair
    expected = td.kl_divergence(independent_normal(mu, logvar), independent_normal(prior_mu, prior_logvar))
    torch.testing.assert_close(gaussian_kl(*pair), expected, rtol=1e-9, atol=1e-9)


@given(pair=normal_pairs)
def test_gaussian_kl_has_the_standard_normal_as_its_default(pair: tuple[Tensor, ...]) -> None:
    mu, logvar = pair[:2]
    zero = torch.zeros_like(mu)
    torch.testing.assert_close(gaussian_kl(mu, logvar), gaussian_kl(mu, logvar, zero, zero))
    by_hand = sum(0.5 * (math.exp(v) + m * m - 1 - v) for m, v in zip(mu.tolist(), logvar.tolist(), strict=True))
    assert float(gaussian_kl(mu, logvar)) == pytest.approx(by_hand, rel=1e-9, abs=1e-9)


@given(pair=normal_pairs, seed=st.integers(0, 2**31))
@settings(max_examples=15)
def test_gaussian_kl_equals_a_monte_carlo_estimate(pair: tuple[Tensor, ...], seed: int) -> None:
    mu, logvar, prior_mu, prior_logvar = pair
    torch.manual_seed(seed)
    q, p = independent_normal(mu, logvar), independent_normal(prior_mu, prior_logvar)
    z = q.sample((20_000,))
    draws = q.log_prob(z) - p.log_prob(z)
    error = float(draws.std()) / math.sqrt(len(draws))
    assert abs(float(gaussian_kl(*pair)) - float(draws.mean())) <= 5 * error + 1e-9


@pytest.mark.parametrize("logvar", [-30.0, 30.0])
@pytest.mark.parametrize("prior_logvar", [-30.0, 0.0, 30.0])
@pytest.mark.parametrize("mu", [-100.0, 0.0, 100.0])
def test_gaussian_kl_and_its_gradients_are_finite_at_extremes(mu: float, logvar: float, prior_logvar: float) -> None:
    leaves = [torch.full((2, 3), value, requires_grad=True) for value in (mu, logvar, 0.0, prior_logvar)]
    kl = gaussian_kl(*leaves)
    kl.sum().backward()
    assert kl.isfinite().all()
    assert (kl >= 0).all()
    assert all(leaf.grad is not None and leaf.grad.isfinite().all() for leaf in leaves)


@pytest.mark.parametrize("prior_shape", [(), (3,), (1, 3), (4, 3), (5, 1, 3)])
def test_gaussian_kl_broadcasts_the_prior(prior_shape: tuple[int, ...]) -> None:
    mu, logvar = torch.randn(5, 4, 3), torch.randn(5, 4, 3)
    prior_mu, prior_logvar = torch.randn(prior_shape), torch.randn(prior_shape)
    got = gaussian_kl(mu, logvar, prior_mu, prior_logvar)
    spelled_out = gaussian_kl(mu, logvar, prior_mu.expand(5, 4, 3), prior_logvar.expand(5, 4, 3))
    assert got.shape == (5, 4)
    torch.testing.assert_close(got, spelled_out)


def test_gaussian_kl_takes_numbers_for_the_prior_and_keeps_the_dtype() -> None:
    mu, logvar = torch.randn(4, 3, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    got = gaussian_kl(mu, logvar, 0.5, -1.0)
    assert got.dtype is torch.float64
    torch.testing.assert_close(got, gaussian_kl(mu, logvar, torch.full_like(mu, 0.5), torch.full_like(mu, -1.0)))


def test_gaussian_kl_gives_each_example_its_own_value() -> None:
    mu, logvar = torch.randn(6, 3), torch.randn(6, 3)
    one_by_one = torch.stack([gaussian_kl(m, v) for m, v in zip(mu, logvar, strict=True)])
    got = gaussian_kl(mu, logvar)
    assert got.shape == (6,)
    torch.testing.assert_close(got, one_by_one)
    torch.testing.assert_close(gaussian_kl(mu, logvar), sum(gaussian_kl(mu[:, [j]], logvar[:, [j]]) for j in range(3)))


def test_gaussian_kl_has_the_right_gradients() -> None:
    leaves = [torch.randn(3, 2, dtype=torch.float64, requires_grad=True) for _ in range(4)]
    assert torch.autograd.gradcheck(gaussian_kl, leaves)


# ------------------------------------------------------------------------------------ bernoulli_cross_entropy

pixels = st.lists(st.tuples(st.floats(-20, 20), st.floats(0, 1)), min_size=1, max_size=12).map(
    lambda rows: [column.reshape(1, 1, 1, -1) for column in torch.tensor(rows, dtype=torch.float64).unbind(1)]
)


@given(pair=pixels)
def test_cross_entropy_of_binary_pixels_is_minus_their_log_probability(pair: list[Tensor]) -> None:
    logits, x = pair[0], pair[1].round()
    expected = -td.Independent(td.Bernoulli(logits=logits), 3).log_prob(x)
    torch.testing.assert_close(bernoulli_cross_entropy(logits, x), expected, rtol=1e-9, atol=1e-9)


@given(pair=pixels)
def test_cross_entropy_of_grey_pixels_equals_torch_summed(pair: list[Tensor]) -> None:
    logits, x = pair
    expected = functional.binary_cross_entropy(logits.sigmoid(), x, reduction="sum")
    torch.testing.assert_close(bernoulli_cross_entropy(logits, x).sum(), expected, rtol=1e-6, atol=1e-6)


@given(pair=pixels)
def test_cross_entropy_of_grey_pixels_is_at_least_their_entropy(pair: list[Tensor]) -> None:
    logits, x = pair
    entropy = -(torch.special.xlogy(x, x) + torch.special.xlogy(1 - x, 1 - x)).sum()
    best = bernoulli_cross_entropy(torch.logit(x.clamp(1e-12, 1 - 1e-12)), x)
    assert float(bernoulli_cross_entropy(logits, x)) >= float(entropy) - 1e-9
    assert float(best) == pytest.approx(float(entropy), abs=1e-8)


@pytest.mark.parametrize("logit", [-80.0, 80.0])
@pytest.mark.parametrize("pixel", [0.0, 1.0])
def test_cross_entropy_and_its_gradient_are_finite_at_extremes(logit: float, pixel: float) -> None:
    logits = torch.full((2, 1, 2, 2), logit, requires_grad=True)
    got = bernoulli_cross_entropy(logits, torch.full((2, 1, 2, 2), pixel))
    got.sum().backward()
    wrong = (logit > 0) != (pixel == 1)
    torch.testing.assert_close(got.detach(), torch.full((2,), 4 * 80.0 if wrong else 0.0))
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize(
    ("logits_shape", "x_shape", "shape"),
    [
        ((5, 2, 3, 4), (5, 2, 3, 4), (5,)),
        ((7, 5, 2, 3, 4), (5, 2, 3, 4), (7, 5)),
        ((1, 2, 3, 4), (5, 2, 3, 4), (5,)),
        ((5, 2, 3, 4), (2, 3, 4), (5,)),
        ((2, 3, 4), (2, 3, 4), ()),
    ],
)
def test_cross_entropy_broadcasts(
    logits_shape: tuple[int, ...], x_shape: tuple[int, ...], shape: tuple[int, ...]
) -> None:
    logits, x = torch.randn(logits_shape), torch.rand(x_shape)
    got = bernoulli_cross_entropy(logits, x)
    full = (*shape, 2, 3, 4)
    assert got.shape == shape
    torch.testing.assert_close(got, bernoulli_cross_entropy(logits.expand(full), x.expand(full)))


def test_cross_entropy_gives_each_example_its_own_value() -> None:
    logits, x = torch.randn(6, 2, 3, 3), torch.rand(6, 2, 3, 3)
    one_by_one = torch.stack([bernoulli_cross_entropy(a, b) for a, b in zip(logits, x, strict=True)])
    torch.testing.assert_close(bernoulli_cross_entropy(logits, x), one_by_one)


def test_small_cross_entropies_keep_their_digits() -> None:
    """Far out on the right side, the cross-entropy is e^-|l|, which 1 + e^-|l| rounds away."""
    logits = torch.tensor([-5.0, -12.0, -18.0, -30.0, -60.0]).reshape(5, 1, 1, 1)
    for sign, pixel in ((1.0, 0.0), (-1.0, 1.0)):
        found = losses.bernoulli_cross_entropy(sign * logits, torch.full((5, 1, 1, 1), pixel))
        exact = torch.log1p(logits.double().exp()).flatten()
        torch.testing.assert_close(found.double(), exact, rtol=2e-6, atol=0.0)


def test_cross_entropy_has_higher_gradients_and_follows_transforms() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, x = (torch.rand(3, 1, 2, 2, generator=generator, dtype=torch.float64) for _ in range(2))
    logits = (8 * logits - 4).requires_grad_()
    x.requires_grad_()
    assert torch.autograd.gradcheck(losses.bernoulli_cross_entropy, (logits, x))
    assert torch.autograd.gradgradcheck(losses.bernoulli_cross_entropy, (logits, x))

    def whole(one: Tensor, pixels: Tensor) -> Tensor:
        return losses.bernoulli_cross_entropy(one, pixels)

    by_image = torch.func.vmap(torch.func.grad(whole))(logits.detach(), x.detach())
    together = torch.autograd.grad(whole(logits, x).sum(), logits)[0]
    torch.testing.assert_close(by_image, together)


def test_cross_entropy_has_the_right_gradient() -> None:
    logits = torch.randn(2, 1, 2, 2, dtype=torch.float64, requires_grad=True)
    x = torch.rand(2, 1, 2, 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda given_logits: bernoulli_cross_entropy(given_logits, x), [logits])


# --------------------------------------------------------------------------------- kl_or_estimate, negative_elbo


@pytest.mark.parametrize("prior_batch", [(), (4,)])
def test_kl_or_estimate_is_exact_where_a_closed_form_exists(prior_batch: tuple[int, ...]) -> None:
    mu, logvar = torch.randn(4, 3), torch.randn(4, 3)
    q = DiagonalNormal(mu, logvar)
    p = DiagonalNormal(torch.zeros(*prior_batch, 3), torch.zeros(*prior_batch, 3))
    kl = kl_or_estimate(q, p, torch.full((4, 3), math.nan))  # the draw is not looked at
    torch.testing.assert_close(kl, gaussian_kl(mu, logvar))


def mixture() -> td.MixtureSameFamily:
    """A prior that torch has no closed form for."""
    means = torch.tensor([[-1.0, 0.0], [2.0, 1.0], [0.0, -2.0]])
    components = td.Independent(td.Normal(means, torch.tensor([[0.5], [1.0], [2.0]]).expand(3, 2)), 1)
    return td.MixtureSameFamily(td.Categorical(torch.tensor([0.2, 0.5, 0.3])), components)


def test_kl_or_estimate_falls_back_to_the_log_ratio_at_the_draw() -> None:
    q, p = DiagonalNormal(torch.randn(4, 2), torch.randn(4, 2)), mixture()
    with pytest.raises(NotImplementedError, match="No KL"):
        td.kl_divergence(q, p)
    z = q.sample()
    kl = kl_or_estimate(q, p, z)
    assert kl.shape == (4,)
    torch.testing.assert_close(kl, q.log_prob(z) - p.log_prob(z))


def test_kl_or_estimate_is_unbiased_where_it_estimates() -> None:
    # In one dimension the integral of q (log q - log p) is exact to many digits on a grid.
    mu, scale = 0.7, 0.6
    p = td.StudentT(torch.tensor(3.0, dtype=torch.float64), 0.5, 1.5)
    grid = torch.linspace(mu - 12 * scale, mu + 12 * scale, 20_001, dtype=torch.float64)
    log_q = td.Normal(torch.tensor(mu, dtype=torch.float64), scale).log_prob(grid)
    exact = float(torch.trapezoid(log_q.exp() * (log_q - p.log_prob(grid)), grid))
    n = 40_000
    q = DiagonalNormal(
        torch.full((n, 1), mu, dtype=torch.float64), torch.full((n, 1), 2 * math.log(scale), dtype=torch.float64)
    )
    estimates = kl_or_estimate(q, td.Independent(p.expand((1,)), 1), q.rsample())
    assert estimates.shape == (n,)
    assert abs(float(estimates.mean()) - exact) <= 5 * float(estimates.std()) / math.sqrt(n)


def test_kl_estimate_carries_gradients_to_the_posterior() -> None:
    mu, logvar = torch.randn(4, 2, requires_grad=True), torch.randn(4, 2, requires_grad=True)
    q = DiagonalNormal(mu, logvar)
    kl_or_estimate(q, mixture(), q.rsample()).sum().backward()
    assert mu.grad is not None
    assert logvar.grad is not None
    assert mu.grad.abs().min() > 0
    assert logvar.grad.abs().min() > 0


@given(rows=st.lists(st.tuples(st.floats(0, 1e3), st.floats(0, 1e2)), min_size=1, max_size=5), beta=st.floats(0, 10))
def test_negative_elbo_is_the_weighted_sum_of_each_example(rows: list[tuple[float, float]], beta: float) -> None:
    reconstruction, kl = torch.tensor(rows, dtype=torch.float64).unbind(1)
    expected = torch.tensor([r + beta * k for r, k in rows], dtype=torch.float64)
    torch.testing.assert_close(negative_elbo(reconstruction, kl, beta), expected)
    torch.testing.assert_close(negative_elbo(reconstruction, kl, torch.tensor(beta, dtype=torch.float64)), expected)


def test_negative_elbo_is_the_bound_itself_by_default() -> None:
    reconstruction, kl = torch.rand(5), torch.rand(5)
    assert torch.equal(negative_elbo(reconstruction, kl), reconstruction + kl)


# --------------------------------------------------------------------------------------------------- log_sinhc


def exact_log_sinhc(a: float) -> float:
    """log(sinh(a) / a) with 60 digits, of which the differences may well eat 20."""
    with localcontext() as context:
        context.prec = 60
        exact = Decimal(a)
        return float(((exact.exp() - (-exact).exp()) / (2 * exact)).ln())


def exact_slope(a: float) -> float:
    """Its derivative, coth(a) - 1 / a."""
    with localcontext() as context:
        context.prec = 60
        exact = Decimal(a)
        up, down = exact.exp(), (-exact).exp()
        return float((up + down) / (up - down) - 1 / exact)


#: Both sides of where the series ends, which is at 0.3.
SIZES = [1e-9, 1e-6, 1e-3, 0.1, 0.145, 0.155, 0.29, 0.3 - 1e-12, 0.3, 0.3 + 1e-12, 0.31, 0.5, 1.0, 5.0, 40.0, 400.0]


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("size", SIZES)
def test_log_sinhc_and_its_slope_are_exact(size: float, sign: int) -> None:
    a = torch.tensor(sign * size, dtype=torch.float64, requires_grad=True)
    value = log_sinhc(a)
    (slope,) = torch.autograd.grad(value, a)
    # Relative to the value, which is a^2 / 6 near 0: nothing cancels there.
    assert value.item() == pytest.approx(exact_log_sinhc(sign * size), rel=1e-11, abs=0)
    assert slope.item() == pytest.approx(exact_slope(sign * size), rel=1e-9, abs=0)


@pytest.mark.parametrize("size", SIZES)
def test_log_sinhc_and_its_slope_are_good_in_single_precision(size: float) -> None:
    a = torch.tensor(size, requires_grad=True)
    value = log_sinhc(a)
    (slope,) = torch.autograd.grad(value, a)
    assert value.item() == pytest.approx(exact_log_sinhc(a.item()), rel=1e-6, abs=1e-7)
    assert slope.item() == pytest.approx(exact_slope(a.item()), rel=1e-5, abs=1e-7)


def test_log_sinhc_is_even_and_has_no_hole_at_zero() -> None:
    zero = torch.zeros((), dtype=torch.float64, requires_grad=True)
    value = log_sinhc(zero)
    (slope,) = torch.autograd.grad(value, zero)
    assert value.item() == 0
    assert slope.item() == 0
    a = torch.linspace(-90, 90, 1001)
    assert torch.equal(log_sinhc(a), log_sinhc(-a))


def test_log_sinhc_has_no_step_where_the_series_ends() -> None:
    a = torch.linspace(0.3 - 1e-6, 0.3 + 1e-6, 2001, dtype=torch.float64, requires_grad=True)
    value = log_sinhc(a)
    (slope,) = torch.autograd.grad(value.sum(), a)
    steps, slopes = value.detach().diff(), slope.diff()
    torch.testing.assert_close(steps, torch.full_like(steps, 1e-9 * exact_slope(0.3)), rtol=0, atol=1e-12)
    assert slopes.abs().max() < 1e-9


# -------------------------------------------------------------------------------------- densities of pixels


@given(pair=pixels)
def test_continuous_bernoulli_equals_its_definition(pair: list[Tensor]) -> None:
    logits, x = pair
    expected = 0.0
    for logit, value in zip(logits.flatten().tolist(), x.flatten().tolist(), strict=True):
        # log of e^(l x) l / (e^l - 1), symmetric in l
        size, towards = abs(logit), value if logit >= 0 else 1 - value
        normaliser = math.log(size / -math.expm1(-size)) if size > 1e-12 else 0.0
        expected -= size * (towards - 1) + normaliser
    assert float(continuous_bernoulli_nll(logits, x)) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_continuous_bernoulli_equals_torch_where_torch_is_good() -> None:
    logits = torch.linspace(-9, 9, 91, dtype=torch.float64).reshape(-1, 1, 1, 1)
    x = torch.rand(5, 91, 1, 1, 1, dtype=torch.float64)
    expected = -td.Independent(td.ContinuousBernoulli(logits=logits), 3).log_prob(x)
    torch.testing.assert_close(continuous_bernoulli_nll(logits, x), expected, rtol=1e-8, atol=1e-9)


@given(pair=pixels, log_sigma=st.floats(-4, 3))
def test_gaussian_equals_torch(pair: list[Tensor], log_sigma: float) -> None:
    mean, x = pair
    scale = torch.tensor(log_sigma, dtype=torch.float64)
    expected = -td.Independent(td.Normal(mean, scale.exp()), 3).log_prob(x)
    torch.testing.assert_close(gaussian_nll(mean, scale, x), expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(gaussian_nll(mean, scale.expand_as(mean), x), expected, rtol=1e-9, atol=1e-9)


def test_gaussian_with_variance_one_half_is_the_sum_of_squared_errors_and_a_constant() -> None:
    mean, x = torch.rand(2, 5, 3, 4, 4, dtype=torch.float64).unbind(0)
    log_sigma = torch.tensor(0.5, dtype=torch.float64).sqrt().log()
    squared_error = (x - mean).square().sum((1, 2, 3))
    expected = squared_error + 3 * 4 * 4 / 2 * math.log(math.pi)
    torch.testing.assert_close(gaussian_nll(mean, log_sigma, x), expected)


@given(mean=st.floats(-0.5, 1.5), log_scale=st.floats(-3, 2), levels=st.integers(2, 300), share=st.floats(0, 1))
@settings(max_examples=100)
def test_logistic_is_a_difference_of_sigmoids_where_that_is_stable(
    mean: float, log_scale: float, levels: int, share: float
) -> None:
    level, scale = round(share * (levels - 1)), math.exp(log_scale)

    def below(edge: float) -> float:
        return 1 / (1 + math.exp(-(edge - mean) / scale))

    upper = 1.0 if level == levels - 1 else below((level + 0.5) / (levels - 1))
    lower = 0.0 if level == 0 else below((level - 0.5) / (levels - 1))
    got = discretized_logistic_nll(
        *(torch.full((1, 1, 1), value, dtype=torch.float64) for value in (mean, log_scale, level / (levels - 1))),
        levels,
    )
    assert float(got) >= 0
    assert math.exp(-float(got)) == pytest.approx(upper - lower, rel=1e-8)


@pytest.mark.parametrize("far", [-300.0, 300.0])
def test_logistic_has_a_slope_far_out_where_the_difference_of_sigmoids_is_zero(far: float) -> None:
    mean = torch.full((1, 1, 1), far, requires_grad=True)
    nll = discretized_logistic_nll(mean, torch.zeros(1, 1, 1), torch.full((1, 1, 1), 0.5), levels=256)
    (slope,) = torch.autograd.grad(nll, mean)
    # The tail of a logistic is exponential: -log p grows as the distance, at 1 / s nats.
    torch.testing.assert_close(nll.detach(), torch.tensor(abs(far - 0.5) + math.log(255)), rtol=1e-4, atol=0)
    torch.testing.assert_close(slope.flatten(), torch.tensor([math.copysign(1.0, far)]))


DENSITIES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "bernoulli_cross_entropy": lambda first, _, x: bernoulli_cross_entropy(first, x),
    "continuous_bernoulli_nll": lambda first, _, x: continuous_bernoulli_nll(first, x),
    "gaussian_nll": gaussian_nll,
    "discretized_logistic_nll": discretized_logistic_nll,
    "discretized_logistic_nll of 2 levels": lambda first, second, x: discretized_logistic_nll(first, second, x, 2),
}
every_density = pytest.mark.parametrize("nll", DENSITIES.values(), ids=list(DENSITIES))


@every_density
@pytest.mark.parametrize(
    ("params_shape", "x_shape", "shape"),
    [
        ((5, 2, 3, 4), (5, 2, 3, 4), (5,)),
        ((7, 5, 2, 3, 4), (5, 2, 3, 4), (7, 5)),
        ((1, 2, 3, 4), (5, 2, 3, 4), (5,)),
        ((2, 3, 4), (5, 2, 3, 4), (5,)),
        ((5, 2, 3, 4), (2, 3, 4), (5,)),
        ((2, 3, 4), (2, 3, 4), ()),
    ],
)
def test_densities_broadcast_and_sum_over_pixels(
    nll: Callable[[Tensor, Tensor, Tensor], Tensor],
    params_shape: tuple[int, ...],
    x_shape: tuple[int, ...],
    shape: tuple[int, ...],
) -> None:
    first, second, x = (torch.randn(s, dtype=torch.float64) for s in (params_shape, params_shape, x_shape))
    x = x.sigmoid()
    got = nll(first, second, x)
    assert got.shape == shape
    first, second, x = (value.expand(*shape, 2, 3, 4) for value in (first, second, x))
    one_by_one = sum(
        nll(*(value[..., c : c + 1, i : i + 1, j : j + 1] for value in (first, second, x)))
        for c in range(2)
        for i in range(3)
        for j in range(4)
    )
    torch.testing.assert_close(got, one_by_one)


# ----------------------------------------------------------------------------------------------------- extremes


def extremes(low: float, high: float) -> st.SearchStrategy[float]:
    return st.sampled_from([low, high, 0.0]) | st.floats(low, high)


#: (logit or mean, log-variance or log-scale, pixel)
extreme_rows = st.lists(
    st.tuples(extremes(-80, 80), extremes(-30, 30), st.sampled_from([0.0, 1.0]) | st.floats(0, 1)),
    min_size=1,
    max_size=8,
)
CORNERS = [(a, b, x) for a in (-80.0, 0.0, 80.0) for b in (-30.0, 0.0, 30.0) for x in (0.0, 0.5, 1.0)]
both_precisions = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


@every_density
@both_precisions
@given(rows=extreme_rows)
@example(rows=CORNERS)
@settings(max_examples=20)
def test_densities_and_their_gradients_are_finite_at_extremes(
    nll: Callable[[Tensor, Tensor, Tensor], Tensor], dtype: torch.dtype, rows: list[tuple[float, float, float]]
) -> None:
    first, second, x = (column.reshape(-1, 1, 1, 1) for column in torch.tensor(rows, dtype=dtype).unbind(1))
    leaves = [first.clone().requires_grad_(), second.clone().requires_grad_()]
    value = nll(*leaves, x)
    value.sum().backward()
    assert value.isfinite().all()
    assert leaves[0].grad is not None
    assert all(leaf.grad is None or leaf.grad.isfinite().all() for leaf in leaves)


DIVERGENCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "gaussian_kl": gaussian_kl,
    "gaussian_kl with a prior": lambda mu, logvar: gaussian_kl(mu, logvar, mu.flip(0), logvar.flip(0)),
    "gaussian_kl_by_dimension": gaussian_kl_by_dimension,
    "free_bits": lambda mu, logvar: free_bits(gaussian_kl_by_dimension(mu, logvar), 0.5),
    "annealed_capacity": lambda mu, logvar: annealed_capacity(mu.sum(-1), gaussian_kl(mu, logvar), 25.0, 100.0),
    "negative_elbo": lambda mu, logvar: negative_elbo(mu.sum(-1), gaussian_kl(mu, logvar), 4.0),
    "importance_weighted_bound": lambda mu, logvar: importance_weighted_bound(-100 * mu * logvar),
    "doubly_reparameterized": lambda mu, logvar: doubly_reparameterized(
        (-100 * mu * logvar).unsqueeze(-1).sum(-1), mu.unsqueeze(-1)
    ),
    "kl_decomposition": lambda mu, logvar: torch.stack(
        kl_decomposition(
            -0.5 * ((mu.unsqueeze(1) - mu).square() * (-logvar).exp() + logvar),
            -0.5 * mu.square().sum(-1),
            stratified_log_weights(len(mu), 60_000, like=mu),
        )
    ),
}


@pytest.mark.parametrize("loss", DIVERGENCES.values(), ids=list(DIVERGENCES))
@both_precisions
@given(rows=extreme_rows)
@example(rows=CORNERS)
@settings(max_examples=20)
def test_divergences_and_bounds_and_their_gradients_are_finite_at_extremes(
    loss: Callable[[Tensor, Tensor], Tensor], dtype: torch.dtype, rows: list[tuple[float, float, float]]
) -> None:
    leaves = [column.unsqueeze(-1).requires_grad_() for column in torch.tensor(rows, dtype=dtype)[:, :2].T.clone()]
    value = loss(*leaves)
    value.sum().backward()
    assert value.isfinite().all()
    assert all(leaf.grad is not None and leaf.grad.isfinite().all() for leaf in leaves)


# ---------------------------------------------------------------------------------------------------- gradients


def numbers(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


def grey(*shape: int) -> Tensor:
    return torch.rand(shape, dtype=torch.float64, requires_grad=True)


IMAGES = (3, 2, 2, 2)
#: Every loss, and arguments of which each one has a gradient.
GRADIENTS: dict[str, tuple[Callable[..., Any], Callable[[], tuple[Tensor, ...]]]] = {
    "annealed_capacity": (annealed_capacity, lambda: (numbers(5), numbers(5), numbers(), numbers())),
    "bernoulli_cross_entropy": (bernoulli_cross_entropy, lambda: (numbers(*IMAGES), grey(*IMAGES))),
    "categorical_nll": (
        lambda logits: categorical_nll(logits, torch.linspace(0, 1, 24).reshape(IMAGES)),
        lambda: (numbers(IMAGES[0], 4, *IMAGES[1:]),),
    ),
    "continuous_bernoulli_nll": (continuous_bernoulli_nll, lambda: (numbers(*IMAGES), grey(*IMAGES))),
    "discretized_logistic_nll": (
        lambda mean, log_scale: discretized_logistic_nll(mean, log_scale, torch.linspace(0, 1, 24).reshape(IMAGES), 8),
        lambda: (numbers(*IMAGES), numbers(*IMAGES)),
    ),
    "free_bits": (lambda kl: free_bits(kl.square(), 0.8), lambda: (numbers(6, 3),)),
    "gaussian_kl": (gaussian_kl, lambda: tuple(numbers(4, 3) for _ in range(4))),
    "gaussian_kl of a prior for all": (gaussian_kl, lambda: (numbers(4, 3), numbers(4, 3), numbers(3), numbers(3))),
    "gaussian_kl of the standard normal": (gaussian_kl, lambda: (numbers(4, 3), numbers(4, 3))),
    "gaussian_kl_by_dimension": (gaussian_kl_by_dimension, lambda: tuple(numbers(4, 3) for _ in range(4))),
    "gaussian_nll": (gaussian_nll, lambda: (numbers(*IMAGES), numbers(*IMAGES), grey(*IMAGES))),
    "importance_weighted_bound": (importance_weighted_bound, lambda: (numbers(4, 3),)),
    "kl_decomposition": (kl_decomposition, lambda: (numbers(4, 4, 3), numbers(4), numbers(4, 4))),
    "kl_or_estimate": (
        lambda mu, logvar, z: kl_or_estimate(DiagonalNormal(mu, logvar), mixture(), z),
        lambda: (numbers(4, 2), numbers(4, 2), numbers(4, 2)),
    ),
    "kl_or_estimate in closed form": (
        lambda mu, logvar: kl_or_estimate(DiagonalNormal(mu, logvar), DiagonalNormal(mu + 1, -logvar), mu),
        lambda: (numbers(4, 2), numbers(4, 2)),
    ),
    "covariance_penalty": (lambda c: losses.covariance_penalty(c, 2.0, 3.0), lambda: (numbers(3, 3),)),
    "logistic_mixture_nll": (
        lambda *p: logistic_mixture_nll(*p, torch.linspace(0, 1, 24).reshape(IMAGES), 8),
        lambda: tuple(numbers(IMAGES[0], 3, *IMAGES[1:]) for _ in range(3)),
    ),
    "maximum_mean_discrepancy": (losses.maximum_mean_discrepancy, lambda: (numbers(4, 2), numbers(4, 2))),
    "squared_jacobian": (
        lambda weight, z, v: losses.squared_jacobian(lambda codes: (codes @ weight).sin(), z, v),
        lambda: (numbers(2, 3), numbers(4, 2), numbers(4, 2)),
    ),
    "negative_elbo": (negative_elbo, lambda: (numbers(5), numbers(5), numbers())),
    "log_sinhc": (
        log_sinhc,
        lambda: (torch.tensor([-40, -5, -0.31, -0.29, -1e-6, 0, 0.1, 0.29, 0.31, 9.0]).double().requires_grad_(),),
    ),
}


@pytest.mark.parametrize(("loss", "arguments"), GRADIENTS.values(), ids=list(GRADIENTS))
def test_gradients_are_those_of_finite_differences(
    loss: Callable[..., Any], arguments: Callable[[], tuple[Tensor, ...]]
) -> None:
    assert torch.autograd.gradcheck(loss, arguments())


def test_every_public_loss_is_among_those_with_a_tested_gradient() -> None:
    # One whose gradient is another on purpose, one that takes no tensor to differentiate, those that posteriors write.
    apart = {"doubly_reparameterized", "stratified_log_weights", "kl_by_level", "own_terms", "OwnTerms"}
    assert {name.split()[0] for name in GRADIENTS} | apart == {*losses.__all__, "log_sinhc"}


# --------------------------------------------------------------------- gaussian_kl_by_dimension, free bits, capacity


@given(pair=normal_pairs)
def test_gaussian_kl_by_dimension_has_the_summands(pair: tuple[Tensor, ...]) -> None:
    mu, logvar, prior_mu, prior_logvar = pair
    by_dimension = gaussian_kl_by_dimension(*pair)
    expected = td.kl_divergence(td.Normal(mu, (0.5 * logvar).exp()), td.Normal(prior_mu, (0.5 * prior_logvar).exp()))
    torch.testing.assert_close(by_dimension, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(by_dimension.sum(-1), gaussian_kl(*pair))
    zero = torch.zeros_like(mu)
    torch.testing.assert_close(gaussian_kl_by_dimension(mu, logvar), gaussian_kl_by_dimension(mu, logvar, zero, zero))


@pytest.mark.parametrize("difference", [1e-12, 1e-6, 1e-4])
def test_gaussian_kl_of_nearly_equal_normals_does_not_round_below_zero(difference: float) -> None:
    mu = torch.zeros(1000, 1)
    logvar = difference * torch.randn(1000, 1)
    assert (gaussian_kl(mu, logvar) >= 0).all()
    assert (gaussian_kl(mu, logvar, mu, torch.zeros(1000, 1)) >= 0).all()


kl_tables = st.integers(1, 5).flatmap(
    lambda columns: st.lists(st.lists(st.floats(0, 4), min_size=columns, max_size=columns), min_size=1, max_size=6).map(
        lambda rows: torch.tensor(rows, dtype=torch.float64)
    )
)


@given(kl=kl_tables, floor=st.floats(0, 3))
def test_free_bits_have_the_formulas_batch_mean(kl: Tensor, floor: float) -> None:
    got = free_bits(kl, floor)
    assert got.shape == (len(kl),)
    assert got.dtype is torch.float64
    expected = sum(max(floor, sum(column) / len(column)) for column in kl.T.tolist())
    assert float(got.mean()) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert float(got.mean()) >= float(kl.sum(-1).mean()) - 1e-9


def test_free_bits_give_a_gradient_only_where_there_is_something_to_gain() -> None:
    kl = torch.tensor([[0.1, 3.0], [0.3, 1.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(free_bits(kl, 0.5).sum(), kl)
    assert gradient.tolist() == [[0, 1], [0, 1]]
    torch.testing.assert_close(free_bits(kl, 0.0), kl.sum(-1))
    assert torch.equal(free_bits(kl, 9.0), torch.full((2,), 18.0))


def test_free_bits_put_one_floor_under_the_whole_code() -> None:
    kl = torch.tensor([1.0, 2.0])
    assert free_bits(kl.unsqueeze(-1), 1.0).tolist() == [1, 2]
    assert free_bits(kl.unsqueeze(-1), 2.0).tolist() == [2, 2]


@given(
    rows=st.lists(st.tuples(st.floats(0, 1e3), st.floats(0, 1e2)), min_size=1, max_size=5),
    capacity=st.floats(0, 50),
    gamma=st.floats(0, 100),
)
def test_annealed_capacity_is_the_weighted_distance_from_it(
    rows: list[tuple[float, float]], capacity: float, gamma: float
) -> None:
    reconstruction, kl = torch.tensor(rows, dtype=torch.float64).unbind(1)
    expected = torch.tensor([r + gamma * abs(k - capacity) for r, k in rows], dtype=torch.float64)
    torch.testing.assert_close(annealed_capacity(reconstruction, kl, capacity, gamma), expected)
    tensors = (torch.tensor(value, dtype=torch.float64) for value in (capacity, gamma))
    torch.testing.assert_close(annealed_capacity(reconstruction, kl, *tensors), expected)


# ----------------------------------------------------------------------------------- importance-weighted bounds


def test_the_bound_of_several_samples_by_hand() -> None:
    weights = [[1.0, 0.5], [3.0, 0.5], [8.0, 0.5]]
    got = importance_weighted_bound(torch.tensor(weights).log())
    torch.testing.assert_close(got, torch.tensor([math.log(12 / 3), math.log(0.5)]))


def test_the_bound_of_one_sample_is_its_weight() -> None:
    log_weights = torch.randn(1, 5)
    torch.testing.assert_close(importance_weighted_bound(log_weights), log_weights[0])


@given(rows=st.lists(st.floats(-2e4, 2e4), min_size=1, max_size=8))
def test_the_bound_lies_between_the_mean_and_the_greatest_and_follows_a_shift(rows: list[float]) -> None:
    log_weights = torch.tensor(rows, dtype=torch.float64).unsqueeze(1)
    bound = float(importance_weighted_bound(log_weights))
    assert float(log_weights.mean()) - 1e-9 <= bound <= float(log_weights.max()) + 1e-9
    assert float(importance_weighted_bound(log_weights - 1e4)) == pytest.approx(bound - 1e4, abs=1e-8)


def test_a_sample_of_no_weight_counts_as_a_sample() -> None:
    log_weights = torch.tensor([[0.0], [-math.inf]])
    torch.testing.assert_close(importance_weighted_bound(log_weights), torch.tensor([-math.log(2)]))


class Tiny:
    """p(z) = N(0, 1), p(x | z) = N(s z, 1), q(z | x) = N(mu, e^logvar): one code of each of n images, all the same."""

    X = 1.3

    def __init__(self, n: int, mu: float = -0.4, logvar: float = 0.5) -> None:
        # One leaf for each replicate, so that autograd gives as many independent gradients.
        self.mu, self.logvar, self.slope = (
            torch.full((n, 1), value, dtype=torch.float64, requires_grad=True) for value in (mu, logvar, 0.7)
        )

    def gradients(self, samples: int, *, doubly: bool) -> tuple[Tensor, list[Tensor]]:
        """The bound of each replicate, (n,), and its gradients in mu, logvar and the decoder's slope, each (n,)."""
        q = DiagonalNormal(self.mu, self.logvar)
        z = q.rsample((samples,))
        log_joint = td.Normal(self.slope * z, 1.0).log_prob(torch.tensor(self.X, dtype=torch.float64)).sum(-1)
        log_joint = log_joint + td.Normal(0.0, 1.0).log_prob(z).sum(-1)
        if doubly:
            bound = doubly_reparameterized(log_joint - detached(q).log_prob(z), z)
        else:
            bound = importance_weighted_bound(log_joint - q.log_prob(z))
        gradients = torch.autograd.grad(bound.sum(), [self.mu, self.logvar, self.slope])
        return bound.detach(), [gradient.flatten() for gradient in gradients]


@pytest.mark.parametrize("samples", [1, 2, 8])
def test_doubly_reparameterized_has_the_value_of_the_bound_and_the_decoders_plain_gradient(samples: int) -> None:
    torch.manual_seed(5)
    bound, plain = Tiny(100).gradients(samples, doubly=False)
    torch.manual_seed(5)
    same, doubly = Tiny(100).gradients(samples, doubly=True)
    torch.testing.assert_close(same, bound)
    torch.testing.assert_close(doubly[2], plain[2])


def test_doubly_reparameterized_gradient_is_its_equation() -> None:
    torch.manual_seed(5)
    _, (d_mu, d_logvar, _) = Tiny(50).gradients(4, doubly=True)
    torch.manual_seed(5)
    tiny = Tiny(50)
    q = DiagonalNormal(tiny.mu.detach(), tiny.logvar.detach())
    z = q.rsample((4,))
    log_joint = td.Normal(0.7 * z, 1.0).log_prob(torch.tensor(Tiny.X, dtype=torch.float64)) + td.Normal(
        0.0, 1.0
    ).log_prob(z)
    weights = torch.softmax(log_joint.sum(-1) - q.log_prob(z), dim=0)
    # d log w / dz of the joint and of q, then dz / d mu = 1 and dz / d logvar = (z - mu) / 2.
    slope = 0.7 * (Tiny.X - 0.7 * z) - z + (z - q.mu) / q.variance
    torch.testing.assert_close(d_mu, (weights.square().unsqueeze(-1) * slope).sum((0, 2)))
    torch.testing.assert_close(d_logvar, (weights.square().unsqueeze(-1) * slope * (z - q.mu) / 2).sum((0, 2)))


@pytest.mark.parametrize("samples", [1, 5])
def test_doubly_reparameterized_gradient_has_the_plain_ones_expectation_and_less_noise(samples: int) -> None:
    n = 60_000
    _, plain = Tiny(n).gradients(samples, doubly=False)
    _, doubly = Tiny(n).gradients(samples, doubly=True)
    for one, other in zip(plain, doubly, strict=True):
        error = math.sqrt(float(one.var() + other.var()) / n)
        assert abs(float(one.mean() - other.mean())) <= 5 * error
    if samples > 1:
        assert all(
            float(other.var()) < 0.6 * float(one.var()) for one, other in zip(plain[:2], doubly[:2], strict=True)
        )


def test_doubly_reparameterized_gradient_of_one_sample_is_that_of_the_elbo() -> None:
    n = 60_000
    _, (d_mu, d_logvar, _) = Tiny(n).gradients(1, doubly=True)
    mu, logvar, slope = -0.4, 0.5, 0.7
    expected_mu = slope * (Tiny.X - slope * mu) - mu
    expected_logvar = 0.5 - 0.5 * math.exp(logvar) * (slope**2 + 1)
    for gradient, expected in ((d_mu, expected_mu), (d_logvar, expected_logvar)):
        assert abs(float(gradient.mean()) - expected) <= 5 * float(gradient.std()) / math.sqrt(n)


def test_doubly_reparameterized_gradient_has_no_noise_at_the_exact_posterior() -> None:
    precision = 1 + 0.7**2
    exact = Tiny(1000, mu=0.7 * Tiny.X / precision, logvar=-math.log(precision))
    bound, (d_mu, d_logvar, _) = exact.gradients(5, doubly=True)
    evidence = td.Normal(0.0, math.sqrt(precision)).log_prob(torch.tensor(Tiny.X, dtype=torch.float64))
    torch.testing.assert_close(bound, evidence.expand(1000), rtol=1e-6, atol=1e-6)
    for gradient in (d_mu, d_logvar):
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-12)
    _, (plain, _, _) = exact.gradients(5, doubly=False)
    assert float(plain.std()) > 0.1


def test_doubly_reparameterized_takes_codes_without_a_gradient() -> None:
    weight = torch.randn(3, 4, requires_grad=True)
    bound = doubly_reparameterized(weight, torch.randn(3, 4, 2))
    torch.testing.assert_close(bound, importance_weighted_bound(weight))
    (gradient,) = torch.autograd.grad(bound.sum(), weight)
    torch.testing.assert_close(gradient, torch.softmax(weight.detach(), dim=0))


# ------------------------------------------------------------------------------------------ stratified_log_weights


@pytest.mark.parametrize(
    ("batch", "images"), [(1, 1), (1, 100), (2, 2), (2, 9), (3, 3), (3, 60_000), (5, 5), (128, 60_000)]
)
def test_stratified_weights_of_each_code_sum_to_one(batch: int, images: int) -> None:
    weights = stratified_log_weights(batch, images, like=torch.empty(0, dtype=torch.float64)).exp()
    assert weights.shape == (batch, batch)
    torch.testing.assert_close(weights.sum(1), torch.ones(batch, dtype=torch.float64))
    assert (weights > 0).all()
    if batch > 1:
        torch.testing.assert_close(weights.diagonal(), torch.full((batch,), 1 / images, dtype=torch.float64))


@pytest.mark.parametrize("images", [2, 3, 4, 5])
@pytest.mark.parametrize("batch", [2, 3, 4, 5])
def test_stratified_weights_estimate_the_aggregate_posterior_without_bias(batch: int, images: int) -> None:
    batch = min(batch, images)  # a batch has no image twice
    log_weights = stratified_log_weights(batch, images, like=torch.empty(0, dtype=torch.float64))
    density = torch.rand(images, dtype=torch.float64)  # q(z | x_j) at some z
    for row in range(batch):
        for image in range(images):
            others = [j for j in range(images) if j != image]
            estimates = []
            for drawn in itertools.permutations(others, batch - 1):
                members = [*drawn[:row], image, *drawn[row:]]
                estimates.append(float((log_weights[row].exp() * density[members]).sum()))
            assert sum(estimates) / len(estimates) == pytest.approx(float(density.mean()), rel=1e-12)


@pytest.mark.parametrize("images", [0, 1, 3, torch.tensor(0), torch.tensor(2)])
def test_stratified_weights_take_a_set_smaller_than_the_batch_for_the_batch(images: int | Tensor) -> None:
    like = torch.empty(0, dtype=torch.float64)
    assert torch.equal(stratified_log_weights(4, images, like=like), stratified_log_weights(4, 4, like=like))


def test_stratified_weights_of_one_image_are_its_own() -> None:
    for images in (1, 100, torch.tensor(60_000)):
        assert torch.equal(stratified_log_weights(1, images, like=torch.empty(0)), torch.zeros(1, 1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_stratified_weights_take_a_number_or_a_tensor_and_the_dtype_asked_for(dtype: torch.dtype) -> None:
    like = torch.empty(0, dtype=dtype)
    weights = stratified_log_weights(3, 50, like=like)
    assert weights.dtype is dtype
    assert torch.equal(weights, stratified_log_weights(3, torch.tensor(50), like=like))


# ------------------------------------------------------------------------------------------------ kl_decomposition


def test_the_decomposition_by_hand() -> None:
    log_q = torch.randn(3, 3, 2, dtype=torch.float64)
    log_p = torch.randn(3, dtype=torch.float64)
    weights = torch.rand(3, 3, dtype=torch.float64) + 0.1
    got = kl_decomposition(log_q, log_p, weights.log())
    for i in range(3):
        joint = math.log(sum(weights[i, m] * math.exp(log_q[i, m].sum()) for m in range(3)))
        product = sum(math.log(sum(weights[i, m] * math.exp(log_q[i, m, d]) for m in range(3))) for d in range(2))
        expected = (float(log_q[i, i].sum()) - joint, joint - product, product - float(log_p[i]))
        assert [float(term[i]) for term in got] == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(seed=st.integers(0, 2**31), batch=st.integers(1, 6), images=st.integers(1, 100))
def test_the_parts_add_up_to_the_log_ratio(seed: int, batch: int, images: int) -> None:
    torch.manual_seed(seed)
    log_q, log_p = torch.randn(batch, batch, 3, dtype=torch.float64), torch.randn(batch, dtype=torch.float64)
    parts = kl_decomposition(log_q, log_p, stratified_log_weights(batch, images, like=log_q))
    assert all(part.shape == (batch,) for part in parts)
    torch.testing.assert_close(sum(parts), log_q.diagonal().sum(0) - log_p)


def test_posteriors_that_are_all_the_same_have_no_information_and_no_correlation() -> None:
    z = torch.randn(5, 2, dtype=torch.float64)
    log_q = td.Normal(0.3, 1.4).log_prob(z).unsqueeze(1).expand(5, 5, 2)
    log_p = td.Normal(0.0, 1.0).log_prob(z).sum(-1)
    weights = stratified_log_weights(5, 1000, like=z)
    information, correlation, dimensions = kl_decomposition(log_q, log_p, weights)
    for part in (information, correlation):
        torch.testing.assert_close(part, torch.zeros_like(part), rtol=0, atol=1e-9)
    torch.testing.assert_close(dimensions, log_q[:, 0].sum(-1) - log_p)


def test_the_parts_of_a_known_aggregate_are_the_known_ones() -> None:
    # Two images, one code dimension copied into both: the total correlation of q(z) is what the copy tells.
    mu = torch.tensor([[-4.0, -4.0], [4.0, 4.0]], dtype=torch.float64)
    n = 20_000
    which = torch.arange(n) % 2
    z = mu[which] + torch.randn(n, 2, dtype=torch.float64)
    posterior = td.Normal(mu, 1.0)
    log_two = math.log(2)
    parts: list[list[Tensor]] = [[], [], []]
    log_q = posterior.log_prob(z.unsqueeze(1))  # (n, 2 images, 2)
    log_p = td.Normal(0.0, 1.0).log_prob(z).sum(-1)
    weights = stratified_log_weights(2, 2, like=z)
    for pair in range(0, 400, 2):  # each batch is the whole set
        for store, part in zip(
            parts, kl_decomposition(log_q[pair : pair + 2], log_p[pair : pair + 2], weights), strict=True
        ):
            store.append(part)
    information, correlation, _ = (torch.cat(store).mean() for store in parts)
    # The images are far apart: the code tells which of two it is, and each dimension tells as much of the other.
    assert float(information) == pytest.approx(log_two, abs=1e-3)
    assert float(correlation) == pytest.approx(log_two, abs=1e-3)
