"""fit_prior: on codes that are a known mixture it finds that mixture, and its samples come from it."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributions as td
from test_linear_gaussian import assert_mean
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import mnistvae as mv
from mnistvae.data import ImageDataset
from mnistvae.distributions import DiagonalNormal
from mnistvae.errors import ComponentError, DataError, SettingError
from mnistvae.fitting import fit_prior
from mnistvae.images import ImageShape
from mnistvae.likelihoods import Gaussian
from mnistvae.models import VAE, BetaVAE
from mnistvae.networks import Encoder, MLPDecoder, MLPEncoder, TrunkDecoder
from mnistvae.priors import GaussianMixture, StandardNormal

SHAPE: ImageShape = (1, 2, 2)
#: Where the codes of the classes lie, how they scatter there, and how many images there are of each.
CENTRES = torch.tensor([[-6.0, 0.0], [0.0, 5.0], [6.0, -2.0]])
FACTORS = torch.tensor([[[0.5, 0.0], [0.3, 0.4]], [[1.0, 0.0], [0.0, 0.2]], [[0.3, 0.0], [-0.6, 0.7]]])
COUNTS = torch.tensor([200, 500, 300])


class Placing(Encoder):
    """Places the code of an image near the centre of its class, which the image or else its label tells.

    ``noise`` scales the posterior; the image's last pixel moves its mean along the diagonal.
    """

    def __init__(self, latent_dim: int, noise: float = 1.0, by_label: bool = False) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.noise = noise
        self.by_label = by_label
        self.register_buffer("centres", CENTRES.clone())
        self.register_buffer("factors", FACTORS.clone())

    def forward(self, x: Tensor, y: Tensor | None = None) -> td.Distribution:
        if self.by_label:
            assert y is not None
            label = y
        else:
            label = x.flatten(1)[:, :3].argmax(1)
        mu = self.centres[label] + 0.5 * x.flatten(1)[:, 3:]
        if self.noise == 0:
            return DiagonalNormal(mu, torch.full_like(mu, -60.0))
        return td.MultivariateNormal(mu, scale_tril=self.noise * self.factors[label])


def placing_vae(noise: float = 1.0, num_classes: int | None = None) -> VAE:
    """Its decoder writes the code into the first two pixels, so that a sample shows the code it was made of."""
    vae = VAE(
        2,
        SHAPE,
        encoder=Placing(2, noise, by_label=num_classes is not None),
        decoder=TrunkDecoder(nn.Linear(2, 4), 2, SHAPE, num_classes=num_classes),
        likelihood=Gaussian(sigma=0.1, link="identity"),
        num_classes=num_classes,
    )
    with torch.no_grad():
        vae.decoder.trunk.weight.copy_(torch.eye(4, 2) / 40)  # far within [0, 1], as images are
        vae.decoder.trunk.bias.fill_(0.5)
        if num_classes is not None:
            vae.decoder.code.classes.weight.zero_()
    return vae


def codes_of(samples: Tensor) -> Tensor:
    """The codes that the decoder above wrote into images."""
    pixels = samples.flatten(1) - 0.5
    assert (pixels[:, 2:] == 0).all()
    return 40 * pixels[:, :2]


def placed_images(seed: int = 0, counts: Tensor = COUNTS) -> ImageDataset:
    """Images in a random order, whose first three pixels tell their class."""
    labels = torch.arange(3).repeat_interleave(counts)
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))]
    x = torch.zeros(len(labels), 4)
    x[torch.arange(len(labels)), labels] = 1.0
    return ImageDataset(x.reshape(-1, *SHAPE), labels)


def noisy_images() -> ImageDataset:
    """The same, with noise in the last pixel, which scatters the means of the posteriors."""
    data = placed_images()
    pixels = data.images.clone()
    pixels[:, 0, 1, 1] = torch.randint(0, 256, (len(pixels),), generator=torch.Generator().manual_seed(1)).byte()
    return ImageDataset(pixels, data.labels)


def mixture_of(vae: VAE) -> tuple[Tensor, Tensor, Tensor]:
    """Weights, means and covariances of a fitted prior, in the order of the means' first coordinate."""
    p = vae.latent_prior()
    assert isinstance(vae.prior, GaussianMixture)
    assert isinstance(p, td.MixtureSameFamily)
    parts = p.component_distribution
    order = parts.mean[:, 0].argsort()
    full = isinstance(parts, td.MultivariateNormal)
    covariances = parts.covariance_matrix if full else torch.diag_embed(parts.variance)
    weights = p.mixture_distribution.probs
    return weights[order].detach(), parts.mean[order].detach(), covariances[order].detach()


