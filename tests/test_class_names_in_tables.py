"""Names of classes in evaluations: in the record, in the table of the classes, and in a sweep's."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure

from mnistvae import VAE, ImageDataset, commands
from mnistvae.errors import FileFormatError, SettingError
from mnistvae.metrics import Evaluation, Metric, Score, evaluate
from mnistvae.networks import MLPDecoder, MLPEncoder

SHAPE = (1, 8, 8)
NAMES = ("ape", "=1+1", "bee, or wasp", "unseen")


def images(**named: Any) -> ImageDataset:
    generator = torch.Generator().manual_seed(0)
    return ImageDataset(torch.rand(12, *SHAPE, generator=generator), torch.arange(12) % 3, **named)


def small() -> VAE:
    torch.manual_seed(0)
    return VAE(2, SHAPE, encoder=MLPEncoder(2, SHAPE, (8,)), decoder=MLPDecoder(2, SHAPE, (8,)))


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_names_stand_beside_the_numbers(tmp_path: Path) -> None:
    found = evaluate(small(), images(class_names=NAMES), include=["reconstruction"])
    assert found.class_names == NAMES
    rows = table(found.to_csv(tmp_path / "a.csv"))
    assert [*rows[0]][:3] == ["class", "name", "images"]
    assert [(row["class"], row["name"]) for row in rows] == [("0", "ape"), ("1", "'=1+1"), ("2", "bee, or wasp")]
    assert [float(row["mse"]) for row in rows] == [row["mse"] for row in found.by_class]
    read = Evaluation.from_json(found.to_json(tmp_path / "a.json"))
    assert read == found
    assert read.to_csv(tmp_path / "b.csv").read_text() == (tmp_path / "a.csv").read_text()


def test_classes_without_names_have_numbers(tmp_path: Path) -> None:
    found = evaluate(small(), images(), include=["reconstruction"])
    assert found.class_names == ()
    assert [*table(found.to_csv(tmp_path / "a.csv"))[0]][:2] == ["class", "images"]
    assert [found.class_name(label) for label in (0, 2.0, 7)] == ["0", "2", "7"]
    named = Evaluation((), class_names=("ape",))
    assert [named.class_name(label) for label in (0, 1, -1)] == ["ape", "1", "-1"]


@pytest.mark.parametrize("bad", [None, 3, "abc", {"a": 1}, [3], [None], [["a"]]])
def test_damaged_names_are_refused(bad: Any, tmp_path: Path) -> None:
    content = json.loads(Evaluation((Score("m", 1.0),)).to_json(tmp_path / "a.json").read_text())
    del content["sha256"]
    (tmp_path / "a.json").write_text(json.dumps(content | {"class_names": bad}))
    with pytest.raises(FileFormatError, match=r"written by Evaluation\.to_json, got .*: evaluate the model again"):
        Evaluation.from_json(tmp_path / "a.json")


def test_the_name_of_the_column_is_taken() -> None:
    metric = Metric("name", compute=lambda view: torch.zeros(len(view)), per="image")
    with pytest.raises(SettingError, match="a metric with a name of its own"):
        evaluate(small(), images(), include=[], metrics=[metric])


@pytest.mark.parametrize("named", [True, False])
def test_a_sweep_names_them_too(named: bool, tmp_path: Path) -> None:
    data = images(class_names=NAMES) if named else images()
    how: dict[str, Any] = {"recipe": "mlp-20", "latent_dims": (1, 2), "epochs": 1, "progress": False, "device": "cpu"}
    commands.sweep(dataset=data, validation=data, out=tmp_path / "a", batch_size=4, **how)
    rows = table(tmp_path / "a" / "by_class.csv")
    assert [*rows[0]] == ["latent_dim", "class", *(["name"] if named else []), "mse", "psnr"]
    assert [row["class"] for row in rows] == ["0", "1", "2"] * 2
    if named:
        assert [row["name"] for row in rows] == ["ape", "'=1+1", "bee, or wasp"] * 2


def test_bars_of_a_sweep_have_the_standard_errors_of_its_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, Any] = {}

    def draw(groups: Any, unit: str, **how: Any) -> Any:
        drawn[unit] = groups, how
        return Figure()

    monkeypatch.setattr("mnistvae.plotting.class_bars", draw)
    data = images(class_names=NAMES)
    how: dict[str, Any] = {"recipe": "mlp-20", "latent_dims": (1, 2), "epochs": 1, "progress": False, "device": "cpu"}
    found = commands.sweep(dataset=data, validation=data, out=tmp_path / "a", batch_size=4, **how)
    for name, unit in (("mse", "MSE"), ("psnr", "PSNR, dB")):
        groups, given = drawn[unit]
        assert given["class_names"] == NAMES
        assert given["from_zero"] == (name == "mse")
        for value, one in zip((1, 2), found.evaluations, strict=True):
            values = one.by_image[name].reshape(4, 3)  # labels go round
            assert list(given["errors"][f"latent size {value}"].values()) == pytest.approx(values.std(0, ddof=1) / 2)
            assert list(groups[f"latent size {value}"].values()) == pytest.approx([row[name] for row in one.by_class])
