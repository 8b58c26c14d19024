"""An objective with a price on the decoder's weights, or on how fast its images change with the code."""

from __future__ import annotations

from torch import Tensor, nn

from mnistvae._checks import check_number
from mnistvae._random import batch_noise
from mnistvae.errors import ComponentError, type_name
from mnistvae.losses import squared_jacobian
from mnistvae.objectives.around import Around, terms_and_posterior, with_term
from mnistvae.objectives.base import LatentVariableModel, Objective, Terms

__all__ = ["DecoderPenalty"]


class DecoderPenalty(Around):
    r"""Another objective, and a price on the decoder: on its weights, on its gradient in the code, or on both.

    .. math:: \mathcal{L}(x) + \lambda_w \|\theta\|^2
        + \lambda_g \left\| \frac{\partial \hat x_\theta(z)}{\partial z} \right\|_F^2

    Here :math:`\theta` are the decoder's parameters, :math:`\hat x_\theta(z)` is the mean of p(x | z), and z is a code
    of the image. Either keeps the decoder smooth where no noise in the code does: with a
    :class:`~mnistvae.networks.PointEncoder`, :class:`ELBO(beta) <mnistvae.objectives.ELBO>` and a prior that is fitted
    afterwards (:func:`mnistvae.fit_prior`), they are RAE-L2 and RAE-GP of Ghosh et al. (2020), section 3.

    The second is an estimate without bias, by one direction an image (:func:`mnistvae.losses.squared_jacobian`): the
    whole matrix would take as many passes as the code has dimensions, and this takes one. Both are in the history, as
    ``decoder_weights`` and ``decoder_gradient``, without their weights; they are no nats. They are part of the loss in
    evaluation mode, too; ``reconstruction`` and ``kl`` are without them. A penalty whose weight is 0 is left out.

    Args:
        objective: The other objective (default: :class:`~mnistvae.objectives.ELBO`).
        weights: :math:`\lambda_w`, at least 0.
        gradient: :math:`\lambda_g`, at least 0.

    Raises:
        SettingError: If a number is negative or infinite.
        ComponentError: If the objective is none.

    Example:
        >>> vae = mv.VAE(latent_dim=2, objective=DecoderPenalty(weights=1e-3, gradient=0.1))
        >>> terms = vae.loss(torch.rand(5, 1, 28, 28))
        >>> penalties = 1e-3 * terms.extra["decoder_weights"] + 0.1 * terms.extra["decoder_gradient"]
        >>> torch.allclose(terms.loss, terms.reconstruction + terms.kl + penalties)
        True
    """

    def __init__(self, objective: Objective | None = None, weights: float = 0.0, gradient: float = 0.0) -> None:
        super().__init__(objective)
        self.weights = check_number("weights as a finite number of at least 0", weights)
        self.gradient = check_number("gradient as a finite number of at least 0", gradient)

    def forward(self, model: LatentVariableModel, x: Tensor, y: Tensor | None = None) -> Terms:
        terms, posterior = terms_and_posterior(self.objective, model, x, y)
        if self.weights:
            squares = [weight.square().sum() for weight in _decoder_of(model).parameters()]
            terms = with_term(terms, "decoder_weights", sum(squares, x.new_zeros(x.shape[0])), self.weights)
        if self.gradient:
            z = posterior.rsample()
            direction = batch_noise(z.shape, z.dtype, z.device)
            slope = squared_jacobian(lambda codes: model.decode(codes, y).mean, z, direction)
            terms = with_term(terms, "decoder_gradient", slope, self.gradient)
        return terms


def _decoder_of(model: LatentVariableModel) -> nn.Module:
    decoder = getattr(model, "decoder", None)
    if not isinstance(decoder, nn.Module):
        raise ComponentError("a model with a decoder that is a module", type_name(decoder), "leave weights at 0")
    return decoder
