"""A normalizing flow as a prior."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mnistvae._checks import check_choice, check_count, check_widths
from mnistvae._zuko import start_as_identity, zuko_flows
from mnistvae.distributions import PushForward, UnitNormal
from mnistvae.priors.affine import Affine, AfterAffine
from mnistvae.priors.base import Encode, Prior

__all__ = ["Flow"]


class Flow(Prior):
    r"""A normalizing flow from the standard normal, by the library zuko.

    .. math:: \log p(z) = \log \mathcal{N}(f(z); 0, I) + \log \left| \det \frac{\partial f}{\partial z} \right|

    It starts as the identity, so p(z) starts as the standard normal. Dinh et al. (2017), "Density estimation using
    Real NVP", equation 2 and, for the couplings, equations 7 and 8; Papamakarios et al. (2017) for MAF;
    Durkan et al. (2019) for NSF. For codes of any place and spread :meth:`standardize` puts an affine map before f.

    Args:
        latent_dim: Size of z; a RealNVP splits it in two, so 2 at least makes sense.
        kind: ``"realnvp"``, affine couplings, fast both ways; ``"maf"``, affine and autoregressive, slow to draw
            from; ``"nsf"``, autoregressive splines, slower still and the most flexible.
        transforms: Number of transforms, one after the other.
        hidden: Widths of the hidden layers of each transform's network.

    Raises:
        ComponentError: If zuko is not installed: ``pip install "mnistvae[flows]"``.
        SettingError: If a size is below 1, or the kind is another word.
    """

    zero: Tensor

    def __init__(
        self,
        latent_dim: int,
        kind: Literal["realnvp", "maf", "nsf"] = "realnvp",
        transforms: int = 8,
        hidden: Sequence[int] = (256, 256),
    ) -> None:
        super().__init__()
        self.latent_dim = latent_dim = check_count("latent_dim as an integer of at least 1", latent_dim)
        self.kind = check_choice("kind", kind, ("realnvp", "maf", "nsf"))
        self.transforms = transforms = check_count("transforms as an integer of at least 1", transforms)
        self.hidden = check_widths("hidden", hidden, least=1)
        self.register_buffer("zero", torch.zeros(self.latent_dim), persistent=False)
        self.affine = Affine(self.latent_dim)
        with zuko_flows() as flows:
            from mnistvae._couplings import couplings

            how: dict[str, Any] = {"transforms": transforms, "hidden_features": self.hidden, "activation": nn.SiLU}
            make = {"maf": flows.MAF, "nsf": flows.NSF}.get(self.kind)
            self.normalize = couplings(latent_dim, **how) if make is None else make(latent_dim, **how).transform
        start_as_identity(self.normalize)

    def forward(self, y: Tensor | None = None, *, encode: Encode | None = None) -> PushForward:
        return PushForward(AfterAffine(self.affine, self.normalize()), UnitNormal(self.zero))

    def standardize(self, codes: Tensor) -> None:
        """Put the affine map before f that gives codes the mean 0 and the standard deviation 1 in each dimension.

        It is part of the prior and of a saved model, and is no parameter: training leaves it as it is.

        Args:
            codes: Codes, (N, latent_dim).

        Raises:
            DataError: If there are fewer than two, their size is another, or a number is not finite.
        """
        self.affine.fit(codes)
