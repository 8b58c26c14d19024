"""Quality and variety of generated images, as the features and the logits of a classifier show them.

The functions take the classifier's output, not images: a score belongs to the network that it was made with. Those made
with :mod:`mnistvae.metrics.digits` are called ``fd_digits`` and ``score_digits``, and none of them compares with one
that was made with Inception-v3. All is computed in float64 on the device of the real (or only) input.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from mnistvae._checks import check_count
from mnistvae._passes import OfBatch
from mnistvae.arrays import ArrayLike, as_rows
from mnistvae.errors import DataError
from mnistvae.labels import Labels, as_labels
from mnistvae.metrics.digits import classify, digit_logits
from mnistvae.metrics.frechet import check_as_many_features, frechet_distance
from mnistvae.metrics.metric import Estimate, Metric
from mnistvae.view import View

__all__ = [
    "METRICS",
    "ClassifierScore",
    "Features",
    "PrecisionRecall",
    "by_digit_classifier",
    "classifier_score",
    "expect_digits",
    "label_accuracy",
    "precision_recall",
]

_EPS = torch.finfo(torch.float64).eps
#: Distances that are held at once: 8 MB.
_DISTANCES = 2**20


class ClassifierScore(NamedTuple):
    """The mean of a score over the splits of a set, and its standard deviation."""

    mean: float
    std: float


def classifier_score(logits: ArrayLike, *, splits: int = 1) -> ClassifierScore:
    r"""Score of a classifier that is sure of each generated image and sees all classes alike.

    .. math:: \exp\left(\frac{1}{N} \sum_n D_{KL}\left(p(y \mid x_n) \,\|\, \bar{p}(y)\right)\right), \qquad
        \bar{p}(y) = \frac{1}{N} \sum_n p(y \mid x_n)

    Salimans et al. (2016), "Improved techniques for training GANs", section 4. With Inception-v3 this is the
    inception score. It does not look at real images.

    Higher is better; from 1, the same answer for each image, to the number of classes.

    Args:
        logits: Logits of the classifier, (N, K).
        splits: Number of parts of the set that are scored alone. Image n is in part n modulo ``splits``, so that
            images in order of their class are spread evenly.

    Returns:
        Mean and standard deviation over the parts; the latter is 0 for one.

    Raises:
        DataError: If there are fewer images than splits, the shape is another, or a logit is not finite.
        SettingError: If there is less than one split.

    Example:
        >>> score, _ = classifier_score(100.0 * torch.eye(10))  # ten images, each surely of a class of its own
        >>> round(score, 6)
        10.0
    """
    splits = check_count("splits as an integer of at least 1", splits)
    rows = as_rows(logits, "logits")
    if len(rows) < splits:
        raise DataError(f"at least {splits} images for {splits} splits", str(len(rows)), "pass more, or fewer splits")
    log_p = rows.log_softmax(1)
    scores = torch.stack([_score(log_p[part::splits]) for part in range(splits)])
    return ClassifierScore(float(scores.mean()), float(scores.std(correction=0)))


def _score(log_p: Tensor) -> Tensor:
    log_marginal = log_p.logsumexp(0) - math.log(len(log_p))
    return (log_p.exp() * (log_p - log_marginal)).sum(1).mean().clamp_min(0.0).exp()


class PrecisionRecall(NamedTuple):
    """The shares of generated images among the real ones, and of real images among the generated ones."""

    precision: float
    recall: float


def precision_recall(real: ArrayLike, generated: ArrayLike, *, k: int = 3) -> PrecisionRecall:
    r"""Improved precision and recall of generated images: their quality and their variety.

    A set's manifold is the union of balls about its features, each reaching to its k-th nearest other:

    .. math:: M(A) = \bigcup_{a \in A} \left\{ f : \|f - a\| \le \|a - \mathrm{NN}_k(a, A)\| \right\}

    Precision is the share of generated features in the manifold of the real ones, recall the share of real features
    in the manifold of the generated ones. Kynkäänniemi et al. (2019), "Improved precision and recall metric for
    assessing generative models", equations 1 and 2.

    Higher is better for both; from 0 to 1. They depend on the numbers of images and on k: compare like with like.

    Args:
        real: Features of real images, (N, D).
        generated: Features of generated images, (M, D), by the same network.
        k: Number of neighbours that a ball reaches; the paper has 3.

    Raises:
        DataError: If a set has no more than k images, the numbers of features differ, or one is not finite.
        SettingError: If k is below 1.

    Example:
        >>> real = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
        >>> precision_recall(real, torch.tensor([[1.0], [1.25], [1.5]]), k=1)  # all good, and all alike
        PrecisionRecall(precision=1.0, recall=0.25)
    """
    k = check_count("k as an integer of at least 1", k)
    real = as_rows(real, "real")
    generated = as_rows(generated, "generated").to(real.device)
    check_as_many_features(real, generated)
    for name, rows in (("real", real), ("generated", generated)):
        if len(rows) <= k:
            raise DataError(f"more than k = {k} images in {name}", str(len(rows)), "pass more images, or a smaller k")
    reach_of_real, reach_of_generated = _squared_reach(real, k), _squared_reach(generated, k)
    middle = real.mean(0)
    real, generated = real - middle, generated - middle
    among_real = torch.zeros(len(generated), dtype=torch.bool, device=real.device)
    among_generated = torch.zeros(len(real), dtype=torch.bool, device=real.device)
    # A feature at the edge of a ball, or on top of its centre, is inside: rounding must not put it out.
    for here, squared in _squared_distances(real, generated, rounded=-1):
        among_real |= (squared - reach_of_real[here, None]).amin(0) <= 0
        among_generated[here] = (squared - reach_of_generated).amin(1) <= 0
    return PrecisionRecall(float(among_real.cpu().double().mean()), float(among_generated.cpu().double().mean()))


def _squared_reach(points: Tensor, k: int) -> Tensor:
    """Squared distance of each point to its k-th nearest other, (N,)."""
    points = points - points.mean(0)  # distances come from products, which cancel far from the origin
    # The point itself is the nearest, or as near as one of its doubles.
    chunks = _squared_distances(points, points, rounded=1)
    return torch.cat([squared.topk(k + 1, largest=False).values[:, k] for _, squared in chunks])


def _squared_distances(a: Tensor, b: Tensor, rounded: int) -> Iterator[tuple[slice, Tensor]]:
    """Rows of the matrix (len(a), len(b)), a chunk at a time, each in the memory of the one before.

    They are rounded up (1) or down (-1), by as much as products of such lengths may be wrong.
    """
    slack = 4 * a.shape[1] * _EPS
    squares_a, squares_b = ((1 + rounded * slack) * x.square().sum(1) for x in (a, b))
    step = min(len(a), max(1, _DISTANCES // len(b)))
    memory = a.new_empty(step, len(b))
    for start in range(0, len(a), step):
        here = slice(start, min(start + step, len(a)))
        squared = torch.addmm(squares_b, a[here], b.T, alpha=-2, out=memory[: here.stop - start])
        yield here, squared.add_(squares_a[here, None])


def label_accuracy(logits: ArrayLike, labels: Labels) -> float:
    r"""Share of images that a classifier reads as the class that was asked for.

    .. math:: \frac{1}{N} \sum_n \mathbb{1}\left[\arg\max_k l_{nk} = y_n\right]

    Higher is better; from 0 to 1. The classifier errs, too: real images are the ceiling.

    Args:
        logits: Logits of the classifier on generated images, (N, K).
        labels: Class that each was generated for, (N,), or one integer for all.

    Raises:
        DataError: If labels do not match or are not below K, the shape is another, or a logit is not finite.

    Example:
        >>> label_accuracy(torch.eye(3), [0, 1, 1])  # doctest: +ELLIPSIS
        0.666...
    """
    rows = as_rows(logits, "logits")
    wanted = as_labels(labels, len(rows), rows.shape[1]).to(rows.device)
    return float((rows.argmax(1) == wanted).cpu().double().mean())


class Features(NamedTuple):
    """Features of real images and of samples by one network, and its logits of the samples."""

    #: Features of the images, (N, D).
    real: Tensor
    #: Features of the samples, (M, D).
    generated: Tensor
    #: Logits of the samples, (M, K).
    logits: Tensor


def by_digit_classifier(view: View) -> Features:
    """The images of a view, as they came, and its samples, as the digit classifier sees them.

    Args:
        view: A model and a data set of digits.
    """
    (generated,) = view.sampled(view.once(_reader))
    generated = generated.to(view.model.device)
    with view.bar("digit classifier", len(view)) as done:
        real, _ = classify(view.data.images, batch_size=view.batch_size, device=view.model.device)
        done(len(real))
    return Features(real, generated, digit_logits(generated))


def expect_digits(view: View) -> None:
    """Announce that the digit classifier will read the samples."""
    view.expect(sampled=[view.once(_reader)])


def _reader(view: View) -> OfBatch:
    """The function that gives the digit classifier's features of a batch of samples."""
    device = view.model.device
    return lambda samples: classify(samples, batch_size=len(samples), device=device)[0]


