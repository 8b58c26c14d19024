"""The one door for arrays: whatever holds numbers becomes a tensor or an array of a known shape, dtype and range.

Numbers come as a tensor, an array of any library, a number, or nested sequences of numbers. In all functions ``name``
is the name of the numbers in messages, such as "codes", and ``fix`` the likely remedy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mnistvae.errors import DataError, type_name

__all__ = [
    "ArrayLike",
    "Sizes",
    "as_double",
    "as_numbers",
    "as_real",
    "as_rows",
    "as_tensor",
    "bad_rows",
    "check_array",
    "check_finite",
    "check_shape",
    "double_on",
    "for_kind",
    "is_array",
    "shape_text",
    "with_double",
]

#: Pixels or labels: a torch tensor or a numpy array.
ArrayLike: TypeAlias = Tensor | NDArray[Any]
#: A shape, in which a letter stands for any length of at least 1: ("N", 2).
Sizes: TypeAlias = Sequence[int | str]


def check_array(x: Any, name: str, fix: str = "pass the array of its numbers") -> ArrayLike:
    """Whatever holds numbers as a torch tensor or a numpy array; these two stay themselves.

    Raises:
        DataError: If it is anything else, or a tensor or array that :func:`as_tensor` refuses.
    """
    if isinstance(x, np.ndarray) and not np.ma.isMaskedArray(x):
        return x
    if is_array(x) or isinstance(x, list | tuple) or hasattr(x, "tocoo"):
        return as_tensor(x, name)
    raise DataError(f"{name} as a torch tensor or a numpy array", type_name(x), fix)


def is_array(x: Any) -> bool:
    """True for a tensor, a numpy array, and what gives itself as one by ``__array__`` or DLPack (and no picture is)."""
    arrays = hasattr(x, "__array__") or hasattr(x, "__dlpack__")
    return isinstance(x, Tensor) or (arrays and not isinstance(x, type) and not hasattr(x, "getbands"))


def for_kind(x: Any, of_tensor: str, of_array: str) -> str:
    """The one of two pieces of advice that can be followed with ``x``: a tensor's methods, or those of an array."""
    return of_tensor if isinstance(x, Tensor) else of_array


def as_tensor(x: Any, name: str, fix: str | None = None) -> Tensor:
    """Numbers as a tensor; a tensor stays itself, an array shares its memory where torch can.

    Numbers are a tensor, whatever has ``__array__`` or DLPack (of numpy, pandas, h5py, xarray, jax), or nested lists.

    Raises:
        DataError: If it holds anything but numbers, rows of several lengths, or values that are masked or left out (a
            sparse tensor).
    """
    if isinstance(x, Tensor):
        if x.layout is torch.strided and not x.is_nested:
            return x
        kind, how = (
            ("nested", "pad it: x.to_padded_tensor(0)") if x.is_nested else ("sparse", "make it dense: x.to_dense()")
        )
        raise DataError(f"{name} as a dense tensor", f"a {kind} one", how)
    array = _as_numpy(x, name)
    if array.dtype.kind == "O":  # Python's own numbers
        array = np.array(array.tolist()) if array.size else array
    if array.dtype.kind not in "biuf":
        got = type_name(x) if x is None else f"a numpy array of dtype {array.dtype}"
        raise DataError(f"{name} as numbers", got, fix or "convert it to numbers")
    if array.dtype.itemsize > 8:  # numpy's long double, which torch does not have
        array = array.astype(np.float64)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()  # torch warns of the one and refuses the other
    try:
        return torch.from_numpy(array) if array.ndim else torch.as_tensor(array.item(), device="cpu")
    except (RuntimeError, OverflowError, ValueError):
        raise DataError(f"{name} that an int64 can hold", str(array.item())[:80]) from None


def _as_numpy(x: Any, name: str) -> NDArray[Any]:
    """Numbers that are no tensor as a numpy array, of whatever dtype."""
    expected = f"{name} as numbers"
    if np.ma.isMaskedArray(x) and np.ma.is_masked(x):
        raise DataError(expected, "a masked array", "put numbers where it is masked: x.filled(0)")
    if hasattr(x, "tocoo"):
        raise DataError(expected, f"{type_name(x)}, which is sparse", "make it dense: x.toarray()")
    try:
        if isinstance(x, list | tuple) and x and all(isinstance(one, Tensor) for one in x):
            x = torch.stack(list(x))
        if isinstance(x, Tensor) or (hasattr(x, "__dlpack__") and not hasattr(x, "__array__")):
            x = (x if isinstance(x, Tensor) else torch.utils.dlpack.from_dlpack(x)).detach().cpu().numpy()
        return np.asarray(x)
    except ValueError:  # lists of several lengths
        raise DataError(expected, f"{type_name(x)} of uneven length", "give every row the same length") from None
    except (TypeError, RuntimeError) as error:  # a list of tensors that numpy cannot read, for instance
        raise DataError(expected, f"{type_name(x)}: {error}", "pass a torch tensor or a numpy array") from None


