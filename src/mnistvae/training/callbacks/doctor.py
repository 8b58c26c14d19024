"""Warnings about runs that go wrong in the usual ways, each with its fix."""

from __future__ import annotations

import math
import time
import warnings
from typing import NamedTuple

import torch

from mnistvae._checks import check_count, check_number
from mnistvae._modes import evaluating
from mnistvae.distributions import mean_of
from mnistvae.distributions.supports import is_open
from mnistvae.training.callbacks.base import Callback
from mnistvae.training.state import State

__all__ = ["Doctor"]

#: Variance of its posterior mean over the images, above which a latent dimension is active.
_ACTIVE = 0.01
#: Steps before which a code that is not used may just be a young one.
_FEW_STEPS = 500


#: Cross-entropy in nats, between two kinds of codes, of a critic that has lost them.
_LOST = 2.0
#: Seconds of an epoch from which on its speed says something.
_LONG = 2.0
#: Share of the time for which the main thread computes at least, where nothing keeps it from that.
_COMPUTED = 0.6
#: Times a second at which another program takes a core away from a thread, where none wants it.
_MOVED = 60.0
#: How many times faster an earlier epoch was.
_SLOWER = 3.0


class _Clock(NamedTuple):
    """A reading of the clocks of this process, which tell how fast it is."""

    #: Seconds on the clock.
    wall: float
    #: Seconds for which this thread computed.
    computed: float
    #: How often a core was taken away from a thread of this process; 0 where the system does not count.
    moved: int

    @classmethod
    def now(cls) -> _Clock:
        try:
            import resource

            moved = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
        except ImportError:  # Windows
            moved = 0
        return cls(time.perf_counter(), time.thread_time(), moved)


class Doctor(Callback):
    """Warns, once each, of the usual failures of a VAE.

    They are a KL term at zero, posterior collapse, codes that have diverged, a loss that is a mean over pixels, images
    that are not scaled, and a critic that has lost the codes; and, on a CPU, other programs that keep the training from
    computing.

    Args:
        patience: Epochs before the first warning about a code that is not used.
        active: Share of the latent dimensions that have to be active after them.

    Raises:
        SettingError: If patience is below 1, or the share negative.
    """

    def __init__(self, patience: int = 3, active: float = 0.1) -> None:
        self.patience = check_count("patience of at least 1 epoch", patience)
        self.active = check_number("active as a share of at least 0", active)
        self._said: set[str] = set()
        self._fastest = 0.0
        self._began = _Clock.now()

    def on_fit_start(self, state: State) -> None:
        self._said.clear()
        self._fastest = 0.0
        x, _ = state.examples()
        brightest = float(x.max())
        if brightest <= 1.5 / 255:
            self._say(
                state,
                "scale",
                f"the brightest pixel is {brightest:.2g}: the images look divided by 255 twice; pass them in [0, 1], "
                "or as uint8",
            )

    def on_epoch_start(self, state: State) -> None:
        self._began = _Clock.now()

    def on_epoch_end(self, state: State) -> None:
        if state.model.device.type == "cpu":
            self._look_at_speed(state)
        record, epoch, latent_dim = state.history[-1], state.epoch, state.model.latent_dim
        pixels = math.prod(state.model.image_shape)
        if epoch == 1 and 0 < record["reconstruction"] < 0.02 * pixels:
            self._say(
                state,
                "mean",
                f"the reconstruction term is {record['reconstruction']:.2g} nats for {pixels} pixels after one epoch, "
                "which looks like a mean over them: sum over pixels and latents, or the KL term weighs too much",
            )
        if epoch == 1 and 0 < record["loss"] < 0.1 * record["reconstruction"]:
            self._say(
                state,
                "mean",
                f"the loss is {record['loss']:.2g} beside a reconstruction of {record['reconstruction']:.4g} nats: "
                "if it is divided by the pixels, the KL term weighs too much; sum over pixels and latents",
            )
        if epoch < self.patience:
            return
        self._look_at_critic(state)
        if record["kl"] < 0.1:
            self._say(
                state,
                "kl",
                f"the KL term is {record['kl']:.2g} nats after {epoch} epochs, so the code says nothing of the image: "
                "lower beta, let it grow (mnistvae.schedules), or give it free_bits",
            )
            return
        if not is_open(state.model.support):
            return  # classes, tokens and places on a sphere have a scale of their own
        found = _active(state)
        if not found and record["kl"] > max(1.0, 0.5 * latent_dim):
            self._say(
                state,
                "diverged",
                f"no latent dimension is active after {epoch} epochs, though the KL term is {record['kl']:.3g} nats: "
                "the code does not depend on the image; lower learning_rate, or clip the gradient",
            )
        elif found < max(1.0, self.active * latent_dim):
            self._say(
                state,
                "collapse",
                f"{found} of {latent_dim} latent dimensions are active after {epoch} epochs, a posterior collapse: "
                "lower beta, let it grow (mnistvae.schedules), give it free_bits, or take fewer dimensions",
            )

    def _look_at_critic(self, state: State) -> None:
        """Say so where a critic, if there is one, has lost the codes."""
        found = state.history[-1].get("critic", 0.0)
        if found > _LOST:
            self._say(
                state,
                "critic",
                f"the critic's cross-entropy is {found:.3g} nats after {state.epoch} epochs, where chance has "
                f"{math.log(2):.2f}: it does not follow the codes, so the encoder learns nothing from it; change "
                "critic_rate, or lower the weight of its term",
            )

    def _look_at_speed(self, state: State) -> None:
        """Say so where the cores are wanted by others, or the data come slowly."""
        now, speed = _Clock.now(), state.history[-1]["images_per_second"]
        wall = now.wall - self._began.wall
        computed = (now.computed - self._began.computed) / wall
        moved = (now.moved - self._began.moved) / wall
        slower = self._fastest / speed
        self._fastest = max(self._fastest, speed)
        if wall < _LONG:
            return
        what = "other programs keep the cores busy"
        if computed < _COMPUTED:
            what = f"this run computed for {computed:.0%} of its time: {what}, or the data come slowly"
        elif moved > _MOVED or slower > _SLOWER:
            what = f"this run waits for the cores: {what}"
        else:
            return
        fewer = (
            ", or use fewer threads (mnistvae train --threads 1, or OMP_NUM_THREADS=1 and GOMP_SPINCOUNT=500 before "
            "Python starts)"
        )
        self._say(state, "slow", f"{what}; end them{fewer if torch.get_num_threads() > 1 else ''}")

    def _say(self, state: State, what: str, text: str) -> None:
        if what not in self._said:
            self._said.add(what)
            text += _early(state) if what in {"kl", "diverged", "collapse"} else ""
            warnings.warn(text, stacklevel=3)


def _early(state: State) -> str:
    """The end of a warning where so few steps were taken that codes may be on their way, or ""."""
    few = state.step < _FEW_STEPS
    return f"; but {state.step} steps are few: train for some hundred before you change anything" if few else ""


@torch.no_grad()
def _active(state: State) -> int:
    """Active units over the run's examples, see :func:`mnistvae.metrics.active_units`."""
    x, y = state.examples()
    with evaluating(state.model):
        told = None if y is None or state.model.num_classes is None else y.clamp_min(0)  # any class, if there is none
        means = mean_of(state.model.encode(x, told))
    return int((means.cpu().double().var(0) > _ACTIVE).sum())
