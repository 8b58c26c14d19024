"""Richer posteriors, priors and bounds beside a plain VAE: the same processor time for each, on the whole MNIST.

    MNISTVAE_DATA=FOLDER python benchmarks/richer.py [--only NAME ...] [--minutes 6] [--jobs 2] [--json FILE]

Every row has an encoder and a decoder with one hidden layer of 800 units, or as many parameters; what the row is about
comes on top. Training is the same but for the number of epochs, which is what the minutes allow, by the time of 60
steps.
Minutes are of one thread's processor time, so that rows can run beside each other (``--jobs``), one a core.

Figures are of all 10,000 test digits, drawn black and white once under seed 0: NLL by importance sampling with
``--samples`` codes an image and its standard error over the images, the bound at one code, active units, and the
distance of 2,000 samples from the test digits by the digit classifier (fd_digits).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import by_minutes
import torch
from torch import nn

import mnistvae as mv
from mnistvae.ladders import LadderDecoder, LadderEncoder, LadderPrior
from mnistvae.networks import FlowEncoder, FullNormalEncoder, MixtureEncoder, MLPDecoder, MLPEncoder
from mnistvae.objectives import ELBO, IWAE, Consistency, Objective
from mnistvae.priors import Flow, VampPrior
from mnistvae.schedules import Linear

LATENT, HIDDEN = 40, 800
SHAPE = (1, 28, 28)


def encoder() -> MLPEncoder:
    """The encoder of most rows."""
    return MLPEncoder(LATENT, SHAPE, (HIDDEN,))


def vae(**parts: Any) -> mv.VAE:
    """The plain VAE, with some parts in place of its own."""
    usual: dict[str, Any] = {"encoder": encoder, "decoder": lambda: MLPDecoder(LATENT, SHAPE, (HIDDEN,))}
    made = {name: make() for name, make in {**usual, **parts}.items()}
    return mv.VAE(LATENT, SHAPE, **made)


def full_normal() -> FullNormalEncoder:
    """The encoder with a covariance."""
    return FullNormalEncoder(nn.Sequential(nn.Flatten(), nn.Linear(784, HIDDEN), nn.ReLU()), LATENT)


def couplings() -> Flow:
    """The RealNVP prior of the speed runs."""
    return Flow(LATENT, "realnvp", 6, (128, 128))


def ladder(objective: Callable[[], Objective] = ELBO) -> mv.VAE:
    """Three levels, of about as many parameters as the plain VAE."""
    levels, width = (8, 12, 20), 256
    return mv.VAE(
        sum(levels),
        SHAPE,
        encoder=LadderEncoder(levels, SHAPE, width),
        decoder=LadderDecoder(levels, SHAPE, width),
        prior=LadderPrior(levels, width),
        objective=objective(),
    )


#: The rows by name.
ROWS: dict[str, Callable[[], mv.VAE]] = {
    "plain": vae,
    "IWAE, 5 samples": lambda: vae(objective=lambda: IWAE(5)),
    "consistency": lambda: vae(objective=Consistency),
    "full normal": lambda: vae(encoder=full_normal),
    "flow posterior": lambda: vae(encoder=lambda: FlowEncoder(encoder(), "iaf", 2)),
    "mixture posterior": lambda: vae(
        encoder=lambda: MixtureEncoder([encoder(), encoder()]), objective=lambda: ELBO(num_samples=2)
    ),
    "VampPrior": lambda: vae(prior=lambda: VampPrior(100)),
    "flow prior": lambda: vae(prior=couplings),
    "ladder": lambda: ladder(lambda: ELBO(schedule=Linear(5000, 0.2))),
    "flow prior and posterior": lambda: vae(prior=couplings, encoder=lambda: FlowEncoder(encoder(), "iaf", 2)),
}


def measure(name: str, minutes: float, samples: int, limit: int, root: str) -> dict[str, Any]:
    """Train one row and take its figures."""
    torch.set_num_threads(1)
    train, test = (mv.load_dataset("mnist", split, root) for split in ("train", "test"))
    made = by_minutes.train_for(minutes, ROWS[name], train)
    model = made.pop("model")
    drawn = test.binarized("static", seed=0)[:limit]
    found = mv.metrics.evaluate(
        model, drawn, include=["likelihood", "generation"], num_samples=samples, num_generated=2000, seed=0
    )
    active = mv.metrics.active_units(mv.analysis.encode_dataset(model, drawn).means)
    return {
        "name": name,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        **made,
        "nll_error": found.score("nll").standard_error,
        "active_units": active,
        **{key: float(found[key]) for key in ("nll", "negative_elbo", "kl", "fd_digits")},
    }


def main() -> None:
    """Run the rows and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", default=os.environ.get("MNISTVAE_DATA"))
    parser.add_argument("--only", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--minutes", type=float, default=6.0)
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--limit", type=int, default=10_000, help="test digits")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--row", choices=list(ROWS), help="one row, as JSON on the last line (what the jobs call)")
    given = parser.parse_args()
    if not given.data_root:
        parser.error("say where MNIST is: --data-root or MNISTVAE_DATA")
    if given.row:
        print(json.dumps(measure(given.row, given.minutes, given.samples, given.limit, given.data_root)))
        return
    print(f"{platform.machine()}, one thread a row, torch {torch.__version__}, {given.minutes:g} minutes a row")
    print(
        f"{'row':26s}{'params':>10s}{'epochs':>8s}{'min':>6s}{'NLL':>16s}{'bound':>9s}{'KL':>7s}{'active':>8s}{'fd':>7s}"
    )

    rows = []
    how = {"minutes": given.minutes, "samples": given.samples, "limit": given.limit, "data-root": given.data_root}
    for row in by_minutes.run_rows(__file__, given.only, how, given.jobs):
        if row is None:
            continue
        rows.append(row)
        print(
            f"{row['name']:26s}{row['parameters']:10,}{row['epochs']:8d}{row['minutes']:6.1f}"
            f"{row['nll']:9.2f} ± {row['nll_error']:.2f}{row['negative_elbo']:9.2f}{row['kl']:7.2f}"
            f"{row['active_units']:8.0f}{row['fd_digits']:7.2f}",
            flush=True,
        )
    if given.json:
        given.json.write_text(json.dumps({"torch": torch.__version__, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
