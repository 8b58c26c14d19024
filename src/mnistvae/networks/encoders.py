"""Encoders: the approximate posterior q(z | x), or q(z | x, y) where there is a label."""

from __future__ import annotations

import math
import warnings
from abc import abstractmethod
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from mnistvae._checks import check_count, check_widths
from mnistvae._component import Component
from mnistvae.arrays import shape_text
from mnistvae.distributions import DiagonalNormal, FullNormal
from mnistvae.errors import ComponentError, type_name
from mnistvae.images import ImageShape, check_image_shape
from mnistvae.networks.blocks import MLP, Conditioned, activation_or_relu, check_classes, halvings

__all__ = ["ConvEncoder", "Encoder", "FullNormalEncoder", "GaussianEncoder", "MLPEncoder"]


class Encoder(Component):
    """Contract of an encoder: images to a distribution over codes.

    A subclass sets ``latent_dim``, keeps its constructor arguments as attributes of the same names,
    and implements :meth:`forward`. One that sets ``takes_prior`` is called with the model's prior too, ``prior=...``,
    as a :class:`~mnistvae.ladders.LadderEncoder` is.
    """

    latent_dim: int
    #: True for an encoder whose forward takes ``prior=``, the model's own prior.
    takes_prior: bool = False
    #: False for an encoder without noise, whose figures in nats are no likelihoods: the model's tag then says so.
    has_density: bool = True

    @abstractmethod
    def forward(self, x: Tensor, y: Tensor | None = None) -> Distribution:
        """q(z | x, y) for images (B, C, H, W) and labels (B,): batch shape (B,), event shape (latent_dim,)."""


def posterior_of(encoder: Encoder, x: Tensor, y: Tensor | None, prior: nn.Module | None) -> Distribution:
    """The posterior of images, with the model's prior handed to an encoder that takes it."""
    posterior: Distribution = encoder(x, y, prior=prior) if encoder.takes_prior else encoder(x, y)
    return posterior


class _OnFeatures(Encoder):
    """A base of encoders that are a linear layer on the features of any module.

    A subclass says by ``_numbers`` how many numbers its distribution takes.
    """

    def __init__(self, trunk: nn.Module, latent_dim: int, num_classes: int | None = None) -> None:
        super().__init__()
        if not isinstance(trunk, nn.Module):
            raise ComponentError("trunk as a torch.nn.Module", type_name(trunk), "pass an instance")
        self.trunk = trunk
        self.latent_dim = latent_dim = check_count("latent_dim as an integer of at least 1", latent_dim)
        self.num_classes = num_classes = check_classes(num_classes)
        numbers = self._numbers(latent_dim)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Lazy modules", category=UserWarning)
            linear = nn.LazyLinear(numbers)
        self.head = Conditioned(linear, numbers, num_classes)

    @staticmethod
    @abstractmethod
    def _numbers(latent_dim: int) -> int:
        """Numbers of a distribution."""

    def _parameters_for(self, x: Tensor, y: Tensor | None) -> Tensor:
        """These numbers for images (B, C, H, W)."""
        features = self.trunk(x)
        if not isinstance(features, Tensor) or features.shape[:1] != x.shape[:1]:
            expected = f"the trunk to return features ({len(x)}, ...)"
            raise ComponentError(expected, shape_text(features), "keep the batch first")
        parameters: Tensor = self.head(features.reshape(x.shape[0], -1), y)
        return parameters


class GaussianEncoder(_OnFeatures):
    r"""A diagonal normal on the features of any module.

    .. math:: q(z \mid x) = \mathcal{N}(\mu(h), \operatorname{diag} \sigma^2(h)), \qquad h = \text{trunk}(x)

    Args:
        trunk: Maps images (B, C, H, W) to features (B, ...), which are flattened.
        latent_dim: Size of z.
        num_classes: Number of classes, where the encoder is to see a label; a learned vector for
            the class is then added to the mean and log-variance.

    The first forward pass (:class:`~mnistvae.VAE` makes one) finds out how many features there are.

    Example:
        >>> encoder = GaussianEncoder(nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU()), latent_dim=2)
        >>> encoder(torch.rand(5, 1, 28, 28)).mean.shape
        torch.Size([5, 2])
    """

    @staticmethod
    def _numbers(latent_dim: int) -> int:
        return 2 * latent_dim

    def forward(self, x: Tensor, y: Tensor | None = None) -> DiagonalNormal:
        return normal_from(self._parameters_for(x, y), x.dtype)


