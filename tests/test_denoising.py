"""An encoder that sees noise: its share of changed pixels, the terms by hand, and what it leaves alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from test_consistency import vae
from test_full_normal import digits, trainer
from test_resume import StopAt

import mnistvae as mv
from mnistvae.errors import ComponentError, SettingError
from mnistvae.objectives import ELBO, IWAE, Consistency, Denoising, FactorVAE, Objective
from mnistvae.objectives.denoising import _noisy
from mnistvae.training import Checkpoint, Interrupted


@pytest.mark.parametrize("kind", ["mask", "salt-and-pepper", "gaussian"])
def test_noise_changes_as_much_as_it_is_told(kind: str) -> None:
    torch.manual_seed(0)
    x = torch.full((500, 1, 8, 8), 0.5)
    found = _noisy(x, kind, 0.2)
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1
    black, white = float((found == 0).float().mean()), float((found == 1).float().mean())
    if kind == "gaussian":
        assert float((found - x).std()) == pytest.approx(0.2, abs=0.01)
        assert float(_noisy(torch.zeros_like(x), kind, 0.2).mean()) == pytest.approx(0.2 * 0.399, abs=0.005)
    elif kind == "mask":
        assert (black, white) == (pytest.approx(0.2, abs=0.01), 0)
    else:
        assert (black, white) == (pytest.approx(0.1, abs=0.01), pytest.approx(0.1, abs=0.01))
    assert torch.equal(_noisy(x, kind, 0.0), x)
    if kind == "mask":
        assert not _noisy(x, kind, 1.0).any()


@pytest.mark.parametrize("objective", [ELBO(), ELBO(beta=2.0, num_samples=2), IWAE(3)], ids=str)
def test_the_terms_are_those_of_a_code_of_the_noisy_image(objective: Objective) -> None:
    model, x = vae(Denoising(objective, "mask", 0.3)), digits(6)
    torch.manual_seed(3)
    found = model.train().loss(x)
    torch.manual_seed(3)
    noisy = _noisy(x, "mask", 0.3)
    posterior = model.encode(noisy)
    many = torch.Size([{ELBO: getattr(objective, "num_samples", 1), IWAE: 3}[type(objective)]])
    z = posterior.rsample(many) if many.numel() > 1 else posterior.rsample()[None]
    log_p = torch.stack([model.decode(code).log_prob(x) for code in z])
    if isinstance(objective, IWAE):
        weights = log_p + model.latent_prior().log_prob(z) - posterior.log_prob(z)
        expected = torch.tensor(3.0).log() - weights.logsumexp(0)
    else:
        expected = -log_p.mean(0) + objective.beta * torch.distributions.kl_divergence(posterior, model.latent_prior())
    torch.testing.assert_close(found.loss, expected)
    with torch.no_grad():
        for one in (model.eval(), vae(objective).eval()):
            torch.manual_seed(5)
            one.load_state_dict(model.state_dict(), strict=False)
            found = one.loss(x)
            expected = found.loss if one is model else expected
    torch.testing.assert_close(found.loss, expected)


def test_a_linear_gaussian_bound_with_noise_is_below_the_evidence() -> None:
    from test_linear_gaussian import FreeEncoder, images, linear_vae, log_evidence, true_posterior

    x = images(4)
    model = linear_vae(FreeEncoder(*true_posterior(x)), Denoising(ELBO(num_samples=2000), "gaussian", 0.1)).train()
    with torch.no_grad():
        found = -model.loss(x).loss  # of an encoder that looks at no image
    torch.testing.assert_close(found, log_evidence(x), atol=0.1, rtol=0)


@pytest.mark.parametrize("inner", [ELBO, lambda: Consistency(max_shift=1.0), lambda: FactorVAE(hidden=(8,))])
def test_it_trains_around_others_and_a_resumed_run_ends_as_the_whole_one(inner: Any, tmp_path: Path) -> None:
    def made() -> mv.VAE:
        torch.manual_seed(4)  # for the critic
        return vae(Denoising(inner()))

    whole = made()
    trainer().fit(whole, digits())
    with pytest.raises(Interrupted):
        trainer(Checkpoint(tmp_path), StopAt(7)).fit(made(), digits())
    resumed = made()
    trainer(Checkpoint(tmp_path)).fit(resumed, digits(), resume=tmp_path)
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in resumed.state_dict().items())
    mv.save(whole, tmp_path / "model.safetensors")
    assert repr(mv.load(tmp_path / "model.safetensors")) == repr(whole)


def test_a_critic_inside_keeps_its_rate() -> None:
    inner = FactorVAE(hidden=(8,), critic_rate=0.0123)
    (group,) = Denoising(Consistency(inner)).parameter_groups()
    assert group["lr"] == 0.0123


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ({"kind": "dropout"}, SettingError, "kind"),
        ({"amount": -0.1}, SettingError, "amount as a finite number of at least 0"),
        ({"amount": 1.5}, SettingError, "amount from 0 to 1 for kind='mask', got 1.5: it is a probability"),
        ({"objective": 3}, ComponentError, "objective as a mnistvae Objective, or None"),
    ],
)
def test_what_makes_no_sense(how: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Denoising(**how)
