"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

__all__ = [
    "IntTuple",
    "NumberOrWord",
    "Point",
    "data_options",
    "device_option",
    "model_argument",
    "out_option",
    "seed_option",
    "setting_text",
]

F = TypeVar("F", bound=Callable[..., Any])


class _Numbers(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """Numbers between commas."""

    def __init__(self, kind: type[int | float], name: str) -> None:
        self.kind = kind
        self.name = name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(self.kind(part) for part in str(value).split(","))
        except ValueError:
            kind = "whole numbers" if self.kind is int else "numbers"
            self.fail(f"expected {kind} between commas, such as 2,1, got {value!r}", param, ctx)


class _NumberOrWord(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """A number, or a word that the setting knows."""

    name = "x|word"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | str:
        try:
            return float(value)
        except ValueError:
            return str(value)


IntTuple = _Numbers(int, "n,n,...")
NumberOrWord = _NumberOrWord()
Point = _Numbers(float, "x,y,...")

model_argument = click.argument("model", metavar="MODEL", type=click.Path(path_type=Path))
seed_option = click.option(
    "--seed", type=click.IntRange(min=0, max=2**63 - 1), default=0, show_default=True, help="Of every draw."
)
device_option = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or mps.")


def out_option(text: str) -> Callable[[F], F]:
    """``--out DIR``."""
    return click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help=text)


def data_options(default: str) -> Callable[[F], F]:
    """``--dataset`` and ``--data-root``."""

    def add(command: F) -> F:
        command = click.option(
            "--data-root",
            type=click.Path(path_type=Path),
            metavar="DIR",
            help="Where data sets are, in torchvision's layout.  [default: $MNISTVAE_DATA, then a cache folder]",
        )(command)
        return click.option(
            "--dataset",
            metavar="NAME",
            help=f"mnist-mini (built in), mnist, fashion-mnist, kmnist, qmnist or emnist-...  [default: {default}]",
        )(command)

    return add


def setting_text(value: object) -> str:
    """A setting as a line for people has it."""
    if callable(value):
        return str(getattr(value, "__name__", value))
    return str(float(f"{value:.6g}")) if isinstance(value, float) else str(value)
