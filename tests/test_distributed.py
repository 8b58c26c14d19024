"""Several processes: the result is that of one, a signal to any stops all, and one that dies is replaced."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from readback import png
from test_resume import data
from test_step import SHAPE, noisy
from torch import Tensor

from mnistvae import VAE, History, Trainer, load
from mnistvae._random import seeded
from mnistvae.ladders import LadderDecoder, LadderEncoder, LadderPrior
from mnistvae.networks import FlowEncoder, MixtureEncoder, MLPDecoder, MLPEncoder
from mnistvae.objectives import IWAE
from mnistvae.priors import Flow
from mnistvae.training.world import ALONE, World, joined, rank_here, restarted

EPOCHS = 3
#: 33 images in batches of 8 leave one image, which is more than two processes can share.
IMAGES, HELD_OUT = 33, 15

SETTINGS: dict[str, Any] = {
    "epochs": EPOCHS,
    "learning_rate": 0.01,
    "schedule": "cosine",
    "clip_norm": 20.0,
    "ema": 0.8,
    "progress": False,
    "device": "cpu",
}

SCRIPT = """
import datetime, json, os, pathlib, signal, sys
import torch
import torch.distributed as dist
from test_distributed import FAMILIES, HELD_OUT, IMAGES, SETTINGS, data, noisy
from mnistvae import Trainer
from mnistvae.training import Callback, Checkpoint, Interrupted

torch.set_num_threads(1)
folder = pathlib.Path(sys.argv[1])
rank = int(os.environ["RANK"])


class StopOne(Callback):
    everywhere = True

    def __init__(self, rank, step=0, epoch=0):
        self.rank, self.step, self.epoch = rank, step, epoch

    def stop(self, now):
        if now and rank == self.rank:
            os.kill(os.getpid(), signal.SIGTERM)

    def on_batch_end(self, state, n):
        self.stop(state.step == self.step)

    def on_epoch_end(self, state):
        self.stop(state.epoch == self.epoch)


def fit(name, *callbacks, resume=None, **changes):
    trainer = Trainer(batch_size=4, callbacks=[Checkpoint(folder / name), *callbacks], **{**SETTINGS, **changes})
    model = noisy()
    try:
        history = trainer.fit(model, data(IMAGES), data(HELD_OUT), resume=resume)
    except Interrupted as error:
        return {"interrupted": str(error)}
    return {
        "history": history.records,
        "weights": {key: tensor.tolist() for key, tensor in model.state_dict().items()},
    }


dist.init_process_group("gloo", timeout=datetime.timedelta(seconds=8))
for name, stop, changes in (
    ("whole", None, {}),
    ("accumulated", None, {"accumulate": 2}),
    ("mid-step", StopOne(1, step=7), {}),
    ("first process", StopOne(0, step=7), {}),
    ("end of an epoch", StopOne(1, epoch=2), {}),
    ("last step", StopOne(1, step=5), {"steps": 5, "schedule": None}),
):
    try:
        result = fit(name, *([stop] if stop else []), **changes)
        if stop:
            result = {"stopped": result, "resumed": fit(name, resume=folder / name, **changes)}
    except Exception as error:  # the others are to be told of, too
        result = {"error": f"{type(error).__name__}: {error}"[:300]}
    (folder / f"{name}-{rank}.json").write_text(json.dumps(result))
    if "error" in result:
        os._exit(0)  # the processes are no longer in step
dist.destroy_process_group()
# From here on, each run opens and leaves a group of its own.
again = [Trainer(batch_size=4, **SETTINGS).fit(noisy(), data(IMAGES)).column("loss") for _ in range(4)]
(folder / f"again-{rank}.json").write_text(json.dumps(again))
for name, make in FAMILIES.items():
    losses = Trainer(batch_size=4, **SETTINGS).fit(make(), data(IMAGES)).column("loss")
    (folder / f"family {name}-{rank}.json").write_text(json.dumps(losses))
