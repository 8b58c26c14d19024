"""The start of a training at the mean image: a decoder that has learned nothing draws that one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mnistvae.distributions import mean_of
from mnistvae.errors import ComponentError, SettingError
from mnistvae.models import VAE
from mnistvae.training.world import World

__all__ = ["start_at_mean"]

#: Images of the mean brightness that are counted with those of a batch, so that no pixel is certain.
_PRIOR_IMAGES = 10


def start_at_mean(model: VAE, x: Tensor, y: Tensor | None, world: World) -> bool:
    """Set the bias of the decoder's last layer so that, for a code that says nothing, it draws the mean of some images.

    The first steps of a training learn no more than that: most pixels are black. A model that draws the images better
    than their mean does has been trained, and is left as it is.

    Args:
        model: The model, which is changed in place.
        x: Images of the training, (B, C, H, W) in [0, 1]; those of all processes count.
        y: Their labels, for a model that uses them.
        world: The processes.

    Returns:
        Whether the bias was set.

    Raises:
        SettingError: If the likelihood has no parameters for a mean that is given.
        ComponentError: If no layer of the decoder has a bias for each pixel or channel.
    """
    sums, number = x.sum(0), x.new_full((), len(x))
    world.add([sums, number])
    brightness = (sums / number).mean((1, 2), keepdim=True).clamp(1e-3, 1 - 1e-3)
    mean = (sums + _PRIOR_IMAGES * brightness) / (number + _PRIOR_IMAGES)
    params = model.likelihood.params_of_mean(mean)
    flat = model.likelihood.params_of_mean(brightness.expand_as(mean))
    if params is None or flat is None:
        fix = "leave start_at_mean out, or take Bernoulli"
        raise SettingError("a likelihood that can start at a mean image", repr(model.likelihood), fix)
    layer = _last_layer(model.decoder, params)
    whole = layer.numel() == params.numel()
    if not _is_better(model, x, y, params if whole else flat, world):
        return False
    with torch.no_grad():
        layer.copy_((params if whole else flat[:, 0, 0]).reshape(layer.shape))
    return True


def _last_layer(decoder: nn.Module, params: Tensor) -> Tensor:
    """The bias of the decoder's last layer that has one value for each parameter, or for each channel of them."""
    sizes = {params.numel(), len(params)}
    biases = (getattr(layer, "bias", None) for layer in decoder.modules())
    fitting = [bias for bias in biases if isinstance(bias, Tensor) and bias.numel() in sizes]
    if not fitting:
        expected = f"a layer of the decoder with a bias of {params.numel():,} or {len(params)} values"
        raise ComponentError(expected, "none", "leave start_at_mean out")
    return fitting[-1]


def _is_better(model: VAE, x: Tensor, y: Tensor | None, params: Tensor, world: World) -> bool:
    """Tell if the images are more likely under one distribution than under the model's of their posterior means."""
    trained = model.training
    try:
        with torch.no_grad():
            y = None if y is None or not model.uses_labels else y.clamp_min(0)  # any class, where there is no label
            own = model.eval().decode(mean_of(model.encode(x, y)), y).log_prob(x)
            other = model.likelihood(params.expand(len(x), *params.shape)).log_prob(x)
    finally:
        model.train(trained)
    gain: Tensor = (other - own).sum()
    world.add([gain])
    return bool(gain > 0)
