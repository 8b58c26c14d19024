"""DiagonalNormal and PixelBernoulli: torch distributions in all that torch promises of one."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.distributions as td
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mnistvae.distributions import DiagonalNormal, PixelBernoulli

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