"""


def _model(latent_dim: int = 3, **parts: Callable[[], Any]) -> VAE:
    """A small model, whose parts are made under one seed."""
    with seeded(5):
        made = {name: make() for name, make in parts.items()}
        made.setdefault("decoder", MLPDecoder(latent_dim, SHAPE, (8,)))
        return VAE(latent_dim, SHAPE, **made)


def _encoder() -> MLPEncoder:
    return MLPEncoder(3, SHAPE, (8,))


#: A model of each family of richer posteriors and priors.
FAMILIES: dict[str, Callable[[], VAE]] = {
    "flow": lambda: _model(encoder=lambda: FlowEncoder(_encoder(), hidden=(8,))),
    "mixture": lambda: _model(encoder=lambda: MixtureEncoder([_encoder(), _encoder()])),
    "groups": lambda: _model(
        encoder=lambda: MixtureEncoder([_encoder(), _encoder()]), objective=lambda: IWAE(2, groups=2, partial=True)
    ),
    "flow prior": lambda: _model(encoder=_encoder, prior=lambda: Flow(3, transforms=2, hidden=(8,))),
    "ladder": lambda: _model(
        6,
        encoder=lambda: LadderEncoder((2, 4), SHAPE, 8),
        decoder=lambda: LadderDecoder((2, 4), SHAPE, 8),
        prior=lambda: LadderPrior((2, 4), 8),
    ),
    "grids": lambda: _model(
        16 + 16,
        encoder=lambda: LadderEncoder(((4, 2, 2), (1, 4, 4)), SHAPE, 8),
        decoder=lambda: LadderDecoder(((4, 2, 2), (1, 4, 4)), SHAPE, 8),
        prior=lambda: LadderPrior(((4, 2, 2), (1, 4, 4)), 8),
    ),
}


def launch(*command: object, processes: int = 2, restarts: int = 0, timeout: float = 120) -> None:
    """``torchrun``, with this folder's modules and the package's."""
    paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(  # noqa: S603
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"),
            *(f"--max-restarts={restarts}", *map(str, command)),
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes made of several runs, one file for each run and process."""
    folder = tmp_path_factory.mktemp("processes")
    script = folder / "script.py"
    script.write_text(SCRIPT)
    launch(script, folder)
    return folder


