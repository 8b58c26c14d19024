"""The training of one combination of settings, and the check of all before it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol

from mnistvae.analysis.trials import Trained
from mnistvae.data import ImageDataset
from mnistvae.errors import SettingError, TrainingError
from mnistvae.images import ImageShape
from mnistvae.metrics import METRICS, Evaluation, Metric, Score, evaluate
from mnistvae.models import VAE
from mnistvae.plugins import closest, is_reference, names, resolve
from mnistvae.training import Callback, Trainer
from mnistvae.training.history import Record

__all__ = ["LOSSES", "PARTS", "Plan", "Task", "losses"]

#: Scores in nats that the Trainer's validation gives, with how they are made.
LOSSES: Mapping[str, str] = {
    "negative_elbo": "reconstruction + kl, beta = 1, of the validation images",
    "validation_loss": "the loss of the validation images, with the weights of its terms",
}
#: The parts of the bound, in nats, of which neither has a better side: the term of the validation, and how it is made.
PARTS: Mapping[str, tuple[str, str]] = {
    "rate": ("validation_kl", "KL(q(z | x) || p(z)), the mean of the validation images"),
    "distortion": ("validation_reconstruction", "-log p(x | z) at z ~ q(z | x), the mean of the validation images"),
}


class Plan(Protocol):
    """A recipe, as far as a sweep needs one: see :class:`mnistvae.recipes.Recipe`."""

    def check(self, changes: Mapping[str, Any]) -> object:
        """Raise SettingError for a setting that the models do not have."""

    def model(self, *, image_shape: ImageShape, num_classes: int, seed: int, **changes: Any) -> VAE:
        """Return a new model with some settings changed."""

    def trainer(self, **changes: Any) -> Trainer:
        """Return a Trainer with some settings changed."""


@dataclass(frozen=True)
class Task:
    """The data, the settings and the score that all trials have in common.

    Raises:
        SettingError: If a setting or the score is not known.
    """

    recipe: Plan
    train: ImageDataset
    validation: ImageDataset
    #: Changes to the recipe's model.
    settings: Mapping[str, Any]
    #: Changes to the recipe's Trainer.
    training: Mapping[str, Any]
    #: Seeds of the trainings of each trial.
    seeds: tuple[int, ...]
    #: Name of the score that chooses.
    by: str
    #: Function of a model and the validation images in place of :func:`mnistvae.metrics.evaluate`.
    measure: Callable[[VAE, ImageDataset], Evaluation] | None = None

    def check_names(self, names: Sequence[str]) -> None:
        """Raise SettingError for a setting that neither the model nor the Trainer has, or that is not to vary."""
        known = Trainer.setting_names()
        self.recipe.check({**dict.fromkeys(one for one in names if one not in known), **self.settings})
        if "seed" in names:
            raise SettingError("settings to vary", "seed", "`seeds` is the number of seeds of each combination")

    def check(self, trials: Iterable[Mapping[str, Any]]) -> None:
        """Make all models and Trainers once, so that a value that makes no sense costs no training.

        Raises:
            SettingError: If one cannot be made, or if the score would be in nats of two densities.
        """
        metric = self.metric
        tags = set()
        for changes in trials:
            model, trainer = self.make(changes, self.seeds[0])
            own = self.train.binarization
            tags.add(model.tag(trainer.binarization if own == "none" else own))
        if len(tags) > 1 and (metric is None or metric.tagged):
            got = " and ".join(sorted(map(repr, tags)))
            raise SettingError(f"{self.by} of one density, to choose by", f"tags {got}", "choose by mse, say (`score`)")

    @property
    def metric(self) -> Metric | None:
        """The metric that is the score; None for a loss of the validation, and for a measure of the user's own."""
        if self.by in LOSSES or self.measure is not None:
            return None
        rows = {one.name: one for one in chain(*METRICS.values()) if one.per != "dimension" and one.better}
        known = list(dict.fromkeys([*LOSSES, *names("metric", rows)]))
        if not is_reference(self.by) and self.by not in known:
            raise SettingError(f"score as one of {', '.join(known)}", repr(self.by), closest(self.by, known))
        found: Metric = resolve("metric", self.by, rows, of=Metric)
        if found.name in {*LOSSES, *PARTS}:
            raise SettingError("a metric with a name of its own", repr(found.name), "give it another name")
        if found.per == "dimension" or not found.better:
            raise SettingError("a score that has a better side", self.by, "such as mse, psnr or negative_elbo")
        return found

    @property
    def score(self) -> str:
        """The name of the score in a record."""
        return self.by if self.metric is None else self.metric.name

    def make(self, changes: Mapping[str, Any], seed: int, callbacks: Sequence[Callback] = ()) -> tuple[VAE, Trainer]:
        """A model and a Trainer with some settings changed."""
        known = Trainer.setting_names()
        own = {name: value for name, value in changes.items() if name not in known}
        shape, classes = self.train.image_shape, self.train.num_classes or 1
        model = self.recipe.model(image_shape=shape, num_classes=classes, seed=seed, **{**self.settings, **own})
        training = {**self.training, **{name: value for name, value in changes.items() if name in known}, "seed": seed}
        if callbacks:
            training["callbacks"] = [*training.get("callbacks", ()), *callbacks]
        return model, self.recipe.trainer(**training)

    def run(self, changes: Mapping[str, Any], seed: int, callbacks: Sequence[Callback] = ()) -> Trained:
        """Train and measure with some settings changed, under one seed.

        Raises:
            TrainingError: If the loss is no longer finite.
            MnistvaeError: As training and evaluation raise.
        """
        model, trainer = self.make(changes, seed, callbacks)
        history = trainer.fit(model, self.train, self.validation)
        measured = [record for record in history if "validation_loss" in record]
        # With patience, the weights that the model has are those of the lowest loss.
        last = measured[-1] if trainer.patience is None else min(measured, key=lambda one: one["validation_loss"])
        if not all(map(math.isfinite, losses(last).values())):
            raise TrainingError("a finite loss of the validation images", f"{last['validation_loss']}")
        found = self._measured(model, trainer)
        scores = {one.name: one for one in (*found, *_of_validation(last, history.tag))}
        if self.score not in scores:
            reason = found.left_out.get(self.score, ", ".join(scores))
            raise SettingError(f"{self.score} among the scores", reason, "choose by another one")
        return Trained(seed, scores, found, model)

    def _measured(self, model: VAE, trainer: Trainer) -> Evaluation:
        if self.measure is not None:
            return self.measure(model, self.validation)
        metric = self.metric
        groups = [group for group, rows in METRICS.items() if group == "reconstruction" or metric in rows]
        return evaluate(
            model,
            self.validation,
            train=self.train if "latent" in groups else None,
            include=groups,
            metrics=[] if metric is None or any(metric in rows for rows in METRICS.values()) else [metric],
            binarization=trainer.binarization,
            seed=self.seeds[0],  # one for all, so that scores of all seeds may be compared
        )


def _of_validation(record: Record, tag: str) -> list[Score]:
    """The losses of an epoch with a validation, and the parts of the bound, as scores."""
    values = losses(record)
    found = [Score(name, values[name], "nats", "lower", how, tag) for name, how in LOSSES.items()]
    # A rate is nats of the code, which two densities of pixels may be compared by.
    tags = {"rate": "", "distortion": tag}
    return [*found, *(Score(name, record[term], "nats", "", how, tags[name]) for name, (term, how) in PARTS.items())]


def losses(record: Record) -> dict[str, float]:
    """The losses of an epoch with a validation that may be scores, by name."""
    elbo = record["validation_reconstruction"] + record["validation_kl"]
    return {"negative_elbo": elbo, "validation_loss": record["validation_loss"]}
