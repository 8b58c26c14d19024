"""An encoder without noise: its distribution as the limit of narrow normals, and a plain autoencoder by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributions as td
from test_compiled import asked, traces
from test_full_normal import digits, trainer
from test_resume import StopAt
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import mnistvae as mv
from mnistvae.analysis import anomaly_scores
from mnistvae.distributions import (
    DiagonalNormal,
    EvenMixture,
    Point,
    UnitNormal,
    detached,
    from_noise,
    has_density,
    moments,
    tempered,
)
from mnistvae.errors import ComponentError, DataError, SettingError
from mnistvae.images import ImageShape
from mnistvae.likelihoods import Bernoulli, Gaussian
from mnistvae.losses import kl_or_estimate
from mnistvae.metrics import evaluate, importance_sampled_nll, kl_parts, mutual_information
from mnistvae.networks import Encoder, FlowEncoder, GaussianEncoder, MixtureEncoder, MLPDecoder, PointEncoder
from mnistvae.objectives import DIPVAE, ELBO, IWAE, BetaTC, Consistency, DecoderPenalty, InfoVAE, Objective
from mnistvae.priors import Flow, GaussianMixture, Prior, StandardNormal, VampPrior
from mnistvae.report import SECTIONS, write_report
from mnistvae.training import Checkpoint, Interrupted

__all__ = ["asked"]  # a fixture

SHAPE: ImageShape = (1, 8, 8)


def codes(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def plain_vae(classes: int | None = None, **parts: Any) -> mv.VAE:
    torch.manual_seed(2)
    trunk = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU())
    networks = {
        "encoder": PointEncoder(trunk, 3, num_classes=classes),
        "decoder": MLPDecoder(3, SHAPE, (16,), num_classes=classes),
    }
    return mv.VAE(3, SHAPE, num_classes=classes, **{**networks, "objective": ELBO(beta=0.0), **parts})


PRIORS: dict[str, Callable[[], Prior]] = {
    "normal": lambda: StandardNormal(3),
    "mixture": lambda: GaussianMixture(3, 4),
    "full mixture": lambda: GaussianMixture(3, 4, "full"),
    "flow": lambda: Flow(3, "realnvp", 2, (4,)),
}


# --- the distribution -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [(), (5,), (2, 5)])
def test_it_is_a_distribution_of_torchs(batch: tuple[int, ...]) -> None:
    point = codes(*batch, 3).requires_grad_()
    q = Point(point)
    assert isinstance(q, td.Distribution)
    assert (q.batch_shape, q.event_shape, q.has_rsample) == (batch, (3,), True)
    assert q.mean is q.mode is point
    assert float(q.variance.abs().max()) == float(q.stddev.abs().max()) == 0.0
    for shape in ((), (7,), (2, 3)):
        drawn, seen = q.rsample(torch.Size(shape)), q.sample(torch.Size(shape))
        assert drawn.shape == seen.shape == (*shape, *batch, 3)
        assert torch.equal(drawn, point.expand(drawn.shape))
        assert drawn.requires_grad
        assert not seen.requires_grad
        assert torch.equal(q.log_prob(drawn), torch.zeros((*shape, *batch), dtype=torch.float64))
        seen += 1  # of its own memory
    assert torch.equal(q.log_prob(point + 1e-9), torch.full(batch, -math.inf, dtype=torch.float64))
    (one_off := point.detach().clone())[..., 0] += 1
    assert bool((q.log_prob(one_off) == -math.inf).all())
    wide = q.expand((4, *batch))
    assert type(wide) is Point
    assert wide.batch_shape == (4, *batch)
    assert "Point(batch" in repr(q)


def test_it_is_detached_tempered_drawn_from_noise_and_taken_apart() -> None:
    q = Point(codes(5, 3).requires_grad_())
    assert torch.equal(detached(q).mean, q.point)
    assert not detached(q).rsample().requires_grad
    for temperature in (0.0, 0.5, 2):
        assert torch.equal(tempered(q, temperature).rsample(), q.point)
    assert torch.equal(from_noise(q, codes(5, 3)), q.point)
    assert torch.equal(moments(q).mean, q.point)
    assert from_noise(Point(codes(3)), codes(5, 3)).shape == (5, 3)
    leaves, spec = pytree.tree_flatten(q)
    assert leaves[0] is q.point
    assert isinstance(pytree.tree_unflatten(leaves, spec), Point)


@pytest.mark.parametrize("prior", PRIORS)
def test_its_divergence_is_that_of_narrow_normals_without_their_entropy(prior: str) -> None:
    """KL = -entropy - E[log p(z)], of which the entropy alone grows without end and has no weight in it."""
    p = PRIORS[prior]().double()()
    q = Point(codes(4, 3))
    found = td.kl_divergence(q, p)
    torch.testing.assert_close(found, -p.log_prob(q.point))
    torch.testing.assert_close(kl_or_estimate(q, p, q.rsample()), found)
    narrow = DiagonalNormal(q.point, torch.full((4, 3), -18.0, dtype=torch.float64))
    torch.manual_seed(0)
    z = narrow.rsample(torch.Size([4000]))
    limit = (narrow.log_prob(z) - p.log_prob(z)).mean(0) + narrow.entropy()
    torch.testing.assert_close(found, limit, atol=0.1, rtol=0)
    if prior == "normal":
        torch.testing.assert_close(found, td.kl_divergence(narrow, p) + narrow.entropy(), atol=1e-6, rtol=0)
        torch.testing.assert_close(found, 0.5 * q.point.square().sum(1) + 1.5 * math.log(2 * math.pi))


def test_the_divergence_of_two_is_that_of_unit_normals_and_of_narrow_ones_by_their_variance() -> None:
    a, b = codes(4, 3), codes(4, 3, seed=1)
    found = td.kl_divergence(Point(a), Point(b))
    for logvar in (0.0, -9.0):
        q, p = (DiagonalNormal(one, torch.full_like(one, logvar)) for one in (a, b))
        torch.testing.assert_close(found, math.exp(logvar) * td.kl_divergence(q, p))
    assert torch.autograd.gradcheck(
        lambda x, y: td.kl_divergence(Point(x), Point(y)), (a.requires_grad_(), b.requires_grad_())
    )
    unit = UnitNormal(torch.zeros(3, dtype=torch.float64))
    assert torch.autograd.gradcheck(lambda x: td.kl_divergence(Point(x), unit), (a,))


def test_what_has_a_density() -> None:
    parts = Point(codes(4, 3))
    weights = td.Categorical(logits=torch.zeros(4))
    shift = [td.AffineTransform(1.0, 2.0, event_dim=1)]
    normal = td.Independent(td.Normal(codes(4, 3), 1.0), 1)
    for one, answer in ((parts, False), (normal, True)):
        for distribution in (
            one,
            td.MixtureSameFamily(weights, one),
            td.TransformedDistribution(one, shift),
            EvenMixture([normal, one]),
        ):
            assert has_density(distribution) is answer


# --- the autoencoder ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("beta", [0.0, 0.7])
@pytest.mark.parametrize("sigma", [None, math.sqrt(0.5)])
def test_it_is_the_autoencoder_by_hand(beta: float, sigma: float | None) -> None:
    likelihood = Bernoulli() if sigma is None else Gaussian(sigma)
    model, x = plain_vae(objective=ELBO(beta), likelihood=likelihood).double(), digits(6).double()
    model.loss(x).loss.mean().backward()
    found = {name: parameter.grad for name, parameter in model.named_parameters()}
    model.zero_grad()
    code = model.encoder.head(model.encoder.trunk(x))
    pixels = model.decoder(code)
    if sigma is None:
        error = nn.functional.binary_cross_entropy_with_logits(pixels, x, reduction="none").sum((1, 2, 3))
    else:
        error = (pixels.sigmoid() - x).square().sum((1, 2, 3)) + 32 * math.log(math.pi)
    # Ghosh et al. (2020): the error, and half of beta times the squares of the code; the rest is a constant.
    by_hand = error + 0.5 * beta * (code.square().sum(1) + 3 * math.log(2 * math.pi))
    by_hand.mean().backward()
    torch.testing.assert_close(model.loss(x).loss, by_hand)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, msg=name)


@pytest.mark.parametrize("classes", [None, 3])
def test_nothing_is_drawn(classes: int | None) -> None:
    model, x = plain_vae(classes), digits(6)
    y = None if classes is None else torch.arange(6) % classes
    state = torch.get_rng_state()
    first = model.loss(x, y).loss
    assert torch.equal(first, model.loss(x, y).loss)
    assert torch.equal(model.reconstruct(x, y), model.reconstruct(x, y, sample=True))
    assert torch.equal(torch.get_rng_state(), state)
    if y is not None:
        assert not torch.allclose(model.encode(x, y).mean, model.encode(x, (y + 1) % 3).mean)


OBJECTIVES: dict[str, Callable[[], Objective]] = {
    "plain": lambda: ELBO(beta=0.0),
    "beta": lambda: ELBO(beta=0.5),
    "free bits": lambda: ELBO(free_bits=1.0),
    "capacity": lambda: ELBO(beta=2.0, capacity=1.0),
    "landing": lambda: ELBO(gradient="sticking-the-landing"),
    "several codes": lambda: ELBO(num_samples=3),
    "IWAE": lambda: IWAE(3),
    "doubly": lambda: IWAE(3, "doubly-reparameterized"),
    "partial": lambda: IWAE(2, groups=2, partial=True),
    "WAE": lambda: InfoVAE(weight=2.0),
    "DIP": lambda: DIPVAE("I"),
    "consistency": lambda: Consistency(ELBO(0.1), weight=2.0),
    "RAE": lambda: DecoderPenalty(ELBO(0.1), 1e-3, 0.1),
}


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_it_trains_with_every_objective_and_a_resumed_run_ends_as_the_whole_one(objective: str, tmp_path: Path) -> None:
    def make() -> mv.VAE:
        return plain_vae(objective=OBJECTIVES[objective]())

    whole = make()
    history = trainer().fit(whole, digits(), validation=digits(16))
    assert history[3]["loss"] < history[0]["loss"]
    with pytest.raises(Interrupted):
        trainer(Checkpoint(tmp_path), StopAt(7)).fit(make(), digits(), validation=digits(16))
    resumed = make()
    trainer(Checkpoint(tmp_path)).fit(resumed, digits(), validation=digits(16), resume=tmp_path)
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in resumed.state_dict().items())


def test_several_codes_are_one_code() -> None:
    x = digits(5)
    expected = plain_vae(objective=ELBO()).loss(x)
    for objective in (ELBO(num_samples=3), IWAE(3), IWAE(3, "doubly-reparameterized"), IWAE(2, groups=2)):
        found = plain_vae(objective=objective).loss(x)
        for name, value in expected.by_name().items():
            torch.testing.assert_close(found.by_name()[name], value)


@pytest.mark.parametrize("prior", PRIORS)
def test_it_goes_with_every_prior_that_has_a_density(prior: str) -> None:
    model = plain_vae(objective=ELBO(0.5), prior=PRIORS[prior]())
    history = trainer(epochs=2).fit(model, digits())
    assert math.isfinite(history[1]["loss"])
    assert model.sample(2).shape == (2, *SHAPE)


@traces
def test_a_step_compiled_as_a_whole_is_the_step_in_parts(asked: list[bool]) -> None:
    plain, compiled = (
        trainer(epochs=2, compile=one).fit(plain_vae(objective=ELBO(0.1)), digits()) for one in (False, True)
    )
    assert asked == [False, True]
    assert compiled.column("loss") == pytest.approx(plain.column("loss"), rel=1e-4)


def test_it_trains_in_bf16() -> None:
    plain, other = (trainer(precision=one).fit(plain_vae(objective=ELBO(0.1)), digits()) for one in ("fp32", "bf16"))
    assert other.column("loss") == pytest.approx(plain.column("loss"), rel=0.02)
    assert plain_vae().bfloat16().encode(digits(2).bfloat16()).mean.dtype is torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        assert plain_vae().encode(digits(2)).mean.dtype is torch.float32


# --- from training to samples ---------------------------------------------------------------------------------------


def test_a_fitted_prior_makes_it_generative_and_a_file_keeps_it(tmp_path: Path) -> None:
    data = mv.load_dataset("mnist-mini", "train")[:500]
    torch.manual_seed(0)
    model = mv.VAE(
        4,
        encoder=PointEncoder(nn.Sequential(nn.Flatten(), nn.Linear(784, 32), nn.ReLU()), 4),
        decoder=MLPDecoder(4, hidden=(32,)),
        objective=DecoderPenalty(ELBO(beta=0.0), weights=1e-3),
    )
    mv.Trainer(epochs=8, batch_size=50, learning_rate=3e-3, seed=0, progress=False, device="cpu").fit(model, data)
    fitted = mv.fit_prior(model, data, components=5)
    assert isinstance(fitted.encoder, PointEncoder)
    with torch.no_grad():
        of_codes = fitted.latent_prior().log_prob(model.encode(data.images).mean).mean()
        of_draws = fitted.latent_prior().log_prob(fitted.latent_prior().sample((500,))).mean()
        assert float(of_codes) == pytest.approx(float(of_draws), abs=0.5)
        assert float(model.latent_prior().log_prob(model.encode(data.images).mean).mean()) < float(of_codes) - 5
    same = mv.load(mv.save(fitted, tmp_path / "model.safetensors"))
    assert repr(same) == repr(fitted)
    assert torch.equal(*(one.sample(3, generator=torch.Generator().manual_seed(1)) for one in (fitted, same)))
    assert torch.equal(*(one.reconstruct(data.images[:3]) for one in (fitted, same)))
    for part in ("encoder", "reconstruct", "sample"):
        mv.export(fitted, tmp_path / f"{part}.pt2", part=part, format="pt2")  # type: ignore[arg-type]
    program = torch.export.load(tmp_path / "encoder.pt2").module()
    mean, logvar = program(data.images[:3] / 255)
    torch.testing.assert_close(mean, fitted.encode(data.images[:3]).mean.detach())
    assert bool((logvar == -math.inf).all())


def test_its_tag_says_that_codes_are_points() -> None:
    assert plain_vae().tag() == "grey-bce-point"
    assert plain_vae(3).tag("dynamic") == "binarized-dynamic-point-given-label"
    assert plain_vae(likelihood=Gaussian(0.5)).tag() == "gaussian-point"
    other = plain_vae().replace(encoder=GaussianEncoder(nn.Flatten(), 3))
    assert other.tag() == "grey-bce"
    assert trainer(epochs=1).fit(plain_vae(), digits()).tag == "grey-bce-point"


REASON = "the encoder gives points, which have no density"


def test_an_evaluation_leaves_out_what_asks_for_a_density() -> None:
    data = mv.ImageDataset(digits(24), torch.arange(24) % 3)
    point, normal = plain_vae(), plain_vae(encoder=GaussianEncoder(nn.Flatten(), 3))
    found = evaluate(point, data, num_samples=5, include=["likelihood", "latent"])
    without = {"nll", "bits_per_dimension", "kl by dimension", "mutual_information", "total_correlation"}
    assert {name for name, reason in found.left_out.items() if reason == REASON} == without
    scores = {score.name: score for score in found.scores}
    assert scores["negative_elbo"].tag == scores["kl"].tag == "grey-bce-point"
    assert "num_samples" not in found.protocol
    other = {one.name: one for one in evaluate(normal, data, num_samples=5, include=["likelihood"]).scores}
    assert "nll" in other
    with pytest.raises(DataError, match="two scores of one tag, got 'grey-bce-point' and 'grey-bce'"):
        scores["negative_elbo"].better_than(other["negative_elbo"])


def test_a_report_is_written_without_them(tmp_path: Path) -> None:
    data = mv.ImageDataset(digits(24), torch.arange(24) % 3)
    page = write_report(plain_vae(), data, tmp_path, sections=SECTIONS[:3])
    text = Path(page).read_text(encoding="utf-8")
    assert f"Left out: nll, since {REASON}." in text


# --- what makes no sense --------------------------------------------------------------------------------------------


class Silent(Encoder):
    """Gives points, and does not say so."""

    def __init__(self) -> None:
        super().__init__()
        self.latent_dim = 3
        self.linear = nn.Linear(64, 3)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Point:
        return Point(self.linear(x.flatten(1)))


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (
            lambda: importance_sampled_nll(plain_vae(), digits(4), 5),
            "posteriors with a density, for importance weights, got points, of a PointEncoder: compare reconstructions",
        ),
        (
            lambda: anomaly_scores(plain_vae(), digits(4), "nll"),
            "posteriors with a density, for importance weights, got points",
        ),
        (
            lambda: anomaly_scores(plain_vae(), digits(4), "regret"),
            "a posterior that is a DiagonalNormal, got a Point: take kind='density'",
        ),
        (
            lambda: mutual_information(plain_vae().encode(digits(4))),
            "a posterior with a density, got a Point: without noise in a code it is log N",
        ),
        (
            lambda: kl_parts(plain_vae().encode(digits(4)), plain_vae().latent_prior()),
            "a posterior with a density, got a Point",
        ),
        (
            lambda: plain_vae(prior=VampPrior(4)),
            "a prior with a density, got a mixture of points: take GaussianEncoder for a VampPrior",
        ),
        (lambda: plain_vae().replace(prior=VampPrior(4)), "a prior with a density, got a mixture of points"),
        (lambda: plain_vae(3, prior=VampPrior(4)), "an encoder that returns DiagonalNormal, for a VampPrior"),
        (
            lambda: plain_vae(encoder=Silent()),
            "an encoder with has_density = False, since its posterior is a point, got True: set it in the class",
        ),
        (lambda: plain_vae(objective=BetaTC()), "a posterior whose dimensions are independent.*, got a Point"),
        (
            lambda: FlowEncoder(PointEncoder(nn.Flatten(), 3))(digits(2)),
            "an encoder that gives a normal, for a flow, got a Point",
        ),
        (lambda: PointEncoder(3, 2), "trunk as a torch"),  # type: ignore[arg-type]
    ],
)
def test_what_needs_a_density_says_so(ask: Callable[[], object], message: str) -> None:
    with pytest.raises(ComponentError, match=message):
        ask()


def test_a_mixture_of_encoders_has_a_density_if_all_have_one() -> None:
    for other, tag in ((PointEncoder, "grey-bce-point"), (GaussianEncoder, "grey-bce")):
        encoders = [GaussianEncoder(nn.Flatten(), 3), other(nn.Flatten(), 3)]
        assert plain_vae(encoder=MixtureEncoder(encoders)).tag() == tag


def test_an_encoder_of_ones_own_says_it_in_its_class() -> None:
    class Plain(Silent):
        has_density = False

    assert plain_vae(encoder=Plain()).tag() == "grey-bce-point"
    with pytest.raises(SettingError, match="latent_dim as an integer of at least 1"):
        PointEncoder(nn.Flatten(), 0)
