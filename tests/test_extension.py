"""Parts of a user's own: each contract is enough to train, save and load, and goes with every other part."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.distributions as td
from torch import Tensor, nn

from mnistvae import VAE, ConditionalVAE, History, ImageDataset, Trainer, io, load, save
from mnistvae._parts import check_terms
from mnistvae.errors import ComponentError, FileFormatError
from mnistvae.images import ImageShape
from mnistvae.likelihoods import Bernoulli, Likelihood
from mnistvae.networks import Decoder, Encoder, GaussianEncoder, MLPDecoder, MLPEncoder, TrunkDecoder
from mnistvae.objectives import ELBO, IWAE, BetaTC, Objective, Terms
from mnistvae.priors import Flow, GaussianMixture, Prior, SecondStage, StandardNormal, VampPrior
from mnistvae.schedules import Linear, Schedule

SHAPE: ImageShape = (1, 8, 8)
CLASSES = 3


# ------------------------------------------------------------------------------------------- what users write


class PatchEncoder(Encoder):
    """Torch's own normal on the means of patches; the label adds to its mean."""

    def __init__(self, latent_dim: int, patch: int = 4, num_classes: int | None = None) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.patch = patch
        self.num_classes = num_classes
        self.layer = nn.LazyLinear(latent_dim)
        self.spread = nn.Parameter(torch.full((latent_dim,), -1.0))
        self.shift = None if num_classes is None else nn.Embedding(num_classes, latent_dim)

    def forward(self, x: Tensor, y: Tensor | None = None) -> td.Independent[td.Normal]:
        mean = self.layer(nn.functional.avg_pool2d(x, self.patch).flatten(1))
        if self.shift is not None:
            mean = mean + self.shift(y)
        return td.Independent(td.Normal(mean, self.spread.exp().expand_as(mean)), 1)


class OuterDecoder(Decoder):
    """A row and a column for each code, multiplied."""

    def __init__(self, latent_dim: int, image_shape: ImageShape, n_params: int = 1) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.image_shape = image_shape
        self.n_params = n_params
        channels, height, width = image_shape
        self.rows = nn.Linear(latent_dim, channels * n_params * height)
        self.columns = nn.Linear(latent_dim, channels * n_params * width)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        channels, height, width = self.image_shape
        rows = self.rows(z).reshape(-1, channels * self.n_params, height, 1)
        columns: Tensor = self.columns(z).reshape(-1, channels * self.n_params, 1, width)
        return rows * columns


class Laplace(Likelihood):
    """Absolute error: two parameters a pixel, the second half the logarithms of the scale."""

    n_params = 2

    def __init__(self, floor: float = 0.05) -> None:
        super().__init__()
        self.floor = floor

    def forward(self, params: Tensor) -> td.Independent[td.Laplace]:
        mean, log_scale = params.chunk(2, dim=1)
        return td.Independent(td.Laplace(mean.sigmoid(), self.floor + log_scale.exp()), 3)

    def tag(self, binarization: str = "none") -> str:
        return "laplace" if binarization == "none" else f"laplace-on-{binarization}-binary"


class StudentPrior(Prior):
    """Heavy tails, of which no KL divergence is known; its width is learned."""

    def __init__(self, latent_dim: int, df: float = 3.0) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.df = df
        self.log_scale = nn.Parameter(torch.zeros(latent_dim))

    def forward(self, y: Tensor | None = None, *, encode: Any = None) -> td.Independent[td.StudentT]:
        return td.Independent(td.StudentT(torch.full_like(self.log_scale, self.df), 0.0, self.log_scale.exp()), 1)


class ClassPrior(Prior):
    """A normal for each class; how many there are, the model tells it."""

    def __init__(self, spread: float = 1.0) -> None:
        super().__init__()
        self.spread = spread

    def attach(self, latent_dim: int, image_shape: ImageShape, num_classes: int | None) -> None:
        assert num_classes is not None
        self.latent_dim = latent_dim
        self.centres = nn.Embedding(num_classes, latent_dim)

    def forward(self, y: Tensor | None = None, *, encode: Any = None) -> td.Independent[td.Normal]:
        return td.Independent(td.Normal(self.centres(y), self.spread), 1)


