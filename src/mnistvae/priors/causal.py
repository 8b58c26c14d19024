"""A causal transformer over rows of tokens: each token given those before it."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["CausalTransformer", "Memory"]

#: Keys and values of the places so far, (N, heads, places, width / heads) each, of one block.
Memory: TypeAlias = tuple[Tensor, Tensor]


class _Block(nn.Module):
    """Attention to the places before, and two linear layers; each is added to its input.

    Args:
        width: Width of the state.
        heads: Number of heads.
        dropout: Share of each addition that is dropped in training.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.first = nn.LayerNorm(width)
        self.attention = nn.Linear(width, 3 * width)
        self.joined = nn.Linear(width, width)
        self.second = nn.LayerNorm(width)
        self.network = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, memory: Memory | None = None) -> tuple[Tensor, Memory]:
        """The next state of places (N, n, width), and the keys and values of these and of the places before.

        Args:
            x: State; with a memory, of one place.
            memory: Keys and values of the places before; None where x is all there is.
        """
        n, places, width = x.shape
        parts = self.attention(self.first(x)).reshape(n, places, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        if memory is not None:
            key, value = (torch.cat([old, new], 2) for old, new in zip(memory, (key, value), strict=True))
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=memory is None)
        x = x + self.drop(self.joined(mixed.transpose(1, 2).reshape(n, places, width)))
        return x + self.drop(self.network(self.second(x))), (key, value)


class CausalTransformer(nn.Module):
    """Logits of each token of a row given those before it; all alike at first.

    Args:
        size: Number of different tokens.
        length: Tokens of a row.
        width: Width of the state.
        blocks: Number of blocks.
        heads: Number of heads of each block's attention.
        dropout: Share of each addition that is dropped in training.
    """

    def __init__(self, size: int, length: int, width: int, blocks: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.start = nn.Parameter(0.02 * torch.randn(width))
        self.tokens = nn.Embedding(size, width)
        self.places = nn.Parameter(0.02 * torch.randn(length, width))
        self.blocks = nn.ModuleList(_Block(width, heads, dropout) for _ in range(blocks))
        self.last = nn.LayerNorm(width)
        self.out = nn.Linear(width, size)
        with torch.no_grad():
            self.tokens.weight.mul_(0.02)
            self.out.weight.zero_()
            self.out.bias.zero_()

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (N, length, size) of rows of tokens (N, length)."""
        before = self.tokens(tokens[:, :-1])
        x = torch.cat([self.start.expand(len(tokens), 1, -1), before], 1) + self.places
        for block in self.blocks:
            x, _ = block(x)
        logits: Tensor = self.out(self.last(x))
        return logits.to(self.start.dtype)  # under autocast they come in bfloat16

    def step(self, place: int, before: Tensor, memory: list[Memory]) -> tuple[Tensor, list[Memory]]:
        """Logits (N, size) of the tokens at a place, and the memory for the next one.

        Args:
            place: Number of the place, from 0.
            before: Tokens at the place before, (N,); at the first place they are not looked at.
            memory: Memory of the places before, of each block; empty at the first.
        """
        x = (self.tokens(before) if place else self.start.expand(len(before), -1))[:, None] + self.places[place]
        kept = []
        for number, block in enumerate(self.blocks):
            x, one = block(x, memory[number] if place else None)
            kept.append(one)
        logits: Tensor = self.out(self.last(x))[:, 0]
        return logits.to(self.start.dtype), kept
