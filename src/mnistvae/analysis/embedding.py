"""Maps of codes: points of the plane that stand for them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from mnistvae._checks import check_choice, check_count, check_seed
from mnistvae._learners import tsne
from mnistvae._process import start
from mnistvae.analysis._sizes import usual_size
from mnistvae.arrays import ArrayLike
from mnistvae.errors import DataError, MnistvaeError, SettingError
from mnistvae.metrics.latent import as_codes

__all__ = ["Embedding", "EmbeddingKind", "embed", "embed_later"]

EmbeddingKind: TypeAlias = Literal["pca", "tsne", "umap"]
_AXES = {"pca": "principal axis", "tsne": "t-SNE", "umap": "UMAP"}
#: The largest number whose square UMAP, which computes in single precision, can still add up.
_LARGEST = 1e15


@dataclass(frozen=True)
class Embedding:
    """Points that stand for codes."""

    #: (N, dimensions), float64.
    points: NDArray[np.float64]
    #: Method: "pca", "tsne", "umap", or "codes" for codes as they are.
    kind: str
    #: Names of the axes.
    names: tuple[str, ...]
    #: Settings of the method.
    settings: dict[str, Any] = field(default_factory=dict)
    #: Share of the variance that each dimension holds, for PCA.
    explained: tuple[float, ...] = ()

    def __len__(self) -> int:
        return len(self.points)


def embed(
    codes: ArrayLike, kind: EmbeddingKind = "pca", dimensions: int = 2, *, seed: int = 0, **settings: Any
) -> Embedding:
    """Map codes of any size to points of the plane.

    Codes that are of that size already are returned as they are, and codes that are all the same, to the accuracy of
    their numbers, as zeros. ``"pca"``:
    the directions of largest variance (Pearson, 1901), which keeps distances as far as it can and is a projection;
    ``"tsne"`` (van der Maaten and Hinton, 2008) and ``"umap"`` (McInnes et al., 2018; the extra ``[umap]``) keep
    neighbours together, and say nothing by the size of a cluster or the distance between two. By default t-SNE begins
    at the principal axes, so that the picture depends little on the seed.

    Args:
        codes: Codes (N, latent_dim), usually posterior means, of at least 3 images.
        kind: Method.
        dimensions: Number of dimensions of the points.
        seed: Seed of t-SNE and UMAP.
        settings: Settings of scikit-learn's ``PCA`` or ``TSNE``, or of ``umap.UMAP``, under their own names.

    Raises:
        DataError: If codes have another shape, are too few or not finite, or, for UMAP, hold numbers above 1e15.
        SettingError: If the method is unknown or does not take a setting, a perplexity or a number of neighbours is
            too large for the number of codes, or umap-learn is not installed.

    Example:
        >>> embed(torch.randn(100, 10), "pca").points.shape
        (100, 2)
    """
    kind = check_choice("kind", kind, get_args(EmbeddingKind))
    dimensions = check_count("dimensions as an integer of at least 1", dimensions)
    seed = check_seed(seed)
    exact = as_codes(codes, least=3).cpu().double().numpy()
    if exact.shape[1] <= dimensions:
        return Embedding(exact, "codes", tuple(f"latent dimension {n}" for n in range(exact.shape[1])))
    largest = float(np.abs(exact).max())
    if kind == "umap" and largest > _LARGEST:
        raise DataError(f"codes of at most {_LARGEST:g}", f"{largest:g}", "look at the encoder, or take pca")
    rows, unit = usual_size(exact)
    if not rows.any():  # a collapsed posterior, which scikit-learn's methods are not made for
        return Embedding(np.zeros((len(rows), dimensions)), kind, _numbered(_AXES[kind], dimensions), settings)
    methods: dict[str, Callable[..., Embedding]] = {"pca": _pca, "tsne": _tsne, "umap": _umap}
    try:
        found = methods[kind](rows, dimensions, seed % 2**32, settings)
    except (MnistvaeError, MemoryError):
        raise
    except Exception as error:  # of wrong settings the methods, and what compiles them, may say anything
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise SettingError(f"settings of {kind}", said, "see scikit-learn's documentation, or umap's") from error
    return replace(found, points=np.ldexp(found.points, unit)) if kind == "pca" and unit else found


def embed_later(codes: ArrayLike, *, seed: int = 0, **settings: Any) -> Callable[[], Embedding] | None:
    """Begin a map by t-SNE in a process of its own; None where that is not worth it, or not possible.

    Args:
        codes: Codes (N, latent_dim).
        seed: Seed of the method.
        settings: Settings of scikit-learn's ``TSNE``, under their own names.

    Returns:
        A function that waits for the map, which is that of ``embed(codes, "tsne", seed=seed, **settings)``.

    Raises:
        DataError: If codes have another shape, are too few or not finite.
        SettingError: If the perplexity is too large for the number of codes.
    """
    rows, _ = usual_size(as_codes(codes, least=3).cpu().double().numpy())
    if rows.shape[1] <= 2 or not rows.any():
        return None
    used = _tsne_settings(rows, settings)
    running = start("tsne", {"rows": rows}, _tsne_arguments(2, seed % 2**32, used))
    if running is None:
        return None

    def wait() -> Embedding:
        found = running.result
        return embed(codes, "tsne", seed=seed, **settings) if found is None else _tsne_map(found["points"], used)

    return wait


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
    settings = _tsne_settings(rows, settings)
    return _tsne_map(tsne(rows, **_tsne_arguments(dimensions, seed, settings))["points"], settings)


def _tsne_settings(rows: NDArray[np.float64], settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of t-SNE, with those that are not given."""
    usual: dict[str, Any] = {"perplexity": min(30.0, (len(rows) - 1) / 3), "init": "pca"}
    settings = usual | settings
    if not 1 <= settings["perplexity"] < len(rows):
        raise SettingError(
            f"a perplexity of at least 1 and below {len(rows)}, the number of codes",
            str(settings["perplexity"]),
            "pass more codes, or a smaller perplexity" if len(rows) > 3 else "pass more codes",
        )
    return settings


def _tsne_arguments(dimensions: int, seed: int, settings: dict[str, Any]) -> dict[str, Any]:
    return {"n_components": dimensions, "random_state": seed, "n_jobs": None} | settings


def _tsne_map(points: NDArray[Any], settings: dict[str, Any]) -> Embedding:
    return Embedding(points.astype(np.float64), "tsne", _numbered(_AXES["tsne"], points.shape[1]), settings)


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
