"""Records that grow as a run goes, and what a history can be turned into."""

from __future__ import annotations

import csv
import json
import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from test_optimizers import certain, trainer
from test_resume import InEpochEnd, StopAt, data

from mnistvae.errors import ComponentError, FileFormatError, OutputError, SettingError
from mnistvae.training import Callback, Checkpoint, CSVLog, History, Interrupted, JSONLinesLog, State, TensorBoardLog


def lines(path: Path) -> list[dict[str, Any]]:
    text = path.read_text(encoding="utf-8")
    assert text == "" or text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def test_a_csv_log_has_the_columns_of_a_validation_that_is_yet_to_come(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    seen: list[str] = []

    class Watch(Callback):
        last = True

        def on_epoch_end(self, state: State) -> None:
            seen.append(path.read_text())

    history = trainer(CSVLog(path), Watch(), epochs=5, validate_every=2).fit(certain(), data(), data(16))
    assert [text.count("\n") for text in seen] == [2, 3, 4, 5, 6], "a line of names, then one an epoch"
    assert all(later.startswith(earlier) for earlier, later in pairwise(seen)), "it only grows"
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [bool(row["validation_loss"]) for row in rows] == [False, True, False, True, True]
    assert History.from_csv(path).records == history.records


def test_a_json_lines_log_has_a_line_an_epoch(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    counts: list[int] = []

    class Watch(Callback):
        last = True

        def on_epoch_end(self, state: State) -> None:
            counts.append(len(lines(path)))

    history = trainer(JSONLinesLog(path), Watch(), epochs=3, validate_every=2).fit(certain(), data(), data(16))
    assert counts == [1, 2, 3]
    assert lines(path) == history.records


@pytest.mark.parametrize("stop", [StopAt(2), StopAt(5), StopAt(8), InEpochEnd(2)], ids=["1st", "end", "2nd", "after"])
def test_a_resumed_run_goes_on_with_its_logs(stop: Callback, tmp_path: Path) -> None:
    def logs() -> list[Callback]:
        return [CSVLog(tmp_path / "log.csv"), JSONLinesLog(tmp_path / "log.jsonl"), Checkpoint(tmp_path)]

    settings: dict[str, Any] = {"epochs": 4, "validate_every": 3}
    with pytest.raises(Interrupted):
        trainer(*logs(), stop, **settings).fit(certain(), data(), data(16))
    history = trainer(*logs(), **settings).fit(certain(), data(), data(16), resume=tmp_path)
    assert [record["epoch"] for record in history] == [1, 2, 3, 4]
    assert History.from_csv(tmp_path / "log.csv").records == history.records
    assert lines(tmp_path / "log.jsonl") == history.records


def test_lines_after_the_checkpoint_that_a_run_goes_on_from_are_dropped(tmp_path: Path) -> None:
    """As after a power cut: the log says more than the last checkpoint."""

    class Crash(Callback):
        def on_batch_end(self, state: State, n: int) -> None:
            if state.epoch == 4:
                raise RuntimeError

    listeners = [CSVLog(tmp_path / "log.csv"), JSONLinesLog(tmp_path / "log.jsonl"), Checkpoint(tmp_path, every=2)]
    with pytest.raises(RuntimeError):
        trainer(*listeners, Crash(), epochs=5).fit(certain(), data(), data(16))
    assert len(lines(tmp_path / "log.jsonl")) == 3
    history = trainer(*listeners, epochs=5).fit(certain(), data(), data(16), resume=tmp_path)
    assert lines(tmp_path / "log.jsonl") == history.records
    assert History.from_csv(tmp_path / "log.csv").records == history.records


@pytest.mark.parametrize("log", [CSVLog, JSONLinesLog])
def test_a_new_run_replaces_an_earlier_file(log: Any, tmp_path: Path) -> None:
    path = tmp_path / "log"
    trainer(log(path), epochs=3).fit(certain(), data())
    trainer(log(path), epochs=1).fit(certain(), data())
    assert path.read_text().count("\n") == (2 if log is CSVLog else 1)


@pytest.mark.parametrize("log", [CSVLog, JSONLinesLog])
def test_a_bad_place_costs_no_training(log: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    steps: list[int] = []

    class Count(Callback):
        def on_batch_end(self, state: State, n: int) -> None:
            steps.append(state.step)

    with pytest.raises(OutputError):
        trainer(log(tmp_path / "file" / "log"), Count()).fit(certain(), data())
    assert not steps


@pytest.mark.parametrize("log", [CSVLog, JSONLinesLog])
def test_a_log_that_can_no_longer_be_written_says_which(log: Any, tmp_path: Path) -> None:
    path = tmp_path / "log"

    class Turn(Callback):
        def on_epoch_start(self, state: State) -> None:
            if state.epoch == 2:
                path.unlink()
                path.mkdir()

    with pytest.raises(OutputError, match=r"a file to write at .*log, got a folder: choose another"):
        trainer(log(path), Turn()).fit(certain(), data())


# --- TensorBoard ----------------------------------------------------------------------------------------------------


class Writer:
    """What the log asks of TensorBoard."""

    made: list[Writer]

    def __init__(self, folder: str, purge_step: int | None = None) -> None:
        self.folder = folder
        self.purge_step = purge_step
        self.scalars: dict[tuple[str, int], float] = {}
        self.flushed = 0
        self.closed = False
        self.made.append(self)

    def add_scalar(self, name: str, value: float, epoch: int) -> None:
        self.scalars[name, epoch] = value

    def flush(self) -> None:
        self.flushed += 1

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def writers(monkeypatch: pytest.MonkeyPatch) -> list[Writer]:
    """The writers that are made from now on, in the place of TensorBoard's."""
    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    monkeypatch.setattr(Writer, "made", [], raising=False)
    return Writer.made


def test_tensorboard_gets_the_figures_of_each_epoch(tmp_path: Path, writers: list[Writer]) -> None:
    history = trainer(TensorBoardLog(tmp_path / "events")).fit(certain(), data(), data(16))
    (writer,) = writers
    assert (writer.folder, writer.purge_step) == (str(tmp_path / "events"), 1)
    assert writer.closed
    assert writer.flushed == 2
    assert {name for name, _ in writer.scalars} == {
        *("loss/training", "reconstruction/training", "kl/training", "seconds/training", "images_per_second/training"),
        "learning_rate/training",
        *("loss/validation", "reconstruction/validation", "kl/validation"),
    }
    assert writer.scalars["loss/training", 2] == history[1]["loss"]
    assert writer.scalars["kl/validation", 1] == history[0]["validation_kl"]


def test_tensorboard_drops_what_a_resumed_run_does_anew(tmp_path: Path, writers: list[Writer]) -> None:
    with pytest.raises(Interrupted):
        trainer(TensorBoardLog(tmp_path), Checkpoint(tmp_path), StopAt(7)).fit(certain(), data())
    assert writers[0].closed
    trainer(TensorBoardLog(tmp_path), Checkpoint(tmp_path)).fit(certain(), data(), resume=tmp_path)
    assert writers[1].purge_step == 2
    assert {epoch for _, epoch in writers[1].scalars} == {2}


def test_without_tensorboard_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(SettingError, match=r'library tensorboard .*pip install "mnistvae\[tensorboard\]"'):
        TensorBoardLog(tmp_path)


# --- a history as something else ------------------------------------------------------------------------------------

RECORDS: list[dict[str, float]] = [
    {"epoch": 1, "loss": 0.1 + 0.2, "kl": 1e-300},
    {"epoch": 2, "loss": 2.5, "validation_loss": 3.0, "mine": -1},
]


def test_a_history_survives_json(tmp_path: Path) -> None:
    history = History(RECORDS, tag="grey-bce")
    path = history.to_json(tmp_path / "new" / "history.json")
    assert History.from_json(path) == history
    content = json.loads(path.read_text())
    assert len(content.pop("sha256")) == 64
    assert content == {"tag": "grey-bce", "records": RECORDS}
    assert all(isinstance(record["epoch"], int) for record in History.from_json(path))
    assert History.from_json(History().to_json(path)) == History()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"3",
        b'{"records": []}',
        b'{"tag": ""}',
        b'{"tag": "", "records": 3}',
        b'{"tag": "", "records": [1]}',
        b'{"tag": "", "records": ["text"]}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
    ids=lambda content: repr(content[:30]),
)
def test_what_is_no_history_in_json_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "history.json").write_bytes(content)
    with pytest.raises(FileFormatError, match=r"history\.json to be a history in JSON.*pass what to_json wrote"):
        History.from_json(tmp_path / "history.json")


def test_a_json_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"nowhere\.json"):
        History.from_json(tmp_path / "nowhere.json")


def test_a_place_for_json_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        History(RECORDS).to_json(tmp_path / "file" / "history.json")


def test_a_history_as_a_data_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    class Frame:
        def __init__(self, records: Any, columns: Any) -> None:
            self.records = records
            self.columns = columns

    pandas = ModuleType("pandas")
    pandas.DataFrame = Frame  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pandas", pandas)
    frame = History(RECORDS).to_pandas()
    assert frame.records == RECORDS
    assert frame.columns == ["epoch", "loss", "kl", "validation_loss", "mine"]


def test_without_pandas_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(SettingError, match=r"library pandas for a DataFrame.*pip install \"mnistvae\[pandas\]"):
        History(RECORDS).to_pandas()


def test_a_figure_of_ones_own_that_json_cannot_hold(tmp_path: Path) -> None:
    class Adds(Callback):
        def on_epoch_end(self, state: State) -> None:
            state.history[-1]["own"] = torch.zeros(())  # type: ignore[assignment]

    with pytest.raises(ComponentError, match=r"in the history that JSON can hold, got .*Tensor.*float\(value\)"):
        trainer(Adds(), JSONLinesLog(tmp_path / "a.jsonl")).fit(certain(), data(16))
