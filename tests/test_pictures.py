"""The pictures of samples that a run leaves after each epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from readback import png

from mnistvae import VAE, ConditionalVAE, ImageDataset, Trainer
from mnistvae.errors import OutputError, SettingError
from mnistvae.images import montage
from mnistvae.training import Callback, SampleGrid, State


def data() -> ImageDataset:
    return ImageDataset(torch.rand(24, 8, 8), torch.arange(24) % 3)


def train(*callbacks: Callback, model: VAE | None = None, **settings: Any) -> VAE:
    settings = {"epochs": 3, "batch_size": 8, "progress": False, "device": "cpu"} | settings
    vae = VAE(2, (1, 8, 8)) if model is None else model
    Trainer(**settings, callbacks=callbacks).fit(vae, data())
    return vae


def test_one_for_each_epoch_of_the_same_noise(tmp_path: Path) -> None:
    vae = train(SampleGrid(tmp_path / "a", rows=2, seed=5))
    names = ["samples-0001.png", "samples-0002.png", "samples-0003.png"]
    assert sorted(path.name for path in (tmp_path / "a").glob("samples*")) == names
    first, _, last = (png(tmp_path / "a" / name) for name in names)
    assert first.shape == (2 * 9 + 1, 8 * 9 + 1)
    assert not np.array_equal(first, last)  # the model has learned
    expected = montage(vae.sample(16, generator=torch.Generator().manual_seed(5)), 8)
    assert np.array_equal(last, expected)
    train(SampleGrid(tmp_path / "b", rows=2, seed=6), model=vae, learning_rate=1e-12)
    assert not np.array_equal(png(tmp_path / "b" / names[0]), last)  # other noise


def test_the_columns_are_the_classes(tmp_path: Path) -> None:
    vae = train(SampleGrid(tmp_path, rows=4), model=ConditionalVAE(2, 3, (1, 8, 8)))
    noise = torch.Generator().manual_seed(0)
    expected = montage(vae.sample(12, torch.arange(12) % 3, generator=noise), 3)
    assert np.array_equal(png(tmp_path / "samples-0003.png"), expected)


def test_the_plane_of_two_latent_dimensions(tmp_path: Path) -> None:
    vae = train(SampleGrid(tmp_path, rows=1))
    assert [path.name for path in sorted(tmp_path.glob("plane*"))] == [f"plane-000{n}.png" for n in (1, 2, 3)]
    picture = png(tmp_path / "plane-0003.png")
    assert picture.shape == (15 * 8, 15 * 8)
    with torch.no_grad():
        left_top, middle = vae.eval().decode(torch.tensor([[-2.0, 2.0], [0.0, 0.0]])).mean
    assert np.array_equal(picture[:8, :8], montage(left_top[None], 1, padding=0))
    assert np.array_equal(picture[56:64, 56:64], montage(middle[None], 1, padding=0))
    train(SampleGrid(tmp_path / "three", rows=1), model=VAE(3, (1, 8, 8)))
    assert not list((tmp_path / "three").glob("plane*"))


def test_the_averaged_weights_are_what_is_shown(tmp_path: Path) -> None:
    vae = train(SampleGrid(tmp_path, rows=1), ema=0.9)
    expected = montage(vae.sample(8, generator=torch.Generator().manual_seed(0)), 8)
    assert np.array_equal(png(tmp_path / "samples-0003.png"), expected)


def test_every_few_epochs_and_the_last(tmp_path: Path) -> None:
    train(SampleGrid(tmp_path / "a", rows=1, every=2), epochs=5)
    assert sorted(path.name[8:12] for path in (tmp_path / "a").glob("samples*")) == ["0002", "0004", "0005"]

    class Stop(Callback):
        def on_batch_end(self, state: State, n: int) -> None:
            state.stop = "enough" if state.epoch == 3 else ""

    train(SampleGrid(tmp_path / "b", rows=1, every=2), Stop(), epochs=5)
    assert sorted(path.name[8:12] for path in (tmp_path / "b").glob("samples*")) == ["0002", "0003"]


def test_training_is_the_same_with_and_without(tmp_path: Path) -> None:
    torch.manual_seed(1)
    plain = train()
    torch.manual_seed(1)
    watched = train(SampleGrid(tmp_path))
    assert all(torch.equal(watched.state_dict()[name], tensor) for name, tensor in plain.state_dict().items())


@pytest.mark.parametrize(("name", "value"), [("rows", 0), ("every", 0), ("seed", -1), ("rows", 1.5)])
def test_settings_that_make_no_sense(name: str, value: Any, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=name):
        SampleGrid(tmp_path, **{name: value})


def test_a_folder_that_cannot_be_written_costs_no_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    heard: list[int] = []

    class Listen(Callback):
        def on_batch_end(self, state: State, n: int) -> None:
            heard.append(n)

    with pytest.raises(OutputError, match="a folder to write"):
        train(SampleGrid(tmp_path / "file"), Listen())
    assert heard == []
