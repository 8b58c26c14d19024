"""Curves over the epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from matplotlib.ticker import MaxNLocator

from mnistvae.errors import SettingError
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
        SettingError: no epochs.
    """
    if len(history) == 0:
        raise SettingError("a history of at least one epoch", "none", "train first")
    fig = figure_or_new(figure, 9.0, 3.0)
    epochs = [record["epoch"] for record in history]
    tag = getattr(history, "tag", "")
    axes = fig.subplots(1, len(_PANELS))
    for ax, (name, title) in zip(axes, _PANELS, strict=True):
        for prefix, label, colour, style in (
            ("", "training", COLOURS[0], "o-"),
            ("validation_", "validation", COLOURS[1], "s--"),
        ):
            values = [record.get(prefix + name, float("nan")) for record in history]
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
