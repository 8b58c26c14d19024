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

__all__ = ["curves_height", "loss_curves"]

#: Titles of the panels of the terms that every loss has.
_TERMS = {"loss": "Loss", "reconstruction": "Reconstruction", "kl": "KL divergence"}
#: Columns of a history that are no terms of the loss.
_OTHERS = {"epoch", "learning_rate", "seconds", "images_per_second"}
_VALIDATION = "validation_"
#: Most panels in a row.
_ROW = 3
#: Inches of a panel's side.
_PANEL = 3.0


def loss_curves(history: Sequence[Mapping[str, float]], *, figure: FigureBase | None = None) -> Figure:
    """Draw loss, reconstruction, KL and further terms over the epochs, of training and, if there is one, of validation.

    Args:
        history: A :class:`~mnistvae.training.History`, or records with its columns.
        figure: Figure or subfigure to draw into (default: a new one).

    Raises:
        SettingError: If there are no epochs, or a record does not hold numbers.
    """
    records = listed(history)
    if not records:
        got = "none" if records == [] else type_name(history)
        raise SettingError("a history of at least one epoch", got, "train first")
    epochs = [_number(record, "epoch") for record in records]
    terms = _terms(records)
    fig = figure_or_new(figure, _PANEL * _ROW, curves_height(records))
    tag = getattr(history, "tag", "")
    rows = math.ceil(len(terms) / _ROW)
    grid = fig.subplots(rows, math.ceil(len(terms) / rows), squeeze=False)
    axes = grid.ravel()
    for ax in axes[len(terms) :]:
        ax.set_axis_off()
    for ax, name in zip(axes, terms, strict=False):
        for prefix, label, colour, style in (
            ("", "training", COLOURS[0], "o-"),
            (_VALIDATION, "validation", COLOURS[1], "s--"),
        ):
            values = [_number(record, prefix + name, float("nan")) for record in records]
            if not all(math.isnan(value) for value in values):
                ax.plot(epochs, values, style, color=colour, label=label, markersize=3.5, linewidth=1.5)
        ax.set_title(_TERMS.get(name, name.replace("_", " ")), fontsize=10)
        ax.set_xlabel("epoch")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        simplify(ax)
    for ax in grid[:, 0]:
        ax.set_ylabel(f"nats per image{f' ({tag})' if tag else ''}")
    axes[0].legend(frameon=False)
    return root_figure(fig)


def curves_height(records: Sequence[Any]) -> float:
    """Return the height in inches of the curves of some records."""
    return _PANEL * math.ceil(len(_terms(records)) / _ROW)


def _terms(records: Sequence[Any]) -> list[str]:
    """Return the names of the terms of the loss in some records: those that every loss has first, then its own."""
    mappings = [record for record in records if isinstance(record, Mapping)]
    names = {name.removeprefix(_VALIDATION): None for record in mappings for name in record}
    usual = [name for name in _TERMS if name in names or name == "loss"]
    return [*usual, *(name for name in names if name not in _TERMS and name not in _OTHERS)]


def _number(record: Any, name: str, default: float | None = None) -> float:
    """Return the number in a column of a record; NaN and infinity are numbers, too."""
    try:
        value = record.get(name, default)
        return float(value)
    except (AttributeError, TypeError, ValueError, RuntimeError):
        got = repr(value) if isinstance(record, Mapping) else type_name(record)
        raise SettingError(f"records with a number as {name!r}", got, "pass what Trainer.fit gave") from None
