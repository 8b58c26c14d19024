"""Processor time of a training with memory that is kept, beside one that returns it to the system at each step.

    python benchmarks/kept_memory.py [--recipe conv] [--rounds 3] [--steps 40]

Both train the recipe on the digits that ship with the package, in processes of their own that take turns; one calls
:func:`mnistvae.devices.keep_freed_memory` first. Shown are the processor's seconds a step, in the program and in the
system, and the pages that were asked for, which a busy machine changes little.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys


def train(recipe: str, steps: int, *, keep: bool) -> dict[str, float]:
    """Train for some steps in this process; per step, processor's seconds and pages."""
    import mnistvae as mv
    from mnistvae.devices import keep_freed_memory

    if keep and not keep_freed_memory():
        raise SystemExit("this system cannot keep memory, or a variable MALLOC_... is set")
    chosen, data = mv.recipes.get(recipe), mv.load_dataset("mnist-mini")
    model = chosen.model()
    how = {"epochs": 1, "device": "cpu", "progress": False}
    chosen.trainer(**how, steps=5).fit(model, data)
    before = resource.getrusage(resource.RUSAGE_SELF)
    chosen.trainer(**how, steps=steps).fit(model, data)
    after = resource.getrusage(resource.RUSAGE_SELF)
    used = {name: getattr(after, f"ru_{name}") - getattr(before, f"ru_{name}") for name in ("utime", "stime", "minflt")}
    return {name: value / steps for name, value in used.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="conv")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--child", choices=["kept", "returned"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(train(options.recipe, options.steps, keep=options.child == "kept")))
        return
    found: dict[str, list[dict[str, float]]] = {"returned": [], "kept": []}
    for _ in range(options.rounds):
        for name, rows in found.items():
            command = [
                sys.executable,
                __file__,
                "--child",
                name,
                "--recipe",
                options.recipe,
                "--steps",
                str(options.steps),
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            rows.append(json.loads(done.stdout.splitlines()[-1]))
    total = {name: statistics.median(row["utime"] + row["stime"] for row in rows) for name, rows in found.items()}
    for name, rows in found.items():
        system = statistics.median(row["stime"] for row in rows)
        pages = statistics.median(row["minflt"] for row in rows)
        ratio = total[name] / total["returned"]
        print(
            f"{name:9s} {1e3 * total[name]:8.2f} ms/step, {1e3 * system:.2f} of them in the system, "
            f"{pages:8.1f} pages/step, {ratio:.2f} of the first"
        )


if __name__ == "__main__":
    main()
