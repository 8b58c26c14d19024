"""Parts that replace others in a model that is there, and what every part is asked for when a model is made."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.distributions as td
from torch import Tensor

from mnistvae import VAE, ConditionalVAE
from mnistvae.errors import ComponentError
from mnistvae.likelihoods import Bernoulli, DiscretizedLogistic, Gaussian, Likelihood
from mnistvae.networks import Encoder, MLPDecoder, MLPEncoder
from mnistvae.objectives import ELBO, IWAE, Objective, Terms
from mnistvae.priors import Encode, GaussianMixture, Prior, VampPrior

SHAPE = (2, 4, 4)


def vae(**parts: Any) -> VAE:
    return VAE(3, SHAPE, encoder=MLPEncoder(3, SHAPE, (8,)), decoder=MLPDecoder(3, SHAPE, (8,)), **parts)


@pytest.mark.parametrize(
    ("name", "part", "message"),
    [
        ("likelihood", Gaussian("per-pixel"), r"parameters \(B, 4, 4, 4\), 2 for each pixel as Gaussian asks"),
        ("likelihood", DiscretizedLogistic(), r"2 for each pixel as DiscretizedLogistic asks"),
        ("prior", GaussianMixture(5), r"a prior with latent_dim=3, got latent_dim=5"),
        ("prior", GaussianMixture(3).double(), r"a prior in torch.float32, as the model is, got torch.float64"),
        ("decoder", MLPDecoder(4, SHAPE), r"a decoder with latent_dim=3, got latent_dim=4"),
        ("encoder", MLPEncoder(3, (1, 4, 4)), r"an encoder for images of shape"),
        ("objective", "ELBO", r"objective as a mnistvae Objective, got a str"),
    ],
)
def test_a_part_that_does_not_fit_leaves_the_model_as_it_was(name: str, part: Any, message: str) -> None:
    model = vae()
    before = getattr(model, name)
    x = torch.rand(2, *SHAPE)
    torch.manual_seed(1)
    loss = model.loss(x).loss
    with pytest.raises(ComponentError, match=message):
        setattr(model, name, part)
    assert getattr(model, name) is before
    torch.manual_seed(1)
    assert torch.equal(model.loss(x).loss, loss)


def test_a_part_that_fits_takes_the_place_of_another() -> None:
    model = vae()
    model.prior = VampPrior(4)
    assert model.prior.pseudo_inputs.shape == (4, *SHAPE)
    model.objective = IWAE(3)
    model.likelihood = Bernoulli()
    assert model.loss(torch.rand(2, *SHAPE)).loss.isfinite().all()


class Counting(Prior):
    """Made anew each time that it is attached, as a part that learns must not be."""

    attached = 0

    def attach(self, latent_dim: int, image_shape: tuple[int, int, int], num_classes: int | None) -> None:
        self.attached += 1
        self.means = torch.nn.Parameter(torch.zeros(num_classes or 1, latent_dim)[:1])
        if num_classes == 7:
            raise KeyError("seven")

    def forward(self, y: Tensor | None = None, *, encode: Encode | None = None) -> td.Distribution:
        return td.Independent(td.Normal(self.means[0], 1.0), 1)


def test_a_prior_is_attached_once_and_keeps_what_it_learned() -> None:
    prior = Counting()
    first = ConditionalVAE(2, 5, (1, 4, 4), prior=prior)
    prior.means.data.fill_(3.0)
    ConditionalVAE(2, 5, (1, 4, 4), prior=prior)
    assert prior.attached == 1
    assert (first.prior.means == 3).all()
    with pytest.raises(ComponentError, match=r"a Counting for latent_dim=2, .* got one for .*num_classes=5: give each"):
        ConditionalVAE(2, 6, (1, 4, 4), prior=prior)
    with pytest.raises(ComponentError, match=r"expected the prior to take .*num_classes=7, got KeyError: 'seven'"):
        ConditionalVAE(2, 7, (1, 4, 4), prior=Counting())


class Squashed(Likelihood):
    n_params = 1

    def __init__(self, label: Any = "squashed") -> None:
        super().__init__()
        self.label = label

    def forward(self, params: Tensor) -> td.Distribution:
        normal = td.Independent(td.Normal(params, 1.0), 3)
        return normal if self.label != "squashed" else td.TransformedDistribution(normal, [td.SigmoidTransform()])

    def tag(self, binarization: str = "none") -> Any:
        return self.label


class WithoutGradient(MLPEncoder):
    def forward(self, x: Tensor, y: Tensor | None = None) -> Any:
        q = super().forward(x, y)
        parts = td.Independent(td.Normal(q.mean[:, None], q.stddev[:, None]), 1)
        return td.MixtureSameFamily(td.Categorical(logits=torch.zeros(len(x), 1)), parts)


class Scalar(Objective):
    def forward(self, model: Any, x: Tensor, y: Tensor | None = None) -> Terms:
        return Terms(*(model.encode(x, y).rsample().sum() for _ in range(3)))


class Extra(Objective):
    """Gives one more term, of a name and a value that a test chooses."""

    def __init__(self, extra: Any) -> None:
        super().__init__()
        self.extra = extra

    def forward(self, model: Any, x: Tensor, y: Tensor | None = None) -> Terms:
        return ELBO()(model, x, y)._replace(extra=self.extra)


class TwoArguments(Objective):
    def forward(self, model: Any, x: Tensor) -> Terms:  # type: ignore[override]
        raise AssertionError("it is called with labels too")


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"likelihood": Squashed()}, "the likelihood to return a distribution with a mean"),
        ({"likelihood": Squashed(7)}, "the likelihood's tag as text, got an int"),
        ({"objective": Scalar()}, r"one loss for each of 1 images, shape \(1,\), got shape \(\)"),
        ({"objective": Extra([])}, "extra terms by name, got a list: extra={'name': term}"),
        ({"objective": Extra({"kl": torch.zeros(1)})}, "words that a history has no other use for, got 'kl': choose"),
        ({"objective": Extra({"validation_x": torch.zeros(1)})}, "no other use for, got 'validation_x'"),
        ({"objective": Extra({"a,b": torch.zeros(1)})}, "no other use for, got 'a,b'"),
        ({"objective": Extra({3: torch.zeros(1)})}, "no other use for, got 3"),
        (
            {"objective": Extra({"mine": torch.zeros(())})},
            r"one mine for each of 1 images, shape \(1,\), got shape \(\)",
        ),
        ({"objective": Extra({"mine": 0.0})}, "one mine for each of 1 images, .* got a float: sum over"),
        ({"objective": TwoArguments()}, "the objective to take a model, images and labels or None, got TypeError"),
    ],
)
def test_what_would_fail_after_the_training_is_said_before(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(ComponentError, match=message):
        vae(**parts)


def test_an_encoder_without_a_gradient_through_the_code_is_refused() -> None:
    with pytest.raises(ComponentError, match="the encoder to return a distribution with rsample, got a Mixture"):
        VAE(3, SHAPE, encoder=WithoutGradient(3, SHAPE, (8,)), decoder=MLPDecoder(3, SHAPE))


class Skewed(Encoder):
    """A posterior that has no mean in closed form."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.inner = MLPEncoder(latent_dim, SHAPE, (8,))

    def forward(self, x: Tensor, y: Tensor | None = None) -> td.Distribution:
        return td.TransformedDistribution(self.inner(x, y), [td.ComposeTransform([td.TanhTransform()])])


def test_a_posterior_without_a_mean_trains_and_one_is_estimated_with_a_warning() -> None:
    model = VAE(3, SHAPE, encoder=Skewed(3), decoder=MLPDecoder(3, SHAPE))
    x = torch.rand(2, *SHAPE)
    assert model.loss(x).loss.isfinite().all()
    assert model.reconstruct(x, sample=True).shape == x.shape
    for ask in (lambda: model.reconstruct(x), lambda: model.interpolate(x[:1], x[1:])):
        with pytest.warns(UserWarning, match="no mean of a TransformedDistribution is known: that of 64 draws"):
            ask()
    base = model.encoder.inner(x)
    with pytest.warns(UserWarning, match="no mean of"):
        found = model.reconstruct(x)
    expected = model.decode(base.sample(torch.Size([100_000])).tanh().mean(0)).mean
    torch.testing.assert_close(found, expected, atol=5e-3, rtol=0)


def test_codes_of_another_dtype_are_taken() -> None:
    model = vae()
    z = torch.randn(4, 3)
    for other in (z.double(), z.round().long()):
        expected = model.decode(other.float()).mean
        torch.testing.assert_close(model.decode(other).mean, expected)
