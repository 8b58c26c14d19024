"""Recipes: each is the network that it says, trains, and can be changed where it says so."""

from __future__ import annotations

import copy
import inspect
import math
import pickle
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from mnistvae import VAE, ImageDataset, load, plugins, recipes, save
from mnistvae.errors import ComponentError, SettingError
from mnistvae.ladders import LadderDecoder, LadderEncoder, LadderPrior
from mnistvae.likelihoods import Bernoulli, Gaussian, Likelihood
from mnistvae.networks import ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder, ResNetDecoder, ResNetEncoder
from mnistvae.objectives import ELBO, IWAE, Objective
from mnistvae.priors import Flow, Prior, StandardNormal, VampPrior
from mnistvae.schedules import Linear

NAMES = recipes.names()
#: Changes that leave what a recipe is, and make it quick on a CPU.
SMALL: dict[str, dict[str, Any]] = {
    "vamp": {"components": 6},
    "vamp-conv": {"components": 6},
    "resnet-flow": {"channels": (8, 16), "hidden": (8,), "transforms": 2, "latent_dim": 6},
    "ladder-mlp": {"levels": (2, 4), "width": 8},
    "ladder-conv": {"levels": (2, 1), "width": 8, "blocks": 1},
}


class Row(NamedTuple):
    """What a recipe is made of."""

    between: type[nn.Module]
    likelihood: type[Likelihood] = Bernoulli
    prior: type[Prior] = StandardNormal
    objective: type[Objective] = ELBO
    beta: float | None = 1.0
    binarization: str = "none"
    tag: str = "grey-bce"
    encoder: type[nn.Module] = MLPEncoder
    decoder: type[nn.Module] = MLPDecoder


CONV: dict[str, Any] = {"encoder": ConvEncoder, "decoder": ConvDecoder}
BINARY: dict[str, Any] = {"binarization": "dynamic", "tag": "binarized-dynamic"}
ROWS = {
    "conv": Row(nn.ReLU, **CONV),
    "beta-conv": Row(nn.ReLU, beta=0.05, **CONV),
    "conditional": Row(nn.ReLU, tag="grey-bce-given-label", **CONV),
    "mlp": Row(nn.ReLU),
    "mlp-20": Row(nn.ReLU),
    "mlp-20-fast": Row(nn.ReLU),
    "mlp-2d": Row(nn.ReLU),
    "leaky-mlp-2d": Row(nn.LeakyReLU),
    "gaussian-mlp": Row(nn.ReLU, likelihood=Gaussian, tag="gaussian"),
    "kingma2014": Row(nn.Tanh, **BINARY),
    "iwae-50": Row(nn.Tanh, objective=IWAE, beta=None, **BINARY),
    "vamp": Row(nn.ReLU, prior=VampPrior, **BINARY),
    "vamp-conv": Row(nn.ReLU, prior=VampPrior, **CONV, **BINARY),
    "resnet-flow": Row(nn.SiLU, prior=Flow, encoder=ResNetEncoder, decoder=ResNetDecoder, **BINARY),
    "ladder-mlp": Row(nn.SiLU, prior=LadderPrior, encoder=LadderEncoder, decoder=LadderDecoder, **BINARY),
    "ladder-conv": Row(nn.SiLU, prior=LadderPrior, encoder=LadderEncoder, decoder=LadderDecoder, **BINARY),
}


def layers(module: nn.Module, kind: type[nn.Module]) -> list[Any]:
    return [part for part in module.modules() if isinstance(part, kind)]


def linear(module: nn.Module) -> list[tuple[int, int]]:
    return [(layer.in_features, layer.out_features) for layer in layers(module, nn.Linear)]


def convolutions(module: nn.Module, kind: type[nn.Module]) -> list[tuple[int, int]]:
    return [(layer.in_channels, layer.out_channels) for layer in layers(module, kind)]


