"""The cards of the trained models: their origin, and what was measured of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mnistvae.zoo.models import find_file, find_metrics, read_content

if TYPE_CHECKING:
    from mnistvae.metrics import Evaluation

__all__ = ["ModelCard", "card"]


@dataclass(frozen=True)
class ModelCard:
    """The origin of a trained model, and all that was measured of it; as a string, a text for people.

    Example:
        >>> found = mv.zoo.card("conv")
        >>> found.training["dataset"], found.licence
        ('mnist', 'MIT')
    """

    #: Name of the model.
    name: str
    #: A line about it.
    summary: str
    #: Command that trains it again.
    command: str
    #: What made it: data, settings, seed, versions, machine; as the model's file holds it.
    training: Mapping[str, Any]
    #: Loss and validation loss of each epoch, nats an image.
    history: Mapping[str, tuple[float, ...]]
    #: Everything that was measured on MNIST's 10,000 test digits, with how it was measured.
    evaluation: Evaluation
    #: Licence of the weights.
    licence: str
    #: SHA-256 of the file.
    sha256: str

    def __str__(self) -> str:
        facts = ", ".join(f"{key}={value}" for key, value in self.training.items() if not isinstance(value, Mapping))
        losses = [f"{name} {values[-1]:.2f}" for name, values in self.history.items() if values]
        protocol = ", ".join(f"{key}={value}" for key, value in self.evaluation.protocol.items())
        return "\n".join(
            [
                f"{self.name}: {self.summary}",
                f"made by: {self.command}",
                f"training: {facts}",
                f"last epoch, nats an image: {', '.join(losses)}",
                f"licence: {self.licence}",
                f"SHA-256: {self.sha256}",
                f"measured: {protocol}",
                "",
                str(self.evaluation),
            ]
        )


def card(name: str) -> ModelCard:
    """The card of a trained model that ships with the package.

    Args:
        name: One of :func:`mnistvae.zoo.names`.

    Raises:
        SettingError: If there is no such model.
        FileFormatError: If a file of it is missing or damaged.
    """
    from mnistvae.io import read
    from mnistvae.metrics import Evaluation

    content: dict[str, Any] = read_content(name)
    return ModelCard(
        name,
        content["summary"],
        content["command"],
        read(find_file(name)).metadata,
        {key: tuple(values) for key, values in content["history"].items()},
        Evaluation.from_json(find_metrics(name)),
        content["licence"],
        content["model_sha256"],
    )
