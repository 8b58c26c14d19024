"""The pure functions under every bound: against closed forms, torch, and Monte Carlo."""

from __future__ import annotations

import math

import pytest
import torch
import torch.distributions as td
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from mnistvae.distributions import DiagonalNormal
from mnistvae.losses import bernoulli_cross_entropy, gaussian_kl, kl_or_estimate, negative_elbo

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
