"""How probable a model finds images: the evidence lower bound, and log p(x) itself by importance sampling."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from mnistvae._checks import check_count, check_number, check_seed
from mnistvae.arrays import check_finite
from mnistvae.data import ImageDataset
from mnistvae.images import ImageShape, check_image_shape
from mnistvae.losses import kl_or_estimate
from mnistvae.metrics._passes import batches, measuring, nothing
from mnistvae.models import VAE

__all__ = ["Bound", "ImportanceEstimate", "bits_per_dimension", "elbo", "importance_sampled_nll"]

#: Images that are encoded at once, and codes that are decoded at once: what stays in a CPU's cache is quick.
_IMAGES, _CODES = 256, 512
#: A warning is due where more than this share of the images has fewer effective samples than this, of this many.
_SHARE, _FEW, _MANY = 0.1, 2, 50
_DIVERGED = "look at the weights: the model may have diverged"


class Bound(NamedTuple):
    """The two parts of the evidence lower bound, for each image, in nats, float64."""

    #: -log p(x | z) at one code drawn from the posterior, (N,).
    reconstruction: Tensor
    #: D_KL(q(z | x) || p(z)), (N,).
    kl: Tensor

    @property
    def loss(self) -> Tensor:
        """Minus the evidence lower bound, (N,)."""
        return self.reconstruction + self.kl


class ImportanceEstimate(NamedTuple):
    """An importance-sampled estimate for each image, in nats, float64."""

    #: Estimates of -log p(x), (N,).
    nll: Tensor
    #: Kish's effective number of samples, from 1 to num_samples, (N,).
    effective_samples: Tensor
    #: Samples an image.
    num_samples: int

    @property
    def mean(self) -> float:
        """Over the images."""
        return float(self.nll.mean())

    @property
    def standard_error(self) -> float:
        r"""Of the mean: the images are a sample, and so are the codes.

        .. math:: \sqrt{\frac{\operatorname{Var}_x(\text{nll})}{N}}

        The codes' noise is in the variance over the images, since each image has codes of its own.
        """
        return float(self.nll.std() / math.sqrt(len(self.nll))) if len(self.nll) > 1 else math.nan

    @property
    def sampling_error(self) -> float:
        r"""The part of the standard error that more samples would take away.

        .. math:: \frac{1}{N} \sqrt{\sum_n \frac{1}{\text{ESS}_n} - \frac{1}{K}}

        The variance of a logarithm of a mean of K weights, to first order (the delta method).
        """
        variance = (1 / self.effective_samples - 1 / self.num_samples).clamp_min(0)
        return float(variance.sum().sqrt() / len(self.nll))


def elbo(
    model: VAE, data: ImageDataset, *, batch_size: int = 512, seed: int = 0, done: Callable[[int], object] = nothing
) -> Bound:
    r"""The negative evidence lower bound of each image, whatever the model was trained for.

    .. math:: -\log p(x \mid z) + D_{KL}(q(z \mid x) \| p(z)), \qquad z \sim q(z \mid x)

    Kingma and Welling (2014), equation 3. The KL divergence is in closed form where torch knows one, else
    estimated at the code. Lower is better; at least the negative log-likelihood in expectation.

    Args:
        model: the model.
        data: N images, and their labels for a conditional model.
        batch_size: images at once.
        seed: of the codes.
        done: called with the number of images after each batch.

    Raises:
        DataError: data that do not fit the model, or a model that gives a value that is not finite.
    """
    parts: list[tuple[Tensor, Tensor]] = []
    with measuring(model, check_seed(seed)):
        for x, y in batches(model, data, batch_size, seed=seed, done=done):
            posterior = model.encode(x, y)
            z = posterior.rsample()
            reconstruction = -model.decode(z, y).log_prob(x)
            parts.append((reconstruction.double(), kl_or_estimate(posterior, model.latent_prior(y), z).double()))
    return Bound(*(check_finite(torch.cat(part).cpu(), "bounds", _DIVERGED) for part in zip(*parts, strict=True)))


def importance_sampled_nll(
    model: VAE,
    data: ImageDataset,
    num_samples: int = 500,
    *,
    seed: int = 0,
    done: Callable[[int], object] = nothing,
) -> ImportanceEstimate:
    r"""Minus the log-likelihood of each image, by importance sampling from the posterior.

    .. math:: -\log p(x) \approx -\log \frac{1}{K} \sum_{k=1}^K \frac{p(x \mid z_k) \, p(z_k)}{q(z_k \mid x)},
        \qquad z_k \sim q(z \mid x)

    Burda et al. (2016), equation 8. The estimate is too high in expectation, less so the larger K: lower is
    better for a model, and an estimate with more samples is nearer the truth, not another model. Each image
    is encoded once; sums are kept as logarithms, so that neither K nor N costs memory.

    Args:
        model: the model.
        data: N images, and their labels for a conditional model.
        num_samples: K.
        seed: of the codes.
        done: called with the number of images after each batch.

    Raises:
        DataError: data that do not fit the model, or a model that gives a value that is not finite.
        SettingError: no samples.

    Warns:
        UserWarning: the effective number of samples is poor for many images.

    Example:
        >>> digits = mv.load_dataset("mnist-mini", "test")[:4]
        >>> estimate = mv.metrics.importance_sampled_nll(mv.VAE(latent_dim=2), digits, num_samples=50)
        >>> estimate.nll.shape, bool((estimate.effective_samples <= 50).all())
        (torch.Size([4]), True)
    """
    num_samples = check_count("num_samples as an integer of at least 1", num_samples)
    found: list[tuple[Tensor, Tensor]] = []
    with measuring(model, check_seed(seed)):
        for x, y in batches(model, data, _IMAGES, seed=seed, done=done):
            posterior, prior = model.encode(x, y), model.latent_prior(y)
            sums = torch.full((2, len(x)), -math.inf, dtype=torch.float64, device=x.device)
            left, at_once = num_samples, min(num_samples, max(1, _CODES // len(x)))
            images, classes = x.repeat(at_once, 1, 1, 1), None if y is None else y.repeat(at_once)
            while left:
                now = min(left, at_once)
                z = posterior.sample(torch.Size([now]))
                n = now * len(x)
                pixels = model.decode(z.flatten(0, 1), None if classes is None else classes[:n])
                log_p = pixels.log_prob(images[:n]).reshape(now, len(x)) + prior.log_prob(z)
                log_weights = (log_p - posterior.log_prob(z)).double()
                sums = torch.logaddexp(sums, torch.stack([log_weights, 2 * log_weights]).logsumexp(1))
                left -= now
            first, second = sums  # log sum w, log sum w^2
            found.append((math.log(num_samples) - first, (2 * first - second).exp()))
    nll, effective = (torch.cat(part).cpu() for part in zip(*found, strict=True))
    estimate = ImportanceEstimate(check_finite(nll, "log-likelihoods", _DIVERGED), effective, num_samples)
    poor = float((estimate.effective_samples < _FEW).double().mean())
    if num_samples >= _MANY and poor > _SHARE:
        warnings.warn(
            f"the log-likelihood of {poor:.0%} of the images rests on fewer than {_FEW} of {num_samples} samples, "
            "so the estimate is too high: take more samples",
            stacklevel=2,
        )
    return estimate


def bits_per_dimension(nats: float, image_shape: ImageShape) -> float:
    r"""Nats an image as bits a pixel and channel.

    .. math:: \frac{\text{nats}}{C H W \log 2}

    For densities on [0, 1] this is relative to that interval, so it may be negative; add 8 to compare with
    models of 256 grey levels, whose data were dequantized.

    Raises:
        SettingError: nats that are no finite number, or a shape that is not (C, H, W).

    Example:
        >>> round(bits_per_dimension(784 * 0.6931, (1, 28, 28)), 2)
        1.0
    """
    nats = check_number("nats as a finite number", nats, -math.inf, above=True, fix="pass the mean over the images")
    return nats / (math.prod(check_image_shape(image_shape)) * math.log(2))
