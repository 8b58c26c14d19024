"""Clusters of codes, their centroids, and what belongs to none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mnistvae._checks import check_choice, check_count, check_instance
from mnistvae._passes import check_model
from mnistvae.analysis._sizes import usual_size
from mnistvae.analysis.planes import decode_codes
from mnistvae.arrays import ArrayLike
from mnistvae.errors import DataError, SettingError, type_name
from mnistvae.labels import Labels, as_labels
from mnistvae.metrics.latent import as_codes
from mnistvae.models import VAE

__all__ = [
    "Agreement",
    "ClusterKind",
    "Clusters",
    "Outlier",
    "agreement",
    "decode_centroids",
    "find_clusters",
    "outliers",
]

ClusterKind: TypeAlias = Literal["hdbscan", "dbscan"]

#: Share of the codes that a cluster has at least, where it is not set, and the fewest codes of one.
_SHARE, _FEWEST = 0.01, 5
#: Settings that are distances between codes.
_LENGTHS = ("eps", "cluster_selection_epsilon")


@dataclass(frozen=True)
class Clusters:
    """Clusters of codes: the cluster of each code, and the centroids."""

    #: Number of each code's cluster, (N,), from 0 in the order of their size; -1 is noise.
    members: NDArray[np.int64]
    #: Means of the codes of each cluster, (K, D).
    centroids: NDArray[np.float64]
    #: Method that found them.
    kind: str
    #: Settings of the method, by the caller or from the data.
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_members(self.members, self.centroids)

    @property
    def count(self) -> int:
        """Number of clusters, K."""
        return len(self.centroids)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Number of codes of each cluster, (K,)."""
        return np.bincount(self.members[self.members >= 0], minlength=self.count).astype(np.int64)

    @property
    def noise(self) -> float:
        """Share of the codes that are in no cluster."""
        return float((self.members < 0).mean())


class Agreement(NamedTuple):
    """Agreement of clusters and labels, over the codes that are in a cluster."""

    #: Adjusted Rand index: 0 by chance, 1 for the same parts.
    rand_index: float
    #: Normalised mutual information, 0 to 1.
    mutual_information: float
    #: Number of codes that are in a cluster.
    codes: int


@dataclass(frozen=True)
class Outlier:
    """A code that is far from the others."""

    #: Number of the image.
    index: int
    #: Number of the cluster whose centroid is nearest; -1 if there is no cluster.
    nearest: int
    #: Distance from that centroid, in units of the cluster's spread: the root mean square distance of its codes.
    distance: float
    #: True if it is noise.
    noise: bool


def find_clusters(codes: ArrayLike, kind: ClusterKind = "hdbscan", **settings: Any) -> Clusters:
    """Find clusters by density: places where codes are near each other, of any shape and in any number.

    ``"hdbscan"`` (Campello et al., 2013) takes a cluster for what holds together over many densities. Where it is not
    set, ``min_cluster_size`` is a hundredth of the codes, and at least 5. ``"dbscan"`` (Ester et al., 1996) takes one
    density: ``min_samples`` codes within ``eps`` of a code, which counts itself. Where they are not set,
    ``min_samples`` is twice the dimensions (at least 5; Sander et al., 1998), and ``eps`` is where the curve of the
    distances within which each code has so many, itself among them, in ascending order, has its knee: the point that is
    farthest below the line from its first to its last (Satopaa et al., 2011, "Kneedle").

    In many dimensions distances say little: clusters of an embedding (:func:`embed`) are often those that the eye
    sees, and t-SNE or UMAP may make some that are not there.

    Args:
        codes: Codes or points of an embedding, (N, D), at least 5.
        kind: Method.
        settings: Settings of scikit-learn's ``HDBSCAN`` or ``DBSCAN``, under their own names.

    Returns:
        The clusters, the largest first; none, if everything is noise.

    Raises:
        DataError: If codes have another shape, are too few or not finite.
        SettingError: If the method is unknown or does not take a setting, such as more ``min_samples`` than codes.

    Example:
        >>> two = torch.cat([torch.randn(50, 2), torch.randn(100, 2) + 20])
        >>> find_clusters(two).sizes.tolist()
        [100, 50]
    """
    kind = check_choice("kind", kind, get_args(ClusterKind))
    exact = as_codes(codes, least=_FEWEST).cpu().double().numpy()
    rows, unit = usual_size(exact, centred="metric" not in settings)
    if settings.get("min_samples") is not None or (kind == "dbscan" and "min_samples" in settings):
        settings["min_samples"] = _at_most("min_samples", settings["min_samples"], len(rows))
    if kind == "hdbscan":
        settings = {"min_cluster_size": max(_FEWEST, round(_SHARE * len(rows)))} | settings
    else:
        settings = {"min_samples": min(len(rows), max(_FEWEST, 2 * rows.shape[1]))} | settings
        if "eps" not in settings:
            settings["eps"] = float(np.ldexp(_knee(rows, settings["min_samples"]), unit))
    lengths = {name: np.ldexp(settings[name], -unit) for name in _LENGTHS if unit and name in settings}
    try:
        members = _clusterer(kind, settings | lengths).fit_predict(rows)
    except (TypeError, ValueError) as error:  # scikit-learn's complaint of a setting
        raise SettingError(f"settings of {kind}", " ".join(str(error).split()), "see scikit-learn's") from error
    members = _by_size(np.asarray(members, dtype=np.int64))
    means = [exact[members == number].mean(0) for number in range(members.max() + 1)]
    return Clusters(members, np.array(means).reshape(-1, exact.shape[1]), kind, settings)


