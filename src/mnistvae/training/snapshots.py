"""Snapshots of a run: captured and restored, so that training continues as if it had not stopped."""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mnistvae._component import Component, to_spec
from mnistvae.data import BatchSource
from mnistvae.errors import ComponentError, DataError, FileFormatError, MnistvaeError, SettingError
from mnistvae.models import VAE
from mnistvae.training.callbacks.base import Callback
from mnistvae.training.history import is_record
from mnistvae.training.limits import Budget
from mnistvae.training.optimizers import load_optimizer
from mnistvae.training.state import Snapshot, State
from mnistvae.training.steps.eager import Step

__all__ = ["Snapshots", "generator_states", "plain_setting", "restore_generators"]


class Snapshots:
    """Captures snapshots of a run, and restores the run from one.

    Args:
        step: The step of the run, with its model, optimizer and averaged weights.
        budget: Steps and seconds of the run.
        sources: Data for training and for validation.
        callbacks: Callbacks of the run, in order; those with a ``state_dict`` of their own are captured.
        settings: Settings that a resumed run must have in common with this one, as JSON holds them.
    """

    def __init__(
        self,
        step: Step,
        budget: Budget,
        sources: Sequence[BatchSource],
        callbacks: Sequence[Callback],
        settings: Mapping[str, Any],
    ) -> None:
        self.step = step
        self.budget = budget
        self.sources = sources
        self.callbacks = [one for one in callbacks if type(one).state_dict is not Callback.state_dict]
        self.settings = dict(settings)

    def capture(self, state: State) -> Snapshot:
        """Everything that is needed to continue from here."""
        step, model = self.step, self.step.model
        raw, average = ({}, {}) if step.ema is None else step.ema.state()
        tensors = {f"model.{name}": tensor for name, tensor in {**model.state_dict(), **raw}.items()}
        tensors |= {f"ema.{name}": tensor for name, tensor in average.items()}
        if state.under_way:
            tensors |= {f"generator.{name}": tensor for name, tensor in state.noise.items()}
        tensors["sums"] = state.sums
        optimizer = pack(step.optimizer.state_dict(), "optimizer", tensors)
        callbacks = [
            [type(callback).__name__, pack(callback.state_dict(), f"callback.{n}", tensors)]
            for n, callback in enumerate(self.callbacks)
        ]
        info = {
            "settings": self.settings,
            "model": _description(model),
            "data": self._facts(),
            "step": state.step,
            "batch": state.batch if state.under_way else 0,
            "images": state.images,
            "seconds": state.seconds,
            "elapsed": self.budget.elapsed(),
            "stop": "" if self.budget.over(state.step) else state.stop,  # a resumed run may have more to spend
            "terms": state.terms,
            "trained": self._trained(),
            "optimizer_class": type(step.optimizer).__name__,
            "history": state.history.records,
            "optimizer": optimizer,
            "callbacks": callbacks,
        }
        return Snapshot(tensors, info)

    def restore(self, state: State, snapshot: Snapshot) -> None:
        """Continue from a snapshot.

        Raises:
            FileFormatError: If it is of another model.
            SettingError: If it is of a run with other settings or other callbacks.
            DataError: If it is of a run on other data.
        """
        try:
            self._check(snapshot.info)
            self._restore(state, *snapshot)
        except MnistvaeError:
            raise
        except (RuntimeError, LookupError, ValueError, TypeError, AttributeError, OverflowError) as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            raise FileFormatError("a checkpoint of this model", reason, "make the model as it was made then") from error

    def _restore(self, state: State, tensors: dict[str, Tensor], info: Mapping[str, Any]) -> None:
        step, device = self.step, self.step.model.device
        step.model.load_state_dict(under("model", tensors))
        load_optimizer(step.optimizer, unpack(info["optimizer"], tensors))
        if step.ema is not None:
            step.ema.load(under("ema", tensors))
        step.terms = state.terms = tuple(info.get("terms", state.terms))  # so the next step is not taken for the first
        state.sums = tensors["sums"].reshape(len(state.terms)).to(device, state.sums.dtype)
        state.step, state.batch, state.images = (operator.index(info[name]) for name in ("step", "batch", "images"))
        state.seconds, self.budget.spent = float(info["seconds"]), float(info["elapsed"])
        if not all(map(is_record, info["history"])):
            raise TypeError("a history of something else than numbers")
        state.history.records[:] = [dict(one) for one in info["history"]]
        state.epoch = len(state.history) + bool(info["batch"])
        state.noise = under("generator", tensors)
        now = generator_states(device)
        if any((one.shape, one.dtype) != (now[name].shape, now[name].dtype) for name, one in state.noise.items()):
            raise ValueError("states of other generators")
        state.stop = str(info["stop"]) or self.budget.over(state.step)
        for callback, (_, saved) in zip(self.callbacks, info["callbacks"], strict=True):
            callback.load_state_dict(unpack(saved, tensors))

    def _trained(self) -> list[str]:
        """The names of the weights that the optimizer has, in its order."""
        names: dict[Tensor, str] = {weight: name for name, weight in self.step.model.named_parameters()}
        return [names[weight] for weight in self.step.weights]

    def _facts(self) -> list[Any]:
        """Properties by which data are told apart."""
        return [[one.name, one.num_images, list(one.image_shape), one.fingerprint] for one in self.sources]

    def _check(self, info: Mapping[str, Any]) -> None:
        """Raise an error unless the run that a snapshot is of can be continued by this one."""
        if info["model"] != _description(self.step.model):
            raise FileFormatError(
                "a checkpoint of this model", "one of another model", "make the model as it was made then"
            )
        for name, value in self.settings.items():
            then = info["settings"].get(name)
            if then != value:
                raise SettingError(
                    f"{name}={then!r}, as the run to go on with has it",
                    repr(value),
                    "give the same settings; to train on with others, load the model and start a new run",
                )
        frozen = set(info["trained"]) ^ set(self._trained())
        if frozen:
            raise SettingError(
                "the same weights frozen as in the run to go on with",
                f"a difference in {', '.join(sorted(frozen))[:200]}",
                "freeze and thaw before fit as was done then",
            )
        optimizer = type(self.step.optimizer).__name__
        if info["optimizer_class"] != optimizer:
            raise SettingError(
                f"the optimizer that the run to go on with has, {info['optimizer_class']}", optimizer, "give the same"
            )
        if info["data"] != self._facts():
            raise DataError(
                f"the data that the run to go on with has: {info['data']}", str(self._facts()), "pass the same"
            )
        then, now = [name for name, _ in info["callbacks"]], [type(one).__name__ for one in self.callbacks]
        if then != now:
            raise SettingError(
                f"the callbacks that the run had: {', '.join(then) or 'none'}",
                ", ".join(now) or "none",
                "pass the same",
            )


