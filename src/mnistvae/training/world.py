"""Several processes that train one model, as ``torchrun`` starts them.

Every process makes the same global batch and works on its own rows of it; noise is drawn for the whole batch and cut
the same way. So the result depends on the global batch alone, and not on how many processes share it.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["ALONE", "World", "joined", "rank_here", "restarted"]


def rank_here() -> int:
    """Number of this process among those that ``torchrun`` started; 0 on its own."""
    return int(os.environ.get("RANK", "0"))


def restarted() -> bool:
    """True if ``torchrun`` started this process in place of one that failed."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


@dataclass(frozen=True)
class World:
    """The processes of a run, and which of them this one is."""

    rank: int = 0
    size: int = 1

    @property
    def writes(self) -> bool:
        """True in the one process that writes files and shows progress."""
        return self.rank == 0

    def rows(self, n: int) -> slice:
        """This process's share of ``n`` rows; the first processes have one more where shares cannot be equal.

        Example:
            >>> [World(rank, 3).rows(8) for rank in range(3)]
            [slice(0, 3, None), slice(3, 6, None), slice(6, 8, None)]
        """
        share, more = divmod(n, self.size)
        start = self.rank * share + min(self.rank, more)
        return slice(start, start + share + (self.rank < more))

    def share(self, n: int) -> tuple[slice, int]:
        """The rows of ``n`` that this process computes, and the number of those that count.

        A process that is left without any computes the first row, which counts for nothing there: a network may not
        take an empty batch, and every process must have all gradients.

        Example:
            >>> [World(rank, 3).share(2) for rank in range(3)]
            [(slice(0, 1, None), 1), (slice(1, 2, None), 1), (slice(0, 1, None), 0)]
        """
        rows = self.rows(n)
        count = rows.stop - rows.start
        return (rows, count) if count else (slice(0, 1), 0)

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over the processes, in one exchange."""
        if self.size == 1:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(flat)
        for tensor, summed in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(summed.view_as(tensor))

    def wait(self) -> None:
        """Wait until all processes have come here."""
        if self.size > 1:
            dist.barrier()


#: A process on its own.
ALONE = World()
#: Numbers the groups that this process has joined, as the others number theirs.
_GROUPS = itertools.count()


@contextmanager
def joined(device: torch.device) -> Iterator[World]:
    """A block in which this process belongs to those that ``torchrun`` started with it; alone where it did not."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    already = dist.is_initialized()
    if not already:
        store, rank, size = next(dist.rendezvous("env://"))  # type: ignore[attr-defined]
        # What an earlier attempt or group left in the store is about addresses where nobody listens any more.
        attempt = f"{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}-{next(_GROUPS)}"
        dist.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            store=dist.PrefixStore(f"attempt-{attempt}", store),  # type: ignore[attr-defined]
            rank=rank,
            world_size=size,
        )
    try:
        world = World(dist.get_rank(), dist.get_world_size())
        yield world
        world.wait()  # a process that leaves while another still works may be torn down in the middle of a message
    finally:
        if not already:
            dist.destroy_process_group()
