"""The state of a training run, which callbacks read and checkpoints hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mnistvae.models import VAE
from mnistvae.training.history import TERMS, History

__all__ = ["Snapshot", "State"]


class Snapshot(NamedTuple):
    """Everything that a run consists of at one moment."""

    #: Weights, their averages, the optimizer's moments, the generators' states, the sums over the epoch so far.
    tensors: dict[str, Tensor]
    #: Everything else, as JSON holds it.
    info: dict[str, Any]


def _no_run(*_: object) -> Any:
    raise RuntimeError("there is no run")


@dataclass
class State:
    """The progress of a run; callbacks read it, and may set ``stop``."""

    model: VAE
    #: Epochs that were asked for.
    epochs: int
    #: Steps in an epoch, where that is known.
    batches: int | None
    history: History
    #: Whether there are validation data.
    validates: bool = False
    #: Number of the epoch under way, from 1.
    epoch: int = 0
    #: Steps done, in all epochs.
    step: int = 0
    #: Steps done in this epoch.
    batch: int = 0
    #: Images seen in this epoch.
    images: int = 0
    #: Seconds that this epoch's training has taken.
    seconds: float = 0.0
    #: Names of the terms of the loss: loss, reconstruction, kl, and the objective's extra ones after the first step.
    terms: tuple[str, ...] = TERMS
    #: Sums of these terms over this epoch's images, (len(terms),), on the device, in double precision where it has one:
    #: reading them waits for it.
    sums: Tensor = field(default_factory=lambda: torch.zeros(len(TERMS), device="cpu"), repr=False)
    #: The reason why training is to end: after the step or the epoch under way, or before it has begun; "" to go on.
    stop: str = ""
    #: Whether the run came to its end, and was not interrupted.
    complete: bool = False
    #: The checkpoint that an interruption left.
    saved_to: Path | None = None
    #: States of torch's generators where an epoch was left before its end.
    noise: dict[str, Tensor] = field(default_factory=dict, repr=False)
    #: Makes :meth:`examples` and :meth:`snapshot`.
    first_batch: Callable[[], tuple[Tensor, Tensor | None]] = field(default_factory=lambda: _no_run, repr=False)
    capture: Callable[[State], Snapshot] = field(default_factory=lambda: _no_run, repr=False)

    def examples(self) -> tuple[Tensor, Tensor | None]:
        """Some training images, (B, C, H, W), and their labels, (B,), or None: the same ones each time."""
        return self.first_batch()

    def snapshot(self) -> Snapshot:
        """Everything that is needed to continue from here."""
        return self.capture(self)

    @property
    def under_way(self) -> bool:
        """True while an epoch has begun and is not in the history yet."""
        return self.epoch > len(self.history)

    def means(self) -> dict[str, float]:
        """Means of the terms over this epoch's images so far, by name: reading them waits for the device."""
        return dict(zip(self.terms, (self.sums / max(1, self.images)).tolist(), strict=True))

    def begin_epoch(self) -> bool:
        """Go to the next epoch, unless one was under way before a resume: then it is True."""
        if self.under_way:
            return True
        self.epoch += 1
        self.batch = self.images = 0
        self.seconds = 0.0
        self.sums = torch.zeros_like(self.sums)
        return False

    def count(self, images: int, sums: Tensor, terms: tuple[str, ...]) -> None:
        """Add up one step.

        Args:
            images: Number of its images.
            sums: Sums of the terms over them, (len(terms),).
            terms: Names of the terms, the same in each step.
        """
        if terms != self.terms:  # after the first step of a run
            self.terms = terms
            self.sums = self.sums.new_zeros(len(sums))
        self.sums.add_(sums)
        self.images += images
        self.step += 1
        self.batch += 1
