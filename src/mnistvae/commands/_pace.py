"""The pace of a training on this machine, and how many epochs fit into some minutes at it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from mnistvae.data import ImageDataset
from mnistvae.recipes import Recipe

__all__ = ["Pace", "measure_pace"]

#: Steps of each epoch of a trial, and epochs, of which the first holds whatever is done once.
_STEPS, _EPOCHS = 20, 3


class Pace(NamedTuple):
    """The pace of a training."""

    #: Seconds of what is done once, such as a compilation.
    start: float
    #: Seconds of an epoch after that.
    epoch: float

    def epochs_in(self, minutes: float) -> int:
        """The whole epochs that fit into so many minutes; at least 1.

        Example:
            >>> Pace(start=10.0, epoch=2.0).epochs_in(1.0), Pace(start=10.0, epoch=2.0).epochs_in(0.1)
            (25, 1)
        """
        return max(1, int((60 * minutes - self.start) / self.epoch))


def measure_pace(
    recipe: Recipe, settings: Mapping[str, Any], training: Mapping[str, Any], data: ImageDataset, device: str
) -> Pace:
    """The pace of a recipe on some images, from a trial of a few steps with a model that is thrown away.

    Args:
        recipe: The recipe.
        settings: Settings of its model that differ.
        training: Settings of its Trainer that differ.
        data: Images to train on.
        device: Device to train on.

    Raises:
        MnistvaeError: As model, Trainer and data raise.
    """
    model = recipe.model(image_shape=data.image_shape, num_classes=data.num_classes or 1, **settings)
    trainer = recipe.trainer(**{**training, "epochs": _EPOCHS, "device": device, "progress": False})
    part = data[: trainer.batch_size * trainer.accumulate * _STEPS]
    first, *others = trainer.fit(model, part).column("seconds")
    usual = sum(others) / len(others)
    return Pace(max(0.0, first - usual), usual * len(data) / len(part))
