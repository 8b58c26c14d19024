"""Checks of model and data before the first step, and of losses and weights on the way."""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor, nn

from mnistvae._component import to_spec
from mnistvae.data import BatchSource
from mnistvae.errors import ComponentError, DataError, TrainingError
from mnistvae.images import ImageShape
from mnistvae.labels import check_same_classes
from mnistvae.models import VAE
from mnistvae.training.history import Record
from mnistvae.training.state import State

__all__ = ["LossCheck", "check_data", "check_record", "check_weights", "has_batch_norm", "warn_if_not_saveable"]

#: Steps between two looks at the losses on a device that would have to be waited for.
_LOOK_EVERY = 100
_UNBOUNDED = (
    "lower learning_rate, for instance to a tenth (clip_norm=1 helps where only a few batches do this), bound the "
    "log-variance of an encoder of your own (its kl grows with the exponential), or look for log(0) in the model; "
    "checkpoints are as they were"
)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def check_data(model: VAE, source: BatchSource, held_out: BatchSource | None) -> None:
    """Check everything about the data that can be known before the first step.

    Raises:
        DataError: If the images or labels do not fit the model.

    Warns:
        UserWarning: If no training image is of a class that the model has.
    """
    for batches in (source, held_out):
        if batches is not None:
            _check_fit(model, batches)
    if held_out is not None and model.uses_labels:
        check_same_classes(source.class_names, held_out.class_names, "the validation data")
    _check_batch_norm(model, source)
    _warn_of_absent(model, source)


def _check_fit(model: VAE, batches: BatchSource) -> None:
    if batches.image_shape != model.image_shape:
        raise DataError(
            f"images of shape {model.image_shape}, as the model has it",
            f"{batches.image_shape} in {batches.name}",
            _shape_fix(model.image_shape, batches.image_shape),
        )
    if not model.uses_labels:
        return
    if batches.num_classes is None:
        raise DataError(
            "labels for a model that uses them",
            f"{batches.name} without labels",
            "label some images of each class, with -1 for the others"
            if model.takes_unlabelled
            else "pass an ImageDataset(images, labels), or train an unconditional VAE",
        )
    classes = batches.classes
    if classes is not None and classes[0] < 0 and not model.takes_unlabelled:
        fix = "leave those images out, data[data.labels >= 0], or learn from them too: objectives.SemiSupervised"
        raise DataError("a label for each image", f"-1, for none, in {batches.name}", fix)
    if model.num_classes is not None and batches.num_classes > model.num_classes:
        shifted = classes is not None and classes[0] == 1 and classes[-1] == model.num_classes
        raise DataError(
            f"labels from 0 to {model.num_classes - 1}",
            f"{batches.num_classes - 1} in {batches.name}",
            "they count from 1: pass labels - 1"
            if shifted
            else f"make the model with num_classes={batches.num_classes}",
        )


def _shape_fix(wanted: ImageShape, got: ImageShape) -> str:
    """Advice for images of a shape that the model does not have."""
    make = f"make the model with image_shape={got}"
    if got[1:] == wanted[1:] and {got[0], wanted[0]} == {1, 3}:
        one = "keep one channel, x[:, :1], or give the transform Grayscale() before ToTensor()"
        return f"{one if got[0] == 3 else 'repeat the channel, x.repeat(1, 3, 1, 1) of a tensor'}; or {make}"
    if (got[2], got[0], got[1]) == wanted:
        return "move the channels first: x.permute(0, 3, 1, 2) of a tensor, x.transpose(0, 3, 1, 2) of an array"
    return f"resize the images, or {make}" if got[0] == wanted[0] else make


