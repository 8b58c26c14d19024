"""Training speed of the recipe ``conv``: mnistvae's Trainer beside a plain loop, and beside its convolutions alone.

    MNISTVAE_DATA=FOLDER python benchmarks/conv.py [--rounds 5] [--images 6400] [--json FILE]

All train the networks of ``conv`` (convolutions 1-32-64-128 and their mirror, stride 2, 16 latent dimensions) in
batches of 64 with Adam. Each contender is a process of its own, and they take turns, so many images each:

- ``plain``: twenty lines of PyTorch over images that are in memory as floats.
- ``loader``: the same loop over a DataLoader.
- ``ours``, ``ours+compile``, ``ours+bf16``, ``ours+bf16+compile``: the recipe, as it is and by settings of its Trainer.
- ``limit``: the convolutions and their gradients alone, each in the layout that is faster for it, and the bytes that
  Adam reads and writes.

Seconds are medians over the rounds but the first, in which things are compiled.
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import DataLoader, TensorDataset

import mnistvae as mv
from mnistvae.devices import keep_freed_memory
from mnistvae.training import Callback, State

BATCH = 64
Rounds = Callable[[float], None]


class Plain(nn.Module):
    """The networks of ``conv``, written flat."""

    def __init__(self) -> None:
        super().__init__()
        down: list[nn.Module] = []
        for before, after in ((1, 32), (32, 64), (64, 128)):
            down += [nn.Conv2d(before, after, 3, 2, 1), nn.ReLU()]
        self.encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(2048, 32))
        self.decoder = nn.Sequential(
            nn.Linear(16, 2048),
            nn.Unflatten(1, (128, 4, 4)),
            nn.ReLU(),
            nn.ConvTranspose2d(128, 64, 3, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(64, 32, 3, 2, 1, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(32, 1, 3, 2, 1, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        mean, logvar = self.encoder(x).chunk(2, 1)
        logits = self.decoder(mean + (0.5 * logvar).exp() * torch.randn_like(mean))
        entropy = binary_cross_entropy_with_logits(logits, x, reduction="sum")
        loss: Tensor = entropy - 0.5 * (1 + logvar - mean.square() - logvar.exp()).sum()
        return loss / len(x)


def plain(images: Tensor, rounds: int, after: Rounds, *, loader: bool = False) -> None:
    """A loop as people write it."""
    x = images.float() / 255
    model = Plain()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    batches: Any = DataLoader(TensorDataset(x), BATCH, shuffle=True)
    for _ in range(rounds):
        started = time.perf_counter()
        if not loader:
            batches = ((x[rows],) for rows in torch.randperm(len(x)).split(BATCH))
        for (batch,) in batches:
            optimizer.zero_grad()
            loss = model(batch)
            loss.backward()
            optimizer.step()
        after(time.perf_counter() - started)


class _Turns(Callback):
    def __init__(self, after: Rounds) -> None:
        self.after = after

    def on_epoch_end(self, state: State) -> None:
        self.after(state.history[-1]["seconds"])


def ours(images: Tensor, rounds: int, after: Rounds, **how: Any) -> None:
    """The recipe, as the command line trains it."""
    keep_freed_memory()
    recipe = mv.recipes.get("conv")
    settings = {"epochs": rounds, "progress": False, "device": "cpu", "callbacks": [_Turns(after)], **how}
    recipe.trainer(**settings).fit(recipe.model(), images)


def _quickest(layers: list[Callable[[], Any]], repeats: int = 20) -> Callable[[], Any]:
    seconds = []
    for layer in layers:
        layer()
        started = time.perf_counter()
        for _ in range(repeats):
            layer()
        seconds.append(time.perf_counter() - started)
    return layers[seconds.index(min(seconds))]


def limit(images: Tensor, rounds: int, after: Rounds) -> None:
    """The convolutions alone, forward and backward, and Adam's bytes."""
    keep_freed_memory()
    torch.set_grad_enabled(False)
    parts = []
    model = Plain()
    for first, module in ((True, model.encoder), (False, model.decoder)):
        x = torch.randn(BATCH, 1, 28, 28) if first else torch.randn(BATCH, 16)
        for layer in module:
            out = layer(x)
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                parts.append(_convolution(layer, x, out, needs_input=not (first and x.shape[1] == 1)))
            elif isinstance(layer, nn.Linear):
                parts.append(functools.partial(_linear, layer, x, out))
            x = out
    n = sum(p.numel() for p in model.parameters())
    a, b, c = torch.randn(3, n)
    for _ in range(rounds):
        started = time.perf_counter()
        for _ in range(-(-len(images) // BATCH)):
            for part in parts:
                part()
            torch.add(a, b, out=c)
            torch.add(b, a, out=c)
            torch.neg(a[: n // 2], out=c[: n // 2])
        after(time.perf_counter() - started)


def _linear(layer: nn.Linear, x: Tensor, out: Tensor) -> None:
    torch.addmm(layer.bias, x, layer.weight.t())
    torch.mm(out.t(), x)
    torch.mm(out, layer.weight)


def _convolution(layer: Any, x: Tensor, out: Tensor, *, needs_input: bool) -> Callable[[], Any]:
    turned = isinstance(layer, nn.ConvTranspose2d)
    grow = list(layer.output_padding) if turned else [0, 0]
    how = ([2, 2], [1, 1], [1, 1], turned, grow, 1)

    def once(x: Tensor, weight: Tensor, gradient: Tensor) -> None:
        torch.convolution(x, weight, layer.bias, *how)
        torch.ops.aten.convolution_backward(gradient, x, weight, [layer.bias.numel()], *how, [needs_input, True, True])

    ways = []
    for layout in (torch.contiguous_format, torch.channels_last):
        tensors = [t.detach().contiguous(memory_format=layout) for t in (x, layer.weight, out)]
        ways.append(functools.partial(once, *tensors))
    return _quickest(ways)


CONTENDERS: dict[str, Callable[[Tensor, int, Rounds], None]] = {
    "loader": functools.partial(plain, loader=True),
    "plain": plain,
    "ours": ours,
    "ours+compile": functools.partial(ours, compile=True),
    "ours+bf16": functools.partial(ours, precision="bf16"),
    "ours+bf16+compile": functools.partial(ours, precision="bf16", compile=True),
    "limit": limit,
}


def _work(name: str, images: Tensor, rounds: int, pipe: Connection) -> None:
    """One contender: it computes only when it is its turn."""

    def after(seconds: float) -> None:
        pipe.send(seconds)
        pipe.recv()

    pipe.recv()
    CONTENDERS[name](images, rounds, after)


def main() -> None:
    """Let the contenders take turns, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", default=os.environ.get("MNISTVAE_DATA"))
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--images", type=int, default=6400)
    parser.add_argument("--only", nargs="+", choices=list(CONTENDERS), default=list(CONTENDERS))
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    name, more = ("mnist", {"root": given.data_root}) if given.data_root else ("mnist-mini", {})
    images = mv.load_dataset(name, "train", **more).images[: given.images]
    context = multiprocessing.get_context("spawn")
    pipes, seconds = {}, {name: [] for name in given.only}
    processes = []
    for name in given.only:
        pipes[name], theirs = context.Pipe()
        processes.append(context.Process(target=_work, args=(name, images, given.rounds, theirs), daemon=True))
        processes[-1].start()
    for _ in range(given.rounds):
        for name in given.only:
            pipes[name].send("go")
            seconds[name].append(pipes[name].recv())
    for name in given.only:
        pipes[name].send("go")
    medians = {name: statistics.median(taken[1:]) for name, taken in seconds.items()}
    machine = f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    print(f"{machine}; medians of {given.rounds - 1} rounds of {len(images):,} images, batch {BATCH}")
    print(f"{'':20s}{'s':>8s}{'images/s':>11s}{'of plain':>10s}{'of limit':>10s}{'first':>8s}")
    for name, median in medians.items():
        ratios = [f"{medians[to] / median if to == 'plain' else median / medians[to]:10.2f}" if to in medians else ""
                  for to in ("plain", "limit")]  # fmt: skip
        print(f"{name:20s}{median:8.3f}{len(images) / median:11,.0f}{''.join(ratios)}{seconds[name][0]:8.2f}")
    if given.json:
        given.json.write_text(json.dumps({"machine": machine, "seconds": seconds}, indent=2) + "\n")


if __name__ == "__main__":
    main()
