"""Scores of anomalies: their values where they are known, and what they are good for."""

from __future__ import annotations

import math
import zlib

import pytest
import torch
from torch import Tensor, nn

import mnistvae as mv
from mnistvae.analysis import anomaly_scores
from mnistvae.distributions import DiagonalNormal
from mnistvae.errors import ComponentError, DataError, SettingError
from mnistvae.likelihoods import Gaussian
from mnistvae.networks import Decoder, Encoder, MLPDecoder, MLPEncoder

SHAPE = (1, 4, 4)


class Flat(Encoder):
    """Posterior that is the same for all images."""

    def __init__(self, mu: float) -> None:
        super().__init__()
        self.mu = nn.Parameter(torch.full((2,), mu))

    def forward(self, x: Tensor, y: Tensor | None = None) -> DiagonalNormal:
        mu = self.mu.expand(len(x), 2)
        return DiagonalNormal(mu, torch.zeros_like(mu))


class First(Decoder):
    """Image whose pixels are the first latent dimension."""

    def __init__(self) -> None:
        super().__init__()

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return z[:, :1, None, None].expand(-1, *SHAPE)


@pytest.fixture(scope="module")
def images() -> mv.ImageDataset:
    noise = torch.rand(40, *SHAPE, generator=torch.Generator().manual_seed(0))
    return mv.ImageDataset(noise, torch.arange(40) % 2)


@pytest.fixture(scope="module")
def model() -> mv.VAE:
    torch.manual_seed(0)
    return mv.VAE(2, SHAPE, encoder=MLPEncoder(2, SHAPE, (8,)), decoder=MLPDecoder(2, SHAPE, (8,)))


def test_nll_and_error_are_those_of_the_metrics(model: mv.VAE, images: mv.ImageDataset) -> None:
    expected = mv.metrics.importance_sampled_nll(model, images, num_samples=10, seed=3).nll
    assert torch.equal(anomaly_scores(model, images, "nll", num_samples=10, seed=3), expected)
    errors = mv.analysis.reconstruction_errors(model, images).mse
    assert torch.equal(anomaly_scores(model, images, "error"), errors.double())


def test_complexity_takes_the_compressed_length_off(model: mv.VAE, images: mv.ImageDataset) -> None:
    length = [8 * math.log(2) * len(zlib.compress(one.numpy().tobytes(), 9)) for one in images.images]
    expected = anomaly_scores(model, images, "nll", num_samples=5) - torch.tensor(length, dtype=torch.float64)
    torch.testing.assert_close(anomaly_scores(model, images, "complexity", num_samples=5), expected)


def test_density_is_that_of_a_fitted_prior(model: mv.VAE, images: mv.ImageDataset) -> None:
    prior = mv.fitting.fit_prior(model, images, 1, seed=5).latent_prior()
    expected = -prior.log_prob(model.encode(images.images).mean).detach()
    found = anomaly_scores(model, images, "density", train=images, seed=5)
    torch.testing.assert_close(found, expected.double())


def test_regret_of_a_known_optimum() -> None:
    # x = z_1 + noise of deviation s in each of 16 pixels: the best posterior is the exact one, a normal.
    s = 0.5
    model = mv.VAE(2, SHAPE, encoder=Flat(0.0), decoder=First(), likelihood=Gaussian(s, "identity"))
    images = torch.full((400, *SHAPE), 0.8)  # of which the draws before and after the search are averaged
    precision = 1 + 16 / s**2
    mean = 16 * 0.8 / s**2 / precision

    def bound(mu: float, variance: float) -> float:
        kl = 0.5 * (mu**2 + variance - 1 - math.log(variance))
        return -kl - 16 / (2 * s**2) * ((0.8 - mu) ** 2 + variance)

    gain = bound(mean, 1 / precision) - bound(0.0, 1.0)
    found = anomaly_scores(model, images, "regret", steps=200)
    assert float(found.mean()) == pytest.approx(gain, rel=0.05)
    one = anomaly_scores(model, images, "regret", steps=1)
    assert one.mean() < 0.5 * found.mean()


