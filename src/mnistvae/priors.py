"""Priors: p(z), or p(z | y) where there is a label."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias

import torch
import torch.distributions as td
from torch import Tensor, nn
from torch.distributions import Distribution

from mnistvae._checks import check_choice, check_count, check_instance, check_widths
from mnistvae._component import Component
from mnistvae.arrays import ArrayLike, check_finite, check_shape
from mnistvae.distributions import DiagonalNormal, PushForward, UnitNormal
from mnistvae.errors import ComponentError, DataError, type_name
from mnistvae.images import ImageShape, as_images, check_range

__all__ = ["Encode", "Flow", "GaussianMixture", "Prior", "StandardNormal", "VampPrior"]

#: The model's own encoder, for a prior that is made of posteriors.
Encode: TypeAlias = Callable[[Tensor, Tensor | None], Distribution]


class Prior(Component):
    """Contract of a prior: a distribution over codes.

    A subclass keeps its constructor arguments as attributes of the same names and implements
    :meth:`forward`.
    """

    latent_dim: int
    #: The sizes of the model that it is a part of.
    _sizes: tuple[int, ImageShape, int | None] | None = None

    @abstractmethod
    def forward(self, y: Tensor | None = None, *, encode: Encode | None = None) -> Distribution:
        """p(z) with batch shape () or, given labels (B,), batch shape () or (B,); event shape (latent_dim,)."""

    def attach(self, latent_dim: int, image_shape: ImageShape, num_classes: int | None) -> None:
        """Make the tensors that depend on the sizes of the model; called once by the model that takes the prior.

        Does nothing here.
        """

    def attach_once(self, latent_dim: int, image_shape: ImageShape, num_classes: int | None) -> None:
        """Attach the prior to a model, unless it belongs to one of the same sizes already.

        A model calls it; a subclass overrides :meth:`attach`.

        Raises:
            ComponentError: If the prior belongs to a model of other sizes, or cannot be attached.
        """
        sizes = (latent_dim, image_shape, num_classes)
        told = "latent_dim={}, images of shape {} and num_classes={}"
        if self._sizes is None:
            try:
                self.attach(*sizes)
            except Exception as error:  # a prior of the user's may raise anything
                reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
                raise ComponentError(
                    f"the prior to take {told.format(*sizes)}", reason, "look at its attach method"
                ) from error
            self._sizes = sizes
        elif self._sizes != sizes:
            raise ComponentError(
                f"{type_name(self)} for {told.format(*sizes)}",
                f"one for {told.format(*self._sizes)}",
                "give each model a prior of its own",
            )


class StandardNormal(Prior):
    r"""The standard normal distribution, which is the usual prior.

    .. math:: p(z) = \mathcal{N}(z; 0, I)

    Args:
        latent_dim: Size of z.

    Example:
        >>> StandardNormal(2)().log_prob(torch.zeros(2))  # -log 2 pi
        tensor(-1.8379)
    """

    zero: Tensor

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = check_count("latent_dim as an integer of at least 1", latent_dim)
        self.register_buffer("zero", torch.zeros(self.latent_dim), persistent=False)

    def forward(self, y: Tensor | None = None, *, encode: Encode | None = None) -> UnitNormal:
        return UnitNormal(self.zero)


class GaussianMixture(Prior):
    r"""A mixture of normals, learned with the weights or fitted after training by :func:`mnistvae.fit_prior`.

    .. math:: p(z) = \sum_{k=1}^{K} \pi_k \, \mathcal{N}(z; \mu_k, \Sigma_k)

    Args:
        latent_dim: Size of z.
        components: K, the number of normals.
        covariance: Covariance of each normal, ``"diag"`` or ``"full"``.

    Raises:
        SettingError: If a size is below 1, or the covariance is another word.

    Example:
        >>> GaussianMixture(2, components=5)().sample((3,)).shape
        torch.Size([3, 2])
    """

    def __init__(self, latent_dim: int, components: int = 10, covariance: Literal["diag", "full"] = "diag") -> None:
        super().__init__()
        self.latent_dim = latent_dim = check_count("latent_dim as an integer of at least 1", latent_dim)
        self.components = components = check_count("components as an integer of at least 1", components)
        self.covariance = check_choice("covariance", covariance, ("diag", "full"))
        self.logits = nn.Parameter(torch.zeros(components))
        self.means = nn.Parameter(torch.randn(components, latent_dim))
        #: Logarithms of the standard deviations, or of the diagonal of the Cholesky factor.
        self.log_scales = nn.Parameter(torch.zeros(components, latent_dim))
        #: The Cholesky factor below its diagonal; what is above is not used.
        self.lower = nn.Parameter(torch.zeros(components, latent_dim, latent_dim)) if covariance == "full" else None

    def forward(self, y: Tensor | None = None, *, encode: Encode | None = None) -> td.MixtureSameFamily:
        parts: Distribution
        if self.lower is None:
            parts = DiagonalNormal(self.means, 2 * self.log_scales)
        elif self.means.dtype in {torch.float16, torch.bfloat16}:
            raise ComponentError(
                "float32 or float64 for full covariances", str(self.means.dtype), "use covariance='diag'"
            )
        else:
            scale_tril = self.lower.tril(-1) + torch.diag_embed(self.log_scales.exp())
            parts = td.MultivariateNormal(self.means, scale_tril=scale_tril, validate_args=False)
        return _mixture(self.logits, parts)

    @torch.no_grad()
    def set_components(self, weights: Tensor, means: Tensor, scale_tril: Tensor) -> None:
        """Give the mixture other components, such as those of a fit.

        Args:
            weights: pi, (K,), above 0.
            means: Means of the components, (K, latent_dim).
            scale_tril: Cholesky factors of the covariances, (K, latent_dim, latent_dim); of ``"diag"``, diagonal ones.

        Raises:
            DataError: If a shape is another, or the numbers make no mixture.
        """
        k, d = self.components, self.latent_dim
        for name, value, shape in (
            ("weights", weights, (k,)),
            ("means", means, (k, d)),
            ("scale_tril", scale_tril, (k, d, d)),
        ):
            tensor = check_instance(f"{name} as a tensor", value, Tensor, "torch.as_tensor(...)", DataError)
            check_finite(check_shape(tensor, name, shape, "give every component its own"), name)
        deviations = scale_tril.diagonal(dim1=-2, dim2=-1)
        if bool((weights <= 0).any()) or bool((deviations <= 0).any()):
            raise DataError("weights and standard deviations above 0", "others", "leave empty components out")
        below = scale_tril.tril(-1)
        if self.lower is None and bool((below != 0).any()):
            raise DataError("diagonal factors for covariance='diag'", "full ones", "use covariance='full'")
        self.logits.copy_(weights.log())
        self.means.copy_(means)
        self.log_scales.copy_(deviations.log())
        if self.lower is not None:
            self.lower.copy_(below)


class VampPrior(Prior):
    r"""A mixture of the model's own posteriors at learned images: the variational mixture of posteriors prior.

    .. math:: p(z) = \frac{1}{K} \sum_{k=1}^{K} q(z \mid u_k)

    Tomczak and Welling (2018), "VAE with a VampPrior", equation 9. The pseudo-inputs u are sigmoids of
    parameters, so that they stay images; the model that takes the prior gives them their shape. Under a label the
    posteriors are those of the same label.

    Args:
        components: K, the number of pseudo-inputs; each costs one more image to encode at every step.

    Raises:
        SettingError: If there is no component.

    Example:
        >>> vae = mv.VAE(latent_dim=2, prior=VampPrior(components=20))
        >>> vae.prior.pseudo_inputs.shape
        torch.Size([20, 1, 28, 28])
    """

    #: Logits of the pseudo-inputs, (K, C, H, W), once there is a model.
    logits: nn.Parameter | None

    def __init__(self, components: int = 500) -> None:
        super().__init__()
        self.components = check_count("components as an integer of at least 1", components)
        self.num_classes: int | None = None
        self.register_parameter("logits", None)

    def attach(self, latent_dim: int, image_shape: ImageShape, num_classes: int | None) -> None:
        self.latent_dim, self.num_classes = latent_dim, num_classes
        # Dark, as most of an image is, and each different, or they would stay the same for ever.
        self.logits = nn.Parameter(torch.randn(self.components, *image_shape) - 3.0)

    @property
    def pseudo_inputs(self) -> Tensor:
        """The pseudo-inputs u, (K, C, H, W) in (0, 1)."""
        return self._logits().sigmoid()

    @torch.no_grad()
    def start_from(self, images: ArrayLike) -> None:
        """Set the pseudo-inputs to images, such as some of the training set.

        Args:
            images: One image for each component, (K, C, H, W) in [0, 1], or uint8.

        Raises:
            DataError: If number or shape of the images is another, or a value is outside [0, 1].
        """
        logits = self._logits()
        shape = (logits.shape[1], logits.shape[2], logits.shape[3])
        first = check_range(as_images(images, shape, device=logits.device, dtype=logits.dtype))
        if len(first) != self.components:
            raise DataError(f"{self.components} images, one for each component", str(len(first)), "take as many")
        logits.copy_(torch.logit(first, eps=0.01))  # a pixel at 0 or 1 would never learn again

    def forward(self, y: Tensor | None = None, *, encode: Encode | None = None) -> td.MixtureSameFamily:
        if encode is None:
            raise ComponentError(
                "the model's encoder for a VampPrior", "none", "call it through the model: model.latent_prior(y)"
            )
        u = self.pseudo_inputs
        if y is None or self.num_classes is None:
            parts = encode(u, None)
        else:  # every class once, then each image its own
            repeated = torch.arange(self.num_classes, device=u.device).repeat_interleave(self.components)
            by_class = encode(u.repeat(self.num_classes, 1, 1, 1), repeated)
            parts = _select(by_class, (self.num_classes, self.components), y)
        return _mixture(u.new_zeros(self.components), parts)

    def _logits(self) -> nn.Parameter:
        if self.logits is None:
            raise ComponentError(
                "a VampPrior that is part of a model", "one that is not", "pass it to VAE(prior=...) first"
            )
        return self.logits


class Flow(Prior):
    r"""A normalizing flow from the standard normal, by the library zuko.

    .. math:: \log p(z) = \log \mathcal{N}(f(z); 0, I) + \log \left| \det \frac{\partial f}{\partial z} \right|

    It starts as the identity, so p(z) starts as the standard normal. Dinh et al. (2017), "Density estimation using
    Real NVP", equation 2 and, for the couplings, equations 7 and 8; Papamakarios et al. (2017) for MAF;
    Durkan et al. (2019) for NSF.

    Args:
        latent_dim: Size of z; a RealNVP splits it in two, so 2 at least makes sense.
        kind: ``"realnvp"``, affine couplings, fast both ways; ``"maf"``, affine and autoregressive, slow to draw
            from; ``"nsf"``, autoregressive splines, slower still and the most flexible.
        transforms: Number of transforms, one after the other.
        hidden: Widths of the hidden layers of each transform's network.

    Raises:
        ComponentError: If zuko is not installed: ``pip install "mnistvae[flows]"``.
        SettingError: If a size is below 1, or the kind is another word.
    """

    zero: Tensor

    def __init__(
        self,
        latent_dim: int,
        kind: Literal["realnvp", "maf", "nsf"] = "realnvp",
        transforms: int = 8,
        hidden: Sequence[int] = (256, 256),
    ) -> None:
        super().__init__()
        self.latent_dim = latent_dim = check_count("latent_dim as an integer of at least 1", latent_dim)
        self.kind = check_choice("kind", kind, ("realnvp", "maf", "nsf"))
        self.transforms = transforms = check_count("transforms as an integer of at least 1", transforms)
        self.hidden = check_widths("hidden", hidden, least=1)
        self.register_buffer("zero", torch.zeros(self.latent_dim), persistent=False)
        with _zuko() as flows:
            from mnistvae._couplings import couplings

            how: dict[str, Any] = {"transforms": transforms, "hidden_features": self.hidden, "activation": nn.SiLU}
            make = {"maf": flows.MAF, "nsf": flows.NSF}.get(self.kind)
            self.normalize = couplings(latent_dim, **how) if make is None else make(latent_dim, **how).transform
        for network in self.normalize.modules():
            layers = [layer for layer in network.children() if isinstance(getattr(layer, "weight", None), Tensor)]
            own = network.parameters(recurse=False) if isinstance(network, nn.ParameterList) else ()
            for last in (*layers[-1:], *own):  # of a transform's network; or, for one dimension, its parameters
                for parameter in last.parameters() if isinstance(last, nn.Module) else (last,):
                    nn.init.zeros_(parameter)

    def forward(self, y: Tensor | None = None, *, encode: Encode | None = None) -> PushForward:
        return PushForward(self.normalize(), UnitNormal(self.zero))


def _mixture(logits: Tensor, parts: Distribution) -> td.MixtureSameFamily:
    """The mixture of the last batch dimension of ``parts``."""
    logits = logits.expand(parts.batch_shape)
    weights = td.Categorical(logits=logits, validate_args=False)
    return td.MixtureSameFamily(weights, parts, validate_args=False)


def _select(posteriors: Distribution, shape: tuple[int, int], y: Tensor) -> DiagonalNormal:
    """The posteriors of each label, batch (B, K), from those of all classes, batch (classes * K,)."""
    if not isinstance(posteriors, DiagonalNormal):
        raise ComponentError(
            "an encoder that returns DiagonalNormal, for a VampPrior that sees labels",
            type_name(posteriors),
            "use GaussianEncoder, or a model without labels",
        )
    mu, logvar = (t.reshape(*shape, -1).index_select(0, y) for t in (posteriors.mu, posteriors.logvar))
    return DiagonalNormal(mu, logvar)


@contextmanager
def _zuko() -> Iterator[Any]:
    """The flows of zuko; importing it changes defaults of torch's Distribution, which are put back."""
    names = ("_validate_args", "arg_constraints")
    before = {name: Distribution.__dict__[name] for name in names}
    try:
        import zuko.flows
    except ImportError as error:
        raise ComponentError("the library zuko for a flow", str(error), 'pip install "mnistvae[flows]"') from error
    finally:
        for name, value in before.items():
            setattr(Distribution, name, value)
    yield zuko.flows
