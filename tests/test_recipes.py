"""Recipes: each is the network that it says, trains, and can be changed where it says so."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mnistvae import VAE, ImageDataset, recipes
from mnistvae.errors import SettingError
from mnistvae.likelihoods import Bernoulli
from mnistvae.networks import ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder
from mnistvae.objectives import ELBO
from mnistvae.priors import StandardNormal

NAMES = recipes.names()


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
    assert NAMES == ["conv", "beta-conv", "conditional", "mlp", "mlp-20", "mlp-2d", "leaky-mlp-2d"]
    assert [recipes.RECIPES[name].name for name in NAMES] == NAMES
    assert all(recipe.summary and "\n" not in recipe.summary for recipe in recipes.RECIPES.values())


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
    assert isinstance(model.prior, StandardNormal)


# --- they train -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_trains(name: str) -> None:
    recipe = recipes.get(name)
    model = recipe.model()
    before = weights(model)
    trainer = recipe.trainer(epochs=1, batch_size=16, progress=False, device="cpu")
    history = trainer.fit(model, data())
    (record,) = history
    assert all(torch.isfinite(torch.tensor(record[key])) for key in ("loss", "reconstruction", "kl"))
    assert 400 < record["loss"] < 700  # noise images: near 784 log 2 = 543 nats before anything is learned
    assert not torch.equal(weights(model), before)
    assert weights(model).isfinite().all()


@pytest.mark.parametrize("name", ["conv", "conditional", "mlp", "leaky-mlp-2d"])
def test_recipes_take_other_images(name: str) -> None:
    model = recipes.get(name).model(image_shape=(3, 9, 12), num_classes=4)
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


def test_a_change_does_not_stay() -> None:
    recipe = recipes.get("mlp-20")
    recipe.model(latent_dim=3)
    recipe.trainer(epochs=1)
    assert recipe.model().latent_dim == 20
    assert recipe.trainer().epochs == 10
    with pytest.raises(TypeError, match="does not support item assignment"):
        recipes.RECIPES["mine"] = recipe  # type: ignore[index]


def test_the_trainer_can_be_changed() -> None:
    trainer = recipes.get("conv").trainer(epochs=3, learning_rate=0.5, seed=9, progress=False)
    assert (trainer.epochs, trainer.batch_size, trainer.learning_rate) == (3, 64, 0.5)
    assert (trainer.seed, trainer.progress) == (9, False)
    with pytest.raises(SettingError, match="epochs as an integer of at least 1, got 0"):
        recipes.get("conv").trainer(epochs=0)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        (
            "conv",
            {"hidden": (5,)},
            "settings of the recipe 'conv': latent_dim, beta, channels, got hidden: leave it out",
        ),
        ("mlp", {"channels": (5,)}, "settings of the recipe 'mlp': latent_dim, beta, hidden, got channels"),
        ("mlp-2d", {"leak": 0.1, "betta": 1}, "got betta, leak"),
        ("conv", {"latent_dim": 0}, "latent_dim as an integer of at least 1, got 0"),
        ("conv", {"beta": -1.0}, "a finite beta of at least 0, got -1.0"),
        ("conv", {"channels": ()}, "channels as one or more positive integers"),
        ("mlp", {"hidden": (10, 0)}, r"hidden as positive integers, got \(10, 0\)"),
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
        "print(len(recipes.names()), *sorted({'torch', 'numpy', 'matplotlib'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.split() == [str(len(NAMES))]
