"""The search for the parameters of a prior under which draws from posteriors are most likely."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mnistvae._products import training_arithmetic
from mnistvae._random import derive_seed, seeded
from mnistvae.distributions import UnitNormal
from mnistvae.errors import DataError
from mnistvae.priors import Flow, SecondStage

__all__ = ["HeldOut", "Posteriors", "fit_likeliest"]

#: Codes a step, the peak of the learning rate, and the greatest norm of a gradient.
_BATCH, _RATE, _NORM = 512, 5e-3, 20.0
#: Times that the held-out codes are looked at, and how many of them without a gain end the search.
_LOOKS, _PATIENCE = 25, 6
#: Codes whose density is computed at once.
_AT_ONCE = 8192


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
        order = torch.randperm(len(posteriors.mu), device="cpu").to(device)
        held, kept = order.tensor_split([max(1, len(order) // 10)])
        codes = posteriors.draw(held)
        prior.standardize(posteriors.draw(kept))
        parameters = list(prior.parameters())
        optimizer = torch.optim.Adam(parameters, _RATE, fused=device.type in {"cpu", "cuda"})
        best, state, waited = _mean_log_density(prior, codes, seed), _copied(prior), 0
        for step, rows in enumerate(_batches(kept, steps), start=1):
            optimizer.param_groups[0]["lr"] = _RATE * 0.5 * (1 + math.cos(math.pi * (step - 1) / steps))
            optimizer.zero_grad()
            (-prior().log_prob(posteriors.draw(rows)).mean()).backward()
            nn.utils.clip_grad_norm_(parameters, _NORM)
            optimizer.step()
            if step % max(1, steps // _LOOKS) and step < steps:
                continue
            value = _mean_log_density(prior, codes, seed)
            best, state, waited = (value, _copied(prior), 0) if value > best else (best, state, waited + 1)
            if waited == _PATIENCE:
                break
        prior.load_state_dict(state)
        prior.zero_grad()
    standard = UnitNormal(codes.new_zeros(codes.shape[1])).log_prob(codes)
    return HeldOut(best, float(standard.mean()))


def _batches(rows: Tensor, steps: int) -> Iterator[Tensor]:
    """So many batches of rows, each row once before any comes again."""
    size, left = min(_BATCH, len(rows)), rows[:0]
    for _ in range(steps):
        if len(left) < size:
            left = rows[torch.randperm(len(rows), device="cpu").to(rows.device)]
        batch, left = left[:size], left[size:]
        yield batch


@torch.no_grad()
def _mean_log_density(prior: Flow | SecondStage, codes: Tensor, seed: int) -> float:
    """The mean log-density of codes, nats; of a bound with the same draws each time, so that only the prior differs.

    Raises:
        DataError: If it is not finite.
    """
    with seeded(derive_seed(seed, 1), codes.device):
        value = float(torch.cat([prior().log_prob(some) for some in torch.split(codes, _AT_ONCE)]).mean())
    if not math.isfinite(value):
        got = f"{value} nats for codes up to {float(codes.abs().max()):.3g}"
        fix = "try another seed, or train the model further"
        raise DataError("a finite likelihood of the codes", got, fix)
    return value


def _copied(prior: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in prior.state_dict().items()}
