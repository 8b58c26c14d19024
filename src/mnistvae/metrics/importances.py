"""Disentanglement, completeness and informativeness: which dimensions a forest needs to tell a factor from a code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mnistvae._checks import check_seed
from mnistvae._learners import heeded
from mnistvae.arrays import ArrayLike
from mnistvae.data import Factors
from mnistvae.errors import DataError
from mnistvae.metrics._factors import codes_and_factors, names_of
from mnistvae.metrics.metric import Metric
from mnistvae.view import View

__all__ = ["DCI", "METRICS", "dci"]

#: Trees of a forest, and the fewest images in a leaf.
_TREES, _LEAF = 50, 5
#: Images that are split in halves, at least.
_FEWEST = 20


class DCI(NamedTuple):
    """The three scores of codes as representations of factors."""

    #: 1 where each dimension serves one factor alone, 0 where each serves all alike.
    disentanglement: float
    #: 1 where each factor is served by one dimension alone, 0 where each is by all alike.
    completeness: float
    #: Share of the factors that the codes tell; 1 where they tell them exactly.
    informativeness: float
    #: Importance of each dimension for each factor, (latent_dim, K), float64; a column sums to 1, or 0 for nothing.
    importances: Tensor
    #: Share of each factor that the codes tell.
    by_factor: dict[str, float]


def dci(codes: ArrayLike, factors: Factors | Mapping[str, Any], *, seed: int = 0) -> DCI:
    r"""Disentanglement, completeness and informativeness of codes.

    Importances R, of dimension i for factor j, are those of a random forest that learns the factor from the codes of
    one half of the images. As shares of a row or of a column they are distributions, and with entropies H to the base
    of their length

    .. math:: D = \sum_i \rho_i \left(1 - H\left(\frac{R_{i \cdot}}{\sum_j R_{ij}}\right)\right), \quad
        \rho_i = \frac{\sum_j R_{ij}}{\sum_{ij} R_{ij}}, \qquad
        C = \frac{1}{K} \sum_j \left(1 - H\left(\frac{R_{\cdot j}}{\sum_i R_{ij}}\right)\right).

    Eastwood and Williams (2018), "A framework for the quantitative evaluation of disentangled representations", section
    2, with scikit-learn's forests of 50 trees that see all dimensions at each split and keep five images in a leaf, and
    the importances by the impurity that they take away, which sum to 1 for each factor. Others take gradient-boosted
    trees, and their figures differ. With one dimension C is 1, and with one factor D is.

    Informativeness is a mean over factors of 1 minus the forest's error on the other half by the error of one who
    sees no code: of numbers the squared error, which makes it R squared, of classes the share that is not told. It is
    0 where the forest does no better.

    Args:
        codes: Codes, (N, latent_dim), usually posterior means, of at least 20 images.
        factors: Factors of the N images, or a mapping of names to values (N,).
        seed: Seed of the halves and of the forests.

    Raises:
        DataError: If a shape is another, a code is not finite, there are too few images, or a factor is the same in all
            images or missing in one.
        SettingError: If the seed makes no sense.

    Example:
        >>> factors = mv.data.Factors({"x": torch.rand(1000), "shape": torch.arange(1000) % 2})
        >>> codes = torch.stack([factors["x"], torch.randn(1000), factors["shape"]], 1)
        >>> found = dci(codes, factors)
        >>> round(found.disentanglement, 2), round(found.completeness, 2), round(found.informativeness, 2)
        (1.0, 1.0, 1.0)
    """
    rows, found = codes_and_factors(codes, factors)
    if len(rows) < _FEWEST:
        raise DataError(f"codes of at least {_FEWEST} images, of which half are to learn from", f"{len(rows)}")
    generator = np.random.default_rng(check_seed(seed))
    order = generator.permutation(len(rows))
    halves = order[: len(rows) // 2], order[len(rows) // 2 :]
    importances, told = [], {}
    for name, values in found.values.items():
        state = int(generator.integers(2**32))
        weights, share = _learned(rows.numpy(), values.numpy(), halves, state)
        importances.append(weights)
        told[name] = share
    table = torch.from_numpy(np.stack(importances, 1))
    by_dimension = table.sum(1)
    weight = by_dimension / by_dimension.sum().clamp(min=1e-300)
    return DCI(
        disentanglement=float(weight @ _concentration(table)),
        completeness=float(_concentration(table.T).mean()),
        informativeness=sum(told.values()) / len(told),
        importances=table,
        by_factor=told,
    )


def _learned(
    rows: NDArray[np.float64], values: NDArray[Any], halves: tuple[NDArray[np.intp], NDArray[np.intp]], state: int
) -> tuple[NDArray[np.float64], float]:
    """The importance of each dimension to a forest that learns a factor, and the share of the factor that it tells."""
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    known, other = halves
    classes = values.dtype.kind == "i"
    how = {"n_estimators": _TREES, "min_samples_leaf": _LEAF, "max_features": None, "n_jobs": 1, "random_state": state}
    forest = (RandomForestClassifier if classes else RandomForestRegressor)(**how)
    with heeded():
        forest.fit(rows[known], values[known])
        guess = forest.predict(rows[other])
    truth = values[other]
    if classes:
        usual = np.bincount(values[known]).argmax()
        error, of_nothing = float((guess != truth).mean()), float((truth != usual).mean())
    else:
        error, of_nothing = (float(np.square(truth - by).mean()) for by in (guess, values[known].mean()))
    share = 1 - error / of_nothing if of_nothing > 0 else float(error == 0)
    return np.asarray(forest.feature_importances_, np.float64), max(0.0, share)


def _concentration(table: Tensor) -> Tensor:
    """1 minus the entropy, to the base of its length, of each row as a distribution: (rows,); 0 for one of zeros."""
    if table.shape[1] == 1:
        return (table[:, 0] > 0).double()
    total = table.sum(1, keepdim=True)
    shares = table / total.clamp(min=1e-300)
    entropy = -torch.special.xlogy(shares, shares).sum(1) / np.log(table.shape[1])
    return torch.where(total[:, 0] > 0, 1 - entropy, 0.0)


def _found(view: View) -> DCI:
    return dci(view.codes.means, view.data.factors or {}, seed=view.seed)


def _how(view: View) -> str:
    return f"{names_of(view)}, random forests"


METRICS = tuple(
    Metric(
        f"dci_{name}",
        "",
        "higher",
        ("factors",),
        compute=lambda view, name=name: getattr(view.once(_found), name),
        protocol=_how,
    )
    for name in ("disentanglement", "completeness", "informativeness")
)
