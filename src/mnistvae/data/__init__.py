"""Images on their way to a model: data sets in uint8, bundled or from torchvision, and device-resident batches."""

from mnistvae.data.batches import Batches, BatchSource, LoaderBatches, as_dataset, batch_source
from mnistvae.data.dataset import Binarization, ImageDataset
from mnistvae.data.sources import dataset_names, default_root, load_dataset
from mnistvae.data.views import as_trained, going_round, one_of_each

__all__ = [
    "BatchSource",
    "Batches",
    "Binarization",
    "ImageDataset",
    "LoaderBatches",
    "as_dataset",
    "as_trained",
    "batch_source",
    "dataset_names",
    "default_root",
    "going_round",
    "load_dataset",
    "one_of_each",
]
