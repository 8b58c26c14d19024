"""Codes on the unit sphere: the distributions against scipy and quadrature, and models whose codes are there."""

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
from scipy import integrate, optimize, special, stats
from test_linear_gaussian import assert_mean
from test_resume import StopAt
from torch import Tensor, nn

import mnistvae as mv
from mnistvae import analysis
from mnistvae._random import noise_for_rows
from mnistvae.distributions import (
    DiagonalNormal,
    HypersphericalUniform,
    UnitSphere,
    VonMisesFisher,
    angles,
    detached,
    from_noise,
    mixture,
    projected,
    support_of,
    tempered,
    unit_vectors,
)
from mnistvae.errors import ComponentError, SettingError
from mnistvae.images import ImageShape
from mnistvae.likelihoods import Gaussian
from mnistvae.networks import Encoder, GaussianEncoder, MLPDecoder, TrunkDecoder, VonMisesFisherEncoder
from mnistvae.objectives import ELBO, IWAE, InfoVAE
from mnistvae.priors import GaussianMixture, StandardNormal, UniformSphere, VampPrior
from mnistvae.training import Checkpoint, Interrupted

SIZES = [2, 3, 4, 10, 64]
KAPPAS = [0.0, 1e-3, 0.3, 1.0, 2.5, 8.0, 40.0, 1e3, 1e5]
PAIRS = list(itertools.product(SIZES, KAPPAS))


def double(value: Any) -> Tensor:
    return torch.as_tensor(value, dtype=torch.float64)


def direction(size: int, seed: int = 0) -> Tensor:
    noise = torch.Generator().manual_seed(seed)
    return unit_vectors(torch.randn(size, dtype=torch.float64, generator=noise))


def bessel_ratio(size: int, kappa: float) -> float:
    """A(kappa), the length of the mean."""
    return float(special.ive(size / 2, kappa) / special.ive(size / 2 - 1, kappa)) if kappa else 0.0


def log_area(size: int) -> float:
    return math.log(2 * math.pi ** (size / 2)) - math.lgamma(size / 2)


