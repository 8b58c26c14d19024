"""The end of a run that no longer gets better."""

from __future__ import annotations

from typing import Any

from mnistvae._checks import check_count, check_instance, check_number
from mnistvae.errors import SettingError
from mnistvae.training.callbacks.base import Callback
from mnistvae.training.state import State

__all__ = ["EarlyStopping"]


class EarlyStopping(Callback):
    """Ends a run that has stopped getting better, and gives the model its best weights back.

    Args:
        patience: Validations in a row without a lower loss after which the run ends.
        min_delta: Nats by which a loss has to be lower to count.
        monitor: Column of the history that is compared; "loss" where there are no validation data.

    Raises:
        SettingError: If patience is below 1 or min_delta negative; in training, if there is no such column.
    """

    everywhere = True  # all see the same losses, and stop together

    def __init__(self, patience: int = 10, min_delta: float = 0.0, monitor: str = "validation_loss") -> None:
        self.patience = check_count("patience of at least 1 validation", patience)
        self.min_delta = check_number("a finite min_delta of at least 0", min_delta)
        self.monitor = check_instance("monitor as the name of a column of the history", monitor, str)
        self._reset()

    def _reset(self) -> None:
        self.best: float | None = None
        self.waited = 0
        self._weights: dict[str, Any] = {}

    def on_fit_start(self, state: State) -> None:
        if not state.history:
            self._reset()

    def on_epoch_end(self, state: State) -> None:
        record = state.history[-1]
        monitor = "loss" if self.monitor == "validation_loss" and not state.validates else self.monitor
        if monitor not in record:
            if monitor.startswith("validation_") and state.validates:
                return  # an epoch without a validation
            raise SettingError(f"monitor as one of {', '.join(record)}", repr(monitor), "check the spelling")
        if self.best is None or record[monitor] < self.best - self.min_delta:
            self.best, self.waited = record[monitor], 0
            self._weights = {name: tensor.detach().clone() for name, tensor in state.model.state_dict().items()}
            return
        self.waited += 1
        if self.waited >= self.patience:
            state.stop = state.stop or f"no lower {monitor} for {self.waited} validations"

    def on_fit_end(self, state: State) -> None:
        if state.complete and self._weights:
            state.model.load_state_dict(self._weights)

    def state_dict(self) -> dict[str, Any]:
        how = {"patience": self.patience, "min_delta": self.min_delta, "monitor": self.monitor}
        return {"best": self.best, "waited": self.waited, "weights": self._weights, "how": how}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, then in state["how"].items():
            if then != (now := getattr(self, name)):
                raise SettingError(f"EarlyStopping with {name}={then!r}, as the run had it", repr(now), "pass the same")
        self.best, self.waited, self._weights = state["best"], state["waited"], state["weights"]
