"""The command ``mnistvae encode``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mnistvae.commands._face import command
from mnistvae.commands._inputs import Say, open_model, print_nothing
from mnistvae.commands.folder import RunFolder
from mnistvae.commands.provenance import Provenance

if TYPE_CHECKING:
    from torch import nn

    from mnistvae.analysis import LatentCodes
    from mnistvae.data import ImageDataset
    from mnistvae.models import VAE

__all__ = ["encode"]


@command()
def encode(
    model: str | Path | VAE,
    *,
    dataset: str | ImageDataset | None = None,
    split: Literal["test", "train"] = "test",
    data_root: str | Path | None = None,
    image_size: Sequence[int] | None = None,
    image_channels: int | None = None,
    max_value: float | None = None,
    format: Literal["csv", "npz", "parquet"] = "csv",  # noqa: A002 (the name of the option)
    limit: int | None = None,
    out: str | Path | None = None,
    device: str = "auto",
    classes: Sequence[str | type[nn.Module]] = (),
    about: Provenance | None = None,
    say: Say = print_nothing,
) -> LatentCodes:
    """Write the codes that MODEL gives to images: means and standard deviations of the posteriors, and labels.

    Args:
        model: File of a model, folder of a run, or a trained model by its name, such as conv; in Python also a model.
        dataset: Data set of the images: mnist-mini or shapes (built in), mnist, fashion-mnist, kmnist, qmnist,
            emnist-..., mnist-50k, mnist-larochelle, omniglot-28, a folder of pictures, an .npz, IDX files, or
            my.module:load; in Python also images (default: the one it was trained on; mnist-mini for a model by its
            name).
        split: Part of a data set that is given by name.
        data_root: Folder of data sets, in torchvision's layout (default: $MNISTVAE_DATA, then a cache folder).
        image_size: Height and width of the images, or one number for both (default: those of its training).
        image_channels: 1 for grey, 3 for colour (default: those of its training).
        max_value: Value that is white in arrays of yours (.npz, IDX; default: 1 or 255, or as in its training).
        format: Format of the file; Parquet takes pandas and pyarrow.
        limit: Only so many of the images.
        out: Folder for the file (default: encoded-TIME beside the model).
        device: Device for a model from a file: auto, cpu, cuda or mps.
        classes: A class of your own that the model is made of, as my.module:NAME; may be given again.
        about: Record of a model that is not from a file; the images are binarized as it says.
        say: Called with each line that the command prints.

    Returns:
        The codes.

    Raises:
        OutputError: If the folder holds such files already, or cannot be written.
        MnistvaeError: If the model cannot be loaded, or as :func:`mnistvae.analysis.encode_dataset` raises.
    """
    from mnistvae.view import View

    opened = open_model(model, about, device, classes)
    data = opened.data(dataset, split, data_root, image_size, image_channels, max_value, limit=limit)
    name = f"codes.{format}"
    with RunFolder.claim(out, (name,), lock=name, parent=opened.parent, name="encoded") as folder:
        codes = View(opened.model, data, binarization=opened.about.binarization or "none").codes
        path = codes.save(folder.path / name)
    say(f"wrote {len(codes):,} codes of {codes.latent_dim} dimensions: {path}")
    return codes
