"""Compilation by the work ahead: how it is counted, and that it is decided the same each time."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import mnistvae as mv
from mnistvae.errors import SettingError
from mnistvae.networks import ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder
from mnistvae.objectives import IWAE
from mnistvae.training import trainer as trainer_module
from mnistvae.training.steps import worth
from mnistvae.training.steps.worth import flops_of_image, is_worth_compiling, seconds_ahead

SHAPE = (1, 8, 8)


def mlp(**how: Any) -> mv.VAE:
    return mv.VAE(2, SHAPE, encoder=MLPEncoder(2, SHAPE, (8,)), decoder=MLPDecoder(2, SHAPE, (8,)), **how)


def test_operations_are_those_of_the_products() -> None:
    # 64-8, 8-4 (mean and logvar), 2-8, 8-64: a multiplication and an addition each, three times: forward and backward.
    assert flops_of_image(mlp()) == 3 * 2 * (64 * 8 + 8 * 4 + 2 * 8 + 8 * 64)
    decoder = 2 * 8 + 8 * 64
    assert flops_of_image(mlp(objective=IWAE(5))) == 3 * 2 * (64 * 8 + 8 * 4 + 5 * decoder)
    assert flops_of_image(mv.ConditionalVAE(2, num_classes=3, image_shape=SHAPE)) > 0
    conv = mv.VAE(2, (1, 28, 28), encoder=ConvEncoder(2, (1, 28, 28)), decoder=ConvDecoder(2, (1, 28, 28)))
    assert flops_of_image(conv) > 10 * flops_of_image(mlp())


def test_counting_leaves_model_and_generators_alone() -> None:
    model = mlp().train()
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    flops_of_image(model)
    assert torch.equal(torch.rand(2), expected)
    assert model.training
    assert all(weight.grad is None for weight in model.parameters())


def test_long_runs_are_compiled_and_short_ones_not() -> None:
    model = mv.recipes.get("mlp-20").model()
    assert not is_worth_compiling(model, 128, 10 * 469)
    assert is_worth_compiling(model, 128, 5000 * 469)
    assert not is_worth_compiling(model, 128, 5000 * 469, minutes=9)
    assert is_worth_compiling(model, 128, 5000 * 469, minutes=11)
    assert not is_worth_compiling(model, 128, None)
    assert not is_worth_compiling(model, 128, None, minutes=9)
    assert is_worth_compiling(model, 128, None, minutes=10)
    assert not is_worth_compiling(model.to("meta"), 128, 10**9)


def test_the_estimate_is_of_products_and_calls() -> None:
    assert seconds_ahead(0, 100, 2000, 4) == pytest.approx(1.0)
    assert seconds_ahead(10**8, 100, 2000, 4) == pytest.approx(1.0 + 2000 * 10**10 / 2e11)


@pytest.mark.parametrize("long", [True, False])
def test_auto_asks_for_it_or_not(long: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    class Compiled(trainer_module.Step):
        def __init__(self, *arguments: Any, batch_size: int, whole: bool, **how: Any) -> None:
            made.append(f"{batch_size}, {whole}")
            super().__init__(*arguments, **how)

    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr(trainer_module, "CompiledStep", Compiled)
    monkeypatch.setattr(trainer_module, "is_worth_compiling", lambda *given: asked.append(given) or long)
    settings: dict[str, Any] = {"epochs": 2, "batch_size": 8, "progress": False, "device": "cpu"}
    model = mlp()
    mv.Trainer(compile="auto", **settings).fit(model, torch.rand(20, *SHAPE))
    assert asked == [(model, 8, 6, None)]
    assert made == (["8, True"] if long else [])
    mv.Trainer(compile="auto", accumulate=2, minutes=3.0, **settings).fit(model, torch.rand(20, *SHAPE))
    assert asked[1:] == [(model, 16, 4, 3.0)]


def test_the_time_that_pays_is_ten_minutes() -> None:
    flops = flops_of_image(mlp())
    threads = torch.get_num_threads()
    steps = int(600 / seconds_ahead(flops, 8, 1, threads))
    assert not is_worth_compiling(mlp(), 8, steps - 1)
    assert is_worth_compiling(mlp(), 8, steps + 2)
    assert worth._PAYS == 600


@pytest.mark.parametrize("value", ["yes", 1, None, "Auto"])
def test_other_words_are_refused(value: Any) -> None:
    with pytest.raises(SettingError, match=r'compile as True or False, got .*: or "auto"'):
        mv.Trainer(compile=value)


def test_auto_is_kept_in_the_settings() -> None:
    assert mv.Trainer(compile="auto").compile == "auto"
    assert "compile='auto'" in repr(mv.Trainer(compile="auto"))
