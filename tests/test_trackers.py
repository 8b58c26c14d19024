"""Runs in the trackers' own stores: Weights & Biases offline, MLflow in a local folder."""

from __future__ import annotations

import json
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_optimizers import Certain, certain, trainer
from test_resume import StopAt, data

import mnistvae as mv
from mnistvae.errors import SettingError, TrainingError
from mnistvae.training import Callback, Checkpoint, EarlyStopping, Interrupted, MLflowLog, State, WandbLog
from mnistvae.training.callbacks.trackers import Tracker, run_settings


class Heard(Tracker):
    """A tracker that keeps what it is told."""

    runs: list[dict[str, Any]]

    def __init__(self, runs: list[dict[str, Any]], pictures_every: int = 1, *, model: bool = False) -> None:
        super().__init__(pictures_every, model=model, config={"mine": 1})
        self.runs = runs

    def _open(self, settings: Any) -> str:
        if self.run_id is None:
            self.runs.append({"settings": dict(settings), "epochs": {}, "pictures": {}, "opened": 0, "file": None})
        self.run_id = self.run_id or str(len(self.runs) - 1)
        self._run["opened"] += 1
        return self.run_id

    @property
    def _run(self) -> dict[str, Any]:
        return self.runs[int(self.run_id or 0)]

    def _log(self, epoch: int, figures: Any, pictures: Any) -> None:
        self._run["epochs"][epoch] = dict(figures)
        self._run["pictures"][epoch] = dict(pictures)

    def _keep(self, path: Path) -> None:
        self._run["file"] = path.read_bytes()

    def _close(self, *, complete: bool) -> None:
        self._run["complete"] = complete


# --- what any of them is told ---------------------------------------------------------------------------------------


def test_settings_figures_and_pictures_are_told(tmp_path: Path) -> None:
    runs: list[dict[str, Any]] = []
    model = certain()
    history = trainer(Heard(runs, 2, model=True), epochs=3).fit(model, data(), data(16))
    (run,) = runs
    assert run["epochs"].keys() == {1, 2, 3}
    assert run["epochs"][2]["loss/training"] == history[1]["loss"]
    assert run["epochs"][3]["kl/validation"] == history[2]["validation_kl"]
    assert "epoch" not in run["epochs"][1]
    assert [sorted(run["pictures"][n]) for n in (1, 2, 3)] == [[], *2 * [["plane", "samples"]]]
    assert run["pictures"][2]["samples"].dtype == np.uint8
    told = run["settings"]
    assert told["trainer/batch_size"] == 8
    assert (told["trainer/epochs"], told["model/latent_dim"], told["data/images"]) == (3, 2, len(data()))
    assert (told["mine"], told["mnistvae"], told["model/prior"]) == (1, mv.__version__, repr(model.prior))
    assert json.loads(json.dumps(told)) == told
    assert run["complete"]
    (tmp_path / "model.safetensors").write_bytes(run["file"])
    saved = mv.load(tmp_path / "model.safetensors", classes=[Certain]).state_dict()
    assert all(torch.equal(value, saved[name]) for name, value in model.state_dict().items())


def test_nothing_is_drawn_or_kept_where_nobody_asks() -> None:
    runs: list[dict[str, Any]] = []
    trainer(Heard(runs, 0)).fit(certain(), data())
    assert not any(runs[0]["pictures"].values())
    assert runs[0]["file"] is None


def test_a_resumed_run_is_the_same_run_and_a_new_fit_another(tmp_path: Path) -> None:
    runs: list[dict[str, Any]] = []
    with pytest.raises(Interrupted):
        trainer(Heard(runs, model=True), Checkpoint(tmp_path), StopAt(7)).fit(certain(), data())
    assert runs[0]["complete"] is False
    assert runs[0]["file"] is None
    again = trainer(Heard(runs, model=True), Checkpoint(tmp_path))
    history = again.fit(certain(), data(), resume=tmp_path)
    assert len(runs) == 1
    assert (runs[0]["opened"], runs[0]["complete"]) == (2, True)
    assert [runs[0]["epochs"][n]["loss/training"] for n in (1, 2)] == history.column("loss")
    other = trainer(again.callbacks[0])
    other.fit(certain(), data())
    other.fit(certain(), data())
    assert len(runs) == 3


