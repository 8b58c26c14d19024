"""Clusters of images beside their classes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mnistvae.errors import DataError
from mnistvae.labels import Labels, as_labels
from mnistvae.metrics.metric import Estimate, Metric
from mnistvae.priors import GaussianMixture
from mnistvae.view import View

__all__ = ["METRICS", "clustering_accuracy"]


def clustering_accuracy(clusters: Labels, labels: Labels) -> float:
    r"""Share of the images whose cluster stands for their class, each cluster for one class and each class for one.

    .. math:: \max_m \frac{1}{N} \sum_{n=1}^{N} \mathbb{1}[y_n = m(c_n)]

    The assignment m of clusters to classes is the best one of all (the Hungarian method, scipy's). Where there are more
    clusters than classes some stand for none, and their images count as wrong. From 0 to 1; higher is better. Xie et
    al. (2016), "Unsupervised deep embedding for clustering analysis".

    Args:
        clusters: Number of each image's cluster, (N,): those of :func:`mnistvae.analysis.find_clusters`, or the largest
            of :meth:`~mnistvae.priors.GaussianMixture.responsibilities`. -1 is no cluster, and never right.
        labels: Labels, (N,).

    Raises:
        DataError: If there are no images, or not as many labels as clusters.

    Example:
        >>> clustering_accuracy([5, 5, 5, 2], [0, 0, 1, 1])  # 5 stands for 0, and 2 for 1
        0.75
    """
    from scipy.optimize import linear_sum_assignment

    n = np.shape(clusters)[0] if np.ndim(clusters) else 0
    if n == 0:
        raise DataError("the cluster of each image, (N,)", f"shape {np.shape(clusters)}", "pass one number an image")
    members, classes = (as_labels(found, n).cpu().numpy() for found in (clusters, labels))
    inside = members >= 0
    _, rows = np.unique(members[inside], return_inverse=True)
    _, columns = np.unique(classes[inside], return_inverse=True)
    if not len(rows):
        return 0.0
    table = np.zeros((rows.max() + 1, columns.max() + 1), dtype=np.int64)
    np.add.at(table, (rows, columns), 1)
    return float(table[linear_sum_assignment(table, maximize=True)].sum() / n)


def _mixture(view: View) -> GaussianMixture:
    prior = view.model.prior
    if not isinstance(prior, GaussianMixture):
        raise DataError("a model with a GaussianMixture as its prior", repr(prior), "see mnistvae.fit_prior")
    return prior


def _of_mixture(view: View) -> Estimate:
    """Accuracy of the components of the model's prior."""
    found = _mixture(view).responsibilities(view.codes.means).argmax(1)
    labels: Any = view.labels  # there are some, or the metric is left out
    share = clustering_accuracy(found, labels)
    return Estimate(share, math.sqrt(share * (1 - share) / len(view)))


METRICS = (
    Metric(
        "clustering_accuracy",
        better="higher",
        needs=("a mixture prior", "labels", "codes not told the label"),
        compute=_of_mixture,
        protocol=lambda view: f"{_mixture(view).components} components of the prior at posterior means",
    ),
)
