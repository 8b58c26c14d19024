"""What the commands do, as functions: a training run as a folder, and pictures and figures of a saved model.

Every function refuses to write over what is there; a model is on disk before its pictures are drawn.
"""

from mnistvae.runs.drawing import EPOCHS, animate, fit_prior, generate, reconstruct
from mnistvae.runs.measuring import evaluate, report, sweep
from mnistvae.runs.training import CHECKPOINTS, RUN_FILES, Run, Start, read_start, train

__all__ = [
    "CHECKPOINTS",
    "EPOCHS",
    "RUN_FILES",
    "Run",
    "Start",
    "animate",
    "evaluate",
    "fit_prior",
    "generate",
    "read_start",
    "reconstruct",
    "report",
    "sweep",
    "train",
]
