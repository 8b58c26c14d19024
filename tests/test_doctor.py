"""The doctor: a warning in plain words for a run that has the defect, and silence for one that is well."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mnistvae import VAE, ConditionalVAE, ImageDataset, Trainer, load_dataset
from mnistvae._random import seeded
from mnistvae.errors import SettingError
from mnistvae.networks import MLPDecoder, MLPEncoder
from mnistvae.objectives import ELBO, Objective, Terms
from mnistvae.training import Callback, Checkpoint, Doctor, State

SHAPE = (1, 28, 28)


def digits(n: int = 256) -> ImageDataset:
    return load_dataset("mnist-mini", "test")[:n]


def vae(latent_dim: int = 4, objective: Objective | None = None, kind: type[VAE] = VAE) -> VAE:
    with seeded(6):
        return kind(
            latent_dim,
            SHAPE,
            encoder=MLPEncoder(latent_dim, SHAPE, (32,)),
            decoder=MLPDecoder(latent_dim, SHAPE, (32,)),
            objective=objective,
        )


def said(
    model: VAE, data: ImageDataset, *callbacks: Callback, doctor: Doctor | None = None, **settings: Any
) -> list[str]:
    """What the doctor says of a run."""
    run = Trainer(
        **{"epochs": 4, "batch_size": 32, "learning_rate": 0.003, "progress": False, "device": "cpu", **settings},
        callbacks=[*callbacks, doctor or Doctor()],
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run.fit(model, data)
    return [str(warning.message) for warning in caught]


class MeanOverPixels(VAE):
    """The mistake that the doctor looks for: one value an image, but a mean over its pixels."""

    def loss(self, x: Any, y: Any = None) -> Terms:
        terms = super().loss(x, y)
        reconstruction = terms.reconstruction / x[0].numel()
        return Terms(reconstruction + terms.kl, reconstruction, terms.kl)


def collapsed() -> VAE:
    """Ten latent dimensions with a KL term, of which none says anything of the image."""
    model = vae(10)

    class Blind(MLPEncoder):
        def forward(self, x: Any, y: Any = None) -> Any:
            return super().forward(torch.zeros_like(x), y)

    model.encoder.__class__ = Blind
    return model


def twice(n: int = 64) -> ImageDataset:
    return ImageDataset(digits(n).images.float() / 255 / 255)


@pytest.mark.parametrize(
    ("make", "data", "message"),
    [
        (lambda: vae(objective=ELBO(1000.0)), digits, r"the KL term is \S+ nats after 3 epochs.*lower beta.*free_bits"),
        (
            lambda: vae(kind=MeanOverPixels),
            lambda: digits(64),
            r"the reconstruction term is 0\.\d+ nats for 784 pixels after one epoch.*mean over them: sum over pixels",
        ),
    ],
    ids=["KL at zero", "mean over pixels"],
)
def test_a_defect_is_said(make: Callable[[], VAE], data: Callable[[], ImageDataset], message: str) -> None:
    found = said(make(), data(), epochs=6)
    assert sum(bool(re.search(message, text)) for text in found) == 1, found


def test_a_collapse_is_said() -> None:
    class Nats(Callback):
        """The code is far from the prior and yet the same for all images."""

        def on_epoch_end(self, state: State) -> None:
            state.history[-1]["kl"] = 3.0

    (text,) = said(collapsed(), digits(64), Nats(), epochs=6)
    assert text.startswith("0 of 10 latent dimensions are active after 3 epochs, a posterior collapse: lower beta")


def test_images_divided_by_255_twice_are_said_before_the_first_epoch() -> None:
    class First(Callback):
        def on_epoch_start(self, state: State) -> None:
            raise KeyboardInterrupt

    data = torch.rand(16, *SHAPE) / 255
    run = Trainer(epochs=1, progress=False, device="cpu", callbacks=[Doctor(), First()])
    with (
        pytest.warns(UserWarning, match=r"brightest pixel is 0\.00\d+: the images look divided by 255 twice.*uint8"),
        pytest.warns(UserWarning, match=r"brightest of all pixels is 0\.00\d+ on the scale from 0 to 1, .*max_value=0"),
        pytest.raises(KeyboardInterrupt),
    ):
        run.fit(vae(), data)


@pytest.mark.parametrize(
    "settings",
    [{}, {"ema": 0.9}, {"precision": "bf16"}, {"binarization": "dynamic"}, {"accumulate": 2, "schedule": "cosine"}],
    ids=str,
)
def test_nothing_is_said_of_a_run_that_is_well(settings: dict[str, Any]) -> None:
    assert said(vae(), digits(512), **settings) == []


def test_nothing_is_said_of_a_conditional_model_that_is_well() -> None:
    with seeded(6):
        model = ConditionalVAE(
            2,
            10,
            SHAPE,
            encoder=MLPEncoder(2, SHAPE, (32,), num_classes=10),
            decoder=MLPDecoder(2, SHAPE, (32,), num_classes=10),
        )
    assert said(model, digits(512)) == []


def test_dark_images_are_no_defect() -> None:
    data = ImageDataset(digits(64).images // 64, max_value=255)  # up to 3 of 255
    assert not any("255" in text for text in said(vae(), data, epochs=1))


def test_each_warning_comes_once_a_run_and_again_in_the_next() -> None:
    doctor = Doctor(patience=1)
    for _ in range(2):
        found = said(vae(objective=ELBO(1000.0)), digits(64), doctor=doctor, epochs=5, learning_rate=0.01)
        assert sum("KL term" in text for text in found) == 1, found


def test_nothing_is_said_of_the_code_before_its_patience_is_over() -> None:
    settings: dict[str, Any] = {"epochs": 4, "learning_rate": 0.01}
    assert said(vae(objective=ELBO(1000.0)), digits(64), doctor=Doctor(patience=5), **settings) == []
    assert len(said(vae(objective=ELBO(1000.0)), digits(64), doctor=Doctor(patience=4), **settings)) == 1


def test_the_share_of_active_dimensions_is_a_setting() -> None:
    assert said(vae(4), digits(), doctor=Doctor(active=0.0)) == []
    (text,) = said(vae(4), digits(), doctor=Doctor(active=1.5))
    assert " of 4 latent dimensions are active after 3 epochs" in text


def test_looking_changes_nothing(tmp_path: Path) -> None:
    looked, alone = vae(), vae()
    assert said(looked, digits(), Checkpoint(tmp_path), doctor=Doctor(patience=2)) == []
    settings: dict[str, Any] = {"epochs": 4, "batch_size": 32, "learning_rate": 0.003}
    Trainer(**settings, progress=False, device="cpu").fit(alone, digits())
    assert all(torch.equal(tensor, alone.state_dict()[name]) for name, tensor in looked.state_dict().items())


@pytest.mark.parametrize("settings", [{"patience": 0}, {"active": -0.1}, {"active": float("nan")}])
def test_settings_that_make_no_sense(settings: dict[str, Any]) -> None:
    with pytest.raises(SettingError):
        Doctor(**settings)


class LossPerPixel(VAE):
    """The same mistake in the loss alone."""

    def loss(self, x: Any, y: Any = None) -> Terms:
        terms = super().loss(x, y)
        return terms._replace(loss=terms.reconstruction / x[0].numel() + terms.kl)


def test_a_loss_that_is_a_mean_beside_terms_that_are_sums() -> None:
    heard = said(vae(kind=LossPerPixel), digits(), epochs=1)
    assert len(heard) == 1
    assert re.match(r"the loss is [\d.]+ beside a reconstruction of [\d.]+ nats: if it is divided", heard[0])


def test_a_code_that_diverged_is_no_posterior_collapse() -> None:
    class Thrown(Callback):
        """Puts the posterior far from the prior, the same for all images."""

        def on_epoch_start(self, state: State) -> None:
            with torch.no_grad():
                last = list(state.model.encoder.parameters())[-2:]
                last[0].zero_()
                last[1].fill_(4.0)

    heard = said(vae(), digits(), Thrown(), doctor=Doctor(patience=1), epochs=1, learning_rate=1e-9)
    assert len(heard) == 1
    assert "no latent dimension is active after 1 epochs, though the KL term is" in heard[0]
    assert "lower learning_rate" in heard[0]
