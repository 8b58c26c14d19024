"""Objectives: one contract for all, each against numbers by hand, and what training makes of them.

The bounds' values and gradients are proven in test_linear_gaussian.py, on a model with a closed form.
"""

from __future__ import annotations

import copy
import itertools
import math
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributions as td
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value
from torch.utils.data import DataLoader, IterableDataset

import mnistvae as mv
from mnistvae import objectives
from mnistvae.distributions import DiagonalNormal
from mnistvae.errors import ComponentError, SettingError
from mnistvae.images import ImageShape
from mnistvae.losses import kl_decomposition, stratified_log_weights
from mnistvae.models import VAE
from mnistvae.networks import Encoder, MLPDecoder, MLPEncoder
from mnistvae.objectives import (
    DIPVAE,
    ELBO,
    IWAE,
    AdversarialAutoencoder,
    BetaTC,
    Consistency,
    DecoderPenalty,
    Denoising,
    FactorVAE,
    InfoVAE,
    LatentVariableModel,
    Objective,
    SemiSupervised,
    Terms,
)
from mnistvae.priors import GaussianMixture, Prior, StandardNormal, VampPrior
from mnistvae.schedules import Linear
from mnistvae.training import Trainer

LATENT = 2
SHAPE: ImageShape = (1, 3, 3)
CLASSES = 3

OBJECTIVES: dict[str, Callable[[], Objective]] = {
    "ELBO": ELBO,
    "ELBO, beta and schedule": lambda: ELBO(beta=2.5, schedule=Linear(10, start=0.5)),
    "ELBO, free bits": lambda: ELBO(free_bits=0.001),
    "ELBO, capacity": lambda: ELBO(beta=3.0, capacity=0.7),
    "ELBO, several codes": lambda: ELBO(beta=1.5, num_samples=3),
    "IWAE": lambda: IWAE(num_samples=3),
    "IWAE, doubly": lambda: IWAE(num_samples=3, gradient="doubly-reparameterized"),
    "IWAE, groups": lambda: IWAE(num_samples=2, groups=2, elbo_weight=0.25),
    "IWAE, partial": lambda: IWAE(num_samples=2, groups=2, partial=True),
    "InfoVAE": lambda: InfoVAE(0.5, 3.0),
    "DIPVAE": DIPVAE,
    "FactorVAE": FactorVAE,
    "AdversarialAutoencoder": lambda: AdversarialAutoencoder(2.0, 0.5),
    "BetaTC": lambda: BetaTC(alpha=0.5, beta=2.0, gamma=1.5, num_images=40),
    "Consistency": lambda: Consistency(ELBO(beta=2.0), max_shift=1.0),
    "Denoising": lambda: Denoising(IWAE(num_samples=2), "gaussian", 0.1),
    "DecoderPenalty": lambda: DecoderPenalty(weights=0.1, gradient=2.0),
    "SemiSupervised": lambda: SemiSupervised(nn.Sequential(nn.Flatten(), nn.Linear(9, CLASSES)), alpha=2.0),
}
PRIORS: dict[str, Callable[[], Prior]] = {
    "normal": lambda: StandardNormal(LATENT),
    "mixture": lambda: GaussianMixture(LATENT, components=3),
    "vamp": lambda: VampPrior(components=3),
}


def small_vae(objective: Objective, prior: Prior | None = None, num_classes: int | None = None) -> VAE:
    num_classes = CLASSES if isinstance(objective, SemiSupervised) else num_classes
    encoder = MLPEncoder(LATENT, SHAPE, (6,), nn.Tanh(), num_classes)
    decoder = MLPDecoder(LATENT, SHAPE, (6,), nn.Tanh(), num_classes)
    return VAE(
        LATENT, SHAPE, encoder=encoder, decoder=decoder, prior=prior, objective=objective, num_classes=num_classes
    )


def labels_for(vae: VAE, n: int) -> Tensor | None:
    return None if vae.num_classes is None else torch.arange(n) % vae.num_classes


class AtItsMean(DiagonalNormal):
    """Draws no noise, so that a loss can be had by hand."""

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.mu.expand(self._extended_shape(torch.Size(sample_shape)))


@dataclass
class Given:
    """A model whose posterior and prior are given; its images are its codes, under normal noise of variance 1."""

    posterior: td.Distribution
    prior: td.Distribution

    def encode(self, x: Tensor, y: Tensor | None = None) -> td.Distribution:
        return self.posterior

    def decode(self, z: Tensor, y: Tensor | None = None) -> td.Distribution:
        return td.Independent(td.Normal(z[:, None, None], 1.0), 3)

    def latent_prior(self, y: Tensor | None = None) -> td.Distribution:
        return self.prior


