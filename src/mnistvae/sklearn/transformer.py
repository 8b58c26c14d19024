"""A VAE as a transformer of scikit-learn's: rows to codes, and back."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from numpy.random import RandomState
from numpy.typing import NDArray
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted
from torch import Tensor
from torch.distributions import Distribution

from mnistvae._checks import check_count
from mnistvae._passes import measuring
from mnistvae._random import seeded
from mnistvae.arrays import check_finite
from mnistvae.distributions import DiagonalNormal, mean_of
from mnistvae.losses import kl_or_estimate
from mnistvae.models import VAE
from mnistvae.sklearn._estimator import VAEEstimator, seed_of

__all__ = ["VAETransformer"]

#: Rows that are computed at once.
_AT_ONCE = 512
_DIVERGED = "look at history_: the training may have diverged"


class VAETransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, VAEEstimator):  # type: ignore[misc]
    r"""A transformer from rows to the means of q(z | x), which can also turn codes back, sample, and score.

    A row is an image of C * H * W pixels. The values of ``X`` become pixels in [0, 1]: with ``max_value`` from 0 to
    that number, without it from the least to the greatest value of ``X`` in ``fit``. Training sees 256 levels of them.
    :meth:`transform`, :meth:`score_samples` and :meth:`inverse_transform` compute in the precision of what they get.

    Args:
        recipe: Recipe of model and training, or its name; its model must not be told labels. Most have
            Bernoulli pixels; for measurements that are no pixels take ``"gaussian-mlp"``.
        latent_dim: Number of latent dimensions (default: as in the recipe, as with all that is None).
        beta: Weight of the KL term; of recipes that have one.
        epochs: Passes over ``X``.
        batch_size: Rows in a batch of the training.
        learning_rate: Learning rate of the training.
        settings: Other settings of the recipe's model, such as ``{"hidden": (64,)}``.
        training: Other settings of the :class:`~mnistvae.Trainer`, such as ``{"schedule": "cosine"}``.
        image_shape: Shape of an image, (C, H, W) (default: a square of one channel, where the number of features is a
            square, else one line of pixels, (1, 1, n_features)).
        max_value: Value of X that is white; 0 is black, and values beyond are an error. None to have black and white
            learned in ``fit``: later values beyond them are clipped.
        num_samples: Codes drawn for each row by the scores.
        random_state: Seed of weights, training and scores; None for a new one in each ``fit``.
        device: Device: "auto", or a name.
        verbose: True for a bar for each epoch.

    Attributes:
        model_: The trained :class:`~mnistvae.VAE`, which :func:`mnistvae.save` writes to a file.
        history_: The :class:`~mnistvae.History` of the training.
        image_shape_: Shape of an image.
        data_range_: Values of X that are black and white.
        seed_: Seed of weights, training and scores.
        n_features_in_: Number of features.

    Example:
        >>> from sklearn.datasets import load_digits
        >>> digits = load_digits().data[:200]  # (200, 64), from 0 to 16
        >>> vae = VAETransformer(latent_dim=4, epochs=2, max_value=16).fit(digits)
        >>> codes = vae.transform(digits)
        >>> codes.shape, vae.inverse_transform(codes).shape, vae.sample(3).shape
        ((200, 4), (200, 64), (3, 64))
    """

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    @property
    def _n_features_out(self) -> int:
        return int(self.model_.latent_dim)

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803
        """Make a model and train it.

        Args:
            X: Rows, (n_samples, n_features).
            y: Not looked at.

        Raises:
            SettingError: If a parameter makes no sense.
            DataError: If a value is outside of the range that ``max_value`` says.
            ValueError: If X is no table of finite numbers.
        """
        self._train(X)
        return self

    def transform(self, X: Any) -> NDArray[Any]:  # noqa: N803
        """The means of q(z | x), (n_samples, latent_dim).

        Args:
            X: Rows, (n_samples, n_features).
        """
        images = self._images(X)
        model = self._model(images.dtype)
        with measuring(model):
            means = torch.cat([mean_of(model.encode(x)).cpu() for x in torch.split(images, _AT_ONCE)])
        found: NDArray[Any] = check_finite(means.to(images.dtype), "codes", _DIVERGED).numpy()
        return found

    def inverse_transform(self, X: Any) -> NDArray[Any]:  # noqa: N803
        """The means of p(x | z) as rows in the range of the fitted table, (n_samples, n_features).

        Args:
            X: Codes, (n_samples, latent_dim).
        """
        check_is_fitted(self)
        codes = torch.from_numpy(np.array(check_array(X, dtype=[np.float64, np.float32])))
        model = self._model(codes.dtype)
        with measuring(model):
            made = [model.decode(z).mean.clamp(0, 1).cpu().to(codes.dtype) for z in torch.split(codes, _AT_ONCE)]
        return self._rows.rows(torch.cat(made))

    def sample(self, n_samples: int = 1, random_state: int | RandomState | None = None) -> NDArray[Any]:
        """New rows: the means of p(x | z) of codes drawn from the prior, (n_samples, n_features).

        Args:
            n_samples: Number of rows.
            random_state: Seed of the draw; None for another one in each call.
        """
        check_is_fitted(self)
        n_samples = check_count("n_samples as an integer of at least 1", n_samples)
        generator = torch.Generator().manual_seed(seed_of(random_state))
        return self._rows.rows(self.model_.sample(n_samples, generator=generator).float())

    def score_samples(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        r"""The evidence lower bound of each row, (n_samples,), in nats.

        .. math:: \mathbb{E}_{q(z \mid x)}[\log p(x \mid z)] - D_{KL}(q(z \mid x) \| p(z))

        The weight of the KL term is 1, whatever beta was trained with. The expectation is a mean over ``num_samples``
        codes, drawn with the same noise for each row, so that a row's score depends on no other row. A density is one
        of pixels in [0, 1]; Bernoulli pixels that are grey have a cross-entropy in its place (see
        :meth:`mnistvae.VAE.tag`): compare such scores with those of the same pixels only.

        Args:
            X: Rows, (n_samples, n_features).
        """
        images = self._images(X)
        num_samples = check_count("num_samples as an integer of at least 1", self.num_samples)
        bounds = _bounds(self._model(images.dtype), images, num_samples, self.seed_)
        found: NDArray[np.float64] = check_finite(bounds, "bounds", _DIVERGED).numpy()
        return found

    def score(self, X: Any, y: Any = None) -> float:  # noqa: N803
        """The mean evidence lower bound of the rows, in nats; higher is better.

        Args:
            X: Rows, (n_samples, n_features).
            y: Not looked at.
        """
        return float(self.score_samples(X).mean())


def _bounds(model: VAE, images: Tensor, num_samples: int, seed: int) -> Tensor:
    """The evidence lower bound of each image, (N,), float64 on the CPU: the same whatever the others are."""
    found = []
    with measuring(model):
        alone = type(model.encode(images[:1])) is not DiagonalNormal  # whose noise cannot be shared by a batch
        with seeded(seed, model.device):
            noise = torch.randn(num_samples, 1, model.latent_dim, dtype=model.dtype, device=model.device)
        for x in torch.split(images.to(model.device, model.dtype), 1 if alone else _AT_ONCE):
            posterior, total = model.encode(x), torch.zeros(len(x), dtype=torch.float64, device="cpu")
            with seeded(seed if alone else None, model.device):
                for z in _codes(posterior, noise):
                    kl = kl_or_estimate(posterior, model.latent_prior(), z)
                    total += (model.decode(z).log_prob(x) - kl).double().cpu()
            found.append(total / num_samples)
    return torch.cat(found)


def _codes(posterior: Distribution, noise: Tensor) -> Tensor:
    """Draws from q(z | x), (K, B, latent_dim): of a diagonal normal at the given noise, (K, 1, latent_dim)."""
    if type(posterior) is DiagonalNormal:
        return posterior.mean + posterior.stddev * noise
    return posterior.sample(torch.Size([len(noise)]))
