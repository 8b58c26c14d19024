"""Data sets that are folders of pictures, a folder a class or all in one."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import torch
from torch import Tensor

from mnistvae._checks import allocating, check_choice
from mnistvae.data.pictures import ImageSize, channels_of, check_layout, pixels_of
from mnistvae.data.splits import SPLIT_FOLDERS, split_rows
from mnistvae.errors import DataError, DatasetNotFoundError, FileFormatError, MnistvaeError
from mnistvae.labels import in_order

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["FolderOfPictures", "read_folder"]

#: Suffixes of the pictures that are read, and Pillow's names of their formats.
_SUFFIXES = {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".tif", ".tiff", ".webp"}
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP")
#: Suffixes of pictures that are not read, of which a warning tells.
_OTHER_SUFFIXES = {
    *(".avif", ".cr2", ".dng", ".heic", ".heif", ".ico", ".jp2", ".jxl", ".nef", ".pbm", ".pcx", ".pgm", ".pnm"),
    *(".ppm", ".psd", ".svg", ".tga"),
}
#: Orientations in a photo's metadata that turn it by a quarter.
_QUARTER_TURNS = {5, 6, 7, 8}

#: Files of each class by its name; of the name "" where the folder has no classes.
_Classes: TypeAlias = dict[str, list[Path]]


class FolderOfPictures(NamedTuple):
    """Images, labels and class names of a folder of pictures.

    Attributes:
        images: Pixels (N, C, H, W) uint8.
        labels: Class numbers (N,); None where the folder has no classes, or only one.
        class_names: Names of the classes in the order of their numbers; None without labels.
    """

    images: Tensor
    labels: Tensor | None
    class_names: list[str] | None


def read_folder(
    folder: Path, split: str = "all", *, image_size: ImageSize | None = None, channels: int | None = None
) -> FolderOfPictures:
    """The pictures of a folder; :meth:`ImageDataset.from_folder` says which ones."""
    split = check_choice("split", split, ("train", "test", "all"))
    size, channels = check_layout(image_size, channels)
    splits = _splits(folder)
    if split not in splits and split != "all" and "all" not in splits:
        raise DatasetNotFoundError(
            f"a folder {SPLIT_FOLDERS[split][0]!r} in {folder}",
            f"{next(iter(splits))!r} alone",
            "add it, or give the path of the other one, which is split then",
        )
    found = {name: _classes(place) for name, place in splits.items()}
    names = sorted({name for classes in found.values() for name in classes}, key=in_order)
    if "" in names and len(names) > 1:
        beside = next(classes[""][0] for classes in found.values() if "" in classes)
        raise DataError(
            "pictures in folders of classes, or all in one", f"{beside} beside folders", "move it to a class"
        )
    every = [(file, names.index(name), part) for part in found for name in found[part] for file in found[part][name]]
    if not every:
        raise DatasetNotFoundError(
            f"pictures (PNG, JPEG, BMP, GIF, TIFF, WebP) in {folder}, or in a folder for each class there",
            _other_kinds(splits.values()),
            "give the folder that holds them, or convert them",
        )
    for line in _left_out(splits.values(), names):
        warnings.warn(f"{folder}: {line}", stacklevel=3)
    labels = torch.tensor([label for _, label, _ in every], device="cpu")
    if "all" in splits or split == "all":
        rows = split_rows(labels, split)
    else:
        rows = torch.tensor(
            [row for row, (_, _, part) in enumerate(every) if part == split], device="cpu", dtype=torch.long
        )
    images = _read([file for file, _, _ in every], rows.tolist(), size, channels)
    return FolderOfPictures(images, labels[rows], names) if len(names) > 1 else FolderOfPictures(images, None, None)


def _splits(folder: Path) -> dict[str, Path]:
    """The folders of a folder's splits by name; the folder itself, as "all", if it has none."""
    if not folder.is_dir():
        raise DatasetNotFoundError(f"a folder {folder}", "no such folder", "check the path")
    found = {split: [folder / name for name in names] for split, names in SPLIT_FOLDERS.items()}
    there = {split: [place for place in places if place.is_dir()] for split, places in found.items()}
    return {split: places[0] for split, places in there.items() if places} or {"all": folder}


def _classes(folder: Path) -> _Classes:
    """The pictures in a folder and in its folders, by class, in order; folders without pictures are no classes."""
    places = {"": folder, **{place.name: place for place in _visible(folder) if place.is_dir()}}
    found = {name: [file for file in _visible(place) if _is_picture(file)] for name, place in places.items()}
    return {name: files for name, files in found.items() if files}


def _visible(folder: Path) -> list[Path]:
    """The files and folders in a folder, in order, without the hidden ones and what macOS puts into archives."""
    try:
        found = [path for path in folder.iterdir() if not path.name.startswith((".", "__MACOSX"))]
    except OSError as error:
        raise DatasetNotFoundError(f"a folder {folder} that can be read", str(error), "check its permissions") from None
    return sorted(found, key=lambda path: in_order(path.name))


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in _SUFFIXES and path.is_file()


