"""Few labels: the semi-supervised bound by hand, the door for images without a label, and clusters of a mixture."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributions as td
from scipy.stats import multivariate_normal
from test_compiled import asked, traces
from test_graphs import TapeRecorder, recorder, unread
from test_graphs import train as recorded_run
from test_optimizers import trainer
from test_resume import StopAt
from torch import Tensor, nn
from torch.utils.data import DataLoader

import mnistvae as mv
from mnistvae import ConditionalVAE, ImageDataset, View
from mnistvae._random import batch_noise, noise_for_rows, seeded
from mnistvae.distributions import normals
from mnistvae.errors import ComponentError, DataError, SettingError
from mnistvae.images import ImageShape
from mnistvae.metrics import clustering_accuracy, evaluate
from mnistvae.networks import MLPDecoder, MLPEncoder
from mnistvae.objectives import DIPVAE, ELBO, IWAE, BetaTC, InfoVAE, Objective, SemiSupervised, Terms
from mnistvae.priors import GaussianMixture
from mnistvae.schedules import Linear
from mnistvae.training import Checkpoint, Doctor, Interrupted, Trainer
from mnistvae.training.world import World

__all__ = ["asked", "recorder"]  # fixtures
LATENT = 2
SHAPE: ImageShape = (1, 8, 8)


def pixels(n: int, seed: int = 3) -> Tensor:
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(seed))


def classifier(classes: int = 3) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))


def model(classes: int = 3, objective: Objective | None = None, **settings: Any) -> ConditionalVAE:
    """Small, away from its start, and the same at each call."""
    with seeded(1):
        encoder = MLPEncoder(LATENT, SHAPE, (6,), nn.Tanh(), classes)
        decoder = MLPDecoder(LATENT, SHAPE, (6,), nn.Tanh(), classes)
        objective = SemiSupervised(classifier(classes), **settings) if objective is None else objective
        made = ConditionalVAE(LATENT, classes, SHAPE, encoder=encoder, decoder=decoder, objective=objective)
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.mul_(3.0)
    return made


def few(n: int = 24, classes: int = 3) -> ImageDataset:
    """Every third image has a label."""
    labels = torch.arange(n) // 3 % classes
    return ImageDataset(pixels(n), torch.where(torch.arange(n) % 3 == 0, labels, -1))


@pytest.fixture
def _noiseless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(normals, "batch_noise", lambda shape, dtype, device: torch.zeros(shape, dtype=dtype))


# ------------------------------------------------------------------------------------------------------- the bound


def by_hand(vae: ConditionalVAE, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """-log p(x | y, z) and the KL of the code, (classes, B), at the code with the noise (classes, B, LATENT)."""
    reconstruction, kl = [], []
    for number, draw in enumerate(noise):
        y = torch.full((len(x),), number)
        mu, logvar = vae.encoder.network(x.flatten(1), y).chunk(2, 1)  # type: ignore[operator]
        logits = vae.decoder(mu + (logvar / 2).exp() * draw, y)
        pixel = td.Bernoulli(logits=logits, validate_args=False).log_prob(x)
        reconstruction.append(-pixel.flatten(1).sum(1))
        kl.append(0.5 * (mu.square() + logvar.exp() - logvar - 1).sum(1))
    return torch.stack(reconstruction), torch.stack(kl)


@pytest.mark.parametrize("probabilities", [None, (3.0, 1.0)])
def test_the_bound_is_the_sum_over_the_labels(probabilities: Any) -> None:
    vae, x = model(2, alpha=7.0, class_probabilities=probabilities).double(), pixels(5).double()
    log_p = torch.tensor([0.5, 0.5] if probabilities is None else [0.75, 0.25], dtype=torch.float64).log()
    y = torch.tensor([-1, 0, -1, 1, 1])
    torch.manual_seed(5)
    terms = vae.loss(x, y)
    torch.manual_seed(5)
    reconstruction, kl = by_hand(vae, x, torch.randn(2, 5, LATENT, dtype=torch.float64))
    q = vae.objective.classifier(x).softmax(1)  # type: ignore[operator]
    for i, label in enumerate(y.tolist()):
        bound = reconstruction[:, i] + kl[:, i] - log_p  # L(x, y)
        if label >= 0:
            classification = -q[i, label].log()
            expected = [bound[label] + 7 * classification, reconstruction[label, i], kl[label, i], -log_p[label]]
        else:
            classification = torch.zeros((), dtype=torch.float64)
            entropy = -(q[i] * q[i].log()).sum()
            means = [(q[i] * term).sum() for term in (bound, reconstruction[:, i], kl[:, i])]
            divergence = td.kl_divergence(td.Categorical(q[i]), td.Categorical(log_p.exp()))
            expected = [means[0] - entropy, *means[1:], divergence]
        got = [term[i] for term in terms.by_name().values()]
        torch.testing.assert_close(torch.stack(got), torch.stack([*expected, classification]))
    assert list(terms.by_name()) == ["loss", "reconstruction", "kl", "label_kl", "classification"]


def test_it_is_no_smaller_than_minus_the_logarithm_of_all_images_under_the_best_classifier() -> None:
    # With q(y | x) in proportion to p(y) exp(-L) the bound is -log of their sum, and no other q gives less.
    vae, x = model(3).double(), pixels(6).double()
    noise = torch.randn(3, 6, LATENT, dtype=torch.float64)
    best = -torch.logsumexp(-sum(by_hand(vae, x, noise)) - math.log(3), dim=0)

    class Given(nn.Module):
        def __init__(self, logits: Tensor) -> None:
            super().__init__()
            self.logits = logits

        def forward(self, images: Tensor) -> Tensor:
            return self.logits[: len(images)]

    each = -sum(by_hand(vae, x, noise)).T  # type: ignore[union-attr]
    for logits, equal in ((each, True), (each + torch.randn(6, 3), False)):
        vae.objective.classifier = Given(logits.detach())
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(normals, "batch_noise", lambda *_: noise.flatten(0, 1))
            loss = vae.loss(x, torch.full((6,), -1)).loss
        assert (loss >= best - 1e-9).all()
        assert torch.allclose(loss, best) == equal


def test_with_all_labels_it_is_the_conditional_bound_and_alpha_times_the_cross_entropy() -> None:
    x, y = pixels(7), torch.arange(7) % 3
    vae = model(alpha=4.0, all_labelled=True)
    usual = model(objective=ELBO())
    usual.load_state_dict({n: w for n, w in vae.state_dict().items() if "classifier" not in n})
    torch.manual_seed(2)
    terms = vae.loss(x, y)
    torch.manual_seed(2)
    expected = usual.loss(x, y)
    error = nn.functional.cross_entropy(vae.objective.classifier(x), y, reduction="none")  # type: ignore[operator]
    torch.testing.assert_close(terms.loss, expected.loss + math.log(3) + 4 * error)
    torch.testing.assert_close(terms.extra["classification"], error)
    assert torch.equal(terms.reconstruction, expected.reconstruction)
    assert torch.equal(terms.kl, expected.kl)


@pytest.mark.usefixtures("_noiseless")
def test_all_classes_masked_or_the_own_one_alone_are_the_same() -> None:
    x, y = pixels(7), torch.arange(7) % 3
    whole, own = model(alpha=4.0).train(), model(alpha=4.0, all_labelled=True).train()
    for vae in (whole, own):
        vae.loss(x, y).loss.mean().backward()
    for (name, a), b in zip(whole.loss(x, y).by_name().items(), own.loss(x, y).by_name().values(), strict=True):
        torch.testing.assert_close(a, b, msg=name)
    for (name, a), b in zip(whole.named_parameters(), own.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, msg=name)


def test_the_gradient_is_that_of_finite_differences() -> None:
    vae, x, y = model(alpha=3.0).double(), pixels(4).double(), torch.tensor([-1, 2, -1, 0])

    def loss() -> Tensor:
        torch.manual_seed(9)
        return vae.loss(x, y).loss.sum()

    loss().backward()
    for name, parameter in vae.named_parameters():
        assert parameter.grad is not None
        way = torch.randn_like(parameter)
        with torch.no_grad():
            values = []
            for step in (1e-5, -2e-5, 1e-5):
                parameter.add_(step * way)
                values.append(loss())
        slope = (values[0] - values[1]) / 2e-5
        torch.testing.assert_close((parameter.grad * way).sum(), slope, rtol=1e-5, atol=1e-6, msg=name)
        assert parameter.grad.abs().max() > 1e-6, name


@pytest.mark.usefixtures("_noiseless")
def test_the_order_of_the_labels_does_not_matter() -> None:
    vae, x, y = model(alpha=2.0), pixels(6), torch.tensor([0, 1, 2, -1, -1, -1])
    other, order = copy.deepcopy(vae), torch.tensor([2, 0, 1])  # class k is now class order[k]
    with torch.no_grad():
        for name, weight in vae.named_parameters():
            if "classes.weight" in name or "classifier" in name:
                other.get_parameter(name)[order] = weight
    renamed = torch.where(y >= 0, order[y.clamp_min(0)], -1)
    assert not torch.equal(vae.loss(x, renamed).loss, vae.loss(x, y).loss)
    for name, term in vae.loss(x, y).by_name().items():
        torch.testing.assert_close(other.loss(x, renamed).by_name()[name], term, msg=name)
    assert not torch.equal(order[order], torch.arange(3)), "a permutation that is not its own inverse"


def test_the_loss_of_an_image_is_its_own_label_or_not() -> None:
    vae, x, y = model(), pixels(6), torch.tensor([1, -1, 2, -1, 0, 1])
    seen = []
    for labels in (y, torch.tensor([1, -1, -1, 0, 1, -1])):
        torch.manual_seed(4)
        seen.append(vae.loss(x, labels).loss)
    torch.testing.assert_close(seen[0][:2], seen[1][:2])
    assert (seen[0][2:] != seen[1][2:]).all()


def test_another_objective_is_averaged_over_the_classes_with_its_terms() -> None:
    class Two(ELBO):
        def forward(self, model: Any, x: Tensor, y: Tensor | None = None) -> Terms:
            terms = super().forward(model, x, y)
            return Terms(*terms[:3], extra={"label": torch.zeros_like(terms.kl) if y is None else y.to(terms.kl)})

    vae, x = model(objective=SemiSupervised(classifier(), objective=Two(beta=3.0))), pixels(5)
    terms = vae.loss(x, [-1, -1, 0, 1, 2])
    q = vae.objective.classify(x)  # type: ignore[operator]
    label = torch.cat([q[:2] @ torch.arange(3.0), torch.arange(3.0)])
    torch.testing.assert_close(terms.extra["label"], label)
    parts = terms.reconstruction + 3 * terms.kl + terms.extra["label_kl"] + 50 * terms.extra["classification"]
    torch.testing.assert_close(terms.loss, parts)
    tighter = model(objective=SemiSupervised(classifier(), objective=IWAE(5))).loss(x, [-1, -1, 0, 1, 2])
    sums = tighter.reconstruction + tighter.kl + tighter.extra["label_kl"] + 50 * tighter.extra["classification"]
    assert (tighter.loss < sums).all()


def test_a_schedule_of_the_inner_objective_moves() -> None:
    vae = model(objective=SemiSupervised(classifier(), objective=ELBO(schedule=Linear(4))))
    told: list[int | None] = []
    vae.objective.objective.prepare = told.append  # type: ignore[union-attr, assignment]
    Trainer(1, 8, progress=False, device="cpu").fit(vae, few())
    assert told == [24]
    assert float(vae.objective.objective._factor) == 0.5  # type: ignore[union-attr, arg-type]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SemiSupervised(lambda x: x), r"classifier as a torch\.nn\.Module, got .*function"),  # type: ignore[arg-type]
        (lambda: SemiSupervised(classifier(), alpha=-1), "a finite alpha of at least 0, got -1"),
        (lambda: SemiSupervised(classifier(), all_labelled=1), "all_labelled as True or False"),  # type: ignore[arg-type]
        (lambda: SemiSupervised(classifier(), objective=3), "objective as a mnistvae Objective"),  # type: ignore[arg-type]
        (lambda: SemiSupervised(classifier(), objective=BetaTC()), "of each image alone, given its label, got .*Beta"),
        (lambda: SemiSupervised(classifier(), objective=InfoVAE()), "of each image alone"),
        (lambda: SemiSupervised(classifier(), objective=DIPVAE()), "of each image alone"),
        (lambda: SemiSupervised(classifier(), objective=ELBO(free_bits=0.1)), "ELBO without free_bits, or IWAE"),
        (lambda: SemiSupervised(classifier(), objective=SemiSupervised(classifier())), "of each image alone"),
        (lambda: SemiSupervised(classifier(), class_probabilities=[0.5, 0.0]), "one number above 0 for each class"),
        (lambda: SemiSupervised(classifier(), class_probabilities=0.5), "one number above 0 for each class"),  # type: ignore[arg-type]
        (lambda: model(4, SemiSupervised(classifier(3))), "a classifier of 4 classes, as the model has, got one that"),
        (lambda: model(3, class_probabilities=(1, 1)), "class_probabilities of 3 classes, as the model has, got 2"),
        (lambda: model(3, SemiSupervised(nn.Identity())), r"the classifier to give logits \(1, K\), got shape"),
        (lambda: mv.VAE(2, SHAPE, objective=SemiSupervised(classifier())), "use a ConditionalVAE, and pass y"),
    ],
)
def test_what_does_not_fit_is_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises((SettingError, ComponentError, DataError), match=message):
        make()


# ------------------------------------------------------------------------------------------------------- classify


def test_probabilities_of_images_in_any_form_and_number_at_once() -> None:
    vae = model(objective=SemiSupervised(nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 3)))).train()
    data = few()
    expected = vae.eval().objective.classifier(data.images / 255).softmax(1).detach()  # type: ignore[operator]
    vae.train()
    for x in (data.images, data.images.squeeze(1), data.images.numpy(), data.images / 255):
        found = vae.objective.classify(x, batch_size=5)  # type: ignore[operator]
        torch.testing.assert_close(found, expected)
        assert not found.requires_grad
    assert vae.objective.training
    for bad, message in ((data.images.float(), r"in \[0, 1\]"), (data.images[0, 0], r"images \(B, C, H, W\)")):
        with pytest.raises(DataError, match=message):
            vae.objective.classify(bad)  # type: ignore[operator]


# ------------------------------------------------------------------------------------------- the door for no label


def test_images_without_a_label_are_refused_by_others_as_before() -> None:
    usual = model(objective=ELBO())
    for fit in (few(), DataLoader(list(zip(pixels(24), few().labels.tolist(), strict=True)), 8)):  # type: ignore[union-attr]
        with pytest.raises(DataError, match=r"got -1.*leave those images out, data\[data\.labels >= 0\]"):
            trainer().fit(usual, fit)
    with pytest.raises(DataError, match=r"or learn from them too: objectives\.SemiSupervised"):
        trainer().fit(usual, few())
    semi, complete = model(), model(all_labelled=True)
    for refused in (lambda: usual.loss(pixels(2), [0, -1]), lambda: complete.loss(pixels(2), [0, -1])):
        with pytest.raises(DataError, match="expected labels from 0 to 2, got -1: -1 stands for no label"):
            refused()
    for verb in (semi.encode, semi.reconstruct, semi):
        with pytest.raises(DataError, match="-1 stands for no label"):
            verb(pixels(2), [0, -1])
    with pytest.raises(DataError, match="a label for each image, got -1"):
        trainer().fit(complete, few())
    with pytest.raises(DataError, match="expected labels from 0 to 2, or -1 for none, got -2"):
        semi.loss(pixels(2), [0, -2])
    with pytest.raises(DataError, match="expected labels from 0 to 2, or -1 for none, got 3: number"):
        semi.loss(pixels(2), [-1, 3])


def test_an_objective_of_ones_own_may_take_them() -> None:
    class Own(Objective):
        takes_unlabelled = True

        def forward(self, model: Any, x: Tensor, y: Tensor | None = None) -> Terms:
            assert y is not None
            terms = ELBO()(model, x, y.clamp_min(0))
            return Terms(*(torch.where(y < 0, 0.0, term) for term in terms[:3]))

    (record, _) = trainer().fit(model(objective=Own()), few())
    assert record["loss"] > 0
    assert torch.equal(model(objective=Own()).loss(pixels(2), [-1, -1]).loss, torch.zeros(2))
    Own.takes_unlabelled = False
    with pytest.raises(DataError, match="-1 stands for no label"):
        model(objective=Own()).loss(pixels(2), [-1, -1])
    Own.takes_unlabelled = True
    assert model(objective=Own()).takes_unlabelled
    assert not model(objective=ELBO()).takes_unlabelled


def test_a_loader_may_have_them_in_training_and_in_validation() -> None:
    data = few()
    pairs = list(zip(data.images / 255, data.labels.tolist(), strict=True))  # type: ignore[union-attr]
    first_without = sorted(pairs, key=lambda pair: pair[1])
    history = trainer().fit(model(), DataLoader(first_without, 8), DataLoader(pairs, 8))
    assert history[1]["loss"] < history[0]["loss"]
    assert "validation_classification" in history[0]


def test_data_of_which_none_some_or_all_have_labels() -> None:
    images, labels = pixels(24), torch.arange(24) % 3
    with pytest.raises(DataError, match=r"images without labels: label some images of each class, with -1 for the oth"):
        trainer().fit(model(), ImageDataset(images, torch.full((24,), -1)))
    with pytest.warns(UserWarning, match="no training image has the label 0, 2, which may come to stand for images of"):
        trainer().fit(model(), ImageDataset(images, torch.where(labels == 1, labels, -1)))
    history = trainer().fit(model(), ImageDataset(images, labels), few())
    assert history[1]["loss"] < history[0]["loss"]
    assert history[0]["label_kl"] == pytest.approx(math.log(3))
    # Labels that are all there in validation give the usual terms, -1 there is taken too.
    for held_out in (ImageDataset(images, labels), few()):
        (record, _) = trainer().fit(model(), few(), held_out)
        parts = [record[f"validation_{name}"] for name in ("reconstruction", "kl", "label_kl")]
        error = record["validation_classification"]
        assert record["validation_loss"] == pytest.approx(sum(parts) + 50 * error, rel=1e-5)
    assert [name for name in record if name.startswith("validation")] == [
        f"validation_{name}" for name in ("loss", "reconstruction", "kl", "label_kl", "classification")
    ]


def test_what_looks_at_training_images_takes_those_without_a_label() -> None:
    with pytest.warns(UserWarning, match="latent dimensions"):  # the Doctor's, who has looked at the codes
        trainer(Doctor(patience=1, active=2.0), epochs=3, start_at_mean=True).fit(model(), few())


def test_images_without_a_label_help_to_tell_two_kinds_apart() -> None:
    generator = torch.Generator().manual_seed(0)
    kinds = torch.arange(400) % 2
    ground = torch.where(torch.arange(64) < 32, 0.65, 0.35)
    images = torch.bernoulli(torch.where(kinds[:, None] == 0, ground, 1 - ground), generator=generator)
    data = ImageDataset(images.reshape(-1, *SHAPE), torch.where(torch.arange(400) < 2, kinds, -1))
    labelled = torch.arange(2)  # one of each kind
    right = []
    for rows in (labelled.repeat(50), torch.cat([torch.arange(400), labelled.repeat(40)])):
        vae = model(2)
        for parameter in vae.parameters():
            nn.init.normal_(parameter, std=0.1, generator=generator)
        trainer(epochs=10, batch_size=20).fit(vae, data[rows])
        found = vae.objective.classify(data.images).argmax(1)  # type: ignore[operator]
        right.append(float((found == kinds).float().mean()))
    assert right[0] < 0.9, "what two images say alone"
    assert right[1] > 0.95


# ---------------------------------------------------------------------------------- every kind of step and of file


def records(history: Any) -> list[dict[str, float]]:
    return [{name: value for name, value in record.items() if "second" not in name} for record in history]


@pytest.mark.parametrize("step", [1, 3, 4])
def test_a_resumed_run_is_the_same_to_the_bit(step: int, tmp_path: Path) -> None:
    whole, part, rest = model(), model(), model()
    history = trainer(Checkpoint(tmp_path / "whole")).fit(whole, few(), few())
    with pytest.raises(Interrupted):
        trainer(Checkpoint(tmp_path / "part"), StopAt(step)).fit(part, few(), few())
    again = trainer(Checkpoint(tmp_path / "part")).fit(rest, few(), few(), resume=tmp_path / "part")
    assert records(again) == records(history)
    assert all(torch.equal(tensor, rest.state_dict()[name]) for name, tensor in whole.state_dict().items())
    relabelled = ImageDataset(few().images, torch.arange(24) % 3)
    with pytest.raises(DataError, match="the data that the run to go on with has"):
        trainer(Checkpoint(tmp_path / "part")).fit(model(), relabelled, few(), resume=tmp_path / "part")


class Votes(nn.Module):
    """A classifier of a user's own."""

    def __init__(self, classes: int, scale: float = 1.0) -> None:
        super().__init__()
        self.classes, self.scale = classes, scale
        self.layer = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * self.layer(x.flatten(1))