def tensor(rows: Any) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def unit_normal() -> td.Distribution:
    return StandardNormal(LATENT).double()()


def images_of(model: Given) -> Tensor:
    """The images that the means of the posterior would be."""
    return model.posterior.mean[:, None, None].detach()


# --------------------------------------------------------------------------------------------------- the contract


@pytest.fixture(params=list(OBJECTIVES))
def make(request: pytest.FixtureRequest) -> Callable[[], Objective]:
    return OBJECTIVES[request.param]


def test_the_contract_is_held_by_every_public_objective() -> None:
    public = {
        name
        for name in objectives.__all__
        if isinstance(getattr(objectives, name), type) and issubclass(getattr(objectives, name), Objective)
    }
    assert public - {"Objective"} == {type(make()).__name__ for make in OBJECTIVES.values()}


@pytest.mark.parametrize("num_classes", [None, CLASSES], ids=["plain", "conditional"])
@pytest.mark.parametrize("prior", list(PRIORS))
def test_contract_one_finite_value_an_image_and_gradients_for_every_parameter(
    make: Callable[[], Objective], prior: str, num_classes: int | None
) -> None:
    vae = small_vae(make(), PRIORS[prior](), num_classes)
    with torch.no_grad():  # a KL of some nats, which no floor hides
        for parameter in vae.encoder.parameters():
            parameter.mul_(4)
    for n in (1, 50):
        terms = vae.loss(torch.rand(n, *SHAPE), labels_for(vae, n))
        assert isinstance(terms, Terms)
        assert {value.shape for value in terms.by_name().values()} == {(n,)}
        assert all(value.isfinite().all() for value in terms.by_name().values())
    terms.loss.mean().backward()
    for name, parameter in vae.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_contract_saved_and_loaded_it_gives_the_same_loss(make: Callable[[], Objective], tmp_path: Path) -> None:
    vae = small_vae(make()).eval()
    same = mv.load(mv.save(vae, tmp_path / "vae.safetensors"))
    assert repr(same.objective) == repr(vae.objective)
    x = torch.rand(5, *SHAPE)
    both = []
    for model in (vae, same):
        torch.manual_seed(1)
        both.append(model.loss(x, labels_for(model, 5)).by_name())
    before, after = both
    assert all(torch.equal(before[name], after[name]) for name in before.keys() | after.keys())


def test_contract_without_gradients_the_value_is_the_same(make: Callable[[], Objective]) -> None:
    vae, x = small_vae(make()), torch.rand(5, *SHAPE)
    y = labels_for(vae, 5)
    torch.manual_seed(1)
    expected = vae.loss(x, y)
    torch.manual_seed(1)
    with torch.no_grad():
        got = vae.loss(x, y)
    for a, b in zip(got.by_name().values(), expected.by_name().values(), strict=True):
        torch.testing.assert_close(a, b)


def test_the_contract_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Objective()


def test_an_objective_that_overrides_nothing_else_takes_no_notice_of_the_steps() -> None:
    class Distance(Objective):
        def forward(self, model: LatentVariableModel, x: Tensor, y: Tensor | None = None) -> Terms:
            reconstruction = (model.decode(model.encode(x, y).mean, y).mean - x).square().flatten(1).sum(1)
            return Terms(reconstruction, reconstruction, torch.zeros_like(reconstruction))

    history = Trainer(epochs=2, batch_size=8, progress=False).fit(small_vae(Distance()), torch.rand(16, *SHAPE))
    assert history[1]["loss"] == history[1]["reconstruction"]


# ----------------------------------------------------------------------------------------------------------- ELBO

#: Means of two images' posteriors; with unit variances the KL of a dimension is half its square.
MEANS = [[0.2, 2.0], [0.6, 1.0]]
BY_DIMENSION = [[0.02, 2.0], [0.18, 0.5]]
KL = tensor([2.02, 0.68])


def given() -> Given:
    mu = tensor(MEANS)
    return Given(AtItsMean(mu, torch.zeros_like(mu)), unit_normal())


def without_kl(model: Given) -> Given:
    """The same, under a prior that has no closed-form KL."""
    mixture = GaussianMixture(LATENT, components=1)
    with torch.no_grad():
        mixture.means.zero_()
    return Given(model.posterior, mixture.double()())


