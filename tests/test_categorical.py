"""Categorical codes and codes of several blocks, against torch, enumeration of all codes, and sums by hand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributions as td
from scipy import stats
from test_full_normal import digits, trainer
from test_graphs import TapeRecorder, assert_recorded_equals_usual, recorder
from test_resume import StopAt
from torch import Tensor, nn
from torch.distributions.relaxed_categorical import ExpRelaxedCategorical

import mnistvae as mv
from mnistvae._random import noise_for_rows
from mnistvae.distributions import DiagonalNormal, Joint, OneHotCategoricals, UnitNormal, detached, from_noise, tempered
from mnistvae.errors import ComponentError, SettingError
from mnistvae.ladders import LadderEncoder, LadderPrior
from mnistvae.losses import kl_by_level, kl_or_estimate
from mnistvae.networks import (
    CategoricalEncoder,
    Encoder,
    GaussianEncoder,
    JointEncoder,
    MixtureEncoder,
    MLPDecoder,
    MLPEncoder,
)
from mnistvae.objectives import ELBO, IWAE, InfoVAE
from mnistvae.priors import Flow, GaussianMixture, StandardNormal, UniformCategorical, VampPrior
from mnistvae.priors import Joint as JointPrior
from mnistvae.schedules import CosineDecay, Linear
from mnistvae.training import Checkpoint, Interrupted

__all__ = ["recorder"]  # a fixture

SHAPE = (1, 8, 8)
V, K = 2, 3
#: All one-hot codes of V variables of K classes.
CODES = torch.stack(
    [nn.functional.one_hot(torch.tensor(c), K).flatten() for c in itertools.product(range(K), repeat=V)]
).double()


def logits(n: int = 4, spread: float = 1.0, seed: int = 0) -> Tensor:
    return spread * torch.randn(n, V, K, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def at(temperature: float) -> Tensor:
    return torch.tensor(temperature, dtype=torch.float64)


# --- the distribution -----------------------------------------------------------------------------------------------


def test_its_figures_are_torchs() -> None:
    q, p = (OneHotCategoricals(logits(seed=seed)) for seed in (0, 1))
    theirs = td.Independent(td.OneHotCategorical(logits=q.logits), 1)
    blocks = CODES[:, None].unflatten(-1, (V, K))
    torch.testing.assert_close(q.log_prob(CODES[:, None]), theirs.log_prob(blocks))
    torch.testing.assert_close(q.log_prob(CODES[:, None]).exp().sum(0), torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close(q.entropy(), theirs.entropy())
    for name in ("mean", "variance", "mode"):
        torch.testing.assert_close(getattr(q, name), getattr(theirs, name).flatten(1), check_dtype=False)
    pairs = zip(q.logits.unbind(1), p.logits.unbind(1), strict=True)
    each = [td.kl_divergence(td.Categorical(logits=a), td.Categorical(logits=b)) for a, b in pairs]
    torch.testing.assert_close(td.kl_divergence(q, p), sum(each))
    uniform = UniformCategorical(V, K).double()()
    torch.testing.assert_close(td.kl_divergence(q, uniform), V * math.log(K) - q.entropy())
    wide = q.expand((5, 4))
    torch.testing.assert_close(wide.log_prob(CODES[0]), q.log_prob(CODES[0]).expand(5, 4))
    assert q.support.check(CODES).all()
    assert not q.support.check(0.5 * CODES).any()
    assert not q.support.check(torch.ones(2, 6)).any()


def test_its_draws_are_as_often_as_they_are_likely_and_relaxed_ones_are_torchs() -> None:
    n = 40_000
    q = OneHotCategoricals(logits(1).expand(n, V, K), at(0.7))
    torch.manual_seed(0)
    hard = q.sample()
    torch.manual_seed(0)
    soft = q.rsample()
    counts = (hard[:, None] == CODES).all(-1).sum(0)
    assert int(counts.sum()) == n
    assert stats.chisquare(counts.numpy(), n * q.log_prob(CODES[:, None])[:, 0].exp().numpy()).pvalue > 1e-3
    torch.testing.assert_close(soft.unflatten(-1, (V, K)).sum(-1), torch.ones(n, V, dtype=torch.float64))
    largest = soft.unflatten(-1, (V, K)).argmax(-1)
    assert torch.equal(largest, hard.unflatten(-1, (V, K)).argmax(-1)), "the same noise gives the same class"
    theirs = td.RelaxedOneHotCategorical(at(0.7), logits=q.logits).sample().flatten(1)
    for ours, other in zip(soft.T, theirs.T, strict=True):
        assert stats.ks_2samp(ours.numpy(), other.numpy()).pvalue > 1e-3


def test_without_a_temperature_no_draw_has_a_gradient() -> None:
    q = OneHotCategoricals(logits().requires_grad_())
    assert not q.has_rsample
    assert not q.sample().requires_grad
    with pytest.raises(NotImplementedError, match="without a temperature"):
        q.rsample()
    moving = OneHotCategoricals(logits().requires_grad_(), at(0.5))
    assert moving.log_prob(CODES[0]).requires_grad
    assert not detached(moving).log_prob(CODES[0]).requires_grad


def test_hard_draws_are_one_hot_with_the_gradient_of_the_relaxed_ones() -> None:
    weights = torch.randn(4, V * K, dtype=torch.float64)
    found = []
    for hard in (False, True):
        start = logits().requires_grad_()
        torch.manual_seed(1)
        z = OneHotCategoricals(start, at(0.7), hard).rsample()
        (z * weights).sum().backward()
        found.append((z.detach(), start.grad))
    assert OneHotCategoricals(logits()).support.check(found[1][0]).all()
    torch.testing.assert_close(found[1][1], found[0][1])
    torch.manual_seed(1)
    assert torch.equal(found[1][0], OneHotCategoricals(logits()).sample())


def relaxed_kl(q: Tensor, p: Tensor, temperature: float, draws: int) -> Tensor:
    """The divergence of two relaxed distributions, with torch's densities at draws of ours: mean and standard error."""
    torch.manual_seed(0)
    z = OneHotCategoricals(q, at(temperature)).rsample(torch.Size([draws])).reshape(draws, -1, V, K)
    log_z = z.log()
    ratio = torch.stack([ExpRelaxedCategorical(at(temperature), logits=one).log_prob(log_z).sum(-1) for one in (q, p)])
    values = ratio[0] - ratio[1]
    return torch.stack([values.mean(0), values.std(0) / math.sqrt(draws)])


