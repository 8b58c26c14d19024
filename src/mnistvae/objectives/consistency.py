"""An objective under which an image and the same image, moved a little, have like codes."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution, kl_divergence

from mnistvae._checks import check_number
from mnistvae._motions import black_and_white_like, draw_motions, moved
from mnistvae.errors import SettingError
from mnistvae.objectives.around import Around, terms_and_posterior, with_term
from mnistvae.objectives.base import LatentVariableModel, Objective, Terms

__all__ = ["Consistency"]


class Consistency(Around):
    r"""Another objective on images and on the same images, moved, and a price on posteriors that differ.

    .. math:: \tfrac{1}{2} \left[\mathcal{L}(x) + \mathcal{L}(\tilde x)\right]
        + \lambda \, D_{KL}(q(z \mid \tilde x) \,\|\, q(z \mid x))

    :math:`\mathcal{L}` is the loss of the objective, and :math:`\tilde x` the image turned and shifted at random, each
    of a batch in its own way. Sinha and Dieng (2021), equation 3, has the sum of the two losses in place of their mean:
    this is half of it, so that their lambda is twice this one. The divergence is in the history as ``consistency``; in
    closed form where torch knows one, else estimated at a code of :math:`\tilde x`.

    The other terms are those of the images as they are. In evaluation mode so is the loss: that of the objective alone,
    to be compared with a model that was trained without this. The pixels of an image that is all black and white are
    rounded after its motion, so that its Bernoulli likelihood does not become a cross-entropy of grey pixels.

    A step takes a little more than twice as long. Labels are those of the image: a motion must not make another class
    of it.

    Args:
        objective: The other objective (default: :class:`~mnistvae.objectives.ELBO`).
        weight: Lambda, at least 0.
        max_shift: Greatest shift along each side, in pixels.
        max_angle: Greatest angle, in degrees, both ways.

    Raises:
        SettingError: If a number is negative or infinite, or the angle above 180.
        ComponentError: If the objective is none.

    Example:
        >>> vae = mv.VAE(latent_dim=2, objective=Consistency(weight=0.5))
        >>> terms = vae.eval().loss(torch.rand(5, 1, 28, 28))
        >>> list(terms.extra), torch.equal(terms.loss, terms.reconstruction + terms.kl)
        (['consistency'], True)
    """

    def __init__(
        self,
        objective: Objective | None = None,
        weight: float = 0.1,
        max_shift: float = 2.0,
        max_angle: float = 15.0,
    ) -> None:
        super().__init__(objective)
        self.weight = check_number("a finite weight of at least 0", weight)
        self.max_shift = check_number("max_shift as a finite number of pixels of at least 0", max_shift)
        self.max_angle = check_number("max_angle from 0 to 180 degrees", max_angle)
        if self.max_angle > 180:
            raise SettingError("max_angle from 0 to 180 degrees", str(max_angle), "180 is any angle")

    def forward(self, model: LatentVariableModel, x: Tensor, y: Tensor | None = None) -> Terms:
        terms, posterior = terms_and_posterior(self.objective, model, x, y)
        other = black_and_white_like(x, moved(x, *draw_motions(x, self.max_angle, self.max_shift)))
        if self.training:
            of_other, posterior_of_other = terms_and_posterior(self.objective, model, other, y)
            terms = terms._replace(loss=0.5 * (terms.loss + of_other.loss))
        else:
            posterior_of_other = model.encode(other, y)
        distance = _divergence(posterior_of_other, posterior)
        return with_term(terms, "consistency", distance, self.weight if self.training else 0.0)


def _divergence(q: Distribution, p: Distribution) -> Tensor:
    """KL divergence of q from p, (B,), estimated at a draw where torch knows no closed form, and only there."""
    try:
        return kl_divergence(q, p)
    except NotImplementedError:
        z = q.rsample()
        return q.log_prob(z) - p.log_prob(z)
