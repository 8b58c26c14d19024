"""Curves over the epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.ticker import MaxNLocator

from mnistvae._checks import listed
from mnistvae.errors import SettingError, type_name
from mnistvae.plotting._figure import COLOURS, figure_or_new, whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure, FigureBase

__all__ = ["loss_curves"]

_PANELS = (("loss", "Loss"), ("reconstruction", "Reconstruction"), ("kl", "KL divergence"))


def loss_curves(history: Sequence[Mapping[str, float]], *, figure: FigureBase | None = None) -> Figure:
    """Loss, reconstruction and KL over the epochs, of training and, where there is one, of validation.

    Args:
        history: a :class:`~mnistvae.training.History`, or records with its columns.
        figure: a figure or subfigure to draw into (default: a new one).

    Returns:
        The whole figure.

    Raises:
        SettingError: no epochs, or records without numbers.
    """
    records = listed(history)
    if not records:
        got = "none" if records == [] else type_name(history)
        raise SettingError("a history of at least one epoch", got, "train first")
    epochs = [_number(record, "epoch") for record in records]
    fig = figure_or_new(figure, 9.0, 3.0)
    tag = getattr(history, "tag", "")
    axes = fig.subplots(1, len(_PANELS))
    for ax, (name, title) in zip(axes, _PANELS, strict=True):
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
        ax.grid(alpha=0.25)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel(f"nats per image{f' ({tag})' if tag else ''}")
    axes[0].legend(frameon=False)
    return whole(fig)


def _number(record: Any, name: str, default: float | None = None) -> float:
    """What a record has in a column; NaN and infinity, too."""
    try:
        value = record.get(name, default)
        return float(value)
    except (AttributeError, TypeError, ValueError, RuntimeError):
        got = repr(value) if isinstance(record, Mapping) else type_name(record)
        raise SettingError(f"records with a number as {name!r}", got, "pass what Trainer.fit gave") from None
