"""Records and files of others: a checksum in each, and nothing in them costs memory or raises what is not ours."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save as serialize

import mnistvae as mv
from mnistvae._bounds import Bounds
from mnistvae._records import csv_text, parse_json, read_csv, read_json, write_json
from mnistvae._tensorfile import Kind, digest, read_tensors, write_tensors
from mnistvae.commands import RunFolder
from mnistvae.errors import ComponentError, FileFormatError, MnistvaeError, SettingError
from mnistvae.metrics import Evaluation
from mnistvae.training import History
from mnistvae.training.checkpoints import read_checkpoint

WHAT = ("a record", "write it anew")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=6).filter(lambda name: name != "sha256"), JSON, max_size=4))
def test_a_record_comes_back_as_it_was(tmp_path: Path, content: dict[str, Any]) -> None:
    path = write_json(tmp_path / "a.json", content)
    assert read_json(path, *WHAT) == content
    assert list(json.loads(path.read_text())) == [*content, "sha256"]


@given(st.data())
def test_a_changed_letter_of_a_record_is_noticed(tmp_path: Path, data: st.DataObject) -> None:
    content = {"loss": [1.25, -3.0], "name": "mnist", "n": {"a": 10}}
    whole = write_json(tmp_path / "a.json", content).read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    (tmp_path / "b.json").write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    try:
        found = read_json(tmp_path / "b.json", *WHAT)
    except FileFormatError:
        return
    found.pop(next(iter(found.keys() - content.keys()), ""), None)  # of "sha256", a name that stands for nothing
    assert found == content


def test_a_record_without_a_checksum_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": 1}')
    assert read_json(tmp_path / "a.json", *WHAT) == {"a": 1}
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    assert read_csv(tmp_path / "a.csv", *WHAT) == [{"a": "1", "b": "2"}]


def test_a_record_of_what_json_cannot_hold_is_not_written(tmp_path: Path) -> None:
    for odd in (b"x", {1, 2}, torch.zeros(1)):
        with pytest.raises(ComponentError, match="a record that JSON can hold"):
            write_json(tmp_path / "a.json", {"a": odd})
    assert list(tmp_path.iterdir()) == []


@given(st.data())
def test_a_changed_digit_of_a_history_is_noticed(tmp_path: Path, data: st.DataObject) -> None:
    history = History([{"epoch": n, "loss": 200.5 / n, "kl": float("nan") if n == 2 else 0.25} for n in (1, 2, 3)])
    whole = history.to_csv(tmp_path / "a.csv").read_text()
    again = History.from_csv(tmp_path / "a.csv")
    assert str(again.records) == str(history.records)
    digits = [n for n, letter in enumerate(whole) if letter.isdigit()]
    place = data.draw(st.sampled_from(digits))
    other = str((int(whole[place]) + 1) % 10)
    (tmp_path / "b.csv").write_text(whole[:place] + other + whole[place + 1 :])
    with pytest.raises(FileFormatError, match=r"b\.csv"):
        History.from_csv(tmp_path / "b.csv")


@pytest.mark.parametrize("text", ["epoch,loss\n1,2.5\n2\n", "epoch,loss\n1,2.5,3\n", "epoch,loss\n1,two\n", 'a,"b\n'])
def test_a_history_of_another_form(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(FileFormatError, match="a history"):
        History.from_csv(tmp_path / "a.csv")


@pytest.mark.parametrize("records", [None, 3, "ab", [1], {"epoch": 1}])
def test_records_that_are_none(records: Any) -> None:
    with pytest.raises(SettingError, match="records as a list of dicts"):
        History(records)


@pytest.mark.parametrize(
    ("cell", "text"),
    [("=1+1", "'=1+1"), ("@x", "'@x"), ("+cmd", "'+cmd"), ("-a", "'-a"), ("-1.5", "-1.5"), (-1.5, "-1.5"), (None, "")],
)
def test_no_cell_is_a_formula(cell: Any, text: str) -> None:
    assert csv_text(["a", "=b"], [[cell, "x,y"]]) == f'a,\'=b\n{text},"x,y"\n'


@pytest.mark.skipif(os.name == "nt", reason="Windows has no named pipes of this kind")
@pytest.mark.parametrize(
    "read",
    [History.from_csv, History.from_json, Evaluation.from_json, mv.load, read_checkpoint],
    ids=lambda read: read.__qualname__,
)
def test_only_regular_files_are_read(tmp_path: Path, read: Any) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for odd in (tmp_path / "pipe", tmp_path / "folder", "/dev/zero", None, b"x", "a\0b", "x" * 5000, tmp_path / "none"):
        with pytest.raises(MnistvaeError):
            read(odd)


def test_a_long_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "long").open("wb") as stream:
        stream.truncate(100 << 30)
    for read in (History.from_csv, Evaluation.from_json, mv.load):
        with pytest.raises(FileFormatError):
            read(tmp_path / "long")
    claim = json.dumps({"a": {"dtype": "U8", "shape": [100 << 30], "data_offsets": [0, 100 << 30]}}).encode()
    with (tmp_path / "long").open("r+b") as stream:
        stream.write(struct.pack("<Q", len(claim)) + claim)
        stream.truncate(8 + len(claim) + (100 << 30))
    with pytest.raises(FileFormatError, match="more than this machine's memory"):
        mv.load(tmp_path / "long")


@pytest.mark.parametrize("depth", [300, 50_000])
def test_json_that_is_nested_too_deeply(depth: int) -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json("[" * depth + "]" * depth)
    assert parse_json("[" * 100 + "]" * 100)


# --- files that describe more than they hold ------------------------------------------------------------------------

KIND = Kind("mnistvae", 1, "model file", "")


def described(path: Path, spec: Any, tensors: dict[str, torch.Tensor] | None = None) -> Path:
    """A model file of that description, with a right checksum."""
    return write_tensors(path, KIND, tensors or {"a": torch.zeros(1)}, {"spec": json.dumps(spec), "metadata": "{}"})


def part(name: str, **arguments: Any) -> dict[str, Any]:
    return {"class": name, "args": arguments}


@pytest.mark.parametrize(
    "spec",
    [
        part("torch.nn.Linear", in_features=12_000, out_features=12_000),
        part("torch.nn.Embedding", num_embeddings=2**31 - 1, embedding_dim=64),
        part("mnistvae.VAE", latent_dim=2**31 - 1),
        part("mnistvae.VAE", latent_dim=2, image_shape={"tuple": [1, 3000, 3000]}),
        part("mnistvae.MLPEncoder", latent_dim=2, image_shape={"tuple": [1, 8, 8]}, hidden={"tuple": [1] * 100_000}),
        part("mnistvae.VAE", latent_dim=2, prior=part("mnistvae.VampPrior", latent_dim=2, components=2**30)),
    ],
    ids=lambda spec: str(spec)[:60],
)
def test_no_more_is_made_than_the_file_holds(
    tmp_path: Path, spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    made = Bounds.__torch_function__

    def counting(self: Bounds, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = made(self, func, types, args, kwargs)
        if isinstance(result, torch.Tensor):
            asked.append(result.numel())
        return result

    monkeypatch.setattr(Bounds, "__torch_function__", counting)
    with pytest.raises(FileFormatError):
        mv.load(described(tmp_path / "m.safetensors", spec))
    assert max(asked, default=0) <= 5_000_000
    assert len(asked) < 25_000


def test_a_setting_in_a_record_is_a_small_part(tmp_path: Path) -> None:
    large = part("torch.nn.Linear", in_features=12_000, out_features=12_000)
    record = {"recipe": "mlp-2d", "dataset": "mnist-mini", "settings": {"prior": large}}
    write_json(tmp_path / "run.json", record)
    assert RunFolder(tmp_path).read_record().settings == {"prior": large}, "not made"


@pytest.mark.parametrize(
    "change",
    [{"recipe": [1]}, {"settings": 3}, {"training": "x"}, {"seed": 2**70}, {"seed": -1}, {"dataset": None}],
)
def test_a_run_record_of_another_form(tmp_path: Path, change: dict[str, Any]) -> None:
    write_json(tmp_path / "run.json", {"recipe": "mlp-2d", "dataset": "mnist-mini", "seed": 0} | change)
    with pytest.raises(FileFormatError, match=r"run\.json, which a run writes"):
        RunFolder(tmp_path).read_record()


@pytest.mark.parametrize(
    "header", [b"[1]", b'"x"', b'{"a": 5}', b'{"__metadata__": [1, 2]}', b'{"__metadata__": {"a": 1}}']
)
def test_a_header_of_another_form(tmp_path: Path, header: bytes) -> None:
    (tmp_path / "m").write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 8)
    with pytest.raises(FileFormatError, match="to be a model file"):
        mv.load(tmp_path / "m")


def test_a_file_of_texts_only(tmp_path: Path) -> None:
    text = {"format": "mnistvae", "format_version": "1", "mnistvae_version": "0"}
    (tmp_path / "m").write_bytes(serialize({}, text | {"sha256": digest({}, text)}))
    assert read_tensors(tmp_path / "m", KIND)[0] == {}
