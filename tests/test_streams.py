"""Loaders as streams: no batch is lost or looked at twice, and what is not known is not made up."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import BatchSampler, ConcatDataset, DataLoader, Dataset, IterableDataset, Subset, random_split

from mnistvae import VAE, ConditionalVAE, ImageDataset, Trainer
from mnistvae.data import Batches, LoaderBatches, as_dataset, batch_source
from mnistvae.errors import DataError
from mnistvae.networks import GaussianEncoder
from mnistvae.training import Callback, Checkpoint, Doctor, State

SHAPE = (1, 8, 8)


def pictures(n: int = 20) -> Tensor:
    return torch.randint(0, 256, (n, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(n))


def data(n: int = 20, **known: Any) -> ImageDataset:
    return ImageDataset(pictures(n), torch.arange(n) % 4, **known)


def trainer(epochs: int = 1, **settings: Any) -> Trainer:
    return Trainer(epochs=epochs, progress=False, device="cpu", **settings)


class Count(Callback):
    """The images of each epoch."""

    def __init__(self) -> None:
        self.images: list[int] = []

    def on_epoch_start(self, state: State) -> None:
        self.images.append(0)

    def on_batch_end(self, state: State, images: int) -> None:
        self.images[-1] += images


class Once(IterableDataset[Any]):
    """Images that can be read once only."""

    def __init__(self, n: int = 20) -> None:
        self.images = iter(pictures(n).float() / 255)

    def __iter__(self) -> Iterator[Tensor]:
        return self.images


class Shards(IterableDataset[Any]):
    """Other images at each reading; none in the third one, if it is to run dry."""

    def __init__(self, *, dry: bool = False) -> None:
        self.read = 0
        self.dry = dry

    def __iter__(self) -> Iterator[Tensor]:
        self.read += 1
        return iter(pictures(0 if self.dry and self.read > 2 else 10 + self.read).float() / 255)


@pytest.mark.parametrize("callbacks", [[], [Doctor()]], ids=["alone", "doctor"])
@pytest.mark.parametrize("n", [20, 8, 3])
def test_a_stream_that_is_read_once_is_trained_on_whole(n: int, callbacks: list[Callback]) -> None:
    count = Count()
    trainer(callbacks=[count, *callbacks]).fit(VAE(2, SHAPE), DataLoader(Once(n), 8))
    assert count.images == [n]


def test_an_epoch_without_a_batch_is_an_error_that_names_the_loader() -> None:
    count = Count()
    with pytest.raises(DataError, match=r"loader of Once, got none in epoch 2: it can be read only once"):
        trainer(3, callbacks=[count], patience=1).fit(VAE(2, SHAPE), DataLoader(Once(), 8))
    assert count.images == [20, 0]
    with pytest.raises(DataError, match=r"loader of Once, got none in epoch 0: it can be read only once"):
        trainer(2).fit(VAE(2, SHAPE), data(), DataLoader(Once(), 8))
    with pytest.raises(DataError, match=r"loader of Shards, got none in epoch 3"):
        trainer(4, ema=0.9).fit(VAE(2, SHAPE), DataLoader(Shards(dry=True), 8))


def test_a_stream_is_read_as_often_as_there_are_epochs() -> None:
    shards, count = Shards(), Count()
    trainer(4, callbacks=[count, Doctor(patience=9)]).fit(VAE(2, SHAPE), DataLoader(shards, 4))
    assert (shards.read, count.images) == (4, [11, 12, 13, 14])


def test_the_first_pass_is_the_one_that_the_seed_gives() -> None:
    """Order and noise are those of a loader that nobody looked at before."""
    loader = DataLoader(data(), 6, shuffle=True)
    with torch.random.fork_rng(devices=[]):
        opened = LoaderBatches(loader, seed=9)
        orders, noise = [], []
        for begin in (lambda: opened.epoch(1), lambda: opened.epoch(1), lambda: iter(loader)):
            torch.manual_seed(9)
            orders.append([y.tolist() for _, y in begin()])
            noise.append(torch.rand(3).tolist())
    assert orders[0] == orders[1] == orders[2]
    assert noise[0] == noise[1] == noise[2]


class Bare:
    """A sampler, or a batch sampler, that only iterates."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items)


