"""Flows and second VAEs as fitted priors: on codes of a known density they come near it, and its draws are theirs."""

from __future__ import annotations

import copy
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributions as td
from click.testing import CliRunner
from readback import stirred
from scipy.stats import ks_2samp, kstest
from test_linear_gaussian import assert_mean
from torch import Tensor, nn

import mnistvae as mv
from mnistvae import _likeliest, exports, fitting, io
from mnistvae._random import Stream, derive_seed, seeded
from mnistvae._tensorfile import write_tensors
from mnistvae.commands import cli
from mnistvae.data import ImageDataset
from mnistvae.distributions import DiagonalNormal, LatentMarginal, PushForward, from_noise, noise_size, tempered
from mnistvae.errors import ComponentError, DataError, SettingError
from mnistvae.explorer.packing import Packer
from mnistvae.explorer.programs import describe_prior
from mnistvae.fitting import fit_prior, fit_settings
from mnistvae.images import ImageShape
from mnistvae.likelihoods import Gaussian
from mnistvae.models import VAE
from mnistvae.networks import Encoder, MLPDecoder, MLPEncoder, TrunkDecoder
from mnistvae.priors import Flow, GaussianMixture, Prior, SecondStage, StandardNormal, VampPrior
from mnistvae.training import Trainer
from mnistvae.training.callbacks import Checkpoint

SHAPE: ImageShape = (1, 2, 2)
#: Where the codes of the moons lie, and how they scatter about a moon.
PLACE, SIZE, NOISE = torch.tensor([3.0, -2.0]), torch.tensor([2.0, 1.2]), 0.15
#: Small networks and few steps, for two dimensions.
QUICK: dict[str, dict[str, Any]] = {
    "realnvp": {"transforms": 6, "hidden": (32, 32), "steps": 600},
    "maf": {"transforms": 5, "hidden": (32, 32), "steps": 600},
    "nsf": {"transforms": 2, "hidden": (32,), "steps": 300},
    "vae": {"hidden": (64, 64), "steps": 500},
}
KINDS = list(QUICK)
#: Nats that a fit may be below the true density on average, for codes that it was not fitted to.
NEAR = {"realnvp": 0.12, "maf": 0.12, "nsf": 0.15, "vae": 0.2}


class Reading(Encoder):
    """Reads the mean of a code off the first two pixels; all posteriors have one deviation."""

    def __init__(self, latent_dim: int, sigma: float = NOISE, diagonal: bool = True) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.sigma = sigma
        self.diagonal = diagonal

    def forward(self, x: Tensor, y: Tensor | None = None) -> td.Distribution:
        mu = (x.flatten(1)[:, :2] - 0.5) * 4 * SIZE.to(x) + PLACE.to(x)
        sigma = self.sigma * SIZE.to(x).expand_as(mu)
        return DiagonalNormal(mu, 2 * sigma.log()) if self.diagonal else td.Independent(td.Normal(mu, sigma), 1)


def reading_vae(**how: Any) -> VAE:
    decoder = TrunkDecoder(nn.Linear(2, 4), 2, SHAPE)
    return VAE(2, SHAPE, encoder=Reading(2, **how), decoder=decoder, likelihood=Gaussian(0.1, link="identity"))


def moons(angle: Tensor, second: Tensor) -> Tensor:
    """Points of two half circles, each (..., 2), within [-2, 2]."""
    x, y = angle.cos(), angle.sin()
    return torch.stack([torch.where(second, 1 - x, x) - 0.5, torch.where(second, 0.5 - y, y) - 0.25], dim=-1)


def images(n: int = 4_000, seed: int = 0) -> Tensor:
    """Images of points of the moons."""
    generator = torch.Generator().manual_seed(seed)
    angle = math.pi * torch.rand(n, generator=generator)
    x = torch.full((n, 4), 0.5)
    x[:, :2] += moons(angle, torch.rand(n, generator=generator) < 0.5) / 4
    return x.reshape(n, *SHAPE)


def codes(n: int = 4_000, seed: int = 5) -> Tensor:
    """Codes of images that no prior is fitted to."""
    with seeded(seed):
        return reading_vae().encode(images(n, seed)).sample()


def true_log_density(z: Tensor) -> Tensor:
    """The log-density of the codes of all images, by quadrature over the angle."""
    angle = math.pi * (torch.arange(500) + 0.5) / 500
    centres = torch.cat([moons(angle, torch.full_like(angle, side).bool()) for side in (0, 1)]) * SIZE + PLACE
    each = DiagonalNormal(centres, (2 * (NOISE * SIZE).log()).expand_as(centres))
    return each.log_prob(z[:, None]).logsumexp(1) - math.log(len(centres))


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    value: str = request.param
    return value


_FITTED: dict[str, VAE] = {}


