"""Run the Python in Markdown pages: ``python docs/check_snippets.py README.md docs/*.md docs/howto/*.md``.

Of each page, in order and in one namespace, in an empty folder:

- a ``python`` block is executed;
- a ``pycon`` block is a doctest: what it prints is compared;
- in a ``console`` block, the options of each line that begins with ``$ mnistvae``, or has it under ``torchrun``, are
  parsed, without running it.

To be quick, every training run is cut to one epoch of at most 512 images, without a progress bar. A block after the
line ``<!-- not run: reason -->`` is compiled only. Exits with 1 if anything fails, and says where.
"""

from __future__ import annotations

import contextlib
import copy
import doctest
import io
import re
import shlex
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

import click

import mnistvae as mv
from mnistvae.commands import cli

FENCE = re.compile(
    r"^(?P<skip><!-- not run:[^\n]*-->\n)?(?P<fence>`{3,}) ?"
    r"(?P<language>python|pycon|console)\n(?P<code>.*?)^(?P=fence)\n",
    re.MULTILINE | re.DOTALL,
)
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def shorten_training() -> None:
    """One epoch of at most 512 images, whatever the page says."""
    fit = mv.Trainer.fit

    def short(self: mv.Trainer, model: Any, data: Any, validation: Any = None, **others: Any) -> mv.History:
        trainer = copy.copy(self)
        trainer.epochs, trainer.progress = 1, False
        data, validation = (d[:512] if isinstance(d, mv.ImageDataset) else d for d in (data, validation))
        return fit(trainer, model, data, validation, **others)

    mv.Trainer.fit = short  # type: ignore[method-assign]


def run_page(page: Path) -> tuple[int, list[str]]:
    """The number of blocks, and what went wrong in them."""
    text = page.read_text(encoding="utf-8")
    names: dict[str, Any] = {"__name__": "__main__"}
    blocks, errors = 0, []
    for match in FENCE.finditer(text):
        blocks += 1
        line = text.count("\n", 0, match.start("code")) + 1
        code = match["code"]
        if match["language"] == "console":
            errors += [f"{page}:{line}: {error}" for error in check_commands(code)]
        elif match["language"] == "pycon":
            test = doctest.DocTestParser().get_doctest(code, names, page.name, str(page), line - 1)
            report: list[str] = []
            doctest.DocTestRunner(optionflags=FLAGS, verbose=False).run(test, out=report.append, clear_globs=False)
            names.update(test.globs)
            errors += ["".join(report)] if report else []
        else:
            try:
                compiled = compile("\n" * (line - 1) + code, str(page), "exec")
                if not match["skip"]:
                    exec(compiled, names)  # noqa: S102 (the pages are ours)
            except Exception:  # noqa: BLE001 (whatever a snippet raises is reported)
                errors.append(f"{page}:{line}: {traceback.format_exc()}")
    return blocks, errors


def check_commands(code: str) -> list[str]:
    """What is wrong with the lines ``$ mnistvae ...``: unknown commands, unknown options, bad values."""
    errors = []
    for line in re.findall(r"^\$ (?:.* && |.*torchrun .* -m )?mnistvae (.*)$", code, re.MULTILINE):
        name, *args = shlex.split(line)
        try:
            if name not in cli.commands:
                raise click.UsageError(f"no command {name}")
            cli.commands[name].make_context(name, args)
        except click.ClickException as error:
            errors.append(f"mnistvae {line}: {error.format_message()}")
    return errors


def main(pages: list[str]) -> int:
    shorten_training()
    failed = False
    for page in [Path(page).resolve() for page in pages]:
        started = time.perf_counter()
        printed = io.StringIO()
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), contextlib.redirect_stdout(printed):
            blocks, errors = run_page(page)
        failed |= bool(errors)
        print(f"{page.name}: {blocks} blocks, {len(errors)} failed, {time.perf_counter() - started:.1f} s")
        for error in errors:
            print(error)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
