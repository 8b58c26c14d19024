"""Steps recorded on a GPU and played back: one launch in place of hundreds."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from mnistvae.data import Batches
from mnistvae.objectives import ELBO, Objective
from mnistvae.training.callbacks.base import Callback
from mnistvae.training.steps.base import Take
from mnistvae.training.steps.eager import Step, StepBatches

__all__ = ["GraphSteps", "Recorder", "recorder_for", "takes_single_steps"]

#: Does again what was recorded.
Play: TypeAlias = Callable[[], None]

#: Steps that are computed as usual first: torch asks for some, and a compiled step needs two.
_REHEARSALS = 3
#: Steps of the longer recording.
_CHUNK = 8


class Recorder(Protocol):
    """Contract of what records the work of a device."""

    def rehearse(self) -> AbstractContextManager[None]:
        """A block whose work is done as usual, before it is recorded."""

    def record(self, generators: Sequence[torch.Generator]) -> AbstractContextManager[Play]:
        """A block whose work is recorded, and not done; gives what plays it, on the same tensors.

        Args:
            generators: Generators that the work draws from, beside the device's own.
        """


class CudaRecorder:
    """Records CUDA graphs."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    @contextmanager
    def rehearse(self) -> Iterator[None]:
        aside = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]  # where torch wants it to be done
        aside.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(aside):
            yield
        torch.cuda.current_stream(self.device).wait_stream(aside)

    @contextmanager
    def record(self, generators: Sequence[torch.Generator]) -> Iterator[Play]:
        graph = torch.cuda.CUDAGraph()
        for generator in generators:
            graph.register_generator_state(generator)
        cause: list[BaseException] = []
        try:
            with torch.cuda.graph(graph):
                try:
                    yield graph.replay
                except BaseException as error:
                    cause.append(error)
                    raise
        except BaseException as error:  # noqa: BLE001 (it goes on)
            # A recording that failed leaves its generators as if it were under way: they would refuse to draw.
            for generator in (torch.cuda.default_generators[self.device.index or 0], *generators):
                generator.graphsafe_set_state(generator.clone_state())
            raise (cause or [error])[0] from None  # and not that the recording could not be ended


def recorder_for(device: torch.device) -> Recorder | None:
    """A recorder of the work of a device; None where there is nothing to be gained."""
    return CudaRecorder(device) if device.type == "cuda" else None


def takes_single_steps(objective: Objective, callbacks: Iterable[Callback]) -> bool:
    """True if the objective or a callback has something to do between any two steps."""
    return _advances(objective) or any(type(one).on_batch_end is not Callback.on_batch_end for one in callbacks)


def _advances(objective: Objective) -> bool:
    advance = type(objective).advance
    if isinstance(objective, ELBO) and advance is ELBO.advance:
        return objective.schedule is not None
    return advance is not Objective.advance


class GraphSteps:
    """Steps on the full batches of resident data, recorded once and then played back.

    All that changes from step to step is on the device: the order of the epoch, the place in it, the state of the
    noise, and what the loop fills in before a step (learning rates, factors). Where there is nothing to fill in,
    several steps are recorded as one. A device that cannot record does the same work as usual.

    Args:
        source: The data.
        step: The step that is recorded.
        accumulate: Batches in a step.
        recorder: Recorder of the device.
        single: Whether only one step may be taken at a time.
    """

    def __init__(
        self, source: Batches, step: Step, accumulate: int, recorder: Recorder, *, single: bool = False
    ) -> None:
        device = source.dataset.images.device
        self.source = source
        self.step = step
        #: Images of one step.
        self.images = accumulate * source.batch_size
        self.single = single
        self._recorder: Recorder | None = recorder
        self._noise = source.noise(0)
        self._order = torch.zeros(source.num_images, dtype=torch.int64, device=device)
        self._offsets = torch.arange(self.images, device=device)
        self._place = torch.zeros((), dtype=torch.int64, device=device)
        self._rows = torch.zeros(_CHUNK, 0, device=device)
        self._rehearsals = _REHEARSALS
        self._recordings: dict[int, Play] = {}

    def epoch(self, number: int, done: int = 0, limit: int | None = None) -> Iterator[tuple[int, Take]]:
        """The steps of an epoch that are left, see :class:`~mnistvae.training.steps.base.Steps`."""
        self._order.copy_(self.source.order(number))
        self._place.zero_()
        if self._noise is not None:
            self._noise.manual_seed(self.source.noise_seed(number))
        full = self.source.num_images // self.images
        for _ in range(min(done, full)):
            self._next()
        left = max(0, full - done)
        return self._steps(left if limit is None else min(left, limit), self._rest(full, done, limit))

    def __call__(self, steps: int = 1) -> Sequence[Tensor]:
        """Take some steps; of each, the sums of the loss's terms over its images, on the device.

        Args:
            steps: 1, or the number of steps of the longer recording.
        """
        recording = self._recorder is not None and not self._rehearsals
        if steps not in self._recordings:
            try:
                with self._aside() as play:
                    for n in range(steps):
                        (sums,) = self.step(self._next())
                        if len(sums) != self._rows.shape[1]:  # in the first step, which is never recorded
                            self._rows = sums.new_zeros(_CHUNK, len(sums))
                        self._rows[n].copy_(sums)
            except Exception as error:  # whatever the model does that cannot be recorded
                if not recording:
                    raise
                self._give_up(error)
                return self(steps)
            if play is not None:
                self._recordings[steps] = play
        if steps in self._recordings:
            self._recordings[steps]()
        return self._rows[:steps].clone().unbind()

    def _steps(self, left: int, rest: Iterator[tuple[int, Take]]) -> Iterator[tuple[int, Take]]:
        while left:
            steps = 1 if self.single or self._rehearsals or left < _CHUNK else _CHUNK
            yield self.images, functools.partial(self, steps)
            left -= steps
        yield from rest

    def _rest(self, full: int, done: int, limit: int | None) -> Iterator[tuple[int, Take]]:
        """The step on the images after the last full step, if there are any: a smaller one, computed as usual."""
        rest = self._order[full * self.images :]
        if len(rest) and done <= full and (limit is None or done + limit > full):
            batches = [self.source.batch(part, self._noise) for part in torch.split(rest, self.source.batch_size)]
            yield len(rest), functools.partial(self.step, batches)

    def _aside(self) -> AbstractContextManager[Play | None]:
        """The block in which the next steps are computed; it gives what plays them, if they are recorded."""
        if self._recorder is None:
            return nullcontext()
        if self._rehearsals:
            self._rehearsals -= 1
            return self._recorder.rehearse()
        return self._recorder.record([] if self._noise is None else [self._noise])

    def _give_up(self, error: Exception) -> None:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        warnings.warn(f"training goes on without a CUDA graph, which failed: {reason[:200]}", stacklevel=2)
        self._recorder = None

    def _next(self) -> StepBatches:
        index = self._order.index_select(0, self._place + self._offsets)
        self._place.add_(self.images)
        return [self.source.batch(part, self._noise) for part in torch.split(index, self.source.batch_size)]
