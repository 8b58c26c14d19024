"""What a GPU does: whether its recorded steps are the steps computed as usual, and how long an epoch takes.

    MNISTVAE_DATA=FOLDER python benchmarks/gpu.py [--minutes 2.5] [--epochs 12] [--flow-minutes 2] [--json FILE]

First, for several recipes, 30 steps as usual are compared with 30 recorded ones, taken one by one and eight at a time;
a run is stopped and resumed; and a loss that cannot be recorded has to be trained as usual. Then an epoch of the recipe
``mlp-20`` is timed, in batches of 128 and of 8192: as usual, recorded, recorded in bf16, recorded and compiled. Each
contender is a process of its own, and they take turns, an epoch each; medians leave out the epoch in which a step is
recorded or compiled. Then ``resnet-flow`` is trained for ``--flow-minutes`` (2), and its likelihood measured. Without
MNISTVAE_DATA the images are random, which takes as long, and there is no ``resnet-flow``.

Each part stands alone: one that fails shows its traceback and the next begins. All figures come last, as JSON.
``--device cpu`` tries the script out where there is no GPU (nothing is recorded then).
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import multiprocessing
import os
import signal
import statistics
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import mnistvae as mv
from mnistvae.commands._pace import measure_pace
from mnistvae.objectives import ELBO, Terms
from mnistvae.training import Callback, Checkpoint, Interrupted, State

RECIPES = (
    "mlp-20",
    "mlp-20-fast",
    "kingma2014",
    "iwae-50",
    "vamp",
    "gaussian-mlp",
    "conditional",
    "conv",
    "beta-conv",
    "resnet-flow",
)
STEPS = 30
CONTENDERS: dict[str, dict[str, Any]] = {
    "eager": {"cuda_graph": False},
    "graph": {},
    "graph+bf16": {"precision": "bf16"},
    "graph+compile": {"compile": True},
}


def images(root: str | None, n: int = 60_000) -> mv.ImageDataset:
    """MNIST's training digits, or random images where they are not here."""
    if root:
        return mv.load_dataset("mnist", "train", root)[:n]
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (n, 1, 28, 28), generator=generator, dtype=torch.uint8)
    return mv.ImageDataset(pixels * (torch.rand(n, 1, 28, 28, generator=generator) < 0.2), torch.arange(n) % 10)


def rate_on_device(make: Any, device: str, weights: Any, lr: float) -> torch.optim.Optimizer:
    """An optimizer as a recorded step has it, for steps computed as usual, so that both round alike."""
    optimizer: torch.optim.Optimizer = make(weights, lr=lr)
    for group in optimizer.param_groups:
        group |= {"capturable": True, "fused": True, "lr": torch.tensor(float(group["lr"]), device=device)}
    return optimizer


class EachStep(Callback):
    """Keeps steps apart, as any callback that is called after each does."""

    def on_batch_end(self, state: State, n: int) -> None:
        pass