def agreement(clusters: Clusters, labels: Labels) -> Agreement:
    """Measure how well clusters and labels agree, over the codes that are not noise.

    The adjusted Rand index of Hubert and Arabie (1985) is 0 for what chance would give; the mutual information is
    divided by the mean of the two entropies. Both are scikit-learn's.

    Args:
        clusters: Clusters of N codes.
        labels: Labels of the codes, (N,).

    Raises:
        DataError: If there is another number of labels, or no code is in a cluster.
    """
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    classes = as_labels(labels, len(_checked(clusters).members)).cpu().numpy()
    inside = clusters.members >= 0
    if not inside.any():
        raise DataError("codes that are in a cluster", "noise alone", "set the clusterer to a lower density")
    a, b = classes[inside], clusters.members[inside]
    rand, information = adjusted_rand_score(a, b), normalized_mutual_info_score(a, b)
    return Agreement(float(rand), float(information), int(inside.sum()))


def outliers(codes: ArrayLike, clusters: Clusters, n: int = 10) -> list[Outlier]:
    r"""Find the codes that are farthest from the centroid of their nearest cluster, those of the noise first.

    .. math:: d_i = \min_k \frac{\lVert z_i - c_k \rVert}{s_k}, \qquad
        s_k^2 = \frac{1}{n_k} \sum_{j \in k} \lVert z_j - c_k \rVert^2

    Args:
        codes: Codes that the clusters were found in, (N, D).
        clusters: Clusters of these codes.
        n: Largest number of outliers.

    Returns:
        Outliers by falling distance, first those of the noise. Where there is no cluster, the distance is from the
        mean of all codes.

    Raises:
        DataError: If the codes are not those of the clusters.
        SettingError: If ``n`` is below 1.
    """
    n = check_count("n as an integer of at least 1", n)
    _checked(clusters)
    rows = as_codes(codes).cpu().double().numpy()
    if len(rows) != len(clusters.members) or (clusters.count and rows.shape[1] != clusters.centroids.shape[1]):
        raise DataError(
            f"the {len(clusters.members)} codes that the clusters were found in", f"shape {rows.shape}", "pass the same"
        )
    rows, unit = usual_size(rows, centred=False)
    members = clusters.members if clusters.count else np.zeros(len(rows), dtype=np.int64)
    centroids = np.ldexp(clusters.centroids, -unit) if clusters.count else rows.mean(0, keepdims=True)
    distances = np.stack([np.linalg.norm(rows - centroid, axis=1) for centroid in centroids], 1)
    spread = np.array([np.sqrt((distances[members == k, k] ** 2).mean()) for k in range(len(centroids))])
    scaled = distances / np.maximum(spread, np.finfo(float).tiny)
    nearest = scaled.argmin(1)
    distance = scaled[np.arange(len(rows)), nearest]
    left_out = clusters.members < 0
    order = np.lexsort((-distance, ~left_out))
    found = order[:n].tolist()
    return [Outlier(i, int(nearest[i]) if clusters.count else -1, float(distance[i]), bool(left_out[i])) for i in found]


