"""What a saved model is worth, as files: figures, a report, sizes of the code compared."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mnistvae import analysis, metrics
from mnistvae._checks import check_count
from mnistvae._files import write_atomically
from mnistvae.data import ImageDataset
from mnistvae.io import save
from mnistvae.models import VAE
from mnistvae.plotting import class_bars
from mnistvae.recipes import Recipe
from mnistvae.report import write_report
from mnistvae.runs import _folders as folders
from mnistvae.runs._folders import claimed
from mnistvae.training import History

__all__ = ["evaluate", "report", "sweep"]


def evaluate(
    model: VAE,
    data: ImageDataset,
    folder: str | os.PathLike[str],
    *,
    train: ImageDataset | None = None,
    num_samples: int = 500,
    include: Sequence[metrics.Group] = metrics.GROUPS,
    limit: int | None = None,
    inception: bool = False,
    batch_size: int = 512,
    seed: int = 0,
    progress: bool = False,
    metadata: Mapping[str, Any] | None = None,
) -> metrics.Evaluation:
    """Measure a model (see :func:`mnistvae.metrics.evaluate`) and write ``metrics.json`` and ``by_class.csv``.

    Args:
        model: a trained model.
        data: images that it was not trained on.
        folder: made if need be.
        train: the images that it was trained on.
        num_samples: importance samples an image.
        include: the families of figures wanted.
        limit: only so many of the images, and as many samples.
        inception: also judge samples by torchvision's Inception-v3.
        batch_size: images at once.
        seed: of every draw.
        progress: show a bar.
        metadata: what the model's file says beside the model; the images are binarized as it says.

    Raises:
        OutputError: the folder holds such files already, or cannot be written.
        MnistvaeError: what :func:`mnistvae.metrics.evaluate` raises.
    """
    data = _first(data, limit)
    about = metadata or {}
    with claimed(folder, ["metrics.json", "by_class.csv"], "metrics.json") as target:
        found = metrics.evaluate(
            model,
            data,
            train=train,
            num_samples=num_samples,
            binarization=about.get("binarization", "none"),
            include=include,
            inception=inception,
            batch_size=batch_size,
            seed=seed,
            progress=progress,
        )
        found = replace(found, protocol={**found.protocol, **{key: about.get(key, "") for key in ("recipe", "model")}})
        found.to_json(target / "metrics.json")
        if found.by_class:
            found.to_csv(target / "by_class.csv")
    return found


def report(
    model: VAE,
    data: ImageDataset,
    folder: str | os.PathLike[str],
    *,
    train: ImageDataset | None = None,
    history: str | os.PathLike[str] | None = None,
    num_samples: int = 50,
    umap: bool = False,
    limit: int | None = None,
    seed: int = 0,
    progress: bool = False,
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """Write everything about a model to a folder, see :func:`mnistvae.report.write_report`.

    Args:
        model: a trained model.
        data: images that it was not trained on.
        folder: made if need be.
        train: the images that it was trained on.
        history: the CSV file of its training; there need not be one.
        num_samples: importance samples an image.
        umap: also embed the codes by UMAP, if it is installed.
        limit: only so many of the images.
        seed: of every draw.
        progress: show a bar for each stage.
        metadata: what the model's file says beside the model; the images are binarized as it says.

    Returns:
        The path of the page.

    Raises:
        OutputError: the folder holds a report already, or cannot be written.
        MnistvaeError: what :func:`mnistvae.report.write_report` raises.
    """
    data = _first(data, limit)
    about = dict(metadata or {})
    record = None
    if history is not None and Path(history).is_file():
        record = History.from_csv(history)
        record.tag = about.get("tag", "")
    with claimed(folder, ["report.html", "metrics.json"], "report.html") as target:
        return write_report(
            model,
            data,
            target,
            train=train,
            history=record,
            binarization=about.get("binarization", "none"),
            about=about,
            num_samples=num_samples,
            umap=umap,
            seed=seed,
            progress=progress,
        )


def sweep(
    recipe: Recipe,
    latent_dims: Sequence[int],
    train: ImageDataset,
    test: ImageDataset,
    folder: str | os.PathLike[str],
    *,
    training: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> analysis.Sweep:
    """Train a recipe with several sizes of the code (see :func:`mnistvae.analysis.sweep`), and write what came of it.

    Args:
        recipe: see :mod:`mnistvae.recipes`.
        latent_dims: at least two.
        train: images to train on.
        test: images to measure on.
        folder: made if need be; gets ``sweep.csv``, ``by_class.csv``, pictures of the figures by class, and the models.
        training: changes to the recipe's Trainer.
        seed: of weights, order and noise.

    Raises:
        OutputError: the folder holds such files already, or cannot be written.
        MnistvaeError: what :func:`mnistvae.analysis.sweep` raises.
    """
    with claimed(folder, ["sweep.csv", "by_class.csv"], "sweep.csv") as target:
        found = analysis.sweep(recipe, "latent_dim", latent_dims, train, test, training=dict(training or {}), seed=seed)
        found.to_csv(target / "sweep.csv")
        for value, model in zip(found.values, found.models, strict=True):
            save(model, target / f"latent_dim-{value}.safetensors", {"recipe": recipe.name, "dataset": train.name})
        if all(one.by_class for one in found.evaluations):
            lines = ["latent_dim,class,mse,psnr"]
            for value, one in zip(found.values, found.evaluations, strict=True):
                lines += [f"{value},{int(row['class'])},{row['mse']},{row['psnr']}" for row in one.by_class]
            write_atomically(target / "by_class.csv", ("\n".join(lines) + "\n").encode())
            for name, unit in (("mse", "MSE"), ("psnr", "PSNR, dB")):
                groups = {
                    f"latent size {value}": {label: row[n] for label, row in found.by_class(name).items()}
                    for n, value in enumerate(found.values)
                }
                folders.write_figure(class_bars(groups, unit), target / f"{name}_by_class.png")
    return found


def _first(data: ImageDataset, limit: int | None) -> ImageDataset:
    """The first images, or all."""
    return data if limit is None else data[: check_count("limit as a number of images of at least 1", limit)]