@pytest.mark.parametrize(
    "how",
    [
        {"sampler": Bare(list(range(20))), "batch_size": 8},
        {"batch_sampler": Bare([[0, 1, 2], [3, 4]])},
        {"batch_sampler": [[0, 1], [2, 3]]},
        {"batch_sampler": BatchSampler(range(20), 8, drop_last=False)},
    ],
    ids=["sampler", "batch-sampler", "list", "torch"],
)
def test_a_length_that_is_not_known_is_unknown(how: dict[str, Any]) -> None:
    loader = DataLoader(data(), **how)
    history = trainer(2).fit(VAE(2, SHAPE), loader, loader)
    assert all(math.isfinite(record["validation_loss"]) for record in history)
    assert len(trainer(2, steps=3, schedule="cosine").fit(VAE(2, SHAPE), loader)) >= 1
    batches = LoaderBatches(loader)
    assert (batches.num_batches is None) == isinstance(how.get("sampler", how.get("batch_sampler")), Bare)


def test_a_batch_of_one_is_said_where_batches_are_normalised() -> None:
    layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.BatchNorm1d(4))
    for loader in (
        DataLoader(data(9), batch_sampler=BatchSampler(range(9), 4, drop_last=False)),
        DataLoader(Once(9), 4),
        DataLoader(data(9), 4),
    ):
        model = VAE(2, SHAPE, encoder=GaussianEncoder(layers, 2))
        with pytest.raises(DataError, match=r"at least two images in every batch .*batch normalisation"):
            trainer().fit(model, loader)
        trainer().fit(model, data(8), loader if loader.batch_size is None else None)  # as validation it does no harm


def test_a_label_out_of_range_is_found_in_whatever_batch_it_is() -> None:
    sorted_labels = data()[data().labels.argsort(stable=True)]  # type: ignore[union-attr]
    loader = DataLoader(sorted_labels, 4)
    with pytest.raises(DataError, match=r"batch 4 of images: expected labels from 0 to 2, got 3"):
        trainer().fit(ConditionalVAE(2, num_classes=3, image_shape=SHAPE), loader)
    good = sorted_labels[:15]
    with pytest.raises(DataError, match=r"batch 4 of images: expected labels from 0 to 2, got 3"):
        trainer().fit(ConditionalVAE(2, num_classes=3, image_shape=SHAPE), good, loader)


# --- what a data set knows ------------------------------------------------------------------------------------------


def wrapped(whole: ImageDataset) -> dict[str, Any]:
    return {
        "split": random_split(whole, [0.5, 0.5], generator=torch.Generator().manual_seed(0))[0],
        "subset": Subset(whole, [3, 1, 2]),
        "subset of a subset": Subset(Subset(whole, range(10)), [0, 9]),
        "joined": ConcatDataset([whole[:5], Subset(whole, range(5, 9))]),
    }


@pytest.mark.parametrize("kind", ["none", "static", "dynamic", "threshold"])
def test_what_is_wrapped_keeps_name_split_binarization_and_names(kind: Any) -> None:
    whole = data(name="mnist", split="train", class_names=tuple("abcd"))
    whole = whole if kind == "none" else whole.binarized(kind)
    for part in wrapped(whole).values():
        found = as_dataset(part)
        assert (found.name, found.split, found.binarization) == ("mnist", "train", kind)
        assert found.class_names == tuple("abcd")
        assert len(found) == len(part)
        loader = LoaderBatches(DataLoader(part, 4))
        assert (loader.name, loader.binarization, loader.num_classes) == ("mnist", kind, 4)
        tags = {trainer().fit(VAE(2, SHAPE), one).tag for one in (part, DataLoader(part, 4), whole)}
        assert len(tags) == 1
    chosen = as_dataset(Subset(whole, [3, 1, 2]))
    assert torch.equal(chosen.images, whole.images[[3, 1, 2]])
    assert chosen.labels is not None
    assert chosen.labels.tolist() == [3, 1, 2]