def test_a_users_classifier_is_trained_saved_and_loaded(tmp_path: Path) -> None:
    vae = model(objective=SemiSupervised(Votes(3, 2.0), 9.0, IWAE(2), (0.2, 0.3, 0.5)))
    before = vae.objective.classify(pixels(5))  # type: ignore[operator]
    trainer().fit(vae, few())
    after = vae.objective.classify(pixels(5))  # type: ignore[operator]
    assert not torch.allclose(after, before, atol=1e-3)
    path = mv.save(vae, tmp_path / "few.safetensors")
    same = mv.load(path, classes=[Votes])
    assert repr(same) == repr(vae)
    assert torch.equal(same.objective.classify(pixels(5)), after)  # type: ignore[operator]
    losses = []
    for one in (vae, same):
        torch.manual_seed(3)
        losses.append(one.loss(pixels(5), [-1, 0, 1, 2, -1]).loss)
    assert torch.equal(*losses)


def test_steps_that_are_recorded_are_the_same_to_the_bit(
    recorder: TapeRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    unread(monkeypatch)
    plain, recorded = model(), model()
    usual = recorded_run(plain, cuda_graph=False, data=few(44))
    played = recorded_run(recorded, cuda_graph=True, data=few(44))
    assert recorder.recordings == 2, "the second of several steps, as nothing is to be done between them"
    assert records(played) == records(usual)
    assert all(torch.equal(tensor, recorded.state_dict()[name]) for name, tensor in plain.state_dict().items())


@traces
def test_a_step_compiled_as_a_whole_is_the_same(asked: list[bool]) -> None:
    plain, compiled = model(), model()
    expected = trainer().fit(plain, few(), few())
    history = trainer(compile=True).fit(compiled, few(), few())
    assert asked == [False, True]
    for name in expected[0]:
        if "second" not in name:
            assert history.column(name) == pytest.approx(expected.column(name), rel=1e-3, abs=1e-4)


def test_bfloat16_products_and_float32_sums() -> None:
    vae, x, y = model(), pixels(16), torch.where(torch.arange(16) % 2 == 0, torch.arange(16) % 3, -1)
    losses = []
    for enabled in (False, True):
        torch.manual_seed(6)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            terms = vae.loss(x, y)
        assert {term.dtype for term in terms.by_name().values()} == {torch.float32}
        losses.append(terms.loss)
    torch.testing.assert_close(*losses, rtol=0.02, atol=0.5)
    assert not torch.equal(*losses)
    history = trainer(precision="bf16").fit(model(), few())
    assert history[1]["loss"] < history[0]["loss"]


def test_nothing_is_read_from_the_device_in_a_step() -> None:
    vae = model().to("meta")  # whose tensors have no values
    x, y = torch.empty(5, *SHAPE, device="meta"), torch.empty(5, dtype=torch.int64, device="meta")
    terms = vae.objective(vae, x, y)
    assert terms.loss.shape == (5,)
    terms.loss.mean().backward()


@pytest.mark.parametrize("size", [2, 3])
def test_the_parts_of_a_batch_in_several_processes_are_those_of_one(size: int) -> None:
    vae, x, y = model(), pixels(7), torch.tensor([-1, 0, 1, -1, 2, -1, -1])
    with seeded(8):
        whole = vae.loss(x, y).loss
    parts = []
    for rank in range(size):
        rows = World(rank, size).rows(7)
        with seeded(8), noise_for_rows(rows, 7):
            parts.append(vae.loss(x[rows], y[rows]).loss)
    torch.testing.assert_close(torch.cat(parts), whole)


def test_noise_of_a_batch_that_is_repeated() -> None:
    with seeded(1):
        whole = batch_noise(torch.Size([3 * 8, 2]), torch.float32, torch.device("cpu")).reshape(3, 8, 2)
    for rows in (slice(0, 3), slice(3, 6), slice(6, 7), slice(7, 8)):
        n = rows.stop - rows.start
        with seeded(1), noise_for_rows(rows, 8):
            part = batch_noise(torch.Size([3 * n, 2]), torch.float32, torch.device("cpu"))
        assert torch.equal(part.reshape(3, n, 2), whole[:, rows])


# ------------------------------------------------------------------------------------------------------ keep_labels


def many(n: int = 300) -> ImageDataset:
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 4, (n,), generator=generator)
    return ImageDataset(torch.rand(n, 4, 4, generator=generator), labels, name="many", split="train")


