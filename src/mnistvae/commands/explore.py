"""The command ``mnistvae explore``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mnistvae.commands._face import command
from mnistvae.commands._inputs import Say, open_model, print_nothing
from mnistvae.commands.folder import RunFolder
from mnistvae.commands.provenance import Provenance

if TYPE_CHECKING:
    from torch import nn

    from mnistvae.data import ImageDataset
    from mnistvae.models import VAE

__all__ = ["explore"]


@command(options={"show": "--open"})
def explore(
    model: str | Path | VAE,
    *,
    dataset: str | ImageDataset | None = None,
    data_root: str | Path | None = None,
    image_size: Sequence[int] | None = None,
    image_channels: int | None = None,
    max_value: float | None = None,
    out: str | Path | None = None,
    parts: Literal["all", "plane"] = "all",
    show: bool = True,
    seed: int = 0,
    classes: Sequence[str | type[nn.Module]] = (),
    about: Provenance | None = None,
    say: Say = print_nothing,
) -> Path:
    """Make a page in which the latent space of MODEL moves, and open it in the browser.

    The page needs no network and no server: encoder and decoder run in it.

    Args:
        model: File of a model, or folder of a run; in Python also a model.
        dataset: Data set of the test images: mnist-mini or shapes (built in), mnist, fashion-mnist, kmnist, qmnist,
            emnist-..., mnist-50k, mnist-larochelle, omniglot-28, a folder of pictures, an .npz, IDX files, or
            my.module:load; in Python also images (default: the one it was trained on; mnist-mini for the models that
            ship with mnistvae).
        data_root: Folder of data sets, in torchvision's layout (default: $MNISTVAE_DATA, then a cache folder).
        image_size: Height and width of the images, or one number for both (default: those of its training).
        image_channels: 1 for grey, 3 for colour (default: those of its training).
        max_value: Value that is white in arrays of yours (.npz, IDX; default: 1 or 255, or as in its training).
        out: File of the page, such as explorer.html, or a folder for it (default: explorer-TIME beside the model).
        parts: all, or plane: the plane and the image at its handle alone, a smaller page to be put into another one.
        show: Open the page in the browser.
        seed: Seed of the choice of images, of a data set of more than 2,000.
        classes: A class of your own that the model is made of, as my.module:NAME; may be given again.
        about: Record of a model that is not from a file; the images are binarized as it says.
        say: Called with each line that the command prints.

    Returns:
        The path of the page.

    Raises:
        OutputError: If there is such a file already, or it cannot be written.
        MnistvaeError: If the model cannot be loaded, or as :func:`mnistvae.explorer.explorer_page` raises.
    """
    from mnistvae._files import as_path, write_atomically
    from mnistvae.explorer import explorer_page

    opened = open_model(model, about, "cpu", classes)
    data = opened.data(dataset, "test", data_root, image_size, image_channels, max_value)
    place = None if out is None else as_path(out)
    whole = place is not None and (place.suffix != "" or os.path.isfile(place))  # noqa: PTH113 (Path's raises for a name too long)
    folder, name = (place.parent, place.name) if place is not None and whole else (place, "explorer.html")
    with RunFolder.claim(folder, (name,), parent=opened.parent, name="explorer") as claimed:
        binarization = opened.about.binarization or "none"
        title = f"{opened.about.recipe or opened.name} on {data.name}"
        page = explorer_page(opened.model, data, title=title, parts=parts, binarization=binarization, seed=seed)
        path = write_atomically(claimed.path / name, page.encode())
    opens = show and open_in_browser(path)
    say(f"wrote {path}" if opens or not show else f"wrote {path}\n  no browser was found: open the page in one")
    return path


def open_in_browser(path: Path) -> bool:
    """Open a file in a browser with a window of its own; False where there is none."""
    import webbrowser

    screen = sys.platform in {"win32", "darwin"} or any(os.environ.get(one) for one in ("DISPLAY", "WAYLAND_DISPLAY"))
    if not screen and not os.environ.get("BROWSER"):  # a browser for terminals would take this one
        return False
    try:
        return webbrowser.open(path.absolute().as_uri())
    except (webbrowser.Error, OSError):
        return False
