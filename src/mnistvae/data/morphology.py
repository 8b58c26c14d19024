"""Strokes of digits: their thickness, slant, width, height, area and length, by the definitions of Morpho-MNIST."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mnistvae.arrays import ArrayLike
from mnistvae.data.dataset import ImageDataset
from mnistvae.data.factors import Factors
from mnistvae.errors import DataError
from mnistvae.images import as_pixels

__all__ = ["measure_factors"]

_NAMES = ("area", "length", "thickness", "slant", "width", "height")
#: Factor by which images are enlarged before they are measured.
_SCALE = 4
#: Share of the grey levels' mass that lies beyond each side of the parallelogram.
_TAIL = 0.01
#: Bytes of the enlarged pixels that are held at once.
_TILE = 2**22


def measure_factors(images: ArrayLike | ImageDataset) -> Factors:
    r"""Measure the strokes of digits: area, length, thickness, slant, width and height of each image.

    After Morpho-MNIST (Castro et al. 2019, section 2.2). An image is enlarged four times by cubic splines and smoothed,
    and is black and white from halfway between its darkest and its brightest pixel on.

    - ``area``: pixels of the foreground.
    - ``length``: length of its skeleton, in steps of 1 and :math:`\sqrt{2}` from pixel to pixel.
    - ``thickness``: mean over the skeleton of twice the distance to the ground.
    - ``slant``: angle of the strokes to the vertical by the second moments of the grey levels, in radians, positive
      where they lean to the right, for rows i and columns j about the centroid:

      .. math:: \alpha = \arctan \left( - \frac{\sum_{ij} x_{ij} (i - \bar i)(j - \bar j)}
          {\sum_{ij} x_{ij} (i - \bar i)^2} \right)
    - ``width``, ``height``: sides of the parallelogram with that slant which leaves out 1 % of the grey levels' mass on
      each of its four sides.

    All but the slant are in pixels of the images as they came. The skeleton is that of thinning (Zhang and Suen 1984)
    and not the medial axis of the authors' own program, which takes many times as long and has spurs in corners: of
    MNIST's digits lengths are 6 % shorter than by that, and thicknesses the same within 1 %, in the mean. A stretch of
    a skeleton that is neither straight nor diagonal is up to 8 % too long, and a thin bar up to two pixels too wide,
    as splines ring. What lies beyond an image's edge counts as ground.

    Args:
        images: Grey images (N, 1, H, W) or (N, H, W), bright on dark, float in [0, 1] or uint8; or a data set.

    Returns:
        The six factors. An image of one grey level is measured as all foreground, and a black one has NaN.

    Raises:
        DataError: If they are no such images, or a value is outside [0, 1].

    Warns:
        UserWarning: If an image is black.

    Example:
        >>> bar = torch.zeros(1, 28, 28)
        >>> bar[:, 4:24, 12:16] = 1  # 20 pixels high and 4 wide
        >>> measured = measure_factors(bar)
        >>> [(name, round(measured[name].item(), 1)) for name in ("area", "thickness", "height")]
        [('area', 79.8), ('thickness', 4.0), ('height', 20.0)]
    """
    pixels = as_pixels(images.images if isinstance(images, ImageDataset) else images)
    if pixels.shape[1] != 1:
        raise DataError("grey images, of one channel", f"{pixels.shape[1]} channels", "take their mean: x.mean(1)")
    grey = torch.from_numpy(pixels[:, 0])
    black = (grey == 0).flatten(1).all(1)
    if bool(black.any()):
        number, first = int(black.sum()), int(black.nonzero()[0])
        which = f"image {first} is black" if number == 1 else f"{number} images, from number {first} on, are black"
        warnings.warn(f"{which}, without strokes to measure", stacklevel=2)
    height, width = grey.shape[1:]
    few = max(1, _TILE // (8 * _SCALE**2 * height * width))
    rows, columns = _Enlargement(height), _Enlargement(width)
    found = torch.full((len(grey), len(_NAMES)), math.nan, dtype=torch.float64, device="cpu")
    with_strokes = (~black).nonzero()[:, 0]
    for some in torch.split(with_strokes, few) if len(with_strokes) else ():  # of none, torch's split is one empty part
        found[some] = _measure(grey[some].double(), rows, columns)
    return Factors(dict(zip(_NAMES, found.T, strict=True)))


class _Enlargement:
    """Cubic splines through n points, and a smoothing, as matrices: scikit-image's ``pyramid_expand`` along an axis."""

    def __init__(self, n: int) -> None:
        from scipy import ndimage

        points = np.eye(n)
        splines = ndimage.zoom(points, (_SCALE, 1), order=3, mode="mirror", grid_mode=True)
        smoothing = ndimage.gaussian_filter1d(np.eye(n * _SCALE), 2 * _SCALE / 6, axis=0, mode="reflect")
        self.splines, self.smoothing = torch.from_numpy(splines), torch.from_numpy(smoothing)