@pytest.mark.parametrize("number", [1, 10, 1000])
def test_so_many_of_each_class_keep_their_label(number: int) -> None:
    data = many()
    assert data.labels is not None
    kept = data.keep_labels(number).labels
    assert kept is not None
    assert kept.shape == data.labels.shape
    assert torch.equal(kept[kept >= 0], data.labels[kept >= 0])
    there = data.labels.bincount()
    assert torch.equal(kept[kept >= 0].bincount(minlength=4), there.clamp_max(number))
    assert int(data.labels.min()) == 0, "the data themselves stay as they are"
    same = data.keep_labels(number)
    assert (same.name, same.split, same.num_classes) == ("many", "train", 4)
    assert torch.equal(same.images, data.images)


def test_the_labels_that_are_kept_are_drawn_under_the_seed() -> None:
    data = many()

    def rows(number: int, seed: int = 0) -> set[int]:
        labels = data.keep_labels(number, seed=seed).labels
        assert labels is not None
        return set((labels >= 0).nonzero().flatten().tolist())

    state = torch.get_rng_state()
    assert rows(5) == rows(5)
    assert torch.equal(torch.get_rng_state(), state)
    assert rows(5) != rows(5, seed=1)
    assert rows(3) < rows(5), "more labels are the same ones and others"
    drawn = [rows(10, seed) for seed in range(200)]
    assert set.union(*drawn) == set(range(300)), "every image has its chance"
    first = sum(min(one) for one in drawn) / 200
    assert 3 < first < 12, "and they are not the first ones: of 40 in 300 the lowest is 6.3 on average"


