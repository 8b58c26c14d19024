"""Codes in two dimensions, so that they can be drawn."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from mnistvae._checks import check_choice, check_count, check_seed
from mnistvae.arrays import ArrayLike
from mnistvae.errors import DataError, MnistvaeError, SettingError
from mnistvae.metrics.latent import as_codes

__all__ = ["Embedding", "EmbeddingKind", "embed"]

EmbeddingKind: TypeAlias = Literal["pca", "tsne", "umap"]
_AXES = {"pca": "principal axis", "tsne": "t-SNE", "umap": "UMAP"}
#: The largest number whose square UMAP, which computes in single precision, can still add up.
_LARGEST = 1e15


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
        codes: Codes of at least 3 images, (N, latent_dim), usually posterior means.
        kind: Name of the method.
        dimensions: Dimensions of the points.
        seed: Seed of t-SNE and UMAP.
        settings: Settings of scikit-learn's ``PCA`` or ``TSNE``, or of ``umap.UMAP``, under their own names.

    Raises:
        DataError: If the codes have another shape, are too few, or one is not finite; for UMAP, also above 1e15.
        SettingError: If the kind is another word, it does not take a setting, perplexity or number of neighbours are
            too large for the number of codes, or umap-learn is not installed.

    Example:
        >>> embed(torch.randn(100, 10), "pca").points.shape
        (100, 2)
    """
    kind = check_choice("kind", kind, get_args(EmbeddingKind))
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
    except (MnistvaeError, MemoryError):
        raise
    except Exception as error:  # of wrong settings the methods, and what compiles them, may say anything
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise SettingError(f"settings of {kind}", said, "see scikit-learn's documentation, or umap's") from error


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
            "pass more codes, or a smaller perplexity" if len(rows) > 3 else "pass more codes",
        )
    fitted = TSNE(dimensions, **{"random_state": seed, "n_jobs": None} | settings)
    return Embedding(
        fitted.fit_transform(rows).astype(np.float64), "tsne", _numbered(_AXES["tsne"], dimensions), settings
    )


def umap_class() -> Any:
    """The class ``umap.UMAP``.

    Raises:
        SettingError: If umap-learn is not installed, or cannot be imported.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # umap's own imports warn
            from umap import UMAP
    except ImportError as error:
        absent = isinstance(error, ModuleNotFoundError) and error.name == "umap"
        raise SettingError(
            "umap-learn for an embedding by UMAP",
            "none" if absent else " ".join(str(error).split())[:200],
            "pip install 'mnistvae[umap]', or take pca or tsne",
        ) from error
    return UMAP


def _umap(rows: NDArray[np.float64], dimensions: int, seed: int, settings: dict[str, Any]) -> Embedding:
    method = umap_class()
    usual: dict[str, Any] = {"min_dist": 0.1, "n_neighbors": min(15, len(rows) - 1)}
    if len(rows) <= dimensions + 1:
        usual["init"] = "random"  # the spectral one takes more codes
    settings = usual | settings
    wanted, neighbours = f"n_neighbors from 2 to {len(rows) - 1}", settings["n_neighbors"]
    if check_count(wanted, neighbours, 2) >= len(rows):
        raise SettingError(wanted, str(neighbours), "pass more codes, or fewer neighbours")
    largest = float(np.abs(rows).max())
    if largest > _LARGEST:
        raise DataError(f"codes of at most {_LARGEST:g}", f"{largest:g}", "look at the encoder, or take pca")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of few codes, of parts far from each other: its picture is all there is
        # One thread: with more, the seed would not be enough.
        fitted = method(**{"n_components": dimensions, "random_state": seed, "n_jobs": 1} | settings)
        points = np.asarray(fitted.fit_transform(rows), dtype=np.float64)
    if points.shape != (len(rows), dimensions):
        raise SettingError(f"settings of umap that give {dimensions} numbers for each code", f"shape {points.shape}")
    if not np.isfinite(points).all():
        raise DataError("codes that UMAP can place", "points at infinity", "pass more codes, or take tsne")
    return Embedding(points, "umap", _numbered(_AXES["umap"], dimensions), settings)
