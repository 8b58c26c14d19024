"""A prior of tokens, against the sum over all grids of a tiny codebook; fitted after training and along with it."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from readback import stirred
from scipy import stats
from test_full_normal import digits, trainer
from test_graphs import TapeRecorder, assert_recorded_equals_usual, recorder
from test_quantized import GRID, SHAPE, D, K, fsq_vae, joint_vae, trunk, vq_vae
from test_resume import StopAt
from torch import Tensor

import mnistvae as mv
from mnistvae import _likeliest
from mnistvae._likeliest import fit_tokens
from mnistvae.distributions import TokenCodes, tempered
from mnistvae.distributions.tokens import codes_of, tokens_of
from mnistvae.errors import ComponentError, DataError, SettingError
from mnistvae.fitting import fit_prior
from mnistvae.losses import kl_or_estimate
from mnistvae.networks import VectorQuantizedEncoder
from mnistvae.priors import TokenPrior, UniformTokens
from mnistvae.training import Checkpoint, Interrupted

__all__ = ["recorder"]  # a fixture

SIZE, PLACES = 3, (2, 2)
#: Every grid of four tokens out of three.
GRIDS = torch.tensor(list(itertools.product(range(SIZE), repeat=4)))
TEMPERATURES = (1.0, 0.6, 2.0)


def prior(**how: Any) -> TokenPrior:
    """A prior that is far from where it starts."""
    torch.manual_seed(3)
    made = TokenPrior(SIZE, PLACES, **{"width": 8, "heads": 2, "dropout": 0.0} | how)
    return stirred(made, 0.5).double().eval()


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_the_probabilities_of_all_grids_sum_to_one(temperature: float) -> None:
    with torch.no_grad():
        probability = prior().log_prob_of(GRIDS, temperature).exp()
    assert float(probability.sum()) == pytest.approx(1, abs=1e-9)
    assert float(probability.max()) > 3 * float(probability.min()), "it is far from even"


def test_a_temperature_divides_the_logits_of_each_token() -> None:
    p = prior()
    with torch.no_grad():
        logits = p.network(GRIDS) / 0.6
        by_hand = sum(logits[:, i].log_softmax(-1).gather(1, GRIDS[:, i : i + 1])[:, 0] for i in range(4))
        torch.testing.assert_close(p.log_prob_of(GRIDS, 0.6), by_hand)
        cold = p.log_prob_of(GRIDS, 0.0)
    torch.manual_seed(0)
    (greedy,) = p.draw_tokens(5, 0.0).unique(dim=0)
    assert cold.exp().tolist() == (greedy == GRIDS).all(1).double().tolist()


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_draws_are_as_often_as_they_are_likely(temperature: float) -> None:
    p, n = prior(), 20_000
    torch.manual_seed(0)
    with torch.no_grad():
        counts = (p.draw_tokens(n, temperature)[:, None] == GRIDS).all(-1).sum(0)
        expected = n * p.log_prob_of(GRIDS, temperature).exp()
    assert int(counts.sum()) == n
    rare = expected < 5  # which count as one
    seen, likely = (torch.cat([one[~rare], one[rare].sum()[None]]).double() for one in (counts, expected))
    assert stats.chisquare(seen.numpy(), likely.numpy()).pvalue > 1e-3


def test_a_token_depends_on_those_before_it_alone_and_all_of_these() -> None:
    p = prior()
    with torch.no_grad():
        before = p.network(GRIDS[:1])
        for place in range(4):
            other = GRIDS[:1].clone()
            other[0, place] = 2
            moved = (p.network(other) != before).any(-1)[0]
            assert moved.tolist() == [later > place for later in range(4)]


def test_a_step_at_a_time_it_is_the_same_network() -> None:
    p = prior(blocks=3)
    with torch.no_grad():
        whole, memory = p.network(GRIDS), []
        for place in range(4):
            logits, memory = p.network.step(place, GRIDS[:, place - 1], memory)
            torch.testing.assert_close(logits, whole[:, place])


def test_at_first_all_tokens_are_alike() -> None:
    fresh, even = TokenPrior(K, GRID).eval(), UniformTokens(K, GRID)
    tokens = torch.randint(K, (5, 6))
    torch.testing.assert_close(fresh.log_prob_of(tokens), even.log_prob_of(tokens))


def test_the_density_of_codes_is_that_of_their_tokens() -> None:
    model = vq_vae(lambda: {"prior": stirred(TokenPrior(K, GRID, 8, heads=2))}).double().eval()
    encoder, p = model.encoder, model.latent_prior()
    assert isinstance(encoder, VectorQuantizedEncoder)
    q = model.encode(digits(5).double())
    with torch.no_grad():
        expected = -model.prior.log_prob_of(q.tokens)
        torch.testing.assert_close(kl_or_estimate(q, p, q.mean), expected)
        torch.testing.assert_close(p.log_prob(q.mean), -expected)
        torch.testing.assert_close(tempered(p, 0.5).log_prob(q.mean), model.prior.log_prob_of(q.tokens, 0.5))
        torch.testing.assert_close(model.loss(digits(5).double()).kl, expected)
    torch.manual_seed(0)
    drawn = p.sample(torch.Size([2, 600]))  # more than are drawn at once
    tokens, exact = tokens_of(drawn.flatten(0, 1), encoder.codebook)
    assert bool(exact.all())
    torch.manual_seed(0)
    some = torch.cat([model.prior.draw_tokens(n) for n in (1024, 176)])
    assert torch.equal(codes_of(some, encoder.codebook), drawn.flatten(0, 1))
    assert len(tokens.unique()) == K


# --- fitted after training ------------------------------------------------------------------------------------------


def chains(n: int, seed: int = 0) -> tuple[Tensor, float]:
    """Rows of four tokens, each after the first the one before it, or, one time in five, the next; their entropy."""
    noise = torch.Generator().manual_seed(seed)
    first = torch.randint(SIZE, (n, 1), generator=noise)
    steps = (torch.rand(n, 3, generator=noise) < 0.2).long().cumsum(1)
    rows = torch.cat([first, (first + steps) % SIZE], 1)
    return rows, math.log(SIZE) - 3 * (0.8 * math.log(0.8) + 0.2 * math.log(0.2))


def test_a_fit_finds_the_distribution_of_the_tokens() -> None:
    rows, entropy = chains(3000)
    torch.manual_seed(0)
    made = TokenPrior(SIZE, PLACES, width=16, blocks=1, heads=2, dropout=0.0)
    held_out = fit_tokens(made, rows, 400, seed=0)
    assert not made.training
    other, _ = chains(20_000, seed=1)
    with torch.no_grad():
        nats = -float(made.log_prob_of(other).mean())
    assert entropy - 0.01 < nats < entropy + 0.06
    assert -held_out == pytest.approx(entropy, abs=0.15)


def test_a_fit_is_a_function_of_the_seed_and_leaves_no_trace() -> None:
    rows, _ = chains(300)
    state, found = torch.get_rng_state(), []
    for seed in (0, 0, 1):
        torch.manual_seed(0)
        made = TokenPrior(SIZE, PLACES, width=8, blocks=1, heads=2)
        torch.set_rng_state(state)
        fit_tokens(made, rows, 12, seed)
        assert torch.equal(torch.get_rng_state(), state)
        found.append(torch.cat([weight.detach().flatten() for weight in made.parameters()]))
        assert all(weight.grad is None for weight in made.parameters())
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_the_best_parameters_are_kept_and_the_search_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, _ = chains(60)
    values, looks = [-5.0, -4.0, *[-9.0] * 30], []

    def look(*_: Any) -> float:
        looks.append(made.network.places.detach().clone())
        return values[len(looks) - 1]

    monkeypatch.setattr(_likeliest, "_mean", look)
    torch.manual_seed(0)
    made = TokenPrior(SIZE, PLACES, width=8, blocks=1, heads=2)
    assert fit_tokens(made, rows, 50, 0) == -4.0
    assert len(looks) == 2 + _likeliest._PATIENCE
    assert torch.equal(made.network.places, looks[1])
    assert not torch.equal(looks[1], looks[2])


def test_a_likelihood_that_is_not_finite_is_an_error() -> None:
    rows, _ = chains(60)
    made = TokenPrior(SIZE, PLACES, width=8, blocks=1, heads=2)
    with torch.no_grad():
        made.network.out.bias[0] = math.nan
    with pytest.raises(DataError, match="a finite likelihood of the codes, got nan nats"):
        fit_tokens(made, rows, 5, 0)


@pytest.fixture(scope="module")
def trained() -> mv.VAE:
    model = vq_vae()
    trainer(epochs=10).fit(model, digits(120))
    return model


def test_a_model_of_tokens_gets_a_prior_to_draw_from(trained: mv.VAE, tmp_path: Path) -> None:
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    given = trained.replace(prior=TokenPrior(K, GRID, width=16, blocks=1, heads=2)).eval()
    fitted, again = (fit_prior(given, digits(120), kind="tokens", steps=60, seed=3) for _ in range(2))
    assert repr(fitted.prior) == repr(given.prior), "of the same settings"
    assert all(torch.equal(value, trained.state_dict()[name]) for name, value in before.items())
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in fitted.state_dict().items())
    assert not fitted.training
    with torch.no_grad():
        gain = trained.loss(digits(120)).kl.mean() - fitted.loss(digits(120)).kl.mean()
    assert float(gain) > 1
    torch.manual_seed(0)
    assert fitted.sample(5, temperature=0.8).shape == (5, *SHAPE)
    mv.save(fitted, tmp_path / "model.safetensors")
    same = mv.load(tmp_path / "model.safetensors")
    drawn = [one.sample(4, generator=torch.Generator().manual_seed(1)) for one in (fitted, same)]
    assert torch.equal(*drawn)
    assert fitted.tag() == "grey-bce-point"
    double = fit_prior(fsq_vae().double().eval(), digits(100), kind="tokens", steps=1)
    assert double.sample(2).dtype is double.prior.network.start.dtype is torch.float64
    assert double.prior.width == 128


def test_what_does_not_fit(trained: mv.VAE) -> None:
    normal = mv.VAE(2, SHAPE)
    for model, kind, message in (
        (normal, "tokens", "a model with an encoder of tokens for kind='tokens', got .*ConvEncoder"),
        (trained, "mixture", "kind='tokens' for the codes of .*VectorQuantizedEncoder, got 'mixture'"),
        (joint_vae(), "tokens", "a model with an encoder of tokens for kind='tokens', got .*JointEncoder"),
    ):
        with pytest.raises(ComponentError, match=message):
            fit_prior(model, digits(120), kind=kind)  # type: ignore[arg-type]
    with pytest.raises(SettingError, match=r"kind as one of 'mixture', .*, 'tokens', got 'flow'"):
        fit_prior(normal, digits(120), kind="flow")  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="steps as an integer of at least 1, got 0"):
        fit_prior(trained, digits(120), kind="tokens", steps=0)
    with pytest.raises(DataError, match="at least 100 images for kind='tokens', got 99: pass more"):
        fit_prior(trained, digits(99), kind="tokens")
    with pytest.raises(ComponentError, match="a distribution whose draws are known as a function of noise"):
        mv.export(trained, Path("never.pt2"), part="sample", format="pt2")


def test_settings_that_make_no_sense() -> None:
    for how, message in (
        ({"width": 10, "heads": 4}, "a width that the heads divide, got width=10 and heads=4"),
        ({"dropout": 1.0}, "dropout from 0 to below 1, got 1.0"),
        ({"blocks": 0}, "blocks as an integer of at least 1"),
        ({"heads": 0}, "heads as an integer of at least 1"),
        ({"codebook_size": 1}, "codebook_size as an integer of at least 2"),
    ):
        with pytest.raises(SettingError, match=message):
            TokenPrior(**how)  # type: ignore[arg-type]


# --- trained with the model -----------------------------------------------------------------------------------------


def learned(**how: Any) -> mv.VAE:
    return vq_vae(lambda: {"prior": TokenPrior(K, GRID, 8, 1, 2, **how)})


def test_in_training_it_learns_and_the_encoder_has_no_gradient_from_it() -> None:
    model, found = learned(dropout=0.0), []
    for one in (model, model.replace(prior=UniformTokens(K, GRID))):
        one.train().loss(digits(5)).loss.mean().backward()
        found.append([weight.grad for weight in one.encoder.parameters()])
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))
    assert bool(model.prior.network.out.bias.grad.any())


def test_it_trains_and_a_resumed_run_ends_as_the_whole_one(tmp_path: Path) -> None:
    whole = learned()
    history = trainer().fit(whole, digits(), digits(8))
    assert history[3]["reconstruction"] < history[0]["reconstruction"]
    assert whole.prior.network.out.bias.any()
    with pytest.raises(Interrupted):
        trainer(Checkpoint(tmp_path), StopAt(7)).fit(learned(), digits(), digits(8))
    resumed = learned()
    trainer(Checkpoint(tmp_path)).fit(resumed, digits(), digits(8), resume=tmp_path)
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in resumed.state_dict().items())


def test_recorded_steps_train_it(recorder: TapeRecorder) -> None:
    assert_recorded_equals_usual(lambda: learned(dropout=0.0), recorder)


def test_it_trains_in_bf16() -> None:
    plain, other = (trainer(**more).fit(learned(), digits()) for more in ({}, {"precision": "bf16"}))
    assert other[1]["loss"] == pytest.approx(plain[1]["loss"], rel=0.03)
    half = learned().bfloat16().eval()
    assert half.sample(3).dtype is half.loss(digits(4)).kl.dtype is torch.bfloat16


@pytest.mark.filterwarnings("ignore:.*_prims_common.check:FutureWarning")  # torch's own, while it compiles
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # as well
@pytest.mark.slow
def test_it_trains_compiled() -> None:
    plain, other = (trainer(**more).fit(learned(dropout=0.0), digits()) for more in ({}, {"compile": True}))
    assert other[3]["loss"] == pytest.approx(plain[3]["loss"], rel=1e-3)


def test_a_conditional_model_has_one_prior_for_all_labels() -> None:
    torch.manual_seed(0)
    encoder = VectorQuantizedEncoder(trunk(), K, D, GRID, num_classes=3)
    model = mv.VAE(6 * D, SHAPE, encoder=encoder, prior=UniformTokens(K, GRID), num_classes=3)
    data = mv.ImageDataset(digits(120), torch.arange(120) % 3)
    fitted = fit_prior(model, data, kind="tokens", steps=2)
    assert fitted.sample(3, y=1).shape == (3, *SHAPE)
    assert isinstance(fitted.latent_prior([0, 1]), TokenCodes)