def test_labels_of_some_images_and_named_classes_are_kept_too() -> None:
    data = ImageDataset(torch.rand(8, 4, 4), ["cat", "dog", None, "cat", None, "dog", "dog", None])
    less = data.keep_labels(1)
    assert less.class_names == ("cat", "dog")
    assert less.labels is not None
    assert less.labels.sort().values.tolist() == [-1] * 6 + [0, 1]
    assert less.labels[2] == less.labels[4] == less.labels[7] == -1
    for wrong, error in (
        (lambda: data.keep_labels(0), SettingError),
        (lambda: data.keep_labels(1, seed=-1), SettingError),
    ):
        with pytest.raises(error):
            wrong()
    with pytest.raises(DataError, match="images with labels, of which some are kept, got 'images' without labels"):
        ImageDataset(torch.rand(8, 4, 4)).keep_labels()


def test_labelled_images_are_seen_more_often_by_their_numbers() -> None:
    data = few()
    assert data.labels is not None
    often = data[torch.cat([torch.arange(24), (data.labels >= 0).nonzero().flatten().repeat(4)])]
    assert often.labels is not None
    assert len(often) == 24 + 4 * 8
    assert int((often.labels >= 0).sum()) == 5 * 8
    trainer().fit(model(), often)


# --------------------------------------------------------------------------------------------------------- clusters


