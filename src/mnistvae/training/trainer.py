"""The Trainer: settings, and the loop over the epochs."""

from __future__ import annotations

import functools
import math
import os
import signal
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, TypeVar, get_args

import torch
from torch.utils.data import DataLoader, Dataset

from mnistvae._checks import check_choice, check_count, check_number, check_seed, listed
from mnistvae._products import fast_products
from mnistvae._random import seeded
from mnistvae.arrays import ArrayLike
from mnistvae.data import Binarization, ImageDataset, as_dataset, batch_source
from mnistvae.devices import resolve_device
from mnistvae.errors import ComponentError, SettingError, type_name
from mnistvae.models import VAE
from mnistvae.training.callbacks import Callback, State
from mnistvae.training.checkpoints import read_checkpoint
from mnistvae.training.checks import check_data, check_record, check_weights
from mnistvae.training.distributed import World, joined
from mnistvae.training.graphs import recorded_step, recorder_for
from mnistvae.training.history import History, Record
from mnistvae.training.interrupts import Interrupted, Signals, watched_signals
from mnistvae.training.optimizers import (
    EMA,
    LearningRate,
    MakeOptimizer,
    factor_at,
    make_optimizer,
    resolve_schedule,
)
from mnistvae.training.progress import Progress
from mnistvae.training.run import Budget, Run
from mnistvae.training.step import Step, resolve_precision
from mnistvae.training.stopping import EarlyStopping

__all__ = ["Data", "Trainer"]

#: What can be trained on.
Data: TypeAlias = ImageDataset | ArrayLike | Dataset[Any] | DataLoader[Any]
D = TypeVar("D", bound=Data | None)


