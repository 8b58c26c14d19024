"""Images on their way to a model: data sets in uint8, by name or from files, and device-resident batches."""

from mnistvae.data.batches import Data, as_dataset, batch_source
from mnistvae.data.dataset import Binarization, ImageDataset
from mnistvae.data.files import read_idx, read_npz
from mnistvae.data.pictures import ImageSize, pixels_of
from mnistvae.data.resident import Batch, Batches, BatchSource
from mnistvae.data.sources import dataset_names, default_root, load_dataset
from mnistvae.data.splits import split_rows
from mnistvae.data.streams import LoaderBatches, is_stream
from mnistvae.data.views import as_trained, drawn_like, going_round, labelled, labels_of_all, one_of_each, resized

__all__ = [
    "Batch",
    "BatchSource",
    "Batches",
    "Binarization",
    "Data",
    "ImageDataset",
    "ImageSize",
    "LoaderBatches",
    "as_dataset",
    "as_trained",
    "batch_source",
    "dataset_names",
    "default_root",
    "drawn_like",
    "going_round",
    "is_stream",
    "labelled",
    "labels_of_all",
    "load_dataset",
    "one_of_each",
    "pixels_of",
    "read_idx",
    "read_npz",
    "resized",
    "split_rows",
]
