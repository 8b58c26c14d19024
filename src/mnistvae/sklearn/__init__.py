"""A VAE in scikit-learn's hands: a transformer, and a detector of outliers, of tables with an image a row.

Both keep scikit-learn's contract: parameters are kept as they came, ``fit`` does the work, and ``clone``, ``Pipeline``,
``GridSearchCV`` and ``cross_val_score`` take them as they take its own.
"""

from mnistvae.sklearn.outliers import VAEOutlierDetector
from mnistvae.sklearn.transformer import VAETransformer

__all__ = ["VAEOutlierDetector", "VAETransformer"]
