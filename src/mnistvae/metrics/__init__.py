"""How good a model is: what it reconstructs, how probable it finds images, what its codes hold, what it makes up.

A pure function stands under each figure; :func:`evaluate` gathers them.
"""

from mnistvae.metrics._evaluate import GROUPS, Group, evaluate
from mnistvae.metrics.classification import Classification, RocAuc, classify_codes, roc_auc
from mnistvae.metrics.digits import DigitClassifier, classify, digit_classifier
from mnistvae.metrics.disentanglement import mig, sap
from mnistvae.metrics.evaluation import Evaluation, Figure, compare
from mnistvae.metrics.generation import (
    ClassifierScore,
    PrecisionRecall,
    classifier_score,
    frechet_distance,
    frechet_distance_of,
    gaussian_statistics,
    label_accuracy,
    precision_recall,
)
from mnistvae.metrics.inception import inception_features
from mnistvae.metrics.latent import (
    Estimate,
    KLParts,
    active_units,
    kl_parts,
    mutual_information,
    total_correlation,
    unit_activity,
)
from mnistvae.metrics.likelihood import (
    Bound,
    ImportanceEstimate,
    bits_per_dimension,
    elbo,
    importance_sampled_nll,
)
from mnistvae.metrics.reconstruction import ClassMean, by_class, mae, mse, psnr, ssim

__all__ = [
    "GROUPS",
    "Bound",
    "ClassMean",
    "Classification",
    "ClassifierScore",
    "DigitClassifier",
    "Estimate",
    "Evaluation",
    "Figure",
    "Group",
    "ImportanceEstimate",
    "KLParts",
    "PrecisionRecall",
    "RocAuc",
    "active_units",
    "bits_per_dimension",
    "by_class",
    "classifier_score",
    "classify",
    "classify_codes",
    "compare",
    "digit_classifier",
    "elbo",
    "evaluate",
    "frechet_distance",
    "frechet_distance_of",
    "gaussian_statistics",
    "importance_sampled_nll",
    "inception_features",
    "kl_parts",
    "label_accuracy",
    "mae",
    "mig",
    "mse",
    "mutual_information",
    "precision_recall",
    "psnr",
    "roc_auc",
    "sap",
    "ssim",
    "total_correlation",
    "unit_activity",
]
