"""Annealed importance sampling: against closed forms from both starts, its moves by themselves, and there and back."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.distributions as td
from scipy.stats import kstest
from test_linear_gaussian import (
    CLASSES,
    SHAPE,
    FreeEncoder,
    exact_vae,
    linear_vae,
    log_evidence,
    multivariate,
    true_posterior,
    unit_mixture,
)
from torch import Tensor, nn

import mnistvae as mv
from mnistvae import VAE, ConditionalVAE, ImageDataset, View
from mnistvae.errors import ComponentError, DataError, SettingError
from mnistvae.ladders import LadderDecoder, LadderEncoder, LadderPrior
from mnistvae.likelihoods import Bernoulli, ContinuousBernoulli, DiscretizedLogistic, Likelihood
from mnistvae.metrics import (
    ANNEALED_NLL,
    Bracket,
    annealed_importance_nll,
    bidirectional,
    bidirectional_gap,
    evaluate,
    importance_sampled_nll,
)
from mnistvae.metrics._hamiltonian import Hamiltonian, Point, anneal, leapfrog, transition
from mnistvae.metrics._paths import Annealing, temperatures_of
from mnistvae.metrics.annealing import annealed_estimate
from mnistvae.networks import CategoricalEncoder, Encoder, FullNormalEncoder, GaussianEncoder, VonMisesFisherEncoder
from mnistvae.objectives import ELBO
from mnistvae.priors import Flow, GaussianMixture, VampPrior

STARTS = ("posterior", "prior")


def pictures(n: int = 12, shape: tuple[int, int, int] = SHAPE, classes: int = CLASSES) -> ImageDataset:
    generator = torch.Generator().manual_seed(1)
    return ImageDataset(torch.rand(n, *shape, generator=generator), torch.arange(n) % classes)


def pixels(data: ImageDataset) -> Tensor:
    return data.images.double() / 255


def off_by(shift: float, logvar: float = 0.0, num_classes: int | None = None) -> VAE:
    """The linear model, whose encoder is off by so many units of the code, and by so much in the log-variance."""
    vae = exact_vae(ELBO(), num_classes=num_classes)
    with torch.no_grad():
        vae.encoder.bias += shift  # type: ignore[operator]
        vae.encoder.logvar += logvar  # type: ignore[operator]
    return vae


# ------------------------------------------------------------------------------------------------- the closed form


@pytest.mark.parametrize("schedule", ["sigmoid", "linear"])
@pytest.mark.parametrize("start", STARTS)
def test_it_is_the_closed_form_of_a_linear_gaussian_model(start: Any, schedule: Any) -> None:
    vae, data = off_by(0.3, 0.5), pictures()
    truth = -log_evidence(pixels(data))
    estimate = annealed_importance_nll(
        vae, data, num_chains=64, num_temperatures=60, leapfrog_steps=3, start=start, schedule=schedule
    )
    assert estimate.nll.dtype == torch.float64
    assert estimate.sampling_error < 0.04
    assert estimate.mean == pytest.approx(float(truth.mean()), abs=4 * estimate.sampling_error)
    errors = (1 / estimate.effective_samples - 1 / 64).clamp_min(0).sqrt()
    assert bool(((estimate.nll - truth).abs() < 5 * errors + 0.01).all())
    assert bool((estimate.effective_samples > 20).all())


def test_a_bad_encoder_ruins_importance_samples_and_not_this() -> None:
    vae, data = off_by(2.0, -2.0), pictures()
    truth = float(-log_evidence(pixels(data)).mean())
    chains, temperatures, steps = 16, 200, 3
    with pytest.warns(UserWarning, match="or annealed_importance_nll, which needs no good posterior"):
        plain = importance_sampled_nll(vae, data, 20 * temperatures * steps)
    assert plain.mean > truth + 20
    for start, within in (("posterior", 0.3), ("prior", 0.2)):
        estimate = annealed_importance_nll(
            vae,
            data,
            num_chains=chains,
            num_temperatures=temperatures,
            leapfrog_steps=steps,
            start=start,  # type: ignore[arg-type]
        )
        assert estimate.mean == pytest.approx(truth, abs=within)


def test_with_the_true_posterior_it_is_log_p_at_every_draw() -> None:
    data = pictures()
    estimate = annealed_importance_nll(exact_vae(ELBO()), data, num_chains=3, num_temperatures=7)
    torch.testing.assert_close(estimate.nll, -log_evidence(pixels(data)), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(estimate.effective_samples, torch.full((12,), 3.0, dtype=torch.float64))


def test_two_temperatures_are_importance_samples() -> None:
    vae, data = off_by(0.4, 0.4), pictures(10)
    estimate = annealed_importance_nll(vae, data, num_chains=40, num_temperatures=2, seed=3)
    x = data.images.float() / 255
    with torch.no_grad():
        q = vae.encode(x)
        torch.manual_seed(3)
        z = q.sample(torch.Size([50]))[:40]  # ten more look for a step, of which there is none
        log_p = torch.stack([vae.decode(code).log_prob(x) for code in z])
        log_weights = log_p + vae.latent_prior().log_prob(z) - q.log_prob(z)
    torch.testing.assert_close(estimate.nll, math.log(40) - log_weights.logsumexp(0))
    shares = log_weights.softmax(0)
    torch.testing.assert_close(estimate.effective_samples, 1 / shares.square().sum(0))
    assert bool(estimate.acceptance.isnan().all())


@pytest.mark.parametrize("start", STARTS)
def test_the_mean_weight_is_the_likelihood(start: Any) -> None:
    # With few temperatures and many chains: nothing but the mean is near the truth.
    vae, data, chains = off_by(0.5, 0.6), pictures(3), 6000
    estimate = annealed_importance_nll(
        vae, data, num_chains=chains, num_temperatures=6, leapfrog_steps=2, start=start, seed=1
    )
    ratio = (-log_evidence(pixels(data)) - estimate.nll).exp()
    error = (1 / estimate.effective_samples - 1 / chains).sqrt()
    assert float(error.max()) < 0.06
    assert bool(((ratio - 1).abs() < 4 * error).all()), (ratio, error)


def test_the_sampling_error_is_what_repeating_shows() -> None:
    vae, data = off_by(0.5, 0.6), pictures(6)
    found = [annealed_importance_nll(vae, data, num_temperatures=8, leapfrog_steps=2, seed=seed) for seed in range(40)]
    spread = torch.tensor([estimate.mean for estimate in found]).std()
    claimed = torch.tensor([estimate.sampling_error for estimate in found]).mean()
    assert 0.6 < float(spread / claimed) < 1.5
    assert found[0].standard_error == pytest.approx(float(found[0].nll.std()) / math.sqrt(6))


def test_more_temperatures_are_nearer_the_truth() -> None:
    vae, data = off_by(0.0), pictures(40)
    truth = float(-log_evidence(pixels(data)).mean())
    how: dict[str, Any] = {"num_chains": 2, "leapfrog_steps": 3, "start": "prior"}
    off = [annealed_importance_nll(vae, data, num_temperatures=t, **how).mean - truth for t in (3, 10, 40, 160)]
    assert off == sorted(off, reverse=True)
    assert off[0] > 1
    assert off[-1] == pytest.approx(0, abs=0.12)


# -------------------------------------------------------------------------------------------------- there and back


def test_the_mean_weight_of_the_way_back_is_one_over_the_likelihood() -> None:
    vae, draws = off_by(0.3, 0.4), 4000
    x = pixels(pictures(1)).expand(draws, -1, -1, -1)
    mu, logvar = true_posterior(x)
    for start in STARTS:
        annealing = Annealing.checked(1, 20, 2, start, "sigmoid")  # type: ignore[arg-type]
        with torch.no_grad():
            begin = vae.encode(x) if start == "posterior" else vae.latent_prior()
            kind = annealing.path(vae, x, None, begin)
            z = mu + (0.5 * logvar).exp() * torch.randn_like(mu)
            scale = math.sqrt(float(logvar.exp().mean())) if start == "prior" else 1.0
            steps = torch.full((18, draws), 0.9 * scale, dtype=torch.float64)
            ratio = (annealing.down(kind, z, steps).log_weights[0] + log_evidence(x)).exp()
        error = ratio.std() / math.sqrt(draws)
        assert 0.001 < error < 0.1
        assert (ratio.mean() - 1).abs() < 4 * error, (start, ratio.mean(), error)


@pytest.mark.parametrize("start", STARTS)
def test_the_bracket_holds_the_closed_form_and_closes(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    vae, seen = off_by(0.8, 0.8), []
    drawn = bidirectional._drawn
    monkeypatch.setattr(bidirectional, "_drawn", lambda *args: seen.append(drawn(*args)) or seen[-1])
    gaps = []
    for temperatures in (3, 20, 150):
        seen.clear()
        bracket = bidirectional_gap(
            vae, 60, num_chains=8, num_temperatures=temperatures, leapfrog_steps=3, start=start, seed=2
        )
        truth = log_evidence(torch.cat(seen))
        assert len(truth) == 60
        for side in (truth - bracket.lower, bracket.upper - truth):
            assert float(side.mean()) > -4 * float(side.std()) / math.sqrt(60)
        gaps.append(bracket.mean_gap)
    assert gaps[0] > 2 * gaps[1] > 4 * gaps[2]
    assert gaps[0] > 0.5
    assert 0 < gaps[2] < 0.15
    for bound in (bracket.lower, bracket.upper):
        assert float((bound - truth).abs().median()) < 0.2


def test_the_figures_of_a_bracket() -> None:
    lower, upper = torch.tensor([-3.0, -5.0, -4.0]).double(), torch.tensor([-2.0, -5.5, -1.0]).double()
    bracket = Bracket(lower, upper, "gaussian")
    torch.testing.assert_close(bracket.gap, torch.tensor([1.0, -0.5, 3.0]).double())
    assert bracket.mean == (-4.0, pytest.approx(-8.5 / 3))
    assert bracket.mean_gap == pytest.approx(3.5 / 3)
    assert bracket.standard_error == pytest.approx(float(bracket.gap.std()) / math.sqrt(3))
    assert math.isnan(Bracket(lower[:1], upper[:1], "").standard_error)


def test_labels_go_round_the_classes_and_tags_say_what_was_drawn() -> None:
    vae = off_by(0.5, 0.5, CLASSES)
    bracket = bidirectional_gap(vae, 30, num_temperatures=60, leapfrog_steps=3)
    assert -0.05 < bracket.mean_gap < 0.1
    assert bracket.tag == "gaussian-given-label"
    torch.manual_seed(0)
    for likelihood, tag in (
        (Bernoulli(), "binarized-static"),
        (ContinuousBernoulli(), "continuous-bernoulli"),
        (DiscretizedLogistic(), "discretized-logistic-256"),
    ):
        small = VAE(2, (1, 4, 4), likelihood=likelihood)
        assert bidirectional_gap(small, 3, num_chains=2, num_temperatures=3).tag == tag


class GreyDraws(td.Independent):  # type: ignore[type-arg]
    pass


class Grey(Likelihood):
    """Says that its figures are cross-entropy, and draws grey pixels."""

    n_params = 1

    def forward(self, params: Tensor) -> td.Distribution:
        return GreyDraws(td.ContinuousBernoulli(logits=params, validate_args=False), 3, validate_args=False)

    def tag(self, binarization: str = "none") -> str:
        return "grey-bce"


class Undrawn(Grey):
    def forward(self, params: Tensor) -> td.Distribution:
        return NoSample(super().forward(params))  # type: ignore[arg-type]


class NoSample(td.Distribution):
    def __init__(self, base: td.Distribution) -> None:
        self.base = base
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    mean = property(lambda self: self.base.mean)  # type: ignore[assignment]

    def log_prob(self, value: Tensor) -> Tensor:
        return self.base.log_prob(value)


def test_draws_without_a_density_are_refused() -> None:
    with pytest.raises(ComponentError, match="grey images under the tag 'grey-bce', whose exponential is no density"):
        bidirectional_gap(VAE(2, (1, 4, 4), likelihood=Grey()), 2)
    with pytest.raises(ComponentError, match="a likelihood that draws images, got a NoSample without a sample method"):
        bidirectional_gap(VAE(2, (1, 4, 4), likelihood=Undrawn()), 2)


# ------------------------------------------------------------------------------------------------------- the moves


def banana(z: Tensor) -> Point:
    """N(0, I) in the codes (a, b + a^2 / 2), tilted away from N(0, 4 I)."""
    with torch.enable_grad():
        leaf = z.detach().requires_grad_()
        base = -leaf.square().sum(-1) / 8
        a, b = leaf.unbind(-1)
        tilt = -0.5 * (a.square() + (b + a.square() / 2).square()) - base
        slopes = [torch.autograd.grad(part.sum(), leaf, retain_graph=True)[0] for part in (base, tilt)]
    return Point(z, base.detach(), tilt.detach(), *slopes)


KIND = Hamiltonian(banana, 4, torch.tensor([[1.0, 0.8]], dtype=torch.float64))


def test_moves_leave_their_density_as_it_is() -> None:
    noise = torch.randn(4000, 1, 2, dtype=torch.float64)
    codes = torch.stack([noise[..., 0], noise[..., 1] - noise[..., 0].square() / 2], dim=-1)
    here, shares = banana(codes), []
    for _ in range(6):
        here, probability, accepted = transition(KIND, here, 1.0, torch.tensor([0.9], dtype=torch.float64))
        shares.append(float(probability.mean()))
        assert float(accepted.double().mean()) == pytest.approx(shares[-1], abs=0.04)
        assert (here.z[:, 0] != codes[:, 0]).any(-1).double().mean() > 0.5
    assert 0.4 < sum(shares) / 6 < 0.9  # so that leaving the choice out would show
    a, b = here.z[:, 0].unbind(-1)
    for values in (a, b + a.square() / 2):
        assert kstest(values.numpy(), "norm").pvalue > 1e-3
    torch.testing.assert_close(here, banana(here.z))  # and what is told of the codes is theirs


def test_the_way_can_be_walked_back() -> None:
    here, momentum = banana(torch.randn(5, 1, 2, dtype=torch.float64)), torch.randn(5, 1, 2, dtype=torch.float64)
    step = torch.full((5, 1), 0.3, dtype=torch.float64)
    there, last = leapfrog(KIND, here, momentum, 0.7, step)
    assert (there.z - here.z).abs().min() > 1e-3
    back, first = leapfrog(KIND, there, -last, 0.7, step)
    torch.testing.assert_close(back.z, here.z, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(-first, momentum, rtol=1e-10, atol=1e-10)


def test_the_way_preserves_volume_and_nearly_the_energy() -> None:
    step = torch.full((1, 1), 0.2, dtype=torch.float64)

    def flow(state: Tensor) -> Tensor:
        there, last = leapfrog(KIND, banana(state[None, None, :2]), state[None, None, 2:], 0.7, step)
        return torch.cat([there.z.flatten(), last.flatten()])

    state, h = torch.tensor([0.3, -0.8, 0.5, 1.1], dtype=torch.float64), 1e-5
    columns = [(flow(state + h * unit) - flow(state - h * unit)) / (2 * h) for unit in torch.eye(4).double()]
    assert float(torch.linalg.det(torch.stack(columns, dim=1))) == pytest.approx(1.0, abs=1e-7)

    def energy(at: Tensor) -> float:
        return float(0.5 * at[2:].square().sum() - banana(at[None, None, :2]).log_density(0.7))

    assert energy(flow(state)) == pytest.approx(energy(state), abs=0.02)
    assert energy(flow(state)) != energy(state)


def test_the_step_follows_the_share_of_accepted_moves() -> None:
    vae = off_by(0.3)
    with torch.no_grad():
        vae.encoder.bias[0] += 0.5  # type: ignore[index]
    estimate = annealed_importance_nll(vae, pictures(), num_temperatures=400, leapfrog_steps=2, start="prior")
    assert float(estimate.acceptance.mean()) == pytest.approx(0.8, abs=0.05)
    assert bool((estimate.acceptance > 0.7).all())


def test_steps_that_are_known_are_taken_as_they_are() -> None:
    start, temperatures = 2 * torch.randn(50, 3, 2, dtype=torch.float64), temperatures_of(12, "linear")
    torch.manual_seed(0)
    first = anneal(KIND, start, temperatures, scouts=10)
    assert first.log_weights.shape == (40, 3)
    assert first.steps.shape == (10, 3)
    assert first.steps.unique(dim=0).shape == (10, 3)
    torch.manual_seed(0)
    again = anneal(KIND, start, temperatures, steps=first.steps)
    torch.testing.assert_close(again.log_weights[:40], first.log_weights)
    torch.testing.assert_close(again.steps, first.steps)


def test_the_steps_depend_on_the_scouts_alone() -> None:
    start, temperatures = torch.randn(12, 3, 2, dtype=torch.float64), temperatures_of(12, "linear")
    steps = []
    for shift in (0.0, 1.0):
        torch.manual_seed(0)
        steps.append(anneal(KIND, start + shift * (torch.arange(12) < 8)[:, None, None], temperatures, scouts=4).steps)
    assert torch.equal(*steps)


def test_the_way_back_is_made_of_the_moves_of_the_way_there(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[float, float]] = []

    def recorded(kind: Hamiltonian, here: Point, beta: float, step: Tensor) -> Any:
        seen.append((beta, float(step[0])))
        return transition(kind, here, beta, step)

    monkeypatch.setattr("mnistvae.metrics._hamiltonian.transition", recorded)
    bidirectional_gap(off_by(0.5), 1, num_temperatures=10)
    assert len(seen) == len(set(seen[:8])) + 8 == 16
    assert seen[8:] == seen[:8][::-1]


def test_ways_to_infinity_are_not_taken() -> None:
    def checked(z: Tensor) -> Point:
        assert bool(z.isfinite().all())
        return banana(z)

    start, steps = torch.randn(20, 1, 2, dtype=torch.float64), torch.full((3, 1), 1e200, dtype=torch.float64)
    found = anneal(KIND._replace(evaluate=checked), start, temperatures_of(5, "linear"), steps=steps)
    assert float(found.acceptance) == 0
    torch.testing.assert_close(found.log_weights, banana(start).tilt)


def test_temperatures() -> None:
    assert temperatures_of(5, "linear") == [0.0, 0.25, 0.5, 0.75, 1.0]
    for schedule in ("sigmoid", "linear"):
        for number in (2, 3, 100):
            found = temperatures_of(number, schedule)  # type: ignore[arg-type]
            assert (len(found), found[0], found[-1]) == (number, 0.0, 1.0)
            assert found == sorted(set(found))
            torch.testing.assert_close(torch.tensor(found), 1 - torch.tensor(found[::-1]))
    ends = (torch.tensor([-4.0, -2.0, 4.0]).double()).sigmoid()
    assert temperatures_of(5, "sigmoid")[1] == pytest.approx(float((ends[1] - ends[0]) / (ends[2] - ends[0])))


# ------------------------------------------------------------------------------------------------------ other parts


def assert_annealing_agrees(vae: VAE, data: ImageDataset, samples: int = 20_000, **how: Any) -> None:
    """Annealing from both starts, and many importance samples, agree."""
    plain = importance_sampled_nll(vae, data, samples)
    for start in STARTS:
        found = annealed_importance_nll(
            vae,
            data,
            num_chains=24,
            start=start,  # type: ignore[arg-type]
            **{"num_temperatures": 40, "leapfrog_steps": 3, **how},
        )
        assert found.mean == pytest.approx(plain.mean, abs=4 * (found.sampling_error + plain.sampling_error) + 0.02)


def test_labels_of_a_conditional_model() -> None:
    vae, data = off_by(0.4, 0.4, CLASSES), pictures(9)
    truth = -log_evidence(pixels(data), data.labels)
    for start in STARTS:
        estimate = annealed_importance_nll(vae, data, num_chains=32, num_temperatures=60, start=start)  # type: ignore[arg-type]
        errors = (1 / estimate.effective_samples - 1 / 32).sqrt()
        assert bool(((estimate.nll - truth).abs() < 4 * errors).all())
    assert float((truth - truth.roll(1)).abs().min()) > 0.5
    with pytest.raises(DataError, match="labels for a conditional model"):
        annealed_importance_nll(vae, ImageDataset(data.images))


def small(prior: Any = None, **parts: Any) -> VAE:
    torch.manual_seed(0)
    return VAE(2, (1, 4, 4), prior=prior, **parts)


@pytest.mark.parametrize("prior", [lambda: GaussianMixture(2, 3, "full"), lambda: VampPrior(4)])
def test_mixtures_as_priors(prior: Any) -> None:
    assert_annealing_agrees(small(prior()), pictures(6, (1, 4, 4)))


def test_a_vampprior_that_sees_labels() -> None:
    torch.manual_seed(0)
    assert_annealing_agrees(ConditionalVAE(2, CLASSES, (1, 4, 4), prior=VampPrior(3)), pictures(6, (1, 4, 4)))


def test_a_flow_as_a_prior() -> None:
    pytest.importorskip("zuko")
    vae = small(Flow(2, transforms=2, hidden=(8,)))
    with torch.no_grad():
        for parameter in vae.prior.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    assert_annealing_agrees(vae, pictures(4, (1, 4, 4)), 5_000)


def test_a_ladder() -> None:
    torch.manual_seed(0)
    levels, shape = (1, 2), (1, 4, 4)
    parts = {
        "encoder": LadderEncoder(levels, shape, 8),
        "prior": LadderPrior(levels, 8),
        "decoder": LadderDecoder(levels, shape, 8),
    }
    vae = VAE(3, shape, **parts)  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in vae.prior.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    assert_annealing_agrees(vae, pictures(4, shape), 5_000)


def test_correlated_posteriors_and_other_likelihoods() -> None:
    trunk = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU())
    assert_annealing_agrees(
        small(encoder=FullNormalEncoder(trunk, 2), likelihood=ContinuousBernoulli()), pictures(5, (1, 4, 4))
    )
    assert_annealing_agrees(small(likelihood=DiscretizedLogistic()), pictures(3, (1, 4, 4)), 5_000)


# ----------------------------------------------------------------------------------------------- how it is computed


def test_the_seed_decides_and_nothing_is_left_behind() -> None:
    vae, data = off_by(0.3, 0.3), pictures()
    vae.train()
    state = torch.get_rng_state()
    how: dict[str, Any] = {"num_chains": 3, "num_temperatures": 5}
    a, b, c = (annealed_importance_nll(vae, data, seed=seed, **how).nll for seed in (4, 4, 5))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    gaps = [bidirectional_gap(vae, 5, seed=seed, **how).gap for seed in (4, 4, 5)]
    assert torch.equal(gaps[0], gaps[1])
    assert not torch.equal(gaps[0], gaps[2])
    assert torch.equal(torch.get_rng_state(), state)
    assert vae.training
    assert torch.is_grad_enabled()
    assert all(parameter.grad is None for parameter in vae.parameters())


def test_codes_at_once_change_memory_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    vae, data = off_by(0.3, 0.3), pictures(1)
    how: dict[str, Any] = {"num_chains": 9, "num_temperatures": 12, "leapfrog_steps": 2}
    whole = annealed_importance_nll(vae, data, **how).nll
    monkeypatch.setattr("mnistvae.metrics._paths._CODES", 4)
    rows: list[int] = []
    decode = vae.decode
    monkeypatch.setattr(vae, "decode", lambda z, y=None: rows.append(len(z)) or decode(z, y))
    torch.testing.assert_close(annealed_importance_nll(vae, data, **how).nll, whole, rtol=1e-9, atol=1e-9)
    assert max(rows) == 4
    assert sum(rows) == 11 * (1 + 10 * 2)  # two chains look for the step
    rows.clear()
    many = annealed_importance_nll(vae, pictures(), **how).nll  # an image after the other
    torch.testing.assert_close(many, -log_evidence(pixels(pictures())), atol=0.6, rtol=0)
    assert max(rows) == 4


def test_the_size_of_a_views_batches_changes_nothing() -> None:
    vae, data = off_by(0.3, 0.3), pictures()
    found = [annealed_estimate(View(vae, data, batch_size=size), num_temperatures=6).nll for size in (5, 512)]
    torch.testing.assert_close(found[0], found[1])


def test_progress_counts_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mnistvae.metrics._paths._CODES", 30)
    done: list[int] = []
    annealed_importance_nll(off_by(0.0), pictures(), num_chains=4, num_temperatures=3, done=done.append)
    assert done == [5, 5, 2]
    done.clear()
    bidirectional_gap(off_by(0.0), 7, num_chains=4, num_temperatures=3, done=done.append)
    assert done == [5, 2]


def test_it_works_under_inference_mode_and_without_gradients() -> None:
    vae, data = off_by(0.3, 0.3), pictures(4)
    how: dict[str, Any] = {"num_chains": 3, "num_temperatures": 5}
    expected, gap = annealed_importance_nll(vae, data, **how).nll, bidirectional_gap(vae, 3, **how).gap
    for mode in (torch.inference_mode, torch.no_grad):
        with mode():
            assert torch.equal(annealed_importance_nll(vae, data, **how).nll, expected)
            assert torch.equal(bidirectional_gap(vae, 3, **how).gap, gap)


def test_a_metric_that_is_asked_for_by_name() -> None:
    vae = small()
    assert ANNEALED_NLL.name not in {metric.name for rows in mv.metrics.METRICS.values() for metric in rows}
    found = evaluate(
        vae, pictures(3, (1, 4, 4)), include=[], metrics=["mnistvae.metrics:ANNEALED_NLL"], binarization="threshold"
    )
    score = found.score("ais_nll")
    assert (score.unit, score.better, score.tag) == ("nats", "lower", "binarized-threshold")
    assert "16 chains" in score.protocol
    expected = importance_sampled_nll(vae, pictures(3, (1, 4, 4)).binarized("threshold"), 5_000)
    assert score.value == pytest.approx(expected.mean, abs=0.05)


def test_few_effective_chains_are_told() -> None:
    with pytest.warns(UserWarning, match=r"rests on fewer than 2 of 8 chains, .*: take more temperatures"):
        annealed_importance_nll(off_by(3.0, -2.0), pictures(), num_chains=8, num_temperatures=3)


# ----------------------------------------------------------------------------------------------------- what is wrong


@pytest.mark.parametrize("work", [lambda **how: annealed_importance_nll(off_by(0.0), pictures(), **how),
                                  lambda **how: bidirectional_gap(off_by(0.0), **how)])  # fmt: skip
@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"num_chains": 0}, "num_chains as an integer of at least 1, got 0"),
        ({"num_chains": True}, "num_chains as an integer of at least 1, got True"),
        (
            {"num_temperatures": 1},
            "num_temperatures as an integer of at least 2, got 1: the first is 0 and the last is 1",
        ),
        ({"leapfrog_steps": 0}, "leapfrog_steps as an integer of at least 1"),
        ({"start": "encoder"}, "start as one of 'posterior', 'prior', got 'encoder'"),
        ({"schedule": "cosine"}, "schedule as one of 'sigmoid', 'linear', got 'cosine'"),
        ({"seed": -1}, "seed as an integer of at least 0"),
    ],
)
def test_settings_that_make_no_sense(work: Any, how: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        work(**how)


def test_no_images_to_draw() -> None:
    with pytest.raises(SettingError, match="num_images as an integer of at least 1, got 0"):
        bidirectional_gap(off_by(0.0), 0)


class Broken(nn.Module):
    """Gives NaN for some images."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.where((x.flatten(1)[:, :1] > 0.5), torch.nan, x.flatten(1)[:, :4])


