"""Features of Inception-v3, as torchvision has it: what published scores are made of, near enough to be mistaken."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mnistvae._checks import check_count
from mnistvae.arrays import ArrayLike
from mnistvae.devices import resolve_device
from mnistvae.errors import DataError
from mnistvae.images import as_pixels

if TYPE_CHECKING:
    from torchvision.models import Inception3

__all__ = ["inception_features", "inception_network"]

#: What the network was trained on: side of the images, mean and standard deviation of their channels.
_SIDE, _MEAN, _DEVIATION = 299, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@torch.no_grad()
def inception_features(
    images: ArrayLike, *, batch_size: int = 64, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Features and logits of Inception-v3 with torchvision's weights, which are downloaded once (104 MB).

    Published Fréchet inception distances and inception scores use the weights of another implementation and its
    way to resize, so figures made with these come near them and do not equal them: name them so.

    Args:
        images: (N, 1 or 3, H, W) or (N, H, W), float in [0, 1] or uint8; resized to 299 x 299.
        batch_size: images at once.
        device: where to compute.

    Returns:
        (N, 2048) features after the last pooling, and (N, 1000) logits, float32, on the CPU.

    Raises:
        DataError: other images, or no weights: they are not in torch's cache and cannot be downloaded.
        SettingError: a batch size below 1, or a device that this machine does not have.
    """
    batch_size = check_count("batch_size as an integer of at least 1", batch_size)
    pixels = torch.as_tensor(as_pixels(images))
    device = resolve_device(device)
    network = inception_network().to(device)
    mean, deviation = (torch.tensor(values, device=device).reshape(3, 1, 1) for values in (_MEAN, _DEVIATION))
    features, logits = [], []
    for part in torch.split(pixels, batch_size):
        x = part.to(device).float().div(255).expand(-1, 3, -1, -1)
        x = nn.functional.interpolate(x, (_SIDE, _SIDE), mode="bilinear", antialias=True)
        pooled = _pooled(network, (x - mean) / deviation)
        features.append(pooled.cpu())
        logits.append(network.fc(pooled).cpu())
    return torch.cat(features), torch.cat(logits)


def _pooled(network: Inception3, x: Tensor) -> Tensor:
    """What the network's last linear map is given."""
    seen: list[Tensor] = []
    handle = network.fc.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        network(x)
    finally:
        handle.remove()
    return seen[0]


@cache
def inception_network() -> Inception3:
    """The network with its weights.

    Raises:
        DataError: no weights.
    """
    from torchvision.models import Inception_V3_Weights, inception_v3

    try:
        network: Inception3 = inception_v3(weights=Inception_V3_Weights.IMAGENET1K_V1, transform_input=False)
    except (OSError, RuntimeError) as error:  # no network, or a download that was cut
        raise DataError(
            "torchvision's weights of Inception-v3",
            f"{type(error).__name__}: {error}",
            "use the digit classifier's figures",
        ) from error
    return network.eval().requires_grad_(requires_grad=False)
