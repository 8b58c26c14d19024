"""An objective that learns from images with a label and from images without one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mnistvae._checks import check_count, check_instance, check_number, check_numbers, check_switch
from mnistvae._modes import evaluating
from mnistvae.arrays import ArrayLike, as_tensor, shape_text
from mnistvae.errors import ComponentError, DataError, SettingError, type_name
from mnistvae.images import as_images, check_range
from mnistvae.objectives.around import Around
from mnistvae.objectives.base import LatentVariableModel, Objective, Terms

__all__ = ["SemiSupervised"]


class SemiSupervised(Around):
    r"""The bound of a conditional VAE on images of which only some have a label, with a classifier for the others.

    The classifier q(y | x) is a part of the objective, trained and saved with the model. An image with a label y costs

    .. math:: \mathcal{L}(x, y) - \alpha \log q(y \mid x), \qquad \mathcal{L}(x, y) =
        -\mathbb{E}_{q(z \mid x, y)}[\log p(x \mid y, z)] + D_{KL}(q(z \mid x, y) \| p(z)) - \log p(y)

    and one without, whose label is -1, the mean over all classes and the KL divergence of the label:

    .. math:: \sum_y q(y \mid x) \, \mathcal{L}(x, y) - H(q(y \mid x))

    Kingma, Mohamed, Rezende and Welling (2014), "Semi-supervised learning with deep generative models", equations 6 to
    9: the model M2. ``reconstruction`` and ``kl`` are means under q(y | x) or those of the label that is given;
    the extra term ``label_kl`` is :math:`D_{KL}(q(y \mid x) \| p(y))` or :math:`-\log p(y)`, and ``classification`` is
    :math:`-\log q(y \mid x)`, 0 for an image without a label. The loss is the sum of the four, the last one times
    alpha.

    Every image is computed under each of the K classes, also one whose label is known, so a step takes K times the
    encoder and the decoder of a conditional VAE's; ``all_labelled=True`` takes them once.

    Args:
        classifier: Maps images (B, C, H, W) to logits (B, K): any module, which must not be a part of the model
            elsewhere too.
        alpha: Weight of the classification term of an image with a label, at least 0. The paper's choice, a tenth of
            all images for the mean over those with a label, is ``0.1 * len(data) / (data.labels >= 0).sum()``; it is 1
            where every tenth image has a label.
        objective: Objective that gives L(x, y) but for the label's part, of each image alone: an :class:`ELBO` without
            free bits (the default, with beta = 1), or an :class:`IWAE`.
        class_probabilities: p(y), K numbers above 0, which are divided by their sum; None for classes of one size.
        all_labelled: Compute each image under its own class alone, and refuse images without a label.

    Raises:
        SettingError: If alpha is negative or infinite, or the probabilities are none.
        ComponentError: If the classifier is no module, or the objective is none, or one of whole batches.

    Example:
        >>> objective = SemiSupervised(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), alpha=60.0)
        >>> model = mv.ConditionalVAE(latent_dim=2, num_classes=10, objective=objective)
        >>> terms = model.loss(torch.rand(4, 1, 28, 28), [3, -1, -1, 8])
        >>> bool((terms.extra["classification"] > 0)[0]), terms.extra["classification"][1:3]
        (True, tensor([0., 0.], grad_fn=<SliceBackward0>))
        >>> objective.classify(torch.rand(5, 1, 28, 28)).shape
        torch.Size([5, 10])
    """

    _log_prior: Tensor

    def __init__(
        self,
        classifier: nn.Module,
        alpha: float = 50.0,
        objective: Objective | None = None,
        class_probabilities: Sequence[float] | None = None,
        all_labelled: bool = False,
    ) -> None:
        super().__init__(_check_objective(objective))
        fix = "pass an instance, such as torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))"
        self.classifier = check_instance("classifier as a torch.nn.Module", classifier, nn.Module, fix, ComponentError)
        self.alpha = check_number("a finite alpha of at least 0", alpha)
        self.class_probabilities = _check_probabilities(class_probabilities)
        self.all_labelled = check_switch("all_labelled", all_labelled)
        self.takes_unlabelled = not all_labelled
        given = torch.tensor(self.class_probabilities or (), dtype=torch.get_default_dtype(), device="cpu")
        #: Logarithms of p(y), (K,), or empty; goes where the model goes.
        self.register_buffer("_log_prior", given.log().log_softmax(-1), persistent=False)

    def forward(self, model: LatentVariableModel, x: Tensor, y: Tensor | None = None) -> Terms:
        if y is None:
            raise DataError("a label for each image, or -1 for none", "no labels", "use a ConditionalVAE, and pass y")
        log_q = self._logits(x).log_softmax(-1)
        self._check_classes(getattr(model, "num_classes", log_q.shape[1]), log_q.shape[1])
        batch, classes = log_q.shape
        labelled = y >= 0
        given = y.unsqueeze(-1) == torch.arange(classes, device=y.device)  # nowhere true for -1
        log_prior = self._log_prior.to(log_q.dtype) if self.class_probabilities else -math.log(classes)
        weights = torch.where(labelled.unsqueeze(-1), given.to(log_q.dtype), log_q.exp())
        label_kl = (weights * (log_q.masked_fill(labelled.unsqueeze(-1), 0.0) - log_prior)).sum(-1)
        own = log_q.gather(-1, y.clamp_min(0).unsqueeze(-1)).squeeze(-1)
        classification = torch.where(labelled, -own, 0.0)
        if self.all_labelled:
            terms = self.objective(model, x, y)
        else:
            # All images under the first class, then all under the second: whole batches, for the noise of a process.
            under = torch.arange(classes, device=y.device).unsqueeze(1).expand(-1, batch).flatten()
            each = self.objective(model, x.repeat(classes, 1, 1, 1), under)
            terms = _mean_over_classes(each, weights)
        loss = terms.loss + label_kl + self.alpha * classification
        extra = {**terms.extra, "label_kl": label_kl, "classification": classification}
        return Terms(loss, terms.reconstruction, terms.kl, extra)

    @torch.no_grad()
    def classify(self, x: ArrayLike, *, batch_size: int = 1024) -> Tensor:
        """Probabilities q(y | x) of each class, (B, K), on the model's device; in evaluation mode.

        Args:
            x: Images (B, C, H, W), or (B, H, W), as floats in [0, 1] or as uint8.
            batch_size: Images that are computed at once.

        Raises:
            DataError: If the images have another shape, or a pixel is NaN or outside [0, 1].
        """
        size = check_count("batch_size as an integer of at least 1", batch_size)
        images = as_tensor(x, "images")
        if images.ndim not in {3, 4} or not len(images):
            raise DataError("images (B, C, H, W), or (B, H, W)", shape_text(images), "add the batch dimension: x[None]")
        shape = (images.shape[1] if images.ndim == 4 else 1, images.shape[-2], images.shape[-1])
        like = self._log_prior
        with evaluating(self):
            found = [
                self._logits(check_range(as_images(some, shape, device=like.device, dtype=like.dtype)))
                for some in torch.split(images, size)
            ]
        return torch.cat(found).softmax(-1)

    def _logits(self, x: Tensor) -> Tensor:
        """The classifier's logits, (B, K)."""
        logits = self.classifier(x)
        if not isinstance(logits, Tensor) or logits.ndim != 2 or logits.shape[0] != x.shape[0]:
            fix = "end it with a layer of one number for each class"
            raise ComponentError(f"the classifier to give logits ({len(x)}, K)", shape_text(logits), fix)
        return logits.to(x.dtype)  # under autocast they come in bfloat16

    def _check_classes(self, wanted: int, found: int) -> None:
        """Check that model, classifier and p(y) have one number of classes."""
        if found != wanted:
            expected = f"a classifier of {wanted} classes, as the model has"
            raise ComponentError(expected, f"one that gives {found} logits", f"end it with a layer of {wanted} numbers")
        if self.class_probabilities is not None and len(self.class_probabilities) != wanted:
            got = f"{len(self.class_probabilities)}: {self.class_probabilities}"
            raise ComponentError(f"class_probabilities of {wanted} classes, as the model has", got)


def _mean_over_classes(each: Terms, weights: Tensor) -> Terms:
    """Terms of every image under each class, (K B,), as means under the weights (B, K) of the classes."""

    def mean(term: Tensor) -> Tensor:
        return (weights * term.reshape(weights.shape[1], -1).T).sum(-1)

    extra = {name: mean(term) for name, term in each.extra.items()}
    return Terms(mean(each.loss), mean(each.reconstruction), mean(each.kl), extra)


def _check_objective(objective: Objective | None) -> Objective | None:
    """The objective of an image under a class."""
    if objective is None or not isinstance(objective, Objective):
        return objective  # the usual one, or refused where it is kept
    if objective.of_a_batch or isinstance(objective, SemiSupervised):
        expected, got = "an objective of each image alone, given its label", type_name(objective)
        raise ComponentError(expected, got, "use ELBO without free_bits, or IWAE")
    return objective


def _check_probabilities(values: Any) -> tuple[float, ...] | None:
    expected = "class_probabilities as one number above 0 for each class, or None"
    if values is None:
        return None
    found = tuple(check_numbers(expected, values, fix="for instance (0.25, 0.75)"))
    if min(found) <= 0:
        raise SettingError(expected, str(min(found)), "leave a class out of num_classes that there is none of")
    return found
