"""What all tests share: a seed, the settings of Hypothesis, and the whole MNIST."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

from mnistvae.training.callbacks import doctor

settings.register_profile(
    "mnistvae",
    deadline=None,
    max_examples=30,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.load_profile("mnistvae")

# The tensors of tests are tiny: handing them from thread to thread would take most of the time.
torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> Iterator[None]:
    """Ctrl-C has its usual handler, also in what is started here: a shell's background job ignores it."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session", autouse=True)
def _whoever_else_computes() -> None:
    """The Doctor does not say that the machine is busy: that is of the machine that runs the tests, not of the code."""
    doctor._LONG = math.inf


@pytest.fixture(autouse=True)
def _seeded() -> None:
    # torch.manual_seed would format the whole stack three times, for kinds of devices that are not in use.
    torch.default_generator.manual_seed(0)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(0)


@pytest.fixture(scope="session")
def mnist_root() -> Path:
    """The whole MNIST, where the machine has it."""
    root = os.environ.get("MNISTVAE_DATA")
    if not root or not (Path(root) / "MNIST" / "raw" / "train-images-idx3-ubyte").exists():
        pytest.skip("the whole MNIST is not here: set MNISTVAE_DATA to a folder in torchvision's layout")
    return Path(root)