@pytest.fixture
def fitted(kind: str) -> VAE:
    """A model whose prior is fitted to the moons, once for all tests."""
    if kind not in _FITTED:
        _FITTED[kind] = fit_prior(reading_vae(), images(), kind=kind, **QUICK[kind])  # type: ignore[arg-type]
    return _FITTED[kind]


# ------------------------------------------------------------------------------------------------ what the fit finds


def mean_log_density(model: VAE, z: Tensor, num_samples: int = 200) -> float:
    with torch.no_grad(), seeded(0):
        p = model.latent_prior()
        if isinstance(p, LatentMarginal):
            p.num_samples = num_samples
        return float(p.log_prob(z).mean())


def test_codes_held_out_are_nearly_as_likely_as_under_the_true_density(kind: str, fitted: VAE) -> None:
    z = codes()
    truth, found = float(true_log_density(z).mean()), mean_log_density(fitted, z)
    standard = mean_log_density(reading_vae(), z)
    assert truth - NEAR[kind] < found < truth + 0.03  # the standard error of the difference is a hundredth
    assert found > standard + 3
    one = DiagonalNormal(z.mean(0), z.var(0).log())
    assert found > float(one.log_prob(z).mean()) + 0.25  # a single normal is far off


def test_a_correlated_normal_is_found_by_every_kind(kind: str) -> None:
    factor = torch.tensor([[2.0, 0.0], [1.5, 0.4]])
    drawn = td.MultivariateNormal(torch.tensor([10.0, -30.0]), scale_tril=factor)
    torch.manual_seed(3)
    z, other = drawn.sample(torch.Size([3_000])), drawn.sample(torch.Size([3_000]))
    with torch.device("cpu"):
        torch.manual_seed(0)
        prior = SecondStage(2, hidden=(16,)) if kind == "vae" else Flow(2, kind, 2, (16,))  # type: ignore[arg-type]
    found = _likeliest.fit_likeliest(prior, _likeliest.Posteriors(z), 300, seed=0)
    entropy = float(drawn.entropy())
    with torch.no_grad():
        p = prior()
        if isinstance(p, LatentMarginal):
            p.num_samples = 100
        value = -float(p.log_prob(other).mean())
    assert abs(value - entropy) < 0.08
    assert abs(-found.fitted - entropy) < 0.2  # of 300 codes
    assert found.standard == pytest.approx(float(StandardNormal(2)().log_prob(z).mean()), rel=0.05)


def test_the_density_of_a_fitted_flow_integrates_to_one(kind: str, fitted: VAE) -> None:
    x, y = (torch.linspace(-7, 7, 300) * size + place for size, place in zip(SIZE, PLACE, strict=True))
    cell = float(x[1] - x[0]) * float(y[1] - y[0])
    p = fitted.latent_prior()
    if isinstance(p, LatentMarginal):
        p.num_samples = 8  # the estimate has no bias, and there are many points
    with torch.no_grad(), seeded(0):
        mass = p.log_prob(torch.cartesian_prod(x, y)).exp().sum() * cell
    assert float(mass) == pytest.approx(1, abs=0.03 if kind == "vae" else 5e-3)


def test_samples_are_distributed_as_codes_are(kind: str, fitted: VAE) -> None:
    z = codes(20_000)
    with seeded(1):
        drawn = fitted.latent_prior().sample(torch.Size([20_000]))
    for direction in torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 1.0], [0.6, -1.0]]):
        # By chance alone it would be 0.019 in one of a thousand cases; a normal of the same moments has up to 0.089.
        assert ks_2samp((z @ direction).numpy(), (drawn @ direction).numpy()).statistic < 0.06
    torch.testing.assert_close(drawn.mean(0), z.mean(0), atol=0.12, rtol=0)
    torch.testing.assert_close(drawn.T.cov(), z.T.cov(), atol=0.25, rtol=0)
    inside = true_log_density(drawn) > torch.quantile(true_log_density(z), 0.01)
    assert inside.float().mean() > 0.93  # few between the moons; of a normal of the same moments it would be 0.82


def test_samples_of_the_model_are_decoded_draws(fitted: VAE) -> None:
    with seeded(4):
        z = fitted.latent_prior().sample(torch.Size([6]))
        expected = fitted.decode(z).mean.clamp(0, 1)
    with seeded(4):
        assert torch.equal(fitted.sample(6), expected)
    assert fitted.sample(3, temperature=0.5).shape == (3, *SHAPE)


# ----------------------------------------------------------------------------------------------- standardised codes


def test_the_map_before_the_prior_is_that_of_the_codes(fitted: VAE) -> None:
    z = codes(20_000)
    torch.testing.assert_close(fitted.prior.affine.shift, z.mean(0), atol=0.15, rtol=0)
    torch.testing.assert_close(fitted.prior.affine.scale, z.std(0), rtol=0.05, atol=0)
    assert not any("affine" in name for name, _ in fitted.prior.named_parameters())


