"""The package as a whole: its names, their documentation, and what importing it costs."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import metadata, version
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import mnistvae

SOURCE = Path(mnistvae.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))


def public_modules() -> list[str]:
    """Every module of the package whose path has no private part."""
    found = [info.name for info in pkgutil.walk_packages([str(SOURCE)], "mnistvae.")]
    return ["mnistvae", *(name for name in found if not any(part.startswith("_") for part in name.split(".")))]


MODULES = public_modules()


def public_objects() -> Iterator[tuple[str, Any]]:
    """Every public class and function, by the name under which it is found, and every public method."""
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        for name in getattr(module, "__all__", []):
            value = getattr(module, name)
            if inspect.isfunction(value) or (inspect.isclass(value) and value.__module__.startswith("mnistvae")):
                yield f"{module_name}.{name}", value
            if inspect.isclass(value) and value.__module__.startswith("mnistvae"):
                for attribute, member in vars(value).items():
                    plain = inspect.unwrap(getattr(member, "__func__", member)) if callable(member) else member
                    if not attribute.startswith("_") and (
                        inspect.isfunction(plain) or isinstance(member, property | classmethod | staticmethod)
                    ):
                        yield f"{module_name}.{name}.{attribute}", getattr(value, attribute)


def python(code: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stderr == ""
    return done.stdout.split()


# --- importing ------------------------------------------------------------------------------------------------------


def test_importing_the_package_imports_nothing_heavy() -> None:
    heavy = "{'torch', 'torchvision', 'numpy', 'matplotlib', 'skimage', 'PIL', 'click', 'tqdm', 'safetensors'}"
    code = f"import sys, mnistvae; print(mnistvae.__version__, *sorted({heavy} & sys.modules.keys()))"
    assert python(code) == [mnistvae.__version__]


def test_a_name_is_found_when_it_is_first_used() -> None:
    code = (
        "import sys, mnistvae\n"
        "print(mnistvae.recipes.names()[0], 'torch' in sys.modules)\n"
        "print(mnistvae.VAE.__name__, 'torch' in sys.modules, 'torchvision' in sys.modules)"
    )
    assert python(code) == ["conv", "False", "VAE", "True", "False"]


def test_a_compiler_is_imported_when_something_is_compiled() -> None:
    code = (
        "import sys, torch\n"
        "before = 'triton' in sys.modules\n"
        "import mnistvae.training\n"
        "print(before or 'triton' not in sys.modules)"
    )
    assert python(code) == ["True"]


def test_every_public_name_resolves() -> None:
    for name in mnistvae.__all__:
        assert getattr(mnistvae, name) is not None
        assert getattr(mnistvae, name) is getattr(mnistvae, name)
    assert len(set(mnistvae.__all__)) == len(mnistvae.__all__)


def test_dir_is_the_public_names() -> None:
    assert dir(mnistvae) == sorted(mnistvae.__all__)


@pytest.mark.parametrize("name", ["BetaVae", "__nothing__", "_private", "torch_"])
def test_an_unknown_name_is_an_attribute_error(name: str) -> None:
    with pytest.raises(AttributeError, match=f"module 'mnistvae' has no attribute '{name}'"):
        getattr(mnistvae, name)
    assert not hasattr(mnistvae, name)


def test_an_unknown_name_cannot_be_imported() -> None:
    with pytest.raises(ImportError, match="cannot import name 'BetaVae' from 'mnistvae'"):
        exec("from mnistvae import BetaVae", {})  # noqa: S102


def test_names_lead_to_their_homes() -> None:
    from mnistvae.data import ImageDataset, load_dataset
    from mnistvae.io import load, save
    from mnistvae.models import VAE, BetaVAE, ConditionalVAE
    from mnistvae.training import History, Trainer

    homes = (VAE, BetaVAE, ConditionalVAE, History, ImageDataset, Trainer, load, load_dataset, save)
    assert all(getattr(mnistvae, value.__name__) is value for value in homes)


def test_the_names_for_type_checkers_are_the_names_there_are() -> None:
    tree = ast.parse((SOURCE / "__init__.py").read_text(encoding="utf-8"))
    blocks = [node for node in tree.body if isinstance(node, ast.If)]
    imported = {
        alias.asname or alias.name
        for block in blocks
        for node in ast.walk(block)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported | {"__version__"} == set(mnistvae.__all__)


# --- the public modules ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODULES)
def test_a_public_module_is_documented_and_says_what_is_public(name: str) -> None:
    module: ModuleType = importlib.import_module(name)
    assert inspect.getdoc(module)
    names = getattr(module, "__all__", None)
    assert names is not None
    assert len(names) == len(set(names))
    assert all(hasattr(module, public) for public in names)


def test_everything_public_is_documented() -> None:
    found = dict(public_objects())
    assert len(found) > 80
    assert "mnistvae.VAE.sample" in found  # methods are looked at
    assert "mnistvae.training.History.from_csv" in found
    assert "mnistvae.models.VAEOutput.reconstruction" in found
    undocumented = [name for name, value in found.items() if not (inspect.getdoc(value) or "").strip()]
    assert undocumented == []


def test_docstrings_begin_with_a_sentence() -> None:
    firsts = {name: (inspect.getdoc(value) or "").split("\n\n")[0].strip() for name, value in public_objects()}
    assert {name: first for name, first in firsts.items() if not first.endswith((".", ":"))} == {}


# --- the distribution -----------------------------------------------------------------------------------------------


def test_the_version_is_the_installed_one() -> None:
    assert mnistvae.__version__ == version("mnistvae")
    assert re.fullmatch(r"\d+\.\d+\.\d+([a-z0-9.+]*)", mnistvae.__version__)


def test_the_metadata() -> None:
    about = metadata("mnistvae")
    assert about["Name"] == "mnistvae"
    assert about["Requires-Python"] == ">=3.11"
    assert (SOURCE / "py.typed").is_file()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_the_source_checks_with_exceptions_and_reads_no_pickle(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = list(ast.walk(tree))
    assert [node.lineno for node in nodes if isinstance(node, ast.Assert)] == []
    modules = {
        name.partition(".")[0]
        for node in nodes
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert not modules & {"pickle", "joblib", "dill", "shelve"}
    calls = {ast.unparse(node.func) for node in nodes if isinstance(node, ast.Call)}
    assert not calls & {"torch.load", "torch.manual_seed", "torch.set_default_dtype", "eval", "exec"}
