"""Codes as tables and files, and the command that writes them."""

from __future__ import annotations

import csv
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import mnistvae as mv
from mnistvae import commands
from mnistvae.analysis import LatentCodes
from mnistvae.errors import OutputError, SettingError

CODES = LatentCodes(
    torch.tensor([[0.5, -1.0], [2.0, 0.25]]), torch.tensor([[1.0, 0.1], [0.2, 3.0]]), torch.tensor([7, 1])
)
COLUMNS = ["mean_0", "mean_1", "deviation_0", "deviation_1", "label"]


def test_csv_holds_every_digit(tmp_path: Path) -> None:
    rows = list(csv.reader(CODES.save(tmp_path / "codes.csv").read_text().splitlines()))
    assert rows[0] == COLUMNS
    values = np.array(rows[1:], dtype=np.float64)
    expected = torch.cat([CODES.means, CODES.deviations, CODES.labels[:, None]], 1)  # type: ignore[index]
    np.testing.assert_array_equal(values.astype(np.float32), expected.numpy())


def test_npz(tmp_path: Path) -> None:
    with np.load(CODES.save(tmp_path / "codes.npz"), allow_pickle=False) as found:
        assert sorted(found) == ["deviations", "labels", "means"]
        np.testing.assert_array_equal(found["means"], CODES.means.numpy())
        np.testing.assert_array_equal(found["labels"], [7, 1])


def test_names_of_classes_go_into_files(tmp_path: Path) -> None:
    named = replace(CODES, class_names=("zero", "one"))  # and none for the label 7
    rows = list(csv.reader(named[:2].save(tmp_path / "codes.csv").read_text().splitlines()))
    assert [row[-2:] for row in rows] == [["label", "name"], ["7", "7"], ["1", "one"]]
    with np.load(named.save(tmp_path / "codes.npz"), allow_pickle=False) as found:
        assert found["class_names"].tolist() == ["zero", "one"]
    data = mv.ImageDataset(torch.rand(4, 8, 8), ["cat", "dog", "cat", "cat"])
    assert mv.analysis.encode_dataset(mv.VAE(2, (1, 8, 8)), data).class_names == ("cat", "dog")


def test_a_frame() -> None:
    pytest.importorskip("pandas", reason="pandas is not installed")
    frame = CODES.to_pandas()
    assert list(frame.columns) == COLUMNS
    assert frame["mean_1"].tolist() == [-1.0, 0.25]
    assert frame["label"].tolist() == [7, 1]


def test_without_labels_there_is_no_column(tmp_path: Path) -> None:
    bare = LatentCodes(CODES.means, CODES.deviations)
    assert bare.save(tmp_path / "codes.csv").read_text().splitlines()[0] == ",".join(COLUMNS[:-1])


def test_without_pandas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(SettingError, match=r"pip install \"mnistvae\[pandas\]"):
        CODES.to_pandas()
    with pytest.raises(SettingError, match=r"pip install \"mnistvae\[pandas\]"):
        CODES.save(tmp_path / "codes.parquet")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("labels", [True, False])
def test_parquet_is_read_back(labels: bool, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    pytest.importorskip("pandas", reason="pandas is not installed")
    codes = CODES if labels else LatentCodes(CODES.means, CODES.deviations)
    found = parquet.read_table(codes.save(tmp_path / "codes.parquet"))
    assert found.column_names == COLUMNS[: 5 if labels else 4]
    values = np.stack([found[name].to_numpy() for name in COLUMNS[:4]], 1)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, torch.cat([codes.means, codes.deviations], 1).numpy())
    if labels:
        assert found["label"].to_pylist() == [7, 1]


def test_without_pyarrow_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pandas", reason="pandas is not installed")
    for name in ("pyarrow", "fastparquet"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SettingError, match=r"pip install \"mnistvae\[pandas\]\", or write \.csv or \.npz"):
        CODES.save(tmp_path / "codes.parquet")
    assert not list(tmp_path.iterdir())


def test_another_suffix(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"a file that ends in \.csv, \.npz, \.parquet, got 'codes\.txt'"):
        CODES.save(tmp_path / "codes.txt")


def test_the_command(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = mv.VAE(latent_dim=2, encoder=mv.networks.MLPEncoder(2, hidden=(8,)))
    said: list[str] = []
    found = commands.encode(model, dataset="mnist-mini", limit=12, out=tmp_path / "a", say=said.append)
    expected = mv.analysis.encode_dataset(model, mv.load_dataset("mnist-mini", "test")[:12])
    torch.testing.assert_close(found.means, expected.means)
    assert said == [f"wrote 12 codes of 2 dimensions: {tmp_path / 'a' / 'codes.csv'}"]
    assert len((tmp_path / "a" / "codes.csv").read_text().splitlines()) == 13
    with pytest.raises(OutputError, match=r"codes\.csv"):
        commands.encode(model, dataset="mnist-mini", limit=12, out=tmp_path / "a")
