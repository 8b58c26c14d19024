"""How close generated images are to real ones, as the features and the logits of a classifier show it.

The functions take what the classifier gave, not images: a figure belongs to the network that it was
made with. Those made with :mod:`mnistvae.metrics.digits` are called ``fd_digits`` and ``score_digits``, and
none of them compares with one that was made with Inception-v3. All is computed in float64 on the
device of the real (or only) input.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from mnistvae._checks import check_count
from mnistvae.arrays import ArrayLike, as_double, as_rows
from mnistvae.errors import DataError
from mnistvae.images import Labels, as_labels

__all__ = [
    "ClassifierScore",
    "PrecisionRecall",
    "classifier_score",
    "frechet_distance",
    "frechet_distance_of",
    "gaussian_statistics",
    "label_accuracy",
    "precision_recall",
]

_EPS = torch.finfo(torch.float64).eps
#: Asymmetry and negative eigenvalues that may be a covariance's rounding to float32, as parts of its largest value.
_ROUNDING = 1e-5
#: Distances that are held at once: 8 MB.
_DISTANCES = 2**20


def gaussian_statistics(features: ArrayLike) -> tuple[Tensor, Tensor]:
    r"""Mean and unbiased covariance of features.

    .. math:: \mu = \frac{1}{N} \sum_n f_n, \qquad \Sigma = \frac{1}{N - 1} \sum_n (f_n - \mu) (f_n - \mu)^\top

    Args:
        features: (N, D), N at least 2.

    Returns:
        Mean (D,) and covariance (D, D), float64.

    Raises:
        DataError: fewer than two images, another shape, NaN or an infinity.

    Example:
        >>> mean, covariance = gaussian_statistics(torch.tensor([[0.0, 1.0], [2.0, 1.0]]))
        >>> mean.tolist(), covariance.tolist()
        ([1.0, 1.0], [[2.0, 0.0], [0.0, 0.0]])
    """
    return _statistics("features", as_rows(features, "features"))


def _statistics(name: str, rows: Tensor) -> tuple[Tensor, Tensor]:
    if len(rows) < 2:
        raise DataError(f"at least 2 images in {name}, for a covariance", str(len(rows)), "pass more images")
    mean = rows.mean(0)
    centred = rows - mean
    return mean, centred.T @ centred / (len(rows) - 1)


def frechet_distance(real: ArrayLike, generated: ArrayLike) -> float:
    r"""Fréchet distance between the features of real and of generated images, each taken as a normal distribution.

    .. math:: \|\mu_1 - \mu_2\|^2 + \operatorname{tr}\left(\Sigma_1 + \Sigma_2 - 2 (\Sigma_1 \Sigma_2)^{1/2}\right)

    Heusel et al. (2017), "GANs trained by a two time-scale update rule converge to a local Nash equilibrium",
    equation 6. With features of Inception-v3 this is the FID.

    Lower is better; at least 0, and 0 for equal statistics. It is biased upwards, the more so the fewer the images:
    compare distances only between sets of the same sizes.

    Args:
        real: features of real images, (N, D).
        generated: features of generated images, (M, D), by the same network.

    Returns:
        In squared units of the features.

    Raises:
        DataError: fewer than two images in a set, different numbers of features, NaN or an infinity.

    Warns:
        UserWarning: a set has no more images than features, so that its covariance is singular.

    Example:
        >>> features = torch.randn(500, 8)
        >>> round(frechet_distance(features, features + 1), 6)  # a shift by 1 in each of 8 directions
        8.0
    """
    real = as_rows(real, "real")
    generated = as_rows(generated, "generated").to(real.device)
    _check_as_many_features(real, generated)
    fewest, dimensions = min(len(real), len(generated)), real.shape[1]
    of_real, of_generated = _statistics("real", real), _statistics("generated", generated)
    if fewest <= dimensions:
        warnings.warn(
            f"the Fréchet distance is biased upwards: {fewest} images are too few for the covariance of {dimensions} "
            f"features; take more than {dimensions} of each set, better ten times as many",
            stacklevel=2,
        )
    return frechet_distance_of(*of_real, *of_generated)


def frechet_distance_of(mean1: ArrayLike, cov1: ArrayLike, mean2: ArrayLike, cov2: ArrayLike) -> float:
    r"""The distance of :func:`frechet_distance`, between two normals given by their statistics.

    With :math:`\Sigma_i = L_i L_i^\top`, the trace of the root is the sum of the singular values of
    :math:`L_1^\top L_2`, whose squares are the eigenvalues of :math:`L_1^\top \Sigma_2 L_1`. No root of a matrix that
    is not symmetric is taken, and singular covariances are as exact as others.

    Args:
        mean1: (D,).
        cov1: symmetric and positive semidefinite, (D, D).
        mean2: (D,).
        cov2: (D, D).

    Returns:
        At least 0.

    Raises:
        DataError: shapes that do not fit, a matrix that is no covariance, NaN or an infinity.

    Example:
        >>> frechet_distance_of(torch.zeros(2), torch.eye(2), torch.ones(2), 4 * torch.eye(2))  # 2 + 2
        4.0
    """
    mu1 = as_double(mean1, "mean1")
    mu2, first, second = (
        as_double(x, name).to(mu1.device) for name, x in (("mean2", mean2), ("cov1", cov1), ("cov2", cov2))
    )
    size = mu1.numel()
    if size == 0 or not mu1.shape == mu2.shape == (size,) or not first.shape == second.shape == (size, size):
        got = ", ".join(str(tuple(x.shape)) for x in (mu1, first, mu2, second))
        raise DataError(
            "means of shape (D,) and covariances of shape (D, D)", f"shapes {got}", "pass what gaussian_statistics gave"
        )
    root1, root2 = _root("cov1", first), _root("cov2", second)
    spread = first.trace() + second.trace() - 2 * torch.linalg.svdvals(root1.T @ root2).sum()
    distance = (mu1 - mu2).square().sum() + spread
    return max(0.0, float(distance))


class ClassifierScore(NamedTuple):
    """The mean of a score over the splits of a set, and its standard deviation."""

    mean: float
    std: float


def classifier_score(logits: ArrayLike, *, splits: int = 1) -> ClassifierScore:
    r"""How sure a classifier is of each generated image, and how evenly it sees the classes.

    .. math:: \exp\left(\frac{1}{N} \sum_n D_{KL}\left(p(y \mid x_n) \,\|\, \bar{p}(y)\right)\right), \qquad
        \bar{p}(y) = \frac{1}{N} \sum_n p(y \mid x_n)

    Salimans et al. (2016), "Improved techniques for training GANs", section 4. With Inception-v3 this is the
    inception score. It does not look at real images.

    Higher is better; from 1, the same answer for each image, to the number of classes.

    Args:
        logits: of the classifier, (N, K).
        splits: parts of the set that are scored alone. Image n is in part n modulo ``splits``, so that images in
            order of their class are spread evenly.

    Returns:
        Mean and standard deviation over the parts; the latter is 0 for one.

    Raises:
        DataError: fewer images than splits, another shape, NaN or an infinity.
        SettingError: fewer than one split.

    Example:
        >>> score, _ = classifier_score(100.0 * torch.eye(10))  # ten images, each surely of a class of its own
        >>> round(score, 6)
        10.0
    """
    splits = check_count("splits as an integer of at least 1", splits)
    rows = as_rows(logits, "logits")
    if len(rows) < splits:
        raise DataError(f"at least {splits} images for {splits} splits", str(len(rows)), "pass more, or fewer splits")
    log_p = rows.log_softmax(1)
    scores = torch.stack([_score(log_p[part::splits]) for part in range(splits)])
    return ClassifierScore(float(scores.mean()), float(scores.std(correction=0)))


def _score(log_p: Tensor) -> Tensor:
    log_marginal = log_p.logsumexp(0) - math.log(len(log_p))
    return (log_p.exp() * (log_p - log_marginal)).sum(1).mean().clamp_min(0.0).exp()


class PrecisionRecall(NamedTuple):
    """The shares of generated images among the real ones, and of real images among the generated ones."""

    precision: float
    recall: float


def precision_recall(real: ArrayLike, generated: ArrayLike, *, k: int = 3) -> PrecisionRecall:
    r"""Improved precision and recall: how good, and how varied, generated images are.

    A set's manifold is the union of balls about its features, each reaching to its k-th nearest other:

    .. math:: M(A) = \bigcup_{a \in A} \left\{ f : \|f - a\| \le \|a - \mathrm{NN}_k(a, A)\| \right\}

    Precision is the share of generated features in the manifold of the real ones, recall the share of real features
    in the manifold of the generated ones. Kynkäänniemi et al. (2019), "Improved precision and recall metric for
    assessing generative models", equations 1 and 2.

    Higher is better for both; from 0 to 1. They depend on the numbers of images and on k: compare like with like.

    Args:
        real: features of real images, (N, D).
        generated: features of generated images, (M, D), by the same network.
        k: neighbours that a ball reaches; the paper has 3.

    Raises:
        DataError: no more than k images in a set, different numbers of features, NaN or an infinity.
        SettingError: k below 1.

    Example:
        >>> real = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
        >>> precision_recall(real, torch.tensor([[1.0], [1.25], [1.5]]), k=1)  # all good, and all alike
        PrecisionRecall(precision=1.0, recall=0.25)
    """
    k = check_count("k as an integer of at least 1", k)
    real = as_rows(real, "real")
    generated = as_rows(generated, "generated").to(real.device)
    _check_as_many_features(real, generated)
    for name, rows in (("real", real), ("generated", generated)):
        if len(rows) <= k:
            raise DataError(f"more than k = {k} images in {name}", str(len(rows)), "pass more images, or a smaller k")
    reach_of_real, reach_of_generated = _squared_reach(real, k), _squared_reach(generated, k)
    middle = real.mean(0)
    real, generated = real - middle, generated - middle
    among_real = torch.zeros(len(generated), dtype=torch.bool, device=real.device)
    among_generated = torch.zeros(len(real), dtype=torch.bool, device=real.device)
    # A feature at the edge of a ball, or on top of its centre, is inside: rounding must not put it out.
    for here, squared in _squared_distances(real, generated, rounded=-1):
        among_real |= (squared - reach_of_real[here, None]).amin(0) <= 0
        among_generated[here] = (squared - reach_of_generated).amin(1) <= 0
    return PrecisionRecall(float(among_real.double().mean()), float(among_generated.double().mean()))


def _squared_reach(points: Tensor, k: int) -> Tensor:
    """Squared distance of each point to its k-th nearest other, (N,)."""
    points = points - points.mean(0)  # distances come from products, which cancel far from the origin
    # The point itself is the nearest, or as near as one of its doubles.
    chunks = _squared_distances(points, points, rounded=1)
    return torch.cat([squared.topk(k + 1, largest=False).values[:, k] for _, squared in chunks])


def _squared_distances(a: Tensor, b: Tensor, rounded: int) -> Iterator[tuple[slice, Tensor]]:
    """Rows of the matrix (len(a), len(b)), a chunk at a time, each in the memory of the one before.

    They are rounded up (1) or down (-1), by as much as products of such lengths may be wrong.
    """
    slack = 4 * a.shape[1] * _EPS
    squares_a, squares_b = ((1 + rounded * slack) * x.square().sum(1) for x in (a, b))
    step = min(len(a), max(1, _DISTANCES // len(b)))
    memory = a.new_empty(step, len(b))
    for start in range(0, len(a), step):
        here = slice(start, min(start + step, len(a)))
        squared = torch.addmm(squares_b, a[here], b.T, alpha=-2, out=memory[: here.stop - start])
        yield here, squared.add_(squares_a[here, None])


def label_accuracy(logits: ArrayLike, labels: Labels) -> float:
    r"""Share of images that a classifier reads as the class that was asked for.

    .. math:: \frac{1}{N} \sum_n \mathbb{1}\left[\arg\max_k l_{nk} = y_n\right]

    Higher is better; from 0 to 1. The classifier errs, too: real images are the ceiling.

    Args:
        logits: of the classifier on generated images, (N, K).
        labels: the class that each was generated for, (N,), or one integer for all.

    Raises:
        DataError: labels that do not match or are not below K, another shape, NaN or an infinity.

    Example:
        >>> label_accuracy(torch.eye(3), [0, 1, 1])  # doctest: +ELLIPSIS
        0.666...
    """
    rows = as_rows(logits, "logits")
    wanted = as_labels(labels, len(rows), rows.shape[1]).to(rows.device)
    return float((rows.argmax(1) == wanted).double().mean())


def _check_as_many_features(real: Tensor, generated: Tensor) -> None:
    if real.shape[1] != generated.shape[1]:
        raise DataError(
            "as many features of real as of generated images",
            f"{real.shape[1]} and {generated.shape[1]}",
            "make both with the same network",
        )


def _root(name: str, covariance: Tensor) -> Tensor:
    r"""An L with :math:`L L^\top = \Sigma`: Cholesky's, or one of eigenvectors where that is singular."""
    largest = float(covariance.diagonal().max())
    if float((covariance - covariance.T).abs().max()) > _ROUNDING * abs(largest):
        raise DataError(f"{name} as a symmetric matrix", "another", "pass what gaussian_statistics gave")
    factor: Tensor
    factor, failed = torch.linalg.cholesky_ex(covariance)
    noise = 4 * len(covariance) * _EPS
    # Of a singular matrix the last pivots are noise, which may be above zero: the slower way is right for all.
    if int(failed) == 0 and float(factor.diagonal().square().min()) > 100 * noise * largest:
        return factor
    values, vectors = torch.linalg.eigh(covariance)
    lowest, highest = float(values[0]), float(values[-1])
    if lowest < -_ROUNDING * abs(highest):
        got = f"{lowest:.6g}, where the largest is {highest:.6g}"
        raise DataError(f"{name} without negative eigenvalues", got, "pass what gaussian_statistics gave")
    # An eigenvalue that is mere rounding would count by its root, which is far from that small.
    root: Tensor = vectors * torch.where(values > noise * highest, values, 0.0).sqrt()
    return root
