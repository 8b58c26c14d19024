"""Constructor arguments of a part, read back for its repr, its description in JSON, and copies.

The one rule is scikit-learn's: *a constructor keeps every argument, unchanged, as an attribute of the
same name*. It holds for mnistvae's own parts, for plain ``nn.Module`` classes of a user's, and (with
the few exceptions handled below) for the modules of ``torch.nn``, so none of them needs a base class
in order to be printed, copied or saved. In all functions ``where`` is the place of a part in the tree, for messages.
"""

from __future__ import annotations

import inspect
import re
import reprlib
from abc import ABC
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from mnistvae._html import block, table
from mnistvae.errors import ComponentError, FileFormatError, MnistvaeError, type_name

__all__ = ["Component", "arguments", "class_finder", "clone", "find_own_classes", "from_spec", "spec_text", "to_spec"]

M = TypeVar("M", bound=nn.Module)
#: Looks a class up by the name it has in a spec.
ClassFinder = Callable[[str], type[nn.Module]]

_BUILT_IN: dict[str, type[nn.Module]] = {}
_PACKAGE = __name__.partition(".")[0]
_TORCH = "torch.nn."
#: Levels of the table of parts, parts of each that it shows, and rows in all.
_LEVELS, _PARTS, _ROWS = 3, 12, 100
_CONTAINERS = (nn.Sequential, nn.ModuleList)  # their only argument is their children


