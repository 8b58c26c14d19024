"""Randomness as a function of a seed: nothing here leaves a trace in torch's global state."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import IntEnum
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from mnistvae._checks import check_seed
from mnistvae.errors import SettingError, type_name

__all__ = ["Stream", "batch_noise", "derive_seed", "drawing_from", "noise_for_rows", "rows_here", "seeded"]


class Stream(IntEnum):
    """Uses of a seed, each of which has a stream of random numbers of its own."""

    ORDER = 0
    BINARIZATION = 1
    TRAINING = 2
    VALIDATION = 3
    FITTING = 4
    SPLIT = 5
    SHAPES = 6
    LABELS = 7


def derive_seed(seed: int, *path: int) -> int:
    """A 63-bit seed that depends on ``seed`` and on ``path`` (a stream, an epoch, ...), and on nothing else.

    Neighbouring seeds and epochs give unrelated streams (numpy's ``SeedSequence``).

    Raises:
        SettingError: If ``seed`` is no integer from 0 to 2**63 - 1.
    """
    words = np.random.SeedSequence(entropy=check_seed(seed), spawn_key=path).generate_state(1, np.uint64)
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
        raise SettingError("a torch.Generator", type_name(seed), "torch.Generator().manual_seed(0)")
    if isinstance(seed, torch.Generator):
        seed = _draw_seed(seed)
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


class _Injected(TorchFunctionMode):
    """Torch's random functions draw from a generator, in this thread, where nobody has said from which."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.generator = generator

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if getattr(func, "__name__", "") in _RANDOM and kwargs.get("generator") is None:
            kwargs["generator"] = self.generator
        return func(*args, **kwargs)


#: Names of torch's functions that draw random numbers and take a generator.
_RANDOM = frozenset(
    {"rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial", "poisson", "binomial"}
    | {"_standard_gamma", "_sample_dirichlet", "bernoulli_", "cauchy_", "exponential_", "geometric_", "log_normal_"}
    | {"normal_", "random_", "uniform_"}
)


@contextmanager
def drawing_from(generator: torch.Generator | None, device: torch.device) -> Iterator[Callable[..., Tensor]]:
    """A block that is given a function to call other functions with, which then draw from a generator.

    Torch's distributions know only the global generators, which threads share. Within such a call random functions get
    another one, seeded by one draw of the generator that was given: the numbers are those that the global ones of the
    device would give under this seed. ``None`` leaves everything as it is.

    Args:
        generator: A generator, on any device.
        device: Device of what is drawn.
    """
    if generator is None:
        yield lambda function, *args: function(*args)
    elif device.type not in {"cpu", "cuda"}:
        with seeded(generator, device):
            yield lambda function, *args: function(*args)
    else:
        own = torch.Generator(device).manual_seed(_draw_seed(generator))

        def draw(function: Callable[..., Tensor], *args: Any) -> Tensor:
            with _Injected(own):
                return function(*args)

        yield draw


def _draw_seed(generator: torch.Generator) -> int:
    if not isinstance(generator, torch.Generator):
        raise SettingError("a torch.Generator", type_name(generator), "torch.Generator().manual_seed(0)")
    return int(torch.randint(2**62, (), generator=generator, device=generator.device))


#: Which rows of a larger batch the present one is, and how many that has.
_ROWS: ContextVar[tuple[slice, int] | None] = ContextVar("rows", default=None)


@contextmanager
def noise_for_rows(rows: slice, of: int) -> Iterator[None]:
    """A block whose batches are ``rows`` of larger ones, and get the noise that those rows would have there."""
    token = _ROWS.set((rows, of))
    try:
        yield
    finally:
        _ROWS.reset(token)


def rows_here() -> tuple[slice, int] | None:
    """The rows of a larger batch that the present one is, and its size, as :func:`noise_for_rows` says; else None."""
    return _ROWS.get()


def batch_noise(
    shape: torch.Size, dtype: torch.dtype, device: torch.device, draw: Callable[..., Tensor] = torch.randn
) -> Tensor:
    """Noise (..., B, D) for a batch, or for what :func:`noise_for_rows` says that it is; standard normal by default.

    A batch may be repeated, as it is by an objective that asks about each class, whole after whole.
    """
    larger = _ROWS.get()
    if larger is None or len(shape) < 2 or shape[-2] % (larger[0].stop - larger[0].start):
        return draw(shape, dtype=dtype, device=device)
    rows, of = larger
    times = shape[-2] // (rows.stop - rows.start)
    whole = draw((*shape[:-2], times, of, shape[-1]), dtype=dtype, device=device)
    return whole[..., rows, :].reshape(shape)
