"""Priors that are fitted to the codes of a trained model."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Literal, TypeAlias, cast

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.utils.data import DataLoader, Dataset

from mnistvae._checks import check_choice, check_count, check_seed
from mnistvae._component import clone
from mnistvae._learners import heeded
from mnistvae._modes import evaluating
from mnistvae._random import Stream, derive_seed, seeded
from mnistvae._tokens import fit_tokens
from mnistvae.arrays import ArrayLike, check_finite
from mnistvae.data import ImageDataset, batch_source
from mnistvae.errors import ComponentError, DataError, SettingError, type_name
from mnistvae.models import VAE
from mnistvae.networks import TokenEncoder
from mnistvae.priors import GaussianMixture, TokenPrior

__all__ = ["FitKind", "fit_prior"]

#: Kinds of priors that can be fitted.
FitKind: TypeAlias = Literal["mixture", "tokens"]
#: The smallest number of images that a network is fitted to: a tenth of them is held out.
_IMAGES = 100
#: Steps of the fit of a prior of tokens, where nobody says.
_STEPS = 1000


def fit_prior(
    model: VAE,
    data: ImageDataset | ArrayLike | Dataset[Any] | DataLoader[Any],
    components: int = 10,
    *,
    kind: FitKind = "mixture",
    covariance: Literal["diag", "full"] = "full",
    steps: int | None = None,
    seed: int = 0,
    batch_size: int = 1024,
) -> VAE:
    r"""A copy of a model, whose prior is fitted to the codes of images: a mixture of normals, or a prior of tokens.

    The mixture is the most likely one (scikit-learn's ``GaussianMixture``) for one draw from
    q(z | x) of each image, that is for draws from the aggregate posterior

    .. math:: q(z) = \frac{1}{N} \sum_n q(z \mid x_n)

    Samples from it meet the decoder where it was trained, which samples from the standard normal often do
    not: Ghosh et al. (2020), "From variational to deterministic autoencoders", section 4, ex-post density estimation.

    The prior of tokens, for a model with a :class:`~mnistvae.networks.VectorQuantizedEncoder` or another encoder of
    tokens, is a :class:`~mnistvae.priors.TokenPrior`, fitted by AdamW on the model's device; a tenth of the images is
    held out, and the parameters under which their tokens are most likely are kept. A model that has such a prior
    already gets one of the same settings.

    Args:
        model: Trained model; it is left as it is.
        data: Images that it was trained on; with labels for a conditional model, whose prior stays the same for all.
        components: Number of normals in the mixture.
        kind: Kind of the prior, ``"mixture"`` or ``"tokens"``.
        covariance: Covariance of each normal of the mixture, ``"full"`` or ``"diag"``.
        steps: Greatest number of steps of the fit of a prior of tokens, with 128 images each (default: 1,000).
        seed: Seed of the draws and of the fit.
        batch_size: Number of images encoded at once; the draws depend on it.

    Returns:
        A copy, which shares no weights with ``model``; in evaluation mode. It can be saved if the model's class takes
        ``prior`` in its constructor, as mnistvae's do.

    Raises:
        SettingError: If there is no component, or a full covariance is asked of a model in half precision.
        DataError: If there are fewer images than components, or than 100 for a prior of tokens; they do not fit the
            model; or there is no fit.
        ComponentError: If ``model`` is no VAE, or the kind does not fit its encoder.

    Warns:
        UserWarning: If the mixture did not settle, such as for more components than there are different codes.

    Example:
        >>> data = mv.load_dataset("mnist-mini", "test")
        >>> fitted = fit_prior(mv.VAE(latent_dim=2), data[:500], components=3)
        >>> fitted.prior
        GaussianMixture(latent_dim=2, components=3, covariance='full')
        >>> fitted.sample(4).shape
        torch.Size([4, 1, 28, 28])
    """
    if not isinstance(model, VAE):
        raise ComponentError("a mnistvae model", type_name(model), "pass an instance of VAE")
    components = check_count("components as an integer of at least 1", components)
    full = check_choice("covariance", covariance, ("diag", "full")) == "full"
    seed, batch_size = check_seed(seed), check_count("batch_size of at least 1", batch_size)
    _check_kind(model, kind)
    if kind == "tokens":
        return model.replace(prior=_fit_token_prior(model, data, steps, seed, batch_size)).eval()
    if full and model.dtype in {torch.float16, torch.bfloat16}:
        raise SettingError("covariance='diag' for a model in half precision", "'full'", "or model.float() first")
    codes = check_finite(
        _draw_codes(model, data, seed, batch_size), "codes", "train the model before its prior is fitted"
    )
    if len(codes) < max(components, 2):
        raise DataError(
            f"at least {max(components, 2)} images for {components} components",
            str(len(codes)),
            "pass more images, or fewer components",
        )
    from sklearn.mixture import GaussianMixture as Fit  # takes a second: only those who want it pay

    fit = Fit(components, covariance_type=covariance, random_state=seed % 2**32, max_iter=500)
    try:
        with heeded() as unfinished:
            fit.fit(codes.double().numpy())
    except ValueError as error:
        got = f"codes up to {float(codes.abs().max()):.3g}: {' '.join(str(error).split())[:120]}"
        raise DataError(f"codes for {components} components", got, "fit fewer, or train the model further") from error
    if unfinished:
        text = f"the mixture of {components} did not settle: fewer components, or more images, may do better"
        warnings.warn(text, stacklevel=2)
    covariances = fit.covariances_ if full else np.stack([np.diag(row) for row in fit.covariances_])
    with seeded(seed), torch.device("cpu"):
        prior = GaussianMixture(model.latent_dim, components, covariance)
    weights, means, scale_tril = (
        torch.from_numpy(a) for a in (fit.weights_, fit.means_, np.linalg.cholesky(covariances))
    )
    prior.set_components(weights, means, scale_tril)
    return model.replace(prior=prior).eval()


def _check_kind(model: VAE, kind: str) -> None:
    """Check that a kind of prior is one for the codes of the model."""
    of_tokens = isinstance(model.encoder, TokenEncoder)
    if (check_choice("kind", kind, ("mixture", "tokens")) == "tokens") != of_tokens:
        wanted = "tokens" if of_tokens else "mixture"
        raise ComponentError(f"kind={wanted!r} for the codes of a {type(model.encoder).__name__}", repr(kind))


def _fit_token_prior(model: VAE, data: Any, steps: int | None, seed: int, batch_size: int) -> TokenPrior:
    """The most likely prior of tokens for those of images."""
    steps = check_count("steps as an integer of at least 1, or None", _STEPS if steps is None else steps)
    encoder, given = cast("TokenEncoder", model.encoder), model.prior
    with seeded(seed), torch.device("cpu"):
        prior = clone(given) if isinstance(given, TokenPrior) else TokenPrior(encoder.codebook_size, encoder.grid)
    tokens = torch.cat(_encoded(model, data, seed, batch_size, lambda q: q.tokens))  # type: ignore[attr-defined]
    if len(tokens) < _IMAGES:
        raise DataError(f"at least {_IMAGES} images for kind='tokens'", str(len(tokens)), "pass more images")
    # In single precision at least; the copy of the model brings it to its own.
    prior.to(tokens.device, torch.promote_types(model.dtype, torch.float32))
    fit_tokens(prior, tokens, steps, derive_seed(seed, Stream.FITTING))
    return prior


def _draw_codes(model: VAE, data: Any, seed: int, batch_size: int) -> Tensor:
    """One code of each image, (N, latent_dim), on the CPU."""
    return torch.cat(_encoded(model, data, seed, batch_size, lambda q: q.sample().cpu()))


@torch.no_grad()
def _encoded(model: VAE, data: Any, seed: int, batch_size: int, take: Callable[[Distribution], Any]) -> list[Any]:
    """Something of the posteriors of each batch of images."""
    conditional = model.num_classes is not None
    with seeded(seed, model.device):  # reading a Dataset may draw from the global generators
        source = batch_source(
            data,
            batch_size,
            shuffle=False,
            seed=seed,
            device=model.device,
            image_shape=model.image_shape,
            labels=conditional,
            num_classes=model.num_classes,
            loading={"epoch": 0, "seed": derive_seed(seed, Stream.FITTING)},
        )
    with evaluating(model), seeded(derive_seed(seed, Stream.FITTING), model.device):
        return [take(model.encode(x, y if conditional else None)) for x, y in source.epoch(0)]
