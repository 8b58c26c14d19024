"""Encoders whose codes are vectors of a codebook, one at each place of a grid."""

from __future__ import annotations

import math
import warnings
from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mnistvae._checks import check_count, check_number, check_widths
from mnistvae.arrays import shape_text
from mnistvae.distributions import Quantized
from mnistvae.distributions.tokens import codes_of, nearest
from mnistvae.errors import ComponentError, DataError, SettingError, type_name
from mnistvae.networks.blocks import Conditioned, check_classes
from mnistvae.networks.codebooks import Statistics, averaged, moved, statistics_of
from mnistvae.networks.encoders import Encoder

__all__ = ["FiniteScalarEncoder", "TokenEncoder", "VectorQuantizedEncoder"]


class TokenEncoder(Encoder):
    """Contract of an encoder of tokens: a code is a grid of vectors, each of which is one of a codebook's.

    A subclass calls this constructor, implements :attr:`codebook` and :meth:`quantize`, and keeps its own arguments as
    attributes of the same names. The trunk is a convolutional network that ends at the grid's height and width; a 1 x 1
    convolution makes vectors of its features. A code has the vectors' components first, as channels:
    (code_dim, height, width), flattened.

    An image has one code, for sure, so figures in nats are the bound at one point, and their tag ends in ``-point``.

    Args:
        trunk: Maps images (B, C, H, W) to features (B, channels, height, width).
        codebook_size: K, the number of vectors in the codebook.
        code_dim: D, the size of a vector.
        grid: Height and width of the grid.
        num_classes: Number of classes, where the encoder is to see a label; a learned vector for
            the class is then added to the features' vectors.

    Raises:
        ComponentError: If the trunk is no module.
        SettingError: If a size makes no sense.
    """

    has_density = False

    def __init__(
        self,
        trunk: nn.Module,
        codebook_size: int,
        code_dim: int,
        grid: Sequence[int],
        num_classes: int | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(trunk, nn.Module):
            raise ComponentError("trunk as a torch.nn.Module", type_name(trunk), "pass an instance")
        self.trunk = trunk
        self.codebook_size = check_count("codebook_size as an integer of at least 2", codebook_size, least=2)
        self.code_dim = code_dim = check_count("code_dim as an integer of at least 1", code_dim)
        self.grid = check_widths("grid", grid, least=1)
        if len(self.grid) != 2:
            raise SettingError("grid as a height and a width", repr(grid), "for instance (7, 7)")
        self.num_classes = num_classes = check_classes(num_classes)
        self.latent_dim = code_dim * math.prod(self.grid)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Lazy modules", category=UserWarning)
            convolution = nn.LazyConv2d(code_dim, kernel_size=1)
        self.head = Conditioned(convolution, code_dim, num_classes)

    @property
    @abstractmethod
    def codebook(self) -> Tensor:
        """The vectors that tokens stand for, (codebook_size, code_dim)."""

    @abstractmethod
    def quantize(self, vectors: Tensor) -> Quantized:
        """The posterior of vectors (B, height * width, code_dim) that the network gives."""

    def forward(self, x: Tensor, y: Tensor | None = None) -> Quantized:
        height, width = self.grid
        if height > x.shape[-2] or width > x.shape[-1]:
            expected = f"a grid of at most {x.shape[-2]} x {x.shape[-1]}, as the images are"
            raise ComponentError(expected, f"grid={self.grid}", "take a smaller one")
        features = self.trunk(x)
        on_grid = isinstance(features, Tensor) and features.ndim == 4 and features.shape[2:] == self.grid
        if not on_grid or features.shape[0] != x.shape[0]:
            expected = f"the trunk to return features (B, channels, {height}, {width}), on the grid"
            raise ComponentError(expected, shape_text(features), "end it there, or give another grid")
        vectors: Tensor = self.head(features, y)
        return self.quantize(vectors.to(x.dtype).flatten(2).transpose(1, 2))  # under autocast they come in bfloat16


def _through(code: Tensor, given: Tensor) -> Tensor:
    """A code whose gradient goes to the numbers that it was made of, as it is: the straight-through estimator."""
    code = code.masked_fill(given.isnan(), math.nan)  # no vector is nearest to it
    return code + (given - given.detach()) if given.requires_grad else code  # so it is the code to the bit


class VectorQuantizedEncoder(TokenEncoder):
    r"""The nearest vectors of a learned codebook to features of an image, one at each place of a grid: a VQ-VAE's.

    .. math:: z_i = e_{k_i}, \qquad k_i = \operatorname{argmin}_k \|h_i - e_k\|^2, \qquad h = \text{trunk}(x)

    van den Oord et al. (2017), "Neural discrete representation learning", equations 1 and 2. The gradient of z goes to
    h as it is (the straight-through estimator), and the loss has the commitment cost of equation 3,

    .. math:: \beta \sum_i \|h_i - \operatorname{sg}[e_{k_i}]\|^2,

    a sum over the grid. The codebook has no gradient. It follows the vectors that are nearest to each of its own by
    moving averages of their number and of their sum, in training steps alone (appendix A.1 there), and is the new one
    from the next step on:

    .. math:: N_k \leftarrow \gamma N_k + (1 - \gamma) n_k, \quad m_k \leftarrow \gamma m_k + (1 - \gamma)
        \sum_{i: k_i = k} h_i, \quad e_k = m_k / N_k

    A vector whose N is below a share of the mean of all is dead, and begins anew at a vector drawn from the batch
    (Łańcucki et al., 2020; Dhariwal et al., 2020): so the first batch makes the codebook. In several processes the
    averages, and the draws, are those of the whole batch.

    The history has ``commitment``, the squared distance without its weight, and of each batch the ``usage``, the share
    of the codebook that it uses, and the ``perplexity`` of its tokens. While the network is trained the prior is
    :class:`~mnistvae.priors.UniformTokens`; :func:`mnistvae.fit_prior` with ``kind="tokens"`` then gives the model one
    to draw from.

    Args:
        trunk: Maps images (B, C, H, W) to features (B, channels, height, width).
        codebook_size: K, the number of vectors in the codebook, at least 2.
        code_dim: D, the size of a vector.
        grid: Height and width of the grid.
        num_classes: Number of classes, where the encoder is to see a label.
        commitment: Weight beta of the commitment cost.
        decay: Decay gamma of the averages, from 0 to below 1.
        restart: Share of the mean use below which a vector is dead; 0 for none that begins anew.

    Raises:
        SettingError: If a size or a number makes no sense.
        ComponentError: If the trunk is no module, or ends on another grid.

    Example:
        >>> trunk = nn.Sequential(nn.Conv2d(1, 16, 4, stride=4), nn.ReLU())
        >>> encoder = VectorQuantizedEncoder(trunk, codebook_size=32, code_dim=8, grid=(7, 7))
        >>> prior = mv.priors.UniformTokens(codebook_size=32, grid=(7, 7))
        >>> vae = mv.VAE(8 * 7 * 7, encoder=encoder, prior=prior)
        >>> vae.encode(torch.rand(5, 1, 28, 28)).tokens.shape
        torch.Size([5, 49])
        >>> list(vae.loss(torch.rand(5, 1, 28, 28)).extra)
        ['commitment', 'usage', 'perplexity']
    """

    #: Buffers change in a step: it cannot be compiled as one function.
    changes_buffers = True
    vectors: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(
        self,
        trunk: nn.Module,
        codebook_size: int = 512,
        code_dim: int = 64,
        grid: Sequence[int] = (7, 7),
        num_classes: int | None = None,
        commitment: float = 0.25,
        decay: float = 0.99,
        restart: float = 0.05,
    ) -> None:
        super().__init__(trunk, codebook_size, code_dim, grid, num_classes)
        self.commitment = check_number("a finite commitment of at least 0", commitment)
        self.decay = check_number("decay from 0 to below 1", decay)
        self.restart = check_number("restart as a share from 0 to below 1", restart)
        for name, value in (("decay", self.decay), ("restart", self.restart)):
            if value >= 1:
                raise SettingError(f"{name} from 0 to below 1", str(value))
        self.register_buffer("vectors", torch.randn(self.codebook_size, self.code_dim) / self.code_dim**0.5)
        self.register_buffer("counts", torch.zeros(self.codebook_size))
        self.register_buffer("sums", torch.zeros(self.codebook_size, self.code_dim))

    @property
    def codebook(self) -> Tensor:
        return self.vectors

    def prepare(self, num_images: int | None) -> None:
        """Look if there are training images enough for the codebook, before training starts.

        Raises:
            DataError: If the codebook has more vectors than all images together.
        """
        places = math.prod(self.grid)
        if num_images is not None and self.codebook_size > num_images * places:
            expected = f"at least {self.codebook_size} vectors of images for a codebook of as many"
            fix = "take a smaller codebook_size, or more images"
            raise DataError(expected, f"{num_images} images of {places}", fix)

    def quantize(self, vectors: Tensor) -> Quantized:
        trained = self.training and torch.is_grad_enabled()
        flat = vectors.detach().flatten(0, 1)
        if trained:  # and not after the batch, whose codes are of this codebook as long as anybody asks for them
            self.vectors.copy_(averaged(self._statistics()))
        tokens = nearest(flat, self.vectors).reshape(vectors.shape[:2])
        code = codes_of(tokens, self.vectors)
        if trained:
            batch = statistics_of(flat, tokens.flatten(), self.codebook_size, places=math.prod(self.grid))
            after = moved(self._statistics(), batch, self.decay, self.restart)
            self.counts.copy_(after.counts)
            self.sums.copy_(after.sums)
        given = vectors.transpose(1, 2).flatten(1)
        distance = (given - code).square().sum(-1)
        return Quantized(_through(code, given), tokens, distance, self.codebook_size, self.commitment)

    def _statistics(self) -> Statistics:
        return Statistics(self.vectors, self.counts, self.sums)


class FiniteScalarEncoder(TokenEncoder):
    r"""A few numbers at each place of a grid, each rounded to one of a few levels: finite scalar quantization.

    .. math:: z_{ij} = \frac{2 l_{ij} - (L_j - 1)}{L_j - 1}, \qquad
        l_{ij} = \left\lfloor \tfrac{L_j}{2} (\tanh h_{ij} + 1) \right\rfloor, \qquad h = \text{trunk}(x)

    Mentzer et al. (2024), "Finite scalar quantization: VQ-VAE made simple", section 3.1; here all levels have an equal
    share of the range of tanh, whether their number is even or odd. The codebook is every combination of levels, so
    nothing of it is learned, nothing dies, and there is no cost of commitment. The gradient is that of the straight
    line through the steps.

    The history has the ``usage`` and the ``perplexity`` of each batch's tokens, as that of a
    :class:`VectorQuantizedEncoder`, and priors are the same.

    Args:
        trunk: Maps images (B, C, H, W) to features (B, channels, height, width).
        levels: Number of levels of each component, at least 2; the codebook has their product of vectors.
        grid: Height and width of the grid.
        num_classes: Number of classes, where the encoder is to see a label.

    Raises:
        SettingError: If a size makes no sense.
        ComponentError: If the trunk is no module, or ends on another grid.

    Example:
        >>> trunk = nn.Sequential(nn.Conv2d(1, 16, 4, stride=4), nn.ReLU())
        >>> encoder = FiniteScalarEncoder(trunk, levels=(8, 5, 5), grid=(7, 7))
        >>> encoder.codebook_size, encoder.latent_dim
        (200, 147)
        >>> vae = mv.VAE(147, encoder=encoder, prior=mv.priors.UniformTokens(codebook_size=200, grid=(7, 7)))
        >>> vae.encode(torch.rand(5, 1, 28, 28)).mean.abs().max() <= 1
        tensor(True)
    """

    _levels: Tensor
    _strides: Tensor
    _vectors: Tensor

    def __init__(
        self,
        trunk: nn.Module,
        levels: Sequence[int] = (8, 5, 5, 5),
        grid: Sequence[int] = (7, 7),
        num_classes: int | None = None,
    ) -> None:
        levels = check_widths("levels", levels, least=1)
        if min(levels) < 2:
            raise SettingError("at least 2 levels of each component", f"levels={levels}", "leave it out")
        super().__init__(trunk, math.prod(levels), len(levels), grid, num_classes)
        self.levels = levels
        strides = [math.prod(levels[:number]) for number in range(len(levels))]
        self.register_buffer("_levels", torch.tensor(levels, dtype=torch.get_default_dtype()), persistent=False)
        self.register_buffer("_strides", torch.tensor(strides), persistent=False)
        places = torch.arange(self.codebook_size, device="cpu")[:, None] // torch.tensor(strides, device="cpu")
        steps = torch.tensor(levels, device="cpu")
        vectors = (2 * (places % steps) - (steps - 1)) / (steps - 1)
        self.register_buffer("_vectors", vectors.to(self._levels), persistent=False)

    @property
    def codebook(self) -> Tensor:
        return self._vectors

    def quantize(self, vectors: Tensor) -> Quantized:
        bounded = vectors.tanh()
        places = (
            ((bounded.detach() + 1) * self._levels / 2).floor().nan_to_num(0.0).clamp_min(0.0).minimum(self._levels - 1)
        )
        tokens = (places.long() * self._strides).sum(-1)
        code = codes_of(tokens, self._vectors)
        line = (bounded * self._levels / (self._levels - 1)).transpose(1, 2).flatten(1)
        distance = (line - code).square().sum(-1)
        return Quantized(_through(code, line), tokens, distance, self.codebook_size)
