"""Training: the Trainer's settings, a loop that fits a screen, its history, and callbacks."""

from mnistvae.training.callbacks import (
    Callback,
    Checkpoint,
    CSVLog,
    Doctor,
    EarlyStopping,
    JSONLinesLog,
    MLflowLog,
    Progress,
    SampleGrid,
    TensorBoardLog,
    WandbLog,
)
from mnistvae.training.checkpoints import read_checkpoint, write_checkpoint
from mnistvae.training.ema import EMA
from mnistvae.training.history import History, Record
from mnistvae.training.signals import Interrupted
from mnistvae.training.state import Snapshot, State
from mnistvae.training.trainer import Trainer
from mnistvae.training.world import rank_here, restarted

__all__ = [
    "EMA",
    "CSVLog",
    "Callback",
    "Checkpoint",
    "Doctor",
    "EarlyStopping",
    "History",
    "Interrupted",
    "JSONLinesLog",
    "MLflowLog",
    "Progress",
    "Record",
    "SampleGrid",
    "Snapshot",
    "State",
    "TensorBoardLog",
    "Trainer",
    "WandbLog",
    "rank_here",
    "read_checkpoint",
    "restarted",
    "write_checkpoint",
]
