"""Pictures of what a model generates as it learns."""

from __future__ import annotations

import io
import os

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mnistvae._checks import check_count, check_seed
from mnistvae._files import as_path, make_folder, remove_temporaries, write_atomically
from mnistvae._modes import evaluating
from mnistvae.images import montage
from mnistvae.models import VAE
from mnistvae.training.callbacks.base import Callback
from mnistvae.training.state import State

__all__ = ["SampleGrid"]

#: Dimensions of a latent space that can be drawn, and images a side of its picture.
_PLANE, _SIDE = 2, 15


class SampleGrid(Callback):
    """Writes a picture of samples from the prior after each epoch, always from the same noise.

    The files are ``samples-0001.png``, ``samples-0002.png``, ... by the number of the epoch. Of a conditional model
    the columns are the classes. A model with two latent dimensions also gives ``plane-0001.png``, ...: images decoded
    over the plane from -2 to 2 (of class 0, if it is conditional). ``mnistvae animate`` makes films of them.

    Args:
        folder: Folder of the pictures; made if need be.
        rows: Rows of images.
        every: Epochs between two pictures; the last epoch always has one.
        seed: Seed of the noise.

    Raises:
        SettingError: If a number is below 1, or the seed is none.
        OutputError: If the folder cannot be written.
    """

    def __init__(self, folder: str | os.PathLike[str], rows: int = 8, every: int = 1, seed: int = 0) -> None:
        self.folder = as_path(folder)
        self.rows = check_count("rows as an integer of at least 1", rows)
        self.every = check_count("every as a number of epochs of at least 1", every)
        self.seed = check_seed(seed)

    def on_fit_start(self, state: State) -> None:
        make_folder(self.folder)  # before the first epoch, so that a bad folder costs no training
        remove_temporaries(self.folder)

    def on_epoch_end(self, state: State) -> None:
        if state.epoch % self.every and not state.stop and state.epoch != state.epochs:
            return
        for what, picture in pictures_of(state.model, self.rows, self.seed).items():
            self._write(what, state.epoch, picture)

    def _write(self, what: str, epoch: int, picture: NDArray[np.uint8]) -> None:
        from PIL import Image

        stream = io.BytesIO()
        Image.fromarray(picture).save(stream, format="png")
        write_atomically(self.folder / f"{what}-{epoch:04d}.png", stream.getvalue())


def pictures_of(model: VAE, rows: int, seed: int) -> dict[str, NDArray[np.uint8]]:
    """Pictures of what a model draws by their names: ``samples`` and, of two latent dimensions, ``plane``.

    Args:
        model: Model that draws.
        rows: Rows of samples.
        seed: Seed of their noise.
    """
    columns = model.num_classes or 8
    images = model.sample(rows * columns, generator=torch.Generator().manual_seed(seed))
    drawn = {"samples": montage(images, columns)}
    if model.latent_dim == _PLANE:
        drawn["plane"] = montage(_plane(model), _SIDE, padding=0)
    return drawn


@torch.no_grad()
def _plane(model: VAE) -> Tensor:
    """Images decoded over the latent plane, (225, C, H, W), row by row, the top row first."""
    ticks = torch.linspace(-2, 2, _SIDE, dtype=model.dtype, device=model.device)
    codes = torch.stack(torch.meshgrid(ticks, ticks.flip(0), indexing="xy"), -1).reshape(-1, _PLANE)
    with evaluating(model):
        return model.decode(codes, None if model.num_classes is None else 0).mean.clamp(0, 1)
