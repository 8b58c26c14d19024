"""What this documentation needs of Sphinx beyond its extensions.

- ``{mnistvae}``: a directive that runs a command line of mnistvae's and shows what it prints.
- ``returned_figures``: an image scraper of sphinx-gallery for figures that pyplot does not know.
- references to mnistvae's objects by any of their names (``mnistvae.VAE``, ``mnistvae.models.VAE``, ``VAE``).
- formulas as MathML, which browsers draw by themselves: no script is loaded from elsewhere.
- the report of a small model, and explorers of two, made when the documentation is built, as pages of their own.
- the gallery's notebooks, under names that links elsewhere can rely on.
- a table of contents at the top of each module's page, and types beside arguments as they are written in the source.
"""

# ruff: noqa: ARG001 (Sphinx calls its listeners with all that it knows)

from __future__ import annotations

import ast
import inspect
import re
import shlex
import shutil
import sys
import tempfile
import warnings
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any
from weakref import WeakSet

import click.testing
from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from matplotlib.figure import Figure
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode
from sphinx_gallery.scrapers import figure_rst
from torch import nn

import mnistvae as mv
import mnistvae.errors
from mnistvae._component import Component
from mnistvae._hub_form import HubForm
from mnistvae.commands import cli

MODULES = [name for name in mv.__all__ if isinstance(getattr(mv, name), ModuleType)]
#: Examples in the order in which to read them.
ORDER = [
    "plot_train_and_sample.py",
    "plot_conditional.py",
    "plot_priors.py",
    "plot_ladder.py",
    "plot_discrete_codes.py",
    "plot_resume.py",
    "plot_evaluate.py",
    "plot_factors.py",
    "plot_latent_space.py",
    "plot_explore.py",
    "plot_interpolation.py",
    "plot_clusters.py",
    "plot_classify_codes.py",
    "plot_sklearn.py",
    "plot_errors.py",
    "plot_latent_sizes.py",
    "plot_custom_encoder.py",
    "plot_custom_likelihood.py",
    "plot_custom_prior.py",
    "plot_custom_objective.py",
    "plot_custom_metric.py",
    "plot_custom_section.py",
    "plot_own_data.py",
    "plot_custom_recipe.py",
    "plot_commands.py",
]


#: Where the live report is made, beside the pages.
LIVE = Path(__file__).parents[1] / "live"


def make_live_report(app: Sphinx, config: Any) -> None:
    """``report.html`` of a model that is trained for a few epochs on the digits that ship with the package.

    It is about a part of them, to be quick.
    """
    page = LIVE / "report.html"
    LIVE.mkdir(exist_ok=True)
    if page.exists():  # like a page of the gallery, made once
        return
    train, test = (mv.load_dataset("mnist-mini", split) for split in ("train", "test"))
    recipe = mv.recipes.get("mlp")
    model = recipe.model(seed=0)
    how = {"epochs": 4, "batch_size": 64, "learning_rate": 2e-3}
    history = recipe.trainer(**how, seed=0, progress=False).fit(model, train, validation=test)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        about = {"recipe": recipe.name, "dataset": train.name, "epochs": len(history)}
        made = mv.report.write_report(model, test[:1000], folder, train=train[:4000], history=history, about=about)
        page.write_bytes(made.read_bytes())


def make_live_explorers(app: Sphinx, config: Any) -> None:
    """Pages in which the latent spaces of two ready models move, and the plane of the front page."""
    LIVE.mkdir(exist_ok=True)
    test = mv.load_dataset("mnist-mini", "test")
    for kind, name, parts in (
        ("explore", "mlp-2d", "all"),
        ("explore", "conditional", "all"),
        ("plane", "mlp-2d", "plane"),
    ):
        page = LIVE / f"{kind}-{name}.html"
        if not page.exists():
            made = mv.explorer.explorer_page(mv.pretrained(name), test, title=name, parts=parts)
            page.write_text(made, encoding="utf-8")


