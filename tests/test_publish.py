"""What a release is made of: declared imports, links that PyPI can follow, and files that their readers understand."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

import mnistvae

ROOT = Path(__file__).parents[1]
SOURCE = Path(mnistvae.__file__).parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
#: Distributions whose module has another name.
NAMES = {
    "PIL": "pillow",
    "mlflow": "mlflow-skinny",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "umap": "umap-learn",
}
#: Extras for people who use the package, not for those who work on it.
OFFERED = PROJECT["optional-dependencies"].keys() - {"test", "docs", "dev"}


def distributions(requirements: list[str]) -> set[str]:
    """The names in requirements, as PyPI normalises them."""
    return {re.split(r"[\[<>=!~; ]", one)[0].lower().replace("_", "-") for one in requirements}


def imported(path: Path, *, at_once: bool) -> Iterator[str]:
    """The distributions that a module imports: all of them, or those that importing the module itself imports."""

    def walk(node: ast.AST) -> Iterator[ast.AST]:
        for child in ast.iter_child_nodes(node):
            typed = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
            if typed or (at_once and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)):
                continue
            yield child
            yield from walk(child)

    for node in walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        for name in names:
            top = name.partition(".")[0]
            if top not in sys.stdlib_module_names and top != "mnistvae":
                yield NAMES.get(top, top).lower().replace("_", "-")


def test_every_import_is_declared() -> None:
    needed = distributions(PROJECT["dependencies"])
    offered = distributions([one for extra in OFFERED for one in PROJECT["optional-dependencies"][extra]])
    files = sorted(SOURCE.rglob("*.py"))
    everything = {name for path in files for name in imported(path, at_once=False)}
    assert len(everything) > 12
    assert everything - needed - offered == set()
    assert needed - everything == set(), "a dependency that nothing imports"


def test_every_dependency_has_a_lower_bound_and_every_extra_is_told_of() -> None:
    extras = PROJECT["optional-dependencies"]
    given = [*PROJECT["dependencies"], *(one for extra in extras.values() for one in extra)]
    assert [one for one in given if ">=" not in one and not one.startswith("mnistvae[")] == []
    source = "".join(path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py"))
    assert [extra for extra in OFFERED if f"[{extra}]" not in source] == []


# --- the page on PyPI -----------------------------------------------------------------------------------------------


def readme_module() -> Any:
    pytest.importorskip("hatchling", reason="a build needs it, using the package does not")
    spec = spec_from_file_location("pypi_readme", ROOT / "scripts" / "pypi_readme.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_links_become_absolute() -> None:
    links = "![a](docs/a.png) [b](CHANGELOG.md) [c](https://x.org/y) [d](#more) [e](mailto:me@x.org)"
    assert readme_module().absolute_links(links, "https://github.com/me/it", "1.2") == (
        "![a](https://raw.githubusercontent.com/me/it/v1.2/docs/a.png) "
        "[b](https://github.com/me/it/blob/v1.2/CHANGELOG.md) [c](https://x.org/y) [d](#more) [e](mailto:me@x.org)"
    )


def test_the_readme_of_the_metadata() -> None:
    found: dict[str, Any] = {"urls": PROJECT["urls"]}
    module = readme_module()
    module.ReadmeHook(str(ROOT), {}).update(found)
    assert found["readme"]["content-type"] == "text/markdown"
    text = found["readme"]["text"]
    assert module.RELATIVE.search(text) is None
    assert (
        f"https://raw.githubusercontent.com/mnistvae/mnistvae/v{mnistvae.__version__}/docs/images/samples.png" in text
    )


def test_files_that_the_readme_links_to_are_there() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!\w+:|#)([^)\s#]+)", text)
    assert len(targets) > 4
    assert [one for one in targets if not (ROOT / one).exists()] == []


# --- files about the repository -------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["CITATION.cff", "packaging/recipe.yaml"])
def test_the_version_is_that_of_the_package(file: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    assert re.findall(r'^ *version: "?([\d.]+)"?$', text, re.MULTILINE) == [mnistvae.__version__]


def test_the_conda_recipe_has_the_dependencies() -> None:
    text = (ROOT / "packaging" / "recipe.yaml").read_text(encoding="utf-8")
    run = text.partition("  run:\n")[2].partition("\n\n")[0]
    found = {line.strip().removeprefix("- ") for line in run.splitlines()}
    other = {"torch": "pytorch", "matplotlib": "matplotlib-base"}
    split = [re.split(r"(?=>=)", one) for one in PROJECT["dependencies"]]
    assert found == {"python >=3.11", *(f"{other.get(name, name)} {bound}" for name, bound in split)}


def test_the_conda_recipe_renders() -> None:
    rattler = pytest.importorskip("rattler_build", reason="needs rattler-build: pip install py-rattler-build")
    text = (ROOT / "packaging" / "recipe.yaml").read_text(encoding="utf-8")
    (variant,) = rattler.Stage0Recipe.from_yaml(text).render()
    made = variant.recipe.to_dict()
    assert made["package"] == {"name": "mnistvae", "version": mnistvae.__version__}
    assert [one["url"].rpartition("/")[2] for one in made["source"]] == [f"v{mnistvae.__version__}.tar.gz"]
    assert made["build"]["noarch"] == "python"
    assert [one for one in made["about"]["license_file"] if not (ROOT / one).exists()] == []


def test_files_of_yaml_say_what_their_readers_ask_for() -> None:
    yaml = pytest.importorskip("yaml", reason="it comes with the tools of the documentation")
    files = [".readthedocs.yaml", "CITATION.cff", "packaging/recipe.yaml"]
    files += [str(path.relative_to(ROOT)) for path in (ROOT / ".github" / "workflows").glob("*.yml")]
    content = {file: yaml.safe_load((ROOT / file).read_text(encoding="utf-8")) for file in files}
    assert len(content) == 6
    assert content["CITATION.cff"]["cff-version"] == "1.2.0"
    jobs = content[".github/workflows/tests.yml"]["jobs"]
    assert {"ubuntu-latest", "macos-latest", "windows-latest"} == set(jobs["tests"]["strategy"]["matrix"]["os"])
    publish = content[".github/workflows/publish.yml"]["jobs"]["publish"]
    assert publish["permissions"] == {"id-token": "write"}
    assert publish["needs"] == "tests"


def test_the_image_is_made_of_files_that_are_there() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    sources = [word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]]
    assert sources
    assert [one for one in sources if not (ROOT / one).exists()] == []
    let_in = (ROOT / ".dockerignore").read_text(encoding="utf-8")
    assert [one for one in sources if f"!{one}\n" not in let_in] == []
    assert lines[-1] == 'ENTRYPOINT ["mnistvae", "train"]'
