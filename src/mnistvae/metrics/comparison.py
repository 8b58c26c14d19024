"""Tables of several evaluations side by side."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from mnistvae._checks import check_choice, check_mapping, listed
from mnistvae._records import csv_text
from mnistvae.errors import DataError, type_name
from mnistvae.metrics._ahead import LEAST_RUNS, Measured, best_of
from mnistvae.metrics.record import ARROWS, Evaluation, difference

__all__ = ["TableStyle", "compare"]

#: Form of a table.
TableStyle: TypeAlias = Literal["text", "markdown", "latex", "csv"]
#: Entries of the protocol that two evaluations must have in common, and their names in a message.
_DATA = {
    "dataset": "data set",
    "split": "split",
    "images": "number of images",
    "fingerprint": "set of images (these are fingerprints)",
}


def compare(evaluations: Mapping[str, Evaluation | Sequence[Evaluation]], style: TableStyle = "text") -> str:
    """A table of several evaluations, a column each; those of several runs under one name are pooled.

    A star marks the best value of a row where it is ahead of all others, which of two evaluations means:

    - More than two standard errors of the difference. Where both are of the same images and have values for each
      (:attr:`Evaluation.by_image`), the differences are taken image by image, over those where both are finite: what
      makes an image hard makes it hard for both, and does not count. Elsewhere the errors add up as those of two sets
      of images do, and where one is not known there is no star. This says what other test images would change, and
      nothing of what another training would.
    - With several runs under a name (the same recipe, trained under several seeds): Welch's t-test over the runs,
      two-sided, at 5 %. It takes at least three runs of both, and some spread. The column shows the mean and the
      standard deviation over its runs, and their number in its head.

    Scores that were not made alike (nats of two tags, other numbers of samples) are not in the table, and lines under
    it say why.

    Args:
        evaluations: At least two names, each with an evaluation, or with a list of evaluations of several runs.
        style: ``"text"`` for a terminal, ``"markdown"``, ``"latex"`` (a ``tabular`` with the rules of booktabs) or
            ``"csv"``; the lines under the table are comments in LaTeX, and not there in CSV.

    Raises:
        DataError: If they are of different images, one comes twice under a name, or there is nothing to compare.
        SettingError: If the style is unknown.
    """
    style = check_choice("style", style, get_args(TableStyle))
    columns = _columns(evaluations)
    every = {label: run for name, runs in columns.items() for label, run in _labelled(name, runs)}
    _check_same_images(every.values())
    rows, unlike = [["", *(f"{name} ({len(runs)} runs)" if runs[1:] else name for name, runs in columns.items())]], []
    for name in dict.fromkeys(name for one in every.values() for name in one.names()):
        missing = {label: one.left_out.get(name) for label, one in every.items() if name not in one}
        if missing:  # said where there is a reason, and not where it was not asked for
            said = [f"left out of {label}, {reason}" for label, reason in missing.items() if reason]
            unlike += [f"{name} is not compared: {'; '.join(said)}"] if said else []
            continue
        score = next(iter(every.values())).score(name)
        if reason := difference([one.score(name) for one in every.values()]):
            unlike.append(f"{name} is not compared: {reason}")
            continue
        measured = [_measured(name, runs) for runs in columns.values()]
        best = best_of(measured, score.better)
        texts = [replace(score, value=one.value, standard_error=one.spread).text() for one in measured]
        marks = [text + (" *" if number == best else "  ") for number, text in enumerate(texts)]
        rows.append([f"{ARROWS[score.better]} {name} {score.unit}".rstrip(), *marks])
    if len(rows) == 1:
        reason = "; ".join(unlike) or "none"
        raise DataError("evaluations with a score in common", reason, "evaluate the models in the same way")
    return _STYLES[style](rows, unlike + _notes([len(runs) for runs in columns.values()]))


def _columns(evaluations: Any) -> dict[str, list[Evaluation]]:
    """The runs under each name."""
    evaluations = check_mapping("evaluations by name", evaluations, "pass {name: evaluation}", DataError)
    if len(evaluations) < 2:
        raise DataError("at least two evaluations, by two names", str(len(evaluations)))
    columns = {}
    for name, given in evaluations.items():
        runs = [given] if isinstance(given, Evaluation) else listed(given)
        for one in [given] if runs is None else runs:
            if not isinstance(one, Evaluation):
                got = f"{type_name(one)} under {name!r}"
                raise DataError("evaluations by name", got, "pass {name: evaluation}, or {name: [evaluation, ...]}")
        if not runs:
            raise DataError("evaluations by name", f"none under {name!r}", "leave the name out")
        if any(one in runs[:number] for number, one in enumerate(runs)):
            fix = "a copy tells nothing of another training: give each run once"
            raise DataError(f"evaluations of several runs under {str(name)!r}", "the same one twice", fix)
        columns[str(name)] = runs
    return columns


def _labelled(name: str, runs: Sequence[Evaluation]) -> list[tuple[str, Evaluation]]:
    """Each run with a name for messages."""
    return [(f"{name}, run {number}" if runs[1:] else name, run) for number, run in enumerate(runs, start=1)]


def _measured(name: str, runs: Sequence[Evaluation]) -> Measured:
    """One metric under one name."""
    scores = [run.score(name) for run in runs]
    return Measured(scores, runs[0].by_image.get(name, np.empty(0)), runs[0].protocol.get("fingerprint"))


def _notes(counts: Sequence[int]) -> list[str]:
    """Lines that say what ± means and why there is no star, where there are several runs under a name."""
    if max(counts) == 1:
        return []
    notes = ["± of several runs is the standard deviation over them, a star Welch's t-test at 5 %"]
    if min(counts) == 1:
        notes.append("± of one run is the standard error over its images")
    if min(counts) < LEAST_RUNS:
        notes.append(f"names with fewer than {LEAST_RUNS} runs are not told from others, and so give no star")
    return notes


def _as_text(rows: list[list[str]], notes: list[str]) -> str:
    """A table for a terminal: columns of one width."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]
    return "\n".join([*lines, *notes])


