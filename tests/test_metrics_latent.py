"""Metrics of the latent space: against closed forms, brute force, and constructions whose answer is plain."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributions as td
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import mnistvae as mv
from mnistvae._random import derive_seed, seeded
from mnistvae.distributions import DiagonalNormal, PushForward, UnitNormal
from mnistvae.errors import ComponentError, DataError, SettingError, type_name
from mnistvae.losses import gaussian_kl, kl_decomposition
from mnistvae.metrics import information
from mnistvae.metrics.disentanglement import mig, sap
from mnistvae.metrics.information import kl_parts, mutual_information, total_correlation
from mnistvae.metrics.latent import active_units, unit_activity
from mnistvae.metrics.metric import Estimate


def normals(n: int, latent_dim: int, spread: float = 1.0, seed: int = 1) -> DiagonalNormal:
    """Posteriors that overlap: far from the ceiling of log N."""
    generator = torch.Generator().manual_seed(seed)
    mu = spread * torch.randn(n, latent_dim, generator=generator, dtype=torch.float64)
    return DiagonalNormal(mu, 0.5 * torch.randn(n, latent_dim, generator=generator, dtype=torch.float64))


def islands(sizes: list[int], latent_dim: int = 1) -> DiagonalNormal:
    """Groups of images that share a posterior, each group far from the others."""
    mu = 100.0 * torch.arange(len(sizes), dtype=torch.float64).repeat_interleave(torch.tensor(sizes))
    return DiagonalNormal(mu.unsqueeze(1).repeat(1, latent_dim), torch.zeros(len(mu), latent_dim, dtype=torch.float64))


def standard(latent_dim: int) -> UnitNormal:
    return UnitNormal(torch.zeros(latent_dim, dtype=torch.float64))


class Scaled(td.AffineTransform):
    """A transform as the flows have it."""

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self(x), self.log_abs_det_jacobian(x, self(x))


def pushed(q: DiagonalNormal) -> PushForward:
    """The posteriors ``q``, seen through an invertible map."""
    shift, scale = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([3.0, 0.2, -1.0])
    return PushForward(Scaled(shift[: q.event_shape[0]], scale[: q.event_shape[0]], event_dim=1), q)


def laplaces(q: DiagonalNormal) -> td.Independent[td.Laplace]:
    return td.Independent(td.Laplace(q.mu, q.stddev), 1)


def plain(q: DiagonalNormal) -> td.Independent[td.Normal]:
    return td.Independent(td.Normal(q.mu, q.stddev), 1)


def multivariate(q: DiagonalNormal) -> td.MultivariateNormal:
    return td.MultivariateNormal(q.mu, scale_tril=torch.diag_embed(q.stddev))


def low_rank(q: DiagonalNormal) -> td.LowRankMultivariateNormal:
    return td.LowRankMultivariateNormal(q.mu, 0.3 * torch.ones_like(q.mu).unsqueeze(-1), q.variance)


def near(estimate: Estimate, exact: float, errors: float = 4.0, slack: float = 0.0) -> bool:
    return abs(estimate.value - exact) <= errors * estimate.standard_error + slack


@pytest.fixture
def _no_chunks_to_speak_of(monkeypatch: pytest.MonkeyPatch) -> None:
    def three_rows(z: Tensor, numbers: int) -> Iterator[Tensor]:
        yield from torch.split(z, 3)

    monkeypatch.setattr(information, "_chunks", three_rows)


# ------------------------------------------------------------------------------------- unit_activity, active_units


def test_activity_is_the_unbiased_variance_of_the_means() -> None:
    means = torch.tensor([[0.0, 5.0, 1.0], [2.0, 5.0, 1.3], [4.0, 5.0, 1.0]])
    assert unit_activity(means).tolist() == pytest.approx([4.0, 0.0, 0.03])
    torch.testing.assert_close(unit_activity(means), means.double().var(0))


def test_units_are_active_above_the_threshold_only() -> None:
    means = torch.tensor([[0.0, 5.0, 1.0], [2.0, 5.0, 1.5]], dtype=torch.float64)  # variances 2, 0, 1/8
    assert active_units(means) == 2
    assert active_units(means, threshold=0.125) == 1
    assert active_units(means, threshold=2.0) == 0
    assert active_units(means, threshold=0.0) == 2
    assert isinstance(active_units(means), int)


@pytest.mark.parametrize(
    "form",
    [
        Tensor.float,
        Tensor.half,
        Tensor.numpy,
        lambda x: x.numpy()[::-1],
        lambda x: x.long(),
        lambda x: x.requires_grad_(),
        lambda x: np.broadcast_to(x.numpy(), x.shape),  # read-only
    ],
)
def test_means_come_in_many_forms(form: Callable[[Tensor], Any]) -> None:
    means = torch.randint(-8, 8, (20, 3)).double()
    activity = unit_activity(form(means.clone()))
    assert activity.dtype is torch.float64
    assert not activity.requires_grad
    torch.testing.assert_close(activity, means.var(0))


def test_a_dimension_far_from_zero_loses_no_digits() -> None:
    means = torch.tensor([[1e4], [1e4 + 0.25]])  # as float32 can hold them
    assert unit_activity(means).item() == 0.25**2 / 2


@pytest.mark.parametrize(
    ("means", "message"),
    [
        (torch.zeros(1, 3), "posterior means of at least 2 images, got 1"),
        (torch.zeros(5), r"shape \(N, latent_dim\), a row for each image, got shape \(5,\).*x\[:, None\]"),
        (torch.zeros(5, 2, 2), r"a row for each image, got shape \(5, 2, 2\)"),
        (torch.zeros(5, 0), r"got shape \(5, 0\)"),
        ({0: [0.0]}, "a torch tensor or a numpy array, got a dict"),
        (torch.zeros(5, 2, dtype=torch.bool), "real numbers, got dtype torch.bool"),
        (torch.zeros(5, 2, dtype=torch.complex64), "real numbers, got dtype torch.complex64"),
        (np.array([["a"], ["b"]]), "posterior means as numbers"),
    ],
    ids=str,
)
def test_means_that_are_none(means: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        active_units(means)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "figure",
    [unit_activity, active_units, lambda z: mig(z, [0, 1] * 3), lambda z: sap(z, [0, 1] * 3)],
    ids=["unit_activity", "active_units", "mig", "sap"],
)
def test_codes_that_are_not_finite_are_counted_and_found(figure: Callable[[Tensor], Any], value: float) -> None:
    codes = torch.randn(6, 3)
    codes[2, 1] = codes[5, 0] = codes[5, 2] = value
    with pytest.raises(DataError, match="NaN or infinity in 2 of 6, the first of them number 2"):
        figure(codes)


def test_the_threshold_is_a_variance() -> None:
    with pytest.raises(SettingError, match="threshold"):
        active_units(torch.zeros(2, 1), threshold=-0.1)


# ---------------------------------------------------------------------------------------------- mutual_information


@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=12).filter(lambda sizes: sum(sizes) > 1))
def test_the_information_of_islands_is_the_entropy_of_their_sizes(sizes: list[int]) -> None:
    shares = torch.tensor(sizes, dtype=torch.float64) / sum(sizes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the ceiling
        found = mutual_information(islands(sizes, latent_dim=2))
    assert found.value == pytest.approx(float(-(shares * shares.log()).sum()), abs=1e-12)


def test_the_information_of_posteriors_far_apart_is_log_n() -> None:
    with pytest.warns(UserWarning, match="as large as 50 images can show"):
        value, error = mutual_information(islands([1] * 50))
    assert value == pytest.approx(math.log(50), abs=1e-12)
    assert error == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("kind", [lambda q: q, plain, laplaces, multivariate, low_rank, pushed])
def test_posteriors_that_are_all_the_same_tell_nothing(kind: Callable[[DiagonalNormal], td.Distribution]) -> None:
    same = DiagonalNormal(torch.full((40, 3), 0.7).double(), torch.full((40, 3), -1.3).double())
    value, error = mutual_information(kind(same))
    assert value == pytest.approx(0.0, abs=1e-6)
    assert error == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("latent_dim", [1, 3])
def test_the_information_of_many_normals_is_that_of_a_channel_with_noise(latent_dim: int) -> None:
    # Means from N(0, 1.5^2) and noise of 0.8: each dimension is a Gaussian channel.
    mu = 1.5 * torch.randn(3000, latent_dim, dtype=torch.float64)
    q = DiagonalNormal(mu, torch.full_like(mu, 2 * math.log(0.8)))
    exact = latent_dim * 0.5 * math.log(1 + (1.5 / 0.8) ** 2)
    assert near(mutual_information(q), exact), "within 4 standard errors, of which each is some 0.02 nats"


def test_an_invertible_map_of_the_codes_changes_no_information() -> None:
    q = normals(60, 3)
    q_single = DiagonalNormal(q.mu.float(), q.logvar.float())
    generic = mutual_information(pushed(q_single))
    assert near(mutual_information(q), generic.value, slack=4 * generic.standard_error)
    assert generic.value > 0.5


@pytest.mark.parametrize("kind", [lambda q: q, plain, laplaces, multivariate, low_rank, pushed])
@pytest.mark.parametrize("n", [2, 3, 17])
def test_the_information_equals_brute_force(n: int, kind: Callable[[DiagonalNormal], td.Distribution]) -> None:
    q = kind(normals(n, 3))
    with seeded(derive_seed(5)):
        z = q.sample()
    log_q = torch.empty(n, n, dtype=torch.float64)
    for i in range(n):
        log_q[i] = q.log_prob(z[i].expand(n, 3))  # of the code of image i, under all posteriors
    ratios = log_q.diagonal() - log_q.logsumexp(1) + math.log(n)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value, error = mutual_information(q, seed=5)
    assert value == pytest.approx(float(ratios.mean()), rel=1e-9, abs=1e-9)
    assert error == pytest.approx(float(ratios.std()) / math.sqrt(n), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("logvar", [-60.0, -30.0, 30.0, 300.0])
def test_narrow_and_wide_posteriors_lose_no_digits(logvar: float) -> None:
    # Each posterior is there twice, so that the information is log(N / 2), to all digits.
    mu = (5 + torch.arange(20, dtype=torch.float64) * 40 * math.exp(logvar / 2)).repeat(2).unsqueeze(1)
    q = DiagonalNormal(mu, torch.full_like(mu, logvar))
    assert mutual_information(q).value == pytest.approx(math.log(20), abs=1e-9)


def test_posteriors_of_very_different_widths_overflow_nothing() -> None:
    q = DiagonalNormal(torch.zeros(6, 2), torch.linspace(-300, 300, 6).unsqueeze(1).repeat(1, 2))
    with pytest.warns(UserWarning, match="can show"):
        parts = kl_parts(q, DiagonalNormal(torch.zeros(2), torch.full((2,), 300.0)))
    assert parts.mutual_information.value == pytest.approx(math.log(6), abs=1e-3)
    assert parts.total_correlation.value == pytest.approx(math.log(6), abs=1e-3)  # either dimension tells the other
    assert all(math.isfinite(number) for part in parts for number in part)


def test_the_standard_error_is_the_scatter_between_seeds() -> None:
    q = normals(40, 2)
    found = [mutual_information(q, seed) for seed in range(200)]
    scatter = float(np.std([value for value, _ in found]))
    claimed = float(np.mean([error for _, error in found]))
    # The images stay the same here, so that the scatter is at most what is claimed for other images too.
    assert 0.5 * claimed < scatter < 1.1 * claimed
    assert len({value for value, _ in found}) == 200


@pytest.mark.parametrize("figure", [mutual_information, total_correlation, lambda q, s=0: kl_parts(q, standard(3), s)])
@pytest.mark.parametrize("kind", [lambda q: q, laplaces])
def test_a_seed_gives_the_same_figure_and_leaves_no_trace(
    figure: Callable[..., Any], kind: Callable[[DiagonalNormal], td.Distribution]
) -> None:
    q = kind(normals(30, 3))
    state = torch.get_rng_state()
    first = figure(q, 3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.randn(5)
    assert figure(q, 3) == first
    assert figure(q, 4) != first
    assert figure(q) == figure(q, 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_normals_in_less_than_double_precision_are_worked_out_in_double(dtype: torch.dtype) -> None:
    mu, logvar = normals(50, 3).mu.to(dtype), normals(50, 3).logvar.to(dtype)
    assert kl_parts(DiagonalNormal(mu, logvar), standard(3)) == kl_parts(
        DiagonalNormal(mu.double(), logvar.double()), standard(3)
    )


def test_no_gradient_is_kept() -> None:
    mu = torch.randn(10, 2, requires_grad=True)
    mutual_information(DiagonalNormal(mu, torch.zeros(10, 2)))
    assert mu.grad is None


def test_the_ceiling_is_said_where_the_caller_stands() -> None:
    near_it, below = islands([1] * 70 + [2] * 15), islands([1] * 60 + [2] * 20)  # 95.5 % and 94.0 % of log 100
    for figure in (mutual_information, total_correlation, lambda q: kl_parts(q, standard(1))):
        with pytest.warns(UserWarning, match=r"4\.40 nats.*100 images can show \(log N = 4\.61\)") as caught:
            figure(near_it)
        figure(below)  # or the warning would be an error
    with pytest.warns(UserWarning, match="can show") as caught:
        mutual_information(near_it)
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("posterior", "message"),
    [
        (td.Normal(torch.zeros(5, 2), 1.0), r"batch shape \(5, 2\) and event shape \(\).*Independent"),
        (td.Independent(td.Normal(torch.zeros(5, 2), 1.0), 2), r"batch shape \(\) and event shape \(5, 2\)"),
        (DiagonalNormal(torch.zeros(3, 5, 2), torch.zeros(3, 5, 2)), r"batch shape \(3, 5\)"),
        (td.Normal(torch.zeros(5), 1.0), r"batch shape \(5,\) and event shape \(\)"),
        (td.Independent(td.Normal(torch.zeros(5, 2, 2), 1.0), 2), r"batch shape \(5,\) and event shape \(2, 2\)"),
        (torch.zeros(5, 2), "got a Tensor"),
    ],
    ids=["not independent", "one event", "two batch dimensions", "numbers", "matrices", "no distribution"],
)
@pytest.mark.parametrize("figure", [mutual_information, total_correlation, lambda q: kl_parts(q, standard(2))])
def test_posteriors_of_another_shape(figure: Callable[[Any], Any], posterior: Any, message: str) -> None:
    with pytest.raises(ComponentError, match=message):
        figure(posterior)


@pytest.mark.parametrize("n", [0, 1])
def test_one_image_is_too_few(n: int) -> None:
    with pytest.raises(DataError, match=f"at least two images, got {n}"):
        mutual_information(DiagonalNormal(torch.zeros(n, 2), torch.zeros(n, 2)))


def test_posteriors_that_are_not_finite_are_counted_and_found() -> None:
    mu, logvar = torch.zeros(5, 2), torch.zeros(5, 2)
    mu[1, 0] = mu[3, 1] = math.nan
    with pytest.raises(DataError, match=r"finite codes drawn from the posterior, got .* 2 of 5, .* number 1"):
        mutual_information(DiagonalNormal(mu, logvar))
    logvar[4] = -math.inf
    with pytest.raises(DataError, match=r"finite log-densities of the posterior, got .* 1 of 5, .* number 4"):
        mutual_information(DiagonalNormal(torch.zeros(5, 2), logvar))


@pytest.mark.parametrize("seed", [-1, 0.5, True, 2**63])
def test_seeds_that_are_none(seed: Any) -> None:
    with pytest.raises(SettingError, match="seed"):
        mutual_information(normals(5, 2), seed)


# ----------------------------------------------------------------------------------------------- total_correlation


@pytest.mark.parametrize("rho", [0.0, 0.5, -0.9])
def test_the_correlation_of_a_normal_aggregate_is_the_known_one(rho: float) -> None:
    # All images have the one posterior, which is then the aggregate: nothing but the draws is random.
    covariance = torch.tensor([[4.0, 2 * rho], [2 * rho, 1.0]], dtype=torch.float64)
    q = td.MultivariateNormal(torch.ones(2000, 2, dtype=torch.float64), covariance)
    found = total_correlation(q)
    assert near(found, -0.5 * math.log(1 - rho**2), slack=1e-9)
    assert found.standard_error < 0.03


@pytest.mark.parametrize("kind", [lambda q: q, multivariate], ids=["diagonal", "multivariate"])
def test_the_correlation_of_correlated_means_is_nearly_that_of_the_normal_they_make(
    kind: Callable[[DiagonalNormal], td.Distribution],
) -> None:
    # Means from N(0, C) and noise of variance 1/2: q(z) tends to N(0, C + 1/2). With 2,000 images it is some 0.01 nats
    # away, less than the estimate's own error of 0.016.
    factor = torch.tensor([[2.0, 0.0, 0.0], [1.2, 1.0, 0.0], [0.0, -0.8, 1.0]], dtype=torch.float64)
    mu = torch.randn(2000, 3, dtype=torch.float64) @ factor.T
    covariance = factor @ factor.T + 0.5 * torch.eye(3, dtype=torch.float64)
    exact = 0.5 * float(covariance.diagonal().log().sum() - covariance.logdet())
    assert exact > 0.3
    found = total_correlation(kind(DiagonalNormal(mu, torch.full_like(mu, math.log(0.5)))))
    assert near(found, exact)


@pytest.mark.parametrize("kind", [lambda q: q, laplaces, multivariate])
def test_dimensions_that_know_nothing_of_each_other_have_none(
    kind: Callable[[DiagonalNormal], td.Distribution],
) -> None:
    # Every combination of 7 means and 5: the aggregate is a product, at every code.
    mu = torch.cartesian_prod(torch.randn(7).double(), 3 * torch.randn(5).double())
    value, error = total_correlation(kind(DiagonalNormal(mu, torch.zeros_like(mu))))
    assert value == pytest.approx(0.0, abs=1e-9)
    assert error == pytest.approx(0.0, abs=1e-9)


def test_one_dimension_has_none() -> None:
    assert total_correlation(normals(50, 1)).value == pytest.approx(0.0, abs=1e-12)


def test_dimensions_that_are_copies_tell_all_of_each_other() -> None:
    found = total_correlation(islands([50, 50], latent_dim=3))
    assert found.value == pytest.approx(2 * math.log(2), abs=1e-9)  # the second and the third tell what the first does


def test_a_posterior_without_a_density_for_each_dimension_is_refused() -> None:
    q = normals(20, 3)
    inner = td.Independent(multivariate(q), 0)  # an Independent in name only
    assert mutual_information(inner) == mutual_information(multivariate(q))
    for posterior in (pushed(q), inner):
        for figure in (total_correlation, lambda p: kl_parts(p, standard(3))):
            with pytest.raises(ComponentError, match=f"each dimension, got {type_name(posterior)}: .*mutual_inf"):
                figure(posterior)


# -------------------------------------------------------------------------------------------------------- kl_parts


@pytest.mark.parametrize("kind", [lambda q: q, plain, laplaces, multivariate, low_rank])
@pytest.mark.parametrize("n", [2, 3, 50])
def test_the_parts_add_up_to_the_whole(n: int, kind: Callable[[DiagonalNormal], td.Distribution]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        information, correlation, dimensions, kl = kl_parts(kind(normals(n, 3)), standard(3))
    assert information.value + correlation.value + dimensions.value == pytest.approx(kl.value, abs=1e-5)


@pytest.mark.parametrize("prior", [standard(3), DiagonalNormal(torch.ones(3), torch.tensor([0.0, 1.0, -1.0]))])
def test_the_whole_is_the_mean_kl_term(prior: DiagonalNormal) -> None:
    q = normals(2000, 3)
    exact = float(gaussian_kl(q.mu, q.logvar, prior.mu, prior.logvar).mean())
    parts = kl_parts(q, prior)
    # The images are the same on both sides, so that the draws alone make the difference.
    assert near(parts.kl, exact)
    three = parts.mutual_information.value + parts.total_correlation.value + parts.dimension_wise_kl.value
    assert abs(three - exact) < 4 * parts.kl.standard_error


@pytest.mark.parametrize("kind", [lambda q: q, plain, laplaces])
def test_the_parts_equal_those_of_training_where_the_batch_is_the_whole_set(
    kind: Callable[[DiagonalNormal], td.Independent[Any]],
) -> None:
    n = 40
    q, p = kind(normals(n, 3)), standard(3)
    with seeded(derive_seed(0)):
        z = q.sample()
    weights = torch.full((n, n), -math.log(n), dtype=torch.float64)
    expected = kl_decomposition(q.base_dist.log_prob(z.unsqueeze(1)), p.log_prob(z), weights)
    parts = kl_parts(q, p)
    for found, values in zip(parts, (*expected, q.log_prob(z) - p.log_prob(z)), strict=True):
        assert found.value == pytest.approx(float(values.mean()), abs=1e-9)
        assert found.standard_error == pytest.approx(float(values.std()) / math.sqrt(n), abs=1e-9)


def test_the_parts_of_one_known_normal() -> None:
    # Variances 4 and 1 and means 1, under N(0, 1): each part is known.
    covariance = torch.tensor([[4.0, 1.2], [1.2, 1.0]], dtype=torch.float64)
    parts = kl_parts(td.MultivariateNormal(torch.ones(4000, 2, dtype=torch.float64), covariance), standard(2))
    assert parts.mutual_information.value == pytest.approx(0.0, abs=1e-9)
    assert near(parts.total_correlation, -0.5 * math.log(1 - 0.36))
    by_dimension = gaussian_kl(torch.ones(2), torch.tensor([math.log(4.0), 0.0]))
    assert near(parts.dimension_wise_kl, float(by_dimension))
    assert parts.dimension_wise_kl.standard_error < 0.06


def test_each_part_is_what_its_own_function_says() -> None:
    q = normals(60, 3)
    parts = kl_parts(q, standard(3), seed=2)
    assert parts.mutual_information == pytest.approx(mutual_information(q, seed=2), rel=1e-12)
    assert parts.total_correlation == pytest.approx(total_correlation(q, seed=2), rel=1e-12)


def test_any_prior_with_independent_dimensions_will_do() -> None:
    q = normals(50, 3)
    parts = kl_parts(q, td.Independent(td.Laplace(torch.zeros(3), 1.0), 1))
    other = kl_parts(q, standard(3))
    assert parts[:2] == other[:2], "the prior is in the third part alone"
    assert parts.dimension_wise_kl != other.dimension_wise_kl


@pytest.mark.usefixtures("_no_chunks_to_speak_of")
@pytest.mark.parametrize("kind", [lambda q: q, laplaces, multivariate])
def test_the_chunks_change_nothing(
    kind: Callable[[DiagonalNormal], td.Distribution], monkeypatch: pytest.MonkeyPatch
) -> None:
    q = kind(normals(50, 3))
    in_threes = kl_parts(q, standard(3))
    monkeypatch.undo()
    for one, other in zip(in_threes, kl_parts(q, standard(3)), strict=True):
        assert one == pytest.approx(other, abs=1e-11)


@pytest.mark.parametrize("n", [100, 1000])
def test_memory_is_bounded(n: int) -> None:
    seen: list[int] = []

    class Watched(td.Laplace):
        def log_prob(self, value: Tensor) -> Tensor:
            seen.append(value.numel())
            return super().log_prob(value)

    mu = 0.1 * torch.randn(n, 20)
    kl_parts(td.Independent(Watched(mu, torch.ones(n, 20)), 1), standard(20))
    pairs = seen[1:]
    assert sum(pairs) == 2 * n * n * 20  # the joint and the product each see all pairs
    assert max(pairs) <= 2**17


def test_the_parts_of_a_model() -> None:
    data = mv.load_dataset("mnist-mini", "test")[:300]
    with seeded(0):
        model = mv.VAE(latent_dim=4)
    parts = kl_parts(model.encode(data.images), model.latent_prior())
    terms = model.loss(data.images)
    assert near(parts.kl, terms.kl.mean().item(), slack=1e-4)
    assert 0 <= parts.mutual_information.value < math.log(300)


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        (standard(2), r"event shape \(3,\), got a UnitNormal with batch shape \(\) and event shape \(2,\)"),
        (standard(3).expand((20,)), r"one prior for all images, batch shape \(\).* batch shape \(20,\)"),
        (td.Normal(torch.zeros(3), 1.0), r"batch shape \(3,\) and event shape \(\)"),
        (td.MultivariateNormal(torch.zeros(3), torch.eye(3)), "independent, got a MultivariateNormal: mutual_inf"),
        (td.Independent(td.MultivariateNormal(torch.zeros(3), torch.eye(3)), 0), "independent, got an Independent"),
        (mv.priors.GaussianMixture(3)(), "independent, got a MixtureSameFamily: mutual_information and total_corr"),
        (None, "got None"),
    ],
    ids=["other size", "per image", "not independent", "full", "full in disguise", "mixture", "none"],
)
def test_priors_that_have_no_parts(prior: Any, message: str) -> None:
    with pytest.raises(ComponentError, match=message):
        kl_parts(normals(20, 3), prior)


# ------------------------------------------------------------------------------------------------------------- mig

ten = torch.arange(1000) % 10


def columns(*values: Any) -> Tensor:
    return torch.stack([torch.as_tensor(value).double() for value in values], 1)


def test_the_gap_of_one_dimension_that_holds_the_label_is_one() -> None:
    assert mig(columns(ten, torch.zeros(1000)), ten) == pytest.approx(1.0, abs=1e-12)
    assert mig(columns(torch.ones(1000), -3 * ten + 7, torch.zeros(1000)), ten) == pytest.approx(1.0, abs=1e-12)


def test_the_gap_of_two_dimensions_that_hold_the_label_is_zero() -> None:
    assert mig(columns(ten, torch.zeros(1000), -5 * ten), ten) == pytest.approx(0.0, abs=1e-12)


def test_the_gap_of_one_dimension_is_to_nothing() -> None:
    assert mig(columns(ten), ten) == pytest.approx(1.0, abs=1e-12)
    assert mig(columns(ten // 5), ten) == pytest.approx(math.log(2) / math.log(10), abs=1e-12)


def test_the_gap_between_a_dimension_and_one_that_holds_half_of_it() -> None:
    four = torch.arange(400) % 4
    assert mig(columns(four // 2, four, four // 4), four) == pytest.approx(0.5, abs=1e-12)  # log 4 and log 2 of log 4


def test_the_entropy_is_that_of_the_labels_there_are() -> None:
    labels = torch.tensor([0] * 90 + [7] * 10)
    noise = columns(labels, torch.zeros(100))
    assert mig(noise, labels) == pytest.approx(1.0, abs=1e-12)


def test_dimensions_that_say_nothing_have_no_gap() -> None:
    assert mig(torch.zeros(1000, 3), ten) == 0.0
    noise = mig(torch.randn(1000, 3), ten)
    assert 0 <= noise < 0.05, "what counts of 1,000 images make of nothing"


def by_histogram(codes: np.ndarray[Any, Any], labels: np.ndarray[Any, Any], bins: int) -> float:
    """The same by numpy's own histogram, in sums of p log p."""

    def entropy(counts: np.ndarray[Any, Any]) -> float:
        p = counts[counts > 0] / counts.sum()
        return float(-(p * np.log(p)).sum())

    classes = np.unique(labels, return_inverse=True)[1]
    information = []
    for column in codes.T:
        joint = np.histogram2d(column, classes, bins=(bins, np.arange(classes.max() + 2) - 0.5))[0]
        information.append(entropy(joint.sum(1)) + entropy(joint.sum(0)) - entropy(joint))
    best, following = (
        sorted([*information, 0.0], reverse=True)[:2] if codes.shape[1] == 1 else sorted(information)[:-3:-1]
    )
    return (best - following) / entropy(np.bincount(classes))


