"""A model's view of a data set: each thing is computed once, as it would be by hand, and only if it is asked for."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributions as td
from torch import Tensor, nn

import mnistvae as mv
from mnistvae import VAE, ConditionalVAE, ImageDataset, View, metrics
from mnistvae.distributions import DiagonalNormal
from mnistvae.errors import ComponentError, DataError, SettingError
from mnistvae.images import to_uint8
from mnistvae.networks import Encoder, MLPDecoder, MLPEncoder

SHAPE = (1, 8, 8)


def images(n: int = 30, *, labels: bool = True) -> ImageDataset:
    generator = torch.Generator().manual_seed(1)
    return ImageDataset(torch.rand(n, *SHAPE, generator=generator), torch.arange(n) % 3 if labels else None)


def small(kind: type[VAE] = VAE, **parts: Any) -> Any:
    torch.manual_seed(0)
    classes = {"num_classes": 3} if kind is ConditionalVAE else {}
    parts = {"encoder": MLPEncoder(2, SHAPE, (8,), **classes), "decoder": MLPDecoder(2, SHAPE, (8,), **classes)} | parts
    return kind(2, image_shape=SHAPE, **classes, **parts)


class Counted:
    """The numbers of images, codes and samples that go through a model."""

    def __init__(self, model: VAE, monkeypatch: pytest.MonkeyPatch) -> None:
        self.encoded = self.decoded = self.sampled = 0
        encode, decode, sample = model.encode, model.decode, model.sample

        def counted_encode(x: Any, y: Any = None) -> Any:
            self.encoded += len(x)
            return encode(x, y)

        def counted_decode(z: Tensor, y: Any = None) -> Any:
            self.decoded += len(z)
            return decode(z, y)

        def counted_sample(n: int, *args: Any, **how: Any) -> Tensor:
            self.sampled += n
            self.decoded -= n  # which are counted here
            return sample(n, *args, **how)

        monkeypatch.setattr(model, "encode", counted_encode)
        monkeypatch.setattr(model, "decode", counted_decode)
        monkeypatch.setattr(model, "sample", counted_sample)

    def now(self) -> tuple[int, int, int]:
        return self.encoded, self.decoded, self.sampled


def brightness(x: Tensor, made: Tensor) -> Tensor:
    return (x - made).flatten(1).mean(1)


def darkness(made: Tensor) -> Tensor:
    return 1 - made.flatten(1).mean(1)


# --- as by hand -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [VAE, ConditionalVAE])
def test_it_is_what_the_model_gives(kind: type[VAE]) -> None:
    model, data = small(kind).eval(), images()
    view = View(model, data, batch_size=7, num_generated=20, seed=3)
    y = data.labels if kind is ConditionalVAE else None
    with torch.no_grad():
        posterior = model.encode(data.images, y)
    torch.testing.assert_close(view.codes.means, posterior.mean)
    torch.testing.assert_close(view.codes.deviations, posterior.variance.sqrt())
    assert isinstance(view.posterior, DiagonalNormal)
    torch.testing.assert_close(view.posterior.mean, posterior.mean)
    made = model.reconstruct(data.images, y)
    (errors,) = view.reconstructed(metrics.mse)
    torch.testing.assert_close(errors, metrics.mse(data.images, made), rtol=1e-5, atol=1e-8)
    assert int((view.reconstructions.int() - to_uint8(made).int()).abs().max()) <= 1
    noise = torch.Generator().manual_seed(3)
    labels = torch.arange(20) % 3 if kind is ConditionalVAE else None
    parts = [
        model.sample(len(part), None if labels is None else labels[part], generator=noise)
        for part in torch.arange(20).split(7)
    ]
    assert torch.equal(view.samples, to_uint8(torch.cat(parts)))
    assert torch.equal(view.sampled(darkness)[0], darkness(torch.cat(parts)))
    assert view.labels is data.labels
    assert len(view) == 30


def test_batches_of_another_size_have_the_same_posteriors() -> None:
    view = View(small(), images(), batch_size=7)
    for size in (7, 4, 30, 100):
        found = list(view.batches(size))
        assert torch.equal(torch.cat([posterior.mean for _, _, posterior in found]), view.codes.means)
        assert [len(x) for x, _, _ in found][:-1] == [size] * (29 // size)


def test_images_as_the_model_sees_them() -> None:
    data = images()
    assert View(small(), data).shown is data
    assert torch.equal(
        View(small(), data, binarization="dynamic", seed=5).shown.images, data.binarized("static", seed=5).images
    )
    view = View(small(), data.binarized("dynamic"), batch_size=4, seed=2)
    assert set(view.shown.images.unique().tolist()) == {0, 255}
    assert torch.equal(torch.cat([x for x, _, _ in view.batches()]), view.shown.images / 255)
    assert torch.equal(torch.cat([x for x, _, _ in view.batches(9)]), view.shown.images / 255)
    assert view.binarization == "dynamic"
    assert view.tag == "binarized-dynamic"
    seen = View(small(), data, train=images(12), binarization="threshold").known_codes
    assert seen is not None
    assert torch.equal(seen.means, View(small(), images(12).binarized("threshold")).codes.means)


def test_the_first_ten_thousand_training_images_are_learned_from() -> None:
    train = ImageDataset(torch.zeros(10_003, *SHAPE, dtype=torch.uint8))
    view = View(small(), images(), train=train)
    assert view.known is not None
    assert len(view.known) == 10_000
    assert View(small(), images()).known_codes is None


class Untold(MLPEncoder):
    """Does not look at the label."""

    def forward(self, x: Tensor, y: Tensor | None = None) -> Any:
        return super().forward(x, None if y is None else torch.zeros_like(y))


def test_codes_that_depend_on_the_label() -> None:
    assert not View(small(), images()).codes_depend_on_label
    assert View(small(ConditionalVAE), images()).codes_depend_on_label
    untold = small(ConditionalVAE, encoder=Untold(2, SHAPE, (8,), num_classes=3))
    assert not View(untold, images()).codes_depend_on_label


def test_a_prior_that_sees_the_label() -> None:
    assert View(small(), images()).prior is not None

    class Shifted(mv.priors.StandardNormal):
        def forward(self, y: Tensor | None = None, *, encode: Any = None) -> td.Distribution:
            assert y is not None
            return DiagonalNormal(y[:, None].float().expand(-1, 2), torch.zeros(len(y), 2))

    view = View(small(ConditionalVAE, prior=Shifted(2)), images())
    assert view.prior is None


class Own(Encoder):
    """A posterior of torch's own."""

    latent_dim = 2

    def __init__(self, joint: bool) -> None:
        super().__init__()
        self.joint = joint
        self.map = nn.Linear(64, 2)

    def forward(self, x: Tensor, y: Tensor | None = None) -> td.Distribution:
        mean = self.map(x.flatten(1))
        if self.joint:
            return td.MultivariateNormal(mean, scale_tril=torch.eye(2))
        return td.Independent(td.Laplace(mean, torch.ones(2)), 1)


