"""Encoders that are made of other encoders: a flow after one, a mixture of several, and several side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from mnistvae._checks import check_choice, check_count, check_widths
from mnistvae._zuko import start_as_identity, zuko_flows
from mnistvae.distributions import DiagonalNormal, EvenMixture, FlowPosterior, Joint
from mnistvae.errors import ComponentError, type_name
from mnistvae.networks.encoders import Encoder, posterior_of

__all__ = ["FlowEncoder", "JointEncoder", "MixtureEncoder"]


class FlowEncoder(Encoder):
    r"""A normalizing flow on the normal of any encoder.

    .. math:: z = T(z_0; h), \quad z_0 \sim \mathcal{N}(\mu, \operatorname{diag} \sigma^2), \qquad
        \log q(z \mid x) = \log q(z_0 \mid x) - \log \left| \det \frac{\partial T}{\partial z_0} \right|

    The maps are conditioned on h, the means and log-variances of the encoder's normal, and start as the identity, so
    that the posterior starts as that normal. Kingma et al. (2016), "Improving variational inference with inverse
    autoregressive flow", section 3. No mean of such a posterior is known: reconstructions and figures of codes take
    that of 64 draws, with a warning (:func:`mnistvae.distributions.moments`).

    Args:
        encoder: The encoder of the normal, diagonal or full.
        kind: ``"iaf"``, affine and autoregressive in the direction of drawing; ``"nsf"``, the same with splines, the
            most flexible; ``"realnvp"``, affine couplings, quick in both directions, as a VampPrior needs it. Or a
            module of your own, which makes a transform of h, (B, 2 * latent_dim): any conditional flow of zuko's has
            one, as ``zuko.flows.NAF(8, context=16).transform``. It starts as it is.
        transforms: Number of maps, one after the other; without a meaning for a module.
        hidden: Widths of the hidden layers of each map's network; without a meaning for a module.

    Raises:
        ComponentError: If zuko is not installed (``pip install "mnistvae[flows]"``), or the encoder gives no normal.
        SettingError: If a size is below 1, or the kind is another word.

    Example:
        >>> encoder = FlowEncoder(mv.networks.MLPEncoder(20), transforms=2)
        >>> q = encoder(torch.rand(5, 1, 28, 28))
        >>> z = q.rsample()
        >>> z.shape, q.log_prob(z).shape
        (torch.Size([5, 20]), torch.Size([5]))
    """

    def __init__(
        self,
        encoder: Encoder,
        kind: Literal["iaf", "nsf", "realnvp"] | nn.Module = "iaf",
        transforms: int = 2,
        hidden: Sequence[int] = (128, 128),
    ) -> None:
        super().__init__()
        self.encoder = _check_encoder("encoder", encoder)
        if encoder.takes_prior:
            raise ComponentError("an encoder that gives a normal, for a flow", type_name(encoder), "use MLPEncoder")
        self.latent_dim = size = encoder.latent_dim
        self.kind: str | nn.Module = kind
        if not isinstance(kind, nn.Module):
            self.kind = check_choice("kind", kind, ("iaf", "nsf", "realnvp"), "a module of your own")
        self.transforms = check_count("transforms as an integer of at least 1", transforms)
        self.hidden = check_widths("hidden", hidden, least=1)
        _take_sizes(self, encoder)
        if isinstance(kind, nn.Module):
            return
        how: dict[str, Any] = {"transforms": self.transforms, "hidden_features": self.hidden, "activation": nn.SiLU}
        with zuko_flows() as flows:
            if kind == "realnvp":
                from mnistvae._couplings import couplings

                self.map = couplings(size, context=2 * size, **how)
            else:
                self.map = {"iaf": flows.MAF, "nsf": flows.NSF}[kind](size, 2 * size, **how).transform
        start_as_identity(self.map)

    def forward(self, x: Tensor, y: Tensor | None = None) -> FlowPosterior:
        base = self.encoder(x, y)
        if not isinstance(base, DiagonalNormal | MultivariateNormal):
            raise ComponentError("an encoder that gives a normal, for a flow", type_name(base), "use MLPEncoder")
        context = torch.cat([base.mean, base.variance.log()], dim=-1)
        transform = self.kind(context) if isinstance(self.kind, nn.Module) else self.map(context)
        if not hasattr(transform, "call_and_ladj"):
            fix = "return what zuko's flows have as transform(h)"
            raise ComponentError("a flow that makes a transform with call_and_ladj", type_name(transform), fix)
        return FlowPosterior(transform, base)


class MixtureEncoder(Encoder):
    r"""An even mixture of the posteriors of several encoders.

    .. math:: q(z \mid x) = \frac{1}{S} \sum_{s=1}^{S} q_s(z \mid x)

    With ``ELBO(num_samples=S)`` each encoder gives one code, and the bound is the MISELBO of Kviman et al. (2022),
    "Multiple importance sampling ELBO and deep ensembles of variational approximations"; with
    ``IWAE(num_samples=K, groups=S)`` it is its importance-weighted form, of K samples from each. The encoders must
    start apart to become different, as networks with weights of their own do.

    Args:
        encoders: The S encoders, of one latent_dim, each with weights of its own.

    Raises:
        ComponentError: If there is none, one is no encoder, or two do not fit each other.

    Example:
        >>> encoder = MixtureEncoder([mv.networks.MLPEncoder(8), mv.networks.MLPEncoder(8)])
        >>> vae = mv.VAE(8, encoder=encoder, objective=mv.objectives.ELBO(num_samples=2))
        >>> vae.encode(torch.rand(5, 1, 28, 28)).mean.shape
        torch.Size([5, 8])
    """

    def __init__(self, encoders: Iterable[Encoder]) -> None:
        super().__init__()
        listed = _check_encoders(encoders)
        for number, encoder in enumerate(listed):
            if encoder.latent_dim != listed[0].latent_dim:
                expected = f"encoders of one latent_dim, {listed[0].latent_dim}"
                raise ComponentError(expected, f"{encoder.latent_dim}", "give all the same", f"encoders[{number}]")
        self.encoders = nn.ModuleList(listed)
        self.latent_dim = listed[0].latent_dim
        self.takes_prior = any(encoder.takes_prior for encoder in listed)
        self.has_density = all(encoder.has_density for encoder in listed)
        _take_sizes(self, *listed)

    def forward(self, x: Tensor, y: Tensor | None = None, *, prior: nn.Module | None = None) -> EvenMixture:
        return EvenMixture([posterior_of(encoder, x, y, prior) for encoder in self.encoders])  # type: ignore[arg-type]


class JointEncoder(Encoder):
    r"""Several encoders side by side, each of which gives a block of the code, independently of the others.

    .. math:: q(z \mid x) = \prod_b q_b(z_b \mid h), \qquad z = (z_1, z_2, \dots), \quad h = \text{trunk}(x)

    So a code may have continuous dimensions and categorical variables, as that of JointVAE (Dupont, 2018),
    or anything else side by side. The prior that fits is a :class:`~mnistvae.priors.Joint` of one prior for each block.
    The history has the KL divergence of each block, ``kl_level_1`` and so on, and ``ELBO(capacity=(...))`` holds each
    at a capacity of its own.

    Args:
        encoders: The encoders of the blocks, each with weights of its own.
        trunk: Maps images (B, C, H, W) to features (B, ...) that all encoders see in their place; None for encoders
            that see the images themselves. An encoder that makes nothing more of them is
            ``GaussianEncoder(nn.Identity(), ...)``.

    Raises:
        ComponentError: If there is none, one is no encoder, or two do not fit each other.

    Example:
        >>> trunk = nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU())
        >>> from mnistvae.networks import CategoricalEncoder, GaussianEncoder
        >>> blocks = [GaussianEncoder(nn.Identity(), 4), CategoricalEncoder(nn.Identity(), variables=1, classes=10)]
        >>> prior = mv.priors.Joint([mv.priors.StandardNormal(4), mv.priors.UniformCategorical(1, 10)])
        >>> vae = mv.VAE(14, encoder=JointEncoder(blocks, trunk), prior=prior)
        >>> list(vae.loss(torch.rand(5, 1, 28, 28)).extra)
        ['kl_level_1', 'kl_level_2']
    """

    def __init__(self, encoders: Iterable[Encoder], trunk: nn.Module | None = None) -> None:
        super().__init__()
        listed = _check_encoders(encoders)
        if not isinstance(trunk, nn.Module | None):
            raise ComponentError("trunk as a torch.nn.Module, or None", type_name(trunk), "pass an instance")
        self.encoders = nn.ModuleList(listed)
        self.trunk = trunk
        self.latent_dim = sum(encoder.latent_dim for encoder in listed)
        self.takes_prior = any(encoder.takes_prior for encoder in listed)
        self.has_density = all(encoder.has_density for encoder in listed)
        _take_sizes(self, *listed, names=("image_shape", "num_classes") if trunk is None else ("num_classes",))

    def forward(self, x: Tensor, y: Tensor | None = None, *, prior: nn.Module | None = None) -> Joint:
        features = x if self.trunk is None else self.trunk(x).to(x.dtype)  # under autocast they come in bfloat16
        of_blocks = list(getattr(prior, "priors", [None] * len(self.encoders)))
        if len(of_blocks) != len(self.encoders):
            expected = f"a joint prior of {len(self.encoders)} blocks, as the encoder has"
            raise ComponentError(expected, f"one of {len(of_blocks)}", "give each encoder's block a prior")
        parts = zip(self.encoders, of_blocks, strict=True)
        return Joint([posterior_of(encoder, features, y, own) for encoder, own in parts])  # type: ignore[arg-type]


def _check_encoders(encoders: object) -> list[Encoder]:
    """The encoders as a list of at least one, each once."""
    listed = list(encoders) if isinstance(encoders, Iterable) else []
    if not listed:
        raise ComponentError("encoders as a list of at least one", type_name(encoders), "[MLPEncoder(8), ...]")
    for number, encoder in enumerate(listed):
        _check_encoder(f"encoders[{number}]", encoder)
    if len(set(map(id, listed))) < len(listed):
        raise ComponentError("encoders with weights of their own", "one of them twice", "make each anew")
    return listed


def _check_encoder(name: str, encoder: object) -> Encoder:
    if isinstance(encoder, Encoder):
        return encoder
    fix = "wrap a plain module: GaussianEncoder(module, latent_dim)"
    raise ComponentError(f"{name} as a mnistvae Encoder", type_name(encoder), fix)


def _take_sizes(whole: Encoder, *encoders: Encoder, names: Sequence[str] = ("image_shape", "num_classes")) -> None:
    """Have the whole say what images and labels its encoders are for, where they say so, and agree."""
    for name in names:
        said = {getattr(encoder, name) for encoder in encoders if hasattr(encoder, name)}
        if len(said) > 1:
            raise ComponentError(f"encoders of one {name}", " and ".join(map(str, said)), "give all the same")
        for value in said:
            setattr(whole, name, value)
