"""What figures of images and of features cost, beside what else gives them.

    python benchmarks/metrics.py [--rounds 7] [--threads 1] [--json FILE]

SSIM, PSNR and MSE of 10,000 pairs of digits beside a loop over scikit-image; the Fréchet distance from statistics
of 512 features beside the formula with scipy's root, and from features beside torchmetrics (where that is installed);
precision and recall beside a loop over images. All start from the same tensors, and have as many threads, by default
those that torch takes. In each round all have their turn, in changing order, so that all see the same machine; printed
are medians, the median of the ratios within a round, and the largest difference between the figures.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg
import skimage.metrics
import threadpoolctl
import torch
from torch import Tensor, nn

import mnistvae as mv
from mnistvae.metrics import (
    frechet_distance,
    frechet_distance_of,
    gaussian_statistics,
    mse,
    precision_recall,
    psnr,
    ssim,
)

Figures = Any
Contest = dict[str, Callable[[], Figures]]


def pairs(n: int) -> tuple[Tensor, Tensor]:
    """Digits as uint8, and something like their reconstructions as float32: blurred, with a little noise."""
    digits = mv.load_dataset("mnist-mini", "train").images
    digits = digits.repeat(math.ceil(n / len(digits)), 1, 1, 1)[:n]
    blurred = nn.functional.avg_pool2d(digits / 255, 3, stride=1, padding=1)
    noise = torch.randn(blurred.shape, generator=torch.Generator().manual_seed(0))
    return digits, (blurred + 0.03 * noise).clamp(0, 1)


def features(n: int, d: int, seed: int) -> Tensor:
    """Correlated ones, float32."""
    noise = torch.Generator().manual_seed(seed)
    mixing = torch.randn(d, d, generator=noise) / math.sqrt(d)
    return torch.randn(n, d, generator=noise) @ (torch.eye(d) + 0.5 * mixing) + 0.1 * torch.randn(d, generator=noise)


def image_contests(n: int) -> dict[str, Contest]:
    x, y = pairs(n)

    def loop(metric: Callable[..., Any], **settings: Any) -> Callable[[], Figures]:
        def compare(one: Tensor, other: Tensor) -> float:
            return float(metric((one[0].double() / 255).numpy(), other[0].double().numpy(), **settings))

        return lambda: np.array([compare(*pair) for pair in zip(x, y, strict=True)])

    return {
        f"ssim of {n} pairs": {
            "mnistvae": lambda: ssim(x, y).numpy(),
            "mnistvae, tolerance=0": lambda: ssim(x, y, tolerance=0).numpy(),
            "loop over scikit-image": loop(skimage.metrics.structural_similarity, data_range=1.0),
        },
        f"psnr of {n} pairs": {
            "mnistvae": lambda: psnr(x, y).numpy(),
            "loop over scikit-image": loop(skimage.metrics.peak_signal_noise_ratio, data_range=1.0),
        },
        f"mse of {n} pairs": {
            "mnistvae": lambda: mse(x, y).numpy(),
            "loop over scikit-image": loop(skimage.metrics.mean_squared_error),
        },
    }


def frechet_contests(n: int, d: int) -> dict[str, Contest]:
    real, made = features(n, d, seed=0), features(n, d, seed=1)
    first, second = gaussian_statistics(real), gaussian_statistics(made)

    def by_scipy() -> float:
        (mu1, cov1), (mu2, cov2) = first, second
        root = scipy.linalg.sqrtm((cov1 @ cov2).numpy())
        return float((mu1 - mu2).square().sum() + (cov1 + cov2).trace() - 2 * np.trace(root.real))

    contests: dict[str, Contest] = {
        f"Fréchet distance of statistics of {d} features": {
            "mnistvae": lambda: frechet_distance_of(*first, *second),
            "scipy.linalg.sqrtm": by_scipy,
        },
        f"Fréchet distance of {n} x {d} features": {"mnistvae": lambda: frechet_distance(real, made)},
    }
    if importlib.util.find_spec("torchmetrics"):
        contests[f"Fréchet distance of {n} x {d} features"]["torchmetrics"] = by_torchmetrics(real, made)
    return contests


def by_torchmetrics(real: Tensor, made: Tensor) -> Callable[[], Figures]:
    """Its FID, with a network that gives back what it gets."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchmetrics.image.fid import FrechetInceptionDistance

    network = nn.Identity()
    network.num_features = real.shape[1]

    def distance() -> float:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fid = FrechetInceptionDistance(feature=network).set_dtype(torch.float64)
            fid.update(real.double(), real=True)
            fid.update(made.double(), real=False)
            return float(fid.compute())

    return distance


def neighbour_contests(n: int, few: int, d: int) -> dict[str, Contest]:
    real, made = features(n, d, seed=0), 0.9 * features(n, d, seed=0).flip(1)

    def loop() -> Figures:
        """Image by image, by differences in float64."""
        a, b = real[:few].double(), made[:few].double()

        def reach(points: Tensor) -> Tensor:
            return torch.stack([(points - point).square().sum(1).kthvalue(4).values for point in points])

        def share(points: Tensor, others: Tensor) -> float:
            within = reach(points)
            inside = [bool(((points - other).square().sum(1) <= within).any()) for other in others]
            return sum(inside) / len(inside)

        return np.array([share(a, b), share(b, a)])

    return {
        f"precision and recall of {few} x {d} features": {
            "mnistvae": lambda: np.array(precision_recall(real[:few], made[:few])),
            "loop over images": loop,
        },
        f"precision and recall of {n} x {d} features": {"mnistvae": lambda: np.array(precision_recall(real, made))},
    }


def run(contest: Contest, rounds: int) -> dict[str, Any]:
    """Milliseconds of each, the ratio to the first, and how far the figures are from the first's."""
    results = {name: compute() for name, compute in contest.items()}  # the first time is not counted
    times: dict[str, list[float]] = {name: [] for name in contest}
    for turn in range(rounds):
        for name in list(contest)[:: 1 if turn % 2 else -1]:
            started = time.perf_counter()
            contest[name]()
            times[name].append(1e3 * (time.perf_counter() - started))
    own = next(iter(contest))
    return {
        name: {
            "milliseconds": statistics.median(taken),
            "ratio": statistics.median(a / b for a, b in zip(taken, times[own], strict=True)),
            "largest_difference": float(np.max(np.abs(np.asarray(results[name]) - np.asarray(results[own])))),
        }
        for name, taken in times.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--only", default="", help="contests whose name has this word")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    n = options.images
    with threadpoolctl.threadpool_limits(options.threads):
        contests = image_contests(n) | frechet_contests(n, 512) | neighbour_contests(n, min(n, 1000), 128)
        found = {}
        for name, contest in contests.items():
            if options.only in name:
                found[name] = run(contest, options.rounds)
                print(f"{name}, median of {options.rounds} rounds")
                for who, figures in found[name].items():
                    print(
                        f"    {who:24s}{figures['milliseconds']:11.1f} ms{figures['ratio']:9.1f} times the first, "
                        f"figures {figures['largest_difference']:.1e} apart"
                    )
    machine = f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    print(machine)
    if options.json:
        options.json.write_text(json.dumps({"machine": machine, "contests": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
