"""Checks that the parts of a model fit each other, made once with one tiny forward pass."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.distributions.constraints import Constraint

from mnistvae._checks import check_mapping
from mnistvae._component import Component
from mnistvae._modes import evaluating
from mnistvae._random import seeded
from mnistvae.arrays import shape_text
from mnistvae.distributions import has_density, support_of
from mnistvae.errors import ComponentError, type_name
from mnistvae.likelihoods import Bernoulli, ContinuousBernoulli, Likelihood
from mnistvae.losses import own_terms
from mnistvae.networks import Decoder, Encoder
from mnistvae.objectives import Objective, Terms
from mnistvae.priors import Prior

__all__ = ["PARTS", "check_contract", "check_parts", "check_terms", "parts_with"]

#: The parts of a model, and what each has to be.
PARTS: dict[str, type[nn.Module]] = {
    "encoder": Encoder,
    "decoder": Decoder,
    "likelihood": Likelihood,
    "prior": Prior,
    "objective": Objective,
}
#: Parameters of a decoder, so few of which may all lie in [0, 1] by chance.
_TOO_FEW = 16
#: Names of a history's other columns.
_TAKEN = {"loss", "reconstruction", "kl", "epoch", "step", "seconds", "images_per_second", "learning_rate"}


def check_contract(name: str, part: object) -> None:
    """Check that ``part`` can be a VAE's part of that name.

    Raises:
        ComponentError: If it cannot.
    """
    base = PARTS[name]
    if name == "likelihood" and isinstance(part, base) and not isinstance(getattr(part, "n_params", None), int):
        raise ComponentError(
            "a likelihood with n_params", "none", "set n_params, the number of parameters a pixel takes"
        )
    if not isinstance(part, base):
        if isinstance(part, type):
            raise ComponentError(f"{name} as an instance", type_name(part), f"call it: {part.__name__}(...)")
        fix = {
            "encoder": "wrap a plain module: GaussianEncoder(module, latent_dim)",
            "decoder": "wrap a plain module: TrunkDecoder(module, latent_dim, image_shape)",
        }.get(name, f"pass an instance of a subclass of {base.__name__}")
        if hasattr(part, "_orig_mod"):
            fix = "pass the part itself, and compile the model: Trainer(compile=True), or torch.compile(model)"
        raise ComponentError(f"{name} as a mnistvae {base.__name__}", type_name(part), fix)


def parts_with(model: nn.Module, method: str) -> list[Any]:
    """The parts of a model that have a method of that name, such as ``advance``; its objective comes first.

    They are mnistvae's components, or derived from such, also within others. A part within one that has the method
    hears of it from there.
    """
    found: list[Any] = []
    for part in sorted(model.children(), key=lambda part: not isinstance(part, Objective)):
        if isinstance(part, Component) and callable(getattr(part, method, None)):
            found.append(part)
        else:
            found += parts_with(part, method)
    return found


@torch.no_grad()
def check_parts(model: Any) -> Constraint | None:
    """Check every part of a VAE on one black image, in evaluation mode; gives the support of its codes.

    Raises:
        ComponentError: If a part breaks its contract, or two do not fit each other.
    """
    for name in PARTS:
        check_contract(name, getattr(model, name))
    for name in ("encoder", "decoder", "prior"):
        size = getattr(getattr(model, name), "latent_dim", model.latent_dim)
        if size != model.latent_dim:
            _misfit(f"{_a(name)} with latent_dim={model.latent_dim}", f"latent_dim={size}", name, "latent_dim")
    for name in ("encoder", "decoder"):
        part = getattr(model, name)
        shape = getattr(part, "image_shape", model.image_shape)
        if shape != model.image_shape:
            _misfit(f"{_a(name)} for images of shape {model.image_shape}", f"{shape}", name, "image_shape")
        classes = getattr(part, "num_classes", model.num_classes)
        if classes != model.num_classes:
            _misfit(f"{_a(name)} with num_classes={model.num_classes}", f"num_classes={classes}", name, "num_classes")
    channels, height, width = model.image_shape
    # A branch of the global generator: lazy layers draw their weights here, and nothing is used up.
    with evaluating(model), seeded(torch.default_generator.clone_state(), model.device):
        x = torch.zeros(1, *model.image_shape, device=model.device, dtype=model.dtype)
        y = None if model.num_classes is None else torch.zeros(1, dtype=torch.long, device=model.device)
        posterior = _try(model, "encoder", x, y, **_taken(model.encoder, "prior", model.prior))
        _check_distribution("the encoder", posterior, (1,), (model.latent_dim,))
        params = _try(model, "decoder", torch.zeros(1, model.latent_dim, device=x.device, dtype=x.dtype), y)
        expected = (1, channels * model.likelihood.n_params, height, width)
        if not isinstance(params, Tensor) or params.shape != expected:
            raise ComponentError(
                f"the decoder to return parameters (B, {', '.join(map(str, expected[1:]))}), "
                f"{model.likelihood.n_params} for each pixel as {type(model.likelihood).__name__} asks",
                shape_text(params),
                f"make it with n_params={model.likelihood.n_params} and image_shape={model.image_shape}",
            )
        _look_for_sigmoid(model, y)
        likelihood = _try(model, "likelihood", params)
        _check_distribution("the likelihood", likelihood, (1,), model.image_shape)
        prior = _try(model, "prior", y, encode=model.encode, **_taken(model.prior, "encoder", model.encoder))
        _check_distribution("the prior", prior, None, (model.latent_dim,))
        _check_levels(model)
        _check_uses(model, posterior, likelihood, prior)
        support = _check_supports(posterior, prior)
        terms = check_terms(_try(model, "objective", model, x, y), 1)
        _check_own_terms(model, posterior, terms)
    return support


def _check_levels(model: Any) -> None:
    """Check that a decoder takes the code apart where the prior does; that of the encoder is seen when it is called."""
    levels, others = (getattr(part, "levels", None) for part in (model.prior, model.decoder))
    if levels is not None and others is not None and levels != others:
        _misfit(f"a decoder with levels={levels}, as the prior has", f"levels={others}", "decoder", "levels")


def _taken(part: nn.Module, name: str, other: nn.Module) -> dict[str, nn.Module]:
    """Another part, by its name, for one that takes it."""
    return {name: other} if getattr(part, f"takes_{name}") else {}


def _check_own_terms(model: Any, posterior: Any, terms: Terms) -> None:
    """Check that an objective adds the cost that a posterior has by itself."""
    own = own_terms(posterior)
    if own is not None and not own.extra.keys() <= terms.extra.keys():
        raise ComponentError(
            "an objective that adds the encoder's own cost to its loss",
            f"{type_name(model.objective)} without it",
            "return with_own_terms(Terms(...), posterior), from mnistvae.objectives",
        )


def _look_for_sigmoid(model: Any, y: Tensor | None) -> None:
    """Warn of a decoder whose logits are probabilities: unlike logits, they stay in [0, 1] however far the code is."""
    if not isinstance(model.likelihood, Bernoulli | ContinuousBernoulli):
        return
    signs = torch.tensor([[1.0], [-1.0]], device=model.device, dtype=model.dtype)
    far = signs * torch.linspace(-30.0, 30.0, model.latent_dim + 1, device=model.device, dtype=model.dtype)[1:]
    with suppress(Exception):  # what a decoder says of odd codes is no matter
        params = model.decoder(far, None if y is None else y.expand(2))
        low, high = params.aminmax()
        if 0 <= low < high <= 1 and params.numel() > _TOO_FEW:
            warnings.warn(
                "all parameters of the decoder are between 0 and 1, as probabilities are, and the likelihood takes "
                "logits, of which it makes these: leave the sigmoid out at the decoder's end",
                stacklevel=5,
            )


def _check_uses(model: Any, posterior: Any, likelihood: Any, prior: Any) -> None:
    """Check the methods that a model needs only after its training: a mean, a draw, a tag."""
    if not posterior.has_rsample:
        raise ComponentError(
            "the encoder to return a distribution with rsample",
            f"{type_name(posterior)} without it",
            "training needs a gradient through the code",
        )
    if model.encoder.has_density and not has_density(posterior):
        raise ComponentError(
            "an encoder with has_density = False, since its posterior is a point",
            "True",
            "set it in the class of the encoder, so that its figures are not taken for likelihoods",
        )
    if not has_density(prior):
        raise ComponentError(
            "a prior with a density",
            "a mixture of points",
            "take GaussianEncoder for a VampPrior; or another prior, and fit one after training: mnistvae.fit_prior",
        )
    try:
        likelihood.mean  # noqa: B018 (it is asked whether there is one)
    except NotImplementedError:
        raise ComponentError(
            "the likelihood to return a distribution with a mean",
            f"{type_name(likelihood)} without one",
            "reconstructions and samples are means: define mean in a subclass",
        ) from None
    drawn = prior.sample()
    if drawn.dtype != model.dtype:
        raise ComponentError(
            f"a prior in {model.dtype}, as the model is",
            str(drawn.dtype),
            f"pass prior.to({model.dtype})",
        )
    tag = model.likelihood.tag("none")
    if not isinstance(tag, str):
        raise ComponentError("the likelihood's tag as text", type_name(tag), "return a name for its figures")


def _check_supports(posterior: Any, prior: Any) -> Constraint | None:
    """The support of the posterior; only distributions over the same set of codes have a KL divergence."""
    support, other = support_of(posterior), support_of(prior)
    surfaces = [one if hasattr(one, "project") else None for one in (support, other)]
    if type(surfaces[0]) is not type(surfaces[1]):
        on, at = ("on all of space" if one is None else f"on the {type(one).__name__}" for one in surfaces)
        raise ComponentError(
            "a posterior and a prior on the same set of codes, or there is no KL divergence",
            f"{type_name(posterior)} {on} and {type_name(prior)} {at}",
            "a VonMisesFisherEncoder goes with priors.UniformSphere or VampPrior, other encoders with any other prior",
        )
    discrete = [getattr(one, "is_discrete", False) for one in (support, other)]
    if None not in {support, other} and any(discrete) and repr(support) != repr(other):
        names = [repr(one) if yes else "numbers" for one, yes in zip((support, other), discrete, strict=True)]
        fix = "take the prior that the encoder's documentation names, with the same sizes"
        raise ComponentError(f"a prior over the encoder's codes, {names[0]}", f"one over {names[1]}", fix)
    return support


def check_terms(terms: object, n: int) -> Terms:
    """``terms`` themselves, which must be :class:`Terms` with one value of each term for each of ``n`` images.

    Raises:
        ComponentError: If they are anything else, or an extra term has a name that is taken.
    """
    if not isinstance(terms, Terms):
        raise ComponentError(
            "loss to return mnistvae.objectives.Terms",
            type_name(terms),
            "return Terms(loss, reconstruction, kl)",
        )
    extra = check_mapping("extra terms by name", terms.extra, "extra={'name': term}", ComponentError)
    for name in extra:
        if not (isinstance(name, str) and name.isidentifier()) or name in _TAKEN or name.startswith("validation_"):
            raise ComponentError(
                "extra terms whose names are words that a history has no other use for",
                repr(name),
                "choose another name, such as 'classification'",
            )
    for name, value in terms.by_name().items():
        if not isinstance(value, Tensor) or value.shape != (n,):
            raise ComponentError(
                f"one {name} for each of {n} images, shape ({n},)",
                shape_text(value),
                "sum over pixels and latents, and leave the mean over images to the Trainer",
            )
    return terms


def _try(model: Any, name: str, *inputs: object, **named: object) -> object:
    """The output of a part; an error that it raises on a first image means that it does not fit."""
    try:
        out: object = getattr(model, name)(*inputs, **named)
    except ComponentError as error:
        error.at(f"model.{name}")
        raise
    except Exception as error:  # a part of the user's may raise anything
        takes = {
            "encoder": f"images of shape {model.image_shape} and labels or None",
            "decoder": f"codes of size {model.latent_dim} and labels or None",
            "likelihood": "the decoder's parameters",
            "prior": "labels or None, and encode=",
            "objective": "a model, images and labels or None",
        }[name]
        reason = (str(error).splitlines() or [""])[0]
        raise ComponentError(
            f"the {name} to take {takes}",
            f"{type(error).__name__}: {reason}",
            f"try it alone: model.{name}(...)",
        ) from error
    return out


def _check_distribution(what: str, got: object, batch: Sequence[int] | None, event: Sequence[int]) -> None:
    if not isinstance(got, Distribution):
        raise ComponentError(f"{what} to return a torch.distributions.Distribution", type_name(got))
    if got.event_shape != tuple(event) or (batch is not None and got.batch_shape != tuple(batch)):
        raise ComponentError(
            f"{what} to return a distribution with batch shape (B,) and event shape {tuple(event)}",
            f"batch shape {tuple(got.batch_shape)} and event shape {tuple(got.event_shape)} for one image",
            f"wrap it: torch.distributions.Independent(..., {len(event)})",
        )


def _misfit(expected: str, got: str, name: str, argument: str) -> None:
    raise ComponentError(expected, got, f"give the model and its {name} the same {argument}")


def _a(name: str) -> str:
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"
