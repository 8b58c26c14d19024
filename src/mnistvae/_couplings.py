"""zuko's affine couplings, with nothing in them that a GPU would have to be waited for; importing this imports zuko."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from zuko.flows.coupling import GeneralCouplingTransform
from zuko.lazy import LazyComposedTransform
from zuko.transforms import CouplingTransform

__all__ = ["couplings"]


def couplings(features: int, transforms: int, **network: Any) -> nn.Module:
    """The transform of zuko's ``RealNVP``: couplings that keep every second number, in turn the odd and the even ones.

    Args:
        features: Size of a code.
        transforms: Number of couplings.
        network: Settings of the network in each.
    """
    places = torch.arange(features)
    parts = [_Coupling(features, mask=places % 2 == number % 2, **network) for number in range(transforms)]
    transform: nn.Module = LazyComposedTransform(*parts)
    return transform


class _Coupling(GeneralCouplingTransform):  # type: ignore[misc]  # zuko has no types
    """A coupling that knows the places of its two parts; zuko's reads them off a mask each time."""

    first: Tensor
    second: Tensor
    back: Tensor

    def __init__(self, features: int, **how: Any) -> None:
        super().__init__(features, **how)
        first, second = self.mask.nonzero().squeeze(-1), (~self.mask).nonzero().squeeze(-1)
        for name, places in {"first": first, "second": second, "back": torch.cat([first, second]).argsort()}.items():
            self.register_buffer(name, places, persistent=False)

    def forward(self, c: Tensor | None = None) -> CouplingTransform:
        return _Halves(self, partial(self.meta, c))


class _Halves(CouplingTransform):  # type: ignore[misc]
    """The transform of a coupling."""

    def __init__(self, places: _Coupling, meta: Any) -> None:
        super(CouplingTransform, self).__init__()
        self.places = places
        self.meta = meta

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.index_select(-1, self.places.first), x.index_select(-1, self.places.second)

    def merge(self, x_a: Tensor, x_b: Tensor, shape: torch.Size) -> Tensor:
        x_a = x_a.expand(*x_b.shape[:-1], -1)  # what depends on a context has its batch
        return torch.cat([x_a, x_b], -1).index_select(-1, self.places.back)