def test_a_broken_model_is_named_and_not_averaged_away() -> None:
    vae, data = small(encoder=GaussianEncoder(Broken(), 2)), pictures(40, (1, 4, 4))
    bad = (data.images[:, 0, 0, 0] > 127).nonzero()[:, 0]
    message = f"got NaN or infinity in {len(bad)} of 40, the first of them number {int(bad[0])}"
    with pytest.raises(DataError, match=message):
        annealed_importance_nll(vae, data, num_chains=2, num_temperatures=4)
    with torch.no_grad():
        vae.likelihood, whole = Bernoulli(), small()
        for parameter in whole.decoder.parameters():
            parameter.fill_(math.nan)
    with pytest.raises(DataError, match="NaN or infinity in 2 of 2"):
        bidirectional_gap(whole, 2, num_chains=2, num_temperatures=4)


class Told(td.Independent):  # type: ignore[type-arg]
    """A posterior whose density is computed outside of torch."""

    def log_prob(self, value: Tensor) -> Tensor:
        return super().log_prob(value.detach())


class Silent(td.Independent):  # type: ignore[type-arg]
    def log_prob(self, value: Tensor) -> Tensor:
        raise NotImplementedError


class OfClass(Encoder):
    latent_dim = 2

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.kind = kind
        self.map = nn.Linear(16, 2)

    def forward(self, x: Tensor, y: Tensor | None = None) -> td.Distribution:
        q: td.Distribution = self.kind(td.Normal(self.map(x.flatten(1)), 1.0, validate_args=True), 1)
        return q


