"""Figures: arrays and records in, a matplotlib Figure out; nothing is shown, no global style is changed."""

from mnistvae.plotting.curves import loss_curves
from mnistvae.plotting.grids import reconstruction_grid, sample_grid

__all__ = ["loss_curves", "reconstruction_grid", "sample_grid"]