def test_a_tracker_sees_the_best_weights(tmp_path: Path) -> None:
    runs: list[dict[str, Any]] = []
    model = certain()
    stopping = EarlyStopping(1)  # which gives the best weights back at the end, after the tracker in the list
    trainer(Heard(runs, model=True), stopping, epochs=8, learning_rate=0.3).fit(model, data(), data(16))
    (tmp_path / "model.safetensors").write_bytes(runs[0]["file"])
    saved = mv.load(tmp_path / "model.safetensors", classes=[Certain]).state_dict()
    assert all(torch.equal(value, saved[name]) for name, value in model.state_dict().items())


class Fails(Heard):
    """A tracker whose service fails at one of its calls, and counts them."""

    def __init__(self, runs: list[dict[str, Any]], at: str) -> None:
        super().__init__(runs, model=True)
        self.at = at
        self.calls: list[str] = []

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if name == self.at:
            raise ConnectionError("nobody\n answers")

    def _open(self, settings: Any) -> str:
        self._called("open")
        return super()._open(settings)

    def _log(self, epoch: int, figures: Any, pictures: Any) -> None:
        self._called(f"log {epoch}")
        super()._log(epoch, figures, pictures)

    def _keep(self, path: Path) -> None:
        self._called("keep")

    def _close(self, *, complete: bool) -> None:
        self._called("close")


def test_a_service_that_does_not_answer_ends_the_training_before_it_begins() -> None:
    model = certain()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    message = "expected the tracker to begin a run, got ConnectionError: nobody answers: look whether it can be reached"
    with pytest.raises(TrainingError, match=message):
        trainer(Fails([], "open")).fit(model, data())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("at", "calls"),
    [
        ("log 2", ["open", "log 1", "log 2"]),
        ("keep", ["open", "log 1", "log 2", "log 3", "keep"]),
        ("close", ["open", "log 1", "log 2", "log 3", "keep", "close"]),
    ],
)
def test_training_goes_on_without_a_service_that_is_lost(at: str, calls: list[str]) -> None:
    tracker = Fails([], at)
    with pytest.warns(UserWarning, match=r"the tracker is lost \(ConnectionError: nobody answers\): training goes on"):
        history = trainer(tracker, epochs=3).fit(certain(), data())
    assert tracker.calls == calls
    assert history.column("loss") == trainer(epochs=3).fit(certain(), data()).column("loss")
    tracker.at = ""
    assert len(trainer(tracker, epochs=3).fit(certain(), data())) == 3
    assert tracker.calls[len(calls) :] == ["open", "log 1", "log 2", "log 3", "keep", "close"]  # the next is whole


def test_bad_settings() -> None:
    with pytest.raises(SettingError, match="pictures_every as a number of epochs of at least 0"):
        Heard([], -1)


