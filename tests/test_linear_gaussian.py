"""The bounds and their gradients on the one VAE whose log p(x) has a closed form: a linear decoder, normal pixels.

With p(x | z) = N(b + W z, s^2 I) the evidence is N(b, W W^T + s^2 I) and, where the columns of W are orthogonal, the
posterior is a normal with diagonal covariance, which an encoder can give exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import pytest
import torch
import torch.distributions as td
from torch import Tensor, nn

from mnistvae.distributions import DiagonalNormal
from mnistvae.images import ImageShape
from mnistvae.likelihoods import Gaussian
from mnistvae.models import VAE
from mnistvae.networks import Encoder, TrunkDecoder
from mnistvae.objectives import ELBO, IWAE, Objective
from mnistvae.priors import GaussianMixture, Prior, VampPrior

LATENT = 2
SHAPE: ImageShape = (1, 2, 3)
SIGMA = 0.6
CLASSES = 3
#: Two orthogonal columns of different lengths, so that no sum over the wrong axis goes unseen.
W = torch.tensor([[1.0, -1, 2, 0, 1, 0], [0.5, 0.5, 0, 1, 0, -0.5]], dtype=torch.float64).T
B = torch.tensor([0.3, -0.2, 0.5, 0.1, 0.0, -0.4], dtype=torch.float64)
#: What each class adds to the code.
SHIFT = torch.tensor([[0.0, 0.0], [1.5, -1.0], [-0.5, 2.0]], dtype=torch.float64)

Family = Callable[[Tensor, Tensor], td.Distribution]
Gradient = Literal["plain", "doubly-reparameterized"]
GRADIENTS: tuple[Gradient, Gradient] = ("plain", "doubly-reparameterized")


class LinearEncoder(Encoder):
    """Means that are affine in the image and in its class's shift; one variance for all images."""

    def __init__(self, latent_dim: int, num_classes: int | None = None) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.num_classes = num_classes
        self.weight = nn.Parameter(torch.zeros(latent_dim, math.prod(SHAPE)))
        self.bias = nn.Parameter(torch.zeros(latent_dim))
        self.shift = nn.Parameter(torch.zeros(num_classes or 1, latent_dim))
        self.logvar = nn.Parameter(torch.zeros(latent_dim))

    def forward(self, x: Tensor, y: Tensor | None = None) -> DiagonalNormal:
        mu = x.flatten(1) @ self.weight.T + self.bias
        if y is not None:
            mu = mu + self.shift[y]
        return DiagonalNormal(mu, self.logvar.expand_as(mu))


class FreeEncoder(Encoder):
    """A posterior of its own for each place in the batch, so that one backward pass gives many gradients apart."""

    def __init__(self, mu: Tensor, logvar: Tensor, family: Family = DiagonalNormal) -> None:
        super().__init__()
        self.latent_dim = mu.shape[1]
        self.mean = nn.Parameter(mu.clone())
        self.logvar = nn.Parameter(logvar.clone())
        self.family = family

    def forward(self, x: Tensor, y: Tensor | None = None) -> td.Distribution:
        return self.family(self.mean[: len(x)], self.logvar[: len(x)])


def independent(mu: Tensor, logvar: Tensor) -> td.Distribution:
    return td.Independent(td.Normal(mu, (0.5 * logvar).exp()), 1)


def multivariate(mu: Tensor, logvar: Tensor) -> td.Distribution:
    return td.MultivariateNormal(mu, scale_tril=torch.diag_embed((0.5 * logvar).exp()))


def inspected(mu: Tensor, logvar: Tensor) -> td.Distribution:
    """torch keeps a second parameter as an attribute once somebody looked at it."""
    q = multivariate(mu, logvar)
    assert q.covariance_matrix.shape == (*mu.shape, mu.shape[-1])
    return q


def linear_vae(
    encoder: Encoder, objective: Objective, prior: Prior | None = None, num_classes: int | None = None
) -> VAE:
    """The decoder above, in double precision."""
    decoder = TrunkDecoder(nn.Linear(LATENT, math.prod(SHAPE)), LATENT, SHAPE, num_classes=num_classes)
    likelihood = Gaussian(sigma=SIGMA, link="identity")
    vae = VAE(
        LATENT,
        SHAPE,
        encoder=encoder,
        decoder=decoder,
        likelihood=likelihood,
        prior=prior,
        objective=objective,
        num_classes=num_classes,
    ).double()
    linear = vae.decoder.trunk
    with torch.no_grad():
        linear.weight.copy_(W)
        linear.bias.copy_(B)
        if num_classes is not None:
            vae.decoder.code.classes.weight.copy_(SHIFT)
    return vae


