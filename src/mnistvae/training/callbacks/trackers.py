"""Runs in Weights & Biases and in MLflow: settings, figures, pictures and, where asked for, the model."""

from __future__ import annotations

import os
import tempfile
import warnings
from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnistvae._checks import check_count, check_mapping
from mnistvae._version import __version__
from mnistvae.errors import MnistvaeError, SettingError, TrainingError
from mnistvae.io import save
from mnistvae.training.callbacks.base import Callback
from mnistvae.training.callbacks.logs import figure_name
from mnistvae.training.callbacks.pictures import pictures_of
from mnistvae.training.state import State

__all__ = ["MLflowLog", "Tracker", "WandbLog"]

#: Longest value of a parameter that MLflow takes.
_LONGEST = 6000
#: Rows of samples in a picture, and the seed of their noise.
_ROWS, _SEED = 8, 0
#: Most characters of what a library says of its failure.
_SAID = 300


class Tracker(Callback):
    """A base of callbacks that tell a service of a run; a subclass says how to open, log and close one.

    A checkpoint holds the number that the service gave the run, so that a resumed run goes on in the same one. A
    service that does not answer at the beginning ends the training before its first step; one that is lost later does
    not: a warning says so, and the rest of the run is trained without it.

    Args:
        pictures_every: Epochs between two pictures of samples; 0 for none; the last epoch always has one.
        model: Whether the trained model's file is to be kept as an artifact of the run.
        config: Settings of your own that are kept with those of model, Trainer and data.
    """

    last = True  # after those that add figures, or give the model its best weights back
    #: Name of the service, and the likely remedy where it does not answer.
    service = "the tracker"
    remedy = "look whether it can be reached"

    def __init__(self, pictures_every: int, *, model: bool, config: Mapping[str, Any] | None) -> None:
        wanted = "pictures_every as a number of epochs of at least 0"
        self.pictures_every = check_count(wanted, pictures_every, least=0)
        self.model = model
        self.config = dict(check_mapping("config as a dictionary, or None", {} if config is None else config))
        #: The service's number of the run; None before the first.
        self.run_id: str | None = None
        self._lost = False

    def on_fit_start(self, state: State) -> None:
        if not state.step:
            self.run_id = None  # a run of its own for each fit
        self._lost = False
        settings = run_settings(state) | self.config
        try:
            self.run_id = self._open(settings)
        except MnistvaeError:
            raise
        except Exception as error:  # the library's own, of every kind
            raise TrainingError(f"{self.service} to begin a run", _words(error), self.remedy) from error

    def on_epoch_end(self, state: State) -> None:
        figures = {figure_name(name): value for name, value in state.history[-1].items() if name != "epoch"}
        last = bool(state.stop) or state.epoch == state.epochs
        draws = self.pictures_every and state.model.image_shape[0] in {1, 3}
        shows = not self._lost and draws and (last or state.epoch % self.pictures_every == 0)
        pictures = pictures_of(state.model, _ROWS, _SEED) if shows else {}
        self._tell(lambda: self._log(state.epoch, figures, pictures))

    def on_fit_end(self, state: State) -> None:
        if self.run_id is None:
            return
        if self.model and state.complete:
            with tempfile.TemporaryDirectory() as folder:
                path = save(state.model, Path(folder) / "model.safetensors", {"tracked as": self.run_id})
                self._tell(lambda: self._keep(path))
        self._tell(lambda: self._close(complete=state.complete))

    def state_dict(self) -> dict[str, Any]:
        return {"run": self.run_id}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.run_id = state["run"]

    def _tell(self, tell: Callable[[], None]) -> None:
        """Tell the service, unless it was lost: each call to one that is gone may wait for minutes."""
        if self._lost:
            return
        try:
            tell()
        except Exception as error:  # noqa: BLE001 - the library's own, of every kind
            self._lost = True
            lost = f"{self.service} is lost ({_words(error)})"
            warnings.warn(f"{lost}: training goes on, and its run there ends here", stacklevel=3)

    @abstractmethod
    def _open(self, settings: Mapping[str, Any]) -> str:
        """Begin a run, or go on with ``self.run_id``, and give its number."""

    @abstractmethod
    def _log(self, epoch: int, figures: Mapping[str, float], pictures: Mapping[str, NDArray[np.uint8]]) -> None:
        """Tell the figures and pictures of an epoch."""

    @abstractmethod
    def _keep(self, path: Path) -> None:
        """Keep a file as an artifact, before it is removed."""

    @abstractmethod
    def _close(self, *, complete: bool) -> None:
        """End the run, which came to its end or was stopped."""


