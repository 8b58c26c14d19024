"""
Write a section of a report
===========================

A report is a list of sections, and each is a function that is given the material of the report: the model's view of the
data, the page, the scores. Here a section asks whether digits that hold more ink are reconstructed worse, and stands on
a short page beside three of the package's sections.

It takes about 15 seconds on one CPU core. Run as a script, ``python examples/plot_custom_section.py report`` writes the
page and its files to the folder ``report``; without a folder's name it leaves nothing behind.
"""

import sys
import tempfile
from pathlib import Path

import torch
from matplotlib.figure import Figure

import mnistvae as mv
from mnistvae import Trainer, analysis, load_dataset, metrics
from mnistvae.report import SECTIONS, Section, write_report

# %%
# The section
# -----------
# ``report.view`` is the model and the data set: whatever is asked of it is computed once, and the errors that are asked
# for here have been computed for the table of scores already. ``report.page`` takes texts, pictures and tables; those
# with a name are files beside the page, too.


def ink_of(images):
    """The mean of each image's pixels, (N,), from 0 to 1."""
    return images.float().flatten(1).mean(1) / 255


def draw_ink(ink, errors):
    """Draw errors over ink."""
    figure = Figure(figsize=(6, 3.6), dpi=150, layout="constrained")
    ax = figure.subplots()
    ax.scatter(ink, errors, s=6, alpha=0.5, linewidths=0)
    ax.set(xlabel="ink: mean of the pixels", ylabel="mean squared error")
    return figure


def ink_section(report):
    """Draw the error of each reconstruction over the ink of its image, and list both by digit."""
    view, page = report.view, report.page
    ink = ink_of(view.data.images)
    (errors,) = view.reconstructed(metrics.mse)
    correlation = torch.corrcoef(torch.stack([ink, errors]))[0, 1]
    page.text(f"Ink and error have a correlation of {correlation:.2f} over {len(view):,} images.")
    page.picture("ink.png", draw_ink(ink, errors), "The error of each reconstruction over the ink of its image.")
    rows = []
    for digit in range(10):
        own = view.labels == digit
        rows.append([digit, int(own.sum()), ink[own].mean(), errors[own].mean()])
    page.table("ink.csv", ["digit", "images", "mean ink", "mean error"], rows)


# %%
# A page with it
# --------------
# ``SECTIONS`` are those of the package, in their order; the list says what the page shows. ``include`` names the
# families of scores, so that a short page takes a short time.
train, test = load_dataset("mnist-mini", "train"), load_dataset("mnist-mini", "test")

temporary = tempfile.TemporaryDirectory()
folder = Path(sys.argv[1] if len(sys.argv) > 1 else temporary.name)

model = mv.recipes.get("mlp").model(seed=0)
history = Trainer(epochs=3, batch_size=64, learning_rate=2e-3, seed=0, progress=False).fit(model, train)

chosen = [one for one in SECTIONS if one.title in {"Scores", "Training", "Reconstruction"}]
sections = [*chosen, Section("Ink and errors", ink_section)]
page = write_report(model, test, folder, history=history, include=["reconstruction"], sections=sections)
print(page.name, "with", ", ".join(one.title for one in sections))

# %%
# The picture of the section is a figure like any other:
figure = draw_ink(ink_of(test.images), analysis.reconstruction_errors(model, test).mse)

temporary.cleanup()
