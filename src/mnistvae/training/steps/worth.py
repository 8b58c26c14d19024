"""A decision about torch.compile by the work that lies ahead of a run, which is the same whenever it is made."""

from __future__ import annotations

import torch

from mnistvae._modes import evaluating
from mnistvae._random import seeded
from mnistvae.models import VAE

__all__ = ["flops_of_image", "is_worth_compiling", "seconds_ahead"]

#: Seconds of training from which on it is compiled: what the compiler takes, up to half a minute, is a twentieth.
_PAYS = 600.0
#: Floating-point operations a second of a thread in the products of small networks, and seconds that a step's calls
#: take: round numbers, so that a busy machine decides as a quiet one.
_SPEED, _CALLS = 5e10, 5e-4


def is_worth_compiling(model: VAE, batch_size: int, steps: int | None, minutes: float | None = None) -> bool:
    """Tell whether the compilation of a run costs at most a twentieth of its time; on a GPU, never.

    The time is estimated, and not measured: the same run is always compiled, or never.

    Args:
        model: Model, on its device.
        batch_size: Images in a step.
        steps: Steps ahead; None where that is not known.
        minutes: Minutes after which the run ends, if that is sooner.
    """
    if model.device.type != "cpu":  # recorded steps leave little to compile there
        return False
    if steps is None:
        return minutes is not None and 60 * minutes >= _PAYS
    if minutes is not None and 60 * minutes < _PAYS:
        return False
    return seconds_ahead(flops_of_image(model), batch_size, steps, torch.get_num_threads()) >= _PAYS


def seconds_ahead(flops: int, batch_size: int, steps: int, threads: int) -> float:
    """An estimate of the seconds that a run takes on a CPU.

    Args:
        flops: Floating-point operations of a step, for each image.
        batch_size: Images in a step.
        steps: Steps of the run.
        threads: Threads of torch's.
    """
    return steps * (_CALLS + flops * batch_size / (_SPEED * threads))


def flops_of_image(model: VAE) -> int:
    """Floating-point operations in the products of a step, forward and backward, for each image.

    They are counted in the loss of two black images, and the backward pass is taken to have twice as many.

    Args:
        model: Model, which stays as it is.
    """
    from torch.utils.flop_counter import FlopCounterMode  # brings triton, which takes a quarter of a second

    x = torch.zeros(2, *model.image_shape, dtype=model.dtype, device=model.device)
    y = None if model.num_classes is None else torch.zeros(2, dtype=torch.long, device=model.device)
    with seeded(0, model.device), evaluating(model), torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.loss(x, y)
    return 3 * int(counter.get_total_flops()) // len(x)
