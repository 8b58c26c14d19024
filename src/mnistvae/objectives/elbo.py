"""The evidence lower bound, with a weight on its KL term and ways to let it grow."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.distributions import Distribution

from mnistvae._checks import check_choice, check_count, check_number, check_numbers, listed
from mnistvae.distributions import detached, kl_by_dimension
from mnistvae.errors import ComponentError, SettingError
from mnistvae.losses import annealed_capacity, free_bits, kl_by_level, kl_or_estimate, negative_elbo
from mnistvae.objectives.base import LatentVariableModel, Objective, Terms, for_each_code, with_own_terms
from mnistvae.schedules import Schedule, check_schedule, factor_at

__all__ = ["ELBO"]


class ELBO(Objective):
    r"""The negative evidence lower bound, with a weight on its KL term and ways to let it grow.

    .. math:: -\mathbb{E}_{q(z \mid x)}[\log p(x \mid z)] + \beta \, D_{KL}(q(z \mid x) \| p(z))

    The expectation is estimated at codes drawn by reparameterization, one unless ``num_samples`` says more.
    Kingma and Welling (2014), equation 7, for beta = 1; Higgins et al. (2017), equation 4, for any beta.

    With ``free_bits`` the KL term is :func:`mnistvae.losses.free_bits` (Kingma et al., 2016,
    equation 15); with a ``capacity`` it is :math:`\beta \, |D_{KL} - C|` (Burgess et al., 2018, equation 8), or the sum
    of such terms of the blocks of a code (Dupont, 2018).

    Args:
        beta: Weight of the KL term, at least 0; pixels and latent dimensions are summed, so beta = 1 is the bound.
        schedule: Multiplies beta at each training step or, where there is a capacity, multiplies that: see
            :mod:`mnistvae.schedules`. In evaluation mode, and until a Trainer calls :meth:`advance`, the factor is 1.
        free_bits: Nats of KL in each latent dimension that cost nothing; under a prior that does not
            factorise, latent_dim times as many in the whole code; each level of a hierarchy has an equal share.
        capacity: C, nats of KL that the code is held to; of a :class:`~mnistvae.networks.JointEncoder`, or a hierarchy,
            also one for each block or level; None for no such term.
        num_samples: Codes drawn for each image, over which the terms are averaged: the same bound with less noise.
        gradient: ``"plain"``, or ``"sticking-the-landing"`` (Roeder et al., 2017): the KL term is estimated at the
            codes that are drawn, and its gradient leaves the score of q out, whose mean is zero. It has no noise at all
            where q is the true posterior, and less the nearer q comes to it.

    Raises:
        SettingError: If a number is negative or infinite, there is no sample, the gradient is another word, or two of
            free bits, a capacity and that gradient are given.
        ComponentError: If the schedule is none.

    Example:
        >>> from mnistvae.schedules import Linear
        >>> objective = ELBO(beta=4.0, schedule=Linear(1000))  # beta rises over 1,000 steps
        >>> terms = mv.VAE(latent_dim=2, objective=objective).loss(torch.rand(5, 1, 28, 28))
        >>> torch.allclose(terms.loss, terms.reconstruction + 4 * terms.kl)
        True
    """

    _factor: Tensor

    def __init__(
        self,
        beta: float = 1.0,
        schedule: Schedule | None = None,
        free_bits: float = 0.0,
        capacity: float | Sequence[float] | None = None,
        num_samples: int = 1,
        gradient: Literal["plain", "sticking-the-landing"] = "plain",
    ) -> None:
        super().__init__()
        self.num_samples = check_count("num_samples as an integer of at least 1", num_samples)
        self.gradient = check_choice("gradient", gradient, ("plain", "sticking-the-landing"))
        self.beta = check_number("a finite beta of at least 0", beta, fix="beta = 1 is the evidence lower bound")
        self.schedule = check_schedule(schedule)
        self.free_bits = check_number("free_bits as a finite number of nats of at least 0", free_bits)
        self.of_a_batch = self.free_bits > 0  # the floor is under a mean over images
        self.capacity = _check_capacity(capacity)
        if self.capacity is not None and self.free_bits:
            raise SettingError("free_bits or a capacity", "both", "each sets how much KL there is: leave one out")
        if self.gradient != "plain" and (self.free_bits or self.capacity is not None):
            other = "free_bits" if self.free_bits else "a capacity"
            fix = "leave one out: that gradient is of the bound alone"
            raise SettingError(f"{other} or gradient={gradient!r}", "both", fix)
        self.register_buffer("_factor", torch.ones(()), persistent=False)
        self._unmoved = 0

    def advance(self, step: int) -> None:
        self._unmoved = -1
        if self.schedule is not None:
            self._factor.fill_(factor_at(self.schedule, step))

    def forward(self, model: LatentVariableModel, x: Tensor, y: Tensor | None = None) -> Terms:
        posterior = model.encode(x, y)
        if self.num_samples == 1:
            z = posterior.rsample()
            reconstruction = -model.decode(z, y).log_prob(x)
        else:
            z = posterior.rsample(torch.Size([self.num_samples]))
            reconstruction = -for_each_code(model, z, x, y).mean(0)
        prior = model.latent_prior(y)
        levels = kl_by_level(posterior, prior, z)
        if levels is not None:
            levels = levels.mean(0) if levels.dim() > 2 else levels
        if self.gradient == "plain":
            kl = kl_or_estimate(posterior, prior, z) if levels is None else levels.sum(-1)
        else:
            kl = detached(posterior).log_prob(z) - prior.log_prob(z)
        kl = kl.mean(0) if kl.dim() > 1 else kl  # an estimate at each of several codes
        if self.schedule is not None and self.training and torch.is_grad_enabled() and self._unmoved >= 0:
            self._count()
        factor: Tensor | float = 1.0 if self.schedule is None or not self.training else self._factor
        if isinstance(self.capacity, tuple):
            loss = reconstruction
            for part, capacity in zip(self._parts(levels), self.capacity, strict=True):
                loss = annealed_capacity(loss, part, capacity * factor, self.beta)
        elif self.capacity is not None:
            loss = annealed_capacity(reconstruction, kl, self.capacity * factor, self.beta)
        else:
            cost = self._with_free_bits(kl, levels, posterior, prior) if self.free_bits else kl
            loss = negative_elbo(reconstruction, cost, self.beta * factor)
        parts = enumerate(() if levels is None else levels.unbind(-1), 1)
        terms = Terms(loss, reconstruction, kl, {f"kl_level_{number}": part for number, part in parts})
        return with_own_terms(terms, posterior)

    def _count(self) -> None:
        """Warn once, at the third batch while nobody moves the schedule: this is a loop of somebody's own."""
        self._unmoved += 1
        if self._unmoved == 3:
            self._unmoved = -1  # it is told: a compiled model would be compiled anew whenever the number changes
            warnings.warn(
                "the schedule of beta stands still, with a factor of 1: call model.advance(step) before each step "
                "of a loop of your own, as a Trainer does",
                stacklevel=3,
            )

    def _parts(self, levels: Tensor | None) -> tuple[Tensor, ...]:
        """The divergences of the blocks or levels, of which each has a capacity."""
        parts = () if levels is None else levels.unbind(-1)
        wanted = len(self.capacity) if isinstance(self.capacity, tuple) else 0
        if len(parts) != wanted:
            expected = f"a code of {wanted} blocks or levels, as there are capacities"
            fix = "give one capacity for each, or one number for the whole code"
            raise ComponentError(expected, f"{len(parts)}" if parts else "one without", fix)
        return parts

    def _with_free_bits(
        self, kl: Tensor, levels: Tensor | None, posterior: Distribution, prior: Distribution
    ) -> Tensor:
        if levels is not None:
            return free_bits(levels, self.free_bits * posterior.event_shape[0] / levels.shape[-1])
        by_dimension = kl_by_dimension(posterior, prior)
        if by_dimension is None:
            return free_bits(kl.unsqueeze(-1), self.free_bits * posterior.event_shape[0])
        return free_bits(by_dimension, self.free_bits)


def _check_capacity(capacity: float | Sequence[float] | None) -> float | tuple[float, ...] | None:
    expected = "capacity as a finite number of nats of at least 0, or None"
    if capacity is None:
        return None
    if listed(capacity) is None:
        return check_number(expected, capacity)
    each = "capacity as finite numbers of nats of at least 0, one for each block or level"
    return tuple(check_number(each, number) for number in check_numbers(each, capacity))
