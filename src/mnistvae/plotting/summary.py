"""Training, codes, reconstructions and classifier of a model in one figure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnistvae._checks import listed
from mnistvae.arrays import ArrayLike
from mnistvae.labels import Labels
from mnistvae.plotting._figure import figure_or_new, root_figure
from mnistvae.plotting._points import class_text
from mnistvae.plotting.classification import confusion_matrix, roc_curves
from mnistvae.plotting.curves import curves_height, loss_curves
from mnistvae.plotting.grids import reconstruction_grid
from mnistvae.plotting.latent import latent_map

if TYPE_CHECKING:
    from matplotlib.figure import Figure, FigureBase

__all__ = ["summary_figure"]

#: Inches of a row of panels below the curves.
_PANEL = 4.2


def summary_figure(
    originals: ArrayLike,
    reconstructions: ArrayLike,
    *,
    history: Sequence[Mapping[str, float]] | None = None,
    points: ArrayLike | None = None,
    point_labels: Labels | None = None,
    names: Sequence[str] = ("dimension 1", "dimension 2"),
    confusion: NDArray[Any] | None = None,
    classes: Sequence[Any] | NDArray[Any] = (),
    labels: Labels | None = None,
    probabilities: NDArray[Any] | None = None,
    class_names: Sequence[str] | None = None,
    figure: FigureBase | None = None,
) -> Figure:
    """Draw losses, codes, reconstructions and a classifier of the codes; a part that is not given takes no place.

    Args:
        originals: Images (N, C, H, W).
        reconstructions: Images (N, C, H, W).
        history: History of the training, see :func:`loss_curves`.
        points: Codes in the plane, see :func:`latent_map`.
        point_labels: Classes of the points.
        names: Names of the plane's axes.
        confusion: Counts of the classifier, see :func:`confusion_matrix`.
        classes: Classes of the rows of ``confusion``, and of the columns of ``probabilities``.
        labels: True labels, see :func:`roc_curves`.
        probabilities: Probabilities that the classifier gave.
        class_names: Names of the classes by their numbers (default: the numbers), as an ImageDataset has them.
        figure: Figure or subfigure to draw into (default: a new one).

    Raises:
        DataError: If one of the parts cannot be drawn.
    """
    panels: list[Callable[[FigureBase], Figure]] = []
    if points is not None:
        panels.append(
            lambda part: latent_map(
                points, point_labels, class_names=class_names, names=names, title="codes", figure=part
            )
        )
    panels.append(lambda part: reconstruction_grid(originals, reconstructions, figure=part))
    if confusion is not None:
        title = "random forest on the codes"
        texts = [class_text(label, class_names) for label in classes]
        panels.append(lambda part: confusion_matrix(confusion, texts, title=title, figure=part))
    if probabilities is not None and labels is not None:
        more: dict[str, Any] = {"class_names": class_names, "title": "ROC curves"}
        panels.append(lambda part: roc_curves(labels, probabilities, classes, figure=part, **more))
    rows: list[list[Callable[[FigureBase], Figure]]] = [panels[n : n + 2] for n in range(0, len(panels), 2)]
    heights = [_PANEL] * len(rows)
    if history is not None and (records := listed(history)) != []:
        rows.insert(0, [lambda part: loss_curves(history, figure=part)])
        heights.insert(0, curves_height(records or ()))
    fig = figure_or_new(figure, 15.0, sum(heights))
    bands = fig.subfigures(len(rows), 1, height_ratios=heights, squeeze=False)
    for band, row in zip(np.asarray(bands)[:, 0], rows, strict=True):
        for part, draw in zip(band.subfigures(1, len(row), squeeze=False)[0], row, strict=True):
            draw(part)
    return root_figure(fig)