@pytest.mark.parametrize("make", [lambda: Flow(3, "maf", 2, (8,)), lambda: SecondStage(3, 2, (8,))], ids=["maf", "vae"])
def test_standardised_codes_have_the_density_that_the_affine_map_makes(make: Callable[[], Any]) -> None:
    prior = stirred(make().double(), 0.3)
    given = torch.tensor([5.0, -2.0, 0.1]) + torch.tensor([0.01, 3.0, 40.0]) * torch.randn(500, 3)
    h = torch.randn(6, 3).double()
    with seeded(0):
        before = prior().log_prob(h)
        drawn = prior().sample(torch.Size([4]))
    prior.standardize(given)
    mean, deviation = given.double().mean(0), given.double().std(0, correction=0)
    with seeded(0):
        torch.testing.assert_close(prior().log_prob(mean + deviation * h), before - deviation.log().sum())
        torch.testing.assert_close(prior().sample(torch.Size([4])), mean + deviation * drawn)
    torch.testing.assert_close(prior.affine(given.double()).std(0, correction=0), torch.ones(3).double())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (torch.zeros(5, 3), r"two or more codes of shape \(N, 2\), got shape \(5, 3\)"),
        (torch.zeros(1, 2), r"two or more codes of shape \(N, 2\), got shape \(1, 2\)"),
        (torch.full((5, 2), math.nan), "finite codes"),
        ([[0.0, 1.0]] * 5, "codes as a tensor, got a list"),
    ],
    ids=["size", "one", "nan", "list"],
)
@pytest.mark.parametrize("make", [lambda: Flow(2, "maf", 1, (4,)), lambda: SecondStage(2, hidden=(4,))])
def test_only_codes_can_be_standardised(make: Callable[[], Any], given: Any, message: str) -> None:
    prior = make()
    with pytest.raises(DataError, match=message):
        prior.standardize(given)
    assert prior.affine.shift.tolist() == [0, 0]
    assert prior.affine.scale.tolist() == [1, 1]


def test_a_dimension_in_which_all_codes_are_the_same_stays_finite() -> None:
    given = torch.randn(200, 2)
    given[:, 1] = 3.0
    prior = Flow(2, "realnvp", 1, (4,))
    prior.standardize(given)
    assert prior().log_prob(given).isfinite().all()


def old_file(model: VAE, path: Path) -> Path:
    """A file as it was written before flows had an affine map."""
    tensors = {name: tensor for name, tensor in model.state_dict().items() if ".affine." not in name}
    assert len(tensors) == len(model.state_dict()) - 2
    text = {"spec": io.to_json(io.to_spec(model, "model"), "arguments"), "metadata": "{}"}
    return write_tensors(path, io._KIND, tensors, text)


@pytest.mark.parametrize("kind", ["realnvp", "maf", "nsf"])
def test_a_flow_of_an_older_file_is_the_same_flow(kind: Any, tmp_path: Path) -> None:
    model = reading_vae().replace(prior=stirred(Flow(2, kind, 2, (4,))))
    own = [Reading]
    same = mv.load(old_file(model, tmp_path / "old.safetensors"), own)
    z = torch.randn(5, 2)
    assert torch.equal(same.latent_prior().log_prob(z), model.latent_prior().log_prob(z))
    again = mv.load(mv.save(same, tmp_path / "new.safetensors"), own)
    assert torch.equal(again.latent_prior().log_prob(z), model.latent_prior().log_prob(z))
    # As bits before there was a map: the flow's own transform and the standard normal.
    noise, volume = model.prior.normalize().call_and_ladj(z)
    assert torch.equal(model.latent_prior().log_prob(z), StandardNormal(2)().log_prob(noise) + volume)


def small_vae(prior: Prior | None = None, **how: Any) -> VAE:
    return VAE(2, SHAPE, encoder=MLPEncoder(2, SHAPE, (6,)), decoder=MLPDecoder(2, SHAPE, (6,)), prior=prior, **how)


def test_a_run_with_a_flow_of_an_older_checkpoint_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = ImageDataset(torch.rand(40, *SHAPE, generator=torch.Generator().manual_seed(0)))

    def trained(epochs: int, resume: Path | None = None) -> VAE:
        torch.manual_seed(1)
        model = small_vae(Flow(2, "realnvp", 1, (4,)))
        trainer = Trainer(epochs, 8, ema=0.9, device="cpu", progress=False, callbacks=[Checkpoint(tmp_path)])
        trainer.fit(model, data, resume=resume)
        return model

    whole = trained(2)
    for path in tmp_path.iterdir():
        path.unlink()
    capture = mv.training.snapshots.Snapshots.capture

    def older(*arguments: Any) -> Any:
        found = capture(*arguments)
        left = {name: tensor for name, tensor in found.tensors.items() if ".affine." not in name}
        assert len(left) == len(found.tensors) - 4
        return type(found)(left, found.info)

    with monkeypatch.context() as patch:
        patch.setattr(mv.training.snapshots.Snapshots, "capture", older)
        trained(1)
    resumed = trained(2, tmp_path)
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


