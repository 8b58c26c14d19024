"""What a user brings to the command line: a recipe, data, callbacks, metrics and classes of their own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from console import Done, run
from readback import content, png

from mnistvae import VAE, commands, io, load, save
from mnistvae.commands import RunFolder, cli
from mnistvae.commands._settings import parse_value
from mnistvae.metrics import Evaluation

#: A module as a user would write it, in the folder in which the commands are called.
MODULE = '''
"""A recipe, data, callbacks, a metric and a trunk."""

import torch
from torch import nn

from mnistvae import VAE, ImageDataset
from mnistvae.networks import GaussianEncoder, MLPDecoder
from mnistvae.recipes import Recipe
from mnistvae.training import Callback


class MyTrunk(nn.Module):
    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.width = width
        self.layer = nn.LazyLinear(width)

    def forward(self, x):
        return self.layer(x.flatten(1)).relu()


def build(image_shape, num_classes, latent_dim, width, sizes=(1,)):
    return VAE(
        latent_dim,
        image_shape,
        encoder=GaussianEncoder(MyTrunk(width), latent_dim),
        decoder=MLPDecoder(latent_dim, image_shape, (width,)),
    )


MINE = Recipe(
    "mine", "a trunk of my own", build, {"latent_dim": 2, "width": 8, "sizes": (1,)}, {"epochs": 2, "batch_size": 16}
)


def bars(split):
    """Bars in one of four places."""
    labels = torch.arange(48 if split == "train" else 24) % 4
    images = torch.zeros(len(labels), 1, 8, 8, dtype=torch.uint8)
    for image, label in zip(images, labels):
        image[0, 2 * int(label)] = 200 + int(label)
    return ImageDataset(images, labels)


class Counter(Callback):
    """Counts epochs, in a file and in its state."""

    def __init__(self) -> None:
        self.epochs = 0

    def on_epoch_end(self, state) -> None:
        self.epochs += 1
        with open("counted.txt", "a") as file:
            file.write(f"{self.epochs}\\n")

    def state_dict(self):
        return {"epochs": self.epochs}

    def load_state_dict(self, state) -> None:
        self.epochs = state["epochs"]


COUNTER = Counter()


def make_counter():
    return Counter()


NOT_A_CALLBACK = 3
'''


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a module of a user's."""
    (tmp_path / "my_module.py").write_text(MODULE)
    return tmp_path


def mnistvae_in(folder: Path, *arguments: object, path: Path | None = None) -> Done:
    """The command, in that folder: only the command line itself makes its modules importable."""
    return run(*arguments, folder=folder, path=path)


def succeed(folder: Path, *arguments: object, path: Path | None = None) -> str:
    done = mnistvae_in(folder, *arguments, path=path)
    assert done.returncode == 0, done.stderr
    return done.stdout


QUIET = ("--no-progress", "--device", "cpu")
OWN = ("--recipe", "my_module:MINE", "--dataset", "my_module:bars")


# --- a module of one's own ------------------------------------------------------------------------------------------


def test_recipe_data_and_callback_of_ones_own(project: Path) -> None:
    settings = ("--set", "width=6", "--set", "sizes=[2, 3]", "--latent-dim", 3, "--set", "ema=0.5")
    out = succeed(project, "train", *OWN, "--callback", "my_module:Counter", *settings, *QUIET, "--out", "run")
    assert "recipe mine: a trunk of my own" in out
    assert "data my_module:bars: 48 images to train on, 24 to validate" in out
    assert "latent_dim=3, width=6, sizes=(2, 3), epochs=2, batch_size=16, ema=0.5, seed=0" in out
    assert (project / "counted.txt").read_text() == "1\n2\n"
    record = RunFolder(project / "run").read_record()
    assert (record.recipe, record.dataset, record.callbacks) == (*OWN[1::2], ("my_module:Counter",))
    assert record.settings == {"width": 6, "sizes": (2, 3), "latent_dim": 3}
    assert record.training == {"epochs": 2, "batch_size": 16, "ema": 0.5}
    for line in out.partition("next:\n")[2].splitlines():
        done = mnistvae_in(project, *line.split()[1:])
        assert done.returncode == 0, done.stderr