def test_the_divergence_of_the_relaxations_does_not_depend_on_the_temperature_and_is_no_categorical_one() -> None:
    """A temperature is a one-to-one map of relaxed codes; the class alone says less, so its divergence is smaller."""
    q, p = logits(), logits(seed=1)
    exact = td.kl_divergence(OneHotCategoricals(q), OneHotCategoricals(p))
    (warm, error), (cold, other) = (relaxed_kl(q, p, temperature, 20_000) for temperature in (2.0, 0.1))
    assert bool(((warm - cold).abs() < 4 * (error + other)).all())
    assert bool((cold - exact > 10 * other).all())


def test_towards_temperature_0_the_estimate_at_relaxed_codes_is_the_closed_form() -> None:
    p = OneHotCategoricals(logits(seed=1))
    exact = td.kl_divergence(OneHotCategoricals(logits()), p)
    errors = []
    for temperature in (2.0, 0.3, 0.01):
        q = OneHotCategoricals(logits(), at(temperature))
        torch.manual_seed(0)
        z = q.rsample(torch.Size([40_000]))
        estimate = q.log_prob(z) - p.log_prob(z)
        errors.append((estimate.mean(0) - exact).abs())
        error = estimate.std(0) / 200
    assert bool((errors[0] > 20 * error).all()), "a warm one is another"
    assert bool((errors[2] < 4 * error).all())
    assert float(errors[2].max()) < float(errors[1].max()) < float(errors[0].max())


