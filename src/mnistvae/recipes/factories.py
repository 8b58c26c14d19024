"""Functions that make the models of the recipes, one for each family.

Each is called with ``image_shape``, (C, H, W), ``num_classes``, which is None unless the model is told the labels, and
its settings. The command line reads names, types and help of its options from signatures and docstrings
(:func:`mnistvae.recipes.options`); torch is imported when a model is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from mnistvae.images import ImageShape
    from mnistvae.ladders import Level
    from mnistvae.models import VAE
    from mnistvae.schedules import Schedule

__all__ = ["conv", "gaussian_mlp", "iwae_mlp", "ladder", "mlp", "resnet_flow", "vamp_conv", "vamp_mlp"]


def conv(
    image_shape: ImageShape, num_classes: int | None, latent_dim: int, beta: float, channels: tuple[int, ...]
) -> VAE:
    """A VAE with convolutions down and transposed convolutions up.

    Args:
        image_shape: Shape of an image, (C, H, W).
        num_classes: Number of classes of a model that is told the label, else None.
        latent_dim: Number of latent dimensions.
        beta: Weight of the KL term; 1 is the evidence lower bound.
        channels: Channels of the convolutions.
    """
    from mnistvae.objectives import ELBO

    return _convolutional(image_shape, num_classes, latent_dim, channels, objective=ELBO(beta))


def mlp(
    image_shape: ImageShape,
    num_classes: int | None,
    latent_dim: int,
    beta: float,
    hidden: tuple[int, ...],
    activation: Literal["relu", "tanh"] = "relu",
    leak: float = 0.0,
    num_samples: int = 1,
) -> VAE:
    """A VAE with fully connected networks.

    Args:
        image_shape: Shape of an image, (C, H, W).
        num_classes: Number of classes of a model that is told the label, else None.
        latent_dim: Number of latent dimensions.
        beta: Weight of the KL term; 1 is the evidence lower bound.
        hidden: Widths of the hidden layers.
        activation: Activation between the layers.
        leak: Slope of a LeakyReLU below zero; 0 for the activation above.
        num_samples: Codes that training draws for each image.
    """
    from mnistvae.objectives import ELBO

    between = _activation(activation, leak)
    objective = ELBO(beta, num_samples=num_samples)
    return _fully_connected(image_shape, num_classes, latent_dim, hidden, between, objective=objective)


def gaussian_mlp(
    image_shape: ImageShape,
    num_classes: int | None,
    latent_dim: int,
    beta: float,
    hidden: tuple[int, ...],
    sigma: float | str,
) -> VAE:
    """A VAE with fully connected networks and normal pixels.

    Args:
        image_shape: Shape of an image, (C, H, W).
        num_classes: Number of classes of a model that is told the label, else None.
        latent_dim: Number of latent dimensions.
        beta: Weight of the KL term; 1 is the evidence lower bound.
        hidden: Widths of the hidden layers.
        sigma: Standard deviation of normal pixels: a number, learned or per-pixel.
    """
    from mnistvae.likelihoods import Gaussian
    from mnistvae.objectives import ELBO

    parts = {"likelihood": Gaussian(sigma), "objective": ELBO(beta)}
    return _fully_connected(image_shape, num_classes, latent_dim, hidden, **parts)


def iwae_mlp(
    image_shape: ImageShape,
    num_classes: int | None,
    latent_dim: int,
    hidden: tuple[int, ...],
    activation: Literal["relu", "tanh"],
    num_samples: int,
    groups: int,
    elbo_weight: float,
) -> VAE:
    """An importance-weighted autoencoder.

    Args:
        image_shape: Shape of an image, (C, H, W).
        num_classes: Number of classes of a model that is told the label, else None.
        latent_dim: Number of latent dimensions.
        hidden: Widths of the hidden layers.
        activation: Activation between the layers.
        num_samples: Codes that an importance-weighted model draws for each image.
        groups: Number of groups of codes, whose bounds are averaged (MIWAE).
        elbo_weight: Weight of the ELBO in an importance-weighted bound (CIWAE).
    """
    from mnistvae.objectives import IWAE

    objective = IWAE(num_samples, groups=groups, elbo_weight=elbo_weight)
    between = _activation(activation)
    return _fully_connected(image_shape, num_classes, latent_dim, hidden, between, objective=objective)


def vamp_mlp(
    image_shape: ImageShape,
    num_classes: int | None,
    latent_dim: int,
    beta: float,
    hidden: tuple[int, ...],
    components: int,
    warmup: int,
) -> VAE:
    """A VAE whose prior is a mixture of its posteriors.

    Args:
        image_shape: Shape of an image, (C, H, W).
        num_classes: Number of classes of a model that is told the label, else None.
        latent_dim: Number of latent dimensions.
        beta: Weight of the KL term; 1 is the evidence lower bound.
        hidden: Widths of the hidden layers.
        components: Number of components of a VampPrior.
        warmup: Steps over which beta grows.
    """
    return _fully_connected(image_shape, num_classes, latent_dim, hidden, **_vamp(components, beta, warmup))


def vamp_conv(
    image_shape: ImageShape,
    num_classes: int | None,
    latent_dim: int,
    beta: float,
    channels: tuple[int, ...],
    components: int,
    warmup: int,
) -> VAE:
    """A VAE with convolutions whose prior is a mixture of its posteriors.

    Args:
        image_shape: Shape of an image, (C, H, W).
        num_classes: Number of classes of a model that is told the label, else None.
        latent_dim: Number of latent dimensions.
        beta: Weight of the KL term; 1 is the evidence lower bound.
        channels: Channels of the convolutions.
        components: Number of components of a VampPrior.
        warmup: Steps over which beta grows.
    """
    return _convolutional(image_shape, num_classes, latent_dim, channels, **_vamp(components, beta, warmup))


def resnet_flow(
    image_shape: ImageShape,
    num_classes: int | None,
    latent_dim: int,
    beta: float,
    channels: tuple[int, ...],
    hidden: tuple[int, ...],
    dropout: float,
    transforms: int,
    warmup: int,
) -> VAE:
    """A VAE with residual networks and a RealNVP prior.

    Args:
        image_shape: Shape of an image, (C, H, W).
        num_classes: Number of classes of a model that is told the label, else None.
        latent_dim: Number of latent dimensions.
        beta: Weight of the KL term; 1 is the evidence lower bound.
        channels: Channels of the residual blocks at each scale, from the largest to the smallest.
        hidden: Widths of the hidden layers of the prior's networks.
        dropout: Share of the activations that a residual decoder drops in training.
        transforms: Number of couplings of a flow prior.
        warmup: Steps over which beta grows, here from a tenth of it.
    """
    from mnistvae._checks import check_widths
    from mnistvae.models import VAE
    from mnistvae.networks import ResNetDecoder, ResNetEncoder
    from mnistvae.objectives import ELBO
    from mnistvae.priors import Flow

    channels = check_widths("channels", channels, least=1)
    down, up = (1, *(2 for _ in channels[1:])), tuple(2 for _ in channels)
    return VAE(
        latent_dim,
        image_shape,
        encoder=ResNetEncoder(latent_dim, image_shape, channels, down, dropout=0.0, num_classes=num_classes),
        decoder=ResNetDecoder(latent_dim, image_shape, channels[::-1], up, dropout=dropout, num_classes=num_classes),
        prior=Flow(latent_dim, "realnvp", transforms, hidden),
        objective=ELBO(beta, _warmup(warmup, start=0.1)),
        num_classes=num_classes,
    )


def ladder(
    image_shape: ImageShape,
    num_classes: int | None,
    beta: float,
    network: Literal["mlp", "conv"],
    levels: tuple[int, ...],
    width: int,
    blocks: int,
    warmup: int,
) -> VAE:
    """A hierarchy of latent levels.

    Args:
        image_shape: Shape of an image, (C, H, W).
        num_classes: Number of classes of a model that is told the label, else None.
        beta: Weight of the KL term; 1 is the evidence lower bound.
        network: Networks of a ladder: mlp, or conv with latent grids, the lowest of half the image's height and width.
        levels: Latent dimensions of each level of a ladder, from the top down; of a convolutional one, channels.
        width: Units or channels of a ladder's networks.
        blocks: Residual blocks for each level of a ladder.
        warmup: Steps over which beta grows, here from a tenth of it.
    """
    from mnistvae._checks import check_choice, check_widths
    from mnistvae.ladders import LadderDecoder, LadderEncoder, LadderPrior
    from mnistvae.models import VAE
    from mnistvae.networks.blocks import halvings
    from mnistvae.objectives import ELBO

    sizes: Sequence[Level] = check_widths("levels", levels, least=1)
    if check_choice("network", network, ("mlp", "conv")) == "conv":
        sides = halvings(image_shape, len(sizes))[:0:-1]
        sizes = [(channels, *side) for channels, side in zip(levels, sides, strict=True)]
    prior = LadderPrior(sizes, width, blocks)
    return VAE(
        prior.latent_dim,
        image_shape,
        encoder=LadderEncoder(sizes, image_shape, width, blocks, num_classes),
        decoder=LadderDecoder(sizes, image_shape, width, blocks, num_classes),
        prior=prior,
        objective=ELBO(beta, _warmup(warmup, start=0.1)),
        num_classes=num_classes,
    )


def _vamp(components: int, beta: float, warmup: int) -> dict[str, Any]:
    """A VampPrior, and the evidence lower bound with a beta that grows over the warm-up."""
    from mnistvae.objectives import ELBO
    from mnistvae.priors import VampPrior

    return {"prior": VampPrior(components), "objective": ELBO(beta, _warmup(warmup))}


def _convolutional(
    image_shape: ImageShape, num_classes: int | None, latent_dim: int, channels: tuple[int, ...], **parts: Any
) -> VAE:
    """A VAE of convolutional networks, the decoder mirroring the encoder, and other parts."""
    from mnistvae._checks import check_widths
    from mnistvae.models import VAE
    from mnistvae.networks import ConvDecoder, ConvEncoder

    channels = check_widths("channels", channels, least=1)
    return VAE(
        latent_dim,
        image_shape,
        encoder=ConvEncoder(latent_dim, image_shape, channels, num_classes=num_classes),
        decoder=ConvDecoder(latent_dim, image_shape, channels[::-1], num_classes=num_classes),
        num_classes=num_classes,
        **parts,
    )


def _fully_connected(
    image_shape: ImageShape,
    num_classes: int | None,
    latent_dim: int,
    hidden: tuple[int, ...],
    activation: nn.Module | None = None,
    **parts: Any,
) -> VAE:
    """A VAE of fully connected networks, the decoder mirroring the encoder, and other parts."""
    from mnistvae._checks import check_widths
    from mnistvae.models import VAE
    from mnistvae.networks import MLPDecoder, MLPEncoder

    hidden = check_widths("hidden", hidden)
    n_params = parts["likelihood"].n_params if "likelihood" in parts else 1
    encoder = MLPEncoder(latent_dim, image_shape, hidden, activation, num_classes)
    decoder = MLPDecoder(latent_dim, image_shape, hidden[::-1], activation, num_classes, n_params)
    return VAE(latent_dim, image_shape, encoder=encoder, decoder=decoder, num_classes=num_classes, **parts)


def _activation(name: str, leak: float = 0.0) -> nn.Module | None:
    """The module between two linear layers; None for the usual ReLU."""
    from torch import nn

    from mnistvae._checks import check_choice, check_number

    leak = check_number("leak as a finite slope of at least 0", leak)
    name = check_choice("activation", name, ("relu", "tanh"))
    if leak:
        return nn.LeakyReLU(leak)
    return nn.Tanh() if name == "tanh" else None


def _warmup(steps: int, start: float = 0.0) -> Schedule | None:
    """The schedule of a beta that grows over so many steps; None for no steps."""
    from mnistvae._checks import check_count
    from mnistvae.schedules import Linear

    steps = check_count("warmup as a number of steps of at least 0", steps, least=0)
    return Linear(steps, start) if steps else None
