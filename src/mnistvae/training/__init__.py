"""Training: a loop that fits a screen, its record, and what may listen to it."""

from mnistvae.training.callbacks import Callback, State
from mnistvae.training.checkpoints import Checkpoint, Snapshot, read_checkpoint, write_checkpoint
from mnistvae.training.distributed import rank_here, restarted
from mnistvae.training.doctor import Doctor
from mnistvae.training.history import History, Record
from mnistvae.training.interrupts import Interrupted
from mnistvae.training.logs import CSVLog, JSONLinesLog, TensorBoardLog
from mnistvae.training.optimizers import EMA, cosine, one_cycle
from mnistvae.training.pictures import SampleGrid
from mnistvae.training.progress import Progress
from mnistvae.training.stopping import EarlyStopping
from mnistvae.training.trainer import Trainer

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
    "Progress",
    "Record",
    "SampleGrid",
    "Snapshot",
    "State",
    "TensorBoardLog",
    "Trainer",
    "cosine",
    "one_cycle",
    "rank_here",
    "read_checkpoint",
    "restarted",
    "write_checkpoint",
]
