"""A function of arrays that a Python process of its own computes, while this one does something else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cached_property
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Running", "cores", "serve", "sharing_cores", "start"]

#: Number of rows from which on a process starts sooner than what it is asked for is done here.
_WORTH_A_PROCESS = 1000
#: The processes of this one that somebody still holds.
_STARTED: weakref.WeakSet[Running] = weakref.WeakSet()
_PROGRAM = f"from {__name__} import serve; serve()"


class Running:
    """A process that computes one of the functions of :mod:`mnistvae._learners`; it ends with this object.

    It has one thread: the threads of two processes on the same cores would wait for each other.

    Args:
        function: Name of the function, which takes arrays and settings by name and returns arrays by name.
        arrays: The arrays.
        settings: The settings: texts, numbers, booleans and None.

    Raises:
        OSError: If the process cannot be started.
    """

    def __init__(self, function: str, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        with ExitStack() as opened:
            given, self._found = (opened.enter_context(tempfile.TemporaryFile()) for _ in range(2))
            np.savez(given, allow_pickle=False, **arrays)  # no pipe, which would be full before the process has started
            given.seek(0)
            self._process = subprocess.Popen(  # noqa: S603 (this Python, on a function of ours)
                [sys.executable, "-c", _PROGRAM, function, json.dumps(dict(settings))],
                stdin=given,
                stdout=self._found,
                stderr=subprocess.DEVNULL,
                env=environment,
            )
            given.close()
            opened.pop_all()  # open as long as the process runs
        self._end = weakref.finalize(self, _end, self._process, self._found)
        _STARTED.add(self)

    @property
    def is_alive(self) -> bool:
        """True while the process computes."""
        return self._process.poll() is None

    @cached_property
    def result(self) -> dict[str, NDArray[Any]] | None:
        """The arrays that the function returns, once the process is done; None where it failed."""
        try:
            if self._process.wait() != 0:
                return None
            self._found.seek(0)
            with np.load(self._found, allow_pickle=False) as found:
                return dict(found)
        except (OSError, ValueError, EOFError):
            return None
        finally:
            self._end()


def start(function: str, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> Running | None:
    """Start a :class:`Running` process; None where few rows or a single core are not worth it, or it cannot be started.

    Args:
        function: Name of the function.
        arrays: The arrays; the number of rows of the first says how much there is to do.
        settings: The settings.
    """
    if len(next(iter(arrays.values()))) < _WORTH_A_PROCESS or cores() < 2:
        return None
    try:
        return Running(function, arrays, settings)
    except OSError:
        return None


def serve() -> None:
    """Compute the function that the command line names, from the arrays of the standard input to the output's."""
    name, settings = sys.argv[1:]
    function = getattr(import_module("mnistvae._learners"), name)
    with np.load(sys.stdin.buffer, allow_pickle=False) as arrays:
        found = function(**arrays, **json.loads(settings))
    np.savez(sys.stdout.buffer, allow_pickle=False, **found)


def cores() -> int:
    """The number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def sharing_cores() -> Iterator[Callable[[], None]]:
    """A block in which torch leaves a core to each process that is under way, as far as there are cores.

    It is given a function to call from time to time, which looks how many processes still run.
    """
    import torch

    most = torch.get_num_threads()

    def look() -> None:
        torch.set_num_threads(min(most, max(1, cores() - sum(one.is_alive for one in _STARTED))))

    try:
        look()
        yield look
    finally:
        torch.set_num_threads(most)


def _end(process: subprocess.Popen[bytes], found: Any) -> None:
    """Stop a process, if it still runs, and close its file."""
    process.kill()
    process.wait()
    found.close()
