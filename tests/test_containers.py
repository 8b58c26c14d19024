"""Containers of images and labels: whatever people have gives the same data set."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

from mnistvae import VAE, ConditionalVAE, ImageDataset, Trainer, View
from mnistvae.data import LoaderBatches, as_dataset, batch_source
from mnistvae.errors import DataError, SettingError
from mnistvae.labels import as_labels, count_labels, number_classes

SHAPE = (1, 6, 5)
PIXELS = torch.randint(0, 256, (12, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
LABELS = torch.arange(12) * 5 % 3


class Column:
    """A column or a table of another library: no sequence, but it gives itself as an array."""

    def __init__(self, values: Any) -> None:
        self.values = np.asarray(values)
        self.ndim = self.values.ndim

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return np.array(self.values, dtype=dtype)


class Foreign:
    """A tensor of another library, which gives itself by DLPack alone."""

    def __init__(self, values: torch.Tensor) -> None:
        self.values = values

    def __dlpack__(self, **how: Any) -> Any:
        return self.values.__dlpack__(**how)

    def __dlpack_device__(self) -> Any:
        return self.values.__dlpack_device__()


class Mapped:
    """A data set of no library: a length and items."""

    def __init__(self, item: Any) -> None:
        self.item = item

    def __len__(self) -> int:
        return len(PIXELS)

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < len(PIXELS):
            raise IndexError
        return self.item(index)


class Loader:
    """A loader of another library."""

    def __len__(self) -> int:
        return 3

    def __iter__(self) -> Iterator[Any]:
        return ((PIXELS[n : n + 4], LABELS[n : n + 4]) for n in (0, 4, 8))


@given(
    dtype=st.sampled_from(["uint8", "int16", "uint16", "int64", "uint32", "float16", "float32", "float64", "float128"]),
    container=st.sampled_from([np.asarray, torch.from_numpy, Column, list, np.ndarray.tolist, np.asfortranarray]),
    grey=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_any_dtype_in_any_container(dtype: str, container: Any, grey: bool) -> None:
    if (dtype, container) == ("float128", torch.from_numpy) or not hasattr(np, dtype):
        return
    array = PIXELS.numpy().astype(dtype)
    array = array / array.dtype.type(255) if array.dtype.kind == "f" else array
    data = ImageDataset(container(array[:, 0] if grey else array))
    assert torch.equal(data.images, PIXELS)


@given(
    dtype=st.sampled_from(["uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]),
    form=st.sampled_from(["numbers", "column", "one-hot", "float one-hot", "texts", "bytes", "texts of numbers"]),
    container=st.sampled_from([np.asarray, torch.from_numpy, Column, list, np.ndarray.tolist]),
)
@settings(max_examples=80, deadline=None)
def test_any_form_of_labels(dtype: str, form: str, container: Any) -> None:
    y = LABELS.numpy().astype(dtype)
    names = np.array(["ape", "bee", "cat"])
    array = {
        "numbers": y,
        "column": y[:, None],
        "one-hot": np.eye(3, dtype=dtype)[LABELS.numpy()],
        "float one-hot": np.eye(3)[LABELS.numpy()],
        "texts": names[LABELS.numpy()],
        "bytes": names.astype("S")[LABELS.numpy()],
        "texts of numbers": y.astype("U"),
    }[form]
    if array.dtype.kind in "US" and container is torch.from_numpy:
        return
    data = ImageDataset(PIXELS, container(array))
    assert data.labels is not None
    assert torch.equal(data.labels, LABELS)
    assert data.class_names == (tuple(names) if form in {"texts", "bytes"} else None)
    if array.dtype.kind not in "US":
        assert torch.equal(as_labels(container(array), 12, 3), LABELS)
        assert count_labels(container(y)) == 12


def test_texts_are_numbered_in_order_or_by_the_names_given() -> None:
    labels, names = number_classes(["class 10", "class 9", None, "class 10"], 4)
    assert labels is not None
    assert (labels.tolist(), names) == ([1, 0, -1, 1], ("class 9", "class 10"))
    labels, names = number_classes(np.array(["b", "a"]), 2, ["c", "b", "a"])
    assert labels is not None
    assert (labels.tolist(), names) == ([1, 2], ("c", "b", "a"))
    with pytest.raises(DataError, match=r"one of the class_names \['a'\], got 'b'"):
        number_classes(["b"], 1, ["a"])
    with pytest.raises(
        DataError, match="as there are 2 class_names, got a label 2: they count from 1: pass labels - 1"
    ):
        number_classes([1, 2], 2, ["a", "b"])
    loaded = LoaderBatches(DataLoader(ImageDataset(PIXELS, ["x", "y"] * 6), 5))
    assert loaded.num_classes == 2


ITEMS: dict[str, Any] = {
    "pairs": [(PIXELS[n], int(LABELS[n])) for n in range(12)],
    "lists": [[PIXELS[n].numpy(), LABELS[n]] for n in range(12)],
    "items": Mapped(lambda n: (PIXELS[n], int(LABELS[n]))),
    "columns": Mapped(lambda n: (PIXELS[n], np.array([int(LABELS[n])]))),
    "dictionaries": Mapped(lambda n: {"image": PIXELS[n], "label": int(LABELS[n]), "id": n}),
    "pictures": Mapped(lambda n: {"image": Image.fromarray(PIXELS[n, 0].numpy()), "label": LABELS[n]}),
    "TensorDataset": TensorDataset(PIXELS, LABELS),
    "loader": DataLoader(TensorDataset(PIXELS, LABELS), 5),
    "another loader": Loader(),
    "list of batches": list(Loader()),
}


@pytest.mark.parametrize("data", ITEMS.values(), ids=ITEMS)
def test_items_and_batches_of_any_kind(data: Any) -> None:
    found = as_dataset(data)
    assert torch.equal(found.images, PIXELS)
    assert found.labels is not None
    assert torch.equal(found.labels, LABELS)
    assert len(View(VAE(2, SHAPE), data)) == 12
    batches = list(batch_source(data, 5, shuffle=False).epoch(1))
    assert torch.equal(torch.cat([x for x, _ in batches]), PIXELS / 255)
    assert torch.equal(torch.cat([y for _, y in batches if y is not None]), LABELS)
    model = ConditionalVAE(2, num_classes=3, image_shape=SHAPE)
    Trainer(epochs=1, progress=False, device="cpu").fit(model, data, data)


def test_what_gives_itself_by_dlpack_alone() -> None:
    assert torch.equal(as_dataset(Foreign(PIXELS)).images, PIXELS)  # type: ignore[arg-type]
    assert torch.equal(as_dataset(Column(PIXELS.flatten(1)), SHAPE).images, PIXELS)  # type: ignore[arg-type]


UNUSED: dict[str, Any] = {
    "image": lambda n: PIXELS[n],
    "fraction": lambda n: 0.5,
    "NaN": lambda n: float("nan"),
    "several": lambda n: torch.zeros(14),
    "text": lambda n: "cat",
    "nothing": lambda n: {},
    "dictionary": lambda n: {"a": 1},
    "none": lambda n: -1,
}


@pytest.mark.parametrize("second", UNUSED.values(), ids=UNUSED)
def test_what_a_model_does_not_use_is_not_looked_at(second: Any) -> None:
    data = Mapped(lambda n: (PIXELS[n], second(n)))
    longer = Mapped(lambda n: (PIXELS[n], second(n), n))

    def loss(data: Any) -> float:
        torch.manual_seed(0)
        return Trainer(epochs=1, progress=False, device="cpu").fit(VAE(2, SHAPE), data)[0]["loss"]

    assert loss(data) == loss(longer) == loss(PIXELS)
    loaders = [DataLoader(part, 5) for part in (data, longer, Mapped(lambda n: PIXELS[n]))]  # type: ignore[arg-type]
    assert len({loss(loader) for loader in loaders}) == 1


def test_keys_of_dictionaries() -> None:
    data = Mapped(lambda n: {"img": PIXELS[n], "fine": int(LABELS[n]), "coarse": 0})
    found = as_dataset(data, keys=("img", "fine"))
    assert found.labels is not None
    assert torch.equal(found.labels, LABELS)
    assert as_dataset(data, keys=("img",)).labels is None
    with pytest.raises(DataError, match=r"key 'image', got the keys .*: name those .* keys=\('img', 'fine'\)"):
        as_dataset(data)
    for keys in ((), ("a", "b", "c"), 3, "image", (1, 2)):
        with pytest.raises(SettingError, match="keys as those of image and label"):
            as_dataset(data, keys=keys)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"train": PIXELS}, r"got a dict: pass what it holds, such as data\['train'\]"),
        ("images.npy", "got a str: .*load_dataset reads files"),
        ((n for n in Loader()), r"a loader with a length, .* got a generator: read it first"),
        (object(), "got an object: pass an array, an ImageDataset or a DataLoader"),
    ],
    ids=["dict", "path", "generator", "object"],
)
def test_what_is_no_data_says_what_to_pass(data: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        as_dataset(data)


def test_a_generator_of_batches_is_trained_on_once() -> None:
    trainer = Trainer(epochs=1, progress=False, device="cpu")
    assert len(trainer.fit(VAE(2, SHAPE), iter(Loader()))) == 1
    with pytest.raises(DataError, match="none in epoch 2: it can be read only once"):
        Trainer(epochs=2, progress=False, device="cpu").fit(VAE(2, SHAPE), iter(Loader()))