def decode_centroids(model: VAE, codes: ArrayLike, clusters: Clusters, labels: Labels | None = None) -> Tensor:
    """Decode the mean of each cluster's codes to an image, (K, C, H, W) in [0, 1].

    Args:
        model: Model of the codes.
        codes: Codes (N, latent_dim), the whole ones also where the clusters were found in an embedding of them.
        clusters: Clusters of these codes.
        labels: Labels of the codes, for a conditional model: a centroid is decoded under its cluster's commonest.

    Raises:
        DataError: If codes are of another model or number, or a conditional model gets no labels.
    """
    check_model(model)
    rows = as_codes(codes)
    if len(rows) != len(_checked(clusters).members):
        raise DataError(f"{len(clusters.members)} codes", str(len(rows)), "pass those that the clusters are of")
    if not clusters.count:
        return torch.zeros(0, *model.image_shape, device="cpu")
    members = torch.from_numpy(clusters.members)
    centroids = torch.stack([rows[members == k].mean(0) for k in range(clusters.count)])
    y: Sequence[int] | None = None
    if model.num_classes is not None:
        if labels is None:
            raise DataError("labels for a conditional model", "none", "pass those of the codes")
        classes = as_labels(labels, len(rows))
        y = [int(classes[members == k].mode().values) for k in range(clusters.count)]
    return decode_codes(model, centroids, y)


def _checked(clusters: Clusters) -> Clusters:
    return check_instance("clusters, as find_clusters gives them", clusters, Clusters, error=DataError)


def _check_members(members: NDArray[np.int64], centroids: NDArray[np.float64]) -> None:
    for name, array, kinds, ndim in (("members", members, "iu", 1), ("centroids", centroids, "iuf", 2)):
        if not isinstance(array, np.ndarray) or array.ndim != ndim or array.dtype.kind not in kinds:
            got = f"shape {array.shape}, dtype {array.dtype}" if isinstance(array, np.ndarray) else type_name(array)
            form = "integers (N,)" if ndim == 1 else "numbers (K, D)"
            raise DataError(f"{name} as a numpy array of {form}", got, "find_clusters gives them")
    if not len(members):
        raise DataError("members of at least one code", "none", "find_clusters gives them")
    count = len(centroids)
    low, high = int(members.min()), int(members.max())
    if low < -1 or high >= count:
        raise DataError(
            f"members from -1, noise, to {count - 1}, the last centroid's",
            str(low if low < -1 else high),
            "pass a centroid for each cluster",
        )


def _at_most(name: str, value: Any, most: int) -> int:
    """A setting that counts codes."""
    number = check_count(f"{name} as an integer from 1 to {most}, as there are codes", value)
    if number > most:
        raise SettingError(
            f"{name} of at most {most}, as there are codes", str(number), "pass more codes, or a smaller one"
        )
    return number


def _clusterer(kind: str, settings: dict[str, Any]) -> Any:
    from sklearn.cluster import DBSCAN, HDBSCAN

    return DBSCAN(**settings) if kind == "dbscan" else HDBSCAN(**{"copy": True} | settings)


def _knee(rows: NDArray[np.float64], count: int) -> float:
    """The distance at the knee of the sorted distances within which each code has so many codes, itself among them."""
    from sklearn.neighbors import NearestNeighbors

    nearest = max(2, count)  # the first is the code itself
    found, _ = NearestNeighbors(n_neighbors=nearest).fit(rows).kneighbors(rows)
    distances = np.sort(found[:, -1])
    if distances[-1] == distances[0]:
        return float(max(distances[0], np.finfo(float).tiny))
    line = np.linspace(distances[0], distances[-1], len(distances))
    knee = float(distances[int((line - distances).argmax())])
    return max(knee * (1 + 1e-6), np.finfo(float).tiny)  # so that a code at that distance is within it, however rounded


def _by_size(members: NDArray[np.int64]) -> NDArray[np.int64]:
    """The clusters numbered anew, the largest first; what is below 0 is noise."""
    numbers, sizes = np.unique(members[members >= 0], return_counts=True)
    order = numbers[np.argsort(-sizes, kind="stable")]
    renumbered = np.full_like(members, -1)
    for new, old in enumerate(order):
        renumbered[members == old] = new
    return renumbered