def as_real(x: Any, name: str) -> Tensor:
    """Real numbers as a tensor without a gradient, in their own dtype.

    Raises:
        DataError: If it holds anything but real numbers; truth values and complex numbers are none.
    """
    numbers = as_tensor(x, name).detach()
    if numbers.is_complex() or numbers.dtype is torch.bool:
        raise DataError(f"{name} as real numbers", f"dtype {numbers.dtype}", "convert them to floats")
    return numbers


def as_double(x: Any, name: str) -> Tensor:
    """Finite real numbers as a tensor in double precision, on their device.

    Raises:
        DataError: If it holds anything but real numbers, or a number is NaN or infinite.
    """
    numbers = as_real(x, name)
    return check_finite(numbers.to(double_on(numbers.device)), name)


def as_rows(x: Any, name: str, columns: str = "D", *, least: int = 1) -> Tensor:
    """One row of finite numbers for each of at least ``least`` images, (N, D), in double precision.

    ``columns`` is the name of the second dimension in messages.

    Raises:
        DataError: If shape or dtype is another, there are too few rows, or a number is NaN or infinite.
    """
    rows = as_real(x, name)
    if rows.ndim != 2 or rows.shape[1] == 0:
        usual = "one number for each image is a column, x[:, None]" if rows.ndim == 1 else "flatten: x.flatten(1)"
        raise DataError(f"{name} of shape (N, {columns}), a row for each image", f"shape {tuple(rows.shape)}", usual)
    if len(rows) < least:
        raise DataError(f"{name} of at least {least} image{'s' * (least > 1)}", str(len(rows)), "pass more images")
    return as_double(rows, name)


def double_on(device: torch.device) -> torch.dtype:
    """Double precision, or single on Apple's GPUs, which have no other."""
    return torch.float32 if device.type == "mps" else torch.float64


def with_double(device: torch.device) -> torch.device:
    """``device`` itself, or the CPU for Apple's GPUs, which have no double precision."""
    return torch.device("cpu") if double_on(device) is torch.float32 else device


def as_numbers(
    x: Any, name: str, shape: Sizes | None, *, fix: str | None = None, finite: bool = True
) -> NDArray[np.float64]:
    """Real numbers as a float64 array of a shape, or with ``None`` of any shape; ``finite`` refuses NaN and infinity.

    Raises:
        DataError: If shape or dtype is another, or a number is NaN or infinite.
    """
    numbers = as_real(x, name).cpu().double()  # on the CPU first: Apple's GPUs have no double precision
    if shape is not None:
        check_shape(numbers, name, shape, fix)
    return (check_finite(numbers, name) if finite else numbers).numpy()


def check_shape(x: Tensor, name: str, shape: Sizes, fix: str | None = None) -> Tensor:
    """``x`` itself, which must be of that shape; a letter in it stands for any length of at least 1.

    Raises:
        DataError: If it has another shape.
    """
    got = tuple(x.shape)
    if len(got) == len(shape) and all(
        n > 0 if isinstance(size, str) else n == size for n, size in zip(got, shape, strict=True)
    ):
        return x
    sizes = ", ".join(map(str, shape)) + "," * (len(shape) == 1)
    raise DataError(f"{name} of shape ({sizes})", f"shape {got}", fix)


def check_finite(x: Tensor, name: str, fix: str | None = None, *, first: int = 0) -> Tensor:
    """``x`` itself, which must be finite; the message says which rows, along the first dimension, are not.

    ``first`` is the number of the first row, where ``x`` is a part of more.

    Raises:
        DataError: If a number is NaN or infinite.

    Example:
        >>> check_finite(torch.tensor([[0.0, 1.0], [2.0, float("nan")]]), "codes")
        Traceback (most recent call last):
        mnistvae.errors.DataError: expected finite codes, got NaN or infinity in 1 of 2, the first of them number 1: \
find what made them, or leave them out
    """
    bad = bad_rows(x)
    if len(bad):
        of = f"{len(bad)} of {len(x) if x.ndim else 1}, the first of them number {first + int(bad[0])}"
        raise DataError(f"finite {name}", f"NaN or infinity in {of}", fix or "find what made them, or leave them out")
    return x


def bad_rows(x: Tensor) -> Tensor:
    """Numbers of the rows of ``x`` that hold NaN or an infinity, (K,) int64; a single number is one row."""
    finite = x.isfinite()
    return (finite.flatten(1).all(1) if finite.ndim > 1 else finite.flatten()).logical_not().nonzero().flatten()


def shape_text(x: Any) -> str:
    """The shape of a tensor or an array in the words of a message; of anything else, the kind of thing it is."""
    return f"shape {tuple(x.shape)}" if isinstance(x, Tensor | np.ndarray) else type_name(x)
