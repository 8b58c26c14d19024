"""Priors over codes that are made of a codebook's vectors, by their tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mnistvae._checks import check_count, check_number, check_widths
from mnistvae.distributions import TokenCodes
from mnistvae.distributions.categorical import gumbel_like
from mnistvae.errors import ComponentError, SettingError, type_name
from mnistvae.images import ImageShape
from mnistvae.priors.base import Encode, Prior
from mnistvae.priors.causal import CausalTransformer, Memory

__all__ = ["TokenPrior", "UniformTokens"]


class _OfTokens(Prior):
    """A base of priors over tokens, which the model's encoder makes vectors of.

    A subclass implements ``log_prob_of`` and ``draw_tokens``, see :class:`~mnistvae.distributions.tokens.TokenSource`.
    """

    takes_encoder = True

    def __init__(self, codebook_size: int, grid: Sequence[int]) -> None:
        super().__init__()
        self.codebook_size = check_count("codebook_size as an integer of at least 2", codebook_size, least=2)
        self.grid = check_widths("grid", grid, least=1)
        if len(self.grid) != 2:
            raise SettingError("grid as a height and a width", repr(grid), "for instance (7, 7)")
        self.length = math.prod(self.grid)

    def attach(self, latent_dim: int, image_shape: ImageShape, num_classes: int | None) -> None:
        self.latent_dim = latent_dim

    def log_prob_of(self, tokens: Tensor, temperature: float = 1.0) -> Tensor:
        """Log-probability of rows of tokens (N, length): (N,), in nats."""
        raise NotImplementedError

    def draw_tokens(self, n: int, temperature: float = 1.0) -> Tensor:
        """Rows of tokens, (n, length)."""
        raise NotImplementedError

    def forward(
        self, y: Tensor | None = None, *, encode: Encode | None = None, encoder: nn.Module | None = None
    ) -> TokenCodes:
        """p(z) for the codebook of the model's encoder.

        Raises:
            ComponentError: If the encoder has none, or another number of vectors or places.
        """
        codebook = getattr(encoder, "codebook", None)
        if not isinstance(codebook, Tensor):
            got = "none" if encoder is None else type_name(encoder)
            fix = "call it through the model: model.latent_prior()" if encoder is None else "take a TokenEncoder"
            raise ComponentError(f"the model's encoder of tokens for a {type(self).__name__}", got, fix)
        theirs = (len(codebook), getattr(encoder, "grid", None))
        if theirs != (self.codebook_size, self.grid):
            expected = f"a prior of codebook_size={theirs[0]} and grid={theirs[1]}, as the encoder has"
            raise ComponentError(expected, f"codebook_size={self.codebook_size} and grid={self.grid}")
        return TokenCodes(self, codebook)


class UniformTokens(_OfTokens):
    r"""Tokens that are independent and all alike: the prior of a quantizing encoder while it is trained.

    .. math:: p(k_1, \dots, k_n) = K^{-n}

    The KL divergence of a :class:`~mnistvae.networks.VectorQuantizedEncoder` from it is the constant :math:`n \log K`
    (van den Oord et al., 2017, section 3.1), so it draws nothing that looks like an image: :func:`mnistvae.fit_prior`
    with ``kind="tokens"`` puts a :class:`TokenPrior` in its place.

    Args:
        codebook_size: K, the number of vectors in the encoder's codebook.
        grid: Height and width of the encoder's grid, of n places.

    Raises:
        SettingError: If a size makes no sense.
    """

    zero: Tensor

    def __init__(self, codebook_size: int = 512, grid: Sequence[int] = (7, 7)) -> None:
        super().__init__(codebook_size, grid)
        self.register_buffer("zero", torch.zeros(()), persistent=False)

    def log_prob_of(self, tokens: Tensor, temperature: float = 1.0) -> Tensor:
        return (self.zero - self.length * math.log(self.codebook_size)).expand(tokens.shape[0])

    def draw_tokens(self, n: int, temperature: float = 1.0) -> Tensor:
        return torch.randint(self.codebook_size, (n, self.length), device=self.zero.device)


class TokenPrior(_OfTokens):
    r"""A transformer over the tokens of a grid, in the order of reading: each given those before it.

    .. math:: p(k_1, \dots, k_n) = \prod_{i=1}^{n} p(k_i \mid k_1, \dots, k_{i-1})

    Its density is exact, and a draw takes one step for each token. At first all tokens are alike, as under
    :class:`UniformTokens`. :func:`mnistvae.fit_prior` with ``kind="tokens"`` fits one to the tokens of training images;
    in training it learns with the other parts, and the encoder has no gradient from it. van den Oord et al. (2017),
    section 3.3, with the network of Vaswani et al. (2017), "Attention is all you need", in place of a PixelCNN.

    A temperature divides the logits of each token: below 1 gives more typical images, and 0 the likeliest token each
    time.

    Args:
        codebook_size: K, the number of vectors in the encoder's codebook.
        grid: Height and width of the encoder's grid, of n places.
        width: Width of the transformer's state.
        blocks: Number of its blocks.
        heads: Number of heads of each block's attention, which divides the width.
        dropout: Share of each block's additions that is dropped in training.

    Raises:
        SettingError: If a size makes no sense.

    Example:
        >>> trunk = nn.Sequential(nn.Conv2d(1, 16, 14, stride=14), nn.ReLU())
        >>> encoder = mv.networks.FiniteScalarEncoder(trunk, levels=(5, 5), grid=(2, 2))
        >>> vae = mv.VAE(8, encoder=encoder, prior=TokenPrior(25, grid=(2, 2), width=16, heads=2))
        >>> vae.sample(3).shape, round(vae.loss(torch.rand(1, 1, 28, 28)).kl.item(), 4)  # 4 log 25
        (torch.Size([3, 1, 28, 28]), 12.8755)
    """

    def __init__(
        self,
        codebook_size: int = 512,
        grid: Sequence[int] = (7, 7),
        width: int = 128,
        blocks: int = 2,
        heads: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(codebook_size, grid)
        self.width = width = check_count("width as an integer of at least 1", width)
        self.blocks = blocks = check_count("blocks as an integer of at least 1", blocks)
        self.heads = heads = check_count("heads as an integer of at least 1", heads)
        if width % heads:
            raise SettingError("a width that the heads divide", f"width={width} and heads={heads}", "such as 128 and 4")
        self.dropout = check_number("dropout from 0 to below 1", dropout)
        if self.dropout >= 1:
            raise SettingError("dropout from 0 to below 1", str(dropout))
        self.network = CausalTransformer(self.codebook_size, self.length, width, blocks, heads, self.dropout)

    def log_prob_of(self, tokens: Tensor, temperature: float = 1.0) -> Tensor:
        log_p = _cooled(self.network(tokens), temperature)
        return log_p.gather(-1, tokens.unsqueeze(-1)).squeeze(-1).sum(-1)

    def draw_tokens(self, n: int, temperature: float = 1.0) -> Tensor:
        drawn = torch.zeros(n, self.length, dtype=torch.long, device=self.network.start.device)
        memory: list[Memory] = []
        for place in range(self.length):
            logits, memory = self.network.step(place, drawn[:, place - 1], memory)
            scores = _cooled(logits, temperature)
            drawn[:, place] = (scores + gumbel_like(scores.shape, scores)).argmax(-1)
        return drawn


def _cooled(logits: Tensor, temperature: float) -> Tensor:
    """Log-probabilities at a temperature; at 0 those of the likeliest alone, which are alike."""
    if temperature == 0:
        logits = torch.zeros_like(logits).masked_fill(logits < logits.amax(-1, keepdim=True), -math.inf)
    elif temperature != 1:
        logits = logits / temperature
    return logits.log_softmax(-1)