def true_covariances(covariance: str) -> Tensor:
    full = FACTORS @ FACTORS.transpose(1, 2)
    return full if covariance == "full" else torch.diag_embed(full.diagonal(dim1=1, dim2=2))


def small_vae(**kwargs: Any) -> VAE:
    return VAE(2, SHAPE, encoder=MLPEncoder(2, SHAPE, (6,)), decoder=MLPDecoder(2, SHAPE, (6,)), **kwargs)


# --------------------------------------------------------------------------------------------- what the fit finds


def assert_is_the_true_mixture(vae: VAE, covariance: str) -> None:
    """Weights are the classes' shares; means and covariances those of the posteriors, within five standard errors."""
    weights, means, covariances = mixture_of(vae)
    torch.testing.assert_close(weights, COUNTS / COUNTS.sum(), rtol=0, atol=2e-3)
    truth = true_covariances("full")
    variances = truth.diagonal(dim1=1, dim2=2)
    n = COUNTS[:, None]
    assert ((means - CENTRES).abs() <= 5 * (variances / n).sqrt()).all()
    # The variance of a sample covariance is (S_ii S_jj + S_ij^2) / n.
    error = ((variances[:, :, None] * variances[:, None] + truth.square()) / n[..., None]).sqrt()
    assert ((covariances - true_covariances(covariance)).abs() <= 5 * error).all()


@pytest.mark.parametrize("num_classes", [None, 3], ids=["plain", "conditional"])
@pytest.mark.parametrize("covariance", ["diag", "full"])
def test_a_known_mixture_is_found(covariance: Any, num_classes: int | None) -> None:
    vae = placing_vae(num_classes=num_classes)
    fitted = fit_prior(vae, placed_images(), components=3, covariance=covariance)
    assert type(fitted) is type(vae)
    assert repr(fitted.prior) == f"GaussianMixture(latent_dim=2, components=3, covariance={covariance!r})"
    assert_is_the_true_mixture(fitted, covariance)


def test_the_covariance_is_full_by_default() -> None:
    fitted = fit_prior(placing_vae(), placed_images(), 3)
    assert_is_the_true_mixture(fitted, "full")
    assert mixture_of(fitted)[2][:, 0, 1].abs().max() > 0.1


@pytest.mark.parametrize("covariance", ["diag", "full"])
def test_one_component_has_the_mean_and_covariance_of_the_codes(covariance: Any) -> None:
    # Without noise in the posteriors the codes are known, and the most likely normal is exact.
    vae, data = placing_vae(noise=0.0), noisy_images()
    codes = vae.encode(data.images).mean
    weights, means, covariances = mixture_of(fit_prior(vae, data, 1, covariance=covariance))
    torch.testing.assert_close(weights, torch.ones(1))
    torch.testing.assert_close(means[0], codes.mean(0), rtol=1e-4, atol=1e-5)
    expected = torch.cov(codes.T, correction=0)
    if covariance == "diag":
        expected = expected.diagonal().diag()
    torch.testing.assert_close(covariances[0], expected, rtol=1e-4, atol=1e-4)


def test_components_far_apart_are_the_classes_of_the_codes() -> None:
    vae, data = placing_vae(noise=0.0), noisy_images()
    codes = vae.encode(data.images).mean
    assert data.labels is not None
    weights, means, covariances = mixture_of(fit_prior(vae, data, 3))
    torch.testing.assert_close(weights, COUNTS / COUNTS.sum())
    for k in range(3):
        own = codes[data.labels == k]
        torch.testing.assert_close(means[k], own.mean(0), rtol=1e-4, atol=1e-4)
        # scikit-learn adds a millionth to the diagonal.
        expected = torch.cov(own.T, correction=0) + 1e-6 * torch.eye(2)
        torch.testing.assert_close(covariances[k], expected, rtol=1e-2, atol=1e-5)