@pytest.mark.slow
def test_runs_one_after_the_other_in_the_same_processes(processes: Path) -> None:
    first, second = (json.loads((processes / f"again-{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    assert len(first) == 4
    assert all(losses == first[0] for losses in first)


def result(folder: Path, name: str, rank: int) -> dict[str, Any]:
    path = folder / f"{name}-{rank}.json"
    assert path.exists(), "an earlier run failed"
    found: dict[str, Any] = json.loads(path.read_text())
    assert "error" not in found, found
    return found


def timeless(records: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{k: v for k, v in record.items() if k not in {"seconds", "images_per_second"}} for record in records]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "changes"), [("whole", {}), ("accumulated", {"accumulate": 2})])
def test_two_at_half_the_batch_are_one_at_the_whole(name: str, changes: dict[str, Any], processes: Path) -> None:
    model = noisy()
    history = Trainer(batch_size=8, **SETTINGS, **changes).fit(model, data(IMAGES), data(HELD_OUT))
    first, second = (result(processes, name, rank) for rank in range(2))
    assert timeless(first["history"]) == timeless(second["history"])
    assert first["weights"] == second["weights"], "both have the same model"
    for record, alone in zip(timeless(first["history"]), timeless(history.records), strict=True):
        assert record == pytest.approx(alone, rel=1e-4)
    for key, tensor in model.state_dict().items():
        torch.testing.assert_close(torch.tensor(first["weights"][key]), tensor, rtol=1e-3, atol=1e-4)
    assert sorted(path.name for path in (processes / name).iterdir()), "the first process writes checkpoints"


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_each_family_is_in_two_processes_what_it_is_in_one(name: str, processes: Path) -> None:
    alone = Trainer(batch_size=8, **SETTINGS).fit(FAMILIES[name](), data(IMAGES)).column("loss")
    for rank in range(2):
        assert json.loads((processes / f"family {name}-{rank}.json").read_text()) == pytest.approx(alone, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mid-step", "first process", "end of an epoch", "last step"])
def test_a_signal_to_one_stops_all_and_they_go_on_as_if_it_had_not_come(name: str, processes: Path) -> None:
    both = [result(processes, name, rank) for rank in range(2)]
    for found in both:
        assert "stopped by SIGTERM after step" in found["stopped"].get("interrupted", "it went on"), found["stopped"]
    assert "go on with resume=" in both[0]["stopped"]["interrupted"]
    assert both[0]["resumed"]["weights"] == both[1]["resumed"]["weights"]
    if name == "last step":
        assert len(both[0]["resumed"]["history"]) == 1
        return
    whole = result(processes, "whole", 0)
    assert both[0]["resumed"]["weights"] == whole["weights"]
    assert timeless(both[0]["resumed"]["history"]) == timeless(whole["history"])


COMMAND = """
import os, runpy, signal, sys
import torch
import mnistvae.data
from mnistvae.training import State

torch.set_num_threads(1)
folder, *options = sys.argv[1:]
find, begin = mnistvae.data.load_dataset, State.begin_epoch
mnistvae.data.load_dataset = lambda *arguments: find(*arguments)[:160]


def dying(self):
    under_way = begin(self)
    if first and os.environ["RANK"] == "1" and self.epoch == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return under_way


def command(name):
    sys.argv[1:] = ["train", *options, "--out", os.path.join(folder, name)]
    try:
        runpy.run_module("mnistvae", run_name="__main__")
    except SystemExit as end:
        assert not end.code, end.code


first = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
if first:
    command("live")
State.begin_epoch = dying
command("die")
"""


@pytest.mark.slow
def test_a_process_that_is_killed_is_replaced_and_the_run_ends_as_it_would_have(tmp_path: Path) -> None:
    script = tmp_path / "command.py"
    script.write_text(COMMAND)
    options = ("--recipe", "mlp-2d", "--epochs", 4, "--batch-size", 32, "--device", "cpu", "--no-progress")
    launch(script, tmp_path, *options, restarts=1)
    live, die = tmp_path / "live", tmp_path / "die"
    assert sorted(path.name for path in die.rglob("*")) == sorted(path.name for path in live.rglob("*"))
    weights: list[dict[str, Tensor]] = [load(folder / "model.safetensors").state_dict() for folder in (live, die)]
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())
    histories = [timeless(History.from_csv(folder / "history.csv").records) for folder in (live, die)]
    assert histories[0] == histories[1]
    assert len(histories[0]) == 4
    assert (png(die / "samples.png") == png(live / "samples.png")).all()


# --- without processes ----------------------------------------------------------------------------------------------


def test_a_process_on_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "TORCHELASTIC_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)
    with joined(torch.device("cpu")) as world:
        assert world is ALONE
    assert not torch.distributed.is_initialized()
    assert (rank_here(), restarted()) == (0, False)
    tensor = torch.ones(2)
    ALONE.add([tensor])
    ALONE.wait()
    assert torch.equal(tensor, torch.ones(2))
    assert ALONE.rows(5) == slice(0, 5)
    assert ALONE.writes


def test_what_torchrun_says_of_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert (rank_here(), restarted()) == (3, True)
    assert not World(3, 4).writes


def test_one_exchange_adds_tensors_of_any_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    exchanged: list[Tensor] = []

    def all_reduce(tensor: Tensor) -> None:
        exchanged.append(tensor.clone())
        tensor.mul_(2)

    monkeypatch.setattr(torch.distributed, "all_reduce", all_reduce)
    tensors = [torch.arange(6.0).reshape(2, 3), torch.tensor(7.0), torch.zeros(0), torch.ones(2, 2).t()]
    expected = [2 * tensor for tensor in tensors]
    World(0, 2).add(tensors)
    assert len(exchanged) == 1
    for got, doubled in zip(tensors, expected, strict=True):
        assert torch.equal(got, doubled)
