"""The record of a training run: a list of plain dicts, one for each epoch."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, overload

from mnistvae._checks import check_instance
from mnistvae._files import write_atomically
from mnistvae._html import block, paragraph, table
from mnistvae._records import csv_text, data_frame, read_csv, read_json, write_json
from mnistvae.errors import FileFormatError, SettingError, type_name

__all__ = ["COLUMNS", "TERMS", "VALIDATION", "History", "Record"]

#: One epoch: figures by name. Losses are means over the images, in nats an image.
Record: TypeAlias = dict[str, float]

#: The terms of every loss, each of which is a column.
TERMS = ("loss", "reconstruction", "kl")
#: What the names of columns of the validation data begin with.
VALIDATION = "validation_"
#: The likely remedy where a file is no history.
_FIX = "pass a run's history.csv"
#: Epochs and columns that a notebook shows at most.
_ROWS, _COLUMNS = 10, 30
#: The columns of every history, in order.
COLUMNS = ("epoch", *TERMS, *(VALIDATION + name for name in TERMS), "learning_rate", "seconds", "images_per_second")


class History(Sequence[Record]):
    """The losses, times and learning rates of a training run, epoch by epoch.

    A sequence of records (plain dicts); ``history[-1]["loss"]`` is the last loss, and
    ``history.column("loss")`` all of them.

    Args:
        records: One dict an epoch.
        tag: Name of the kind of likelihood, see :meth:`mnistvae.likelihoods.Likelihood.tag`.
        stopped: The reason why training ended; "" while it is under way, and where it was interrupted.

    Raises:
        SettingError: If the records are no dicts.

    Example:
        >>> history = History([{"epoch": 1, "loss": 200.0}, {"epoch": 2, "loss": 150.0}])
        >>> len(history), history[-1]["loss"], history.column("loss")
        (2, 150.0, [200.0, 150.0])
    """

    def __init__(self, records: Sequence[Record] = (), tag: str = "", stopped: str = "") -> None:
        if isinstance(records, str | bytes | Mapping) or not isinstance(records, Iterable):
            raise SettingError(
                "records as a list of dicts", type_name(records), "History([{'epoch': 1, 'loss': 200.0}])"
            )
        self.records: list[Record] = []
        for record in records:
            if not isinstance(record, Mapping):
                raise SettingError("records as a list of dicts", f"{type_name(record)} in it", "one dict an epoch")
            self.records.append(dict(record))
        self.tag = check_instance("tag as a text", tag, str)
        self.stopped = check_instance("stopped as a text", stopped, str)

    @overload
    def __getitem__(self, index: int) -> Record: ...

    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...

    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        return self.records[index]

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, History) and (self.records, self.tag) == (other.records, other.tag)

    __hash__ = None  # type: ignore[assignment]  # it grows

    def __repr__(self) -> str:
        if not self.records:
            return "History(no epochs)"
        last = ", ".join(f"{name}={self[-1][name]:.2f}" for name in ("loss", "validation_loss") if name in self[-1])
        reason = f", {self.stopped}" if self.stopped else ""
        return f"History({len(self)} epochs{', last ' + last if last else ''}{reason})"

    def _repr_html_(self) -> str:
        """The last epochs as a table, for a notebook."""
        names = self.columns()[:_COLUMNS]
        rows = [[record.get(name, "") for name in names] for record in self.records[-_ROWS:]]
        if len(self) > _ROWS:
            rows.insert(0, ["…"] * len(names))
        facts = [f"in nats, {self.tag}" if self.tag else "", f"stopped: {self.stopped}" if self.stopped else ""]
        title = f"History of {len(self)} epoch{'' if len(self) == 1 else 's'}"
        note = [paragraph("; ".join(filter(None, facts)))] if any(facts) else []
        return block(title, *note, *([table(names, rows, most=_ROWS + 1)] if rows else []))

    def append(self, record: Record) -> None:
        """Add an epoch."""
        self.records.append(record)

    def column(self, name: str) -> list[float]:
        """The values of one figure over the epochs.

        Raises:
            SettingError: If no epoch has it.
        """
        if not any(name in record for record in self.records):
            known = sorted({key for record in self.records for key in record})
            raise SettingError(f"one of {', '.join(known) or 'no columns (no epoch is done)'}", repr(name))
        return [record.get(name, float("nan")) for record in self.records]

    def columns(self, *, validates: bool = False) -> list[str]:
        """The names of the figures, in order; none without epochs.

        Args:
            validates: Include those of the validation, though no epoch may have them yet.
        """
        known = {name for record in self.records for name in record}
        if known and validates:
            known |= {name for name in COLUMNS if name.startswith("validation_")}
        return [name for name in COLUMNS if name in known] + sorted(known - set(COLUMNS))

    def to_text(self, columns: Sequence[str] | None = None) -> str:
        """The records as CSV: a line of names, then one line an epoch with a checksum; empty without epochs.

        Args:
            columns: Names of the columns (default: :meth:`columns`).
        """
        names = columns or self.columns()
        rows = [[record.get(name) for name in names] for record in self.records]
        return csv_text(names, rows, check=True) if rows else ""

    def to_csv(self, path: str | os.PathLike[str]) -> Path:
        """Write :meth:`to_text` to a file, atomically.

        Raises:
            OutputError: If the file cannot be written.
        """
        return write_atomically(path, self.to_text().encode())

    @classmethod
    def from_csv(cls, path: str | os.PathLike[str]) -> History:
        """Read a history that :meth:`to_csv`, or a run, wrote.

        Raises:
            FileFormatError: If it is no such file.
        """
        rows = read_csv(path, "a history of numbers", _FIX)
        try:
            return cls([{name: _number(text) for name, text in row.items() if text} for row in rows])
        except ValueError as error:
            raise FileFormatError(f"{path} to be a history of numbers", str(error)[:200], _FIX) from error

    def to_json(self, path: str | os.PathLike[str]) -> Path:
        """Write records, tag and the reason for the end as JSON, atomically.

        Raises:
            OutputError: If the file cannot be written.
        """
        stopped = {"stopped": self.stopped} if self.stopped else {}
        return write_json(path, {"tag": self.tag, **stopped, "records": self.records}, indent=1)

    @classmethod
    def from_json(cls, path: str | os.PathLike[str]) -> History:
        """Read a history that :meth:`to_json` wrote.

        Raises:
            FileFormatError: If it is no such file.
        """
        what, fix = "a history in JSON", "pass what to_json wrote"
        content = read_json(path, what, fix)
        tag, records, stopped = content.get("tag"), content.get("records"), content.get("stopped", "")
        if (
            not isinstance(tag, str)
            or not isinstance(stopped, str)
            or not isinstance(records, list)
            or not all(map(is_record, records))
        ):
            raise FileFormatError(f"{path} to be {what}", "JSON of something else", fix)
        return cls(records, tag, stopped)

    def to_pandas(self) -> Any:
        """The records as a ``pandas.DataFrame``, a row an epoch.

        Raises:
            SettingError: If pandas is not installed.
        """
        return data_frame(self.records, self.columns())


def is_record(content: Any) -> bool:
    """Tell whether what JSON held is a record: numbers by name."""
    return isinstance(content, dict) and all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in content.values()
    )


def _number(text: str) -> float:
    return int(text) if text.isdecimal() else float(text)
