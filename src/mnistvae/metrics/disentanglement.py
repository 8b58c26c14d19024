"""Disentanglement by gaps: how much more one latent dimension tells of a label, or of a factor, than the next.

Functions of codes as numbers, (N, latent_dim), usually posterior means, and of labels or factors of their images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mnistvae._checks import check_count
from mnistvae._learners import heeded
from mnistvae.arrays import ArrayLike
from mnistvae.data import Factors
from mnistvae.errors import DataError
from mnistvae.labels import Labels, as_labels
from mnistvae.metrics._factors import as_classes, codes_and_factors, names_of
from mnistvae.metrics.latent import as_codes
from mnistvae.metrics.metric import Metric
from mnistvae.view import View

__all__ = ["METRICS", "mig", "mig_by_factor", "sap", "sap_by_factor"]


def mig(codes: ArrayLike, labels: Labels | Factors | Mapping[str, Any], bins: int = 20) -> float:
    r"""Mutual information gap: how much more of the label the best latent dimension tells than the next.

    .. math:: \frac{I(z_{(1)}; y) - I(z_{(2)}; y)}{H(y)}

    over the two dimensions that tell most. Chen et al. (2018), section 4.1, with the label as the one factor, and the
    information from counts over equal bins between a dimension's least and greatest value, as Locatello et al. (2019),
    "Challenging common assumptions", have it. From 0 to 1; higher means that one dimension alone holds the label. With
    one dimension the gap is to 0. Counts of few images overrate the information: take some 1,000 or more.

    Of several factors it is the mean over them, see :func:`mig_by_factor`.

    Args:
        codes: Codes, (N, latent_dim), usually posterior means.
        labels: Labels, (N,), of at least two classes; or :class:`~mnistvae.data.Factors` of the images.
        bins: Number of bins in each dimension.

    Raises:
        DataError: If a shape is another, a code is not finite, the labels are of one class, or a factor is the same in
            all images or missing in one.
        SettingError: If there are fewer than two bins.

    Example:
        >>> labels = torch.arange(1000) % 10
        >>> codes = torch.stack([labels.float(), torch.randn(1000)], 1)
        >>> mig(codes, labels) > 0.9
        True
    """
    if isinstance(labels, Factors | Mapping):
        return _mean(mig_by_factor(codes, labels, bins))
    bins = _check_bins(bins)
    columns, classes = _columns_and_classes(codes, labels)
    return _information_gap(columns, classes, bins)


def mig_by_factor(codes: ArrayLike, factors: Factors | Mapping[str, Any], bins: int = 20) -> dict[str, float]:
    """The mutual information gap of each factor, as :func:`mig` has it of the label.

    A factor in numbers of more than ``bins`` different values is put into as many classes, of equally many images.

    Args:
        codes: Codes, (N, latent_dim), usually posterior means.
        factors: Factors of the N images, or a mapping of names to values (N,).
        bins: Number of bins in each dimension, and of classes of a factor in numbers.

    Raises:
        DataError: If a shape is another, a code is not finite, or a factor is the same in all images or missing in one.
        SettingError: If there are fewer than two bins.

    Example:
        >>> factors = mv.data.Factors({"x": torch.rand(1000), "shape": torch.arange(1000) % 2})
        >>> codes = torch.stack([factors["x"], torch.randn(1000), factors["shape"]], 1)
        >>> {name: round(gap, 1) for name, gap in mig_by_factor(codes, factors).items()}
        {'x': 0.9, 'shape': 1.0}
    """
    bins = _check_bins(bins)
    rows, found = codes_and_factors(codes, factors)
    columns = _scaled(rows)
    return {name: _information_gap(columns, as_classes(each, bins), bins) for name, each in found.values.items()}


def sap(codes: ArrayLike, labels: Labels | Factors | Mapping[str, Any]) -> float:
    r"""Separated attribute predictability: how much better the best latent dimension tells the label than the next.

    .. math:: S_{(1)} - S_{(2)}, \qquad S_j = \text{balanced accuracy of thresholds on } z_j

    over the two dimensions that tell best. Kumar et al. (2018), "Variational inference of disentangled latent
    concepts", section 3, for a categorical factor: thresholds on one dimension at a time, scored on the codes that they
    were found on. Here they are those of a decision tree with as many leaves as there are classes, each class weighing
    the same; others fit a linear SVM in its place, and their figures differ. From 0 to 1 - 1/K for K classes; higher
    means that one dimension alone holds the label. With one dimension the gap is to 1/K, the accuracy of one that says
    nothing.

    Of several factors it is the mean over them, see :func:`sap_by_factor`.

    Args:
        codes: Codes, (N, latent_dim), usually posterior means.
        labels: Labels, (N,), of at least two classes; or :class:`~mnistvae.data.Factors` of the images.

    Raises:
        DataError: If a shape is another, a code is not finite, the labels are of one class, or a factor is the same in
            all images or missing in one.

    Example:
        >>> labels = torch.arange(1000) % 2
        >>> sap(torch.stack([labels.float(), torch.zeros(1000)], 1), labels)
        0.5
    """
    if isinstance(labels, Factors | Mapping):
        return _mean(sap_by_factor(codes, labels))
    return _accuracy_gap(*_columns_and_classes(codes, labels))


def sap_by_factor(codes: ArrayLike, factors: Factors | Mapping[str, Any]) -> dict[str, float]:
    r"""The gap in predictability of each factor: of classes as :func:`sap` has it, of numbers by a line.

    .. math:: S_j = \frac{\operatorname{Cov}(z_j, v)^2}{\operatorname{Var}(z_j) \operatorname{Var}(v)}

    is the share of a number's variance that a line in the dimension explains (Kumar et al. 2018, section 3). Its gap is
    from 0 to 1, and with one dimension it is to 0.

    Args:
        codes: Codes, (N, latent_dim), usually posterior means.
        factors: Factors of the N images, or a mapping of names to values (N,).

    Raises:
        DataError: If a shape is another, a code is not finite, or a factor is the same in all images or missing in one.

    Example:
        >>> x = torch.rand(1000)
        >>> round(sap_by_factor(torch.stack([2 - 3 * x, torch.zeros(1000)], 1), {"x": x})["x"], 3)
        1.0
    """
    rows, found = codes_and_factors(codes, factors)
    columns = _scaled(rows)
    return {
        name: _accuracy_gap(columns, as_classes(each, 1)) if found.in_classes(name) else _linear_gap(columns, each)
        for name, each in found.values.items()
    }


def _check_bins(bins: Any) -> int:
    return check_count("bins as an integer of at least 2", bins, least=2)


def _mean(of_factors: Mapping[str, float]) -> float:
    return sum(of_factors.values()) / len(of_factors)


def _information_gap(columns: Tensor, classes: NDArray[np.intp], bins: int) -> float:
    """The gap in information of some classes between dimensions in [0, 1], (latent_dim, N), by their entropy."""
    from sklearn.metrics import mutual_info_score

    binned = (columns * bins).long().clamp(max=bins - 1)
    information = [float(mutual_info_score(classes, column)) for column in binned.numpy()]
    return _gap(information, of_nothing=0.0) / float(mutual_info_score(classes, classes))


def _accuracy_gap(columns: Tensor, classes: NDArray[np.intp]) -> float:
    """The gap in balanced accuracy of trees, each of which sees one dimension, (latent_dim, N)."""
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.tree import DecisionTreeClassifier

    num_classes = int(classes.max()) + 1
    accuracies = []
    for column in columns.unsqueeze(-1).numpy():
        tree = DecisionTreeClassifier(max_leaf_nodes=num_classes, class_weight="balanced", random_state=0)
        with heeded():
            found = tree.fit(column, classes).predict(column)
        accuracies.append(float(balanced_accuracy_score(classes, found)))
    return _gap(accuracies, of_nothing=1 / num_classes)


def _linear_gap(columns: Tensor, values: Tensor) -> float:
    """The gap in the share of the variance of numbers, (N,), that lines in a dimension, (latent_dim, N), explain."""
    centred, target = columns - columns.mean(1, keepdim=True), values - values.mean()
    of_codes, of_values = centred.square().sum(1), target.square().sum()
    share = (centred @ target).square() / (of_codes * of_values)
    return _gap(torch.where(of_codes > 0, share, 0.0).tolist(), of_nothing=0.0)


def _columns_and_classes(codes: ArrayLike, labels: Labels) -> tuple[Tensor, NDArray[np.intp]]:
    """Each latent dimension brought to [0, 1], (latent_dim, N), and the classes numbered from 0."""
    rows = as_codes(codes).cpu()
    found, classes = np.unique(as_labels(labels, len(rows)).cpu().numpy(), return_inverse=True)
    if len(found) < 2:
        raise DataError("labels of at least two classes", f"{len(found)}", "pass images of several classes")
    return _scaled(rows), classes


def _scaled(rows: Tensor) -> Tensor:
    """Each latent dimension brought to [0, 1]: (latent_dim, N)."""
    low, high = torch.aminmax(rows, dim=0)
    return ((rows - low) / torch.where(high > low, high - low, 1.0)).T


def _gap(scores: list[float], of_nothing: float) -> float:
    """The best score minus the next; ``of_nothing``, which a dimension that says nothing has, is the least there is."""
    best, following = sorted([*scores, of_nothing], reverse=True)[:2]
    return best - following


def _metric(name: str, function: Callable[[ArrayLike, Any], float], how: str) -> Metric:
    needs = ("two images", "two classes", "codes not told the label")
    return Metric(name, "", "higher", needs, compute=lambda view: function(view.codes.means, view.labels), protocol=how)


def _of_factors(name: str, function: Callable[[ArrayLike, Any], float], how: str) -> Metric:
    def protocol(view: View) -> str:
        return f"mean over {names_of(view)}, {how}"

    def compute(view: View) -> float:
        return function(view.codes.means, view.data.factors)

    return Metric(name, "", "higher", ("factors",), compute=compute, protocol=protocol)


METRICS = (
    _metric("mig", mig, "the label as the one factor, 20 bins"),
    _metric("sap", sap, "the label as the one factor, decision trees"),
    _of_factors("factor_mig", mig, "20 bins"),
    _of_factors("factor_sap", sap, "decision trees for classes, lines for numbers"),
)
