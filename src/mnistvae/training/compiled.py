"""A whole step in one compiled function: forward pass, gradients, clipping and update."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.func import functional_call, grad_and_value
from torch.nn.utils import get_total_norm
from torch.optim.adam import adam

__all__ = ["WholeStep", "compiled", "compiling"]

#: (images, labels) to the loss, a mean over the images, and the sums (3,) of its terms.
Forward = Callable[[Tensor, "Tensor | None"], tuple[Tensor, Tensor]]


def compiled(function: Callable[..., Any], device: torch.device, *, whole: bool = False) -> Callable[..., Any]:
    """A function to be compiled when it is called first, for tensors of one shape.

    Args:
        function: what to compile.
        device: where it computes.
        whole: fail, rather than leave to Python what cannot be compiled.
    """
    # On a CPU the compiler's own random numbers are slow, and others than those of an uncompiled step.
    options: dict[str, Any] | None = {"fallback_random": True} if device.type == "cpu" else None
    with compiling():
        made: Callable[..., Any] = torch.compile(function, dynamic=False, fullgraph=whole, options=options)
    return made


@contextmanager
def compiling() -> Iterator[None]:
    """The compiler switches off the validation of all distributions in the process; switch it on again.

    What it imports may warn of torch's own old ways, which is nobody's business here.
    """
    before = Distribution._validate_args  # noqa: SLF001
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            yield
    finally:
        Distribution.set_default_validate_args(before)


class WholeStep:
    """A step of Adam on one batch, compiled as a whole.

    The gradients never leave the function (``weight.grad`` stays None), so that the compiler joins the update to what
    makes them, and nothing of it is left to Python. Computed on a CPU only: a GPU plays its update back, see
    :mod:`mnistvae.training.graphs`.

    Args:
        forward: loss and sums of a batch.
        model: what is trained.
        optimizer: of its weights, see :meth:`fits`; it has taken a step before this one takes its first.
        clip_norm: largest norm of the gradient, or None.
    """

    def __init__(
        self, forward: Forward, model: nn.Module, optimizer: torch.optim.Optimizer, clip_norm: float | None = None
    ) -> None:
        self._body = _Body(forward, model)
        self._optimizer = optimizer
        self._clip_norm = clip_norm
        self._rates = [torch.tensor(float(group["lr"])) for group in optimizer.param_groups]
        self._compiled: Callable[..., Tensor] | None = None

    @staticmethod
    def fits(model: nn.Module, optimizer: torch.optim.Optimizer) -> bool:
        """Whether a step can be taken as a whole: Adam or AdamW on a CPU, and nobody who listens to gradients."""
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        return (
            type(optimizer) in {torch.optim.Adam, torch.optim.AdamW}
            and all(weight.device.type == "cpu" for weight in weights)
            and not any(group["amsgrad"] or group["differentiable"] for group in optimizer.param_groups)
            and not any(_listened_to(part) for part in (*weights, *model.modules()))
        )

    def __call__(self, x: Tensor, y: Tensor | None) -> Tensor:
        """Update the weights; the sums of loss, reconstruction and KL over the images, (3,)."""
        if self._compiled is None:
            self._compiled = compiled(self._function(), x.device, whole=True)
        for rate, group in zip(self._rates, self._optimizer.param_groups, strict=True):
            rate.fill_(group["lr"])  # a number in the group would be compiled in
        return self._compiled(x, y)

    def _function(self) -> Callable[[Tensor, Tensor | None], Tensor]:
        state = self._optimizer.state
        names: dict[Tensor, str] = {weight: name for name, weight in self._body.named_parameters()}
        # A weight without a state has had no gradient: the loss does not depend on it.
        weights = {names[weight]: weight for group in self._optimizer.param_groups for weight in group["params"]}
        weights = {name: weight for name, weight in weights.items() if weight in state}
        updates = [self._update(group, rate, names) for group, rate in zip(
            self._optimizer.param_groups, self._rates, strict=True
        )]  # fmt: skip
        clip_norm, body = self._clip_norm, self._body
        buffers = dict(body.named_buffers())

        def loss(
            given: dict[str, Tensor], x: Tensor, y: Tensor | None
        ) -> tuple[Tensor, tuple[Tensor, dict[str, Tensor]]]:
            # What is differentiated may change what it made itself, and nothing else (statistics of batches).
            own = {name: buffer.clone() for name, buffer in buffers.items()}
            mean, sums = functional_call(body, {**given, **own}, (x, y))
            return mean, (sums, own)

        def step(x: Tensor, y: Tensor | None) -> Tensor:
            gradients, (_, (sums, changed)) = grad_and_value(loss, has_aux=True)(weights, x, y)
            with torch.no_grad():
                if clip_norm is not None:  # as nn.utils.clip_grad_norm_ has it
                    factor = (clip_norm / (get_total_norm(list(gradients.values())) + 1e-6)).clamp(max=1.0)
                    gradients = {name: gradient * factor for name, gradient in gradients.items()}
                for update in updates:
                    update(gradients)
                for name, buffer in buffers.items():
                    buffer.copy_(changed[name])
            sums_of_step: Tensor = sums
            return sums_of_step

        return step

    def _update(
        self, group: dict[str, Any], rate: Tensor, names: dict[Tensor, str]
    ) -> Callable[[dict[str, Tensor]], None]:
        """Adam's update of a group of weights, given all gradients by name."""
        state = self._optimizer.state
        weights = [weight for weight in group["params"] if weight in state]
        means, squares, steps = ([state[w][key] for w in weights] for key in ("exp_avg", "exp_avg_sq", "step"))
        settings = {key: group[key] for key in ("weight_decay", "eps", "maximize", "decoupled_weight_decay")}
        beta1, beta2 = group["betas"]

        def update(gradients: dict[str, Tensor]) -> None:
            own = [gradients[names[weight]] for weight in weights]
            adam(
                weights, own, means, squares, [], steps,
                foreach=True, capturable=True, fused=False, amsgrad=False,
                beta1=beta1, beta2=beta2, lr=rate, **settings,
            )  # fmt: skip

        return update


class _Body(nn.Module):
    """The forward pass as a module, whose weights can be put in its place."""

    def __init__(self, forward: Forward, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self._forward = forward

    def forward(self, x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
        return self._forward(x, y)


def _listened_to(part: Tensor | nn.Module) -> bool:
    """Whether something is called when a gradient arrives."""
    names = ("_backward_hooks", "_post_accumulate_grad_hooks", "_backward_pre_hooks")
    return any(getattr(part, name, None) for name in names)
