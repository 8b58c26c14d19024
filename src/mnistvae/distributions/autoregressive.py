"""The distribution of an image whose pixels depend on those before them."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, constraints

from mnistvae._progress import bar
from mnistvae.distributions.noise import from_uniform

__all__ = ["Conditionals", "PixelAutoregressive", "Walk"]

#: Draws of which a mean is estimated, and images that are drawn at once for it.
_DRAWS, _AT_ONCE = 16, 1024
#: Seconds after which the bar of a walk is shown.
_LONG = 2.0


class Walk(Protocol):
    """A way over the pixels of images, in order, on which each pixel is asked for and then set."""

    @property
    def images(self) -> Tensor:
        """The pixels so far, (N, C, H, W); those to come are 0."""

    def pixel(self, channel: int, row: int, column: int) -> Distribution:
        """The distribution of a pixel given those before it: batch shape (N,), event shape (1, 1, 1)."""

    def put(self, channel: int, row: int, column: int, value: Tensor) -> None:
        """Set a pixel, (N, 1, 1, 1)."""


class Conditionals(Protocol):
    """The distributions of each pixel given those before it, which make one of the image."""

    image_channels: int

    def given(self, x: Tensor, params: Tensor) -> Distribution:
        """The distributions of all pixels of images (N, C, H, W), each given those before it in its image."""

    def walk(self, params: Tensor) -> Walk:
        """A way over the pixels of new images, for parameters (N, C * n_params, H, W)."""


class PixelAutoregressive(Distribution):
    r"""Images whose pixels depend on those before them, row by row, from left to right, and channel by channel.

    .. math:: p(x) = \prod_i p(x_i \mid x_1, \ldots, x_{i-1})

    ``log_prob`` takes one pass over all pixels at once, a draw one step a pixel. The mean is a sum over all images, of
    which 16 draws stand for the rest: of each draw not the pixels are averaged but their means given the pixels before
    them, which is exact where pixels are independent and otherwise has less noise. The noise of the draws is always the
    same, and the same for all images of a batch: the mean is a function of the parameters, touches no generator of
    torch's, and has no gradient. Variance and mode are not known.

    What takes longer than two seconds shows a bar in a terminal or notebook.

    Args:
        params: Parameters of the images, (..., C * n_params, H, W).
        conditionals: The distributions of each pixel given those before it, such as a
            :class:`~mnistvae.likelihoods.Autoregressive` gives.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (torch's own way)
    support = constraints.independent(constraints.real, 3)  # type: ignore[no-untyped-call]

    def __init__(self, params: Tensor, conditionals: Conditionals) -> None:
        self.params = params
        self.conditionals = conditionals
        shape = params.shape
        event = Size([conditionals.image_channels, *shape[-2:]])
        super().__init__(shape[:-3], event, validate_args=False)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(batch {tuple(self.batch_shape)}, pixels {tuple(self.event_shape)})"

    def expand(self, batch_shape: Any, _instance: Any = None) -> PixelAutoregressive:
        params = self.params.expand((*batch_shape, *self.params.shape[-3:]))
        return PixelAutoregressive(params, self.conditionals)

    def log_prob(self, value: Tensor) -> Tensor:
        batch = torch.broadcast_shapes(self.batch_shape, value.shape[:-3])  # type: ignore[no-untyped-call]
        x = value.expand((*batch, *self.event_shape)).reshape(-1, *self.event_shape)
        params = self.params.expand((*batch, *self.params.shape[-3:])).reshape(-1, *self.params.shape[-3:])
        log_p: Tensor = self.conditionals.given(x, params).log_prob(x)
        return log_p.reshape(batch)

    @property
    def _exact(self) -> torch.dtype:
        """The dtype of noise: in half precision there are 256 numbers between 1/2 and 1, too few for rare pixels."""
        return torch.promote_types(self.params.dtype, torch.float32)

    @property
    def mean(self) -> Tensor:
        """The mean over 16 draws of the means of the pixels, each given the pixels drawn before it, (..., C, H, W)."""
        number = self.batch_shape.numel()
        params = self.params.reshape(1, number, *self.params.shape[-3:])
        total = self.params.new_zeros(number, *self.event_shape)
        noise = _even_noise(self.event_shape).to(self.params.device, self._exact)
        for some in torch.split(noise, max(1, _AT_ONCE // max(1, number))):
            repeated = params.expand(len(some), *params.shape[1:]).flatten(0, 1)
            _, means = self._in_order(repeated, some.repeat_interleave(number, 0))
            total += means.reshape(len(some), *total.shape).sum(0)
        return (total / _DRAWS).reshape(self._extended_shape())

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(Size(sample_shape))
        return self.from_uniform(torch.rand(shape, dtype=self._exact, device=self.params.device))

    @torch.no_grad()
    def from_uniform(self, uniform: Tensor) -> Tensor:
        """Draws as a function of uniform noise in [0, 1), (..., C, H, W)."""
        params = self.params.expand(*uniform.shape[:-3], *self.params.shape[-3:])
        images, _ = self._in_order(params.flatten(0, -4), uniform.flatten(0, -4))
        return images.reshape(uniform.shape)

    @torch.no_grad()
    def _in_order(self, params: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """Images made pixel by pixel, and the mean of each pixel given those before it, both (N, C, H, W)."""
        walk = self.conditionals.walk(params)
        means = params.new_empty(len(params), *self.event_shape)
        channels, height, width = self.event_shape
        with bar("pixels", height * width, delay=_LONG) as done:
            for row in range(height):
                for column in range(width):
                    for channel in range(channels):
                        pixel = walk.pixel(channel, row, column)
                        noise = uniform[:, channel, row, column, None, None, None]
                        walk.put(channel, row, column, from_uniform(pixel, noise))
                        means[:, channel, row, column] = pixel.mean[:, 0, 0, 0]
                    done(1)
        return walk.images, means


def _even_noise(shape: Size) -> Tensor:
    """Uniform noise for 16 images, of which each pixel has one number in each sixteenth of [0, 1)."""
    generator = torch.Generator().manual_seed(0)
    places, within = torch.rand(2, _DRAWS, *shape, dtype=torch.float64, generator=generator, device="cpu").unbind()
    even: Tensor = (places.argsort(0) + within) / _DRAWS
    return even.clamp_max(1 - 1e-7)  # which single precision does not round to 1
