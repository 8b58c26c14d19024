"""The life of a run's folder: whenever a run is killed, it can be gone on with or its folder is free again."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

import mnistvae as mv
from mnistvae import ImageDataset, Trainer
from mnistvae._files import write_atomically
from mnistvae._lock import locked
from mnistvae.commands import RunFolder, cli
from mnistvae.errors import OutputError
from mnistvae.training import Callback, Checkpoint, CSVLog, History, JSONLinesLog, SampleGrid, State

HOW = ("--recipe", "mlp-2d", "--epochs", 2, "--device", "cpu", "--quiet", "--samples-every", 0, "--set", "hidden=[4]")


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands find 64 digits, and draw no pictures."""
    whole = mv.load_dataset("mnist-mini", "test")[:64]
    monkeypatch.setattr("mnistvae.data.load_dataset", lambda *_: whole)
    monkeypatch.setattr("mnistvae.plotting.png_bytes", lambda _: b"picture")


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], prog_name="mnistvae")


def go_on(folder: Path) -> None:
    """Go on with the run to its end or, where there is none, begin a new one in its folder."""
    if invoke("train", "--resume", folder, "--device", "cpu", "--quiet").exit_code:
        assert invoke("train", *HOW, "--out", folder).exit_code == 0


class Killed(BaseException):
    """As SIGKILL: what is left was copied before anything could be put in order."""


