"""The search for the parameters of a prior under which the tokens of images are most likely."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from mnistvae._modes import evaluating
from mnistvae._products import training_arithmetic
from mnistvae._random import derive_seed, seeded
from mnistvae.errors import DataError
from mnistvae.priors import TokenPrior

__all__ = ["fit_tokens"]

#: Rows of tokens a step, the peak of the learning rate, the share of the steps in which it rises, and the greatest norm
#: of a gradient.
_BATCH, _RATE, _RISE, _NORM = 128, 2e-3, 0.05, 1.0
#: Times that the held-out tokens are looked at, and how many of them without a gain end the search.
_LOOKS, _PATIENCE = 25, 6


def fit_tokens(prior: TokenPrior, tokens: Tensor, steps: int, seed: int) -> float:
    r"""Set the parameters of a prior to those under which the tokens of images are most likely.

    .. math:: \max_\theta \frac{1}{N} \sum_n \log p_\theta(k_{n1}, k_{n2}, \dots)

    The optimizer is AdamW, whose rate rises and then falls along half a cosine. A tenth of the images is held out: the
    search ends when the likelihood of their tokens has not risen for a quarter of the steps, and the parameters that it
    was highest with are kept.

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
        order = torch.randperm(len(tokens), device="cpu").to(device)
        held, kept = (tokens[rows] for rows in order.tensor_split([max(1, len(order) // 10)]))
        parameters = list(prior.parameters())
        optimizer = torch.optim.AdamW(parameters, _RATE, weight_decay=0.01, fused=device.type in {"cpu", "cuda"})
        best, state, waited = _held_out(prior, held), _copied(prior), 0
        prior.train()
        for step, rows in enumerate(_batches(kept, steps), start=1):
            optimizer.param_groups[0]["lr"] = _RATE * _factor(step, steps)
            optimizer.zero_grad()
            torch.autograd.backward(-prior.log_prob_of(rows).mean() / prior.length)
            nn.utils.clip_grad_norm_(parameters, _NORM)
            optimizer.step()
            if step % max(1, steps // _LOOKS) and step < steps:
                continue
            value = _held_out(prior, held)
            best, state, waited = (value, _copied(prior), 0) if value > best else (best, state, waited + 1)
            if waited == _PATIENCE:
                break
        prior.load_state_dict(state)
        prior.zero_grad()
    prior.eval()
    return best


def _factor(step: int, steps: int) -> float:
    """The factor of the learning rate at a step, from 1."""
    rise = max(1, round(_RISE * steps))
    return min(step / rise, 0.5 * (1 + math.cos(math.pi * (step - 1) / steps)))


def _batches(tokens: Tensor, steps: int) -> Iterator[Tensor]:
    """So many batches of rows, each row once before any comes again."""
    size, left = min(_BATCH, len(tokens)), tokens[:0]
    for _ in range(steps):
        if len(left) < size:
            left = tokens[torch.randperm(len(tokens), device="cpu").to(tokens.device)]
        batch, left = left[:size], left[size:]
        yield batch


@torch.no_grad()
def _held_out(prior: TokenPrior, tokens: Tensor) -> float:
    """The mean log-probability of rows of tokens, nats.

    Raises:
        DataError: If it is not finite.
    """
    with evaluating(prior):
        value = float(torch.cat([prior.log_prob_of(some) for some in torch.split(tokens, 4 * _BATCH)]).mean())
    if not math.isfinite(value):
        raise DataError("a finite likelihood of the tokens", f"{value} nats", "try another seed")
    return value


def _copied(prior: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in prior.state_dict().items()}
