"""The score of the FactorVAE: the dimension that varies least tells which factor was held fixed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnistvae._checks import check_count, check_number, check_seed
from mnistvae.arrays import ArrayLike
from mnistvae.data import Factors
from mnistvae.errors import DataError
from mnistvae.metrics._factors import as_classes, codes_and_factors, names_of
from mnistvae.metrics.metric import Metric
from mnistvae.view import View

__all__ = ["METRICS", "factor_vae_score"]

#: Votes that are computed at once.
_CHUNK = 256


def factor_vae_score(
    codes: ArrayLike,
    factors: Factors | Mapping[str, Any],
    *,
    bins: int = 20,
    batch_size: int = 64,
    votes: int = 5000,
    threshold: float = 0.01,
    seed: int = 0,
) -> float:
    r"""Accuracy with which the dimension of least variance tells the factor that a batch of images has in common.

    A factor k is drawn, an image, and ``batch_size`` images with its value of the factor, with replacement. Codes are
    divided by their standard deviation over all images, and the dimension

    .. math:: d = \arg\min_j \operatorname{Var}\left(\frac{z_j}{s_j}\right)

    over the batch is a vote for k. A classifier learns the factor that most votes of each dimension are for, and is
    scored on as many further votes. Kim and Mnih (2018), "Disentangling by factorising", section 4, with the further
    votes of Locatello et al. (2019). From 1/K for K factors, that of codes that say nothing, to 1; higher means that
    each factor has a dimension that varies with it alone.

    The batches are drawn from the images given. A factor in numbers of more than ``bins`` different values is put into
    as many classes of equally many images, within which it still varies a little; :func:`mnistvae.data.shapes` has a
    grid in which values are exactly the same.

    Args:
        codes: Codes, (N, latent_dim), usually posterior means; take some 1,000 or more.
        factors: Factors of the N images, or a mapping of names to values (N,).
        bins: Number of classes of a factor in numbers.
        batch_size: Number of images in a batch, at least 2.
        votes: Number of votes to learn from, and to score on.
        threshold: Variance over all images up to which a dimension says nothing, and has no vote, as of
            :func:`active_units`; without any other dimension the score is 1/K.
        seed: Seed of all that is drawn.

    Raises:
        DataError: If a shape is another, a code is not finite, or a factor is the same in all images, missing in one,
            or different in all.
        SettingError: If a number makes no sense.

    Example:
        >>> grid = mv.data.shapes()
        >>> codes = torch.stack([grid.factors[name].double() for name in grid.factors.names], 1)
        >>> factor_vae_score(codes, grid.factors)
        1.0
    """
    bins = check_count("bins as an integer of at least 2", bins, least=2)
    batch_size = check_count("batch_size as an integer of at least 2", batch_size, least=2)
    votes = check_count("votes as an integer of at least 1", votes)
    threshold = check_number("threshold as a variance of at least 0", threshold)
    generator = np.random.default_rng(check_seed(seed))
    tensor, found = codes_and_factors(codes, factors)
    rows = tensor.numpy()
    groups = {name: as_classes(each, bins) for name, each in found.values.items()}
    for name, each in groups.items():
        if int(np.bincount(each).max()) < 2:
            fix = "take more images, or fewer bins"
            raise DataError(f"two images with one value of {name!r}", "another in each image", fix)
    spread = rows.std(0)
    active = spread**2 > threshold
    if not active.any():
        return 1 / len(groups)
    scaled = rows[:, active] / spread[active]
    learned, scored = (_votes(scaled, list(groups.values()), batch_size, votes, generator) for _ in range(2))
    return float(scored[learned.argmax(0), np.arange(scored.shape[1])].sum() / votes)


def _votes(
    rows: NDArray[np.float64],
    groups: list[NDArray[np.intp]],
    batch_size: int,
    votes: int,
    generator: np.random.Generator,
) -> NDArray[np.int64]:
    """Counts of votes, (factors, dimensions): factors that were fixed, and the dimension that varied least."""
    counts = np.zeros((len(groups), rows.shape[1]), np.int64)
    fixed = np.bincount(generator.integers(len(groups), size=votes), minlength=len(groups))
    for k, (classes, number) in enumerate(zip(groups, fixed.tolist(), strict=True)):
        order = np.argsort(classes, kind="stable")  # images of one value stand side by side
        sizes = np.bincount(classes)
        starts = sizes.cumsum() - sizes
        for first in range(0, number, _CHUNK):
            chosen = classes[generator.integers(len(rows), size=min(_CHUNK, number - first))][:, None]
            places = starts[chosen] + (generator.random((len(chosen), batch_size)) * sizes[chosen]).astype(np.intp)
            least = rows[order[places]].var(1).argmin(1)
            counts[k] += np.bincount(least, minlength=rows.shape[1])
    return counts


def _score(view: View) -> float:
    return factor_vae_score(view.codes.means, view.data.factors or {}, seed=view.seed)


def _how(view: View) -> str:
    return f"{names_of(view)}, batches of 64, 5,000 votes"


METRICS = (Metric("factor_vae_score", "", "higher", ("factors",), compute=_score, protocol=_how),)
