"""Rows of the literature: a published figure, how it was measured, and the recipe that is to reach it.

A row is here only if its figure is a number that is printed somewhere and that one of our metrics measures in the same
way. So there is no row for figures that are curves (Kingma and Welling, 2014, figure 2; the rates and distortions of
Alemi et al., 2018), for scores of disentanglement, which MNIST has none of (Higgins et al., 2017; Chen et al., 2018),
and for Fréchet distances by Inception-v3 under other settings (Ghosh et al., 2020).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from mnistvae._checks import check_choice, check_count, check_number
from mnistvae.plugins import resolve

__all__ = ["ROWS", "Row", "get_row"]

#: Metrics in which figures are published, each a mean over images.
_METRICS = ("nll", "negative_elbo")


@dataclass(frozen=True)
class Row:
    """A published figure, the protocol under which it was measured, and the training that is to reach it.

    Raises:
        SettingError: If the metric is another one, or a number makes no sense.

    Example:
        >>> row = mv.recipes.get_row("burda2016-vae-1")
        >>> row.published, row.unit, row.metric, row.num_samples, row.tag
        (86.76, 'nats', 'nll', 5000, 'binarized-dynamic')
        >>> trainer = mv.recipes.get(row.recipe).trainer(**row.training)
    """

    #: Name by which people choose it.
    name: str
    #: Paper or program with the place in it, and the model there.
    source: str
    #: The figure that is published, in ``unit``; lower is better.
    published: float
    #: Tag of that figure: the pixels on which it was measured, see :meth:`mnistvae.likelihoods.Likelihood.tag`.
    tag: str
    #: Name of our recipe.
    recipe: str
    #: Settings of the recipe's model that differ.
    settings: Mapping[str, Any]
    #: Settings of the recipe's Trainer that differ.
    training: Mapping[str, Any]
    #: Minutes of training, for each seed; the number of epochs is chosen so that it fits.
    minutes: float
    #: Epochs, where the figure is one after so many; then the minutes are what they take about.
    epochs: int | None = None
    #: Name of the metric, of :mod:`mnistvae.metrics`.
    metric: str = "nll"
    #: Importance samples an image, of the published figure; 1 for a bound.
    num_samples: int = 5000
    #: Test images of the published figure.
    images: int = 10_000
    #: Data sets that have the test images of the published figure.
    datasets: tuple[str, ...] = ("mnist", "mnist-50k")
    #: Unit of the figure.
    unit: str = "nats"
    #: Sentences on what is different here.
    note: str = ""

    def __post_init__(self) -> None:
        epochs = self.epochs
        checked = {
            "metric": check_choice("metric", self.metric, _METRICS),
            "published": check_number("published as a finite number", self.published, float("-inf"), above=True),
            "minutes": check_number("minutes above 0", self.minutes, above=True),
            "num_samples": check_count("num_samples of at least 1", self.num_samples),
            "images": check_count("images of at least 1", self.images),
            "epochs": None if epochs is None else check_count("epochs of at least 1, or None", epochs),
            "settings": MappingProxyType(dict(self.settings)),  # read-only, as a recipe's are
            "training": MappingProxyType(dict(self.training)),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)


def get_row(name: str) -> Row:
    """The row of a name.

    Args:
        name: A key of ``ROWS``, or ``my.module:NAME`` for a row of one's own.

    Raises:
        SettingError: If there is no such row, or its module cannot be imported.
    """
    row: Row = resolve("row", name, ROWS, of=Row)
    return row


#: The course that brought the likelihood of small networks down fastest on two cores.
_COURSE = {
    "batch_size": 250,
    "learning_rate": 3e-3,
    "schedule": "one-cycle",
    "ema": 0.999,
    "precision": "auto",
    "compile": True,
    "binarization": "dynamic",
}
_BURDA = {"latent_dim": 50, "hidden": (200, 200), "activation": "relu"}
_OURS = (
    "ReLU in place of tanh; one-cycle rate, batch 250 and averaged weights in place of 3,280 epochs in batches of 20."
)
_BOUNDS = "Network of Burda et al. (2016), ReLU; one-cycle rate and averaged weights. Pythae's own run comes to {}."
_VAMP = "ReLU in place of gates; one-cycle rate, batch 250 and averaged weights; mnist-50k is split as there."


def _burda(kind: str, k: int, published: float, minutes: float) -> Row:
    """A row of the table of Burda et al., of the models with one stochastic layer."""
    return Row(
        f"burda2016-{kind}-{k}",
        f"Burda, Grosse and Salakhutdinov (2016), table 1: {kind.upper()}, one stochastic layer, k = {k}",
        published,
        "binarized-dynamic",
        {"vae": "kingma2014", "iwae": "iwae-50"}[kind],
        {**_BURDA, "num_samples": k},
        _COURSE,
        minutes,
        note=_OURS,
    )


def _rainforth(name: str, bound: str, published: float, reproduced: float, **settings: Any) -> Row:
    """A row of Rainforth et al., of 64 codes an image in another bound, which pythae has reproduced."""
    return Row(
        f"rainforth2018-{name}",
        f"Rainforth et al. (2018), {bound}, as pythae's reproduction cites it",
        published,
        "binarized-dynamic",
        "iwae-50",
        {**_BURDA, **settings},
        _COURSE,
        8,
        note=_BOUNDS.format(reproduced),
    )


#: The rows by name.
ROWS: Mapping[str, Row] = MappingProxyType(
    {
        row.name: row
        for row in (
            _burda("vae", 1, 86.76, 6),
            _burda("vae", 5, 86.47, 8),
            _burda("vae", 50, 86.35, 8),
            _burda("iwae", 1, 86.76, 6),
            _burda("iwae", 5, 85.54, 8),
            _burda("iwae", 50, 84.78, 8),
            _rainforth("miwae", "MIWAE, 8 groups of 8 codes", 84.97, 85.09, num_samples=8, groups=8),
            _rainforth("ciwae", "CIWAE, 64 codes, beta = 0.05", 84.57, 84.74, num_samples=64, elbo_weight=0.05),
            Row(
                "tomczak2018-vamp",
                "Tomczak and Welling (2018), table 1: VAE with a VampPrior, one stochastic layer, static MNIST",
                85.57,
                "binarized-larochelle",
                "vamp",
                {"warmup": 1000},
                {**_COURSE, "binarization": "static"},
                8,
                datasets=("mnist-larochelle",),
                note=f"{_VAMP} On mnist, the static pixels are drawn here, and are others than Larochelle's.",
            ),
            Row(
                "tomczak2018-vamp-dynamic",
                "Tomczak and Welling (2018), table 1: VAE with a VampPrior, one stochastic layer, dynamic MNIST",
                82.38,
                "binarized-dynamic",
                "vamp",
                {"warmup": 1000},
                _COURSE,
                8,
                note=_VAMP,
            ),
            Row(
                "pytorch-examples",
                "pytorch/examples, vae: test loss after 10 epochs as people print it, 105.56 and 105.59",
                105.6,
                "grey-bce",
                "mlp-20",
                {},
                {"batch_size": 128, "learning_rate": 1e-3},
                1,
                epochs=10,
                metric="negative_elbo",
                num_samples=1,
                note="The program's own network, batch and learning rate.",
            ),
        )
    }
)
