"""Objectives with a critic: their terms by hand, the critic's update against a loop with two optimizers."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from test_full_normal import digits, trainer
from test_resume import StopAt
from torch import Tensor, nn
from torch.nn import functional

import mnistvae as mv
from mnistvae._random import seeded
from mnistvae.errors import ComponentError, SettingError
from mnistvae.networks import MLPDecoder, MLPEncoder
from mnistvae.objectives import ELBO, AdversarialAutoencoder, FactorVAE, Objective
from mnistvae.priors import GaussianMixture
from mnistvae.training import Checkpoint, Doctor, Interrupted

SHAPE = (1, 8, 8)
Make = Callable[[], FactorVAE | AdversarialAutoencoder]
KINDS: dict[str, Make] = {
    "factor": lambda: FactorVAE(3.0, hidden=(16, 16), critic_rate=1e-3),
    "adversarial": lambda: AdversarialAutoencoder(5.0, hidden=(16, 16), critic_rate=1e-3),
}


def vae(objective: Callable[[], Objective], **parts: Any) -> mv.VAE:
    with seeded(3):
        return mv.VAE(
            3,
            SHAPE,
            encoder=MLPEncoder(3, SHAPE, (16,)),
            decoder=MLPDecoder(3, SHAPE, (16,)),
            objective=objective(),
            **parts,
        )


def noise(n: int = 40) -> tuple[Tensor, Tensor]:
    """The normal noise of the codes and what the objective draws after it."""
    torch.manual_seed(8)
    return torch.randn(n, 3), torch.rand(n, 3)


# --- the terms ------------------------------------------------------------------------------------------------------


def test_the_terms_of_factor_vae_by_hand() -> None:
    model, x = vae(KINDS["factor"]), digits()
    codes, keys = noise()
    q = model.encode(x)
    z = q.mean + q.stddev * codes
    torch.manual_seed(8)
    drawn = torch.randn(40, 3)
    assert torch.equal(drawn, codes)
    others = z.detach().clone()
    model.latent_prior().sample(torch.Size([40]))  # drawn in between, and not used
    keys = torch.rand(40, 3)
    for j in range(3):
        others[:, j] = z.detach()[keys[:, j].argsort(), j]
    critic = model.objective.critic
    odds = critic(z)[:, 0]
    cross_entropy = 0.5 * (
        functional.binary_cross_entropy_with_logits(critic(z)[:, 0], torch.ones(40), reduction="none")
        + functional.binary_cross_entropy_with_logits(critic(others)[:, 0], torch.zeros(40), reduction="none")
    )
    torch.manual_seed(8)
    terms = model.loss(x)
    torch.testing.assert_close(terms.extra["total_correlation"], odds)
    torch.testing.assert_close(terms.extra["critic"], cross_entropy)
    torch.testing.assert_close(terms.loss, terms.reconstruction + terms.kl + 3 * odds)
    for j in range(3):
        assert sorted(others[:, j].tolist()) == sorted(z[:, j].tolist())


def test_the_terms_of_an_adversarial_autoencoder_by_hand() -> None:
    model, x = vae(KINDS["adversarial"]), digits()
    torch.manual_seed(8)
    q = model.encode(x)
    z = q.rsample()
    others = model.latent_prior().sample(torch.Size([40]))
    critic = model.objective.critic
    of_codes, of_others = critic(z)[:, 0].sigmoid(), critic(others)[:, 0].sigmoid()
    torch.manual_seed(8)
    terms = model.loss(x)
    torch.testing.assert_close(terms.extra["adversary"], -(1 - of_codes).log())
    torch.testing.assert_close(terms.extra["critic"], -0.5 * (of_codes.log() + (1 - of_others).log()))
    torch.testing.assert_close(terms.loss, terms.reconstruction - 5 * (1 - of_codes).log())


@pytest.mark.parametrize("kind", KINDS)
def test_each_side_gets_the_gradient_of_its_own_loss(kind: str) -> None:
    model, x = vae(KINDS[kind]), digits()
    torch.manual_seed(8)
    terms = model.loss(x)
    terms.loss.sum().backward()
    critic = list(model.objective.critic.parameters())
    found = [weight.grad for weight in model.parameters()]
    torch.manual_seed(8)
    again = model.loss(x)
    of_critic = torch.autograd.grad(again.extra["critic"].sum(), critic)
    torch.manual_seed(8)
    term = model.loss(x).extra["critic"].sum()
    encoder = torch.autograd.grad(term, list(model.encoder.parameters()), allow_unused=True)
    assert all(one is None for one in encoder), "the critic's loss does not reach the encoder"
    for weight, expected in zip(critic, of_critic, strict=True):
        torch.testing.assert_close(weight.grad, expected)
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in found)
    torch.manual_seed(8)
    other = model.loss(x).extra["total_correlation" if kind == "factor" else "adversary"].sum()
    assert all(one is None for one in torch.autograd.grad(other, critic, allow_unused=True, retain_graph=True))
    assert any(
        one is not None for one in torch.autograd.grad(other, list(model.encoder.parameters()), allow_unused=True)
    )


# --- the update -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_update_is_that_of_two_optimizers_side_by_side(kind: str) -> None:
    trained = vae(KINDS[kind])
    start = {name: value.clone() for name, value in trained.state_dict().items()}
    recorded: list[tuple[Tensor, Tensor]] = []
    inner = trained.objective.forward

    def record(model: Any, x: Tensor, y: Tensor | None = None) -> Any:
        if trained.training:
            recorded.append((x.clone(), torch.get_rng_state()))
        return inner(model, x, y)

    trained.objective.forward = record  # type: ignore[method-assign]
    trainer(epochs=2, clip_norm=1.0).fit(trained, digits())
    del trained.objective.forward

    by_hand = vae(KINDS[kind])
    by_hand.load_state_dict(start)
    by_hand.train()
    critic = list(by_hand.objective.critic.parameters())
    own = {id(weight) for weight in critic}
    model = [weight for weight in by_hand.parameters() if id(weight) not in own]
    first = torch.optim.Adam(model, 1e-2)
    second = torch.optim.Adam(critic, 1e-3, betas=(0.5, 0.9))
    assert len(recorded) == 10
    for x, state in recorded:
        torch.set_rng_state(state)
        terms = by_hand.loss(x)
        gradients = torch.autograd.grad(terms.loss.mean(), model, retain_graph=True)
        of_critic = torch.autograd.grad(terms.extra["critic"].mean(), critic)
        for weights, found in ((model, gradients), (critic, of_critic)):
            norm = float(torch.stack([one.square().sum() for one in found]).sum().sqrt())
            for weight, one in zip(weights, found, strict=True):
                weight.grad = one * min(1.0, 1.0 / (norm + 1e-6))
        first.step()
        second.step()
    for name, value in by_hand.state_dict().items():
        torch.testing.assert_close(trained.state_dict()[name], value, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_ends_as_the_whole_one_and_the_critic_is_in_the_file(kind: str, tmp_path: Path) -> None:
    whole = vae(KINDS[kind])
    history = trainer().fit(whole, digits())
    assert {"critic"} < set(history[0])
    with pytest.raises(Interrupted):
        trainer(Checkpoint(tmp_path), StopAt(7)).fit(vae(KINDS[kind]), digits())
    resumed = vae(KINDS[kind])
    trainer(Checkpoint(tmp_path)).fit(resumed, digits(), resume=tmp_path)
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in resumed.state_dict().items())
    mv.save(whole, tmp_path / "model.safetensors")
    same = mv.load(tmp_path / "model.safetensors")
    assert repr(same) == repr(whole)
    torch.manual_seed(0)
    expected = whole.loss(digits()).extra["critic"]
    torch.manual_seed(0)
    torch.testing.assert_close(same.loss(digits()).extra["critic"], expected)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*_prims_common.check:FutureWarning")  # torch's own, while it compiles
@pytest.mark.parametrize("kind", KINDS)
def test_it_trains_compiled_and_in_bf16(kind: str) -> None:
    how: dict[str, Any] = {"clip_norm": 2.0}
    plain = trainer(**how).fit(vae(KINDS[kind]), digits())
    compiled = trainer(**how, compile=True).fit(vae(KINDS[kind]), digits())
    for name in ("loss", "critic"):
        assert compiled[3][name] == pytest.approx(plain[3][name], rel=1e-3)
    half = trainer(precision="bf16", **how).fit(vae(KINDS[kind]), digits())
    assert half[1]["loss"] == pytest.approx(plain[1]["loss"], rel=0.02)


# --- what it is for -------------------------------------------------------------------------------------------------


def test_the_critic_finds_the_total_correlation_of_codes_that_depend_on_each_other() -> None:
    """Of two normals with correlation r it is -log(1 - r^2) / 2."""
    r, n = 0.8, 4000
    torch.manual_seed(0)
    first = torch.randn(n)
    z = torch.stack([first, r * first + math.sqrt(1 - r * r) * torch.randn(n)], dim=1)
    objective = FactorVAE(hidden=(64, 64))
    optimizer = torch.optim.Adam(objective.critic.parameters(), 3e-3)
    objective.critic(z)
    for _ in range(300):
        others = objective._others(z, z)
        loss = functional.softplus(-objective.critic(z)).mean() + functional.softplus(objective.critic(others)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = float(objective.critic(z).mean().detach())
    assert found == pytest.approx(-0.5 * math.log(1 - r * r), abs=0.1)


def test_an_adversary_brings_codes_towards_the_prior() -> None:
    far = vae(lambda: ELBO(beta=0.0))
    near = vae(lambda: AdversarialAutoencoder(40.0, hidden=(32,), critic_rate=3e-3))
    distances = []
    for model in (far, near):
        trainer(epochs=40, learning_rate=3e-3).fit(model, digits())
        with torch.no_grad():
            z = model.encode(digits()).sample(torch.Size([50])).flatten(0, 1)
        distances.append(float((z.mean(0).abs() + (z.std(0) - 1).abs()).mean()))
    assert distances[1] < 0.6 * distances[0]


def test_other_priors_other_critics_and_other_optimizers() -> None:
    prior = GaussianMixture(3, 2)
    model = vae(lambda: AdversarialAutoencoder(critic=nn.Linear(3, 1)), prior=prior)
    before = model.objective.critic.weight.clone()
    trainer(optimizer=torch.optim.SGD, learning_rate=1e-3).fit(model, digits())
    assert not torch.equal(model.objective.critic.weight, before)
    frozen = vae(KINDS["factor"])
    for weight in frozen.objective.critic.parameters():
        weight.requires_grad = False
    kept = [weight.clone() for weight in frozen.objective.critic.parameters()]
    trainer().fit(frozen, digits())
    assert all(torch.equal(a, b) for a, b in zip(kept, frozen.objective.critic.parameters(), strict=True))


def test_the_doctor_says_when_the_critic_has_lost_the_codes() -> None:
    model = vae(lambda: AdversarialAutoencoder(1.0, hidden=(8,), critic_rate=1e-6))
    with torch.no_grad():
        last = list(model.objective.critic.modules())[-1]
        assert isinstance(last, nn.Linear)
        last.weight.zero_()
        last.bias.fill_(30.0)
    with pytest.warns(
        UserWarning, match=r"the critic's cross-entropy is 15 nats after 1 epochs, where chance has 0\.69"
    ):
        trainer(Doctor(patience=1, active=0.0), epochs=1).fit(model, digits())


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: FactorVAE(-1.0), SettingError, "gamma"),
        (lambda: AdversarialAutoencoder(math.inf), SettingError, "weight"),
        (lambda: FactorVAE(critic_rate=0.0), SettingError, "critic_rate above 0"),
        (lambda: FactorVAE(hidden=(0,)), SettingError, "hidden"),
        (lambda: FactorVAE(hidden=()), SettingError, "hidden"),
        (lambda: FactorVAE(critic=3), ComponentError, "critic as a torch.nn.Module, or None, got an int"),
        (
            lambda: vae(lambda: FactorVAE(critic=nn.Linear(3, 2))),
            ComponentError,
            r"the critic to return one logit for each code, shape \(1,\) or \(1, 1\), got shape \(1, 2\)",
        ),
    ],
)
def test_what_makes_no_sense(make: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()
