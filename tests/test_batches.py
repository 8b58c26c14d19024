"""Batches: order and noise as functions of (seed, epoch), and everything that can be a source of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, RandomSampler, SubsetRandomSampler, TensorDataset

from mnistvae.data import Batches, ImageDataset, LoaderBatches, as_dataset, batch_source
from mnistvae.errors import DataError, SettingError


def numbered(n: int) -> ImageDataset:
    """Images of one grey level each, their labels telling them apart."""
    pixels = (torch.arange(n) % 256).to(torch.uint8).reshape(n, 1, 1, 1).expand(n, 1, 3, 2)
    return ImageDataset(pixels, torch.arange(n), name="numbered")


def labels_of(batches: Batches | LoaderBatches, epoch: int) -> list[int]:
    found: list[int] = []
    for _, y in batches.epoch(epoch):
        assert y is not None
        found += y.tolist()
    return found


def pixels_of(batches: Batches, epoch: int) -> Tensor:
    return torch.cat([x for x, _ in batches.epoch(epoch)])


# --- Batches --------------------------------------------------------------------------------------------------------


@given(st.integers(1, 60), st.integers(1, 70), st.integers(0, 2**32), st.integers(0, 1000))
def test_every_image_comes_exactly_once_an_epoch(n: int, batch_size: int, seed: int, epoch: int) -> None:
    batches = Batches(numbered(n), batch_size, seed=seed)
    sizes = [len(x) for x, _ in batches.epoch(epoch)]
    assert sorted(labels_of(batches, epoch)) == list(range(n))
    assert len(batches) == len(sizes) == -(-n // batch_size)
    assert all(size == batch_size for size in sizes[:-1])
    assert sizes[-1] == n - batch_size * (len(sizes) - 1)


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    data = numbered(200)
    orders = {
        (seed, epoch): tuple(labels_of(Batches(data, 32, seed=seed), epoch)) for seed in range(3) for epoch in range(3)
    }
    assert len(set(orders.values())) == 9
    batches = Batches(data, 50, seed=1)  # neither the batch size nor earlier epochs matter
    labels_of(batches, 5)
    torch.rand(3)
    assert tuple(labels_of(batches, 2)) == orders[1, 2]
    assert tuple(batches.order(2).tolist()) == orders[1, 2]
    assert orders[0, 1] != tuple(range(200))


def test_batches_leave_no_trace_in_torch() -> None:
    before = torch.get_rng_state()
    pixels_of(Batches(numbered(50).binarized("dynamic"), 8), 1)
    assert torch.equal(torch.get_rng_state(), before)


def test_iteration_is_epoch_zero() -> None:
    batches = Batches(numbered(20), 8, seed=4)
    found = [y.tolist() for _, y in batches if y is not None]
    assert found == [y.tolist() for _, y in batches.epoch(0) if y is not None]
    assert len(found) == 3


def test_unshuffled_batches_keep_the_order() -> None:
    batches = Batches(numbered(20), 8, shuffle=False, seed=3)
    assert labels_of(batches, 0) == labels_of(batches, 7) == list(range(20))


def test_values_are_the_levels_over_255() -> None:
    images = torch.arange(256, dtype=torch.uint8).reshape(4, 1, 8, 8)
    ((x, y),) = Batches(ImageDataset(images), 4, shuffle=False).epoch(0)
    assert x.dtype is torch.float32
    assert x.shape == (4, 1, 8, 8)
    assert torch.equal(x, images.float() / 255)
    assert y is None


def test_images_and_labels_stay_together() -> None:
    data = numbered(100)
    for x, y in Batches(data, 16, seed=2).epoch(3):
        assert y is not None
        assert torch.equal((x[:, 0, 0, 0] * 255).round().long(), y)


def test_making_a_batch_leaves_the_data_alone() -> None:
    data = numbered(30)
    before = data.images.clone()
    pixels_of(Batches(data, 8, shuffle=False), 0).zero_()
    for x, _ in Batches(data, 30, shuffle=False).epoch(0):
        x.zero_()
    assert torch.equal(data.images, before)


def test_what_a_training_loop_needs_to_know() -> None:
    batches = Batches(numbered(30), 8)
    assert (batches.name, batches.image_shape, batches.num_images, batches.batch_size) == ("numbered", (1, 3, 2), 30, 8)
    assert (batches.num_classes, batches.num_batches, batches.smallest_batch) == (30, 4, 6)
    assert Batches(numbered(32), 8).smallest_batch == 8
    assert Batches(ImageDataset(torch.zeros(2, 3, 3)), 8).num_classes is None


@pytest.mark.parametrize("level", [0, 51, 128, 255])
def test_dynamic_binarization_draws_with_the_right_mean(level: int) -> None:
    data = ImageDataset(torch.full((500, 20, 20), level, dtype=torch.uint8)).binarized("dynamic")
    pixels = pixels_of(Batches(data, 128, seed=1), 0)
    p = level / 255
    assert ((pixels == 0) | (pixels == 1)).all()
    assert abs(pixels.double().mean().item() - p) <= 5 * (p * (1 - p) / pixels.numel()) ** 0.5


def test_dynamic_binarization_is_drawn_anew_each_epoch_and_each_seed() -> None:
    data = ImageDataset(torch.full((20, 8, 8), 128, dtype=torch.uint8)).binarized("dynamic")

    def draw(seed: int, epoch: int) -> Tensor:
        return pixels_of(Batches(data, 7, shuffle=False, seed=seed), epoch)

    assert torch.equal(draw(0, 1), draw(0, 1))
    assert not torch.equal(draw(0, 1), draw(0, 2))
    assert not torch.equal(draw(0, 1), draw(1, 1))


def test_static_pixels_are_the_same_each_epoch() -> None:
    data = ImageDataset(torch.full((20, 8, 8), 128, dtype=torch.uint8)).binarized("static")
    batches = Batches(data, 7, shuffle=False)
    assert torch.equal(pixels_of(batches, 1), pixels_of(batches, 2))
    assert set(pixels_of(batches, 0).flatten().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("batch_size", [0, -3])
def test_a_batch_size_below_one_is_refused(batch_size: int) -> None:
    with pytest.raises(SettingError, match=f"a batch size of at least 1, got {batch_size}"):
        Batches(numbered(3), batch_size)
    with pytest.raises(SettingError, match="a batch size of at least 1"):
        batch_source(numbered(3), batch_size)


# --- as_dataset and batch_source ------------------------------------------------------------------------------------


class ToTensorLike(Dataset[Any]):
    """Items as torchvision gives them after ``ToTensor()``: a float image in [0, 1] and an int."""

    def __init__(self, images: Tensor, *, labelled: bool = True) -> None:
        self.images = images
        self.labelled = labelled

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        image = self.images[index].to(torch.float32).div(255)
        return (image, index % 10) if self.labelled else image


class Items(Dataset[Any]):
    """A data set of the same item, whatever it is."""

    def __init__(self, item: Any, n: int = 3) -> None:
        self.item = item
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> Any:
        return self.item


class Stream(IterableDataset[Any]):
    """Images without end, as far as anyone can tell."""

    def __iter__(self) -> Iterator[Tensor]:
        return iter(torch.rand(6, 1, 8, 8))


def random_pixels(n: int = 300) -> Tensor:
    return torch.randint(0, 256, (n, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_an_image_dataset_is_itself() -> None:
    data = numbered(5)
    assert as_dataset(data) is data


@pytest.mark.parametrize("labelled", [True, False])
def test_a_torchvision_like_dataset_keeps_its_levels(labelled: bool) -> None:
    pixels = random_pixels()  # more than one batch of the reading loader
    data = as_dataset(ToTensorLike(pixels, labelled=labelled))
    assert torch.equal(data.images, pixels)
    assert data.name == "ToTensorLike"
    if labelled:
        assert data.labels is not None
        assert data.labels.tolist() == [i % 10 for i in range(300)]
    else:
        assert data.labels is None


def test_tensors_arrays_and_tensor_datasets() -> None:
    pixels = random_pixels(20)
    labels = torch.arange(20)
    for given_ in (pixels, pixels.numpy(), pixels[:, 0], pixels.float() / 255, TensorDataset(pixels)):
        data = as_dataset(given_)
        assert torch.equal(data.images, pixels)
        assert data.labels is None
    data = as_dataset(TensorDataset(pixels, labels))
    assert torch.equal(data.images, pixels)
    assert data.labels is not None
    assert torch.equal(data.labels, labels)


def test_items_may_be_numpy_arrays() -> None:
    data = as_dataset(Items((np.full((1, 4, 4), 7, np.uint8), 3)))
    assert data.images.shape == (3, 1, 4, 4)
    assert set(data.images.flatten().tolist()) == {7}
    assert data.labels is not None
    assert data.labels.tolist() == [3, 3, 3]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (Items(torch.zeros(1, 4, 4), 0), "at least one image, got an empty data set"),
        (
            Items({"img": torch.zeros(1, 4, 4)}),
            r"items with the key 'image', got the keys \['img'\]: .*keys=\('img',\)",
        ),
        (Items((object(), "seven")), r"as tensors, got .*ToTensor"),
        (Items((torch.zeros(1, 4, 4), 1, 2)), r"images or \(images, labels\) as tensors"),
        (Items((Image.new("F", (4, 4)), 7)), r"pictures of 8 bits a channel, got mode F"),
        (Items(torch.full((1, 4, 4), -1.0)), r"images in \[0, 1\], got a minimum of -1"),
        (Items((torch.zeros(1, 4, 4), 0.5)), "labels as integers, got dtype torch.float64"),
        (Items(torch.zeros(16)), r"shape \(N, C, H, W\)"),
        (Stream(), "a data set with a length, got a Stream"),
        ([torch.zeros(1, 4, 4), torch.zeros(3, 4, 4)], r"one number of channels, got shapes .*: give .*Grayscale"),
        ([torch.zeros(1, 4, 4), torch.zeros(1, 4, 5)], "images of one size, got shapes"),
        ({"train": numbered(3)}, r"got a dict: pass what it holds, such as data\['train'\]"),
        (None, "a torch tensor or a numpy array, got None"),
    ],
    ids=[
        "empty",
        "dict",
        "text",
        "three",
        "pil",
        "range",
        "float-label",
        "flat",
        "stream",
        "channels",
        "sizes",
        "splits",
        "none",
    ],
)
def test_what_is_no_dataset_is_refused(data: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        as_dataset(data)


def test_only_a_dataloader_is_not_resident() -> None:
    data = numbered(20)
    assert isinstance(batch_source(data, 4), Batches)
    assert isinstance(batch_source(data.images, 4), Batches)
    assert isinstance(batch_source(ToTensorLike(random_pixels(5)), 4), Batches)
    assert isinstance(batch_source(DataLoader(data, batch_size=5), 4), LoaderBatches)
    source = batch_source(data, 4, shuffle=False)
    assert [y.tolist() for _, y in source.epoch(1) if y is not None][1] == [4, 5, 6, 7]
    shuffled = batch_source(data, 4, seed=9)
    found = [y.tolist() for _, y in shuffled.epoch(1) if y is not None]
    assert found == [y.tolist() for _, y in Batches(data, 4, seed=9).epoch(1) if y is not None]


# --- LoaderBatches --------------------------------------------------------------------------------------------------


def test_a_loader_keeps_its_order_and_batch_size() -> None:
    data = numbered(22)
    batches = LoaderBatches(DataLoader(data, batch_size=8))
    assert (batches.name, batches.image_shape, batches.num_images) == ("numbered", (1, 3, 2), 22)
    assert (batches.batch_size, batches.num_batches, batches.num_classes) == (8, 3, 8)  # classes of the first batch
    assert labels_of(batches, 0) == labels_of(batches, 1) == list(range(22))
    x = torch.cat([x for x, _ in batches.epoch(0)])
    assert torch.equal(x, data.images.float() / 255)


def test_a_loader_without_labels_and_of_uint8() -> None:
    pixels = random_pixels(10)
    batches = LoaderBatches(DataLoader(TensorDataset(pixels), batch_size=4))
    assert batches.num_classes is None
    found = list(batches.epoch(0))
    assert all(y is None for _, y in found)
    assert torch.equal(torch.cat([x for x, _ in found]), pixels.float() / 255)


def test_a_loader_of_a_stream_tells_its_size_by_reading() -> None:
    batches = LoaderBatches(DataLoader(Stream(), batch_size=4))
    assert (batches.num_images, batches.num_batches, batches.smallest_batch) == (None, None, None)
    assert [len(x) for x, _ in batches.epoch(0)] == [4, 2]


@pytest.mark.parametrize(("drop_last", "sizes"), [(False, [4, 3]), (True, [4])])
def test_a_loader_may_read_a_part_and_drop_the_rest(drop_last: bool, sizes: list[int]) -> None:
    sampler = SubsetRandomSampler(range(7))
    batches = LoaderBatches(DataLoader(numbered(22), batch_size=4, sampler=sampler, drop_last=drop_last))
    assert [len(x) for x, _ in batches.epoch(0)] == sizes
    assert (batches.num_batches, batches.smallest_batch) == (len(sizes), sizes[-1])


def test_a_sampler_is_told_the_epoch() -> None:
    class Sampler(RandomSampler):
        epochs: list[int]

        def set_epoch(self, epoch: int) -> None:
            self.epochs.append(epoch)

    data = numbered(6)
    sampler = Sampler(data)
    sampler.epochs = []
    batches = LoaderBatches(DataLoader(data, batch_size=3, sampler=sampler), epoch=4)
    assert sorted(labels_of(batches, 4)) == list(range(6))
    assert sampler.epochs == [4]
    assert sorted(labels_of(batches, 7)) == list(range(6))
    assert sampler.epochs == [4, 7]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (DataLoader(numbered(3), batch_size=8, drop_last=True), "at least one batch, got an empty DataLoader"),
        (DataLoader(TensorDataset(torch.zeros(4, 8, 8))), r"\(B, C, H, W\), got shape \(1, 8, 8\): add the channel"),
        (DataLoader(Items({"img": torch.zeros(1, 4, 4)})), r"items with the key 'image', got the keys \['img'\]"),
        (DataLoader(Items((torch.zeros(1, 4, 4), "seven"))), "labels as numbers, got .*: number the classes"),
        (DataLoader(Items((Image.new("L", (4, 4)), 7))), "as tensors, got .*ToTensor"),
    ],
    ids=["empty", "3d", "dict", "text", "pil"],
)
def test_a_loader_of_something_else_is_refused(data: DataLoader[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        LoaderBatches(data)


@pytest.mark.parametrize(
    ("value", "message"), [(255.0, "a maximum of 255.0: divide by 255"), (-1.0, "a minimum of -1"), (np.nan, "got NaN")]
)
def test_a_batch_out_of_range_is_refused_when_it_comes(value: float, message: str) -> None:
    images = torch.zeros(8, 1, 4, 4)
    images[6] = value  # in the second batch
    batches = LoaderBatches(DataLoader(TensorDataset(images), batch_size=4))
    epoch = batches.epoch(0)
    assert len(next(epoch)[0]) == 4
    with pytest.raises(DataError, match=message):
        next(epoch)


def test_float_labels_from_a_loader_are_refused() -> None:
    with pytest.raises(DataError, match=r"labels as integers, got dtype torch\.float32: convert: y\.long\(\)"):
        LoaderBatches(DataLoader(TensorDataset(torch.zeros(4, 1, 4, 4), torch.zeros(4)), batch_size=2))
    later = torch.arange(6) / 2
    batches = LoaderBatches([(torch.zeros(2, 1, 4, 4), torch.zeros(2).long()), (torch.zeros(6, 1, 4, 4), later)])
    with pytest.raises(DataError, match=r"batch 2 of list: expected labels as integers, .* no class numbers: leave"):
        list(batches.epoch(1))


def test_images_of_two_sizes_are_refused() -> None:
    images = [torch.zeros(1, 4, 4), torch.zeros(1, 5, 5)]
    with pytest.raises(DataError, match="images of one size"):
        LoaderBatches(DataLoader(images, batch_size=2))  # type: ignore[arg-type]


def test_a_type_error_of_the_data_sets_own_stays_what_it_is() -> None:
    class Faulty(Items):
        def __getitem__(self, index: int) -> Any:
            raise TypeError("mine")

    with pytest.raises(TypeError, match="mine"):
        as_dataset(Faulty(torch.zeros(1, 4, 4)))


def test_arrays_of_the_other_byte_order() -> None:
    values = np.linspace(0, 1, 32, dtype=np.float32).reshape(2, 4, 4)
    labels = np.array([1, 0])
    swapped = as_dataset(values.astype(">f4"))
    assert torch.equal(swapped.images, as_dataset(values).images)
    assert ImageDataset(values, labels.astype(">i8")).labels.tolist() == [1, 0]
