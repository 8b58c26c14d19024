"""How well a classifier tells the classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnistvae.errors import DataError
from mnistvae.images import Labels, as_labels
from mnistvae.plotting._figure import CLASS_COLOURS, figure_or_new, plain, whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure, FigureBase

__all__ = ["class_bars", "confusion_matrix", "roc_curves"]


def confusion_matrix(
    confusion: NDArray[Any],
    classes: Sequence[Any] | NDArray[Any],
    *,
    title: str | None = None,
    figure: FigureBase | None = None,
) -> Figure:
    """Numbers of images by true and predicted class; the shade is the share of the true class.

    Args:
        confusion: (K, K): a row for each true class, a column for each predicted one.
        classes: what the rows and columns are called.
        title: above the figure.
        figure: a figure or subfigure to draw into (default: a new one).

    Returns:
        The whole figure.

    Raises:
        DataError: another shape.
    """
    counts = np.asarray(confusion)
    if counts.ndim != 2 or counts.shape != (len(classes), len(classes)):
        raise DataError(f"a matrix of {len(classes)} x {len(classes)}", f"shape {counts.shape}")
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    fig = figure_or_new(figure, 0.5 * len(classes) + 1.2, 0.46 * len(classes) + 1.0)
    ax = fig.subplots()
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*counts.shape):
        if counts[row, column]:
            colour = "white" if shares[row, column] > 0.5 else "black"
            ax.text(column, row, f"{counts[row, column]}", ha="center", va="center", fontsize=7.5, color=colour)
    ax.set_xticks(range(len(classes)), [str(one) for one in classes])
    ax.set_yticks(range(len(classes)), [str(one) for one in classes])
    ax.set(xlabel="predicted", ylabel="true")
    ax.tick_params(length=0)
    if title:
        ax.set_title(title, fontsize=10)
    return whole(fig)


def roc_curves(
    labels: Labels,
    probabilities: NDArray[Any],
    classes: Sequence[int] | NDArray[Any],
    *,
    title: str | None = None,
    figure: FigureBase | None = None,
) -> Figure:
    """True against false positive rate for each class, and over all decisions (micro average), with their areas.

    Args:
        labels: (M,).
        probabilities: of each class, (M, K).
        classes: labels of the columns, (K,).
        title: above the figure.
        figure: a figure or subfigure to draw into (default: a new one).

    Returns:
        The whole figure. Classes that no label has are left out.

    Raises:
        DataError: another shape.
    """
    from sklearn.metrics import auc, roc_curve

    scores = np.asarray(probabilities, dtype=np.float64)
    true = as_labels(labels, len(scores)).cpu().numpy()
    if scores.shape != (len(true), len(classes)):
        raise DataError(f"probabilities of {len(classes)} classes", f"shape {scores.shape}")
    fig = figure_or_new(figure, 5.6 + 1.2 * (len(classes) // 15), 4.2)
    ax = fig.subplots()
    hits = true[:, None] == np.asarray(classes)[None]
    for number, label in enumerate(classes):
        if hits[:, number].all() or not hits[:, number].any():
            continue
        x, y, _ = roc_curve(hits[:, number], scores[:, number])
        colour = CLASS_COLOURS[number % len(CLASS_COLOURS)]
        ax.plot(x, y, color=colour, linewidth=1.4, label=f"{label}: {auc(x, y):.3f}")
    x, y, _ = roc_curve(hits.ravel(), scores.ravel())
    ax.plot(x, y, color="black", linewidth=1.8, linestyle="--", label=f"micro: {auc(x, y):.3f}")
    ax.plot([0, 1], [0, 1], color="0.7", linewidth=1, linestyle=":")
    plain(ax)
    ax.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    ax.set_aspect("equal")
    ax.legend(
        title="class: area",
        frameon=False,
        loc="center left",
        bbox_to_anchor=(1, 0.5),
        fontsize=9,
        ncols=1 + len(classes) // 15,
    )
    if title:
        ax.set_title(title, fontsize=10)
    return whole(fig)


def class_bars(
    groups: Mapping[str, Mapping[int, float]], unit: str, *, title: str | None = None, figure: FigureBase | None = None
) -> Figure:
    """A figure by class, grouped: a bar for each group beside the others (latent sizes compared, say).

    Args:
        groups: by its name, what each class has.
        unit: of the figure, such as "MSE" or "PSNR, dB".
        title: above the figure.
        figure: a figure or subfigure to draw into (default: a new one).

    Returns:
        The whole figure.

    Raises:
        DataError: no groups, or no classes.
    """
    classes = sorted({label for group in groups.values() for label in group})
    if not classes:
        raise DataError("figures of at least one class", "none", "pass images with labels")
    fig = figure_or_new(figure, max(5.0, 0.75 * len(classes)), 3.2)
    ax = fig.subplots()
    width = 0.8 / len(groups)
    for number, (name, group) in enumerate(groups.items()):
        places = np.arange(len(classes)) + (number - (len(groups) - 1) / 2) * width
        heights = [group.get(label, np.nan) for label in classes]
        ax.bar(places, heights, width, color=CLASS_COLOURS[number % len(CLASS_COLOURS)], label=name)
    plain(ax)
    ax.grid(visible=False, axis="x")
    ax.set_xticks(range(len(classes)), [str(label) for label in classes])
    ax.set(xlabel="class", ylabel=unit)
    if len(groups) > 1:
        ax.legend(frameon=False, ncols=min(4, len(groups)), loc="lower center", bbox_to_anchor=(0.5, 1.0))
    elif title is None:
        title = next(iter(groups))
    if title:
        ax.set_title(title, fontsize=10, pad=28 if len(groups) > 1 else 6)
    return whole(fig)
