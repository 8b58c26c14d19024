"""The record of an evaluation: scores, how each was made, and which of them may be compared."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, SupportsFloat, TypeAlias

import numpy as np

from mnistvae._checks import check_choice, check_instance, check_mapping
from mnistvae._files import write_atomically
from mnistvae._html import block, fold, paragraph, table
from mnistvae._records import csv_text, pack_floats, read_json, unpack_floats, write_json
from mnistvae.arrays import as_numbers
from mnistvae.errors import DataError, FileFormatError, SettingError, type_name

__all__ = ["ARROWS", "Direction", "Evaluation", "Score", "difference"]

#: Side on which a score is better; "" where neither is.
Direction: TypeAlias = Literal["lower", "higher", ""]
#: Arrows that show the better side in a table.
ARROWS: Mapping[Direction, str] = MappingProxyType({"lower": "↓", "higher": "↑", "": " "})
_VERSION = 1
#: Rows of a table in a notebook.
_ROWS = 60
#: Entries of the protocol that the table of the classes repeats.
_PROTOCOL = ("dataset", "split", "fingerprint", "binarization", "tag", "num_samples", "seed", "version", "model")


@dataclass(frozen=True)
class Score:
    """One number of an evaluation, with what it takes to read it.

    Raises:
        SettingError: If the better side, the value or a text is of another kind.

    Example:
        >>> a = Score("nll", 86.8, "nats", "lower", tag="binarized-dynamic")
        >>> b = Score("nll", 104.9, "nats", "lower", tag="grey-bce")
        >>> a.better_than(b)
        Traceback (most recent call last):
        ...
        mnistvae.errors.DataError: expected two scores of one tag, got ...
    """

    #: Name of the metric.
    name: str
    value: float
    #: "nats", "dB", ..., or "".
    unit: str = ""
    #: "lower", "higher" or "".
    better: Direction = ""
    #: How it was made, in one line.
    protocol: str = ""
    #: Name of the density that nats are of; those of two tags are not comparable.
    tag: str = ""
    standard_error: float | None = None
    #: Conditions that comparable scores have in common, such as numbers of samples.
    conditions: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        checked: dict[str, Any] = {"better": check_choice("better", self.better, tuple(ARROWS))}
        for name in ("name", "unit", "protocol", "tag"):
            checked[name] = check_instance(f"{name} as a text", getattr(self, name), str)
        for name in ("value", "standard_error"):
            number = getattr(self, name)
            absent = number is None and name == "standard_error"
            if not absent and (not isinstance(number, SupportsFloat) or isinstance(number, bool)):
                raise SettingError(f"{name} as a number", repr(number))
        checked["conditions"] = check_mapping("conditions by name", self.conditions)
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    def better_than(self, other: Score) -> bool:
        """True if this score is the better one.

        Args:
            other: Score of the same metric, made in the same way.

        Raises:
            DataError: If it is of another metric or tag, was made under other conditions, or no side is better.
        """
        other = check_instance("a Score to compare with", other, Score, "evaluation.score(name)", DataError)
        if (self.name, self.unit) != (other.name, other.unit):
            raise DataError(f"another {self.name}", f"{other.name}", "compare scores of one name")
        if self.tag != other.tag:
            raise DataError(
                "two scores of one tag", f"{self.tag!r} and {other.tag!r}", "they are nats of different densities"
            )
        if reason := difference([self, other]):
            raise DataError(f"two scores of {self.name} made alike", reason, "evaluate both in the same way")
        if not self.better:
            raise DataError("a score that has a better side", self.name, "look at both")
        return self.value < other.value if self.better == "lower" else self.value > other.value

    def text(self) -> str:
        """The value, with as many digits as its standard error leaves room for."""
        if not math.isfinite(self.value):
            return str(self.value)
        if self.standard_error is not None and 0 < self.standard_error < math.inf:
            size = math.floor(math.log10(abs(self.value))) if self.value else 0
            digits = max(0, min(1 - math.floor(math.log10(self.standard_error)), 5 - size))
            if digits > 8:
                return f"{self.value:.3g} ± {self.standard_error:.1g}"
            return f"{self.value:.{digits}f} ± {self.standard_error:.{digits}f}"
        if self.value == int(self.value) and abs(self.value) < 1e6:
            return str(int(self.value))
        return f"{self.value:.4g}" if abs(self.value) < 1000 else f"{self.value:.1f}"


@dataclass(frozen=True)
class Evaluation:
    """The record that :func:`mnistvae.metrics.evaluate` gives.

    ``evaluation["nll"]`` is a value, ``evaluation.score("nll")`` the :class:`Score`, and ``print(evaluation)`` a
    table of all.
    """

    scores: tuple[Score, ...]
    #: One row a class: its number, its images, and means over them.
    by_class: tuple[Mapping[str, float], ...] = ()
    #: Values for each latent dimension, by metric.
    by_dimension: Mapping[str, Sequence[float]] = field(default_factory=dict)
    #: Facts that hold for all scores: data, seed, version, ...
    protocol: Mapping[str, Any] = field(default_factory=dict)
    #: Reasons why metrics were left out, by name.
    left_out: Mapping[str, str] = field(default_factory=dict)
    #: Values for each image (N,), in the order of the data, of the metrics whose score is a mean over images. They are
    #: float32 and cannot be written to; two evaluations are equal whatever they are.
    by_image: Mapping[str, np.ndarray[Any, Any]] = field(default_factory=dict, repr=False, compare=False)

    #: Names of the classes by their numbers, where the data have some.
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        given = check_mapping("values by image of each metric", self.by_image)
        object.__setattr__(self, "by_image", {name: _kept(name, values) for name, values in given.items()})

    def __getitem__(self, name: str) -> float:
        return self.score(name).value

    def __iter__(self) -> Iterator[Score]:
        return iter(self.scores)

    def __len__(self) -> int:
        return len(self.scores)

    def __contains__(self, name: object) -> bool:
        return any(score.name == name for score in self.scores)

    def score(self, name: str) -> Score:
        """The score of a name.

        Args:
            name: Name of a metric.

        Raises:
            KeyError: If there is none; the message says why, if it was left out.
        """
        for score in self.scores:
            if score.name == name:
                return score
        reason = self.left_out.get(name)
        raise KeyError(f"{name} was left out: {reason}" if reason else f"{name}, of {', '.join(self.names())}")

    def names(self) -> list[str]:
        """The names of all scores."""
        return [score.name for score in self.scores]

    def class_name(self, label: float) -> str:
        """The name of a class; its number where it has none."""
        number = int(label)
        return self.class_names[number] if 0 <= number < len(self.class_names) else str(number)

    def __str__(self) -> str:
        rows = [(f"{ARROWS[score.better]} {score.name}", score.text(), score.unit, score.protocol) for score in self]
        widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
        lines = [
            f"{name:{widths[0]}s}  {value:>{widths[1]}s} {unit:{widths[2]}s}  {protocol}".rstrip()
            for name, value, unit, protocol in rows
        ]
        lines += [f"  {name} left out: {reason}" for name, reason in self.left_out.items()]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """The table of the scores, for a notebook."""
        whole = str.maketrans(" ", "\u00a0")  # such a space does not end a line
        names = [f"{ARROWS[score.better]} {score.name}".translate(whole) for score in self]
        rows = (
            (name, score.text().translate(whole), score.unit, score.protocol)
            for name, score in zip(names, self, strict=True)
        )
        of = ", ".join(str(self.protocol[name]) for name in ("dataset", "split") if name in self.protocol)
        facts = [f"{name}: {value}" for name, value in self.protocol.items()]
        out = [(name, reason) for name, reason in self.left_out.items()]
        return block(
            f"Evaluation of {of}" if of else "Evaluation",
            table(("", "score", "", "how it was made"), rows, most=_ROWS),
            *([fold(f"{len(out)} left out", table(("", "reason"), out, most=_ROWS))] if out else []),
            *([fold("protocol", paragraph(", ".join(facts)))] if facts else []),
        )

    def to_json(self, path: str | os.PathLike[str]) -> Path:
        """Write everything as JSON, atomically; :meth:`from_json` reads it.

        A value that is not finite becomes a string, since JSON knows none. The values for each image are the base64 of
        float32, little-endian: about 53 KB for a metric and 10,000 images.

        Args:
            path: File to write.

        Raises:
            OutputError: If it cannot be written.
        """
        content = {"format": "mnistvae-evaluation", "format_version": _VERSION}
        content |= _plain(asdict(replace(self, by_image={})))
        content["by_image"] = {name: pack_floats(values) for name, values in self.by_image.items()}
        return write_json(path, content)

    @classmethod
    def from_json(cls, path: str | os.PathLike[str]) -> Evaluation:
        """The evaluation that :meth:`to_json` wrote.

        Args:
            path: File to read.

        Raises:
            FileFormatError: If the file is something else, or of a newer version.
        """
        fix = "evaluate the model again"
        content = read_json(path, "an evaluation, written by Evaluation.to_json", fix)
        try:
            if content["format"] != "mnistvae-evaluation" or content["format_version"] > _VERSION:
                raise ValueError(f"{content['format']} of version {content['format_version']}")  # noqa: TRY301
            return cls(
                tuple(_score(score) for score in content["scores"]),
                tuple(_row(row, content["by_class"][0]) for row in content["by_class"]),
                {name: [float(value) for value in values] for name, values in content["by_dimension"].items()},
                dict(content["protocol"].items()),
                {name: check_instance("a reason", reason, str) for name, reason in content["left_out"].items()},
                _by_image(content.get("by_image", {}), content["protocol"].get("images")),
                _names(content.get("class_names", [])),
            )
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
            got = f"{type(error).__name__}: {error}"[:300]
            raise FileFormatError(f"{path}, written by Evaluation.to_json", got, fix) from error

    def to_csv(self, path: str | os.PathLike[str]) -> Path:
        """Write the table of the classes, one a line, atomically; how they were made stands in the last columns.

        Where the classes have names, these stand beside their numbers, in the column ``name``.

        Args:
            path: File to write.

        Raises:
            DataError: If there is none, since the data had no labels.
            OutputError: If it cannot be written.
        """
        if not self.by_class:
            raise DataError("scores by class", "none", "evaluate data with labels")
        how = {name: self.protocol[name] for name in _PROTOCOL if name in self.protocol}
        rows: list[dict[str, Any]] = []
        for row in self.by_class:
            label = {"class": int(row["class"])} | ({"name": self.class_name(row["class"])} if self.class_names else {})
            rows.append({**label, **row, **label, "images": int(row["images"]), **how})
        return write_atomically(path, csv_text([*rows[0]], ([*row.values()] for row in rows)).encode())


def difference(scores: Sequence[Score]) -> str:
    """The tags or the first condition in which scores of one metric differ, in words, or ""."""
    if len({score.tag for score in scores}) > 1:
        return "tags " + " and ".join(sorted({repr(score.tag) for score in scores}))
    for condition in sorted({name for score in scores for name in score.conditions}):
        found = {str(score.conditions.get(condition, "none")) for score in scores}
        if len(found) > 1:
            return f"{condition} " + " and ".join(sorted(found))
    return ""


def _plain(value: Any) -> Any:
    """As JSON has it: numbers that are not finite become text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


