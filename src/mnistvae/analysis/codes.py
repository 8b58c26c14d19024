"""The codes of a data set."""

from __future__ import annotations

from mnistvae._codes import LatentCodes
from mnistvae.arrays import ArrayLike
from mnistvae.data import ImageDataset
from mnistvae.models import VAE
from mnistvae.view import View

__all__ = ["LatentCodes", "encode_dataset"]


def encode_dataset(
    model: VAE, data: ImageDataset | ArrayLike, *, batch_size: int = 1024, progress: bool = False
) -> LatentCodes:
    """Return the posterior means and standard deviations of all images of a data set, in their order.

    Args:
        model: The model; it computes on its own device.
        data: N images, with labels for a conditional model; binarized, if that is what the model was trained on.
        batch_size: Number of images that are encoded at once.
        progress: Whether to show a bar.

    Raises:
        DataError: If the data do not fit the model, or a code is not finite.

    Example:
        >>> codes = mv.analysis.encode_dataset(mv.VAE(latent_dim=2), mv.load_dataset("mnist-mini", "test")[:100])
        >>> codes
        LatentCodes(100 codes of 2 dimensions, labels, 'mnist-mini', 'test')
    """
    return View(model, data, batch_size=batch_size, progress=progress).codes
