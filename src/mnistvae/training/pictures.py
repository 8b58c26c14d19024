"""What a model draws as it learns."""

from __future__ import annotations

import io
import os
from pathlib import Path

import torch

from mnistvae._checks import check_count, check_seed
from mnistvae._files import make_folder, write_atomically
from mnistvae.images import montage
from mnistvae.training.callbacks import Callback, State

__all__ = ["SampleGrid"]


class SampleGrid(Callback):
    """Writes a picture of samples from the prior after each epoch, always of the same noise: what changes is the model.

    The files are ``samples-0001.png``, ``samples-0002.png``, ... by the number of the epoch. Of a conditional model
    the columns are the classes.

    Args:
        folder: made if need be.
        rows: rows of images.
        every: epochs between two pictures; the last epoch always has one.
        seed: of the noise.

    Raises:
        SettingError: a number below 1, or no seed.
        OutputError: the folder cannot be written.
    """

    def __init__(self, folder: str | os.PathLike[str], rows: int = 8, every: int = 1, seed: int = 0) -> None:
        self.folder = Path(folder)
        self.rows = check_count("rows as an integer of at least 1", rows)
        self.every = check_count("every as a number of epochs of at least 1", every)
        self.seed = check_seed(seed)

    def on_fit_start(self, state: State) -> None:
        make_folder(self.folder)  # before the first epoch, so that a bad folder costs no training

    def on_epoch_end(self, state: State) -> None:
        if state.epoch % self.every and not state.stop and state.epoch != state.epochs:
            return
        from PIL import Image

        columns = state.model.num_classes or 8
        noise = torch.Generator().manual_seed(self.seed)
        images = state.model.sample(self.rows * columns, generator=noise)
        stream = io.BytesIO()
        Image.fromarray(montage(images, columns)).save(stream, format="png")
        write_atomically(self.folder / f"samples-{state.epoch:04d}.png", stream.getvalue())
