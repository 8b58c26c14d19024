"""Methods of scikit-learn's that take long, as functions of arrays which a process of its own may compute.

Nothing but numpy and scikit-learn is imported, so that the process starts soon.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["classifier_of", "classify", "learn", "tsne"]

_Arrays = dict[str, NDArray[Any]]


def tsne(rows: NDArray[np.float64], **settings: Any) -> _Arrays:
    """A map by t-SNE: ``points`` (N, n_components).

    Args:
        rows: Rows (N, D).
        settings: Settings of scikit-learn's ``TSNE``.
    """
    from sklearn.manifold import TSNE

    return {"points": TSNE(**settings).fit_transform(rows)}


def classifier_of(kind: str, seed: int) -> Any:
    """An estimator of scikit-learn's that is yet to be fitted, on one core.

    Args:
        kind: "knn", "logistic", "random-forest" or "mlp".
        seed: Seed of what the estimator draws.
    """
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.neural_network import MLPClassifier

    state = seed % 2**32  # what numpy's generator takes
    return {
        "knn": lambda: KNeighborsClassifier(n_neighbors=5, n_jobs=1),
        "logistic": lambda: LogisticRegression(max_iter=1000, random_state=state),
        "random-forest": lambda: RandomForestClassifier(n_estimators=100, n_jobs=1, random_state=state),
        "mlp": lambda: MLPClassifier(max_iter=1000, random_state=state),
    }[kind]()


def learn(estimator: Any, train: NDArray[np.float64], known: NDArray[np.int64], test: NDArray[np.float64]) -> _Arrays:
    """Predictions of a classifier for rows that it has not learned from.

    Args:
        estimator: Classifier of scikit-learn's.
        train: Rows to learn from, (N, D).
        known: Their labels, (N,).
        test: Other rows, (M, D).

    Returns:
        ``predicted`` labels (M,), ``probabilities`` (M, K) of the K ``classes`` (K,), and ``unfinished``, True where
        the classifier was not done after its number of iterations.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    iterates = "max_iter" in estimator.get_params()  # towards an optimum, sooner found from standardised rows
    model = make_pipeline(StandardScaler(), estimator) if iterates else estimator
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # One thread: products this small gain nothing by a second, and wait for it where another process has the core.
        with threadpool_limits(1, user_api="blas"):
            model.fit(train, known)
    of_iterations = [issubclass(warning.category, ConvergenceWarning) for warning in caught]
    for warning, ours in zip(caught, of_iterations, strict=True):
        if not ours:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return {
        "predicted": model.predict(test),
        "probabilities": model.predict_proba(test),
        "classes": model.classes_,
        "unfinished": np.array(any(of_iterations)),
    }


def classify(
    train: NDArray[np.float64], known: NDArray[np.int64], test: NDArray[np.float64], *, kind: str, seed: int
) -> _Arrays:
    """Predictions of a classifier of one kind, as :func:`learn` returns them."""
    return learn(classifier_of(kind, seed), train, known, test)
