"""Advice of errors about data: followed to the letter, it leads to a right run."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import DataLoader

from mnistvae import VAE, ConditionalVAE, ImageDataset, Trainer
from mnistvae.errors import DataError
from mnistvae.images import check_range

GREY = torch.randint(0, 256, (40, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
GREY[0, 0, 0, :2] = torch.tensor([0, 255])
FLOAT = GREY.float() / 255
MASK = (GREY > 127).to(torch.uint8)


def refused(images: Any, labels: Any = None) -> str:
    with pytest.raises(DataError) as caught:
        ImageDataset(images, labels)
    assert caught.value.fix is not None
    return caught.value.fix


def followed(fix: str, pattern: str, **names: Any) -> Any:
    """The value of the one expression in the advice that matches."""
    found = re.search(pattern, fix)
    assert found is not None, fix
    return eval(found[0], {"np": np, "torch": torch, "ImageDataset": ImageDataset, **names})  # noqa: S307


@pytest.mark.parametrize(
    ("scaled", "pattern", "within"),
    [
        (FLOAT * 16, r"x / 16\b", 0),
        (FLOAT * 16, r"ImageDataset\(x, max_value=16\)", 0),
        (FLOAT * 1023, r"x / 1023\b", 0),
        (FLOAT * 4095, r"ImageDataset\(x, max_value=4095\)", 0),
        (FLOAT * 65535, r"x / 65535\b", 0),
        (FLOAT * 2 - 1, r"\(x \+ 1\) / 2", 0),
        (FLOAT * 1.2 - 0.1, r"x\.clamp\(0, 1\)", 26),
        ((FLOAT.double() * 1.3 - 0.2).numpy(), r"x\.clip\(0, 1\)", 52),
        ((GREY.long() * 16).numpy(), r"ImageDataset\(x, max_value=4095\)", 2),
        (MASK, r"x\.bool\(\)", None),
        (MASK.numpy(), r"x\.astype\(bool\)", None),
        (MASK.long().numpy(), r"x\.astype\(bool\)", None),
        (MASK.int(), r"x\.bool\(\)", None),
        (GREY.expand(-1, 3, 8, 8).permute(0, 2, 3, 1), r"x\.permute\(0, 3, 1, 2\)", 0),
        (GREY.expand(-1, 3, 8, 8).permute(0, 2, 3, 1).numpy(), r"x\.transpose\(0, 3, 1, 2\)", 0),
        (GREY.flatten(1), r"x\.reshape\(-1, 1, 8, 8\)", 0),
        (GREY.flatten(1).tolist(), r"np\.asarray\(x\)\.reshape\(-1, 1, 8, 8\)", 0),
        (GREY[:, 0, :, :3].flatten(1), None, 0),
        (GREY.numpy().view(np.int8), r"x\.view\(np\.uint8\)", 0),
        (GREY.view(torch.int8), r"x\.view\(torch\.uint8\)", 0),
        (GREY.to_sparse(), r"x\.to_dense\(\)", 0),
        (np.ma.masked_array(GREY.numpy(), GREY.numpy() == 0), r"x\.filled\(0\)", 0),
    ],
)
def test_advice_on_images(scaled: Any, pattern: str | None, within: int | None) -> None:
    fix = refused(scaled)
    right = scaled.reshape(-1, 1, 8, 3) if pattern is None else followed(fix, pattern, x=scaled)
    data = right if isinstance(right, ImageDataset) else ImageDataset(right)
    if within is None:
        assert torch.equal(data.images, MASK * 255)
    else:
        wanted = GREY[..., : data.image_shape[2]].int()
        assert int((data.images[:, :1].int() - wanted).abs().max()) <= within
    Trainer(epochs=1, progress=False, device="cpu").fit(VAE(2, data.image_shape), data)


@pytest.mark.parametrize("x", [FLOAT * 255, FLOAT * 200])
def test_advice_to_divide_by_255(x: Tensor) -> None:
    assert refused(x) == "divide by 255, or pass the uint8 tensor"
    assert ImageDataset(x / 255).images.max() >= 199


def test_advice_on_normalised_images_never_points_elsewhere() -> None:
    for mean, std in ((0.1307, 0.3081), (0.5, 1.0), (0.5, 0.25)):
        x = (FLOAT - mean) / std
        assert "drop Normalize from the transform, or x * std + mean" in refused(x)
        assert torch.equal(ImageDataset(x * std + mean).images, GREY)
    assert "drop Normalize" in refused((FLOAT - 0.5) * 255)


def test_a_mask_that_really_is_that_dark_and_dark_images() -> None:
    x = MASK.repeat(1, 1, 4, 4)
    assert "max_value=1; if they are that dark, max_value=255" in refused(x)
    assert int(ImageDataset(x, max_value=1).images.max()) == 255
    assert int(ImageDataset(x, max_value=255).images.max()) == 1
    for dark, white in ((GREY // 16, 15), (FLOAT / 255, 1 / 255), (FLOAT / 100, 0.01), (FLOAT.double() / 255**2, 0)):
        with pytest.warns(UserWarning, match="brightest of all pixels is .* nearly black") as said:
            ImageDataset(dark)
        right = followed(str(said[0].message), r"ImageDataset\(x, max_value=[-\d.e]+\)", x=dark)
        assert int(right.images.max()) > 240, white
    kept = ImageDataset(x, max_value=255)
    assert int(kept[:9].to("cpu").binarized("dynamic").images.max()) == 1  # and no more is said


@pytest.mark.parametrize(
    ("labels", "pattern", "wanted"),
    [
        (torch.arange(40) % 26 + 1, r"labels - 1", torch.arange(40) % 26),
        ((torch.arange(40) % 26).double(), r"y\.long\(\)", torch.arange(40) % 26),
        ((np.arange(40) % 26).astype(float), r"np\.asarray\(y\)\.astype\(int\)", torch.arange(40) % 26),
    ],
)
def test_advice_on_labels(labels: Any, pattern: str, wanted: Tensor) -> None:
    model = ConditionalVAE(2, num_classes=26, image_shape=(1, 8, 8))
    trainer = Trainer(epochs=1, progress=False, device="cpu")
    with pytest.raises(DataError) as caught:
        trainer.fit(model, ImageDataset(GREY, labels))
    right = followed(str(caught.value), pattern, y=labels, labels=labels)
    data = ImageDataset(GREY, right)
    assert data.labels is not None
    assert torch.equal(data.labels, wanted)
    trainer.fit(model, data)


@pytest.mark.parametrize(
    "dtype", ["bool", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float64"]
)
def test_any_dtype_of_many_pixels(dtype: str) -> None:
    x = GREY.numpy() > 127 if dtype == "bool" else GREY.numpy().astype(dtype)
    x = x / np.dtype(dtype).type(255) if dtype.startswith("float") else x
    assert torch.equal(ImageDataset(x).images, MASK * 255 if dtype == "bool" else GREY)


def test_images_without_a_label() -> None:
    labels = torch.arange(40) % 4
    labels[::5] = -1
    data = ImageDataset(GREY, labels)
    trainer = Trainer(epochs=1, progress=False, device="cpu")
    trainer.fit(VAE(2, (1, 8, 8)), data)
    model = ConditionalVAE(2, num_classes=4, image_shape=(1, 8, 8))
    with pytest.raises(DataError, match=r"got -1, for none, in images: leave those images out") as caught:
        trainer.fit(model, data)
    trainer.fit(model, followed(str(caught.value), r"data\[data\.labels >= 0\]", data=data))
    assert ImageDataset(GREY, [None] * 40).labels is None


@given(over=st.floats(0, 1e-6), dtype=st.sampled_from([torch.float32, torch.float64]))
@settings(max_examples=20, deadline=None)
def test_rounding_errors_are_clipped(over: float, dtype: torch.dtype) -> None:
    x = FLOAT.to(dtype) * (1 + 0.99 * over) - 0.0
    shifted = FLOAT.to(dtype) - 0.99 * over
    assert torch.equal(ImageDataset(x).images, GREY)
    assert torch.equal(ImageDataset(shifted).images, GREY)
    assert float(check_range(shifted).min()) >= 0
    assert float(check_range(x).max()) <= 1
    assert VAE(2, (1, 8, 8)).reconstruct(x[:2]).shape == (2, 1, 8, 8)


def test_classes_without_images_are_told() -> None:
    data = ImageDataset(GREY, torch.arange(40) % 3 + 1)
    with pytest.warns(UserWarning, match=r"no training image is of class 0, 4, whose samples will mean nothing"):
        Trainer(epochs=1, progress=False, device="cpu").fit(
            ConditionalVAE(2, num_classes=5, image_shape=(1, 8, 8)), data
        )


@pytest.mark.parametrize(("channels", "advice"), [(1, r"x\.repeat\(1, 3, 1, 1\)"), (3, r"x\[:, :1\]")])
def test_advice_on_channels(channels: int, advice: str) -> None:
    x = GREY.expand(-1, channels, -1, -1)
    model = VAE(2, (4 - channels, 8, 8))
    trainer = Trainer(epochs=1, progress=False, device="cpu")
    with pytest.raises(DataError, match="make the model with image_shape") as caught:
        trainer.fit(model, x)
    assert channels == 1 or "Grayscale() before ToTensor()" in str(caught.value)
    trainer.fit(model, followed(str(caught.value), advice, x=x))


@pytest.mark.parametrize("form", [torch.Tensor.numpy, torch.clone])
def test_a_mask_that_a_model_would_take_for_black_is_refused_there_too(form: Any) -> None:
    model, mask = VAE(latent_dim=2), torch.rand(4, 1, 28, 28) > 0.5
    for use in (model.reconstruct, lambda x: model.interpolate(x[:2], x[2:])):
        with pytest.raises(DataError, match=r"a maximum of 1: if 1 is white, pass x\.(bool\(\)|astype\(bool\))"):
            use(form(mask.byte()))
        assert torch.equal(use(form(mask)), use(form(mask.byte() * 255)))


def test_advice_on_images_that_are_not_in_batches_and_on_a_data_set_in_place_of_images() -> None:
    images, trainer = FLOAT[:8].reshape(-1, 1, 4, 4), Trainer(epochs=1, progress=False, device="cpu")
    shape = (1, 4, 4)
    for one_by_one in (images, images[:, 0]):
        with pytest.raises(DataError, match=r"make batches: DataLoader\(list\(images\), batch_size=128\)"):
            trainer.fit(VAE(2, shape), (image for image in one_by_one))
    assert len(trainer.fit(VAE(2, shape), DataLoader(list(images), batch_size=128))) == 1
    with pytest.raises(DataError, match=r"pass its images: data\.images"):
        VAE(2).reconstruct(ImageDataset(torch.rand(2, 28, 28)))


class Table:
    """A data frame, as far as its reader's advice goes."""

    def __init__(self, columns: dict[str, Any]) -> None:
        self.columns = list(columns)
        self._parts = columns

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.stack([self._parts[name] for name in self.columns], 1)

    def __getitem__(self, name: str) -> Any:
        return self._parts[name]

    def drop(self, *, columns: str) -> Table:
        return Table({name: part for name, part in self._parts.items() if name != columns})

    def to_numpy(self) -> Any:
        return np.asarray(self)


@pytest.mark.parametrize("kind", [Table, np.array, torch.tensor, list])
def test_advice_on_a_table_with_its_labels_in_a_column(kind: Any) -> None:
    labels = np.arange(40) % 4
    both = np.concatenate([labels[:, None], GREY.flatten(1).numpy()], 1)
    table = Table({"digit": labels, **{f"pixel{n}": both[:, n + 1] for n in range(64)}})
    given = table if kind is Table else kind(both.tolist())
    data = followed(refused(given), r"ImageDataset\(.*\)", x=given)
    assert torch.equal(data.images, GREY)
    assert data.labels is not None
    assert data.labels.tolist() == labels.tolist()
    if kind is not list:
        with pytest.raises(DataError, match="take the labels apart"):
            Trainer(epochs=1, progress=False, device="cpu").fit(VAE(2, (1, 8, 8)), given)
