"""Steps recorded on a GPU and played back: one launch in place of hundreds."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from mnistvae.data import Batches, BatchSource
from mnistvae.training.distributed import World
from mnistvae.training.step import Group, Step

__all__ = ["RecordedStep", "Recorder", "recorded_step", "recorder_for"]

#: Something that is done to tensors that stay where they are.
Work: TypeAlias = Callable[[], None]

#: Steps that are done as usual first: torch asks for some, and a compiled step needs two.
_REHEARSALS = 3
#: Steps of the longer recording.
_STEPS = 8


class Recorder(Protocol):
    """Makes a recording of what a device does."""

    def rehearse(self, work: Work) -> None:
        """Do the work as usual."""

    def record(self, work: Work, generators: Sequence[torch.Generator]) -> Work:
        """What does the same work again each time that it is called; recording itself does nothing.

        Args:
            work: uses the same tensors each time.
            generators: those that it draws from, beside the device's own.
        """


class CudaRecorder:
    """CUDA graphs."""

    def rehearse(self, work: Work) -> None:
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # where torch wants it to be done
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            work()
        torch.cuda.current_stream().wait_stream(aside)

    def record(self, work: Work, generators: Sequence[torch.Generator]) -> Work:
        graph = torch.cuda.CUDAGraph()
        for generator in generators:
            graph.register_generator_state(generator)
        with torch.cuda.graph(graph):
            work()
        return graph.replay


def recorder_for(device: torch.device) -> Recorder | None:
    """What records the work of a device; None where there is nothing to be gained."""
    return CudaRecorder() if device.type == "cuda" else None


def recorded_step(
    source: BatchSource, step: Step, accumulate: int, recorder: Recorder, world: World
) -> RecordedStep | None:
    """The step, to be recorded; None, and a warning that says why, where that cannot be."""
    groups = step.optimizer.param_groups
    if not isinstance(source, Batches):
        reason = "a DataLoader's batches are not on the device"
    elif world.size > 1:
        reason = "several processes exchange their gradients in each step"
    elif not all(group.get("capturable") for group in groups):
        reason = f"{type(step.optimizer).__name__} has no capturable=True"
    else:
        return RecordedStep(source, step, accumulate, recorder)
    warnings.warn(f"training goes on without a CUDA graph (cuda_graph=False asks for that): {reason}", stacklevel=2)
    return None


class RecordedStep:
    """A step on the next full batches of resident data, without arguments, so that it can be recorded.

    All that changes from step to step is on the device: the order of the epoch, the place in it, the state of the
    noise, and what the caller fills in before a step (learning rates, factors). Where there is nothing to fill in,
    several steps are recorded as one. A device that cannot record does the same work as usual.

    Args:
        source: the data.
        step: what is done with a group of batches.
        accumulate: batches in a group.
        recorder: of the device.
    """

    def __init__(self, source: Batches, step: Step, accumulate: int, recorder: Recorder) -> None:
        device = source.dataset.images.device
        self.source = source
        self.step = step
        #: Images of one step.
        self.images = accumulate * source.batch_size
        self._recorder: Recorder | None = recorder
        self.noise = source.noise(0)
        self._order = torch.zeros(source.num_images, dtype=torch.int64, device=device)
        self._offsets = torch.arange(self.images, device=device)
        self._place = torch.zeros((), dtype=torch.int64, device=device)
        self._rows = torch.zeros(_STEPS, 3, device=device)
        self._rehearsals = _REHEARSALS
        self._recordings: dict[int, Work] = {}

    @property
    def longest(self) -> int:
        """As many steps as can be done in one call."""
        return 1 if self._rehearsals else _STEPS

    def begin(self, epoch: int, done: int) -> tuple[int, Iterator[Group]]:
        """Go to a place in an epoch: how many recorded steps are left from there, and what is left after them.

        Args:
            epoch: its number.
            done: steps of it that were done before a resume.
        """
        self._order.copy_(self.source.order(epoch))
        self._place.zero_()
        if self.noise is not None:
            self.noise.manual_seed(self.source.noise_seed(epoch))
        full = self.source.num_images // self.images
        for _ in range(min(done, full)):
            self._next()
        return max(0, full - done), iter(()) if done > full else self._rest(full)

    def __call__(self, steps: int = 1) -> Sequence[Tensor]:
        """Do some steps: of each, the sums of loss, reconstruction and KL over its images, (3,), on the device.

        Args:
            steps: 1, or as many as :attr:`longest` says; each number has a recording of its own.
        """
        work = functools.partial(self._work, steps)
        if self._recorder is not None and self._rehearsals:
            self._rehearsals -= 1
            self._recorder.rehearse(work)
        else:
            if self._recorder is not None and steps not in self._recordings:
                self._record(self._recorder, work, steps)
            self._recordings.get(steps, work)()
        return self._rows[:steps].clone().unbind()

    def _record(self, recorder: Recorder, work: Work, steps: int) -> None:
        try:
            self._recordings[steps] = recorder.record(work, [] if self.noise is None else [self.noise])
        except Exception as error:  # noqa: BLE001 (whatever the model does that cannot be recorded)
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            warnings.warn(f"training goes on without a CUDA graph, which failed: {reason[:200]}", stacklevel=2)
            self._recorder = None

    def _rest(self, full: int) -> Iterator[Group]:
        """The batches after the last full step, if there are any: one smaller group, for a step as usual."""
        rest = self._order[full * self.images :]
        if len(rest):
            yield [self.source.batch(part, self.noise) for part in torch.split(rest, self.source.batch_size)]

    def _next(self) -> Group:
        index = self._order.index_select(0, self._place + self._offsets)
        self._place.add_(self.images)
        return [self.source.batch(part, self.noise) for part in torch.split(index, self.source.batch_size)]

    def _work(self, steps: int) -> None:
        for row in self._rows[:steps]:
            row.copy_(self.step(self._next()))
