"""An encoder whose codes are categorical variables, relaxed while it is trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mnistvae._checks import check_count, check_number, check_switch
from mnistvae.distributions import OneHotCategoricals
from mnistvae.networks.encoders import _OnFeatures
from mnistvae.schedules import Schedule, check_schedule, factor_at

__all__ = ["CategoricalEncoder"]


class CategoricalEncoder(_OnFeatures):
    r"""Categorical variables on the features of any module, as one-hot blocks of the code.

    .. math:: q(z \mid x) = \prod_{v=1}^{V} \text{Categorical}(z_v; \operatorname{softmax}(l_v(h))), \qquad
        h = \text{trunk}(x)

    In training, codes are relaxed: points within the simplex of each block, drawn at a temperature
    (:class:`~mnistvae.distributions.OneHotCategoricals`; Maddison et al., 2017; Jang et al., 2017). In evaluation mode
    they are one-hot, so figures of evaluation and validation are those of the discrete model: its bound, and its
    log-likelihood by importance sampling. The training loss is no bound, as its KL term is that of the one-hot codes.
    The mean of a posterior is its probabilities. The prior that fits is
    :class:`~mnistvae.priors.UniformCategorical`, of as many variables and classes.

    Args:
        trunk: Maps images (B, C, H, W) to features (B, ...), which are flattened.
        variables: V, the number of variables.
        classes: K, the number of classes of each, at least 2; the code has V K dimensions.
        num_classes: Number of classes of images, where the encoder is to see a label; a learned vector for
            the class is then added to the logits.
        temperature: Temperature of the relaxation, above 0. Near 0 codes are nearly one-hot and the gradient is noisy;
            0.67 is that of Dupont (2018).
        schedule: Multiplies the temperature at each training step: see :mod:`mnistvae.schedules`; for instance
            ``CosineDecay(final=0.5, steps=10_000)``. Until a Trainer tells the step, or :meth:`mnistvae.VAE.advance`
            does, the factor is 1.
        straight_through: Draw one-hot codes in training, too, with the gradient of the relaxed ones (Jang et al., 2017,
            section 2.2).

    Raises:
        SettingError: If there is no variable, a variable has one class only, or the temperature is not above 0.
        ComponentError: If the trunk is no module, or the schedule none.

    Example:
        >>> trunk = nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU())
        >>> encoder = CategoricalEncoder(trunk, variables=3, classes=10)
        >>> vae = mv.VAE(30, encoder=encoder, prior=mv.priors.UniformCategorical(3, 10))
        >>> vae.encode(torch.rand(5, 1, 28, 28)).rsample().shape
        torch.Size([5, 30])
    """

    _temperature: Tensor

    def __init__(
        self,
        trunk: nn.Module,
        variables: int = 1,
        classes: int = 10,
        num_classes: int | None = None,
        temperature: float = 0.67,
        schedule: Schedule | None = None,
        straight_through: bool = False,
    ) -> None:
        variables = check_count("variables as an integer of at least 1", variables)
        classes = check_count("classes as an integer of at least 2", classes, least=2)
        super().__init__(trunk, variables * classes, num_classes)
        self.variables = variables
        self.classes = classes
        expected = "a finite temperature above 0"
        self.temperature = check_number(expected, temperature, above=True, fix="0.67 is a usual one")
        self.schedule = check_schedule(schedule)
        self.straight_through = check_switch("straight_through", straight_through)
        # A tensor, changed in place, so that a compiled or recorded step sees it change.
        self.register_buffer("_temperature", torch.tensor(self.temperature), persistent=False)

    @staticmethod
    def _numbers(latent_dim: int) -> int:
        return latent_dim

    def advance(self, step: int) -> None:
        """Set the temperature for a training step, by its number from 0, before it is taken.

        Raises:
            ComponentError: If the schedule gives no finite number above 0.
        """
        if self.schedule is not None:
            self._temperature.fill_(self.temperature * factor_at(self.schedule, step, above=True))

    def forward(self, x: Tensor, y: Tensor | None = None) -> OneHotCategoricals:
        logits = self._parameters_for(x, y).to(x.dtype)  # under autocast they come in bfloat16
        blocks = logits.reshape(-1, self.variables, self.classes)
        return OneHotCategoricals(blocks, self._temperature, hard=self.straight_through or not self.training)
