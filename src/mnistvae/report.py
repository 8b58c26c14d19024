"""Everything about one trained model: figures, tables, and one page that shows them all."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch

from mnistvae import analysis, plotting
from mnistvae._checks import check_choice, check_seed
from mnistvae._component import spec_text, to_spec
from mnistvae._files import output_folder
from mnistvae._page import Page, as_text
from mnistvae.analysis.embedding import umap_class
from mnistvae.data import Binarization, ImageDataset, as_trained, going_round
from mnistvae.errors import ComponentError, DataError, MnistvaeError, SettingError
from mnistvae.metrics import Classification, Evaluation, classify_codes, evaluate, roc_auc
from mnistvae.models import VAE
from mnistvae.plotting import png_bytes
from mnistvae.view import View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mnistvae.training import History

__all__ = ["write_report"]

#: Codes that are embedded and clustered at most: t-SNE takes a minute for four times as many.
_EMBEDDED = 4000
_METHODS = {"codes": "its latent dimensions", "pca": "principal axes", "tsne": "t-SNE", "umap": "UMAP"}
#: Images of a row of examples.
_ROW = 10


def write_report(
    model: VAE,
    data: ImageDataset,
    folder: str | Path,
    *,
    train: ImageDataset | None = None,
    history: History | None = None,
    binarization: Binarization = "none",
    about: Mapping[str, Any] | None = None,
    num_samples: int = 50,
    umap: bool = False,
    seed: int = 0,
    progress: bool = False,
) -> Path:
    """Measure and draw everything about a model, as PNG, CSV, JSON and one self-contained page, ``report.html``.

    What the data or the model do not allow is left out, and the page says so: without labels there are no figures by
    class and no classifiers, with one latent dimension there is no plane. So is the map by UMAP where umap-learn is not
    installed, with a warning.

    Args:
        model: the model, on the device to compute on.
        data: images that it was not trained on.
        folder: made if need be; files of the same names are replaced.
        train: the images that it was trained on: classifiers of codes learn from the first 10,000 of them.
        history: of its training.
        binarization: what its training did to grey images.
        about: what else is known of the model, for its table.
        num_samples: importance samples an image for the likelihood.
        umap: also embed the codes by UMAP, which the extra ``[umap]`` installs.
        seed: of every draw.
        progress: show a bar for each stage.

    Returns:
        The path of the page.

    Raises:
        DataError: data that do not fit the model, or values that are not finite.
        SettingError: a number of samples, a seed or a way to binarize that makes no sense.
        OutputError: the folder cannot be written.
    """
    check_seed(seed)
    check_choice("binarization", binarization, get_args(Binarization))
    without_umap = ""
    if umap and model.latent_dim > 2:  # said before anything else takes its time
        try:
            umap_class()
        except SettingError as error:
            without_umap = _without_umap(error)
            warnings.warn(without_umap, stacklevel=2)
    with output_folder(folder, "", "") as target:
        task = _Report(model, data, target, binarization, seed, progress)
        task.without_umap = without_umap
        return _write(task, train, history, about or {}, num_samples, umap=umap)


def _without_umap(error: MnistvaeError) -> str:
    """What is said in place of the map."""
    if error.got == "none":
        return "there is no map by UMAP, since umap-learn is not installed: pip install 'mnistvae[umap]'"
    return f"there is no map by UMAP: {error}"


def _write(
    task: _Report,
    train: ImageDataset | None,
    history: History | None,
    about: Mapping[str, Any],
    num_samples: int,
    *,
    umap: bool,
) -> Path:
    """Measure, then write one part after the other."""
    model, data = task.model, task.grey
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        evaluation = evaluate(
            model,
            data,
            train=train,
            num_samples=num_samples,
            binarization=task.binarization,
            seed=task.seed,
            progress=task.progress,
        )
    for warning in caught:  # for who waits for the report; who reads it finds them in the page
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    task.reservations = list(dict.fromkeys(str(one.message) for one in caught if one.category is UserWarning))
    evaluation.to_json(task.page.folder / "metrics.json")
    if evaluation.by_class:
        evaluation.to_csv(task.page.folder / "by_class.csv")
    stages: list[tuple[str, Callable[[], None]]] = [
        ("model", lambda: task.what_it_is(about, evaluation)),
        ("training", lambda: task.how_it_trained(history)),
        ("reconstruction", task.what_it_reconstructs),
        ("generation", task.what_it_generates),
        ("latent space", lambda: task.how_its_codes_look(umap=umap)),
        ("classifiers", lambda: task.what_its_codes_tell(train)),
        ("failures", task.where_it_fails),
        ("summary", lambda: task.summary(history)),
    ]
    for name, stage in stages:
        with task.bar(name):
            stage()
    return task.page.write("report.html")


class _Report:
    """A report under way."""

    def __init__(
        self, model: VAE, data: ImageDataset, folder: Path, binarization: Binarization, seed: int, progress: bool
    ) -> None:
        self.model = model
        self.grey = data
        self.data = as_trained(data, binarization, seed=seed)
        self.binarization = binarization
        self.seed = seed
        self.progress = progress
        self.page = Page(folder, f"{type(model).__name__} on {data.name}")
        self.codes = analysis.encode_dataset(model, self.data)
        self.errors = analysis.reconstruction_errors(model, self.data)
        self.labels = self.codes.labels
        self.classifier: Classification | None = None
        self.points: analysis.Embedding | None = None
        #: What is to be known of the figures.
        self.reservations: list[str] = []
        #: Why there is no map by UMAP, though one was asked for.
        self.without_umap = ""
        #: Numbers of the images that are embedded and clustered.
        self.chosen = torch.arange(len(self.codes))
        if len(self.codes) > _EMBEDDED:
            generator = torch.Generator().manual_seed(seed)
            self.chosen = torch.randperm(len(self.codes), generator=generator)[:_EMBEDDED].sort().values

    @contextmanager
    def bar(self, name: str) -> Iterator[None]:
        """A progress bar for a stage."""
        from tqdm import tqdm

        with tqdm(total=1, desc=name, leave=False, disable=not self.progress) as bar:
            yield
            bar.update()

    def picture(self, name: str, figure: Figure, caption: str) -> None:
        """Write a figure and show it in the page."""
        self.page.picture(name, png_bytes(figure), caption)

    # --- the parts ----------------------------------------------------------------------------------------------

    def what_it_is(self, about: Mapping[str, Any], evaluation: Evaluation) -> None:
        self.page.section("What the model is")
        numbers = sum(weight.numel() for weight in self.model.parameters())
        facts: dict[str, Any] = {"latent dimensions": self.model.latent_dim, "weights": f"{numbers:,}"}
        facts |= {key: value for key, value in about.items() if not isinstance(value, dict)}
        self.page.table(None, ["", ""], list(facts.items()))
        try:
            parts = spec_text(to_spec(self.model))
        except ComponentError:
            parts = repr(self.model)
        self.page.details("Its parts", parts)
        self.page.section("Its figures")
        self.page.text(
            f"Images: {len(self.grey):,} of {self.grey.name} ({self.grey.split}). Arrows show which way is better; "
            "likelihoods are comparable under one tag only."
        )
        arrows = {"lower": "↓", "higher": "↑", "": ""}
        rows = [[arrows[one.better], one.name, one.text(), one.unit, one.protocol] for one in evaluation]
        self.page.table(None, ["", "figure", "value", "unit", "how it was made"], rows)
        self.page.text(*(f"{one[0].upper()}{one[1:]}." for one in self.reservations))
        self.page.text(*(f"Left out: {name}, since {reason}." for name, reason in evaluation.left_out.items()))

    def how_it_trained(self, history: History | None) -> None:
        self.page.section("How it trained")
        if history is None or len(history) == 0:
            self.page.text("Nothing is known of its training: there is no history beside the model.")
            return
        last = history[-1]
        self.page.text(f"{len(history)} epochs; the last one ended with a loss of {last['loss']:.2f} nats an image.")
        self.picture("loss.png", plotting.loss_curves(history), "Loss and its two terms over the epochs.")

    def what_it_reconstructs(self) -> None:
        self.page.section("What it reconstructs")
        shown = going_round(self.data, _ROW)
        y = None if self.model.num_classes is None or self.labels is None else self.labels[shown]
        codes, noise = self.codes[shown], torch.Generator().manual_seed(self.seed)
        drawn = codes.means + codes.deviations * torch.randn(codes.means.shape, generator=noise)
        sampled = analysis.decode_codes(self.model, drawn, y)
        rows = {"from a sampled code": sampled, "from the mean code": self.errors.images[shown]}
        figure = plotting.reconstruction_grid(self.data.images[shown], rows)
        self.picture("reconstructions.png", figure, "Images over what is left of them after the code.")
        for name, values, unit in (
            ("ssim_distribution.png", self.errors.ssim, "SSIM"),
            ("psnr_distribution.png", self.errors.psnr, "PSNR, dB"),
        ):
            if values is None:
                self.page.text("Images this small have no structural similarity.")
                continue
            figure = plotting.histogram(values, unit)
            self.picture(name, figure, f"{unit} of each image's reconstruction from its mean code.")
        if self.labels is None:
            self.page.text("The images have no labels, so nothing is said by class.")
            return
        means = {label: one.mean for label, one in self.errors.by_class().items()}
        for name, by_class, unit in (("MSE", means, "MSE"), ("PSNR", self._psnr(), "PSNR, dB")):
            figure = plotting.class_bars({name: by_class}, unit, title=f"{name} by class")
            self.picture(f"{name.lower()}_by_class.png", figure, f"Mean {name} of each class.")

    def what_it_generates(self) -> None:
        self.page.section("What it generates")
        noise = torch.Generator().manual_seed(self.seed)
        samples = self.model.sample(25, generator=noise)
        figure = plotting.sample_grid(samples, columns=5)
        self.picture("generated_samples.png", figure, "Draws from the prior.")
        if len(self.data) > 1:
            caption = "From the code of one image to that of another, by turns straight and along an arc."
            self.picture("interpolation.png", self._interpolation(), caption)
        if self.model.latent_dim > 1:
            principal = self.model.latent_dim > 2
            left, right = np.quantile(self.codes.means.numpy(), [0.02, 0.98], axis=0)[:, :2].tolist()
            seen = (left[0], right[0], left[1], right[1])  # where the codes are
            spread = not principal and left[0] < right[0] and left[1] < right[1]
            plane = analysis.latent_plane(
                self.model,
                15,
                seen if spread else (-2.0, 2.0, -2.0, 2.0),
                axes="principal" if principal else (0, 1),
                codes=self.codes.means if principal else None,
                label=None if self.model.num_classes is None else 0,
            )
            figure = plotting.latent_grid(plane.images, plane.x, plane.y, names=plane.names)
            what = "the plane of the two principal axes of the codes" if principal else "the latent plane"
            self.picture("latent_plane.png", figure, f"What is decoded over {what}.")
        code = self.codes.means.mean(0)
        dimensions = self.codes.means.var(0, correction=0).argsort(descending=True)[:10].tolist()
        values, spread = np.linspace(-2, 2, 9).tolist(), self.codes.means.std(0, correction=0)
        label = None if self.model.num_classes is None else 0
        figure = plotting.latent_traversals(
            analysis.traverse(self.model, code, dimensions, values, label, spread),
            values,
            [str(one) for one in dimensions],
            unit="standard deviations of the codes",
        )
        caption = "The mean code with one dimension after the other moved, the most active dimensions first."
        self.picture("traversals.png", figure, caption)

    def how_its_codes_look(self, *, umap: bool) -> None:
        self.page.section("How its latent space looks")
        if len(self.codes) > _EMBEDDED:
            self.page.text(f"Maps and clusters are of {_EMBEDDED:,} images, drawn from the {len(self.codes):,}.")
        codes = self.codes[self.chosen]
        if len(codes) < 5:
            self.page.text("There are fewer than five images: too few for a map or for clusters.")
            return
        maps = self._maps(codes, umap=umap)
        for kind, found in maps.items():
            name = "latent_space.png" if found.kind == "codes" else f"latent_space_{kind}.png"
            figure = plotting.latent_map(found.points, codes.labels, names=found.names)
            share = f" They hold {sum(found.explained):.0%} of the variance." if found.explained else ""
            self.picture(name, figure, f"The mean code of each image, by {_METHODS[found.kind]}.{share}")
        if not maps:
            self.page.text("A code of one dimension has no map.")
        else:
            self.points = maps[list(maps)[-1]]
            if codes.labels is not None:
                caption = "The same map, a panel for each class; the lines hold half and nine tenths of its codes."
                figure = plotting.latent_density(self.points.points, codes.labels, names=self.points.names)
                self.picture("latent_space_per_digit.png", figure, caption)
            self._clusters(codes)

    def _maps(self, codes: analysis.LatentCodes, *, umap: bool) -> dict[str, analysis.Embedding]:
        """The codes in the plane, by each method that makes a difference."""
        if codes.latent_dim == 1:
            return {}
        maps = {"pca": analysis.embed(codes.means, "pca", seed=self.seed)}
        if maps["pca"].kind == "codes":
            return maps
        maps["tsne"] = analysis.embed(codes.means, "tsne", seed=self.seed)
        if umap and not self.without_umap:
            try:
                maps["umap"] = analysis.embed(codes.means, "umap", seed=self.seed)
            except MnistvaeError as error:  # one map of three, and by other people's code: the rest is worth having
                self.without_umap = _without_umap(error)
                warnings.warn(self.without_umap, stacklevel=2)
        if self.without_umap:
            self.page.text(f"{self.without_umap[0].upper()}{self.without_umap[1:]}.")
        return maps

    def _clusters(self, codes: analysis.LatentCodes) -> None:
        if self.points is None:
            return
        points = self.points.points
        rows = []
        for kind in ("dbscan", "hdbscan"):  # the last one is what is drawn
            clusters = analysis.find_clusters(points, kind)
            agreed = analysis.agreement(clusters, codes.labels) if codes.labels is not None and clusters.count else None
            settings = ", ".join(f"{key}={as_text(value)}" for key, value in clusters.settings.items())
            figures = ["", ""] if agreed is None else [agreed.rand_index, agreed.mutual_information]
            rows.append([kind, settings, clusters.count, f"{clusters.noise:.1%}", *figures])
        header = ["method", "settings", "clusters", "noise", "adjusted Rand index", "mutual information"]
        self.page.table("clusters.csv", header, rows)
        far = analysis.outliers(points, clusters, _ROW)
        names = {one.index: str(int(self.chosen[one.index])) for one in far}
        images = analysis.decode_centroids(self.model, codes.means, clusters, codes.labels) if clusters.count else None
        figure = plotting.cluster_map(points, clusters.members, images=images, outliers=names, names=self.points.names)
        caption = "Clusters of the map (HDBSCAN), the images that their mean codes decode to, and outliers by number."
        self.picture("clusters.png", figure, caption)
        numbers = [int(self.chosen[one.index]) for one in far]
        outlying = {"outliers": numbers}
        figure = plotting.error_examples(self.data.images, self.errors.images, self.errors.mse, outlying, numbered=True)
        caption = "The outliers, their reconstructions, their squared errors and, in brackets, their numbers."
        self.picture("outliers.png", figure, caption)
        rows = [[number, one.nearest, one.distance, one.noise] for number, one in zip(numbers, far, strict=True)]
        self.page.table("outliers.csv", ["image", "nearest cluster", "distance in its spreads", "noise"], rows)

    def what_its_codes_tell(self, train: ImageDataset | None) -> None:
        self.page.section("What its codes tell of the class")
        if self.labels is None or train is None or train.labels is None:
            self.page.text("Classifiers of codes need labels, and the images that the model was trained on.")
            return
        if len(set(self.labels.tolist())) < 2:
            self.page.text("The images are of one class.")
            return
        if View(self.model, self.data).codes_depend_on_label:
            self.page.text("The encoder is told the label, and its codes may just repeat it: classifiers are left out.")
            return
        known = as_trained(train[:10_000], self.binarization, seed=self.seed)
        codes = analysis.encode_dataset(self.model, known)
        rows = []
        for kind in ("knn", "logistic", "mlp", "random-forest"):  # the last one is what is drawn
            found = classify_codes(codes.means, known.labels, self.codes.means, self.labels, kind, seed=self.seed)  # type: ignore[arg-type]
            area = roc_auc(self.labels, found.probabilities, found.classes).micro
            rows.append([kind, found.accuracy, found.precision, found.recall, found.f1, area])
            self.classifier = found
        header = ["classifier", "accuracy", "precision", "recall", "F1", "micro ROC-AUC"]
        self.page.text(
            f"Learned from the codes of {len(codes):,} training images, judged on {len(self.labels):,} others."
        )
        self.page.table("classifiers.csv", header, rows)
        if self.classifier is not None:
            best = self.classifier
            figure = plotting.confusion_matrix(best.confusion, best.classes, title="random forest")
            self.picture("confusion_matrix.png", figure, "Which class is taken for which.")
            figure = plotting.roc_curves(self.labels, best.probabilities, best.classes, title="random forest")
            self.picture("roc_curves.png", figure, "How sure it can be, class by class.")

    def where_it_fails(self) -> None:
        self.page.section("Where it fails")
        extremes = self.errors.extremes(_ROW, seed=self.seed)
        groups = {
            "lowest error": extremes.lowest,
            "highest error": extremes.highest,
            "drawn at random": extremes.random,
        }
        figure = plotting.error_examples(self.data.images, self.errors.images, self.errors.mse, groups)
        self.picture("errors.png", figure, "The best, the worst and some others, with their squared errors.")

    def summary(self, history: History | None) -> None:
        """Everything in one figure."""
        shown, found = going_round(self.data, _ROW), self.classifier
        figure = plotting.summary_figure(
            self.data.images[shown],
            self.errors.images[shown],
            history=history,
            points=None if self.points is None else self.points.points,
            point_labels=None if self.labels is None else self.labels[self.chosen],
            names=("", "") if self.points is None else self.points.names,
            confusion=None if found is None else found.confusion,
            classes=() if found is None else found.classes,
            labels=self.labels,
            probabilities=None if found is None else found.probabilities,
        )
        self.page.section("The whole in one figure")
        shown_parts = {
            "Training": history is not None and len(history) > 0,
            "codes": self.points is not None,
            "reconstructions": True,
            "classifier": found is not None,
        }
        caption = ", ".join(name for name, there in shown_parts.items() if there)
        self.picture("vae_mnist_complete_analysis.png", figure, f"{caption[0].upper()}{caption[1:]}.")

    # --- pieces -------------------------------------------------------------------------------------------------

    def _psnr(self) -> dict[int, float]:
        if self.labels is None:
            raise DataError("labels", "none")
        finite = self.errors.psnr.isfinite()
        return {
            label: float(self.errors.psnr[finite & (self.labels == label)].mean())
            for label in sorted(set(self.labels[finite].tolist()))
        }

    def _interpolation(self) -> Figure:
        """Rows between the first images of two classes, straight and along an arc."""
        shown = going_round(self.data, 6)
        pairs = list(zip(shown[::2].tolist(), shown[1::2].tolist(), strict=False))
        rows = []
        for a, b in pairs:
            for kind in ("straight", "spherical"):
                way = analysis.interpolate_codes(self.codes.means[a], self.codes.means[b], 10, kind)
                label = None
                if self.model.num_classes is not None and self.labels is not None:
                    label = [int(self.labels[a])] * len(way)
                rows.append(analysis.decode_codes(self.model, way, label))
        return plotting.sample_grid(torch.cat(rows), columns=10, title="by turns straight and along an arc")
