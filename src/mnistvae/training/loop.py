"""The training loop, from the first epoch to the last."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch

from mnistvae._modes import evaluating
from mnistvae._products import fast_products, training_arithmetic
from mnistvae._random import Stream, derive_seed, noise_for_rows, seeded
from mnistvae.data import BatchSource
from mnistvae.training.callbacks.base import Callback
from mnistvae.training.checks import LossCheck, check_record, check_weights
from mnistvae.training.history import VALIDATION, History, Record
from mnistvae.training.limits import Limits
from mnistvae.training.optimizers import FLUSH_EVERY, Rates, flush_denormals
from mnistvae.training.signals import interruption
from mnistvae.training.snapshots import generator_states, restore_generators
from mnistvae.training.state import State
from mnistvae.training.steps import Step, Steps, Take

__all__ = ["Run", "train"]


@dataclass(frozen=True)
class Run:
    """The parts of a run; what changes as it goes is its :class:`~mnistvae.training.State`."""

    step: Step
    steps: Steps
    rates: Rates
    held_out: BatchSource | None
    validate_every: int
    limits: Limits
    callbacks: Sequence[Callback]
    seed: int


def train(run: Run, state: State) -> History:
    """Train until the epochs are done, or a limit, a callback or a signal ends the run."""
    model, ema, device = state.model, run.step.ema, state.model.device
    with _finished(run, state), run.limits.signals.watched():
        _tell(run, state, "on_fit_start")
        while not _is_over(run, state):
            resumed = state.begin_epoch()
            _tell(run, state, "on_epoch_start")
            if state.stop and not resumed:  # there is nothing of the epoch
                state.epoch -= 1
                break
            model.train()
            losses = LossCheck(device)
            started = time.perf_counter() - state.seconds
            with training_arithmetic(device), seeded(derive_seed(run.seed, Stream.TRAINING, state.epoch), device):
                for images, take in _steps_left(run, state):
                    run.step.advance(state.step)
                    run.rates.set(state.step)
                    for sums in take():  # one step, or several that a GPU took at once
                        if state.step % FLUSH_EVERY == 0 and device.type == "cpu":
                            flush_denormals(run.step.optimizer)
                        state.count(images, sums, run.step.terms)
                        state.seconds = time.perf_counter() - started
                        losses.add(sums, state)
                        _tell(run, state, "on_batch_end", images)
                    _tell(run, state, "on_progress")
                    state.stop = state.stop or run.limits.reason(state.step)
                    if state.stop or run.limits.interrupted:
                        state.noise = generator_states(device)
                        break
            losses.look(state)
            record: Record = {"epoch": state.epoch, **state.means(), "learning_rate": run.rates.now()}
            state.seconds = time.perf_counter() - started  # after the device has been waited for
            record |= {"seconds": state.seconds, "images_per_second": state.images / state.seconds}
            _heed_signal(run, state)
            with nullcontext() if ema is None else ema.applied():
                record |= _validate(run, state)
                check_record(record)
                check_weights(model, state.epoch)
                state.history.append(record)
                _tell(run, state, "on_epoch_end")
            _heed_signal(run, state)
        done = f"all {state.epochs} epochs are done" if len(state.history) >= state.epochs else ""
        state.history.stopped = state.stop or done or run.limits.budget.over(state.step)
    return state.history


def _tell(run: Run, state: State, event: str, *arguments: object) -> None:
    """Call the method of that name of every callback."""
    for callback in run.callbacks:
        getattr(callback, event)(state, *arguments)


def _is_over(run: Run, state: State) -> bool:
    """True if no further epoch begins."""
    over = bool(state.stop) or run.limits.budget.left(state.step) == 0 or len(state.history) >= state.epochs
    return over and not state.under_way


def _steps_left(run: Run, state: State) -> Iterator[tuple[int, Take]]:
    """The steps of the epoch under way; after a resume, those that were not taken before."""
    if state.stop:  # a resume after the last step
        return iter(())
    steps = run.steps.epoch(state.epoch, state.batch, run.limits.budget.left(state.step))
    restore_generators(state.noise, state.model.device)
    state.noise = {}
    return steps


@torch.no_grad()
def _validate(run: Run, state: State) -> Record:
    """Losses on the validation data, with the same noise each time, so that the curve shows the model."""
    last = bool(state.stop) or state.epoch == state.epochs
    if run.held_out is None or not (last or state.epoch % run.validate_every == 0):
        return {}
    model, device = state.model, state.model.device
    sums, images = torch.zeros_like(state.sums), 0
    with evaluating(model), fast_products(device), seeded(derive_seed(run.seed, Stream.VALIDATION), device):
        for x, y in run.held_out.epoch(0):
            rows, count = run.limits.world.share(len(x))
            with noise_for_rows(rows, len(x)):
                sums += (count > 0) * run.step.forward(x[rows], None if y is None else y[rows], check=images == 0)[1]
            images += len(x)
    run.limits.world.add([sums])
    return {VALIDATION + name: mean for name, mean in zip(state.terms, (sums / images).tolist(), strict=True)}


def _heed_signal(run: Run, state: State) -> None:
    """If a signal came to any process, have a checkpoint written and raise Interrupted, which says how to go on."""
    if (number := run.limits.signal()) is not None:
        _tell(run, state, "on_interrupt")
        run.limits.world.wait()  # for the checkpoint: when the first process ends, torchrun ends the others
        raise interruption(number, state.step, state.saved_to)


@contextmanager
def _finished(run: Run, state: State) -> Iterator[None]:
    """A block after which the model is in evaluation mode and the callbacks know of the end, however it came."""
    try:
        yield
        if run.step.ema is not None:
            run.step.ema.apply()
        state.complete = True
    finally:
        state.model.eval()
        _tell(run, state, "on_fit_end")
