"""Priors that are fitted to the codes of a trained model."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, cast

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.utils.data import DataLoader, Dataset

from mnistvae._checks import check_choice, check_count, check_seed, check_widths
from mnistvae._component import clone
from mnistvae._learners import heeded
from mnistvae._likeliest import Posteriors, fit_likeliest, fit_tokens
from mnistvae._modes import evaluating
from mnistvae._random import Stream, derive_seed, seeded
from mnistvae.arrays import ArrayLike, check_finite
from mnistvae.data import ImageDataset, batch_source
from mnistvae.distributions import DiagonalNormal, UnitSphere
from mnistvae.errors import ComponentError, DataError, SettingError, type_name
from mnistvae.models import VAE
from mnistvae.networks import TokenEncoder
from mnistvae.priors import Flow, GaussianMixture, Prior, SecondStage, StandardNormal, TokenPrior

__all__ = ["FitKind", "fit_prior", "fit_settings"]

#: Kinds of priors that can be fitted.
FitKind: TypeAlias = Literal["mixture", "realnvp", "maf", "nsf", "vae", "tokens"]
#: The settings of each kind, and what they are where nobody says.
_SETTINGS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "mixture": {"components": 10, "covariance": "full"},
        "realnvp": {"transforms": 8, "hidden": (128, 128), "steps": 4000},
        "maf": {"transforms": 5, "hidden": (128, 128), "steps": 4000},
        "nsf": {"transforms": 3, "hidden": (128, 128), "steps": 2000},
        "vae": {"hidden": (256, 256), "steps": 3000},
        "tokens": {"steps": 1000},
    }
)
_CHECKS: Mapping[str, Callable[[Any], Any]] = MappingProxyType(
    {
        "components": lambda value: check_count("components as an integer of at least 1", value),
        "covariance": lambda value: check_choice("covariance", value, ("diag", "full")),
        "transforms": lambda value: check_count("transforms as an integer of at least 1", value),
        "hidden": lambda value: check_widths("hidden", value, least=1),
        "steps": lambda value: check_count("steps as an integer of at least 1", value),
    }
)
#: The smallest number of images that a network is fitted to: a tenth of them is held out.
_IMAGES = 100


def fit_prior(
    model: VAE,
    data: ImageDataset | ArrayLike | Dataset[Any] | DataLoader[Any],
    components: int = 10,
    *,
    kind: FitKind = "mixture",
    covariance: Literal["diag", "full"] = "full",
    transforms: int | None = None,
    hidden: Sequence[int] | None = None,
    steps: int | None = None,
    seed: int = 0,
    batch_size: int = 1024,
) -> VAE:
    r"""A copy of a model, whose prior is fitted to the codes of images.

    It is the most likely prior of its kind for draws from the aggregate posterior

    .. math:: q(z) = \frac{1}{N} \sum_n q(z \mid x_n)

    Samples from it meet the decoder where it was trained, which samples from the standard normal often do
    not: Ghosh et al. (2020), "From variational to deterministic autoencoders", section 4, ex-post density estimation;
    Dai and Wipf (2019), "Diagnosing and enhancing VAE models", section 4, for the second VAE.

    ===================================  =========================================  =========================
    kind                                 prior                                      settings
    ===================================  =========================================  =========================
    ``"mixture"``                        :class:`~mnistvae.priors.GaussianMixture`  components, covariance
    ``"realnvp"``, ``"maf"``, ``"nsf"``  :class:`~mnistvae.priors.Flow`             transforms, hidden, steps
    ``"vae"``                            :class:`~mnistvae.priors.SecondStage`      hidden, steps
    ``"tokens"``                         :class:`~mnistvae.priors.TokenPrior`       steps
    ===================================  =========================================  =========================

    A mixture is fitted by scikit-learn's ``GaussianMixture`` to one draw from each q(z | x). The others are fitted by
    Adam on the model's device, to codes that are standardised first and drawn anew at each step (once, where the
    posteriors are not diagonal normals); a tenth of the images is held out, and the parameters under which their codes
    are most likely are kept. With the usual settings that takes about a minute on two CPU cores, whatever the number of
    images.

    A prior of tokens is for a model with a :class:`~mnistvae.networks.VectorQuantizedEncoder` or another encoder of
    tokens, and no other kind is. A model that has a :class:`~mnistvae.priors.TokenPrior` already gets one of the same
    settings.

    Args:
        model: Trained model; it is left as it is.
        data: Images that it was trained on; with labels for a conditional model, whose prior stays the same for all.
        components: Number of normals in the mixture.
        kind: Kind of the prior.
        covariance: Covariance of each normal of the mixture, ``"full"`` or ``"diag"``.
        transforms: Number of transforms of the flow (default: see :func:`fit_settings`).
        hidden: Widths of the hidden layers of a flow's or a second VAE's networks (default: see :func:`fit_settings`).
        steps: Greatest number of steps of the optimizer, with 512 codes each, or the tokens of 128 images (default: see
            :func:`fit_settings`).
        seed: Seed of the draws and of the fit.
        batch_size: Number of images encoded at once; the draws depend on it.

    Returns:
        A copy, which shares no weights with ``model``; in evaluation mode. It can be saved if the model's class takes
        ``prior`` in its constructor, as mnistvae's do.

    Raises:
        SettingError: If a setting makes no sense or does not belong to the kind, or a full covariance is asked of a
            model in half precision.
        DataError: If there are fewer images than components, or than 100 for another kind; they do not fit the model;
            or there is no fit.
        ComponentError: If ``model`` is no VAE, the kind does not fit its codes, such as those on a sphere, its encoder
            works with its own prior alone, as that of a ladder does, or a flow is asked for without zuko:
            ``pip install "mnistvae[flows]"``.

    Warns:
        UserWarning: If the mixture did not settle, such as for more components than there are different codes, or codes
            that were held out are less likely under another prior than under the standard normal.

    Example:
        >>> data = mv.load_dataset("mnist-mini", "test")
        >>> fitted = fit_prior(mv.VAE(latent_dim=2), data[:500], components=3)
        >>> fitted.prior
        GaussianMixture(latent_dim=2, components=3, covariance='full')
        >>> fitted.sample(4).shape
        torch.Size([4, 1, 28, 28])
        >>> fit_prior(mv.VAE(latent_dim=2), data[:500], kind="vae", hidden=(16,), steps=10).prior
        SecondStage(latent_dim=2, second_dim=2, hidden=(16,), num_samples=8)
    """
    if not isinstance(model, VAE):
        raise ComponentError("a mnistvae model", type_name(model), "pass an instance of VAE")
    if isinstance(model.support, UnitSphere):
        expected = "a model whose codes are anywhere in space, for a prior that is fitted to them"
        raise ComponentError(expected, "one with codes on the unit sphere")
    usual = _SETTINGS["mixture"]
    given = {"components": components, "covariance": covariance} if kind == "mixture" else {}
    if kind != "mixture":  # of these two, only another value than the usual one says that somebody wants a mixture
        given |= {} if components == usual["components"] else {"components": components}
        given |= {} if covariance == usual["covariance"] else {"covariance": covariance}
    others = {"transforms": transforms, "hidden": hidden, "steps": steps}
    settings = fit_settings(kind, **given, **{name: value for name, value in others.items() if value is not None})
    seed, batch_size = check_seed(seed), check_count("batch_size of at least 1", batch_size)
    if settings.get("covariance") == "full" and model.dtype in {torch.float16, torch.bfloat16}:
        raise SettingError("covariance='diag' for a model in half precision", "'full'", "or model.float() first")
    _check_kind(model, kind)
    if kind == "mixture":
        prior: Prior = _fit_mixture(_check_codes(_draw_codes(model, data, seed, batch_size)), seed, **settings)
    elif kind == "tokens":
        prior = _fit_token_prior(model, data, seed, batch_size, **settings)
    else:
        prior = _fit_network(kind, model, lambda: _posteriors(model, data, seed, batch_size), seed, **settings)
    return model.replace(prior=prior).eval()


def fit_settings(kind: FitKind, **given: Any) -> dict[str, Any]:
    """The settings of a kind of :func:`fit_prior`: those that are given, and the usual ones.

    Args:
        kind: Kind of the prior.
        **given: Settings by name.

    Raises:
        SettingError: If a setting makes no sense, or does not belong to the kind.

    Example:
        >>> fit_settings("nsf", steps=500)
        {'transforms': 3, 'hidden': (128, 128), 'steps': 500}
    """
    usual = _SETTINGS[check_choice("kind", kind, tuple(_SETTINGS))]
    for name, value in given.items():
        if name not in usual:
            fix = f"leave it out, or take another kind: this one has {', '.join(usual)}"
            raise SettingError(f"no {name} for kind={kind!r}", f"{name}={value!r}", fix)
    return {name: _CHECKS[name](given.get(name, value)) for name, value in usual.items()}


def _check_kind(model: VAE, kind: str) -> None:
    """Check, before any time is spent, that a prior of that kind goes with the model's encoder."""
    of_tokens, encoder = isinstance(model.encoder, TokenEncoder), type_name(model.encoder)
    if of_tokens or kind == "tokens":
        if not of_tokens:
            fix = "take another kind, such as 'mixture', if its codes are numbers"
            raise ComponentError("a model with an encoder of tokens for kind='tokens'", encoder, fix)
        if kind != "tokens":
            raise ComponentError(f"kind='tokens' for the codes of {encoder}", repr(kind))
        return
    discrete, of_it = getattr(model.support, "is_discrete", False), type(model.prior).__name__
    if not (discrete or model.encoder.takes_prior):
        return
    try:
        model.replace(prior=StandardNormal(model.latent_dim))
    except ComponentError as error:
        raise ComponentError(
            "a model whose encoder works with another prior",
            f"{encoder}, whose codes are {model.support}" if discrete else f"{encoder}, which is made for its {of_it}",
            "there is nothing to fit" + ("" if discrete else ": this prior was trained with the encoder"),
        ) from error