def cost(objective: Objective, model: Given | None = None) -> Tensor:
    """What the loss adds to the reconstruction."""
    model = given() if model is None else model
    terms = objective(model, images_of(model))
    torch.testing.assert_close(terms.kl, KL)
    torch.testing.assert_close(terms.reconstruction, tensor([math.log(2 * math.pi)] * 2))
    return (terms.loss - terms.reconstruction).detach()


@pytest.mark.parametrize("beta", [0, 0.5, 1.0, 4])
@pytest.mark.parametrize("closed_form", [True, False])
def test_beta_weighs_the_kl(beta: float, closed_form: bool) -> None:
    torch.testing.assert_close(cost(ELBO(beta), given() if closed_form else without_kl(given())), beta * KL)


def test_a_schedule_multiplies_beta_in_training_and_not_in_evaluation() -> None:
    objective = ELBO(beta=4.0, schedule=Linear(4))
    torch.testing.assert_close(cost(objective), 4 * KL)  # before a Trainer said anything
    for step, beta in ((0, 0.0), (1, 1.0), (3, 3.0), (9, 4.0), (2, 2.0)):
        objective.advance(step)
        torch.testing.assert_close(cost(objective.train()), beta * KL)
        torch.testing.assert_close(cost(objective.eval()), 4 * KL)
    torch.testing.assert_close(cost(objective.train()), 2 * KL)  # evaluation left the factor as it was


def test_without_a_schedule_the_steps_change_nothing() -> None:
    objective = ELBO(beta=4.0)
    objective.advance(0)
    torch.testing.assert_close(cost(objective), 4 * KL)


@pytest.mark.parametrize(
    ("floor", "expected"),
    [
        (0.0, [2.02, 0.68]),
        (0.05, [2.02, 0.68]),  # below the mean of each dimension, 0.1 and 1.25
        (0.5, [0.5 + 2.0, 0.5 + 0.5]),  # the first dimension is under its floor
        (2.0, [4.0, 4.0]),
    ],
)
def test_free_bits_put_a_floor_under_each_dimension(floor: float, expected: list[float]) -> None:
    torch.testing.assert_close(cost(ELBO(free_bits=floor)), tensor(expected))
    torch.testing.assert_close(cost(ELBO(beta=3.0, free_bits=floor)), 3 * tensor(expected))


@pytest.mark.parametrize(("floor", "expected"), [(0.6, [2.02, 0.68]), (0.7, [1.4, 1.4])])
def test_free_bits_put_one_floor_under_a_code_whose_prior_does_not_factorise(
    floor: float, expected: list[float]
) -> None:
    # The floor of two dimensions is 1.2 or 1.4 nats; the mean KL of the two images is 1.35.
    torch.testing.assert_close(cost(ELBO(free_bits=floor), without_kl(given())), tensor(expected))


def test_free_bits_know_the_dimensions_of_any_factorising_pair() -> None:
    loc = tensor([[0.1, 3.0], [0.2, 2.0]])

    class Steady(td.Laplace):
        def rsample(self, sample_shape: Any = ()) -> Tensor:
            return self.loc.expand(self._extended_shape(torch.Size(sample_shape)))

    model = Given(
        td.Independent(Steady(loc, torch.ones_like(loc)), 1), td.Independent(td.Laplace(tensor([0.0, 0.0]), 1.0), 1)
    )
    terms = ELBO(free_bits=0.5)(model, images_of(model))
    by_dimension = loc + (-loc).exp() - 1  # of two Laplace distributions of scale 1 that are loc apart
    torch.testing.assert_close(terms.kl, by_dimension.sum(1))
    torch.testing.assert_close(terms.loss - terms.reconstruction, 0.5 + by_dimension[:, 1])


def test_dimensions_below_the_floor_feel_no_pull() -> None:
    mu = tensor(MEANS).requires_grad_()
    model = Given(AtItsMean(mu, torch.zeros(2, 2, dtype=torch.float64)), unit_normal())
    terms = ELBO(beta=3.0, free_bits=0.5)(model, images_of(model))
    (gradient,) = torch.autograd.grad((terms.loss - terms.reconstruction).sum(), mu)
    torch.testing.assert_close(gradient, tensor([[0.0, 3 * 2.0], [0.0, 3 * 1.0]]))


def test_free_bits_are_scheduled_with_beta() -> None:
    objective = ELBO(beta=4.0, schedule=Linear(4), free_bits=2.0)
    objective.advance(1)
    torch.testing.assert_close(cost(objective), tensor([4.0, 4.0]))


