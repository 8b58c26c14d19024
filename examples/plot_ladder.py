"""
A ladder: several latent levels
===============================

In a ladder each level of the code is drawn given the levels above it. The top decides what is in the image; what is
below decides how it is drawn, as far as the top has left it open. Here the recipe ``ladder-mlp`` is trained on the
digits that ship with the package, and then the lower level is drawn anew while the top stays.

It takes about half a minute on one CPU core. Run as a script, ``python examples/plot_ladder.py pictures`` writes its
figure to the folder ``pictures``; without a folder's name it leaves nothing behind.
"""

import sys
import tempfile
from pathlib import Path

import torch
from matplotlib.figure import Figure

import mnistvae as mv

train = mv.load_dataset("mnist-mini", "train")

temporary = tempfile.TemporaryDirectory()
folder = Path(sys.argv[1] if len(sys.argv) > 1 else temporary.name)
folder.mkdir(parents=True, exist_ok=True)

recipe = mv.recipes.get("ladder-mlp")
model = recipe.model(seed=0, levels=(4, 24), warmup=300)
history = recipe.trainer(epochs=20, seed=0, progress=False).fit(model, train)

# %%
# What each level tells
# ---------------------
# The history has the KL divergence of each level, in nats, besides their sum.
for name in ("kl_level_1", "kl_level_2"):
    print(name, " ".join(f"{value:.1f}" for value in history.column(name)[::4]))

# %%
# The top stays, the rest is drawn anew
# -------------------------------------
# ``mnistvae.distributions.from_noise`` gives the codes of some noise; the noise of a level moves that level and what is
# below it. In each row of the second panel all digits have the noise of the first one at the top, and in the third one
# the lower level has a low temperature besides, so that it says what is typical below such a top.
noise = torch.randn(5, 8, model.latent_dim, generator=torch.Generator().manual_seed(0))
same = noise.clone()
same[:, :, :4] = noise[:, :1, :4]
panels = {
    "both levels drawn anew": (noise, (1.0, 1.0)),
    "the top level stays": (same, (1.0, 1.0)),
    "the same, the lower one at 0.4": (same, (1.0, 0.4)),
}
figure = Figure(figsize=(9, 2.3), dpi=150, layout="constrained")
model.eval()
for (title, (rows, temperature)), axes in zip(panels.items(), figure.subplots(1, 3), strict=True):
    with torch.no_grad():
        prior = mv.distributions.tempered(model.latent_prior(), temperature)
        digits = model.decode(mv.distributions.from_noise(prior, rows.flatten(0, 1))).mean
    axes.imshow(mv.images.montage(digits, columns=8), cmap="gray")
    axes.set_title(title)
    axes.axis("off")
figure.savefig(folder / "ladder.png")

temporary.cleanup()
