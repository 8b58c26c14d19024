"""The distribution of an invertible map's output."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.distributions import Distribution, constraints

from mnistvae.distributions.normals import DiagonalNormal

__all__ = ["PushForward"]


class PushForward(Distribution):
    r"""The distribution of an invertible map's output: a normalizing flow.

    .. math:: \log p(z) = \log p_0(f(z)) + \log \left| \det \frac{\partial f}{\partial z} \right|

    Args:
        normalize: f, from codes to the base, as zuko's transforms have it: a
            ``torch.distributions.Transform`` with ``call_and_ladj``.
        base: :math:`p_0`, event shape (latent_dim,).
    """

    has_rsample = True
    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (torch's own way)
    support = constraints.real_vector

    def __init__(self, normalize: Any, base: DiagonalNormal) -> None:
        self.normalize = normalize
        self.base = base
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base {self.base})"

    def expand(self, batch_shape: Any, _instance: Any = None) -> PushForward:
        return PushForward(self.normalize, self.base.expand(batch_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        noise, log_determinant = self.normalize.call_and_ladj(value)
        log_p: Tensor = self.base.log_prob(noise) + log_determinant
        return log_p

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        z: Tensor = self.normalize.inv(self.base.rsample(sample_shape))
        return z
