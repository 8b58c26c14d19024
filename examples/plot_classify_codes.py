"""
Read the digit off a code
=========================

A model that was never told a label has codes from which the label can be read. How well tells what the code keeps;
which digits are mixed up tells what it loses.

It takes about 15 seconds on one CPU core. Run as a script, ``python examples/plot_classify_codes.py pictures`` writes
its figures to the folder ``pictures``; without a folder's name it leaves nothing behind.
"""

import sys
import tempfile
from pathlib import Path

import mnistvae as mv
from mnistvae import analysis, load_dataset, metrics, plotting

train, test = load_dataset("mnist-mini", "train"), load_dataset("mnist-mini", "test")

temporary = tempfile.TemporaryDirectory()
folder = Path(sys.argv[1] if len(sys.argv) > 1 else temporary.name)
folder.mkdir(parents=True, exist_ok=True)

model = mv.pretrained("conv")  # ships with the package, trained on the whole MNIST

# %%
# Classifiers on the codes
# ------------------------
known, codes = analysis.encode_dataset(model, train[:5000]), analysis.encode_dataset(model, test)
for kind in ("knn", "logistic", "random-forest"):
    found = metrics.classify_codes(known.means, known.labels, codes.means, codes.labels, kind)
    area = metrics.roc_auc(codes.labels, found.probabilities, found.classes).micro
    print(f"{kind:14s} accuracy {found.accuracy:.3f}, F1 {found.f1:.3f}, area under the ROC curve {area:.4f}")

# %%
# The forest's confusions: 4 and 9 are what people mix up, too.
figure = plotting.confusion_matrix(found.confusion, found.classes)
figure.savefig(folder / "confusion.png")

# %%
# How sure it can be, class by class.
figure = plotting.roc_curves(codes.labels, found.probabilities, found.classes)
figure.savefig(folder / "roc.png")

temporary.cleanup()
