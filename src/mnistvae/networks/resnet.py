"""Residual networks: deeper encoders and decoders, which reach the likelihoods of the literature."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from mnistvae._checks import check_count, check_number, check_widths
from mnistvae._component import Component
from mnistvae.distributions import DiagonalNormal
from mnistvae.errors import SettingError
from mnistvae.images import ImageShape, check_image_shape
from mnistvae.networks.blocks import Conditioned, check_classes, halvings
from mnistvae.networks.decoders import FROM_LIKELIHOOD, Decoder
from mnistvae.networks.encoders import Encoder

__all__ = ["ResNetDecoder", "ResNetEncoder", "ResidualBlock"]

#: Groups of channels that are normalised together, where the channels can be divided so.
_GROUPS = 8
#: Bounds of the posterior's log-variance, far outside what training visits: they end an explosion.
_LOGVAR = (-12.0, 8.0)


class ResidualBlock(Component):
    r"""A residual block: normalisation, activation and convolution, twice, added to the input.

    .. math:: x + W_2 * \text{SiLU}(\text{GN}(W_1 * \text{SiLU}(\text{GN}(x))))

    The last convolution starts at zero, so a new block is the identity. He et al. (2016), "Identity mappings in
    deep residual networks", with the group normalisation of Wu and He (2018), which no batch size disturbs.

    Args:
        channels: Number of channels of input and output, (B, channels, H, W).
        dropout: Share of the channels' values dropped between the convolutions while training.

    Raises:
        SettingError: If there are no channels, or the dropout is outside [0, 1).
    """

    def __init__(self, channels: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.channels = channels = check_count("channels as an integer of at least 1", channels)
        self.dropout = _check_dropout(dropout)
        last = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        self.step = nn.Sequential(
            group_norm(channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            group_norm(channels),
            nn.SiLU(),
            nn.Dropout(self.dropout),
            last,
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.step(x)
        return out


class ResNetEncoder(Encoder):
    r"""A diagonal normal from residual blocks; height and width are halved between scales.

    Its log-variance is kept within [-12, 8].

    Args:
        latent_dim: Size of z.
        image_shape: Shape of an image, (C, H, W), at least 8 x 8.
        channels: Channels of each scale, the first at the image's own size.
        blocks: Residual blocks at each scale.
        hidden: Units of the layer between the last scale and the code.
        dropout: Share of values dropped inside the blocks while training.
        num_classes: Number of classes, where the encoder is to see a label.

    Raises:
        SettingError: If a size makes no sense, or there are not as many ``blocks`` as ``channels``.

    Example:
        >>> encoder = ResNetEncoder(16, channels=(16, 32), blocks=(1, 1), hidden=64)
        >>> encoder(torch.rand(5, 1, 28, 28)).mean.shape
        torch.Size([5, 16])
    """

    def __init__(
        self,
        latent_dim: int,
        image_shape: ImageShape = (1, 28, 28),
        channels: Sequence[int] = (64, 128, 128),
        blocks: Sequence[int] = (1, 2, 2),
        hidden: int = 512,
        dropout: float = 0.0,
        num_classes: int | None = None,
    ) -> None:
        super().__init__()
        self.latent_dim = latent_dim = check_count("latent_dim as an integer of at least 1", latent_dim)
        self.image_shape = check_image_shape(image_shape)
        self.channels, self.blocks = _check_scales(channels, blocks)
        self.hidden = check_count("hidden as an integer of at least 1", hidden)
        self.dropout = _check_dropout(dropout)
        self.num_classes = num_classes = check_classes(num_classes)
        height, width = halvings(self.image_shape, len(self.channels) - 1)[-1]
        first = nn.Conv2d(self.image_shape[0], self.channels[0], 3, padding=1)
        self.first = Conditioned(first, self.channels[0], num_classes)
        rest: list[nn.Module] = []
        for scale, (width_here, number) in enumerate(zip(self.channels, self.blocks, strict=True)):
            if scale:
                rest.append(nn.Conv2d(self.channels[scale - 1], width_here, 3, stride=2, padding=1))
            rest += [ResidualBlock(width_here, self.dropout) for _ in range(number)]
        features = self.channels[-1] * height * width
        rest += [group_norm(self.channels[-1]), nn.SiLU(), nn.Flatten(), nn.Linear(features, self.hidden)]
        self.rest = nn.Sequential(*rest, nn.SiLU(), nn.Linear(self.hidden, 2 * latent_dim))

    def forward(self, x: Tensor, y: Tensor | None = None) -> DiagonalNormal:
        mu, logvar = self.rest(self.first(x, y)).to(x.dtype).chunk(2, dim=-1)
        return DiagonalNormal(mu, logvar.clamp(*_LOGVAR))


class ResNetDecoder(Decoder):
    """Parameters of the likelihood from residual blocks: the mirror of :class:`ResNetEncoder`.

    Args:
        latent_dim: Size of z.
        image_shape: Shape of an image, (C, H, W), at least 8 x 8.
        channels: Channels of each scale, from the code to the image; the last at the image's own size.
        blocks: Residual blocks at each scale.
        hidden: Units of the layer between the code and the first scale.
        dropout: Share of values dropped inside the blocks while training.
        num_classes: Number of classes, where the decoder is to see a label.
        n_params: Parameters a pixel, as the likelihood asks for.

    Raises:
        SettingError: If a size makes no sense, or there are not as many ``blocks`` as ``channels``.

    Example:
        >>> decoder = ResNetDecoder(16, channels=(32, 16), blocks=(1, 1), hidden=64)
        >>> decoder(torch.randn(5, 16)).shape
        torch.Size([5, 1, 28, 28])
    """

    def __init__(
        self,
        latent_dim: int,
        image_shape: ImageShape = (1, 28, 28),
        channels: Sequence[int] = (128, 128, 64),
        blocks: Sequence[int] = (2, 2, 2),
        hidden: int = 512,
        dropout: float = 0.0,
        num_classes: int | None = None,
        n_params: int = 1,
    ) -> None:
        super().__init__()
        self.latent_dim = latent_dim = check_count("latent_dim as an integer of at least 1", latent_dim)
        self.image_shape = check_image_shape(image_shape)
        self.channels, self.blocks = _check_scales(channels, blocks)
        self.hidden = check_count("hidden as an integer of at least 1", hidden)
        self.dropout = _check_dropout(dropout)
        self.num_classes = num_classes = check_classes(num_classes)
        self.n_params = n_params = check_count("n_params as an integer of at least 1", n_params, fix=FROM_LIKELIHOOD)
        sides = halvings(self.image_shape, len(self.channels) - 1)[::-1]
        height, width = sides[0]
        self.first = Conditioned(nn.Linear(latent_dim, self.hidden), self.hidden, num_classes)
        rest: list[nn.Module] = [nn.SiLU(), nn.Linear(self.hidden, self.channels[0] * height * width)]
        rest.append(nn.Unflatten(1, (self.channels[0], height, width)))
        for scale, (width_here, number) in enumerate(zip(self.channels, self.blocks, strict=True)):
            if scale:
                rest += [nn.Upsample(sides[scale]), nn.Conv2d(self.channels[scale - 1], width_here, 3, padding=1)]
            rest += [ResidualBlock(width_here, self.dropout) for _ in range(number)]
        last = nn.Conv2d(self.channels[-1], self.image_shape[0] * n_params, 3, padding=1)
        self.rest = nn.Sequential(*rest, group_norm(self.channels[-1]), nn.SiLU(), last)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        parameters: Tensor = self.rest(self.first(z, y))
        return parameters


def group_norm(channels: int) -> nn.GroupNorm:
    """Group normalisation of so many channels."""
    # At least four channels a group, where there are as many: of a single pixel, a group of one is always 0.
    return nn.GroupNorm(math.gcd(_GROUPS, channels, max(1, channels // 4)), channels)


def _check_scales(channels: Sequence[int], blocks: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    channels, blocks = check_widths("channels", channels, least=1), check_widths("blocks", blocks, least=1)
    if len(channels) != len(blocks):
        raise SettingError(
            f"blocks for each of {len(channels)} scales, as channels={channels} has them", f"blocks={blocks}"
        )
    return channels, blocks


def _check_dropout(dropout: float) -> float:
    number = check_number("dropout as a number from 0 to below 1", dropout)
    if number >= 1:
        raise SettingError("dropout as a number from 0 to below 1", str(dropout))
    return number
