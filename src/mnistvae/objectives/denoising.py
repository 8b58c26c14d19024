"""An objective whose encoder sees images with noise, while the likelihood is of the images without."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Size, Tensor

from mnistvae._checks import check_choice, check_number
from mnistvae._random import batch_noise
from mnistvae.errors import SettingError
from mnistvae.objectives.around import Around, SeesOthers
from mnistvae.objectives.base import LatentVariableModel, Objective, Terms

__all__ = ["Denoising"]

_KINDS = ("mask", "salt-and-pepper", "gaussian")


class Denoising(Around):
    r"""Another objective, whose encoder sees images with noise; what is explained are the images without.

    .. math:: -\mathbb{E}_{p(\tilde x \mid x)} \, \mathbb{E}_{q(z \mid \tilde x)}\left[
        \log \frac{p(x \mid z) \, p(z)}{q(z \mid \tilde x)}\right]

    Im et al. (2017), "Denoising criterion for variational auto-encoding framework", around the ELBO; it is a bound on
    log p(x), with the posterior :math:`\mathbb{E}_{p(\tilde x \mid x)}[q(z \mid \tilde x)]`. Vincent et al. (2008)
    for autoencoders. In evaluation mode there is no noise, and the loss is that of the objective alone.

    Args:
        objective: The other objective (default: :class:`~mnistvae.objectives.ELBO`).
        kind: ``"mask"``, pixels made black; ``"salt-and-pepper"``, pixels made black or white, as often; or
            ``"gaussian"``, normal noise on every pixel, cut off at 0 and 1.
        amount: Probability with which a pixel is changed; of ``"gaussian"``, the standard deviation.

    Raises:
        SettingError: If the kind is another word, the amount is negative, or a probability is above 1.
        ComponentError: If the objective is none.

    Example:
        >>> vae = mv.VAE(latent_dim=2, objective=Denoising(kind="mask", amount=0.5))
        >>> vae.loss(torch.rand(5, 1, 28, 28)).loss.shape
        torch.Size([5])
    """

    def __init__(
        self,
        objective: Objective | None = None,
        kind: Literal["mask", "salt-and-pepper", "gaussian"] = "mask",
        amount: float = 0.25,
    ) -> None:
        super().__init__(objective)
        self.kind = check_choice("kind", kind, _KINDS)
        self.amount = check_number("amount as a finite number of at least 0", amount)
        if self.kind != "gaussian" and self.amount > 1:
            raise SettingError(f"amount from 0 to 1 for kind={kind!r}", str(amount), "it is a probability")

    def forward(self, model: LatentVariableModel, x: Tensor, y: Tensor | None = None) -> Terms:
        seen = SeesOthers(model, x, _noisy(x, self.kind, self.amount)) if self.training else model
        terms: Terms = self.objective(seen, x, y)
        return terms


def _noisy(x: Tensor, kind: str, amount: float) -> Tensor:
    """Images (B, C, H, W) with noise, from the noise of the batch."""
    flat = Size([x.shape[0], x[0].numel()])
    noise = batch_noise(flat, torch.promote_types(x.dtype, torch.float32), x.device).view_as(x)
    if kind == "gaussian":
        return (x + amount * noise.to(x.dtype)).clamp(0.0, 1.0)
    uniform = torch.special.ndtr(noise)
    pepper = amount if kind == "mask" else amount / 2
    white = x if kind == "mask" else torch.where(uniform > 1 - amount / 2, 1.0, x)
    return torch.where(uniform < pepper, 0.0, white).to(x.dtype)
