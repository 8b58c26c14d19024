"""Objectives: the loss of each image that training minimises, in nats."""

from __future__ import annotations

import math
import warnings
from abc import abstractmethod
from collections.abc import Mapping
from typing import Literal, NamedTuple, Protocol, Self

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from mnistvae._checks import check_choice, check_count, check_number
from mnistvae._component import Component
from mnistvae.distributions import detached, kl_by_dimension
from mnistvae.errors import ComponentError, SettingError, type_name
from mnistvae.losses import (
    annealed_capacity,
    doubly_reparameterized,
    free_bits,
    importance_weighted_bound,
    kl_by_level,
    kl_decomposition,
    kl_or_estimate,
    negative_elbo,
    stratified_log_weights,
)
from mnistvae.schedules import Schedule

__all__ = ["ELBO", "IWAE", "BetaTC", "LatentVariableModel", "Objective", "Terms"]


class _Terms(NamedTuple):
    loss: Tensor
    reconstruction: Tensor
    kl: Tensor
    extra: Mapping[str, Tensor]


class Terms(_Terms):
    """A loss and its parts for each image: each (B,), in nats, not reduced.

    Args:
        loss: The sum that is minimised.
        reconstruction: -log p(x | z) at the sampled code.
        kl: KL(q(z | x) || p(z)), without beta.
        extra: Further terms by name, which a history records beside the three; the same names in each step.

    Example:
        >>> terms = Terms(torch.ones(2), torch.zeros(2), torch.ones(2), extra={"classification": torch.rand(2)})
        >>> list(terms.by_name())
        ['loss', 'reconstruction', 'kl', 'classification']
    """

    __slots__ = ()

    def __new__(
        cls, loss: Tensor, reconstruction: Tensor, kl: Tensor, extra: Mapping[str, Tensor] | None = None
    ) -> Self:
        return super().__new__(cls, loss, reconstruction, kl, {} if extra is None else extra)

    def by_name(self) -> dict[str, Tensor]:
        """All terms by their names: loss, reconstruction and kl, then the further ones."""
        return {"loss": self.loss, "reconstruction": self.reconstruction, "kl": self.kl, **self.extra}


class LatentVariableModel(Protocol):
    """The methods of a model that an objective needs; :class:`~mnistvae.VAE` has them."""

    def encode(self, x: Tensor, y: Tensor | None = None) -> Distribution:
        """q(z | x, y), batch (B,)."""

    def decode(self, z: Tensor, y: Tensor | None = None) -> Distribution:
        """p(x | z, y), batch (B,)."""

    def latent_prior(self, y: Tensor | None = None) -> Distribution:
        """p(z | y), batch (B,) or ()."""


class Objective(Component):
    """Contract of an objective: a model and a batch to :class:`Terms`.

    A subclass keeps its constructor arguments as attributes of the same names and implements
    :meth:`forward`. Two methods, which the Trainer calls, change it as training goes: :meth:`prepare` and
    :meth:`advance`.
    """

    @abstractmethod
    def forward(self, model: LatentVariableModel, x: Tensor, y: Tensor | None = None) -> Terms:
        """Terms of the loss for images (B, C, H, W) and labels (B,), one value an image."""

    def prepare(self, num_images: int | None) -> None:
        """Take note of the number of training images, if it is known, before training starts. Does nothing here."""

    def advance(self, step: int) -> None:
        """Set the weights for a training step, by its number from 0, before it is taken. Does nothing here.

        A weight that it changes must be a tensor, changed in place: a compiled or recorded step would not see another.
        """


