"""The moving averages by which a codebook follows vectors, as functions of tensors."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from mnistvae._random import rows_here

__all__ = ["BatchStatistics", "Statistics", "averaged", "moved", "statistics_of"]


class Statistics(NamedTuple):
    """A codebook and the averages that it is made of."""

    #: The vectors e, (K, D).
    vectors: Tensor
    #: Averages N of the number of vectors that are nearest to each, (K,).
    counts: Tensor
    #: Averages m of their sums, (K, D).
    sums: Tensor


class BatchStatistics(NamedTuple):
    """The vectors of a batch, by their tokens."""

    #: Number of vectors of each token, (K,).
    counts: Tensor
    #: Their sums, (K, D).
    sums: Tensor
    #: Vectors of the batch drawn at random, (K, D): where a dead vector begins anew.
    drawn: Tensor


def statistics_of(flat: Tensor, tokens: Tensor, size: int, places: int) -> BatchStatistics:
    """The statistics of a batch; of one that several processes share, those of the whole.

    Args:
        flat: The vectors of B images, (B * places, D).
        tokens: The token of each, (B * places,).
        size: K, the number of tokens.
        places: Vectors of an image.
    """
    counts = flat.new_zeros(size).index_add(0, tokens, torch.ones_like(flat[:, 0]))
    shared = rows_here()
    rows, images = shared if shared is not None else (slice(0, flat.shape[0] // places), flat.shape[0] // places)
    # Every process draws the same places of the whole batch, and gives the vectors of its own.
    chosen = (torch.rand(size, device=flat.device) * (images * places)).long() - rows.start * places
    own = (chosen >= 0) & (chosen < flat.shape[0])
    padded = torch.cat([flat, flat.new_zeros(1, flat.shape[1])])
    drawn = padded[torch.where(own, chosen, flat.shape[0])]
    found = BatchStatistics(counts, _sums(flat, tokens, size), drawn)
    if shared is not None and dist.is_initialized() and dist.get_world_size() > 1:
        whole = torch.cat([found.counts[:, None], found.sums, found.drawn], dim=1)
        whole *= dist.get_rank() < images  # the images of a process for which there are none are another's
        dist.all_reduce(whole)
        width = flat.shape[1]
        found = BatchStatistics(whole[:, 0], whole[:, 1 : 1 + width], whole[:, 1 + width :])
    return found


def _sums(flat: Tensor, tokens: Tensor, size: int) -> Tensor:
    """The sum of the vectors of each token, (K, D), always in the same order."""
    if flat.device.type == "cpu":
        return flat.new_zeros(size, flat.shape[1]).index_add(0, tokens, flat)
    of_token = torch.zeros(flat.shape[0], size, dtype=flat.dtype, device=flat.device).scatter(1, tokens[:, None], 1.0)
    with torch.autocast(flat.device.type, enabled=False):
        return of_token.T @ flat


def averaged(now: Statistics) -> Tensor:
    """The vectors by their averages, (K, D); those that nothing was ever near to stay."""
    least = torch.finfo(now.counts.dtype).tiny
    used = now.counts > least
    return torch.where(used[:, None], now.sums / now.counts.clamp_min(least)[:, None], now.vectors)


def moved(now: Statistics, batch: BatchStatistics, decay: float, restart: float) -> Statistics:
    """A codebook's averages after a batch; its vectors stay as they are.

    Args:
        now: The codebook and its averages.
        batch: The statistics of the batch.
        decay: Decay gamma of the averages.
        restart: Share of the mean of all counts below which a vector begins anew at the drawn one.
    """
    counts = decay * now.counts + (1 - decay) * batch.counts
    sums = decay * now.sums + (1 - decay) * batch.sums
    if restart:
        # With so little weight it is drawn again in the next batch, unless some of that is near to it.
        least = restart * counts.mean()
        dead = counts < least
        counts = torch.where(dead, least, counts)
        sums = torch.where(dead[:, None], batch.drawn * least, sums)
    return Statistics(now.vectors, counts, sums)
