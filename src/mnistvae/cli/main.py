"""The group of commands, and how an error ends one."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import click

from mnistvae._version import __version__
from mnistvae.cli.animate import animate
from mnistvae.cli.compare import compare
from mnistvae.cli.evaluate import evaluate
from mnistvae.cli.fit_prior import fit_prior
from mnistvae.cli.generate import generate
from mnistvae.cli.info import info
from mnistvae.cli.recipes import recipes
from mnistvae.cli.reconstruct import reconstruct
from mnistvae.cli.report import report
from mnistvae.cli.sweep import sweep
from mnistvae.cli.train import train
from mnistvae.errors import MnistvaeError

__all__ = ["cli", "main"]


class _Failure(click.ClickException):
    """One of mnistvae's errors, on one line, with exit code 2."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"error: {' '.join(self.message.split())}", file=file, err=file is None)


class _Group(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _plain_warnings():
                return super().invoke(ctx)
        except MnistvaeError as error:
            raise _Failure(str(error)) from error
        except KeyboardInterrupt as error:
            number = getattr(error, "signal_number", signal.SIGINT)
            click.echo(f"\nstopped by {signal.Signals(number).name}", err=True)
            ctx.exit(128 + number)
        except (OSError, MemoryError, RuntimeError) as error:
            # What the system refused: a name too long, a full disk, memory (torch says so by a RuntimeError).
            if isinstance(error, BrokenPipeError) or (isinstance(error, RuntimeError) and "alloc" not in str(error)):
                raise
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise _Failure(f"expected the system to give what was asked for, got {reason}: ask for less") from error


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Warnings on one line, without the place in the source."""

    def show(message: Warning | str, *_: object) -> None:
        click.echo(f"warning: {' '.join(str(message).split())}", err=True)

    with warnings.catch_warnings():
        warnings.showwarning = show  # type: ignore[assignment]
        yield


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mnistvae")
def cli() -> None:
    """Variational autoencoders for images of MNIST's kind.

    Start with `mnistvae train`: it needs no data and no options.
    """


for command in (train, generate, reconstruct, evaluate, compare, report, sweep, animate, fit_prior, info, recipes):
    cli.add_command(command)


def main() -> None:
    """The command ``mnistvae``."""
    cli(prog_name="mnistvae")
