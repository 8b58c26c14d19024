"""Callbacks: checkpoints, logs, trackers, progress, early stopping, pictures and warnings."""

from mnistvae.training.callbacks.base import Callback
from mnistvae.training.callbacks.checkpoint import Checkpoint
from mnistvae.training.callbacks.doctor import Doctor
from mnistvae.training.callbacks.logs import CSVLog, JSONLinesLog, TensorBoardLog
from mnistvae.training.callbacks.pictures import SampleGrid
from mnistvae.training.callbacks.progress import Progress
from mnistvae.training.callbacks.stopping import EarlyStopping
from mnistvae.training.callbacks.trackers import MLflowLog, WandbLog

__all__ = [
    "CSVLog",
    "Callback",
    "Checkpoint",
    "Doctor",
    "EarlyStopping",
    "JSONLinesLog",
    "MLflowLog",
    "Progress",
    "SampleGrid",
    "TensorBoardLog",
    "WandbLog",
]
