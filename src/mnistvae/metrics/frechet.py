"""The Fréchet distance between the features of two sets of images, each set taken as a normal distribution."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from mnistvae.arrays import ArrayLike, as_double, as_rows
from mnistvae.errors import DataError

__all__ = ["check_as_many_features", "frechet_distance", "frechet_distance_of", "gaussian_statistics"]

_EPS = torch.finfo(torch.float64).eps
#: Asymmetry and negative eigenvalues that may be a covariance's rounding to float32, as parts of its largest value.
_ROUNDING = 1e-5


def gaussian_statistics(features: ArrayLike) -> tuple[Tensor, Tensor]:
    r"""Mean and unbiased covariance of features.

    .. math:: \mu = \frac{1}{N} \sum_n f_n, \qquad \Sigma = \frac{1}{N - 1} \sum_n (f_n - \mu) (f_n - \mu)^\top

    Args:
        features: Features, (N, D), N at least 2.

    Returns:
        Mean (D,) and covariance (D, D), float64.

    Raises:
        DataError: If there are fewer than two images, the shape is another, or a feature is not finite.

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
        real: Features of real images, (N, D).
        generated: Features of generated images, (M, D), by the same network.

    Returns:
        The distance, in squared units of the features.

    Raises:
        DataError: If a set has fewer than two images, the numbers of features differ, or one is not finite.

    Warns:
        UserWarning: If a set has no more images than features, so that its covariance is singular.

    Example:
        >>> features = torch.randn(500, 8)
        >>> round(frechet_distance(features, features + 1), 6)  # a shift by 1 in each of 8 directions
        8.0
    """
    real = as_rows(real, "real")
    generated = as_rows(generated, "generated").to(real.device)
    check_as_many_features(real, generated)
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
        mean1: Mean of the one, (D,).
        cov1: Its covariance, symmetric and positive semidefinite, (D, D).
        mean2: Mean of the other, (D,).
        cov2: Its covariance, (D, D).

    Returns:
        The distance, at least 0.

    Raises:
        DataError: If shapes do not fit, a matrix is no covariance, or a number is not finite.

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


def check_as_many_features(real: Tensor, generated: Tensor) -> None:
    """Check that two sets have as many features, (N, D) and (M, D).

    Raises:
        DataError: If they have not.
    """
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
