"""The sections of a report, in their order: one function each, all on the same view."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mnistvae import analysis, plotting
from mnistvae._component import spec_text, to_spec
from mnistvae.analysis.errors import class_means, errors_of_view
from mnistvae.data import going_round
from mnistvae.distributions import DiagonalNormal
from mnistvae.errors import ComponentError
from mnistvae.metrics import ARROWS, NEEDS_OF_CLASSIFIERS, Score, code_classification, roc_auc, unmet
from mnistvae.metrics.classification import Kind, begin_code_classification
from mnistvae.report.latent_space import EXAMPLES, best_map, chosen, latent_space, prepare
from mnistvae.report.section import Report, Section
from mnistvae.view import View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["SECTIONS"]

#: Classifiers of codes, in the order of the table; the last one is drawn.
_KINDS: tuple[Kind, ...] = ("knn", "logistic", "mlp", "random-forest")
#: Those that take several seconds.
_LONG: tuple[Kind, ...] = ("random-forest", "mlp")


def model(report: Report) -> None:
    """Facts about the model, and its parts."""
    network = report.view.model
    weights = sum(weight.numel() for weight in network.parameters())
    facts: dict[str, Any] = {"latent dimensions": network.latent_dim, "weights": f"{weights:,}"}
    facts |= {key: value for key, value in report.about.items() if not isinstance(value, dict)}
    report.page.table(None, ["", ""], list(facts.items()))
    try:
        parts = spec_text(to_spec(network))
    except ComponentError:
        parts = repr(network)
    report.page.details("Its parts", parts)


def scores(report: Report) -> None:
    """The table of all scores."""
    data, page = report.view.data, report.page
    page.text(
        f"Images: {len(data):,} of {data.name} ({data.split}). Arrows show which way is better; "
        "likelihoods are comparable under one tag only."
    )
    rows = [[ARROWS[one.better].strip(), one.name, one.text(), one.unit] for one in report.evaluation]
    page.table("scores.csv", ["better", "score", "value", "unit"], rows)
    page.details("How each score was made", "\n".join(f"{one.name}: {one.protocol}" for one in report.evaluation))
    page.text(*(f"{one[0].upper()}{one[1:]}." for one in report.reservations))
    page.text(*(f"Left out: {name}, since {reason}." for name, reason in report.evaluation.left_out.items()))


#: Scores that say most about a model, and their names on the page; the first four that were measured are shown.
_FIRST = {
    "nll": "negative log-likelihood",
    "negative_elbo": "negative evidence lower bound",
    "ssim": "structural similarity",
    "active_units": "active latent dimensions",
    "fd_digits": "distance of samples from digits",
    "mse": "squared error",
    "knn_accuracy": "nearest-neighbour accuracy",
}


def glance(report: Report) -> None:
    """Four numbers, and a strip of reconstructions and samples."""
    view, page, scores = report.view, report.page, report.evaluation
    found = [scores.score(name) for name in _FIRST if name in scores][:4]
    page.numbers([(f"{one.value:.4g}", one.unit, _named(one)) for one in found])
    shown = view.once(_examples)
    rows = {"reconstruction": view.once(errors_of_view).images[shown], "sample": view.once(_drawn)[: len(shown)]}
    page.picture(
        "glance.png", plotting.reconstruction_grid(view.shown.images[shown], rows), "Images, reconstructions, samples."
    )


def _named(score: Score) -> str:
    """The name of a score at a glance."""
    unlike = score.name == "nll" and "no log-likelihood" in score.protocol  # which the table says of grey pixels
    return "cross-entropy over all codes, no log-likelihood" if unlike else _FIRST[score.name]


def training(report: Report) -> None:
    """The curves of the training."""
    history = report.history
    if history is None or len(history) == 0:
        told = "There is no history of the training beside the model; its table above has what else is known."
        nothing = "Nothing is known of its training: there is no history beside the model."
        report.page.text(told if report.about else nothing)
        return
    last = history[-1]["loss"]
    report.page.text(f"{len(history)} epochs; the last one ended with a loss of {last:.2f} nats an image.")
    report.page.picture("loss.png", plotting.loss_curves(history), "Loss and its terms over the epochs.")


def reconstruction(report: Report) -> None:
    """Reconstructions of a few images, and the errors of all."""
    view, page = report.view, report.page
    errors, shown = view.once(errors_of_view), view.once(_examples)
    y = None if view.model.num_classes is None or view.labels is None else view.labels[shown]
    images, noise = view.shown.images[shown], torch.Generator().manual_seed(view.seed)
    if isinstance(view.posterior, DiagonalNormal):  # which is there: nothing is encoded again
        codes = view.codes[shown]
        drawn = codes.means + codes.deviations * torch.randn(codes.means.shape, generator=noise, device="cpu")
        sampled = analysis.decode_codes(view.model, drawn, y)
    else:
        sampled = view.model.reconstruct(images, y, sample=True, generator=noise).cpu()
    rows = {
        "from a sampled code": sampled,
        "from the mean code": errors.images[shown],
    }
    figure = plotting.reconstruction_grid(images, rows)
    page.picture(
        "reconstructions.png", figure, "Images, and their reconstructions from a drawn code and from the mean code."
    )
    for name, values, unit in (("ssim", errors.ssim, "SSIM"), ("psnr", errors.psnr, "PSNR, dB")):
        if values is None:
            page.text("Images this small have no structural similarity.")
            continue
        caption = f"{unit} of each image's reconstruction from its mean code."
        page.picture(f"{name}_distribution.png", plotting.histogram(values, unit), caption, narrow=True)
    if view.labels is None:
        page.text("The images have no labels, so nothing is said by class.")
        return
    for name, values, unit in (("MSE", errors.mse, "MSE"), ("PSNR", errors.psnr, "PSNR, dB")):
        means, spreads = class_means(values, view.labels)
        how: dict[str, Any] = {"from_zero": name == "MSE", "class_names": view.data.class_names}
        figure = plotting.class_bars({name: means}, unit, errors={name: spreads}, title=f"{name} by class", **how)
        page.picture(f"{name.lower()}_by_class.png", figure, f"Mean {name} of each class.", narrow=True)


def generation(report: Report) -> None:
    """Samples, and images along lines and over a plane of the latent space."""
    view, page = report.view, report.page
    figure = plotting.sample_grid(view.once(_drawn)[:25], columns=5)
    page.picture("generated_samples.png", figure, "Draws from the prior.")
    if len(view) < 2:
        page.text("Of one image there are no lines between codes, and no spread of theirs.")
        return
    caption = "From the code of one image to that of another, by turns straight and along an arc."
    page.picture("interpolation.png", _interpolation(view), caption)
    if view.model.latent_dim > 1:
        what = "the plane of the two principal axes of the codes" if view.model.latent_dim > 2 else "the latent plane"
        page.picture("latent_plane.png", _plane(view), f"Images decoded over {what}{_told(view)}.")
    means = view.codes.means
    dimensions = means.var(0, correction=0).argsort(descending=True)[:10].tolist()
    values, spread = np.linspace(-2, 2, 9).tolist(), means.std(0, correction=0)
    figure = plotting.latent_traversals(
        analysis.traverse(view.model, means.mean(0), dimensions, values, _label(view), spread),
        values,
        [str(one) for one in dimensions],
        unit="standard deviations of the codes",
    )
    caption = "The mean code with one dimension after the other moved, the most active dimensions first"
    page.picture("traversals.png", figure, f"{caption}{_told(view)}.")


def begin_classifiers(view: View) -> None:
    """Begin the classifiers that take longest."""
    if unmet(view, NEEDS_OF_CLASSIFIERS) is None:
        begin_code_classification(view, _LONG)


def classifiers(report: Report) -> None:
    """Classifiers that learn the labels from codes."""
    view, page = report.view, report.page
    if reason := unmet(view, NEEDS_OF_CLASSIFIERS):
        page.text(f"Classifiers of codes are left out, since {reason}.")
        return
    rows = []
    for kind in _KINDS:
        found = view.once(code_classification, kind)
        area = roc_auc(view.labels, found.probabilities, found.classes).micro  # type: ignore[arg-type]
        rows.append([kind, found.accuracy, found.precision, found.recall, found.f1, area])
    page.text(f"Learned from the codes of {len(view.known or ()):,} training images, judged on {len(view):,} others.")
    page.table("classifiers.csv", ["classifier", "accuracy", "precision", "recall", "F1", "micro ROC-AUC"], rows)
    figure = plotting.confusion_matrix(found.confusion, _names(view, found.classes), title="random forest")
    page.picture("confusion_matrix.png", figure, "Numbers of images by true and predicted class.")
    more: dict[str, Any] = {"class_names": view.data.class_names, "title": "random forest"}
    figure = plotting.roc_curves(view.labels, found.probabilities, found.classes, **more)  # type: ignore[arg-type]
    page.picture("roc_curves.png", figure, "True against false positive rates of each class.")


def failures(report: Report) -> None:
    """The images that are reconstructed best and worst."""
    view = report.view
    errors = view.once(errors_of_view)
    extremes = errors.extremes(EXAMPLES, seed=view.seed)
    groups = {
        "lowest error": extremes.lowest,
        "highest error": extremes.highest,
        "drawn at random": extremes.random,
    }
    figure = plotting.error_examples(view.shown.images, errors.images, errors.mse, groups)
    report.page.picture("errors.png", figure, "The best, the worst and some others, with their squared errors.")


def summary(report: Report) -> None:
    """The main pictures in one figure."""
    view, history = report.view, report.history
    shown, points = view.once(_examples), best_map(report)
    found = None if unmet(view, NEEDS_OF_CLASSIFIERS) else view.once(code_classification, _KINDS[-1])
    figure = plotting.summary_figure(
        view.shown.images[shown],
        view.once(errors_of_view).images[shown],
        samples=view.once(_drawn),
        history=history,
        points=None if points is None else points.points,
        point_labels=None if view.labels is None else view.labels[view.once(chosen)],
        names=("", "") if points is None else points.names,
        confusion=None if found is None else found.confusion,
        classes=() if found is None else found.classes,
        labels=view.labels,
        class_names=view.data.class_names,
        probabilities=None if found is None else found.probabilities,
        title=report.page.title,
    )
    parts = {
        "Training": history is not None and len(history) > 0,
        "codes": points is not None,
        "reconstructions and samples": True,
        "classifier": found is not None,
    }
    caption = ", ".join(name for name, there in parts.items() if there)
    report.page.picture("vae_mnist_complete_analysis.png", figure, f"{caption[0].upper()}{caption[1:]}.")


#: The sections of a report, in their order.
SECTIONS: tuple[Section, ...] = (
    Section("At a glance", glance),
    Section("Model", model),
    Section("Scores", scores),
    Section("Training", training),
    Section("Reconstruction", reconstruction),
    Section("Generation", generation),
    Section("Latent space", latent_space, prepare),
    Section("Classifiers of the codes", classifiers, begin_classifiers),
    Section("Best and worst reconstructions", failures),
    Section("Summary", summary),
)


def _examples(view: View) -> Tensor:
    """Numbers of a few images, of one class after the other."""
    return going_round(view.shown, EXAMPLES)


def _drawn(view: View) -> Tensor:
    """Draws from the prior, for pictures: four rows of examples."""
    return view.model.sample(4 * EXAMPLES, generator=torch.Generator().manual_seed(view.seed))


def _names(view: View, classes: NDArray[Any]) -> list[str]:
    """Names of classes; their numbers where they have none."""
    names = view.data.class_names
    return [str(number if names is None else names[number]) for number in classes.tolist()]


def _label(view: View) -> int | None:
    """The label of images that are decoded for no image in particular."""
    return None if view.model.num_classes is None else 0


def _told(view: View) -> str:
    """Words on the label that the decoder is told for such images."""
    label = _label(view)
    return "" if label is None else f"; the decoder is told class {_names(view, np.array([label]))[0]}"


def _plane(view: View) -> Figure:
    """Images over the principal plane of the codes, or over a latent space of two dimensions."""
    codes, principal = view.codes.means, view.model.latent_dim > 2
    left, right = np.quantile(codes.numpy(), [0.02, 0.98], axis=0)[:, :2].tolist()
    seen = (left[0], right[0], left[1], right[1])  # the box that holds nearly all codes
    spread = not principal and left[0] < right[0] and left[1] < right[1]
    plane = analysis.latent_plane(
        view.model,
        15,
        seen if spread else (-2.0, 2.0, -2.0, 2.0),
        axes="principal" if principal else (0, 1),
        codes=codes if principal else None,
        label=_label(view),
    )
    return plotting.latent_grid(plane.images, plane.x, plane.y, names=plane.names)


def _interpolation(view: View) -> Figure:
    """Rows between the first images of two classes, straight and along an arc."""
    shown = going_round(view.shown, 6).tolist()
    rows, names = [], []
    for a, b in zip(shown[::2], shown[1::2], strict=False):
        for kind in ("straight", "spherical"):
            way = analysis.interpolate_codes(view.codes.means[a], view.codes.means[b], 10, kind)
            told = view.model.num_classes is not None and view.labels is not None
            names.append("along an arc" if kind == "spherical" else "straight")
            rows.append(analysis.decode_codes(view.model, way, [int(view.labels[a])] * len(way) if told else None))  # type: ignore[index]
    return plotting.sample_grid(torch.cat(rows), columns=10, names=names)