@pytest.mark.parametrize(("log", "library"), [(WandbLog, "wandb"), (MLflowLog, "mlflow")])
def test_a_library_that_is_not_there(log: Any, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(SettingError, match=rf'the library {library} for an? {log.__name__}.*pip install "mnistvae\['):
        log()


# --- the real ones --------------------------------------------------------------------------------------------------


@pytest.fixture
def mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """MLflow's client of a store in a folder."""
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.chdir(tmp_path)
    library = pytest.importorskip("mlflow", reason="the real MLflow is asked")
    return library.MlflowClient(str(tmp_path / "store"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # MLflow's own, of its stores
def test_mlflow_has_a_run_that_was_stopped_and_resumed(mlflow: Any, tmp_path: Path) -> None:
    def fit(*callbacks: Callback, resume: Path | None = None) -> mv.History:
        log = MLflowLog("digits", tracking_uri=str(tmp_path / "store"), run_name="first", model=True, config={"a": "b"})
        return trainer(log, Checkpoint(tmp_path / "checkpoints"), *callbacks).fit(
            certain(), data(), data(16), resume=resume
        )

    with pytest.raises(Interrupted):
        fit(StopAt(7))
    experiment = mlflow.get_experiment_by_name("digits")
    (run,) = mlflow.search_runs([experiment.experiment_id])
    assert run.info.status == "KILLED"
    history = fit(resume=tmp_path / "checkpoints")
    (run,) = mlflow.search_runs([experiment.experiment_id])
    assert (run.info.status, run.info.run_name) == ("FINISHED", "first")
    assert (run.data.params["trainer/batch_size"], run.data.params["a"]) == ("8", "b")
    found = mlflow.get_metric_history(run.info.run_id, "loss/validation")
    assert [(one.step, one.value) for one in found] == [*enumerate(history.column("validation_loss"), 1)]
    assert {one.path for one in mlflow.list_artifacts(run.info.run_id)} == {"model.safetensors", "pictures"}
    pictures = {one.path for one in mlflow.list_artifacts(run.info.run_id, "pictures")}
    assert pictures == {f"pictures/{name}-{n:04d}.png" for name in ("samples", "plane") for n in (1, 2)}
    mv.load(mlflow.download_artifacts(run.info.run_id, "model.safetensors", str(tmp_path)), classes=[Certain])


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Weights & Biases, which sends nothing and writes into a folder."""
    library = pytest.importorskip("wandb", reason="the real library is asked")
    for name, value in {"MODE": "offline", "SILENT": "true", "DIR": str(tmp_path), "ERROR_REPORTING": "false"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "data"))
    return library


def records(folder: Path) -> list[Any]:
    """What the library wrote for ``wandb sync`` to send."""
    from wandb.proto import wandb_internal_pb2

    found, part, at, block = [], b"", 7, 2**15  # blocks as LevelDB's log has them, after a header of 7 bytes
    (path,) = folder.glob("*.wandb")
    raw = path.read_bytes()
    while at + 7 <= len(raw):
        if (room := block - at % block) < 7:
            at += room
            continue
        _, size, kind = struct.unpack("<IHB", raw[at : at + 7])
        part += raw[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in {1, 4}:  # whole, or the last part
            found.append(wandb_internal_pb2.Record.FromString(part))
            part = b""
    return found


def _name(item: Any) -> str:
    return str(item.key or item.nested_key[0])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # its own
def test_wandb_has_a_run_that_was_stopped_and_resumed(offline: Any, tmp_path: Path) -> None:
    def fit(*callbacks: Callback, resume: Path | None = None) -> mv.History:
        log = WandbLog("digits", model=True, config={"a": "b"}, name="first")
        return trainer(log, Checkpoint(tmp_path / "checkpoints"), *callbacks).fit(
            certain(), data(), data(16), resume=resume
        )

    with pytest.raises(Interrupted):
        fit(StopAt(7))
    history = fit(resume=tmp_path / "checkpoints")
    assert offline.run is None, "the process has no run of its own"
    # Folders that were made in the same second have one name and a count: the file in each has the run's number.
    runs = sorted((tmp_path / "wandb").glob("offline-run-*/run-*.wandb"), key=lambda one: one.stat().st_mtime)
    assert len(runs) == 2
    assert runs[0].name == runs[1].name, "one number"
    first, second = (one.parent for one in runs)
    for _ in range(100):  # the library writes in a process of its own, which a busy machine may keep waiting
        told = records(first) + records(second)
        if {"1", "2"} <= {item.value_json for one in told for item in one.history.item if "epoch" in _name(item)}:
            break
        time.sleep(0.1)
    (config, *_) = (one.run.config for one in told if one.HasField("run"))
    settings = {one.key or one.nested_key[0]: json.loads(one.value_json) for one in config.update}
    assert settings["trainer/batch_size"] == 8
    assert settings["a"] == "b"
    lines = [
        {item.key or item.nested_key[0]: json.loads(item.value_json) for item in one.history.item}
        for one in told
        if one.HasField("history")
    ]
    losses = {line["epoch"]: line["loss/training"] for line in lines}
    assert [losses[n] for n in (1, 2)] == pytest.approx(history.column("loss"))
    names = {name for line in lines for name in line}
    assert {"kl/validation", "pictures/samples", "pictures/plane"} <= {name.split(".")[0] for name in names}
    assert list(second.glob("files/media/images/pictures/samples_*.png"))
    assert any(one.HasField("request") or one.HasField("artifact") for one in told)


def test_numbers_that_resuming_sets_are_refused() -> None:
    pytest.importorskip("wandb", reason="the real library is asked")
    with pytest.raises(SettingError, match=r"other arguments of wandb\.init, got id: leave it out"):
        WandbLog(id="mine")


def test_settings_of_a_run_are_flat() -> None:
    seen: list[dict[str, Any]] = []

    class Watch(Callback):
        def on_fit_start(self, state: State) -> None:
            seen.append(run_settings(state))

    trainer(Watch(), clip_norm=3.0, schedule="cosine").fit(certain(), data())
    assert seen[0]["trainer/clip_norm"] == 3.0
    assert not any(isinstance(value, dict) for value in seen[0].values())
