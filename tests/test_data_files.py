"""Archives of numpy's and IDX files as data sets: what they may be called, what they hold, what is refused."""

from __future__ import annotations

import gzip
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mnistvae import ImageDataset, load_dataset
from mnistvae.data import read_idx, read_npz, split_rows
from mnistvae.errors import DataError, DatasetNotFoundError, FileFormatError, MnistvaeError, SettingError


def noise(seed: int, *shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


TRAIN, TEST = noise(0, 30, 6, 5), noise(1, 8, 6, 5)
TRAIN_LABELS, TEST_LABELS = np.arange(30) % 3, np.arange(8) % 3


# --- npz ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "labels"),
    [("x_{}", "y_{}"), ("X_{}", "y_{}"), ("{}_images", "{}_labels"), ("images_{}", "labels_{}"), ("{}_x", "{}_y")],
)
def test_archives_with_splits(tmp_path: Path, images: str, labels: str) -> None:
    path = tmp_path / "letters.npz"
    arrays = {images.format("train"): TRAIN, images.format("test"): TEST, "val_images_of_something": TEST}
    arrays |= {labels.format("train"): TRAIN_LABELS, labels.format("test"): TEST_LABELS[:, None]}
    np.savez(path, **arrays)
    for split, x, y in (("train", TRAIN, TRAIN_LABELS), ("test", TEST, TEST_LABELS)):
        data = load_dataset(path, split)  # type: ignore[arg-type]
        assert torch.equal(data.images[:, 0], torch.from_numpy(x))
        assert data.labels is not None
        assert data.labels.tolist() == y.tolist()
        assert (data.name, data.split) == ("letters", split)
    whole = read_npz(path)
    assert torch.equal(whole.images[:, 0], torch.from_numpy(np.concatenate([TRAIN, TEST])))
    assert len(whole) == 38


@pytest.mark.parametrize("names", [("images", "labels"), ("x", "y"), ("data", "target"), ("data", "targets"), None])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_archives_in_one_piece_are_split(tmp_path: Path, names: tuple[str, str] | None, save: Any) -> None:
    path = tmp_path / "a.npz"
    if names is None:
        save(path, TRAIN, TRAIN_LABELS)
    else:
        save(path, **dict(zip(names, (TRAIN, TRAIN_LABELS), strict=True)))
    labels = torch.from_numpy(TRAIN_LABELS)
    for split, n in (("train", 27), ("test", 3)):
        data = load_dataset(str(path), split)  # type: ignore[arg-type]
        assert len(data) == n
        rows = split_rows(labels, split)
        assert torch.equal(data.images[:, 0], torch.from_numpy(TRAIN)[rows])
        assert data.labels is not None
        assert torch.equal(data.labels, labels[rows])
    assert len(read_npz(path)) == 30


@pytest.mark.parametrize("name", ["pictures", "images", "arr_0", "x"])
def test_a_single_array_has_no_labels(tmp_path: Path, name: str) -> None:
    np.savez(tmp_path / "a.npz", **{name: TRAIN})
    data = read_npz(tmp_path / "a.npz")
    assert torch.equal(data.images[:, 0], torch.from_numpy(TRAIN))
    assert data.labels is None
    np.save(tmp_path / "b.npy", TRAIN)
    assert torch.equal(load_dataset(tmp_path / "b.npy").images, load_dataset(tmp_path / "a.npz").images)


def test_colour_may_come_last(tmp_path: Path) -> None:
    colours = noise(2, 20, 6, 5, 3)
    np.savez(tmp_path / "last.npz", images=colours)
    np.savez(tmp_path / "first.npz", images=np.moveaxis(colours, -1, 1))
    np.savez(tmp_path / "grey.npz", images=TRAIN[..., None])
    last, first = read_npz(tmp_path / "last.npz"), read_npz(tmp_path / "first.npz")
    assert torch.equal(last.images, torch.from_numpy(colours).permute(0, 3, 1, 2))
    assert torch.equal(last.images, first.images)
    assert read_npz(tmp_path / "grey.npz").image_shape == (1, 6, 5)
    assert load_dataset(tmp_path / "last.npz", image_size=8, channels=1).image_shape == (1, 8, 8)


