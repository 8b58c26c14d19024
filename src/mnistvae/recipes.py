"""Recipes: named settings of a model and its training.

A recipe is a row of a table: a function that makes the model, its settings and the Trainer's. Any of
them can be changed; a setting that the recipe does not have is an error. torch is imported when a
model is made, not when the table is read.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from mnistvae.errors import SettingError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from mnistvae.images import ImageShape
    from mnistvae.models import VAE
    from mnistvae.schedules import Schedule
    from mnistvae.training import Trainer

__all__ = ["RECIPES", "Recipe", "get", "names", "quick_adam", "warm_cosine"]


@dataclass(frozen=True)
class Recipe:
    """Named settings of a model and its training.

    Example:
        >>> recipe = mv.recipes.get("mlp-20")
        >>> model = recipe.model(latent_dim=10)
        >>> trainer = recipe.trainer(epochs=5)
        >>> model.latent_dim, trainer.epochs, trainer.batch_size
        (10, 5, 128)
    """

    #: What it is called.
    name: str
    #: What it is, in one line.
    summary: str
    #: Makes the model: called with ``image_shape``, ``num_classes`` and the settings.
    build: Callable[..., VAE]
    #: Settings of the model.
    settings: Mapping[str, Any]
    #: Settings of the Trainer.
    training: Mapping[str, Any]
    #: Where it comes from.
    source: str = ""
    #: Whether the model is told the labels.
    conditional: bool = False

    def __post_init__(self) -> None:
        for name in ("settings", "training"):  # a recipe that somebody changed would be another for all
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    def model(
        self, *, image_shape: ImageShape = (1, 28, 28), num_classes: int = 10, seed: int = 0, **changes: Any
    ) -> VAE:
        """A new model, its weights drawn under ``seed``.

        Args:
            image_shape: (C, H, W).
            num_classes: of a conditional recipe; the others make no use of it.
            seed: of the weights.
            **changes: settings other than the recipe's.

        Raises:
            SettingError: a setting that the recipe does not have, or a value that makes no sense.
        """
        from mnistvae._checks import check_count
        from mnistvae._random import seeded

        self.check(changes)
        if self.conditional:
            num_classes = check_count("num_classes of at least 1 for a conditional recipe", num_classes)
        with seeded(seed):
            return self.build(
                image_shape=image_shape,
                num_classes=num_classes if self.conditional else None,
                **{**self.settings, **changes},
            )

    def trainer(self, **changes: Any) -> Trainer:
        """A Trainer with the recipe's settings, and ``changes``: any of the Trainer's arguments."""
        from mnistvae.training import Trainer

        known = list(inspect.signature(Trainer).parameters)
        unknown = sorted(changes.keys() - set(known))
        if unknown:
            raise SettingError(f"settings of the Trainer: {', '.join(known)}", ", ".join(unknown), "leave it out")
        return Trainer(**{**self.training, **changes})

    def check(self, changes: Mapping[str, Any]) -> None:
        """Raise SettingError if ``changes`` name a setting that the recipe's model does not have."""
        unknown = sorted(changes.keys() - self.settings.keys())
        if unknown:
            raise SettingError(
                f"settings of the recipe {self.name!r}: {', '.join(self.settings)}",
                ", ".join(unknown),
                "leave it out, or choose a recipe that has it",
            )


