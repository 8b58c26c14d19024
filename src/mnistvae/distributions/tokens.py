"""Codes on a grid whose vectors come from a codebook: one of them for sure, and all of them by their tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.kl import register_kl

from mnistvae._checks import check_number
from mnistvae.distributions.operations import TEMPERATURE, tempered
from mnistvae.distributions.points import Point
from mnistvae.losses import OwnTerms, own_terms

__all__ = ["Quantized", "TokenCodes", "TokenSource", "codes_of", "nearest", "tokens_of"]

#: Codes that are drawn, or looked up, at once.
_AT_ONCE = 1024


class FromCodebook(constraints.Constraint):
    """The codes that are made of so many vectors of a codebook."""

    is_discrete = True
    event_dim = 1

    def __init__(self, length: int, size: int) -> None:
        self.length = length
        self.size = size
        super().__init__()

    def __repr__(self) -> str:
        return f"{self.length} vectors of a codebook of {self.size}"

    def check(self, value: Tensor) -> Tensor:
        """True for all: it takes the codebook to tell."""
        return torch.ones(value.shape[:-1], dtype=torch.bool, device=value.device)


class TokenSource(Protocol):
    """A distribution over rows of tokens, numbers from 0 to ``codebook_size`` - 1, as a prior of codes needs it."""

    codebook_size: int
    #: Tokens of a code.
    length: int

    def log_prob_of(self, tokens: Tensor, temperature: float = 1.0) -> Tensor:
        """Log-probability of rows of tokens (N, length): (N,), in nats."""

    def draw_tokens(self, n: int, temperature: float = 1.0) -> Tensor:
        """Rows of tokens, (n, length)."""


def nearest(vectors: Tensor, codebook: Tensor) -> Tensor:
    r"""The numbers of the codebook's vectors that are nearest, (N,).

    .. math:: k_n = \operatorname{argmin}_k \|v_n - e_k\|^2

    Args:
        vectors: v, (N, D).
        codebook: e, (K, D).

    Example:
        >>> nearest(torch.tensor([[0.9], [-2.0]]), torch.tensor([[-1.0], [0.0], [1.0]]))
        tensor([2, 0])
    """
    with torch.no_grad(), torch.autocast(vectors.device.type, enabled=False):  # bfloat16 takes one for another
        product = vectors @ codebook.T
        return (codebook.square().sum(-1) - 2 * product).argmin(-1)


def codes_of(tokens: Tensor, codebook: Tensor) -> Tensor:
    """Codes of rows of tokens (N, length), by the vectors (K, D) that they stand for: (N, D * length).

    A code is a grid of vectors with its channels first, as convolutions have it.
    """
    return codebook[tokens].transpose(1, 2).flatten(1)


def tokens_of(codes: Tensor, codebook: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens of codes (N, D * length), (N, length), and whether the code is made of these vectors alone, (N,)."""
    size = codebook.shape[1]
    vectors = codes.reshape(codes.shape[0], size, -1).transpose(1, 2)
    rows = torch.split(vectors.reshape(-1, size), _AT_ONCE * max(1, vectors.shape[1]))
    tokens = torch.cat([nearest(some, codebook) for some in rows]).reshape(vectors.shape[:2])
    return tokens, (codebook[tokens] == vectors).flatten(1).all(-1)


class Quantized(Point):
    r"""A distribution that is all at one code, which is made of vectors of a codebook: the posterior of a quantizer.

    .. math:: q(z) = 1 \text{ for } z = (e_{k_1}, \dots, e_{k_n}), \text{ else } 0

    The KL divergence from a prior over tokens is :math:`-\log p(k_1, \dots, k_n)`. It has a cost of its own: a weight
    times the squared distance of the encoder's vectors from those of the codebook, the commitment loss of van den Oord
    et al. (2017), equation 3.

    Args:
        code: The code, (B, D * n), with the gradient that training is to have.
        tokens: Its tokens k, (B, n), integers.
        distance: Squared distance of the encoder's vectors from the code's, (B,).
        codebook_size: K, the number of vectors in the codebook.
        commitment: Weight of the distance in the loss.

    Example:
        >>> code = torch.tensor([[3.0, 4.0]])
        >>> q = Quantized(code, torch.tensor([[1, 0]]), torch.ones(1), codebook_size=2)
        >>> q.mean, q.variance, q.log_prob(q.rsample()), q.log_prob(code + 1)
        (tensor([[3., 4.]]), tensor([[0., 0.]]), tensor([0.]), tensor([-inf]))
    """

    def __init__(
        self, code: Tensor, tokens: Tensor, distance: Tensor, codebook_size: int, commitment: float = 0.0
    ) -> None:
        self.tokens = tokens
        self.distance = distance
        self.codebook_size = codebook_size
        self.commitment = commitment
        super().__init__(code)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(batch {tuple(self.batch_shape)}, {self.support})"

    def expand(self, batch_shape: Any, _instance: Any = None) -> Quantized:
        code, tokens = (t.expand(*batch_shape, t.shape[-1]) for t in (self.point, self.tokens))
        return Quantized(code, tokens, self.distance.expand(batch_shape), self.codebook_size, self.commitment)

    @property
    def support(self) -> constraints.Constraint:  # type: ignore[override]  # of each its own
        """Codes that are made of the codebook's vectors."""
        return FromCodebook(self.tokens.shape[-1], self.codebook_size)

    def entropy(self) -> Tensor:
        """Zero, (...)."""
        return torch.zeros_like(self.distance)


