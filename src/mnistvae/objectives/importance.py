"""Importance-weighted bounds: tighter than the ELBO, by several weighted samples."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.distributions import Distribution

from mnistvae._checks import check_choice, check_count, check_number, check_switch
from mnistvae.distributions import detached
from mnistvae.errors import SettingError
from mnistvae.losses import doubly_reparameterized, importance_weighted_bound
from mnistvae.objectives.base import LatentVariableModel, Objective, Terms, for_each_code, with_own_terms

__all__ = ["IWAE"]


class IWAE(Objective):
    r"""The negative importance-weighted bound: tighter than the ELBO, and more so with more samples.

    .. math:: -\mathbb{E}_{z_1, \dots, z_K \sim q(z \mid x)}\left[\log \frac{1}{K} \sum_{k=1}^{K}
        \frac{p(x \mid z_k) \, p(z_k)}{q(z_k \mid x)}\right]

    Burda et al. (2016), equation 8. ``reconstruction`` and ``kl`` are those of the ELBO, averaged over the
    samples; the loss is at most their sum.

    With many samples the encoder's gradient is mostly noise. Rainforth et al. (2018), section 6, have three bounds
    between the ELBO and this one, of M groups of K samples: the mean of the groups' bounds (MIWAE, ``groups=M``); that
    with a share of the ELBO (CIWAE, ``elbo_weight``); and the mean of the groups' bounds for the encoder, while
    everything else gets the bound of all M K samples (PIWAE, ``partial=True``).

    Args:
        num_samples: K, codes an image, of each group; memory and time of the decoder grow with it.
        gradient: ``"plain"``, or ``"doubly-reparameterized"``, whose noise does not grow with K
            (Tucker et al., 2019, equation 8).
        groups: M, number of groups of samples.
        elbo_weight: Weight of the ELBO in the bound, from 0 to 1.
        partial: Give the encoder the gradient of the groups' mean, and the rest that of all samples as one group. The
            encoder's pass back through the decoder is one of its own. The loss is the bound of all samples.

    Raises:
        SettingError: If there is no sample or group, a weight outside [0, 1], the gradient is another word, or two are
            given of another gradient, a weight of the ELBO and ``partial``.

    Example:
        >>> terms = mv.VAE(latent_dim=2, objective=IWAE(num_samples=8)).loss(torch.rand(5, 1, 28, 28))
        >>> bool((terms.loss <= terms.reconstruction + terms.kl).all())
        True
    """

    def __init__(
        self,
        num_samples: int = 50,
        gradient: Literal["plain", "doubly-reparameterized"] = "plain",
        groups: int = 1,
        elbo_weight: float = 0.0,
        partial: bool = False,
    ) -> None:
        super().__init__()
        self.num_samples = check_count("num_samples as an integer of at least 1", num_samples)
        self.gradient = check_choice("gradient", gradient, ("plain", "doubly-reparameterized"))
        self.groups = check_count("groups as an integer of at least 1", groups)
        self.elbo_weight = check_number("elbo_weight from 0 to 1", elbo_weight)
        if self.elbo_weight > 1:
            raise SettingError("elbo_weight from 0 to 1", str(elbo_weight), "1 is the ELBO alone")
        self.partial = check_switch("partial", partial)
        if self.elbo_weight and self.gradient != "plain":
            raise SettingError("elbo_weight or another gradient than the plain one", "both", "leave one out")
        if partial and (self.gradient != "plain" or self.elbo_weight):
            other = f"elbo_weight={elbo_weight}" if self.elbo_weight else f"gradient={gradient!r}"
            raise SettingError(f"partial=True or {other}", "both", "leave one out: each sets the encoder's gradient")

    def forward(self, model: LatentVariableModel, x: Tensor, y: Tensor | None = None) -> Terms:
        posterior = model.encode(x, y)
        z = posterior.rsample(torch.Size([self.num_samples * self.groups]))
        if self.partial and z.requires_grad:
            return self._partial(model, posterior, z, x, y)
        log_likelihood = for_each_code(model, z, x, y)
        log_p = model.latent_prior(y).log_prob(z)
        doubly = self.gradient != "plain"
        log_q = (detached(posterior) if doubly else posterior).log_prob(z)
        log_weights = log_likelihood + log_p - log_q
        grouped = _grouped(log_weights, 1 if self.partial else self.groups)
        bound = (doubly_reparameterized(grouped, z) if doubly else importance_weighted_bound(grouped)).mean(0)
        if self.elbo_weight:
            bound = torch.lerp(bound, log_weights.mean(0), self.elbo_weight)
        return with_own_terms(Terms(-bound, -log_likelihood.mean(0), (log_q - log_p).mean(0)), posterior)

    def _partial(
        self, model: LatentVariableModel, posterior: Distribution, z: Tensor, x: Tensor, y: Tensor | None
    ) -> Terms:
        """The terms, with the gradient of the groups' mean for all that goes through the codes and the posterior."""
        codes = z.detach().requires_grad_()
        log_likelihood = for_each_code(model, codes, x, y)
        log_p = model.latent_prior(y).log_prob(codes)
        log_q, log_joint = posterior.log_prob(z), log_likelihood + log_p
        log_weights = (log_joint - log_q).detach()
        of_all = torch.softmax(log_weights, dim=0)
        of_groups = torch.softmax(_grouped(log_weights, self.groups), dim=0).flatten(0, 1) / self.groups
        (slope,) = torch.autograd.grad((of_groups * log_joint).sum(), codes, retain_graph=True)
        moving = (of_all * log_joint + (slope * z).sum(-1) - of_groups * log_q).sum(0)
        bound = importance_weighted_bound(log_weights) + moving - moving.detach()
        return with_own_terms(Terms(-bound, -log_likelihood.mean(0), (log_q - log_p).mean(0)), posterior)


def _grouped(log_weights: Tensor, groups: int) -> Tensor:
    """(K M, B) as (K, M, B)."""
    samples, images = log_weights.shape  # of a process that has no images of a small batch, there are none
    return log_weights.reshape(samples // groups, groups, images)
