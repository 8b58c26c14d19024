"""A mixture of the model's own posteriors as a prior."""

from __future__ import annotations

import torch
import torch.distributions as td
from torch import Tensor, nn
from torch.distributions import Distribution

from mnistvae._checks import check_count
from mnistvae.arrays import ArrayLike
from mnistvae.distributions import DiagonalNormal, mixture
from mnistvae.errors import ComponentError, DataError, type_name
from mnistvae.images import ImageShape, as_images, check_range
from mnistvae.priors.base import Encode, Prior

__all__ = ["VampPrior"]


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
        return mixture(u.new_zeros(self.components), parts)

    def _logits(self) -> nn.Parameter:
        if self.logits is None:
            raise ComponentError(
                "a VampPrior that is part of a model", "one that is not", "pass it to VAE(prior=...) first"
            )
        return self.logits


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