@pytest.mark.parametrize("capacity", [0, 0.68, 1.0, 5.0])
@pytest.mark.parametrize("closed_form", [True, False])
def test_a_capacity_holds_the_kl_of_each_image_near_it(capacity: float, closed_form: bool) -> None:
    model = given() if closed_form else without_kl(given())
    expected = 3 * tensor([abs(2.02 - capacity), abs(0.68 - capacity)])
    torch.testing.assert_close(cost(ELBO(beta=3.0, capacity=capacity), model), expected)


def test_a_schedule_raises_the_capacity_and_leaves_beta() -> None:
    objective = ELBO(beta=3.0, schedule=Linear(4), capacity=2.0)
    for step, capacity in ((0, 0.0), (1, 0.5), (3, 1.5), (4, 2.0)):
        objective.advance(step)
        torch.testing.assert_close(cost(objective.train()), 3 * (KL - capacity).abs())
        torch.testing.assert_close(cost(objective.eval()), 3 * (KL - 2.0).abs())


@pytest.mark.parametrize("prior", list(PRIORS))
def test_elbo_of_several_codes_is_the_mean_of_those_of_each(prior: str) -> None:
    x = torch.rand(6, *SHAPE, dtype=torch.float64)
    vae = small_vae(ELBO(beta=1.5, num_samples=4), PRIORS[prior]()).double()
    torch.manual_seed(1)
    got = vae.loss(x)
    posterior = vae.encode(x)
    torch.manual_seed(1)
    codes = posterior.rsample(torch.Size([4]))
    each = torch.stack([-vae.decode(code).log_prob(x) for code in codes])
    kl = torch.stack([posterior.log_prob(code) - vae.latent_prior().log_prob(code) for code in codes]).mean(0)
    if prior == "normal":  # in closed form
        kl = td.kl_divergence(posterior, vae.latent_prior())
    torch.testing.assert_close(got.reconstruction, each.mean(0))
    torch.testing.assert_close(got.kl, kl)
    torch.testing.assert_close(got.loss, each.mean(0) + 1.5 * kl)
    assert not torch.allclose(each[0], each[1])


# ----------------------------------------------------------------------------------------------------------- IWAE


def test_iwae_is_the_logarithm_of_the_mean_weight() -> None:
    class Twice(DiagonalNormal):
        """Two codes an image: the mean, and one standard deviation above it."""

        def rsample(self, sample_shape: Any = ()) -> Tensor:
            assert tuple(sample_shape) == (2,)
            return torch.stack([self.mu, self.mu + 1])

    mu = tensor(MEANS)
    model = Given(Twice(mu, torch.zeros_like(mu)), unit_normal())
    terms = IWAE(num_samples=2)(model, images_of(model))
    # The image is the posterior's mean, so p(x | z) and q(z | x) are the same number: a weight is p(z).
    weights = tensor(
        [[math.exp(-2.02), math.exp(-(1.2**2 + 3**2) / 2)], [math.exp(-0.68), math.exp(-(1.6**2 + 2**2) / 2)]]
    )
    torch.testing.assert_close(terms.loss, math.log(2 * math.pi) - weights.mean(1).log())
    # Half the squared distances of the codes from the image are 0 and 1.
    torch.testing.assert_close(terms.reconstruction, tensor([math.log(2 * math.pi) + 0.5] * 2))
    half_squares = tensor([[2.02, (1.2**2 + 3**2) / 2 - 1], [0.68, (1.6**2 + 2**2) / 2 - 1]])
    torch.testing.assert_close(terms.kl, half_squares.mean(1))


# --------------------------------------------------------------------------------------------------------- BetaTC

#: The standard normal's density at 0, 1/2, 1 and 2.
PHI_0, PHI_HALF, PHI_1, PHI_2 = 0.398942280, 0.352065327, 0.241970725, 0.053990967
#: Mutual information, total correlation and dimension-wise KL of the case below, one column an image.
BY_HAND = tensor([[1.2215010, 0.9858351], [0.3671545, -0.0885378], [-1.5886555, 0.9095555]])


def two_images() -> Given:
    """Codes (0, 0) and (2, 1) under posteriors with the scales (1, 1) and (1, 2)."""
    logvar = tensor([[0.0, 0.0], [0.0, math.log(4.0)]])
    return Given(AtItsMean(tensor([[0.0, 0.0], [2.0, 1.0]]), logvar), unit_normal())