class Trainer:
    """Fits a model to images.

    The same settings, seed, data, model and machine give the same weights, and a run that is stopped and resumed
    gives those that it would have given: the order of the images is a function of (seed, epoch), the noise of
    (seed, epoch, step), and torch's global generators are left as they were found.

    Args:
        epochs: passes over the data.
        batch_size: images a batch, in each process.
        learning_rate: of the optimizer; the peak of its schedule.
        steps: steps after which training ends, if that is sooner.
        minutes: of training, if that is sooner; then a run cannot be repeated to the bit.
        optimizer: called as ``optimizer(parameters, lr=learning_rate)``: a class of ``torch.optim``, or a
            ``functools.partial`` of one; fused where torch has it.
        schedule: of the learning rate: "cosine", "one-cycle", or a function of (step, steps in all) to a
            factor, such as a ``functools.partial`` of :func:`~mnistvae.training.cosine`.
        clip_norm: largest norm of the gradient.
        ema: decay of an average of the weights, which is what is validated and left in the model.
        accumulate: batches a step; their gradients are averaged over all images.
        patience: validations without a lower loss after which training ends, with the best weights; see
            :class:`~mnistvae.training.EarlyStopping`.
        validate_every: epochs between two validations; the last one is always validated.
        precision: "fp32"; "bf16", products in bfloat16 (autocast), weights and sums in fp32; "auto", bf16 where the
            device has instructions for it.
        compile: compile forward and backward pass, and on a CPU Adam's update with them, which leaves no ``.grad``
            behind; worth its seconds in long runs only.
        cuda_graph: on an NVIDIA GPU, record the step and play it back, where data and optimizer allow: many times as
            fast for small networks. Leave it out for a model whose loss does something else from step to step.
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
        compile: bool = False,  # noqa: A002 (the word that everyone knows)
        cuda_graph: bool = True,
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
        self.steps = None if steps is None else check_count("steps as an integer of at least 1, or None", steps)
        self.minutes = None if minutes is None else check_number("minutes above 0, or None", minutes, above=True)
        self.optimizer = optimizer
        self.schedule = schedule
        self._learning_rate = resolve_schedule(schedule)
        self.clip_norm = (
            None if clip_norm is None else check_number("clip_norm above 0, or None", clip_norm, above=True)
        )
        self.ema = ema
        self.accumulate = check_count("accumulate as an integer of at least 1", accumulate)
        self.patience = None if patience is None else check_count("patience of at least 1 epoch, or None", patience)
        self.validate_every = check_count("validate_every as an integer of at least 1", validate_every)
        self.precision = precision
        resolve_precision(precision, torch.device("cpu"))
        for name, value in (("compile", compile), ("cuda_graph", cuda_graph), ("progress", progress)):
            if not isinstance(value, bool):
                raise SettingError(f"{name} as True or False", repr(value))
        self.compile = compile
        self.cuda_graph = cuda_graph
        self.seed = check_seed(seed)
        check_choice("binarization", binarization, get_args(Binarization))
        self.binarization = binarization
        self.device = device
        self.progress = progress
        given = listed(callbacks)
        if given is None:
            raise SettingError("callbacks as a list", repr(callbacks)[:80], "for instance [Doctor()]")
        self.callbacks = tuple(given)
        for callback in self.callbacks:
            if not isinstance(callback, Callback):
                got = type_name(callback)
                raise SettingError(
                    "callbacks as instances of mnistvae.training.Callback", got, "pass Class(), not Class"
                )

    def fit(
        self,
        model: VAE,
        data: Data,
        validation: Data | None = None,
        *,
        resume: str | os.PathLike[str] | None = None,
    ) -> History:
        """Train ``model`` in place and leave it in evaluation mode.

        Args:
            model: what to train.
            data: an ImageDataset, a tensor or array of images (N, C, H, W), a torch ``Dataset``, or a
                ``DataLoader`` (which keeps its own batch size and order).
            validation: the same kinds; evaluated after each epoch, always with the same noise.
            resume: a checkpoint, or a folder of them (see :class:`~mnistvae.training.Checkpoint`), of a run with
                the same settings, which goes on from there.

        Returns:
            The losses of each epoch, means in nats an image.

        Raises:
            DataError: data that do not fit the model, or that are not images in [0, 1].
            ComponentError: a model whose loss is not one value an image.
            TrainingError: a loss that is no longer finite.
            FileFormatError: nothing to resume from, or a checkpoint of another model.
            Interrupted: Ctrl-C or SIGTERM, after the step under way and a checkpoint.
        """
        with joined(device := resolve_device(self.device)) as world:
            run = self._prepare(model, data, validation, device, world)
            if resume is not None:
                run.restore(read_checkpoint(resume))
            return self._loop(run)

    def _loop(self, run: Run) -> History:
        state, model = run.state, run.model
        try:
            with watched_signals() as signals:
                run.tell("on_fit_start")
                while not run.finished:
                    run.begin_epoch()
                    under_way = state.batch > 0 or bool(state.stop)  # after a resume
                    run.tell("on_epoch_start")
                    if state.stop and not under_way:  # there is nothing of the epoch
                        state.epoch -= 1
                        break
                    with fast_products(model.device):
                        record = run.train_epoch(signals)
                    self._stop_if(signals, run)
                    with run.averaged():
                        with fast_products(model.device):
                            record |= self._validate(run)
                        check_record(record)
                        check_weights(run.model, state.epoch)
                        state.history.append(record)
                        run.tell("on_epoch_end")
                    self._stop_if(signals, run)
            if run.ema is not None:
                run.ema.apply()
            state.complete = True
        finally:
            model.eval()
            run.tell("on_fit_end")
        return state.history

    def _validate(self, run: Run) -> Record:
        """Losses on the validation data, if this epoch has them."""
        last = bool(run.state.stop) or run.state.epoch == self.epochs
        return run.validate() if last or run.state.epoch % self.validate_every == 0 else {}

    def _prepare(self, model: VAE, data: Data, validation: Data | None, device: torch.device, world: World) -> Run:
        if not isinstance(model, VAE):
            got = type_name(model)
            raise ComponentError("a mnistvae model to train", got, "pass an instance of VAE or of a subclass")
        batch_size = self.batch_size * world.size
        shape = model.image_shape
        with seeded(self.seed, device):  # reading a DataLoader may draw from the global generators
            data, validation = self._binarized(model, data), self._binarized(model, validation)
            source = batch_source(data, batch_size, seed=self.seed, device=device, image_shape=shape)
            held_out = None
            if validation is not None:
                size = max(batch_size, 512)
                held_out = batch_source(
                    validation, size, shuffle=False, seed=self.seed, device=device, image_shape=shape
                )
        model.to(device)
        check_data(model, source, held_out)
        weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
        if not weights:
            raise ComponentError("a model with weights to train", "none that require a gradient", "unfreeze a part")
        recorder = recorder_for(device) if self.cuda_graph else None
        own = world.rows(source.batch_size)  # of a full batch
        step = Step(
            model,
            make_optimizer(self.optimizer, weights, self.learning_rate, capturable=recorder is not None),
            autocast=resolve_precision(self.precision, device),
            compile=self.compile,
            whole=self.accumulate == world.size == 1,
            batch_size=own.stop - own.start,
            clip_norm=self.clip_norm,
            ema=None if self.ema is None else EMA(model, self.ema),
        )
        batches = None if source.num_batches is None else math.ceil(source.num_batches / self.accumulate)
        history = History(tag=model.tag(source.binarization))
        state = State(model, self.epochs, batches, history, validates=held_out is not None)
        model.objective.prepare(source.num_images)
        early: list[Callback] = [] if self.patience is None else [EarlyStopping(self.patience)]
        listeners = [*([Progress()] if self.progress else []), *early, *self.callbacks]
        total = self._total_steps(batches)
        return Run(
            model=model,
            source=source,
            held_out=held_out,
            step=step,
            recorded=None if recorder is None else recorded_step(source, step, self.accumulate, recorder, world),
            learning_rate=self._learning_rate,
            total_steps=total or 0,
            budget=Budget(self.steps, None if self.minutes is None else 60 * self.minutes),
            accumulate=self.accumulate,
            seed=self.seed,
            state=state,
            listeners=sorted(listeners, key=lambda listener: listener.last),
            settings=self._settings(device, total, world),
            world=world,
        )

    def _total_steps(self, batches: int | None) -> int | None:
        """Steps in the whole run, which the schedule of the learning rate has to know."""
        planned = [n for n in (self.steps, None if batches is None else batches * self.epochs) if n is not None]
        if not planned and self._learning_rate is not None:
            raise SettingError(
                "a number of steps for the schedule",
                "data of unknown length",
                "give steps=, or a data set with a length",
            )
        return min(planned, default=None)

    def _settings(self, device: torch.device, total: int | None, world: World) -> dict[str, Any]:
        """What a resumed run must have in common with the one it goes on with, for the result to be the same."""
        names = [
            *("batch_size", "learning_rate", "clip_norm", "ema", "accumulate", "patience", "validate_every"),
            *("precision", "compile", "cuda_graph", "seed", "binarization"),
        ]
        return {name: getattr(self, name) for name in names} | {
            "optimizer": _name(self.optimizer),
            "schedule": None if self._learning_rate is None else [_name(self.schedule), total, self._factors(total)],
            "device": device.type,
            "processes": world.size,
        }

    def _factors(self, total: int | None) -> list[float]:
        """Some values of the schedule, by which functions without a name can be told apart."""
        places = [] if self._learning_rate is None or not total else [total * n // 8 for n in range(8)]
        return [factor_at(self._learning_rate, step, total) for step in places]  # type: ignore[arg-type]

    def _stop_if(self, signals: Signals, run: Run) -> None:
        """If a signal came, have a checkpoint written, and say how to go on.

        Raises:
            Interrupted: a signal came.
        """
        if run.world.size > 1:
            told = torch.tensor([float(signals.received is not None)], device=run.model.device)
            run.world.add([told])
            signals.received = int(signal.SIGTERM) if bool(told) else None
        if signals.received is None:
            return
        run.tell("on_interrupt")
        run.world.wait()  # for the checkpoint: when the first process ends, torchrun ends the others
        saved_to = run.state.saved_to
        raise Interrupted(
            f"stopped by {signal.Signals(signals.received).name} after step {run.state.step}",
            "no checkpoint was asked for" if saved_to is None else f"go on with resume={str(saved_to.parent)!r}",
            signals.received,
        )

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


def _name(part: Any) -> str:
    """A function or class, and the arguments that a ``functools.partial`` gives it, as text."""
    if isinstance(part, functools.partial):
        return f"{_name(part.func)}({', '.join(f'{key}={value!r}' for key, value in sorted(part.keywords.items()))})"
    return part if isinstance(part, str) else getattr(part, "__qualname__", type(part).__name__)
