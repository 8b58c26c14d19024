"""One setting varied: models that differ in it alone, measured in the same way."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnistvae._files import write_atomically
from mnistvae.data import ImageDataset
from mnistvae.errors import DataError, SettingError
from mnistvae.metrics import Evaluation, evaluate
from mnistvae.models import VAE
from mnistvae.recipes import Recipe

__all__ = ["Sweep", "sweep"]


@dataclass(frozen=True)
class Sweep:
    """Models that differ in one setting."""

    #: The setting that was varied.
    setting: str
    values: tuple[Any, ...]
    models: tuple[VAE, ...]
    evaluations: tuple[Evaluation, ...]

    def column(self, figure: str) -> list[float]:
        """A figure of every model, in the order of the values."""
        return [one[figure] for one in self.evaluations]

    def by_class(self, figure: str) -> dict[int, list[float]]:
        """A figure of every model for each class.

        Raises:
            DataError: the data had no labels.
        """
        if not all(one.by_class for one in self.evaluations):
            raise DataError("figures by class", "none", "pass data with labels")
        classes = [int(row["class"]) for row in self.evaluations[0].by_class]
        return {label: [one.by_class[n][figure] for one in self.evaluations] for n, label in enumerate(classes)}

    def best(self, figure: str = "mse", *, tolerance: float = 1.0) -> Any:
        """The smallest value whose figure is within ``tolerance`` standard errors of the best one.

        More of a setting (latent dimensions, say) often buys a little more of a figure for ever; this is the least that
        is as good as the best, as far as the data can tell (Breiman et al., 1984, the rule of one standard error).

        Args:
            figure: its name.
            tolerance: in standard errors of the best figure; 0 for the very best.

        Raises:
            DataError: the figure has no better side.
        """
        figures = [one.score(figure) for one in self.evaluations]
        better = figures[0].better
        if not better:
            raise DataError("a figure that has a better side", figure, "such as mse, psnr, nll or fd_digits")
        sign = 1 if better == "lower" else -1
        least = min(figures, key=lambda one: sign * one.value)
        bound = sign * least.value + tolerance * (least.standard_error or 0)
        good = [value for value, one in zip(self.values, figures, strict=True) if sign * one.value <= bound]
        return min(good)

    def to_csv(self, path: str | os.PathLike[str]) -> Path:
        """Write a line for each value with all figures, atomically.

        Raises:
            OutputError: it cannot be written.
        """
        names = [name for name in self.evaluations[0].names() if all(name in one for one in self.evaluations)]
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([self.setting, *names])
        for value, one in zip(self.values, self.evaluations, strict=True):
            writer.writerow([value, *(one[name] for name in names)])
        return write_atomically(path, stream.getvalue().encode())


def sweep(
    recipe: Recipe,
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
        recipe: see :mod:`mnistvae.recipes`.
        setting: of its model, such as ``"latent_dim"`` or ``"beta"``.
        values: at least two.
        train: images to train on.
        test: images to measure on.
        settings: other changes to the recipe's model.
        training: changes to the recipe's Trainer.
        seed: of weights, order and noise.
        measure: a model and the test images to figures (default: :func:`mnistvae.metrics.evaluate` of reconstructions).
        done: called with the value and the figures after each model.

    Raises:
        SettingError: fewer than two values, one twice, or a setting that the recipe does not have.
        MnistvaeError: what model, Trainer and data raise.
    """
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