class CommandLine(SphinxDirective):
    """A command line of mnistvae's and what it prints, run when the page is built."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        args = shlex.split(self.arguments[0])
        self.env.note_reread()
        runner = click.testing.CliRunner()
        result = runner.invoke(cli, args, prog_name="mnistvae", terminal_width=80)
        if result.exit_code != 0:
            raise self.error(f"mnistvae {self.arguments[0]} failed: {result.output}")
        text = f"$ mnistvae {self.arguments[0]}\n{result.output.rstrip()}"
        block = nodes.literal_block(text, text, language="text")
        self.set_source_info(block)
        if "--help" in args and len(args) > 1:
            self.env.metadata[self.env.docname][f"mnistvae {args[0]}"] = "documented"
        return [block]


def check_complete(app: Sphinx, env: Any) -> None:
    """Every command, every public module and each of its classes and functions has its place."""
    documented = {key for values in env.metadata.values() for key in values}
    missing = [name for name in cli.commands if f"mnistvae {name}" not in documented]
    if missing:
        raise ExtensionError(f"docs/command-line.md says nothing of the commands {missing}")
    missing = [name for name in MODULES if f"api/{name}" not in env.found_docs]
    if missing:
        raise ExtensionError(f"docs/api has no page for the modules {missing}")
    known = env.get_domain("py").objects
    offered = [f"mnistvae.{name}.{part}" for name in MODULES for part in _described(getattr(mv, name))]
    missing = [name for name in offered if name not in known]
    if missing:
        raise ExtensionError(f"docs/api says nothing of {missing}")


def _described(module: ModuleType) -> list[str]:
    """The classes and functions that a module offers."""
    return [n for n in module.__all__ if inspect.isclass(getattr(module, n)) or inspect.isroutine(getattr(module, n))]


_shown: WeakSet[Figure] = WeakSet()


def returned_figures(block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """Every Figure among an example's variables (or as a block's last expression), shown once, where it first appears.

    mnistvae returns plain Figures that pyplot does not know, so sphinx-gallery's own scraper does not see them.
    """
    found = [value for value in block_vars["example_globals"].values() if isinstance(value, Figure)]
    rst = ""
    for figure in dict.fromkeys(found):
        if figure in _shown:
            continue
        _shown.add(figure)
        path = block_vars["image_path_iterator"].next()
        figure.savefig(path)
        titles = ", ".join(filter(None, (axes.get_title() for axes in figure.axes)))
        rst += figure_rst([path], gallery_conf["src_dir"], titles)
    return rst


class ReadingOrder:
    """sphinx-gallery's order within a section: as in ``ORDER``."""

    def __init__(self, src_dir: str) -> None:
        self.src_dir = src_dir

    def __call__(self, filename: str) -> int:
        return ORDER.index(Path(filename).name)


def resolve_by_any_name(app: Sphinx, env: Any, node: Any, contnode: Any) -> Any:
    """A link for a reference to one of mnistvae's objects by a name that is not the documented one.

    A name that the source imports from elsewhere (``Tensor``) is known too, and stays plain text.
    """
    if node.get("refdomain") != "py":
        return None
    objects = env.get_domain("py").objects
    for name in _names(node["reftarget"], node.get("py:module"), node.get("py:class")):
        if name in objects:
            entry = objects[name]
            return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, contnode, name)
        if not name.startswith("mnistvae."):
            return contnode
    return None


def _names(target: str, module: str | None, cls: str | None) -> list[str]:
    """The names under which ``target``, written about ``module`` or one of its classes, may be documented."""
    home = getattr(_lookup(f"{module}.{cls}"), "__module__", None) if module and cls else None
    written = [target] if target.startswith("mnistvae.") else []
    for context in filter(None, (home, module)):
        first, dot, rest = target.partition(".")
        imported = _imports(context).get(first)
        written += [f"{imported}{dot}{rest}"] if imported else []
        written.append(f"{context}.{target}")
    written.append(f"mnistvae.errors.{target}")
    names = []
    for name in written:
        found = _lookup(name) if name.startswith("mnistvae.") else None
        home, inner = getattr(found, "__module__", None), getattr(found, "__qualname__", None)
        names.append(name)
        if isinstance(home, str) and isinstance(inner, str):
            parts = home.split(".")
            names += [".".join([*parts[:n], inner]) for n in range(len(parts), 0, -1)]
    return names


def _lookup(name: str) -> Any:
    """The object of that dotted name, or None."""
    parts = name.split(".")
    found: Any
    for n in range(len(parts), 0, -1):
        try:
            found = import_module(".".join(parts[:n]))
        except ImportError:
            continue
        for part in parts[n:]:
            found = getattr(found, part, None)
        return found
    return None