def unit_mixture() -> GaussianMixture:
    """The standard normal as a mixture, for which no closed-form KL is known."""
    prior = GaussianMixture(LATENT, components=1)
    with torch.no_grad():
        prior.means.zero_()
    return prior


def images(n: int) -> Tensor:
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


def log_evidence(x: Tensor, y: Tensor | None = None, weight: Tensor = W, bias: Tensor = B) -> Tensor:
    """log p(x), (B,), from its own closed form."""
    mean = bias if y is None else bias + SHIFT[y] @ weight.T
    covariance = weight @ weight.T + SIGMA**2 * torch.eye(len(weight), dtype=weight.dtype)
    return td.MultivariateNormal(mean, covariance).log_prob(x.flatten(1))


def true_posterior(x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Mean and log-variance of p(z | x), (B, LATENT)."""
    variance = 1 / (1 + W.square().sum(0) / SIGMA**2)
    mean = B if y is None else B + SHIFT[y] @ W.T
    mu = variance * ((x.flatten(1) - mean) @ W) / SIGMA**2
    return mu, variance.log().expand_as(mu)


def exact_vae(objective: Objective, prior: Prior | None = None, num_classes: int | None = None) -> VAE:
    """Its encoder gives the true posterior of every image."""
    vae = linear_vae(LinearEncoder(LATENT, num_classes), objective, prior, num_classes)
    variance = 1 / (1 + W.square().sum(0) / SIGMA**2)
    with torch.no_grad():
        vae.encoder.weight.copy_((variance / SIGMA**2)[:, None] * W.T)
        vae.encoder.bias.copy_(-vae.encoder.weight @ B)
        if num_classes is not None:
            vae.encoder.shift.copy_(-SHIFT @ (vae.encoder.weight @ W).T)
        vae.encoder.logvar.copy_(variance.log())
    return vae


def wrong_posterior(x: Tensor) -> tuple[Tensor, Tensor]:
    """Off by about one standard deviation, and too wide: bounds with finite variance that are not tight."""
    mu, logvar = true_posterior(x)
    return mu + torch.tensor([0.25, -0.4], dtype=mu.dtype), logvar + torch.tensor([0.6, 0.3], dtype=mu.dtype)


def elbo_by_hand(x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    """E_q[log p(x | z)] - KL(q || N(0, I)), where every expectation is that of a square."""
    residual = (x.flatten(1) - B - mu @ W.T).square().sum(1) + (logvar.exp() * W.square().sum(0)).sum(1)
    log_likelihood = -residual / (2 * SIGMA**2) - math.prod(SHAPE) * math.log(SIGMA * math.sqrt(2 * math.pi))
    kl = 0.5 * (mu.square() + logvar.exp() - logvar - 1).sum(1)
    return log_likelihood - kl


def assert_mean(values: Tensor, expected: Tensor | float, errors: float = 5.0) -> None:
    """The mean over the first axis is ``expected``, within so many standard errors."""
    error = values.std(0) / math.sqrt(len(values))
    difference = (values.mean(0) - expected).abs()
    assert (difference <= errors * error + 1e-9).all(), f"off by {(difference / error).max():.1f} standard errors"


def losses_of_one_image(objective: Objective, n: int, prior: Prior | None = None) -> tuple[Tensor, Tensor]:
    """``n`` draws of minus the bound for one image under the wrong posterior, and that image."""
    x = images(1)
    mu, logvar = wrong_posterior(x)
    vae = linear_vae(FreeEncoder(mu.expand(n, -1), logvar.expand(n, -1)), objective, prior)
    with torch.no_grad():
        return vae.loss(x.expand(n, -1, -1, -1)).loss, x


# --------------------------------------------------------------------------------------------- the exact posterior


def test_the_closed_forms_agree_with_each_other() -> None:
    x = images(4)
    mu, logvar = true_posterior(x)
    torch.testing.assert_close(elbo_by_hand(x, mu, logvar), log_evidence(x))
    assert (elbo_by_hand(x, *wrong_posterior(x)) < log_evidence(x) - 0.1).all()
    posterior = exact_vae(ELBO()).encode(x)
    torch.testing.assert_close(posterior.mean, mu)
    torch.testing.assert_close(posterior.variance, logvar.exp())


@pytest.mark.parametrize("num_classes", [None, CLASSES], ids=["plain", "conditional"])
@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("num_samples", [1, 2, 7])
def test_iwae_with_the_true_posterior_is_log_p_at_every_draw(
    num_samples: int, gradient: Gradient, num_classes: int | None
) -> None:
    # The images differ, and so do their labels: a code that met another one's image or label would not be exact.
    vae = exact_vae(IWAE(num_samples, gradient), num_classes=num_classes)
    x = images(5)
    y = None if num_classes is None else torch.tensor([0, 2, 1, 1, 2])
    expected = -log_evidence(x, y)
    for _ in range(3):
        torch.testing.assert_close(vae.loss(x, y).loss, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("num_classes", [None, CLASSES], ids=["plain", "conditional"])
def test_elbo_with_the_true_posterior_and_its_kl_at_the_code_is_log_p_at_every_draw(num_classes: int | None) -> None:
    vae = exact_vae(ELBO(), unit_mixture(), num_classes)
    x = images(5)
    y = None if num_classes is None else torch.tensor([0, 2, 1, 1, 2])
    expected = -log_evidence(x, y)
    for _ in range(3):
        torch.testing.assert_close(vae.loss(x, y).loss, expected, rtol=1e-10, atol=1e-10)


def test_elbo_with_the_true_posterior_and_its_kl_in_closed_form_is_log_p_in_the_mean() -> None:
    n, x = 20_000, images(1)
    vae = exact_vae(ELBO())
    with torch.no_grad():
        losses = vae.loss(x.expand(n, -1, -1, -1)).loss
    assert_mean(losses, -log_evidence(x))
    assert losses.std() > 0.1  # the KL is no longer that of the draw


# ---------------------------------------------------------------------------------------------- a wrong posterior


@pytest.mark.parametrize("prior", [None, unit_mixture], ids=["closed-form KL", "KL at the code"])
def test_elbo_with_a_wrong_posterior_is_its_own_closed_form(prior: Callable[[], Prior] | None) -> None:
    losses, x = losses_of_one_image(ELBO(), 20_000, None if prior is None else prior())
    assert_mean(losses, -elbo_by_hand(x, *wrong_posterior(x)))


@pytest.mark.parametrize("beta", [0.0, 0.5, 3.0])
def test_a_weighted_elbo_is_its_own_closed_form(beta: float) -> None:
    losses, x = losses_of_one_image(ELBO(beta), 20_000)
    mu, logvar = wrong_posterior(x)
    kl = 0.5 * (mu.square() + logvar.exp() - logvar - 1).sum(1)
    assert_mean(losses, -elbo_by_hand(x, mu, logvar) + (beta - 1) * kl)


def relative_variance(x: Tensor) -> float:
    """Variance of w / p(x), which is that of p(z | x) / q(z), for the wrong posterior."""
    (mean, logvar), (mu, wide) = true_posterior(x), wrong_posterior(x)
    variance, wider = logvar.exp(), wide.exp()
    twice = 2 * wider - variance
    second_moment = (wider / (variance * twice).sqrt() * ((mean - mu).square() / twice).exp()).prod()
    return float(second_moment) - 1


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_bounds_rise_with_the_samples_towards_log_p(gradient: Gradient) -> None:
    draws = {1: 20_000, 2: 20_000, 8: 10_000, 64: 4_000}
    losses = {k: losses_of_one_image(IWAE(k, gradient), n) for k, n in draws.items()}
    x = losses[1][1]
    gaps = {k: float(log_evidence(x) + value.mean()) for k, (value, _) in losses.items()}
    errors = {k: float(value.std()) / math.sqrt(len(value)) for k, (value, _) in losses.items()}
    assert gaps[1] == pytest.approx(float(log_evidence(x) - elbo_by_hand(x, *wrong_posterior(x))), abs=5 * errors[1])
    for fewer, more in ((1, 2), (2, 8), (8, 64)):
        assert gaps[more] < gaps[fewer] - 5 * (errors[more] + errors[fewer])
    assert gaps[64] > 5 * errors[64]
    # The gap closes as the variance of w / p(x) over 2 K, up to terms in 1 / K^2.
    assert gaps[64] == pytest.approx(relative_variance(x) / 128, rel=0.1, abs=5 * errors[64])


def test_each_draw_of_iwae_is_at_most_the_sum_of_its_terms() -> None:
    x = images(1).expand(500, -1, -1, -1)
    mu, logvar = wrong_posterior(x)
    for gradient in GRADIENTS:
        terms = linear_vae(FreeEncoder(mu, logvar), IWAE(4, gradient)).loss(x)
        assert (terms.loss < terms.reconstruction + terms.kl).all()
        assert_mean((terms.reconstruction + terms.kl).detach(), -elbo_by_hand(x[:1], mu[:1], logvar[:1]))


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_iwae_with_one_sample_is_the_elbo_with_its_kl_at_the_same_code(gradient: Gradient) -> None:
    x = images(6)
    both = []
    for objective in (ELBO(), IWAE(1, gradient)):
        vae = linear_vae(FreeEncoder(*wrong_posterior(x)), objective, unit_mixture())
        torch.manual_seed(3)
        both.append(vae.loss(x))
    for name in ("loss", "reconstruction", "kl"):
        torch.testing.assert_close(getattr(both[0], name), getattr(both[1], name), rtol=1e-13, atol=1e-13)


# -------------------------------------------------------------------------------------------------- the gradients


def gradients(vae: VAE, x: Tensor, seed: int = 0) -> dict[str, Tensor]:
    vae.zero_grad()
    torch.manual_seed(seed)
    vae.loss(x).loss.sum().backward()
    return {name: p.grad.clone() for name, p in vae.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("objective", [ELBO(), IWAE(4), IWAE(4, "doubly-reparameterized")], ids=repr)
def test_with_the_true_posterior_the_gradient_is_that_of_log_p(objective: Objective) -> None:
    x, n, blocks = images(1), 200, 60
    vae = exact_vae(objective)
    weight, bias = W.clone().requires_grad_(), B.clone().requires_grad_()
    expected = torch.autograd.grad(-log_evidence(x, None, weight, bias).sum(), [weight, bias])
    draws = [gradients(vae, x.expand(n, -1, -1, -1), seed) for seed in range(blocks)]
    for name, gradient in zip(("decoder.trunk.weight", "decoder.trunk.bias"), expected, strict=True):
        assert_mean(torch.stack([draw[name] / n for draw in draws]), gradient)
    for name in ("encoder.weight", "encoder.bias", "encoder.logvar"):  # the bound is at its highest
        assert_mean(torch.stack([draw[name] / n for draw in draws]), 0.0)


def test_the_doubly_reparameterized_gradient_has_no_noise_at_the_true_posterior() -> None:
    x = images(5)
    for gradient, noisy in (("plain", True), ("doubly-reparameterized", False)):
        vae = linear_vae(FreeEncoder(*true_posterior(x)), IWAE(4, gradient))
        got = gradients(vae, x)
        for name in ("encoder.mean", "encoder.logvar"):
            assert bool((got[name].abs() > 1e-9).all()) is noisy, (gradient, name)


@pytest.mark.parametrize("num_samples", [1, 16])
def test_both_gradients_have_the_same_value_and_the_same_decoder_and_prior_gradient(num_samples: int) -> None:
    x = images(6)
    values, found = [], []
    for gradient in GRADIENTS:
        torch.manual_seed(5)
        prior = GaussianMixture(LATENT, components=3, covariance="full")
        vae = linear_vae(FreeEncoder(*wrong_posterior(x)), IWAE(num_samples, gradient), prior)
        torch.manual_seed(0)
        values.append(vae.loss(x))
        found.append(gradients(vae, x))
    for name in ("loss", "reconstruction", "kl"):
        torch.testing.assert_close(getattr(values[0], name), getattr(values[1], name), rtol=1e-12, atol=1e-12)
    for name in found[0]:
        if not name.startswith("encoder."):
            assert found[0][name].abs().max() > 0, name
            torch.testing.assert_close(found[0][name], found[1][name], rtol=1e-9, atol=1e-9)


def encoder_gradients(objective: Objective, n: int) -> dict[str, Tensor]:
    """``n`` independent gradients for one image, (n, LATENT), for the mean and for the log-variance."""
    x = images(1)
    mu, logvar = wrong_posterior(x)
    vae = linear_vae(FreeEncoder(mu.expand(n, -1), logvar.expand(n, -1)), objective)
    found = gradients(vae, x.expand(n, -1, -1, -1))
    return {name: found[f"encoder.{name}"] for name in ("mean", "logvar")}


@pytest.mark.parametrize("objective", [ELBO(), IWAE(1), IWAE(1, "doubly-reparameterized")], ids=repr)
def test_with_one_sample_the_encoders_gradient_is_that_of_the_elbo(objective: Objective) -> None:
    x = images(1)
    leaves = [value.clone().requires_grad_() for value in wrong_posterior(x)]
    expected = torch.autograd.grad(-elbo_by_hand(x, *leaves).sum(), leaves)
    got = encoder_gradients(objective, 20_000)
    for name, gradient in zip(("mean", "logvar"), expected, strict=True):
        assert_mean(got[name], gradient[0])


def test_the_doubly_reparameterized_gradient_has_the_plain_ones_mean_and_less_variance() -> None:
    plain = encoder_gradients(IWAE(16), 20_000)
    doubly = encoder_gradients(IWAE(16, "doubly-reparameterized"), 20_000)
    for name, gradient in plain.items():
        other = doubly[name]
        error = ((gradient.var(0) + other.var(0)) / len(gradient)).sqrt()
        assert ((gradient.mean(0) - other.mean(0)).abs() <= 5 * error).all()
        assert (gradient.mean(0).abs() > 5 * error).all()  # so that the equality above says something
        assert (other.var(0) < 0.5 * gradient.var(0)).all()


def test_the_doubly_reparameterized_gradient_gets_clearer_with_more_samples_and_the_plain_one_does_not() -> None:
    def clarity(gradient: Gradient, num_samples: int) -> Tensor:
        found = encoder_gradients(IWAE(num_samples, gradient), 5_000)["mean"]
        return found.mean(0).abs() / found.std(0)

    assert (clarity("doubly-reparameterized", 32) > 1.5 * clarity("doubly-reparameterized", 4)).all()
    assert (clarity("plain", 32) < clarity("plain", 4)).all()


def test_both_gradients_have_the_same_mean_where_the_prior_is_made_of_the_encoder() -> None:
    # The encoder's parameters are in the prior too, and only those of log q may be held.
    x, n, blocks = images(1), 100, 50
    found = []
    for gradient in GRADIENTS:
        torch.manual_seed(2)
        vae = linear_vae(LinearEncoder(LATENT), IWAE(3, gradient), VampPrior(components=2))
        with torch.no_grad():
            vae.encoder.weight.normal_(0, 0.3)
            vae.encoder.logvar.fill_(-1.0)
        draws = [gradients(vae, x.expand(n, -1, -1, -1), seed) for seed in range(blocks)]
        found.append({name: torch.stack([draw[name] / n for draw in draws]) for name in draws[0]})
    plain, doubly = found
    for name in ("encoder.weight", "encoder.bias", "encoder.logvar", "prior.logits"):
        error = ((plain[name].var(0) + doubly[name].var(0)) / blocks).sqrt()
        assert ((plain[name].mean(0) - doubly[name].mean(0)).abs() <= 5 * error).all(), name
        assert (plain[name].mean(0).abs() > 5 * error).any(), name


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("family", [independent, multivariate, inspected])
def test_gradients_are_the_same_for_every_way_to_write_the_posterior(family: Family, gradient: Gradient) -> None:
    x = images(4)
    expected = gradients(linear_vae(FreeEncoder(*wrong_posterior(x)), IWAE(8, gradient)), x)
    got = gradients(linear_vae(FreeEncoder(*wrong_posterior(x), family), IWAE(8, gradient)), x)
    assert expected.keys() == got.keys()
    for name in expected:
        torch.testing.assert_close(got[name], expected[name], rtol=1e-9, atol=1e-9)
