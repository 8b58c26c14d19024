"""Priors fitted to the codes of a ready model: seconds of the fit, nats of unseen codes, and how good the samples are.

    python benchmarks/fitted_priors.py [--model conv] [--kinds mixture realnvp ...] [--root FOLDER] [--threads 2]

Each kind of ``mnistvae.fit_prior`` is fitted, with its usual settings, to the training images of MNIST. The nats are
minus the mean log-density of a code of each test image; of the second VAE they are an upper estimate, with 500 draws.
``fd_digits`` is the Fréchet distance of 2,000 samples from the test images, the mean of five draws. The last row
draws its codes from the posteriors of training images, which is what a perfect prior would do. Seconds on a
machine with other work mean little, so the processor's are given too.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch

import mnistvae as mv
from mnistvae.metrics import classify, frechet_distance

SAMPLES, DRAWS, BOUND = 2_000, 5, 500
ROWS = {
    "mixture": {},
    "mixture of 50": {"components": 50},
    **{kind: {"kind": kind} for kind in ("realnvp", "maf", "nsf", "vae")},
}


@torch.no_grad()
def codes(model: mv.VAE, data: mv.ImageDataset) -> torch.Tensor:
    """A draw from the posterior of each image."""
    torch.manual_seed(0)
    return torch.cat([model.encode(data.images[n : n + 1000]).sample() for n in range(0, len(data), 1000)])


@torch.no_grad()
def nats(model: mv.VAE, z: torch.Tensor) -> float:
    """Minus the mean log-density of codes under the model's prior."""
    torch.manual_seed(0)
    prior = model.latent_prior()
    if model.prior.bounds_density:
        prior.num_samples = BOUND
    return -float(torch.cat([prior.log_prob(some) for some in z.split(500)]).mean())


def distance(real: torch.Tensor, draw: Callable[[torch.Generator], torch.Tensor]) -> float:
    """The Fréchet distance of samples from real images' features, the mean of some draws."""
    found = [frechet_distance(real, classify(draw(torch.Generator().manual_seed(seed)))[0]) for seed in range(DRAWS)]
    return sum(found) / len(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="conv", choices=mv.zoo.names())
    parser.add_argument("--kinds", nargs="*", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--root", help="folder of the data sets")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = mv.pretrained(args.model)
    train, test = (mv.load_dataset("mnist", split, args.root) for split in ("train", "test"))
    known, unseen = codes(model, train), codes(model, test)
    real = classify(test.images)[0]

    def of(one: mv.VAE) -> str:
        return f"{nats(one, unseen):.2f} | {distance(real, lambda g: one.sample(SAMPLES, generator=g)):.2f}"

    print(f"{args.model}, {model.latent_dim} dimensions\n\n| prior | s | processor s | nats | fd_digits |")
    print(f"| --- | --: | --: | --: | --: |\n| as it was trained | | | {of(model)} |", flush=True)
    for name in args.kinds:
        start, busy = time.perf_counter(), time.process_time()
        fitted = mv.fit_prior(model, train, **ROWS[name])
        seconds, busy = time.perf_counter() - start, time.process_time() - busy
        print(f"| {name} | {seconds:.0f} | {busy:.0f} | {of(fitted)} |", flush=True)

    def from_codes(generator: torch.Generator) -> torch.Tensor:
        rows = torch.randperm(len(known), generator=generator)[:SAMPLES]
        with torch.no_grad():
            return model.decode(known[rows]).mean

    print(f"| codes of training images | | | | {distance(real, from_codes):.2f} |")


if __name__ == "__main__":
    main()
