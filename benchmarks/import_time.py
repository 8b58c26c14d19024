"""What ``import mnistvae`` costs beyond ``import torch``, and what the command line costs before it has work.

    python benchmarks/import_time.py [--repeat 10]

Each figure is the median over fresh processes, which alternate.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

TORCH = "import torch"
IMPORTS = {
    "import mnistvae": "import mnistvae",
    "from mnistvae import BetaVAE, Trainer, load_dataset": "from mnistvae import BetaVAE, Trainer, load_dataset",
}


def inside(statement: str) -> float:
    """Milliseconds that a statement takes once torch is imported, in a fresh process."""
    code = f"import time; {TORCH}; t = time.perf_counter(); {statement}; print(time.perf_counter() - t)"
    return 1e3 * float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout)


def outside(*command: str) -> float:
    """Milliseconds that a whole process takes."""
    code = (
        "import subprocess, sys, time; t = time.perf_counter(); "
        "subprocess.run(sys.argv[1:], check=True, capture_output=True); print(time.perf_counter() - t)"
    )
    run = subprocess.run([sys.executable, "-c", code, *command], check=True, capture_output=True)
    return 1e3 * float(run.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=10)
    repeat = parser.parse_args().repeat
    figures: dict[str, list[float]] = {}
    for _ in range(repeat):
        for name, statement in IMPORTS.items():
            figures.setdefault(f"{name}, after torch", []).append(inside(statement))
        figures.setdefault("python -c 'import torch'", []).append(outside(sys.executable, "-c", TORCH))
        figures.setdefault("mnistvae --help", []).append(outside(sys.executable, "-m", "mnistvae", "--help"))
    for name, values in figures.items():
        print(f"{name:70s}{statistics.median(values):8.1f} ms")


if __name__ == "__main__":
    main()
