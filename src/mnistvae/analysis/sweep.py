"""All combinations of some values of settings, trained and measured in the same way."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

from mnistvae._checks import check_count, check_instance, check_mapping, check_seed, listed
from mnistvae.analysis._range import Range
from mnistvae.analysis._task import Plan, Task
from mnistvae.analysis.trials import Sweep, Trained, Trial
from mnistvae.data import ImageDataset
from mnistvae.errors import DataError, SettingError, TrainingError
from mnistvae.metrics import Evaluation
from mnistvae.models import VAE

__all__ = ["Plan", "check_values", "grid", "make_task", "sweep"]


def sweep(
    recipe: Plan,
    vary: Mapping[str, Sequence[Any]],
    train: ImageDataset,
    validation: ImageDataset,
    *,
    score: str = "mse",
    settings: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    seeds: int = 1,
    seed: int = 0,
    measure: Callable[[VAE, ImageDataset], Evaluation] | None = None,
    done: Callable[[Trial], object] | None = None,
) -> Sweep:
    """Train a recipe with each combination of some values, under the same seeds, and measure the models alike.

    All models are made before the first is trained, so that a value that makes no sense costs no training. A
    combination whose loss is no longer finite has failed, and the others go on.

    Beside the metrics, each run has the scores ``negative_elbo`` and ``validation_loss``, and the two parts of the
    first: ``rate``, the KL term, and ``distortion``, the reconstruction term, whatever beta is (Alemi et al., 2018,
    section 2). :func:`mnistvae.plotting.rate_distortion` draws them.

    Args:
        recipe: A recipe of :mod:`mnistvae.recipes`, or an object with its methods.
        vary: Values, at least two, by the name of a setting of the recipe's model or of the Trainer, such as
            ``{"latent_dim": [5, 10], "learning_rate": [1e-3, 3e-3]}``.
        train: Images to train on.
        validation: Images to measure on, which choose among the settings: keep others to test what was chosen.
        score: Name of the score that chooses: ``"negative_elbo"`` or ``"validation_loss"``, in nats, a metric of
            :func:`mnistvae.metrics.evaluate`, or a score of ``measure``.
        settings: Other changes to the recipe's model.
        training: Other changes to the recipe's Trainer.
        seeds: Number of seeds under which each combination is trained.
        seed: The first seed of weights, order and noise; the others follow it.
        measure: Function of a model and the validation images that returns an evaluation (default:
            :func:`mnistvae.metrics.evaluate` of reconstructions, and of the family of ``score``).
        done: Function that is called with each combination once it is trained and measured.

    Raises:
        SettingError: If there are fewer than two values, one stands twice, or the recipe does not have the setting.
        TrainingError: If every combination failed.
        MnistvaeError: If a model cannot be made, trained or measured.

    Example:
        >>> digits = mv.load_dataset("mnist-mini", "test")
        >>> how = {"epochs": 1, "progress": False}
        >>> vary = {"latent_dim": [2, 8], "learning_rate": [1e-3, 3e-3]}
        >>> found = sweep(mv.recipes.get("mlp-20"), vary, digits[:300], digits[300:400], training=how)
        >>> len(found.trials), found.settings
        (4, ('latent_dim', 'learning_rate'))
    """
    values = {name: check_values(name, given) for name, given in check_vary(vary).items()}
    task = make_task(recipe, train, validation, settings, training, seeds, seed, score, measure)
    task.check_names(list(values))
    combinations = grid(values)
    task.check(combinations)
    trials: list[Trial] = []
    failed: TrainingError | None = None
    for combination in combinations:
        runs: list[Trained] = []
        try:
            runs += (task.run(combination, one) for one in task.seeds)
            trials.append(Trial(combination, tuple(runs)))
        except TrainingError as error:
            failed = error
            trials.append(Trial(combination, tuple(runs), "failed", str(error)))
        if done is not None:
            done(trials[-1])
    if failed is not None and all(trial.state == "failed" for trial in trials):
        raise failed
    return Sweep(tuple(trials), task.score)


def check_vary(vary: Any) -> Mapping[str, Any]:
    """``vary``, which must name at least one setting.

    Raises:
        SettingError: If it is anything else.
    """
    expected, fix = "settings to vary, with their values", "such as {'latent_dim': [5, 10, 20]}"
    named = check_mapping(expected, vary, fix)
    if not named or not all(isinstance(name, str) for name in named):
        raise SettingError(expected, reprlib.repr(vary), fix)
    return named


def check_values(name: str, values: Any) -> tuple[Any, ...]:
    """Values of a setting, at least two, each once.

    Raises:
        SettingError: If they are anything else.
    """
    if isinstance(values, Range):
        raise SettingError(f"a number of trials (`trials`) for the range of {name}", "none", "such as 30, by Optuna")
    found = listed(values)
    if found is None or len(found) < 2 or len({repr(value) for value in found}) < len(found):
        got = reprlib.repr(values) if found is None else repr(found)
        raise SettingError(f"at least two values of {name}, each once", got, "such as 5, 10, 20")
    return tuple(found)


def grid(values: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """All combinations of values, those of the last setting next to one another.

    Example:
        >>> grid({"a": [1, 2], "b": [True, False]})[:3]
        [{'a': 1, 'b': True}, {'a': 1, 'b': False}, {'a': 2, 'b': True}]
    """
    return [dict(zip(values, combination, strict=True)) for combination in product(*values.values())]


def make_task(
    recipe: Plan,
    train: ImageDataset,
    validation: ImageDataset,
    settings: Mapping[str, Any] | None,
    training: Mapping[str, Any] | None,
    seeds: int,
    seed: int,
    score: str,
    measure: Callable[[VAE, ImageDataset], Evaluation] | None = None,
) -> Task:
    """The task that all trials have in common, checked.

    Raises:
        SettingError: If there is no recipe, no number of seeds, or no such score.
        DataError: If the images are no data set.
    """
    if not all(callable(getattr(recipe, method, None)) for method in ("check", "model", "trainer")):
        raise SettingError("a recipe", reprlib.repr(recipe), "mnistvae.recipes.get(name) gives the one of a name")
    first = check_seed(seed)
    number = check_count("seeds as a number of trainings of at least 1", seeds)
    return Task(
        recipe,
        check_instance("training images", train, ImageDataset, error=DataError),
        check_instance("validation images", validation, ImageDataset, error=DataError),
        dict(settings or {}),
        dict(training or {}),
        tuple(check_seed(one) for one in range(first, first + number)),
        check_instance("score as the name of one", score, str),
        measure,
    )
