"""VAE, BetaVAE, ConditionalVAE: the verbs, the parts that fit them, and those that do not."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributions as td
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from mnistvae.distributions import DiagonalNormal, PixelBernoulli
from mnistvae.errors import ComponentError, DataError, SettingError
from mnistvae.images import ImageShape
from mnistvae.likelihoods import Bernoulli, Likelihood
from mnistvae.losses import gaussian_kl
from mnistvae.models import VAE, BetaVAE, ConditionalVAE
from mnistvae.networks import (
    ConvDecoder,
    ConvEncoder,
    Decoder,
    Encoder,
    GaussianEncoder,
    MLPDecoder,
    MLPEncoder,
    TrunkDecoder,
)
from mnistvae.objectives import ELBO, LatentVariableModel, Objective, Terms
from mnistvae.priors import Encode, Prior, StandardNormal

LATENT = 3
SMALL: ImageShape = (1, 6, 6)
CLASSES = 4


def small_vae(**kwargs: Any) -> VAE:
    return VAE(LATENT, SMALL, **kwargs)


def seed(value: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(value)


# ---------------------------------------------------------------------------------------- parts that a user writes


class Wiggly(nn.Module):
    """A plain trunk with a training mode that matters."""

    def __init__(self, shape: ImageShape = SMALL) -> None:
        super().__init__()
        self.shape = shape
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(math.prod(shape), 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5)
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out


class MeanEncoder(Encoder):
    """Codes are the mean pixel."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.scale = nn.Parameter(torch.ones(latent_dim))

    def forward(self, x: Tensor, y: Tensor | None = None) -> DiagonalNormal:
        mu = x.mean((1, 2, 3))[:, None] * self.scale
        return DiagonalNormal(mu, torch.zeros_like(mu))


class Constant(Decoder):
    """Every code gives the same image."""

    def __init__(self, latent_dim: int, shape: ImageShape) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.shape = shape
        self.logits = nn.Parameter(torch.randn(shape))

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return self.logits.expand(len(z), *self.shape)


class TwoParameterNormal(Likelihood):
    """Pixels with a mean and a scale each."""

    n_params = 2

    def forward(self, params: Tensor) -> td.Independent:
        mean, log_scale = params.chunk(2, dim=1)
        return td.Independent(td.Normal(mean.sigmoid(), log_scale.exp()), 3)

    def tag(self, binarization: str = "none") -> str:
        return "normal"


class Mixture(Prior):
    """A prior that has no closed-form KL, and none of its own latent_dim."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.means = nn.Parameter(torch.randn(5, size))

    def forward(self, y: Tensor | None = None, *, encode: Encode | None = None) -> td.Distribution:
        components = td.Independent(td.Normal(self.means, torch.ones_like(self.means)), 1)
        return td.MixtureSameFamily(td.Categorical(logits=torch.zeros(5)), components)


class Peaked(Prior):
    """Neither a normal nor a mixture."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.middle = nn.Parameter(torch.randn(size))

    def forward(self, y: Tensor | None = None, *, encode: Encode | None = None) -> td.Distribution:
        return td.Independent(td.Laplace(self.middle, torch.ones_like(self.middle)), 1)


