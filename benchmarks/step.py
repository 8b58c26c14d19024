"""What the contracts cost: a training step of ``mlp-20`` through mnistvae's parts beside a flat one of the same maths.

    python benchmarks/step.py [--rounds 60] [--json FILE]

Both do the same with the same weights and the same images: 784-400-20-400-784, ReLU, Bernoulli pixels, one code
an image by reparameterization, a loss for each image, their mean, its gradient, fused Adam. The flat one is what
one would write by hand for just this model: linear maps, no classes, no checks, no distributions. Rounds of steps
alternate, so that both see the same machine; printed are the median step of each and the median of the ratios
of neighbouring rounds.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, linear, relu

import mnistvae as mv
from mnistvae._products import fast_products

BATCH = 128


def composed(x: Tensor) -> tuple[Callable[[], Tensor], list[Tensor]]:
    """The loss of the recipe's model, and its weights."""
    model = mv.recipes.get("mlp-20").model()

    def loss() -> Tensor:
        return model.loss(x).loss.mean()

    return loss, list(model.parameters())


def flat(x: Tensor) -> tuple[Callable[[], Tensor], list[Tensor]]:
    """The same, as one function of eight tensors."""
    weights = [w.detach().clone().requires_grad_() for w in composed(x)[1]]
    w1, b1, w2, b2, w3, b3, w4, b4 = weights

    def loss() -> Tensor:
        pixels = x.flatten(1)
        hidden = relu(linear(pixels, w1, b1))
        mu, logvar = linear(hidden, w2, b2).chunk(2, dim=1)
        z = mu + (0.5 * logvar).exp() * torch.randn_like(mu)
        logits = linear(relu(linear(z, w3, b3)), w4, b4)
        entropy = binary_cross_entropy_with_logits(logits, pixels, reduction="none").sum(1)
        kl = -0.5 * (1 + logvar - mu.square() - logvar.exp()).sum(1)
        return (entropy + kl).mean()

    return loss, weights


def stepper(loss: Callable[[], Tensor], weights: list[Tensor]) -> Callable[[], Tensor]:
    """One training step."""
    optimizer = torch.optim.Adam(weights, lr=1e-3, fused=True)

    def step() -> Tensor:
        value = loss()
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
        return value

    return step


def seconds(step: Callable[[], Tensor], steps: int) -> float:
    """Of one step, over so many."""
    started = time.perf_counter()
    for _ in range(steps):
        step()
    return (time.perf_counter() - started) / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--steps", type=int, default=50, help="in a round")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    x = mv.load_dataset("mnist-mini", "train")[:BATCH].images.float() / 255
    steps = {"flat": stepper(*flat(x)), "mnistvae": stepper(*composed(x))}
    with fast_products(torch.device("cpu")):
        values = {}
        for name, step in steps.items():
            torch.manual_seed(0)
            values[name] = [step().item() for _ in range(20)]
        apart = max(abs(a - b) / b for a, b in zip(values["mnistvae"], values["flat"], strict=True))
        if apart > 1e-4:
            raise SystemExit(f"the two do not compute the same: losses {apart:.1e} apart")
        times: dict[str, list[float]] = {name: [] for name in steps}
        for turn in range(options.rounds):
            order = list(steps) if turn % 2 else list(steps)[::-1]
            for name in order:
                times[name].append(seconds(steps[name], options.steps))
    result = {
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "milliseconds": {name: 1e3 * statistics.median(taken) for name, taken in times.items()},
        "ratio": statistics.median(a / b for a, b in zip(times["mnistvae"], times["flat"], strict=True)),
        "losses_apart": apart,
    }
    print(f"{result['machine']}; median of {options.rounds} rounds of {options.steps} steps, batch {BATCH}")
    for name, taken in result["milliseconds"].items():
        print(f"{name:10s}{taken:8.3f} ms")
    print(f"ratio {result['ratio']:.3f}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
