"""Likelihoods of images by annealed importance sampling, for models whose posterior is a poor one to sample from."""

from __future__ import annotations

import math
import warnings
from typing import NamedTuple

import torch
from torch import Tensor

from mnistvae._passes import Done, measuring
from mnistvae.arrays import ArrayLike, check_finite
from mnistvae.data import ImageDataset
from mnistvae.metrics._paths import Annealing, Schedule, Start
from mnistvae.metrics.likelihood import ImportanceEstimate, tag_in_words
from mnistvae.metrics.metric import Metric
from mnistvae.models import VAE
from mnistvae.view import View

__all__ = ["ANNEALED_NLL", "AnnealedEstimate", "annealed_estimate", "annealed_importance_nll"]

#: A warning is due where more than this share of the images has fewer effective chains than this, of this many.
_SHARE, _FEW, _MANY = 0.1, 2, 8
_DIVERGED = "look at the weights: the model may have diverged"


class AnnealedEstimate(NamedTuple):
    """An estimate by annealed importance sampling for each image, in nats, float64."""

    #: Estimates of -log p(x), (N,).
    nll: Tensor
    #: Kish's effective number of chains, from 1 to num_chains, (N,).
    effective_samples: Tensor
    #: Share of the moves that were accepted, (N,); NaN where two temperatures leave no room for any.
    acceptance: Tensor
    #: Chains an image.
    num_chains: int

    @property
    def mean(self) -> float:
        """Mean over the images."""
        return self._importance.mean

    @property
    def standard_error(self) -> float:
        """Standard error of the mean, as :attr:`ImportanceEstimate.standard_error` has it."""
        return self._importance.standard_error

    @property
    def sampling_error(self) -> float:
        """The part of it that more chains would take away, as :attr:`ImportanceEstimate.sampling_error` has it."""
        return self._importance.sampling_error

    @property
    def _importance(self) -> ImportanceEstimate:
        return ImportanceEstimate(self.nll, self.effective_samples, self.num_chains)


def annealed_importance_nll(
    model: VAE,
    data: ImageDataset | ArrayLike,
    *,
    num_chains: int = 16,
    num_temperatures: int = 200,
    leapfrog_steps: int = 5,
    start: Start = "posterior",
    schedule: Schedule = "sigmoid",
    seed: int = 0,
    done: Done | None = None,
) -> AnnealedEstimate:
    r"""Minus the log-likelihood of each image, by annealed importance sampling from the posterior or the prior.

    .. math:: -\log p(x) \approx -\log \frac{1}{K} \sum_{k=1}^K w_k, \qquad
        \log w_k = \sum_{t=1}^{T - 1} (\beta_t - \beta_{t - 1})
        \log \frac{p(x \mid z_{k, t - 1}) \, p(z_{k, t - 1})}{s(z_{k, t - 1})}

    Each chain starts at a code from s, which is :math:`q(z \mid x)` or :math:`p(z)`, and is moved by Hamiltonian Monte
    Carlo along the densities :math:`s(z)^{1 - \beta_t} (p(x \mid z) \, p(z))^{\beta_t}` towards :math:`p(z \mid x)`.
    So it gets by with a poor posterior, where :func:`importance_sampled_nll` needs a good one; with two temperatures it
    is that estimate. The mean of w is exactly p(x): the estimate is too high in expectation, less so the more
    temperatures. The length of a step is found for each image by a few chains more, so that 0.8 of the moves are
    accepted. Neal (2001), section 2; Wu et al. (2017). Where cross-entropy on grey pixels stands for -log p(x | z),
    under the tag ``grey-bce``, the value is no log-likelihood.

    Args:
        model: The model.
        data: N images, and their labels for a conditional model.
        num_chains: Number K of chains for each image.
        num_temperatures: Number T of temperatures from 0 to 1, both included.
        leapfrog_steps: Steps of a move, each of which is a gradient of the decoder for every chain.
        start: Distribution that the chains start from: "posterior", or "prior", which takes many more temperatures and
            looks at no encoder.
        schedule: How the temperatures lie between 0 and 1: "sigmoid", close to each other near the ends, or "linear".
        seed: Seed of the codes and of their moves.
        done: Function that is called with the number of images after each batch.

    Raises:
        DataError: If the data do not fit the model, or the model gives a value that is not finite.
        SettingError: If a number or a word makes no sense.
        ComponentError: If a density is not known, or has no gradient in the code.

    Warns:
        UserWarning: If the effective number of chains is poor for many images.

    Example:
        >>> digits = mv.load_dataset("mnist-mini", "test")[:4]
        >>> vae = mv.VAE(latent_dim=2)
        >>> estimate = mv.metrics.annealed_importance_nll(vae, digits, num_chains=4, num_temperatures=10)
        >>> estimate.nll.shape, bool((estimate.effective_samples <= 4.001).all())
        (torch.Size([4]), True)
    """
    return annealed_estimate(
        View(model, data, seed=seed),
        num_chains=num_chains,
        num_temperatures=num_temperatures,
        leapfrog_steps=leapfrog_steps,
        start=start,
        schedule=schedule,
        done=done,
    )


