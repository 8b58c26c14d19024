"""
What the figures of an evaluation see
=====================================

``mnistvae evaluate`` prints a table; :func:`mnistvae.metrics.evaluate` gives the same figures in Python. Here two
models that differ in beta alone are measured on the same digits: one is good at giving back what it was shown, the
other at drawing what nobody showed it.

It takes about a quarter of a minute on one CPU core. Run as a script, ``python examples/plot_evaluate.py pictures``
writes its pictures and a file of figures to the folder ``pictures``; without a folder's name it leaves nothing behind.
"""

import sys
import tempfile
import warnings
from pathlib import Path

import torch
from matplotlib.figure import Figure

import mnistvae as mv
from mnistvae import Trainer, load_dataset, metrics

train, test = load_dataset("mnist-mini", "train"), load_dataset("mnist-mini", "test")

temporary = tempfile.TemporaryDirectory()
folder = Path(sys.argv[1] if len(sys.argv) > 1 else temporary.name)
folder.mkdir(parents=True, exist_ok=True)

models = {}
for beta in (0.05, 1.0):
    model = mv.recipes.get("mlp-20").model(beta=beta, seed=0)
    Trainer(epochs=3, batch_size=64, learning_rate=2e-3, seed=0, progress=False).fit(model, train)
    models[f"beta {beta}"] = model

# %%
# The same figures for both
# -------------------------
# The best of a row has a star. Figures that have no better side (how many nats the code carries, say) have none. Two
# warnings are silenced here: with so few importance samples the likelihoods are too high, and with 500 images the
# mutual information is at its ceiling, log 500. Neither changes which model is ahead.
warnings.simplefilter("ignore")
found = {
    name: metrics.evaluate(model, test[:500], train=train[:2000], num_samples=20) for name, model in models.items()
}
print(metrics.compare(found))

# %%
# How a figure was made stands beside it, in the table that ``print`` shows and in the file.
print(found["beta 1.0"].score("nll"))
found["beta 1.0"].to_json(folder / "metrics.json")

# %%
# By digit and by dimension
# -------------------------
# A 1 is easy, an 8 is not. With beta = 1 the code carries less than a third of the nats, and is nearer to the prior
# that samples are drawn from.
figure = Figure(figsize=(10, 3.6), dpi=150, layout="constrained")
left, right = figure.subplots(1, 2)
for (name, one), marker in zip(found.items(), "os", strict=True):
    left.plot([row["class"] for row in one.by_class], [row["psnr"] for row in one.by_class], marker=marker, label=name)
    right.plot(range(1, 21), sorted(one.by_dimension["kl"], reverse=True), marker=marker, label=name)
left.set(xlabel="digit", ylabel="PSNR, dB", title="reconstruction: higher is better", xticks=range(10))
right.set(xlabel="latent dimension, the largest first", ylabel="KL, nats", title="what a dimension carries")
right.set_xticks(range(2, 21, 2))
for axes in (left, right):
    axes.legend()
    axes.grid(alpha=0.3)
figure.savefig(folder / "by_digit_and_dimension.png")

# %%
# Samples of both: the figures of the family *generation* are about these.
figure = Figure(figsize=(10, 2.85), dpi=150, layout="constrained")
for (name, model), part in zip(models.items(), figure.subfigures(1, 2), strict=True):
    samples = model.sample(32, generator=torch.Generator().manual_seed(0))
    mv.plotting.sample_grid(samples, columns=8, title=f"{name}: fd_digits {found[name]['fd_digits']:.1f}", figure=part)
figure.savefig(folder / "samples.png")

temporary.cleanup()
