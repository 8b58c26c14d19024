"""Folders of pictures as data sets: pixels to the bit, classes in order, splits, and clear errors."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mnistvae import ImageDataset, Trainer, load_dataset
from mnistvae.data import Batches, pixels_of, resized, split_rows
from mnistvae.errors import DataError, DatasetNotFoundError, FileFormatError, MnistvaeError, SettingError
from mnistvae.recipes import get


def noise(seed: int, *shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def draw(path: Path, pixels: np.ndarray[Any, Any], **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def classes(root: Path, counts: dict[str, int], size: tuple[int, ...] = (6, 5)) -> None:
    """A folder for each class with so many grey pictures, named by their number."""
    for place, (name, n) in enumerate(counts.items()):
        for i in range(n):
            draw(root / name / f"{i}.png", noise(1000 * place + i, *size))


# --- pixels ---------------------------------------------------------------------------------------------------------


@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from([(), (3,)]), st.integers(0, 1000))
def test_png_files_come_back_to_the_bit(
    tmp_path_factory: pytest.TempPathFactory, height: int, width: int, colour: tuple[int, ...], seed: int
) -> None:
    root = tmp_path_factory.mktemp("flat")
    pictures = [noise(seed + i, height, width, *colour) for i in range(12)]
    for i, pixels in enumerate(pictures):
        draw(root / f"{i}.png", pixels)  # 10.png comes after 9.png
    data = ImageDataset.from_folder(root)
    stacked = torch.from_numpy(np.stack(pictures))
    assert torch.equal(data.images, stacked.permute(0, 3, 1, 2) if colour else stacked[:, None])
    assert data.labels is None
    assert data.class_names is None
    assert (data.name, data.split) == (root.name, "all")


def test_jpeg_files_are_read_as_pillow_does(tmp_path: Path) -> None:
    for i, suffix in enumerate((".jpg", ".JPEG", ".JPG")):
        draw(tmp_path / f"{i}{suffix}", noise(i, 16, 12, 3), format="JPEG")
    data = ImageDataset.from_folder(tmp_path)
    with Image.open(tmp_path / "1.JPEG") as picture:
        assert torch.equal(data.images[1], torch.from_numpy(np.array(picture)).permute(2, 0, 1))
    assert data.image_shape == (3, 16, 12)


def test_a_photo_is_turned_as_its_metadata_say(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    pixels = np.zeros((16, 32), np.uint8)
    pixels[:, :8] = 255  # the left side, which is up once it is turned
    draw(tmp_path / "a.jpg", pixels, exif=exif, quality=95)
    draw(tmp_path / "b.jpg", np.zeros((32, 16), np.uint8))
    images = ImageDataset.from_folder(tmp_path).images
    assert images.shape == (2, 1, 32, 16)
    assert images[0, 0, :6].float().mean() > 250
    assert images[0, 0, 10:].float().mean() < 5


def test_transparent_pixels_are_laid_over_black(tmp_path: Path) -> None:
    rgba = noise(0, 4, 4, 4)
    rgba[..., 3] = 255
    rgba[0, :, 3] = 0
    draw(tmp_path / "a.png", rgba)
    (image,) = ImageDataset.from_folder(tmp_path).images
    assert image[:, 0].eq(0).all()
    assert torch.equal(image[:, 1:], torch.from_numpy(rgba[1:, :, :3]).permute(2, 0, 1))
    grey = np.stack([np.full((2, 2), 200, np.uint8), np.array([[255, 0], [128, 255]], np.uint8)], -1)
    draw(tmp_path / "grey" / "a.png", grey)
    assert ImageDataset.from_folder(tmp_path / "grey").images.flatten().tolist() == [200, 0, 100, 200]


def test_palettes_count_as_colour_and_black_and_white_as_grey(tmp_path: Path) -> None:
    Image.fromarray(noise(0, 4, 4, 3)).quantize(16).save(tmp_path / "a.png")
    assert ImageDataset.from_folder(tmp_path).image_shape == (3, 4, 4)
    assert ImageDataset.from_folder(tmp_path, channels=1).image_shape == (1, 4, 4)
    (tmp_path / "b").mkdir()
    Image.fromarray(noise(0, 4, 4) > 128).save(tmp_path / "b" / "a.png")
    assert torch.equal(
        ImageDataset.from_folder(tmp_path / "b").images[0, 0], torch.from_numpy(noise(0, 4, 4) > 128).byte() * 255
    )


@pytest.mark.parametrize(("size", "shape"), [(4, (4, 4)), ((4, 6), (4, 6)), ([8, 3], (8, 3))])
def test_pictures_of_any_size_are_brought_to_one(tmp_path: Path, size: Any, shape: tuple[int, int]) -> None:
    draw(tmp_path / "a.png", np.full((8, 12), 7, np.uint8))
    draw(tmp_path / "b.png", np.full((30, 20, 3), 90, np.uint8))
    data = ImageDataset.from_folder(tmp_path, image_size=size, channels=1)
    assert data.image_shape == (1, *shape)
    assert data.images[0].unique().tolist() == [7]
    assert data.images[1].unique().tolist() == [90]


def test_a_smaller_picture_averages_over_all_pixels(tmp_path: Path) -> None:
    board = np.indices((64, 64)).sum(0) % 2 * 255  # no pixel of the small picture may be black or white
    draw(tmp_path / "a.png", board.astype(np.uint8))
    small = ImageDataset.from_folder(tmp_path, image_size=8).images[0, 0, 1:-1, 1:-1]
    assert (small.int() - 127).abs().max() <= 2


def test_resizing_a_data_set_is_resizing_its_pictures(tmp_path: Path) -> None:
    classes(tmp_path, {"a": 3, "b": 2}, (9, 7, 3))
    for options in ({"image_size": (4, 5)}, {"channels": 1}, {"image_size": 12, "channels": 1}):
        data = resized(ImageDataset.from_folder(tmp_path), **options)  # type: ignore[arg-type]
        assert torch.equal(data.images, ImageDataset.from_folder(tmp_path, **options).images)  # type: ignore[arg-type]
        assert (data.class_names, data.name) == (("a", "b"), tmp_path.name)
    data = ImageDataset.from_folder(tmp_path)
    assert resized(data) is resized(data, (9, 7), 3) is data
    grey = ImageDataset(noise(0, 4, 6, 6))
    assert torch.equal(resized(grey, channels=3).images, grey.images.expand(-1, 3, -1, -1))
    with pytest.raises(DataError, match="1 or 3 channels, to resize them, got 2 channels"):
        resized(ImageDataset(noise(0, 4, 2, 6, 6)), 3)


def test_grey_of_colour_is_the_luma_of_rec_601() -> None:
    colours = noise(3, 20, 20, 3)
    grey = pixels_of(Image.fromarray(colours), None, 1)
    assert np.abs(grey[0] - colours @ np.array([0.299, 0.587, 0.114])).max() <= 0.51


# --- classes --------------------------------------------------------------------------------------------------------


def test_classes_are_numbered_in_the_order_of_their_names(tmp_path: Path) -> None:
    classes(tmp_path, {"owl": 2, "cat": 3, "dog": 1})
    data = ImageDataset.from_folder(tmp_path)
    assert data.class_names == ("cat", "dog", "owl")
    assert data.num_classes == 3
    assert data.labels is not None
    assert data.labels.tolist() == [0, 0, 0, 1, 2, 2]
    assert torch.equal(data.images[4, 0], torch.from_numpy(noise(0, 6, 5)))  # owl/0.png
    assert "3 classes (cat, dog, owl)" in repr(data)
    assert data[:2].class_names == data.binarized("threshold").class_names == data.class_names
    assert data[:2].num_classes == 3  # although it has one


def test_names_that_are_numbers_are_sorted_as_numbers(tmp_path: Path) -> None:
    classes(tmp_path, {"10": 1, "9": 1, "1": 1})
    assert ImageDataset.from_folder(tmp_path).class_names == ("1", "9", "10")


def test_one_class_is_no_class(tmp_path: Path) -> None:
    classes(tmp_path, {"img_align_celeba": 4})
    assert ImageDataset.from_folder(tmp_path).labels is None


def test_other_files_and_hidden_ones_are_passed_over(tmp_path: Path) -> None:
    classes(tmp_path, {"a": 2, "b": 2, ".git": 1})
    (tmp_path / "a" / "notes.txt").write_text("not a picture")
    (tmp_path / "a" / "._0.png").write_text("what a Mac leaves")
    (tmp_path / "README.md").write_text("# Pictures")
    (tmp_path / "a" / "Thumbs.db").write_bytes(b"what Windows leaves")
    (tmp_path / "a" / "folder.png").mkdir()
    draw(tmp_path / "a" / "deeper" / "x.png", noise(0, 6, 5))
    os.mkfifo(tmp_path / "a" / "pipe.png")
    data = ImageDataset.from_folder(tmp_path)
    assert (len(data), data.class_names) == (4, ("a", "b"))


@pytest.mark.parametrize(
    ("suffix", "options"), [(".bmp", {}), (".gif", {}), (".TIF", {}), (".webp", {"lossless": True})]
)
def test_other_kinds_of_pictures_are_read(tmp_path: Path, suffix: str, options: dict[str, Any]) -> None:
    classes(tmp_path, {"a": 2, "b": 2})
    pixels = noise(7, 6, 5)
    Image.fromarray(pixels).convert("L" if suffix != ".webp" else "RGB").save(tmp_path / "a" / f"9{suffix}", **options)
    data = ImageDataset.from_folder(tmp_path, channels=1)
    assert torch.equal(data.images[2, 0], torch.from_numpy(pixels))


@pytest.mark.parametrize("suffix", [".tif", ".webp"])
def test_other_kinds_are_turned_as_their_metadata_say(tmp_path: Path, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    draw(tmp_path / f"a{suffix}", noise(0, 16, 32, 3), exif=exif)
    assert ImageDataset.from_folder(tmp_path).image_shape == (3, 32, 16)


def test_pictures_that_are_left_out_are_told_of(tmp_path: Path) -> None:
    classes(tmp_path, {"a": 2, "b": 2})
    for name in ("1.heic", "2.HEIC", "3.pgm", "notes.txt", "._4.heic"):
        (tmp_path / "a" / name).write_bytes(b"")
    with pytest.warns(UserWarning, match=r"left out 3 of the files, 2 \.heic, 1 \.pgm: convert them") as told:
        assert len(ImageDataset.from_folder(tmp_path)) == 4
    assert len(told) == 1


def test_folders_without_pictures_are_told_of(tmp_path: Path) -> None:
    for split, counts in (("train", {"a": 2, "c": 2, "d": 2}), ("test", {"a": 1, "d": 1})):
        classes(tmp_path / split, counts)
        (tmp_path / split / "b").mkdir()
    (tmp_path / "test" / "c").mkdir()  # a class all the same
    with pytest.warns(UserWarning, match="no pictures for 'b': left out, and the others are numbered without"):
        assert ImageDataset.from_folder(tmp_path, "test").class_names == ("a", "c", "d")


# --- splits ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("test", ["test", "testing", "val", "valid", "validation"])
@pytest.mark.parametrize("train", ["train", "training"])
def test_folders_of_splits_are_numbered_together(tmp_path: Path, train: str, test: str) -> None:
    classes(tmp_path / train, {"a": 2, "c": 1})
    classes(tmp_path / test, {"b": 1, "c": 2})
    first, second, both = (ImageDataset.from_folder(tmp_path, split) for split in ("train", "test", "all"))
    assert first.class_names == second.class_names == both.class_names == ("a", "b", "c")
    assert first.labels is not None
    assert second.labels is not None
    assert both.labels is not None
    assert (first.labels.tolist(), second.labels.tolist()) == ([0, 0, 2], [1, 2, 2])
    assert both.labels.tolist() == [0, 0, 2, 1, 2, 2]
    assert (first.split, second.split) == ("train", "test")


def test_a_folder_without_splits_gives_a_tenth_of_each_class_to_the_test(tmp_path: Path) -> None:
    classes(tmp_path, {"a": 40, "b": 20, "c": 2, "d": 1})
    train, test = ImageDataset.from_folder(tmp_path, "train"), ImageDataset.from_folder(tmp_path, "test")
    assert test.labels is not None
    assert test.labels.bincount(minlength=4).tolist() == [4, 2, 1, 0]
    assert test.num_classes == train.num_classes == 4
    seen = [{image.numpy().tobytes() for image in part.images} for part in (train, test)]
    assert not seen[0] & seen[1]
    assert seen[0] | seen[1] == {image.numpy().tobytes() for image in ImageDataset.from_folder(tmp_path).images}
    assert torch.equal(ImageDataset.from_folder(tmp_path, "test").images, test.images)


@given(st.lists(st.integers(0, 4), min_size=2, max_size=200))
def test_splits_are_disjoint_and_whole_and_drawn_for_good(labels: list[int]) -> None:
    known = torch.tensor(labels)
    counts = known.bincount()
    if not (counts > 1).any():
        with pytest.raises(DatasetNotFoundError, match="a class with two images"):
            split_rows(known, "test")
        return
    train, test = split_rows(known, "train"), split_rows(known, "test")
    assert sorted([*train.tolist(), *test.tolist()]) == list(range(len(labels)))
    assert train.tolist() == sorted(train.tolist())
    assert torch.equal(test, split_rows(known, "test"))
    for label, n in enumerate(counts.tolist()):
        assert int((known[test] == label).sum()) == (max(round(n / 10), 1) if n > 1 else 0)


def test_the_test_is_not_the_end_of_the_folder() -> None:
    rows = split_rows(torch.zeros(1000, dtype=torch.long), "test")
    assert len(rows) == 100
    assert rows.tolist() != list(range(900, 1000))
    assert 300 < rows.float().mean() < 700


# --- by name --------------------------------------------------------------------------------------------------------


def test_load_dataset_takes_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classes(tmp_path / "birds", {"owl": 10, "tit": 10})
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / "birds", str(tmp_path / "birds"), "birds", "./birds", "birds/"):
        data = load_dataset(path, "test")
        assert (data.name, data.split, len(data)) == ("birds", "test", 2)
    assert load_dataset("birds", image_size=4, channels=3).image_shape == (3, 4, 4)
    (tmp_path / "mnist-mini").mkdir()
    assert len(load_dataset("mnist-mini", "test")) == 2000  # our own


def test_fingerprints_tell_folders_apart(tmp_path: Path) -> None:
    classes(tmp_path / "a", {"x": 3, "y": 3})
    classes(tmp_path / "b", {"y": 3, "x": 3})
    marks = [Batches(ImageDataset.from_folder(tmp_path / name)).fingerprint for name in ("a", "a", "b")]
    assert marks[0] == marks[1] != marks[2]


def test_a_folder_trains_a_model(tmp_path: Path) -> None:
    classes(tmp_path, {"a": 20, "b": 20}, (10, 12, 3))
    train, test = load_dataset(tmp_path, "train"), load_dataset(tmp_path, "test")
    model = get("conditional").model(image_shape=train.image_shape, num_classes=train.num_classes or 1, channels=(4,))
    history = Trainer(epochs=1, batch_size=18, progress=False, device="cpu").fit(model, train, test)
    assert history[0]["loss"] > 0
    assert model.sample(2, y=1).shape == (2, 3, 10, 12)


# --- what is refused ------------------------------------------------------------------------------------------------


def png(width: int, height: int) -> bytes:
    """The head of a PNG file that claims a size."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))