class ELBO(Objective):
    r"""The negative evidence lower bound, with a weight on its KL term and ways to let it grow.

    .. math:: -\mathbb{E}_{q(z \mid x)}[\log p(x \mid z)] + \beta \, D_{KL}(q(z \mid x) \| p(z))

    The expectation is estimated at codes drawn by reparameterization, one unless ``num_samples`` says more.
    Kingma and Welling (2014), equation 7, for beta = 1; Higgins et al. (2017), equation 4, for any beta.

    With ``free_bits`` the KL term is :func:`mnistvae.losses.free_bits` (Kingma et al., 2016,
    equation 15); with a ``capacity`` it is :math:`\beta \, |D_{KL} - C|` (Burgess et al., 2018, equation 8).

    Args:
        beta: Weight of the KL term, at least 0; pixels and latent dimensions are summed, so beta = 1 is the bound.
        schedule: Multiplies beta at each training step or, where there is a capacity, multiplies that: see
            :mod:`mnistvae.schedules`. In evaluation mode, and until a Trainer calls :meth:`advance`, the factor is 1.
        free_bits: Nats of KL in each latent dimension that cost nothing; under a prior that does not
            factorise, latent_dim times as many in the whole code; each level of a hierarchy has an equal share.
        capacity: C, nats of KL that the code is held to; None for no such term.
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
        capacity: float | None = None,
        num_samples: int = 1,
        gradient: Literal["plain", "sticking-the-landing"] = "plain",
    ) -> None:
        super().__init__()
        self.num_samples = check_count("num_samples as an integer of at least 1", num_samples)
        self.gradient = check_choice("gradient", gradient, ("plain", "sticking-the-landing"))
        self.beta = check_number("a finite beta of at least 0", beta, fix="beta = 1 is the evidence lower bound")
        self.schedule = _check_schedule(schedule)
        self.free_bits = check_number("free_bits as a finite number of nats of at least 0", free_bits)
        self.capacity = None
        if capacity is not None:
            self.capacity = check_number("capacity as a finite number of nats of at least 0, or None", capacity)
            if self.free_bits:
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
            factor = self.schedule(step)
            if not isinstance(factor, float | int) or not 0 <= factor < math.inf:
                raise ComponentError(
                    "a schedule to return a finite number of at least 0", repr(factor), f"look at step {step}"
                )
            self._factor.fill_(factor)

    def forward(self, model: LatentVariableModel, x: Tensor, y: Tensor | None = None) -> Terms:
        posterior = model.encode(x, y)
        if self.num_samples == 1:
            z = posterior.rsample()
            reconstruction = -model.decode(z, y).log_prob(x)
        else:
            z = posterior.rsample(torch.Size([self.num_samples]))
            reconstruction = -_for_each_code(model, z, x, y).mean(0)
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
        if self.capacity is not None:
            loss = annealed_capacity(reconstruction, kl, self.capacity * factor, self.beta)
        else:
            cost = self._with_free_bits(kl, levels, posterior, prior) if self.free_bits else kl
            loss = negative_elbo(reconstruction, cost, self.beta * factor)
        parts = () if levels is None else levels.unbind(-1)
        return Terms(loss, reconstruction, kl, {f"kl_level_{number}": part for number, part in enumerate(parts, 1)})

    def _count(self) -> None:
        """Warn once, at the third batch while nobody moves the schedule: this is a loop of somebody's own."""
        self._unmoved += 1
        if self._unmoved == 3:
            self._unmoved = -1  # it is told: a compiled model would be compiled anew whenever the number changes
            warnings.warn(
                "the schedule of beta stands still, with a factor of 1: call model.objective.advance(step) before each "
                "step of a loop of your own, as a Trainer does",
                stacklevel=3,
            )

    def _with_free_bits(
        self, kl: Tensor, levels: Tensor | None, posterior: Distribution, prior: Distribution
    ) -> Tensor:
        if levels is not None:
            return free_bits(levels, self.free_bits * posterior.event_shape[0] / levels.shape[-1])
        by_dimension = kl_by_dimension(posterior, prior)
        if by_dimension is None:
            return free_bits(kl.unsqueeze(-1), self.free_bits * posterior.event_shape[0])
        return free_bits(by_dimension, self.free_bits)


class IWAE(Objective):
    r"""The negative importance-weighted bound: tighter than the ELBO, and more so with more samples.

    .. math:: -\mathbb{E}_{z_1, \dots, z_K \sim q(z \mid x)}\left[\log \frac{1}{K} \sum_{k=1}^{K}
        \frac{p(x \mid z_k) \, p(z_k)}{q(z_k \mid x)}\right]

    Burda et al. (2016), equation 8. ``reconstruction`` and ``kl`` are those of the ELBO, averaged over the
    samples; the loss is at most their sum.

    Args:
        num_samples: K, codes an image; memory and time of the decoder grow with it.
        gradient: ``"plain"``, or ``"doubly-reparameterized"``, whose noise does not grow with K
            (Tucker et al., 2019, equation 8).

    Raises:
        SettingError: If there is no sample, or the gradient is another word.

    Example:
        >>> terms = mv.VAE(latent_dim=2, objective=IWAE(num_samples=8)).loss(torch.rand(5, 1, 28, 28))
        >>> bool((terms.loss <= terms.reconstruction + terms.kl).all())
        True
    """

    def __init__(self, num_samples: int = 50, gradient: Literal["plain", "doubly-reparameterized"] = "plain") -> None:
        super().__init__()
        self.num_samples = check_count("num_samples as an integer of at least 1", num_samples)
        self.gradient = check_choice("gradient", gradient, ("plain", "doubly-reparameterized"))

    def forward(self, model: LatentVariableModel, x: Tensor, y: Tensor | None = None) -> Terms:
        posterior = model.encode(x, y)
        z = posterior.rsample(torch.Size([self.num_samples]))
        log_likelihood = _for_each_code(model, z, x, y)
        log_p = model.latent_prior(y).log_prob(z)
        if self.gradient == "plain":
            log_q = posterior.log_prob(z)
            bound = importance_weighted_bound(log_likelihood + log_p - log_q)
        else:
            log_q = detached(posterior).log_prob(z)
            bound = doubly_reparameterized(log_likelihood + log_p - log_q, z)
        return Terms(-bound, -log_likelihood.mean(0), (log_q - log_p).mean(0))


