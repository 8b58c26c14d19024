"""The command ``mnistvae fit-prior``."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mnistvae.commands._face import command
from mnistvae.commands._inputs import Say, open_model, print_nothing
from mnistvae.commands.folder import RunFolder
from mnistvae.commands.provenance import Provenance

if TYPE_CHECKING:
    from torch import nn

    from mnistvae.data import ImageDataset
    from mnistvae.models import VAE

__all__ = ["fit_prior"]


@command()
def fit_prior(
    model: str | Path | VAE,
    *,
    dataset: str | ImageDataset | None = None,
    data_root: str | Path | None = None,
    image_size: Sequence[int] | None = None,
    image_channels: int | None = None,
    max_value: float | None = None,
    kind: Literal["mixture", "realnvp", "maf", "nsf", "vae", "tokens"] = "mixture",
    components: int | None = None,
    covariance: Literal["full", "diag"] | None = None,
    transforms: int | None = None,
    hidden: Sequence[int] | None = None,
    steps: int | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    device: str = "auto",
    classes: Sequence[str | type[nn.Module]] = (),
    about: Provenance | None = None,
    say: Say = print_nothing,
) -> Path:
    """Fit a prior to the codes of the training images, for a copy of MODEL: a mixture of normals, or another kind.

    The folder gets the copy as model.safetensors, and samples.png drawn from it. The flows (realnvp, maf, nsf; with the
    extra [flows]), the second VAE (vae), and the prior of tokens (tokens; for quantizing encoders) are trained, which
    takes a minute or so. An option that is of another kind is refused.

    Args:
        model: File of a model, folder of a run, or a trained model by its name, such as conv; in Python also a model.
        dataset: Data set of the training images: mnist-mini or shapes (built in), mnist, fashion-mnist, kmnist, qmnist,
            emnist-..., mnist-50k, mnist-larochelle, omniglot-28, a folder of pictures, an .npz, IDX files, or
            my.module:load; in Python also images (default: the one it was trained on; mnist-mini for a model by its
            name).
        data_root: Folder of data sets, in torchvision's layout (default: $MNISTVAE_DATA, then a cache folder).
        image_size: Height and width of the images, or one number for both (default: those of its training).
        image_channels: 1 for grey, 3 for colour (default: those of its training).
        max_value: Value that is white in arrays of yours (.npz, IDX; default: 1 or 255, or as in its training).
        kind: Kind of the prior: a mixture of normals, a normalizing flow, a second VAE, or a prior of tokens.
        components: Number of normals in the mixture (default: 10).
        covariance: Covariance of each normal of the mixture: full, or diagonal (default: full).
        transforms: Number of transforms of a flow (default: 8, 5 and 3 of realnvp, maf and nsf).
        hidden: Widths of the hidden layers of a flow's or a second VAE's networks (default: 128,128; 256,256 of vae).
        steps: Greatest number of training steps of any kind but the mixture (default: depends on the kind).
        seed: Seed of the fit and of the samples.
        out: Folder of the new model (default: fitted-TIME beside the model).
        device: Device for a model from a file: auto, cpu, cuda or mps.
        classes: A class of your own that the model is made of, as my.module:NAME; may be given again.
        about: Record of a model that is not from a file; the images are binarized as it says.
        say: Called with each line that the command prints.

    Returns:
        The path of the new model, whose file also says what the old one's did.

    Raises:
        OutputError: If the folder holds such files already, or cannot be written.
        MnistvaeError: If the model cannot be loaded, or as :func:`mnistvae.fit_prior` raises.
    """
    from mnistvae import fitting
    from mnistvae.commands._pictures import draw_samples
    from mnistvae.data import drawn_like
    from mnistvae.io import save

    given: dict[str, Any] = {"components": components, "covariance": covariance}
    given |= {"transforms": transforms, "hidden": hidden, "steps": steps}
    settings = fitting.fit_settings(kind, **{name: value for name, value in given.items() if value is not None})
    opened = open_model(model, about, device, classes)
    data = opened.data(dataset, "train", data_root, image_size, image_channels, max_value)
    binarization = drawn_like(opened.about.binarization or "none")
    if binarization != "none" and data.binarization == "none":
        data = data.binarized(binarization, seed=opened.about.seed or 0)
    with RunFolder.claim(
        out, ("model.safetensors", "samples.png"), lock="samples.png", parent=opened.parent, name="fitted"
    ) as folder:
        if kind != "mixture":
            an, most = "an" if kind == "nsf" else "a", f"at most {settings['steps']:,} steps"
            say(f"fitting {an} {kind} prior to the codes of {len(data):,} images, in {most}")
        fitted = fitting.fit_prior(opened.model, data, kind=kind, seed=seed, **settings)
        made = {"dataset": data.name, "images": len(data), "seed": seed, "kind": kind, **settings}
        record = replace(opened.about, fitted_prior=made)
        path = save(fitted, folder.model, record.to_metadata())
        samples = folder.write_figure("samples.png", draw_samples(fitted, seed))
    say(f"wrote {path} and {samples}\nnext:\n  mnistvae generate {shlex.quote(str(path))}")
    return path
