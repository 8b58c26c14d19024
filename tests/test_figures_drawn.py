"""Figures as they are drawn, beside pictures that people looked at: ``tests/baseline/``.

What is written in a figure is taken out before it is drawn, since fonts differ from version to version. A figure that
was changed on purpose gets a new picture by

    MNISTVAE_NEW_BASELINES=1 python -m pytest tests/test_figures_drawn.py

which is to be looked at before it is committed. On failure, the message says where the picture that was drawn and the
difference are.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.testing.compare import compare_images
from matplotlib.testing.exceptions import ImageComparisonFailure
from matplotlib.ticker import NullFormatter
from PIL import Image
from torch import Tensor

from mnistvae import analysis, load_dataset, plotting

BASELINE = Path(__file__).parent / "baseline"
NEW = os.environ.get("MNISTVAE_NEW_BASELINES", "") not in {"", "0"}
#: Roots of mean squared differences, of 255: of grids of images, and of maps of points. Between matplotlib 3.10 and
#: 3.11 they are up to 4.9 and 0.6, with images turned or rows exchanged 8.7 and more, with two colours swapped 5.4.
IMAGES, MARKS = 7.0, 2.0
#: Pixels an inch: few, so that the files are small; and how many times finer it is drawn before, since versions of
#: matplotlib differ by a pixel in where the edges of an image are.
DPI, FINER = 40, 12


def digits(n: int) -> Tensor:
    """(n, 1, 28, 28): no two alike, and none like its mirror image."""
    return load_dataset("mnist-mini", "test").images[:n].float() / 255


def blots(*centres: tuple[float, float], n: int = 60) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """n points around each centre, on a spiral of sunflower seeds: the same for every version of numpy."""
    turn, reach = np.arange(n) * np.pi * (3 - np.sqrt(5)), np.sqrt(np.arange(n) / n)
    spiral = np.stack([reach * np.cos(turn), reach * np.sin(turn)], 1)
    return np.concatenate([np.array(centre) + spiral for centre in centres])


def sample_grid() -> Figure:
    return plotting.sample_grid(digits(11), columns=4, title="samples")


def coloured_samples() -> Figure:
    colours = torch.tensor([[1.0, 0.2, 0.0], [0.0, 1.0, 0.2], [0.2, 0.0, 1.0]])
    return plotting.sample_grid(digits(3) * colours[:, :, None, None])


def reconstruction_grid() -> Figure:
    x = digits(6)
    blurred = torch.nn.functional.avg_pool2d(x, 5, stride=1, padding=2)
    return plotting.reconstruction_grid(x, {"blurred": blurred, "faint": x / 2})


def latent_grid() -> Figure:
    return plotting.latent_grid(digits(20), np.linspace(-2, 2, 5), np.linspace(3, -3, 4))


def traversals() -> Figure:
    return plotting.latent_traversals(digits(18).reshape(3, 6, 1, 28, 28), [-3, -2, -1, 1, 2, 3])


def interpolation() -> Figure:
    """Between images as if they were codes, straight and along an arc."""
    a, b = digits(2).flatten(1)
    rows = [analysis.interpolate_codes(a, b, 7, kind) for kind in ("straight", "spherical")]
    return plotting.sample_grid(torch.cat(rows).clamp(0, 1).reshape(-1, 1, 28, 28), columns=7)


def latent_map() -> Figure:
    return plotting.latent_map(blots((0, 0), (3, 1), (1, 4)), np.repeat([0, 3, 7], 60), names=("x", "y"), title="codes")


def cluster_map() -> Figure:
    points = blots((0, 0), (3, 1), (1, 4), (4, 4))
    members = np.repeat([0, 1, 2, -1], 60)
    return plotting.cluster_map(points, members, images=digits(3), outliers={200: "200", 239: "239"})


FIGURES: dict[Callable[[], Figure], float] = {
    sample_grid: IMAGES,
    coloured_samples: IMAGES,
    reconstruction_grid: IMAGES,
    latent_grid: IMAGES,
    traversals: IMAGES,
    interpolation: IMAGES,
    latent_map: MARKS,
    cluster_map: MARKS,
}


def wordless(figure: Figure) -> Figure:
    """The figure without anything that is written in it, and without what stands where writing leaves room."""
    for ax in figure.axes:
        ax.set(title="", xlabel="", ylabel="")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter(NullFormatter())
            axis.set_minor_formatter(NullFormatter())
        for text in list(ax.texts):
            text.remove()
        legend = ax.get_legend()
        if legend is not None:
            legend.remove()
    return figure


def drawn(figure: Figure, path: Path) -> None:
    """Write a figure, fine at first, then as the mean of small squares."""
    stream = io.BytesIO()
    figure.savefig(stream, dpi=DPI * FINER)
    width, height = figure.get_size_inches() * DPI
    with Image.open(stream) as picture:
        picture.convert("RGB").resize((round(width), round(height)), Image.Resampling.BOX).save(path, optimize=True)


def difference(name: str, figure: Figure, folder: Path, tolerance: float) -> str:
    """How a figure differs from its baseline, and where both can be seen; nothing if it does not."""
    actual = folder / f"{name}.png"
    drawn(figure, actual)
    expected = BASELINE / actual.name
    renew = "if that is as it should be: MNISTVAE_NEW_BASELINES=1 python -m pytest tests/test_figures_drawn.py"
    try:
        found = compare_images(str(expected), str(actual), tolerance, in_decorator=True)
    except ImageComparisonFailure as error:  # another size
        return f"{name} is not like {expected}: look at {actual} ({error}); {renew}"
    if found is None:
        return ""
    return (
        f"{name} is not like {expected}: look at {actual}, and at the difference, {found['diff']} "
        f"(RMS {found['rms']:.2f}, at most {tolerance}); {renew}"
    )


@pytest.mark.parametrize("draw", FIGURES, ids=lambda draw: draw.__name__)
def test_it_looks_as_it_did(draw: Callable[[], Figure], tmp_path: Path) -> None:
    figure = wordless(draw())
    if NEW:
        BASELINE.mkdir(exist_ok=True)
        drawn(figure, BASELINE / f"{draw.__name__}.png")
        pytest.skip("a new baseline was written")
    said = difference(draw.__name__, figure, tmp_path, FIGURES[draw])
    assert not said, said


def test_baselines_are_small_and_all_in_use() -> None:
    assert {path.name for path in BASELINE.iterdir()} == {f"{draw.__name__}.png" for draw in FIGURES}
    assert all(path.stat().st_size < 30_000 for path in BASELINE.iterdir())
