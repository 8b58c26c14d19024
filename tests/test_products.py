"""Products on the CPU are fast only where that loses nothing, and the setting is put back."""

from __future__ import annotations

import pytest
import torch

from mnistvae import _products as products


def precision() -> str:
    return str(torch.backends.mkldnn.matmul.fp32_precision)


@pytest.mark.parametrize("exact", [True, False])
def test_the_setting_is_changed_where_it_is_exact_and_put_back(monkeypatch: pytest.MonkeyPatch, exact: bool) -> None:
    monkeypatch.setattr(products, "_onednn_is_exact", lambda: exact)
    before = precision()
    with products.fast_products(torch.device("cpu")):
        assert precision() == ("bf16" if exact else before)
    assert precision() == before
    with pytest.raises(KeyError), products.fast_products(torch.device("cpu")):
        raise KeyError
    assert precision() == before


def test_other_devices_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_onednn_is_exact", lambda: True)
    before = precision()
    with products.fast_products(torch.device("meta")):
        assert precision() == before


def test_a_cpu_that_rounds_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    products._onednn_is_exact.cache_clear()
    rounded = torch.Tensor.__matmul__

    def round_products(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        if a.dtype is torch.float64 or precision() != "bf16":
            return rounded(a, b)
        return rounded(a.bfloat16().float(), b.bfloat16().float())

    monkeypatch.setattr(torch.Tensor, "__matmul__", round_products)
    assert products._onednn_is_exact() is False
    products._onednn_is_exact.cache_clear()


def test_products_inside_the_block_are_as_exact_as_outside() -> None:
    generator = torch.Generator().manual_seed(1)
    a, b = torch.randn(64, 300, generator=generator), torch.randn(300, 50, generator=generator)
    exact = a.double() @ b.double()
    with products.fast_products(torch.device("cpu")):
        inside = a @ b
    assert float((inside - exact).abs().max() / exact.abs().max()) < 1e-5


def test_convolutions_on_a_gpu_are_repeatable_in_the_block_alone() -> None:
    before = torch.backends.cudnn.deterministic
    with products.training_arithmetic(torch.device("cuda")):
        assert torch.backends.cudnn.deterministic
    assert torch.backends.cudnn.deterministic == before
    with products.training_arithmetic(torch.device("cpu")):
        assert torch.backends.cudnn.deterministic == before
    with pytest.raises(KeyError), products.training_arithmetic(torch.device("cuda")):
        raise KeyError
    assert torch.backends.cudnn.deterministic == before
