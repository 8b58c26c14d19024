"""The door to scikit-learn's warnings: what a user should know becomes one line of ours, the rest stays inside."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["heeded"]

#: Words of the warning that classes are many for so few rows: ours are known to be classes.
_MANY_CLASSES = "number of unique classes"


@contextmanager
def heeded(unfinished: str = "") -> Iterator[None]:
    """A block of scikit-learn's work whose warnings are heeded here.

    That a method did not converge becomes one warning of the words given, which say what to do. That something will
    change in scikit-learn, or that there are many classes, is about our calls of it and is dropped; other warnings go
    on as they are.

    Args:
        unfinished: Words for a method that did not converge; "" where that does no harm.

    Warns:
        UserWarning: If a method did not converge, and there are words for it.
    """
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    said = False
    for warning in caught:
        if issubclass(warning.category, ConvergenceWarning):
            said = True
        elif not issubclass(warning.category, FutureWarning) and _MANY_CLASSES not in str(warning.message):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    if said and unfinished:
        warnings.warn(unfinished, stacklevel=4)  # past this block, contextlib and the function that has the block