def test_the_numbers_by_hand() -> None:
    # Each image has the weight 1/4 in its own mixture of four images, the only other one of the batch 3/4.
    first = {
        "q(z | x)": PHI_0 * PHI_0,
        "q(z)": PHI_0 * PHI_0 / 4 + 3 / 4 * PHI_2 * PHI_HALF / 2,
        "q(z_1) q(z_2)": (PHI_0 / 4 + 3 / 4 * PHI_2) * (PHI_0 / 4 + 3 / 4 * PHI_HALF / 2),
        "p(z)": PHI_0 * PHI_0,
    }
    second = {
        "q(z | x)": PHI_0 * PHI_0 / 2,
        "q(z)": PHI_0 * PHI_0 / 2 / 4 + 3 / 4 * PHI_2 * PHI_1,
        "q(z_1) q(z_2)": (PHI_0 / 4 + 3 / 4 * PHI_2) * (PHI_0 / 2 / 4 + 3 / 4 * PHI_1),
        "p(z)": PHI_2 * PHI_1,
    }
    for image, densities in enumerate((first, second)):
        logs = [math.log(value) for value in densities.values()]
        assert [a - b for a, b in itertools.pairwise(logs)] == pytest.approx(BY_HAND[:, image].tolist(), abs=1e-6)


@pytest.mark.parametrize(
    "weights", [(1.0, 1.0, 1.0), (2.0, 0.0, 0.0), (0.0, 3.0, 0.0), (0.0, 0.0, 5.0), (0.5, 6.0, 2.0)]
)
def test_beta_tc_weighs_the_three_terms(weights: tuple[float, float, float]) -> None:
    model = two_images()
    terms = BetaTC(*weights, num_images=4)(model, images_of(model))
    torch.testing.assert_close(terms.loss - terms.reconstruction, tensor(weights) @ BY_HAND, rtol=0, atol=1e-5)
    # In closed form: of the first image 0, of the second (2^2 + 1^2 + 4 - 1 - log 4) / 2.
    torch.testing.assert_close(terms.kl, tensor([0.0, 4 - math.log(2.0)]))


def test_the_three_terms_add_up_to_the_log_ratio() -> None:
    # log q(z | x) - log p(z): 0 for the first image, 2.5 - log 2 for the second.
    torch.testing.assert_close(BY_HAND.sum(0), tensor([0.0, 2.5 - math.log(2.0)]), rtol=0, atol=1e-6)
    log_q, log_p = torch.randn(5, 5, 3), torch.randn(5)
    for log_weights in (stratified_log_weights(5, 100, like=log_p), torch.randn(5, 5)):
        total = sum(kl_decomposition(log_q, log_p, log_weights))
        torch.testing.assert_close(total, log_q.diagonal().sum(0) - log_p)


