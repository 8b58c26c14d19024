"""Whatever is computed of tensors or a model on an accelerator without double precision, and of data beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from accelerator import Remote, accelerator
from torch import Tensor

import mnistvae as mv
from mnistvae import VAE, ConditionalVAE, ImageDataset, Trainer
from mnistvae import analysis as a
from mnistvae import metrics as m
from mnistvae.arrays import double_on
from mnistvae.networks import MLPDecoder, MLPEncoder

pytestmark = pytest.mark.filterwarnings("ignore")
SHAPE = (1, 8, 8)


@pytest.fixture(autouse=True)
def device() -> Iterator[torch.device]:
    with accelerator() as device:
        yield device


def images(n: int = 24, seed: int = 0) -> Tensor:
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(seed))


def data() -> ImageDataset:
    return ImageDataset(images(), torch.arange(24) % 3)


def model(kind: type[VAE] = VAE, **sizes: Any) -> VAE:
    torch.manual_seed(0)
    classes = sizes.get("num_classes")
    return kind(
        3,
        image_shape=SHAPE,
        encoder=MLPEncoder(3, SHAPE, hidden=(8,), num_classes=classes),
        decoder=MLPDecoder(3, SHAPE, hidden=(8,), num_classes=classes),
        **sizes,
    )


def codes(seed: int = 0) -> Tensor:
    return torch.randn(30, 3, generator=torch.Generator().manual_seed(seed))


def test_the_made_up_accelerator_has_the_limits_of_a_real_one(device: torch.device) -> None:
    x = images().to(device)
    assert isinstance(x, Remote)
    for refused in (x.double, lambda: x.to(torch.float64), x.numpy, lambda: x + images()):
        with pytest.raises((TypeError, RuntimeError)):
            refused()
    assert torch.equal((x * 2).cpu(), images() * 2)


LABELS = torch.arange(30) % 3
FUNCTIONS: dict[str, Callable[[Callable[[Tensor], Tensor]], Any]] = {
    "mse": lambda on: m.mse(on(images()), on(images(seed=1))),
    "mae": lambda on: m.mae(on(images()), images(seed=1)),
    "psnr": lambda on: m.psnr(on(images()), on(images(seed=1))),
    "ssim": lambda on: m.ssim(on(images()), on(images(seed=1))),
    "frechet_distance": lambda on: m.frechet_distance(on(codes()), on(codes(1))),
    "classifier_score": lambda on: m.classifier_score(on(codes())),
    "precision_recall": lambda on: m.precision_recall(on(codes()), on(codes(1))),
    "label_accuracy": lambda on: m.label_accuracy(on(codes()), on(LABELS)),
    "active_units": lambda on: m.active_units(on(codes())),
    "mig": lambda on: m.mig(on(codes()), on(LABELS)),
    "sap": lambda on: m.sap(on(codes()), on(LABELS)),
    "find_clusters": lambda on: a.find_clusters(on(codes())).members,
    "pca": lambda on: a.embed(on(codes())).points,
    "outliers": lambda on: [one.index for one in a.outliers(on(codes()), a.find_clusters(codes()))],
    "interpolate_codes": lambda on: a.interpolate_codes(on(codes()[0]), on(codes()[1]), 4, "spherical"),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_tensors_there_give_what_they_give_here(name: str, device: torch.device) -> None:
    def plain(value: Any) -> Tensor:
        return torch.as_tensor(value.cpu() if isinstance(value, Tensor) else value).double()

    there, here = FUNCTIONS[name](lambda x: x.to(device)), FUNCTIONS[name](lambda x: x)
    assert torch.allclose(plain(there), plain(here), rtol=1e-4, atol=1e-5)


def test_codes_and_labels_may_be_anywhere(device: torch.device) -> None:
    vae = model(ConditionalVAE, num_classes=3)
    expected = vae.decode(codes()[:4], LABELS[:4]).mean
    vae.to(device)
    for z in (codes()[:4], codes()[:4].to(device), codes()[:4].double()):
        for y in (LABELS[:4], LABELS[:4].to(device)):
            assert torch.allclose(vae.decode(z, y).mean.cpu(), expected, atol=1e-6)
    assert vae.sample(4).device == device


@pytest.mark.parametrize("include", mv.metrics.GROUPS)
def test_a_model_there_is_evaluated(include: Any, device: torch.device) -> None:
    here = m.evaluate(model(), data(), train=data(), include=[include], num_samples=4)
    there = m.evaluate(model().to(device), data(), train=data(), include=[include], num_samples=4)
    assert there.names() == here.names()
    if include == "reconstruction":
        assert [score.value for score in there] == pytest.approx([score.value for score in here], rel=1e-4)


def test_a_model_is_trained_there_and_looked_at(device: torch.device) -> None:
    vae = model()
    history = Trainer(1, 8, progress=False, device="cpu").fit(vae, data())
    assert history[0]["loss"] > 0
    vae.to(device)
    found = a.encode_dataset(vae, data())
    assert a.latent_plane(vae, 3, axes="principal", codes=found.means.to(device)).images.shape == (9, *SHAPE)
    assert a.traverse(vae, found.means[0].to(device), spread=found.means.std(0).to(device)).shape == (3, 7, *SHAPE)
    assert a.decode_codes(vae, found.means).device.type == "cpu"
    assert vae.reconstruct(images()).device == device


def test_the_sums_of_an_epoch_are_in_what_the_device_has(device: torch.device) -> None:
    sums = torch.zeros(3, dtype=double_on(device), device=device)
    state = mv.training.State(model(), 1, None, mv.training.History(), sums=sums)
    state.begin_epoch()
    for _ in range(4):
        state.count(2, torch.tensor([3.0, 2.0, 1.0, 0.5], device=device), ("loss", "reconstruction", "kl", "more"))
    assert (state.sums.dtype, state.sums.device) == (torch.float32, device)
    assert state.means() == {"loss": 1.5, "reconstruction": 1.0, "kl": 0.5, "more": 0.25}