def test_a_model_of_ones_own_in_every_command_that_loads_one(project: Path) -> None:
    succeed(project, "train", *OWN, *QUIET, "--epochs", 1, "--out", "run")
    model, own = Path("run", "model.safetensors"), ("--classes", "my_module:MyTrunk")
    assert "MyTrunk(width=8)" in succeed(project, "info", model)
    few: dict[str, tuple[object, ...]] = {
        "generate": (),
        "reconstruct": OWN[2:],
        "evaluate": (*OWN[2:], "--only", "reconstruction", "--no-progress"),
        "fit-prior": (*OWN[2:], "--components", 2),
    }
    for verb in ("generate", "reconstruct", "evaluate", "fit-prior"):
        succeed(project, verb, model, *own, *few[verb], "--out", verb)
        refused = mnistvae_in(project, verb, model, *few[verb], "--out", f"{verb}-refused")
        assert refused.returncode == 2
        (line,) = refused.stderr.splitlines()
        assert "the class 'MyTrunk' (defined in my_module) to be allowed, got none" in line
        assert line.endswith("if you trust my_module, add --classes my_module:MyTrunk")
        assert not (project / f"{verb}-refused").exists()
    found = Evaluation.from_json(project / "evaluate" / "metrics.json")
    assert (found.protocol["images"], found.protocol["recipe"]) == (24, "my_module:MINE")


def test_no_function_is_called_because_a_file_names_it(project: Path) -> None:
    """A model's file says what it was trained on; that is a name of code only to those who give it."""
    path = save(VAE(2, (1, 8, 8)), project / "model.safetensors", {"dataset": "os:remove"})
    (project / "test").write_text("precious")
    done = mnistvae_in(project, "reconstruct", path)
    assert done.returncode == 2
    assert done.stderr.strip().endswith("got 'os:remove': if you trust it, add --dataset os:remove")
    assert (project / "test").read_text() == "precious"


def test_a_run_of_ones_own_is_gone_on_with(project: Path) -> None:
    (project / "stopping.py").write_text(
        "import os, signal\n"
        "from my_module import Counter\n"
        "class Stop(Counter):\n"
        "    def on_epoch_end(self, state):\n"
        "        super().on_epoch_end(state)\n"
        "        if os.path.exists('stop'):\n"
        "            os.remove('stop')\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
    )
    how = (
        "train",
        *OWN,
        "--image-channels",
        3,
        "--callback",
        "stopping:Stop",
        "--set",
        "width=5",
        "--epochs",
        3,
        *QUIET,
    )
    succeed(project, *how, "--out", "whole")
    (project / "stop").touch()
    stopped = mnistvae_in(project, *how, "--out", "part")
    assert stopped.returncode == 130, stopped.stderr
    assert "go on with:\n  mnistvae train --resume part" in stopped.stderr
    assert not (project / "part" / "model.safetensors").exists()
    succeed(project, "train", "--resume", "part", *QUIET)
    assert (project / "counted.txt").read_text() == "1\n2\n3\n" * 2  # the callback's state is resumed, too
    whole, part = (io.read(project / name / "model.safetensors").tensors for name in ("whole", "part"))
    assert all(torch.equal(tensor, part[name]) for name, tensor in whole.items())


