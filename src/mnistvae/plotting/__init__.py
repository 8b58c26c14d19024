"""Figures made of arrays and records, which change no global setting.

Each function draws into a new matplotlib Figure, or into the ``figure`` or subfigure that it is given, and returns the
whole figure.
"""

from mnistvae.plotting._figure import png_bytes
from mnistvae.plotting.classification import class_bars, confusion_matrix, roc_curves
from mnistvae.plotting.clusters import cluster_map, cluster_name
from mnistvae.plotting.curves import loss_curves
from mnistvae.plotting.errors import error_examples, histogram
from mnistvae.plotting.grids import reconstruction_grid, sample_grid
from mnistvae.plotting.latent import latent_density, latent_grid, latent_map, latent_traversals
from mnistvae.plotting.rate_distortion import rate_distortion
from mnistvae.plotting.summary import summary_figure
from mnistvae.plotting.sweeps import score_lines, search_panels

__all__ = [
    "class_bars",
    "cluster_map",
    "cluster_name",
    "confusion_matrix",
    "error_examples",
    "histogram",
    "latent_density",
    "latent_grid",
    "latent_map",
    "latent_traversals",
    "loss_curves",
    "png_bytes",
    "rate_distortion",
    "reconstruction_grid",
    "roc_curves",
    "sample_grid",
    "score_lines",
    "search_panels",
    "summary_figure",
]
