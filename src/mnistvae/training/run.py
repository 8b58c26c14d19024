"""A run under way: everything that a step, an epoch and a checkpoint need."""

from __future__ import annotations

import functools
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from mnistvae._component import to_spec
from mnistvae._modes import evaluating
from mnistvae._parts import check_terms
from mnistvae._random import Stream, derive_seed, noise_for_rows, seeded
from mnistvae.data import BatchSource
from mnistvae.errors import ComponentError, DataError, FileFormatError, SettingError
from mnistvae.models import VAE
from mnistvae.training.callbacks import Callback, State
from mnistvae.training.checkpoints import Snapshot, pack, under, unpack
from mnistvae.training.checks import check_steps
from mnistvae.training.distributed import ALONE, World
from mnistvae.training.graphs import RecordedStep
from mnistvae.training.history import Record
from mnistvae.training.interrupts import Signals
from mnistvae.training.optimizers import EMA, LearningRate, factor_at, flush_denormals
from mnistvae.training.step import Batch, Group, Step, sums_of

__all__ = ["Budget", "Run"]

#: Steps between two looks at the loss on a device that would have to be waited for.
_PATIENCE = 100
#: Steps between two flushes of the optimizer: what loses a fifth a step or less does not get denormal in between.
_FLUSH_EVERY = 128


@dataclass
class Budget:
    """How far a run goes: the first limit that is met ends it."""

    steps: int | None
    seconds: float | None
    #: Spent before a resume.
    spent: float = 0.0
    started: float = field(default_factory=time.monotonic)

    def elapsed(self) -> float:
        """Seconds of training so far."""
        return self.spent + time.monotonic() - self.started

    def over(self, step: int) -> str:
        """Why the run ends after so many steps, or ""."""
        if self.steps is not None and step >= self.steps:
            return f"{self.steps} steps are done"
        if self.seconds is not None and self.elapsed() >= self.seconds:
            return f"{self.seconds / 60:g} minutes are over"
        return ""


