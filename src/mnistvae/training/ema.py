"""Averaged weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from mnistvae._checks import check_number
from mnistvae.errors import SettingError

__all__ = ["EMA"]


class EMA:
    r"""An exponential moving average of a model's weights, which is what is validated and returned.

    .. math:: \bar{\theta}_t = d_t \bar{\theta}_{t-1} + (1 - d_t) \theta_t, \qquad d_t = \min(d, (1 + t) / (10 + t))

    Polyak and Juditsky (1992); the ramp makes it forget the first weights soon.

    Args:
        model: Model whose floating-point weights and buffers are averaged.
        decay: d, from 0 to below 1.

    Raises:
        SettingError: If the decay is not in this range.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = check_number("ema as a decay from 0 to below 1", decay)
        if self.decay >= 1:
            raise SettingError("ema as a decay from 0 to below 1", str(decay), "0.999 is the usual one")
        live = model.state_dict(keep_vars=True)  # without the buffers that are made anew with the model
        self.live = {name: tensor for name, tensor in live.items() if tensor.is_floating_point()}
        self.average = {name: tensor.detach().clone() for name, tensor in self.live.items()}
        self.swapped = False
        # A tensor, so that a recorded step sees it change.
        self._share = torch.zeros((), device=next(iter(self.live.values())).device)

    def advance(self, step: int) -> None:
        """Set the decay of a step, whose number counts from 0."""
        self._share.fill_(1 - min(self.decay, (1 + step) / (10 + step)))

    @torch.no_grad()
    def update(self) -> None:
        """Move the averages towards the weights."""
        average = list(self.average.values())
        steps = torch._foreach_sub(list(self.live.values()), average)  # noqa: SLF001
        torch._foreach_mul_(steps, self._share)
        torch._foreach_add_(average, steps)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """A block in which the model has the averaged weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def apply(self) -> None:
        """Give the model the averaged weights for good."""
        for name, tensor in self.live.items():
            tensor.copy_(self.average[name])

    @torch.no_grad()
    def _swap(self) -> None:
        for name, tensor in self.live.items():
            held = tensor.clone()
            tensor.copy_(self.average[name])
            self.average[name].copy_(held)
        self.swapped = not self.swapped

    def state(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The weights as they are trained, and their averages; the model may have either of them now."""
        live = {name: tensor.detach() for name, tensor in self.live.items()}
        return (self.average, live) if self.swapped else (live, self.average)

    @torch.no_grad()
    def load(self, average: dict[str, Tensor]) -> None:
        """Take over averages that :meth:`state` gave; a buffer that is not among them, a later one, stays as it is."""
        for name, tensor in self.average.items():
            learned = isinstance(self.live[name], nn.Parameter)
            tensor.copy_(average[name] if learned else average.get(name, tensor))
