"""Trainer, History and callbacks: repeatable, honest about what it was given, and clear about what went wrong."""

from __future__ import annotations

import io
import math
import re
import sys
import time
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, SubsetRandomSampler, TensorDataset

from mnistvae import VAE, ConditionalVAE, History, ImageDataset, Trainer, load_dataset, recipes
from mnistvae.data import Batches
from mnistvae.devices import resolve_device
from mnistvae.errors import ComponentError, DataError, FileFormatError, OutputError, SettingError, TrainingError
from mnistvae.networks import ConvEncoder, GaussianEncoder, MLPDecoder, MLPEncoder
from mnistvae.objectives import ELBO, BetaTC, Terms
from mnistvae.schedules import Linear
from mnistvae.training import Callback, CSVLog, Progress, State
from mnistvae.training.history import COLUMNS

LOSSES = ("epoch", "loss", "reconstruction", "kl")
VALIDATION = ("validation_loss", "validation_reconstruction", "validation_kl")
SHAPE = (1, 8, 8)


def images(n: int = 40, *, labelled: bool = True, seed: int = 0) -> ImageDataset:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (n, *SHAPE), dtype=torch.uint8, generator=generator)
    return ImageDataset(pixels, torch.arange(n) % 4 if labelled else None, name="tiny")


def small(seed: int = 0, *, model: type[VAE] = VAE, **parts: Any) -> VAE:
    """A VAE of a few hundred numbers, its weights drawn under ``seed``."""
    torch.manual_seed(seed)
    parts.setdefault("encoder", MLPEncoder(2, SHAPE, (8,)))
    parts.setdefault("decoder", MLPDecoder(2, SHAPE, (8,)))
    return model(2, SHAPE, **parts)


def quiet(epochs: int = 2, batch_size: int = 16, **settings: Any) -> Trainer:
    return Trainer(epochs, batch_size, **{"device": "cpu", "progress": False, **settings})


def figures(history: History) -> list[dict[str, float]]:
    """The records without the clock's part."""
    return [{k: v for k, v in record.items() if k not in {"seconds", "images_per_second"}} for record in history]


def weights(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten().clone() for p in model.parameters()])


# --- repeatable -----------------------------------------------------------------------------------------------------


def test_one_seed_gives_the_same_bits() -> None:
    runs = []
    for _ in range(2):
        model = small()
        torch.rand(7)  # what was drawn before does not matter
        history = quiet(seed=3).fit(model, images(), images(20, seed=1))
        runs.append((weights(model), figures(history)))
    assert torch.equal(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1]


def test_another_seed_gives_another_run() -> None:
    first, second = small(), small()
    histories = [quiet(seed=seed).fit(model, images()) for seed, model in ((0, first), (1, second))]
    assert not torch.equal(weights(first), weights(second))
    assert histories[0].column("loss") != histories[1].column("loss")


def test_more_epochs_begin_with_the_same_ones() -> None:
    short, long = (quiet(epochs).fit(small(), images(), images(9)) for epochs in (2, 4))
    assert figures(long)[:2] == figures(short)


def test_fit_leaves_torchs_generator_as_it_was() -> None:
    model, data = small(), images()
    state = torch.get_rng_state()
    quiet().fit(model, data, data)
    quiet().fit(model, DataLoader(data, batch_size=16, shuffle=True))
    assert torch.equal(torch.get_rng_state(), state)


def test_fit_changes_no_global_default() -> None:
    before = (torch.get_default_dtype(), torch.is_grad_enabled(), torch.distributions.Distribution._validate_args)
    quiet().fit(small(), images(), images())
    after = (torch.get_default_dtype(), torch.is_grad_enabled(), torch.distributions.Distribution._validate_args)
    assert after == before


def test_the_model_ends_in_evaluation_mode_and_on_its_device() -> None:
    model = small()
    quiet().fit(model, images(), images())
    assert not any(module.training for module in model.modules())
    assert model.device == torch.device("cpu")
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in model.parameters())


