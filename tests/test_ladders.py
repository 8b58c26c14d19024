"""Hierarchies of latent levels: densities, draws, divergences level by level, and everything that a model does."""

from __future__ import annotations

import functools
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from test_resume import StopAt
from torch import Tensor

import mnistvae as mv
from mnistvae.distributions import DiagonalNormal, from_noise, tempered
from mnistvae.errors import ComponentError, MnistvaeError, SettingError
from mnistvae.images import ImageShape
from mnistvae.ladders import LadderDecoder, LadderEncoder, LadderPosterior, LadderPrior, LadderPriorDistribution, Level
from mnistvae.losses import kl_by_level, kl_or_estimate
from mnistvae.objectives import ELBO, IWAE
from mnistvae.training import Checkpoint, Interrupted

FLAT: tuple[Level, ...] = (2, 3, 1)
GRIDS: tuple[Level, ...] = ((2, 2, 2), (1, 4, 4))
SHAPE: ImageShape = (1, 8, 8)
KINDS = pytest.mark.parametrize("levels", [FLAT, GRIDS], ids=["flat", "grids"])


def stirred(module: Any, seed: int = 0, spread: float = 0.3) -> Any:
    """The module with other weights: new ladders are standard normal, of which little can be seen."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(spread * torch.randn(weight.shape, generator=generator, dtype=weight.dtype))
    return module


def ladder(levels: Sequence[Level] = FLAT, *, seed: int = 0, num_classes: int | None = None, **parts: Any) -> mv.VAE:
    torch.manual_seed(seed)
    prior = LadderPrior(levels, hidden=8)
    return mv.VAE(
        prior.latent_dim,
        SHAPE,
        encoder=LadderEncoder(levels, SHAPE, hidden=8, num_classes=num_classes),
        decoder=LadderDecoder(levels, SHAPE, hidden=8, num_classes=num_classes),
        prior=prior,
        num_classes=num_classes,
        **parts,
    )


def images(n: int = 5, seed: int = 0) -> Tensor:
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(seed))


def weights(model: torch.nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


# --- densities and draws --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["prior", "posterior"])
def test_densities_of_two_levels_integrate_to_one(which: str) -> None:
    model = stirred(ladder((1, 1))).double()
    line = torch.linspace(-25, 25, 1001, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line)
    with torch.no_grad():
        found = model.latent_prior() if which == "prior" else model.encode(images(1))
        density = found.log_prob(grid if which == "prior" else grid[:, None]).exp().flatten()
        area = float(line[1] - line[0]) ** 2
        assert float(density.sum()) * area == pytest.approx(1.0, abs=1e-4)
        drawn = found.sample(torch.Size([20_000])).reshape(-1, 2)
        for power in (1, 2):
            expected = (density[:, None] * grid**power).sum(0) * area
            error = (drawn**power).std(0) / math.sqrt(len(drawn))
            assert bool(((drawn**power).mean(0) - expected).abs().lt(5 * error).all())
        assert float((density * grid.prod(1)).sum() * area - (density[:, None] * grid).sum(0).prod() * area**2) != 0


@KINDS
def test_draws_agree_with_the_density_level_by_level(levels: tuple[Level, ...]) -> None:
    model = stirred(ladder(levels))
    with torch.no_grad():
        for found, name in ((model.latent_prior(), "p"), (model.encode(images(1)), "q")):
            z = found.sample(torch.Size([4000])).reshape(4000, -1)
            posterior = model.encode(images(1))
            assert isinstance(posterior, LadderPosterior)
            for step in posterior.steps(z[:, None]):
                normal: DiagonalNormal = getattr(step, name)
                noise = (step.z - normal.mu) / normal.stddev
                p_values = [stats.kstest(column, "norm").pvalue for column in noise.T.numpy()]
                assert min(p_values) > 1e-4
            by_level = sum(getattr(step, name).log_prob(step.z) for step in posterior.steps(z[:, None]))
            log_prob = found.log_prob(z if name == "p" else z[:, None]).flatten()
            torch.testing.assert_close(log_prob, by_level, rtol=1e-4, atol=1e-4)


@KINDS
def test_a_new_ladder_is_standard_normal_and_its_posteriors_are_near_that(levels: tuple[Level, ...]) -> None:
    model = ladder(levels)
    z = torch.randn(5, model.latent_dim)
    normal = mv.priors.StandardNormal(model.latent_dim)().log_prob(z)
    torch.testing.assert_close(model.latent_prior().log_prob(z), normal)
    assert 0 < float(model.loss(images()).kl.detach().mean()) < 0.2 * model.latent_dim


def test_a_level_depends_on_those_above_it_and_on_no_other() -> None:
    prior = stirred(LadderPrior(FLAT, hidden=8))
    noise = torch.randn(1, 6)
    for level, (first, last) in enumerate(((0, 2), (2, 5), (5, 6))):
        other = noise.clone()
        other[:, first:last] += 1.0
        moved = (prior().from_noise(other) - prior().from_noise(noise)).abs()[0] > 1e-6
        assert not moved[:first].any()
        assert moved[first:].any() if level else moved.all()


def test_noise_and_seeds_repeat_a_draw() -> None:
    model = stirred(ladder())
    noise = torch.randn(7, model.latent_dim)
    torch.testing.assert_close(from_noise(model.latent_prior(), noise), from_noise(model.latent_prior(), noise))
    first, second = (model.sample(3, generator=torch.Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(first, second)


def test_many_codes_are_those_of_few() -> None:
    prior = stirred(LadderPrior(FLAT, hidden=8))
    with torch.no_grad():
        torch.manual_seed(0)
        drawn = prior().sample(torch.Size([2500]))
        torch.manual_seed(0)
        torch.testing.assert_close(drawn, prior().from_noise(torch.randn(2500, 6)))


# --- divergences ----------------------------------------------------------------------------------------------------


@KINDS
def test_divergences_by_level_are_those_of_draws_in_the_mean(levels: tuple[Level, ...]) -> None:
    model = stirred(ladder(levels))
    with torch.no_grad():
        q, p = model.encode(images(1)), model.latent_prior()
        z = q.sample(torch.Size([20_000]))
        by_level = kl_by_level(q, p, z)
        assert by_level is not None
        assert by_level.shape == (20_000, 1, len(levels))
        sampled = q.log_prob(z) - p.log_prob(z)
        difference = sampled - by_level.sum(-1)
        assert float(difference.mean().abs()) < 5 * float(difference.std()) / math.sqrt(20_000)
        torch.testing.assert_close(kl_or_estimate(q, p, z), by_level.sum(-1))
        assert (by_level >= 0).all()


def test_the_divergence_of_one_level_is_the_closed_form() -> None:
    model = stirred(ladder((4,)))
    q, p = model.encode(images()), model.latent_prior()
    assert isinstance(q, LadderPosterior)
    z = q.rsample()
    (step,) = q.steps(z)
    expected = torch.distributions.kl_divergence(step.q, step.p)
    torch.testing.assert_close(kl_or_estimate(q, p, z), expected)
    torch.testing.assert_close(q.mean, step.q.mu)
    torch.testing.assert_close(q.variance, step.q.variance)
    torch.testing.assert_close(p.mean, step.p.mu[0])


def test_the_code_that_was_drawn_is_not_walked_again() -> None:
    model = stirred(ladder())
    calls: list[int] = []
    model.prior.register_forward_hook(lambda *_: None)
    walk = LadderPrior.walk

    def counted(self: LadderPrior, *how: Any) -> Any:
        calls.append(1)
        return walk(self, *how)

    model.prior.walk = functools.partial(counted, model.prior)  # type: ignore[assignment]
    q = model.encode(images())
    z = q.rsample()
    kl_or_estimate(q, model.latent_prior(), z)
    q.log_prob(z)
    assert len(calls) == 1
    q.log_prob(z.clone())
    assert len(calls) == 2


def test_what_was_drawn_without_a_gradient_gives_one_later() -> None:
    q = stirred(ladder()).encode(images())
    z = q.sample()
    assert q.log_prob(z).requires_grad


def test_gradients_are_those_of_differences() -> None:
    model = stirred(ladder()).double()
    x, noise = images(3).double(), torch.Generator()

    def loss() -> Tensor:
        torch.manual_seed(5)
        return model.loss(x).loss.sum()

    model.zero_grad()
    loss().backward()  # type: ignore[no-untyped-call]
    noise.manual_seed(0)
    for weight in model.parameters():
        direction = torch.randn(weight.shape, generator=noise, dtype=torch.float64)
        with torch.no_grad():
            weight.add_(1e-5 * direction)
            above = loss()
            weight.sub_(2e-5 * direction)
            below = loss()
            weight.add_(1e-5 * direction)
        assert weight.grad is not None
        slope = float((weight.grad * direction).sum())
        assert slope == pytest.approx(float(above - below) / 2e-5, rel=1e-4, abs=1e-5)


def test_terms_tell_the_divergence_of_each_level() -> None:
    for objective in (ELBO(), ELBO(num_samples=3), ELBO(beta=0.5)):
        terms = stirred(ladder(objective=objective)).loss(images())
        assert list(terms.extra) == ["kl_level_1", "kl_level_2", "kl_level_3"]
        torch.testing.assert_close(sum(terms.extra.values()), terms.kl)
    assert not mv.VAE(2, SHAPE).loss(images()).extra


def test_free_bits_have_a_share_for_each_level() -> None:
    terms = ladder(objective=ELBO(free_bits=0.5)).loss(images())  # at first no level says much
    torch.testing.assert_close(terms.loss - terms.reconstruction, torch.full((5,), 0.5 * 6))


@pytest.mark.filterwarnings("ignore:the log-likelihood of")  # the posterior is poor, as it has to be here
def test_more_samples_tighten_the_bound_and_stay_below_the_likelihood() -> None:
    model = stirred(ladder())
    x = images(20).round()
    values = []
    for samples in (1, 20):
        model.objective = IWAE(samples)
        torch.manual_seed(0)
        with torch.no_grad():
            values.append(-torch.stack([model.loss(x).loss for _ in range(50)]).mean(0))
    data = mv.data.ImageDataset(x)
    nll = mv.metrics.importance_sampled_nll(model, data, num_samples=20_000).nll
    assert bool((values[0] < values[1]).all())
    assert float((values[1].double() + nll).mean()) < 0.02


# --- temperatures ---------------------------------------------------------------------------------------------------


def test_a_temperature_scales_each_level() -> None:
    prior = stirred(LadderPrior(FLAT, hidden=8))
    noise = torch.randn(4, 6)
    factors = torch.tensor([0.5, 0.5, 2.0, 2.0, 2.0, 0.0])
    hot = tempered(prior(), [0.5, 2.0, 0.0])
    torch.testing.assert_close(from_noise(hot, noise), from_noise(prior(), noise * factors))
    torch.testing.assert_close(from_noise(tempered(prior(), 0.7), noise), from_noise(prior(), 0.7 * noise))
    cold = from_noise(tempered(prior(), 0.0), noise)
    torch.testing.assert_close(cold, prior().mean.expand(4, 6))
    model = stirred(ladder())
    assert model.sample(2, temperature=(1.0, 0.5, 0.1)).shape == (2, *SHAPE)
    assert model.sample(2, temperature=0).isfinite().all()
    mean = tempered(prior(), 2.0).log_prob(prior().mean)
    torch.testing.assert_close(mean, prior().log_prob(prior().mean) - 6 * math.log(2))


@pytest.mark.parametrize(
    ("temperature", "message"),
    [
        ((1.0, 1.0), "one temperature, or one for each of 3 levels, got 2 of them"),
        ((1.0, -1.0, 1.0), "a finite temperature of at least 0, got -1"),
        (-1.0, "a finite temperature of at least 0, got -1"),
        ((math.nan, 1.0, 1.0), "a finite temperature of at least 0, got nan"),
    ],
)
def test_a_wrong_temperature(temperature: Any, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        ladder().sample(2, temperature=temperature)


def test_other_priors_have_one_temperature() -> None:
    with pytest.raises(SettingError, match="a finite temperature of at least 0"):
        mv.VAE(2, SHAPE).sample(2, temperature=(1.0, 0.5))


# --- everything that a model does -----------------------------------------------------------------------------------


@KINDS
@pytest.mark.parametrize("num_classes", [None, 3])
def test_it_does_what_a_model_does(levels: tuple[Level, ...], num_classes: int | None, tmp_path: Path) -> None:
    model = stirred(ladder(levels, num_classes=num_classes)).eval()
    x, y = images(), None if num_classes is None else torch.tensor([0, 1, 2, 0, 1])
    assert model.reconstruct(x, y).shape == model.reconstruct(x, y, sample=True).shape == (5, *SHAPE)
    assert model.interpolate(x[0], x[1], 4, None if y is None else 1).shape == (4, *SHAPE)
    same = mv.load(mv.save(model, tmp_path / "ladder.safetensors"))
    assert torch.equal(same.reconstruct(x, y), model.reconstruct(x, y))
    assert repr(same) == repr(model)
    other = model.replace(objective=ELBO(0.5))
    assert torch.equal(other.reconstruct(x, y), model.reconstruct(x, y))
    data = mv.data.ImageDataset(x, torch.tensor([0, 1, 2, 0, 1]))
    evaluation = mv.metrics.evaluate(model, data, num_samples=10)
    assert math.isfinite(evaluation["nll"])
    assert not mv.View(model, data).codes.means.requires_grad


def test_a_file_is_read_by_a_program_that_knows_no_ladders(tmp_path: Path) -> None:
    path = mv.save(ladder(), tmp_path / "ladder.safetensors")
    program = f"import mnistvae as mv; print(mv.load({str(path)!r}).latent_dim)"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603
    assert found.stdout == "6\n"


@KINDS
def test_a_run_that_is_resumed_is_the_run(levels: tuple[Level, ...], tmp_path: Path) -> None:
    data = mv.data.ImageDataset(images(60))
    how: dict[str, Any] = {"epochs": 4, "batch_size": 20, "seed": 3, "progress": False, "device": "cpu"}
    whole, cut = ladder(levels), ladder(levels)
    history = mv.Trainer(**how).fit(whole, data)
    path = tmp_path / "checkpoint"
    with pytest.raises(Interrupted):
        mv.Trainer(callbacks=[Checkpoint(path), StopAt(7)], **how).fit(cut, data)
    fresh = ladder(levels, seed=9)
    resumed = mv.Trainer(callbacks=[Checkpoint(path)], **how).fit(fresh, data, resume=path)
    assert torch.equal(weights(fresh), weights(whole))
    assert history.column("kl_level_2") == resumed.column("kl_level_2")


def test_it_computes_in_half_precision() -> None:
    data = mv.data.ImageDataset(images(60))
    how: dict[str, Any] = {"epochs": 2, "batch_size": 20, "progress": False, "device": "cpu"}
    full, half = (mv.Trainer(precision=p, **how).fit(ladder(), data)[-1]["loss"] for p in ("fp32", "bf16"))
    assert half == pytest.approx(full, rel=0.01)


@pytest.mark.slow
@KINDS
def test_a_compiled_step_is_the_step(levels: tuple[Level, ...]) -> None:
    data = mv.data.ImageDataset(images(60))
    how: dict[str, Any] = {"epochs": 2, "batch_size": 20, "progress": False, "device": "cpu", "seed": 1}
    usual, compiled = ladder(levels), ladder(levels)
    mv.Trainer(**how).fit(usual, data)
    mv.Trainer(compile=True, **how).fit(compiled, data)
    torch.testing.assert_close(weights(compiled), weights(usual), rtol=1e-3, atol=1e-4)


def test_it_learns_what_a_mean_cannot_tell() -> None:
    """Bars at four places, two thick and two thin: the bound rises far above that of an untrained ladder."""
    places = torch.arange(200) % 4
    x = torch.zeros(200, *SHAPE)
    for number, place in enumerate(places.tolist()):
        x[number, :, :, 2 * place : 2 * place + 1 + place % 2] = 1.0
    model = ladder()
    trainer = mv.Trainer(epochs=40, batch_size=50, learning_rate=5e-3, seed=0, progress=False, device="cpu")
    history = trainer.fit(model, mv.data.ImageDataset(x))
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]
    assert sum(history[-1][f"kl_level_{level}"] for level in (1, 2, 3)) > 0.6 * math.log(4)


# --- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        ((), "levels as one or more sizes"),
        (8, "levels as one or more sizes"),
        ((2, 0), "levels as one or more positive integers"),
        ((2, 1.5), "levels as one or more positive integers"),
        ((2, (1, 4, 4)), r"all sizes, or all shapes \(C, H, W\)"),
        (((1, 4, 4), (1, 2, 2)), "level 2 at least as large as level 1"),
        (((1, 4),), r"level 1 as a shape \(C, H, W\), got \(1, 4\)"),
        (((1, 4, 0),), r"level 1 as a shape"),
    ],
)
def test_levels_that_make_no_sense(levels: Any, message: str) -> None:
    for make in (LadderPrior, LadderEncoder, LadderDecoder):
        with pytest.raises(SettingError, match=message):
            make(levels)


def test_grids_that_the_image_is_never_halved_to() -> None:
    for make in (LadderEncoder, LadderDecoder):
        with pytest.raises(SettingError, match="level 1 of an image's size, halved some times: 28 x 28, 14 x"):
            make(((1, 5, 5),))
    with pytest.raises(SettingError, match="at least 8 x 8 pixels"):
        LadderEncoder(((1, 2, 2),), (1, 4, 4))


@pytest.mark.parametrize("levels", [(1,), (1, 1), ((1, 1, 1),), ((1, 8, 8),)])
def test_the_smallest_ladders(levels: tuple[Level, ...]) -> None:
    model = ladder(levels)
    assert model.loss(images()).loss.isfinite().all()
    assert model.sample(2).shape == (2, *SHAPE)


def test_parts_that_do_not_fit() -> None:
    with pytest.raises(ComponentError, match=r"a LadderPrior with levels=\(2, 3, 1\) .*got a StandardNormal"):
        mv.VAE(6, SHAPE, encoder=LadderEncoder(FLAT, SHAPE, 8), decoder=LadderDecoder(FLAT, SHAPE, 8))
    model = ladder()
    for prior in (LadderPrior((3, 3), 8), LadderPrior(FLAT, 16)):
        with pytest.raises(ComponentError, match="give the model's prior the same levels"):
            model.prior = prior
    assert model.loss(images()).loss.isfinite().all()
    with pytest.raises(ComponentError, match=r"got none: encode by the model"):
        model.encoder(images())
    with pytest.raises(SettingError, match="hidden as an integer of at least 1"):
        LadderPrior(FLAT, hidden=0)
    with pytest.raises(MnistvaeError, match="LadderPrior"):
        mv.fit_prior(model, mv.data.ImageDataset(images(60)), components=2)


def test_gradients_that_need_detached_parameters_are_refused() -> None:
    for objective in (ELBO(gradient="sticking-the-landing"), IWAE(4, "doubly-reparameterized")):
        with pytest.raises(ComponentError, match="gradient='plain'"):
            ladder(objective=objective)


def test_the_distributions_say_what_they_are() -> None:
    model = ladder()
    assert repr(model.encode(images())) == "LadderPosterior(batch (5,), levels (2, 3, 1))"
    assert repr(model.latent_prior()) == "LadderPriorDistribution(LadderPrior(levels=(2, 3, 1), hidden=8, blocks=1))"
    assert isinstance(model.latent_prior(), LadderPriorDistribution)
    np.testing.assert_equal(model.latent_prior().event_shape, (6,))


def test_a_view_computes_large_posteriors_anew_and_finds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = ladder().eval(), mv.ImageDataset(images(25))
    kept, anew = mv.View(model, data, batch_size=10, num_samples=3), mv.View(model, data, batch_size=10, num_samples=3)
    assert isinstance(kept.posteriors, list)
    monkeypatch.setattr("mnistvae.view._KEPT", 0)
    assert not isinstance(anew.posteriors, list)
    assert len(anew.posteriors) == len(kept.posteriors) == 3
    assert anew.posterior is None
    assert torch.equal(anew.codes.means, kept.codes.means)
    assert torch.equal(anew.codes.deviations, kept.codes.deviations)
    assert torch.equal(anew.reconstructions, kept.reconstructions)
    for first, second in zip(mv.metrics.likelihood.bound(anew), mv.metrics.likelihood.bound(kept), strict=True):
        assert torch.equal(first, second)


def test_a_decoder_of_other_levels_than_the_prior_is_refused() -> None:
    parts = {"encoder": LadderEncoder((2, 4), hidden=8), "prior": LadderPrior((2, 4), hidden=8)}
    with pytest.raises(ComponentError, match=r"a decoder with levels=\(2, 4\), as the prior has, got levels=\(4, 2\)"):
        mv.VAE(6, **parts, decoder=LadderDecoder((4, 2), hidden=8))
    assert mv.VAE(6, decoder=LadderDecoder((4, 2), hidden=8)).sample(2).shape == (2, 1, 28, 28)  # of a plain prior