class ShrunkELBO(Objective):
    """The ELBO and a price on the size of the mean, which grows with the steps and is saved with the model."""

    price: Tensor
    images: Tensor

    def __init__(self, rate: float = 0.1) -> None:
        super().__init__()
        self.rate = rate
        self.inner = ELBO()
        self.register_buffer("price", torch.zeros(()))
        self.register_buffer("images", torch.zeros((), dtype=torch.long))

    def prepare(self, num_images: int | None) -> None:
        self.images.fill_(num_images or 0)

    def advance(self, step: int) -> None:
        self.price.fill_(self.rate * step)

    def forward(self, model: Any, x: Tensor, y: Tensor | None = None) -> Terms:
        terms: Terms = self.inner(model, x, y)
        return terms._replace(loss=terms.loss + self.price * model.encode(x, y).mean.square().sum(-1))


class Bump(Schedule):
    """Up and down again in so many steps."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def forward(self, step: int, steps: int | None = None) -> float:
        return math.sin(math.pi * min(1.0, (step + 1) / self.steps))


class Supervised(VAE):
    """A VAE with a classifier on its codes."""

    def __init__(self, latent_dim: int, weight: float = 1.0, num_outputs: int = CLASSES, **parts: Any) -> None:
        super().__init__(latent_dim, **parts)
        self.weight = weight
        self.num_outputs = num_outputs
        self.head = nn.Linear(latent_dim, num_outputs)

    @property
    def uses_labels(self) -> bool:
        return True

    def loss(self, x: Any, y: Any = None) -> Terms:
        terms = super().loss(x)
        if y is None:
            return terms
        error = nn.functional.cross_entropy(self.head(self.encode(x).mean), y, reduction="none")
        return terms._replace(loss=terms.loss + self.weight * error, extra={**terms.extra, "classification": error})


class Features(nn.Module):
    """A plain module that knows nothing of VAEs."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.layer = nn.Conv2d(1, width, 3, stride=3)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.layer(x).tanh()
        return features


