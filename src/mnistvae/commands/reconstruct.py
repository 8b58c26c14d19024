"""The command ``mnistvae reconstruct``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mnistvae._checks import check_count
from mnistvae.commands._face import command
from mnistvae.commands._inputs import Say, open_model, print_nothing
from mnistvae.commands.folder import RunFolder
from mnistvae.commands.provenance import Provenance

if TYPE_CHECKING:
    from torch import nn

    from mnistvae.data import ImageDataset
    from mnistvae.models import VAE

__all__ = ["reconstruct"]


@command()
def reconstruct(
    model: str | Path | VAE,
    *,
    dataset: str | ImageDataset | None = None,
    data_root: str | Path | None = None,
    image_size: Sequence[int] | None = None,
    image_channels: int | None = None,
    max_value: float | None = None,
    split: Literal["train", "test"] = "test",
    n: int = 10,
    out: str | Path | None = None,
    device: str = "auto",
    classes: Sequence[str | type[nn.Module]] = (),
    about: Provenance | None = None,
    say: Say = print_nothing,
) -> Path:
    """Draw images over their reconstructions by MODEL, as reconstructions.png.

    Args:
        model: File of a model, folder of a run, or a trained model by its name, such as conv; in Python also a model.
        dataset: Data set of the images: mnist-mini or shapes (built in), mnist, fashion-mnist, kmnist, qmnist,
            emnist-..., mnist-50k, mnist-larochelle, omniglot-28, a folder of pictures, an .npz, IDX files, or
            my.module:load; in Python also images (default: the one it was trained on; mnist-mini for a model by its
            name).
        data_root: Folder of data sets, in torchvision's layout (default: $MNISTVAE_DATA, then a cache folder).
        image_size: Height and width of the images, or one number for both (default: those of its training).
        image_channels: 1 for grey, 3 for colour (default: those of its training).
        max_value: Value that is white in arrays of yours (.npz, IDX; default: 1 or 255, or as in its training).
        split: Part of the data set.
        n: Number of images, of all classes in turn.
        out: Folder for the picture (default: reconstructed-TIME beside the model).
        device: Device for a model from a file: auto, cpu, cuda or mps.
        classes: A class of your own that the model is made of, as my.module:NAME; may be given again.
        about: Record of a model that is not from a file; the images are binarized as it says.
        say: Called with each line that the command prints.

    Returns:
        The path of the picture.

    Raises:
        OutputError: If the folder holds such a file already, or cannot be written.
        MnistvaeError: If the model cannot be loaded, or the images do not fit it.
    """
    from mnistvae.commands._pictures import draw_reconstructions

    n = check_count("at least one image to reconstruct", n)
    opened = open_model(model, about, device, classes)
    data = opened.data(dataset, split, data_root, image_size, image_channels, max_value)
    with RunFolder.claim(out, ["reconstructions.png"], parent=opened.parent, name="reconstructed") as folder:
        figure = draw_reconstructions(opened.model, data, opened.about.binarization, n)
        path = folder.write_figure("reconstructions.png", figure)
    say(f"wrote {path}")
    return path