def get(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        SettingError: there is none.
    """
    try:
        return RECIPES[name]
    except KeyError:
        raise SettingError(f"a recipe: {', '.join(RECIPES)}", repr(name), "check the spelling") from None


def names() -> list[str]:
    """The names of all recipes."""
    return list(RECIPES)


def _conv(
    image_shape: ImageShape, num_classes: int | None, latent_dim: int, beta: float, channels: tuple[int, ...]
) -> VAE:
    """Convolutions down, transposed convolutions up, Bernoulli pixels."""
    from mnistvae._checks import check_widths
    from mnistvae.models import VAE
    from mnistvae.networks import ConvDecoder, ConvEncoder
    from mnistvae.objectives import ELBO

    channels = check_widths("channels", channels, least=1)
    return VAE(
        latent_dim,
        image_shape,
        encoder=ConvEncoder(latent_dim, image_shape, channels, num_classes=num_classes),
        decoder=ConvDecoder(latent_dim, image_shape, tuple(reversed(channels)), num_classes=num_classes),
        objective=ELBO(beta),
        num_classes=num_classes,
    )


def _mlp(
    image_shape: ImageShape,
    num_classes: int | None,
    latent_dim: int,
    hidden: tuple[int, ...],
    beta: float = 1.0,
    activation: str = "relu",
    leak: float = 0.0,
    sigma: float | str | None = None,
    num_samples: int | None = None,
    components: int | None = None,
    warmup: int = 0,
) -> VAE:
    """Fully connected; each setting beyond the widths is one part more."""
    from mnistvae._checks import check_widths
    from mnistvae.likelihoods import Bernoulli, Gaussian
    from mnistvae.models import VAE
    from mnistvae.networks import MLPDecoder, MLPEncoder
    from mnistvae.objectives import ELBO, IWAE
    from mnistvae.priors import VampPrior

    hidden = check_widths("hidden", hidden)
    between = _activation(activation, leak)
    likelihood = Bernoulli() if sigma is None else Gaussian(sigma)
    up = tuple(reversed(hidden))
    return VAE(
        latent_dim,
        image_shape,
        encoder=MLPEncoder(latent_dim, image_shape, hidden, between, num_classes),
        decoder=MLPDecoder(latent_dim, image_shape, up, between, num_classes, likelihood.n_params),
        likelihood=likelihood,
        prior=None if components is None else VampPrior(components),
        objective=ELBO(beta, _warmup(warmup)) if num_samples is None else IWAE(num_samples),
        num_classes=num_classes,
    )


def _resnet(
    image_shape: ImageShape,
    num_classes: int | None,
    latent_dim: int,
    beta: float,
    channels: tuple[int, ...],
    hidden: tuple[int, ...],
    dropout: float,
    transforms: int,
    warmup: int,
) -> VAE:
    """Residual blocks, Bernoulli pixels, and a RealNVP prior whose networks have the widths ``hidden``."""
    from mnistvae._checks import check_widths
    from mnistvae.models import VAE
    from mnistvae.networks import ResNetDecoder, ResNetEncoder
    from mnistvae.objectives import ELBO
    from mnistvae.priors import Flow

    channels = check_widths("channels", channels, least=1)
    down, up = (1, *(2 for _ in channels[1:])), tuple(2 for _ in channels)
    return VAE(
        latent_dim,
        image_shape,
        encoder=ResNetEncoder(latent_dim, image_shape, channels, down, dropout=0.0, num_classes=num_classes),
        decoder=ResNetDecoder(latent_dim, image_shape, channels[::-1], up, dropout=dropout, num_classes=num_classes),
        prior=Flow(latent_dim, "realnvp", transforms, hidden),
        objective=ELBO(beta, _warmup(warmup, start=0.1)),
        num_classes=num_classes,
    )


def _activation(name: str, leak: float) -> nn.Module | None:
    """What stands between two linear layers; None is the usual ReLU."""
    from torch import nn

    from mnistvae._checks import check_choice, check_number

    leak = check_number("leak as a finite slope of at least 0", leak)
    name = check_choice("activation", name, ("relu", "tanh"))
    if leak:
        return nn.LeakyReLU(leak)
    return nn.Tanh() if name == "tanh" else None


def _warmup(steps: int, start: float = 0.0) -> Schedule | None:
    """Beta grows over so many steps; none for no steps."""
    from mnistvae._checks import check_count
    from mnistvae.schedules import Linear

    steps = check_count("warmup as a number of steps of at least 0", steps, least=0)
    return Linear(steps, start) if steps else None


def quick_adam(
    parameters: Any, lr: float | torch.Tensor, *, fused: bool | None = None, capturable: bool = False
) -> torch.optim.Optimizer:
    """Adam whose second moment forgets sooner, as a run of few steps needs it."""
    import torch

    return torch.optim.Adam(parameters, lr, (0.9, 0.98), fused=fused, capturable=capturable)


def warm_cosine(step: int, steps: int) -> float:
    """A learning rate that rises over a quarter of the run and falls along half a cosine."""
    from mnistvae.training import cosine

    return cosine(step, steps, warmup=steps // 4, final=0.02)


_USUAL = {"epochs": 20, "batch_size": 128, "learning_rate": 1e-3}
_BINARY = {"batch_size": 100, "learning_rate": 1e-3, "binarization": "dynamic"}

#: All recipes by name.
RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        recipe.name: recipe
        for recipe in (
            Recipe(
                "conv",
                "three convolutions and three transposed ones, 10 latent dimensions",
                _conv,
                {"latent_dim": 10, "beta": 1.0, "channels": (32, 64, 128)},
                {"epochs": 20, "batch_size": 64, "learning_rate": 2e-3},
                "Kingma and Welling (2014) with convolutions; batch and learning rate tuned on mnist-mini",
            ),
            Recipe(
                "beta-conv",
                "convolutional beta-VAE for faithful reconstructions: beta well below 1",
                _conv,
                {"latent_dim": 15, "beta": 0.05, "channels": (32, 64, 128)},
                {"epochs": 15, "batch_size": 128, "learning_rate": 4e-3, "schedule": "one-cycle"},
                "Higgins et al. (2017), with beta as notebooks that average over pixels have it",
            ),
            Recipe(
                "conditional",
                "convolutional, told the digit: draws the one that is asked for",
                _conv,
                {"latent_dim": 8, "beta": 1.0, "channels": (32, 64, 128)},
                {"epochs": 20, "batch_size": 64, "learning_rate": 2e-3},
                "Sohn, Lee and Yan (2015)",
                conditional=True,
            ),
            Recipe(
                "mlp",
                "fully connected with two hidden layers, 16 latent dimensions",
                _mlp,
                {"latent_dim": 16, "beta": 1.0, "hidden": (512, 256)},
                _USUAL,
                "Kingma and Welling (2014), wider",
            ),
            Recipe(
                "mlp-20",
                "784-400-20, the network of pytorch/examples",
                _mlp,
                {"latent_dim": 20, "beta": 1.0, "hidden": (400,)},
                {**_USUAL, "epochs": 10},
                "pytorch/examples, vae",
            ),
            Recipe(
                "mlp-20-fast",
                "mlp-20 in a third of its steps: on the whole MNIST its loss after 10 epochs, in seconds",
                _mlp,
                {"latent_dim": 20, "beta": 1.0, "hidden": (400,)},
                {
                    "epochs": 4,
                    "steps": 1500,
                    "batch_size": 128,
                    "learning_rate": 1e-2,
                    "optimizer": quick_adam,
                    "schedule": warm_cosine,
                    "precision": "auto",
                },
                "pytorch/examples, vae; the learning rate's course after Loshchilov and Hutter (2017)",
            ),
            Recipe(
                "mlp-2d",
                "784-400-2: a latent space that can be drawn",
                _mlp,
                {"latent_dim": 2, "beta": 1.0, "hidden": (400,)},
                _USUAL,
                "Kingma and Welling (2014), figure 4: two latent dimensions",
            ),
            Recipe(
                "leaky-mlp-2d",
                "784-512-512-2 with LeakyReLU 0.2: the digit at a point of the plane",
                _mlp,
                {"latent_dim": 2, "beta": 1.0, "hidden": (512, 512), "leak": 0.2},
                _USUAL,
                "Kingma and Welling (2014), figure 4, with the activation of Maas et al. (2013)",
            ),
            Recipe(
                "gaussian-mlp",
                "squared error and KL: normal pixels with a fixed sigma of the root of 1/2",
                _mlp,
                {"latent_dim": 20, "beta": 1.0, "hidden": (400,), "sigma": 0.5**0.5},
                {**_USUAL, "epochs": 50},
                "Kingma and Welling (2014), appendix C.2",
            ),
            Recipe(
                "kingma2014",
                "the first VAE: 784-500-20, tanh, binarized pixels",
                _mlp,
                {"latent_dim": 20, "beta": 1.0, "hidden": (500,), "activation": "tanh"},
                {**_BINARY, "epochs": 50},
                "Kingma and Welling (2014), section 5 and appendix C.1; Adam in place of Adagrad",
            ),
            Recipe(
                "iwae-50",
                "importance-weighted, 50 samples: 784-200-200-50, tanh, binarized pixels",
                _mlp,
                {"latent_dim": 50, "hidden": (200, 200), "activation": "tanh", "num_samples": 50},
                {**_BINARY, "epochs": 50},
                "Burda, Grosse and Salakhutdinov (2016), section 5, one stochastic layer",
            ),
            Recipe(
                "vamp",
                "a prior made of 500 posteriors: 784-300-300-40, binarized pixels",
                _mlp,
                {"latent_dim": 40, "beta": 1.0, "hidden": (300, 300), "components": 500, "warmup": 6000},
                {**_BINARY, "learning_rate": 5e-4, "epochs": 50},
                "Tomczak and Welling (2018), section 5, one stochastic layer; ReLU in place of gates",
            ),
            Recipe(
                "resnet-flow",
                "residual networks and a RealNVP prior, binarized pixels; for a GPU, and the extra [flows]",
                _resnet,
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
        )
    }
)
