"""Data sets by name: the digits in the package, and torchvision's sets."""

from __future__ import annotations

import gzip
import importlib.util
import struct
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor

from mnistvae.data import dataset_names, default_root, load_dataset, sources
from mnistvae.data.papers import PAPERS
from mnistvae.errors import DataError, DatasetNotFoundError, FileFormatError, SettingError

ROOT = Path(__file__).parents[1]


# --- mnist-mini -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("split", "per_class"), [("train", 1000), ("test", 200)])
def test_mnist_mini_is_balanced(split: Any, per_class: int) -> None:
    data = load_dataset("mnist-mini", split)
    assert data.images.shape == (10 * per_class, 1, 28, 28)
    assert data.images.dtype is torch.uint8
    assert data.labels is not None
    assert data.labels.dtype is torch.int64
    assert torch.bincount(data.labels).tolist() == [per_class] * 10
    assert (data.name, data.split, data.binarization) == ("mnist-mini", split, "none")
    flat = data.images.flatten(1)
    assert flat.max() == 255
    assert flat.min() == 0
    assert (flat.amax(1) > 100).all()  # no empty image
    assert 0.1 < flat.float().mean() / 255 < 0.16  # MNIST's own mean is 0.13


def test_mnist_mini_has_no_image_twice() -> None:
    images = torch.cat([load_dataset("mnist-mini", split).images for split in ("train", "test")])
    assert len({image.numpy().tobytes() for image in images}) == 12_000


def test_mnist_mini_is_small_and_comes_with_its_licence() -> None:
    folder = files("mnistvae.data")
    assert len(folder.joinpath("mnist_mini.npz").read_bytes()) < 2_200_000
    licence = folder.joinpath("mnist_mini.LICENSE.txt").read_text(encoding="utf-8")
    assert "CC BY-SA 3.0" in licence
    assert "LeCun" in licence


