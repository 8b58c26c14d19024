"""Objectives that add a term to another objective, whichever it is."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from mnistvae.errors import ComponentError, type_name
from mnistvae.objectives.base import LatentVariableModel, Objective, Terms
from mnistvae.objectives.elbo import ELBO

__all__ = ["Around", "SeesOthers", "terms_and_posterior", "with_term"]


class Around(Objective):
    """A base of objectives that add something to another one, and let it hear what the Trainer says.

    Args:
        objective: The other one (default: :class:`~mnistvae.objectives.ELBO`).

    Raises:
        ComponentError: If it is no objective.
    """

    def __init__(self, objective: Objective | None = None) -> None:
        super().__init__()
        if not isinstance(objective, Objective | None):
            fix = "for instance mnistvae.objectives.ELBO()"
            raise ComponentError("objective as a mnistvae Objective, or None", type_name(objective), fix)
        self.objective = ELBO() if objective is None else objective
        self.takes_unlabelled = self.objective.takes_unlabelled
        self.of_a_batch = self.objective.of_a_batch

    def parameter_groups(self) -> list[dict[str, Any]]:
        return self.objective.parameter_groups()

    def prepare(self, num_images: int | None) -> None:
        self.objective.prepare(num_images)

    def advance(self, step: int) -> None:
        self.objective.advance(step)


class _Like:
    """A model that does as another one does, but for what a subclass changes."""

    def __init__(self, model: LatentVariableModel) -> None:
        self._model = model

    def encode(self, x: Tensor, y: Tensor | None = None) -> Distribution:
        return self._model.encode(x, y)

    def decode(self, z: Tensor, y: Tensor | None = None) -> Distribution:
        return self._model.decode(z, y)

    def latent_prior(self, y: Tensor | None = None) -> Distribution:
        return self._model.latent_prior(y)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._model(*args, **kwargs)  # type: ignore[operator]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)  # what an objective of somebody's own asks of a model


class _Recalled(_Like):
    """A model that remembers the posterior of some images."""

    def __init__(self, model: LatentVariableModel, x: Tensor, y: Tensor | None) -> None:
        super().__init__(model)
        self._x = x
        self._y = y
        self.posterior: Distribution | None = None

    def encode(self, x: Tensor, y: Tensor | None = None) -> Distribution:
        posterior = self._model.encode(x, y)
        if x is self._x and y is self._y:
            self.posterior = posterior
        return posterior


class SeesOthers(_Like):
    """A model whose encoder sees other images in place of some.

    Args:
        model: The model.
        x: Some images.
        others: What its encoder sees for them.
    """

    def __init__(self, model: LatentVariableModel, x: Tensor, others: Tensor) -> None:
        super().__init__(model)
        self._x = x
        self._others = others

    def encode(self, x: Tensor, y: Tensor | None = None) -> Distribution:
        """q(z | x, y) of the images, or of those in their place."""
        return self._model.encode(self._others if x is self._x else x, y)


def terms_and_posterior(
    objective: Objective, model: LatentVariableModel, x: Tensor, y: Tensor | None
) -> tuple[Terms, Distribution]:
    """The terms of an objective, and the posterior of the images.

    It is the one that the objective has computed: another one would take a quarter of a step.
    """
    recalled = _Recalled(model, x, y)
    terms: Terms = objective(recalled, x, y)
    return terms, model.encode(x, y) if recalled.posterior is None else recalled.posterior


def with_term(terms: Terms, name: str, value: Tensor, weight: float) -> Terms:
    """Terms with one more, whose weighted value is added to the loss; with a weight of 0 the loss stays as it is.

    Raises:
        ComponentError: If there is one of that name.
    """
    if name in terms.extra:
        raise ComponentError(f"one extra term of the name {name}", "two", "an objective goes around another one once")
    loss = torch.add(terms.loss, value, alpha=weight) if weight else terms.loss
    return terms._replace(loss=loss, extra={**terms.extra, name: value})
