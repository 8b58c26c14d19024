"""Activity of the latent dimensions of a code.

Functions of codes as numbers, (N, latent_dim), usually posterior means.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mnistvae._checks import check_number
from mnistvae._codes import LatentCodes
from mnistvae.arrays import ArrayLike, as_rows, check_array
from mnistvae.distributions import kl_by_dimension
from mnistvae.metrics.metric import Metric
from mnistvae.view import View

__all__ = ["METRICS", "active_units", "as_codes", "kl_of_dimensions", "unit_activity"]


def unit_activity(means: ArrayLike) -> Tensor:
    r"""Variance of the posterior mean over images, in each latent dimension.

    .. math:: A_j = \operatorname{Var}_x\left(\mathbb{E}_{q(z \mid x)}[z_j]\right)

    Burda et al. (2016), "Importance weighted autoencoders", section 5; the unbiased variance, N - 1 below.

    Args:
        means: Posterior means, (N, latent_dim), of at least two images.

    Returns:
        (latent_dim,), float64, at least 0; a dimension near 0 says nothing of the image.

    Raises:
        DataError: If the shape is another, there are fewer than two images, or a mean is not finite.

    Example:
        >>> unit_activity(torch.tensor([[0.0, 5.0], [2.0, 5.0]]))
        tensor([2., 0.], dtype=torch.float64)
    """
    return as_codes(means, "posterior means", least=2).var(0)


def active_units(means: ArrayLike, threshold: float = 0.01) -> int:
    r"""Number of latent dimensions that say something of the image.

    .. math:: \left|\left\{ j : \operatorname{Var}_x\left(\mathbb{E}_{q(z \mid x)}[z_j]\right) > \delta \right\}\right|

    Burda et al. (2016), "Importance weighted autoencoders", section 5. From 0, a collapsed posterior, to latent_dim.

    Args:
        means: Posterior means, (N, latent_dim), of at least two images.
        threshold: The threshold delta.

    Raises:
        DataError: If the shape is another, there are fewer than two images, or a mean is not finite.
        SettingError: If the threshold is negative.

    Example:
        >>> active_units(torch.tensor([[0.0, 5.0], [2.0, 5.0]]))
        1
    """
    threshold = check_number("threshold as a variance of at least 0", threshold)
    return int((unit_activity(means) > threshold).sum())


def as_codes(codes: Any, name: str = "codes", least: int = 1, columns: str = "latent_dim") -> Tensor:
    """Codes as a tensor (N, latent_dim) of finite numbers in double precision, where the device has it.

    Args:
        codes: A tensor or array, or the :class:`~mnistvae.analysis.LatentCodes` of a data set, whose means they are.
        name: Name of the codes in the message.
        least: Number of codes that there have to be, at least.
        columns: Name of the second dimension in the message.

    Raises:
        DataError: If shape or dtype is another, there are too few codes, or one is not finite.
    """
    codes = codes.means if isinstance(codes, LatentCodes) else codes
    return as_rows(check_array(codes, name), name, columns, least=least)


def kl_of_dimensions(view: View) -> Tensor | None:
    """Mean KL divergence from the posterior to the prior in each latent dimension; None where it is not a sum of such.

    Args:
        view: A model and a data set.
    """
    if view.prior is None or view.posterior is None:
        return None
    divergences = kl_by_dimension(view.posterior, view.prior)
    return None if divergences is None else divergences.cpu().double().mean(0)


def _active(view: View) -> int:
    return active_units(view.codes.means)


def _activity(view: View) -> Tensor:
    return unit_activity(view.codes.means)


def _kl(view: View) -> Tensor | None:
    return view.once(kl_of_dimensions)


def _how_active(view: View) -> str:
    return f"of {view.model.latent_dim}, variance of the posterior mean above 0.01"


_TWO = ("two images",)
METRICS = (
    Metric("active_units", "", "", (*_TWO, "codes of a normal's scale"), compute=_active, protocol=_how_active),
    Metric("activity", "", "", _TWO, compute=_activity, per="dimension"),
    Metric("kl", "nats", "", (*_TWO, "KL by dimension"), compute=_kl, per="dimension"),
)