# ------------------------------------------------------------------------------------- the density of a second stage


def stage(second_dim: int, num_samples: int = 1) -> SecondStage:
    """A second stage of one dimension over one or two, far from where it starts."""
    torch.manual_seed(2)
    prior = SecondStage(1, second_dim, (8,), num_samples)
    stirred(prior.decoder, 0.5)
    stirred(prior.encoder, 0.2)
    with torch.no_grad():
        prior.log_scale.fill_(-0.5)
        prior.encoder.linear.bias[second_dim:].fill_(0.2)  # broad enough for every code
    return prior.double()


Z = torch.linspace(-3, 3, 13, dtype=torch.float64)[:, None]


def exact_log_density(prior: SecondStage, z: Tensor) -> Tensor:
    """log p(z) by quadrature over u, of one dimension or two."""
    axis = torch.linspace(-7, 7, 401 if prior.second_dim == 1 else 101, dtype=torch.float64)
    u = torch.cartesian_prod(*[axis] * prior.second_dim).reshape(-1, prior.second_dim)
    base = td.Normal(0.0, 1.0).log_prob(u).sum(1) + prior.second_dim * math.log(float(axis[1] - axis[0]))
    with torch.no_grad():
        mean = prior.decoder(u) * prior.affine.scale + prior.affine.shift
        each = td.Normal(mean[:, 0], prior.log_scale.exp() * prior.affine.scale).log_prob(z)
        return (base + each).logsumexp(1)


@pytest.mark.parametrize("second_dim", [1, 2])
def test_the_density_of_a_second_stage_is_a_lower_bound_that_rises_to_it(second_dim: int) -> None:
    prior = stage(second_dim)
    prior.standardize(torch.tensor([[1.0], [4.0]]))  # its map is part of the density
    exact = exact_log_density(prior, Z)
    axis = torch.linspace(-40, 40, 401, dtype=torch.float64)[:, None]
    assert float(exact_log_density(prior, axis).exp().sum() * 0.2) == pytest.approx(1, abs=1e-6)
    gaps = []
    for prior.num_samples, repeats in ((1, 4_000), (4, 1_000), (32, 200), (512, 20)):
        with torch.no_grad(), seeded(1):
            found = prior().log_prob(Z.expand(repeats, *Z.shape))
        error = found.std(0) / math.sqrt(repeats)
        assert (found.mean(0) < exact + 5 * error).all()
        assert_mean(found.exp(), exact.exp(), errors=6)  # without bias
        gaps.append(float((exact - found.mean(0)).mean()))
    assert gaps[0] > gaps[1] > gaps[2] > gaps[3] > -0.01
    assert gaps[0] > 0.2
    assert gaps[-1] < 0.02


def test_draws_of_a_second_stage_are_exact() -> None:
    prior = stage(1)
    axis = torch.linspace(-12, 12, 4_001, dtype=torch.float64)[:, None]
    below = exact_log_density(prior, axis).exp().cumsum(0) * float(axis[1] - axis[0])
    for temperature in (1.0, 0.5):
        if temperature != 1:  # of u, and of z given u
            u = torch.linspace(-7, 7, 2_001, dtype=torch.float64)[:, None]
            with torch.no_grad():
                mean, spread = prior.decoder(temperature * u)[:, 0], temperature * prior.log_scale.exp()
            weights = td.Normal(0.0, 1.0).log_prob(u[:, 0]).softmax(0)
            below = (td.Normal(mean, spread).cdf(axis) * weights).sum(1)
        with seeded(5):
            drawn = tempered(prior(), temperature).sample(torch.Size([4_000]))
        levels = np.interp(drawn[:, 0].numpy(), axis[:, 0].numpy(), below.detach().numpy())
        assert kstest(levels, "uniform").pvalue > 1e-3


def test_where_u_is_no_smaller_a_second_stage_starts_as_the_standard_normal() -> None:
    z = 2 * torch.randn(50, 3)
    for second_dim in (None, 3, 5):
        found = SecondStage(3, second_dim, (8,), num_samples=2)().log_prob(z)
        torch.testing.assert_close(found, StandardNormal(3)().log_prob(z), rtol=1e-4, atol=1e-4)
    with seeded(0):
        drawn = SecondStage(3)().sample(torch.Size([5_000]))
    assert_mean(drawn, torch.zeros(3))
    assert_mean(drawn[:, :, None] * drawn[:, None], torch.eye(3))


def test_gradients_of_a_second_stages_density_are_those_of_differences() -> None:
    prior = stirred(SecondStage(2, 3, (4,), num_samples=3), 0.4).double()
    names, values = zip(*prior.named_parameters(), strict=True)
    z = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)

    def density(z: Tensor, *parameters: Tensor) -> Tensor:
        with seeded(0):
            return torch.func.functional_call(
                _Density(prior), {f"prior.{n}": p for n, p in zip(names, parameters, strict=True)}, (z,)
            )

    assert torch.autograd.gradcheck(density, (z, *values))


