"""Models and data sets as the commands take them: a file or a model, a name or a data set."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from mnistvae._checks import check_count, check_number
from mnistvae._files import as_path
from mnistvae.commands._fit import check_classes, check_shape
from mnistvae.commands.folder import RunFolder
from mnistvae.commands.provenance import Provenance
from mnistvae.errors import DatasetNotFoundError, FileFormatError, SettingError

if TYPE_CHECKING:
    from torch import nn

    from mnistvae.data import ImageDataset
    from mnistvae.models import VAE
    from mnistvae.recipes import Recipe
    from mnistvae.training import History

__all__ = [
    "Opened",
    "Say",
    "dataset_name",
    "has_validation",
    "held_out_share",
    "hold_out",
    "load_part",
    "load_parts",
    "model_file",
    "open_model",
    "print_nothing",
    "ready_name",
    "recipe_names",
    "resolve_recipe",
    "run_folder",
    "setting_text",
    "settings_text",
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
    #: True for a model that ships with the package, which was trained on data that need not be here.
    ready: bool = False

    def read_history(self) -> History | None:
        """The history of the training: of a ready model, what its card has; else that of the run in its folder."""
        from mnistvae.training import History
        from mnistvae.zoo import card

        if not self.ready:
            return RunFolder(self.parent).read_history(self.about.tag)
        columns = card(self.name).history
        rows = zip(*columns.values(), strict=True)
        records = [{"epoch": n, **dict(zip(columns, row, strict=True))} for n, row in enumerate(rows, 1)]
        return History(records, self.about.tag or "")

    def data(
        self,
        dataset: str | ImageDataset | None,
        split: Literal["train", "test"],
        data_root: str | Path | None = None,
        image_size: Sequence[int] | None = None,
        image_channels: int | None = None,
        max_value: float | None = None,
        *,
        limit: int | None = None,
    ) -> ImageDataset:
        """A data set: the one that is given, or the one of that name, or the one that the model was trained on.

        With a ``limit``, these are only its first images.

        Raises:
            SettingError: If none is given and the model was trained on data that cannot be found by name.
            DatasetNotFoundError: If there is no such data set.
        """
        from mnistvae.data import dataset_names
        from mnistvae.plugins import is_reference

        known = "mnist-mini" if self.ready else self.about.dataset or "mnist-mini"
        own = "`dataset` for a model trained on data of its own"
        if dataset is None and is_reference(known):  # no code is called because a file says so
            raise SettingError(own, f"{known!r}", f"if you trust it, add `dataset` {known}")
        try:
            size = image_size or self.about.image_size or None
            channels = self.about.image_channels if image_channels is None else image_channels
            white = self.about.max_value if max_value is None and dataset is None else max_value
            data = load_part(dataset or known, split, data_root, size, channels, white)
        except DatasetNotFoundError:
            if dataset is not None or known in dataset_names():
                raise
            raise SettingError(own, f"{known!r}", "choose one, such as mnist-mini") from None
        check_classes(data, self.model, self.about.class_names)
        check_shape(data, self.model, loaded=dataset is None or isinstance(dataset, str))
        return data if limit is None else data[: check_count("limit as a number of images of at least 1", limit)]


def load_part(
    dataset: str | ImageDataset,
    split: Literal["train", "validation", "test"],
    data_root: str | Path | None = None,
    image_size: Sequence[int] | None = None,
    image_channels: int | None = None,
    max_value: float | None = None,
) -> ImageDataset:
    """A part of the data set of that name; a data set that is one already stays as it is."""
    if not isinstance(dataset, str):
        return dataset
    from mnistvae import data

    more: dict[str, Any] = {}
    if image_size is not None:
        more["image_size"] = image_size[0] if len(image_size) == 1 else tuple(image_size)
    if image_channels is not None:
        if image_channels not in {1, 3}:
            raise SettingError("`image_channels` as 1 for grey or 3 for colour", str(image_channels))
        more["channels"] = image_channels
    if max_value is not None:
        more["max_value"] = max_value
    return data.load_dataset(dataset, split, data_root, **more)


def held_out_share(
    share: float | None, training: Mapping[str, Any], dataset: str | ImageDataset, validation: ImageDataset | None
) -> float | None:
    """The share of the training images that are held out to validate, or None where others validate.

    Args:
        share: The one that was asked for.
        training: Settings of the Trainer.
        dataset: Data set to train on, which may have images of its own to validate with.
        validation: Images to validate with that are given.

    Raises:
        SettingError: If it is no share, or there are others to validate with.
    """
    if share is None:
        others = validation is not None or has_validation(dataset)
        return None if others or training.get("patience") is None else 0.1
    expected = "`validation_split` as a share of at least 0 and below 1"
    if check_number(expected, share) >= 1:
        raise SettingError(expected, f"{share:g}", "0.1 is a tenth of the training images")
    if validation is not None:
        raise SettingError("`validation` or `validation_split`", "both", "leave one of them out")
    return float(share)


def hold_out(data: ImageDataset, share: float, seed: int) -> tuple[ImageDataset, ImageDataset | None]:
    """The images to train on, and a share of them, drawn under a seed, that are held out to validate.

    Raises:
        SettingError: If nothing would be left, on either side.
    """
    if not share:
        return data, None
    import torch

    from mnistvae._random import Stream, derive_seed

    number = round(share * len(data))
    if not 0 < number < len(data):
        expected = f"`validation_split` as a share of the {len(data):,} images that leaves some on both sides"
        raise SettingError(expected, f"{share:g}, {number} images", f"one image is {1 / len(data):.2g}")
    order = torch.randperm(
        len(data), generator=torch.Generator().manual_seed(derive_seed(seed, Stream.SPLIT)), device="cpu"
    )
    rows = order[:number].sort().values, order[number:].sort().values
    return data[rows[1]], data[rows[0]]


def has_validation(dataset: str | ImageDataset) -> bool:
    """Tell whether a data set, by its name, has images of its own to validate with."""
    from mnistvae.data import dataset_names

    return isinstance(dataset, str) and dataset in dataset_names("validation")


def load_parts(
    dataset: str | ImageDataset, validation: ImageDataset | None, about: Provenance, data_root: str | Path | None
) -> tuple[ImageDataset, ImageDataset | None]:
    """The images to train on, and those to validate with, as the record of the run says."""
    form = about.image_size or None, about.image_channels, about.max_value
    data = load_part(dataset, "train", data_root, *form)
    if about.validation_split is not None:
        return hold_out(data, about.validation_split, about.seed or 0)
    if isinstance(dataset, str):
        validation = load_part(dataset, "validation" if has_validation(dataset) else "test", data_root, *form)
    return data, validation


def dataset_name(dataset: str | ImageDataset) -> str:
    """The name by which a record holds a data set: of files, it is valid in any folder."""
    if not isinstance(dataset, str):
        return dataset.name
    from mnistvae.data import dataset_names

    path = Path(dataset)
    return str(path.absolute()) if dataset not in dataset_names() and path.exists() else dataset


def open_model(
    model: str | Path | VAE, about: Provenance | None, device: str, classes: Sequence[str | type[nn.Module]] = ()
) -> Opened:
    """A model from its file, or one that is there already, which stays where it is.

    Args:
        model: File, or model.
        about: Record of a model that is there already; a file has its own.
        device: Device for a model from a file.
        classes: Classes beyond mnistvae's and torch's that the file may name, or their names ``module:NAME``.

    Raises:
        FileFormatError: If the file is not a model of mnistvae's, is damaged, or names a class that is not allowed.
        SettingError: If this machine has no such device, or a class cannot be imported.
    """
    from mnistvae._component import find_own_classes
    from mnistvae.devices import resolve_device
    from mnistvae.io import build, read
    from mnistvae.models import VAE
    from mnistvae.plugins import resolve

    if isinstance(model, VAE):
        return Opened(model, about or Provenance(), Path("runs"), type(model).__name__)
    path = model_file(model)
    ready = ready_name(model)
    file = read(path)
    allowed = [resolve("class", one, of=type) if isinstance(one, str) else one for one in classes]
    known = {getattr(one, "__qualname__", "") for one in allowed}
    for name in find_own_classes(file.spec):
        module, _, short = name.partition(":")
        if short not in known:
            raise FileFormatError(
                f"the class {short!r} (defined in {module}) to be allowed",
                ", ".join(sorted(known)) or "none beyond mnistvae's and torch's",
                f"if you trust {module}, add `classes` {name}",
            )
    built = build(file, allowed, device=resolve_device(device), source=str(path))
    about = about or Provenance.from_metadata(file.metadata)
    if ready is not None:  # in half precision, and in a folder that is not ours
        return Opened(built.float(), about, Path("runs"), ready, ready=True)
    return Opened(built, about, path.parent, str(path))


def ready_name(model: str | Path) -> str | None:
    """The name of a trained model that ships with the package; None for a path: what is on the disk goes first."""
    from mnistvae.zoo import names

    return str(model) if str(model) in names() and not os.path.lexists(model) else None


def model_file(path: str | Path) -> Path:
    """The file of a model: that of a run, where the path is the run's folder, or of one that ships with the package.

    Raises:
        FileFormatError: If it is the folder of a run that has no model yet, or a word that is neither a path nor the
            name of a model.
    """
    from mnistvae.plugins import closest
    from mnistvae.zoo import names
    from mnistvae.zoo.models import check_file, find_file

    place = as_path(path)
    name = ready_name(path)
    if name is not None:
        check_file(name)
        return find_file(name)
    if re.fullmatch(r"[\w-]+", str(path)) and not os.path.lexists(place):
        known = f"a model: a file, the folder of a run, or one of {', '.join(names())}"
        raise FileFormatError(known, f"no such file as {path}", closest(path, names()))
    if not os.path.isdir(place):  # noqa: PTH112 (Path.is_dir raises for a name too long)
        return place
    run = RunFolder(place)
    if run.state == "unfinished" and not run.model.exists():
        fix = f"go on with it: mnistvae train --resume {shlex.quote(str(place))}"
        raise FileFormatError(f"a model in {place}", "a run that is not finished", fix)
    return run.model if run.model.exists() else place


def run_folder(path: str | Path) -> Path:
    """The folder of a run: the one that a file of the run, such as its model, lies in."""
    place = as_path(path)
    return place.parent if os.path.isfile(place) else place  # noqa: PTH113 (Path.is_file raises for a name too long)


def resolve_recipe(recipe: str | Recipe) -> Recipe:
    """The recipe of that name; a recipe that is one already stays as it is."""
    from mnistvae.recipes import Recipe, get

    return recipe if isinstance(recipe, Recipe) else get(recipe)


def recipe_names() -> str:
    """The names of the recipes, as a help text."""
    from mnistvae.recipes import RECIPES

    return f"One of {', '.join(RECIPES)}; that of an installed package; or my.module:NAME."


def print_nothing(_: str) -> None:
    """Print nothing."""


def setting_text(value: Any) -> str:
    """A setting as a line for people has it."""
    if callable(value):
        return str(getattr(value, "__name__", value))
    return str(float(f"{value:.6g}")) if isinstance(value, float) else str(value)


def settings_text(settings: Mapping[str, Any]) -> str:
    """Settings as a line for people has them."""
    return ", ".join(f"{name}={setting_text(value)}" for name, value in settings.items())
