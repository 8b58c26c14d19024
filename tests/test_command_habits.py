"""Habits of the command line: run folders, pipes, quiet, JSON, another run's settings, threads, texts of strangers."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

import mnistvae as mv
from mnistvae import ImageDataset, commands
from mnistvae.commands import RunFolder, cli, train
from mnistvae.commands._speech import printable
from mnistvae.commands.folder import read_record
from mnistvae.commands.main import set_waiting
from mnistvae.errors import MnistvaeError, SettingError
from mnistvae.training import Callback, Doctor, State, Trainer

HOW = ("--recipe", "mlp-2d", "--epochs", 1, "--device", "cpu", "--no-progress", "--samples-every", 0, "--hidden", 4)


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> dict[str, ImageDataset]:
    """The commands find few digits, and draw no pictures."""
    digits = mv.load_dataset("mnist-mini", "test")
    parts = {"train": digits[:60], "test": digits[60:80]}
    monkeypatch.setattr("mnistvae.data.load_dataset", lambda name, split, *_: parts[split])
    monkeypatch.setattr("mnistvae.plotting.png_bytes", lambda _: b"picture")  # drawn in tests of pictures
    return parts


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], prog_name="mnistvae")


def succeed(*arguments: object) -> str:
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def run(tmp_path: Path) -> Path:
    succeed("train", *HOW, "--out", tmp_path / "run")
    return tmp_path / "run"


def test_every_command_takes_a_run_or_its_model(run: Path, tmp_path: Path) -> None:
    model = run / "model.safetensors"
    assert succeed("info", run) == succeed("info", model)
    for place in (run, model):
        assert "1 image and" in succeed("generate", place, "-n", 1, "--out", tmp_path / f"g{place.name}")
        succeed("reconstruct", place, "-n", 2, "--out", tmp_path / f"r{place.name}")
        succeed("fit-prior", place, "--components", 1, "--out", tmp_path / f"p{place.name}")
    assert "make one: mnistvae evaluate" in invoke("compare", run, run).stderr
    succeed("evaluate", run, "--only", "reconstruction", "--quiet")
    assert succeed("compare", run, model).splitlines()[1].startswith("↓ mse")
    assert "pictures of epochs in" in invoke("animate", model).stderr
    assert "got a finished one" in invoke("train", "--resume", model).stderr


@pytest.mark.parametrize("odd", [None, b"x", 3])
def test_a_path_that_is_none(odd: Any) -> None:
    for command in (commands.animate, commands.info, commands.generate, lambda one: commands.compare([one])):
        with pytest.raises(MnistvaeError, match="a path, got"):
            command(odd)


def test_a_run_without_a_model_says_how_to_go_on(run: Path) -> None:
    (run / "model.safetensors").unlink()
    for command in ("info", "generate", "evaluate"):
        assert f"go on with it: mnistvae train --resume {run}" in invoke(command, run).stderr


def test_info_for_programs(run: Path) -> None:
    found = json.loads(succeed("info", run, "--json"))
    assert found["metadata"]["recipe"] == "mlp-2d"
    assert found["model"]["class"] == "mnistvae.VAE"
    assert found["numbers"] == sum(int(np.prod(shape)) for shape in found["tensors"].values())


def test_quiet_prints_nothing(tmp_path: Path) -> None:
    done = invoke("train", *HOW, "--out", tmp_path / "run", "--quiet")
    assert (done.exit_code, done.output) == (0, "")
    assert invoke("generate", tmp_path / "run", "-n", 1, "-q").output == ""
    assert "error: " in invoke("generate", tmp_path / "none", "-q").stderr


def test_the_record_has_the_settings_of_the_recipe(run: Path) -> None:
    record = RunFolder(run).read_record()
    assert record.settings == {"latent_dim": 2, "beta": 1.0, "hidden": (4,)}
    assert record.training["batch_size"] == 128


def test_a_run_is_made_again_from_its_record(run: Path, tmp_path: Path) -> None:
    common = ("--device", "cpu", "--quiet")
    succeed("train", "--config", run / "run.json", "--out", tmp_path / "same", *common)
    first, same = (mv.load(place / "model.safetensors").state_dict() for place in (run, tmp_path / "same"))
    assert all(torch.equal(tensor, same[name]) for name, tensor in first.items())
    assert RunFolder(tmp_path / "same").read_record() == RunFolder(run).read_record()
    succeed("train", "--config", run, "--out", tmp_path / "other", "--seed", 5, "--batch-size", 7, *common)
    record = RunFolder(tmp_path / "other").read_record()
    assert (record.seed, record.training["batch_size"], record.settings["hidden"]) == (5, 7, (4,))
    assert "which a run writes, got no such file" in invoke("train", "--config", tmp_path / "none").stderr
    assert "leave --config out" in invoke("train", "--resume", run, "--config", run).stderr


def test_what_a_run_to_go_on_with_has_of_its_own(run: Path) -> None:
    (run / "model.safetensors").unlink()
    for other in ({"seed": 3}, {"samples_every": 7}, {"epochs": 9}):
        with pytest.raises(SettingError, match=f"no settings to resume with, got {next(iter(other))}"):
            train(resume=run, **other)  # type: ignore[arg-type]


# --- images to validate with ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ((), "60 images to train on, 20 to validate"),
        (("--validation-split", 0.25), "45 images to train on, 15 of the same to validate"),
        (("--validation-split", 0), "60 images to train on, 0 to validate"),
        (("--patience", 3), "54 images to train on, 6 of the same to validate"),
    ],
)
def test_test_images_choose_nothing(options: tuple[object, ...], parts: str, tmp_path: Path) -> None:
    assert parts in succeed("train", *HOW, *options, "--out", tmp_path / "run")


def test_images_held_out_are_others_than_those_trained_on(few: dict[str, ImageDataset], tmp_path: Path) -> None:
    seen: list[torch.Tensor] = []

    def keep(_: Any, data: ImageDataset, validation: ImageDataset) -> Any:
        seen.extend((data.images, validation.images))
        raise SettingError("stop")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "fit", lambda self, model, data, validation, resume=None: keep(model, data, validation))
        for _ in range(2):
            invoke("train", *HOW, "--validation-split", 0.3, "--out", tmp_path / "run", "--seed", 4)
    assert torch.equal(seen[0], seen[2])
    assert torch.equal(seen[1], seen[3])
    rows = {image.numpy().tobytes() for part in seen[:2] for image in part}
    assert rows == {image.numpy().tobytes() for image in few["train"].images}


@pytest.mark.parametrize("share", ["1", "-0.1", "nan", "0.001"])
def test_a_share_that_makes_no_sense(share: str) -> None:
    assert invoke("train", *HOW, "--validation-split", share).exit_code == 2


# --- what is printed ------------------------------------------------------------------------------------------------


def test_control_characters_are_written_out() -> None:
    assert (
        printable("a\x1b[2J\x07\r\x9b\u202e\udc80 é 数\u00a0\n\t")
        == "a\\x1b[2J\\x07\\r\\x9b\\u202e\\udc80 é 数\u00a0\n\t"
    )


def test_what_a_file_says_does_not_steer_the_terminal(tmp_path: Path) -> None:
    evil = "\x1b]0;x\x07\x1b[2J"
    path = mv.save(mv.VAE(2), tmp_path / "m.safetensors", {"note": evil, "dataset": evil, "recipe": evil})
    for done in (invoke("info", path), invoke("evaluate", path), invoke("generate", f"{evil}x")):
        assert "\x1b" not in done.output
        assert "\x07" not in done.output


@pytest.mark.parametrize("command", [["recipes"], ["--help"], ["train", "--help"]], ids=" ".join)
def test_a_pipe_that_closes_is_no_error(command: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)  # as `| head` does once it has enough
    with os.fdopen(write, "wb") as stream:
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-m", "mnistvae", *command], stdout=stream, stderr=subprocess.PIPE, check=False
        )
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_setting_that_is_spelt_wrong_names_the_closest() -> None:
    assert "the closest is 'latent_dim'" in invoke("train", "--set", "latent_dims=3").stderr
    assert "the closest is 'batch_size'" in invoke("train", "--set", "batchsize=3").stderr
    assert "expected --image-channels as 1 for grey" in invoke("train", "--image-channels", 2).stderr


@pytest.mark.parametrize(("n", "options", "shape"), [(25, (), (5, 5)), (10, ("--columns", 5), (2, 5)), (3, (), (2, 2))])
def test_samples_are_square_unless_columns_are_given(
    n: int, options: tuple[object, ...], shape: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    grid = mv.plotting.sample_grid

    def sample_grid(images: Any, **how: Any) -> Any:
        seen.append(mv.images.montage(images, how.get("columns")).shape)
        return grid(images, **how)

    monkeypatch.setattr("mnistvae.plotting.sample_grid", sample_grid)
    path = mv.save(mv.VAE(2, (1, 8, 8)), tmp_path / "m.safetensors")
    succeed("generate", path, "-n", n, *options, "--out", tmp_path / "out")
    assert seen == [(shape[0] * 9 + 1, shape[1] * 9 + 1)]
    with Image.open(tmp_path / "out" / "000.png") as picture:
        assert picture.size == (8, 8)


def test_ctrl_c_before_the_first_step_says_that_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "fit", stopped)
    done = invoke("train", *HOW, "--out", tmp_path / "run")
    assert done.exit_code == 130
    assert done.stderr.splitlines()[-1] == "stopped by SIGINT; no step was finished, so nothing is kept"
    assert not (tmp_path / "run").exists()


# --- threads --------------------------------------------------------------------------------------------------------


def test_threads_are_set_for_the_command_and_put_back(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, seen = torch.get_num_threads(), []
    sample = mv.VAE.sample

    def counting(*arguments: Any, **how: Any) -> torch.Tensor:
        seen.append(torch.get_num_threads())
        return sample(*arguments, **how)

    monkeypatch.setattr(mv.VAE, "sample", counting)
    succeed("generate", run, "-n", 1, "--threads", 2)
    assert seen == [2]
    assert torch.get_num_threads() == before
    assert invoke("generate", run, "--threads", 0).exit_code == 2


@pytest.mark.parametrize("name", ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "KMP_BLOCKTIME"])
def test_how_threads_wait_is_the_users_choice(name: str) -> None:
    chosen = {name: "7", "HOME": "/"}
    set_waiting(chosen)
    assert chosen == {name: "7", "HOME": "/"}
    free: dict[str, str] = {}
    set_waiting(free)
    assert re.fullmatch(r"\d{3,5}", free["GOMP_SPINCOUNT"])


class Wait(Callback):
    """Waits in each epoch, as for slow data."""

    def on_epoch_start(self, state: State) -> None:
        import time

        time.sleep(0.2)


def slow(monkeypatch: pytest.MonkeyPatch, *callbacks: Callback) -> list[str]:
    monkeypatch.setattr("mnistvae.training.callbacks.doctor._LONG", 0.0)
    data = ImageDataset(torch.full((8, 1, 8, 8), 200, dtype=torch.uint8))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        listeners = [Doctor(patience=100), *callbacks]
        Trainer(epochs=3, progress=False, device="cpu", callbacks=listeners).fit(mv.VAE(2, (1, 8, 8)), data)
    return [str(one.message) for one in caught if "end them" in str(one.message)]


def test_the_doctor_sees_a_run_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    (line,) = slow(monkeypatch, Wait())
    assert re.match(r"this run computed for \d+% of its time: other programs .*--threads 1", line)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)  # it cannot have fewer
    (line,) = slow(monkeypatch, Wait())
    assert line.endswith("or the data come slowly; end them")


def test_the_doctor_sees_a_run_that_is_interrupted_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    from mnistvae.training.callbacks.doctor import _Clock

    times = iter(range(100))

    def now() -> _Clock:
        n = next(times)
        return _Clock(10.0 * n, 10.0 * n, 2_000 * n)

    monkeypatch.setattr(_Clock, "now", staticmethod(now))
    (line,) = slow(monkeypatch)
    assert line.startswith("this run waits for the cores")
    monkeypatch.setattr(_Clock, "now", staticmethod(lambda: now()._replace(moved=0)))
    assert slow(monkeypatch) == []


def test_the_folder_of_an_archive_is_no_class(tmp_path: Path) -> None:
    for name in ("a", "b", "__MACOSX"):
        (tmp_path / name).mkdir()
        if name != "__MACOSX":
            for number in range(3):
                Image.fromarray(np.full((4, 4), number, np.uint8)).save(tmp_path / name / f"{number}.png")
    assert mv.ImageDataset.from_folder(tmp_path).class_names == ("a", "b")
    shutil.rmtree(tmp_path / "b")
    assert mv.ImageDataset.from_folder(tmp_path).class_names is None


def test_the_scale_of_an_archive_is_an_option_and_stays_with_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mnistvae.data.load_dataset", mv.load_dataset)
    levels = np.random.default_rng(0).integers(0, 4096, (40, 8, 8))
    levels[0, 0, 0] = 4095
    np.savez(tmp_path / "twelve.npz", images=levels)
    data = (*HOW, "--dataset", tmp_path / "twelve.npz")
    assert "give the value that is white: max_value=4095 (--max-value 4095)" in invoke("train", *data).stderr
    succeed("train", *data, "--max-value", 4095, "--out", tmp_path / "run")
    assert read_record(tmp_path / "run").max_value == 4095
    succeed("encode", tmp_path / "run", "--out", tmp_path / "codes")
    succeed("reconstruct", tmp_path / "run", "--dataset", "mnist-mini", "--image-size", 8)  # which has another scale


@pytest.mark.parametrize(
    ("option", "said"),
    [("--batch-size 0", "batch_size as"), ("--learning-rate -1", "learning_rate"), ("--device tpu", "a device")],
)
def test_settings_are_looked_at_before_the_data(
    option: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("the data were read")

    monkeypatch.setattr("mnistvae.data.load_dataset", never)
    result = invoke("train", *option.split(), "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_share_that_holds_no_image_out() -> None:
    result = invoke("train", "--validation-split", 0.001)
    assert re.search(r"leaves some on both sides, got 0\.001, 0 images: one image is 0\.017", result.stderr)


def test_the_last_of_an_option_that_is_given_twice_counts_and_that_is_said(tmp_path: Path) -> None:
    arguments = ("generate", "conditional", "--label", "3", "--label", "5", "-n", "2")
    result, alone = (
        invoke(*some, "--out", tmp_path / name)
        for some, name in ((arguments, "a"), (arguments[:2] + arguments[4:], "b"))
    )
    assert result.exit_code == alone.exit_code == 0
    assert result.stderr.startswith("--label is given 2 times: the last counts\n")
    assert "times" not in alone.stderr
    assert (tmp_path / "a" / "samples.png").read_bytes() == (tmp_path / "b" / "samples.png").read_bytes()