@pytest.mark.parametrize("covariance", ["diag", "full"])
def test_codes_held_out_are_more_likely_than_under_the_standard_normal(covariance: Any) -> None:
    vae = placing_vae()
    fitted = fit_prior(vae, placed_images(), 3, covariance=covariance)
    held_out = vae.encode(placed_images(5).images).sample()
    exact = td.MixtureSameFamily(
        td.Categorical(COUNTS.float()), td.MultivariateNormal(CENTRES, scale_tril=FACTORS)
    ).log_prob(held_out)
    with torch.no_grad():
        fit = fitted.latent_prior().log_prob(held_out)
    assert float(fit.mean()) > float(vae.latent_prior().log_prob(held_out).mean()) + 5
    assert float((exact - fit).mean()) < (0.02 if covariance == "full" else 0.3)  # what a fit to 1,000 codes may lose


def test_codes_that_reach_the_decoder_are_distributed_as_the_mixture() -> None:
    for num_classes in (None, 3):
        fitted = fit_prior(placing_vae(num_classes=num_classes), placed_images(), 3)
        codes = codes_of(fitted.sample(6_000, generator=torch.Generator().manual_seed(2)))
        distances, nearest = torch.cdist(codes, CENTRES).min(1)
        assert distances.max() < 5
        assert_mean(nn.functional.one_hot(nearest, 3).float(), COUNTS / COUNTS.sum(), errors=6)
        weights, means, covariances = mixture_of(fitted)
        for k in range(3):
            own = codes[nearest == k]
            assert_mean(own, means[k])
            products = (own - means[k])[:, :, None] * (own - means[k])[:, None]
            assert_mean(products, covariances[k])
        assert weights.sum() == pytest.approx(1, abs=1e-6)


def test_a_label_does_not_change_where_a_fitted_prior_draws() -> None:
    fitted = fit_prior(placing_vae(num_classes=3), placed_images(), 3)
    for label in range(3):
        codes = codes_of(fitted.sample(500, y=label, generator=torch.Generator().manual_seed(2)))
        assert torch.cdist(codes, CENTRES).argmin(1).unique().tolist() == [0, 1, 2]


# ------------------------------------------------------------------------------------------------ what it leaves alone


def test_the_model_is_left_as_it_was() -> None:
    vae = small_vae().train()
    vae.encoder.eval()  # a mode of its own
    before = copy.deepcopy(vae.state_dict())
    prior, modes = vae.prior, {name: module.training for name, module in vae.named_modules()}
    fitted = fit_prior(vae, torch.rand(50, *SHAPE), 2)
    assert vae.prior is prior
    assert isinstance(vae.prior, StandardNormal)
    assert {name: module.training for name, module in vae.named_modules()} == modes
    assert vae.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in vae.state_dict().items())
    assert all(parameter.grad is None for parameter in vae.parameters())
    assert not any(module.training for module in fitted.modules())
    with torch.no_grad():
        for parameter in fitted.parameters():
            parameter.add_(1)
    assert all(torch.equal(value, before[name]) for name, value in vae.state_dict().items())


def test_codes_are_drawn_in_evaluation_mode() -> None:
    trunk = nn.Sequential(nn.Flatten(), nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.9))
    vae = VAE(2, SHAPE, encoder=mv.networks.GaussianEncoder(trunk, 2), decoder=MLPDecoder(2, SHAPE, (6,))).train()
    x = torch.rand(60, *SHAPE)
    trained, evaluated = fit_prior(vae, x, 2), fit_prior(copy.deepcopy(vae).eval(), x, 2)
    z = torch.randn(10, 2)
    assert torch.equal(trained.latent_prior().log_prob(z), evaluated.latent_prior().log_prob(z))
    assert vae.training


@pytest.mark.parametrize("kind", ["tensor", "array", "ImageDataset", "Dataset", "DataLoader"])
def test_global_generators_are_left_as_they_were(kind: str) -> None:
    x = torch.rand(40, *SHAPE)
    data: dict[str, Any] = {
        "tensor": x,
        "array": x.numpy(),
        "ImageDataset": ImageDataset(x),
        "Dataset": TensorDataset(x),
        "DataLoader": DataLoader(TensorDataset(x), batch_size=16, shuffle=True),
    }
    vae = small_vae()
    torchs, numpys = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002 (the one not to be touched)
    fit_prior(vae, data[kind], 2)
    assert torch.equal(torch.get_rng_state(), torchs)
    assert np.array_equal(np.random.get_state()[1], numpys)  # noqa: NPY002


