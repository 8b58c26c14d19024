"""Objectives that match the codes of all images to the prior: distances by loops, losses by hand, special cases."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import mnistvae as mv
from mnistvae.errors import SettingError
from mnistvae.losses import covariance_penalty, maximum_mean_discrepancy
from mnistvae.networks import MLPDecoder, MLPEncoder
from mnistvae.objectives import DIPVAE, ELBO, InfoVAE, Objective

SHAPE = (1, 4, 4)


def codes(n: int, seed: int, size: int = 3) -> Tensor:
    return torch.randn(n, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def vae(objective: Objective) -> mv.VAE:
    torch.manual_seed(0)
    parts = {"encoder": MLPEncoder(3, SHAPE, (8,)), "decoder": MLPDecoder(3, SHAPE, (8,))}
    return mv.VAE(3, SHAPE, objective=objective, **parts).double()


def terms(objective: Objective, n: int = 6) -> Any:
    x = torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    model = vae(objective)
    torch.manual_seed(2)
    return model.loss(x), model, x


def kernel(a: Tensor, b: Tensor, kind: str) -> float:
    squared = sum((float(one) - float(other)) ** 2 for one, other in zip(a, b, strict=True))
    return math.exp(-squared / (2 * len(a))) if kind == "rbf" else 2 * len(a) / (2 * len(a) + squared)


@pytest.mark.parametrize("kind", ["imq", "rbf"])
def test_the_discrepancy_is_a_loop_over_pairs(kind: str) -> None:
    a, b = codes(5, 0), codes(5, 1) + 0.5
    pairs = [(i, j) for i in range(5) for j in range(5)]
    within = sum(kernel(a[i], a[j], kind) + kernel(b[i], b[j], kind) for i, j in pairs if i != j) / 20
    between = sum(kernel(a[i], b[j], kind) for i, j in pairs) / 25
    assert float(maximum_mean_discrepancy(a, b, kind)) == pytest.approx(within - 2 * between, rel=1e-10)


@pytest.mark.parametrize("kind", ["imq", "rbf"])
def test_the_discrepancy_is_zero_in_the_mean_for_one_distribution_and_grows_with_the_distance(kind: str) -> None:
    draws = torch.stack([maximum_mean_discrepancy(codes(20, s), codes(20, s + 1000), kind) for s in range(500)])
    assert abs(float(draws.mean())) < 4 * float(draws.std()) / math.sqrt(500)
    values = [float(maximum_mean_discrepancy(codes(300, 0), codes(300, 1) + shift, kind)) for shift in (0.0, 0.5, 2.0)]
    assert values == sorted(values)
    assert maximum_mean_discrepancy(codes(1, 0), codes(1, 1), kind).isfinite()


def test_the_discrepancy_has_its_gradient() -> None:
    a, b = codes(4, 0).requires_grad_(), codes(4, 1).requires_grad_()
    for kind in ("imq", "rbf"):
        assert torch.autograd.gradcheck(lambda x, y, k=kind: maximum_mean_discrepancy(x, y, k), (a, b))


@pytest.mark.parametrize("alpha", [-1.0, 0.0, 0.5, 1.0])
def test_the_loss_is_the_sum_of_its_weighted_terms(alpha: float) -> None:
    found, _, _ = terms(InfoVAE(alpha, 5.0))
    expected = found.reconstruction + (1 - alpha) * found.kl + (alpha + 4) * found.extra["mmd"]
    torch.testing.assert_close(found.loss, expected)
    assert found.extra["mmd"].shape == (6,)


def test_with_the_kl_term_alone_it_is_the_elbo() -> None:
    found, expected = terms(InfoVAE(alpha=0.0, weight=1.0))[0], terms(ELBO())[0]
    for name in ("loss", "reconstruction", "kl"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name))


@pytest.mark.parametrize("kind", ["I", "II"])
def test_the_penalty_is_a_loop_over_dimensions(kind: Any) -> None:
    found, model, x = terms(DIPVAE(kind, off_diagonal=2.0, diagonal=3.0))
    posterior = model.encode(x)
    means = posterior.mean.detach().numpy()
    total = 0.0
    for i in range(3):
        for j in range(3):
            c = ((means[:, i] - means[:, i].mean()) * (means[:, j] - means[:, j].mean())).mean()
            if kind == "II" and i == j:
                c += float(posterior.variance[:, i].detach().mean())
            total += 3.0 * (c - 1) ** 2 if i == j else 2.0 * c**2
    torch.testing.assert_close(found.extra["covariance"], torch.full((6,), total, dtype=torch.float64))
    torch.testing.assert_close(found.loss, found.reconstruction + found.kl + total)


def test_a_covariance_of_one_costs_nothing() -> None:
    assert float(covariance_penalty(torch.eye(4), 10.0, 10.0)) == 0.0


@pytest.mark.parametrize("objective", [InfoVAE(), InfoVAE(0.5, 10.0, "rbf"), DIPVAE("I"), DIPVAE("II")])
def test_a_run_that_is_saved_and_read(objective: Objective, tmp_path: Path) -> None:
    model = vae(objective).float()
    data = mv.data.ImageDataset(torch.rand(60, *SHAPE))
    history = mv.Trainer(epochs=3, batch_size=20, seed=0, progress=False, device="cpu").fit(
        model, data, validation=data
    )
    assert history[-1]["loss"] < history[0]["loss"]
    assert {"mmd", "covariance"} & set(history[-1])
    same = mv.load(mv.save(model, tmp_path / "model.safetensors"))
    assert repr(same.objective) == repr(objective)


def test_it_draws_codes_to_the_prior() -> None:
    data = mv.data.ImageDataset(torch.rand(200, *SHAPE, generator=torch.Generator().manual_seed(0)))
    spread = {}
    for name, objective in (("free", InfoVAE(1.0, 0.0)), ("matched", InfoVAE(1.0, 300.0))):
        model = vae(objective).float()
        trainer = mv.Trainer(epochs=30, batch_size=100, learning_rate=1e-2, seed=0, progress=False, device="cpu")
        trainer.fit(model, data)
        with torch.no_grad():
            spread[name] = float(model.encode(data.images).rsample().std(0).log().abs().mean())
    assert spread["matched"] < 0.5 * spread["free"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: InfoVAE(alpha=1.5), "alpha as a finite number of at most 1, got 1.5"),
        (lambda: InfoVAE(alpha=math.nan), "alpha as a finite number of at most 1"),
        (lambda: InfoVAE(alpha=0.5, weight=0.2), "alpha \\+ weight of at least 1, got 0.5 \\+ 0.2"),
        (lambda: InfoVAE(kernel="linear"), "kernel"),  # type: ignore[arg-type]
        (lambda: DIPVAE("III"), "kind"),  # type: ignore[arg-type]
        (lambda: DIPVAE(off_diagonal=-1.0), "a finite off_diagonal of at least 0, got -1"),
        (lambda: DIPVAE(diagonal=math.inf), "a finite diagonal of at least 0, got inf"),
    ],
)
def test_wrong_settings(make: Any, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        make()