def _measure(grey: Tensor, rows: _Enlargement, columns: _Enlargement) -> Tensor:
    """The six factors of images (N, H, W): (N, 6)."""
    low, high = (extreme[:, None, None] for extreme in torch.aminmax(grey.flatten(1), dim=1))
    large = rows.splines @ grey @ columns.splines.T
    large = rows.smoothing @ large.clamp(low, high) @ columns.smoothing.T
    least, most = (extreme[:, None, None] for extreme in torch.aminmax(large.flatten(1), dim=1))
    halfway = (least + most) / 2 - 1e-9 * most  # an image of one grey level is one but for rounding
    strokes = torch.tensor([_strokes(each) for each in (large >= halfway).numpy()], dtype=torch.float64, device="cpu")
    return torch.cat([strokes / torch.tensor([_SCALE**2, _SCALE, _SCALE], device="cpu"), _shape(large)], 1)


def _strokes(foreground: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Area, length and thickness of a foreground (H, W), in its own pixels."""
    from scipy import ndimage
    from skimage import morphology

    thinned: Callable[..., NDArray[np.bool_]] = morphology.skeletonize
    (inner,) = ndimage.find_objects(foreground.astype(np.uint8))
    whole = np.pad(foreground[inner], 1)
    skeleton = thinned(whole)
    distances = ndimage.distance_transform_edt(whole)
    return float(whole.sum()), _length(skeleton), float(2 * distances[skeleton].mean())


def _length(skeleton: NDArray[np.bool_]) -> float:
    """Sum of the steps between neighbouring pixels of a skeleton; no step is diagonal where two straight ones lead."""
    straight = (skeleton[1:] & skeleton[:-1]).sum() + (skeleton[:, 1:] & skeleton[:, :-1]).sum()
    a, b, c, d = skeleton[:-1, :-1], skeleton[:-1, 1:], skeleton[1:, :-1], skeleton[1:, 1:]
    diagonal = (a & d & ~(b | c)).sum() + (b & c & ~(a | d)).sum()
    return float(straight + math.sqrt(2) * diagonal)


def _shape(large: Tensor) -> Tensor:
    """Slant, width and height of enlarged images (N, H, W), the latter two in pixels of the small ones: (N, 3)."""
    n, height, width = large.shape
    mass = large / large.sum((1, 2), keepdim=True).clamp(min=1e-300)
    y, x = torch.arange(height, device="cpu").double(), torch.arange(width, device="cpu").double()
    by_row, by_column = mass.sum(2), mass.sum(1)
    down, across = y - (by_row @ y)[:, None], x - (by_column @ x)[:, None]
    shear = torch.einsum("ni,nij,nj->n", down, mass, across) / (by_row * down**2).sum(1)
    # Once the shear is taken off, pixels go to whole places along their row, counted from the leftmost one.
    places = (x + 0.5 - (shear[:, None] * down)[..., None]).floor_()
    places = places.sub_(places.amin((1, 2), keepdim=True)).long().flatten(1)
    by_place = mass.new_zeros(n, int(places.max()) + 1).scatter_add_(1, places, mass.flatten(1))
    return torch.stack([(-shear).arctan(), *(_between_tails(each) / _SCALE for each in (by_place, by_row))], 1)


def _between_tails(mass: Tensor) -> Tensor:
    """Distance between the two places, with as much mass beyond each, of masses (N, M) along a line: (N,)."""
    cumulative = mass.cumsum(1)
    ends = []
    for share in (_TAIL, 1 - _TAIL):
        place = (cumulative < share).sum(1, keepdim=True).clamp(max=mass.shape[1] - 1)
        own = mass.gather(1, place)
        part = (share - (cumulative.gather(1, place) - own)) / own.clamp(min=1e-300)
        ends.append(place[:, 0] + part[:, 0])
    return ends[1] - ends[0]
