"""Variational autoencoders for images of MNIST's kind.

>>> import mnistvae as mv
>>> model = mv.BetaVAE(latent_dim=10, beta=4.0)
>>> model.sample(4).shape
torch.Size([4, 1, 28, 28])

The names here are found when they are first used, so that ``import mnistvae`` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mnistvae._version import __version__

if TYPE_CHECKING:
    from mnistvae import (
        analysis,
        arrays,
        commands,
        data,
        devices,
        distributions,
        errors,
        explorer,
        exports,
        fitting,
        hub,
        images,
        io,
        labels,
        ladders,
        likelihoods,
        losses,
        metrics,
        models,
        networks,
        objectives,
        plotting,
        plugins,
        priors,
        recipes,
        report,
        schedules,
        sklearn,
        training,
        view,
        zoo,
    )
    from mnistvae.data import ImageDataset, load_dataset
    from mnistvae.errors import MnistvaeError
    from mnistvae.exports import export
    from mnistvae.fitting import fit_prior
    from mnistvae.io import load, save
    from mnistvae.models import VAE, BetaVAE, ConditionalVAE
    from mnistvae.training import History, Trainer
    from mnistvae.view import View
    from mnistvae.zoo import pretrained

__all__ = [
    "VAE",
    "BetaVAE",
    "ConditionalVAE",
    "History",
    "ImageDataset",
    "MnistvaeError",
    "Trainer",
    "View",
    "__version__",
    "analysis",
    "arrays",
    "commands",
    "data",
    "devices",
    "distributions",
    "errors",
    "explorer",
    "export",
    "exports",
    "fit_prior",
    "fitting",
    "hub",
    "images",
    "io",
    "labels",
    "ladders",
    "likelihoods",
    "load",
    "load_dataset",
    "losses",
    "metrics",
    "models",
    "networks",
    "objectives",
    "plotting",
    "plugins",
    "pretrained",
    "priors",
    "recipes",
    "report",
    "save",
    "schedules",
    "sklearn",
    "training",
    "view",
    "zoo",
]

_HOMES = {
    "BetaVAE": "models",
    "ConditionalVAE": "models",
    "History": "training",
    "ImageDataset": "data",
    "MnistvaeError": "errors",
    "Trainer": "training",
    "VAE": "models",
    "View": "view",
    "export": "exports",
    "fit_prior": "fitting",
    "load": "io",
    "load_dataset": "data",
    "pretrained": "zoo",
    "save": "io",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _HOMES:
        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    else:
        value = import_module(f"{__name__}.{name}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
