"""The contract of a prior."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor, nn
from torch.distributions import Distribution

from mnistvae._component import Component
from mnistvae.errors import ComponentError, type_name
from mnistvae.images import ImageShape

__all__ = ["Encode", "Prior"]

#: The model's own encoder, for a prior that is made of posteriors.
Encode: TypeAlias = Callable[[Tensor, Tensor | None], Distribution]


def prior_of(prior: Prior, y: Tensor | None, encode: Encode | None, encoder: nn.Module | None) -> Distribution:
    """The distribution of a prior, with the model's encoder handed to a prior that takes it."""
    more = {"encoder": encoder} if prior.takes_encoder else {}
    distribution: Distribution = prior(y, encode=encode, **more)
    return distribution


class Prior(Component):
    """Contract of a prior: a distribution over codes.

    A subclass keeps its constructor arguments as attributes of the same names and implements
    :meth:`forward`. One that sets ``takes_encoder`` is called with the model's encoder too, ``encoder=...``, as a
    :class:`~mnistvae.priors.TokenPrior` is.
    """

    latent_dim: int
    #: True where ``log_prob`` of the distribution is a lower bound on the density, in expectation: KL divergences and
    #: negative log-likelihoods are upper estimates then.
    bounds_density: bool = False
    #: True for a prior whose forward takes ``encoder=``, the model's own encoder.
    takes_encoder: bool = False
    #: The sizes of the model that it is a part of.
    _sizes: tuple[int, ImageShape, int | None] | None = None

    @abstractmethod
    def forward(self, y: Tensor | None = None, *, encode: Encode | None = None) -> Distribution:
        """p(z) with batch shape () or, given labels (B,), batch shape () or (B,); event shape (latent_dim,)."""

    def attach(self, latent_dim: int, image_shape: ImageShape, num_classes: int | None) -> None:
        """Make the tensors that depend on the sizes of the model; called once by the model that takes the prior.

        Does nothing here.
        """

    def attach_once(self, latent_dim: int, image_shape: ImageShape, num_classes: int | None) -> None:
        """Attach the prior to a model, unless it belongs to one of the same sizes already.

        A model calls it; a subclass overrides :meth:`attach`.

        Raises:
            ComponentError: If the prior belongs to a model of other sizes, or cannot be attached.
        """
        sizes = (latent_dim, image_shape, num_classes)
        told = "latent_dim={}, images of shape {} and num_classes={}"
        if self._sizes is None:
            try:
                self.attach(*sizes)
            except Exception as error:  # a prior of the user's may raise anything
                reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
                raise ComponentError(
                    f"the prior to take {told.format(*sizes)}", reason, "look at its attach method"
                ) from error
            self._sizes = sizes
        elif self._sizes != sizes:
            raise ComponentError(
                f"{type_name(self)} for {told.format(*sizes)}",
                f"one for {told.format(*self._sizes)}",
                "give each model a prior of its own",
            )
