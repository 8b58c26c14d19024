"""The programs of a model: its encoder, its decoder and its prior, recorded for a page."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import partial
from typing import Any, Literal, TypeAlias

import torch
import torch.distributions as td
from torch import Tensor
from torch.distributions import Distribution

from mnistvae._modes import evaluating
from mnistvae._random import seeded
from mnistvae.distributions import (
    DiagonalNormal,
    HypersphericalUniform,
    LatentMarginal,
    PushForward,
    UnitNormal,
    from_noise,
    moments,
    noise_size,
    projected,
)
from mnistvae.errors import ComponentError, type_name
from mnistvae.explorer.packing import Packer
from mnistvae.explorer.recording import record
from mnistvae.models import VAE
from mnistvae.networks.encoders import posterior_of

__all__ = ["Parts", "describe_prior", "programs", "rounded"]

#: Draws from a prior that a page cannot draw from; at most so many numbers, and at least so many draws.
_DRAWS, _MOST_NUMBERS, _FEWEST_DRAWS = 256, 100_000, 24
#: What a page holds: the whole explorer, or the plane and the image at its handle.
Parts: TypeAlias = Literal["all", "plane"]


@torch.no_grad()
def rounded(model: VAE) -> VAE:
    """A copy of a model on the CPU whose weights are numbers of half precision, as a page holds them.

    Weights that half precision has no numbers for stay as they are.
    """
    copied = copy.deepcopy(model).to("cpu", torch.float32)
    for parameter in copied.parameters():
        half = parameter.half().float()
        if bool(half.isfinite().all()):
            parameter.copy_(half)
    return copied


def programs(model: VAE, packer: Packer, parts: Parts = "all") -> dict[str, Any]:
    """The encoder and the decoder of a model as a page reads them, one of each for each class that the model is told.

    Args:
        model: The model.
        packer: Keeper of the arrays.
        parts: The whole explorer, or the plane alone, which needs no encoder.

    Raises:
        ComponentError: If one of its layers is not among those that a page can run.
    """
    image, code = torch.zeros(1, *model.image_shape), torch.zeros(1, model.latent_dim)

    def encode(x: Tensor, y: Tensor | None) -> dict[str, Tensor]:
        found = moments(posterior_of(model.encoder, x, y, model.prior))
        return {"mean": found.mean, "spread": found.variance.sqrt()}

    def decode(z: Tensor, y: Tensor | None) -> dict[str, Tensor]:
        found = _pixels(model.likelihood(model.decoder(projected(model.support, z), y)))
        return {**found, "image": found["image"].clamp(0.0, 1.0)}

    with evaluating(model):
        known = {"decode": [packer.program(record(model, partial(decode, y=y), code)) for y in _labels(model)]}
        if parts == "all":
            known["encode"] = [packer.program(record(model, partial(encode, y=y), image)) for y in _labels(model)]
    return known


def _labels(model: VAE) -> Iterator[Tensor | None]:
    """The label of each program."""
    if model.num_classes is None:
        yield None
    else:
        yield from (torch.tensor([label], device="cpu") for label in range(model.num_classes))


def _pixels(likelihood: Distribution) -> dict[str, Tensor]:
    """Mean and, where the likelihood knows it, standard deviation."""
    found = {"image": likelihood.mean}
    try:
        return {**found, "spread": likelihood.variance.sqrt()}
    except NotImplementedError:
        return found


@torch.no_grad()
def describe_prior(model: VAE, packer: Packer) -> dict[str, Any]:
    """The prior of a model as a page draws from it: normals and their weights, or a map of so much normal noise.

    Of a prior of another kind the page has some draws, and a ``note`` that says so.
    """
    described: list[dict[str, Any]] = []
    more: dict[str, str] = {}
    with evaluating(model):
        for y in _labels(model):
            prior = model.latent_prior(y)
            if isinstance(prior, PushForward | LatentMarginal):
                size = noise_size(prior)
                base = torch.zeros(1, size)
                try:
                    tape = record(model, partial(_code, prior), base)
                except (ComponentError, NotImplementedError):
                    described.append({"drawn": packer.add(_drawn(prior))})
                    more = {"note": _note(model)}
                    continue
                described.append({"map": packer.program(tape), "noise": size})
                continue
            if isinstance(prior, HypersphericalUniform):
                more = {"note": "The prior is uniform on a sphere: a temperature changes nothing."}
            normals = _normals(prior)
            if normals is None:
                described.append({"drawn": packer.add(_drawn(prior))})
                more = {"note": _note(model)}
                continue
            described.append({name: packer.add(one) for name, one in normals.items()})
    return {"parts": described, **more}


def _code(prior: PushForward | LatentMarginal, noise: Tensor) -> dict[str, Tensor]:
    # A flow's base is the standard normal, and the map alone has fewer steps than a draw.
    return {"code": prior.normalize.inv(noise) if isinstance(prior, PushForward) else from_noise(prior, noise)}


def _drawn(prior: Distribution) -> Tensor:
    """Codes (n, latent_dim) from a prior, the same each time; of half precision, as the weights are."""
    n = max(_FEWEST_DRAWS, min(_DRAWS, _MOST_NUMBERS // prior.event_shape[0]))
    with seeded(0):
        rows = prior.sample(torch.Size() if prior.batch_shape else torch.Size([n]))
        rows = rows if len(rows) >= n else torch.cat([rows, *(prior.sample() for _ in range(n - len(rows)))])
    return rows.half().float()


def _note(model: VAE) -> str:
    return (
        "Samples are some draws that were made with the page, which cannot draw from the model's own prior, "
        f"{type_name(model.prior)}: a temperature changes nothing."
    )


def _normals(prior: Distribution) -> dict[str, Tensor] | None:
    """Weights (K,), means (K, D) and deviations (K, D), or factors (K, D, D), of the normals of a mixture."""
    weights, parts, size = torch.ones(1), prior, prior.event_shape[0]
    if isinstance(prior, td.MixtureSameFamily):
        weights, parts = prior.mixture_distribution.probs.flatten(), prior.component_distribution
    if isinstance(parts, HypersphericalUniform):  # the direction of a standard normal, which decoding takes
        parts = UnitNormal(parts.zero)
    if isinstance(parts, DiagonalNormal):
        means, spread = parts.mean, parts.stddev
        return {"weights": weights, "means": means.reshape(-1, size), "scales": spread.reshape(-1, size)}
    if isinstance(parts, td.MultivariateNormal):
        return {
            "weights": weights,
            "means": parts.loc.reshape(-1, size),
            "factors": parts.scale_tril.reshape(-1, size, size),
        }
    return None