# ----------------------------------------------------------------------------------------------------- its settings


def parameters_of(vae: VAE) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in vae.prior.parameters()])


@pytest.mark.parametrize("shuffled", [False, True])
def test_the_same_seed_gives_the_same_prior(shuffled: bool) -> None:
    vae = placing_vae()
    data = placed_images()
    loader = DataLoader(data, batch_size=64, shuffle=True) if shuffled else data
    first = parameters_of(fit_prior(vae, loader, 3, seed=7))
    torch.manual_seed(123)
    assert torch.equal(parameters_of(fit_prior(vae, loader, 3, seed=7)), first)
    assert not torch.equal(parameters_of(fit_prior(vae, loader, 3, seed=8)), first)


@pytest.mark.parametrize("seed", [2**32, 2**63 - 1])
def test_seeds_may_be_large(seed: int) -> None:
    assert fit_prior(small_vae(), torch.rand(30, *SHAPE), 2, seed=seed).prior.components == 2


@pytest.mark.parametrize("batch_size", [1, 7, 999, 5000])
def test_every_image_counts_once_whatever_the_batch_size(batch_size: int) -> None:
    vae, data = placing_vae(noise=0.0), noisy_images()
    expected = vae.encode(data.images).mean.mean(0)
    fitted = fit_prior(vae, data, 1, batch_size=batch_size)
    torch.testing.assert_close(mixture_of(fitted)[1][0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("num_classes", [None, 3], ids=["plain", "conditional"])
def test_a_data_loader_is_taken(num_classes: int | None) -> None:
    loader = DataLoader(placed_images(), batch_size=64, shuffle=True)
    assert_is_the_true_mixture(fit_prior(placing_vae(num_classes=num_classes), loader, 3), "full")


def test_images_come_in_every_form() -> None:
    vae, data = placing_vae(noise=0.0), noisy_images()
    expected = parameters_of(fit_prior(vae, data, 2))
    x = data.images / 255
    for other in (data.images, x, x.numpy(), x[:, 0], x.flatten(1), TensorDataset(x)):
        torch.testing.assert_close(parameters_of(fit_prior(vae, other, 2)), expected, rtol=1e-4, atol=1e-4)


def test_numpys_integers_are_taken() -> None:
    fitted = fit_prior(small_vae(), torch.rand(30, *SHAPE), np.int64(3), seed=np.int64(1), batch_size=np.int64(8))
    assert repr(fitted.prior) == "GaussianMixture(latent_dim=2, components=3, covariance='full')"


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_fitted_model_has_the_dtype_of_the_model_and_is_saved_and_loaded(dtype: torch.dtype, tmp_path: Path) -> None:
    vae = BetaVAE(2, 2.0, SHAPE, encoder=MLPEncoder(2, SHAPE, (6,)), decoder=MLPDecoder(2, SHAPE, (6,))).to(dtype)
    fitted = fit_prior(vae, torch.rand(60, *SHAPE), 3)
    assert isinstance(fitted, BetaVAE)
    assert fitted.beta == 2.0
    assert fitted.sample(3).dtype is dtype
    same = mv.load(mv.save(fitted, tmp_path / "vae.safetensors"))
    assert repr(same) == repr(fitted)
    z = torch.randn(5, 2, dtype=dtype)
    assert torch.equal(same.latent_prior().log_prob(z), fitted.latent_prior().log_prob(z))


def test_a_fitted_model_can_be_fitted_again_and_trained() -> None:
    data = placed_images()
    once = fit_prior(placing_vae(), data, 2)
    again = fit_prior(once, data, 3)
    assert_is_the_true_mixture(again, "full")
    loss = again.train().loss(data.images[:5]).loss.sum()
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in again.prior.parameters())


# --------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(("n", "components", "least"), [(1, 1, 2), (2, 3, 3), (9, 10, 10)])
def test_fewer_images_than_components_are_refused(n: int, components: int, least: int) -> None:
    message = rf"expected at least {least} images for {components} components, got {n}: pass more images, or fewer comp"
    with pytest.raises(DataError, match=message):
        fit_prior(small_vae(), torch.rand(n, *SHAPE), components)


def test_as_many_images_as_components_are_enough() -> None:
    assert fit_prior(small_vae(), torch.rand(3, *SHAPE), 3).sample(2).isfinite().all()


@pytest.mark.parametrize("model", [nn.Linear(2, 2), None, VAE, "vae"])
def test_only_a_vae_has_a_prior_to_fit(model: Any) -> None:
    with pytest.raises(ComponentError, match=r"expected a mnistvae model, got .*: pass an instance of VAE"):
        fit_prior(model, torch.rand(30, *SHAPE), 2)


@pytest.mark.parametrize("value", [0, -1, 1.5, "3", None, True])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("components", "expected components as an integer of at least 1, got"),
        ("batch_size", "expected batch_size of at least 1, got"),
    ],
)
def test_counts_are_positive_integers(name: str, message: str, value: Any) -> None:
    with pytest.raises(SettingError, match=message):
        fit_prior(small_vae(), torch.rand(30, *SHAPE), **{name: value})


