"""Speed runs: seconds of training until a model of MNIST reaches a figure, over several seeds.

    MNISTVAE_DATA=FOLDER python benchmarks/speedrun.py [--only NAME ...] [--seeds 0 1 2 3 4] [--json FILE]

The rules, so that others can enter:

- Data: MNIST's 60,000 training digits, nothing else and no augmentation. What is trained on may be chosen freely in the
  tracks of the likelihood; in the track ``grey`` the network is that of pytorch/examples, 784-400-20.
- Seconds are those of training alone, from the first step to the last, on images in memory as bytes. Compilation
  is counted and shown apart: it is the first call of a training, with two steps.
- The figure is taken after training, on all 10,000 test digits, which no choice of a run may look at: courses are
  searched with other seeds than those that count. ``grey``: the mean of cross-entropy and KL at one code an image, in
  fp32. ``nll``: importance sampling with 1,000 samples an image of pixels that are drawn once, white with their grey
  level's probability, under seed 0; the standard error is over the images.
- Five seeds: the median and the range of the seconds, and of the figures. A track is won where the median reaches it.

Courses are searched with ``--seeds 100 --epochs N --limit 2000 --samples 200``. The track ``nll-80`` is for a GPU, and
runs only when it is asked for: ``--only nll-80 --device cuda``.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

import mnistvae as mv
from mnistvae.ladders import LadderDecoder, LadderEncoder, LadderPrior
from mnistvae.likelihoods import Bernoulli
from mnistvae.networks import MLPDecoder, MLPEncoder
from mnistvae.objectives import ELBO
from mnistvae.priors import Flow
from mnistvae.schedules import Linear

SHAPE = (1, 28, 28)


class Track(NamedTuple):
    """A figure to reach, and the run that reaches it."""

    figure: str
    #: Value to reach, in nats an image.
    target: float
    #: Where the value is from.
    source: str
    model: Callable[[], mv.VAE]
    training: dict[str, Any]


def _wide(hidden: int = 800, transforms: int = 6, latent_dim: int = 40) -> mv.VAE:
    """One wide layer up and one down, and a RealNVP prior: of all networks tried, the furthest in few epochs."""
    return mv.VAE(
        latent_dim,
        SHAPE,
        encoder=MLPEncoder(latent_dim, SHAPE, (hidden,)),
        decoder=MLPDecoder(latent_dim, SHAPE, (hidden,)),
        likelihood=Bernoulli(),
        prior=Flow(latent_dim, "realnvp", transforms, (128, 128)),
    )


def _ladder() -> mv.VAE:
    """Four levels of latent grids."""
    levels, width = ((32, 4, 4), (16, 7, 7), (8, 7, 7), (8, 14, 14)), 96
    prior = LadderPrior(levels, width)
    parts = {"encoder": LadderEncoder(levels, SHAPE, width), "decoder": LadderDecoder(levels, SHAPE, width)}
    objective = ELBO(schedule=Linear(5000, 0.2))
    return mv.VAE(prior.latent_dim, SHAPE, likelihood=Bernoulli(), prior=prior, objective=objective, **parts)


def _binary(epochs: int, rate: float = 3e-3, **how: Any) -> dict[str, Any]:
    adam = functools.partial(torch.optim.Adam, betas=(0.9, 0.99))
    usual = {"batch_size": 250, "schedule": "one-cycle", "ema": 0.999, "binarization": "dynamic", "optimizer": adam}
    return {**usual, "epochs": epochs, "learning_rate": rate, "precision": "auto", "compile": True, **how}


_BURDA = "Burda et al. (2016), one layer: "
#: The tracks by name.
TRACKS: dict[str, Track] = {
    "grey": Track("test loss", 105.5, "pytorch/examples after 10 epochs", mv.recipes.get("mlp-20-fast").model, {}),
    "nll-90": Track("NLL", 90.0, "", _wide, _binary(6, 4e-3)),
    "nll-88": Track("NLL", 88.0, "", _wide, _binary(10, 4e-3)),
    "nll-86.76": Track("NLL", 86.76, f"{_BURDA}VAE", _wide, _binary(16, 4e-3)),
    "nll-84.78": Track("NLL", 84.78, f"{_BURDA}IWAE with 50 samples", lambda: _wide(transforms=12), _binary(40)),
    "nll-82.90": Track(
        "NLL",
        82.9,
        "Burda et al. (2016), IWAE with two layers and 50 samples",
        lambda: _wide(1600, 12, 50),
        _binary(150),
    ),
    "nll-80": Track("NLL", 80.0, "", _ladder, _binary(66, 2e-3, clip_norm=100.0)),
}
#: Those for a GPU.
LARGE = ("nll-80",)


def trainer_of(track: Track, seed: int, **changes: Any) -> mv.Trainer:
    """The Trainer of a track."""
    settings = {**track.training, "seed": seed, "progress": False, **changes}
    if track.figure == "test loss":
        return mv.recipes.get("mlp-20-fast").trainer(**settings)
    return mv.Trainer(**settings)


def measure(track: Track, model: mv.VAE, test: mv.ImageDataset, samples: int) -> tuple[float, float]:
    """The figure of a track, and its standard error over the images."""
    if track.figure == "test loss":
        torch.manual_seed(0)
        with torch.no_grad():
            values = torch.cat([model.loss(x).loss for x, _ in mv.data.Batches(test, 500, shuffle=False)])
    else:
        drawn = test.binarized("static", seed=0)
        values = mv.metrics.importance_sampled_nll(model, drawn, num_samples=samples, seed=0).nll
    return float(values.mean()), float(values.std() / len(values) ** 0.5)


def run(track: Track, seed: int, data: mv.ImageDataset, **changes: Any) -> tuple[mv.VAE, dict[str, float]]:
    """A trained model, the seconds of its training, and those of the compilation before it."""
    compiled = 0.0
    if changes.get("compile", track.training.get("compile")):
        torch.manual_seed(seed)
        started = time.perf_counter()
        trainer_of(track, seed, **{**changes, "steps": 2}).fit(track.model(), data)
        compiled = time.perf_counter() - started
    torch.manual_seed(seed)
    model = track.model()
    processor = time.process_time()
    history = trainer_of(track, seed, **changes).fit(model, data)
    return model, {
        "seconds": sum(history.column("seconds")),
        "processor_seconds": time.process_time() - processor,
        "compilation": compiled,
        "epochs": len(history),
    }


def main() -> None:
    """Run the tracks and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", default=os.environ.get("MNISTVAE_DATA"))
    parser.add_argument("--only", nargs="+", choices=list(TRACKS), default=[t for t in TRACKS if t not in LARGE])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--epochs", type=int, help="another number of epochs, to search for the smallest one")
    parser.add_argument("--limit", type=int, default=10_000, help="test digits, to search")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if not given.data_root:
        parser.error("say where MNIST is: --data-root or MNISTVAE_DATA")
    train, test = (mv.load_dataset("mnist", split, given.data_root) for split in ("train", "test"))
    changes: dict[str, Any] = {"device": given.device} | ({"compile": True} if given.compile else {})
    changes |= {} if given.epochs is None else {"epochs": given.epochs}
    machine = f"{platform.machine()}, {given.device}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    found: dict[str, Any] = {"machine": machine, "limit": given.limit, "samples": given.samples, "tracks": {}}
    print(f"{machine}\n{'track':12s}{'figure':>22s}{'+-':>6s}{'seconds':>22s}{'processor':>11s}{'compiled':>10s}")
    for name in given.only:
        runs = []
        for seed in given.seeds:
            model, took = run(TRACKS[name], seed, train, **changes)
            figure, error = measure(TRACKS[name], model, test[: given.limit], given.samples)
            runs.append({"seed": seed, "figure": figure, "standard_error": error, **took})
        columns = {key: [one[key] for one in runs] for key in runs[0]}
        middle = {key: statistics.median(values) for key, values in columns.items()}
        ranges = {key: f"{middle[key]:.2f} ({min(columns[key]):.2f} to {max(columns[key]):.2f})" for key in middle}
        print(
            f"{name:12s}{ranges['figure']:>22s}{middle['standard_error']:6.2f}{ranges['seconds']:>22s}"
            f"{middle['processor_seconds']:11.1f}{middle['compilation']:10.1f}",
            flush=True,
        )
        found["tracks"][name] = {"target": TRACKS[name].target, "runs": runs}
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
