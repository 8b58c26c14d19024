"""A model's way over images, a batch at a time: the posteriors of a data set, and values of each image of a pass."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, MultivariateNormal

from mnistvae._checks import check_instance
from mnistvae._modes import evaluating
from mnistvae._products import fast_products
from mnistvae._random import seeded
from mnistvae._wrappers import uncompiled
from mnistvae.data import Batches, ImageDataset
from mnistvae.distributions import DiagonalNormal
from mnistvae.errors import ComponentError, DataError
from mnistvae.images import to_uint8
from mnistvae.models import VAE

__all__ = [
    "ComputedAnew",
    "Done",
    "OfBatch",
    "Pass",
    "batches",
    "check_model",
    "drawn_once",
    "join",
    "measuring",
    "some_of",
    "to_decode_often",
]

#: Called with the number of images that were done.
Done: TypeAlias = Callable[[int], object]
#: A function of a batch, which gives one row of values for each of its images.
OfBatch: TypeAlias = Callable[..., Tensor]


def check_model(model: VAE) -> VAE:
    """``model`` itself, or what ``torch.compile`` made it of; or a ComponentError."""
    return check_instance("a mnistvae model", uncompiled(model), VAE, "pass an instance of VAE", ComponentError)


@contextmanager
def measuring(model: VAE, seed: int | None = None) -> Iterator[None]:
    """Run a block without gradients, in evaluation mode, under a seed, with the fastest matrix products."""
    with torch.no_grad(), evaluating(check_model(model)), seeded(seed, model.device), fast_products(model.device):
        yield


def to_decode_often(model: VAE) -> VAE:
    """A model for many passes without a gradient on a CPU: a copy whose convolutions have their channels last.

    These take two thirds of the time, and round differently. A model without convolutions, on another device, or that
    cannot be copied, is returned as it is.
    """
    if model.device.type != "cpu" or not any(map(_is_convolution, model.modules())):
        return model
    try:
        copied = copy.deepcopy(model)
    except (RuntimeError, TypeError):  # somebody's part keeps a tensor with a history, a lock or a file
        return model
    for part in filter(_is_convolution, copied.modules()):
        weight = part._parameters.get("weight")  # noqa: SLF001 (a weight under a parametrization is computed anew)
        if weight is not None:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    return copied


def _is_convolution(part: nn.Module) -> bool:
    return isinstance(part, nn.Conv2d | nn.ConvTranspose2d)


def batches(model: VAE, data: ImageDataset, size: int) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Images in their order, (B, C, H, W) in [0, 1], and labels if the model takes them, on its device.

    Raises:
        DataError: If a conditional model gets no labels.
    """
    if model.num_classes is not None and data.labels is None:
        got = f"{data.name} without labels"
        raise DataError("labels for a conditional model", got, "pass an ImageDataset with them")
    for x, y in Batches(data.to(model.device), size, shuffle=False):
        yield x, y if model.num_classes is not None else None


def drawn_once(data: ImageDataset, batch_size: int, seed: int) -> ImageDataset:
    """Images that would be binarized anew at each use, drawn once for all uses; others as they are."""
    if data.binarization != "dynamic":
        return data
    images = torch.empty_like(data.images)
    for number, (x, _) in enumerate(Batches(data, batch_size, shuffle=False, seed=seed)):
        images[number * batch_size :][: len(x)] = to_uint8(x)
    return data.replace(images=images, binarization="static", max_value=255)


def join(parts: Sequence[Distribution]) -> Distribution | None:
    """Distributions of several batches as one; None for a kind that cannot be joined."""
    whole: list[Distribution] = []
    for part in parts:
        if not isinstance(part, DiagonalNormal | MultivariateNormal):
            return None
        whole.append(part.expand(part.batch_shape))
    if all(isinstance(part, DiagonalNormal) for part in whole):
        return DiagonalNormal(*(torch.cat([getattr(part, name) for part in whole]) for name in ("mu", "logvar")))
    if all(isinstance(part, MultivariateNormal) for part in whole):
        loc, scale = (torch.cat([getattr(part, name) for part in whole]) for name in ("loc", "scale_tril"))
        return MultivariateNormal(loc, scale_tril=scale, validate_args=False)
    return None


class ComputedAnew(Sequence[Distribution]):
    """The posteriors of a data set's batches, each computed whenever it is asked for.

    Args:
        model: The model.
        data: The images.
        size: Images in a batch.
    """

    def __init__(self, model: VAE, data: ImageDataset, size: int) -> None:
        self._model = model
        self._data = data
        self._size = size

    def __len__(self) -> int:
        return math.ceil(len(self._data) / self._size)

    def __getitem__(self, number: Any) -> Any:
        if not 0 <= number < len(self):
            raise IndexError(number)
        rows = self._data[number * self._size : (number + 1) * self._size]
        ((x, y),) = batches(self._model, rows, self._size)
        with measuring(self._model):
            return self._model.encode(x, y)


def some_of(posterior: Distribution | None, rows: slice) -> Distribution | None:
    """The posteriors of some images, from those of all; None for a kind that cannot be taken apart."""
    if type(posterior) is DiagonalNormal:
        return DiagonalNormal(posterior.mu[rows], posterior.logvar[rows])
    if isinstance(posterior, MultivariateNormal):
        return MultivariateNormal(posterior.loc[rows], scale_tril=posterior.scale_tril[rows], validate_args=False)
    return None


class Pass:
    """Values of functions of batches, one row an image; the batches are made once for all that is asked for together.

    Args:
        n: Number of images in all.
    """

    def __init__(self, n: int) -> None:
        self._n = n
        self._found: dict[OfBatch, Tensor] = {}
        self._expected: dict[OfBatch, None] = {}

    def expect(self, *functions: OfBatch) -> None:
        """Have these functions computed in the next pass, too, whatever it is made for."""
        self._expected |= dict.fromkeys(functions)

    @torch.no_grad()
    def values(self, functions: Sequence[OfBatch], make: Callable[[], Iterator[tuple[Tensor, ...]]]) -> list[Tensor]:
        """The values of each function, (N, ...) on the CPU; those that are not known yet take one pass together.

        Args:
            functions: Functions of the tensors of a batch, which give a row for each of its images.
            make: Function that makes the batches, in order.

        Raises:
            DataError: If a function gives another number of rows.
        """
        if any(function not in self._found for function in functions):
            self.expect(*functions)
            todo = [function for function in self._expected if function not in self._found]
            rows: dict[OfBatch, Tensor] = {}
            start = 0
            for batch in make():
                stop = start + len(batch[0])
                for function in todo:
                    values = function(*batch)
                    if len(values) != stop - start:
                        name = getattr(function, "__name__", repr(function))
                        raise DataError(f"one row of {name} for each of {stop - start} images", str(len(values)))
                    if function not in rows:  # made once: joining the parts would take twice the memory
                        rows[function] = torch.empty(self._n, *values.shape[1:], dtype=values.dtype, device="cpu")
                    rows[function][start:stop] = values.cpu()
                start = stop
            self._found |= rows
            self._expected.clear()
        return [self._found[function] for function in functions]
