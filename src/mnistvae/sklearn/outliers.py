"""A VAE as a detector of outliers of scikit-learn's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, get_args

import numpy as np
import torch
from numpy.random import RandomState
from numpy.typing import NDArray
from sklearn.base import OutlierMixin

from mnistvae._checks import check_choice, check_count, check_number
from mnistvae.analysis.anomalies import AnomalyKind, anomaly_scores, code_density, fit_code_density
from mnistvae.data import ImageDataset
from mnistvae.errors import SettingError
from mnistvae.images import ImageShape
from mnistvae.recipes import Recipe
from mnistvae.sklearn._estimator import VAEEstimator

__all__ = ["VAEOutlierDetector"]


class VAEOutlierDetector(OutlierMixin, VAEEstimator):  # type: ignore[misc]
    """A detector of rows that are unlike those that it was fitted to.

    The score is one of :func:`mnistvae.analysis.anomaly_scores` with its sign turned, so that low is unusual: see there
    what each kind is good for. Rows become images as in :class:`VAETransformer`, of 256 levels.

    Args:
        recipe: Recipe of model and training, or its name.
        kind: Kind of score: "density" of the code among those of ``X``; "regret", the likelihood regret; "nll", the
            importance-sampled log-likelihood (with ``num_samples=1`` a draw of the evidence lower bound);
            "complexity", that without the row's compressed length; or "error", the squared error of the reconstruction.
        contamination: Share of the rows of ``X`` that are outliers, above 0 and at most 0.5.
        num_samples: Importance samples for each row, for "nll" and "complexity".
        steps: Steps of the search for a better posterior, for "regret".
        latent_dim: Number of latent dimensions, which like all that follows is as in :class:`VAETransformer`.
        beta: Weight of the KL term.
        epochs: Passes over ``X``.
        batch_size: Rows in a batch of the training.
        learning_rate: Learning rate of the training.
        settings: Other settings of the recipe's model.
        training: Other settings of the Trainer.
        image_shape: Shape of an image, (C, H, W).
        max_value: Value of X that is white.
        random_state: Seed of weights, training and scores.
        device: Device: "auto", or a name.
        verbose: True for a bar for each epoch.

    Attributes:
        model_: The trained :class:`~mnistvae.VAE`; for "density" with the fitted mixture as its prior.
        offset_: Score below which a row is an outlier, the quantile of ``contamination`` of the scores of ``X``.
        history_: The :class:`~mnistvae.History` of the training.
        image_shape_: Shape of an image.
        data_range_: Values of X that are black and white.
        seed_: Seed of weights, training and scores.
        n_features_in_: Number of features.

    Example:
        >>> from sklearn.datasets import load_digits
        >>> X, y = load_digits(return_X_y=True)
        >>> detector = VAEOutlierDetector(latent_dim=4, epochs=2, max_value=16).fit(X[y != 0][:200])
        >>> detector.predict(X[:4]).shape, detector.decision_function(X[:4]).shape
        ((4,), (4,))
    """

    _least_rows = 2

    def __init__(
        self,
        recipe: str | Recipe = "mlp",
        *,
        kind: AnomalyKind = "density",
        contamination: float = 0.1,
        num_samples: int = 100,
        steps: int = 100,
        latent_dim: int | None = None,
        beta: float | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        settings: Mapping[str, Any] | None = None,
        training: Mapping[str, Any] | None = None,
        image_shape: ImageShape | None = None,
        max_value: float | None = None,
        random_state: int | RandomState | None = 0,
        device: str | torch.device = "auto",
        verbose: bool = False,
    ) -> None:
        super().__init__(
            recipe,
            latent_dim=latent_dim,
            beta=beta,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            settings=settings,
            training=training,
            image_shape=image_shape,
            max_value=max_value,
            num_samples=num_samples,
            random_state=random_state,
            device=device,
            verbose=verbose,
        )
        self.kind = kind
        self.contamination = contamination
        self.steps = steps

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803
        """Train a model and set the threshold.

        Args:
            X: Rows, (n_samples, n_features), most of them usual.
            y: Not looked at.

        Raises:
            SettingError: If a parameter makes no sense.
            DataError: If there are too few rows, or a value is outside of the range that ``max_value`` says.
            ValueError: If X is no table of finite numbers.
        """
        kind = check_choice("kind", self.kind, get_args(AnomalyKind))
        share = check_number("contamination above 0 and at most 0.5", self.contamination, above=True)
        if share > 0.5:
            raise SettingError("contamination above 0 and at most 0.5", str(self.contamination))
        self.scoring_: dict[str, Any] = {
            "num_samples": check_count("num_samples as an integer of at least 1", self.num_samples),
            "steps": check_count("steps as an integer of at least 1", self.steps),
        }
        data = self._train(X)
        if kind == "density":
            self.model_ = fit_code_density(self.model_, data, self.seed_)
        self.offset_ = float(np.percentile(self.score_samples(X), 100 * share))
        return self

    def score_samples(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """The score of each row, (n_samples,): the lower, the less usual it is.

        Args:
            X: Rows, (n_samples, n_features).
        """
        images = self._images(X)
        model, data = self._model(images.dtype), ImageDataset(images, max_value=1.0, name="X")
        if self.kind == "density":
            found = code_density(model, data)
        else:
            found = -anomaly_scores(model, data, self.kind, **self.scoring_, seed=self.seed_)
        scores: NDArray[np.float64] = found.double().numpy()
        return scores

    def decision_function(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """The score of each row less ``offset_``, (n_samples,): negative for outliers.

        Args:
            X: Rows, (n_samples, n_features).
        """
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> NDArray[np.int64]:  # noqa: N803
        """1 for each usual row and -1 for each outlier, (n_samples,).

        Args:
            X: Rows, (n_samples, n_features).
        """
        return np.where(self.decision_function(X) < 0, -1, 1)
