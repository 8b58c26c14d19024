"""Likelihoods of images under a model: the evidence lower bound, and log p(x) itself by importance sampling."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution

from mnistvae._checks import check_number
from mnistvae._passes import Done, measuring, to_decode_often
from mnistvae.arrays import ArrayLike, check_finite, with_double
from mnistvae.data import ImageDataset
from mnistvae.distributions import Point, has_density
from mnistvae.errors import ComponentError, type_name
from mnistvae.images import ImageShape, check_image_shape
from mnistvae.losses import kl_or_estimate
from mnistvae.metrics.metric import Metric
from mnistvae.metrics.record import Direction
from mnistvae.models import VAE
from mnistvae.view import View

__all__ = [
    "METRICS",
    "UNNORMALISED",
    "Bound",
    "ImportanceEstimate",
    "bits_per_dimension",
    "bound",
    "elbo",
    "importance_estimate",
    "importance_sampled_nll",
    "tag_in_words",
]

#: Images that are encoded at once.
_IMAGES = 128
#: Codes that are decoded at once: on a CPU, what stays in its cache is quick; a GPU needs more to be busy.
_CODES, _CODES_OF_A_GPU = 128, 8192
#: A warning is due where more than this share of the images has fewer effective samples than this, of this many.
_SHARE, _FEW, _MANY = 0.1, 2, 50
#: Tag of the cross-entropy of grey pixels, whose exponential is no density.
UNNORMALISED = "grey-bce"
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
        """Mean over the images."""
        return float(self.nll.mean())

    @property
    def standard_error(self) -> float:
        r"""Standard error of the mean: the images are a sample, and so are the codes.

        .. math:: \sqrt{\frac{\operatorname{Var}_x(\text{nll})}{N}}

        The codes' noise is in the variance over the images, since each image has codes of its own.
        """
        return float(self.nll.std() / math.sqrt(len(self.nll))) if len(self.nll) > 1 else math.nan

    @property
    def sampling_error(self) -> float:
        r"""The part of the standard error that more samples would take away.

        .. math:: \frac{1}{N} \sqrt{\frac{K}{K - 1} \sum_n \left(\frac{1}{\text{ESS}_n} - \frac{1}{K}\right)}

        The variance of a logarithm of a mean of K weights, to first order (the delta method); NaN for one sample, of
        which no spread is known.
        """
        if self.num_samples < 2:
            return math.nan
        spread = (1 / self.effective_samples - 1 / self.num_samples).clamp_min(0)
        variance = spread * self.num_samples / (self.num_samples - 1)
        return float(variance.sum().sqrt() / len(self.nll))


def elbo(
    model: VAE, data: ImageDataset | ArrayLike, *, batch_size: int = 512, seed: int = 0, done: Done | None = None
) -> Bound:
    r"""The negative evidence lower bound of each image, whatever the model was trained for.

    .. math:: -\log p(x \mid z) + D_{KL}(q(z \mid x) \| p(z)), \qquad z \sim q(z \mid x)

    Kingma and Welling (2014), equation 3. The KL divergence is in closed form where torch knows one, else
    estimated at the code. Lower is better; at least the negative log-likelihood in expectation.

    Args:
        model: The model.
        data: N images, and their labels for a conditional model.
        batch_size: Number of images that are computed at once.
        seed: Seed of the codes.
        done: Function that is called with the number of images after each batch.

    Raises:
        DataError: If the data do not fit the model, or the model gives a value that is not finite.
    """
    return bound(View(model, data, batch_size=batch_size, seed=seed), done)


def bound(view: View, done: Done | None = None) -> Bound:
    """The bound of :func:`elbo` on the images of a view.

    Args:
        view: A model and a data set.
        done: Function that is called with the number of images after each batch (default: the view's bar).
    """
    found, start = torch.empty(2, len(view), dtype=torch.float64, device="cpu"), 0
    with view.bar("bound", len(view)) as show, measuring(view.model, view.seed):
        for x, y, posterior in view.batches():
            z = posterior.rsample()
            parts = -view.model.decode(z, y).log_prob(x), kl_or_estimate(posterior, view.model.latent_prior(y), z)
            for row, part in zip(found, parts, strict=True):
                row[start : start + len(x)] = part  # small tensors kept among large ones would scatter the memory
            start += len(x)
            (done or show)(len(x))
    return Bound(*(check_finite(row, "bounds", _DIVERGED) for row in found))


def importance_sampled_nll(
    model: VAE,
    data: ImageDataset | ArrayLike,
    num_samples: int = 500,
    *,
    seed: int = 0,
    done: Done | None = None,
) -> ImportanceEstimate:
    r"""Minus the log-likelihood of each image, by importance sampling from the posterior.

    .. math:: -\log p(x) \approx -\log \frac{1}{K} \sum_{k=1}^K \frac{p(x \mid z_k) \, p(z_k)}{q(z_k \mid x)},
        \qquad z_k \sim q(z \mid x)

    Burda et al. (2016), equation 8. The estimate is too high in expectation, less so the larger K: lower is
    better for a model, and an estimate with more samples is nearer the truth, not another model. Each image
    is encoded once; sums are kept as logarithms, so that neither K nor N costs memory. Where cross-entropy
    on grey pixels stands for -log p(x | z), under the tag ``grey-bce``, the value is no log-likelihood. Of an encoder
    of tokens, such as :class:`~mnistvae.networks.VectorQuantizedEncoder`, all samples are one code z, and the value is
    the bound at that point, :math:`-\log p(x \mid z) \, p(z)`, however many there are; its tag has ``-point``.

    Args:
        model: The model.
        data: N images, and their labels for a conditional model.
        num_samples: Number K of samples for each image.
        seed: Seed of the codes.
        done: Function that is called with the number of images after each batch.

    Raises:
        DataError: If the data do not fit the model, or the model gives a value that is not finite.
        SettingError: If there are no samples.
        ComponentError: If the posteriors have no density, as those of a :class:`~mnistvae.networks.PointEncoder`.

    Warns:
        UserWarning: If the effective number of samples is poor for many images.

    Example:
        >>> digits = mv.load_dataset("mnist-mini", "test")[:4]
        >>> estimate = mv.metrics.importance_sampled_nll(mv.VAE(latent_dim=2), digits, num_samples=50)
        >>> estimate.nll.shape, bool((estimate.effective_samples <= 50).all())
        (torch.Size([4]), True)
    """
    return importance_estimate(View(model, data, num_samples=num_samples, seed=seed), done)


def importance_estimate(view: View, done: Done | None = None) -> ImportanceEstimate:
    """The estimate of :func:`importance_sampled_nll` on the images of a view, with its number of samples.

    Args:
        view: A model and a data set.
        done: Function that is called with the number of images after each batch (default: the view's bar).

    Raises:
        ComponentError: If the posteriors have no density.
    """
    if no_weights := weights_missing(view):
        fix = "compare reconstructions and samples, or train with an encoder that has noise, such as GaussianEncoder"
        raise ComponentError("posteriors with a density, for importance weights", no_weights, fix)
    found, start = torch.empty(2, len(view), dtype=torch.float64, device="cpu"), 0
    with view.bar("log-likelihood", len(view)) as show, measuring(view.model, view.seed):
        model = to_decode_often(view.model)
        for x, y, posterior in view.batches(_IMAGES):
            one_code = isinstance(posterior, Point)  # whose weights are all alike
            samples = 1 if one_code else view.num_samples
            first, second = _log_sums(model, x, y, posterior, samples)
            found[0, start : start + len(x)] = math.log(samples) - first
            found[1, start : start + len(x)] = view.num_samples if one_code else (2 * first - second).exp()
            start += len(x)
            (done or show)(len(x))
    nll, effective = found
    estimate = ImportanceEstimate(check_finite(nll, "log-likelihoods", _DIVERGED), effective, view.num_samples)
    poor = float((estimate.effective_samples < _FEW).double().mean())
    if view.num_samples >= _MANY and poor > _SHARE:
        warnings.warn(
            f"the log-likelihood of {poor:.0%} of the images rests on fewer than {_FEW} of {view.num_samples} samples, "
            "so the estimate is too high: take more samples, or annealed_importance_nll, which needs no good posterior",
            stacklevel=3,
        )
    return estimate


def weights_missing(view: View) -> str | None:
    """The reason why there are no importance weights, if there are none: the codes are points of a continuum."""
    if view.model.encoder.has_density:
        return None
    posterior = next(iter(view.batches()))[2]
    return None if has_density(posterior, or_probability=True) else f"points, of {type_name(view.model.encoder)}"


def _log_sums(model: VAE, x: Tensor, y: Tensor | None, posterior: Distribution, num_samples: int) -> Tensor:
    """Logarithms of the sums of the importance weights of each image, and of their squares, (2, B), float64."""
    prior = model.latent_prior(y)
    exact = with_double(x.device)
    sums = torch.full((2, len(x)), -math.inf, dtype=torch.float64, device=exact)
    codes = _CODES if x.device.type == "cpu" else _CODES_OF_A_GPU
    left, at_once = num_samples, min(num_samples, max(1, codes // len(x)))
    images, classes = x.repeat(at_once, 1, 1, 1), None if y is None else y.repeat(at_once)
    while left:
        now = min(left, at_once)
        z = posterior.sample(torch.Size([now]))
        n = now * len(x)
        pixels = model.decode(z.flatten(0, 1), None if classes is None else classes[:n])
        log_p = pixels.log_prob(images[:n]).reshape(now, len(x)) + prior.log_prob(z)
        log_weights = (log_p - posterior.log_prob(z)).to(exact).double()
        sums = torch.logaddexp(sums, torch.stack([log_weights, 2 * log_weights]).logsumexp(1))
        left -= now
    return sums


def bits_per_dimension(nats: float, image_shape: ImageShape) -> float:
    r"""Nats an image as bits a pixel and channel.

    .. math:: \frac{\text{nats}}{C H W \log 2}

    For densities on [0, 1] this is relative to that interval, so it may be negative. It cannot be compared with that of
    models of 256 grey levels, such as :class:`~mnistvae.likelihoods.DiscretizedLogistic`: the images here lie on a grid
    of 256 values and are not dequantized, and a density may be as high there as it likes.

    Args:
        nats: Nats an image.
        image_shape: Shape (C, H, W) of the images.

    Raises:
        SettingError: If nats are no finite number, or the shape is not (C, H, W).

    Example:
        >>> round(bits_per_dimension(784 * 0.6931, (1, 28, 28)), 2)
        1.0
    """
    nats = check_number("nats as a finite number", nats, -math.inf, above=True, fix="pass the mean over the images")
    return nats / (math.prod(check_image_shape(image_shape)) * math.log(2))


def _bits(view: View) -> Tensor:
    return view.once(importance_estimate).nll * bits_per_dimension(1.0, view.model.image_shape)


def _how_sampled(view: View) -> str:
    effective = float(view.once(importance_estimate).effective_samples.median())
    samples = f"{view.num_samples} importance samples, {effective:.3g} of them effective (median)"
    return f"{tag_in_words(view)}; {samples}{_bound_in_words(view)}"


def _of_bound(name: str, better: Direction, how: str, part: Callable[[Bound], Tensor], *, tag: bool = True) -> Metric:
    def protocol(view: View) -> str:
        of_prior = "" if name == "reconstruction" else _bound_in_words(view)
        return f"{view.tag}; {how}{of_prior}" if tag else f"{how}{of_prior}"

    def compute(view: View) -> Tensor:
        return part(view.once(bound))

    return Metric(name, "nats", better, compute=compute, per="image", protocol=protocol, tagged=True)


def _nll(view: View) -> Tensor:
    return view.once(importance_estimate).nll


def _nll_a_pixel(view: View) -> str:
    return f"{tag_in_words(view)}; nll a pixel{_bound_in_words(view)}"


def tag_in_words(view: View) -> str:
    """The tag of an estimate over all codes, and that it is no log-likelihood where it is none.

    Args:
        view: A model and a data set.
    """
    return f"{view.tag}, no log-likelihood" if view.tag.startswith(UNNORMALISED) else view.tag


def _bound_in_words(view: View) -> str:
    """A warning that a figure is too high, for a prior whose density is known from below."""
    return "; an upper estimate, log p(z) from below" if view.model.prior.bounds_density else ""


_NLL: Mapping[str, Any] = {"needs": ("importance samples",), "per": "image", "tagged": True}
METRICS = (
    _of_bound("negative_elbo", "lower", "reconstruction + kl, beta = 1", lambda found: found.loss),
    _of_bound("reconstruction", "", "-log p(x | z) at one code", lambda found: found.reconstruction),
    _of_bound("kl", "", "from q(z | x) to the prior", lambda found: found.kl, tag=False),
    Metric("nll", "nats", "lower", compute=_nll, protocol=_how_sampled, **_NLL),
    Metric("bits_per_dimension", "bits", "lower", compute=_bits, protocol=_nll_a_pixel, **_NLL),
)
