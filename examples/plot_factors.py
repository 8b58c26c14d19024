"""
What digits and shapes vary in
==============================

A digit is thick or thin, upright or slanted, wide or narrow. :func:`mnistvae.data.measure_factors` measures that, and
:func:`mnistvae.data.shapes` draws images of which it is known. Either way codes can be asked how much each of their
dimensions tells of each factor.

It takes about half a minute on one CPU core. Run as a script, ``python examples/plot_factors.py pictures`` writes its
pictures to the folder ``pictures``; without a folder's name it leaves nothing behind.
"""

import sys
import tempfile
import warnings
from pathlib import Path

import torch
from matplotlib.figure import Figure

import mnistvae as mv
from mnistvae import analysis, data, metrics, plotting

temporary = tempfile.TemporaryDirectory()
folder = Path(sys.argv[1] if len(sys.argv) > 1 else temporary.name)
folder.mkdir(parents=True, exist_ok=True)

# %%
# Digits, measured
# ----------------
# The fours of the test, from the least of each factor on the left to the greatest on the right: at every tenth of
# them, in the order of the factor.
test = mv.load_dataset("mnist-mini", "test")
measured = data.measure_factors(test)
four = (test.labels == 4).nonzero().flatten()
names = ["thickness", "slant", "width", "height", "length", "area"]
places = torch.linspace(0, len(four) - 1, 11).long()
rows = [test.images[four[measured[name][four].argsort()[places]]] for name in names]
figure = plotting.sample_grid(torch.cat(rows), columns=len(places), names=names)
figure.savefig(folder / "digits_by_factor.png")

# %%
# Shapes, drawn
# -------------
# Each row changes one factor and keeps the others. A quarter of a turn, the last of the angles, gives the square back.
middle = {"shape": 0, "size": 0.9, "angle": 0.3, "x": 0.5, "y": 0.5}
rows = []
for name, (low, high, _) in data.SHAPE_FACTORS.items():
    steps = torch.linspace(low, high, 11).double()
    values = {key: torch.full((11,), float(value)) for key, value in middle.items()} | {name: steps}
    rows.append(data.draw_shapes(data.Factors({**values, "shape": values["shape"].round().long()})))
figure = plotting.sample_grid(torch.cat(rows), columns=11, names=list(data.SHAPE_FACTORS))
figure.savefig(folder / "shapes_by_factor.png")

# %%
# Codes of shapes
# ---------------
# Two models that differ in beta alone learn from shapes that were drawn at random, and are measured on the grid of all
# combinations of the factors. The data know their factors, so the evaluation has scores of them. The warning that is
# silenced here is about the total correlation, which is not looked at.
train, grid = mv.load_dataset("shapes", "train"), mv.load_dataset("shapes", "test")
models = {}
for beta in (0.5, 4.0):
    model = mv.recipes.get("mlp").model(latent_dim=6, beta=beta, seed=0)
    mv.Trainer(epochs=4, batch_size=64, learning_rate=2e-3, seed=0, progress=False).fit(model, train)
    models[f"beta {beta:g}"] = model
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    found = {name: metrics.evaluate(model, grid, include=["latent"]) for name, model in models.items()}
scores = [name for name in found["beta 4"].names() if "factor" in name or "dci" in name]
print(f"{'':20} {'  '.join(f'{name:>8}' for name in found)}")
for name in scores:
    print(f"{name:20} {'  '.join(f'{one[name]:8.2f}' for one in found.values())}")

# %%
# Which dimension serves which factor: importances for a forest that learns the factor from the code. Each column sums
# to 1. The larger beta leaves three dimensions in use, for size and place; of the angle nothing is told.
figure = Figure(figsize=(8, 3.4), dpi=150, layout="constrained")
for axes, (name, model) in zip(figure.subplots(1, 2, sharey=True), models.items(), strict=True):
    scores = metrics.dci(analysis.encode_dataset(model, grid).means, grid.factors)
    picture = axes.imshow(scores.importances.numpy(), vmin=0, vmax=1, cmap="cividis")
    axes.set_xticks(range(5), [f"{factor}\n{told:.0%}" for factor, told in scores.by_factor.items()])
    axes.set(title=name, xlabel="factor, and how much of it is told", yticks=range(6))
axes.figure.axes[0].set_ylabel("latent dimension")
figure.colorbar(picture, ax=figure.axes, label="importance")
figure.savefig(folder / "importances.png")

temporary.cleanup()