@pytest.mark.parametrize("prior", list(PRIORS))
def test_with_all_weights_1_beta_tc_is_the_elbo_with_its_kl_at_the_code(prior: str) -> None:
    x = torch.rand(6, *SHAPE)
    vae = small_vae(BetaTC(1.0, 1.0, 1.0, num_images=60), PRIORS[prior]()).double()
    torch.manual_seed(1)
    got = vae.loss(x)
    vae.objective = IWAE(num_samples=1)
    torch.manual_seed(1)
    expected = vae.loss(x)
    torch.testing.assert_close(got.loss, expected.loss, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(got.reconstruction, expected.reconstruction)
    assert not torch.allclose(got.loss, got.reconstruction)


@pytest.mark.parametrize("images", [3, 4, 7])
def test_the_estimate_of_the_aggregate_posterior_is_unbiased_over_the_other_images_of_the_batch(images: int) -> None:
    density = torch.rand(images, dtype=torch.float64)  # q(z | x_j) at one code of image 0
    weights = stratified_log_weights(3, images, like=density).exp()
    torch.testing.assert_close(weights.sum(1), tensor([1.0, 1.0, 1.0]))
    for row in range(3):
        places = [row, (row + 1) % 3, (row + 2) % 3]
        torch.testing.assert_close(weights[row, places], tensor([1 / images, 1 / 2 - 1 / images, 1 / 2]))
        estimates = [
            float((weights[row, places] * density[[0, *others]]).sum())
            for others in itertools.permutations(range(1, images), 2)
        ]
        assert sum(estimates) / len(estimates) == pytest.approx(float(density.mean()), rel=1e-12)


def test_the_terms_are_in_the_mean_the_divergences_that_they_are_named_after() -> None:
    # Two images are the whole set, so that q(z) is a mixture of two normals, whose divergences a grid gives.
    mu = tensor([[-1.0, -0.8], [1.2, 0.6]])
    logvar = tensor([[-0.5, 0.2], [0.3, -1.0]])
    axis = torch.linspace(-8, 8, 401, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    by_dimension = td.Normal(mu, (0.5 * logvar).exp()).log_prob(grid[:, None])  # (points, images, dimensions)
    conditional = by_dimension.sum(-1)
    joint = conditional.logsumexp(1) - math.log(2)
    product = (by_dimension.logsumexp(1) - math.log(2)).sum(-1)
    prior = unit_normal().log_prob(grid)
    cell = float(axis[1] - axis[0]) ** 2
    information = (conditional.exp() * (conditional - joint[:, None])).sum() * cell / 2
    correlation = (joint.exp() * (joint - product)).sum() * cell
    dimensions = (joint.exp() * (product - prior)).sum() * cell
    model = Given(DiagonalNormal(mu, logvar), unit_normal())
    for weights, exact in (((1, 0, 0), information), ((0, 1, 0), correlation), ((0, 0, 1), dimensions)):
        objective = BetaTC(*weights)
        terms = [objective(model, images_of(model)) for _ in range(1_000)]
        draws = torch.stack([(t.loss - t.reconstruction).mean() for t in terms])
        assert abs(float(draws.mean() - exact)) <= 5 * float(draws.std()) / math.sqrt(len(draws))
        assert abs(float(exact)) > 10 * float(draws.std()) / math.sqrt(len(draws))


def test_beta_tc_takes_a_batch_of_one() -> None:
    mu = tensor([[2.0, 1.0]])
    model = Given(AtItsMean(mu, torch.zeros_like(mu)), unit_normal())
    for alpha, beta in ((0.0, 0.0), (7.0, 9.0)):  # the code says nothing about which image it is
        terms = BetaTC(alpha, beta, gamma=3.0, num_images=100)(model, images_of(model))
        torch.testing.assert_close(terms.loss - terms.reconstruction, tensor([3 * 2.5]))


class Lengthless(IterableDataset[Tensor]):
    """Images whose number only reading would tell."""

    def __iter__(self) -> Any:
        return iter(torch.rand(12, *SHAPE))


def loss_of(vae: VAE, x: Tensor) -> Tensor:
    torch.manual_seed(4)
    with torch.no_grad():
        return vae.loss(x).loss


def test_the_trainer_tells_beta_tc_how_many_images_there_are_and_a_file_keeps_it(tmp_path: Path) -> None:
    x = torch.rand(37, *SHAPE)
    vae = small_vae(BetaTC())
    assert isinstance(vae.objective, BetaTC)
    Trainer(epochs=1, batch_size=6, progress=False).fit(vae, x)  # the last batch has one image
    told = loss_of(vae, x[:6])
    same = mv.load(mv.save(vae, tmp_path / "vae.safetensors"))
    assert torch.equal(loss_of(same, x[:6]), told)
    for num_images, equal in ((37, True), (36, False), (1000, False)):
        vae.objective = BetaTC(num_images=num_images)
        assert torch.equal(loss_of(vae, x[:6]), told) is equal


def test_beta_tc_keeps_the_number_it_was_given() -> None:
    x = torch.rand(37, *SHAPE)
    vae = small_vae(BetaTC(num_images=1000))
    Trainer(epochs=1, batch_size=12, progress=False).fit(vae, x)
    got = loss_of(vae, x[:12])
    vae.objective = BetaTC(num_images=1000)
    assert torch.equal(loss_of(vae, x[:12]), got)


def test_beta_tc_takes_the_batch_for_the_set_where_nobody_knows_its_size() -> None:
    vae = small_vae(BetaTC())
    Trainer(epochs=1, progress=False).fit(vae, DataLoader(Lengthless(), batch_size=6))
    x = torch.rand(6, *SHAPE)
    got = loss_of(vae, x)
    for num_images in (6, 2):  # a set is at least as large as the batch
        vae.objective = BetaTC(num_images=num_images)
        assert torch.equal(loss_of(vae, x), got)


class Correlated(Encoder):
    """A posterior whose dimensions depend on each other, even where Independent is its outer name."""

    def __init__(self, latent_dim: int, wrapped: bool = False) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.wrapped = wrapped
        self.inner = MLPEncoder(latent_dim, SHAPE, (6,))

    def forward(self, x: Tensor, y: Tensor | None = None) -> td.Distribution:
        q = td.MultivariateNormal(self.inner(x).mean, torch.eye(self.latent_dim) + 0.5)
        return td.Independent(q, 0) if self.wrapped else q


@pytest.mark.parametrize(("wrapped", "got"), [(False, "a MultivariateNormal"), (True, "an Independent")])
def test_beta_tc_asks_for_independent_dimensions(wrapped: bool, got: str) -> None:
    vae = VAE(LATENT, SHAPE, encoder=Correlated(LATENT, wrapped))
    message = rf"expected a posterior whose dimensions are independent.*, got {got}: .*or use ELBO"
    with pytest.raises(ComponentError, match=message):
        VAE(LATENT, SHAPE, encoder=Correlated(LATENT, wrapped), objective=BetaTC())
    with pytest.raises(ComponentError, match=message):
        vae.objective = BetaTC()
    assert isinstance(vae.objective, ELBO), "a part that does not fit leaves the model as it was"
    assert vae.loss(torch.rand(3, *SHAPE)).loss.isfinite().all()


# --------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf, -math.inf, "1", None, True, [1.0]])
@pytest.mark.parametrize(
    ("make_with", "name"),
    [
        (ELBO, "a finite beta of at least 0"),
        (lambda value: ELBO(free_bits=value), "free_bits as a finite number of nats of at least 0"),
        (lambda value: BetaTC(alpha=value), "a finite alpha of at least 0"),
        (lambda value: BetaTC(beta=value), "a finite beta of at least 0"),
        (lambda value: BetaTC(gamma=value), "a finite gamma of at least 0"),
    ],
    ids=["beta", "free_bits", "alpha", "tc beta", "gamma"],
)
def test_weights_are_finite_and_not_negative(make_with: Callable[[Any], Objective], name: str, value: Any) -> None:
    with pytest.raises(SettingError, match=f"expected {name}, got"):
        make_with(value)


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf, "1", True])
def test_a_capacity_is_finite_and_not_negative(value: Any) -> None:
    with pytest.raises(SettingError, match="expected capacity as a finite number of nats of at least 0, or None, got"):
        ELBO(capacity=value)


