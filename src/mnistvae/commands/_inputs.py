"""Models and data sets as the commands take them: a file or a model, a name or a data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from mnistvae.commands.provenance import Provenance
from mnistvae.errors import SettingError
from mnistvae.recipes import RECIPES, Recipe, get

if TYPE_CHECKING:
    from mnistvae.data import ImageDataset
    from mnistvae.models import VAE

__all__ = [
    "Opened",
    "Say",
    "first",
    "load_part",
    "open_model",
    "recipe_names",
    "resolve_recipe",
    "setting_text",
    "settings_text",
    "silent",
]

#: A function that is called with each line for the reader.
Say: TypeAlias = Callable[[str], object]


@dataclass(frozen=True)
class Opened:
    """A model, and what is known of it."""

    model: VAE
    about: Provenance
    #: The folder beside which results go.
    parent: Path
    #: Name of the model in what is printed and written.
    name: str

    def data(
        self, dataset: str | ImageDataset | None, split: Literal["train", "test"], data_root: Path | None
    ) -> ImageDataset:
        """A data set: the one that is given, or the one of that name, or the one that the model was trained on.

        Raises:
            SettingError: If none is given and the model was trained on data that have no name here.
            DatasetNotFoundError: If there is no such data set.
        """
        from mnistvae.data import dataset_names

        known = self.about.dataset
        if dataset is None and known is not None and known not in dataset_names():
            raise SettingError(
                "`dataset` for a model trained on data of its own", f"{known!r}", "choose one, such as mnist-mini"
            )
        return load_part(dataset or known or "mnist-mini", split, data_root)


def load_part(dataset: str | ImageDataset, split: Literal["train", "test"], data_root: Path | None) -> ImageDataset:
    """A part of the data set of that name; a data set that is one already stays as it is."""
    if not isinstance(dataset, str):
        return dataset
    from mnistvae import data

    return data.load_dataset(dataset, split, data_root)


def open_model(model: str | Path | VAE, about: Provenance | None, device: str) -> Opened:
    """A model from its file, or one that is there already, which stays where it is.

    Args:
        model: File, or model.
        about: Record of a model that is there already; a file has its own.
        device: Device for a model from a file, see :func:`mnistvae.training.resolve_device`.

    Raises:
        FileFormatError: If the file is not a model of mnistvae's, or is damaged.
        SettingError: If this machine has no such device.
    """
    from mnistvae.io import build, read
    from mnistvae.models import VAE
    from mnistvae.training import resolve_device

    if isinstance(model, VAE):
        return Opened(model, about or Provenance(), Path("runs"), type(model).__name__)
    path = Path(model)
    file = read(path)
    built = build(file, device=resolve_device(device), source=str(path))
    return Opened(built, about or Provenance.from_metadata(file.metadata), path.parent, str(path))


def first(data: ImageDataset, limit: int | None) -> ImageDataset:
    """The first images, or all."""
    from mnistvae._checks import check_count

    return data if limit is None else data[: check_count("limit as a number of images of at least 1", limit)]


def resolve_recipe(recipe: str | Recipe) -> Recipe:
    """The recipe of that name; a recipe that is one already stays as it is."""
    return recipe if isinstance(recipe, Recipe) else get(recipe)


def recipe_names() -> str:
    """The names of the recipes, as a help text."""
    return f"One of {', '.join(RECIPES)}."


def silent(_: str) -> None:
    """Print nothing."""


def setting_text(value: Any) -> str:
    """A setting as a line for people has it."""
    if callable(value):
        return str(getattr(value, "__name__", value))
    return str(float(f"{value:.6g}")) if isinstance(value, float) else str(value)


def settings_text(settings: Mapping[str, Any]) -> str:
    """Settings as a line for people has them."""
    return ", ".join(f"{name}={setting_text(value)}" for name, value in settings.items())
