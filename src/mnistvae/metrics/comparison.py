"""Tables of several evaluations side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias, get_args

from mnistvae._checks import check_choice
from mnistvae._records import csv_text
from mnistvae.errors import DataError, type_name
from mnistvae.metrics.record import ARROWS, Evaluation, Score, difference

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


def compare(evaluations: Mapping[str, Evaluation], style: TableStyle = "text") -> str:
    """A table of several evaluations, a column each.

    A star marks the best value of a row where it is ahead of all others by more than two standard errors of the
    difference; where no error is known there is none. Scores that were not made alike (nats of two tags, other
    numbers of samples) are not in the table, and lines under it say why.

    Args:
        evaluations: At least two evaluations, by name.
        style: ``"text"`` for a terminal, ``"markdown"``, ``"latex"`` (a ``tabular`` with the rules of booktabs) or
            ``"csv"``; the lines under the table are comments in LaTeX, and not there in CSV.

    Raises:
        DataError: If they are of different images, or there is nothing to compare.
        SettingError: If the style is unknown.
    """
    style = check_choice("style", style, get_args(TableStyle))
    _check_same_images(evaluations)
    rows, unlike = [["", *map(str, evaluations)]], []
    for name in dict.fromkeys(name for one in evaluations.values() for name in one.names()):
        missing = {label: one.left_out.get(name) for label, one in evaluations.items() if name not in one}
        if missing:  # said where there is a reason, and not where it was not asked for
            said = [f"left out of {label}, {reason}" for label, reason in missing.items() if reason]
            unlike += [f"{name} is not compared: {'; '.join(said)}"] if said else []
            continue
        scores = [one.score(name) for one in evaluations.values()]
        if reason := difference(scores):
            unlike.append(f"{name} is not compared: {reason}")
            continue
        best = _best(scores)
        marks = [score.text() + (" *" if number == best else "  ") for number, score in enumerate(scores)]
        rows.append([f"{ARROWS[scores[0].better]} {name} {scores[0].unit}".rstrip(), *marks])
    if len(rows) == 1:
        reason = "; ".join(unlike) or "none"
        raise DataError("evaluations with a score in common", reason, "evaluate the models in the same way")
    return _STYLES[style](rows, unlike)


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


def _check_same_images(evaluations: Mapping[str, Evaluation]) -> None:
    """Raise DataError for what is no evaluation, or is one of other images."""
    if not isinstance(evaluations, Mapping):
        raise DataError("evaluations by name", type_name(evaluations), "pass {name: evaluation}")
    if len(evaluations) < 2:
        raise DataError("at least two evaluations", str(len(evaluations)))
    for name, one in evaluations.items():
        if not isinstance(one, Evaluation):
            raise DataError("evaluations by name", f"{type_name(one)} under {name!r}", "pass {name: evaluation}")
    if len({one.protocol.get("fingerprint") for one in evaluations.values()} | {None}) == 2:
        return  # the same images, whatever they are called
    for key, what in _DATA.items():
        found = {str(one.protocol.get(key)) for one in evaluations.values() if key in one.protocol}
        if len(found) > 1:
            raise DataError(
                f"evaluations of one {what}", " and ".join(sorted(found)), "evaluate the models on the same images"
            )


def _best(scores: Sequence[Score]) -> int | None:
    """The number of the best score; None where there is none, or where it might be another's."""
    if not scores[0].better or any(math.isnan(score.value) for score in scores):
        return None
    choose = min if scores[0].better == "lower" else max
    best = choose(range(len(scores)), key=lambda number: scores[number].value)
    for number, score in enumerate(scores):
        errors = (score.standard_error, scores[best].standard_error)
        if number != best and (
            None in errors or abs(score.value - scores[best].value) <= 2 * math.hypot(*errors)  # type: ignore[arg-type]
        ):
            return None
    return best