@pytest.mark.parametrize("name", ["Counter", "COUNTER", "make_counter"])
def test_a_callback_is_an_instance_or_what_makes_one(project: Path, name: str) -> None:
    how = (*OWN, "--epochs", 1, "--callback", f"my_module:{name}", "--samples-every", 0, *QUIET)
    succeed(project, "train", *how, "--out", "run")
    assert (project / "counted.txt").read_text() == "1\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--callback", "my_module:NOT_A_CALLBACK"), "my_module:NOT_A_CALLBACK as a mnistvae.training.Callback, got a"),
        (("--callback", "my_module:MyTrunk"), "my_module:MyTrunk as a mnistvae.training.Callback, got a MyTrunk"),
        (("--callback", "my_module:bars"), "my_module:bars to make a callback without arguments, got bars"),
        (("--callback", "nowhere:COUNTER"), "no module named 'nowhere'"),
        (("--recipe", "my_module:MINES"), "no attribute 'MINES': check the spelling; the closest is 'MINE'"),
        (("--recipe", "my_module:bars"), "'my_module:bars' as a recipe"),
        (("--dataset", "my_module:MyTrunks"), "no attribute 'MyTrunks'"),
        (("--set", "depth=3"), "settings of the recipe 'mine': latent_dim, width, sizes, got depth"),
        (("--set", "width"), "--set takes a name and a value, such as --set width=32, not 'width'"),
        (("--set", "out=there"), "--set out=... and --out are the same"),
        (("--set", "latent-dim=4", "--latent-dim", "4"), "--set latent_dim=... and --latent-dim are the same"),
        (("--set", "width=3", "--set", "width=3"), "--set width=... and --width are the same"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_not_there_is_said_in_one_line(
    project: Path, options: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    before, path = content(project), list(sys.path)
    how = dict(zip(OWN[::2], OWN[1::2], strict=True))
    how = {name: value for name, value in how.items() if name not in options}
    result = CliRunner().invoke(cli, ["train", *(part for pair in how.items() for part in pair), *options, *QUIET])
    assert result.exit_code == 2, result.output
    assert message in " ".join(result.stderr.split())
    assert "Traceback" not in result.output
    made = {name for name in content(project).keys() - before.keys() if "__pycache__" not in name}
    assert made == set()
    assert sys.path == path
    sys.modules.pop("my_module", None)


def test_values_that_are_set() -> None:
    for text, value in (
        ("3", 3),
        ("3e-4", 3e-4),
        ("true", True),
        ("True", True),
        ("null", None),
        ("None", None),
        ("[1, [2, 3]]", (1, (2, 3))),
        ("(4,)", (4,)),
        ('{"a": 1}', {"a": 1}),
        ('"3"', "3"),
        ("one-cycle", "one-cycle"),
        ("", ""),
    ):
        assert parse_value(text) == value
        assert type(parse_value(text)) is type(value)


def test_a_folder_of_pictures(project: Path) -> None:
    from PIL import Image

    for split, count in (("train", 6), ("test", 3)):
        for name in ("cats", "dogs"):
            for number in range(count):
                path = project / "pets" / split / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (10 + number, 12), (40 * number, 90, 200 if name == "cats" else 20)).save(path)
    how = ("--recipe", "mlp-2d", "--hidden", 4, "--epochs", 1, "--batch-size", 4, *QUIET)
    out = succeed(project, "train", "--dataset", "pets", "--image-size", "8", *how, "--out", "run")
    assert "12 images to train on, 6 to validate" in out
    model = project / "run" / "model.safetensors"
    assert load(model).image_shape == (3, 8, 8)
    record = RunFolder(project / "run").read_record()
    assert (record.dataset, record.image_size) == (str(project / "pets"), (8,))
    (project / "elsewhere").mkdir()
    succeed(project / "elsewhere", "reconstruct", model, "-n", 4, "--out", "drawn")
    assert png(project / "elsewhere" / "drawn" / "reconstructions.png").ndim == 3


def test_grey_and_colour_pictures_are_brought_to_one(project: Path) -> None:
    from PIL import Image

    for number in range(20):
        path = project / "mixed" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB" if number % 2 else "L", (8, 8)).save(path)
    (project / "mixed" / "20.heic").write_bytes(b"")
    how = ("--recipe", "mlp-2d", "--hidden", 4, "--epochs", 1, "--batch-size", 4, *QUIET)
    refused = mnistvae_in(project, "train", "--dataset", "mixed", *how)
    assert (refused.returncode, "(--image-channels 1 or 3)" in refused.stderr) == (2, True)
    done = mnistvae_in(project, "train", "--dataset", "mixed", "--image-channels", 3, *how, "--out", "run")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("left out 1 of the files") == 1  # although both splits are read
    model = project / "run" / "model.safetensors"
    assert load(model).image_shape == (3, 8, 8)
    assert RunFolder(project / "run").read_record().image_channels == 3
    succeed(project, "reconstruct", model, "-n", 2, "--out", "drawn")


# --- an installed package -------------------------------------------------------------------------------------------


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder of packages, as ``pip install`` would leave it."""
    site = tmp_path / "site"
    about = site / "theirs-1.0.dist-info"
    about.mkdir(parents=True)
    (site / "theirs.py").write_text(MODULE)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[mnistvae.recipes]\ntrunk = theirs:MINE\nbroken = theirs:NOTHING\n[mnistvae.datasets]\nbars = theirs:bars\n"
    )
    return site


def test_recipes_and_data_of_an_installed_package(installed: Path, tmp_path: Path) -> None:
    listed = mnistvae_in(tmp_path, "recipes", path=installed)
    assert listed.returncode == 0, listed.stderr
    assert "trunk: a trunk of my own\n" in listed.stdout
    assert "warning: expected the recipe 'broken' of theirs (theirs:NOTHING) to be importable" in listed.stderr
    out = succeed(tmp_path, "train", "--recipe", "trunk", "--dataset", "bars", *QUIET, "--out", "run", path=installed)
    assert "data bars: 48 images" in out
    record = RunFolder(tmp_path / "run").read_record()
    assert (record.recipe, record.dataset) == ("trunk", "bars")
    succeed(
        tmp_path, "reconstruct", "run/model.safetensors", "--classes", "theirs:MyTrunk", "--out", "a", path=installed
    )


# --- a command of one's own -----------------------------------------------------------------------------------------


def test_a_new_command_is_a_function_and_a_line_that_imports_it() -> None:
    """Three files: the function's, the package's ``__init__`` that imports it, and a test."""
    from mnistvae.commands._face import COMMANDS, command

    @command()
    def count_pixels(model: str | Path, *, above: float = 0.5, names: tuple[str, ...] = (), say: Any = print) -> int:
        """Count the pixels of MODEL.

        Args:
            model: File of a model.
            above: Least brightness of a pixel that counts.
            names: Names, which nobody needs; may be given again.
            say: Called with each line.
        """
        say(f"{model} {above} {names}")
        return 3

    try:
        result = CliRunner().invoke(cli, ["count-pixels", "a", "--above", "0.25", "--names", "x", "--names", "y"])
        assert result.output == "a 0.25 ('x', 'y')\n"
        text = CliRunner().invoke(cli, ["count-pixels", "--help"]).output
        assert "Count the pixels of MODEL." in text
        assert "Least brightness of a pixel that counts.  [default: 0.5]" in " ".join(text.split()).replace(
            ". [", ".  ["
        )
        assert count_pixels("a", say=lambda line: None) == 3
    finally:
        del COMMANDS["count-pixels"]


def test_every_command_is_a_function_of_the_package() -> None:
    for name, command in cli.commands.items():
        function = getattr(commands, name.replace("-", "_"))
        assert function is command.callback
        assert name.replace("-", "_") in commands.__all__


OPENS = """
from mnistvae.training import Callback


class Opens(Callback):
    def on_epoch_end(self, state):
        open("there/is/no/such.txt")
"""


def test_an_error_of_the_system_in_a_callback_of_ones_own_keeps_its_traceback(tmp_path: Path) -> None:
    (tmp_path / "opening.py").write_text(OPENS)
    done = mnistvae_in(
        tmp_path,
        "train",
        "--recipe",
        "mlp-2d",
        "--steps",
        2,
        "--epochs",
        1,
        "--callback",
        "opening:Opens",
        "--out",
        "a run",
    )
    assert done.returncode == 1
    assert 'opening.py", line 7, in on_epoch_end' in done.stderr
    assert "ask for less" not in done.stderr


def test_commands_that_are_printed_can_be_pasted(tmp_path: Path) -> None:
    done = mnistvae_in(tmp_path, "train", "--recipe", "mlp-2d", "--steps", 2, "--epochs", 1, "--out", "a run")
    assert done.returncode == 0, done.stderr
    assert "mnistvae evaluate 'a run'" in done.stdout
    evaluated = mnistvae_in(
        tmp_path, "evaluate", "a run/model.safetensors", "--only", "reconstruction", "--limit", 20, "--progress"
    )
    assert evaluated.returncode == 0
    assert "%|" not in evaluated.stderr  # no bars where there is no terminal
