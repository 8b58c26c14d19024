"""Curves over the epochs of a training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.ticker import MaxNLocator

from mnistvae._checks import listed
from mnistvae.errors import SettingError, type_name
from mnistvae.plotting._figure import COLOURS, figure_or_new, root_figure, simplify

if TYPE_CHECKING:
    from matplotlib.figure import Figure, FigureBase

__all__ = ["loss_curves"]

_PANELS = (("loss", "Loss"), ("reconstruction", "Reconstruction"), ("kl", "KL divergence"))
#: Columns that are no curves.
_OTHERS = {"epoch", "seconds", "images_per_second"}


def loss_curves(history: Sequence[Mapping[str, float]], *, figure: FigureBase | None = None) -> Figure:
    """Draw loss, reconstruction and KL over the epochs, of training and, where there is one, of validation.

    Further numbers of the records, such as an objective's extra terms, get panels of their own.

    Args:
        history: A :class:`~mnistvae.training.History`, or records with its columns.
        figure: Figure or subfigure to draw into (default: a new one).

    Returns:
        The whole figure.

    Raises:
        SettingError: If there are no epochs, or a record does not hold numbers.
    """
    records = listed(history)
    if not records:
        got = "none" if records == [] else type_name(history)
        raise SettingError("a history of at least one epoch", got, "train first")
    epochs = [_number(record, "epoch") for record in records]
    panels = [*_PANELS, *((name, name.replace("_", " ").capitalize()) for name in _further(records))]
    fig = figure_or_new(figure, 3.0 * len(panels), 3.0)
    tag = getattr(history, "tag", "")
    axes = fig.subplots(1, len(panels))
    for ax, (name, title) in zip(axes, panels, strict=True):
        for prefix, label, colour, style in (
            ("", "training", COLOURS[0], "o-"),
            ("validation_", "validation", COLOURS[1], "s--"),
        ):
            values = [_number(record, prefix + name, float("nan")) for record in records]
            if not all(math.isnan(value) for value in values):
                ax.plot(epochs, values, style, color=colour, label=label, markersize=3.5, linewidth=1.5)
        ax.set_title(title, fontsize=10)
        ax.set_xlabel("epoch")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        simplify(ax)
    axes[0].set_ylabel(f"nats per image{f' ({tag})' if tag else ''}")
    axes[0].legend(frameon=False)
    return root_figure(fig)


def _further(records: Sequence[Mapping[str, float]]) -> list[str]:
    """Names of further columns of numbers, in order."""
    known = {name for name, _ in _PANELS} | _OTHERS
    numbers = (name for record in records for name, value in record.items() if isinstance(value, int | float))
    return [name for name in dict.fromkeys(numbers) if name not in known and not name.startswith("validation_")]


def _number(record: Any, name: str, default: float | None = None) -> float:
    """Return the number in a column of a record; NaN and infinity are numbers, too."""
    try:
        value = record.get(name, default)
        return float(value)
    except (AttributeError, TypeError, ValueError, RuntimeError):
        got = repr(value) if isinstance(record, Mapping) else type_name(record)
        raise SettingError(f"records with a number as {name!r}", got, "pass what Trainer.fit gave") from None
