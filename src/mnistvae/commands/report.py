"""The command ``mnistvae report``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistvae.commands._face import command
from mnistvae.commands._inputs import Say, open_model, print_nothing, settings_text
from mnistvae.commands.folder import RunFolder
from mnistvae.commands.provenance import Provenance

if TYPE_CHECKING:
    from torch import nn

    from mnistvae.data import ImageDataset
    from mnistvae.metrics import Metric
    from mnistvae.models import VAE
    from mnistvae.report import Section
    from mnistvae.training import History

__all__ = ["report"]


@command(options={"metrics": "--metric", "sections": "--section"})
def report(
    model: str | Path | VAE,
    *,
    dataset: str | ImageDataset | None = None,
    train: ImageDataset | None = None,
    data_root: str | Path | None = None,
    image_size: Sequence[int] | None = None,
    image_channels: int | None = None,
    max_value: float | None = None,
    num_samples: int = 50,
    metrics: Sequence[str | Metric] = (),
    sections: Sequence[str | Section] = (),
    umap: bool = False,
    limit: int | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
    classes: Sequence[str | type[nn.Module]] = (),
    progress: bool = True,
    history: History | None = None,
    about: Provenance | None = None,
    say: Say = print_nothing,
) -> Path:
    """Write everything about MODEL: figures, tables, and report.html, a page that shows them all.

    The page needs no network. The history of the training is read from history.csv beside MODEL, if it is there; that
    of a model that ships with the package, from its card.

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
        metrics: A metric of your own, as my.module:NAME, or that of an installed package; may be given again.
        sections: A section of your own at the end of the page, as my.module:NAME: a Section, or a function of the
            report; may be given again.
        umap: Also embed the codes by UMAP, if it is installed (extra [umap]).
        limit: Only so many of the test images.
        out: Folder for the files (default: report-TIME beside the model).
        seed: Seed of every draw.
        device: Device for a model from a file: auto, cpu, cuda or mps.
        classes: A class of your own that the model is made of, as my.module:NAME; may be given again.
        progress: Show a bar for each stage.
        history: History of the training of a model that is not from a file.
        about: Record of a model that is not from a file; the images are binarized as it says.
        say: Called with each line that the command prints.

    Returns:
        The path of the page.

    Raises:
        OutputError: If the folder holds a report already, or cannot be written.
        MnistvaeError: If the model cannot be loaded, or as :func:`mnistvae.report.write_report` raises.
    """
    from mnistvae.models import VAE
    from mnistvae.plugins import resolve
    from mnistvae.report import SECTIONS, write_report

    opened = open_model(model, about, device, classes)
    data = opened.data(dataset, "test", data_root, image_size, image_channels, max_value, limit=limit)
    if train is None and isinstance(dataset, str | None):
        train = opened.data(dataset, "train", data_root, image_size, image_channels, max_value)
    history = history if isinstance(model, VAE) else opened.read_history()
    with RunFolder.claim(out, RunFolder.REPORTED, parent=opened.parent, name="report") as folder:
        page = write_report(
            opened.model,
            data,
            folder.path,
            train=train,
            history=history,
            binarization=opened.about.binarization or "none",
            about=_facts(opened.about),
            metrics=metrics,
            sections=[*SECTIONS, *(resolve("section", one) if isinstance(one, str) else one for one in sections)],
            num_samples=num_samples,
            umap=umap,
            seed=seed,
            progress=progress,
        )
    say(f"wrote {page}\n  and {sum(1 for _ in page.parent.iterdir()) - 1} figures and tables beside it")
    return page


def _facts(about: Provenance) -> dict[str, Any]:
    """The record of a model for a table."""
    facts = about.to_dict()
    return facts | {name: settings_text(facts[name]) for name in facts.keys() & {"settings", "training"}}
