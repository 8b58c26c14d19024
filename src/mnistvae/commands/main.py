"""The command ``mnistvae``: the group of commands, and how an error ends one."""

from __future__ import annotations

import os
import re
import signal
import sys
import sysconfig
import traceback
import warnings
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import click

from mnistvae._version import __version__
from mnistvae.commands._face import COMMANDS
from mnistvae.commands._speech import drop, printable, speak
from mnistvae.errors import MnistvaeError

__all__ = ["cli", "main", "set_waiting"]


#: Turns of a thread that waits before it sleeps, see benchmarks/busy.py.
_SPINS = 500


class _Failure(click.ClickException):
    """One of mnistvae's errors, on one line, with exit code 2."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        with suppress(OSError):  # nobody reads it
            click.echo(printable(f"error: {' '.join(self.message.split())}"), file=file, err=file is None)


class _Group(click.Group):
    """The commands that are registered, with errors on one line."""

    def make_context(self, *arguments: Any, **extra: Any) -> click.Context:
        try:
            return super().make_context(*arguments, **extra)
        except BrokenPipeError:  # nobody reads the help
            drop(sys.stdout)
            sys.exit(0)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _plain_warnings(), _importable_folder():
                return super().invoke(ctx)
        except MnistvaeError as error:
            raise _Failure(_with_options(str(error), ctx)) from error
        except KeyboardInterrupt as error:
            number = getattr(error, "signal_number", signal.SIGINT)
            what = getattr(error, "what", f"stopped by {signal.Signals(number).name}")
            if os.environ.get("RANK", "0") == "0":  # of several processes, the first one
                speak("\n" + "; ".join([what, *getattr(error, "__notes__", ())]), err=True)
            ctx.exit(128 + number)
        except (OSError, MemoryError, RuntimeError) as error:
            # What the system refused: a name too long, a full disk, memory (torch says so by a RuntimeError).
            if isinstance(error, BrokenPipeError):  # nobody reads the help
                drop(sys.stdout)
                ctx.exit(0)
            asked_for_memory = isinstance(error, OSError | MemoryError) or "alloc" in str(error)
            if not asked_for_memory or _passed_other_code(error):
                raise
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise _Failure(f"expected the system to give what was asked for, got {reason}: ask for less") from error


def _passed_other_code(error: BaseException) -> bool:
    """Tell if an error came through code that is not installed, such as a user's callback: its traceback is needed."""
    installed = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    codes = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]
    package = str(Path(__file__).parents[1])
    return not all(code.startswith((package, "<", *installed)) for code in codes)


def _with_options(message: str, context: click.Context) -> str:
    """A message in which the options stand for the arguments that it names between backquotes."""
    commands = sorted(COMMANDS.values(), key=lambda one: one.name != context.invoked_subcommand)
    options = {one.name: one.opts[0] for command in reversed(commands) for one in command.params}
    options["root"] = options["data_root"]  # as load_dataset calls it
    return re.sub(r"`(\w+)`", lambda found: options.get(found[1], found[1]), message)


@contextmanager
def _importable_folder() -> Iterator[None]:
    """A block in which modules of the current folder can be imported, as under ``python -m``."""
    here = str(Path.cwd())
    if here in sys.path or "" in sys.path:
        yield
        return
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Warnings on one line, each once, without the place in the source."""
    shown = set()

    def show(message: Warning | str, *_: object) -> None:
        line = f"warning: {' '.join(str(message).split())}"
        if line not in shown:
            speak(line, err=True)
        shown.add(line)

    with warnings.catch_warnings():
        warnings.showwarning = show  # type: ignore[assignment]
        yield


@click.group(cls=_Group, commands=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mnistvae")
def cli() -> None:
    """Variational autoencoders for images of MNIST's kind.

    Start with `mnistvae train`: it needs no data and no options.
    """


def main() -> None:
    """Run the command ``mnistvae``."""
    set_waiting(os.environ)
    cli(prog_name="mnistvae")


def set_waiting(environment: MutableMapping[str, str]) -> None:
    """Let torch's threads sleep soon while they wait for one another, unless the user has chosen how they wait.

    They watch for one another at every operation, by default for so long that a single busy program beside them makes
    a training many times slower. It has an effect only before torch is imported.
    """
    if not any(name in environment for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "KMP_BLOCKTIME")):
        environment["GOMP_SPINCOUNT"] = str(_SPINS)