def test_the_model_trains_in_training_mode() -> None:
    modes: list[tuple[bool, bool]] = []

    class Watch(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            modes.append((self.training, torch.is_grad_enabled()))
            return x.flatten(1)

    model = small(encoder=GaussianEncoder(Watch(), 2))
    modes.clear()
    quiet(1, 20).fit(model, images(), images(5))
    assert modes == [(True, True), (True, True), (False, False)]


# --- the record -----------------------------------------------------------------------------------------------------


def test_columns_without_and_with_validation() -> None:
    history = quiet(3).fit(small(), images())
    assert len(history) == 3
    assert history.column("epoch") == [1, 2, 3]
    assert set(history[0]) == {*LOSSES, "learning_rate", "seconds", "images_per_second"}
    history = quiet(1).fit(small(), images(), images())
    assert set(history[0]) == set(COLUMNS)
    assert all(math.isfinite(value) for value in history[0].values())
    assert history[0]["seconds"] > 0
    assert history[0]["images_per_second"] == pytest.approx(40 / history[0]["seconds"])


@pytest.mark.parametrize("binarization", [None, "static", "dynamic", "threshold"])
def test_the_history_says_what_its_figures_are(binarization: Any) -> None:
    data = images() if binarization is None else images().binarized(binarization)
    tag = quiet(1).fit(small(), data).tag
    assert tag == ("grey-bce" if binarization is None else f"binarized-{binarization}")


def test_figures_are_means_over_images_not_over_batches() -> None:
    class Known(VAE):
        """Says each image's mean level, so that the batches' means can be told from the images'."""

        def loss(self, x: Any, y: Any = None) -> Terms:
            terms = super().loss(x, y)
            level = x.flatten(1).mean(1)
            return Terms(terms.loss * 0 + level, terms.reconstruction * 0 + 2 * level, terms.kl * 0 + 3 * level)

    data = images(21)
    record = quiet(1, 16).fit(small(model=Known), data, data)[0]
    mean = (data.images.double() / 255).mean().item()
    for name, factor in (("loss", 1), ("reconstruction", 2), ("kl", 3)):
        assert record[name] == pytest.approx(factor * mean, rel=1e-5)
        assert record[f"validation_{name}"] == pytest.approx(factor * mean, rel=1e-5)


def test_the_loss_is_reconstruction_plus_beta_kl() -> None:
    history = quiet(1).fit(small(objective=ELBO(3.0)), images(), images(seed=1))
    for prefix in ("", "validation_"):
        loss, reconstruction, kl = (history[0][prefix + name] for name in ("loss", "reconstruction", "kl"))
        assert loss == pytest.approx(reconstruction + 3 * kl, rel=1e-5)


def test_validation_noise_is_the_same_every_epoch() -> None:
    # float32 weights of the order of 1 do not move at this rate, so only the noise could.
    history = quiet(3, learning_rate=1e-30).fit(small(), images(), images(20).binarized("dynamic"))
    for name in VALIDATION:
        assert len(set(history.column(name))) == 1
    assert len(set(history.column("loss"))) == 3  # training noise is new each epoch


def test_training_noise_is_new_each_epoch_and_each_step() -> None:
    one = ImageDataset(images(1).images.expand(32, -1, -1, -1))  # so that the order changes nothing
    drawn: list[float] = []

    class Watching(VAE):
        def loss(self, x: Any, y: Any = None) -> Terms:
            terms = super().loss(x, y)
            drawn.append(terms.loss.sum().item())
            return terms

    quiet(3, learning_rate=1e-30).fit(small(model=Watching), one)
    assert len(drawn) == 6
    assert len(set(drawn)) == 6


def test_validation_does_not_change_training() -> None:
    alone, watched = small(), small()
    first = quiet().fit(alone, images())
    second = quiet().fit(watched, images(), images(13, seed=5))
    assert torch.equal(weights(alone), weights(watched))
    assert first.column("loss") == second.column("loss")


def test_dynamic_binarization_reaches_the_model_as_zeros_and_ones() -> None:
    seen: list[Tensor] = []

    class Watching(VAE):
        def loss(self, x: Any, y: Any = None) -> Terms:
            seen.append(x.detach().clone())
            return super().loss(x, y)

    quiet(2, 40, learning_rate=1e-30).fit(small(model=Watching), images().binarized("dynamic"))
    assert all(((x == 0) | (x == 1)).all() for x in seen)
    assert not torch.equal(seen[0].sum((1, 2, 3)).sort().values, seen[1].sum((1, 2, 3)).sort().values)


# --- grey images made black and white -------------------------------------------------------------------------------

Kind = Literal["static", "dynamic", "threshold"]
KINDS: tuple[Kind, ...] = ("static", "dynamic", "threshold")


class Seeing(VAE):
    """Keeps a copy of every batch that it is trained (True) or validated (False) on."""

    def loss(self, x: Any, y: Any = None) -> Terms:
        self.__dict__.setdefault("seen", []).append((self.training, x.detach().clone()))
        return super().loss(x, y)


def batches(model: VAE, *, training: bool) -> list[Tensor]:
    """What a Seeing was given, its images in an order that is the same whatever the shuffle."""
    return [sorted_rows(x) for mode, x in model.seen if mode is training]  # type: ignore[union-attr, misc]


def sorted_rows(x: Tensor) -> Tensor:
    rows = x.flatten(1)
    return rows[sorted(range(len(rows)), key=lambda i: rows[i].tolist())]


def pixels(data: ImageDataset) -> Tensor:
    return sorted_rows(data.images.float() / 255)


@pytest.mark.parametrize("kind", ["none", *KINDS])
def test_grey_images_are_binarized_as_asked(kind: Any) -> None:
    model, data, held_out = small(model=Seeing), images(), images(11, seed=1)
    history = quiet(3, 64, seed=4, binarization=kind).fit(model, data, held_out)
    assert history.tag == ("grey-bce" if kind == "none" else f"binarized-{kind}")
    trained, validated = batches(model, training=True), batches(model, training=False)
    assert len(trained) == len(validated) == 3
    if kind == "dynamic":
        assert not any(torch.equal(trained[0], later) for later in trained[1:])
        assert set(torch.stack(trained).unique().tolist()) == {0.0, 1.0}
        # White as often as the pixel is bright.
        assert torch.stack(trained).mean().item() == pytest.approx(pixels(data).mean().item(), abs=0.02)
        assert set(validated[0].unique().tolist()) == {0.0, 1.0}
    else:
        for seen, whole in ((trained, data), (validated, held_out)):
            expected = whole if kind == "none" else whole.binarized(kind, seed=4)
            assert all(torch.equal(batch, pixels(expected)) for batch in seen)
    assert all(torch.equal(validated[0], later) for later in validated)  # held out: always the same draw


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_run_on_images_binarized_before(kind: Kind) -> None:
    runs = []
    for binarization in ("none", kind):
        data, held_out = images(), images(11, seed=1)
        if binarization == "none":
            data, held_out = (each.binarized(kind, seed=3) for each in (data, held_out))
        model = small()
        runs.append((figures(quiet(seed=3, binarization=binarization).fit(model, data, held_out)), weights(model)))
    assert runs[0][0] == runs[1][0]
    assert torch.equal(runs[0][1], runs[1][1])


@pytest.mark.parametrize("kind", KINDS)
def test_images_binarized_the_same_way_are_left_alone(kind: Kind) -> None:
    model, data = small(model=Seeing), images().binarized(kind, seed=9)
    assert quiet(1, 64, seed=0, binarization=kind).fit(model, data, data).tag == f"binarized-{kind}"
    if kind != "dynamic":
        assert torch.equal(batches(model, training=True)[0], pixels(data))  # not drawn again under another seed
        assert torch.equal(batches(model, training=False)[0], pixels(data))


@pytest.mark.parametrize(("kind", "other"), list(permutations(KINDS, 2)))
def test_images_binarized_another_way_are_refused(kind: Kind, other: Kind) -> None:
    model, log = small(), Log()
    before = weights(model)
    trainer = quiet(binarization=kind, callbacks=[log])
    message = f"grey images, got images with binarization '{other}': start from the original"
    with pytest.raises(DataError, match=message):
        trainer.fit(model, images().binarized(other))
    with pytest.raises(DataError, match=message):
        trainer.fit(model, images(), images().binarized(other))
    assert torch.equal(weights(model), before)
    assert log.calls == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_dataloader_binarizes_for_itself(kind: Kind) -> None:
    loader = DataLoader(images(), batch_size=8)
    message = f"expected binarization='none' with a DataLoader, got '{kind}': pass an ImageDataset, or binarize in"
    with pytest.raises(SettingError, match=message):
        quiet(binarization=kind).fit(small(), loader)
    with pytest.raises(SettingError, match=message):
        quiet(binarization=kind).fit(small(), images(), loader)


@pytest.mark.parametrize("kind", KINDS)
def test_the_callers_images_stay_grey(kind: Kind) -> None:
    data, held_out = images(), images(11, seed=1)
    before = [(each.images.clone(), each.labels) for each in (data, held_out)]
    model = small()
    state = torch.get_rng_state()
    quiet(binarization=kind).fit(model, data, held_out)
    assert torch.equal(torch.get_rng_state(), state)
    for each, (grey, labels) in zip((data, held_out), before, strict=True):
        assert torch.equal(each.images, grey)
        assert each.labels is labels
        assert each.binarization == "none"


@pytest.mark.parametrize("kind", KINDS)
def test_the_draw_is_a_function_of_the_seed(kind: Kind) -> None:
    losses = [quiet(seed=seed, binarization=kind).fit(small(), images()).column("loss") for seed in (1, 1, 2)]
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]
    seen = []
    for seed in (1, 2):
        model = small(model=Seeing)
        quiet(1, 64, seed=seed, binarization=kind).fit(model, images())
        seen += batches(model, training=True)
    assert torch.equal(*seen) is (kind == "threshold")


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_holds_grey_images_is_binarized(kind: Kind) -> None:
    data = images(labelled=False)
    found = []
    for each in (
        data,
        data.images,
        data.images.float() / 255,
        data.images.flatten(1).numpy(),
        TensorDataset(data.images),
    ):
        history = quiet(1, binarization=kind).fit(small(), each, each)
        assert history.tag == f"binarized-{kind}"
        found.append(figures(history))
    assert all(each == found[0] for each in found)


