"""Training speed: mnistvae's Trainer beside loops that people write, and beside the limit of the machine.

    MNISTVAE_DATA=FOLDER python benchmarks/train.py [--epochs 10] [--device cpu] [--only NAME ...] [--json FILE]

All train the network 784-400-20 on the whole MNIST, batch 128, Adam 1e-3. Each contender is a process of its own, and
they take turns, an epoch each, so that all see the same machine and none another's settings:

- ``examples``: as pytorch/examples has it. A DataLoader over a torchvision data set whose items become PIL images and
  then tensors, a loss summed over the batch, ``loss.item()`` after each step.
- ``tensors``: a trainer over a TensorDataset of floats in a DataLoader, which picks and joins single images, a mean
  loss, ``loss.item()`` after each step.
- ``fp32``: the recipe ``mlp-20`` as it is.
- ``fp32+compile`` and ``bf16+compile``: the same with ``compile=True``, and with ``precision="bf16"`` too; the epoch in
  which it is compiled does not count.
- ``jax``, where it is installed: a whole epoch as one function that JAX compiles, shuffling, ``lax.scan`` over the
  batches and Adam included, on images that stay in memory. The epoch in which it is compiled does not count.
- ``pythae``, where it is installed: pythae's VAE with these layers and its BaseTrainer, as its documentation has it.
- ``limit-fp32``, ``limit-bf16``: what a step cannot do without: its matrix products, forward and backward, by the
  fastest library there is in torch, and the bytes that Adam reads and writes, at the measured speed of memory.
- ``fast``, ``fast+compile``: the recipe ``mlp-20-fast``, whole runs, one for each two turns of the others. With
  ``compile=True`` the first run is the one in which it is compiled, and is shown apart.

Then, what an epoch of a single image costs, and the time an image for a growing number of them.

Seconds are medians over the epochs; of ``fast``, over whole runs with everything that ``fit`` does. Test losses are
means over MNIST's 10,000 test digits of binary cross-entropy plus KL, one code an image, in fp32, in nats (grey pixels:
not a likelihood).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
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
from torch.utils.data import DataLoader, TensorDataset
from torchvision import datasets, transforms

import mnistvae as mv
from mnistvae._products import fast_products
from mnistvae.training import Callback, State

BATCH = 128
#: Inputs and outputs of the linear maps of 784-400-20, and whether the gradient of the input is needed.
MAPS = ((784, 400, False), (400, 40, True), (20, 400, True), (400, 784, True))
#: Called after each epoch with its seconds; waits for the next turn.
After = Callable[[float], None]


class ReferenceVAE(nn.Module):
    """784-400-20, written flat."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(784, 400)
        self.mean = nn.Linear(400, 20)
        self.logvar = nn.Linear(400, 20)
        self.up = nn.Linear(20, 400)
        self.out = nn.Linear(400, 784)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = torch.relu(self.hidden(x.view(-1, 784)))
        mean, logvar = self.mean(h), self.logvar(h)
        std = torch.exp(0.5 * logvar)
        z = mean + std * torch.randn_like(std)
        return torch.sigmoid(self.out(torch.relu(self.up(z)))), mean, logvar


