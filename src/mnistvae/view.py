"""A model and a data set: codes, reconstructions and samples, each computed once, when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, get_args

import torch
from torch import Tensor
from torch.distributions import Distribution

from mnistvae import _passes as passes
from mnistvae._checks import check_choice, check_count, check_seed
from mnistvae._codes import LatentCodes
from mnistvae._passes import Done, OfBatch, Pass, measuring
from mnistvae._products import fast_products
from mnistvae._progress import bar
from mnistvae.arrays import ArrayLike, check_finite
from mnistvae.data import Binarization, ImageDataset, as_dataset, as_trained, drawn_like, labelled, labels_of_all
from mnistvae.distributions import mean_of, moments, tensors_of
from mnistvae.images import to_uint8
from mnistvae.models import VAE

__all__ = ["View"]

P = ParamSpec("P")
T = TypeVar("T")
#: Most training images whose codes a classifier learns from.
_LEARNED_FROM = 10_000
#: Most numbers of a posterior, for each image, that are kept.
_KEPT = 8192
_DIVERGED = "look at the weights: the model may have diverged"


class View:
    """A model's view of a data set: codes, reconstructions and samples, each computed once, when first asked for.

    What was asked for is kept, and nothing else: posteriors as they are, pictures as uint8. Figures of pictures are
    computed in float, a batch at a time, as the pictures pass by (:meth:`reconstructed`, :meth:`sampled`).

    Args:
        model: The model, on the device to compute on.
        data: Images that the model was not trained on: an ImageDataset, or a tensor or array (N, C, H, W).
        train: Images that the model was trained on; classifiers of codes learn from the first 10,000.
        binarization: How training turned grey images into black and white; the same is done to ``data`` and ``train``,
            once, under ``seed``.
        num_generated: Number of images to draw from the prior (default: as many as there are in ``data``).
        num_samples: Number of importance samples for each image, for the log-likelihood.
        batch_size: Number of images that are computed at once.
        seed: Seed of all that is drawn.
        progress: Whether to show a bar for each pass.

    Raises:
        ComponentError: If ``model`` is not a VAE.
        DataError: If ``data`` or ``train`` are no images.
        SettingError: If a number, the seed or the binarization makes no sense.

    Example:
        >>> view = View(mv.VAE(latent_dim=2), mv.load_dataset("mnist-mini", "test")[:100])
        >>> view.codes
        LatentCodes(100 codes of 2 dimensions, labels, 'mnist-mini', 'test')
        >>> view.keep("reconstructions")  # in the one pass that the next line makes
        >>> (errors,) = view.reconstructed(mv.metrics.mse)
        >>> errors.shape, view.reconstructions.shape, view.reconstructions.dtype
        (torch.Size([100]), torch.Size([100, 1, 28, 28]), torch.uint8)
    """

    def __init__(
        self,
        model: VAE,
        data: ImageDataset | ArrayLike,
        *,
        train: ImageDataset | ArrayLike | None = None,
        binarization: Binarization = "none",
        num_generated: int | None = None,
        num_samples: int = 500,
        batch_size: int = 512,
        seed: int = 0,
        progress: bool = False,
    ) -> None:
        self.model = passes.check_model(model)
        self.train = None if train is None else as_dataset(train, model.image_shape)
        self.seed = check_seed(seed)
        binarization = check_choice("binarization", binarization, get_args(Binarization))
        self.batch_size = check_count("batch_size as an integer of at least 1", batch_size)
        self.num_samples = check_count("num_samples as an integer of at least 1", num_samples)
        #: The images as they came.
        self.data = as_dataset(data, model.image_shape)
        number = len(self.data) if num_generated is None else num_generated
        self.num_generated = check_count("num_generated as an integer of at least 1", number)
        #: How the images that the model sees became black and white.
        self.binarization = drawn_like(binarization) if self.data.binarization == "none" else self.data.binarization
        self.progress = progress
        self._of_reconstructions = Pass(len(self.data))
        self._of_samples = Pass(self.num_generated)
        self._memory: dict[Hashable, Any] = {}
        self.begun: dict[Hashable, Callable[[], Any]] = {}  # waits for what is computed elsewhere, see begin()

    def __len__(self) -> int:
        return len(self.data)

    def once(self, function: Callable[Concatenate[View, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """``function(view, ...)``, computed when it is first asked for, and kept."""
        if (key := _question(function, args, kwargs)) not in self._memory:
            wait = self.begun.pop(key, None)
            self._memory[key] = function(self, *args, **kwargs) if wait is None else wait()
        return self._memory[key]  # type: ignore[no-any-return]

    @contextmanager
    def bar(self, what: str, total: int) -> Iterator[Done]:
        """Show a progress bar over a block, in a terminal or notebook, if the view shows progress."""
        with bar(what, total, shown=self.progress) as done:
            yield done

    @cached_property
    def shown(self) -> ImageDataset:
        """The images as the model sees them: grey, or black and white, drawn once."""
        return _as_seen(self, self.data)

    @property
    def labels(self) -> Tensor | None:
        """Labels of the images, (N,) on the CPU; None where the data have none, or not for each image."""
        return labels_of_all(self.data)

    @property
    def known(self) -> ImageDataset | None:
        """The training images, as they came, whose codes classifiers learn from."""
        return None if self.train is None else labelled(self.train)[:_LEARNED_FROM]

    @property
    def tag(self) -> str:
        """Name of the model's density on such pixels; likelihoods of two tags are not comparable."""
        return self.model.tag(self.binarization)

    @cached_property
    def posteriors(self) -> Sequence[Distribution]:
        """q(z | x) of each batch, in order; those that would take much memory are computed anew at each use."""
        return _encode(self, self.shown)

    @cached_property
    def posterior(self) -> Distribution | None:
        """q(z | x) of all images as one distribution; None for a kind that cannot be joined."""
        return passes.join(self.posteriors)

    @cached_property
    def codes(self) -> LatentCodes:
        """Means and standard deviations of the posteriors."""
        return _codes(self.posteriors, self.shown)

    @cached_property
    def known_codes(self) -> LatentCodes | None:
        """Codes of the training images that classifiers learn from, as the model saw them."""
        seen = None if self.known is None else _as_seen(self, self.known)
        return None if seen is None else _codes(_encode(self, seen), seen)

    @cached_property
    def prior(self) -> Distribution | None:
        """p(z), one for all images; None where it depends on the label."""
        with measuring(self.model, self.seed):
            labels = None if self.model.num_classes is None else torch.arange(self.model.num_classes, device="cpu")
            prior = self.model.latent_prior(labels)
        return None if prior.batch_shape else prior

    @cached_property
    def codes_depend_on_label(self) -> bool:
        """True if the encoder of a conditional model uses the label, so that its codes may just repeat it."""
        if self.model.num_classes is None:
            return False
        x, y, posterior = next(self.batches())
        with measuring(self.model):
            other = self.model.encode(x, (y + 1) % self.model.num_classes)  # type: ignore[operator]
        return not torch.equal(mean_of(posterior), mean_of(other))

    def batches(self, size: int | None = None) -> Iterator[tuple[Tensor, Tensor | None, Distribution]]:
        """The images shown, (B, C, H, W) in [0, 1], labels if the model takes them, and posteriors.

        Args:
            size: Images in a batch (default: the view's); posteriors that cannot be taken apart are computed again.
        """
        size, start = self.batch_size if size is None else size, 0
        for number, (x, y) in enumerate(passes.batches(self.model, self.shown, size)):
            rows = slice(start, start + len(x))
            posterior = self.posteriors[number] if size == self.batch_size else None
            if posterior is None and self.posterior is not None and type(self.posterior) is type(self.posteriors[0]):
                posterior = passes.some_of(self.posterior, rows)  # and not of a class above it
            if posterior is None:
                with measuring(self.model):
                    posterior = self.model.encode(x, y)
            yield x, y, posterior
            start = rows.stop

    def reconstructed(self, *functions: OfBatch) -> list[Tensor]:
        """Values for each image, (N, ...) on the CPU; those that are not known yet take one pass together.

        Args:
            functions: Functions of the images shown and of their reconstructions from the means of the posteriors, both
                (B, C, H, W) in [0, 1] on the CPU, such as :func:`mnistvae.metrics.mse`.

        Raises:
            DataError: If a reconstruction is not finite, or a function does not give one row for each image.
        """
        return self._of_reconstructions.values(functions, lambda: _reconstructions(self))

    def sampled(self, *functions: OfBatch) -> list[Tensor]:
        """Values for each sample, (num_generated, ...) on the CPU; those not known yet take one pass together.

        Args:
            functions: Functions of samples, (B, C, H, W) in [0, 1] on the CPU; labels of a conditional model go round.
        """
        return self._of_samples.values(functions, lambda: _samples(self))

    def expect(self, *, reconstructed: Sequence[OfBatch] = (), sampled: Sequence[OfBatch] = ()) -> None:
        """Announce functions, which the next pass over reconstructions, or samples, is then made for, too."""
        self._of_reconstructions.expect(*reconstructed)
        self._of_samples.expect(*sampled)

    def keep(self, *pictures: Literal["reconstructions", "samples"]) -> None:
        """Announce pictures to be kept, from the next pass: first asked for after that, they take one of their own."""
        for picture in pictures:
            name = check_choice("pictures to keep", picture, ("reconstructions", "samples"))
            (self._of_reconstructions if name == "reconstructions" else self._of_samples).expect(_pixels)

    @property
    def reconstructions(self) -> Tensor:
        """Reconstructions from the means of the posteriors, (N, C, H, W), uint8 on the CPU."""
        return self.reconstructed(_pixels)[0]

    @property
    def samples(self) -> Tensor:
        """Samples from the prior, their labels going round the classes, (num_generated, C, H, W), uint8 on the CPU."""
        return self.sampled(_pixels)[0]


