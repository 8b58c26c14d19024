"""Figures of classifiers: confusion matrices, ROC curves, and bars by class."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnistvae._checks import check_mapping
from mnistvae.arrays import ArrayLike, as_numbers
from mnistvae.errors import DataError
from mnistvae.labels import Labels, match_classes
from mnistvae.plotting._figure import as_texts, has_title, new_axes, root_figure, set_title, simplify, text_width
from mnistvae.plotting._points import class_colour, class_legend, class_line, class_marker, class_text, shown_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, FigureBase

__all__ = ["class_bars", "confusion_matrix", "roc_curves"]

#: What is drawn on the bars of groups, which a printer may give the same grey.
_HATCHES = ("", "///", "...", "xxx")
#: Letters of a name in a matrix, which makes room for it.
_WHOLE = 40
#: Inches of a name that stands below its column; a longer one is turned.
_SHORT = 0.4
#: Area under the curve above which only its corner is drawn.
_CORNER = 0.95
#: Inches of a name that stands below its bars; a longer one is turned.
_BAR = 0.6


def confusion_matrix(
    confusion: ArrayLike,
    classes: Sequence[Any] | NDArray[Any],
    *,
    title: str | None = None,
    figure: FigureBase | None = None,
) -> Figure:
    """Draw numbers of images by true and predicted class, shaded by their share of the true class.

    Args:
        confusion: Counts (K, K), a row for each true class, a column for each predicted one.
        classes: Names of the K classes; long names are turned below the columns.
        title: Title above the figure.
        figure: Figure or subfigure to draw into (default: a new one).

    Raises:
        DataError: If the counts have another shape, or are below 0.
        SettingError: If there are no classes.
    """
    names = [shown_name(name, _WHOLE) for name in as_texts(classes, "classes")]
    counts = as_numbers(confusion, "a confusion matrix", (len(names), len(names)), fix="pass a class for each row")
    if counts.min() < 0:
        raise DataError("numbers of images of at least 0", f"{counts.min():g}", "pass counts or shares")
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    widest = max(map(text_width, names))
    beyond = 1.1 * widest if widest > _SHORT else 0.0  # a tenth more: the layout is not exact
    ax = new_axes(figure, 0.5 * len(names) + 1.2 + beyond, 0.46 * len(names) + 1.0 + beyond * math.sqrt(0.5))
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.argwhere(counts).tolist():
        colour = "white" if shares[row, column] > 0.5 else "black"
        count = float(counts[row, column])
        text = f"{count:.0f}" if count.is_integer() else f"{count:.3g}"
        ax.text(column, row, text, ha="center", va="center", fontsize=7.5, color=colour)
    # A turned name ends below its column; its neighbours are parallel to it, half an inch away.
    turned: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if beyond else {}
    ax.set_xticks(range(len(names)), names, **turned)
    ax.set_yticks(range(len(names)), names)
    ax.set(xlabel="predicted", ylabel="true")
    ax.tick_params(length=0)
    set_title(ax, title)
    return root_figure(ax)


def roc_curves(
    labels: Labels,
    probabilities: ArrayLike,
    classes: Sequence[int] | ArrayLike,
    *,
    class_names: Sequence[str] | None = None,
    title: str | None = None,
    figure: FigureBase | None = None,
) -> Figure:
    """Draw true against false positive rates for each class, and over all decisions (micro average), with their areas.

    Classes that no label has are left out. Where the micro average's area is above 0.95, only the corner is drawn in
    which the curves differ: rates up to 0.2 across, and from 0.8 up.

    Args:
        labels: True labels, (M,).
        probabilities: Probability of each class, (M, K).
        classes: Labels of the K columns.
        class_names: Names of the classes by their numbers (default: the numbers), as an ImageDataset has them.
        title: Title above the figure.
        figure: Figure or subfigure to draw into (default: a new one).

    Raises:
        DataError: If shapes do not fit, a value is NaN, there are fewer than two classes, or a label is none of them.
    """
    from sklearn.metrics import auc, roc_curve

    scores = as_numbers(probabilities, "probabilities", ("N", "K"), fix="a row for each label, a column a class")
    true, columns = match_classes(labels, classes, *scores.shape)
    ax = new_axes(figure, 5.6 + 1.2 * (len(columns) // 15), 4.2)
    hits = true[:, None] == columns
    for number, label in enumerate(columns):
        if hits[:, number].all() or not hits[:, number].any():
            continue
        x, y, _ = roc_curve(hits[:, number], scores[:, number])
        text = f"{class_text(label, class_names)}: {auc(x, y):.3f}"
        ax.plot(x, y, color=class_colour(number), linestyle=class_line(number), linewidth=1.4, label=text)
    x, y, _ = roc_curve(hits.ravel(), scores.ravel())
    ax.plot(x, y, color="black", linewidth=2.6, label=f"micro: {auc(x, y):.3f}")
    ax.plot([0, 1], [0, 1], color="0.7", linewidth=1, linestyle=":")
    simplify(ax)
    ax.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    if auc(x, y) > _CORNER:
        ax.set(xlim=(-0.004, 0.2), ylim=(0.8, 1.004))
        title = f"{f'{title}, ' if has_title(title) else ''}upper left corner"
    ax.set_aspect("equal")
    class_legend(ax, "class: area", len(columns) + 1, fontsize=9)
    set_title(ax, title)
    return root_figure(ax)


def class_bars(
    groups: Mapping[str, Mapping[int, float]],
    unit: str,
    *,
    class_names: Sequence[str] | None = None,
    errors: Mapping[str, Mapping[int, float]] | None = None,
    from_zero: bool = True,
    title: str | None = None,
    figure: FigureBase | None = None,
) -> Figure:
    """Draw a score of each class as bars; several groups (latent sizes compared, say) stand beside each other.

    Args:
        groups: Scores by class, for each group by its name; an infinite score (the PSNR of exact reconstructions) has
            no bar. Classes that are texts keep their order.
        unit: Unit of the scores, such as "MSE" or "PSNR, dB".
        class_names: Names of the classes by their numbers (default: the numbers), as an ImageDataset has them.
        errors: Standard errors of the scores, in the same form.
        from_zero: Whether the scores are lengths from zero; decibels are not, and are drawn as points.
        title: Title above the figure.
        figure: Figure or subfigure to draw into (default: a new one).

    Raises:
        DataError: If there are no groups or no classes, or a score is NaN.
    """
    fix = "such as {'MSE': {0: 0.1, 1: 0.2}}"
    named = check_mapping("figures by group and class", groups, fix, DataError)
    bars = {name: _by_class(str(name), group, fix) for name, group in named.items()}
    given = check_mapping("standard errors by group and class", errors or {}, fix, DataError)
    spreads = {name: _by_class(str(name), group, fix) for name, group in given.items()}
    try:
        classes = list(dict.fromkeys(label for group in bars.values() for label in group))
        classes = classes if all(isinstance(label, str) for label in classes) else sorted(classes)
    except TypeError:
        raise DataError("classes of one type", "classes that have no order", fix) from None
    if not classes:
        raise DataError("figures of at least one class", "none", "pass images with labels")
    ax = new_axes(figure, max(5.0, 0.75 * len(classes)), 3.2)
    for number, (name, group) in enumerate(bars.items()):
        spread = [spreads.get(name, {}).get(label, 0.0) for label in classes] if name in spreads else None
        style: dict[str, Any] = {"yerr": spread, "label": name, "color": class_colour(number)}
        if from_zero:
            hatch = _HATCHES[number % len(_HATCHES)]
            style |= {"capsize": 2, "error_kw": {"elinewidth": 1, "ecolor": "0.25"}, "hatch": hatch}
            style |= {"edgecolor": "white", "linewidth": 0}  # of the hatches
        else:
            style |= {"fmt": class_marker(number), "markersize": 5, "capsize": 3}
        _draw_group(ax, [group.get(label, np.nan) for label in classes], number, len(groups), style)
    simplify(ax)
    ax.grid(visible=False, axis="x")
    texts = [class_text(label, class_names) for label in classes]
    turned: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    ax.set_xticks(range(len(classes)), texts, **(turned if max(map(text_width, texts)) > _BAR else {}))
    ax.set(xlabel="class", ylabel=f"{unit}, with standard error" if spreads else unit)
    if len(groups) > 1:
        ax.legend(frameon=False, ncols=min(4, len(groups)), loc="lower center", bbox_to_anchor=(0.5, 1.0))
    elif title is None:
        title = next(iter(groups))
    set_title(ax, title, pad=28 if len(groups) > 1 else 6)
    return root_figure(ax)


def _draw_group(ax: Axes, heights: Sequence[float], number: int, groups: int, style: Mapping[str, Any]) -> None:
    """Draw the scores of one of several groups, one a class, as bars, or as points where there is a shape."""
    width = 0.8 / groups
    places = np.arange(len(heights)) + (number - (groups - 1) / 2) * width
    if "fmt" in style:
        ax.errorbar(places, heights, **style)
    else:
        ax.bar(places, heights, width, **style)


def _by_class(name: str, group: Any, fix: str) -> dict[int, float]:
    """Return the scores of a group, with NaN for those that are infinite."""
    scores = check_mapping(f"figures by class under {name!r}", group, fix, DataError)
    try:
        found = {label: float(value) for label, value in scores.items()}
    except (TypeError, ValueError, RuntimeError):
        raise DataError(f"a number for each class under {name!r}", reprlib.repr(dict(scores)), fix) from None
    missing = [label for label, value in found.items() if math.isnan(value)]
    if missing:
        raise DataError(f"numbers under {name!r}", f"NaN for class {missing[0]}", "leave the class out")
    return {label: value if math.isfinite(value) else math.nan for label, value in found.items()}
