"""Checkpoints: whole or refused, with the one before to fall back to, and only for the run they belong to."""

from __future__ import annotations

import errno
import functools
import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from readback import content
from safetensors import safe_open
from test_resume import EPOCHS, InEpochEnd, StopAt, data, model, outcome, same, trainer

import mnistvae as mv
from mnistvae import VAE, ImageDataset
from mnistvae._tensorfile import Kind, read_tensors, write_tensors
from mnistvae.errors import DataError, FileFormatError, OutputError, SettingError, TrainingError
from mnistvae.networks import MLPDecoder, MLPEncoder
from mnistvae.objectives import ELBO
from mnistvae.schedules import CosineDecay, OneCycle
from mnistvae.training import (
    Callback,
    Checkpoint,
    EarlyStopping,
    Interrupted,
    Snapshot,
    State,
    read_checkpoint,
    write_checkpoint,
)

KIND = Kind("mnistvae-checkpoint", 1, "checkpoint", "")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def checkpoints(*steps: int) -> list[str]:
    return [f"checkpoint-{step:08d}.safetensors" for step in steps]


def run(folder: Path, *callbacks: Callback, **changes: Any) -> Any:
    """A run with checkpoints, whole or resumed: its outcome."""
    resume = changes.pop("resume", None)
    vae = model()
    history = trainer(*(callbacks or (Checkpoint(folder),)), **changes).fit(vae, data(), data(16), resume=resume)
    return outcome(folder, vae, history)


def flip(path: Path, at: float = 0.7) -> None:
    content = bytearray(path.read_bytes())
    content[int(at * len(content))] ^= 1
    path.write_bytes(bytes(content))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def rewritten(path: Path, kind: Kind = KIND, **text: str) -> None:
    """The same tensors and text under a header that says something else, with a SHA-256 that fits."""
    tensors, before = read_tensors(path, KIND)
    own = {key: value for key, value in before.items() if key not in {"format", "format_version", "mnistvae_version"}}
    write_tensors(path, kind, tensors, own | text)


