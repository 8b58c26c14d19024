"""Bounds between the ELBO and the importance-weighted one: MIWAE, CIWAE and PIWAE (Rainforth et al., 2018)."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from test_linear_gaussian import (
    FreeEncoder,
    gradients,
    images,
    linear_vae,
    losses_of_one_image,
    unit_mixture,
    wrong_posterior,
)
from torch import Tensor

import mnistvae as mv
from mnistvae.errors import SettingError
from mnistvae.objectives import ELBO, IWAE, Objective

K, M = 3, 4


def vae(objective: Objective, x: Tensor) -> mv.VAE:
    return linear_vae(FreeEncoder(*wrong_posterior(x)), objective, unit_mixture())


def log_weights(x: Tensor, samples: int, seed: int = 3) -> Tensor:
    """Logarithms of the weights of the codes that a loss under this seed draws, (samples, B)."""
    model = vae(ELBO(), x)
    torch.manual_seed(seed)
    posterior, prior = model.encode(x), model.latent_prior()
    z = posterior.rsample(torch.Size([samples]))
    pixels = torch.stack([model.decode(code).log_prob(x) for code in z])
    return pixels + prior.log_prob(z) - posterior.log_prob(z)


def loss(objective: Objective, x: Tensor) -> Tensor:
    model = vae(objective, x)
    torch.manual_seed(3)
    return model.loss(x).loss


def test_groups_are_averaged_after_the_logarithm() -> None:
    x = images(5)
    weights = log_weights(x, K * M).reshape(K, M, 5)
    expected = -(weights.exp().mean(0).log()).mean(0)
    torch.testing.assert_close(loss(IWAE(K, groups=M), x), expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(loss(IWAE(K, "doubly-reparameterized", groups=M), x), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_share_of_the_elbo(share: float) -> None:
    x = images(5)
    weights = log_weights(x, K)
    expected = -(share * weights.mean(0) + (1 - share) * weights.exp().mean(0).log())
    torch.testing.assert_close(loss(IWAE(K, elbo_weight=share), x), expected, rtol=1e-10, atol=1e-10)


def test_the_value_with_partial_gradients_is_the_bound_of_all_samples() -> None:
    x = images(5)
    torch.testing.assert_close(loss(IWAE(K, groups=M, partial=True), x), loss(IWAE(K * M), x), rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        torch.testing.assert_close(loss(IWAE(K, groups=M, partial=True), x), loss(IWAE(K * M), x))


def test_one_group_of_one_sample_is_the_elbo() -> None:
    x = images(5)
    for objective in (IWAE(1), IWAE(1, partial=True), IWAE(1, elbo_weight=0.3)):
        torch.testing.assert_close(loss(objective, x), loss(ELBO(), x), rtol=1e-12, atol=1e-12)


def test_partial_gradients_are_those_of_the_groups_for_the_encoder_and_of_all_samples_for_the_rest() -> None:
    x = images(5)
    found = {}
    kinds = {"all": IWAE(K * M), "groups": IWAE(K, groups=M), "partial": IWAE(K, groups=M, partial=True)}
    for name, objective in kinds.items():
        found[name] = gradients(vae(objective, x), x)
    assert found["partial"].keys() == found["all"].keys()
    for name, gradient in found["partial"].items():
        source = "groups" if name.startswith("encoder") else "all"
        torch.testing.assert_close(gradient, found[source][name], rtol=1e-9, atol=1e-11)
    assert not torch.allclose(found["all"]["encoder.mean"], found["groups"]["encoder.mean"])


def test_doubly_reparameterized_groups_have_the_gradient_of_plain_ones_in_the_mean() -> None:
    x = images(1).expand(40_000, -1, -1, -1)
    means = []
    for gradient in ("plain", "doubly-reparameterized"):
        objective = IWAE(K, gradient, groups=2)  # type: ignore[arg-type]
        each = gradients(vae(objective, x), x)["encoder.mean"]
        means.append((each.mean(0), each.std(0) / math.sqrt(len(x))))
    (plain, error), (doubly, smaller) = means
    assert bool(((plain - doubly).abs() < 5 * (error + smaller)).all())
    assert bool((smaller < error).all())


def test_bounds_lie_in_order() -> None:
    values = {}
    for name, objective in {
        "elbo": ELBO(),
        "share": IWAE(8, elbo_weight=0.5),
        "groups": IWAE(4, groups=2),
        "iwae": IWAE(8),
    }.items():
        values[name] = losses_of_one_image(objective, 20_000)[0]
    for looser, tighter in (("elbo", "share"), ("share", "iwae"), ("elbo", "groups"), ("groups", "iwae")):
        error = math.sqrt(sum(float(values[name].var()) / 20_000 for name in (looser, tighter)))
        assert float(values[looser].mean() - values[tighter].mean()) > 5 * error
    same = losses_of_one_image(IWAE(4), 20_000)[0]
    assert float(values["groups"].mean() - same.mean()) == pytest.approx(0.0, abs=5 * float(same.std()) / 141)
    assert float(values["groups"].std()) < float(same.std())


@pytest.mark.parametrize("objective", [IWAE(2, groups=2), IWAE(2, elbo_weight=0.3), IWAE(2, groups=2, partial=True)])
def test_a_model_is_trained_saved_and_read(objective: Objective, tmp_path: Any) -> None:
    model = mv.VAE(2, (1, 8, 8), objective=objective, prior=mv.priors.VampPrior(3))
    data = mv.data.ImageDataset(torch.rand(40, 1, 8, 8))
    history = mv.Trainer(epochs=2, batch_size=20, progress=False, device="cpu", seed=0).fit(
        model, data, validation=data
    )
    assert math.isfinite(history[-1]["validation_loss"])
    same = mv.load(mv.save(model, tmp_path / "model.safetensors"))
    assert repr(same.objective) == repr(objective)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"groups": 0}, "groups as an integer of at least 1, got 0"),
        ({"elbo_weight": 1.5}, "elbo_weight from 0 to 1, got 1.5"),
        ({"elbo_weight": -0.5}, "elbo_weight from 0 to 1, got -0.5"),
        ({"elbo_weight": 0.5, "gradient": "doubly-reparameterized"}, "another gradient than the plain one, got both"),
        ({"partial": True, "gradient": "doubly-reparameterized"}, "partial=True or gradient='doubly-.*got both"),
        ({"partial": True, "elbo_weight": 0.5}, "partial=True or elbo_weight=0.5, got both"),
        ({"partial": "yes"}, "partial as True or False, got 'yes'"),
    ],
)
def test_wrong_settings(how: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        IWAE(3, **how)