class TokenCodes(Distribution):
    r"""The distribution of codes on a grid whose tokens have a distribution: batch (), event (D * n,).

    .. math:: p(z) = p(k_1, \dots, k_n) \text{ for } z = (e_{k_1}, \dots, e_{k_n}), \text{ else } 0

    Args:
        source: The distribution of the tokens, as a :class:`~mnistvae.priors.TokenPrior` is one.
        codebook: The vectors e that they stand for, (K, D).
        temperature: Temperature at which tokens are drawn.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (torch's own way)

    def __init__(self, source: TokenSource, codebook: Tensor, temperature: float = 1.0) -> None:
        self.source = source
        self.codebook = codebook
        self.temperature = temperature
        super().__init__(Size(), Size([source.length * codebook.shape[1]]), validate_args=False)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.support})"

    @property
    def support(self) -> constraints.Constraint:
        """Codes that are made of the codebook's vectors."""
        return FromCodebook(self.source.length, len(self.codebook))

    def expand(self, batch_shape: Any, _instance: Any = None) -> Distribution:
        if Size(batch_shape):
            raise NotImplementedError("there is one distribution of tokens for all images")
        return self

    def log_prob(self, value: Tensor) -> Tensor:
        tokens, exact = tokens_of(value.reshape(-1, value.shape[-1]), self.codebook)
        log_p = self.source.log_prob_of(tokens, self.temperature)
        return log_p.masked_fill(exact.logical_not(), -math.inf).reshape(value.shape[:-1])

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(Size(sample_shape))
        left = Size(sample_shape).numel()
        sizes = [min(_AT_ONCE, left - start) for start in range(0, left, _AT_ONCE)]
        drawn = [self.source.draw_tokens(n, self.temperature) for n in sizes]
        return torch.cat([codes_of(some, self.codebook) for some in drawn]).reshape(shape)


def usage_of(tokens: Tensor, size: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    r"""The share of a codebook that tokens use, and the perplexity of their frequencies, from 1 to ``size``.

    .. math:: \exp\left(-\sum_k f_k \log f_k\right), \qquad f_k = \frac{n_k}{\sum_j n_j}
    """
    flat = tokens.flatten()
    counts = torch.zeros(size, dtype=torch.float32, device=flat.device).index_add(
        0, flat, torch.ones_like(flat).float()
    )
    share = counts / counts.sum().clamp_min(1.0)
    return (counts > 0).to(dtype).mean(), (-torch.xlogy(share, share).sum()).exp().to(dtype)


@own_terms.register
def _(q: Quantized) -> OwnTerms:
    usage, perplexity = usage_of(q.tokens, q.codebook_size, q.point.dtype)
    told = {"usage": usage.expand_as(q.distance), "perplexity": perplexity.expand_as(q.distance)}
    if q.commitment:
        told = {"commitment": q.distance, **told}
    return OwnTerms(q.commitment * q.distance, told)


def _kl_tokens(q: Quantized, p: TokenCodes) -> Tensor:
    return -p.source.log_prob_of(q.tokens, p.temperature)


register_kl(Quantized, TokenCodes)(_kl_tokens)  # type: ignore[no-untyped-call]


@tempered.register
def _(distribution: TokenCodes, temperature: float | Sequence[float]) -> TokenCodes:
    factor = distribution.temperature * check_number(TEMPERATURE, temperature)
    return TokenCodes(distribution.source, distribution.codebook, factor)