def _kept(name: str, values: Any) -> np.ndarray[Any, Any]:
    """A copy of one number for each image that nobody can write to."""
    with np.errstate(over="ignore"):  # of float64; what is too large is as good as infinite
        kept = as_numbers(values, f"the values of {name} by image", ("N",), finite=False).astype(np.float32)
    kept.flags.writeable = False
    return kept


def _by_image(content: Mapping[str, Any], images: Any) -> dict[str, np.ndarray[Any, Any]]:
    """The values for each image, as many of each metric as there are images."""
    found = {name: unpack_floats(text) for name, text in content.items()}
    for name, values in found.items():
        if len(values) != (len(next(iter(found.values()))) if images is None else images):
            raise ValueError(f"{len(values)} values of {name} for {images} images")
    return found


def _names(content: Any) -> tuple[str, ...]:
    if not isinstance(content, list):
        raise ValueError(f"{type_name(content)} as names of classes")  # noqa: TRY004 (as other content is)
    return tuple(check_instance("the name of a class", name, str) for name in content)


def _score(content: Mapping[str, Any]) -> Score:
    """A figure as :func:`_plain` left it: all that it holds, and nothing else."""
    error = content["standard_error"]
    known = {one.name: content[one.name] for one in fields(Score) if one.name != "conditions"}
    known["conditions"] = dict(content.get("conditions", {}))
    numbers = {"value": float(content["value"]), "standard_error": None if error is None else float(error)}
    return Score(**{**content, **known, **numbers})


def _row(content: Mapping[str, Any], first: Mapping[str, Any]) -> dict[str, float]:
    """A line of the table of the classes, which has the columns of the first."""
    if list(content) != list(first) or not {"class", "images"} <= set(content):
        raise ValueError(f"a class with {', '.join(content)}")
    return {name: float(value) for name, value in content.items()}