TABLE = torch.randn(K, K, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def payoff(z: Tensor) -> Tensor:
    """A number for each pair of classes, and a smooth function between them."""
    first, second = z.unflatten(-1, (V, K)).unbind(-2)
    return torch.einsum("...i,ij,...j->...", first, TABLE, second)


@pytest.mark.parametrize("hard", [False, True])
def test_the_mean_of_a_function_and_its_gradient_are_those_of_the_sum_over_all_codes(hard: bool) -> None:
    start = logits(1).requires_grad_()
    exact = (OneHotCategoricals(start).log_prob(CODES[:, None])[:, 0].exp() * payoff(CODES)).sum()
    (slope,) = torch.autograd.grad(exact, start)
    n = 200_000
    torch.manual_seed(0)
    q = OneHotCategoricals(start.expand(n, V, K), at(0.15), hard)
    values = payoff(q.rsample())
    (found,) = torch.autograd.grad(values.mean(), start)
    torch.testing.assert_close(values.mean(), exact, atol=0.02, rtol=0)
    torch.testing.assert_close(found, slope, atol=0.03, rtol=0)


def test_temperature_sharpens_and_noise_gives_draws() -> None:
    q = OneHotCategoricals(logits())
    torch.testing.assert_close(
        tempered(q, 0.5).mean.unflatten(-1, (V, K)), (q.log_probs * 2).softmax(-1), rtol=1e-9, atol=1e-9
    )
    cold = tempered(q, 0.0)
    assert torch.equal(cold.sample(), q.mode)
    assert cold.log_prob(cold.sample()).abs().max() == 0
    even = UniformCategorical(V, K)()
    for temperature in (0.0, 0.3, 2.0):
        torch.testing.assert_close(tempered(even, temperature).mean, even.mean)
    n = 40_000
    noise = torch.randn(n, V * K, dtype=torch.float64)
    drawn = from_noise(OneHotCategoricals(logits(1).expand(n, V, K)), noise)
    counts = (drawn[:, None] == CODES).all(-1).sum(0)
    expected = n * OneHotCategoricals(logits(1)).log_prob(CODES[:, None])[:, 0].exp()
    assert stats.chisquare(counts.numpy(), expected.numpy()).pvalue > 1e-3
    assert torch.equal(from_noise(even, 0.3 * noise.float()), from_noise(even, noise.float()))


def test_each_process_draws_its_rows_of_the_whole_batch() -> None:
    torch.manual_seed(3)
    whole = OneHotCategoricals(logits(4), at(0.5)).rsample(torch.Size([2]))
    for rows in (slice(0, 3), slice(3, 4)):
        torch.manual_seed(3)
        with noise_for_rows(rows, 4):
            own = OneHotCategoricals(logits(4)[rows], at(0.5)).rsample(torch.Size([2]))
        assert torch.equal(own, whole[:, rows])


def test_half_precision_keeps_rare_classes() -> None:
    rare = torch.tensor([[[0.0, -7.0]]]).expand(200_000, 1, 2).bfloat16()
    torch.manual_seed(0)
    z = OneHotCategoricals(rare).sample()
    assert z.dtype is torch.bfloat16
    assert int(z[:, 1].sum()) == pytest.approx(200_000 * math.exp(-7), rel=0.3)


# --- the model ------------------------------------------------------------------------------------------------------


def trunk() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU())


def categorical_vae(parts: Callable[[], dict[str, Any]] = dict, **how: Any) -> mv.VAE:
    torch.manual_seed(2)
    encoder = CategoricalEncoder(trunk(), V, K, **how)
    decoder = MLPDecoder(V * K, SHAPE, (8,))
    return mv.VAE(V * K, SHAPE, **{"encoder": encoder, "decoder": decoder, "prior": UniformCategorical(V, K)} | parts())


def black_and_white(n: int = 6) -> Tensor:
    return digits(n).round()


def exact_nll(model: mv.VAE, x: Tensor) -> Tensor:
    """Minus log p(x), by the sum over all codes."""
    with torch.no_grad():
        codes = CODES.to(model.dtype)
        log_joint = torch.stack([model.decode(z.expand(len(x), -1)).log_prob(x) for z in codes])
        return (V * math.log(K) - log_joint.logsumexp(0)).double()


