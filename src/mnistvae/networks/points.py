"""An encoder without noise, which makes a plain autoencoder of a model."""

from __future__ import annotations

from torch import Tensor

from mnistvae.distributions import Point
from mnistvae.networks.encoders import _OnFeatures

__all__ = ["PointEncoder"]


class PointEncoder(_OnFeatures):
    r"""One code for each image, without noise, on the features of any module: the encoder of a plain autoencoder.

    .. math:: q(z \mid x) = \delta(z - c(h)), \qquad h = \text{trunk}(x)

    The KL term of such a :class:`~mnistvae.distributions.Point` is :math:`-\log p(c)`, without an infinite constant. So
    ``ELBO(beta=0)`` trains a plain autoencoder, and another beta with the standard normal adds a constant and
    :math:`\tfrac{\beta}{2} \|c\|^2`: the regularised autoencoder of Ghosh et al. (2020), section 3, whose penalties on
    the decoder are a :class:`~mnistvae.objectives.DecoderPenalty`. What makes it generative is a prior that is fitted
    to its codes after training, :func:`mnistvae.fit_prior`.

    Figures in nats of such a model are no likelihoods, nor bounds: their tag ends in ``-point``, and there is no
    importance-sampled log-likelihood. A :class:`~mnistvae.priors.VampPrior`, which would be a mixture of points, is
    refused.

    Args:
        trunk: Maps images (B, C, H, W) to features (B, ...), which are flattened.
        latent_dim: Size of z.
        num_classes: Number of classes, where the encoder is to see a label; a learned vector for
            the class is then added to the code.

    Example:
        >>> encoder = PointEncoder(nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU()), latent_dim=2)
        >>> posterior = mv.VAE(latent_dim=2, encoder=encoder).encode(torch.rand(5, 1, 28, 28))
        >>> torch.equal(posterior.rsample(), posterior.mean)
        True
    """

    has_density = False

    @staticmethod
    def _numbers(latent_dim: int) -> int:
        return latent_dim

    def forward(self, x: Tensor, y: Tensor | None = None) -> Point:
        return Point(self._parameters_for(x, y).to(x.dtype))  # under autocast they come in bfloat16