def _left_out(folders: Collection[Path], classes: list[str]) -> Iterator[str]:
    """Lines about pictures of other kinds, and about folders that are no classes because they have no pictures."""
    places = [place for folder in folders for place in (folder, *_visible(folder)) if place.is_dir()]
    kinds = Counter(
        path.suffix.lower()
        for place in places
        for path in _visible(place)
        if path.suffix.lower() in _OTHER_SUFFIXES and path.is_file()
    )
    if kinds:
        each = ", ".join(f"{n} {kind}" for kind, n in kinds.most_common())
        yield f"left out {kinds.total()} of the files, {each}: convert them to PNG, to have them read"
    inside = {place.name for place in places if place.parent in folders}
    empty = sorted(inside - set(classes), key=in_order) if "" not in classes else []
    if empty:
        yield f"no pictures for {', '.join(map(repr, empty))}: left out, and the others are numbered without"


def _other_kinds(folders: Iterable[Path]) -> str:
    """The kinds of files in folders without pictures, in a few words."""
    kinds = Counter(path.suffix or "no suffix" for folder in folders for path in _visible(folder) if path.is_file())
    return ", ".join(f"{n} {kind}" for kind, n in kinds.most_common(5)) or "no files"


def _read(files: list[Path], rows: list[int], size: tuple[int, int] | None, channels: int | None) -> Tensor:
    """Some of the pictures as one tensor (N, C, H, W) uint8, in the layout of all of them."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        shape = _common_layout(files, size, channels)
        got, fix = f"{len(rows)} of shape {shape}", "give a smaller image_size (--image-size)"
        with allocating("pictures that fit into memory", got, fix, DataError):
            images = torch.empty(len(rows), *shape, dtype=torch.uint8, device="cpu")
        for place, row in zip(images, rows, strict=True):
            with _opened(files[row]) as picture:
                place.copy_(torch.from_numpy(pixels_of(_upright(picture), size, shape[0]).copy()))
    return images


def _common_layout(files: list[Path], size: tuple[int, int] | None, channels: int | None) -> tuple[int, int, int]:
    """The number of channels, height and width of pictures: those given, else those that all of them have."""
    if size is not None and channels is not None:
        return (channels, *size)
    sizes: dict[tuple[int, int], Path] = {}
    kinds: dict[int, Path] = {}
    for file in files:
        with _opened(file) as picture:
            sizes.setdefault(_upright_size(picture), file)
            kinds.setdefault(channels_of(picture), file)
    if size is None and len(sizes) > 1:
        (a, first), (b, second), *_ = sizes.items()
        got = f"{first} of {a[0]} x {a[1]} and {second} of {b[0]} x {b[1]}"
        raise DataError("pictures of one size", got, f"give image_size={min(a + b)} (--image-size {min(a + b)})")
    if channels is None and len(kinds) > 1:
        got = f"{kinds[1]} in grey and {kinds[3]} in colour"
        raise DataError("pictures all in grey or all in colour", got, "give channels=1 or 3 (--image-channels 1 or 3)")
    return (channels or next(iter(kinds)), *(size or next(iter(sizes))))


def _upright(picture: Image) -> Image:
    """A photo turned as its metadata say."""
    from PIL import ImageOps

    return picture if picture.format == "PNG" else ImageOps.exif_transpose(picture)


def _upright_size(picture: Image) -> tuple[int, int]:
    """Height and width of a photo turned as its metadata say."""
    width, height = picture.size
    if picture.format == "PNG" or picture.getexif().get(0x0112) not in _QUARTER_TURNS:
        return height, width
    if picture.format == "TIFF":  # whose size some versions of Pillow turn before it is read
        width, height = _upright(picture).size
        return height, width
    return width, height


def _check_depth(picture: Image, path: Path) -> None:
    if picture.mode[0] in "IF" or any(";16" in str(tile) for tile in getattr(picture, "tile", ())):
        fix = "convert it, for instance with ImageMagick: magick in.png -depth 8 out.png"
        raise DataError("pictures of 8 bits a channel", f"{path} of 16 bits", fix)


@contextmanager
def _opened(path: Path) -> Iterator[Image]:
    """A block with a picture of eight bits a channel, in which whatever fails is an error that names the file."""
    from PIL import Image

    try:
        with Image.open(path, formats=_FORMATS) as picture:
            _check_depth(picture, path)
            yield picture
    except MnistvaeError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(
            "pictures of a usual size", f"{path}: {error}", "make it smaller with another program"
        ) from error
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise FileFormatError(
            f"a picture (PNG, JPEG, BMP, GIF, TIFF, WebP) in {path}", reason, "copy it again, or take it away"
        ) from error
