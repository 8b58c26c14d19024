"""Randomness as a function of a seed: nothing here leaves a trace in torch's global state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

import numpy as np
import torch

from mnistvae.errors import SettingError

__all__ = ["Stream", "derive_seed", "seeded"]


class Stream(IntEnum):
    """What randomness is for: each use of a seed has a stream of its own."""

    ORDER = 0
    BINARIZATION = 1
    TRAINING = 2
    VALIDATION = 3
    FITTING = 4


def derive_seed(seed: int, *path: int) -> int:
    """A 63-bit seed that depends on ``seed`` and on ``path`` (a stream, an epoch, ...), and on nothing else.

    Neighbouring seeds and epochs give unrelated streams (numpy's ``SeedSequence``).
    """
    words = np.random.SeedSequence(entropy=seed, spawn_key=path).generate_state(1, np.uint64)
    return int(words[0] >> np.uint64(1))


@contextmanager
def seeded(seed: int | torch.Generator | None, device: torch.device | str = "cpu") -> Iterator[None]:
    """Run a block under ``seed``, then put the global generators back where they were.

    ``torch.distributions`` and ``torch.nn.init`` draw from the global generators only, so this is the
    way to make them repeatable. A generator gives one draw as the seed (and so moves on); ``None``
    leaves everything as it is.
    """
    if seed is None:
        yield
        return
    if not isinstance(seed, int | torch.Generator) or isinstance(seed, bool):
        raise SettingError("a torch.Generator", f"a {type(seed).__name__}", "torch.Generator().manual_seed(0)")
    if isinstance(seed, torch.Generator):
        seed = int(torch.randint(2**62, (), generator=seed, device=seed.device))
    device = torch.device(device)
    cuda = [device.index or 0] if device.type == "cuda" else []
    mps = torch.mps.get_rng_state() if device.type == "mps" else None
    with torch.random.fork_rng(devices=cuda):
        torch.default_generator.manual_seed(seed)
        if cuda:
            torch.cuda.manual_seed(seed)
        if mps is not None:
            torch.mps.manual_seed(seed)
        try:
            yield
        finally:
            if mps is not None:
                torch.mps.set_rng_state(mps)
