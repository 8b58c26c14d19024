"""Variational autoencoders: an encoder, a decoder with its likelihood, a prior and an objective.

Longer than usual: the class VAE has every verb of a model (encode, decode, loss, reconstruct, sample, interpolate,
replace), and most of its lines are their documentation; its two presets belong beside it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.distributions.constraints import Constraint
from torch.utils import _pytree as pytree

from mnistvae._checks import allocating, check_count, check_number
from mnistvae._component import Component
from mnistvae._hub_form import HubForm
from mnistvae._modes import evaluating
from mnistvae._parts import PARTS, check_contract, check_parts, parts_with
from mnistvae._random import drawing_from
from mnistvae._wrappers import TrainingModule, follows_values
from mnistvae.arrays import ArrayLike, as_tensor, check_array, shape_text
from mnistvae.distributions import mean_of, projected, tempered
from mnistvae.errors import ComponentError, DataError
from mnistvae.images import ImageShape, as_images, check_brightness, check_image_shape, check_range
from mnistvae.labels import Labels, as_labels, count_labels
from mnistvae.likelihoods import Bernoulli, Likelihood
from mnistvae.networks import ConvDecoder, ConvEncoder, Decoder, Encoder, MLPDecoder, MLPEncoder
from mnistvae.networks.blocks import SMALLEST_SIDE, check_classes
from mnistvae.networks.encoders import posterior_of
from mnistvae.objectives import ELBO, Objective, Terms
from mnistvae.priors import Prior, StandardNormal
from mnistvae.priors.base import prior_of

__all__ = ["VAE", "BetaVAE", "ConditionalVAE", "TrainingModule", "VAEOutput"]

#: Images that are computed at once where nobody says how many: what most networks need some hundred megabytes for.
AT_ONCE = 128


def _mean_of_pixels(likelihood: Distribution) -> Tensor:
    """The mean of p(x | z) as images; that of a density on all reals may lie beyond [0, 1]."""
    return likelihood.mean.clamp(0.0, 1.0)


@dataclass(frozen=True)
class VAEOutput:
    """The posterior, the code and the likelihood of one pass through a VAE."""

    #: q(z | x), batch (B,), event (latent_dim,).
    posterior: Distribution
    #: One draw from it, (B, latent_dim).
    z: Tensor
    #: p(x | z), batch (B,), event (C, H, W).
    likelihood: Distribution
    #: The tensors of both distributions: wrappers that look for them find them in fields alone.
    tensors: tuple[Tensor, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        leaves = pytree.tree_leaves((self.posterior, self.likelihood))
        object.__setattr__(self, "tensors", tuple(leaf for leaf in leaves if isinstance(leaf, Tensor)))

    @property
    def reconstruction(self) -> Tensor:
        """The mean of p(x | z), (B, C, H, W)."""
        return self.likelihood.mean


pytree.register_pytree_node(
    VAEOutput,
    lambda output: ([output.posterior, output.z, output.likelihood], None),
    lambda parts, _: VAEOutput(*parts),
    serialized_type_name="mnistvae.VAEOutput",
)


class VAE(Component, HubForm):
    r"""A variational autoencoder, made of parts.

    .. math:: \log p(x) \ge \mathbb{E}_{q(z \mid x)}[\log p(x \mid z)] - D_{KL}(q(z \mid x) \| p(z))

    Images are ``(B, C, H, W)`` float in [0, 1]; ``(B, H, W)``, ``(B, C * H * W)``, uint8 and numpy
    arrays are taken too. :meth:`encode`, :meth:`decode`, :meth:`loss` and :meth:`forward` are for
    training loops: they look at shapes, not at values, and keep gradients. :meth:`reconstruct`,
    :meth:`sample` and :meth:`interpolate` check their input, run in evaluation mode and give images.

    Args:
        latent_dim: Size of z.
        image_shape: Shape of an image, (C, H, W).
        encoder: q(z | x) (default: :class:`~mnistvae.networks.ConvEncoder`, or
            :class:`~mnistvae.networks.MLPEncoder` for images under 8 x 8).
        decoder: Parameters of p(x | z) (default: the encoder default's mirror).
        likelihood: p(x | z) given its parameters (default: :class:`~mnistvae.likelihoods.Bernoulli`).
        prior: p(z) (default: :class:`~mnistvae.priors.StandardNormal`).
        objective: Loss that training minimises (default: :class:`~mnistvae.objectives.ELBO`).
        num_classes: Number of classes, for a model that is told the label of each image.

    Raises:
        SettingError: If a size makes no sense.
        ComponentError: If two parts do not fit each other, or one breaks its contract.

    Example:
        >>> vae = VAE(latent_dim=16)
        >>> x = torch.rand(5, 1, 28, 28)
        >>> vae.encode(x).mean.shape, vae.loss(x).loss.shape, vae.sample(3).shape
        (torch.Size([5, 16]), torch.Size([5]), torch.Size([3, 1, 28, 28]))
    """

    _anchor: Tensor
    #: The set that the posterior's and the prior's codes are in: all of space, or a surface such as the unit sphere.
    support: Constraint | None = None

    def __init__(
        self,
        latent_dim: int,
        image_shape: ImageShape = (1, 28, 28),
        *,
        encoder: Encoder | None = None,
        decoder: Decoder | None = None,
        likelihood: Likelihood | None = None,
        prior: Prior | None = None,
        objective: Objective | None = None,
        num_classes: int | None = None,
    ) -> None:
        super().__init__()
        # Goes where the model goes; asking the first parameter would walk the modules at every step.
        self.register_buffer("_anchor", torch.empty(0), persistent=False)
        self.latent_dim = latent_dim = check_count("latent_dim as an integer of at least 1", latent_dim)
        self.image_shape = check_image_shape(image_shape)
        self.num_classes = num_classes = check_classes(num_classes)
        self.likelihood = likelihood if likelihood is not None else Bernoulli()
        check_contract("likelihood", self.likelihood)
        n_params = self.likelihood.n_params
        small = min(self.image_shape[1:]) < SMALLEST_SIDE
        if encoder is None:
            encoder_class = MLPEncoder if small else ConvEncoder
            encoder = encoder_class(latent_dim, self.image_shape, num_classes=num_classes)
        if decoder is None:
            decoder_class = MLPDecoder if small else ConvDecoder
            decoder = decoder_class(latent_dim, self.image_shape, num_classes=num_classes, n_params=n_params)
        self.encoder = encoder
        self.decoder = decoder
        self.prior = prior if prior is not None else StandardNormal(latent_dim)
        check_contract("prior", self.prior)
        self.prior.attach_once(latent_dim, self.image_shape, num_classes)
        self.objective = objective if objective is not None else ELBO()
        self.support = check_parts(self)
        self._whole = True

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; a part must fit the others, or the model stays as it was."""
        before = getattr(self, name, None) if name in PARTS and "_whole" in self.__dict__ else None
        if before is not None:
            check_contract(name, value)
        super().__setattr__(name, value)
        if before is None:
            return
        try:
            if isinstance(value, Prior):
                value.attach_once(self.latent_dim, self.image_shape, self.num_classes)
            self.support = check_parts(self)
        except ComponentError:
            super().__setattr__(name, before)
            raise

    def replace(
        self,
        *,
        encoder: Encoder | None = None,
        decoder: Decoder | None = None,
        likelihood: Likelihood | None = None,
        prior: Prior | None = None,
        objective: Objective | None = None,
    ) -> Self:
        """A copy of the model with other parts, checked together as the constructor checks them.

        The copy and its model share nothing: training one leaves the other as it is. Whatever is not replaced keeps its
        weights and buffers, a new part comes as a copy too, on the model's device and in its dtype, and the copy is of
        the same class and in the same mode. Sizes are those of the model; for other ones make a new model. A part can
        also be assigned, ``model.prior = prior``, which changes the model itself, one part at a time.

        Args:
            encoder: New q(z | x).
            decoder: New parameters of p(x | z).
            likelihood: New p(x | z); with another number of parameters a pixel, replace the decoder too.
            prior: New p(z).
            objective: New objective; of a :class:`BetaVAE`, ``ELBO(beta=...)`` sets another beta.

        Raises:
            ComponentError: If a new part does not fit the model or another part.

        Example:
            >>> vae = VAE(latent_dim=2)
            >>> finer = vae.replace(objective=mv.objectives.IWAE(num_samples=8))
            >>> finer.objective, vae.objective.beta
            (IWAE(num_samples=8, gradient='plain', groups=1, elbo_weight=0.0, partial=False), 1.0)
            >>> torch.equal(finer.decode(torch.zeros(1, 2)).mean, vae.decode(torch.zeros(1, 2)).mean)
            True
        """
        given = {"encoder": encoder, "decoder": decoder, "likelihood": likelihood, "prior": prior}
        parts = {name: part for name, part in {**given, "objective": objective}.items() if part is not None}
        for name, part in parts.items():
            check_contract(name, part)
        new = {
            name: copy.deepcopy(part).to(device=self.device, dtype=self.dtype).train(self.training)
            for name, part in parts.items()
        }
        # Wherever the model refers to an old part, its copy refers to the new one.
        other = copy.deepcopy(self, {id(getattr(self, name)): part for name, part in new.items()})
        other.prior.attach_once(other.latent_dim, other.image_shape, other.num_classes)
        other.support = check_parts(other)
        return other

    def encode(self, x: ArrayLike, y: Labels | None = None) -> Distribution:
        """q(z | x, y): batch shape (B,), event shape (latent_dim,); for images in [0, 1], which is not looked at."""
        images = self._images(x)
        return posterior_of(self.encoder, images, self._labels(y, images.shape[0]), self.prior)

    def decode(self, z: ArrayLike, y: Labels | None = None) -> Distribution:
        """p(x | z, y) for codes (B, latent_dim): batch shape (B,), event shape (C, H, W).

        Codes and labels may be on any device. A model whose codes are on the unit sphere decodes others at the point
        of the sphere that is nearest to them, so that means of posteriors, lines and planes have images there too.

        Raises:
            DataError: If the codes have another shape, or are complex numbers.
        """
        z = z if isinstance(z, Tensor) else as_tensor(z, "codes")
        if z.ndim != 2 or z.shape[1] != self.latent_dim:
            got = shape_text(z)
            fix = "add the batch dimension: z[None]" if got == f"shape ({self.latent_dim},)" else "one row is one code"
            raise DataError(f"codes as a tensor of shape (B, {self.latent_dim})", got, fix)
        if z.is_complex():
            raise DataError("codes as real numbers", f"dtype {z.dtype}", "pass z.real")
        kind = self._anchor.device.type
        asked = torch.compiler.is_compiling() or torch.amp.is_autocast_available(kind)  # which torch 2.10 can't compile
        keeps = asked and torch.is_autocast_enabled(kind)
        z = z.to(self._anchor.device, None if keeps else self._anchor.dtype)  # codes from numpy come in float64
        # Under autocast the decoder gives bfloat16, in which a sum over pixels would lose whole nats.
        parameters = self.decoder(projected(self.support, z), self._labels(y, z.shape[0])).to(self._anchor.dtype)
        likelihood: Distribution = self.likelihood(parameters)
        return likelihood

    def latent_prior(self, y: Labels | None = None) -> Distribution:
        """p(z | y): batch shape () or (B,), event shape (latent_dim,)."""
        labels = None if y is None else as_labels(y, count_labels(y), self.num_classes).to(self.device)
        return prior_of(self.prior, labels, self.encode, self.encoder)

    def loss(self, x: ArrayLike, y: Labels | None = None) -> Terms:
        """The objective's terms, one value an image, in nats: the one method a subclass overrides.

        It does not look whether the values of ``x`` are in [0, 1], for speed. In a loop of your own
        :func:`mnistvae.images.check_range` does, once before it begins; the Trainer looks at all data.

        Example:
            >>> terms = VAE(latent_dim=2).loss(torch.rand(5, 1, 28, 28))
            >>> torch.equal(terms.loss, terms.reconstruction + terms.kl)
            True
        """
        images = self._images(x)
        labels = self._labels(y, images.shape[0], unlabelled=self.takes_unlabelled)
        terms: Terms = self.objective(self, images, labels)
        return terms

    def advance(self, step: int) -> None:
        """Tell the parts the number of a training step, from 0, before it is taken: schedules move with it.

        A Trainer does so; a loop of your own calls this. Told are the objective, for the weight of the KL term, and
        every part that has a method ``advance`` of its own, such as the temperature of a
        :class:`~mnistvae.networks.CategoricalEncoder`.

        Args:
            step: Number of the step.

        Example:
            >>> objective = mv.objectives.ELBO(schedule=mv.schedules.Linear(10))
            >>> vae = VAE(latent_dim=2, objective=objective)
            >>> vae.advance(0)
            >>> terms = vae.loss(torch.rand(5, 1, 28, 28))  # beta is 0
            >>> torch.equal(terms.loss, terms.reconstruction)
            True
        """
        for part in parts_with(self, "advance"):
            part.advance(step)

    def training_module(self) -> TrainingModule:
        """The model as a module whose forward is the mean loss, for what wraps a module and calls it.

        Such are DDP, FSDP and accelerate; see :class:`mnistvae.models.TrainingModule`.
        """
        return TrainingModule(self)

    def forward(self, x: ArrayLike, y: Labels | None = None) -> VAEOutput:
        """The posterior of images, one code drawn from it, and the likelihood of the code."""
        posterior = self.encode(x, y)
        z = posterior.rsample()
        return VAEOutput(posterior, z, self.decode(z, y))

    @torch.no_grad()
    def reconstruct(
        self,
        x: ArrayLike,
        y: Labels | None = None,
        *,
        sample: bool = False,
        generator: torch.Generator | None = None,
        batch_size: int = AT_ONCE,
    ) -> Tensor:
        """Reconstructions of images, (B, C, H, W) in [0, 1], on the model's device.

        Args:
            x: Images, (B, C, H, W).
            y: Labels, for a conditional model.
            sample: Decode a draw from the posterior rather than its mean.
            generator: Generator of that draw, on any device; torch's global ones are not touched then.
            batch_size: Images that are computed at once.

        Raises:
            DataError: If a pixel is NaN or outside [0, 1], shape or dtype is another, or the labels do not fit.

        Warns:
            UserWarning: If no mean of the posterior is known: that of 64 draws stands for it, unless ``sample`` is set.
        """
        size = check_count("batch_size as an integer of at least 1", batch_size)
        with evaluating(self), drawing_from(generator, self.device) as draw:
            images = self._checked(x)
            labels = self._labels(y, len(images))
            made = self._room(len(images))
            for rows in _slices(len(images), size):
                some = None if labels is None else labels[rows]
                posterior = self.encode(images[rows], some)
                z = draw(posterior.sample) if sample else mean_of(posterior)
                made[rows] = _mean_of_pixels(self.decode(z, some))
        return made

    @torch.no_grad()
    def sample(
        self,
        n: int,
        y: Labels | None = None,
        *,
        temperature: float | Sequence[float] = 1.0,
        generator: torch.Generator | None = None,
        batch_size: int = AT_ONCE,
    ) -> Tensor:
        """New images: the means of p(x | z) for codes drawn from the prior.

        Where the pixels of the likelihood depend on each other, they are draws of p(x | z), since a mean has nothing of
        that: see :class:`~mnistvae.likelihoods.Autoregressive`.

        Args:
            n: Number of images.
            y: For a conditional model, one label for all or one for each; None takes all classes in turn.
            temperature: Factor of the prior's spread, see :func:`mnistvae.distributions.tempered`; below 1 gives more
                typical images. For a hierarchy, one for each level from the top down is taken too.
            generator: Generator of the draw, which makes it repeatable, on any device; torch's global ones are not
                touched then.
            batch_size: Images that are computed at once.

        Returns:
            (n, C, H, W) in [0, 1], on the model's device.

        Raises:
            SettingError: If n is below 1 or more than memory holds, or the temperature negative, or not 1 for a prior
                that is uniform on a sphere.
            DataError: If the labels do not fit.

        Example:
            >>> cvae = ConditionalVAE(latent_dim=2, num_classes=10)
            >>> cvae.sample(8, y=3, generator=torch.Generator().manual_seed(0)).shape
            torch.Size([8, 1, 28, 28])
        """
        n = check_count("at least one image to sample", n)
        if not isinstance(temperature, Sequence):
            temperature = check_number("a finite temperature of at least 0", temperature)
        if y is None and self.num_classes is not None:
            y = torch.arange(n, device=self.device) % self.num_classes
        size = check_count("batch_size as an integer of at least 1", batch_size)
        made = self._room(n)
        with evaluating(self), drawing_from(generator, self.device) as draw:
            labels = self._labels(y, n)
            prior = self.latent_prior(labels)
            if temperature != 1.0:
                prior = tempered(prior, temperature)
            z = draw(prior.sample) if prior.batch_shape == (n,) else draw(prior.sample, torch.Size([n]))
            if self.likelihood.independent:
                return self._fill(made, z, labels, size)
            return self._fill(made, z, labels, size, lambda pixels: draw(pixels.sample).clamp(0.0, 1.0))

    @torch.no_grad()
    def interpolate(
        self, a: ArrayLike, b: ArrayLike, steps: int = 8, y: Labels | None = None, *, batch_size: int = AT_ONCE
    ) -> Tensor:
        """Images along the straight line between the codes of two images, both ends included.

        Of codes on the unit sphere it is the arc above that line.

        Args:
            a: Image (C, H, W) or images (B, C, H, W) to start from.
            b: Images to end at, of the same shape.
            steps: Images on the way, at least 2.
            y: For a conditional model, the label under which all are seen.
            batch_size: Images that are computed at once.

        Returns:
            (steps, C, H, W) for two images, (B, steps, C, H, W) for two batches; in [0, 1].

        Raises:
            SettingError: If there are fewer than two steps.
            DataError: If the images do not fit the model or each other.
        """
        steps = check_count("at least 2 steps", steps, least=2, fix="the ends count as two")
        size = check_count("batch_size as an integer of at least 1", batch_size)
        a, b = (check_array(x, "images") for x in (a, b))
        single = tuple(a.shape) == self.image_shape
        if tuple(a.shape) != tuple(b.shape):
            raise DataError(f"two images of one shape, {tuple(a.shape)}", f"shape {tuple(b.shape)}")
        with evaluating(self):
            starts, ends = (self._checked(x[None] if single else x) for x in (a, b))
            start, end = (mean_of(self.encode(images, y)) for images in (starts, ends))
            weight = torch.linspace(0, 1, steps, device=start.device, dtype=start.dtype)[:, None]
            z = torch.lerp(start[:, None], end[:, None], weight).flatten(0, 1)
            labels = self._labels(y, len(starts))
            images = self._fill(
                self._room(len(z)), z, None if labels is None else labels.repeat_interleave(steps), size
            )
        return images if single else images.reshape(-1, steps, *self.image_shape)

    @property
    def uses_labels(self) -> bool:
        """True where training gives :meth:`loss` the labels; a subclass with a supervised term sets it."""
        return self.num_classes is not None

    @property
    def takes_unlabelled(self) -> bool:
        """True where :meth:`loss` takes -1 for an image without a label, as the objective says; a subclass may, too."""
        return self.objective.takes_unlabelled

    def tag(self, binarization: str = "none") -> str:
        """The name of figures in nats of this model; figures with different tags are not comparable.

        It is the likelihood's :meth:`~mnistvae.likelihoods.Likelihood.tag`; of an encoder without noise
        (:class:`~mnistvae.networks.PointEncoder`, :class:`~mnistvae.networks.VectorQuantizedEncoder`), that codes are
        points, so that nothing is a likelihood, but for the bound at one point that tokens have; and, of a conditional
        model, that the label was given: p(x | y) is larger than p(x), by up to the logarithm of the number of classes.

        Args:
            binarization: Binarization of the pixels, as in :class:`~mnistvae.data.ImageDataset`.

        Example:
            >>> VAE(2).tag("dynamic"), ConditionalVAE(2, num_classes=10).tag("dynamic")
            ('binarized-dynamic', 'binarized-dynamic-given-label')
        """
        point = "" if self.encoder.has_density else "-point"
        given = "" if self.num_classes is None else "-given-label"
        return self.likelihood.tag(binarization) + point + given

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return self._anchor.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that the model computes in."""
        return self._anchor.dtype

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Torch's own; the prefixes that ``torch.compile`` and DDP put before the names are left out.

        Args:
            state_dict: Tensors by their names.
            strict: Raise an error unless the names are those of the model.
            assign: Take the tensors themselves.
        """
        for prefix in ("module.", "_orig_mod."):
            if state_dict and all(name.startswith(prefix) for name in state_dict):
                state_dict = {name.removeprefix(prefix): tensor for name, tensor in state_dict.items()}
        return super().load_state_dict(state_dict, strict, assign)

    def _room(self, n: int) -> Tensor:
        """Memory for n images, taken before any is made."""
        gib = n * math.prod(self.image_shape) * self.dtype.itemsize / 2**30
        with allocating(f"{n} images to fit into memory", f"{gib:.3g} GiB", "make fewer at a time"):
            return torch.empty(n, *self.image_shape, dtype=self.dtype, device=self.device)

    def _fill(
        self,
        made: Tensor,
        z: Tensor,
        labels: Tensor | None,
        size: int,
        images_of: Callable[[Distribution], Tensor] = _mean_of_pixels,
    ) -> Tensor:
        """``made``, filled with images of p(x | z) for codes, of which so many are computed at once."""
        for rows in _slices(len(z), size):
            made[rows] = images_of(self.decode(z[rows], None if labels is None else labels[rows]))
        return made

    def _images(self, x: ArrayLike) -> Tensor:
        anchor = self._anchor
        if not torch.compiler.is_compiling() and isinstance(x, Tensor) and x.is_inference():
            x = x.clone()  # an inference tensor cannot be kept for a gradient
        if isinstance(x, Tensor) and x.dtype == anchor.dtype and x.shape[1:] == self.image_shape:
            x = x if x.layout is torch.strided else as_tensor(x, "images")
            return x.to(anchor.device)  # in training every batch, twice
        return as_images(x, self.image_shape, device=anchor.device, dtype=anchor.dtype)

    def _checked(self, x: ArrayLike) -> Tensor:
        """Images as the networks take them, after a look at their values."""
        images, given = check_range(self._images(x)), as_tensor(x, "images")
        if given.dtype is torch.uint8:
            check_brightness(given, x)
        return images

    def _labels(self, y: Labels | None, n: int, *, unlabelled: bool = False) -> Tensor | None:
        if self.num_classes is None:
            if y is None:
                return None
            raise DataError("no labels for an unconditional model", "labels", "use ConditionalVAE, or leave y out")
        if y is None:
            raise DataError(
                f"labels for a model conditioned on {self.num_classes} classes",
                "none",
                "pass y: an integer, or one for each image",
            )
        if isinstance(y, Tensor) and y.dtype is torch.int64 and y.ndim == 1 and not follows_values(y):
            return y.to(self.device)
        return as_labels(y, n, self.num_classes, unlabelled=unlabelled).to(self.device)


def _slices(n: int, size: int) -> Iterator[slice]:
    """The rows of batches of at most so many."""
    return (slice(start, min(n, start + size)) for start in range(0, n, size))


class BetaVAE(VAE):
    r"""A VAE whose KL term has the weight beta: a preset for ``VAE(objective=ELBO(beta=beta))``.

    Higgins et al. (2017), "beta-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework".

    Args:
        latent_dim: Size of z.
        beta: Weight of the KL term; pixels and latents are summed, so beta = 1 is the ELBO.
        image_shape: Shape of an image, (C, H, W).
        encoder: As in :class:`VAE`.
        decoder: As in :class:`VAE`.
        likelihood: As in :class:`VAE`.
        prior: As in :class:`VAE`.
        num_classes: As in :class:`VAE`.
    """

    def __init__(
        self,
        latent_dim: int,
        beta: float = 4.0,
        image_shape: ImageShape = (1, 28, 28),
        *,
        encoder: Encoder | None = None,
        decoder: Decoder | None = None,
        likelihood: Likelihood | None = None,
        prior: Prior | None = None,
        num_classes: int | None = None,
    ) -> None:
        super().__init__(
            latent_dim,
            image_shape,
            encoder=encoder,
            decoder=decoder,
            likelihood=likelihood,
            prior=prior,
            objective=ELBO(beta),
            num_classes=num_classes,
        )

    @property
    def beta(self) -> float:
        """Weight of the KL term."""
        if not isinstance(self.objective, ELBO):
            raise AttributeError("beta")  # noqa: TRY004 (a property that is not there: the objective was replaced)
        return self.objective.beta


class ConditionalVAE(VAE):
    r"""A VAE that is told each image's label: a preset for ``VAE(num_classes=...)``.

    .. math:: \log p(x \mid y) \ge \mathbb{E}_{q(z \mid x, y)}[\log p(x \mid z, y)] - D_{KL}(q(z \mid x, y) \| p(z))

    Sohn, Lee and Yan (2015), "Learning Structured Output Representation using Deep Conditional Generative Models".

    Args:
        latent_dim: Size of z.
        num_classes: Number of classes.
        image_shape: Shape of an image, (C, H, W).
        encoder: As in :class:`VAE`; made with the same ``num_classes``.
        decoder: As in :class:`VAE`; made with the same ``num_classes``.
        likelihood: As in :class:`VAE`.
        prior: As in :class:`VAE`.
        objective: As in :class:`VAE`.

    Example:
        >>> cvae = ConditionalVAE(latent_dim=16, num_classes=10)
        >>> cvae.sample(8, y=3).shape
        torch.Size([8, 1, 28, 28])
    """

    def __init__(
        self,
        latent_dim: int,
        num_classes: int = 10,
        image_shape: ImageShape = (1, 28, 28),
        *,
        encoder: Encoder | None = None,
        decoder: Decoder | None = None,
        likelihood: Likelihood | None = None,
        prior: Prior | None = None,
        objective: Objective | None = None,
    ) -> None:
        super().__init__(
            latent_dim,
            image_shape,
            encoder=encoder,
            decoder=decoder,
            likelihood=likelihood,
            prior=prior,
            objective=objective,
            num_classes=num_classes,
        )
