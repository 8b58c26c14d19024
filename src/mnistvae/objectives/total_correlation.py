"""The ELBO with a weight on each of three parts of its KL term."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Independent

from mnistvae._checks import check_count, check_number
from mnistvae.errors import ComponentError, type_name
from mnistvae.losses import kl_decomposition, kl_or_estimate, stratified_log_weights
from mnistvae.objectives.base import LatentVariableModel, Objective, Terms

__all__ = ["BetaTC"]


class BetaTC(Objective):
    r"""The ELBO with a weight on each of three parts of its KL term, for disentanglement by total correlation.

    .. math:: -\mathbb{E}[\log p(x \mid z)] + \alpha \, I_q(z; x)
        + \beta \, D_{KL}\left(q(z) \,\|\, \textstyle\prod_j q(z_j)\right)
        + \gamma \sum_j D_{KL}(q(z_j) \| p(z_j))

    Chen et al. (2018), "Isolating sources of disentanglement in VAEs", equation 4. The aggregate posterior
    q(z) is estimated from the batch by stratified weights (appendix C.2), so a batch should hold some
    hundred images. With all weights 1 it is the ELBO with its KL estimated at one code. ``kl`` is in closed form
    where there is one; the extra terms ``mutual_information``, ``total_correlation`` and ``dimension_wise_kl`` are
    estimates, without their weights, and can be negative.

    Args:
        alpha: Weight of the mutual information between code and image.
        beta: Weight of the total correlation.
        gamma: Weight of the dimension-wise KL.
        num_images: N, the size of the training set; None to be told by the Trainer, or where there is
            none, to take the batch for the set.

    Raises:
        SettingError: If a weight is negative or infinite.
        ComponentError: If the dimensions of the posterior are not independent.
    """

    _num_images: Tensor
    of_a_batch = True

    def __init__(
        self, alpha: float = 1.0, beta: float = 6.0, gamma: float = 1.0, num_images: int | None = None
    ) -> None:
        super().__init__()
        self.alpha = check_number("a finite alpha of at least 0", alpha)
        self.beta = check_number("a finite beta of at least 0", beta)
        self.gamma = check_number("a finite gamma of at least 0", gamma)
        self.num_images = None if num_images is None else check_count("num_images of at least 1, or None", num_images)
        # Saved with the model, whose loss depends on it.
        self.register_buffer("_num_images", torch.tensor(self.num_images or 0))

    def prepare(self, num_images: int | None) -> None:
        if self.num_images is None and num_images is not None:
            self._num_images.fill_(num_images)

    def forward(self, model: LatentVariableModel, x: Tensor, y: Tensor | None = None) -> Terms:
        posterior = model.encode(x, y)
        if not isinstance(posterior, Independent) or posterior.reinterpreted_batch_ndims != 1:
            raise ComponentError(
                "a posterior whose dimensions are independent, for the total correlation",
                type_name(posterior),
                "return torch.distributions.Independent(..., 1) from the encoder, or use ELBO",
            )
        z = posterior.rsample()
        reconstruction = -model.decode(z, y).log_prob(x)
        prior = model.latent_prior(y)
        log_q = posterior.base_dist.log_prob(z.unsqueeze(1))
        log_weights = stratified_log_weights(len(x), self._num_images, like=z)
        information, correlation, dimensions = kl_decomposition(log_q, prior.log_prob(z), log_weights)
        loss = reconstruction + self.alpha * information + self.beta * correlation + self.gamma * dimensions
        parts = {"mutual_information": information, "total_correlation": correlation, "dimension_wise_kl": dimensions}
        return Terms(loss, reconstruction, kl_or_estimate(posterior, prior, z), extra=parts)