@given(seed=st.integers(0, 2**31), n=st.integers(10, 80), latent_dim=st.integers(1, 4), bins=st.integers(2, 25))
def test_the_gap_equals_that_of_numpys_histogram(seed: int, n: int, latent_dim: int, bins: int) -> None:
    generator = np.random.default_rng(seed)
    labels = np.r_[0, 1, generator.integers(0, 3, n - 2)]
    codes = generator.normal(size=(n, latent_dim)) + labels[:, None] * generator.normal(size=latent_dim)
    assert mig(codes, labels, bins) == pytest.approx(by_histogram(codes, labels, bins), abs=1e-9)


def test_the_gap_is_of_twenty_bins_unless_told() -> None:
    codes = torch.randn(500, 3) + ten[:500, None] * torch.tensor([0.3, 0.1, 0.0])
    assert mig(codes, ten[:500]) == mig(codes, ten[:500], bins=20) != mig(codes, ten[:500], bins=10)


@pytest.mark.parametrize("figure", [mig, sap])
def test_the_gap_does_not_see_units_order_or_names(figure: Callable[..., float]) -> None:
    codes = torch.randn(300, 3).double() + ten[:300, None] * torch.tensor([0.5, 0.1, 0.0]).double()
    found = figure(codes, ten[:300])
    assert 0 < found < 1
    moved = codes[:, [2, 0, 1]] * torch.tensor([3.0, 8.0, 0.25]) + torch.tensor([1.0, -2.0, 0.0])
    assert figure(moved, 5 * ten[:300] - 7) == pytest.approx(found, abs=1e-9)
    assert figure(codes.numpy(), ten[:300].tolist()) == found


