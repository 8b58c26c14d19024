"""Training: a loop that fits a screen, its record, and what may listen to it."""

from mnistvae.training.callbacks import Callback, CSVLog, Progress, State
from mnistvae.training.devices import resolve_device
from mnistvae.training.history import History, Record
from mnistvae.training.trainer import Trainer

__all__ = ["CSVLog", "Callback", "History", "Progress", "Record", "State", "Trainer", "resolve_device"]
