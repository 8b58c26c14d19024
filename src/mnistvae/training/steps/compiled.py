"""Steps that torch compiles: as a whole where it can, else forward pass and loss, else not at all."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from mnistvae.errors import MnistvaeError
from mnistvae.models import VAE
from mnistvae.training.steps.compiler import Hooks, compiled
from mnistvae.training.steps.eager import Forward, Step, StepBatches
from mnistvae.training.steps.whole import WholeStep

__all__ = ["CompiledStep"]


class CompiledStep(Step):
    """A step on full batches that is compiled; the first step of a run, and smaller batches, are computed as usual.

    The whole step is one function where it fits, see :meth:`WholeStep.fits`. Where that fails, forward pass and loss
    are compiled; where that fails too, nothing is. A warning says once what was given up, and why.

    Args:
        model: Model that is trained.
        optimizer: Optimizer of its weights.
        batch_size: Images of this process in a full batch.
        whole: Whether a step is one batch in one process, so that all of it may be compiled as one function.
        **settings: Settings of a :class:`Step`.
    """

    def __init__(
        self, model: VAE, optimizer: torch.optim.Optimizer, *, batch_size: int, whole: bool = False, **settings: Any
    ) -> None:
        super().__init__(model, optimizer, **settings)
        self.batch_size = batch_size
        self._hooks = Hooks(model, optimizer)
        self._hooked = self._hooks.count()
        self._forward: Forward | None = compiled(self.forward, model.device)
        self._whole: WholeStep | None = None
        if whole and WholeStep.fits(model, optimizer):
            self._whole = WholeStep(self.forward, model, optimizer, self.clip_norm)

    def __call__(self, batches: StepBatches) -> list[Tensor]:
        first = not self.terms
        if self._forward is not None and self._hooks.count() != self._hooked:
            self._give_up("a hook was registered since, which the compiled step would not call")
        failure = ""
        if self._whole is not None and not first and len(batches[0][0]) == self.batch_size:
            self.zero_grad()
            try:
                sums = self._whole(*batches[0])
            except Exception as error:  # noqa: BLE001 (a compiler may raise anything; compiling in parts asks less of it)
                self._whole = None
                failure = _reason(error)
            else:
                if self.ema is not None:
                    self.ema.update()
                return [sums]
        try:
            sums = self.gradients(batches)
        except MnistvaeError:
            raise
        except Exception as error:  # (the gradient of a compiled loss may fail where its value did not)
            if first or self._forward is None:
                raise
            self._give_up(f"which failed: {_reason(error)}")
            failure = ""
            sums = self.gradients(batches)
        if failure:
            _warn(f"with the step compiled in parts: as a whole it failed: {failure}")
        self.update(sums)
        return [sums]

    def forward_for(self, n: int) -> Forward:
        return self.forward if self._forward is None or n != self.batch_size else self._forward

    def _give_up(self, why: str) -> None:
        """Compile nothing any more."""
        self._whole = self._forward = None
        _warn(f"without torch.compile, {why}")


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _warn(how: str) -> None:
    warnings.warn(f"training goes on {how}", stacklevel=2)
