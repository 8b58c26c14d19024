"""Items and batches of other people's data sets: the image and the label in each, and what a data set knows of them."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset

from mnistvae._checks import listed
from mnistvae.arrays import as_tensor, is_array
from mnistvae.data.dataset import Binarization, ImageDataset
from mnistvae.data.factors import joined
from mnistvae.data.pictures import channels_of, pixels_of
from mnistvae.errors import DataError, SettingError, type_name
from mnistvae.labels import check_same_classes

__all__ = [
    "KEYS",
    "Facts",
    "as_one_dataset",
    "check_keys",
    "clear_errors",
    "facts_of",
    "image_and_label",
    "length_of",
    "read_items",
]

#: Keys of the image and of the label in items that are dictionaries.
KEYS = ("image", "label")
_EXPECTED = "items that are images or (images, labels) as tensors"
_TO_TENSOR = "give the data set transform=torchvision.transforms.ToTensor()"
#: Items that are read a second time, to see whether they are drawn anew each time.
_READ_AGAIN = 4


class Facts(NamedTuple):
    """Properties of a data set that figures and records tell."""

    name: str
    split: str
    binarization: Binarization
    class_names: tuple[str, ...] | None


def facts_of(data: Any) -> Facts:
    """Properties of a data set: an ImageDataset's own, through any Subset and ConcatDataset around it."""
    if isinstance(data, ImageDataset):
        return Facts(data.name, data.split, data.binarization, data.class_names)
    if isinstance(data, Subset):
        return facts_of(data.dataset)
    if isinstance(data, ConcatDataset):
        found = [facts_of(part) for part in data.datasets]
        kinds = {one.binarization for one in found}
        if len(kinds) > 1:
            fix = "binarize both, or join the grey ones and binarize these"
            raise DataError("data sets of one binarization to be joined", ", ".join(sorted(kinds)), fix)
        name, split = (" + ".join(dict.fromkeys(words)) for words in zip(*(one[:2] for one in found), strict=True))
        classes = [one.class_names for one in found if one.class_names is not None]
        for other in classes[1:]:
            check_same_classes(classes[0], other, "the data sets that are joined")
        names = max(classes, key=len) if len(classes) == len(found) else None
        return Facts(name, split, kinds.pop(), names)
    return Facts(type(data).__name__, "all", getattr(data, "binarization", "none"), None)


def as_one_dataset(data: Any) -> ImageDataset | None:
    """The ImageDataset that a Subset or ConcatDataset of ImageDatasets stands for; None for anything else."""
    if isinstance(data, ImageDataset):
        return data
    if isinstance(data, Subset):
        whole = as_one_dataset(data.dataset)
        return None if whole is None else whole[torch.as_tensor(list(data.indices), dtype=torch.long, device="cpu")]
    parts = [as_one_dataset(part) for part in data.datasets] if isinstance(data, ConcatDataset) else []
    found = [part for part in parts if part is not None]
    if not found or len(found) < len(parts) or len({part.image_shape for part in found}) > 1:
        return None
    labels = [part.labels for part in found if part.labels is not None]
    images, known = torch.cat([part.images for part in found]), torch.cat(labels) if len(labels) == len(found) else None
    facts, factors = _named(facts_of(data), labelled=known is not None), joined([part.factors for part in found])
    return ImageDataset(images, known, max_value=255, factors=factors, **facts)


def _named(facts: Facts, *, labelled: bool) -> dict[str, Any]:
    known = facts._asdict()
    return known if labelled else {**known, "class_names": None}


def check_keys(keys: Any) -> tuple[str, ...]:
    """Keys of the image and, perhaps, of the label.

    Raises:
        SettingError: If they are not one or two texts.
    """
    found = tuple(listed(keys) or ())
    if len(found) not in {1, 2} or not all(isinstance(key, str) for key in found):
        raise SettingError("keys as those of image and label", repr(keys)[:80], "for instance ('image', 'label')")
    return found


