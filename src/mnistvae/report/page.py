"""A page of text, pictures and tables that needs no other file; its pictures and tables are files beside it, too."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from mnistvae._files import write_atomically
from mnistvae._html import escaped, fold, table
from mnistvae._records import csv_text
from mnistvae._version import __version__
from mnistvae.errors import SettingError
from mnistvae.plotting import png_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Page"]


@dataclass
class _Part:
    """A section of the page: its title and its HTML."""

    title: str
    html: list[str] = field(default_factory=list)


class Page:
    """A page that grows section by section; what is added belongs to the section that was begun last.

    Args:
        folder: Folder of the page and of its files.
        title: Title of the page.
        taken: Names of files that are not to be written by the page.
    """

    def __init__(self, folder: Path, title: str, taken: Iterable[str] = ()) -> None:
        self.folder = folder
        self.title = title
        self._taken = set(taken)
        self._parts: list[_Part] = []

    def section(self, title: str) -> None:
        """Begin a section."""
        self._parts.append(_Part(title))

    def text(self, *paragraphs: str) -> None:
        """Add paragraphs of plain text."""
        self._add(*(f"<p>{escaped(paragraph)}</p>" for paragraph in paragraphs))

    def details(self, summary: str, code: str) -> None:
        """Add code under a line that the reader opens."""
        self._add(fold(summary, f"<pre>{escaped(code)}</pre>"))

    def numbers(self, numbers: Sequence[tuple[str, str, str]]) -> None:
        """Add numbers in large type.

        Args:
            numbers: Value, unit and name of each.
        """
        tiles = "".join(
            f"<div><b>{escaped(value)}</b> {escaped(unit)}<br>{escaped(name)}</div>" for value, unit, name in numbers
        )
        self._add(f"<div class=numbers>{tiles}</div>")

    def picture(self, name: str, figure: Figure, caption: str, *, narrow: bool = False) -> None:
        """Add a picture, and write it as a PNG file.

        Args:
            name: Name of the file, such as "loss.png".
            figure: A matplotlib Figure.
            caption: Text below the picture, also for readers who cannot see it.
            narrow: Whether it leaves room for another narrow picture beside it.

        Raises:
            SettingError: If the name is not that of a new file in the folder, or ``figure`` is not a Figure.
            OutputError: If the file cannot be written.
        """
        name, png = self._new_file(name), png_bytes(figure)
        write_atomically(self.folder / name, png)
        source, words = base64.b64encode(png).decode(), escaped(caption)
        self._add(
            f'<figure{" class=narrow" if narrow else ""}><img src="data:image/png;base64,{source}" alt="{words}">'
            f"<figcaption>{words} {_link(name)}</figcaption></figure>"
        )

    def table(self, name: str | None, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Add a table, and write it as a CSV file if it has a name.

        Args:
            name: Name of the file, such as "clusters.csv"; None for no file.
            header: Texts above the columns.
            rows: Cells of each row; numbers are rounded on the page, and whole in the file.

        Raises:
            SettingError: If the name is not that of a new file in the folder, or a row has more or fewer cells than
                ``header``.
            OutputError: If the file cannot be written.
        """
        note, rows = "", [[_plain(cell) for cell in row] for row in rows]
        for number, row in enumerate(rows):
            if len(row) != len(header):
                expected = f"rows of a table with {len(header)} cells, as many as its header"
                raise SettingError(expected, f"{len(row)} in row number {number}", 'fill it up: "" is an empty cell')
        if name is not None:
            write_atomically(self.folder / self._new_file(name), csv_text(header, rows).encode())
            note = f"<p class=file>{_link(name)}</p>"
        self._add(f"<div class=table>{table(header, rows)}</div>{note}")

    def html(self, html: str) -> None:
        """Add HTML as it is; what it shows is the caller's business, and it must not need other files."""
        self._add(html)

    def write(self, name: str) -> Path:
        """Write the page itself, and return its path.

        Raises:
            OutputError: If the file cannot be written.
        """
        links = "".join(f'<a href="#s{n}">{escaped(one.title)}</a>' for n, one in enumerate(self._parts))
        body = "".join(
            f'<section id="s{n}"><h2>{escaped(one.title)}</h2>{"".join(one.html)}</section>'
            for n, one in enumerate(self._parts)
        )
        title = escaped(self.title)
        page = (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<style>{_STYLE}</style></head><body><h1>{title}</h1>"
            f"<p>Written by mnistvae {__version__}.</p><nav>{links}</nav>{body}</body></html>\n"
        )
        return write_atomically(self.folder / name, page.encode())

    def _add(self, *parts: str) -> None:
        self._parts[-1].html.extend(parts)

    def _new_file(self, name: str) -> str:
        """``name`` itself, which is from now on taken."""
        if not isinstance(name, str) or not name.strip(".") or Path(name).name != name or name in self._taken:
            got = f"{name!r}, which is taken" if name in self._taken else repr(name)
            raise SettingError("the name of a new file in the report's folder", got, "such as 'brightness.png'")
        self._taken.add(name)
        return name


def _link(name: str) -> str:
    """A link to a file beside the page."""
    return f'<a href="{quote(name)}"><code>{escaped(name)}</code></a>'


def _plain(value: Any) -> Any:
    """A number in place of a numpy or torch scalar; other values as they are."""
    return value.item() if getattr(value, "ndim", None) == 0 else value


_STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --soft: #5a6068; --paper: #fff; --line: #d8dce0; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e6ea; --soft: #a0a6ad; --paper: #16181b; --line: #3a3f45; } }
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0 auto;
  max-width: 62rem; padding: 2rem 1.2rem 4rem; }
h1 { font-size: 1.7rem; margin-bottom: .2rem; } h2 { font-size: 1.25rem; margin-top: 2.6rem; }
nav { display: flex; flex-wrap: wrap; gap: .2rem 1rem; } a { color: inherit; }
figure { margin: 1.2rem 0; } .narrow { display: inline-block; width: 49%; vertical-align: top; margin-right: 1%; }
.narrow + .narrow { margin-right: 0; } @media (max-width: 40rem) { .narrow { display: block; width: 100%; } }
.numbers { display: grid; grid-template-columns: repeat(auto-fit, minmax(10rem, 1fr)); gap: .8rem; margin: 1rem 0; }
.numbers div { border: 1px solid var(--line); border-radius: 6px; padding: .6rem .8rem; color: var(--soft); }
.numbers b { font-size: 1.5rem; color: var(--ink); } img { max-width: 100%; background: #fff; border-radius: 4px; }
figcaption, .file { color: var(--soft); font-size: .9rem; } code, pre { font-size: .85rem; }
pre { overflow-x: auto; } .table { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; }
td, th { border-bottom: 1px solid var(--line); padding: .25rem .7rem .25rem 0; text-align: left; vertical-align: top; }
"""