class Canvas(nn.Module):
    """A plain module that knows nothing of VAEs."""

    def __init__(self, latent_dim: int, side: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.side = side
        self.layer = nn.Linear(latent_dim, side * side)

    def forward(self, z: Tensor) -> Tensor:
        image: Tensor = self.layer(z).reshape(-1, self.side, self.side)
        return image


# ------------------------------------------------------------------------------------- one contract for all of them


class Case(NamedTuple):
    """A model with a part of a user's own."""

    make: Callable[[], VAE]
    classes: list[type[nn.Module]]
    #: Where the part is in the model.
    place: str
    conditional: bool = False

    def labels(self, model: VAE, n: int) -> Tensor | None:
        return torch.arange(n) % CLASSES if model.uses_labels else None


def small(**parts: Any) -> VAE:
    parts.setdefault("encoder", MLPEncoder(2, SHAPE, (6,), nn.Tanh(), parts.get("num_classes")))
    parts.setdefault("decoder", MLPDecoder(2, SHAPE, (6,), nn.Tanh(), parts.get("num_classes")))
    return VAE(2, SHAPE, **parts)


CASES = {
    "encoder": Case(lambda: small(encoder=PatchEncoder(2, patch=2)), [PatchEncoder], "encoder"),
    "conditional encoder": Case(
        lambda: small(encoder=PatchEncoder(2, num_classes=CLASSES), num_classes=CLASSES),
        [PatchEncoder],
        "encoder",
        conditional=True,
    ),
    "decoder": Case(lambda: small(decoder=OuterDecoder(2, SHAPE)), [OuterDecoder], "decoder"),
    "likelihood": Case(
        lambda: small(likelihood=Laplace(0.1), decoder=OuterDecoder(2, SHAPE, n_params=2)),
        [Laplace, OuterDecoder],
        "likelihood",
    ),
    "prior": Case(lambda: small(prior=StudentPrior(2, df=4.0)), [StudentPrior], "prior"),
    "conditional prior": Case(
        lambda: small(prior=ClassPrior(0.5), num_classes=CLASSES), [ClassPrior], "prior", conditional=True
    ),
    "objective": Case(lambda: small(objective=ShrunkELBO(0.25)), [ShrunkELBO], "objective"),
    "schedule": Case(lambda: small(objective=ELBO(2.0, Bump(8))), [Bump], "objective.schedule"),
    "model": Case(
        lambda: Supervised(2, 2.5, image_shape=SHAPE, encoder=MLPEncoder(2, SHAPE, (6,)), objective=IWAE(2)),
        [Supervised],
        "",
    ),
    "trunk": Case(lambda: small(encoder=GaussianEncoder(Features(3), 2)), [Features], "encoder.trunk"),
    "canvas": Case(lambda: small(decoder=TrunkDecoder(Canvas(2, 8), 2, SHAPE)), [Canvas], "decoder.trunk"),
    "all at once": Case(
        lambda: Supervised(
            2,
            image_shape=SHAPE,
            encoder=GaussianEncoder(Features(2), 2),
            decoder=TrunkDecoder(nn.Sequential(Canvas(2, 8), nn.Flatten(), nn.Linear(64, 128)), 2, SHAPE, 2),
            likelihood=Laplace(),
            prior=StudentPrior(2),
            objective=ELBO(1.0, Bump(4)),
        ),
        [Supervised, Features, Canvas, Laplace, StudentPrior, Bump],
        "",
    ),
}


@pytest.fixture(params=list(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = CASES[request.param]
    return found


def digits(n: int = 32) -> ImageDataset:
    """Bright upper halves or lower halves: something to learn."""
    pixels = torch.zeros(n, *SHAPE)
    pixels[::2, :, :4] = 0.9
    pixels[1::2, :, 4:] = 0.8
    return ImageDataset(pixels, torch.arange(n) % CLASSES, name="halves")


def train(model: VAE, epochs: int = 3) -> History:
    data = digits()
    return Trainer(epochs, 8, 2e-2, device="cpu", progress=False).fit(model, data, data)


def terms_of(model: VAE, case: Case, *, training: bool = False) -> Terms:
    model.train(training)
    torch.manual_seed(11)
    return model.loss(torch.rand(6, *SHAPE, generator=torch.Generator().manual_seed(1)), case.labels(model, 6))


def test_it_trains(case: Case) -> None:
    torch.manual_seed(1)
    model = case.make()
    part = model.get_submodule(case.place)
    assert type(part) is case.classes[0]
    before = {name: value.clone() for name, value in part.named_parameters()}
    history = train(model)
    assert history.column("validation_loss") == sorted(history.column("validation_loss"), reverse=True)
    for name, value in part.named_parameters():
        assert not torch.equal(value, before[name]), name


def test_it_comes_back_from_its_file_with_the_same_loss(case: Case, tmp_path: Path) -> None:
    model = case.make()
    train(model, 1)
    path = save(model, tmp_path / "model.safetensors")
    same = load(path, classes=case.classes)
    assert type(same) is type(model)
    assert type(same.get_submodule(case.place)) is case.classes[0]
    assert repr(same) == repr(model)
    assert same.state_dict().keys() == model.state_dict().keys()
    for training in (False, True):
        for each in (model, same):
            each.objective.advance(3)
        first, second = (terms_of(each, case, training=training).by_name() for each in (model, same))
        assert all(torch.equal(first[name], second[name]) for name in first.keys() | second.keys())
        assert first["loss"].shape == (6,)
    y = 1 if case.conditional else None
    drawn = [each.sample(4, y, generator=torch.Generator().manual_seed(0)) for each in (model, same)]
    assert torch.equal(*drawn)
    assert drawn[0].shape == (4, *SHAPE)
    again = load(save(same, tmp_path / "again.safetensors"), classes=case.classes)
    assert torch.equal(terms_of(again, case).loss, terms_of(model, case).loss)


def test_without_its_class_the_error_names_it(case: Case, tmp_path: Path) -> None:
    path = save(case.make(), tmp_path / "model.safetensors")
    for missing in case.classes:
        others = [cls for cls in case.classes if cls is not missing]
        allowed = ", ".join(cls.__name__ for cls in others)
        message = (
            rf"expected the class '{missing.__name__}' \(defined in test_extension\) to be allowed, "
            rf"got classes=\[{allowed}\]: import it and pass classes=\[{missing.__name__}\]"
        )
        with pytest.raises(FileFormatError, match=message):
            load(path, classes=others)
    with pytest.raises(FileFormatError, match=r"to be allowed, got classes=\[\]"):
        load(path)
    assert io.read(path).spec["class"].endswith(type(case.make()).__name__)  # which builds nothing, and so may be read


def test_a_plain_module_needs_no_base_class(tmp_path: Path) -> None:
    for cls in (Features, Canvas):
        assert cls.__mro__ == (cls, nn.Module, object)
    with pytest.raises(ComponentError, match=r"wrap a plain module: GaussianEncoder\(module, latent_dim\)"):
        small(encoder=Features(2))
    with pytest.raises(ComponentError, match=r"wrap a plain module: TrunkDecoder\(module, latent_dim, image_shape\)"):
        small(decoder=Canvas(2, 8))


def test_a_class_of_the_same_name_is_another_one(tmp_path: Path) -> None:
    path = save(CASES["schedule"].make(), tmp_path / "model.safetensors")
    with pytest.raises(ComponentError, match="classes with different names, got two named Bump"):
        load(path, classes=[Bump, type("Bump", (Schedule,), {"forward": lambda self, step: 1.0})])
    with pytest.raises(ComponentError, match=r"classes as a list, got the class Bump: classes=\[Bump\]"):
        load(path, classes=Bump)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------ what the parts are told


def test_the_trainer_tells_an_objective_of_the_images_and_the_steps() -> None:
    objective = ShrunkELBO(0.25)
    train(small(objective=objective), 2)
    assert int(objective.images) == 32
    assert float(objective.price) == 0.25 * 7  # two epochs of four steps, counted from 0


def test_a_schedule_is_asked_for_each_step_in_turn() -> None:
    asked: list[int] = []

    class Asked(Bump):
        def forward(self, step: int) -> float:
            asked.append(step)
            return super().forward(step)

    train(small(objective=ELBO(1.0, Asked(4))), 2)
    assert asked == list(range(8))


def test_a_schedule_weighs_the_kl_term() -> None:
    model = small(objective=ELBO(2.0, Bump(8))).train()
    for step in (0, 3, 7, 100):
        model.objective.advance(step)
        terms = terms_of(model, CASES["schedule"], training=True)
        expected = terms.reconstruction + 2.0 * Bump(8)(step) * terms.kl
        torch.testing.assert_close(terms.loss, expected)


def test_a_prior_is_attached_once_with_the_models_sizes() -> None:
    told: list[tuple[Any, ...]] = []

    class Told(StandardNormal):
        def attach(self, latent_dim: int, image_shape: ImageShape, num_classes: int | None) -> None:
            told.append((latent_dim, image_shape, num_classes))

    model = ConditionalVAE(2, CLASSES, SHAPE, prior=Told(2))
    model.sample(3)
    model.loss(torch.rand(3, *SHAPE), torch.arange(3))
    assert told == [(2, SHAPE, CLASSES)]


def test_a_prior_of_labels_draws_by_label() -> None:
    model = CASES["conditional prior"].make()
    with torch.no_grad():
        model.prior.centres.weight.copy_(torch.tensor([[-9.0, -9.0], [0.0, 0.0], [9.0, 9.0]]))  # type: ignore[union-attr]
    seen: list[Tensor] = []
    model.decoder.register_forward_hook(lambda module, inputs, out: seen.append(inputs[0]))
    model.sample(6)
    assert seen[0].mean(1).div(9).round().tolist() == [-1, 0, 1, -1, 0, 1]
    model.sample(4, 2)
    assert seen[1].shape == (4, 2)
    assert (seen[1] > 5).all()


def test_a_likelihood_names_its_figures() -> None:
    model = CASES["likelihood"].make()
    assert train(model, 1).tag == "laplace"
    data = digits().binarized("threshold")
    history = Trainer(1, device="cpu", progress=False).fit(CASES["likelihood"].make(), data)
    assert history.tag == "laplace-on-threshold-binary"


def test_a_models_own_loss_is_the_one_that_is_trained() -> None:
    halves = digits().images
    y = torch.arange(32) % 2  # which half is bright
    errors = []
    for weight in (0.0, 50.0):
        model = Supervised(2, weight, image_shape=SHAPE)
        before = model.head.weight.detach().clone()
        Trainer(10, 8, 1e-2, device="cpu", progress=False).fit(model, ImageDataset(halves, y))
        assert torch.equal(model.head.weight, before) is (weight == 0.0)
        errors.append(nn.functional.cross_entropy(model.head(model.encode(halves).mean), y).item())
    assert errors[1] < 0.1
    assert errors[0] > 0.3


def test_a_models_own_loss_tells_a_term_of_its_own() -> None:
    model, images, y = Supervised(2, 2.5, image_shape=SHAPE), digits().images, torch.arange(32) % 2
    terms = model.loss(images, y)
    error = terms.extra["classification"]
    torch.testing.assert_close(terms.loss, terms.reconstruction + terms.kl + 2.5 * error)
    assert check_terms(terms, 32) is terms
    assert not model.loss(images).extra
    history = Trainer(2, 8, device="cpu", progress=False).fit(model, ImageDataset(images, y))
    assert history[1]["classification"] < history[0]["classification"]


# ----------------------------------------------------------------------------------------- with every other part

OBJECTIVES: dict[str, Callable[[], Objective]] = {
    "elbo": ELBO,
    "linear": lambda: ELBO(2.0, Linear(2)),
    "free-bits": lambda: ELBO(free_bits=0.1),
    "capacity": lambda: ELBO(capacity=1.0),
    "iwae": lambda: IWAE(3),
    "iwae-doubly": lambda: IWAE(3, "doubly-reparameterized"),
    "beta-tc": BetaTC,
    "own": ShrunkELBO,
}
PRIORS: dict[str, Callable[[], Prior]] = {
    "standard": lambda: StandardNormal(2),
    "mixture": lambda: GaussianMixture(2, 3),
    "full-mixture": lambda: GaussianMixture(2, 3, "full"),
    "vamp": lambda: VampPrior(3),
    "flow": lambda: Flow(2, "realnvp", 1, (4,)),
    "second-stage": lambda: SecondStage(2, hidden=(4,)),
    "own": lambda: StudentPrior(2),
}


@pytest.mark.parametrize("likelihood", [Bernoulli, Laplace])
@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_parts_of_ones_own_go_with_the_others(objective: str, prior: str, likelihood: type[Likelihood]) -> None:
    model = VAE(
        2,
        SHAPE,
        encoder=PatchEncoder(2),
        decoder=OuterDecoder(2, SHAPE, likelihood.n_params),
        likelihood=likelihood(),
        prior=PRIORS[prior](),
        objective=OBJECTIVES[objective](),
    )
    model.objective.advance(1)
    terms = model.loss(torch.rand(5, *SHAPE))
    for value in terms.by_name().values():
        assert value.shape == (5,)
        assert value.isfinite().all()
    terms.loss.mean().backward()
    for name, parameter in [*model.encoder.named_parameters(), *model.decoder.named_parameters()]:
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name
    assert model.sample(3).shape == model.sample(3, temperature=0.5).shape == (3, *SHAPE)
    assert model.reconstruct(torch.rand(3, *SHAPE), sample=True).shape == (3, *SHAPE)


def test_what_an_own_posterior_cannot_give_is_said() -> None:
    class Correlated(Encoder):
        latent_dim = 2

        def forward(self, x: Tensor, y: Tensor | None = None) -> td.MultivariateNormal:
            return td.MultivariateNormal(x.flatten(1)[:, :2], torch.eye(2).expand(len(x), 2, 2))

    x = torch.rand(4, *SHAPE)
    with pytest.raises(ComponentError, match=r"dimensions are independent, .*got a MultivariateNormal: .*or use ELBO"):
        small(encoder=Correlated(), objective=BetaTC()).loss(x)
    for objective in (ELBO(), IWAE(2), ELBO(free_bits=0.1)):
        assert small(encoder=Correlated(), objective=objective).loss(x).loss.isfinite().all()
    with pytest.raises(ComponentError, match=r"an encoder that returns DiagonalNormal, .*, got an Independent"):
        small(encoder=PatchEncoder(2, num_classes=CLASSES), prior=VampPrior(2), num_classes=CLASSES)
