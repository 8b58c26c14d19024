"""The tensors that a distribution is made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor
from torch.distributions import Distribution

__all__ = ["tensors_of"]


def tensors_of(value: Any) -> Iterator[Tensor]:
    """The tensors that a distribution keeps, by itself, in lists and in distributions that it is made of.

    Args:
        value: A distribution; also a tensor or a list. Anything else has none.

    Example:
        >>> [tensor.shape for tensor in tensors_of(torch.distributions.Normal(torch.zeros(2), torch.ones(2)))]
        [torch.Size([2]), torch.Size([2])]
    """
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Distribution):
        for part in vars(value).values():
            yield from tensors_of(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from tensors_of(part)
