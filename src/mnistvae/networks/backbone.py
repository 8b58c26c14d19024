"""Networks of torchvision's by their names, as trunks that can be saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

from mnistvae._checks import allocating, check_count, check_mapping
from mnistvae._component import Component
from mnistvae.errors import ComponentError, SettingError
from mnistvae.plugins import closest

__all__ = ["Backbone"]


class Backbone(Component):
    """A network of ``torchvision.models`` as the trunk of a :class:`GaussianEncoder`, with weights drawn at random.

    It is kept by its name and its settings, so a model with it is saved, loaded and copied as any other. A file can
    name torchvision's own classification networks and nothing else, and nothing is downloaded. Weights that are trained
    already go into its ``network``, which is torchvision's.

    Args:
        name: Name of a network, such as "resnet18": one of ``torchvision.models.list_models(torchvision.models)``.
        features: Number of features of an image: the size of the network's last layer.
        size: Height and width to which images are brought first, for networks that take no small ones; None for none.
        settings: Further arguments of torchvision's function of that name, made of numbers, words and lists.

    Raises:
        SettingError: If torchvision has no such network, or it does not take a setting.

    Example:
        >>> trunk = Backbone("resnet18", features=64)
        >>> trunk.eval()(torch.rand(5, 1, 28, 28)).shape
        torch.Size([5, 64])
    """

    def __init__(
        self, name: str, features: int = 512, size: int | None = None, settings: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__()
        from torchvision import models  # takes a second: only those who want it pay

        known = models.list_models(models)
        if name not in known:
            raise SettingError("a classification network of torchvision.models", repr(name), closest(name, known))
        self.name = name
        self.features = check_count("features as an integer of at least 1", features)
        self.size = None if size is None else check_count("size as an integer of at least 1, or None", size)
        self.settings = None if settings is None else check_mapping("settings by name", settings)
        given = self.settings or {}
        if taken := given.keys() & {"weights", "weights_backbone", "num_classes"}:
            fix = "set features=" if "num_classes" in taken else "load them into backbone.network once it is made"
            raise SettingError("settings of the network alone", ", ".join(sorted(taken)), fix)
        with allocating("memory for the network", f"too little for {name}", "take a smaller one"):
            try:
                self.network = models.get_model(name, weights=None, num_classes=self.features, **given)
            except (TypeError, ValueError) as error:
                raise SettingError(f"settings of torchvision's {name}", str(error), "see torchvision's") from error

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, features) of images (B, C, H, W); a grey image is shown in all three channels."""
        if x.shape[1] not in {1, 3}:
            fix = "put a convolution before it: nn.Sequential(nn.Conv2d(channels, 3, 1), Backbone(...))"
            raise ComponentError("images of 1 or 3 channels for a network of torchvision's", str(x.shape[1]), fix)
        x = x.expand(-1, 3, -1, -1)
        if self.size is not None:
            x = functional.interpolate(x, (self.size, self.size), mode="bilinear", antialias=True)
        if torch.compiler.is_compiling():  # which follows no except
            return cast("Tensor", self.network(x))
        try:
            return cast("Tensor", self.network(x))
        except (AssertionError, RuntimeError, ValueError) as error:
            got = f"{x.shape[2]} x {x.shape[3]}: {' '.join(str(error).split())[:120]}"
            fix = "bring them to the size that it was made for: Backbone(..., size=224)"
            raise ComponentError(f"images of a size that {self.name} takes", got, fix) from error
