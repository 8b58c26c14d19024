"""Priors over codes that are made of a codebook's vectors, by their tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mnistvae._checks import check_count, check_widths
from mnistvae.distributions import TokenCodes
from mnistvae.errors import ComponentError, SettingError, type_name
from mnistvae.images import ImageShape
from mnistvae.priors.base import Encode, Prior

__all__ = ["UniformTokens"]


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
    (van den Oord et al., 2017, section 3.2), so it draws nothing that looks like an image: :func:`mnistvae.fit_prior`
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
