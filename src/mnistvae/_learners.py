"""Methods of scikit-learn's that take long, as functions of arrays that a process of its own may compute; its warnings.

Nothing but numpy and scikit-learn is imported, so that the process starts soon.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["classifier_of", "classify", "heeded", "learn", "tsne"]

#: Words of the warning that classes are many for so few rows: ours are known to be classes.
_MANY_CLASSES = "number of unique classes"

_Arrays = dict[str, NDArray[Any]]


@contextmanager
def heeded() -> Iterator[list[str]]:
    """A block of scikit-learn's work, and a list of what it says of methods that did not converge.

    That something will change in scikit-learn, or that there are many classes, is about our calls of it and is dropped;
    other warnings go on as they are.
    """
    from sklearn.exceptions import ConvergenceWarning

    unfinished: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield unfinished
    for warning in caught:
        if issubclass(warning.category, ConvergenceWarning):
            unfinished.append(str(warning.message))
        elif not issubclass(warning.category, FutureWarning) and _MANY_CLASSES not in str(warning.message):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


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
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler
    from threadpoolctl import threadpool_limits

    before = [StandardScaler()] if "max_iter" in estimator.get_params() else []  # an optimum is found sooner from there
    if isinstance(estimator, MLPClassifier):
        before.append(FunctionTransformer(_single))  # a network is as good, and a third quicker
    model = make_pipeline(*before, estimator)
    # One thread: products this small gain nothing by a second, and wait for it where another process has the core.
    with heeded() as unfinished, threadpool_limits(1, user_api="blas"):
        model.fit(train, known)
    return {
        "predicted": model.predict(test),
        "probabilities": model.predict_proba(test),
        "classes": model.classes_,
        "unfinished": np.array(bool(unfinished)),
    }


def classify(
    train: NDArray[np.float64],
    known: NDArray[np.int64],
    test: NDArray[np.float64],
    *,
    kinds: Sequence[str],
    seed: int,
) -> _Arrays:
    """Predictions of classifiers of some kinds, each as :func:`learn` returns them, under "kind/name"."""
    learned = {kind: learn(classifier_of(kind, seed), train, known, test) for kind in kinds}
    return {f"{kind}/{name}": array for kind, found in learned.items() for name, array in found.items()}


def _single(rows: NDArray[np.float64]) -> NDArray[np.float32]:
    """Rows in single precision."""
    return rows.astype(np.float32)