def _fit_mixture(codes: Tensor, seed: int, components: int, covariance: Literal["diag", "full"]) -> GaussianMixture:
    """The most likely mixture of normals for codes (N, latent_dim)."""
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
        warnings.warn(text, stacklevel=3)
    full = covariance == "full"
    covariances = fit.covariances_ if full else np.stack([np.diag(row) for row in fit.covariances_])
    with seeded(seed), torch.device("cpu"):
        prior = GaussianMixture(codes.shape[1], components, covariance)
    weights, means, scale_tril = (
        torch.from_numpy(a) for a in (fit.weights_, fit.means_, np.linalg.cholesky(covariances))
    )
    prior.set_components(weights, means, scale_tril)
    return prior


def _fit_network(
    kind: str,
    model: VAE,
    encode: Callable[[], Posteriors],
    seed: int,
    *,
    hidden: tuple[int, ...],
    steps: int,
    transforms: int = 1,
) -> Prior:
    """The most likely flow or second VAE for the codes of posteriors."""
    with seeded(seed), torch.device("cpu"):  # before the images are encoded: a library may be missing
        prior: Flow | SecondStage = (
            SecondStage(model.latent_dim, hidden=hidden)
            if kind == "vae"
            else Flow(model.latent_dim, kind, transforms, hidden)  # type: ignore[arg-type]  # one of the flows' kinds
        )
    posteriors = encode()
    _enough(posteriors.mu, kind)
    prior.to(posteriors.mu.device, posteriors.mu.dtype)
    held_out = fit_likeliest(prior, posteriors, steps, derive_seed(seed, Stream.FITTING))
    if held_out.fitted < held_out.standard:
        figures = f"{held_out.fitted:.4g} nats against {held_out.standard:.4g}"
        text = f"codes that were held out are less likely than under the standard normal: {figures}"
        warnings.warn(f"{text}; more images, or a mixture, may do better", stacklevel=3)
    return prior


