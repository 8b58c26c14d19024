"""Factors of images: numbers and classes, by name, that are known of each image or were measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, overload

import torch
from torch import Tensor

from mnistvae._checks import check_mapping
from mnistvae._html import block, table
from mnistvae._records import data_frame
from mnistvae.arrays import as_real
from mnistvae.errors import DataError

__all__ = ["Factors", "check_factors", "joined"]

#: Images that a notebook shows at most.
_ROWS = 5


class Factors:
    """Factors of N images by name: numbers, such as a slant, and classes, such as a shape.

    ``factors["slant"]`` are the values of one, (N,); ``factors[rows]`` are all factors of some of the images.

    Args:
        values: Values (N,) of each factor by its name. Floats are numbers, which come in an order (float64); integers
            from 0 are classes, which do not (int64). NaN, and -1 of classes, stand for an image without a value.

    Raises:
        DataError: If there is no factor, factors differ in length, a number is infinite, or a class is below -1.

    Example:
        >>> factors = Factors({"slant": [0.1, -0.2, 0.3], "digit": [7, 2, 1]})
        >>> factors
        Factors(3 images, slant, digit in classes)
        >>> factors["slant"], factors[:2]["digit"]
        (tensor([ 0.1000, -0.2000,  0.3000], dtype=torch.float64), tensor([7, 2]))
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        given = check_mapping("factors as a mapping of names to values", values, "{'slant': [...]}", DataError)
        #: Values of each factor, (N,), on the CPU.
        self.values: dict[str, Tensor] = {str(name): _column(str(name), each) for name, each in given.items()}
        lengths = {name: len(each) for name, each in self.values.items()}
        if not lengths or min(lengths.values()) == 0:
            raise DataError("at least one factor of at least one image", "none", "{'slant': [...]}")
        if len(set(lengths.values())) > 1:
            got = ", ".join(f"{length} of {name}" for name, length in lengths.items())
            raise DataError("one value of each factor for each image", got)

    def __len__(self) -> int:
        return len(next(iter(self.values.values())))

    @overload
    def __getitem__(self, index: str) -> Tensor: ...

    @overload
    def __getitem__(self, index: slice | list[int] | Tensor) -> Factors: ...

    def __getitem__(self, index: Any) -> Any:
        if not isinstance(index, str):
            rows = index.cpu() if isinstance(index, Tensor) else index
            return Factors({name: each[rows] for name, each in self.values.items()})
        if index not in self.values:
            raise DataError(f"one of the factors {', '.join(self.names)}", repr(index), "check the spelling")
        return self.values[index]

    def __repr__(self) -> str:
        words = [f"{name} in classes" if self.in_classes(name) else name for name in self.names]
        return f"Factors({len(self)} images, {', '.join(words)})"

    def _repr_html_(self) -> str:
        """The factors of the first images as a table, for a notebook."""
        rows = zip(*(each[:_ROWS].tolist() for each in self.values.values()), strict=True)
        more = [["…"]] if len(self) > _ROWS else []
        return block(repr(self), table([*self.names], [*map(list, rows), *more], most=_ROWS + 1))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the factors, in order."""
        return tuple(self.values)

    def in_classes(self, name: str) -> bool:
        """True for a factor in classes, False for one in numbers."""
        return self[name].dtype is torch.int64

    def to_pandas(self) -> Any:
        """Return a pandas ``DataFrame`` with a row for each image and a column for each factor.

        Raises:
            SettingError: If pandas is not installed.
        """
        return data_frame({name: each.numpy() for name, each in self.values.items()})


def check_factors(factors: Factors | Mapping[str, Any], n: int) -> Factors:
    """Factors of ``n`` images.

    Args:
        factors: Factors, or a mapping of names to values (n,).
        n: Number of images.

    Raises:
        DataError: If they are none, or of another number of images.
    """
    found = factors if isinstance(factors, Factors) else Factors(factors)
    if len(found) != n:
        raise DataError(f"factors of {n} images", f"those of {len(found)}", "pass one value of each for each image")
    return found


def joined(parts: Sequence[Factors | None]) -> Factors | None:
    """The factors of several data sets one after the other; None where their factors are not the same.

    Args:
        parts: Factors of each data set, or None.
    """
    found = [part for part in parts if part is not None]
    kinds = {tuple((name, part.in_classes(name)) for name in part.names) for part in found}
    if len(found) < len(parts) or len(kinds) != 1:
        return None
    return Factors({name: torch.cat([part[name] for part in found]) for name in found[0].names})


def _column(name: str, values: Any) -> Tensor:
    """The values of one factor, (N,): float64 for numbers, int64 for classes."""
    found = as_real(values, f"the factor {name!r}").cpu()
    if found.ndim != 1:
        shape = tuple(found.shape)
        raise DataError(f"the factor {name!r} as one value for each image, shape (N,)", f"shape {shape}")
    if found.is_floating_point():
        if bool(found.isinf().any()):
            raise DataError(f"finite values of {name!r}", "an infinite one", "NaN stands for an image without a value")
        return found.double()
    if len(found) and int(found.min()) < -1:
        fix = f"numbers that come in an order are floats: {name} * 1.0"
        raise DataError(f"classes of {name!r} from 0, or -1 for none", str(int(found.min())), fix)
    return found.long()