@pytest.mark.parametrize("seed", [-1, 0.5, "0", None, 2**63])
def test_a_seed_is_an_integer_of_at_least_0(seed: Any) -> None:
    with pytest.raises(SettingError, match="expected seed as an integer of at least 0"):
        fit_prior(small_vae(), torch.rand(30, *SHAPE), 2, seed=seed)


@pytest.mark.parametrize("covariance", ["spherical", "tied", "Full", None, 1])
def test_an_unknown_covariance_is_refused(covariance: Any) -> None:
    with pytest.raises(SettingError, match=r"expected covariance as one of 'diag', 'full', got .*: check the spelling"):
        fit_prior(small_vae(), torch.rand(30, *SHAPE), 2, covariance=covariance)


def test_codes_that_are_not_finite_are_refused() -> None:
    vae = small_vae()
    with torch.no_grad():
        next(vae.encoder.parameters()).fill_(math.nan)
    with pytest.raises(DataError, match=r"expected finite codes, got NaN or infinity in .*: train the model before"):
        fit_prior(vae, torch.rand(30, *SHAPE), 2)


@pytest.mark.parametrize(
    "images",
    [torch.rand(30, 1, 3, 3), torch.rand(30, *SHAPE) * 3, torch.full((30, *SHAPE), math.nan), torch.rand(0, *SHAPE)],
    ids=["other shape", "above 1", "nan", "none"],
)
def test_images_that_do_not_fit_are_refused(images: Tensor) -> None:
    with pytest.raises(DataError, match="expected "):
        fit_prior(small_vae(), images, 2)


def test_a_conditional_model_asks_for_labels_it_knows() -> None:
    vae = placing_vae(num_classes=3)
    with pytest.raises(DataError, match="expected labels for a model conditioned on 3 classes, got none"):
        fit_prior(vae, torch.rand(30, *SHAPE), 2)
    with pytest.raises(DataError, match="expected labels from 0 to 2"):
        fit_prior(vae, ImageDataset(torch.rand(30, *SHAPE), torch.arange(30) % 5), 2)


@pytest.mark.parametrize("kinds", [1, 3])
def test_more_components_than_different_codes_are_one_line_of_ours(kinds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = torch.arange(60).remainder(kinds)[:, None].float().expand(60, 2).contiguous()
    monkeypatch.setattr("mnistvae.fitting._draw_codes", lambda *_: codes)
    with pytest.warns(UserWarning, match="did not settle") as caught:
        fitted = fit_prior(VAE(2, SHAPE), torch.rand(60, *SHAPE), components=10)
    assert [str(one.message) for one in caught] == [
        "the mixture of 10 did not settle: fewer components, or more images, may do better"
    ]
    assert caught[0].filename == __file__
    assert fitted.sample(2).isfinite().all()


def test_codes_that_no_mixture_fits_are_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mnistvae.fitting._draw_codes", lambda *_: torch.randn(60, 2) * 1e30)
    with pytest.raises(DataError, match=r"codes for 20 components, got codes up to .*: fit fewer"):
        fit_prior(VAE(2, SHAPE), torch.rand(60, *SHAPE), components=20)
