"""Categorical variables as one-hot blocks of a code, with draws that can be relaxed to have a gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.kl import register_kl

from mnistvae._random import batch_noise
from mnistvae.distributions.noise import from_noise

__all__ = ["OneHotCategoricals", "gumbel_like"]


class OneHotBlocks(constraints.Constraint):
    """The codes that are so many one-hot blocks."""

    is_discrete = True
    event_dim = 1

    def __init__(self, variables: int, classes: int) -> None:
        self.variables = variables
        self.classes = classes
        super().__init__()

    def __repr__(self) -> str:
        return f"one-hot blocks, {self.variables} of {self.classes} classes"

    def check(self, value: Tensor) -> Tensor:
        blocks = value.reshape(*value.shape[:-1], self.variables, self.classes)
        one_hot: Tensor = ((blocks == 0) | (blocks == 1)).all(-1) & (blocks.sum(-1) == 1)
        return one_hot.all(-1)


class OneHotCategoricals(Distribution):
    r"""Independent categorical variables, each of which is a one-hot block of the code.

    .. math:: q(z) = \prod_{v=1}^{V} \prod_{k=1}^{K} \pi_{vk}^{z_{vk}}, \qquad
        z_v \in \{0, 1\}^K, \quad \textstyle\sum_k z_{vk} = 1

    ``sample`` gives such codes. At a temperature, ``rsample`` gives relaxed ones, whose blocks are positive and sum to
    1, with a gradient: draws from the Concrete, or Gumbel-softmax, distribution. The lower the temperature, the nearer
    they come to one-hot codes, and the more noise the gradient has.

    .. math:: z_v = \operatorname{softmax}\left(\frac{\log \pi_v + g_v}{\tau}\right), \qquad
        g_{vk} \sim \text{Gumbel}(0, 1)

    Maddison et al. (2017), section 3; Jang et al. (2017), equation 2. The same noise gives the one-hot code of the
    block's largest number. Of a relaxed code ``log_prob`` is :math:`\sum_{vk} z_{vk} \log \pi_{vk}`, which is linear
    between the one-hot codes, and not the density of the relaxation.

    Args:
        logits: Logarithms of the probabilities, up to a constant in each block, (..., V, K).
        temperature: The temperature tau, a tensor without dimensions; None where no draw has to have a gradient.
        hard: Whether the draws of ``rsample`` are one-hot, with the gradient of the relaxed ones (the straight-through
            estimator, Jang et al., 2017, section 2.2).

    Example:
        >>> q = OneHotCategoricals(torch.zeros(5, 3, 10), torch.tensor(0.5))  # 3 variables of 10 classes
        >>> z = q.rsample()
        >>> z.shape, torch.allclose(z.unflatten(-1, (3, 10)).sum(-1), torch.ones(5, 3))
        (torch.Size([5, 30]), True)
        >>> q.sample().unique(), round(q.entropy()[0].item(), 4)  # 3 log 10
        (tensor([0., 1.]), 6.9078)
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (torch's own way)

    def __init__(self, logits: Tensor, temperature: Tensor | None = None, hard: bool = False) -> None:
        self.logits = logits
        self.temperature = temperature
        self.hard = hard
        self.has_rsample = temperature is not None
        super().__init__(logits.shape[:-2], Size([logits.shape[-2] * logits.shape[-1]]), validate_args=False)

    def __repr__(self) -> str:
        variables, classes = self.logits.shape[-2:]
        return f"{type(self).__name__}(batch {tuple(self.batch_shape)}, {variables} of {classes} classes)"

    def expand(self, batch_shape: Any, _instance: Any = None) -> OneHotCategoricals:
        logits = self.logits.expand(*batch_shape, *self.logits.shape[-2:])
        return OneHotCategoricals(logits, self.temperature, self.hard)

    @property
    def support(self) -> constraints.Constraint:
        """One-hot codes."""
        return OneHotBlocks(*self.logits.shape[-2:])

    @property
    def log_probs(self) -> Tensor:
        """Logarithms of the probabilities, (..., V, K)."""
        return self.logits.log_softmax(-1)

    @property
    def mean(self) -> Tensor:
        """The probabilities, (..., latent_dim)."""
        return self.logits.softmax(-1).flatten(-2)

    @property
    def mode(self) -> Tensor:
        """The one-hot code of the most likely classes, (..., latent_dim)."""
        return _one_hot(self.logits).flatten(-2)

    @property
    def variance(self) -> Tensor:
        return self.mean * (1 - self.mean)

    def entropy(self) -> Tensor:
        """The entropy of all variables together, (...), in nats."""
        return -(self.logits.softmax(-1) * self.log_probs).sum((-2, -1))

    def log_prob(self, value: Tensor) -> Tensor:
        return (self._blocks(value) * self.log_probs).sum((-2, -1))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draws with a gradient, (..., latent_dim): relaxed, or one-hot with the gradient of the relaxed ones."""
        if self.temperature is None:
            raise NotImplementedError("without a temperature no draw has a gradient")
        moved = self._with_noise(sample_shape)
        relaxed = (moved / self.temperature).softmax(-1).to(self.logits.dtype)
        z = _one_hot(moved).to(relaxed.dtype) + (relaxed - relaxed.detach()) if self.hard else relaxed
        return z.flatten(-2)

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        """One-hot codes, (..., latent_dim)."""
        return _one_hot(self._with_noise(sample_shape)).to(self.logits.dtype).flatten(-2)

    def _with_noise(self, sample_shape: Any) -> Tensor:
        """Log-probabilities with Gumbel noise, whose largest is that of each class as often as it is likely."""
        shape = self._extended_shape(Size(sample_shape))
        noise = gumbel_like(shape, self.logits)
        return self.log_probs.to(noise.dtype) + self._blocks(noise)

    def _blocks(self, value: Tensor) -> Tensor:
        """A code (..., latent_dim) as blocks, (..., V, K)."""
        return value.reshape(*value.shape[:-1], *self.logits.shape[-2:])


def gumbel_like(shape: Size, like: Tensor) -> Tensor:
    """Standard Gumbel noise (..., B, D) for a batch, on the device of a tensor and in its dtype, or in float32.

    In half precision there are 256 numbers between 1/2 and 1, too few for rare classes.
    """
    dtype = torch.promote_types(like.dtype, torch.float32)
    uniform = batch_noise(shape, dtype, like.device, torch.rand)
    return -(-uniform.clamp_min(torch.finfo(dtype).tiny).log()).log()


def _one_hot(scores: Tensor) -> Tensor:
    """Ones in place of the largest number of each block, (..., V, K)."""
    return torch.zeros_like(scores).scatter(-1, scores.argmax(-1, keepdim=True), 1.0)


def _kl_categoricals(q: OneHotCategoricals, p: OneHotCategoricals) -> Tensor:
    log_q = q.log_probs
    return (log_q.exp() * (log_q - p.log_probs)).sum((-2, -1))


register_kl(OneHotCategoricals, OneHotCategoricals)(_kl_categoricals)  # type: ignore[no-untyped-call]


@from_noise.register
def _(distribution: OneHotCategoricals, noise: Tensor, _: Tensor | None = None) -> Tensor:
    blocks = noise.reshape(*noise.shape[:-1], *distribution.logits.shape[-2:])
    gumbel = -(-torch.special.log_ndtr(blocks)).log()
    return _one_hot(distribution.log_probs + gumbel).to(noise.dtype).flatten(-2)
