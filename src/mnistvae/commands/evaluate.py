"""The command ``mnistvae evaluate``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mnistvae.commands._face import command
from mnistvae.commands._inputs import Say, open_model, print_nothing
from mnistvae.commands.folder import RunFolder
from mnistvae.commands.provenance import Provenance

if TYPE_CHECKING:
    from torch import nn

    from mnistvae.data import ImageDataset
    from mnistvae.metrics import Evaluation, Metric
    from mnistvae.models import VAE

__all__ = ["evaluate"]


@command(options={"metrics": "--metric"})
def evaluate(
    model: str | Path | VAE,
    *,
    dataset: str | ImageDataset | None = None,
    train: ImageDataset | None = None,
    data_root: str | Path | None = None,
    image_size: Sequence[int] | None = None,
    image_channels: int | None = None,
    max_value: float | None = None,
    num_samples: int = 500,
    only: Sequence[Literal["reconstruction", "likelihood", "latent", "generation"]] = (),
    metrics: Sequence[str | Metric] = (),
    inception: bool = False,
    limit: int | None = None,
    batch_size: int = 512,
    out: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
    classes: Sequence[str | type[nn.Module]] = (),
    progress: bool = True,
    about: Provenance | None = None,
    say: Say = print_nothing,
) -> Evaluation:
    """Measure MODEL on test images: reconstruction, likelihood, codes, samples.

    Prints a table, and writes it as metrics.json and, by class, as by_class.csv.

    Args:
        model: File of a model, folder of a run, or a trained model by its name, such as conv; in Python also a model.
        dataset: Data set of the test images: mnist-mini or shapes (built in), mnist, fashion-mnist, kmnist, qmnist,
            emnist-..., mnist-50k, mnist-larochelle, omniglot-28, a folder of pictures, an .npz, IDX files, or
            my.module:load; in Python also images (default: the one it was trained on; mnist-mini for a model by its
            name).
        train: Images that the model was trained on, from which classifiers of codes learn (default: those of a data set
            that is given by name).
        data_root: Folder of data sets, in torchvision's layout (default: $MNISTVAE_DATA, then a cache folder).
        image_size: Height and width of the images, or one number for both (default: those of its training).
        image_channels: 1 for grey, 3 for colour (default: those of its training).
        max_value: Value that is white in arrays of yours (.npz, IDX; default: 1 or 255, or as in its training).
        num_samples: Importance samples an image, for the likelihood.
        only: A family of figures; may be given again (default: all).
        metrics: A metric of your own, as my.module:NAME, or that of an installed package; may be given again.
        inception: Also judge samples by torchvision's Inception-v3, which is slow.
        limit: Only so many of the test images, and as many samples.
        batch_size: Images at once; more take more memory.
        out: Folder for the files (default: evaluated-TIME beside the model).
        seed: Seed of every draw.
        device: Device for a model from a file: auto, cpu, cuda or mps.
        classes: A class of your own that the model is made of, as my.module:NAME; may be given again.
        progress: Show a bar.
        about: Record of a model that is not from a file; the images are binarized as it says.
        say: Called with the table and the other lines that the command prints.

    Returns:
        The figures.

    Raises:
        OutputError: If the folder holds such files already, or cannot be written.
        MnistvaeError: If the model cannot be loaded, or as :func:`mnistvae.metrics.evaluate` raises.
    """
    from mnistvae import metrics as measures

    opened = open_model(model, about, device, classes)
    data = opened.data(dataset, "test", data_root, image_size, image_channels, max_value, limit=limit)
    if train is None and isinstance(dataset, str | None) and (not only or "latent" in only):
        train = opened.data(dataset, "train", data_root, image_size, image_channels, max_value)
    with RunFolder.claim(out, RunFolder.EVALUATED, parent=opened.parent, name="evaluated") as folder:
        found = measures.evaluate(
            opened.model,
            data,
            train=train,
            num_samples=num_samples,
            binarization=opened.about.binarization or "none",
            include=tuple(only) or measures.GROUPS,
            metrics=metrics,
            inception=inception,
            batch_size=batch_size,
            seed=seed,
            progress=progress,
        )
        found = replace(found, protocol={**found.protocol, "recipe": opened.about.recipe or "", "model": opened.name})
        files = [found.to_json(folder.path / "metrics.json")]
        files += [found.to_csv(folder.path / "by_class.csv")] if found.by_class else []
    made = f"{found.protocol['tag']}, seed {seed}, mnistvae {found.protocol['version']}"
    wrote = "\n".join(f"wrote {file}" for file in files)
    say(f"{opened.name} on {len(data):,} test images of {data.name}, {made}\n\n{found}\n\n{wrote}")
    return found
