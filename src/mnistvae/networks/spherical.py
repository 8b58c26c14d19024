"""An encoder whose codes are on the unit sphere."""

from __future__ import annotations

from torch import Tensor, nn

from mnistvae._checks import check_count
from mnistvae.distributions import VonMisesFisher, unit_vectors
from mnistvae.networks.encoders import _OnFeatures

__all__ = ["VonMisesFisherEncoder"]


class VonMisesFisherEncoder(_OnFeatures):
    r"""A von Mises-Fisher distribution on the features of any module, for codes on the unit sphere.

    .. math:: q(z \mid x) = \operatorname{vMF}\left(\frac{a(h)}{\|a(h)\|}, \; 1 + \log(1 + e^{b(h)})\right), \qquad
        h = \text{trunk}(x)

    It goes with the prior :class:`~mnistvae.priors.UniformSphere`, or a VampPrior, which is then on the sphere too.
    Davidson et al. (2018), "Hyperspherical variational auto-encoders"; that kappa is at least 1 is their code's choice.

    Args:
        trunk: Maps images (B, C, H, W) to features (B, ...), which are flattened.
        latent_dim: Size of z, at least 2; the sphere has one dimension less.
        num_classes: Number of classes, where the encoder is to see a label; a learned vector for
            the class is then added to the parameters.

    Raises:
        SettingError: If the size is below 2.

    Example:
        >>> trunk = nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU())
        >>> encoder, prior = VonMisesFisherEncoder(trunk, latent_dim=3), mv.priors.UniformSphere(3)
        >>> vae = mv.VAE(3, encoder=encoder, prior=prior)
        >>> bool(vae.support.check(vae.encode(torch.rand(2, 1, 28, 28)).sample()).all())
        True
    """

    def __init__(self, trunk: nn.Module, latent_dim: int, num_classes: int | None = None) -> None:
        latent_dim = check_count("latent_dim as an integer of at least 2, for a sphere", latent_dim, least=2)
        super().__init__(trunk, latent_dim, num_classes)

    @staticmethod
    def _numbers(latent_dim: int) -> int:
        return latent_dim + 1

    def forward(self, x: Tensor, y: Tensor | None = None) -> VonMisesFisher:
        parameters = self._parameters_for(x, y).to(x.dtype)  # under autocast they come in bfloat16
        direction, concentration = parameters[:, :-1], parameters[:, -1]
        return VonMisesFisher(unit_vectors(direction), nn.functional.softplus(concentration) + 1)
