"""The description of a metric: its name, what it needs of a model and a data set, and the function that computes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

from mnistvae._checks import check_choice, check_instance, listed
from mnistvae.errors import SettingError, type_name
from mnistvae.metrics.record import ARROWS, Direction
from mnistvae.view import View

__all__ = ["NEED_NAMES", "Estimate", "Metric", "Per"]

#: Number of values that a metric has: one, one an image, one an image from its reconstruction, one a latent dimension.
Per: TypeAlias = Literal["data", "image", "reconstruction", "dimension"]


#: Names of what a metric may need; :data:`mnistvae.metrics.NEEDS` says what each means.
NEED_NAMES = (
    "two images",
    "7 x 7 pixels",
    "labels",
    "two classes",
    "codes not told the label",
    "training labels",
    "one prior",
    "joined posterior",
    "codes that move",
    "codes of a normal's scale",
    "KL by dimension",
    "importance samples",
    "reconstructions",
    "samples",
    "digits",
    "inception",
    "a label to ask for",
    "readable classes",
    "factors",
    "a mixture prior",
)


class Estimate(NamedTuple):
    """A value with its standard error."""

    value: float
    #: Standard deviation of the value over draws and images; None where it is not known.
    standard_error: float | None


@dataclass(frozen=True)
class Metric:
    """A metric, for :func:`mnistvae.metrics.evaluate`: one of the package's, or one of your own.

    Args:
        name: Name of the score, in the table and in files.
        unit: Unit of the values, such as "nats".
        better: "lower", "higher", or "" where neither is better.
        needs: Names of :data:`mnistvae.metrics.NEEDS`: where a model or a data set does not meet one, the metric is
            left out, with the reason.
        compute: The function. It is given the :class:`~mnistvae.View`; with ``per="reconstruction"`` it is given images
            and their reconstructions, a batch at a time, both (B, C, H, W) in [0, 1] on the CPU.
        per: Values that ``compute`` returns. "data": one number, or an :class:`Estimate`. "image": (N,), of which the
            score is the mean, with a standard error and a mean for each class. "reconstruction": the same, (B,) for
            each batch. "dimension": (latent_dim,), which are listed and not in the table.
        protocol: How it is made, in one line; text, or a function of the view.
        tagged: Whether values are nats under the model's density, so that only those of one tag are comparable.

    Raises:
        SettingError: If a part is of another kind, or nobody knows a need.

    Example:
        >>> def shift(x, reconstruction):
        ...     return (reconstruction - x).flatten(1).mean(1)
        >>> metric = mv.metrics.Metric("shift", compute=shift, per="reconstruction", protocol="mean difference")
        >>> digits = mv.load_dataset("mnist-mini", "test")[:200]
        >>> mv.metrics.evaluate(mv.VAE(latent_dim=2), digits, include=[], metrics=[metric]).names()
        ['shift']
    """

    name: str
    unit: str = ""
    better: Direction = ""
    needs: Sequence[str] = ()
    _: KW_ONLY
    compute: Callable[..., Any]
    per: Per = "data"
    protocol: str | Callable[[View], str] = ""
    tagged: bool = False

    def __post_init__(self) -> None:
        for what in ("name", "unit"):
            text = check_instance(f"{what} of a metric as a text", getattr(self, what), str)
            object.__setattr__(self, what, text)
        if not self.name.strip():
            raise SettingError("a metric with a name", repr(self.name))
        for what, choices in (("better", tuple(ARROWS)), ("per", get_args(Per))):
            word = check_choice(f"{what}, of the metric {self.name!r},", getattr(self, what), choices)
            object.__setattr__(self, what, word)
        if not callable(self.compute):
            raise SettingError(f"compute, of the metric {self.name!r}, as a function", type_name(self.compute))
        if not isinstance(self.protocol, str) and not callable(self.protocol):
            raise SettingError(f"protocol, of the metric {self.name!r}, as a text", type_name(self.protocol))
        needs = listed(self.needs)
        if needs is None:
            raise SettingError(f"needs, of the metric {self.name!r}, as a list", repr(self.needs), "such as ['labels']")
        needs = [check_choice(f"needs, of the metric {self.name!r},", need, NEED_NAMES) for need in needs]
        object.__setattr__(self, "needs", tuple(needs))  # which makes it hashable

    @property
    def label(self) -> str:
        """Name under which it is left out: that of a score and that of values by dimension may be the same."""
        return f"{self.name} by dimension" if self.per == "dimension" else self.name
