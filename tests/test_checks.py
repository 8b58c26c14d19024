"""Numbers as users give them."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mnistvae as mv
from mnistvae import BetaVAE, ConditionalVAE, Trainer, _checks, load, save
from mnistvae._checks import check_choice, check_count, check_number, check_seed, check_widths
from mnistvae.errors import SettingError


@pytest.mark.parametrize("value", [4, np.int64(4), np.uint8(4), torch.tensor(4)])
def test_counts_become_ints(value: Any) -> None:
    got = check_count("n", value)
    assert (got, type(got)) == (4, int)


@pytest.mark.parametrize("value", [0, -1, 1.0, 2.5, True, "3", None, [3], torch.ones(2), 10**30])
def test_what_is_no_count_is_refused(value: Any) -> None:
    with pytest.raises(SettingError, match="expected n"):
        check_count("n", value)


@pytest.mark.parametrize("value", [0, 2**63 - 1, np.int32(7)])
def test_seeds(value: Any) -> None:
    assert type(check_seed(value)) is int
    assert check_seed(value) == value


@pytest.mark.parametrize("value", [-1, 2**63, 10**30, 1.5, True, None])
def test_what_is_no_seed_is_refused(value: Any) -> None:
    with pytest.raises(SettingError, match="expected seed as an integer of at least 0"):
        check_seed(value)
    with pytest.raises(SettingError, match="expected seed"):
        Trainer(seed=value)


@pytest.mark.parametrize("value", [4, 4.0, np.float32(4), torch.tensor(4.0)])
def test_numbers_become_floats(value: Any) -> None:
    got = check_number("x", value)
    assert (got, type(got)) == (4.0, float)


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "4", None, [4.0], torch.ones(2), True, 1j])
def test_what_is_no_number_is_refused(value: Any) -> None:
    with pytest.raises(SettingError, match="expected x, got"):
        check_number("x", value)


def test_zero_is_refused_where_the_number_has_to_be_above_it() -> None:
    assert check_number("x", 0) == 0.0
    with pytest.raises(SettingError, match="expected x, got 0"):
        check_number("x", 0, above=True)


def test_a_model_of_numpy_and_torch_scalars_is_saved(tmp_path: Any) -> None:
    labels = np.array([0, 2, 1])
    model = ConditionalVAE(np.int64(2), num_classes=labels.max() + 1, image_shape=(1, 8, 8))
    assert load(save(model, tmp_path / "a.safetensors")).num_classes == 3
    beta = BetaVAE(2, beta=torch.tensor(0.5), image_shape=(1, 8, 8))
    assert "beta=0.5" in repr(load(save(beta, tmp_path / "b.safetensors")))


def test_a_word_is_given_back_as_the_choice_that_it_is() -> None:
    assert type(check_choice("kind", np.str_("b"), ("a", "b"))) is str
    with pytest.raises(SettingError, match="kind as a number, or one of 'a', 'b', got 'c': check the spelling"):
        check_choice("kind", "c", ("a", "b"), "a number")


@pytest.mark.parametrize("widths", [(64, 32), [64, 32], np.array([64, 32]), torch.tensor([64, 32]), (np.int32(64), 32)])
def test_widths_become_ints(widths: Any) -> None:
    got = check_widths("hidden", widths)
    assert got == (64, 32)
    assert {type(width) for width in got} == {int}


@pytest.mark.parametrize("widths", [64, "64", (64, 0), (64, 1.5), (True,), None, {64: 32}])
def test_widths_that_make_no_sense(widths: Any) -> None:
    with pytest.raises(SettingError, match="expected hidden as positive integers, got"):
        check_widths("hidden", widths)


def test_no_result_of_a_check_is_dropped() -> None:
    checks = {name for name in _checks.__all__ if name.startswith("check_")}
    assert "check_seed" in checks
    dropped = [
        f"{path.name}:{node.lineno}: {node.value.func.id}"
        for path in sorted(Path(mv.__file__).parent.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Name)
        and node.value.func.id in checks
    ]
    assert not dropped, "use the value that the check returns"
