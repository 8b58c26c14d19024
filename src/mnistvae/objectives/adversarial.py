"""Objectives with a critic: a network that learns to tell codes apart, and against which the encoder learns."""

from __future__ import annotations

import itertools
import warnings
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mnistvae._checks import check_number, check_widths
from mnistvae.arrays import shape_text
from mnistvae.errors import ComponentError, type_name
from mnistvae.losses import kl_or_estimate
from mnistvae.objectives.base import LatentVariableModel, Objective, Terms, with_own_terms

__all__ = ["AdversarialAutoencoder", "FactorVAE"]


class _WithCritic(Objective):
    """A base of objectives with a critic of codes.

    Both losses are of one step and one backward pass: the model's takes the critic's weights for constants, the
    critic's takes the codes for constants. The value of the loss is the model's alone, the critic's is an extra term.
    """

    of_a_batch = True

    def __init__(self, critic: nn.Module | None, critic_rate: float, hidden: Sequence[int]) -> None:
        super().__init__()
        if critic is not None and not isinstance(critic, nn.Module):
            raise ComponentError("critic as a torch.nn.Module, or None", type_name(critic), "pass an instance")
        self.hidden = check_widths("hidden", hidden, least=1)
        self.critic_rate = check_number("a finite critic_rate above 0", critic_rate, above=True)
        self.critic = _critic(self.hidden) if critic is None else critic

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": list(self.critic.parameters()), "lr": self.critic_rate, "betas": (0.5, 0.9)}]

    def forward(self, model: LatentVariableModel, x: Tensor, y: Tensor | None = None) -> Terms:
        posterior, prior = model.encode(x, y), model.latent_prior(y)
        z = posterior.rsample()
        reconstruction = -model.decode(z, y).log_prob(x)
        kl = kl_or_estimate(posterior, prior, z)
        with torch.no_grad():
            others = self._others(z, prior.sample(torch.Size() if prior.batch_shape else z.shape[:1]))
        # Cross-entropy of the encoder's codes and of the others, at even odds.
        of_codes, of_others = _odds(self.critic(z.detach()), z), _odds(self.critic(others), z)
        cross_entropy = 0.5 * (nn.functional.softplus(-of_codes) + nn.functional.softplus(of_others))
        constants = {name: weight.detach() for name, weight in self.critic.named_parameters()}
        loss, extra = self._terms(reconstruction, kl, _odds(functional_call(self.critic, constants, (z,)), z))
        loss = loss + cross_entropy - cross_entropy.detach()
        return with_own_terms(Terms(loss, reconstruction, kl, {**extra, "critic": cross_entropy}), posterior)

    @abstractmethod
    def _others(self, z: Tensor, drawn: Tensor) -> Tensor:
        """The codes that the critic learns to tell from ``z``, (B, D), given as many draws from the prior."""

    @abstractmethod
    def _terms(self, reconstruction: Tensor, kl: Tensor, odds: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The model's loss and extra terms, given the logarithm of the odds that a code is the encoder's, (B,)."""


class FactorVAE(_WithCritic):
    r"""The ELBO, and a penalty on the total correlation of all codes that a critic estimates.

    .. math:: -\text{ELBO} + \gamma \, D_{KL}\left(q(z) \,\|\, \textstyle\prod_j q(z_j)\right), \qquad
        D_{KL} \approx \mathbb{E}_{q(z)}\left[\log \frac{D(z)}{1 - D(z)}\right]

    D is the critic's probability that a code is one of the encoder's rather than one whose dimensions are those of
    different images, put together at random from the batch. Kim and Mnih (2018), "Disentangling by factorising",
    equations 2 and 3. The terms ``total_correlation``, an estimate in nats without its weight, and ``critic``, the
    critic's cross-entropy, log 2 where it cannot tell them apart, are in the history.

    The critic has an optimizer's settings of its own, and is updated in the same step as the model, from the codes of
    the same batch; it is saved, and resumed, with the model.

    Args:
        gamma: Weight of the total correlation, at least 0; the paper has 2 to 100.
        critic: Any module from codes (B, D) to logits (B,) or (B, 1); None for an MLP.
        critic_rate: Learning rate of the critic.
        hidden: Widths of the critic's hidden layers, where it is an MLP.

    Raises:
        SettingError: If a number is negative or infinite, or a width is below 1.
        ComponentError: If the critic is no module, or does not give one logit for each code.

    Example:
        >>> terms = mv.VAE(latent_dim=2, objective=FactorVAE(gamma=10.0)).loss(torch.rand(5, 1, 28, 28))
        >>> expected = terms.reconstruction + terms.kl + 10 * terms.extra["total_correlation"]
        >>> torch.allclose(terms.loss, expected)
        True
    """

    def __init__(
        self,
        gamma: float = 10.0,
        critic: nn.Module | None = None,
        critic_rate: float = 1e-4,
        hidden: Sequence[int] = (256, 256, 256),
    ) -> None:
        super().__init__(critic, critic_rate, hidden)
        self.gamma = check_number("a finite gamma of at least 0", gamma)

    def _others(self, z: Tensor, drawn: Tensor) -> Tensor:
        del drawn
        return z.gather(0, torch.rand_like(z).argsort(0))  # each dimension in an order of its own

    def _terms(self, reconstruction: Tensor, kl: Tensor, odds: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        return reconstruction + kl + self.gamma * odds, {"total_correlation": odds}


class AdversarialAutoencoder(_WithCritic):
    r"""Reconstruction, and codes that a critic cannot tell from draws of the prior, in place of the KL term.

    .. math:: -\mathbb{E}_{q(z \mid x)}[\log p(x \mid z)] - \lambda \, \mathbb{E}_{q(z \mid x)}[\log (1 - D(z))]

    D is the critic's probability that a code is one of the encoder's rather than a draw from the prior. Makhzani et al.
    (2016), "Adversarial autoencoders", section 2. The terms ``adversary``, the encoder's part without its weight, and
    ``critic``, the critic's cross-entropy, both log 2 where it cannot tell them apart, are in the history. The loss is
    no bound, and no gradient goes through draws of the prior: one that is learned needs ``kl_weight``.

    The critic has an optimizer's settings of its own, and is updated in the same step as the model, from the codes of
    the same batch; it is saved, and resumed, with the model.

    Args:
        weight: Lambda, at least 0.
        kl_weight: Weight of the KL term beside it, at least 0.
        critic: Any module from codes (B, D) to logits (B,) or (B, 1); None for an MLP.
        critic_rate: Learning rate of the critic.
        hidden: Widths of the critic's hidden layers, where it is an MLP.

    Raises:
        SettingError: If a number is negative or infinite, or a width is below 1.
        ComponentError: If the critic is no module, or does not give one logit for each code.

    Example:
        >>> terms = mv.VAE(latent_dim=2, objective=AdversarialAutoencoder(weight=20.0)).loss(torch.rand(5, 1, 28, 28))
        >>> torch.allclose(terms.loss, terms.reconstruction + 20 * terms.extra["adversary"])
        True
    """

    def __init__(
        self,
        weight: float = 10.0,
        kl_weight: float = 0.0,
        critic: nn.Module | None = None,
        critic_rate: float = 1e-4,
        hidden: Sequence[int] = (256, 256, 256),
    ) -> None:
        super().__init__(critic, critic_rate, hidden)
        self.weight = check_number("a finite weight of at least 0", weight)
        self.kl_weight = check_number("a finite kl_weight of at least 0", kl_weight)

    def _others(self, z: Tensor, drawn: Tensor) -> Tensor:
        del z
        return drawn

    def _terms(self, reconstruction: Tensor, kl: Tensor, odds: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        adversary = nn.functional.softplus(odds)
        return reconstruction + self.weight * adversary + self.kl_weight * kl, {"adversary": adversary}


def _critic(hidden: Sequence[int]) -> nn.Sequential:
    """An MLP from codes of any size to one logit."""
    layers: list[nn.Module] = []
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Lazy modules", category=UserWarning)
        layers += [nn.LazyLinear(hidden[0]), nn.LeakyReLU(0.2)]
    for before, after in itertools.pairwise(hidden):
        layers += [nn.Linear(before, after), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Linear(hidden[-1], 1))


def _odds(logits: Any, z: Tensor) -> Tensor:
    """The critic's logits, one for each code, (B,)."""
    if not isinstance(logits, Tensor) or logits.shape not in {z.shape[:1], (z.shape[0], 1)}:
        expected = f"the critic to return one logit for each code, shape ({len(z)},) or ({len(z)}, 1)"
        raise ComponentError(expected, shape_text(logits), "end it with a linear layer to one number")
    return logits.reshape(-1).to(z.dtype)
