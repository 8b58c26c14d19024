"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any, TypeAlias, TypeVar, get_args

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from mnistvae._checks import check_choice, check_count, check_number, check_seed
from mnistvae._modes import evaluating
from mnistvae._random import Stream, derive_seed, seeded
from mnistvae.data import BatchSource, Binarization, ImageDataset, as_dataset, batch_source
from mnistvae.errors import ComponentError, DataError, SettingError, TrainingError
from mnistvae.images import ArrayLike
from mnistvae.models import VAE
from mnistvae.objectives import Terms
from mnistvae.training.callbacks import Callback, Progress, State
from mnistvae.training.devices import resolve_device
from mnistvae.training.history import History, Record
from mnistvae.training.products import fast_products

__all__ = ["Data", "Trainer"]

#: What can be trained on.
Data: TypeAlias = ImageDataset | ArrayLike | Dataset[Any] | DataLoader[Any]
D = TypeVar("D", bound=Data | None)

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class Trainer:
    """Fits a model to images with Adam.

    The same seed, data, model and machine give the same weights: the order of the images is a
    function of (seed, epoch), the noise of (seed, epoch), and torch's global generators are left as
    they were found.

    Args:
        epochs: passes over the data.
        batch_size: images a step.
        learning_rate: of Adam.
        seed: of order and noise.
        binarization: what is done to grey images before they are trained on and validated with: "none", "static",
            "dynamic" or "threshold"; see :meth:`mnistvae.ImageDataset.binarized`.
        device: "auto" (cuda, mps or cpu), or a name; the model is moved there.
        progress: show a bar for each epoch.
        callbacks: listeners, see :class:`~mnistvae.training.Callback`.

    Raises:
        SettingError: a setting that makes no sense.

    Example:
        >>> model = mv.VAE(latent_dim=2)
        >>> data = mv.load_dataset("mnist-mini", "test")[:256]
        >>> history = Trainer(epochs=2, seed=0, progress=False).fit(model, data)
        >>> history[1]["loss"] < history[0]["loss"]
        True
    """

    def __init__(
        self,
        epochs: int = 10,
        batch_size: int = 128,
        learning_rate: float = 1e-3,
        *,
        seed: int = 0,
        binarization: Binarization = "none",
        device: str | torch.device = "auto",
        progress: bool = True,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.epochs = check_count("epochs as an integer of at least 1", epochs)
        self.batch_size = check_count("batch_size as an integer of at least 1", batch_size)
        self.learning_rate = check_number(
            "a finite learning_rate above 0", learning_rate, above=True, fix="1e-3 is the usual start"
        )
        self.seed = check_seed(seed)
        check_choice("binarization", binarization, get_args(Binarization))
        self.binarization = binarization
        self.device = device
        self.progress = progress
        self.callbacks = tuple(callbacks)
        for callback in self.callbacks:
            if not isinstance(callback, Callback):
                got = callback.__name__ if isinstance(callback, type) else f"a {type(callback).__name__}"
                raise SettingError(
                    "callbacks as instances of mnistvae.training.Callback", got, "pass Class(), not Class"
                )

    def fit(self, model: VAE, data: Data, validation: Data | None = None) -> History:
        """Train ``model`` in place and leave it in evaluation mode.

        Args:
            model: what to train.
            data: an ImageDataset, a tensor or array of images (N, C, H, W), a torch ``Dataset``, or a
                ``DataLoader`` (which keeps its own batch size and order).
            validation: the same kinds; evaluated after each epoch, always with the same noise.

        Returns:
            The losses of each epoch, means in nats an image.

        Raises:
            DataError: data that do not fit the model, or that are not images in [0, 1].
            ComponentError: a model whose loss is not one value an image.
            TrainingError: a loss that is no longer finite.
        """
        if not isinstance(model, VAE):
            got = model.__name__ if isinstance(model, type) else f"a {type(model).__name__}"
            raise ComponentError("a mnistvae model to train", got, "pass an instance of VAE or of a subclass")
        device = resolve_device(self.device)
        with seeded(self.seed, device):  # reading a DataLoader may draw from the global generators
            data, validation = self._binarized(model, data), self._binarized(model, validation)
            source = batch_source(data, self.batch_size, seed=self.seed, device=device, image_shape=model.image_shape)
            held_out = None
            if validation is not None:
                size = max(self.batch_size, 512)
                held_out = batch_source(
                    validation, size, shuffle=False, seed=self.seed, device=device, image_shape=model.image_shape
                )
        model.to(device)
        _check(model, source, held_out)
        optimizer = self._optimizer(model, device)
        history = History(tag=model.likelihood.tag(source.binarization))
        state = State(model, self.epochs, source.num_batches, history)
        model.objective.prepare(source.num_images)
        listeners = [*([Progress()] if self.progress else []), *self.callbacks]
        try:
            for listener in listeners:
                listener.on_fit_start(state)
            for state.epoch in range(1, self.epochs + 1):
                for listener in listeners:
                    listener.on_epoch_start(state)
                with fast_products(device):
                    record = self._train_epoch(model, source, optimizer, state, listeners)
                    if held_out is not None:
                        record |= self._validate(model, held_out, device)
                _check_finite(record)
                history.append(record)
                for listener in listeners:
                    listener.on_epoch_end(state)
        finally:
            model.eval()
            for listener in listeners:
                listener.on_fit_end(state)
        return history

    def _binarized(self, model: VAE, data: D) -> D | ImageDataset:
        if self.binarization == "none" or data is None:
            return data
        if isinstance(data, DataLoader):
            raise SettingError(
                "binarization='none' with a DataLoader",
                repr(self.binarization),
                "pass an ImageDataset, or binarize in the loader's own data set",
            )
        images = as_dataset(data, model.image_shape)
        return (
            images if images.binarization == self.binarization else images.binarized(self.binarization, seed=self.seed)
        )

    def _optimizer(self, model: VAE, device: torch.device) -> torch.optim.Optimizer:
        weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
        if not weights:
            raise ComponentError("a model with weights to train", "none that require a gradient", "unfreeze a part")
        return torch.optim.Adam(weights, lr=self.learning_rate, fused=device.type in {"cpu", "cuda", "mps"})

    def _train_epoch(
        self,
        model: VAE,
        source: BatchSource,
        optimizer: torch.optim.Optimizer,
        state: State,
        listeners: Sequence[Callback],
    ) -> Record:
        model.train()
        started = time.perf_counter()
        state.images = 0
        state.sums = sums = torch.zeros(3, device=model.device)
        with seeded(derive_seed(self.seed, Stream.TRAINING, state.epoch), model.device):
            for x, y in source.epoch(state.epoch):
                model.objective.advance(state.step)
                terms = model.loss(x, y if model.uses_labels else None)
                if state.images == 0:
                    _check_terms(terms, len(x))
                    _check_gradient(terms)
                optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(terms.loss.mean())
                optimizer.step()
                sums += _sum(terms)
                state.images += len(x)
                state.step += 1
                for listener in listeners:
                    listener.on_batch_end(state, len(x))
        loss, reconstruction, kl = (sums / state.images).tolist()  # the one reading of the device in an epoch
        seconds = time.perf_counter() - started
        return {
            "epoch": state.epoch,
            "loss": loss,
            "reconstruction": reconstruction,
            "kl": kl,
            "seconds": seconds,
            "images_per_second": state.images / seconds,
        }

    @torch.no_grad()
    def _validate(self, model: VAE, source: BatchSource, device: torch.device) -> Record:
        sums = torch.zeros(3, device=device)
        images = 0
        # The same noise after every epoch, so that the curve shows the model and not the draw.
        with evaluating(model), seeded(derive_seed(self.seed, Stream.VALIDATION), device):
            for x, y in source.epoch(0):
                terms = model.loss(x, y if model.uses_labels else None)
                if images == 0:
                    _check_terms(terms, len(x))
                sums += _sum(terms)
                images += len(x)
        names = ("validation_loss", "validation_reconstruction", "validation_kl")
        return dict(zip(names, (sums / images).tolist(), strict=True))


def _sum(terms: Terms) -> Tensor:
    """(3,): loss, reconstruction and KL, summed over the batch."""
    return torch.stack([terms.loss, terms.reconstruction, terms.kl]).detach().sum(1)


def _check(model: VAE, source: BatchSource, held_out: BatchSource | None) -> None:
    """Everything about the data that can be known before the first step."""
    _check_data(model, source)
    if held_out is not None:
        _check_data(model, held_out)
    _check_batch_norm(model, source)


def _check_data(model: VAE, batches: BatchSource) -> None:
    if batches.image_shape != model.image_shape:
        raise DataError(
            f"images of shape {model.image_shape}, as the model has it",
            f"{batches.image_shape} in {batches.name}",
            f"make the model with image_shape={batches.image_shape}",
        )
    if not model.uses_labels:
        return
    if batches.num_classes is None:
        raise DataError(
            "labels for a model that uses them",
            f"{batches.name} without labels",
            "pass an ImageDataset(images, labels), or train an unconditional VAE",
        )
    if model.num_classes is not None and batches.num_classes > model.num_classes:
        raise DataError(
            f"labels from 0 to {model.num_classes - 1}",
            f"{batches.num_classes - 1} in {batches.name}",
            f"make the model with num_classes={batches.num_classes}",
        )


def _check_finite(record: Record) -> None:
    for name in ("loss", "validation_loss"):
        value = record.get(name, 0.0)
        if not math.isfinite(value):
            raise TrainingError(
                f"a finite {name.replace('_', ' ')}",
                f"{value} in epoch {record['epoch']}",
                "lower learning_rate, or look for log(0) in the model",
            )


def _check_batch_norm(model: VAE, batches: BatchSource) -> None:
    """Batch normalisation has no variance over a batch of one; say so before the epoch's last batch does."""
    normalised = any(isinstance(module, _BATCH_NORMS) for module in model.modules())
    if normalised and batches.smallest_batch == 1:
        n, size = batches.num_images or 1, batches.batch_size
        better = next((larger for larger in range(size + 1, n + 1) if n % larger != 1), None)
        raise DataError(
            "at least two images in every batch for a model with batch normalisation",
            f"{n} images in batches of {size}, which leaves a batch of one",
            "train on more images" if better is None else f"try batch_size={better}",
        )


def _check_terms(terms: Terms, n: int) -> None:
    if not isinstance(terms, Terms):
        raise ComponentError(
            "loss to return mnistvae.objectives.Terms",
            f"a {type(terms).__name__}",
            "return Terms(loss, reconstruction, kl)",
        )
    for name, value in terms._asdict().items():
        if not isinstance(value, Tensor) or value.shape != (n,):
            got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
            raise ComponentError(
                f"one {name} for each of {n} images, shape ({n},)",
                got,
                "sum over pixels and latents, and leave the mean over images to the Trainer",
            )


def _check_gradient(terms: Terms) -> None:
    if not terms.loss.requires_grad:
        raise ComponentError(
            "a loss with a gradient",
            "none" if torch.is_grad_enabled() else "none, under torch.no_grad() or torch.inference_mode()",
            "leave such blocks before fit, and do not detach the loss",
        )