@pytest.mark.parametrize(("kind", "got"), [(Told, "without a gradient"), (Silent, "without a log_prob")])
def test_a_posterior_that_cannot_be_a_start(kind: Any, got: str) -> None:
    vae, data = small(encoder=OfClass(kind)), pictures(3, (1, 4, 4))
    message = rf"a posterior whose log_prob has a gradient in the code.*, got one {got}: start=\"prior\" needs none$"
    for work in (lambda: annealed_importance_nll(vae, data), lambda: bidirectional_gap(vae, 2)):
        with pytest.raises(ComponentError, match=message):
            work()
    how: dict[str, Any] = {"start": "prior", "num_chains": 8, "num_temperatures": 60}
    plain = VAE(2, (1, 4, 4), encoder=OfClass(td.Independent), decoder=vae.decoder)
    expected = importance_sampled_nll(plain, data, 20_000).mean
    assert annealed_importance_nll(vae, data, **how).mean == pytest.approx(expected, abs=0.1)


def test_posteriors_that_check_their_codes_do_not_stop_it() -> None:
    # torch's own distributions raise an error at a code that is NaN.
    vae, data = small(encoder=OfClass(td.Independent)), pictures(3, (1, 4, 4))
    assert_annealing_agrees(vae, data)


def test_the_other_families_of_posteriors() -> None:
    data = pictures(4)
    mu, logvar = true_posterior(pixels(data))
    for prior in (None, unit_mixture()):
        vae = linear_vae(FreeEncoder(mu + 0.2, logvar + 0.3, multivariate), ELBO(), prior)
        estimate = annealed_importance_nll(vae, data, num_chains=32, num_temperatures=30)
        torch.testing.assert_close(estimate.nll, -log_evidence(pixels(data)), atol=0.15, rtol=0)


def test_codes_that_do_not_move_are_refused() -> None:
    x = torch.rand(2, 1, 28, 28)
    trunk = nn.Sequential(nn.Flatten(), nn.Linear(784, 8), nn.ReLU())
    classes = {"encoder": CategoricalEncoder(trunk, 2, 5), "prior": mv.priors.UniformCategorical(2, 5)}
    sphere = {"encoder": VonMisesFisherEncoder(trunk, 3), "prior": mv.priors.UniformSphere(3)}
    for size, parts, got in ((10, classes, "one-hot blocks, 2 of 5 classes"), (3, sphere, "codes on a surface")):
        model = mv.VAE(size, **parts)
        for estimate in (mv.metrics.annealed_importance_nll, mv.metrics.bidirectional_gap):
            with pytest.raises(ComponentError, match=f"codes are numbers that chains can move.*{got}"):
                estimate(model, x, num_chains=2, num_temperatures=3)  # type: ignore[operator]
        found = mv.metrics.evaluate(model, mv.ImageDataset(x), include=[], metrics=[mv.metrics.ANNEALED_NLL])
        assert "chains cannot move through" in repr(found)