def _mathml(tex: str, as_block: bool) -> str:
    """MathML, with TeX's thin spaces around ``log`` and its like, which docutils leaves out."""
    if re.search(r"frac\s*\d", tex):
        raise ExtensionError(f"docutils misreads a fraction without braces, write \\frac{{1}}{{2}}: {tex}")
    # What docutils does not know, and then where it puts the index of a letter with an accent: below.
    tex = tex.replace(r"\dots", r"\ldots").replace(r"\textstyle", "")
    formula = re.sub(
        r'<munderover>\s*(<mi>\w</mi>)\s*(<mi>\w</mi>)\s*(<mo stretchy="false">~</mo>)\s*</munderover>',
        r"<msub><mover>\1\3</mover>\2</msub>",
        tex2mathml(tex, as_block=as_block),
    )
    thin = '<mspace width="0.17em"/>'
    return re.sub(
        r"(<mi[^>]*>[a-z]{2,}</mi>)\s*<mo>&ApplyFunction;</mo>(\s*<mo[^>]*>[(\[])?",
        lambda match: f"{thin}{match[1]}{match[2] or thin}",
        formula,
    )


def visit_math(translator: Any, node: nodes.math) -> None:
    """A formula in a line."""
    translator.body.append(_mathml(node.astext(), as_block=False))
    raise nodes.SkipNode


def visit_math_block(translator: Any, node: nodes.math_block) -> None:
    """A formula of its own."""
    formula = _mathml(node.astext(), as_block=True)
    translator.body.append(f"{translator.starttag(node, 'div', CLASS='formula')}{formula}</div>\n")
    raise nodes.SkipNode


def list_members(app: Sphinx, what: str, name: str, module: Any, options: Any, lines: list[str]) -> None:
    """A table of what a module offers, under its docstring."""
    if what != "module" or not hasattr(module, "__all__"):
        return
    names = _described(module)
    if len(names) > 1:
        lines += ["", ".. autosummary::", "   :nosignatures:", "", *(f"   {n}" for n in names), ""]


