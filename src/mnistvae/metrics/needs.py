"""The needs of metrics: one table of what a model and a data set have to offer, and of the words where they do not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from mnistvae.data import Batches
from mnistvae.metrics import generation, inception, latent
from mnistvae.metrics.digits import DATASETS, DIGIT_SHAPE, DigitClassifier
from mnistvae.metrics.similarity import WINDOW
from mnistvae.view import View

__all__ = ["NEEDS", "Need", "unmet"]

#: Images without which samples are not judged, nor codes learned from: precision and recall take the third neighbour.
_FEWEST = 5


def _nothing(_: View) -> dict[str, Any]:
    return {}


class Need(NamedTuple):
    """One thing that a metric may need of a view."""

    #: The need in words.
    meaning: str
    #: The reason why a view does not meet it: None where it does, "" where the metric makes no sense for the model.
    reason: Callable[[View], str | None] = lambda _: None
    #: Conditions that two scores must have in common to be compared.
    conditions: Callable[[View], Mapping[str, Any]] = _nothing
    #: Entries of the protocol of an evaluation that has such a metric.
    protocol: Callable[[View], Mapping[str, Any]] = _nothing
    #: Announces to the view what is going to be asked of it.
    prepare: Callable[[View], object] = _nothing
    #: True if the metric looks at samples, which are not binarized, in place of the images shown.
    of_samples: bool = False


def unmet(view: View, needs: Iterable[str]) -> str | None:
    """The reason why a view does not meet some needs, the first that is found; None if it meets all.

    Args:
        view: A model and a data set.
        needs: Names of :data:`NEEDS`.

    Example:
        >>> view = mv.View(mv.VAE(latent_dim=2), torch.rand(5, 1, 28, 28))
        >>> unmet(view, ["two images", "two classes"])
        'the data have no labels'
    """
    return next((reason for name in needs if (reason := NEEDS[name].reason(view)) is not None), None)


def _labels(view: View) -> str | None:
    return "the data have no labels" if view.labels is None else None


def _two_classes(view: View) -> str | None:
    one = view.labels is not None and len(set(view.labels.tolist())) < 2
    return "the data have one class" if one else _labels(view)


def _own_codes(view: View) -> str | None:
    told = "the encoder is told the label, and its codes may just repeat it"
    return told if view.codes_depend_on_label else None


def _known_labels(view: View) -> str | None:
    if view.known is None or view.known.labels is None:
        return "there are no labelled training images: pass train="
    if len(view.known) < _FEWEST:
        return f"it takes {_FEWEST} training images"
    return "the training images have one class" if len(set(view.known.labels.tolist())) < 2 else None


def _learned_from(view: View) -> dict[str, Any]:
    if view.known is None:
        return {}
    return {"images learned from": f"{len(view.known)} with fingerprint {Batches(view.known).fingerprint}"}


def _joined(view: View) -> str | None:
    return "posteriors of this kind cannot be joined" if view.posterior is None else None


def _kl_by_dimension(view: View) -> str | None:
    reason = "the posterior's or the prior's dimensions are not independent, or the prior sees the label"
    return reason if view.once(latent.kl_of_dimensions) is None else None


def _window(view: View) -> str | None:
    height, width = view.data.image_shape[1:]
    small = min(height, width) < WINDOW
    return f"it takes images of {WINDOW} x {WINDOW} pixels, these are {height} x {width}" if small else None


def _five_of_each(view: View) -> str | None:
    few = min(view.num_generated, len(view)) < _FEWEST
    return f"it takes {_FEWEST} images of each kind" if few else None


def _digits(view: View) -> str | None:
    if (few := _five_of_each(view)) is not None:
        return few
    if view.model.image_shape != DIGIT_SHAPE:
        return f"the digit classifier reads images of shape {DIGIT_SHAPE}, these are {view.model.image_shape}"
    if view.data.name not in DATASETS:
        return f"the digit classifier reads MNIST's digits, these are {view.data.name!r}"
    return None


def _readable_classes(view: View) -> str | None:
    classes, known = view.model.num_classes or 0, DigitClassifier.num_classes
    return f"the digit classifier knows {known} classes, not {classes}" if classes > known else None


def _of_samples(meaning: str, reason: Callable[[View], str | None], prepare: Callable[[View], object]) -> Need:
    def number(view: View) -> dict[str, Any]:
        return {"samples": view.num_generated}

    def generated(view: View) -> dict[str, Any]:
        return {"generated": view.num_generated}

    return Need(meaning, reason, number, generated, prepare, of_samples=True)


#: The needs that :class:`Metric` may name.
NEEDS: Mapping[str, Need] = MappingProxyType(
    {
        "two images": Need("at least two images", lambda view: "it takes two images" if len(view) < 2 else None),
        "7 x 7 pixels": Need("images of at least 7 x 7 pixels", _window),
        "labels": Need("labels of the images", _labels),
        "two classes": Need("labels of at least two classes", _two_classes),
        "codes not told the label": Need("codes that do not depend on the label", _own_codes),
        "training labels": Need(
            "labelled training images of two classes, at least five",
            _known_labels,
            conditions=_learned_from,
            protocol=lambda view: {"learned_from": len(view.known or ())},
        ),
        "one prior": Need(
            "a prior that does not depend on the label",
            lambda view: "the prior sees the label" if view.prior is None else None,
        ),
        "joined posterior": Need("posteriors that make one distribution over all images", _joined),
        "KL by dimension": Need("posterior and prior of independent dimensions", _kl_by_dimension),
        "importance samples": Need(
            "importance samples, whose number is the view's num_samples",
            conditions=lambda view: {"importance samples": view.num_samples},
            protocol=lambda view: {"num_samples": view.num_samples},
        ),
        "reconstructions": Need(
            "view.reconstructions, kept from the one pass", prepare=lambda view: view.keep("reconstructions")
        ),
        "samples": _of_samples(
            "view.samples, kept from the one pass", lambda _: None, lambda view: view.keep("samples")
        ),
        "digits": _of_samples(
            "MNIST's digits, as the data set's name says, and at least five", _digits, generation.expect_digits
        ),
        "a label to ask for": Need("a conditional model", lambda view: "" if view.model.num_classes is None else None),
        "readable classes": Need("no more classes than the digit classifier knows", _readable_classes),
        "inception": _of_samples("at least five images and five samples", _five_of_each, inception.expect_inception),
    }
)
