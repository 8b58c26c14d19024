"""Images along lines and over planes of the latent space.

A model whose codes are on the unit sphere decodes each point at the place of the sphere that is nearest to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mnistvae._checks import check_choice, check_count, check_indices, check_numbers
from mnistvae._modes import evaluating
from mnistvae._passes import check_model
from mnistvae.arrays import ArrayLike, as_real, bad_rows, check_finite, double_on
from mnistvae.errors import DataError, SettingError
from mnistvae.labels import Labels, as_labels
from mnistvae.metrics.latent import as_codes
from mnistvae.models import AT_ONCE, VAE

__all__ = ["Path", "Plane", "decode_codes", "interpolate_codes", "latent_plane", "traverse"]

Path: TypeAlias = Literal["straight", "spherical"]


@dataclass(frozen=True)
class Plane:
    """Images decoded over a grid of a plane of the latent space."""

    #: (rows * columns, C, H, W) in [0, 1], row by row, the top row first.
    images: Tensor
    #: Coordinates of the columns, from left to right, (columns,).
    x: NDArray[np.float64]
    #: Coordinates of the rows, from top to bottom, (rows,).
    y: NDArray[np.float64]
    #: Names of the axes.
    names: tuple[str, str]


@torch.no_grad()
def decode_codes(model: VAE, codes: ArrayLike, labels: Labels | None = None, *, batch_size: int = AT_ONCE) -> Tensor:
    """Decode codes to images: means of p(x | z), (N, C, H, W) in [0, 1], on the CPU.

    Args:
        model: The model.
        codes: Codes (N, latent_dim).
        labels: Labels of the images, for a conditional model.
        batch_size: Images that are computed at once.

    Raises:
        DataError: If codes do not fit the model, are not finite, or so large that the model cannot decode them.

    Example:
        >>> decode_codes(mv.VAE(latent_dim=2), torch.tensor([[0.5, -1.0]])).shape  # the digit at (0.5, -1)
        torch.Size([1, 1, 28, 28])
    """
    exact = as_codes(codes)
    rows = exact.to(check_model(model).device, model.dtype)
    if labels is None and model.num_classes is not None:
        wanted = f"labels for a model conditioned on {model.num_classes} classes"
        raise DataError(wanted, "none", "say which class the images are to be of")
    most = torch.finfo(model.dtype).max
    _check_rows(rows, exact, f"codes of at most {most:.2g}, the largest number in {model.dtype}")
    size = check_count("batch_size as an integer of at least 1", batch_size)
    classes = None if labels is None else as_labels(labels, len(rows), model.num_classes)
    images = torch.empty(len(rows), *model.image_shape, dtype=model.dtype, device="cpu")
    with evaluating(model):
        for start in range(0, len(rows), size):
            now = slice(start, start + size)
            images[now] = model.decode(rows[now], None if classes is None else classes[now]).mean.clamp(0, 1)
    _check_rows(images, exact, "codes that the model can decode")
    return images


def latent_plane(
    model: VAE,
    n: int = 15,
    box: tuple[float, float, float, float] = (-2.0, 2.0, -2.0, 2.0),
    *,
    by: Literal["value", "quantile"] = "value",
    axes: tuple[int, int] | Literal["principal"] = (0, 1),
    codes: ArrayLike | None = None,
    label: int | None = None,
) -> Plane:
    """Decode n x n points of a plane of the latent space.

    Args:
        model: The model, of at least two latent dimensions.
        n: Number of points on a side.
        box: Left, right, bottom and top: coordinates, or standard deviations along principal axes; with
            ``by="quantile"`` shares between 0 and 1, such as (0.05, 0.95, 0.05, 0.95).
        by: Points at equal distances ("value"), or at equal shares of a standard normal ("quantile"; Kingma and
            Welling, 2014, figure 4).
        axes: Two latent dimensions, or the first two principal axes of ``codes``, about their mean.
        codes: Codes (N, latent_dim) at whose mean the other dimensions are held (default: at 0).
        label: Label of the images, for a conditional model.

    Raises:
        SettingError: If box, axes and model do not make a plane.
        DataError: If codes do not fit the model.
    """
    n = check_count("n as an integer of at least 1", n)
    by = check_choice("by", by, ("value", "quantile"))
    if check_model(model).latent_dim < 2:
        raise SettingError("a model of at least two latent dimensions", "one of 1", "traverse(model, ...) draws a line")
    fix = "such as (-2, 2, -2, 2)" if by == "value" else "quantiles are between 0 and 1: (0.05, 0.95, 0.05, 0.95)"
    left, right, bottom, top = check_numbers("a box (left, right, bottom, top) of four numbers", box, 4, fix)
    inside = by == "value" or (0 < left < 1 and 0 < right < 1 and 0 < bottom < 1 and 0 < top < 1)
    if not (left < right and bottom < top and inside):
        raise SettingError("a box (left, right, bottom, top), each side of some length", repr(box), fix)
    x, y = np.linspace(left, right, n), np.linspace(top, bottom, n)
    if by == "quantile":
        from scipy.stats import norm

        x, y = norm.ppf(x), norm.ppf(y)
    origin, first, second, names = _axes(model, axes, codes)
    grid = origin + x[None, :, None] * first + y[:, None, None] * second
    flat = torch.from_numpy(grid.reshape(n * n, -1))
    labels = None if label is None else [label] * len(flat)
    return Plane(decode_codes(model, flat, labels), x, y, names)


def interpolate_codes(a: ArrayLike, b: ArrayLike, steps: int = 8, kind: Path = "straight") -> Tensor:
    r"""Walk from one code to another, both ends included.

    ``"straight"`` is the line between them. ``"spherical"`` keeps to lengths that draws from a normal have:

    .. math:: \frac{\sin((1 - t) \omega)}{\sin \omega} a + \frac{\sin(t \omega)}{\sin \omega} b, \qquad
        \cos \omega = \frac{a \cdot b}{\lVert a \rVert \lVert b \rVert}

    Shoemake (1985); White (2016), "Sampling generative networks".

    Args:
        a: A code (latent_dim,), or codes (B, latent_dim).
        b: Codes of the same shape.
        steps: Number of codes on the way, at least 2.
        kind: Kind of way.

    Returns:
        (steps, latent_dim), or (B, steps, latent_dim).

    Raises:
        SettingError: If there are fewer than two steps, or the kind is unknown.
        DataError: If codes have two shapes, or are not finite.

    Example:
        >>> interpolate_codes(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), 3, "spherical")[1]
        tensor([0.7071, 0.7071])
    """
    steps = check_count("at least 2 steps", steps, least=2, fix="the ends count as two")
    kind = check_choice("kind", kind, ("straight", "spherical"))
    start, end = _real(a), _real(b)
    single = start.ndim == 1
    if start.shape != end.shape or start.ndim not in {1, 2} or 0 in start.shape:
        raise DataError(
            "two codes of one shape, (latent_dim,) or (B, latent_dim)",
            f"{tuple(start.shape)} and {tuple(end.shape)}",
            "pass one code and another, or as many of each",
        )
    end = end.to(start.device)
    dtype = torch.result_type(start, end)
    start, end = start.to(dtype), end.to(dtype)
    start, end = (code[None] if single else code for code in (start, end))
    t = torch.linspace(0, 1, steps, dtype=dtype, device=start.device)[:, None]
    start, end = start[:, None], end[:, None]
    if kind == "straight":
        way = torch.lerp(start, end, t)
    else:
        way = _along_sphere(*(each.to(double_on(each.device)) for each in (start, end, t))).to(dtype)
    return way[0] if single else way


def _along_sphere(start: Tensor, end: Tensor, t: Tensor) -> Tensor:
    """The codes of a spherical way; the line where the angle is 0, half a turn, or not defined."""
    # Kahan's form of the angle, which keeps its digits near 0 and near half a turn.
    a, b = (nn.functional.normalize(code, dim=-1, eps=0.0) for code in (start, end))
    angle = 2 * torch.atan2((a - b).norm(dim=-1, keepdim=True), (a + b).norm(dim=-1, keepdim=True))
    bent = (((1 - t) * angle).sin() * start + (t * angle).sin() * end) / angle.sin()
    return torch.where((angle.sin().abs() > 1e-6) & angle.isfinite(), bent, torch.lerp(start, end, t))


def traverse(
    model: VAE,
    code: ArrayLike,
    dimensions: Sequence[int] | None = None,
    values: Sequence[float] = (-3, -2, -1, 0, 1, 2, 3),
    label: int | None = None,
    spread: ArrayLike | None = None,
) -> Tensor:
    """Decode one code with one dimension after the other set to some values, or moved by them.

    Args:
        model: The model.
        code: A code (latent_dim,).
        dimensions: Numbers of dimensions (default: all).
        values: Values that each of them takes.
        label: Label of the images, for a conditional model.
        spread: Widths of the dimensions, (latent_dim,), such as the standard deviations of all codes: a dimension is
            then moved by values times its own width, in steps that show something whatever the size of the codes.

    Returns:
        Images (dimensions, values, C, H, W) in [0, 1].

    Raises:
        SettingError: If the code does not have such dimensions, or there are no values.
        DataError: If the code has another shape, or is so large that the model cannot decode it.
    """
    check_model(model)
    base = _real(code).cpu().double()
    if base.shape != (model.latent_dim,):
        raise DataError(f"a code of {model.latent_dim} dimensions", f"shape {tuple(base.shape)}")
    expected = f"dimensions from 0 to {model.latent_dim - 1}, at least one"
    chosen = check_indices(
        expected, range(model.latent_dim) if dimensions is None else dimensions, model.latent_dim, "such as [0, 1]"
    )
    numbers = check_numbers("values that are finite numbers, at least one", values, fix="such as (-2, 0, 2)")
    codes = base.repeat(len(chosen), len(numbers), 1)
    steps = torch.tensor(numbers, dtype=torch.float64, device="cpu")
    widths = None if spread is None else _real(spread).cpu().double()
    if widths is not None and widths.shape != base.shape:
        raise DataError(f"a spread of {model.latent_dim} dimensions", f"shape {tuple(widths.shape)}")
    for row, dimension in enumerate(chosen):
        codes[row, :, dimension] = steps if widths is None else base[dimension] + steps * widths[dimension]
    flat = codes.reshape(-1, model.latent_dim)
    images = decode_codes(model, flat, None if label is None else [label] * len(flat))
    return images.reshape(len(chosen), len(numbers), *model.image_shape)


def _real(code: ArrayLike) -> Tensor:
    """A code, or several, as a tensor of finite numbers with a floating dtype."""
    numbers = check_finite(as_real(code, "codes"), "codes", "look at the images, or at the encoder")
    return numbers if numbers.is_floating_point() else numbers.to(torch.get_default_dtype())


def _check_rows(rows: Tensor, codes: Tensor, expected: str) -> None:
    """Refuses rows that are not finite, which the codes they were made of were."""
    bad = bad_rows(rows)
    if len(bad):
        largest = float(codes[bad[0]].abs().max())
        first = f"the first of them row {int(bad[0])}, of up to {largest:.3g}"
        got = f"NaN or infinity from {len(bad)} of {len(rows)}, {first}"
        raise DataError(expected, got, "the prior's codes are seldom beyond 4")


def _axes(
    model: VAE, axes: tuple[int, int] | str, codes: ArrayLike | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], tuple[str, str]]:
    """Origin, two directions, and their names."""
    rows = None if codes is None else as_codes(codes, least=2).cpu().double().numpy()
    if rows is not None and rows.shape[1] != model.latent_dim:
        raise DataError(f"codes of {model.latent_dim} dimensions", str(rows.shape[1]), "encode images with this model")
    if isinstance(axes, str) and axes == "principal":
        if rows is None:
            raise SettingError("codes for principal axes", "none", "pass codes=encode_dataset(...).means")
        _, singular, directions = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
        lengths = singular[:2] / np.sqrt(len(rows) - 1)
        first, second = (length * direction for length, direction in zip(lengths, directions, strict=False))
        return (
            rows.mean(0),
            first,
            second,
            ("principal axis 1, standard deviations", "principal axis 2, standard deviations"),
        )
    expected = f"two latent dimensions from 0 to {model.latent_dim - 1}, or 'principal'"
    chosen = check_indices(expected, axes, model.latent_dim, "such as (0, 1)")
    if len(chosen) != 2 or chosen[0] == chosen[1]:
        raise SettingError(expected, str(chosen), "such as (0, 1)")
    across, up = chosen
    origin = np.zeros(model.latent_dim) if rows is None else rows.mean(0)
    origin[chosen] = 0
    unit = np.eye(model.latent_dim)
    return origin, unit[across], unit[up], (f"latent dimension {across}", f"latent dimension {up}")
