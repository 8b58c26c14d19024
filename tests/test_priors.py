"""Priors: one contract for all, on a grid that the density can be summed over, and what each does beyond it."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
import torch
import torch.distributions as td
from readback import stirred
from test_linear_gaussian import assert_mean
from torch import Tensor, nn

import mnistvae as mv
from mnistvae import priors
from mnistvae.distributions import DiagonalNormal, tempered
from mnistvae.errors import ComponentError, DataError, SettingError
from mnistvae.images import ImageShape
from mnistvae.losses import kl_or_estimate
from mnistvae.models import VAE, ConditionalVAE
from mnistvae.networks import Encoder, MLPDecoder, MLPEncoder
from mnistvae.objectives import ELBO
from mnistvae.priors import Flow, GaussianMixture, Joint, Prior, SecondStage, StandardNormal, VampPrior

LATENT = 2
SHAPE: ImageShape = (1, 4, 4)
CLASSES = 4
COMPONENTS = 5
#: Priors of discrete codes, over which no density integrates to 1: they are tested by themselves.
DISCRETE = {"TokenPrior", "UniformCategorical", "UniformTokens"}
#: One label of two images and two of one, so that a row's own label tells it apart from its place.
LABELS = [2, 0, 2, 3]
NAMES = {"ModuleList": nn.ModuleList, **{name: getattr(priors, name) for name in priors.__all__}}


def model_with(prior: Prior, num_classes: int | None = None) -> VAE:
    encoder = MLPEncoder(LATENT, SHAPE, (8,), nn.Tanh(), num_classes)
    decoder = MLPDecoder(LATENT, SHAPE, (8,), nn.Tanh(), num_classes)
    return VAE(LATENT, SHAPE, encoder=encoder, decoder=decoder, prior=prior, num_classes=num_classes)


# --------------------------------------------------------------------------------------------------- the contract


@dataclass(frozen=True)
class Kind:
    """How to make a prior, and how far to spread its parameters so that it is far from where it starts."""

    make: Callable[[], Prior]
    spread: dict[str, float]
    #: Codes that are left when nothing but the choice of a component is random.
    centres: int = 1


MIXTURE = {"logits": 0.7, "means": 1.5, "log_scales": 0.4, "lower": 0.5}
KINDS: dict[str, Kind] = {
    "StandardNormal": Kind(lambda: StandardNormal(LATENT), {}),
    "GaussianMixture diag": Kind(lambda: GaussianMixture(LATENT, COMPONENTS), MIXTURE, COMPONENTS),
    "GaussianMixture full": Kind(lambda: GaussianMixture(LATENT, COMPONENTS, "full"), MIXTURE, COMPONENTS),
    "Joint": Kind(
        lambda: Joint([StandardNormal(1), GaussianMixture(1, COMPONENTS)]),
        {f"priors.1.{name}": spread for name, spread in MIXTURE.items()},
        COMPONENTS,
    ),
    "VampPrior": Kind(lambda: VampPrior(COMPONENTS), {"logits": 3.0}, COMPONENTS),
    "Flow realnvp": Kind(lambda: Flow(LATENT, "realnvp", transforms=3, hidden=(8, 8)), {"": 0.35}),
    "Flow maf": Kind(lambda: Flow(LATENT, "maf", transforms=2, hidden=(8,)), {"": 0.35}),
    "Flow nsf": Kind(lambda: Flow(LATENT, "nsf", transforms=2, hidden=(8,)), {"": 0.3}),
    # Its bound is near the density: there are many draws, and the posterior is not far from what it should be.
    "SecondStage": Kind(
        lambda: SecondStage(LATENT, 3, hidden=(8,), num_samples=64),
        {"": 0.05, "decoder.linear.weight": 0.3, "decoder.linear.bias": 1.0},
    ),
}


@dataclass
class Case:
    """A prior in a model in double precision, with all its parameters moved away from where they start."""

    kind: Kind
    model: VAE
    labels: Tensor | None

    @property
    def prior(self) -> Prior:
        return self.model.prior

    @property
    def batch(self) -> tuple[int, ...]:
        """Only a VampPrior has a distribution of its own for each label."""
        return (len(LABELS),) if self.labels is not None and isinstance(self.prior, VampPrior) else ()

    def __call__(self, temperature: float = 1.0) -> td.Distribution:
        p = self.model.latent_prior(self.labels)
        return p if temperature == 1 else tempered(p, temperature)


@pytest.fixture(params=[None, CLASSES], ids=["plain", "conditional"])
def num_classes(request: pytest.FixtureRequest) -> int | None:
    value: int | None = request.param
    return value


@pytest.fixture(params=list(KINDS))
def case(request: pytest.FixtureRequest, num_classes: int | None) -> Case:
    kind = KINDS[request.param]
    torch.manual_seed(11)
    model = model_with(kind.make(), num_classes).double()
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.normal_(0, 0.6)
        for name, parameter in model.prior.named_parameters():
            parameter.normal_(0, kind.spread.get(name, kind.spread.get("", math.nan)))
    return Case(kind, model, None if num_classes is None else torch.tensor(LABELS))


def test_the_contract_is_held_by_every_public_prior() -> None:  # on the plane; test_spheres has that on the sphere
    public = {name for name, value in NAMES.items() if isinstance(value, type) and issubclass(value, Prior)}
    made = [kind.make() for kind in KINDS.values()]
    assert public - {"Prior", "UniformSphere"} - DISCRETE == {type(prior).__name__ for prior in made}
    flows = {prior.kind for prior in made if isinstance(prior, Flow)}
    assert flows == set(get_args(get_type_hints(Flow.__init__)["kind"]))
    mixtures = {prior.covariance for prior in made if isinstance(prior, GaussianMixture)}
    assert mixtures == set(get_args(get_type_hints(GaussianMixture.__init__)["covariance"]))


def test_contract_shapes(case: Case) -> None:
    p = case()
    assert isinstance(p, td.Distribution)
    assert p.batch_shape == case.batch
    assert p.event_shape == (LATENT,)
    assert p.sample().shape == (*case.batch, LATENT)
    assert p.sample(torch.Size([7])).shape == (7, *case.batch, LATENT)
    rows = len(LABELS)
    assert p.log_prob(torch.randn(rows, LATENT).double()).shape == (rows,)
    assert p.log_prob(torch.randn(6, rows, LATENT).double()).shape == (6, rows)  # several codes of each image


AXIS = torch.linspace(-12, 12, 241, dtype=torch.float64)
GRID = torch.cartesian_prod(AXIS, AXIS)
CELL = float(AXIS[1] - AXIS[0]) ** 2


def features(z: Tensor) -> Tensor:
    """Smooth functions of codes, (..., F), whose means tell distributions apart."""
    a, b = z.unbind(-1)
    waves = [(a + 2 * b).sin(), (2 * a - b).cos(), (3 * a).cos()]
    sides = [(4 * a - 2).sigmoid(), (4 * (a + b)).sigmoid(), (-(a.square() + b.square())).exp()]
    return torch.stack([a, b, a.square(), b.square(), a * b, *waves, *sides], dim=-1)


def on_the_grid(p: td.Distribution) -> Tensor:
    """The log-density at every point, (points, *batch)."""
    with torch.no_grad():
        return p.log_prob(GRID.reshape(len(GRID), *[1] * len(p.batch_shape), LATENT))


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_contract_the_density_integrates_to_1_and_draws_follow_it(case: Case, temperature: float) -> None:
    p = case(temperature)
    mass = on_the_grid(p).exp() * CELL
    # To some thousandths: the density of a spline has kinks between the points of the grid. A bound's exponential is an
    # estimate at each point, without bias.
    tolerance = 0.01 if case.prior.bounds_density else 4e-3
    torch.testing.assert_close(mass.sum(0), torch.ones(case.batch, dtype=torch.float64), rtol=0, atol=tolerance)
    expected = torch.einsum("p...,pf->...f", mass, features(GRID))
    assert_mean(features(p.sample(torch.Size([8_000]))), expected)


def test_contract_a_lower_temperature_draws_nearer_to_the_centres(case: Case) -> None:
    assert len(case(0.0).sample(torch.Size([100])).reshape(-1, LATENT).unique(dim=0)) <= (
        case.kind.centres * len({*LABELS} if case.batch else {0})
    )
    torch.manual_seed(1)
    cold = case(0.0).sample(torch.Size([1_000]))
    torch.manual_seed(1)
    warm = case(0.3).sample(torch.Size([1_000]))
    torch.manual_seed(1)
    usual = case().sample(torch.Size([1_000]))
    # The same noise: the same components, and distances that grow with the temperature.
    near, far = (warm - cold).norm(dim=-1).mean(), (usual - cold).norm(dim=-1).mean()
    assert 0 < near < 0.6 * far


def test_contract_gradients_reach_every_parameter(case: Case) -> None:
    z = torch.randn(20, len(LABELS), LATENT, dtype=torch.float64, requires_grad=True)
    case().log_prob(z).sum().backward()
    assert z.grad is not None
    assert (z.grad.abs() > 0).all()
    assert bool(list(case.prior.parameters())) is not isinstance(case.prior, StandardNormal)
    for name, parameter in case.prior.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_contract_saved_and_loaded_it_is_the_same(case: Case, tmp_path: Path) -> None:
    same = mv.load(mv.save(case.model, tmp_path / "vae.safetensors"))
    assert repr(same.prior) == repr(case.prior)
    z = torch.randn(6, len(LABELS), LATENT, dtype=torch.float64)
    both = []
    for model in (case.model, same):
        torch.manual_seed(2)
        p = model.latent_prior(case.labels)
        both.append((p.sample(torch.Size([3])), p.log_prob(z)))
    assert all(torch.equal(a, b) for a, b in zip(*both, strict=True))


def test_contract_repr_is_the_call_that_makes_it(case: Case) -> None:
    rebuilt = eval(repr(case.prior), {"__builtins__": {}}, NAMES)  # noqa: S307 (that is the promise)
    assert type(rebuilt) is type(case.prior)
    assert repr(rebuilt) == repr(case.prior)
    assert repr(rebuilt) == repr(case.kind.make())


def test_contract_it_computes_in_the_dtype_of_the_model(case: Case) -> None:
    z = torch.randn(6, len(LABELS), LATENT, dtype=torch.float64)
    fine = case()
    assert fine.sample().dtype is torch.float64
    assert fine.log_prob(z).dtype is torch.float64
    expected = fine.log_prob(z)
    case.model.float()
    coarse = case()
    assert coarse.sample().dtype is torch.float32
    got = coarse.log_prob(z.float())
    assert got.dtype is torch.float32
    if not case.prior.bounds_density:  # a bound is made of draws, which differ
        torch.testing.assert_close(got.double(), expected, rtol=1e-3, atol=1e-3)


def test_contract_draws_repeat_under_a_seed_and_differ_without(case: Case) -> None:
    y = None if case.labels is None else LABELS * 2

    def draw(seed: int) -> Tensor:
        return case.model.sample(8, y, generator=torch.Generator().manual_seed(seed))

    assert torch.equal(draw(3), draw(3))
    assert not torch.equal(draw(3), draw(4))
    assert len(draw(3).unique(dim=0)) == 8


@pytest.mark.parametrize("name", [name for name in KINDS if name != "StandardNormal"])
def test_contract_a_prior_can_be_learned_from_where_it_starts(name: str) -> None:
    codes = torch.cat([torch.randn(100, LATENT) * 0.3 + 2, torch.randn(100, LATENT) * 0.5 - 1])
    model = model_with(KINDS[name].make())
    optimizer = torch.optim.Adam([*model.prior.parameters(), *model.encoder.parameters()], lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        (-model.latent_prior().log_prob(codes).mean()).backward()
        optimizer.step()
    learned = model.latent_prior().log_prob(codes).mean().item()
    assert learned > float(StandardNormal(LATENT)().log_prob(codes).mean()) + 0.5


# ------------------------------------------------------------------------------------- KL divergences from the prior


def test_the_kl_of_a_normal_from_every_prior_is_unbiased(case: Case) -> None:
    n, rows = 4_000, len(LABELS)
    mu = torch.tensor([[0.5, -1.0], [0.0, 0.0], [-2.0, 1.5], [1.0, 1.0]], dtype=torch.float64)
    logvar = torch.tensor([[0.0, -1.0], [0.0, 0.0], [-2.0, 0.7], [-0.5, -1.5]], dtype=torch.float64)
    q, p = DiagonalNormal(mu, logvar), case()
    log_q = on_the_grid(q)
    log_p = on_the_grid(p).reshape(len(GRID), -1)  # of a prior without a batch, one column for all
    exact = (log_q.exp() * (log_q - log_p)).sum(0) * CELL
    assert (exact > -1e-4).all()
    many = DiagonalNormal(mu.repeat(n, 1), logvar.repeat(n, 1))
    labels = None if case.labels is None else case.labels.repeat(n)
    with torch.no_grad():
        z = many.rsample()
        torch.manual_seed(3)
        values = kl_or_estimate(many, case.model.latent_prior(labels), z).reshape(n, rows)
        torch.manual_seed(3)
        log_ratio = (many.log_prob(z) - case.model.latent_prior(labels).log_prob(z)).reshape(n, rows)
    assert_mean(log_ratio, exact)
    if isinstance(case.prior, StandardNormal):
        torch.testing.assert_close(values, exact.expand(n, rows), rtol=1e-6, atol=1e-6)
        assert float(exact[1]) == pytest.approx(0, abs=1e-9)
    else:
        assert torch.equal(values, log_ratio)


def test_the_kl_of_a_loss_is_that_of_each_images_own_label() -> None:
    model = model_with(VampPrior(3), CLASSES).double()
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.normal_(0, 0.6)
    x, y = torch.rand(4, *SHAPE).double(), torch.tensor(LABELS)
    torch.manual_seed(1)
    got = model.loss(x, y).kl
    torch.manual_seed(1)
    z = model.encode(x, y).rsample()
    u = model.prior.pseudo_inputs
    for row, label in enumerate(LABELS):
        log_q = model.encode(x[row : row + 1], [label]).log_prob(z[row])
        parts = torch.stack([model.encode(one[None], [label]).log_prob(z[row]) for one in u])
        torch.testing.assert_close(got[row : row + 1], log_q - parts.exp().mean(0).log())


# ------------------------------------------------------------------------------------------------ StandardNormal


def test_the_standard_normal_is_torchs_and_has_nothing_to_save() -> None:
    z = torch.randn(6, 3)
    expected = td.Independent(td.Normal(torch.zeros(3), torch.ones(3)), 1)
    torch.testing.assert_close(StandardNormal(3)().log_prob(z), expected.log_prob(z))
    assert StandardNormal(3).state_dict() == {}


# ------------------------------------------------------------------------------------------------ GaussianMixture


def three_components() -> tuple[Tensor, Tensor, Tensor]:
    """Weights, means and Cholesky factors, each a little different."""
    weights = torch.tensor([0.2, 0.5, 0.3])
    means = torch.tensor([[0.0, 1.0], [-2.0, 0.5], [3.0, -1.0]])
    factors = torch.tensor([[[1.0, 0.0], [0.5, 2.0]], [[0.3, 0.0], [-0.2, 0.4]], [[2.0, 0.0], [0.0, 0.1]]])
    return weights, means, factors


@pytest.mark.parametrize("covariance", ["diag", "full"])
def test_a_mixture_is_the_weighted_sum_of_the_components_it_was_given(covariance: Any) -> None:
    weights, means, factors = three_components()
    prior = GaussianMixture(2, components=3, covariance=covariance)
    if covariance == "diag":
        with pytest.raises(DataError, match=r"diagonal factors for covariance='diag', got full ones"):
            prior.set_components(weights, means, factors)
        factors = torch.diag_embed(factors.diagonal(dim1=-2, dim2=-1))
    prior.set_components(weights, means, factors)
    z = 2 * torch.randn(40, 2)
    density = torch.zeros(40)
    for weight, mean, factor in zip(weights, means, factors, strict=True):
        density += weight * td.MultivariateNormal(mean, factor @ factor.T).log_prob(z).exp()
    torch.testing.assert_close(prior().log_prob(z), density.log(), rtol=1e-4, atol=1e-4)
    assert all(parameter.requires_grad for parameter in prior.parameters())


def test_what_lies_above_the_diagonal_of_a_factor_is_not_used() -> None:
    prior = GaussianMixture(3, components=2, covariance="full")
    z = torch.randn(5, 3)
    before = prior().log_prob(z)
    assert prior.lower is not None
    with torch.no_grad():
        prior.lower.copy_(torch.randn(2, 3, 3).triu())
    torch.testing.assert_close(prior().log_prob(z), before)


def test_temperature_keeps_the_means_and_weights_of_a_mixture_and_scales_its_normals() -> None:
    weights, means, factors = three_components()
    prior = GaussianMixture(2, components=3, covariance="full")
    prior.set_components(weights, means, factors)
    cool = GaussianMixture(2, components=3, covariance="full")
    cool.set_components(weights, means, 0.5 * factors)
    z = torch.randn(20, 2)
    torch.testing.assert_close(tempered(prior(), 0.5).log_prob(z), cool().log_prob(z))


# ------------------------------------------------------------------------------------------------------ VampPrior


def test_a_vamp_prior_is_the_mean_of_the_posteriors_at_its_pseudo_inputs() -> None:
    model = model_with(VampPrior(3))
    u = model.prior.pseudo_inputs
    assert u.shape == (3, *SHAPE)
    assert 0 < u.min() < u.max() < 1
    z = torch.randn(5, 2)
    density = sum(model.encode(one[None]).log_prob(z).exp() for one in u) / 3
    torch.testing.assert_close(model.latent_prior().log_prob(z), density.log())


def test_under_labels_each_row_of_a_vamp_prior_is_the_mixture_of_its_own_labels_posteriors() -> None:
    encoder = MLPEncoder(2, SHAPE, (8,), num_classes=CLASSES)
    model = ConditionalVAE(2, CLASSES, SHAPE, encoder=encoder, prior=VampPrior(3))
    p = model.latent_prior(LABELS)
    assert p.batch_shape == (4,)
    z = torch.randn(4, 2)
    u = model.prior.pseudo_inputs
    got = p.log_prob(z)
    for row, label in enumerate(LABELS):
        density = sum(model.encode(one[None], [label]).log_prob(z[row]).exp() for one in u) / 3
        torch.testing.assert_close(got[row : row + 1], density.log())
    # A row is the same whatever stands beside it.
    torch.testing.assert_close(model.latent_prior([3]).log_prob(z[3:]), got[3:])


def test_a_sample_under_a_label_comes_from_the_posteriors_of_that_label() -> None:
    class ByLabel(Encoder):
        """The code is the label, and the first pixel."""

        def __init__(self, latent_dim: int) -> None:
            super().__init__()
            self.latent_dim = latent_dim

        def forward(self, x: Tensor, y: Tensor | None = None) -> DiagonalNormal:
            assert y is not None
            mu = torch.stack([y.to(x.dtype), x[:, 0, 0, 0]], dim=1)
            return DiagonalNormal(mu, torch.full_like(mu, -40.0))

    model = ConditionalVAE(2, CLASSES, SHAPE, encoder=ByLabel(2), prior=VampPrior(3))
    codes = model.latent_prior([3, 1, 3, 0]).sample(torch.Size([200]))
    expected = torch.tensor([3.0, 1.0, 3.0, 0.0]).expand(200, 4)
    torch.testing.assert_close(codes[..., 0], expected, rtol=0, atol=1e-4)
    pixels = model.prior.pseudo_inputs[:, 0, 0, 0].detach()
    distance, nearest = (codes[..., 1, None] - pixels).abs().min(-1)
    assert distance.max() < 1e-4
    assert (nearest.flatten().bincount(minlength=3) > 200).all()  # each of the three about 267 times


def test_a_vamp_prior_of_posteriors_that_are_not_diagonal() -> None:
    class Correlated(Encoder):
        def __init__(self, latent_dim: int, num_classes: int | None = None) -> None:
            super().__init__()
            self.latent_dim = latent_dim
            self.num_classes = num_classes
            self.inner = MLPEncoder(latent_dim, SHAPE, (4,))

        def forward(self, x: Tensor, y: Tensor | None = None) -> td.Distribution:
            return td.MultivariateNormal(self.inner(x).mean, torch.eye(self.latent_dim) + 0.5)

    model = VAE(2, SHAPE, encoder=Correlated(2), prior=VampPrior(3))
    assert model.sample(4).shape == (4, *SHAPE)
    assert model.latent_prior().log_prob(torch.randn(4, 2)).shape == (4,)
    message = r"expected an encoder that returns DiagonalNormal, for a VampPrior that sees labels, got a Multivariate"
    with pytest.raises(ComponentError, match=message):
        VAE(2, SHAPE, encoder=Correlated(2, CLASSES), prior=VampPrior(3), num_classes=CLASSES)


@pytest.mark.parametrize("as_uint8", [True, False])
def test_a_vamp_prior_starts_from_images(as_uint8: bool) -> None:
    model = model_with(VampPrior(4))
    x = torch.randint(0, 256, (4, *SHAPE), dtype=torch.uint8)
    x[0, 0, 0, :2] = torch.tensor([0, 255], dtype=torch.uint8)
    model.prior.start_from(x if as_uint8 else (x / 255).numpy())
    # A pixel at 0 or 1 stays a hundredth away, from where it can still learn.
    torch.testing.assert_close(model.prior.pseudo_inputs, (x / 255).clamp(0.01, 0.99))
    model.latent_prior().log_prob(torch.randn(5, 2)).sum().backward()
    assert (model.prior.logits.grad.abs() > 0).all()
    density = sum(model.encode(one[None]).log_prob(torch.zeros(2)).exp() for one in model.prior.pseudo_inputs) / 4
    torch.testing.assert_close(model.latent_prior().log_prob(torch.zeros(1, 2)), density.log())


def test_a_vamp_prior_takes_flat_images_and_keeps_its_dtype() -> None:
    model = model_with(VampPrior(2)).double()
    x = torch.rand(2, 16)
    model.prior.start_from(x)
    assert model.prior.pseudo_inputs.dtype is torch.float64
    torch.testing.assert_close(
        model.prior.pseudo_inputs, x.double().reshape(2, *SHAPE).clamp(0.01, 0.99), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.rand(3, *SHAPE), "expected 4 images, one for each component, got 3: take as many"),
        (torch.rand(5, *SHAPE), "expected 4 images, one for each component, got 5: take as many"),
        (torch.rand(0, *SHAPE), "expected "),
        (torch.rand(4, 1, 5, 5), r"expected images of shape .*, got "),
        (torch.rand(*SHAPE), "expected "),
        (torch.full((4, *SHAPE), 2.0), r"expected images in \[0, 1\], got a maximum of 2.0"),
        (torch.full((4, *SHAPE), math.nan), "expected "),
    ],
    ids=["fewer", "more", "none", "other shape", "one image", "above 1", "nan"],
)
def test_a_vamp_prior_refuses_other_images_and_stays_as_it_was(images: Tensor, message: str) -> None:
    model = model_with(VampPrior(4))
    before = model.prior.pseudo_inputs.clone()
    with pytest.raises(DataError, match=message):
        model.prior.start_from(images)
    assert torch.equal(model.prior.pseudo_inputs, before)


def test_a_vamp_prior_without_a_model_says_what_to_do() -> None:
    prior = VampPrior(4)
    message = r"expected a VampPrior that is part of a model, got one that is not: pass it to VAE\(prior=\.\.\.\) first"
    for use in (lambda: prior.pseudo_inputs, lambda: prior.start_from(torch.rand(4, *SHAPE))):
        with pytest.raises(ComponentError, match=message):
            use()
    with pytest.raises(
        ComponentError, match=r"expected the model's encoder for a VampPrior, got none: call it through"
    ):
        prior()
    with pytest.raises(ComponentError, match=message):
        prior(encode=lambda x, y: DiagonalNormal(torch.zeros(len(x), 2), torch.zeros(len(x), 2)))
    model = model_with(prior)
    with pytest.raises(ComponentError, match=r"expected the model's encoder for a VampPrior, got none: .*latent_prior"):
        model.prior()


@pytest.mark.parametrize(
    "second",
    [
        lambda prior: VAE(2, (1, 5, 4), prior=prior),
        lambda prior: VAE(3, SHAPE, prior=prior, num_classes=CLASSES),
        lambda prior: VAE(2, SHAPE, prior=prior),
    ],
    ids=["image shape", "latent size", "labels"],
)
def test_a_vamp_prior_is_not_shared_between_models_that_differ(second: Callable[[Prior], VAE]) -> None:
    prior = VampPrior(3)
    first = model_with(prior, CLASSES)
    z = torch.randn(4, 2)
    before = first.latent_prior(LABELS).log_prob(z)
    with pytest.raises(ComponentError, match=r"expected a VampPrior .*: give each model a prior of its own"):
        second(prior)
    assert prior.latent_dim == 2  # the refusal leaves the first model's prior as it was
    assert torch.equal(first.latent_prior(LABELS).log_prob(z), before)


def test_a_vamp_prior_may_go_to_another_model_of_the_same_sizes() -> None:
    prior = VampPrior(3)
    first = model_with(prior)
    logits = prior.logits
    second = model_with(prior)
    assert prior.logits is logits
    z = torch.randn(4, 2)
    assert not torch.equal(first.latent_prior().log_prob(z), second.latent_prior().log_prob(z))


# ----------------------------------------------------------------------------------------------------------- Flow


@pytest.mark.parametrize("latent_dim", [1, 2, 3, 5])
@pytest.mark.parametrize("kind", ["realnvp", "maf", "nsf"])
def test_a_flow_starts_as_the_standard_normal(kind: Any, latent_dim: int) -> None:
    prior = Flow(latent_dim, kind, transforms=3, hidden=(8, 8))
    z = 2 * torch.randn(50, latent_dim)
    expected = StandardNormal(latent_dim)().log_prob(z)
    torch.testing.assert_close(prior().log_prob(z), expected, rtol=1e-4, atol=1e-4)
    torch.manual_seed(1)
    drawn = prior().sample(torch.Size([50]))
    torch.manual_seed(1)
    torch.testing.assert_close(drawn, torch.randn(50, latent_dim), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["realnvp", "maf", "nsf"])
def test_the_density_of_a_flow_is_that_of_its_noise_times_the_volume_it_takes(kind: Any) -> None:
    prior = stirred(Flow(3, kind, transforms=2, hidden=(6,)).double(), 0.4)
    # Towards the noise is the direction that is one pass of each network, and training takes it.
    f = prior.normalize()
    for z in torch.randn(4, 3, dtype=torch.float64):
        jacobian = torch.autograd.functional.jacobian(f, z)
        expected = td.Normal(0.0, 1.0).log_prob(f(z)).sum() + jacobian.det().abs().log()
        torch.testing.assert_close(prior().log_prob(z), expected)


@pytest.mark.parametrize(("kind", "untouched", "affine"), [("realnvp", 2, True), ("maf", 0, True), ("nsf", 0, False)])
def test_one_transform_of_a_flow_is_of_its_kind(kind: Any, untouched: int, affine: bool) -> None:
    prior = stirred(Flow(4, kind, transforms=1, hidden=(6,)).double(), 0.6)
    f = prior.normalize()
    z, one = torch.rand(4, dtype=torch.float64), torch.eye(4, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(f, z)
    assert int((f(z) == z).sum()) == untouched
    # Each coordinate depends on itself and, but for the first or the untouched ones, on some that come before.
    own = jacobian.diagonal()
    assert (own > 0).all()
    assert int(((jacobian - own.diag()).abs() > 1e-12).sum()) == (4 if untouched else 6)
    bend = torch.stack([(f(z + e) - 2 * f(z) + f(z - e))[i] for i, e in enumerate(one)])
    assert bool((bend.abs() < 1e-12).all()) is affine


@pytest.mark.parametrize("kind", ["realnvp", "maf", "nsf"])
def test_a_flow_has_the_transforms_and_widths_asked_for(kind: Any) -> None:
    def count(transforms: int, hidden: tuple[int, ...]) -> int:
        return sum(p.numel() for p in Flow(4, kind, transforms, hidden).parameters())

    per_transform = count(1, (6, 5))
    assert count(3, (6, 5)) == 3 * per_transform
    assert count(1, (7, 5)) > per_transform
    assert count(1, (6, 6)) > per_transform
    assert count(1, (5,)) < per_transform


@pytest.mark.parametrize("kind", ["realnvp", "maf", "nsf"])
def test_a_draw_from_a_flow_carries_gradients(kind: Any) -> None:
    prior = Flow(2, kind, transforms=2, hidden=(4,))
    prior().rsample(torch.Size([50])).square().sum().backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in prior.parameters())
    assert not prior().sample().requires_grad


def test_temperature_scales_the_base_of_a_flow() -> None:
    prior = stirred(Flow(2, "maf", transforms=2, hidden=(4,)), 0.5)
    noise = torch.randn(6, 2)
    p = prior()
    torch.manual_seed(1)
    drawn = tempered(p, 0.5).sample(torch.Size([6]))
    torch.manual_seed(1)
    torch.testing.assert_close(drawn, p.normalize.inv(0.5 * torch.randn(6, 2)).detach())
    z = p.normalize.inv(noise)
    _, log_determinant = p.normalize.call_and_ladj(z)
    base = DiagonalNormal(torch.zeros(2), torch.full((2,), 2 * math.log(0.5)))
    torch.testing.assert_close(
        tempered(p, 0.5).log_prob(z), base.log_prob(noise) + log_determinant, rtol=1e-3, atol=1e-3
    )


def test_a_flow_without_zuko_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("zuko", "zuko.flows"):
        monkeypatch.setitem(sys.modules, name, None)
    defaults = dict(vars(td.Distribution))
    with pytest.raises(ComponentError, match=r"expected the library zuko for a flow, got .*mnistvae\[flows\]"):
        Flow(2)
    assert dict(vars(td.Distribution)) == defaults
    assert StandardNormal(2)().sample().shape == (2,)  # the other priors do without


def test_zuko_leaves_torchs_defaults_as_they_were() -> None:
    # In a process of its own: here zuko may have been imported long ago.
    code = """
