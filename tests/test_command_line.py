"""The command line: what it writes and prints, and how each kind of bad input ends on one line."""

from __future__ import annotations

import inspect
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from click.testing import CliRunner, Result
from readback import content, originals_drawn, png
from safetensors.torch import save_file

from mnistvae import (
    VAE,
    ConditionalVAE,
    History,
    ImageDataset,
    __version__,
    io,
    ladders,
    load,
    load_dataset,
    recipes,
    save,
)
from mnistvae.commands import RunFolder, cli
from mnistvae.commands._inputs import setting_text
from mnistvae.data import one_of_each
from mnistvae.metrics import Evaluation, evaluate
from mnistvae.networks import MLPDecoder, MLPEncoder
from mnistvae.objectives import Terms
from mnistvae.priors import Flow, GaussianMixture, VampPrior
from mnistvae.training import Trainer

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is written without being told where is written to a folder of the test's own."""
    folder = tmp_path / "working-folder"
    folder.mkdir()
    monkeypatch.chdir(folder)


def mnistvae(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The command, in a process of its own."""
    command = [sys.executable, "-m", "mnistvae", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=ENVIRONMENT)  # noqa: S603


def invoke(*arguments: object) -> Result:
    """The command, in this process."""
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], prog_name="mnistvae")


def succeed(*arguments: object) -> str:
    result = invoke(*arguments)
    assert result.exception is None, result.output
    assert result.exit_code == 0
    return result.stdout


class Run:
    """A run that the command made, and what it said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.done = mnistvae("train", "--recipe", "mlp-2d", "--epochs", 1, "--out", folder, cwd=folder.parent)
        self.model = folder / "model.safetensors"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("cli") / "run")


@pytest.fixture
def plane(tmp_path: Path) -> Path:
    """A small model with a latent plane, not trained."""
    torch.manual_seed(1)
    shape = (1, 28, 28)
    model = VAE(2, shape, encoder=MLPEncoder(2, shape, (8,)), decoder=MLPDecoder(2, shape, (8,)))
    return save(model, tmp_path / "models" / "plane.safetensors", {"dataset": "mnist-mini"})


@pytest.fixture
def conditional(tmp_path: Path) -> Path:
    """A small conditional model, not trained."""
    torch.manual_seed(1)
    return save(ConditionalVAE(2), tmp_path / "models" / "conditional.safetensors")


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> dict[str, ImageDataset]:
    """The commands find only so many digits to train on and to test: enough to see what becomes of a setting."""
    digits = load_dataset("mnist-mini", "test")
    parts = {"train": digits[:40], "test": digits[40:70]}
    monkeypatch.setattr("mnistvae.data.load_dataset", lambda name, split, root: parts[split])
    return parts


@pytest.fixture
def unpainted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made and not written as PNG, which takes most of the time of so short a run."""
    monkeypatch.setattr(RunFolder, "write_figure", lambda folder, name, figure: folder.path / name)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """The originals of every picture of reconstructions, as they are drawn."""
    return originals_drawn(monkeypatch)


class Custom(VAE):
    """A user's own model."""

    def loss(self, x: Any, y: Any = None) -> Terms:
        return super().loss(x, y)


# --- train ----------------------------------------------------------------------------------------------------------


def test_train_leaves_a_run(run: Run) -> None:
    assert run.done.returncode == 0, run.done.stderr
    assert {path.name for path in run.folder.iterdir()} == {*RunFolder.TRAINED, "run.json", "checkpoints", "epochs"}
    (record,) = History.from_csv(run.folder / "history.csv")
    assert record["epoch"] == 1
    assert 150 < record["validation_loss"] < 260
    assert load(run.model).latent_dim == 2
    for name in ("loss.png", "reconstructions.png", "samples.png"):
        assert png(run.folder / name).size > 10_000


def test_train_says_what_it_does_and_what_is_next(run: Run) -> None:
    out = run.done.stdout
    assert "recipe mlp-2d: 784-400-2" in out
    assert "data mnist-mini: 10,000 images to train on, 2,000 to validate" in out
    assert "latent_dim=2, beta=1.0, hidden=(400,), epochs=1, batch_size=128, learning_rate=0.001, seed=0" in out
    for name in RunFolder.TRAINED:
        assert f"{run.folder / name}" in out
    (line,) = (line for line in run.done.stderr.splitlines() if "end them" not in line)  # of a busy machine
    assert re.match(r"epoch 1/1 +loss \d+\.\d", line)


def test_the_next_commands_work(run: Run) -> None:
    commands = [shlex.split(line) for line in run.done.stdout.partition("next:\n")[2].splitlines()]
    verbs = ["generate", "reconstruct", "evaluate", "report", "explore"]
    assert [command[:2] for command in commands] == [["mnistvae", verb] for verb in verbs]
    before = content(run.folder)
    for command in commands[:2]:
        succeed(*command[1:])
    succeed(*commands[2][1:], "--only", "reconstruction", "--limit", 8, "--quiet")
    assert all(str(run.folder) in command for command in commands)
    made = {Path(name).parts[0].split("-")[0] for name in content(run.folder).keys() - before.keys()}
    assert made == {"generated", "reconstructed", "evaluated"}
    assert content(run.folder).items() >= before.items()


def test_train_takes_its_settings_and_names_its_folder(tmp_path: Path) -> None:
    settings = ["--recipe", "conditional", "--channels", "4", "--latent-dim", 2, "--beta", 0.5, "--batch-size", 1000]
    training = ["--epochs", 1, "--learning-rate", 0.01, "--seed", 3, "--no-progress", "--device", "cpu"]
    result = invoke("train", *settings, *training)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    (folder,) = (Path.cwd() / "runs").iterdir()
    assert re.fullmatch(r"conditional-\d{8}-\d{6}", folder.name)
    trained = "epochs=1, batch_size=1000, learning_rate=0.01, schedule=one-cycle, start_at_mean=True, seed=3"
    assert f"channels=(4,), {trained}" in result.stdout
    assert "--label 3" in result.stdout
    model = load(folder / "model.safetensors")
    assert model.num_classes == 10
    assert succeed("generate", folder / "model.safetensors", "--label", 3, "-n", 2)
    again = succeed("info", folder / "model.safetensors")
    assert "recipe: conditional" in again
    assert "seed: 3" in again