class StopAt(EachStep):
    """Ctrl-C after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_batch_end(self, state: State, n: int) -> None:
        if state.step == self.step:
            os.kill(os.getpid(), signal.SIGINT)


class Reading(ELBO):
    """A loss that reads a value, which a recording GPU refuses."""

    def forward(self, model: Any, x: Tensor, y: Tensor | None = None) -> Terms:
        terms = super().forward(model, x, y)
        return terms._replace(loss=terms.loss * (1.0 if float(terms.kl.detach().sum()) > -1 else 2.0))


def run(
    name: str, data: mv.ImageDataset, device: str, *callbacks: Callback, resume: Any = None, **how: Any
) -> tuple[dict[str, Tensor], list[float], list[str]]:
    """The weights after some steps of a recipe, the losses of its epochs, and what it warned of."""
    recipe = mv.recipes.get(name)
    settings = {**recipe.training, "steps": STEPS, "epochs": 9, "progress": False, "device": device, "seed": 1, **how}
    settings["optimizer"] = functools.partial(rate_on_device, recipe.trainer().optimizer, device)
    model = recipe.model(seed=1)
    if how.pop("objective", None) is not None:
        model.objective = settings.pop("objective")
    part = data[: 12 * settings["batch_size"] + 17]  # epochs of 12 full batches and a smaller one
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        history = mv.Trainer(**settings, callbacks=callbacks).fit(model, part, resume=resume)
    weights = {key: tensor.detach().cpu() for key, tensor in model.state_dict().items()}
    return weights, history.column("loss"), [str(warning.message)[:200] for warning in warned]


def apart(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    """The largest difference of two sets of weights, over their largest weight; 0 if they are equal to the bit."""
    if all(torch.equal(a[key], b[key]) for key in a):
        return 0.0
    floats = [key for key in a if a[key].is_floating_point()]
    largest = max(float(a[key].abs().max()) for key in floats)
    return max(float((a[key] - b[key]).abs().max()) for key in floats) / largest


def check_recipe(name: str, data: mv.ImageDataset, device: str) -> dict[str, Any]:
    """Steps as usual beside recorded ones, and beside themselves: a device may add in no fixed order."""
    usual, losses, _ = run(name, data, device, cuda_graph=False)
    again = run(name, data, device, cuda_graph=False)[0]
    one, one_losses, warned = run(name, data, device, EachStep())
    many, _, more = run(name, data, device)
    found = {
        "usual again": apart(usual, again),
        "recorded one by one": apart(usual, one),
        "recorded eight at a time": apart(usual, many),
        "losses": max(abs(a - b) / abs(a) for a, b in zip(losses, one_losses, strict=True)),
        "warnings": sorted({*warned, *more}),
    }
    room = max(1e-4, 10 * found["usual again"])
    ok = max(found["recorded one by one"], found["recorded eight at a time"]) <= room and not found["warnings"]
    return {"ok": ok, **found}


def check_resume(name: str, data: mv.ImageDataset, device: str) -> dict[str, Any]:
    """A run that is stopped in mid-epoch and resumed, beside one that is not."""
    how: dict[str, Any] = {"ema": 0.9, "binarization": "dynamic"}
    whole = run(name, data, device, **how)[0]
    with tempfile.TemporaryDirectory() as folder:
        try:
            run(name, data, device, Checkpoint(folder), StopAt(17), **how)
        except Interrupted as error:
            print(f"  {error}")
        resumed, _, warned = run(name, data, device, Checkpoint(folder), resume=folder, **how)
    difference = apart(whole, resumed)
    return {"ok": difference <= 1e-4, "apart": difference, "warnings": warned}


def check_fallback(data: mv.ImageDataset, device: str) -> dict[str, Any]:
    """A loss that cannot be recorded: a warning, and the steps as usual."""
    usual = run("mlp-20", data, device, cuda_graph=False, objective=Reading())[0]
    instead, _, warned = run("mlp-20", data, device, objective=Reading())
    difference = apart(usual, instead)
    ok = difference <= 1e-4 and (device == "cpu" or any("without a CUDA graph" in text for text in warned))
    return {"ok": ok, "apart": difference, "warnings": warned}


class Turns(Callback):
    """Waits for its turn after each epoch."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe

    def on_epoch_end(self, state: State) -> None:
        self.pipe.send(state.history[-1]["seconds"])
        self.pipe.recv()


def contend(name: str, batch_size: int, root: str | None, device: str, epochs: int, n: int, pipe: Connection) -> None:
    """One contender, in its process."""
    try:
        pipe.recv()
        recipe = mv.recipes.get("mlp-20")
        how = {"batch_size": batch_size, "epochs": epochs, "progress": False, "device": device, **CONTENDERS[name]}
        recipe.trainer(**how, callbacks=[Turns(pipe)]).fit(recipe.model(seed=0), images(root, n))
    except Exception:  # noqa: BLE001 (whatever it is, the others go on)
        with suppress(OSError):  # nobody listens any more
            pipe.send(traceback.format_exc())


def race(batch_size: int, root: str | None, device: str, epochs: int, n: int, deadline: float) -> dict[str, Any]:
    """Seconds an epoch of each contender, in turns."""
    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    seconds: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    processes = []
    for name in CONTENDERS:
        pipes[name], theirs = context.Pipe()
        process = context.Process(target=contend, args=(name, batch_size, root, device, epochs, n, theirs), daemon=True)
        process.start()
        theirs.close()
        processes.append(process)
    failures: dict[str, str] = {}
    for _ in range(epochs):
        for name in [name for name in CONTENDERS if name not in failures]:
            try:
                pipes[name].send("go")
                answer = (
                    pipes[name].recv() if pipes[name].poll(max(1.0, deadline - time.monotonic())) else "no time left"
                )
            except (EOFError, OSError) as error:
                answer = f"the process ended: {error!r}"
            if isinstance(answer, str):
                failures[name] = answer
                print(f"  {name}: {answer}")
            else:
                seconds[name].append(answer)
        if time.monotonic() > deadline:
            break
    for process in processes:
        process.terminate()
        process.join(5)
    kept = {name: taken[2:] for name, taken in seconds.items() if len(taken) > 2}
    medians = {name: statistics.median(taken) for name, taken in kept.items()}
    base = medians.get("eager")
    for name, median in medians.items():
        ratio = f"{base / median:6.1f} times eager" if base else ""
        print(f"  batch {batch_size:5d}  {name:14s} {1e3 * median:9.1f} ms an epoch {ratio}", flush=True)
    ratios = {name: base / median for name, median in medians.items()} if base else {}
    return {"seconds": medians, "times_eager": ratios, "all_seconds": seconds, "failures": failures}


