"""Pieces of HTML, for pages and for notebooks: tables, folds, and blocks that read on light and on dark paper."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

__all__ = ["as_text", "block", "escaped", "fold", "paragraph", "table"]

#: Letters of the longest text that a block shows.
_MOST_LETTERS = 2000
#: No colours but the notebook's own; the lines are seen on any paper.
_STYLE = (
    ".mnistvae{overflow-x:auto}.mnistvae p{margin:.3em 0}.mnistvae table{border-collapse:collapse;margin:.3em 0}"
    ".mnistvae table td,.mnistvae table th{text-align:left;vertical-align:top;padding:.15em .8em .15em 0;"
    "border:0;border-bottom:1px solid rgba(128,128,128,.35);font-variant-numeric:tabular-nums}"
    ".mnistvae summary{cursor:pointer}.mnistvae pre{margin:.3em 0;font-size:.9em}"
)


def as_text(value: Any) -> str:
    """Return a cell as people read it: numbers with four digits, yes or no for truth values."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        if 1e4 <= abs(value) < 1e9:
            return f"{value:.0f}"
        return f"{value:.4g}" if math.isfinite(value) else str(value)
    return str(value)


def escaped(text: str) -> str:
    """A text as HTML shows it, whatever letters it is of."""
    return html.escape(text.encode(errors="replace").decode())


def table(header: Sequence[str], rows: Iterable[Sequence[Any]], *, most: int | None = None) -> str:
    """A table; numbers are rounded.

    Args:
        header: Texts above the columns.
        rows: Cells of each row.
        most: Rows that are shown, of texts that are cut where they are long; a last row says that there are more
            (default: all, whole).
    """
    rows = iter(rows)
    body = "".join(f"<tr>{_cells('td', row, short=most is not None)}</tr>" for row in islice(rows, most))
    more = sum(1 for _ in rows)
    body += f'<tr><td colspan="{len(header)}">… {more} more</td></tr>' if more else ""
    return f"<table><tr>{_cells('th', header, short=most is not None)}</tr>{body}</table>"


def paragraph(text: str) -> str:
    """A short paragraph of plain text."""
    return f"<p>{escaped(_short(text))}</p>"


def fold(summary: str, content: str) -> str:
    """HTML under a line that the reader opens."""
    return f"<details><summary>{escaped(summary)}</summary>{content}</details>"


def block(title: str, *parts: str) -> str:
    """HTML under a title, for a notebook: it needs nothing else, and changes nothing around it."""
    head = f"<strong>{escaped(_short(title))}</strong>"
    return f'<div class="mnistvae"><style>{_STYLE}</style>{head}{"".join(parts)}</div>'


def _cells(tag: str, row: Sequence[Any], *, short: bool) -> str:
    texts = [as_text(cell) for cell in row]
    lines = [' style="white-space: nowrap"' if " ± " in text else "" for text in texts]  # however narrow the page is
    shown = [escaped(_short(text) if short else text) for text in texts]
    return "".join(f"<{tag}{line}>{text}</{tag}>" for line, text in zip(lines, shown, strict=True))


def _short(text: str) -> str:
    """A text of a length that a block can show."""
    return text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS]}…"
