"""Posteriors by a flow and by a mixture of encoders, against quadrature, closed forms and sums by hand."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributions as td
from readback import stirred
from scipy import stats
from test_full_normal import correlated_vae, digits, evidence, images, trainer
from test_resume import StopAt
from torch import Tensor, nn

import mnistvae as mv
from mnistvae import networks, priors
from mnistvae.distributions import (
    DiagonalNormal,
    EvenMixture,
    FlowPosterior,
    UnitNormal,
    detached,
    from_noise,
    mean_of,
    moments,
    tempered,
)
from mnistvae.errors import ComponentError, SettingError
from mnistvae.likelihoods import Gaussian
from mnistvae.networks import (
    ConvEncoder,
    Encoder,
    FlowEncoder,
    FullNormalEncoder,
    GaussianEncoder,
    MixtureEncoder,
    MLPEncoder,
    TrunkDecoder,
)
from mnistvae.objectives import ELBO, IWAE
from mnistvae.priors import Flow, GaussianMixture, VampPrior
from mnistvae.training import Checkpoint, Interrupted

pytest.importorskip("zuko", reason="flows come from zuko")

KINDS = ("iaf", "nsf", "realnvp")
SHAPE = (1, 8, 8)


def flow_encoder(kind: Any = "iaf", size: int = 2, **how: Any) -> FlowEncoder:
    """A flow that is far from the identity."""
    torch.manual_seed(4)
    encoder = FlowEncoder(MLPEncoder(size, SHAPE, (8,)), kind, hidden=(9,), **how)
    return stirred(encoder).double()


def posterior(kind: Any = "iaf", size: int = 2, n: int = 3) -> FlowPosterior:
    with torch.no_grad():
        return flow_encoder(kind, size)(digits(n).double())


# --- the flow -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_its_density_integrates_to_one_and_is_that_of_its_draws(kind: str) -> None:
    q = posterior(kind)
    line = torch.linspace(-12, 12, 481, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line)[:, None]
    area = float(line[1] - line[0]) ** 2
    with torch.no_grad():
        total = q.log_prob(grid).exp().sum(0) * area
        torch.testing.assert_close(total, torch.ones_like(total), atol=2e-3, rtol=0)
        torch.manual_seed(0)
        z = q.rsample(torch.Size([4000]))
        of_draws = q.log_prob(z)
        torch.testing.assert_close(q.log_prob(z.clone()), of_draws, atol=1e-6, rtol=1e-6)
    back = (q.transform.inv(z) - q.base.mean) / q.base.stddev
    for dimension in back.flatten(0, 1).T.detach():
        assert stats.kstest(dimension.numpy(), "norm").pvalue > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_its_density_has_the_determinant_of_the_map(kind: str) -> None:
    q = posterior(kind, 3, 1)
    start = q.base.rsample()
    jacobian = torch.autograd.functional.jacobian(lambda one: q.transform(one[None])[0], start[0])
    z = q.transform(start)
    expected = q.base.log_prob(start) - torch.linalg.slogdet(jacobian).logabsdet
    torch.testing.assert_close(q.log_prob(z), expected)


def test_a_fresh_flow_is_the_normal_of_its_encoder() -> None:
    base = MLPEncoder(3, SHAPE, (8,))
    x, z = digits(4), torch.randn(4, 3)
    for kind in KINDS:
        torch.testing.assert_close(FlowEncoder(base, kind)(x).log_prob(z), base(x).log_prob(z), atol=1e-4, rtol=1e-4)
    full = FullNormalEncoder(nn.Flatten(), 3)
    full(x)
    torch.testing.assert_close(FlowEncoder(full)(x).log_prob(z), full(x).log_prob(z), atol=1e-4, rtol=1e-4)


def test_draws_are_a_function_of_noise_and_have_a_temperature() -> None:
    q = posterior(n=3)
    noise = torch.randn(3, 2, dtype=torch.float64)
    torch.testing.assert_close(from_noise(q, noise), q.transform(from_noise(q.base, noise)))
    assert torch.equal(*tempered(q, 0.0).sample(torch.Size([2])))
    wide = q.expand((5, 3))
    torch.testing.assert_close(wide.log_prob(noise), q.log_prob(noise).expand(5, 3))
    with pytest.raises(ComponentError, match="a posterior whose parameters can be detached, got a FlowPosterior"):
        detached(q)


def test_a_density_that_was_kept_from_the_draw_has_the_gradient_of_one_that_is_computed() -> None:
    encoder = flow_encoder()
    x = digits(3).double()
    found = []
    for keep in (True, False):
        encoder.zero_grad()
        torch.manual_seed(0)
        q = encoder(x)
        z = q.rsample()
        q.log_prob(z if keep else z.clone()).sum().backward()
        found.append([parameter.grad.clone() for parameter in encoder.parameters() if parameter.grad is not None])
    for kept, computed in zip(*found, strict=True):
        torch.testing.assert_close(kept, computed, atol=1e-8, rtol=1e-6)


def test_on_a_correlated_posterior_it_closes_the_gap_of_the_diagonal_normal() -> None:
    """Each map moves a dimension by those before it, so that a flow can be the posterior exactly."""
    x = images(3).double()
    model, gap = correlated_vae(full=False, objective=ELBO(num_samples=8))
    assert gap > 0.3
    torch.manual_seed(0)
    encoder = FlowEncoder(GaussianEncoder(nn.Flatten(), 2), hidden=(8,), transforms=1)
    encoder(x.float())
    model.encoder = encoder.double()
    optimizer = torch.optim.Adam(model.encoder.parameters(), 3e-2)
    for step in range(700):
        for group in optimizer.param_groups:
            group["lr"] = 3e-2 * (1 - step / 700)
        optimizer.zero_grad()
        model.loss(x).loss.mean().backward()
        optimizer.step()
    with torch.no_grad():
        bound = -torch.stack([model.loss(x).loss for _ in range(200)]).mean(0)
    assert bool((bound < evidence(x) + 0.01).all())
    assert bool((bound > evidence(x) - 0.1 * gap).all())


# --- the mixture ----------------------------------------------------------------------------------------------------


def three_normals(n: int = 4, size: int = 2) -> list[DiagonalNormal]:
    noise = torch.Generator().manual_seed(1)
    return [
        DiagonalNormal(
            2 * torch.randn(n, size, generator=noise, dtype=torch.float64),
            torch.randn(n, size, generator=noise, dtype=torch.float64),
        )
        for _ in range(3)
    ]


def as_torch(parts: list[DiagonalNormal]) -> td.MixtureSameFamily:
    normals = td.Independent(
        td.Normal(
            torch.stack([part.mean for part in parts], dim=1), torch.stack([part.stddev for part in parts], dim=1)
        ),
        1,
    )
    weights = td.Categorical(torch.ones(len(parts[0].mean), len(parts), dtype=torch.float64))
    return td.MixtureSameFamily(weights, normals)


def test_a_mixtures_density_and_moments_are_torchs() -> None:
    parts = three_normals()
    ours, theirs = EvenMixture(parts), as_torch(parts)
    z = theirs.sample(torch.Size([7]))
    torch.testing.assert_close(ours.log_prob(z), theirs.log_prob(z))
    torch.testing.assert_close(ours.mean, theirs.mean)
    torch.testing.assert_close(ours.variance, theirs.variance)
    torch.testing.assert_close(ours.expand((2, 4)).log_prob(z[0]), theirs.log_prob(z[0]).expand(2, 4))


@pytest.mark.parametrize("draws", [1, 2, 3, 4, 7])
def test_its_draws_are_even_and_have_its_distribution(draws: int) -> None:
    parts = three_normals(1)
    q = EvenMixture([part.expand((20_000,)) for part in parts])
    torch.manual_seed(0)
    z = q.rsample(torch.Size([draws]))
    assert z.shape == (draws, 20_000, 2)
    torch.testing.assert_close(z.mean((0, 1)), q.mean[0], atol=0.06, rtol=0)
    torch.testing.assert_close(z.flatten(0, 1).var(0), q.variance[0], atol=0.15, rtol=0)
    weights = [1 / 3] * 3
    for j in range(2):
        marginal = [stats.norm(float(part.mean[0, j]), float(part.stddev[0, j])) for part in parts]
        cdf = lambda value, m=marginal: sum(w * one.cdf(value) for w, one in zip(weights, m, strict=True))  # noqa: E731
        assert stats.kstest(z[draws // 2, :, j].numpy(), cdf).pvalue > 1e-3 or draws >= 3
        assert stats.kstest(z[-1, :, j].numpy(), cdf).pvalue > 1e-3 or draws % 3 == 0


def test_of_as_many_draws_as_parts_each_part_gives_its_share_in_turn() -> None:
    far = [DiagonalNormal(torch.full((5, 2), 100.0 * s), torch.zeros(5, 2)) for s in range(3)]
    z = EvenMixture(far).sample(torch.Size([8]))
    nearest = (z[..., 0] / 100).round().int()
    assert nearest[:6].tolist() == [[n % 3] * 5 for n in range(6)]
    assert all(len({int(one) for one in column}) == 2 for column in nearest[6:].T), "the rest is of different parts"


def test_a_mean_over_draws_has_the_gradient_of_the_expectation() -> None:
    """E[z^2] is the mean of mu_s^2 + sigma_s^2, whose gradient is known; with one draw, and with three."""
    for draws in (1, 2, 3):
        mu = [torch.tensor([m], dtype=torch.float64, requires_grad=True) for m in (-1.0, 0.5, 2.0)]
        n = 200_000
        q = EvenMixture([DiagonalNormal(m.expand(n, 1), torch.zeros(n, 1, dtype=torch.float64)) for m in mu])
        torch.manual_seed(0)
        q.rsample(torch.Size([draws])).square().mean().backward()
        for m in mu:
            assert m.grad is not None
            torch.testing.assert_close(m.grad, 2 * m.detach() / 3, atol=0.02, rtol=0)


def test_its_draws_as_a_function_of_noise_and_its_detached_and_tempered_form() -> None:
    q = EvenMixture(three_normals())
    noise = torch.zeros(4, 2, dtype=torch.float64)
    for number, part in enumerate(q.parts):
        uniform = torch.full((4,), (number + 0.5) / 3)
        assert torch.equal(from_noise(q, noise, uniform), part.mean)
    with pytest.raises(ComponentError, match="uniform noise for a mixture, to choose the component, got none"):
        from_noise(q, noise)
    moving = EvenMixture([DiagonalNormal(part.mean.requires_grad_(), part.logvar) for part in three_normals()])
    assert moving.log_prob(noise).requires_grad
    assert not detached(moving).log_prob(noise).requires_grad
    still = tempered(q, 0.0).sample(torch.Size([3]))
    torch.testing.assert_close(still, torch.stack([part.mean for part in q.parts]))


class Fixed(Encoder):
    """A normal that is the same for all images."""

    def __init__(self, mean: float, sigma: float) -> None:
        super().__init__()
        self.latent_dim = 1
        self.mean, self.sigma = mean, sigma

    def forward(self, x: Tensor, y: Tensor | None = None) -> DiagonalNormal:
        del y
        whole = x.new_ones(len(x), 1)
        return DiagonalNormal(whole * self.mean, whole * 2 * math.log(self.sigma))


class Square(nn.Module):
    """Codes to their squares, so that a code and its negative explain an image alike."""

    def forward(self, z: Tensor) -> Tensor:
        return z.square()


def two_modes(encoder: Encoder, objective: ELBO | IWAE) -> mv.VAE:
    parts: dict[str, Any] = {"likelihood": Gaussian(0.1, "identity"), "objective": objective}
    return mv.VAE(1, (1, 1, 1), encoder=encoder, decoder=TrunkDecoder(Square(), 1, (1, 1, 1)), **parts).double()


def test_on_a_posterior_with_two_modes_the_mixture_is_tighter_by_log_two() -> None:
    """p(z) = N(0, 1), p(x | z) = N(z^2, 0.1^2), x = 1: the posterior is two bumps near +-1, alike by symmetry."""
    z = torch.linspace(-6, 6, 200_001, dtype=torch.float64)
    log_joint = td.Normal(0.0, 1.0).log_prob(z) + td.Normal(z.square(), 0.1).log_prob(torch.tensor(1.0).double())
    log_p = float(torch.logsumexp(log_joint, 0)) + math.log(float(z[1] - z[0]))
    weight = torch.softmax(log_joint, 0) * (z > 0) * 2
    mean = float((weight * z).sum())
    sigma = float((weight * (z - mean).square()).sum().sqrt())
    x = torch.ones(200_000, 1, 1, 1, dtype=torch.float64)
    torch.manual_seed(0)
    with torch.no_grad():
        one = -float(two_modes(Fixed(mean, sigma), ELBO()).loss(x).loss.mean())
        both = MixtureEncoder([Fixed(-mean, sigma), Fixed(mean, sigma)])
        two = -float(two_modes(both, ELBO(num_samples=2)).loss(x).loss.mean())
        single_draw = -float(two_modes(both, ELBO()).loss(x).loss.mean())
        weighted = -float(two_modes(both, IWAE(8, groups=2)).loss(x[:4000]).loss.mean())
    assert two == pytest.approx(log_p, abs=0.01)
    assert two < log_p + 0.003
    assert single_draw == pytest.approx(two, abs=0.01)
    assert two - one == pytest.approx(math.log(2), abs=0.01)
    assert two - 0.002 < weighted < log_p + 0.003


def test_the_bounds_are_the_sums_over_the_encoders() -> None:
    torch.manual_seed(0)
    parts = [MLPEncoder(3, SHAPE, (8,)) for _ in range(2)]
    model = mv.VAE(3, SHAPE, encoder=MixtureEncoder(parts)).double()
    x, samples = digits(5).double(), 4
    torch.manual_seed(7)
    z = model.encode(x).rsample(torch.Size([samples * 2]))  # (K S, B, D), the encoders in turn

    def log_weight(code: Tensor) -> Tensor:
        log_q = torch.stack([part(x).log_prob(code) for part in parts]).exp().mean(0).log()
        return model.decode(code).log_prob(x) + model.latent_prior().log_prob(code) - log_q

    w = torch.stack([log_weight(code) for code in z])
    model.objective = ELBO(num_samples=samples * 2)
    torch.manual_seed(7)
    torch.testing.assert_close(model.loss(x).loss, -w.mean(0))
    model.objective = IWAE(samples, groups=2)
    torch.manual_seed(7)
    of_each = [torch.stack([w[2 * k + s] for k in range(samples)]).exp().mean(0).log() for s in range(2)]
    torch.testing.assert_close(model.loss(x).loss, -torch.stack(of_each).mean(0))


# --- posteriors without a mean --------------------------------------------------------------------------------------


def test_a_mean_that_is_not_known_is_estimated_alike_everywhere_and_says_so() -> None:
    torch.manual_seed(0)
    model = mv.VAE(2, SHAPE, encoder=flow_encoder().float())
    x = digits(12)
    state = torch.get_rng_state()
    with pytest.warns(UserWarning, match=r"no mean of a FlowPosterior is known: that of 64 draws stands for it"):
        made = model.reconstruct(x)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        again = torch.cat([model.reconstruct(x[:5]), model.reconstruct(x[5:])])
        codes = mv.analysis.encode_dataset(model, x)
        between = model.interpolate(x[0], x[1], 3)
    assert {str(one.message) for one in told} == {"no mean of a FlowPosterior is known: that of 64 draws stands for it"}
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(again, made, atol=1e-3, rtol=0)
    torch.testing.assert_close(model.decode(codes.means).mean, made, atol=1e-3, rtol=0)
    torch.testing.assert_close(between[[0, 2]], made[:2], atol=1e-3, rtol=0)
    q = model.encode(x)
    draws = q.sample(torch.Size([40_000]))
    spread = draws.std(0)
    torch.testing.assert_close(codes.means, draws.mean(0), atol=0.15 * float(spread.max()), rtol=0)
    torch.testing.assert_close(codes.deviations, spread, atol=0.25 * float(spread.max()), rtol=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert model.reconstruct(x, sample=True).shape == x.shape


def test_moments_have_a_gradient_and_those_that_are_known_are_exact() -> None:
    q = flow_encoder()(digits(3).double())
    with pytest.warns(UserWarning, match="no mean of a FlowPosterior"):
        found = moments(q)
    assert found.mean.requires_grad
    normal = UnitNormal(torch.zeros(2)).expand((3,))
    assert torch.equal(mean_of(normal), normal.mean)
    with pytest.warns(UserWarning, match="no mean of"):
        nearly = moments(FlowPosterior(td.AffineTransform(1.0, 2.0), normal))
    torch.testing.assert_close(nearly.mean, torch.ones(3, 2), atol=1e-5, rtol=0)
    torch.testing.assert_close(nearly.variance, torch.full((3, 2), 4.0))


class NoVariance(td.Independent):  # type: ignore[type-arg]
    """A distribution that knows its mean alone."""

    @property
    def variance(self) -> Tensor:
        raise NotImplementedError


def test_a_mean_that_is_known_stays_where_no_variance_is() -> None:
    q = NoVariance(td.Laplace(torch.tensor([[1.0, -2.0]]), torch.ones(1, 2)), 1)
    with pytest.warns(UserWarning, match="no variance of a NoVariance is known: that of 64 draws stands for it"):
        found = moments(q)
    assert torch.equal(found.mean, torch.tensor([[1.0, -2.0]]))
    assert bool(((found.variance > 0.7) & (found.variance < 4)).all())


# --- with everything else -------------------------------------------------------------------------------------------

MAKERS: dict[str, Callable[[], Encoder]] = {
    "iaf": lambda: FlowEncoder(MLPEncoder(3, SHAPE, (16,)), hidden=(8,)),
    "nsf": lambda: FlowEncoder(MLPEncoder(3, SHAPE, (16,)), "nsf", 1, (8,)),
    "realnvp": lambda: FlowEncoder(MLPEncoder(3, SHAPE, (16,)), "realnvp", hidden=(8,)),
    "mixture": lambda: MixtureEncoder([MLPEncoder(3, SHAPE, (16,)), ConvEncoder(3, SHAPE, (4, 4))]),
    "both": lambda: MixtureEncoder([FlowEncoder(MLPEncoder(3, SHAPE, (8,)), hidden=(8,)), MLPEncoder(3, SHAPE, (8,))]),
}
PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "plain": dict,
    "samples": lambda: {"objective": ELBO(num_samples=3)},
    "groups": lambda: {"objective": IWAE(2, groups=2)},
    "partial": lambda: {"objective": IWAE(2, groups=2, partial=True)},
    "free bits": lambda: {"objective": ELBO(free_bits=0.2)},
    "mixture prior": lambda: {"prior": GaussianMixture(3, 2)},
    "flow prior": lambda: {"prior": Flow(3, transforms=2, hidden=(8,))},
    "VampPrior": lambda: {"prior": VampPrior(4)},
}


def composed(maker: str, parts: Callable[[], dict[str, Any]] = dict) -> mv.VAE:
    torch.manual_seed(2)
    return mv.VAE(3, SHAPE, encoder=MAKERS[maker](), **parts())


@pytest.mark.parametrize(
    ("maker", "parts"),
    [(maker, parts) for maker in MAKERS for parts in PARTS if maker in {"iaf", "mixture"} or parts == "samples"],
)
def test_it_trains_with_every_part_and_a_resumed_run_ends_as_the_whole_one(
    maker: str, parts: str, tmp_path: Path
) -> None:
    whole = composed(maker, PARTS[parts])
    history = trainer().fit(whole, digits())
    assert history[3]["loss"] < history[0]["loss"]
    with pytest.raises(Interrupted):
        trainer(Checkpoint(tmp_path), StopAt(7)).fit(composed(maker, PARTS[parts]), digits())
    resumed = composed(maker, PARTS[parts])
    trainer(Checkpoint(tmp_path)).fit(resumed, digits(), resume=tmp_path)
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in resumed.state_dict().items())


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.filterwarnings("ignore:no mean of a FlowPosterior:UserWarning")
def test_a_file_evaluation_and_samples_of_it(maker: str, tmp_path: Path) -> None:
    model, x = composed(maker).eval(), digits(12)
    mv.save(model, tmp_path / "model.safetensors")
    same = mv.load(tmp_path / "model.safetensors")
    assert repr(same) == repr(model)
    drawn = []
    for one in (model, same):
        torch.manual_seed(0)
        drawn.append(one.encode(x).rsample(torch.Size([2])))
    assert torch.equal(*drawn)
    assert model.reconstruct(x).shape == x.shape
    scores = mv.metrics.evaluate(model, mv.ImageDataset(x, torch.arange(12) % 2), num_samples=20)
    assert scores["nll"] <= scores["negative_elbo"] + 1
    assert np.isfinite(scores["active_units"])


@pytest.mark.parametrize("maker", MAKERS)
def test_it_trains_in_bf16(maker: str) -> None:
    plain, other = (trainer(**more).fit(composed(maker), digits()) for more in ({}, {"precision": "bf16"}))
    assert other[1]["loss"] == pytest.approx(plain[1]["loss"], rel=0.02)


@pytest.mark.parametrize("maker", ["iaf", "mixture"])
@pytest.mark.filterwarnings("ignore:.*_prims_common.check:FutureWarning")  # torch's own, while it compiles
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # as well
@pytest.mark.slow
def test_it_trains_compiled(maker: str) -> None:
    plain, other = (trainer(**more).fit(composed(maker), digits()) for more in ({}, {"compile": True}))
    assert other[3]["loss"] == pytest.approx(plain[3]["loss"], rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_one_dimension_is_enough(kind: Any) -> None:
    model = mv.VAE(1, SHAPE, encoder=FlowEncoder(MLPEncoder(1, SHAPE, (4,)), kind, hidden=(4,)))
    assert model.loss(digits(3)).loss.isfinite().all()


def test_what_makes_no_sense() -> None:
    inner = MLPEncoder(2, SHAPE, (4,))
    for make, message in (
        (lambda: FlowEncoder(nn.Flatten()), "encoder as a mnistvae Encoder, got a Flatten: wrap a plain module"),  # type: ignore[arg-type]
        (lambda: MixtureEncoder([]), "encoders as a list of at least one"),
        (lambda: MixtureEncoder(inner), r"encoders as a list of at least one, got an MLPEncoder"),  # type: ignore[arg-type]
        (lambda: MixtureEncoder([inner, nn.Flatten()]), r"encoders\[1\] as a mnistvae Encoder"),  # type: ignore[list-item]
        (lambda: MixtureEncoder([inner, inner]), "encoders with weights of their own, got one of them twice"),
        (lambda: MixtureEncoder([inner, MLPEncoder(3, SHAPE)]), "encoders of one latent_dim, 2, got 3"),
        (lambda: MixtureEncoder([inner, MLPEncoder(2)]), "encoders of one image_shape"),
        (lambda: mv.VAE(3, SHAPE, encoder=FlowEncoder(inner)), "an encoder with latent_dim=3, got latent_dim=2"),
        (lambda: FlowEncoder(MixtureEncoder([inner]))(digits(2)), "gives a normal, for a flow, got an EvenMixture"),
    ):
        with pytest.raises(ComponentError, match=message):
            make()
    for how, message in (({"kind": "naf"}, "kind"), ({"transforms": 0}, "transforms"), ({"hidden": (0,)}, "hidden")):
        with pytest.raises(SettingError, match=message):
            FlowEncoder(inner, **how)  # type: ignore[arg-type]


def test_a_mixture_of_encoders_has_the_codes_of_its_parts() -> None:
    def trunk() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 8), nn.ReLU())

    directions = MixtureEncoder([networks.VonMisesFisherEncoder(trunk(), 3) for _ in range(2)])
    classes = MixtureEncoder([networks.CategoricalEncoder(trunk(), 2, 5) for _ in range(2)])
    for size, encoder, prior in (
        (3, directions, priors.UniformSphere(3)),
        (10, classes, priors.UniformCategorical(2, 5)),
    ):
        torch.manual_seed(0)
        model = mv.VAE(size, encoder=encoder, prior=prior, objective=ELBO(num_samples=2))
        x = torch.rand(20, 1, 28, 28)
        mv.Trainer(epochs=1, progress=False).fit(model, x)
        estimate = mv.metrics.importance_sampled_nll(model, x[:3], num_samples=50).nll
        assert estimate.isfinite().all()
        assert model.sample(2).shape == (2, 1, 28, 28)


def test_a_flow_says_where_its_mean_is() -> None:
    posterior = mv.VAE(2, encoder=FlowEncoder(networks.MLPEncoder(2))).encode(torch.rand(2, 1, 28, 28))
    with pytest.raises(NotImplementedError, match="mean_of has that of 64 draws"):
        posterior.mean  # noqa: B018
    with pytest.raises(NotImplementedError, match="moments"):
        posterior.stddev  # noqa: B018


class Neural(nn.Module):
    """A flow of zuko's that has no name here."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        import zuko

        self.latent_dim = latent_dim
        self.flow = zuko.flows.SOSPF(latent_dim, 2 * latent_dim, transforms=1, hidden_features=(8,))

    def forward(self, context: Tensor) -> Any:
        return self.flow.transform(context)