def begin(
    view: View,
    wait: Callable[[], T] | None,
    function: Callable[Concatenate[View, P], T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> None:
    """Announce that ``view.once(function, ...)`` has begun elsewhere: it takes its value from ``wait()``.

    Args:
        view: A model and a data set.
        wait: Function that waits for the value; None where nothing has begun.
        function: Function of the view.
        args: Its other arguments.
        kwargs: Its arguments by name.
    """
    if wait is not None:
        view.begun[_question(function, args, kwargs)] = wait


def _question(function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Hashable:
    """A function and its arguments, as the key of its value."""
    return function, args, tuple(sorted(kwargs.items()))


def _as_seen(view: View, data: ImageDataset) -> ImageDataset:
    """Images as the model sees them."""
    return passes.drawn_once(as_trained(data, view.binarization, seed=view.seed), view.batch_size, view.seed)


def _encode(view: View, data: ImageDataset) -> Sequence[Distribution]:
    """q(z | x) of each batch."""
    found: list[Distribution] = []
    with view.bar("codes", len(data)) as done, measuring(view.model):
        for x, y in passes.batches(view.model, data, view.batch_size):
            posterior = view.model.encode(x, y)
            if sum(part.numel() for part in tensors_of(posterior)) > _KEPT * len(x):
                return passes.ComputedAnew(view.model, data, view.batch_size)
            found.append(posterior)
            done(len(x))
    return found


@torch.no_grad()  # a posterior may compute its moments when they are asked for
def _codes(posteriors: Sequence[Distribution], data: ImageDataset) -> LatentCodes:
    found = [moments(posterior) for posterior in posteriors]
    means = torch.cat([each.mean for each in found]).cpu()
    deviations = torch.cat([each.variance.sqrt() for each in found]).cpu()
    return LatentCodes(means, deviations, labels_of_all(data), data.name, data.split, data.class_names)


def _pixels(*images: Tensor) -> Tensor:
    """The last pictures of a batch as uint8: what is kept of them."""
    return to_uint8(images[-1])


def _reconstructions(view: View) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of images shown, and their reconstructions."""
    model, start = view.model, 0
    of_subclass = getattr(model.reconstruct, "__func__", None) is not VAE.reconstruct  # which may do anything
    with view.bar("reconstructions", len(view)) as done:
        for x, y, posterior in view.batches():
            with measuring(model):
                if of_subclass:
                    made = model.reconstruct(x, y)
                else:
                    made = model.decode(mean_of(posterior), y).mean.clamp(0.0, 1.0)
            yield x.cpu(), check_finite(made.cpu(), "reconstructions", _DIVERGED, first=start)
            start += len(x)
            done(len(x))


def _samples(view: View) -> Iterator[tuple[Tensor]]:
    """Batches of samples from the prior."""
    noise, classes = torch.Generator().manual_seed(view.seed), view.model.num_classes
    with view.bar("samples", view.num_generated) as done:
        for numbers in torch.split(torch.arange(view.num_generated, device="cpu"), view.batch_size):
            with fast_products(view.model.device):
                labels = None if classes is None else numbers % classes
                made = view.model.sample(len(numbers), labels, generator=noise).cpu()
            yield (made,)
            done(len(numbers))
