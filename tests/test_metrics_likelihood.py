"""The bound and the importance-sampled likelihood: against closed forms, in any chunks, and with bad models."""

from __future__ import annotations

import math
import threading
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

import mnistvae as mv
from mnistvae import VAE, ConditionalVAE, ImageDataset
from mnistvae._passes import to_decode_often
from mnistvae.errors import DataError, SettingError
from mnistvae.likelihoods import Gaussian
from mnistvae.metrics import likelihood
from mnistvae.metrics.likelihood import ImportanceEstimate, bits_per_dimension, elbo, importance_sampled_nll
from mnistvae.networks import ConvDecoder, ConvEncoder, Decoder, Encoder, GaussianEncoder
from mnistvae.objectives import IWAE
from mnistvae.priors import VampPrior

SHAPE, D, SIGMA = (1, 2, 3), 2, 0.3


class LinearDecoder(Decoder):
    """x = W z + b: then log p(x) is known."""

    latent_dim = D

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(D, math.prod(SHAPE))

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        mean: Tensor = self.map(z)
        return mean.reshape(-1, *SHAPE)


class Posterior(Encoder):
    """Mean and log-variance near those of the true posterior, or away from it."""

    def __init__(self, decoder: LinearDecoder, off: float = 0.0) -> None:
        super().__init__()
        w, b = decoder.map.weight.detach(), decoder.map.bias.detach()
        covariance = torch.linalg.inv(torch.eye(D) + w.T @ w / SIGMA**2)
        self.gain, self.shift, self.off = covariance @ w.T / SIGMA**2, b, off
        self.logvar = covariance.diagonal().log()
        self.unused = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, y: Tensor | None = None) -> mv.distributions.DiagonalNormal:
        mu = (x.flatten(1) - self.shift) @ self.gain.T + self.off
        return mv.distributions.DiagonalNormal(mu, (self.logvar + 0.3).expand_as(mu))

    latent_dim = D


def linear_gaussian(off: float = 0.0) -> tuple[VAE, Tensor]:
    """A model whose log p(x) is known, and the covariance of x."""
    torch.manual_seed(2)
    decoder = LinearDecoder()
    vae = VAE(D, SHAPE, encoder=Posterior(decoder, off), decoder=decoder, likelihood=Gaussian(SIGMA, link="identity"))
    w = decoder.map.weight.detach().double()
    return vae, w @ w.T + SIGMA**2 * torch.eye(math.prod(SHAPE), dtype=torch.float64)


def images(n: int = 40, shape: tuple[int, int, int] = SHAPE) -> ImageDataset:
    generator = torch.Generator().manual_seed(1)
    return ImageDataset(torch.rand(n, *shape, generator=generator), torch.arange(n) % 3)


def exact(vae: VAE, covariance: Tensor, data: ImageDataset) -> Tensor:
    decoder: Any = vae.decoder
    x = (data.images.double() / 255).flatten(1)
    return -MultivariateNormal(decoder.map.bias.detach().double(), covariance).log_prob(x)


def test_it_is_the_closed_form_of_a_linear_gaussian_model() -> None:
    vae, covariance = linear_gaussian()
    truth = exact(vae, covariance, images())
    estimate = importance_sampled_nll(vae, images(), 20_000)
    assert estimate.nll.dtype == torch.float64
    torch.testing.assert_close(estimate.nll, truth, atol=0.05, rtol=0)
    assert estimate.mean == pytest.approx(float(truth.mean()), abs=4 * estimate.sampling_error)
    assert 0 < estimate.sampling_error < 0.005


def test_the_sampling_error_is_what_repeating_shows() -> None:
    vae, _ = linear_gaussian()
    found = [importance_sampled_nll(vae, images(10), 400, seed=seed) for seed in range(60)]
    spread = torch.tensor([estimate.mean for estimate in found]).std()
    claimed = torch.tensor([estimate.sampling_error for estimate in found]).mean()
    assert 0.7 < float(spread / claimed) < 1.4


def test_it_falls_in_the_number_of_samples_from_the_bound_to_the_truth() -> None:
    vae, covariance = linear_gaussian(off=0.4)
    data = images(1000)
    truth = float(exact(vae, covariance, data).mean())
    bound = float(elbo(vae, data).loss.mean())
    means = [importance_sampled_nll(vae, data, k).mean for k in (1, 5, 50, 2000)]
    assert means == sorted(means, reverse=True)
    assert means[0] == pytest.approx(bound, abs=0.5)  # one sample is the bound, but for the noise of the codes
    assert means[-1] == pytest.approx(truth, abs=0.02)
    assert means[0] - truth > 0.2


def test_the_bound_has_the_closed_form_of_its_kl() -> None:
    vae, _ = linear_gaussian()
    bound = elbo(vae, images(), batch_size=7)
    x = images().images.float() / 255
    with torch.no_grad():
        q = vae.encode(x)
        expected = torch.distributions.kl_divergence(q, vae.latent_prior())
    torch.testing.assert_close(bound.kl, expected.double())
    assert torch.equal(bound.loss, bound.reconstruction + bound.kl)
    assert bound.loss.shape == (40,)


