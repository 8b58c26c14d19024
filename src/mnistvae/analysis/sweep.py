"""Models that differ in one setting alone, trained and measured in the same way."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mnistvae._checks import check_instance
from mnistvae._files import write_atomically
from mnistvae._records import csv_text
from mnistvae.data import ImageDataset
from mnistvae.errors import DataError, SettingError
from mnistvae.images import ImageShape
from mnistvae.metrics import Evaluation, evaluate
from mnistvae.models import VAE
from mnistvae.training import Trainer

__all__ = ["Plan", "Sweep", "sweep"]


class Plan(Protocol):
    """A recipe, as far as a sweep needs one: see :class:`mnistvae.recipes.Recipe`."""

    def check(self, changes: Mapping[str, Any]) -> object:
        """Raise SettingError for a setting that the models do not have."""

    def model(self, *, image_shape: ImageShape, num_classes: int, seed: int, **changes: Any) -> VAE:
        """Return a new model with some settings changed."""

    def trainer(self, **changes: Any) -> Trainer:
        """Return a Trainer with some settings changed."""


@dataclass(frozen=True)
class Sweep:
    """Models that differ in one setting."""

    #: Name of the setting that was varied.
    setting: str
    #: Values of the setting.
    values: tuple[Any, ...]
    #: The trained models, one for each value.
    models: tuple[VAE, ...]
    #: Evaluations of the models.
    evaluations: tuple[Evaluation, ...]

    def column(self, name: str) -> list[float]:
        """Return one score of every model, in the order of the values."""
        return [one[name] for one in self.evaluations]

    def by_class(self, name: str) -> dict[int, list[float]]:
        """Return one score of every model, for each class.

        Raises:
            DataError: If the data had no labels.
        """
        if not all(one.by_class for one in self.evaluations):
            raise DataError("scores by class", "none", "pass data with labels")
        classes = [int(row["class"]) for row in self.evaluations[0].by_class]
        return {label: [one.by_class[n][name] for one in self.evaluations] for n, label in enumerate(classes)}

    def best(self, name: str = "mse", *, tolerance: float = 1.0) -> Any:
        """Return the smallest value whose score is within ``tolerance`` standard errors of the best one.

        More of a setting (latent dimensions, say) often buys a little more of a score for ever; this is the least that
        is as good as the best, as far as the data can tell (Breiman et al., 1984, the rule of one standard error).

        Args:
            name: Name of the score.
            tolerance: Number of standard errors of the best score; 0 for the very best.

        Raises:
            DataError: If neither side of the score is better.
        """
        scores = [one.score(name) for one in self.evaluations]
        better = scores[0].better
        if not better:
            raise DataError("a score that has a better side", name, "such as mse, psnr, nll or fd_digits")
        sign = 1 if better == "lower" else -1
        least = min(scores, key=lambda one: sign * one.value)
        bound = sign * least.value + tolerance * (least.standard_error or 0)
        return min(value for value, one in zip(self.values, scores, strict=True) if sign * one.value <= bound)

    def to_csv(self, path: str | os.PathLike[str]) -> Path:
        """Write a line for each value with all scores, atomically.

        Raises:
            OutputError: If the file cannot be written.
        """
        names = [name for name in self.evaluations[0].names() if all(name in one for one in self.evaluations)]
        rows = [[value, *map(one.__getitem__, names)] for value, one in zip(self.values, self.evaluations, strict=True)]
        return write_atomically(path, csv_text([self.setting, *names], rows).encode())


def sweep(
    recipe: Plan,
    setting: str,
    values: Sequence[Any],
    train: ImageDataset,
    test: ImageDataset,
    *,
    settings: dict[str, Any] | None = None,
    training: dict[str, Any] | None = None,
    seed: int = 0,
    measure: Callable[[VAE, ImageDataset], Evaluation] | None = None,
    done: Callable[[Any, Evaluation], object] | None = None,
) -> Sweep:
    """Train a recipe with each value of one setting, under the same seed, and measure the models in the same way.

    Args:
        recipe: A recipe of :mod:`mnistvae.recipes`, or an object with its methods.
        setting: Name of a setting of its model, such as ``"latent_dim"`` or ``"beta"``.
        values: Values of the setting, at least two.
        train: Images to train on.
        test: Images to measure on.
        settings: Other changes to the recipe's model.
        training: Changes to the recipe's Trainer.
        seed: Seed of weights, order and noise.
        measure: Function of a model and the test images that returns an evaluation (default:
            :func:`mnistvae.metrics.evaluate` of reconstructions).
        done: Function that is called with the value and the evaluation after each model.

    Raises:
        SettingError: If there are fewer than two values, one stands twice, or the recipe does not have the setting.
        MnistvaeError: If a model cannot be made, trained or measured.
    """
    if not all(callable(getattr(recipe, method, None)) for method in ("check", "model", "trainer")):
        raise SettingError("a recipe", reprlib.repr(recipe), "mnistvae.recipes.get(name) gives the one of a name")
    train = check_instance("training images", train, ImageDataset, error=DataError)
    test = check_instance("test images", test, ImageDataset, error=DataError)
    if len(values) < 2 or len({repr(value) for value in values}) < len(values):
        raise SettingError(f"at least two values of {setting}, each once", repr(list(values)), "such as 5, 10, 20")
    recipe.check({setting: None, **(settings or {})})
    shape, classes = train.image_shape, train.num_classes or 1
    # All are made before any is trained, so that a value that makes no sense costs no training.
    models = [
        recipe.model(image_shape=shape, num_classes=classes, seed=seed, **{**(settings or {}), setting: value})
        for value in values
    ]
    evaluations = []
    for value, model in zip(values, models, strict=True):
        trainer = recipe.trainer(**{**(training or {}), "seed": seed})
        trainer.fit(model, train)
        binarization = trainer.binarization
        found = (
            evaluate(model, test, include=["reconstruction"], binarization=binarization, seed=seed)
            if measure is None
            else measure(model, test)
        )
        evaluations.append(found)
        if done is not None:
            done(value, found)
    return Sweep(setting, tuple(values), tuple(models), tuple(evaluations))