def _check_codes(codes: Tensor) -> Tensor:
    return check_finite(codes, "codes", "train the model before its prior is fitted")


def _draw_codes(model: VAE, data: Any, seed: int, batch_size: int) -> Tensor:
    """One code of each image, (N, latent_dim), on the CPU."""
    return torch.cat(_encoded(model, data, seed, batch_size, lambda q: q.sample().cpu()))


def _posteriors(model: VAE, data: Any, seed: int, batch_size: int) -> Posteriors:
    """The posterior of each image, or one code where it is no diagonal normal; in single precision at least."""
    dtype = torch.promote_types(model.dtype, torch.float32)

    def known(q: Distribution) -> tuple[Tensor, ...]:
        parts = (q.mean, q.stddev) if isinstance(q, DiagonalNormal) else (q.sample(),)
        return tuple(part.to(dtype) for part in parts)

    parts = zip(*_encoded(model, data, seed, batch_size, known), strict=True)
    return Posteriors(*(_check_codes(torch.cat(part)) for part in parts))


def _fit_token_prior(model: VAE, data: Any, seed: int, batch_size: int, *, steps: int) -> TokenPrior:
    """The most likely prior of tokens for those of images, of the settings of the model's own if that is one."""
    encoder, given = cast("TokenEncoder", model.encoder), model.prior
    with seeded(seed), torch.device("cpu"):
        prior = clone(given) if isinstance(given, TokenPrior) else TokenPrior(encoder.codebook_size, encoder.grid)
    tokens = torch.cat(_encoded(model, data, seed, batch_size, lambda q: q.tokens))  # type: ignore[attr-defined]
    _enough(tokens, "tokens")
    # In single precision at least; the copy of the model brings it to its own.
    prior.to(tokens.device, torch.promote_types(model.dtype, torch.float32))
    fit_tokens(prior, tokens, steps, derive_seed(seed, Stream.FITTING))
    return prior


def _enough(of_images: Tensor, kind: str) -> None:
    """Check that there are images enough for a network to be fitted to their codes."""
    if len(of_images) < _IMAGES:
        raise DataError(f"at least {_IMAGES} images for kind={kind!r}", str(len(of_images)), "pass more images")


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