class _Density(nn.Module):
    def __init__(self, prior: Prior) -> None:
        super().__init__()
        self.prior = prior

    def forward(self, z: Tensor) -> Tensor:
        return self.prior().log_prob(z)


def test_noise_of_a_second_stage() -> None:
    p = stirred(SecondStage(2, 3, (4,)), 0.4)()
    assert noise_size(p) == 5
    noise = torch.randn(7, 5)
    z = from_noise(p, noise)
    assert z.shape == (7, 2)
    normal = p.conditional(noise[:, :3])
    torch.testing.assert_close(z, normal.mean + normal.stddev * noise[:, 3:])
    torch.testing.assert_close(from_noise(tempered(p, 0.4), noise), from_noise(p, 0.4 * noise))
    with seeded(0):
        drawn = p.sample(torch.Size([7]))
    with seeded(0):
        assert torch.equal(drawn, from_noise(p, torch.randn(7, 5)).detach())
    assert p.rsample().requires_grad
    with pytest.raises(NotImplementedError):
        _ = p.mean


def test_many_densities_are_computed_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    p = SecondStage(2, hidden=(4,), num_samples=4)()  # exact, whatever is drawn
    z, sizes = torch.randn(3, 50, 2), []
    monkeypatch.setattr("mnistvae.distributions.marginals._AT_ONCE", 4 * 40)
    conditional = p.conditional
    p.conditional = lambda u: (sizes.append(u.shape), conditional(u))[1]
    with torch.no_grad():
        found = p.log_prob(z)
    torch.testing.assert_close(found, StandardNormal(2)().log_prob(z), rtol=1e-4, atol=1e-4)
    assert sizes == [(4, 40, 2)] * 3 + [(4, 30, 2)]
    assert p.expand(torch.Size([50])).log_prob(torch.zeros(2)).shape == (50,)
    assert p.expand(torch.Size([5])).sample(torch.Size([3])).shape == (3, 5, 2)


def test_a_second_stage_is_learned_with_the_model(tmp_path: Path) -> None:
    data = ImageDataset(images(600))

    def trained(epochs: int, folder: Path, resume: Path | None = None) -> tuple[VAE, mv.History]:
        torch.manual_seed(1)
        parts = {"encoder": MLPEncoder(2, SHAPE, (16,)), "decoder": MLPDecoder(2, SHAPE, (16,))}
        model = VAE(2, SHAPE, likelihood=Gaussian(0.2), prior=SecondStage(2, hidden=(16,), num_samples=2), **parts)  # type: ignore[arg-type]
        trainer = Trainer(epochs, 50, 3e-3, device="cpu", progress=False, callbacks=[Checkpoint(folder)])
        return model, trainer.fit(model, data, resume=resume)

    whole, history = trained(4, tmp_path / "whole")
    assert history[3]["loss"] < history[0]["loss"] - 0.1
    trained(2, tmp_path / "part")
    resumed, _ = trained(4, tmp_path / "part", tmp_path / "part")
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    assert not torch.equal(
        whole.prior.encoder.network[0].weight, SecondStage(2, hidden=(16,)).encoder.network[0].weight
    )
    assert "SecondStage(latent_dim=2, second_dim=2, hidden=(16,), num_samples=2)" in repr(whole)


def test_figures_under_a_second_stage_say_that_they_are_upper_estimates() -> None:
    data = ImageDataset(images(30))
    words = {}
    for prior in (SecondStage(2, hidden=(4,)), StandardNormal(2)):
        scores = mv.metrics.evaluate(small_vae(prior), data, include=["likelihood"], num_samples=5)
        words[type(prior).__name__] = {score.name: score.protocol for score in scores}
    told = {name for name, protocol in words["SecondStage"].items() if "upper estimate" in protocol}
    assert told == {"negative_elbo", "kl", "nll", "bits_per_dimension"}
    assert not any("upper estimate" in protocol for protocol in words["StandardNormal"].values())


# ------------------------------------------------------------------------------------------------ saved, exported


def test_a_fitted_model_is_saved_and_loaded_to_the_bit(kind: str, fitted: VAE, tmp_path: Path) -> None:
    same = mv.load(mv.save(fitted, tmp_path / "vae.safetensors"), [Reading])
    assert type(same.prior) is (SecondStage if kind == "vae" else Flow)
    assert repr(same.prior) == repr(fitted.prior)
    z = codes(20)
    results = []
    for model in (fitted, same):
        with seeded(3), torch.no_grad():
            results.append((model.latent_prior().log_prob(z), model.sample(5)))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("kind", ["realnvp", "vae"])