def reference_loss(x: Tensor, out: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Summed over the batch, as pytorch/examples has it."""
    picture, mean, logvar = out
    entropy = nn.functional.binary_cross_entropy(picture, x.view(-1, 784), reduction="sum")
    return entropy - 0.5 * torch.sum(1 + logvar - mean.pow(2) - logvar.exp())


def _reference(root: str, device: str, epochs: int, after: After, *, pictures: bool) -> float:
    """Train as others do; the test loss at the end."""
    torch.manual_seed(0)
    to_tensor = transforms.ToTensor()
    if pictures:
        train: Any = datasets.MNIST(root, train=True, transform=to_tensor)
    else:
        images = mv.load_dataset("mnist", "train", root)
        train = TensorDataset(images.images.float() / 255, images.labels)
    loader = DataLoader(train, BATCH, shuffle=True)
    model = ReferenceVAE().to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(epochs):
        model.train()
        started = time.perf_counter()
        total = 0.0
        for batch, _ in loader:
            x = batch.to(device)
            optimizer.zero_grad()
            loss = reference_loss(x, model(x))
            if pictures:
                loss.backward()
            else:
                (loss / len(x)).backward()
            total += loss.item()
            optimizer.step()
        after(time.perf_counter() - started)
    model.eval()
    test = datasets.MNIST(root, train=False, transform=to_tensor)
    with torch.no_grad():
        batches = (x.to(device) for x, _ in DataLoader(test, 500))
        sums = [reference_loss(x, model(x)).item() for x in batches]
    return sum(sums) / len(test)


class _Turns(Callback):
    def __init__(self, after: After) -> None:
        self.after = after

    def on_epoch_end(self, state: State) -> None:
        self.after(state.history[-1]["seconds"])


def _test_loss(model: mv.VAE, root: str) -> float:
    """Mean over MNIST's test digits, nats an image."""
    torch.manual_seed(0)
    images = mv.load_dataset("mnist", "test", root).to(model.device)
    with torch.no_grad():
        losses = [model.loss(x).loss for x, _ in mv.data.Batches(images, 500, shuffle=False)]
    return float(torch.cat(losses).mean())


def _ours(root: str, device: str, epochs: int, after: After, **how: Any) -> float:
    recipe = mv.recipes.get("mlp-20")
    model = recipe.model()
    trainer = recipe.trainer(epochs=epochs, progress=False, device=device, callbacks=[_Turns(after)], **how)
    trainer.fit(model, mv.load_dataset("mnist", "train", root))
    return _test_loss(model, root)


def _fast(root: str, device: str, epochs: int, after: After, **how: Any) -> float:
    """Whole runs of the recipe; the mean of their test losses."""
    recipe = mv.recipes.get("mlp-20-fast")
    train = mv.load_dataset("mnist", "train", root)
    losses = []
    for seed in range(1, 1 + max(1, epochs // 2)):
        model = recipe.model(seed=seed)
        started = time.perf_counter()
        recipe.trainer(seed=seed, progress=False, device=device, **how).fit(model, train)
        seconds = time.perf_counter() - started
        losses.append(_test_loss(model, root))
        after(seconds)
    return statistics.mean(losses)


def _jax(root: str, _device: str, epochs: int, after: After) -> float:
    """The same training as one compiled function an epoch; the test loss at the end."""
    import jax
    import jax.numpy as jnp

    def pixels(split: Any) -> Any:
        return jnp.asarray(mv.load_dataset("mnist", split, root).images.flatten(1).numpy())

    def losses(weights: Any, x: Any, key: Any) -> Any:
        (w1, b1), (w2, b2), (w3, b3), (w4, b4) = weights
        mean, logvar = jnp.split(jax.nn.relu(x @ w1 + b1) @ w2 + b2, 2, axis=1)
        z = mean + jnp.exp(0.5 * logvar) * jax.random.normal(key, mean.shape)
        logits = jax.nn.relu(z @ w3 + b3) @ w4 + b4
        entropy = jnp.sum(jax.nn.softplus(logits) - x * logits, 1)
        return entropy - 0.5 * jnp.sum(1 + logvar - mean**2 - jnp.exp(logvar), 1)

    def step(state: Any, batch: Any) -> Any:
        weights, first, second, n = state
        rows, key = batch
        gradient = jax.grad(lambda w: losses(w, train[rows] / 255.0, key).mean())(weights)
        n = n + 1
        first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradient)
        second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradient)
        rate = 1e-3 * jnp.sqrt(1 - 0.999**n) / (1 - 0.9**n)
        weights = jax.tree.map(lambda w, m, v: w - rate * m / (jnp.sqrt(v) + 1e-8), weights, first, second)
        return (weights, first, second, n), None

    @jax.jit
    def epoch(state: Any, key: Any) -> Any:
        order = jax.random.permutation(key, len(train))
        keys = jax.random.split(key, steps + 1)
        state, _ = jax.lax.scan(step, state, (order[: steps * BATCH].reshape(steps, BATCH), keys[1:]))
        return step(state, (order[steps * BATCH :], keys[0]))[0]  # the last batch, which is smaller

    train, steps = pixels("train"), 60_000 // BATCH
    key, *keys = jax.random.split(jax.random.key(0), 1 + len(MAPS))
    weights = [
        tuple(
            jax.random.uniform(k, shape, minval=-1, maxval=1) / math.sqrt(i)
            for k, shape in ((one, (i, o)), (one, (o,)))
        )
        for one, (i, o, _) in zip(keys, MAPS, strict=True)
    ]
    zeros = jax.tree.map(jnp.zeros_like, weights)
    state = (weights, zeros, zeros, 0)
    for number in range(epochs):
        started = time.perf_counter()
        state = jax.block_until_ready(epoch(state, jax.random.fold_in(key, number)))
        after(time.perf_counter() - started)
    return float(jax.jit(losses)(state[0], pixels("test") / 255.0, key).mean())


def _pythae(root: str, device: str, epochs: int, after: After) -> float:
    """Train by pythae's trainer; the test loss at the end."""
    import tempfile

    from pythae.data.preprocessors import DataProcessor
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig
    from pythae.trainers.training_callbacks import TrainingCallback

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.hidden, self.mean, self.logvar = nn.Linear(784, 400), nn.Linear(400, 20), nn.Linear(400, 20)

        def forward(self, x: Tensor) -> Any:
            h = torch.relu(self.hidden(x.flatten(1)))
            return ModelOutput(embedding=self.mean(h), log_covariance=self.logvar(h))

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(20, 400), nn.ReLU(), nn.Linear(400, 784), nn.Sigmoid())

        def forward(self, z: Tensor) -> Any:
            return ModelOutput(reconstruction=self.layers(z).view(-1, 1, 28, 28))

    class Turns(TrainingCallback):
        started = 0.0

        def on_epoch_begin(self, *_: Any, **__: Any) -> None:
            self.started = time.perf_counter()

        def on_epoch_end(self, *_: Any, **__: Any) -> None:
            after(time.perf_counter() - self.started)

    def images(split: Any) -> Any:
        return mv.load_dataset("mnist", split, root).images.float() / 255

    config = VAEConfig(input_dim=(1, 28, 28), latent_dim=20, reconstruction_loss="bce")
    model = VAE(config, Encoder(), Decoder())
    processor = DataProcessor()
    train = processor.to_dataset(processor.process_data(images("train").numpy()))
    with tempfile.TemporaryDirectory() as folder:
        how = BaseTrainerConfig(
            output_dir=folder,
            per_device_train_batch_size=BATCH,
            num_epochs=epochs,
            learning_rate=1e-3,
            keep_best_on_train=True,
            seed=0,
            no_cuda=device == "cpu",
        )
        BaseTrainer(model, train, training_config=how, callbacks=[Turns()]).train()
    model.eval()
    with torch.no_grad():
        losses = [float(model({"data": x}).loss) for x in images("test").to(device).split(500)]
    return statistics.mean(losses)