def image_and_label(item: Any, keys: Sequence[str] = KEYS, *, labels: bool = True) -> tuple[Any, Any]:
    """The image and the label, or None, of an item or of a batch.

    Args:
        item: The image, or (image, label), or a dictionary of them.
        keys: Keys of a dictionary.
        labels: Whether the label is wanted; whatever follows the image is passed over if not.

    Raises:
        DataError: If it is something else.
    """
    if isinstance(item, Mapping):
        if keys[0] not in item:
            there = [key for key in item if isinstance(key, str)]
            fix = f"name those of image and label, such as keys={tuple(there[:2])!r}" if there else "return the image"
            raise DataError(f"items with the key {keys[0]!r}", f"the keys {there}", fix)
        return item[keys[0]], item.get(keys[1]) if labels and len(keys) > 1 else None
    if not isinstance(item, list | tuple):
        return item, None
    if (len(item) > 2 and labels) or not item:
        raise DataError(_EXPECTED, f"{len(item)} parts", "return (image, label) from the data set")
    return item[0], item[1] if labels and len(item) == 2 else None


def read_items(data: Any, keys: Sequence[str] = KEYS, *, labels: bool = True) -> tuple[Tensor, list[Any] | None]:
    """All images (N, ...) and labels of a map-style data set, read once, item by item.

    Warns:
        UserWarning: If an item that is read again is another one: its transform draws at random.

    Raises:
        DataError: If an item has no image, or images are of several shapes.
    """
    pairs = [image_and_label(data[index], keys, labels=labels) for index in range(len(data))]
    images = [_image(image) for image, _ in pairs]
    shapes = {tuple(image.shape): None for image in images}
    if len(shapes) > 1:
        raise _of_several_shapes(*list(shapes)[:2])
    again = [
        _image(image_and_label(data[index], keys, labels=False)[0]) for index in range(min(len(data), _READ_AGAIN))
    ]
    if not all(torch.equal(one, other) for one, other in zip(images, again, strict=False)):
        warnings.warn(
            f"the images of {type(data).__name__} differ when they are read again, as those of random transforms do: "
            "they are read once, and stay as they are in all epochs; pass a DataLoader to have them drawn anew",
            stacklevel=2,
        )
    found = [label for _, label in pairs]
    return torch.stack(images), None if all(label is None for label in found) else [_plain(label) for label in found]


def _image(image: Any) -> Tensor:
    if hasattr(image, "getbands"):  # Pillow's
        if image.mode[0] in "IF":
            raise DataError("pictures of 8 bits a channel", f"mode {image.mode}", "convert them: picture.convert('L')")
        return torch.from_numpy(pixels_of(image, None, channels_of(image)).copy())
    if not (is_array(image) or isinstance(image, list)):
        raise DataError(_EXPECTED, type_name(image), _TO_TENSOR)
    return as_tensor(image, "images")


def _plain(label: Any) -> Any:
    """A label without a dimension that has one element, as Python holds it."""
    return as_tensor(label, "labels").squeeze().tolist() if is_array(label) else label


def _of_several_shapes(first: Sequence[int], second: Sequence[int]) -> DataError:
    channels = len(first) == len(second) == 3 and first[1:] == second[1:]
    got = f"shapes {tuple(first)} and {tuple(second)}"
    if channels:
        fix = "give the transform Grayscale(num_output_channels=1 or 3), or convert pictures to 'L' or 'RGB'"
        return DataError("images of one number of channels", got, fix)
    return DataError("images of one size", got, "resize them in the data set")


@contextmanager
def clear_errors() -> Iterator[None]:
    """A block in which the errors of torch's default collate function say what to do."""
    try:
        yield
    except (TypeError, RuntimeError) as error:
        said = str(error)
        if said.startswith("stack expects"):
            shapes = [[int(n) for n in one.split(",") if n.strip()] for one in re.findall(r"\[([\d, ]*)\]", said)]
            raise _of_several_shapes(*shapes[:2]) from error
        if not said.startswith("default_collate"):  # the data set's own
            raise
        raise DataError(_EXPECTED, said, _TO_TENSOR) from error


def length_of(value: Any) -> int | None:
    """The length of something, or None where it has none."""
    try:
        return len(value)
    except (TypeError, NotImplementedError, AttributeError):
        return None
