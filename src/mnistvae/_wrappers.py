"""A model for torch's wrappers and exporters: a forward that is the loss, and outputs that are trees of tensors."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from mnistvae.distributions import (
    DiagonalNormal,
    FullNormal,
    OneHotCategoricals,
    PixelAutoregressive,
    PixelBernoulli,
    PixelCategorical,
    PixelContinuousBernoulli,
    PixelLogistic,
    PixelLogisticMixture,
    Point,
    Quantized,
)

__all__ = ["TrainingModule", "follows_values", "uncompiled"]

T = TypeVar("T")


class TrainingModule(nn.Module):
    r"""A model as a module whose forward is its loss, for what wraps a module and calls it.

    Such wrappers (``DistributedDataParallel``, ``DataParallel``, FSDP, accelerate) act on the call of the module alone:
    of ``wrapped.module.loss(x)`` they know nothing, and each process then trains a model of its own.

    Args:
        model: The model; it is trained in place.

    Example:
        >>> model = mv.VAE(latent_dim=2)
        >>> loss = model.training_module()(torch.rand(5, 1, 28, 28))
        >>> loss.shape
        torch.Size([])
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, y: Any = None) -> Tensor:
        """The mean loss of images, ready for ``backward``, in nats an image.

        Args:
            x: Images, (B, C, H, W).
            y: Labels, (B,), for a model that uses them.
        """
        loss: Tensor = self.model.loss(x, y).loss.mean()
        return loss


def uncompiled(model: T) -> T:
    """The module that ``torch.compile`` made a wrapper of; any other one itself."""
    inner: T = getattr(model, "_orig_mod", model) if isinstance(model, nn.Module) else model
    return inner


def follows_values(x: Tensor) -> bool:
    """False where torch only records what is done with a tensor, so that its values cannot be looked at."""
    functorch = torch._C._functorch  # noqa: SLF001
    return not (
        torch.compiler.is_compiling()
        or x.is_meta
        or (functorch.maybe_current_level() is not None and functorch.is_functorch_wrapped_tensor(x))
    )


def _register() -> None:
    """Make the package's distributions trees of their parameters, which exporters and ``vmap`` can take apart."""

    def of(kind: Any, *extra: str, names: tuple[str, ...] = ()) -> None:
        def flatten(p: Any) -> tuple[list[Tensor], Any]:
            return [getattr(p, name) for name in names], tuple(getattr(p, name) for name in extra)

        def unflatten(parameters: Any, context: Any) -> Any:
            found = [*parameters]
            if all(isinstance(one, Tensor) for one in found):
                return kind(*found, *context)
            other = kind.__new__(kind)  # a tree of something else in place of the tensors
            other.__dict__ |= dict(zip((*names, *extra), (*found, *context), strict=True))
            return other

        pytree.register_pytree_node(kind, flatten, unflatten, serialized_type_name=f"mnistvae.{kind.__name__}")

    of(DiagonalNormal, names=("mu", "logvar"))
    of(FullNormal, names=("loc", "scale_tril"))
    of(OneHotCategoricals, "hard", names=("logits", "temperature"))
    of(Point, names=("point",))
    of(PixelAutoregressive, "conditionals", names=("params",))
    of(PixelBernoulli, names=("logits",))
    of(PixelContinuousBernoulli, names=("logits",))
    of(PixelCategorical, names=("logits",))
    of(PixelLogistic, "levels", names=("loc", "log_scale"))
    of(PixelLogisticMixture, "levels", names=("logits", "loc", "log_scale"))
    of(Quantized, "codebook_size", "commitment", names=("point", "tokens", "distance"))


_register()