class LabelPrior(Prior):
    """One normal for each class: its batch is that of the labels."""

    def __init__(self, latent_dim: int, num_classes: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.num_classes = num_classes
        self.means = nn.Embedding(num_classes, latent_dim)

    def forward(self, y: Tensor | None = None, *, encode: Encode | None = None) -> DiagonalNormal:
        assert y is not None
        mu = self.means(y)
        return DiagonalNormal(mu, torch.zeros_like(mu))


class PosteriorOfBlack(Prior):
    """A prior made of the model's own encoder, as a VampPrior is."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim

    def forward(self, y: Tensor | None = None, *, encode: Encode | None = None) -> td.Distribution:
        assert encode is not None
        q = encode(torch.zeros(1, *SMALL), None)
        assert isinstance(q, DiagonalNormal)
        return DiagonalNormal(q.mu[0], q.logvar[0])


class OnlyReconstruct(Objective):
    """A loss without a KL term."""

    def forward(self, model: LatentVariableModel, x: Tensor, y: Tensor | None = None) -> Terms:
        q = model.encode(x, y)
        reconstruction = -model.decode(q.mean, y).log_prob(x)
        return Terms(reconstruction, reconstruction, torch.zeros_like(reconstruction))


class Doubled(VAE):
    """A subclass that overrides the one method it is meant to."""

    def loss(self, x: Any, y: Any = None) -> Terms:
        terms = super().loss(x, y)
        return terms._replace(loss=2 * terms.loss)


# --------------------------------------------------------------------------------------------------------- shapes

KINDS: dict[str, Callable[[ImageShape], VAE]] = {
    "VAE": lambda shape: VAE(LATENT, shape),
    "BetaVAE": lambda shape: BetaVAE(LATENT, 2.0, shape),
    "ConditionalVAE": lambda shape: ConditionalVAE(LATENT, CLASSES, shape),
}


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 8, 8), (2, 9, 17), (1, 6, 6), (3, 1, 2)], ids=str)
@pytest.mark.parametrize("kind", list(KINDS))
def test_the_verbs_give_the_shapes_they_promise(kind: str, shape: ImageShape) -> None:
    model = KINDS[kind](shape)
    n = 3
    x = torch.rand(n, *shape)
    y = torch.arange(n) if kind == "ConditionalVAE" else None
    q = model.encode(x, y)
    assert (q.batch_shape, q.event_shape) == ((n,), (LATENT,))
    p = model.decode(q.mean, y)
    assert (p.batch_shape, p.event_shape) == ((n,), shape)
    assert model.latent_prior(y).event_shape == (LATENT,)
    for term in model.loss(x, y).by_name().values():
        assert term.shape == (n,)
        assert term.isfinite().all()
    out = model(x, y)
    assert out.z.shape == (n, LATENT)
    assert out.posterior.batch_shape == out.likelihood.batch_shape == (n,)
    assert torch.equal(out.reconstruction, out.likelihood.mean)
    for images, expected in (
        (out.reconstruction, (n, *shape)),
        (model.reconstruct(x, y), (n, *shape)),
        (model.reconstruct(x, y, sample=True), (n, *shape)),
        (model.sample(5), (5, *shape)),
        (model.sample(n, y), (n, *shape)),
        (model.interpolate(x, x.flip(0), 4, y), (n, 4, *shape)),
        (model.interpolate(x[0], x[1], 4, None if y is None else 2), (4, *shape)),
    ):
        assert images.shape == expected
        assert images.min() >= 0
        assert images.max() <= 1


def test_networks_are_convolutional_where_the_images_are_large_enough() -> None:
    large, small = VAE(2, (1, 8, 8)), VAE(2, (1, 7, 28))
    assert (type(large.encoder), type(large.decoder)) == (ConvEncoder, ConvDecoder)
    assert (type(small.encoder), type(small.decoder)) == (MLPEncoder, MLPDecoder)


def test_the_presets_fill_in_the_constructor() -> None:
    plain, beta, conditional = small_vae(), BetaVAE(LATENT, 3.0, SMALL), ConditionalVAE(LATENT, 7, SMALL)
    assert isinstance(plain.objective, ELBO)
    assert (plain.objective.beta, plain.num_classes, plain.uses_labels) == (1.0, None, False)
    assert isinstance(beta.objective, ELBO)
    assert (beta.objective.beta, beta.beta, beta.num_classes) == (3.0, 3.0, None)
    assert (conditional.num_classes, conditional.uses_labels) == (7, True)
    assert BetaVAE(LATENT, image_shape=SMALL).beta == 4.0
    assert ConditionalVAE(LATENT, image_shape=SMALL).num_classes == 10


def test_beta_follows_the_objective_and_is_gone_with_it() -> None:
    model = BetaVAE(LATENT, 3.0, SMALL)
    model.objective = ELBO(5.0)
    assert model.beta == 5.0
    model.objective = OnlyReconstruct()
    assert not hasattr(model, "beta")


# ----------------------------------------------------------------------------------------------------------- loss


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0, 4.0])
def test_the_loss_is_reconstruction_plus_beta_times_kl(beta: float) -> None:
    model = BetaVAE(LATENT, beta, SMALL)
    x = torch.rand(5, *SMALL)
    terms = model.loss(x)
    torch.testing.assert_close(terms.loss, terms.reconstruction + beta * terms.kl)
    q = model.encode(x)
    assert isinstance(q, DiagonalNormal)
    torch.testing.assert_close(terms.kl, gaussian_kl(q.mu, q.logvar))


def test_the_reconstruction_term_is_minus_the_log_likelihood_at_a_draw() -> None:
    model, x = small_vae(), torch.rand(5, *SMALL)
    torch.manual_seed(3)
    terms = model.loss(x)
    torch.manual_seed(3)
    out = model(x)
    torch.testing.assert_close(terms.reconstruction, -out.likelihood.log_prob(x))


def test_the_loss_reaches_every_parameter_and_falls_when_followed() -> None:
    model, x = small_vae(), torch.rand(16, *SMALL).round()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = model.loss(x).loss.mean()
        loss.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])


@pytest.mark.parametrize("beta", [-0.1, float("inf"), float("nan")])
def test_beta_is_finite_and_not_negative(beta: float) -> None:
    with pytest.raises(SettingError, match="expected a finite beta of at least 0, got"):
        BetaVAE(LATENT, beta, SMALL)


# -------------------------------------------------------------------------------------------- forms of the images


@pytest.mark.parametrize("shape", [(1, 6, 6), (3, 8, 9)], ids=str)
def test_every_form_of_the_images_gives_the_same(shape: ImageShape) -> None:
    model = VAE(LATENT, shape)
    levels = torch.randint(0, 256, (4, *shape), dtype=torch.uint8)
    x = levels / 255
    forms: list[Any] = [levels, levels.numpy(), x.numpy(), x.flatten(1), x.double(), levels.flatten(1).numpy()]
    if shape[0] == 1:
        forms += [x[:, 0], levels[:, 0].numpy()]
    mean, image, between = model.encode(x).mean, model.reconstruct(x), model.interpolate(x, x.flip(0), 3)
    torch.manual_seed(1)
    loss = model.loss(x).loss
    for form in forms:
        torch.testing.assert_close(model.encode(form).mean, mean)
        torch.testing.assert_close(model.reconstruct(form), image)
        torch.testing.assert_close(model.interpolate(form, form[[3, 2, 1, 0]], 3), between)
        torch.manual_seed(1)
        torch.testing.assert_close(model.loss(form).loss, loss)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_model_computes_in_its_own_dtype(dtype: torch.dtype) -> None:
    model = VAE(LATENT, (1, 8, 8)).to(dtype)
    x = torch.rand(4, 1, 8, 8)
    assert model.dtype is dtype
    for out in (model.loss(x).loss, model.reconstruct(x), model.sample(2), model.interpolate(x[0], x[1], 3)):
        assert out.dtype is dtype
        assert out.isfinite().all()


# ------------------------------------------------------------------------- reconstruct, sample, interpolate: modes


def wiggly_vae(**kwargs: Any) -> VAE:
    decoder = TrunkDecoder(nn.Sequential(nn.Linear(LATENT, 8), nn.Dropout(0.5), nn.Linear(8, 36)), LATENT, SMALL)
    return small_vae(encoder=GaussianEncoder(Wiggly(), LATENT), decoder=decoder, **kwargs)


@pytest.mark.parametrize(
    "verb",
    [
        lambda model: model.reconstruct(torch.rand(4, *SMALL)),
        lambda model: model.reconstruct(torch.rand(4, *SMALL), sample=True),
        lambda model: model.sample(4),
        lambda model: model.interpolate(torch.rand(*SMALL), torch.rand(*SMALL), 3),
    ],
    ids=["reconstruct", "reconstruct a draw", "sample", "interpolate"],
)
def test_images_are_made_in_evaluation_mode_and_every_part_goes_back_to_its_own(verb: Callable[[VAE], Tensor]) -> None:
    model = wiggly_vae().train()
    model.encoder.trunk.layers[2].eval()  # a frozen layer, in the midst of a model in training
    modes = {name: module.training for name, module in model.named_modules()}
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    seen: list[bool] = []
    model.decoder.register_forward_hook(lambda module, inputs, out: seen.append(module.training))
    images = verb(model)
    assert seen == [False]
    assert not images.requires_grad
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert all(torch.equal(value, buffers[name]) for name, value in model.named_buffers())
    with pytest.raises(DataError, match="got a maximum of 7"):
        model.reconstruct(torch.full((4, *SMALL), 7.0))
    assert {name: module.training for name, module in model.named_modules()} == modes


def test_the_loss_is_computed_in_the_mode_the_model_is_in_and_keeps_gradients() -> None:
    model = wiggly_vae().train()
    seen: list[bool] = []
    model.decoder.register_forward_hook(lambda module, inputs, out: seen.append(module.training))
    assert model.loss(torch.rand(4, *SMALL)).loss.requires_grad
    assert model(torch.rand(4, *SMALL)).reconstruction.requires_grad
    assert model.eval().loss(torch.rand(4, *SMALL)).loss.requires_grad
    assert seen == [True, True, False]


def test_reconstruct_decodes_the_mean_or_a_draw() -> None:
    model, x = small_vae(), torch.rand(4, *SMALL)
    mean = model.decode(model.encode(x).mean).mean
    assert torch.equal(model.reconstruct(x), mean)
    assert torch.equal(model.reconstruct(x), model.reconstruct(x))
    drawn = model.reconstruct(x, sample=True, generator=seed(1))
    assert not torch.equal(drawn, mean)
    assert torch.equal(drawn, model.reconstruct(x, sample=True, generator=seed(1)))
    assert not torch.equal(drawn, model.reconstruct(x, sample=True, generator=seed(2)))


@pytest.mark.parametrize("conditional", [False, True])
def test_a_generator_makes_samples_repeat_and_leaves_the_global_state_alone(conditional: bool) -> None:
    model = small_vae(num_classes=CLASSES if conditional else None)
    x, y = torch.rand(6, *SMALL), torch.zeros(6, dtype=torch.long) if conditional else None
    before = torch.get_rng_state()
    first = model.sample(6, generator=seed(1))
    torch.randn(3)
    again = model.sample(6, generator=seed(1))
    torch.set_rng_state(before)
    other = model.sample(6, generator=seed(2))
    model.reconstruct(x, y, sample=True, generator=seed(3))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_generator_moves_on_from_call_to_call() -> None:
    model, generator = small_vae(), seed(1)
    assert not torch.equal(model.sample(6, generator=generator), model.sample(6, generator=generator))


def test_without_a_generator_the_global_seed_decides() -> None:
    model = small_vae()
    torch.manual_seed(1)
    first, second = model.sample(6), model.sample(6)
    torch.manual_seed(1)
    assert torch.equal(model.sample(6), first)
    assert not torch.equal(first, second)


def test_temperature_scales_codes_about_the_mean_of_the_prior() -> None:
    model = small_vae(prior=Peaked(LATENT))
    assert torch.equal(
        model.sample(3, temperature=0.0), model.decode(model.latent_prior().mean.expand(3, LATENT)).mean.detach()
    )
    codes: list[Tensor] = []
    model.decoder.register_forward_hook(lambda module, inputs, out: codes.append(inputs[0]))
    for temperature in (1.0, 0.5, 2.0):
        model.sample(4, temperature=temperature, generator=seed(1))
    centre = model.latent_prior().mean.detach()
    torch.testing.assert_close(codes[1] - centre, 0.5 * (codes[0] - centre))
    torch.testing.assert_close(codes[2] - centre, 2 * (codes[0] - centre))


def test_samples_are_drawn_from_the_prior() -> None:
    model = small_vae(decoder=Constant(LATENT, SMALL))
    codes: list[Tensor] = []
    model.decoder.register_forward_hook(lambda module, inputs, out: codes.append(inputs[0]))
    images = model.sample(5000)
    assert torch.equal(images, model.decoder.logits.detach().sigmoid().expand(5000, *SMALL))
    drawn = torch.cat(codes)
    assert drawn.mean(0).abs().max() < 5 / math.sqrt(5000)
    assert (drawn.var(0) - 1).abs().max() < 5 * math.sqrt(2 / 5000)


def test_a_conditional_model_samples_the_class_asked_for_or_all_evenly() -> None:
    model = ConditionalVAE(LATENT, CLASSES, SMALL)
    seen: list[list[int]] = []
    model.decoder.register_forward_hook(lambda module, inputs, out: seen.append(inputs[1].tolist()))
    for y in (None, 3, [0, 1, 2, 3, 0, 0], torch.full((6,), 2), np.array([1] * 6)):
        assert model.sample(6, y).shape == (6, *SMALL)
    assert seen == [[0, 1, 2, 3, 0, 1], [3] * 6, [0, 1, 2, 3, 0, 0], [2] * 6, [1] * 6]
    codes_apart = model.sample(1, 0, generator=seed(1)), model.sample(1, 1, generator=seed(1))
    assert not torch.equal(*codes_apart)


@given(steps=st.integers(2, 6), n=st.integers(1, 3), conditional=st.booleans(), number=st.integers(0, 2**31))
@settings(max_examples=10)
def test_interpolation_runs_straight_from_one_reconstruction_to_the_other(
    steps: int, n: int, conditional: bool, number: int
) -> None:
    torch.manual_seed(number)
    model = small_vae(num_classes=CLASSES if conditional else None)
    a, b = torch.rand(n, *SMALL), torch.rand(n, *SMALL)
    y = torch.arange(n) if conditional else None
    between = model.interpolate(a, b, steps, y)
    assert between.shape == (n, steps, *SMALL)
    torch.testing.assert_close(between[:, 0], model.reconstruct(a, y))
    torch.testing.assert_close(between[:, -1], model.reconstruct(b, y))
    torch.testing.assert_close(between.flip(1), model.interpolate(b, a, steps, y))
    for i in range(n):
        alone = model.interpolate(a[i], b[i], steps, None if y is None else int(y[i]))
        torch.testing.assert_close(alone, between[i])
    middle = 0.5 * (model.encode(a, y).mean + model.encode(b, y).mean)
    torch.testing.assert_close(model.interpolate(a, b, 3, y)[:, 1], model.decode(middle, y).mean.detach())


# ----------------------------------------------------------------------------------------------- random state


class DrawsWhenAsked(MeanEncoder):
    """Uses up random numbers in every forward pass."""

    def forward(self, x: Tensor, y: Tensor | None = None) -> DiagonalNormal:
        torch.randn(7)
        return super().forward(x, y)


def test_looking_whether_parts_fit_uses_up_no_random_numbers() -> None:
    torch.manual_seed(4)
    encoder, decoder = MLPEncoder(LATENT, SMALL), MLPDecoder(LATENT, SMALL)
    expected = torch.randn(3)
    torch.manual_seed(4)
    model = small_vae()
    assert torch.equal(torch.randn(3), expected)
    assert torch.equal(model.encoder.network.first.layer.weight, encoder.network.first.layer.weight)
    assert torch.equal(model.decoder.network.first.layer.weight, decoder.network.first.layer.weight)
    parts = {"encoder": DrawsWhenAsked(LATENT), "decoder": Constant(LATENT, SMALL)}
    before = torch.get_rng_state()
    small_vae(**parts)
    assert torch.equal(torch.get_rng_state(), before)


def test_every_weight_follows_the_global_seed() -> None:
    def weights(number: int) -> dict[str, Tensor]:
        torch.manual_seed(number)
        return wiggly_vae().state_dict()

    first, again, other = weights(1), weights(1), weights(2)
    drawn = [name for name in first if "layers.2" not in name]  # the batch normalisation starts without chance
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert [name for name in drawn if torch.equal(first[name], other[name])] == []


def test_looking_whether_parts_fit_leaves_them_in_their_mode_and_state() -> None:
    trunk = Wiggly()
    before = {name: value.clone() for name, value in trunk.state_dict().items()}
    model = small_vae(encoder=GaussianEncoder(trunk, LATENT))
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in trunk.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


# ------------------------------------------------------------------------------------------------- a user's parts


def test_a_subclass_overrides_the_loss() -> None:
    model = Doubled(LATENT, SMALL)
    terms = model.loss(torch.rand(4, *SMALL))
    torch.testing.assert_close(terms.loss, 2 * (terms.reconstruction + terms.kl))
    assert repr(model).startswith("Doubled(")


@pytest.mark.parametrize(
    "parts",
    [
        lambda: {"encoder": MeanEncoder(LATENT)},
        lambda: {"decoder": Constant(LATENT, SMALL)},
        lambda: {"likelihood": TwoParameterNormal()},
        lambda: {"likelihood": TwoParameterNormal(), "decoder": MLPDecoder(LATENT, SMALL, n_params=2)},
        lambda: {"prior": Mixture(LATENT)},
        lambda: {"prior": PosteriorOfBlack(LATENT)},
        lambda: {"objective": OnlyReconstruct()},
        lambda: {"encoder": GaussianEncoder(Wiggly(), LATENT)},
        lambda: {"decoder": TrunkDecoder(nn.Linear(LATENT, 36), LATENT, SMALL)},
        lambda: {"decoder": TrunkDecoder(nn.Linear(LATENT, 72), LATENT, SMALL, 2), "likelihood": TwoParameterNormal()},
        lambda: {"encoder": MLPEncoder(LATENT, SMALL, ()), "decoder": MLPDecoder(LATENT, SMALL, ())},
        lambda: {
            "encoder": MeanEncoder(LATENT),
            "decoder": Constant(LATENT, SMALL),
            "likelihood": Bernoulli(),
            "prior": Mixture(LATENT),
            "objective": ELBO(0.5),
        },
    ],
)
def test_any_part_can_be_replaced(parts: Callable[[], dict[str, Any]]) -> None:
    made = parts()
    model = small_vae(**made)
    for name, part in made.items():
        assert getattr(model, name) is part
    x = torch.rand(4, *SMALL)
    terms = model.loss(x)
    terms.loss.mean().backward()
    assert all(term.shape == (4,) and term.isfinite().all() for term in terms.by_name().values())
    assert any(parameter.grad is not None for parameter in model.parameters())
    assert model.reconstruct(x).shape == (4, *SMALL)
    assert model.sample(2).shape == (2, *SMALL)


def test_a_prior_for_each_class_draws_one_code_for_each_label() -> None:
    model = ConditionalVAE(LATENT, CLASSES, SMALL, prior=LabelPrior(LATENT, CLASSES))
    y = torch.tensor([0, 3, 3, 1])
    codes: list[Tensor] = []
    model.decoder.register_forward_hook(lambda module, inputs, out: codes.append(inputs[0]))
    assert model.sample(4, y, temperature=0.0).shape == (4, *SMALL)
    torch.testing.assert_close(codes[0], model.prior.means(y))
    assert model.loss(torch.rand(4, *SMALL), y).kl.shape == (4,)
    assert model.sample(4, 2).shape == (4, *SMALL)


def test_a_conditional_model_takes_trunks_too() -> None:
    model = ConditionalVAE(
        LATENT,
        CLASSES,
        SMALL,
        encoder=GaussianEncoder(Wiggly(), LATENT, num_classes=CLASSES),
        decoder=TrunkDecoder(nn.Linear(LATENT, 36), LATENT, SMALL, num_classes=CLASSES),
    )
    x = torch.rand(4, *SMALL)
    assert model.loss(x, [0, 1, 2, 3]).loss.shape == (4,)
    assert not torch.equal(model.reconstruct(x, 0), model.reconstruct(x, 1))


# --------------------------------------------------------------------------------------------- parts that do not fit


class TensorEncoder(MeanEncoder):
    def forward(self, x: Tensor, y: Tensor | None = None) -> Any:
        return x.flatten(1)[:, :LATENT]


class FlatEncoder(MeanEncoder):
    """Forgets to make the code one event."""

    def forward(self, x: Tensor, y: Tensor | None = None) -> Any:
        return super().forward(x).base_dist


class WideEncoder(MeanEncoder):
    """Says one size and gives another."""

    def forward(self, x: Tensor, y: Tensor | None = None) -> Any:
        return DiagonalNormal(torch.zeros(len(x), LATENT + 2), torch.zeros(len(x), LATENT + 2))


class AveragingEncoder(MeanEncoder):
    """Loses the batch."""

    def forward(self, x: Tensor, y: Tensor | None = None) -> Any:
        return DiagonalNormal(torch.zeros(LATENT), torch.zeros(LATENT))


class PairDecoder(Constant):
    def forward(self, z: Tensor, y: Tensor | None = None) -> Any:
        return super().forward(z), None


class FlatLikelihood(Bernoulli):
    def forward(self, params: Tensor) -> Any:
        return td.Bernoulli(logits=params, validate_args=False)


class TensorLikelihood(Bernoulli):
    def forward(self, params: Tensor) -> Any:
        return params.sigmoid()


class FlatPrior(StandardNormal):
    def forward(self, y: Tensor | None = None, *, encode: Encode | None = None) -> Any:
        return td.Normal(self.zero, self.zero.exp())


class TensorPrior(StandardNormal):
    def forward(self, y: Tensor | None = None, *, encode: Encode | None = None) -> Any:
        return self.zero


class Raises(nn.Module):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def forward(self, x: Tensor) -> Tensor:
        raise self.error


MISFITS: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "latent_dim of the encoder": (
        lambda: {"encoder": MLPEncoder(5, SMALL)},
        r"expected an encoder with latent_dim=3, got latent_dim=5: give the model and its encoder the same latent_dim",
    ),
    "latent_dim of the decoder": (
        lambda: {"decoder": MLPDecoder(5, SMALL)},
        r"expected a decoder with latent_dim=3, got latent_dim=5: give the model and its decoder the same latent_dim",
    ),
    "latent_dim of the prior": (
        lambda: {"prior": StandardNormal(5)},
        r"expected a prior with latent_dim=3, got latent_dim=5: give the model and its prior the same latent_dim",
    ),
    "size of a prior that does not tell": (
        lambda: {"prior": Mixture(5)},
        r"expected the prior to return a distribution .* event shape \(3,\), got .*event shape \(5,\).*: wrap it",
    ),
    "image shape of the encoder": (
        lambda: {"encoder": MLPEncoder(LATENT, (1, 5, 6))},
        r"expected an encoder for images of shape \(1, 6, 6\), got \(1, 5, 6\): give the model and its encoder the",
    ),
    "image shape of the decoder": (
        lambda: {"decoder": MLPDecoder(LATENT, (1, 5, 6))},
        r"expected a decoder for images of shape \(1, 6, 6\), got \(1, 5, 6\): give the model and its decoder the same",
    ),
    "n_params of the likelihood": (
        lambda: {"likelihood": TwoParameterNormal(), "decoder": MLPDecoder(LATENT, SMALL)},
        r"parameters \(B, 2, 6, 6\), 2 for each pixel as .* asks, got shape \(1, 1, 6, 6\): .* n_params=2",
    ),
    "n_params of the decoder": (
        lambda: {"decoder": MLPDecoder(LATENT, SMALL, n_params=3)},
        r"1 for each pixel as Bernoulli asks, got shape \(1, 3, 6, 6\): make it with n_params=1",
    ),
    "classes of the encoder": (
        lambda: {"encoder": MLPEncoder(LATENT, SMALL, num_classes=5)},
        r"expected an encoder with num_classes=None, got num_classes=5: give the model and its encoder the same",
    ),
    "classes of the decoder": (
        lambda: {"decoder": MLPDecoder(LATENT, SMALL), "num_classes": 4},
        r"expected a decoder with num_classes=4, got num_classes=None: give the model and its decoder the same num_cla",
    ),
    "a plain encoder": (
        lambda: {"encoder": nn.Flatten()},
        r"expected encoder as a mnistvae Encoder, got a Flatten: wrap a plain module: GaussianEncoder\(module, latent",
    ),
    "a plain decoder": (
        lambda: {"decoder": nn.Linear(LATENT, 36)},
        r"expected decoder as a mnistvae Decoder, got a Linear: wrap a plain module: TrunkDecoder\(module, latent_dim",
    ),
    "a plain likelihood": (
        lambda: {"likelihood": nn.Sigmoid()},
        r"expected likelihood as a mnistvae Likelihood, got a Sigmoid: pass an instance of a subclass of Likelihood",
    ),
    "a distribution for a prior": (
        lambda: {"prior": td.Normal(0, 1)},
        r"expected prior as a mnistvae Prior, got a Normal: pass an instance of a subclass of Prior",
    ),
    "a word for an objective": (
        lambda: {"objective": "elbo"},
        r"expected objective as a mnistvae Objective, got a str: pass an instance of a subclass of Objective",
    ),
    "a class for an encoder": (
        lambda: {"encoder": MLPEncoder},
        r"expected encoder as an instance, got the class MLPEncoder",
    ),
    "parts swapped": (
        lambda: {"encoder": MLPDecoder(LATENT, SMALL)},
        r"expected encoder as a mnistvae Encoder, got an MLPDecoder",
    ),
    "an encoder that gives a tensor": (
        lambda: {"encoder": TensorEncoder(LATENT)},
        r"expected the encoder to return a torch\.distributions\.Distribution, got a Tensor",
    ),
    "an encoder without an event": (
        lambda: {"encoder": FlatEncoder(LATENT)},
        r"expected the encoder to .*, got batch shape \(1, 3\) and event shape \(\) .*: wrap .*Independent\(\.\.\., 1",
    ),
    "an encoder of another size than it says": (
        lambda: {"encoder": WideEncoder(LATENT)},
        r"event shape \(3,\), got batch shape \(1,\) and event shape \(5,\)",
    ),
    "an encoder without a batch": (
        lambda: {"encoder": AveragingEncoder(LATENT)},
        r"expected the encoder to return .*batch shape \(B,\).*, got batch shape \(\) and event shape \(3,\)",
    ),
    "a decoder that gives a pair": (
        lambda: {"decoder": PairDecoder(LATENT, SMALL)},
        r"expected the decoder to return parameters \(B, 1, 6, 6\), .*, got a tuple: make it with",
    ),
    "a decoder of another shape": (
        lambda: {"decoder": Constant(LATENT, (1, 6, 7))},
        r"the decoder to return parameters \(B, 1, 6, 6\).*, got shape \(1, 1, 6, 7\): make it with .*\(1, 6, 6\)",
    ),
    "a likelihood without an event": (
        lambda: {"likelihood": FlatLikelihood()},
        r"expected the likelihood to return .* event shape \(1, 6, 6\), got .*event shape \(\).*Independent\(\.\.\., 3",
    ),
    "a likelihood that gives a tensor": (
        lambda: {"likelihood": TensorLikelihood()},
        r"expected the likelihood to return a torch\.distributions\.Distribution, got a Tensor",
    ),
    "a prior without an event": (
        lambda: {"prior": FlatPrior(LATENT)},
        r"expected the prior to return .* event shape \(3,\), got batch shape \(3,\) and event shape \(\)",
    ),
    "a prior that gives a tensor": (
        lambda: {"prior": TensorPrior(LATENT)},
        r"expected the prior to return a torch\.distributions\.Distribution, got a Tensor",
    ),
    "a trunk for other images": (
        lambda: {"encoder": GaussianEncoder(Wiggly((1, 5, 5)), LATENT)},
        r"expected the encoder to take images of shape \(1, 6, 6\) .*, got RuntimeError: .*mat1 and mat2 .*: try it",
    ),
    "a trunk for other codes": (
        lambda: {"decoder": TrunkDecoder(nn.Linear(7, 36), LATENT, SMALL)},
        r"expected the decoder to take codes of size 3 .*, got RuntimeError: .*mat1 and mat2 .*: try it",
    ),
    "a trunk with too few pixels": (
        lambda: {"decoder": TrunkDecoder(nn.Linear(LATENT, 30), LATENT, SMALL)},
        r"the trunk to return 36 numbers an image, .*, got shape \(1, 30\): change its last layer, or image_shape",
    ),
    **{
        f"a trunk that raises {type(error).__name__}": (
            lambda error=error: {"encoder": GaussianEncoder(Raises(error), LATENT)},  # type: ignore[misc]
            rf"expected the encoder to take images of .*, got {type(error).__name__}: no.*: try it alone: model\.encod",
        )
        for error in (RuntimeError("no\nmore"), TypeError("no"), ValueError("no"), IndexError("no"))
    },
}


@pytest.mark.parametrize("name", list(MISFITS))
def test_parts_that_do_not_fit_are_refused_when_the_model_is_made(name: str) -> None:
    parts, message = MISFITS[name]
    made = parts()
    with pytest.raises(ComponentError, match=message):
        small_vae(**made)


@pytest.mark.parametrize("latent_dim", [0, -1, 1.5, "2", None])
def test_latent_dim_is_a_positive_integer(latent_dim: Any) -> None:
    with pytest.raises(SettingError, match="expected latent_dim as an integer of at least 1, got"):
        VAE(latent_dim, SMALL)


@pytest.mark.parametrize("shape", [(28, 28), (1, 0, 28), 28, None])
def test_image_shape_is_three_positive_integers(shape: Any) -> None:
    with pytest.raises(SettingError, match="expected image_shape as three positive integers"):
        VAE(LATENT, shape)


@pytest.mark.parametrize("num_classes", [0, -3])
def test_num_classes_is_positive(num_classes: int) -> None:
    with pytest.raises(SettingError, match=f"expected num_classes of at least 1, or None, got {num_classes}"):
        ConditionalVAE(LATENT, num_classes, SMALL)


# ------------------------------------------------------------------------------------------ images and labels refused

IMAGE_VERBS: dict[str, Callable[[VAE, Any], Any]] = {
    "encode": lambda model, x: model.encode(x),
    "loss": lambda model, x: model.loss(x),
    "forward": lambda model, x: model(x),
    "reconstruct": lambda model, x: model.reconstruct(x),
    "interpolate": lambda model, x: model.interpolate(x, x),
}


@pytest.mark.parametrize("verb", list(IMAGE_VERBS))
@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(4, 1, 6, 7), r"expected images of shape \(B, 1, 6, 6\) .*, got shape \(4, 1, 6, 7\): reshape"),
        (torch.zeros(4, 3, 6, 6), r"got shape \(4, 3, 6, 6\)"),
        (torch.zeros(4, 1, 6, 6, dtype=torch.int64), r"expected images as floats .*, got dtype torch\.int64: convert"),
        (np.zeros((4, 1, 6, 6), dtype=np.int16), r"got dtype torch\.int16: convert: x\.astype\(np\.uint8\)"),
    ],
)
def test_images_of_another_shape_or_dtype_are_refused(verb: str, x: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        IMAGE_VERBS[verb](small_vae(), x)


@pytest.mark.parametrize("verb", ["reconstruct", "interpolate"])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (255.0, r"expected images in \[0, 1\], got a maximum of 255.0: divide by 255, or pass the uint8 tensor"),
        (-1.0, r"expected images in \[0, 1\], got a minimum of -1.0: undo the normalisation"),
        (math.nan, "expected finite images, got NaN"),
        (math.inf, "finite images, got NaN or infinity in"),
    ],
)
def test_images_out_of_range_are_refused(verb: str, value: float, message: str) -> None:
    x = torch.rand(4, *SMALL)
    x[2, 0, 3, 3] = value
    with pytest.raises(DataError, match=message):
        IMAGE_VERBS[verb](small_vae(), x)


def test_interpolation_wants_two_images_of_one_shape_and_two_steps() -> None:
    model = small_vae()
    with pytest.raises(DataError, match=r"expected two images of one shape, \(1, 6, 6\), got shape \(2, 1, 6, 6\)"):
        model.interpolate(torch.rand(*SMALL), torch.rand(2, *SMALL))
    with pytest.raises(SettingError, match="expected at least 2 steps, got 1: the ends count as two"):
        model.interpolate(torch.rand(*SMALL), torch.rand(*SMALL), 1)


@pytest.mark.parametrize("shape", [(LATENT,), (4, LATENT + 1), (2, 4, LATENT)])
def test_codes_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"expected codes as a tensor of shape \(B, 3\), got shape"):
        small_vae().decode(torch.zeros(shape))


@pytest.mark.parametrize("n", [0, -2])
def test_at_least_one_image_is_sampled(n: int) -> None:
    with pytest.raises(SettingError, match=f"expected at least one image to sample, got {n}"):
        small_vae().sample(n)


@pytest.mark.parametrize("temperature", [-0.1, math.inf, math.nan])
def test_a_temperature_is_finite_and_not_negative(temperature: float) -> None:
    with pytest.raises(SettingError, match="expected a finite temperature of at least 0, got"):
        small_vae().sample(2, temperature=temperature)


LABEL_VERBS: dict[str, Callable[[VAE, Any], Any]] = {
    "encode": lambda model, y: model.encode(torch.rand(4, *SMALL), y),
    "decode": lambda model, y: model.decode(torch.randn(4, LATENT), y),
    "loss": lambda model, y: model.loss(torch.rand(4, *SMALL), y),
    "forward": lambda model, y: model(torch.rand(4, *SMALL), y),
    "reconstruct": lambda model, y: model.reconstruct(torch.rand(4, *SMALL), y),
    "sample": lambda model, y: model.sample(4, y),
    "interpolate": lambda model, y: model.interpolate(torch.rand(4, *SMALL), torch.rand(4, *SMALL), 3, y),
}


@pytest.mark.parametrize("verb", list(LABEL_VERBS))
def test_an_unconditional_model_takes_no_labels(verb: str) -> None:
    with pytest.raises(
        DataError, match="expected no labels for an unconditional model, got labels: use ConditionalVAE"
    ):
        LABEL_VERBS[verb](small_vae(), torch.zeros(4, dtype=torch.long))


@pytest.mark.parametrize("verb", sorted(set(LABEL_VERBS) - {"sample"}))
def test_a_conditional_model_asks_for_labels(verb: str) -> None:
    with pytest.raises(DataError, match="expected labels for a model conditioned on 4 classes, got none: pass y"):
        LABEL_VERBS[verb](ConditionalVAE(LATENT, CLASSES, SMALL), None)


@pytest.mark.parametrize("verb", list(LABEL_VERBS))
@pytest.mark.parametrize(
    ("y", "message"),
    [
        (4, "expected labels from 0 to 3, got 4: number the classes from 0"),
        ([0, 1, -1, 2], "expected labels from 0 to 3, got -1"),
        ([0, 1, 2], r"expected one label for each of 4 images, shape \(4,\), got shape \(3,\)"),
        (torch.zeros(4), r"expected labels as integers, got dtype torch\.float32"),
        (torch.zeros(4, CLASSES, dtype=torch.long), r"got shape \(4, 4\): pass class numbers, not one-hot vectors"),
    ],
)
def test_labels_that_do_not_fit_are_refused(verb: str, y: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        LABEL_VERBS[verb](ConditionalVAE(LATENT, CLASSES, SMALL), y)


def test_a_likelihood_is_one_distribution_over_the_image() -> None:
    p = small_vae().decode(torch.zeros(2, LATENT))
    assert isinstance(p, PixelBernoulli)
    assert p.log_prob(torch.rand(2, *SMALL)).shape == (2,)
