"""The Trainer: settings of a training, and the parts of a run that they make.

Longer than usual: a third of it is the documentation of the settings.
"""

from __future__ import annotations

import functools
import inspect
import math
import os
from collections.abc import Sequence
from typing import Any, Literal

import torch

from mnistvae._checks import check_choice, check_count, check_number, check_seed, check_switch, listed
from mnistvae._html import block, fold, table
from mnistvae._parts import parts_with
from mnistvae._random import Stream, derive_seed, seeded
from mnistvae._wrappers import uncompiled
from mnistvae.arrays import double_on
from mnistvae.data import Batch, BatchSource, Binarization, Data, as_dataset, batch_source, is_stream
from mnistvae.devices import resolve_device
from mnistvae.errors import ComponentError, SettingError, type_name
from mnistvae.models import VAE
from mnistvae.training.callbacks import Callback, EarlyStopping, Progress
from mnistvae.training.checkpoints import read_checkpoint
from mnistvae.training.checks import check_data, has_batch_norm, warn_if_not_saveable
from mnistvae.training.ema import EMA
from mnistvae.training.history import TERMS, History
from mnistvae.training.limits import Budget, Limits
from mnistvae.training.loop import Run, train
from mnistvae.training.optimizers import (
    LearningRate,
    MakeOptimizer,
    Rates,
    make_optimizer,
    resolve_schedule,
)
from mnistvae.training.signals import Signals
from mnistvae.training.snapshots import Snapshots, plain_setting
from mnistvae.training.start import start_at_mean
from mnistvae.training.state import State
from mnistvae.training.steps import (
    CompiledStep,
    Step,
    is_worth_compiling,
    make_steps,
    recorder_for,
    resolve_precision,
    takes_single_steps,
)
from mnistvae.training.world import World, joined

__all__ = ["Data", "Trainer"]

#: Settings that a resumed run may change; every other one has to be the same.
_MAY_CHANGE = frozenset({"epochs", "steps", "minutes", "device", "progress", "callbacks", "start_at_mean"})
#: What may be done to grey images; the pixels of papers come from files as they are.
_BINARIZATIONS: tuple[Binarization, ...] = ("none", "static", "dynamic", "threshold")


