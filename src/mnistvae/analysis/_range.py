"""A range of numbers, from which a search chooses."""

from __future__ import annotations

from dataclasses import dataclass

from mnistvae._checks import check_number
from mnistvae.errors import SettingError

__all__ = ["Range"]


@dataclass(frozen=True)
class Range:
    """All numbers from ``low`` to ``high``: whole ones where both are, unless the recipe's own value is a fraction.

    Raises:
        SettingError: If they are no numbers, low is not below high, or a logarithmic range does not begin above 0.

    Example:
        >>> Range(1e-4, 1e-2, log=True)
        Range(low=0.0001, high=0.01, log=True)
    """

    low: float
    high: float
    #: Whether a factor counts, and not a difference, as for a learning rate.
    log: bool = False

    def __post_init__(self) -> None:
        for name, value in (("low", self.low), ("high", self.high)):
            number = check_number(f"{name} as a finite number", value, float("-inf"), above=True)
            object.__setattr__(self, name, value if isinstance(value, int) else number)  # whole numbers stay whole
        if not self.low < self.high:
            raise SettingError("a range from a lower to a higher number", f"{self.low} to {self.high}")
        if self.log and self.low <= 0:
            raise SettingError("a logarithmic range above 0", f"{self.low} to {self.high}", "leave `log` out")
