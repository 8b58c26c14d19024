"""Batches that live where the model does: one ``index_select`` on a uint8 tensor, then float, then binarize.

The order of an epoch is a function of ``(seed, epoch)``, not a state, so that it can be had again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from mnistvae._checks import check_count, check_seed
from mnistvae._random import Stream, derive_seed
from mnistvae.arrays import ArrayLike
from mnistvae.data.dataset import Binarization, ImageDataset
from mnistvae.errors import DataError, type_name
from mnistvae.images import ImageShape, as_images, as_labels, check_range

__all__ = ["BatchSource", "Batches", "LoaderBatches", "as_dataset", "batch_source"]

#: Images (B, C, H, W) in [0, 1] and labels (B,), or None.
Batch: TypeAlias = tuple[Tensor, Tensor | None]


class BatchSource(Protocol):
    """The interface of the data that a training loop reads."""

    name: str
    image_shape: ImageShape
    batch_size: int
    num_classes: int | None
    binarization: Binarization

    # None where only reading would tell.
    @property
    def num_images(self) -> int | None:
        """Number of images in an epoch."""

    @property
    def fingerprint(self) -> int | None:
        """A checksum of pixels, labels and their order."""

    @property
    def num_batches(self) -> int | None:
        """Number of batches in an epoch."""

    @property
    def smallest_batch(self) -> int | None:
        """Number of images in the smallest batch."""

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of one epoch, the same each time for the same number."""


