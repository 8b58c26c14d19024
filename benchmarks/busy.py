"""Training by the command line beside other busy processes: the speed that is left, by how its threads wait.

    python benchmarks/busy.py                     # the command line as it is, and torch's own waiting
    python benchmarks/busy.py --spins 300 1000 --threads 1 2

A competitor computes in Python for ever, on one core. One for each core is the case in which half of the machine is
left. Wants a machine that nobody else uses.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mnistvae.training import History

WAITING = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS")


@contextmanager
def competitors(number: int) -> Iterator[None]:
    """A block beside which so many processes compute."""
    started = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for one in started:
            one.kill()
            one.wait()


def speed(waiting: dict[str, str], threads: int | None, args: argparse.Namespace) -> float:
    """Images a second of a training in a process of its own, the median of its epochs but the first."""
    environment = {name: value for name, value in os.environ.items() if name not in WAITING} | waiting
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "mnistvae", "train", "--recipe", args.recipe, "--epochs", str(args.epochs)]
        command += ["--samples-every", "0", "--no-progress", "--device", "cpu", "--out", f"{folder}/run"]
        command += [] if threads is None else ["--threads", str(threads)]
        subprocess.run(command, env=environment, check=True, capture_output=True)
        history = History.from_csv(Path(folder) / "run" / "history.csv")
    return statistics.median(history.column("images_per_second")[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="mlp-20")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--spins", type=int, nargs="*", default=[], help="other values of GOMP_SPINCOUNT")
    parser.add_argument("--threads", type=int, nargs="*", default=[])
    parser.add_argument("--competitors", type=int, nargs="*", default=[1, os.cpu_count() or 1])
    parser.add_argument("--no-default", action="store_true", help="leave torch's own waiting out, which takes long")
    args = parser.parse_args()
    ways: dict[str, tuple[dict[str, str], int | None]] = {"as the command line sets it": ({}, None)}
    ways |= {f"GOMP_SPINCOUNT={n}": ({"GOMP_SPINCOUNT": str(n)}, None) for n in args.spins}
    ways |= {f"--threads {n}": ({}, n) for n in args.threads}
    if not args.no_default:
        ways["torch's own (300,000 spins)"] = ({"GOMP_SPINCOUNT": "300000"}, None)
    beside = [0, *args.competitors]
    print(f"{args.recipe}, images/s beside competing processes, {os.cpu_count()} cores")
    print(f"{'':30s}" + "".join(f"{n:>18d}" for n in beside))
    for name, (waiting, threads) in ways.items():
        found = []
        for number in beside:
            with competitors(number):
                found.append(speed(waiting, threads, args))
        print(f"{name:30s}" + "".join(f"{one:>10,.0f} ({one / found[0]:>4.0%})" for one in found), flush=True)


if __name__ == "__main__":
    main()