class Trainer:
    """Fits a model to images.

    The same settings, seed, data, model and machine give the same weights, and a run that is stopped and resumed
    gives those that it would have given: the order of the images is a function of (seed, epoch), the noise of
    (seed, epoch, step), and torch's global generators are left as they were found.

    Args:
        epochs: Passes over the data.
        batch_size: Images in a batch, in each process.
        learning_rate: Learning rate of the optimizer; the peak of its schedule.
        steps: Steps after which training ends, if that is sooner.
        minutes: Minutes after which training ends, if that is sooner; then a run cannot be repeated to the bit.
        optimizer: Function called as ``optimizer(parameters, lr=learning_rate)``: a class of ``torch.optim``, or a
            ``functools.partial`` of one, or one of your own; the optimizer is fused where torch can.
        schedule: Schedule of the learning rate: "cosine", "one-cycle", one of :mod:`mnistvae.schedules`, or another
            function of (step, steps in all) to a factor. ``CosineDecay(warmup=w)`` begins at 1 / (w + 1), not at 0.
        clip_norm: Largest norm of the gradient.
        ema: Decay of an average of the weights, which is what is validated and left in the model.
        accumulate: Batches in a step; their gradients are averaged over all images.
        patience: Validations without a lower loss after which training ends, with the best weights; see
            :class:`~mnistvae.training.EarlyStopping`.
        validate_every: Epochs between two validations; the last one is always validated.
        precision: "fp32"; "bf16", products in bfloat16 (autocast), weights and sums in fp32; "auto", bf16 where the
            device has instructions for it.
        compile: Compile forward and backward pass, and on a CPU Adam's update with them, which leaves no ``.grad``
            behind; worth its seconds in long runs only, which "auto" decides by the work ahead.
        cuda_graph: On an NVIDIA GPU, record the step and play it back, where data and optimizer allow: many times as
            fast for small networks. Leave it out for a model whose loss does something else from step to step.
        seed: Seed of order and noise.
        start_at_mean: Begin with a decoder that draws the mean training image, unless the model draws the images better
            already.
        binarization: What is done to grey images before they are trained on and validated with: "none", "static",
            "dynamic" or "threshold"; see :meth:`mnistvae.ImageDataset.binarized`.
        device: "auto" (cuda, mps or cpu), or a name; the model is moved there.
        progress: Show a bar for each epoch; a :class:`~mnistvae.training.Progress` among the callbacks replaces it.
        callbacks: Listeners, see :class:`~mnistvae.training.Callback`.

    Raises:
        SettingError: If a setting makes no sense.

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
        steps: int | None = None,
        minutes: float | None = None,
        optimizer: MakeOptimizer = torch.optim.Adam,
        schedule: Literal["cosine", "one-cycle"] | LearningRate | None = None,
        clip_norm: float | None = None,
        ema: float | None = None,
        accumulate: int = 1,
        patience: int | None = None,
        validate_every: int = 1,
        precision: Literal["fp32", "bf16", "auto"] = "fp32",
        compile: bool | Literal["auto"] = False,  # noqa: A002 (the word that everyone knows)
        cuda_graph: bool = True,
        seed: int = 0,
        start_at_mean: bool = False,
        binarization: Binarization = "none",
        device: str | torch.device = "auto",
        progress: bool = True,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.epochs = check_count("epochs as an integer of at least 1", epochs)
        self.batch_size = check_count("batch_size as an integer of at least 1", batch_size)
        rate = "a finite learning_rate above 0"
        self.learning_rate = check_number(rate, learning_rate, above=True, fix="1e-3 is the usual start")
        self.steps = None if steps is None else check_count("steps as an integer of at least 1, or None", steps)
        self.minutes = None if minutes is None else check_number("minutes above 0, or None", minutes, above=True)
        self.optimizer = optimizer
        self.schedule = schedule
        resolve_schedule(schedule)
        norm = "clip_norm above 0, or None"
        self.clip_norm = None if clip_norm is None else check_number(norm, clip_norm, above=True)
        self.ema = ema
        self.accumulate = check_count("accumulate as an integer of at least 1", accumulate)
        self.patience = None if patience is None else check_count("patience of at least 1 epoch, or None", patience)
        self.validate_every = check_count("validate_every as an integer of at least 1", validate_every)
        self.precision = precision
        resolve_precision(precision, torch.device("cpu"))
        self.compile = compile if compile == "auto" else check_switch("compile", compile, fix='or "auto"')
        self.cuda_graph = check_switch("cuda_graph", cuda_graph)
        self.seed = check_seed(seed)
        self.start_at_mean = check_switch("start_at_mean", start_at_mean)
        self.binarization = check_choice("binarization", binarization, _BINARIZATIONS)
        self.device = device
        self.progress = check_switch("progress", progress)
        self.callbacks = _check_callbacks(callbacks)

    @classmethod
    def setting_names(cls) -> tuple[str, ...]:
        """The names of all settings: the arguments of the constructor, which are attributes too.

        Example:
            >>> Trainer.setting_names()[:3]
            ('epochs', 'batch_size', 'learning_rate')
        """
        return tuple(inspect.signature(Trainer).parameters)

    def __repr__(self) -> str:
        changed = _settings(self)[0]
        return f"Trainer({', '.join(f'{name}={value!r}' for name, value in changed)})"

    def _repr_html_(self) -> str:
        """The settings, those that are not the default's first, for a notebook."""
        changed, usual = (
            table(("setting", "value"), [(name, str(value)) for name, value in part], most=len(part))
            for part in _settings(self)
        )
        return block("Trainer", changed, fold("settings at their defaults", usual))

    def fit(
        self,
        model: VAE,
        data: Data,
        validation: Data | None = None,
        *,
        keys: Sequence[str] = ("image", "label"),
        resume: str | os.PathLike[str] | None = None,
    ) -> History:
        """Train ``model`` in place and leave it in evaluation mode.

        Labels, and whatever else follows the images, are only looked at by a model that uses labels.

        Args:
            model: Model to train.
            data: An ImageDataset; images (N, C, H, W) as a tensor, an array of any library, or lists; a torch
                ``Dataset``, or anything else with a length and items, which is read once, so that random transforms
                are frozen; or a ``DataLoader``, or another iterable of batches, which keeps its own batch size and
                order, and is read anew in each epoch.
            validation: Data of the same kinds; evaluated after each epoch, always with the same noise.
            keys: Keys of image and label, where items or batches are dictionaries.
            resume: A checkpoint, or a folder of them (see :class:`~mnistvae.training.Checkpoint`), of a run with
                the same settings, which is continued.

        Returns:
            The losses of each epoch, means in nats an image.

        Raises:
            DataError: If the data do not fit the model, or are not images in [0, 1].
            ComponentError: If the model's loss is not one value an image.
            TrainingError: When the loss is no longer finite.
            FileFormatError: If there is nothing to resume from, or a checkpoint of another model.
            Interrupted: When Ctrl-C or SIGTERM came, after the step under way and a checkpoint.
        """
        with joined(device := resolve_device(self.device)) as world:
            model = uncompiled(model)
            if not isinstance(model, VAE):
                raise ComponentError(
                    "a mnistvae model to train", type_name(model), "pass an instance of VAE or of a subclass"
                )
            snapshot = None if resume is None else read_checkpoint(resume)
            first = 1 if snapshot is None else len(snapshot.info["history"]) + 1
            source, held_out = _sources(self, model, data, validation, device, world, keys, first)
            model.to(device)
            check_data(model, source, held_out)
            warn_if_not_saveable(model)
            run, state, snapshots = _prepare(self, model, source, held_out, device, world)
            if snapshot is not None:
                snapshots.restore(state, snapshot)
            return train(run, state)