@pytest.mark.parametrize("capacity", [0.0, 3.0])
def test_free_bits_and_a_capacity_exclude_each_other(capacity: float) -> None:
    with pytest.raises(SettingError, match=r"expected free_bits or a capacity, got both: .* leave one out"):
        ELBO(free_bits=0.1, capacity=capacity)


@pytest.mark.parametrize(
    ("schedule", "got"),
    [
        (Linear, "the class Linear"),
        (1000, "an int"),
        (0.5, "a float"),
        (nn.Identity(), "an Identity"),
        (lambda step: 1.0, "a function"),
    ],
)
def test_a_schedule_is_an_instance_of_schedule(schedule: Any, got: str) -> None:
    with pytest.raises(
        ComponentError, match=rf"expected schedule as a mnistvae Schedule, or None, got {got}: for inst"
    ):
        ELBO(schedule=schedule)


@pytest.mark.parametrize("objective", [IWAE, ELBO])
@pytest.mark.parametrize("value", [0, -1, 2.5, "3", None, True])
def test_the_number_of_samples_is_at_least_1(objective: Callable[..., Objective], value: Any) -> None:
    with pytest.raises(SettingError, match="expected num_samples as an integer of at least 1, got"):
        objective(num_samples=value)


@pytest.mark.parametrize("value", ["x", "Plain", None, 1])
def test_a_gradient_is_one_of_two(value: Any) -> None:
    with pytest.raises(
        SettingError, match=r"expected gradient as one of 'plain', 'doubly-reparameterized', got .*spelling"
    ):
        IWAE(gradient=value)


@pytest.mark.parametrize("value", [0, -1, 2.5, "3", True])
def test_a_number_of_images_is_at_least_1(value: Any) -> None:
    with pytest.raises(SettingError, match="expected num_images of at least 1, or None, got"):
        BetaTC(num_images=value)


def test_a_posterior_that_cannot_be_detached_is_named() -> None:
    class LogNormal(Correlated):
        def forward(self, x: Tensor, y: Tensor | None = None) -> td.Distribution:
            return td.Independent(td.LogNormal(self.inner(x).mean, 1.0), 1)

    vae = VAE(LATENT, SHAPE, encoder=LogNormal(LATENT), objective=IWAE(2))
    with pytest.raises(
        ComponentError, match=r"expected a posterior whose parameters can be detached, got a LogNormal: "
    ):
        vae.objective = IWAE(2, "doubly-reparameterized")
    assert vae.loss(torch.rand(3, *SHAPE)).loss.isfinite().all()