@pytest.mark.parametrize("call", range(1, 13))
def test_killed_at_any_write(call: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed before the rename of the n-th file that is written, of a run that writes ten."""
    replace, left, calls = Path.replace, tmp_path / "left", [0]

    def killed(self: Path, target: Any) -> Path:
        calls[0] += 1
        if calls[0] == call:
            shutil.copytree(tmp_path / "run", left)
            raise Killed
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with suppress(Killed):
            assert invoke("train", *HOW, "--out", tmp_path / "run").exit_code == 0
    if call > calls[0]:
        assert RunFolder(tmp_path / "run").state == "finished"
        return
    assert list(left.rglob("*.tmp"))
    go_on(left)
    assert not [path for path in left.rglob("*") if path.suffix in {".tmp", ".lock"}]
    assert RunFolder(left).state == "finished"


def test_a_finished_run_is_not_gone_on_with_and_not_written_over(tmp_path: Path) -> None:
    assert invoke("train", *HOW, "--out", tmp_path / "run").exit_code == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()}
    assert "got a finished one" in invoke("train", "--resume", tmp_path / "run").stderr
    assert "a folder without model.safetensors" in invoke("train", *HOW, "--out", tmp_path / "run").stderr
    shutil.rmtree(tmp_path / "run" / "checkpoints")  # not needed any more
    (tmp_path / "run" / "loss.png").unlink()
    assert "got a finished one" in invoke("train", "--resume", tmp_path / "run").stderr
    after = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    assert after.items() == {name: text for name, text in before.items() if name != "loss.png"}.items()


def test_a_failure_before_the_first_checkpoint_leaves_a_run_to_go_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OutputError("space", "none")

    with monkeypatch.context() as patch:
        patch.setattr("mnistvae.training.callbacks.checkpoint.write_checkpoint", full)
        assert invoke("train", *HOW, "--out", tmp_path / "run").exit_code == 2
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"history.csv", "run.json"}
    refused = invoke("train", *HOW, "--out", tmp_path / "run").stderr
    assert "go on with that run (--resume), or choose another folder (--out)" in refused
    assert invoke("train", "--resume", tmp_path / "run", "--quiet", "--device", "cpu").exit_code == 0
    assert len(History.from_csv(tmp_path / "run" / "history.csv")) == 2


def test_a_failing_command_takes_nothing_from_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert invoke("train", *HOW, "--out", tmp_path / "run").exit_code == 0
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    before = {path.name for path in (tmp_path / "run").iterdir()}
    with pytest.raises(KeyError), RunFolder.claim(tmp_path / "run", ["metrics.json"]):
        raise KeyError
    assert {path.name for path in (tmp_path / "run").iterdir()} == before


# --- the lock -------------------------------------------------------------------------------------------------------


def test_a_run_is_gone_on_with_by_one_process_at_a_time(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with folder.resume(), pytest.raises(OutputError, match="in use: wait for its end"), RunFolder(tmp_path).resume():
        raise AssertionError
    with folder.resume():
        assert [path.name for path in tmp_path.iterdir()] == ["run.json.lock"]
    assert list(tmp_path.iterdir()) == []


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, sys\nfrom mnistvae._lock import locked\n"
        "with locked(pathlib.Path(sys.argv[1])):\n    print(1, flush=True)\n    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # noqa: S603
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(OutputError, match="no other command is writing"), locked(tmp_path / "a.lock"):
            raise AssertionError
        process.kill()
        process.wait()
    assert (tmp_path / "a.lock").exists(), "nobody was there to remove it"
    with locked(tmp_path / "a.lock"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("mnistvae._lock._lock", none)
    entered = False
    with locked(tmp_path / "a.lock"), locked(tmp_path / "a.lock"):
        entered = True  # where the file system has locks, the second is refused
    assert entered
    assert list(tmp_path.iterdir()) == []


# --- what others do to the folder meanwhile -------------------------------------------------------------------------


class Remove(Callback):
    """Removes something at the start of the second of three epochs."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_epoch_start(self, state: State) -> None:
        if state.epoch == 2:
            shutil.rmtree(self.path) if self.path.is_dir() else self.path.unlink()


@pytest.mark.parametrize("what", ["log", "log/a"])
@pytest.mark.parametrize("log", [CSVLog, JSONLinesLog])
def test_a_log_that_is_removed_is_written_anew(log: Any, what: str, tmp_path: Path) -> None:
    data = ImageDataset(torch.zeros(6, 1, 8, 8, dtype=torch.uint8))
    path = tmp_path / "log" / "a"
    listeners = [log(path), Remove(tmp_path / what)]
    history = Trainer(epochs=3, progress=False, device="cpu", callbacks=listeners).fit(mv.VAE(2, (1, 8, 8)), data)
    expected = history.to_text() if log is CSVLog else None
    assert expected is None or path.read_text() == expected
    assert len(path.read_text().splitlines()) == 3 + (log is CSVLog)


def test_temporary_files_of_killed_writers_go(tmp_path: Path) -> None:
    data = ImageDataset(torch.zeros(6, 1, 8, 8, dtype=torch.uint8))
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        for junk in (".checkpoint-00000001.safetensors.abcd.tmp", "samples-0001.png.0123abcd.tmp", "notes.tmp"):
            (tmp_path / folder / junk).write_bytes(b"x")
    listeners = [Checkpoint(tmp_path / "a"), SampleGrid(tmp_path / "b", rows=1)]
    Trainer(epochs=1, progress=False, device="cpu", callbacks=listeners).fit(mv.VAE(2, (1, 8, 8)), data)
    assert {path.name for path in tmp_path.rglob("*.tmp")} == {"notes.tmp"}


# --- file systems of other kinds ------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EPERM, errno.EACCES], ids=errno.errorcode.get)
@pytest.mark.parametrize("refused", ["fsync", "open", "chmod"])
def test_a_share_that_refuses_to_flush_or_to_change_modes(
    refused: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"old")
    sync, opened = os.fsync, os.open

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        sync(descriptor)

    def open_file(path: Any, *how: Any, **more: Any) -> int:
        if Path(path).is_dir() and how == (os.O_RDONLY,):
            raise OSError(number, os.strerror(number))
        return opened(path, *how, **more)

    def chmod(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    patches = {"fsync": ("os.fsync", fsync), "open": ("os.open", open_file), "chmod": ("pathlib.Path.chmod", chmod)}
    monkeypatch.setattr(*patches[refused])
    for name in ("a", "b"):
        assert write_atomically(tmp_path / name, b"new").read_bytes() == b"new"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_disk_that_fails_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OutputError, match="see to its permissions"):
        write_atomically(tmp_path / "a", b"new")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("length", [200, 241, 242, 255])
def test_a_long_name_and_one_without_a_dot_in_front(
    length: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, masks = os.open, []

    def open_file(path: Any, flags: int, *how: Any, **more: Any) -> int:
        if flags & os.O_CREAT and Path(os.fspath(path)).name.startswith("."):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        return opened(path, flags, *how, **more)

    monkeypatch.setattr(os, "open", open_file)
    monkeypatch.setattr(os, "umask", lambda mask: masks.append(mask) or 0)
    for name in ("m" * length, "ü" * (length // 2)):
        assert write_atomically(tmp_path / name, b"new").name == name
    assert len(list(tmp_path.iterdir())) == 2
    assert masks == [], "the mask is the whole process's"


def test_nothing_is_written_through_a_link_to_nowhere(tmp_path: Path) -> None:
    (tmp_path / "000.png").symlink_to(tmp_path / "victim")
    with pytest.raises(OutputError, match=r"a folder without 000\.png"), RunFolder.claim(tmp_path, ["000.png"]):
        raise AssertionError
    with pytest.raises(OutputError, match=r"a link to .*victim, which is not there"):
        write_atomically(tmp_path / "000.png", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["000.png"]
