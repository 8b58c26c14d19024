"""Features of Inception-v3 as torchvision has it: near those that published scores are made of, and not the same."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mnistvae._checks import check_count
from mnistvae._passes import OfBatch
from mnistvae.arrays import ArrayLike, as_tensor
from mnistvae.devices import resolve_device
from mnistvae.errors import DataError
from mnistvae.images import as_pixels
from mnistvae.metrics.frechet import frechet_distance
from mnistvae.metrics.generation import Features, classifier_score
from mnistvae.metrics.metric import Metric
from mnistvae.view import View

if TYPE_CHECKING:
    from torchvision.models import Inception3

__all__ = ["METRICS", "by_inception", "expect_inception", "inception_features", "inception_network"]

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
        images: Images, (N, 1 or 3, H, W) or (N, H, W), float in [0, 1] or uint8; they are resized to 299 x 299.
        batch_size: Number of images that are computed at once.
        device: Device to compute on.

    Returns:
        (N, 2048) features after the last pooling, and (N, 1000) logits, float32, on the CPU.

    Raises:
        DataError: If images are of another kind, or the weights are not in torch's cache and cannot be downloaded.
        SettingError: If the batch size is below 1, or this machine does not have the device.
    """
    batch_size = check_count("batch_size as an integer of at least 1", batch_size)
    pixels = as_tensor(as_pixels(images), "images")
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
    """Input of the network's last linear map."""
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
        DataError: If its weights are not in torch's cache and cannot be downloaded.
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


def by_inception(view: View) -> Features:
    """The images of a view, as they came, and its samples, as Inception-v3 sees them.

    Args:
        view: A model and a data set.
    """
    (generated,) = view.sampled(view.once(_reader))
    with view.bar("inception", len(view)) as done:
        real, _ = inception_features(view.data.images, device=view.model.device)
        done(len(real))
    width = real.shape[1]
    return Features(real, generated[:, :width], generated[:, width:])


def expect_inception(view: View) -> None:
    """Announce that Inception-v3 will see the samples."""
    view.expect(sampled=[view.once(_reader)])


def _reader(view: View) -> OfBatch:
    """The function that gives features and logits of a batch of samples, side by side."""
    device = view.model.device
    return lambda samples: torch.cat(inception_features(samples, device=device), 1)


def _how(view: View) -> str:
    return f"{view.num_generated} samples, torchvision's Inception-v3, near the published weights but not them"


def _distance(view: View) -> float:
    return frechet_distance(*view.once(by_inception)[:2])


def _score(view: View) -> float:
    return classifier_score(view.once(by_inception).logits).mean


METRICS = (
    Metric("fd_inception", "", "lower", ("inception",), compute=_distance, protocol=_how),
    Metric("score_inception", "", "higher", ("inception",), compute=_score, protocol=_how),
)
