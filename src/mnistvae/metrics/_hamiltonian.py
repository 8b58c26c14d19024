"""Annealing by Hamiltonian Monte Carlo: many chains of many images at once, from one density over codes to another.

Nothing here knows of models: a density is a function that gives a :class:`Point` for each code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from mnistvae.arrays import with_double

__all__ = ["Annealed", "Evaluate", "Hamiltonian", "Point", "anneal", "leapfrog", "transition"]

#: Share of the moves that is to be accepted. Wu et al. have 0.65, the best for a long way in many dimensions; with 0.8
#: there were a fifth more effective chains in 16 and 20 dimensions, and more still in most cases of 2.
_ACCEPTED = 0.8
#: How far the logarithm of a step goes for a share that is off by one.
_GAIN = 0.3
#: Steps of a move are drawn within this part of their length, or a periodic orbit might end where it began.
_JITTER = 0.2


class Point(NamedTuple):
    """Codes of S chains for each of B images, with the densities of a path there and their gradients."""

    #: Codes, (S, B, D).
    z: Tensor
    #: Logarithm of the density at the start of the path, (S, B).
    base: Tensor
    #: Logarithm of the density at its end over that at its start, (S, B).
    tilt: Tensor
    #: Gradients of both in the codes, (S, B, D).
    base_slope: Tensor
    tilt_slope: Tensor

    def log_density(self, beta: float) -> Tensor:
        """Logarithm of the density at a place on the path, from 0 to 1, up to a constant, (S, B)."""
        return self.base + beta * self.tilt

    def slope(self, beta: float) -> Tensor:
        """Gradient of it, (S, B, D)."""
        return self.base_slope + beta * self.tilt_slope


#: From codes (S, B, D) to their point.
Evaluate: TypeAlias = Callable[[Tensor], Point]


class Hamiltonian(NamedTuple):
    """A kind of move: the path, how many leapfrog steps, and the length of a step in each dimension for a step of 1."""

    evaluate: Evaluate
    leapfrog_steps: int
    #: (B, D).
    scale: Tensor


class Annealed(NamedTuple):
    """Weights of S chains of each of B images, and the moves that led to them."""

    #: Logarithms of their weights, (S, B), float64.
    log_weights: Tensor
    #: Share of the moves that were accepted, (B,), float64; NaN where there were none.
    acceptance: Tensor
    #: The steps of the moves in their order, (T - 2, B).
    steps: Tensor


def leapfrog(kind: Hamiltonian, here: Point, momentum: Tensor, beta: float, step: Tensor) -> tuple[Point, Tensor]:
    r"""A way through the Hamiltonian flow of a density, which preserves volume and can be walked back.

    .. math:: p \leftarrow p + \tfrac{\epsilon}{2} \nabla \log f(z), \quad z \leftarrow z + \epsilon p, \quad
        p \leftarrow p + \tfrac{\epsilon}{2} \nabla \log f(z)

    Neal (2011), section 2.3, in coordinates whose unit is ``kind.scale``.

    Args:
        kind: The kind of move.
        here: Where it starts.
        momentum: p, (S, B, D).
        beta: Place on the path of densities.
        step: Length of a step, (S, B).
    """
    length = step[..., None] * kind.scale
    for _ in range(kind.leapfrog_steps):
        half = momentum + 0.5 * length * here.slope(beta)
        moved = here.z + length * half
        # A way that runs off to infinity is not accepted; distributions may refuse to look at such codes.
        here = kind.evaluate(torch.where(moved.isfinite(), moved, here.z))
        momentum = half + 0.5 * length * here.slope(beta)
    return here, momentum


def transition(kind: Hamiltonian, here: Point, beta: float, step: Tensor) -> tuple[Point, Tensor, Tensor]:
    r"""A move that leaves a density as it is: along the flow from a random momentum, or none.

    .. math:: P(\text{accept}) = \min\left(1, \exp\left(\log f(z') - \tfrac{1}{2} \|p'\|^2
        - \log f(z) + \tfrac{1}{2} \|p\|^2\right)\right)

    Neal (2011), section 3.2; the step is drawn anew for each move (section 4.2 there).

    Args:
        kind: The kind of move.
        here: Where the chains are.
        beta: Place on the path of densities.
        step: Length of a step for each image, (B,).

    Returns:
        Where the chains are then; the probability, (S, B), with which each move was accepted; and whether it was.
    """
    drawn = step * (1 + _JITTER * (2 * torch.rand_like(here.base) - 1))
    momentum = torch.randn_like(here.z)
    there, last = leapfrog(kind, here, momentum, beta, drawn)
    gain = there.log_density(beta) - here.log_density(beta) + 0.5 * (momentum.square() - last.square()).sum(-1)
    probability = gain.clamp_max(0.0).exp().nan_to_num(0.0)
    accepted = torch.rand_like(probability) < probability
    rows = accepted[..., None]
    pairs = zip(there, here, strict=True)
    chosen = Point(*(torch.where(rows if new.dim() == 3 else accepted, new, old) for new, old in pairs))
    return chosen, probability, accepted


def anneal(
    kind: Hamiltonian, start: Tensor, temperatures: Sequence[float], *, scouts: int = 0, steps: Tensor | None = None
) -> Annealed:
    r"""Take chains along a path of densities, and weigh them.

    .. math:: \log w = \sum_{t=1}^{T - 1} (\beta_t - \beta_{t-1}) \log \frac{f_1(z_{t-1})}{f_0(z_{t-1})}, \qquad
        z_t \sim \mathcal{T}_{\beta_t}(\cdot \mid z_{t-1})

    The mean of w is the ratio of the integrals of the last density and the first, if the chains start from the first.
    Neal (2001), section 2, for a geometric path. From 1 to 0 it is the chain back.

    The steps of an image follow chains of its own, the scouts, which are then left out: moves that depended on the
    chains that are weighed would no longer leave their densities as they are.

    Args:
        kind: The kind of move.
        start: Draws from the density at the first temperature, (S + scouts, B, D).
        temperatures: Places on the path, at least two.
        scouts: Number of chains that look for the steps.
        steps: The steps, (T - 2, B), where they are known; then there are no scouts.
    """
    exact, images = with_double(start.device), start.shape[1]
    chains = start.shape[0] - scouts
    here = kind.evaluate(start)
    log_weights = torch.zeros(here.base.shape, dtype=torch.float64, device=exact)
    accepted = torch.zeros(images, dtype=torch.float64, device=exact)
    log_step = start.new_full((images,), -0.25 * math.log(start.shape[2]))  # where a normal is accepted often
    moves = len(temperatures) - 2
    known, taken = steps, start.new_empty(moves, images)
    for number, (before, beta) in enumerate(pairwise(temperatures)):
        log_weights += (beta - before) * here.tilt.to(exact).double()
        if number == moves:
            break
        taken[number] = log_step.exp() if known is None else known[number]
        here, probability, moved = transition(kind, here, beta, taken[number])
        accepted += moved[:chains].to(exact).double().mean(0)
        if scouts:
            log_step = log_step + _GAIN * (probability[chains:].mean(0) - _ACCEPTED)
    return Annealed(log_weights[:chains], accepted / (moves or math.nan), taken)
