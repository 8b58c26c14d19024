"""The recipes: one row each, a family's function with its settings and the Trainer's."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from mnistvae.plugins import resolve
from mnistvae.recipes.factories import conv, gaussian_mlp, iwae_mlp, ladder, mlp, resnet_flow, vamp_conv, vamp_mlp
from mnistvae.recipes.recipe import Lazy, Recipe

__all__ = ["RECIPES", "get", "names", "warm_cosine"]


def get(name: str) -> Recipe:
    """The recipe of a name.

    Args:
        name: One of :func:`names`, ``my.module:NAME`` for a recipe of one's own, or a name that an installed package
            has in its entry points ``mnistvae.recipes``.

    Raises:
        SettingError: If there is no such recipe, or its module cannot be imported.
    """
    recipe: Recipe = resolve("recipe", name, RECIPES, of=Recipe)
    return recipe


def names() -> list[str]:
    """The names of mnistvae's own recipes; :func:`mnistvae.plugins.names` has those of installed packages, too."""
    return list(RECIPES)


def warm_cosine(step: int, steps: int) -> float:
    """A learning rate that rises over a quarter of the run, from above 0, and falls along half a cosine.

    Args:
        step: Number of the step, from 0.
        steps: Number of steps of the whole run.
    """
    from mnistvae.schedules import CosineDecay  # brings torch, which a list of recipes does without

    factor: float = CosineDecay(warmup=steps // 4, final=0.02)(step, steps)
    return factor


_USUAL = {"epochs": 20, "batch_size": 128, "learning_rate": 1e-3}
_BINARY = {"batch_size": 100, "learning_rate": 1e-3, "binarization": "dynamic"}

_LADDER = {
    "batch_size": 250,
    "learning_rate": 2e-3,
    "optimizer": Lazy("torch.optim:Adam", {"betas": (0.9, 0.99)}),
    "schedule": "one-cycle",
    "ema": 0.999,
    "clip_norm": 100.0,
}

#: The recipes by name.
RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        recipe.name: recipe
        for recipe in (
            Recipe(
                "conv",
                "three convolutions and three transposed ones, 16 latent dimensions",
                conv,
                {"latent_dim": 16, "beta": 1.0, "channels": (32, 64, 128)},
                {
                    "epochs": 3,
                    "batch_size": 64,
                    "learning_rate": 1.5e-2,
                    "optimizer": Lazy("torch.optim:Adam", {"betas": (0.9, 0.98)}),
                    "schedule": "one-cycle",
                    "start_at_mean": True,
                },
                "Kingma and Welling (2014) with convolutions; the learning rate's course after Smith and Topin (2018)",
            ),
            Recipe(
                "beta-conv",
                "convolutional beta-VAE for faithful reconstructions: beta well below 1",
                conv,
                {"latent_dim": 15, "beta": 0.05, "channels": (32, 64, 128)},
                {"epochs": 15, "batch_size": 128, "learning_rate": 4e-3, "schedule": "one-cycle"},
                "Higgins et al. (2017), with beta as notebooks that average over pixels have it",
            ),
            Recipe(
                "conditional",
                "convolutional, told the digit: draws the one that is asked for",
                conv,
                {"latent_dim": 8, "beta": 1.0, "channels": (32, 64, 128)},
                {
                    "epochs": 7,
                    "batch_size": 64,
                    "learning_rate": 8e-3,
                    "schedule": "one-cycle",
                    "start_at_mean": True,
                },
                "Sohn, Lee and Yan (2015)",
                conditional=True,
            ),
            Recipe(
                "mlp",
                "fully connected with two hidden layers, 16 latent dimensions",
                mlp,
                {"latent_dim": 16, "beta": 1.0, "hidden": (512, 256)},
                _USUAL,
                "Kingma and Welling (2014), wider",
            ),
            Recipe(
                "mlp-20",
                "784-400-20, the network of pytorch/examples",
                mlp,
                {"latent_dim": 20, "beta": 1.0, "hidden": (400,)},
                {**_USUAL, "epochs": 10},
                "pytorch/examples, vae",
            ),
            Recipe(
                "mlp-20-fast",
                "mlp-20 in a third of its steps: on the whole MNIST its loss after 10 epochs, in seconds",
                mlp,
                {"latent_dim": 20, "beta": 1.0, "hidden": (400,)},
                {
                    "epochs": 4,
                    "steps": 1500,
                    "batch_size": 128,
                    "learning_rate": 1e-2,
                    "optimizer": Lazy("torch.optim:Adam", {"betas": (0.9, 0.98)}),
                    "schedule": warm_cosine,
                    "precision": "auto",
                },
                "pytorch/examples, vae; the learning rate's course after Loshchilov and Hutter (2017)",
            ),
            Recipe(
                "mlp-2d",
                "784-400-2: a latent space that can be drawn",
                mlp,
                {"latent_dim": 2, "beta": 1.0, "hidden": (400,)},
                _USUAL,
                "Kingma and Welling (2014), figure 4: two latent dimensions",
            ),
            Recipe(
                "leaky-mlp-2d",
                "784-512-512-2 with LeakyReLU 0.2: the digit at a point of the plane",
                mlp,
                {"latent_dim": 2, "beta": 1.0, "hidden": (512, 512), "leak": 0.2},
                _USUAL,
                "Kingma and Welling (2014), figure 4, with the activation of Maas et al. (2013)",
            ),
            Recipe(
                "gaussian-mlp",
                "squared error and KL: normal pixels with a fixed sigma of the root of 1/2",
                gaussian_mlp,
                {"latent_dim": 20, "beta": 1.0, "hidden": (400,), "sigma": 0.5**0.5},
                {**_USUAL, "epochs": 50},
                "Kingma and Welling (2014), appendix C.2",
            ),
            Recipe(
                "kingma2014",
                "the first VAE: 784-500-20, tanh, binarized pixels",
                mlp,
                {"latent_dim": 20, "beta": 1.0, "hidden": (500,), "activation": "tanh", "num_samples": 1},
                {**_BINARY, "epochs": 50},
                "Kingma and Welling (2014), section 5 and appendix C.1; Adam in place of Adagrad",
            ),
            Recipe(
                "iwae-50",
                "importance-weighted, 50 samples: 784-200-200-50, tanh, binarized pixels",
                iwae_mlp,
                {
                    "latent_dim": 50,
                    "hidden": (200, 200),
                    "activation": "tanh",
                    "num_samples": 50,
                    "groups": 1,
                    "elbo_weight": 0.0,
                },
                {**_BINARY, "epochs": 50},
                "Burda, Grosse and Salakhutdinov (2016), section 5, one stochastic layer",
            ),
            Recipe(
                "vamp",
                "a prior made of 500 posteriors: 784-300-300-40, binarized pixels",
                vamp_mlp,
                {"latent_dim": 40, "beta": 1.0, "hidden": (300, 300), "components": 500, "warmup": 6000},
                {**_BINARY, "learning_rate": 5e-4, "epochs": 50},
                "Tomczak and Welling (2018), section 5, one stochastic layer; ReLU in place of gates",
            ),
            Recipe(
                "vamp-conv",
                "a prior made of 40 posteriors, convolutional, 16 latent dimensions, binarized pixels",
                vamp_conv,
                {"latent_dim": 16, "beta": 1.0, "channels": (32, 64, 64), "components": 40, "warmup": 1000},
                {
                    **_BINARY,
                    "batch_size": 128,
                    "learning_rate": 1.2e-2,
                    "optimizer": Lazy("torch.optim:Adam", {"betas": (0.9, 0.98)}),
                    "schedule": "one-cycle",
                    "ema": 0.999,
                    "epochs": 20,
                },
                "Tomczak and Welling (2018), section 5, with convolutions",
            ),
            Recipe(
                "resnet-flow",
                "residual networks and a RealNVP prior, binarized pixels; for a GPU, and the extra [flows]",
                resnet_flow,
                {
                    "latent_dim": 40,
                    "beta": 1.0,
                    "channels": (64, 128, 128),
                    "hidden": (256, 256),
                    "dropout": 0.1,
                    "transforms": 8,
                    "warmup": 2000,
                },
                {**_BINARY, "batch_size": 256, "epochs": 100},
                "He et al. (2016) and Dinh et al. (2017); beta from 0.1 to 1 over the warm-up",
            ),
            Recipe(
                "ladder-mlp",
                "levels of latent variables, each given those above it, fully connected; binarized pixels",
                ladder,
                {"beta": 1.0, "network": "mlp", "levels": (8, 16, 32), "width": 256, "blocks": 1, "warmup": 2000},
                {**_BINARY, **_LADDER, "epochs": 40},
                "Sønderby et al. (2016); residual posteriors after Vahdat and Kautz (2020)",
            ),
            Recipe(
                "ladder-conv",
                "levels of latent grids, convolutional, binarized pixels; for a GPU",
                ladder,
                {"beta": 1.0, "network": "conv", "levels": (16, 8, 4), "width": 64, "blocks": 2, "warmup": 5000},
                {**_BINARY, **_LADDER, "epochs": 60},
                "Sønderby et al. (2016) and Vahdat and Kautz (2020)",
            ),
        )
    }
)
