"""Objects of other modules and packages by name: what is found, and what is said of a name that stands for nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mnistvae import plugins
from mnistvae.errors import DatasetNotFoundError, SettingError

OWN = {"conv": 1, "mlp": 2}


def install(folder: Path, package: str, group: str, **entries: str) -> None:
    """What pip leaves of a package: its metadata, found where its folder is on the path."""
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())]
    (info / "entry_points.txt").write_text("\n".join(lines))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path, and modules that are forgotten afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("own_things", "own_broken", "own_needs"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    (tmp_path / "own_things.py").write_text("A = 3\nclass Box:\n    inner = 4\ndef make(): return 5\n")
    (tmp_path / "own_broken.py").write_text("1 / 0\n")
    (tmp_path / "own_needs.py").write_text("import not_installed_anywhere\n")
    return tmp_path


def test_own_names_and_references(folder: Path) -> None:
    assert plugins.resolve("recipe", "conv", OWN) == 1
    assert plugins.resolve("recipe", "own_things:A", OWN, of=int) == 3
    assert plugins.resolve("callback", "own_things:Box.inner") == 4
    assert plugins.resolve("data set", "own_things:make", of=Callable)() == 5


def test_entry_points_are_found_by_name(folder: Path) -> None:
    install(folder, "others", "mnistvae.recipes", mine="own_things:A", zebra="own_broken:A", conv="own_things:A")
    assert plugins.names("recipe", OWN) == ["conv", "mlp", "mine", "zebra"]
    assert "own_things" not in sys.modules  # names import nothing
    assert plugins.resolve("recipe", "mine", OWN) == 3
    assert plugins.resolve("recipe", "conv", OWN) == 1  # ours
    assert plugins.names("metric") == plugins.names("callback") == []
    with pytest.raises(SettingError, match=r"the recipe 'zebra' of others \(own_broken:A\) .*got ZeroDivisionError"):
        plugins.resolve("recipe", "zebra", OWN)


def test_a_name_of_two_packages_is_not_guessed(folder: Path) -> None:
    install(folder, "first", "mnistvae.metrics", sharpness="own_things:A")
    install(folder, "second", "mnistvae.metrics", sharpness="own_things:make")
    assert plugins.names("metric") == ["sharpness"]
    with pytest.raises(SettingError, match="'sharpness', got 2: own_things:A, own_things:make: give one of these"):
        plugins.resolve("metric", "sharpness")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("convv", "a recipe: conv, mlp, module:NAME, got 'convv': check the spelling; the closest is 'conv'"),
        ("", "got '': check the spelling$"),
        ("C:/folder", "got 'C:/folder': check the spelling"),
        ("no_such_package:A", "importable module 'no_such_package', got no module named 'no_such_package': install it"),
        ("own_things.part:A", "'own_things.part', got no module named 'own_things.part'"),
        (
            "own_needs:A",
            "'own_needs', got ModuleNotFoundError: No module named 'not_installed_anywhere': mend own_needs",
        ),
        ("own_broken:A", "'own_broken', got ZeroDivisionError: division by zero: mend own_broken"),
        ("own_things:makee", "a recipe 'makee' in own_things, got no attribute 'makee': .*closest is 'make'"),
        ("own_things:Box.outer", "'Box.outer' in own_things, got no attribute 'outer'"),
        ("own_things:Box", "'own_things:Box' as a recipe: an object of the class int, got the class Box"),
        ("own_things:make", "an object of the class int, got a function"),
    ],
)
def test_what_stands_for_nothing_is_one_clear_error(folder: Path, name: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        plugins.resolve("recipe", name, OWN, of=int)


@pytest.mark.parametrize("name", [None, 3, Path("conv"), ["conv"]])
def test_a_name_is_a_text(name: object) -> None:
    with pytest.raises(SettingError, match="a recipe: conv, mlp, module:NAME, got "):
        plugins.resolve("recipe", name, OWN)  # type: ignore[arg-type]


def test_the_caller_chooses_the_error_and_what_else_it_takes() -> None:
    with pytest.raises(DatasetNotFoundError, match="a data set: conv, mlp, a folder, module:NAME, got 'x'"):
        plugins.resolve("data set", "x", OWN, error=DatasetNotFoundError, also="a folder")


def test_the_closest_name_is_one_of_the_same_case_if_there_is_one() -> None:
    assert plugins.closest("NARRO", ["narrow", "NARROW"]).endswith("'NARROW'")
    assert plugins.closest("narro", ["narrow", "NARROW"]).endswith("'narrow'")
    assert plugins.closest("MNIST-MINI", ["mnist", "mnist-mini"]).endswith("'mnist-mini'")
    assert plugins.closest(None, ["mlp", "conv"]) == "check the spelling"


def test_the_door_itself_imports_next_to_nothing() -> None:
    code = (
        "import sys, mnistvae.plugins\nprint(*{'torch', 'numpy', 'importlib.metadata', 'difflib'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.split() == []
