"""The search for the parameters of a prior under which the codes of images are most likely."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mnistvae._modes import evaluating
from mnistvae._products import training_arithmetic
from mnistvae._random import derive_seed, seeded
from mnistvae.distributions import UnitNormal
from mnistvae.errors import DataError
from mnistvae.priors import Flow, SecondStage, TokenPrior

__all__ = ["HeldOut", "Posteriors", "fit_likeliest", "fit_tokens"]

#: Times that the held-out codes are looked at, and how many of them without a gain end the search.
_LOOKS, _PATIENCE = 25, 6


class _Search(NamedTuple):
    """The settings of a search."""

    #: Codes a step.
    batch: int
    #: Peak of the learning rate.
    rate: float
    #: Greatest norm of a gradient.
    norm: float
    #: Decay of the weights.
    decay: float
    #: Share of the steps in which the learning rate rises.
    rise: float
    #: Codes whose density is computed at once.
    at_once: int


_OF_CODES = _Search(batch=512, rate=5e-3, norm=20.0, decay=0.0, rise=0.0, at_once=8192)
_OF_TOKENS = _Search(batch=128, rate=2e-3, norm=1.0, decay=0.01, rise=0.05, at_once=512)


class Posteriors(NamedTuple):
    """The posteriors of N images, as far as they are known."""

    #: Means, (N, latent_dim); or one draw of each, where there is no deviation.
    mu: Tensor
    #: Standard deviations, (N, latent_dim).
    sigma: Tensor | None = None

    def draw(self, rows: Tensor) -> Tensor:
        """A draw from the posteriors of some images, or their one draw."""
        mu = self.mu[rows]
        return mu if self.sigma is None else torch.addcmul(mu, self.sigma[rows], torch.randn_like(mu))


class HeldOut(NamedTuple):
    """Mean log-densities of codes that nothing was fitted to, in nats."""

    #: Under the fitted prior.
    fitted: float
    #: Under the standard normal.
    standard: float


def fit_likeliest(prior: Flow | SecondStage, posteriors: Posteriors, steps: int, seed: int) -> HeldOut:
    r"""Set the parameters of a prior to those under which codes of images are most likely.

    .. math:: \max_\theta \frac{1}{N} \sum_n \mathbb{E}_{q(z \mid x_n)}[\log p_\theta(z)]

    Codes are drawn anew for each batch of 512. The optimizer is Adam, whose rate falls along half a cosine. A tenth of
    the images is held out: the search ends when the likelihood of their codes has not risen for a quarter of the steps,
    and the parameters that it was highest with are kept.

    Args:
        prior: The prior, of the posteriors' dtype and on their device; it is standardized first.
        posteriors: Posteriors of two images at least.
        steps: The greatest number of steps.
        seed: Seed of all that is drawn.

    Raises:
        DataError: If the likelihood of the held-out codes becomes no finite number.
    """
    device = posteriors.mu.device
    with seeded(derive_seed(seed, 0), device), training_arithmetic(device):
        held, kept = _split(len(posteriors.mu), device)
        codes = posteriors.draw(held)
        prior.standardize(posteriors.draw(kept))

        def held_out() -> float:
            with seeded(derive_seed(seed, 1), device):  # of a bound with the same draws each time
                return _mean(lambda some: prior().log_prob(some), codes, _OF_CODES.at_once)

        def mean(rows: Tensor) -> Tensor:
            value: Tensor = prior().log_prob(posteriors.draw(rows)).mean()
            return value

        best = _search(prior, kept, steps, _OF_CODES, mean, held_out)
    standard = UnitNormal(codes.new_zeros(codes.shape[1])).log_prob(codes)
    return HeldOut(best, float(standard.mean()))


def fit_tokens(prior: TokenPrior, tokens: Tensor, steps: int, seed: int) -> float:
    r"""Set the parameters of a prior to those under which the tokens of images are most likely.

    .. math:: \max_\theta \frac{1}{N} \sum_n \log p_\theta(k_{n1}, k_{n2}, \dots)

    As :func:`fit_likeliest`, with 128 images a step and AdamW, whose rate rises first.

    Args:
        prior: The prior, on the tokens' device.
        tokens: Tokens of two images at least, (N, length).
        steps: The greatest number of steps.
        seed: Seed of all that is drawn.

    Returns:
        The mean log-probability of the held-out tokens, nats an image.

    Raises:
        DataError: If it becomes no finite number.
    """
    device = tokens.device
    with seeded(derive_seed(seed, 0), device), training_arithmetic(device):
        held, kept = _split(len(tokens), device)

        def held_out() -> float:
            with evaluating(prior):
                return _mean(prior.log_prob_of, tokens[held], _OF_TOKENS.at_once)

        def mean(rows: Tensor) -> Tensor:
            return prior.log_prob_of(tokens[rows]).mean() / prior.length

        return _search(prior, kept, steps, _OF_TOKENS, mean, held_out)


def _split(n: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """A tenth of n numbers to hold out, and the others."""
    order = torch.randperm(n, device="cpu").to(device)
    held, kept = order.tensor_split([max(1, n // 10)])
    return held, kept


def _search(
    prior: nn.Module,
    rows: Tensor,
    steps: int,
    how: _Search,
    mean: Callable[[Tensor], Tensor],
    held_out: Callable[[], float],
) -> float:
    """Set the parameters to those that are best for what is held out; gives its value.

    Args:
        prior: The prior.
        rows: Numbers of the codes.
        steps: The greatest number of steps.
        how: The settings.
        mean: The mean log-probability of some codes, which is raised.
        held_out: That of the codes that are held out.
    """
    parameters = list(prior.parameters())
    fused = rows.device.type in {"cpu", "cuda"}
    optimizer = torch.optim.AdamW(parameters, how.rate, weight_decay=how.decay, fused=fused)
    best, state, waited = held_out(), _copied(prior), 0
    prior.train()
    for step, some in enumerate(_batches(rows, how.batch, steps), start=1):
        falling = 0.5 * (1 + math.cos(math.pi * (step - 1) / steps))
        optimizer.param_groups[0]["lr"] = how.rate * min(step / max(1, round(how.rise * steps)), falling)
        optimizer.zero_grad()
        torch.autograd.backward(-mean(some))
        nn.utils.clip_grad_norm_(parameters, how.norm)
        optimizer.step()
        if step % max(1, steps // _LOOKS) and step < steps:
            continue
        value = held_out()
        best, state, waited = (value, _copied(prior), 0) if value > best else (best, state, waited + 1)
        if waited == _PATIENCE:
            break
    prior.load_state_dict(state)
    prior.zero_grad()
    prior.eval()
    return best


def _batches(rows: Tensor, size: int, steps: int) -> Iterator[Tensor]:
    """So many batches of rows, each row once before any comes again."""
    size, left = min(size, len(rows)), rows[:0]
    for _ in range(steps):
        if len(left) < size:
            left = rows[torch.randperm(len(rows), device="cpu").to(rows.device)]
        batch, left = left[:size], left[size:]
        yield batch


@torch.no_grad()
def _mean(log_prob: Callable[[Tensor], Tensor], codes: Tensor, at_once: int) -> float:
    """The mean log-probability of codes, or of rows of tokens, nats.

    Raises:
        DataError: If it is not finite.
    """
    value = float(torch.cat([log_prob(some) for some in torch.split(codes, at_once)]).mean())
    if not math.isfinite(value):
        got = f"{value} nats for codes up to {float(codes.abs().max()):.3g}"
        fix = "try another seed, or train the model further"
        raise DataError("a finite likelihood of the codes", got, fix)
    return value


def _copied(prior: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in prior.state_dict().items()}
