"""Scores that tell images of an unknown kind from those that a model was trained on."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from mnistvae._checks import check_choice, check_count
from mnistvae._passes import measuring
from mnistvae._random import derive_seed
from mnistvae.arrays import ArrayLike, check_finite
from mnistvae.data import ImageDataset
from mnistvae.distributions import DiagonalNormal
from mnistvae.errors import ComponentError, DataError, type_name
from mnistvae.fitting import fit_prior
from mnistvae.images import to_uint8
from mnistvae.losses import kl_or_estimate
from mnistvae.metrics.likelihood import importance_estimate
from mnistvae.metrics.reconstruction import mse
from mnistvae.models import VAE
from mnistvae.view import View

__all__ = ["AnomalyKind", "anomaly_scores"]

AnomalyKind: TypeAlias = Literal["density", "regret", "complexity", "nll", "error"]
#: Training images that the density of codes is fitted to, and the normals that it is a mixture of.
_FITTED, _COMPONENTS = 20_000, 50
#: Learning rate of the search for better posteriors, and draws that the bounds before and after it are compared on.
_RATE, _DRAWS = 0.05, 8


def anomaly_scores(
    model: VAE,
    data: ImageDataset | ArrayLike,
    kind: AnomalyKind = "density",
    *,
    train: ImageDataset | ArrayLike | None = None,
    num_samples: int = 100,
    steps: int = 100,
    batch_size: int = 512,
    seed: int = 0,
) -> Tensor:
    r"""A score of each image, the higher the less it is like the images that the model was trained on.

    ``"nll"``, minus the log-likelihood, and ``"error"``, the squared error of the reconstruction, are what comes to
    mind, and often mislead: an image of few strokes has a high likelihood whatever it shows, so that a model that never
    saw a 1 finds ones more likely than the digits that it knows (Nalisnick et al., 2019). The others are remedies:

    - ``"density"``: :math:`-\log \hat q(\mu(x))`, where :math:`\hat q` is a mixture of 50 normals fitted to the codes
      of ``train`` (:func:`mnistvae.fitting.fit_prior`) and :math:`\mu(x)` the mean of the posterior; nats.
    - ``"regret"``: the nats that the bound of this one image gains when its posterior, a diagonal normal, is searched
      for by ``steps`` steps of Adam instead of being the encoder's (Xiao et al., 2020, "Likelihood regret").
    - ``"complexity"``: :math:`-\log p(x) - L(x)`, where L is the length of the image after lossless compression by
      zlib, in nats (Serrà et al., 2020, "Input complexity and out-of-distribution detection").

    None of them is best on all data: compare them on a kind that you leave out. A threshold is a quantile of the scores
    of images that are known to be usual: ``scores > usual.quantile(0.95)`` raises one false alarm in twenty.

    Args:
        model: The model, on the device to compute on.
        data: N images, as the model was trained on them, with labels for a conditional model.
        kind: Kind of score.
        train: Images that the model was trained on, for ``"density"``; the first 20,000 are used.
        num_samples: Importance samples for each image, for ``"nll"`` and ``"complexity"``.
        steps: Steps of the search, for ``"regret"``.
        batch_size: Number of images that are computed at once.
        seed: Seed of all that is drawn.

    Returns:
        Scores, (N,), float64 on the CPU.

    Raises:
        DataError: If the data do not fit the model, or ``"density"`` is asked for without training images.
        SettingError: If the kind is unknown, or a number makes no sense.
        ComponentError: If ``model`` is not a VAE; for ``"regret"``, if its posterior is no diagonal normal; for
            ``"density"``, if its codes are on a sphere.

    Example:
        >>> train, test = (mv.load_dataset("mnist-mini", split) for split in ("train", "test"))
        >>> scores = anomaly_scores(mv.VAE(latent_dim=2), test[:20], train=train[:200])
        >>> scores.shape
        torch.Size([20])
    """
    kind = check_choice("kind", kind, get_args(AnomalyKind))
    steps = check_count("steps as an integer of at least 1", steps)
    view = View(model, data, train=train, num_samples=num_samples, batch_size=batch_size, seed=seed)
    scores: dict[AnomalyKind, Callable[[View], Tensor]] = {
        "density": _density,
        "regret": lambda view: _regret(view, steps),
        "complexity": lambda view: _nll(view) - _complexity(view),
        "nll": _nll,
        "error": lambda view: view.reconstructed(mse)[0],
    }
    return scores[kind](view).double()


def _nll(view: View) -> Tensor:
    return view.once(importance_estimate).nll


def _density(view: View) -> Tensor:
    """Minus the log-density of the means of the posteriors under a mixture fitted to codes of training images."""
    if view.train is None:
        raise DataError("the images that the model was trained on", "none", "pass train=, or kind='regret'")
    return -_density_of_codes(view, fit_code_density(view.model, view.train, view.seed))


def fit_code_density(model: VAE, train: ImageDataset, seed: int) -> VAE:
    """A copy of the model whose prior is the mixture that the score ``"density"`` takes.

    Args:
        model: Trained model.
        train: Images that it was trained on; the first 20,000 are used.
        seed: Seed of the fit.

    Raises:
        DataError: If there are fewer than 10 images, or 2 for each latent dimension.
    """
    known, least = train[:_FITTED], max(10, 2 * model.latent_dim)
    if len(known) < least:
        expected = f"at least {least} training images, to fit the density of {model.latent_dim} dimensions"
        raise DataError(expected, str(len(known)), "pass more of them as train=, or take kind='regret'")
    return fit_prior(model, known, min(_COMPONENTS, max(1, len(known) // 100)), seed=seed)


def code_density(fitted: VAE, data: ImageDataset) -> Tensor:
    """The log-density of each image's code, (N,), under the prior that :func:`fit_code_density` gave the model."""
    view = View(fitted, data)
    return _density_of_codes(view, fitted)


