"""The codes of a trained model, as maps, clusters and pictures, and the images that it reconstructs badly."""

from mnistvae.analysis._range import Range
from mnistvae.analysis.anomalies import anomaly_scores
from mnistvae.analysis.clusters import (
    Agreement,
    Clusters,
    Outlier,
    agreement,
    decode_centroids,
    find_clusters,
    outliers,
)
from mnistvae.analysis.codes import LatentCodes, encode_dataset
from mnistvae.analysis.embedding import Embedding, embed
from mnistvae.analysis.errors import Extremes, ReconstructionErrors, reconstruction_errors
from mnistvae.analysis.planes import Plane, decode_codes, interpolate_codes, latent_plane, traverse
from mnistvae.analysis.search import search
from mnistvae.analysis.sweep import sweep
from mnistvae.analysis.trials import Sweep, Trained, Trial

__all__ = [
    "Agreement",
    "Clusters",
    "Embedding",
    "Extremes",
    "LatentCodes",
    "Outlier",
    "Plane",
    "Range",
    "ReconstructionErrors",
    "Sweep",
    "Trained",
    "Trial",
    "agreement",
    "anomaly_scores",
    "decode_centroids",
    "decode_codes",
    "embed",
    "encode_dataset",
    "find_clusters",
    "interpolate_codes",
    "latent_plane",
    "outliers",
    "reconstruction_errors",
    "search",
    "sweep",
    "traverse",
]
