"""A study of Optuna's that several processes work at, each of which may be killed at any moment."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

from mnistvae.analysis._storage import open_storage, seeded_sampler
from mnistvae.analysis._workers import PULSE, identity, is_left
from mnistvae.analysis.trials import Trained, Trial
from mnistvae.errors import SettingError
from mnistvae.metrics import Score

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

__all__ = ["Study"]

#: Seconds between two looks at what other processes do, where there is nothing else to do.
_WAIT = 0.5
#: Times that a trial is begun: one that kills its process each time (for want of memory, say) must not go on for ever.
_ATTEMPTS = 3
_STATES: Mapping[str, Literal["complete", "pruned", "failed", "running"]] = {
    "COMPLETE": "complete",
    "PRUNED": "pruned",
    "FAIL": "failed",
    "RUNNING": "running",
}


class Study:
    """A study in a storage: trials are taken from it, each by one process, until there are as many as were asked for.

    Args:
        name: First part of its name; the rest is a digest of ``about``.
        storage: Path of a file, or a database's URL; None for one in memory.
        space: Distributions of the settings by name.
        about: All that makes trials comparable, as JSON has it.
        grid: Combinations that are tried, as parameters of Optuna's; None to let Optuna choose.
        minimize: Whether a lower score is better.
        seed: Seed of what Optuna draws.

    Raises:
        SettingError: If the storage has a study of this name with other settings to vary.
        OutputError: If the storage cannot be written, or is something else.
    """

    def __init__(
        self,
        name: str,
        storage: str | os.PathLike[str] | None,
        space: Mapping[str, BaseDistribution],
        about: Mapping[str, Any],
        grid: Sequence[Mapping[str, Any]] | None,
        *,
        minimize: bool,
        seed: int,
    ) -> None:
        import optuna

        digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:10]
        self.name = f"{name}-{digest}"
        self._space, self._grid, self._seed = space, grid, seed
        how: dict[str, Any] = {
            "study_name": self.name,
            "pruner": optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=2),
            "direction": "minimize" if minimize else "maximize",
            "load_if_exists": True,
        }
        self._study = open_storage(storage, lambda opened: optuna.create_study(storage=opened, **how))
        self._agree()

    def _agree(self) -> None:
        """Leave what varies in the study, or see that it is what the study has."""
        from optuna.distributions import distribution_to_json

        varies = {name: json.loads(distribution_to_json(one)) for name, one in self._space.items()}
        varies = {"space": varies, "grid": self._grid is not None}
        before = self._study.user_attrs.get("mnistvae")
        if before is None:
            self._study.set_user_attr("mnistvae", varies)
        elif before != json.loads(json.dumps(varies)):
            got = ", ".join(sorted(before["space"])) if before["space"].keys() != self._space.keys() else "other values"
            fix = "vary the same, or choose another `storage`"
            raise SettingError(f"the study {self.name} to vary {', '.join(sorted(self._space))} as here", got, fix)

    # --- taking part --------------------------------------------------------------------------------------------------

    def take(self, number: int) -> optuna.Trial | None:
        """A trial to work at, with the values of its settings; None once so many are done.

        While other processes work at the last ones this waits, and goes on with what a process that was killed left.

        Args:
            number: Number of trials in the whole study, those of other processes among them.
        """
        while True:
            self._fill()
            counted = self._counted()
            if sum(one.state.is_finished() for one in counted) >= number:
                return None
            if len(counted) >= number and not any(one.state.name == "WAITING" for one in counted):
                time.sleep(_WAIT)
                continue
            # Each trial has random numbers of its own, so that two processes never draw the same.
            self._study.sampler = seeded_sampler(self._seed)
            trial = self._study.ask()
            trial.set_user_attr("worker", identity())
            if trial.number in {one.number for one in self._counted()[:number]}:
                for name, distribution in self._space.items():
                    _suggest(trial, name, distribution)
                return trial
            trial.set_user_attr("withdrawn", "another process took the last one at the same moment")
            self._end(trial.number, "FAIL")

    @contextmanager
    def at_work(self, trial: optuna.Trial) -> Iterator[None]:
        """A block that works at a trial and shows signs of life; what stops it leaves the trial to be tried again."""
        done = threading.Event()

        def beat() -> None:
            while not done.wait(PULSE):
                with suppress(Exception):  # the storage may be away for a while
                    trial.set_user_attr("pulse", time.time())

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        except BaseException as error:
            self._end(trial.number, "FAIL")
            self._again(trial.number, counts=not isinstance(error, KeyboardInterrupt))
            raise
        finally:
            done.set()
            thread.join()

    def tell(self, trial: optuna.Trial, runs: Sequence[Trained], value: float) -> None:
        """Leave the scores of a trial that is complete."""
        scores = [{"seed": run.seed, "scores": [asdict(score) for score in run.scores.values()]} for run in runs]
        with suppress(RuntimeError, ValueError):  # it was taken for left, and another process has ended it
            trial.set_user_attr("runs", json.loads(json.dumps(scores, default=str)))
        self._end(trial.number, "COMPLETE", value)

    def tell_pruned(self, trial: optuna.Trial) -> None:
        """End a trial that is not worth going on with."""
        self._end(trial.number, "PRUNED")

    def tell_failed(self, trial: optuna.Trial, reason: str) -> None:
        """End a trial whose loss is no longer finite."""
        with suppress(RuntimeError, ValueError):
            trial.set_user_attr("failed", reason)
        self._end(trial.number, "FAIL")

    def _end(self, number: int, state: str, value: float | None = None) -> bool:
        """End a trial; False if another process has ended it."""
        from optuna.trial import TrialState

        try:
            self._study.tell(number, value, state=TrialState[state])
        except (RuntimeError, ValueError):
            return False
        return True

    # --- what there is ------------------------------------------------------------------------------------------------

    def _counted(self) -> list[FrozenTrial]:
        """The trials that count, in order: neither those that were left, nor a second one of the same combination."""
        found: dict[int, FrozenTrial] = {}
        for one in self._study.get_trials(deepcopy=False):
            key = one.number if self._grid is None else one.user_attrs.get("combination", -1)
            if key >= 0 and (one.state.name != "FAIL" or _has_failed(one)):
                found.setdefault(key, one)
        return list(found.values())

    def _fill(self) -> None:
        """Offer what was left by processes that are no more, and combinations that nobody has taken."""
        for one in self._study.get_trials(deepcopy=False):
            if one.state.name == "RUNNING" and is_left(one) and self._end(one.number, "FAIL"):
                self._again(one.number)
        if self._grid is not None:
            there = {one.user_attrs["combination"] for one in self._counted()}
            for n, combination in enumerate(self._grid):
                if n not in there:
                    self._study.enqueue_trial(dict(combination), user_attrs={"combination": n})

    def _again(self, number: int, *, counts: bool = True) -> None:
        """Offer a trial that was left once more, unless it was begun often enough."""
        (one,) = (each for each in self._study.get_trials(deepcopy=False) if each.number == number)
        if not _has_failed(one):
            kept = {name: value for name, value in one.user_attrs.items() if name == "combination"}
            kept["attempt"] = one.user_attrs.get("attempt", 1) + counts
            self._study.enqueue_trial(one.params, user_attrs=kept)

    def find(self, number: int, values: Mapping[str, Mapping[str, Any]]) -> Trial:
        """The record of the trial of a number; see :meth:`record`."""
        (one,) = (each for each in self._study.get_trials(deepcopy=False) if each.number == number)
        return self._read(one, values)

    def record(self, values: Mapping[str, Mapping[str, Any]]) -> list[Trial]:
        """The trials that were begun, those of other processes among them.

        Args:
            values: Values by their names in the study, of settings that are chosen from a list.
        """
        return [self._read(one, values) for one in self._counted() if one.state.name in _STATES]

    def _read(self, one: FrozenTrial, values: Mapping[str, Mapping[str, Any]]) -> Trial:
        """A trial of the study as a record."""
        settings = {name: values.get(name, {}).get(value, value) for name, value in one.params.items()}
        runs = [
            Trained(run["seed"], {score["name"]: Score(**score) for score in run["scores"]})
            for run in one.user_attrs.get("runs", [])
        ]
        settings = {name: settings.get(name) for name in self._space}
        left = "its process was killed each time" if one.state.name == "FAIL" else ""
        note = one.user_attrs.get("failed", left)
        return Trial(settings, tuple(runs), _STATES[one.state.name], note, dict(one.intermediate_values))


def _has_failed(one: FrozenTrial) -> bool:
    """Tell whether a trial that was ended is not to be tried again."""
    often = one.user_attrs.get("attempt", 1) >= _ATTEMPTS
    return "failed" in one.user_attrs or (often and "withdrawn" not in one.user_attrs)


def _suggest(trial: optuna.Trial, name: str, distribution: BaseDistribution) -> None:
    """Have Optuna choose a value."""
    from optuna.distributions import CategoricalDistribution, IntDistribution

    if isinstance(distribution, CategoricalDistribution):
        trial.suggest_categorical(name, distribution.choices)
    elif isinstance(distribution, IntDistribution):
        trial.suggest_int(name, distribution.low, distribution.high, log=distribution.log)
    else:
        trial.suggest_float(name, distribution.low, distribution.high, log=distribution.log)  # type: ignore[attr-defined]
