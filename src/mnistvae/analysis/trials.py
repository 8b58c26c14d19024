"""The record of settings that were tried: what each came to, and which is the best."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal

from mnistvae._files import write_atomically
from mnistvae._records import csv_text
from mnistvae.errors import DataError
from mnistvae.metrics import Evaluation, Score
from mnistvae.metrics.record import difference
from mnistvae.models import VAE

__all__ = ["Sweep", "Trained", "Trial"]


@dataclass(frozen=True)
class Trained:
    """One training: its scores and, where it was done in this process, the model and the whole evaluation."""

    #: Seed of weights, order and noise.
    seed: int
    #: Scores on the validation images, by name.
    scores: Mapping[str, Score]
    evaluation: Evaluation | None = field(default=None, repr=False)
    model: VAE | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Trial:
    """One combination of settings, trained under one or several seeds."""

    #: Values of the settings that vary, by name.
    settings: Mapping[str, Any]
    #: The trainings, one for each seed.
    runs: tuple[Trained, ...] = ()
    #: "complete"; "pruned", ended early since others were better; "failed", a loss that was no longer finite;
    #: "running", in another process.
    state: Literal["complete", "pruned", "failed", "running"] = "complete"
    #: The reason of a failure.
    note: str = ""
    #: The score after each epoch under the first seed, by epoch, where a search looked at it.
    course: Mapping[int, float] = field(default_factory=dict, repr=False)

    def score(self, name: str) -> Score:
        """The mean over the seeds.

        Its standard error is that over the seeds; for a single one, the standard error over the images.

        Args:
            name: Name of a score.

        Raises:
            KeyError: If there is none of this name.
            DataError: If the scores of two seeds cannot be compared.
        """
        scores = [run.scores[name] for run in self.runs]
        if len(scores) == 1:
            return scores[0]
        if reason := difference(scores):
            raise DataError(f"{name} of all seeds made alike", reason, "measure them in the same way")
        error = self.spread(name) / math.sqrt(len(scores))
        return replace(scores[0], value=fmean(one.value for one in scores), standard_error=error)

    def spread(self, name: str) -> float:
        """The standard deviation of a score over the seeds; NaN for a single one."""
        values = [run.scores[name].value for run in self.runs]
        return stdev(values) if len(values) > 1 and all(map(math.isfinite, values)) else math.nan


@dataclass(frozen=True)
class Sweep:
    """Models that differ in some settings, trained and measured in the same way."""

    #: One for each combination of values, in the order in which they were tried.
    trials: tuple[Trial, ...]
    #: Name of the score that chooses.
    by: str = "mse"
    #: Standard errors of the best score within which a score is as good.
    tolerance: float = 1.0

    @property
    def settings(self) -> tuple[str, ...]:
        """The names of the settings that vary."""
        return tuple(self.trials[0].settings)

    @property
    def complete(self) -> tuple[Trial, ...]:
        """The trials that were trained to their end under all seeds."""
        return tuple(trial for trial in self.trials if trial.state == "complete")

    @property
    def models(self) -> tuple[VAE, ...]:
        """The models that were trained in this process, seed by seed of each trial."""
        return tuple(run.model for trial in self.trials for run in trial.runs if run.model is not None)

    @property
    def evaluations(self) -> tuple[Evaluation, ...]:
        """The evaluations of what was trained in this process, seed by seed of each trial."""
        return tuple(run.evaluation for trial in self.trials for run in trial.runs if run.evaluation is not None)

    def names(self) -> list[str]:
        """The names of the scores that all complete trials have."""
        runs = [run for trial in self.complete for run in trial.runs]
        return [name for name in runs[0].scores if all(name in run.scores for run in runs)] if runs else []

    def column(self, name: str) -> list[float]:
        """One score of every trial, the mean over its seeds; NaN where a trial is not complete."""
        return [trial.score(name).value if trial.state == "complete" else math.nan for trial in self.trials]

    def by_class(self, name: str) -> dict[int, list[float]]:
        """One score of every trial for each class, the mean over its seeds.

        Raises:
            DataError: If the data had no labels, or a trial was not trained and measured here.
        """
        found = [[run.evaluation for run in trial.runs] for trial in self.trials]
        if not all(each and all(one is not None and one.by_class for one in each) for each in found):
            raise DataError("scores by class", "none", "pass data with labels, and look at what was trained here")
        tables = [[one.by_class for one in each if one is not None] for each in found]
        classes = [int(row["class"]) for row in tables[0][0]]
        return {label: [fmean(table[n][name] for table in each) for each in tables] for n, label in enumerate(classes)}

    def best(self, name: str | None = None, *, tolerance: float | None = None) -> Trial:
        """The trial of the smallest values whose score is within ``tolerance`` standard errors of the best one.

        More of a setting (latent dimensions, say) often buys a little more of a score for ever; this is the least that
        is as good as the best, as far as the data can tell (Breiman et al., 1984, the rule of one standard error). The
        first setting counts first; values that are not all numbers count in the order in which they were tried.

        Args:
            name: Name of the score (default: the one that the sweep is by).
            tolerance: Number of standard errors of the best score; 0 for the very best (default: the sweep's).

        Raises:
            DataError: If neither side of the score is better, no trial is complete, or two scores cannot be compared.
        """
        name = self.by if name is None else name
        if not self.complete:
            raise DataError("a trial that was trained to its end", "none", "look at the reasons, or try other values")
        scores = [trial.score(name) for trial in self.complete]
        if not scores[0].better:
            raise DataError("a score that has a better side", name, "such as mse, psnr, nll or negative_elbo")
        if reason := difference(scores):
            raise DataError(f"{name} of all trials made alike", reason, "choose by another score, such as mse")
        sign = 1 if scores[0].better == "lower" else -1
        least = min(scores, key=lambda one: sign * one.value)
        tolerance = self.tolerance if tolerance is None else tolerance
        bound = sign * least.value + (tolerance * (least.standard_error or 0) if tolerance else 0)
        ranks = {name: _ranks([trial.settings[name] for trial in self.trials]) for name in self.settings}
        good = [one for one, score in zip(self.complete, scores, strict=True) if sign * score.value <= bound]
        return min(good, key=lambda one: [ranks[name][repr(value)] for name, value in one.settings.items()])

    def to_csv(self, path: str | os.PathLike[str]) -> Path:
        """Write a line for each trial and seed with all scores, atomically.

        There are columns ``seed`` and ``state`` where there are several seeds, and trials that are not complete.

        Args:
            path: File to write.

        Raises:
            OutputError: If it cannot be written.
        """
        names = self.names()
        seeds = len({run.seed for trial in self.trials for run in trial.runs}) > 1
        states = len(self.complete) < len(self.trials)
        rows = []
        for trial in self.trials:
            for run in trial.runs or (Trained(-1, {}),):
                how = [*([run.seed if run.seed >= 0 else None] if seeds else []), *([trial.state] if states else [])]
                scores = [run.scores[name].value if name in run.scores else None for name in names]
                rows.append([*map(_cell, trial.settings.values()), *how, *scores])
        header = [*self.settings, *(["seed"] if seeds else []), *(["state"] if states else []), *names]
        return write_atomically(path, csv_text(header, rows).encode())

    def summary_to_csv(self, path: str | os.PathLike[str]) -> Path:
        """Write a line for each complete trial: of each score the mean and the standard deviation over the seeds.

        Args:
            path: File to write.

        Raises:
            OutputError: If it cannot be written.
        """
        names = self.names()
        rows = []
        for trial in self.complete:
            found = [(trial.score(name).value, trial.spread(name)) for name in names]
            cells = [None if math.isnan(value) else value for pair in found for value in pair]
            rows.append([*map(_cell, trial.settings.values()), len(trial.runs), *cells])
        header = [f"{name}{suffix}" for name in names for suffix in ("_mean", "_std")]
        return write_atomically(path, csv_text([*self.settings, "seeds", *header], rows).encode())


def _cell(value: Any) -> Any:
    """A value in a table, in which nothing stands for None alone."""
    return "None" if value is None else value


def _ranks(values: Sequence[Any]) -> dict[str, int]:
    """The places of values: numbers by their size, others as they came; by their texts, since lists have no hash."""
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    ordered = sorted(values) if numbers else values
    return {text: place for place, text in enumerate(dict.fromkeys(map(repr, ordered)))}