class Batches:
    """Shuffled batches of an :class:`ImageDataset`, made on the data's own device.

    Args:
        dataset: Images; ``dataset.to(device)`` first, if the model is elsewhere.
        batch_size: Number of images in a batch; the last one may be smaller.
        shuffle: True for a new order each epoch, a function of ``seed`` and the epoch's number.
        seed: Seed of the order, and of dynamic binarization.

    Raises:
        SettingError: If the batch size is below 1.

    Example:
        >>> data = ImageDataset(torch.rand(100, 28, 28), torch.arange(100) % 10)
        >>> batches = Batches(data, batch_size=32, seed=0)
        >>> [len(x) for x, y in batches.epoch(0)]
        [32, 32, 32, 4]
    """

    def __init__(self, dataset: ImageDataset, batch_size: int = 128, *, shuffle: bool = True, seed: int = 0) -> None:
        batch_size = check_count("a batch size of at least 1", batch_size)
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = check_seed(seed)
        self.name = dataset.name
        self.image_shape = dataset.image_shape
        self.num_classes = dataset.num_classes
        self.binarization = dataset.binarization
        self.num_images = len(dataset)
        self.num_batches = math.ceil(len(dataset) / batch_size)
        self.smallest_batch = len(dataset) - (self.num_batches - 1) * batch_size

    @cached_property
    def fingerprint(self) -> int:
        """A checksum of pixels, labels and their order."""
        images, labels = self.dataset.images, self.dataset.labels
        places = torch.arange(1, len(images) + 1, device=images.device)
        # A number of its own for each pixel of an image: multiples of one modulo a prime do not repeat before that.
        own = torch.arange(1, images[0].numel() + 1, device=images.device) * 2654435761 % 65521
        few = max(1, 2**22 // len(own))  # images at once: eight bytes a pixel
        parts = zip(torch.split(images, few), torch.split(places, few), strict=True)
        found = sum(int(((part.flatten(1) * own).sum(1) * place).sum()) for part, place in parts)
        if labels is not None:
            found += int((labels * places).sum())
        return found

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[Batch]:
        return self.epoch(0)

    def order(self, epoch: int) -> Tensor:
        """The order of the images in an epoch, (N,) int64: the same on every device."""
        if not self.shuffle:
            return torch.arange(self.num_images)
        generator = torch.Generator().manual_seed(derive_seed(self.seed, Stream.ORDER, epoch))
        return torch.randperm(self.num_images, generator=generator)

    def noise_seed(self, epoch: int) -> int:
        """The seed of an epoch's dynamic binarization."""
        return derive_seed(self.seed, Stream.BINARIZATION, epoch)

    def noise(self, epoch: int) -> torch.Generator | None:
        """The generator of an epoch's dynamic binarization, on the data's device; None where nothing is drawn."""
        if self.binarization != "dynamic":
            return None
        return torch.Generator(self.dataset.images.device).manual_seed(self.noise_seed(epoch))

    def batch(self, index: Tensor, noise: torch.Generator | None = None) -> Batch:
        """A batch of given images.

        Args:
            index: Numbers of the images, (B,) int64.
            noise: Generator of dynamic binarization; None to draw nothing.

        Returns:
            Images (B, C, H, W), float in [0, 1], and labels (B,) or None.
        """
        images, labels = self.dataset.images, self.dataset.labels
        x = images.index_select(0, index).to(torch.float32).div_(255)
        if noise is not None:
            x = torch.bernoulli(x, generator=noise)
        return x, None if labels is None else labels.index_select(0, index)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of epoch number ``epoch``: images (B, C, H, W) float in [0, 1], labels (B,) or None."""
        noise = self.noise(epoch)
        for index in torch.split(self.order(epoch).to(self.dataset.images.device), self.batch_size):
            yield self.batch(index, noise)


class LoaderBatches:
    """Batches from a ``DataLoader``, checked as they come and moved to the device.

    The loader keeps its own order and workers; use it for data that does not fit in memory or is
    augmented on the fly. Everything else is many times faster as an :class:`ImageDataset`.

    Args:
        loader: Loader that yields images, or (images, labels).
        device: Device that the batches are moved to.

    Raises:
        DataError: If the loader is empty or yields something else.
    """

    def __init__(self, loader: DataLoader[Any], device: torch.device | str = "cpu") -> None:
        self.loader = loader
        self.device = torch.device(device)
        self.name = type(loader.dataset).__name__
        first = next(_read(loader), None)
        if first is None:
            raise DataError("at least one batch", "an empty DataLoader", "check its data set, batch_size and drop_last")
        images, labels = first
        if images.ndim != 4:
            raise DataError(
                "a DataLoader of images (B, C, H, W)", f"shape {tuple(images.shape)}", "add the channel dimension"
            )
        self.image_shape: ImageShape = (images.shape[1], images.shape[2], images.shape[3])
        self.batch_size = loader.batch_size or len(images)
        self.num_classes = None if labels is None else int(labels.max()) + 1
        self.binarization: Binarization = getattr(loader.dataset, "binarization", "none")
        self.num_images: int | None = None
        self.fingerprint: int | None = None
        self.num_batches: int | None = None
        self.smallest_batch: int | None = None
        if not isinstance(loader.dataset, IterableDataset):
            self.num_images = len(loader.sampler)  # type: ignore[arg-type]  # which may read a part of the data set
            self.num_batches = len(loader)
            if loader.batch_size is not None:
                leftover = 0 if loader.drop_last else self.num_images % loader.batch_size
                self.smallest_batch = leftover or loader.batch_size

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of one pass over the loader; ``epoch`` goes to its sampler if that has ``set_epoch``."""
        set_epoch = getattr(self.loader.sampler, "set_epoch", None)
        if set_epoch is not None:
            set_epoch(epoch)
        for images, labels in _read(self.loader):
            x = check_range(as_images(images, self.image_shape)).to(self.device)
            yield x, None if labels is None else as_labels(labels, len(x)).to(self.device)


def as_dataset(data: ImageDataset | ArrayLike | Dataset[Any], image_shape: ImageShape | None = None) -> ImageDataset:
    """The :class:`ImageDataset` of images in another form.

    Args:
        data: ImageDataset, tensor or array (N, C, H, W) or (N, H, W), or a torch ``Dataset`` whose
            items are ``image`` or ``(image, label)``; a torch ``Dataset`` is read once, item by item.
        image_shape: Shape of an image, (C, H, W), where it is known: then a tensor or array may be (N, C * H * W) too.

    Raises:
        DataError: If it is something else.
    """
    if isinstance(data, ImageDataset):
        return data
    if isinstance(data, Dataset):
        try:
            n = len(data)  # type: ignore[arg-type]
        except TypeError:
            raise DataError("a data set with a length", type_name(data), "wrap it in a DataLoader") from None
        if n == 0:
            raise DataError("at least one image", "an empty data set")
        pairs = list(_read(DataLoader(data, batch_size=min(n, 256))))
        images = torch.cat([images for images, _ in pairs])
        labels = [y for _, y in pairs if y is not None]
        return ImageDataset(images, torch.cat(labels) if labels else None, name=type(data).__name__)
    if isinstance(data, tuple | list) and len(data) == 2 and all(isinstance(x, Tensor | np.ndarray) for x in data):
        raise DataError("images, or an ImageDataset", f"{type_name(data)} of two", "ImageDataset(images, labels)")
    if image_shape is not None and getattr(data, "ndim", 0) == 2 and data.shape[1] == math.prod(image_shape):
        data = data.reshape(-1, *image_shape)
    return ImageDataset(data)


def batch_source(
    data: ImageDataset | ArrayLike | Dataset[Any] | DataLoader[Any],
    batch_size: int,
    *,
    shuffle: bool = True,
    seed: int = 0,
    device: torch.device | str = "cpu",
    image_shape: ImageShape | None = None,
) -> BatchSource:
    """The fastest source of batches of some data: resident, unless it is a ``DataLoader``.

    Args:
        data: Images, as :func:`as_dataset` takes them, or a ``DataLoader``.
        batch_size: Number of images in a batch.
        shuffle: True for a new order each epoch.
        seed: Seed of the order, and of dynamic binarization.
        device: Device that the batches are on.
        image_shape: Shape of an image, (C, H, W), where it is known.
    """
    if isinstance(data, DataLoader):
        return LoaderBatches(data, device)
    return Batches(as_dataset(data, image_shape).to(device), batch_size, shuffle=shuffle, seed=seed)


def _read(loader: DataLoader[Any]) -> Iterator[tuple[Tensor, Tensor | None]]:
    """The loader's batches as (images, labels).

    Raises:
        DataError: If a batch is something else.
    """
    fix = "give the data set transform=torchvision.transforms.ToTensor()"
    expected = "items that are images or (images, labels) as tensors"
    try:
        for item in loader:
            parts = [item] if isinstance(item, Tensor) else item
            if isinstance(item, dict) or item is None:
                raise DataError(expected, type_name(item), "return (item[...], ...) from the data set")
            if not isinstance(parts, list | tuple) or not all(isinstance(part, Tensor) for part in parts):
                raise DataError(expected, type_name(item), fix)
            if len(parts) not in {1, 2}:
                raise DataError(expected, f"{len(parts)} parts", "drop the others")
            yield parts[0], parts[1] if len(parts) == 2 else None
    except (TypeError, RuntimeError) as error:
        if str(error).startswith("stack expects"):
            raise DataError("images of one size", str(error), "resize them in the data set") from error
        if not str(error).startswith("default_collate"):  # the data set's own
            raise
        raise DataError(expected, str(error), fix) from error
