"""One step of training: forward, backward, clip, update."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TypeAlias

import torch
from torch import Tensor, nn

from mnistvae._parts import check_terms
from mnistvae._random import noise_for_rows
from mnistvae.errors import ComponentError, SettingError
from mnistvae.models import VAE
from mnistvae.objectives import Terms
from mnistvae.training.compiled import WholeStep
from mnistvae.training.compiler import Listeners, compiled
from mnistvae.training.distributed import ALONE, World
from mnistvae.training.optimizers import EMA

__all__ = ["Batch", "Group", "Step", "resolve_precision", "sums_of"]

Batch: TypeAlias = tuple[Tensor, Tensor | None]
#: The batches of one step.
Group: TypeAlias = Sequence[Batch]


class Step:
    """One step of training on one or several batches.

    Args:
        model: what is trained.
        optimizer: of its weights.
        autocast: the dtype in which products are computed, or None for the weights' own.
        compile: compile what is done with batches of ``batch_size``; others are computed as usual.
        whole: each step is one batch and one process's, so that all of it may be compiled as one function.
        batch_size: images of this process in a full batch.
        clip_norm: largest norm of the gradient, or None.
        ema: average of the weights, or None.
        exchange: adds up the gradients, and the sums, of several processes, in place.
    """

    def __init__(
        self,
        model: VAE,
        optimizer: torch.optim.Optimizer,
        *,
        autocast: torch.dtype | None = None,
        compile: bool = False,  # noqa: A002 (the word that everyone knows)
        whole: bool = False,
        batch_size: int = 0,
        clip_norm: float | None = None,
        ema: EMA | None = None,
        exchange: Callable[[list[Tensor]], None] | None = None,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        self.autocast = autocast
        self.batch_size = batch_size
        self.clip_norm = clip_norm
        self.ema = ema
        self.exchange = exchange
        #: The step, or forward pass and loss, as compiled; the first one that works is used.
        self.whole: Callable[[Tensor, Tensor | None], Tensor] | None = None
        self.compiled: Callable[..., tuple[Tensor, Tensor]] | None = None
        self._listeners = Listeners(model, optimizer)
        self._listening = self._listeners.count()
        if compile:
            self.compiled = compiled(self.forward, model.device)
            if whole and WholeStep.fits(model, optimizer):
                self.whole = WholeStep(self.forward, model, optimizer, clip_norm)
        #: Whether a loss was looked at and found right, as that of a run's first step is.
        self.checked = False

    def __call__(self, group: Group, world: World = ALONE) -> Tensor:
        """Update the weights; the sums of loss, reconstruction and KL over the images, (3,), on the device.

        Args:
            group: the batches, whole; each process takes its own rows of them.
            world: the processes.
        """
        for weight in self.weights:  # what zero_grad does, in a fifth of its time
            weight.grad = None
        sums = self._as_a_whole(group)
        if sums is None:
            sums = self._in_parts(group, world)
        if self.ema is not None:
            self.ema.update()
        return sums

    def _as_a_whole(self, group: Group) -> Tensor | None:
        """The step on one full batch, if the compiler can make one function of it all."""
        x, y = group[0]
        if self.whole is None or len(x) != self.batch_size or not self.checked:
            return None
        try:
            return self.whole(x, y)
        except Exception:  # noqa: BLE001 (a compiler may raise anything; forward pass and loss alone ask less of it)
            self.whole = None
            return None

    def _in_parts(self, group: Group, world: World) -> Tensor:
        """Forward and backward pass of each batch, then the update."""
        try:
            sums = self._gradients(group, world)
        except RuntimeError as error:
            if self.compiled is None:
                raise
            self._give_up(error)  # a loss with gradients in it, say: what it computes is known, its gradient is not
            for weight in self.weights:
                weight.grad = None
            sums = self._gradients(group, world)
        if self.exchange is not None:
            self.exchange([*(weight.grad for weight in self.weights if weight.grad is not None), sums])
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.weights, self.clip_norm)
        self.optimizer.step()
        return sums

    def _gradients(self, group: Group, world: World) -> Tensor:
        """Add up the gradients of each batch; the sums of its losses."""
        images = sum(len(x) for x, _ in group)
        sums: list[Tensor] = []
        for x, y in group:
            rows = world.rows(len(x))
            with noise_for_rows(rows, len(x)) if world.size > 1 else nullcontext():
                own = x[rows], None if y is None else y[rows]
                loss, row = self._forward(*(own if world.size > 1 else (x, y)))
            n = rows.stop - rows.start
            torch.autograd.backward(loss if n == images else loss * (n / images))
            sums.append(row)
        return sums[0] if len(sums) == 1 else torch.stack(sums).sum(0)

    def forward(self, x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
        """The loss, a mean over the images, and the sums (3,) of loss, reconstruction and KL."""
        terms = self.terms(x, y)
        return terms.loss.mean(), sums_of(terms)

    def terms(self, x: Tensor, y: Tensor | None) -> Terms:
        """The model's loss, in the precision of the step."""
        labels = y if self.model.uses_labels else None
        if self.autocast is None:
            return self.model.loss(x, labels)
        with torch.autocast(x.device.type, self.autocast):
            return self.model.loss(x, labels)

    def _forward(self, x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
        if not self.checked:  # always as usual, so that what is wrong is said in the usual words
            terms = self.terms(x, y)
            check_terms(terms, len(x))
            _check_gradient(terms)
            self.checked = True
            return terms.loss.mean(), sums_of(terms)
        if self.compiled is not None and self._listeners.count() != self._listening:
            self._give_up("a hook was registered since, which the compiled step would not call")
        if self.compiled is None or len(x) != self.batch_size:
            return self.forward(x, y)
        try:
            return self.compiled(x, y)
        except Exception as error:  # noqa: BLE001 (a compiler may raise anything)
            self._give_up(error)
            return self.forward(x, y)

    def _give_up(self, why: Exception | str) -> None:
        """Compile nothing any more."""
        if isinstance(why, Exception):
            why = f"which failed: {(str(why).splitlines() or [type(why).__name__])[0][:200]}"
        warnings.warn(f"training goes on without torch.compile, {why}", stacklevel=2)
        self.whole = self.compiled = None


def sums_of(terms: Terms) -> Tensor:
    """(3,): loss, reconstruction and KL, summed over the batch."""
    return torch.stack([terms.loss, terms.reconstruction, terms.kl]).detach().sum(1)


def resolve_precision(precision: str, device: torch.device) -> torch.dtype | None:
    """The dtype of products, or None for fp32 throughout; "auto" is bf16 where the device computes in it.

    Raises:
        SettingError: another word.
    """
    if precision not in {"fp32", "bf16", "auto"}:
        raise SettingError("precision as one of 'fp32', 'bf16', 'auto'", repr(precision), "check the spelling")
    if precision == "fp32" or (precision == "auto" and not _has_bf16(device)):
        return None
    return torch.bfloat16


def _has_bf16(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16, rather than emulating them."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        return any(
            bool(getattr(torch.cpu, name, bool)()) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        )
    return False


def _check_gradient(terms: Terms) -> None:
    if not terms.loss.requires_grad:
        raise ComponentError(
            "a loss with a gradient",
            "none" if torch.is_grad_enabled() else "none, under torch.no_grad() or torch.inference_mode()",
            "leave such blocks before fit, and do not detach the loss",
        )