def test_a_split_of_dynamic_images_is_drawn_anew_in_each_epoch() -> None:
    source = batch_source(random_split(data().binarized("dynamic"), [0.5, 0.5])[0], 20, shuffle=False)
    (first, _), (second, _) = next(source.epoch(1)), next(source.epoch(2))
    assert isinstance(source, Batches)
    assert set(first.unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(first, second)


def test_binarizations_that_differ_are_not_joined_or_done_twice() -> None:
    with pytest.raises(DataError, match="of one binarization to be joined, got dynamic, none"):
        as_dataset(ConcatDataset([data(), data().binarized("dynamic")]))
    with pytest.raises(DataError, match="grey images, got images with binarization 'static'"):
        trainer(binarization="dynamic").fit(VAE(2, SHAPE), Subset(data().binarized("static"), [0, 1]))


def test_random_transforms_that_would_be_frozen_are_told() -> None:
    class Turned(Dataset[Any]):
        def __init__(self) -> None:
            self.random = np.random.default_rng(0)

        def __len__(self) -> int:
            return 6

        def __getitem__(self, index: int) -> Any:
            return torch.roll(pictures(6)[index], int(self.random.integers(1, 8)), 2), 0

    with pytest.warns(UserWarning, match=r"images of Turned differ .* read once, .* pass a DataLoader"):
        trainer().fit(VAE(2, SHAPE), Turned())
    trainer().fit(VAE(2, SHAPE), DataLoader(Turned(), 3))  # without a word


class Passes(IterableDataset[Any]):
    """Images of the next pass at each reading, counted from one of them on; a note of each image that is looked at."""

    def __init__(self, sizes: list[int], first: int = 1) -> None:
        self.sizes = sizes
        self.next = first

    def __iter__(self) -> Iterator[Tensor]:
        number, self.next = self.next, self.next + 1
        n = self.sizes[number - 1]
        return iter(torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(number)))


class Seen(VAE):
    """Notes the images that it is trained on."""

    def __init__(self, latent_dim: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__(latent_dim, image_shape)
        self.seen: list[Tensor] = []

    def loss(self, x: Any, y: Any = None) -> Any:
        if self.training:
            self.seen.append(x)
        return super().loss(x, y)


def seen(vae: Seen) -> list[float]:
    return torch.cat(vae.seen)[:, 0, 0, 0].tolist()


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(sizes=st.lists(st.integers(1, 20), min_size=2, max_size=4), cut=st.data())
def test_a_stream_goes_on_with_the_pass_that_a_resumed_run_begins(sizes: list[int], cut: st.DataObject) -> None:
    done = cut.draw(st.integers(1, len(sizes) - 1))

    def run(vae: Seen, stream: Passes, epochs: int, folder: str | None = None, **how: Any) -> list[float]:
        torch.manual_seed(0)
        saves = [] if folder is None else [Checkpoint(folder)]
        return trainer(epochs, callbacks=saves).fit(vae, DataLoader(stream, 6), **how).column("loss")

    torch.manual_seed(0)
    whole = Seen(2, SHAPE)
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        vae = Seen(2, SHAPE)
        run(vae, Passes(sizes), done, folder)
        again = Seen(2, SHAPE)
        losses = run(again, Passes(sizes, done + 1), len(sizes), folder, resume=folder)
        torch.manual_seed(0)
        assert losses == run(whole, Passes(sizes), len(sizes), f"{folder}/whole")
    assert seen(vae) + seen(again) == seen(whole)
    assert len(seen(whole)) == sum(sizes)
    for one, other in zip(again.parameters(), whole.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("n", [1, 3])
def test_an_iterator_gives_a_resumed_run_all_its_batches(n: int, tmp_path: Any) -> None:
    batches = [torch.rand(4, *SHAPE) for _ in range(5)]
    torch.manual_seed(0)
    trainer(1, callbacks=[Checkpoint(tmp_path)]).fit(Seen(2, SHAPE), iter(batches))
    vae = Seen(2, SHAPE)
    trainer(2, callbacks=[Checkpoint(tmp_path)]).fit(vae, iter(batches[:n]), resume=tmp_path)
    assert seen(vae) == torch.cat(batches[:n])[:, 0, 0, 0].tolist()
