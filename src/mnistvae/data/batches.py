"""Batches that live where the model does: one ``index_select`` on a uint8 tensor, then float, then binarize.

The order of an epoch is a function of ``(seed, epoch)``, not a state, so that it can be had again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mnistvae._errors import DataError, SettingError
from mnistvae._random import Stream, derive_seed
from mnistvae.data.dataset import ImageDataset
from mnistvae.images import ArrayLike, ImageShape, as_images, as_labels, check_range

__all__ = ["BatchSource", "Batches", "LoaderBatches", "as_dataset", "batch_source"]

#: Images (B, C, H, W) in [0, 1] and labels (B,), or None.
Batch: TypeAlias = tuple[Tensor, Tensor | None]


class BatchSource(Protocol):
    """What a training loop needs of its data."""

    name: str
    image_shape: ImageShape
    num_images: int
    batch_size: int
    num_classes: int | None

    def __len__(self) -> int:
        """Batches in an epoch."""

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of one epoch, the same each time for the same number."""


class Batches:
    """Shuffled batches of an :class:`ImageDataset`, made on the data's own device.

    Args:
        dataset: the images; ``dataset.to(device)`` first, if the model is elsewhere.
        batch_size: images in a batch; the last one may be smaller.
        shuffle: a new order each epoch, a function of ``seed`` and the epoch's number.
        seed: of the order, and of dynamic binarization.

    Raises:
        SettingError: a batch size below 1.

    Example:
        >>> data = ImageDataset(torch.rand(100, 28, 28), torch.arange(100) % 10)
        >>> batches = Batches(data, batch_size=32, seed=0)
        >>> [len(x) for x, y in batches.epoch(0)]
        [32, 32, 32, 4]
    """

    def __init__(self, dataset: ImageDataset, batch_size: int = 128, *, shuffle: bool = True, seed: int = 0) -> None:
        if batch_size < 1:
            raise SettingError("a batch size of at least 1", str(batch_size))
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.name = dataset.name
        self.image_shape = dataset.image_shape
        self.num_images = len(dataset)
        self.num_classes = dataset.num_classes

    def __len__(self) -> int:
        return math.ceil(self.num_images / self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        return self.epoch(0)

    def order(self, epoch: int) -> Tensor:
        """The order of the images in an epoch, (N,) int64: the same on every device."""
        if not self.shuffle:
            return torch.arange(self.num_images)
        generator = torch.Generator().manual_seed(derive_seed(self.seed, Stream.ORDER, epoch))
        return torch.randperm(self.num_images, generator=generator)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of epoch number ``epoch``: images (B, C, H, W) float in [0, 1], labels (B,) or None."""
        images, labels = self.dataset.images, self.dataset.labels
        noise = None
        if self.dataset.binarization == "dynamic":
            noise = torch.Generator(images.device).manual_seed(derive_seed(self.seed, Stream.BINARIZATION, epoch))
        for index in torch.split(self.order(epoch).to(images.device), self.batch_size):
            x = images.index_select(0, index).to(torch.float32).div_(255)
            if noise is not None:
                x = torch.bernoulli(x, generator=noise)
            yield x, None if labels is None else labels.index_select(0, index)


class LoaderBatches:
    """Batches from a ``DataLoader``, checked as they come and moved to the device.

    The loader keeps its own order and workers; use it for data that does not fit in memory or is
    augmented on the fly. Everything else is many times faster as an :class:`ImageDataset`.

    Args:
        loader: yields images, or (images, labels).
        device: where the batches go.

    Raises:
        DataError: the loader is empty or yields something else.
    """

    def __init__(self, loader: DataLoader[Any], device: torch.device | str = "cpu") -> None:
        self.loader = loader
        self.device = torch.device(device)
        self.name = type(loader.dataset).__name__
        first = next(iter(loader), None)
        if first is None:
            raise DataError("at least one batch", "an empty DataLoader", "check its data set, batch_size and drop_last")
        images, labels = _split(first)
        if images.ndim != 4:
            raise DataError(
                "a DataLoader of images (B, C, H, W)", f"shape {tuple(images.shape)}", "add the channel dimension"
            )
        self.image_shape: ImageShape = (images.shape[1], images.shape[2], images.shape[3])
        self.num_images = len(loader.dataset)  # type: ignore[arg-type]
        self.batch_size = loader.batch_size or len(images)
        self.num_classes = None if labels is None else int(labels.max()) + 1

    def __len__(self) -> int:
        return len(self.loader)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of one pass over the loader; ``epoch`` goes to its sampler if that has ``set_epoch``."""
        set_epoch = getattr(self.loader.sampler, "set_epoch", None)
        if set_epoch is not None:
            set_epoch(epoch)
        for item in self.loader:
            images, labels = _split(item)
            x = check_range(as_images(images, self.image_shape)).to(self.device)
            yield x, None if labels is None else as_labels(labels, len(x)).to(self.device)


def as_dataset(data: ImageDataset | ArrayLike | Dataset[Any]) -> ImageDataset:
    """Whatever holds images, as an :class:`ImageDataset`.

    Args:
        data: an ImageDataset, a tensor or array (N, C, H, W) or (N, H, W), or a torch ``Dataset`` whose
            items are ``image`` or ``(image, label)``; a torch ``Dataset`` is read once, item by item.

    Raises:
        DataError: something else.
    """
    if isinstance(data, ImageDataset):
        return data
    if isinstance(data, Dataset):
        try:
            n = len(data)  # type: ignore[arg-type]
        except TypeError:
            raise DataError("a data set with a length", type(data).__name__, "wrap it in a DataLoader") from None
        if n == 0:
            raise DataError("at least one image", "an empty data set")
        pairs = [_split(item) for item in DataLoader(data, batch_size=min(n, 256))]
        images = torch.cat([images for images, _ in pairs])
        labels = [y for _, y in pairs if y is not None]
        return ImageDataset(images, torch.cat(labels) if labels else None, name=type(data).__name__)
    return ImageDataset(data)


def batch_source(
    data: ImageDataset | ArrayLike | Dataset[Any] | DataLoader[Any],
    batch_size: int,
    *,
    shuffle: bool = True,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> BatchSource:
    """The fastest source of batches for what the user has: resident, unless it is a ``DataLoader``."""
    if isinstance(data, DataLoader):
        return LoaderBatches(data, device)
    return Batches(as_dataset(data).to(device), batch_size, shuffle=shuffle, seed=seed)


def _split(item: Any) -> tuple[Tensor, Tensor | None]:
    """A collated batch as (images, labels)."""
    if isinstance(item, Tensor):
        return item, None
    if isinstance(item, list | tuple) and 1 <= len(item) <= 2 and all(isinstance(part, Tensor) for part in item):
        return item[0], item[1] if len(item) == 2 else None
    kinds = [type(part).__name__ for part in item] if isinstance(item, list | tuple) else type(item).__name__
    raise DataError(
        "items that are images or (images, labels) as tensors",
        f"{kinds}",
        "give the data set transform=torchvision.transforms.ToTensor()",
    )