def test_the_hidden_widths_are_taken(tmp_path: Path) -> None:
    arguments = ["--hidden", "12,7", "--leak", "0.3", "--epochs", 1, "--batch-size", 2000, "--no-progress"]
    out = succeed("train", "--recipe", "leaky-mlp-2d", *arguments, "--out", tmp_path / "run")
    assert "hidden=(12, 7), leak=0.3" in out
    assert "(12, 7)" in succeed("info", tmp_path / "run" / "model.safetensors")


@pytest.mark.parametrize(
    ("recipe", "options", "found"),
    [
        ("kingma2014", "--activation relu", {"encoder.activation": None}),
        ("kingma2014", "--activation tanh", {"encoder.activation.__class__": torch.nn.Tanh}),
        ("gaussian-mlp", "--sigma 0.25", {"likelihood.sigma": 0.25}),
        ("gaussian-mlp", "--sigma learned", {"likelihood.sigma": "learned"}),
        ("gaussian-mlp", "--sigma per-pixel", {"likelihood.sigma": "per-pixel", "decoder.n_params": 2}),
        ("iwae-50", "--num-samples 3", {"objective.num_samples": 3}),
        ("vamp", "--components 5 --warmup 7", {"prior.components": 5, "objective.schedule.steps": 7}),
        ("vamp", "--components 5 --warmup 0 --beta 0.5", {"objective.schedule": None, "objective.beta": 0.5}),
        (
            "resnet-flow",
            "--channels 8 --transforms 2 --dropout 0.25 --latent-dim 4 --warmup 3",
            {"prior.transforms": 2, "prior.hidden": (8,), "decoder.dropout": 0.25, "objective.schedule.steps": 3},
        ),
        (
            "ladder-mlp",
            "--levels 4 --width 8 --blocks 2 --warmup 4",
            {"prior.levels": (4,), "encoder.hidden": 8, "decoder.blocks": 2, "objective.schedule.steps": 4},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_setting_of_a_recipe_reaches_its_model(
    few: dict[str, ImageDataset], unpainted: None, tmp_path: Path, recipe: str, options: str, found: dict[str, Any]
) -> None:
    narrow = [] if "--width" in options else ["--hidden", "8"]
    quick = [*narrow, "--epochs", 1, "--batch-size", 20, "--no-progress", "--out", tmp_path / "run"]
    out = succeed("train", "--recipe", recipe, *options.split(), *quick)
    for name, value in zip(*[iter(options.split())] * 2, strict=True):
        # The line of settings says it in the recipe's own words.
        text = f"({value},)" if name in {"--channels", "--levels"} else value
        assert f" {name[2:].replace('-', '_')}={text}" in out
    model = load(tmp_path / "run" / "model.safetensors")
    assert {name: attrgetter(name)(model) for name in found} == found
    assert succeed("generate", tmp_path / "run" / "model.safetensors", "-n", 2, "--out", tmp_path / "drawn")
    assert succeed("reconstruct", tmp_path / "run" / "model.safetensors", "-n", 2, "--out", tmp_path / "passed")


@pytest.mark.parametrize("binarization", ["none", "static", "dynamic", "threshold"])
def test_train_with_a_binarization_draws_what_it_trained_on(
    few: dict[str, ImageDataset], unpainted: None, drawn: list[torch.Tensor], tmp_path: Path, binarization: str
) -> None:
    arguments = ["--hidden", "8", "--epochs", 1, "--no-progress", "--out", tmp_path / "run"]
    out = succeed("train", "--recipe", "mlp-2d", "--binarization", binarization, *arguments)
    assert f"binarization={binarization}" in out
    path = tmp_path / "run" / "model.safetensors"
    metadata = io.read(path).metadata
    tag = "grey-bce" if binarization == "none" else f"binarized-{binarization}"
    assert (metadata["binarization"], metadata["tag"]) == (binarization, tag)
    succeed("reconstruct", path, "-n", 10, "--out", tmp_path / "passed")
    grey = one_of_each(few["test"]).images
    for originals in drawn:
        if binarization == "none":
            assert torch.equal(originals, grey)
        else:
            assert set(originals.unique().tolist()) == {0, 255}
            threshold = (grey >= 128) * 255
            assert torch.equal(originals, threshold) is (binarization == "threshold")
            assert torch.equal(originals[grey == 0].unique(), torch.tensor([0], dtype=torch.uint8))
            assert torch.equal(originals[grey == 255].unique(), torch.tensor([255], dtype=torch.uint8))
    assert len(drawn) == 2


def test_a_recipe_that_binarizes_can_be_told_not_to(
    few: dict[str, ImageDataset], unpainted: None, tmp_path: Path
) -> None:
    quick = ["--hidden", "8", "--epochs", 1, "--no-progress"]
    for binarization, tag in ((None, "binarized-dynamic"), ("none", "grey-bce"), ("threshold", "binarized-threshold")):
        option = [] if binarization is None else ["--binarization", binarization]
        succeed("train", "--recipe", "kingma2014", *option, *quick, "--out", tmp_path / tag)
        assert io.read(tmp_path / tag / "model.safetensors").metadata["tag"] == tag


def test_every_setting_of_every_recipe_is_an_option_and_every_option_a_setting() -> None:
    common = {
        "recipe",
        "dataset",
        "data_root",
        "image_size",
        "image_channels",
        "max_value",
        "out",
        "resume",
        "samples_every",
        "callbacks",
        "assignments",
        "config",
        "validation_split",
        "threads",
        "quiet",
    }
    trainer = set(inspect.signature(Trainer).parameters) - {"optimizer", "callbacks"}
    options = {parameter.name for parameter in cli.commands["train"].params}
    settings = {name for recipe in recipes.RECIPES.values() for name in (*recipe.settings, *recipe.training)}
    assert options == (settings - {"optimizer"}) | trainer | common


# --- generate, reconstruct, fit-prior, info, recipes ----------------------------------------------------------------


def test_generate_in_a_process_of_its_own(run: Run, tmp_path: Path) -> None:
    done = mnistvae("generate", run.model, "-n", 3, "--out", tmp_path / "a", "--seed", 5)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"wrote 3 images and {tmp_path / 'a' / 'samples.png'}\n"
    assert set(content(tmp_path / "a")) == {"000.png", "001.png", "002.png", "samples.png"}
    assert png(tmp_path / "a" / "000.png").shape == (28, 28)
    succeed("generate", run.model, "-n", 3, "--out", tmp_path / "b", "--seed", 5)
    succeed("generate", run.model, "-n", 3, "--out", tmp_path / "c", "--seed", 6)
    assert content(tmp_path / "a") == content(tmp_path / "b")
    assert content(tmp_path / "a")["000.png"] != content(tmp_path / "c")["000.png"]


def test_generate_draws_64_beside_the_model(plane: Path) -> None:
    out = succeed("generate", plane)
    (folder,) = (path for path in plane.parent.iterdir() if path.is_dir())
    assert re.fullmatch(r"generated-\d{8}-\d{6}", folder.name)
    assert len(content(folder)) == 65
    assert f"wrote 64 images and {folder / 'samples.png'}" in out
    succeed("generate", plane, "-n", 1)
    succeed("generate", plane, "-n", 1)  # in the same second
    assert sum(path.is_dir() for path in plane.parent.iterdir()) == 3


def test_generate_at_points(plane: Path, tmp_path: Path) -> None:
    out = succeed("generate", plane, "--at", "0.5,-1", "--at", "2,2", "--out", tmp_path / "out")
    assert out.startswith("wrote 2 images")
    expected = load(plane).decode(torch.tensor([[0.5, -1.0], [2.0, 2.0]])).mean
    for i in range(2):
        assert np.array_equal(png(tmp_path / "out" / f"00{i}.png"), (expected[i, 0] * 255).round().to(torch.uint8))
    assert succeed("generate", plane, "--at", "0,0").startswith("wrote 1 image and")


def test_generate_with_a_temperature(plane: Path, tmp_path: Path) -> None:
    succeed("generate", plane, "-n", 2, "--temperature", 0, "--out", tmp_path / "out")
    two = (2, 3)
    parts = {"encoder": ladders.LadderEncoder(two, hidden=8), "decoder": ladders.LadderDecoder(two, hidden=8)}
    path = save(VAE(5, **parts, prior=ladders.LadderPrior(two, hidden=8)), tmp_path / "ladder.safetensors")
    succeed("generate", path, "-n", 2, "--temperature", "1,0.5", "--out", tmp_path / "levels")
    assert "one for each of 2 levels" in fail("generate", path, "--temperature", "1,1,1")
    first, second = png(tmp_path / "out" / "000.png"), png(tmp_path / "out" / "001.png")
    assert np.array_equal(first, second)
    origin = load(plane).decode(torch.zeros(1, 2)).mean[0, 0]
    assert np.array_equal(first, (origin * 255).round().to(torch.uint8))


def test_generate_with_a_label(conditional: Path, tmp_path: Path) -> None:
    for label in (3, 7):
        succeed("generate", conditional, "-n", 2, "--label", label, "--out", tmp_path / str(label))
    drawn = load(conditional).sample(2, 3, generator=torch.Generator().manual_seed(0))
    assert np.array_equal(png(tmp_path / "3" / "001.png"), (drawn[1, 0] * 255).round().to(torch.uint8))
    assert content(tmp_path / "3") != content(tmp_path / "7")
    succeed("generate", conditional, "--label", 3, "--at", "0,1", "--out", tmp_path / "at")
    succeed("generate", conditional, "-n", 20, "--out", tmp_path / "all")


def test_reconstruct(run: Run, tmp_path: Path) -> None:
    done = invoke("reconstruct", run.model, "--out", tmp_path / "ten")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == f"wrote {tmp_path / 'ten' / 'reconstructions.png'}\n"
    arguments = ["--dataset", "mnist-mini", "--split", "train", "-n", 4, "--out", tmp_path / "four"]
    succeed("reconstruct", run.model, *arguments)
    ten, four = (png(tmp_path / name / "reconstructions.png") for name in ("ten", "four"))
    assert ten.shape[1] > four.shape[1]


def test_reconstruct_with_a_conditional_model_that_names_no_dataset(conditional: Path) -> None:
    assert succeed("reconstruct", conditional, "-n", 3).startswith("wrote ")


@pytest.mark.filterwarnings("ignore:the mutual information", "ignore:the log-likelihood of", "ignore:.*biased upwards")
def test_evaluate(plane: Path, few: dict[str, ImageDataset], tmp_path: Path) -> None:
    out = succeed("evaluate", plane, "--num-samples", 3, "--no-progress", "--seed", 2, "--out", tmp_path / "all")
    assert set(content(tmp_path / "all")) == {"metrics.json", "by_class.csv"}
    found = Evaluation.from_json(tmp_path / "all" / "metrics.json")
    expected = evaluate(load(plane), few["test"], train=few["train"], num_samples=3, seed=2)
    assert [figure.value for figure in found] == [figure.value for figure in expected]
    assert (found.protocol["images"], found.protocol["seed"]) == (30, 2)
    lines = out.splitlines()
    assert lines[0] == f"{plane} on 30 test images of mnist-mini, grey-bce, seed 2, mnistvae {__version__}"
    assert found.protocol["model"] == str(plane)
    assert lines[2 : 2 + len(found)] == str(found).splitlines()
    assert lines[-2:] == [f"wrote {tmp_path / 'all' / name}" for name in ("metrics.json", "by_class.csv")]
    assert len((tmp_path / "all" / "by_class.csv").read_text().splitlines()) == 1 + len(found.by_class)


def test_compare(plane: Path, few: dict[str, ImageDataset], tmp_path: Path) -> None:
    how = ["evaluate", plane, "--num-samples", 2, "--only", "reconstruction", "--only", "likelihood", "--no-progress"]
    succeed(*how, "--out", tmp_path / "a" / "first")
    succeed(*how, "--out", tmp_path / "b" / "first", "--limit", 30)
    succeed(*how, "--out", tmp_path / "second", "--num-samples", 3)
    succeed(*how, "--out", tmp_path / "few", "--limit", 9)
    files = [tmp_path / "a" / "first", tmp_path / "second" / "metrics.json"]
    lines = succeed("compare", *files).splitlines()
    assert lines[0].split() == ["first", "second"]
    assert [line.split()[1] for line in lines[1:5]] == ["mse", "mae", "psnr", "ssim"]
    assert "nll is not compared: importance samples 2 and 3" in lines
    assert succeed("compare", files[0], tmp_path / "b" / "first").splitlines()[0].split() == ["a/first", "b/first"]
    twice = succeed("compare", files[0], files[0]).splitlines()[0].split("  ")
    assert [name.strip()[:2] for name in twice if name.strip()] == ["1:", "2:"]
    assert "evaluations of one number of images, got 30 and 9" in fail("compare", files[0], tmp_path / "few")
    assert "at least two evaluations" in fail("compare", files[0])
    assert "written by Evaluation.to_json at" in fail("compare", files[0], tmp_path / "none")
    assert f"1: {(tmp_path / 'a' / 'first').as_posix()}  " in succeed("compare", files[0], files[0])


@pytest.mark.parametrize(("number", "name"), [(signal.SIGINT, "SIGINT"), (signal.SIGTERM, "SIGTERM")])
def test_a_signal_leaves_nothing_behind(
    plane: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, name: str
) -> None:
    def stopped(*_: object, **__: object) -> None:
        signal.raise_signal(number)

    before = signal.getsignal(number)
    for command, patched in (
        ("evaluate", "mnistvae.metrics.evaluate"),
        ("report", "mnistvae.report.write_report"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(patched, stopped)
            (tmp_path / command).mkdir()
            done = invoke(command, plane, "--out", tmp_path / command)
        assert done.exit_code == 128 + number
        assert done.stderr.splitlines()[-1] == f"stopped by {name}"
        assert content(tmp_path / command) == {}
    assert signal.getsignal(number) is before


def test_a_run_that_was_killed_before_it_began_can_be_resumed(
    few: dict[str, ImageDataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: dict[str, bytes] = {}

    class Killed(BaseException):
        """As good as SIGKILL, if what was there is put back."""

    def killed(*_: object, **__: object) -> None:
        left.update({path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()})
        raise Killed

    how = ["train", "--recipe", "mlp-20", "--epochs", 1, "--no-progress", "--samples-every", 0]
    with monkeypatch.context() as patch:
        patch.setattr("mnistvae.training.Trainer.fit", killed)
        with pytest.raises(Killed):
            invoke(*how, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert set(left) == {"run.json", "run.json.lock"}
    (tmp_path / "run").mkdir()
    for name, text in left.items():
        (tmp_path / "run" / name).write_bytes(text)
    succeed("train", "--resume", tmp_path / "run", "--no-progress")
    succeed(*how, "--out", tmp_path / "other")
    assert (tmp_path / "run" / "samples.png").read_bytes() == (tmp_path / "other" / "samples.png").read_bytes()


def test_evaluate_some_figures_on_some_images(plane: Path, few: dict[str, ImageDataset], tmp_path: Path) -> None:
    quiet = ["--only", "reconstruction", "--no-progress"]
    succeed("evaluate", plane, *quiet, "--limit", 7, "--out", tmp_path / "a")
    found = Evaluation.from_json(tmp_path / "a" / "metrics.json")
    assert found.names() == ["mse", "mae", "psnr", "ssim"]
    assert found.protocol["images"] == 7
    before = content(tmp_path / "a")
    assert "a folder without metrics.json" in fail("evaluate", plane, *quiet, "--out", tmp_path / "a")
    assert content(tmp_path / "a") == before
    out = succeed("evaluate", plane, *quiet)
    (folder,) = plane.parent.glob("evaluated-*")
    assert f"wrote {folder / 'metrics.json'}" in out


def test_evaluate_binarizes_as_training_did(few: dict[str, ImageDataset], tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = save(VAE(2), tmp_path / "a.safetensors", {"dataset": "mnist-mini", "binarization": "dynamic"})
    quiet = ["--only", "likelihood", "--num-samples", 2, "--no-progress"]
    assert "binarized-dynamic" in succeed("evaluate", path, *quiet, "--out", tmp_path / "a")


def test_evaluate_with_a_setting_that_makes_no_sense(plane: Path, few: Any, tmp_path: Path) -> None:
    for options, message in (
        (["--limit", 0], "limit as a number of images of at least 1"),
        (["--num-samples", 0, "--only", "likelihood"], "num_samples as an integer of at least 1"),
        (["--batch-size", 0], "batch_size as an integer of at least 1"),
    ):
        assert message in fail("evaluate", plane, *options, "--no-progress", "--out", tmp_path / "bad")
        assert not (tmp_path / "bad").exists()


@pytest.mark.parametrize(("covariance", "components"), [("full", 4), ("diag", 2)])
def test_fit_prior_leaves_a_model_with_a_mixture_and_its_samples(
    run: Run, few: dict[str, ImageDataset], tmp_path: Path, covariance: str, components: int
) -> None:
    before = content(run.folder)
    folder = tmp_path / "fitted"
    options = ["--components", components, "--covariance", covariance]
    out = succeed("fit-prior", run.model, *options, "--out", folder)
    assert content(run.folder) == before
    path = folder / "model.safetensors"
    assert set(content(folder)) == {"model.safetensors", "samples.png"}
    assert f"wrote {path} and {folder / 'samples.png'}" in out
    assert out.endswith(f"next:\n  mnistvae generate {path}\n")
    assert png(folder / "samples.png").size > 10_000

    fitted, original = load(path), load(run.model)
    assert isinstance(fitted.prior, GaussianMixture)
    assert (fitted.prior.components, fitted.prior.covariance) == (components, covariance)
    z = torch.randn(3, 2)
    assert torch.equal(fitted.decode(z).mean, original.decode(z).mean)
    metadata = io.read(path).metadata
    made = {"kind": "mixture", "components": components, "covariance": covariance}
    assert metadata.pop("fitted_prior") == {"dataset": "mnist-mini", "images": 40, "seed": 0, **made}
    assert metadata == io.read(run.model).metadata
    assert f"GaussianMixture(latent_dim=2, components={components}" in succeed("info", path)

    for model, name in ((path, "new"), (run.model, "old")):
        succeed("generate", model, "-n", 3, "--out", tmp_path / name)
    new, old = content(tmp_path / "new"), content(tmp_path / "old")
    assert new.keys() == old.keys()
    assert all(new[name] != old[name] for name in new)


def test_fit_prior_is_repeatable_and_names_its_folder(run: Run, few: dict[str, ImageDataset], tmp_path: Path) -> None:
    model = tmp_path / "model.safetensors"
    model.write_bytes(run.model.read_bytes())
    for seed in (1, 1, 2):
        succeed("fit-prior", model, "--components", 3, "--seed", seed)
    folders = sorted(path for path in tmp_path.iterdir() if path.name.startswith("fitted-"))
    assert all(re.fullmatch(r"fitted-\d{8}-\d{6}(-\d)?", folder.name) for folder in folders)
    seeds = {folder: io.read(folder / "model.safetensors").metadata["fitted_prior"]["seed"] for folder in folders}
    by_seed = sorted(folders, key=seeds.__getitem__)
    assert [seeds[folder] for folder in by_seed] == [1, 1, 2]
    first, again, other = (load(folder / "model.safetensors").prior.state_dict() for folder in by_seed)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["means"], other["means"])
    first, again, other = ((folder / "samples.png").read_bytes() for folder in by_seed)
    assert first == again
    assert first != other


def test_fit_prior_of_a_conditional_model(conditional: Path, few: dict[str, ImageDataset], tmp_path: Path) -> None:
    succeed("fit-prior", conditional, "--components", 2, "--dataset", "mnist-mini", "--out", tmp_path / "fitted")
    path = tmp_path / "fitted" / "model.safetensors"
    fitted = load(path)
    assert isinstance(fitted.prior, GaussianMixture)
    assert fitted.num_classes == 10
    for label in (3, 7):
        succeed("generate", path, "-n", 2, "--label", label, "--out", tmp_path / str(label))
    assert content(tmp_path / "3")["000.png"] != content(tmp_path / "7")["000.png"]
    succeed("generate", path, "-n", 10, "--out", tmp_path / "all")


def test_fit_prior_takes_the_place_of_any_prior(few: dict[str, ImageDataset], tmp_path: Path) -> None:
    shape = (1, 28, 28)
    for name, prior in (("vamp", VampPrior(3)), ("flow", Flow(2, transforms=1, hidden=(4,)))):
        parts: dict[str, Any] = {"encoder": MLPEncoder(2, shape, (8,)), "decoder": MLPDecoder(2, shape, (8,))}
        path = save(VAE(2, shape, prior=prior, **parts), tmp_path / f"{name}.safetensors", {"dataset": "mnist-mini"})
        succeed("fit-prior", path, "--components", 1, "--out", tmp_path / name)
        assert isinstance(load(tmp_path / name / "model.safetensors").prior, GaussianMixture)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--components 0", "components as an integer of at least 1, got 0"),
        ("--components -2", "components as an integer of at least 1, got -2"),
        ("--components 41", "at least 41 images for 41 components, got 40: pass more images, or fewer components"),
        ("--device nonsense", "a device of this machine, got 'nonsense'"),
    ],
)
def test_fit_prior_with_a_setting_that_makes_no_sense(
    plane: Path, few: dict[str, ImageDataset], arguments: str, message: str
) -> None:
    for place in ([], ["--out", "mine"]):
        assert re.search(message, fail("fit-prior", plane, *arguments.split(), *place))
    assert list(plane.parent.iterdir()) == [plane]  # no empty folder is left
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize("name", ["model.safetensors", "samples.png"])
def test_fit_prior_writes_over_nothing(plane: Path, few: dict[str, ImageDataset], tmp_path: Path, name: str) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / name).write_bytes(b"precious")
    line = fail("fit-prior", plane, "--components", 1, "--out", folder)
    assert f"a folder without {name}" in line
    assert content(folder) == {name: b"precious"}


def test_fit_prior_with_data_that_do_not_fit(plane: Path, tmp_path: Path) -> None:
    assert "a data set: mnist-mini" in fail("fit-prior", plane, "--dataset", "cifar")
    other = save(VAE(2, (3, 16, 16)), tmp_path / "other.safetensors")
    assert "pass --image-size 16 and --image-channels 3" in fail("fit-prior", other)
    own = save(VAE(2), tmp_path / "own.safetensors", {"dataset": "mine"})
    assert "--dataset for a model trained on data of its own, got 'mine'" in fail("fit-prior", own)


def test_info(run: Run) -> None:
    done = invoke("info", run.model)
    assert (done.exit_code, done.stderr) == (0, "")
    size = sum(p.numel() for p in recipes.get("mlp-2d").model().parameters())
    assert f"{size:,} numbers in " in done.stdout
    assert f"written by mnistvae {__version__}" in done.stdout
    assert "recipe: mlp-2d" in done.stdout
    assert "dataset: mnist-mini" in done.stdout
    assert "tag: grey-bce" in done.stdout
    assert re.search(r"last_epoch: epoch=1, loss=\d+", done.stdout)
    assert "encoder=MLPEncoder(latent_dim=2" in done.stdout


def test_info_shows_a_model_of_custom_parts(tmp_path: Path) -> None:
    path = save(Custom(2), tmp_path / "custom.safetensors")
    assert "Custom(" in succeed("info", path)


def test_info_shows_whatever_was_written_beside_the_model(tmp_path: Path) -> None:
    notes = {"by": "me", "runs": [1, 2], "nested": {"a": None, "b": "text", "c": 0.25}}
    out = succeed("info", save(VAE(2), tmp_path / "noted.safetensors", notes))
    assert "by: me" in out
    assert "runs: [1, 2]" in out
    assert "text" in out
    assert "0.25" in out


def test_recipes_lists_all_of_them() -> None:
    out = succeed("recipes")
    for recipe in recipes.RECIPES.values():
        assert f"{recipe.name}: {recipe.summary}\n" in out
    assert "latent_dim=15, beta=0.05, channels=(32, 64, 128), epochs=15" in out


def test_recipes_says_name_settings_and_source_of_each() -> None:
    lines = succeed("recipes").splitlines()
    assert len(lines) == 3 * len(recipes.RECIPES)
    for recipe, title, settings, source in zip(
        recipes.RECIPES.values(), lines[::3], lines[1::3], lines[2::3], strict=True
    ):
        assert title == f"{recipe.name}: {recipe.summary}"
        said = re.split(r", (?=[a-z_]+=)", settings.strip())
        assert said == [f"{k}={setting_text(v)}" for k, v in {**recipe.settings, **recipe.training}.items()]
        assert source == f"    source: {recipe.source}"
    assert "sigma=0.707107" in "".join(lines)


def test_version_and_help() -> None:
    assert succeed("--version") == f"mnistvae, version {__version__}\n"
    out = succeed("--help")
    for name, command in cli.commands.items():
        assert re.search(rf"^  {name} +[A-Z]", out, re.MULTILINE)
        text = succeed(name, "--help")
        assert succeed(name, "-h") == text
        for parameter in command.params:
            if parameter.param_type_name == "option":
                assert parameter.help, (name, parameter.name)
    drawn = {"generate", "reconstruct", "animate"}
    measured = {"evaluate", "compare", "report", "reproduce", "sweep"}
    assert (
        set(cli.commands) == {"train", "fit-prior", "encode", "explore", "export", "info", "recipes"} | drawn | measured
    )


def test_help_is_quick_because_it_imports_little() -> None:
    code = (
        "import sys\n"
        "from mnistvae.commands import cli\n"
        "for line in ('--help', 'train --help', 'generate --help', 'fit-prior --help', 'recipes', '--version'):\n"
        "    cli.main(line.split(), prog_name='mnistvae', standalone_mode=False)\n"
        "print('heavy:', *sorted({'torch', 'numpy', 'matplotlib', 'PIL', 'torchvision'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert "Usage: mnistvae train" in done.stdout
    assert done.stdout.splitlines()[-1].split() == ["heavy:"]


# --- bad input: one line, exit code 2, nothing lost -----------------------------------------------------------------


def fail(*arguments: object) -> str:
    """What the one line says."""
    before = content(Path.cwd().parent)
    result = invoke(*arguments)
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert content(Path.cwd().parent) == before
    return line


def _garbage(path: Path) -> Path:
    path.write_bytes(bytes(range(256)) * 8)
    return path


def _text(path: Path) -> Path:
    path.write_text("Dear reader,\nthis is no model.\n")
    return path


def _empty(path: Path) -> Path:
    path.touch()
    return path


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def _missing(path: Path) -> Path:
    return path


def _foreign(path: Path) -> Path:
    save_file({"weight": torch.zeros(3)}, path)
    return path


def _truncated(path: Path) -> Path:
    whole = save(VAE(2), path).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return path


def _flipped(path: Path) -> Path:
    whole = bytearray(save(VAE(2), path).read_bytes())
    whole[-5] ^= 0x10
    path.write_bytes(whole)
    return path


@pytest.mark.parametrize("command", ["generate", "reconstruct", "fit-prior", "info"])
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_missing, "a model file at .*, got nothing: check the path"),
        (_folder, "a model file at .*, got a folder"),
        (_garbage, "to be a model file"),
        (_text, "to be a model file"),
        (_empty, "to be a model file"),
        (_truncated, "to be a model file"),
        (_flipped, "to match its SHA-256, got other content: the file is damaged"),
        (_foreign, "to be a model file of mnistvae's, got safetensors of something else"),
    ],
)
def test_a_file_that_is_no_model(tmp_path: Path, command: str, make: Callable[[Path], Path], message: str) -> None:
    assert re.search(message, fail(command, make(tmp_path / "model.safetensors")))


@pytest.mark.parametrize("command", ["generate", "reconstruct", "fit-prior"])
def test_a_model_of_a_class_that_is_not_mnistvaes(tmp_path: Path, command: str) -> None:
    line = fail(command, save(Custom(2), tmp_path / "custom.safetensors"))
    assert "the class 'Custom'" in line
    assert "to be allowed" in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--recipe vae", "a recipe: conv, beta-conv, .*, got 'vae'"),
        ("--dataset minst", "a data set: mnist-mini, .*, got 'minst'"),
        ("--hidden 100", "settings of the recipe 'conv': latent_dim, beta, channels, got hidden"),
        ("--recipe mlp --channels 4,8", "settings of the recipe 'mlp': .*, got channels"),
        ("--recipe mlp-20 --leak 0.1", "got leak"),
        ("--epochs 0", "epochs as an integer of at least 1, got 0"),
        ("--epochs -3", "epochs as an integer of at least 1, got -3"),
        ("--batch-size 0", "batch_size as an integer of at least 1, got 0"),
        ("--learning-rate 0", "a finite learning_rate above 0, got 0.0"),
        ("--learning-rate nan", "a finite learning_rate above 0, got nan"),
        ("--latent-dim 0", "latent_dim as an integer of at least 1, got 0"),
        ("--beta -1", "a finite beta of at least 0, got -1.0"),
        ("--beta inf", "a finite beta of at least 0, got inf"),
        ("--channels 0", "channels as one or more positive integers"),
        ("--recipe mlp --hidden 8,-1", "hidden as positive integers"),
        ("--sigma 0.1", "settings of the recipe 'conv': latent_dim, beta, channels, got sigma"),
        ("--num-samples 5", "settings of the recipe 'conv': .*, got num_samples"),
        ("--dropout 0.1", "settings of the recipe 'conv': .*, got dropout"),
        ("--recipe mlp --components 5", "settings of the recipe 'mlp': .*, got components"),
        ("--recipe mlp --activation tanh", "settings of the recipe 'mlp': .*, got activation"),
        ("--recipe mlp --warmup 5 --components 5", "settings of the recipe 'mlp': .*, got components, warmup"),
        ("--recipe vamp --transforms 2", "settings of the recipe 'vamp': .*, got transforms"),
        ("--recipe iwae-50 --beta 2", "settings of the recipe 'iwae-50': .*, got beta"),
        ("--recipe gaussian-mlp --sigma 0", "a finite sigma above 0, got 0.0"),
        ("--recipe gaussian-mlp --sigma -1", "a finite sigma above 0, got -1.0"),
        ("--recipe gaussian-mlp --sigma nan", "a finite sigma above 0, got nan"),
        ("--recipe gaussian-mlp --sigma inf", "a finite sigma above 0, got inf"),
        (
            "--recipe gaussian-mlp --sigma much",
            "sigma as a number above 0, or one of 'learned', 'per-pixel', got 'much'",
        ),
        ("--recipe iwae-50 --num-samples 0", "num_samples as an integer of at least 1, got 0"),
        ("--recipe vamp --components 0", "components as an integer of at least 1, got 0"),
        ("--recipe vamp --warmup -1", "warmup as a number of steps of at least 0, got -1"),
        ("--recipe resnet-flow --dropout 1", "dropout as a number from 0 to below 1, got 1.0"),
        ("--recipe resnet-flow --transforms 0", "transforms as an integer of at least 1, got 0"),
        ("--device nonsense", "a device of this machine, got 'nonsense'"),
        ("--device hpu", "a device of this machine, got 'hpu'"),
        ("--device meta", "a device of this machine, got 'meta'"),
    ],
)
def test_train_with_a_setting_that_makes_no_sense(arguments: str, message: str) -> None:
    assert re.search(message, fail("train", *arguments.split()))
    assert re.search(message, fail("train", *arguments.split(), "--out", "mine"))
    assert [path for path in Path.cwd().rglob("*") if path.name != "runs"] == []  # no empty folder is left


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--label 3", "no label, since this model was trained without labels, got 3: leave --label out"),
        ("--at 0,0 --label 3", "no label, since this model was trained without labels"),
        ("--at 0", "2 coordinates, one for each latent dimension, got 1 in 0"),
        ("--at 0,0 --at 1,2,3", "2 coordinates, .* got 3 in 1,2,3"),
        ("--at nan,0", "finite coordinates"),
        ("-n 0", "at least one image to sample, got 0"),
        ("-n -4", "at least one image to sample, got -4"),
        ("--temperature -1", "a finite temperature of at least 0"),
        ("--temperature nan", "a finite temperature of at least 0"),
        ("--device nonsense", "a device of this machine, got 'nonsense'"),
    ],
)
def test_generate_with_a_setting_that_makes_no_sense(plane: Path, arguments: str, message: str) -> None:
    assert re.search(message, fail("generate", plane, *arguments.split()))
    assert list(plane.parent.iterdir()) == [plane]  # no empty folder is left


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--label 10", "a class of this model, 0 to 9, got 10: give another --label"),
        ("--label -1", "a class of this model, 0 to 9, got -1: give another --label"),
        ("--at 0,0", "a class, 0 to 9, beside the points, got none: give --label"),
    ],
)
def test_a_label_that_is_not_there(conditional: Path, arguments: str, message: str) -> None:
    assert re.search(message, fail("generate", conditional, *arguments.split()))