import sys
from torch.distributions import Distribution, Normal
before = dict(vars(Distribution))
from mnistvae.priors import Flow
assert "zuko" not in sys.modules, "imported before it is used"
flow = Flow(2, transforms=1, hidden=(4,))
flow().log_prob(flow().sample())
assert "zuko" in sys.modules
after = dict(vars(Distribution))
assert after.keys() == before.keys(), after.keys() ^ before.keys()
changed = [name for name in before if before[name] is not after[name]]
assert not changed, changed
try:
    Normal(0.0, -1.0)
except ValueError:
    print("still validates")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["still", "validates"]


# --------------------------------------------------------------------------------------------------------- errors

MAKERS: dict[str, Callable[..., Prior]] = {
    "StandardNormal": StandardNormal,
    "GaussianMixture": GaussianMixture,
    "Flow": Flow,
    "SecondStage": SecondStage,
}


@pytest.mark.parametrize("value", [0, -1, 1.5, "2", None, True])
@pytest.mark.parametrize("make", list(MAKERS))
def test_latent_dim_is_a_positive_integer(make: str, value: Any) -> None:
    with pytest.raises(SettingError, match="expected latent_dim as an integer of at least 1, got"):
        MAKERS[make](value)


@pytest.mark.parametrize("value", [0, -1, 1.5, "2", None, True])
@pytest.mark.parametrize("make", [VampPrior, lambda value: GaussianMixture(2, components=value)])
def test_components_are_a_positive_integer(make: Callable[[Any], Prior], value: Any) -> None:
    with pytest.raises(SettingError, match="expected components as an integer of at least 1, got"):
        make(value)


