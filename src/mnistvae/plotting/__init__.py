"""Figures: arrays and records in, a matplotlib Figure out; nothing is shown, no global style is changed."""

from mnistvae.plotting._figure import png_bytes
from mnistvae.plotting.classification import class_bars, confusion_matrix, roc_curves
from mnistvae.plotting.clusters import cluster_map
from mnistvae.plotting.curves import loss_curves
from mnistvae.plotting.errors import error_examples, figure_histogram
from mnistvae.plotting.grids import reconstruction_grid, sample_grid
from mnistvae.plotting.latent import latent_density, latent_grid, latent_map, latent_traversals
from mnistvae.plotting.summary import summary_figure

__all__ = [
    "class_bars",
    "cluster_map",
    "confusion_matrix",
    "error_examples",
    "figure_histogram",
    "latent_density",
    "latent_grid",
    "latent_map",
    "latent_traversals",
    "loss_curves",
    "png_bytes",
    "reconstruction_grid",
    "roc_curves",
    "sample_grid",
    "summary_figure",
]