def truncated(root: Path) -> None:
    draw(root / "a.png", noise(0, 30, 30))
    (root / "a.png").write_bytes((root / "a.png").read_bytes()[:-200])


def sixteen_bits(root: Path) -> None:
    Image.fromarray(np.full((4, 4), 40_000, np.uint16)).save(root / "a.png")


def beside(root: Path) -> None:
    classes(root, {"a": 1, "b": 1})
    draw(root / "x.png", noise(0, 6, 5))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            truncated,
            FileFormatError,
            r"a picture \(PNG, .*\) in .*a\.png, got image file is truncated.*: copy it again",
        ),
        (lambda root: (root / "a.png").write_text("text"), FileFormatError, "a.png, got cannot identify image"),
        (lambda root: (root / "a.png").write_bytes(b""), FileFormatError, "a.png, got cannot identify image"),
        (lambda root: Image.new("L", (4, 4)).save(root / "a.png", "PCX"), FileFormatError, "got cannot identify"),
        (sixteen_bits, DataError, r"8 bits a channel, got .*a\.png of 16 bits: convert it"),
        (
            lambda root: (root / "a.png").write_bytes(png(12_000, 12_000)),
            DataError,
            r"of a usual size, got .*a\.png: Im",
        ),
        (
            lambda root: (root / "a.png").write_bytes(png(60_000, 60_000)),
            DataError,
            r"of a usual size, got .*a\.png: Im",
        ),
        (
            lambda root: [draw(root / f"{n}.png", noise(0, n, 5)) for n in (4, 6)],
            DataError,
            r"one size, got .*4\.png of 4 x 5 and .*6\.png of 6 x 5: give image_size=4 \(--image-size 4\)",
        ),
        (
            lambda root: [draw(root / f"{len(c)}.png", noise(0, 5, 5, *c)) for c in ((), (3,))],
            DataError,
            r"all in grey or all in colour, got .*0\.png in grey and .*1\.png in colour: give chan",
        ),
        (beside, DataError, r"in folders of classes, or all in one, got .*x\.png beside folders: move it"),
        (lambda root: None, DatasetNotFoundError, r"pictures \(PNG, .*\) in .*, got no files: give the folder"),
        (lambda root: (root / "a.heic").write_text(""), DatasetNotFoundError, r"pictures .*, got 1 \.heic: .*convert"),
        (lambda root: classes(root / "deep", {"er": 2}), DatasetNotFoundError, "pictures .*, got no files"),
        (
            lambda root: draw(root / "a.png", noise(0, 5, 5)),
            DatasetNotFoundError,
            "two images, to keep one for the test",
        ),
        (
            lambda root: classes(root / "train", {"a": 2}),
            DatasetNotFoundError,
            "a folder 'test' in .*got 'train' alone",
        ),
    ],
    ids=[
        *("truncated", "text", "nothing", "pcx", "16-bit", "large", "very-large", "sizes", "channels", "beside"),
        *("empty", "other-kinds", "deeper", "one-picture", "one-split"),
    ],
)
def test_pictures_that_are_refused(tmp_path: Path, make: Any, error: type[MnistvaeError], message: str) -> None:
    make(tmp_path)
    with pytest.raises(error, match=message):
        load_dataset(tmp_path, "test" if "test" in message else "train")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 0}, r"image_size as a positive integer, or \(height, width\), got 0"),
        ({"image_size": (4, 0)}, "got 0"),
        ({"image_size": (4, 4, 4)}, r"got \(4, 4, 4\)"),
        ({"image_size": "28"}, "got '28'"),
        ({"image_size": 2.5}, "got 2.5"),
        ({"channels": 2}, "channels as 1 for grey or 3 for colour, got 2"),
        ({"channels": "rgb"}, "got 'rgb'"),
        ({"channels": [1]}, r"got \[1\]"),
    ],
)
@pytest.mark.parametrize("name", ["mnist-mini", "folder/"])
def test_sizes_that_make_no_sense_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        load_dataset(name, **options)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", str(tmp_path / "nowhere"), f"{tmp_path}/nowhere/", "~nobody-at-all/x"):
        with pytest.raises(DatasetNotFoundError, match=r"nowhere, got no such folder: check the path|nobody-at-all"):
            load_dataset(path)
    with pytest.raises(DatasetNotFoundError, match=r"the path of a folder, .*, module:NAME, got 'nowhere': check"):
        load_dataset("nowhere")
    for path in (f"{'x' * 400}/", "x" * 400):
        with pytest.raises(DatasetNotFoundError):
            load_dataset(path)
    with pytest.raises(SettingError, match="split as one of 'train', 'test', 'all', got 'validation'"):
        ImageDataset.from_folder(tmp_path, "validation")
    (tmp_path / "a.zip").write_bytes(b"PK")
    with pytest.raises(
        DatasetNotFoundError, match=r"a folder, an archive \.npz or an IDX file, got .*a\.zip: unpack it"
    ):
        load_dataset(tmp_path / "a.zip")


def test_a_set_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    draw(tmp_path / "a.png", noise(0, 5, 5))
    with pytest.raises(DataError, match=r"pictures that fit into memory, got 1 of shape \(1, 2000000000, 2000000000\)"):
        ImageDataset.from_folder(tmp_path, image_size=2_000_000_000)
