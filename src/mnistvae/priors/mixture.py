"""A mixture of normals as a prior."""

from __future__ import annotations

from typing import Literal

import torch
import torch.distributions as td
from torch import Tensor, nn
from torch.distributions import Distribution

from mnistvae._checks import check_choice, check_count, check_instance
from mnistvae.arrays import check_finite, check_shape, shape_text
from mnistvae.distributions import DiagonalNormal, mixture
from mnistvae.errors import ComponentError, DataError
from mnistvae.priors.base import Encode, Prior

__all__ = ["GaussianMixture"]


class GaussianMixture(Prior):
    r"""A mixture of normals, learned with the weights or fitted after training by :func:`mnistvae.fit_prior`.

    .. math:: p(z) = \sum_{k=1}^{K} \pi_k \, \mathcal{N}(z; \mu_k, \Sigma_k)

    Args:
        latent_dim: Size of z.
        components: K, the number of normals.
        covariance: Covariance of each normal, ``"diag"`` or ``"full"``.

    Raises:
        SettingError: If a size is below 1, or the covariance is another word.

    Example:
        >>> GaussianMixture(2, components=5)().sample((3,)).shape
        torch.Size([3, 2])
    """

    def __init__(self, latent_dim: int, components: int = 10, covariance: Literal["diag", "full"] = "diag") -> None:
        super().__init__()
        self.latent_dim = latent_dim = check_count("latent_dim as an integer of at least 1", latent_dim)
        self.components = components = check_count("components as an integer of at least 1", components)
        self.covariance = check_choice("covariance", covariance, ("diag", "full"))
        self.logits = nn.Parameter(torch.zeros(components))
        self.means = nn.Parameter(torch.randn(components, latent_dim))
        #: Logarithms of the standard deviations, or of the diagonal of the Cholesky factor.
        self.log_scales = nn.Parameter(torch.zeros(components, latent_dim))
        #: The Cholesky factor below its diagonal; what is above is not used.
        self.lower = nn.Parameter(torch.zeros(components, latent_dim, latent_dim)) if covariance == "full" else None

    def forward(self, y: Tensor | None = None, *, encode: Encode | None = None) -> td.MixtureSameFamily:
        parts: Distribution
        if self.lower is None:
            parts = DiagonalNormal(self.means, 2 * self.log_scales)
        elif self.means.dtype in {torch.float16, torch.bfloat16}:
            raise ComponentError(
                "float32 or float64 for full covariances", str(self.means.dtype), "use covariance='diag'"
            )
        else:
            scale_tril = self.lower.tril(-1) + torch.diag_embed(self.log_scales.exp())
            parts = td.MultivariateNormal(self.means, scale_tril=scale_tril, validate_args=False)
        return mixture(self.logits, parts)

    def responsibilities(self, z: Tensor) -> Tensor:
        r"""Probabilities of the components given codes, (B, K): the clusters that the mixture sees in them.

        .. math:: p(k \mid z) = \frac{\pi_k \, \mathcal{N}(z; \mu_k, \Sigma_k)}
            {\sum_j \pi_j \, \mathcal{N}(z; \mu_j, \Sigma_j)}

        Jiang et al. (2017), "Variational deep embedding", take it for the posterior of the cluster of an image, at
        codes from q(z | x).

        Args:
            z: Codes, (B, latent_dim).

        Raises:
            DataError: If the codes have another shape.

        Example:
            >>> prior = GaussianMixture(2, components=5)
            >>> prior.responsibilities(torch.randn(100, 2)).sum(1).allclose(torch.ones(100))
            True
        """
        codes = check_instance("codes as a tensor", z, Tensor, "torch.as_tensor(...)", DataError)
        if codes.ndim != 2 or codes.shape[1] != self.latent_dim:
            raise DataError(f"codes as a tensor of shape (B, {self.latent_dim})", shape_text(codes))
        prior = self()
        densities = prior.component_distribution.log_prob(codes.to(self.means).unsqueeze(-2))
        joint: Tensor = prior.mixture_distribution.logits + densities
        return joint.softmax(-1)

    @torch.no_grad()
    def set_components(self, weights: Tensor, means: Tensor, scale_tril: Tensor) -> None:
        """Give the mixture other components, such as those of a fit.

        Args:
            weights: pi, (K,), above 0.
            means: Means of the components, (K, latent_dim).
            scale_tril: Cholesky factors of the covariances, (K, latent_dim, latent_dim); of ``"diag"``, diagonal ones.

        Raises:
            DataError: If a shape is another, or the numbers make no mixture.
        """
        k, d = self.components, self.latent_dim
        for name, value, shape in (
            ("weights", weights, (k,)),
            ("means", means, (k, d)),
            ("scale_tril", scale_tril, (k, d, d)),
        ):
            tensor = check_instance(f"{name} as a tensor", value, Tensor, "torch.as_tensor(...)", DataError)
            check_finite(check_shape(tensor, name, shape, "give every component its own"), name)
        deviations = scale_tril.diagonal(dim1=-2, dim2=-1)
        if bool((weights <= 0).any()) or bool((deviations <= 0).any()):
            raise DataError("weights and standard deviations above 0", "others", "leave empty components out")
        below = scale_tril.tril(-1)
        if self.lower is None and bool((below != 0).any()):
            raise DataError("diagonal factors for covariance='diag'", "full ones", "use covariance='full'")
        self.logits.copy_(weights.log())
        self.means.copy_(means)
        self.log_scales.copy_(deviations.log())
        if self.lower is not None:
            self.lower.copy_(below)