class FullNormalEncoder(_OnFeatures):
    r"""A normal with correlations between its dimensions, on the features of any module.

    .. math:: q(z \mid x) = \mathcal{N}(\mu(h), L(h) \, L(h)^\top), \qquad h = \text{trunk}(x)

    The Cholesky factor L is lower triangular; the diagonal is half of a log-variance, exponentiated, and the
    latent_dim (latent_dim - 1) / 2 numbers below it are free, so that with zeros there it is the normal of
    :class:`GaussianEncoder`. Where the dimensions of the true posterior depend on one another, the bound is tighter
    than that of a diagonal normal. Kingma and Welling (2019), section 2.5.1.

    Args:
        trunk: Maps images (B, C, H, W) to features (B, ...), which are flattened.
        latent_dim: Size of z.
        num_classes: Number of classes, where the encoder is to see a label; a learned vector for
            the class is then added to the parameters.

    Example:
        >>> encoder = FullNormalEncoder(nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU()), latent_dim=3)
        >>> encoder(torch.rand(5, 1, 28, 28)).covariance_matrix.shape
        torch.Size([5, 3, 3])
    """

    _places: Tensor

    def __init__(self, trunk: nn.Module, latent_dim: int, num_classes: int | None = None) -> None:
        super().__init__(trunk, latent_dim, num_classes)
        size = self.latent_dim
        row, column = torch.tril_indices(size, size, offset=-1, device="cpu")
        # Where each number of L is among those of its diagonal, those below it, and a zero.
        places = torch.full((size, size), size + len(row), device="cpu")
        places.diagonal().copy_(torch.arange(size))
        places[row, column] = size + torch.arange(len(row), device="cpu")
        self.register_buffer("_places", places.flatten(), persistent=False)

    @staticmethod
    def _numbers(latent_dim: int) -> int:
        return 2 * latent_dim + latent_dim * (latent_dim - 1) // 2

    def forward(self, x: Tensor, y: Tensor | None = None) -> FullNormal:
        size = self.latent_dim
        parameters = self._parameters_for(x, y).to(x.dtype)  # under autocast they come in bfloat16
        mu, logvar, below = parameters[:, :size], parameters[:, size : 2 * size], parameters[:, 2 * size :]
        numbers = torch.cat([(0.5 * logvar).exp(), below, torch.zeros_like(mu[:, :1])], dim=1)
        return FullNormal(mu, numbers.index_select(1, self._places).view(-1, size, size))


class MLPEncoder(Encoder):
    r"""A diagonal normal from a fully connected network.

    Args:
        latent_dim: Size of z.
        image_shape: Shape of an image, (C, H, W).
        hidden: Widths of the hidden layers.
        activation: Module without parameters (default: ReLU).
        num_classes: Number of classes, where the encoder is to see a label.

    Example:
        >>> MLPEncoder(20)(torch.rand(5, 1, 28, 28)).mean.shape
        torch.Size([5, 20])
    """

    def __init__(
        self,
        latent_dim: int,
        image_shape: ImageShape = (1, 28, 28),
        hidden: Sequence[int] = (400,),
        activation: nn.Module | None = None,
        num_classes: int | None = None,
    ) -> None:
        super().__init__()
        self.latent_dim = latent_dim = check_count("latent_dim as an integer of at least 1", latent_dim)
        self.image_shape = check_image_shape(image_shape)
        self.hidden = check_widths("hidden", hidden)
        self.activation = activation
        self.num_classes = num_classes = check_classes(num_classes)
        self.network = MLP(math.prod(self.image_shape), self.hidden, 2 * latent_dim, activation, num_classes)

    def forward(self, x: Tensor, y: Tensor | None = None) -> DiagonalNormal:
        return normal_from(self.network(x.flatten(1), y), x.dtype)


class ConvEncoder(Encoder):
    r"""A diagonal normal from convolutions, each of which halves height and width.

    Args:
        latent_dim: Size of z.
        image_shape: Shape of an image, (C, H, W), at least 8 x 8.
        channels: Output channels of the convolutions.
        activation: Module without parameters (default: ReLU).
        num_classes: Number of classes, where the encoder is to see a label.

    Example:
        >>> ConvEncoder(16, image_shape=(3, 32, 32))(torch.rand(5, 3, 32, 32)).mean.shape
        torch.Size([5, 16])
    """

    def __init__(
        self,
        latent_dim: int,
        image_shape: ImageShape = (1, 28, 28),
        channels: Sequence[int] = (32, 64, 128),
        activation: nn.Module | None = None,
        num_classes: int | None = None,
    ) -> None:
        super().__init__()
        self.latent_dim = latent_dim = check_count("latent_dim as an integer of at least 1", latent_dim)
        self.image_shape = check_image_shape(image_shape)
        self.channels = check_widths("channels", channels, least=1)
        self.activation = activation
        self.num_classes = num_classes = check_classes(num_classes)
        height, width = halvings(self.image_shape, len(self.channels))[-1]
        first, *others = [
            nn.Conv2d(before, after, kernel_size=3, stride=2, padding=1)
            for before, after in pairwise((self.image_shape[0], *self.channels))
        ]
        self.first = Conditioned(first, self.channels[0], num_classes)
        rest: list[nn.Module] = [activation_or_relu(activation)]
        for convolution in others:
            rest += [convolution, activation_or_relu(activation)]
        self.rest = nn.Sequential(*rest, nn.Flatten(), nn.Linear(self.channels[-1] * height * width, 2 * latent_dim))

    def forward(self, x: Tensor, y: Tensor | None = None) -> DiagonalNormal:
        return normal_from(self.rest(self.first(x, y)), x.dtype)


def normal_from(parameters: Tensor, dtype: torch.dtype) -> DiagonalNormal:
    """(B, 2 * latent_dim), means then log-variances, as a distribution, whose maths is done in ``dtype``."""
    mu, logvar = parameters.to(dtype).chunk(2, dim=-1)  # under autocast they come in bfloat16
    return DiagonalNormal(mu, logvar)