def test_any_conditional_flow_of_zukos_goes_around_an_encoder(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = mv.VAE(2, encoder=FlowEncoder(networks.MLPEncoder(2, hidden=(8,)), Neural(2)))
    x = torch.rand(30, 1, 28, 28)
    before = model.encoder.kind.flow.transform(torch.zeros(1, 4))(torch.ones(1, 2)).detach()
    mv.Trainer(epochs=1, progress=False).fit(model, x)
    assert not torch.equal(model.encoder.kind.flow.transform(torch.zeros(1, 4))(torch.ones(1, 2)), before)
    axis = torch.linspace(-8, 8, 400, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        density = model.double().eval().encode(x[:1].double()).expand((len(grid),)).log_prob(grid).exp()
    assert float(density.sum() * (axis[1] - axis[0]) ** 2) == pytest.approx(1, abs=1e-3)
    mv.save(model.float(), tmp_path / "a.safetensors")
    same = mv.load(tmp_path / "a.safetensors", classes=[Neural])
    torch.manual_seed(0)
    drawn = model.encode(x).sample()
    torch.manual_seed(0)
    assert torch.equal(same.encode(x).sample(), drawn)


def test_a_flow_of_ones_own_has_to_make_a_transform() -> None:
    with pytest.raises(ComponentError, match="a flow that makes a transform with call_and_ladj, got a Tensor"):
        mv.VAE(2, encoder=FlowEncoder(networks.MLPEncoder(2), nn.Identity()))
    with pytest.raises(SettingError, match="kind as a module of your own, or one of 'iaf', 'nsf', 'realnvp'"):
        FlowEncoder(networks.MLPEncoder(2), "naf")  # type: ignore[arg-type]
