"""One step: its precision, its compiler, its part of a larger batch."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import pytest
import torch
from test_optimizers import SHAPE, Steps, certain, trainer
from test_resume import data
from torch import Tensor
from torch.distributions import Distribution

from mnistvae import VAE, ConditionalVAE, ImageDataset
from mnistvae._random import batch_noise, noise_for_rows, seeded
from mnistvae.errors import ComponentError, SettingError
from mnistvae.networks import MLPDecoder, MLPEncoder
from mnistvae.objectives import IWAE, Terms
from mnistvae.training.steps import Step, resolve_precision
from mnistvae.training.steps.eager import sums_of
from mnistvae.training.world import ALONE, World

CPU = torch.device("cpu")


def noisy(**parts: Any) -> VAE:
    with seeded(5):
        return VAE(2, SHAPE, encoder=MLPEncoder(2, SHAPE, (8,)), decoder=MLPDecoder(2, SHAPE, (8,)), **parts)


def grey(n: int = 12) -> Tensor:
    return data(n).images.float() / 255


def step_of(vae: VAE, **settings: Any) -> Step:
    return Step(vae.train(), torch.optim.SGD(vae.parameters(), lr=0.01), **settings)


# --- precision ------------------------------------------------------------------------------------------------------


def test_half_precision_keeps_weights_and_sums_in_full() -> None:
    seen: list[torch.dtype] = []
    vae = noisy()
    vae.decoder.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    step = step_of(vae, autocast=torch.bfloat16)
    loss, sums = step.forward(grey(), None, check=True)
    assert seen == [torch.bfloat16], "products are in half precision"
    assert loss.dtype == sums.dtype == torch.float32
    assert step([(grey(), None)])[0].dtype == torch.float32
    assert {tensor.dtype for tensor in vae.state_dict().values()} == {torch.float32}
    assert {weight.grad.dtype for weight in vae.parameters() if weight.grad is not None} == {torch.float32}


def test_the_kl_term_is_not_rounded_to_half_precision() -> None:
    vae = noisy()
    with torch.autocast("cpu", torch.bfloat16):
        kl = vae.loss(grey()).kl
    assert kl.dtype == torch.float32
    assert not torch.equal(kl, kl.bfloat16().float())


@pytest.mark.parametrize("objective", [None, IWAE(4)], ids=["ELBO", "IWAE"])
def test_half_precision_is_near_full_precision(objective: Any) -> None:
    parts = {} if objective is None else {"objective": objective}
    full, half = noisy(**parts), noisy(**parts)
    expected = trainer(precision="fp32", learning_rate=0.003).fit(full, data(), data(16))
    history = trainer(precision="bf16", learning_rate=0.003).fit(half, data(), data(16))
    assert {tensor.dtype for tensor in half.state_dict().values()} == {torch.float32}
    assert history.column("validation_loss") == pytest.approx(expected.column("validation_loss"), rel=0.005)
    assert history.column("loss") != expected.column("loss"), "or nothing was rounded"


def test_precision_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_precision("fp32", CPU) is None
    assert resolve_precision("bf16", CPU) is torch.bfloat16
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    assert resolve_precision("auto", CPU) is None
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    assert resolve_precision("auto", CPU) is torch.bfloat16
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")
    assert resolve_precision("auto", CPU) is None, "where torch does not say, it is not known"
    for capability, dtype in (((7, 5), None), ((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, found=capability: found)
        assert resolve_precision("auto", torch.device("cuda")) is dtype


@pytest.mark.parametrize("word", ["fp16", "float32", "", None, 16, torch.bfloat16])
def test_an_unknown_precision(word: Any) -> None:
    with pytest.raises(SettingError, match="precision as one of 'fp32', 'bf16', 'auto'"):
        trainer(precision=word)


# --- the compiler ---------------------------------------------------------------------------------------------------


def compiled_by(monkeypatch: pytest.MonkeyPatch, make: Callable[[Any], Any]) -> list[dict[str, Any]]:
    """Puts ``make(forward)`` in the place of the compiler; will hold what the compiler is asked for."""
    asked: list[dict[str, Any]] = []

    def compiler(forward: Any, **options: Any) -> Any:
        asked.append(options)
        Distribution.set_default_validate_args(value=False)  # as torch's own does
        return make(forward)

    monkeypatch.setattr(torch, "compile", compiler)
    return asked


def test_a_compiler_that_fails_costs_a_warning_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def broken(forward: Any) -> Any:
        def fail(*_: Any) -> Any:
            calls.append(1)
            Distribution.set_default_validate_args(value=False)
            raise RuntimeError("no C++ compiler was found\nand much more")

        return fail

    before = Distribution._validate_args
    plain, compiled = noisy(), noisy()
    trainer().fit(plain, data(), data(16))
    asked = compiled_by(monkeypatch, broken)
    with pytest.warns(
        UserWarning, match="without torch.compile, which failed: no C\\+\\+ compiler was found$"
    ) as warned:
        trainer(compile=True).fit(compiled, data(), data(16))
    assert len(warned) == 1
    assert len(calls) == len(asked) == 2, "as a whole, then forward pass and loss"
    assert Distribution._validate_args is before
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(compiled.state_dict()[name], tensor)


def test_an_error_without_words_has_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(forward: Any) -> Any:
        def fail(*_: Any) -> Any:
            raise NotImplementedError

        return fail

    compiled_by(monkeypatch, broken)
    with pytest.warns(UserWarning, match="which failed: NotImplementedError"):
        trainer(compile=True, epochs=1).fit(noisy(), data())


def test_full_batches_are_compiled_and_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def counting(forward: Any) -> Any:
        def count(x: Tensor, y: Tensor | None) -> Any:
            found = forward(x, y)
            sizes.append(len(x))
            return found

        return count

    compiled_by(monkeypatch, counting)
    before = Distribution._validate_args
    plain, compiled = noisy(), noisy()
    trainer(compile=True).fit(compiled, data(20), data(16))
    assert sizes == [8, 8, 8], "the first batch is computed as usual, so that what is wrong is said in plain words"
    assert Distribution._validate_args is before
    monkeypatch.undo()
    trainer().fit(plain, data(20), data(16))
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(compiled.state_dict()[name], tensor, rtol=1e-4, atol=1e-6)


def test_a_wrong_loss_is_said_in_plain_words_under_the_compiler_too(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mean(VAE):
        def loss(self, x: Any, y: Any = None) -> Terms:
            return Terms(*(term.mean() for term in super().loss(x, y)[:3]))

    compiled_by(monkeypatch, lambda forward: forward)
    vae = Mean(2, SHAPE, encoder=MLPEncoder(2, SHAPE, (8,)), decoder=MLPDecoder(2, SHAPE, (8,)))
    with pytest.raises(ComponentError, match="leave the mean over images to the Trainer"):
        trainer(compile=True).fit(vae, data())


@pytest.mark.slow
def test_a_compiled_run_is_the_plain_one_to_rounding() -> None:
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        pytest.skip("torch.compile needs a C++ compiler")
    before = Distribution._validate_args
    plain, compiled = certain(), certain()
    expected = trainer().fit(plain, data(20), data(16))
    history = trainer(compile=True).fit(compiled, data(20), data(16))
    assert Distribution._validate_args is before
    assert history.column("loss") == pytest.approx(expected.column("loss"), rel=1e-4)
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(compiled.state_dict()[name], tensor, rtol=1e-3, atol=1e-4)


# --- sums and shares ------------------------------------------------------------------------------------------------


def test_a_step_gives_the_sums_over_its_images() -> None:
    vae = certain()
    terms = vae.train().loss(grey(7))
    expected = torch.stack([term.sum() for term in terms.by_name().values()])
    torch.testing.assert_close(sums_of(terms), expected.detach())
    assert not sums_of(terms).requires_grad
    torch.testing.assert_close(step_of(vae)([(grey(7), None)])[0], expected.detach())
    (both,) = step_of(certain())([(grey(7)[:3], None), (grey(7)[3:], None)])
    torch.testing.assert_close(both, expected.detach())


def test_labels_reach_the_models_that_use_them_and_no_others() -> None:
    labels = torch.arange(12) % 3
    seen: list[Any] = []

    def look(module: Any, inputs: Any) -> None:
        seen.append(inputs[1] if len(inputs) > 1 else None)

    for vae in (noisy(), ConditionalVAE(2, 3, SHAPE)):
        vae.encoder.register_forward_pre_hook(look)
        step_of(vae)([(grey(), labels)])
    assert seen[0] is None
    assert torch.equal(seen[1], labels)


def test_the_gradient_of_a_step_does_not_pile_up_on_the_one_before() -> None:
    vae = certain()
    step = Step(vae.train(), torch.optim.SGD(vae.parameters(), lr=0.0))
    norms = []
    for _ in range(3):
        step([(grey(), None)])
        norms.append([float(p.grad.norm()) for p in vae.parameters() if p.grad is not None])
    assert norms[0] == norms[1] == norms[2]


@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 12])
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_every_row_belongs_to_one_process(n: int, size: int) -> None:
    shares = [list(range(n))[World(rank, size).rows(n)] for rank in range(size)]
    assert sum(shares, []) == list(range(n))  # noqa: RUF017
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("shape", [(8, 3), (4, 8, 3), (2, 4, 8, 3)])
@pytest.mark.parametrize("size", [2, 3])
def test_the_noise_of_the_parts_is_that_of_the_whole(shape: tuple[int, ...], size: int) -> None:
    with seeded(1):
        whole = batch_noise(torch.Size(shape), torch.float32, CPU)
        after = torch.rand(2)
    parts = []
    for rank in range(size):
        rows = World(rank, size).rows(8)
        own = torch.Size([*shape[:-2], rows.stop - rows.start, shape[-1]])
        with seeded(1), noise_for_rows(rows, 8):
            parts.append(batch_noise(own, torch.float32, CPU))
            assert torch.equal(torch.rand(2), after), "each process draws as much as one alone"
    assert torch.equal(torch.cat(parts, dim=-2), whole)


def test_what_is_not_of_the_batch_gets_noise_of_its_own() -> None:
    with seeded(1):
        expected = torch.randn(5, 3)
    with seeded(1), noise_for_rows(slice(0, 4), 8):
        assert torch.equal(batch_noise(torch.Size([5, 3]), torch.float32, CPU), expected)
    with seeded(1):
        assert torch.equal(batch_noise(torch.Size([5, 3]), torch.float32, CPU), expected), "and none is left over"


@pytest.mark.parametrize(
    "objective", [None, IWAE(3), IWAE(2, groups=2, partial=True)], ids=["ELBO", "IWAE", "IWAE, partial"]
)
@pytest.mark.parametrize("n", [12, 7, 1])
def test_the_gradients_of_the_processes_add_up_to_that_of_one(objective: Any, n: int) -> None:
    """Without processes: each one's share of a step is computed here, one after another."""
    parts = {} if objective is None else {"objective": objective}
    batches = [(grey(n), None), (grey(12)[:5], None)]

    def gradients(world: World) -> tuple[list[Tensor], Tensor]:
        vae = noisy(**parts)
        step = Step(vae.train(), torch.optim.SGD(vae.parameters(), lr=0.0), world=world)
        with seeded(3):
            (sums,) = step(batches)
        return [weight.grad for weight in vae.parameters() if weight.grad is not None], sums

    expected, sums = gradients(ALONE)
    shares = [gradients(World(rank, 2)) for rank in range(2)]
    torch.testing.assert_close(shares[0][1] + shares[1][1], sums)
    for whole, first, second in zip(expected, shares[0][0], shares[1][0], strict=True):
        torch.testing.assert_close(first + second, whole, rtol=1e-3, atol=1e-4)


def test_clipping_comes_after_the_exchange() -> None:
    """Or each process would clip its own part."""
    vae = certain()
    norms: list[float] = []

    def exchange(tensors: list[Tensor]) -> None:
        norms.append(float(torch.stack([tensor.norm() for tensor in tensors[:-1]]).norm()))

    step_of(vae, clip_norm=0.1, exchange=exchange)([(grey(), None)])
    assert norms[0] > 1
    clipped = torch.stack([p.grad.norm() for p in vae.parameters() if p.grad is not None]).norm()
    assert float(clipped) == pytest.approx(0.1, rel=1e-3)


def test_a_frozen_part_is_trained_neither_alone_nor_with_others() -> None:
    vae = certain()
    for parameter in vae.encoder.parameters():
        parameter.requires_grad = False
    listener = Steps()
    trainer(listener, ema=0.5, clip_norm=1.0, accumulate=2).fit(vae, ImageDataset(data().images))
    for name, tensor in vae.encoder.state_dict().items():
        torch.testing.assert_close(tensor, listener.start[f"encoder.{name}"])
    assert all(
        not torch.equal(tensor, listener.start[name]) for name, tensor in vae.state_dict().items() if "deco" in name
    )