def _density_of_codes(view: View, fitted: VAE) -> Tensor:
    with measuring(view.model):
        means = view.codes.means.to(view.model.device, view.model.dtype)
        return check_finite(fitted.latent_prior().log_prob(means), "densities of codes").cpu()


def _complexity(view: View) -> Tensor:
    """Length of each image as zlib compresses its grey levels, in nats."""
    rows = to_uint8(view.shown.images).flatten(1).cpu().numpy()
    return torch.tensor(
        [8 * math.log(2) * len(zlib.compress(row.tobytes(), 9)) for row in rows], dtype=torch.float64, device="cpu"
    )


def _regret(view: View, steps: int) -> Tensor:
    """Gain of the bound by a search for each image's own posterior, (N,)."""
    found = []
    for number, (x, y, posterior) in enumerate(view.batches()):
        if type(posterior) is not DiagonalNormal:
            raise ComponentError(
                "a posterior that is a DiagonalNormal", type_name(posterior), "take kind='density', or another"
            )
        with measuring(view.model, derive_seed(view.seed, number)):
            found.append(_gain(view.model, x, y, posterior, steps).double().cpu())
    return check_finite(torch.cat(found), "gains of the bound", "look at the weights: the model may have diverged")


def _gain(model: VAE, x: Tensor, y: Tensor | None, posterior: DiagonalNormal, steps: int) -> Tensor:
    """The bound of a batch with searched posteriors, less that with the encoder's, at the same noise; (B,)."""
    mu = posterior.mu.clone().requires_grad_()
    logvar = posterior.logvar.expand_as(mu).clone().requires_grad_()
    prior = model.latent_prior(y)
    noise = torch.randn(_DRAWS, *mu.shape, dtype=mu.dtype, device=mu.device)

    def loss(eps: Tensor) -> Tensor:
        z = mu + (0.5 * logvar).exp() * eps
        return kl_or_estimate(DiagonalNormal(mu, logvar), prior, z) - model.decode(z, y).log_prob(x)

    def mean_loss() -> Tensor:
        return torch.stack([loss(eps) for eps in noise]).mean(0)

    before = mean_loss()
    optimizer = torch.optim.Adam([mu, logvar], lr=_RATE)
    for _ in range(steps):
        with torch.enable_grad():
            loss(torch.randn_like(mu)).sum().backward(inputs=[mu, logvar])  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
    return before - mean_loss()
