"""The pixels that papers compare on: Larochelle's files, OMNIGLOT's, and MNIST split as papers have it."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.io import savemat

import mnistvae as mv
from mnistvae import commands
from mnistvae.commands.folder import read_record
from mnistvae.commands.provenance import Provenance
from mnistvae.data import ImageDataset, dataset_names, load_dataset, papers, resized
from mnistvae.errors import DataError, DatasetNotFoundError, FileFormatError, SettingError
from mnistvae.io import read
from mnistvae.metrics import compare, evaluate
from mnistvae.view import View

SPLITS = {"train": ("train", 30), "validation": ("valid", 12), "test": ("test", 20)}
LINE = b" ".join([b"0", b"1"] * 392)


def bits(n: int, seed: int = 0) -> NDArray[np.uint8]:
    """Images of 0 and 1, none of which is its own mirror image."""
    return np.random.default_rng(seed).integers(0, 2, (n, 28, 28), np.uint8)


def amat(images: NDArray[np.uint8], end: str = "\n") -> bytes:
    return "".join(" ".join(map(str, image.ravel().tolist())) + end for image in images).encode()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def larochelle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, NDArray[np.uint8]]]:
    """Small files in the place of the published ones, under tmp_path/data, which is the folder of data sets."""
    folder = tmp_path / "data" / "binarized_mnist"
    folder.mkdir(parents=True)
    monkeypatch.setenv("MNISTVAE_DATA", str(tmp_path / "data"))
    made = {}
    for seed, (split, (word, n)) in enumerate(SPLITS.items()):
        made[split] = bits(n, seed)
        file = folder / f"binarized_mnist_{word}.amat"
        file.write_bytes(amat(made[split]))
        monkeypatch.setitem(papers._DIGESTS, file.name, sha256(file.read_bytes()))
    return made


def load(split: Any = "train", name: str = "mnist-larochelle", **how: Any) -> ImageDataset:
    return load_dataset(name, split, **how)


# --- Larochelle's files ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", SPLITS)
def test_larochelles_pixels(larochelle: dict[str, NDArray[np.uint8]], split: str) -> None:
    data = load(split)
    assert data.images.dtype is torch.uint8
    assert torch.equal(data.images[:, 0], torch.from_numpy(larochelle[split] * 255))
    assert (data.name, data.split, data.binarization, data.labels) == ("mnist-larochelle", split, "larochelle", None)
    assert data[3:7].binarization == "larochelle"
    assert mv.VAE(2).tag(data.binarization) == "binarized-larochelle"


@given(st.integers(1, 4), st.integers(0, 99), st.sampled_from(["\n", "\r\n", " \n"]), st.booleans())
def test_any_number_of_lines(n: int, seed: int, end: str, last: bool) -> None:
    images = bits(n, seed)
    content = amat(images, end)
    with TemporaryDirectory() as folder:
        path = Path(folder, "some.amat")
        path.write_bytes(content if last else content.rstrip())
        assert torch.equal(papers.read_amat(path).images[:, 0] // 255, torch.from_numpy(images))


@pytest.mark.parametrize(
    ("line", "got"),
    [
        (LINE[:-2], "783 values"),
        (LINE + b" 1", "785 values"),
        (LINE[:-1] + b"2", "'2' among them"),
        (LINE[:-1] + b"\xff", r"'\\xff' among them"),
        (LINE.replace(b" 1 0", b" 1.0 0", 1), "'1.0' among them"),
        (LINE.replace(b" ", b"\t"), "other marks between them"),
        (LINE.replace(b" ", b"  "), "other marks between them"),
        (b"01" * 392, f"'{'01' * 10}' among them"),
        (b"01" * 784, f"'{'01' * 10}' among them"),
        (b"", "0 values"),
        (b"0 " * 10_000, "a line of 3,136 characters or more"),
    ],
)
def test_a_line_that_is_no_image_is_named(tmp_path: Path, line: bytes, got: str) -> None:
    path = tmp_path / "some.amat"
    path.write_bytes(LINE + b"\n" + line + b"\n" + LINE + b"\n")
    with pytest.raises(FileFormatError, match=rf"784 values, 0 or 1, .* in line 2 of {path}, got {got}: copy"):
        papers.read_amat(path)


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "some.amat").write_bytes(b"")
    with pytest.raises(FileFormatError, match=r"some.amat, got an empty file"):
        papers.read_amat(tmp_path / "some.amat")
    with pytest.raises(DatasetNotFoundError, match=r"other.amat, got no such file"):
        papers.read_amat(tmp_path / "other.amat")


def test_files_may_lie_in_the_root_itself(larochelle: dict[str, NDArray[np.uint8]], tmp_path: Path) -> None:
    folder = tmp_path / "data" / "binarized_mnist"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(load("test", root=folder)) == len(load("test", root=str(tmp_path / "data"))) == 20


# --- OMNIGLOT -------------------------------------------------------------------------------------------------------


def omniglot(path: Path, monkeypatch: pytest.MonkeyPatch | None = None, **how: Any) -> dict[str, Any]:
    """A small file as MATLAB would write it, and what is in it: images (N, 28, 28) in [0, 1] and alphabets."""
    rng = np.random.default_rng(1)
    made, arrays = {}, {}
    for split, prefix, n in (("train", "", 9), ("test", "test", 5)):
        images, alphabets = rng.random((n, 28, 28)), np.arange(n) % 4
        arrays[f"{prefix}data"] = np.stack([image.ravel(order="F") for image in images], axis=1)
        arrays[f"{prefix}target"] = np.eye(4)[alphabets].T
        arrays[f"{prefix}targetchar"] = np.arange(n, dtype=float)[None]
        made[split] = images, alphabets
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, arrays, **how)
    if monkeypatch is not None:
        head = f"blob {path.stat().st_size}\0".encode()
        monkeypatch.setitem(papers._DIGESTS, "chardata.mat", hashlib.sha1(head + path.read_bytes()).hexdigest())  # noqa: S324 (git's)
    return made


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("folder", ["OMNIGLOT", "."])
def test_omniglot_stands_upright(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, compressed: bool
) -> None:
    made = omniglot(tmp_path / folder / "chardata.mat", monkeypatch, do_compression=compressed)
    for split, (images, alphabets) in made.items():
        data = load(split, "omniglot-28", root=tmp_path)
        assert torch.equal(data.images[:, 0], torch.from_numpy((images * 255).round().astype(np.uint8)))
        assert data.labels is not None
        assert data.labels.tolist() == alphabets.tolist()
        assert (data.name, data.split, data.binarization) == ("omniglot-28", split, "none")


def test_black_and_white_characters_are_white_not_nearly_black(tmp_path: Path) -> None:
    for kind in (np.uint8, bool, float):
        savemat(tmp_path / "b.mat", {"data": bits(4).reshape(4, 784).T.astype(kind), "target": np.eye(4)})
        assert papers.read_chardata(tmp_path / "b.mat").images.unique().tolist() == [0, 255]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((784, 3))}, r"arrays data \(784, N\) and target \(K, N\) in .*, got x \(784, 3\)"),
        ({"data": np.zeros((784, 3)), "target": np.eye(4)}, r"got data \(784, 3\), target \(4, 4\)"),
        ({"data": np.zeros((3, 784)), "target": np.eye(3)}, r"got data \(3, 784\), target \(3, 3\)"),
        ({"data": np.full((784, 3), 200.0), "target": np.eye(3)}, r"max_value"),
        ({"data": np.full((784, 3), np.nan), "target": np.eye(3)}, r"finite|NaN"),
        ({"data": np.zeros((784, 3)), "target": np.ones((3, 3))}, r"in .*bad.mat"),
    ],
)
def test_other_arrays_are_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    savemat(tmp_path / "bad.mat", arrays)
    with pytest.raises((FileFormatError, DataError), match=message) as caught:
        papers.read_chardata(tmp_path / "bad.mat")
    assert "bad.mat" in str(caught.value)


def test_a_damaged_file_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "chardata.mat"
    omniglot(path, do_compression=True)
    whole = path.read_bytes()
    hdf5 = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(384) + b"\x89HDF\r\n\x1a\n"
    flipped = [whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :] for at in (126, 128, 132, 140, 500, 5000)]
    for content in (b"", b"no", hdf5, *(whole[:cut] for cut in range(0, 8000, 397)), *flipped):
        path.write_bytes(content)
        with pytest.raises((FileFormatError, DataError), match=r"chardata.mat"):
            papers.read_chardata(path)


# --- checksums, and files that are not there ------------------------------------------------------------------------


def test_another_file_is_read_with_a_warning(larochelle: dict[str, NDArray[np.uint8]], tmp_path: Path) -> None:
    file = tmp_path / "data" / "binarized_mnist" / "binarized_mnist_test.amat"
    file.write_bytes(amat(bits(3)))
    with pytest.warns(UserWarning, match=rf"{file} is not the file of the papers: .*{sha256(file.read_bytes())[:12]}"):
        assert len(load("test")) == 3
    omniglot(tmp_path / "data" / "chardata.mat")
    with pytest.warns(UserWarning, match=r"016a3536ffe5\.\.\.; figures of its images cannot be compared"):
        load("test", "omniglot-28")


def test_the_published_digests_are_of_known_lengths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {file for known in papers.PAPERS.values() for file in known.files.values()}
    assert files == papers._DIGESTS.keys()
    assert [len(papers._DIGESTS[file]) for file in sorted(files)] == [64, 64, 64, 40]
    path = tmp_path / "chardata.mat"
    path.write_bytes(b"hello\n")  # `echo hello | git hash-object --stdin`
    monkeypatch.setitem(papers._DIGESTS, "chardata.mat", "ce013625030ba8dba906f756967f9e9ca394464a")
    papers._warn_of_another(path, "page")
    path.write_bytes(b"hello")
    with pytest.warns(UserWarning, match="not the file"):
        papers._warn_of_another(path, "page")


@pytest.mark.parametrize("name", papers.PAPERS)
def test_files_that_are_missing_are_named_with_their_page(tmp_path: Path, name: str) -> None:
    known = papers.PAPERS[name]
    for split, file in known.files.items():
        with pytest.raises(DatasetNotFoundError) as caught:
            load(split, name, root=tmp_path)
        message = str(caught.value)
        assert f"the data set {name!r} under {tmp_path}, got no file {file} in {tmp_path / known.folder}" in message
        assert all(one in message for one in (*known.files.values(), known.page, "`root`", "MNISTVAE_DATA"))
    assert not any(tmp_path.iterdir())


def test_splits_by_name(tmp_path: Path) -> None:
    assert dataset_names("validation") == ["mnist-50k", "mnist-larochelle"]
    assert dataset_names("test") == dataset_names()
    with pytest.raises(SettingError, match="split as one of 'train', 'test', got 'validation'"):
        load("validation", "omniglot-28", root=tmp_path)
    with pytest.raises(SettingError, match="one of 'train', 'validation', 'test', got 'valid'"):
        load("valid", root=tmp_path)
    with pytest.raises(SettingError, match="split as one of"):
        dataset_names("valid")  # type: ignore[arg-type]


# --- MNIST's 50,000 and 10,000 --------------------------------------------------------------------------------------


def idx(path: Path, array: NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes())


def test_mnist_as_papers_split_it(tmp_path: Path) -> None:
    raw, n = tmp_path / "MNIST" / "raw", 60_000
    images = np.random.default_rng(0).integers(0, 256, (n, 2, 1), np.uint8)
    idx(raw / "train-images-idx3-ubyte", images)
    idx(raw / "train-labels-idx1-ubyte", (np.arange(n) % 10).astype(np.uint8))
    idx(raw / "t10k-images-idx3-ubyte", images[:7])
    idx(raw / "t10k-labels-idx1-ubyte", np.arange(7, dtype=np.uint8))
    train, validation, test = (load(split, "mnist-50k", root=tmp_path) for split in ("train", "validation", "test"))
    assert (len(train), len(validation), len(test)) == (50_000, 10_000, 7)
    assert torch.equal(torch.cat([train.images, validation.images])[:, 0], torch.from_numpy(images))
    assert {(one.name, one.binarization) for one in (train, validation, test)} == {("mnist-50k", "none")}
    assert [one.split for one in (train, validation, test)] == ["train", "validation", "test"]
    idx(raw / "train-images-idx3-ubyte", images[:100])
    idx(raw / "train-labels-idx1-ubyte", np.zeros(100, np.uint8))
    with pytest.raises(DataError, match=r"the 60,000 training images of MNIST, .*, got 100"):
        load("train", "mnist-50k", root=tmp_path)


# --- pixels that are black and white already ------------------------------------------------------------------------


def test_only_files_have_larochelles_pixels(larochelle: dict[str, NDArray[np.uint8]]) -> None:
    grey = mv.load_dataset("mnist-mini", "test")[:10]
    with pytest.raises(SettingError, match=r"'larochelle': those pixels come from files: load_dataset\('mnist-laro"):
        grey.binarized("larochelle")
    with pytest.raises(SettingError, match=r"binarization as one of 'none', .*'threshold', got 'larochelle'"):
        mv.Trainer(binarization="larochelle")
    assert mv.Trainer(1, 10, progress=False).fit(mv.VAE(2), load()).tag == "binarized-larochelle"
    with pytest.raises(DataError, match=r"'larochelle': .* leave these as they are: binarization='none'"):
        mv.Trainer(1, binarization="dynamic", progress=False).fit(mv.VAE(2), load())
    with pytest.raises(SettingError, match="binarization as one of"):
        ImageDataset(grey.images, binarization="salakhutdinov")  # type: ignore[arg-type]


def test_a_view_of_larochelles_pixels(larochelle: dict[str, NDArray[np.uint8]]) -> None:
    model, data = mv.VAE(2), load("test")
    for trained in ("none", "dynamic", "larochelle"):
        view = View(model, data, binarization=trained)  # type: ignore[arg-type]
        assert view.tag == "binarized-larochelle"
        assert view.shown is data
        found = evaluate(model, data, binarization=trained, include=["likelihood"], num_samples=3)  # type: ignore[arg-type]
        assert found.protocol["binarization"] == "larochelle"
        assert all("pixels" not in score.conditions for score in found.scores)


def test_grey_images_for_a_model_of_his_pixels_are_a_draw_of_ours() -> None:
    grey = mv.load_dataset("mnist-mini", "test")[:10]
    view = View(mv.VAE(2), grey, train=grey, binarization="larochelle", seed=3)
    assert view.tag == "binarized-static"
    assert torch.equal(view.shown.images, grey.binarized("static", seed=3).images)
    found = evaluate(mv.VAE(2), grey, binarization="larochelle", include=["likelihood"], num_samples=3, seed=3)
    assert found.protocol["binarization"] == "static"
    assert found.score("nll").conditions["pixels"] == "static under seed 3"


def test_nats_of_his_draw_and_of_ours_are_not_compared(larochelle: dict[str, NDArray[np.uint8]]) -> None:
    data, model = load("test"), mv.VAE(2)
    ours = data.replace(binarization="static")
    how: dict[str, Any] = {"include": ["likelihood"], "num_samples": 3}
    with pytest.raises(DataError, match="nll is not compared: tags 'binarized-larochelle' and 'binarized-static'"):
        compare({"a": evaluate(model, data, **how), "b": evaluate(model, ours, **how)})


@pytest.mark.parametrize("kind", ["static", "threshold", "larochelle"])
def test_black_and_white_pixels_keep_their_size(kind: Any) -> None:
    images = torch.from_numpy(bits(4)) * 255
    data = ImageDataset(images, binarization=kind)
    with pytest.raises(DataError, match=f"grey images, to resize them, got 'images' in black and white, .*'{kind}'"):
        resized(data, 14)
    assert resized(data, 28) is data
    assert torch.equal(resized(data, channels=3).images, data.images.expand(-1, 3, -1, -1))
    assert resized(ImageDataset(images, binarization="dynamic"), 14).image_shape == (1, 14, 14)


# --- on the command line --------------------------------------------------------------------------------------------


def run(*words: object) -> Result:
    return CliRunner().invoke(commands.cli, [*map(str, words)], prog_name="mnistvae")


def test_training_and_evaluation_on_the_command_line(larochelle: dict[str, NDArray[np.uint8]], tmp_path: Path) -> None:
    here = tmp_path / "run"
    words = ("train", "--recipe", "mlp", "--dataset", "mnist-larochelle", "--epochs", 1, "--patience", 1)
    result = run(*words, "--samples-every", 0, "--out", here, "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "data mnist-larochelle: 30 images to train on, 12 to validate" in result.output
    record = read_record(here / "run.json")
    assert (record.dataset, record.validation_split) == ("mnist-larochelle", None)
    assert read(here / "model.safetensors").metadata["binarization"] == "larochelle"
    result = run("evaluate", here, "--num-samples", 3, "--device", "cpu", "--out", tmp_path / "evaluated")
    assert result.exit_code == 0, result.output
    assert "on 20 test images of mnist-larochelle, binarized-larochelle, seed 0" in result.output
    result = run("fit-prior", here, "--dataset", "mnist-mini", "--components", 2, "--out", tmp_path / "fitted")
    assert result.exit_code == 0, result.output


def test_a_recipe_that_draws_pixels_says_what_to_do(larochelle: dict[str, NDArray[np.uint8]], tmp_path: Path) -> None:
    words = ("train", "--recipe", "kingma2014", "--dataset", "mnist-larochelle", "--epochs", 1, "--samples-every", 0)
    result = run(*words, "--out", tmp_path / "a")
    assert result.exit_code == 2
    assert "--binarization none" in result.output
    result = run(*words, "--out", tmp_path / "b", "--binarization", "none")
    assert result.exit_code == 0, result.output


def test_his_pixels_are_no_choice_of_the_command_line(tmp_path: Path) -> None:
    result = run("train", "--binarization", "larochelle", "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert "'larochelle' is not one of 'none', 'static', 'dynamic', 'threshold'" in result.output
    assert "mnist-larochelle" in " ".join(run("train", "--help").output.split())


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    result = run("train", "--dataset", "omniglot-28", "--data-root", tmp_path, "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert "chardata.mat" in result.output
    assert not (tmp_path / "run").exists()


def test_records_keep_his_pixels() -> None:
    record = Provenance(binarization="larochelle")
    assert Provenance.from_metadata(record.to_metadata()) == record
