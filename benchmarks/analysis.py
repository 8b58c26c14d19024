"""What the analysis of a latent space and its figures cost.

    MNISTVAE_DATA=FOLDER python benchmarks/analysis.py [--rounds 5] [--json FILE]

The codes of MNIST's 60,000 training digits by the recipe ``mlp-20``, untrained (weights do not change the time); a
grid of 400 digits as a PNG file, one montage, beside 400 axes; a map of 10,000 codes; the whole report on the 10,000
test digits, all but UMAP. In each round all have their turn; printed are medians.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

import mnistvae as mv
from mnistvae import analysis, plotting
from mnistvae.report import write_report


def four_hundred_axes(images: np.ndarray) -> None:
    """As notebooks draw them."""
    figure = Figure(figsize=(8, 8))
    for ax, image in zip(figure.subplots(20, 20).flat, images, strict=True):
        ax.imshow(image, cmap="gray")
        ax.axis("off")
    plotting.png_bytes(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", default=os.environ.get("MNISTVAE_DATA"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-report", action="store_true", help="leave the report out: it takes a minute")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if not options.data_root:
        parser.error("say where MNIST is: --data-root or MNISTVAE_DATA")

    train, test = (mv.load_dataset("mnist", split, options.data_root) for split in ("train", "test"))
    model = mv.recipes.get("mlp-20").model()
    codes = analysis.encode_dataset(model, test)
    digits = test.images[:400]
    contests: dict[str, Callable[[], object]] = {
        "codes of 60,000 digits": lambda: analysis.encode_dataset(model, train, progress=False),
        "grid of 400 digits": lambda: plotting.png_bytes(plotting.sample_grid(digits)),
        "grid of 400 axes": lambda: four_hundred_axes(digits[:, 0].numpy()),
        "map of 10,000 codes": lambda: plotting.png_bytes(plotting.latent_map(codes.means[:, :2], codes.labels)),
    }
    times: dict[str, list[float]] = {name: [] for name in contests}
    for turn in range(options.rounds + 1):
        for name, work in contests.items():
            started = time.perf_counter()
            work()
            if turn:  # the first time is not counted
                times[name].append(time.perf_counter() - started)
    if not options.no_report:
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            write_report(model, test, Path(folder) / "report", train=train, progress=False)
            times["report on 10,000 digits"] = [time.perf_counter() - started]
    machine = f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    print(f"{machine}; medians of {options.rounds}")
    for name, seconds in times.items():
        print(f"{name:26s}{statistics.median(seconds):9.3f} s")
    if options.json:
        options.json.write_text(json.dumps({"machine": machine, "seconds": times}, indent=2) + "\n")


if __name__ == "__main__":
    main()