def test_the_bound_is_that_of_the_elbo_whatever_was_trained_for() -> None:
    torch.manual_seed(0)
    plain = VAE(2, (1, 8, 8))
    data = images(20, (1, 8, 8))
    other = VAE(2, (1, 8, 8), objective=IWAE(5))
    other.load_state_dict(plain.state_dict())
    beta = VAE(2, (1, 8, 8), objective=mv.objectives.ELBO(7.0, free_bits=2.0))
    beta.load_state_dict(plain.state_dict())
    found = [elbo(vae, data, seed=3) for vae in (plain, other, beta)]
    assert torch.equal(found[0].loss, found[1].loss)
    assert torch.equal(found[0].loss, found[2].loss)


@pytest.mark.parametrize(("at_once", "codes"), [(256, 1024), (7, 3), (3, 100), (40, 40)])
def test_chunks_change_memory_and_nothing_else(monkeypatch: pytest.MonkeyPatch, at_once: int, codes: int) -> None:
    vae, covariance = linear_gaussian()
    monkeypatch.setattr(likelihood, "_IMAGES", at_once)
    monkeypatch.setattr(likelihood, "_CODES", codes)
    drawn = []
    decode = vae.decode
    monkeypatch.setattr(vae, "decode", lambda z, y=None: drawn.append(len(z)) or decode(z, y))
    estimate = importance_sampled_nll(vae, images(), 301)
    assert sum(drawn) == 40 * 301  # exactly K samples an image
    assert max(drawn) <= max(at_once, codes)
    assert estimate.num_samples == 301
    torch.testing.assert_close(estimate.nll, exact(vae, covariance, images()), atol=0.5, rtol=0)


def test_each_image_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    vae, _ = linear_gaussian()
    seen = []
    encode = vae.encode
    monkeypatch.setattr(vae, "encode", lambda x, y=None: seen.append(len(x)) or encode(x, y))
    importance_sampled_nll(vae, images(), 5000)
    assert sum(seen) == 40


def test_the_effective_number_of_samples() -> None:
    vae, _ = linear_gaussian()
    near = importance_sampled_nll(vae, images(), 500).effective_samples
    with pytest.warns(UserWarning, match="rests on fewer than 2 of 500 samples"):
        far = importance_sampled_nll(linear_gaussian(off=3.0)[0], images(), 500).effective_samples
    assert bool(((near > 200) & (near <= 500)).all())
    assert float(far.median()) < 2
    assert bool((far >= 1).all())
    one = importance_sampled_nll(vae, images(), 1)
    torch.testing.assert_close(one.effective_samples, torch.ones(40, dtype=torch.float64))
    assert math.isnan(one.sampling_error)  # of one sample no spread is known


def test_standard_error_of_the_mean() -> None:
    nll = torch.tensor([1.0, 2.0, 3.0, 6.0], dtype=torch.float64)
    estimate = ImportanceEstimate(nll, torch.full((4,), 5.0, dtype=torch.float64), 5)
    assert estimate.mean == 3.0
    assert estimate.standard_error == pytest.approx(float(nll.std()) / 2)
    assert estimate.sampling_error == 0
    assert math.isnan(ImportanceEstimate(nll[:1], nll[:1], 5).standard_error)
    few = ImportanceEstimate(nll, torch.full((4,), 2.0, dtype=torch.float64), 10)
    assert few.sampling_error == pytest.approx(math.sqrt(4 * (0.5 - 0.1) * 10 / 9) / 4)


def test_far_images_do_not_underflow() -> None:
    vae, covariance = linear_gaussian()
    with torch.no_grad():
        vae.decoder.map.bias += 100  # type: ignore[union-attr]
    estimate = importance_sampled_nll(vae, images(), 200)
    truth = exact(vae, covariance, images())
    assert float(truth.min()) > 10_000
    assert bool((estimate.nll > 10_000).all())


def test_the_seed_decides_and_nothing_is_left_behind() -> None:
    vae, _ = linear_gaussian()
    vae.train()
    state = torch.get_rng_state()
    a, b, c = (importance_sampled_nll(vae, images(), 20, seed=seed).nll for seed in (4, 4, 5))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert torch.equal(elbo(vae, images(), seed=1).loss, elbo(vae, images(), seed=1).loss)
    assert torch.equal(torch.get_rng_state(), state)
    assert vae.training
    assert torch.is_grad_enabled()


def test_nothing_is_left_behind_by_an_error() -> None:
    vae, _ = linear_gaussian()
    vae.train()
    state = torch.get_rng_state()

    def stop(n: int) -> None:
        raise KeyError(n)

    for work in (elbo, importance_sampled_nll):
        with pytest.raises(KeyError) as caught:
            work(vae, images(), done=stop)
        assert caught.value.args == (40,)
        assert vae.training
        assert torch.is_grad_enabled()
        assert torch.equal(torch.get_rng_state(), state)