def test_reconstruct_with_a_setting_that_makes_no_sense(plane: Path, tmp_path: Path) -> None:
    assert "at least one image to reconstruct, got 0" in fail("reconstruct", plane, "-n", 0)
    assert "a data set: mnist-mini" in fail("reconstruct", plane, "--dataset", "cifar")
    assert "a device of this machine" in fail("reconstruct", plane, "--device", "nonsense")
    other = save(VAE(2, (3, 16, 16)), tmp_path / "other.safetensors")
    assert "pass --image-size 16 and --image-channels 3" in fail("reconstruct", other)


def test_a_folder_that_holds_a_run(run: Run, plane: Path, tmp_path: Path) -> None:
    before = content(run.folder)
    assert "a folder without model.safetensors" in fail("train", "--recipe", "mlp-2d", "--out", run.folder)
    assert "a folder without samples.png" in fail("generate", run.model, "--out", run.folder)
    assert "a folder without reconstructions.png" in fail("reconstruct", run.model, "--out", run.folder)
    assert content(run.folder) == before


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_an_output_folder_that_cannot_be(plane: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("precious")
    for command in (["train"], ["generate", plane], ["reconstruct", plane], ["fit-prior", plane]):
        assert "a folder to write at" in fail(*command, "--out", tmp_path / place)


def test_a_setting_that_the_recipe_does_not_have_is_said_before_anything_else() -> None:
    for arguments in ("--sigma 0.1", "--recipe mlp --components 3", "--recipe iwae-50 --beta 2"):
        result = invoke("train", *arguments.split())
        assert (result.exit_code, result.stdout) == (2, "")
        assert "leave it out, or choose a recipe that has it" in result.stderr


def test_a_flow_without_its_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = save(VAE(2, prior=Flow(2, transforms=1, hidden=(4,))), tmp_path / "flow.safetensors")
    monkeypatch.setitem(sys.modules, "zuko.flows", None)  # as if it were not installed
    for command in (("train", "--recipe", "resnet-flow"), ("generate", path), ("fit-prior", path)):
        assert 'pip install "mnistvae[flows]"' in fail(*command)
    assert "Flow(latent_dim=2" in succeed("info", path)


def test_a_dataset_that_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*args: Any, **kwargs: Any) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setattr(torchvision.datasets.mnist, "download_and_extract_archive", no_network)
    line = fail("train", "--dataset", "fashion-mnist", "--data-root", tmp_path / "data")
    assert "'fashion-mnist'" in line
    assert "mnist-mini" in line
    assert "--data-root" in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train --epochs many", "'many' is not a valid integer"),
        ("train --seed -1", "-1 is not in the range"),
        ("train --hidden 4,x", "expected whole numbers between commas, such as 2,1, got '4,x'"),
        ("train --frobnicate", "No such option"),
        ("train --binarization grey", "'grey' is not one of 'none', 'static', 'dynamic', 'threshold'"),
        ("train --activation gelu", "'gelu' is not one of 'relu', 'tanh'"),
        ("train --components few", "'few' is not a valid integer"),
        ("fit-prior", "Missing argument 'MODEL'"),
        ("fit-prior m --components few", "'few' is not a valid integer"),
        ("fit-prior m --covariance tied", "'tied' is not one of 'full', 'diag'"),
        ("generate", "Missing argument 'MODEL'"),
        ("generate m --at 1;2", "expected numbers between commas"),
        ("generate m --at 1,2 -n 3", "--at decodes the points given"),
        ("generate m --at 1,2 --temperature 0.5", "--at decodes the points given"),
        ("reconstruct m --split validation", "'validation' is not one of 'train', 'test'"),
        ("frobnicate", "No such command 'frobnicate'"),
    ],
)
def test_clicks_own_usage_errors(arguments: str, message: str) -> None:
    result = invoke(*arguments.split())
    assert result.exit_code == 2
    assert isinstance(result.exception, SystemExit)
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_an_error_in_a_process_of_its_own(tmp_path: Path) -> None:
    path = _text(tmp_path / "letter.txt")
    done = mnistvae("generate", path)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: expected {path} to be a model file")
    assert path.read_text().startswith("Dear reader")


