"""A whole step as one compiled function: forward pass, gradients, clipping and update."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value
from torch.nn.utils import get_total_norm

from mnistvae.training.checks import has_batch_norm
from mnistvae.training.steps.compiler import Hooks, compiled
from mnistvae.training.steps.eager import Forward

__all__ = ["WholeStep"]


class WholeStep:
    """A step of Adam on one batch, compiled as a whole.

    The gradients never leave the function (``weight.grad`` stays None), so that the compiler joins the update to what
    makes them, and nothing of it is left to Python. For CPUs only: a GPU plays its update back, see
    :mod:`mnistvae.training.steps.graph`.

    Args:
        forward: Function from a batch to its loss and the sums of the loss's terms.
        model: Model that is trained.
        optimizer: Optimizer of its weights, see :meth:`fits`; it has taken a step before this one takes its first.
        clip_norm: Largest norm of the gradient; None for no limit.
    """

    def __init__(
        self, forward: Forward, model: nn.Module, optimizer: torch.optim.Optimizer, clip_norm: float | None = None
    ) -> None:
        self._body = _Body(forward, model)
        self._optimizer = optimizer
        self._clip_norm = clip_norm
        self._weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        self._trained: list[bool] = []
        self._updates: list[_Adam] = []
        self._compiled: Callable[..., Tensor] | None = None

    @staticmethod
    def fits(model: nn.Module, optimizer: torch.optim.Optimizer) -> bool:
        """True for a step that can be one function: Adam or AdamW on a CPU, parts of this package or torch, no hooks.

        Parts from elsewhere may behave differently from step to step, and have gradients for other weights than
        before; and batch normalization changes its buffers, as a codebook does. Such models are compiled in parts,
        where torch sees to that.
        """
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        return (
            type(optimizer) in {torch.optim.Adam, torch.optim.AdamW}
            and all(weight.device.type == "cpu" for weight in weights)
            and not any(group["amsgrad"] or group["differentiable"] for group in optimizer.param_groups)
            and all(type(part).__module__.startswith(("mnistvae.", "torch.nn.")) for part in model.modules())
            and not has_batch_norm(model)
            and not any(getattr(part, "changes_buffers", False) for part in model.modules())
            and not Hooks(model, optimizer).count()
        )

    def __call__(self, x: Tensor, y: Tensor | None) -> Tensor:
        """Update the weights; the sums of the loss's terms over the images, (len(terms),).

        Raises:
            RuntimeError: If a weight had no gradient before.
        """
        trained = [weight.requires_grad for weight in self._weights]
        if self._compiled is not None and trained == self._trained:
            return self._take(self._compiled, x, y)
        noise = torch.get_rng_state()
        try:  # anew where a callback froze weights, or thawed them
            self._compiled = compiled(self._function(), x.device, whole=True)
            sums = self._take(self._compiled, x, y)
        except Exception:
            torch.set_rng_state(noise)  # which the step in parts draws from, then
            raise
        self._trained = trained
        return sums

    def _take(self, step: Callable[..., Tensor], x: Tensor, y: Tensor | None) -> Tensor:
        for update in self._updates:
            update.prepare()
        return step(x, y)

    def _function(self) -> Callable[[Tensor, Tensor | None], Tensor]:
        state = self._optimizer.state
        names: dict[Tensor, str] = {weight: name for name, weight in self._body.named_parameters()}
        trained = [weight for weight in self._weights if weight.requires_grad]
        if not all(weight in state for weight in trained):
            raise RuntimeError("there are weights without a gradient")
        weights = {names[weight]: weight for weight in trained}
        self._updates = updates = []
        for group in self._optimizer.param_groups:
            alike: dict[float, dict[str, Tensor]] = {}  # those that were frozen for some time have taken fewer steps
            for weight in group["params"]:
                if weight.requires_grad:
                    alike.setdefault(float(state[weight]["step"]), {})[names[weight]] = weight
            updates += [
                _Adam(group, own, {name: state[weight] for name, weight in own.items()}) for own in alike.values()
            ]
        groups = [[names[w] for w in group["params"] if w.requires_grad] for group in self._optimizer.param_groups]
        groups = [group for group in groups if group]
        clip_norm, body = self._clip_norm, self._body

        def loss(given: dict[str, Tensor], x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
            mean_and_sums: tuple[Tensor, Tensor] = functional_call(body, given, (x, y))
            return mean_and_sums

        def step(x: Tensor, y: Tensor | None) -> Tensor:
            sums: Tensor
            gradients, (_, sums) = grad_and_value(loss, has_aux=True)(weights, x, y)
            with torch.no_grad():
                if clip_norm is not None:  # as nn.utils.clip_grad_norm_ has it, in each group
                    for clipped in groups:
                        factor = (clip_norm / (get_total_norm([gradients[n] for n in clipped]) + 1e-6)).clamp(max=1.0)
                        gradients |= {name: gradients[name] * factor for name in clipped}
                for update in updates:
                    update(gradients)
            return sums

        return step


class _Adam:
    r"""Adam's update of a group of weights, as torch's fused one computes it, in operations that a compiler can join.

    .. math:: m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \quad
        \theta \leftarrow \theta - \frac{\eta}{1 - \beta_1^t} \frac{m}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}

    Kingma and Ba (2015), algorithm 1; with decoupled decay, Loshchilov and Hutter (2019), algorithm 2.

    Args:
        group: Group of the optimizer, with its settings.
        weights: Weights by name; all have taken as many steps.
        states: The optimizer's states of the weights, by the same names.
    """

    def __init__(self, group: Mapping[str, Any], weights: Mapping[str, Tensor], states: Mapping[str, Any]) -> None:
        self.group = group
        self.weights = weights
        self.states = states
        self.number: Tensor = next(iter(states.values()))["step"]
        # Tensors, since numbers would be compiled in; and computed here, or each element would compute them anew.
        self.rate, self.root, self.kept = (torch.zeros(()) for _ in range(3))

    def prepare(self) -> None:
        """Set the numbers that change from step to step."""
        number, rate, (beta1, beta2) = float(self.number) + 1, float(self.group["lr"]), self.group["betas"]
        self.rate.fill_(rate / (1 - beta1**number))
        self.root.fill_(1 / math.sqrt(1 - beta2**number))
        self.kept.fill_(1 - rate * self.group["weight_decay"])

    def __call__(self, gradients: dict[str, Tensor]) -> None:
        """Update the weights, given all gradients by name."""
        beta1, beta2 = self.group["betas"]
        decay, decoupled = self.group["weight_decay"], self.group["decoupled_weight_decay"]
        for name, weight in self.weights.items():
            one, gradient = self.states[name], gradients[name]
            if self.group["maximize"]:
                gradient = -gradient
            if decay and decoupled:
                weight.mul_(self.kept)
            elif decay:
                gradient = gradient + decay * weight
            mean, square = one["exp_avg"], one["exp_avg_sq"]
            mean.lerp_(gradient, 1 - beta1)
            square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
            weight.sub_(self.rate * mean / (square.sqrt() * self.root + self.group["eps"]))
            one["step"].add_(1)


class _Body(nn.Module):
    """The forward pass as a module, whose weights can be put in its place."""

    def __init__(self, forward: Forward, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self._forward = forward

    def forward(self, x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
        return self._forward(x, y)
