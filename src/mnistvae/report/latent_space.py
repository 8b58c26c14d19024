"""The section on the latent space: maps of the codes, and clusters of the map."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mnistvae import analysis, plotting
from mnistvae._html import as_text
from mnistvae.analysis.embedding import EmbeddingKind, embed_later
from mnistvae.analysis.errors import errors_of_view
from mnistvae.errors import MnistvaeError
from mnistvae.explorer import explorer_block
from mnistvae.report.section import Report
from mnistvae.view import View, begin

if TYPE_CHECKING:
    from mnistvae.analysis import Embedding

__all__ = ["EXAMPLES", "best_map", "chosen", "latent_space", "prepare", "without_umap"]

#: Codes that are embedded and clustered at most: t-SNE takes a minute for four times as many.
_EMBEDDED = 4000
#: Settings of the methods: of t-SNE coarser forces and fewer iterations than usual, which keep neighbours as well, in
#: half the time.
_SETTINGS: Mapping[str, Mapping[str, Any]] = {"tsne": {"angle": 0.8, "max_iter": 750}}
#: Images in a row of examples.
EXAMPLES = 10
#: Images without which there is neither a map nor clusters.
_FEWEST = 5
_METHODS = {"codes": "its latent dimensions", "pca": "principal axes", "tsne": "t-SNE", "umap": "UMAP"}


def chosen(view: View) -> Tensor:
    """Return the numbers of the images that are embedded and clustered."""
    if len(view) <= _EMBEDDED:
        return torch.arange(len(view), device="cpu")
    generator = torch.Generator().manual_seed(view.seed)
    return torch.randperm(len(view), generator=generator, device="cpu")[:_EMBEDDED].sort().values


def prepare(view: View) -> None:
    """Begin what the section takes longest for, if it is going to be drawn."""
    if view.model.latent_dim > 2 and len(view.once(chosen)) >= _FEWEST:
        codes = view.codes.means[view.once(chosen)]
        begin(view, embed_later(codes, seed=view.seed, **_SETTINGS["tsne"]), embedding, "tsne")


def embedding(view: View, kind: EmbeddingKind) -> Embedding | MnistvaeError:
    """Return a map of the chosen codes, or the error where it could not be made."""
    try:
        return analysis.embed(view.codes.means[view.once(chosen)], kind, seed=view.seed, **_SETTINGS.get(kind, {}))
    except MnistvaeError as error:
        if kind != "umap":
            raise
        return error  # one map of three, and by other people's code: the rest is worth having


def maps(report: Report) -> dict[str, Embedding]:
    """Return maps of the codes by each method that makes a difference; none for codes of one dimension, or too few."""
    view = report.view
    if view.codes.latent_dim == 1 or len(view.once(chosen)) < _FEWEST:
        return {}
    more = view.codes.latent_dim > 2
    wanted: dict[EmbeddingKind, bool] = {"pca": True, "tsne": more, "umap": more and report.umap}
    kinds = [kind for kind, there in wanted.items() if there]
    found = {kind: view.once(embedding, kind) for kind in kinds}
    return {kind: one for kind, one in found.items() if not isinstance(one, MnistvaeError)}


def best_map(report: Report) -> Embedding | None:
    """Return the map that clusters are found in: the last of :func:`maps`."""
    return next(reversed(maps(report).values()), None)


def latent_space(report: Report) -> None:
    """Maps of the codes, and their clusters."""
    view, page = report.view, report.page
    _moving_plane(report)
    numbers = view.once(chosen)
    if len(numbers) < len(view):
        page.text(f"Maps and clusters are of {len(numbers):,} images, drawn from the {len(view):,}.")
    if len(numbers) < _FEWEST:
        page.text("There are fewer than five images: too few for a map or for clusters.")
        return
    found, labels = maps(report), view.codes[numbers].labels
    _say_without_umap(report)
    if not found:
        page.text("A code of one dimension has no map.")
        return
    for kind, one in found.items():
        name = "latent_space.png" if one.kind == "codes" else f"latent_space_{kind}.png"
        figure = plotting.latent_map(one.points, labels, class_names=report.view.data.class_names, names=one.names)
        share = f" They hold {sum(one.explained):.0%} of the variance." if one.explained else ""
        page.picture(name, figure, f"The mean code of each image, by {_METHODS[one.kind]}.{share}")
    points = found[list(found)[-1]]
    if labels is not None:
        caption = "The same map, a panel for each class; the lines hold half and nine tenths of its codes."
        figure = plotting.latent_density(
            points.points, labels, class_names=report.view.data.class_names, names=points.names
        )
        page.picture("latent_space_per_digit.png", figure, caption)
    _clusters(report, points)


def _moving_plane(report: Report) -> None:
    """The explorer's plane: the codes of some images, and the image under a handle to drag."""
    try:
        report.page.html(explorer_block(report.view))
    except MnistvaeError as error:  # a layer that a page cannot run, or images that it cannot draw
        report.page.text(f"There is no plane to move on: {error}.")
        return
    report.page.text("The model runs in this page, its weights rounded to half precision.")