@pytest.mark.parametrize("joint", [True, False])
def test_posteriors_of_other_kinds(joint: bool) -> None:
    view = View(small(encoder=Own(joint)), images(), batch_size=7)
    assert (view.posterior is not None) == joint
    for size in (7, 4):
        means = torch.cat([posterior.mean for _, _, posterior in view.batches(size)])
        torch.testing.assert_close(means, view.codes.means)


def test_posteriors_that_share_a_variance_are_joined() -> None:
    class Shared(Own):
        def forward(self, x: Tensor, y: Tensor | None = None) -> td.Distribution:
            return DiagonalNormal(self.map(x.flatten(1)), torch.zeros(2))

    view = View(small(encoder=Shared(joint=False)), images(), batch_size=7)
    assert view.posterior is not None
    assert view.posterior.variance.shape == (30, 2)


def test_a_subclass_reconstructs_in_its_own_way() -> None:
    class Copy(VAE):
        def reconstruct(self, x: Any, y: Any = None, *, sample: bool = False) -> Tensor:
            return x.clone()

    view = View(small(Copy), images())
    assert torch.equal(view.reconstructions, view.shown.images)


# --- once -----------------------------------------------------------------------------------------------------------


def test_each_image_passes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small()
    view = View(model, images(), train=images(12), batch_size=7, num_generated=20)
    count = Counted(model, monkeypatch)
    assert count.now() == (0, 0, 0)
    view.keep("reconstructions", "samples")
    view.expect(reconstructed=[brightness], sampled=[darkness])
    for _ in range(2):
        assert view.codes.means.shape == (30, 2)
        assert view.posterior is not None
        assert len(view.reconstructed(metrics.mse, metrics.ssim)) == 2
        assert len(view.reconstructed(brightness)[0]) == len(view.reconstructions) == 30
        assert len(view.sampled(darkness)[0]) == len(view.samples) == 20
        assert len(list(view.batches(4))) == 8
        assert view.known_codes is not None
        assert count.now() == (42, 30, 20)