def _as_markdown(rows: list[list[str]], notes: list[str]) -> str:
    cells = [[cell.strip().replace("|", "\\|").replace(" *", r" \*") for cell in row] for row in rows]
    head, *body = (f"| {' | '.join(row)} |" for row in cells)
    rule = f"| --- |{' ---: |' * (len(rows[0]) - 1)}"
    return "\n".join([head, rule, *body, *(f"\n{note}" for note in notes)])


def _as_latex(rows: list[list[str]], notes: list[str]) -> str:
    head, *body = (" & ".join(_tex(cell.strip()) for cell in row) + r" \\" for row in rows)
    table = [rf"\begin{{tabular}}{{l{'r' * (len(rows[0]) - 1)}}}", r"\toprule", head, r"\midrule", *body]
    return "\n".join([*table, r"\bottomrule", r"\end{tabular}", *(f"% {note}" for note in notes)])


def _tex(text: str) -> str:
    """A text as LaTeX sets it."""
    return "".join(_TEX.get(letter, letter) for letter in text)


def _as_csv(rows: list[list[str]], _notes: list[str]) -> str:
    return csv_text(rows[0], [[cell.strip() for cell in row] for row in rows[1:]]).rstrip("\n")


#: What LaTeX takes for something else than a letter.
_TEX = {
    **{letter: rf"\{letter}" for letter in "&%$#_{}"},
    "±": r"$\pm$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "*": r"$^{*}$",
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}
_STYLES: dict[TableStyle, Callable[[list[list[str]], list[str]], str]] = {
    "text": _as_text,
    "markdown": _as_markdown,
    "latex": _as_latex,
    "csv": _as_csv,
}


def _check_same_images(evaluations: Collection[Evaluation]) -> None:
    """Raise DataError for evaluations of other images."""
    if len({one.protocol.get("fingerprint") for one in evaluations} | {None}) == 2:
        return  # the same images, whatever they are called
    for key, what in _DATA.items():
        found = {str(one.protocol.get(key)) for one in evaluations if key in one.protocol}
        if len(found) > 1:
            raise DataError(
                f"evaluations of one {what}", " and ".join(sorted(found)), "evaluate the models on the same images"
            )
