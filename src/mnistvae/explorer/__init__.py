"""A model's latent space as a page for a browser: the decoder and the encoder run in it, and nothing leaves it."""

from __future__ import annotations

import json
from importlib.resources import files

import torch

from mnistvae._checks import check_choice, check_seed
from mnistvae._html import escaped
from mnistvae._passes import check_model
from mnistvae.arrays import ArrayLike
from mnistvae.data import Binarization, ImageDataset, as_dataset
from mnistvae.explorer.content import describe, some_of
from mnistvae.explorer.programs import Parts, rounded
from mnistvae.models import VAE
from mnistvae.view import View

__all__ = ["explorer_block", "explorer_page", "rounded"]

#: The page's scripts in the order in which they build on each other.
_SCRIPTS = ("runtime.js", "plane.js", "explorer.js")
#: Nothing is asked of any server: whatever the page might try, the browser refuses it.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'"
)


def explorer_page(
    model: VAE,
    data: ImageDataset | ArrayLike,
    *,
    title: str | None = None,
    parts: Parts = "all",
    binarization: Binarization = "none",
    seed: int = 0,
) -> str:
    """Return a page in which a model's latent space can be explored, as HTML that needs no other file and no network.

    The model's weights are in it, rounded to half precision, and a script that runs the encoder and the decoder:
    :func:`rounded` gives the model that the page computes with. Of the images, the page holds up to 2,000, drawn under
    the seed, with their codes.

    Args:
        model: The model.
        data: Images that it was not trained on, whose codes the plane shows.
        title: Title of the page (default: class of the model and name of the data).
        parts: ``"all"``, or ``"plane"``: the plane and the image at its handle alone, without the encoder and the
            images, a smaller page to be put into another one (``<iframe src="plane.html">``).
        binarization: How training turned grey images into black and white; the same is done to the images.
        seed: Seed of what is drawn.

    Raises:
        ComponentError: If a page cannot run one of the model's layers, or draw images of its shape, or pixel by pixel.
        DataError: If the images do not fit the model.
        SettingError: If ``parts`` is another word.

    Example:
        >>> page = explorer_page(mv.VAE(latent_dim=2), mv.load_dataset("mnist-mini", "test")[:100])
        >>> page.startswith("<!doctype html>"), len(page) < 2_000_000
        (True, True)
    """
    parts = check_choice("parts", parts, ("all", "plane"))
    given = as_dataset(data, check_model(model).image_shape)
    some = given[some_of(len(given), model, check_seed(seed))]
    view = View(rounded(model), some, binarization=binarization, seed=seed)
    name = escaped(title if title is not None else f"{type(model).__name__} on {view.data.name}")
    number = f"{model.latent_dim} latent dimension{'s' if model.latent_dim > 1 else ''}"
    head = f"<h1>{name}</h1><p class=about>{number}. The model runs in this page.</p>" if parts == "all" else ""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{name}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "</head><body>"
        f"{_block(view, parts, head)}"
        "</body></html>\n"
    )


def explorer_block(view: View) -> str:
    """Return the latent plane of a view as a piece of HTML for a larger page: the explorer's plane, without the rest.

    Raises:
        ComponentError: If a page cannot run one of the model's layers, or draw images of its shape, or pixel by pixel.
    """
    return _block(view, "plane", "")


def _block(view: View, parts: Parts, head: str) -> str:
    """The explorer's element, its style and its script."""
    with torch.device("cpu"):  # whatever the default is
        content = describe(view.model, view.codes, view.shown.images, parts, view.seed)
    data = json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")
    here = files(__name__)
    style, *scripts = (here.joinpath(name).read_text(encoding="utf-8") for name in ("explorer.css", *_SCRIPTS))
    script = "\n".join(["(() => {", "'use strict';", *scripts, "})();"])
    return (
        f"<style>{style}</style>"
        f'<div class="explorer explorer-{parts}">{head}<div><noscript>This needs JavaScript.</noscript></div>'
        f'<script type="application/json">{data}</script></div>'
        f"<script>{script}</script>"
    )
