"""Classifiers of codes: one of scikit-learn's learns from some codes and is judged on others."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from mnistvae._checks import check_choice, check_seed
from mnistvae._learners import classifier_of, learn
from mnistvae._process import start
from mnistvae.arrays import ArrayLike
from mnistvae.errors import DataError, SettingError
from mnistvae.labels import Labels, as_labels, match_classes
from mnistvae.metrics.latent import as_codes
from mnistvae.metrics.metric import Estimate, Metric
from mnistvae.view import View, begin

__all__ = [
    "METRICS",
    "NEEDS_OF_CLASSIFIERS",
    "Classification",
    "Kind",
    "RocAuc",
    "begin_code_classification",
    "classify_codes",
    "classify_later",
    "code_classification",
    "roc_auc",
]

#: The classifiers of :func:`classify_codes`.
Kind: TypeAlias = Literal["knn", "logistic", "random-forest", "mlp"]


class Classification(NamedTuple):
    """The result of a classifier on M test codes of K classes; rates are from 0 to 1, higher is better."""

    #: Share of the codes whose label is predicted.
    accuracy: float
    #: Mean over classes of the share that is right among those predicted as the class.
    precision: float
    #: Mean over classes of the share that is predicted among those of the class.
    recall: float
    #: Mean over classes of the harmonic mean of precision and recall.
    f1: float
    #: Numbers of codes, (K, K): a row for each true class, a column for each predicted one.
    confusion: NDArray[np.int64]
    #: Labels, (M,).
    predicted: NDArray[np.int64]
    #: Of each class, (M, K).
    probabilities: NDArray[np.float64]
    #: The labels that rows and columns stand for, (K,), ascending.
    classes: NDArray[np.int64]


class RocAuc(NamedTuple):
    """Areas under curves of the true against the false positive rate: 0.5 by chance, 1 at best."""

    #: Of each class against all others; NaN where the labels hold only one of the two.
    by_class: dict[int, float]
    #: Of the M x K decisions, does code m have label k, taken as one.
    micro: float


def classify_codes(
    train_codes: ArrayLike,
    train_labels: Labels,
    test_codes: ArrayLike,
    test_labels: Labels,
    kind: Kind = "knn",
    *,
    seed: int = 0,
    **settings: Any,
) -> Classification:
    """Accuracy of a classifier that learns labels from the training codes and is judged on the test codes.

    The classifiers are scikit-learn's, on one core: ``"knn"``, the 5 nearest neighbours (``KNeighborsClassifier``);
    ``"logistic"``, a logistic regression of standardised codes (``LogisticRegression``); ``"random-forest"``, 100 trees
    (``RandomForestClassifier``); ``"mlp"``, one hidden layer of 100 units on standardised codes, in single precision
    (``MLPClassifier``).

    Precision, recall and F1 are means over the classes that the test labels or the predictions hold, each weighing the
    same (macro averages), with 0 where a class is never predicted or never there. A class that only the test labels
    hold is always predicted wrongly, and its probability is 0.

    Args:
        train_codes: Codes to learn from, (N, latent_dim), usually posterior means.
        train_labels: Their labels, (N,), of at least two classes.
        test_codes: Codes of other images, (M, latent_dim).
        test_labels: Their labels, (M,).
        kind: Kind of classifier.
        seed: Seed of the forest and of the network; the others draw nothing.
        settings: Settings of scikit-learn's classifier, under its own names, such as ``n_neighbors=1``.

    Raises:
        DataError: If shapes do not match, a code is not finite, or the training labels are of one class.
        SettingError: If the kind is another, or the classifier does not take a setting, such as more neighbours than
            codes.

    Example:
        >>> train, test = mv.load_dataset("mnist-mini", "train")[:2000], mv.load_dataset("mnist-mini", "test")[:500]
        >>> pixels, others = train.images.flatten(1), test.images.flatten(1)  # as if they were codes
        >>> found = classify_codes(pixels, train.labels, others, test.labels)
        >>> found.accuracy > 0.85, found.confusion.shape
        (True, (10, 10))
    """
    classifier = _classifier(check_choice("kind", kind, get_args(Kind)), check_seed(seed), settings)
    task = _task(train_codes, train_labels, test_codes, test_labels)
    neighbours = classifier.get_params().get("n_neighbors")
    if isinstance(neighbours, int | np.integer) and neighbours > len(task.train):
        raise SettingError(
            f"n_neighbors of at most {len(task.train)}, as many as there are training codes",
            f"{neighbours}",
            "pass more codes, or a smaller n_neighbors",
        )
    with _its_settings(classifier):
        learned = learn(classifier, task.train, task.known, task.test)
    return _judged(task, classifier, learned)


def roc_auc(labels: Labels, probabilities: ArrayLike, classes: ArrayLike | Sequence[int] | None = None) -> RocAuc:
    r"""Areas under the receiver operating characteristic: of each class against the others, and of all decisions.

    .. math:: \text{AUC}_k = P(p_k(z) > p_k(z') \mid y = k, \, y' \ne k) + \tfrac{1}{2} P(p_k(z) = p_k(z') \mid \dots)

    Fawcett (2006), "An introduction to ROC analysis", section 7; scikit-learn's ``roc_auc_score``. From 0 to 1; higher
    is better, and 0.5 is chance. A class that no label is of, or that all are of, has no area: NaN, with a warning.

    Args:
        labels: True labels, (M,).
        probabilities: Probabilities of each class, (M, K), as :func:`classify_codes` gives them.
        classes: Label that each column stands for, (K,); 0 to K - 1 by default.

    Raises:
        DataError: If shapes do not match, classes are fewer than two, a label is none of them, or a probability is
            not finite.

    Example:
        >>> found = roc_auc([0, 0, 1, 1], torch.tensor([[0.9, 0.1], [0.4, 0.6], [0.6, 0.4], [0.2, 0.8]]))
        >>> found.by_class[1]  # in 3 of 4 pairs the one of class 1 has the higher probability
        0.75
    """
    from sklearn.metrics import roc_auc_score

    scores = _numbers(probabilities, "probabilities", "K")
    k = scores.shape[1]
    true, columns = match_classes(labels, range(k) if classes is None else classes, len(scores), k)
    decisions = true[:, None] == columns
    by_class = {
        int(label): float(roc_auc_score(held, score)) if 0 < held.sum() < len(held) else float("nan")
        for label, held, score in zip(columns, decisions.T, scores.T, strict=True)
    }
    missing = [str(label) for label, area in by_class.items() if np.isnan(area)]
    if missing:
        warnings.warn(
            f"no area under the curve of class {', '.join(missing)}, which is NaN: it takes labels of the class and "
            "of others; pass more test images, or leave these classes out",
            stacklevel=2,
        )
    return RocAuc(by_class, float(roc_auc_score(decisions.ravel(), scores.ravel())))


def classify_later(
    train_codes: ArrayLike,
    train_labels: Labels,
    test_codes: ArrayLike,
    test_labels: Labels,
    kinds: Sequence[Kind],
    *,
    seed: int = 0,
) -> dict[Kind, Callable[[], Classification]]:
    """Begin :func:`classify_codes` of several kinds in a process of its own.

    Args:
        train_codes: Codes to learn from, (N, latent_dim).
        train_labels: Their labels, (N,), of at least two classes.
        test_codes: Codes of other images, (M, latent_dim).
        test_labels: Their labels, (M,).
        kinds: Kinds of classifiers, computed one after the other.
        seed: Seed of the forest and of the network.

    Returns:
        A function for each kind, which waits for the result, that of ``classify_codes``; none where a process is not
        worth it, or not possible.

    Raises:
        DataError: If ``classify_codes`` raises one.
    """
    task = _task(train_codes, train_labels, test_codes, test_labels)
    arrays = {name: getattr(task, name) for name in ("train", "known", "test")}
    running = start("classify", arrays, {"kinds": list(kinds), "seed": check_seed(seed)})
    if running is None:
        return {}

    def wait(kind: Kind) -> Classification:
        found = running.result
        classifier = classifier_of(kind, seed)
        if found is None:
            return _judged(task, classifier, learn(classifier, **arrays))
        own = {name.removeprefix(f"{kind}/"): one for name, one in found.items() if name.startswith(f"{kind}/")}
        return _judged(task, classifier, own)

    return {kind: partial(wait, kind) for kind in kinds}


class _Task(NamedTuple):
    """Codes and labels of a classifier, as arrays that go together."""

    train: NDArray[np.float64]
    known: NDArray[np.int64]
    test: NDArray[np.float64]
    true: NDArray[np.int64]


def _task(train_codes: ArrayLike, train_labels: Labels, test_codes: ArrayLike, test_labels: Labels) -> _Task:
    train, test = _numbers(train_codes, "training codes"), _numbers(test_codes, "test codes")
    if train.shape[1] != test.shape[1]:
        raise DataError(
            f"test codes of {train.shape[1]} dimensions, as the training codes have",
            f"{test.shape[1]}",
            "encode both with one model",
        )
    known, true = (as_labels(y, len(x)).cpu().numpy() for x, y in ((train, train_labels), (test, test_labels)))
    if len(np.unique(known)) < 2:
        raise DataError("training labels of at least two classes", "one", "pass images of several classes")
    return _Task(train, known, test, true)


def _classifier(kind: str, seed: int, settings: dict[str, Any]) -> Any:
    """An estimator of scikit-learn's, yet to be fitted, with some of its settings."""
    estimator = classifier_of(kind, seed)
    names = sorted(estimator.get_params().keys() - {"random_state"})
    for name in settings:
        if name not in names:
            fix = "pass it as seed" if name == "random_state" else f"it has {', '.join(names)}"
            raise SettingError(f"a setting of scikit-learn's {type(estimator).__name__}", repr(name), fix)
    return estimator.set_params(**settings)


@contextmanager
def _its_settings(classifier: Any) -> Iterator[None]:
    """A block in which scikit-learn's complaints are of settings, since the data are known to be good."""
    try:
        yield
    except (TypeError, ValueError, RuntimeError, LookupError, ArithmeticError) as error:
        raise SettingError(
            f"settings that {type(classifier).__name__} can use", str(error), "see scikit-learn's"
        ) from error


def _judged(task: _Task, classifier: Any, learned: Mapping[str, NDArray[Any]]) -> Classification:
    """The result of a classifier, from what it predicts."""
    from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

    if learned["unfinished"]:
        warnings.warn(
            f"{type(classifier).__name__} was not done after {classifier.max_iter} iterations, and may do better: "
            "pass a larger max_iter",
            stacklevel=3,
        )
    true, predicted = task.true, learned["predicted"]
    classes = np.union1d(task.known, true)
    probabilities = np.zeros((len(true), len(classes)))
    probabilities[:, np.searchsorted(classes, learned["classes"])] = learned["probabilities"]
    precision, recall, f1, _ = precision_recall_fscore_support(true, predicted, average="macro", zero_division=0)
    return Classification(
        float(accuracy_score(true, predicted)),
        float(precision),
        float(recall),
        float(f1),
        confusion_matrix(true, predicted, labels=classes),
        predicted,
        probabilities,
        classes,
    )


def _numbers(rows: ArrayLike, name: str, columns: str = "latent_dim") -> NDArray[np.float64]:
    return as_codes(rows, name, columns=columns).cpu().double().numpy()


def begin_code_classification(view: View, kinds: Sequence[Kind]) -> None:
    """Begin :func:`code_classification` in a process of its own, for whoever asks the view for it.

    Args:
        view: A model and a data set.
        kinds: Kinds of classifiers.
    """
    codes, labels = view.known_codes, view.labels
    if codes is not None and codes.labels is not None and labels is not None:
        waits = classify_later(codes.means, codes.labels, view.codes.means, labels, kinds, seed=view.seed)
        for kind, wait in waits.items():
            begin(view, wait, code_classification, kind)


def code_classification(view: View, kind: Kind) -> Classification:
    """A classifier that learns from the codes of a view's training images and is judged on those of its images.

    Args:
        view: A model and a data set, which meet ``NEEDS_OF_CLASSIFIERS``.
        kind: Kind of classifier, see :func:`classify_codes`.

    Raises:
        DataError: If the view has no labels, or no labelled training images.
    """
    codes, labels = view.known_codes, view.labels
    if codes is None or codes.labels is None or labels is None:
        raise DataError("labelled images and training images", "none", "pass an ImageDataset with labels, and train=")
    with view.bar(f"{kind} classifier", 1) as done:
        found = classify_codes(codes.means, codes.labels, view.codes.means, labels, kind, seed=view.seed)
        done(1)
    return found


#: What a view has to offer to classifiers of codes; see :data:`mnistvae.metrics.NEEDS`.
NEEDS_OF_CLASSIFIERS = ("two images", "two classes", "codes not told the label", "training labels")


def _metric(name: str, kind: Kind) -> Metric:
    def accuracy(view: View) -> Estimate:
        share = view.once(code_classification, kind).accuracy
        return Estimate(share, math.sqrt(share * (1 - share) / len(view)))

    return Metric(
        name,
        better="higher",
        needs=NEEDS_OF_CLASSIFIERS,
        compute=accuracy,
        protocol=lambda view: f"{kind} on posterior means, learned on {len(view.known or ())} of the training images",
    )


METRICS = (
    _metric("knn_accuracy", "knn"),
    _metric("logistic_accuracy", "logistic"),
    _metric("forest_accuracy", "random-forest"),
)