@pytest.mark.parametrize("covariance", ["diag", "full"])
def test_responsibilities_are_bayes_rule(covariance: Any) -> None:
    prior = GaussianMixture(2, 3, covariance)
    weights, means = torch.tensor([0.5, 0.2, 0.3]), torch.tensor([[0.0, 0.0], [2.0, 1.0], [-1.0, 1.0]])
    factors = torch.stack([torch.eye(2), 0.5 * torch.eye(2), torch.tensor([[1.0, 0.0], [0.8, 0.6]])])
    factors = factors if covariance == "full" else torch.diag_embed(factors.diagonal(dim1=1, dim2=2))
    prior.set_components(weights, means, factors)
    z = torch.randn(50, 2)
    parts = [
        float(weight) * multivariate_normal(mean.numpy(), (factor @ factor.T).numpy()).pdf(z.numpy())
        for weight, mean, factor in zip(weights, means, factors, strict=True)
    ]
    joint = np.stack(parts, 1)
    found = prior.responsibilities(z)
    np.testing.assert_allclose(found.detach().numpy(), joint / joint.sum(1, keepdims=True), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(prior().log_prob(z).exp().detach().numpy(), joint.sum(1), rtol=1e-4)
    found[:, 0].sum().backward()
    assert prior.means.grad is not None
    far = prior.responsibilities(torch.full((1, 2), 1e4))
    assert far.isfinite().all()
    for bad in (torch.zeros(2), torch.zeros(5, 3), [[0.0, 0.0]]):
        with pytest.raises(DataError, match="codes as a tensor"):
            prior.responsibilities(bad)  # type: ignore[arg-type]


def best_of_all(clusters: list[int], labels: list[int]) -> float:
    """The share under the best assignment, by trying every one."""
    kinds, classes = sorted({*clusters} - {-1}), sorted({*labels})
    size = max(len(kinds), len(classes))
    best = 0
    for order in itertools.permutations(range(size)):
        stands = {kind: classes[k] if (k := order[i]) < len(classes) else None for i, kind in enumerate(kinds)}
        best = max(best, sum(stands.get(c) == y for c, y in zip(clusters, labels, strict=True) if c >= 0))
    return best / len(labels)


@pytest.mark.parametrize(("kinds", "classes"), [(3, 3), (5, 3), (2, 4), (1, 2)])
def test_the_accuracy_of_clusters_is_that_of_the_best_assignment(kinds: int, classes: int) -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        clusters = (generator.integers(-1, kinds, 30) * 7).clip(-1).tolist()
        labels = (generator.integers(0, classes, 30) + 2).tolist()
        assert clustering_accuracy(clusters, labels) == pytest.approx(best_of_all(clusters, labels))


def test_accuracy_of_clusters_that_are_the_classes_none_or_noise() -> None:
    labels = torch.arange(10) % 3
    assert clustering_accuracy((labels + 1) % 3, labels) == 1.0
    assert clustering_accuracy(torch.zeros(10, dtype=torch.long), labels) == 0.4
    assert clustering_accuracy(np.full(10, -1), labels) == 0.0
    for clusters, message in (
        ([], "the cluster of each image"),
        ([0.5] * 10, "labels as integers"),
        ([0] * 9, "one l"),
    ):
        with pytest.raises(DataError, match=message):
            clustering_accuracy(clusters, labels)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def groups() -> Iterator[tuple[mv.VAE, ImageDataset]]:
    """A VAE of three kinds of images, and a mixture on its codes."""
    with seeded(0):
        kinds = torch.arange(240) % 3
        ground = torch.full((3, 64), 0.1)
        for number in range(3):
            ground[number, 20 * number : 20 * number + 20] = 0.9
        data = ImageDataset(torch.bernoulli(ground[kinds]).reshape(-1, *SHAPE), kinds)
        vae = mv.VAE(2, SHAPE, encoder=MLPEncoder(2, SHAPE, (16,)), decoder=MLPDecoder(2, SHAPE, (16,)))
        trainer(epochs=15).fit(vae, data)
        yield mv.fit_prior(vae, data, 3, covariance="diag"), data


def test_a_mixture_that_is_fitted_and_trained_on_clusters_images(groups: tuple[mv.VAE, ImageDataset]) -> None:
    fitted, data = groups
    before = copy.deepcopy(fitted.prior.state_dict())
    trainer(epochs=5).fit(fitted, data)
    assert not torch.equal(fitted.prior.means, before["means"]), "the prior is trained with the rest"
    with torch.no_grad():
        found = fitted.prior.responsibilities(fitted.encode(data.images).mean).argmax(1)
    assert data.labels is not None
    accuracy = clustering_accuracy(found, data.labels)
    assert accuracy > 0.95
    scores = evaluate(fitted, data, include=["latent"])
    assert scores["clustering_accuracy"] == pytest.approx(accuracy)
    assert scores.score("clustering_accuracy").protocol == "3 components of the prior at posterior means"


def test_without_a_mixture_or_labels_there_is_no_accuracy_of_clusters(groups: tuple[mv.VAE, ImageDataset]) -> None:
    fitted, data = groups
    usual = evaluate(mv.VAE(2, SHAPE), data[:20], include=["latent"])
    assert "clustering_accuracy" not in {*usual.names(), *usual.left_out}
    bare = evaluate(fitted, data.images[:20], include=["latent"])
    assert bare.left_out["clustering_accuracy"] == "the data have no labels"
    (metric,) = mv.metrics.clustering.METRICS
    with pytest.raises(DataError, match="a model with a GaussianMixture as its prior, got StandardNormal"):
        metric.compute(View(mv.VAE(2, SHAPE), data[:20]))
