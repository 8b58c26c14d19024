"""A default device that somebody has set changes nothing: each tensor of the package is on a device that it names.

The device "meta", whose tensors hold no numbers, stands in for a GPU: whatever is made on it by mistake fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import mnistvae as mv
from mnistvae import _products
from mnistvae.training import Checkpoint

TRAIN, TEST = (mv.load_dataset("mnist-mini", split)[:40] for split in ("train", "test"))
MANY = mv.load_dataset("mnist-mini", "train")[:120]


@pytest.fixture
def model() -> mv.VAE:
    return mv.VAE(latent_dim=3)  # made before the default is set


@pytest.fixture
def elsewhere(model: mv.VAE) -> Iterator[mv.VAE]:
    _products._onednn_is_exact.cache_clear()
    torch.set_default_device("meta")
    yield model
    torch.set_default_device(None)


def trained(model: mv.VAE, folder: Path, epochs: int, resume: Path | None = None) -> mv.History:
    trainer = mv.Trainer(epochs, ema=0.9, device="cpu", progress=False, callbacks=[Checkpoint(folder)])
    return trainer.fit(model, TRAIN, TEST, resume=resume)


def test_training_and_its_resume(elsewhere: mv.VAE, tmp_path: Path) -> None:
    trained(elsewhere, tmp_path, 1)
    assert len(trained(elsewhere, tmp_path, 2, tmp_path)) == 2
    assert elsewhere.device.type == "cpu"


def folder(root: Path) -> mv.ImageDataset:
    for name, label in (("1", "a"), ("2", "a"), ("1", "b")):
        (root / label).mkdir(exist_ok=True)
        Image.new("L", (4, 4), int(name)).save(root / label / f"{name}.png")
    return mv.ImageDataset.from_folder(root, "train")


USES: dict[str, Callable[[mv.VAE, Path], Any]] = {
    "evaluate": lambda model, _: mv.metrics.evaluate(model, TEST, train=TRAIN, num_samples=2),
    "report": lambda model, path: mv.report.write_report(model, TEST, path, include=["latent"]),
    "fit_prior": lambda model, _: mv.fit_prior(model, TRAIN, 2).sample(3),
    "fit_prior, vae": lambda model, _: mv.fit_prior(model, MANY, kind="vae", hidden=(4,), steps=2).sample(3),
    "fit_prior, maf": lambda model, _: mv.fit_prior(model, MANY, kind="maf", hidden=(4,), steps=2).sample(3),
    "save and load": lambda model, path: mv.load(mv.save(model, path / "vae.safetensors")).sample(2),
    "anomalies": lambda model, _: mv.analysis.anomaly_scores(model, TEST[:3], kind="complexity"),
    "factors": lambda model, _: mv.metrics.evaluate(model, mv.data.shapes(60), include=["latent"]),
    "measured factors": lambda model, _: mv.data.measure_factors(TEST),
    "a toy": lambda model, _: mv.data.toy("moons", 5),
    "outliers": lambda model, _: mv.analysis.encode_dataset(model, TEST),
    "binarized": lambda *_: TEST.binarized("static"),
    "resized": lambda *_: mv.data.resized(TEST, 14),
    "folder": lambda _, path: folder(path),
    "one of each": lambda *_: mv.data.one_of_each(mv.ImageDataset(TEST.images)),
    "drawn": lambda model, _: (model.sample(3), model.reconstruct(TEST.images[:2])),
}


@pytest.mark.filterwarnings("ignore:the Fréchet distance is biased")
@pytest.mark.filterwarnings("ignore:codes that were held out are less likely")  # there are a dozen of them
@pytest.mark.parametrize("name", USES)
def test_what_is_computed_on_the_cpu_stays_there(name: str, elsewhere: mv.VAE, tmp_path: Path) -> None:
    found = USES[name](elsewhere, tmp_path)
    for one in found if isinstance(found, tuple) else (found,):
        assert getattr(one, "device", torch.device("cpu")).type == "cpu"


def test_a_model_can_be_made_without_numbers() -> None:
    with torch.device("meta"):
        assert mv.VAE(latent_dim=2).device.type == "meta"
