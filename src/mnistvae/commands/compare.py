"""The command ``mnistvae compare``."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mnistvae._files import as_path
from mnistvae.commands._face import command
from mnistvae.commands._inputs import Say, print_nothing
from mnistvae.commands.folder import RunFolder
from mnistvae.errors import FileFormatError

if TYPE_CHECKING:
    from mnistvae.metrics import Evaluation

__all__ = ["compare"]


@command()
def compare(
    evaluations: Sequence[str | Path],
    *,
    format: Literal["text", "markdown", "latex", "csv"] = "text",  # noqa: A002 (the name of the option)
    say: Say = print_nothing,
) -> dict[str, list[Evaluation]]:
    """Print several evaluations side by side.

    EVALUATIONS are files that `mnistvae evaluate` wrote, their folders, or runs that were evaluated, each alone or as
    NAME=PATH, where the table is to say NAME. Runs with one NAME, such as those of one recipe under several seeds, are
    pooled: mlp=runs/a mlp=runs/b mlp=runs/c gives their mean and standard deviation in one column.

    A star marks a value that is ahead of all others: by more than two standard errors of the differences image by
    image, or, of pooled runs, by Welch's t-test over them at 5 %, which takes three runs of each name. Figures that
    were not made alike are not compared, and lines under the table say why.

    Args:
        evaluations: Files ``metrics.json``, their folders, or folders of runs that were evaluated; ``NAME=PATH`` where
            no such file is there, and NAME has no slash.
        format: Form of the table.
        say: Called with the table and the lines under it.

    Returns:
        The evaluations by the names that they have in the table.

    Raises:
        FileFormatError: If a file is not an evaluation.
        DataError: If there are fewer than two names, one run is there twice, or they are of different images.
    """
    from mnistvae import metrics

    pairs = [_name_and_path(as_path(one)) for one in evaluations]
    files = [_newest_in(path) for _, path in pairs]
    taken = {name for name, _ in pairs if name}
    short = iter(_names([path for name, path in pairs if not name], taken))
    found: dict[str, list[Evaluation]] = {}
    for (name, _), file in zip(pairs, files, strict=True):
        found.setdefault(name or next(short), []).append(metrics.Evaluation.from_json(file))
    say(metrics.compare(found, format))
    return found


def _name_and_path(path: Path) -> tuple[str, Path]:
    """The name that an argument gives, or "", and its path; what is there under the whole of it is a path."""
    name, equals, rest = str(path).partition("=")
    if not equals or not name or not rest or Path(name).name != name or os.path.lexists(path):
        return "", path
    return name, Path(rest)


def _newest_in(path: Path) -> Path:
    """The evaluation in a folder; that of a run, or of its model, is the newest in a folder of its own."""
    folder = path.parent if path.suffix == ".safetensors" else path
    if not os.path.isdir(folder):  # noqa: PTH112 (Path.is_dir raises for a name too long)
        return path
    if (folder / "metrics.json").exists():
        return folder / "metrics.json"
    found = sorted(folder.glob("evaluated*/metrics.json"), key=lambda file: file.stat().st_mtime)
    if not found and RunFolder(folder).model.exists():
        model = shlex.quote(str(folder))
        raise FileFormatError(f"an evaluation of the run in {folder}", "none", f"make one: mnistvae evaluate {model}")
    return found[-1] if found else folder / "metrics.json"


def _names(files: list[Path], taken: Collection[str]) -> list[str]:
    """As few of the last parts of each path as tell them and ``taken`` apart; all, and a number, where none do."""
    paths = [file.absolute().parent if file.name == "metrics.json" else file.absolute() for file in files]
    names: list[str] = []
    for depth in range(1, 1 + max((len(path.parts) for path in paths), default=0)):
        names = [Path(*path.parts[-depth:]).as_posix() for path in paths]
        if len({*names, *taken}) == len(names) + len(taken):
            return names
    return [f"{number}: {name}" for number, name in enumerate(names, start=1)]
