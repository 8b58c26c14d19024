"""All figures of a model in one call."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor
from torch.distributions import Distribution, MultivariateNormal

from mnistvae._checks import check_choice, check_count, check_seed, listed
from mnistvae._products import fast_products
from mnistvae._version import __version__
from mnistvae.arrays import ArrayLike
from mnistvae.data import Batches, Binarization, ImageDataset, as_dataset, as_trained
from mnistvae.distributions import DiagonalNormal, kl_by_dimension
from mnistvae.errors import ComponentError, DataError, SettingError
from mnistvae.metrics._passes import (
    Done,
    check_dataset,
    check_model,
    depends_on_label,
    measuring,
    posteriors,
    reconstructions,
)
from mnistvae.metrics.classification import Kind, classify_codes
from mnistvae.metrics.digits import DIGIT_SHAPE, classify
from mnistvae.metrics.disentanglement import mig, sap
from mnistvae.metrics.evaluation import Direction, Evaluation, Figure
from mnistvae.metrics.generation import classifier_score, frechet_distance, label_accuracy, precision_recall
from mnistvae.metrics.inception import inception_features, inception_network
from mnistvae.metrics.latent import (
    Estimate,
    active_units,
    kl_parts,
    mutual_information,
    total_correlation,
    unit_activity,
)
from mnistvae.metrics.likelihood import bits_per_dimension, elbo, importance_sampled_nll
from mnistvae.metrics.reconstruction import mae, mse, psnr, ssim
from mnistvae.models import VAE

__all__ = ["GROUPS", "Group", "evaluate"]

#: Families of figures, in the order of the table.
Group: TypeAlias = Literal["reconstruction", "likelihood", "latent", "generation"]
GROUPS: tuple[Group, ...] = get_args(Group)

#: Images without which samples are not judged: precision and recall take the third neighbour.
_FEWEST = 5
#: Data whose images the digit classifier can read.
_DIGITS = ("mnist", "mnist-mini", "qmnist", "emnist-digits", "emnist-mnist")
#: Most codes that classifiers of codes learn from.
_CODES_TO_LEARN_FROM = 10_000
_CLASSIFIERS: dict[Kind, str] = {
    "knn": "knn_accuracy",
    "logistic": "logistic_accuracy",
    "random-forest": "forest_accuracy",
}


def evaluate(
    model: VAE,
    data: ImageDataset | ArrayLike,
    *,
    train: ImageDataset | None = None,
    num_samples: int = 500,
    binarization: Binarization = "none",
    include: Sequence[Group] = GROUPS,
    num_generated: int | None = None,
    inception: bool = False,
    batch_size: int = 512,
    seed: int = 0,
    progress: bool = False,
) -> Evaluation:
    """Measure a model: what it reconstructs, how probable it finds images, what its codes hold, what it makes up.

    Each figure is a function of its own in :mod:`mnistvae.metrics`, and says in the table how it was made. What the
    data or the model do not allow is left out, and :attr:`Evaluation.left_out` says why.

    Args:
        model: the model, on the device to measure on.
        data: images that it was not trained on: an ImageDataset, whose labels give figures by class, or a tensor or
            array (N, C, H, W).
        train: the images that it was trained on, with labels: classifiers of codes learn from them.
        num_samples: importance samples an image for the log-likelihood.
        binarization: what the model's training did to grey images; the same is done to these, once, under ``seed``.
            Generated images are compared with the grey ones.
        include: the families of figures wanted.
        num_generated: images to draw (default: as many as there are in ``data``).
        inception: also measure the samples by torchvision's Inception-v3, which is downloaded first and slow on a CPU.
        batch_size: images at once. Codes and samples are drawn a batch at a time, so figures that are drawn (the bound,
            those of samples) come out a little different with another size, as they do with another seed.
        seed: of every draw.
        progress: show a bar.

    Raises:
        DataError: data that do not fit the model, values that are not finite, or no weights of Inception-v3.
        SettingError: a setting that makes no sense.

    Example:
        >>> digits = mv.load_dataset("mnist-mini", "test")[:200]
        >>> found = mv.metrics.evaluate(mv.VAE(latent_dim=2), digits, include=["reconstruction"])
        >>> found.names()
        ['mse', 'mae', 'psnr', 'ssim']
    """
    check_model(model)
    groups = listed(include)
    if groups is None:
        raise SettingError(f"include as a list of {', '.join(GROUPS)}", repr(include), "such as ['latent']")
    for group in groups:
        check_choice("include", group, GROUPS)
    if train is not None:
        check_dataset(train)
    check_seed(seed)
    check_choice("binarization", binarization, get_args(Binarization))
    check_count("batch_size as an integer of at least 1", batch_size)
    check_count("num_samples as an integer of at least 1", num_samples)
    data = as_dataset(data, model.image_shape)
    wanted = len(data) if num_generated is None else num_generated
    generated = check_count("num_generated as an integer of at least 1", wanted)
    seen = as_trained(data, binarization, seed=seed)
    binarization = binarization if data.binarization == "none" else data.binarization
    if inception and "generation" not in groups:
        raise SettingError("'generation' in include, for inception=True", repr(groups), "leave inception out")
    if inception:
        inception_network()  # which is missed before the rest is computed, and not after it
    task = _Task(model, seen, data, train, num_samples, binarization, generated, inception, batch_size, seed, progress)
    todo: dict[Group, Callable[[], None]] = {
        "reconstruction": task.reconstruction,
        "likelihood": task.likelihood,
        "latent": task.latent,
        "generation": task.generation,
    }
    for group in GROUPS:
        if group in groups:
            todo[group]()
    return task.result()


@dataclass
class _Task:
    """An evaluation under way: the figures so far."""

    model: VAE
    #: The images as the model sees them, and as they came.
    seen: ImageDataset
    grey: ImageDataset
    train: ImageDataset | None
    num_samples: int
    binarization: Binarization
    num_generated: int
    inception: bool
    batch_size: int
    seed: int
    progress: bool
    figures: list[Figure] = field(default_factory=list)
    by_image: dict[str, Tensor] = field(default_factory=dict)
    by_dimension: dict[str, list[float]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    protocol: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tag = self.model.tag(self.binarization)
        drawn = self.binarization != "none" and self.grey.binarization == "none"
        #: What was shown, where that was drawn.
        self.shown = {"pixels": f"{self.binarization} under seed {self.seed}"} if drawn else {}

    def result(self) -> Evaluation:
        labels = self.grey.labels
        rows: list[dict[str, float]] = []
        if labels is not None and self.by_image:
            for label in sorted(set(labels.tolist())):
                own = (labels == label).cpu()
                means = {name: _mean(values[own])[0] for name, values in self.by_image.items()}
                rows.append({"class": label, "images": int(own.sum()), **means})
        common = {
            "version": __version__,
            "torch": torch.__version__,
            "dataset": self.grey.name,
            "split": self.grey.split,
            "images": len(self.grey),
            "fingerprint": Batches(self.grey).fingerprint,
            "binarization": self.binarization,
            "tag": self.tag,
            "seed": self.seed,
            "batch_size": self.batch_size,
            "device": self.model.device.type,
        }
        return Evaluation(tuple(self.figures), tuple(rows), self.by_dimension, common | self.protocol, self.left_out)

    def add(
        self,
        name: str,
        value: float,
        protocol: str,
        unit: str = "",
        better: Direction = "",
        *,
        error: float | None = None,
        tag: str = "",
        conditions: Mapping[str, Any] | None = None,
    ) -> None:
        if math.isnan(value):
            raise DataError(f"{name} to be a number", "NaN", "look at the weights: the model may have diverged")
        shared = self.shown if conditions is None else conditions
        self.figures.append(Figure(name, value, unit, better, protocol, tag, error, shared))

    def add_by_image(
        self,
        name: str,
        values: Tensor,
        protocol: str,
        unit: str,
        better: Direction,
        tag: str = "",
        conditions: Mapping[str, Any] | None = None,
    ) -> None:
        """A mean over the images, its standard error, and the values for the table of the classes."""
        values = values.cpu()
        self.by_image[name] = values
        mean, infinite = _mean(values)
        if infinite and infinite < len(values):
            protocol += f"; without {infinite} images where it is infinite"
        finite = values[values.isfinite()]
        error = float(finite.std() / math.sqrt(len(finite))) if len(finite) > 1 else None
        self.add(name, mean, protocol, unit, better, error=error, tag=tag, conditions=conditions)

    def reconstruction(self) -> None:
        """From the mean of the posterior, against what the model was shown."""
        with self.bar("reconstruction", len(self.seen)) as done:
            a, b = reconstructions(self.model, self.seen, self.batch_size, done)
            how = "mean of p(x | z) at the mean of q(z | x)"
            self.add_by_image("mse", mse(a, b), how, "", "lower")
            self.add_by_image("mae", mae(a, b), how, "", "lower")
            self.add_by_image("psnr", psnr(a, b), f"{how}, mean over images", "dB", "higher")
            try:
                self.add_by_image("ssim", ssim(a, b), f"{how}, 7 x 7 windows", "", "higher")
            except DataError as error:
                self.left_out["ssim"] = str(error)

    def likelihood(self) -> None:
        """The bound and log p(x)."""
        with self.bar("bound", len(self.seen)) as done:
            bound = elbo(self.model, self.seen, batch_size=self.batch_size, seed=self.seed, done=done)
        parts = {"negative_elbo": bound.loss, "reconstruction": bound.reconstruction, "kl": bound.kl}
        how = {
            "negative_elbo": f"{self.tag}; reconstruction + kl, beta = 1",
            "reconstruction": f"{self.tag}; -log p(x | z) at one code",
            "kl": "from q(z | x) to the prior",
        }
        for name, values in parts.items():
            direction: Direction = "lower" if name == "negative_elbo" else ""
            self.add_by_image(name, values, how[name], "nats", direction, self.tag)
        with self.bar("log-likelihood", len(self.seen)) as done:
            estimate = importance_sampled_nll(self.model, self.seen, self.num_samples, seed=self.seed, done=done)
        self.protocol["num_samples"] = self.num_samples
        effective = float(estimate.effective_samples.median())
        text = f"{self.tag}; {self.num_samples} importance samples, {effective:.3g} of them effective (median)"
        how_many = {**self.shown, "importance samples": self.num_samples}
        self.add_by_image("nll", estimate.nll, text, "nats", "lower", self.tag, how_many)
        spread = estimate.standard_error if len(self.seen) > 1 else 0.0
        bits, error = (bits_per_dimension(nats, self.model.image_shape) for nats in (estimate.mean, spread))
        text = f"{self.tag}; nll a pixel"
        self.add(
            "bits_per_dimension", bits, text, "bits", "lower", error=error or None, tag=self.tag, conditions=how_many
        )

    def latent(self) -> None:
        """What the codes hold."""
        if len(self.seen) < 2:
            names = ("active_units", "mutual_information", "total_correlation", "mig", "sap", *_CLASSIFIERS.values())
            self.left_out |= dict.fromkeys(names, "it takes two images")
            return
        with self.bar("codes", len(self.seen)) as done:
            means, posterior = self.encode(self.seen, done)
        found = active_units(means)
        self.by_dimension["activity"] = unit_activity(means).tolist()
        self.add("active_units", found, f"of {self.model.latent_dim}, variance of the posterior mean above 0.01")
        prior = self.prior()
        kl = None if prior is None or posterior is None else kl_by_dimension(posterior, prior)
        if kl is None:
            reason = "the posterior's or the prior's dimensions are not independent, or the prior sees the label"
            self.left_out["kl by dimension"] = reason
        else:
            self.by_dimension["kl"] = kl.double().mean(0).tolist()
        self.information(posterior, prior)
        labels = self.grey.labels
        reason = ""
        if labels is None:
            reason = "the data have no labels"
        elif len(set(labels.tolist())) < 2:
            reason = "the data have one class"
        elif depends_on_label(self.model, self.seen):
            reason = "the encoder is told the label, and its codes may just repeat it"
        if labels is None or reason:
            self.left_out |= dict.fromkeys(("mig", "sap", *_CLASSIFIERS.values()), reason)
            return
        self.add("mig", mig(means, labels), "the label as the one factor, 20 bins", "", "higher")
        self.add("sap", sap(means, labels), "the label as the one factor, decision trees", "", "higher")
        self.classifiers(means, labels)

    def information(self, posterior: Distribution | None, prior: Distribution | None) -> None:
        """The parts of the KL divergence over the whole data."""
        names = ("mutual_information", "total_correlation")
        if prior is None or posterior is None:
            reason = "the prior sees the label" if prior is None else "posteriors of this kind cannot be joined"
            self.left_out |= dict.fromkeys(names, reason)
            return
        parts: dict[str, Estimate] = {}
        with self.bar("information", 1) as done:
            try:
                found = kl_parts(posterior, prior, self.seed)
                parts = {name: getattr(found, name) for name in names}
            except ComponentError:  # a prior whose dimensions depend on each other, which these two do not need
                parts = {
                    "mutual_information": mutual_information(posterior, self.seed),
                    "total_correlation": total_correlation(posterior, self.seed),
                }
            done(1)
        for name, how in zip(names, ("between x and z, at most log N", "of the aggregate posterior"), strict=True):
            part = parts[name]
            text = f"{how}; {len(self.seen)} images, one code each"
            self.add(name, part.value, text, "nats", "", error=part.standard_error)

    def classifiers(self, means: Tensor, labels: Tensor) -> None:
        """How well the codes tell the classes."""
        known = None if self.train is None else self.train[:_CODES_TO_LEARN_FROM]
        known_labels = None if known is None else known.labels
        reason = ""
        if known is None or known_labels is None:
            reason = "there are no labelled training images: pass train="
        elif len(known) < _FEWEST:
            reason = f"it takes {_FEWEST} training images"
        elif len(set(known_labels.tolist())) < 2:
            reason = "the training images have one class"
        if known is None or known_labels is None or reason:
            self.left_out |= dict.fromkeys(_CLASSIFIERS.values(), reason)
            return
        learned = {"images learned from": f"{len(known)} with fingerprint {Batches(known).fingerprint}"}
        known = as_trained(known, self.binarization, seed=self.seed)
        self.protocol["learned_from"] = len(known)
        with self.bar("classifiers", len(known) + len(_CLASSIFIERS)) as done:
            codes, _ = self.encode(known, done)
            for kind, name in _CLASSIFIERS.items():
                found = classify_codes(codes, known_labels, means, labels, kind, seed=self.seed)
                how = f"{kind} on posterior means, learned on {len(known)} of the training images"
                error = math.sqrt(found.accuracy * (1 - found.accuracy) / len(labels))
                self.add(name, found.accuracy, how, "", "higher", error=error, conditions={**self.shown, **learned})
                done(1)

    def generation(self) -> None:
        """What samples look like to a classifier."""
        names = ["fd_digits", "score_digits", "precision", "recall"]
        names += ["label_accuracy"] if self.model.num_classes is not None else []
        reason = _unreadable(self.model, self.grey)
        if min(self.num_generated, len(self.grey)) < _FEWEST:
            names += ["fd_inception", "score_inception"] if self.inception else []
            reason = f"it takes {_FEWEST} images of each kind"
        if reason:
            self.left_out |= dict.fromkeys(names, reason)
        if reason and not (self.inception and "fd_inception" not in self.left_out):
            return
        self.protocol["generated"] = self.num_generated
        with self.bar("samples", self.num_generated) as done:
            made = self.samples(done)
        if not reason:
            self.by_digits(made)
        if self.inception:
            self.by_inception(made)

    def by_digits(self, made: Tensor) -> None:
        """Samples and real images, as the digit classifier sees them."""
        with self.bar("digit classifier", len(made) + len(self.grey)) as done:
            features, logits = classify(made, batch_size=self.batch_size, device=self.model.device)
            done(len(made))
            real, _ = classify(self.grey.images, batch_size=self.batch_size, device=self.model.device)
            done(len(self.grey))
        classes = self.model.num_classes
        samples = f"{len(made)} samples (means of p(x | z){'' if classes is None else ', all labels in turn'})"
        drawn = {"samples": len(made)}
        how = f"{samples} against {len(self.grey)} images, digit classifier"
        self.add("fd_digits", frechet_distance(real, features), how, "", "lower", conditions=drawn)
        score = classifier_score(logits).mean
        self.add("score_digits", score, f"{samples}, from 1 to 10, digit classifier", "", "higher", conditions=drawn)
        near = precision_recall(real, features)
        self.add("precision", near.precision, f"{how}, 3 neighbours", "", "higher", conditions=drawn)
        self.add("recall", near.recall, f"{how}, 3 neighbours", "", "higher", conditions=drawn)
        if classes is not None and classes > logits.shape[1]:
            self.left_out["label_accuracy"] = f"the digit classifier knows {logits.shape[1]} classes, not {classes}"
        elif classes is not None:
            share = label_accuracy(logits, torch.arange(len(made)) % classes)
            error = math.sqrt(share * (1 - share) / len(made))
            text = f"share of {samples} that the digit classifier reads as the label asked for"
            self.add("label_accuracy", share, text, "", "higher", error=error, conditions=drawn)

    def by_inception(self, made: Tensor) -> None:
        """Samples and real images, as Inception-v3 sees them."""
        with self.bar("inception", len(made) + len(self.grey)) as done:
            features, logits = inception_features(made, device=self.model.device)
            done(len(made))
            real, _ = inception_features(self.grey.images, device=self.model.device)
            done(len(self.grey))
        how = f"{len(made)} samples, torchvision's Inception-v3, near the published weights but not them"
        drawn = {"samples": len(made)}
        self.add("fd_inception", frechet_distance(real, features), how, "", "lower", conditions=drawn)
        self.add("score_inception", classifier_score(logits).mean, how, "", "higher", conditions=drawn)

    def samples(self, done: Done) -> Tensor:
        """Images from the prior, their labels going round the classes."""
        noise = torch.Generator().manual_seed(self.seed)
        classes = self.model.num_classes
        made = []
        for start in range(0, self.num_generated, self.batch_size):
            numbers = torch.arange(start, min(start + self.batch_size, self.num_generated))
            labels = None if classes is None else numbers % classes
            with fast_products(self.model.device):
                made.append(self.model.sample(len(numbers), labels, generator=noise).cpu())
            done(len(numbers))
        return torch.cat(made)

    def encode(self, data: ImageDataset, done: Done) -> tuple[Tensor, Distribution | None]:
        """The means of q(z | x), (N, latent_dim), and q(z | x) of all images as one distribution, where that can be."""
        found = posteriors(self.model, data, self.batch_size, done)
        return torch.cat([part.mean for part in found]), _joined(found)

    def prior(self) -> Distribution | None:
        """p(z); None where it sees the label."""
        with measuring(self.model, self.seed):
            labels = None if self.model.num_classes is None else torch.arange(self.model.num_classes)
            prior = self.model.latent_prior(labels)
        return None if prior.batch_shape else prior

    @contextmanager
    def bar(self, what: str, total: int) -> Iterator[Done]:
        """A progress bar for a block."""
        from tqdm import tqdm

        with tqdm(total=total, desc=what, unit="image", leave=False, disable=not self.progress) as bar:
            yield bar.update


def _mean(values: Tensor) -> tuple[float, int]:
    """The mean of the values that are finite (infinite where none is), and how many are not."""
    finite = values[values.isfinite()]
    return float(finite.mean() if len(finite) else values[0]), len(values) - len(finite)


def _joined(parts: Sequence[Distribution]) -> Distribution | None:
    """Distributions of several batches as one; None for a kind that cannot be joined."""
    if all(isinstance(part, DiagonalNormal) for part in parts):
        return DiagonalNormal(*(torch.cat([getattr(part, name) for part in parts]) for name in ("mu", "logvar")))
    if all(isinstance(part, MultivariateNormal) for part in parts):
        loc, scale = (torch.cat([getattr(part, name) for part in parts]) for name in ("loc", "scale_tril"))
        return MultivariateNormal(loc, scale_tril=scale, validate_args=False)
    return None


def _unreadable(model: VAE, data: ImageDataset) -> str:
    """Why the digit classifier cannot judge, or ""."""
    if model.image_shape != DIGIT_SHAPE:
        return f"the digit classifier reads images of shape {DIGIT_SHAPE}, these are {model.image_shape}"
    if data.name not in _DIGITS:
        return f"the digit classifier reads MNIST's digits, these are {data.name!r}"
    return ""
