"""The losses of pythae's models beside ours, for the same weights, images and noise.

The formulas are pythae 0.1.2's, written anew: each is a function of what the networks give. The script
``scripts/against_pythae.py`` compares with pythae itself; on 27 November 2026 all of LOSSES were the same to 1e-5.

Pythae's IWAE, MIWAE and CIWAE give a surrogate whose gradient is that of the bound, and whose value is not: the
gradients are compared. Its weights of the total correlation in BetaTCVAE are those of the code of Chen et al., which
has the image's own code in the wrong column; ours follow their appendix C.2, and test_losses has them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import mnistvae as mv
from mnistvae import likelihoods, networks, objectives, priors

D, SHAPE, N = 4, (1, 8, 8), 12


class Case(NamedTuple):
    """What a loss is a function of."""

    x: Tensor
    #: Probabilities of pixels, at the codes.
    pixels: Tensor
    mu: Tensor
    log_var: Tensor
    z: Tensor
    #: Draws of the prior.
    other: Tensor
    model: mv.VAE


def cross_entropy(c: Case) -> Tensor:
    return nn.functional.binary_cross_entropy(c.pixels, c.x.expand_as(c.pixels), reduction="none").sum((-3, -2, -1))


def kl(c: Case) -> Tensor:
    return -0.5 * (1 + c.log_var - c.mu**2 - c.log_var.exp()).sum(-1)


def squares(c: Case) -> Tensor:
    return (c.pixels - c.x).square().sum((1, 2, 3))


def mmd(c: Case, kernel: str) -> Tensor:
    """The unbiased estimate of pythae, of one kernel of bandwidth 1."""

    def k(a: Tensor, b: Tensor) -> Tensor:
        distance = (a[:, None] - b).norm(dim=-1) ** 2
        return torch.exp(-distance / (2 * D)) if kernel == "rbf" else 2 * D / (2 * D + distance)

    def within(a: Tensor) -> Tensor:
        return (k(a, a) - k(a, a).diag().diag()).sum() / (N * (N - 1))

    return within(c.z) + within(c.other) - 2 * k(c.z, c.other).sum() / N**2


def vamp(c: Case) -> Tensor:
    prior: Any = c.model.prior
    pseudo: Any = c.model.encode(prior.pseudo_inputs)
    mu, log_var = pseudo.mu, pseudo.logvar
    each = -0.5 * (log_var + (c.z[:, None] - mu) ** 2 / log_var.exp()).sum(2) - math.log(len(mu))
    log_q = -0.5 * (c.log_var + (c.z - c.mu) ** 2 / c.log_var.exp()).sum(1)
    return cross_entropy(c) + log_q - each.logsumexp(1)


def factor(c: Case) -> Tensor:
    critic: Any = c.model.objective
    logits = torch.cat([critic.critic(c.z), torch.zeros(N, 1)], 1)
    return cross_entropy(c) + kl(c) + 5.0 * (logits[:, 0] - logits[:, 1]).mean()


#: What the normal and its prior add to squares and lengths, of ours alone.
PIXELS, CODES = 0.5 * 64 * math.log(math.pi), 0.5 * D * math.log(2 * math.pi)

#: Pythae's loss of each image, our objective, and what our loss has beyond it.
LOSSES: dict[str, tuple[Callable[[Case], Tensor], Callable[[], objectives.Objective], float]] = {
    "VAE": (lambda c: cross_entropy(c) + kl(c), objectives.ELBO, 0.0),
    "BetaVAE": (lambda c: cross_entropy(c) + 3.0 * kl(c), lambda: objectives.ELBO(beta=3.0), 0.0),
    "DisentangledBetaVAE": (
        lambda c: cross_entropy(c) + 3.0 * (kl(c) - 5.0).abs(),
        lambda: objectives.ELBO(beta=3.0, capacity=5.0),
        0.0,
    ),
    "FactorVAE": (factor, lambda: objectives.FactorVAE(5.0, hidden=(8,)), 0.0),
    "INFOVAE_MMD": (
        lambda c: cross_entropy(c) + 0.7 * kl(c) + (0.3 + 7.0 - 1) * mmd(c, "rbf"),
        lambda: objectives.InfoVAE(0.3, 7.0, "rbf"),
        0.0,
    ),
    "WAE_MMD": (lambda c: squares(c) + 7.0 * mmd(c, "imq"), lambda: objectives.InfoVAE(1.0, 7.0), PIXELS),
    "AE": (squares, lambda: objectives.ELBO(beta=0.0), PIXELS),
    "RAE_L2": (
        lambda c: squares(c) + 0.7 * 0.5 * c.z.norm(dim=1) ** 2,
        lambda: objectives.ELBO(beta=0.7),
        PIXELS + 0.7 * CODES,
    ),
    "VAMP": (vamp, objectives.ELBO, 0.0),
}
POINTS = ("WAE_MMD", "AE", "RAE_L2")


def model_of(name: str, objective: objectives.Objective) -> mv.VAE:
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh())
    point = name in POINTS
    return mv.VAE(
        D,
        SHAPE,
        encoder=networks.PointEncoder(trunk, D) if point else networks.GaussianEncoder(trunk, D),
        decoder=networks.MLPDecoder(D, SHAPE, (16,)),
        likelihood=likelihoods.Gaussian(math.sqrt(0.5)) if point else likelihoods.Bernoulli(),
        prior=priors.VampPrior(5) if name == "VAMP" else priors.StandardNormal(D),
        objective=objective,
    )


def case_of(model: mv.VAE, x: Tensor, samples: tuple[int, ...] = ()) -> Case:
    """The same draws, in the same order, as the objectives make."""
    q: Any = model.encode(x)
    z = q.mean if isinstance(q, mv.distributions.Point) else q.rsample(torch.Size(samples))
    pixels = model.decoder(z.flatten(0, -2)).sigmoid().reshape(*z.shape[:-1], *SHAPE)
    nothing = torch.zeros(0)
    mu, log_var = (getattr(q, part, nothing) for part in ("mu", "logvar"))
    return Case(x, pixels, mu, log_var, z, torch.randn(N, D), model)


def images() -> Tensor:
    return (torch.rand(N, *SHAPE, generator=torch.Generator().manual_seed(3)) < 0.4).float()


def both(name: str, pythae: Callable[[Case], Tensor], objective: objectives.Objective, *samples: int) -> list[Tensor]:
    """Each loss and its gradients: pythae's value, ours, and then the gradients of each."""
    model, x = model_of(name, objective), images()
    weights = [*model.encoder.parameters(), *model.decoder.parameters()]
    found: list[Tensor] = []

    def of_pythae() -> Tensor:
        return pythae(case_of(model, x, samples)).mean()

    def own() -> Tensor:
        return model.loss(x).loss.mean()

    for loss in (of_pythae, own):
        torch.manual_seed(1)
        value = loss()
        slopes = torch.autograd.grad(value, weights, allow_unused=True, materialize_grads=True)
        found += [value.detach(), torch.cat([slope.flatten() for slope in slopes])]
    return found


