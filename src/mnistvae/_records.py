"""Records as JSON and CSV: with a checksum, read back as they were written or refused."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mnistvae._files import read_regular, write_atomically
from mnistvae.errors import ComponentError, FileFormatError, SettingError, type_name

__all__ = [
    "CHECK",
    "csv_text",
    "data_frame",
    "pack_floats",
    "parse_json",
    "read_csv",
    "read_json",
    "unpack_floats",
    "write_json",
]

#: The column of a CSV file in which each line has its checksum.
CHECK = "crc32"
_SEAL = "sha256"
#: Lists and dicts in one another.
_MAX_DEPTH = 200
#: Letters at which a spreadsheet takes a text for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_json(path: str | os.PathLike[str], content: Mapping[str, Any], indent: int = 2) -> Path:
    """Write a record as JSON, atomically, with the SHA-256 of its content as its last entry.

    Raises:
        ComponentError: If it holds something that JSON cannot.
        OutputError: If it cannot be written.
    """
    try:
        text = json.dumps({**content, _SEAL: _digest(content)}, indent=indent)
    except (TypeError, ValueError, RecursionError) as error:
        fix = "use numbers, strings, lists and dicts"
        raise ComponentError("a record that JSON can hold", str(error)[:200], fix) from error
    return write_atomically(path, (text + "\n").encode())


def parse_json(text: str | bytes) -> Any:
    """The content of a JSON text, of a depth that other code can walk through.

    Raises:
        ValueError: If it is no JSON, or nested too deeply.
    """
    try:
        content = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    level = [content]
    for _ in range(_MAX_DEPTH):
        level = [inner for one in level for inner in _items(one)]
        if not level:
            return content
    raise ValueError("it is nested too deeply")


def _items(value: Any) -> Iterable[Any]:
    """The items of a list or dict of JSON; none of anything else."""
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def read_json(path: str | os.PathLike[str], what: str, fix: str) -> dict[str, Any]:
    """The record that :func:`write_json` wrote; one without a checksum is taken as it is.

    Args:
        path: The file.
        what: Noun phrase for such a file.
        fix: The likely remedy where another one came.

    Raises:
        FileFormatError: If there is no such file, or it holds something else, or was changed or damaged.
    """
    text = read_regular(path, what, fix)
    try:
        content = parse_json(text)
    except ValueError as error:
        raise FileFormatError(f"{path} to be {what}", f"no JSON: {error}"[:300], fix) from error
    if not isinstance(content, dict):
        raise FileFormatError(f"{path} to be {what}", "JSON of something else", fix)
    if _SEAL in content and content.pop(_SEAL) != _digest(content):
        raise FileFormatError(
            f"the content of {path} to match its SHA-256",
            "other content",
            f"it was changed or is damaged: restore a copy, or if it was you who changed it, remove its line {_SEAL}",
        )
    return content


def _digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of the content, whatever its order and spaces."""
    plain = json.loads(json.dumps(content))  # keys as JSON has them
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def pack_floats(values: np.ndarray[Any, Any]) -> str:
    """Many numbers as a short text for JSON: base64 of float32, little-endian."""
    return base64.b64encode(values.astype("<f4").tobytes()).decode()


def unpack_floats(text: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The numbers that :func:`pack_floats` packed.

    Raises:
        ValueError: If it is something else.
    """
    if not isinstance(text, str):
        raise ValueError(f"{type_name(text)} for numbers as base64")  # noqa: TRY004 (as bad base64 is)
    return np.frombuffer(base64.b64decode(text, validate=True), "<f4").astype(np.float32)


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]], *, check: bool = False) -> str:
    """Rows as CSV under a line of names; a text that a spreadsheet would take for a formula gets ``'`` before it.

    Args:
        header: Names of the columns.
        rows: Cells of each row.
        check: Add the column :data:`CHECK`, in which each line has the CRC-32 of its cells.
    """
    names = [_cell(name) for name in header]
    lines = [_line([*names, CHECK] if check else names)]
    for row in rows:
        cells = [_cell(value) for value in row]
        lines.append(_line([*cells, _crc(names, cells)] if check else cells))
    return "".join(lines)


def read_csv(path: str | os.PathLike[str], what: str, fix: str) -> list[dict[str, str]]:
    """The rows that :func:`csv_text` wrote, as text by column; a file without the column of checks is taken as it is.

    Raises:
        FileFormatError: If there is no such file, or it has lines of another length, or was changed or damaged.
    """
    content = read_regular(path, what, fix)
    try:
        names, *lines = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
    except (ValueError, csv.Error) as error:
        if not content:
            return []
        raise FileFormatError(f"{path} to be {what}", f"no CSV: {error}"[:300], fix) from error
    rows = []
    checked, plain = names[-1:] == [CHECK], [*map(_text, names)]
    for number, cells in enumerate(lines, start=2):
        if len(cells) != len(names):
            got = f"{len(cells)} cells in line {number} under {len(names)} names"
            raise FileFormatError(f"{path} to be {what}", got, fix)
        if checked and cells[-1] != _crc(names[:-1], cells[:-1]):
            raise FileFormatError(
                f"line {number} of {path} to match its checksum",
                "other content",
                f"it was changed or is damaged: restore a copy, or if it was you, remove the column {CHECK}",
            )
        rows.append(dict(zip(plain[: -1 if checked else None], map(_text, cells), strict=False)))
    return rows


def data_frame(content: Any, columns: Sequence[str] | None = None) -> Any:
    """A ``pandas.DataFrame`` of records, or of columns by name.

    Raises:
        SettingError: If pandas is not installed.
    """
    try:
        from pandas import DataFrame
    except ImportError as error:
        raise SettingError(
            "the library pandas for a DataFrame", str(error), 'pip install "mnistvae[pandas]"'
        ) from error
    return DataFrame(content, columns=columns)


def _cell(value: Any) -> str:
    """A value as text that no spreadsheet takes for a formula."""
    if not isinstance(value, str) or not value.lstrip("'").startswith(_FORMULA):
        return "" if value is None else str(value)
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def _text(cell: str) -> str:
    """The text that :func:`_cell` was given."""
    return cell[1:] if cell.startswith("'") and cell.lstrip("'").startswith(_FORMULA) else cell


def _line(cells: Sequence[str]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerow(cells)
    return stream.getvalue()


def _crc(names: Sequence[str], cells: Sequence[str]) -> str:
    """CRC-32 of a line and of the names above it."""
    return f"{zlib.crc32(json.dumps([list(names), list(cells)]).encode()):08x}"