class Component(nn.Module, ABC):
    """Base of mnistvae's parts: an ``nn.Module`` whose repr is the call that makes it."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.__module__.partition(".")[0] == _PACKAGE:
            _BUILT_IN[cls.__name__] = cls

    def __repr__(self) -> str:
        try:
            return spec_text(to_spec(self))
        except ComponentError:
            return f"{type(self).__name__}(...)"  # a repr must never fail

    def _repr_html_(self) -> str:
        """The tree of the parts, with the numbers of their parameters, for a notebook."""
        return block(
            f"{_call(self)}, {_size(self)} parameters", table(("part", "", "parameters"), _tree(self), most=_ROWS)
        )


def _tree(module: nn.Module, level: int = 0) -> Iterator[tuple[str, str, str]]:
    """The parts of a module, each before its own."""
    children = list(module.named_children())
    for name, part in children[:_PARTS]:
        yield "\u2003" * level + name, _call(part), _size(part)
        if level + 1 < _LEVELS:
            yield from _tree(part, level + 1)
    if len(children) > _PARTS:
        yield "\u2003" * level + "…", f"{len(children) - _PARTS} more", ""


def _call(module: nn.Module) -> str:
    """The class of a part and its settings, without the parts in it."""
    if type(module).__module__.startswith(_TORCH):
        return f"{type(module).__name__}({module.extra_repr()})"  # without what is usual
    try:
        given = arguments(module)
    except ComponentError:
        return f"{type(module).__name__}(...)"
    shown = {name: value for name, value in given.items() if _is_setting(value)}
    return f"{type(module).__name__}({', '.join(f'{name}={reprlib.repr(value)}' for name, value in shown.items())})"


def _is_setting(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_setting, value))
    return value is not None and isinstance(value, bool | int | float | str)


def _size(module: nn.Module) -> str:
    return f"{sum(0 if is_lazy(weight) else weight.numel() for weight in module.parameters()):,}"


def arguments(module: nn.Module, where: str | None = None) -> dict[str, Any]:
    """The constructor arguments of ``module``, read back from its attributes.

    Raises:
        ComponentError: If an argument has no name, or was not kept under its own name.
    """
    if type(module) in _CONTAINERS:
        return dict(module._modules)  # noqa: SLF001 (children() leaves out a module's second place)
    found: dict[str, Any] = {}
    for name, (parameter, owner) in _parameters(type(module)).items():
        from_torch = owner.__module__.startswith(_TORCH)
        if from_torch and (name in {"device", "dtype"} or parameter.kind is parameter.VAR_POSITIONAL):
            continue  # torch keeps neither; nn.Identity takes any arguments and drops them
        if parameter.kind is parameter.VAR_POSITIONAL:
            raise ComponentError(
                f"{type(module).__name__} to have named constructor arguments",
                f"*{name}",
                "give each argument a name, or take them as one tuple",
                where,
            )
        try:
            value = getattr(module, name)
        except AttributeError:
            raise ComponentError(
                f"{type(module).__name__} to keep its constructor argument as self.{name}",
                "no such attribute",
                "make it by its name: mnistvae.networks.Backbone('resnet18')"
                if type(module).__module__.startswith("torchvision.")
                else f"write self.{name} = {name} in its __init__, so that it can be saved, copied and printed",
                where,
            ) from None
        if from_torch and name == "bias" and not isinstance(value, bool):
            value = value is not None  # torch keeps the tensor under the flag's name
        found[name] = value
    return found


def to_spec(value: Any, where: str | None = None) -> Any:
    """A constructor argument, or a whole part, as JSON-ready data.

    A part is ``{"class": name, "args": {...}}``, a tuple ``{"tuple": [...]}`` and a dict
    ``{"dict": {...}}``; numbers, strings, booleans, ``None`` and lists are themselves.

    Raises:
        ComponentError: If JSON cannot hold a value, such as a tensor or a function, or a part does not keep its
            arguments.
    """
    if isinstance(value, np.generic) or (
        isinstance(value, torch.Tensor) and value.ndim == 0 and not isinstance(value, nn.Parameter)
    ):
        value = value.item()  # one number, as people count classes: labels.max() + 1
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, nn.Module):
        where = where or type(value).__name__
        args = {name: to_spec(argument, f"{where}.{name}") for name, argument in arguments(value, where).items()}
        return {"class": _name(type(value)), "args": args}
    if isinstance(value, list | tuple):
        items = [to_spec(item, f"{where or ''}[{n}]") for n, item in enumerate(value)]
        return items if isinstance(value, list) else {"tuple": items}
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {"dict": {key: to_spec(item, f"{where or ''}[{key!r}]") for key, item in value.items()}}
    raise ComponentError(
        "constructor arguments made of numbers, strings, tuples, lists, modules and dicts with strings as keys",
        type_name(value),
        "keep a tensor under another name than the argument's, and name a function by a string",
        where,
    )


def from_spec(spec: Any, find: ClassFinder, where: str = "") -> Any:
    """The argument or part that :func:`to_spec` described, made again with fresh weights; ``find`` gives classes.

    Raises:
        FileFormatError: If the description is damaged, or names a class that is not allowed.
        ComponentError: If a class cannot be made of the arguments.
        MnistvaeError: Whatever a constructor raises of mnistvae's errors, with the place of the part.
    """
    if isinstance(spec, list):
        return [from_spec(item, find, f"{where}[{n}]") for n, item in enumerate(spec)]
    if not isinstance(spec, dict):
        return spec
    if spec.keys() == {"tuple"}:
        return tuple(from_spec(item, find, f"{where}[{n}]") for n, item in enumerate(spec["tuple"]))
    if spec.keys() == {"dict"}:
        return {key: from_spec(item, find, f"{where}[{key!r}]") for key, item in spec["dict"].items()}
    if spec.keys() != {"class", "args"}:
        got = f"the keys {sorted(spec)}"
        raise FileFormatError("a part described by its class and args", got, "the file is damaged", where or None)
    args = {name: from_spec(value, find, f"{where}.{name}".lstrip(".")) for name, value in spec["args"].items()}
    try:
        return _make(find(spec["class"]), args)
    except MnistvaeError as error:
        if where:
            error.at(where)
        raise
    except Exception as error:  # a constructor may raise anything
        raise ComponentError(
            f"{spec['class'].rpartition(':')[2]} to be made again from its constructor arguments",
            f"{type(error).__name__}: {' '.join(str(error).split())}",
            "keep each argument as it came, under its own name; or did the class change since it was saved?",
            where or None,
        ) from error


def _make(cls: type[nn.Module], args: dict[str, Any]) -> nn.Module:
    if cls is nn.Sequential:
        return nn.Sequential(OrderedDict(args))
    if cls is nn.ModuleList:
        return nn.ModuleList(args.values())
    return cls(**args)


def class_finder(classes: Iterable[type[nn.Module]] = ()) -> ClassFinder:
    """A lookup over mnistvae's parts, ``torch.nn`` and an allow-list of the caller's own classes."""
    own: dict[str, type[nn.Module]] = {}
    if isinstance(classes, type):
        raise ComponentError("classes as a list", type_name(classes), f"classes=[{classes.__name__}]")
    for cls in classes:
        if not inspect.isclass(cls) or not issubclass(cls, nn.Module):
            raise ComponentError(
                "classes to hold subclasses of torch.nn.Module", repr(cls), "pass the class, not an instance"
            )
        if own.setdefault(cls.__qualname__, cls) is not cls:
            raise ComponentError("classes with different names", f"two named {cls.__qualname__}", "rename one of them")

    def find(name: str) -> type[nn.Module]:
        module, _, short = name.rpartition(".") if ":" not in name else name.rpartition(":")
        if module == _PACKAGE and short in _BUILT_IN:
            return _BUILT_IN[short]
        if f"{module}." == _TORCH:
            candidate = getattr(nn, short, None)
            if isinstance(candidate, type) and issubclass(candidate, nn.Module):
                return candidate
        if short in own:
            return own[short]
        raise FileFormatError(
            f"the class {short!r} (defined in {module}) to be allowed",
            f"classes=[{', '.join(own)}]",
            f"import it and pass classes=[{short}]",
        )

    return find


def clone(module: M, where: str | None = None) -> M:
    """A new module made with the same constructor arguments, with fresh weights.

    Raises:
        ComponentError: If an argument was not kept, or the class cannot be made of the arguments.
    """
    classes = {_name(type(part)): type(part) for part in module.modules()}
    where = where or type(module).__name__
    rebuilt: M = from_spec(to_spec(module, where), classes.__getitem__, where)
    return rebuilt


def _parameters(cls: type[nn.Module]) -> dict[str, tuple[inspect.Parameter, type]]:
    """The named constructor parameters and the class of each; ``**kwargs`` stands for those of the next in line."""
    found: dict[str, tuple[inspect.Parameter, type]] = {}
    for base in cls.__mro__:
        init = base.__dict__.get("__init__")
        if init is None:
            continue
        if base is nn.Module or base is object:
            break
        passed_on = False
        for parameter in list(inspect.signature(init).parameters.values())[1:]:
            if parameter.kind is parameter.VAR_KEYWORD:
                passed_on = True
            else:
                found.setdefault(parameter.name, (parameter, base))
        if not passed_on:
            break
    return found


def _is_torch(cls: type[nn.Module]) -> bool:
    return cls.__module__.startswith("torch.") and getattr(nn, cls.__name__, None) is cls


def _name(cls: type[nn.Module]) -> str:
    if _BUILT_IN.get(cls.__name__) is cls:
        return f"{_PACKAGE}.{cls.__name__}"
    if _is_torch(cls):
        return f"{_TORCH}{cls.__name__}"
    return f"{cls.__module__}:{cls.__qualname__}"


def find_own_classes(spec: Any) -> list[str]:
    """The classes beyond mnistvae's and torch's in the description of a model, as ``module:NAME``, each once."""
    if isinstance(spec, list):
        return list(dict.fromkeys(name for part in spec for name in find_own_classes(part)))
    if not isinstance(spec, dict):
        return []
    name = spec.get("class")
    own = [name] if isinstance(name, str) and ":" in name else []
    return list(dict.fromkeys([*own, *find_own_classes(list(spec.values()))]))


def spec_text(spec: Any, width: int = 100) -> str:
    """A spec as the Python call that makes the part, folded where a line would get long."""
    if isinstance(spec, list):
        return f"[{', '.join(spec_text(item) for item in spec)}]"
    if not isinstance(spec, dict):
        return repr(spec)
    if spec.keys() == {"tuple"}:
        items = [spec_text(item) for item in spec["tuple"]]
        return f"({', '.join(items)}{',' if len(items) == 1 else ''})"
    if spec.keys() == {"dict"}:
        return f"{{{', '.join(f'{key!r}: {spec_text(item)}' for key, item in spec['dict'].items())}}}"
    name = re.split(r"[.:]", spec["class"])[-1]
    positional = spec["class"] in {_name(container) for container in _CONTAINERS}
    opened, closed = ("([", "])") if spec["class"] == _name(nn.ModuleList) else ("(", ")")  # it takes a list
    parts = [spec_text(a) if positional else f"{key}={spec_text(a)}" for key, a in spec["args"].items()]
    line = f"{name}{opened}{', '.join(parts)}{closed}"
    if len(line) <= width and "\n" not in line:
        return line
    indented = "".join(f"    {row}\n" for part in parts for row in f"{part},".splitlines())
    return f"{name}{opened}\n{indented}{closed}"
