"""Importance-sampled log-likelihood: mnistvae beside loops that take one image at a time.

    MNISTVAE_DATA=FOLDER python benchmarks/likelihood.py [--samples 500] [--images 10000] [--rounds 3] [--json FILE]

The model is ``mlp-20`` after one epoch of binarized digits. The references are as people write them:

- ``loop``: for each image, repeat it, encode the copies, draw a code for each, decode, weigh; 100 samples at once,
  results to numpy, ``logsumexp`` of scipy at the end.
- ``single loop``: for each image and each of its samples: encode, draw a code, decode, weigh.
- ``batched loop``: for each image, encode it once and decode all samples at once, everything in torch.

They take a fiftieth of the images (the single loop a thousandth) and their time is multiplied, since the whole would
take very long; rounds alternate. Printed are seconds for all images (medians), ratios, what each found for the images
that it took, and the peak of this process's memory.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import resource
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from scipy.special import logsumexp

import mnistvae as mv
from mnistvae.metrics import importance_sampled_nll


@torch.no_grad()
def loop(model: mv.VAE, images: torch.Tensor, samples: int, at_once: int = 100) -> np.ndarray:
    """One image at a time, encoded again for each of its samples."""
    found = []
    for image in images:
        weights = []
        for _ in range(samples // at_once):
            x = torch.cat([image[None]] * at_once)
            posterior = model.encode(x)
            z = posterior.rsample()
            log_p = model.decode(z).log_prob(x) + model.latent_prior().log_prob(z)
            weights.append((log_p - posterior.log_prob(z)).cpu().numpy())
        found.append(math.log(samples) - logsumexp(np.concatenate(weights)))
    return np.array(found)


@torch.no_grad()
def single_loop(model: mv.VAE, images: torch.Tensor, samples: int) -> np.ndarray:
    """One image and one sample at a time."""
    found = []
    for image in images:
        x = image[None]
        weights = []
        for _ in range(samples):
            posterior = model.encode(x)
            z = posterior.rsample()
            log_p = model.decode(z).log_prob(x) + model.latent_prior().log_prob(z)
            weights.append((log_p - posterior.log_prob(z)).item())
        found.append(math.log(samples) - logsumexp(weights))
    return np.array(found)


@torch.no_grad()
def batched_loop(model: mv.VAE, images: torch.Tensor, samples: int) -> np.ndarray:
    """One image at a time, all of its samples at once."""
    found = []
    for image in images:
        x = image[None]
        posterior = model.encode(x)
        z = posterior.rsample(torch.Size([samples]))[:, 0]
        log_p = model.decode(z).log_prob(x) + model.latent_prior().log_prob(z)
        log_w = log_p - posterior.log_prob(z)
        found.append((math.log(samples) - log_w.logsumexp(0)).item())
    return np.array(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", default=os.environ.get("MNISTVAE_DATA"))
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if not options.data_root:
        parser.error("say where MNIST is: --data-root or MNISTVAE_DATA")
    train, test = (mv.load_dataset("mnist", split, options.data_root) for split in ("train", "test"))
    recipe = mv.recipes.get("mlp-20")
    model = recipe.model()
    recipe.trainer(epochs=1, binarization="dynamic", progress=False, device="cpu").fit(model, train)
    data = test[: options.images].binarized("static", seed=0)
    loops = {"batched loop": (batched_loop, 50), "loop": (loop, 50), "single loop": (single_loop, 1000)}
    times: dict[str, list[float]] = {"mnistvae": [], **{name: [] for name in loops}}
    for _ in range(options.rounds):
        started = time.perf_counter()
        ours = importance_sampled_nll(model, data, options.samples)
        times["mnistvae"].append(time.perf_counter() - started)
        for name, (work, part) in loops.items():
            few = data[: max(1, len(data) // part)].images.float() / 255
            started = time.perf_counter()
            theirs = work(model, few, options.samples)
            times[name].append((time.perf_counter() - started) * len(data) / len(few))
            print(f"{name}: {theirs.mean():.3f}, ours {float(ours.nll[: len(few)].mean()):.3f} for {len(few)} images")
        print({name: round(seconds[-1], 1) for name, seconds in times.items()}, flush=True)
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    result = {
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "images": len(data),
        "samples": options.samples,
        "seconds": medians,
        "ratios": {name: seconds / medians["mnistvae"] for name, seconds in medians.items()},
        "nll": ours.mean,
        "peak_gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }
    print(json.dumps(result, indent=2))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
