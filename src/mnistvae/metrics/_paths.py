"""Paths of densities over codes, from a model's prior or posterior to its joint density with an image."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias, get_args

import torch
from torch import Size, Tensor
from torch.distributions import Distribution

from mnistvae._checks import check_choice, check_count
from mnistvae.distributions.supports import is_open
from mnistvae.errors import ComponentError
from mnistvae.metrics._hamiltonian import Annealed, Evaluate, Hamiltonian, Point, anneal
from mnistvae.models import VAE

__all__ = ["Annealing", "Schedule", "Start", "draws", "held_codes", "temperatures_of"]

#: Distribution that chains start from.
Start: TypeAlias = Literal["posterior", "prior"]
#: How temperatures lie between 0 and 1.
Schedule: TypeAlias = Literal["sigmoid", "linear"]

#: Codes whose densities and gradients are computed at once.
_CODES, _CODES_OF_A_GPU = 512, 8192
#: Where the sigmoid is cut off at both ends.
_STEEP = 4.0
#: Chains that look for the length of a step: one for so many that are weighed, and at least so many.
_WEIGHED_FOR_A_SCOUT, _FEWEST_SCOUTS = 4, 2


class Annealing(NamedTuple):
    """Checked settings of a run, with the paths and the chains that they give."""

    num_chains: int
    temperatures: list[float]
    leapfrog_steps: int
    start: Start

    @classmethod
    def checked(
        cls, num_chains: int, num_temperatures: int, leapfrog_steps: int, start: Start, schedule: Schedule
    ) -> Annealing:
        """The settings, each of which makes sense.

        Raises:
            SettingError: If one does not.
        """
        return cls(
            check_count("num_chains as an integer of at least 1", num_chains),
            temperatures_of(num_temperatures, schedule),
            check_count("leapfrog_steps as an integer of at least 1", leapfrog_steps),
            check_choice("start", start, get_args(Start)),
        )

    @property
    def scouts(self) -> int:
        """Chains of each image that look for the length of a step."""
        return max(_FEWEST_SCOUTS, self.num_chains // _WEIGHED_FOR_A_SCOUT)

    @staticmethod
    def check_model(model: VAE) -> None:
        """Check that chains can move through the codes of a model.

        Raises:
            ComponentError: If they cannot.
        """
        if held := held_codes(model):
            fix = "importance_sampled_nll needs no moves"
            raise ComponentError("a model whose codes are numbers that chains can move, for annealing", held, fix)

    def images_at_once(self, device: torch.device) -> int:
        """Images whose chains run together."""
        return max(1, _codes_on(device) // (self.num_chains + self.scouts))

    def path(self, model: VAE, x: Tensor, y: Tensor | None, begin: Distribution) -> Hamiltonian:
        """Moves along the path from a distribution over the codes of some images, on which they start."""
        evaluate = path_of(model, x, y, begin, from_prior=self.start == "prior")
        return Hamiltonian(evaluate, self.leapfrog_steps, _scale_of(begin, x.new_ones(len(x), model.latent_dim)))

    def up(self, kind: Hamiltonian, begin: Distribution, images: int) -> Annealed:
        """Chains from draws of the start, whose weights have a mean of p(x)."""
        start = draws(begin, self.num_chains + self.scouts, images)
        return anneal(kind, start, self.temperatures, scouts=self.scouts)

    def down(self, kind: Hamiltonian, z: Tensor, steps: Tensor) -> Annealed:
        """Chains from one code of each image, (B, D): with codes of the posterior, the mean of a weight is 1 / p(x)."""
        return anneal(kind, z.expand(self.num_chains, *z.shape), self.temperatures[::-1], steps=steps.flip(0))


def held_codes(model: VAE) -> str | None:
    """Words on the codes of a model through which no chain can move by gradients, if they are such."""
    if is_open(model.support):
        return None
    return "codes on a surface" if hasattr(model.support, "project") else f"codes that are {model.support!r}"


def temperatures_of(number: int, schedule: Schedule) -> list[float]:
    r"""Temperatures from 0 to 1, both included.

    .. math:: \beta_t = \frac{\sigma(\delta u_t) - \sigma(-\delta)}{\sigma(\delta) - \sigma(-\delta)}, \qquad
        u_t = \frac{2 t}{T - 1} - 1, \quad \delta = 4

    The sigmoid is that of Wu et al. (2017); "linear" are steps of one size.

    Raises:
        SettingError: If there are fewer than two, or the schedule is another word.
    """
    fix = "the first is 0 and the last is 1"
    number = check_count("num_temperatures as an integer of at least 2", number, least=2, fix=fix)
    linear = [t / (number - 1) for t in range(number)]
    if check_choice("schedule", schedule, get_args(Schedule)) == "linear":
        return linear
    curve = [math.tanh(0.5 * _STEEP * (2 * t - 1)) / math.tanh(0.5 * _STEEP) for t in linear]
    return [0.0, *(0.5 + 0.5 * value for value in curve[1:-1]), 1.0]


def draws(distribution: Distribution, chains: int, images: int) -> Tensor:
    """Codes (S, B, D) from a distribution of one for all images, or of one for each."""
    of_each = distribution.batch_shape == (images,)
    z: Tensor = distribution.sample(Size([chains]) if of_each else Size([chains, images]))
    return z


def path_of(model: VAE, x: Tensor, y: Tensor | None, begin: Distribution, *, from_prior: bool) -> Evaluate:
    """The densities from a distribution over the codes of images to their joint density with the images.

    Args:
        model: The model; its parameters get no gradient.
        x: Images, (B, C, H, W).
        y: Labels, for a conditional model.
        begin: Distribution at the start of the path.
        from_prior: Whether that is the model's own prior.

    Returns:
        A function that raises a ComponentError if a density is not known, or has no gradient.
    """
    prior = begin if from_prior else model.latent_prior(y)
    at_once = max(1, _codes_on(x.device) // len(x))
    images, classes = x.repeat(at_once, 1, 1, 1), None if y is None else y.repeat(at_once)

    def pixels(z: Tensor) -> Tensor:
        n = z.shape[0] * z.shape[1]
        decoded = model.decode(z.flatten(0, 1), None if classes is None else classes[:n])
        return decoded.log_prob(images[:n]).reshape(z.shape[:2])

    def some(z: Tensor) -> Point:
        base, base_slope = _with_slope(begin.log_prob, z, "prior" if from_prior else "posterior")
        tilt, tilt_slope = _with_slope(pixels, z, "likelihood")
        if not from_prior:
            log_prior, prior_slope = _with_slope(prior.log_prob, z, "prior")
            tilt, tilt_slope = tilt + log_prior - base, tilt_slope + prior_slope - base_slope
        return Point(z, base, tilt, base_slope, tilt_slope)

    def evaluate(z: Tensor) -> Point:
        parts = [some(part) for part in torch.split(z, at_once)]
        return parts[0] if len(parts) == 1 else Point(*map(torch.cat, zip(*parts, strict=True)))

    return evaluate


def _codes_on(device: torch.device) -> int:
    return _CODES if device.type == "cpu" else _CODES_OF_A_GPU


def _with_slope(log_density: Callable[[Tensor], Tensor], z: Tensor, what: str) -> tuple[Tensor, Tensor]:
    """A log-density of codes (S, B, D), (S, B), and its gradient in them."""
    expected = f"a {what} whose log_prob has a gradient in the code, for annealing"
    fix = 'start="prior" needs none' if what == "posterior" else "write log_prob in torch's functions"
    with torch.enable_grad():
        leaf = z.detach().requires_grad_()
        try:
            value = log_density(leaf)
        except NotImplementedError:
            raise ComponentError(expected, "one without a log_prob", fix) from None
        slope = None
        if value.requires_grad:
            (slope,) = torch.autograd.grad(value.sum(), leaf, allow_unused=True)
    if slope is None:
        raise ComponentError(expected, "one without a gradient", fix)
    return value.detach(), slope


def _scale_of(begin: Distribution, ones: Tensor) -> Tensor:
    """Standard deviations of a distribution over codes, (B, D), and ones where it does not know them."""
    try:
        deviations = begin.variance.sqrt()
    except NotImplementedError:
        return ones
    return torch.where(deviations.isfinite() & (deviations > 0), deviations, ones)