class WandbLog(Tracker):
    """Tells Weights & Biases of a run; the extra ``[wandb]`` installs its library.

    Figures are named ``loss/training``, ``loss/validation``, ..., over ``epoch``. Where it is sent, and whether, is the
    library's own affair: ``WANDB_MODE=offline`` writes to a folder, which ``wandb sync`` sends later.

    Args:
        project: Name of the project (default: $WANDB_PROJECT, or "mnistvae").
        pictures_every: Epochs between two pictures of samples; 0 for none; the last epoch always has one.
        model: Whether the trained model's file is to be kept as an artifact.
        config: Settings of your own that are kept with those of model, Trainer and data.
        **init: Other arguments of ``wandb.init``, such as ``name``, ``group``, ``dir`` or ``mode``.

    Raises:
        SettingError: If the library is not installed, or a setting makes no sense.
        TrainingError: If the service does not answer when a run begins, in ``fit``.
    """

    service = "Weights & Biases"
    remedy = "log in by `wandb login`, or set WANDB_MODE=offline, which writes to a folder"

    def __init__(
        self,
        project: str | None = None,
        *,
        pictures_every: int = 1,
        model: bool = False,
        config: Mapping[str, Any] | None = None,
        **init: Any,
    ) -> None:
        super().__init__(pictures_every, model=model, config=config)
        try:
            import wandb
        except ImportError as error:
            raise _missing("wandb", "a WandbLog", error) from error
        if taken := sorted(init.keys() & {"id", "resume", "reinit"}):
            raise SettingError("other arguments of wandb.init", ", ".join(taken), "leave it out: resuming sets it")
        self.project = project or os.environ.get("WANDB_PROJECT") or "mnistvae"
        self.init = init
        self._wandb: Any = wandb
        self._run: Any = None

    def _open(self, settings: Mapping[str, Any]) -> str:
        how = {"id": self.run_id, "resume": "allow"} if self.run_id else {}
        # A run of its own, which is not the process's one run: a notebook may have that.
        self._run = self._wandb.init(
            project=self.project, config=dict(settings), reinit="create_new", **how, **self.init
        )
        self._run.define_metric("*", step_metric="epoch")  # so that an epoch that is done again has its own place
        return str(self._run.id)

    def _log(self, epoch: int, figures: Mapping[str, float], pictures: Mapping[str, NDArray[np.uint8]]) -> None:
        images = {f"pictures/{name}": self._wandb.Image(picture) for name, picture in pictures.items()}
        self._run.log({"epoch": epoch, **figures, **images})

    def _keep(self, path: Path) -> None:
        artifact = self._wandb.Artifact(f"model-{self.run_id}", type="model")
        artifact.add_file(str(path))  # copied
        self._run.log_artifact(artifact)

    def _close(self, *, complete: bool) -> None:
        self._run.finish(exit_code=0 if complete else 1)
        self._run = None


