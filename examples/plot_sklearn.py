"""
A VAE in a scikit-learn pipeline
================================

``VAETransformer`` and ``VAEOutlierDetector`` are estimators like scikit-learn's own. Here they take its 1,797 digits of
8 x 8 pixels: the codes feed a classifier, a grid search chooses their number, and a detector that never saw a 0 is
asked about zeros.

It takes about 20 seconds on one CPU core. Run as a script, ``python examples/plot_sklearn.py pictures`` writes its
figures to the folder ``pictures``; without a folder's name it leaves nothing behind.
"""

import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline

from mnistvae.sklearn import VAEOutlierDetector, VAETransformer

temporary = tempfile.TemporaryDirectory()
folder = Path(sys.argv[1] if len(sys.argv) > 1 else temporary.name)
folder.mkdir(parents=True, exist_ok=True)

X, y = load_digits(return_X_y=True)  # a row is an image: 64 pixels from 0 to 16
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)

# %%
# Codes in a pipeline
# -------------------
# Eight numbers in place of 64 pixels, beside the eight of a principal component analysis.
settings = {"batch_size": 64, "learning_rate": 3e-3, "settings": {"hidden": (128,)}, "max_value": 16}
vae = VAETransformer(latent_dim=8, epochs=60, **settings)
for reduce in (vae, PCA(8, random_state=0)):
    pipeline = make_pipeline(reduce, LogisticRegression(max_iter=2000)).fit(X_train, y_train)
    print(f"{type(reduce).__name__:15s} accuracy of 8 numbers {pipeline.score(X_test, y_test):.3f}")

# %%
# How many latent dimensions?
# ---------------------------
# The search compares the evidence lower bound of rows that were held out.
grid = {"latent_dim": [2, 4, 8, 16]}
search = GridSearchCV(vae.set_params(epochs=30), grid, cv=2).fit(X_train)
for number, score in zip(grid["latent_dim"], search.cv_results_["mean_test_score"], strict=True):
    print(f"{number:2d} dimensions: {score:6.2f} nats a row")

# %%
# What the best of them makes of rows, and what it draws.
best = search.best_estimator_
rows = {
    "rows": X_test[:10],
    "through the code": best.inverse_transform(best.transform(X_test[:10])),
    "samples": best.sample(10, random_state=0),
}
figure, axes = plt.subplots(3, 1, figsize=(6.4, 2.6), layout="constrained")
for axis, (name, images) in zip(axes, rows.items(), strict=True):
    axis.imshow(np.hstack([row.reshape(8, 8) for row in images]), cmap="gray", vmin=0, vmax=16)
    axis.set_title(name, fontsize="small", loc="left")
    axis.axis("off")
figure.savefig(folder / "rows.png")

# %%
# A detector that never saw a 0
# -----------------------------
# ``predict`` is -1 for outliers; the threshold lets one in twenty of the training rows be one. A beta below 1 leaves
# the codes of different shapes further apart, which their density needs: with a beta of 1 zeros are hardly found.
detector = VAEOutlierDetector(latent_dim=8, beta=0.2, epochs=60, contamination=0.05, **settings)
detector.fit(X_train[y_train != 0])
unseen, scores = y_test == 0, detector.decision_function(X_test)
found = detector.predict(X_test) == -1
print(f"zeros found {found[unseen].mean():.2f}, false alarms {found[~unseen].mean():.2f}")
print(f"area under the ROC curve {roc_auc_score(unseen, -scores):.3f}")

# %%
figure, axis = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
bins = np.linspace(max(scores.min(), -40), scores.max(), 50)
kinds = {"digits that it knows": scores[~unseen], "zeros": scores[unseen]}
for hatch, (name, values) in zip(("", "//"), kinds.items(), strict=True):
    axis.hist(values.clip(bins[0]), bins, density=True, alpha=0.6, label=name, hatch=hatch, edgecolor="white")
axis.axvline(0, color="black", linestyle="--", linewidth=1, label="threshold")
axis.set(xlabel="decision function", ylabel="density of test rows")
axis.legend(frameon=False, loc="upper left")
figure.savefig(folder / "scores.png")

temporary.cleanup()
