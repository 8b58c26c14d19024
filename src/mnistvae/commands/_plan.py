"""A training run from its record: what is trained, what is written into its folder, and how it is gone on with."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path

from mnistvae._checks import check_instance
from mnistvae._component import find_own_classes, to_spec
from mnistvae.commands._inputs import Say, settings_text
from mnistvae.commands._pictures import draw_reconstructions, draw_samples
from mnistvae.commands.folder import RunFolder
from mnistvae.commands.provenance import Provenance
from mnistvae.data import ImageDataset
from mnistvae.errors import DataError, SettingError
from mnistvae.io import save
from mnistvae.models import VAE
from mnistvae.plotting import loss_curves
from mnistvae.plugins import is_reference, resolve
from mnistvae.recipes import Recipe
from mnistvae.training import Callback, Checkpoint, CSVLog, Doctor, History, Interrupted, SampleGrid, Trainer
from mnistvae.training.checkpoints import checkpoints_in

__all__ = ["Plan", "open_run_folder", "resolve_callback"]


@dataclass(frozen=True)
class Plan:
    """A training run that is about to begin, or to go on.

    Raises:
        DataError: If the images cannot be drawn.
    """

    recipe: Recipe
    record: Provenance
    data: ImageDataset
    validation: ImageDataset | None
    callbacks: list[Callback]
    device: str
    _: KW_ONLY
    progress: bool
    resume: bool

    def __post_init__(self) -> None:
        channels = self.data.image_shape[0]
        if channels not in {1, 3}:
            raise DataError(
                "images of 1 or 3 channels, which a run can draw",
                f"{channels} channels",
                "train with mnistvae.Trainer, which takes any number, and draw the channels one by one",
            )

    def describe(self, say: Say) -> None:
        """Pass the lines at the start of a run on to ``say``."""
        recipe, record = self.recipe, self.record
        effective = {**recipe.settings, **record.settings, **recipe.training, **record.training, "seed": record.seed}
        say(f"recipe {recipe.name}: {recipe.summary}")
        held_out = " of the same" if record.validation_split else ""
        validates = f"{len(self.validation or ()):,}{held_out} to validate"
        images = f"{len(self.data):,} image{'' if len(self.data) == 1 else 's'}"
        say(f"data {record.dataset}: {images} to train on, {validates}")
        say(f"settings {settings_text(effective)}")

    def run(self, folder: RunFolder, *, writes: bool) -> tuple[VAE, History]:
        """Train, and if this process writes, leave everything in the folder."""
        record, data = self.record, self.data
        seed = {} if record.seed is None else {"seed": record.seed}
        shape, classes = data.image_shape, data.num_classes or 1
        model = self.recipe.model(image_shape=shape, num_classes=classes, **seed, **record.settings)
        pictures = [SampleGrid(folder.epochs, every=record.samples_every)] if record.samples_every else []
        trainer = self.recipe.trainer(
            **{**record.training, **seed, "device": self.device, "progress": self.progress},
            callbacks=[CSVLog(folder.history), Doctor(), *pictures, *self.callbacks, Checkpoint(folder.checkpoints)],
        )
        here = record.stamp(data, self.device)
        if writes and not self.resume:  # before anything that takes time, so that what is killed can be resumed
            folder.write_record(here)
        # A run that was stopped before its first checkpoint starts again.
        begun = folder.checkpoints if self.resume and checkpoints_in(folder.checkpoints) else None
        history = trainer.fit(model, data, self.validation, resume=begun)
        if writes:
            self._write(folder, model, history, trainer, here)
        return model, history

    def _write(self, folder: RunFolder, model: VAE, history: History, trainer: Trainer, here: Provenance) -> None:
        """Write the model, then its pictures."""
        done = replace(
            here,
            binarization=trainer.binarization if self.data.binarization == "none" else self.data.binarization,
            epochs=len(history),
            batch_size=trainer.batch_size,
            learning_rate=trainer.learning_rate,
            tag=history.tag,
            last_epoch=history[-1],
        )
        if not folder.record.exists():  # somebody removed the folder while the run went on
            folder.write_record(here)
        save(model, folder.model, done.to_metadata())
        shown = self.validation or self.data
        folder.write_figure("loss.png", loss_curves(history))
        folder.write_figure("reconstructions.png", draw_reconstructions(model, shown, done.binarization))
        folder.write_figure("samples.png", draw_samples(model, here.seed or 0))

    def say_what_is_next(self, folder: RunFolder, model: VAE, say: Say) -> None:
        """Pass the lines at the end of a run on to ``say``."""
        say(f"\nwrote to {folder.path}:")
        for file in RunFolder.TRAINED:
            say(f"  {folder.path / file}")
        own = "".join(f" --classes {name}" for name in find_own_classes(to_spec(model)))
        run = shlex.quote(str(folder.path))
        label = " --label 3" if self.recipe.conditional else ""
        data = f" --dataset {self.record.dataset}" if is_reference(self.record.dataset or "") else ""
        say(f"next:\n  mnistvae generate {run}{label}{own}\n  mnistvae reconstruct {run}{data}{own}")
        say(f"  mnistvae evaluate {run}{data}{own}\n  mnistvae report {run}{data}{own}")
        say(f"  mnistvae explore {run}{data}{own}")


@contextmanager
def open_run_folder(
    out: str | Path | None, resume: str | Path | None, name: str, *, writes: bool
) -> Iterator[RunFolder]:
    """The folder of a new run, or of one to go on with, for a block; whoever stops the block is told how to go on."""
    if not writes:  # a process that leaves it to the first one
        place: AbstractContextManager[RunFolder] = nullcontext(RunFolder(resume or out or Path()))
    elif resume is not None:
        place = RunFolder(resume).resume()
    else:
        place = RunFolder.claim(out, RunFolder.BEGUN, lock="run.json", name=name)
    with place as folder:
        try:
            yield folder
        except KeyboardInterrupt as error:
            if not isinstance(error, Interrupted) and not checkpoints_in(folder.checkpoints):
                error.add_note("no step was finished, so nothing is kept")
                raise
            size = os.environ.get("WORLD_SIZE", "1")
            verb = "mnistvae" if size == "1" else f"torchrun --nproc-per-node={size} -m mnistvae"
            error.add_note(f"go on with:\n  {verb} train --resume {shlex.quote(str(folder.path))}")
            raise


def resolve_callback(callback: str | Callback) -> Callback:
    """A callback, or the one of that name: an instance, or a class or function that makes one.

    Raises:
        SettingError: If the name leads to something else, or the callback cannot be made without arguments.
    """
    if not isinstance(callback, str):
        return callback
    found = resolve("callback", callback)
    if not isinstance(found, Callback) and callable(found):
        try:
            found = found()
        except TypeError as error:
            raise SettingError(
                f"{callback} to make a callback without arguments", str(error), "give the name of an instance"
            ) from error
    return check_instance(f"{callback} as a mnistvae.training.Callback", found, Callback, "give the name of one")
