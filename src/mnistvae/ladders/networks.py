"""Networks of a ladder: the way up from the image, the way down through the levels, and what is read on it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mnistvae.distributions import DiagonalNormal
from mnistvae.images import ImageShape
from mnistvae.ladders.levels import MOST_HALVINGS, Level, channels_of, grid_of
from mnistvae.networks.blocks import halvings
from mnistvae.networks.resnet import ResidualBlock, group_norm

__all__ = ["TopDown", "bottom_up", "head", "join", "normal_of", "read_out"]

#: Bound of a level's log-variance, and of its change from prior to posterior.
_LOGVAR = 8.0


class TopDown(nn.Module):
    """The states of a way down: a learned one, into which the codes of the levels are taken one by one.

    Args:
        levels: Levels that are taken in.
        hidden: Width of the state.
        blocks: Residual blocks after each level.
        ends: The size at which the last state is wanted.
    """

    def __init__(self, levels: Sequence[Level], hidden: int, blocks: int, ends: Level) -> None:
        super().__init__()
        first, *after = [*levels, ends]
        self.start = nn.Parameter(0.1 * torch.randn(1, hidden, *grid_of(first)))
        self.taking = nn.ModuleList(layer(channels_of(level), hidden, grid=grid_of(level)) for level in levels)
        self.shapes = [(channels_of(level), *grid_of(level)) for level in levels]
        self.blocks = nn.ModuleList()
        for level, following in zip(levels, after, strict=True):
            grown = [] if grid_of(level) == grid_of(following) else [nn.Upsample(grid_of(following))]
            self.blocks.append(nn.Sequential(*grown, *(_block(hidden, grid_of(following)) for _ in range(blocks))))

    def begin(self, n: int) -> Tensor:
        """The state above the top level of n codes."""
        return self.start.expand(n, *self.start.shape[1:])

    def forward(self, number: int, state: Tensor, z: Tensor) -> Tensor:
        """The state below a level, from that above it and the level's code (n, size)."""
        taken: Tensor = self.blocks[number](state + self.taking[number](z.reshape(-1, *self.shapes[number])))
        return taken


class _ResidualLayer(nn.Module):
    """A residual block of linear layers; at first it is the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        last = nn.Linear(width, width)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.step = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU(), last)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.step(x)
        return out


def _block(width: int, grid: tuple[int, ...]) -> nn.Module:
    return ResidualBlock(width) if grid else _ResidualLayer(width)


def layer(before: int, after: int, grid: tuple[int, ...]) -> nn.Linear | nn.Conv2d:
    """A linear map, or a convolution on a grid."""
    if not grid:
        return nn.Linear(before, after)
    return nn.Conv2d(before, after, 3, padding=1)


def read_out(width: int, last: nn.Module, *, grid: bool) -> nn.Sequential:
    """The state, normalised on grids, and activated, then a last layer.

    Without a grid nothing is normalised: a ladder of linear layers then gets much further in the same steps.
    """
    return nn.Sequential(*([group_norm(width)] if grid else []), nn.SiLU(), last)


def head(width: int, level: Level) -> nn.Sequential:
    """From the state to means and log-variances, which are zero at first."""
    last = layer(width, 2 * channels_of(level), grid_of(level))
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)  # type: ignore[arg-type]
    return read_out(width, last, grid=bool(grid_of(level)))


def join(width: int, level: Level) -> nn.Sequential:
    """From state and features to the change of means and log-variances; small at first, or a level may stay silent."""
    first, last = layer(2 * width, width, grid_of(level)), layer(width, 2 * channels_of(level), grid_of(level))
    return nn.Sequential(first, *read_out(width, last, grid=bool(grid_of(level))))


def bottom_up(
    levels: tuple[Level, ...], image_shape: ImageShape, hidden: int, blocks: int
) -> tuple[nn.Module, nn.ModuleList]:
    """The first layer, and the networks that give the features of each level, from the lowest up."""
    if not isinstance(levels[0], tuple):
        up = [nn.Sequential(*(_block(hidden, ()) for _ in range(blocks))) for _ in levels]
        return nn.Linear(math.prod(image_shape), hidden), nn.ModuleList(up)
    stride = 1 if grid_of(levels[-1]) == tuple(image_shape[1:]) else 2
    first = nn.Conv2d(image_shape[0], hidden, 3, stride=stride, padding=1)
    sides = halvings(image_shape, MOST_HALVINGS)
    at, networks = sides[stride - 1], []
    for level in reversed(levels):
        network: list[nn.Module] = []
        while at != grid_of(level):
            network.append(nn.Conv2d(hidden, hidden, 3, stride=2, padding=1))
            at = sides[sides.index(at) + 1]
        networks.append(nn.Sequential(*network, *(_block(hidden, at) for _ in range(blocks))))
    return first, nn.ModuleList(networks)


def normal_of(parameters: Tensor, dtype: torch.dtype) -> DiagonalNormal:
    """Means and bounded log-variances, (N, size) each, as a normal; its maths is done in ``dtype``."""
    mu, logvar = parameters.to(dtype).chunk(2, dim=1)  # under autocast they come in bfloat16
    return DiagonalNormal(mu.flatten(1), _LOGVAR * (logvar.flatten(1) / _LOGVAR).tanh())
