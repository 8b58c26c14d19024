"""The command ``mnistvae sweep``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistvae.commands._face import command
from mnistvae.commands._inputs import Say, dataset_name, load_part, print_nothing, recipe_names, resolve_recipe
from mnistvae.commands.folder import RunFolder
from mnistvae.commands.provenance import Provenance

if TYPE_CHECKING:
    from torch import Tensor

    from mnistvae.analysis import Sweep
    from mnistvae.data import ImageDataset
    from mnistvae.recipes import Recipe

__all__ = ["sweep"]


@command(helps={"recipe": recipe_names})
def sweep(
    *,
    recipe: str | Recipe = "beta-conv",
    latent_dims: Sequence[int] = (5, 10, 15, 20),
    dataset: str | ImageDataset = "mnist-mini",
    test: ImageDataset | None = None,
    data_root: str | Path | None = None,
    image_size: Sequence[int] | None = None,
    image_channels: int | None = None,
    max_value: float | None = None,
    epochs: int | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: bool = True,
    say: Say = print_nothing,
    **training: Any,
) -> Sweep:
    """Train one recipe with several sizes of the code, and compare what they reconstruct.

    Writes sweep.csv, MSE and PSNR by class as by_class.csv, mse_by_class.png and psnr_by_class.png, and the models; and
    names the smallest code whose MSE is within one standard error of the best.

    Args:
        recipe: Recipe, or its name.
        latent_dims: Sizes of the code, at least two.
        dataset: Data set to train and measure on: mnist-mini (built in), mnist, fashion-mnist, kmnist, qmnist,
            emnist-..., mnist-50k, mnist-larochelle, omniglot-28, a folder of pictures, an .npz, IDX files, or
            my.module:load; in Python also images to train on.
        test: Images to measure on, where ``dataset`` is not a name.
        data_root: Folder of data sets, in torchvision's layout (default: $MNISTVAE_DATA, then a cache folder).
        image_size: Height and width that images are brought to, or one number for both (default: as they are).
        image_channels: 1 for grey, 3 for colour (default: as they are).
        max_value: Value that is white in arrays of yours (.npz, IDX; default: 1 of floats, 255 of integers).
        epochs: Passes over the data, of each model (default: the recipe's).
        out: Folder for the files (default: runs/sweep-TIME).
        seed: Seed of weights, order and noise.
        device: Device: auto, cpu, cuda or mps.
        progress: Show each epoch.
        say: Called with each line that the command prints.
        **training: Other changes to the recipe's Trainer.

    Returns:
        The models and their figures.

    Raises:
        OutputError: If the folder holds such files already, or cannot be written.
        MnistvaeError: As :func:`mnistvae.analysis.sweep` raises.
    """
    chosen = resolve_recipe(recipe)  # before torch is imported
    from mnistvae import analysis
    from mnistvae.data import labels_of_all

    data = load_part(dataset, "train", data_root, image_size, image_channels, max_value)
    measured = load_part(dataset, "test", data_root, image_size, image_channels, max_value) if test is None else test
    training |= {} if epochs is None else {"epochs": epochs}
    record = Provenance(
        recipe=recipe if isinstance(recipe, str) else chosen.name,
        dataset=dataset_name(dataset),
        image_size=tuple(image_size or ()),
        image_channels=image_channels,
        max_value=max_value,
        training=dict(training),
        seed=seed,
        binarization={**chosen.training, **training}.get("binarization", data.binarization),
    )
    training |= {"device": device, "progress": progress}
    with RunFolder.claim(out, RunFolder.SWEPT, name="sweep") as folder:
        found = analysis.sweep(chosen, "latent_dim", latent_dims, data, measured, training=training, seed=seed)
        _write(found, folder, record.stamp(data, device), labels_of_all(measured))
    say(f"{'latent_dim':>10s}  {'mse':>20s}  {'psnr':>16s}")
    for value, one in zip(found.values, found.evaluations, strict=True):
        say(f"{value:>10d}  {one.score('mse').text():>20s}  {one.score('psnr').text():>16s}")
    say(f"best: latent_dim {found.best('mse')}, the smallest within one standard error of the lowest MSE")
    say(f"wrote {folder.path}")
    return found


def _write(found: Sweep, folder: RunFolder, record: Provenance, labels: Tensor | None) -> None:
    """Write tables, models and, where there are labels, figures by class."""
    import torch

    from mnistvae._files import write_atomically
    from mnistvae._records import csv_text
    from mnistvae.analysis.errors import class_means
    from mnistvae.io import save
    from mnistvae.plotting import class_bars

    found.to_csv(folder.path / "sweep.csv")
    for value, model in zip(found.values, found.models, strict=True):
        own = replace(record, settings={"latent_dim": value})
        save(model, folder.path / f"latent_dim-{value}.safetensors", own.to_metadata())
    if labels is None:
        return
    names = found.evaluations[0].class_names
    rows = [
        [value, int(row["class"]), *([one.class_name(row["class"])] if names else []), row["mse"], row["psnr"]]
        for value, one in zip(found.values, found.evaluations, strict=True)
        for row in one.by_class
    ]
    header = ["latent_dim", "class", *(["name"] if names else []), "mse", "psnr"]
    write_atomically(folder.path / "by_class.csv", csv_text(header, rows).encode())
    for name, unit in (("mse", "MSE"), ("psnr", "PSNR, dB")):
        means, errors = {}, {}
        for value, one in zip(found.values, found.evaluations, strict=True):
            group, values = f"latent size {value}", torch.from_numpy(one.by_image[name].copy())
            means[group], errors[group] = class_means(values, labels)
        how: dict[str, Any] = {"errors": errors, "from_zero": name == "mse", "class_names": names or None}
        folder.write_figure(f"{name}_by_class.png", class_bars(means, unit, **how))
