"""Codes in two dimensions, so that they can be drawn."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from mnistvae._checks import check_choice, check_count, check_seed
from mnistvae.errors import DataError, SettingError
from mnistvae.images import ArrayLike
from mnistvae.metrics.latent import as_codes

__all__ = ["Embedding", "EmbeddingKind", "embed"]

EmbeddingKind: TypeAlias = Literal["pca", "tsne", "umap"]
_AXES = {"pca": "principal axis", "tsne": "t-SNE", "umap": "UMAP"}


@dataclass(frozen=True)
class Embedding:
    """Points that stand for codes."""

    #: (N, dimensions), float64.
    points: NDArray[np.float64]
    kind: str
    #: What the axes are called.
    names: tuple[str, ...]
    #: What the method was set to.
    settings: dict[str, Any] = field(default_factory=dict)
    #: Share of the variance that each dimension holds, for PCA.
    explained: tuple[float, ...] = ()

    def __len__(self) -> int:
        return len(self.points)


def embed(
    codes: ArrayLike, kind: EmbeddingKind = "pca", dimensions: int = 2, *, seed: int = 0, **settings: Any
) -> Embedding:
    """Codes of any size as points of the plane.

    Codes that are of that size already are returned as they are, and codes that are all the same as zeros. ``"pca"``:
    the directions of largest variance (Pearson, 1901), which keeps distances as far as it can and is a projection;
    ``"tsne"`` (van der Maaten and Hinton, 2008) and ``"umap"`` (McInnes et al., 2018; the extra ``[umap]``) keep
    neighbours together, and say nothing by the size of a cluster or the distance between two. By default t-SNE begins
    at the principal axes, so that the picture depends little on the seed.

    Args:
        codes: (N, latent_dim), usually posterior means, of at least 3 images.
        kind: the method.
        dimensions: of the points.
        seed: of t-SNE and UMAP.
        settings: of scikit-learn's ``PCA`` or ``TSNE``, or of ``umap.UMAP``, under their own names.

    Raises:
        DataError: codes of another shape, too few of them, NaN or infinity.
        SettingError: another kind, settings that it does not take, a perplexity that is too large for the number of
            codes, or umap-learn is not installed.

    Example:
        >>> embed(torch.randn(100, 10), "pca").points.shape
        (100, 2)
    """
    check_choice("kind", kind, get_args(EmbeddingKind))
    dimensions = check_count("dimensions as an integer of at least 1", dimensions)
    seed = check_seed(seed)
    rows = as_codes(codes, least=3).double().cpu().numpy()
    if rows.shape[1] <= dimensions:
        return Embedding(rows, "codes", tuple(f"latent dimension {n}" for n in range(rows.shape[1])))
    if not np.ptp(rows, axis=0).any():  # a collapsed posterior, which scikit-learn's methods are not made for
        return Embedding(np.zeros((len(rows), dimensions)), kind, _numbered(_AXES[kind], dimensions), settings)
    methods: dict[str, Callable[..., Embedding]] = {"pca": _pca, "tsne": _tsne, "umap": _umap}
    try:
        return methods[kind](rows, dimensions, seed % 2**32, settings)
    except TypeError as error:
        raise SettingError(f"settings of {kind}", str(error), "see scikit-learn's documentation, or umap's") from error


def _numbered(name: str, dimensions: int) -> tuple[str, ...]:
    return tuple(f"{name} {n}" for n in range(1, dimensions + 1))


def _pca(rows: NDArray[np.float64], dimensions: int, seed: int, settings: dict[str, Any]) -> Embedding:
    from sklearn.decomposition import PCA

    fitted = PCA(dimensions, **{"svd_solver": "full", "random_state": seed} | settings)
    points = fitted.fit_transform(rows)
    return Embedding(
        points,
        "pca",
        _numbered(_AXES["pca"], dimensions),
        settings,
        tuple(fitted.explained_variance_ratio_.tolist()),
    )


def _tsne(rows: NDArray[np.float64], dimensions: int, seed: int, settings: dict[str, Any]) -> Embedding:
    from sklearn.manifold import TSNE

    usual = min(30.0, (len(rows) - 1) / 3)
    defaults: dict[str, Any] = {"perplexity": usual, "init": "pca"}
    settings = defaults | settings
    if not 1 <= settings["perplexity"] < len(rows):
        raise SettingError(
            f"a perplexity of at least 1 and below {len(rows)}, the number of codes",
            str(settings["perplexity"]),
            "pass more codes, or a smaller perplexity",
        )
    fitted = TSNE(dimensions, **{"random_state": seed, "n_jobs": None} | settings)
    return Embedding(
        fitted.fit_transform(rows).astype(np.float64), "tsne", _numbered(_AXES["tsne"], dimensions), settings
    )


def _umap(rows: NDArray[np.float64], dimensions: int, seed: int, settings: dict[str, Any]) -> Embedding:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # umap's own imports warn
            from umap import UMAP
    except ImportError as error:
        raise SettingError(
            "umap-learn for an embedding by UMAP", "none", "pip install 'mnistvae[umap]', or take pca or tsne"
        ) from error
    usual: dict[str, Any] = {"min_dist": 0.1, "n_neighbors": min(15, len(rows) - 1)}
    settings = usual | settings
    if not 2 <= settings["n_neighbors"] < len(rows):
        raise SettingError(
            f"n_neighbors from 2 to {len(rows) - 1}",
            str(settings["n_neighbors"]),
            "pass more codes, or fewer neighbours",
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one thread, since a seed is given: that is what is wanted
        points = UMAP(n_components=dimensions, random_state=seed, **settings).fit_transform(rows)
    if not np.isfinite(points).all():
        raise DataError("codes that UMAP can place", "points at infinity", "pass more codes, or take tsne")
    return Embedding(np.asarray(points, dtype=np.float64), "umap", _numbered(_AXES["umap"], dimensions), settings)
