"""Objectives that ask the codes of all images together to be like the prior."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from mnistvae._checks import check_choice, check_number
from mnistvae.distributions import moments
from mnistvae.errors import SettingError
from mnistvae.losses import covariance_penalty, kl_or_estimate, maximum_mean_discrepancy
from mnistvae.objectives.base import LatentVariableModel, Objective, Terms, with_own_terms

__all__ = ["DIPVAE", "InfoVAE"]


class InfoVAE(Objective):
    r"""Reconstruction, a share of the KL term, and the distance of all codes together from the prior.

    .. math:: -\mathbb{E}_{q(z \mid x)}[\log p(x \mid z)] + (1 - \alpha) \, D_{KL}(q(z \mid x) \| p(z))
        + (\alpha + \lambda - 1) \, \text{MMD}(q(z), p(z))

    Zhao et al. (2019), equation 6. With alpha = 1 it is the Wasserstein autoencoder of Tolstikhin et al. (2018), whose
    weight is lambda. The distance is estimated from the codes of a batch, one an image, and as many draws from the
    prior, so a batch should hold some hundred images; it is in the history as ``mmd``, without its weight, and is no
    nats. A prior that is learned follows the codes through its draws, or, where these have no gradient (a mixture's),
    through the KL term alone, which alpha = 1 leaves out.

    Args:
        alpha: One minus the weight of the KL term; at most 1.
        weight: Lambda; the distance is weighted by alpha + lambda - 1, at least 0.
        kernel: ``"imq"``, inverse multiquadratic, or ``"rbf"``, a normal curve; see
            :func:`mnistvae.losses.maximum_mean_discrepancy`.

    Raises:
        SettingError: If alpha is above 1, the weight of the distance is negative, or the kernel is another word.

    Example:
        >>> terms = mv.VAE(latent_dim=2, objective=InfoVAE(weight=100.0)).loss(torch.rand(5, 1, 28, 28))
        >>> torch.allclose(terms.loss, terms.reconstruction + 100 * terms.extra["mmd"])
        True
    """

    of_a_batch = True

    def __init__(self, alpha: float = 1.0, weight: float = 100.0, kernel: Literal["imq", "rbf"] = "imq") -> None:
        super().__init__()
        self.alpha = check_number("alpha as a finite number of at most 1", alpha, -math.inf, above=True)
        self.weight = check_number("weight as a finite number", weight, -math.inf, above=True)
        self.kernel = check_choice("kernel", kernel, ("imq", "rbf"))
        if self.alpha > 1:
            raise SettingError("alpha as a finite number of at most 1", str(alpha), "1 leaves the KL term out")
        if self.alpha + self.weight < 1:
            raise SettingError("alpha + weight of at least 1", f"{alpha} + {weight}", "or codes are driven apart")

    def forward(self, model: LatentVariableModel, x: Tensor, y: Tensor | None = None) -> Terms:
        posterior, prior = model.encode(x, y), model.latent_prior(y)
        z = posterior.rsample()
        reconstruction, kl = -model.decode(z, y).log_prob(x), kl_or_estimate(posterior, prior, z)
        shape = torch.Size() if prior.batch_shape else z.shape[:1]
        other = prior.rsample(shape) if prior.has_rsample else prior.sample(shape)
        distance = maximum_mean_discrepancy(z, other, self.kernel).expand(len(x))
        loss = reconstruction + (1 - self.alpha) * kl + (self.alpha + self.weight - 1) * distance
        return with_own_terms(Terms(loss, reconstruction, kl, extra={"mmd": distance}), posterior)


class DIPVAE(Objective):
    r"""The ELBO, and a penalty on the covariance of all codes, for disentanglement by moments.

    .. math:: -\text{ELBO} + \lambda_{od} \sum_{i \ne j} C_{ij}^2 + \lambda_d \sum_i (C_{ii} - 1)^2

    C is the covariance of the posterior means in the batch (kind I), or that of the codes, to which the mean variance
    of the posteriors is added (kind II). Kumar et al. (2018), equations 6 and 7. The penalty is in the history as
    ``covariance``, with its weights.

    Args:
        kind: ``"I"`` or ``"II"``.
        off_diagonal: Weight of the covariances, lambda_od.
        diagonal: Weight of the variances' distance from 1, lambda_d.

    Raises:
        SettingError: If the kind is another word, or a weight negative.

    Example:
        >>> terms = mv.VAE(latent_dim=2, objective=DIPVAE("II")).loss(torch.rand(5, 1, 28, 28))
        >>> torch.allclose(terms.loss, terms.reconstruction + terms.kl + terms.extra["covariance"])
        True
    """

    of_a_batch = True

    def __init__(self, kind: Literal["I", "II"] = "II", off_diagonal: float = 10.0, diagonal: float = 10.0) -> None:
        super().__init__()
        self.kind = check_choice("kind", kind, ("I", "II"))
        self.off_diagonal = check_number("a finite off_diagonal of at least 0", off_diagonal)
        self.diagonal = check_number("a finite diagonal of at least 0", diagonal)

    def forward(self, model: LatentVariableModel, x: Tensor, y: Tensor | None = None) -> Terms:
        posterior = model.encode(x, y)
        z = posterior.rsample()
        reconstruction = -model.decode(z, y).log_prob(x)
        kl = kl_or_estimate(posterior, model.latent_prior(y), z)
        means, variances = moments(posterior)
        centred = means - means.mean(0)
        covariance = centred.T @ centred / len(x)
        if self.kind == "II":
            covariance = covariance + torch.diag(variances.mean(0))
        penalty = covariance_penalty(covariance, self.off_diagonal, self.diagonal).expand(len(x))
        terms = Terms(reconstruction + kl + penalty, reconstruction, kl, extra={"covariance": penalty})
        return with_own_terms(terms, posterior)
