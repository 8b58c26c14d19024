"""Decoders: from a code to the parameters of p(x | z); a likelihood makes the distribution of them."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from mnistvae._checks import check_count, check_widths
from mnistvae._component import Component
from mnistvae.arrays import shape_text
from mnistvae.errors import ComponentError, type_name
from mnistvae.images import ImageShape, check_image_shape
from mnistvae.networks.blocks import MLP, Conditioned, activation_or_relu, check_classes, halvings

__all__ = ["ConvDecoder", "Decoder", "MLPDecoder", "TrunkDecoder"]

#: The likely fix of a number of parameters that makes no sense.
FROM_LIKELIHOOD = "take it from likelihood.n_params"


class Decoder(Component):
    """Contract of a decoder: codes to the parameters of a likelihood, not to pixels.

    A subclass sets ``latent_dim``, keeps its constructor arguments as attributes of the same names,
    and implements :meth:`forward`.
    """

    latent_dim: int

    @abstractmethod
    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Parameters (B, C * n_params, H, W) for codes (B, latent_dim) and labels (B,)."""


class TrunkDecoder(Decoder):
    """Any module from codes to numbers, as a decoder: the twin of :class:`~mnistvae.networks.GaussianEncoder`.

    Args:
        trunk: Maps codes (B, latent_dim) to C * n_params * H * W numbers an image, in any shape.
        latent_dim: Size of z.
        image_shape: Shape of an image, (C, H, W).
        n_params: Parameters a pixel, as the likelihood asks for.
        num_classes: Number of classes, where the decoder is to see a label; a learned vector for
            the class is then added to the code.

    Example:
        >>> decoder = TrunkDecoder(nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 784)), latent_dim=2)
        >>> decoder(torch.randn(5, 2)).shape
        torch.Size([5, 1, 28, 28])
    """

    def __init__(
        self,
        trunk: nn.Module,
        latent_dim: int,
        image_shape: ImageShape = (1, 28, 28),
        n_params: int = 1,
        num_classes: int | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(trunk, nn.Module):
            raise ComponentError("trunk as a torch.nn.Module", type_name(trunk), "pass an instance")
        self.trunk = trunk
        self.latent_dim = latent_dim = check_count("latent_dim as an integer of at least 1", latent_dim)
        self.image_shape = check_image_shape(image_shape)
        self.n_params = check_count("n_params as an integer of at least 1", n_params, fix=FROM_LIKELIHOOD)
        self.num_classes = num_classes = check_classes(num_classes)
        self.code = Conditioned(nn.Identity(), latent_dim, num_classes)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        out = self.trunk(self.code(z, y))
        channels, height, width = self.image_shape
        shape = (z.shape[0], channels * self.n_params, height, width)
        if not isinstance(out, Tensor) or out.numel() != math.prod(shape):
            raise ComponentError(
                f"the trunk to return {math.prod(shape[1:])} numbers an image, for parameters {shape}",
                shape_text(out),
                "change its last layer, or image_shape",
            )
        return out.reshape(shape)


class MLPDecoder(Decoder):
    """Parameters of the likelihood from a fully connected network.

    Args:
        latent_dim: Size of z.
        image_shape: Shape of an image, (C, H, W).
        hidden: Widths of the hidden layers, from the code to the image.
        activation: Module without parameters (default: ReLU).
        num_classes: Number of classes, where the decoder is to see a label.
        n_params: Parameters a pixel, as the likelihood asks for.

    Example:
        >>> MLPDecoder(20)(torch.randn(5, 20)).shape
        torch.Size([5, 1, 28, 28])
    """

    def __init__(
        self,
        latent_dim: int,
        image_shape: ImageShape = (1, 28, 28),
        hidden: Sequence[int] = (400,),
        activation: nn.Module | None = None,
        num_classes: int | None = None,
        n_params: int = 1,
    ) -> None:
        super().__init__()
        self.latent_dim = latent_dim = check_count("latent_dim as an integer of at least 1", latent_dim)
        self.image_shape = check_image_shape(image_shape)
        self.hidden = check_widths("hidden", hidden)
        self.activation = activation
        self.num_classes = num_classes = check_classes(num_classes)
        self.n_params = n_params = check_count("n_params as an integer of at least 1", n_params, fix=FROM_LIKELIHOOD)
        channels, height, width = self.image_shape
        self.network = MLP(latent_dim, self.hidden, channels * n_params * height * width, activation, num_classes)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        channels, height, width = self.image_shape
        parameters: Tensor = self.network(z, y)
        return parameters.view(-1, channels * self.n_params, height, width)


class ConvDecoder(Decoder):
    """Parameters of the likelihood from transposed convolutions, each of which doubles height and width.

    Args:
        latent_dim: Size of z.
        image_shape: Shape of an image, (C, H, W), at least 8 x 8.
        channels: Channels that the transposed convolutions take, from the code to the image.
        activation: Module without parameters (default: ReLU).
        num_classes: Number of classes, where the decoder is to see a label.
        n_params: Parameters a pixel, as the likelihood asks for.

    Example:
        >>> ConvDecoder(16, image_shape=(3, 32, 32))(torch.randn(5, 16)).shape
        torch.Size([5, 3, 32, 32])
    """

    def __init__(
        self,
        latent_dim: int,
        image_shape: ImageShape = (1, 28, 28),
        channels: Sequence[int] = (128, 64, 32),
        activation: nn.Module | None = None,
        num_classes: int | None = None,
        n_params: int = 1,
    ) -> None:
        super().__init__()
        self.latent_dim = latent_dim = check_count("latent_dim as an integer of at least 1", latent_dim)
        self.image_shape = check_image_shape(image_shape)
        self.channels = check_widths("channels", channels, least=1)
        self.activation = activation
        self.num_classes = num_classes = check_classes(num_classes)
        self.n_params = n_params = check_count("n_params as an integer of at least 1", n_params, fix=FROM_LIKELIHOOD)
        sides = halvings(self.image_shape, len(self.channels))[::-1]
        height, width = sides[0]
        features = self.channels[0] * height * width
        self.first = Conditioned(nn.Linear(latent_dim, features), features, num_classes)
        rest: list[nn.Module] = [nn.Unflatten(1, (self.channels[0], height, width))]
        widths = pairwise((*self.channels, self.image_shape[0] * n_params))
        for (before, after), ((h, w), (next_h, next_w)) in zip(widths, pairwise(sides), strict=True):
            # A stride of 2 gives 2 h - 1 rows; the padding adds the one that an even number of rows needs.
            grow = (next_h - (2 * h - 1), next_w - (2 * w - 1))
            transposed = nn.ConvTranspose2d(before, after, 3, stride=2, padding=1, output_padding=grow)
            rest += [activation_or_relu(activation), transposed]
        self.rest = nn.Sequential(*rest)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        parameters: Tensor = self.rest(self.first(z, y))
        return parameters
