"""Categorical variables, all classes alike, as a prior."""

from __future__ import annotations

import torch
from torch import Tensor

from mnistvae._checks import check_count
from mnistvae.distributions import OneHotCategoricals
from mnistvae.priors.base import Encode, Prior

__all__ = ["UniformCategorical"]


class UniformCategorical(Prior):
    r"""Independent categorical variables whose classes are all alike: the prior of one-hot codes.

    .. math:: p(z) = K^{-V}

    The KL divergence of a :class:`~mnistvae.networks.CategoricalEncoder` from it is
    :math:`\sum_v \log K - H(q(z_v \mid x))`, in closed form. Jang et al. (2017).

    Args:
        variables: V, the number of variables.
        classes: K, the number of classes of each, at least 2.

    Raises:
        SettingError: If there is no variable, or a variable has one class only.

    Example:
        >>> p = UniformCategorical(variables=2, classes=10)()
        >>> p.sample((3,)).shape, round(p.log_prob(p.sample()).item(), 4)  # -2 log 10
        (torch.Size([3, 20]), -4.6052)
    """

    logits: Tensor

    def __init__(self, variables: int = 1, classes: int = 10) -> None:
        super().__init__()
        self.variables = variables = check_count("variables as an integer of at least 1", variables)
        self.classes = classes = check_count("classes as an integer of at least 2", classes, least=2)
        self.latent_dim = variables * classes
        self.register_buffer("logits", torch.zeros(variables, classes), persistent=False)

    def forward(self, y: Tensor | None = None, *, encode: Encode | None = None) -> OneHotCategoricals:
        return OneHotCategoricals(self.logits)