def test_floats_are_grey_levels(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=TRAIN / 255)
    assert torch.equal(read_npz(tmp_path / "a.npz").images[:, 0], torch.from_numpy(TRAIN))


def test_the_scale_of_an_archive(tmp_path: Path) -> None:
    levels = np.arange(0, 4096, 64, dtype=np.uint16).reshape(16, 2, 2)
    levels[0, 0, 0] = 4095
    path = tmp_path / "twelve.npz"
    np.savez(path, images=levels)
    with pytest.raises(DataError, match=r"give the value that is white: max_value=4095 \(--max-value 4095\)"):
        read_npz(path)
    expected = ImageDataset(levels, max_value=4095).images
    assert torch.equal(read_npz(path, max_value=4095).images, expected)
    training = load_dataset(path, "train", max_value=4095)
    assert torch.equal(training.images, read_npz(path, "train", max_value=4095).images)
    with pytest.raises(SettingError, match="max_value as a finite number above 0"):
        read_npz(path, max_value=0)
    for other in ("mnist-mini", str(tmp_path)):
        with pytest.raises(SettingError, match=r"max_value with arrays alone \(.*\), got 16 with"):
            load_dataset(other, "train", max_value=16)


def test_the_scale_of_idx_files(tmp_path: Path) -> None:
    mask = np.arange(1200, dtype=np.uint8).reshape(12, 10, 10) % 2
    path = tmp_path / "masks-images-idx3-ubyte"
    path.write_bytes(struct.pack(">I3I", 0x803, *mask.shape) + mask.tobytes())
    with pytest.raises(
        DataError, match=r"got a maximum of 1: give the value that is white: max_value=1 \(--max-value 1\)"
    ):
        load_dataset(path)
    assert torch.equal(load_dataset(path, "test", max_value=1).images, read_idx(path, "test", max_value=1).images)
    assert set(read_idx(path, max_value=1).images.unique().tolist()) == {0, 255}


