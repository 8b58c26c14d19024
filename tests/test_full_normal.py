"""A posterior with correlations, and the gradient without the score, against closed forms on a linear model."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributions as td
from scipy import stats
from test_linear_gaussian import (
    FreeEncoder,
    gradients,
    images,
    linear_vae,
    true_posterior,
    wrong_posterior,
)
from test_resume import StopAt
from torch import Tensor, nn

import mnistvae as mv
from mnistvae.distributions import DiagonalNormal, FullNormal, UnitNormal, detached, from_noise, tempered
from mnistvae.errors import ComponentError, SettingError
from mnistvae.images import ImageShape
from mnistvae.likelihoods import Gaussian
from mnistvae.networks import Encoder, FullNormalEncoder, GaussianEncoder, TrunkDecoder
from mnistvae.objectives import ELBO, IWAE, Objective
from mnistvae.priors import GaussianMixture, VampPrior
from mnistvae.training import Checkpoint, Interrupted

SHAPE: ImageShape = (1, 2, 3)
SIGMA = 0.6
#: Two columns that are not orthogonal, so that the dimensions of the true posterior depend on one another.
W = torch.tensor([[1.0, -1, 2, 0, 1, 0], [0.8, -0.5, 1.5, 1, 0, -0.5]], dtype=torch.float64).T


def random_normal(n: int = 4, size: int = 3, seed: int = 0) -> FullNormal:
    noise = torch.Generator().manual_seed(seed)
    mu = torch.randn(n, size, generator=noise, dtype=torch.float64)
    scale = torch.randn(n, size, size, generator=noise, dtype=torch.float64).tril(-1)
    return FullNormal(mu, scale + torch.diag_embed(torch.rand(n, size, generator=noise, dtype=torch.float64) + 0.5))


# --- the distribution -----------------------------------------------------------------------------------------------


def test_its_density_is_scipys_and_integrates_to_one() -> None:
    q = random_normal(3, 2)
    z = q.rsample(torch.Size([5]))
    for row in range(3):
        covariance = (q.scale_tril[row] @ q.scale_tril[row].T).numpy()
        expected = stats.multivariate_normal(q.loc[row].numpy(), covariance).logpdf(z[:, row].numpy())
        np.testing.assert_allclose(q.log_prob(z)[:, row].numpy(), expected, rtol=1e-9)
    line = torch.linspace(-12, 12, 601, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line)[:, None]
    area = float(line[1] - line[0]) ** 2
    torch.testing.assert_close(q.log_prob(grid).exp().sum(0) * area, torch.ones(3, dtype=torch.float64))


def test_its_draws_have_its_moments_and_are_a_function_of_noise() -> None:
    torch.manual_seed(0)
    q = random_normal(2)
    draws = q.rsample(torch.Size([40_000]))
    torch.testing.assert_close(draws.mean(0), q.loc, atol=0.05, rtol=0)
    for row in range(2):
        found = torch.from_numpy(np.cov(draws[:, row].numpy().T))
        torch.testing.assert_close(found, q.covariance_matrix[row], atol=0.12, rtol=0.05)
    white = torch.linalg.solve_triangular(q.scale_tril[0], (draws[:, 0] - q.loc[0]).T, upper=False)
    for dimension in white:
        assert stats.kstest(dimension.numpy(), "norm").pvalue > 1e-3
    noise = torch.randn(2, 3, dtype=torch.float64)
    torch.testing.assert_close(from_noise(q, noise), q.loc + torch.einsum("bij,bj->bi", q.scale_tril, noise))
    torch.testing.assert_close(tempered(q, 0.5).stddev, 0.5 * q.stddev)
    assert torch.equal(tempered(q, 0.0).rsample(), q.loc)


def test_its_divergences_are_torchs() -> None:
    q, p = random_normal(), random_normal(seed=1)
    mu, logvar = p.loc, p.scale_tril.diagonal(dim1=1, dim2=2)
    diagonal = td.MultivariateNormal(mu, scale_tril=torch.diag_embed((0.5 * logvar).exp()))
    kl = td.kl_divergence
    torch.testing.assert_close(kl(q, DiagonalNormal(mu, logvar)), kl(q, diagonal))
    unit = td.MultivariateNormal(torch.zeros(3, dtype=torch.float64), torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(kl(q, UnitNormal(torch.zeros(3, dtype=torch.float64))), kl(q, unit))
    torch.testing.assert_close(kl(q, p), kl(td.MultivariateNormal(q.loc, scale_tril=q.scale_tril), p))


def test_a_detached_or_expanded_one_is_the_same() -> None:
    q = random_normal()
    q.loc.requires_grad_()
    z = torch.zeros(4, 3, dtype=torch.float64)
    assert not detached(q).log_prob(z).requires_grad
    torch.testing.assert_close(detached(q).log_prob(z), q.log_prob(z))
    wide = q.expand((2, 4))
    assert type(wide) is FullNormal
    assert wide.batch_shape == (2, 4)
    torch.testing.assert_close(wide.log_prob(z), q.log_prob(z).expand(2, 4))


# --- the encoder ----------------------------------------------------------------------------------------------------


def test_the_factor_has_the_numbers_in_their_places() -> None:
    encoder = FullNormalEncoder(nn.Flatten(), 3).double()
    x = torch.rand(2, *SHAPE, dtype=torch.float64)
    encoder(x)
    head = encoder.head(x.flatten(1))
    q = encoder(x)
    for row in range(2):
        m1, m2, m3, s1, s2, s3, a, b, c = head[row].tolist()
        d1, d2, d3 = (math.exp(s / 2) for s in (s1, s2, s3))
        assert q.loc[row].tolist() == [m1, m2, m3]
        expected = torch.tensor([[d1, 0, 0], [a, d2, 0], [b, c, d3]], dtype=torch.float64)
        torch.testing.assert_close(q.scale_tril[row], expected)


def test_without_numbers_below_the_diagonal_it_is_the_gaussian_encoder() -> None:
    trunk = nn.Sequential(nn.Flatten(), nn.Linear(6, 5))
    full, diagonal = FullNormalEncoder(trunk, 3, num_classes=2), GaussianEncoder(trunk, 3, num_classes=2)
    x, y = torch.rand(4, *SHAPE), torch.tensor([0, 1, 1, 0])
    full(x, y), diagonal(x, y)
    for layer, other in ((full.head.layer, diagonal.head.layer), (full.head.classes, diagonal.head.classes)):
        with torch.no_grad():
            rows = other.weight.shape[0] if isinstance(layer, nn.Linear) else slice(None)
            if isinstance(layer, nn.Linear):
                layer.weight.zero_()[:rows] = other.weight
                layer.bias.zero_()[:rows] = other.bias
            else:
                layer.weight.zero_()[:, : other.weight.shape[1]] = other.weight
    q, p = full(x, y), diagonal(x, y)
    z = torch.randn(4, 3)
    torch.testing.assert_close(q.log_prob(z), p.log_prob(z))


def test_one_dimension_and_what_makes_no_sense() -> None:
    assert FullNormalEncoder(nn.Flatten(), 1)(torch.rand(2, *SHAPE)).scale_tril.shape == (2, 1, 1)
    with pytest.raises(SettingError, match="latent_dim as an integer of at least 1"):
        FullNormalEncoder(nn.Flatten(), 0)
    with pytest.raises(ComponentError, match="trunk as a torch"):
        FullNormalEncoder(3, 2)  # type: ignore[arg-type]


# --- the bounds -----------------------------------------------------------------------------------------------------


class Fixed(Encoder):
    """The same covariance for every image, with means that are linear in it."""

    def __init__(self, weight: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.latent_dim = len(weight)
        self.weight, self.scale = weight, scale

    def forward(self, x: Tensor, y: Tensor | None = None) -> FullNormal:
        del y
        return FullNormal(x.flatten(1) @ self.weight.T.to(x), self.scale.to(x).expand(len(x), -1, -1))


def correlated_vae(*, full: bool, objective: Objective) -> tuple[mv.VAE, float]:
    """A linear model whose posterior has correlations, the best encoder of a kind, and its distance to log p(x)."""
    precision = torch.eye(2, dtype=torch.float64) + W.T @ W / SIGMA**2
    variance = torch.linalg.inv(precision)
    scale = torch.linalg.cholesky(variance) if full else torch.diag(precision.diagonal().rsqrt())
    gap = 0.5 * float(precision.diagonal().log().sum() - torch.logdet(precision))
    decoder = TrunkDecoder(nn.Linear(2, 6, bias=False), 2, SHAPE)
    parts: dict[str, Any] = {"decoder": decoder, "likelihood": Gaussian(SIGMA, "identity"), "objective": objective}
    model = mv.VAE(2, SHAPE, encoder=Fixed(variance @ W.T / SIGMA**2, scale), **parts).double()
    with torch.no_grad():
        model.decoder.trunk.weight.copy_(W)
    return model, 0.0 if full else gap


def evidence(x: Tensor) -> Tensor:
    covariance = W @ W.T + SIGMA**2 * torch.eye(6, dtype=torch.float64)
    return td.MultivariateNormal(torch.zeros(6, dtype=torch.float64), covariance).log_prob(x.flatten(1))


@pytest.mark.parametrize("full", [True, False])
def test_its_bound_is_tight_and_a_diagonal_ones_is_lower_by_the_known_gap(full: bool) -> None:
    torch.manual_seed(0)
    x = images(3)
    model, gap = correlated_vae(full=full, objective=ELBO(num_samples=20_000))
    assert (gap > 0.3) is not full
    with torch.no_grad():
        loss = model.loss(x).loss
    torch.testing.assert_close(-loss, evidence(x) - gap, atol=0.05, rtol=0)
    with torch.no_grad():
        many = correlated_vae(full=full, objective=IWAE(64))[0].loss(x).loss
    if full:
        torch.testing.assert_close(-many, evidence(x))  # at every draw
    else:
        assert bool((-many < evidence(x)).all()) or bool((many + evidence(x)).abs().max() < gap)


# --- the gradient without the score ---------------------------------------------------------------------------------


def test_sticking_the_landing_has_no_noise_at_the_true_posterior() -> None:
    x = images(5)
    for objective, noisy in ((ELBO(), True), (ELBO(gradient="sticking-the-landing"), False)):
        got = gradients(linear_vae(FreeEncoder(*true_posterior(x)), objective), x)
        for name in ("encoder.mean", "encoder.logvar"):
            assert bool((got[name].abs() > 1e-9).all()) is noisy, name


def test_sticking_the_landing_has_the_value_and_the_mean_gradient_of_the_bound() -> None:
    x = images(1)
    found: dict[str, list[Tensor]] = {}
    for kind in ("plain", "sticking-the-landing"):
        n = 60_000
        mu, logvar = (one.expand(n, -1) for one in wrong_posterior(x))
        vae = linear_vae(FreeEncoder(mu, logvar), ELBO(0.7, gradient=kind))  # type: ignore[arg-type]
        torch.manual_seed(1)
        terms = vae.loss(x.expand(n, -1, -1, -1))
        terms.loss.sum().backward()
        torch.testing.assert_close(terms.loss, terms.reconstruction + 0.7 * terms.kl)
        parameters = (vae.encoder.mean.grad, vae.encoder.logvar.grad)
        assert all(grad is not None for grad in parameters)
        found[kind] = [terms.loss.detach(), *(grad for grad in parameters if grad is not None)]
    for plain, other in zip(*found.values(), strict=True):
        error = (plain.var(0) / len(plain) + other.var(0) / len(other)).sqrt()
        assert ((plain.mean(0) - other.mean(0)).abs() < 5 * error).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gradient": "none"}, "gradient"),
        (
            {"gradient": "sticking-the-landing", "free_bits": 0.1},
            "free_bits or gradient='sticking-the-landing', got both",
        ),
        (
            {"gradient": "sticking-the-landing", "capacity": 3.0},
            "a capacity or gradient='sticking-the-landing', got both",
        ),
    ],
)
def test_gradients_that_make_no_sense(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        ELBO(**settings)


# --- with everything else -------------------------------------------------------------------------------------------

DIGITS = (1, 8, 8)


def digits(n: int = 40) -> Tensor:
    return torch.rand(n, *DIGITS, generator=torch.Generator().manual_seed(3))


def full_vae(parts: Callable[[], dict[str, Any]] = dict) -> mv.VAE:
    torch.manual_seed(2)
    trunk = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU())
    return mv.VAE(3, DIGITS, encoder=FullNormalEncoder(trunk, 3), **parts())


def trainer(*callbacks: Any, **more: Any) -> mv.Trainer:
    how = {
        "epochs": 4,
        "batch_size": 8,
        "learning_rate": 1e-2,
        "seed": 1,
        "progress": False,
        "device": "cpu",
        "callbacks": callbacks,
    }
    return mv.Trainer(**{**how, **more})


@pytest.mark.parametrize(
    "parts",
    [
        dict,
        lambda: {"objective": ELBO(gradient="sticking-the-landing")},
        lambda: {"objective": ELBO(free_bits=0.2)},
        lambda: {"objective": IWAE(3, "doubly-reparameterized")},
        lambda: {"prior": VampPrior(4)},
        lambda: {"prior": GaussianMixture(3, 2)},
    ],
    ids=["plain", "landing", "free bits", "IWAE", "VampPrior", "mixture"],
)
def test_it_trains_with_every_part_and_a_resumed_run_ends_as_the_whole_one(
    parts: Callable[[], dict[str, Any]], tmp_path: Path
) -> None:
    whole = full_vae(parts)
    history = trainer().fit(whole, digits())
    assert history[3]["loss"] < history[0]["loss"]
    with pytest.raises(Interrupted):
        trainer(Checkpoint(tmp_path), StopAt(7)).fit(full_vae(parts), digits())
    resumed = full_vae(parts)
    trainer(Checkpoint(tmp_path)).fit(resumed, digits(), resume=tmp_path)
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in resumed.state_dict().items())


def test_a_file_evaluation_and_samples_of_it(tmp_path: Path) -> None:
    model = full_vae().eval()
    x = digits(12)
    mv.save(model, tmp_path / "model.safetensors")
    same = mv.load(tmp_path / "model.safetensors")
    torch.testing.assert_close(same.encode(x).covariance_matrix, model.encode(x).covariance_matrix)
    assert "_places" not in "".join(model.state_dict())
    assert model.reconstruct(x).shape == x.shape
    found = mv.metrics.evaluate(model, mv.ImageDataset(x, torch.arange(12) % 2), num_samples=20)
    assert found["nll"] <= found["negative_elbo"] + 1


@pytest.mark.filterwarnings("ignore:.*_prims_common.check:FutureWarning")  # torch's own, while it compiles
@pytest.mark.parametrize("how", [{"compile": True}, {"precision": "bf16"}], ids=str)
def test_it_trains_compiled_and_in_bf16(how: dict[str, Any]) -> None:
    plain, other = (trainer(**more).fit(full_vae(), digits()) for more in ({}, how))
    assert other[1]["loss"] == pytest.approx(plain[1]["loss"], rel=0.02)
