"""Mixtures of distributions over codes."""

from __future__ import annotations

import torch.distributions as td
from torch import Tensor
from torch.distributions import Distribution

__all__ = ["mixture"]


def mixture(logits: Tensor, parts: Distribution) -> td.MixtureSameFamily:
    """The mixture of the last batch dimension of ``parts``.

    Args:
        logits: Logarithms of the weights, up to a constant, (K,).
        parts: The components, batch shape (..., K).

    Example:
        >>> pair = mixture(torch.zeros(2), UnitNormal(torch.zeros(3)).expand((2,)))
        >>> pair.batch_shape, pair.event_shape
        (torch.Size([]), torch.Size([3]))
    """
    logits = logits.expand(parts.batch_shape)
    weights = td.Categorical(logits=logits, validate_args=False)
    return td.MixtureSameFamily(weights, parts, validate_args=False)