def add_types(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """``:type:`` and ``:rtype:`` from the annotations as they are written: ``ArrayLike``, not what it stands for."""
    if what not in {"class", "exception", "function", "method"}:
        return
    function: Any = obj.__init__ if inspect.isclass(obj) else inspect.unwrap(getattr(obj, "__func__", obj))
    if not inspect.isfunction(function) or not function.__module__.startswith("mnistvae"):
        return
    texts = {key: text for key, text in function.__annotations__.items() if isinstance(text, str)}
    types = {key: _full_names(text, function.__module__) for key, text in texts.items()}
    returned = types.pop("return", "None")
    result: list[str] = []
    fields = [n for n, line in enumerate(lines) if re.match(r":(param|returns|raises)\b", line)]
    # The type returned stands before what is said of it, else after the arguments, else at the end of the text.
    after = [n for n in fields if not lines[n].startswith(":param")]
    rubrics = [n for n, line in enumerate(lines) if line.startswith(".. rubric::")]
    place = (after or ([fields[-1] + 1] if fields else rubrics) or [len(lines)])[0]
    while fields and not after and place < len(lines) and lines[place].startswith(" "):
        place += 1  # an argument's text may run over several lines
    for n, line in enumerate([*lines, ""]):
        if n == place and returned != "None" and not inspect.isclass(obj):
            result += [*([] if fields else [""]), f":rtype: {returned}", *([] if after else [""])]
        field = re.match(r":param (\w+):", line)
        if field and field[1] in types:
            result.append(f":type {field[1]}: {types[field[1]]}")
        result.append(line)
    lines[:] = result


def skip_foreign_docstrings(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leave out a method whose only docstring is torch's: what it does is said of its class."""
    if not inspect.isfunction(obj) or obj.__doc__ is not None or not obj.__module__.startswith("mnistvae"):
        return None
    cls = _lookup(f"{obj.__module__}.{obj.__qualname__.rpartition('.')[0]}")
    if not inspect.isclass(cls):
        return None
    told = next((base for base in cls.__mro__ if getattr(base.__dict__.get(name), "__doc__", None)), None)
    return None if told is None or told.__module__.startswith("mnistvae") else True


def copy_notebooks(app: Sphinx, exception: Exception | None) -> None:
    """The gallery's notebooks under names that stay the same, for Colab and for the links beside each example."""
    if exception is None and app.builder.format == "html":
        folder = Path(app.outdir) / "notebooks"
        folder.mkdir(exist_ok=True)
        for notebook in (Path(app.srcdir) / "gallery").glob("*.ipynb"):
            shutil.copy(notebook, folder)


def _full_names(annotation: str, module: str) -> str:
    """The annotation with each name in full, shown short: ``Tensor`` as ``~torch.Tensor``."""
    homes = _imports(module)

    def full(match: re.Match[str]) -> str:
        first, dot, rest = match[0].partition(".")
        return f"~{homes[first]}{dot}{rest}" if first in homes else match[0]

    parts = re.split(r"""("[^"]*"|'[^']*')""", annotation)  # names are not looked up within strings
    return "".join(part if n % 2 else re.sub(r"[A-Za-z_][\w.]*", full, part) for n, part in enumerate(parts))


@cache
def _imports(module: str) -> dict[str, str]:
    """Where the names that a module imports (also for type checkers only) or defines come from."""
    homes: dict[str, str] = {}
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            homes |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            homes |= {alias.asname: alias.name for alias in node.names if alias.asname}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            homes[node.name] = f"{module}.{node.name}"
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            homes[node.target.id] = f"{module}.{node.target.id}"
    return homes


def drop_types(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str | None, returned: str | None
) -> tuple[str, None] | None:
    """Signatures without types: those stand beside the arguments."""
    if signature is None or what not in {"class", "exception", "function", "method"}:
        return None
    if getattr(obj, "_is_protocol", False):
        return "", None
    try:
        plain = inspect.signature(obj)
    except (TypeError, ValueError):
        return None
    parameters = [p.replace(annotation=p.empty) for p in plain.parameters.values()]
    is_method = what == "method" and parameters and parameters[0].name in {"self", "cls"}
    plain = plain.replace(parameters=parameters[1:] if is_method else parameters, return_annotation=plain.empty)
    return str(plain), None


def keep_colons(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """An attribute's comment is prose: napoleon takes what is before a colon in its first line for a type."""
    if what in {"attribute", "data", "property"}:
        lines[:0] = ["..", ""]  # an empty comment: now the first line has no colon


def drop_noise(app: Sphinx, doctree: nodes.document) -> None:
    """That a class derives from ``object`` is not worth a line, nor a long value several."""
    for annotation in list(doctree.findall(addnodes.desc_annotation)):
        if annotation.astext().strip().startswith("=") and len(annotation.astext()) > 100:
            annotation.parent.remove(annotation)
    for paragraph in list(doctree.findall(nodes.paragraph)):
        if paragraph.astext() == "Bases: object":
            paragraph.parent.remove(paragraph)


def show_torch_bases(app: Sphinx, name: str, cls: type, options: Any, bases: list[Any]) -> None:
    """A part is shown as the ``nn.Module`` that it is; the private base adds a repr and a register.

    Any other private base is shown as what it derives from. The methods that share a model are those of mnistvae.hub.
    """
    bases[:] = [nn.Module if base is Component else _public(base) for base in bases if base is not HubForm]


def _public(base: Any) -> Any:
    return base.__base__ if inspect.isclass(base) and base.__name__.startswith("_") else base


def setup(app: Sphinx) -> dict[str, bool]:
    app.setup_extension("sphinx.ext.autodoc")
    app.add_directive("mnistvae", CommandLine)
    app.connect("config-inited", make_live_report)
    app.connect("config-inited", make_live_explorers)
    app.connect("build-finished", copy_notebooks)
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
    app.connect("env-check-consistency", check_complete)
    app.connect("missing-reference", resolve_by_any_name)
    app.connect("autodoc-skip-member", skip_foreign_docstrings)
    app.connect("autodoc-process-docstring", list_members)
    app.connect("autodoc-process-docstring", keep_colons, priority=400)  # before napoleon
    app.connect("autodoc-process-docstring", add_types, priority=600)  # after napoleon
    app.connect("autodoc-process-signature", drop_types)
    app.connect("doctree-read", drop_noise)
    app.connect("autodoc-process-bases", show_torch_bases)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