@pytest.mark.parametrize("value", [0, -1, 1.5, "2", None, True])
def test_transforms_are_a_positive_integer(value: Any) -> None:
    with pytest.raises(SettingError, match="expected transforms as an integer of at least 1, got"):
        Flow(2, transforms=value)


@pytest.mark.parametrize("hidden", [(), (0,), (8, -1), 8, (8.0,), None])
@pytest.mark.parametrize("make", [Flow, SecondStage])
def test_hidden_widths_are_positive_integers(make: Any, hidden: Any) -> None:
    with pytest.raises(SettingError, match="expected hidden as one or more positive integers, got"):
        make(2, hidden=hidden)


@pytest.mark.parametrize("value", [0, -1, 1.5, "2", True])
@pytest.mark.parametrize("name", ["second_dim", "num_samples"])
def test_numbers_of_a_second_stage_are_positive_integers(name: str, value: Any) -> None:
    with pytest.raises(SettingError, match=f"expected {name} as an integer of at least 1"):
        SecondStage(2, **{name: value})


@pytest.mark.parametrize("kind", ["glow", "RealNVP", None, 1])
def test_an_unknown_kind_of_flow_is_refused(kind: Any) -> None:
    with pytest.raises(
        SettingError, match=r"expected kind as one of 'realnvp', 'maf', 'nsf', got .*: check the spelling"
    ):
        Flow(2, kind)