def _settings(trainer: Trainer) -> tuple[list[tuple[str, Any]], list[tuple[str, Any]]]:
    """The settings as JSON has them, by name: those that differ from the default, and the others."""
    changed: list[tuple[str, Any]] = []
    usual: list[tuple[str, Any]] = []
    for name, parameter in inspect.signature(Trainer).parameters.items():
        value = getattr(trainer, name)
        same = value is parameter.default or value == parameter.default
        (usual if same else changed).append((name, plain_setting(value)))
    return changed, usual


def _sources(
    settings: Trainer,
    model: VAE,
    data: Data,
    validation: Data | None,
    device: torch.device,
    world: World,
    keys: Sequence[str],
    first: int,
) -> tuple[BatchSource, BatchSource | None]:
    """Batches for training, from the epoch ``first`` on, and for validation."""
    size, seed = settings.batch_size * world.size, settings.seed
    form: dict[str, Any] = {"image_shape": model.image_shape, "keys": keys, "labels": model.uses_labels}
    how: dict[str, Any] = {**form, "device": device, "num_classes": model.num_classes}
    # The loops begin with these seeds, so that a loader's first pass is the one that it would be there.
    training = {"epoch": first, "seed": derive_seed(seed, Stream.TRAINING, first), "least": 1 + has_batch_norm(model)}
    measuring = {"epoch": 0, "seed": derive_seed(seed, Stream.VALIDATION)}
    measuring["unlabelled"] = training["unlabelled"] = model.takes_unlabelled
    with seeded(seed, device):  # reading a data set may draw from the global generators
        data, validation = (_binarized(one, settings.binarization, seed, form) for one in (data, validation))
        source = batch_source(data, size, seed=seed, loading=training, **how)
        held_out = None
        if validation is not None:
            held_out = batch_source(validation, max(size, 512), shuffle=False, seed=seed, loading=measuring, **how)
    return source, held_out


def _binarized(data: Any, binarization: Binarization, seed: int, form: dict[str, Any]) -> Any:
    if binarization == "none" or data is None:
        return data
    if is_stream(data):
        fix = "pass an ImageDataset, or binarize in the loader's own data set"
        raise SettingError("binarization='none' with a DataLoader", repr(binarization), fix)
    images = as_dataset(data, **form)
    return images if images.binarization == binarization else images.binarized(binarization, seed=seed)


def _prepare(
    settings: Trainer,
    model: VAE,
    source: BatchSource,
    held_out: BatchSource | None,
    device: torch.device,
    world: World,
) -> tuple[Run, State, Snapshots]:
    """The parts of a run, put together."""
    recorder = recorder_for(device) if settings.cuda_graph else None
    others = _own_groups(model)
    apart = {id(weight) for group in others for weight in group["params"]}
    weights = [weight for weight in model.parameters() if weight.requires_grad and id(weight) not in apart]
    if not weights:
        raise ComponentError("a model with weights to train", "none that require a gradient", "unfreeze a part")
    first_batch = functools.cache(functools.partial(_examples, source, settings.seed, device))
    if settings.start_at_mean:
        start_at_mean(model, *first_batch(), world)
    optimizer = make_optimizer(
        settings.optimizer, weights, settings.learning_rate, others=others, capturable=recorder is not None
    )
    batches = None if source.num_batches is None else math.ceil(source.num_batches / settings.accumulate)
    rates = Rates(optimizer, resolve_schedule(settings.schedule), _total_steps(settings, batches))
    budget = Budget(settings.steps, None if settings.minutes is None else 60 * settings.minutes)
    limits = Limits(budget, Signals(), world, device)
    step = _step(settings, model, optimizer, limits, source.batch_size, rates.steps)
    callbacks = [*_asked_for(settings), *settings.callbacks]
    callbacks.sort(key=lambda callback: callback.last)
    called = [callback for callback in callbacks if world.writes or callback.everywhere]
    sources = [source] if held_out is None else [source, held_out]
    snapshots = Snapshots(step, budget, sources, callbacks, _common_settings(settings, rates, device, world))
    state = State(
        model,
        settings.epochs,
        batches,
        History(tag=model.tag(source.binarization)),
        validates=held_out is not None,
        sums=torch.zeros(len(TERMS), dtype=double_on(device), device=device),
        first_batch=first_batch,
        capture=snapshots.capture,
    )
    for part in parts_with(model, "prepare"):
        part.prepare(source.num_images)
    single = rates.schedule is not None or step.moves or takes_single_steps(model.objective, called)
    run = Run(
        step=step,
        steps=make_steps(source, step, settings.accumulate, recorder, single=single),
        rates=rates,
        held_out=held_out,
        validate_every=settings.validate_every,
        limits=limits,
        callbacks=called,
        seed=settings.seed,
    )
    return run, state, snapshots