def test_damaged_digits_of_the_package_are_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = files("mnistvae.data").joinpath("mnist_mini.npz").read_bytes()
    monkeypatch.setattr(sources, "files", lambda package: tmp_path)
    for content in (whole[:-50], whole[: len(whole) // 2], b"", b"PK" + bytes(100)):
        (tmp_path / "mnist_mini.npz").write_bytes(content)
        with pytest.raises(
            FileFormatError, match=r"digits that ship with the package, got .*: install the package again"
        ):
            load_dataset("mnist-mini")


def test_the_default_split_is_the_training_set() -> None:
    assert len(load_dataset("mnist-mini")) == 10_000


def test_mnist_mini_needs_no_folder(tmp_path: Path) -> None:
    data = load_dataset("mnist-mini", "test", tmp_path / "nowhere", download=False)
    assert len(data) == 2_000
    assert list(tmp_path.iterdir()) == []


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_mnist_mini", ROOT / "scripts" / "make_mnist_mini.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("split", ["train", "test"])
def test_mnist_mini_holds_mnists_own_digits(mnist_root: Path, split: Any) -> None:
    whole = load_dataset("mnist", split, mnist_root, download=False)
    assert whole.labels is not None
    pairs = zip(whole.images.numpy(), whole.labels.tolist(), strict=True)
    known = {(image.tobytes(), label) for image, label in pairs}
    mini = load_dataset("mnist-mini", split)
    assert mini.labels is not None
    pairs = zip(mini.images.numpy(), mini.labels.tolist(), strict=True)
    assert all((image.tobytes(), label) in known for image, label in pairs)


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_script_draws_the_same_digits_again(mnist_root: Path, split: Any) -> None:
    drawn = _script().draw(mnist_root, split)
    with files("mnistvae.data").joinpath("mnist_mini.npz").open("rb") as stream, np.load(stream) as shipped:
        assert set(drawn) == {f"{split}_images", f"{split}_labels"}
        for name, array in drawn.items():
            assert array.dtype == shipped[name].dtype == np.uint8
            assert np.array_equal(array, shipped[name])


@pytest.mark.parametrize(("split", "n"), [("train", 60_000), ("test", 10_000)])
def test_the_whole_mnist(mnist_root: Path, split: Any, n: int) -> None:
    data = load_dataset("mnist", split, mnist_root, download=False)
    assert data.images.shape == (n, 1, 28, 28)
    assert data.num_classes == 10
    assert (data.name, data.split) == ("mnist", split)


# --- torchvision's layout -------------------------------------------------------------------------------------------


def write_idx(path: Path, array: np.ndarray[Any, Any]) -> None:
    """An uncompressed IDX file of bytes, as Yann LeCun's page describes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


def write_set(root: Path, folder: str) -> dict[str, tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    """A tiny set of both splits in torchvision's layout."""
    rng = np.random.default_rng(0)
    made = {}
    for split, prefix, n in (("train", "train", 7), ("test", "t10k", 3)):
        images = rng.integers(0, 256, (n, 28, 28), np.uint8)
        labels = np.arange(n, dtype=np.uint8)
        write_idx(root / folder / "raw" / f"{prefix}-images-idx3-ubyte", images)
        write_idx(root / folder / "raw" / f"{prefix}-labels-idx1-ubyte", labels)
        made[split] = (images, labels)
    return made


@pytest.mark.parametrize(
    ("name", "folder"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST"), ("kmnist", "KMNIST")]
)
@pytest.mark.parametrize("split", ["train", "test"])
def test_idx_files_in_torchvisions_layout(tmp_path: Path, name: str, folder: str, split: Any) -> None:
    images, labels = write_set(tmp_path, folder)[split]
    data = load_dataset(name, split, tmp_path, download=False)
    assert torch.equal(data.images, torch.from_numpy(images)[:, None])
    assert data.labels is not None
    assert data.labels.dtype is torch.int64
    assert data.labels.tolist() == labels.tolist()
    assert (data.name, data.split) == (name, split)


def test_a_set_that_is_there_is_not_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_set(tmp_path, "MNIST")
    monkeypatch.setattr(torchvision.datasets.mnist, "download_and_extract_archive", _no_network)
    assert len(load_dataset("mnist", "test", str(tmp_path))) == 3


def test_the_root_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_set(tmp_path, "MNIST")
    monkeypatch.setenv("MNISTVAE_DATA", str(tmp_path))
    assert len(load_dataset("mnist", "train", download=False)) == 7


class FakeSet:
    """The interface of torchvision's EMNIST and QMNIST, without files."""

    calls: list[dict[str, Any]]
    data: Tensor
    targets: Tensor

    def __init__(self, root: str, **arguments: Any) -> None:
        self.calls.append({"root": root, **arguments})


def _fake(data: Tensor, targets: Tensor) -> type[FakeSet]:
    return type("Fake", (FakeSet,), {"data": data, "targets": targets, "calls": []})


@pytest.mark.parametrize(
    ("kind", "targets", "expected"),
    [
        ("letters", [1, 26, 13], [0, 25, 12]),
        ("balanced", [0, 46, 13], [0, 46, 13]),
        ("byclass", [0, 61, 13], [0, 61, 13]),
        ("bymerge", [0, 46, 13], [0, 46, 13]),
        ("digits", [0, 9, 5], [0, 9, 5]),
        ("mnist", [0, 9, 5], [0, 9, 5]),
    ],
)
def test_emnist_is_turned_upright_and_numbered_from_zero(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, targets: list[int], expected: list[int]
) -> None:
    upright = torch.randint(0, 256, (3, 28, 28), dtype=torch.uint8)
    fake = _fake(upright.transpose(1, 2), torch.tensor(targets))
    monkeypatch.setattr(torchvision.datasets, "EMNIST", fake)
    data = load_dataset(f"emnist-{kind}", "test", tmp_path, download=False)
    assert torch.equal(data.images[:, 0], upright)
    assert data.labels is not None
    assert data.labels.tolist() == expected
    assert data.name == f"emnist-{kind}"
    assert fake.calls == [{"root": str(tmp_path), "split": kind, "train": False, "download": False}]


@pytest.mark.parametrize("targets", [torch.tensor([[5, 0, 99], [3, 1, 98]]), torch.tensor([5, 3])], ids=["all", "one"])
def test_qmnist_keeps_the_digit_of_its_targets(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, targets: Tensor
) -> None:
    fake = _fake(torch.zeros(2, 28, 28, dtype=torch.uint8), targets)
    monkeypatch.setattr(torchvision.datasets, "QMNIST", fake)
    data = load_dataset("qmnist", "train", tmp_path, download=False)
    assert data.labels is not None
    assert data.labels.tolist() == [5, 3]
    assert fake.calls == [{"root": str(tmp_path), "train": True, "download": False}]


def test_sets_have_the_names_of_their_classes(tmp_path: Path) -> None:
    for name, folder, first in (("fashion-mnist", "FashionMNIST", "T-shirt/top"), ("kmnist", "KMNIST", "o")):
        write_set(tmp_path, folder)
        for split in ("train", "test"):
            data = load_dataset(name, split, tmp_path, download=False)  # type: ignore[arg-type]
            assert data.class_names is not None
            assert (data.num_classes, data.class_names[0]) == (10, first)


def test_a_label_that_the_set_does_not_have_is_a_damaged_file(tmp_path: Path) -> None:
    write_set(tmp_path, "MNIST")
    file = tmp_path / "MNIST" / "raw" / "t10k-labels-idx1-ubyte"
    content = bytearray(file.read_bytes())
    content[-1] ^= 128  # one bit
    file.write_bytes(bytes(content))
    with pytest.raises(FileFormatError, match=r"labels from 0 to 9 in mnist under .*, got a label 130: .* damaged"):
        load_dataset("mnist", "test", tmp_path, download=False)
    assert load_dataset("mnist", "train", tmp_path, download=False).num_classes == 7


@pytest.mark.parametrize("form", [".gz", "dot"])
def test_compressed_files_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    images, labels = write_set(tmp_path, "MNIST")["test"]
    monkeypatch.setattr(torchvision.datasets.mnist, "download_and_extract_archive", _no_network)
    for file in list((tmp_path / "MNIST" / "raw").iterdir()):
        if form == ".gz":
            file.with_name(file.name + ".gz").write_bytes(gzip.compress(file.read_bytes()))
            file.unlink()
        else:
            file.rename(file.with_name(file.name.replace("-idx", ".idx")))
    data = load_dataset("mnist", "test", tmp_path)
    assert torch.equal(data.images, torch.from_numpy(images)[:, None])
    assert data.labels is not None
    assert data.labels.tolist() == labels.tolist()


def test_files_are_read_without_torchvision(tmp_path: Path) -> None:
    write_set(tmp_path, "MNIST")
    code = (
        "import sys, mnistvae as mv\n"
        f"print(len(mv.load_dataset('mnist', 'test', {str(tmp_path)!r})), 'torchvision' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.split() == ["3", "False"]


def test_a_split_without_its_files_is_not_made_of_the_other(tmp_path: Path) -> None:
    write_set(tmp_path, "MNIST")
    for file in (tmp_path / "MNIST" / "raw").glob("train*"):
        file.unlink()
    assert len(load_dataset("mnist", "test", tmp_path, download=False)) == 3
    with pytest.raises(DatasetNotFoundError, match=r"no readable copy.*put the files .* into MNIST.raw under `root`"):
        load_dataset("mnist", "train", tmp_path, download=False)


@pytest.mark.parametrize(("size", "shape"), [(32, (1, 32, 32)), ((14, 20), (1, 14, 20))])
def test_any_set_can_be_resized(size: Any, shape: tuple[int, int, int]) -> None:
    data = load_dataset("mnist-mini", "test", image_size=size)
    assert data.image_shape == shape
    assert data.labels is not None
    assert (len(data), data.name, len(data.labels)) == (2000, "mnist-mini", 2000)


# --- functions of other modules -------------------------------------------------------------------------------------

MODULE = """
import numpy as np
from mnistvae import ImageDataset

def digits(split):
    return np.full((5, 4, 4), 7, np.uint8)

def named(split):
    images, labels = np.zeros((5, 4, 4), np.uint8), np.arange(5)
    return ImageDataset(images, labels, name="mine", split=split, class_names=list("abcde"))

def nothing():
    return None

def pair(split):
    return np.zeros((5, 4, 4), np.uint8), np.arange(5)

def fails(split):
    raise OSError("no such disk")

NUMBER = 3
"""


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path with the one file that a new data set takes."""
    (tmp_path / "outside_data.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "outside_data", raising=False)
    return tmp_path


def test_a_function_of_another_module_is_a_data_set(outside: Path) -> None:
    data = load_dataset("outside_data:digits", "test")
    assert (len(data), data.image_shape, data.name, data.split) == (5, (1, 4, 4), "digits", "test")
    named = load_dataset("outside_data:named", "train", image_size=8, channels=3)
    assert (named.name, named.split, named.image_shape) == ("mine", "train", (3, 8, 8))
    assert named.class_names == tuple("abcde")


def test_a_function_of_an_installed_package_has_a_name(outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = outside / "others-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[mnistvae.datasets]\nsevens = outside_data:digits\n")
    assert load_dataset("sevens").name == "sevens"
    with pytest.raises(
        DatasetNotFoundError, match=r"omniglot-28, sevens, the path .*got 'seven': .*closest is 'sevens'"
    ):
        load_dataset("seven")


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        (
            "outside_data:nothing",
            SettingError,
            "outside_data:nothing as a function of the split, 'train' or 'test', got",
        ),
        ("outside_data:NUMBER", SettingError, "as a data set: a function, got an int"),
        ("outside_data:digit", SettingError, "got no attribute 'digit': check the spelling; the closest is 'digits'"),
        ("outside_dat:digits", SettingError, "got no module named 'outside_dat'"),
        ("outside_data:pair", DataError, r"an ImageDataset, got a tuple of two"),
        ("outside_data:fails", OSError, "^no such disk$"),
        (None, DatasetNotFoundError, "a data set: mnist-mini, .*got None"),
        (3, DatasetNotFoundError, "got 3"),
        ("", DatasetNotFoundError, "got ''"),
    ],
)
def test_what_is_no_data_set_is_one_clear_error(outside: Path, name: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        load_dataset(name)


# --- what is not there ----------------------------------------------------------------------------------------------


def _no_network(*args: Any, **kwargs: Any) -> None:
    raise URLError("Name or service not known")


def test_every_name_is_known_and_no_other(tmp_path: Path) -> None:
    names = dataset_names()
    assert names[0] == "mnist-mini"
    assert len(names) == len(set(names)) == 15
    with pytest.raises(
        DatasetNotFoundError, match=r"mnist-mini, mnist, fashion-mnist.*got 'minst': check the spelling"
    ):
        load_dataset("minst", "train", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["mnist-mini", "mnist"])
def test_an_unknown_split_is_refused(name: str) -> None:
    with pytest.raises(SettingError, match="split as one of 'train', 'test', got 'validation'"):
        load_dataset(name, "validation")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [name for name in dataset_names() if name not in {"mnist-mini", "shapes", *PAPERS}])
def test_a_missing_set_is_one_clear_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(DatasetNotFoundError) as caught:
        load_dataset(name, "train", tmp_path, download=False)
    message = str(caught.value)
    assert f"the data set '{name.removesuffix('-50k')}' under {tmp_path}" in message
    assert "download=False" in message
    assert "mnist-mini" in message
    assert "`root`" in message
    assert "\n" not in message
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


@pytest.mark.parametrize(
    "error", [URLError("Name or service not known"), TimeoutError("timed out"), OSError(28, "full")]
)
def test_a_download_that_fails_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise error

    monkeypatch.setattr(torchvision.datasets.mnist, "download_and_extract_archive", fail)
    with pytest.raises(DatasetNotFoundError) as caught:
        load_dataset("mnist", "test", tmp_path)
    message = str(caught.value)
    assert "'mnist'" in message
    assert "the download failed" in message
    assert "mnist-mini" in message
    assert "`root`" in message
    assert "\n" not in message
    assert capsys.readouterr() == ("", "")


def test_a_truncated_file_is_no_readable_copy(tmp_path: Path) -> None:
    write_set(tmp_path, "MNIST")
    labels = tmp_path / "MNIST" / "raw" / "train-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:-2])
    images = tmp_path / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:-2])
    for split in ("train", "test"):
        with pytest.raises(DatasetNotFoundError, match="no readable copy"):
            load_dataset("mnist", split, tmp_path, download=False)


@pytest.mark.parametrize("content", [b"", b"<html>Not found</html>"], ids=["empty", "html"])
def test_a_file_of_something_else_is_no_readable_copy(tmp_path: Path, content: bytes) -> None:
    write_set(tmp_path, "FashionMNIST")
    (tmp_path / "FashionMNIST" / "raw" / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(DatasetNotFoundError, match="no readable copy"):
        load_dataset("fashion-mnist", "train", tmp_path, download=False)


# --- default_root ---------------------------------------------------------------------------------------------------


def test_default_root_honours_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.setenv("MNISTVAE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert default_root() == tmp_path / "data"
    monkeypatch.delenv("MNISTVAE_DATA")
    assert default_root() == tmp_path / "cache" / "mnistvae"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert default_root() == tmp_path / "home" / ".cache" / "mnistvae"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_root() == tmp_path / "home" / ".cache" / "mnistvae"
    assert not (tmp_path / "home").exists()
