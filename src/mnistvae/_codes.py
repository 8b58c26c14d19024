"""The codes of a data set, by the means and deviations of their posteriors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mnistvae._checks import check_instance
from mnistvae.arrays import check_finite
from mnistvae.errors import DataError

__all__ = ["LatentCodes"]


@dataclass(frozen=True)
class LatentCodes:
    """The posteriors of N images, by their first two moments, on the CPU.

    ``codes[index]`` are the codes of some of the images.

    Raises:
        DataError: If means, deviations and labels do not match, or a code is not finite.
    """

    #: Posterior means, (N, latent_dim).
    means: Tensor
    #: Standard deviations of the posterior, (N, latent_dim).
    deviations: Tensor
    #: Labels, (N,), where the data have some.
    labels: Tensor | None = None
    #: Name of the data set that was encoded.
    name: str = "images"
    #: Part of the data set that was encoded, such as "test".
    split: str = "all"

    def __post_init__(self) -> None:
        given = {"means": self.means, "standard deviations": self.deviations}
        if self.labels is not None:
            given["labels"] = self.labels
        means, deviations, *labels = (
            check_instance(f"{name} as a torch tensor", value, Tensor, "encode_dataset gives them", DataError)
            for name, value in given.items()
        )
        if means.ndim != 2 or means.shape != deviations.shape:
            got = f"{tuple(means.shape)} and {tuple(deviations.shape)}"
            raise DataError("means and standard deviations of one shape (N, latent_dim)", got)
        if labels and labels[0].shape != means.shape[:1]:
            raise DataError(f"{len(means)} labels", str(tuple(labels[0].shape)), "one label a code")
        check_finite(torch.cat([means, deviations], 1), "codes", "look at the weights: the model may have diverged")

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
        """Number of dimensions of a code."""
        return self.means.shape[1]
