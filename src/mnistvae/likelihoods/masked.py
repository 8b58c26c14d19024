"""Masked convolutions: networks whose output at a pixel depends on the pixels before it alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["MaskedConv", "PixelNetwork", "Steps"]


class MaskedConv(nn.Module):
    """A convolution of images that sees, from each pixel, the rows above it and what is left of it.

    Each channel belongs to one of C groups, as an image has channels. Of the pixel itself a channel sees those of the
    groups before its own, or, unless it is strict, of its own group, too. van den Oord et al. (2016), "Pixel recurrent
    neural networks", section 3.4: masks A and B. What is below the pixel is not even computed: the kernel has the upper
    half of its rows.

    Args:
        groups_in: Group of each channel that it takes.
        groups_out: Group of each channel that it gives.
        kernel_size: Width and height of the kernel, an odd number.
        strict: Whether it may not see the group itself: mask A.
    """

    mask: Tensor

    def __init__(self, groups_in: list[int], groups_out: list[int], kernel_size: int, *, strict: bool = False) -> None:
        super().__init__()
        self.groups_in = groups_in
        self.groups_out = groups_out
        self.kernel_size = kernel_size
        self.strict = strict
        #: Rows above a pixel, and columns on both sides, that it sees.
        self.reach = reach = kernel_size // 2
        layer = nn.Conv2d(len(groups_in), len(groups_out), (reach + 1, kernel_size))  # for its initial numbers
        self.weight = layer.weight
        self.bias = nn.Parameter(layer.bias.detach())  # type: ignore[union-attr]
        mask = torch.ones_like(self.weight)
        mask[:, :, -1, reach:] = 0
        given, made = torch.tensor(groups_in), torch.tensor(groups_out)[:, None]
        mask[:, :, -1, reach] = ((given < made) if strict else (given <= made)).to(mask.dtype)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.reach:
            x = nn.functional.pad(x, (self.reach, self.reach, self.reach, 0))
        return nn.functional.conv2d(x, self.weight * self.mask, self.bias)

    def matrix(self) -> Tensor:
        """The kernel as a matrix from the values that a pixel sees, (rows * columns * channels), to its channels."""
        return (self.weight * self.mask).permute(2, 3, 1, 0).flatten(0, 2)


class PixelNetwork(nn.Module):
    """Masked convolutions from an image, and parameters of it, to numbers for each pixel that know those before it.

    A first convolution, strict, to which a linear map of the parameters is added; then layers, each a ReLU and a
    convolution, added to what they took; then a ReLU and a map of each pixel by itself, which starts at 0.

    Args:
        image_channels: C, the number of channels of an image.
        n_params: Number of parameters of each pixel and channel.
        n_out: Number of results for each pixel and channel.
        channels: Channels of the layers, at least C.
        layers: Number of layers after the first.
        kernel_size: Width and height of the kernels, an odd number.
    """

    def __init__(
        self, image_channels: int, n_params: int, n_out: int, channels: int, layers: int, kernel_size: int
    ) -> None:
        super().__init__()
        image = list(range(image_channels))
        hidden = [number * image_channels // channels for number in range(channels)]
        self.first = MaskedConv(image, hidden, kernel_size, strict=True)
        self.context = nn.Conv2d(image_channels * n_params, channels, 1, bias=False)
        self.layers = nn.Sequential(*(MaskedConv(hidden, hidden, kernel_size) for _ in range(layers)))
        self.last = MaskedConv(hidden, image * n_out, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor, params: Tensor) -> Tensor:
        """Numbers (N, n_out * C, H, W) for images (N, C, H, W) and parameters (N, n_params * C, H, W)."""
        h = self.first(x) + self.context(params)
        for layer in self.layers:
            h = h + layer(h.relu())
        out: Tensor = self.last(h.relu())
        return out


class Steps:
    """The results of a network for new images, pixel after pixel, in the work of one pass over the image.

    What each layer has computed at earlier pixels is kept, as it does not change any more.

    Args:
        network: The network.
        params: Parameters of the images, (N, n_params * C, H, W).
    """

    def __init__(self, network: PixelNetwork, params: Tensor) -> None:
        self._first, self._layers, self._last = (
            network.first,
            [layer for layer in network.layers if isinstance(layer, MaskedConv)],
            network.last,
        )
        self._reach = reach = network.first.reach
        height, self._width = params.shape[-2:]
        context: Tensor = network.context(params)
        self._context = context.movedim(1, -1)
        seen = len(params), height + reach, self._width + 2 * reach
        self._image = params.new_zeros(*seen, len(network.first.groups_in))
        self._seen = [params.new_zeros(*seen, self._context.shape[-1]) for _ in self._layers]
        # Products with a matrix that is made once: a convolution of a single pixel would take many times as long.
        self._matrices = {layer: layer.matrix() for layer in (self._first, *self._layers, self._last)}

    @property
    def images(self) -> Tensor:
        """The pixels so far, (N, C, H, W); those to come are 0."""
        return self._image[:, self._reach :, self._reach : self._reach + self._width].movedim(-1, 1).contiguous()

    def at(self, row: int, column: int) -> Tensor:
        """The results at a pixel, (N, n_out * C, 1, 1), of which each channel's need those before it to be set."""
        h = self._of(self._first, self._image, row, column) + self._context[:, row, column]
        for layer, seen in zip(self._layers, self._seen, strict=True):
            seen[:, row + self._reach, column + self._reach] = h.relu()
            h = h + self._of(layer, seen, row, column)
        return torch.addmm(self._last.bias, h.relu(), self._matrices[self._last])[..., None, None]

    def put(self, channel: int, row: int, column: int, value: Tensor) -> None:
        """Set a pixel, (N, 1, 1, 1)."""
        self._image[:, row + self._reach, column + self._reach, channel] = value[:, 0, 0, 0]

    def _of(self, layer: MaskedConv, seen: Tensor, row: int, column: int) -> Tensor:
        """The result of a layer at a pixel."""
        part = seen[:, row : row + layer.reach + 1, column : column + layer.kernel_size]
        return torch.addmm(layer.bias, part.flatten(1), self._matrices[layer])
