"""The contract of an objective, and the terms that it gives."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, Self

from torch import Tensor
from torch.distributions import Distribution

from mnistvae._component import Component
from mnistvae.losses import own_terms

__all__ = ["LatentVariableModel", "Objective", "Terms", "for_each_code", "with_own_terms"]


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
    :meth:`advance`. One that owns a critic says by :meth:`parameter_groups` how that is updated.
    """

    #: True for an objective that takes images without a label, -1, and learns from them; see :class:`SemiSupervised`.
    takes_unlabelled: bool = False
    #: True for an objective whose terms of an image depend on the other images of the batch.
    of_a_batch: bool = False

    @abstractmethod
    def forward(self, model: LatentVariableModel, x: Tensor, y: Tensor | None = None) -> Terms:
        """Terms of the loss for images (B, C, H, W) and labels (B,), one value an image.

        A label is -1 for an image that has none, where ``takes_unlabelled`` is set; without that there are no such.
        """

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Weights of the objective's own that the Trainer updates with settings of their own; none here.

        Each is a group as torch's optimizers take it, ``{"params": weights, "lr": 1e-4}``, of the same optimizer as the
        model, in the same step; the gradient of each is clipped by itself.
        """
        return []

    def prepare(self, num_images: int | None) -> None:
        """Take note of the number of training images, if it is known, before training starts. Does nothing here."""

    def advance(self, step: int) -> None:
        """Set the weights for a training step, by its number from 0, before it is taken. Does nothing here.

        A weight that it changes must be a tensor, changed in place: a compiled or recorded step would not see another.
        """


def for_each_code(model: LatentVariableModel, z: Tensor, x: Tensor, y: Tensor | None) -> Tensor:
    """Values of log p(x | z) for several codes (K, B, latent_dim) of each image: (K, B)."""
    samples = len(z)
    labels = None if y is None else y.repeat(samples)
    log_likelihood: Tensor = model.decode(z.flatten(0, 1), labels).log_prob(x.repeat(samples, 1, 1, 1))
    return log_likelihood.reshape(samples, -1)


def with_own_terms(terms: Terms, posterior: Distribution) -> Terms:
    """Terms with the cost and the figures that a posterior has by itself, see :func:`mnistvae.losses.own_terms`.

    An objective returns its terms by this function, so that it trains any encoder.

    Args:
        terms: The terms of the objective.
        posterior: The posterior of the images, batch shape (B,).

    Example:
        >>> terms, x = Terms(torch.ones(2), torch.zeros(2), torch.ones(2)), torch.rand(2, 1, 28, 28)
        >>> with_own_terms(terms, mv.VAE(latent_dim=2).encode(x)) is terms  # a normal has none
        True
    """
    own = own_terms(posterior)
    if own is None:
        return terms
    return Terms(terms.loss + own.cost, terms.reconstruction, terms.kl, {**terms.extra, **own.extra})
