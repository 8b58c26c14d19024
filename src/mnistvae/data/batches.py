"""Data of any kind on their way to a model: read once into an ImageDataset, or batch by batch from a loader."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from mnistvae.arrays import ArrayLike, as_tensor, is_array
from mnistvae.data.dataset import ImageDataset
from mnistvae.data.items import KEYS, as_one_dataset, check_keys, facts_of, length_of, read_items
from mnistvae.data.resident import Batches, BatchSource
from mnistvae.data.streams import LoaderBatches, is_pair, is_stream
from mnistvae.errors import DataError, type_name
from mnistvae.images import ImageShape

__all__ = ["BatchSource", "Batches", "Data", "LoaderBatches", "as_dataset", "batch_source"]

#: Data that can be trained on.
Data: TypeAlias = ImageDataset | ArrayLike | Dataset[Any] | DataLoader[Any] | Sequence[Any] | Iterable[Any]


def as_dataset(
    data: Data, image_shape: ImageShape | None = None, *, keys: Sequence[str] = KEYS, labels: bool = True
) -> ImageDataset:
    """The :class:`ImageDataset` of images in another form.

    Args:
        data: An ImageDataset, or Subset and ConcatDataset of some, which keep name, split and binarization; a tensor,
            an array of any library or nested lists, (N, C, H, W) or (N, H, W); anything with a length and items that
            are images, (image, label) or dictionaries, which is read once, item by item; or a loader with a length.
        image_shape: Shape of an image, (C, H, W), where it is known: then a tensor or array may be (N, C * H * W) too.
        keys: Keys of image and label in items that are dictionaries.
        labels: Whether labels are wanted; if not, whatever follows the image in an item is passed over.

    Raises:
        DataError: If it is something else.
        SettingError: If ``keys`` are not one or two texts.
    """
    keys = check_keys(keys)
    whole = as_one_dataset(data)
    if whole is not None:
        return whole
    if is_pair(data):
        raise DataError("images, or an ImageDataset", f"{type_name(data)} of two", "ImageDataset(images, labels)")
    if is_array(data) or _is_nested(data):
        images = as_tensor(data, "images")
        if image_shape is not None and images.ndim == 2 and images.shape[1] == math.prod(image_shape):
            return ImageDataset(images.reshape(-1, *image_shape))
        return ImageDataset(data)  # type: ignore[arg-type]
    if is_stream(data):
        return _read_stream(data, keys, labels)
    n = length_of(data)
    if isinstance(data, Mapping | str | bytes) or not hasattr(data, "__getitem__" if n is not None else "__iter__"):
        key = next(iter(data), "train") if isinstance(data, Mapping) else None
        fix = "pass an array, an ImageDataset or a DataLoader; load_dataset reads files and folders"
        fix = fix if key is None else f"pass what it holds, such as data[{key!r}], or ImageDataset(images, labels)"
        raise DataError("images as a torch tensor or a numpy array", type_name(data), fix)
    if n is None:
        raise DataError("a data set with a length", type_name(data), "wrap it in a DataLoader")
    if n == 0:
        raise DataError("at least one image", "an empty data set")
    images, found = read_items(data, keys, labels=labels)
    name, split, binarization, _ = facts_of(data)
    name = "images" if isinstance(data, list | tuple) else name
    return ImageDataset(images, found, name=name, split=split, binarization=binarization)


def _is_nested(data: Any) -> bool:
    """True for lists, in lists, of numbers."""
    while isinstance(data, list | tuple) and data:
        data = data[0]
    return isinstance(data, int | float | bool)


def _read_stream(loader: Any, keys: Sequence[str], labels: bool) -> ImageDataset:
    """All batches of one pass over a loader."""
    if length_of(loader) is None:
        fix = "read it first: ImageDataset(torch.cat([images for images, labels in loader]))"
        raise DataError("a loader with a length, to be read once", type_name(loader), fix)
    source = LoaderBatches(loader, keys=keys, labels=labels)
    images, found = zip(*source.epoch(1), strict=True)
    name, split, binarization, names = facts_of(getattr(loader, "dataset", loader))
    y = None if found[0] is None else torch.cat(found)
    how: dict[str, Any] = {"name": name, "split": split, "max_value": 1}
    if binarization == "dynamic":  # drawn once, by this pass
        binarization = "static"
    return ImageDataset(
        torch.cat(images), y, class_names=None if y is None else names, binarization=binarization, **how
    )


def batch_source(
    data: Data,
    batch_size: int,
    *,
    shuffle: bool = True,
    seed: int = 0,
    device: torch.device | str = "cpu",
    image_shape: ImageShape | None = None,
    keys: Sequence[str] = KEYS,
    labels: bool = True,
    num_classes: int | None = None,
    loading: Mapping[str, Any] | None = None,
) -> BatchSource:
    """The fastest source of batches of some data: resident, unless they come from a loader.

    Args:
        data: Images, as :func:`as_dataset` takes them; or a ``DataLoader``, another iterable of batches, or an
            iterable data set.
        batch_size: Number of images in a batch.
        shuffle: True for a new order each epoch.
        seed: Seed of the order, and of dynamic binarization.
        device: Device that the batches are on.
        image_shape: Shape of an image, (C, H, W), where it is known.
        keys: Keys of image and label in items or batches that are dictionaries.
        labels: Whether labels are wanted; if not, whatever follows the image is passed over.
        num_classes: Number of classes that labels may have, where it is known.
        loading: Further arguments of :class:`LoaderBatches`.
    """
    if isinstance(data, IterableDataset):
        data = DataLoader(data, batch_size)
    if is_stream(data):
        further = {"num_classes": num_classes, **(loading or {})}
        return LoaderBatches(data, device, keys=check_keys(keys), labels=labels, **further)  # type: ignore[arg-type]
    dataset = as_dataset(data, image_shape, keys=keys, labels=labels)
    return Batches(dataset.to(device), batch_size, shuffle=shuffle, seed=seed)