# ------------------------------------------------------------------------------------------- what training makes of it


def trained_kl(objective: Objective, epochs: int) -> Tensor:
    """KL of each image of a small model after training on a thousand digits."""
    data = mv.load_dataset("mnist-mini", "train")[:1000]
    encoder = MLPEncoder(4, hidden=(64,))
    vae = VAE(4, encoder=encoder, decoder=MLPDecoder(4, hidden=(64,)), objective=objective)
    Trainer(epochs=epochs, batch_size=50, learning_rate=3e-3, seed=0, progress=False).fit(vae, data)
    with torch.no_grad():
        return vae.loss(data.images.float() / 255).kl


def test_a_heavy_kl_collapses_the_posterior() -> None:
    kl = trained_kl(ELBO(beta=50.0), epochs=12)
    assert float(kl.max()) < 0.1
    assert float(kl.mean()) < 0.02


def test_free_bits_keep_the_posterior_from_collapsing_under_the_same_weight() -> None:
    # Half a nat in each of 4 dimensions is free; what is above costs 50 times as much as the pixels.
    kl = trained_kl(ELBO(beta=50.0, free_bits=0.5), epochs=12)
    assert 1.0 < float(kl.mean()) < 2.4
    assert float(kl.std()) > 0.5  # the images share the free nats as they need them


def test_the_bound_itself_does_not_collapse() -> None:
    kl = trained_kl(ELBO(), epochs=5)
    assert float(kl.min()) > 0.5
    assert float(kl.mean()) > 5


def test_a_capacity_is_reached_by_each_image() -> None:
    kl = trained_kl(ELBO(beta=200.0, capacity=3.0, schedule=Linear(50)), epochs=12)
    assert float(kl.mean()) == pytest.approx(3, abs=0.3)
    assert float((kl - 3).abs().mean()) < 0.5


# --- terms of its own -----------------------------------------------------------------------------------------------


def test_the_total_correlation_objective_tells_its_three_parts() -> None:
    vae = small_vae(BetaTC(alpha=0.5, beta=2.0, gamma=1.5, num_images=40))
    terms = vae.loss(torch.rand(6, *SHAPE))
    assert list(terms.extra) == ["mutual_information", "total_correlation", "dimension_wise_kl"]
    information, correlation, dimensions = terms.extra.values()
    weighted = 0.5 * information + 2.0 * correlation + 1.5 * dimensions
    torch.testing.assert_close(terms.loss, terms.reconstruction + weighted)
    assert not torch.allclose(information, correlation)


def test_terms_without_further_ones_share_nothing() -> None:
    first, second = (Terms(*torch.zeros(3, 2)) for _ in range(2))
    assert first.extra == {}
    assert first.extra is not second.extra
    more = first._replace(extra={"mine": torch.ones(2)})
    assert list(more.by_name()) == ["loss", "reconstruction", "kl", "mine"]
    assert more._replace(loss=torch.ones(2)).extra is more.extra
    assert pickle.loads(pickle.dumps(first)) is not first  # noqa: S301 (our own)
    assert isinstance(copy.deepcopy(more), Terms)


class Loss(nn.Module):
    def __init__(self, vae: VAE) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, x: Tensor) -> Terms:
        return self.vae.loss(x)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch 2.10 itself
@pytest.mark.parametrize("objective", ["ELBO", "BetaTC"])
def test_terms_pass_through_transformed_and_compiled_functions(objective: str) -> None:
    vae = small_vae(OBJECTIVES[objective]())
    x = torch.rand(6, *SHAPE)
    weights: dict[str, Tensor] = {f"vae.{name}": weight for name, weight in vae.named_parameters()}

    def loss(given: dict[str, Tensor]) -> tuple[Tensor, Terms]:
        terms: Terms = functional_call(Loss(vae), given, (x,))
        return terms.loss.mean(), terms

    torch.manual_seed(0)
    expected = vae.loss(x)
    torch.manual_seed(0)
    _, (_, terms) = grad_and_value(loss, has_aux=True)(weights)
    torch.manual_seed(0)
    compiled = torch.compile(vae.loss, backend="eager")(x)
    for got in (terms, compiled):
        assert isinstance(got, Terms)
        assert got.by_name().keys() == expected.by_name().keys()
        for name, value in got.by_name().items():
            torch.testing.assert_close(value, expected.by_name()[name])
