"""Batches that live where the model does: one ``index_select`` on a uint8 tensor, then float, then binarize.

The order of an epoch is a function of ``(seed, epoch)``, not a state, so that it can be had again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from mnistvae._checks import check_count, check_seed
from mnistvae._random import Stream, derive_seed
from mnistvae.data.dataset import Binarization, ImageDataset
from mnistvae.errors import DataError
from mnistvae.images import ImageShape

__all__ = ["Batch", "BatchSource", "Batches"]

#: Images (B, C, H, W) in [0, 1] and labels (B,), or None.
Batch: TypeAlias = tuple[Tensor, Tensor | None]


class BatchSource(Protocol):
    """The interface of the data that a training loop reads."""

    name: str
    image_shape: ImageShape
    batch_size: int
    num_classes: int | None
    binarization: Binarization
    class_names: tuple[str, ...] | None

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

    @property
    def classes(self) -> tuple[int, ...] | None:
        """The labels that there are, in order."""

    def examples(self) -> Batch:
        """Some images and labels, the same each time; nothing of an epoch is used up."""

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
        DataError: If somebody put other images than uint8 into the data set.

    Example:
        >>> data = ImageDataset(torch.rand(100, 28, 28), torch.arange(100) % 10)
        >>> batches = Batches(data, batch_size=32, seed=0)
        >>> [len(x) for x, y in batches.epoch(0)]
        [32, 32, 32, 4]
    """

    def __init__(self, dataset: ImageDataset, batch_size: int = 128, *, shuffle: bool = True, seed: int = 0) -> None:
        batch_size = check_count("a batch size of at least 1", batch_size)
        if dataset.images.dtype is not torch.uint8:
            got = f"dtype {dataset.images.dtype}"
            raise DataError("an ImageDataset with images as uint8", got, "make a new one: ImageDataset(images, labels)")
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = check_seed(seed)
        self.name = dataset.name
        self.image_shape = dataset.image_shape
        self.num_classes = dataset.num_classes
        self.binarization = dataset.binarization
        self.class_names = dataset.class_names
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

    @cached_property
    def classes(self) -> tuple[int, ...] | None:
        """The labels that there are, in order; -1 for images without one."""
        return None if self.dataset.labels is None else tuple(torch.unique(self.dataset.labels).tolist())

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[Batch]:
        return self.epoch(0)

    def order(self, epoch: int) -> Tensor:
        """The order of the images in an epoch, (N,) int64: the same on every device."""
        if not self.shuffle:
            return torch.arange(self.num_images, device="cpu")
        generator = torch.Generator().manual_seed(derive_seed(self.seed, Stream.ORDER, epoch))
        return torch.randperm(self.num_images, generator=generator, device="cpu")

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

    def examples(self) -> Batch:
        """The first batch of an epoch that is never trained on."""
        return next(self.epoch(0))

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of epoch number ``epoch``: images (B, C, H, W) float in [0, 1], labels (B,) or None."""
        noise = self.noise(epoch)
        for index in torch.split(self.order(epoch).to(self.dataset.images.device), self.batch_size):
            yield self.batch(index, noise)