def test_what_was_not_announced_takes_another_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small()
    view = View(model, images(), batch_size=7)
    count = Counted(model, monkeypatch)
    before = view.reconstructed(metrics.mse)[0]
    assert count.now() == (30, 30, 0)
    assert len(view.reconstructions) == 30
    assert count.now() == (30, 60, 0)
    assert view.reconstructed(metrics.mse)[0] is before


def test_what_is_not_asked_for_is_not_kept() -> None:
    kept: list[weakref.ref[Tensor]] = []

    def watched(x: Tensor, made: Tensor) -> Tensor:
        kept.extend(weakref.ref(one) for one in (x, made))
        return made.flatten(1).mean(1)

    view = View(small(), images(), batch_size=7)
    view.reconstructed(watched)
    gc.collect()
    assert len(kept) == 10
    assert all(one() is None for one in kept)


def test_a_function_of_the_view_is_computed_once() -> None:
    calls = []

    def power(view: View, exponent: int, *, scale: float = 1.0) -> float:
        calls.append(exponent)
        return scale * len(view) ** exponent

    view = View(small(), images())
    assert [view.once(power, 2), view.once(power, 2), view.once(power, 3), view.once(power, 2, scale=2.0)] == [
        900,
        900,
        27000,
        1800,
    ]
    assert calls == [2, 3, 2]


def test_nothing_is_left_behind() -> None:
    model = small()
    state, modes = torch.get_rng_state(), [part.training for part in model.modules()]
    view = View(model, images(), num_generated=5)
    assert all(len(one) for one in (view.codes, view.reconstructions, view.samples))
    assert torch.equal(torch.get_rng_state(), state)
    assert [part.training for part in model.modules()] == modes
    assert torch.is_grad_enabled()


# --- what makes no sense --------------------------------------------------------------------------------------------


def test_numbers_of_numpy_and_torch() -> None:
    view = View(small(), images(), seed=np.int64(3), batch_size=np.int32(4), num_generated=torch.tensor(6))  # type: ignore[arg-type]
    assert [type(one) for one in (view.seed, view.batch_size, view.num_generated)] == [int, int, int]
    assert view.samples.shape == (6, 1, 8, 8)


@pytest.mark.parametrize(
    "how", [{"seed": -1}, {"batch_size": 0}, {"num_generated": 0}, {"num_samples": 1.5}, {"binarization": "grey"}]
)
def test_settings_that_make_no_sense(how: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=next(iter(how))):
        View(small(), images(), **how)


def test_what_is_no_model_and_no_data() -> None:
    with pytest.raises(ComponentError, match="a mnistvae model"):
        View(nn.Linear(2, 2), images())  # type: ignore[arg-type]
    with pytest.raises(DataError):
        View(small(), "mnist")  # type: ignore[arg-type]
    with pytest.raises(DataError):
        View(small(), images(), train="mnist")  # type: ignore[arg-type]
    assert len(View(small(), images(), train=images().images).train or ()) == len(images())
    with pytest.raises(DataError, match="labels for a conditional model"):
        View(small(ConditionalVAE), images(labels=False)).codes  # noqa: B018
    with pytest.raises(SettingError, match="pictures to keep"):
        View(small(), images()).keep("codes")  # type: ignore[arg-type]


def test_functions_that_do_not_give_a_row_an_image() -> None:
    view = View(small(), images(), batch_size=20)

    def whole(x: Tensor, made: Tensor) -> Tensor:
        return (x - made).mean().reshape(1)

    with pytest.raises(DataError, match="one row of whole for each of 20 images, got 1"):
        view.reconstructed(whole)


def test_reconstructions_that_are_not_finite() -> None:
    model = small()
    with torch.no_grad():
        for weight in model.decoder.parameters():
            weight.fill_(torch.nan)
    with pytest.raises(DataError, match="finite reconstructions, got NaN or infinity in 7 of 7, the first"):
        View(model, images(), batch_size=7).reconstructed(brightness)
