"""Metrics of a model: its reconstructions, the likelihood of images, its codes, its samples.

A pure function stands under each score; :func:`evaluate` computes all of them, and those of your own.
"""

from mnistvae.metrics.annealing import ANNEALED_NLL, AnnealedEstimate, annealed_importance_nll
from mnistvae.metrics.bidirectional import Bracket, bidirectional_gap
from mnistvae.metrics.classification import (
    NEEDS_OF_CLASSIFIERS,
    Classification,
    RocAuc,
    classify_codes,
    code_classification,
    roc_auc,
)
from mnistvae.metrics.clustering import clustering_accuracy
from mnistvae.metrics.comparison import compare
from mnistvae.metrics.digits import DigitClassifier, classify, digit_classifier
from mnistvae.metrics.disentanglement import mig, mig_by_factor, sap, sap_by_factor
from mnistvae.metrics.evaluation import GROUPS, METRICS, Group, evaluate, evaluate_view
from mnistvae.metrics.factor_vae import factor_vae_score
from mnistvae.metrics.frechet import frechet_distance, frechet_distance_of, gaussian_statistics
from mnistvae.metrics.generation import (
    ClassifierScore,
    PrecisionRecall,
    classifier_score,
    label_accuracy,
    precision_recall,
)
from mnistvae.metrics.importances import DCI, dci
from mnistvae.metrics.inception import inception_features
from mnistvae.metrics.information import KLParts, kl_parts, mutual_information, total_correlation
from mnistvae.metrics.latent import active_units, unit_activity
from mnistvae.metrics.likelihood import (
    Bound,
    ImportanceEstimate,
    bits_per_dimension,
    elbo,
    importance_sampled_nll,
)
from mnistvae.metrics.metric import Estimate, Metric
from mnistvae.metrics.needs import NEEDS, Need, unmet
from mnistvae.metrics.reconstruction import ClassMean, by_class, mae, mse, psnr
from mnistvae.metrics.record import ARROWS, Evaluation, Score
from mnistvae.metrics.similarity import ssim

__all__ = [
    "ANNEALED_NLL",
    "ARROWS",
    "DCI",
    "GROUPS",
    "METRICS",
    "NEEDS",
    "NEEDS_OF_CLASSIFIERS",
    "AnnealedEstimate",
    "Bound",
    "Bracket",
    "ClassMean",
    "Classification",
    "ClassifierScore",
    "DigitClassifier",
    "Estimate",
    "Evaluation",
    "Group",
    "ImportanceEstimate",
    "KLParts",
    "Metric",
    "Need",
    "PrecisionRecall",
    "RocAuc",
    "Score",
    "active_units",
    "annealed_importance_nll",
    "bidirectional_gap",
    "bits_per_dimension",
    "by_class",
    "classifier_score",
    "classify",
    "classify_codes",
    "clustering_accuracy",
    "code_classification",
    "compare",
    "dci",
    "digit_classifier",
    "elbo",
    "evaluate",
    "evaluate_view",
    "factor_vae_score",
    "frechet_distance",
    "frechet_distance_of",
    "gaussian_statistics",
    "importance_sampled_nll",
    "inception_features",
    "kl_parts",
    "label_accuracy",
    "mae",
    "mig",
    "mig_by_factor",
    "mse",
    "mutual_information",
    "precision_recall",
    "psnr",
    "roc_auc",
    "sap",
    "sap_by_factor",
    "ssim",
    "total_correlation",
    "unit_activity",
    "unmet",
]
