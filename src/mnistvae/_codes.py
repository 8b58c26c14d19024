"""The codes of a data set, by the means and deviations of their posteriors."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mnistvae._checks import check_instance
from mnistvae._files import write_atomically
from mnistvae._html import block, table
from mnistvae._records import csv_text, data_frame
from mnistvae.arrays import check_finite
from mnistvae.errors import DataError, SettingError

__all__ = ["LatentCodes"]

#: Codes and dimensions that a notebook shows at most.
_ROWS, _COLUMNS = 5, 12


@dataclass(frozen=True)
class LatentCodes:
    """The posteriors of N images, by their first two moments, on the CPU.

    ``codes[index]`` are the codes of some of the images.

    Raises:
        DataError: If means, deviations and labels do not match, or a code is not finite.
    """

    #: Posterior means, (N, latent_dim).
    means: Tensor
    #: Standard deviations of the posterior, (N, latent_dim).
    deviations: Tensor
    #: Labels, (N,), where the data have some.
    labels: Tensor | None = None
    #: Name of the data set that was encoded.
    name: str = "images"
    #: Part of the data set that was encoded, such as "test".
    split: str = "all"
    #: Names of the classes in the order of their numbers, where they have some.
    class_names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        given = {"means": self.means, "standard deviations": self.deviations}
        if self.labels is not None:
            given["labels"] = self.labels
        means, deviations, *labels = (
            check_instance(f"{name} as a torch tensor", value, Tensor, "encode_dataset gives them", DataError)
            for name, value in given.items()
        )
        if means.ndim != 2 or means.shape != deviations.shape:
            got = f"{tuple(means.shape)} and {tuple(deviations.shape)}"
            raise DataError("means and standard deviations of one shape (N, latent_dim)", got)
        if labels and labels[0].shape != means.shape[:1]:
            raise DataError(f"{len(means)} labels", str(tuple(labels[0].shape)), "one label a code")
        check_finite(torch.cat([means, deviations], 1), "codes", "look at the weights: the model may have diverged")

    def __len__(self) -> int:
        return len(self.means)

    def __getitem__(self, index: slice | Tensor) -> LatentCodes:
        labels = None if self.labels is None else self.labels[index]
        return replace(self, means=self.means[index], deviations=self.deviations[index], labels=labels)

    def __repr__(self) -> str:
        n, latent_dim = self.means.shape
        labels = "no labels" if self.labels is None else "labels"
        return f"LatentCodes({n} codes of {latent_dim} dimensions, {labels}, {self.name!r}, {self.split!r})"

    def _repr_html_(self) -> str:
        """The means of the first codes as a table, for a notebook."""
        means = self.means[:_ROWS, :_COLUMNS].tolist()
        labels = [[]] * len(means) if self.labels is None else [[label] for label in self.labels[:_ROWS].tolist()]
        head = [*(["label"] if self.labels is not None else []), *(f"mean_{n}" for n in range(self.latent_dim))]
        rows = [[*label, *row] for label, row in zip(labels, means, strict=True)]
        more = [["…"]] if len(self) > _ROWS else []
        return block(repr(self), table(head[: max(map(len, rows), default=0)], rows + more, most=_ROWS + 1))

    @property
    def latent_dim(self) -> int:
        """Number of dimensions of a code."""
        return self.means.shape[1]

    def to_pandas(self) -> Any:
        """Return a pandas ``DataFrame`` with a row for each image: ``mean_0``, ..., ``deviation_0``, ..., ``label``.

        Where classes have names, they are in a further column ``name``.

        Raises:
            SettingError: If pandas is not installed.
        """
        return data_frame(self.columns())

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the codes to a file, atomically: ``.csv``, ``.npz`` or ``.parquet``.

        An archive ``.npz`` has the arrays ``means``, ``deviations``, ``labels`` and ``class_names``, the last two where
        there are some; the others are tables as :meth:`to_pandas` gives them.

        Raises:
            SettingError: If the suffix is another, or pandas and pyarrow, which write Parquet, are not installed.
            OutputError: If the file cannot be written.
        """
        suffix = Path(path).suffix.lower()
        if suffix not in _WRITERS:
            raise SettingError(f"a file that ends in {', '.join(_WRITERS)}", repr(Path(path).name))
        return write_atomically(path, _WRITERS[suffix](self))

    def columns(self) -> dict[str, Any]:
        """Return the columns of a table of the codes, by name."""
        parts = {"mean": self.means, "deviation": self.deviations}
        columns = {f"{name}_{n}": part[:, n].numpy() for name, part in parts.items() for n in range(self.latent_dim)}
        if self.labels is None:
            return columns
        columns["label"] = self.labels.numpy()
        if self.class_names is not None:
            known = dict(enumerate(self.class_names))
            columns["name"] = np.array([known.get(label, str(label)) for label in self.labels.tolist()])
        return columns


def _as_csv(codes: LatentCodes) -> bytes:
    columns = codes.columns()
    return csv_text([*columns], zip(*(column.tolist() for column in columns.values()), strict=True)).encode()


def _as_npz(codes: LatentCodes) -> bytes:
    arrays = {"means": codes.means, "deviations": codes.deviations}
    arrays |= {} if codes.labels is None else {"labels": codes.labels}
    found = {name: array.numpy() for name, array in arrays.items()}
    if codes.labels is not None and codes.class_names is not None:
        found["class_names"] = np.array(codes.class_names)
    stream = io.BytesIO()
    np.savez(stream, **found)  # type: ignore[arg-type]
    return stream.getvalue()


def _as_parquet(codes: LatentCodes) -> bytes:
    stream = io.BytesIO()
    try:
        codes.to_pandas().to_parquet(stream)
    except ImportError:
        raise SettingError(
            "pyarrow to write Parquet", "none", 'pip install "mnistvae[pandas]", or write .csv or .npz'
        ) from None
    return stream.getvalue()


#: Writers by the suffix of the file.
_WRITERS: dict[str, Callable[[LatentCodes], bytes]] = {".csv": _as_csv, ".npz": _as_npz, ".parquet": _as_parquet}
