"""All metrics of a model in one call: a loop over their rows, each on the same view."""

from __future__ import annotations

import math
import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor

from mnistvae._checks import check_choice, check_instance, listed
from mnistvae._version import __version__
from mnistvae.arrays import ArrayLike
from mnistvae.data import Batches, Binarization, ImageDataset
from mnistvae.errors import DataError, SettingError, type_name
from mnistvae.metrics import (
    classification,
    clustering,
    disentanglement,
    factor_vae,
    generation,
    importances,
    information,
    latent,
    likelihood,
    reconstruction,
    similarity,
)
from mnistvae.metrics import (
    inception as inception_v3,
)
from mnistvae.metrics._guarded import FailedError, Guarded, guarded
from mnistvae.metrics.metric import Estimate, Metric
from mnistvae.metrics.needs import NEEDS, unmet
from mnistvae.metrics.record import Evaluation, Score
from mnistvae.models import VAE
from mnistvae.plugins import resolve
from mnistvae.view import View

__all__ = ["GROUPS", "METRICS", "Group", "evaluate", "evaluate_view"]

#: Families of metrics, in the order of the table.
Group: TypeAlias = Literal["reconstruction", "likelihood", "latent", "generation"]
GROUPS: tuple[Group, ...] = get_args(Group)
#: The metrics of each family.
METRICS: Mapping[Group, tuple[Metric, ...]] = MappingProxyType(
    {
        "reconstruction": (*reconstruction.METRICS, *similarity.METRICS),
        "likelihood": likelihood.METRICS,
        "latent": (
            *(*latent.METRICS, *information.METRICS, *disentanglement.METRICS, *importances.METRICS),
            *(*factor_vae.METRICS, *classification.METRICS, *clustering.METRICS),
        ),
        "generation": generation.METRICS,
    }
)


def evaluate(
    model: VAE,
    data: ImageDataset | ArrayLike,
    *,
    train: ImageDataset | None = None,
    num_samples: int = 500,
    binarization: Binarization = "none",
    include: Sequence[Group] = GROUPS,
    metrics: Sequence[Metric | str] = (),
    num_generated: int | None = None,
    inception: bool = False,
    batch_size: int = 512,
    seed: int = 0,
    progress: bool = False,
) -> Evaluation:
    """Measure a model: its reconstructions, the likelihood of images, its codes, its samples, and metrics of your own.

    Each score is computed by a function of its own in :mod:`mnistvae.metrics`, and says in the table how it was made.
    Metrics that the data or the model do not allow are left out, and :attr:`Evaluation.left_out` says why; so are
    metrics of your own that fail, and the rest is kept.

    Args:
        model: The model, on the device to measure on.
        data: Images that it was not trained on: an ImageDataset, whose labels give scores by class, or a tensor or
            array (N, C, H, W).
        train: Images that it was trained on, with labels: classifiers of codes learn from them.
        num_samples: Number of importance samples for each image, for the log-likelihood.
        binarization: How training turned grey images into black and white; the same is done to these, once, under
            ``seed``. Generated images are compared with the grey ones.
        include: Families of the package's metrics.
        metrics: Metrics of your own, see :class:`Metric`: objects, "module:NAME", or names under which an installed
            package offers them (the entry points ``mnistvae.metrics``).
        num_generated: Number of images to draw (default: as many as there are in ``data``).
        inception: Whether to measure samples by torchvision's Inception-v3, too; it is downloaded, and slow on a CPU.
        batch_size: Number of images that are computed at once. Codes and samples are drawn a batch at a time, so scores
            that are drawn (the bound, those of samples) come out a little different with another size, as they do with
            another seed.
        seed: Seed of all that is drawn.
        progress: Whether to show a bar.

    Raises:
        DataError: If the data do not fit the model, a value is not finite, or Inception-v3 has no weights.
        SettingError: If a setting makes no sense, or a metric has a name that is taken.

    Warns:
        UserWarning: If a metric of your own is left out, since it raises an error, gives NaN, or gives something else
            than it says.

    Example:
        >>> digits = mv.load_dataset("mnist-mini", "test")[:200]
        >>> found = mv.metrics.evaluate(mv.VAE(latent_dim=2), digits, include=["reconstruction"])
        >>> found.names()
        ['mse', 'mae', 'psnr', 'ssim']
    """
    view = View(
        model,
        data,
        train=train,
        binarization=binarization,
        num_generated=num_generated,
        num_samples=num_samples,
        batch_size=batch_size,
        seed=seed,
        progress=progress,
    )
    return evaluate_view(view, include=include, metrics=metrics, inception=inception)


