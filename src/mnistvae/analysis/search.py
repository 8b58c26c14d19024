"""A search among settings by Optuna, whose storage lets several processes work at it."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from mnistvae._checks import as_integer, check_count
from mnistvae.analysis._range import Range
from mnistvae.analysis._storage import optuna_quietly
from mnistvae.analysis._study import Study
from mnistvae.analysis._task import LOSSES, Plan, Task, losses
from mnistvae.analysis.sweep import check_values, check_vary, grid, make_task
from mnistvae.analysis.trials import Sweep, Trained, Trial
from mnistvae.data import Batches, ImageDataset
from mnistvae.errors import TrainingError
from mnistvae.training import Callback, Trainer
from mnistvae.training.snapshots import plain_setting
from mnistvae.training.state import State

if TYPE_CHECKING:
    import optuna

__all__ = ["search"]

#: Settings of the Trainer that change nothing in a figure.
_ASIDE = ("device", "progress", "callbacks")


def search(
    recipe: Plan,
    vary: Mapping[str, Sequence[Any] | Range],
    train: ImageDataset,
    validation: ImageDataset,
    *,
    trials: int | None = None,
    storage: str | os.PathLike[str] | None = None,
    score: str = "negative_elbo",
    settings: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    seeds: int = 1,
    seed: int = 0,
    done: Callable[[Trial], object] | None = None,
) -> Sweep:
    """Let Optuna choose settings, trial after trial, by what earlier trials came to; the extra ``[search]``.

    Values are chosen by a tree-structured Parzen estimator (Bergstra et al., 2011), the first ten at random. A trial is
    trained under each seed, and what counts is the mean. It is pruned at the end of an epoch, from the second one on,
    if the best that it came to so far is worse than the median of the others after that epoch: under its first seed,
    after five trials, and only by the validation's own scores, which each epoch has. A trial whose loss is no longer
    finite has failed, and counts.

    The same call in another process, or on another machine with the same ``storage``, works on the same study, and the
    call after a process was killed goes on with it: what that process left is tried again. The study belongs to the
    recipe, the settings, the images, the seeds and the score. Each process ends when as many trials as were asked for
    are done, by all of them together.

    Args:
        recipe: A recipe of :mod:`mnistvae.recipes`, or an object with its methods.
        vary: Ranges and lists of values, by the name of a setting of the recipe's model or of the Trainer.
        train: Images to train on.
        validation: Images to measure on, which choose among the settings: keep others to test what was chosen.
        trials: Number of trials in the whole study; None for all combinations of lists.
        storage: Path of a file, which may be on a shared disk, or a database's URL, such as ``"sqlite:///study.db"``;
            None to keep nothing.
        score: Name of the score that chooses, see :func:`sweep`.
        settings: Other changes to the recipe's model.
        training: Other changes to the recipe's Trainer.
        seeds: Number of seeds under which each trial is trained.
        seed: The first seed of weights, order and noise, and the seed of the choices.
        done: Function that is called with each trial of this process once it has ended.

    Returns:
        The trials of all processes; models are not kept.

    Raises:
        SettingError: If optuna is not installed, a value makes no sense, or the study varies something else.
        OutputError: If the storage cannot be written.
        MnistvaeError: If a model cannot be made, trained or measured.
    """
    space = {
        name: given if isinstance(given, Range) else check_values(name, given)
        for name, given in check_vary(vary).items()
    }
    task = make_task(recipe, train, validation, settings, training, seeds, seed, score)
    task.check_names(list(space))
    task.check(_corners(space, task))
    combinations = None
    if trials is None:
        combinations = grid({name: list(map(repr, check_values(name, given))) for name, given in space.items()})
    number = len(combinations or ()) or check_count("trials as a number of at least 1", trials)
    texts = {name: {repr(one): one for one in given} for name, given in space.items() if not isinstance(given, Range)}
    metric = task.metric
    with optuna_quietly():
        study = Study(
            getattr(recipe, "name", "recipe"),
            storage,
            {name: _distribution(name, given, task) for name, given in space.items()},
            _about(task),
            combinations,
            minimize=metric is None or metric.better == "lower",
            seed=seed,
        )
        while (taken := study.take(number)) is not None:
            with study.at_work(taken):
                _work(study, taken, task, texts)
            if done is not None:
                done(study.find(taken.number, texts))
        return Sweep(tuple(study.record(texts)), task.score, tolerance=1.0 if combinations else 0.0)


def _work(study: Study, taken: optuna.Trial, task: Task, texts: Mapping[str, Mapping[str, Any]]) -> None:
    """Train a trial under each seed, and leave what it came to in the study."""
    changes = {name: texts.get(name, {}).get(value, value) for name, value in taken.params.items()}
    watch = _Watch(taken, task.by) if task.by in LOSSES else None
    runs: list[Trained] = []
    try:
        for seed in task.seeds:
            runs.append(task.run(changes, seed, [watch] if watch is not None and not runs else []))
            if watch is not None and watch.pruned:
                study.tell_pruned(taken)
                return
    except TrainingError as error:
        study.tell_failed(taken, str(error))
        return
    study.tell(taken, runs, fmean(run.scores[task.score].value for run in runs))


class _Watch(Callback):
    """Reports the score of each epoch to a study, and ends the training where others were better."""

    last = True

    def __init__(self, trial: optuna.Trial, by: str) -> None:
        self.trial, self.by = trial, by
        self.pruned = False

    def on_epoch_end(self, state: State) -> None:
        record = state.history[-1]
        if "validation_loss" not in record or state.stop:
            return
        self.trial.report(losses(record)[self.by], state.epoch)
        if state.epoch < state.epochs and self.trial.should_prune():
            self.pruned = True
            state.stop = "pruned: others were better after this epoch"


def _corners(space: Mapping[str, Any], task: Task) -> list[dict[str, Any]]:
    """Combinations in which each value of a list and each end of a range stands once."""
    values = {
        name: [_as_kind(name, one, task) for one in (given.low, given.high)] if isinstance(given, Range) else given
        for name, given in space.items()
    }
    most = max(map(len, values.values()))
    return [{name: given[min(n, len(given) - 1)] for name, given in values.items()} for n in range(most)]


def _as_kind(name: str, value: float, task: Task) -> float:
    """An end of a range as the number that the setting is: a fraction where the recipe's own value is one."""
    own = {one.name: one.default for one in inspect.signature(Trainer).parameters.values()}
    own |= dict(getattr(task.recipe, "training", {})) | dict(getattr(task.recipe, "settings", {}))
    whole = as_integer(value)
    return float(value) if whole is None or isinstance(own.get(name), float) else whole


def _distribution(name: str, given: Sequence[Any] | Range, task: Task) -> Any:
    """The values of a setting as Optuna has them; those of a list by their texts, since it takes no lists."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not isinstance(given, Range):
        return CategoricalDistribution([repr(one) for one in given])
    low, high = (_as_kind(name, one, task) for one in (given.low, given.high))
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=given.log)
    return FloatDistribution(float(low), float(high), log=given.log)


def _about(task: Task) -> dict[str, Any]:
    """All that makes the trials of a study comparable, as JSON has it."""
    settings = {**getattr(task.recipe, "settings", {}), **task.settings}
    training = {**getattr(task.recipe, "training", {}), **task.training}
    return {
        "settings": {name: plain_setting(value) for name, value in settings.items()},
        "training": {name: plain_setting(value) for name, value in training.items() if name not in _ASIDE},
        "images": [Batches(one).fingerprint for one in (task.train, task.validation)],
        "binarization": task.train.binarization,
        "seeds": list(task.seeds),
        "score": task.by,
    }