@pytest.mark.parametrize(
    "arguments", ["generate {model} --seed 18446744073709551616", "train --seed 9223372036854775808"]
)
def test_a_seed_that_is_too_large(tmp_path: Path, arguments: str) -> None:
    got = CliRunner().invoke(cli, arguments.format(model=tmp_path).split())
    assert got.exit_code == 2
    assert "--seed" in got.stderr


def test_a_path_that_is_too_long_is_one_line(tmp_path: Path) -> None:
    for command in (
        ["info", "x" * 300],
        ["train", "--recipe", "mlp-2d", "--epochs", "1", "--out", str(tmp_path / ("x" * 300))],
    ):
        got = CliRunner().invoke(cli, command)
        assert got.exit_code == 2, got.exception
        assert got.stderr.count("\n") == 1
        assert got.stderr.startswith("error: expected ")


def test_a_model_of_data_of_ones_own_asks_for_a_dataset(tmp_path: Path) -> None:
    path = save(VAE(2, (1, 28, 28)), tmp_path / "vae.safetensors", {"dataset": "mine"})
    got = CliRunner().invoke(cli, ["reconstruct", str(path)])
    assert got.exit_code == 2
    assert "--dataset" in got.stderr


@pytest.mark.filterwarnings("ignore:the mutual information", "ignore:the log-likelihood of", "ignore:.*biased upwards")
@pytest.mark.filterwarnings("ignore:MLPClassifier was not done", "ignore:no area under the curve")
def test_report(plane: Path, few: dict[str, ImageDataset], tmp_path: Path) -> None:
    out = succeed("report", plane, "--num-samples", 2, "--no-progress", "--out", tmp_path / "a")
    files = content(tmp_path / "a")
    assert out == f"wrote {tmp_path / 'a' / 'report.html'}\n  and {len(files) - 1} figures and tables beside it\n"
    assert {"report.html", "metrics.json", "generated_samples.png", "latent_space.png"} <= set(files)
    assert "a folder without report.html" in fail("report", plane, "--out", tmp_path / "a")
    out = succeed("report", plane, "--num-samples", 2, "--limit", 20, "--no-progress")
    (folder,) = plane.parent.glob("report-*")
    assert f"wrote {folder / 'report.html'}" in out
    assert Evaluation.from_json(folder / "metrics.json").protocol["images"] == 20


