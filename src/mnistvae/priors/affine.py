"""An affine map between codes and codes of mean 0 and standard deviation 1, for priors that start at the latter."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mnistvae._checks import check_instance
from mnistvae.arrays import check_finite
from mnistvae.errors import DataError

__all__ = ["Affine", "AfterAffine"]

#: The smallest standard deviation that codes are divided by: a dimension in which all are the same has none.
_LEAST = 1e-4


class Affine(nn.Module):
    r"""The map from codes to standardised codes, at first the identity.

    .. math:: h = (z - m) / s

    Its constants are saved with the model; a file without them is of a model that had none, and stands for the
    identity.

    Args:
        latent_dim: Size of z.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.register_buffer("shift", torch.zeros(latent_dim))
        self.register_buffer("scale", torch.ones(latent_dim))

    def forward(self, z: Tensor) -> Tensor:
        return (z - self.shift) / self.scale

    @torch.no_grad()
    def fit(self, codes: Tensor) -> None:
        """Set the constants to the mean and the standard deviation of codes.

        Args:
            codes: Codes, (N, latent_dim).

        Raises:
            DataError: If there are fewer than two, their size is another, or a number is not finite.
        """
        size = len(self.shift)
        codes = check_instance("codes as a tensor", codes, Tensor, "torch.as_tensor(...)", DataError)
        if codes.ndim != 2 or codes.shape[1] != size or len(codes) < 2:
            raise DataError(f"two or more codes of shape (N, {size})", f"shape {tuple(codes.shape)}", "one row is one")
        codes = check_finite(codes, "codes").cpu().double()
        self.shift.copy_(codes.mean(0))
        self.scale.copy_(codes.std(0, correction=0).clamp_min(_LEAST))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
        for name, value in (("shift", torch.zeros_like(self.shift)), ("scale", torch.ones_like(self.scale))):
            state_dict.setdefault(f"{prefix}{name}", value)  # of a file that was written before there were any
        super()._load_from_state_dict(state_dict, prefix, *others)


class AfterAffine:
    """A transform of standardised codes as one of codes, as :class:`~mnistvae.distributions.PushForward` takes it.

    Args:
        affine: The map to standardised codes.
        normalize: Map from those to noise, with ``call_and_ladj`` and ``inv``.
    """

    def __init__(self, affine: Affine, normalize: Any) -> None:
        self.affine = affine
        self.normalize = normalize

    def call_and_ladj(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The noise of codes, and the logarithm of the volume that the map takes."""
        noise, log_determinant = self.normalize.call_and_ladj(self.affine(z))
        return noise, log_determinant - self.affine.scale.log().sum()

    def inv(self, noise: Tensor) -> Tensor:
        """The codes of noise."""
        z: Tensor = self.affine.shift + self.affine.scale * self.normalize.inv(noise)
        return z
