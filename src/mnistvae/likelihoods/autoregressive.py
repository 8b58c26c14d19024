"""A likelihood of pixels that depend on each other: a masked network over the image, conditioned on the code."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution

from mnistvae._checks import check_count
from mnistvae.distributions import PixelAutoregressive
from mnistvae.errors import ComponentError, SettingError, type_name
from mnistvae.likelihoods.base import Likelihood
from mnistvae.likelihoods.masked import PixelNetwork, Steps
from mnistvae.likelihoods.pixels import Bernoulli

__all__ = ["Autoregressive"]


class Autoregressive(Likelihood):
    r"""Pixels that depend on those before them: a network of masked convolutions, conditioned on the code.

    .. math:: p(x \mid z) = \prod_i p(x_i \mid x_1, \ldots, x_{i-1}, z), \qquad
        x_i \sim \text{pixels}(d_i(z) + f_i(x_1, \ldots, x_{i-1}, d(z), e(z)))

    The decoder gives the parameters d that ``pixels`` takes, and ``features`` more, e; the network f, whose weights are
    the likelihood's own and are trained with the others, adds to d. The order is row by row, from left to right, and in
    a pixel channel by channel. f starts at 0, so that a new model, or a trained one in which this likelihood replaces
    ``pixels`` with ``features=0``, starts as one of independent pixels. van den Oord et al. (2016), "Pixel recurrent
    neural networks", equation 1 and section 3.4; Gulrajani et al. (2017), "PixelVAE".

    From a pixel, f sees ``kernel_size // 2 * (layers + 1)`` rows above it and as many columns to the left and right,
    except a wedge to the right above: the blind spot of such convolutions. What lies further away it knows from the
    code alone. The farther f sees, the less a code has to tell, up to a code that tells nothing: keep an eye on the KL
    term.

    A log-likelihood takes one pass, a draw one step a pixel. :meth:`mnistvae.VAE.sample` gives draws, as means would
    blur what f has learned. Reconstructions and interpolations are means, estimated from 16 draws whose noise is always
    the same (:class:`~mnistvae.distributions.PixelAutoregressive`). The encoder of such a model can be exported; images
    cannot, nor can the explorer's page draw them, since each pixel is a pass of its own.

    Args:
        pixels: Likelihood of a pixel, given those before it (default: :class:`Bernoulli`): a :class:`Categorical`,
            another of a few grey levels, or a density. Figures have its tag, and grey pixels are to it what they are
            alone: of a Bernoulli, a cross-entropy.
        features: Number of parameters that the decoder gives for each pixel beside those of ``pixels``.
        channels: Channels of the network, at least ``image_channels``.
        layers: Layers of the network after its first convolution.
        kernel_size: Width and height of the convolutions, an odd number of at least 3.
        image_channels: Channels of the images.

    Raises:
        SettingError: If a number makes no sense.
        ComponentError: If ``pixels`` is no likelihood of independent pixels.

    Example:
        >>> likelihood = Autoregressive(features=2)
        >>> likelihood.n_params, likelihood.tag("dynamic")
        (3, 'binarized-dynamic')
        >>> vae = mv.VAE(2, (1, 8, 8), likelihood=likelihood)
        >>> vae.sample(3).unique()  # draws: black and white
        tensor([0., 1.])
    """

    independent = False

    def __init__(
        self,
        pixels: Likelihood | None = None,
        features: int = 8,
        channels: int = 16,
        layers: int = 2,
        kernel_size: int = 5,
        image_channels: int = 1,
    ) -> None:
        super().__init__()
        self.pixels = Bernoulli() if pixels is None else pixels
        if not isinstance(self.pixels, Likelihood) or not self.pixels.independent:
            fix = "such as Bernoulli() or Categorical(levels=16)"
            raise ComponentError("pixels as a likelihood of independent pixels", type_name(pixels), fix)
        self.features = check_count("features as an integer of at least 0", features, least=0)
        self.image_channels = check_count("image_channels as an integer of at least 1", image_channels)
        self.channels = check_count(
            f"channels as an integer of at least {self.image_channels}, the number of the image's channels",
            channels,
            least=self.image_channels,
        )
        self.layers = check_count("layers as an integer of at least 1", layers)
        self.kernel_size = check_count("kernel_size as an odd integer of at least 3", kernel_size, least=3)
        if not self.kernel_size % 2:
            raise SettingError("kernel_size as an odd integer of at least 3", str(kernel_size), "such as 5")
        self.n_params = self.pixels.n_params + self.features
        self.network = PixelNetwork(
            self.image_channels, self.n_params, self.pixels.n_params, self.channels, self.layers, self.kernel_size
        )

    def forward(self, params: Tensor) -> PixelAutoregressive:
        expected = self.image_channels * self.n_params
        if params.shape[-3] != expected:
            raise ComponentError(
                f"parameters of {expected} channels, of images of {self.image_channels}",
                f"{params.shape[-3]}",
                f"make it for the images: {type(self).__name__}(image_channels={params.shape[-3] // self.n_params})",
            )
        return PixelAutoregressive(params, self)

    def given(self, x: Tensor, params: Tensor) -> Distribution:
        """The distributions of all pixels of images, each given those before it in its image, in one pass.

        Args:
            x: Images, (N, C, H, W).
            params: Their parameters, (N, C * n_params, H, W).
        """
        levels = self.pixels.levels
        if levels is not None:  # as pixels takes them: what was rounded away must not tell of others
            x = (x * (levels - 1)).round() / (levels - 1)
        own = params[:, : self.image_channels * self.pixels.n_params]
        # Under autocast the network gives bfloat16, in which a sum over pixels would lose whole nats.
        out: Distribution = self.pixels(own + self.network(x, params).to(own.dtype))
        return out

    def walk(self, params: Tensor) -> _Walk:
        """A way over the pixels of new images, which are asked for and set in order.

        Args:
            params: Parameters of the images, (N, C * n_params, H, W).
        """
        return _Walk(self, params)

    def params_of_mean(self, mean: Tensor) -> Tensor | None:
        own = self.pixels.params_of_mean(mean)
        return None if own is None else torch.cat([own, own.new_zeros(self.features * len(mean), *mean.shape[1:])])

    def tag(self, binarization: str = "none") -> str:
        return self.pixels.tag(binarization)


class _Walk(Steps):
    """The steps of a likelihood's network, as distributions of pixels."""

    def __init__(self, likelihood: Autoregressive, params: Tensor) -> None:
        super().__init__(likelihood.network, params)
        self._params, self._pixels, self._channels = params, likelihood.pixels, likelihood.image_channels
        self._own = self._channels * likelihood.pixels.n_params

    def pixel(self, channel: int, row: int, column: int) -> Distribution:
        """The distribution of a pixel given those before it: batch shape (N,), event shape (1, 1, 1)."""
        own = self._params[:, : self._own, row, column, None, None] + self.at(row, column)
        made: Distribution = self._pixels(own[:, channel :: self._channels])
        return made
