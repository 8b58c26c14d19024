"""Networks of torchvision's as trunks: named, trained, resumed, saved, loaded and copied; nothing else by a file."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
import torchvision
from torch import nn

import mnistvae as mv
from mnistvae import VAE, Trainer
from mnistvae.errors import ComponentError, FileFormatError, SettingError
from mnistvae.io import build, read
from mnistvae.networks import Backbone, GaussianEncoder, MLPDecoder
from mnistvae.training import Checkpoint

SHAPE = (1, 16, 16)
#: The smallest of torchvision's, which takes small images too.
SMALL = "squeezenet1_1"


def model(shape: tuple[int, int, int] = SHAPE, name: str = SMALL, **settings: Any) -> VAE:
    torch.manual_seed(0)
    trunk = Backbone(name, features=8, **{"size": 32, **settings})
    return VAE(2, shape, encoder=GaussianEncoder(trunk, 2), decoder=MLPDecoder(2, shape, hidden=(8,)))


def trainer(epochs: int, *callbacks: Any) -> Trainer:
    return Trainer(epochs, 8, device="cpu", progress=False, callbacks=callbacks)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(16, *SHAPE, generator=torch.Generator().manual_seed(0))


def test_it_is_trained_saved_and_loaded(images: torch.Tensor, tmp_path: Path) -> None:
    vae = model(settings={"dropout": 0.25})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trainer(1).fit(vae, images)
    path = mv.save(vae, tmp_path / "a.safetensors")
    with mock.patch("torch.hub.load_state_dict_from_url", side_effect=AssertionError("a download")):
        same = mv.load(path)
    assert torch.equal(same.encode(images).mean, vae.encode(images).mean)
    assert repr(same) == repr(vae)
    assert "Backbone(name='squeezenet1_1', features=8, size=32, settings={'dropout': 0.25})" in repr(vae.encoder)


def test_a_run_is_resumed_to_the_bit(images: torch.Tensor, tmp_path: Path) -> None:
    whole, halves = model(), model()
    expected = trainer(2).fit(whole, images)
    trainer(1, Checkpoint(tmp_path)).fit(halves, images)
    found = trainer(2, Checkpoint(tmp_path)).fit(model(), images, resume=tmp_path)
    assert found.column("loss") == expected.column("loss")


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_images_are_shown_in_three_channels(channels: int) -> None:
    trunk = Backbone(SMALL, 4).eval()
    x = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(trunk(x.expand(-1, channels, -1, -1)), trunk.network(x.repeat(1, 3, 1, 1)))
    with pytest.raises(ComponentError, match=r"images of 1 or 3 channels .* got 2: put a convolution before it"):
        trunk(torch.rand(2, 2, 32, 32))


def test_small_images_are_enlarged() -> None:
    trunk = Backbone(SMALL, 4, size=32).eval()
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(trunk(x), trunk.network(x))
    assert trunk(torch.rand(2, 1, 5, 9)).shape == (2, 4)


def test_images_of_a_size_that_a_network_does_not_take() -> None:
    with pytest.raises(ComponentError, match=r"images of a size that vit_b_16 takes, got 28 x 28: .*size=224\)"):
        Backbone("vit_b_16", 4)(torch.rand(2, 1, 28, 28))
    with pytest.raises(ComponentError, match=rf"images of a size that {SMALL} takes, got 5 x 9: .*size=224\)"):
        Backbone(SMALL, 4)(torch.rand(2, 1, 5, 9))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("resnet81",), "a classification network of torchvision.models, got 'resnet81': .* closest is 'resnet"),
        (("os:system",), "a classification network of torchvision.models, got 'os:system'"),
        (("fasterrcnn_resnet50_fpn",), "a classification network of torchvision.models"),
        ((None,), "a classification network of torchvision.models, got None"),
        ((SMALL, 0), "features as an integer of at least 1, got 0"),
        ((SMALL, 4, 0), "size as an integer of at least 1, or None, got 0"),
        ((SMALL, 4, None, {"depth": 3}), "settings of torchvision's squeezenet1_1, got .*depth"),
        ((SMALL, 4, None, {"weights": "DEFAULT"}), "settings of the network alone, got weights: load them into"),
        ((SMALL, 4, None, {"num_classes": 4}), "settings of the network alone, got num_classes: set features="),
        ((SMALL, 4, None, [1]), "settings by name, got a list"),
    ],
)
def test_what_makes_no_network(arguments: Any, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        Backbone(*arguments)


@pytest.mark.parametrize(
    "change", [{"name": "os:system"}, {"name": "vit_h_14"}, {"settings": {"dict": {"weights": "X"}}}]
)
def test_a_file_makes_no_other_network(change: dict[str, Any], tmp_path: Path) -> None:
    file = read(mv.save(model(), tmp_path / "a.safetensors"))
    file.spec["args"]["encoder"]["args"]["trunk"]["args"].update(change)
    with (
        mock.patch("torch.hub.load_state_dict_from_url", side_effect=AssertionError("a download")),
        pytest.raises(FileFormatError),
    ):
        build(file)


def test_a_network_that_cannot_be_saved_says_so_before_it_is_trained() -> None:
    plain = nn.Sequential(torchvision.models.squeezenet1_1(weights=None, num_classes=8), nn.Flatten())
    shape = (3, 32, 32)
    vae = VAE(2, shape, encoder=GaussianEncoder(plain, 2), decoder=MLPDecoder(2, shape, hidden=(8,)))
    words = "not be saved as it is: model.encoder.trunk.*make it by its name: mnistvae.networks.Backbone"
    with pytest.warns(UserWarning, match=words) as caught:
        trainer(1).fit(vae, torch.rand(8, *shape))
    assert [one.filename for one in caught] == [__file__]
