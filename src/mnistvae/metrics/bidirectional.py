"""Bounds of log p(x) from both sides, on images of the model's own, by annealing there and back."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution

from mnistvae._checks import check_count, check_seed
from mnistvae._passes import Done, check_model, measuring
from mnistvae.arrays import check_finite
from mnistvae.errors import ComponentError, type_name
from mnistvae.metrics._paths import Annealing, Schedule, Start, draws
from mnistvae.metrics.likelihood import UNNORMALISED
from mnistvae.models import VAE

__all__ = ["Bracket", "bidirectional_gap"]

_DIVERGED = "look at the weights: the model may have diverged"


class Bracket(NamedTuple):
    """Stochastic bounds of log p(x) for each of N images that the model drew, in nats, float64."""

    #: At most log p(x) in expectation, (N,).
    lower: Tensor
    #: At least log p(x) in expectation, (N,).
    upper: Tensor
    #: Name of the density.
    tag: str

    @property
    def gap(self) -> Tensor:
        """The upper bound of each image less the lower one, (N,); of a single image it may be negative."""
        return self.upper - self.lower

    @property
    def mean_gap(self) -> float:
        """Mean over the images: in expectation, the most by which either bound can be wrong."""
        return float(self.gap.mean())

    @property
    def standard_error(self) -> float:
        """Standard error of the mean gap; NaN for one image."""
        return float(self.gap.std() / math.sqrt(len(self.gap))) if len(self.gap) > 1 else math.nan

    @property
    def mean(self) -> tuple[float, float]:
        """Means of the lower and of the upper bounds."""
        return float(self.lower.mean()), float(self.upper.mean())


def bidirectional_gap(
    model: VAE,
    num_images: int = 20,
    *,
    num_chains: int = 16,
    num_temperatures: int = 200,
    leapfrog_steps: int = 5,
    start: Start = "posterior",
    schedule: Schedule = "sigmoid",
    seed: int = 0,
    done: Done | None = None,
) -> Bracket:
    r"""Bounds of log p(x) from below and from above, for images that the model draws: bidirectional Monte Carlo.

    .. math:: \mathbb{E}\left[\log \frac{1}{K} \sum_k w_k\right] \le \log p(x) \le
        \mathbb{E}\left[-\log \frac{1}{K} \sum_k \tilde{w}_k\right]

    A draw :math:`z \sim p(z), x \sim p(x \mid z)` comes with a code from the true posterior :math:`p(z \mid x)`. The w
    are the weights of :func:`annealed_importance_nll`. The :math:`\tilde{w}`, whose mean is 1 / p(x), are those of
    chains that start at that code and go all the way back, by the same moves. In expectation neither bound is off by
    more than what is between them, and more temperatures shrink that: so settings are found that are good enough for a
    model. Grosse et al. (2015); Wu et al. (2017).

    The images are draws, not means: black or white under a Bernoulli likelihood, whatever grey levels it was trained
    on. A model under the tag ``grey-bce`` is thereby measured on binarized images, of which it has a probability, and
    the bracket's tag says ``binarized-static``.

    Args:
        model: The model; of a conditional one, the labels go round the classes.
        num_images: Number N of images to draw.
        num_chains: Number K of chains for each image, in each direction.
        num_temperatures: Number T of temperatures from 0 to 1, both included.
        leapfrog_steps: Steps of a move.
        start: Distribution at the other end of the path, "posterior" or "prior".
        schedule: How the temperatures lie between 0 and 1, "sigmoid" or "linear".
        seed: Seed of all that is drawn.
        done: Function that is called with the number of images after each batch.

    Raises:
        DataError: If the model gives a value that is not finite.
        SettingError: If a number or a word makes no sense.
        ComponentError: If a density is not known, or has no gradient in the code, or the likelihood draws no images
            that it has a density of.

    Example:
        >>> bracket = mv.metrics.bidirectional_gap(mv.VAE(latent_dim=2), 4, num_chains=4, num_temperatures=20)
        >>> bracket.gap.shape, bracket.tag
        (torch.Size([4]), 'binarized-static')
    """
    annealing = Annealing.checked(num_chains, num_temperatures, leapfrog_steps, start, schedule)
    model = check_model(model)
    annealing.check_model(model)
    n, first = check_count("num_images as an integer of at least 1", num_images), 0
    # A tensor that is made in inference mode could never pass on a gradient.
    with torch.inference_mode(mode=False), measuring(model, check_seed(seed)):
        found = torch.empty(2, n, dtype=torch.float64, device="cpu")
        for numbers in torch.split(torch.arange(n, device=model.device), annealing.images_at_once(model.device)):
            y = None if model.num_classes is None else numbers % model.num_classes
            z = draws(model.latent_prior(y), 1, len(numbers))[0]
            x = _drawn(model, z, y)
            begin = model.latent_prior(y) if annealing.start == "prior" else model.encode(x, y)
            kind = annealing.path(model, x, y, begin)
            there = annealing.up(kind, begin, len(x))
            back = annealing.down(kind, z, there.steps)
            rows = slice(first, first + len(x))
            found[0, rows] = there.log_weights.logsumexp(0) - math.log(annealing.num_chains)
            found[1, rows] = math.log(annealing.num_chains) - back.log_weights.logsumexp(0)
            first = rows.stop
            if done is not None:
                done(len(x))
    lower, upper = (check_finite(bounds, "log-likelihoods", _DIVERGED) for bounds in found)
    return Bracket(lower, upper, _tag(model))


def _drawn(model: VAE, z: Tensor, y: Tensor | None) -> Tensor:
    """Images from p(x | z), (B, C, H, W), which have a density.

    Raises:
        ComponentError: If the likelihood draws none, or they are grey under cross-entropy.
    """
    pixels: Distribution = model.decode(z, y)
    try:
        x: Tensor = pixels.sample()
    except NotImplementedError:
        got = f"{type_name(pixels)} without a sample method"
        raise ComponentError("a likelihood that draws images", got, "give the distribution one") from None
    if model.tag().startswith(UNNORMALISED) and bool(((x != 0) & (x != 1)).any()):
        got = f"grey images under the tag {model.tag()!r}, whose exponential is no density"
        raise ComponentError("a likelihood that draws images of which it has a density", got, "take another likelihood")
    return x


def _tag(model: VAE) -> str:
    """The name of the density of drawn images: those of a Bernoulli likelihood are black or white."""
    tag = model.tag()
    return model.tag("static") if tag.startswith(UNNORMALISED) else tag