class MLflowLog(Tracker):
    """Tells MLflow of a run; the extra ``[mlflow]`` installs its library.

    Figures are named ``loss/training``, ``loss/validation``, ...; their step is the epoch. A run that is stopped has
    the status KILLED until it is resumed. MLflow's active run of the process is neither used nor changed.

    Args:
        experiment: Name of the experiment (default: $MLFLOW_EXPERIMENT_NAME, or "mnistvae"); made if need be.
        tracking_uri: Address of the server, or of a local store (default: MLflow's own, $MLFLOW_TRACKING_URI).
        run_name: Name of the run (default: MLflow invents one).
        pictures_every: Epochs between two pictures of samples; 0 for none; the last epoch always has one.
        model: Whether the trained model's file is to be kept as an artifact.
        config: Parameters of your own that are kept with those of model, Trainer and data.

    Raises:
        SettingError: If the library is not installed, or a setting makes no sense.
        TrainingError: If the service does not answer when a run begins, in ``fit``.
    """

    service = "MLflow"
    remedy = "start its server, or set MLFLOW_TRACKING_URI; MLFLOW_HTTP_REQUEST_MAX_RETRIES=1 makes it give up sooner"

    def __init__(
        self,
        experiment: str | None = None,
        *,
        tracking_uri: str | None = None,
        run_name: str | None = None,
        pictures_every: int = 1,
        model: bool = False,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(pictures_every, model=model, config=config)
        try:
            import mlflow
        except ImportError as error:
            raise _missing("mlflow", "an MLflowLog", error) from error
        self.experiment = experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or "mnistvae"
        self.tracking_uri = tracking_uri
        self.run_name = run_name
        self._mlflow: Any = mlflow
        self._client: Any = None

    def _open(self, settings: Mapping[str, Any]) -> str:
        client = self._client = self._mlflow.MlflowClient(self.tracking_uri)
        if self.run_id is not None:
            client.update_run(self.run_id, status="RUNNING")
            return self.run_id
        found = client.get_experiment_by_name(self.experiment)
        number = client.create_experiment(self.experiment) if found is None else found.experiment_id
        run_id = str(client.create_run(number, run_name=self.run_name).info.run_id)
        params = [self._mlflow.entities.Param(name, str(value)[:_LONGEST]) for name, value in settings.items()]
        client.log_batch(run_id, params=params)
        return run_id

    def _log(self, epoch: int, figures: Mapping[str, float], pictures: Mapping[str, NDArray[np.uint8]]) -> None:
        from time import time

        now = int(time() * 1000)
        metrics = [self._mlflow.entities.Metric(name, float(value), now, epoch) for name, value in figures.items()]
        self._client.log_batch(self.run_id, metrics=metrics)
        for name, picture in pictures.items():
            self._client.log_image(self.run_id, picture, artifact_file=f"pictures/{name}-{epoch:04d}.png")

    def _keep(self, path: Path) -> None:
        self._client.log_artifact(self.run_id, str(path))

    def _close(self, *, complete: bool) -> None:
        self._client.set_terminated(self.run_id, "FINISHED" if complete else "KILLED")
        self._client = None


def run_settings(state: State) -> dict[str, Any]:
    """The settings of a run in one level, such as ``trainer/batch_size`` and ``model/latent_dim``.

    Args:
        state: State of a run that begins.
    """
    model, info = state.model, state.snapshot().info
    name, images, *_ = info["data"][0]
    parts = {part: repr(getattr(model, part)) for part in ("encoder", "decoder", "likelihood", "prior", "objective")}
    sizes = {"class": type(model).__name__, "latent_dim": model.latent_dim, "num_classes": model.num_classes}
    weights = sum(weight.numel() for weight in model.parameters())
    groups: dict[str, Mapping[str, Any]] = {
        "model": {**sizes, "image_shape": list(model.image_shape), **parts, "weights": weights},
        "trainer": {"epochs": state.epochs, **info["settings"]},
        "data": {"name": name, "images": images, "tag": state.history.tag},
    }
    found = {f"{group}/{key}": value for group, one in groups.items() for key, value in one.items()}
    return {**found, "mnistvae": __version__}


def _missing(library: str, what: str, error: ImportError) -> SettingError:
    return SettingError(f"the library {library} for {what}", str(error), f'pip install "mnistvae[{library}]"')


def _words(error: Exception) -> str:
    """A library's failure in its own words, on one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:_SAID]}" if text else type(error).__name__
