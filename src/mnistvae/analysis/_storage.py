"""Optuna for a block, its storages, and its sampler with draws that are a function of seed and trial."""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mnistvae._files import as_path, make_folder
from mnistvae._random import derive_seed
from mnistvae.errors import OutputError, SettingError

if TYPE_CHECKING:
    import optuna

__all__ = ["open_storage", "optuna_quietly", "seeded_sampler"]

_T = TypeVar("_T")
#: Times that a database is opened: where two processes make its tables at once, one fails.
_OPENED = 6
_FIX = "a path such as study.log, or a URL such as sqlite:///study.db"


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


def seeded_sampler(seed: int) -> optuna.samplers.BaseSampler:
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


def open_storage(storage: str | os.PathLike[str] | None, use: Callable[[Any], _T]) -> _T:
    """The value of a function of the storage that is opened.

    Args:
        storage: Path of a file, or a database's URL; None for one in memory.
        use: Function of Optuna's storage that makes a study; it may be called again.

    Raises:
        OutputError: If the storage cannot be written, or is something else.
    """
    from optuna.exceptions import OptunaError
    from sqlalchemy.exc import DatabaseError, SQLAlchemyError

    for left in reversed(range(_OPENED)):
        try:
            return use(_opened(storage))
        except OutputError:
            raise
        except OSError as error:
            raise OutputError(f"to write the storage {storage}", error.strerror or str(error), _FIX) from error
        except (OptunaError, SQLAlchemyError, ImportError, LookupError, TypeError, ValueError) as error:
            if isinstance(error, SettingError):
                raise
            if left and isinstance(error, DatabaseError):
                time.sleep(0.2)
                continue
            got = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            raise OutputError(f"{storage} as the storage of a study", got, _FIX) from error
    raise AssertionError  # the last time returns or raises


def _opened(storage: str | os.PathLike[str] | None) -> Any:
    """The storage, as Optuna has it."""
    from optuna.storages import InMemoryStorage, JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    if storage is None:
        return InMemoryStorage()
    if isinstance(storage, str) and "://" in storage:
        return RDBStorage(storage)
    path = as_path(storage)
    make_folder(path.parent)
    _check_journal(path)
    lock = JournalFileOpenLock(str(path)) if os.name == "nt" else None  # links need rights there
    return JournalStorage(JournalFileBackend(str(path), lock))


def _check_journal(path: Path) -> None:
    """Raise ValueError for a file that is something else, to which nothing is to be appended."""
    if not path.exists():
        return
    with path.open("rb") as stream:
        first = stream.readline(1 << 16)
    if first and "op_code" not in (json.loads(first) if first.startswith(b"{") else ()):
        raise ValueError("no journal of Optuna's")