def _warn_of_absent(model: VAE, source: BatchSource) -> None:
    """Warn of classes that the model has and no training image shows."""
    absent = sorted(set(range(model.num_classes or 0)) - set(source.classes or range(model.num_classes or 0)))
    if absent and model.uses_labels:
        some = ", ".join(map(str, absent[:10])) + ", ..." * (len(absent) > 10)
        if model.takes_unlabelled:
            text = f"no training image has the label {some}, which may come to stand for images of any kind"
            warnings.warn(f"{text}: label some of each class", stacklevel=4)
            return
        fix = "number the classes from 0 without gaps, or do not draw these: sample(n, y=...)"
        warnings.warn(f"no training image is of class {some}, whose samples will mean nothing: {fix}", stacklevel=4)


def check_record(record: Record) -> None:
    """Raise TrainingError if a loss of an epoch is not finite."""
    for name in ("loss", "validation_loss"):
        value = record.get(name, 0.0)
        if not math.isfinite(value):
            raise TrainingError(
                f"a finite {name.replace('_', ' ')}",
                f"{value} in epoch {record['epoch']}",
                "lower learning_rate, or look for log(0) in the model",
            )


def _check_batch_norm(model: VAE, batches: BatchSource) -> None:
    """Raise DataError if batch normalisation would meet a batch of one image, over which there is no variance."""
    if has_batch_norm(model) and batches.smallest_batch == 1:
        n, size = batches.num_images or 1, batches.batch_size
        better = next((larger for larger in range(size + 1, n + 1) if n % larger != 1), None)
        raise DataError(
            "at least two images in every batch for a model with batch normalisation",
            f"{n} images in batches of {size}, which leaves a batch of one",
            "train on more images" if better is None else f"try batch_size={better}",
        )


class LossCheck:
    """Checks that the losses of steps are finite: at each step on a CPU, every hundred on other devices.

    Args:
        device: Device of the losses.
    """

    def __init__(self, device: torch.device) -> None:
        self._every = 1 if device.type == "cpu" else _LOOK_EVERY
        self._unread: list[Tensor] = []

    def add(self, sums: Tensor, state: State) -> None:
        """Note the sums of the step that was just counted, of which the first is the loss."""
        self._unread.append(sums)
        if len(self._unread) >= self._every:
            self.look(state)

    def look(self, state: State) -> None:
        """Raise TrainingError if the loss of a step since the last look is not finite."""
        rows, self._unread = self._unread, []
        if not rows:
            return
        losses = [float(rows[0][0])] if len(rows) == 1 else torch.stack(rows)[:, 0].tolist()
        for back, loss in zip(range(len(losses), 0, -1), losses, strict=True):
            if not math.isfinite(loss):
                where = f"at step {state.step - back} (batch {state.batch - back + 1} of epoch {state.epoch})"
                raise TrainingError("a finite loss", f"{loss} {where}{_by_term(rows[-back], state)}", _UNBOUNDED)


def _by_term(sums: Tensor, state: State) -> str:
    """The terms of a loss that are not finite, in words."""
    named = dict(zip(state.terms, sums.tolist(), strict=False))
    found = [f"{name} is {value}" for name, value in named.items() if name != "loss" and not math.isfinite(value)]
    return f", where {', '.join(found)}" if found else ""


def has_batch_norm(model: nn.Module) -> bool:
    """True for a model with batch normalisation."""
    return any(isinstance(module, _BATCH_NORMS) for module in model.modules())


def check_weights(model: VAE, epoch: int) -> None:
    """Raise TrainingError if a weight is not finite, though the losses were, so that no checkpoint holds it."""
    sums = torch.stack([parameter.detach().float().sum() for parameter in model.parameters()])
    if not bool(sums.isfinite().all()):
        name = [name for name, _ in model.named_parameters()][int((~sums.isfinite()).nonzero()[0])]
        raise TrainingError(
            "finite weights",
            f"NaN or infinity in {name} after epoch {epoch}",
            "lower learning_rate, or clip the gradient; checkpoints are as they were",
        )


def warn_if_not_saveable(model: VAE) -> None:
    """Warn before the training of a model that could not be saved after it."""
    try:
        to_spec(model, "model")
    except ComponentError as error:
        text = f"this model can be trained, and not be saved as it is: {error}; its state_dict can be saved"
        warnings.warn(text, stacklevel=3)