def points(size: int, n: int = 600) -> tuple[Tensor, Tensor]:
    """A grid on the circle or the sphere, (points, size), and the area that each of them stands for."""
    turn = torch.arange(n, dtype=torch.float64) * (2 * math.pi / n)
    if size == 2:
        return torch.stack([turn.cos(), turn.sin()], 1), torch.full((n,), 2 * math.pi / n, dtype=torch.float64)
    nodes, weights = (double(one) for one in np.polynomial.legendre.leggauss(n // 4))
    height, around = torch.meshgrid(nodes, turn, indexing="ij")
    ring = (1 - height.square()).sqrt()
    grid = torch.stack([ring * around.cos(), ring * around.sin(), height], -1).flatten(0, 1)
    return grid, weights.repeat_interleave(n) * (2 * math.pi / n)


def density_of_angle(theta: Any, kappa: float, size: int) -> Any:
    return np.exp(-2 * kappa * np.sin(theta / 2) ** 2) * np.sin(theta) ** (size - 2)


def share_below(theta: float, kappa: float, size: int) -> float:
    """The distribution function of the angle."""
    scale = math.sqrt(size / max(kappa, 1.0))
    places = [part * scale for part in (0.25, 0.5, 1, 2, 4)]

    def integral(end: float) -> float:
        inside = [place for place in places if place < end] or None
        how = {"epsabs": 0, "epsrel": 1e-13, "limit": 500, "points": inside}
        return float(integrate.quad(density_of_angle, 0, end, args=(kappa, size), **how)[0])

    return integral(theta) / integral(math.pi)


# --- the density ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "kappa"), PAIRS)
def test_the_density_is_scipys(size: int, kappa: float) -> None:
    mu = direction(size)
    q = VonMisesFisher(mu, double(kappa))
    z = unit_vectors(torch.cat([q.sample(torch.Size([5])), torch.randn(5, size, dtype=torch.float64)]))
    if kappa:
        order = size / 2 - 1
        log_bessel = np.log(special.ive(order, kappa)) + kappa
        expected = order * np.log(kappa) - size / 2 * np.log(2 * np.pi) - log_bessel + kappa * (z @ mu).numpy()
        if np.isfinite(log_bessel):
            np.testing.assert_allclose(q.log_prob(z).numpy(), expected, rtol=1e-9, atol=1e-9)
        scipys = stats.vonmises_fisher(mu.numpy(), kappa)
        np.testing.assert_allclose(q.log_prob(z).numpy(), scipys.logpdf(z.numpy()), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(float(q.entropy()), scipys.entropy(), rtol=1e-9, atol=1e-9)
    else:
        uniform = HypersphericalUniform(torch.zeros_like(mu))
        torch.testing.assert_close(q.log_prob(z), uniform.log_prob(z))
        torch.testing.assert_close(q.entropy(), uniform.entropy())


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("kappa", [0.0, 1.0, 30.0])
def test_the_density_integrates_to_one(size: int, kappa: float) -> None:
    grid, area = points(size)
    q = VonMisesFisher(direction(size), double(kappa))
    torch.testing.assert_close((q.log_prob(grid).exp() * area).sum(), double(1.0))
    uniform = HypersphericalUniform(torch.zeros(size, dtype=torch.float64))
    torch.testing.assert_close((uniform.log_prob(grid).exp() * area).sum(), double(1.0))


def test_areas_are_the_known_ones() -> None:
    for size, area in ((2, 2 * math.pi), (3, 4 * math.pi), (4, 2 * math.pi**2), (5, 8 / 3 * math.pi**2)):
        uniform = HypersphericalUniform(torch.zeros(size, dtype=torch.float64))
        assert float(uniform.entropy()) == pytest.approx(math.log(area), rel=1e-12)
        assert float(uniform.log_prob(direction(size))) == pytest.approx(-math.log(area), rel=1e-12)


@pytest.mark.parametrize(("size", "kappa"), PAIRS)
def test_the_mean_is_bessels_ratio_along_mu(size: int, kappa: float) -> None:
    mu = direction(size)
    q = VonMisesFisher(mu, double(kappa))
    ratio = bessel_ratio(size, kappa)
    torch.testing.assert_close(q.mean, ratio * mu, rtol=1e-9, atol=1e-12)
    assert torch.equal(q.mode, mu)
    # The second moments are those of a direction and of all others, and add up to 1.
    torch.testing.assert_close((q.variance + q.mean.square()).sum(), double(1.0))
    if kappa:
        along = 1 - (size - 1) * ratio / kappa  # E[cos^2]
        across = ratio / kappa
        expected = across + (along - across) * mu.square() - (ratio * mu).square()
        torch.testing.assert_close(q.variance, expected, rtol=1e-4 if kappa > 1e3 else 1e-8, atol=1e-15)


# --- draws ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kappa", [0.0, 0.5, 4.0, 60.0, 1e5])
def test_draws_have_the_distribution(size: int, kappa: float) -> None:
    torch.manual_seed(1)
    mu = direction(size)
    n = 10_000
    z = VonMisesFisher(mu, double(kappa)).sample(torch.Size([n]))
    assert bool(UnitSphere().check(z).all())
    versed = 0.5 * (z - mu).square().sum(-1)
    theta = 2 * (0.5 * versed).sqrt().clamp_max(1).asin().numpy()
    grid = np.linspace(0, theta.max(), 40_001)
    share = integrate.cumulative_trapezoid(density_of_angle(grid, kappa, size), grid, initial=0)
    share *= share_below(float(theta.max()), kappa, size) / share[-1]
    assert stats.kstest(theta, lambda at: np.interp(at, grid, share)).pvalue > 1e-3
    # Away from mu every direction is as likely as any.
    side = unit_vectors(z - (z @ mu)[:, None] * mu)
    flat = torch.eye(size, dtype=torch.float64) - torch.outer(mu, mu)
    assert_mean(side, torch.zeros(size, dtype=torch.float64))
    if size < 64:  # on the circle the products are constants, up to rounding, which has no standard error
        products = side[:, :, None] * side[:, None] + 1e-6 * torch.randn(n, size, size, dtype=torch.float64)
        assert_mean(products.flatten(1), (flat / (size - 1)).flatten())


def test_of_so_many_proposals_one_is_accepted() -> None:
    worst = 1.0
    nodes, weights = np.polynomial.legendre.leggauss(400)
    for size, kappa in itertools.product([2, 3, 8, 64, 1000], np.logspace(-3, 7, 41)):
        b = (size - 1) / (2 * kappa + np.sqrt(4 * kappa**2 + (size - 1) ** 2))  # as Wood has them
        x0 = (1 - b) / (1 + b)
        width = min(math.pi / 2, 12 / math.sqrt(size - 1))
        angle = math.pi / 2 + width * nodes
        share = weights * np.sin(angle) ** (size - 2)
        beta = (1 + np.cos(angle)) / 2
        w = (1 - (1 + b) * beta) / (1 - (1 - b) * beta)
        u = 2 * b * beta / (1 - (1 - b) * beta)  # 1 - w
        log_ratio = kappa * (1 - x0 - u) + (size - 1) * np.log((1 - x0 * w) / (1 - x0**2))
        if kappa < 1e5:
            worst = min(worst, float((share * np.exp(log_ratio)).sum() / share.sum()))
    assert 0.65 < worst < 0.67
    assert (1 - 0.657) ** (angles.NOISE // 4) < 1e-12


@pytest.mark.parametrize("size", [2, 3, 10])
@pytest.mark.parametrize("kappa", [0.01, 0.7, 5.0, 300.0])
def test_the_derivative_of_a_draw_is_that_of_its_quantile(size: int, kappa: float) -> None:
    noise = torch.randn(6, angles.NOISE, dtype=torch.float64)
    kappas = torch.full((6,), kappa, dtype=torch.float64, requires_grad=True)
    theta = angles.draw(kappas, size, noise)
    (got,) = torch.autograd.grad(theta.sum(), kappas)
    step = 1e-4 * max(kappa, 0.1)
    for at, slope in zip(theta.tolist(), got.tolist(), strict=True):
        share = share_below(at, kappa, size)

        def quantile(other: float, share: float = share, at: float = at) -> float:
            ends = 0.9 * at, min(1.1 * at, math.pi)
            return float(optimize.brentq(lambda t: share_below(t, other, size) - share, *ends, xtol=1e-14))

        assert slope == pytest.approx((quantile(kappa + step) - quantile(kappa - step)) / (2 * step), rel=1e-5)
        assert slope < 0


def some_function(z: Tensor) -> Tensor:
    """A function of codes, (..., D), without symmetry."""
    weights = torch.arange(1.0, z.shape[-1] + 1, dtype=z.dtype)
    return (z * weights).sum(-1).exp() / 5 + (3 * z[..., 0] - z[..., 1]).sin() + z[..., -1] ** 3


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("kappa", [0.5, 6.0])
def test_gradients_of_means_over_draws_are_those_of_the_integral(size: int, kappa: float) -> None:
    grid, area = points(size)
    raw = torch.tensor([0.3, -1.1, 0.8], dtype=torch.float64)[:size]

    def mean(raw: Tensor, kappa: Tensor) -> Tensor:
        mass = area * (kappa * (grid @ (raw / raw.norm()))).exp()
        return (mass / mass.sum() * some_function(grid)).sum()

    step = 1e-5
    expected = []
    for n in range(size):
        move = step * torch.eye(size, dtype=torch.float64)[n]
        expected.append((mean(raw + move, double(kappa)) - mean(raw - move, double(kappa))) / (2 * step))
    expected.append((mean(raw, double(kappa + step)) - mean(raw, double(kappa - step))) / (2 * step))
    n = 30_000
    rows = raw.repeat(n, 1).requires_grad_()
    kappas = torch.full((n,), kappa, dtype=torch.float64, requires_grad=True)
    values = some_function(VonMisesFisher(unit_vectors(rows), kappas).rsample())
    of_raw, of_kappa = torch.autograd.grad(values.sum(), [rows, kappas])
    assert_mean(values.detach()[:, None], mean(raw, double(kappa))[None])
    assert_mean(torch.cat([of_raw, of_kappa[:, None]], 1), torch.stack(expected))


def test_a_compiled_draw_has_the_same_derivative(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for compiling in (False, True):
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda compiling=compiling: compiling)
        kappa = torch.tensor([0.5, 20.0], dtype=torch.float64, requires_grad=True)
        theta = angles.draw(
            kappa, 3, torch.randn(7, 2, angles.NOISE, generator=torch.Generator().manual_seed(0)).double()
        )
        found.append((theta.detach(), *torch.autograd.grad(theta.sum(), kappa)))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


# --- the divergence -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "kappa"), PAIRS)
def test_the_divergence_from_uniform_is_the_integral(size: int, kappa: float) -> None:
    kappas = torch.tensor([kappa, kappa], dtype=torch.float64, requires_grad=True)
    q = VonMisesFisher(direction(size).expand(2, size), kappas)
    kl = td.kl_divergence(q, HypersphericalUniform(torch.zeros(size, dtype=torch.float64)))
    (slope,) = torch.autograd.grad(kl.sum(), kappas)
    assert kl.shape == (2,)
    if kappa < 0.1:  # the series, whose next term is smaller by kappa^2
        expected = kappa**2 / (2 * size) * (1 - 3 * kappa**2 / (2 * size * (size + 2)))
        assert kl.tolist() == pytest.approx([expected] * 2, rel=1e-10, abs=0)
        assert slope.tolist() == pytest.approx([kappa / size] * 2, rel=1e-5, abs=0)
        return
    ratio = bessel_ratio(size, kappa)
    versed = np.longdouble((size - 1) / (2 * kappa)) if kappa > 1e4 else 1 - np.longdouble(ratio)
    if kappa <= 1e3:
        scale = math.sqrt(size / kappa)
        how = {"epsabs": 0, "epsrel": 1e-12, "limit": 500, "points": [s * scale for s in (0.5, 1, 2) if s * scale < 3]}
        mass, shift = (
            integrate.quad(
                lambda t, power=power: density_of_angle(t, kappa, size) * (1 - np.cos(t)) ** power, 0, np.pi, **how
            )[0]
            for power in (0, 1)
        )
        versed = shift / mass
        flat = math.sqrt(math.pi) * math.exp(math.lgamma((size - 1) / 2) - math.lgamma(size / 2))
        assert kl[0].item() == pytest.approx(-kappa * versed - math.log(mass / flat), rel=1e-8)
        # Its derivative is kappa times that of A, which is 1 - A^2 - (D - 1) A / kappa.
        exact = kappa * (1 - ratio**2 - (size - 1) * ratio / kappa)
        assert slope[0].item() == pytest.approx(exact, rel=1e-5)
    else:  # that of a normal of variance 1 / kappa in D - 1 dimensions
        normal = 0.5 * (size - 1) * (math.log(kappa / (2 * math.pi)) - 1) + log_area(size)
        assert kl[0].item() == pytest.approx(normal, abs=size**2 / kappa)
        assert slope[0].item() == pytest.approx((size - 1) / (2 * kappa), rel=size / kappa)


@pytest.mark.parametrize("size", [2, 3, 20, 64])
def test_the_divergence_rises_from_zero_without_a_step(size: int) -> None:
    kappa = torch.cat(
        [torch.zeros(1), torch.logspace(-6, 5, 2000), math.sqrt(size) * (1 + torch.tensor([-1e-6, 0, 1e-6]))]
    )
    kappa = kappa.sort().values.requires_grad_()
    q = VonMisesFisher(direction(size).float().expand(len(kappa), size), kappa)
    kl = td.kl_divergence(q, HypersphericalUniform(torch.zeros(size)))
    (slope,) = torch.autograd.grad(kl.sum(), kappa)
    assert kl[0] == 0 == slope[0]
    assert bool((kl[1:] > 0).all())
    assert bool((kl.diff() > -3e-6 * (1 + kl[1:])).all())
    assert bool(slope.isfinite().all())
    assert bool((slope[1:] > 0).all())


# --- numbers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 3, 64])
@pytest.mark.parametrize("kappa", [0.0, 1e-4, 1.0, 1e5])
def test_in_single_precision_nothing_is_lost_that_matters(size: int, kappa: float) -> None:
    torch.manual_seed(2)
    n = 2_000
    mu = direction(size).float().repeat(n, 1).requires_grad_()
    kappas = torch.full((n,), kappa, requires_grad=True)
    q = VonMisesFisher(mu, kappas)
    z = q.rsample()
    assert z.dtype == torch.float32
    assert bool(UnitSphere().check(z).all())
    parts = [
        q.log_prob(z),
        td.kl_divergence(q, HypersphericalUniform(torch.zeros(size))),
        z.sum(-1),
        q.mean,
        q.variance,
    ]
    for part in parts:
        assert part.dtype == torch.float32
        for grad in torch.autograd.grad(part.sum(), [mu, kappas], retain_graph=True, allow_unused=True):
            assert grad is None or bool(grad.isfinite().all())
    exact = VonMisesFisher(mu[0].detach().double(), double(kappa))
    torch.testing.assert_close(parts[0].double(), exact.log_prob(z.detach().double()), rtol=2e-6, atol=1e-4)
    torch.testing.assert_close(q.variance[0].double(), exact.variance, rtol=1e-4, atol=1e-9)
    theta = angles.draw(kappas, size, torch.randn(n, angles.NOISE))
    (coarse,) = torch.autograd.grad(theta.sum(), kappas)
    at = double(kappa).expand(n)
    torch.testing.assert_close(coarse.double(), angles._slope(theta.detach().double(), at, size), rtol=2e-3, atol=1e-12)


@pytest.mark.parametrize("size", [2, 10])
@pytest.mark.parametrize("kappa", [0.0, 1.0, 1e5])
def test_in_half_precision_it_computes_in_single(size: int, kappa: float) -> None:
    mu = direction(size).bfloat16().expand(500, size).clone().requires_grad_()
    kappas = torch.full((500,), kappa, dtype=torch.bfloat16, requires_grad=True)
    q, uniform = VonMisesFisher(mu, kappas), HypersphericalUniform(torch.zeros(size, dtype=torch.bfloat16))
    z = q.rsample()
    kl = td.kl_divergence(q, uniform)
    for part in (z, q.log_prob(z), kl, q.mean, q.variance, uniform.sample(), uniform.log_prob(z)):
        assert part.dtype == torch.bfloat16
        assert bool(part.isfinite().all())
    exact = td.kl_divergence(
        VonMisesFisher(direction(size), kappas[0].double()), HypersphericalUniform(torch.zeros(size))
    )
    assert kl[0].item() == pytest.approx(exact.item(), rel=0.01)
    assert all(bool(grad.isfinite().all()) for grad in torch.autograd.grad(z.sum() + kl.sum(), [mu, kappas]))


# --- what torch and the package ask of a distribution ----------------------------------------------------------------


def some_posterior(n: int = 4, size: int = 3) -> VonMisesFisher:
    noise = torch.Generator().manual_seed(5)
    return VonMisesFisher(unit_vectors(torch.randn(n, size, generator=noise)), 5 * torch.rand(n, generator=noise) + 1)


def test_shapes_and_copies() -> None:
    q = some_posterior()
    assert (q.batch_shape, q.event_shape, q.has_rsample) == ((4,), (3,), True)
    z = q.rsample(torch.Size([5, 2]))
    assert z.shape == (5, 2, 4, 3)
    assert q.log_prob(z).shape == (5, 2, 4)
    wide = q.expand((2, 4))
    assert wide.batch_shape == (2, 4)
    torch.testing.assert_close(wide.log_prob(z), q.log_prob(z))
    assert wide.mean.shape == wide.variance.shape == (2, 4, 3)
    one = VonMisesFisher(q.mu[0], q.kappa)  # a direction for all
    assert (one.batch_shape, one.rsample().shape, one.mode.shape) == ((4,), (4, 3), (4, 3))
    q.kappa.requires_grad_()
    assert q.rsample().requires_grad
    assert not q.sample().requires_grad
    assert not detached(q).log_prob(q.sample()).requires_grad
    uniform = HypersphericalUniform(torch.zeros(3)).expand((4,))
    assert (uniform.batch_shape, uniform.rsample(torch.Size([2])).shape) == ((4,), (2, 4, 3))
    assert uniform.log_prob(z).shape == (5, 2, 4)
    assert td.kl_divergence(q, uniform).shape == (4,)
    assert repr(q) == "VonMisesFisher(batch_shape: (4,), event_shape: (3,))"
    for wrong in (lambda: HypersphericalUniform(torch.zeros(1)), lambda: VonMisesFisher(torch.ones(1), torch.ones(()))):
        with pytest.raises(ComponentError, match="expected a sphere in at least two dimensions, got 1"):
            wrong()


def test_uniform_draws() -> None:
    uniform = HypersphericalUniform(torch.zeros(3))
    z = uniform.sample(torch.Size([20_000]))
    assert bool(uniform.support.check(z).all())
    for column in z.T:  # Archimedes: heights on a sphere are uniform
        assert stats.kstest(column.numpy(), "uniform", (-1, 2)).pvalue > 1e-3
    assert_mean(z.square(), uniform.variance)
    noise = torch.randn(5, 3)
    torch.testing.assert_close(from_noise(uniform, 3 * noise), noise / noise.norm(dim=1, keepdim=True))


def test_a_batch_in_parts_gets_the_noise_of_the_whole() -> None:
    q = some_posterior()
    torch.manual_seed(3)
    whole = q.sample(torch.Size([2]))
    torch.manual_seed(3)
    with noise_for_rows(slice(1, 3), 4):
        assert torch.equal(VonMisesFisher(q.mu[1:3], q.kappa[1:3]).sample(torch.Size([2])), whole[:, 1:3])


def test_temperatures() -> None:
    q = some_posterior()
    torch.testing.assert_close(tempered(q, 0.5).kappa, 4 * q.kappa)  # as of a normal, whose variance is scaled
    torch.testing.assert_close(tempered(q, 0.0).sample(), q.mu)
    uniform = HypersphericalUniform(torch.zeros(3))
    assert tempered(uniform, 1.0) is uniform
    message = "expected a temperature of 1 for a uniform distribution on a sphere, got 0.5: it has no spread to scale"
    with pytest.raises(SettingError, match=message):
        tempered(uniform, 0.5)
    with pytest.raises(ComponentError, match="whose draws are known as a function of noise"):
        from_noise(q, torch.randn(4, 3))


def test_supports() -> None:
    assert type(support_of(mixture(torch.zeros(4), some_posterior()))) is UnitSphere
    assert type(support_of(td.Independent(td.Normal(torch.zeros(3), 1.0), 1))) is not UnitSphere
    codes = torch.tensor([[3.0, 4.0], [0.0, 0.0], [-1e-12, 0.0], [1e15, 0.0]], requires_grad=True)
    moved = projected(UnitSphere(), codes)
    torch.testing.assert_close(moved, torch.tensor([[0.6, 0.8], [1.0, 0.0], [-1.0, 0.0], [1.0, 0.0]]))
    (grad,) = torch.autograd.grad(moved.sum(), codes)
    assert bool(grad.isfinite().all())
    assert grad[1].tolist() == [0, 0]
    assert projected(None, codes) is codes
    assert projected(td.constraints.real_vector, codes) is codes
    assert support_of(td.Distribution(validate_args=False)) is None


# --- the encoder and its prior --------------------------------------------------------------------------------------

DIGITS: ImageShape = (1, 8, 8)


def digits(n: int = 40) -> Tensor:
    return torch.rand(n, *DIGITS, generator=torch.Generator().manual_seed(3))


def trunk() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU())


def spherical_vae(parts: Callable[[], dict[str, Any]] = dict, size: int = 3) -> mv.VAE:
    torch.manual_seed(2)
    return mv.VAE(
        size, DIGITS, **{"encoder": VonMisesFisherEncoder(trunk(), size), "prior": UniformSphere(size), **parts()}
    )


def test_the_encoder_gives_unit_vectors_and_a_kappa_of_at_least_one() -> None:
    encoder = VonMisesFisherEncoder(nn.Flatten(), 3, num_classes=2)
    x, y = digits(4), torch.tensor([0, 1, 1, 0])
    q = encoder(x, y)
    numbers = encoder.head(x.flatten(1), y)
    torch.testing.assert_close(q.mu, numbers[:, :3] / numbers[:, :3].norm(dim=1, keepdim=True))
    torch.testing.assert_close(q.kappa, 1 + (1 + numbers[:, 3].exp()).log())
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.zero_()
    q = encoder(x, y)
    assert torch.equal(q.mu, torch.eye(1, 3).expand(4, 3))
    q.rsample().sum().backward()
    assert all(parameter.grad is None or bool(parameter.grad.isfinite().all()) for parameter in encoder.parameters())
    with torch.autocast("cpu", torch.bfloat16):
        q = VonMisesFisherEncoder(trunk(), 3)(digits())
        assert q.mu.dtype == q.kappa.dtype == q.rsample().dtype == torch.float32
        assert bool(UnitSphere().check(q.mu).all())


@pytest.mark.parametrize("make", [lambda: UniformSphere(1), lambda: VonMisesFisherEncoder(nn.Flatten(), 1)])
def test_a_sphere_takes_two_dimensions(make: Callable[[], object]) -> None:
    with pytest.raises(SettingError, match="expected latent_dim as an integer of at least 2, for a sphere, got 1"):
        make()


def test_a_posterior_and_a_prior_on_different_sets_are_refused() -> None:
    on_sphere = "a VonMisesFisher on the UnitSphere and a UnitNormal on all of space: a VonMisesFisherEncoder goes with"
    with pytest.raises(
        ComponentError, match=f"on the same set of codes, or there is no KL divergence, got {on_sphere}"
    ):
        spherical_vae(lambda: {"prior": StandardNormal(3)})
    with pytest.raises(
        ComponentError, match="a DiagonalNormal on all of space and a HypersphericalUniform on the Unit"
    ):
        spherical_vae(lambda: {"encoder": GaussianEncoder(trunk(), 3)})
    model = spherical_vae()
    with pytest.raises(ComponentError, match="on all of space"):
        model.prior = GaussianMixture(3, 2)
    assert isinstance(model.prior, UniformSphere)
    with pytest.raises(ComponentError, match="a model whose codes are anywhere in space, for a prior that is fitted"):
        mv.fit_prior(model, digits())
    for kind in ("density", "regret"):
        with pytest.raises(ComponentError):
            analysis.anomaly_scores(model, digits(), kind, train=digits())  # type: ignore[arg-type]
    both = model.replace(encoder=GaussianEncoder(trunk(), 3), prior=StandardNormal(3))
    assert type(model.support) is UnitSphere
    assert type(both.support) is not UnitSphere
    with pytest.raises(SettingError, match="a temperature of 1"):
        model.sample(2, temperature=0.7)


class OwnNormal(td.Normal):
    """A distribution that says nothing of its support."""

    @property
    def support(self) -> Any:
        raise NotImplementedError


class OwnEncoder(Encoder):
    """An encoder of a distribution that says nothing of its support."""

    def __init__(self) -> None:
        super().__init__()
        self.latent_dim = 2
        self.inner = GaussianEncoder(trunk(), 2)

    def forward(self, x: Tensor, y: Tensor | None = None) -> td.Distribution:
        q = self.inner(x, y)
        return td.Independent(OwnNormal(q.mean, q.stddev, validate_args=False), 1)


def test_a_distribution_that_says_nothing_of_its_support_is_taken_to_be_anywhere() -> None:
    model = mv.VAE(2, DIGITS, encoder=OwnEncoder())
    z = torch.randn(3, 2)
    assert not torch.allclose(model.decode(z).mean, model.decode(2 * z).mean)


# --- codes that leave the sphere --------------------------------------------------------------------------------------


def test_codes_that_leave_the_sphere_are_decoded_at_the_nearest_point() -> None:
    model, x = spherical_vae().eval(), digits(4)
    z = direction(3).float()[None]
    torch.testing.assert_close(model.decode(5 * z).mean, model.decode(z).mean)
    assert not torch.allclose(model.decode(-z).mean, model.decode(z).mean)
    with torch.no_grad():
        q = model.encode(x)
        torch.testing.assert_close(model.reconstruct(x), model.decode(q.mode).mean)
        a, b = q.mode[0], q.mode[1]
        ways = model.interpolate(x[0], x[1], steps=5)
        middle = unit_vectors(q.mean[0] + q.mean[1])
        torch.testing.assert_close(ways[0], model.decode(a[None]).mean[0])
        torch.testing.assert_close(ways[2], model.decode(middle[None]).mean[0])
        arc = analysis.interpolate_codes(a, b, 5, "spherical")
        bent, straight = (
            analysis.decode_codes(model, arc),
            analysis.decode_codes(model, analysis.interpolate_codes(a, b, 5)),
        )
    torch.testing.assert_close(bent[2], straight[2])
    plane = analysis.latent_plane(model, 3)
    torch.testing.assert_close(
        plane.images[0], analysis.decode_codes(model, unit_vectors(torch.tensor([[-2.0, 2.0, 0.0]])))[0]
    )
    assert analysis.traverse(model, q.mean[0]).shape == (3, 7, *DIGITS)
    assert analysis.decode_codes(model, torch.zeros(1, 3)).isfinite().all()


# --- bounds and estimates -------------------------------------------------------------------------------------------

TOY: ImageShape = (1, 2, 3)


def toy(size: int) -> tuple[mv.VAE, mv.ImageDataset, Tensor]:
    """A model of which the evidence is an integral over a circle or a sphere; images, and their evidence."""
    torch.manual_seed(4)
    decoder = TrunkDecoder(nn.Linear(size, 6), size, TOY)
    parts: dict[str, Any] = {"decoder": decoder, "likelihood": Gaussian(0.5, "identity")}
    model = mv.VAE(size, TOY, encoder=VonMisesFisherEncoder(nn.Flatten(), size), prior=UniformSphere(size), **parts)
    with torch.no_grad():
        model.decoder.trunk.bias.add_(0.5)
        model.encoder.head.layer.bias[-1] = -3.0  # broad, so that samples are worth something
    model = model.double().eval()
    data = mv.ImageDataset(torch.rand(5, *TOY))
    x = (data.images / 255).double()
    grid, area = points(size, 400)
    with torch.no_grad():
        log_p = torch.stack([model.decode(grid).log_prob(one[None]) for one in x])
    return model, data, (log_p + area.log() - log_area(size)).logsumexp(1)


@pytest.mark.parametrize("size", [2, 3])
def test_the_likelihood_estimate_is_the_integral_and_the_bound_lies_below_by_the_known_gap(size: int) -> None:
    model, data, evidence = toy(size)
    estimate = mv.metrics.importance_sampled_nll(model, data, num_samples=20_000)
    assert bool((estimate.effective_samples > 2_000).all())
    assert bool(((estimate.nll + evidence).abs() < 5 * estimate.effective_samples.rsqrt()).all())
    grid, area = points(size, 400)
    images = (data.images / 255).double()
    with torch.no_grad():
        q = model.encode(images)
        log_q = q.log_prob(grid[:, None])
        log_p = torch.stack([model.decode(grid).log_prob(one[None]) for one in images], 1) - log_area(size)
        gap = (area[:, None] * log_q.exp() * (log_q - log_p + evidence)).sum(0)  # KL from the true posterior
        assert bool((gap > 0.05).all())
        for objective in (ELBO(), ELBO(gradient="sticking-the-landing")):  # the KL term in closed form, and by draws
            model.objective = objective
            losses = model.loss(images.repeat(5_000, 1, 1, 1)).loss.reshape(5_000, -1)
            assert_mean(-losses, evidence - gap)
        model.objective = IWAE(1000)
        many = -model.loss(images).loss
    assert bool((many > evidence - gap).all())
    bound = mv.metrics.elbo(model, data)
    torch.testing.assert_close(bound.kl, td.kl_divergence(q, model.latent_prior()))


# --- with everything else -------------------------------------------------------------------------------------------


def trainer(*callbacks: Any, **more: Any) -> mv.Trainer:
    how = {"epochs": 4, "batch_size": 8, "learning_rate": 1e-2, "seed": 1, "progress": False, "device": "cpu"}
    return mv.Trainer(**{**how, "callbacks": callbacks, **more})


@pytest.mark.parametrize(
    "parts",
    [
        dict,
        lambda: {"objective": ELBO(gradient="sticking-the-landing")},
        lambda: {"objective": ELBO(free_bits=0.2, num_samples=2)},
        lambda: {"objective": IWAE(3, "doubly-reparameterized")},
        lambda: {"objective": IWAE(2, groups=2, partial=True)},
        lambda: {"objective": InfoVAE()},
        lambda: {"prior": VampPrior(4)},
    ],
    ids=["plain", "landing", "free bits", "IWAE", "PIWAE", "InfoVAE", "VampPrior"],
)
def test_it_trains_with_every_part_and_a_resumed_run_ends_as_the_whole_one(
    parts: Callable[[], dict[str, Any]], tmp_path: Path
) -> None:
    whole = spherical_vae(parts)
    history = trainer().fit(whole, digits())
    assert history[3]["loss"] < history[0]["loss"]
    with pytest.raises(Interrupted):
        trainer(Checkpoint(tmp_path), StopAt(7)).fit(spherical_vae(parts), digits())
    resumed = spherical_vae(parts)
    trainer(Checkpoint(tmp_path)).fit(resumed, digits(), resume=tmp_path)
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in resumed.state_dict().items())


def test_a_file_evaluation_and_samples_of_it(tmp_path: Path) -> None:
    model, x = spherical_vae().eval(), digits(12)
    same = mv.load(mv.save(model, tmp_path / "model.safetensors"))
    assert torch.equal(same.encode(x).mu, model.encode(x).mu)
    assert type(same.support) is UnitSphere
    noise = [torch.Generator().manual_seed(1) for _ in range(2)]
    assert torch.equal(model.sample(5, generator=noise[0]), same.sample(5, generator=noise[1]))
    data = mv.ImageDataset(x, torch.arange(12) % 2)
    found = mv.metrics.evaluate(model, data, num_samples=20)
    assert found["nll"] <= found["negative_elbo"] + 1
    assert found.left_out["mutual_information"] == "posteriors of this kind cannot be joined"
    codes, q = mv.View(model, data).codes, model.encode(data.images / 255)
    torch.testing.assert_close(codes.means, q.mean.detach())
    torch.testing.assert_close(codes.deviations, q.stddev.detach())


@pytest.mark.filterwarnings("ignore:.*_prims_common.check:FutureWarning")  # torch's own, while it compiles
@pytest.mark.parametrize(
    "how", [pytest.param({"compile": True}, marks=pytest.mark.slow), {"precision": "bf16"}], ids=str
)
def test_it_trains_compiled_and_in_bf16(how: dict[str, Any]) -> None:
    models = [spherical_vae(), spherical_vae()]
    plain, other = (trainer(**more).fit(model, digits()) for model, more in zip(models, ({}, how), strict=True))
    assert other[1]["loss"] == pytest.approx(plain[1]["loss"], rel=1e-4 if "compile" in how else 0.02)
    kappas = [model.encode(digits()).kappa for model in models]
    torch.testing.assert_close(*kappas, rtol=1e-3 if "compile" in how else 0.05, atol=0)


@pytest.mark.parametrize("part", ["encoder", "decoder", "reconstruct", "sample"])
def test_every_part_is_exported(part: Any, tmp_path: Path) -> None:
    model = spherical_vae().eval()
    path = mv.export(model, tmp_path / "part.pt2", part=part, format="pt2")
    graph = torch.export.load(path).module()
    x, z = digits(3), torch.randn(3, 3)
    with torch.no_grad():
        q = model.encode(x)
        wanted = {
            "encoder": (q.mean, q.variance.log()),
            "decoder": model.decode(z).mean,
            "reconstruct": model.decode(q.mode).mean,
            "sample": model.decode(unit_vectors(z)).mean,
        }[part]
        torch.testing.assert_close(graph(x if part in {"encoder", "reconstruct"} else z), wanted, atol=1e-5, rtol=1e-4)
    if part == "sample":
        assert mv.exports.describe(model, "sample")["inputs"] == {"noise": "float32 (batch, 3), standard normal"}


def test_draws_from_posteriors_on_the_sphere_are_no_function_of_noise(tmp_path: Path) -> None:
    model = spherical_vae(lambda: {"prior": VampPrior(4)})
    assert bool(UnitSphere().check(model.latent_prior().sample(torch.Size([50]))).all())
    assert model.sample(3, temperature=0.5).shape == (3, *DIGITS)
    with pytest.raises(
        ComponentError, match="whose draws are known as a function of noise: a normal, a mixture, a flow"
    ):
        mv.export(model, tmp_path / "sample.pt2", part="sample", format="pt2")


def test_with_labels() -> None:
    encoder = VonMisesFisherEncoder(trunk(), 3, num_classes=2)
    decoder = MLPDecoder(3, DIGITS, (8,), num_classes=2)
    model = mv.ConditionalVAE(3, 2, DIGITS, encoder=encoder, decoder=decoder, prior=UniformSphere(3))
    data = mv.ImageDataset(digits(), torch.arange(40) % 2)
    history = trainer().fit(model, data)
    assert history[3]["loss"] < history[0]["loss"]
    assert model.sample(4, y=1).shape == (4, *DIGITS)
    assert isinstance(model.latent_prior(), HypersphericalUniform)
    assert not isinstance(model.encode(digits(2), torch.tensor([0, 1])), DiagonalNormal)
