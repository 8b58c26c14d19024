"""One step of training: forward pass, backward pass, clipping, update."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TypeAlias

import torch
from torch import Tensor, nn

from mnistvae._checks import check_choice
from mnistvae._parts import check_terms, parts_with
from mnistvae._random import noise_for_rows
from mnistvae.errors import ComponentError
from mnistvae.models import VAE
from mnistvae.objectives import Terms
from mnistvae.training.ema import EMA
from mnistvae.training.history import TERMS
from mnistvae.training.world import ALONE, World

__all__ = ["Forward", "Step", "StepBatches", "resolve_precision", "sums_of"]

#: The batches of one step: images and labels of each.
StepBatches: TypeAlias = Sequence[tuple[Tensor, Tensor | None]]
#: Images and labels to the loss, a mean over the images, and the sums of its terms over them, (len(terms),).
Forward: TypeAlias = Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor]]


class Step:
    """One step of training on one or several batches.

    Args:
        model: Model that is trained.
        optimizer: Optimizer of its weights.
        autocast: Data type in which products are computed; None for that of the weights.
        clip_norm: Largest norm of the gradient; None for no limit.
        ema: Average of the weights; None for none.
        world: Processes that share each batch; this one takes its own rows.
        exchange: Adds up the gradients, and the sums, of several processes, in place.
    """

    def __init__(
        self,
        model: VAE,
        optimizer: torch.optim.Optimizer,
        *,
        autocast: torch.dtype | None = None,
        clip_norm: float | None = None,
        ema: EMA | None = None,
        world: World = ALONE,
        exchange: Callable[[Sequence[Tensor]], None] | None = None,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        self.autocast = autocast
        self.clip_norm = clip_norm
        self.ema = ema
        self.world = world
        self.exchange = exchange
        # Looked for once: a walk through all modules in each step would take its time.
        moving = [part for part in parts_with(model, "advance") if part is not model.objective]
        self._moving = [part for part in moving if getattr(part, "schedule", part) is not None]
        #: Names of the loss's terms; empty before the first step, which looks at the loss and fixes them.
        self.terms: tuple[str, ...] = ()

    @property
    def moves(self) -> bool:
        """True if a part of the model beside its objective, or the average of the weights, is told each step.

        A part that has a method ``advance``, and an attribute ``schedule`` that is None, has nothing to move.
        """
        return bool(self._moving) or self.ema is not None

    def advance(self, number: int) -> None:
        """Tell all that moves from step to step the number of a step, from 0, before it is taken."""
        self.model.objective.advance(number)
        for part in self._moving:
            part.advance(number)
        if self.ema is not None:
            self.ema.advance(number)

    def __call__(self, batches: StepBatches) -> list[Tensor]:
        """Update the weights; of the one step taken, the sums of the loss's terms over its images, on the device.

        Args:
            batches: Whole batches, whose images count alike; each process takes its own rows of them.
        """
        sums = self.gradients(batches)
        self.update(sums)
        return [sums]

    def gradients(self, batches: StepBatches) -> Tensor:
        """Compute the gradient of the mean loss over all images of some batches; the sums of its terms."""
        self.zero_grad()
        images = sum(len(x) for x, _ in batches)
        sums: list[Tensor] = []
        for x, y in batches:
            first = not self.terms
            rows, n = self.world.share(len(x))
            forward = functools.partial(self.forward, check=True) if first else self.forward_for(n)
            with noise_for_rows(rows, len(x)) if self.world.size > 1 else nullcontext():
                own = (x, y) if self.world.size == 1 else (x[rows], None if y is None else y[rows])
                loss, row = forward(*own)
            if first:
                _check_gradient(loss)
            torch.autograd.backward(loss if n == images else loss * (n / images))
            sums.append(row if n else torch.zeros_like(row))
        return sums[0] if len(sums) == 1 else torch.stack(sums).sum(0)

    def zero_grad(self) -> None:
        """Drop the gradients of the last step, in a fifth of the time of the optimizer's ``zero_grad``."""
        for weight in self.weights:
            weight.grad = None

    def update(self, sums: Tensor) -> None:
        """Exchange gradients and sums with other processes, clip, and update the weights and their average."""
        if self.exchange is not None:
            self.exchange([*(weight.grad for weight in self.weights if weight.grad is not None), sums])
        if self.clip_norm is not None:
            for group in self.optimizer.param_groups:
                nn.utils.clip_grad_norm_(group["params"], self.clip_norm)
        self.optimizer.step()
        if self.ema is not None:
            self.ema.update()

    def forward(self, x: Tensor, y: Tensor | None, *, check: bool = False) -> tuple[Tensor, Tensor]:
        """The loss, a mean over the images, and the sums of its terms over them, (len(terms),).

        Args:
            x: Images, (B, C, H, W).
            y: Labels, (B,), or None.
            check: Check that the loss is one value an image.

        Raises:
            ComponentError: If the loss breaks its contract.
        """
        labels = y if self.model.uses_labels else None
        if self.autocast is None:
            terms = self.model.loss(x, labels)
        else:
            with torch.autocast(x.device.type, self.autocast):
                terms = self.model.loss(x, labels)
        if check:
            check_terms(terms, len(x))
            self.terms = self.terms or tuple(terms.by_name())
        return terms.loss.mean(), sums_of(terms, self.terms)

    def forward_for(self, n: int) -> Forward:
        """The function that computes the loss of a batch of ``n`` images."""
        return self.forward


def sums_of(terms: Terms, names: Sequence[str] = TERMS) -> Tensor:
    """The terms of those names, summed over the batch: (len(names),), without a gradient.

    Raises:
        ComponentError: If there are other terms.
    """
    values = terms.by_name()
    if values.keys() != set(names):
        raise ComponentError(
            f"the same terms in each step: {', '.join(names)}",
            ", ".join(values),
            "give each extra term in every step and in evaluation mode, zeros where there is nothing to it",
        )
    return torch.stack([values[name] for name in names]).detach().sum(1)


def _check_gradient(loss: Tensor) -> None:
    if not loss.requires_grad:
        raise ComponentError(
            "a loss with a gradient",
            "none" if torch.is_grad_enabled() else "none, under torch.no_grad() or torch.inference_mode()",
            "leave such blocks before fit, and do not detach the loss",
        )


def resolve_precision(precision: str, device: torch.device) -> torch.dtype | None:
    """The data type of products, or None for fp32 throughout; "auto" is bf16 where the device computes in it.

    Raises:
        SettingError: If the name is unknown.
    """
    precision = check_choice("precision", precision, ("fp32", "bf16", "auto"))
    return None if precision == "fp32" or (precision == "auto" and not _has_bf16(device)) else torch.bfloat16


def _has_bf16(device: torch.device) -> bool:
    """True where the device has instructions for bfloat16, rather than emulating them."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        return any(
            bool(getattr(torch.cpu, name, bool)()) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        )
    return False
