"""Images on their way to a model: data sets in uint8, by name or from files, and device-resident batches."""

from mnistvae.data.batches import Data, as_dataset, batch_source
from mnistvae.data.dataset import Binarization, ImageDataset
from mnistvae.data.factors import Factors
from mnistvae.data.files import read_idx, read_npz
from mnistvae.data.morphology import measure_factors
from mnistvae.data.pictures import ImageSize, pixels_of
from mnistvae.data.resident import Batch, Batches, BatchSource
from mnistvae.data.sources import dataset_names, default_root, load_dataset
from mnistvae.data.splits import split_rows
from mnistvae.data.streams import LoaderBatches, is_stream
from mnistvae.data.synthetic import SHAPE_FACTORS, draw_shapes, shapes
from mnistvae.data.toys import Toy, toy
from mnistvae.data.views import as_trained, drawn_like, going_round, labelled, labels_of_all, one_of_each, resized

__all__ = [
    "SHAPE_FACTORS",
    "Batch",
    "BatchSource",
    "Batches",
    "Binarization",
    "Data",
    "Factors",
    "ImageDataset",
    "ImageSize",
    "LoaderBatches",
    "Toy",
    "as_dataset",
    "as_trained",
    "batch_source",
    "dataset_names",
    "default_root",
    "draw_shapes",
    "drawn_like",
    "going_round",
    "is_stream",
    "labelled",
    "labels_of_all",
    "load_dataset",
    "measure_factors",
    "one_of_each",
    "pixels_of",
    "read_idx",
    "read_npz",
    "resized",
    "shapes",
    "split_rows",
    "toy",
]
