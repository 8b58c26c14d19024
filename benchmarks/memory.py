"""Memory that a view of a large data set takes beyond the data: the peak of a process of its own, in bytes of the data.

    python benchmarks/memory.py [--images 60000] [--side 64] [--channels 3] [--json FILE]

Each line is a process that makes the data (uint8) and a small model, notes the peak of its memory, does its work on one
``mnistvae.View``, and notes the peak again. The difference is what the work took, all batches included:

- ``codes``: posteriors, their means and deviations.
- ``scores``: reconstruction errors of each image, and the bound.
- ``scores and reconstructions``: the same, with the reconstructions kept.
- ``samples``: as many samples as images, kept.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path

import torch
from torch import nn

import mnistvae as mv
from mnistvae.metrics.likelihood import bound
from mnistvae.networks import GaussianEncoder, MLPDecoder


def codes(view: mv.View) -> None:
    assert len(view.codes) == len(view)


def scores(view: mv.View) -> None:
    view.reconstructed(mv.metrics.mse, mv.metrics.mae, mv.metrics.psnr)
    view.once(bound)


def scores_and_reconstructions(view: mv.View) -> None:
    view.keep("reconstructions")
    scores(view)
    assert len(view.reconstructions) == len(view)


def samples(view: mv.View) -> None:
    assert len(view.samples) == len(view)


WORK = {work.__name__.replace("_", " "): work for work in (codes, scores, scores_and_reconstructions, samples)}


def peak() -> int:
    """The most memory that this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def measured(what: str, n: int, channels: int, side: int) -> float:
    """What a piece of work takes beyond the data, in bytes of the data."""
    shape = (channels, side, side)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (n, *shape), dtype=torch.uint8, generator=generator)
    trunk = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * channels, 16))
    model = mv.VAE(8, shape, encoder=GaussianEncoder(trunk, 8), decoder=MLPDecoder(8, shape, (16,)))
    codes(mv.View(model, mv.ImageDataset(images[:512])))  # what a first batch takes, of libraries and caches
    before = peak()
    WORK[what](mv.View(model, mv.ImageDataset(images)))
    return (peak() - before) / images.numel()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--channels", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", help=argparse.SUPPRESS)  # one line, in this process
    args = parser.parse_args()
    if args.only:
        print(measured(args.only, args.images, args.channels, args.side))
        return
    size = args.images * args.channels * args.side**2
    print(f"{args.images} images of {args.side} x {args.side} x {args.channels}: {size / 1e6:.0f} MB of uint8")
    found = {}
    for what in WORK:
        line = [sys.executable, __file__, *sys.argv[1:], "--only", what]
        found[what] = float(subprocess.run(line, check=True, capture_output=True, text=True).stdout)
        print(f"{what:30s} {found[what]:.2f} times the data, {found[what] * size / 1e6:.0f} MB", flush=True)
    if args.json:
        args.json.write_text(json.dumps({"bytes": size, "times the data": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