def train_flow(root: str, device: str, minutes: float, images: int, samples: int) -> dict[str, Any]:
    """The likelihood of ``resnet-flow`` after some minutes on the whole MNIST, with a course that ends with them."""
    recipe = mv.recipes.get("resnet-flow")
    train, test = (mv.load_dataset("mnist", split, root) for split in ("train", "test"))
    changes = {"learning_rate": 2e-3, "schedule": "one-cycle", "ema": 0.999, "clip_norm": 10.0, "precision": "auto"}
    how: dict[str, Any] = {**changes, "device": device, "progress": False, "seed": 0}
    pace = measure_pace(recipe, {}, how, train, device)
    epochs = pace.epochs_in(minutes)
    model = recipe.model(seed=0)
    history = recipe.trainer(**how, epochs=epochs).fit(model, train)
    estimate = mv.metrics.importance_sampled_nll(model, test[:images].binarized("static", seed=0), samples)
    found = {"epochs": epochs, "seconds": sum(history.column("seconds")), "seconds_an_epoch": history[-1]["seconds"]}
    likelihood = {"nll": estimate.mean, "standard_error": estimate.standard_error, "images": images, "samples": samples}
    return {"ok": estimate.mean < 200, **found, **likelihood}


def attempt(results: dict[str, Any], name: str, deadline: float, part: Callable[[], dict[str, Any]]) -> None:
    """Do one part, note what it found, and go on whatever happens."""
    started = time.monotonic()
    if started > deadline:
        results[name] = {"skipped": "no time left"}
    else:
        try:
            results[name] = part()
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 (the next part may work)
            traceback.print_exc()
            results[name] = {"ok": False, "error": f"{type(error).__name__}: {error}"[:500]}
    shown = {key: value for key, value in results[name].items() if key not in {"all_seconds", "seconds"}}
    print(f"{name} ({time.monotonic() - started:.1f} s): {shown}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", default=os.environ.get("MNISTVAE_DATA"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, default=2.5, help="for all but resnet-flow")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--flow-minutes", type=float, default=2.0)
    parser.add_argument("--flow-images", type=int, default=2000, help="test digits of its likelihood")
    parser.add_argument("--flow-samples", type=int, default=500)
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results: dict[str, Any] = {"torch": torch.__version__, "device": options.device}
    if options.device != "cpu" and not torch.cuda.is_available():
        print("There is no CUDA device here: nothing was measured. --device cpu tries the script out.")
        results["device"] = None
    else:
        deadline = time.monotonic() + 60 * options.minutes
        if options.device != "cpu":
            results["device"] = torch.cuda.get_device_name()
            torch.backends.cudnn.deterministic = True
        print(f"{results['device']}, torch {torch.__version__}", flush=True)
        try:
            data = images(options.data_root, 10_000)
        except Exception:  # noqa: BLE001 (random images take as long)
            traceback.print_exc()
            options.data_root, data = None, images(None, 10_000)
        results["images"] = "mnist" if options.data_root else "random"
        for name in options.recipes:
            attempt(results, f"steps of {name}", deadline, functools.partial(check_recipe, name, data, options.device))
        for name in ("mlp-20", "conv"):
            attempt(results, f"resume of {name}", deadline, functools.partial(check_resume, name, data, options.device))
        for batch_size in (128, 8192):
            how = (batch_size, options.data_root, options.device, options.epochs, options.images)
            attempt(results, f"epochs in batches of {batch_size}", deadline, functools.partial(race, *how, deadline))
        if options.data_root and options.flow_minutes:
            size = options.flow_images, options.flow_samples
            flow = functools.partial(train_flow, options.data_root, options.device, options.flow_minutes, *size)
            attempt(results, "resnet-flow", math.inf, flow)
        # Last: a recording that fails may leave the device in a state of its own.
        attempt(results, "fallback", deadline, functools.partial(check_fallback, data, options.device))
        results["ok"] = all(part.get("ok", True) for part in results.values() if isinstance(part, dict))
    text = json.dumps(results, indent=1)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