@pytest.mark.parametrize("figure", [mig, sap])
def test_the_gap_draws_nothing(figure: Callable[..., float]) -> None:
    states = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002 (the global one is what is looked at)
    codes = torch.randn(300, 3, generator=torch.Generator().manual_seed(0))
    assert figure(codes, ten[:300]) == figure(codes, ten[:300])
    assert torch.equal(torch.get_rng_state(), states[0])
    assert all(np.array_equal(one, same) for one, same in zip(np.random.get_state(), states[1], strict=True))  # noqa: NPY002


@pytest.mark.parametrize("figure", [mig, sap])
@pytest.mark.parametrize(
    ("codes", "labels", "message"),
    [
        (torch.randn(5, 2), [1, 1, 1, 1, 1], "at least two classes, got 1"),
        (torch.randn(5, 2), 3, "at least two classes, got 1"),
        (torch.randn(5, 2), [0, 1, 0, 1], r"one label for each of 5 images, shape \(5,\), got shape \(4,\)"),
        (torch.randn(5, 2), torch.rand(5), "labels as integers"),
        (torch.randn(0, 2), torch.zeros(0, dtype=torch.int64), "codes of at least 1 image, got 0"),
        (torch.randn(5), [0, 1, 0, 1, 0], r"codes of shape \(N, latent_dim\)"),
    ],
    ids=["one class", "one label", "too few labels", "no labels", "empty", "no dimensions"],
)
def test_codes_and_labels_that_do_not_fit(figure: Callable[..., float], codes: Any, labels: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        figure(codes, labels)


@pytest.mark.parametrize("bins", [1, 0, 2.5])
def test_bins_that_are_none(bins: Any) -> None:
    with pytest.raises(SettingError, match="bins"):
        mig(columns(ten, ten), ten, bins)


# ------------------------------------------------------------------------------------------------------------- sap


def test_the_gap_in_accuracy_of_one_dimension_that_holds_the_label() -> None:
    assert sap(columns(torch.zeros(1000), ten), ten) == pytest.approx(0.9)
    assert sap(columns((7 * ten) % 10, torch.zeros(1000)), ten) == pytest.approx(0.9)  # in any order along the axis
    assert sap(columns(ten), ten) == pytest.approx(0.9)


def test_the_gap_in_accuracy_of_copies_and_of_nothing_is_zero() -> None:
    assert sap(columns(ten, 2 * ten), ten) == 0.0
    assert sap(torch.zeros(1000, 2), ten) == 0.0
    assert sap(torch.zeros(1000, 1), ten) == pytest.approx(0.0, abs=1e-12)


def test_the_gap_in_accuracy_to_a_dimension_that_holds_half() -> None:
    four = torch.arange(400) % 4
    assert sap(columns(four, four // 2), four) == pytest.approx(0.5)  # 1 and 2/4
    assert sap(columns(four), four) == pytest.approx(0.75), "to the 1/4 of a dimension that says nothing"


def test_each_class_weighs_the_same() -> None:
    labels = torch.tensor([0] * 900 + [1] * 100)
    assert sap(columns(labels, torch.zeros(1000)), labels) == pytest.approx(0.5)  # and not 1 - 0.9
    # The rare class shares its place with as many of the other: told apart only where the classes weigh the same.
    mixed = columns([0.0] * 750 + [1.0] * 150 + [1.0] * 100, torch.zeros(1000))
    assert sap(mixed, labels) == pytest.approx((750 / 900 + 1) / 2 - 0.5)


def test_a_middle_class_needs_two_thresholds() -> None:
    three = torch.arange(300) % 3
    codes = columns(torch.tensor([0.0, 2.0, 1.0])[three], torch.zeros(300))
    assert sap(codes, three) == pytest.approx(2 / 3)


def test_thresholds_are_found_far_from_zero() -> None:
    far = columns(1e6 + 1e-3 * ten.double(), torch.zeros(1000))  # apart by less than float32 can tell
    assert sap(far, ten) == pytest.approx(0.9)


def test_real_digits_have_small_gaps() -> None:
    data = mv.load_dataset("mnist-mini", "test")[:1000]
    codes = torch.pca_lowrank(data.images.flatten(1).double() / 255, 10)[0]
    assert 0 < mig(codes, data.labels) < 0.2
    assert 0 < sap(codes, data.labels) < 0.2


def test_labels_that_are_many_for_so_few_codes_are_still_classes() -> None:
    codes = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert 0 <= sap(codes, torch.arange(60) % 40) <= 1
