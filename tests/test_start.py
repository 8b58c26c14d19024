"""The start of a training at the mean image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from test_resume import StopAt
from torch import Tensor, nn

import mnistvae as mv
from mnistvae.errors import ComponentError, SettingError
from mnistvae.likelihoods import Autoregressive, Bernoulli, Categorical, ContinuousBernoulli, Gaussian, Likelihood
from mnistvae.networks import ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder
from mnistvae.training import Checkpoint, Interrupted
from mnistvae.training.start import start_at_mean
from mnistvae.training.world import ALONE, World

SHAPE = (1, 8, 8)


def images(n: int = 40, seed: int = 0) -> Tensor:
    """Dark images with a bright corner."""
    x = 0.2 * torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(seed))
    x[:, :, :2, :2] += 0.7
    return x


def model(kind: str = "mlp", likelihood: Likelihood | None = None) -> mv.VAE:
    torch.manual_seed(0)
    n_params = 1 if likelihood is None else likelihood.n_params
    if kind == "mlp":
        encoder, decoder = MLPEncoder(2, SHAPE, (16,)), MLPDecoder(2, SHAPE, (16,), n_params=n_params)
        return mv.VAE(2, SHAPE, encoder=encoder, decoder=decoder, likelihood=likelihood)
    parts: dict[str, Any] = {"encoder": ConvEncoder(2, SHAPE, (4, 4)), "decoder": ConvDecoder(2, SHAPE, (4, 4))}
    return mv.VAE(2, SHAPE, likelihood=likelihood, **parts)


def drawn(vae: mv.VAE) -> Tensor:
    """What a decoder draws whose last layer ignores what comes to it."""
    *_, last = (layer for layer in vae.decoder.modules() if isinstance(layer, nn.Linear | nn.ConvTranspose2d))
    nn.init.zeros_(last.weight)
    with torch.no_grad():
        return vae.decode(torch.randn(1, 2)).mean[0]


@pytest.mark.parametrize(
    "likelihood",
    [Bernoulli(), Gaussian(), Gaussian(link="identity"), Gaussian("per-pixel"), Categorical(3), Autoregressive()],
    ids=repr,
)
def test_the_decoder_starts_at_the_mean_image_with_ten_more_of_the_mean_brightness(likelihood: Likelihood) -> None:
    x = images()
    vae = model(likelihood=likelihood)
    assert start_at_mean(vae, x, None, ALONE)
    wanted = (x.sum(0) + 10 * x.mean()) / 50
    torch.testing.assert_close(drawn(vae), wanted)
    if likelihood.n_params == 2:
        scale = vae.decode(torch.zeros(1, 2)).base_dist.scale  # type: ignore[attr-defined]
        torch.testing.assert_close(scale, torch.full_like(scale, 0.5), atol=5e-3, rtol=0)  # but for its floor


def test_a_decoder_of_convolutions_starts_at_the_mean_brightness() -> None:
    x = images()
    vae = model("conv")
    assert start_at_mean(vae, x, None, ALONE)
    torch.testing.assert_close(drawn(vae), x.mean().expand(SHAPE))


def test_nothing_but_that_bias_changes_and_no_noise_is_drawn() -> None:
    vae, before = model(), model().state_dict()
    torch.manual_seed(5)
    vae.train()
    start_at_mean(vae, images(), None, ALONE)
    assert vae.training
    noise = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(noise, torch.rand(3))
    changed = [name for name, value in vae.state_dict().items() if not torch.equal(value, before[name])]
    assert changed == [[name for name in before if name.startswith("decoder") and name.endswith("bias")][-1]]


def test_black_images_leave_no_pixel_certain() -> None:
    vae = model()
    start_at_mean(vae, torch.zeros(5, *SHAPE), None, ALONE)
    assert drawn(vae).min() > 1e-4
    assert vae.loss(torch.ones(2, *SHAPE)).loss.isfinite().all()


def test_a_trained_model_is_left_as_it_is() -> None:
    x, vae = images(), model()
    mv.Trainer(60, 20, 1e-2, seed=0, progress=False, device="cpu").fit(vae, x)
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    assert not start_at_mean(vae, x, None, ALONE)
    assert all(torch.equal(value, before[name]) for name, value in vae.state_dict().items())


@dataclass(frozen=True)
class Pair(World):
    """Two processes, of which this one knows what the other one would tell."""

    told: tuple[Tensor, ...] = ()

    def add(self, tensors: Sequence[Tensor]) -> None:
        for tensor in tensors:
            for other in self.told:
                if other.shape == tensor.shape:
                    tensor.add_(other)


def test_all_processes_start_at_the_mean_of_all() -> None:
    mine, others = images(seed=0), images(12, seed=1) / 2
    vae = model()
    start_at_mean(vae, mine, None, Pair(told=(others.sum(0), torch.tensor(12.0))))
    whole = torch.cat([mine, others])
    torch.testing.assert_close(drawn(vae), (whole.sum(0) + 10 * whole.mean()) / 62)


def test_training_begins_lower_and_a_resumed_run_ends_as_the_whole_one(tmp_path: Path) -> None:
    def run(*callbacks: Any, start: bool = True, **more: Any) -> tuple[mv.History, mv.VAE]:
        vae = model("conv")
        how: dict[str, Any] = {"seed": 1, "progress": False, "device": "cpu", "callbacks": callbacks}
        return mv.Trainer(3, 10, start_at_mean=start, **how).fit(vae, images(), **more), vae

    (history, whole), (plain, _) = run(), run(start=False)
    assert history[0]["loss"] < plain[0]["loss"] - 5
    with pytest.raises(Interrupted):
        run(Checkpoint(tmp_path), StopAt(6))
    again, resumed = run(Checkpoint(tmp_path), resume=tmp_path)
    assert again.column("loss") == history.column("loss")
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in resumed.state_dict().items())


def test_labels_are_for_models_that_use_them() -> None:
    y = torch.arange(40) % 3
    assert start_at_mean(model(), images(), y, ALONE)
    torch.manual_seed(0)
    assert start_at_mean(mv.ConditionalVAE(2, 3, image_shape=SHAPE), images(), y, ALONE)


def test_what_cannot_start_there_says_so() -> None:
    with pytest.raises(SettingError, match="a likelihood that can start at a mean image, got ContinuousBernoulli"):
        start_at_mean(model(likelihood=ContinuousBernoulli()), images(), None, ALONE)
    vae = model()
    for layer in vae.decoder.modules():
        if isinstance(layer, nn.Linear):
            layer.register_parameter("bias", None)
    with pytest.raises(ComponentError, match="a layer of the decoder with a bias of 64 or 1 values, got none"):
        start_at_mean(vae, images(), None, ALONE)
    with pytest.raises(SettingError, match="start_at_mean as True or False"):
        mv.Trainer(start_at_mean="yes")  # type: ignore[arg-type]