def _limit(root: str, device: str, epochs: int, after: After, *, dtype: torch.dtype) -> float:
    """As many steps as an epoch has, of what no implementation can leave out."""
    torch.manual_seed(0)
    steps = -(-len(mv.load_dataset("mnist", "train", root)) // BATCH)
    parts = [
        (*(torch.randn(shape, device=device).to(dtype) for shape in ((BATCH, i), (o, i), (BATCH, o))), back)
        for i, o, back in MAPS
    ]
    weights = sum(p.numel() for p in mv.recipes.get("mlp-20").model().parameters())
    a, b, c = (torch.randn(weights, device=device) for _ in range(3))

    def step() -> None:
        for x, w, g, back in parts:
            torch.mm(x, w.t())
            torch.mm(g.t(), x)
            if back:
                torch.mm(g, w)
        # Adam reads weight, gradient and two moments and writes all but the gradient: 7 arrays, 3 at a time here.
        torch.add(a, b, out=c)
        torch.add(b, a, out=c)
        torch.neg(a[: weights // 2], out=c[: weights // 2])

    with torch.no_grad(), fast_products(torch.device(device)):
        for _ in range(epochs):
            started = time.perf_counter()
            for _ in range(steps):
                step()
            if device != "cpu":
                torch.cuda.synchronize()
            after(time.perf_counter() - started)
    return float("nan")


CONTENDERS: dict[str, tuple[Callable[..., float], dict[str, Any]]] = {
    "examples": (_reference, {"pictures": True}),
    "tensors": (_reference, {"pictures": False}),
    "fp32": (_ours, {}),
    "fp32+compile": (_ours, {"compile": True}),
    "bf16+compile": (_ours, {"precision": "bf16", "compile": True}),
    "jax": (_jax, {}),
    "pythae": (_pythae, {}),
    "limit-fp32": (_limit, {"dtype": torch.float32}),
    "limit-bf16": (_limit, {"dtype": torch.bfloat16}),
    "fast": (_fast, {}),
    "fast+compile": (_fast, {"compile": True}),
}
#: Those whose first epoch compiles.
COMPILED = ("fp32+compile", "bf16+compile", "fast+compile", "jax")
#: Those that need a package of their own.
ELSEWHERE = ("jax", "pythae")
#: Those that are timed by whole runs.
FAST = ("fast", "fast+compile")


def _work(name: str, root: str, device: str, epochs: int, pipe: Connection) -> None:
    """One contender: it computes only when it is its turn."""
    run, how = CONTENDERS[name]

    def after(seconds: float) -> None:
        pipe.send(seconds)
        pipe.recv()

    pipe.recv()
    pipe.send(run(root, device, epochs, after, **how))


def take_turns(names: list[str], root: str, device: str, epochs: int) -> dict[str, tuple[list[float], float]]:
    """Seconds of each epoch (or run) and the test loss, of each contender."""
    context = multiprocessing.get_context("spawn")
    pipes, processes, seconds = {}, [], {name: [] for name in names}
    for name in names:
        pipes[name], theirs = context.Pipe()
        processes.append(context.Process(target=_work, args=(name, root, device, epochs, theirs), daemon=True))
        processes[-1].start()
    for epoch in range(epochs):
        for name in names:
            if name in FAST and epoch % 2 != 1 and epochs >= 2:
                continue
            pipes[name].send("go")
            seconds[name].append(pipes[name].recv())
        print(f"epoch {epoch + 1:2d}: " + ", ".join(f"{n} {s[-1]:.2f} s" for n, s in seconds.items() if s), flush=True)
    losses = {}
    for name in names:  # one after the other: the evaluation computes too
        pipes[name].send("go")
        losses[name] = pipes[name].recv()
    for process in processes:
        process.join()  # what is measured next has the machine for itself
    return {name: (seconds[name], losses[name]) for name in names}


def _growth(root: str, device: str) -> dict[str, float]:
    """What an epoch of next to no work costs, in ms, and how the cost of an image grows with their number."""
    train = mv.load_dataset("mnist", "train", root)
    how: dict[str, Any] = {"progress": False, "device": device}
    tiny = mv.recipes.get("mlp-20").model(hidden=(1,))
    mv.Trainer(epochs=5, **how).fit(tiny, train[:1])
    started = time.perf_counter()
    mv.Trainer(epochs=200, **how).fit(tiny, train[:1])
    found = {"epoch_ms": 1e3 * (time.perf_counter() - started) / 200}
    model = mv.recipes.get("mlp-20").model()
    for n in (7_500, 15_000, 30_000, 60_000):
        history = mv.Trainer(epochs=3, **how).fit(model, train[:n])
        found[f"us_per_image_of_{n}"] = 1e6 * statistics.median(history.column("seconds")) / n
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", default=os.environ.get("MNISTVAE_DATA"))
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--device", default="cpu")
    there = [name for name in CONTENDERS if name not in ELSEWHERE or importlib.util.find_spec(name)]
    parser.add_argument("--only", nargs="+", choices=there, default=there)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if not options.data_root:
        parser.error("say where MNIST is: --data-root or MNISTVAE_DATA")

    taken = take_turns(options.only, options.data_root, options.device, options.epochs)
    images = len(mv.load_dataset("mnist", "train", options.data_root))
    steps = -(-images // BATCH)
    machine = f"{platform.machine()}, {options.device}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    median = {n: statistics.median(s[1:] if n in COMPILED and len(s) > 1 else s) for n, (s, _) in taken.items()}
    print(f"\n{machine}; medians of {options.epochs} epochs of {images:,} images, batch {BATCH}")
    print(f"{'':14s}{'s/epoch':>9s}{'images/s':>11s}{'ms/step':>9s}{'speed':>8s}{'of limit':>10s}{'test loss':>11s}")
    table = {}
    for name, (seconds, loss) in taken.items():
        if name in FAST:
            continue
        row = {
            "seconds": median[name],
            "images_per_second": images / median[name],
            "ms_per_step": 1e3 * median[name] / steps,
            "speed": median["examples"] / median[name] if "examples" in median else None,
            "of_limit": median[name] / median[limit] if (limit := f"limit-{name[:4]}") in median else None,
            "test_loss": None if math.isnan(loss) else loss,
            "all_seconds": seconds,
        }
        table[name] = row
        cells = [
            f"{row['seconds']:9.3f}{row['images_per_second']:11,.0f}{row['ms_per_step']:9.2f}",
            *(f"{'' if row[key] is None else format(row[key], '.2f'):>{width}s}" for key, width in
              (("speed", 8), ("of_limit", 10), ("test_loss", 11))),
        ]  # fmt: skip
        print(f"{name:14s}{''.join(cells)}")
    result: dict[str, Any] = {"machine": machine, "epochs": options.epochs, "table": table}
    for name in FAST:
        if {name, "examples"} <= taken.keys():
            whole, (runs, loss) = sum(taken["examples"][0]), taken[name]
            result[name] = {"seconds": median[name], "all_seconds": runs, "test_loss": loss}
            result[name] |= {"examples_seconds": whole, "speed": whole / median[name]}
            print(
                f"\n{name}: {loss:.2f} nats after {median[name]:.2f} s (first run {runs[0]:.2f} s); examples: "
                f"{taken['examples'][1]:.2f} nats after {whole:.1f} s, {whole / median[name]:.1f} times as long"
            )
    if "fp32" in taken:
        result["growth"] = _growth(options.data_root, options.device)
        print("\n" + ", ".join(f"{name} {value:.2f}" for name, value in result["growth"].items()))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