@pytest.mark.parametrize("kind", ["density", "regret", "complexity", "nll", "error"])
def test_scores_repeat_and_leave_the_model_as_it_was(model: mv.VAE, images: mv.ImageDataset, kind: str) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state, training = torch.get_rng_state(), model.training
    first, second = (
        anomaly_scores(model, images, kind, train=images, num_samples=5, steps=3, batch_size=16)  # type: ignore[arg-type]
        for _ in range(2)
    )
    assert torch.equal(first, second)
    assert first.shape == (40,)
    assert first.dtype == torch.float64
    assert first.isfinite().all()
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training == training
    assert all(weight.grad is None for weight in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_conditional_model_is_told_the_labels(images: mv.ImageDataset) -> None:
    torch.manual_seed(0)
    encoder, decoder = MLPEncoder(2, SHAPE, (8,), num_classes=2), MLPDecoder(2, SHAPE, (8,), num_classes=2)
    model = mv.ConditionalVAE(2, 2, SHAPE, encoder=encoder, decoder=decoder)
    other = mv.ImageDataset(images.images, 1 - images.labels)  # type: ignore[operator]
    for kind in ("regret", "nll"):
        mine = anomaly_scores(model, images, kind, num_samples=5, steps=2)  # type: ignore[arg-type]
        assert not torch.equal(mine, anomaly_scores(model, other, kind, num_samples=5, steps=2))  # type: ignore[arg-type]


def test_the_unseen_digit_stands_out() -> None:
    """A model that never saw a 1 finds ones likely; the density of their codes tells them."""
    data = mv.load_dataset("mnist-mini", "train")
    known = data[(data.labels != 1).nonzero()[:, 0]]  # type: ignore[union-attr]
    torch.manual_seed(0)
    model = mv.VAE(10, encoder=MLPEncoder(10, hidden=(64,)), decoder=MLPDecoder(10, hidden=(64,)))
    mv.Trainer(epochs=5, batch_size=64, learning_rate=3e-3, progress=False).fit(model, known)
    test = mv.load_dataset("mnist-mini", "test")[:600]
    is_one = test.labels == 1

    def area(kind: str) -> float:
        scores = anomaly_scores(model, test, kind, train=known, num_samples=10)  # type: ignore[arg-type]
        return float((scores[is_one][:, None] > scores[~is_one]).double().mean())  # the Mann-Whitney statistic

    trap = area("nll")
    assert trap < 0.3
    assert area("density") > trap + 0.2


def test_errors(model: mv.VAE, images: mv.ImageDataset) -> None:
    with pytest.raises(DataError, match="the images that the model was trained on"):
        anomaly_scores(model, images)
    with pytest.raises(SettingError, match="kind"):
        anomaly_scores(model, images, "likely")  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="steps"):
        anomaly_scores(model, images, "regret", steps=0)
    flow = mv.VAE(2, SHAPE, encoder=Correlated(), decoder=MLPDecoder(2, SHAPE, (8,)))
    with pytest.raises(ComponentError, match="kind='density'"):
        anomaly_scores(flow, images, "regret")


class Correlated(Encoder):
    """Posterior with a full covariance."""

    def __init__(self) -> None:
        super().__init__()

    def forward(self, x: Tensor, y: Tensor | None = None) -> torch.distributions.MultivariateNormal:
        scale = torch.tensor([[1.0, 0.0], [0.5, 1.0]]).expand(len(x), 2, 2)
        return torch.distributions.MultivariateNormal(torch.zeros(len(x), 2), scale_tril=scale)


def test_a_density_takes_enough_training_images(model: mv.VAE, images: mv.ImageDataset) -> None:
    with pytest.raises(
        DataError, match=r"at least 10 training images, to fit the density of 2 dimensions, got 9: pass"
    ):
        anomaly_scores(model, images, "density", train=images[:9])
    assert anomaly_scores(model, images, "density", train=images[:10]).shape == (40,)