def test_sweep(few: dict[str, ImageDataset], tmp_path: Path) -> None:
    options = ["--recipe", "mlp-20", "--latent-dims", "1,3", "--epochs", 1, "--no-progress", "--device", "cpu"]
    out = succeed("sweep", *options, "--out", tmp_path / "a")
    models = {f"latent_dim-{n}.safetensors" for n in (1, 3)}
    tables = {"sweep.csv", "summary.csv", "sweep.png", "by_class.csv", "mse_by_class.png", "psnr_by_class.png"}
    assert set(content(tmp_path / "a")) == models | tables
    lines = (tmp_path / "a" / "sweep.csv").read_text().splitlines()
    assert lines[0].startswith("latent_dim,mse,")
    assert [line.split(",")[0] for line in lines[1:]] == ["1", "3"]
    assert load(tmp_path / "a" / "latent_dim-3.safetensors").latent_dim == 3
    assert re.search(r"best: latent_dim [13], the smallest within one standard error", out)
    before = content(tmp_path / "a")
    assert "a folder without sweep.csv" in fail("sweep", *options, "--out", tmp_path / "a")
    assert content(tmp_path / "a") == before
    assert "at least two values of latent_dim" in fail("sweep", "--latent-dims", "5", "--out", tmp_path / "b")
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("storage", [(), ("--storage", "study.log")], ids=["alone", "storage"])
def test_a_sweep_that_is_stopped_says_what_is_kept(
    few: dict[str, ImageDataset], storage: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*given: object, **settings: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"mnistvae.analysis.{'search' if storage else 'sweep'}", stopped)
    result = invoke("sweep", "--latent-dims", "1,3", "--out", tmp_path / "a", *storage)
    assert result.exit_code == 128 + signal.SIGINT
    kept = "the trials that are done are in study.log: the same command goes on"
    assert (kept if storage else "with --storage FILE the same command goes on with it") in result.stderr
    assert not (tmp_path / "a").exists()


def test_animate(run: Run, tmp_path: Path) -> None:
    out = succeed("animate", run.folder, "--out", tmp_path / "films", "--per-second", 2)
    assert out.splitlines() == [f"wrote {tmp_path / 'films' / name}" for name in ("samples.gif", "plane.gif")]
    assert "pictures of epochs" in fail("animate", tmp_path / "nowhere")