def test_labels_stay_with_their_images() -> None:
    shades = torch.tensor([0, 255], dtype=torch.uint8).repeat_interleave(8).reshape(16, 1, 1, 1).expand(-1, *SHAPE)

    class Checking(VAE):
        def loss(self, x: Any, y: Any = None) -> Terms:
            assert torch.equal(x[:, 0, 0, 0], y.float())
            return super().loss(x, y)

    parts = {"encoder": MLPEncoder(2, SHAPE, (8,), num_classes=2), "decoder": MLPDecoder(2, SHAPE, (8,), num_classes=2)}
    for kind in KINDS:
        model = small(model=Checking, num_classes=2, **parts)
        quiet(1, 5, binarization=kind).fit(model, ImageDataset(shades, torch.arange(16) // 8))


@pytest.mark.parametrize("word", ["grey", "Dynamic", "", None, True, 1, ["static"]])
def test_an_unknown_binarization(word: Any) -> None:
    message = "expected binarization as one of 'none', 'static', 'dynamic', 'threshold', got "
    with pytest.raises(SettingError, match=message + re.escape(repr(word))):
        Trainer(binarization=word)


# --- what the objective is told -------------------------------------------------------------------------------------


class Listening(ELBO):
    """Writes down what it is told, and when it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, ...]] = []

    def prepare(self, num_images: int | None) -> None:
        self.calls.append(("prepare", num_images))

    def advance(self, step: int) -> None:
        self.calls.append(("advance", step))

    def forward(self, model: Any, x: Tensor, y: Tensor | None = None) -> Terms:
        self.calls.append(("trained" if self.training else "validated", len(x)))
        return super().forward(model, x, y)


def test_an_objective_is_prepared_once_and_advanced_before_each_step() -> None:
    objective = Listening()
    model = small(objective=objective)
    objective.calls.clear()
    quiet(2, 16).fit(model, images(36), images(600, seed=1))

    def epoch(first: int) -> list[tuple[Any, ...]]:
        steps = [[("advance", first + i), ("trained", n)] for i, n in enumerate((16, 16, 4))]
        return [*sum(steps, []), ("validated", 512), ("validated", 88)]  # noqa: RUF017 (three short lists)

    assert objective.calls == [("prepare", 36), *epoch(0), *epoch(3)]
    objective.calls.clear()
    quiet(1, 64).fit(model, images(9))  # another run starts anew
    assert objective.calls == [("prepare", 9), ("advance", 0), ("trained", 9)]


@pytest.mark.parametrize(("stream", "known"), [(False, 20), (True, None)])
def test_an_objective_is_told_of_a_loaders_images_where_they_are_known(stream: bool, known: int | None) -> None:
    objective = Listening()
    loader = DataLoader(Endless(), batch_size=8) if stream else DataLoader(images(20), batch_size=8)
    model = small(objective=objective)
    objective.calls.clear()
    quiet(1).fit(model, loader)
    assert objective.calls[0] == ("prepare", known)
    assert [step for name, step in objective.calls if name == "advance"] == [0, 1, 2]


def test_the_state_counts_the_steps() -> None:
    counted: list[tuple[str, int]] = []

    class Counter(Callback):
        def on_fit_start(self, state: State) -> None:
            counted.append(("start", state.step))

        def on_batch_end(self, state: State, n: int) -> None:
            counted.append(("batch", state.step))

        def on_epoch_end(self, state: State) -> None:
            counted.append(("epoch", state.step))

    quiet(2, 16, callbacks=[Counter()]).fit(small(), images(36), images(600))
    first, second = ([*(("batch", i) for i in steps), ("epoch", steps[-1])] for steps in ((1, 2, 3), (4, 5, 6)))
    assert counted == [("start", 0), *first, *second]


def test_a_schedule_sets_the_weight_of_each_step_and_not_of_validation() -> None:
    weighed: list[float] = []

    class Weighing(VAE):
        def loss(self, x: Any, y: Any = None) -> Terms:
            terms = super().loss(x, y)
            if self.training:
                weighed.append(((terms.loss - terms.reconstruction).sum() / terms.kl.sum()).item())
            return terms

    model = small(model=Weighing, objective=ELBO(2.0, Linear(4)))
    history = quiet(2, 16).fit(model, images(36), images(20))
    assert weighed == pytest.approx([0.0, 0.5, 1.0, 1.5, 2.0, 2.0], abs=2e-4)  # twice 0, 1/4, ... across the epochs
    for record in history:
        expected = record["validation_reconstruction"] + 2 * record["validation_kl"]
        assert record["validation_loss"] == pytest.approx(expected, rel=1e-5)


def test_the_total_correlation_is_told_the_size_of_the_training_set() -> None:
    for told, expected in ((None, 36), (1000, 1000)):
        objective = BetaTC(num_images=told)
        quiet(1, 16).fit(small(objective=objective), images(36), images(20))
        assert int(objective._num_images) == expected


# --- what can be trained on -----------------------------------------------------------------------------------------


def test_every_kind_of_input_is_the_same_run() -> None:
    data = images(labelled=False)
    kinds: list[Any] = [
        data,
        data.images,
        data.images[:, 0],
        data.images.float() / 255,
        data.images.numpy(),
        (data.images.double() / 255).numpy(),
        TensorDataset(data.images),
        TensorDataset(data.images, torch.zeros(40, dtype=torch.long)),
    ]
    results = []
    for kind in kinds:
        model = small()
        history = quiet().fit(model, kind, kind)
        results.append((weights(model), figures(history)))
    for found in results[1:]:
        assert torch.equal(found[0], results[0][0])
        assert found[1] == results[0][1]


def test_a_dataloader_in_the_same_order_is_the_same_run() -> None:
    data = images()
    resident, loaded = small(), small()
    held_out = images(70, seed=2)
    history = quiet(1, seed=5).fit(resident, data, held_out)
    order = Batches(data, 16, seed=5).order(1).tolist()
    # A generator of its own, as a loader otherwise draws a number from torch's.
    loader = DataLoader(data, batch_size=16, sampler=order, generator=torch.Generator())
    in_order = DataLoader(held_out, batch_size=512, generator=torch.Generator())
    again = quiet(1, 512, seed=5).fit(loaded, loader, in_order)
    assert torch.equal(weights(loaded), weights(resident))
    assert figures(again) == figures(history)


def test_a_shuffled_dataloader_is_repeatable() -> None:
    losses = [
        quiet(seed=1).fit(small(), DataLoader(images(), batch_size=16, shuffle=True)).column("loss") for _ in range(2)
    ]
    assert losses[0] == losses[1]


def test_a_conditional_model_gets_the_labels() -> None:
    parts: dict[str, Any] = {
        "encoder": MLPEncoder(2, SHAPE, (8,), num_classes=4),
        "decoder": MLPDecoder(2, SHAPE, (8,), num_classes=4),
    }
    model = small(num_classes=4, **parts)
    before = {name: p.detach().clone() for name, p in model.named_parameters() if "classes" in name}
    history = quiet(learning_rate=1e-2).fit(model, images(), images())
    assert before
    assert all(not torch.equal(p, before[name]) for name, p in model.named_parameters() if name in before)
    assert history[-1]["loss"] < history[0]["loss"]


def test_an_unconditional_model_ignores_labels() -> None:
    with_labels, without = (quiet().fit(small(), images(labelled=labelled)) for labelled in (True, False))
    assert figures(with_labels) == figures(without)


def test_a_subclass_may_ask_for_labels_of_its_own() -> None:
    class Supervised(VAE):
        """A VAE with a classifier on its codes."""

        labels: list[int]

        @property
        def uses_labels(self) -> bool:
            return True

        def loss(self, x: Any, y: Any = None) -> Terms:
            self.labels += y.tolist()
            terms = super().loss(x)
            return terms._replace(loss=terms.loss + y)

    model = small(model=Supervised)
    model.labels = []  # type: ignore[assignment]
    quiet(1).fit(model, images())
    assert sorted(model.labels) == sorted(i % 4 for i in range(40))  # type: ignore[arg-type]
    with pytest.raises(DataError, match="labels for a model that uses them, got tiny without labels"):
        quiet(1).fit(model, images(labelled=False))


def test_mlp_20_learns_the_digits() -> None:
    """784-400-20 on mnist-mini: 148.6, 148.9 and 147.5 nats after three epochs at seeds 0, 1 and 2."""
    recipe = recipes.get("mlp-20")
    train, test = load_dataset("mnist-mini", "train"), load_dataset("mnist-mini", "test")
    history = recipe.trainer(epochs=3, seed=0, progress=False, device="cpu").fit(recipe.model(seed=0), train, test)
    losses = history.column("validation_loss")
    assert losses == sorted(losses, reverse=True)
    assert 143 < losses[-1] < 154
    assert 5 < history[-1]["validation_kl"] < 25
    assert history[-1]["loss"] == pytest.approx(losses[-1], rel=0.08)


def test_a_frozen_encoder_stays_as_it_is() -> None:
    model = small()
    model.encoder.requires_grad_(requires_grad=False)
    frozen, free = weights(model.encoder), weights(model.decoder)
    quiet().fit(model, images())
    assert torch.equal(weights(model.encoder), frozen)
    assert not torch.equal(weights(model.decoder), free)
    assert not any(parameter.requires_grad for parameter in model.encoder.parameters())


def test_a_batch_of_one_trains_without_batch_normalisation() -> None:
    assert len(quiet(1, 1).fit(small(), images(3))) == 1
    assert len(quiet(1, 13).fit(small(), images(14))) == 1
    assert len(quiet(1).fit(small(), images(1), images(1))) == 1


# --- batch normalisation --------------------------------------------------------------------------------------------


def normalised() -> VAE:
    trunk = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU())
    return small(encoder=GaussianEncoder(trunk, 2))


@pytest.mark.parametrize(("n", "batch_size"), [(33, 16), (17, 16), (40, 1), (7, 2), (21, 4), (9, 1), (3, 2), (2, 1)])
def test_batch_normalisation_and_a_batch_of_one_is_an_error(n: int, batch_size: int) -> None:
    model = normalised()
    before = weights(model)
    with pytest.raises(DataError, match=r"at least two images in every batch.*batch of one") as e:
        quiet(1, batch_size).fit(model, images(n))
    assert torch.equal(weights(model), before)
    proposed = int(re.findall("batch_size=([0-9]+)", str(e.value))[0])
    history = quiet(1, proposed).fit(normalised(), images(n))  # the proposal works
    assert math.isfinite(history[0]["loss"])


def test_batch_normalisation_cannot_train_on_one_image() -> None:
    with pytest.raises(DataError, match="at least two images in every batch") as e:
        quiet().fit(normalised(), images(1))
    assert "batch_size=" not in str(e.value)  # none would do


def test_batch_normalisation_trains_and_validates_on_a_batch_of_one() -> None:
    model = normalised()
    history = quiet(2, 16).fit(model, images(34), images(1))
    assert math.isfinite(history[-1]["validation_loss"])
    assert model.encoder.trunk[2].num_batches_tracked == 6  # type: ignore[index, union-attr]


def test_batch_normalisation_and_a_loader_that_drops_the_leftover() -> None:
    loader = DataLoader(images(33), batch_size=16, drop_last=True)
    assert math.isfinite(quiet(1).fit(normalised(), loader)[0]["loss"])
    with pytest.raises(DataError, match="two images in every batch"):
        quiet(1).fit(normalised(), DataLoader(images(33), batch_size=16))
    subset = DataLoader(images(33), batch_size=16, sampler=SubsetRandomSampler(range(32)))
    assert math.isfinite(quiet(1).fit(normalised(), subset)[0]["loss"])
    leftover = DataLoader(images(32), batch_size=16, sampler=SubsetRandomSampler(range(17)))
    with pytest.raises(DataError, match="two images in every batch"):
        quiet(1).fit(normalised(), leftover)


class Endless(IterableDataset[Any]):
    """Images whose number only reading tells."""

    def __iter__(self) -> Iterator[Tensor]:
        return iter(images(20).images)


def test_a_stream_of_images_in_a_dataloader(monkeypatch: pytest.MonkeyPatch) -> None:
    log, terminal = Log(), Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    loader = DataLoader(Endless(), batch_size=8)
    history = quiet(2, progress=True, callbacks=[log]).fit(small(), loader, loader)
    assert [call for call in log.calls if "batch" in call] == ["on_batch_end 8", "on_batch_end 8", "on_batch_end 4"] * 2
    assert log.states[0] == (0, 2, None, 0, 0)
    assert all(math.isfinite(value) for record in history for value in record.values())
    assert re.search(rf"epoch 2/2 .*{FIGURES}", terminal.getvalue())
    assert len(quiet(2).fit(small(), Endless(), Endless())) == 2  # in batches of the trainer's size


# --- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("replaced", ["loss", "reconstruction", "kl"])
def test_a_loss_that_was_averaged_is_refused(replaced: str) -> None:
    class Averaging(VAE):
        def loss(self, x: Any, y: Any = None) -> Terms:
            terms = super().loss(x, y)
            return terms._replace(**{replaced: getattr(terms, replaced).mean()})

    message = rf"one {replaced} for each of 16 images, shape \(16,\), got shape \(\): sum over .*mean .* to the Trainer"
    with pytest.raises(ComponentError, match=message):
        quiet().fit(small(model=Averaging), images())


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (torch.zeros(16), r"return mnistvae.objectives.Terms, got a Tensor: return Terms\(loss, reconstruction, kl\)"),
        (None, "got None"),
        ((torch.zeros(16),) * 3, "got a tuple"),
        (Terms(torch.zeros(16, 1), torch.zeros(16), torch.zeros(16)), r"one loss .* got shape \(16, 1\)"),
        (Terms(torch.zeros(16), torch.zeros(16), 0.0), "one kl .* got a float"),  # type: ignore[arg-type]
    ],
    ids=["tensor", "none", "tuple", "column", "number"],
)
def test_a_loss_of_another_kind_is_refused(returned: Any, message: str) -> None:
    class Odd(VAE):
        def loss(self, x: Any, y: Any = None) -> Terms:
            result: Terms = returned
            return result

    with pytest.raises(ComponentError, match=message):
        quiet().fit(small(model=Odd), images())


@pytest.mark.parametrize(("value", "bad_epoch"), [(float("nan"), 2), (float("inf"), 1)])
def test_a_loss_that_is_not_finite_names_the_step(value: float, bad_epoch: int) -> None:
    class Breaking(VAE):
        calls = 0

        def loss(self, x: Any, y: Any = None) -> Terms:
            terms = super().loss(x, y)
            type(self).calls += 1
            # The third batch of that epoch, of three.
            return terms._replace(loss=terms.loss + value) if self.calls == 3 * bad_epoch else terms

    log = Log()
    model = small(model=Breaking)
    with pytest.raises(
        TrainingError,
        match=rf"a finite loss, got {value} at step {3 * bad_epoch - 1} \(batch 3 of epoch {bad_epoch}\): lower learn",
    ):
        quiet(5, callbacks=[log]).fit(model, images())
    assert log.calls[-1] == "on_fit_end"
    assert log.calls.count("on_epoch_end") == bad_epoch - 1
    assert not model.training


def test_a_validation_loss_that_is_not_finite_names_the_epoch() -> None:
    # One step an epoch: its loss is known before the weights explode.
    with pytest.raises(TrainingError, match="in epoch 1"):
        quiet(1, 64, learning_rate=1e30).fit(small(), images(), images())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs as an integer of at least 1, got 0"),
        ({"epochs": -1}, "epochs as an integer of at least 1, got -1"),
        ({"epochs": 2.0}, "epochs as an integer of at least 1, got 2.0"),
        ({"epochs": True}, "epochs as an integer of at least 1, got True"),
        ({"epochs": "3"}, "epochs as an integer of at least 1, got '3'"),
        ({"batch_size": 0}, "batch_size as an integer of at least 1, got 0"),
        ({"batch_size": 12.5}, "batch_size as an integer of at least 1, got 12.5"),
        ({"batch_size": True}, "batch_size as an integer of at least 1, got True"),
        ({"learning_rate": 0.0}, "a finite learning_rate above 0, got 0.0"),
        ({"learning_rate": -1e-3}, "a finite learning_rate above 0, got -0.001"),
        ({"learning_rate": float("nan")}, "a finite learning_rate above 0, got nan"),
        ({"learning_rate": float("inf")}, "a finite learning_rate above 0, got inf"),
        ({"seed": -1}, "seed as an integer of at least 0, got -1"),
        ({"seed": 1.5}, "seed as an integer of at least 0, got 1.5"),
        ({"seed": None}, "seed as an integer of at least 0, got None"),
    ],
    ids=str,
)
def test_settings_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        Trainer(**settings)


@pytest.mark.parametrize("device", ["gpu", "nonsense", "cuda:99", "hpu", "cpu:x"])
def test_a_device_that_is_not_there(device: str) -> None:
    with pytest.raises(SettingError, match=f"a device of this machine, got '{device}'.*use auto or cpu"):
        quiet(device=device).fit(small(), images())


def test_a_device_that_holds_no_values_is_refused() -> None:
    with pytest.raises(SettingError, match="a device of this machine, got 'meta'"):
        quiet(device="meta").fit(small(), images())


def test_the_device_is_found() -> None:
    assert resolve_device("cpu") == resolve_device(torch.device("cpu")) == torch.device("cpu")
    assert resolve_device().type in {"cpu", "cuda", "mps"}
    assert torch.empty(1, device=resolve_device("auto")).device == resolve_device("auto")


def conditional(num_classes: int = 4) -> ConditionalVAE:
    return ConditionalVAE(2, num_classes, SHAPE)


def test_labels_that_are_missing() -> None:
    with pytest.raises(DataError, match=r"labels for a model that uses them, got tiny without labels: pass"):
        quiet().fit(conditional(), images(labelled=False))
    with pytest.raises(DataError, match="labels for a model that uses them, got images without labels"):
        quiet().fit(conditional(), images(), images().images)  # validation is checked as well
    with pytest.raises(DataError, match="labels for a model that uses them, got TensorDataset without labels"):
        quiet().fit(conditional(), DataLoader(TensorDataset(images().images.float() / 255)))


def test_labels_over_the_number_of_classes() -> None:
    with pytest.raises(DataError, match="labels from 0 to 2, got 3 in tiny: make the model with num_classes=4"):
        quiet().fit(conditional(3), images())
    # A loader's labels are not known before they come.
    late = TensorDataset(images().images, torch.arange(40) // 10)
    with pytest.raises(DataError, match="labels from 0 to 2, got 3"):
        quiet().fit(conditional(3), DataLoader(late, batch_size=10))


def test_images_of_another_shape() -> None:
    wrong = torch.zeros(5, 3, 8, 8)
    message = r"images of shape \(1, 8, 8\), as the model has it, got \(3, 8, 8\) in images: .*image_shape=\(3, 8, 8\)"
    with pytest.raises(DataError, match=message):
        quiet().fit(small(), wrong)
    with pytest.raises(DataError, match=message):
        quiet().fit(small(), images(), wrong)
    with pytest.raises(DataError, match=r"got \(1, 9, 8\) in TensorDataset"):
        quiet().fit(small(), DataLoader(TensorDataset(torch.zeros(4, 1, 9, 8))))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (torch.full((4, 8, 8), 255.0), "a maximum of 255.0: divide by 255"),
        (torch.full((4, 8, 8), torch.nan), "finite images, got NaN"),
        (np.zeros((4, 63), np.float32), r"images of shape \(N, C, H, W\)"),
        ([1, 2], r"images of shape \(N, C, H, W\) or \(N, H, W\), got shape \(2,\)"),
    ],
    ids=["range", "nan", "flat", "list"],
)
def test_data_is_checked_at_the_door(data: Any, message: str) -> None:
    model, log = small(), Log()
    before = weights(model)
    with pytest.raises(DataError, match=message):
        quiet(callbacks=[log]).fit(model, data)
    assert log.calls == []
    assert torch.equal(weights(model), before)


# --- callbacks ------------------------------------------------------------------------------------------------------


class Log(Callback):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.states: list[tuple[int, int, int | None, int, int]] = []

    def note(self, name: str, state: State) -> None:
        self.calls.append(name)
        self.states.append((state.epoch, state.epochs, state.batches, state.images, len(state.history)))

    def on_fit_start(self, state: State) -> None:
        self.note("on_fit_start", state)

    def on_epoch_start(self, state: State) -> None:
        self.note("on_epoch_start", state)

    def on_batch_end(self, state: State, n: int) -> None:
        self.note(f"on_batch_end {n}", state)

    def on_epoch_end(self, state: State) -> None:
        self.note("on_epoch_end", state)

    def on_fit_end(self, state: State) -> None:
        self.note("on_fit_end", state)


def test_callbacks_are_called_in_order_with_where_the_run_stands() -> None:
    log = Log()
    quiet(2, 16, callbacks=[log]).fit(small(), images(36))
    epoch = ["on_epoch_start", "on_batch_end 16", "on_batch_end 16", "on_batch_end 4", "on_epoch_end"]
    assert log.calls == ["on_fit_start", *epoch, *epoch, "on_fit_end"]
    assert log.states[0] == (0, 2, 3, 0, 0)
    assert log.states[2:6] == [(1, 2, 3, 16, 0), (1, 2, 3, 32, 0), (1, 2, 3, 36, 0), (1, 2, 3, 36, 1)]
    assert log.states[7:11] == [(2, 2, 3, 16, 1), (2, 2, 3, 32, 1), (2, 2, 3, 36, 1), (2, 2, 3, 36, 2)]


def test_callbacks_see_the_sums_and_the_model() -> None:
    model = small()
    means: list[list[float]] = []

    class Reader(Callback):
        def on_epoch_end(self, state: State) -> None:
            assert state.model is model
            assert state.sums is not None
            means.append((state.sums / state.images).tolist())

    history = quiet(callbacks=[Reader()]).fit(model, images())
    assert means == [[record["loss"], record["reconstruction"], record["kl"]] for record in history]


def test_several_callbacks_take_turns() -> None:
    order: list[str] = []

    class Named(Callback):
        def __init__(self, name: str) -> None:
            self.name = name

        def on_epoch_end(self, state: State) -> None:
            order.append(self.name)

    quiet(2, callbacks=[Named("a"), Named("b")]).fit(small(), images())
    assert order == ["a", "b", "a", "b"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_the_end_is_told_after_an_exception(error: type[BaseException]) -> None:
    class Stop(Callback):
        def on_batch_end(self, state: State, n: int) -> None:
            if state.epoch == 2:
                raise error("enough")

    log, model = Log(), small()
    with pytest.raises(error, match="enough"):
        quiet(3, callbacks=[Stop(), log]).fit(model, images())
    assert log.calls.count("on_epoch_end") == 1
    assert log.calls[-1] == "on_fit_end"
    assert log.calls.count("on_fit_end") == 1
    assert not model.training


def test_a_callback_that_overrides_nothing_does_nothing() -> None:
    with_one, without = (quiet(callbacks=c).fit(small(), images()) for c in ([Callback()], []))
    assert figures(with_one) == figures(without)


def test_the_csv_log_grows_by_a_line_each_epoch(tmp_path: Path) -> None:
    path = tmp_path / "new" / "history.csv"
    lines: list[int] = []

    class Reader(Callback):
        def on_epoch_start(self, state: State) -> None:
            lines.append(len(path.read_text().splitlines()))

        def on_epoch_end(self, state: State) -> None:
            lines.append(len(path.read_text().splitlines()))

    history = quiet(3, callbacks=[CSVLog(path), Reader()]).fit(small(), images(), images())
    assert lines == [0, 2, 2, 3, 3, 4]  # nothing, then the names and a line each epoch
    assert path.read_text().splitlines()[0] == ",".join((*COLUMNS, "crc32"))
    assert list(History.from_csv(path)) == list(history)
    assert [p.name for p in path.parent.iterdir()] == ["history.csv"]


def test_the_csv_log_keeps_the_epochs_before_a_failure(tmp_path: Path) -> None:
    class Stop(Callback):
        def on_epoch_start(self, state: State) -> None:
            if state.epoch == 3:
                raise RuntimeError("enough")

    path = tmp_path / "history.csv"
    path.write_text("of an earlier run\n")
    with pytest.raises(RuntimeError, match="enough"):
        quiet(5, callbacks=[CSVLog(path), Stop()]).fit(small(), images())
    assert History.from_csv(path).column("epoch") == [1, 2]


# --- progress -------------------------------------------------------------------------------------------------------

FIGURES = r"loss [\d.]+ +rec\S* [\d.]+ +KL [\d.]+ +(val\S* [\d.]+ +)?[\d.,]+k? images/s"


def test_progress_is_one_plain_line_an_epoch_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    quiet(2, progress=True).fit(small(), images())
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 2
    for number, line in enumerate(lines, 1):
        assert re.fullmatch(rf"epoch {number}/2 +{FIGURES}", line)
    assert "\r" not in err
    assert "\x1b" not in err


def test_progress_shows_the_records_figures(capsys: pytest.CaptureFixture[str]) -> None:
    (record,) = quiet(1, progress=True).fit(small(), images(), images())
    line = capsys.readouterr().err
    shown = {name[:3].lower(): float(value) for name, value in re.findall(r"([A-Za-z]+)\S* (\d+\.\d+)", line)}
    for name in ("loss", "reconstruction", "kl", "validation_loss"):
        assert shown[name[:3]] == pytest.approx(record[name], abs=0.051)
    assert re.search(r" [\d.,]+k? images/s\n", line)


def test_progress_fits_eighty_columns(capsys: pytest.CaptureFixture[str]) -> None:
    names = ("epoch", "loss", "reconstruction", "kl", "validation_loss", "images_per_second")
    history = History([dict(zip(names, (10, 112.34, 101.23, 11.11, 113.45, 23456.7), strict=True))])
    Progress().on_epoch_end(State(small(), 20, 79, history, epoch=10))
    line = capsys.readouterr().err.rstrip("\n")
    assert "epoch 10/20" in line
    assert len(line) <= 80


def test_no_progress_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    quiet(2, progress=False).fit(small(), images(), images())
    assert capsys.readouterr() == ("", "")


class Terminal(io.StringIO):
    """A terminal, as far as anyone asks."""

    def isatty(self) -> bool:
        return True


def test_progress_draws_a_bar_in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(Callback):
        """Leaves time for the bar to be drawn again: tqdm does so every tenth of a second."""

        def on_batch_end(self, state: State, n: int) -> None:
            if state.epoch == 2:
                time.sleep(0.15)

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    callbacks = [Progress(every=0.0), Slow()]
    (_, last) = quiet(2, progress=False, callbacks=callbacks).fit(small(), images(), images())
    drawn = terminal.getvalue()
    frames = drawn.split("\r")
    assert any(re.search(rf"epoch 1/2 .*{FIGURES}", frame) for frame in frames)
    running = [frame for frame in frames if re.search(rf"epoch 2/2 .*{FIGURES}", frame) and "val" not in frame]
    assert running  # while it runs
    assert any(re.search("[#\u2588]{3}", frame) for frame in frames)  # a bar
    for name, word in (("loss", "loss"), ("validation_loss", "val")):
        (shown,) = re.findall(rf" {word}\S* (\d+\.\d+)", frames[-1])
        assert float(shown) == pytest.approx(last[name], abs=0.051)
    assert drawn.endswith("\n")


def test_a_bar_is_closed_when_the_run_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stop(Callback):
        def on_batch_end(self, state: State, n: int) -> None:
            raise RuntimeError("enough")

    terminal, progress = Terminal(), Progress()
    monkeypatch.setattr(sys, "stderr", terminal)
    with pytest.raises(RuntimeError, match="enough"):
        quiet(callbacks=[progress, Stop()]).fit(small(), images())
    assert progress._bar is None
    assert terminal.getvalue().endswith("\n")


# --- History --------------------------------------------------------------------------------------------------------

_names = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=8)
_numbers = st.floats(allow_nan=False) | st.integers(-(2**40), 2**60)
_records = st.lists(
    st.builds(
        lambda epoch, rest: {**rest, "epoch": epoch},
        st.integers(1, 10**6),
        st.dictionaries(st.sampled_from(COLUMNS[1:]) | _names, _numbers, max_size=6),
    ),
    max_size=5,
)


@given(_records)
def test_a_history_survives_its_csv_file(tmp_path: Path, records: list[dict[str, float]]) -> None:
    history = History(records)
    path = history.to_csv(tmp_path / "history.csv")
    assert History.from_csv(path) == history


def test_not_a_number_survives_its_csv_file(tmp_path: Path) -> None:
    path = History([{"epoch": 1, "loss": math.nan, "kl": math.inf}]).to_csv(tmp_path / "history.csv")
    (record,) = History.from_csv(path)
    assert math.isnan(record["loss"])
    assert record["kl"] == math.inf
    assert type(record["epoch"]) is int


def test_the_csv_file_is_for_people_and_spreadsheets(tmp_path: Path) -> None:
    history = History([{"epoch": 1, "loss": 2.5, "extra": 3.0}, {"kl": 0.5, "epoch": 2, "loss": 2.0}])
    content = history.to_csv(tmp_path / "history.csv").read_bytes()
    assert re.sub(rb",[0-9a-f]{8}\n", b"\n", content) == b"epoch,loss,kl,extra,crc32\n1,2.5,,3.0\n2,2.0,0.5,\n"
    assert History.from_csv(History().to_csv(tmp_path / "empty.csv")) == History()


def test_columns() -> None:
    history = History([{"epoch": 1, "loss": 3.0}, {"epoch": 2, "loss": 2.0, "kl": 1.0}])
    assert history.column("loss") == [3.0, 2.0]
    assert math.isnan(history.column("kl")[0])
    assert history.column("kl")[1] == 1.0
    with pytest.raises(SettingError, match="one of epoch, kl, loss, got 'lss'"):
        history.column("lss")
    with pytest.raises(SettingError, match=r"no columns \(no epoch is done\), got 'loss'"):
        History().column("loss")


def test_a_history_is_a_sequence() -> None:
    records = [{"epoch": float(i), "loss": 1.0 / i} for i in range(1, 5)]
    history = History(records)
    assert len(history) == 4
    assert history[0] == records[0]
    assert history[-1] == records[-1]
    assert history[1:3] == records[1:3]
    assert list(history) == records
    assert records[2] in history
    assert list(reversed(history)) == records[::-1]
    with pytest.raises(IndexError):
        history[4]
    history.append({"epoch": 5, "loss": 0.1})
    assert len(history) == 5
    assert len(records) == 4  # the caller's list is its own


def test_records_are_copied_in() -> None:
    record = {"epoch": 1.0, "loss": 2.0}
    history = History([record])
    record["loss"] = 9.0
    assert history[0]["loss"] == 2.0


def test_equality_and_hash() -> None:
    assert History([{"epoch": 1}]) == History([{"epoch": 1.0}])
    assert History([{"epoch": 1}]) != History([{"epoch": 2}])
    assert History([{"epoch": 1}], "a") != History([{"epoch": 1}], "b")
    assert History() != []
    with pytest.raises(TypeError, match="unhashable"):
        hash(History())


def test_repr_says_how_far_it_got() -> None:
    assert repr(History()) == "History(no epochs)"
    history = History([{"epoch": 1, "loss": 3.0}, {"epoch": 2, "loss": 1.234, "validation_loss": 2.345}])
    assert repr(history) == "History(2 epochs, last loss=1.23, validation_loss=2.35)"
    assert repr(History([{"epoch": 1}])) == "History(1 epochs)"


@pytest.mark.parametrize(
    "content",
    [
        b"epoch,loss\n1,high\n",
        b"epoch,loss\n1,2.0,3.0\n",
        b"Dear reader,\nthis is a letter, not a table\n",
        b"\xff\xfe\x00binary\n\x80,1\n",
        b"epoch,loss\n1,0x10\n",
    ],
    ids=["text", "long", "letter", "binary", "hex"],
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "history.csv"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=r"history\.csv to be a history of numbers"):
        History.from_csv(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="got nothing: check the path"):
        History.from_csv(tmp_path / "history.csv")
    with pytest.raises(FileFormatError, match="got a folder"):
        History.from_csv(tmp_path)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(OutputError, match="a folder to write at"):
        History([{"epoch": 1}]).to_csv(tmp_path / "file" / "history.csv")
    assert (tmp_path / "file").read_text() == "kept"


def test_conv_trains_too() -> None:
    model = small(encoder=ConvEncoder(2, SHAPE, (4, 8)))
    history = quiet(5, learning_rate=1e-2).fit(model, images())
    assert history[-1]["loss"] < history[0]["loss"]


def test_a_model_with_nothing_to_train_is_refused() -> None:
    model = small().requires_grad_(requires_grad=False)
    with pytest.raises(ComponentError, match="weights to train, got none"):
        quiet(1).fit(model, images())


@pytest.mark.parametrize("kind", ["static", "dynamic"])
def test_a_dataloader_over_binarized_images_is_binarized_too(kind: Literal["static", "dynamic"]) -> None:
    data = images(16).binarized(kind)
    loader = DataLoader(data, batch_size=8)
    assert quiet(1).fit(small(), loader).tag == quiet(1).fit(small(), data).tag == f"binarized-{kind}"
    pixels = torch.cat([x for x, _ in loader])
    assert set(pixels.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("model", [nn.Linear(2, 2), None, VAE], ids=["module", "none", "class"])
def test_only_a_model_is_trained(model: Any) -> None:
    with pytest.raises(ComponentError, match="a mnistvae model to train, got"):
        quiet(1).fit(model, images())


@pytest.mark.parametrize("callback", [Callback, print], ids=["class", "function"])
def test_callbacks_are_instances(callback: Any) -> None:
    with pytest.raises(SettingError, match="callbacks as instances"):
        Trainer(callbacks=[callback])


def test_training_without_gradients_is_an_error() -> None:
    with (
        torch.no_grad(),
        pytest.raises(ComponentError, match=r"a loss with a gradient, got none, under torch\.no_grad"),
    ):
        quiet(1).fit(small(), images())


def test_flat_images_are_taken_in_the_models_shape() -> None:
    data = images()
    flat, first = small(), small()
    quiet(1).fit(flat, data.images.flatten(1).numpy(), data.images.flatten(1))
    quiet(1).fit(first, data.images, data.images)
    assert all(torch.equal(a, b) for a, b in zip(flat.parameters(), first.parameters(), strict=True))


class Broken(io.StringIO):
    """A stream whose reader is gone."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


@pytest.mark.parametrize("stream", [None, Broken()], ids=["closed", "broken"])
def test_nobody_has_to_watch(monkeypatch: pytest.MonkeyPatch, stream: Any) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    assert len(quiet(2, progress=True).fit(small(), images())) == 2


def test_images_with_their_channels_last() -> None:
    with pytest.raises(DataError, match=r"got shape \(9, 8, 8, 1\): .*permute\(0, 3, 1, 2\)"):
        Trainer(epochs=1, progress=False, device="cpu").fit(VAE(2, (1, 8, 8)), torch.rand(9, 8, 8, 1))


def test_images_and_labels_that_are_not_a_data_set() -> None:
    x, y = torch.rand(9, 1, 8, 8), torch.zeros(9, dtype=torch.int64)
    for pair in ((x, y), [x.numpy(), y.numpy()]):
        with pytest.raises(DataError, match=r"got a (tuple|list) of two: ImageDataset\(images, labels\)"):
            Trainer(epochs=1, progress=False, device="cpu").fit(VAE(2, (1, 8, 8)), pair)  # type: ignore[arg-type]
    items = DataLoader([{"img": image, "y": 0} for image in x], batch_size=3)  # type: ignore[arg-type]
    trainer = Trainer(epochs=1, progress=False, device="cpu")
    with pytest.raises(DataError, match=r"key 'image', got the keys .*: name those .* keys=\('img', 'y'\)"):
        trainer.fit(VAE(2, (1, 8, 8)), items)
    assert len(trainer.fit(VAE(2, (1, 8, 8)), items, keys=("img", "y"))) == 1