class Bomb:
    """What would leave a file, were it unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("suffix", ["npz", "npy"])
def test_nothing_is_unpickled(tmp_path: Path, suffix: str) -> None:
    path, mark = tmp_path / f"a.{suffix}", tmp_path / "unpickled"
    bomb = np.array([Bomb(mark)], object)
    np.savez(path, images=bomb) if suffix == "npz" else np.save(path, bomb)
    with pytest.raises(FileFormatError, match=r"images in .*a\.np., got Python objects, which are not read"):
        read_npz(path)
    path.write_bytes(pickle.dumps(Bomb(mark)))
    with pytest.raises(FileFormatError, match="got Python objects, which are not read"):
        read_npz(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("arrays", "error", "message"),
    [
        (
            {"a": TRAIN, "b": TRAIN_LABELS},
            DataError,
            r"x_test and y_test, or images and labels in .*a\.npz, got a \(30, 6, 5\), b",
        ),
        ({"images": TRAIN, "x": TRAIN}, DataError, r"got images \(30, 6, 5\), x \(30, 6, 5\): write it anew"),
        ({"images": TRAIN, "x_train": TRAIN}, DataError, "or images and labels in"),
        ({"x_train": TRAIN, "train_images": TRAIN}, DataError, "or images and labels in"),
        ({"labels": TRAIN_LABELS, "pictures": TRAIN}, DataError, "or images and labels in"),
        ({}, DataError, "got none"),
        ({"x_train": TRAIN}, DatasetNotFoundError, r"a split 'test' in .*a\.npz, got train alone"),
        (
            {"images": TRAIN, "labels": TEST_LABELS},
            DataError,
            r"one label for each of 30 .* in .*a\.npz, got shape \(8,\)",
        ),
        ({"images": TRAIN, "labels": 1 - np.eye(30)}, DataError, r"labels as integers in .*a\.npz"),
        (
            {"images": TRAIN.astype(np.int64) * 16},
            DataError,
            r"floats in \[0, 1\] or as uint8 in .*a\.npz, got dtype torch.int64 from 0 to 4080: .*max_value=4095",
        ),
        ({"images": TRAIN.astype(float)}, DataError, r"images in \[0, 1\] in .*a\.npz, got a maximum of 255.0: give"),
        ({"images": TRAIN[0]}, DataError, r"\(N, C, H, W\) or \(N, H, W\) in .*a\.npz, got shape \(6, 5\)"),
        ({"images": np.zeros((0, 5, 5))}, DataError, r"at least one image.* in .*a\.npz"),
        ({"images": np.array(["a", "b"])}, DataError, r"in .*a\.npz, got .*<U1"),
    ],
    ids=str,
)
def test_archives_that_are_refused(
    tmp_path: Path, arrays: dict[str, Any], error: type[MnistvaeError], message: str
) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(error, match=message):
        load_dataset(tmp_path / "a.npz", "test")


def test_what_is_no_archive_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_text("pixel0,pixel1")
    with pytest.raises(FileFormatError, match=r"got one that begins with b'pixe', which is no \.npz or \.npy file"):
        load_dataset(tmp_path / "a.npz")


def test_labels_that_are_objects_are_called_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=TRAIN, labels=np.array(["cat"] * 30, object))
    with pytest.raises(FileFormatError, match=r"expected labels in .*a\.npz, got Python objects, which are not read"):
        load_dataset(tmp_path / "a.npz")


def test_damaged_archives_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, images=TRAIN)
    whole = path.read_bytes()
    for content in (b"", b"text", whole[:100], whole[:-30], whole[:60] + bytes(40) + whole[100:]):
        path.write_bytes(content)
        with pytest.raises(FileFormatError, match=r"images in .*a\.npz, got .*: copy it again"):
            read_npz(path)
    with pytest.raises(DatasetNotFoundError, match=r"a file or folder .*b\.npz, got no such file"):
        load_dataset(str(tmp_path / "b.npz"))
    with pytest.raises(SettingError, match="split as one of 'train', 'test', 'all', got 'validation'"):
        read_npz(path, "validation")


# --- idx ------------------------------------------------------------------------------------------------------------

FILES = {
    "train-images-idx3-ubyte": TRAIN,
    "train-labels-idx1-ubyte": TRAIN_LABELS,
    "t10k-images-idx3-ubyte": TEST,
    "t10k-labels-idx1-ubyte": TEST_LABELS,
}


def idx(array: np.ndarray[Any, Any]) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def write(folder: Path, form: str = "{}", only: str = "") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in FILES.items():
        if only in name:
            file = folder / form.format(name)
            file.write_bytes(gzip.compress(idx(array)) if file.suffix == ".gz" else idx(array))


def check(data: Any, images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> None:
    assert torch.equal(data.images[:, 0], torch.from_numpy(images))
    assert data.labels.tolist() == labels.tolist()


@pytest.mark.parametrize("form", ["{}", "{}.gz", "emnist-digits-{}.gz"])
@pytest.mark.parametrize("place", ["", "raw", "MNIST/raw"])
def test_idx_files_are_found_in_a_folder(tmp_path: Path, place: str, form: str) -> None:
    write(tmp_path / "mine" / place, form)
    check(load_dataset(tmp_path / "mine", "train"), TRAIN, TRAIN_LABELS)
    check(load_dataset(tmp_path / "mine" / place, "test"), TEST, TEST_LABELS)
    data = read_idx(tmp_path / "mine")
    check(data, np.concatenate([TRAIN, TEST]), np.concatenate([TRAIN_LABELS, TEST_LABELS]))
    assert (data.name, data.split) == ("mine", "all")


def test_a_dot_in_the_name_and_both_kinds_of_files(tmp_path: Path) -> None:
    write(tmp_path)
    for file in list(tmp_path.iterdir()):
        file.rename(tmp_path / file.name.replace("-idx", ".idx").replace("t10k", "test"))
    (tmp_path / "train-images.idx3-ubyte.gz").write_bytes(b"a download that was cut off")
    check(load_dataset(tmp_path, "train"), TRAIN, TRAIN_LABELS)
    check(load_dataset(tmp_path, "test"), TEST, TEST_LABELS)


def test_a_single_pair_is_its_split_or_is_split(tmp_path: Path) -> None:
    write(tmp_path / "a", only="t10k")
    check(load_dataset(tmp_path / "a", "test"), TEST, TEST_LABELS)
    with pytest.raises(DatasetNotFoundError, match=r"a split 'train' in .*got test alone: give the path of the images"):
        load_dataset(tmp_path / "a", "train")
    file = tmp_path / "a" / "t10k-images-idx3-ubyte"
    train, test = load_dataset(file, "train"), load_dataset(file, "test")
    assert (len(train), len(test), train.name) == (5, 3, "t10k-images-idx3-ubyte")
    check(read_idx(file), TEST, TEST_LABELS)
    write(tmp_path / "b", "mine-{}", only="train-images")
    assert load_dataset(tmp_path / "b").labels is None


def test_two_sets_in_one_folder_are_not_guessed(tmp_path: Path) -> None:
    write(tmp_path, "emnist-digits-{}")
    write(tmp_path, "emnist-letters-{}")
    with pytest.raises(DataError, match=r"the files of one data set in .*emnist-letters-train-images.*give the path"):
        load_dataset(tmp_path)
    for folder in ("MNIST", "KMNIST"):
        write(tmp_path / "root" / folder / "raw")
    with pytest.raises(DataError, match="the files of one data set"):
        load_dataset(tmp_path / "root")
    check(load_dataset(tmp_path / "root" / "KMNIST"), TRAIN, TRAIN_LABELS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an IDX file of bytes in .*, got one that begins with b''"),
        (b"<html>", "got one that begins with b'<htm'"),
        (idx(TRAIN)[:3] + b"\x09", "begins with"),
        (b"\0\0\x0d\x03" + idx(TRAIN)[4:], "begins with"),
        (idx(TRAIN)[:10], "begins with"),
        (idx(TRAIN)[:-1], r"900 bytes in .*train-images.*, of shape \(30, 6, 5\), got 899: it is cut short: copy it"),
        (idx(TRAIN) + b"\0", "900 bytes in .*, got more"),
        (struct.pack(">HBB3I", 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1), "images in .*, got "),
        (struct.pack(">HBB3I", 0, 8, 3, 2**31, 2**31, 1), "images in .*, got "),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_idx_files_that_are_refused(tmp_path: Path, content: bytes, message: str, packed: bool) -> None:
    write(tmp_path)
    if packed:
        (tmp_path / "train-images-idx3-ubyte").unlink()
        (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(content))
    else:
        (tmp_path / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(FileFormatError, match=message):
        load_dataset(tmp_path)


def test_other_idx_errors(tmp_path: Path) -> None:
    write(tmp_path, "{}.gz", only="train")
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(b"no gzip")
    with pytest.raises(FileFormatError, match="Not a gzipped file"):
        load_dataset(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(TEST))
    with pytest.raises(DataError, match=r"one label for each of 8 images, shape \(8,\) in .*got shape \(30,\)"):
        load_dataset(tmp_path)
    with pytest.raises(DatasetNotFoundError, match=r"files such as train-images-idx3-ubyte in .*, got none"):
        read_idx(tmp_path / "..")
    for file in tmp_path.glob("*images*"):
        file.unlink()
    with pytest.raises(DatasetNotFoundError, match="files such as train-images-idx3-ubyte"):
        load_dataset(tmp_path)
