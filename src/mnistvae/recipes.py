"""Recipes: named settings of a model and its training.

A recipe is a row of a table: a function that makes the model, its settings and the Trainer's. Any of
them can be changed; a setting that the recipe does not have is an error. torch is imported when a
model is made, not when the table is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from mnistvae.errors import SettingError

if TYPE_CHECKING:
    from mnistvae.images import ImageShape
    from mnistvae.models import VAE
    from mnistvae.training import Trainer

__all__ = ["RECIPES", "Recipe", "get", "names"]


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
    #: Whether the model is told the labels.
    conditional: bool = False

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
        from mnistvae._random import seeded

        self.check(changes)
        with seeded(seed):
            return self.build(
                image_shape=image_shape,
                num_classes=num_classes if self.conditional else None,
                **{**self.settings, **changes},
            )

    def trainer(self, **changes: Any) -> Trainer:
        """A Trainer with the recipe's settings, and ``changes``: any of the Trainer's arguments."""
        from mnistvae.training import Trainer

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
    from mnistvae.models import VAE
    from mnistvae.networks import ConvDecoder, ConvEncoder
    from mnistvae.objectives import ELBO

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
    beta: float,
    hidden: tuple[int, ...],
    leak: float = 0.0,
) -> VAE:
    """Fully connected, Bernoulli pixels; ``leak`` is the slope of the activation below zero."""
    from torch import nn

    from mnistvae._checks import check_number
    from mnistvae.models import VAE
    from mnistvae.networks import MLPDecoder, MLPEncoder
    from mnistvae.objectives import ELBO

    leak = check_number("leak as a finite slope of at least 0", leak)
    activation = nn.LeakyReLU(leak) if leak else None
    return VAE(
        latent_dim,
        image_shape,
        encoder=MLPEncoder(latent_dim, image_shape, hidden, activation, num_classes),
        decoder=MLPDecoder(latent_dim, image_shape, tuple(reversed(hidden)), activation, num_classes),
        objective=ELBO(beta),
        num_classes=num_classes,
    )


_USUAL = {"epochs": 20, "batch_size": 128, "learning_rate": 1e-3}

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
            ),
            Recipe(
                "beta-conv",
                "convolutional beta-VAE for faithful reconstructions: beta well below 1",
                _conv,
                {"latent_dim": 15, "beta": 0.05, "channels": (32, 64, 128)},
                {"epochs": 15, "batch_size": 128, "learning_rate": 1e-3},
            ),
            Recipe(
                "conditional",
                "convolutional, told the digit: draws the one that is asked for",
                _conv,
                {"latent_dim": 8, "beta": 1.0, "channels": (32, 64, 128)},
                {"epochs": 20, "batch_size": 64, "learning_rate": 2e-3},
                conditional=True,
            ),
            Recipe(
                "mlp",
                "fully connected with two hidden layers, 16 latent dimensions",
                _mlp,
                {"latent_dim": 16, "beta": 1.0, "hidden": (512, 256)},
                _USUAL,
            ),
            Recipe(
                "mlp-20",
                "784-400-20, the network of pytorch/examples",
                _mlp,
                {"latent_dim": 20, "beta": 1.0, "hidden": (400,)},
                {**_USUAL, "epochs": 10},
            ),
            Recipe(
                "mlp-2d",
                "784-400-2: a latent space that can be drawn",
                _mlp,
                {"latent_dim": 2, "beta": 1.0, "hidden": (400,)},
                _USUAL,
            ),
            Recipe(
                "leaky-mlp-2d",
                "784-512-512-2 with LeakyReLU 0.2: the digit at a point of the plane",
                _mlp,
                {"latent_dim": 2, "beta": 1.0, "hidden": (512, 512), "leak": 0.2},
                _USUAL,
            ),
        )
    }
)
