"""The needs of metrics: one table of what a model and a data set have to offer, and of the words where they do not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch

from mnistvae.data import Batches
from mnistvae.labels import class_clash
from mnistvae.metrics import generation, inception, latent
from mnistvae.metrics._factors import fault_of, names_of
from mnistvae.metrics._paths import held_codes
from mnistvae.metrics.digits import DATASETS, DIGIT_SHAPE, DigitClassifier
from mnistvae.metrics.likelihood import weights_missing
from mnistvae.metrics.similarity import WINDOW
from mnistvae.priors import GaussianMixture
from mnistvae.view import View

__all__ = ["NEEDS", "Need", "unmet"]

#: Images without which samples are not judged, nor codes learned from: precision and recall take the third neighbour.
_FEWEST = 5
#: Images without which codes are not measured by factors: each half has some of each of 20 bins.
_FEWEST_FACTORS = 50


def _met(_: View) -> str | None:
    return None


def _nothing(_: View) -> dict[str, Any]:
    return {}


class Need(NamedTuple):
    """One thing that a metric may need of a view."""

    #: The reason why a view does not meet it: None where it does, "" where the metric makes no sense for the model.
    reason: Callable[[View], str | None] = _met
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
    if view.labels is None:
        return "the data have no labels" if view.data.labels is None else "some of the images have no label"
    return None


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
    if clash := class_clash(view.data.class_names, view.known.class_names):
        return f"the training images number their classes otherwise ({clash})"
    return "the training images have one class" if len(set(view.known.labels.tolist())) < 2 else None


def _learned_from(view: View) -> dict[str, Any]:
    if view.known is None:
        return {}
    return {"images learned from": f"{len(view.known)} with fingerprint {Batches(view.known).fingerprint}"}


def _density(view: View) -> str | None:
    return None if view.model.encoder.has_density else "the encoder gives points, which have no density"


def _weights(view: View) -> str | None:
    return _density(view) if weights_missing(view) else None


def _moving(view: View) -> str | None:
    return _density(view) or ((held := held_codes(view.model)) and f"chains cannot move through {held}")


def _scaled(view: View) -> str | None:
    classes = view.model.encoder.has_density and getattr(view.model.support, "is_discrete", False)
    held = None if classes else held_codes(view.model)  # the means of classes are probabilities
    return held and f"the threshold is for codes of a standard normal's scale, not for {held}"


def _joined(view: View) -> str | None:
    return _density(view) or ("posteriors of this kind cannot be joined" if view.posterior is None else None)


def _kl_by_dimension(view: View) -> str | None:
    if no_density := _density(view):
        return no_density
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
    if view.model.image_shape != DIGIT_SHAPE:
        reason = f"the digit classifier reads images of shape {DIGIT_SHAPE}, these are {view.model.image_shape}"
    elif view.data.name.lower() not in DATASETS:
        how = "if they are such digits, ImageDataset(images, labels, name='mnist') says so"
        reason = f"the digit classifier reads MNIST's digits, these are {view.data.name!r} ({how})"
    else:
        return _five_of_each(view)
    return _five_of_each(view) or reason


def _readable_classes(view: View) -> str | None:
    classes, known = view.model.num_classes or 0, DigitClassifier.num_classes
    return f"the digit classifier knows {known} classes, not {classes}" if classes > known else None


def _factors(view: View) -> str | None:
    factors = view.data.factors
    if factors is None:
        return ""
    if len(view) < _FEWEST_FACTORS:
        return f"it takes {_FEWEST_FACTORS} images"
    labels = view.labels if view.codes_depend_on_label else None
    classes = [each for name, each in factors.values.items() if factors.in_classes(name)]
    if labels is not None and any(torch.equal(each, labels) for each in classes):
        return "a factor is the label, which the encoder is told, and its codes may just repeat it"
    return fault_of(factors) or None


def _of_samples(prepare: Callable[[View], object], reason: Callable[[View], str | None] = _met) -> Need:
    return Need(
        reason,
        conditions=lambda view: {"samples": view.num_generated},
        protocol=lambda view: {"generated": view.num_generated},
        prepare=prepare,
        of_samples=True,
    )


#: The needs that :class:`Metric` may name, in the words of the how-to page on metrics.
NEEDS: Mapping[str, Need] = MappingProxyType(
    {
        "two images": Need(lambda view: "it takes two images" if len(view) < 2 else None),
        "7 x 7 pixels": Need(_window),
        "labels": Need(_labels),
        "two classes": Need(_two_classes),
        "codes not told the label": Need(_own_codes),
        "training labels": Need(_known_labels, _learned_from, lambda view: {"learned_from": len(view.known or ())}),
        "one prior": Need(lambda view: "the prior sees the label" if view.prior is None else None),
        "joined posterior": Need(_joined),
        "codes that move": Need(_moving),
        "codes of a normal's scale": Need(_scaled),
        "KL by dimension": Need(_kl_by_dimension),
        "importance samples": Need(
            _weights,
            conditions=lambda view: {"importance samples": view.num_samples},
            protocol=lambda view: {"num_samples": view.num_samples},
        ),
        "reconstructions": Need(prepare=lambda view: view.keep("reconstructions")),
        "samples": _of_samples(lambda view: view.keep("samples")),
        "digits": _of_samples(generation.expect_digits, _digits),
        "inception": _of_samples(inception.expect_inception, _five_of_each),
        "a label to ask for": Need(lambda view: "" if view.model.num_classes is None else None),
        "readable classes": Need(_readable_classes),
        "factors": Need(_factors, lambda view: {"factors": names_of(view)}),
        "a mixture prior": Need(lambda view: None if isinstance(view.model.prior, GaussianMixture) else ""),
    }
)