def _own_groups(model: VAE) -> list[dict[str, Any]]:
    """The groups of weights that the objective has settings for, without those that are frozen."""
    groups = [dict(group) for group in model.objective.parameter_groups()]
    for group in groups:
        group["params"] = [weight for weight in group["params"] if weight.requires_grad]
    return [group for group in groups if group["params"]]


def _step(
    settings: Trainer,
    model: VAE,
    optimizer: torch.optim.Optimizer,
    limits: Limits,
    batch_size: int,
    steps: int | None,
) -> Step:
    """One step of training, compiled if that was asked for, or is worth its while."""
    world = limits.world
    how: dict[str, Any] = {
        "autocast": resolve_precision(settings.precision, model.device),
        "clip_norm": settings.clip_norm,
        "ema": None if settings.ema is None else EMA(model, settings.ema),
        "world": world,
        "exchange": limits.exchange if world.size > 1 else None,
    }
    compiles = settings.compile
    if compiles == "auto":
        images = batch_size * settings.accumulate // world.size
        compiles = is_worth_compiling(model, images, steps, settings.minutes)
    if not compiles:
        return Step(model, optimizer, **how)
    rows = world.rows(batch_size)
    whole = settings.accumulate == world.size == 1
    return CompiledStep(model, optimizer, batch_size=rows.stop - rows.start, whole=whole, **how)


def _asked_for(settings: Trainer) -> list[Callback]:
    """The callbacks that other settings stand for."""
    bar = settings.progress and not any(isinstance(callback, Progress) for callback in settings.callbacks)
    early = [] if settings.patience is None else [EarlyStopping(settings.patience)]
    return [*([Progress()] if bar else []), *early]


def _total_steps(settings: Trainer, batches: int | None) -> int | None:
    """Steps in the whole run, which a schedule of the learning rate has to know."""
    planned = [n for n in (settings.steps, None if batches is None else batches * settings.epochs) if n is not None]
    if not planned and settings.schedule is not None:
        fix = "give steps=, or a data set with a length"
        raise SettingError("a number of steps for the schedule", "data of unknown length", fix)
    return min(planned, default=None)


def _common_settings(settings: Trainer, rates: Rates, device: torch.device, world: World) -> dict[str, Any]:
    """The settings that a resumed run must have in common with this one, as JSON holds them."""
    kept = [name for name in settings.setting_names() if name not in _MAY_CHANGE]
    common = {name: plain_setting(getattr(settings, name)) for name in kept}
    if rates.schedule is not None:  # functions without a name are told apart by some of their values
        common["schedule"] = [common.pop("schedule"), rates.steps, rates.samples()]  # last: it depends on others
    return common | {"device": device.type, "processes": world.size}


def _examples(source: BatchSource, seed: int, device: torch.device) -> Batch:
    with seeded(derive_seed(seed, Stream.VALIDATION), device):  # for dynamic binarization
        return source.examples()


def _check_callbacks(callbacks: Sequence[Callback]) -> tuple[Callback, ...]:
    given = listed(callbacks)
    if given is None:
        raise SettingError("callbacks as a list", repr(callbacks)[:80], "for instance [Doctor()]")
    for callback in given:
        if not isinstance(callback, Callback):
            raise SettingError(
                "callbacks as instances of mnistvae.training.Callback", type_name(callback), "pass Class(), not Class"
            )
    return tuple(given)
