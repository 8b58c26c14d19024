"""Disentanglement: how much of the label one latent dimension alone holds.

Functions of codes as numbers, (N, latent_dim), usually posterior means, and of their labels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mnistvae._checks import check_count
from mnistvae._learners import heeded
from mnistvae.arrays import ArrayLike
from mnistvae.errors import DataError
from mnistvae.labels import Labels, as_labels
from mnistvae.metrics.latent import as_codes
from mnistvae.metrics.metric import Metric

__all__ = ["METRICS", "mig", "sap"]


def mig(codes: ArrayLike, labels: Labels, bins: int = 20) -> float:
    r"""Mutual information gap: how much more of the label the best latent dimension tells than the next.

    .. math:: \frac{I(z_{(1)}; y) - I(z_{(2)}; y)}{H(y)}

    over the two dimensions that tell most. Chen et al. (2018), section 4.1, with the label as the one factor, and the
    information from counts over equal bins between a dimension's least and greatest value, as Locatello et al. (2019),
    "Challenging common assumptions", have it. From 0 to 1; higher means that one dimension alone holds the label. With
    one dimension the gap is to 0. Counts of few images overrate the information: take some 1,000 or more.

    Args:
        codes: Codes, (N, latent_dim), usually posterior means.
        labels: Labels, (N,), of at least two classes.
        bins: Number of bins in each dimension.

    Raises:
        DataError: If a shape is another, a code is not finite, or the labels are of one class.
        SettingError: If there are fewer than two bins.

    Example:
        >>> labels = torch.arange(1000) % 10
        >>> codes = torch.stack([labels.float(), torch.randn(1000)], 1)
        >>> mig(codes, labels) > 0.9
        True
    """
    from sklearn.metrics import mutual_info_score

    bins = check_count("bins as an integer of at least 2", bins, least=2)
    columns, classes = _columns_and_classes(codes, labels)
    binned = (columns * bins).long().clamp(max=bins - 1)
    information = [float(mutual_info_score(classes, column)) for column in binned.numpy()]
    return _gap(information, of_nothing=0.0) / float(mutual_info_score(classes, classes))


def sap(codes: ArrayLike, labels: Labels) -> float:
    r"""Separated attribute predictability: how much better the best latent dimension tells the label than the next.

    .. math:: S_{(1)} - S_{(2)}, \qquad S_j = \text{balanced accuracy of thresholds on } z_j

    over the two dimensions that tell best. Kumar et al. (2018), "Variational inference of disentangled latent
    concepts", section 3, for a categorical factor: thresholds on one dimension at a time, scored on the codes that they
    were found on. Here they are those of a decision tree with as many leaves as there are classes, each class weighing
    the same; others fit a linear SVM in its place, and their figures differ. From 0 to 1 - 1/K for K classes; higher
    means that one dimension alone holds the label. With one dimension the gap is to 1/K, the accuracy of one that says
    nothing.

    Args:
        codes: Codes, (N, latent_dim), usually posterior means.
        labels: Labels, (N,), of at least two classes.

    Raises:
        DataError: If a shape is another, a code is not finite, or the labels are of one class.

    Example:
        >>> labels = torch.arange(1000) % 2
        >>> sap(torch.stack([labels.float(), torch.zeros(1000)], 1), labels)
        0.5
    """
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.tree import DecisionTreeClassifier

    columns, classes = _columns_and_classes(codes, labels)
    num_classes = int(classes.max()) + 1
    accuracies = []
    for column in columns.unsqueeze(-1).numpy():
        tree = DecisionTreeClassifier(max_leaf_nodes=num_classes, class_weight="balanced", random_state=0)
        with heeded():
            found = tree.fit(column, classes).predict(column)
        accuracies.append(float(balanced_accuracy_score(classes, found)))
    return _gap(accuracies, of_nothing=1 / num_classes)


def _columns_and_classes(codes: ArrayLike, labels: Labels) -> tuple[Tensor, NDArray[np.intp]]:
    """Each latent dimension brought to [0, 1], (latent_dim, N), and the classes numbered from 0."""
    rows = as_codes(codes).cpu()
    found, classes = np.unique(as_labels(labels, len(rows)).cpu().numpy(), return_inverse=True)
    if len(found) < 2:
        raise DataError("labels of at least two classes", f"{len(found)}", "pass images of several classes")
    low, high = torch.aminmax(rows, dim=0)
    return ((rows - low) / torch.where(high > low, high - low, 1.0)).T, classes


def _gap(scores: list[float], of_nothing: float) -> float:
    """The best score minus the next; ``of_nothing``, which a dimension that says nothing has, is the least there is."""
    best, following = sorted([*scores, of_nothing], reverse=True)[:2]
    return best - following


def _metric(name: str, function: Callable[[ArrayLike, Any], float], how: str) -> Metric:
    needs = ("two images", "two classes", "codes not told the label")
    return Metric(name, "", "higher", needs, compute=lambda view: function(view.codes.means, view.labels), protocol=how)


METRICS = (
    _metric("mig", mig, "the label as the one factor, 20 bins"),
    _metric("sap", sap, "the label as the one factor, decision trees"),
)
