"""Every objective with every likelihood, prior, network and conditioning: a new idea is a new part, not a new model."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from readback import stirred
from torch import Tensor, nn

from mnistvae import VAE, ImageDataset, Trainer, likelihoods, load, objectives, priors, save, schedules
from mnistvae.images import ImageShape
from mnistvae.likelihoods import (
    Autoregressive,
    Bernoulli,
    Categorical,
    ContinuousBernoulli,
    DiscretizedLogistic,
    Gaussian,
    Likelihood,
    LogisticMixture,
)
from mnistvae.networks import (
    ConvDecoder,
    ConvEncoder,
    Decoder,
    Encoder,
    GaussianEncoder,
    MLPDecoder,
    MLPEncoder,
    ResNetDecoder,
    ResNetEncoder,
    TrunkDecoder,
)
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
    Objective,
    SemiSupervised,
    Terms,
)
from mnistvae.priors import Flow, GaussianMixture, Prior, SecondStage, StandardNormal, VampPrior
from mnistvae.schedules import Cosine, Cyclical, Linear

LATENT = 3
CLASSES = 2
BATCH = 4
SHAPE: ImageShape = (1, 8, 8)

OBJECTIVES: dict[str, Callable[[], Objective]] = {
    "elbo": lambda: ELBO(beta=2.0),
    "elbo-linear": lambda: ELBO(schedule=Linear(2)),
    "elbo-free-bits": lambda: ELBO(free_bits=1e-3),
    "elbo-capacity": lambda: ELBO(beta=3.0, schedule=Cosine(2), capacity=0.5),
    "iwae": lambda: IWAE(num_samples=3),
    "iwae-doubly": lambda: IWAE(num_samples=3, gradient="doubly-reparameterized"),
    "beta-tc": BetaTC,
    "iwae-partial": lambda: IWAE(num_samples=2, groups=2, partial=True),
    "info": lambda: InfoVAE(0.5, 3.0),
    "dip": DIPVAE,
    "factor": lambda: FactorVAE(2.0, hidden=(8, 8)),
    "adversarial": lambda: AdversarialAutoencoder(2.0, 0.5, hidden=(8,)),
    "consistency": lambda: Consistency(max_shift=1.0),
    "denoising": lambda: Denoising(amount=0.1),
    "penalty": lambda: DecoderPenalty(weights=1e-3, gradient=0.1),
    "semi-supervised": lambda: SemiSupervised(nn.Sequential(nn.Flatten(), nn.LazyLinear(CLASSES)), 2.0),
}
#: Those of a conditional model alone.
OF_LABELS = ("semi-supervised",)
#: Those whose loss of an image is also about the other images.
OF_A_BATCH = ("beta-tc", "info", "dip", "factor", "adversarial")
LIKELIHOODS: dict[str, Callable[[], Likelihood]] = {
    "bernoulli": Bernoulli,
    "continuous-bernoulli": ContinuousBernoulli,
    "gaussian": lambda: Gaussian(0.5),
    "gaussian-identity": lambda: Gaussian(0.5, link="identity"),
    "gaussian-learned": lambda: Gaussian("learned"),
    "gaussian-per-pixel": lambda: Gaussian("per-pixel"),
    "discretized-logistic": lambda: DiscretizedLogistic(levels=16),
    "logistic-mixture": lambda: LogisticMixture(components=3, levels=16),
    "categorical": lambda: Categorical(levels=4),
    "autoregressive": lambda: Autoregressive(features=1, channels=3, layers=1, kernel_size=3),
}
PRIORS: dict[str, Callable[[], Prior]] = {
    "standard": lambda: StandardNormal(LATENT),
    "mixture-diag": lambda: GaussianMixture(LATENT, 3),
    "mixture-full": lambda: GaussianMixture(LATENT, 3, "full"),
    "vamp": lambda: VampPrior(3),
    "realnvp": lambda: Flow(LATENT, "realnvp", 2, (4,)),
    "maf": lambda: Flow(LATENT, "maf", 2, (4,)),
    "nsf": lambda: Flow(LATENT, "nsf", 1, (4,)),
    "second-stage": lambda: SecondStage(LATENT, hidden=(4,), num_samples=2),
}

Networks = Callable[[ImageShape, int | None, int], tuple[Encoder, Decoder]]


def _trunks(shape: ImageShape, classes: int | None, n_params: int) -> tuple[Encoder, Decoder]:
    channels, height, width = shape
    down = nn.Sequential(nn.Conv2d(channels, 2, 3, stride=3), nn.Tanh())
    up = nn.Sequential(nn.Linear(LATENT, 4), nn.Tanh(), nn.Linear(4, channels * n_params * height * width))
    return GaussianEncoder(down, LATENT, classes), TrunkDecoder(up, LATENT, shape, n_params, classes)


NETWORKS: dict[str, Networks] = {
    "mlp": lambda shape, k, n: (
        MLPEncoder(LATENT, shape, (5,), nn.Tanh(), k),
        MLPDecoder(LATENT, shape, (5,), nn.Tanh(), k, n),
    ),
    "conv": lambda shape, k, n: (
        ConvEncoder(LATENT, shape, (2, 3), nn.SiLU(), k),
        ConvDecoder(LATENT, shape, (3, 2), nn.SiLU(), k, n),
    ),
    "resnet": lambda shape, k, n: (
        ResNetEncoder(LATENT, shape, (3, 6), (1, 1), 5, 0.1, k),
        ResNetDecoder(LATENT, shape, (6, 3), (1, 1), 5, 0.1, k, n),
    ),
    "trunks": _trunks,
    "conv-to-mlp": lambda shape, k, n: (
        ConvEncoder(LATENT, shape, (2,), nn.Tanh(), k),
        MLPDecoder(LATENT, shape, (5,), nn.Tanh(), k, n),
    ),
}


class Choice(NamedTuple):
    """One part of each kind, by name."""

    objective: str = "elbo"
    likelihood: str = "bernoulli"
    prior: str = "standard"
    network: str = "mlp"
    conditional: bool = False
    dtype: torch.dtype = torch.float32

    @property
    def told(self) -> bool:
        """True for a model that is told the label."""
        return self.conditional or self.objective in OF_LABELS

    def model(self, shape: ImageShape = SHAPE) -> VAE:
        """The model, in the second of its training steps and away from its start.

        Its posteriors are narrow and beside the prior, so that an estimate of the KL term at one code, with which
        the free bits go, is above zero.
        """
        likelihood, classes = LIKELIHOODS[self.likelihood](), CLASSES if self.told else None
        if isinstance(likelihood, Autoregressive):
            likelihood = Autoregressive(None, 1, 3, 1, 3, image_channels=shape[0])
        encoder, decoder = NETWORKS[self.network](shape, classes, likelihood.n_params)
        made = VAE(
            LATENT,
            shape,
            encoder=encoder,
            decoder=decoder,
            likelihood=likelihood,
            prior=PRIORS[self.prior](),
            objective=OBJECTIVES[self.objective](),
            num_classes=classes,
        )
        made.objective.advance(1)
        stirred(made, 0.3)
        (*_, bias) = (p for p in made.encoder.parameters() if p.shape == (2 * LATENT,))
        with torch.no_grad():
            bias += torch.tensor([1.0, -3.0]).repeat_interleave(LATENT)
        return made.to(self.dtype)

    def labels(self, n: int = BATCH) -> Tensor | None:
        return torch.arange(n) % CLASSES if self.told else None

    def __str__(self) -> str:
        labels = "conditional" if self.told else "plain"
        dtype = "" if self.dtype is torch.float32 else "-float64"
        return f"{self.objective}-{self.likelihood}-{self.prior}-{self.network}-{labels}{dtype}"


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(shape: ImageShape = SHAPE, n: int = BATCH, seed: int = 1) -> Tensor:
    return torch.rand(n, *shape, generator=generator(seed))


def check_loss(choice: Choice, shape: ImageShape = SHAPE) -> None:
    """The loss has one finite value an image, and its gradient reaches every number that there is to learn."""
    model = choice.model(shape)
    terms = model.loss(pictures(shape), choice.labels())
    for name, value in terms.by_name().items():
        assert value.shape == (BATCH,), name
        assert value.dtype is choice.dtype, name
        assert value.isfinite().all(), name
    terms.loss.mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 1e-9, name  # less would be the rounding of a gradient that is not there


def check_verbs(choice: Choice, shape: ImageShape = SHAPE) -> None:
    """Images come out of every verb: in shape, in range, without a gradient, and the model stays in its mode."""
    model, x, y = choice.model(shape), pictures(shape), choice.labels()
    drawn = {
        "sample": model.sample(BATCH, y),
        "tempered": model.sample(BATCH, y, temperature=0.5),
        "frozen": model.sample(BATCH, y, temperature=0.0),
        "reconstruct": model.reconstruct(x, y),
        "drawn again": model.reconstruct(x, y, sample=True),
    }
    for name, images in drawn.items():
        assert images.shape == (BATCH, *shape), name
        check_images(choice, images, name)
    between = model.interpolate(x[0], x[1], 3, 1 if choice.told else None)
    assert between.shape == (3, *shape)
    check_images(choice, between, "interpolate")
    ends = model.interpolate(x, x, 2, y)
    assert ends.shape == (BATCH, 2, *shape)
    for end in ends.unbind(1):  # each under its own label
        torch.testing.assert_close(end, drawn["reconstruct"], rtol=1e-4, atol=1e-5)
    warm, cool = (
        model.sample(8, 8 * [0] if choice.told else None, temperature=t, generator=generator(5)) for t in (1.0, 0.5)
    )
    assert not torch.equal(warm, cool)
    if choice.told:
        assert model.sample(BATCH, 1).shape == model.sample(BATCH).shape == (BATCH, *shape)
    out = model(x, y)
    assert out.z.shape == (BATCH, LATENT)
    assert out.reconstruction.shape == (BATCH, *shape)
    assert model.latent_prior(y).log_prob(out.z).shape == (BATCH,)
    assert model.training


def check_images(choice: Choice, images: Tensor, name: str) -> None:
    assert images.dtype is choice.dtype, name
    assert not images.requires_grad, name
    assert images.isfinite().all(), name
    if choice.likelihood != "gaussian-identity":  # it has a test of its own
        assert images.min() >= 0, name
        assert images.max() <= 1, name


# ------------------------------------------------------------------------------------------- all, with the MLP

EVERY = [
    Choice(o, lik, p, "mlp", c)
    for c, o, lik, p in product((False, True), OBJECTIVES, LIKELIHOODS, PRIORS)
    if c or o not in OF_LABELS
]


#: Those that go with encoders of their own: test_categorical, test_quantized and test_tokens have them.
ELSEWHERE = {priors.Joint, priors.TokenPrior, priors.UniformCategorical, priors.UniformSphere, priors.UniformTokens}


def test_every_public_part_takes_part() -> None:
    for module, base, makers in (
        (objectives, Objective, OBJECTIVES),
        (likelihoods, Likelihood, LIKELIHOODS),
        (priors, Prior, PRIORS),
    ):
        public = {getattr(module, name) for name in module.__all__}
        classes = {part for part in public if isinstance(part, type) and issubclass(part, base) and part is not base}
        assert classes - ELSEWHERE == {type(make()) for make in makers.values()}


def test_objectives_of_whole_batches_say_so() -> None:
    found = {name for name, make in OBJECTIVES.items() if make().of_a_batch}
    assert found == {*OF_A_BATCH, "elbo-free-bits"}


@pytest.mark.parametrize("choice", EVERY, ids=str)
def test_a_loss_of_any_parts(choice: Choice) -> None:
    check_loss(choice)


@pytest.mark.parametrize(
    "choice", [c for c in EVERY if c.likelihood == "bernoulli" and c.objective not in OF_A_BATCH], ids=str
)
def test_the_loss_of_an_image_is_its_own(choice: Choice) -> None:
    model, x, y = choice.model(), pictures(), choice.labels()
    others = pictures(seed=9)
    others[0] = x[0]
    labels = None if y is None else torch.cat([y[:1], 1 - y[1:]])
    losses = []
    for images, classes in ((x, y), (others, labels)):
        torch.manual_seed(3)
        losses.append(model.loss(images, classes).loss)
    torch.testing.assert_close(losses[0][0], losses[1][0])
    assert (losses[0][1:] != losses[1][1:]).all()


@pytest.mark.parametrize(
    "choice", [c for c in EVERY if c.objective == "elbo"], ids=lambda c: str(c).removeprefix("elbo-")
)
def test_images_of_any_parts(choice: Choice) -> None:
    check_verbs(choice)


@pytest.mark.parametrize("verb", ["sample", "reconstruct", "interpolate"])
def test_images_are_in_range_also_where_the_decoder_is_not(verb: str) -> None:
    model = Choice(likelihood="gaussian-identity").model()
    last = [m for m in model.decoder.modules() if isinstance(m, nn.Linear)][-1]
    with torch.no_grad():
        last.bias.copy_(torch.linspace(-2, 3, len(last.bias)))
    x = pictures()
    arguments = {"sample": (4,), "reconstruct": (x,), "interpolate": (x[0], x[1], 3)}[verb]
    images = getattr(model, verb)(*arguments)
    assert images.min() >= 0
    assert images.max() <= 1


# -------------------------------------------------------------------------------------- the networks, one by one

OTHER_NETWORKS = [name for name in NETWORKS if name != "mlp"]
WITH_NETWORKS = [
    Choice(objective, likelihood, prior, network, conditional)
    for network, conditional in product(OTHER_NETWORKS, (False, True))
    for objective, likelihood, prior in [
        *((name, "bernoulli", "standard") for name in OBJECTIVES),
        *(("elbo", name, "standard") for name in LIKELIHOODS if name != "bernoulli"),
        *(("elbo", "bernoulli", name) for name in PRIORS if name != "standard"),
        ("iwae-doubly", "gaussian-per-pixel", "vamp"),
    ]
    if conditional or objective not in OF_LABELS
]


def shape_for(choice: Choice) -> ImageShape:
    """Colours and odd sides for one half of them."""
    return SHAPE if choice.conditional else (2, 9, 11)


@pytest.mark.parametrize("choice", WITH_NETWORKS, ids=str)
def test_a_loss_with_any_network(choice: Choice) -> None:
    check_loss(choice, shape_for(choice))


@pytest.mark.parametrize("choice", [c for c in WITH_NETWORKS if c.likelihood != "bernoulli"], ids=str)
def test_images_with_any_network(choice: Choice) -> None:
    check_verbs(choice, shape_for(choice))


# ----------------------------------------------------------------------- a subset that covers: trained and saved


def _covering() -> list[Choice]:
    """A row for every objective and likelihood, in which every two other parts of different kinds meet, too."""
    rows = []
    for (i, objective), (j, likelihood) in product(enumerate(OBJECTIVES), enumerate(LIKELIHOODS)):
        prior = list(PRIORS)[(i + j) % len(PRIORS)]
        network = list(NETWORKS)[(i + 2 * j) % len(NETWORKS)]
        conditional = (i + 3 * j) % 7 % 2 == 1
        dtype = torch.float64 if (i + 4 * j) % 7 % 2 else torch.float32
        rows.append(Choice(objective, likelihood, prior, network, conditional, dtype))
    return rows


COVERING = _covering()


def test_the_subset_covers_every_pair() -> None:
    kinds: list[list[Any]] = [
        list(OBJECTIVES),
        list(LIKELIHOODS),
        list(PRIORS),
        list(NETWORKS),
        [False, True],
        [torch.float32, torch.float64],
    ]
    for i in range(len(kinds)):
        for j in range(i):
            assert {(row[i], row[j]) for row in COVERING} == set(product(kinds[i], kinds[j])), (i, j)


def digits(n: int = 12) -> ImageDataset:
    pixels = torch.randint(0, 256, (n, *SHAPE), dtype=torch.uint8, generator=generator(2))
    return ImageDataset(pixels, torch.arange(n) % CLASSES, name="tiny")


def terms_of(model: VAE, choice: Choice) -> Terms:
    torch.manual_seed(7)
    return model.loss(pictures(), choice.labels())


@pytest.mark.parametrize("choice", COVERING, ids=str)
def test_what_was_trained_is_saved_and_read_to_the_bit(choice: Choice, tmp_path: Path) -> None:
    model, data = choice.model(), digits()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    history = Trainer(1, 6, device="cpu", progress=False).fit(model, data, data)
    assert all(isinstance(value, float | int) and abs(value) < 1e6 for value in history[0].values())
    for (name, parameter), earlier in zip(model.named_parameters(), before, strict=True):
        assert parameter.dtype is choice.dtype, name
        assert not torch.equal(parameter, earlier), name

    same = load(save(model, tmp_path / "model.safetensors"))
    assert repr(same) == repr(model)
    assert all(parameter.dtype is choice.dtype for parameter in same.parameters())
    first, second = terms_of(model, choice), terms_of(same, choice)
    for name, value in first.by_name().items():
        assert value.dtype is choice.dtype, name
        assert torch.equal(value, second.by_name()[name]), name
    drawn = [each.sample(3, generator=generator(5)) for each in (model, same)]
    assert torch.equal(*drawn)


@pytest.mark.parametrize("choice", [row for row in COVERING if row.dtype is torch.float64], ids=str)
def test_double_precision_stays_double(choice: Choice) -> None:
    check_loss(choice)
    check_verbs(choice)


# ----------------------------------------------------------------------------------------------------- schedules


@pytest.mark.parametrize(
    "make", [lambda: Linear(3, 0.25), lambda: Cosine(3), lambda: Cyclical(4, 2)], ids=["linear", "cosine", "cyclical"]
)
@pytest.mark.parametrize("capacity", [None, 2.0])
@pytest.mark.parametrize("prior", PRIORS)
def test_any_schedule_moves_any_prior(
    make: Callable[[], schedules.Schedule], capacity: float | None, prior: str
) -> None:
    schedule = make()
    model = Choice(prior=prior).model()
    model.objective = ELBO(2.0, schedule, capacity=capacity)
    for step in range(6):
        model.objective.advance(step)
        terms = terms_of(model, Choice())
        factor = schedule(step)
        cost = 2 * factor * terms.kl if capacity is None else 2 * (terms.kl - 2.0 * factor).abs()
        torch.testing.assert_close(terms.loss, terms.reconstruction + cost)
