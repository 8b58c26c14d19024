"""Priors that are fitted to the codes of a trained model."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mnistvae._checks import check_choice, check_count, check_seed
from mnistvae._learners import heeded
from mnistvae._modes import evaluating
from mnistvae._random import Stream, derive_seed, seeded
from mnistvae.arrays import ArrayLike, check_finite
from mnistvae.data import ImageDataset, batch_source
from mnistvae.distributions import UnitSphere
from mnistvae.errors import ComponentError, DataError, SettingError, type_name
from mnistvae.models import VAE
from mnistvae.priors import GaussianMixture

__all__ = ["fit_prior"]


def fit_prior(
    model: VAE,
    data: ImageDataset | ArrayLike | Dataset[Any] | DataLoader[Any],
    components: int = 10,
    *,
    covariance: Literal["diag", "full"] = "full",
    seed: int = 0,
    batch_size: int = 1024,
) -> VAE:
    r"""A copy of a model, whose prior is a mixture of normals fitted to the codes of images.

    The mixture is the most likely one (scikit-learn's ``GaussianMixture``) for one draw from
    q(z | x) of each image, that is for draws from the aggregate posterior

    .. math:: q(z) = \frac{1}{N} \sum_n q(z \mid x_n)

    Samples from it meet the decoder where it was trained, which samples from the standard normal often do
    not: Ghosh et al. (2020), "From variational to deterministic autoencoders", section 4, ex-post density estimation.

    Args:
        model: Trained model; it is left as it is.
        data: Images that it was trained on; with labels for a conditional model, whose prior stays the same for all.
        components: Number of normals in the mixture.
        covariance: Covariance of each normal, ``"full"`` or ``"diag"``.
        seed: Seed of the draws and of the fit.
        batch_size: Number of images encoded at once; the draws depend on it.

    Returns:
        A copy, which shares no weights with ``model``; in evaluation mode. It can be saved if the model's class takes
        ``prior`` in its constructor, as mnistvae's do.

    Raises:
        SettingError: If there is no component, or a full covariance is asked of a model in half precision.
        DataError: If there are fewer images than components, they do not fit the model, or a component has no fit.
        ComponentError: If ``model`` is no VAE, or its codes are on a sphere.

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
    if isinstance(model.support, UnitSphere):
        raise ComponentError(
            "a model whose codes are anywhere in space, for a mixture of normals", "one with codes on the unit sphere"
        )
    components = check_count("components as an integer of at least 1", components)
    full = check_choice("covariance", covariance, ("diag", "full")) == "full"
    seed, batch_size = check_seed(seed), check_count("batch_size of at least 1", batch_size)
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


@torch.no_grad()
def _draw_codes(model: VAE, data: Any, seed: int, batch_size: int) -> Tensor:
    """One code of each image, (N, latent_dim), on the CPU."""
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
        return torch.cat([model.encode(x, y if conditional else None).sample().cpu() for x, y in source.epoch(0)])
