"""The command line in processes of their own, forked from one that has imported the package already."""

from __future__ import annotations

import atexit
import functools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

#: Reads a line for each process that is wanted, forks it, and answers with its exit code. Importing takes seconds, of
#: which most commands need all. Nothing is computed here: torch's threads would not be in the processes forked.
SERVER = """
import json, os, sys

sys.path = [part for part in sys.path if part]  # only the command line itself makes its folder importable
import scipy.stats, skimage.exposure, sklearn.ensemble, sklearn.manifold, sklearn.neural_network, torch
from mnistvae import commands, metrics, plotting, recipes, training
from mnistvae.training.callbacks import doctor

doctor._LONG = float("inf")  # which says whether the machine is busy
torch.set_num_threads(1)
torch.optim.Adam([torch.nn.Parameter(torch.ones(1))])  # imports the compiler
for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if child == 0:
        break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
else:
    sys.exit()
for number, path in enumerate([os.devnull, asked["out"], asked["err"]]):
    os.dup2(os.open(path, os.O_RDWR), number)
os.chdir(asked["folder"])
sys.path[:0] = asked["path"]
sys.argv = asked["arguments"]
exec(asked["program"])
"""

MAIN = "from mnistvae.commands import main; main()"


class Done(NamedTuple):
    """What a process left: its exit code (minus the number of the signal that ended it) and what it said."""

    returncode: int
    stdout: str
    stderr: str


@functools.cache
def _server() -> subprocess.Popen[str]:
    paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    server = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)},
    )
    atexit.register(server.communicate)  # its input ends, and with it the server
    return server


def run(*arguments: object, folder: Path, path: Path | None = None, program: str = MAIN) -> Done:
    """Run ``mnistvae`` with those arguments, or another program, in a folder; ``path`` is a folder of packages."""
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    with tempfile.NamedTemporaryFile() as out, tempfile.NamedTemporaryFile() as err:
        asked = {
            "arguments": ["mnistvae", *map(str, arguments)],
            "program": program,
            "folder": str(folder),
            "path": [str(path)] if path else [],
            "out": out.name,
            "err": err.name,
        }
        server.stdin.write(json.dumps(asked) + "\n")
        server.stdin.flush()
        code = int(server.stdout.readline())
        return Done(code, out.read().decode(), err.read().decode())