# --- damage ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage",
    [
        flip,
        functools.partial(flip, at=0.999),
        functools.partial(flip, at=0.02),
        truncate,
        empty,
        functools.partial(rewritten, info="{"),
    ],
    ids=["flipped", "flipped at the end", "flipped in the header", "truncated", "empty", "no JSON"],
)
def test_a_damaged_newest_one_falls_back_to_the_one_before(damage: Callable[[Path], None], tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    with pytest.raises(Interrupted):
        run(tmp_path / "a", Checkpoint(tmp_path / "a"), StopAt(8))
    assert names(tmp_path / "a") == checkpoints(6, 8)
    damage(tmp_path / "a" / checkpoints(8)[0])
    with pytest.warns(UserWarning, match=r"checkpoint-00000008\.safetensors is passed over: expected ") as warned:
        resumed = run(tmp_path / "a", resume=tmp_path / "a")
    assert len(warned) == 1
    same(resumed, whole)


def test_a_damaged_one_is_an_error_where_no_other_is(tmp_path: Path) -> None:
    run(tmp_path, epochs=2)
    for path in tmp_path.iterdir():
        flip(path)
    with (
        pytest.warns(UserWarning, match="is passed over") as warned,
        pytest.raises(FileFormatError, match=r"checkpoint-00000006\.safetensors.*SHA-256.*damaged"),
    ):
        read_checkpoint(tmp_path)
    assert len(warned) == 2


def test_a_damaged_file_is_an_error_when_it_is_asked_for(tmp_path: Path) -> None:
    run(tmp_path, epochs=2)
    path = tmp_path / checkpoints(6)[0]
    flip(path)
    with pytest.raises(FileFormatError, match="SHA-256"):
        read_checkpoint(path)


@pytest.mark.parametrize("keep", [1, 2])
def test_what_is_written_beside_a_damaged_newest_one_stays(keep: int, tmp_path: Path) -> None:
    """The damaged one has the highest number, and must not push out those that are good."""
    run(tmp_path, Checkpoint(tmp_path, keep=4), epochs=2, schedule=None)
    flip(tmp_path / checkpoints(6)[0])
    with pytest.warns(UserWarning, match="passed over"), pytest.raises(Interrupted) as stopped:
        run(
            tmp_path,
            Checkpoint(tmp_path, keep=keep),
            StopAt(4),
            epochs=2,
            schedule=None,
            resume=tmp_path,
        )
    assert "go on with" in str(stopped.value)
    assert checkpoints(4)[0] in names(tmp_path)
    assert read_checkpoint(tmp_path / checkpoints(4)[0]).info["step"] == 4


def test_a_new_run_into_the_folder_of_another_is_refused(tmp_path: Path) -> None:
    run(tmp_path, schedule=None)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert names(tmp_path) == checkpoints(9, 12)
    with pytest.raises(
        OutputError, match=r"a folder without checkpoints for a new run, .*: go on with that one by resume="
    ):
        run(tmp_path, schedule=None, learning_rate=0.02)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


# --- not a checkpoint of this run -----------------------------------------------------------------------------------


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    run(tmp_path, Checkpoint(tmp_path, keep=1), epochs=1)
    rewritten(tmp_path / checkpoints(3)[0], KIND._replace(version=2))
    with pytest.raises(FileFormatError, match=r"version 2.*pip install -U mnistvae"):
        read_checkpoint(tmp_path / checkpoints(3)[0])
    with pytest.warns(UserWarning, match="version 2"), pytest.raises(FileFormatError, match="version 2"):
        read_checkpoint(tmp_path)


def test_a_model_file_is_no_checkpoint_and_the_reverse(tmp_path: Path) -> None:
    run(tmp_path, Checkpoint(tmp_path, keep=1), epochs=1)
    with pytest.raises(FileFormatError, match="safetensors of something else"):
        mv.load(tmp_path / checkpoints(3)[0])
    path = mv.save(VAE(2, (1, 8, 8)), tmp_path / "model.safetensors")
    with pytest.raises(FileFormatError, match="checkpoint of mnistvae's"):
        read_checkpoint(path)


def test_nothing_to_go_on_with(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"a checkpoint in .*, got none: pass the folder"):
        run(tmp_path, resume=tmp_path)
    with pytest.raises(FileFormatError, match="no such folder"):
        run(tmp_path, resume=tmp_path / "nowhere")


def test_the_folder_of_a_run_has_its_checkpoints_in_a_folder_of_their_own(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    with pytest.raises(Interrupted):
        run(tmp_path / "run" / "checkpoints", Checkpoint(tmp_path / "run" / "checkpoints"), StopAt(7))
    same(run(tmp_path / "run" / "checkpoints", resume=tmp_path / "run"), whole)


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was stopped in its second epoch."""
    folder = tmp_path_factory.mktemp("begun")
    with pytest.raises(Interrupted):
        run(folder, Checkpoint(folder), StopAt(5))
    return folder


SETTINGS: dict[str, Any] = {
    "batch_size": 10,
    "learning_rate": 0.02,
    "clip_norm": None,
    "ema": 0.99,
    "accumulate": 1,
    "patience": 3,
    "validate_every": 2,
    "precision": "bf16",
    "compile": True,
    "seed": 1,
    "binarization": "static",
    "optimizer": torch.optim.AdamW,
    "schedule": "one-cycle",
}


@pytest.mark.parametrize("name", SETTINGS)
def test_another_setting_is_refused_by_its_name(name: str, begun: Path, tmp_path: Path) -> None:
    before = content(begun)
    with pytest.raises(SettingError, match=f"expected {name}=.*as the run to go on with has it"):
        run(tmp_path, resume=begun, **{name: SETTINGS[name]})
    assert content(begun) == before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("optimizer", functools.partial(torch.optim.Adam, betas=(0.5, 0.9))),
        ("schedule", CosineDecay(warmup=3)),
        ("schedule", OneCycle(rise=0.2)),
        ("schedule", None),
    ],
)
def test_another_argument_of_a_partial_is_another_setting(name: str, value: Any, begun: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=f"expected {name}="):
        run(tmp_path, resume=begun, **{name: value})


@pytest.mark.parametrize("change", [{"epochs": EPOCHS + 1}, {"steps": 10}])
def test_another_length_is_another_setting_where_the_schedule_knows_it(
    change: dict[str, int], begun: Path, tmp_path: Path
) -> None:
    with pytest.raises(SettingError, match="expected schedule="):
        run(tmp_path, resume=begun, **change)


def test_another_world_size_is_refused(begun: Path, tmp_path: Path) -> None:
    path = tmp_path / checkpoints(5)[0]
    path.write_bytes((begun / path.name).read_bytes())
    snapshot = read_checkpoint(path)
    snapshot.info["settings"]["processes"] = 2
    write_checkpoint(tmp_path, snapshot)
    with pytest.raises(SettingError, match="processes=2, as the run to go on with has it, got 1"):
        run(tmp_path, resume=tmp_path)


def untrained(**changes: Any) -> VAE:
    parts = {"encoder": MLPEncoder(2, (1, 8, 8), (8,)), "decoder": MLPDecoder(2, (1, 8, 8), (8,)), **changes}
    return VAE(2, (1, 8, 8), **parts)


@pytest.mark.parametrize(
    "other",
    [
        untrained,
        lambda: untrained(objective=ELBO(3.0)),
        lambda: VAE(3, (1, 8, 8), encoder=MLPEncoder(3, (1, 8, 8), (8,)), decoder=MLPDecoder(3, (1, 8, 8), (8,))),
    ],
    ids=["parts", "objective", "size"],
)
def test_another_model_is_refused_and_left_as_it_is(other: Callable[[], VAE], begun: Path) -> None:
    vae = other()
    before = {name: tensor.clone() for name, tensor in vae.state_dict().items()}
    with pytest.raises(FileFormatError, match="expected a checkpoint of this model, got one of another model"):
        trainer(Checkpoint(begun)).fit(vae, data(), data(16), resume=begun)
    assert all(torch.equal(tensor, before[name]) for name, tensor in vae.state_dict().items())


def test_another_beta_is_another_model(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        trainer(Checkpoint(tmp_path), StopAt(2)).fit(untrained(objective=ELBO(2.0)), data())
    with pytest.raises(FileFormatError, match="another model"):
        trainer(Checkpoint(tmp_path)).fit(untrained(objective=ELBO(2.5)), data(), resume=tmp_path)
    trainer(Checkpoint(tmp_path)).fit(untrained(objective=ELBO(2.0)), data(), resume=tmp_path)


@pytest.mark.parametrize(
    "other",
    [
        data(48),
        ImageDataset(data().images, name="others"),
        ImageDataset(data().images.flip(0)),
        ImageDataset(data().images, torch.zeros(40, dtype=torch.int64) + 1),
        ImageDataset(torch.cat([data().images[:39], data().images[39:].flip(2) ^ 1])),
    ],
    ids=["number", "name", "order", "labels", "pixels"],
)
def test_other_data_are_refused(other: ImageDataset, begun: Path) -> None:
    steps = {"accumulate": 2, "schedule": CosineDecay(warmup=2)}
    with pytest.raises(DataError, match="the data that the run to go on with has"):
        trainer(Checkpoint(begun), **steps).fit(model(), other, data(16), resume=begun)


@pytest.mark.parametrize(
    ("callbacks", "got"),
    [
        ([], "EarlyStopping"),
        ([EarlyStopping(3), Checkpoint(os.devnull)], "EarlyStopping, EarlyStopping, Checkpoint"),
    ],
)
def test_other_callbacks_are_refused(callbacks: list[Callback], got: str, begun: Path) -> None:
    expected = f"the callbacks that the run had: EarlyStopping, Checkpoint, got {got}: pass the same"
    with pytest.raises(SettingError, match=expected):
        trainer(*callbacks).fit(model(), data(), data(16), resume=begun)


def test_callbacks_without_a_state_may_change(begun: Path, tmp_path: Path) -> None:
    resumed = run(tmp_path, Checkpoint(tmp_path), StopAt(0), resume=begun)
    assert names(tmp_path)
    same(resumed, run(tmp_path / "whole"))


# --- which are kept -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "left"),
    [
        ({}, (9, 12)),
        ({"keep": 1}, (12,)),
        ({"keep": 3}, (6, 9, 12)),
        ({"keep": 9}, (3, 6, 9, 12)),
        ({"every": 2}, (6, 12)),
        ({"every": 3}, (9, 12)),
        ({"every": 9}, (12,)),
    ],
)
def test_so_many_are_kept_and_the_last_epoch_is_always_there(
    settings: dict[str, Any], left: tuple[int, ...], tmp_path: Path
) -> None:
    run(tmp_path, Checkpoint(tmp_path, **settings))
    assert names(tmp_path) == checkpoints(*left)


def test_other_files_of_the_folder_are_left_alone(tmp_path: Path) -> None:
    others = ["checkpoint-1.txt", "checkpoint-x.safetensors", "model.safetensors", "old-checkpoint-1.safetensors"]
    for name in others:
        (tmp_path / name).write_text("mine")
    run(tmp_path, Checkpoint(tmp_path, keep=1))
    assert names(tmp_path) == sorted([*others, *checkpoints(12)])
    assert all((tmp_path / name).read_text() == "mine" for name in others)


@pytest.mark.parametrize(("every", "keep"), [(0, 1), (1, 0), (-1, 2), (1.5, 2)])
def test_numbers_that_make_no_sense(every: Any, keep: Any, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="at least 1"):
        Checkpoint(tmp_path, every, keep)


class Losses(Callback):
    """Gives the epochs losses of our choice, and notes the weights that they are said to belong to."""

    def __init__(self, name: str, *losses: float) -> None:
        self.name = name
        self.losses = losses
        self.weights: list[dict[str, torch.Tensor]] = []

    def on_epoch_end(self, state: State) -> None:
        state.history[-1][self.name] = self.losses[state.epoch - 1]
        self.weights.append({name: tensor.clone() for name, tensor in state.model.state_dict().items()})


@pytest.mark.parametrize("ema", [None, 0.9])
def test_the_best_is_the_model_with_the_lowest_validation_loss(ema: float | None, tmp_path: Path) -> None:
    listener = Losses("validation_loss", 9.0, 7.0, 7.0, 8.0)
    vae = untrained()
    settings: dict[str, Any] = {"patience": None, "ema": ema}
    trainer(listener, Checkpoint(tmp_path, best=True), **settings).fit(vae, data(), data(16))
    best = mv.load(tmp_path / "best.safetensors")
    assert all(torch.equal(tensor, listener.weights[1][name]) for name, tensor in best.state_dict().items())
    assert not all(torch.equal(tensor, best.state_dict()[name]) for name, tensor in vae.state_dict().items())
    assert mv.io.read(tmp_path / "best.safetensors").metadata == {"epoch": 2, "loss": 7.0}


def test_the_best_with_averaged_weights_is_the_average(tmp_path: Path) -> None:
    vae = untrained()
    trainer(Checkpoint(tmp_path, best=True), epochs=1, patience=None, ema=0.9).fit(vae, data(), data(16))
    best = mv.load(tmp_path / "best.safetensors").state_dict()
    saved = read_checkpoint(tmp_path).tensors
    assert all(torch.equal(tensor, saved[f"ema.{name}"]) for name, tensor in best.items())
    assert not any(torch.equal(best[name], saved[f"model.{name}"]) for name in best)
    assert all(torch.equal(tensor, best[name]) for name, tensor in vae.state_dict().items())


def test_without_validation_data_the_best_is_that_of_the_lowest_loss(tmp_path: Path) -> None:
    listener = Losses("loss", 9.0, 7.0, 8.0, 7.5)
    trainer(listener, Checkpoint(tmp_path, best=True), patience=None).fit(untrained(), data())
    assert mv.io.read(tmp_path / "best.safetensors").metadata == {"epoch": 2, "loss": 7.0}


def test_an_epoch_without_a_validation_is_not_the_best(tmp_path: Path) -> None:
    vae = untrained()
    history = trainer(Checkpoint(tmp_path, best=True), patience=None, validate_every=2).fit(vae, data(), data(16))
    about = mv.io.read(tmp_path / "best.safetensors").metadata
    assert about["epoch"] in {2, 4}
    assert about["loss"] == min(history[1]["validation_loss"], history[3]["validation_loss"])


def test_a_resumed_run_knows_its_best(tmp_path: Path) -> None:
    losses = (5.0, 9.0, 8.0, 7.0)
    with pytest.raises(Interrupted):
        trainer(Losses("validation_loss", *losses), Checkpoint(tmp_path, best=True), InEpochEnd(2), patience=None).fit(
            untrained(), data(), data(16)
        )
    listeners = Losses("validation_loss", *losses), Checkpoint(tmp_path, best=True)
    trainer(*listeners, patience=None).fit(untrained(), data(), data(16), resume=tmp_path)
    assert mv.io.read(tmp_path / "best.safetensors").metadata == {"epoch": 1, "loss": 5.0}


def test_a_second_run_of_one_checkpoint_has_a_best_of_its_own(tmp_path: Path) -> None:
    losses, kept = Losses("validation_loss", 3.0), Checkpoint(tmp_path / "first", best=True)
    again = trainer(losses, kept, epochs=1, patience=None)
    again.fit(untrained(), data(), data(16))
    losses.losses = (6.0,)
    kept.folder = tmp_path / "second"
    again.fit(untrained(), data(), data(16))
    for folder, loss in (("first", 3.0), ("second", 6.0)):
        assert mv.io.read(tmp_path / folder / "best.safetensors").metadata == {"epoch": 1, "loss": loss}


# --- a disk that fails ----------------------------------------------------------------------------------------------


def test_a_folder_that_cannot_be_made_costs_no_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    steps = StopAt(1)
    with pytest.raises(OutputError, match="a folder to write at"):
        trainer(Checkpoint(tmp_path / "file" / "run"), steps).fit(model(), data())


class FullFrom(Callback):
    """From an epoch on, the disk is full."""

    def __init__(self, epoch: int, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
        self.epoch = epoch
        self.monkeypatch = monkeypatch
        self.where = where

    def on_epoch_start(self, state: State) -> None:
        if state.epoch != self.epoch:
            return

        def full(*_: Any, **__: Any) -> Any:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        if self.where == "write":
            opened = os.fdopen

            def fdopen(*arguments: Any, **others: Any) -> Any:
                stream = opened(*arguments, **others)

                class Full(io.BufferedIOBase):
                    def write(self, content: Any) -> int:
                        stream.write(content[: len(content) // 2])
                        stream.close()
                        return full()  # type: ignore[no-any-return]

                return Full()

            self.monkeypatch.setattr(os, "fdopen", fdopen)
        else:
            owner: Any = os if self.where == "fsync" else Path
            self.monkeypatch.setattr(owner, self.where, full)


@pytest.mark.parametrize("where", ["write", "fsync", "replace"])
def test_a_disk_that_is_full_leaves_the_earlier_checkpoint(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(tmp_path / "whole")
    folder = tmp_path / "full"
    with monkeypatch.context() as patched, pytest.raises(OutputError) as caught:
        run(folder, Checkpoint(folder, keep=1), FullFrom(3, patched, where))
    assert "checkpoint-00000009.safetensors, got No space left on device: free some space" in str(caught.value)
    assert names(folder) == checkpoints(6), "and no part of a file"
    same(run(folder, resume=folder), whole)


def test_a_loss_that_is_not_finite_leaves_the_last_good_checkpoint(tmp_path: Path) -> None:
    class Poison(Callback):
        def on_batch_end(self, state: State, n: int) -> None:
            if state.step == 7:
                with torch.no_grad():
                    next(state.model.decoder.parameters()).fill_(float("nan"))

    with pytest.raises(TrainingError, match=r"nan at step 7 \(batch 2 of epoch 3\).*checkpoints are as they were"):
        run(tmp_path, Checkpoint(tmp_path), Poison(), ema=None)
    assert names(tmp_path) == checkpoints(3, 6)
    assert all(tensor.isfinite().all() for tensor in read_checkpoint(tmp_path).tensors.values())


# --- the file -------------------------------------------------------------------------------------------------------


def test_no_pickle_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a pickle")

    for module, name in [
        (torch, "load"),
        (torch, "save"),
        (pickle, "load"),
        (pickle, "loads"),
        (pickle, "dump"),
        (pickle, "dumps"),
        (pickle, "Unpickler"),
        (pickle, "Pickler"),
    ]:
        monkeypatch.setattr(module, name, refuse)
    with pytest.raises(Interrupted):
        run(tmp_path, Checkpoint(tmp_path, best=True), StopAt(5))
    run(tmp_path, Checkpoint(tmp_path, best=True), resume=tmp_path)
    assert names(tmp_path) == ["best.safetensors", *checkpoints(9, 12)]
    for path in tmp_path.iterdir():
        assert path.read_bytes()[8:9] == b"{", "the length of a header, then JSON"
        assert path.read_bytes()[:2] not in {b"PK", b"\x80\x02", b"\x80\x04"}


def test_any_reader_of_safetensors_opens_a_checkpoint(tmp_path: Path) -> None:
    run(tmp_path, Checkpoint(tmp_path, keep=1))
    with safe_open(tmp_path / checkpoints(12)[0], "pt") as file:
        assert {name.split(".")[0] for name in file.keys()} == {"model", "ema", "optimizer", "callback", "sums"}  # noqa: SIM118
        metadata = file.metadata()
    assert metadata["format"] == "mnistvae-checkpoint"
    assert metadata["format_version"] == "1"
    assert len(metadata["sha256"]) == 64


def whole(tensors: dict[str, torch.Tensor], **info: Any) -> Snapshot:
    """A snapshot with every entry that a checkpoint has."""
    entries: dict[str, Any] = {key: [] for key in ("data", "trained", "history", "callbacks")}
    entries |= dict.fromkeys(("step", "batch", "images", "seconds", "elapsed"), 0)
    entries |= {"settings": {}, "model": {}, "optimizer": {"items": []}, "stop": "", "optimizer_class": "Adam"}
    return Snapshot({"sums": torch.zeros(3, dtype=torch.float64), **tensors}, {**entries, **info})


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(0),
        torch.tensor(3),
        torch.tensor([True, False]),
        torch.randn(3, 2).bfloat16(),
        torch.randn(4, 3).t(),
        torch.arange(5, dtype=torch.uint8)[::2],
        torch.randn(2, 2).double().requires_grad_(),
    ],
    ids=["empty", "scalar", "bool", "bfloat16", "transposed", "strided", "grad"],
)
def test_every_kind_of_tensor_comes_back_as_it_was(tensor: torch.Tensor, tmp_path: Path) -> None:
    written = whole({"one": tensor, "two": tensor}, step=7)
    path = write_checkpoint(tmp_path, written)
    assert path.name == checkpoints(7)[0]
    tensors, info = read_checkpoint(tmp_path)
    assert info == written.info
    assert all(tensors[name].dtype == tensor.dtype and torch.equal(tensors[name], tensor) for name in ("one", "two"))


@pytest.mark.parametrize("bit", [0, 3, 7])
def test_every_byte_counts(bit: int, tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, whole({"one": torch.arange(4.0)}, step=1, stop="é"))
    content = path.read_bytes()
    before = read_checkpoint(path)
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 1 << bit
        path.write_bytes(bytes(changed))
        try:
            after = read_checkpoint(path)
        except FileFormatError:
            continue
        # A space that pads the header, or a blank between its words, may change without a loss.
        assert after.info == before.info, position
        assert torch.equal(after.tensors["one"], before.tensors["one"]), position
