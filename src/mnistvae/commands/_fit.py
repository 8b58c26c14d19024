"""Checks that a data set fits a trained model: its classes and the shape of its images."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mnistvae.errors import DataError

if TYPE_CHECKING:
    from mnistvae.data import ImageDataset
    from mnistvae.models import VAE

__all__ = ["check_classes", "check_shape"]


def check_classes(data: ImageDataset, model: VAE, names: Sequence[str]) -> None:
    """Check that the classes of a data set are those that a conditional model was told.

    Raises:
        DataError: If one number stands for two names.
    """
    from mnistvae.labels import check_same_classes

    if model.num_classes is None or data.class_names is None:
        return
    if names:
        check_same_classes(names, data.class_names, data.name)
    elif data.class_names != tuple(map(str, range(len(data.class_names)))):
        told = ", ".join(f"{name!r} is {number}" for number, name in enumerate(data.class_names[:3]))
        warnings.warn(f"the model knows its classes by number alone; of {data.name}, {told}, ...", stacklevel=3)


def check_shape(data: ImageDataset, model: VAE, *, loaded: bool) -> None:
    """Check that a data set, which was ``loaded`` here or was there already, has images of the model's shape.

    Raises:
        DataError: If it has not; the options that make them fit are named.
    """
    if data.image_shape == model.image_shape:
        return
    channels, height, width = model.image_shape
    side = f"{height}" if height == width else f"{height},{width}"
    options = [f"`image_size` {side}"] if data.image_shape[1:] != (height, width) else []
    options += [f"`image_channels` {channels}"] if data.image_shape[0] != channels and channels in {1, 3} else []
    fix = f"pass {' and '.join(options)}" if loaded and options else "choose another data set"
    expected = f"images of {' x '.join(map(str, model.image_shape))}, which the model is for"
    raise DataError(expected, f"{' x '.join(map(str, data.image_shape))} in {data.name}", fix)