def without_umap(error: MnistvaeError) -> str:
    """Return the reason why there is no map by UMAP."""
    if error.got == "none":
        return "there is no map by UMAP, since umap-learn is not installed: pip install 'mnistvae[umap]'"
    return f"there is no map by UMAP: {error}"


def _say_without_umap(report: Report) -> None:
    """Say on the page, and in a warning, why there is no map by UMAP though one was asked for."""
    reason = report.without_umap
    if report.umap and report.view.codes.latent_dim > 2:
        failed = report.view.once(embedding, "umap")
        if isinstance(failed, MnistvaeError):
            reason = without_umap(failed)
            warnings.warn(reason, stacklevel=2)
    if reason:
        report.page.text(f"{reason[0].upper()}{reason[1:]}.")


def _clusters(report: Report, embedded: Embedding) -> None:
    """Tables and pictures of the clusters of a map, and of its outliers."""
    view, page, points = report.view, report.page, embedded.points
    numbers = view.once(chosen)
    codes = view.codes[numbers]
    rows = []
    for kind in ("dbscan", "hdbscan"):  # the last one is drawn
        clusters = analysis.find_clusters(points, kind)
        agreed = analysis.agreement(clusters, codes.labels) if codes.labels is not None and clusters.count else None
        settings = ", ".join(f"{key}={as_text(value)}" for key, value in clusters.settings.items())
        found = ["", ""] if agreed is None else [agreed.rand_index, agreed.mutual_information]
        rows.append([kind, settings, clusters.count, f"{clusters.noise:.1%}", *found])
    header = ["method", "settings", "clusters", "noise", "adjusted Rand index", "mutual information"]
    page.table("clusters.csv", header, rows)
    far = analysis.outliers(points, clusters, EXAMPLES)
    outlying = [int(numbers[one.index]) for one in far]
    names = {one.index: str(number) for one, number in zip(far, outlying, strict=True)}
    images = None
    if clusters.count:
        images = analysis.decode_centroids(view.model, codes.means, clusters, codes.labels)
    near = {one.index: one.nearest for one in far if one.nearest >= 0}
    figure = plotting.cluster_map(
        points, clusters.members, images=images, outliers=names, nearest=near, names=embedded.names
    )
    caption = (
        "Clusters of the map (HDBSCAN), A the largest; the images that their mean codes decode to; outliers by number, "
        "each with a line to the nearest cluster."
    )
    page.picture("clusters.png", figure, caption)
    errors = view.once(errors_of_view)
    groups = {"outliers": outlying}
    figure = plotting.error_examples(view.shown.images, errors.images, errors.mse, groups, numbered=True)
    caption = "The outliers, their reconstructions, their squared errors and their numbers."
    page.picture("outliers.png", figure, caption)
    rows = [
        [number, plotting.cluster_name(one.nearest) if one.nearest >= 0 else "", one.distance, one.noise]
        for number, one in zip(outlying, far, strict=True)
    ]
    page.table("outliers.csv", ["image", "nearest cluster", "distance in its spreads", "noise"], rows)
