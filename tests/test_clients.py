"""Models in the hands of other code: exporters, wrappers, threads, loops of one's own."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import mnistvae as mv
from mnistvae import VAE, ImageDataset, Trainer
from mnistvae._modes import evaluating
from mnistvae._random import seeded
from mnistvae.errors import ComponentError, DataError, SettingError
from mnistvae.likelihoods import (
    Autoregressive,
    Bernoulli,
    Categorical,
    ContinuousBernoulli,
    DiscretizedLogistic,
    Gaussian,
    Likelihood,
    LogisticMixture,
)
from mnistvae.networks import GaussianEncoder, MLPDecoder, MLPEncoder, TrunkDecoder
from mnistvae.objectives import ELBO
from mnistvae.priors import GaussianMixture, VampPrior
from mnistvae.schedules import Linear

SHAPE = (1, 6, 5)


def model(likelihood: Likelihood | None = None, classes: int | None = None, **parts: Any) -> VAE:
    likelihood = likelihood or Bernoulli()
    with seeded(0):
        return VAE(
            3,
            SHAPE,
            encoder=MLPEncoder(3, SHAPE, hidden=(8,), num_classes=classes),
            decoder=MLPDecoder(3, SHAPE, hidden=(8,), num_classes=classes, n_params=likelihood.n_params),
            likelihood=likelihood,
            num_classes=classes,
            **parts,
        )


def images(n: int) -> Tensor:
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(n))


# Exporters and functional tools


class Decode(nn.Module):
    def __init__(self, vae: VAE) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return self.vae.decode(z, y).mean


class Score(nn.Module):
    def __init__(self, vae: VAE) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, x: Tensor) -> Tensor:
        return self.vae.decode(self.vae.encode(x).mean).log_prob(x)


LIKELIHOODS: list[Callable[[], Likelihood]] = [
    Bernoulli,
    ContinuousBernoulli,
    Gaussian,
    lambda: DiscretizedLogistic(levels=4),
    lambda: LogisticMixture(components=2, levels=4),
    lambda: Categorical(levels=4),
    lambda: Autoregressive(features=1, channels=4, layers=1, kernel_size=3),
]


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_what_is_exported_takes_any_number_of_images(likelihood: Callable[[], Likelihood]) -> None:
    vae, batch = model(likelihood()).eval(), torch.export.Dim("batch", min=1, max=64)
    exported = torch.export.export(Score(vae), (images(3),), dynamic_shapes=({0: batch},)).module()
    assert torch.allclose(exported(images(7)), Score(vae)(images(7)), atol=1e-6)


def test_a_conditional_model_is_exported_with_its_labels() -> None:
    vae, batch = model(classes=4).eval(), torch.export.Dim("batch", min=1, max=64)
    inputs = (torch.randn(3, 3), torch.tensor([0, 1, 2]))
    exported = torch.export.export(Decode(vae), inputs, dynamic_shapes=({0: batch}, {0: batch})).module()
    z, y = torch.randn(5, 3), torch.tensor([3, 2, 1, 0, 3])
    assert torch.allclose(exported(z, y), vae.decode(z, y).mean, atol=1e-6)


def test_a_whole_model_is_exported() -> None:
    output = torch.export.export(model().eval(), (images(2),)).module()(images(2))
    assert output.reconstruction.shape == (2, *SHAPE)


def test_vmap_over_images_and_labels() -> None:
    vae = model(classes=4).eval()
    z, y = torch.randn(4, 3), torch.arange(4)
    each = torch.func.vmap(lambda code, label: vae.decode(code[None], label[None]).mean[0])(z, y)
    assert torch.allclose(each, vae.decode(z, y).mean, atol=1e-6)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_an_output_is_a_tree_of_its_tensors(likelihood: Callable[[], Likelihood]) -> None:
    output = model(likelihood())(images(2))
    parts, spec = pytree.tree_flatten(output)
    again = pytree.tree_unflatten(parts, spec)
    assert torch.equal(again.reconstruction, output.reconstruction)
    assert torch.equal(again.posterior.log_prob(again.z), output.posterior.log_prob(output.z))
    assert all(isinstance(tensor, Tensor) for tensor in output.tensors)
    strings = pytree.tree_map(lambda _: "a", output)
    assert strings.posterior is not None


# Wrappers


def test_the_training_module_is_the_loss() -> None:
    vae = model()
    with seeded(1):
        loss = vae.training_module()(images(5))
    with seeded(1):
        expected = vae.loss(images(5)).loss.mean()
    assert torch.equal(loss, expected)
    loss.backward()
    assert all(weight.grad is not None for weight in vae.parameters())
    assert [*vae.training_module().state_dict()] == [f"model.{name}" for name in vae.state_dict()]


def test_data_parallel_gathers_the_training_module() -> None:
    assert nn.DataParallel(model().training_module())(images(4)).ndim == 0


def test_a_compiled_model_is_the_model(tmp_path: Path) -> None:
    vae = model()
    compiled = torch.compile(vae, backend="eager")
    data = ImageDataset(images(16))
    Trainer(1, 8, progress=False, device="cpu").fit(compiled, data)  # type: ignore[arg-type]
    same = mv.load(mv.save(compiled, tmp_path / "a.safetensors"))  # type: ignore[arg-type]
    assert torch.equal(same.reconstruct(images(2)), vae.reconstruct(images(2)))
    assert mv.metrics.evaluate(compiled, data, include=["reconstruction"]).names()  # type: ignore[arg-type]
    other = model()
    other.load_state_dict(compiled.state_dict())
    other.load_state_dict({f"module.{name}": tensor for name, tensor in compiled.state_dict().items()})
    assert torch.equal(other.reconstruct(images(2)), vae.reconstruct(images(2)))
    with pytest.raises(ComponentError, match="compile the model"):
        vae.encoder = torch.compile(vae.encoder, backend="eager")  # type: ignore[assignment]


# Threads


@pytest.mark.parametrize("prior", [None, GaussianMixture(3, 2), GaussianMixture(3, 2, covariance="full"), VampPrior(2)])
def test_a_generator_is_all_that_is_drawn_from(prior: Any) -> None:
    vae = model() if prior is None else model(prior=prior)
    before = torch.get_rng_state()
    expected = [vae.sample(4, generator=torch.Generator().manual_seed(seed)) for seed in range(6)]
    assert torch.equal(before, torch.get_rng_state())
    found: dict[int, Tensor] = {}

    def draw(seed: int) -> None:
        for _ in range(15):
            found[seed] = vae.sample(4, generator=torch.Generator().manual_seed(seed))
            assert torch.equal(found[seed], expected[seed])

    vae.train()
    threads = [threading.Thread(target=draw, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(found[seed], expected[seed]) for seed in range(6))
    assert torch.equal(before, torch.get_rng_state())
    assert vae.training
    assert vae.encoder.training


def test_a_generator_draws_what_the_global_one_does_under_its_seed() -> None:
    vae = model()
    found = vae.sample(4, generator=torch.Generator().manual_seed(3))
    seed = int(torch.randint(2**62, (), generator=torch.Generator().manual_seed(3)))
    with seeded(seed):
        assert torch.equal(found, vae.sample(4))


def test_blocks_of_evaluation_may_overlap() -> None:
    vae = model()
    vae.encoder.eval()
    one, two = evaluating(vae), evaluating(vae)
    one.__enter__()
    two.__enter__()
    one.__exit__(None, None, None)
    assert not vae.training
    two.__exit__(None, None, None)
    assert vae.training
    assert not vae.encoder.training


# Loops of one's own


def test_a_schedule_that_nobody_advances_warns_once() -> None:
    vae = model(objective=ELBO(2.0, schedule=Linear(10)))
    for _ in range(2):  # it may be a look
        vae.loss(images(2))
    with pytest.warns(UserWarning, match=r"stands still.*model\.advance\(step\)"):
        vae.loss(images(2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vae.loss(images(2))
        other = model(objective=ELBO(2.0, schedule=Linear(10)))
        for step in range(4):
            other.eval().loss(images(2))
            other.train().objective.advance(step)
            other.loss(images(2))


def test_inference_tensors_are_trained_on() -> None:
    with torch.inference_mode():
        x = images(3) + 0
    vae, usual = model(), model()
    assert not x.requires_grad
    for one, images_ in ((vae, x), (usual, x.clone())):
        torch.manual_seed(0)
        one.loss(images_).loss.mean().backward()
    for weight, same in zip(vae.parameters(), usual.parameters(), strict=True):
        assert weight.grad is not None
        assert torch.equal(weight.grad, same.grad)  # type: ignore[arg-type]


@settings(deadline=None, max_examples=25)
@given(n=st.integers(1, 40), size=st.integers(1, 45), classes=st.sampled_from([None, 3]), seed=st.integers(0, 9))
def test_the_size_of_batches_changes_nothing(n: int, size: int, classes: int | None, seed: int) -> None:
    vae = model(classes=classes)
    x, y = images(n), None if classes is None else torch.arange(n) % classes

    def close(a: Tensor, b: Tensor) -> bool:
        return bool(torch.allclose(a, b, atol=1e-6))

    def noise() -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    assert close(vae.sample(n, y, generator=noise()), vae.sample(n, y, generator=noise(), batch_size=size))
    assert close(vae.reconstruct(x, y), vae.reconstruct(x, y, batch_size=size))
    label = None if classes is None else 1
    assert close(vae.interpolate(x, x.flip(0), 3, label), vae.interpolate(x, x.flip(0), 3, label, batch_size=size))


def test_more_images_than_memory_holds() -> None:
    with pytest.raises(SettingError, match=r"fit into memory.*GiB"):
        model().sample(2**31 - 1, batch_size=2)


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.float16, np.int64])
def test_codes_come_as_arrays_too(kind: Any) -> None:
    z = np.ones((2, 3), kind)
    assert torch.equal(model().decode(z).mean, model().decode(torch.ones(2, 3)).mean)
    for bad in (z + 1j, torch.as_tensor(z + 1j)):
        with pytest.raises(DataError, match="codes as"):
            model().decode(bad)


# Parts of one's own


@pytest.mark.parametrize("likelihood", [Bernoulli(), ContinuousBernoulli()])
def test_a_decoder_that_ends_in_a_sigmoid_is_told_of(likelihood: Likelihood) -> None:
    def make(*last: nn.Module) -> VAE:
        trunk = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 30), *last)
        return VAE(3, SHAPE, decoder=TrunkDecoder(trunk, 3, SHAPE), likelihood=likelihood)

    with pytest.warns(UserWarning, match="leave the sigmoid out"):
        make(nn.Sigmoid())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(20):
            make()


def test_codes_of_a_data_set_are_codes() -> None:
    codes = mv.analysis.encode_dataset(model(), ImageDataset(images(20)))
    assert mv.analysis.find_clusters(codes).members.shape == (20,)
    assert len(mv.analysis.embed(codes)) == 20


class Keeping(nn.Module):
    """A network that does not keep what it was made of."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(30, width))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)  # type: ignore[no-any-return]


def test_a_model_that_cannot_be_saved_is_told_of_before_its_training() -> None:
    vae = VAE(3, SHAPE, encoder=GaussianEncoder(Keeping(8), 3))
    with pytest.warns(UserWarning, match=r"not be saved.*write self\.width = width"):
        Trainer(1, 8, progress=False, device="cpu").fit(vae, ImageDataset(images(8)))
