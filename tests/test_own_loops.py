"""Loops of one's own: the code of the page "Your own loop", run with the real libraries.

The blocks of a section run after those of the sections that it builds on, in one namespace, as a reader would run them.
"""

from __future__ import annotations

import json
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from test_distributed import launch

import mnistvae as mv
from mnistvae.objectives import ELBO
from mnistvae.schedules import Linear

PAGE = Path(__file__).parent.parent / "docs/howto/own-loop.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def sections() -> dict[str, str]:
    """The Python of each section by its heading; that before the first is called "start"."""
    parts = re.split(r"^## (.*)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {
        name: "\n".join(BLOCK.findall(text)) for name, text in zip(["start", *parts[1::2]], parts[::2], strict=True)
    }


CODE = sections()


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Runs sections of the page in an empty folder, and gives their names."""
    monkeypatch.chdir(tmp_path)

    def run(*names: str, change: Callable[[str], str] = lambda code: code) -> dict[str, Any]:
        found: dict[str, Any] = {"__name__": "page"}
        monkeypatch.setitem(sys.modules, "page", type(sys)("page"))
        with torch.random.fork_rng():
            torch.manual_seed(0)
            for name in names:
                exec(compile(change(CODE[name]), f"{PAGE.name}: {name}", "exec"), found)  # noqa: S102
        return found

    return run


def untrained() -> float:
    """The loss of the page's images before any training."""
    found: dict[str, Any] = {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        exec(CODE["start"], found)  # noqa: S102
    return loss_of(found["vae"], found["data"])


def loss_of(vae: mv.VAE, data: mv.ImageDataset) -> float:
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(1)
        return float(vae.eval().loss(data.images).loss.mean())


def check(names: dict[str, Any], file: str, factor: float = 0.8) -> mv.VAE:
    """A run must have made the loss lower, moved the schedule, and left a file of the model."""
    vae, data = names["vae"], names["data"]
    saved = mv.load(file)
    assert all(torch.equal(value, saved.state_dict()[name].to(value)) for name, value in vae.state_dict().items())
    assert loss_of(vae, data) < factor * untrained()
    assert 0 < float(vae.objective._factor) < 0.2, "of a schedule over 100 steps"
    return saved


def test_plain(page: Any) -> None:
    names = page("start", "Plain PyTorch")
    check(names, "vae.safetensors")


def test_a_gradient_for_each_image(page: Any) -> None:
    names = page("start", "Plain PyTorch", "A gradient for each image")
    assert names["norms"].isfinite().all()
    assert len(set(names["norms"].tolist())) == 8


AFTERWARDS = """
import json, os, pathlib
rank = os.environ["RANK"]
pathlib.Path(f"weights-{rank}.json").write_text(json.dumps({k: v.tolist() for k, v in vae.state_dict().items()}))
"""
SHARDED = """
import json, os, pathlib
import torch
import torch.distributed as dist
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.fsdp import fully_shard
import mnistvae as mv

dist.init_process_group("gloo")
mesh = dist.device_mesh.init_device_mesh("cpu", (2,))
torch.manual_seed(0)
vae = mv.VAE(latent_dim=4, image_shape=(1, 4, 4))
before = mv.VAE(latent_dim=4, image_shape=(1, 4, 4))
before.load_state_dict(vae.state_dict())
fully_shard(module := vae.training_module(), mesh=mesh)
optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)
x = (torch.rand(64, 1, 1, 4, generator=torch.Generator().manual_seed(0)) < 0.5).float().expand(-1, 1, 4, 4)
for step in range(20):
    loss = module(x[dist.get_rank() :: 2])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
state = get_model_state_dict(vae, options=StateDictOptions(full_state_dict=True))
after = mv.VAE(latent_dim=4, image_shape=(1, 4, 4))
after.load_state_dict(state)
losses = [float(one.eval().loss(x).loss.mean()) for one in (before, after)]
pathlib.Path(f"losses-{os.environ['RANK']}.json").write_text(json.dumps(losses))
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_ddp(page: Any, tmp_path: Path) -> None:
    (tmp_path / "own_ddp.py").write_text(CODE["Several processes: DDP and FSDP"] + AFTERWARDS)
    launch(tmp_path / "own_ddp.py", timeout=400)
    first, second = ((tmp_path / f"weights-{rank}.json").read_text() for rank in (0, 1))
    assert first == second
    assert loss_of(mv.load("vae.safetensors"), page("start")["data"]) < 0.9 * untrained()


@pytest.mark.slow
def test_fsdp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_fsdp.py").write_text(SHARDED)
    launch(tmp_path / "own_fsdp.py", timeout=400)
    for rank in (0, 1):
        before, after = json.loads((tmp_path / f"losses-{rank}.json").read_text())
        assert after < before - 1


@pytest.mark.filterwarnings("ignore")  # Lightning's own, of loaders without workers and of what it deprecates
def test_lightning(page: Any) -> None:
    pytest.importorskip("lightning", reason="the section is about it")
    names = page("start", "Lightning")
    check(names, "lightning.safetensors")
    assert names["trainer"].callback_metrics["validation_loss"] < 0.8 * untrained()
    assert names["trainer"].global_step == 16


def test_accelerate(page: Any) -> None:
    pytest.importorskip("accelerate", reason="the section is about it")
    names = page("start", "accelerate")
    check(names, "accelerate.safetensors")
    assert names["vae"].dtype == torch.float32
    seen: list[torch.dtype] = []
    layer = next(one for one in names["vae"].modules() if isinstance(one, torch.nn.Conv2d))
    layer.register_forward_hook(lambda module, args, output: seen.append(output.dtype))
    names["module"](names["x"])
    assert seen == [torch.bfloat16], "the mixed precision of the wrapper is in force"


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_skorch(page: Any) -> None:
    pytest.importorskip("skorch", reason="the section is about it")
    names = page("start", "Plain PyTorch", "skorch")
    names["vae"].eval()
    check(names, "skorch.safetensors", 0.75)
    (first, _), (last, validation) = names["net"].history[:, ("train_loss", "valid_loss")]
    assert last < first
    assert validation > 0


# --- a schedule that nobody moves -----------------------------------------------------------------------------------


def scheduled() -> mv.VAE:
    """A small model whose beta has a schedule."""
    return mv.VAE(2, (1, 4, 4), objective=ELBO(2.0, schedule=Linear(10)))


def test_a_schedule_that_stands_still_warns_once_in_each_loop(page: Any) -> None:
    with pytest.warns(UserWarning, match="the schedule of beta stands still") as found:
        page("start", "Plain PyTorch", change=lambda code: code.replace("    vae.advance(step)\n", ""))
    assert len(found) == 1


def test_a_compiled_model_is_not_compiled_anew_at_each_step_because_of_it() -> None:
    times: list[int] = []

    def backend(module: Any, inputs: Any) -> Any:
        times.append(len(inputs))
        return module.forward

    vae = scheduled()
    compiled = torch.compile(vae.training_module(), backend=backend)
    x = torch.rand(3, 1, 4, 4)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        for _ in range(5):
            compiled(x).backward()
        so_far = len(times)
        for step in range(6):
            compiled(x).backward()
            vae.advance(step)
    assert [one for one in found if "stands still" in str(one.message)]
    assert len(times) == so_far


def test_nothing_is_said_where_nobody_trains() -> None:
    vae, data = scheduled(), mv.ImageDataset(torch.rand(32, 1, 4, 4))
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        for _ in range(4):
            mv.metrics.elbo(vae, data)
            vae.train()
            with torch.no_grad():
                vae.loss(data.images)
        mv.Trainer(epochs=4, batch_size=8, progress=False, device="cpu").fit(vae, data, data)
        for _ in range(4):
            vae.train().loss(data.images)  # the last factor of the training stays
    assert not [str(one.message) for one in found]
