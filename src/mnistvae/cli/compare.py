"""``mnistvae compare``."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["compare"]


@click.command()
@click.argument("evaluations", nargs=-1, required=True, metavar="METRICS...", type=click.Path(path_type=Path))
def compare(evaluations: tuple[Path, ...]) -> None:
    """Print several evaluations side by side.

    METRICS are files that `mnistvae evaluate` wrote, or their folders. A star marks a value that is ahead of all others
    by more than two standard errors. Figures that were not made alike are not compared, and lines under the table say
    why.
    """
    from mnistvae import metrics

    files = [path / "metrics.json" if path.is_dir() else path for path in evaluations]
    click.echo(
        metrics.compare(
            {name: metrics.Evaluation.from_json(file) for name, file in zip(_named(files), files, strict=True)}
        )
    )


def _named(files: list[Path]) -> list[str]:
    """As few of the last parts of each path as tell them apart; all, and a number, where none do."""
    paths = [file.absolute().parent if file.name == "metrics.json" else file.absolute() for file in files]
    names: list[str] = []
    for depth in range(1, 1 + max(len(path.parts) for path in paths)):
        names = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [f"{number}: {name}" for number, name in enumerate(names, start=1)]
