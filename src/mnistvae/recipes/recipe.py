"""The class of a recipe: named settings of a model and of its training."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from mnistvae.errors import ComponentError, SettingError
from mnistvae.plugins import closest, resolve

if TYPE_CHECKING:
    from mnistvae.images import ImageShape
    from mnistvae.models import VAE
    from mnistvae.training import Trainer

__all__ = ["Lazy", "Recipe"]


@dataclass(frozen=True, repr=False)
class Lazy:
    """A function or class with some of its arguments, imported only when a Trainer is made.

    Example:
        >>> Lazy("torch.optim:Adam", {"betas": (0.9, 0.98)})
        Adam(betas=(0.9, 0.98))
    """

    #: The function or class, as ``module.path:NAME``.
    reference: str
    #: Keyword arguments that it is given.
    arguments: Mapping[str, Any]

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        return f"{self.reference.rpartition(':')[2]}({given})"

    def partial(self) -> Callable[..., Any]:
        """A ``functools.partial`` of the function or class, which is imported now.

        Raises:
            SettingError: If it cannot be imported.
        """
        from functools import partial

        return partial(resolve("function or class", self.reference, of=Callable), **self.arguments)


@dataclass(frozen=True)
class Recipe:
    """Named settings of a model and of its training.

    Raises:
        ComponentError: If ``build`` cannot be called with ``image_shape``, ``num_classes`` and the settings.

    Example:
        >>> recipe = mv.recipes.get("mlp-20")
        >>> model = recipe.model(latent_dim=10)
        >>> trainer = recipe.trainer(epochs=5)
        >>> model.latent_dim, trainer.epochs, trainer.batch_size
        (10, 5, 128)
    """

    #: Name by which people choose it.
    name: str
    #: Description in one line.
    summary: str
    #: Function that makes the model, called with ``image_shape``, ``num_classes`` and the settings.
    build: Callable[..., VAE]
    #: Settings of the model.
    settings: Mapping[str, Any]
    #: Settings of the Trainer; a value that is a :class:`Lazy` is imported with it.
    training: Mapping[str, Any]
    #: Paper or program that the settings are from.
    source: str = ""
    #: True for a model that is told the labels.
    conditional: bool = False

    def __post_init__(self) -> None:
        for name in ("settings", "training"):  # read-only: a recipe that somebody changed would be another for all
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))
        try:
            inspect.signature(self.build).bind(image_shape=(1, 28, 28), num_classes=None, **self.settings)
        except TypeError as error:
            raise ComponentError(
                f"the recipe {self.name!r} to have a function build(image_shape, num_classes, <its settings>)",
                str(error),
                "give it these arguments, or leave the setting out",
            ) from error

    def __reduce__(self) -> tuple[Any, ...]:
        values = (dict(value) if isinstance(value, Mapping) else value for value in vars(self).values())
        return type(self), tuple(values)

    def model(
        self, *, image_shape: ImageShape = (1, 28, 28), num_classes: int = 10, seed: int = 0, **changes: Any
    ) -> VAE:
        """A new model, its weights drawn under ``seed``.

        Args:
            image_shape: Shape of an image, (C, H, W).
            num_classes: Number of classes; only a conditional recipe makes use of it.
            seed: Seed of the weights.
            **changes: Settings that differ from the recipe's.

        Raises:
            SettingError: If the recipe does not have such a setting, or a value makes no sense.
            ComponentError: If ``build`` does not return a VAE.
        """
        from mnistvae._checks import check_count, check_instance, check_seed
        from mnistvae._random import seeded
        from mnistvae.models import VAE

        self.check(changes)
        if self.conditional:
            num_classes = check_count("num_classes of at least 1 for a conditional recipe", num_classes)
        with seeded(check_seed(seed)):
            model = self.build(
                image_shape=image_shape,
                num_classes=num_classes if self.conditional else None,
                **{**self.settings, **changes},
            )
        wanted = f"the recipe {self.name!r} to build a VAE"
        return check_instance(wanted, model, VAE, "return the model from build", ComponentError)

    def trainer(self, **changes: Any) -> Trainer:
        """A Trainer with the recipe's settings.

        Args:
            **changes: Arguments of :class:`~mnistvae.training.Trainer` that differ from the recipe's.

        Raises:
            SettingError: If the Trainer does not have such a setting, or a value makes no sense.
        """
        from mnistvae.training import Trainer

        settings: dict[str, Any] = {**self.training, **changes}
        _check_known("the Trainer", settings, Trainer.setting_names(), "leave it out")
        for name, value in settings.items():
            if isinstance(value, Lazy):
                settings[name] = value.partial()
        return Trainer(**settings)

    def check(self, changes: Mapping[str, Any]) -> None:
        """Check that the recipe's model has the settings that are to be changed.

        Args:
            changes: Settings by name; the values are checked when the model is made.

        Raises:
            SettingError: If it does not have one of them.
        """
        if changes.keys() <= self.settings.keys():
            return
        from mnistvae.training import Trainer

        fix = "leave it out, or choose a recipe that has it"
        _check_known(f"the recipe {self.name!r}", changes, self.settings, fix, also=Trainer.setting_names())


def _check_known(
    whose: str, given: Mapping[str, Any], known: Iterable[str], fix: str, also: Iterable[str] = ()
) -> None:
    """Check that all settings are known; the closest name is looked for among others, too."""
    unknown = sorted(given.keys() - set(known))
    if unknown:
        spelling = closest(unknown[0], [*known, *also])
        fix = f"{spelling}, or {fix}" if "closest" in spelling else fix
        raise SettingError(f"settings of {whose}: {', '.join(known)}", ", ".join(unknown), fix)
