"""The codes of a data set: what everything else here looks at."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mnistvae._checks import check_count, check_instance
from mnistvae.arrays import check_finite
from mnistvae.data import ImageDataset
from mnistvae.errors import DataError
from mnistvae.metrics._passes import check_dataset, posteriors
from mnistvae.models import VAE

__all__ = ["LatentCodes", "encode_dataset"]


@dataclass(frozen=True)
class LatentCodes:
    """The posteriors of N images, by their first two moments, on the CPU.

    ``codes[index]`` are the codes of some of the images.
    """

    #: Posterior means, (N, latent_dim).
    means: Tensor
    #: Standard deviations of the posterior, (N, latent_dim).
    deviations: Tensor
    #: Labels, (N,), where the data have some.
    labels: Tensor | None = None
    #: What was encoded.
    name: str = "images"
    split: str = "all"

    def __post_init__(self) -> None:
        for name, value in (("means", self.means), ("standard deviations", self.deviations), ("labels", self.labels)):
            if value is not None or name != "labels":
                check_instance(f"{name} as a torch tensor", value, Tensor, "encode_dataset gives them", DataError)
        if self.means.ndim != 2 or self.means.shape != self.deviations.shape:
            raise DataError(
                "means and standard deviations of one shape (N, latent_dim)",
                f"{tuple(self.means.shape)} and {tuple(self.deviations.shape)}",
            )
        if self.labels is not None and self.labels.shape != self.means.shape[:1]:
            raise DataError(f"{len(self.means)} labels", str(tuple(self.labels.shape)), "one label a code")
        both = torch.cat([self.means, self.deviations], 1)
        check_finite(both, "codes", "look at the weights: the model may have diverged")

    def __len__(self) -> int:
        return len(self.means)

    def __getitem__(self, index: slice | Tensor) -> LatentCodes:
        labels = None if self.labels is None else self.labels[index]
        return LatentCodes(self.means[index], self.deviations[index], labels, self.name, self.split)

    def __repr__(self) -> str:
        n, latent_dim = self.means.shape
        labels = "no labels" if self.labels is None else "labels"
        return f"LatentCodes({n} codes of {latent_dim} dimensions, {labels}, {self.name!r}, {self.split!r})"

    @property
    def latent_dim(self) -> int:
        """Dimensions of a code."""
        return self.means.shape[1]


def encode_dataset(model: VAE, data: ImageDataset, *, batch_size: int = 1024, progress: bool = False) -> LatentCodes:
    """The posterior means and standard deviations of all images of a data set, in their order.

    Args:
        model: the model; it computes on its own device.
        data: N images, with labels for a conditional model; binarized, if that is what the model was trained on.
        batch_size: images at once.
        progress: show a bar.

    Raises:
        DataError: data that do not fit the model, or codes that are not finite.

    Example:
        >>> codes = mv.analysis.encode_dataset(mv.VAE(latent_dim=2), mv.load_dataset("mnist-mini", "test")[:100])
        >>> codes
        LatentCodes(100 codes of 2 dimensions, labels, 'mnist-mini', 'test')
    """
    from tqdm import tqdm

    batch_size = check_count("batch_size as an integer of at least 1", batch_size)
    with tqdm(total=len(check_dataset(data)), desc="encode", unit="image", leave=False, disable=not progress) as bar:
        found = posteriors(model, data, batch_size, bar.update)
    means = torch.cat([posterior.mean for posterior in found]).cpu()
    deviations = torch.cat([posterior.variance.sqrt() for posterior in found]).cpu()
    labels = None if data.labels is None else data.labels.cpu()
    return LatentCodes(means, deviations, labels, data.name, data.split)