@dataclass
class Run:
    """A run under way."""

    model: VAE
    source: BatchSource
    held_out: BatchSource | None
    step: Step
    learning_rate: LearningRate | None
    #: Steps in the whole run, where that is known.
    total_steps: int
    budget: Budget
    accumulate: int
    seed: int
    state: State
    listeners: Sequence[Callback]
    #: What has to be the same after a resume.
    settings: dict[str, Any]
    world: World = ALONE
    #: The step on full batches, where it is recorded.
    recorded: RecordedStep | None = None
    #: The state of the generators in mid-epoch, after a resume.
    generators: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.state.snapshot = self.snapshot
        self.state.examples = functools.cache(self._examples)
        self.state.sums = torch.zeros(3, device=self.model.device)
        self._wishes = [0.0, 0.0]
        #: Whether a part of the next epoch was done before a resume.
        self.pending = False
        if self.world.size > 1:
            self.step.exchange = self._exchange
        self._rates = [float(group["lr"]) for group in self.step.optimizer.param_groups]

    @property
    def finished(self) -> bool:
        """Whether there is nothing more to do."""
        if self.pending:
            return False
        over = self.budget.steps is not None and self.state.step >= self.budget.steps
        return bool(self.state.stop) or over or len(self.state.history) >= self.state.epochs

    def tell(self, event: str) -> None:
        """Call the method of that name of every listener."""
        for listener in self._heard():
            getattr(listener, event)(self.state)

    def _heard(self) -> list[Callback]:
        """The listeners that are called in this process."""
        return [listener for listener in self.listeners if self.world.writes or listener.everywhere]

    @property
    def ema(self) -> EMA | None:
        """The averaged weights, where there are any."""
        return self.step.ema

    def averaged(self) -> AbstractContextManager[None]:
        """A block in which the model has the averaged weights, where there are any."""
        return nullcontext() if self.ema is None else self.ema.applied()

    def train_epoch(self, signals: Signals) -> Record:
        """Train for one epoch, or for what is left of it after a resume; a signal ends it after a step."""
        state, device = self.state, self.model.device
        before, started = state.seconds, time.perf_counter()
        rows: list[Tensor] = []
        look = 1 if device.type == "cpu" else _PATIENCE
        self.model.train()
        with seeded(derive_seed(self.seed, Stream.TRAINING, state.epoch), device):
            for n, take in self._steps():
                if self.budget.steps is not None and state.step >= self.budget.steps:
                    state.stop = state.stop or self.budget.over(state.step)
                if state.stop:
                    break  # a resume after the last step
                self._wishes = [float(signals.received or 0), float(bool(self.budget.over(state.step)))]
                self._set_up()
                taken = take()
                state.seconds = before + time.perf_counter() - started
                for row in taken:
                    self._count(n, row)
                    rows.append(row)
                    if len(rows) >= look:
                        check_steps(rows, state.step - 1, state.batch - 1, state.epoch)
                        rows.clear()
                    for listener in self._heard():
                        listener.on_batch_end(state, n)
                state.stop = state.stop or self._over(signals)
                told = signals.received is not None if self.world.size == 1 else bool(self._wishes[0])
                if state.stop or told:
                    self.generators = _generators(device)
                    break
        if rows:
            check_steps(rows, state.step - 1, state.batch - 1, state.epoch)
        loss, reconstruction, kl = (_sums(state) / max(1, state.images)).tolist()
        state.seconds = before + time.perf_counter() - started  # after the device has been waited for
        return {
            "epoch": state.epoch,
            "loss": loss,
            "reconstruction": reconstruction,
            "kl": kl,
            "seconds": state.seconds,
            "images_per_second": state.images / state.seconds,
        }

    def _over(self, signals: Signals) -> str:
        """Why the run ends here, or ""; several processes end together, a step after one of them wants to."""
        over = self.budget.over(self.state.step)
        if self.world.size == 1 or (self.budget.steps is not None and self.state.step >= self.budget.steps):
            return over
        return "the time is over" if self._wishes[1] else ""

    def _exchange(self, gradients: list[Tensor]) -> None:
        """Add up the gradients of all processes, and what each of them wants."""
        wishes = torch.tensor(self._wishes, device=self.model.device)
        self.world.add([*gradients, wishes])
        self._wishes = wishes.tolist()

    def _set_up(self) -> None:
        """Set what changes with the number of the step."""
        state = self.state
        self.model.objective.advance(state.step)
        if self.ema is not None:
            self.ema.advance(state.step)
        if self.learning_rate is not None:
            factor = factor_at(self.learning_rate, state.step, self.total_steps)
            for parameters, rate in zip(self.step.optimizer.param_groups, self._rates, strict=True):
                if isinstance(parameters["lr"], Tensor):
                    parameters["lr"].fill_(rate * factor)
                else:
                    parameters["lr"] = rate * factor

    def _count(self, n: int, row: Tensor) -> None:
        """Take note of a step on ``n`` images."""
        state = self.state
        if state.step % _FLUSH_EVERY == 0 and self.model.device.type == "cpu":
            flush_denormals(self.step.optimizer)
        state.sums = _sums(state).add_(row)
        state.images += n
        state.step += 1
        state.batch += 1

    def _steps(self) -> Iterator[tuple[int, Callable[[], Sequence[Tensor]]]]:
        """The steps of this epoch: the images of each, and what takes one, or several, and gives the sums of each.

        Those done before a resume are passed over.
        """
        done, recorded = self.state.batch, self.recorded
        full = 0
        if recorded is None:
            batches = self.source.epoch(self.state.epoch)
            groups: Iterator[Group] = iter(lambda: list(islice(batches, self.accumulate)), [])
            deque(islice(groups, done), maxlen=0)
        else:
            full, groups = recorded.begin(self.state.epoch, done)
        if done and self.generators:
            _restore_generators(self.generators, self.model.device)
            self.generators = {}
        if recorded is not None:
            while full:
                steps = recorded.longest if recorded.longest <= full and self._undisturbed(recorded.longest) else 1
                yield recorded.images, functools.partial(recorded, steps)
                full -= steps
        for group in groups:
            yield sum(len(x) for x, _ in group), functools.partial(self._one_step, group)

    def _one_step(self, group: Group) -> Sequence[Tensor]:
        return [self.step(group, self.world)]

    def _undisturbed(self, steps: int) -> bool:
        """Whether nothing is set between the next steps, nobody called, and nothing ended."""
        return (
            self.learning_rate is None
            and self.ema is None
            and not self.model.objective.advances
            and (self.budget.steps is None or self.state.step + steps <= self.budget.steps)
            and not any(one.each_step for one in self._heard())
        )

    def _examples(self) -> Batch:
        """The first batch of an epoch that is never trained on, so that nothing is used up."""
        with seeded(derive_seed(self.seed, Stream.VALIDATION), self.model.device):
            return next(iter(self.source.epoch(0)))

    def begin_epoch(self) -> None:
        """Go to the next epoch; after a resume in mid-epoch, to what was done of it."""
        self.state.epoch += 1
        if self.pending:
            self.pending = False
            return
        self.state.batch = self.state.images = 0
        self.state.seconds = 0.0
        self.state.sums = torch.zeros(3, device=self.model.device)

    @torch.no_grad()
    def validate(self) -> Record:
        """Losses on the validation data; the noise is always the same, so that the curve shows the model."""
        if self.held_out is None:
            return {}
        sums = torch.zeros(3, device=self.model.device)
        images = 0
        with evaluating(self.model), seeded(derive_seed(self.seed, Stream.VALIDATION), self.model.device):
            for x, y in self.held_out.epoch(0):
                own = self.world.rows(len(x))
                with noise_for_rows(own, len(x)):
                    terms = self.step.terms(x[own], None if y is None else y[own])
                if images == 0:
                    check_terms(terms, own.stop - own.start)
                sums += sums_of(terms)
                images += len(x)
        self.world.add([sums])
        names = ("validation_loss", "validation_reconstruction", "validation_kl")
        return dict(zip(names, (sums / images).tolist(), strict=True))

    def snapshot(self) -> Snapshot:
        """All that is needed to go on from here."""
        state = self.state
        done = len(state.history) == state.epoch  # nothing of the next epoch is there yet
        raw, average = ({}, {}) if self.ema is None else self.ema.state()
        tensors = {f"model.{name}": tensor for name, tensor in {**self.model.state_dict(), **raw}.items()}
        tensors |= {f"ema.{name}": tensor for name, tensor in average.items()}
        if not done:
            tensors |= {f"generator.{name}": tensor for name, tensor in self.generators.items()}
        tensors["sums"] = _sums(state)
        optimizer = pack(self.step.optimizer.state_dict(), "optimizer", tensors)
        callbacks = [
            [type(listener).__name__, pack(listener.state_dict(), f"callback.{n}", tensors)]
            for n, listener in enumerate(self._remembering())
        ]
        info = {
            "settings": self.settings,
            "model": _description(self.model),
            "data": self._facts(),
            "step": state.step,
            "batch": 0 if done else state.batch,
            "images": state.images,
            "seconds": state.seconds,
            "elapsed": self.budget.elapsed(),
            "stop": "" if self.budget.over(state.step) else state.stop,  # a resumed run may have more to spend
            "trained": self._trained(),
            "optimizer_class": type(self.step.optimizer).__name__,
            "history": state.history.records,
            "optimizer": optimizer,
            "callbacks": callbacks,
        }
        return Snapshot(tensors, info)

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from a snapshot.

        Raises:
            FileFormatError: of another model, or of other callbacks.
            SettingError: of other settings.
            DataError: of other data.
        """
        tensors, info = snapshot
        self._check(info)
        weights = under("model", tensors)
        try:
            self.model.load_state_dict(weights)
            self.step.optimizer.load_state_dict(unpack(info["optimizer"], tensors))
            for group in self.step.optimizer.param_groups:
                if isinstance(group["lr"], Tensor):
                    group["lr"] = group["lr"].to(self.model.device)
        except (RuntimeError, KeyError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise FileFormatError("a checkpoint of this model", reason, "make the model as it was made then") from error
        if self.ema is not None:
            self.ema.load(under("ema", tensors))
        state = self.state
        state.step, state.batch, state.images = info["step"], info["batch"], info["images"]
        state.seconds = info["seconds"]
        state.sums = tensors["sums"].to(self.model.device)
        state.history.records[:] = info["history"]
        state.epoch = len(state.history)
        self.pending = bool(info["batch"])
        self.step.checked = state.step > 0  # the first step of a run is never compiled, and others must not change
        self.budget.spent = info["elapsed"]
        state.stop = info["stop"] or self.budget.over(state.step)
        self.generators = under("generator", tensors)
        for listener, (_, saved) in zip(self._remembering(), info["callbacks"], strict=True):
            listener.load_state_dict(unpack(saved, tensors))

    def _trained(self) -> list[str]:
        """The names of the weights that the optimizer has, in its order."""
        names: dict[Tensor, str] = {weight: name for name, weight in self.model.named_parameters()}
        return [names[weight] for weight in self.step.weights]

    def _remembering(self) -> list[Callback]:
        """The listeners that a checkpoint has to hold something of."""
        return [listener for listener in self.listeners if type(listener).state_dict is not Callback.state_dict]

    def _facts(self) -> list[Any]:
        """What is known of the data for training and for validation."""
        known = [batches for batches in (self.source, self.held_out) if batches is not None]
        return [[one.name, one.num_images, list(one.image_shape), one.fingerprint] for one in known]

    def _check(self, info: dict[str, Any]) -> None:
        if info["model"] != _description(self.model):
            raise FileFormatError(
                "a checkpoint of this model", "one of another model", "make the model as it was made then"
            )
        for name, value in self.settings.items():
            then = info["settings"].get(name)
            if then != value:
                raise SettingError(
                    f"{name}={then!r}, as the run to go on with has it",
                    repr(value),
                    "give the same settings; to train on with others, load the model and start a new run",
                )
        frozen = set(info["trained"]) ^ set(self._trained())
        if frozen:
            raise SettingError(
                "the same weights frozen as in the run to go on with",
                f"a difference in {', '.join(sorted(frozen))[:200]}",
                "freeze and thaw before fit as was done then",
            )
        if info["optimizer_class"] != type(self.step.optimizer).__name__:
            raise SettingError(
                f"the optimizer that the run to go on with has, {info['optimizer_class']}",
                type(self.step.optimizer).__name__,
                "give the same",
            )
        if info["data"] != self._facts():
            raise DataError(
                f"the data that the run to go on with has: {info['data']}", str(self._facts()), "pass the same"
            )
        then, now = [name for name, _ in info["callbacks"]], [type(one).__name__ for one in self._remembering()]
        if then != now:
            raise SettingError(
                f"the callbacks that the run had: {', '.join(then) or 'none'}",
                ", ".join(now) or "none",
                "pass the same",
            )


def _sums(state: State) -> Tensor:
    if state.sums is None:
        raise RuntimeError("no epoch is under way")
    return state.sums


def _generators(device: torch.device) -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    if device.type == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


def _restore_generators(states: dict[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(states["cpu"])
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
    if "mps" in states:
        torch.mps.set_rng_state(states["mps"])


def _description(model: VAE) -> Any:
    """What the model is: its constructor arguments or, where they cannot be read back, its tensors."""
    try:
        return to_spec(model)
    except ComponentError:
        return {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
