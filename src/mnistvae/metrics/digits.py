"""A digit classifier that ships with the package: it reads generated digits and gives features to compare them by.

It was trained on MNIST by ``scripts/train_digit_classifier.py``; ``digit_classifier.json`` is the record. It is
not Inception-v3, so figures made with it carry a name of their own: ``fd_digits``, ``score_digits``.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from functools import cache
from importlib.resources import as_file, files

import torch
from torch import Tensor, nn

from mnistvae._checks import check_count
from mnistvae._tensorfile import Kind, read_tensors
from mnistvae.arrays import ArrayLike, as_tensor, check_array, check_finite
from mnistvae.devices import resolve_device
from mnistvae.errors import DataError
from mnistvae.images import ImageShape, as_images, check_range

__all__ = ["DATASETS", "DIGIT_SHAPE", "DigitClassifier", "classify", "digit_classifier", "digit_logits"]

#: Images that a CPU computes at once: with more, what is between two layers leaves its cache.
_AT_ONCE = 64
#: What the classifier reads: (channels, height, width).
DIGIT_SHAPE: ImageShape = (1, 28, 28)
#: Names of the data sets whose images it reads; give yours one of them (``ImageDataset(name="mnist")``) if it does.
DATASETS = ("mnist", "mnist-mini", "mnist-50k", "qmnist", "emnist-digits", "emnist-mnist")
#: Channels of the three scales; the last is the number of features.
_WIDTHS = (16, 32, 64)
_WEIGHTS = "digit_classifier.safetensors"
#: What the file of weights says it is.
KIND = Kind("mnistvae-digits", 1, "digit classifier", "install mnistvae again: the file ships with it")


class DigitClassifier(nn.Module):
    """A small convolutional network that reads MNIST's digits.

    Two convolutions at each of three scales (28, 14 and 7 pixels), then the mean over the last scale's pixels.
    Whatever normalises pixels and activations is folded into the convolutions, so it takes pixels as they are, has no
    mode, and treats every image by itself. Features are means of rectified activations, so they are not negative.

    Example:
        >>> DigitClassifier()(torch.rand(5, 1, 28, 28)).shape
        torch.Size([5, 10])
    """

    #: Size D of the features.
    num_features = _WIDTHS[-1]
    num_classes = 10

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = DIGIT_SHAPE[0]
        for width in _WIDTHS:
            if layers:
                layers.append(nn.MaxPool2d(2))
            for channels in (before, width):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            before = width
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(self.num_features, self.num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Input of the last linear map: (B, D), not negative.

        Args:
            x: Digits, (B, 1, 28, 28), (B, 28, 28) or (B, 784), float in [0, 1] or uint8; values are not looked at.

        Raises:
            DataError: If shape or dtype is another.
        """
        _check_shape(x)
        out: Tensor = self.layers(as_images(x, DIGIT_SHAPE, dtype=self.head.weight.dtype))
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the ten digits: (B, 10), for images as :meth:`features` takes them."""
        out: Tensor = self.head(self.features(x))
        return out


def digit_classifier(device: torch.device | str = "cpu") -> DigitClassifier:
    """The trained classifier, in evaluation mode and frozen: gradients reach the image, not the weights.

    The file is read once for each device. Each call gives a copy of its own, so that nothing done to it (moved, cast,
    trained) reaches another caller.

    Args:
        device: Device to put it on.

    Raises:
        FileFormatError: If the file that ships with the package is missing or damaged.
        SettingError: If this machine does not have the device.

    Example:
        >>> digits = mv.load_dataset("mnist-mini", "test")
        >>> digit_classifier()(digits.images[:4]).argmax(1) == digits.labels[:4]
        tensor([True, True, True, True])
    """
    # A module made under inference_mode could never pass on a gradient.
    with torch.inference_mode(mode=False):
        return copy.deepcopy(_shipped(resolve_device(device)))


def classify(
    images: ArrayLike, *, batch_size: int = 512, device: torch.device | str | None = None
) -> tuple[Tensor, Tensor]:
    """Features and logits of digits, by the classifier that ships with the package.

    Args:
        images: Digits, (N, 1, 28, 28), (N, 28, 28) or (N, 784), float in [0, 1] or uint8; torch or numpy.
        batch_size: Largest number of images that are computed at once, which bounds the memory; a CPU takes 64.
        device: Device to compute on (default: that of the images).

    Returns:
        Features (N, 64) and logits (N, 10), float32, on ``device``, without gradients.

    Raises:
        DataError: If there are no images, they have another size, or a pixel is not finite or outside [0, 1].
        SettingError: If the batch size is below 1, or this machine does not have the device.

    Example:
        >>> digits = mv.load_dataset("mnist-mini", "test")
        >>> features, logits = classify(digits.images)
        >>> features.shape, logits.shape
        (torch.Size([2000, 64]), torch.Size([2000, 10]))
    """
    size = check_count("batch_size of at least 1", batch_size)
    images = check_array(images, "digits")
    _check_shape(images)
    if len(images) == 0:
        raise DataError("at least one digit", "an empty batch", "check how the images were selected")
    check_finite(as_tensor(images, "digits"), "digits")
    if device is None:
        device = images.device if isinstance(images, Tensor) else "cpu"
    device = resolve_device(device)  # with its number: plain "cuda" means another once the current one changes
    size = min(size, _AT_ONCE) if device.type == "cpu" else size
    classifier = _shipped(device)
    with torch.no_grad():
        features = torch.cat([classifier.features(check_range(batch).to(device)) for batch in _batches(images, size)])
        return features, classifier.head(features)


@torch.no_grad()
def digit_logits(features: Tensor) -> Tensor:
    """Logits of the ten digits, (N, 10), for features (N, 64) as :func:`classify` gives them.

    Args:
        features: Features, float32, on the device to compute on.
    """
    logits: Tensor = _shipped(features.device).head(features)
    return logits


@cache
def _shipped(device: torch.device) -> DigitClassifier:
    """The one that all copies are made of."""
    with as_file(files("mnistvae.metrics") / _WEIGHTS) as path:
        tensors, _ = read_tensors(path, KIND)
    with torch.device("meta"):  # nothing is drawn from the global generator for weights that are replaced
        classifier = DigitClassifier()
    classifier.load_state_dict(tensors, assign=True)
    classifier = classifier.eval().requires_grad_(requires_grad=False)
    return classifier.to(memory_format=torch.channels_last).to(device)  # a CPU is quicker with this order


def _batches(images: ArrayLike, size: int) -> Iterator[Tensor]:
    for first in range(0, len(images), size):
        yield as_images(images[first : first + size], DIGIT_SHAPE)


def _check_shape(images: ArrayLike) -> None:
    shape = tuple(check_array(images, "digits").shape)
    forms = {DIGIT_SHAPE, DIGIT_SHAPE[1:], (math.prod(DIGIT_SHAPE),)}
    if shape[1:] not in forms:
        raise DataError(
            "digits of 28 x 28 grey pixels, all that the digit classifier reads: (N, 1, 28, 28), (N, 28, 28) or "
            "(N, 784)",
            f"shape {shape}",
            "add the batch dimension: x[None]" if shape in forms else "bring them to that size and one channel",
        )
