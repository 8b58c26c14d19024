"""Click commands made from functions: options from the signature, help from the docstring.

Annotations are read as text and nothing is imported for them, so that ``--help`` is quick. A parameter whose
annotation has no form on a command line (a model, a callback) is for Python alone.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_args

import click

from mnistvae._checks import MAX_SEED
from mnistvae.commands._speech import speak

__all__ = [
    "COMMANDS",
    "Command",
    "Parameter",
    "annotation_text",
    "command",
    "option",
    "parameters_of",
    "parameters_of_source",
]

F = TypeVar("F", bound=Callable[..., Any])

#: The click types of annotations.
_TYPES: Mapping[str, click.ParamType] = {  # type: ignore[type-arg]
    "bool": click.BOOL,
    "int": click.INT,
    "float": click.FLOAT,
    "str": click.STRING,
    "Binarization": click.Choice(["none", "static", "dynamic", "threshold"]),
}
_SECTION = re.compile(r"\n(?:Args|Example|Raises|Returns|Yields):\n")


#: Options that commands have in common.
_QUIET = click.Option(["-q", "--quiet"], is_flag=True, help="Print nothing but warnings and errors.")
_THREADS = click.Option(
    ["--threads"],
    type=click.IntRange(min=1, max=1024),
    metavar="N",
    help="Threads that compute; fewer where other programs keep the cores busy.  [default: one for each core]",
)


class Parameter(NamedTuple):
    """A parameter of a function, as its source has it."""

    name: str
    annotation: str
    #: Its value where none is given; ``inspect.Parameter.empty`` where one must be.
    default: Any
    #: A line about it.
    help: str
    positional: bool = False


class Numbers(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """Numbers between commas; one by itself as a number, if that is asked for."""

    def __init__(self, kind: type[int | float], *, alone: bool = False) -> None:
        self.kind = kind
        self.alone = alone
        self.name = "n,n,..." if kind is int else "x,y,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(self.kind(part) for part in str(value).split(","))
            return numbers[0] if self.alone and len(numbers) == 1 else numbers
        except ValueError:
            kind = "whole numbers" if self.kind is int else "numbers"
            self.fail(f"expected {kind} between commas, such as 2,1, got {value!r}", param, ctx)


class NumberOrWord(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """A number, or a word that the setting knows."""

    name = "x|word"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | str:
        try:
            return float(value)
        except ValueError:
            return str(value)


class Command(click.Command):
    """A function as a command; its options are made when they are first asked for.

    Args:
        name: Name of the command.
        function: The function.
        helps: Functions that return a help text in place of the docstring's, by parameter.
        options: Names of options that are not the parameter's own, by parameter.
        more: Returns options beyond the function's parameters; their values go to its ``**kwargs``.
        prepare: Called with the context and the values, which it may change, before the function.
    """

    def __init__(
        self,
        name: str,
        function: Callable[..., Any],
        *,
        helps: Mapping[str, Callable[[], str]] | None = None,
        options: Mapping[str, str] | None = None,
        more: Callable[[], list[click.Parameter]] | None = None,
        prepare: Callable[[click.Context, dict[str, Any]], None] | None = None,
    ) -> None:
        super().__init__(name, callback=function, help=_read_doc(function.__doc__)[0])
        del self.params  # see below
        self._function = function
        self._helps, self._options = helps or {}, options or {}
        self._more, self._prepare = more, prepare
        self._speaks = "say" in inspect.signature(function).parameters

    @cached_property
    def params(self) -> list[click.Parameter]:  # type: ignore[override]  # click's own is a list made at once
        found: list[click.Parameter] = []
        for parameter in parameters_of(self._function):
            text = self._helps.get(parameter.name)
            given = parameter if text is None else parameter._replace(help=text())
            made = option(given, self._options.get(parameter.name))
            found += [made] if made else []
        found += self._more() if self._more else []
        names = {one.name for one in found}
        common = [_QUIET] if self._speaks else []
        return found + common + ([_THREADS] if "device" in names else [])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        found = super().parse_args(ctx, args)
        for one in dict.fromkeys(order):
            several = isinstance(one, click.Option) and (one.multiple or one.is_flag or one.count)
            if isinstance(one, click.Option) and not several and order.count(one) > 1:
                click.echo(f"{one.opts[0]} is given {order.count(one)} times: the last counts", err=True)
        return found

    def invoke(self, ctx: click.Context) -> Any:
        quiet, threads = ctx.params.pop("quiet", False), ctx.params.pop("threads", None)
        if self._prepare is not None:
            self._prepare(ctx, ctx.params)
        if self._speaks and not quiet:
            ctx.params["say"] = speak
        if quiet and "progress" in ctx.params:
            ctx.params["progress"] = False
        if "device" in ctx.params:  # it computes
            from mnistvae.devices import keep_freed_memory

            keep_freed_memory()
        with _torch_threads(threads):
            return super().invoke(ctx)


@contextmanager
def _torch_threads(number: int | None) -> Iterator[None]:
    """A block in which torch computes with so many threads; None for as many as it likes."""
    if number is None:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


#: The commands by name, in the order in which their modules are imported.
COMMANDS: dict[str, Command] = {}


def command(**settings: Any) -> Callable[[F], F]:
    """Register a function as a command of its own name, with hyphens; the function stays what it is.

    Args:
        **settings: Arguments of :class:`Command`.
    """

    def register(function: F) -> F:
        name = function.__name__.replace("_", "-")
        COMMANDS[name] = Command(name, function, **settings)
        return function

    return register


def parameters_of(function: Callable[..., Any]) -> list[Parameter]:
    """The parameters of a function, without ``**kwargs``."""
    _, helps = _read_doc(function.__doc__)
    return [
        Parameter(
            one.name,
            str(one.annotation),
            one.default,
            helps.get(one.name, ""),
            positional=one.kind is not one.KEYWORD_ONLY,
        )
        for one in inspect.signature(function).parameters.values()
        if one.kind is not one.VAR_KEYWORD
    ]


def parameters_of_source(path: str, name: str) -> list[Parameter]:
    """The parameters of a class of this package that is read, not imported.

    Args:
        path: Path of the module in the package, such as ``"training/trainer.py"``.
        name: Name of the class.
    """
    import pkgutil

    tree = ast.parse(pkgutil.get_data("mnistvae", path) or b"")
    found = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    init = next(node for node in found.body if isinstance(node, ast.FunctionDef) and node.name == "__init__")
    _, helps = _read_doc(ast.get_docstring(found))
    arguments = [*init.args.posonlyargs, *init.args.args, *init.args.kwonlyargs][1:]
    return [
        Parameter(one.arg, ast.unparse(one.annotation) if one.annotation else "", None, helps.get(one.arg, ""))
        for one in arguments
    ]


def annotation_text(annotation: Any) -> str:
    """An annotation as the source has it: ``tuple[int, ...]``, ``Literal['relu', 'tanh']``."""
    named = isinstance(annotation, type) and not get_args(annotation)
    return annotation.__name__ if named else str(annotation).replace("typing.", "")


def option(parameter: Parameter, name: str | None = None) -> click.Parameter | None:
    """The option, or for a positional parameter the argument, of a parameter; None if it is for Python alone.

    Args:
        parameter: The parameter.
        name: Name of the option (default: the parameter's).
    """
    kind, multiple = _type_of(ast.parse(parameter.annotation, mode="eval").body)
    if parameter.name == "seed":
        kind = click.IntRange(min=0, max=MAX_SEED)
    if kind is None:
        return None
    if parameter.positional:
        shown = parameter.name.upper() + ("..." if multiple else "")
        needed = parameter.default is inspect.Parameter.empty
        how: dict[str, Any] = {"nargs": -1 if multiple else 1, "required": needed, "type": kind}
        return click.Argument([parameter.name], metavar=shown if needed else f"[{shown}]", **how)
    flag = name or ("-" if len(parameter.name) == 1 else "--") + parameter.name.replace("_", "-")
    default = parameter.default
    if isinstance(default, tuple):
        default = ",".join(map(str, default)) or None
    settings: dict[str, Any] = {"default": default, "show_default": default is not None and default is not False}
    if kind is click.BOOL:
        settings["is_flag"] = True
        flag += "" if default is False else f"/--no-{flag[2:]}"
    else:
        settings["type"] = kind
    if isinstance(kind, click.Path):
        settings["metavar"] = "FILE" if parameter.help.startswith("File ") else "DIR"
    elif kind is click.STRING and parameter.name != "device":
        settings["metavar"] = "NAME"
    return click.Option([flag, parameter.name], multiple=multiple, help=_help_text(parameter.help), **settings)


def _type_of(node: ast.expr) -> tuple[click.ParamType | None, bool]:  # type: ignore[type-arg]
    """The click type of an annotation, and whether the option may be given again; no type for what has no text."""
    members = {ast.unparse(member): member for member in _members(node)}
    if "Path" in members:
        return click.Path(path_type=Path), False
    if "float" in members and any(name == "str" or name.startswith(("Literal[", "Sequence[")) for name in members):
        return Numbers(float, alone=True) if "Sequence[float]" in members else NumberOrWord(), False
    for name, member in members.items():
        if name in _TYPES:
            return _TYPES[name], False
        if isinstance(member, ast.Subscript) and name.startswith("Literal["):
            return click.Choice([str(ast.literal_eval(word)) for word in _items(member.slice)]), False
        if isinstance(member, ast.Subscript) and name.startswith(("Sequence[", "tuple[")):
            return _type_of_sequence(_items(member.slice)[0])
    return None, False


def _type_of_sequence(inner: ast.expr) -> tuple[click.ParamType | None, bool]:  # type: ignore[type-arg]
    """The click type of a sequence: numbers stand between commas, anything else is an option that is repeated."""
    name = ast.unparse(inner)
    if name in {"int", "float"}:
        return Numbers(int if name == "int" else float), False
    return _type_of(inner)[0], True


def _members(node: ast.expr) -> Iterable[ast.expr]:
    """The members of a union, without None."""
    if isinstance(node, ast.BinOp):
        yield from _members(node.left)
        yield from _members(node.right)
    elif ast.unparse(node) != "None":
        yield node


def _items(node: ast.expr) -> list[ast.expr]:
    return list(node.elts) if isinstance(node, ast.Tuple) else [node]


def _read_doc(text: str | None) -> tuple[str, dict[str, str]]:
    """The text of a docstring before its first section, and what it says of each argument."""
    clean = inspect.cleandoc(text or "")
    head = _SECTION.split(f"{clean}\n", maxsplit=1)[0]
    _, _, arguments = clean.partition("\nArgs:\n")
    helps: dict[str, str] = {}
    name = ""
    for line in re.split(r"\n(?=\S)", arguments, maxsplit=1)[0].splitlines():
        found = re.match(r" {4}\**(\w+): (.*)", line)
        if found:
            name = found[1]
            helps[name] = found[2]
        elif line.strip():
            helps[name] += f" {line.strip()}"
    return _plain(head.strip()), {name: _plain(text) for name, text in helps.items()}


def _plain(text: str) -> str:
    """A text without the marks of reStructuredText."""
    text = re.sub(r":\w+:`~(?:\w+\.)*(\w+)`", r"\1", text)
    return re.sub(r":\w+:`([^`]*)`", r"\1", text).replace("``", "")


def _help_text(text: str) -> str:
    """A line about an argument as options have it: a capital letter, and ``[default: ...]`` at its end."""
    text = re.sub(r"; see \w+(?=\.$)|; in Python [^(]*(?= \(default|\.$)", "", text)
    default = re.search(r"\s*\(default: (.*)\)\.?$", text)
    if default:
        text = text[: default.start()]
        text += f"{'' if text.endswith('.') else '.'}  [default: {default[1]}]"
    return text[:1].upper() + text[1:]
