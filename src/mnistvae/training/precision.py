"""The data type in which products are computed."""

from __future__ import annotations

import torch

from mnistvae._checks import check_choice

__all__ = ["resolve_precision"]


def resolve_precision(precision: str, device: torch.device) -> torch.dtype | None:
    """The data type of products, or None for fp32 throughout; "auto" is bf16 where the device computes in it.

    Raises:
        SettingError: If the name is unknown.
    """
    precision = check_choice("precision", precision, ("fp32", "bf16", "auto"))
    return None if precision == "fp32" or (precision == "auto" and not _has_bf16(device)) else torch.bfloat16


def _has_bf16(device: torch.device) -> bool:
    """True where the device has instructions for bfloat16, rather than emulating them."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        return any(
            bool(getattr(torch.cpu, name, bool)()) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        )
    return False