def pack(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """A value as JSON holds it, its tensors put into ``tensors`` under ``path``; keys may be numbers."""
    if isinstance(value, Tensor):
        tensors[path] = value
        return {"tensor": path}
    if isinstance(value, dict):
        return {"items": [[key, pack(item, f"{path}.{key}", tensors)] for key, item in value.items()]}
    if isinstance(value, tuple | list):
        parts = [pack(item, f"{path}.{n}", tensors) for n, item in enumerate(value)]
        return {"tuple" if isinstance(value, tuple) else "list": parts}
    return value


def unpack(value: Any, tensors: dict[str, Tensor]) -> Any:
    """The value that :func:`pack` took apart."""
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "items":
        return {key: unpack(item, tensors) for key, item in content}
    parts = [unpack(item, tensors) for item in content]
    return tuple(parts) if kind == "tuple" else parts


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with ``prefix`` and a dot, by the rest of their names."""
    return {
        name.removeprefix(f"{prefix}."): tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}.")
    }


def generator_states(device: torch.device) -> dict[str, Tensor]:
    """The states of torch's global generators that computing on a device draws from."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    if device.type == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


def restore_generators(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Set torch's global generators to what :func:`generator_states` gave; leave those without a state."""
    if "cpu" in states:
        torch.set_rng_state(states["cpu"])
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
    if "mps" in states:
        torch.mps.set_rng_state(states["mps"])


def _description(model: VAE) -> Any:
    """A description of the model: its constructor arguments or, where they cannot be read back, its tensors."""
    try:
        return to_spec(model)
    except ComponentError:
        return {name: list(tensor.shape) for name, tensor in model.state_dict().items()}


def plain_setting(value: Any) -> Any:
    """A setting as JSON holds it: functions and classes by their names, a ``functools.partial`` with its arguments."""
    if isinstance(value, functools.partial):
        named = [f"{key}={argument!r}" for key, argument in sorted(value.keywords.items())]
        return f"{plain_setting(value.func)}({', '.join([*map(repr, value.args), *named])})"
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [plain_setting(item) for item in value]
    if isinstance(value, Component):
        return repr(value)
    return getattr(value, "__qualname__", type(value).__name__)
