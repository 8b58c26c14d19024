"""A saved model with the data that it was trained on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mnistvae.errors import SettingError

if TYPE_CHECKING:
    from mnistvae.data import ImageDataset
    from mnistvae.io import ModelFile
    from mnistvae.models import VAE

__all__ = ["model_and_data"]


def model_and_data(
    path: Path, dataset: str | None, data_root: Path | None, split: str, device: str
) -> tuple[ModelFile, VAE, ImageDataset]:
    """What the file says, the model, and a data set: the one named, or else the one of its training."""
    from mnistvae.data import dataset_names, load_dataset
    from mnistvae.devices import resolve_device
    from mnistvae.io import build, read

    file = read(path)
    model = build(file, device=resolve_device(device), source=str(path))
    name = dataset or file.metadata.get("dataset", "mnist-mini")
    if dataset is None and name not in dataset_names():
        raise SettingError("--dataset for a model trained on data of its own", f"{name!r}", "add --dataset mnist-mini")
    return file, model, load_dataset(name, split, data_root)  # type: ignore[arg-type]
