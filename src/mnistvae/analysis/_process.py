"""A map by t-SNE that a Python process of its own computes, while this one does something else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["RunningTSNE"]

#: The program of the process: codes in, points out; scikit-learn alone is imported.
_PROGRAM = """
import json, sys
import numpy as np
from sklearn.manifold import TSNE
rows = np.load(sys.stdin.buffer, allow_pickle=False)
np.save(sys.stdout.buffer, TSNE(**json.loads(sys.argv[1])).fit_transform(rows), allow_pickle=False)
"""


class RunningTSNE:
    """A process that computes a map; it ends with this object.

    It has one thread: the threads of two processes on the same cores would wait for each other.

    Args:
        rows: Codes (N, D).
        settings: Settings of scikit-learn's ``TSNE``.

    Raises:
        OSError: If the process cannot be started.
    """

    def __init__(self, rows: NDArray[np.float64], settings: Mapping[str, Any]) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        with ExitStack() as opened:
            given, self._found = (opened.enter_context(tempfile.TemporaryFile()) for _ in range(2))
            np.save(given, rows, allow_pickle=False)  # not a pipe, which would be full before the process has started
            given.seek(0)
            self._process = subprocess.Popen(  # noqa: S603 (this Python, on a program of ours)
                [sys.executable, "-c", _PROGRAM, json.dumps(dict(settings))],
                stdin=given,
                stdout=self._found,
                stderr=subprocess.DEVNULL,
                env=environment,
            )
            given.close()
            opened.pop_all()  # open as long as the process runs
        self._end = weakref.finalize(self, _end, self._process, self._found)

    def points(self) -> NDArray[Any] | None:
        """Wait for the points, (N, 2); None where the process failed."""
        try:
            if self._process.wait() != 0:
                return None
            self._found.seek(0)
            points: NDArray[Any] = np.load(self._found, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        finally:
            self._end()
        return points


def _end(process: subprocess.Popen[bytes], found: Any) -> None:
    """Stop a process, if it still runs, and close its file."""
    process.kill()
    process.wait()
    found.close()
