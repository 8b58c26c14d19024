"""A study of Optuna's that several processes work at, each of which may be killed at any moment."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mnistvae._files import as_path, make_folder
from mnistvae._random import derive_seed
from mnistvae.analysis.trials import Trained, Trial
from mnistvae.errors import OutputError, SettingError
from mnistvae.metrics import Score

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

__all__ = ["Study", "optuna_quietly"]

#: Seconds between two signs of life of a trial that is under way, and without one after which it counts as left.
_PULSE, _SILENCE = 20.0, 300.0
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


@contextmanager
def optuna_quietly() -> Iterator[Any]:
    """Optuna for a block in which it says nothing that is no warning, and warns of nothing that is experimental.

    Raises:
        SettingError: If it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise SettingError("the library optuna for a search", str(error), 'pip install "mnistvae[search]"') from error
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield optuna
    finally:
        optuna.logging.set_verbosity(before)


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
        with _storage_errors(storage):
            self._study = optuna.create_study(
                study_name=self.name,
                storage=_open(storage),
                pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=2),
                direction="minimize" if minimize else "maximize",
                load_if_exists=True,
            )
            self._agree()
        self._own: optuna.Trial | None = None

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
            self._study.sampler = _sampler(self._seed)
            trial = self._study.ask()
            trial.set_user_attr("worker", _identity())
            if trial.number in {one.number for one in self._counted()[:number]}:
                for name, distribution in self._space.items():
                    _suggest(trial, name, distribution)
                return trial
            trial.set_user_attr("withdrawn", True)  # another process took the last one at the same moment
            self._end(trial.number, "FAIL")

    @contextmanager
    def at_work(self, trial: optuna.Trial) -> Iterator[None]:
        """A block that works at a trial and shows signs of life; what stops it leaves the trial to be tried again."""
        done = threading.Event()

        def beat() -> None:
            while not done.wait(_PULSE):
                with suppress(Exception):  # the storage may be away for a while
                    trial.set_user_attr("pulse", time.time())

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        except BaseException:
            self._end(trial.number, "FAIL")
            self._again(trial.number)
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
            if one.state.name == "RUNNING" and _is_left(one) and self._end(one.number, "FAIL"):
                self._again(one.number)
        if self._grid is not None:
            there = {one.user_attrs["combination"] for one in self._counted()}
            for n, combination in enumerate(self._grid):
                if n not in there:
                    self._study.enqueue_trial(dict(combination), user_attrs={"combination": n})

    def _again(self, number: int) -> None:
        """Offer a trial that was left once more, unless it was begun often enough."""
        (one,) = (each for each in self._study.get_trials(deepcopy=False) if each.number == number)
        if not _has_failed(one):
            kept = {name: value for name, value in one.user_attrs.items() if name in {"combination"}}
            self._study.enqueue_trial(one.params, user_attrs={**kept, "attempt": one.user_attrs.get("attempt", 1) + 1})

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


def _is_left(one: FrozenTrial) -> bool:
    """Tell whether nobody works at a trial that was begun: its process is gone, or gave no sign of life for long."""
    place, pid, started = one.user_attrs.get("worker", ["", 0, ""])
    mine = _identity()
    if place == mine[0] and os.name != "nt":
        if not _runs(pid, started):
            return True
    begun = one.datetime_start.timestamp() if one.datetime_start else 0.0
    return time.time() - max(begun, one.user_attrs.get("pulse", 0.0)) > _SILENCE


def _identity() -> list[Any]:
    """The place of this process, its number there, and its start, which tells it from a later one of that number."""
    place = socket.gethostname()
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        place = f"{place}/{boot}/{os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115 (it is no path)
    return [place, os.getpid(), _start(os.getpid())]


def _start(pid: int) -> str:
    """The start of a process on this machine, "" where that is not known, and "gone" for one that only waits."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "gone" if fields[0] in "ZX" else fields[19]


def _runs(pid: int, started: str) -> bool:
    """Tell whether a process of this machine still runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _start(pid) == started


def _suggest(trial: optuna.Trial, name: str, distribution: BaseDistribution) -> None:
    """Have Optuna choose a value."""
    from optuna.distributions import CategoricalDistribution, IntDistribution

    if isinstance(distribution, CategoricalDistribution):
        trial.suggest_categorical(name, distribution.choices)
    elif isinstance(distribution, IntDistribution):
        trial.suggest_int(name, distribution.low, distribution.high, log=distribution.log)
    else:
        trial.suggest_float(name, distribution.low, distribution.high, log=distribution.log)  # type: ignore[attr-defined]


def _sampler(seed: int) -> optuna.samplers.BaseSampler:
    """A tree-structured Parzen estimator (Bergstra et al., 2011) whose draws are a function of seed and trial."""
    from optuna.samplers import BaseSampler, TPESampler

    class Seeded(BaseSampler):
        def before_trial(self, study: Any, trial: Any) -> None:
            own = derive_seed(seed, trial.number) % 2**32
            self._inner = TPESampler(seed=own, multivariate=True, constant_liar=True)
            self._inner.before_trial(study, trial)

        def infer_relative_search_space(self, study: Any, trial: Any) -> Any:
            return self._inner.infer_relative_search_space(study, trial)

        def sample_relative(self, study: Any, trial: Any, search_space: Any) -> Any:
            return self._inner.sample_relative(study, trial, search_space)

        def sample_independent(self, study: Any, trial: Any, param_name: Any, param_distribution: Any) -> Any:
            return self._inner.sample_independent(study, trial, param_name, param_distribution)

    return Seeded()


def _open(storage: str | os.PathLike[str] | None) -> Any:
    """The storage, as Optuna has it."""
    from optuna.storages import InMemoryStorage, JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    if storage is None:
        return InMemoryStorage()
    if isinstance(storage, str) and "://" in storage:
        return RDBStorage(storage)
    path = as_path(storage)
    make_folder(path.parent)
    lock = JournalFileOpenLock(str(path)) if os.name == "nt" else None  # links need rights there
    return JournalStorage(JournalFileBackend(str(path), lock))


@contextmanager
def _storage_errors(storage: str | os.PathLike[str] | None) -> Iterator[None]:
    """A block that opens a storage, in which whatever goes wrong with it is an error like any other of a setting."""
    from optuna.exceptions import OptunaError
    from sqlalchemy.exc import SQLAlchemyError

    fix = "a path such as study.log, or a URL such as sqlite:///study.db"
    try:
        yield
    except (SettingError, OutputError):
        raise
    except OSError as error:
        raise OutputError(f"to write the storage {storage}", error.strerror or str(error), fix) from error
    except (OptunaError, SQLAlchemyError, ImportError, ValueError, KeyError, TypeError) as error:
        got = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:200]
        raise OutputError(f"{storage} as the storage of a study", got, fix) from error