def test_a_fitted_prior_is_exported_and_explored(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = small_vae(SecondStage(2, 3, (4,)) if kind == "vae" else Flow(2, "realnvp", 2, (4,)))
    stirred(model.prior, 0.3)
    model.prior.standardize(codes(50))
    size = 5 if kind == "vae" else 2
    assert exports.describe(model, "sample")["inputs"]["noise"].startswith(f"float32 (batch, {size}), standard normal")
    graph = torch.export.load(mv.export(model, tmp_path / "x.pt2", part="sample", format="pt2")).module()
    noise = torch.randn(3, size)
    with torch.no_grad():
        expected = model.decode(from_noise(model.latent_prior(), noise)).mean
    torch.testing.assert_close(graph(noise), expected, rtol=0, atol=1e-5)
    (part,) = describe_prior(model, Packer())["parts"]
    assert part.keys() == {"map", "noise"}
    assert part["noise"] == size


# --------------------------------------------------------------------------------------------------- what repeats

FEW: dict[str, Any] = {"hidden": (8,), "steps": 5}


def tensors_of(model: VAE) -> Tensor:
    return torch.cat([tensor.flatten().double() for tensor in model.prior.state_dict().values()])


def test_the_same_seed_gives_the_same_prior(kind: str) -> None:
    vae, x = reading_vae(), images(150)
    before = torch.get_rng_state()
    first = tensors_of(fit_prior(vae, x, kind=kind, seed=7, **FEW))  # type: ignore[arg-type]
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(123)
    assert torch.equal(tensors_of(fit_prior(vae, x, kind=kind, seed=7, **FEW)), first)  # type: ignore[arg-type]
    assert not torch.equal(tensors_of(fit_prior(vae, x, kind=kind, seed=8, **FEW)), first)  # type: ignore[arg-type]


def test_a_mixture_is_the_one_that_scikit_learn_fits_to_one_draw_of_each() -> None:
    from sklearn.mixture import GaussianMixture as Fit

    vae, x = reading_vae(), images(300)
    with seeded(derive_seed(4, Stream.FITTING)):
        z = vae.encode(ImageDataset(x).images).sample()
    fit = Fit(3, random_state=4, max_iter=500).fit(z.double().numpy())
    for found in (fit_prior(vae, x, 3, seed=4), fit_prior(vae, x, 3, kind="mixture", covariance="full", seed=4)):
        assert isinstance(found.prior, GaussianMixture)
        assert torch.equal(found.prior.means, torch.from_numpy(fit.means_).float())
        assert torch.equal(found.prior.logits, torch.from_numpy(fit.weights_).log().float())


@pytest.mark.parametrize("kind", ["realnvp", "vae"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_fitted_prior_has_the_dtype_of_the_model(kind: Any, dtype: torch.dtype) -> None:
    fitted = fit_prior(small_vae().to(dtype), torch.rand(120, *SHAPE), kind=kind, **FEW)
    assert {tensor.dtype for tensor in fitted.prior.state_dict().values() if tensor.is_floating_point()} == {dtype}
    assert fitted.sample(2).dtype is dtype


@pytest.mark.parametrize("kind", ["realnvp", "vae"])
def test_the_model_is_left_as_it_was(kind: Any) -> None:
    vae = small_vae().train()
    before, prior = copy.deepcopy(vae.state_dict()), vae.prior
    fitted = fit_prior(vae, torch.rand(120, *SHAPE), kind=kind, **FEW)
    assert vae.prior is prior
    assert vae.training
    assert not fitted.training
    assert all(torch.equal(value, before[name]) for name, value in vae.state_dict().items())
    assert all(parameter.grad is None for model in (vae, fitted) for parameter in model.parameters())
    loss = fitted.train().loss(torch.rand(5, *SHAPE)).loss.sum()
    loss.backward()
    assert all(parameter.grad is not None for parameter in fitted.prior.parameters())


def test_a_conditional_model_has_one_prior_for_all_labels() -> None:
    shape, labels = SHAPE, torch.arange(150) % 3
    parts = {"encoder": MLPEncoder(2, shape, (6,), num_classes=3), "decoder": MLPDecoder(2, shape, (6,), num_classes=3)}
    vae = VAE(2, shape, num_classes=3, **parts)  # type: ignore[arg-type]
    fitted = fit_prior(vae, ImageDataset(torch.rand(150, *shape), labels), kind="vae", **FEW)
    assert fitted.latent_prior([0, 1, 2]).batch_shape == ()
    assert fitted.sample(6, y=2).shape == (6, *shape)


@pytest.mark.parametrize("prior", [lambda: VampPrior(3), lambda: Flow(2, transforms=1, hidden=(4,))])
def test_it_takes_the_place_of_any_prior(prior: Callable[[], Prior]) -> None:
    fitted = fit_prior(small_vae(prior()), torch.rand(120, *SHAPE), kind="vae", **FEW)
    assert isinstance(fitted.prior, SecondStage)


# ---------------------------------------------------------------------------------------------- how codes are drawn


def test_codes_are_drawn_anew_where_the_posteriors_are_known() -> None:
    known = fitting._posteriors(reading_vae(), images(50), 0, 32)
    assert known.sigma is not None
    assert known.mu.shape == known.sigma.shape == (50, 2)
    rows = torch.zeros(5_000, dtype=torch.int64)
    with seeded(1):
        z = known.draw(rows)
    assert_mean(z, known.mu[0])
    assert_mean((z - known.mu[0]).square(), (NOISE * SIZE).square())
    once = fitting._posteriors(reading_vae(diagonal=False), images(50), 0, 32)
    assert once.sigma is None
    assert torch.equal(once.draw(rows[:3]), once.mu[rows[:3]])
    assert not torch.equal(once.mu, known.mu)  # draws, not means
    assert fit_prior(reading_vae(diagonal=False), images(120), kind="maf", **FEW).sample(2).isfinite().all()


def test_every_code_comes_once_before_any_comes_again() -> None:
    rows = torch.arange(1_300)
    batches = list(_likeliest._batches(rows, 512, 5))
    assert [len(batch) for batch in batches] == [512] * 5
    assert len(torch.cat(batches[:2]).unique()) == 1_024
    assert not torch.equal(batches[0], batches[2])
    assert [len(batch) for batch in _likeliest._batches(rows[:90], 512, 3)] == [90] * 3


def test_the_best_parameters_are_kept_and_the_search_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    figures = iter([-9.0, -5.0, -4.0, *[-6.0] * 50])
    seen: list[dict[str, Tensor]] = []

    prior = SecondStage(2, hidden=(4,))

    def measured(*_: Any) -> float:
        seen.append({name: tensor.clone() for name, tensor in prior.state_dict().items()})
        return next(figures)

    monkeypatch.setattr(_likeliest, "_mean", measured)
    found = _likeliest.fit_likeliest(prior, _likeliest.Posteriors(codes(200)), 250, seed=0)
    assert found.fitted == -4.0
    assert len(seen) == 3 + 6  # it waited six looks of 25
    assert all(torch.equal(value, seen[2][name]) for name, value in prior.state_dict().items())
    assert not torch.equal(seen[2]["log_scale"], seen[3]["log_scale"])


# --------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        ("maf", {"components": 20}, "no components for kind='maf', got components=20: leave it out, or take another"),
        ("vae", {"covariance": "diag"}, "no covariance for kind='vae', got covariance='diag'"),
        ("vae", {"transforms": 2}, "no transforms for kind='vae', got transforms=2: .*: this one has hidden, steps"),
        ("mixture", {"transforms": 2}, "no transforms for kind='mixture'"),
        ("mixture", {"hidden": (8,)}, "no hidden for kind='mixture'"),
        ("mixture", {"steps": 9}, "no steps for kind='mixture', got steps=9: .*: this one has components, covariance"),
        ("nsf", {"steps": 0}, "steps as an integer of at least 1, got 0"),
        ("nsf", {"transforms": 1.5}, "transforms as an integer of at least 1, got 1.5"),
        ("nsf", {"hidden": ()}, "hidden as one or more positive integers"),
        ("glow", {}, "kind as one of 'mixture', 'realnvp', 'maf', 'nsf', 'vae', 'tokens', got 'glow'"),
        (None, {}, "kind as one of"),
    ],
)
def test_settings_that_do_not_belong_to_the_kind(kind: Any, given: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        fit_prior(small_vae(), torch.rand(120, *SHAPE), kind=kind, **given)


def test_settings_of_a_kind() -> None:
    assert fit_settings("mixture") == {"components": 10, "covariance": "full"}
    assert fit_settings("mixture", components=np.int64(3))["components"] == 3
    assert fit_settings("vae", hidden=[8])["hidden"] == (8,)
    with pytest.raises(SettingError, match="no components for kind='maf', got components=10"):
        fit_settings("maf", components=10)


def test_few_images_are_refused(kind: str) -> None:
    with pytest.raises(DataError, match=f"at least 100 images for kind='{kind}', got 99: pass more images"):
        fit_prior(small_vae(), torch.rand(99, *SHAPE), kind=kind)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_codes_that_are_not_finite_are_refused(value: float) -> None:
    vae = small_vae()
    with torch.no_grad():
        next(vae.encoder.parameters()).fill_(value)
    with pytest.raises(DataError, match=r"expected finite codes, got NaN or infinity in .*: train the model before"):
        fit_prior(vae, torch.rand(120, *SHAPE), kind="vae", **FEW)


@pytest.mark.parametrize("kind", ["realnvp", "vae"])
def test_a_likelihood_that_is_not_finite_is_an_error(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = _likeliest.Posteriors(torch.rand(200, 2, dtype=torch.float64) * 2e306 - 1e306)
    monkeypatch.setattr(fitting, "_posteriors", lambda *_: wide)
    with pytest.raises(DataError, match=r"a finite likelihood of the codes, got (nan|-?inf) nats for codes up to"):
        fit_prior(small_vae(), torch.rand(200, *SHAPE), kind=kind, **FEW)


def test_a_poor_fit_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    # Codes that are standard normal: whatever is estimated from some of them is farther from that.
    torch.manual_seed(6)
    monkeypatch.setattr(fitting, "_posteriors", lambda *_: _likeliest.Posteriors(torch.randn(100, 2)))
    message = "held out are less likely than under the standard normal: -.* nats"
    with pytest.warns(UserWarning, match=message) as caught:
        fit_prior(small_vae(), torch.rand(100, *SHAPE), kind="realnvp", hidden=(8,), steps=1)
    assert caught[0].filename == __file__


def test_without_zuko_no_time_is_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("zuko", "zuko.flows"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(fitting, "_posteriors", lambda *_: pytest.fail("encoded"))
    with pytest.raises(ComponentError, match=r"expected the library zuko for a flow, got .*mnistvae\[flows\]"):
        fit_prior(small_vae(), torch.rand(120, *SHAPE), kind="nsf")


@pytest.mark.parametrize("kind", ["mixture", "vae"])
def test_a_ladder_keeps_its_prior(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    levels = (2, 3)
    parts = {
        "encoder": mv.ladders.LadderEncoder(levels, SHAPE, 4),
        "decoder": mv.ladders.LadderDecoder(levels, SHAPE, 4),
    }
    model = VAE(5, SHAPE, prior=mv.ladders.LadderPrior(levels, 4), **parts)  # type: ignore[arg-type]
    for name in ("_posteriors", "_draw_codes"):
        monkeypatch.setattr(fitting, name, lambda *_: pytest.fail("encoded"))
    message = r"encoder works with another prior, got a LadderEncoder, which is made for its LadderPrior: there is noth"
    with pytest.raises(ComponentError, match=message):
        fit_prior(model, torch.rand(120, *SHAPE), kind=kind)


def test_a_flow_is_a_flow_whatever_stands_before_it(fitted: VAE, kind: str) -> None:
    p = fitted.latent_prior()
    assert isinstance(p, LatentMarginal if kind == "vae" else PushForward)
    assert fitted.prior.bounds_density is (kind == "vae")


# ---------------------------------------------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of a small model of digits."""
    torch.manual_seed(0)
    vae = VAE(2, encoder=MLPEncoder(2, hidden=(8,)), decoder=MLPDecoder(2, hidden=(8,)))
    return mv.save(vae, tmp_path_factory.mktemp("model") / "model.safetensors", {"dataset": "mnist-mini"})


def run(*arguments: object) -> Any:
    return CliRunner().invoke(cli, ["fit-prior", *map(str, arguments)], prog_name="mnistvae")


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ("--kind maf --transforms 1 --hidden 4", {"transforms": 1, "hidden": [4], "steps": 3}),
        ("--kind vae", {"hidden": [256, 256], "steps": 3}),
    ],
)
def test_the_command_fits_other_kinds(saved: Path, tmp_path: Path, options: str, settings: dict[str, Any]) -> None:
    done = run(saved, *options.split(), "--steps", 3, "--seed", 4, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    kind = options.split()[1]
    first, second, *_ = done.stdout.splitlines()
    an = "an" if kind == "nsf" else "a"
    assert first == f"fitting {an} {kind} prior to the codes of 10,000 images, in at most 3 steps"
    assert second == f"wrote {tmp_path / 'out' / 'model.safetensors'} and {tmp_path / 'out' / 'samples.png'}"
    path = tmp_path / "out" / "model.safetensors"
    record = io.read(path).metadata["fitted_prior"]
    assert record == {"dataset": "mnist-mini", "images": 10_000, "seed": 4, "kind": kind, **settings}
    given = {name: value for name, value in settings.items() if name != "hidden"} | {
        "hidden": tuple(settings["hidden"])
    }
    expected = fit_prior(mv.load(saved), mv.load_dataset("mnist-mini"), kind=kind, seed=4, **given)  # type: ignore[arg-type]
    assert torch.equal(tensors_of(mv.load(path)), tensors_of(expected))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--kind maf --components 10", "no components for kind='maf', got components=10: leave it out"),
        ("--kind vae --covariance full", "no covariance for kind='vae', got covariance='full'"),
        ("--kind vae --transforms 8", "no transforms for kind='vae'"),
        ("--steps 5", "no steps for kind='mixture', got steps=5: leave it out, or take another kind"),
        ("--kind glow", "'glow' is not one of 'mixture', 'realnvp', 'maf', 'nsf', 'vae'"),
        ("--kind nsf --steps 0", "steps as an integer of at least 1, got 0"),
        ("--kind nsf --hidden 4,0", "hidden as one or more positive integers"),
    ],
)
def test_the_command_refuses_options_of_other_kinds(saved: Path, tmp_path: Path, options: str, message: str) -> None:
    done = run(saved, *options.split(), "--out", tmp_path / "out")
    assert done.exit_code != 0
    assert message in done.stderr
    assert not (tmp_path / "out").exists()