@pytest.mark.parametrize("covariance", ["spherical", "Full", None, 1])
def test_an_unknown_covariance_is_refused(covariance: Any) -> None:
    with pytest.raises(SettingError, match=r"expected covariance as one of 'diag', 'full', got .*: check the spelling"):
        GaussianMixture(2, covariance=covariance)


def test_numpys_integers_are_taken() -> None:
    two = np.int64(2)
    for prior in (
        StandardNormal(two),
        GaussianMixture(two, two, "full"),
        Flow(two, "maf", two, (4,)),
        SecondStage(two, two, (two,), two),
    ):
        assert prior().sample().shape == (2,)
        assert "int64" not in repr(prior)


def test_a_prior_of_another_size_than_the_model_is_refused() -> None:
    for prior in (StandardNormal(3), GaussianMixture(3), Flow(3, "maf", 1, (4,)), SecondStage(3)):
        with pytest.raises(ComponentError, match="expected a prior with latent_dim=2, got latent_dim=3"):
            model_with(prior)


def test_the_contract_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Prior()


def test_a_prior_of_ones_own_needs_no_more_than_forward() -> None:
    class Shifted(Prior):
        def __init__(self, by: float) -> None:
            super().__init__()
            self.by = by

        def forward(self, y: Tensor | None = None, *, encode: Any = None) -> td.Distribution:
            return td.Independent(td.Normal(torch.full((LATENT,), self.by), 1.0), 1)

    model = model_with(Shifted(2.0))
    model.objective = ELBO()
    x = torch.rand(3, *SHAPE)
    posterior = model.encode(x)
    expected = td.kl_divergence(posterior.base_dist, td.Normal(2.0, 1.0)).sum(1)
    torch.testing.assert_close(model.loss(x).kl, expected)
    assert list(itertools.chain(model.prior.parameters())) == []