def test_labels_of_a_conditional_model() -> None:
    torch.manual_seed(0)
    vae = ConditionalVAE(2, 3, (1, 8, 8))
    data = images(30, (1, 8, 8))
    with torch.no_grad():
        for part in vae.modules():
            if isinstance(part, nn.Embedding):
                part.weight *= 20  # so that a wrong label is far off
    estimate = importance_sampled_nll(vae, data, 300)
    x, y = data.images.float() / 255, data.labels
    with torch.no_grad():
        q = vae.encode(x, y)
        z = q.sample(torch.Size([300]))
        log_p = torch.stack([vae.decode(code, y).log_prob(x) for code in z])
        by_hand = math.log(300) - (log_p + vae.latent_prior().log_prob(z) - q.log_prob(z)).logsumexp(0)
    torch.testing.assert_close(estimate.nll.float(), by_hand, atol=1.0, rtol=0)
    assert elbo(vae, data).loss.shape == (30,)
    with pytest.raises(DataError, match="labels for a conditional model"):
        elbo(vae, ImageDataset(data.images))


def test_other_parts() -> None:
    torch.manual_seed(0)
    data = images(12, (1, 8, 8))
    for parts in ({"prior": VampPrior(4)}, {"likelihood": mv.likelihoods.DiscretizedLogistic()}):
        vae = VAE(2, (1, 8, 8), **parts)  # type: ignore[arg-type]
        estimate = importance_sampled_nll(vae, data, 64)
        assert estimate.mean < float(elbo(vae, data).loss.mean()) + 1


def test_a_model_is_measured_as_it_is_used() -> None:
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Dropout(0.9), nn.BatchNorm1d(16))
    vae = VAE(2, (1, 8, 8), encoder=GaussianEncoder(trunk, 2))
    data = images(30, (1, 8, 8))
    before = {name: tensor.clone() for name, tensor in vae.state_dict().items()}
    found = [(elbo(mode, data).loss, importance_sampled_nll(mode, data, 9).nll) for mode in (vae.train(), vae.eval())]
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])
    assert all(torch.equal(tensor, before[name]) for name, tensor in vae.state_dict().items())


class Broken(nn.Module):
    """Gives NaN for some images."""

    def forward(self, x: Tensor) -> Tensor:
        features = x.flatten(1)[:, :4]
        return torch.where((x.flatten(1)[:, :1] > 0.5), torch.nan, features)


@pytest.mark.parametrize("work", [elbo, importance_sampled_nll])
def test_a_broken_model_is_named_and_not_averaged_away(work: Any) -> None:
    torch.manual_seed(0)
    vae = VAE(2, (1, 8, 8), encoder=GaussianEncoder(Broken(), 2))
    data = images(40, (1, 8, 8))
    bad = (data.images[:, 0, 0, 0] > 127).nonzero()[:, 0]
    message = f"got NaN or infinity in {len(bad)} of 40, the first of them number {int(bad[0])}"
    with pytest.raises(DataError, match=message):
        work(vae, data)


@pytest.mark.parametrize("k", [0, -1, 1.5, True, "many"])
def test_numbers_of_samples_that_make_no_sense(k: Any) -> None:
    with pytest.raises(SettingError, match="num_samples as an integer of at least 1"):
        importance_sampled_nll(linear_gaussian()[0], images(), k)


def test_bits() -> None:
    assert bits_per_dimension(784 * math.log(2), (1, 28, 28)) == pytest.approx(1.0)
    assert bits_per_dimension(3 * math.log(256), (3, 1, 1)) == pytest.approx(8.0)
    with pytest.raises(SettingError, match="image_shape"):
        bits_per_dimension(1.0, (28, 28))  # type: ignore[arg-type]


def test_convolutions_are_copied_with_their_channels_last() -> None:
    """On a CPU; the model stays as it is, and the estimate is the same but for roundings."""
    torch.manual_seed(0)
    parts = {"encoder": ConvEncoder(2, channels=(4, 8)), "decoder": ConvDecoder(2, channels=(8, 4))}
    model = mv.VAE(2, **parts).eval()
    copied = to_decode_often(model)
    convolutions = [part for part in copied.modules() if isinstance(part, nn.Conv2d | nn.ConvTranspose2d)]
    assert len(convolutions) == 4
    assert all(part.weight.is_contiguous(memory_format=torch.channels_last) for part in convolutions)
    assert all(weight.is_contiguous() for weight in model.parameters())
    z = torch.randn(5, 2)
    torch.testing.assert_close(copied.decode(z).mean, model.decode(z).mean, rtol=1e-5, atol=1e-6)

    model.lock = threading.Lock()  # type: ignore[assignment]  # which cannot be copied
    assert to_decode_often(model) is model
    linear, _ = linear_gaussian()
    assert to_decode_often(linear) is linear
