"""Rows of a table that are each trained for the same processor time: what the scripts of such tables have in common."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

import mnistvae as mv

BATCH = 250


def trainer(**more: Any) -> mv.Trainer:
    """The training of every row: Adam with a one-cycle rate, averaged weights, pixels drawn anew in each epoch."""
    adam = functools.partial(torch.optim.Adam, betas=(0.9, 0.99))
    usual = {"batch_size": BATCH, "learning_rate": 2e-3, "schedule": "one-cycle", "ema": 0.999, "optimizer": adam}
    return mv.Trainer(
        **{
            **usual,
            "binarization": "dynamic",
            "clip_norm": 100.0,
            "seed": 0,
            "progress": False,
            "device": "cpu",
            **more,
        }
    )


def train_for(minutes: float, make: Callable[[], mv.VAE], train: mv.ImageDataset, **more: Any) -> dict[str, Any]:
    """A model that was trained for so many minutes of one thread, its epochs, and the minutes that it took.

    The number of epochs is what the minutes allow by the time of 60 steps, which another model of the kind takes.

    Args:
        minutes: Minutes of processor time.
        make: Makes the model.
        train: Images to train on.
        more: Settings of the Trainer.
    """
    torch.manual_seed(0)
    tried = make()
    trainer(steps=10, **more).fit(tried, train)  # what is made once
    started = time.process_time()
    trainer(steps=60, **more).fit(tried, train)
    of_epoch = (time.process_time() - started) / 60 * len(train) / BATCH
    epochs = max(1, int(60 * minutes / of_epoch))
    torch.manual_seed(0)
    model = make()
    started = time.process_time()
    trainer(epochs=epochs, **more).fit(model, train)
    return {"model": model, "epochs": epochs, "minutes": (time.process_time() - started) / 60}


def run_rows(
    script: str, names: Iterable[str], options: Mapping[str, Any], jobs: int
) -> Iterator[dict[str, Any] | None]:
    """The JSON that ``script --row NAME`` prints on its last line, of each row; some run beside each other.

    A row that fails has said why, and is None.
    """
    words = [part for key, value in options.items() for part in (f"--{key}", str(value))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def one(name: str) -> dict[str, Any] | None:
        command = [sys.executable, script, "--row", name, *words]
        done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True, env=environment)
        row: dict[str, Any] | None = None if done.returncode else json.loads(done.stdout.splitlines()[-1])
        return row

    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(one, names)