class BetaTC(Objective):
    r"""The ELBO with a weight on each of three parts of its KL term, for disentanglement by total correlation.

    .. math:: -\mathbb{E}[\log p(x \mid z)] + \alpha \, I_q(z; x)
        + \beta \, D_{KL}\left(q(z) \,\|\, \textstyle\prod_j q(z_j)\right)
        + \gamma \sum_j D_{KL}(q(z_j) \| p(z_j))

    Chen et al. (2018), "Isolating sources of disentanglement in VAEs", equation 4. The aggregate posterior
    q(z) is estimated from the batch by stratified weights (appendix C.2), so a batch should hold some
    hundred images. With all weights 1 it is the ELBO with its KL estimated at one code. ``kl`` is in closed form
    where there is one; the extra terms ``mutual_information``, ``total_correlation`` and ``dimension_wise_kl`` are
    estimates, without their weights, and can be negative.

    Args:
        alpha: Weight of the mutual information between code and image.
        beta: Weight of the total correlation.
        gamma: Weight of the dimension-wise KL.
        num_images: N, the size of the training set; None to be told by the Trainer, or where there is
            none, to take the batch for the set.

    Raises:
        SettingError: If a weight is negative or infinite.
        ComponentError: If the dimensions of the posterior are not independent.
    """

    _num_images: Tensor

    def __init__(
        self, alpha: float = 1.0, beta: float = 6.0, gamma: float = 1.0, num_images: int | None = None
    ) -> None:
        super().__init__()
        self.alpha = check_number("a finite alpha of at least 0", alpha)
        self.beta = check_number("a finite beta of at least 0", beta)
        self.gamma = check_number("a finite gamma of at least 0", gamma)
        self.num_images = None if num_images is None else check_count("num_images of at least 1, or None", num_images)
        # Saved with the model, whose loss depends on it.
        self.register_buffer("_num_images", torch.tensor(self.num_images or 0))

    def prepare(self, num_images: int | None) -> None:
        if self.num_images is None and num_images is not None:
            self._num_images.fill_(num_images)

    def forward(self, model: LatentVariableModel, x: Tensor, y: Tensor | None = None) -> Terms:
        posterior = model.encode(x, y)
        if not isinstance(posterior, Independent) or posterior.reinterpreted_batch_ndims != 1:
            raise ComponentError(
                "a posterior whose dimensions are independent, for the total correlation",
                type_name(posterior),
                "return torch.distributions.Independent(..., 1) from the encoder, or use ELBO",
            )
        z = posterior.rsample()
        reconstruction = -model.decode(z, y).log_prob(x)
        prior = model.latent_prior(y)
        log_q = posterior.base_dist.log_prob(z.unsqueeze(1))
        log_weights = stratified_log_weights(len(x), self._num_images, like=z)
        information, correlation, dimensions = kl_decomposition(log_q, prior.log_prob(z), log_weights)
        loss = reconstruction + self.alpha * information + self.beta * correlation + self.gamma * dimensions
        parts = {"mutual_information": information, "total_correlation": correlation, "dimension_wise_kl": dimensions}
        return Terms(loss, reconstruction, kl_or_estimate(posterior, prior, z), extra=parts)


def _for_each_code(model: LatentVariableModel, z: Tensor, x: Tensor, y: Tensor | None) -> Tensor:
    """Values of log p(x | z) for several codes (K, B, latent_dim) of each image: (K, B)."""
    samples = len(z)
    labels = None if y is None else y.repeat(samples)
    log_likelihood: Tensor = model.decode(z.flatten(0, 1), labels).log_prob(x.repeat(samples, 1, 1, 1))
    return log_likelihood.reshape(samples, -1)


def _check_schedule(schedule: Schedule | None) -> Schedule | None:
    if schedule is None or isinstance(schedule, Schedule):
        return schedule
    raise ComponentError(
        "schedule as a mnistvae Schedule, or None",
        type_name(schedule),
        "for instance mnistvae.schedules.Linear(1000)",
    )
