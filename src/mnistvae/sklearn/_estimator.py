"""The part that both estimators share: parameters, and a model that is made and trained from them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.random import RandomState
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from mnistvae._checks import as_integer, check_mapping, check_seed
from mnistvae.arrays import with_double
from mnistvae.data import ImageDataset
from mnistvae.errors import SettingError
from mnistvae.images import ImageShape
from mnistvae.models import VAE
from mnistvae.recipes import Recipe, get
from mnistvae.sklearn._rows import Rows

__all__ = ["VAEEstimator", "seed_of"]


class VAEEstimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A base whose parameters make a model of a recipe and train it; see its subclasses."""

    #: Rows without which there is nothing to fit.
    _least_rows: ClassVar[int] = 1

    def __init__(
        self,
        recipe: str | Recipe = "mlp",
        *,
        latent_dim: int | None = None,
        beta: float | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        settings: Mapping[str, Any] | None = None,
        training: Mapping[str, Any] | None = None,
        image_shape: ImageShape | None = None,
        max_value: float | None = None,
        num_samples: int = 4,
        random_state: int | RandomState | None = 0,
        device: str | torch.device = "auto",
        verbose: bool = False,
    ) -> None:
        self.recipe = recipe
        self.latent_dim = latent_dim
        self.beta = beta
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.settings = settings
        self.training = training
        self.image_shape = image_shape
        self.max_value = max_value
        self.num_samples = num_samples
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def _train(self, X: Any) -> ImageDataset:  # noqa: N803
        """Make the model and train it; the images that it was trained on."""
        table = validate_data(self, X, dtype="numeric", ensure_min_samples=self._least_rows)
        recipe = self.recipe if isinstance(self.recipe, Recipe) else get(self.recipe)
        if recipe.conditional:
            got = f"{recipe.name!r}, which is told labels"
            raise SettingError("a recipe whose model is told no labels", got, "choose another, such as 'mlp'")
        rows = Rows.of(table, self.image_shape, self.max_value)
        given = {"latent_dim": self.latent_dim, "beta": self.beta}
        settings = _merged("settings", self.settings, given)
        given = {"epochs": self.epochs, "batch_size": self.batch_size, "learning_rate": self.learning_rate}
        # Both of what other parameters say already, so that neither is given twice.
        own = {"seed": seed_of(self.random_state), "device": self.device, "progress": bool(self.verbose)}
        training = _merged("training", self.training, given | own)
        data = ImageDataset(rows.images(table), max_value=1.0, name="X", split="fit")
        model = recipe.model(image_shape=rows.image_shape, seed=training["seed"], **settings)
        self.history_ = recipe.trainer(**training).fit(model, data)
        self.model_, self.seed_ = model, training["seed"]
        self.image_shape_, self.data_range_ = rows.image_shape, (rows.low, rows.high)
        self._rows = rows
        return data

    def _images(self, X: Any) -> Tensor:  # noqa: N803
        """A table as images (N, C, H, W) in [0, 1], after the checks that scikit-learn asks for."""
        check_is_fitted(self)
        return self._rows.images(validate_data(self, X, dtype="numeric", reset=False))

    def _model(self, precision: torch.dtype) -> VAE:
        """The model in the precision of a table, where its device has it: results do not hang on the batch then."""
        model: VAE = self.model_
        if precision is not torch.float64 or with_double(model.device).type != model.device.type:
            return model
        return copy.deepcopy(model).double()


def seed_of(random_state: int | RandomState | None) -> int:
    """The seed that scikit-learn's ``random_state`` stands for: an integer itself, else a draw."""
    if (seed := as_integer(random_state)) is not None:
        return check_seed(seed)
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


def _merged(name: str, more: Mapping[str, Any] | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a mapping and those that are parameters of their own."""
    found = {} if more is None else dict(check_mapping(f"{name} as a dictionary, or None", more))
    if twice := sorted(found.keys() & given.keys()):
        owner = ", ".join("random_state" if one == "seed" else "verbose" if one == "progress" else one for one in twice)
        raise SettingError(f"{name} without {', '.join(twice)}", "them", f"set the parameter {owner} in its place")
    return found | {key: value for key, value in given.items() if value is not None}
