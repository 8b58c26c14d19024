"""ImageDataset: what it takes, what it gives back, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader

from mnistvae import VAE, ConditionalVAE, Trainer
from mnistvae.data import ImageDataset, as_dataset
from mnistvae.errors import DataError, SettingError
from mnistvae.metrics import evaluate


def grey(n: int = 12, channels: int = 1, height: int = 5, width: int = 4) -> Tensor:
    """uint8 images, every one different."""
    generator = torch.Generator().manual_seed(n)
    return torch.randint(0, 256, (n, channels, height, width), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize(
    ("images", "shape"),
    [
        (torch.zeros(3, 5, 4, dtype=torch.uint8), (1, 5, 4)),
        (torch.zeros(3, 1, 5, 4, dtype=torch.uint8), (1, 5, 4)),
        (torch.zeros(3, 3, 5, 4), (3, 5, 4)),
        (torch.zeros(3, 2, 5, 4, dtype=torch.float64), (2, 5, 4)),
        (torch.zeros(3, 5, 4, dtype=torch.bool), (1, 5, 4)),
        (torch.zeros(3, 5, 4, dtype=torch.bfloat16), (1, 5, 4)),
        (np.zeros((3, 1, 5, 4), np.uint8), (1, 5, 4)),
        (np.zeros((3, 5, 4), np.float32), (1, 5, 4)),
    ],
    ids=["uint8-3d", "uint8-4d", "colour", "float64", "bool", "bfloat16", "numpy-uint8", "numpy-float32"],
)
def test_any_kind_of_images_becomes_one_uint8_tensor(images: Any, shape: tuple[int, int, int]) -> None:
    data = ImageDataset(images)
    assert data.images.dtype is torch.uint8
    assert data.images.shape == (3, *shape)
    assert data.image_shape == shape
    assert data.images.is_contiguous()
    assert len(data) == 3
    assert data.labels is None
    assert data.num_classes is None
    assert data.device == torch.device("cpu")


def test_uint8_images_are_kept_as_they_are() -> None:
    images = grey()
    assert torch.equal(ImageDataset(images).images, images)
    assert torch.equal(ImageDataset(images.numpy()).images, images)


@given(st.lists(st.integers(0, 255), min_size=1, max_size=40))
def test_float_images_round_to_the_level_they_came_from(levels: list[int]) -> None:
    pixels = torch.tensor(levels, dtype=torch.uint8).reshape(-1, 1, 1, 1)
    assert torch.equal(ImageDataset(pixels.float() / 255).images, pixels)
    assert torch.equal(ImageDataset(pixels.double() / 255).images, pixels)


@given(st.floats(0, 1))
def test_a_float_pixel_moves_by_half_a_level_at_most(value: float) -> None:
    level = int(ImageDataset(torch.full((1, 1, 1), value, dtype=torch.float64)).images)
    assert abs(level - 255 * value) <= 0.5 + 1e-9


def test_bool_images_are_black_and_white() -> None:
    mask = torch.tensor([[[True, False]]])
    assert ImageDataset(mask).images.flatten().tolist() == [255, 0]
    assert ImageDataset(mask.numpy()).images.flatten().tolist() == [255, 0]


@pytest.mark.parametrize("kind", [torch.int64, torch.int32, torch.uint8, torch.int16])
def test_integer_labels_of_any_width_become_int64(kind: torch.dtype) -> None:
    data = ImageDataset(grey(3), torch.tensor([0, 4, 2], dtype=kind))
    assert data.labels is not None
    assert data.labels.dtype is torch.int64
    assert data.labels.tolist() == [0, 4, 2]
    assert data.num_classes == 5


def test_labels_as_numpy_or_list() -> None:
    for labels in (np.array([1, 0, 2], np.uint8), [1, 0, 2]):
        data = ImageDataset(grey(3), labels)  # type: ignore[arg-type]  # a list is taken too
        assert data.labels is not None
        assert data.labels.tolist() == [1, 0, 2]
        assert data.num_classes == 3


@pytest.mark.parametrize(
    ("index", "chosen"),
    [
        (slice(2, 5), [2, 3, 4]),
        (slice(None, None, 5), [0, 5, 10]),
        (slice(-2, None), [10, 11]),
        ([7, 0, 7], [7, 0, 7]),
        (torch.tensor([3, 1]), [3, 1]),
        (np.array([3, -1]), [3, 11]),
        (torch.arange(12) % 6 == 1, [1, 7]),
        (np.arange(12) % 6 == 1, [1, 7]),
    ],
    ids=["slice", "step", "negative", "list", "tensor", "array", "mask", "numpy-mask"],
)
def test_selection_gives_a_smaller_dataset(index: Any, chosen: list[int]) -> None:
    data = ImageDataset(grey(), torch.arange(12), name="n", split="s").binarized("threshold")
    part = data[index]
    assert isinstance(part, ImageDataset)
    assert torch.equal(part.images, data.images[chosen])
    assert part.labels is not None
    assert part.labels.tolist() == chosen
    assert (part.name, part.split, part.binarization) == ("n", "s", "threshold")


@pytest.mark.parametrize("index", [3, -1, np.int64(4), torch.tensor(5)], ids=["int", "negative", "numpy", "tensor"])
def test_an_integer_gives_image_and_label(index: Any) -> None:
    images = grey()
    image, label = ImageDataset(images, torch.arange(12))[index]
    assert image.dtype is torch.float32
    assert torch.equal(image, images[int(index)].float() / 255)
    assert label == int(index) % 12
    assert type(label) is int


def test_without_labels_an_integer_gives_the_image_alone() -> None:
    image = ImageDataset(grey())[2]
    assert isinstance(image, Tensor)
    assert torch.equal(image, grey()[2].float() / 255)


def test_an_index_past_the_end_is_an_index_error() -> None:
    with pytest.raises(IndexError, match="12"):
        ImageDataset(grey(), torch.arange(12))[12]
    # The old iteration protocol ends on it, so this would not return without.
    assert len(list(ImageDataset(grey(4)))) == 4  # type: ignore[call-overload]


def test_a_dataloader_takes_it() -> None:
    data = ImageDataset(grey(), torch.arange(12))
    batches = list(DataLoader(data, batch_size=5))
    assert [len(x) for x, _ in batches] == [5, 5, 2]
    assert torch.equal(torch.cat([x for x, _ in batches]), data.images.float() / 255)
    assert torch.cat([y for _, y in batches]).tolist() == list(range(12))
    unlabelled = list(DataLoader(ImageDataset(grey()), batch_size=12))
    assert torch.equal(unlabelled[0], data.images.float() / 255)


def test_repr_names_what_there_is() -> None:
    data = ImageDataset(grey(), torch.arange(12) % 3, name="mine", split="test")
    assert repr(data) == "ImageDataset(12 images of shape (1, 5, 4), 3 classes, name='mine', split='test')"
    assert "no labels" in repr(ImageDataset(grey()))
    assert "binarization='dynamic'" in repr(data.binarized("dynamic"))


def test_to_the_device_it_is_on_is_itself() -> None:
    data = ImageDataset(grey(), torch.arange(12))
    assert data.to("cpu") is data
    assert data.to(torch.device("cpu")) is data


def test_to_another_device_keeps_everything() -> None:
    # "meta" holds no values; it stands for a GPU here as far as the moving goes.
    data = ImageDataset(grey(), name="n", split="s").binarized("dynamic")
    moved = data.to("meta")
    assert moved.device == torch.device("meta")
    assert (moved.name, moved.split, moved.binarization, moved.image_shape) == ("n", "s", "dynamic", (1, 5, 4))
    assert data.device == torch.device("cpu")


# --- binarization ---------------------------------------------------------------------------------------------------


def test_static_binarization_is_a_function_of_its_seed() -> None:
    data = ImageDataset(grey(50), torch.arange(50))
    first, again, other = (data.binarized("static", seed=seed).images for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert set(first.flatten().tolist()) == {0, 255}


@pytest.mark.parametrize("level", [0, 1, 64, 128, 200, 254, 255])
def test_static_binarization_is_white_as_often_as_the_pixel_is_bright(level: int) -> None:
    n = 200_000
    grey_level = torch.full((n // 100, 10, 10), level, dtype=torch.uint8)
    data = ImageDataset(grey_level, max_value=255).binarized("static", seed=3)
    white = (data.images == 255).double().mean().item()
    p = level / 255
    assert abs(white - p) <= 5 * (p * (1 - p) / n) ** 0.5  # exact at both ends


def test_static_binarization_leaves_no_trace_in_torch() -> None:
    before = torch.get_rng_state()
    ImageDataset(grey()).binarized("static")
    assert torch.equal(torch.get_rng_state(), before)


def test_threshold_is_white_from_128_on() -> None:
    data = ImageDataset(torch.tensor([0, 127, 128, 255], dtype=torch.uint8).reshape(4, 1, 1))
    assert data.binarized("threshold").images.flatten().tolist() == [0, 0, 255, 255]


def test_dynamic_keeps_the_grey_levels_for_batches_to_draw_from() -> None:
    data = ImageDataset(grey(), torch.arange(12), name="n", split="s")
    dynamic = data.binarized("dynamic")
    assert torch.equal(dynamic.images, data.images)
    assert (dynamic.binarization, dynamic.name, dynamic.split, dynamic.num_classes) == ("dynamic", "n", "s", 12)
    assert data.binarization == "none"  # the original is not touched


@pytest.mark.parametrize("first", ["static", "dynamic", "threshold"])
@pytest.mark.parametrize("second", ["static", "dynamic", "threshold"])
def test_binarizing_twice_is_refused(first: Any, second: Any) -> None:
    data = ImageDataset(grey()).binarized(first)
    with pytest.raises(DataError, match=f"expected grey images, got images with binarization '{first}'"):
        data.binarized(second)


def test_an_unknown_binarization_is_refused() -> None:
    with pytest.raises(SettingError, match=r"'static'.*got 'otsu'"):
        ImageDataset(grey()).binarized("otsu")  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="'none', 'static', 'dynamic', 'threshold', 'larochelle', got 'otsu'"):
        ImageDataset(grey(), binarization="otsu")  # type: ignore[arg-type]


# --- errors ---------------------------------------------------------------------------------------------------------


def _pixel(value: float) -> Tensor:
    images = torch.full((3, 1, 4, 4), 0.5)
    images[1, 0, 2, 3] = value
    return images


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(0, 1, 4, 4, dtype=torch.uint8), "at least one image, got an empty"),
        (torch.zeros(0, 1, 4, 4), "at least one image, got an empty"),
        (np.zeros((0, 4, 4), bool), "at least one image, got an empty"),
        (_pixel(float("nan")), "finite images, got NaN"),
        (_pixel(float("inf")), r"finite images, got NaN or infinity in"),
        (_pixel(-float("inf")), r"finite images, got NaN or infinity in"),
        (_pixel(255.0), r"\[0, 1\], got a maximum of 255.0: divide by 255"),
        (_pixel(-1.0), r"\[0, 1\], got a minimum of -1.0: undo the normalisation"),
        (torch.zeros(784), r"\(N, C, H, W\) or \(N, H, W\), got shape \(784,\)"),
        (torch.zeros(3, 784), r"got shape \(3, 784\): reshape"),
        (torch.zeros(3, 1, 1, 28, 28, dtype=torch.uint8), r"got shape \(3, 1, 1, 28, 28\)"),
        (torch.zeros(3, 1, 0, 4, dtype=torch.uint8), r"got shape \(3, 1, 0, 4\)"),
        (torch.zeros(3, 4, 4, dtype=torch.int64), r"got dtype torch.int64 from 0 to 0: convert: x.to\(torch.uint8\)"),
        (np.zeros((3, 4, 4), np.int32), r"got dtype torch.int32 from 0 to 0: convert: x.astype\(np.uint8\)"),
        (torch.zeros(3, 4, 4, dtype=torch.complex64), "got dtype torch.complex64"),
        (np.zeros((3, 4, 4), "U1"), "images as numbers, got .* of dtype <U1"),
        ([[[0.0], [0.0, 1.0]]], "images as numbers, got a list of uneven length"),
        ("images.npy", "a torch tensor or a numpy array, got a str"),
        (None, "a torch tensor or a numpy array, got None"),
    ],
    ids=[
        "empty-uint8",
        "empty-float",
        "empty-bool",
        "nan",
        "inf",
        "minus-inf",
        "255",
        "minus-1",
        "1d",
        "flat",
        "5d",
        "no-height",
        "int64",
        "numpy-int32",
        "complex",
        "text-array",
        "list",
        "path",
        "none",
    ],
)
def test_images_that_are_refused(images: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ImageDataset(images)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.arange(2), r"one label for each of 3 images, shape \(3,\), got shape \(2,\)"),
        (torch.arange(4), r"got shape \(4,\): pass as many labels as images"),
        (1 - torch.eye(3, dtype=torch.long), "class numbers, not one-hot"),
        (torch.tensor([0, -2, 2]), "labels from 0, or -1 for none, got -2"),
        (torch.zeros(3), "labels as integers, got dtype torch.float32: convert"),
        (np.zeros(3), "labels as integers, got dtype torch.float64"),
        (torch.ones(3, dtype=torch.bool), "labels as integers, got dtype torch.bool"),
        ("012", "labels as integers, got a str"),
        (1.5, "labels as integers, got "),
    ],
    ids=["few", "many", "one-hot", "negative", "float", "numpy-float", "bool", "text", "number"],
)
def test_labels_that_are_refused(labels: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ImageDataset(grey(3), labels)


def test_an_empty_selection_is_refused() -> None:
    data = ImageDataset(grey(), torch.arange(12))
    with pytest.raises(DataError, match=r"at least one image, got an empty set: .*how the subset was selected"):
        data[torch.zeros(12, dtype=torch.bool)]
    with pytest.raises(DataError, match="at least one image"):
        data[20:]


def test_channels_that_come_last_are_refused() -> None:
    for channels in (1, 3, 4):
        with pytest.raises(DataError, match=r"channels first, \(N, C, H, W\), got shape .*: move them: x.transpose"):
            ImageDataset(np.zeros((2, 32, 32, channels), np.uint8))
    assert ImageDataset(np.zeros((2, 3, 3, 3), np.uint8)).image_shape == (3, 3, 3)


# --- names of classes -----------------------------------------------------------------------------------------------


def test_names_of_classes_are_kept() -> None:
    data = ImageDataset(grey(), torch.arange(12) % 2, class_names=["cat", "dog", "owl"], name="n")
    assert data.class_names == ("cat", "dog", "owl")
    assert data.num_classes == 3  # two of which are there
    for same in (data[:3], data.binarized("static"), data.replace(split="test"), data[[0]]):
        assert (same.class_names, same.name, same.num_classes) == (data.class_names, "n", 3)
    assert repr(data).startswith("ImageDataset(12 images of shape (1, 5, 4), 3 classes (cat, dog, owl), name='n'")
    many = ImageDataset(grey(), torch.arange(12), class_names=tuple("abcdefghijkl"))
    assert "12 classes (a, b, c, d, ...)" in repr(many)


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        (True, "ab", "class_names as different texts, got 'ab'"),
        (True, [], r"class_names as different texts, got \[\]"),
        (True, ["a", "a"], "class_names as different texts"),
        (True, ["a", 2], "class_names as different texts"),
        (True, 5, "class_names as different texts, got 5"),
        (True, ["a"], r"labels from 0 to 0, as there are 1 class_names, got a label 1"),
        (False, ["a", "b"], "labels of the classes .*, got no labels: pass them"),
    ],
)
def test_names_of_classes_that_are_refused(labels: bool, names: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ImageDataset(grey(), torch.arange(12) % 2 if labels else None, class_names=names)


def test_replace_changes_what_it_is_told() -> None:
    data = ImageDataset(grey(), torch.arange(12), name="n").binarized("threshold")
    other = data.replace(labels=None, name="m")
    assert (other.labels, other.name, other.binarization) == (None, "m", "threshold")
    assert torch.equal(other.images, data.images)


NO_INDEX = ["a", None, True, 1.5, {}, (1, 2), ["a"], [0.5], slice("a", None), slice(0, 1.5), torch.tensor(0.5)]
NO_INDICES = [torch.zeros(3), np.zeros(3), torch.zeros(3, dtype=torch.uint8), np.ones(3, np.complex64)]


@pytest.mark.parametrize("index", [*NO_INDEX, *NO_INDICES], ids=repr)
def test_what_is_no_index_is_said_to_be_none(index: Any) -> None:
    data = ImageDataset(torch.zeros(5, 2, 2), torch.arange(5))
    with pytest.raises(DataError):
        data[index]


@pytest.mark.parametrize(
    "index", [[1, 3], (np.array([1, 3], np.uint16)), torch.tensor([1, 3], dtype=torch.int32)], ids=repr
)
def test_an_index_of_any_integers(index: Any) -> None:
    data = ImageDataset(torch.arange(20).reshape(5, 2, 2), torch.arange(5))
    assert data[index].labels.tolist() == [1, 3]  # type: ignore[union-attr]
    assert data[np.array([False, True, False, True, False])].labels.tolist() == [1, 3]  # type: ignore[union-attr]
    assert data[slice(np.int64(1), None, torch.tensor(2))].labels.tolist() == [1, 3]  # type: ignore[union-attr]
    assert data[np.int8(3)][1] == 3
    assert data[pd.Series([False, True, False, True, False])].labels.tolist() == [1, 3]  # type: ignore[union-attr]
    with pytest.raises(IndexError):
        data[5]
    assert len(list(data)) == 5


def named(names: list[str], labels: list[str]) -> ImageDataset:
    return ImageDataset(torch.rand(len(labels), 28, 28), labels, class_names=names)


A, B, C = (named(names, names) for names in (["a", "b", "c"], ["a", "b"], ["b", "c"]))


def test_two_data_sets_whose_numbers_stand_for_other_names_are_not_used_together() -> None:
    trainer, model = Trainer(epochs=1, progress=False, device="cpu"), ConditionalVAE(2, num_classes=3)
    trainer.fit(model, A, B)
    for first, second in ((A, C), (B, C), (C, A)):
        with pytest.raises(DataError, match=r"number 0 for '[abc]' and for '[abc]': make both with the same names"):
            trainer.fit(model, first, second)
    trainer.fit(VAE(2), A, C)  # which takes no labels
    reason = evaluate(VAE(2), C[[0, 1, 0, 1, 0, 1]], train=A[[0, 1, 2, 0, 1, 2]], include=["latent"]).left_out
    assert "the training images number their classes otherwise (number 0 for 'b' and for 'a')" in reason["knn_accuracy"]


def test_joined_data_sets_keep_names_that_agree_and_no_others_are_joined() -> None:
    assert as_dataset(ConcatDataset([B, A])).class_names == ("a", "b", "c")
    with pytest.raises(DataError, match="the data sets that are joined, got number 0 for 'a' and for 'b'"):
        as_dataset(ConcatDataset([A, C]))