def test_the_importance_sampled_likelihood_is_the_sum_over_all_codes() -> None:
    model, x = categorical_vae().eval(), black_and_white()
    with torch.no_grad():  # so that codes matter
        for weight in model.decoder.parameters():
            weight.mul_(3)
    exact = exact_nll(model, x)
    estimate = mv.metrics.importance_sampled_nll(model, x, num_samples=4000)
    error = (1 / estimate.effective_samples - 1 / 4000).clamp_min(0).sqrt()
    assert bool(((estimate.nll - exact).abs() < 4 * error + 1e-4).all())
    rough = mv.metrics.importance_sampled_nll(model, x, num_samples=1)
    assert float((rough.nll - exact).abs().max()) > 0.1, "the codes are alike"


def test_in_evaluation_mode_the_bound_is_that_of_one_hot_codes() -> None:
    model, x = categorical_vae().double().eval(), black_and_white(1).double()
    with torch.no_grad():
        q = model.encode(x)
        log_p = torch.stack([model.decode(z[None]).log_prob(x) for z in CODES])[:, 0]
        weights = q.log_prob(CODES[:, None])[:, 0].exp()
        exact = -(weights * log_p).sum() + V * math.log(K) - q.entropy()[0]
        terms = model.loss(x.expand(20_000, -1, -1, -1))
    error = float(terms.loss.std()) / math.sqrt(20_000)
    assert float(terms.loss.mean()) == pytest.approx(float(exact), abs=4 * error)
    assert float(exact) > float(exact_nll(model, x)[0])
    bound = mv.metrics.elbo(model, x.expand(2000, -1, -1, -1))
    assert float(bound.loss.mean()) == pytest.approx(float(exact), abs=4 * float(bound.loss.std()) / math.sqrt(2000))


def test_codes_are_relaxed_in_training_and_one_hot_in_evaluation_and_on_request() -> None:
    model, x = categorical_vae(), black_and_white()
    support = model.latent_prior().support
    assert not bool(support.check(model.train().encode(x).rsample()).any())
    assert bool(support.check(model.encode(x).sample()).all())
    assert bool(support.check(model.eval().encode(x).rsample()).all())
    assert bool(support.check(categorical_vae(straight_through=True).train().encode(x).rsample()).all())
    torch.testing.assert_close(model.encode(x).mean.unflatten(-1, (V, K)).sum(-1), torch.ones(6, V))


def test_the_temperature_falls_with_the_schedule_and_a_trainer_tells_the_step() -> None:
    model = categorical_vae(temperature=2.0, schedule=CosineDecay(final=0.25, steps=10))
    encoder = model.encoder
    assert isinstance(encoder, CategoricalEncoder)
    assert float(encoder._temperature) == 2.0
    seen = []
    for step in (0, 5, 10, 99):
        model.advance(step)
        seen.append(round(float(encoder._temperature), 4))
    assert seen == [2.0, 1.25, 0.5, 0.5]
    model.advance(0)
    trainer(epochs=1).fit(model, digits())  # 5 steps, of which the last is number 4
    assert float(encoder._temperature) == pytest.approx(2.0 * CosineDecay(final=0.25, steps=10)(4))
    assert "_temperature" not in "".join(model.state_dict())


def test_every_part_with_a_schedule_is_told_the_step_also_within_others() -> None:
    falling = CosineDecay(final=0.5, steps=4)
    blocks = [GaussianEncoder(nn.Identity(), 2), CategoricalEncoder(nn.Identity(), 1, 4, schedule=falling)]
    prior = JointPrior([StandardNormal(2), UniformCategorical(1, 4)])
    model = mv.VAE(6, SHAPE, encoder=JointEncoder(blocks, trunk()), prior=prior, objective=ELBO(schedule=Linear(8)))
    model.advance(4)
    assert float(blocks[1]._temperature) == pytest.approx(0.67 * 0.5)
    assert float(model.objective._factor) == 0.5
    model.advance(0)
    trainer(epochs=1).fit(model, digits())
    assert float(blocks[1]._temperature) == pytest.approx(0.67 * 0.5)


@pytest.mark.parametrize("schedule", [None, CosineDecay(final=0.1, steps=20)])
def test_recorded_steps_see_the_temperature_fall(schedule: Any, recorder: TapeRecorder) -> None:
    def make() -> mv.VAE:
        return categorical_vae(schedule=schedule)

    assert_recorded_equals_usual(make, recorder, recordings=2 if schedule is None else 1)


PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "plain": dict,
    "samples": lambda: {"objective": ELBO(num_samples=3)},
    "landing": lambda: {"objective": ELBO(gradient="sticking-the-landing")},
    "free bits": lambda: {"objective": ELBO(free_bits=0.2)},
    "weights": lambda: {"objective": IWAE(3, "doubly-reparameterized")},
    "info": lambda: {"objective": InfoVAE(weight=1.0)},
}
HOW = {"relaxed": {"schedule": CosineDecay(final=0.5, steps=9)}, "straight": {"straight_through": True}}


def joint_vae(parts: Callable[[], dict[str, Any]] = dict, **how: Any) -> mv.VAE:
    torch.manual_seed(2)
    blocks = [GaussianEncoder(nn.Identity(), 2), CategoricalEncoder(nn.Identity(), V, K, **how)]
    prior = JointPrior([GaussianMixture(2, 2), UniformCategorical(V, K)])
    decoder = MLPDecoder(2 + V * K, SHAPE, (8,))
    own = {"encoder": JointEncoder(blocks, trunk()), "decoder": decoder, "prior": prior}
    return mv.VAE(2 + V * K, SHAPE, **own | parts())


MODELS: dict[str, Callable[..., mv.VAE]] = {"categorical": categorical_vae, "joint": joint_vae}


@pytest.mark.parametrize(("kind", "parts"), list(itertools.product(MODELS, PARTS)))
def test_it_trains_with_every_objective_and_a_resumed_run_ends_as_the_whole_one(
    kind: str, parts: str, tmp_path: Path
) -> None:
    how = HOW["straight" if parts == "samples" else "relaxed"]
    whole = MODELS[kind](PARTS[parts], **how)
    history = trainer().fit(whole, digits(), digits(8))
    assert history[3]["loss"] < history[0]["loss"]
    with pytest.raises(Interrupted):
        trainer(Checkpoint(tmp_path), StopAt(7)).fit(MODELS[kind](PARTS[parts], **how), digits(), digits(8))
    resumed = MODELS[kind](PARTS[parts], **how)
    again = trainer(Checkpoint(tmp_path)).fit(resumed, digits(), digits(8), resume=tmp_path)
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in resumed.state_dict().items())
    assert again.column("validation_loss") == history.column("validation_loss")


