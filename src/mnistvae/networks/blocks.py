"""Building blocks of encoders and decoders."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from mnistvae._checks import allocating, check_count, check_widths
from mnistvae._component import Component
from mnistvae.errors import ComponentError, SettingError
from mnistvae.images import ImageShape

__all__ = ["MLP", "Conditioned", "activation_or_relu", "check_classes", "halvings"]

#: Below this a side is too short to be halved three times and still say something.
SMALLEST_SIDE = 8


class Conditioned(Component):
    """A layer that may see a label: the layer's output plus a learned vector for the class.

    For a linear layer (and, away from the border, for a convolution) this is the same function as
    feeding it the label one-hot beside its input, at the price of an addition.

    Args:
        layer: Maps (B, ...) to (B, width, ...).
        width: Features, or channels, of its output.
        num_classes: Number of classes; None for a layer that sees no label.
    """

    def __init__(self, layer: nn.Module, width: int, num_classes: int | None = None) -> None:
        super().__init__()
        self.layer = layer
        self.width = width = check_count("width as an integer of at least 1", width)
        self.num_classes = check_classes(num_classes)
        self.classes = None if self.num_classes is None else nn.Embedding(self.num_classes, width)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        features: Tensor = self.layer(x)
        if self.classes is None:
            if y is not None:
                raise ComponentError("no labels for an unconditional network", "labels", "make it with num_classes=...")
            return features
        if y is None:
            raise ComponentError(
                f"labels for a network conditioned on {self.num_classes} classes", "none", "pass y: (B,) integers"
            )
        bias: Tensor = self.classes(y)
        return features + bias.reshape(*bias.shape, *[1] * (features.ndim - 2))


class MLP(Component):
    """Linear layers with an activation between them; the first one may see a label.

    Args:
        in_features: Size of the input, (B, in_features).
        hidden: Sizes of the hidden layers; none gives one linear map.
        out_features: Size of the output, (B, out_features).
        activation: Module without parameters (default: ReLU).
        num_classes: Number of classes of the label, or None.
    """

    def __init__(
        self,
        in_features: int,
        hidden: Sequence[int],
        out_features: int,
        activation: nn.Module | None = None,
        num_classes: int | None = None,
    ) -> None:
        super().__init__()
        self.in_features = in_features = check_count("in_features as an integer of at least 1", in_features)
        self.hidden = check_widths("hidden", hidden)
        self.out_features = out_features = check_count("out_features as an integer of at least 1", out_features)
        self.activation = activation
        self.num_classes = num_classes
        sizes = [in_features, *self.hidden, out_features]
        self.first = Conditioned(_linear(sizes[0], sizes[1]), sizes[1], num_classes)
        rest: list[nn.Module] = []
        for before, after in pairwise(sizes[1:]):
            rest += [activation_or_relu(activation), _linear(before, after)]
        self.rest = nn.Sequential(*rest)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        out: Tensor = self.rest(self.first(x, y))
        return out


def _linear(before: int, after: int) -> nn.Linear:
    gib = f"{4 * before * after / 2**30:.3g} GiB"
    with allocating(f"a layer from {before} to {after} that fits into memory", gib, "make it smaller"):
        return nn.Linear(before, after)


def activation_or_relu(activation: nn.Module | None) -> nn.Module:
    """``activation``, which several layers may share, or a ReLU.

    Raises:
        ComponentError: If it is no module, or has parameters of its own, which sharing would tie together.
    """
    if activation is None:
        return nn.ReLU()
    if not isinstance(activation, nn.Module):
        raise ComponentError(
            "activation as a module", repr(activation), "pass an instance, such as torch.nn.LeakyReLU(0.2)"
        )
    if next(activation.parameters(), None) is not None:
        raise ComponentError(
            "an activation without parameters", repr(activation), "write the layers as a plain nn.Module trunk"
        )
    return activation


def check_classes(num_classes: int | None) -> int | None:
    """``num_classes`` as a positive integer, or None.

    Raises:
        SettingError: If it is anything else.
    """
    return None if num_classes is None else check_count("num_classes of at least 1, or None", num_classes)


def halvings(image_shape: ImageShape, times: int) -> list[tuple[int, int]]:
    """(height, width) of an image and after each of ``times`` halvings, rounded up.

    Raises:
        SettingError: If a side is under 8 pixels.
    """
    _, height, width = image_shape
    if min(height, width) < SMALLEST_SIDE:
        raise SettingError(
            f"images of at least {SMALLEST_SIDE} x {SMALLEST_SIDE} pixels for a convolutional network",
            f"{height} x {width}",
            "use MLPEncoder and MLPDecoder",
        )
    sides = [(height, width)]
    for _ in range(times):
        height, width = -(-height // 2), -(-width // 2)
        sides.append((height, width))
    return sides
