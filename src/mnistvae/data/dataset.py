"""ImageDataset: all the images in one uint8 tensor, checked once when it is made.

Longer than usual: more than half of the class is the documentation of its arguments and of what can be done with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args, overload

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from mnistvae._checks import as_integer, check_choice, check_count
from mnistvae._random import Stream, derive_seed
from mnistvae.arrays import ArrayLike, as_tensor, is_array
from mnistvae.data.factors import Factors, check_factors
from mnistvae.data.folders import read_folder
from mnistvae.data.pictures import ImageSize
from mnistvae.errors import DataError, SettingError
from mnistvae.images import ImageShape, check_brightness, check_channels_first, reshape_fix, to_uint8
from mnistvae.labels import Labels, number_classes

__all__ = ["Binarization", "ImageDataset"]

#: Way in which grey pixels become black and white: not at all, by one draw, by a new draw at each use, at 1/2, or by
#: somebody else: Larochelle's draw, which comes from files.
Binarization: TypeAlias = Literal["none", "static", "dynamic", "threshold", "larochelle"]
#: Arguments of ImageDataset that are attributes of it as well.
_ARGUMENTS = ("images", "labels", "class_names", "name", "split", "binarization", "factors")
_INDEX, _INDICES = "images by number, slice, mask or list", "data[3], data[:100], data[[1, 5]], data[data.labels == 3]"


class ImageDataset(Dataset[Any]):
    """Images as one uint8 tensor, with labels if there are any.

    It is also a map-style torch ``Dataset``, so a ``DataLoader`` takes it: an integer index gives ``(image, label)``
    with the image as float in [0, 1] (the image alone where there are no labels; drawn anew where binarization is
    "dynamic"). A slice, a list, a mask or an index tensor gives a smaller ImageDataset.

    Args:
        images: Images (N, C, H, W) or (N, H, W): a tensor, an array of any library (whatever has ``__array__`` or
            DLPack) or nested lists; bool, integers from 0 to 255 or floats in [0, 1], which are rounded to the nearest
            of 256 levels.
        labels: Class numbers from 0, (N,) or (N, 1); one-hot vectors (N, K); or texts, which are numbered in the order
            of their names (texts that are integers become these). -1, None or NaN for an image without a label; None
            in place of them all for no labels.
        class_names: Names of the classes in the order of their numbers; there may be more than the labels show
            (default: the labels themselves, where they are texts).
        max_value: Value that is white, where it is neither 1 nor 255: 15 of 4 bits, 4095 of 12, 65535 of 16.
        name: Name of the data set, for records and figures.
        split: Name of the part of it that this is, for instance "train".
        binarization: "dynamic" makes :class:`~mnistvae.data.Batches` draw each pixel anew; see
            :meth:`binarized`, the usual way to set it. "larochelle" is what ``load_dataset("mnist-larochelle")`` gives.
        factors: Factors of the images, such as the slant of a digit: :class:`~mnistvae.data.Factors`, or a mapping of
            names to values (N,).

    Raises:
        DataError: If there are no images, shape, dtype or values are wrong, or labels or names do not match.
        SettingError: If ``binarization`` or ``max_value`` makes no sense.

    Warns:
        UserWarning: If the brightest of many pixels is 16 of 255 or less, so that their scale may be another.

    Example:
        >>> data = ImageDataset(torch.rand(100, 28, 28), torch.arange(100) % 10)
        >>> data
        ImageDataset(100 images of shape (1, 28, 28), 10 classes, name='images', split='all')
        >>> len(data[:20]), data[0][0].shape, data[0][1]
        (20, torch.Size([1, 28, 28]), 0)
    """

    def __init__(
        self,
        images: ArrayLike,
        labels: Labels | Sequence[str] | None = None,
        *,
        class_names: Sequence[str] | None = None,
        max_value: float | None = None,
        name: str = "images",
        split: str = "all",
        binarization: Binarization = "none",
        factors: Factors | Mapping[str, ArrayLike | Sequence[float]] | None = None,
    ) -> None:
        pixels = to_uint8(images, max_value)
        if pixels.ndim == 3:
            pixels = pixels[:, None]
        if pixels.ndim != 4 or min(pixels.shape[1:]) < 1:
            expected, shape = "images of shape (N, C, H, W) or (N, H, W)", tuple(pixels.shape)
            raise DataError(expected, f"shape {shape}", reshape_fix(shape, images))
        check_channels_first(tuple(pixels.shape), images)
        if len(pixels) == 0:
            raise DataError("at least one image", "an empty set", "check the file, or how the subset was selected")
        if max_value is None:
            check_brightness(pixels, images)
        binarization = check_choice("binarization", binarization, get_args(Binarization))
        self.images = pixels.contiguous()
        self.labels: Tensor | None = None
        self.class_names: tuple[str, ...] | None = None
        if labels is not None:
            numbers, self.class_names = number_classes(labels, len(pixels), class_names)
            self.labels = None if numbers is None else numbers.to(pixels.device).contiguous()
        elif class_names is not None:
            raise DataError(
                f"labels of the classes {class_names!r}", "no labels", "pass them, or leave class_names out"
            )
        self.name = name
        self.split = split
        self.binarization: Binarization = binarization
        self.factors = None if factors is None else check_factors(factors, len(pixels))

    @property
    def image_shape(self) -> ImageShape:
        """(C, H, W)."""
        _, channels, height, width = self.images.shape
        return (channels, height, width)

    @property
    def num_classes(self) -> int | None:
        """The number of class names or, where there are none, the largest label plus one; None without labels."""
        if self.class_names is not None:
            return len(self.class_names)
        return None if self.labels is None else int(self.labels.max()) + 1

    @property
    def device(self) -> torch.device:
        """The device that holds the images."""
        return self.images.device

    def __len__(self) -> int:
        return len(self.images)

    @overload
    def __getitem__(self, index: int) -> tuple[Tensor, int] | Tensor: ...

    @overload
    def __getitem__(self, index: slice | list[int] | Tensor | np.ndarray[Any, Any]) -> ImageDataset: ...

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice | list) or (is_array(index) and getattr(index, "ndim", 0) > 0):
            rows = _rows(index)
            labels = None if self.labels is None else self.labels[rows]
            factors = None if self.factors is None else self.factors[rows]
            return self.replace(images=self.images[rows], labels=labels, factors=factors, max_value=255)
        index = _row(index)
        grey = self.images[index].float() / 255
        image = torch.bernoulli(grey) if self.binarization == "dynamic" else grey
        return image if self.labels is None else (image, int(self.labels[index]))

    def __repr__(self) -> str:
        classes = "no labels" if self.labels is None else f"{self.num_classes} classes"
        if self.class_names is not None:
            classes += f" ({', '.join(self.class_names[:4])}{', ...' * (len(self.class_names) > 4)})"
        binarization = "" if self.binarization == "none" else f", binarization={self.binarization!r}"
        factors = "" if self.factors is None else f"factors {', '.join(self.factors.names)}, "
        return (
            f"ImageDataset({len(self)} images of shape {self.image_shape}, {classes}, {factors}"
            f"name={self.name!r}, split={self.split!r}{binarization})"
        )

    @classmethod
    def from_folder(
        cls,
        folder: str | PathLike[str],
        split: str = "all",
        *,
        image_size: ImageSize | None = None,
        channels: int | None = None,
    ) -> ImageDataset:
        """A folder of pictures (PNG, JPEG, BMP, GIF, TIFF or WebP) as a data set.

        The pictures lie in one folder for each class, or all in the folder itself; then, and where there is only one
        class, they have no labels. Classes are numbered in the order of their names, numbers as numbers ("9" before
        "10"), and so are the pictures of each. Where the folder has folders "train" and "test" (or "training";
        "testing", "val", "valid", "validation"), these are the splits; else :func:`~mnistvae.data.split_rows` draws
        them. Hidden files, files that are no pictures and deeper folders are passed over; a warning tells of pictures
        of other kinds and of folders without pictures, which are left out. A photo is turned as its metadata say.

        Args:
            folder: Path of the folder; its last part is the data set's name.
            split: "train", "test" or "all".
            image_size: Height and width that pictures are brought to (:func:`~mnistvae.data.pixels_of`), or one
                integer for both; None if all have the same.
            channels: 1 for grey, 3 for colour; None for what all the pictures have.

        Raises:
            DatasetNotFoundError: If there is no such folder, no picture in it, or no such split.
            DataError: If pictures differ in size or channels, have 16 bits or are too large, or lie beside folders.
            FileFormatError: If a picture cannot be read.
            SettingError: If ``image_size`` or ``channels`` makes no sense.
        """
        path = Path(folder)
        images, labels, names = read_folder(path, split, image_size=image_size, channels=channels)
        return cls(images, labels, class_names=names, max_value=255, name=path.resolve().name, split=split)

    def to(self, device: torch.device | str) -> ImageDataset:
        """The same data on another device (itself if it is there already)."""
        if self.images.device == torch.device(device):
            return self
        return self.replace(images=self.images.to(device), max_value=255)

    def binarized(self, kind: Binarization, *, seed: int = 0) -> ImageDataset:
        """The same images in black and white.

        Args:
            kind: "static" draws every pixel once, white with a probability of its grey level; "dynamic"
                leaves the images grey and has every batch draw anew (Salakhutdinov and Murray, 2008);
                "threshold" makes a pixel white from 128 on.
            seed: Seed of the static draw.

        Raises:
            SettingError: If ``kind`` is another word.
            DataError: If the images are binarized already.
        """
        if self.binarization != "none":
            fix = "start from the original, or leave these as they are: binarization='none' (--binarization none)"
            raise DataError("grey images", f"images with binarization {self.binarization!r}", fix)
        return self.replace(images=_black_and_white(self.images, kind, seed), binarization=kind, max_value=255)

    def keep_labels(self, per_class: int = 10, *, seed: int = 0) -> ImageDataset:
        """The same images, of which only so many of each class keep their label; that of the others is -1.

        Of a class that has fewer all keep it. Which they are is drawn under the seed, and a larger number keeps those
        of a smaller one too. It is for trying out what few labels are worth, see
        :class:`~mnistvae.objectives.SemiSupervised`.

        Args:
            per_class: Number of labels of each class.
            seed: Seed of the draw.

        Raises:
            SettingError: If the number is below 1.
            DataError: If the images have no labels.

        Example:
            >>> few = ImageDataset(torch.rand(100, 8, 8), torch.arange(100) % 4).keep_labels(per_class=5)
            >>> few.labels.unique(return_counts=True)
            (tensor([-1,  0,  1,  2,  3]), tensor([80,  5,  5,  5,  5]))
        """
        per_class = check_count("per_class as an integer of at least 1", per_class)
        if self.labels is None:
            raise DataError("images with labels, of which some are kept", f"{self.name!r} without labels")
        kept = _some_of_each(self.labels.cpu(), per_class, seed).to(self.labels.device)
        return self.replace(labels=torch.where(kept, self.labels, -1))

    def replace(self, **changes: Any) -> ImageDataset:
        """A data set with other values for some of the constructor's arguments.

        Args:
            **changes: Arguments by name, for instance ``name="digits"``.
        """
        kept: dict[str, Any] = {name: value for name, value in vars(self).items() if name in _ARGUMENTS}
        if "images" not in changes:
            kept["max_value"] = 255
        return ImageDataset(**{**kept, **changes})


def _row(index: Any) -> int:
    """The number of one image."""
    number = as_integer(index)
    if number is None:
        raise DataError(_INDEX, repr(index)[:80], _INDICES)
    return number


def _rows(index: Any) -> Any:
    """The numbers of several images as torch takes them: a slice, integers, or a truth value for each."""
    if isinstance(index, slice):
        return slice(*(part if part is None else _row(part) for part in (index.start, index.stop, index.step)))
    rows = as_tensor(index, "indices")
    if rows.numel() == 0 or rows.dtype is torch.bool:
        return rows if rows.numel() else rows.long()
    if rows.dtype is torch.uint8 or rows.is_floating_point() or rows.is_complex():
        raise DataError(_INDEX, f"numbers of dtype {rows.dtype}", f"{_INDICES}; convert: x.bool() or x.long()")
    return rows.long()


def _black_and_white(images: Tensor, kind: Binarization, seed: int) -> Tensor:
    """Grey images as a data set of that binarization holds them: "dynamic" leaves them grey."""
    if kind == "dynamic":
        return images
    if kind == "static":
        return _drawn(images, seed)
    if kind == "threshold":
        return (images >= 128).to(torch.uint8) * 255
    files = "those pixels come from files: load_dataset('mnist-larochelle')" if kind == "larochelle" else None
    raise SettingError("binarized('static'), ('dynamic') or ('threshold')", repr(kind), files)


def _some_of_each(labels: Tensor, number: int, seed: int) -> Tensor:
    """True for so many images of each class, or all where there are fewer, drawn under a seed: (N,)."""
    generator = torch.Generator().manual_seed(derive_seed(seed, Stream.LABELS))
    order = torch.randperm(len(labels), generator=generator, device="cpu")
    drawn = labels[order]
    chosen = torch.zeros(len(labels), dtype=torch.bool, device="cpu")
    for label in set(drawn[drawn >= 0].tolist()):
        chosen[order[drawn == label][:number]] = True
    return chosen


def _drawn(images: Tensor, seed: int) -> Tensor:
    """Black and white pixels, white with a probability of the grey level; a seed gives the same on every device."""
    generator = torch.Generator().manual_seed(derive_seed(seed, Stream.BINARIZATION))
    result = torch.empty_like(images)
    few = max(1, 2**22 // images[0].numel())  # images at once: four bytes a pixel
    for grey, drawn in zip(torch.split(images, few), torch.split(result, few), strict=True):
        noise = torch.rand(grey.shape, generator=generator, device="cpu").to(images.device)
        drawn.copy_((noise * 255 < grey).to(torch.uint8) * 255)
    return result