@pytest.mark.parametrize("kind", MODELS)
def test_a_file_evaluation_samples_and_a_graph_of_it(kind: str, tmp_path: Path) -> None:
    model, x = MODELS[kind](**HOW["relaxed"]).eval(), black_and_white(12)
    mv.save(model, tmp_path / "model.safetensors")
    same = mv.load(tmp_path / "model.safetensors")
    assert repr(same) == repr(model)
    drawn = []
    for one in (model, same):
        torch.manual_seed(0)
        drawn.append((one.encode(x).rsample(torch.Size([2])), one.sample(3)))
    assert all(map(torch.equal, *drawn))
    assert model.reconstruct(x).shape == model.reconstruct(x, sample=True).shape == x.shape
    assert model.interpolate(x[0], x[1], 3).shape == (3, *SHAPE)
    for temperature in (0.0, 0.5, 2.0):
        assert model.sample(3, temperature=temperature).shape == (3, *SHAPE)
    scores = mv.metrics.evaluate(model, mv.ImageDataset(x, torch.arange(12) % 2), num_samples=50)
    assert scores["nll"] <= scores["negative_elbo"] + 0.5
    assert np.isfinite(scores["active_units"])
    noise, uniform = torch.randn(5, model.latent_dim), torch.rand(5)
    path = mv.export(model, tmp_path / "sample.pt2", part="sample", format="pt2")
    graph = torch.export.load(path).module()
    prior = model.latent_prior()
    given = (noise,) if kind == "categorical" else (noise, uniform)
    expected = model.decode(from_noise(prior, *given)).mean.detach()
    torch.testing.assert_close(graph(*given), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", MODELS)
def test_it_trains_in_bf16(kind: str) -> None:
    plain, other = (trainer(**more).fit(MODELS[kind](), digits()) for more in ({}, {"precision": "bf16"}))
    assert other[1]["loss"] == pytest.approx(plain[1]["loss"], rel=0.02)
    half = MODELS[kind]().bfloat16().eval()
    assert half.sample(3).dtype is half.loss(digits(4)).loss.dtype is torch.bfloat16


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.filterwarnings("ignore:.*_prims_common.check:FutureWarning")  # torch's own, while it compiles
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # as well
@pytest.mark.slow
def test_it_trains_compiled(kind: str) -> None:
    how = HOW["relaxed"]
    plain, other = (trainer(**more).fit(MODELS[kind](**how), digits()) for more in ({}, {"compile": True}))
    assert other[3]["loss"] == pytest.approx(plain[3]["loss"], rel=1e-4)


def test_a_label_can_be_told() -> None:
    encoder = CategoricalEncoder(trunk(), V, K, num_classes=4)
    model = mv.VAE(V * K, SHAPE, encoder=encoder, prior=UniformCategorical(V, K), num_classes=4)
    x, y = digits(4), torch.arange(4)
    assert model.loss(x, y).loss.shape == (4,)
    assert not torch.equal(model.encode(x, y).mean, model.encode(x, y.flip(0)).mean)
    assert model.sample(3, y=1).shape == (3, *SHAPE)


# --- several blocks -------------------------------------------------------------------------------------------------


def normal(n: int = 4, size: int = 2, seed: int = 0) -> DiagonalNormal:
    noise = torch.Generator().manual_seed(seed)
    return DiagonalNormal(*(torch.randn(n, size, generator=noise, dtype=torch.float64) for _ in range(2)))


def test_a_joint_distribution_is_its_parts_one_after_the_other() -> None:
    parts = [normal(), OneHotCategoricals(logits(), at(0.5)), normal(size=1, seed=2)]
    q = Joint(parts)
    torch.manual_seed(0)
    z = q.rsample(torch.Size([5]))
    torch.manual_seed(0)
    blocks = [part.rsample(torch.Size([5])) for part in parts]
    assert torch.equal(z, torch.cat(blocks, -1))
    torch.testing.assert_close(q.log_prob(z), sum(p.log_prob(b) for p, b in zip(parts, blocks, strict=True)))
    for name in ("mean", "variance"):
        assert torch.equal(getattr(q, name), torch.cat([getattr(part, name) for part in parts], -1))
    torch.testing.assert_close(Joint(parts[1:2]).entropy(), parts[1].entropy())
    assert torch.equal(tempered(q, 0.0).mean[:, :2], parts[0].mean)
    assert not detached(Joint([DiagonalNormal(parts[0].mu.requires_grad_(), parts[0].logvar)])).mean.requires_grad
    assert q.expand((3, 4)).batch_shape == (3, 4)
    noise = torch.randn(4, 9, dtype=torch.float64)
    assert torch.equal(from_noise(q, noise)[:, 2:8], from_noise(parts[1], noise[:, 2:8]))
    assert "is_discrete" not in repr(q.support)
    assert q.support.is_discrete
    assert not Joint([normal()]).support.is_discrete
    assert q.support.check(q.sample()).all()


@pytest.mark.parametrize("draws", [(), (3,)])
def test_its_divergence_is_the_sum_of_the_blocks_exact_where_that_is_known(draws: tuple[int, ...]) -> None:
    mixture = GaussianMixture(2, 3).double()()
    q = Joint([normal(), OneHotCategoricals(logits(), at(0.5)), normal(seed=3)])
    p = Joint([UnitNormal(torch.zeros(2).double()), UniformCategorical(V, K).double()(), mixture])
    z = q.rsample(torch.Size(draws))
    levels = kl_by_level(q, p, z)
    assert levels is not None
    assert levels.shape == (*draws, 4, 3)
    for number in (0, 1):
        exact = td.kl_divergence(q.parts[number], p.parts[number])
        torch.testing.assert_close(levels[..., number], exact.expand(*draws, 4))
    estimate = q.parts[2].log_prob(z[..., 8:]) - mixture.log_prob(z[..., 8:])
    torch.testing.assert_close(levels[..., 2], estimate)
    torch.testing.assert_close(kl_or_estimate(q, p, z), levels.sum(-1))
    assert kl_by_level(q, Joint(p.parts[:2]), z) is None
    assert kl_by_level(q, mixture, z) is None


def test_one_block_is_the_encoder_itself() -> None:
    torch.manual_seed(0)
    encoder, x = MLPEncoder(3, SHAPE, (8,)), digits(5)
    whole = mv.VAE(3, SHAPE, encoder=JointEncoder([encoder]), prior=JointPrior([StandardNormal(3)]))
    alone = mv.VAE(3, SHAPE, encoder=encoder, decoder=whole.decoder)
    found = []
    for model in (whole, alone):
        torch.manual_seed(1)
        found.append(model.loss(x))
    for one, other in zip(*(terms[:3] for terms in found), strict=True):
        torch.testing.assert_close(one, other)
    assert whole.encoder.image_shape == SHAPE


def test_each_block_has_a_capacity_of_its_own() -> None:
    model = joint_vae(lambda: {"objective": ELBO(3.0, capacity=(5.0, 1.0))})
    terms = model.loss(digits(5))
    first, second = terms.extra.values()
    expected = terms.reconstruction + 3 * ((first - 5).abs() + (second - 1).abs())
    torch.testing.assert_close(terms.loss, expected)
    torch.testing.assert_close(terms.kl, first + second)
    grown = joint_vae(lambda: {"objective": ELBO(3.0, Linear(4), capacity=(5.0, 1.0))}).train()
    grown.advance(2)
    terms = grown.loss(digits(5))
    first, second = terms.extra.values()
    expected = terms.reconstruction + 3 * ((first - 2.5).abs() + (second - 0.5).abs())
    torch.testing.assert_close(terms.loss, expected)


def test_blocks_may_be_anything_that_an_encoder_and_a_prior_can_be() -> None:
    pytest.importorskip("zuko", reason="flows come from zuko")
    torch.manual_seed(0)
    levels = (2, 3)
    encoder = JointEncoder(
        [
            MixtureEncoder([MLPEncoder(2, SHAPE, (4,)), MLPEncoder(2, SHAPE, (4,))]),
            CategoricalEncoder(trunk(), 2, 3),
            LadderEncoder(levels, SHAPE, hidden=8),
            MLPEncoder(2, SHAPE, (4,)),
        ]
    )
    prior = JointPrior(
        [Flow(2, transforms=1, hidden=(4,)), UniformCategorical(2, 3), LadderPrior(levels, hidden=8), VampPrior(3)]
    )
    model = mv.VAE(15, SHAPE, encoder=encoder, prior=prior)
    assert prior.priors[3].latent_dim == 2
    terms = model.loss(digits(6))
    assert len(terms.extra) == 4
    assert terms.loss.isfinite().all()
    terms.loss.mean().backward()
    assert all(weight.grad is not None for weight in model.parameters())
    assert model.sample(3).shape == model.sample(3, temperature=0.5).shape == (3, *SHAPE)
    vamp = model.latent_prior().parts[3].component_distribution
    torch.testing.assert_close(vamp.mean, encoder.encoders[3](prior.priors[3].pseudo_inputs).mean)


def test_two_mixtures_are_not_chosen_by_the_same_noise() -> None:
    prior = JointPrior([GaussianMixture(2, 3), GaussianMixture(2, 3)])()
    with pytest.raises(ComponentError, match=r"at most one block that is a mixture, .* got two: give"):
        from_noise(prior, torch.randn(5, 4), torch.rand(5))


# --- what makes no sense --------------------------------------------------------------------------------------------


def test_settings_that_make_no_sense() -> None:
    for how, message in (
        ({"variables": 0}, "variables as an integer of at least 1, got 0"),
        ({"classes": 1}, "classes as an integer of at least 2, got 1"),
        ({"temperature": 0.0}, "a finite temperature above 0, got 0.0"),
        ({"temperature": -1}, "a finite temperature above 0, got -1"),
        ({"straight_through": 1}, "straight_through as True or False"),
    ):
        with pytest.raises(SettingError, match=message):
            CategoricalEncoder(nn.Flatten(), **how)  # type: ignore[arg-type]
    for make in (lambda: UniformCategorical(0, 3), lambda: UniformCategorical(2, 1)):
        with pytest.raises(SettingError, match="an integer of at least"):
            make()
    with pytest.raises(ComponentError, match="schedule as a mnistvae Schedule, or None, got a float"):
        CategoricalEncoder(nn.Flatten(), schedule=0.5)  # type: ignore[arg-type]
    for capacity in ((1.0, -1.0), ("a",), ()):
        with pytest.raises(SettingError, match="capacity as finite numbers of nats of at least 0, one for each block"):
            ELBO(capacity=capacity)  # type: ignore[arg-type]


def test_a_schedule_that_reaches_0_is_refused() -> None:
    model = categorical_vae(schedule=Linear(10))
    with pytest.raises(ComponentError, match=r"a schedule to return a finite number above 0, got 0.0: look at step 0"):
        trainer().fit(model, digits())


def test_parts_that_do_not_fit_each_other() -> None:
    encoder, normals = CategoricalEncoder(nn.Flatten(), 2, 6), MLPEncoder(12, SHAPE, (4,))
    blocks = [GaussianEncoder(nn.Flatten(), 2), CategoricalEncoder(nn.Flatten(), 1, 3)]
    swapped = JointPrior([UniformCategorical(1, 3), StandardNormal(2)])
    ladder = JointEncoder([LadderEncoder((2, 3), SHAPE, hidden=8), MLPEncoder(2, SHAPE)])
    models: list[tuple[int, Encoder, Any, str]] = [
        (12, encoder, None, "one-hot blocks, 2 of 6 classes, got one over numbers: take the prior"),
        (12, encoder, UniformCategorical(3, 4), "2 of 6 classes, got one over one-hot blocks, 3 of 4 classes"),
        (12, normals, UniformCategorical(3, 4), "a prior over the encoder's codes, numbers, got one over one-hot"),
        (5, JointEncoder(blocks), swapped, r"blocks of 2 \(numbers\), 3 \(one-hot .*, got one over blocks of 3 \(one"),
        (7, ladder, JointPrior([LadderPrior((2, 3), hidden=8)]), "a prior with latent_dim=7, got latent_dim=5"),
        (7, ladder, JointPrior([StandardNormal(5), StandardNormal(2)]), "a LadderPrior with levels"),
        (7, ladder, JointPrior([StandardNormal(7)]), "a joint prior of 2 blocks, as the encoder has, got one of 1"),
        (5, MLPEncoder(5, SHAPE), JointPrior([StandardNormal(3), VampPrior(3)]), "a posterior of at least 2 blocks"),
    ]
    for size, part, prior, message in models:
        with pytest.raises(ComponentError, match=message):
            mv.VAE(size, SHAPE, encoder=part, prior=prior)
    with pytest.raises(ComponentError, match="a code of 2 blocks or levels, as there are capacities, got one without"):
        mv.VAE(5, SHAPE, objective=ELBO(capacity=(1.0, 2.0)))


def test_lists_that_make_no_sense() -> None:
    inner = MLPEncoder(2, SHAPE)
    for make, message in (
        (lambda: JointEncoder([]), "encoders as a list of at least one"),
        (lambda: JointEncoder([inner, inner]), "encoders with weights of their own, got one of them twice"),
        (lambda: JointEncoder([inner, MLPEncoder(2)]), "encoders of one image_shape"),
        (lambda: JointEncoder([inner], trunk=nn.Linear), "trunk as a torch.nn.Module, or None"),  # type: ignore[arg-type]
        (lambda: JointPrior([]), "priors as a list of at least one"),
        (lambda: JointPrior(StandardNormal(2)), "priors as a list of at least one, got a StandardNormal"),  # type: ignore[arg-type]
        (lambda: JointPrior([inner]), r"priors\[0\] as a mnistvae Prior, got an MLPEncoder"),  # type: ignore[list-item]
        (lambda: JointPrior(2 * [StandardNormal(2)]), "priors with parameters of their own, got one of them twice"),
        (lambda: JointPrior([VampPrior(2), VampPrior(2)]), "at most one prior that takes its size from the model"),
        (
            lambda: mv.VAE(2, SHAPE, prior=JointPrior([StandardNormal(2), VampPrior(2)])),
            "a code of more than 2 dimensions",
        ),
    ):
        with pytest.raises(ComponentError, match=message):
            make()
