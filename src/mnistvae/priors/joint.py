"""A prior of its own for each block of a code."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn
from torch.distributions import Distribution

from mnistvae import distributions
from mnistvae.errors import ComponentError, type_name
from mnistvae.images import ImageShape
from mnistvae.priors.base import Encode, Prior, prior_of

__all__ = ["Joint"]


class Joint(Prior):
    r"""A prior of its own for each block of a code, such as a normal and categorical variables.

    .. math:: p(z) = \prod_b p_b(z_b), \qquad z = (z_1, z_2, \dots)

    It goes with a :class:`~mnistvae.networks.JointEncoder` of as many blocks, of the same sizes. The KL divergence is
    the sum of the blocks', each in closed form where there is one. Dupont (2018), "Learning disentangled joint
    continuous and discrete representations".

    Args:
        priors: The priors of the blocks. Of one that takes its size from a model, as a
            :class:`~mnistvae.priors.VampPrior`, the size is what the others leave.

    Raises:
        ComponentError: If there is none, one is no prior or comes twice, or two leave their size to the model.

    Example:
        >>> prior = Joint([mv.priors.StandardNormal(4), mv.priors.UniformCategorical(variables=1, classes=10)])
        >>> prior.latent_dim, prior().sample((3,)).shape
        (14, torch.Size([3, 14]))
    """

    def __init__(self, priors: Iterable[Prior]) -> None:
        super().__init__()
        listed = list(priors) if isinstance(priors, Iterable) else []
        if not listed:
            fix = "[StandardNormal(4), UniformCategorical(1, 10)]"
            raise ComponentError("priors as a list of at least one", type_name(priors), fix)
        for number, prior in enumerate(listed):
            if not isinstance(prior, Prior):
                raise ComponentError(f"priors[{number}] as a mnistvae Prior", type_name(prior), "pass an instance")
        if len(set(map(id, listed))) < len(listed):
            raise ComponentError("priors with parameters of their own", "one of them twice", "make each anew")
        self.priors = nn.ModuleList(listed)
        open_ones = [prior for prior in listed if not hasattr(prior, "latent_dim")]
        if len(open_ones) > 1:
            raise ComponentError("at most one prior that takes its size from the model", f"{len(open_ones)}")
        if not open_ones:
            self.latent_dim = sum(prior.latent_dim for prior in listed)
        self.takes_encoder = any(prior.takes_encoder for prior in listed)

    def attach(self, latent_dim: int, image_shape: ImageShape, num_classes: int | None) -> None:
        known = [getattr(prior, "latent_dim", 0) for prior in self.priors]
        rest = latent_dim - sum(known)
        if 0 in known and rest < 1:
            expected = f"a code of more than {sum(known)} dimensions, which is what the other blocks take"
            raise ComponentError(expected, f"latent_dim={latent_dim}", "leave a block for each prior")
        for prior, size in zip(self.priors, known, strict=True):
            prior.attach_once(size or rest, image_shape, num_classes)  # type: ignore[operator]
        self.latent_dim = sum(known) + (rest if 0 in known else 0)

    def forward(
        self, y: Tensor | None = None, *, encode: Encode | None = None, encoder: nn.Module | None = None
    ) -> distributions.Joint:
        encoders = list(getattr(encoder, "encoders", [None] * len(self.priors)))  # those of the blocks
        if len(encoders) != len(self.priors):
            expected = f"a joint encoder of {len(self.priors)} blocks, as the prior has"
            raise ComponentError(expected, f"one of {len(encoders)}", "give each prior's block an encoder")
        parts = enumerate(zip(self.priors, encoders, strict=True))
        return distributions.Joint(
            [prior_of(prior, y, _of_block(encode, number), own) for number, (prior, own) in parts]  # type: ignore[arg-type]
        )


def _of_block(encode: Encode | None, number: int) -> Encode | None:
    """The encoder of one block."""
    if encode is None:
        return None

    def encode_block(x: Tensor, y: Tensor | None = None) -> Distribution:
        whole = encode(x, y)
        if isinstance(whole, distributions.Joint) and len(whole.parts) > number:
            return whole.parts[number]
        got = f"{len(whole.parts)} blocks" if isinstance(whole, distributions.Joint) else type_name(whole)
        fix = "take a JointEncoder with an encoder for each prior"
        raise ComponentError(f"a posterior of at least {number + 1} blocks, for a joint prior", got, fix)

    return encode_block