def annealed_estimate(
    view: View,
    *,
    num_chains: int = 16,
    num_temperatures: int = 200,
    leapfrog_steps: int = 5,
    start: Start = "posterior",
    schedule: Schedule = "sigmoid",
    done: Done | None = None,
) -> AnnealedEstimate:
    """The estimate of :func:`annealed_importance_nll` on the images of a view.

    Args:
        view: A model and a data set.
        num_chains: Number of chains for each image.
        num_temperatures: Number of temperatures from 0 to 1, both included.
        leapfrog_steps: Steps of a move.
        start: Distribution that the chains start from.
        schedule: How the temperatures lie between 0 and 1.
        done: Function that is called with the number of images after each batch (default: the view's bar).
    """
    annealing = Annealing.checked(num_chains, num_temperatures, leapfrog_steps, start, schedule)
    model, first = view.model, 0
    annealing.check_model(model)
    # A tensor that is made in inference mode could never pass on a gradient.
    with torch.inference_mode(mode=False), view.bar("annealing", len(view)) as show, measuring(model, view.seed):
        found = torch.empty(3, len(view), dtype=torch.float64, device="cpu")
        for x, y, posterior in view.batches(annealing.images_at_once(model.device)):
            begin = posterior if annealing.start == "posterior" else model.latent_prior(y)
            annealed = annealing.up(annealing.path(model, x, y, begin), begin, len(x))
            log_sum = annealed.log_weights.logsumexp(0)
            rows = slice(first, first + len(x))
            found[0, rows] = math.log(annealing.num_chains) - log_sum
            found[1, rows] = (2 * log_sum - (2 * annealed.log_weights).logsumexp(0)).exp()
            found[2, rows] = annealed.acceptance
            first = rows.stop
            (done or show)(len(x))
    nll, effective, acceptance = found
    check_finite(nll, "log-likelihoods", _DIVERGED)
    poor = float((effective < _FEW).double().mean())
    if annealing.num_chains >= _MANY and poor > _SHARE:
        warnings.warn(
            f"the log-likelihood of {poor:.0%} of the images rests on fewer than {_FEW} of {annealing.num_chains} "
            "chains, so the estimate is too high: take more temperatures",
            stacklevel=3,
        )
    return AnnealedEstimate(nll, effective, acceptance, annealing.num_chains)


def _nll(view: View) -> Tensor:
    return view.once(annealed_estimate).nll


def _how(view: View) -> str:
    found = view.once(annealed_estimate)
    effective, accepted = float(found.effective_samples.median()), float(found.acceptance.mean())
    chains = f"{found.num_chains} chains from the posterior, {effective:.3g} of them effective (median)"
    return f"{tag_in_words(view)}; {chains}; {accepted:.0%} of the moves accepted"


_NEEDS = ("codes that move",)
#: The estimate under its usual settings, for :func:`mnistvae.metrics.evaluate`, which leaves it out unless it is asked
#: for: it takes a thousand times as long as an importance sample.
ANNEALED_NLL = Metric("ais_nll", "nats", "lower", compute=_nll, per="image", protocol=_how, tagged=True, needs=_NEEDS)
