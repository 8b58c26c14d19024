"""The content of a page: a model and the codes of some images, as one object of JSON."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mnistvae._codes import LatentCodes
from mnistvae._colours import CLASS_COLOURS
from mnistvae.distributions import UnitSphere
from mnistvae.errors import ComponentError
from mnistvae.explorer.packing import Packer
from mnistvae.explorer.programs import Parts, describe_prior, programs, rounded
from mnistvae.likelihoods.base import at_once
from mnistvae.models import VAE

__all__ = ["describe", "some_of"]

#: Height and width of the largest image that a page draws.
_LARGEST = 256
#: Codes that are drawn at most, and bytes of their pictures, or of themselves.
_MOST_CODES, _MOST_BYTES = 2000, 1_600_000
#: Sliders that are shown at once; of more dimensions, those that vary most.
SLIDERS = 10
#: The least range of a slider, in which nearly all codes of a standard normal are, and that of codes on the sphere.
_RANGE, _ON_SPHERE = 3.5, 1.0
_TAKE_ANY = "use mnistvae.analysis and mnistvae.plotting, which take any"


def describe(model: VAE, codes: LatentCodes, images: Tensor, parts: Parts, seed: int) -> dict[str, Any]:
    """A model and the codes of some images as a page reads them.

    Args:
        model: The model.
        codes: The codes that it gives to the images.
        images: The images, uint8, (N, C, H, W).
        parts: The whole explorer, or the plane alone, which needs neither the encoder nor the images.
        seed: Seed of the choice of images, where there are more than a page can draw.

    Raises:
        ComponentError: If the page cannot draw images of the model's shape, or pixel by pixel, or cannot run one of its
            layers.
    """
    _check_shape(model)
    at_once(model.likelihood, _TAKE_ANY)
    packer = Packer()
    copied = rounded(model)
    chosen = some_of(len(images), model, seed)
    means = codes.means.float()
    some = means[chosen].half().float()
    labels = None if codes.labels is None else codes.labels[chosen]
    if labels is not None and (int(labels.min()) < 0 or int(labels.max()) > 255):
        labels = None
    order = (
        means.std(0, correction=0).argsort(descending=True)
        if model.latent_dim > SLIDERS
        else torch.arange(model.latent_dim)
    )
    reach = _ON_SPHERE if isinstance(model.support, UnitSphere) else _RANGE
    limits = torch.stack([means.amin(0).clamp(max=-reach), means.amax(0).clamp(min=reach)], 1)
    dark = bool(images.float().mean() < 128)
    described = {
        "latent": model.latent_dim,
        "shape": list(model.image_shape),
        "told": model.num_classes,
        "names": None if codes.class_names is None else list(codes.class_names),
        "colours": CLASS_COLOURS,
        "parts": parts,
        "sliders": SLIDERS,
        "dark": dark,
        "centred": _are_centred(images[chosen], dark=dark),
        "programs": programs(copied, packer, parts),
        "prior": describe_prior(copied, packer),
        "mean": packer.add(means.mean(0)),
        "directions": [packer.add(one) for one in _directions(means)],
        "order": order.tolist(),
        "limits": [[round(value, 2) for value in pair] for pair in limits.tolist()],
        "codes": packer.add(some),
        "labels": None if labels is None else packer.add(labels.to(torch.uint8)),
        "pictures": packer.add(images[chosen]) if parts == "all" else None,
    }
    return {**described, "table": packer.table, "arrays": packer.text()}


def _are_centred(images: Tensor, *, dark: bool) -> bool:
    """True if the middle of what is drawn on most images is theirs, as MNIST's digits have it."""
    ink = images.float().mean(1) if dark else 255 - images.float().mean(1)
    mass = ink.sum((1, 2)).clamp_min(1)
    away = []
    for axis in (1, 2):
        size = ink.shape[axis]
        along = (ink.sum(3 - axis) * torch.arange(size, dtype=torch.float32)).sum(1) / mass
        away.append((along - (size - 1) / 2).abs().median())
    return float(max(away)) <= 1


def _check_shape(model: VAE) -> None:
    """Refuse images that the page cannot draw."""
    channels, height, width = model.image_shape
    if channels not in {1, 3} or max(height, width) > _LARGEST:
        raise ComponentError(
            f"images of 1 or 3 channels and at most {_LARGEST} x {_LARGEST} pixels, to be drawn in a browser",
            f"{channels} x {height} x {width}",
            _TAKE_ANY,
        )


def some_of(number: int, model: VAE, seed: int) -> Tensor:
    """The numbers of the images that a page holds, of so many."""
    largest = max(int(np.prod(model.image_shape)), 2 * model.latent_dim)  # a number of a code takes two bytes
    most = min(_MOST_CODES, max(1, _MOST_BYTES // largest))
    if number <= most:
        return torch.arange(number, device="cpu")
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(number, generator=generator, device="cpu")[:most].sort().values


def _directions(means: Tensor) -> Tensor:
    """The principal axes of codes, at most two, of length 1, (2, D); their largest part points up."""
    rows = (means - means.mean(0)).double()
    _, _, axes = torch.linalg.svd(rows, full_matrices=False)
    first = axes[:2]
    signs = first.gather(1, first.abs().argmax(1, keepdim=True)).sign()
    directions: Tensor = (first * signs).float()
    return directions