def _samples(view: View) -> str:
    labels = "" if view.model.num_classes is None else ", all labels in turn"
    return f"{view.num_generated} samples (means of p(x | z){labels})"


def _against(view: View) -> str:
    return f"{_samples(view)} against {len(view)} images, digit classifier"


def _neighbours(view: View) -> PrecisionRecall:
    return precision_recall(*view.once(by_digit_classifier)[:2])


def _distance(view: View) -> float:
    return frechet_distance(*view.once(by_digit_classifier)[:2])


def _score_digits(view: View) -> float:
    return classifier_score(view.once(by_digit_classifier).logits).mean


def _how_scored(view: View) -> str:
    return f"{_samples(view)}, from 1 to 10, digit classifier"


def _near(name: str) -> Metric:
    return Metric(
        name,
        better="higher",
        needs=_DIGITS,
        compute=lambda view: getattr(view.once(_neighbours), name),
        protocol=lambda view: f"{_against(view)}, 3 neighbours",
    )


def _label_accuracy(view: View) -> Estimate:
    labels = torch.arange(view.num_generated, device="cpu") % (view.model.num_classes or 1)
    share = label_accuracy(view.once(by_digit_classifier).logits, labels)
    return Estimate(share, math.sqrt(share * (1 - share) / view.num_generated))


def _how_read(view: View) -> str:
    return f"share of {_samples(view)} that the digit classifier reads as the label asked for"


_DIGITS, _LABELS = ("digits",), ("a label to ask for", "digits", "readable classes")
METRICS = (
    Metric("fd_digits", "", "lower", _DIGITS, compute=_distance, protocol=_against),
    Metric("score_digits", "", "higher", _DIGITS, compute=_score_digits, protocol=_how_scored),
    _near("precision"),
    _near("recall"),
    Metric("label_accuracy", "", "higher", _LABELS, compute=_label_accuracy, protocol=_how_read),
)