def evaluate_view(
    view: View,
    *,
    include: Sequence[Group] = GROUPS,
    metrics: Sequence[Metric | str] = (),
    inception: bool = False,
    before_each: Callable[[], object] = lambda: None,
) -> Evaluation:
    """Measure a model on a view, whose codes and pictures are then there for other uses; see :func:`evaluate`.

    Args:
        view: A model and a data set, with the settings of the evaluation.
        include: Families of the package's metrics.
        metrics: Metrics of your own.
        inception: Whether to measure samples by torchvision's Inception-v3, too.
        before_each: Function that is called before each metric is computed.

    Raises:
        MnistvaeError: If :func:`evaluate` raises one.

    Warns:
        UserWarning: If a metric of your own fails, and is left out.
    """
    view = check_instance("a View", view, View, "View(model, data)")
    ours = _included(include, inception=inception)
    rows = [*ours, *_own(view, metrics)]
    reasons = {metric: unmet(view, metric.needs) for metric in rows}
    rows = [metric for metric in rows if reasons[metric] is None]
    for metric in rows:
        for need in metric.needs:
            NEEDS[need].prepare(view)
    view.expect(reconstructed=[metric.compute for metric in rows if metric.per == "reconstruction"])
    scores: list[Score] = []
    by_image: dict[str, Tensor] = {}
    by_dimension: dict[str, list[float]] = {}
    protocol = _protocol(view)
    for metric in rows:
        before_each()
        try:
            values = _values(view, metric)
            if metric.per == "dimension":
                by_dimension[metric.name] = [_number(metric, value) for value in values.tolist()]
            else:
                scores.append(_score(view, metric, values))
        except FailedError as failed:
            reasons[metric] = f"it {failed}"
            warnings.warn(f"the metric {metric.name!r} {failed}; it is left out, the rest is kept", stacklevel=3)
            continue
        if metric.per in {"image", "reconstruction"}:
            by_image[metric.name] = values
        protocol |= dict(chain.from_iterable(NEEDS[need].protocol(view).items() for need in metric.needs))
    left_out = {metric.label: reason for metric, reason in reasons.items() if reason}
    kept = {name: values.double().numpy() for name, values in by_image.items()}
    names = view.data.class_names or ()
    return Evaluation(tuple(scores), _by_class(view, by_image), by_dimension, protocol, left_out, kept, names)


def _included(include: Sequence[Group], *, inception: bool) -> list[Metric]:
    """The package's metrics of some families, in the order of the table."""
    groups = listed(include)
    if groups is None:
        raise SettingError(f"include as a list of {', '.join(GROUPS)}", repr(include), "such as ['latent']")
    groups = [check_choice("include", group, GROUPS) for group in groups]
    if inception and "generation" not in groups:
        raise SettingError("'generation' in include, for inception=True", repr(groups), "leave inception out")
    if inception:
        inception_v3.inception_network()  # which is missed before the rest is computed, and not after it
    more = inception_v3.METRICS if inception else ()
    return [*chain.from_iterable(METRICS[group] for group in GROUPS if group in groups), *more]


def _own(view: View, metrics: Sequence[Metric | str]) -> list[Metric]:
    """Metrics of a user's own, each made to say what is wrong where it fails."""
    given = listed(metrics)
    if given is None:
        raise SettingError("metrics as a list", type_name(metrics), "metrics=[...]")
    taken = {metric.label for metric in chain(*METRICS.values(), inception_v3.METRICS)} | {"class", "name", "images"}
    found: list[Metric] = []
    for one in given:
        named = resolve("metric", one, of=Metric) if isinstance(one, str) else one
        metric = check_instance("metrics of the class Metric", named, Metric, "Metric(name, compute=...)")
        if metric.label in taken:
            raise SettingError("a metric with a name of its own", repr(metric.label), "give it another name")
        taken.add(metric.label)
        guard = view.once(guarded, metric)
        words = metric.protocol if isinstance(metric.protocol, str) else guard.protocol
        found.append(replace(metric, compute=guard, protocol=words))
    return found