def weights(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def data(n: int = 32) -> ImageDataset:
    return ImageDataset(torch.rand(n, 28, 28), torch.arange(n) % 10)


# --- the networks that the requirements ask for ---------------------------------------------------------------------


def test_the_names_are_the_ones_that_people_type() -> None:
    assert NAMES == [
        "conv",
        "beta-conv",
        "conditional",
        "mlp",
        "mlp-20",
        "mlp-20-fast",
        "mlp-2d",
        "leaky-mlp-2d",
        "gaussian-mlp",
        "kingma2014",
        "iwae-50",
        "vamp",
        "vamp-conv",
        "resnet-flow",
        "ladder-mlp",
        "ladder-conv",
    ]
    assert [recipes.RECIPES[name].name for name in NAMES] == NAMES
    for recipe in recipes.RECIPES.values():
        for text in (recipe.summary, recipe.source):
            assert text.strip()
            assert "\n" not in text


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_is_made_of_what_its_row_says(name: str) -> None:
    row, recipe = ROWS[name], recipes.get(name)
    model, trainer = recipe.model(), recipe.trainer()
    assert type(model) is VAE
    for part in ("encoder", "decoder", "likelihood", "prior", "objective"):
        assert type(getattr(model, part)) is getattr(row, part), part
    kinds = {type(m) for m in model.encoder.modules() if type(m).__module__ == "torch.nn.modules.activation"}
    assert kinds == {row.between}
    assert {type(m) for m in model.decoder.modules() if type(m).__module__ == "torch.nn.modules.activation"} == kinds
    assert getattr(model.objective, "beta", None) == row.beta
    assert trainer.binarization == row.binarization
    assert model.tag(trainer.binarization) == row.tag
    for setting in ("epochs", "batch_size", "learning_rate"):
        assert getattr(trainer, setting) == recipe.training[setting]
    assert model.latent_dim == {"ladder-mlp": 56, "ladder-conv": 1432}.get(name) or recipe.settings["latent_dim"]


@pytest.mark.parametrize("name", ["conv", "beta-conv", "conditional"])
def test_three_convolutions_and_three_transposed_ones(name: str) -> None:
    model = recipes.get(name).model()
    assert isinstance(model.encoder, ConvEncoder)
    assert isinstance(model.decoder, ConvDecoder)
    assert convolutions(model.encoder, nn.Conv2d) == [(1, 32), (32, 64), (64, 128)]
    assert convolutions(model.decoder, nn.ConvTranspose2d) == [(128, 64), (64, 32), (32, 1)]
    assert convolutions(model.decoder, nn.Conv2d) == []


def test_beta_conv_has_15_dimensions_15_epochs_and_a_small_beta() -> None:
    recipe = recipes.get("beta-conv")
    model, trainer = recipe.model(), recipe.trainer()
    assert model.latent_dim == 15
    assert isinstance(model.objective, ELBO)
    assert model.objective.beta == 0.05
    assert trainer.epochs == 15


def test_mlp_2d_is_784_400_2_with_20_epochs_of_128() -> None:
    recipe = recipes.get("mlp-2d")
    model, trainer = recipe.model(), recipe.trainer()
    assert linear(model.encoder) == [(784, 400), (400, 2 * 2)]  # a mean and a log-variance for each dimension
    assert linear(model.decoder) == [(2, 400), (400, 784)]
    assert len(layers(model, nn.ReLU)) == 2
    assert isinstance(model.likelihood, Bernoulli)
    assert isinstance(model.objective, ELBO)
    assert model.objective.beta == 1.0
    assert (trainer.epochs, trainer.batch_size, trainer.learning_rate) == (20, 128, 1e-3)


def test_leaky_mlp_2d_is_784_512_512_2_and_back() -> None:
    model = recipes.get("leaky-mlp-2d").model()
    assert linear(model.encoder) == [(784, 512), (512, 512), (512, 4)]
    assert linear(model.decoder) == [(2, 512), (512, 512), (512, 784)]
    slopes = [layer.negative_slope for layer in layers(model, nn.LeakyReLU)]
    assert slopes
    assert set(slopes) == {0.2}
    assert layers(model, nn.ReLU) == []
    # An activation between every two layers: a linear map would show here.
    z = torch.randn(1, 2)
    logits = [model.decoder(scale * z) for scale in (0, 1, 2)]
    assert not torch.allclose(logits[2] - logits[1], logits[1] - logits[0], atol=1e-4)


def test_mlp_20_is_the_network_of_pytorch_examples() -> None:
    model = recipes.get("mlp-20").model()
    assert linear(model.encoder) == [(784, 400), (400, 40)]
    assert linear(model.decoder) == [(20, 400), (400, 784)]
    # As counted by hand: two heads of 20 numbers, for the mean and for the log-variance.
    assert sum(p.numel() for p in model.parameters()) == 652_824


def test_mlp_has_two_hidden_layers() -> None:
    model = recipes.get("mlp").model()
    assert isinstance(model.encoder, MLPEncoder)
    assert isinstance(model.decoder, MLPDecoder)
    assert linear(model.encoder) == [(784, 512), (512, 256), (256, 32)]
    assert linear(model.decoder) == [(16, 256), (256, 512), (512, 784)]


@pytest.mark.parametrize("name", NAMES)
def test_only_the_conditional_recipe_sees_labels(name: str) -> None:
    recipe = recipes.get(name)
    model = recipe.model(num_classes=7)
    assert recipe.conditional is (name == "conditional")
    assert model.num_classes == (7 if name == "conditional" else None)
    assert model.uses_labels is (name == "conditional")


def test_gaussian_mlp_is_squared_error_and_kl_for_50_epochs_of_128() -> None:
    recipe = recipes.get("gaussian-mlp")
    model, trainer = recipe.model(), recipe.trainer()
    assert linear(model.encoder) == [(784, 400), (400, 2 * 20)]
    assert linear(model.decoder) == [(20, 400), (400, 784)]
    assert (trainer.epochs, trainer.batch_size, trainer.learning_rate) == (50, 128, 1e-3)
    x = torch.rand(6, 1, 28, 28)
    torch.manual_seed(1)
    terms = model.loss(x)
    torch.manual_seed(1)
    out = model(x)  # the same code
    squared_error = (x - out.reconstruction).square().sum((1, 2, 3))
    mu, variance = out.posterior.mean, out.posterior.variance
    kl = 0.5 * (mu**2 + variance - 1 - variance.log()).sum(1)
    constant = 784 / 2 * math.log(math.pi)
    torch.testing.assert_close(terms.kl, kl, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(terms.loss, squared_error + kl + constant)


def test_kingma2014_is_784_500_20_in_batches_of_100() -> None:
    recipe = recipes.get("kingma2014")
    model, trainer = recipe.model(), recipe.trainer()
    assert linear(model.encoder) == [(784, 500), (500, 2 * 20)]
    assert linear(model.decoder) == [(20, 500), (500, 784)]
    assert (trainer.epochs, trainer.batch_size, trainer.learning_rate) == (50, 100, 1e-3)


def test_iwae_50_has_50_samples() -> None:
    recipe = recipes.get("iwae-50")
    model, trainer = recipe.model(), recipe.trainer()
    assert isinstance(model.objective, IWAE)
    assert model.objective.num_samples == 50
    assert model.objective.gradient == "plain"
    assert linear(model.encoder) == [(784, 200), (200, 200), (200, 2 * 50)]
    assert linear(model.decoder) == [(50, 200), (200, 200), (200, 784)]
    assert (trainer.epochs, trainer.batch_size, trainer.learning_rate) == (50, 100, 1e-3)
    seen: list[tuple[int, ...]] = []
    model.decoder.register_forward_hook(lambda module, inputs, out: seen.append(tuple(inputs[0].shape)))
    model.loss(torch.rand(2, 1, 28, 28).round())
    assert seen == [(100, 50)]


def test_vamp_has_500_pseudo_inputs_and_beta_grows_for_6000_steps() -> None:
    recipe = recipes.get("vamp")
    model, trainer = recipe.model(), recipe.trainer()
    assert isinstance(model.prior, VampPrior)
    assert model.prior.pseudo_inputs.shape == (500, 1, 28, 28)
    assert linear(model.encoder) == [(784, 300), (300, 300), (300, 2 * 40)]
    assert linear(model.decoder) == [(40, 300), (300, 300), (300, 784)]
    networks = sum(i * o + o for i, o in linear(model))
    assert sum(p.numel() for p in model.parameters()) == networks + 500 * 784
    assert model.latent_prior().log_prob(torch.zeros(3, 40)).shape == (3,)
    assert isinstance(model.objective, ELBO)
    assert isinstance(model.objective.schedule, Linear)
    assert (model.objective.schedule.steps, model.objective.schedule.start) == (6000, 0.0)
    assert (trainer.epochs, trainer.batch_size, trainer.learning_rate) == (50, 100, 5e-4)


def test_resnet_flow_has_the_size_it_was_tried_at() -> None:
    recipe = recipes.get("resnet-flow")
    model, trainer = recipe.model(), recipe.trainer()

    def dense(inputs: int, outputs: int) -> int:
        return inputs * outputs + outputs

    def convolution(inputs: int, outputs: int) -> int:
        return dense(9 * inputs, outputs)

    def block(channels: int) -> int:
        return 2 * (2 * channels + convolution(channels, channels))

    # By hand: 28 x 28 with 64 channels, 14 x 14 and 7 x 7 with 128, then 512 units and 40 means and log-variances.
    encoder = convolution(1, 64) + block(64) + convolution(64, 128) + 2 * block(128) + convolution(128, 128)
    encoder += 2 * block(128) + 2 * 128 + dense(128 * 7 * 7, 512) + dense(512, 80)
    decoder = dense(40, 512) + dense(512, 128 * 7 * 7) + 2 * block(128) + convolution(128, 128) + 2 * block(128)
    decoder += convolution(128, 64) + 2 * block(64) + 2 * 64 + convolution(64, 1)
    # Each coupling makes 20 shifts and 20 scales of the other 20 numbers.
    prior = 8 * (dense(20, 256) + dense(256, 256) + dense(256, 40))
    parts = (model.encoder, model.decoder, model.prior)
    assert [sum(p.numel() for p in part.parameters()) for part in parts] == [encoder, decoder, prior]
    assert sum(p.numel() for p in model.parameters()) == encoder + decoder + prior == 10_175_121

    assert model.sample(2).shape == model.reconstruct(torch.rand(2, 1, 28, 28)).shape == (2, 1, 28, 28)
    assert {layer.p for layer in layers(model.decoder, nn.Dropout)} == {0.1}
    assert {layer.p for layer in layers(model.encoder, nn.Dropout)} == {0.0}
    assert isinstance(model.prior, Flow)
    assert (model.prior.kind, model.prior.transforms) == ("realnvp", 8)
    assert isinstance(model.objective, ELBO)
    assert isinstance(model.objective.schedule, Linear)
    assert (model.objective.schedule.steps, model.objective.schedule.start) == (2000, 0.1)
    assert (trainer.epochs, trainer.batch_size, trainer.learning_rate) == (100, 256, 1e-3)


def test_the_fast_recipe_is_the_network_of_the_slow_one_in_fewer_larger_steps() -> None:
    slow, fast = recipes.get("mlp-20"), recipes.get("mlp-20-fast")
    assert fast.settings == slow.settings
    assert torch.equal(weights(fast.model(seed=4)), weights(slow.model(seed=4)))
    optimizer = fast.trainer().optimizer
    assert isinstance(optimizer, partial)
    assert (optimizer.func, optimizer.keywords) == (torch.optim.Adam, {"betas": (0.9, 0.98)})
    factors = [recipes.warm_cosine(step, 700) for step in range(700)]
    assert max(range(700), key=factors.__getitem__) == 175
    assert factors[0] == 1 / 176
    assert factors[175] == 1.0
    assert 0.02 < factors[-1] < 0.0201


# --- they train -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_trains(name: str) -> None:
    recipe = recipes.get(name)
    model = recipe.model(**SMALL.get(name, {}))
    before = weights(model)
    quiet: dict[str, Any] = {"progress": False, "device": "cpu", "learning_rate": 1e-3}
    trainer = recipe.trainer(epochs=1, batch_size=16, **quiet)  # two steps
    history = trainer.fit(model, data())
    (record,) = history
    assert history.tag == ROWS[name].tag
    assert all(torch.isfinite(torch.tensor(record[key])) for key in ("loss", "reconstruction", "kl"))
    assert 400 < record["loss"] < 700  # noise images: near 784 log 2 = 543 nats before anything is learned
    assert not torch.equal(weights(model), before)
    assert weights(model).isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_is_saved_and_read(name: str, tmp_path: Path) -> None:
    recipe = recipes.get(name)
    model = recipe.model(image_shape=(1, 8, 8), num_classes=3, **SMALL.get(name, {})).eval()
    same = load(save(model, tmp_path / "model.safetensors"))
    x, y = torch.rand(4, 1, 8, 8), torch.arange(4) % 3 if recipe.conditional else None
    losses = []
    for each in (model, same):
        torch.manual_seed(3)
        losses.append(each.loss(x, y).loss)
    assert torch.equal(*losses)
    assert repr(same) == repr(model)


@pytest.mark.parametrize("name", NAMES)
def test_recipes_take_other_images(name: str) -> None:
    model = recipes.get(name).model(image_shape=(3, 9, 12), num_classes=4, **SMALL.get(name, {}))
    y = torch.tensor([0, 3]) if model.uses_labels else None
    assert model.reconstruct(torch.rand(2, 3, 9, 12), y).shape == (2, 3, 9, 12)


# --- changes and seeds ----------------------------------------------------------------------------------------------


def test_settings_can_be_changed() -> None:
    model = recipes.get("mlp-20").model(latent_dim=3, beta=2.5, hidden=(30, 20))
    assert linear(model.encoder) == [(784, 30), (30, 20), (20, 6)]
    assert linear(model.decoder) == [(3, 20), (20, 30), (30, 784)]
    assert isinstance(model.objective, ELBO)
    assert model.objective.beta == 2.5
    model = recipes.get("conv").model(channels=(4, 6))
    assert convolutions(model.encoder, nn.Conv2d) == [(1, 4), (4, 6)]
    assert convolutions(model.decoder, nn.ConvTranspose2d) == [(6, 4), (4, 1)]
    model = recipes.get("leaky-mlp-2d").model(leak=0.05)
    assert {layer.negative_slope for layer in layers(model, nn.LeakyReLU)} == {0.05}
    model = recipes.get("kingma2014").model(activation="relu", hidden=(5,))
    assert layers(model, nn.ReLU)
    assert not layers(model, nn.Tanh)
    model = recipes.get("iwae-50").model(num_samples=3, hidden=(5,), latent_dim=4)
    assert isinstance(model.objective, IWAE)
    assert (model.objective.num_samples, model.latent_dim) == (3, 4)
    model = recipes.get("vamp").model(components=7, warmup=0, hidden=(5,))
    assert isinstance(model.prior, VampPrior)
    assert model.prior.components == 7
    assert isinstance(model.objective, ELBO)
    assert model.objective.schedule is None
    assert isinstance(recipes.get("vamp").model(components=7, warmup=9).objective.schedule, Linear)


def test_settings_of_the_residual_recipe_can_be_changed() -> None:
    changes: dict[str, Any] = {"latent_dim": 5, "beta": 0.5, "channels": (4, 6), "hidden": (9, 7), "dropout": 0.25}
    model = recipes.get("resnet-flow").model(**changes, transforms=3, warmup=11)
    assert isinstance(model.encoder, ResNetEncoder)
    assert isinstance(model.decoder, ResNetDecoder)
    assert isinstance(model.prior, Flow)
    assert isinstance(model.objective, ELBO)
    assert (model.encoder.channels, model.decoder.channels) == ((4, 6), (6, 4))
    assert (model.encoder.dropout, model.decoder.dropout) == (0.0, 0.25)
    assert (model.prior.transforms, model.prior.hidden, model.prior.latent_dim) == (3, (9, 7), 5)
    assert model.objective.beta == 0.5
    assert isinstance(model.objective.schedule, Linear)
    assert model.objective.schedule.steps == 11


@pytest.mark.parametrize(("sigma", "n_params"), [(0.1, 1), (2, 1), ("learned", 1), ("per-pixel", 2)])
def test_gaussian_mlp_takes_any_sigma_that_the_likelihood_knows(sigma: float | str, n_params: int) -> None:
    recipe = recipes.get("gaussian-mlp")
    model = recipe.model(sigma=sigma, hidden=(8,))
    assert isinstance(model.likelihood, Gaussian)
    assert model.likelihood.sigma == sigma
    assert model.likelihood.n_params == n_params
    history = recipe.trainer(epochs=1, batch_size=16, progress=False, device="cpu").fit(model, data())
    assert math.isfinite(history[0]["loss"])
    assert model.sample(2).shape == (2, 1, 28, 28)


def test_a_change_does_not_stay() -> None:
    recipe = recipes.get("mlp-20")
    recipe.model(latent_dim=3)
    recipe.trainer(epochs=1)
    assert recipe.model().latent_dim == 20
    assert recipe.trainer().epochs == 10
    for table in (recipes.RECIPES, recipe.settings, recipe.training):
        with pytest.raises(TypeError, match="does not support item assignment"):
            table["mine"] = recipe  # type: ignore[index]


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_can_be_sent_to_another_process(name: str) -> None:
    recipe = recipes.get(name)
    for same in (pickle.loads(pickle.dumps(recipe)), copy.deepcopy(recipe)):  # noqa: S301
        assert same == recipe
        assert repr(same) == repr(recipe)


def test_the_trainer_can_be_changed() -> None:
    trainer = recipes.get("conv").trainer(epochs=3, learning_rate=0.5, seed=9, progress=False)
    assert (trainer.epochs, trainer.batch_size, trainer.learning_rate) == (3, 64, 0.5)
    assert (trainer.seed, trainer.progress) == (9, False)
    with pytest.raises(SettingError, match="epochs as an integer of at least 1, got 0"):
        recipes.get("conv").trainer(epochs=0)
    with pytest.raises(SettingError, match="got epoch: check the spelling; the closest is 'epochs', or leave it out"):
        recipes.get("conv").trainer(epoch=3)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        (
            "conv",
            {"hidden": (5,)},
            "settings of the recipe 'conv': latent_dim, beta, channels, got hidden: leave it out",
        ),
        ("mlp", {"channels": (5,)}, "settings of the recipe 'mlp': latent_dim, beta, hidden, got channels"),
        ("mlp-2d", {"leak": 0.1, "betta": 1}, "got betta, leak: check the spelling; the closest is 'beta', or leave"),
        ("conv", {"latent_dim": 0}, "latent_dim as an integer of at least 1, got 0"),
        ("conv", {"beta": -1.0}, "a finite beta of at least 0, got -1.0"),
        ("conv", {"channels": ()}, "channels as one or more positive integers"),
        ("mlp", {"hidden": (10, 0)}, r"hidden as positive integers, got \(10, 0\)"),
        ("leaky-mlp-2d", {"leak": -0.1}, "leak as a finite slope of at least 0, got -0.1"),
        ("kingma2014", {"activation": "gelu"}, "activation as one of 'relu', 'tanh', got 'gelu'"),
        ("kingma2014", {"sigma": 1.0}, "settings of the recipe 'kingma2014': .*, got sigma"),
        ("gaussian-mlp", {"sigma": 0.0}, "a finite sigma above 0, got 0.0: or 'learned', or 'per-pixel'"),
        ("gaussian-mlp", {"sigma": "lerned"}, "sigma as a number above 0, or one of 'learned', 'per-pixel', got 'ler"),
        ("iwae-50", {"num_samples": 0}, "num_samples as an integer of at least 1, got 0"),
        ("iwae-50", {"beta": 2.0}, "settings of the recipe 'iwae-50': .*, got beta"),
        ("vamp", {"components": 0}, "components as an integer of at least 1, got 0"),
        ("vamp", {"warmup": -1}, "warmup as a number of steps of at least 0, got -1"),
        ("resnet-flow", {"dropout": 1.0}, "dropout as a number from 0 to below 1, got 1.0"),
        ("resnet-flow", {"transforms": 0}, "transforms as an integer of at least 1, got 0"),
        ("resnet-flow", {"hidden": ()}, r"hidden as one or more positive integers, got \(\)"),
        ("resnet-flow", {"components": 5}, "settings of the recipe 'resnet-flow': .*, got components"),
    ],
    ids=str,
)
def test_a_change_that_makes_no_sense_is_refused(name: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        recipes.get(name).model(**changes)


@pytest.mark.parametrize("name", ["vae", "", "Conv"])
def test_an_unknown_recipe_is_refused(name: str) -> None:
    with pytest.raises(SettingError, match=f"a recipe: conv, beta-conv, .*got '{name}': check the spelling"):
        recipes.get(name)


def test_weights_are_a_function_of_the_seed() -> None:
    recipe = recipes.get("mlp-2d")
    state = torch.get_rng_state()
    first, again, other = (weights(recipe.model(seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(weights(recipe.model()), weights(recipe.model(seed=0)))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_model_is_its_own() -> None:
    recipe = recipes.get("mlp-2d")
    first, second = recipe.model(), recipe.model()
    assert isinstance(first, VAE)
    assert first is not second
    assert not {id(p) for p in first.parameters()} & {id(p) for p in second.parameters()}


def test_reading_the_table_imports_neither_torch_nor_numpy() -> None:
    code = (
        "import sys\n"
        "from mnistvae import recipes\n"
        "recipes.get('conv').check({'beta': 2.0})\n"
        "recipes.options(recipes.RECIPES.values())\n"
        "print(len(recipes.names()), *sorted({'torch', 'numpy', 'matplotlib'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.split() == [str(len(NAMES))]


# --- options of the command line ------------------------------------------------------------------------------------


def test_every_setting_is_an_option_with_a_type_and_a_help() -> None:
    found = {option.name: option for option in recipes.options(recipes.RECIPES.values())}
    assert set(found) == {name for recipe in recipes.RECIPES.values() for name in recipe.settings}
    for option in found.values():
        assert option.help.endswith("."), option
        assert option.recipes == tuple(name for name in NAMES if option.name in recipes.get(name).settings)
    assert {name: found[name].annotation for name in ("latent_dim", "beta", "hidden", "sigma", "activation")} == {
        "latent_dim": int,
        "beta": float,
        "hidden": tuple[int, ...],
        "sigma": float | str,
        "activation": Literal["relu", "tanh"],
    }


def test_options_are_read_from_any_function() -> None:
    def build(
        image_shape: Any,
        num_classes: Any,
        rate: Missing,  # type: ignore[name-defined]  # noqa: F821
        depth=3,  # type: ignore[no-untyped-def]
        **others: Any,
    ) -> VAE:
        """Make it.

        Args:
            image_shape: Shape.
            depth (int): Number of layers,
                at least one.

        Returns:
            width: Not an argument.
        """
        raise NotImplementedError

    recipe = recipes.Recipe("own", "", build, {"rate": 0.5, "depth": 3, "width": 8}, {})
    assert recipes.options([recipe]) == [
        recipes.Option("rate", float, "", ("own",)),
        recipes.Option("depth", int, "Number of layers, at least one.", ("own",)),
        recipes.Option("width", int, "", ("own",)),
    ]


def test_the_factories_have_the_settings_of_their_rows() -> None:
    for recipe in recipes.RECIPES.values():
        parameters = inspect.signature(recipe.build).parameters
        needed = {name for name, value in parameters.items() if value.default is value.empty}
        assert needed <= {"image_shape", "num_classes", *recipe.settings} <= set(parameters)


# --- recipes from outside -------------------------------------------------------------------------------------------

MODULE = '''
from mnistvae import Trainer
from mnistvae.recipes import Recipe

def build(image_shape, num_classes, latent_dim, width):
    """A small model.

    Args:
        image_shape: Shape of an image.
        num_classes: Number of classes.
        latent_dim: Number of latent dimensions.
        width: Width of the hidden layer.
    """
    from mnistvae import VAE
    from mnistvae.networks import MLPDecoder, MLPEncoder

    encoder, decoder = MLPEncoder(latent_dim, image_shape, (width,)), MLPDecoder(latent_dim, image_shape, (width,))
    return VAE(latent_dim, image_shape, encoder=encoder, decoder=decoder)

SMALL = Recipe("small", "one narrow layer", build, {"latent_dim": 3, "width": 8}, {"epochs": 1, "batch_size": 16})
TRAINER = Trainer
'''


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path with the one file that a new recipe takes."""
    (tmp_path / "outside_recipes.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "outside_recipes", raising=False)
    return tmp_path


def test_a_recipe_of_ones_own_is_one_object_in_any_module(outside: Path) -> None:
    recipe = recipes.get("outside_recipes:SMALL")
    model = recipe.model(width=5, seed=2)
    assert linear(model.encoder) == [(784, 5), (5, 6)]
    assert torch.equal(weights(model), weights(recipe.model(width=5, seed=2)))
    history = recipe.trainer(progress=False, device="cpu").fit(model, data())
    assert math.isfinite(history[0]["loss"])
    assert [(o.name, o.annotation, o.help) for o in recipes.options([recipe])] == [
        ("latent_dim", int, "Number of latent dimensions."),
        ("width", int, "Width of the hidden layer."),
    ]
    with pytest.raises(SettingError, match="settings of the recipe 'small': latent_dim, width, got beta"):
        recipe.model(beta=2.0)
    assert pickle.loads(pickle.dumps(recipe)) == recipe  # noqa: S301
    assert recipes.names() == NAMES  # nothing was registered


def test_a_recipe_of_an_installed_package_has_a_name(outside: Path) -> None:
    info = outside / "others-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[mnistvae.recipes]\nsmall = outside_recipes:SMALL\n")
    assert plugins.names("recipe", recipes.names()) == [*NAMES, "small"]
    assert recipes.get("small").summary == "one narrow layer"
    with pytest.raises(SettingError, match=r"ladder-conv, small, module:NAME, got 'smal': .*closest is 'small'"):
        recipes.get("smal")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("outside_recipes:TRAINER", "as a recipe: an object of the class Recipe, got the class Trainer"),
        ("outside_recipes:build", "an object of the class Recipe, got a function"),
        ("outside_recipes:SMAL", "'SMAL' in outside_recipes, got no attribute 'SMAL': .*closest is 'SMALL'"),
        ("outside_recipe:SMALL", "module 'outside_recipe', got no module named 'outside_recipe'"),
    ],
)
def test_a_name_of_no_recipe_is_one_clear_error(outside: Path, name: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        recipes.get(name)


def test_a_recipe_that_does_not_fit_its_function_is_refused_when_it_is_made() -> None:
    def build(image_shape: Any, latent_dim: int) -> VAE:
        return VAE(latent_dim, image_shape)

    with pytest.raises(ComponentError, match=r"'own' to have a function build\(image_shape, .*got .*'num_classes'"):
        recipes.Recipe("own", "", build, {"latent_dim": 2}, {})
    with pytest.raises(ComponentError, match=r"got .*'width'"):
        recipes.Recipe("own", "", recipes.get("conv").build, {**recipes.get("conv").settings, "width": 2}, {})
    wrong = recipes.Recipe("own", "", lambda image_shape, num_classes: "no model", {}, {"epoch": 2})
    with pytest.raises(ComponentError, match=r"the recipe 'own' to build a VAE, got a str: return the model"):
        wrong.model()
    with pytest.raises(SettingError, match=r"settings of the Trainer: .*, got epoch"):
        wrong.trainer()
