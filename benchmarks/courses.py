"""Courses of the learning rate for a recipe: the loss that each reaches, so that a recipe can be given the shortest.

    python benchmarks/courses.py conv --epochs 7 --learning-rate 5e-3 1e-2 --batch-size 64 128 --seeds 0 1
    python benchmarks/courses.py conv --judge --seeds 0 1 2 3 4

The first line searches: every combination of the values given, and with ``--usual`` the course that the recipe had
before (``conv`` then with 16 latent dimensions, as it has now). The second judges: the recipe as it stands against
that one, in turns, over more seeds. Losses are those of the last validation (nats an image, on the test digits, which
the choice may fit a little: a course has a few numbers), and do not depend on how busy the machine is; seconds do.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import statistics
import time
from typing import Any

import torch

import mnistvae as mv

#: Courses that the recipes had before they were searched: epochs, learning rate, batch size.
USUAL = {
    "conv": (20, 2e-3, 64),
    "beta-conv": (15, 4e-3, 128),
    "conditional": (20, 2e-3, 64),
    "mlp": (20, 1e-3, 128),
    "mlp-20": (10, 1e-3, 128),
    "mlp-2d": (20, 1e-3, 128),
    "leaky-mlp-2d": (20, 1e-3, 128),
    "gaussian-mlp": (50, 1e-3, 128),
    "kingma2014": (50, 1e-3, 100),
    "iwae-50": (50, 1e-3, 100),
    "vamp": (50, 5e-4, 100),
}


def run(
    recipe: mv.recipes.Recipe, data: tuple[mv.ImageDataset, ...], seed: int, **settings: Any
) -> tuple[float, float]:
    """Loss of the last validation and seconds of a training."""
    model = recipe.model(seed=seed)
    if "beta2" in settings:
        settings = {**settings, "optimizer": functools.partial(torch.optim.Adam, betas=(0.9, settings["beta2"]))}
        del settings["beta2"]
    trainer = recipe.trainer(**{"seed": seed, "validate_every": 10**6, "progress": False, **settings})
    start = time.perf_counter()
    history = trainer.fit(model, data[0], data[1])
    return history[-1]["validation_loss"], time.perf_counter() - start


def report(name: str, found: list[tuple[float, float]]) -> None:
    """Print the median and the range of the losses over the seeds, and the median of the seconds."""
    losses, seconds = zip(*found, strict=True)
    spread = f"{statistics.median(losses):8.2f}  ({min(losses):.2f} to {max(losses):.2f})"
    print(f"{name:58s} {spread}  {statistics.median(seconds):6.1f} s", flush=True)


def main() -> None:
    """Search for a course, or judge the recipe's own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe")
    parser.add_argument("--epochs", type=int, nargs="+", default=[7])
    parser.add_argument("--learning-rate", type=float, nargs="+", default=[1e-2])
    parser.add_argument("--batch-size", type=int, nargs="+", default=[64])
    parser.add_argument("--schedule", nargs="+", default=["one-cycle"])
    parser.add_argument("--precision", nargs="+", default=["fp32"])
    parser.add_argument("--ema", type=float, nargs="+", default=[0.0])
    parser.add_argument("--beta2", type=float, nargs="+", default=[0.999], help="the second of Adam's betas")
    parser.add_argument("--start-at-mean", action="store_true", help="begin at the mean image")
    parser.add_argument("--dataset", default="mnist-mini")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--usual", action="store_true", help="the usual course, too")
    parser.add_argument("--judge", action="store_true", help="the recipe as it stands against its usual course")
    given = parser.parse_args()
    recipe = mv.recipes.get(given.recipe)
    data = tuple(mv.load_dataset(given.dataset, split) for split in ("train", "test"))
    names = ("epochs", "learning_rate", "batch_size", "schedule", "precision", "ema", "beta2")
    values = [[one or None for one in getattr(given, name)] for name in names]
    courses: list[tuple[str, dict[str, Any]]] = []
    if given.usual or given.judge:
        epochs, rate, size = USUAL[given.recipe]
        plain = {
            "epochs": epochs,
            "learning_rate": rate,
            "batch_size": size,
            "schedule": None,
            "precision": "fp32",
            "beta2": 0.999,
            "start_at_mean": False,
        }
        courses.append((f"usual: {epochs} epochs, {rate:g}, batches of {size}", {**plain, "steps": None, "ema": None}))
    if given.judge:
        courses.append(("the recipe", {}))
    else:
        courses += [
            (
                ", ".join(str(value) for value in one if value),
                {**dict(zip(names, one, strict=True)), "start_at_mean": given.start_at_mean},
            )
            for one in itertools.product(*values)
        ]
    found: dict[str, list[tuple[float, float]]] = {name: [] for name, _ in courses}
    for seed in given.seeds:
        for name, settings in courses:
            found[name].append(run(recipe, data, seed, **settings))
            if seed == given.seeds[-1]:
                report(name, found[name])


if __name__ == "__main__":
    main()