def _values(view: View, metric: Metric) -> Any:
    """The values of a metric: a tensor on the CPU, a number or an Estimate."""
    found = view.reconstructed(metric.compute)[0] if metric.per == "reconstruction" else metric.compute(view)
    found = found.cpu() if isinstance(found, Tensor) else found
    return metric.compute.whole(found) if isinstance(metric.compute, Guarded) else found


def _score(view: View, metric: Metric, values: Any) -> Score:
    """The score of a metric: the value, or the mean of the values that are finite."""
    protocol = metric.protocol if isinstance(metric.protocol, str) else metric.protocol(view)
    error, conditions = None, _conditions(view, metric)
    if metric.per == "data":
        value, error = values if isinstance(values, Estimate) else (values, None)
    else:
        finite = values[values.isfinite()]
        value = math.nan if bool(values.isnan().any()) else _mean(values)
        if 0 < len(finite) < len(values):
            protocol += f"; without {len(values) - len(finite)} images where it is infinite"
            conditions["images left out"] = _numbers_of(values.isfinite().logical_not())
        error = float(finite.std() / math.sqrt(len(finite))) if len(finite) > 1 else None
    tag = view.tag if metric.tagged else ""
    return Score(metric.name, _number(metric, value), metric.unit, metric.better, protocol, tag, error, conditions)


def _numbers_of(chosen: Tensor) -> str:
    """Some of N images, (N,) booleans, in words that are the same for the same images only."""
    numbers = chosen.nonzero().flatten().tolist()
    which = str(numbers) if len(numbers) <= 8 else f"numbers with checksum {zlib.crc32(str(numbers).encode()):08x}"
    return f"{len(numbers)}, {which}"


def _number(metric: Metric, value: float) -> float:
    if math.isnan(value):
        raise DataError(f"{metric.name} to be a number", "NaN", "look at the weights: the model may have diverged")
    return value


def _conditions(view: View, metric: Metric) -> dict[str, Any]:
    """Conditions that comparable scores have in common: numbers of samples, and how pixels were drawn."""
    needs = [NEEDS[name] for name in metric.needs]
    found = dict(chain.from_iterable(need.conditions(view).items() for need in needs))
    if (pixels := _pixels(view)) and not any(need.of_samples for need in needs):
        found["pixels"] = pixels
    return found


def _pixels(view: View) -> str:
    """The way in which the images shown were made black and white, or "" where their fingerprint tells."""
    if view.binarization == "none" or view.data.binarization not in {"none", "dynamic"}:
        return ""
    return view.binarization if view.binarization == "threshold" else f"{view.binarization} under seed {view.seed}"


def _mean(values: Tensor) -> float:
    """The mean of the values that are finite; infinite where none is."""
    finite = values[values.isfinite()]
    return float(finite.mean() if len(finite) else values[0])


def _by_class(view: View, by_image: Mapping[str, Tensor]) -> tuple[dict[str, float], ...]:
    """One row a class: its number, its images, and the means over them."""
    if view.labels is None or not by_image:
        return ()
    rows = []
    for label in sorted(set(view.labels.tolist())):
        own = view.labels == label
        means = {name: _mean(values[own]) for name, values in by_image.items()}
        rows.append({"class": label, "images": int(own.sum()), **means})
    return tuple(rows)


def _protocol(view: View) -> dict[str, Any]:
    """Facts that hold for all scores."""
    return {
        "version": __version__,
        "torch": torch.__version__,
        "dataset": view.data.name,
        "split": view.data.split,
        "images": len(view),
        "fingerprint": Batches(view.data).fingerprint,
        "binarization": view.binarization,
        "tag": view.tag,
        "seed": view.seed,
        "batch_size": view.batch_size,
        "device": view.model.device.type,
    }
