"""Batches from a loader, as they come: nothing of it is read twice, and no length is made up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, IterableDataset

from mnistvae._random import seeded
from mnistvae.arrays import as_tensor, is_array
from mnistvae.data.dataset import Binarization
from mnistvae.data.items import KEYS, clear_errors, facts_of, image_and_label, length_of
from mnistvae.data.resident import Batch
from mnistvae.errors import DataError, type_name
from mnistvae.images import ImageShape, as_images, check_brightness, check_channels_first, check_range
from mnistvae.labels import as_labels

__all__ = ["LoaderBatches", "is_pair", "is_stream"]


class _Opened(NamedTuple):
    """A pass over a loader of which only the first batch was read."""

    epoch: int
    batches: Iterator[tuple[Tensor, Any]]
    #: The state of torch's generator after it.
    noise: Tensor


class LoaderBatches:
    """Batches from a ``DataLoader``, or from any other iterable of batches, checked as they come and moved to a device.

    The loader keeps its own order and workers; use it for data that does not fit in memory or is
    augmented on the fly. Everything else is many times faster as an :class:`ImageDataset`.

    The first batch is read at once, to know the shape of the images; it stays the first of the pass that it belongs to.

    Args:
        loader: Loader that yields images, (images, labels) or dictionaries.
        device: Device that the batches are moved to.
        keys: Keys of the images and labels in dictionaries.
        labels: Whether labels are wanted; if not, whatever follows the images is passed over.
        num_classes: Number of classes that labels may have, where it is known.
        unlabelled: Take the label -1 too, for an image without one.
        least: Number of images that a batch must have.
        epoch: Number of the epoch that is read first.
        seed: Seed that torch's generators have at the beginning of that epoch, from which a loader may draw its order.

    Raises:
        DataError: If the loader is empty or yields something else.
    """

    def __init__(
        self,
        loader: Iterable[Any],
        device: torch.device | str = "cpu",
        *,
        keys: Sequence[str] = KEYS,
        labels: bool = True,
        num_classes: int | None = None,
        unlabelled: bool = False,
        least: int = 1,
        epoch: int = 1,
        seed: int | None = None,
    ) -> None:
        self.loader = loader
        self.device = torch.device(device)
        self._keys, self._labels, self._num_classes, self._least = tuple(keys), labels, num_classes, least
        self._unlabelled = unlabelled
        dataset = getattr(loader, "dataset", loader)
        self.name, _, binarization, names = facts_of(dataset)
        self.class_names = names
        self.binarization: Binarization = binarization
        with seeded(seed):
            batches = self._read(epoch)
            first = next(batches, None)
            if first is None:
                got = f"an empty {type(loader).__name__}"
                raise DataError("at least one batch", got, "check its data set, batch_size and drop_last")
            noise = torch.get_rng_state()
        self._first = first
        self._opened: _Opened | None = _Opened(epoch, chain([first], batches), noise if seed is not None else noise[:0])
        images, found = first
        if images.ndim != 4:
            alone = not hasattr(loader, "batch_size") and (images.ndim == 2 or tuple(images.shape[:1]) in {(1,), (3,)})
            fix = "make batches: DataLoader(list(images), batch_size=128)" if alone else "add the channel dimension"
            raise DataError("batches of images (B, C, H, W)", f"shape {tuple(images.shape)}", fix)
        check_channels_first(tuple(images.shape), images)
        self.image_shape: ImageShape = (images.shape[1], images.shape[2], images.shape[3])
        self.batch_size = getattr(loader, "batch_size", None) or len(images)
        self.num_classes = len(names) if names else None
        if found is not None and not names and len(images):
            self.num_classes = int(as_labels(found, len(images)).max()) + 1
        self._bright = False
        self._count()

    def _count(self) -> None:
        """Numbers of images and batches, where they are known."""
        self.classes: tuple[int, ...] | None = None
        self.fingerprint: int | None = None
        self.num_images: int | None = None
        self.num_batches: int | None = None
        self.smallest_batch: int | None = None
        loader: Any = self.loader
        if isinstance(getattr(loader, "dataset", None), IterableDataset):
            return
        self.num_batches = length_of(loader)
        plain = getattr(loader, "batch_size", None) is not None
        if plain or isinstance(getattr(loader, "batch_sampler", None), BatchSampler):
            self.num_images = length_of(getattr(loader, "sampler", None))  # which may read a part of the data set
        if self.num_images is not None and plain and hasattr(loader, "drop_last"):
            leftover = 0 if loader.drop_last else self.num_images % loader.batch_size
            self.smallest_batch = leftover or loader.batch_size

    def examples(self) -> Batch:
        """The first batch that was read."""
        return self._checked(*self._first)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of one pass over the loader; ``epoch`` goes to its sampler if that has ``set_epoch``.

        Raises:
            DataError: If a batch is no images in [0, 1], or has other labels; or if there is none.
        """
        opened, self._opened = self._opened, None
        if opened is not None and opened.epoch == epoch:
            if len(opened.noise):
                torch.set_rng_state(opened.noise)
            batches = opened.batches
        else:
            batches = self._read(epoch)
        number = 0
        for number, (images, labels) in enumerate(batches, 1):
            try:
                batch = self._checked(images, labels)
            except DataError as error:
                raise error.at(f"batch {number} of {self.name}") from None
            yield batch
        if number == 0:
            fix = "it can be read only once: make one that begins anew at each iter(), or read it into an ImageDataset"
            raise DataError(f"a batch in each pass over the loader of {self.name}", f"none in epoch {epoch}", fix)

    def _checked(self, images: Tensor, labels: Any) -> Batch:
        """A batch as a model takes it, on the device."""
        x = check_range(as_images(images, self.image_shape))
        if len(x) < self._least:
            fix = "give the loader drop_last=True, or another batch_size"
            raise DataError("at least two images in every batch for batch normalisation", f"{len(x)}", fix)
        if not self._bright:
            levels = images if images.dtype is torch.uint8 else (x * 255).round().to(torch.uint8)
            check_brightness(levels, images)
            self._bright = bool((x > 1 / 15).any())  # looked at until it is known
        if labels is None:
            return x.to(self.device), None
        labels = labels.cpu() if isinstance(labels, Tensor) else labels
        y = as_labels(labels, len(x), self._num_classes, unlabelled=self._unlabelled)
        return x.to(self.device), y.to(self.device)

    def _read(self, epoch: int) -> Iterator[tuple[Tensor, Any]]:
        """A pass over the loader: images and labels, or None, of each batch."""
        set_epoch = getattr(getattr(self.loader, "sampler", None), "set_epoch", None)
        if set_epoch is not None:
            set_epoch(epoch)
        with clear_errors():
            for item in self.loader:
                images, labels = image_and_label(item, self._keys, labels=self._labels)
                if not is_array(images):
                    fix = "give the data set transform=torchvision.transforms.ToTensor()"
                    raise DataError("batches that are images or (images, labels) as tensors", type_name(images), fix)
                yield as_tensor(images, "images"), labels


def is_pair(data: Any) -> bool:
    """True for all images and all their labels, as two arrays side by side."""
    pair = isinstance(data, tuple | list) and len(data) == 2 and all(is_array(x) for x in data)
    return pair and getattr(data[1], "ndim", 0) < 3


def is_stream(data: Any) -> bool:
    """True for a ``DataLoader``, another iterable without items of its own, and a list of batches."""
    if isinstance(data, IterableDataset | str | bytes | Mapping) or is_array(data) or is_pair(data):
        return False
    if isinstance(data, list | tuple):
        first = data[0] if data else None
        image = first[0] if isinstance(first, list | tuple) and first else first
        return is_array(image) and getattr(image, "ndim", 0) == 4
    return hasattr(data, "__iter__") and not (hasattr(data, "__getitem__") and hasattr(data, "__len__"))