@pytest.mark.parametrize("name", LOSSES)
def test_the_loss_is_pythaes(name: str) -> None:
    pythae, objective, beyond = LOSSES[name]
    theirs, their_slope, ours, our_slope = both(name, pythae, objective())
    torch.testing.assert_close(ours - beyond, theirs, rtol=0, atol=1e-4)
    torch.testing.assert_close(our_slope, their_slope, rtol=1e-4, atol=1e-5)


def weighted(c: Case) -> Tensor:
    """Minus log-weights of codes times their normalised weights, (groups, N): the gradient is that of the bound."""
    log_q = -0.5 * (c.log_var + (c.z - c.mu) ** 2 / c.log_var.exp()).sum(-1)
    log_w = -cross_entropy(c) - log_q - 0.5 * (c.z**2).sum(-1)
    return -(log_w.softmax(0).detach() * log_w).sum(0)


def plain(c: Case) -> Tensor:
    log_q = -0.5 * (c.log_var + (c.z - c.mu) ** 2 / c.log_var.exp()).sum(-1)
    return (cross_entropy(c) + log_q + 0.5 * (c.z**2).sum(-1)).mean(0)


SURROGATES: dict[str, tuple[Callable[[Case], Tensor], Callable[[], objectives.Objective], tuple[int, ...]]] = {
    "IWAE": (weighted, lambda: objectives.IWAE(3), (3,)),
    "CIWAE": (lambda c: 0.3 * plain(c) + 0.7 * weighted(c), lambda: objectives.IWAE(3, elbo_weight=0.3), (3,)),
    "MIWAE": (weighted, lambda: objectives.IWAE(3, groups=2), (3, 2)),
}


@pytest.mark.parametrize("name", SURROGATES)
def test_the_gradient_is_pythaes(name: str) -> None:
    surrogate, objective, samples = SURROGATES[name]
    _, theirs, _, ours = both(name, surrogate, objective(), *samples)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
