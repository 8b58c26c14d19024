"""The steps of training, behind one contract: computed as usual, compiled, or recorded on a GPU and played back."""

from __future__ import annotations

import warnings

from mnistvae.data import Batches, BatchSource
from mnistvae.training.steps.base import SingleSteps, Steps, Take
from mnistvae.training.steps.compiled import CompiledStep
from mnistvae.training.steps.eager import Step, resolve_precision
from mnistvae.training.steps.graph import GraphSteps, Recorder, recorder_for, takes_single_steps
from mnistvae.training.steps.worth import is_worth_compiling

__all__ = [
    "CompiledStep",
    "Recorder",
    "Step",
    "Steps",
    "Take",
    "is_worth_compiling",
    "make_steps",
    "recorder_for",
    "resolve_precision",
    "takes_single_steps",
]


def make_steps(
    source: BatchSource, step: Step, accumulate: int = 1, recorder: Recorder | None = None, *, single: bool = True
) -> Steps:
    """The steps of an epoch of some data: recorded where there is a recorder; where that cannot be, a warning says why.

    Args:
        source: The data.
        step: A step on one or several batches.
        accumulate: Batches in a step.
        recorder: Recorder of the device; None to compute each step as usual.
        single: Whether only one step may be recorded at a time.
    """
    if recorder is None:
        return SingleSteps(source, step, accumulate)
    if not isinstance(source, Batches):
        reason = "a DataLoader's batches are not on the device"
    elif step.world.size > 1:
        reason = "several processes exchange their gradients in each step"
    elif not all(group.get("capturable") for group in step.optimizer.param_groups):
        reason = f"{type(step.optimizer).__name__} has no capturable=True"
    else:
        return GraphSteps(source, step, accumulate, recorder, single=single)
    warnings.warn(f"training goes on without a CUDA graph (cuda_graph=False asks for that): {reason}", stacklevel=2)
    return SingleSteps(source, step, accumulate)
