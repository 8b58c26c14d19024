"""Checks of settings, each of which returns the value that it checked: numpy's and torch's numbers become Python's.

In all of them ``expected`` is the message's noun phrase for the value that is wanted, ``fix`` the likely remedy, and
``error`` the class of the error, if it is not a SettingError.
"""

from __future__ import annotations

import operator
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, SupportsFloat, TypeVar

from mnistvae.errors import MnistvaeError, SettingError, type_name

__all__ = [
    "MAX_SEED",
    "allocating",
    "as_integer",
    "check_choice",
    "check_count",
    "check_indices",
    "check_instance",
    "check_mapping",
    "check_number",
    "check_numbers",
    "check_seed",
    "check_switch",
    "check_widths",
    "listed",
]

_T = TypeVar("_T")
_Word = TypeVar("_Word", bound=str)

#: Seeds are below 2**63, as torch's generators want them.
MAX_SEED = 2**63 - 1
#: Sizes fit the 32-bit integers of BLAS and oneDNN.
_MAX_COUNT = 2**31 - 1


@contextmanager
def allocating(expected: str, got: str, fix: str, error: type[MnistvaeError] = SettingError) -> Iterator[None]:
    """A block that allocates memory, in which there being too little is an error like any other of a setting."""
    try:
        yield
    except RuntimeError as reason:  # torch has no class of its own for it on a CPU
        if not any(word in str(reason) for word in ("alloc", "memory", "overflow")):
            raise
        raise error(expected, got, fix) from reason


def check_choice(name: str, value: Any, choices: Sequence[_Word], also: str | None = None) -> _Word:
    """The one of ``choices`` that ``value`` is; ``also`` names other values that are taken.

    Raises:
        SettingError: If it is anything else.
    """
    if isinstance(value, str) and value in choices:
        return choices[choices.index(value)]
    wanted = ", ".join(repr(choice) for choice in choices)
    raise SettingError(f"{name} as {f'{also}, or ' if also else ''}one of {wanted}", repr(value), "check the spelling")


def check_count(expected: str, value: Any, least: int = 1, fix: str | None = None) -> int:
    """``value`` as an int from ``least`` to 2**31 - 1.

    Raises:
        SettingError: If it is anything else.
    """
    number = as_integer(value)
    if number is None or number < least:
        raise SettingError(expected, repr(value), fix)
    if number > _MAX_COUNT:
        raise SettingError(f"{expected} and below 2**31", repr(value), fix)
    return number


def check_seed(value: Any) -> int:
    """``value`` as an int from 0 to 2**63 - 1.

    Raises:
        SettingError: If it is anything else.
    """
    number = as_integer(value)
    if number is None or number < 0:
        raise SettingError("seed as an integer of at least 0", repr(value))
    if number > MAX_SEED:
        raise SettingError("seed as an integer of at least 0 and below 2**63", repr(value))
    return number


def check_number(expected: str, value: Any, low: float = 0.0, *, above: bool = False, fix: str | None = None) -> float:
    """``value`` as a finite float of at least ``low`` or, with ``above``, above it.

    Raises:
        SettingError: If it is anything else.
    """
    number = float("nan")
    if isinstance(value, SupportsFloat) and not isinstance(value, str | bool):
        try:
            number = float(value)
        except (TypeError, ValueError, RuntimeError, OverflowError):  # an array or tensor of several numbers
            number = float("nan")
    if not (low < number if above else low <= number) or number == float("inf"):
        raise SettingError(expected, repr(value) if isinstance(value, str) else str(value), fix)
    return number


def check_numbers(
    expected: str,
    values: Any,
    count: int | None = None,
    fix: str | None = None,
    error: type[MnistvaeError] = SettingError,
) -> list[float]:
    """``values`` as a list of finite floats: ``count`` of them, or at least one.

    Raises:
        MnistvaeError: If they are anything else.
    """
    items = listed(values)
    if not items or (count is not None and len(items) != count):
        raise error(expected, _shortly(values, items), fix)
    try:
        return [check_number(expected, item, float("-inf"), above=True) for item in items]
    except SettingError as wrong:
        raise error(expected, f"{wrong.got} among them", fix) from None


def check_indices(
    expected: str, values: Any, below: int, fix: str | None = None, error: type[MnistvaeError] = SettingError
) -> list[int]:
    """``values`` as a list of at least one integer from 0 to ``below`` - 1; a mask of truth values is refused.

    Raises:
        MnistvaeError: If they are anything else.
    """
    items = listed(values)
    if not items:
        raise error(expected, _shortly(values, items), fix)
    numbers = []
    for item in items:
        number = as_integer(item)
        if number is None or not 0 <= number < below:
            raise error(expected, reprlib.repr(item), fix)
        numbers.append(number)
    return numbers


def check_instance(
    expected: str, value: Any, kind: type[_T], fix: str | None = None, error: type[MnistvaeError] = SettingError
) -> _T:
    """``value``, which must be an instance of ``kind``.

    Raises:
        MnistvaeError: If it is anything else.
    """
    if isinstance(value, kind):
        return value
    raise error(expected, type_name(value), fix)


def check_mapping(
    expected: str, value: Any, fix: str | None = None, error: type[MnistvaeError] = SettingError
) -> Mapping[Any, Any]:
    """``value``, which must be a mapping.

    Raises:
        MnistvaeError: If it is anything else.
    """
    if isinstance(value, Mapping):
        return value
    raise error(expected, type_name(value), fix)


def listed(values: Any) -> list[Any] | None:
    """The items of a sequence, array or tensor; None for a text, a mapping, and what has no items."""
    if hasattr(values, "tolist"):  # an array or a tensor, whose items are not Python's
        values = values.tolist()
    if isinstance(values, str | bytes | Mapping):
        return None
    try:
        return list(values)
    except TypeError:
        return None


def check_switch(name: str, value: bool, fix: str | None = None) -> bool:
    """``value`` itself, if it is True or False.

    Raises:
        SettingError: If it is anything else.
    """
    if not isinstance(value, bool):
        raise SettingError(f"{name} as True or False", repr(value), fix)
    return value


def check_widths(name: str, widths: Sequence[int], least: int = 0) -> tuple[int, ...]:
    """``widths`` as a tuple of positive integers, at least so many of them.

    Raises:
        SettingError: If they are anything else.
    """
    items = listed(widths)
    numbers = [as_integer(item) for item in items or ()]
    if items is not None and len(items) >= least and all(number is not None and number > 0 for number in numbers):
        return tuple(number for number in numbers if number is not None)
    raise SettingError(
        f"{name} as {'one or more ' if least else ''}positive integers",
        repr(widths),
        f"one width is written ({widths},)" if isinstance(widths, int) else "for instance (64, 32)",
    )


def _shortly(values: Any, items: list[Any] | None) -> str:
    """The values that were given, in a few words."""
    if items is None:
        return reprlib.repr(values) if isinstance(values, str | int | float | None) else type_name(values)
    return f"{len(items)}: {reprlib.repr(items)}" if items else "none"


def as_integer(value: Any) -> int | None:
    """An integer of any library as an int; None for anything else, truth values among them."""
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except (TypeError, ValueError, RuntimeError):
        return None
